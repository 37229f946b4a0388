//! The example `http_server` beside hyper, each on one thread, and the load on
//! another.

use crate::measure::{Contest, Outcome, Unit, median, time};
use crate::server::{self, Config};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

const PAGE: &str = "<!doctype html><title>asynchat</title><p>It works.\n";

/// A server on a thread of its own, for good.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where the system tells how long the thread has run.
    schedstat: PathBuf,
    /// Nanoseconds of it for each request or message, in each round.
    pub(crate) cpu: RefCell<Vec<f64>>,
}

pub(crate) fn start<F: Future<Output = ()>>(
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> Server {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let thread = std::fs::read_link("/proc/thread-self").expect("a Linux");
            let address = listener.local_addr().expect("it is bound");
            let schedstat = PathBuf::from("/proc").join(thread).join("schedstat");
            let server = Server { address, schedstat, cpu: RefCell::default() };
            tell.send(server).expect("somebody waits");
            serve(listener).await;
        });
    });
    told.recv().expect("it has started")
}

async fn serve_ours(listener: TcpListener) {
    let config = Config { files: None, names: Vec::new(), max_body: 1 << 20, max_held: 256 << 10 };
    server::serve(listener, config, CancellationToken::new()).await;
}

async fn serve_hyper(listener: TcpListener) {
    let answer = |_: Request<hyper::body::Incoming>| async {
        let mut answer = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        answer.headers_mut().insert(CONTENT_TYPE, html);
        // As the other says it.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
        Ok::<_, Infallible>(answer)
    };
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let mut http = hyper::server::conn::http1::Builder::new();
        // The other has no date, and gathers the answers to a pipeline.
        http.auto_date_header(false).pipeline_flush(true);
        let connection = http.serve_connection(TokioIo::new(socket), service_fn(answer));
        tokio::spawn(async { drop(connection.await) });
    }
}

/// No more than the kernel must be asked for: so many answers in one write as there
/// are requests in what was read.
async fn serve_by_hand(listener: TcpListener) {
    loop {
        let Ok((mut socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let answers = ANSWER.repeat(2 * 16);
        tokio::spawn(async move {
            let (mut buffer, mut held) = (vec![0; 8 * 1024], 0);
            while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                held += read;
                let count = held / REQUEST.len();
                held %= REQUEST.len();
                if socket.write_all(&answers[..count * ANSWER.len()]).await.is_err() {
                    return;
                }
            }
        });
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 51\r\n\r\n\
    <!doctype html><title>asynchat</title><p>It works.\n";
const CONNECTIONS: usize = 64;
/// Of pipelined requests, on each connection in a round.
const BATCHES: usize = 2000;

/// Requests per second with 64 connections.
pub(crate) fn contests() -> Vec<Outcome> {
    let (ours, hyper, by_hand) = (start(serve_ours), start(serve_hyper), start(serve_by_hand));
    assert_eq!(sorted(&get(ours.address)), sorted(&get(hyper.address)), "the same answer");
    assert_eq!(sorted(&get(ours.address)), sorted(&get(by_hand.address)), "the same answer");
    let mut outcomes = Vec::new();
    let mut cpu = Vec::new();
    for (depth, wanted) in [(1, 1.1), (16, 1.7)] {
        let what = format!("depth {depth}");
        outcomes.push(
            Contest::new(what.clone(), Unit::PerSecond)
                .entry("http_server", || requests(&ours, depth))
                .entry("hyper", || requests(&hyper, depth))
                .entry("the two calls of the kernel", || requests(&by_hand, depth))
                .run(7)
                .wanting(wanted),
        );
        let servers = [&ours, &hyper, &by_hand];
        let figures = outcomes.last().into_iter().flat_map(|o| &o.figures).zip(servers);
        // Without the round for warming up.
        let figures =
            figures.map(|(&(name, _), server)| (name, median(&mut server.cpu.take()[1..])));
        let what = what + ", the server's own time for each";
        cpu.push(Outcome {
            what,
            unit: Unit::Nanos,
            figures: figures.collect(),
            wanted: Some(wanted),
        });
    }
    outcomes.extend(cpu);
    outcomes
}

/// One answer.
fn get(address: SocketAddr) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).expect("it listens");
    socket.write_all(REQUEST).expect("it reads");
    let mut answer = vec![0; 4096];
    let mut length = 0;
    while !answer[..length].ends_with(PAGE.as_bytes()) {
        length += socket.read(&mut answer[length..]).expect("it answers");
    }
    answer.truncate(length);
    answer
}

/// The order of fields is each one's own, and so is the case of their names.
fn sorted(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Every byte that comes is looked at.
fn requests(server: &Server, depth: usize) -> f64 {
    let (requests, expected) = (REQUEST.repeat(depth), get(server.address).repeat(depth));
    let before = nanos_run(server);
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let nanos = time(|| {
        runtime.block_on(async {
            let talk = async || {
                let mut socket = TcpStream::connect(server.address).await.expect("it listens");
                let mut answers = vec![0; expected.len()];
                for _ in 0..BATCHES {
                    socket.write_all(&requests).await.expect("it reads");
                    socket.read_exact(&mut answers).await.expect("it answers");
                    assert!(answers == expected, "the same answers");
                }
            };
            futures::future::join_all((0..CONNECTIONS).map(|_| talk())).await;
        });
    });
    let count = (CONNECTIONS * BATCHES * depth) as f64;
    server.cpu.borrow_mut().push((nanos_run(server) - before) / count);
    count / nanos * 1e9
}

/// How long the server's thread has been on a processor, kernel included.
pub(crate) fn nanos_run(server: &Server) -> f64 {
    let said = std::fs::read_to_string(&server.schedstat).unwrap_or_default();
    said.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(f64::NAN)
}
