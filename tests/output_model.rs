//! Whatever is pushed, in whatever pieces, and however little is taken of it at
//! a time: the bytes written and `queued_bytes` are those of a list of bytes.

mod mock;

use asynchat::{Channel, Terminator};
use bytes::Bytes;
use futures::stream;
use mock::{Call, Mock, Peer, Write, mock, poll};
use std::collections::VecDeque;
use std::io;

/// A repeatable source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % below
    }

    /// Around the lengths at which something changes.
    fn length(&mut self) -> usize {
        const EDGES: [usize; 9] = [1, 2, 64, 512, 1024, 4096, 8192, 65536, 131072];
        match self.roll(4) {
            0 => EDGES[self.roll(EDGES.len())] + self.roll(3) - 1,
            1 => self.roll(5000),
            _ => self.roll(200),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bytes,
    Producer,
}

struct Model {
    channel: Channel<Mock>,
    peer: Peer,
    /// What is pushed and not sent.
    expected: VecDeque<u8>,
    /// What was pushed since nothing was left.
    entries: Vec<Kind>,
    /// What a `Pusher` has taken, and the channel has not yet.
    inbox: Vec<Vec<u8>>,
    next: u8,
    sent: u64,
    /// The length of the first slice of a write that is pending, else 0.
    offered: usize,
    label: String,
}

impl Model {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                self.next = self.next.wrapping_mul(5).wrapping_add(71);
                self.next
            })
            .collect();
        self.expected.extend(&bytes);
        bytes
    }

    fn note(&mut self, kind: Kind, len: usize) {
        if kind == Kind::Producer || len > 0 {
            self.entries.push(kind);
        }
    }

    fn has_producers(&self) -> bool {
        self.entries.contains(&Kind::Producer)
    }

    /// A poll is over. Only its last write may be pending.
    fn note_offer(&mut self) {
        let (pieces, calls) = (self.peer.pieces(), self.peer.output_calls());
        let writes =
            calls.iter().filter(|call| matches!(call, Call::Write(_) | Call::Vectored(..)));
        let accepted = writes.count();
        if let Some(first) = pieces.last().and_then(|slices| slices.first()) {
            let is_pending = pieces.len() > accepted;
            self.offered = if is_pending { first.1 } else { 0 };
        }
        assert!(pieces.len() <= accepted + 1, "{}: written after a pending write", self.label);
    }

    /// What was written is what stands first.
    fn look(&mut self) {
        let written = self.peer.written_bytes();
        assert!(written.len() <= self.expected.len(), "{}: doubled", self.label);
        let expected: Vec<u8> = self.expected.drain(..written.len()).collect();
        assert!(written == expected, "{}: lost or out of order", self.label);
        self.sent += written.len() as u64;
        assert_eq!(self.channel.sent_bytes(), self.sent, "{}", self.label);
    }

    /// Without producers what is queued is known but for 64 bytes per piece.
    fn check_cost(&self) {
        let queued = self.channel.queued_bytes();
        let held = self.expected.len() as u64;
        if !self.has_producers() {
            let most = held + 64 * self.entries.len() as u64;
            assert!((held..=most).contains(&queued), "{}: {queued}, {held}", self.label);
        }
        if self.expected.is_empty() && self.entries.is_empty() {
            assert_eq!(queued, 0, "{}", self.label);
        }
    }

    fn push(&mut self, dice: &mut Dice) {
        let len = dice.length();
        match dice.roll(8) {
            0 | 1 => {
                let bytes = self.bytes(len);
                self.channel.push(bytes);
                self.note(Kind::Bytes, len);
            }
            2..=4 => {
                let bytes = self.bytes(len);
                self.channel.push_slice(&bytes);
                self.note(Kind::Bytes, len);
            }
            5 => {
                let len = len.min(2000);
                // No terminator in it.
                let bytes = vec![b'x'; len];
                self.expected.extend(&bytes);
                self.expected.extend(b"\r\n");
                self.channel.push_frame(bytes).unwrap();
                self.note(Kind::Bytes, len);
                self.note(Kind::Bytes, 2);
            }
            6 => {
                let mut pieces: Vec<io::Result<Bytes>> = Vec::new();
                for _ in 0..dice.roll(5) {
                    let len = dice.length();
                    let bytes = self.bytes(len);
                    pieces.push(Ok(bytes.into()));
                }
                self.channel.push_with_producer(stream::iter(pieces));
                self.note(Kind::Producer, 0);
            }
            _ => {
                let kept = self.expected.len();
                let bytes = self.bytes(len);
                self.expected.truncate(kept);
                if self.channel.pusher().try_push(bytes.clone()).is_ok() {
                    self.inbox.push(bytes);
                }
            }
        }
    }

    /// The channel is about to be polled.
    fn absorb(&mut self) {
        for bytes in std::mem::take(&mut self.inbox) {
            self.expected.extend(&bytes);
            self.note(Kind::Bytes, bytes.len());
        }
    }

    fn send(&mut self, dice: &mut Dice) {
        self.absorb();
        let mut script = Vec::new();
        for _ in 0..dice.roll(6) {
            script.push(match dice.roll(3) {
                0 => Write::Again,
                1 => Write::Accept(1 + dice.roll(100)),
                _ => Write::Accept(1 + dice.roll(100_000)),
            });
        }
        script.push(Write::Pending);
        self.peer.takes_again(script);
        for _ in 0..8 {
            if dice.roll(2) == 0 {
                assert!(poll!(self.channel.next()).is_pending());
            } else {
                let _unknown = poll!(self.channel.flush());
            }
            self.note_offer();
        }
        self.look();
    }

    fn flush(&mut self) {
        self.absorb();
        self.peer.takes_again([]);
        let mut polls = 0;
        while poll!(self.channel.flush()).is_pending() {
            self.note_offer();
            polls += 1;
            assert!(polls < 100, "{}: does not end", self.label);
        }
        self.note_offer();
        self.look();
        assert!(self.expected.is_empty(), "{}: not all is sent", self.label);
        self.entries.clear();
        assert_eq!(self.channel.queued_bytes(), 0, "{}", self.label);
    }

    /// Everything is dropped but what a pending write was offered first.
    fn discard(&mut self) {
        self.absorb();
        let kept = self.offered.min(RECORD);
        let discarded = self.channel.discard_buffers();
        if !self.has_producers() {
            let dropped = (self.expected.len() - kept) as u64;
            assert_eq!(discarded.output_bytes, dropped, "{}", self.label);
        }
        assert_eq!(self.channel.queued_bytes(), kept as u64, "{}", self.label);
        self.expected.truncate(kept);
        self.entries.clear();
        self.note(Kind::Bytes, kept);
        self.offered = kept;
    }
}

fn play(seed: u64) {
    let dice = &mut Dice(seed);
    let (io, peer) = mock();
    let vectored = dice.roll(2) == 0;
    if !vectored {
        peer.is_not_vectored();
    }
    let out_buffer_size = [1, 100, 4096, 5003, 65536, 1 << 20][dice.roll(6)];
    let channel = Channel::builder()
        .encode_terminator(Terminator::crlf())
        .out_buffer_size(out_buffer_size)
        .build(io);
    let label = format!("seed {seed}, {out_buffer_size}, vectored {vectored}");
    let (expected, entries) = (VecDeque::new(), Vec::new());
    let mut model = Model {
        channel,
        peer,
        expected,
        entries,
        inbox: Vec::new(),
        next: 1,
        sent: 0,
        offered: 0,
        label,
    };
    for _ in 0..60 {
        match dice.roll(20) {
            0..=12 => model.push(dice),
            13..=16 => model.send(dice),
            17 | 18 => model.flush(),
            _ => model.discard(),
        }
        model.check_cost();
    }
    // In the end it is sent, or taken out.
    if dice.roll(2) == 0 {
        model.flush();
        return;
    }
    model.absorb();
    let has_producers = model.has_producers();
    let parts = model.channel.into_parts();
    let mut rest = parts.unsent.to_vec();
    for producer in parts.producers {
        let chunks: Vec<_> = futures::executor::block_on_stream(producer).collect();
        chunks.into_iter().for_each(|chunk| rest.extend_from_slice(&chunk.unwrap()));
    }
    let expected: Vec<u8> = model.expected.into();
    assert!(rest == expected, "{}: taken out, producers {has_producers}", model.label);
}

#[test]
fn written_bytes_equal_pushed_bytes() {
    (0..CASES).for_each(play);
}

const CASES: u64 = 150;

/// No more of a pending write is kept: the largest TLS record.
const RECORD: usize = 16 * 1024;
