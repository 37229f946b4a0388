//! One channel: the length of a frame, the length of the queue, and the number of pushers.

use crate::table::{Table, cost, figure, medians};
use crate::usage::own_cpu;
use asynchat::{Channel, producer};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, DuplexStream, Join, ReadBuf, Sink, duplex, join, sink};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, mpsc};

/// What arrives: a part of a frame for each read, as the packets of a network would bring it.
struct Pieces<'i>(&'i [u8]);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.0.split_at(PIECE.min(self.0.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

pub(crate) fn frame_length() -> Table {
    let table = Table {
        title: "Length of a frame",
        size: "bytes",
        columns: vec![
            cost("ns for each byte, `next`", 0.0),
            figure("ns for each byte, into a `Vec` of that capacity"),
        ],
        rows: Vec::new(),
        notes: "A frame arrives in pieces of 1400 bytes, in memory, and ends with CR LF. The \
                last column is the least work: each piece is copied once, to its final place, \
                and searched once.",
    };
    let kib = [1, 16, 256, 4 * 1024, 64 * 1024];
    table.fill(&kib.map(|kib| kib * 1024), |length| {
        let input = [&vec![b'x'; length][..], b"\r\n"].concat();
        let times = (4_usize << 20).div_ceil(length);
        let total = (times * length) as f64;
        let round = || vec![framed(&input, times) / total, copied(&input, times) / total];
        Ok(medians((0..ROUNDS).map(|_| round()).collect()))
    })
}

/// Processor time for a frame, so many times.
fn framed(input: &[u8], times: usize) -> f64 {
    let runtime = runtime(1);
    processor(|| {
        for _ in 0..times {
            let io = join(Pieces(input), sink());
            let mut channel =
                Channel::builder().terminator("\r\n").max_length(input.len()).build(io);
            let frame = runtime.block_on(channel.receive("\r\n")).expect("it arrives");
            assert_eq!(black_box(frame).len(), input.len() - 2);
        }
    })
}

fn copied(input: &[u8], times: usize) -> f64 {
    processor(|| {
        for _ in 0..times {
            let mut block = Vec::with_capacity(input.len());
            for piece in input.chunks(PIECE) {
                block.extend_from_slice(piece);
                black_box(memchr::memchr(b'\n', piece));
            }
            black_box(block);
        }
    })
}

pub(crate) fn queue_length() -> Table {
    let table = Table {
        title: "Length of the queue",
        size: "entries",
        columns: vec![
            cost("ns to push 64 bytes", 0.0),
            cost("ns to send them", 0.0),
            cost("ns to push 16 KiB", 0.0),
            cost("ns to send them", 0.0),
            cost("ns to push a producer", 0.0),
            cost("ns to send its 64 bytes", 0.0),
        ],
        rows: Vec::new(),
        notes: "The entries are pushed, and then sent to a transport that takes everything at \
                once. Time is processor time for each entry. A chunk of 16 KiB is not copied.",
    };
    table.fill(&[100, 1000, 10_000, 100_000, 1_000_000], |entries| {
        let (small, large) = (Bytes::from(vec![b'x'; 64]), Bytes::from(vec![b'x'; 16 * 1024]));
        let round = || {
            let chunks = |chunk: &Bytes| queued(entries, |channel| channel.push(chunk.clone()));
            let producers = queued(entries, |channel| {
                channel.push_with_producer(producer::from_iter([small.clone()]));
            });
            [chunks(&small), chunks(&large), producers].concat()
        };
        Ok(medians((0..ROUNDS).map(|_| round()).collect()))
    })
}

/// A transport that takes everything, and from which nothing comes.
type Silent = Join<DuplexStream, Sink>;

fn silent() -> (Channel<Silent>, DuplexStream) {
    let (io, peer) = duplex(1);
    (Channel::new(join(io, sink()), "\n"), peer)
}

/// Processor time to push an entry, and to send it.
fn queued(entries: usize, push: impl Fn(&mut Channel<Silent>)) -> Vec<f64> {
    let times = 100_000_usize.div_ceil(entries);
    let runtime = runtime(1);
    let (mut pushing, mut sending) = (0.0, 0.0);
    for _ in 0..times {
        let (mut channel, _peer) = silent();
        pushing += processor(|| (0..entries).for_each(|_| push(&mut channel)));
        sending += processor(|| runtime.block_on(channel.flush()).expect("it is taken"));
    }
    [pushing, sending].map(|time| time / (times * entries) as f64).into()
}

pub(crate) fn pushers() -> Table {
    let table = Table {
        title: "Pushers on one channel",
        size: "tasks",
        columns: vec![
            cost("ns for a push, one thread", 0.0),
            figure("`mpsc`"),
            cost("ns for a push, two threads", 0.0),
            figure("`mpsc`"),
            figure("pushes a second, two threads"),
        ],
        rows: Vec::new(),
        notes: "Each task has a `Pusher` and pushes chunks of 64 bytes repeatedly. The channel \
                sends them to a transport that takes everything at once. The default high-water \
                mark has capacity for 512 of these chunks. For comparison, the same tasks send to \
                a `tokio::sync::mpsc` of that capacity, whose receiver drops the chunks. Time is \
                processor time.",
    };
    table.fill(&[1, 10, 100, 1000, 10_000], |tasks| {
        let round = || {
            let ((alone, _), (shared, time)) = (pushed(tasks, 1), pushed(tasks, 2));
            let ((bare, _), (bare_shared, _)) = (sent(tasks, 1), sent(tasks, 2));
            let pushes = (PUSHES / tasks * tasks) as f64;
            let each = [alone, bare, shared, bare_shared].map(|time| time / pushes);
            [&each[..], &[pushes / time * 1e9]].concat()
        };
        Ok(medians((0..ROUNDS).map(|_| round()).collect()))
    })
}

/// All pushes of so many tasks.
fn pushed(tasks: usize, threads: usize) -> (f64, f64) {
    let (mut channel, peer) = silent();
    let (pusher, chunk) = (channel.pusher(), Bytes::from(vec![b'x'; 64]));
    let work = move || -> BoxFuture<'static, ()> {
        let (pusher, chunk) = (pusher.clone(), chunk.clone());
        Box::pin(async move {
            for _ in 0..PUSHES / tasks {
                pusher.push(chunk.clone()).await.expect("it is open");
            }
        })
    };
    contend(tasks, threads, work, |all| {
        Box::pin(async move {
            let _peer = peer;
            channel.drive(all).await.expect("it is taken");
            channel.flush().await.expect("it is taken");
        })
    })
}

/// The same through a queue of tokio's.
fn sent(tasks: usize, threads: usize) -> (f64, f64) {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let chunk = Bytes::from(vec![b'x'; 64]);
    let work = move || -> BoxFuture<'static, ()> {
        let (sender, chunk) = (sender.clone(), chunk.clone());
        Box::pin(async move {
            for _ in 0..PUSHES / tasks {
                sender.send(chunk.clone()).await.expect("it is open");
            }
        })
    };
    contend(tasks, threads, work, |all| {
        Box::pin(async move {
            let mut received = Vec::new();
            while receiver.recv_many(&mut received, CAPACITY).await > 0 {
                received.clear();
            }
            all.await;
        })
    })
}

/// Lets so many tasks work, and another one do the rest until they have all ended. Returns
/// the processor time of all, and how long it took, in nanoseconds.
fn contend(
    tasks: usize,
    threads: usize,
    work: impl Fn() -> BoxFuture<'static, ()>,
    drain: impl FnOnce(BoxFuture<'static, ()>) -> BoxFuture<'static, ()>,
) -> (f64, f64) {
    let runtime = runtime(threads);
    let start = Arc::new(Barrier::new(tasks + 1));
    let workers = (0..tasks).map(|_| {
        let (work, start) = (work(), Arc::clone(&start));
        runtime.spawn(async move {
            start.wait().await;
            work.await;
        })
    });
    let workers: Vec<_> = workers.collect();
    drop(work);
    let rest = drain(Box::pin(async move {
        for worker in workers {
            worker.await.expect("it ends well");
        }
    }));
    let measured = runtime.spawn(async move {
        start.wait().await;
        let (used, begun) = (own_cpu(), Instant::now());
        rest.await;
        (own_cpu() - used, begun.elapsed().as_secs_f64() * 1e9)
    });
    runtime.block_on(measured).expect("it ends well")
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).build().expect("a runtime")
}

/// The time of this process that `work` takes, in nanoseconds.
fn processor(work: impl FnOnce()) -> f64 {
    let before = own_cpu();
    work();
    own_cpu() - before
}

const PIECE: usize = 1400;
/// What fits below a high-water mark of 64 KiB, with 64 bytes more for each.
const CAPACITY: usize = 512;
const PUSHES: usize = 200_000;
const ROUNDS: usize = 5;
