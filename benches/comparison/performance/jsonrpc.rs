//! The transport of the example `jsonrpc` beside that of `rmcp` itself.

use crate::measure::{Contest, Outcome, Unit, time};
use crate::network::runtime;
use example_jsonrpc::transport::{JsonLines, MAX_LINE};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleClient, RoleServer};
use serde_json::json;
use std::os::unix::net::UnixStream;
use std::thread;

const ROUNDS: usize = 31;

/// A request, and its answer, with a text of `length` bytes.
fn messages(length: usize) -> (ClientJsonRpcMessage, ServerJsonRpcMessage) {
    let text = "x".repeat(length);
    let params = json!({ "name": "echo", "arguments": { "text": text } });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let result = json!({ "content": [{ "type": "text", "text": text }] });
    let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": result });
    let request = serde_json::from_value(request).expect("a request");
    (request, serde_json::from_value(answer).expect("an answer"))
}

fn tokio_stream(stream: UnixStream) -> tokio::net::UnixStream {
    stream.set_nonblocking(true).expect("a socket");
    tokio::net::UnixStream::from_std(stream).expect("a socket")
}

fn our_client(stream: UnixStream) -> impl Transport<RoleClient> {
    JsonLines::new(tokio_stream(stream), MAX_LINE)
}

fn our_server(stream: UnixStream) -> impl Transport<RoleServer> {
    JsonLines::new(tokio_stream(stream), MAX_LINE)
}

fn their_client(stream: UnixStream) -> impl Transport<RoleClient> {
    let (read, write) = tokio_stream(stream).into_split();
    AsyncRwTransport::<RoleClient, _, _>::new(read, write)
}

fn their_server(stream: UnixStream) -> impl Transport<RoleServer> {
    let (read, write) = tokio_stream(stream).into_split();
    AsyncRwTransport::<RoleServer, _, _>::new(read, write)
}

/// Nanoseconds for each of `count` requests, with answers if `answers` is set. The server
/// has a thread of its own.
fn talk<C: Transport<RoleClient>, S: Transport<RoleServer>>(
    (length, count, answers): (usize, usize, bool),
    client: fn(UnixStream) -> C,
    server: fn(UnixStream) -> S,
) -> f64 {
    let (request, answer) = messages(length);
    let (here, there) = UnixStream::pair().expect("a pair of sockets");
    let serve = async || {
        let mut server = server(there);
        let mut seen = 0;
        while server.receive().await.is_some() {
            seen += 1;
            if answers {
                assert!(server.send(answer.clone()).await.is_ok());
            }
        }
        assert_eq!(seen, count);
    };
    let nanos = time(|| {
        thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(serve()));
            runtime().block_on(async {
                let mut client = client(here);
                for _ in 0..count {
                    assert!(client.send(request.clone()).await.is_ok());
                    if answers {
                        assert!(client.receive().await.is_some());
                    }
                }
                assert!(client.close().await.is_ok());
            });
        });
    });
    nanos / count as f64
}

pub(crate) fn contests() -> Vec<Outcome> {
    let contest = |what: &str, scene: (usize, usize, bool)| {
        Contest::new(what, Unit::NanosPerFrame)
            .entry("asynchat", move || talk(scene, our_client, our_server))
            .entry("rmcp", move || talk(scene, their_client, their_server))
            .run(ROUNDS)
    };
    vec![
        contest("100 B, one way", (100, 10_000, false)).wanting(1.0),
        contest("100 KB, one way", (100_000, 500, false)).wanting(1.5),
        contest("100 B, there and back", (100, 3000, true)).wanting(1.0),
        contest("100 KB, there and back", (100_000, 300, true)).wanting(1.0),
    ]
}
