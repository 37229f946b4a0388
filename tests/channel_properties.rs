//! Random operations on a channel, on its pusher and on its peer, beside a model
//! too simple to be wrong.
//!
//! What the owner queues is in upper case and what the pusher does in lower
//! case, so that the wire says whose each byte is. `PROPTEST_CASES` raises the
//! number of cases.

mod common;

use asynchat::{Channel, Error, Frame, Pusher, TryPushError};
use bytes::Bytes;
use common::{Ending, mock};
use mock::{Call, Give, Mock, Peer, Probe, Read, Step, Write, mock, producer};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::task::Poll;

/// One operation.
#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    PushSlice(usize),
    Produce(Vec<Part>),
    PushFrame(Vec<u8>),
    Next,
    Receive(Ending),
    Flush,
    Ready,
    Close,
    SetTerminator(Ending),
    SetStreaming(bool),
    SetMaxLength(usize),
    Discard,
    CloseWhenDone,
    PusherPushes(usize),
    PusherProduces(usize),
    PusherCloses,
    PusherAborts,
    PeerSends(Vec<u8>),
    PeerEnds,
    /// Reading finds that the connection is gone, in both directions.
    PeerBreaks(ErrorKind),
    /// Reading fails, and writing goes on.
    PeerFails(ErrorKind),
    /// The peer takes this many bytes at most, and then nothing.
    PeerTakes(usize),
    PeerTakesAll,
    /// A flush and a shutdown are not ready at once.
    PeerIsLate,
    PeerIsGone,
    ProducersGoOn,
}

/// What a producer does.
#[derive(Clone, Debug)]
enum Part {
    Gives(usize),
    /// Not ready, and ready at once.
    Again,
    /// Not ready before `ProducersGoOn`.
    Waits,
    Fails,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..20usize, 1 => 4094..4100usize, 1 => 5000..9000usize]
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let long = vec(prop::sample::select(b"aab\r\n".as_slice()), 0..12);
    // Terminators are often cut in two.
    let short = prop::sample::select(vec!["a\r", "\n", "a", "ab", "\r\n"]);
    prop_oneof![3 => long, 2 => short.prop_map(Vec::from)]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::from("\n")),
        2 => Just(Ending::from("\r\n")),
        1 => Just(Ending::from("abababababa")),
        1 => Just(Ending::from("ab")),
        1 => Just(Ending::from(["b\r\n", "\n", "aa"])),
        1 => Just(Ending::Line),
        2 => (0..7u64).prop_map(Ending::Count),
        1 => Just(Ending::Count(u64::MAX)),
        1 => Just(Ending::Never),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        6 => len().prop_map(Part::Gives),
        2 => Just(Part::Again),
        1 => Just(Part::Waits),
        1 => Just(Part::Fails),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let of_peer = prop_oneof![
        8 => input().prop_map(Op::PeerSends),
        1 => Just(Op::PeerEnds),
        1 => prop::sample::select(BREAKS.as_slice()).prop_map(Op::PeerBreaks),
        1 => prop::sample::select(READ_FAILURES.as_slice()).prop_map(Op::PeerFails),
        3 => len().prop_map(Op::PeerTakes),
        3 => Just(Op::PeerTakesAll),
        1 => Just(Op::PeerIsLate),
        1 => Just(Op::PeerIsGone),
        2 => Just(Op::ProducersGoOn),
    ];
    let of_pusher = prop_oneof![
        6 => len().prop_map(Op::PusherPushes),
        2 => len().prop_map(Op::PusherProduces),
        1 => Just(Op::PusherCloses),
        1 => Just(Op::PusherAborts),
    ];
    let of_input = prop_oneof![
        8 => Just(Op::Next),
        3 => ending().prop_map(Op::Receive),
        3 => ending().prop_map(Op::SetTerminator),
        1 => any::<bool>().prop_map(Op::SetStreaming),
        1 => prop_oneof![0..6usize, Just(usize::MAX)].prop_map(Op::SetMaxLength),
    ];
    let of_output = prop_oneof![
        4 => len().prop_map(Op::Push),
        3 => len().prop_map(Op::PushSlice),
        3 => vec(part(), 0..4).prop_map(Op::Produce),
        2 => vec(prop::sample::select(b"AB\n".as_slice()), 0..4).prop_map(Op::PushFrame),
        2 => Just(Op::Flush),
        1 => Just(Op::Ready),
        1 => Just(Op::CloseWhenDone),
        1 => Just(Op::Close),
    ];
    prop_oneof![8 => of_peer, 10 => of_input, 7 => of_output, 3 => of_pusher, 2 => Just(Op::Discard)]
}

/// What the input comes to, by rules that look at all of it each time.
struct Input {
    /// What the peer has sent, from the frame on that is not yet over.
    bytes: Vec<u8>,
    /// How many bytes lie before these.
    before: usize,
    ended: bool,
    /// Whether it ends by an error.
    broken: bool,
    /// Whether by one that ends the output as well.
    breaks: bool,
    /// Whether all was handed out, and the end is only to be told.
    done: bool,
    /// Whether it was told.
    over: bool,
    term: Ending,
    streaming: bool,
    max_length: usize,
    /// Up to what the frame is skipped.
    skip: Option<Ending>,
    /// Whether a part of the frame was handed out.
    begun: bool,
}

/// What stands at the front of the input.
#[derive(Debug, PartialEq)]
enum Front {
    /// A frame: its content, and how many bytes it takes.
    Frame(Vec<u8>, usize),
    TooLong,
    /// Nothing that is over. So many bytes are part of a frame for certain.
    Open(usize),
}

impl Input {
    fn new(term: Ending) -> Self {
        Input {
            bytes: vec![],
            before: 0,
            ended: false,
            broken: false,
            breaks: false,
            done: false,
            over: false,
            term,
            streaming: false,
            max_length: 65536,
            skip: None,
            begun: false,
        }
    }

    /// Where the first of `bytes` ends that `ending` ends, and its content.
    fn first(ending: &Ending, bytes: &[u8]) -> Option<(usize, usize)> {
        if let Ending::Count(n) = ending {
            let n = usize::try_from(*n).ok().filter(|&n| n <= bytes.len())?;
            return Some((n, n));
        }
        (1..=bytes.len())
            .find_map(|end| ending.at_end_of(&bytes[..end]).map(|found| (end - found.len(), end)))
    }

    /// Drops what is skipped, of the first `len` bytes.
    fn finish_skip(&mut self, len: usize) {
        let Some(skip) = &self.skip else { return };
        if let Some((_, end)) = Self::first(skip, &self.bytes[..len]) {
            self.skip = None;
            self.remove(end);
        }
    }

    fn remove(&mut self, n: usize) {
        self.bytes.drain(..n);
        self.before += n;
    }

    /// What stands at the front of the first `len` bytes.
    fn front(&self, len: usize, streaming: bool) -> Front {
        let bytes = &self.bytes[..len];
        let is_long = |len: u64| !streaming && len > self.max_length as u64;
        match (Self::first(&self.term, bytes), &self.term) {
            (_, Ending::Count(n)) if is_long(*n) => Front::TooLong,
            (Some((content, _)), _) if is_long(content as u64) => Front::TooLong,
            (Some((content, end)), _) => Front::Frame(bytes[..content].to_vec(), end),
            (None, Ending::Count(_) | Ending::Never) => Front::Open(len),
            (None, term) => match len - term.held(bytes) {
                content if is_long(content as u64) => Front::TooLong,
                content => Front::Open(content),
            },
        }
    }

    /// A frame was handed out, or was too long.
    fn spend(&mut self) {
        self.begun = false;
        if let Ending::Count(_) = self.term {
            self.term = Ending::Never;
        }
    }

    fn skip_it(&mut self) {
        self.skip = Some(self.term.clone());
        self.spend();
    }

    /// Drops what was read: `len` bytes from here on.
    fn discard(&mut self, len: usize) {
        let end = self.before + len;
        loop {
            let left = end - self.before;
            self.finish_skip(left);
            let left = end - self.before;
            if self.skip.is_some() || left == 0 && !self.begun {
                break;
            }
            match self.front(left, self.streaming) {
                Front::Frame(_, taken) => {
                    self.spend();
                    self.remove(taken);
                }
                Front::TooLong => self.skip_it(),
                Front::Open(n) if self.term == Ending::Never => {
                    // There is nothing to skip to.
                    self.begun = false;
                    self.remove(n);
                    break;
                }
                Front::Open(_) => {
                    self.skip_it();
                    break;
                }
            }
        }
    }

    /// Checks what `next` gave against what there is.
    fn check_next(&mut self, item: Poll<Option<Result<Frame, Error>>>) -> Result<(), String> {
        self.finish_skip(self.bytes.len());
        let front = match self.skip {
            Some(_) => None,
            None => Some(self.front(self.bytes.len(), self.streaming)),
        };
        match (item, front) {
            (Poll::Ready(Some(Ok(Frame::Complete(data)))), Some(Front::Frame(content, taken)))
                if data == content =>
            {
                self.spend();
                self.remove(taken);
            }
            (Poll::Ready(Some(Ok(Frame::Partial(data)))), Some(front)) => {
                return self.check_part(&data, front);
            }
            (Poll::Ready(Some(Err(Error::FrameTooLong { limit, .. }))), Some(Front::TooLong))
                if limit == self.max_length =>
            {
                self.skip_it();
            }
            (Poll::Pending, None) if !self.ended => {}
            (Poll::Pending, Some(Front::Open(n))) if self.is_held(n) && !self.ended => {}
            (Poll::Ready(None), None) if self.ended => self.end(),
            (Poll::Ready(None), Some(Front::Open(0))) if self.ended && self.bytes.is_empty() => {
                self.end();
            }
            (item, front) => return Err(format!("next: {item:?}, and there is {front:?}")),
        }
        Ok(())
    }

    /// Whether nothing is handed out when `n` bytes are part of a frame.
    fn is_held(&self, n: usize) -> bool {
        n == 0 || !self.streaming && self.term != Ending::Never
    }

    /// Notes that everything was handed out, if that is so.
    fn is_done(&mut self) -> bool {
        self.finish_skip(self.bytes.len());
        self.done |= self.ended && (self.skip.is_some() || self.bytes.is_empty());
        self.done
    }

    fn end(&mut self) {
        (self.over, self.skip) = (true, None);
        self.remove(self.bytes.len());
    }

    fn check_part(&mut self, data: &[u8], front: Front) -> Result<(), String> {
        if data.is_empty() || !self.bytes.starts_with(data) {
            return Err(format!("part {data:?} of {:?}", self.bytes));
        }
        let is_rest = self.ended && data.len() == self.bytes.len();
        self.begun = match front {
            Front::Open(n) if data.len() <= n && !self.is_held(n) => self.term != Ending::Never,
            // It may hold what could have begun a terminator.
            Front::Open(_) if is_rest => false,
            // The rest of it comes as `Complete`.
            Front::Frame(content, _) if data.len() <= content.len() && self.streaming => true,
            front => return Err(format!("part {data:?} of {front:?}")),
        };
        if let Ending::Count(n) = &mut self.term {
            *n -= data.len() as u64;
        }
        self.remove(data.len());
        Ok(())
    }

    /// Checks what `receive` gave.
    fn check_receive(&mut self, got: Poll<Result<Bytes, Error>>) -> Result<(), String> {
        self.finish_skip(self.bytes.len());
        let front = match self.skip {
            Some(_) => None,
            None => Some(self.front(self.bytes.len(), false)),
        };
        let to_the_end = self.term == Ending::Never;
        match (got, front) {
            (Poll::Ready(Ok(data)), Some(Front::Frame(content, taken))) if data == content => {
                self.spend();
                self.remove(taken);
            }
            (Poll::Ready(Err(Error::FrameTooLong { limit, .. })), Some(Front::TooLong))
                if limit == self.max_length =>
            {
                self.skip_it();
            }
            (Poll::Ready(Err(Error::FrameTooLong { limit, .. })), Some(Front::Open(n)))
                if to_the_end && limit == self.max_length && n > limit =>
            {
                self.skip_it();
            }
            (Poll::Ready(Ok(data)), Some(Front::Open(_))) if to_the_end && self.ended => {
                if data != self.bytes {
                    return Err(format!("{data:?} to the end, of {:?}", self.bytes));
                }
                // The end itself is not told by it.
                self.remove(data.len());
            }
            (Poll::Ready(Ok(data)), None) if to_the_end && self.ended && data.is_empty() => {
                // What is skipped has ended, too.
                self.is_done();
                self.skip = None;
                self.remove(self.bytes.len());
            }
            (Poll::Ready(Err(Error::UnexpectedEof { partial, .. })), front) if self.ended => {
                let rest = if front.is_some() { &self.bytes[..] } else { b"" };
                if partial != rest || matches!(front, Some(Front::Frame(..) | Front::TooLong)) {
                    return Err(format!("{partial:?} is left, of {front:?}"));
                }
                if let Ending::Count(n) = &mut self.term {
                    *n = n.saturating_sub(partial.len() as u64);
                }
                self.skip = None;
                self.over |= partial.is_empty();
                self.begun = false;
                self.remove(self.bytes.len());
            }
            (Poll::Pending, None | Some(Front::Open(_))) if !self.ended => {}
            (got, front) => return Err(format!("receive: {got:?}, and there is {front:?}")),
        }
        Ok(())
    }
}

/// The channel, its surroundings, and what they must come to.
struct Machine {
    channel: Channel<Mock>,
    pusher: Pusher,
    peer: Peer,
    probes: Vec<Probe>,
    input: Input,
    /// How many bytes were read from the peer.
    read: usize,
    owned: Source,
    pushed: Source,
    /// The length of the first slice of a write that is pending, else 0.
    offered: usize,
    /// How many bytes `discard_buffers` has kept that are not sent.
    kept: usize,
    /// Whether reading has found that the connection is gone.
    found_break: bool,
    /// Whether that was before the writing side was shut down.
    lost: bool,
    /// How many payloads were made.
    payloads: usize,
    /// Whether the peer takes only so much.
    is_blocked: bool,
    /// Whether a producer may wait for `ProducersGoOn`.
    waits: bool,
    is_flushed: bool,
    is_shut: bool,
    /// Whether there are producers, whose bytes do not count as queued.
    has_producers: bool,
    closing: bool,
    /// What may be told, because it happened or can happen.
    may_tell: Vec<&'static str>,
    told: Vec<&'static str>,
    /// Whether input has ended by an error.
    failed: bool,
}

/// What one side has queued, and how much of that was sent.
#[derive(Default)]
struct Source {
    queued: Vec<u8>,
    sent: usize,
    /// What was queued when buffers were discarded. What is kept of both sources
    /// is the beginning of this.
    before: VecDeque<u8>,
}

impl Source {
    fn is_sent(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> usize {
        self.queued.len() - self.sent
    }

    /// What is queued may only be kept.
    fn discard(&mut self) {
        self.before.extend(self.queued.drain(self.sent..));
    }

    /// Removes the next byte, of those that are kept or of the others.
    fn send(&mut self, is_kept: bool) -> Option<u8> {
        if is_kept {
            return self.before.pop_front();
        }
        let byte = self.queued.get(self.sent).copied();
        self.sent += 1;
        byte
    }
}

type Checked = Result<(), String>;

impl Machine {
    fn new(out_buffer_size: usize, vectored: bool) -> Self {
        let (io, peer) = mock();
        if !vectored {
            peer.is_not_vectored();
        }
        let mut channel = Channel::builder()
            .terminator("\n")
            .encode_terminator("\n")
            .out_buffer_size(out_buffer_size)
            .high_water(HIGH_WATER)
            .low_water(1000)
            .build(io);
        Machine {
            pusher: channel.pusher(),
            channel,
            peer,
            probes: vec![],
            input: Input::new(Ending::from("\n")),
            read: 0,
            owned: Source::default(),
            pushed: Source::default(),
            offered: 0,
            kept: 0,
            found_break: false,
            lost: false,
            payloads: 0,
            is_blocked: false,
            waits: false,
            // A transport may hold bytes when the channel gets it.
            is_flushed: false,
            is_shut: false,
            has_producers: false,
            closing: false,
            may_tell: vec![],
            told: vec![],
            failed: false,
        }
    }

    /// That many bytes, of which no two payloads have the same.
    fn payload(&mut self, len: usize, first: u8) -> Bytes {
        self.payloads += 1;
        (0..len).map(|at| first + ((self.payloads * 7 + at + at / 26) % 26) as u8).collect()
    }

    /// The same, counted as queued by the owner.
    fn owned(&mut self, len: usize) -> Bytes {
        let data = self.payload(len, b'A');
        if !self.closing {
            self.owned.queued.extend_from_slice(&data);
        }
        data
    }

    /// Whether writing has failed or was given up, so that not everything need be
    /// sent, and that is to be told.
    fn has_failed(&self) -> bool {
        let by_producer = self.probes.iter().any(Probe::has_failed);
        self.peer.broke() || self.lost || self.is_aborted() || by_producer
    }

    fn is_aborted(&self) -> bool {
        self.may_tell.contains(&"aborted")
    }

    /// Notes an error that was told: it can have happened, and is news.
    fn tell(&mut self, error: &Error) -> Checked {
        let what = match error {
            Error::Io(e) if e.kind() == ErrorKind::BrokenPipe => "write",
            Error::Io(e) if BREAKS.contains(&e.kind()) && self.lost => "break",
            Error::Io(e) if BREAKS.contains(&e.kind()) && self.found_break => "read",
            Error::Io(e) if READ_FAILURES.contains(&e.kind()) => "read",
            Error::Producer(_) => "producer",
            Error::Aborted => "aborted",
            other => return Err(format!("{other:?}")),
        };
        if !self.may_tell.contains(&what) || self.told.contains(&what) {
            return Err(format!("{what}: of {:?}, behind {:?}", self.may_tell, self.told));
        }
        self.told.push(what);
        Ok(())
    }

    /// Polls a new future, and further ones as long as it has woken itself.
    fn poll<R>(
        &mut self,
        mut call: impl AsyncFnMut(&mut Channel<Mock>) -> R,
    ) -> Result<Poll<R>, String> {
        for _ in 0..1000 {
            self.peer.forget_wakers();
            let mut task = tokio_test::task::spawn(Box::pin(call(&mut self.channel)));
            let polled = task.poll();
            let is_woken = task.is_woken();
            drop(task);
            self.note_io()?;
            if polled.is_pending() && is_woken {
                continue;
            }
            let somebody = self.waits || self.peer.has_reader() || self.peer.has_writer();
            if polled.is_pending() && !somebody {
                return Err("pending, and nobody wakes it".into());
            }
            return Ok(polled);
        }
        Err("it wakes itself for ever".into())
    }

    /// What is on the wire is what was queued, as far as it has come.
    fn note_io(&mut self) -> Checked {
        let (mut reads, mut writes) = (0, 0);
        for call in self.peer.calls() {
            match call {
                Call::Read(n) => {
                    self.read += n;
                    reads += 1;
                }
                Call::Write(_) | Call::Vectored(..) => {
                    self.is_flushed = false;
                    writes += 1;
                }
                Call::Flush => self.is_flushed = true,
                Call::Shutdown => self.is_shut = true,
            }
        }
        for byte in self.peer.written_bytes() {
            let by_pusher = byte.is_ascii_lowercase();
            let source = if by_pusher { &mut self.pushed } else { &mut self.owned };
            if source.send(self.kept > 0) != Some(byte) {
                return Err(format!("{:?} is not what was queued", char::from(byte)));
            }
            self.kept = self.kept.saturating_sub(1);
            self.forget_discarded();
        }
        if self.is_shut && self.kept > 0 {
            return Err(format!("shut down before {} bytes that were kept", self.kept));
        }
        self.note_offer(writes)?;
        // A read that came to nothing would have waited, if there were no error.
        if self.input.breaks && !self.found_break && self.peer.asked().len() > reads {
            self.found_break = true;
            self.lost = !self.is_shut;
        }
        self.peer.asked();
        if self.peer.broke() || self.lost {
            (self.offered, self.kept) = (0, 0);
            self.forget_discarded();
        }
        Ok(())
    }

    /// One poll is over, in which so many writes took something. Only its last can
    /// be pending.
    fn note_offer(&mut self, writes: usize) -> Checked {
        let pieces = self.peer.pieces();
        let first_of = |slices: &Vec<(usize, usize)>| slices.first().map_or(0, |&(_, len)| len);
        if pieces.first().is_some_and(|slices| first_of(slices) < self.offered) {
            return Err(format!("less is offered again than {}: {pieces:?}", self.offered));
        }
        if pieces.len() > writes + 1 {
            return Err("written again in the poll in which a write was pending".into());
        }
        if let Some(last) = pieces.last() {
            self.offered = if pieces.len() > writes { first_of(last) } else { 0 };
        }
        Ok(())
    }

    fn forget_discarded(&mut self) {
        if self.kept == 0 {
            self.owned.before.clear();
            self.pushed.before.clear();
        }
    }

    /// Whether there is nothing left to send, to flush and to close.
    fn is_sent(&self) -> bool {
        let is_closed = self.is_shut || !self.closing;
        let is_written = self.kept == 0 && self.owned.is_sent() && self.pushed.is_sent();
        is_written && self.is_flushed && is_closed
    }

    /// A call that sends is pending, or done.
    fn check_sent(&mut self, done: Poll<()>) -> Checked {
        match done {
            // Found even if only a producer is waited for.
            Poll::Pending if self.lost || self.input.breaks && !self.is_blocked => {
                Err("sending waits, and the connection is gone".into())
            }
            Poll::Pending if self.is_blocked || self.waits => Ok(()),
            Poll::Pending => Err("sending waits, and nothing is in its way".into()),
            Poll::Ready(()) if self.has_failed() => Err("done, and sending has failed".into()),
            Poll::Ready(()) if self.is_sent() => {
                (self.waits, self.has_producers) = (false, false);
                Ok(())
            }
            Poll::Ready(()) => Err("done, and not everything is sent".into()),
        }
    }

    fn step(&mut self, op: Op) -> Checked {
        match op {
            Op::Push(len) => {
                let data = self.owned(len);
                self.channel.push(data);
            }
            Op::PushSlice(len) => {
                let data = self.owned(len);
                self.channel.push_slice(&data);
            }
            Op::Produce(parts) => self.produce(parts),
            Op::PushFrame(content) => self.push_frame(content)?,
            Op::Next => self.next()?,
            Op::Receive(ending) => self.receive(ending)?,
            Op::Flush => self.flush()?,
            Op::Ready => self.ready()?,
            Op::Close => self.close()?,
            Op::SetTerminator(ending) => {
                self.channel.set_terminator(ending.build());
                self.input.term = ending;
            }
            Op::SetStreaming(streaming) => {
                self.channel.codec_mut().set_streaming(streaming);
                self.input.streaming = streaming;
            }
            Op::SetMaxLength(max_length) => {
                self.channel.codec_mut().set_max_length(max_length);
                self.input.max_length = max_length;
            }
            Op::Discard => self.discard()?,
            Op::CloseWhenDone => {
                self.channel.close_when_done();
                self.closing = true;
            }
            Op::PusherPushes(len) => self.try_push(len)?,
            Op::PusherProduces(len) => self.push_with_producer(len)?,
            Op::PusherCloses => {
                self.pusher.close_when_done();
                // The channel hears of it when it is polled.
                self.flush()?;
                self.closing = true;
            }
            Op::PusherAborts => {
                self.pusher.abort();
                self.may_tell.push("aborted");
            }
            Op::ProducersGoOn => self.probes.iter().for_each(Probe::wake),
            of_peer => self.step_of_peer(of_peer),
        }
        self.check_input()
    }

    fn step_of_peer(&mut self, op: Op) {
        let is_over = self.input.ended || self.input.broken;
        match op {
            Op::PeerSends(data) if !is_over && !data.is_empty() => {
                self.input.bytes.extend_from_slice(&data);
                self.peer.sends(data);
            }
            Op::PeerEnds if !is_over => {
                self.input.ended = true;
                self.peer.ends();
            }
            Op::PeerBreaks(kind) if !is_over => {
                (self.input.broken, self.input.breaks) = (true, true);
                self.may_tell.extend(["read", "break"]);
                self.peer.reads([Read::Err(kind)]);
            }
            Op::PeerFails(kind) if !is_over => {
                self.input.broken = true;
                self.may_tell.push("read");
                self.peer.reads([Read::Err(kind)]);
            }
            Op::PeerTakes(n) if n > 0 && !self.may_tell.contains(&"write") => {
                self.is_blocked = true;
                self.peer.takes_again([Write::Accept(n), Write::Pending]);
            }
            Op::PeerTakesAll if !self.may_tell.contains(&"write") => {
                self.is_blocked = false;
                self.peer.takes_again([]);
            }
            Op::PeerIsLate => {
                self.peer.flushes([Step::Again]);
                self.peer.shutdowns([Step::Again]);
            }
            Op::PeerIsGone => {
                self.is_blocked = false;
                self.may_tell.push("write");
                self.peer.takes_again([Write::Err(ErrorKind::BrokenPipe)]);
            }
            _ => {}
        }
    }

    /// What lies in the channel is what was read and not handed out.
    fn check_input(&self) -> Checked {
        let input = &self.input;
        if self.failed || input.done || input.over || input.skip.is_some() || self.is_aborted() {
            return Ok(());
        }
        let unread = &input.bytes[..self.read - input.before];
        if self.channel.unread() != unread || *self.channel.terminator() != input.term.build() {
            let mine = (self.channel.unread(), self.channel.terminator());
            return Err(format!("{mine:?}, and there is {unread:?}, {:?}", input.term));
        }
        Ok(())
    }

    fn produce(&mut self, parts: Vec<Part>) {
        let mut script = vec![];
        for part in parts {
            script.push(match part {
                Part::Gives(len) => Give::Chunk(self.owned(len)),
                Part::Again => Give::Again,
                Part::Waits => Give::Pending,
                Part::Fails => Give::Err(ErrorKind::Other),
            });
        }
        let (stream, probe) = producer(script.iter().cloned());
        self.probes.push(probe);
        self.channel.push_with_producer(stream);
        if !self.closing {
            self.has_producers = true;
            self.waits |= script.iter().any(|give| matches!(give, Give::Pending));
            if script.iter().any(|give| matches!(give, Give::Err(_))) {
                self.may_tell.push("producer");
            }
        }
    }

    fn push_frame(&mut self, content: Vec<u8>) -> Checked {
        let has_terminator = content.contains(&b'\n');
        match self.channel.push_frame(content.clone()) {
            Ok(()) if !self.closing && !has_terminator => {
                self.owned.queued.extend_from_slice(&content);
                self.owned.queued.push(b'\n');
                Ok(())
            }
            Err(Error::Closed) if self.closing || self.has_failed() => Ok(()),
            Err(Error::TerminatorInContent) if has_terminator => Ok(()),
            other => Err(format!("push_frame: {other:?}")),
        }
    }

    /// Whether `next` may wait, or end, although input has not: because the
    /// writing side closes, or broke.
    fn is_last(&mut self) -> bool {
        self.input.finish_skip(self.input.bytes.len());
        let Input { bytes, streaming, .. } = &self.input;
        let front = self.input.front(bytes.len(), *streaming);
        self.input.skip.is_some() || matches!(front, Front::Open(n) if self.input.is_held(n))
    }

    fn next(&mut self) -> Checked {
        let item = self.poll(async |c| c.next().await)?;
        let aborted = self.is_aborted();
        match item {
            Poll::Ready(None) if self.failed || self.input.over => Ok(()),
            item if self.failed || self.input.over => Err(format!("behind the end: {item:?}")),
            Poll::Ready(Some(Err(error))) if !matches!(error, Error::FrameTooLong { .. }) => {
                self.failed = true;
                self.tell(&error)?;
                let is_late = aborted || self.input.ended && self.input.bytes.is_empty();
                if !is_late && !self.is_last() {
                    return Err("an error before what was received".into());
                }
                Ok(())
            }
            Poll::Ready(None) if self.has_failed() && !self.has_told_of_output() => {
                Err("the end, and how sending failed is not told".into())
            }
            // An error was told by `flush`, say, and this is where reading ends.
            Poll::Ready(None) if self.has_told_of_output() && (aborted || self.is_last()) => {
                self.failed = true;
                Ok(())
            }
            Poll::Pending if self.input.ended => self.check_end_waits(),
            Poll::Pending if self.input.broken || self.has_told_of_output() => {
                Err("waits, and something broke".into())
            }
            Poll::Ready(None) if self.closing && !self.is_sent() && !self.has_failed() => {
                Err("the end, and not everything is sent".into())
            }
            Poll::Ready(None) if self.input.done => {
                self.input.end();
                // An aborted connection has no frames, also no empty ones.
                self.failed |= aborted;
                Ok(())
            }
            item => self.input.check_next(item),
        }
    }

    /// "The end" includes the end of our side.
    fn check_end_waits(&mut self) -> Checked {
        let closes = self.closing || self.has_failed();
        if closes && (self.is_blocked || self.waits) && self.input.is_done() {
            return Ok(());
        }
        Err("the end waits, and nothing is in its way".into())
    }

    fn receive(&mut self, ending: Ending) -> Checked {
        let got = {
            let terminator = ending.build();
            self.poll(async |c| c.receive(terminator.clone()).await)?
        };
        self.input.term = ending;
        let is_end = self.failed || self.input.over;
        let to_the_end = self.input.term == Ending::Never;
        let aborted = self.is_aborted();
        match got {
            Poll::Ready(Ok(data)) if is_end && to_the_end && data.is_empty() => Ok(()),
            // The frame that the end of input ends comes again and again, until a failure of
            // the output.
            Poll::Ready(Err(error)) if to_the_end && self.input.over && !self.failed => {
                self.failed = true;
                self.tell(&error)
            }
            Poll::Ready(Err(Error::UnexpectedEof { .. })) if is_end => Ok(()),
            got if is_end => Err(format!("behind the end: {got:?}")),
            // Nothing is looked for any more.
            Poll::Ready(Err(Error::UnexpectedEof { partial, .. })) if self.input.done => {
                self.input.end();
                if partial.is_empty() { Ok(()) } else { Err(format!("{partial:?} behind all")) }
            }
            // The end itself is not told by it, and may wait for the output.
            Poll::Ready(Ok(data)) if self.input.done && to_the_end && data.is_empty() => Ok(()),
            Poll::Ready(Err(Error::UnexpectedEof { .. }))
                if self.has_told_of_output() && (aborted || !self.input.ended) =>
            {
                self.failed = true;
                Ok(())
            }
            got @ Poll::Ready(
                Ok(_) | Err(Error::FrameTooLong { .. } | Error::UnexpectedEof { .. }),
            ) => self.input.check_receive(got),
            Poll::Ready(Err(error)) => {
                self.failed = true;
                self.tell(&error)
            }
            Poll::Pending if self.input.ended && to_the_end => {
                Err("everything waits, and it is there".into())
            }
            Poll::Pending if self.input.ended => self.check_end_waits(),
            Poll::Pending if self.input.broken || self.has_told_of_output() => {
                Err("waits, and something broke".into())
            }
            got => self.input.check_receive(got),
        }
    }

    fn flush(&mut self) -> Checked {
        match self.poll(async |c| c.flush().await)? {
            Poll::Pending => self.check_sent(Poll::Pending),
            Poll::Ready(Ok(())) => self.check_sent(Poll::Ready(())),
            Poll::Ready(Err(Error::Closed)) if self.has_told_of_output() => Ok(()),
            Poll::Ready(Err(error)) => self.tell(&error),
        }
    }

    fn has_told_of_output(&self) -> bool {
        self.told.iter().any(|what| *what != "read")
    }

    fn ready(&mut self) -> Checked {
        match self.poll(async |c| c.ready().await)? {
            Poll::Pending => self.check_sent(Poll::Pending),
            Poll::Ready(Ok(()))
                if self.closing || self.channel.queued_bytes() >= HIGH_WATER as u64 =>
            {
                Err("there is no room".into())
            }
            Poll::Ready(Ok(())) if self.peer.broke() || self.lost => {
                Err("room, and sending has failed".into())
            }
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Error::Closed)) if self.closing || self.has_told_of_output() => Ok(()),
            Poll::Ready(Err(error)) => self.tell(&error),
        }
    }

    fn close(&mut self) -> Checked {
        self.closing = true;
        match self.poll(async |c| c.shutdown().await)? {
            Poll::Pending => self.check_sent(Poll::Pending),
            Poll::Ready(Ok(())) => self.check_sent(Poll::Ready(())),
            Poll::Ready(Err(Error::Closed)) if self.has_told_of_output() => Ok(()),
            Poll::Ready(Err(error)) => self.tell(&error),
        }
    }

    fn discard(&mut self) -> Checked {
        let discarded = self.channel.discard_buffers();
        if !self.failed && !self.input.over {
            self.input.discard(self.read - self.input.before);
        }
        // Kept is what the transport may have begun to send.
        let keeps = self.offered.min(RECORD);
        let left = self.kept + self.owned.left() + self.pushed.left();
        let is_known = !self.has_producers && !self.has_failed();
        if is_known && discarded.output_bytes != (left - keeps) as u64 {
            return Err(format!("{discarded:?}, and there were {left} bytes, {keeps} to keep"));
        }
        if !self.is_aborted() && self.channel.queued_bytes() != keeps as u64 {
            return Err(format!("{} queued, {keeps} to keep", self.channel.queued_bytes()));
        }
        let is_again = self.kept > 0;
        if is_again && keeps > self.kept {
            return Err(format!("{keeps} offered, of {} that were kept before", self.kept));
        }
        for source in [&mut self.owned, &mut self.pushed] {
            if is_again {
                source.queued.truncate(source.sent);
            } else {
                source.discard();
            }
        }
        (self.offered, self.kept) = (keeps, keeps);
        self.forget_discarded();
        (self.waits, self.has_producers) = (false, false);
        Ok(())
    }

    fn try_push(&mut self, len: usize) -> Checked {
        let data = self.payload(len, b'a');
        match self.pusher.try_push(data.clone()) {
            Ok(()) if !self.closing => self.pushed.queued.extend_from_slice(&data),
            Err(TryPushError::Full(back)) if !self.closing && back == data => {}
            Err(TryPushError::Closed(back)) if back == data => {
                if !self.closing && !self.has_failed() {
                    return Err("given back, and it is open".into());
                }
            }
            other => return Err(format!("try_push: {other:?}")),
        }
        Ok(())
    }

    fn push_with_producer(&mut self, len: usize) -> Checked {
        let data = self.payload(len, b'a');
        let (stream, probe) = producer([Give::Again, Give::Chunk(data.clone())]);
        match mock::poll!(self.pusher.push_with_producer(stream)) {
            Poll::Ready(Ok(())) if self.closing => return Err("taken, and it is closed".into()),
            Poll::Ready(Ok(())) => {
                self.has_producers = true;
                self.pushed.queued.extend_from_slice(&data);
            }
            // Dropped, and not polled.
            Poll::Pending | Poll::Ready(Err(_)) if probe.polls() > 0 => {
                return Err("polled, and it is not taken".into());
            }
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        Ok(())
    }

    /// The peer takes everything and ends its side: it all comes to an end.
    fn finish(mut self) -> Checked {
        self.step_of_peer(Op::PeerTakesAll);
        self.step_of_peer(Op::PeerEnds);
        for turns in 0.. {
            self.probes.iter().for_each(Probe::wake);
            self.next()?;
            if self.failed || self.input.over {
                break;
            }
            if turns > 300 {
                return Err("input does not end".into());
            }
        }
        for _ in 0..100 {
            self.probes.iter().for_each(Probe::wake);
            self.close()?;
        }
        if !self.has_failed() && !self.is_sent() {
            return Err("closed, and not everything is sent".into());
        }
        if self.has_failed() != self.has_told_of_output() {
            return Err("how sending failed was not told".into());
        }
        if self.input.broken && self.told.is_empty() {
            return Err("an error was not told".into());
        }
        if self.probes.iter().any(|probe| probe.drops() != 1) || !self.pusher.is_closed() {
            return Err("a producer is left, or the pusher open".into());
        }
        self.next()
    }
}

fn play(ops: impl Iterator<Item = Op>, out_buffer_size: usize, vectored: bool) -> Checked {
    let mut machine = Machine::new(out_buffer_size, vectored);
    for (at, op) in ops.enumerate() {
        let shown = format!("{op:?}");
        machine.step(op).map_err(|why| format!("step {at}, {shown}: {why}"))?;
    }
    machine.finish().map_err(|why| format!("at the end: {why}"))
}

fn cases(default: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = default;
    }
    config
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn channel_matches_model(
        first in (ending(), any::<bool>()),
        ops in vec(op(), 0..40),
        out_buffer_size in prop::sample::select([1, 100, 4096, 65536].as_slice()),
        vectored in any::<bool>(),
    ) {
        let (ending, streaming) = first;
        let first = [Op::SetTerminator(ending), Op::SetStreaming(streaming)];
        let all = first.into_iter().chain(ops);
        play(all, out_buffer_size, vectored).map_err(TestCaseError::fail)?;
    }
}

const HIGH_WATER: usize = 9000;

/// No more of a pending write is kept: the largest TLS record.
const RECORD: usize = 16 * 1024;

/// The read errors that end both directions, but for the one with which writing fails.
const BREAKS: [ErrorKind; 3] =
    [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted, ErrorKind::NotConnected];

/// Read errors that end input only.
const READ_FAILURES: [ErrorKind; 3] =
    [ErrorKind::Other, ErrorKind::TimedOut, ErrorKind::UnexpectedEof];
