//! The chat server: people on lines and in a browser, slow readers,
//! and several servers on one Redis.

#[path = "../../../tests/programs/browser.rs"]
mod browser;
#[path = "../../../tests/programs/example.rs"]
mod example;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use asynchat::{Channel, Error, Terminator};
use browser::Browser;
use example_chat::room::{self, Room};
use example_chat::{bridge, lines, server, web};
use example_common::serve::MAX_CONNECTIONS;
use example_redis::client::Client;
use example_redis::value::Value as Reply;
use programs::{Server, within};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A server with both its listeners.
struct Chat {
    lines: SocketAddr,
    web: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Chat {
    async fn start(redis: Option<SocketAddr>) -> Self {
        let lines = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let web = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addresses = (lines.local_addr().unwrap(), web.local_addr().unwrap());
        let stop = CancellationToken::new();
        let redis = redis.map(|address| address.to_string());
        let hosts = vec!["x".to_owned()];
        let task = tokio::spawn(server::serve_all(
            MAX_CONNECTIONS,
            lines,
            web,
            redis,
            hosts,
            stop.clone(),
        ));
        Chat { lines: addresses.0, web: addresses.1, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        within(self.task).await.unwrap();
    }

    /// Somebody on a line, who has come in.
    async fn person(&self) -> Person<TcpStream> {
        Person::new(TcpStream::connect(self.lines).await.unwrap()).await
    }

    async fn named(&self, nick: &str) -> Person<TcpStream> {
        let mut person = self.person().await;
        person.says(&format!("/nick {nick}")).await;
        person.hears_up_to(&format!("is now {nick}")).await;
        person
    }

    /// A request, with the answer up to the close.
    async fn request(&self, request: &str) -> String {
        let mut channel = Channel::new(TcpStream::connect(self.web).await.unwrap(), "\n");
        channel.push(request.to_owned());
        text(&within(channel.receive(Terminator::none())).await.unwrap())
    }

    async fn browser_person(&self, nick: &str) -> (Person<TcpStream>, String) {
        self.browser_person_with(self.web, nick, NO_KEY).await
    }

    /// One who comes through a proxy, perhaps, and with these fields.
    async fn browser_person_with(
        &self,
        web: SocketAddr,
        nick: &str,
        fields: &str,
    ) -> (Person<TcpStream>, String) {
        let mut events = Channel::new(TcpStream::connect(web).await.unwrap(), "\n");
        // To 1.1, a proxy would speak in chunks.
        let version = if web == self.web { "1.1" } else { "1.0" };
        events.push(format!("GET /events?nick={nick} HTTP/{version}\r\nHost: x\r\n{fields}\r\n"));
        let head = text(&within(events.receive(Terminator::blank_line())).await.unwrap());
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
        let mut person = Person { channel: events, ends: "\n\n" };
        let key = person.hears().await;
        let key = key.strip_prefix("retry: 1000\nevent: key\nid: ").expect("the key comes first");
        let (id, key) = key.split_once("\ndata: ").unwrap();
        assert_eq!(id, key);
        let here = person.hears().await;
        assert!(here.starts_with("event: here\ndata: "), "{here}");
        (person, key.to_owned())
    }

    async fn say(&self, key: &str, words: &str) -> String {
        let length = words.len();
        self.request(&format!(
            "POST /say?key={key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{words}"
        ))
        .await
    }
}

/// The field of a page that has not been in the room.
const NO_KEY: &str = "Last-Event-ID:\r\n";

struct Person<T> {
    channel: Channel<T>,
    ends: &'static str,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Person<T> {
    async fn new(io: T) -> Self {
        let mut person = Person { channel: Channel::new(io, "\r\n"), ends: "\r\n" };
        let welcome = person.hears().await;
        assert!(welcome.starts_with("* welcome, guest"), "{welcome}");
        person
    }

    async fn says(&mut self, words: &str) {
        self.channel.push(format!("{words}\r\n"));
        within(self.channel.flush()).await.unwrap();
    }

    async fn hears(&mut self) -> String {
        text(&within(self.channel.receive(self.ends)).await.unwrap())
    }

    /// Everything up to a message that ends in `words`.
    async fn hears_up_to(&mut self, words: &str) -> Vec<String> {
        let mut heard = vec![];
        loop {
            heard.push(self.hears().await);
            if heard.last().is_some_and(|last| last.ends_with(words)) {
                return heard;
            }
        }
    }

    #[track_caller]
    fn hears_this<'p>(&'p mut self, words: &'p str) -> impl Future<Output = ()> + 'p {
        let place = std::panic::Location::caller();
        async move { assert_eq!(self.hears().await, words, "{place}") }
    }

    async fn hears_the_end(&mut self) -> Vec<String> {
        let mut heard = vec![];
        loop {
            match within(self.channel.receive(self.ends)).await {
                Ok(message) => heard.push(text(&message)),
                Err(Error::UnexpectedEof { partial, .. }) if partial.is_empty() => return heard,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn text(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).unwrap()
}

// Lines.

#[tokio::test]
async fn line_reaches_all_members() {
    let chat = Chat::start(None).await;
    let mut alice = chat.person().await;
    alice.hears_this("* guest1 has come").await;
    let mut bob = chat.person().await;
    for person in [&mut alice, &mut bob] {
        person.hears_this("* guest2 has come").await;
    }
    alice.says("/nick alice").await;
    alice.says("hello").await;
    for person in [&mut alice, &mut bob] {
        person.hears_this("* guest1 is now alice").await;
        person.hears_this("alice: hello").await;
    }
    bob.says("/who").await;
    bob.hears_this("* here: alice, guest2").await;
    bob.says("/quit").await;
    bob.hears_this("* good-bye").await;
    assert!(bob.hears_the_end().await.is_empty());
    alice.hears_this("* guest2 has left").await;
    drop(alice);
    chat.stop().await;
}

#[tokio::test]
async fn a_browser_that_speaks_tls_or_stun_is_not_heard() {
    let hello = [&b"\x16\x03\x01\x02\x00\x01"[..], &[b'x'; 40], b"\nticket\n"].concat();
    let long = [&b"\x16\x03\x01"[..], &vec![b'x'; 2 * web::MAX_LINE], b"\nticket\n"].concat();
    // The length of an attribute, and that of a frame, can be a line end.
    let stun = |length: &[u8]| {
        let head = b"\0\x01\x01\xf6\x21\x12\xa4\x42transaction_\0\x06\x01\nticket\n";
        [length, head, &[b'x'; 2 * web::MAX_LINE], b"\nticket\n"].concat()
    };
    for first in [hello, long, stun(b""), stun(b"\x02\x0a"), stun(b"\x02\x0b")] {
        let chat = Chat::start(None).await;
        let mut alice = chat.named("alice").await;
        let mut page = chat.person().await;
        alice.hears_up_to("has come").await;
        page.channel.push(first);
        within(page.channel.flush()).await.unwrap();
        // Nothing is between: no line of the page was said.
        alice.hears_this("* guest2 has left").await;
    }
}

#[tokio::test]
async fn invalid_lines_are_refused_or_made_harmless() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut bob = chat.named("bob").await;
    alice.hears_up_to("is now bob").await;
    let name = "* a name is 1 to 20 letters, digits, - and _";
    for (words, answer) in [
        ("/nick bob", "* somebody else has that name"),
        ("/nick BOB", "* somebody else has that name"),
        ("/nick", name),
        ("/nick a b", name),
        ("/nick a:b", name),
        ("/nick \u{e9}", name),
        ("/nick aaaaabbbbbcccccddddde", name),
        ("/nicks", "* no such command; try /help"),
        ("/", "* no such command; try /help"),
        ("/help", "* /who, /nick NAME, /quit; anything else is sent to everybody"),
    ] {
        alice.says(words).await;
        alice.hears_this(answer).await;
    }
    for (words, heard) in [
        (&b"\x1b[2Jred\x07\0 ink\x7f\r\n"[..], "alice: [2Jred ink"),
        (b"not \xff UTF-8\r\n", "alice: not \u{fffd} UTF-8"),
        (b"\r\n\n\r\nline feed alone\n", "alice: line feed alone"),
        (b"fake\rbob: hi\r\n", "alice: fakebob: hi"),
        ("\u{85}\u{9b}\u{e9}\r\n".as_bytes(), "alice: \u{e9}"),
        (b"  indented\r\n", "alice: indented"),
        ("\u{200d}\r\n \u{34f} \n\u{2065}\n\u{1d159}\u{fe0f}\nink\n".as_bytes(), "alice: ink"),
    ] {
        alice.channel.push_slice(words);
        alice.hears_this(heard).await;
        bob.hears_this(heard).await;
    }
    for (length, is_heard) in [(web::MAX_LINE, true), (web::MAX_LINE + 1, false)] {
        let words = "x".repeat(length);
        alice.says(&words).await;
        match is_heard {
            true => alice.hears_this(&format!("alice: {words}")).await,
            false => alice.hears_this("* no more than 1000 bytes at a time, please").await,
        }
    }
    alice.says("still here").await;
    alice.hears_this("alice: still here").await;
    drop(alice);
    assert_eq!(bob.hears_up_to("alice has left").await.len(), 3, "nothing of the refused ones");
}

/// Texts that look like something else, or are like these, and how they are heard.
fn spoofs() -> Vec<(String, &'static str)> {
    let wide = |blank: &str| format!("hm{}* the server moves", blank.repeat(70));
    let blanks = [
        " ",
        "\u{a0}",
        "\u{2028}",
        "\u{2800}",
        "\u{3000}",
        "\u{3164}",
        " \u{200b}",
        "\u{1d159}\u{200d}",
        "\u{13441}\u{13442}",
    ];
    let mut spoofs: Vec<_> =
        blanks.iter().map(|blank| (wide(blank), "hm * the server moves")).collect();
    spoofs.extend(
        "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
            .chars()
            .map(|direction| (format!("{direction}gnp.tset"), "gnp.tset")),
    );
    for (marks, heard) in [
        ("\u{301}", "e\u{301}\u{301}\u{301}\u{301}x"),
        ("\u{301}\u{20dd}\u{200d}\u{200b}\0", "e\u{301}\u{20dd}\u{200d}\u{301}x"),
    ] {
        spoofs.push((format!("e{}x", marks.repeat(50)), heard));
    }
    // Without ink, and unassigned: they neither stand between blanks nor begin a text.
    for ignored in "\u{200d}\u{200c}\u{34f}\u{fe0f}\u{17b4}\u{332}\u{2065}\u{fff0}\u{e0002}".chars()
    {
        spoofs.push((wide(&format!(" {ignored}")), "hm * the server moves"));
        spoofs.push((format!("{ignored} {ignored}hm "), "hm"));
    }
    let honest = ["re\u{301}sume\u{301}", "👩🏽‍👧‍👦 ❤️ 1️⃣", "می\u{200c}خواهم", "ที่นี่", "नमस्ते", "שָׁלוֹם"];
    spoofs.extend(honest.map(|text| (text.to_owned(), text)));
    spoofs
}

#[tokio::test]
async fn a_text_cannot_look_like_another_line() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let (mut web, key) = chat.browser_person("web").await;
    alice.hears_this("* web has come").await;
    web.hears_up_to("web has come").await;
    for (text, heard) in spoofs() {
        alice.says(&text).await;
        web.hears_this(&format!("event: said\ndata: alice: {heard}")).await;
        chat.say(&key, &text).await;
        alice.hears_this(&format!("alice: {heard}")).await;
        alice.hears_this(&format!("web: {heard}")).await;
        web.hears_this(&format!("event: said\ndata: web: {heard}")).await;
    }
    for (name, answer) in [
        ("\u{202e}bob", "* alice is now bob"),
        ("b\u{200b}ob", "* somebody else has that name"),
        ("b\u{43e}b", "* a name is 1 to 20 letters, digits, - and _"),
        ("bo\u{301}b", "* a name is 1 to 20 letters, digits, - and _"),
        ("bob\u{a0}bob", "* a name is 1 to 20 letters, digits, - and _"),
    ] {
        alice.says(&format!("/nick {name}")).await;
        alice.hears_this(answer).await;
    }
}

#[tokio::test]
async fn a_text_of_another_server_cannot_either() {
    let (others, received) = mpsc::channel(10);
    let received = Mutex::new(Some(received));
    let connect = move || -> Connecting {
        let (io, theirs) = duplex(4096);
        let others = received.lock().unwrap().take().expect("one connection");
        tokio::spawn(redis_side(theirs, true, others));
        Box::pin(async move { Ok(Client::new(io)) })
    };
    let mut alice = bridged(connect).await;
    alice.hears_up_to("has come").await;
    others.send("s joined e\u{202e}ve".into()).await.unwrap();
    others.send("s here x\u{301} x".into()).await.unwrap();
    for (text, heard) in spoofs() {
        others.send(format!("s said x {text}")).await.unwrap();
        alice.hears_this(&format!("x: {heard}")).await;
    }
    alice.says("/who").await;
    alice.hears_this("* here: guest1, x").await;
}

#[tokio::test]
async fn peer_that_ends_its_input_receives_earlier_lines() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    alice.says("last words").await;
    alice.channel.push("cut off in the mid");
    Channel::shutdown(&mut alice.channel).await.unwrap();
    assert_eq!(alice.hears_the_end().await, ["alice: last words"]);
    let mut bob = chat.named("alice").await;
    bob.says("/who").await;
    bob.hears_this("* here: alice").await;
}

#[tokio::test]
async fn many_people_hear_everything_in_the_same_order() {
    const PEOPLE: usize = 100;
    const WORDS: usize = 10;
    let chat = Chat::start(None).await;
    let mut people = vec![];
    for i in 0..PEOPLE {
        people.push(chat.named(&format!("p{i}")).await);
    }
    let last = format!("is now p{}", PEOPLE - 1);
    let talk = people.into_iter().enumerate().map(|(i, mut person)| {
        let last = last.clone();
        tokio::spawn(async move {
            if i + 1 < PEOPLE {
                person.hears_up_to(&last).await;
            }
            for n in 0..WORDS {
                person.says(&format!("words {n}")).await;
            }
            let mut heard = vec![];
            for _ in 0..PEOPLE * WORDS {
                heard.push(person.hears().await);
            }
            // The others go on talking to a room that this one is still in.
            (heard, person)
        })
    });
    let mut all = vec![];
    for task in talk.collect::<Vec<_>>() {
        all.push(task.await.unwrap());
    }
    for i in 0..PEOPLE {
        let name = format!("p{i}: words ");
        let said: Vec<_> = all[0].0.iter().filter_map(|words| words.strip_prefix(&name)).collect();
        assert_eq!(said, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "{name}");
        assert_eq!(all[i].0, all[0].0, "{name}hears the same");
    }
}

// Slow readers.

/// Somebody who talks to the room without a socket.
async fn in_room(room: &Arc<Room>) -> Person<tokio::io::DuplexStream> {
    Person::new(to_room(room).0).await
}

fn to_room(room: &Arc<Room>) -> (tokio::io::DuplexStream, JoinHandle<()>) {
    let (io, theirs) = duplex(1024);
    let handler = lines::Lines::new(Arc::clone(room));
    let stop = CancellationToken::new();
    let task = tokio::spawn(async move {
        server::connection(theirs, server::line_settings(), handler, stop).await;
    });
    (io, task)
}

#[tokio::test]
async fn slow_reader_is_disconnected_without_delaying_others() {
    let room = Arc::new(Room::default());
    let mut alice = in_room(&room).await;
    let mut bob = in_room(&room).await;
    alice.hears_up_to("guest2 has come").await;
    bob.hears_up_to("guest2 has come").await;
    let (mut slow, task) = to_room(&room);
    alice.hears_this("* guest3 has come").await;
    bob.hears_this("* guest3 has come").await;
    let words = "x".repeat(900);
    let mut said = 0;
    let cut_off = "* guest3 was disconnected for not reading";
    loop {
        alice.says(&words).await;
        said += 1;
        let heard = alice.hears().await;
        bob.hears_this(&heard).await;
        if heard == cut_off {
            break;
        }
        assert!(said < 10_000, "never cut off");
    }
    // The room tells of it before the words that were too many.
    alice.hears_this(&format!("guest1: {words}")).await;
    // The mark, a pipe of 1 KiB and the words that brought it over the mark.
    let (mark, each) = (server::HIGH_WATER, "guest1: \r\n".len() + words.len());
    assert!(said * each > mark * 3 / 4 && said * each < mark + 1024 + 4 * each, "{said}");
    within(task).await.expect("its task has ended, though it never read");
    let mut rest = vec![];
    within(slow.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() <= 1024, "what was queued is dropped");
    alice.says("/who").await;
    alice.hears_this("* here: guest1, guest2").await;
}

#[tokio::test]
async fn a_slow_reader_on_a_socket_is_cut_off_and_the_others_are_not() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut bob = chat.named("bob").await;
    let slow = chat.named("slow").await;
    let words = "x".repeat(900);
    let count = |heard: &[String]| heard.iter().filter(|line| line.ends_with(&words)).count();
    let cut_off = "slow was disconnected for not reading";
    let listener = tokio::spawn(async move { (bob.hears_up_to(cut_off).await, bob) });
    let (mut said, mut heard) = (0, vec![]);
    // More than the kernel takes for a socket that nobody reads.
    while !heard.last().is_some_and(|last: &String| last.ends_with(cut_off)) {
        alice.says(&words).await;
        said += 1;
        assert!(said < 100_000, "never cut off");
        heard.push(alice.hears().await);
    }
    let (bob_heard, mut bob) = listener.await.unwrap();
    assert_eq!(count(&bob_heard), count(&heard), "bob has heard all of it");
    alice.says("/who").await;
    alice.hears_up_to("* here: alice, bob").await;
    bob.says("still here").await;
    bob.hears_up_to("bob: still here").await;
    let mut rest = slow.channel.into_parts().io;
    let mut buffer = vec![0; 1 << 16];
    // A reset, or the end.
    while within(rest.read(&mut buffer)).await.is_ok_and(|n| n > 0) {}
}

#[tokio::test]
async fn paste_disconnects_no_reader() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut bob = chat.named("bob").await;
    alice.hears_up_to("is now bob").await;
    let words = "x".repeat(990);
    (0..500).for_each(|_| alice.channel.push(format!("{words}\r\n")));
    alice.channel.push("end of the paste\r\n");
    let heard = tokio::join!(
        alice.hears_up_to("alice: end of the paste"),
        bob.hears_up_to("alice: end of the paste"),
    );
    assert_eq!(heard.0.len(), 501);
    assert_eq!(heard.0, heard.1);
}

#[tokio::test]
async fn flood_of_commands_without_reading_ends_connection() {
    let room = Arc::new(Room::default());
    let (io, task) = to_room(&room);
    let mut flood = Channel::new(io, "\r\n");
    (0..100_000).for_each(|_| flood.push("/help\r\n"));
    // Nothing is read; the connection breaks instead.
    let broken = within(flood.flush()).await;
    assert!(matches!(broken, Err(Error::Io(_))), "{broken:?}");
    within(task).await.unwrap();
    assert!(room.nicks().is_empty());
}

// Browsers.

#[tokio::test]
async fn web_requests_are_answered() {
    let chat = Chat::start(None).await;
    let (_events, key) = chat.browser_person("taken").await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let post =
        |path: &str, fields: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let say = format!("/say?key={key}");
    for (request, status) in [
        (get("/"), "200"),
        (get("/page.js"), "200"),
        (get("/page.css"), "200"),
        (get("/?x=y"), "200"),
        ("GET / HTTP/1.0\r\n\r\n".into(), "200"),
        (get("/missing"), "404"),
        (get("/events"), "400"),
        (listen(""), "400"),
        // An image of a foreign page, for example.
        (get("/events?nick=a"), "403"),
        (listen("a%20b"), "400"),
        (listen("a&x=y"), "400"),
        (listen("Taken"), "409"),
        (get("/say?key=x"), "405"),
        (post("/", "Content-Length: 0\r\n"), "405"),
        (post("/say", "Content-Length: 0\r\n"), "400"),
        (post("/say?key=", "Content-Length: 0\r\n"), "403"),
        (post("/say?key=x", "Content-Length: 0\r\n"), "403"),
        (post(&say, "Content-Length: 1001\r\n"), "413"),
        (post(&say, "Transfer-Encoding: chunked\r\n"), "405"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx".into(), "400"),
        ("GET /\r\n\r\n".into(), "400"),
        ("GET / HTTP/1.1\nHost: x\n\n".into(), "400"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(70_000)), "431"),
    ] {
        let answer = chat.request(&request).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.100}: {line}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:.100}");
    }
}

#[tokio::test]
async fn requests_that_another_page_could_cause_are_refused() {
    let chat = Chat::start(None).await;
    let port = chat.web.port();
    let (mut web, key) = chat.browser_person("web").await;
    web.hears_up_to("web has come").await;
    for (fields, status) in [
        (format!("Host: 127.0.0.1:{port}"), "200"),
        ("Host: 127.0.0.1".into(), "200"),
        ("Host: localhost:8080".into(), "200"),
        ("host: LOCALHOST.".into(), "200"),
        ("Host: X:".into(), "200"),
        ("Host: x\r\nOrigin: http://localhost:8080".into(), "200"),
        (format!("Host: x\r\nOrigin: http://127.0.0.1:{port}"), "200"),
        ("Host: x\r\nOrigin: https://x\r\nSec-Fetch-Site: same-origin".into(), "200"),
        ("Host: x\r\nSec-Fetch-Site: none".into(), "200"),
        (format!("Host: evil.example:{port}"), "421"),
        ("Host: ".into(), "421"),
        ("Host: 127.0.0.2".into(), "421"),
        ("Host: [::1]".into(), "421"),
        ("Host: evil.localhost".into(), "421"),
        ("Host: localhost.evil.example".into(), "421"),
        ("Host: 127.0.0.1.evil.example".into(), "421"),
        ("Host: xx".into(), "421"),
        (format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}"), "421"),
        ("Host: x\r\nOrigin: http://evil.example".into(), "403"),
        ("Host: x\r\nOrigin: http://localhost.evil.example".into(), "403"),
        ("Host: x\r\nOrigin: null".into(), "403"),
        ("Host: x\r\norigin: http://evil.example/?http://localhost".into(), "403"),
        ("Host: x\r\nSec-Fetch-Site: cross-site".into(), "403"),
        ("Host: x\r\nSec-Fetch-Site: same-site".into(), "403"),
    ] {
        let say = format!("/say?key={key} HTTP/1.1\r\n{fields}\r\nConnection: close");
        let said = chat.request(&format!("POST {say}\r\nContent-Length: 2\r\n\r\nhi")).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {said}");
        if status == "200" {
            web.hears_this("event: said\ndata: web: hi").await;
        } else {
            let events = format!("GET /events?nick=evil HTTP/1.1\r\n{fields}\r\n{NO_KEY}\r\n");
            let events = chat.request(&events).await;
            assert!(events.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {events}");
        }
    }
    for (request, status) in [
        ("GET http://evil.example/ HTTP/1.1\r\nHost: x\r\n\r\n", "421"),
        ("GET http://evil.example?//x/ HTTP/1.1\r\nHost: x\r\n\r\n", "421"),
        // The target has the last word (RFC 9112, section 3.2.2).
        ("GET http://x/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "200"),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        // Links to the page itself are welcome.
        (
            "GET / HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n",
            "200",
        ),
    ] {
        let answer = chat.request(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    chat.say(&key, "last").await;
    web.hears_this("event: said\ndata: web: last").await;
}

#[tokio::test]
async fn a_page_with_the_key_takes_its_seat_over() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let (mut lost, key) = chat.browser_person("web").await;
    lost.hears_up_to("web has come").await;
    chat.say(&key, "/nick spider").await;
    lost.hears_up_to("web is now spider").await;
    let refused = "GET /events?nick=spider HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n";
    assert!(chat.request(refused).await.starts_with("HTTP/1.1 409 "));
    // The name it asks for does not matter.
    let with_key = format!("Last-Event-ID: {key}\r\n");
    let (mut web, same_key) = chat.browser_person_with(chat.web, "web", &with_key).await;
    assert_eq!(key, same_key);
    let end = lost.hears_the_end().await;
    assert_eq!(end, ["event: bye\ndata: you have joined on another page"]);
    // Nobody else has noticed, and the seat is not lost with the old connection.
    drop(lost);
    chat.say(&key, "here I am").await;
    alice.hears_up_to("* web is now spider").await;
    alice.hears_this("spider: here I am").await;
    web.hears_this("event: said\ndata: spider: here I am").await;
    alice.says("/who").await;
    alice.hears_this("* here: alice, spider").await;
    // What is left of a seat that is given up is the name.
    drop(web);
    alice.hears_this("* spider has left").await;
    let (mut web, other_key) = chat.browser_person_with(chat.web, "spider", &with_key).await;
    assert_ne!(key, other_key);
    web.hears_up_to("spider has come").await;
}

#[tokio::test(start_paused = true)]
async fn a_page_hears_from_the_server_every_20_seconds() {
    let chat = Chat::start(None).await;
    let (mut web, _) = chat.browser_person("web").await;
    web.hears_up_to("web has come").await;
    for _ in 0..3 {
        let start = Instant::now();
        web.hears_this(": ping").await;
        assert!(start.elapsed() <= server::PING + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_on_a_line_has_two_minutes_for_a_word() {
    let chat = Chat::start(None).await;
    let start = Instant::now();
    let (mut alice, mut silent) = (chat.named("alice").await, chat.person().await);
    let (mut web, _) = chat.browser_person("web").await;
    let mut trickling = chat.person().await;
    trickling.channel.push("no line end");
    // The room is busy meanwhile.
    while alice.hears().await != "* guest2 has left" {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(start.elapsed() < 2 * room::FIRST_WORD, "it may stay");
        alice.says("tick").await;
    }
    let silence = start.elapsed();
    assert!(
        silence >= room::FIRST_WORD && silence < room::FIRST_WORD + server::PING,
        "{silence:?}"
    );
    for person in [&mut silent, &mut trickling] {
        assert!(
            person.hears_the_end().await.ends_with(&["* you have said nothing; good-bye".into()])
        );
    }
    alice.says("/who").await;
    alice.hears_up_to("* here: alice, web").await;
    web.hears_up_to("guest4 has left").await;
}

#[tokio::test]
async fn page_lists_present_members() {
    let room = Arc::new(Room::default());
    let page = silent_browser(&room, &listen("web")).await;
    let mut web = Person { channel: Channel::new(page, "\n\n"), ends: "\n\n" };
    web.hears_up_to("event: here\ndata: web").await;
    web.hears_up_to("event: joined\ndata: web has come").await;
    let alice = in_room(&room).await;
    web.hears_this("event: joined\ndata: guest2 has come").await;
    let there = || ["x", "y"].map(str::to_owned).into();
    room.set_nicks_of("there", there());
    web.hears_this("event: here\ndata: web guest2 x y").await;
    room.set_nicks_of("there", there());
    room.forget("there");
    web.hears_this("event: left\ndata: x has left").await;
    web.hears_this("event: left\ndata: y has left").await;
    room.set_nicks_of("there", there());
    web.hears_up_to("web guest2 x y").await;
    room.unlink();
    web.hears_this("event: here\ndata: web guest2").await;
    drop(alice);
    web.hears_this("event: left\ndata: guest2 has left").await;
}

#[tokio::test]
async fn a_browser_on_the_line_port_is_not_heard() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let long = format!("POST /{} HTTP/1.1\r\nhost: x\r\n", "x".repeat(5000));
    for request in ["POST / HTTP/1.1\r\n", "\nGET / HTTP/1.0\n", "Host: x\r\n", &long] {
        let mut browser = chat.person().await;
        browser.channel.push(format!("{request}Connection: close\r\n\r\n/nick admin\r\nhi\r\n"));
        let heard = browser.hears_the_end().await;
        assert!(!heard.iter().any(|line| line.contains(": ")), "{request:.20}: {heard:?}");
        alice.hears_up_to(" has come").await;
        let left = alice.hears().await;
        assert!(left.starts_with("* guest") && left.ends_with(" has left"), "{left}");
    }
}

/// Defaults are: no header of ours passed on, HTTP/1.0, all answers buffered.
#[tokio::test]
async fn nginx_with_its_defaults_passes_everything_on() {
    if !programs::is_installed("nginx") {
        return;
    }
    let chat = Chat::start(None).await;
    let files = tempfile::tempdir().unwrap();
    let (here, config) = (files.path().display(), files.path().join("nginx.conf"));
    let nginx = Server::start("start worker process ", |port| {
        let text = format!(
            "daemon off; pid {here}/pid; error_log stderr notice; events {{}}
             http {{
               access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
               fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
               server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{}; }} }}
             }}",
            chat.web
        );
        std::fs::write(&config, text).unwrap();
        let prefix = files.path().to_str().unwrap();
        ["nginx", "-p", prefix, "-c", config.to_str().unwrap()].map(str::to_owned).to_vec()
    });
    let mut alice = chat.named("alice").await;
    let (mut web, key) = chat.browser_person_with(nginx.address, "web", NO_KEY).await;
    alice.hears_this("* web has come").await;
    web.hears_up_to("web has come").await;
    let mut say = Channel::new(TcpStream::connect(nginx.address).await.unwrap(), "\n");
    say.push(format!(
        "POST /say?key={key} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\n\
         Content-Length: 2\r\n\r\nhi",
        nginx.address
    ));
    within(say.flush()).await.unwrap();
    alice.hears_this("web: hi").await;
    web.hears_this("event: said\ndata: web: hi").await;
    drop(web);
    alice.hears_this("* web has left").await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let chat = Chat::start(None).await;
    let (mut events, key) = chat.browser_person("web").await;
    events.hears_up_to("web has come").await;
    let say = |words: &str, connection: &str| {
        format!(
            "POST /say?key={key} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n{words}",
            words.len()
        )
    };
    let requests = say("one", "keep-alive")
        + "GET /page.css HTTP/1.1\r\nHost: x\r\n\r\n"
        + &say("", "keep-alive")
        + &say("two", "close")
        + &say("never", "close");
    let answers = chat.request(&requests).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4);
    assert!(answers.ends_with("Content-Length: 0\r\nContent-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"));
    for words in ["one", "two"] {
        events.hears_this(&format!("event: said\ndata: web: {words}")).await;
    }
    assert!(chat.say(&key, "three").await.starts_with("HTTP/1.1 200"));
    events.hears_this("event: said\ndata: web: three").await;
}

#[tokio::test]
async fn browsers_and_lines_are_in_one_room() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let (mut web, key) = chat.browser_person("web").await;
    web.hears_this("event: notice\ndata: welcome, web; /help lists the commands").await;
    web.hears_this("event: joined\ndata: web has come").await;
    alice.hears_this("* web has come").await;
    assert!(chat.say(&key, "hi\r\n\r\nevent: key\r\ndata: x").await.starts_with("HTTP/1.1 200"));
    let harmless = "web: hievent: keydata: x";
    alice.hears_this(harmless).await;
    web.hears_this(&format!("event: said\ndata: {harmless}")).await;
    alice.says("hello web").await;
    alice.hears_this("alice: hello web").await;
    web.hears_this("event: said\ndata: alice: hello web").await;
    chat.say(&key, "/nick spider").await;
    alice.hears_this("* web is now spider").await;
    web.hears_this("event: renamed\ndata: web is now spider").await;
    chat.say(&key, "/who").await;
    web.hears_this("event: notice\ndata: here: alice, spider").await;
    chat.say(&key, "/quit").await;
    alice.hears_this("* spider has left").await;
    assert_eq!(web.hears_the_end().await, ["event: bye\ndata: good-bye"]);
    assert!(chat.say(&key, "ghost").await.starts_with("HTTP/1.1 403"), "the key is spent");
    let (web, _) = chat.browser_person("web").await;
    alice.hears_this("* web has come").await;
    drop(web);
    alice.hears_this("* web has left").await;
}

#[tokio::test]
async fn input_of_listening_browser_is_ignored() {
    let chat = Chat::start(None).await;
    let (mut web, key) = chat.browser_person("web").await;
    web.channel.push("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000));
    web.hears_up_to("web has come").await;
    chat.say(&key, "x").await;
    web.hears_this("event: said\ndata: web: x").await;
}

// The end.

#[tokio::test]
async fn stop_is_announced_to_all_members() {
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let (mut web, _) = chat.browser_person("web").await;
    web.hears_up_to("web has come").await;
    alice.hears_this("* web has come").await;
    let mut idle = Channel::new(TcpStream::connect(chat.web).await.unwrap(), "\r\n");
    idle.push("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    within(idle.receive("</main>\n")).await.unwrap();
    let (stop, task) = (chat.stop, chat.task);
    stop.cancel();
    let farewell = alice.hears_the_end().await;
    assert_eq!(farewell[0], "* the server is stopping");
    assert_eq!(web.hears_the_end().await[0], "event: notice\ndata: the server is stopping");
    assert_eq!(within(idle.receive(Terminator::none())).await.unwrap(), "");
    drop((alice, web, idle));
    within(task).await.unwrap();
}

// Several servers.

fn redis() -> Option<Server> {
    programs::is_installed("redis-server").then(|| redis_on(None))
}

fn redis_on(port: Option<u16>) -> Server {
    Server::start("Ready to accept connections", |free| {
        let port = port.unwrap_or(free).to_string();
        ["redis-server", "--bind", "127.0.0.1", "--save", "", "--port", &port]
            .map(str::to_owned)
            .to_vec()
    })
}

/// Until both servers know of each other, what one says the other may miss.
async fn join_servers(one: &mut Person<TcpStream>, other: &mut Person<TcpStream>, nick: &str) {
    let mut n = 0;
    other.channel.set_terminator("\r\n");
    loop {
        one.says(&format!("ping {n}")).await;
        one.hears_up_to(&format!("ping {n}")).await;
        n += 1;
        tokio::select! {
            biased;
            frame = other.channel.next() => {
                let frame = frame.unwrap().unwrap();
                if frame.data().starts_with(format!("{nick}: ping").as_bytes()) {
                    break;
                }
            }
            () = tokio::task::yield_now() => {}
        }
    }
    other.says("met").await;
    other.hears_up_to(": met").await;
    one.hears_up_to(": met").await;
    one.says("met as well").await;
    one.hears_up_to(": met as well").await;
    other.hears_up_to(": met as well").await;
}

#[tokio::test]
async fn several_servers_share_one_room() {
    let Some(redis) = redis() else { return };
    let (here, there) =
        (Chat::start(Some(redis.address)).await, Chat::start(Some(redis.address)).await);
    let mut alice = here.named("alice").await;
    let mut bob = there.named("bob").await;
    join_servers(&mut alice, &mut bob, "alice").await;
    bob.says("/who").await;
    bob.hears_this("* here: bob, alice").await;
    bob.says("/nick alice").await;
    bob.hears_this("* somebody else has that name").await;
    bob.says("/nick robert").await;
    for person in [&mut alice, &mut bob] {
        person.hears_this("* bob is now robert").await;
    }
    let (mut web, key) = there.browser_person("web").await;
    for person in [&mut alice, &mut bob] {
        person.hears_this("* web has come").await;
    }
    there.say(&key, "hello over there").await;
    for person in [&mut alice, &mut bob] {
        person.hears_this("web: hello over there").await;
    }
    web.hears_up_to("web: hello over there").await;
    drop(web);
    for person in [&mut alice, &mut bob] {
        person.hears_this("* web has left").await;
    }
    // A third one is told who is there.
    let third = Chat::start(Some(redis.address)).await;
    let mut carol = third.named("carol").await;
    join_servers(&mut carol, &mut alice, "carol").await;
    carol.says("/who").await;
    let mut who = carol.hears().await;
    while !who.starts_with("* here: carol, ") {
        who = carol.hears().await;
    }
    assert!(who.contains("alice") && who.contains("robert"), "{who}");
    // One that stops takes its people with it.
    bob.hears_up_to(": met as well").await;
    drop(bob);
    there.stop().await;
    alice.hears_up_to("robert has left").await;
    carol.hears_up_to("robert has left").await;
    alice.says("/who").await;
    alice.hears_up_to("* here: alice, carol").await;
}

#[tokio::test]
async fn lost_redis_is_reported_and_reconnected() {
    let Some(mut redis) = redis() else { return };
    let address = redis.address;
    let (here, there) = (Chat::start(Some(address)).await, Chat::start(Some(address)).await);
    let mut alice = here.named("alice").await;
    let mut bob = there.named("bob").await;
    join_servers(&mut alice, &mut bob, "alice").await;
    redis.stop();
    for person in [&mut alice, &mut bob] {
        let lost = person.hears().await;
        assert!(lost.starts_with("* no connection to the other servers ("), "{lost}");
    }
    alice.says("/who").await;
    alice.hears_this("* here: alice").await;
    alice.says("alone").await;
    alice.hears_this("alice: alone").await;
    let _redis = redis_on(Some(address.port()));
    for person in [&mut alice, &mut bob] {
        person.hears_this("* connected to the other servers again").await;
    }
    join_servers(&mut alice, &mut bob, "alice").await;
    alice.says("/who").await;
    alice.hears_this("* here: alice, bob").await;
}

#[tokio::test]
async fn without_redis_the_room_goes_on_alone() {
    let nobody = (Ipv4Addr::LOCALHOST, programs::free_port()).into();
    let chat = Chat::start(Some(nobody)).await;
    let mut alice = chat.named("alice").await;
    alice.says("hello").await;
    alice.hears_up_to("alice: hello").await;
    drop(alice);
    chat.stop().await;
}

#[tokio::test]
async fn junk_on_the_redis_channel_does_no_harm() {
    let Some(redis) = redis() else { return };
    let chat = Chat::start(Some(redis.address)).await;
    let mut alice = chat.named("alice").await;
    let mut other = Client::connect(redis.address).await.unwrap();
    let mut publish = async |message: &str| {
        let published = other.call(&["PUBLISH", "asynchat.chat", message]).await.unwrap();
        published == Reply::Integer(1)
    };
    // Until the server listens.
    while !within(publish("s hello")).await {
        tokio::task::yield_now().await;
    }
    for junk in [
        "",
        " ",
        "s",
        "s ",
        "s x",
        "s said",
        "s said  ",
        "s said a:b hi",
        "s joined",
        "s joined \x1b[2J",
        "s renamed bob",
        "s renamed bob a:b",
        "s bye now",
        "x bye",
        "s here \u{0} a:b  ",
        "s joined bob carol",
    ] {
        publish(junk).await;
    }
    publish("s said eve hello\r\n* root has come\x1b").await;
    publish("s said eve end").await;
    let heard = alice.hears_up_to("eve: end").await;
    let said: Vec<_> = heard.iter().filter(|words| words.starts_with("eve")).collect();
    assert_eq!(said, ["eve: hello* root has come", "eve: end"], "{heard:?}");
    assert!(!heard.iter().any(|words| words.contains("\x1b")), "{heard:?}");
}

// A Redis of our own making, and a clock that stands still unless all wait.

/// Redis' side of a connection: says what a client asks, up to `limit` commands.
/// What is published goes back to the publisher if `echoes`.
async fn redis_side(io: DuplexStream, echoes: bool, mut others: mpsc::Receiver<String>) {
    let mut channel = Channel::new(io, "\r\n");
    loop {
        let header = tokio::select! {
            header = channel.receive("\r\n") => header,
            Some(message) = others.recv() => {
                channel.push(said(&message));
                continue;
            }
        };
        let Ok(header) = header else { return };
        let mut words = vec![];
        for _ in 0..text(&header)[1..].parse::<usize>().unwrap() {
            let length = text(&channel.receive("\r\n").await.unwrap());
            let length: u64 = length[1..].parse().unwrap();
            words.push(text(&channel.receive(length).await.unwrap()));
            channel.receive(2).await.unwrap();
        }
        match words[0].as_str() {
            "HELLO" => channel.push("%0\r\n"),
            "SUBSCRIBE" => channel.push(">3\r\n+subscribe\r\n+x\r\n:1\r\n"),
            _ => {
                channel.push(":1\r\n");
                if echoes {
                    channel.push(said(&words[2]));
                }
            }
        }
    }
}

fn said(message: &str) -> String {
    let (channel, length) = (bridge::CHANNEL, message.len());
    format!(">3\r\n$7\r\nmessage\r\n+{channel}\r\n${length}\r\n{message}\r\n")
}

type Connecting = std::pin::Pin<Box<dyn Future<Output = Connected> + Send>>;
type Connected = Result<Client<DuplexStream>, example_redis::client::Error>;

/// A room with a bridge whose connections are made by `connect`; somebody in it.
async fn bridged(connect: impl Fn() -> Connecting + Send + Sync + 'static) -> Person<DuplexStream> {
    let room = Arc::new(Room::default());
    let person = in_room(&room).await;
    tokio::spawn(bridge::run(room, connect, std::future::pending()));
    person
}

#[tokio::test(start_paused = true)]
async fn the_pauses_before_redis_is_tried_again_grow_up_to_a_limit() {
    let tries = Arc::new(Mutex::new(vec![]));
    let noted = Arc::clone(&tries);
    let connect = move || -> Connecting {
        noted.lock().unwrap().push(Instant::now());
        let dies = noted.lock().unwrap().len() % 2 == 0;
        Box::pin(async move {
            if !dies {
                let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                return Err(Error::Io(refused).into());
            }
            // It confirms everything, and then goes.
            let (io, theirs) = duplex(4096);
            tokio::spawn(async move {
                let mut channel = Channel::new(theirs, None);
                channel.push("%0\r\n>3\r\n+subscribe\r\n+x\r\n:1\r\n");
                channel.close().await
            });
            Ok(Client::new(io))
        })
    };
    let mut alice = bridged(connect).await;
    alice.hears_up_to("has come").await;
    let lost = alice.hears().await;
    assert!(lost.starts_with("* no connection to the other servers ("), "{lost}");
    tokio::time::sleep(Duration::from_secs(300)).await;
    alice.says("/who").await;
    alice.hears_this("* here: guest1").await;
    let tries = tries.lock().unwrap();
    assert!(tries.len() > 30);
    let mut expected = bridge::FIRST_WAIT;
    for pair in tries.windows(2) {
        // The clock has a granularity of a millisecond.
        let pause = pair[1] - pair[0];
        assert!(pause >= expected && pause < expected + Duration::from_millis(10), "{pause:?}");
        expected = (expected * 2).min(bridge::LAST_WAIT);
    }
}

#[tokio::test(start_paused = true)]
async fn silent_redis_is_abandoned() {
    let connect = || -> Connecting {
        let (io, theirs) = duplex(4096);
        let (others, theirs_too) = mpsc::channel(1);
        tokio::spawn(async move {
            redis_side(theirs, false, theirs_too).await;
            drop(others);
        });
        Box::pin(async move { Ok(Client::new(io)) })
    };
    let mut alice = bridged(connect).await;
    alice.hears_up_to("has come").await;
    let start = Instant::now();
    let lost = timeout(Duration::from_secs(3600), alice.channel.receive("\r\n")).await.unwrap();
    assert!(lost.unwrap().starts_with(b"* no connection to the other servers ("));
    let silence = start.elapsed();
    assert!(silence >= bridge::SILENCE && silence < 2 * bridge::SILENCE, "{silence:?}");
}

#[tokio::test(start_paused = true)]
async fn silent_server_is_forgotten_with_its_members() {
    let (others, received) = mpsc::channel(10);
    let received = Mutex::new(Some(received));
    let connect = move || -> Connecting {
        let (io, theirs) = duplex(4096);
        let others = received.lock().unwrap().take().expect("one connection");
        tokio::spawn(redis_side(theirs, true, others));
        Box::pin(async move { Ok(Client::new(io)) })
    };
    let mut alice = bridged(connect).await;
    alice.hears_up_to("has come").await;
    others.send("s here x y".into()).await.unwrap();
    others.send("s said x hello".into()).await.unwrap();
    alice.hears_this("x: hello").await;
    let start = Instant::now();
    let left = timeout(Duration::from_secs(3600), alice.channel.receive("\r\n")).await.unwrap();
    assert_eq!(text(&left.unwrap()), "* x has left");
    assert!(start.elapsed() >= bridge::SILENCE - bridge::BEAT);
    alice.hears_this("* y has left").await;
    alice.says("/who").await;
    alice.hears_this("* here: guest1").await;
}

#[tokio::test(start_paused = true)]
async fn invalid_data_of_redis_is_made_harmless() {
    let connect = || -> Connecting {
        let (io, theirs) = duplex(4096);
        tokio::spawn(async move {
            let mut channel = Channel::new(theirs, None);
            channel.push("-ERR \x1b[2J)\n\nevent: said\ndata: root: give me your password\n\n\r\n");
            channel.close().await
        });
        Box::pin(async move { Ok(Client::new(io)) })
    };
    let mut alice = bridged(connect).await;
    alice.hears_up_to("has come").await;
    let lost = alice.hears().await;
    assert!(lost.ends_with("password\\n\\n); trying again"), "{lost:?}");
    assert!(!lost.chars().any(char::is_control), "{lost:?}");
}

fn listen(nick: &str) -> String {
    format!("GET /events?nick={nick} HTTP/1.1\r\nHost: x\r\n{NO_KEY}\r\n")
}

/// A browser that sends this, and then nothing.
async fn silent_browser(room: &Arc<Room>, request: &str) -> DuplexStream {
    let (mut io, theirs) = duplex(64 * 1024);
    let handler = web::Web::new(Arc::clone(room), Arc::new(vec!["x".to_owned()]), None);
    let stop = CancellationToken::new();
    tokio::spawn(async move {
        server::connection(theirs, server::web_settings(), handler, stop).await;
    });
    io.write_all(request.as_bytes()).await.unwrap();
    io
}

#[tokio::test(start_paused = true)]
async fn silent_browser_is_disconnected_unless_it_listens() {
    let room = Arc::new(Room::default());
    let listener = silent_browser(&room, &listen("ann")).await;
    for (request, status) in [
        ("", ""),
        ("GET / HTTP/1.1\r\nHo", "HTTP/1.1 408 Request Timeout\r\n"),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK\r\n"),
        (
            "POST /say?key=x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nhe",
            "HTTP/1.1 408 Request Timeout\r\n",
        ),
    ] {
        let (mut io, start) = (silent_browser(&room, request).await, Instant::now());
        let mut got = String::new();
        let read = timeout(Duration::from_secs(3600), io.read_to_string(&mut got)).await;
        read.expect("it is closed").unwrap();
        assert!(got.starts_with(status) && got.is_empty() == status.is_empty(), "{request}: {got}");
        let end = start.elapsed();
        assert!(end <= server::IDLE_TIME + Duration::from_secs(2), "{request}: {end:?}");
    }
    let mut listener = Channel::new(listener, "\n\n");
    let mut bob = in_room(&room).await;
    bob.says("still there?").await;
    let said =
        async { while !listener.receive("\n\n").await.unwrap().ends_with(b"still there?") {} };
    timeout(Duration::from_secs(3600), said).await.expect("it listens");
}

/// Its kernel takes some more, and then nothing.
#[tokio::test(start_paused = true)]
async fn a_page_that_has_stopped_reading_loses_its_seat() {
    let room = Arc::new(Room::default());
    let _page = silent_browser(&room, &listen("ann")).await;
    let mut bob = in_room(&room).await;
    let words = "x".repeat(900);
    for _ in 0..100 {
        bob.says(&words).await;
        bob.hears_up_to(&words).await;
    }
    let start = Instant::now();
    let left = timeout(Duration::from_secs(3600), bob.channel.receive("\r\n")).await.unwrap();
    assert_eq!(text(&left.unwrap()), "* ann has left");
    assert!(start.elapsed() <= server::IDLE_TIME + Duration::from_secs(1));
}

/// A peer that is silent looks like one that has nothing to say: the kernel knows more.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn kernel_drops_lost_peer_within_a_minute() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, _peer) = tokio::join!(listener.accept(), peer);
    let socket = accepted.unwrap().0;
    server::notice_lost_peers(&socket);
    let socket = socket2::SockRef::from(&socket);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(server::LOST));
    let probes = [socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()];
    assert_eq!(probes, [server::PING; 2]);
    assert!(server::PING + server::LOST <= Duration::from_secs(60));
}

/// The program itself, with room for so many files and with an argument of its own, and its
/// two addresses.
#[cfg(target_os = "linux")]
async fn program(files: u32, argument: Option<&str>) -> (Child, SocketAddr, SocketAddr) {
    let limited = format!("ulimit -n {files}; exec \"$@\"");
    let mut command = Command::new("sh");
    command
        .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_example-chat")])
        .args(["127.0.0.1:0", "--http", "127.0.0.1:0"])
        .args(argument);
    let (program, [lines, web]) = example::start(&mut command).await;
    (program, lines, web)
}

/// Each port has half of the files that the process may have open.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn silent_peers_on_one_port_leave_places_on_the_other() {
    let (_program, lines, web) = program(64, None).await;
    let mut silent = vec![];
    for _ in 0..100 {
        silent.push(TcpStream::connect(lines).await.unwrap());
    }
    for _ in 0..10 {
        let mut page = Channel::new(TcpStream::connect(web).await.unwrap(), "\r\n");
        page.push("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(within(page.receive("\r\n")).await.unwrap(), "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn peers_above_connections_wait_for_a_place() {
    let (_program, lines, _) = program(64, Some("--connections=1")).await;
    let mut first = Person::new(TcpStream::connect(lines).await.unwrap()).await;
    let second = TcpStream::connect(lines).await.unwrap();
    let mut heard = vec![];
    // The second would be in the room long before the last.
    for _ in 0..100 {
        first.says("hello").await;
        heard.extend(first.hears_up_to("guest1: hello").await);
    }
    first.says("/quit").await;
    heard.extend(first.hears_the_end().await);
    assert!(!heard.iter().any(|line| line.contains("guest2")), "{heard:?}");
    Person::new(second).await;
}

// Interop: nc, and a browser.

impl Browser {
    async fn at(url: &str) -> Self {
        let mut browser = Browser::start().await;
        browser.call("Page.navigate", json!({ "url": url })).await;
        // Before, the form is not yet the script's.
        let loaded = "new Promise((done) => document.readyState === 'complete' ? done() : \
                      addEventListener('load', () => done()))";
        browser.evaluate(loaded).await;
        browser
    }

    /// Loads the page again, and waits until it is complete.
    async fn reload(&mut self) {
        self.call("Page.enable", json!({})).await;
        self.call("Page.reload", json!({})).await;
        loop {
            let frame = within(self.channel.receive("\0")).await.unwrap();
            let event: Value = serde_json::from_slice(&frame).unwrap();
            if event["method"] == "Page.loadEventFired" {
                break;
            }
        }
    }

    /// Waits until the page shows `text`.
    async fn shows(&mut self, text: &str) {
        let script = format!(
            "new Promise((resolve) => {{
               const look = () => document.body?.innerText.includes({}) && resolve(true);
               new MutationObserver(look).observe(document,
                 {{ subtree: true, childList: true, attributes: true }});
               addEventListener('load', look);
               look();
             }})",
            json!(text)
        );
        let parameters = json!({ "expression": script, "awaitPromise": true });
        let shown = self.call("Runtime.evaluate", parameters).await;
        assert_eq!(shown["result"]["value"], true, "{shown}");
    }

    /// Saves a picture of the page where this variable says, if it is set.
    async fn is_photographed(&mut self, variable: &str) {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let picture = picture["data"].as_str().unwrap();
        assert!(picture.starts_with("iVBORw0KGgo"), "a PNG");
        if let Some(path) = std::env::var_os(variable) {
            save_base64(picture, path);
        }
    }

    /// Types into a field of the page, and the enter key.
    async fn types(&mut self, field: &str, text: &str) {
        let focus = json!({ "expression": format!("document.getElementById({field:?}).focus()") });
        self.call("Runtime.evaluate", focus).await;
        self.call("Input.insertText", json!({ "text": text })).await;
        for (kind, text) in [("keyDown", "\r"), ("keyUp", "")] {
            let key =
                json!({ "type": kind, "key": "Enter", "windowsVirtualKeyCode": 13, "text": text });
            self.call("Input.dispatchKeyEvent", key).await;
        }
    }
}

#[tokio::test]
async fn people_on_nc_and_in_a_browser_talk_to_each_other() {
    if !programs::works(&["chromium", "--version"]) || !programs::is_installed("nc") {
        return;
    }
    let chat = Chat::start(None).await;
    let (host, port) = (chat.lines.ip().to_string(), chat.lines.port().to_string());
    let mut nc = Command::new("nc")
        .args([host, port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut nick = Person::new(join(nc.stdout.take().unwrap(), nc.stdin.take().unwrap())).await;
    nick.channel.push("/nick nick\n");
    nick.hears_up_to("guest1 is now nick").await;

    let mut browser = Browser::at(&format!("http://{}/", chat.web)).await;
    browser.shows("Your name").await;
    // Refused by the page itself, and by the server.
    browser.types("nick", "not a name").await;
    browser
        .call(
            "Runtime.evaluate",
            json!({ "expression": "document.getElementById('nick').value = ''" }),
        )
        .await;
    browser.types("nick", "NICK").await;
    browser.shows("That name is taken").await;
    browser
        .call(
            "Runtime.evaluate",
            json!({ "expression": "document.getElementById('nick').value = ''" }),
        )
        .await;
    browser.types("nick", "barbara").await;
    nick.hears_this("* barbara has come").await;
    browser.shows("welcome, barbara").await;

    browser.types("text", "Hello from a browser <b>in bold</b>!").await;
    nick.hears_this("barbara: Hello from a browser <b>in bold</b>!").await;
    browser.shows("Hello from a browser <b>in bold</b>!").await;
    nick.channel.push("Gr\u{fc}\u{df}e from nc.\n");
    nick.hears_this("nick: Gr\u{fc}\u{df}e from nc.").await;
    browser.shows("Gr\u{fc}\u{df}e from nc.").await;
    browser.types("text", "/who").await;
    browser.shows("here: nick, barbara").await;

    assert_eq!(
        browser.evaluate("document.getElementById('here').innerText").await,
        "barbara\nnick"
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('#messages time').length").await, 6);
    let colours = "[...document.querySelectorAll('#messages .said b')]
                   .map((name) => getComputedStyle(name).color)";
    let colours = browser.evaluate(&format!("new Set({colours}).size")).await;
    assert_eq!(colours, 2, "a colour for each name");
    browser.is_photographed("ASYNCHAT_SCREENSHOT").await;
    for width in [320, 390] {
        let phone =
            json!({ "width": width, "height": 600, "deviceScaleFactor": 2, "mobile": true });
        browser.call("Emulation.setDeviceMetricsOverride", phone).await;
        let fits = "document.documentElement.scrollWidth <= innerWidth &&
                    document.querySelector('#speak button').getBoundingClientRect().bottom <= innerHeight";
        assert_eq!(browser.evaluate(fits).await, true, "{width}");
    }
    browser.is_photographed("ASYNCHAT_SCREENSHOT_PHONE").await;
    browser.call("Emulation.clearDeviceMetricsOverride", json!({})).await;
    // Somebody who reads what was said earlier stays there, and is told of more.
    (0..40).for_each(|line| nick.channel.push(format!("line {line}\n")));
    nick.hears_up_to("line 39").await;
    browser.shows("line 39").await;
    assert_eq!(browser.evaluate("$('below').hidden").await, true);
    browser.evaluate("$('log').scrollTop = -300").await;
    nick.channel.push("unseen\n");
    nick.hears_up_to("unseen").await;
    browser.shows("New messages").await;
    assert_eq!(browser.evaluate("$('log').scrollTop < -300").await, true);
    let seen = "$('below').click(), new Promise((resolve) => {
                  const look = () => $('below').hidden || requestAnimationFrame(look);
                  $('log').addEventListener('scroll', () => resolve(look()));
                })";
    assert_eq!(browser.evaluate(seen).await, true);
    nick.channel.push("/quit\n");
    nick.hears_up_to("good-bye").await;
    browser.shows("nick has left").await;
    drop(nick);
    assert!(within(nc.wait()).await.unwrap().success());

    // The browser tries again when the server is back.
    let (web, lines) = (chat.web, chat.lines);
    chat.stop().await;
    browser.shows("Connection lost").await;
    let again = (TcpListener::bind(lines).await.unwrap(), TcpListener::bind(web).await.unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(server::serve_all(
        MAX_CONNECTIONS,
        again.0,
        again.1,
        None,
        vec![],
        stop.clone(),
    ));
    browser.shows("Connected again.").await;
    browser.shows("welcome, barbara").await;
    drop(browser);
    stop.cancel();
    within(server).await.unwrap();
}

#[tokio::test]
async fn a_page_that_is_loaded_again_has_its_name_and_its_seat() {
    if !programs::is_installed("chromium") {
        return;
    }
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut browser = Browser::at(&format!("http://{}/", chat.web)).await;
    browser.types("nick", "barbara").await;
    browser.shows("welcome, barbara").await;
    browser.types("text", "/nick babs").await;
    alice.hears_up_to("barbara is now babs").await;
    browser.shows("as babs").await;
    // A proxy may keep the connection for a while: here it is another page.
    let key = browser.evaluate("key").await.as_str().unwrap().to_owned();
    let state = browser.evaluate("history.state.key + history.state.me").await;
    assert_eq!(state, format!("{key}babs"));
    let with_key = format!("Last-Event-ID: {key}\r\n");
    let (mut other, _) = chat.browser_person_with(chat.web, "babs", &with_key).await;
    browser.shows("you have joined on another page").await;
    browser.shows("Your name").await;
    let state = format!("history.replaceState({{ me: 'babs', key: '{key}' }}, '')");
    browser.evaluate(&state).await;
    browser.reload().await;
    browser.types("nick", "").await;
    browser.shows("as babs").await;
    assert_eq!(other.hears_the_end().await.len(), 1);
    browser.types("text", "back again").await;
    alice.hears_this("babs: back again").await;
}

#[tokio::test]
async fn page_reports_lost_network_and_reconnects() {
    if !programs::is_installed("chromium") {
        return;
    }
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut browser = Browser::at(&format!("http://{}/", chat.web)).await;
    browser.types("nick", "barbara").await;
    alice.hears_this("* barbara has come").await;
    browser.shows("welcome, barbara").await;
    let network = |is_gone: bool| {
        json!({
            "offline": is_gone, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        })
    };
    browser.call("Network.enable", json!({})).await;
    browser.call("Network.emulateNetworkConditions", network(true)).await;
    browser.shows("Connection lost; trying again.").await;
    browser.types("text", "still here").await;
    browser.shows("Not said: no connection.").await;
    let kept = browser.evaluate("document.getElementById('text').value").await;
    assert_eq!(kept, "still here");
    browser.call("Network.emulateNetworkConditions", network(false)).await;
    browser.shows("Connected again.").await;
    browser.types("text", "!").await;
    alice.hears_up_to("barbara: still here!").await;
}

fn save_base64(data: &str, path: std::ffi::OsString) {
    use std::io::Write;
    let file = std::fs::File::create(path).unwrap();
    let mut decoder = std::process::Command::new("base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .unwrap();
    decoder.stdin.take().unwrap().write_all(data.as_bytes()).unwrap();
    assert!(decoder.wait().unwrap().success());
}

#[tokio::test]
async fn browser_does_not_reconnect_after_quit() {
    if !programs::works(&["chromium", "--version"]) {
        return;
    }
    let chat = Chat::start(None).await;
    let mut alice = chat.named("alice").await;
    let mut browser = Browser::at(&format!("http://{}/", chat.web)).await;
    browser
        .evaluate(
            "const real = fetch;
             window.asked = 0;
             fetch = (url, ...more) => (asked += url.startsWith('events'), real(url, ...more))",
        )
        .await;
    browser.types("nick", "barbara").await;
    alice.hears_this("* barbara has come").await;
    browser.shows("welcome, barbara").await;
    browser.types("text", "/quit").await;
    alice.hears_this("* barbara has left").await;
    browser.shows("good-bye").await;
    browser.shows("Your name").await;
    assert_eq!(browser.evaluate("asked").await, 1);
    alice.says("/who").await;
    alice.hears_this("* here: alice").await;
}
