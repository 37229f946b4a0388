//! Work to count instructions of: `.ci/instructions.py` runs it under valgrind.
//!
//! `count NAME TIMES` does one thing so many times, and nothing besides.

use asynchat::{
    Body, Channel, Control, Error, FrameRef, Handler, IntoTerminator, Length, Terminator,
    TerminatorCodec,
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, SinkExt, StreamExt};
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, Join, ReadBuf, Sink, join, sink};
use tokio_util::codec::Decoder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(times)) = (arguments.next(), arguments.next()) else { return };
    let Ok(times) = times.parse() else { return };
    match name.as_str() {
        "owned-8" => owned(line(8, "\n"), "\n", times),
        "owned-64" => owned(line(64, "\n"), "\n", times),
        "owned-8-moved" => owned_moved(8, times),
        "owned-length" => owned(MESSAGE.to_vec(), LENGTH, times),
        "owned-message" => owned(MESSAGE.to_vec(), message(), times),
        "owned-every" => owned(MESSAGE.to_vec(), Terminator::every(20), times),
        "owned-counts" => owned_counts(times),
        "borrowed-8-lf" => borrowed(&line(8, "\n"), "\n", times),
        "borrowed-64-crlf" => borrowed(&line(64, "\r\n"), "\r\n", times),
        "borrowed-8-line" => borrowed(&line(8, "\n"), Terminator::line(), times),
        "borrowed-length" => borrowed(MESSAGE, LENGTH, times),
        "borrowed-message" => borrowed(MESSAGE, message(), times),
        "borrowed-every" => borrowed(MESSAGE, Terminator::every(20), times),
        "flood" => flood(times),
        "handler-32" => handler(lines(times), times),
        "handler-length" => handler(messages(LENGTH, times), times),
        "handler-message" => handler(messages(message(), times), times),
        "next-32" => next(lines(times), times),
        "next-set" => next(channel(LINE, Terminator::any(["\r\n", "\n\n", "\n"]), times), times),
        "next-length" => next(messages(LENGTH, times), times),
        "next-message" => next(messages(message(), times), times),
        "receive-32" => receive(times),
        "receive-counts" => receive_counts(times),
        "peek" => peek(times),
        "echo-alone" => echo_alone(times),
        "two-tasks" => two_tasks(times),
        "push-64" => push(64, times),
        "push-1024" => push(1024, times),
        "pusher-64" => pusher(64, times),
        "reserve" => reserve(times),
        "pushers-16" => pushers(16, times),
        "switch" => switch(times),
        _ => panic!("no such work"),
    }
}

fn line(length: usize, ending: &str) -> Vec<u8> {
    ("x".repeat(length) + ending).into_bytes()
}

/// A length of 4 bytes, and 16 bytes.
const MESSAGE: &[u8] = b"\0\0\0\x10xxxxxxxxxxxxxxxx";

const LENGTH: Length = Length::u32_be();

fn message() -> Terminator {
    Terminator::message(4, |head| Ok(Body::Bytes(u32::from_be_bytes(head.try_into()?).into())))
}

/// Two counts for each message.
fn owned_counts(times: usize) {
    let mut codec = TerminatorCodec::new(4);
    let mut input = BytesMut::from(MESSAGE.repeat(times).as_slice());
    for _ in 0..times {
        black_box(codec.decode(&mut input).expect("no frame is too long"));
        codec.set_terminator(16);
        black_box(codec.decode(&mut input).expect("no frame is too long"));
        codec.set_terminator(4);
    }
    assert!(input.is_empty());
}

fn owned(frame: Vec<u8>, terminator: impl IntoTerminator, times: usize) {
    let mut codec = TerminatorCodec::new(terminator);
    let mut input = BytesMut::from(frame.repeat(times).as_slice());
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

const LINE: &[u8] = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n";

/// Gives a frame so many times.
struct Frames(&'static [u8], usize);

impl AsyncRead for Frames {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.1 > 0 && buffer.remaining() >= self.0.len() {
            buffer.put_slice(self.0);
            self.1 -= 1;
        }
        Poll::Ready(Ok(()))
    }
}

type Peer = Join<Frames, Sink>;

struct Echo(usize);

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        channel.push_slice(data);
        self.0 += 1;
        Ok(())
    }
}

fn channel(frame: &'static [u8], terminator: impl IntoTerminator, times: usize) -> Channel<Peer> {
    let io = join(Frames(frame, times), sink());
    Channel::builder().terminator(terminator).linger(std::time::Duration::ZERO).build(io)
}

fn lines(times: usize) -> Channel<Peer> {
    channel(LINE, "\n", times)
}

fn messages(terminator: impl IntoTerminator, times: usize) -> Channel<Peer> {
    channel(MESSAGE, terminator, times)
}

/// Echoes the frames.
fn handler(mut channel: Channel<Peer>, times: usize) {
    let mut echo = Echo(0);
    // It gives the runtime a turn now and then.
    while channel.run(&mut echo).now_or_never().is_none() {}
    assert_eq!(echo.0, times);
}

fn next(mut channel: Channel<Peer>, times: usize) {
    for _ in 0..times {
        // It gives the runtime a turn now and then.
        while black_box(channel.next().now_or_never()).is_none() {}
    }
}

/// A look at each frame before it is taken.
fn peek(times: usize) {
    let mut channel = lines(times);
    for _ in 0..times {
        while black_box(channel.peek(1).now_or_never()).is_none() {}
        while black_box(channel.next().now_or_never()).is_none() {}
    }
}

/// Gives a frame, then nothing, then a frame.
struct Alone(bool);

impl AsyncRead for Alone {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0 = !self.0;
        if !self.0 {
            return Poll::Pending;
        }
        buffer.put_slice(LINE);
        Poll::Ready(Ok(()))
    }
}

/// An answer to each frame, which arrives alone.
fn echo_alone(times: usize) {
    let mut channel = Channel::new(join(Alone(false), sink()), "\n");
    for _ in 0..times {
        let frame = channel.next().now_or_never().flatten().expect("a frame");
        channel.push(frame.expect("it is well").into_data());
        channel.push_slice(b"\n");
        assert!(channel.next().now_or_never().is_none(), "it waits");
    }
}

/// A task, which is told apart from others.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A task reads lines, another one sends as many.
fn two_tasks(times: usize) {
    let [input, output] = [(), ()].map(|()| Waker::from(Arc::new(Task)));
    let (mut sink, mut stream) = lines(times).split();
    let line = Bytes::from_static(LINE);
    for _ in 0..times {
        let mut cx = Context::from_waker(&input);
        while black_box(stream.poll_next_unpin(&mut cx)).is_pending() {}
        let mut cx = Context::from_waker(&output);
        while pin!(sink.send(line.clone())).poll(&mut cx).is_pending() {}
    }
}

fn receive(times: usize) {
    let mut channel = lines(times);
    for _ in 0..times {
        while black_box(channel.receive(Terminator::lf()).now_or_never()).is_none() {}
    }
}

fn receive_counts(times: usize) {
    let mut channel = messages(4, times);
    for _ in 0..times {
        for count in [4, 16] {
            while black_box(channel.receive(count).now_or_never()).is_none() {}
        }
    }
}

/// Sends everything. It yields now and then.
fn flush(channel: &mut Channel<Peer>) {
    loop {
        if let Some(flushed) = channel.flush().now_or_never() {
            return flushed.expect("a sink never fails");
        }
    }
}

/// Up to 256 KiB at a time.
fn push(length: usize, times: usize) {
    let chunk = Bytes::from(vec![b'x'; length]);
    let mut channel = lines(0);
    for _ in 0..times {
        channel.push(chunk.clone());
        if channel.queued_bytes() >= 256 * 1024 {
            flush(&mut channel);
        }
    }
    let queued = channel.queued_bytes();
    assert!(channel.sent_bytes() + queued >= (length * times) as u64);
}

/// The same through a `Pusher`.
fn pusher(length: usize, times: usize) {
    let chunk = Bytes::from(vec![b'x'; length]);
    let mut channel = lines(0);
    let pusher = channel.pusher();
    for n in 1..=times {
        let pushed = pusher.push(chunk.clone()).now_or_never();
        assert!(pushed.is_some_and(|pushed| pushed.is_ok()), "there is capacity");
        if n % 500 == 0 {
            flush(&mut channel);
        }
    }
    flush(&mut channel);
    assert_eq!(channel.sent_bytes(), (length * times) as u64);
}

/// A place for each push, taken before it.
fn reserve(times: usize) {
    let mut channel = lines(0);
    let pusher = channel.pusher();
    for n in 1..=times {
        let permit = pusher.reserve().now_or_never().and_then(Result::ok).expect("capacity");
        permit.push(LINE).expect("it is open");
        if n % 500 == 0 {
            flush(&mut channel);
        }
    }
    flush(&mut channel);
    assert_eq!(channel.sent_bytes(), (LINE.len() * times) as u64);
}

/// Pushes of as many tasks, of which all but the first wait for capacity.
fn pushers(tasks: usize, times: usize) {
    let builder = Channel::builder().high_water(64 * tasks / 2).low_water(0);
    let mut channel = builder.build(join(Frames(LINE, 0), sink()));
    let pusher = channel.pusher();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..times / tasks {
        let mut pushes: Vec<_> = (0..tasks).map(|_| Box::pin(pusher.push(LINE))).collect();
        while !pushes.is_empty() {
            pushes.retain_mut(|push| push.as_mut().poll(&mut cx).is_pending());
            flush(&mut channel);
        }
    }
}
