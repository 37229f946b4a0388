//! Turns: each makes a new future, polls it once and drops it.

use crate::world::{Chunks, Fate, Link, Mock, World, failed_at, world};
use asynchat::{Builder, Channel, Error, Pusher, Timeout, Timeouts, TryPushError};
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How a scenario is varied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) out_buffer: usize,
    /// Payloads that are sent from where they lie, or a few bytes.
    pub(crate) large: bool,
    pub(crate) vectored: bool,
    /// All limits of time are set, and none is ever reached.
    pub(crate) limits: bool,
}

/// Small payloads never reach the default bound, so it is 1 as well, and there
/// are payloads above it.
pub(crate) const VARIANTS: [Variant; 4] = [
    Variant { out_buffer: 1, large: false, vectored: true, limits: false },
    Variant { out_buffer: 65536, large: false, vectored: true, limits: false },
    Variant { out_buffer: 16, large: true, vectored: true, limits: false },
    Variant { out_buffer: 4096, large: true, vectored: false, limits: false },
];

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

/// What a pending call must be waiting for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Waits {
    /// For output, if there is any.
    Output,
    /// For input as well.
    Input,
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

#[derive(Default)]
struct Token(AtomicBool);

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// One run of a scenario.
pub(crate) struct Sim {
    pub(crate) variant: Variant,
    /// Each turn has a waker of its own: one that is kept from an earlier turn
    /// does not count.
    wakers: Vec<(Arc<Token>, Waker)>,
    turn: usize,
    /// The link in use.
    pub(crate) link: usize,
    pub(crate) outside: VecDeque<Act>,
    pub(crate) pusher: Option<Pusher>,
    /// What the owner has queued, and what pushers have: in lower case.
    pub(crate) queued: Vec<u8>,
    pub(crate) pushed: Vec<u8>,
    /// The errors that were told.
    told: Vec<&'static str>,
    dropped: Vec<&'static str>,
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
        let tokens = std::iter::repeat_with(Arc::<Token>::default).take(TURNS);
        let wakers = tokens.map(|token| (Arc::clone(&token), Waker::from(token))).collect();
        Sim {
            variant,
            wakers,
            turn: 0,
            link: 0,
            outside: VecDeque::new(),
            pusher: None,
            queued: vec![],
            pushed: vec![],
            told: vec![],
            dropped: vec![],
        }
    }

    fn reset(&mut self) {
        world(|world| world.reset(self.variant.vectored));
        for (token, _) in &self.wakers[..=self.turn.min(TURNS - 1)] {
            token.0.store(false, Relaxed);
        }
        (self.turn, self.link, self.pusher) = (0, 0, None);
        self.outside.clear();
        self.queued.clear();
        self.pushed.clear();
        self.told.clear();
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
        Chunks { chunks, is_slow: false, fails: false, has_ended: false }
    }

    fn waker(&self) -> &Waker {
        &self.wakers[self.turn].1
    }

    fn is_woken(&self) -> bool {
        self.wakers[self.turn].0.0.load(Relaxed)
    }

    /// Makes the future of `method`, polls it once, and drops it. Pending, it
    /// must be waiting for something that then happens.
    pub(crate) fn turn<R>(
        &mut self,
        (method, waits): Method,
        channel: &mut Channel<Mock>,
        mut call: impl AsyncFnMut(&mut Channel<Mock>) -> R,
    ) -> Poll<R> {
        let polled = {
            let future = pin!(call(channel));
            future.poll(&mut Context::from_waker(self.waker()))
        };
        if polled.is_pending() {
            self.pends(method, waits, channel.queued_bytes());
        } else {
            world(|world| {
                let World { clock, links, .. } = world;
                clock.iter_mut().for_each(|clock| clock.note_output(&links[self.link]));
            });
        }
        polled
    }

    /// Turns until it is ready.
    pub(crate) fn turns<R>(
        &mut self,
        method: Method,
        channel: &mut Channel<Mock>,
        mut call: impl AsyncFnMut(&mut Channel<Mock>) -> R,
    ) -> R {
        loop {
            if let Poll::Ready(ready) = self.turn(method, channel, &mut call) {
                return ready;
            }
        }
    }

    /// Polls what is not made anew: what is dropped then is lost.
    pub(crate) fn poll<F: Future + Unpin>(&mut self, future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut Context::from_waker(self.waker()))
    }

    /// A call is pending: on what? Then that happens.
    pub(crate) fn pends(&mut self, method: &'static str, waits: Waits, queued: u64) {
        self.drops(method);
        let wakes = self.check_wait(waits, queued);
        self.act(wakes);
        self.pass_time(waits == Waits::Input, queued, wakes);
        world(|world| {
            let link = &mut world.links[self.link];
            let reader = link.reader.take().filter(|_| !link.is_quiet);
            let all = [reader, link.writer.take(), world.producer.take()];
            all.into_iter().flatten().for_each(Waker::wake);
        });
        assert!(self.is_woken(), "pending, and nobody wakes it");
        self.turn += 1;
        assert!(self.turn < TURNS, "it does not end");
    }

    /// Notes that a future of this method was dropped while it was pending.
    pub(crate) fn drops(&mut self, method: &'static str) {
        if !self.dropped.contains(&method) {
            self.dropped.push(method);
        }
    }

    /// Looks for who holds our waker. Gives whether somebody but an act from
    /// outside will wake us.
    fn check_wait(&self, waits: Waits, queued: u64) -> bool {
        if self.is_woken() {
            return true;
        }
        let ours =
            |waker: &Option<Waker>| waker.as_ref().is_some_and(|w| w.will_wake(self.waker()));
        world(|world| {
            let link = &world.links[self.link];
            let produces = ours(&world.producer);
            let (reads, writes) = (ours(&link.reader), ours(&link.writer));
            assert!(!link.write_failed, "pending, and an error is to be told");
            if link.wire.len() > link.flushed {
                assert!(writes, "something is not flushed, and nobody waits for that");
            }
            if queued > 0 {
                assert!(writes || produces, "unsent output, and nobody waits for room");
            }
            if produces && !writes {
                assert!(link.wire.len() >= world.given, "a producer waits before others are sent");
            }
            if waits == Waits::Input && link.is_readable() {
                assert!(reads, "input goes on, and nobody waits for it");
            }
            writes || produces || reads && !link.is_quiet
        })
    }

    /// Lets the next act from outside happen, or not yet.
    fn act(&mut self, others_wake: bool) {
        let is_early = match self.outside.front() {
            None => true,
            Some(Act::Time) => !self.link(|link| link.is_shut),
            Some(_) => false,
        };
        if is_early || others_wake && world(|world| world.letter(b".+", b'+')) == b'.' {
            return;
        }
        let Some(act) = self.outside.pop_front() else { return };
        let is_taken = self.is_taken(act);
        assert!(!is_taken || self.is_woken(), "it does not wake who polls");
        if !others_wake && !is_taken {
            self.act(others_wake);
        }
    }

    /// Lets half of a limit pass, or not; as often as it takes if nothing else
    /// goes on. Whoever is late by that is woken.
    fn pass_time(&self, reads: bool, queued: u64, others_wake: bool) {
        let is_over = |advances: bool| {
            world(|world| {
                let World { clock, links, .. } = world;
                let clock = clock.as_mut()?;
                if advances {
                    clock.advance();
                } else {
                    clock.note(&links[self.link], reads, queued);
                }
                Some(clock.is_over(reads))
            })
        };
        match is_over(false) {
            None => return,
            Some(is_over) => assert!(!is_over, "pending, and its time is over"),
        }
        if others_wake && world(|world| world.letter(b".+", b'.')) == b'.' {
            return;
        }
        for _ in 0..3 {
            let is_over = is_over(true) == Some(true);
            assert!(!is_over || self.is_woken(), "its time is over, and nobody wakes it");
            if is_over || others_wake {
                return;
            }
        }
        panic!("nothing goes on, and no time is running");
    }

    /// Does it. Gives whether it was taken.
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
        let chunks = chunks.into();
        let producer = Chunks { chunks, is_slow: true, fails: false, has_ended: false };
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

    /// Notes an error that was told: only what there was, and once.
    #[track_caller]
    pub(crate) fn tell(&mut self, error: &Error) {
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
        world(|world| assert!(world.injected.contains(&what), "{what}: there was no such error"));
        assert!(!self.told.contains(&what), "{what}: told twice");
        self.told.push(what);
    }

    pub(crate) fn has_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether this happened.
    pub(crate) fn injected(&self, what: &str) -> bool {
        world(|world| world.injected.contains(&what))
    }

    /// Closes the channel: everything queued is on the wire, or an error was
    /// told.
    pub(crate) fn finish(&mut self, channel: &mut Channel<Mock>) {
        let closed = self.turns(SHUTDOWN, channel, async |c| c.shutdown().await);
        self.check_closed(closed);
        let again = self.turns(SHUTDOWN, channel, async |c| c.shutdown().await);
        match again {
            Ok(()) => self.check_whole(),
            Err(Error::Closed) => assert!(self.has_told(), "closed by what?"),
            Err(error) => panic!("told again: {error:?}"),
        }
        if let Some(pusher) = &self.pusher {
            assert!(pusher.is_closed());
        }
    }

    pub(crate) fn check_closed(&mut self, closed: Result<(), Error>) {
        match closed {
            Ok(()) => self.check_whole(),
            Err(Error::Closed) => assert!(self.has_told(), "closed by what?"),
            Err(error) => self.tell(&error),
        }
        let injected = world(|world| !world.injected.is_empty());
        assert!(!injected || self.has_told(), "an error was not told");
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

/// A method's name, and what it waits for.
pub(crate) type Method = (&'static str, Waits);

pub(crate) const NEXT: Method = ("Channel::next", Waits::Input);
pub(crate) const POLL_NEXT: Method = ("Channel::poll_next", Waits::Input);
pub(crate) const RECEIVE: Method = ("Channel::receive", Waits::Input);
pub(crate) const RECEIVE_WITHIN: Method = ("Channel::receive_within", Waits::Input);
pub(crate) const RECEIVE_PART: Method = ("Channel::receive_part", Waits::Input);
pub(crate) const RUN: Method = ("Channel::run", Waits::Input);
/// Above the high-water mark it does not read.
pub(crate) const RUN_FULL: Method = ("Channel::run", Waits::Output);
pub(crate) const READY: Method = ("Channel::ready", Waits::Output);
pub(crate) const FLUSH: Method = ("Channel::flush", Waits::Output);
pub(crate) const SHUTDOWN: Method = ("Channel::shutdown", Waits::Output);
pub(crate) const CLOSE: Method = ("Channel::close", Waits::Input);
pub(crate) const POLL_READY: Method = ("Channel::poll_ready", Waits::Output);
pub(crate) const POLL_FLUSH: Method = ("Channel::poll_flush", Waits::Output);
pub(crate) const POLL_CLOSE: Method = ("Channel::poll_close", Waits::Output);

static SMALL: Bytes = Bytes::from_static(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ");
static SMALL_LOWER: Bytes = Bytes::from_static(b"abcdefghijklmnopqrstuvwxyz");

/// No two places in it look alike soon.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| {
    let digits = |n: usize| [n / 625 % 25, n / 25 % 25, n % 25];
    (0..4000).flat_map(digits).map(|digit| b'A' + digit as u8).collect()
});
static LARGE_LOWER: LazyLock<Bytes> = LazyLock::new(|| LARGE.to_ascii_lowercase().into());

/// One whose clock stands still, but for whoever advances it.
pub(crate) fn runtime() -> Arc<Runtime> {
    thread_local! {
        static RUNTIME: Arc<Runtime> = {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            Arc::new(builder.enable_time().start_paused(true).build().unwrap())
        };
    }
    RUNTIME.with(Arc::clone)
}

/// Farther away than any run takes.
const FAR: Duration = Duration::from_secs(3600);

/// No run has more turns than this.
const TURNS: usize = 100;
