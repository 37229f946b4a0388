//! Whatever is done to a channel, and whatever its transport does meanwhile:
//! input comes as the oracle says, output is written once and in order, a
//! failure is told once, a `Pending` has somebody who wakes, memory is bounded,
//! and at the end everything comes to its end.
//!
//! The last bytes of an input may choose the [`Nature`] of the transport. It may
//! buffer, check retried writes, fail in one direction or in both, or be always
//! ready. They may also give each side of the channel a task of its own, which is
//! polled again only after it was woken.

use asynchat::{Channel, Error, Frame, Pusher, Terminator, TryPushError};
use bytes::Bytes;
use futures::{Sink, Stream};
use fuzz_oracle::input::Input;
use fuzz_oracle::io::{Count, End, Io, Nature};
use fuzz_oracle::oracle::{Ending, Head, Item, Message, Oracle, Take, Term, reads_back};
use fuzz_oracle::producer::{Probe, Producer};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let nature = Nature::take(&mut input);
    let peer = input.some(96);
    let mut play = Play::new(&mut input, peer, nature);
    while !input.0.is_empty() {
        play.operation(&mut input);
        play.check();
    }
    play.finish();
}

struct Play<'d> {
    channel: Channel<Io>,
    nature: Nature,
    /// The tasks of the `Stream` side and of the `Sink` side. A single task is the
    /// first.
    tasks: [Task; 2],
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
    abort_told: bool,
    /// The frame that the end of input ends came: a failure of the output comes before the
    /// next one.
    end_came: bool,
    /// Nothing is left of the input.
    all_came: bool,
    /// A head was invalid.
    invalid: bool,
    /// The end of input, or the failure, was told by `next`.
    over: bool,
    /// How much may be held: what was, or what must be there before one reads on.
    most: usize,
    /// The number of unread bytes when input was last polled, or discarded.
    kept: usize,
    was_polled: bool,
    /// The number of polls that were pending and woke their own task.
    yields: usize,
    sizes: Sizes,
}

struct Task {
    count: Arc<Count>,
    waker: Waker,
    /// The reason of its last poll, if that is pending.
    asleep: Option<Wait>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wait {
    Input,
    Room,
    Flush,
}

// Positions in `Play::tasks`.
const READER: usize = 0;
const WRITER: usize = 1;

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
    fn new(input: &mut Input<'d>, peer: &'d [u8], nature: Nature) -> Self {
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
        io.has_nature(nature);
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
        Play {
            channel,
            nature,
            tasks: [(); 2].map(|()| Task::new()),
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
            abort_told: false,
            end_came: false,
            all_came: false,
            invalid: false,
            over: false,
            most: 0,
            kept: 0,
            was_polled: false,
            yields: 0,
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
                self.touch();
                self.channel.set_terminator(term);
            }
            8 => {
                self.oracle.streaming ^= true;
                self.touch();
                self.channel.codec_mut().set_streaming(self.oracle.streaming);
            }
            9 => {
                self.oracle.keep ^= true;
                self.touch();
                self.channel.codec_mut().set_keep_terminator(self.oracle.keep);
            }
            10 => {
                self.oracle.max_length = input.limit();
                self.touch();
                self.channel.codec_mut().set_max_length(self.oracle.max_length);
            }
            11 => self.push(Bytes::copy_from_slice(input.some(64))),
            12 => self.push(Bytes::from(vec![what; 64 * more])),
            13 => {
                let data = input.some(64);
                self.queue(data);
                self.channel.push_slice(data);
            }
            // More than the part of a pending write that is kept.
            14 if more == 7 && self.nature.is_chosen => self.push(Bytes::from(vec![what; 20_000])),
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
                self.touch();
                self.channel.close_when_done();
                self.close_asked();
            }
            20 if more > 3 => self.discard(),
            21 => {
                self.feed(input.some(16));
            }
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
                self.is_heard();
            }
            26 if more == 7 => {
                self.pusher().abort();
                self.requests.abort = true;
                self.is_heard();
            }
            27 => self.channel.get_mut().send(1 << more),
            28 if more > 3 => {
                let end = if more == 7 { End::Error } else { End::Eof };
                let io = self.channel.get_mut();
                io.end = io.end.or(Some(end));
                io.wake_reader();
            }
            29 if self.nature.always_ready => self.loops(more),
            29 => {
                let io = self.channel.get_mut();
                io.room = if more == 7 { usize::MAX } else { more << more };
                io.wake_writer();
            }
            30 => {
                let io = self.channel.get_mut();
                io.stuck ^= more < 6 && !io.nature.always_ready;
                io.write_error |= more == 7;
                io.wake_writer();
            }
            31 if more == 7 => self.channel.set_corked(input.byte() & 1 == 0),
            31 => self.probes.iter().for_each(|probe| probe.go()),
            _ => self.channel.get_mut().send(more),
        }
    }

    fn term(&mut self, input: &mut Input<'d>) -> Terminator {
        let Term { ending, built } = input.term();
        self.oracle.set(ending);
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
        let is_rid = self.probes.iter().all(|probe| probe.drops() == 1);
        assert!(is_rid || !io.is_lost(), "the connection is lost, and a producer is kept");
        self.check_tasks();
        if !self.over && !self.aborted && !self.requests.abort {
            let left = self.oracle.left(io.arrived());
            // What is to be skipped goes when the channel is next polled.
            assert!(self.channel.unread().ends_with(left));
            self.oracle.ending.check(self.channel.terminator());
            assert_eq!(self.channel.ended_by(), self.oracle.ended_by);
            assert_eq!(self.channel.head_len(), self.oracle.head_len);
        }
    }

    // Input.

    fn next(&mut self) {
        if self.sleeps(READER) {
            return;
        }
        self.reads(Take::AsSet);
        let split = self.nature.two_tasks;
        let polled = self.poll(Wait::Input, |channel, cx| match split {
            true => Pin::new(channel).poll_next(cx),
            false => pin!(channel.next()).poll(cx),
        });
        let came = polled.map(|next| next.map_or(Came::End, Came::new));
        self.came(Take::AsSet, came);
    }

    fn receive(&mut self, limit: usize, term: Terminator, within: bool) {
        if self.nature.two_tasks {
            // The half of a split channel is a `Stream` and nothing else.
            self.touch();
            self.channel.set_terminator(term);
            return self.next();
        }
        self.reads(Take::Whole(limit));
        let polled = self.poll(Wait::Input, |channel, cx| match within {
            true => pin!(channel.receive_within(limit, term.clone())).poll(cx),
            false => pin!(channel.receive(term.clone())).poll(cx),
        });
        self.came(
            Take::Whole(limit),
            polled.map(|got| Came::new(got.map(|data| Frame::Complete(data.into())))),
        );
    }

    fn receive_part(&mut self) {
        if self.nature.two_tasks {
            return self.next();
        }
        self.reads(Take::Parts);
        let polled = self.poll(Wait::Input, |channel, cx| pin!(channel.receive_part()).poll(cx));
        self.came(Take::Parts, polled.map(Came::new));
    }

    /// One read more than what gives nothing to hand out, or to drop.
    fn reads(&mut self, take: Take) {
        let Oracle { ending, skip, .. } = &self.oracle;
        let longest =
            |members: &[&[u8]]| members.iter().map(|member| member.len() - 1).max().unwrap_or(0);
        let held = |ending: &Ending<'_>| match ending {
            Ending::Message(Message { head: Head::Any(members), .. }) => longest(members),
            ending => longest(ending.members()),
        };
        let whole = match take {
            Take::Whole(limit) => limit,
            Take::AsSet if !self.oracle.streaming && *ending != Ending::Never => {
                self.oracle.max_length
            }
            _ => 0,
        };
        let whole = match ending {
            Ending::Count(n) | Ending::Every(n) => whole.min(*n as usize),
            // In streaming mode, too, a head is held.
            Ending::Message(_) => whole.max(self.oracle.max_length).saturating_add(held(ending)),
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
        let to_the_end = ended && self.oracle.ending == Ending::Never;
        let expected = if nothing { None } else { self.oracle.next(take, arrived, ended) };
        self.all_came |= ended && expected.is_none();
        let Poll::Ready(came) = came else {
            assert_eq!(expected, None, "there is more");
            assert!(!over, "not fused");
            return self.waits(Wait::Input, !ended);
        };
        match (came, expected) {
            (Came::Frame(Frame::Complete(data)), Some(item)) => {
                assert_eq!(Item::Complete(&data), item);
                self.end_came |= to_the_end;
            }
            (Came::Failed(error), Some(Item::Complete(b""))) if to_the_end && self.end_came => {
                self.fails(&error);
                self.over = true;
            }
            (Came::Frame(Frame::Partial(data)), Some(item)) => {
                assert_eq!(Item::Partial(&data), item);
            }
            (Came::Failed(Error::InvalidHead(_)), Some(item)) => {
                assert_eq!(Item::InvalidHead, item);
                (self.over, self.invalid) = (true, true);
            }
            (Came::Failed(Error::Closed), None) if self.invalid => {}
            (Came::TooLong(limit), Some(item)) => assert_eq!(Item::TooLong(limit), item),
            (Came::Early(data), Some(item)) => assert_eq!(Item::Partial(&data), item),
            // "Everything up to the end", after it.
            (Came::Frame(Frame::Complete(data)), None) if over || ended => {
                assert_eq!((&data[..], &self.oracle.ending), (&b""[..], &Ending::Never));
            }
            (Came::Failed(Error::Io(e)), None) if broken && e.kind() == self.nature.error => {
                assert!(!self.over, "reported twice");
                if self.channel.get_ref().is_lost() {
                    self.fails(&Error::Io(e));
                }
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

    /// Returns `true` if there was capacity.
    fn feed(&mut self, item: &[u8]) -> bool {
        let is_ready = self.ready();
        if is_ready {
            let queued = Pin::new(&mut self.channel).start_send(Bytes::copy_from_slice(item));
            self.framed(item, queued);
        }
        is_ready
    }

    fn ready(&mut self) -> bool {
        if self.sleeps(WRITER) {
            return false;
        }
        // As long as there is room, nothing is heard of the pusher.
        if !self.inbox.is_empty() || self.requests.close || self.requests.abort {
            self.poll_flush();
        }
        match self.poll(Wait::Room, |channel, cx| Pin::new(channel).poll_ready(cx)) {
            Poll::Pending => self.waits(Wait::Room, false),
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
        !self.sleeps(WRITER) && self.poll_flush()
    }

    fn poll_flush(&mut self) -> bool {
        let split = self.nature.two_tasks;
        let flushed = self.poll(Wait::Flush, |channel, cx| match split {
            true => Pin::new(channel).poll_flush(cx),
            false => pin!(channel.flush()).poll(cx),
        });
        self.flushed(flushed)
    }

    fn close(&mut self) -> bool {
        if self.sleeps(WRITER) {
            return false;
        }
        self.close_asked();
        let split = self.nature.two_tasks;
        let closed = self.poll(Wait::Flush, |channel, cx| match split {
            true => Pin::new(channel).poll_close(cx),
            false => pin!(channel.shutdown()).poll(cx),
        });
        self.flushed(closed)
    }

    /// Gives whether it came to an end.
    fn flushed(&mut self, flushed: Poll<Result<(), Error>>) -> bool {
        match flushed {
            Poll::Pending => {
                self.waits(Wait::Flush, false);
                return false;
            }
            Poll::Ready(Ok(())) => {
                // A connection may break after everything was sent.
                let is_shut = self.channel.get_ref().shutdowns == 1;
                assert!(!self.has_failed() || is_shut && self.over);
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
        assert!(io.is_flushed());
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
        self.touch();
        let (from, arrived) = (self.oracle.pos, self.channel.get_ref().arrived());
        self.oracle.discard(arrived);
        let dropped = self.oracle.pos - from;
        let written = self.channel.get_ref().written.len();
        self.hear();
        let producers = self.probes.iter().filter(|probe| probe.drops() == 0).count();
        let discarded = self.channel.discard_buffers();
        assert_eq!(discarded.input_bytes, dropped);
        let unsent = self.expected.len() - written;
        let stays = self.stays();
        if self.aborted || self.channel.get_ref().broke {
            assert_eq!((discarded.output_bytes, discarded.producers), (0, 0));
        } else if producers == 0 {
            assert_eq!(discarded.output_bytes, (unsent - stays) as u64);
            assert_eq!(discarded.producers, 0);
        } else {
            assert!(discarded.output_bytes <= unsent as u64 || self.doomed, "more than there was");
            assert_eq!(discarded.producers, producers);
        }
        self.expected.truncate(written + stays);
        self.kept = self.channel.unread().len();
        self.doomed = false;
        assert!(self.probes.iter().all(|probe| probe.drops() == 1));
    }

    /// Returns how many bytes of a pending write are left after a discard.
    fn stays(&self) -> usize {
        let io = self.channel.get_ref();
        let queued = self.channel.queued_bytes() as usize;
        let may_stay = if io.broke || self.aborted { 0..=0 } else { io.pending() };
        let is_of_old = queued == 0 && !self.nature.is_chosen;
        // An entry of the queue may cost 64 bytes more.
        let stays = [queued, queued.saturating_sub(64)].into_iter().find(|n| may_stay.contains(n));
        assert!(stays.is_some() || is_of_old, "{queued} bytes stay instead of {may_stay:?}");
        stays.unwrap_or(0)
    }

    // Pushers.

    fn pusher(&mut self) -> &Pusher {
        if self.pusher.is_none() {
            self.touch();
        }
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
        let waker = self.tasks[0].waker.clone();
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
        if !data.is_empty() {
            self.is_heard();
        }
    }

    /// Panics if tasks wait and a pusher's request woke none of them.
    fn is_heard(&self) {
        let mut asleep = self.tasks.iter().filter(|task| task.asleep.is_some()).peekable();
        let is_heard = asleep.peek().is_none() || asleep.any(|task| task.count.is_woken());
        assert!(is_heard, "a pusher wakes no task");
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

    fn poll<R>(
        &mut self,
        wait: Wait,
        mut poll: impl FnMut(&mut Channel<Io>, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        self.hear();
        self.channel.get_mut().calls = 0;
        if wait != Wait::Input {
            // A poll that only sends reads ahead to notice a broken connection.
            self.most = self.most.max(self.kept + self.sizes.in_buffer);
        }
        if !self.nature.two_tasks {
            let io = self.channel.get_mut();
            (io.reader, io.writer) = (None, None);
            self.probes.iter().for_each(|probe| probe.forget());
        }
        let task = &mut self.tasks[wait.task(self.nature)];
        let mut turns = TURNS;
        let polled = loop {
            task.count.take();
            turns -= 1;
            let polled = poll(&mut self.channel, &mut Context::from_waker(&task.waker));
            if polled.is_ready() || !task.count.is_woken() {
                break polled;
            }
            self.yields += 1;
            // A channel that only yields is polled again.
            if turns == 0 {
                break polled;
            }
        };
        let has_yielded = task.count.is_woken();
        let is_asleep = self.nature.two_tasks && polled.is_pending();
        task.asleep = is_asleep.then_some(wait);
        if wait == Wait::Input {
            self.kept = self.channel.unread().len();
        }
        if !has_yielded {
            self.begins(wait);
        }
        polled
    }

    /// Panics if the first poll did not flush the bytes that the transport held.
    /// `poll_ready` sends nothing while there is capacity.
    fn begins(&mut self, wait: Wait) {
        if wait != Wait::Room && !std::mem::replace(&mut self.was_polled, true) {
            // A write has moved what could be moved; the polls so far may have yielded after it.
            let io = self.channel.get_ref();
            let is_flushed = io.is_flushing() || !io.written.is_empty() || self.has_failed();
            assert!(
                is_flushed || self.nature.holds == 0,
                "the first poll does not flush the transport"
            );
        }
    }

    /// Returns `true` if the task must not be polled: it waits, and was not woken.
    fn sleeps(&self, task: usize) -> bool {
        let Task { asleep, count, .. } = &self.tasks[task];
        asleep.is_some() && !count.is_woken()
    }

    /// Ends both waits: a caller of a method of the whole channel needs no wake.
    fn touch(&mut self) {
        self.tasks.iter_mut().for_each(|task| task.asleep = None);
    }

    /// Panics if the event that a task waits for has happened without a wake.
    fn check_tasks(&self) {
        let io = self.channel.get_ref();
        let is_shut = io.shutdowns == 1;
        let is_lost = io.broke || self.aborted || (self.has_failed() && is_shut);
        let has_ended = io.ended || self.all_came;
        let is_sent = self.channel.queued_bytes() == 0 && self.inbox.is_empty() && io.is_flushed();
        // After a failure of a producer the write half is shut down, too.
        let is_done = is_sent && is_shut == (self.closing || self.has_failed());
        for Task { asleep, count, .. } in &self.tasks {
            let is_due = match asleep {
                None => false,
                Some(_) if is_lost => true,
                // The end, and a failed producer, are reported after the shutdown.
                Some(Wait::Input) => {
                    let waits_for_output = self.closing || self.has_failed();
                    io.is_readable() || has_ended && (is_done || !waits_for_output)
                }
                // A failed producer is reported only after the shutdown.
                Some(_) if self.has_failed() => false,
                Some(Wait::Room) => {
                    self.closing || self.channel.queued_bytes() <= self.sizes.high as u64 / 4
                }
                // A transport that is stuck may be pending although nothing was written.
                Some(Wait::Flush) => is_done && io.writer.is_none(),
            };
            assert!(!is_due || count.is_woken(), "a wake is lost: {asleep:?}");
        }
    }

    /// Somebody will wake whoever waits: for input, and for output if there is
    /// any. With two tasks, later polls show which one is woken.
    fn waits(&self, wait: Wait, for_input: bool) {
        let io = self.channel.get_ref();
        let Task { count, waker, .. } = &self.tasks[wait.task(self.nature)];
        let mut probes = self.probes.iter();
        let ((reads, writes), makes) = match self.nature.two_tasks {
            true => {
                ((io.reader.is_some(), io.writer.is_some()), probes.any(|probe| probe.drops() == 0))
            }
            false => (io.will_wake(waker), probes.any(|probe| probe.will_wake(waker))),
        };
        let (woken, sends) = (count.is_woken(), writes || makes);
        assert!(woken || sends || reads, "nobody wakes it");
        assert!(woken || !for_input || reads, "it does not read");
        let all_sent = self.channel.queued_bytes() == 0 && io.is_flushed();
        assert!(woken || sends || all_sent || self.has_failed(), "it does not send");
        assert!(woken || !io.is_lost(), "it waits although the connection is lost");
        let is_ahead =
            io.ended || self.invalid || self.channel.unread().len() >= self.sizes.in_buffer;
        let notices = woken || writes || reads || is_ahead || self.has_failed();
        assert!(notices || !self.nature.is_chosen, "it would not notice a broken connection");
    }

    /// Loops over a transport that is always ready, until the channel yields.
    fn loops(&mut self, what: usize) {
        let yields = self.yields;
        let item = [b'x'; 60];
        let ending = self.encode.ending.members().first().copied().unwrap_or_default();
        let is_frame = ending.is_empty() || reads_back(&self.encode.ending, &item, ending);
        for _ in 0..MOST_TIMES {
            if self.is_closed() || self.doomed || self.sleeps(WRITER) {
                return;
            }
            let is_done = match what % 4 {
                0 if is_frame => self.feed(&item),
                1 if is_frame => self.feed(&item) && self.flush(),
                2 => {
                    self.push(Bytes::copy_from_slice(&item));
                    self.ready()
                }
                _ => {
                    self.push(Bytes::copy_from_slice(&item));
                    self.flush()
                }
            };
            if !is_done || self.yields > yields {
                return;
            }
        }
        panic!("the loop never yields");
    }

    fn has_failed(&self) -> bool {
        self.aborted || self.channel.get_ref().broke || self.probes.iter().any(|p| p.has_failed())
    }

    fn is_closed(&self) -> bool {
        self.closing || self.has_failed()
    }

    fn fails(&mut self, error: &Error) {
        // A break behind the shutdown was told by reading, and an abort is told beside it.
        let is_first = match error {
            Error::Aborted => !std::mem::replace(&mut self.abort_told, true),
            _ => false,
        };
        let is_beside = is_first && self.channel.get_ref().shutdowns == 1;
        assert!(!self.told || is_beside, "told twice: {error:?}");
        match error {
            Error::Io(e) => {
                let io = self.channel.get_ref();
                let is_read = io.is_lost() && e.kind() == self.nature.error;
                assert!(is_read || io.broke && e.kind() == ErrorKind::BrokenPipe);
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
        if self.nature.two_tasks {
            self.runs_tasks();
        }
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
        let queued = self.channel.queued_bytes() as usize / 1024;
        let most = 4 * (self.oracle.input.len() + self.probes.len()) + 64 + queued;
        assert!((0..most).any(|_| ends(self)), "it does not end");
    }

    /// Runs both tasks: one reads until the end, the other closes.
    fn runs_tasks(&mut self) {
        let mut is_closed = false;
        self.runs(|play| {
            let before = [READER, WRITER].map(|task| play.sleeps(task));
            for writes in [play.nature.writer_first, !play.nature.writer_first] {
                match play.tasks[WRITER].asleep {
                    _ if !writes && !play.over => play.next(),
                    Some(Wait::Room) if writes => {
                        play.ready();
                    }
                    _ if writes && !is_closed => is_closed = play.close(),
                    _ => {}
                }
                play.check();
            }
            let is_over = play.over && is_closed;
            let [reader, writer] = before;
            let is_stuck = (reader || play.over) && (writer || is_closed);
            assert!(is_over || !is_stuck, "a wake is lost");
            is_over
        });
        self.touch();
    }
}

impl Task {
    fn new() -> Self {
        let count = Arc::new(Count::default());
        Task { waker: Waker::from(Arc::clone(&count)), count, asleep: None }
    }
}

impl Wait {
    /// Returns the task that waits so.
    fn task(self, nature: Nature) -> usize {
        if nature.two_tasks && self != Wait::Input { WRITER } else { READER }
    }
}

/// The most polls in a row of a channel that yields.
const TURNS: usize = 16;

/// The most calls of a loop that may pass before the channel yields.
const MOST_TIMES: usize = 8192;

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
