"use strict";

const $ = (id) => document.getElementById(id);
let key = null;

// Text only: nothing that is said becomes part of the page.
function show(kind, text, who) {
  const item = document.createElement("li");
  item.className = kind;
  if (who !== undefined) {
    const name = document.createElement("b");
    name.textContent = who;
    item.append(name);
  }
  item.append(text);
  $("messages").append(item);
  item.scrollIntoView();
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const events = new EventSource("events?nick=" + encodeURIComponent($("nick").value));
  events.addEventListener("key", ({ data }) => {
    key = data;
    $("enter").hidden = true;
    $("speak").hidden = false;
    $("text").focus();
  });
  events.addEventListener("notice", ({ data }) => show("notice", data));
  events.addEventListener("bye", ({ data }) => {
    // Or it would be tried again.
    events.close();
    $("enter").hidden = false;
    $("speak").hidden = true;
    show("notice", data);
  });
  events.addEventListener("said", ({ data }) => {
    const colon = data.indexOf(": ");
    show("said", data.slice(colon + 2), data.slice(0, colon));
  });
  events.addEventListener("error", () => {
    const refused = events.readyState === EventSource.CLOSED;
    $("enter").hidden = !refused;
    $("speak").hidden = true;
    show("notice", refused ? "That name is taken, or is none." : "Connection lost; trying again.");
  });
});

$("speak").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  $("text").value = "";
  try {
    const answer = await fetch("say?key=" + key, { method: "POST", body: text });
    if (!answer.ok) show("notice", "Not said: " + (await answer.text()));
  } catch {
    show("notice", "Not said: no connection.");
  }
});
