//! The NATS client: sessions cut everywhere, hostile servers, slow subscribers, and a real
//! nats-server.

#[path = "../../../tests/programs/mod.rs"]
mod programs;

use asynchat::Timeout;
use example_nats::client::{Client, MAX_WAITING, TIMEOUTS};
use example_nats::error::Error;
use programs::within;
use std::io;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};

/// That of a channel.
const HIGH_WATER: usize = 128 * 1024;

const INFO: &str = "INFO {\"headers\":true,\"max_payload\":1048576}\r\n";

/// A server that does what the test says.
struct Fake(DuplexStream);

impl Fake {
    async fn open() -> (Client, Fake) {
        Fake::open_with(1 << 20, INFO).await
    }

    /// No more than `size` bytes go at once, in either direction.
    async fn open_with(size: usize, info: &str) -> (Client, Fake) {
        let (io, mut fake) = Fake::begin(size);
        fake.sends(info).await;
        fake.is_connected().await;
        fake.sends("PONG\r\n").await;
        (within(io).await.unwrap().unwrap(), fake)
    }

    fn begin(size: usize) -> (JoinHandle<Result<Client, Error>>, Fake) {
        let (io, there) = duplex(size);
        (tokio::spawn(async move { Client::new(io, None).await }), Fake(there))
    }

    async fn sends(&mut self, data: impl AsRef<[u8]>) {
        timeout(HOUR, self.0.write_all(data.as_ref())).await.expect("it hangs").unwrap();
    }

    async fn is_connected(&mut self) -> String {
        let line = self.line().await;
        self.gets("PING\r\n").await;
        line.strip_prefix("CONNECT ").unwrap().to_owned()
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(timeout(HOUR, self.0.read_u8()).await.expect("it hangs").unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    #[track_caller]
    fn gets(&mut self, expected: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let mut got = vec![0; expected.len()];
            let read = timeout(HOUR, self.0.read_exact(&mut got)).await.expect("it hangs");
            read.unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(String::from_utf8_lossy(&got), expected, "{place}");
        }
    }

    async fn gets_the_end(mut self) {
        let mut rest = String::new();
        timeout(HOUR, self.0.read_to_string(&mut rest)).await.expect("it hangs").unwrap();
        assert_eq!(rest, "");
    }
}

/// A guard where the clock is paused.
const HOUR: Duration = Duration::from_secs(3600);

async fn error_of(client: &Client) -> Error {
    let error = timeout(HOUR, client.flush()).await.expect("it hangs");
    error.expect_err("the connection has ended")
}

fn is_invalid_head(error: &Error) -> bool {
    matches!(error, Error::Channel(error) if matches!(**error, asynchat::Error::InvalidHead(_)))
}

// Whole sessions.

const MESSAGES: &str = "PING\r\n+OK\r\nMSG a.b 2 5\r\nhello\r\nMSG\ta.c  2 answer.to\t0\r\n\r\n\
    INFO {\"connect_urls\":[]}\r\nHMSG a.b 2 r 33 37\r\nNATS/1.0\r\nOne: 1\r\nTwo:  2 : 3\r\n\r\n\
    \r\n\r\n\r\nMSG other 99 1\r\nx\r\nPONG\r\nHMSG a.b 2 23 23\r\nNATS/1.0 503 No one\r\n\r\n\r\n\
    PING\r\n";

/// Sends a text in two pieces.
async fn sends_cut(fake: &mut Fake, text: &str, cut: usize) {
    fake.sends(&text[..cut]).await;
    for _ in 0..3 {
        yield_now().await;
    }
    fake.sends(&text[cut..]).await;
}

#[tokio::test]
async fn messages_are_the_same_cut_at_every_byte() {
    for cut in 0..=MESSAGES.len() {
        let (client, mut fake) = Fake::open().await;
        let mut messages = within(client.subscribe("a.*")).await.unwrap();
        fake.gets("SUB a.* 2\r\n").await;
        sends_cut(&mut fake, MESSAGES, cut).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let message = within(messages.next()).await.unwrap();
            seen.push(format!(
                "{} {:?} {:?} {:?}",
                message.subject,
                message.reply,
                message.headers().collect::<Vec<_>>(),
                String::from_utf8_lossy(&message.payload)
            ));
        }
        let expected = [
            r#"a.b None [] "hello""#,
            r#"a.c Some("answer.to") [] """#,
            r#"a.b Some("r") [("One", "1"), ("Two", "2 : 3")] "\r\n\r\n""#,
            r#"a.b None [] """#,
        ];
        assert_eq!(seen, expected, "cut at {cut}");
        fake.gets("PONG\r\nPONG\r\n").await;
    }
}

#[tokio::test]
async fn handshake_is_the_same_cut_at_every_byte() {
    let session = format!("{INFO}PONG\r\n+OK\r\nPING\r\nINFO {{}}\r\n");
    for cut in 0..=session.len() {
        let (client, mut fake) = Fake::begin(1 << 20);
        sends_cut(&mut fake, &session, cut).await;
        fake.is_connected().await;
        fake.gets("PONG\r\n").await;
        drop(within(client).await.unwrap().unwrap());
        fake.gets_the_end().await;
    }
}

#[tokio::test]
async fn everything_is_sent_in_order_over_pipes_of_every_size() {
    for size in [1, 2, 3, 7, 64, 5000] {
        let (client, mut fake) = Fake::open_with(size, INFO).await;
        let (payload, large) = ("x".repeat(4095), "y".repeat(4096));
        let sent = (payload.clone(), large.clone());
        let sending = tokio::spawn(async move {
            client.publish("a", &[], b"").await.unwrap();
            client.publish("a.b", &[], b"MSG\r\n").await.unwrap();
            let headers = &[("One", "1"), ("Two", "")];
            client.publish("a", headers, b"hi").await.unwrap();
            client.publish("a", &[], sent.0.as_bytes()).await.unwrap();
            client.publish("a", &[], sent.1.as_bytes()).await.unwrap();
            drop(client);
        });
        fake.gets("PUB a 0\r\n\r\nPUB a.b 5\r\nMSG\r\n\r\n").await;
        fake.gets("HPUB a 27 29\r\nNATS/1.0\r\nOne: 1\r\nTwo: \r\n\r\nhi\r\n").await;
        fake.gets(&format!("PUB a 4095\r\n{payload}\r\nPUB a 4096\r\n{large}\r\n")).await;
        fake.gets_the_end().await;
        within(sending).await.unwrap();
    }
}

#[tokio::test]
async fn connect_sends_required_options() {
    let (io, there) = duplex(4096);
    let client = tokio::spawn(Client::new(io, Some(("a\"b", "c"))));
    let mut fake = Fake(there);
    fake.sends(INFO).await;
    let connect: serde_json::Value = serde_json::from_str(&fake.is_connected().await).unwrap();
    assert_eq!((&connect["user"], &connect["pass"]), (&"a\"b".into(), &"c".into()));
    for (name, value) in [("verbose", false), ("headers", true), ("no_responders", true)] {
        assert_eq!(connect[name], value, "{name}");
    }
    fake.sends("PONG\r\n").await;
    within(client).await.unwrap().unwrap();
}

// Requests.

#[tokio::test(start_paused = true)]
async fn answers_come_to_their_callers_in_any_order() {
    let (client, mut fake) = Fake::open().await;
    let ask = |text: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.request("a", &[], text.as_bytes()).await })
    };
    let one = ask("1");
    let inbox = fake.line().await;
    let inbox = inbox.strip_prefix("SUB ").unwrap().strip_suffix("* 1\r\n").unwrap();
    assert!(inbox.starts_with("_INBOX."));
    fake.gets(&format!("PUB a {inbox}2 1\r\n1\r\n")).await;
    let two = ask("2");
    fake.gets(&format!("PUB a {inbox}3 1\r\n2\r\n")).await;
    let three = ask("3");
    fake.gets(&format!("PUB a {inbox}4 1\r\n3\r\n")).await;
    let nobody = "16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    fake.sends(format!("MSG {inbox}77 1 1\r\nx\r\nMSG {inbox}x 1 1\r\nx\r\n")).await;
    fake.sends(format!("MSG {inbox}3 1 3\r\ntwo\r\nHMSG {inbox}4 1 {nobody}")).await;
    fake.sends(format!("MSG {inbox}2 1 3\r\none\r\nMSG {inbox}2 1 5\r\nagain\r\n")).await;
    assert_eq!(one.await.unwrap().unwrap().payload, b"one");
    assert_eq!(two.await.unwrap().unwrap().payload, b"two");
    assert!(matches!(three.await.unwrap(), Err(Error::NoResponders)));
}

#[tokio::test(start_paused = true)]
async fn late_answer_to_a_request_given_up_is_ignored() {
    let (client, mut fake) = Fake::open().await;
    let asking = timeout(Duration::from_secs(10), client.request("a", &[], b"1"));
    let (answer, ()) = tokio::join!(asking, async {
        fake.line().await;
        let publish = fake.line().await;
        fake.gets("1\r\n").await;
        let inbox = publish.split(' ').nth(2).unwrap();
        sleep(Duration::from_secs(11)).await;
        fake.sends(format!("MSG {inbox} 1 1\r\nx\r\n")).await;
    });
    assert!(answer.is_err());
    let (flushed, ()) = tokio::join!(client.flush(), async {
        fake.gets("PING\r\n").await;
        fake.sends("PONG\r\n").await;
    });
    flushed.unwrap();
}

#[tokio::test]
async fn answer_for_a_subscription_number_is_not_its_message() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    fake.gets("SUB a 2\r\n").await;
    fake.sends("MSG _INBOX.2 1 1\r\nx\r\nMSG a 2 1\r\ny\r\n").await;
    assert_eq!(within(messages.next()).await.unwrap().payload, b"y");
}

#[tokio::test]
async fn flush_returns_after_earlier_server_output() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    client.publish("a", &[], b"x").await.unwrap();
    let flushing = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    fake.gets("SUB a 2\r\nPUB a 1\r\nx\r\nPING\r\n").await;
    fake.sends("MSG a 2 1\r\nx\r\n").await;
    yield_now().await;
    assert!(!flushing.is_finished());
    fake.sends("PONG\r\n").await;
    within(flushing).await.unwrap().unwrap();
    assert_eq!(within(messages.next()).await.unwrap().payload, b"x");
}

// Subscriptions.

#[tokio::test]
async fn subscription_is_ended_once_when_it_is_dropped() {
    let (client, mut fake) = Fake::open().await;
    let one = client.subscribe("a").await.unwrap();
    let mut two = client.subscribe("b").await.unwrap();
    fake.gets("SUB a 2\r\nSUB b 3\r\n").await;
    drop(one);
    fake.gets("UNSUB 2\r\n").await;
    fake.sends("MSG a 2 1\r\nx\r\nMSG b 3 1\r\ny\r\n").await;
    assert_eq!(within(two.next()).await.unwrap().payload, b"y");
    drop((two, client));
    fake.gets("UNSUB 3\r\n").await;
    fake.gets_the_end().await;
}

/// Queues as much as goes.
async fn fill(client: &Client) {
    let large = vec![b'x'; HIGH_WATER];
    client.publish("full", &[], &large).await.unwrap();
    let client = client.clone();
    let more = async { while client.publish("full", &[], &vec![b'x'; 4000]).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), more).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn subscription_dropped_without_capacity_is_ended_later() {
    for event in ["MSG a 2 1\r\nx\r\n", "MSG a 2 1\r\nx\r\nMSG a 2 1\r\nx\r\n"] {
        let (client, mut fake) = Fake::open_with(1 << 10, INFO).await;
        let messages = client.subscribe("a").await.unwrap();
        fake.gets("SUB a 2\r\n").await;
        fill(&client).await;
        drop(messages);
        fake.sends(event).await;
        let mut seen = Vec::new();
        while !seen.ends_with(b"UNSUB 2\r\n") {
            let read = timeout(HOUR, fake.0.read_buf(&mut seen)).await.expect("it hangs");
            assert_ne!(read.unwrap(), 0);
        }
        fake.sends(event).await;
        sleep(Duration::from_secs(1)).await;
        let (flushed, ()) = tokio::join!(client.flush(), async {
            loop {
                match &*fake.line().await {
                    "PING\r\n" => break fake.sends("PONG\r\n").await,
                    line => assert_eq!(line, "PONG\r\n"),
                }
            }
        });
        flushed.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_subscription_dropped_without_capacity_is_ended() {
    let (client, mut fake) = Fake::open_with(1 << 10, INFO).await;
    let messages = client.subscribe("a").await.unwrap();
    fake.gets("SUB a 2\r\n").await;
    fill(&client).await;
    drop(messages);
    let mut seen = Vec::new();
    while !seen.ends_with(b"UNSUB 2\r\n") {
        let read = timeout(HOUR, fake.0.read_buf(&mut seen)).await.expect("it hangs");
        assert_ne!(read.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn full_subscription_dropped_without_capacity_is_ended() {
    let (client, mut fake) = Fake::open().await;
    let messages = client.subscribe("a").await.unwrap();
    fake.gets("SUB a 2\r\n").await;
    let message = format!("MSG a 2 1000000\r\n{}\r\n", "x".repeat(1_000_000));
    while messages.dropped() == 0 {
        fake.sends(&message).await;
        yield_now().await;
    }
    // As much as the pipe and the queue take.
    let more = async { while client.publish("full", &[], &vec![b'x'; 4000]).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), more).await.is_err());
    drop(messages);
    fake.sends(&message).await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"UNSUB 2\r\n") {
        let read = timeout(HOUR, fake.0.read_buf(&mut seen)).await.expect("it hangs");
        assert_ne!(read.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_subscriber_loses_messages_without_delaying_others() {
    let (client, mut fake) = Fake::open().await;
    let mut slow = client.subscribe("slow").await.unwrap();
    let mut other = client.subscribe("other").await.unwrap();
    fake.gets("SUB slow 2\r\nSUB other 3\r\n").await;
    let message = "MSG slow 2 1\r\nx\r\n";
    let mut sent = 0;
    while slow.dropped() == 0 {
        fake.sends(message.repeat(1000)).await;
        sent += 1000;
        yield_now().await;
    }
    fake.sends("MSG other 3 1\r\nx\r\n").await;
    assert_eq!(other.next().await.unwrap().payload, b"x");
    let count = sent - slow.dropped();
    // With what a message needs besides.
    assert!((MAX_WAITING as u64 / 128..MAX_WAITING as u64 / 32).contains(&count), "{count}");
    for _ in 0..count {
        slow.next().await.unwrap();
    }
    // There is room again.
    fake.sends("MSG slow 2 1\r\ny\r\n").await;
    assert_eq!(slow.next().await.unwrap().payload, b"y");
}

#[tokio::test(start_paused = true)]
async fn slow_subscriber_of_large_messages_is_bounded_in_bytes() {
    let (client, mut fake) = Fake::open().await;
    let mut slow = client.subscribe("slow").await.unwrap();
    let mut other = client.subscribe("other").await.unwrap();
    fake.gets("SUB slow 2\r\nSUB other 3\r\n").await;
    let count = MAX_WAITING / 1_000_000;
    let message = format!("MSG slow 2 1000000\r\n{}\r\n", "x".repeat(1_000_000));
    // The dropped ones do not count later.
    for round in 1..=2 {
        for _ in 0..count + 30 {
            fake.sends(&message).await;
        }
        fake.sends("MSG other 3 1\r\nx\r\n").await;
        assert_eq!(other.next().await.unwrap().payload, b"x");
        assert_eq!(slow.dropped(), 30 * round);
        for _ in 0..count {
            assert_eq!(slow.next().await.unwrap().payload.len(), 1_000_000);
        }
    }
}

// The end.

#[tokio::test]
async fn every_caller_gets_reason_of_the_end() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request("a", &[], b"").await.map(drop) }
    });
    let flushing = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    fake.gets("SUB a 2\r\n").await;
    fake.line().await;
    fake.sends("-ERR 'Stale\u{1b} Connection'\r\n").await;
    drop(fake);
    let is_it = |error: Error| {
        assert_eq!(error.to_string(), "server: \"-ERR 'Stale\\u{1b} Connection'\"");
        assert!(matches!(error, Error::Server(text) if text == "-ERR 'Stale\u{1b} Connection'"));
    };
    is_it(within(asking).await.unwrap().unwrap_err());
    is_it(within(flushing).await.unwrap().unwrap_err());
    is_it(within(messages.next()).await.err().unwrap());
    is_it(within(client.publish("a", &[], b"")).await.unwrap_err());
    is_it(within(client.request("a", &[], b"")).await.err().unwrap());
    is_it(within(client.subscribe("a")).await.err().unwrap());
    is_it(within(client.flush()).await.unwrap_err());
}

#[tokio::test]
async fn refusal_is_reported_by_the_next_flush_only() {
    let (client, mut fake) = Fake::open().await;
    for expected in [Some("-ERR 'no'"), None] {
        let flushing = tokio::spawn({
            let client = client.clone();
            async move { client.flush().await }
        });
        fake.gets("PING\r\n").await;
        let refusal = expected.map_or(String::new(), |text| format!("{text}\r\n"));
        fake.sends(refusal + "PONG\r\n").await;
        let refused = match within(flushing).await.unwrap() {
            Err(Error::Server(text)) => Some(text),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(refused.as_deref(), expected);
    }
}

#[tokio::test]
async fn refusal_is_not_reported_by_an_earlier_flush() {
    let (client, mut fake) = Fake::open().await;
    let flush = || {
        let client = client.clone();
        tokio::spawn(async move { client.flush().await })
    };
    let flushing = [flush(), flush(), flush()];
    fake.gets("PING\r\nPING\r\nPING\r\n").await;
    fake.sends("PONG\r\n-ERR 'one'\r\nPONG\r\n-ERR 'two'\r\nPONG\r\n").await;
    for (flushing, expected) in
        flushing.into_iter().zip([None, Some("-ERR 'one'"), Some("-ERR 'two'")])
    {
        let refused = match within(flushing).await.unwrap() {
            Err(Error::Server(text)) => Some(text),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(refused.as_deref(), expected);
    }
}

#[tokio::test]
async fn refusal_is_not_lost_with_a_flush_that_is_given_up() {
    let (client, mut fake) = Fake::open().await;
    let given_up = tokio::spawn({
        let client = client.clone();
        async move { client.flush().await }
    });
    fake.gets("PING\r\n").await;
    given_up.abort();
    given_up.await.unwrap_err();
    fake.sends("-ERR 'no'\r\nPONG\r\n").await;
    let (flushed, ()) = tokio::join!(client.flush(), async {
        fake.gets("PING\r\n").await;
        fake.sends("PONG\r\n").await;
    });
    assert!(matches!(flushed, Err(Error::Server(text)) if text == "-ERR 'no'"));
}

#[tokio::test(start_paused = true)]
async fn flushes_given_up_are_bounded_until_their_pongs_come() {
    let (client, mut fake) = Fake::open().await;
    let mut given_up = 0;
    let waiting = loop {
        let flushing = tokio::spawn({
            let client = client.clone();
            async move { client.flush().await }
        });
        if timeout(Duration::from_secs(1), fake.line()).await.is_err() {
            break flushing;
        }
        flushing.abort();
        given_up += 1;
        assert!(given_up < 10_000, "there is no bound");
    };
    fake.sends("PONG\r\n".repeat(given_up)).await;
    fake.gets("PING\r\n").await;
    fake.sends("PONG\r\n").await;
    within(waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn flushes_beyond_the_bound_get_reason_of_the_end() {
    let (client, mut fake) = Fake::open().await;
    let flushes: Vec<_> = (0..3000)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.flush().await })
        })
        .collect();
    fake.gets("PING\r\n").await;
    fake.sends("-ERR 'no'\r\n").await;
    drop(fake);
    for flushing in flushes {
        let error = within(flushing).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Server(text) if text == "-ERR 'no'"));
    }
}

#[tokio::test]
async fn earlier_refusal_does_not_hide_reason_of_the_end() {
    let (client, mut fake) = Fake::open().await;
    fake.sends("-ERR 'no'\r\nWHAT\r\n").await;
    assert!(is_invalid_head(&error_of(&client).await));
}

/// The input of a connection that is reset.
struct Reset;

impl AsyncRead for Reset {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn refusal_is_the_reason_when_the_connection_is_reset() {
    let said = format!("{INFO}PONG\r\n-ERR 'no'\r\n").into_bytes();
    let input = io::Cursor::new(said).chain(Reset);
    let client = Client::new(tokio::io::join(input, tokio::io::sink()), None).await.unwrap();
    assert!(matches!(error_of(&client).await, Error::Server(text) if text == "-ERR 'no'"));
}

#[tokio::test]
async fn server_that_closes_ends_the_session() {
    let (client, fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    drop(fake);
    assert!(within(messages.next()).await.is_err());
    assert!(within(client.publish("a", &[], b"")).await.is_err());
}

// Refusals.

#[tokio::test]
async fn publish_takes_only_literal_subjects() {
    let (client, _fake) = Fake::open().await;
    for subject in ["a..b", ".", ".a", "a.", "*", "a.*", ">", "a.>"] {
        let published = client.publish(subject, &[], b"").await;
        assert!(matches!(published, Err(Error::Invalid("subject"))), "{subject:?}");
    }
    for subject in ["a", "a.b", "a*", "a.b>"] {
        client.publish(subject, &[], b"").await.unwrap();
    }
}

#[tokio::test]
async fn subjects_and_headers_cannot_inject_a_line() {
    let (client, mut fake) = Fake::open().await;
    let long = "a".repeat(1025);
    for subject in ["", " ", "a b", "a\tb", "a\r\nPUB b 0", "a\n", "a\0", "a\x7f", &long] {
        let published = client.publish(subject, &[], b"").await;
        assert!(matches!(published, Err(Error::Invalid("subject"))), "{subject:?}");
        let asked = client.request(subject, &[], b"").await;
        assert!(matches!(asked, Err(Error::Invalid("subject"))), "{subject:?}");
        let subscribed = client.subscribe(subject).await;
        assert!(matches!(subscribed, Err(Error::Invalid("subject"))), "{subject:?}");
    }
    for header in [("", ""), ("a b", ""), ("a:", ""), ("a\r\n", ""), ("a", "\r"), ("a", "b\nc: d")]
    {
        let published = client.publish("a", &[header], b"").await;
        assert!(matches!(published, Err(Error::Invalid("header"))), "{header:?}");
    }
    client.publish("a*.b>é", &[], b"").await.unwrap();
    fake.gets("PUB a*.b>é 0\r\n\r\n").await;
}

#[tokio::test]
async fn payload_is_checked_against_the_limit_of_the_server() {
    let info = "INFO {\"headers\":true,\"max_payload\":30}\r\n";
    let (client, mut fake) = Fake::open_with(4096, info).await;
    let headers = &[("One", "1")];
    client.publish("a", &[], &b"x".repeat(30)).await.unwrap();
    client.publish("a", headers, &b"x".repeat(10)).await.unwrap();
    let too_long = client.publish("a", &[], &b"x".repeat(31)).await;
    assert!(matches!(too_long, Err(Error::Invalid(_))));
    let too_long = client.publish("a", headers, &b"x".repeat(11)).await;
    assert!(matches!(too_long, Err(Error::Invalid(_))));
    fake.gets(&format!("PUB a 30\r\n{}\r\nHPUB a 20 30\r\n", "x".repeat(30))).await;
}

#[tokio::test]
async fn server_without_headers_is_asked_for_none() {
    let (connecting, mut fake) = Fake::begin(4096);
    fake.sends("INFO {\"max_payload\":30}\r\nPONG\r\n").await;
    let connect: serde_json::Value = serde_json::from_str(&fake.is_connected().await).unwrap();
    assert_eq!((&connect["headers"], &connect["no_responders"]), (&false.into(), &false.into()));
    let client = within(connecting).await.unwrap().unwrap();
    let published = client.publish("a", &[("One", "1")], b"").await;
    assert!(matches!(published, Err(Error::Invalid(_))));
    client.publish("b", &[], b"").await.unwrap();
    fake.gets("PUB b 0\r\n").await;
}

// Hostile servers.

#[tokio::test]
async fn greeting_that_is_none_is_refused() {
    let refused = |text: &'static str| async move {
        let (client, mut fake) = Fake::begin(1 << 20);
        fake.sends(text).await;
        within(client).await.unwrap().err().unwrap_or_else(|| panic!("{text}"))
    };
    for text in ["\r\n", "HTTP/1.1 400 Bad Request\r\n", "INFO {\r\n", "PONG\r\n", "info {}\r\n"] {
        assert!(matches!(refused(text).await, Error::Protocol(_)), "{text}");
    }
    let tls = "INFO {\"tls_required\":true}\r\n";
    assert!(matches!(refused(tls).await, Error::Protocol(_)));
    for answer in ["WHAT", "-ERR 'Authorization Violation'", "MSG a 2 0", "PING", ""] {
        let (client, mut fake) = Fake::begin(1 << 20);
        fake.sends(format!("INFO {{}}\r\n{answer}\r\nPONG\r\n")).await;
        let error = within(client).await.unwrap().err().unwrap();
        assert!(matches!(error, Error::Server(text) if text == answer));
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_stops_in_the_login_is_left_in_time() {
    for text in ["INF", "INFO {}\r\nPO"] {
        let (client, mut fake) = Fake::begin(4096);
        fake.sends(text).await;
        let start = Instant::now();
        let error = client.await.unwrap().err().unwrap();
        assert_eq!(start.elapsed().as_secs(), TIMEOUTS.frame.unwrap().as_secs());
        assert!(matches!(error, Error::Channel(error)
            if matches!(*error, asynchat::Error::Timeout(Timeout::Frame(_)))));
    }
}

#[tokio::test(start_paused = true)]
async fn refused_login_is_reported_at_once() {
    let (client, mut fake) = Fake::begin(4096);
    let start = Instant::now();
    // The connection stays open.
    fake.sends("INFO {}\r\n-ERR 'Authorization Violation'\r\n").await;
    let error = client.await.unwrap().err().unwrap();
    assert!(matches!(error, Error::Server(text) if text == "-ERR 'Authorization Violation'"));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn line_that_never_ends_is_refused() {
    let endless = async |mut fake: Fake, begin: &str| {
        let mut sent = 0;
        // Fails when the client has closed.
        while fake.0.write_all(begin.as_bytes()).await.is_ok() {
            sent += begin.len();
        }
        assert!(sent < 256 * 1024, "{begin} {sent}");
    };
    let (client, fake) = Fake::begin(4096);
    within(endless(fake, "INFO ")).await;
    let too_long = within(client).await.unwrap().err().unwrap();
    assert!(matches!(too_long, Error::Channel(_)), "{too_long}");
    for begin in ["M", "MSG a", "-ERR", "\n"] {
        let (client, fake) = Fake::open_with(4096, INFO).await;
        within(endless(fake, begin)).await;
        assert!(is_invalid_head(&error_of(&client).await), "{begin}");
    }
}

#[tokio::test]
async fn lie_about_a_message_ends_the_session() {
    let limit = |error: &Error| {
        matches!(error, Error::Channel(error)
            if matches!(**error, asynchat::Error::FrameTooLong { .. }))
    };
    let is_protocol = |error: &Error| matches!(error, Error::Protocol(_));
    type Check<'a> = &'a dyn Fn(&Error) -> bool;
    let cases: [(&str, Check<'_>); 17] = [
        ("MSG a 2 9223372036854775808\r\n", &limit),
        ("MSG a 2 18446744073709551615\r\n", &limit),
        ("MSG a 2 99999999\r\n", &limit),
        ("HMSG a 2 12 9223372036854775808\r\n", &limit),
        ("MSG a 2 18446744073709551616\r\n", &is_invalid_head),
        ("MSG a 2 -1\r\n", &is_invalid_head),
        ("MSG a 2\r\nab\r\n", &is_protocol),
        ("MSG\r\n", &is_invalid_head),
        ("MSG a 2 r s 0\r\n\r\n", &is_protocol),
        ("MSG a 2 1\r\nxyz", &is_protocol),
        ("HMSG a 2 3 2\r\nxy\r\n", &is_protocol),
        ("HMSG a 2 18446744073709551616 2\r\nxy\r\n", &is_protocol),
        ("HMSG a 2 x 2\r\nxy\r\n", &is_protocol),
        ("HMSG a 2 2\r\nxy\r\n", &is_protocol),
        ("HMSG a 2 r 3 4 5 6\r\nabcdef\r\n", &is_protocol),
        ("PUB a 0\r\n\r\n", &is_invalid_head),
        ("\r\n", &is_invalid_head),
    ];
    for (text, is_it) in cases {
        let (client, mut fake) = Fake::open().await;
        let mut messages = client.subscribe("a").await.unwrap();
        fake.gets("SUB a 2\r\n").await;
        fake.sends(text).await;
        let error = within(messages.next()).await.err().unwrap();
        assert!(is_it(&error), "{text}: {error:?}");
    }
    let info = "INFO {\"max_payload\":18446744073709551615}\r\n";
    let (client, mut fake) = Fake::open_with(4096, info).await;
    fake.sends("MSG a 2 100000000\r\n").await;
    assert!(limit(&error_of(&client).await));
}

#[tokio::test]
async fn message_that_is_not_utf8_does_not_end_the_session() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe(">").await.unwrap();
    fake.sends(b"MSG \xfe 2 1\r\nx\r\nMSG a 2 \xff.b 1\r\nx\r\nMSG \xfe 9 1\r\nx\r\n").await;
    fake.sends(b"HMSG a 2 17 18\r\nNATS/1.0\r\nA:\xff\r\n\r\nx\r\nMSG b\x0cc 2 1\r\ny\r\n").await;
    let mut next = async || within(messages.next()).await.unwrap();
    assert_eq!(next().await.subject, "\u{fffd}");
    assert_eq!(next().await.reply.unwrap(), "\u{fffd}.b");
    let message = next().await;
    assert_eq!((&*message.subject, &*message.payload), ("a", &b"x"[..]));
    assert_eq!(message.headers().collect::<Vec<_>>(), [("A", "\u{fffd}")]);
    assert_eq!(next().await.subject, "b\x0cc");
}

#[tokio::test(start_paused = true)]
async fn server_that_stops_in_a_message_is_left_in_time() {
    let (client, mut fake) = Fake::open().await;
    fake.sends("MSG a 2 100\r\nx").await;
    let start = Instant::now();
    let error = error_of(&client).await;
    assert_eq!(start.elapsed().as_secs(), TIMEOUTS.frame.unwrap().as_secs());
    assert!(matches!(error, Error::Channel(error)
        if matches!(*error, asynchat::Error::Timeout(Timeout::Frame(_)))));
}

#[tokio::test(start_paused = true)]
async fn large_message_on_a_slow_line_is_not_cut_off() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    fake.sends("MSG a 2 6000000\r\n").await;
    let sending = tokio::spawn(async move {
        for _ in 0..200 {
            fake.sends("x".repeat(30_000)).await;
            sleep(Duration::from_secs(1)).await;
        }
        fake.sends("\r\n").await;
        fake
    });
    assert_eq!(messages.next().await.unwrap().payload.len(), 6_000_000);
    drop(sending);
}

#[tokio::test(start_paused = true)]
async fn silence_of_the_server_does_not_end_the_session() {
    let (client, mut fake) = Fake::open().await;
    let mut messages = client.subscribe("a").await.unwrap();
    fake.gets("SUB a 2\r\n").await;
    assert!(timeout(24 * HOUR, messages.next()).await.is_err());
    fake.sends("MSG a 2 1\r\nx\r\n").await;
    assert_eq!(messages.next().await.unwrap().payload, b"x");
}

#[tokio::test(start_paused = true)]
async fn server_that_never_reads_blocks_callers() {
    let (client, fake) = Fake::open_with(4096, INFO).await;
    let (start, mut sent) = (Instant::now(), 0);
    let error = loop {
        match timeout(HOUR, client.publish("a", &[], &vec![b'x'; 1000])).await.expect("it hangs") {
            Ok(()) => sent += 1000,
            Err(error) => break error,
        }
    };
    assert!(sent < HIGH_WATER + 8192, "{sent}");
    assert_eq!(start.elapsed().as_secs(), TIMEOUTS.write.unwrap().as_secs());
    assert!(matches!(error, Error::Channel(error)
        if matches!(*error, asynchat::Error::Timeout(Timeout::Write(_)))));
    drop(fake);
}

#[tokio::test(start_paused = true)]
async fn server_that_only_pings_is_not_read_without_end() {
    let (client, mut fake) = Fake::open_with(4096, INFO).await;
    let pings = "PING\r\n".repeat(1000);
    let start = Instant::now();
    let mut sent = 0;
    while fake.0.write_all(pings.as_bytes()).await.is_ok() {
        sent += pings.len();
    }
    assert!(sent < 2 * HIGH_WATER, "{sent}");
    assert_eq!(start.elapsed().as_secs(), TIMEOUTS.write.unwrap().as_secs());
    error_of(&client).await;
}

// A real server.

fn server(more: &[&str]) -> Option<programs::Server> {
    if !programs::is_installed("nats-server") {
        return None;
    }
    programs::Server::start_if_whole("Server is ready", |port| {
        let port = port.to_string();
        let arguments = ["nats-server", "--addr", "127.0.0.1", "--port", &port];
        arguments.iter().chain(more).map(|&argument| argument.to_owned()).collect()
    })
}

async fn connect(server: &programs::Server, login: Option<(&str, &str)>) -> Result<Client, Error> {
    let io = TcpStream::connect(server.address).await.unwrap();
    within(Client::new(io, login)).await
}

#[tokio::test]
async fn messages_come_back_from_a_real_server() {
    let Some(server) = server(&[]) else { return };
    let one = connect(&server, None).await.unwrap();
    let two = connect(&server, None).await.unwrap();
    let mut messages = one.subscribe("a.>").await.unwrap();
    one.flush().await.unwrap();
    let headers = &[("One", "1"), ("Two", "a b")];
    let large = vec![b'y'; 1 << 20];
    two.publish("a.b", headers, b"hi").await.unwrap();
    two.publish("a.b", &[], &large).await.unwrap();
    two.publish("a.é", &[], b"").await.unwrap();
    let longer = vec![b'y'; (1 << 20) + 1];
    assert!(matches!(two.publish("a", &[], &longer).await, Err(Error::Invalid(_))));
    two.flush().await.unwrap();
    let message = within(messages.next()).await.unwrap();
    assert_eq!((&*message.subject, message.reply.as_deref()), ("a.b", None));
    assert_eq!(message.headers().collect::<Vec<_>>(), headers);
    assert_eq!(message.payload, b"hi");
    assert!(within(messages.next()).await.unwrap().payload == large);
    assert_eq!(within(messages.next()).await.unwrap().subject, "a.é");
}

#[tokio::test]
async fn another_publisher_cannot_end_the_session_of_a_real_server() {
    let Some(server) = server(&[]) else { return };
    let client = connect(&server, None).await.unwrap();
    let mut messages = client.subscribe(">").await.unwrap();
    client.flush().await.unwrap();
    let mut other = TcpStream::connect(&*server.address.to_string()).await.unwrap();
    other.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").await.unwrap();
    other.write_all(b"HPUB a 17 18\r\nNATS/1.0\r\nA:\xff\r\n\r\nx\r\n").await.unwrap();
    other.write_all(b"PUB a.\xff 1\r\nx\r\nPUB b\x0cc 1\r\nx\r\nPUB end 0\r\n\r\n").await.unwrap();
    for subject in ["a", "a.\u{fffd}", "b\x0cc", "end"] {
        assert_eq!(within(messages.next()).await.unwrap().subject, subject);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_share_a_connection_to_a_real_server() {
    let Some(server) = server(&[]) else { return };
    let client = connect(&server, None).await.unwrap();
    let mut requests = client.subscribe("double").await.unwrap();
    let answering = tokio::spawn({
        let client = client.clone();
        async move {
            while let Ok(request) = requests.next().await {
                let reply = request.reply.unwrap();
                client.publish(&reply, &[], &request.payload.repeat(2)).await.unwrap();
            }
        }
    });
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for n in 0..200 {
                    let text = format!("{task} {n};");
                    let answer = client.request("double", &[], text.as_bytes());
                    if n % 10 == 0 {
                        // Given up: no answer comes to another caller.
                        let _ = timeout(Duration::from_micros(n), answer).await;
                    } else {
                        assert_eq!(answer.await.unwrap().payload, text.repeat(2).as_bytes());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        within(task).await.unwrap();
    }
    assert!(matches!(client.request("nobody", &[], b"").await, Err(Error::NoResponders)));
    answering.abort();
}

#[tokio::test]
async fn login_is_checked_by_a_real_server() {
    let Some(server) = server(&["--user", "a@b", "--pass", "c:d"]) else { return };
    connect(&server, Some(("a@b", "c:d"))).await.unwrap();
    for wrong in [None, Some(("a@b", "c")), Some(("a@b", ""))] {
        let error = connect(&server, wrong).await.err().unwrap();
        assert!(matches!(error, Error::Server(text) if text == "-ERR 'Authorization Violation'"));
    }
}

#[tokio::test]
async fn invalid_subscription_is_refused_by_a_real_server() {
    let Some(server) = server(&[]) else { return };
    let client = connect(&server, None).await.unwrap();
    for subject in ["a..b", ".", "a.", ">.a"] {
        let _messages = client.subscribe(subject).await.unwrap();
        let refused = within(client.flush()).await;
        assert!(matches!(refused, Err(Error::Server(_))), "{subject}");
    }
    within(client.flush()).await.unwrap();
}

/// Starts a server with a file of settings.
fn server_of(name: &str, settings: &str) -> Option<programs::Server> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, settings).unwrap();
    server(&["--config", path.to_str().unwrap()])
}

#[tokio::test]
async fn refused_publish_fails_and_does_not_end_the_session() {
    let settings = "authorization { users = [\
        {user: u, password: p, permissions: {publish: {deny: \"no\"}}}] }";
    let Some(server) = server_of("nats_permissions.conf", settings) else { return };
    let client = connect(&server, Some(("u", "p"))).await.unwrap();
    let mut messages = client.subscribe("yes").await.unwrap();
    client.publish("no", &[], b"").await.unwrap();
    assert!(matches!(within(client.flush()).await, Err(Error::Server(_))));
    client.publish("yes", &[], b"").await.unwrap();
    assert_eq!(within(messages.next()).await.unwrap().subject, "yes");
    let mut command = program(&server, &["pub", "no", "x"]);
    let output = within(command.env("NATS_USER", "u").env("NATS_PASSWORD", "p").output()).await;
    let output = output.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permissions Violation"));
}

#[tokio::test]
async fn real_server_without_headers_takes_the_client() {
    let Some(server) = server_of("nats_headers.conf", "no_header_support: true") else { return };
    let client = connect(&server, None).await.unwrap();
    let published = client.publish("a", &[("One", "1")], b"").await;
    assert!(matches!(published, Err(Error::Invalid(_))));
    within(client.flush()).await.unwrap();
}

#[tokio::test]
async fn server_that_stops_ends_the_session() {
    let Some(mut server) = server(&[]) else { return };
    let client = connect(&server, None).await.unwrap();
    let mut messages = client.subscribe("a").await.unwrap();
    client.flush().await.unwrap();
    server.stop();
    within(messages.next()).await.err().unwrap();
    within(client.publish("a", &[], b"")).await.unwrap_err();
}

fn program(server: &programs::Server, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-nats"));
    command.arg(server.address.to_string()).args(words).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(server: &programs::Server, words: &[&str]) -> Output {
    within(program(server, words).output()).await.unwrap()
}

/// Starts a program that prints line by line.
fn start(server: &programs::Server, words: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = program(server, words).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

#[tokio::test]
async fn command_line_publishes_subscribes_asks_and_answers() {
    let Some(server) = server(&[]) else { return };
    let (_subscribing, mut seen) = start(&server, &["sub", "a.*"]);
    let line = loop {
        assert!(output(&server, &["pub", "a.b", "hi\u{1b}"]).await.status.success());
        if let Ok(line) = timeout(Duration::from_millis(50), seen.next_line()).await {
            break line.unwrap().unwrap();
        }
    };
    assert_eq!(line, "a.b hi\\u{1b}");
    let (_answering, mut requests) = start(&server, &["sub", "time", "noon"]);
    let answer = loop {
        let output = output(&server, &["req", "time", "please"]).await;
        if output.status.success() {
            break output.stdout;
        }
        assert_eq!(output.stderr, b"example-nats: nobody answers\n");
    };
    assert!(answer.starts_with(b"_INBOX.") && answer.ends_with(b" noon\n"));
    assert_eq!(within(requests.next_line()).await.unwrap().unwrap(), "time please");
    // No subject to publish to.
    let mut other = TcpStream::connect(server.address).await.unwrap();
    let (long, head) = ("x".repeat(2000), "CONNECT {}\r\n");
    let publishes = format!("{head}PUB time a\x0cb 1\r\nx\r\nPUB time {long} 1\r\ny\r\n");
    other.write_all(publishes.as_bytes()).await.unwrap();
    for expected in ["time x", "time y"] {
        assert_eq!(within(requests.next_line()).await.unwrap().unwrap(), expected);
    }
    let again = output(&server, &["req", "time", "again"]).await;
    assert!(again.stdout.ends_with(b" noon\n"));
    let refused = output(&server, &["pub", "a b", ""]).await;
    assert_eq!(refused.stderr, b"example-nats: not sent: subject\n");
    for words in [&[][..], &["--help"], &["pub"], &["pub", "a"], &["what", "a", "b"]] {
        let refused = output(&server, words).await;
        assert!(refused.stderr.starts_with(b"example-nats: usage: "), "{words:?}");
        assert_eq!(refused.status.code(), Some(1));
    }
}
