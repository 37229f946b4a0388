//! The example `http_server` beside hyper, each on one thread, under wrk on
//! another.

use crate::measure::{Contest, Outcome, Unit, median};
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
use std::process::Command;
use std::thread;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const PAGE: &str = "<!doctype html><title>asynchat</title><p>It works.\n";

/// A server on a thread of its own, for good.
struct Server {
    address: SocketAddr,
    /// Where the system tells how long the thread has run.
    schedstat: PathBuf,
    /// Nanoseconds of it for each request, in each round.
    cpu: RefCell<Vec<f64>>,
}

fn start<F: Future<Output = ()>>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Server {
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
    let config = Config { root: None, max_body: 1 << 20 };
    server::serve(listener, config, std::future::pending()).await;
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

/// Requests per second with 64 connections; nothing if there is no wrk.
pub(crate) fn contests() -> Option<Vec<Outcome>> {
    Command::new("wrk").arg("--version").output().ok()?;
    let (ours, hyper) = (start(serve_ours), start(serve_hyper));
    assert_eq!(get(ours.address), get(hyper.address), "the same answer");
    let mut outcomes = Vec::new();
    let mut cpu = Vec::new();
    for (depth, wanted) in [(1, 1.1), (16, 1.6)] {
        let what = format!("depth {depth}");
        outcomes.push(
            Contest::new(what.clone(), Unit::PerSecond)
                .entry("http_server", || requests(&ours, depth))
                .entry("hyper", || requests(&hyper, depth))
                .run(7)
                .wanting(wanted),
        );
        let figures = [("http_server", &ours), ("hyper", &hyper)]
            .map(|(name, server)| (name, median(&mut server.cpu.take())));
        let what = what + ", the server's own time for each";
        cpu.push(Outcome {
            what,
            unit: Unit::Nanos,
            figures: figures.into(),
            wanted: Some(wanted),
        });
    }
    outcomes.extend(cpu);
    Some(outcomes)
}

fn get(address: SocketAddr) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(address).expect("it listens");
    socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut answer = vec![0; 4096];
    let mut length = 0;
    while !answer[..length].ends_with(PAGE.as_bytes()) {
        length += socket.read(&mut answer[length..]).expect("it answers");
    }
    let text = String::from_utf8_lossy(&answer[..length]).to_ascii_lowercase();
    // The order of fields is each one's own.
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n").into_bytes()
}

fn requests(server: &Server, depth: usize) -> f64 {
    let script = tempfile::Builder::new().suffix(".lua").tempfile().expect("a file");
    let lua = format!(
        "init = function() local r = {{}}; for i = 1, {depth} do r[i] = wrk.format('GET', '/') end; \
         all = table.concat(r) end\nrequest = function() return all end\n"
    );
    std::fs::write(script.path(), lua).expect("a file");
    let before = nanos_run(server);
    let output = Command::new("wrk")
        .args(["-t1", "-c64", "-d2s", "-s"])
        .arg(script.path())
        .arg(format!("http://{}/", server.address))
        .output()
        .expect("wrk is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = said.contains("Socket errors") || said.contains("Non-2xx");
    let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    let count = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    let count: f64 = count.and_then(|(count, _)| count.parse().ok()).unwrap_or(f64::NAN);
    server.cpu.borrow_mut().push((nanos_run(server) - before) / count);
    rate.filter(|_| !errors).unwrap_or_else(|| panic!("wrk says: {said}"))
}

/// How long the server's thread has been on a processor, kernel included.
fn nanos_run(server: &Server) -> f64 {
    let said = std::fs::read_to_string(&server.schedstat).unwrap_or_default();
    said.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(f64::NAN)
}
