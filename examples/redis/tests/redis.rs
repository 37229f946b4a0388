//! The Redis client: the command line and the client with a real
//! server, and what they make of servers that say anything at all.

#[path = "../../../tests/programs/mod.rs"]
mod programs;

use bytes::Bytes;
use clap::Parser as _;
use example_redis::Args;
use example_redis::client::{Client, Error, Streamed};
use example_redis::value::{Invalid, MAX_DEPTH, Parsed, Parser, Value};
use futures::poll;
use programs::{Server, within};
use std::io::Write;
use std::pin::pin;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::yield_now;

fn bulk(text: &'static str) -> Value {
    Value::Bulk(Bytes::from_static(text.as_bytes()))
}

fn simple(text: &'static str) -> Value {
    Value::Simple(Bytes::from_static(text.as_bytes()))
}

fn error(text: &'static str) -> Value {
    Value::Error(Bytes::from_static(text.as_bytes()))
}

fn verbatim(text: &'static str) -> Value {
    Value::Verbatim(Bytes::from_static(b"txt"), Bytes::from_static(text.as_bytes()))
}

fn big(digits: &'static str) -> Value {
    Value::BigNumber(Bytes::from_static(digits.as_bytes()))
}

fn array<const N: usize>(values: [Value; N]) -> Value {
    Value::Array(values.into())
}

fn set<const N: usize>(values: [Value; N]) -> Value {
    Value::Set(values.into())
}

fn map<const N: usize>(pairs: [(Value, Value); N]) -> Value {
    Value::Map(pairs.into())
}

fn push<const N: usize>(values: [Value; N]) -> Value {
    Value::Push(values.into())
}

use Value::{Boolean, Double, Integer, Null};

/// What a server says: in words, in bytes, and as a value.
fn values() -> Vec<(&'static str, String, Value)> {
    let rows = [
        ("a status", "+OK\r\n", simple("OK")),
        ("an empty status", "+\r\n", simple("")),
        ("a status with half a line end", "+a\rb\nc\r\n", simple("a\rb\nc")),
        ("an error", "-ERR no\r\n", error("ERR no")),
        ("a long error", "!9\r\nERR\r\nlong\r\n", error("ERR\r\nlong")),
        ("an integer", ":42\r\n", Integer(42)),
        ("the smallest integer", ":-9223372036854775808\r\n", Integer(i64::MIN)),
        ("an integer with its sign", ":+7\r\n", Integer(7)),
        ("a double", ",-1.5e3\r\n", Double(-1500.0)),
        ("a double without a fraction", ",10\r\n", Double(10.0)),
        ("infinity", ",inf\r\n", Double(f64::INFINITY)),
        ("infinity below", ",-inf\r\n", Double(f64::NEG_INFINITY)),
        ("a big number", "(-12345678901234567890\r\n", big("-12345678901234567890")),
        ("true", "#t\r\n", Boolean(true)),
        ("false", "#f\r\n", Boolean(false)),
        ("null", "_\r\n", Null),
        ("null, once a string", "$-1\r\n", Null),
        ("null, once an array", "*-1\r\n", Null),
        ("a string", "$5\r\nhello\r\n", bulk("hello")),
        ("an empty string", "$0\r\n\r\n", bulk("")),
        ("a string that looks like the protocol", "$8\r\n\r\n$1\r\nx\0\r\n", bulk("\r\n$1\r\nx\0")),
        ("a string with a leading zero", "$01\r\nx\r\n", bulk("x")),
        ("a verbatim string", "=6\r\ntxt:\r\n\r\n", verbatim("\r\n")),
        ("an empty verbatim string", "=4\r\ntxt:\r\n", verbatim("")),
        ("an empty array", "*0\r\n", array([])),
        ("an empty set", "~0\r\n", set([])),
        ("an empty map", "%0\r\n", map([])),
        ("an empty message", ">0\r\n", push([])),
        ("an array", "*3\r\n:1\r\n$1\r\na\r\n_\r\n", array([Integer(1), bulk("a"), Null])),
        ("a set", "~2\r\n+a\r\n+b\r\n", set([simple("a"), simple("b")])),
        (
            "a map with anything for keys",
            "%2\r\n#t\r\n*1\r\n:1\r\n~0\r\n$-1\r\n",
            map([(Boolean(true), array([Integer(1)])), (set([]), Null)]),
        ),
        (
            "a message",
            ">3\r\n+message\r\n+a\r\n$2\r\n\r\n\r\n",
            push([simple("message"), simple("a"), bulk("\r\n")]),
        ),
        (
            "nested arrays that end together",
            "*2\r\n:1\r\n*2\r\n:2\r\n*1\r\n*1\r\n:3\r\n",
            array([Integer(1), array([Integer(2), array([array([Integer(3)])])])]),
        ),
        (
            "nothing at the end of everything",
            "*2\r\n*1\r\n*0\r\n%1\r\n+a\r\n~0\r\n",
            array([array([array([])]), map([(simple("a"), set([]))])]),
        ),
        ("an error among values", "*2\r\n-no\r\n:1\r\n", array([error("no"), Integer(1)])),
        ("an attribute in front", "|1\r\n+ttl\r\n:5\r\n$1\r\nx\r\n", bulk("x")),
        ("an empty attribute in front", "|0\r\n:1\r\n", Integer(1)),
        (
            "attributes in an array, the last element too",
            "*2\r\n|1\r\n+a\r\n*1\r\n:9\r\n:1\r\n|1\r\n+b\r\n%0\r\n:2\r\n",
            array([Integer(1), Integer(2)]),
        ),
        ("an attribute of an attribute", "|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:1\r\n", Integer(1)),
        (
            "an attribute in front of a key and of its value",
            "%1\r\n|1\r\n+a\r\n+b\r\n+key\r\n|0\r\n+value\r\n",
            map([(simple("key"), simple("value"))]),
        ),
    ];
    let mut rows: Vec<_> = rows.map(|(name, said, value)| (name, said.to_owned(), value)).into();
    let deep = (0..41).fold(Integer(1), |value, _| array([value]));
    rows.push(("41 arrays in each other", "*1\r\n".repeat(41) + ":1\r\n", deep));
    let long = "x".repeat(100_000);
    let value = Value::Simple(Bytes::from(long.clone()));
    rows.push(("a line of more than 64 KiB", format!("+{long}\r\n"), value));
    rows
}

/// What no server should say: in words, in bytes, and what the client says.
/// None of it needs the connection to end.
fn lies() -> Vec<(&'static str, String, &'static str)> {
    let rows = [
        ("an empty line", "\r\n", "empty line"),
        ("an unknown type", "?1\r\n", "unknown type"),
        ("another protocol", "HTTP/1.1 400 Bad Request\r\n", "unknown type"),
        ("another script", "\u{fffd}\r\n", "unknown type"),
        ("a null with something in it", "_x\r\n", "unknown type"),
        ("a boolean that is neither", "#x\r\n", "unknown type"),
        ("an integer of nothing", ":\r\n", "not an integer"),
        ("an integer with two signs", ":+-1\r\n", "not an integer"),
        ("an integer too large", ":9223372036854775808\r\n", "not an integer"),
        ("an integer with a space", ": 1\r\n", "not an integer"),
        ("a double of nothing", ",\r\n", "not a number"),
        ("a double of words", ",many\r\n", "not a number"),
        ("a length of nothing", "$\r\n", "not a length"),
        ("a length with its sign", "$+5\r\n", "not a length"),
        ("a length with a space", "$ 5\r\n", "not a length"),
        ("a length in hexadecimal", "$0x5\r\n", "not a length"),
        ("a length below nothing", "$-2\r\n", "not a length"),
        ("a null with a leading zero", "$-01\r\n", "not a length"),
        ("a length of more than 64 bits", "$18446744073709551616\r\n", "not a length"),
        ("a length of all bits", "$18446744073709551615\r\n", TOO_LONG),
        ("a length of 100 GB", "$99999999999\r\n", TOO_LONG),
        ("a length just too long", "$536870911\r\n", TOO_LONG),
        ("an error of 100 GB", "!99999999999\r\n", TOO_LONG),
        ("a string of 100 GB in an array", "*2\r\n:1\r\n$99999999999\r\n", TOO_LONG),
        ("a count with its sign", "*+1\r\n", "not a length"),
        ("a count below nothing", "*-2\r\n", "not a length"),
        ("a set that is null", "~-1\r\n", "not a length"),
        ("a map of too many", "%9223372036854775808\r\n", "too many elements"),
        ("attributes, too many", "|18446744073709551615\r\n", "too many elements"),
        ("a string without its end", "$5\r\nhelloworld", "no line end after a bulk string"),
        ("a string with half its end", "$5\r\nhello\rx", "no line end after a bulk string"),
        ("a string one byte too long", "$5\r\nhello!\r\n", "no line end after a bulk string"),
        ("nothing, without its end", "$0\r\n+x", "no line end after a bulk string"),
        ("a verbatim string too short", "=3\r\ntxt\r\n", "verbatim string without its format"),
        ("a verbatim string of nothing", "=0\r\n\r\n", "verbatim string without its format"),
        ("no colon", "=5\r\ntext:\r\n", "verbatim string without its format"),
        ("garbage in an array", "*2\r\n:1\r\n\r\n", "empty line"),
        ("garbage behind an attribute", "|1\r\n+a\r\n+b\r\nx\r\n", "unknown type"),
    ];
    let mut rows: Vec<_> = rows.map(|(name, said, why)| (name, said.to_owned(), why)).into();
    rows.push(("arrays in each other", "*1\r\n".repeat(MAX_DEPTH + 1), "nested too deeply"));
    rows
}

const TOO_LONG: &str = "frame longer than 536870912 bytes";

/// Beginnings of a reply, behind which the connection ends.
const UNFINISHED: [&str; 16] = [
    "",
    "+",
    "+OK",
    "+OK\r",
    "$",
    "$5",
    "$5\r\n",
    "$5\r\nhel",
    "$5\r\nhello",
    "$5\r\nhello\r",
    "*2\r\n",
    "*2\r\n:1\r\n",
    "*2\r\n:1\r\n$1\r\n",
    "|1\r\n+a\r\n+b\r\n",
    "$536870910\r\n",
    "*9223372036854775807\r\n:1\r\n",
];

/// How much of what the server says arrives at a time: a byte, a few, or all.
fn pieces(said: &str) -> impl Iterator<Item = usize> {
    let len = said.len();
    // What is long need not come in so many pieces.
    [1, 2, 3, 5, 7, 1 << 20].into_iter().filter(move |piece| len / piece < 10_000)
}

/// How a reply is waited for.
#[derive(Clone, Copy, Debug)]
enum Way {
    Receive,
    /// Given up whenever it has to wait, and begun again.
    Impatient,
    Call,
    Streamed,
}

const WAYS: [Way; 4] = [Way::Receive, Way::Impatient, Way::Call, Way::Streamed];

impl Way {
    async fn take<T>(self, client: &mut Client<T>) -> Result<Value, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Way::Receive => client.receive().await,
            Way::Impatient => {
                for _ in 0..1_000_000 {
                    if let Poll::Ready(reply) = poll!(pin!(client.receive())) {
                        return reply;
                    }
                    yield_now().await;
                }
                panic!("no reply ever comes");
            }
            Way::Call => client.call(&["GET"]).await,
            Way::Streamed => collect(client).await,
        }
    }
}

/// A reply, through `receive_streamed`.
async fn collect<T>(client: &mut Client<T>) -> Result<Value, Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut bulk = match client.receive_streamed().await? {
        Streamed::Value(value) => return Ok(value),
        Streamed::Bulk(bulk) => bulk,
    };
    let mut data = Vec::new();
    while let Some(chunk) = bulk.chunk().await? {
        assert!(!chunk.is_empty(), "an empty chunk");
        data.extend_from_slice(&chunk);
    }
    assert_eq!(data.len() as u64, bulk.len());
    assert!(matches!(bulk.chunk().await, Ok(None)), "something behind the last chunk");
    Ok(Value::Bulk(data.into()))
}

/// A client whose server says this, whatever it is told, in pieces; then it
/// closes, or waits.
fn client_of(said: &str, piece: usize, closes: bool) -> Client<DuplexStream> {
    let (io, mut server) = duplex(piece);
    let said = said.to_owned();
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(&mut server);
        let _ = writer.write_all(said.as_bytes()).await;
        if closes {
            let _ = writer.shutdown().await;
        }
        let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
    });
    Client::new(io)
}

/// Every way to wait for a reply says that the connection is of no use.
async fn assert_broken<T>(client: &mut Client<T>, name: &str)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    for way in WAYS {
        let reply = within(way.take(client)).await;
        assert!(matches!(reply, Err(Error::Broken)), "{name}, then {way:?}: {reply:?}");
    }
}

#[tokio::test]
async fn every_value_is_understood_however_it_is_cut() {
    for (name, said, value) in values() {
        for piece in pieces(&said) {
            for way in WAYS {
                let place = format!("{name}, {way:?}, in pieces of {piece}");
                // What comes behind it is not touched.
                let mut client = client_of(&format!("{said}+next\r\n"), piece, false);
                match (&value, way) {
                    (Value::Error(text), Way::Call) => {
                        let reply = within(way.take(&mut client)).await;
                        let text = String::from_utf8_lossy(text);
                        assert!(
                            matches!(&reply, Err(Error::Server(why)) if *why == text),
                            "{place}: {reply:?}"
                        );
                    }
                    (Value::Push(_), Way::Call) => {
                        // It waits for a later one to be received.
                        let reply = within(way.take(&mut client)).await;
                        assert_eq!(reply.unwrap(), simple("next"), "{place}");
                        assert_eq!(within(client.receive()).await.unwrap(), value, "{place}");
                        continue;
                    }
                    _ => {
                        let reply = within(way.take(&mut client)).await;
                        assert_eq!(reply.expect(&place), value, "{place}");
                    }
                }
                assert_eq!(within(way.take(&mut client)).await.unwrap(), simple("next"), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn not_a_number_is_a_double() {
    let mut client = client_of(",nan\r\n", 100, false);
    assert!(matches!(within(client.receive()).await, Ok(Double(double)) if double.is_nan()));
}

/// Each in an aggregate of its own, on the stack of a test.
#[test]
fn the_deepest_value_is_written_and_dropped_without_the_stack() {
    for (mark, before, written) in [
        ("*1", None, "1) "),
        ("~1", None, "1~ "),
        (">1", None, "1> "),
        ("%1", Some("+k"), "1# k => "),
    ] {
        let mut parser = Parser::new(1 << 24);
        let line = |parser: &mut Parser, line: &'static str| {
            parser.line(&Bytes::from_static(line.as_bytes())).map_err(|Invalid(why)| why)
        };
        for _ in 0..MAX_DEPTH {
            for line_of in [mark].into_iter().chain(before) {
                assert!(matches!(line(&mut parser, line_of), Ok(Parsed::Incomplete(_))));
            }
        }
        let Ok(Parsed::Value(value)) = line(&mut parser, "+v") else { panic!("{mark}") };
        assert_eq!(value.to_string(), written.repeat(MAX_DEPTH) + "v");
    }
}

#[test]
fn text_of_a_server_moves_no_cursor() {
    for (said, written) in [
        (&b"a\x1b[1m\x07\x7f\r\n"[..], r"a\u{1b}[1m\u{7}\u{7f}\r\n"),
        ("h\u{e9}\u{9b}31m".as_bytes(), "h\u{e9}\\u{9b}31m"),
        (b"\xff\xfe caf\xe9", r"\xff\xfe caf\xe9"),
    ] {
        let said = Bytes::from_static(said);
        assert_eq!(Value::Simple(said.clone()).to_string(), written);
        assert_eq!(Value::Error(said.clone()).to_string(), format!("(error) {written}"));
        assert_eq!(Value::BigNumber(said).to_string(), format!("(big number) {written}"));
    }
    for (said, written) in [("a\r\nb\nc\r\n", "a\nb\nc\n"), ("\r\r\n\rb\r", "\\r\n\\rb")] {
        assert_eq!(verbatim(said).to_string(), written);
    }
}

#[tokio::test]
async fn a_lie_is_noticed_at_once_and_breaks_the_client() {
    for (name, said, why) in lies() {
        for piece in pieces(&said) {
            for way in WAYS {
                // Streaming is for what is too long, and ends when the string
                // does.
                if why == TOO_LONG && said.starts_with('$') && matches!(way, Way::Streamed) {
                    continue;
                }
                let place = format!("{name}, {way:?}, in pieces of {piece}");
                let mut client = client_of(&said, piece, false);
                let e = within(way.take(&mut client)).await.expect_err(&place);
                let text = e.to_string();
                let prefix = match e {
                    Error::Invalid(_) => "invalid reply: ",
                    Error::Channel(asynchat::Error::FrameTooLong { .. }) => "",
                    e => panic!("{place}: {e:?}"),
                };
                assert_eq!(text, format!("{prefix}{why}"), "{place}");
                assert_broken(&mut client, &place).await;
            }
        }
    }
}

#[tokio::test]
async fn end_within_reply_is_reported_and_breaks_client() {
    for said in UNFINISHED {
        for piece in pieces(said) {
            for way in WAYS {
                let place = format!("{said:?}, {way:?}, in pieces of {piece}");
                let mut client = client_of(said, piece, true);
                let reply = within(way.take(&mut client)).await;
                assert!(
                    matches!(&reply, Err(Error::Channel(asynchat::Error::UnexpectedEof { .. }))),
                    "{place}: {reply:?}"
                );
                assert_broken(&mut client, &place).await;
            }
        }
    }
}

/// The string is streamed; its length is all that is wrong with it.
#[tokio::test]
async fn a_string_too_long_to_hold_can_be_streamed() {
    let mut client = client_of("$18446744073709551615\r\nhello", 100, true);
    let streamed = within(client.receive_streamed()).await.unwrap();
    let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
    assert_eq!(bulk.len(), u64::MAX);
    assert_eq!(within(bulk.chunk()).await.unwrap().unwrap(), "hello");
    let end = within(bulk.chunk()).await;
    assert!(matches!(end, Err(Error::Channel(asynchat::Error::UnexpectedEof { .. }))), "{end:?}");
    assert_broken(&mut client, "an end").await;
}

#[tokio::test]
async fn a_streamed_string_can_be_waited_for_again_and_again() {
    let (io, mut server) = duplex(1000);
    let mut client = Client::new(io);
    for byte in *b"$7\r" {
        server.write_all(&[byte]).await.unwrap();
        assert!(poll!(pin!(client.receive_streamed())).is_pending());
    }
    server.write_all(b"\n").await.unwrap();
    let streamed = within(client.receive_streamed()).await.unwrap();
    let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
    let mut data = Vec::new();
    for byte in *b"ab\r\ncde\r" {
        assert!(poll!(pin!(bulk.chunk())).is_pending());
        server.write_all(&[byte]).await.unwrap();
        if let Poll::Ready(chunk) = poll!(pin!(bulk.chunk())) {
            data.extend_from_slice(&chunk.unwrap().unwrap());
        }
    }
    assert_eq!(data, b"ab\r\ncde");
    server.write_all(b"\n:1\r\n").await.unwrap();
    assert!(matches!(within(bulk.chunk()).await, Ok(None)));
    assert_eq!(within(client.receive()).await.unwrap(), Integer(1));
}

#[tokio::test]
async fn dropped_streamed_string_breaks_client() {
    for chunks in [0, 1] {
        let mut client = client_of("$5\r\nhello\r\n+next\r\n", 1 << 20, false);
        let streamed = within(client.receive_streamed()).await.unwrap();
        let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
        for _ in 0..chunks {
            assert_eq!(within(bulk.chunk()).await.unwrap().unwrap(), "hello");
        }
        assert_broken(&mut client, "given up").await;
    }
}

/// Behind a beginning of a value, and behind messages, there is no streaming,
/// but the value is the same.
#[tokio::test]
async fn streaming_begins_only_at_the_beginning() {
    let (io, mut server) = duplex(1000);
    let mut client = Client::new(io);
    for (begun, rest, value) in [
        ("*2\r\n", "$5\r\nhello\r\n:1\r\n", array([bulk("hello"), Integer(1)])),
        ("*1\r\n$5\r\nhe", "llo\r\n", array([bulk("hello")])),
        ("$5\r\n", "hello\r\n", bulk("hello")),
        ("$5\r\nhello\r", "\n", bulk("hello")),
    ] {
        server.write_all(begun.as_bytes()).await.unwrap();
        assert!(poll!(pin!(client.receive())).is_pending());
        server.write_all(rest.as_bytes()).await.unwrap();
        let streamed = within(client.receive_streamed()).await.unwrap();
        assert!(matches!(streamed, Streamed::Value(whole) if whole == value), "{begun:?}");
    }
    server.write_all(b">1\r\n+m\r\n:7\r\n").await.unwrap();
    assert_eq!(within(client.call(&["GET"])).await.unwrap(), Integer(7));
    let streamed = within(client.receive_streamed()).await.unwrap();
    assert!(matches!(streamed, Streamed::Value(whole) if whole == push([simple("m")])));
}

/// Only the parser is asked: half a gigabyte would take its time.
#[test]
fn a_value_may_not_cost_more_than_the_limit() {
    let refused = |parsed: Result<Parsed, Invalid>| matches!(parsed, Err(Invalid("too large")));
    for (first, then) in
        [("*1000", ":1"), ("*1000", "*0"), ("|1000", "_"), ("*1000", "|0"), ("|0", "|0")]
    {
        let mut parser = Parser::new(10_000);
        let lines = [first].into_iter().chain(std::iter::repeat_n(then, 999));
        let mut parsed = lines.map(|line| parser.line(&Bytes::from_static(line.as_bytes())));
        assert!(parsed.any(refused), "{first}, then {then}");
    }
    // Each value may cost as much, all of them together what they like.
    let mut parser = Parser::new(1000);
    for _ in 0..1000 {
        let parsed = parser.line(&Bytes::from_static(b":1"));
        assert!(matches!(parsed, Ok(Parsed::Value(Integer(1)))));
    }
}

/// In a process that has less memory than is promised here. (Other systems do
/// not keep a process to such a limit.)
#[cfg(target_os = "linux")]
#[test]
fn no_memory_is_reserved_on_the_word_of_a_server() {
    let test = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 450000 && exec \"$0\" --exact --ignored promises"])
        .arg(test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "run with little memory by the test above"]
async fn promises() {
    for said in [
        "$536870910\r\nhello",
        "*2\r\n!536870910\r\nhello",
        "*100000000\r\n:1\r\n",
        "~9223372036854775807\r\n:1\r\n",
        "%9223372036854775807\r\n:1\r\n",
        "|100000000\r\n:1\r\n",
    ] {
        for way in WAYS {
            let reply = within(way.take(&mut client_of(said, 1000, true))).await;
            assert!(
                matches!(&reply, Err(Error::Channel(asynchat::Error::UnexpectedEof { .. }))),
                "{said:?}, {way:?}: {reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn more_messages_than_can_be_kept_break_the_client() {
    let most = 10_000;
    let mut client = client_of(&(">0\r\n".repeat(most) + ":1\r\n"), 1 << 20, false);
    assert_eq!(within(client.call(&["GET"])).await.unwrap(), Integer(1));

    let mut client = client_of(&(">0\r\n".repeat(1_000_000) + ":1\r\n"), 1 << 20, false);
    let reply = within(client.call(&["GET"])).await;
    assert!(matches!(reply, Err(Error::TooManyMessages)), "{reply:?}");
    // What was kept is still there.
    for _ in 0..most {
        assert_eq!(within(client.receive()).await.unwrap(), push([]));
    }
    assert_broken(&mut client, "too many messages").await;
}

#[tokio::test]
async fn dropped_call_discards_its_reply() {
    let first = "*2\r\n|0\r\n$5\r\nhello\r\n:1\r\n";
    for came in 0..=first.len() {
        let (io, mut server) = duplex(1000);
        let mut client = Client::new(io);
        server.write_all(&first.as_bytes()[..came]).await.unwrap();
        let given_up = poll!(pin!(client.call(&["FIRST"]))).is_pending();
        server.write_all(&first.as_bytes()[came..]).await.unwrap();
        server.write_all(b"+second\r\n+third\r\n").await.unwrap();
        assert_eq!(given_up, came < first.len(), "{came}");
        assert_eq!(within(client.call(&["SECOND"])).await.unwrap(), simple("second"), "{came}");
        assert_eq!(within(client.call(&["THIRD"])).await.unwrap(), simple("third"), "{came}");
        assert_eq!(client.unanswered(), 0);
        drop(client);
        let mut sent = String::new();
        server.read_to_string(&mut sent).await.unwrap();
        let expected = "*1\r\n$5\r\nFIRST\r\n*1\r\n$6\r\nSECOND\r\n*1\r\n$5\r\nTHIRD\r\n";
        assert_eq!(sent, expected, "{came}");
    }
}

#[tokio::test]
async fn commands_are_arrays_of_strings() {
    let (io, mut server) = duplex(100_000);
    let mut client = Client::new(io);
    client.send(&[&b"SET"[..], b"", b"\r\n\0\xff", b"0123456789"]);
    client.send(&[vec![b'x'; 12_345]]);
    assert!(poll!(pin!(client.receive())).is_pending());
    let mut expected =
        b"*4\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\n\r\n\0\xff\r\n$10\r\n0123456789\r\n".to_vec();
    expected.extend_from_slice(b"*1\r\n$12345\r\n");
    expected.resize(expected.len() + 12_345, b'x');
    expected.extend_from_slice(b"\r\n");
    drop(client);
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).await.unwrap();
    assert!(sent == expected);
}

/// This server takes a command only when the answer to the one before has
/// been taken, and there is room for hardly anything on the way.
#[tokio::test]
async fn replies_are_read_while_commands_are_sent() {
    let (io, server) = duplex(64);
    tokio::spawn(async move {
        let mut server = asynchat::Channel::new(server, "\r\n");
        for number in 0.. {
            for _ in 0..3 {
                if server.receive("\r\n").await.is_err() {
                    return;
                }
            }
            server.push(format!("$1000\r\n{number:01000}\r\n"));
            server.flush().await.unwrap();
        }
    });
    let mut client = Client::new(io);
    for _ in 0..3000 {
        client.send(&["PING"]);
    }
    for number in 0..3000 {
        let reply = within(client.receive()).await.unwrap();
        assert_eq!(reply, Value::Bulk(format!("{number:01000}").into()));
    }
}

/// Who answers what, in RESP2, where a message looks like any array.
#[tokio::test]
async fn subscriptions_are_distinguished_from_replies() {
    let (io, mut server) = duplex(10_000);
    let mut client = Client::new(io);
    let confirmed = |kind: &str, name: &str, count: i64| {
        let said = format!("*3\r\n${}\r\n{kind}\r\n+{name}\r\n:{count}\r\n", kind.len());
        let parts = [Bytes::from(kind.to_owned()), Bytes::from(name.to_owned())];
        let [kind, name] = parts;
        (said, push([Value::Bulk(kind), Value::Simple(name), Integer(count)]))
    };
    // Refused, so that one reply answers it.
    client.send(&["SUBSCRIBE", "a", "b"]);
    server.write_all(b"-NOPERM\r\n*1\r\n:1\r\n").await.unwrap();
    assert_eq!(within(client.call(&["LRANGE"])).await.unwrap(), array([Integer(1)]));

    // In one pipeline, with replies in between.
    let pipeline = [&["PING"][..], &["subscribe", "a", "b"], &["UNSUBSCRIBE"], &["LRANGE"]];
    pipeline.iter().for_each(|command| client.send(command));
    client.send(&["PSUBSCRIBE", "c"]);
    let mut expected = vec![array([Integer(0)])];
    server.write_all(b"*1\r\n:0\r\n").await.unwrap();
    for (kind, name, count) in [
        ("subscribe", "a", 1),
        ("subscribe", "b", 2),
        ("unsubscribe", "a", 1),
        ("unsubscribe", "b", 0),
    ] {
        let (said, message) = confirmed(kind, name, count);
        server.write_all(said.as_bytes()).await.unwrap();
        expected.push(message);
    }
    server.write_all(b"*1\r\n:2\r\n").await.unwrap();
    expected.push(array([Integer(2)]));
    let (said, message) = confirmed("psubscribe", "c", 1);
    server.write_all(said.as_bytes()).await.unwrap();
    expected.push(message);
    for value in expected {
        assert_eq!(within(client.receive()).await.unwrap(), value);
    }
    assert_eq!(client.unanswered(), 0);

    // A call waits for the last confirmation; what comes before is kept.
    server.write_all(b"*2\r\n$7\r\nmessage\r\n+x\r\n").await.unwrap();
    let (said, first) = confirmed("subscribe", "d", 2);
    server.write_all(said.as_bytes()).await.unwrap();
    let (said, second) = confirmed("subscribe", "e", 3);
    server.write_all(said.as_bytes()).await.unwrap();
    assert_eq!(within(client.call(&["SUBSCRIBE", "d", "e"])).await.unwrap(), second);
    let kept = push([bulk("message"), simple("x")]);
    assert_eq!(within(client.receive()).await.unwrap(), kept);
    assert_eq!(within(client.receive()).await.unwrap(), first);
}

fn redis(more: &[&str]) -> Option<Server> {
    if !programs::is_installed("redis-server") {
        return None;
    }
    Server::start_if_whole("Ready to accept connections", |port| {
        let port = port.to_string();
        let mut arguments = vec!["redis-server", "--port", &port, "--bind", "127.0.0.1"];
        arguments.extend(["--save", "", "--enable-debug-command", "yes"]);
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    })
}

async fn connect(server: &Server, resp3: bool) -> Client<TcpStream> {
    let mut client = within(Client::connect(server.address)).await.unwrap();
    if resp3 {
        let reply = within(client.call(&["HELLO", "3"])).await.unwrap();
        assert!(
            matches!(&reply, Value::Map(pairs) if pairs.contains(&(bulk("proto"), Integer(3))))
        );
    }
    client
}

#[tokio::test]
async fn every_type_of_a_real_server_is_understood() {
    let Some(server) = redis(&[]) else { return };
    let numbers = || [Integer(0), Integer(1), Integer(2)];
    let pairs =
        [(Integer(0), Boolean(false)), (Integer(1), Boolean(true)), (Integer(2), Boolean(false))];
    let flat = [Integer(0), Integer(0), Integer(1), Integer(1), Integer(2), Integer(0)];
    let digits = "1234567999999999999999999999999999999";
    let text = "This is a verbatim\nstring";
    let behind_attribute = bulk("Some real reply following the attribute");
    let rows = [
        ("string", bulk("Hello World"), bulk("Hello World")),
        ("integer", Integer(12345), Integer(12345)),
        ("double", bulk("3.141"), Double("3.141".parse().unwrap())),
        ("bignum", bulk(digits), big(digits)),
        ("null", Null, Null),
        ("array", array(numbers()), array(numbers())),
        ("set", array(numbers()), set(numbers())),
        ("map", array(flat), map(pairs)),
        ("attrib", behind_attribute.clone(), behind_attribute),
        ("verbatim", bulk(text), verbatim(text)),
        ("true", Integer(1), Boolean(true)),
        ("false", Integer(0), Boolean(false)),
    ];
    let (mut old, mut new) = (connect(&server, false).await, connect(&server, true).await);
    for (kind, in_old, in_new) in rows {
        let command = ["DEBUG", "PROTOCOL", kind];
        assert_eq!(within(old.call(&command)).await.unwrap(), in_old, "{kind}");
        assert_eq!(within(new.call(&command)).await.unwrap(), in_new, "{kind}");
        new.send(&command);
        assert_eq!(within(collect(&mut new)).await.unwrap(), in_new, "{kind}, streamed");
    }
    let command = ["DEBUG", "PROTOCOL", "push"];
    assert!(matches!(within(old.call(&command)).await, Err(Error::Server(_))));
    let reply = within(new.call(&command)).await.unwrap();
    assert_eq!(reply, bulk("Some real reply following the push reply"));
    let message = push([bulk("server-cpu-usage"), Integer(42)]);
    assert_eq!(within(new.receive()).await.unwrap(), message);
}

#[tokio::test]
async fn values_in_values_come_from_a_real_server() {
    let Some(server) = redis(&[]) else { return };
    let mut client = connect(&server, true).await;
    for (script, value) in [
        ("return {}", array([])),
        ("return ''", bulk("")),
        (
            "return {1, {2, {3, 'x', {}}}, false, '', {ok = 'fine'}, {err = 'bad'}}",
            array([
                Integer(1),
                array([Integer(2), array([Integer(3), bulk("x"), array([])])]),
                Null,
                bulk(""),
                simple("fine"),
                error("bad"),
            ]),
        ),
        (
            "redis.setresp(3) return {{map = {a = {set = {b = true}}}}, {double = 0.5}, true, \
             {big_number = '12'}, {verbatim_string = {format = 'txt', string = 'c'}}}",
            array([
                map([(bulk("a"), set([bulk("b")]))]),
                Double(0.5),
                Boolean(true),
                big("12"),
                verbatim("c"),
            ]),
        ),
    ] {
        assert_eq!(within(client.call(&["EVAL", script, "0"])).await.unwrap(), value, "{script}");
    }
}

#[tokio::test]
async fn keys_and_values_may_be_any_bytes() {
    let Some(server) = redis(&[]) else { return };
    let mut client = connect(&server, false).await;
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (key, value) in [
        (&b""[..], &b""[..]),
        (b"\r\n\0$1\r\n", b"\r\n"),
        (&all[..300], &all),
        (b"a", b"\0"),
        (b"b", b"+OK\r\n\r"),
    ] {
        let reply = within(client.call(&[&b"SET"[..], key, value])).await;
        assert_eq!(reply.unwrap(), simple("OK"));
        let reply = within(client.call(&[&b"GET"[..], key])).await.unwrap();
        assert!(reply == Value::Bulk(Bytes::copy_from_slice(value)), "{}", key.escape_ascii());
        client.send(&[&b"GET"[..], key]);
        let reply = within(collect(&mut client)).await.unwrap();
        assert!(reply == Value::Bulk(Bytes::copy_from_slice(value)), "{}", key.escape_ascii());
    }
    assert_eq!(within(client.call(&["GET", "missing"])).await.unwrap(), Null);
    assert_eq!(within(client.call(&["LRANGE", "missing", "0", "-1"])).await.unwrap(), array([]));
    let refused = within(client.call(&["LPUSH", "a", "x"])).await;
    assert!(matches!(refused, Err(Error::Server(why)) if why.starts_with("WRONGTYPE ")));
    assert_eq!(within(client.call(&["PING"])).await.unwrap(), simple("PONG"));
}

#[tokio::test]
async fn a_pipeline_may_be_as_long_as_you_like() {
    let Some(server) = redis(&[]) else { return };
    let mut client = connect(&server, false).await;
    let value: Bytes = "0123456789abcdef".repeat(64).into();
    within(client.call(&[&b"SET"[..], &b"k"[..], &value])).await.unwrap();
    let commands = 100_000;
    for _ in 0..commands / 2 {
        client.send(&["GET", "k"]);
        client.send(&["INCR", "n"]);
    }
    within(async {
        for n in 1..=commands / 2 {
            assert_eq!(client.unanswered(), commands - 2 * (n - 1));
            assert!(client.receive().await.unwrap() == Value::Bulk(value.clone()), "{n}");
            assert_eq!(client.receive().await.unwrap(), Integer(n as i64));
        }
    })
    .await;
    assert_eq!(client.unanswered(), 0);
}

#[tokio::test]
async fn messages_come_in_resp2() {
    let Some(server) = redis(&[]) else { return };
    let (mut listener, mut speaker) =
        (connect(&server, false).await, connect(&server, false).await);
    let words = |words: [&'static str; 3]| push(words.map(bulk));
    let confirmed = |kind, name, count| push([bulk(kind), bulk(name), Integer(count)]);
    within(async {
        listener.call(&["RPUSH", "list", "message", "a", "b"]).await.unwrap();
        listener.send(&["SUBSCRIBE", "a", "b"]);
        listener.send(&["PSUBSCRIBE", "a*"]);
        assert_eq!(listener.receive().await.unwrap(), confirmed("subscribe", "a", 1));
        assert_eq!(listener.receive().await.unwrap(), confirmed("subscribe", "b", 2));
        assert_eq!(listener.receive().await.unwrap(), confirmed("psubscribe", "a*", 3));
        for (channel, text, heard_by) in [("a", "1", 2), ("b", "2", 1), ("c", "3", 0)] {
            let heard = speaker.call(&["PUBLISH", channel, text]).await.unwrap();
            assert_eq!(heard, Integer(heard_by));
        }
        // The only reply that is an array and no message.
        let pong = listener.call(&["PING", "x"]).await.unwrap();
        assert_eq!(pong, array([bulk("pong"), bulk("x")]));
        let refused = listener.call(&["GET", "k"]).await;
        assert!(matches!(refused, Err(Error::Server(_))), "{refused:?}");
        assert_eq!(listener.receive().await.unwrap(), words(["message", "a", "1"]));
        let by_pattern = push(["pmessage", "a*", "a", "1"].map(bulk));
        assert_eq!(listener.receive().await.unwrap(), by_pattern);
        assert_eq!(listener.receive().await.unwrap(), words(["message", "b", "2"]));
        let last = listener.call(&["UNSUBSCRIBE", "a", "b"]).await.unwrap();
        assert_eq!(last, confirmed("unsubscribe", "b", 1));
        assert_eq!(listener.receive().await.unwrap(), confirmed("unsubscribe", "a", 2));
        let last = listener.call(&["PUNSUBSCRIBE"]).await.unwrap();
        assert_eq!(last, confirmed("punsubscribe", "a*", 0));
        // An array is a reply again, even one that looks like a message.
        let list = listener.call(&["LRANGE", "list", "0", "-1"]).await.unwrap();
        assert_eq!(list, array(["message", "a", "b"].map(bulk)));
    })
    .await;
}

#[tokio::test]
async fn messages_and_replies_share_a_connection_in_resp3() {
    let Some(server) = redis(&[]) else { return };
    let (mut listener, mut speaker) = (connect(&server, true).await, connect(&server, true).await);
    within(async {
        listener.call(&["RPUSH", "list", "message", "a", "b"]).await.unwrap();
        let confirmed = push([bulk("subscribe"), bulk("a"), Integer(1)]);
        assert_eq!(listener.call(&["SUBSCRIBE", "a"]).await.unwrap(), confirmed);
        let confirmed = push([bulk("psubscribe"), bulk("*"), Integer(2)]);
        assert_eq!(listener.call(&["PSUBSCRIBE", "*"]).await.unwrap(), confirmed);
        for round in 0..100 {
            for i in 0..3 {
                let text = format!("{round} {i}");
                assert_eq!(speaker.call(&["PUBLISH", "a", &text]).await.unwrap(), Integer(2));
            }
            let list = listener.call(&["LRANGE", "list", "0", "-1"]).await.unwrap();
            assert_eq!(list, array(["message", "a", "b"].map(bulk)));
        }
        for round in 0..100 {
            for i in 0..3 {
                let text = Value::Bulk(format!("{round} {i}").into());
                let message = push([bulk("message"), bulk("a"), text.clone()]);
                assert_eq!(listener.receive().await.unwrap(), message);
                let message = push([bulk("pmessage"), bulk("*"), bulk("a"), text]);
                assert_eq!(listener.receive().await.unwrap(), message);
            }
        }
        // To itself: the message comes before the reply.
        listener.send(&["PUBLISH", "b", "x"]);
        let message = push(["pmessage", "*", "b", "x"].map(bulk));
        assert_eq!(listener.receive().await.unwrap(), message);
        assert_eq!(listener.receive().await.unwrap(), Integer(1));
        listener.call(&["UNSUBSCRIBE"]).await.unwrap();
        let confirmed = push([bulk("punsubscribe"), bulk("*"), Integer(0)]);
        assert_eq!(listener.call(&["PUNSUBSCRIBE"]).await.unwrap(), confirmed);
    })
    .await;
}

/// What SETRANGE and APPEND would take long to make.
async fn set_large(client: &mut Client<TcpStream>, size: usize) {
    let script = "return redis.call('SET', 'large', string.rep('0123456789abcdef', ARGV[1]))";
    let times = (size / 16).to_string();
    assert_eq!(within(client.call(&["EVAL", script, "0", &times])).await.unwrap(), simple("OK"));
}

#[tokio::test]
async fn a_large_value_is_streamed_as_it_comes() {
    let Some(server) = redis(&[]) else { return };
    let mut client = connect(&server, false).await;
    let size = 64 << 20;
    set_large(&mut client, size).await;
    client.send(&["GET", "large"]);
    client.send(&["ECHO", "next"]);
    let streamed = within(client.receive_streamed()).await.unwrap();
    let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
    assert_eq!(bulk.len(), size as u64);
    let pattern = "0123456789abcdef".repeat(16 * 1024).into_bytes();
    let mut came = 0;
    while let Some(chunk) = within(bulk.chunk()).await.unwrap() {
        // Not held: no more than the channel reads at once, or has buffered.
        assert!(!chunk.is_empty() && chunk.len() <= 128 * 1024, "{}", chunk.len());
        assert!(pattern[came % 16..][..chunk.len()] == chunk, "{came}");
        came += chunk.len();
    }
    assert_eq!(came, size);
    assert_eq!(within(client.receive()).await.unwrap(), self::bulk("next"));

    // And given up in the middle.
    client.send(&["GET", "large"]);
    let streamed = within(client.receive_streamed()).await.unwrap();
    let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
    within(bulk.chunk()).await.unwrap().unwrap();
    assert_broken(&mut client, "given up").await;
}

async fn kill(client: &mut Client<TcpStream>, id: Value) {
    let Integer(id) = id else { panic!("{id}") };
    let killed = within(client.call(&["CLIENT", "KILL", "ID", &id.to_string()])).await;
    assert_eq!(killed.unwrap(), Integer(1));
}

#[tokio::test]
async fn cut_connection_is_reported_once() {
    let Some(server) = redis(&[]) else { return };
    let mut operator = connect(&server, false).await;

    // While a reply is awaited.
    let mut client = connect(&server, false).await;
    let id = within(client.call(&["CLIENT", "ID"])).await.unwrap();
    client.send(&["BLPOP", "nothing", "0"]);
    assert!(poll!(pin!(client.receive())).is_pending());
    loop {
        let list = within(operator.call(&["CLIENT", "LIST"])).await.unwrap();
        if matches!(&list, Value::Bulk(text) if String::from_utf8_lossy(text).contains("cmd=blpop"))
        {
            break;
        }
    }
    kill(&mut operator, id).await;
    let reply = within(client.receive()).await;
    let Err(Error::Channel(asynchat::Error::UnexpectedEof { partial, .. })) = reply else {
        panic!("{reply:?}")
    };
    assert!(partial.is_empty());
    assert_broken(&mut client, "cut").await;

    // In the middle of a value.
    set_large(&mut operator, 64 << 20).await;
    for is_streamed in [false, true] {
        let mut client = connect(&server, false).await;
        let id = within(client.call(&["CLIENT", "ID"])).await.unwrap();
        client.send(&["GET", "large"]);
        let reply = if is_streamed {
            let streamed = within(client.receive_streamed()).await.unwrap();
            let Streamed::Bulk(mut bulk) = streamed else { panic!("not streamed") };
            within(bulk.chunk()).await.unwrap().unwrap();
            kill(&mut operator, id).await;
            loop {
                match within(bulk.chunk()).await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("all of it came"),
                    Err(e) => break e,
                }
            }
        } else {
            for _ in 0..2 {
                assert!(poll!(pin!(client.receive())).is_pending());
                yield_now().await;
            }
            kill(&mut operator, id).await;
            within(client.receive()).await.unwrap_err()
        };
        assert!(
            matches!(&reply, Error::Channel(asynchat::Error::UnexpectedEof { .. })),
            "{reply:?}"
        );
        assert_broken(&mut client, "cut in the middle").await;
    }
}

#[tokio::test]
async fn dropped_call_to_redis_server_discards_its_reply() {
    let Some(server) = redis(&[]) else { return };
    let mut client = connect(&server, false).await;
    for i in 0..1000 {
        let _ = poll!(pin!(client.call(&["ECHO", "given up"])));
        let text = i.to_string();
        let reply = within(client.call(&["ECHO", &text])).await.unwrap();
        assert_eq!(reply, Value::Bulk(text.into()));
    }
}

/// Runs a command line, given in words, and gives what it prints.
async fn run(
    server: &Server,
    password: Option<&str>,
    line: &str,
) -> (Result<bool, String>, String) {
    let line = line.replace("ADDRESS", &server.address.to_string());
    run_words(password, line.split_whitespace().map(str::to_owned).collect()).await
}

async fn run_words(password: Option<&str>, words: Vec<String>) -> (Result<bool, String>, String) {
    let mut out = Vec::new();
    let password = password.map(Into::into);
    let args = match Args::try_parse_from([vec!["example-redis".to_owned()], words].concat()) {
        Ok(args) => args,
        Err(error) => return (Err(error.to_string()), String::new()),
    };
    let ran = within(example_redis::run(args, password, &mut out)).await;
    (ran.map_err(|e| e.to_string()), String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn the_command_line_prints_replies_much_as_redis_cli_does() {
    let Some(server) = redis(&[]) else { return };
    for (line, success, printed) in [
        ("ADDRESS PING", true, "PONG\n"),
        ("ADDRESS SET greeting h\u{e9}llo", true, "OK\n"),
        ("ADDRESS GET greeting", true, "\"h\\xc3\\xa9llo\"\n"),
        ("ADDRESS GET missing", true, "(nil)\n"),
        ("--repeat 3 ADDRESS INCR n", true, "(integer) 1\n(integer) 2\n(integer) 3\n"),
        ("ADDRESS RPUSH list a b", true, "(integer) 2\n"),
        ("ADDRESS LRANGE list 0 -1", true, "1) \"a\"\n2) \"b\"\n"),
        ("ADDRESS LRANGE missing 0 -1", true, "(empty)\n"),
        ("ADDRESS GET list", false, WRONG_TYPE),
        (
            "ADDRESS NOSUCH",
            false,
            "(error) ERR unknown command 'NOSUCH', with args beginning with: \n",
        ),
        ("ADDRESS CONFIG GET save", true, "1) \"save\"\n2) \"\"\n"),
        ("--resp3 ADDRESS CONFIG GET save", true, "1# \"save\" => \"\"\n"),
        ("--resp3 ADDRESS CONFIG GET nothing", true, "(empty)\n"),
        ("--resp3 ADDRESS DEBUG PROTOCOL double", true, "(double) 3.141\n"),
        ("--resp3 ADDRESS DEBUG PROTOCOL true", true, "(true)\n"),
        (
            "--resp3 ADDRESS DEBUG PROTOCOL set",
            true,
            "1~ (integer) 0\n2~ (integer) 1\n3~ (integer) 2\n",
        ),
        (
            "--resp3 ADDRESS DEBUG PROTOCOL bignum",
            true,
            "(big number) 1234567999999999999999999999999999999\n",
        ),
        ("--resp3 ADDRESS DEBUG PROTOCOL verbatim", true, "This is a verbatim\nstring\n"),
        (
            "--resp3 ADDRESS DEBUG PROTOCOL push",
            true,
            "1> \"server-cpu-usage\"\n2> (integer) 42\n\"Some real reply following the push reply\"\n",
        ),
        (
            "ADDRESS UNSUBSCRIBE a b",
            true,
            "1> \"unsubscribe\"\n2> \"a\"\n3> (integer) 0\n1> \"unsubscribe\"\n2> \"b\"\n3> (integer) 0\n",
        ),
        ("ADDRESS UNSUBSCRIBE", true, "1> \"unsubscribe\"\n2> (nil)\n3> (integer) 0\n"),
        (
            "ADDRESS SUBSCRIBE",
            false,
            "(error) ERR wrong number of arguments for 'subscribe' command\n",
        ),
        // The last of them decides.
        ("--repeat 2 ADDRESS SETNX once -1", true, "(integer) 1\n(integer) 0\n"),
    ] {
        assert_eq!(run(&server, None, line).await, (Ok(success), printed.to_owned()), "{line}");
    }
    let address = server.address.to_string();
    let script = r"return {1, {2, {'a\r\nb'}}, {ok = 'x\27[1m'}}".to_owned();
    let words = [address, "EVAL".into(), script, "0".into()];
    let printed = "1) (integer) 1\n2) 1) (integer) 2\n   2) 1) \"a\\r\\nb\"\n3) x\\u{1b}[1m\n";
    assert_eq!(run_words(None, words.into()).await, (Ok(true), printed.to_owned()));
}

const WRONG_TYPE: &str =
    "(error) WRONGTYPE Operation against a key holding the wrong kind of value\n";

#[tokio::test]
async fn wrong_command_line_prints_usage() {
    let Some(server) = redis(&[]) else { return };
    for line in [
        "",
        "ADDRESS",
        "--resp3 ADDRESS",
        "--repeat",
        "--repeat 0 ADDRESS PING",
        "--repeat -1 ADDRESS PING",
        "--repeat x ADDRESS PING",
        "--repeat 2 --output file ADDRESS PING",
        "--output",
        "--help",
        "-h ADDRESS PING",
    ] {
        let (ran, printed) = run(&server, None, line).await;
        let said = ran.unwrap_err();
        assert!(said.contains("--help") || said.contains("Usage: example-redis"), "{said}");
        assert_eq!(printed, "", "{line}");
    }
    let closed = format!("127.0.0.1:{} PING", programs::free_port());
    let (ran, printed) = run(&server, None, &closed).await;
    assert!(ran.is_err_and(|e| e.contains("refused")) && printed.is_empty());
    assert!(run(&server, None, "nowhere PING").await.0.is_err());
}

#[tokio::test]
async fn monitor_prints_lines_of_any_length() {
    let Some(server) = redis(&[]) else { return };
    let (sender, mut printed) = mpsc::unbounded_channel();
    let mut out = Printed(sender);
    let args = Args::parse_from(["example-redis", &server.address.to_string(), "MONITOR"]);
    let mut running = pin!(example_redis::run(args, None, &mut out));
    let mut monitored = async |end: &str| {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            tokio::select! {
                ran = &mut running => panic!("{ran:?}"),
                more = printed.recv() => text.extend(more.unwrap()),
            }
        }
    };
    within(monitored("OK\n")).await;
    let mut speaker = connect(&server, false).await;
    within(speaker.call(&[&b"SET"[..], b"k", &[0xFF; 30_000]])).await.unwrap();
    within(monitored(&format!(" \"k\" \"{}\"\n", r"\xff".repeat(30_000)))).await;
}

#[tokio::test]
async fn a_script_may_answer_anything() {
    let Some(server) = redis(&[]) else { return };
    let address = server.address.to_string();
    for (script, printed) in [
        ("return {ok=string.rep('x',70000)}", "x".repeat(70_000)),
        ("return {err=string.rep('x',70000)}", format!("(error) {}", "x".repeat(70_000))),
        ("local t=7 for i=1,41 do t={t} end return t", "1) ".repeat(41) + "(integer) 7"),
        ("local t=7 for i=1,7900 do t={t} end return t", "1) ".repeat(7900) + "(integer) 7"),
    ] {
        let words = [&address, "EVAL", script, "0"].map(str::to_owned);
        let (ran, said) = run_words(None, words.into()).await;
        assert_eq!(ran, Ok(!script.contains("err")), "{script}");
        assert!(said == printed + "\n", "{script}");
    }
    let (ran, said) = run(&server, None, "--resp3 ADDRESS INFO").await;
    assert!(ran == Ok(true) && said.contains("\nredis_mode:standalone\n"), "{said}");
    assert!(!said.contains("\\r") && !said.contains('\r'), "{said}");
}

#[tokio::test]
async fn a_redirection_is_reported_with_its_address() {
    for (error, address) in [
        ("MOVED 3999 127.0.0.1:6381", Some("127.0.0.1:6381")),
        ("MOVED 3999 ::1:6381", Some("::1:6381")),
        ("ASK 16383 h\x1b:1", Some("h\\u{1b}:1")),
        ("MOVED 3999 :6381", Some("ADDRESS, port 6381")),
        ("MOVED 3999 ", None),
        ("MOVED 3999", None),
        ("MOVEDX 1 2", None),
        ("ERR MOVED 3999 127.0.0.1:6381", None),
    ] {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address_of_server = server.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = server.accept().await.unwrap();
                socket.write_all(format!("-{error}\r\n").as_bytes()).await.unwrap();
                let _ = socket.read_to_end(&mut vec![]).await;
            }
        });
        let mut printed = format!("(error) {}\n", error.escape_debug());
        if let Some(address) = address {
            let address = address.replace("ADDRESS", "this host");
            printed += &format!("(another server of the cluster has the key: {address})\n");
        }
        for options in ["", "--output /nowhere/file "] {
            let line = format!("{options}{address_of_server} GET k");
            let words = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(run_words(None, words).await, (Ok(false), printed.clone()), "{error}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn arguments_and_password_need_not_be_utf8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let Some(server) = redis(&[]) else { return };
    let (odd, mut client) = (OsStr::from_bytes(b"\xff\xfe"), connect(&server, false).await);
    let user = [b"ACL", &b"SETUSER"[..], b"\xff\xfe", b"on", b">\xff\xfe", b"~*", b"+@all"];
    within(client.call(&user)).await.unwrap();
    let address = server.address.to_string();
    for (words, printed) in [
        (["SET".as_ref(), odd, odd], "OK\n"),
        (["MGET".as_ref(), odd, odd], "1) \"\\xff\\xfe\"\n2) \"\\xff\\xfe\"\n"),
    ] {
        let program = ["example-redis".as_ref(), "--user".as_ref(), odd, address.as_ref()];
        let args = Args::parse_from(program.iter().chain(&words));
        let mut out = Vec::new();
        within(example_redis::run(args, Some(odd.to_owned()), &mut out)).await.unwrap();
        let said = String::from_utf8(out).unwrap();
        assert_eq!(said, printed);
    }
}

#[tokio::test]
async fn a_user_is_named_with_the_password() {
    let Some(server) = redis(&[]) else { return };
    let ann = ["ACL", "SETUSER", "ann", "on", ">secret", "+@all"];
    within(connect(&server, false).await.call(&ann)).await.unwrap();
    for options in ["--user ann", "--resp3 --user ann"] {
        let line = format!("{options} ADDRESS ACL WHOAMI");
        let (ran, printed) = run(&server, Some("secret"), &line).await;
        assert_eq!((ran, &printed[..]), (Ok(true), "\"ann\"\n"));
    }
    for (password, user, why) in [
        (Some("wrong"), "ann", "WRONGPASS "),
        (Some("secret"), "bob", "WRONGPASS "),
        (None, "ann", "--user needs a password in REDISCLI_AUTH"),
    ] {
        let (ran, printed) = run(&server, password, &format!("--user {user} ADDRESS PING")).await;
        assert!(ran.as_ref().is_err_and(|e| e.starts_with(why)) && printed.is_empty(), "{ran:?}");
    }
}

#[tokio::test]
async fn a_password_is_sent_first() {
    let Some(server) = redis(&["--requirepass", "secret"]) else { return };
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    for options in ["", "--resp3 "] {
        let line = format!("{options}ADDRESS PING");
        let (ran, printed) = run(&server, Some("secret"), &line).await;
        assert_eq!((ran, &printed[..]), (Ok(true), "PONG\n"), "{line}");
        let (ran, printed) = run(&server, Some("wrong"), &line).await;
        assert_eq!((ran, &printed[..]), (Err(wrong.to_owned()), ""), "{line}");
    }
    let refusal = "(error) NOAUTH Authentication required.\n";
    for line in ["ADDRESS PING", "ADDRESS SUBSCRIBE a"] {
        assert_eq!(run(&server, None, line).await, (Ok(false), refusal.to_owned()), "{line}");
    }
    let (ran, _) = run(&server, None, "--resp3 ADDRESS PING").await;
    assert!(ran.is_err_and(|e| e.starts_with("NOAUTH ")));
}

#[tokio::test]
async fn a_string_is_saved_and_anything_else_printed() {
    let Some(server) = redis(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let file = path.to_str().unwrap();
    let mut client = connect(&server, false).await;
    let all: Vec<u8> = (0..=255).cycle().take(5 << 20).collect();
    for data in [&b"a\r\n\0"[..], b"", &all] {
        within(client.call(&[&b"SET"[..], &b"k"[..], data])).await.unwrap();
        let (ran, printed) = run(&server, None, &format!("--output {file} ADDRESS GET k")).await;
        assert_eq!((ran, printed), (Ok(true), format!("{} bytes in {file}\n", data.len())));
        assert!(std::fs::read(&path).unwrap() == data);
        std::fs::remove_file(&path).unwrap();
    }
    within(client.call(&["RPUSH", "list", "a"])).await.unwrap();
    for existed in [true, false] {
        if existed {
            std::fs::write(&path, "precious").unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        for (command, success, expected) in [
            ("GET list", false, WRONG_TYPE),
            ("GET missing", true, "(nil)\n"),
            ("PING", true, "PONG\n"),
            ("LRANGE list 0 -1", true, "1) \"a\"\n"),
        ] {
            let line = format!("--output {file} ADDRESS {command}");
            let (ran, printed) = run(&server, None, &line).await;
            assert_eq!((ran, &printed[..]), (Ok(success), expected), "{line}");
            match std::fs::read(&path) {
                Ok(data) => assert!(existed && data == b"precious", "{line}"),
                Err(_) => assert!(!existed, "{line}"),
            }
        }
    }
    std::fs::write(&path, "precious").unwrap();
    let (ran, printed) = run(&server, None, &format!("--output {file} ADDRESS GET k")).await;
    assert!(ran.is_err_and(|e| e.contains("exists")) && printed.is_empty());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let folder = folder.path().to_str().unwrap();
    let (ran, printed) = run(&server, None, &format!("--output {folder} ADDRESS GET k")).await;
    assert!(ran.is_err() && printed.is_empty());
}

#[tokio::test]
async fn partial_value_does_not_remain() {
    let Some(server) = redis(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let breaks = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = breaks.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = breaks.accept().await.unwrap();
        socket.write_all(b"$1000\r\nabc").await.unwrap();
        socket.shutdown().await.unwrap();
        let _ = socket.read_to_end(&mut vec![]).await;
    });
    let line = format!("--output {} {address} GET k", path.display());
    let (ran, _) = run(&server, None, &line).await;
    assert_eq!(ran, Err("input ended".into()));
    assert!(!path.exists());
}

/// What is printed, as it is printed.
struct Printed(mpsc::UnboundedSender<Vec<u8>>);

impl Write for Printed {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(data.to_vec());
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn subscribing_prints_until_it_is_stopped() {
    let Some(server) = redis(&[]) else { return };
    for resp3 in [false, true] {
        for (command, confirmation, message) in [
            (
                ["SUBSCRIBE", "news"],
                "1> \"subscribe\"\n2> \"news\"\n3> (integer) 1\n",
                "1> \"message\"\n2> \"news\"\n3> \"hello\"\n",
            ),
            (
                ["psubscribe", "n*"],
                "1> \"psubscribe\"\n2> \"n*\"\n3> (integer) 1\n",
                "1> \"pmessage\"\n2> \"n*\"\n3> \"news\"\n4> \"hello\"\n",
            ),
        ] {
            let mut words = vec!["example-redis".to_owned(), server.address.to_string()];
            words.extend(command.map(str::to_owned));
            if resp3 {
                words.insert(1, "--resp3".to_owned());
            }
            let (sender, mut printed) = mpsc::unbounded_channel();
            let mut out = Printed(sender);
            let mut running = pin!(example_redis::run(Args::parse_from(words), None, &mut out));
            let mut expects = async |expected: &str| {
                let mut text = Vec::new();
                while text.len() < expected.len() {
                    tokio::select! {
                        ran = &mut running => panic!("{ran:?}"),
                        more = printed.recv() => text.extend(more.unwrap()),
                    }
                }
                assert_eq!(String::from_utf8_lossy(&text), expected, "{command:?}");
            };
            within(expects(confirmation)).await;
            let mut speaker = connect(&server, false).await;
            for _ in 0..3 {
                within(speaker.call(&["PUBLISH", "news", "hello"])).await.unwrap();
                within(expects(message)).await;
            }
        }
    }
}
