//! The IMAP client: dialogues cut in every way, servers that lie, and
//! a real Dovecot.

#![cfg(unix)] // Who may do what in a folder.

mod drivers;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use clap::Parser;
use drivers::{perform, settings};
use example_common::with_causes;
use example_imap::client::{Client, Error};
use example_imap::parse::Value;
use example_imap::{Args, run};
use futures::{FutureExt, poll};
use programs::{Server, within};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::ffi::OsStr;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// A call: the command; what is sent for it and answered, in turn; and what
/// comes of it.
type Call = (&'static str, &'static [(&'static str, &'static str)], &'static str);

/// What an answer may take in the dialogues.
const MAX_ANSWER: usize = 20_000;

const HELLO: &str = "* OK hello\r\n";

const DIALOGUES: &[(&str, &[Call])] = &[
    (
        "login, with what the server offers before and after",
        &[
            (
                "login|ann|secret",
                &[
                    ("A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nA1 OK\r\n"),
                    ("A2 LOGIN \"ann\" \"secret\"\r\n", "* OK [ALERT] hi\r\nA2 OK in\r\n"),
                    ("A3 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 LITERAL+\r\nA3 OK done\r\n"),
                ],
                "()",
            ),
            ("append|x|abc", &[("A4 APPEND \"x\" {3+}\r\nabc\r\n", "A4 OK\r\n")], "()"),
        ],
    ),
    (
        "a wrong password, and another try",
        &[
            (
                "login|ann|wrong",
                &[
                    ("A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA1 OK\r\n"),
                    ("A2 LOGIN \"ann\" \"wrong\"\r\n", "A2 NO [AUTHENTICATIONFAILED] no {5}\r\n"),
                ],
                "error: the server refuses: \"no {5}\"",
            ),
            (
                "login|ann|secret",
                &[
                    ("A3 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA3 OK\r\n"),
                    ("A4 LOGIN \"ann\" \"secret\"\r\n", "A4 OK\r\n"),
                    ("A5 CAPABILITY\r\n", "* capability imap4rev1 literal+\r\nA5 ok\r\n"),
                ],
                "()",
            ),
            ("append|x|abc", &[("A6 APPEND \"x\" {3+}\r\nabc\r\n", "A6 OK\r\n")], "()"),
        ],
    ),
    (
        "no login where it is disabled",
        &[(
            "login|ann|secret",
            &[("A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 LoginDisabled\r\nA1 OK\r\n")],
            "error: no login on this connection, try TLS",
        )],
    ),
    (
        "quotes are escaped, and what cannot be quoted is a literal that waits",
        &[
            (
                "login|a\"b\\|c\r\nA9 LOGOUT\r\n",
                &[
                    ("A1 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA1 OK\r\n"),
                    ("A2 LOGIN \"a\\\"b\\\\\" {14}\r\n", "* 1 RECENT\r\n+ go on {7}\r\n"),
                    ("c\r\nA9 LOGOUT\r\n\r\n", "A2 OK\r\n"),
                    ("A3 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1\r\nA3 OK\r\n"),
                ],
                "()",
            ),
            (
                "list|Entw\u{fc}rfe",
                &[("A4 LIST \"\" {9}\r\n", "+\r\n"), ("Entw\u{fc}rfe\r\n", "A4 BAD 8 bits\r\n")],
                "error: the server refuses: \"8 bits\"",
            ),
            (
                "create|\u{1}",
                &[("A5 CREATE {1}\r\n", "A5 NO never\r\n")],
                "error: the server refuses: \"never\"",
            ),
            ("create|", &[("A6 CREATE \"\"\r\n", "A6 OK\r\n")], "()"),
        ],
    ),
    (
        "what cannot be sent is not",
        &[
            ("create|a\0b", &[], "error: NUL cannot be sent"),
            ("login|a\0b|c", &[("A1 CAPABILITY\r\n", "A1 OK\r\n")], "error: NUL cannot be sent"),
            ("search|ALL\r\nA2 LOGOUT", &[], "error: a character that cannot be sent there"),
            ("search|SUBJECT {3+}", &[], "error: a character that cannot be sent there"),
            ("search|FROM \u{fc}", &[], "error: a character that cannot be sent there"),
            ("fetch|1\n|FLAGS", &[], "error: a character that cannot be sent there"),
            ("store|1|\\Seen\r", &[], "error: a character that cannot be sent there"),
            ("search|UNSEEN", &[("A2 SEARCH UNSEEN\r\n", "* SEARCH\r\nA2 OK\r\n")], "[]"),
        ],
    ),
    (
        "mailboxes, with names in every form",
        &[(
            "list|*",
            &[(
                "A1 LIST \"\" \"*\"\r\n",
                "* LIST (\\HasNoChildren) \".\" INBOX\r\n\
                 * list () NIL \"a \\\"b\\\" \\\\ {5}\"\r\n\
                 * LIST (\\Noselect $x) \"/\" {12}\r\nc\r\nA1 OK\r\n\"(\r\n\
                 * LIST () \"/\" [Gmail]/~x]\r\n\
                 A1 OK done\r\n",
            )],
            r#"[Mailbox { name: "INBOX", flags: ["\\HasNoChildren"] }, Mailbox { name: "a \"b\" \\ {5}", flags: [] }, Mailbox { name: "c\r\nA1 OK\r\n\"(", flags: ["\\Noselect", "$x"] }, Mailbox { name: "[Gmail]/~x]", flags: [] }]"#,
        )],
    ),
    (
        "notices are for people, whatever they look like",
        &[
            (
                "select|x",
                &[(
                    "A1 SELECT \"x\"\r\n",
                    "* FLAGS (\\Seen \\*)\r\n* 3 EXISTS\r\n* OK [UIDNEXT 4] next {5}\r\n\
                     * NO (\"what {99999999999}\r\n* OK\r\n* BAD [\r\nA1 OK [READ-WRITE] {3}\r\n",
                )],
                "Selected { exists: 3, is_read_only: false }",
            ),
            (
                "besides",
                &[],
                r#"[[Atom(b"FLAGS"), List([Atom(b"\\Seen"), Atom(b"\\*")])]] [Status { kind: Ok, code: "UIDNEXT 4", text: "next {5}" }, Status { kind: No, code: "", text: "(\"what {99999999999}" }, Status { kind: Ok, code: "", text: "" }, Status { kind: Bad, code: "", text: "[" }]"#,
            ),
            (
                "examine|y",
                &[("A2 EXAMINE \"y\"\r\n", "* 0 EXISTS\r\nA2 OK [read-only]\r\n")],
                "Selected { exists: 0, is_read_only: true }",
            ),
        ],
    ),
    (
        "what happens meanwhile is kept, and no error",
        &[
            (
                "search|SEEN",
                &[(
                    "A1 SEARCH SEEN\r\n",
                    "* 2 EXPUNGE\r\n* SEARCH 1 2\r\n* 9 EXISTS\r\n* 1 FETCH (FLAGS ())\r\n\
                     * SEARCH 4294967295\r\n* UNHEARD (of {2}\r\n)) NIL)\r\nA1 OK\r\n",
                )],
                "[1, 2, 4294967295]",
            ),
            (
                "besides",
                &[],
                r#"[[Atom(b"2"), Atom(b"EXPUNGE")], [Atom(b"9"), Atom(b"EXISTS")], [Atom(b"1"), Atom(b"FETCH"), List([Atom(b"FLAGS"), List([])])], [Atom(b"UNHEARD"), List([Atom(b"of"), String(b"))"), Nil])]] []"#,
            ),
            ("search|NEW", &[("A2 SEARCH NEW\r\n", "* SEARCH\r\nA2 OK\r\n")], "[]"),
            ("besides", &[], "[] []"),
        ],
    ),
    (
        "what is found, in the forms of later standards",
        &[
            (
                "search|MODSEQ 1",
                &[(
                    "A1 SEARCH MODSEQ 1\r\n",
                    "* SEARCH 1 2 3 (MODSEQ 9223372036854775807)\r\n* search (modseq 4294967296)\r\nA1 OK\r\n",
                )],
                "[1, 2, 3]",
            ),
            (
                "search|RETURN (ALL) X",
                &[(
                    "A2 SEARCH RETURN (ALL) X\r\n",
                    "* ESEARCH (TAG \"A2\") ALL 1:3,5,9:8\r\n* 9 EXISTS\r\nA2 OK\r\n",
                )],
                "[1, 2, 3, 5, 8, 9]",
            ),
            (
                "search|RETURN (ALL COUNT) X",
                &[(
                    "A3 SEARCH RETURN (ALL COUNT) X\r\n",
                    "* esearch (tag {2}\r\nA3) uid count 2 modseq 99999999999 all 4294967294:4294967295\r\nA3 OK\r\n",
                )],
                "[4294967294, 4294967295]",
            ),
            (
                "search|RETURN (ALL COUNT) X",
                &[(
                    "A4 SEARCH RETURN (ALL COUNT) X\r\n",
                    "* ESEARCH (TAG \"A4\") COUNT 0\r\nA4 OK\r\n",
                )],
                "[]",
            ),
            (
                "search|RETURN () X",
                &[("A5 SEARCH RETURN () X\r\n", "* ESEARCH ALL 7\r\nA5 OK\r\n")],
                "[7]",
            ),
            (
                "search|RETURN () X",
                &[("A6 SEARCH RETURN () X\r\n", "* ESEARCH (TAG \"A6\") UID\r\nA6 OK\r\n")],
                "[]",
            ),
        ],
    ),
    (
        "messages, with literals in the middle of everything",
        &[(
            "fetch|1:2|ALL",
            &[(
                "A1 FETCH 1:2 ALL\r\n",
                "* 1 FETCH (FLAGS (\\Seen) ENVELOPE (NIL {3}\r\na\r\n((NIL \"x\" {1}\r\ny)(nil))) \
                 BODY[] {4}\r\n)\r\n()\r\n\
                 * 2 FETCH (BODY[HEADER.FIELDS (\"TO X\" FROM)]<0> {0}\r\n BINARY[1.2] ~{2}\r\n\
                 \0\n X[ \"\")\r\nA1 OK\r\n",
            )],
            r#"[Fetched { number: 1, items: [("FLAGS", List([Atom(b"\\Seen")])), ("ENVELOPE", List([Nil, String(b"a\r\n"), List([List([Nil, String(b"x"), String(b"y")]), List([Nil])])])), ("BODY[]", String(b")\r\n("))] }, Fetched { number: 2, items: [("BODY[HEADER.FIELDS (\"TO X\" FROM)]<0>", String(b"")), ("BINARY[1.2]", String(b"\0\n")), ("X[", String(b""))] }]"#,
        )],
    ),
    (
        "a message on its way to a file, among others",
        &[
            (
                "fetch_to|2",
                &[(
                    "A1 FETCH 2 BODY.PEEK[]\r\n",
                    "* 1 FETCH (BODY[] {3}\r\none)\r\n* 2 FETCH (FLAGS ())\r\n\
                     * 2 FETCH (X {1}\r\nx BODY[] {10}\r\n1\r\n2 {3}\r\n UID 7)\r\n\
                     * 2 FETCH (BODY[] {5}\r\nagain)\r\n* 3 EXISTS\r\nA1 OK\r\n",
                )],
                r#"10 "1\r\n2 {3}\r\n""#,
            ),
            ("besides", &[], r#"[[Atom(b"3"), Atom(b"EXISTS")]] []"#),
            (
                "fetch_to|3",
                &[("A2 FETCH 3 BODY.PEEK[]\r\n", "* 3 FETCH (body[] {0}\r\n)\r\nA2 OK\r\n")],
                r#"0 """#,
            ),
            (
                "fetch_to|4",
                &[("A3 FETCH 4 BODY.PEEK[]\r\n", "* 4 FETCH (BODY[] \"in quotes\")\r\nA3 OK\r\n")],
                r#"9 "in quotes""#,
            ),
            (
                "fetch_to|5",
                &[("A4 FETCH 5 BODY.PEEK[]\r\n", "* 5 FETCH (BODY[] NIL)\r\nA4 OK\r\n")],
                "error: invalid answer of the server: no message",
            ),
            (
                "fetch_to|6",
                &[("A5 FETCH 6 BODY.PEEK[]\r\n", "A5 NO gone\r\n")],
                "error: the server refuses: \"gone\"",
            ),
        ],
    ),
    (
        "flags",
        &[(
            "store|1|\\Seen",
            &[(
                "A1 STORE 1 +FLAGS (\\Seen)\r\n",
                "* 1 FETCH (FLAGS (\\Seen $x))\r\n* 2 EXPUNGE\r\nA1 OK\r\n",
            )],
            r#"[Fetched { number: 1, items: [("FLAGS", List([Atom(b"\\Seen"), Atom(b"$x")]))] }]"#,
        )],
    ),
    (
        "a message is sent when the server agrees",
        &[
            (
                "append|x|A\r\nB",
                &[
                    ("A1 APPEND \"x\" {4}\r\n", "* 1 EXPUNGE\r\n+ go\r\n"),
                    ("A\r\nB\r\n", "* 5 EXISTS\r\nA1 OK [APPENDUID 1 2] done\r\n"),
                ],
                "()",
            ),
            (
                "append|full|A\r\nB",
                &[("A2 APPEND \"full\" {4}\r\n", "* 1 RECENT\r\nA2 NO [TRYCREATE] no\r\n")],
                "error: the server refuses: \"no\"",
            ),
            (
                "append|x|",
                &[("A3 APPEND \"x\" {0}\r\n", "+ \r\n"), ("\r\n", "A3 BAD empty\r\n")],
                "error: the server refuses: \"empty\"",
            ),
        ],
    ),
    (
        "idling",
        &[
            (
                "idle|3",
                &[
                    (
                        "A1 IDLE\r\n",
                        "* 1 RECENT\r\n+ idling\r\n* OK Still here\r\n* 4 EXISTS\r\n\
                         * 4 FETCH (BODY[] {2}\r\n\r\n)\r\n",
                    ),
                    ("DONE\r\n", "* 5 EXISTS\r\nA1 OK\r\n"),
                ],
                r#"[[Atom(b"1"), Atom(b"RECENT")], [Atom(b"4"), Atom(b"EXISTS")], [Atom(b"4"), Atom(b"FETCH"), List([Atom(b"BODY[]"), String(b"\r\n")])]]"#,
            ),
            ("besides", &[], r#"[[Atom(b"5"), Atom(b"EXISTS")]] []"#),
            (
                "idle|1",
                &[("A2 IDLE\r\n", "A2 NO never\r\n")],
                "error: the server refuses: \"never\"",
            ),
            ("search|OLD", &[("A3 SEARCH OLD\r\n", "A3 OK\r\n")], "[]"),
        ],
    ),
];

/// Plays a dialogue whose every read has at most `cut` bytes.
async fn play(name: &str, calls: &'static [Call], cut: usize) {
    let turns = calls.iter().flat_map(|(_, turns, _)| *turns).copied();
    let (io, server) = programs::scripted(cut, HELLO, turns);
    let mut client = within(Client::connect(io, settings(MAX_ANSWER))).await.unwrap();
    for (command, _, result) in calls {
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

const BROKEN: &str = "error: the connection broke in an earlier command";

/// A client that is greeted, and whose server has answered before it was asked.
async fn with_answer(answer: impl AsRef<[u8]>) -> (Client<DuplexStream>, DuplexStream) {
    let (io, mut server) = duplex(1 << 20);
    server.write_all(HELLO.as_bytes()).await.unwrap();
    server.write_all(answer.as_ref()).await.unwrap();
    (within(Client::connect(io, settings(MAX_ANSWER))).await.unwrap(), server)
}

/// Everything the server says in a dialogue.
fn answers(calls: &[Call]) -> String {
    calls.iter().flat_map(|(_, turns, _)| *turns).map(|(_, answer)| *answer).collect()
}

/// Performs what is answered whole, and gives the first command that is not.
async fn perform_until(
    client: &mut Client<DuplexStream>,
    calls: &'static [Call],
    mut said: usize,
) -> &'static str {
    for (command, turns, result) in calls {
        let length = turns.iter().map(|(_, answer)| answer.len()).sum::<usize>();
        if said < length {
            return command;
        }
        said -= length;
        assert_eq!(within(perform(client, command)).await, *result);
    }
    panic!("everything is answered");
}

#[tokio::test]
async fn a_server_that_hangs_up_halfway_is_an_error() {
    for at in 0..HELLO.len() {
        let (io, mut server) = duplex(64);
        server.write_all(&HELLO.as_bytes()[..at]).await.unwrap();
        drop(server);
        let greeted = within(Client::connect(io, settings(MAX_ANSWER))).await;
        assert!(matches!(greeted, Err(Error::Channel(asynchat::Error::UnexpectedEof { .. }))));
    }
    for (name, calls) in DIALOGUES {
        let answers = answers(calls);
        for at in 0..answers.len() {
            let (mut client, mut server) = with_answer(&answers[..at]).await;
            server.shutdown().await.unwrap();
            let command = perform_until(&mut client, calls, at).await;
            let came_of_it = within(perform(&mut client, command)).await;
            let place = format!("{name}: {command:?}, {at} bytes of the answers");
            assert!(came_of_it.starts_with("error: input ended"), "{place}: {came_of_it}");
            assert_eq!(within(perform(&mut client, "search|X")).await, BROKEN, "{place}");
        }
    }
}

#[tokio::test]
async fn a_command_dropped_halfway_breaks_the_connection() {
    for (name, calls) in DIALOGUES {
        let answers = answers(calls);
        for at in 0..answers.len() {
            let (mut client, mut server) = with_answer(&answers[..at]).await;
            let command = perform_until(&mut client, calls, at).await;
            let place = format!("{name}: {command:?}, {at} bytes of the answers");
            // Until it waits for the server, and not for its turn.
            yield_now().await;
            assert_eq!(perform(&mut client, command).now_or_never(), None, "{place}");
            // The rest comes when nobody waits for it any more.
            server.write_all(&answers.as_bytes()[at..]).await.unwrap();
            assert_eq!(within(perform(&mut client, "search|X")).await, BROKEN, "{place}");
        }
    }
}

#[tokio::test]
async fn wait_for_events_can_be_dropped_at_every_byte() {
    let events =
        "* 4 EXISTS\r\n* OK (\r\n* 4 FETCH (X {4}\r\n\r\n({ (({1}\r\n))))\r\n* 5 EXISTS\r\n";
    let (mut client, mut server) = with_answer("+ idling\r\n").await;
    let mut idle = within(client.idle()).await.unwrap();
    let mut seen = Vec::new();
    for byte in events.bytes() {
        server.write_all(&[byte]).await.unwrap();
        yield_now().await;
        // The future is dropped, finished or not.
        if let Some(event) = idle.next().now_or_never() {
            seen.push(event.unwrap());
        }
    }
    server.write_all(b"A1 OK\r\n").await.unwrap();
    within(idle.done()).await.unwrap();
    let seen: Vec<String> = seen.iter().map(|event| format!("{event:?}")).collect();
    let exists = |n| format!("[Atom(b\"{n}\"), Atom(b\"EXISTS\")]");
    let fetch = "[Atom(b\"4\"), Atom(b\"FETCH\"), \
                 List([Atom(b\"X\"), String(b\"\\r\\n({\"), List([List([String(b\")\")])])])]";
    assert_eq!(seen, [exists(4), fetch.to_owned(), exists(5)]);
}

/// Many answers, and endless events, cost no more than one does.
#[tokio::test]
async fn the_limit_is_for_one_answer_and_for_one_event() {
    let answer = |tag| format!("* SEARCH{}\r\nA{tag} OK\r\n", " 1".repeat(100));
    let (mut client, _server) = with_answer((1..=100).map(answer).collect::<String>()).await;
    for _ in 0..100 {
        assert_eq!(within(client.search("ALL")).await.unwrap().len(), 100);
    }
    let (mut client, mut server) = with_answer("+ idling\r\n").await;
    let event = "* OK still here\r\n* 4 EXISTS\r\n* X (a b c)\r\n".repeat(1000);
    server.write_all(event.as_bytes()).await.unwrap();
    let mut idle = within(client.idle()).await.unwrap();
    for _ in 0..2000 {
        within(idle.next()).await.unwrap();
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_break_the_connection() {
    let fits = "*".repeat(8_000);
    let deep = |n: usize| format!("* X {}{}\r\nA1 OK\r\n", "(".repeat(n), ")".repeat(n));
    let bad = |line: &str| format!("{line}\r\nA1 OK\r\n");
    let word = "a bad character";
    let quoted = "a bad quoted string";
    let too_much = "too much for one answer";
    for (name, command, answer, error) in [
        ("garbage", "search|X", bad("\u{1}\u{2}"), "no response"),
        ("an empty line", "search|X", bad(""), "no response"),
        ("a star alone", "search|X", bad("*"), "no response"),
        ("a bare LF", "search|X", "* X\nA1 OK\r\n".into(), word),
        ("a bare LF at the end", "search|X", "A1 OK\n".into(), "input ended"),
        ("a bare CR", "search|X", bad("* X \r"), word),
        ("a NUL", "search|X", bad("* X a\0"), word),
        ("the end of another command", "search|X", "A2 OK\r\n".into(), "the end of another"),
        ("a tag in lower case", "search|X", "a1 OK\r\n".into(), "the end of another"),
        ("a tag without a word", "search|X", "A1\r\n".into(), "no response"),
        ("a tag with data", "search|X", "A1 SEARCH 1\r\n".into(), "no response"),
        (
            "a continuation that was not requested",
            "search|X",
            "+ go\r\nA1 OK\r\n".into(),
            "a continuation that was not requested",
        ),
        (
            "consent twice",
            "append|x|a",
            "+ go\r\n+ go\r\nA1 OK\r\n".into(),
            "a continuation that was not requested",
        ),
        ("done without the message", "append|x|a", "A1 OK\r\n".into(), "an incomplete command"),
        ("idling is over at once", "idle|1", "A1 OK\r\n".into(), "an incomplete command"),
        ("idling is over unasked", "idle|1", "+\r\nA1 OK\r\n".into(), "the end of idling"),
        (
            "goodbye",
            "search|X",
            "* BYE bored {5}\r\nA1 OK\r\n".into(),
            "closed the connection: \"bored {5}\"",
        ),
        ("goodbye while idling", "idle|1", "+\r\n* BYE\r\n".into(), "closed the connection: \"\""),
        ("the deepest list", "search|X", deep(16), ""),
        ("lists too deep", "search|X", deep(17), "lists nested too deeply"),
        ("lists much too deep", "search|X", format!("* {}", "(".repeat(9_000)), "input ended"),
        ("lists much too deep", "search|X", bad(&"* (".repeat(50)), "lists nested too deeply"),
        ("a list without an end", "search|X", bad("* X (a"), "a list without an end"),
        (
            "an unexpected closing parenthesis",
            "search|X",
            bad("* X a)"),
            "an unexpected closing parenthesis",
        ),
        (
            "an unexpected closing parenthesis",
            "search|X",
            bad("* X a) (b"),
            "an unexpected closing parenthesis",
        ),
        ("quotes without an end", "search|X", bad("* X \"a"), quoted),
        ("quotes with half an escape", "search|X", bad("* X \"a\\"), quoted),
        ("quotes with a bad escape", "search|X", bad("* X \"a\\n\""), quoted),
        ("quotes with a NUL", "search|X", bad("* X \"\0\""), quoted),
        ("quotes with a CR", "search|X", bad("* X \"\r\""), quoted),
        ("quotes with a LF", "search|X", bad("* X \"\n\""), quoted),
        ("quotes behind quotes", "search|X", bad("* X \"a\"\"b\""), "no space between"),
        ("a literal behind quotes", "search|X", bad("* X \"a\"{1}\r\nx"), "no space between"),
        ("quotes in a word", "search|X", bad("* X a\"b\""), word),
        ("a literal in a word", "search|X", bad("* X a{1}\r\nx"), word),
        ("a literal in the middle", "search|X", bad("* X {1} a"), word),
        ("a literal without a number", "search|X", bad("* X {}"), word),
        ("a literal with a sign", "search|X", bad("* X {+1}"), word),
        ("a literal of less than nothing", "search|X", bad("* X {-1}"), word),
        ("a literal that does not wait", "search|X", bad("* X {1+}"), word),
        ("a literal without an end", "search|X", bad("* X {1"), word),
        ("a literal in another base", "search|X", bad("* X {0x1}"), word),
        ("a literal of 99999999999", "search|X", "* X {99999999999}\r\n".into(), too_much),
        ("a literal of 2^63", "search|X", "* X {9223372036854775808}\r\n".into(), too_much),
        ("a literal of 2^64 + 1", "search|X", "* X {18446744073709551617}\r\n".into(), word),
        ("a literal of 4 GiB - 1", "search|X", "* X {4294967295}\r\n".into(), too_much),
        ("binary, 4 GiB - 1", "search|X", "* X ~{4294967295}\r\n".into(), too_much),
        ("another part, 4 GiB - 1", "fetch_to|1", "* 1 FETCH (X {4294967295}\r\n".into(), too_much),
        (
            "another message, 4 GiB - 1",
            "fetch_to|1",
            "* 2 FETCH (BODY[] {4294967295}\r\n".into(),
            too_much,
        ),
        (
            "the message once more, 4 GiB - 1",
            "fetch_to|1",
            "* 1 FETCH (BODY[] {1}\r\nx BODY[] {4294967295}\r\n".into(),
            too_much,
        ),
        (
            "no message",
            "fetch_to|1",
            "* 2 FETCH (BODY[] {1}\r\nx)\r\nA1 OK\r\n".into(),
            "no message",
        ),
        ("a section without an end", "search|X", bad("* 1 FETCH (BODY[HEADER"), "a section"),
        ("half a message", "fetch_to|1", "* 1 FETCH (BODY[] {5}\r\nab".into(), "input ended"),
        ("a line that fits", "search|X", format!("* X {fits}{fits}\r\nA1 OK\r\n"), ""),
        ("a line too long", "search|X", format!("* X {fits}{fits}{fits}\r\nA1 OK\r\n"), too_much),
        ("a line too long, without an end", "search|X", fits.repeat(3), too_much),
        (
            "literals that fit",
            "search|X",
            bad(&format!("* X{}", " {8000}\r\n".to_owned() + &fits)),
            "",
        ),
        (
            "literals too long in sum",
            "search|X",
            bad(&format!("* X{}", (" {8000}\r\n".to_owned() + &fits).repeat(3))),
            too_much,
        ),
        ("too many small values", "search|X", bad(&format!("* X{}", "()".repeat(300))), too_much),
        (
            "too many empty literals",
            "search|X",
            bad(&format!("* X{}", " {0}\r\n".repeat(300))),
            too_much,
        ),
        ("too many responses", "search|X", bad(&"* 1 EXISTS\r\n".repeat(300)), too_much),
        ("too many notices", "search|X", bad(&"* OK\r\n".repeat(300)), too_much),
    ] {
        let (mut client, mut server) = with_answer(answer).await;
        server.shutdown().await.unwrap();
        let came_of_it = within(perform(&mut client, command)).await;
        let failed = came_of_it.starts_with("error: ");
        assert!(failed != error.is_empty() && came_of_it.contains(error), "{name}: {came_of_it}");
        if failed && name != "no message" {
            assert_eq!(within(perform(&mut client, "search|X")).await, BROKEN, "{name}");
        }
    }
}

/// It would come out as nothing found, nothing there.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_an_error() {
    for (command, data) in [
        ("search|X", "SEARCH 4294967296"),
        ("search|X", "SEARCH 1 0"),
        ("search|X", "SEARCH 1 +2"),
        ("search|X", "SEARCH 1 x"),
        ("search|X", "SEARCH 1 \"2\""),
        ("search|X", "SEARCH 1 NIL"),
        ("search|X", "SEARCH 1:3"),
        ("search|X", "SEARCH 1 (MODSEQ)"),
        ("search|X", "SEARCH 1 (MODSEQ x)"),
        ("search|X", "SEARCH 1 (OTHER 5)"),
        ("search|X", "SEARCH (MODSEQ 5) 1"),
        ("search|X", "ESEARCH (TAG \"A2\") ALL 1"),
        ("search|X", "ESEARCH (TAG) ALL 1"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL \"1\""),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1:"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1:2:3"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1,"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1:*"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 0:1"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 4294967296"),
        ("search|X", "ESEARCH (TAG \"A1\") COUNT 2"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1 COUNT 2"),
        ("search|X", "ESEARCH (TAG \"A1\") MIN 1 MAX 3"),
        // More than can be held.
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1:4294967295"),
        ("search|X", "ESEARCH (TAG \"A1\") ALL 1:2000,1:2000,1:2000"),
        ("list|*", "LIST () \"/\""),
        ("list|*", "LIST NIL \"/\" a"),
        ("list|*", "LIST () \"/\" (a)"),
        ("fetch|1|FLAGS", "1 FETCH (FLAGS)"),
        ("fetch|1|FLAGS", "1 FETCH FLAGS"),
        ("fetch|1|FLAGS", "4294967296 FETCH (FLAGS ())"),
        ("store|1|\\Seen", "1 FETCH (ODD)"),
        ("select|x", "4294967296 EXISTS"),
        ("login|a|b", "CAPABILITY IMAP4rev1 (X)"),
    ] {
        let (mut client, _server) = with_answer(format!("* {data}\r\nA1 OK\r\n")).await;
        let came_of_it = within(perform(&mut client, command)).await;
        let error = "error: invalid answer of the server: an answer that cannot be read";
        assert_eq!(came_of_it, error, "{command}: {data}");
    }
    let (mut client, _server) = with_answer("* FLAGS ()\r\nA1 OK\r\n").await;
    let came_of_it = within(perform(&mut client, "select|x")).await;
    assert_eq!(came_of_it, "error: invalid answer of the server: no size of the mailbox");
}

#[tokio::test]
async fn sizes_may_have_more_than_32_bits() {
    let (mut client, _server) = with_answer(
        "* 1 FETCH (RFC822.SIZE 1099511627776 MODSEQ (9223372036854775807))\r\nA1 OK\r\n\
         * 1 FETCH (BODY[] {1099511627776}\r\nabc",
    )
    .await;
    let fetched = within(client.fetch("1", "RFC822.SIZE")).await.unwrap();
    assert_eq!(fetched[0].get("RFC822.SIZE").and_then(Value::number), Some(1 << 40));
    let (mut text, mut progress) = (Vec::new(), (0, 0));
    let mut fetching = Box::pin(client.fetch_to(1, &mut text, |done, all| progress = (done, all)));
    assert!(poll!(&mut fetching).is_pending());
    drop(fetching);
    assert_eq!((text, progress), (b"abc".to_vec(), (3, 1 << 40)));
}

/// The clock of these tests goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn slow_server_times_out() {
    for (name, command, said, then, every, seconds) in [
        ("nothing", "search|X", "", "", 1, 60),
        ("half a line", "search|X", "* SEARCH 1", "", 1, 60),
        ("no consent", "append|x|a", "", "", 1, 60),
        ("half a literal", "fetch|1|X", "* 1 FETCH (X {5}\r\na", "", 1, 60),
        ("half a message", "fetch_to|1", "* 1 FETCH (BODY[] {5000}\r\na", "", 1, 60),
        ("a line, byte by byte", "search|X", "* SEARCH", "1", 55, 60),
        ("a message, byte by byte", "fetch_to|1", "* 1 FETCH (BODY[] {5000}\r\n", "a", 55, 60),
        ("notices without end", "search|X", "", "* OK patience\r\n", 55, 600),
        ("literals without end", "fetch|1|X", "* 1 FETCH (X", " {1}\r\na", 55, 600),
    ] {
        let (mut client, mut server) = with_answer(said).await;
        let begun = Instant::now();
        let saying = async {
            loop {
                sleep(Duration::from_secs(every)).await;
                server.write_all(then.as_bytes()).await.unwrap();
            }
        };
        let came_of_it = tokio::select! {
            came_of_it = perform(&mut client, command) => came_of_it,
            () = saying => unreachable!(),
        };
        assert_eq!(came_of_it, "error: the server did not answer in time", "{name}");
        let took = begun.elapsed().as_secs();
        assert!((seconds..=2 * seconds).contains(&took), "{name}: {took} s");
        assert_eq!(perform(&mut client, "search|X").await, BROKEN, "{name}");
    }
    let (io, _server) = duplex(64);
    let e = Client::connect(io, settings(MAX_ANSWER)).await.err().unwrap();
    assert_eq!(e.to_string(), "the server did not answer in time");
}

#[tokio::test(start_paused = true)]
async fn trickling_server_times_out() {
    let (io, mut server) = duplex(64);
    server.write_all(b"* OK hello\r\n+ go\r\n").await.unwrap();
    let mut client = Client::connect(io, settings(MAX_ANSWER)).await.unwrap();
    let begun = Instant::now();
    let reading = async {
        loop {
            sleep(Duration::from_secs(50)).await;
            server.read_u8().await.unwrap();
        }
    };
    let e = tokio::select! {
        appended = client.append("x", 100_000, Cursor::new(vec![b'x'; 100_000])) => appended,
        () = reading => unreachable!(),
    };
    assert_eq!(e.unwrap_err().to_string(), "the server did not answer in time");
    assert!((600..700).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_large_message_may_take_its_time() {
    const SIZE: usize = 10 << 20;
    let (mut client, mut server) = with_answer("").await;
    let sending = async {
        server.write_all(format!("* 1 FETCH (BODY[] {{{SIZE}}}\r\n").as_bytes()).await.unwrap();
        // 2 KiB a second, for more than an hour.
        for _ in 0..SIZE / 20_480 {
            sleep(Duration::from_secs(10)).await;
            server.write_all(&[b'x'; 20_480]).await.unwrap();
        }
        server.write_all(b")\r\nA1 OK\r\n").await.unwrap();
    };
    let (mut text, begun) = (Vec::new(), Instant::now());
    let (fetched, ()) = tokio::join!(client.fetch_to(1, &mut text, |_, _| {}), sending);
    assert_eq!((fetched.unwrap(), text.len()), (SIZE as u64, SIZE));
    assert!(begun.elapsed() > Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn idling_begins_again_before_half_an_hour() {
    let (io, mut server) = duplex(1024);
    server.write_all(b"* OK hello\r\n").await.unwrap();
    let mut client = Client::connect(io, settings(MAX_ANSWER)).await.unwrap();
    let begun = Instant::now();
    let serving = async {
        let mut commands = asynchat::Channel::new(server, "\r\n");
        for round in 1..=4 {
            assert_eq!(commands.receive("\r\n").await.unwrap(), format!("A{round} IDLE"));
            commands.push_frame("+ idling\r\n").unwrap();
            let at = Instant::now();
            assert_eq!(commands.receive("\r\n").await.unwrap(), "DONE");
            let minutes = at.elapsed().as_secs() / 60;
            assert!((20..30).contains(&minutes), "{minutes}");
            // What happens in between is not lost.
            commands.push(format!("* {round} EXISTS\r\nA{round} OK\r\n"));
        }
        commands.flush().await.unwrap();
    };
    let idling = async {
        let mut idle = client.idle().await.unwrap();
        for round in 1..5 {
            // It is given up again and again.
            let data = loop {
                if let Ok(data) = timeout(Duration::from_secs(7), idle.next()).await {
                    break data.unwrap();
                }
            };
            assert_eq!(data[0].number(), Some(round));
        }
        idle.done().await.unwrap();
    };
    tokio::join!(serving, idling);
    assert!(begun.elapsed() >= Duration::from_secs(4 * 20 * 60));
}

#[tokio::test(start_paused = true)]
async fn idling_ends_in_the_middle_of_beginning_again() {
    for (said, more) in [("", "* 1 RECENT\r\nA1 OK\r\n"), ("A1 OK\r\n", "+ idling\r\nA2 OK\r\n")] {
        let (mut client, mut server) = with_answer("+ idling\r\n").await;
        let mut idle = client.idle().await.unwrap();
        let second = Duration::from_secs(1);
        assert!(timeout(28 * 60 * second + second, idle.next()).await.is_err());
        server.write_all(said.as_bytes()).await.unwrap();
        assert!(timeout(second, idle.next()).await.is_err());
        server.write_all(more.as_bytes()).await.unwrap();
        idle.done().await.unwrap();
        drop(client);
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        let again = if said.is_empty() { "" } else { "A2 IDLE\r\nDONE\r\n" };
        assert_eq!(sent, "A1 IDLE\r\nDONE\r\n".to_owned() + again);
    }
    // And a server that does not answer any more is noticed.
    let (mut client, _server) = with_answer("+ idling\r\n").await;
    let mut idle = client.idle().await.unwrap();
    let e = timeout(Duration::from_secs(1800), idle.next()).await.unwrap().unwrap_err();
    assert_eq!(e.to_string(), "the server did not answer in time");
}

const TOKENS: &[&str] = &[
    "* ",
    "A1 OK",
    "A1 NO [",
    "+",
    "* BYE",
    "\r\n",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "\\",
    " ",
    "{",
    "}",
    "{0}\r\n",
    "~{3}\r\n",
    "NIL",
    "1",
    "x",
    "BODY[",
    "FETCH (",
    "* 1 FETCH (BODY[] {3}\r\n",
    "\0",
    "\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever the server says: no panic, and the same for every cut.
    #[test]
    fn anything_may_come(said in vec(select(TOKENS), 0..20), cut in 1..8usize) {
        let said = said.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let result = |cut, command| {
            let said = HELLO.to_owned() + &said + "\r\nA1 OK\r\n";
            runtime.block_on(async move {
                let (io, server) = duplex(cut);
                let (mut theirs, mut ours) = tokio::io::split(server);
                tokio::spawn(async move { theirs.read_to_end(&mut Vec::new()).await });
                tokio::spawn(async move {
                    // The client may have heard enough before.
                    let _ = ours.write_all(said.as_bytes()).await;
                    let _ = ours.shutdown().await;
                });
                let mut client = within(Client::connect(io, settings(MAX_ANSWER))).await.unwrap();
                let result = within(perform(&mut client, command)).await;
                result + &within(perform(&mut client, "besides")).await
            })
        };
        for command in ["search|X", "fetch_to|1"] {
            prop_assert_eq!(result(cut, command), result(1024, command));
        }
    }
}

#[tokio::test]
async fn greetings_that_are_none_are_refused() {
    for (name, greeting, error) in [
        ("a refusal", "* BYE go away\r\n", "the server closed the connection: \"go away\""),
        ("data", "* 1 EXISTS\r\n", "invalid answer of the server: no greeting"),
        ("a no", "* NO\r\n", "invalid answer of the server: no greeting"),
        ("the end of a command", "A1 OK\r\n", "invalid answer of the server: no greeting"),
        ("consent", "+ OK\r\n", "invalid answer of the server: no greeting"),
        ("another protocol", "220 ESMTP\r\n", "invalid answer of the server: no response"),
    ] {
        let (io, mut server) = duplex(64);
        server.write_all(greeting.as_bytes()).await.unwrap();
        let e = within(Client::connect(io, settings(MAX_ANSWER))).await.err().unwrap();
        assert_eq!(e.to_string(), error, "{name}");
    }
}

/// What was said in the clear, by whomever, counts for nothing under TLS.
#[tokio::test]
async fn nothing_goes_over_to_tls() {
    let unread = "unread input before the upgrade";
    for (name, script, result) in [
        ("consent", "* OK hello\r\nA1 OK go\r\n", ""),
        ("consent with data", "* OK hello\r\n* CAPABILITY LITERAL+\r\nA1 OK go\r\n", ""),
        ("an answer behind it", "* OK hello\r\nA1 OK go\r\nA1 OK in\r\n", unread),
        ("data behind it", "* OK hello\r\nA1 OK go\r\n* CAPABILITY LITERAL+\r\n", unread),
        ("half a line behind it", "* OK hello\r\nA1 OK go\r\n*", unread),
        ("no consent", "* OK hello\r\nA1 NO sorry\r\n", "the server refuses: \"sorry\""),
        (
            "in already",
            "* PREAUTH hello\r\nA1 OK go\r\n",
            "invalid answer of the server: authenticated before TLS",
        ),
        (
            "the end of another",
            "* OK hello\r\nA2 OK go\r\n",
            "invalid answer of the server: the end of",
        ),
        (
            "goodbye",
            "* OK hello\r\n* BYE no\r\nA1 OK go\r\n",
            "the server closed the connection: \"no\"",
        ),
        ("the end of input", "* OK hello\r\nA1 OK g", "input ended"),
    ] {
        let (io, mut server) = duplex(1024);
        server.write_all(script.as_bytes()).await.unwrap();
        let mut client = within(Client::connect(io, settings(MAX_ANSWER))).await.unwrap();
        client.capabilities = vec!["LITERAL+".into()];
        if name == "the end of input" {
            server.shutdown().await.unwrap();
        }
        match within(client.start_tls(|io| async { Ok(io) })).await {
            Err(e) => {
                assert!(e.to_string().starts_with(result) && !result.is_empty(), "{name}: {e}")
            }
            Ok(mut client) => {
                assert_eq!(result, "", "{name}");
                assert!(client.capabilities.is_empty() && client.unasked.is_empty(), "{name}");
                server.write_all(b"* CAPABILITY LOGINDISABLED\r\nA1 OK\r\n").await.unwrap();
                let login = within(perform(&mut client, "login|a|b")).await;
                assert_eq!(login, "error: no login on this connection, try TLS", "{name}");
                let mut sent = [0; 40];
                let n = server.read(&mut sent).await.unwrap();
                assert_eq!(&sent[..n], b"A1 STARTTLS\r\nA1 CAPABILITY\r\n", "{name}");
            }
        }
    }
}

/// The end of the command cannot pass for the end of the message.
#[tokio::test]
async fn a_message_shorter_than_announced_is_never_whole() {
    let (mut client, mut server) = with_answer("+ go\r\n").await;
    let e = within(client.append("x", 10, Cursor::new("short"))).await.unwrap_err();
    assert_eq!(e.to_string(), "producer failed");
    assert_eq!(within(perform(&mut client, "search|X")).await, BROKEN);
    drop(client);
    let mut sent = String::new();
    within(server.read_to_string(&mut sent)).await.unwrap();
    assert_eq!(sent.trim_end_matches("short"), "A1 APPEND \"x\" {10}\r\n");
}

#[tokio::test]
async fn logout_waits_for_the_farewell() {
    for (name, answer, error) in [
        ("as it should be", "* 1 EXISTS\r\n* BYE bye\r\nA1 OK\r\n", ""),
        ("without a farewell", "A1 OK\r\n", ""),
        ("cut off after the farewell", "* BYE bye\r\n", ""),
        ("cut off in the farewell", "* BYE b", ""),
        ("cut off before the farewell", "* 1 EXISTS\r\n", ""),
        ("makes no sense", "!\r\n", "invalid answer of the server: no response"),
        ("refused", "A1 BAD no\r\n", "the server refuses: \"no\""),
    ] {
        let (client, mut server) = with_answer(answer).await;
        server.shutdown().await.unwrap();
        let came_of_it = within(client.logout()).await.map_err(|e| e.to_string());
        assert_eq!(came_of_it.err().unwrap_or_default(), error, "{name}");
    }
}

/// Runs the program with a server that says `answers`, one for each line that it hears,
/// and then closes. Returns what was heard, and how the program ended.
async fn run_program(answers: &[&str], words: &[&str], password: &[u8]) -> (String, Output) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_example-imap"));
    program.args(["--timeout", "5", &address, "ann"]).args(words).kill_on_drop(true);
    program.env("IMAP_PASSWORD", OsStr::from_bytes(password));
    let serving = async {
        let (socket, _) = server.accept().await.unwrap();
        let mut channel = asynchat::Channel::new(socket, "\r\n");
        let mut heard = String::new();
        for (i, answer) in answers.iter().enumerate() {
            if i > 0 {
                let Ok(line) = channel.receive("\r\n").await else { break };
                heard += &format!("{}\n", String::from_utf8_lossy(&line));
            }
            channel.push_slice(answer.as_bytes());
        }
        let _ = channel.flush().await;
        heard
    };
    let (heard, output) = within(async { tokio::join!(serving, program.output()) }).await;
    (heard, output.unwrap())
}

#[tokio::test]
async fn work_that_is_done_is_success_however_the_server_leaves() {
    let hello = ["* OK hi\r\n", "* CAPABILITY IMAP4rev1\r\nA1 OK\r\n", "A2 OK\r\n"];
    let rest = ["A3 OK\r\n", "A4 OK\r\n"];
    for leave in ["* BYE bye\r\nA5 OK\r\n", "* BYE bye\r\n", "* BYE b", ""] {
        let answers = [&hello[..], &rest, &[leave]].concat();
        let (heard, output) = run_program(&answers, &["create", "x"], b"secret").await;
        assert!(heard.ends_with("A4 CREATE \"x\"\nA5 LOGOUT\n"), "{heard}");
        assert!(output.status.success() && output.stderr.is_empty(), "{leave}: {output:?}");
    }
    // The same words before the work is done.
    let answers = [&hello[..], &rest[..1], &["* BYE bye\r\n"]].concat();
    let (_, output) = run_program(&answers, &["create", "x"], b"secret").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "example-imap: the server closed the connection: \"bye\"\n");
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn alerts_are_shown_wherever_they_come() {
    let (capability, bye) =
        ("* CAPABILITY X\r\nA1 OK\r\n", "* BYE [ALERT] e\r\nA5 OK [alert] f\r\n");
    let login = "* NO [ALERT] b\x1b[1m\r\n* OK [UNSEEN 1] quiet\r\nA2 OK [ALERT] c\r\n";
    for (answers, shown, success) in [
        (
            &["* OK [ALERT] a\r\n", capability, login, "A3 OK\r\n", "A4 OK [ALERT] d\r\n", bye][..],
            &["a", "b\\u{1b}[1m", "c", "d", "e", "f"][..],
            true,
        ),
        (&["* OK hi\r\n", capability, "A2 NO [ALERT] no more\r\n"], &["no more"], false),
        (&["* BYE [ALERT] down for an hour\r\n"], &["down for an hour"], false),
    ] {
        let (_, output) = run_program(answers, &["create", "x"], b"secret").await;
        let said = String::from_utf8_lossy(&output.stderr);
        let alert = |text: &&str| format!("example-imap: the server warns: \"{text}\"\n");
        let shown = shown.iter().map(alert).collect::<String>();
        assert!(said.starts_with(&shown) && !said.contains("quiet"), "{said}");
        assert_eq!((output.status.success(), said == shown), (success, success), "{said}");
    }
}

#[tokio::test]
async fn login_is_skipped_after_preauth() {
    let capability = |tag| format!("* CAPABILITY X\r\nA{tag} OK\r\n");
    let answers = ["* PREAUTH hi\r\n", &capability(1), "A2 OK\r\n", "A3 OK\r\n"];
    let (heard, output) = run_program(&answers, &["create", "x"], b"secret").await;
    assert_eq!(heard, "A1 CAPABILITY\nA2 CREATE \"x\"\nA3 LOGOUT\n");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn empty_fetch_and_empty_search_differ() {
    let hello = ["* PREAUTH hi\r\n", "A1 OK\r\n", "* 3 EXISTS\r\nA2 OK\r\n"];
    for (words, answer, printed) in [
        (["fetch", "x", "1"], "A3 OK\r\n", None),
        (["fetch", "x", "1"], "* 1 FETCH (FLAGS ())\r\nA3 OK\r\n", None),
        (["fetch", "x", "1"], "* 1 FETCH (BODY[] NIL)\r\nA3 OK\r\n", None),
        (["fetch", "x", "1"], "* 1 FETCH (BODY[] \"\")\r\nA3 OK\r\n", Some("")),
        (["search", "x", "ALL"], "* SEARCH 4294967296\r\nA3 OK\r\n", None),
        (["search", "x", "ALL"], "* SEARCH\r\nA3 OK\r\n", Some("")),
        (["search", "x", "ALL"], "* SEARCH 1 2 (MODSEQ 5)\r\nA3 OK\r\n", Some("1\n2\n")),
    ] {
        let answers = [&hello[..], &[answer, "A4 OK\r\n"]].concat();
        let (_, output) = run_program(&answers, &words, b"").await;
        assert_eq!(output.status.success(), printed.is_some(), "{words:?}: {answer}");
        assert_eq!(output.stdout, printed.unwrap_or_default().as_bytes(), "{words:?}: {answer}");
    }
}

/// A Dovecot with its mail, sockets and certificate in a folder of its own.
struct Dovecot {
    server: Server,
    folder: TempDir,
}

impl Dovecot {
    fn start() -> Option<Self> {
        // The second is what `dovecot` starts, and in a package of its own. It looks for
        // the others itself.
        if !["dovecot", "/usr/lib/dovecot/imap"].into_iter().all(programs::is_installed) {
            return None;
        }
        // In `/tmp`, or the paths of its sockets get too long.
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        if folder.path().metadata().unwrap().uid() != 0 {
            programs::skip("dovecot starts only for root");
            return None;
        }
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("mail")).unwrap();
        std::fs::write(path("users"), "ann:{PLAIN}s\"e\\cret\n").unwrap();
        // Not root but `nobody` keeps the mail.
        for (name, mode) in [("", 0o755), ("mail", 0o777), ("users", 0o644)] {
            std::fs::set_permissions(path(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let server = Server::start_if_whole("starting up for imap", |port| {
            let conf = CONF.replace("FOLDER", folder.path().to_str().unwrap());
            let conf = conf.replace("PORT", &port.to_string());
            std::fs::write(path("conf"), conf).unwrap();
            let conf = path("conf").to_str().unwrap().to_owned();
            ["dovecot", "-F", "-c", &conf].map(str::to_owned).to_vec()
        })?;
        Some(Dovecot { server, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that is logged in.
    async fn client(&self) -> Client<TcpStream> {
        let io = TcpStream::connect(self.server.address).await.unwrap();
        let mut client = Client::connect(io, settings(16 << 20)).await.unwrap();
        client.login("ann", PASSWORD).await.unwrap();
        client
    }
}

const PASSWORD: &str = "s\"e\\cret";

const CONF: &str = "
base_dir = FOLDER/run
listen = 127.0.0.1
log_path = /dev/stderr
protocols = imap
disable_plaintext_auth = no
auth_failure_delay = 0
ssl = yes
ssl_cert = <FOLDER/cert.pem
ssl_key = <FOLDER/key.pem
mail_location = maildir:FOLDER/mail/%u
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 1
first_valid_gid = 1
passdb {
  driver = passwd-file
  args = FOLDER/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=FOLDER/mail/%u
}
# Or a wrong password costs some seconds.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = PORT
  }
  inet_listener imaps {
    port = 0
  }
}
";

/// A message of about so many bytes, with everything that looks like IMAP.
fn message(length: usize) -> Vec<u8> {
    let mut message = b"From: ann@example.org\r\nSubject: a \"long\" one\r\n\r\n".to_vec();
    while message.len() < length {
        message.extend_from_slice(b"A1 OK {5}\r\n)\r\n* BYE \xff\xfe {9}\r\n\"+ \\(\r\n\r\n");
    }
    message
}

async fn append<T>(client: &mut Client<T>, mailbox: &str, message: &[u8])
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let reader = Cursor::new(message.to_vec());
    client.append(mailbox, message.len() as u64, reader).await.unwrap();
}

#[tokio::test]
async fn a_real_server_keeps_messages_byte_for_byte() {
    let Some(dovecot) = Dovecot::start() else { return };
    within(async {
        let mut client = dovecot.client().await;
        assert!(client.capabilities.contains(&"LITERAL+".to_owned()));
        let messages = [message(3 << 20), message(100_000), message(1), message(3 << 20)];
        for (i, message) in messages.iter().enumerate() {
            if i == 2 {
                // From now on it has to be asked before each literal.
                client.capabilities.clear();
            }
            append(&mut client, "INBOX", message).await;
        }
        assert_eq!(client.select("INBOX").await.unwrap().exists, 4);
        for (message, number) in messages.iter().zip(1..) {
            let items = "(FLAGS RFC822.SIZE BODY.PEEK[] ENVELOPE)";
            let fetched = client.fetch(&number.to_string(), items).await.unwrap();
            let size = fetched[0].get("RFC822.SIZE").and_then(Value::number);
            assert_eq!((fetched.len(), fetched[0].number), (1, number));
            assert_eq!(size, u64::try_from(message.len()).ok());
            let body = fetched[0].get("BODY[]");
            assert!(matches!(body, Some(Value::String(got)) if got == message), "{number}");

            let (mut streamed, mut pieces) = (Vec::new(), 0);
            let length = client.fetch_to(number, &mut streamed, |_, _| pieces += 1).await.unwrap();
            assert!(length == message.len() as u64 && streamed == *message, "{number}");
            assert!(pieces > 1 || message.len() < 1000, "{number}");
        }
        // More than this client wants to hold: it can still be streamed.
        let io = TcpStream::connect(dovecot.server.address).await.unwrap();
        let mut small = Client::connect(io, settings(100_000)).await.unwrap();
        small.login("ann", PASSWORD).await.unwrap();
        small.examine("INBOX").await.unwrap();
        assert_eq!(small.fetch_to(1, &mut tokio::io::sink(), |_, _| {}).await.unwrap(), {
            messages[0].len() as u64
        });
        let held = small.fetch("1", "BODY.PEEK[]").await.unwrap_err();
        assert_eq!(held.to_string(), "invalid answer of the server: too much for one answer");
        client.logout().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn dovecot_obeys_commands() {
    let Some(dovecot) = Dovecot::start() else { return };
    within(async {
        let io = TcpStream::connect(dovecot.server.address).await.unwrap();
        let mut client = Client::connect(io, settings(1 << 20)).await.unwrap();
        let wrong = client.login("ann", "wrong\r\nA9 LOGOUT").await.unwrap_err();
        assert!(matches!(wrong, Error::Refused(status) if status.code == "AUTHENTICATIONFAILED"));
        client.login("ann", PASSWORD).await.unwrap();

        let odd = "Entw&APw-rfe \"a\" b\\ {5}";
        client.create(odd).await.unwrap();
        let mut names: Vec<_> =
            client.list("*").await.unwrap().into_iter().map(|m| m.name).collect();
        names.sort();
        assert_eq!(names, [odd, "INBOX"]);
        assert!(matches!(client.select("missing").await, Err(Error::Refused(_))));

        append(&mut client, odd, b"Subject: {3}\r\n\r\none").await;
        append(&mut client, odd, b"Subject: second\r\n\r\ntwo").await;
        let selected = client.select(odd).await.unwrap();
        assert!(selected.exists == 2 && !selected.is_read_only);
        assert_eq!(client.search("SUBJECT \"second\"").await.unwrap(), [2]);
        assert_eq!(client.search("SEEN").await.unwrap(), []);
        assert_eq!(client.search("MODSEQ 1").await.unwrap(), [1, 2]);
        for options in ["", "ALL", "ALL COUNT"] {
            let found = client.search(&format!("RETURN ({options}) SUBJECT second")).await.unwrap();
            assert_eq!(found, [2], "{options}");
        }
        assert!(client.search("RETURN (COUNT) ALL").await.is_err());
        assert_eq!(client.search("RETURN (ALL COUNT) SUBJECT third").await.unwrap(), []);
        let stored = client.store("1:2", "+FLAGS", &["\\Seen", "$mine"]).await.unwrap();
        assert_eq!(stored.len(), 2);
        client.store("2", "-FLAGS", &["\\Seen"]).await.unwrap();
        assert_eq!(client.search("SEEN").await.unwrap(), [1]);
        assert_eq!(client.search("KEYWORD $mine").await.unwrap(), [1, 2]);
        let nonsense = client.search("NONSENSE").await;
        assert!(matches!(nonsense, Err(Error::Refused(_))));
        assert!(matches!(client.fetch("9", "FLAGS").await, Err(Error::Refused(_))));
        let part = client.fetch("1", "BODY.PEEK[HEADER.FIELDS (\"X Y\" SUBJECT)]").await.unwrap();
        let part = part[0].get("BODY[HEADER.FIELDS (\"X Y\" SUBJECT)]").unwrap();
        assert_eq!(part.text().as_deref(), Some("Subject: {3}\r\n\r\n"));
        let envelope = client.fetch("1", "ENVELOPE").await.unwrap();
        let Some(Value::List(envelope)) = envelope[0].get("ENVELOPE") else { panic!() };
        assert_eq!(envelope[1].text().as_deref(), Some("{3}"));

        assert!(client.examine(odd).await.unwrap().is_read_only);
        // Dovecot says OK and does nothing.
        assert_eq!(client.store("1", "+FLAGS", &["\\Deleted"]).await.unwrap(), []);
        client.logout().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn dovecot_reports_changes_by_others() {
    let Some(dovecot) = Dovecot::start() else { return };
    within(async {
        let (mut one, mut other) = (dovecot.client().await, dovecot.client().await);
        assert_eq!(one.select("INBOX").await.unwrap().exists, 0);
        append(&mut other, "INBOX", &message(100)).await;
        // In the middle of a command that did not ask.
        one.search("ALL").await.unwrap();
        assert!(one.unasked.iter().any(|data| data[0].number() == Some(1) && data[1].is("EXISTS")));

        let mut idle = one.idle().await.unwrap();
        // Waiting is begun and given up.
        while idle.next().now_or_never().is_some() {}
        append(&mut other, "INBOX", &message(100)).await;
        loop {
            let data = idle.next().await.unwrap();
            if data[0].number() == Some(2) && data[1].is("EXISTS") {
                break;
            }
        }
        idle.done().await.unwrap();
        assert_eq!(one.search("ALL").await.unwrap(), [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_password_that_is_not_utf8_is_not_sent_as_another() {
    let args = Args::try_parse_from(["example-imap", "127.0.0.1:1", "ann", "list"]).unwrap();
    let e = within(run(args, OsStr::from_bytes(b"\xff"), &mut Vec::new())).await.unwrap_err();
    assert_eq!(e.to_string(), "IMAP_PASSWORD is not UTF-8");
}

/// Runs a command line.
async fn command(args: &[&str]) -> Result<String, String> {
    let mut out = Vec::new();
    let args = Args::try_parse_from([&["example-imap"], args].concat());
    match within(run(args.map_err(|e| e.to_string())?, PASSWORD.as_ref(), &mut out)).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(e) => Err(with_causes(&*e)),
    }
}

#[tokio::test]
async fn the_command_line_works() {
    let Some(dovecot) = Dovecot::start() else { return };
    let address = dovecot.server.address.to_string();
    let path = |name: &str| dovecot.path(name).to_str().unwrap().to_owned();
    let (cert, file, copy) = (path("cert.pem"), path("message"), path("copy"));
    let text = message(100_000);
    std::fs::write(&file, &text).unwrap();
    let size = format!("{} bytes", text.len());
    let plain = [&address[..], "ann"];
    let tls = ["--starttls", &cert, &address, "ann"];
    for (words, printed) in [
        (&["create", "a b"][..], String::new()),
        (&["list"], "\"a b\" [\"\\\\HasNoChildren\"]\n\"INBOX\" [\"\\\\HasNoChildren\"]\n".into()),
        (&["select", "a b"], "0 messages\n".into()),
        (&["append", "a b", &file], format!("{size}\n")),
        (&["flag", "a b", "1", "\\Seen"], "1: [\"\\\\Seen\", \"\\\\Recent\"]\n".into()),
        (
            &["select", "a b"],
            format!("1 messages\n1: {size} [\"\\\\Seen\"] \"a \\\"long\\\" one\"\n"),
        ),
        (&["search", "a b", "SEEN", "LARGER", "1"], "1\n".into()),
        (&["fetch", "a b", "1", "--output", &copy], format!("{size}\n")),
    ] {
        let args: Vec<&str> = tls.iter().chain(words).copied().collect();
        assert_eq!(command(&args).await, Ok(printed), "{words:?}");
    }
    assert!(std::fs::read(&copy).unwrap() == text);
    // A file of this system, whose blocks end in the middle of line ends.
    let lines = "x".repeat(65_534) + "\n\n\r\n" + &"y".repeat(65_534) + "\r\nz\r\ra\n\nno end";
    std::fs::write(&file, &lines).unwrap();
    let sent = lines.replace("\r\n", "\n").replace('\n', "\r\n");
    let words = [&plain[..], &["append", "a b", &file]].concat();
    assert_eq!(command(&words).await, Ok(format!("{} bytes\n", sent.len())));
    let words = [&plain[..], &["fetch", "a b", "2"]].concat();
    assert!(command(&words).await.unwrap() == sent);
    let args = [&plain[..], &["fetch", "a b", "1"]].concat();
    let args = Args::parse_from([&["example-imap"], &args[..]].concat());
    let mut out = Vec::new();
    within(run(args, PASSWORD.as_ref(), &mut out)).await.unwrap();
    assert!(out == text);

    let missing = path("missing");
    for (words, error) in [
        (&["fetch", "a b", "1", "--output", &copy][..], "File exists (os error 17)"),
        (&["fetch", "a b", "x"], "the server refuses: "),
        (&["fetch", "a b", "9", "--output", &missing], "the server refuses: "),
        (&["append", "a b", &missing], "No such file or directory (os error 2)"),
        (&["select", "c"], "the server refuses: \"Mailbox doesn't exist: c"),
        (&["search", "a b"], "error: the following required arguments were not provided"),
    ] {
        let args: Vec<&str> = plain.iter().chain(words).copied().collect();
        let e = command(&args).await.unwrap_err();
        assert!(e.starts_with(error), "{words:?}: {e}");
    }
    assert!(!Path::new(&missing).exists());
    for args in [&[&address[..]][..], &plain, &[]] {
        let e = command(args).await.unwrap_err();
        assert!(e.contains("Usage: example-imap"), "{e}");
    }
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&missing, stranger.cert.pem()).unwrap();
    let e = command(&["--starttls", &missing, &address, "ann", "list"]).await.unwrap_err();
    assert!(e.starts_with("invalid peer certificate"), "{e}");

    // Nobody tells when it has begun to wait: there is always more to see.
    let mut client = within(dovecot.client()).await;
    let appending = async {
        loop {
            append(&mut client, "a b", b"x: y\r\n\r\n").await;
        }
    };
    let args = [&plain[..], &["idle", "a b"]].concat();
    tokio::select! {
        idle = command(&args) => assert!(idle.unwrap().contains(" EXISTS")),
        () = within(appending) => {}
    }
}
