//! Over loopback TCP. What is measured has a thread of its own; so has its peer,
//! which is the same for all.

use crate::echo::{Server, load, resident};
use crate::measure::{Contest, Outcome, Unit, time};
use asynchat::{Channel, Control, Error, Handler};
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use memchr::{memchr, memchr_iter};
use std::cell::RefCell;
use std::future::poll_fn;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::thread;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_util::codec::{BytesCodec, Framed, LinesCodec};
use tokio_util::io::poll_read_buf;

const ROUNDS: usize = 21;

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs `peer` with one end of a connection in a thread, and `measured` with the
/// other end here: how long that took, in nanoseconds.
pub(crate) fn connected<F: Future<Output = ()>>(
    runtime: &Runtime,
    peer: impl FnOnce(std::net::TcpStream) + Send,
    measured: impl FnOnce(TcpStream) -> F,
) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::scope(|scope| {
        scope.spawn(|| peer(std::net::TcpStream::connect(address).expect("it listens")));
        let (socket, _) = listener.accept().expect("it connects");
        socket.set_nonblocking(true).expect("a socket");
        socket.set_nodelay(true).expect("a socket");
        time(|| {
            runtime.block_on(async {
                measured(TcpStream::from_std(socket).expect("a socket")).await;
            });
        })
    })
}

/// Sends this many blocks, and closes.
pub(crate) fn send(block: &[u8], times: usize) -> impl FnOnce(std::net::TcpStream) + Send {
    move |mut socket| {
        for _ in 0..times {
            socket.write_all(block).expect("it is read");
        }
    }
}

fn lines(length: usize) -> (Vec<u8>, usize) {
    let line = "x".repeat(length) + "\n";
    let count = 64 * 1024 / line.len();
    (line.repeat(count).into_bytes(), count)
}

/// How many blocks of 64 KiB a round has.
const BLOCKS: usize = 256;

struct Count(usize);

impl Handler for Count {
    type Error = Error;

    #[inline]
    fn frame(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        black_box(data);
        self.0 += 1;
        Ok(())
    }
}

pub(crate) fn handler() -> Vec<Outcome> {
    let runtime = runtime();
    let contest = |length: usize| {
        let (block, count) = lines(length);
        let frames = count * BLOCKS;
        let each = |nanos: f64| nanos / frames as f64;
        Contest::new(format!("{length} bytes"), Unit::NanosPerFrame)
            .entry("Handler", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut handler = Count(0);
                    let mut channel = Channel::new(socket, "\n");
                    channel.run(&mut handler).await.expect("it ends well");
                    assert_eq!(handler.0, frames);
                }))
            })
            .entry("read_until, 64 KiB BufReader", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut reader = BufReader::with_capacity(64 * 1024, socket);
                    let (mut line, mut seen) = (Vec::new(), 0);
                    while reader.read_until(b'\n', &mut line).await.expect("it ends well") > 0 {
                        black_box(&line);
                        line.clear();
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .entry("read and memchr_iter by hand", || {
                each(connected(&runtime, send(&block, BLOCKS), async |mut socket| {
                    let mut buffer = vec![0; 64 * 1024];
                    let (mut held, mut seen) = (0, 0);
                    loop {
                        let read = socket.read(&mut buffer[held..]).await.expect("it ends well");
                        if read == 0 {
                            break;
                        }
                        let end = held + read;
                        let mut start = 0;
                        for at in memchr_iter(b'\n', &buffer[..end]) {
                            black_box(&buffer[start..at]);
                            start = at + 1;
                            seen += 1;
                        }
                        buffer.copy_within(start..end, 0);
                        held = end - start;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .run(ROUNDS)
    };
    [8, 32].map(contest).into()
}

/// A poll for each line, a search, a read when none is there, and nothing else.
struct ByHand {
    socket: TcpStream,
    buffer: BytesMut,
}

impl ByHand {
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(at).freeze();
                self.buffer.advance(1);
                return Poll::Ready(Some(line));
            }
            // A channel's reads grow up to this.
            self.buffer.reserve(64 * 1024);
            let socket = Pin::new(&mut self.socket);
            if ready!(poll_read_buf(socket, cx, &mut self.buffer)).expect("it is sent") == 0 {
                return Poll::Ready(None);
            }
        }
    }
}

pub(crate) fn stream() -> Vec<Outcome> {
    let runtime = runtime();
    let contest = |length: usize| {
        let (block, count) = lines(length);
        let frames = count * BLOCKS;
        let each = |nanos: f64| nanos / frames as f64;
        let framed = |capacity: usize| {
            let (runtime, block) = (&runtime, &block);
            move || {
                each(connected(runtime, send(block, BLOCKS), async |socket| {
                    let mut framed = Framed::with_capacity(socket, LinesCodec::new(), capacity);
                    let mut seen = 0;
                    while let Some(line) = framed.next().await {
                        black_box(line.expect("it ends well"));
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            }
        };
        Contest::new(format!("{length} bytes"), Unit::NanosPerFrame)
            .entry("Channel", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut channel = Channel::new(socket, "\n");
                    let mut seen = 0;
                    while let Some(frame) = channel.next().await {
                        black_box(frame.expect("it ends well"));
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .entry("Framed<LinesCodec>", framed(8 * 1024))
            // A channel's reads grow up to this.
            .entry("Framed<LinesCodec>, 64 KiB buffer", framed(64 * 1024))
            .entry("read and split_to by hand", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut lines = ByHand { socket, buffer: BytesMut::new() };
                    let mut seen = 0;
                    while let Some(line) = poll_fn(|cx| lines.poll_line(cx)).await {
                        black_box(line);
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .run(ROUNDS)
    };
    [8, 32, 64, 1024].map(contest).into()
}

/// Reads so many bytes and drops them.
fn drain(bytes: usize) -> impl FnOnce(std::net::TcpStream) + Send {
    move |mut socket| {
        let mut buffer = vec![0; 256 * 1024];
        let mut seen = 0;
        while let Ok(read @ 1..) = socket.read(&mut buffer) {
            seen += read;
        }
        assert_eq!(seen, bytes);
    }
}

/// What is in hand before it is waited for, and everybody's buffer.
const IN_HAND: usize = 256 * 1024;

/// What a channel has if nothing is said.
const DEFAULT_BUFFER: usize = 64 * 1024;

async fn push_all(socket: TcpStream, buffer: usize, chunk: &Bytes, times: usize) {
    let mut channel = Channel::builder().out_buffer_size(buffer).build(socket);
    for _ in 0..times {
        channel.push(chunk.clone());
        if channel.queued_bytes() >= IN_HAND as u64 {
            channel.flush().await.expect("it is read");
        }
    }
    channel.shutdown().await.expect("it is read");
}

async fn feed_all(socket: TcpStream, boundary: usize, chunk: &Bytes, times: usize) {
    let mut framed = Framed::new(socket, BytesCodec::new());
    framed.set_backpressure_boundary(boundary);
    for _ in 0..times {
        framed.feed(chunk.clone()).await.expect("it is read");
    }
    SinkExt::<Bytes>::close(&mut framed).await.expect("it is read");
}

pub(crate) fn push_small() -> Vec<Outcome> {
    let runtime = runtime();
    let contest = |length: usize| {
        let chunk = Bytes::from(vec![b'x'; length]);
        let times = (64 << 20) / length.max(256);
        let total = times * length;
        let rate = |nanos: f64| total as f64 / nanos * 1e3;
        let framed = |boundary: usize| {
            let (runtime, chunk) = (&runtime, &chunk);
            move || rate(connected(runtime, drain(total), |s| feed_all(s, boundary, chunk, times)))
        };
        let push = |buffer: usize| {
            let (runtime, chunk) = (&runtime, &chunk);
            move || rate(connected(runtime, drain(total), |s| push_all(s, buffer, chunk, times)))
        };
        Contest::new(format!("{length} bytes"), Unit::MegabytesPerSecond)
            .entry("push", push(IN_HAND))
            .entry("Framed<BytesCodec>, boundary 8 KiB", framed(8 * 1024))
            .entry("Framed<BytesCodec>, boundary 64 KiB", framed(64 * 1024))
            .entry("Framed<BytesCodec>, boundary 256 KiB", framed(256 * 1024))
            .entry("BufWriter, 256 KiB", || {
                rate(connected(&runtime, drain(total), async |socket| {
                    let mut writer = BufWriter::with_capacity(IN_HAND, socket);
                    for _ in 0..times {
                        writer.write_all(&chunk).await.expect("it is read");
                    }
                    writer.shutdown().await.expect("it is read");
                }))
            })
            .entry("push, default buffer", push(DEFAULT_BUFFER))
            .run(ROUNDS)
    };
    // The smaller ones are what it is for.
    vec![contest(64), contest(1024).wanting(1.0)]
}

pub(crate) fn push_large() -> Vec<Outcome> {
    let runtime = runtime();
    let block = vec![b'x'; IN_HAND];
    let contest = |length: usize| {
        let chunk = Bytes::from(vec![b'x'; length]);
        let total = 256 << 20;
        let times = total / length;
        let rate = |nanos: f64| total as f64 / nanos * 1e3;
        let push = |buffer: usize| {
            let (runtime, chunk) = (&runtime, &chunk);
            move || rate(connected(runtime, drain(total), |s| push_all(s, buffer, chunk, times)))
        };
        Contest::new(format!("{} KiB", length / 1024), Unit::MegabytesPerSecond)
            .entry("push", push(IN_HAND))
            .entry("write_all of 256 KiB", || {
                rate(connected(&runtime, drain(total), async |mut socket| {
                    for _ in 0..total / block.len() {
                        socket.write_all(&block).await.expect("it is read");
                    }
                    socket.shutdown().await.expect("it is read");
                }))
            })
            .entry("Framed<BytesCodec>, boundary 256 KiB", || {
                rate(connected(&runtime, drain(total), |s| feed_all(s, IN_HAND, &chunk, times)))
            })
            .entry("write_all of the chunk", || {
                rate(connected(&runtime, drain(total), async |mut socket| {
                    for _ in 0..times {
                        socket.write_all(&chunk).await.expect("it is read");
                    }
                    socket.shutdown().await.expect("it is read");
                }))
            })
            .entry("push, default buffer", push(DEFAULT_BUFFER))
            .run(ROUNDS)
    };
    [16, 64, 1024].map(|kib| contest(kib * 1024)).into()
}

/// Echoes per second over so many connections at once, and what the server then
/// holds in memory, in bytes for each.
pub(crate) fn echo_many(connections: usize) -> Vec<Outcome> {
    let host = RefCell::new(1);
    let memory = RefCell::new([Vec::new(), Vec::new()]);
    let round = |which: usize, kind: &str| {
        // A loopback address of its own: no port is used twice.
        *host.borrow_mut() += 1;
        let host = format!("127.0.0.{}", host.borrow());
        let server = Server::start(kind, &host);
        let before = resident(server.id());
        let idle = || {
            let held = resident(server.id()).saturating_sub(before);
            memory.borrow_mut()[which].push(held as f64 / connections as f64);
        };
        runtime().block_on(load(&server.address, connections, 10, || (), idle))
    };
    let outcome = Contest::new(format!("{connections} connections"), Unit::PerSecond)
        .entry("Channel", || round(0, "asynchat"))
        .entry("Framed<LinesCodec>", || round(1, "framed"))
        .run(5);
    let mut held = memory.into_inner();
    let figures = [("Channel", 0), ("Framed<LinesCodec>", 1)]
        .map(|(name, which)| (name, crate::measure::median(&mut held[which])));
    let memory = Outcome {
        what: "memory for each, resident".into(),
        unit: Unit::Bytes,
        figures: figures.into(),
        wanted: None,
    };
    vec![outcome, memory]
}
