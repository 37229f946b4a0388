//! Work to count instructions of: `.ci/instructions.py` runs it under valgrind.
//!
//! `count NAME TIMES` does one thing so many times, and nothing besides.

use asynchat::{
    Channel, Control, Error, FrameRef, Handler, IntoTerminator, Terminator, TerminatorCodec,
};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, Join, ReadBuf, Sink, join, sink};
use tokio_util::codec::Decoder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(times)) = (arguments.next(), arguments.next()) else { return };
    let Ok(times) = times.parse() else { return };
    match name.as_str() {
        "owned-8" => owned(8, times),
        "owned-64" => owned(64, times),
        "owned-8-moved" => owned_moved(8, times),
        "borrowed-8-lf" => borrowed(&line(8, "\n"), "\n", times),
        "borrowed-64-crlf" => borrowed(&line(64, "\r\n"), "\r\n", times),
        "borrowed-8-line" => borrowed(&line(8, "\n"), Terminator::line(), times),
        "flood" => flood(times),
        "handler-32" => handler(times),
        "next-32" => next(times),
        "receive-32" => receive(times),
        "push-64" => push(64, times),
        "push-1024" => push(1024, times),
        "switch" => switch(times),
        _ => panic!("no such work"),
    }
}

fn line(length: usize, ending: &str) -> Vec<u8> {
    ("x".repeat(length) + ending).into_bytes()
}

fn owned(length: usize, times: usize) {
    let mut codec = TerminatorCodec::new("\n");
    let mut input = BytesMut::from(line(length, "\n").repeat(times).as_slice());
    let mut seen = 0;
    while let Some(frame) = codec.decode(&mut input).expect("no line is too long") {
        black_box(&frame);
        seen += 1;
    }
    assert_eq!(seen, times);
}

/// Through memory, as frames come out of a function that is not inlined.
fn owned_moved(length: usize, times: usize) {
    let mut codec = TerminatorCodec::new("\n");
    let mut input = BytesMut::from(line(length, "\n").repeat(times).as_slice());
    for _ in 0..times {
        let frame = codec.decode(&mut input).expect("no line is too long");
        assert!(black_box(frame).is_some());
    }
}

fn borrowed(line: &[u8], terminator: impl IntoTerminator, times: usize) {
    let mut codec = TerminatorCodec::new(terminator);
    let input = line.repeat(times);
    let mut src = input.as_slice();
    let mut seen = 0;
    while let Ok(Some(FrameRef::Complete(data))) = codec.decode_slice(&mut src) {
        black_box(data);
        seen += 1;
    }
    assert_eq!(seen, times);
}

/// As many pieces of 1400 bytes.
fn flood(times: usize) {
    let mut codec = TerminatorCodec::new("\r\n\r\n").with_max_length(usize::MAX);
    let input = b"\r\n\r".repeat(1400 * times / 3 + 1);
    for n in 1..=times {
        let mut arrived = &input[..1400 * n];
        assert!(codec.decode_slice(&mut arrived).expect("no limit").is_none());
    }
}

fn switch(times: usize) {
    let mut codec = TerminatorCodec::default();
    for n in 0..times {
        codec.set_terminator(black_box(["\r\n.\r\n", "\n"])[n % 2]);
    }
}

/// Gives so many lines of 32 bytes.
struct Lines(usize);

impl AsyncRead for Lines {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        const LINE: &[u8; 33] = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n";
        while self.0 > 0 && buffer.remaining() >= LINE.len() {
            buffer.put_slice(LINE);
            self.0 -= 1;
        }
        Poll::Ready(Ok(()))
    }
}

struct Echo(usize);

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        channel.push_slice(data);
        self.0 += 1;
        Ok(())
    }
}

fn channel(times: usize) -> Channel<Join<Lines, Sink>> {
    let io = join(Lines(times), sink());
    Channel::builder().terminator("\n").linger(std::time::Duration::ZERO).build(io)
}

/// Echoes the lines.
fn handler(times: usize) {
    let (mut channel, mut echo) = (channel(times), Echo(0));
    // It gives the runtime a turn now and then.
    while channel.run(&mut echo).now_or_never().is_none() {}
    assert_eq!(echo.0, times);
}

fn next(times: usize) {
    let mut channel = channel(times);
    for _ in 0..times {
        // It gives the runtime a turn now and then.
        while black_box(channel.next().now_or_never()).is_none() {}
    }
}

fn receive(times: usize) {
    let mut channel = channel(times);
    for _ in 0..times {
        while black_box(channel.receive(Terminator::lf()).now_or_never()).is_none() {}
    }
}

/// Sends everything. It yields now and then.
fn flush(channel: &mut Channel<Join<Lines, Sink>>) {
    loop {
        if let Some(flushed) = channel.flush().now_or_never() {
            return flushed.expect("a sink never fails");
        }
    }
}

/// Up to 256 KiB at a time.
fn push(length: usize, times: usize) {
    let chunk = Bytes::from(vec![b'x'; length]);
    let mut channel = channel(0);
    for _ in 0..times {
        channel.push(chunk.clone());
        if channel.queued_bytes() >= 256 * 1024 {
            flush(&mut channel);
        }
    }
    let queued = channel.queued_bytes();
    assert!(channel.sent_bytes() + queued >= (length * times) as u64);
}
