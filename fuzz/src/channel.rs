//! Whatever is done to a channel, and whatever its transport does meanwhile:
//! input comes as the oracle says, output is written once and in order, a
//! failure is told once, a `Pending` has somebody who wakes, memory is bounded,
//! and at the end everything comes to its end.

use asynchat::{Channel, Error, Frame, Pusher, Terminator, TryPushError};
use bytes::Bytes;
use futures::Sink;
use fuzz_oracle::input::Input;
use fuzz_oracle::io::{Count, End, Io};
use fuzz_oracle::oracle::{Ending, Item, Oracle, Take, Term, reads_back};
use fuzz_oracle::producer::{Probe, Producer};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let peer = input.some(96);
    let mut play = Play::new(&mut input, peer);
    while !input.0.is_empty() {
        play.operation(&mut input);
        play.check();
    }
    play.finish();
}

struct Play<'d> {
    channel: Channel<Io>,
    count: Arc<Count>,
    waker: Waker,
    oracle: Oracle<'d>,
    encode: Term<'d>,
    pusher: Option<Pusher>,
    probes: Vec<Arc<Probe>>,
    /// All that is to be written, in order.
    expected: Vec<u8>,
    /// How much of it was seen to be written.
    checked: usize,
    /// A producer in the queue will fail: nothing behind it is written.
    doomed: bool,
    /// What the channel has not yet heard of its pusher.
    inbox: Vec<u8>,
    requests: Requests,
    /// The writing side was closed, or the connection given up.
    closing: bool,
    aborted: bool,
    /// The failure of the writing side, or the abort, was told.
    told: bool,
    /// Nothing is left of the input.
    all_came: bool,
    /// The end of input, or the failure, was told by `next`.
    over: bool,
    /// How much may be held: what was, or what must be there before one reads on.
    most: usize,
    sizes: Sizes,
}

#[derive(Default)]
struct Requests {
    close: bool,
    abort: bool,
}

struct Sizes {
    in_buffer: usize,
    out_buffer: usize,
    high: usize,
}

/// What came of waiting for input.
#[derive(Debug)]
enum Came {
    Frame(Frame),
    TooLong(usize),
    Failed(Error),
    End,
    /// The end, with what there was.
    Early(Bytes),
}

impl<'d> Play<'d> {
    fn new(input: &mut Input<'d>, peer: &'d [u8]) -> Self {
        let term = input.term();
        let encode = input.term();
        let sizes = Sizes {
            // Large ones read all that can come at once.
            in_buffer: match usize::from(input.byte()) {
                byte if byte % 2 == 0 => 1 + byte / 2 % 16,
                byte => 1 + byte,
            },
            out_buffer: 1 + usize::from(input.byte()),
            high: 64 * (1 + usize::from(input.byte())),
        };
        let what = input.byte();
        let mut io = Io::new(peer);
        io.vectored = what & 1 == 0;
        let mut oracle = Oracle::new(peer, term.ending);
        match usize::from(what >> 4) {
            more if what & 2 != 0 => io.at_once = 1 + more,
            0 => {}
            limit => oracle.max_length = limit,
        }
        let channel = Channel::builder()
            .terminator(term.built)
            .encode_terminator(encode.built.clone())
            .max_length(oracle.max_length)
            .in_buffer_size(sizes.in_buffer)
            .out_buffer_size(sizes.out_buffer)
            .high_water(sizes.high)
            .low_water(sizes.high / 4)
            .corked(what & 12 == 12)
            .build(io);
        let count = Arc::new(Count::default());
        Play {
            channel,
            waker: Waker::from(Arc::clone(&count)),
            count,
            oracle,
            encode,
            pusher: None,
            probes: vec![],
            expected: vec![],
            checked: 0,
            doomed: false,
            inbox: vec![],
            requests: Requests::default(),
            closing: false,
            aborted: false,
            told: false,
            all_came: false,
            over: false,
            most: 0,
            sizes,
        }
    }

    fn operation(&mut self, input: &mut Input<'d>) {
        let what = input.byte();
        let more = usize::from(what >> 5);
        match what & 31 {
            0..=3 => self.next(),
            4 => {
                let term = self.term(input);
                self.receive(self.oracle.max_length, term, false);
            }
            5 => {
                let limit = input.limit();
                let term = self.term(input);
                self.receive(limit, term, true);
            }
            6 => self.receive_part(),
            7 => {
                let term = self.term(input);
                self.channel.set_terminator(term);
            }
            8 => {
                self.oracle.streaming ^= true;
                self.channel.codec_mut().set_streaming(self.oracle.streaming);
            }
            9 => {
                self.oracle.keep ^= true;
                self.channel.codec_mut().set_keep_terminator(self.oracle.keep);
            }
            10 => {
                self.oracle.max_length = input.limit();
                self.channel.codec_mut().set_max_length(self.oracle.max_length);
            }
            11 => self.push(Bytes::copy_from_slice(input.some(64))),
            12 => self.push(Bytes::from(vec![what; 64 * more])),
            13 => {
                let data = input.some(64);
                self.queue(data);
                self.channel.push_slice(data);
            }
            // From 4 KiB on it is not copied.
            14 => self.push(Bytes::from(vec![what; 4094 + more])),
            15 => self.produce(input.some(16)),
            16 => {
                self.ready();
            }
            17 => {
                self.flush();
            }
            18 if more > 5 => {
                self.close();
            }
            19 if more > 5 => {
                self.channel.close_when_done();
                self.close_asked();
            }
            20 if more > 3 => self.discard(),
            21 => self.feed(input.some(16)),
            22 => {
                let item = input.some(16);
                let queued = self.channel.push_frame(Bytes::copy_from_slice(item));
                self.framed(item, queued);
            }
            23 => self.try_push(input.some(32)),
            24 => self.pusher_push(input.some(32)),
            25 if more > 5 => {
                self.pusher().close_when_done();
                self.requests.close = true;
            }
            26 if more == 7 => {
                self.pusher().abort();
                self.requests.abort = true;
            }
            27 => self.channel.get_mut().send(1 << more),
            28 if more > 3 => {
                let end = if more == 7 { End::Error } else { End::Eof };
                let io = self.channel.get_mut();
                io.end = io.end.or(Some(end));
                io.wake();
            }
            29 => {
                let io = self.channel.get_mut();
                io.room = if more == 7 { usize::MAX } else { more << more };
                io.wake();
            }
            30 => {
                let io = self.channel.get_mut();
                io.stuck ^= more < 6;
                io.write_error |= more == 7;
                io.wake();
            }
            31 if more == 7 => self.channel.set_corked(input.byte() & 1 == 0),
            31 => self.probes.iter().for_each(|probe| probe.go()),
            _ => self.channel.get_mut().send(more),
        }
    }

    fn term(&mut self, input: &mut Input<'d>) -> Terminator {
        let Term { ending, built } = input.term();
        self.oracle.ending = ending;
        built
    }

    /// Holds after everything.
    fn check(&mut self) {
        let held = self.channel.unread().len();
        assert!(held <= self.most, "input is held without limit");
        self.most = held;
        let io = self.channel.get_ref();
        let (written, expected) = (&io.written[self.checked..], &self.expected[self.checked..]);
        assert!(expected.starts_with(written), "lost, doubled, or out of order");
        self.checked = io.written.len();
        assert!(io.shutdowns <= 1);
        assert_eq!(self.channel.sent_bytes(), io.written.len() as u64);
        if !self.over && !self.aborted && !self.requests.abort {
            let left = self.oracle.left(io.arrived());
            // What is to be skipped goes when the channel is next polled.
            assert!(self.channel.unread().ends_with(left));
            self.oracle.ending.check(self.channel.terminator());
            assert_eq!(self.channel.ended_by(), self.oracle.ended_by);
        }
    }

    // Input.

    fn next(&mut self) {
        self.reads(Take::AsSet);
        let polled = self.poll(|channel, cx| pin!(channel.next()).poll(cx));
        let came = polled.map(|next| next.map_or(Came::End, Came::new));
        self.came(Take::AsSet, came);
    }

    fn receive(&mut self, limit: usize, term: Terminator, within: bool) {
        self.reads(Take::Whole(limit));
        let polled = self.poll(|channel, cx| match within {
            true => pin!(channel.receive_within(limit, term)).poll(cx),
            false => pin!(channel.receive(term)).poll(cx),
        });
        self.came(
            Take::Whole(limit),
            polled.map(|got| Came::new(got.map(|data| Frame::Complete(data.into())))),
        );
    }

    fn receive_part(&mut self) {
        self.reads(Take::Parts);
        let polled = self.poll(|channel, cx| pin!(channel.receive_part()).poll(cx));
        self.came(Take::Parts, polled.map(Came::new));
    }

    /// One read more than what gives nothing to hand out, or to drop.
    fn reads(&mut self, take: Take) {
        let Oracle { ending, skip, .. } = &self.oracle;
        let held = |ending: &Ending<'_>| {
            ending.members().iter().map(|member| member.len() - 1).max().unwrap_or(0)
        };
        let whole = match take {
            Take::Whole(limit) => limit,
            Take::AsSet if !self.oracle.streaming && *ending != Ending::Never => {
                self.oracle.max_length
            }
            _ => 0,
        };
        let whole = match ending {
            Ending::Count(n) => whole.min(*n as usize),
            _ => whole.saturating_add(held(ending)),
        };
        let before = whole.max(skip.as_ref().map_or(0, held));
        self.most = self.most.max(before.saturating_add(self.sizes.in_buffer));
    }

    fn came(&mut self, take: Take, came: Poll<Came>) {
        let io = self.channel.get_ref();
        let arrived = io.arrived();
        let ended = io.ended && io.end == Some(End::Eof);
        let broken = io.ended && io.end == Some(End::Error);
        let over = self.over || self.aborted;
        let nothing = over || self.all_came;
        let expected = if nothing { None } else { self.oracle.next(take, arrived, ended) };
        self.all_came |= ended && expected.is_none();
        let Poll::Ready(came) = came else {
            assert_eq!(expected, None, "there is more");
            assert!(!over, "not fused");
            return self.waits(!ended);
        };
        match (came, expected) {
            (Came::Frame(Frame::Complete(data)), Some(item)) => {
                assert_eq!(Item::Complete(&data), item);
            }
            (Came::Frame(Frame::Partial(data)), Some(item)) => {
                assert_eq!(Item::Partial(&data), item);
            }
            (Came::TooLong(limit), Some(item)) => assert_eq!(Item::TooLong(limit), item),
            (Came::Early(data), Some(item)) => assert_eq!(Item::Partial(&data), item),
            // "Everything up to the end", after it.
            (Came::Frame(Frame::Complete(data)), None) if over || ended => {
                assert_eq!((&data[..], &self.oracle.ending), (&b""[..], &Ending::Never));
                self.ends(ended);
            }
            (Came::Failed(Error::Io(e)), None) if e.kind() == ErrorKind::ConnectionReset => {
                assert!(broken && !self.over, "told twice");
                // If writing failed too, that is told instead.
                assert!(self.told || !self.has_failed(), "and how writing failed?");
                self.over = true;
            }
            (Came::Failed(error), None) => {
                self.fails(&error);
                self.over = true;
            }
            (Came::End, None) => self.ends(ended),
            (Came::Early(data), None) => {
                assert_eq!(data, self.rest(), "not what was left");
                self.ends(ended);
            }
            (came, expected) => panic!("{came:?} for {expected:?}"),
        }
    }

    /// Takes what an input that broke, or was given up, has left of a frame.
    fn rest(&mut self) -> &'d [u8] {
        let arrived = self.channel.get_ref().arrived();
        let left = self.oracle.left(arrived);
        self.oracle.pos = arrived;
        if self.oracle.skip.is_some() { b"" } else { left }
    }

    fn ends(&mut self, ended: bool) {
        assert!(self.over || ended || self.told, "an end that nobody made");
        assert!(self.over || self.told || !self.has_failed(), "an end without its error");
        if !self.over && self.closing && !self.has_failed() {
            assert_eq!(self.channel.get_ref().shutdowns, 1, "our side was not closed");
            self.all_sent();
        }
        self.over = true;
    }

    // Output.

    /// What is to be written, if anything behind what was queued is.
    fn queue(&mut self, data: &[u8]) {
        if !self.is_closed() && !self.doomed {
            self.expected.extend_from_slice(data);
        }
    }

    fn push(&mut self, data: Bytes) {
        self.queue(&data);
        self.channel.push(data);
    }

    fn produce(&mut self, script: &[u8]) {
        let taken = Arc::clone(&self.channel.get_ref().taken);
        let at = self.expected.len();
        let (producer, probe) = Producer::new(script, at, taken, self.sizes.out_buffer);
        let (gives, fails) = producer.gives();
        self.queue(&gives);
        self.doomed |= fails && !self.is_closed();
        self.probes.push(probe);
        self.channel.push_with_producer(producer);
    }

    fn framed(&mut self, item: &[u8], queued: Result<(), Error>) {
        let ending = self.encode.ending.members().first().copied().unwrap_or_default();
        let accepts = ending.is_empty() || reads_back(&self.encode.ending, item, ending);
        match queued {
            Ok(()) => {
                assert!(accepts && !self.is_closed());
                self.queue(item);
                self.queue(ending);
            }
            Err(Error::TerminatorInContent) => assert!(!accepts),
            Err(Error::Closed) => assert!(self.is_closed()),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn feed(&mut self, item: &[u8]) {
        if self.ready() {
            let queued = Pin::new(&mut self.channel).start_send(Bytes::copy_from_slice(item));
            self.framed(item, queued);
        }
    }

    fn ready(&mut self) -> bool {
        // As long as there is room, nothing is heard of the pusher.
        if !self.inbox.is_empty() || self.requests.close || self.requests.abort {
            self.flush();
        }
        match self.poll(|channel, cx| Pin::new(channel).poll_ready(cx)) {
            Poll::Pending => self.waits(false),
            Poll::Ready(Ok(())) => {
                assert!(!self.is_closed());
                assert!(self.channel.queued_bytes() < self.sizes.high as u64, "there is no room");
                return true;
            }
            Poll::Ready(Err(Error::Closed)) => assert!(self.is_closed()),
            Poll::Ready(Err(error)) => self.fails(&error),
        }
        false
    }

    fn flush(&mut self) -> bool {
        let flushed = self.poll(|channel, cx| pin!(channel.flush()).poll(cx));
        self.flushed(flushed)
    }

    fn close(&mut self) {
        self.close_asked();
        let closed = self.poll(|channel, cx| pin!(channel.shutdown()).poll(cx));
        self.flushed(closed);
    }

    /// Gives whether it came to an end.
    fn flushed(&mut self, flushed: Poll<Result<(), Error>>) -> bool {
        match flushed {
            Poll::Pending => {
                self.waits(false);
                return false;
            }
            Poll::Ready(Ok(())) => {
                assert!(!self.has_failed());
                self.all_sent();
                assert_eq!(self.channel.get_ref().shutdowns, usize::from(self.closing));
            }
            Poll::Ready(Err(Error::Closed)) => assert!(self.told),
            Poll::Ready(Err(error)) => self.fails(&error),
        }
        true
    }

    fn all_sent(&self) {
        let io = self.channel.get_ref();
        // And that it is the same is checked after each operation.
        assert_eq!(io.written.len(), self.expected.len());
        assert_eq!(io.flushed, io.written.len());
        assert_eq!(self.channel.queued_bytes(), 0);
        assert!(self.probes.iter().all(|probe| probe.drops() == 1));
    }

    fn close_asked(&mut self) {
        // What was pushed before goes before.
        let inbox = std::mem::take(&mut self.inbox);
        self.queue(&inbox);
        self.closing = true;
    }

    fn discard(&mut self) {
        let (from, arrived) = (self.oracle.pos, self.channel.get_ref().arrived());
        self.oracle.discard(arrived);
        let dropped = self.oracle.pos - from;
        let written = self.channel.get_ref().written.len();
        self.hear();
        let producers = self.probes.iter().filter(|probe| probe.drops() == 0).count();
        let discarded = self.channel.discard_buffers();
        assert_eq!(discarded.input_bytes, dropped);
        let unsent = (self.expected.len() - written) as u64;
        if self.aborted || self.channel.get_ref().broke {
            assert_eq!((discarded.output_bytes, discarded.producers), (0, 0));
        } else if producers == 0 {
            assert_eq!((discarded.output_bytes, discarded.producers), (unsent, 0));
        } else {
            assert!(discarded.output_bytes <= unsent || self.doomed, "more than there was");
            assert_eq!(discarded.producers, producers);
        }
        self.expected.truncate(written);
        self.doomed = false;
        assert!(self.probes.iter().all(|probe| probe.drops() == 1));
    }

    // Pushers.

    fn pusher(&mut self) -> &Pusher {
        self.pusher.get_or_insert_with(|| self.channel.pusher())
    }

    fn try_push(&mut self, data: &'d [u8]) {
        match self.pusher().try_push(Bytes::copy_from_slice(data)) {
            Ok(()) => self.pushed(data),
            Err(TryPushError::Full(back)) => assert_eq!(back, data),
            Err(TryPushError::Closed(back)) => {
                assert_eq!(back, data);
                assert!(self.is_closed() || self.requests.close || self.requests.abort);
            }
        }
    }

    fn pusher_push(&mut self, data: &'d [u8]) {
        let waker = self.waker.clone();
        let pushed = pin!(self.pusher().push(Bytes::copy_from_slice(data)))
            .poll(&mut Context::from_waker(&waker));
        match pushed {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.pushed(data),
            Poll::Ready(Err(back)) => assert_eq!(back.0, data),
        }
    }

    fn pushed(&mut self, data: &[u8]) {
        assert!(!self.requests.close && !self.requests.abort, "taken after the close");
        self.inbox.extend_from_slice(data);
    }

    /// The channel hears of its pusher.
    fn hear(&mut self) {
        let inbox = std::mem::take(&mut self.inbox);
        self.queue(&inbox);
        let Requests { close, abort } = std::mem::take(&mut self.requests);
        if abort && !self.over && !self.aborted {
            self.oracle.discard(self.channel.get_ref().arrived());
        }
        self.closing |= close || abort;
        self.aborted |= abort;
    }

    // Waiting and failing.

    fn poll<R>(&mut self, poll: impl FnOnce(&mut Channel<Io>, &mut Context<'_>) -> R) -> R {
        self.hear();
        let io = self.channel.get_mut();
        (io.reader, io.writer, io.calls) = (None, None, 0);
        self.probes.iter().for_each(|probe| probe.forget());
        self.count.take();
        poll(&mut self.channel, &mut Context::from_waker(&self.waker))
    }

    /// Somebody will wake whoever waits: for input, and for output if there is
    /// any.
    fn waits(&mut self, for_input: bool) {
        let io = self.channel.get_ref();
        let (reads, writes) = io.will_wake(&self.waker);
        let sends = writes || self.probes.iter().any(|probe| probe.will_wake(&self.waker));
        let woken = self.count.take();
        assert!(woken || sends || reads, "nobody wakes it");
        assert!(woken || !for_input || reads, "it does not read");
        let all_sent = self.channel.queued_bytes() == 0 && io.flushed == io.written.len();
        assert!(woken || sends || all_sent || self.has_failed(), "it does not send");
    }

    fn has_failed(&self) -> bool {
        self.aborted || self.channel.get_ref().broke || self.probes.iter().any(|p| p.has_failed())
    }

    fn is_closed(&self) -> bool {
        self.closing || self.has_failed()
    }

    fn fails(&mut self, error: &Error) {
        assert!(!self.told, "told twice: {error:?}");
        match error {
            Error::Io(e) => {
                assert_eq!(e.kind(), ErrorKind::BrokenPipe);
                assert!(self.channel.get_ref().broke);
            }
            Error::Producer(_) => assert!(self.probes.iter().any(|probe| probe.has_failed())),
            Error::Aborted => assert!(self.aborted),
            error => panic!("{error:?}"),
        }
        self.told = true;
    }

    /// Nothing stops anything any more: everything comes, and goes.
    fn finish(mut self) {
        self.channel.get_mut().let_go();
        self.probes.iter().for_each(|probe| probe.go());
        self.close_asked();
        self.channel.close_when_done();
        self.runs(|play| {
            play.next();
            play.over
        });
        self.runs(Self::flush);
        self.check();
        assert!(self.expected.starts_with(&self.channel.get_ref().written));
        assert_eq!(self.told, self.has_failed(), "an error was not told");
        if !self.told {
            self.all_sent();
        }
        drop(self.channel);
        assert!(self.probes.iter().all(|probe| probe.drops() == 1));
        assert!(self.pusher.is_none_or(|pusher| pusher.is_closed()));
    }

    /// As an executor does it: again only if it was woken.
    fn runs(&mut self, mut ends: impl FnMut(&mut Self) -> bool) {
        let most = 4 * (self.oracle.input.len() + self.probes.len()) + 64;
        assert!((0..most).any(|_| ends(self)), "it does not end");
    }
}

impl Came {
    fn new(result: Result<Frame, Error>) -> Self {
        match result {
            Ok(frame) => Came::Frame(frame),
            Err(Error::FrameTooLong { limit, .. }) => Came::TooLong(limit),
            Err(Error::UnexpectedEof { partial, .. }) => Came::Early(partial),
            Err(error) => Came::Failed(error),
        }
    }
}
