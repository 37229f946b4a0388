//! The example `http_server`: every route, every refusal, and how it stops.

#[path = "../examples/http_server/files.rs"]
mod files;
#[path = "../examples/common/http.rs"]
mod http;
mod programs;
#[allow(dead_code)] // Ctrl-C
#[path = "../examples/common/serve.rs"]
mod serve;
#[path = "../examples/http_server/server.rs"]
mod server;

use files::Files;
use futures::FutureExt;
use programs::within;
use server::Config;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

const MAX_BODY: u64 = 16 << 20;

fn config(root: Option<PathBuf>) -> Config {
    let files = root.map(|root| Files::new(&root).unwrap());
    Config { files, names: vec!["x".to_owned()], max_body: MAX_BODY, max_held: 0 }
}

/// A connection to the server without a socket.
struct Peer {
    io: DuplexStream,
    /// Tells the server to stop.
    stop: CancellationToken,
}

impl Peer {
    fn new(root: Option<PathBuf>) -> Self {
        Peer::with(config(root))
    }

    fn with(config: Config) -> Self {
        let (io, theirs) = duplex(64 * 1024);
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move { server::connection(theirs, config.into(), stopping).await });
        Peer { io, stop }
    }

    async fn send(&mut self, data: impl AsRef<[u8]>) {
        self.io.write_all(data.as_ref()).await.unwrap();
    }

    /// Reads exactly what is expected.
    #[track_caller]
    fn reads(&mut self, expected: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let mut got = vec![0; expected.len()];
            within(self.io.read_exact(&mut got)).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&got), expected, "{place}");
        }
    }

    /// Reads until the server closes.
    async fn reads_to_end(mut self) -> String {
        let mut got = String::new();
        within(self.io.read_to_string(&mut got)).await.unwrap();
        got
    }
}

/// Returns `true` if nothing comes, though the server is polled until it has nothing to do.
async fn is_silent(io: &mut DuplexStream) -> bool {
    for _ in 0..8 {
        yield_now().await;
    }
    io.read_u8().now_or_never().is_none()
}

/// Sends a request, or several, and reads until the server closes.
async fn talk(request: impl AsRef<[u8]>) -> String {
    let mut peer = Peer::new(None);
    peer.send(request).await;
    peer.reads_to_end().await
}

fn answer(status: &str, kind: &str, connection: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n{body}"
    )
}

fn page(connection: &str) -> String {
    answer("200 OK", HTML, connection, PAGE)
}

fn echo(connection: &str, body: &str) -> String {
    answer("200 OK", BINARY, connection, body)
}

fn refusal(status: &str) -> String {
    answer(status, TEXT, "close", status)
}

/// The head of an answer in the chunked coding.
fn chunked_head(kind: &str, connection: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\
         Connection: {connection}\r\n\r\n"
    )
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream\r\nX-Content-Type-Options: nosniff";
const PAGE: &str = "<!doctype html><title>asynchat</title><p>It works.\n";
const LINES: &str = "7\r\nline 1\n\r\n7\r\nline 2\n\r\n0\r\n\r\n";

#[tokio::test]
async fn page_is_answered_and_kept_alive_or_closed() {
    for (request, connection) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "keep-alive"),
        ("GET /?a=b HTTP/1.1\r\nhost:x\r\n\r\n", "keep-alive"),
        ("GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "keep-alive"),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", "keep-alive"),
        ("GET HTTP://[::1]:80?/a HTTP/1.1\r\nHost:\r\n\r\n", "keep-alive"),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", "keep-alive"),
        ("\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "keep-alive"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /", "keep-alive"),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive"),
        ("GET / HTTP/1.0\r\nConnection: foo, keep-alive\r\n\r\n", "keep-alive"),
        ("GET / HTTP/1.0\r\n\r\n", "close"),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", "close"),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", "close"),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo ,close\r\n\r\n", "close"),
    ] {
        let mut peer = Peer::new(None);
        peer.send(request).await;
        peer.reads(&page(connection)).await;
        if connection == "keep-alive" {
            peer.send("GET / HTTP/1.0\r\n\r\n").await;
            peer.reads(&page("close")).await;
        }
        assert_eq!(peer.reads_to_end().await, "", "{request}");
    }
}

#[tokio::test]
async fn hosts_of_others_are_misdirected() {
    for (line, host, status) in [
        ("GET / HTTP/1.1", "Host: localhost:8080", "200"),
        ("GET / HTTP/1.1", "Host: LocalHost.", "200"),
        ("GET / HTTP/1.1", "Host: 127.0.0.1:", "200"),
        ("GET / HTTP/1.1", "Host: 192.0.2.1:80", "200"),
        ("GET / HTTP/1.1", "Host: [::1]:8080", "200"),
        ("GET / HTTP/1.1", "Host: [2001:db8::1]", "200"),
        ("GET / HTTP/1.1", "Host: X:80", "200"),
        ("GET / HTTP/1.0", "Name: evil.example", "200"),
        ("GET / HTTP/1.0", "Host: evil.example", "421"),
        ("GET / HTTP/1.1", "Host: evil.example:8080", "421"),
        ("GET /files/a HTTP/1.1", "Host: evil.example", "421"),
        ("POST /echo HTTP/1.1", "Host: evil.example", "421"),
        ("GET / HTTP/1.1", "Host: x.evil.example", "421"),
        ("GET / HTTP/1.1", "Host: localhost.evil.example", "421"),
        ("GET / HTTP/1.1", "Host: 127.0.0.1.evil.example", "421"),
        ("GET / HTTP/1.1", "Host: 127.0.0.1,evil.example", "421"),
        ("GET / HTTP/1.1", "Host:", "421"),
        // The target has the last word.
        ("GET http://localhost/ HTTP/1.1", "Host: evil.example", "200"),
        ("GET http://evil.example/ HTTP/1.1", "Host: localhost", "421"),
        ("GET http://evil.example/ HTTP/1.0", "Name: localhost", "421"),
    ] {
        let got = talk(format!("{line}\r\n{host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(&got[9..12], status, "{line} {host}");
    }
}

#[tokio::test]
async fn echo_sends_back_while_it_arrives() {
    let mut peer = Peer::new(None);
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nabcd").await;
    peer.reads(echo("keep-alive", "abcdefgh").strip_suffix("efgh").unwrap()).await;
    peer.send("efgh").await;
    peer.reads("efgh").await;
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n6;a=b\r\nabc")
        .await;
    peer.reads(&chunked_head(BINARY, "keep-alive")).await;
    peer.reads("3\r\nabc\r\n").await;
    peer.send("def\r\n0A ;x=\"y\"\r\n0123456789\r\n").await;
    peer.reads("3\r\ndef\r\na\r\n0123456789\r\n").await;
    peer.send("000;last\r\nA: b\r\nC:\r\n\r\n").await;
    peer.reads("0\r\n\r\n").await;
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    peer.reads(&echo("keep-alive", "")).await;
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    peer.reads(&chunked_head(BINARY, "keep-alive")).await;
    peer.reads("0\r\n\r\n").await;
    peer.send("POST /echo HTTP/1.0\r\nContent-Length: 3\r\n\r\nend").await;
    assert_eq!(peer.reads_to_end().await, echo("close", "end"));
}

#[tokio::test]
async fn echo_answers_after_the_body_up_to_its_limit() {
    let mut peer = Peer::with(Config { max_held: 8, ..config(None) });
    let post = |fields| format!("POST /echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    for (request, last, answer) in [
        (post("Content-Length: 8") + "1234567", "8", echo("keep-alive", "12345678")),
        (
            post("Transfer-Encoding: chunked") + "4\r\n1234\r\n4\r\n5678\r\n",
            "0\r\n\r\n",
            chunked_head(BINARY, "keep-alive") + "8\r\n12345678\r\n0\r\n\r\n",
        ),
    ] {
        peer.send(request).await;
        assert!(is_silent(&mut peer.io).await, "{answer}");
        peer.send(last).await;
        peer.reads(&answer).await;
    }
    peer.send(post("Content-Length: 10") + "123456789").await;
    peer.reads(echo("keep-alive", "1234567890").strip_suffix("0").unwrap()).await;
    peer.send("0").await;
    peer.reads("0").await;
    // A mistake before has its own answer.
    peer.send(post("Transfer-Encoding: chunked") + "8\r\n12345678XX").await;
    assert_eq!(peer.reads_to_end().await, refusal("400 Bad Request"));
}

/// The client sends everything before it reads.
#[tokio::test]
async fn echo_is_unavailable_while_others_hold_the_memory() {
    let free = server::ROOM.available_permits();
    let held = Arc::clone(&server::ROOM).try_acquire_many_owned(free as u32).unwrap();
    let part = "x".repeat(100_000);
    for fields in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut peer = Peer::with(Config { max_held: 1 << 20, ..config(None) });
        peer.send(format!("POST /echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\nf4240\r\n")).await;
        for _ in 0..10 {
            within(peer.send(&part)).await;
        }
        assert_eq!(peer.reads_to_end().await, refusal("503 Service Unavailable"), "{fields}");
    }
    // A short one is answered.
    let mut peer = Peer::with(Config { max_held: 1 << 20, ..config(None) });
    let part = &part[..50_000];
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n";
    peer.send(format!("{head}{part}")).await;
    peer.reads(&echo("keep-alive", part)).await;
    drop(held);
}

// Slow peers; the clock runs ahead whenever everybody waits.

/// Sends these bytes one by one, with pauses, and then no more.
async fn trickles(peer: &mut Peer, data: &[u8], pause: Duration) {
    for byte in data {
        // The server may have gone.
        let _ = peer.io.write_all(&[*byte]).await;
        sleep(pause).await;
    }
}

/// Reads until the server closes, or far too much.
async fn rest(peer: &mut Peer) -> String {
    let mut got = Vec::new();
    (&mut peer.io).take(1 << 20).read_to_end(&mut got).await.unwrap();
    String::from_utf8(got).unwrap()
}

/// Whether about so much time has passed.
#[track_caller]
fn assert_took(begun: Instant, expected: Duration) {
    let took = begun.elapsed();
    assert!(took >= expected && took < expected + SECOND, "{took:?}, not {expected:?}");
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn trickled_head_is_answered_at_its_timeout() {
    for before in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut peer = Peer::new(None);
        peer.send(before).await;
        if !before.is_empty() {
            peer.reads(&page("keep-alive")).await;
            sleep(server::IDLE_TIME - SECOND).await;
        }
        let begun = Instant::now();
        trickles(&mut peer, b"GET / HTT", SECOND).await;
        let got = rest(&mut peer).await;
        assert_eq!(got, refusal("408 Request Timeout"));
        assert_took(begun, server::HEAD_TIME);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let begun = Instant::now();
    assert_eq!(rest(&mut Peer::new(None)).await, "", "nothing was asked");
    assert_took(begun, server::HEAD_TIME);
    let mut peer = Peer::new(None);
    for _ in 0..3 {
        peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        peer.reads(&page("keep-alive")).await;
        sleep(server::IDLE_TIME - SECOND).await;
    }
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await;
    peer.reads(&echo("keep-alive", "abc")).await;
    let begun = Instant::now();
    assert_eq!(rest(&mut peer).await, "");
    assert_took(begun, server::IDLE_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_slow_is_answered_or_cut_off() {
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\n";
    let late = || refusal("408 Request Timeout");
    for (request, answer, time) in [
        ("Content-Length: 8\r\n\r\n", late(), server::BODY_TIME),
        ("Transfer-Encoding: chunked\r\n\r\n", late(), server::BODY_TIME),
        ("Transfer-Encoding: chunked\r\n\r\n5", late(), server::BODY_TIME),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\n", late(), server::BODY_TIME),
        // The answer has begun: only the close can say that it is not whole. The length
        // that was announced earns no time.
        (
            "Content-Length: 1000000\r\n\r\nx",
            echo("keep-alive", "x").replace("Length: 1\r", "Length: 1000000\r"),
            server::BODY_TIME,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
            chunked_head(BINARY, "keep-alive") + "3\r\nabc\r\n",
            server::BODY_TIME,
        ),
    ] {
        let mut peer = Peer::new(None);
        let begun = Instant::now();
        peer.send(format!("{post}{request}")).await;
        assert_eq!(rest(&mut peer).await, answer, "{request}");
        assert_took(begun, time);
    }
}

#[tokio::test(start_paused = true)]
async fn trickled_body_has_same_time_as_stopped_one() {
    let mut peer = Peer::new(None);
    let begun = Instant::now();
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n").await;
    trickles(&mut peer, &[b'x'; 20], SECOND).await;
    let got = rest(&mut peer).await;
    assert!(got.ends_with(&format!("\r\n\r\n{}", "x".repeat(20))), "{got}");
    assert_took(begun, server::BODY_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_body_in_small_chunks_has_no_more_time() {
    for chunk in ["1\r\nx\r\n", "1;a=b\r\nx\r\n"] {
        let mut peer = Peer::new(None);
        let begun = Instant::now();
        peer.send("POST /missing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..5 {
            sleep(4 * SECOND - SECOND / 10).await;
            peer.send(chunk).await;
        }
        rest(&mut peer).await;
        assert_took(begun, server::BODY_TIME);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_begins_late_has_no_more_time() {
    let mut peer = Peer::new(None);
    let begun = Instant::now();
    peer.send("POST /missing HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741\r\n\r\n").await;
    sleep(server::BODY_TIME - SECOND).await;
    peer.send("x").await;
    rest(&mut peer).await;
    assert_took(begun, server::BODY_TIME);
}

#[tokio::test(start_paused = true)]
async fn body_that_came_at_once_has_no_time_to_be_silent() {
    let sizes = [("Content-Length: 1000001", ""), ("Transfer-Encoding: chunked", "f4241\r\n")];
    for (fields, size) in sizes {
        let mut peer = Peer::new(None);
        let begun = Instant::now();
        peer.send(format!("POST /missing HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{size}")).await;
        peer.send("x".repeat(1_000_000)).await;
        rest(&mut peer).await;
        assert_took(begun, server::BODY_TIME);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_body_may_take_its_time() {
    let mut peer = Peer::new(None);
    let (length, rate) = (60_000, 500);
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    peer.send(head).await;
    for _ in 0..length / rate {
        peer.send(vec![b'x'; rate]).await;
        sleep(SECOND).await;
    }
    peer.reads(&echo("keep-alive", &"x".repeat(length))).await;
}

#[tokio::test(start_paused = true)]
async fn stalled_reader_is_dropped_and_slow_one_is_served() {
    let mut peer = Peer::new(None);
    peer.send("GET /stream?n=1000000000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for _ in 0..10 {
        sleep(server::WRITE_TIME - SECOND).await;
        peer.io.read_exact(&mut [0; 10_000]).await.unwrap();
    }
    sleep(server::WRITE_TIME + SECOND).await;
    // What was on its way, and then the end.
    let left = rest(&mut peer).await;
    assert!(left.len() <= 64 * 1024 && !left.ends_with("0\r\n\r\n"), "{}", left.len());
}

#[tokio::test]
async fn stream_sends_lines() {
    let mut peer = Peer::new(None);
    peer.send("GET /stream?n=2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    peer.reads(&(chunked_head(TEXT, "keep-alive") + LINES)).await;
    peer.send("GET /stream?n=0 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    peer.reads(&(chunked_head(TEXT, "keep-alive") + "0\r\n\r\n")).await;
    // Only the close ends it for HTTP/1.0, whatever the peer would like.
    peer.send("GET /stream?n=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {TEXT}\r\nConnection: close\r\n\r\n");
    assert_eq!(peer.reads_to_end().await, head + "line 1\nline 2\n");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn pipelined_files_are_open_one_at_a_time() {
    let (_outside, root) = served();
    let file = root.join("large").canonicalize().unwrap_or(root.join("large"));
    std::fs::write(&file, vec![b'x'; 1 << 20]).unwrap();
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = descriptors.filter_map(|entry| entry.unwrap().path().read_link().ok());
        targets.filter(|target| *target == file).count()
    };
    let mut peer = Peer::new(Some(root));
    peer.send("GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100)).await;
    for _ in 0..3 {
        let mut body = vec![0; (1 << 20) + 200];
        within(peer.io.read_exact(&mut body)).await.unwrap();
        assert!(open() <= 2, "{} are open", open());
    }
}

/// A directory to serve, and beside it a file not to serve.
fn served() -> (tempfile::TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    for (name, text) in [
        ("root/a.txt", "text of a\n"),
        ("root/empty", ""),
        ("root/sub/b.txt", "text of b\n"),
        ("root/%41", "percent\n"),
        ("secret", "secret\n"),
    ] {
        std::fs::write(outside.path().join(name), text).unwrap();
    }
    (outside, root)
}

#[tokio::test]
async fn files_are_sent() {
    let (_outside, root) = served();
    let mut peer = Peer::new(Some(root));
    for (name, text) in [
        ("a.txt", "text of a\n"),
        ("empty", ""),
        ("sub/b.txt", "text of b\n"),
        ("%41", "percent\n"),
        ("a.txt?query", "text of a\n"),
    ] {
        peer.send(format!("GET /files/{name} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        peer.reads(&answer("200 OK", BINARY, "keep-alive", text)).await;
    }
}

#[tokio::test]
async fn files_outside_the_root_are_not_found() {
    let (outside, root) = served();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("dir")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("relative")).unwrap();
        std::os::unix::fs::symlink("link", root.join("loop")).unwrap();
        // Neither waits for its other end.
        assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
        std::mem::forget(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    }
    let absolute = outside.path().join("secret");
    let mut peer = Peer::new(Some(root.clone()));
    for name in [
        "",
        ".",
        "..",
        "../secret",
        "sub/../../secret",
        "sub/../a.txt",
        "..%2fsecret",
        "%2e%2e/secret",
        "..\\secret",
        "link",
        "dir/secret",
        "relative",
        "loop",
        "pipe",
        "socket",
        "a.txt/b",
        "/secret",
        absolute.to_str().unwrap(),
        root.join("a.txt").to_str().unwrap(),
        "sub",
        "sub/",
        "a.txt/",
        "missing",
        "A",
    ] {
        peer.send(format!("GET /files/{name} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let not_found = answer("404 Not Found", TEXT, "keep-alive", "404 Not Found");
        peer.reads(&not_found).await;
    }
    let mut rootless = Peer::new(None);
    rootless.send("GET /files/a.txt HTTP/1.0\r\n\r\n").await;
    assert_eq!(rootless.reads_to_end().await, refusal("404 Not Found"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_among_the_files_is_not_opened() {
    use rustix::fs::inotify;
    let (_outside, root) = served();
    let pipe = root.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let opened = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&opened, &pipe, inotify::WatchFlags::OPEN).unwrap();
    let mut peer = Peer::new(Some(root));
    peer.send("GET /files/pipe HTTP/1.0\r\n\r\n").await;
    assert_eq!(peer.reads_to_end().await, refusal("404 Not Found"));
    let event = rustix::io::read(&opened, &mut [0; 64]);
    assert_eq!(event, Err(rustix::io::Errno::AGAIN));
}

#[tokio::test(start_paused = true)]
async fn files_are_unavailable_while_all_calls_hang() {
    let (_outside, root) = served();
    let config = config(Some(root));
    let turns = &config.files.as_ref().unwrap().turns;
    let mut hung = vec![];
    for _ in 0..files::MAX_CALLS {
        let (release, released) = std::sync::mpsc::channel::<()>();
        hung.push(release);
        let call = tokio::spawn(files::in_turn(Arc::clone(turns), move || released.recv()));
        yield_now().await;
        // Nobody waits for it any more.
        call.abort();
    }
    assert_eq!(turns.available_permits(), 0);
    let mut peer = Peer::with(config);
    let request = "GET /files/a.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    peer.send(request).await;
    assert!(is_silent(&mut peer.io).await);
    advance(files::OPEN_TIME).await;
    let unavailable = "503 Service Unavailable";
    peer.reads(&answer(unavailable, TEXT, "keep-alive", unavailable)).await;
    peer.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    peer.reads(&page("keep-alive")).await;
    drop(hung);
    tokio::time::resume();
    peer.send(request).await;
    peer.reads(&answer("200 OK", BINARY, "keep-alive", "text of a\n")).await;
}

#[tokio::test]
async fn file_body_has_announced_length() {
    let (_outside, root) = served();
    let large = vec![b'x'; 4 << 20];
    let file = root.join("large");
    for new_length in [0, 1 << 20, 8 << 20] {
        std::fs::write(&file, &large).unwrap();
        let mut peer = Peer::new(Some(root.clone()));
        peer.send("GET /files/large HTTP/1.1\r\nHost: x\r\n\r\n").await;
        // Two requests: if the file gets shorter, the second must not be answered.
        peer.send("GET / HTTP/1.0\r\n\r\n").await;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {BINARY}\r\nContent-Length: {}\r\n\
             Connection: keep-alive\r\n\r\n",
            large.len()
        );
        peer.reads(&head).await;
        // The server waits for us to read: most of the file is still unread.
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(new_length).unwrap();
        let rest = peer.reads_to_end().await;
        if new_length < large.len() as u64 {
            assert!(rest.len() < large.len(), "{new_length}");
            assert!(rest.bytes().all(|byte| byte == b'x'), "{new_length}");
        } else {
            let (body, next) = rest.split_at(large.len());
            assert!(body.bytes().all(|byte| byte == b'x'));
            assert_eq!(next, page("close"));
        }
    }
}

#[tokio::test]
async fn head_has_the_same_head_and_no_body() {
    let (_outside, root) = served();
    for (path, get) in [
        ("/", page("keep-alive")),
        ("/stream?n=2", chunked_head(TEXT, "keep-alive") + LINES),
        ("/files/a.txt", echo("keep-alive", "text of a\n")),
        ("/files/missing", answer("404 Not Found", TEXT, "keep-alive", "404 Not Found")),
        ("/missing", answer("404 Not Found", TEXT, "keep-alive", "404 Not Found")),
    ] {
        let (head, _body) = get.split_at(get.find("\r\n\r\n").unwrap() + 4);
        let mut peer = Peer::new(Some(root.clone()));
        peer.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        peer.reads(&get).await;
        peer.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        peer.reads(head).await;
        peer.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(peer.reads_to_end().await, page("close"), "{path}");
    }
    for request in ["HEAD / HTTP/1.1\r\n\r\n", "HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let answer = talk(request).await;
        assert!(answer.starts_with("HTTP/1.1 40") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (mut requests, mut answers) = (String::new(), String::new());
    for i in 0..4 {
        requests += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        answers += &page("keep-alive");
        requests += "GET /stream?n=2 HTTP/1.1\r\nHost: x\r\n\r\n";
        answers += &(chunked_head(TEXT, "keep-alive") + LINES);
        requests += "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nbody";
        requests += &i.to_string();
        answers += &echo("keep-alive", &format!("body{i}"));
        requests += "GET /missing HTTP/1.1\r\nHost: x\r\n";
        requests += if i == 3 { "Connection: close\r\n\r\n" } else { "\r\n" };
        let last = if i == 3 { "close" } else { "keep-alive" };
        answers += &answer("404 Not Found", TEXT, last, "404 Not Found");
    }
    // Nothing behind a close is answered.
    requests += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(talk(requests).await, answers);
}

#[tokio::test]
async fn split_anywhere_it_means_the_same() {
    let session = "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody\
        POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        2;ext=1\r\n\r\n\r\nA\r\n0\r\n\r\n56789\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n\
        POST /missing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        HEAD / HTTP/1.1\r\nHost: x\r\n\r\n\
        GET /stream?n=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let expected = [
        page("keep-alive"),
        echo("keep-alive", "body"),
        chunked_head(BINARY, "keep-alive") + "\r\n0\r\n\r\n56789",
        answer("404 Not Found", TEXT, "keep-alive", "404 Not Found"),
        page("keep-alive").replace(PAGE, ""),
        chunked_head(TEXT, "close") + "line 1\nline 2\n",
    ];
    for at in 0..session.len() {
        let mut peer = Peer::new(None);
        peer.send(&session[..at]).await;
        // The server is polled until it has nothing left to do.
        for _ in 0..8 {
            yield_now().await;
        }
        peer.send(&session[at..]).await;
        assert_eq!(unchunked(&peer.reads_to_end().await), expected.concat(), "split at {at}");
    }
    let mut peer = Peer::new(None);
    for byte in session.bytes() {
        peer.send([byte]).await;
        yield_now().await;
    }
    assert_eq!(unchunked(&peer.reads_to_end().await), expected.concat(), "byte by byte");
}

/// Several answers, those in the chunked coding without it.
fn unchunked(mut answers: &str) -> String {
    let mut out = String::new();
    while let Some(at) = answers.find("chunked\r\n") {
        let (head, mut body) = answers.split_at(at + answers[at..].find("\r\n\r\n").unwrap() + 4);
        out += head;
        loop {
            let (size, rest) = body.split_once("\r\n").unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let (data, rest) = rest.split_at(size);
            out += data;
            body = rest.strip_prefix("\r\n").unwrap();
            if size == 0 {
                break;
            }
        }
        answers = body;
    }
    out + answers
}

#[tokio::test]
async fn expect_continue_is_answered_if_the_body_is_wanted() {
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\n";
    let mut peer = Peer::new(None);
    peer.send(format!("{head}Content-Length: 4\r\n\r\n")).await;
    peer.reads("HTTP/1.1 100 Continue\r\n\r\n").await;
    peer.send("body").await;
    peer.reads(&echo("keep-alive", "body")).await;
    peer.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    peer.reads("HTTP/1.1 100 Continue\r\n\r\n").await;
    peer.send("4\r\nbody\r\n0\r\n\r\n").await;
    peer.reads(&(chunked_head(BINARY, "keep-alive") + "4\r\nbody\r\n0\r\n\r\n")).await;
    // No body, nothing to go on with.
    peer.send(format!("{head}Content-Length: 0\r\n\r\n")).await;
    peer.reads(&echo("keep-alive", "")).await;
    // HTTP/1.0 does not know it.
    peer.send(head.replace("1.1", "1.0") + "Content-Length: 4\r\n\r\nbody").await;
    assert_eq!(peer.reads_to_end().await, echo("close", "body"));

    for (name, request, expected) in [
        ("too large", format!("{head}Content-Length: 99999999\r\n\r\n"), "413 Content Too Large"),
        (
            "unknown path",
            head.replace("/echo", "/x") + "Content-Length: 4\r\n\r\n",
            "404 Not Found",
        ),
        ("another", head.replace("100", "200") + "\r\n", "417 Expectation Failed"),
        ("two", format!("{head}Expect: 200-ok\r\n\r\n"), "417 Expectation Failed"),
    ] {
        assert_eq!(talk(request).await, refusal(expected), "{name}");
    }
    let unwanted = "GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(talk(unwanted).await, page("close"));
}

/// Each gets exactly one answer, and then the close, though the peer has not
/// closed and a whole request stands behind the bad one.
#[tokio::test]
async fn bad_heads_are_refused() {
    let with = |fields: &str| format!("POST /echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    let get = |line: &str| format!("{line}\r\nHost: x\r\n\r\n");
    let long = |n: usize| with(&format!("A: {}", "a".repeat(n)));
    let many = |n: usize| with(&vec!["A: b"; n].join("\r\n"));
    let bad = "400 Bad Request";
    let table = [
        ("no request", "hello\r\n\r\n".into(), bad),
        ("two empty lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), bad),
        ("no version", get("GET /"), bad),
        ("no target", get("GET HTTP/1.1"), bad),
        ("two spaces", get("GET  / HTTP/1.1"), bad),
        ("a space in the target", get("GET /a b HTTP/1.1"), bad),
        ("a space at the end", get("GET / HTTP/1.1 "), bad),
        ("a space in front", get(" GET / HTTP/1.1"), bad),
        ("a tab", get("GET\t/ HTTP/1.1"), bad),
        ("no method", get(" / HTTP/1.1"), bad),
        ("a control character", get("GET /\x01 HTTP/1.1"), bad),
        ("a method that is no token", get("G(T / HTTP/1.1"), bad),
        ("another protocol", get("GET / FTP/1.1"), bad),
        ("a lower-case protocol", get("GET / http/1.1"), bad),
        ("no minor version", get("GET / HTTP/1"), bad),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".into(), bad),
        ("two Hosts", with("Host: x"), bad),
        ("a bare LF in the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n".into(), bad),
        ("only bare LFs", "GET / HTTP/1.1\nHost: x\n\n".into(), bad),
        ("a bare LF before the blank line", "GET / HTTP/1.1\r\nHost: x\n\r\n".into(), bad),
        ("a bare LF as the blank line", "GET / HTTP/1.1\r\nHost: x\r\n\n".into(), bad),
        ("a bare LF between fields", with("A: b\nC: d"), bad),
        ("a bare CR", with("A: b\rC: d"), bad),
        ("CR CR LF", with("A: b\r\r\nC: d"), bad),
        ("a NUL in a value", with("A: b\0"), bad),
        ("a NUL in a name", with("A\0: b"), bad),
        ("a space before the colon", with("A : b"), bad),
        ("a tab before the colon", with("A\t: b"), bad),
        ("a folded line", with("A: b\r\n c"), bad),
        ("a folded first line", "GET / HTTP/1.1\r\n Host: x\r\n\r\n".into(), bad),
        ("no colon", with("A"), bad),
        ("no field name", with(": b"), bad),
        ("two lengths that differ", with("Content-Length: 1\r\nContent-Length: 2"), bad),
        ("two lengths alike", with("Content-Length: 1\r\nContent-Length: 1"), bad),
        ("a list of lengths", with("Content-Length: 1, 1"), bad),
        ("no length", with("Content-Length:"), bad),
        ("a length with plus", with("Content-Length: +1"), bad),
        ("a negative length", with("Content-Length: -1"), bad),
        ("a hexadecimal length", with("Content-Length: 0x1"), bad),
        ("a length with garbage", with("Content-Length: 1a"), bad),
        ("a length of Arabic digits", with("Content-Length: \u{661}"), bad),
        ("a length past 64 bits", with("Content-Length: 18446744073709551616"), bad),
        ("length and coding", with("Content-Length: 1\r\nTransfer-Encoding: chunked"), bad),
        ("coding and length", with("Transfer-Encoding: chunked\r\nContent-Length: 1"), bad),
        (
            "chunked in two fields",
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            bad,
        ),
        (
            "chunked in HTTP/1.0",
            "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            bad,
        ),
        ("no number of lines", get("GET /stream HTTP/1.1"), bad),
        ("a bad number of lines", get("GET /stream?n=-1 HTTP/1.1"), bad),
        ("a POST to the page", get("POST / HTTP/1.1"), "405 Method Not Allowed"),
        ("a DELETE of the stream", get("DELETE /stream HTTP/1.1"), "405 Method Not Allowed"),
        ("a PUT of a file", get("PUT /files/a HTTP/1.1"), "405 Method Not Allowed"),
        ("a GET of the echo", get("GET /echo HTTP/1.1"), "405 Method Not Allowed"),
        ("a body too large", with("Content-Length: 16777217"), "413 Content Too Large"),
        (
            "a body far too large",
            with("Content-Length: 18446744073709551615"),
            "413 Content Too Large",
        ),
        (
            "a body too large for a page",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n".into(),
            "413 Content Too Large",
        ),
        ("a head over 64 KiB", long(64 * 1024), "431 Request Header Fields Too Large"),
        ("65 fields", many(64), "431 Request Header Fields Too Large"),
        ("an unknown coding", with("Transfer-Encoding: gzip"), bad),
        ("two codings", with("Transfer-Encoding: gzip, chunked"), "501 Not Implemented"),
        ("chunked not last", with("Transfer-Encoding: chunked, identity"), bad),
        ("chunked twice", with("Transfer-Encoding: chunked, chunked"), bad),
        ("almost chunked", with("Transfer-Encoding: xchunked"), bad),
        ("chunked with a vertical tab", with("Transfer-Encoding: \u{b}chunked"), bad),
        ("no coding", with("Transfer-Encoding:"), bad),
        ("an unknown method", get("BREW / HTTP/1.1"), "501 Not Implemented"),
        ("a lower-case method", get("get / HTTP/1.1"), "501 Not Implemented"),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\n".into(), "505 HTTP Version Not Supported"),
        ("HTTP/3", get("GET / HTTP/3.0"), "505 HTTP Version Not Supported"),
        ("HTTP/0.9", get("GET / HTTP/0.9"), "505 HTTP Version Not Supported"),
    ];
    for (name, request, status) in table {
        let mut expected = refusal(status);
        if status.starts_with("405") {
            let allow = if request.contains("/echo") { "POST" } else { "GET, HEAD" };
            let fields = format!("{status}\r\nAllow: {allow}\r\n");
            expected = expected.replacen(&format!("{status}\r\n"), &fields, 1);
        }
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(talk(request + smuggled).await, expected, "{name}");
    }
    // The limits themselves are within them.
    let fits = 64 * 1024 - (long(0).len() - 4);
    for request in [long(fits), many(63)] {
        let mut peer = Peer::new(None);
        peer.send(request).await;
        peer.reads(&echo("keep-alive", "")).await;
    }
}

#[tokio::test]
async fn bad_chunks_are_refused() {
    let bad = "400 Bad Request";
    let long = |n: usize| format!("1;{}\r\nx\r\n", "a".repeat(n));
    let trailers = |n: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(n));
    for (name, body, status) in [
        ("no size", "\r\n".to_owned(), bad),
        ("only an extension", ";a=b\r\n".into(), bad),
        ("a size with plus", "+5\r\nhello\r\n".into(), bad),
        ("a negative size", "-5\r\nhello\r\n".into(), bad),
        ("a size with 0x", "0x5\r\nhello\r\n".into(), bad),
        ("a size that is none", "g\r\nhello\r\n".into(), bad),
        ("a space before the size", " 5\r\nhello\r\n".into(), bad),
        ("a space behind the size", "5 \r\nhello\r\n".into(), bad),
        ("an underscore", "1_0\r\n".into(), bad),
        ("a size past 64 bits", "10000000000000005\r\nhello\r\n".into(), bad),
        ("a size too large", "1000001\r\n".into(), "413 Content Too Large"),
        ("a size of 64 bits", "FFFFFFFFFFFFFFFF\r\n".into(), "413 Content Too Large"),
        ("a bare LF", "5\nhello\r\n".into(), bad),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n".into(), bad),
        ("a bare CR in an extension", "5;a\rb\r\nhello\r\n".into(), bad),
        ("a line too long", long(1024), bad),
        ("a trailer without a colon", "0\r\nA\r\n\r\n".into(), bad),
        ("a trailer without a name", "0\r\n: b\r\n\r\n".into(), bad),
        ("a space before the colon", "0\r\nA : b\r\n\r\n".into(), bad),
        ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n".into(), bad),
        ("a bare LF in a trailer", "0\r\nA: b\nC: d\r\n\r\n".into(), bad),
        ("a bare CR in a trailer", "0\r\nA: b\rC: d\r\n\r\n".into(), bad),
        (
            "a trailer too long",
            format!("0\r\nA: {}\r\n\r\n", "a".repeat(1024)),
            "431 Request Header Fields Too Large",
        ),
        ("65 trailers", trailers(65), "431 Request Header Fields Too Large"),
    ] {
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = format!("{head}{body}{smuggled}");
        assert_eq!(talk(request).await, refusal(status), "{name}");
        // If an answer has begun, there is none but the close.
        let late = format!("{head}3\r\nabc\r\n{body}{smuggled}");
        let begun = chunked_head(BINARY, "keep-alive") + "3\r\nabc\r\n";
        assert_eq!(talk(late).await, begun, "{name}, late");
        let skipped = format!("{head}{body}{smuggled}").replace("POST /echo", "GET /");
        assert_eq!(talk(skipped).await, page("keep-alive"), "{name}, skipped");
    }
    // A bare LF is refused at once, whatever follows.
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["5\n", "0\r\n\n", "0\r\nA: b\n"] {
        assert_eq!(talk(format!("{head}{body}")).await, refusal(bad), "{body:?}");
    }
    for end in ["XX", "\n\n", "\r\r", "\nX", "4\r\n"] {
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let begun = chunked_head(BINARY, "keep-alive") + "3\r\nabc\r\n";
        assert_eq!(talk(format!("{head}3\r\nabc{end}")).await, begun, "{end:?} behind a chunk");
    }
    for body in [long(1021), trailers(64)] {
        let head = "POST /missing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let last = if body.starts_with('0') { "" } else { "0\r\n\r\n" };
        let answers = talk(format!("{head}{body}{last}GET / HTTP/1.0\r\n\r\n")).await;
        let not_found = answer("404 Not Found", TEXT, "keep-alive", "404 Not Found");
        assert_eq!(answers, not_found + &page("close"));
    }
}

/// What looks like a request in a body never is one.
#[tokio::test]
async fn unread_bodies_do_not_run_as_requests() {
    let smuggled = "GET /stream?n=2 HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = smuggled.len();
    let not_found = answer("404 Not Found", TEXT, "keep-alive", "404 Not Found");
    for (first, expected) in [
        ("GET / HTTP/1.1", page("keep-alive") + &page("close")),
        ("GET / HTTP/1.0", page("close")),
        ("POST /missing HTTP/1.1", not_found + &page("close")),
        ("PUT / HTTP/1.1", refusal("405 Method Not Allowed").replacen("d\r\n", ALLOW, 1)),
        ("BREW / HTTP/1.1", refusal("501 Not Implemented")),
    ] {
        let by_length = format!("Content-Length: {length}\r\n\r\n{smuggled}");
        let in_chunks =
            format!("Transfer-Encoding: chunked\r\n\r\n{length:X}\r\n{smuggled}\r\n0\r\n\r\n");
        for body in [by_length, in_chunks] {
            if first.ends_with("1.0") && body.starts_with('T') {
                continue;
            }
            let request = format!("{first}\r\nHost: x\r\n{body}GET / HTTP/1.0\r\n\r\n");
            assert_eq!(talk(request).await, expected, "{first}");
        }
    }
}

const ALLOW: &str = "d\r\nAllow: GET, HEAD\r\n";

#[tokio::test]
async fn input_that_ends_too_early_is_refused() {
    for (name, request, expected) in [
        ("nothing", "", String::new()),
        ("half a head", "GET / HTTP/1.1\r\nHost: x\r\n", refusal("400 Bad Request")),
        (
            "no byte of a body",
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n",
            refusal("400 Bad Request"),
        ),
        (
            "half a body",
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo",
            echo("keep-alive", "body").replace("body", "bo"),
        ),
        (
            "no last chunk",
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n",
            chunked_head(BINARY, "keep-alive") + "2\r\nbo\r\n",
        ),
        (
            "half a size",
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2",
            refusal("400 Bad Request"),
        ),
    ] {
        let mut peer = Peer::new(None);
        peer.send(request).await;
        peer.io.shutdown().await.unwrap();
        assert_eq!(peer.reads_to_end().await, expected, "{name}");
    }
    // A peer that has only ended its side gets all its answers.
    let mut peer = Peer::new(None);
    peer.send("GET /stream?n=2 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    peer.io.shutdown().await.unwrap();
    assert_eq!(peer.reads_to_end().await, chunked_head(TEXT, "keep-alive") + LINES);
}

/// The clock stands still: it moves on only when nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_not_read() {
    let mut peer = Peer::new(None);
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n").await;
    let mut taken = 0;
    let block = [b'x'; 1000];
    while timeout(Duration::from_secs(1), peer.send(block)).await.is_ok() {
        taken += block.len();
    }
    assert!(taken < 512 * 1024, "{taken} bytes were taken and not sent back");
}

#[tokio::test]
async fn a_body_over_the_limit_in_chunks_is_cut_off() {
    let mut peer = Peer::new(None);
    peer.send("POST /missing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let not_found = answer("404 Not Found", TEXT, "keep-alive", "404 Not Found");
    peer.reads(&not_found).await;
    let chunk = [&b"100000\r\n"[..], &vec![b'x'; 0x10_0000], b"\r\n"].concat();
    for _ in 0..16 {
        peer.send(&chunk).await;
    }
    peer.send("1\r\n").await;
    assert_eq!(peer.reads_to_end().await, "");
}

/// The server itself, on a socket.
struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(root: Option<PathBuf>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(server::serve(listener, config(root), stop.clone()));
        Server { address, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

#[tokio::test]
async fn a_large_body_is_sent_and_received_at_the_same_time() {
    let server = Server::start(None).await;
    let body: Vec<u8> = (0..8u32 << 18).flat_map(u32::to_le_bytes).collect();
    let (mut reader, mut writer) = server.connect().await.into_split();
    let sent = body.clone();
    let writing = tokio::spawn(async move {
        let head =
            format!("POST /echo HTTP/1.0\r\nContent-Length: {}\r\n\r\n", sent.len()).into_bytes();
        writer.write_all(&head).await.unwrap();
        writer.write_all(&sent).await.unwrap();
        writer
    });
    let mut got = Vec::new();
    within(reader.read_to_end(&mut got)).await.unwrap();
    writing.await.unwrap();
    assert!(got.ends_with(&body));
    assert_eq!(body.len(), 8 << 20);
    assert_eq!(&got[..17], b"HTTP/1.1 200 OK\r\n");
}

#[tokio::test]
async fn an_error_arrives_though_the_peer_is_still_sending() {
    let server = Server::start(None).await;
    let mut socket = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 256 * 1024]).await.unwrap();
    let mut got = String::new();
    within(socket.read_to_string(&mut got)).await.unwrap();
    assert_eq!(got, refusal("413 Content Too Large"));
}

#[tokio::test]
async fn stop_finishes_begun_requests() {
    let server = Server::start(None).await;
    let page = page("keep-alive");
    let mut answer = vec![0; page.len()];

    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    idle.read_exact(&mut answer).await.unwrap();

    let mut fresh = server.connect().await;

    let mut sending = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n";
    sending.write_all(format!("{head}half").as_bytes()).await.unwrap();
    let begun = echo("keep-alive", "halfhalf");
    let mut half = vec![0; begun.len() - 4];
    sending.read_exact(&mut half).await.unwrap();

    let mut reading = server.connect().await;
    reading.write_all(b"GET /stream?n=300000 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    reading.read_exact(&mut [0; 100]).await.unwrap();

    // The second of these is in the middle of its head.
    let mut asking = server.connect().await;
    asking.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n").await.unwrap();
    asking.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), page);

    server.stop.cancel();
    let mut rest = String::new();
    within(idle.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "");
    // By now nobody listens any more.
    TcpStream::connect(server.address).await.unwrap_err();
    within(fresh.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "");

    sending.write_all(b"half").await.unwrap();
    within(sending.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(String::from_utf8(half).unwrap() + &rest, begun);

    rest.clear();
    within(reading.read_to_string(&mut rest)).await.unwrap();
    assert!(rest.ends_with("line 300000\n\r\n0\r\n\r\n"));

    rest.clear();
    asking.write_all(b"Host: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    within(asking.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, page.replace("keep-alive", "close"));

    drop((idle, fresh, sending, reading, asking));
    within(server.served).await.unwrap();
}

/// The clock stands still: it moves on only when nothing else can happen.
#[tokio::test(start_paused = true)]
async fn stop_ends_after_deadline() {
    let mut peer = Peer::new(None);
    peer.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf").await;
    peer.reads(echo("keep-alive", "halfhalf").strip_suffix("half").unwrap()).await;
    peer.stop.cancel();
    assert_eq!(peer.reads_to_end().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_along_with_it() {
    let (outside, root) = served();
    if !programs::is_installed("curl") {
        return;
    }
    let body: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    let upload = outside.path().join("upload");
    std::fs::write(&upload, &body).unwrap();
    let upload = format!("@{}", upload.display());
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    let server = Server::start(Some(root)).await;
    let url = |path: &str| format!("http://{}{path}", server.address);
    let post = ["--data-binary", &upload, &url("/echo")];
    let not_found = "404 Not Found".as_bytes();

    for (name, options, expected) in [
        ("page", vec![&*url("/")], PAGE.as_bytes()),
        ("page for HTTP/1.0", vec!["-0", &*url("/")], PAGE.as_bytes()),
        ("two pages", vec![&*url("/"), &*url("/")], PAGE.repeat(2).as_bytes()),
        ("stream", vec![&*url("/stream?n=2")], b"line 1\nline 2\n"),
        ("stream for HTTP/1.0", vec!["-0", &*url("/stream?n=2")], b"line 1\nline 2\n"),
        ("file", vec![&*url("/files/a.txt")], b"text of a\n"),
        ("not found", vec!["--path-as-is", &*url("/files/../../secret")], not_found),
        ("echo", post.to_vec(), &body),
        ("echo for HTTP/1.0", [&["-0"], &post[..]].concat(), &body),
        ("echo in chunks", [&chunked, &post[..]].concat(), &body),
        ("echo when told", [&["-H", "Expect: 100-continue"], &post[..]].concat(), &body),
    ] {
        let got = curl(&options).await;
        assert!(got == expected, "{name}: {} bytes", got.len());
    }
    let head = String::from_utf8(curl(&["-I", &url("/files/a.txt")]).await).unwrap();
    let get = echo("keep-alive", "text of a\n");
    assert_eq!(head, get.strip_suffix("text of a\n").unwrap());
}

/// Returns the output of curl, which must succeed.
async fn curl(options: &[&str]) -> Vec<u8> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]).args(options);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
