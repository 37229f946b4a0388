//! Memory that is allocated: by an idle channel, and by changing the terminator.
//!
//! A binary of its own, because counting slows allocation down. `performance`
//! runs it and reads what it prints: a name and a number a line.

use asynchat::{Channel, Control, Error, Handler, Terminator, TerminatorCodec};
use futures::{FutureExt, SinkExt, StreamExt};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, mem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::{Framed, LinesCodec};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CHANNELS: usize = 100_000;

/// Sends one request, and takes the answer.
struct OneRequest {
    is_sent: bool,
}

impl AsyncRead for OneRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if mem::replace(&mut self.is_sent, true) {
            return Poll::Pending;
        }
        buffer.put_slice(b"how do you do\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneRequest {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Echo;

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        channel.push_slice(data);
        channel.push_slice(b"\n");
        Ok(())
    }
}

/// Bytes on the heap for each of many, after a request and while waiting for
/// the next.
fn held<C>(make: impl Fn(OneRequest) -> C, serve: impl Fn(&mut C)) -> usize {
    let mut all = Vec::with_capacity(CHANNELS);
    let region = Region::new(ALLOCATOR);
    for _ in 0..CHANNELS {
        let mut one = make(OneRequest { is_sent: false });
        serve(&mut one);
        all.push(one);
    }
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) / CHANNELS
}

/// Bytes allocated by 1000 changes of the terminator of each kind.
fn switch_allocations() -> usize {
    let prepared = [Terminator::any(["\r\n", "\n", ";"]), Terminator::from("\r\n--boundary\r\n")];
    let mut codec = TerminatorCodec::default();
    let region = Region::new(ALLOCATOR);
    for i in 0..1000 {
        codec.set_terminator(prepared[i % 2].clone());
        codec.set_terminator(Terminator::crlf());
        codec.set_terminator(black_box(["\r\n.\r\n", "12345678"][i % 2]));
        codec.set_terminator(i as u64);
    }
    region.change().bytes_allocated
}

fn main() {
    let stream = held(
        |io| Channel::new(io, "\n"),
        |channel| {
            let served = async {
                while let Some(Ok(frame)) = channel.next().await {
                    channel.push(frame.into_data());
                    channel.push_slice(b"\n");
                }
            };
            assert!(served.now_or_never().is_none(), "it waits");
        },
    );
    let handler = held(
        |io| Channel::new(io, "\n"),
        |channel| assert!(channel.run(&mut Echo).now_or_never().is_none(), "it waits"),
    );
    let framed = held(
        |io| Framed::new(io, LinesCodec::new()),
        |framed| {
            let served = async {
                while let Some(Ok(line)) = framed.next().await {
                    framed.send(line).await.expect("it takes everything");
                }
            };
            assert!(served.now_or_never().is_none(), "it waits");
        },
    );
    println!("idle-stream {stream}");
    println!("idle-handler {handler}");
    println!("idle-framed {framed}");
    println!("size-of-channel {}", size_of::<Channel<OneRequest>>() - size_of::<OneRequest>());
    println!(
        "size-of-framed {}",
        size_of::<Framed<OneRequest, LinesCodec>>() - size_of::<OneRequest>()
    );
    println!("switch-allocations {}", switch_allocations());
}
