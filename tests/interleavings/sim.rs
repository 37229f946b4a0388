//! Turns: each makes a new future, polls it once and drops it.

mod turns;

use crate::clock::runtime;
use crate::link::Link;
use crate::variant::{Tasks, Variant};
use crate::world::{Chunks, Fate, Mock, READ_ALONE, failed_at, producers, world};
use asynchat::{Builder, Channel, Error, Frame, Pusher, Timeout, Timeouts, TryPushError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A name in words, and what is done.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) variants: &'static [Variant],
    pub(crate) play: Play,
}

type Play = Box<dyn Fn(&mut Sim, Builder) + Send + Sync>;

/// What all runs of a scenario came to.
#[derive(Default)]
pub(crate) struct Explored {
    pub(crate) schedules: u64,
    /// The methods whose future was dropped while it was pending.
    pub(crate) dropped: Vec<&'static str>,
}

/// The side of the channel that a method belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// That of the `Stream`.
    Input,
    /// That of the `Sink`.
    Output,
    /// Both. No other task polls meanwhile.
    Whole,
}

/// What a pending call must be waiting for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For output, if there is any. If only producers are in its way, also for the end
    /// of the connection.
    Output,
    /// For input as well.
    #[default]
    Input,
    /// For output, or for something outside of the channel.
    Upgrade,
}

/// What somebody does from outside, with a pusher, between two turns.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Push(Bytes),
    Produce(Vec<Bytes>),
    Close,
    Abort,
    /// Time passes, when there is nothing left to send.
    Time,
}

/// Whether a task was woken.
#[derive(Default)]
pub(crate) struct Token(pub(crate) AtomicBool);

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// A task, as its last poll has left it.
#[derive(Clone, Copy, Default)]
struct Task {
    /// The number of the waker that it was polled with; 0 before the first poll.
    waker: usize,
    is_pending: bool,
    waits: Waits,
    /// Whether the task beside the scenario is over.
    is_done: bool,
}

/// One run of a scenario.
pub(crate) struct Sim {
    pub(crate) variant: Variant,
    /// Each poll has a waker of its own: one that is kept from an earlier poll
    /// does not count.
    wakers: Vec<(Arc<Token>, Waker)>,
    /// How many of them were used.
    polls: usize,
    tasks: [Task; 2],
    /// The wakers of polls that were ready while the other task waited.
    forgotten: Vec<usize>,
    /// The link in use.
    pub(crate) link: usize,
    pub(crate) outside: VecDeque<Act>,
    pub(crate) pusher: Option<Pusher>,
    /// What the owner has queued, and what pushers have: in lower case.
    pub(crate) queued: Vec<u8>,
    pub(crate) pushed: Vec<u8>,
    /// What the task beside a scenario has read.
    read: VecDeque<Result<Frame, Error>>,
    /// The failure of output that was reported to that task. Calls of the scenario that
    /// find the end return it instead.
    reported_beside: Option<Error>,
    /// The errors that were reported.
    reported: Vec<&'static str>,
    /// Whether a method was called that may read only to discard.
    discards: bool,
    dropped: Vec<&'static str>,
}

/// The result of a call.
pub(crate) trait Outcome {
    /// Whether it is that of a call after a failure that was reported.
    fn is_end(&self) -> bool;
    fn error(&self) -> Option<&Error>;
    fn failed(error: Error) -> Self;
}

impl Outcome for Option<Result<Frame, Error>> {
    fn is_end(&self) -> bool {
        self.is_none()
    }

    fn error(&self) -> Option<&Error> {
        self.as_ref().and_then(|item| item.as_ref().err())
    }

    fn failed(error: Error) -> Self {
        Some(Err(error))
    }
}

impl<T> Outcome for Result<T, Error> {
    fn is_end(&self) -> bool {
        matches!(self, Err(Error::Closed))
    }

    fn error(&self) -> Option<&Error> {
        self.as_ref().err()
    }

    fn failed(error: Error) -> Self {
        Err(error)
    }
}

/// Plays a scenario under every fate of up to `depth` letters.
pub(crate) fn explore(
    scenario: &Scenario,
    variant: Variant,
    depth: usize,
) -> Result<Explored, String> {
    let mut sim = Sim::new(variant);
    let mut schedules = 0;
    let runtime = runtime();
    let _guard = runtime.enter();
    world(|world| world.fate = Fate::new(depth));
    loop {
        sim.reset();
        let mut builder =
            Channel::builder().out_buffer_size(variant.out_buffer).linger(Duration::ZERO);
        if variant.limits {
            builder = builder.timeouts(Timeouts::all(FAR));
        }
        let played = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&mut sim, builder)));
        schedules += 1;
        if let Err(panic) = played {
            let why = panic.downcast_ref::<String>().map(String::as_str);
            let why = why.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            let fate = world(|world| world.fate.text());
            return Err(format!("{} ({variant:?}), fate {fate:?}: {why}", scenario.name));
        }
        if !world(|world| world.fate.advance()) {
            return Ok(Explored { schedules, dropped: sim.dropped });
        }
    }
}

impl Sim {
    fn new(variant: Variant) -> Self {
        let tokens = std::iter::repeat_with(Arc::<Token>::default).take(POLLS);
        let wakers = tokens.map(|token| (Arc::clone(&token), Waker::from(token))).collect();
        Sim {
            variant,
            wakers,
            polls: 0,
            tasks: [Task::default(); 2],
            forgotten: vec![],
            link: 0,
            outside: VecDeque::new(),
            pusher: None,
            queued: vec![],
            pushed: vec![],
            read: VecDeque::new(),
            reported_beside: None,
            reported: vec![],
            discards: false,
            dropped: vec![],
        }
    }

    fn reset(&mut self) {
        world(|world| world.reset(self.variant));
        for (token, _) in self.wakers.iter().take(self.polls + 1) {
            token.0.store(false, Relaxed);
        }
        (self.polls, self.tasks) = (0, [Task::default(); 2]);
        (self.link, self.pusher, self.discards) = (0, None, false);
        (self.reported_beside, self.read) = (None, VecDeque::new());
        self.outside.clear();
        self.forgotten.clear();
        self.queued.clear();
        self.pushed.clear();
        self.reported.clear();
    }

    /// The transport, whose peer sends this and then ends its side.
    pub(crate) fn mock(&mut self, input: &Bytes) -> Mock {
        world(|world| world.sends(self.link, input.clone()));
        Mock(self.link)
    }

    pub(crate) fn link<R>(&self, look: impl FnOnce(&Link) -> R) -> R {
        world(|world| look(&world.links[self.link]))
    }

    /// Something to send, in upper case: the first, the second, …
    pub(crate) fn payload(&self, n: usize) -> Bytes {
        self.cut(n, &SMALL, &LARGE)
    }

    /// The same in lower case, for pushers.
    pub(crate) fn pushed_payload(&self, n: usize) -> Bytes {
        self.cut(n, &SMALL_LOWER, &LARGE_LOWER)
    }

    fn cut(&self, n: usize, small: &Bytes, large: &Bytes) -> Bytes {
        match self.variant.large {
            // Just what is not copied any more, more than that, and less.
            true => large.slice(n * 7..n * 7 + [4096, 5000, 4095][n % 3]),
            false => small.slice(n..n + 2 + n % 2),
        }
    }

    pub(crate) fn push(&mut self, channel: &mut Channel<Mock>, n: usize) {
        let data = self.payload(n);
        self.queued.extend_from_slice(&data);
        channel.push(data);
    }

    /// The first of them, but copied.
    pub(crate) fn push_slice(&mut self, channel: &mut Channel<Mock>, n: usize) {
        let data = self.payload(n);
        self.queued.extend_from_slice(&data);
        channel.push_slice(&data);
    }

    /// A producer of these payloads, with an empty chunk between any two.
    pub(crate) fn producer(&mut self, which: impl IntoIterator<Item = usize>) -> Chunks {
        let mut chunks = VecDeque::new();
        for n in which {
            let data = self.payload(n);
            self.queued.extend_from_slice(&data);
            chunks.extend([data, Bytes::new()]);
        }
        chunks.pop_back();
        Chunks::owned(chunks)
    }

    /// Does it. Returns whether it was taken.
    fn is_taken(&mut self, act: Act) -> bool {
        if let Act::Time = act {
            runtime().block_on(tokio::time::advance(Duration::from_secs(2)));
            return true;
        }
        let pusher = self.pusher.clone().expect("somebody acts from outside");
        match act {
            Act::Time => {}
            Act::Push(data) => return self.try_push(&pusher, &data),
            Act::Produce(chunks) => return self.produce(&pusher, chunks),
            Act::Close => pusher.close_when_done(),
            Act::Abort => {
                world(|world| world.injected.push("aborted"));
                pusher.abort();
            }
        }
        true
    }

    fn try_push(&mut self, pusher: &Pusher, data: &Bytes) -> bool {
        let refused = match pusher.try_push(data.clone()) {
            Ok(()) => {
                self.pushed.extend_from_slice(data);
                return true;
            }
            Err(refused) => refused,
        };
        let is_closed = matches!(refused, TryPushError::Closed(_));
        assert_eq!(is_closed, pusher.is_closed());
        assert_eq!(refused.into_data(), data);
        false
    }

    fn produce(&mut self, pusher: &Pusher, chunks: Vec<Bytes>) -> bool {
        let all = chunks.concat();
        let mut producer = Chunks::new(chunks);
        producer.is_slow = true;
        let mut future = Box::pin(pusher.push_with_producer(producer));
        let is_taken = matches!(
            future.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(()))
        );
        if is_taken {
            self.pushed.extend_from_slice(&all);
        }
        is_taken
    }

    /// Notes an error that was reported: only what there was, and once.
    #[track_caller]
    pub(crate) fn reported(&mut self, error: &Error) {
        let what = match error {
            Error::Io(e) => failed_at(e),
            Error::Producer(_) => "producer",
            Error::Aborted => "aborted",
            Error::Timeout(timeout @ Timeout::Write(_)) => {
                world(|world| world.timed_out(*timeout));
                "write timeout"
            }
            other => panic!("{other:?}"),
        };
        assert!(self.injected(what), "{what}: there was no such error");
        assert!(!self.reported.contains(&what), "{what}: reported twice");
        assert!(what != "read" || producers() == 0, "the peer is gone, and a producer waits");
        self.reported.push(what);
    }

    /// The same for the error that has ended `run`. If only reading has failed, output
    /// was sent before, or has failed as well.
    #[track_caller]
    pub(crate) fn reported_by_run(&mut self, error: &Error) {
        self.reported(error);
        let queued = self.queued.len() + self.pushed.len();
        let is_sent = self.link(|link| link.flushed == queued);
        let is_late =
            world(|world| world.clock.as_ref().is_some_and(|clock| clock.late(false).write));
        let has_failed = self.link(|link| link.is_lost()) || self.injected("aborted") || is_late;
        let is_alone = self.reported == [READ_ALONE] && self.reported_beside.is_none();
        assert!(!is_alone || is_sent || has_failed, "run ends, and leaves output unsent");
    }

    pub(crate) fn has_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Whether an error was reported that ends writing. `run` reports one of two.
    pub(crate) fn has_reported_failure(&self) -> bool {
        self.reported.iter().any(|what| *what != READ_ALONE || self.discards)
    }

    /// Takes the failure of output that was reported to the task beside the scenario.
    pub(crate) fn reported_beside(&mut self) -> Option<Error> {
        self.reported_beside.take()
    }

    /// Returns that failure in place of `Closed`.
    pub(crate) fn explain(&mut self, error: Error) -> Error {
        match error {
            Error::Closed => self.reported_beside.take().unwrap_or(error),
            _ => error,
        }
    }

    /// Whether this happened.
    pub(crate) fn injected(&self, what: &str) -> bool {
        world(|world| world.injected.contains(&what))
    }

    /// Whether the task beside has read something that the scenario has not taken.
    pub(crate) fn has_read(&self) -> bool {
        !self.read.is_empty()
    }

    /// Checks that input stays ended.
    pub(crate) fn check_fused(&mut self, channel: &mut Channel<Mock>) {
        for _ in 0..2 {
            match self.next(channel) {
                None => {}
                Some(Err(error)) if self.variant.tasks != Tasks::One => self.reported(&error),
                other => panic!("not fused: {other:?}"),
            }
        }
    }

    /// Closes the channel: everything queued is on the wire, or an error was
    /// reported.
    pub(crate) fn finish(&mut self, channel: &mut Channel<Mock>) {
        let closed = self.turns(SHUTDOWN, channel, async |c| c.shutdown().await);
        self.check_closed(closed);
        let again = self.turns(SHUTDOWN, channel, async |c| c.shutdown().await);
        match again {
            Ok(()) => self.check_whole(),
            Err(Error::Closed) => assert!(self.has_reported_failure(), "closed by what?"),
            Err(error) => panic!("reported again: {error:?}"),
        }
        self.check_input_failure(channel);
        if let Some(pusher) = &self.pusher {
            assert!(pusher.is_closed());
        }
    }

    /// Checks that the input side has reported a failure of input, also one that was met
    /// by the output side; unless output has failed as well.
    fn check_input_failure(&mut self, channel: &mut Channel<Mock>) {
        let is_timeless = world(|world| world.clock.is_none());
        if self.injected(READ_ALONE) && is_timeless && !self.discards {
            while !self.reported.contains(&READ_ALONE) {
                match self.next(channel) {
                    None => {
                        return assert!(
                            self.has_reported_failure(),
                            "a failure of input was not reported"
                        );
                    }
                    Some(Err(error)) => self.reported(&error),
                    Some(Ok(_)) => {}
                }
            }
        }
    }

    pub(crate) fn check_closed(&mut self, closed: Result<(), Error>) {
        match closed {
            Ok(()) => self.check_whole(),
            Err(Error::Closed) => assert!(self.has_reported_failure(), "closed by what?"),
            Err(error) => {
                self.reported(&error);
                assert!(self.has_reported_failure(), "output reports a failure of input");
            }
        }
        if let Some(error) = self.reported_beside.take() {
            assert!(self.link(|link| link.is_shut), "closed well, after a failure");
            self.reported(&error);
        }
        let is_shut = self.link(|link| link.is_shut);
        let failed = world(|world| {
            // The way in which the peer goes after the shutdown is its own.
            let is_silent = |what| what == READ_ALONE || what == "read" && is_shut && self.discards;
            world.injected.iter().any(|what| !is_silent(*what))
        });
        assert!(!failed || self.has_reported_failure(), "an error was not reported");
        self.check_wire();
    }

    fn check_whole(&self) {
        self.link(|link| {
            assert!(!link.write_failed, "written, and there was an error");
            assert!(link.is_shut, "closed, and not shut down");
            assert_eq!(link.flushed, link.wire.len(), "not flushed");
            let queued = self.queued.len() + self.pushed.len();
            assert_eq!(link.wire.len(), queued, "not everything is on the wire");
        });
    }

    /// What is on the wire is what was queued, as far as it has come.
    pub(crate) fn check_wire(&self) {
        self.link(|link| {
            let (mut wire, mut owned, mut pushed) =
                (&link.wire[..], &self.queued[..], &self.pushed[..]);
            while let Some(first) = wire.first() {
                let source = if first.is_ascii_lowercase() { &mut pushed } else { &mut owned };
                let same = common_length(wire, source);
                assert!(same > 0, "byte {} is not what was queued", link.wire.len() - wire.len());
                (wire, *source) = (&wire[same..], &source[same..]);
            }
        });
    }
}

/// How long both are the same.
fn common_length(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let same = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

const BLOCK: usize = 128;

/// A method's name, whose it is, and what it waits for.
pub(crate) type Method = (&'static str, Side, Waits);

pub(crate) const NEXT: Method = ("Channel::next", Side::Input, Waits::Input);
pub(crate) const PEEK: Method = ("Channel::peek", Side::Input, Waits::Input);
pub(crate) const POLL_NEXT: Method = ("Channel::poll_next", Side::Input, Waits::Input);
pub(crate) const RECEIVE: Method = ("Channel::receive", Side::Input, Waits::Input);
pub(crate) const RECEIVE_MUT: Method = ("Channel::receive_mut", Side::Input, Waits::Input);
pub(crate) const RECEIVE_WITHIN: Method = ("Channel::receive_within", Side::Input, Waits::Input);
pub(crate) const RECEIVE_PART: Method = ("Channel::receive_part", Side::Input, Waits::Input);
pub(crate) const RUN: Method = ("Channel::run", Side::Whole, Waits::Input);
/// Above the high-water mark they do not read.
pub(crate) const NEXT_FULL: Method = ("Channel::next", Side::Input, Waits::Output);
pub(crate) const RUN_FULL: Method = ("Channel::run", Side::Whole, Waits::Output);
pub(crate) const READY: Method = ("Channel::ready", Side::Output, Waits::Output);
pub(crate) const FLUSH: Method = ("Channel::flush", Side::Output, Waits::Output);
pub(crate) const SHUTDOWN: Method = ("Channel::shutdown", Side::Output, Waits::Output);
pub(crate) const CLOSE: Method = ("Channel::close", Side::Whole, Waits::Input);
pub(crate) const DRIVE: Method = ("Channel::drive", Side::Output, Waits::Input);
pub(crate) const POLL_READY: Method = ("Channel::poll_ready", Side::Output, Waits::Output);
pub(crate) const POLL_FLUSH: Method = ("Channel::poll_flush", Side::Output, Waits::Output);
pub(crate) const POLL_CLOSE: Method = ("Channel::poll_close", Side::Output, Waits::Output);

static SMALL: Bytes = Bytes::from_static(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ");
static SMALL_LOWER: Bytes = Bytes::from_static(b"abcdefghijklmnopqrstuvwxyz");

/// No two places in it look alike soon.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| {
    let digits = |n: usize| [n / 625 % 25, n / 25 % 25, n % 25];
    (0..4000).flat_map(digits).map(|digit| b'A' + digit as u8).collect()
});
static LARGE_LOWER: LazyLock<Bytes> = LazyLock::new(|| LARGE.to_ascii_lowercase().into());

/// Farther away than any run takes.
const FAR: Duration = Duration::from_secs(3600);

/// No run has more polls than this.
const POLLS: usize = 300;
