"use strict";

const $ = (id) => document.getElementById(id);
// What a page that is loaded again goes on with.
let { me, key } = history.state ?? {};
let here = new Set(), isLost = false, unread = 0, wait = 1000;
$("nick").value = me ?? "";

// Text only: nothing that is said becomes part of the page.
function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

// A name has one colour, wherever it is.
function named(nick) {
  const name = element("b", nick);
  const hue = [...nick.toLowerCase()].reduce((hue, c) => (hue * 31 + c.charCodeAt()) % 360, 0);
  // Similar names get different ones.
  name.style.setProperty("--hue", hue * 137);
  return name;
}

function show(kind, text, who) {
  const list = $("messages"), now = new Date();
  const time = element("time", now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = now.toISOString();
  const item = element("li", "");
  item.className = kind;
  item.append(time, ...(who ? [named(who), " "] : []), text);
  list.append(item);
  if (list.childElementCount > 1000) list.firstChild.remove();
  // Whoever reads what was said earlier goes on reading there, and sees what they say.
  if (who === me) $("log").scrollTop = 0;
  else if (isReadingBack()) $("below").hidden = false;
  if (document.hidden && kind === "said") document.title = `(${++unread}) Chat`;
}

function isReadingBack() {
  return $("log").scrollTop < -40;
}

// A sentence that begins with a name. Returns its first and its last word.
function showNews(sentence) {
  const [who, ...what] = sentence.split(" ");
  show("notice", what.join(" "), who);
  return [who, what.at(-1)];
}

function showWhoIsHere() {
  const items = [...here].sort((a, b) => a.localeCompare(b)).map((nick) => {
    const item = element("li", "");
    item.append(named(nick));
    return item;
  });
  $("here").replaceChildren(...items);
  $("count").textContent = here.size;
}

function setState(isPresent, text) {
  history.replaceState({ me, key }, "");
  $("enter").hidden = isPresent;
  $("speak").hidden = !isPresent;
  document.querySelector("aside").hidden = !isPresent;
  document.body.classList.toggle("lost", isLost);
  $("state").textContent = text;
}

const received = {
  key(data) {
    key = data;
    wait = 1000;
    if (isLost) show("notice", "Connected again. What was said meanwhile is not shown.");
    isLost = false;
    if ($("speak").hidden) setTimeout(() => $("text").focus());
    setState(true, "as " + me);
  },
  here(data) {
    here = new Set(data.split(" "));
  },
  said(data) {
    const colon = data.indexOf(": ");
    show("said", data.slice(colon + 2), data.slice(0, colon));
  },
  notice(data) {
    show("notice", data);
  },
  bye(data) {
    me = key = null;
    show("notice", data);
  },
  joined(data) {
    here.add(showNews(data)[0]);
  },
  left(data) {
    here.delete(showNews(data)[0]);
  },
  renamed(data) {
    const [from, to] = showNews(data);
    here.delete(from);
    here.add(to);
    if (from === me) setState(true, "as " + (me = to));
  },
};

// Listens until the connection is lost, or has been silent for longer than the server ever
// is. Resolves to the reason, if there is no point in trying again.
async function listen() {
  const end = new AbortController();
  const hangUp = () => end.abort();
  let silence = setTimeout(hangUp, 45000);
  addEventListener("offline", hangUp);
  try {
    // With the key, the seat is still ours. Without the field, nobody is let in.
    const answer = await fetch("events?nick=" + encodeURIComponent(me), {
      headers: { "Last-Event-ID": key ?? "" },
      signal: end.signal,
    });
    if (answer.status === 409) return "That name is taken.";
    if (answer.status < 500 && !answer.ok) return "Not let in: " + (await answer.text());
    if (!answer.ok) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(hangUp, 45000);
      const events = (text + value).split("\n\n");
      text = events.pop();
      for (const event of events) {
        const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s)));
        received[fields.event]?.(fields.data);
      }
      showWhoIsHere();
    }
  } catch {
    // Lost, or it was never there.
  } finally {
    clearTimeout(silence);
    removeEventListener("offline", hangUp);
  }
}

$("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter ?? $("enter").lastElementChild;
  button.disabled = true;
  if (me !== $("nick").value) key = null;
  me = $("nick").value;
  let reason;
  while (!(reason = await listen()) && key) {
    if (!isLost) show("notice", "Connection lost; trying again.");
    isLost = true;
    setState(true, "Connection lost; trying again");
    await new Promise((resolve) => {
      setTimeout(resolve, wait);
      addEventListener("online", resolve, { once: true });
    });
    wait = Math.min(2 * wait, 15000);
  }
  if (reason) show("notice", reason);
  else if (me) show("notice", "No connection; try again.");
  isLost = button.disabled = false;
  setState(false, "");
});

$("speak").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  $("text").value = "";
  let problem = "no connection";
  try {
    const answer = await fetch("say?key=" + key, {
      method: "POST",
      body: text,
      signal: AbortSignal.timeout(10000),
    });
    if (answer.ok) return;
    problem = await answer.text();
  } catch {
    // As it says.
  }
  show("notice", `Not said: ${problem}.`);
  $("text").value ||= text;
});

$("log").addEventListener("scroll", () => {
  if (!isReadingBack()) $("below").hidden = true;
});

$("below").addEventListener("click", () => {
  $("log").scrollTop = 0;
});

document.addEventListener("visibilitychange", () => {
  unread = 0;
  document.title = "Chat";
});
