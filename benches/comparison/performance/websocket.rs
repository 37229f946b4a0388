//! The echo of the example `websocket` beside tokio-tungstenite, each on one thread, and
//! the load on another.

use crate::http_contest::{Server, nanos_run, start};
use crate::measure::{Contest, Outcome, Unit, median, time};
use futures::{SinkExt, StreamExt, future};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_util::sync::CancellationToken;

const CONNECTIONS: usize = 4;
/// The bytes of payload in a round.
const BYTES: usize = 32 << 20;

async fn serve<F>(listener: TcpListener, connection: impl Fn(tokio::net::TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        tokio::spawn(connection(socket));
    }
}

async fn serve_ours(listener: TcpListener) {
    let server = Arc::new(example_websocket::Server::default());
    serve(listener, |socket| {
        let server = Arc::clone(&server);
        async move { server.connection(socket, CancellationToken::new()).await }
    })
    .await;
}

/// The example `echo-server` of tokio-tungstenite.
async fn serve_forward(listener: TcpListener) {
    serve(listener, |socket| async {
        let (write, read) = accept_async(socket).await.expect("a handshake").split();
        let is_data = |message: &Result<tokio_tungstenite::tungstenite::Message, _>| {
            let is_data = message.as_ref().is_ok_and(|m| m.is_text() || m.is_binary());
            future::ready(is_data)
        };
        // The client leaves without a word.
        let _ = read.filter(is_data).forward(write).await;
    })
    .await;
}

async fn serve_send(listener: TcpListener) {
    serve(listener, |socket| async {
        let mut socket = accept_async(socket).await.expect("a handshake");
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
    .await;
}

/// Messages per second.
pub(crate) fn contests() -> Vec<Outcome> {
    // glibc returns freed memory to the system as soon as 128 KiB are free, and each long
    // message then costs more in page faults than in work. It learns to keep as much as was
    // freed in one piece.
    drop(black_box(Vec::<u8>::with_capacity(16 << 20)));
    let servers = [start(serve_ours), start(serve_forward), start(serve_send)];
    let names = ["example-websocket", "tokio-tungstenite, `forward`", "tokio-tungstenite, `send`"];
    let (mut outcomes, mut cpu) = (Vec::new(), Vec::new());
    for (length, depth) in [(32, 100), (4096, 8), (200_000, 1)] {
        let mut contest = Contest::new(format!("{length} bytes, {depth} at once"), Unit::PerSecond);
        for (name, server) in names.into_iter().zip(&servers) {
            contest = contest.entry(name, move || messages(server, length, depth));
        }
        outcomes.push(contest.run(15));
        let figures = names.into_iter().zip(&servers);
        // Without the round for warming up.
        let figures = figures.map(|(name, server)| (name, median(&mut server.cpu.take()[1..])));
        cpu.push(Outcome {
            what: format!("{length} bytes, the server's own time for each"),
            unit: Unit::Nanos,
            figures: figures.collect(),
            wanted: None,
        });
    }
    outcomes.extend(cpu);
    outcomes
}

fn messages(server: &Server, length: usize, depth: usize) -> f64 {
    let batches = (BYTES / (CONNECTIONS * length * depth)).clamp(10, 500);
    let (sent, expected) = (frame(length, true).repeat(depth), frame(length, false).repeat(depth));
    let mut sockets = [(); CONNECTIONS].map(|()| connect(server.address));
    let mut answers = vec![0; expected.len()];
    let before = nanos_run(server);
    let nanos = time(|| {
        for _ in 0..batches {
            for socket in &mut sockets {
                socket.write_all(&sent).expect("it reads");
            }
            for socket in &mut sockets {
                socket.read_exact(&mut answers).expect("it answers");
                assert!(answers == expected, "the same messages");
            }
        }
    });
    let count = (CONNECTIONS * batches * depth) as f64;
    server.cpu.borrow_mut().push((nanos_run(server) - before) / count);
    count / nanos * 1e9
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_nodelay(true).expect("a socket");
    let request = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request).expect("it reads");
    let mut answer = BufReader::new(&socket);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(answer.read_line(&mut line).expect("it answers"), 0);
    }
    socket
}

/// A text message in one frame.
fn frame(length: usize, is_masked: bool) -> Vec<u8> {
    let (mask_bit, mask) = if is_masked { (0x80, *b"mask") } else { (0, [0; 4]) };
    let mut frame = vec![0x81];
    match length {
        0..126 => frame.push(length as u8 | mask_bit),
        126..0x1_0000 => {
            frame.push(126 | mask_bit);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(127 | mask_bit);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    if is_masked {
        frame.extend(mask);
    }
    frame.extend((0..length).map(|i| (b'a' + (i % 26) as u8) ^ mask[i % 4]));
    frame
}
