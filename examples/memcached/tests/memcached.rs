//! The memcached client: dialogues cut in every way, servers that
//! lie, and a real memcached.

mod drivers;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use bytes::Bytes;
use clap::Parser;
use drivers::perform;
use example_memcached::client::{Client, Error, Outcome};
use example_memcached::{Args, run};
use futures::FutureExt;
use programs::{Server, within};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;

/// A call: the command, what is sent for it, the answer, and what comes of it.
type Call = (&'static str, &'static str, &'static str, &'static str);

/// Values of more than this are not taken in the dialogues.
const MAX_VALUE: usize = 20;

const DIALOGUES: &[(&str, &[Call])] = &[
    (
        "a value",
        &[(
            "get a",
            "get a\r\n",
            "VALUE a 7 5\r\nhello\r\nEND\r\n",
            r#"[Value { key: "a", flags: 7, cas: None, data: b"hello" }]"#,
        )],
    ),
    (
        "an empty value, and one that looks like the end",
        &[(
            "get a b c",
            "get a b c\r\n",
            "VALUE a 0 0\r\n\r\nVALUE c 4294967295 11\r\n\r\nEND\r\nEND\r\r\nEND\r\n",
            r#"[Value { key: "a", flags: 0, cas: None, data: b"" }, Value { key: "c", flags: 4294967295, cas: None, data: b"\r\nEND\r\nEND\r" }]"#,
        )],
    ),
    ("nothing found", &[("get a b", "get a b\r\n", "END\r\n", "[]")]),
    (
        "the same key twice, in another order",
        &[(
            "get a b a",
            "get a b a\r\n",
            "VALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nEND\r\n",
            r#"[Value { key: "a", flags: 0, cas: None, data: b"1" }, Value { key: "a", flags: 0, cas: None, data: b"1" }, Value { key: "b", flags: 0, cas: None, data: b"2" }]"#,
        )],
    ),
    (
        "a number for cas, used once in vain and once well",
        &[
            (
                "gets a",
                "gets a\r\n",
                "VALUE a 0 1 18446744073709551615\r\nx\r\nEND\r\n",
                r#"[Value { key: "a", flags: 0, cas: Some(18446744073709551615), data: b"x" }]"#,
            ),
            ("cas a xy", "cas a 1 2 2 42\r\nxy\r\n", "EXISTS\r\n", "Exists"),
            ("cas a xy", "cas a 1 2 2 42\r\nxy\r\n", "STORED\r\n", "Stored"),
            ("cas b xy", "cas b 1 2 2 42\r\nxy\r\n", "NOT_FOUND\r\n", "NotFound"),
        ],
    ),
    (
        "every way to store",
        &[
            ("set a x", "set a 1 2 1\r\nx\r\n", "STORED\r\n", "Stored"),
            ("add a x", "add a 1 2 1\r\nx\r\n", "NOT_STORED\r\n", "NotStored"),
            ("replace a ", "replace a 1 2 0\r\n\r\n", "STORED\r\n", "Stored"),
            ("append a x", "append a 1 2 1\r\nx\r\n", "STORED\r\n", "Stored"),
            ("prepend a x", "prepend a 1 2 1\r\nx\r\n", "STORED\r\n", "Stored"),
        ],
    ),
    (
        "data that look like a command are sent as they are",
        &[(
            "set a \r\nflush_all\r\n",
            "set a 1 2 13\r\n\r\nflush_all\r\n\r\n",
            "STORED\r\n",
            "Stored",
        )],
    ),
    (
        "deleting and counting",
        &[
            ("delete a", "delete a\r\n", "DELETED\r\n", "true"),
            ("delete a", "delete a\r\n", "NOT_FOUND\r\n", "false"),
            ("incr a", "incr a 5\r\n", "12\r\n", "Some(12)"),
            ("decr a", "decr a 5\r\n", "0\r\n", "Some(0)"),
            ("incr a", "incr a 5\r\n", "NOT_FOUND\r\n", "None"),
        ],
    ),
    (
        "statistics and the version",
        &[
            (
                "stats",
                "stats\r\n",
                "STAT pid 1\r\nSTAT version 1.6 x\r\nEND\r\n",
                r#"[("pid", "1"), ("version", "1.6 x")]"#,
            ),
            ("stats", "stats\r\n", "END\r\n", "[]"),
            ("version", "version\r\n", "VERSION 1.6.18\r\n", "1.6.18"),
        ],
    ),
    (
        "errors, after which the connection is good",
        &[
            ("get a", "get a\r\n", "ERROR\r\n", "error: the server does not know this command"),
            (
                "get a",
                "get a\r\n",
                "ERROR Too many open connections\r\n",
                "error: the server refuses: \"Too many open connections\"",
            ),
            (
                "delete a",
                "delete a\r\n",
                "CLIENT_ERROR no\r\n",
                "error: the server refuses: \"no\"",
            ),
            ("get a", "get a\r\n", "SERVER_ERROR no\r\n", "error: the server fails: \"no\""),
            (
                "get a b",
                "get a b\r\n",
                "VALUE a 0 1\r\nx\r\nSERVER_ERROR out of memory\r\n",
                "error: the server fails: \"out of memory\"",
            ),
            ("stats", "stats\r\n", "STAT a b\r\nSERVER_ERROR\r\n", "error: the server fails: \"\""),
            (
                "set a x",
                "set a 1 2 1\r\nx\r\n",
                "SERVER_ERROR object too large for cache\r\n",
                "error: the server fails: \"object too large for cache\"",
            ),
            ("delete a", "delete a\r\n", "DELETED\r\n", "true"),
        ],
    ),
    (
        "values over the limit are skipped, wherever they stand",
        &[
            (
                "get a",
                "get a\r\n",
                "VALUE a 0 20\r\n12345678901234567890\r\nEND\r\n",
                r#"[Value { key: "a", flags: 0, cas: None, data: b"12345678901234567890" }]"#,
            ),
            (
                "get a b",
                "get a b\r\n",
                "VALUE a 0 21\r\n\r\nEND\r\n\r\nDELETED\r\n   \r\nVALUE b 0 1\r\nx\r\nEND\r\n",
                "error: a: longer than 20 bytes",
            ),
            (
                "get a b",
                "get a b\r\n",
                "VALUE a 0 1\r\nx\r\nVALUE b 0 21\r\n\r\nEND\r\n\r\nDELETED\r\n   \r\nEND\r\n",
                "error: b: longer than 20 bytes",
            ),
            ("delete a", "delete a\r\n", "DELETED\r\n", "true"),
            ("set a 123456789012345678901", "", "", "error: a: longer than 20 bytes"),
            ("delete a", "delete a\r\n", "NOT_FOUND\r\n", "false"),
        ],
    ),
    (
        "what is not a key is never sent",
        &[
            ("get ", "", "", "error: not a key"),
            ("get a\r\nflush_all", "", "", "error: not a key"),
            ("get a a\nb", "", "", "error: not a key"),
            ("gets a\rb", "", "", "error: not a key"),
            ("set a\tb x", "", "", "error: not a key"),
            ("cas a\0b x", "", "", "error: not a key"),
            ("delete a\x7f", "", "", "error: not a key"),
            ("incr \x1f", "", "", "error: not a key"),
            ("get \u{e9}", "get \u{e9}\r\n", "END\r\n", "[]"),
        ],
    ),
];

/// Plays a dialogue whose every read has at most `cut` bytes.
async fn play(name: &str, calls: &'static [Call], cut: usize) {
    let turns = calls.iter().map(|(_, sent, answer, _)| (*sent, *answer));
    let (io, server) = programs::scripted(cut, "", turns);
    let mut client = Client::new(io, MAX_VALUE);
    for (command, _, _, result) in calls {
        let came_of_it = within(perform(&mut client, command)).await;
        assert_eq!(came_of_it, *result, "{name}: {command:?}, cut at {cut}");
    }
    drop(client);
    within(server).await.unwrap_or_else(|e| panic!("{name}, cut at {cut}: {e}"));
}

#[tokio::test]
async fn cut_anywhere_it_means_the_same() {
    for (name, calls) in DIALOGUES {
        for cut in [1, 2, 3, 5, 7, 64 * 1024] {
            play(name, calls, cut).await;
        }
    }
}

const BROKEN: &str = "error: the connection broke in an earlier call";

/// A client whose server has begun to answer before it is asked.
async fn with_answer(begin: impl AsRef<[u8]>) -> (Client<DuplexStream>, DuplexStream) {
    let (io, mut server) = duplex(1 << 20);
    // It is not yet read, and so not noticed that it comes too early.
    server.write_all(begin.as_ref()).await.unwrap();
    (Client::new(io, MAX_VALUE), server)
}

/// Every beginning of every answer, the whole left out.
fn beginnings() -> impl Iterator<Item = (String, &'static str, &'static str, &'static str)> {
    DIALOGUES.iter().flat_map(|(name, calls)| {
        calls.iter().flat_map(move |(command, _, answer, _)| {
            (0..answer.len()).map(move |at| {
                let place = format!("{name}: {command:?}, {at} bytes of the answer");
                let (begin, rest) = answer.split_at(at);
                (place, *command, begin, rest)
            })
        })
    })
}

#[tokio::test]
async fn a_server_that_hangs_up_halfway_is_an_error() {
    for (place, command, begin, _) in beginnings() {
        let (mut client, mut server) = with_answer(begin).await;
        server.shutdown().await.unwrap();
        let came_of_it = within(perform(&mut client, command)).await;
        assert!(came_of_it.starts_with("error: input ended"), "{place}: {came_of_it}");
        assert_eq!(within(perform(&mut client, "version")).await, BROKEN, "{place}");
    }
}

#[tokio::test]
async fn a_call_dropped_halfway_breaks_the_connection() {
    for (place, command, begin, rest) in beginnings() {
        let (mut client, mut server) = with_answer(begin).await;
        assert_eq!(perform(&mut client, command).now_or_never(), None, "{place}");
        // The rest comes when nobody waits for it any more.
        server.write_all(rest.as_bytes()).await.unwrap();
        assert_eq!(within(perform(&mut client, "version")).await, BROKEN, "{place}");
    }
}

#[tokio::test]
async fn answers_that_are_none_break_the_connection() {
    let line = |n: usize| format!("VERSION {}\r\n", "x".repeat(n - "VERSION ".len()));
    let stats = |n: usize| "STAT a b\r\n".repeat(n) + "END\r\n";
    for (name, command, answer, error) in [
        ("garbage", "get a", "\u{1}\u{2}\r\n".into(), "unexpected answer: \"\\u{1}\\u{2}\""),
        ("not text", "get a", "\u{fffd}\r\n".into(), "unexpected answer: \"not text\""),
        ("an empty line", "delete a", "\r\n".into(), "unexpected answer: \"\""),
        ("a bare LF", "delete a", "DELETED\n\r\n".into(), "unexpected answer"),
        ("another command's answer", "delete a", "STORED\r\n".into(), "unexpected answer"),
        ("another command's answer", "set a x", "DELETED\r\n".into(), "unexpected answer"),
        ("lower case", "delete a", "deleted\r\n".into(), "unexpected answer"),
        ("a blank at the end", "set a x", "STORED \r\n".into(), "unexpected answer"),
        ("no number", "incr a", "x\r\n".into(), "unexpected answer"),
        ("a sign", "incr a", "+5\r\n".into(), "unexpected answer"),
        ("a number over 64 bits", "incr a", "18446744073709551616\r\n".into(), "unexpected answer"),
        ("the longest line", "version", line(2048), ""),
        ("a line too long", "version", line(2049), "frame longer than 2048 bytes"),
        ("the most statistics", "stats", stats(1024), ""),
        ("too many statistics", "stats", stats(1025), "unexpected answer"),
        ("a statistic without a value", "stats", "STAT a\r\nEND\r\n".into(), "unexpected answer"),
        (
            "a value among the statistics",
            "stats",
            "VALUE a 0 0\r\n\r\nEND\r\n".into(),
            "unexpected",
        ),
        ("a key not asked for", "get a", "VALUE b 0 1\r\nx\r\nEND\r\n".into(), "unexpected answer"),
        (
            "more values than asked for",
            "get a",
            "VALUE a 0 1\r\nx\r\n".repeat(2) + "END\r\n",
            "unexpected answer",
        ),
        ("no length", "get a", "VALUE a 0\r\nEND\r\n".into(), "unexpected answer"),
        ("a negative length", "get a", "VALUE a 0 -1\r\nEND\r\n".into(), "unexpected answer"),
        ("a length of 2^63", "get a", "VALUE a 0 9223372036854775808\r\n".into(), "unexpected"),
        ("a length of 2^64", "get a", "VALUE a 0 18446744073709551616\r\n".into(), "unexpected"),
        ("a length of 1 GiB + 1", "get a", "VALUE a 0 1073741825\r\n".into(), "unexpected answer"),
        ("flags over 32 bits", "get a", "VALUE a 4294967296 0\r\n\r\nEND\r\n".into(), "unexpected"),
        ("two blanks", "get a", "VALUE a  0 0\r\n\r\nEND\r\n".into(), "unexpected answer"),
        (
            "one word too many",
            "get a",
            "VALUE a 0 0 1 2\r\n\r\nEND\r\n".into(),
            "unexpected answer",
        ),
        ("a number for cas", "get a", "VALUE a 0 0 1\r\n\r\nEND\r\n".into(), "unexpected answer"),
        ("no number for cas", "gets a", "VALUE a 0 0\r\n\r\nEND\r\n".into(), "unexpected answer"),
        ("data too long", "get a", "VALUE a 0 1\r\nxy\r\nEND\r\n".into(), "unexpected answer"),
        ("no line end behind the data", "get a", "VALUE a 0 1\r\nx..END\r\n".into(), "unexpected"),
        ("data too short", "get a", "VALUE a 0 3\r\nx\r\nEND\r\n".into(), "unexpected answer"),
        ("end of data in the middle", "get a", "VALUE a 0 9\r\nx".into(), "input ended"),
        (
            "a line refused, perhaps without the data",
            "set a x",
            "CLIENT_ERROR bad command line format\r\n".into(),
            "the server refuses: \"bad command line format\"",
        ),
        (
            "no connection, and no word of the data",
            "set a x",
            "ERROR Too many open connections\r\n".into(),
            "the server refuses: \"Too many open connections\"",
        ),
        (
            "a command unknown, perhaps without the data",
            "add a x",
            "ERROR\r\n".into(),
            "the server does not know this command",
        ),
    ] {
        let mut answer = answer.into_bytes();
        if name == "not text" {
            answer = b"\xff\r\n".to_vec();
        }
        let (mut client, mut server) = with_answer(answer).await;
        server.shutdown().await.unwrap();
        let came_of_it = within(perform(&mut client, command)).await;
        let failed = came_of_it.starts_with("error: ");
        assert!(failed != error.is_empty() && came_of_it.contains(error), "{name}: {came_of_it}");
        if failed {
            assert_eq!(within(perform(&mut client, "version")).await, BROKEN, "{name}");
        }
    }
}

const TOKENS: &[&str] = &[
    "VALUE a 0 3\r\n",
    "VALUE a 0 0 7\r\n",
    "VALUE a 0 25\r\n",
    "VALUE ",
    "abc",
    "\r\n",
    "\r",
    "\n",
    "END",
    "a ",
    "0 ",
    "1",
    " ",
    "STAT ",
    "ERROR",
    "CLIENT_ERROR ",
    "DELETED",
    "STORED",
    "END\r\n",
    "\0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the server says: no panic, and the same for every cut.
    #[test]
    fn anything_may_come(said in vec(select(TOKENS), 0..20), cut in 1..8usize) {
        let said = said.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let result = |cut, command| {
            let said = said.clone();
            runtime.block_on(async move {
                let (io, server) = duplex(cut);
                let (mut theirs, mut ours) = tokio::io::split(server);
                tokio::spawn(async move { theirs.read_to_end(&mut Vec::new()).await });
                tokio::spawn(async move {
                    // The client may have heard enough before.
                    let _ = ours.write_all(said.as_bytes()).await;
                    let _ = ours.shutdown().await;
                });
                within(perform(&mut Client::new(io, MAX_VALUE), command)).await
            })
        };
        for command in ["get a a", "gets a", "delete a", "set a x", "stats", "incr a"] {
            prop_assert_eq!(result(cut, command), result(1024, command));
        }
    }
}

/// What came with the last answer is not taken for the next.
#[tokio::test]
async fn an_answer_without_a_question_is_refused() {
    let (mut client, _server) = with_answer("DELETED\r\nDELETED\r\n").await;
    assert_eq!(within(perform(&mut client, "delete a")).await, "true");
    let early = within(perform(&mut client, "delete b")).await;
    assert_eq!(early, "error: unexpected answer: \"an unexpected answer\"");
    assert_eq!(within(perform(&mut client, "delete b")).await, BROKEN);
}

/// It goes by in pieces: nothing is reserved for what was announced.
#[tokio::test]
async fn a_large_value_is_skipped_as_it_comes() {
    let (io, mut server) = duplex(64 * 1024);
    let server = tokio::spawn(async move {
        server.write_all(b"VALUE a 0 16777216\r\n").await.unwrap();
        for _ in 0..256 {
            server.write_all(&[b'\n'; 65536]).await.unwrap();
        }
        server.write_all(b"\r\nEND\r\nVERSION 1\r\n").await.unwrap();
        server
    });
    let mut client = Client::new(io, MAX_VALUE);
    let came_of_it = within(client.get(&["a"])).await;
    assert!(matches!(came_of_it, Err(Error::TooLong { limit: MAX_VALUE, .. })));
    drop(client);
    server.await.unwrap();
}

fn memcached(more: &str) -> Option<Server> {
    if !programs::is_installed("memcached") {
        return None;
    }
    Server::start_if_whole("server listening", |port| {
        let arguments = format!("memcached -u root -l 127.0.0.1 -p {port} -U 0 -vv{more}");
        arguments.split(' ').map(str::to_owned).collect()
    })
}

async fn connect(server: &Server, max_value: usize) -> Client<TcpStream> {
    Client::new(TcpStream::connect(server.address).await.unwrap(), max_value)
}

#[tokio::test]
async fn memcached_keeps_stored_items() {
    let Some(server) = memcached("") else { return };
    within(async {
        let mut client = connect(&server, 1 << 20).await;
        let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let longest_key = "k".repeat(250);
        for (key, flags, data) in [
            ("a", 0, &b"hello"[..]),
            ("empty", 1, b""),
            ("end", u32::MAX, b"\r\nEND\r\n"),
            ("\u{fc}ml\u{e4}ut", 5, b"VALUE a 0 5\r\n"),
            (&longest_key, 7, &all),
        ] {
            let data = Bytes::copy_from_slice(data);
            let stored = client.store("set", key, flags, 0, data.clone()).await.unwrap();
            assert_eq!(stored, Outcome::Stored, "{key}");
            let values = client.get(&[key]).await.unwrap();
            let [value] = &values[..] else { panic!("{key}: {} values", values.len()) };
            assert!(value.key == key && value.flags == flags && value.data == data, "{key}");
        }
        let values = client.gets(&["end", "missing", &longest_key, "a"]).await.unwrap();
        let keys: Vec<&str> = values.iter().map(|value| &value.key[..]).collect();
        assert_eq!(keys, ["end", &longest_key, "a"]);

        assert_eq!(client.store("add", "a", 0, 0, "x").await.unwrap(), Outcome::NotStored);
        assert_eq!(client.store("replace", "b", 0, 0, "x").await.unwrap(), Outcome::NotStored);
        assert_eq!(client.store("append", "a", 0, 0, "!").await.unwrap(), Outcome::Stored);
        assert_eq!(client.store("prepend", "a", 0, 0, "oh, ").await.unwrap(), Outcome::Stored);
        assert_eq!(client.get(&["a"]).await.unwrap()[0].data, "oh, hello!");
        assert!(client.delete("a").await.unwrap());
        assert!(!client.delete("a").await.unwrap());

        assert_eq!(client.incr("n", 1).await.unwrap(), None);
        client.store("set", "n", 0, 0, "40").await.unwrap();
        assert_eq!(client.incr("n", 2).await.unwrap(), Some(42));
        assert_eq!(client.decr("n", 50).await.unwrap(), Some(0));
        assert_eq!(client.incr("n", u64::MAX).await.unwrap(), Some(u64::MAX));
        assert!(matches!(client.incr("end", 1).await, Err(Error::Client(_))));

        let stats = client.stats().await.unwrap();
        let version = client.version().await.unwrap();
        assert!(stats.contains(&("version".into(), version)));
    })
    .await;
}

#[tokio::test]
async fn memcached_detects_conflicting_cas() {
    let Some(server) = memcached("") else { return };
    within(async {
        let (mut one, mut other) = (connect(&server, 100).await, connect(&server, 100).await);
        one.store("set", "a", 0, 0, "1").await.unwrap();
        let seen = one.gets(&["a"]).await.unwrap()[0].cas.unwrap();
        assert_eq!(other.cas("a", 0, 0, "2", seen).await.unwrap(), Outcome::Stored);
        assert_eq!(one.cas("a", 0, 0, "3", seen).await.unwrap(), Outcome::Exists);
        assert_eq!(one.cas("b", 0, 0, "3", seen).await.unwrap(), Outcome::NotFound);
        assert_eq!(one.get(&["a"]).await.unwrap()[0].data, "2");
    })
    .await;
}

#[tokio::test]
async fn after_a_value_too_long_for_one_side_the_connection_is_good() {
    let Some(server) = memcached("") else { return };
    within(async {
        let mut client = connect(&server, 8 << 20).await;
        let large = vec![b'\n'; 2 << 20];
        let refused = client.store("set", "large", 0, 0, large).await;
        assert!(matches!(&refused, Err(Error::Server(why)) if why == "object too large for cache"));
        assert_eq!(
            client.store("set", "a", 0, 0, vec![0; 500_000]).await.unwrap(),
            Outcome::Stored
        );
        assert_eq!(client.store("set", "b", 0, 0, "small").await.unwrap(), Outcome::Stored);

        let mut client = connect(&server, 1000).await;
        let got = client.get(&["a", "b"]).await;
        assert!(matches!(got, Err(Error::TooLong { key, limit: 1000 }) if key == "a"));
        assert_eq!(client.get(&["b"]).await.unwrap()[0].data, "small");
    })
    .await;
}

/// Runs a command line, and returns what it prints.
async fn command(words: &[&str], out: &mut Vec<u8>) -> Result<bool, String> {
    let words = [&["example-memcached"], words].concat();
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    within(run(args, out)).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_command_line_works() {
    let Some(server) = memcached("") else { return };
    let address = server.address.to_string();
    for (words, success, printed) in [
        (&["set", "a", "-1"][..], true, "stored\n"),
        (&["set", "a", "one"], true, "stored\n"),
        (&["add", "a", "two"], false, "not stored\n"),
        (&["append", "a", " two"], true, "stored\n"),
        (&["get", "a"], true, "one two\n"),
        (&["get", "a", "b"], false, "one two\n"),
        (&["gets", "a"], true, "a: 7 bytes, flags 0, cas 3\n"),
        (&["cas", "a", "three", "1"], false, "changed meanwhile\n"),
        (&["cas", "a", "3", "3"], true, "stored\n"),
        (&["cas", "b", "3", "3"], false, "not found\n"),
        (&["incr", "a", "4"], true, "7\n"),
        (&["decr", "a", "1"], true, "6\n"),
        (&["incr", "b", "4"], false, "not found\n"),
        (&["delete", "a"], true, "deleted\n"),
        (&["delete", "a"], false, "not found\n"),
    ] {
        let words: Vec<&str> = [&address[..]].iter().chain(words).copied().collect();
        let mut out = Vec::new();
        assert_eq!(command(&words, &mut out).await, Ok(success), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&out), printed, "{words:?}");
    }
    for word in ["stats", "version"] {
        let mut out = Vec::new();
        assert_eq!(command(&[&address, word], &mut out).await, Ok(true), "{word}");
        assert!(String::from_utf8_lossy(&out).contains("1."), "{word}");
    }
    let usage = "Usage: example-memcached";
    for (words, error) in [
        (&[][..], usage),
        (&[&address[..]], usage),
        (&[&address, "get"], usage),
        (&[&address, "flush_all"], usage),
        (&[&address, "set", "a"], usage),
        (&[&address, "incr", "a", "x"], "invalid digit found in string"),
        (&[&address, "get", "a b"], "not a key"),
    ] {
        let mut out = Vec::new();
        let e = command(words, &mut out).await.unwrap_err();
        assert!(e.contains(error), "{words:?}: {e}");
        assert!(out.is_empty(), "{words:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn arguments_that_are_not_utf8_are_stored_or_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let Some(server) = memcached("") else { return };
    let address = server.address.to_string();
    let odd = OsStr::from_bytes(b"\xff\xfe");
    let args = |words: [&OsStr; 3]| {
        Args::try_parse_from(["example-memcached".as_ref(), address.as_ref()].iter().chain(&words))
    };
    let (verb, key) = ("set".as_ref(), "a".as_ref());
    let set = args([verb, key, odd]).unwrap();
    assert!(within(run(set, &mut Vec::new())).await.unwrap());
    let mut client = connect(&server, MAX_VALUE).await;
    assert_eq!(within(client.get(&["a"])).await.unwrap()[0].data, odd.as_bytes());
    assert!(args([verb, odd, key]).err().unwrap().to_string().contains("invalid UTF-8"));
}

#[tokio::test]
async fn too_many_connections_are_no_unknown_command() {
    let Some(server) = memcached(" -c 60") else { return };
    let address = server.address.to_string();
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    for words in [&["get", "a"][..], &["set", "a", "x"], &["version"]] {
        let words: Vec<&str> = [&address[..]].iter().chain(words).copied().collect();
        let e = command(&words, &mut Vec::new()).await.unwrap_err();
        assert_eq!(e, "the server refuses: \"Too many open connections\"", "{words:?}");
    }
}
