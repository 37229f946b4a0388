//! However the input is cut, `decode` and `decode_slice` give what the oracle
//! says after every piece: the same frames, errors and remaining bytes, with
//! terminator, mode and limits switched between frames.

use asynchat::{Error, Frame, FrameRef, TerminatorCodec};
use bytes::BytesMut;
use fuzz_oracle::input::{Input, Steps};
use fuzz_oracle::oracle::{Ending, Item, Oracle, Take, Term};
use tokio_util::codec::Decoder;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut steps = input.steps();
    let start = Change::new(&mut input);
    let script: Vec<_> = (0..input.byte() % 8).map(|_| Change::new(&mut input)).collect();
    let shortened = input.byte();
    let cut = play(input.0, &start, &script, steps.clone());
    // Each is as the oracle says anyway.
    if shortened < 64 {
        assert_eq!(cut, play(input.0, &start, &script, Steps::whole()));
    }
    if shortened >= 192 {
        shorten(input.0, &start, &mut steps, usize::from(shortened & 15));
    }
}

/// What to set after a frame or an error.
struct Change<'d> {
    what: u8,
    term: Option<Term<'d>>,
    max_length: Option<usize>,
}

impl<'d> Change<'d> {
    fn new(input: &mut Input<'d>) -> Self {
        let what = input.byte();
        Change {
            what,
            term: (what & 3 != 0).then(|| input.term()),
            max_length: (what & 12 == 12).then(|| input.limit()),
        }
    }

    /// Of the upper bits, 7 and 15 turn the mode, 6 what is kept.
    fn oracle(&self, oracle: &mut Oracle<'d>) {
        if let Some(term) = &self.term {
            oracle.set(term.ending.clone());
        }
        oracle.max_length = self.max_length.unwrap_or(oracle.max_length);
        oracle.streaming ^= self.what >> 4 & 7 == 7;
        oracle.keep ^= self.what >> 4 == 6;
    }

    fn codec(&self, codec: &mut TerminatorCodec, oracle: &Oracle<'_>) {
        if let Some(term) = &self.term {
            codec.set_terminator(term.built.clone());
        }
        codec.set_max_length(oracle.max_length);
        codec.set_streaming(oracle.streaming);
        codec.set_keep_terminator(oracle.keep);
    }
}

/// The codec, called in one way and in the other.
struct Both<'d> {
    input: &'d [u8],
    arrived: usize,
    borrowing: TerminatorCodec,
    /// How much `borrowing` has consumed.
    from: usize,
    owning: TerminatorCodec,
    buffer: BytesMut,
}

impl<'d> Both<'d> {
    fn new(input: &'d [u8]) -> Self {
        let (borrowing, owning) = <(TerminatorCodec, TerminatorCodec)>::default();
        let buffer = BytesMut::with_capacity(input.len());
        Both { input, arrived: 0, borrowing, from: 0, owning, buffer }
    }

    fn change(&mut self, change: &Change<'_>, oracle: &Oracle<'_>) {
        change.codec(&mut self.borrowing, oracle);
        change.codec(&mut self.owning, oracle);
    }

    fn arrive(&mut self, len: usize) {
        let piece = &self.input[self.arrived..][..len];
        self.buffer.extend_from_slice(piece);
        self.arrived += len;
    }

    fn next(&mut self, ended: bool) -> Option<Item<'d>> {
        let mut src = &self.input[self.from..self.arrived];
        let borrowed = if ended {
            self.borrowing.decode_slice_eof(&mut src)
        } else {
            self.borrowing.decode_slice(&mut src)
        };
        self.from = self.arrived - src.len();
        match (borrowed, decode(&mut self.owning, &mut self.buffer, ended)) {
            (Ok(None), Ok(None)) => None,
            (Ok(Some(FrameRef::Complete(data))), Ok(Some(Frame::Complete(same)))) => {
                assert_eq!(data, same);
                Some(Item::Complete(data))
            }
            (Ok(Some(FrameRef::Partial(data))), Ok(Some(Frame::Partial(same)))) => {
                assert_eq!(data, same);
                Some(Item::Partial(data))
            }
            (
                Err(Error::FrameTooLong { limit, .. }),
                Err(Error::FrameTooLong { limit: same, .. }),
            ) => {
                assert_eq!(limit, same);
                Some(Item::TooLong(limit))
            }
            (Err(Error::InvalidHead(_)), Err(Error::InvalidHead(_))) => Some(Item::InvalidHead),
            (borrowed, owned) => panic!("{borrowed:?} and {owned:?}"),
        }
    }

    /// Compares what does not come out.
    fn check(&self, oracle: &Oracle<'_>) {
        assert_eq!(self.from, oracle.pos);
        assert_eq!(self.buffer, oracle.left(self.arrived));
        for codec in [&self.borrowing, &self.owning] {
            assert_eq!(codec.is_skipping(), oracle.skip.is_some());
            assert_eq!(codec.ended_by(), oracle.ended_by);
            assert_eq!(codec.head_len(), oracle.head_len);
            oracle.ending.check(codec.terminator());
        }
    }
}

fn decode(
    codec: &mut TerminatorCodec,
    buffer: &mut BytesMut,
    ended: bool,
) -> Result<Option<Frame>, Error> {
    if ended { codec.decode_eof(buffer) } else { codec.decode(buffer) }
}

/// Plays a session beside the oracle: gives the lengths of its frames, and
/// `None` for an error.
fn play<'d>(
    input: &'d [u8],
    start: &Change<'d>,
    script: &[Change<'d>],
    mut steps: Steps,
) -> Vec<Option<usize>> {
    let mut codec = Both::new(input);
    let mut oracle = Oracle::new(input, Ending::Never);
    start.oracle(&mut oracle);
    codec.change(start, &oracle);
    let mut script = script.iter();
    let (mut frames, mut open) = (vec![], 0);
    // Each turn hands something out, lets something arrive, or is the last.
    for _ in 0..4 * input.len() + 32 {
        let ended = codec.arrived == input.len();
        let expected = oracle.next(Take::AsSet, codec.arrived, ended);
        assert_eq!(codec.next(ended), expected, "{} bytes arrived", codec.arrived);
        codec.check(&oracle);
        match expected {
            Some(Item::Partial(part)) => {
                assert!(!part.is_empty());
                open += part.len();
                continue;
            }
            Some(Item::Complete(rest)) => frames.push(Some(std::mem::take(&mut open) + rest.len())),
            Some(Item::TooLong(_) | Item::InvalidHead) => frames.push(None),
            None if ended => {
                frames.push(Some(open));
                return frames;
            }
            None => {
                codec.arrive(steps.size().min(input.len() - codec.arrived));
                continue;
            }
        }
        if let Some(change) = script.next() {
            change.oracle(&mut oracle);
            codec.change(change, &oracle);
        }
    }
    panic!("endless items");
}

/// Somebody takes bytes off the end of the buffer: nothing is said about what
/// comes out, but it ends, and without a panic.
fn shorten(input: &[u8], start: &Change<'_>, steps: &mut Steps, by: usize) {
    let mut oracle = Oracle::new(input, Ending::Never);
    start.oracle(&mut oracle);
    let mut codec = TerminatorCodec::default();
    start.codec(&mut codec, &oracle);
    let (mut buffer, mut rest) = (BytesMut::new(), Input(input));
    while !rest.0.is_empty() {
        buffer.extend_from_slice(rest.bytes(steps.size()));
        let mut items = (0..buffer.len() + 4).map(|_| decode(&mut codec, &mut buffer, false));
        assert!(items.any(|item| matches!(item, Ok(None))), "endless items");
        buffer.truncate(buffer.len().saturating_sub(by));
    }
}
