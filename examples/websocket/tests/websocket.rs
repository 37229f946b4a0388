//! The WebSocket server: sessions cut everywhere, refusals, hostile clients, the broadcast,
//! and real clients.

#[path = "../../../tests/programs/browser.rs"]
mod browser;
#[path = "../../../tests/programs/example.rs"]
mod example;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use asynchat::{Channel, Terminator};
use browser::Browser;
use bytes::BytesMut;
use example_websocket::frame::Frame;
use example_websocket::{GRACE, MAX_BROADCAST, MAX_MESSAGE, Server, TIMEOUTS};
use programs::within;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The request of RFC 6455, section 1.2, with more fields.
fn request(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

/// A frame as the client sends it, or as the server does.
fn frame(first: u8, payload: impl AsRef<[u8]>, mask: Option<[u8; 4]>) -> Vec<u8> {
    let (payload, bit) = (payload.as_ref(), if mask.is_some() { 0x80 } else { 0 });
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(bit | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload, Some([0x37, 0xfa, 0x21, 0x3d]))
}

fn plain(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload, None)
}

fn closing(code: u16) -> Vec<u8> {
    plain(CLOSE, code.to_be_bytes())
}

/// A connection without a socket.
struct Peer {
    io: DuplexStream,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Peer {
    /// No more than `size` bytes go at once, in either direction.
    fn new(server: &Arc<Server>, size: usize) -> Self {
        let (io, theirs) = duplex(size);
        let (server, stop) = (Arc::clone(server), CancellationToken::new());
        let stopping = stop.clone();
        let served = tokio::spawn(async move { server.connection(theirs, stopping).await });
        Peer { io, stop, served }
    }

    async fn open(server: &Arc<Server>, path: &str) -> Self {
        let mut peer = Self::new(server, 64 * 1024);
        peer.sends(request(path, "")).await;
        peer.gets(ACCEPTED).await;
        peer
    }

    async fn echo() -> Self {
        Self::open(&Arc::default(), "/echo").await
    }

    async fn sends(&mut self, data: impl AsRef<[u8]>) {
        self.io.write_all(data.as_ref()).await.unwrap();
    }

    #[track_caller]
    fn gets(&mut self, expected: impl AsRef<[u8]>) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let expected = expected.as_ref();
            let mut got = vec![0; expected.len()];
            let read = timeout(HOUR, self.io.read_exact(&mut got)).await.expect("it hangs");
            read.unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(got == expected, "{place}: {:?}", String::from_utf8_lossy(&got));
        }
    }

    /// What a ping says, which is the next frame.
    async fn gets_a_ping(&mut self) -> Vec<u8> {
        self.gets([PING, 32]).await;
        let mut said = vec![0; 32];
        self.io.read_exact(&mut said).await.unwrap();
        said
    }

    /// All that is left, up to the end of the connection.
    async fn gets_to_the_end(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        timeout(HOUR, self.io.read_to_end(&mut rest)).await.expect("it hangs").unwrap();
        drop(self.io);
        timeout(HOUR, self.served).await.expect("it hangs").unwrap();
        rest
    }
}

/// A guard where the clock is paused.
const HOUR: Duration = Duration::from_secs(3600);

// Whole sessions.

fn session() -> (Vec<u8>, Vec<u8>) {
    let long = "é".repeat(100);
    let longer = vec![7; 0x1_0000];
    let sent = [
        request("/echo", "").into_bytes(),
        masked(FIN | TEXT, "Hello"),
        masked(FIN | BINARY, [0xff, 0]),
        masked(TEXT, "a\u{20ac}".as_bytes().split_at(2).0),
        masked(PING, "are you there?"),
        masked(0, ""),
        masked(FIN, "a\u{20ac}".as_bytes().split_at(2).1),
        masked(PONG, "unasked"),
        masked(FIN | TEXT, ""),
        masked(FIN | TEXT, &long),
        masked(FIN | BINARY, &longer),
        masked(CLOSE, b"\x03\xe8bye"),
        // After the end.
        masked(FIN | TEXT, "ignored"),
    ];
    let expected = [
        ACCEPTED.as_bytes().to_vec(),
        plain(FIN | TEXT, "Hello"),
        plain(FIN | BINARY, [0xff, 0]),
        plain(PONG, "are you there?"),
        plain(FIN | TEXT, "a\u{20ac}"),
        plain(FIN | TEXT, ""),
        plain(FIN | TEXT, &long),
        plain(FIN | BINARY, &longer),
        plain(CLOSE, b"\x03\xe8bye"),
    ];
    (sent.concat(), expected.concat())
}

#[tokio::test]
async fn session_is_the_same_cut_at_every_byte() {
    let (sent, expected) = session();
    let server = Arc::default();
    let dull = sent.len() - 0xff00..sent.len() - 100;
    for cut in (0..=sent.len()).filter(|cut| !dull.contains(cut)) {
        let mut peer = Peer::new(&server, 1 << 20);
        peer.sends(&sent[..cut]).await;
        for _ in 0..3 {
            yield_now().await;
        }
        peer.sends(&sent[cut..]).await;
        assert!(within(peer.gets_to_the_end()).await == expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn session_is_the_same_in_pieces_of_every_size() {
    let (sent, expected) = session();
    for size in [1, 2, 3, 5, 8, 13, 100, 4096] {
        let Peer { io, served, .. } = Peer::new(&Arc::default(), size);
        let (mut from, mut to) = tokio::io::split(io);
        let mut got = Vec::new();
        let (written, read) =
            within(async { tokio::join!(to.write_all(&sent), from.read_to_end(&mut got)) }).await;
        // It may close before it has read what comes after the end.
        let _ = (written, read);
        assert!(got == expected, "in pieces of {size}");
        drop((from, to));
        within(served).await.unwrap();
    }
}

#[tokio::test]
async fn echo_returns_payloads_of_each_length_form() {
    let mut peer = Peer::echo().await;
    for len in [0, 1, 124, 125, 126, 127, 0xfffe, 0xffff, 0x1_0000, MAX_MESSAGE] {
        let payload: Vec<u8> = (0..len).map(|i| (i * i) as u8).collect();
        let (first, rest) = payload.split_at(len / 2);
        let sent = [masked(FIN | BINARY, &payload), masked(BINARY, first), masked(FIN, rest)];
        let (sent, expected) = (sent.concat(), plain(FIN | BINARY, &payload).repeat(2));
        let mut got = vec![0; expected.len()];
        let (mut from, mut to) = tokio::io::split(&mut peer.io);
        let (_, read) =
            within(async { tokio::join!(to.write_all(&sent), from.read_exact(&mut got)) }).await;
        read.unwrap();
        assert!(got == expected, "{len} bytes");
    }
}

#[test]
fn mask_is_removed_in_place() {
    for (len, head_len) in [(0, 6), (1, 6), (125, 6), (126, 8), (0xffff, 8), (0x1_0000, 14)] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let sent = BytesMut::from(&masked(FIN | BINARY, &payload)[..]);
        let place = sent.as_ptr_range();
        let frame = Frame::new(sent, head_len);
        assert_eq!(frame.payload(), payload);
        assert_eq!(frame.payload().as_ptr_range().end, place.end);
        let answer = frame.into_answer(BINARY);
        assert_eq!(answer, plain(FIN | BINARY, &payload));
        assert_eq!(answer.as_ptr_range().end, place.end, "{len} bytes are copied");
    }
}

// Refusals.

#[tokio::test(start_paused = true)]
async fn violations_are_answered_with_their_code() {
    let big = masked(BINARY, vec![0; MAX_MESSAGE / 2]);
    let table: &[(&str, Vec<u8>, u16)] = &[
        ("without a mask", plain(FIN | TEXT, "x"), 1002),
        ("empty, without a mask", plain(FIN | TEXT, ""), 1002),
        ("first reserved bit", masked(FIN | 0x40 | TEXT, "x"), 1002),
        ("second reserved bit", masked(FIN | 0x20 | TEXT, "x"), 1002),
        ("third reserved bit", masked(FIN | 0x10 | PING, ""), 1002),
        ("opcode 3", masked(FIN | 3, ""), 1002),
        ("opcode 7", masked(FIN | 7, "x"), 1002),
        ("opcode 11", masked(FIN | 11, ""), 1002),
        ("opcode 15", masked(FIN | 15, ""), 1002),
        ("fragmented ping", masked(9, ""), 1002),
        ("fragmented close", masked(8, ""), 1002),
        ("ping of 126 bytes", masked(PING, [0; 126]), 1002),
        ("close of 126 bytes", masked(CLOSE, [3; 126]), 1002),
        ("continuation of nothing", masked(FIN, "x"), 1002),
        ("message in a message", [masked(TEXT, "a"), masked(FIN | TEXT, "b")].concat(), 1002),
        ("125 in 2 bytes", b"\x82\xfe\x00\x7d".to_vec(), 0),
        ("65535 in 8 bytes", b"\x82\xff\0\0\0\0\0\0\xff\xff".to_vec(), 0),
        ("length of 2^63", b"\x82\xff\x80\0\0\0\0\0\0\0".to_vec(), 0),
        ("length of 2^64 - 1", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), 0),
        ("length of 2^63 - 1", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec(), 9),
        ("one byte too long", b"\x82\xff\0\0\0\0\0\x10\0\x01".to_vec(), 9),
        (
            "fragments too long",
            [big.clone(), masked(0, vec![0; MAX_MESSAGE / 2 + 1])].concat(),
            1009,
        ),
        ("not UTF-8", masked(FIN | TEXT, [0xc0, 0xaf]), 1007),
        ("surrogate", masked(FIN | TEXT, [0xed, 0xa0, 0x80]), 1007),
        ("half a character", masked(FIN | TEXT, [0xe2, 0x82]), 1007),
        ("half in fragments", [masked(TEXT, [0xe2]), masked(FIN, [0x82])].concat(), 1007),
        ("close with half a code", masked(CLOSE, [3]), 1002),
        ("close with code 0", masked(CLOSE, [0, 0]), 1002),
        ("close with code 999", masked(CLOSE, 999u16.to_be_bytes()), 1002),
        ("close with code 1004", masked(CLOSE, 1004u16.to_be_bytes()), 1002),
        ("close with code 1005", masked(CLOSE, 1005u16.to_be_bytes()), 1002),
        ("close with code 1006", masked(CLOSE, 1006u16.to_be_bytes()), 1002),
        ("close with code 1015", masked(CLOSE, 1015u16.to_be_bytes()), 1002),
        ("close with code 2999", masked(CLOSE, 2999u16.to_be_bytes()), 1002),
        ("close with code 5000", masked(CLOSE, 5000u16.to_be_bytes()), 1002),
        ("close with a reason not UTF-8", masked(CLOSE, [3, 0xe8, 0xff]), 1007),
        ("close with code 1000", masked(CLOSE, 1000u16.to_be_bytes()), 1000),
        ("close with code 1011", masked(CLOSE, 1011u16.to_be_bytes()), 1011),
        ("close with code 3000", masked(CLOSE, 3000u16.to_be_bytes()), 3000),
        ("close with code 4999", masked(CLOSE, 4999u16.to_be_bytes()), 4999),
    ];
    for (what, sent, code) in table {
        // Heads that end in a length get their mask.
        let (mask, code) = match code {
            0 => ("mask", 1002),
            9 => ("mask", 1009),
            code => ("", *code),
        };
        let mut peer = Peer::echo().await;
        // Good before it, and anything after it.
        peer.sends(masked(FIN | TEXT, "good")).await;
        peer.sends([sent, mask.as_bytes(), &masked(FIN | TEXT, "after")].concat()).await;
        let expected = [plain(FIN | TEXT, "good"), closing(code)].concat();
        assert_eq!(peer.gets_to_the_end().await, expected, "{what}");
    }
}

#[tokio::test]
async fn close_without_a_code_is_answered_without_one() {
    let mut peer = Peer::echo().await;
    peer.sends(masked(CLOSE, "")).await;
    assert_eq!(within(peer.gets_to_the_end()).await, plain(CLOSE, ""));
}

#[tokio::test]
async fn refused_head_is_answered_before_the_rest_arrives() {
    for head in [&plain(FIN | TEXT, "")[..], &[0xc1, 0x80], &[0x83, 0x80], &[PING, 0xfe]] {
        let mut peer = Peer::echo().await;
        peer.sends(head).await;
        peer.gets(closing(1002)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_with_their_status() {
    let good = request("/echo", "");
    let table = [
        ("101", good.clone()),
        ("101", request("/broadcast?x=1", "")),
        ("101", good.replace("websocket", "h2c, WebSocket")),
        ("101", request("/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("101", request("/echo", "Origin: http://good.example\r\n")),
        ("403", request("/echo", "Origin: http://evil.example\r\n")),
        ("403", request("/echo", "Origin: null\r\n")),
        ("403", request("/echo", "Origin: http://good.example.evil.example\r\n")),
        ("403", request("/echo", "Origin: http://good.example\r\nOrigin: http://evil.example\r\n")),
        ("404", request("/", "")),
        ("404", request("/echo/", "")),
        ("405", good.replace("GET", "POST")),
        ("501", good.replace("GET", "BREW")),
        ("426", "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        ("426", good.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("426", good.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive")),
        ("426", good.replace("Version: 13", "Version: 8")),
        ("426", good.replace("Version: 13", "Version: 13, 8")),
        ("426", request("/echo", "Sec-WebSocket-Version: 8\r\n")),
        ("426", good.replace("HTTP/1.1", "HTTP/1.0")),
        ("505", good.replace("HTTP/1.1", "HTTP/2.0")),
        ("400", good.replace("Host: server.example.com\r\n", "")),
        ("400", good.replace("Sec-WebSocket-Key", "Other")),
        ("400", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ")),
        ("400", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")),
        ("400", request("/echo", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")),
        ("400", good.replace("\r\n", "\n")),
        ("400", request("/echo", "Content-Length: 5\r\n") + "hello"),
        ("400", request("/echo", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n"),
        ("431", request("/echo", &format!("X: {}\r\n", "x".repeat(20_000)))),
        ("431", request("/echo", &"X: x\r\n".repeat(100))),
        // And then nothing.
        ("408", good[..50].to_owned()),
        ("408", String::new()),
    ];
    let origins = vec!["http://good.example".to_owned()];
    let server = Arc::new(Server { origins, ..Server::default() });
    for (status, request) in table {
        let mut peer = Peer::new(&server, 64 * 1024);
        peer.sends(&request).await;
        if status == "101" {
            peer.sends(masked(CLOSE, "")).await;
        }
        let answer = peer.gets_to_the_end().await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
        assert!(!answer.contains("permessage-deflate"), "{answer}");
        assert_eq!(answer.contains("Connection: upgrade, close"), status != "101", "{answer}");
    }
}

// Hostile clients.

#[tokio::test(start_paused = true)]
async fn client_that_never_reads_is_not_read_and_then_cut_off() {
    for sent in [masked(FIN | BINARY, [7; 50_000]), masked(PING, ""), masked(FIN | TEXT, "x")] {
        let mut peer = Peer::echo().await;
        let (start, mut taken) = (Instant::now(), 0);
        // Until it is cut off.
        while peer.io.write_all(&sent).await.is_ok() {
            taken += sent.len();
            // A pong is a third of a ping.
            assert!(taken < 3 * MAX_MESSAGE + 1024 * 1024, "{taken} bytes");
        }
        assert!(start.elapsed() >= TIMEOUTS.write.unwrap(), "{:?}", start.elapsed());
        timeout(HOUR, peer.served).await.expect("it hangs").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_stops_in_the_middle_is_closed() {
    let sent = masked(FIN | BINARY, [7; 300]);
    for cut in [1, 2, 3, 4, 7, 8, 9, 300] {
        let mut peer = Peer::echo().await;
        let start = Instant::now();
        peer.sends(&sent[..cut]).await;
        assert_eq!(peer.gets_to_the_end().await, closing(1008), "after {cut} bytes");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_trickles_is_closed() {
    let sent = masked(FIN | BINARY, [7; 3000]);
    let mut peer = Peer::echo().await;
    let start = Instant::now();
    for byte in &sent {
        if peer.io.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
        if start.elapsed() > Duration::from_secs(15) {
            break;
        }
    }
    assert_eq!(peer.gets_to_the_end().await, closing(1008));
}

#[tokio::test(start_paused = true)]
async fn client_that_is_slow_and_keeps_the_rate_is_answered() {
    let payload = vec![7; 2 * MAX_MESSAGE / 3];
    let sent = masked(FIN | BINARY, &payload);
    let mut peer = Peer::echo().await;
    let start = Instant::now();
    for piece in sent.chunks(20_000) {
        peer.sends(piece).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!(start.elapsed() > 3 * TIMEOUTS.frame.unwrap(), "{:?}", start.elapsed());
    peer.gets(plain(FIN | BINARY, &payload)).await;
}

#[tokio::test(start_paused = true)]
async fn client_that_goes_is_forgotten() {
    let sent = masked(FIN | BINARY, [7; 300]);
    for cut in [0, 1, 100] {
        let mut peer = Peer::echo().await;
        peer.sends(&sent[..cut]).await;
        peer.io.shutdown().await.unwrap();
        assert_eq!(peer.gets_to_the_end().await, b"", "after {cut} bytes");
    }
}

#[tokio::test]
async fn fragments_without_end_are_refused() {
    let mut peer = Peer::echo().await;
    peer.sends(masked(TEXT, "")).await;
    let piece = masked(0, [b'x'; 60_000]);
    // It stops reading after it has closed.
    for _ in 0..=MAX_MESSAGE / 60_000 {
        peer.sends(&piece).await;
    }
    peer.gets(closing(1009)).await;
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_asked_and_then_closed() {
    let mut peer = Peer::echo().await;
    let start = Instant::now();
    for _ in 0..3 {
        let ping = peer.gets_a_ping().await;
        peer.sends(masked(PONG, ping)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 3 * TIMEOUTS.idle.unwrap().as_secs());
    peer.gets_a_ping().await;
    assert_eq!(peer.gets_to_the_end().await, closing(1008));
}

/// Sends a frame every 20 seconds, and answers pings or not. Returns the last frame that came.
async fn keeps_sending(mut peer: Peer, sent: &[u8], is_answering: bool) -> Vec<u8> {
    for _ in 0..30 {
        let until = Instant::now() + Duration::from_secs(20);
        let mut head = [0; 2];
        while let Ok(Ok(_)) = timeout(until - Instant::now(), peer.io.read_exact(&mut head)).await {
            let mut payload = vec![0; usize::from(head[1])];
            peer.io.read_exact(&mut payload).await.unwrap();
            match head[0] {
                PING if is_answering => peer.sends(masked(PONG, payload)).await,
                CLOSE => return plain(CLOSE, payload),
                _ => {}
            }
        }
        peer.sends(sent).await;
    }
    Vec::new()
}

#[tokio::test(start_paused = true)]
async fn frames_that_prove_nothing_keep_no_connection() {
    for sent in [masked(PONG, ""), masked(PONG, "12345678"), masked(PING, "")] {
        let end = keeps_sending(Peer::echo().await, &sent, false).await;
        assert_eq!(end, closing(1008), "{sent:?}");
        let end = keeps_sending(Peer::echo().await, &sent, true).await;
        assert_eq!(end, b"", "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn message_is_closed_if_its_fragments_take_too_long() {
    for sent in [masked(PONG, ""), masked(0, "x"), masked(0, "")] {
        let mut peer = Peer::echo().await;
        peer.sends(masked(BINARY, "x")).await;
        let begun = Instant::now();
        assert_eq!(keeps_sending(peer, &sent, true).await, closing(1008), "{sent:?}");
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(60), "{took:?}");
        assert!(took < Duration::from_secs(150), "{took:?}");
    }
}

// The broadcast.

#[tokio::test]
async fn broadcast_reaches_all_members_in_one_order() {
    let server = Arc::default();
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(Peer::open(&server, "/broadcast").await);
    }
    let mut outsider = Peer::open(&server, "/echo").await;
    for n in 0..20 {
        for (i, member) in members.iter_mut().enumerate() {
            member.sends(masked(FIN | TEXT, format!("{i} {n}"))).await;
        }
    }
    let mut heard = Vec::new();
    for member in &mut members {
        let mut got = vec![0; 3 * (10 * 5 + 10 * 6)];
        within(member.io.read_exact(&mut got)).await.unwrap();
        heard.push(got);
    }
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
    outsider.sends(masked(CLOSE, "")).await;
    assert_eq!(within(outsider.gets_to_the_end()).await, plain(CLOSE, ""));
}

#[tokio::test(start_paused = true)]
async fn slow_member_is_disconnected_without_delaying_others() {
    let (server, start) = (Arc::default(), Instant::now());
    let slow = Peer::open(&server, "/broadcast").await;
    let mut quick = Peer::open(&server, "/broadcast").await;
    let (sent, expected) = (masked(FIN | BINARY, [7; 50_000]), plain(FIN | BINARY, [7; 50_000]));
    for _ in 0..2 * MAX_MESSAGE / 50_000 {
        quick.sends(&sent).await;
        within(quick.gets(&expected)).await;
    }
    within(slow.served).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    quick.sends(masked(CLOSE, "")).await;
    assert_eq!(within(quick.gets_to_the_end()).await, plain(CLOSE, ""));
}

#[tokio::test]
async fn broadcast_refuses_messages_that_are_too_long() {
    let long = masked(FIN | BINARY, vec![7; MAX_BROADCAST + 1]);
    let halves =
        [masked(BINARY, vec![7; MAX_BROADCAST / 2]), masked(FIN, vec![7; MAX_BROADCAST / 2 + 1])];
    for sent in [long, halves.concat()] {
        let server = Arc::default();
        let mut other = Peer::open(&server, "/broadcast").await;
        let mut peer = Peer::open(&server, "/broadcast").await;
        let longest = vec![7; MAX_BROADCAST];
        let (longest, heard) = (masked(FIN | BINARY, &longest), plain(FIN | BINARY, &longest));
        peer.sends(longest).await;
        within(peer.gets(&heard)).await;
        peer.sends(sent).await;
        assert_eq!(within(peer.gets_to_the_end()).await, closing(1009));
        within(other.gets(&heard)).await;
        other.sends(masked(CLOSE, "")).await;
        assert_eq!(within(other.gets_to_the_end()).await, plain(CLOSE, ""));
    }
}

#[tokio::test]
async fn room_forgets_members_that_have_left() {
    let server = Arc::<Server>::default();
    for last in [&masked(CLOSE, "")[..], &plain(FIN, ""), b""] {
        let mut peer = Peer::open(&server, "/broadcast").await;
        assert_eq!(server.room.lock().unwrap().len(), 1);
        peer.sends(last).await;
        peer.io.shutdown().await.unwrap();
        within(peer.gets_to_the_end()).await;
        assert_eq!(server.room.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn member_that_has_left_is_sent_nothing_after_its_close() {
    let server = Arc::default();
    let mut loud = Peer::open(&server, "/broadcast").await;
    let mut leaver = Peer::open(&server, "/broadcast").await;
    loud.sends(masked(FIN | TEXT, "x").repeat(100)).await;
    leaver.sends(masked(CLOSE, "")).await;
    loud.sends(masked(FIN | TEXT, "x").repeat(100)).await;
    let heard = within(leaver.gets_to_the_end()).await;
    let (messages, close) = heard.split_at(heard.len() - 2);
    assert_eq!(close, plain(CLOSE, ""));
    assert!(messages.chunks(3).all(|message| message == plain(FIN | TEXT, "x")), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_closes_with_going_away() {
    let server = Arc::default();
    for path in ["/echo", "/broadcast"] {
        let peer = Peer::open(&server, path).await;
        peer.stop.cancel();
        assert_eq!(peer.gets_to_the_end().await, closing(1001), "{path}");
    }
    // Before the handshake there is nobody to say it to.
    let mut peer = Peer::new(&server, 100);
    peer.sends("GET /echo").await;
    peer.stop.cancel();
    assert_eq!(peer.gets_to_the_end().await, b"");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_little_for_members_that_read_slowly() {
    for path in ["/echo", "/broadcast"] {
        let mut peer = Peer::open(&Arc::default(), path).await;
        // More than the transport takes.
        let message = masked(FIN | BINARY, vec![7; 60_000]);
        peer.sends(message.repeat(4)).await;
        peer.stop.cancel();
        let begun = Instant::now();
        while !peer.served.is_finished() {
            let _ = peer.io.read_u8().await;
            sleep(Duration::from_millis(500)).await;
        }
        assert!(begun.elapsed() < GRACE + Duration::from_secs(1), "{path} {:?}", begun.elapsed());
    }
}

// The program, and real clients.

/// The program on a port of its own, and a page of `origin` may use it.
async fn program(origin: &str) -> (tokio::process::Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_example-websocket"));
    let (child, [address]) =
        example::start(command.args(["127.0.0.1:0", "--origin", origin])).await;
    (child, address)
}

#[tokio::test]
async fn program_reports_stop_at_sigterm() {
    let (mut child, address) = program("http://x").await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request("/echo", "").as_bytes()).await.unwrap();
    let mut answer = vec![0; ACCEPTED.len()];
    within(socket.read_exact(&mut answer)).await.unwrap();
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
    let mut rest = Vec::new();
    within(socket.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, closing(1001));
    drop(socket);
    assert!(within(child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn program_names_an_address_that_is_taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_example-websocket"));
    let output = within(program.arg(&address).kill_on_drop(true).output()).await.unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("example-websocket: {address}: ")), "{said}");
}

#[tokio::test]
async fn python_websockets_receives_expected_messages() {
    if !programs::works(&["python3", "-c", "import websockets.asyncio.client"]) {
        return;
    }
    let (_child, address) = program("http://x").await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/websocket_client.py");
    let mut python = Command::new("python3");
    let python = python.args([script, &format!("ws://{address}")]).kill_on_drop(true).output();
    let output = within(python).await.unwrap();
    let (said, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(String::from_utf8_lossy(&said), "well\n", "{errors}");
}

#[tokio::test]
async fn chromium_receives_expected_messages() {
    if !programs::is_installed("chromium") {
        return;
    }
    let origin = format!("http://{}", page().await);
    let (_child, server) = program(&origin).await;
    let url = format!("ws://{server}");
    let mut browser = Browser::start().await;
    // `about:blank` has the origin `null`.
    let refused =
        browser.evaluate(&format!("{OPEN} open('{url}/echo').then(String, String)")).await;
    assert_eq!(refused, "closed 1006");
    browser.call("Page.navigate", json!({ "url": origin })).await;
    let script = format!("{OPEN} ({CHECKS})('{url}').then(() => 'well', String)");
    assert_eq!(browser.evaluate(&script).await, "well");
}

const OPEN: &str = "
    window.open = (url) => new Promise((opened, failed) => {
        const socket = new WebSocket(url);
        socket.binaryType = 'arraybuffer';
        socket.heard = [];
        socket.onmessage = (event) => {
            socket.heard.push(event.data);
            socket.hears?.();
        };
        socket.next = async () => {
            while (!socket.heard.length) await new Promise((done) => socket.hears = done);
            return socket.heard.shift();
        };
        socket.closed = new Promise((done) => socket.onclose = done);
        socket.onopen = () => opened(socket);
        socket.closed.then((event) => failed('closed ' + event.code));
    });";

const CHECKS: &str = "async (url) => {
    const check = (is_so, what) => { if (!is_so) throw 'not so: ' + what; };
    const socket = await open(url + '/echo');
    check(socket.extensions === '' && socket.protocol === '', 'nothing more was agreed on');
    for (const text of ['', 'hello', 'h\\u00e9llo \\u{1f600}', 'x'.repeat(200000)]) {
        socket.send(text);
        check(await socket.next() === text, text.length);
    }
    const bytes = new Uint8Array(300000).map((_, i) => i * i);
    socket.send(bytes);
    const back = new Uint8Array(await socket.next());
    check(back.length === bytes.length && back.every((byte, i) => byte === bytes[i]), 'bytes');
    socket.close(3001, 'enough');
    const { code, wasClean } = await socket.closed;
    check(code === 3001 && wasClean, 'close ' + code);

    const large = await open(url + '/echo');
    large.send('x'.repeat((1 << 20) + 1));
    const refused = await large.closed;
    check(refused.code === 1009 && refused.wasClean, 'too large ' + refused.code);

    const members = await Promise.all([1, 2, 3].map(() => open(url + '/broadcast')));
    for (const member of members) {
        member.send('here');
        for (const each of members) check(await each.next() === 'here', 'broadcast');
    }
}";

/// Serves an empty page on a port of its own.
async fn page() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut channel = Channel::new(socket, Terminator::blank_line());
            let _ = channel.next().await;
            channel.push("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = channel.close().await;
        }
    });
    address
}
