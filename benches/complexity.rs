//! Work that must cost no more than linear time, whatever the peer does:
//! `.ci/instructions.py --complexity` counts its instructions for N and 2N bytes.
//!
//! `complexity NAME BYTES` lets so many bytes arrive, and does nothing besides. Apart
//! from `count`, whose figures must not depend on what else is compiled there.

use asynchat::{
    Body, Channel, Control, Error, Handler, IntoTerminator, Length, Terminator, TerminatorCodec,
    producer,
};
use bytes::BytesMut;
use futures::{FutureExt, Stream};
use std::hint::black_box;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, Join, ReadBuf, Sink, join, sink};
use tokio_util::codec::Decoder;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(bytes)) = (arguments.next(), arguments.next()) else { return };
    let Ok(bytes) = bytes.parse() else { return };
    match name.as_str() {
        "trickle-1" => trickle(codec("\n"), b"x", 1, bytes),
        "trickle-64" => trickle(codec("\n"), b"x", 64, bytes),
        "trickle-1-streaming" => trickle(codec("\r\n").with_streaming(true), b"\r", 1, bytes),
        "flood" => trickle(codec("\r\n"), b"x", bytes, bytes),
        "flood-of-last-bytes" => trickle(codec("\r\n.\r\n"), b"\n", bytes, bytes),
        "empty-frames" => trickle(codec("\n"), b"\n", 4096, bytes),
        "half-2" => trickle(codec("\r\n"), b"\r", 7, bytes),
        "half-4" => trickle(codec("\r\n\r\n"), b"\r\n\r", 7, bytes),
        "half-5" => trickle(codec("\r\n.\r\n"), b"\r\n.\r", 7, bytes),
        "half-17" => trickle(codec("0123456789abcdef!"), b"0123456789abcdef", 7, bytes),
        "half-64" => trickle(codec(&[b'-'; 64]), &[[b'-'; 63].as_slice(), b"x"].concat(), 7, bytes),
        "half-64k-trickled" => trickle(codec(huge()), &huge()[..HUGE - 1], 1, bytes),
        "half-64k-flooded" => trickle(codec(huge()), &huge()[..HUGE - 1], bytes, bytes),
        "half-64k-streaming" => {
            trickle(codec(huge()).with_streaming(true), &huge()[1..HUGE - 1], 64, bytes);
        }
        "set-of-3" => {
            let set = Terminator::any(["\r\n\r\n", "\n\r\n", "\n\n"]);
            trickle(codec(set), b"\r\n\r", 7, bytes);
        }
        "set-by-automaton" => trickle(codec(Terminator::any(["abc", "xyz!"])), b"xyzab", 7, bytes),
        "set-without-automaton" => {
            let set = Terminator::any([vec![b'-'; (1 << 20) + 1], b"\n".to_vec()]);
            trickle(codec(set), b"x\n", 4096, bytes);
        }
        "skip-1" => trickle(codec("\r\n.\r\n").with_max_length(9), b"\r\n.\r", 1, bytes),
        "skip-set-1" => {
            let set = Terminator::any(["abc", "xyz!"]);
            trickle(codec(set).with_max_length(9), b"xyzab", 1, bytes);
        }
        "skip-count-1" => trickle(codec(1u64 << 63).with_max_length(9), b"x", 1, bytes),
        "count-1" => trickle(codec(1u64 << 40), b"x", 1, bytes),
        "count-1-streaming" => trickle(codec(1u64 << 40).with_streaming(true), b"x", 1, bytes),
        "every-1" => trickle(codec(Terminator::every(1 << 40)), b"x", 1, bytes),
        "every-1-streaming" => {
            trickle(codec(Terminator::every(1 << 40)).with_streaming(true), b"x", 1, bytes);
        }
        "skip-every-1" => {
            trickle(codec(Terminator::every(1 << 40)).with_max_length(9), b"x", 1, bytes)
        }
        "empty-messages" => trickle(codec(Length::u8()), b"\0", 4096, bytes),
        "message-head-1" => {
            trickle(codec(message()).with_max_head(usize::MAX), b"\r\n\r", 1, bytes)
        }
        "message-body-1" => trickle(codec(Length::u8().within(0, 1)), b"\xff", 1, bytes),
        "message-more-1" => {
            let more = Terminator::message(1, |_| Ok(Body::More(1)));
            trickle(codec(more).with_max_head(usize::MAX), b"x", 1, bytes);
        }
        "message-more" => {
            let more = Terminator::message(1, |_| Ok(Body::More(1)));
            trickle(codec(more).with_max_head(usize::MAX), b"x", bytes, bytes);
        }
        "skip-message-1" => {
            let long = Terminator::message(1, |_| Ok(Body::Bytes(1 << 40)));
            trickle(codec(long).with_max_length(9), b"x", 1, bytes);
        }
        "flips" => flips(bytes),
        "set-again-1" => sets_again("\r\n.\r\n".into(), b"\r\n.\r", bytes),
        "set-again-any-1" => sets_again(Terminator::any(["abc", "xyz!"]), b"xyzab", bytes),
        "pushes" => pushes(bytes),
        "producers" => producers(bytes),
        "discards" => discards(bytes),
        "channel-1" => channel(b"x", 1, usize::MAX, bytes),
        "channel-64" => channel(b"x", 64, usize::MAX, bytes),
        "channel-full-reads" => channel(b"x", 1 << 20, usize::MAX, bytes),
        "channel-skip-64" => channel(b"x", 64, 9, bytes),
        "channel-empty-frames" => channel(b"\n", 1 << 20, 9, bytes),
        "receive-1" => receive("\n".into(), b"x", 1, bytes),
        "receive-half-5" => receive("\r\n.\r\n".into(), b"\r\n.\r", 1, bytes),
        "receive-any-1" => receive(Terminator::any(["abc", "xyz!"]), b"xyzab", 1, bytes),
        "receive-count-1" => receive((1u64 << 40).into(), b"x", 1, bytes),
        "receive-none-1" => receive(Terminator::none(), b"x", 1, bytes),
        "receive-part-half-5" => receive_part(b"\r\n.\r", 7, bytes),
        "receive-empty-frames" => receive("\n".into(), b"\n", 1 << 20, bytes),
        "run-1" => run("\n", b"x", 1, bytes),
        "run-half-5" => run("\r\n.\r\n", b"\r\n.\r", 7, bytes),
        "run-empty-frames" => run("\n", b"\n", 1 << 20, bytes),
        _ => panic!("no such work"),
    }
}

fn codec(terminator: impl IntoTerminator) -> TerminatorCodec {
    TerminatorCodec::new(terminator).with_max_length(usize::MAX)
}

/// Its head never ends.
fn message() -> Terminator {
    Terminator::message("\r\n\r\n", |_| Ok(Body::Bytes(0)))
}

fn huge() -> Vec<u8> {
    let mut ending = vec![b'-'; HUGE];
    ending[HUGE - 1] = b'!';
    ending
}

/// Lets `bytes` of `text`, repeated, arrive in pieces.
fn trickle(mut codec: TerminatorCodec, text: &[u8], piece: usize, bytes: usize) {
    let input = text.repeat(bytes / text.len() + 1);
    let mut arrived = BytesMut::with_capacity(bytes);
    for piece in input[..bytes].chunks(piece.max(1)) {
        arrived.extend_from_slice(piece);
        decode_all(&mut codec, &mut arrived);
    }
}

fn decode_all(codec: &mut TerminatorCodec, arrived: &mut BytesMut) {
    loop {
        match codec.decode(arrived) {
            Ok(None) => return,
            frame => drop(black_box(frame)),
        }
    }
}

/// Every frame under another terminator, mode and limit, all in one buffer.
fn flips(bytes: usize) {
    let mut codec = TerminatorCodec::new("\n");
    let input = b"ab\ncdefg\r\nhi.".repeat(bytes / 13);
    let mut src = input.as_slice();
    let mut turn = 0;
    while !matches!(codec.decode_slice(&mut src), Ok(None)) {
        let terminator = ["\n", "\r\n", "."][turn % 3];
        codec.set_streaming(turn % 2 == 0);
        codec.set_max_length(3 + turn % 5);
        match turn % 4 {
            0 => codec.set_terminator(1 + turn as u64 % 3),
            1 => codec.set_terminator(Terminator::line()),
            _ => codec.set_terminator(terminator),
        }
        turn += 1;
    }
    assert!(turn * 20 >= bytes, "it went no further");
}

/// The terminator is set anew before each byte, and is the same.
fn sets_again(terminator: Terminator, text: &[u8], bytes: usize) {
    let mut codec = codec(terminator.clone());
    let mut arrived = BytesMut::with_capacity(bytes);
    for byte in text.iter().cycle().take(bytes) {
        arrived.extend_from_slice(&[*byte]);
        codec.set_terminator(terminator.clone());
        decode_all(&mut codec, &mut arrived);
    }
}

/// Byte by byte, all of them queued before any is sent.
fn pushes(bytes: usize) {
    let mut channel = Channel::new(Peer::says(b"", 0, 0), "\n");
    for n in 0..bytes {
        if n % 2 == 0 { channel.push("x") } else { channel.push_slice(b"y") }
    }
    assert!(channel.flush().now_or_never().is_some());
    assert_eq!(channel.sent_bytes(), bytes as u64);
}

/// One of a byte each, all queued before the first is polled.
fn producers(bytes: usize) {
    let mut channel = Channel::new(Peer::says(b"", 0, 0), "\n");
    for _ in 0..bytes {
        channel.push_with_producer(producer::from_iter(["x"]));
    }
    // It gives the runtime a turn now and then.
    while channel.flush().now_or_never().is_none() {}
    assert_eq!(channel.sent_bytes(), bytes as u64);
}

/// Again and again in the middle of a frame and of its terminator.
fn discards(bytes: usize) {
    let mut channel = Channel::new(Peer::says(b"abc\r\n.\rde", 5, bytes), "\r\n.\r\n");
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    while !matches!(pin!(&mut channel).poll_next(&mut cx), Poll::Ready(None)) {
        black_box(channel.discard_buffers());
    }
    assert_eq!(channel.get_ref().reader().left, 0);
}

/// The same as `trickle`, through a channel and its buffer.
fn channel(text: &'static [u8], piece: usize, max_length: usize, bytes: usize) {
    let builder = Channel::builder().terminator("\n").max_length(max_length);
    let mut channel = builder.build(Peer::says(text, piece, bytes));
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    while !matches!(pin!(&mut channel).poll_next(&mut cx), Poll::Ready(None)) {}
    assert_eq!(channel.get_ref().reader().left, 0);
}

/// A future of its own for every piece.
fn receive(terminator: Terminator, text: &'static [u8], piece: usize, bytes: usize) {
    let mut channel = endless("!", text, piece, bytes);
    loop {
        match channel.receive(terminator.clone()).now_or_never() {
            // The end of input ends a frame without a terminator, too.
            Some(Ok(all)) if all.len() == bytes => break,
            Some(Err(_)) => break,
            _ => {}
        }
    }
    assert_eq!(channel.get_ref().reader().left, 0);
}

/// The same, in parts.
fn receive_part(text: &'static [u8], piece: usize, bytes: usize) {
    let mut channel = endless("\r\n.\r\n", text, piece, bytes);
    while !matches!(channel.receive_part().now_or_never(), Some(Err(_))) {}
    assert_eq!(channel.get_ref().reader().left, 0);
}

/// With a handler, and a call of `run` for every piece.
fn run(terminator: &str, text: &'static [u8], piece: usize, bytes: usize) {
    let mut channel = endless(terminator, text, piece, bytes);
    while channel.run(&mut Nothing).now_or_never().is_none() {}
    assert_eq!(channel.get_ref().reader().left, 0);
}

fn endless(
    terminator: impl IntoTerminator,
    text: &'static [u8],
    piece: usize,
    bytes: usize,
) -> Channel<Join<Peer, Sink>> {
    let builder = Channel::builder().terminator(terminator).max_length(usize::MAX);
    builder.linger(Duration::ZERO).build(Peer::says(text, piece, bytes))
}

struct Nothing;

impl Handler for Nothing {
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        black_box(data);
        Ok(())
    }
}

/// Gives `text` over and over.
struct Peer {
    text: &'static [u8],
    piece: usize,
    left: usize,
    /// Whether the next read has something.
    ready: bool,
}

impl Peer {
    fn says(text: &'static [u8], piece: usize, left: usize) -> Join<Self, Sink> {
        join(Peer { text, piece, left, ready: true }, sink())
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Every other time there is nothing yet, so that each piece is a poll.
        self.ready = !self.ready;
        if self.ready && self.left > 0 {
            return Poll::Pending;
        }
        let n = self.piece.min(self.left).min(buffer.remaining());
        let mut rest = buffer.initialize_unfilled_to(n);
        while !rest.is_empty() {
            let part = self.text.len().min(rest.len());
            rest[..part].copy_from_slice(&self.text[..part]);
            rest = &mut rest[part..];
        }
        buffer.advance(n);
        self.left -= n;
        Poll::Ready(Ok(()))
    }
}

/// The length of the largest terminator.
const HUGE: usize = 64 * 1024;
