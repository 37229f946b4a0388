//! Polling, and what happens between two polls.

use super::{Act, Method, Outcome, POLLS, Side, Sim, Task, Waits};
use crate::clock::{Clock, Late};
use crate::link::{INPUT, OUTPUT, Slot};
use crate::variant::Tasks;
use crate::world::{Mock, READ_ALONE, World, failed_at, world};
use asynchat::{Channel, Error, Frame, Timeout};
use futures::{SinkExt, StreamExt};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

impl Sim {
    /// Makes the future of `method`, polls it once, and drops it. Pending, it
    /// must be waiting for something that then happens.
    pub(crate) fn turn<R: Outcome>(
        &mut self,
        (method, side, waits): Method,
        channel: &mut Channel<Mock>,
        mut call: impl AsyncFnMut(&mut Channel<Mock>) -> R,
    ) -> Poll<R> {
        let is_whole = side == Side::Whole;
        let task = match side {
            Side::Output if self.variant.tasks != Tasks::One => OUTPUT,
            _ => INPUT,
        };
        if is_whole || self.variant.tasks == Tasks::OtherFirst {
            self.poll_beside(task, channel);
        }
        if is_whole {
            // Nobody else has a part of the channel.
            self.discards = true;
            self.tasks[OUTPUT].is_pending = false;
        }
        let Poll::Ready(ready) = self.poll_as(task, waits, pin!(call(channel))) else {
            self.drops(method);
            if !is_whole && self.variant.tasks == Tasks::OtherLast {
                self.poll_beside(task, channel);
            }
            self.wait(task, channel);
            return Poll::Pending;
        };
        self.forgets(task);
        match side {
            Side::Input => {}
            Side::Output => {
                let is_alone = ready.error().is_some_and(is_alone);
                assert!(!is_alone, "output reports a failure of input");
            }
            // Nobody reads on after an error of `run`.
            Side::Whole => self.tasks[INPUT].is_done |= ready.error().is_some(),
        }
        if ready.is_end() {
            if let Some(error) = self.reported_beside.take() {
                return Poll::Ready(R::failed(error));
            }
        }
        Poll::Ready(ready)
    }

    /// Turns until it is ready.
    pub(crate) fn turns<R: Outcome>(
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

    /// A turn of `next`, unless the task beside has read something.
    pub(crate) fn poll_next(
        &mut self,
        channel: &mut Channel<Mock>,
    ) -> Poll<Option<Result<Frame, Error>>> {
        match self.read.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None => self.turn(super::NEXT, channel, async |c| c.next().await),
        }
    }

    /// The same until it is ready.
    pub(crate) fn next(&mut self, channel: &mut Channel<Mock>) -> Option<Result<Frame, Error>> {
        loop {
            if let Poll::Ready(item) = self.poll_next(channel) {
                return item;
            }
        }
    }

    /// Polls what is not made again: what is dropped then is lost.
    pub(crate) fn poll<F: Future + Unpin>(&mut self, future: &mut F) -> Poll<F::Output> {
        self.tasks[OUTPUT].is_pending = false;
        self.poll_as(INPUT, Waits::Upgrade, Pin::new(future))
    }

    /// That is pending. Lets things happen until it is woken.
    pub(crate) fn pends(&mut self, method: &'static str) {
        self.drops(method);
        while !self.is_woken(INPUT) {
            self.happens(0);
        }
    }

    /// Runs both halves of a split channel, each in a task of its own.
    pub(crate) fn run_both<R, W>(
        &mut self,
        reader: impl Future<Output = R>,
        writer: impl Future<Output = W>,
    ) -> (R, W) {
        let (mut reader, mut writer) = (pin!(reader), pin!(writer));
        let (mut read, mut written) = (Poll::Pending, Poll::Pending);
        let is_writer_first = self.variant.tasks == Tasks::OtherFirst;
        loop {
            for task in if is_writer_first { [OUTPUT, INPUT] } else { [INPUT, OUTPUT] } {
                let Task { waker, is_pending, .. } = self.tasks[task];
                let is_new = waker == 0;
                if !is_new && (!is_pending || !self.is_woken(task)) {
                    continue;
                }
                match task {
                    INPUT => read = self.poll_as(task, Waits::Input, reader.as_mut()),
                    _ => written = self.poll_as(task, Waits::Output, writer.as_mut()),
                }
            }
            match (read, written) {
                (Poll::Ready(read), Poll::Ready(written)) => return (read, written),
                both => (read, written) = both,
            }
            if !self.is_any_woken() {
                self.happens(0);
            }
        }
    }

    fn poll_as<F: Future>(
        &mut self,
        task: usize,
        waits: Waits,
        future: Pin<&mut F>,
    ) -> Poll<F::Output> {
        self.polls += 1;
        assert!(self.polls < POLLS, "it does not end");
        let before = self.input();
        world(|world| world.polls(task));
        let polled = future.poll(&mut Context::from_waker(&self.wakers[self.polls].1));
        let is_pending = polled.is_pending();
        if is_pending {
            world(World::rests);
        }
        self.tasks[task] = Task { waker: self.polls, is_pending, waits, ..self.tasks[task] };
        world(|world| {
            let World { clock, links, .. } = world;
            clock.iter_mut().for_each(|clock| clock.note_output(&links[self.link]));
        });
        let is_begun = self.link(|link| link.is_begun()) || self.injected("aborted");
        assert!(is_begun, "what the transport held before is not flushed");
        self.check_other(1 - task, before);
        self.check_forgotten();
        polled
    }

    /// A poll of this task was ready. If the other task is asleep, events find that one's
    /// waker, and no longer this one's.
    fn forgets(&mut self, task: usize) {
        let other = 1 - task;
        if self.tasks[other].is_pending && !self.is_woken(other) {
            let waker = self.tasks[task].waker;
            self.wakers[waker].0.0.store(false, Relaxed);
            self.forgotten.push(waker);
        }
    }

    fn check_forgotten(&self) {
        let is_woken = |waker: &usize| self.wakers[*waker].0.0.load(Relaxed);
        assert!(!self.forgotten.iter().any(is_woken), "a task is woken that does not wait");
    }

    /// How far input has come.
    fn input(&self) -> (usize, bool) {
        self.link(|link| (link.delivered, link.is_readable()))
    }

    fn is_woken(&self, task: usize) -> bool {
        self.wakers[self.tasks[task].waker].0.0.load(Relaxed)
    }

    fn is_any_woken(&self) -> bool {
        (0..2).any(|task| self.tasks[task].is_pending && self.is_woken(task))
    }

    /// Checks, after an event, that all pending tasks that it concerns are woken.
    #[track_caller]
    fn check_woken(&self, concerned: impl Fn(usize, Task) -> bool, why: &str) {
        self.check_forgotten();
        for (task, name) in [(INPUT, "input"), (OUTPUT, "output")] {
            let Task { is_pending, .. } = self.tasks[task];
            if is_pending && concerned(task, self.tasks[task]) {
                assert!(self.is_woken(task), "{why}, and nobody wakes {name}");
            }
        }
    }

    /// Checks, after the other task was polled, that `task` is woken if that was what it
    /// waits for.
    fn check_other(&self, task: usize, before: (usize, bool)) {
        if !self.tasks[task].is_pending || self.is_woken(task) {
            return;
        }
        let nothing_left = world(|world| world.hands_over(task, self.link));
        let has_sent_all = nothing_left && (task == OUTPUT || !self.input().1);
        assert!(!has_sent_all, "another task has sent what task {task} waits for, in silence");
        let has_read = task == INPUT && self.input() != before;
        assert!(!has_read, "another task has read what task {task} waits for, in silence");
        let is_lost = self.link(|link| link.is_lost());
        assert!(!is_lost, "another task has met the end, and task {task} is not woken");
    }

    /// Notes that a future of this method was dropped while it was pending.
    pub(crate) fn drops(&mut self, method: &'static str) {
        if !self.dropped.contains(&method) {
            self.dropped.push(method);
        }
    }

    /// Polls the other side from the other task, if there is one, and it is not asleep
    /// or done.
    fn poll_beside(&mut self, task: usize, channel: &mut Channel<Mock>) {
        let other = 1 - task;
        let Task { is_pending, is_done, .. } = self.tasks[other];
        if self.variant.tasks == Tasks::One || is_done || is_pending && !self.is_woken(other) {
            return;
        }
        let is_done = match other {
            OUTPUT => self.flush_beside(channel),
            _ => self.read_beside(channel),
        };
        self.tasks[other].is_done = is_done;
    }

    /// Returns whether that task is done.
    fn flush_beside(&mut self, channel: &mut Channel<Mock>) -> bool {
        let flush = pin!(SinkExt::flush(channel));
        let flushed = self.poll_as(OUTPUT, Waits::Output, flush);
        if flushed.is_ready() {
            self.forgets(OUTPUT);
        }
        match flushed {
            Poll::Pending | Poll::Ready(Ok(())) => false,
            Poll::Ready(Err(Error::Closed)) => {
                let is_reported = self.has_reported_failure() || self.reported_beside.is_some();
                assert!(is_reported, "closed by what?");
                true
            }
            Poll::Ready(Err(error)) => {
                assert!(!is_alone(&error), "output reports a failure of input");
                self.keep_failure(error);
                true
            }
        }
    }

    /// Returns whether that task is done.
    fn read_beside(&mut self, channel: &mut Channel<Mock>) -> bool {
        loop {
            let next = pin!(StreamExt::next(channel));
            let Poll::Ready(item) = self.poll_as(INPUT, Waits::Input, next) else { return false };
            self.forgets(INPUT);
            match item {
                None => return true,
                Some(item @ (Ok(_) | Err(Error::FrameTooLong { .. }))) => self.read.push_back(item),
                Some(Err(Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_))))) => {
                    world(|world| world.timed_out(timeout));
                    return true;
                }
                Some(Err(error)) => {
                    match is_alone(&error) {
                        true => self.read.push_back(Err(error)),
                        false => self.keep_failure(error),
                    }
                    return true;
                }
            }
        }
    }

    /// Keeps for the scenario what was reported to the task beside it.
    fn keep_failure(&mut self, error: Error) {
        assert!(self.reported_beside.is_none(), "reported twice: {error}");
        self.reported_beside = Some(error);
    }

    /// Lets things happen, and the task beside run, until `task` is woken.
    fn wait(&mut self, task: usize, channel: &mut Channel<Mock>) {
        loop {
            while self.tasks[1 - task].is_pending && self.is_woken(1 - task) {
                self.poll_beside(task, channel);
            }
            if self.variant.tasks != Tasks::One && self.is_woken(task) {
                return;
            }
            self.happens(channel.queued_bytes());
            if self.variant.tasks == Tasks::One {
                return;
            }
        }
    }

    /// Checks what is waited for, and lets something of that happen.
    fn happens(&mut self, queued: u64) {
        let wakes = self.check_wait(queued);
        self.act(wakes);
        if self.is_late(queued, wakes) {
            return;
        }
        // A slow peer is to be seen each time.
        if self.variant.tasks == Tasks::One || self.link(|link| link.is_slow) {
            self.wake_all();
        } else if !self.is_any_woken() {
            self.wake_one();
        }
    }

    /// Lets everything happen that is waited for.
    fn wake_all(&self) {
        let wakers = world(|world| {
            let link = &mut world.links[self.link];
            let (reader, _) = link.reader.take();
            let reader = reader.filter(|_| !link.is_quiet);
            let writer = link.writer.take().0;
            if writer.is_some() {
                world.clock.iter_mut().for_each(Clock::wakes_writer);
            }
            [reader, writer, world.producer.take().0]
        });
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.check_woken(|_, _| true, "pending");
    }

    /// Lets one thing happen that is waited for. Each task that found it pending must be
    /// woken.
    fn wake_one(&self) {
        let (waker, waiting) = world(|world| {
            let link = &world.links[self.link];
            let is_set = [
                link.writer.is_set(),
                link.reader.is_set() && !link.is_quiet,
                world.producer.is_set(),
            ];
            let events = EVENTS[is_set.iter().rfold(0, |sum, set| 2 * sum + usize::from(*set))];
            let event = match events {
                [] => panic!("pending, and nothing will wake it"),
                [event] => *event,
                [event, ..] => world.letter(events, *event),
            };
            let link = &mut world.links[self.link];
            match event {
                b'w' => {
                    world.clock.iter_mut().for_each(Clock::wakes_writer);
                    link.writer.take()
                }
                b'r' => link.reader.take(),
                _ => world.producer.take(),
            }
        });
        waker.into_iter().for_each(Waker::wake);
        self.check_woken(|task, _| waiting[task], "what it waits for happens");
    }

    /// Checks where the wakers of pending tasks are. Returns whether anything but an act
    /// from outside will wake one.
    fn check_wait(&self, queued: u64) -> bool {
        if self.is_any_woken() {
            return true;
        }
        let is_stale = |waker: &Waker| {
            let mut earlier = self.wakers[..self.polls].iter();
            earlier.any(|(_, earlier)| earlier.will_wake(waker))
        };
        let is_waited_for = |slot: &Slot| match self.variant.tasks {
            Tasks::One => slot.is_left_by(INPUT, is_stale),
            _ => slot.is_set(),
        };
        let waits =
            |waits: Waits| self.tasks.iter().any(|one| one.is_pending && one.waits == waits);
        world(|world| {
            let link = &world.links[self.link];
            let is_fed = is_waited_for(&world.producer);
            let produces = is_fed || world.is_stuck;
            let (reads, writes) = (is_waited_for(&link.reader), is_waited_for(&link.writer));
            assert!(!link.is_lost(), "pending, and an error is to be reported");
            if link.wire.len() > link.flushed {
                assert!(writes, "something is not flushed, and nobody waits for that");
            }
            if queued > 0 {
                assert!(writes || produces, "unsent output, and nobody waits for room");
            }
            if produces && !writes {
                assert!(link.wire.len() >= world.given, "a producer waits before others are sent");
                let watches = reads || !link.is_readable() || waits(Waits::Upgrade);
                assert!(watches, "a producer is waited for, and a break is not noticed");
            }
            if waits(Waits::Input) && link.is_readable() {
                assert!(reads, "input goes on, and nobody waits for it");
            }
            writes || is_fed || reads && !link.is_quiet
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
        if is_taken {
            self.check_woken(|_, _| true, "an act from outside");
        } else if !others_wake {
            self.act(others_wake);
        }
    }

    /// Lets no time pass, or half of a limit, or as much as it takes until a limit is
    /// over; then nothing else happens. Returns whether a limit is over. Each task that
    /// it concerns must be woken.
    fn is_late(&self, queued: u64, others_wake: bool) -> bool {
        let reads = self.tasks.iter().any(|task| task.is_pending && task.waits == Waits::Input);
        let late = |advances: bool| {
            world(|world| {
                let World { clock, links, .. } = world;
                let clock = clock.as_mut()?;
                if advances {
                    clock.advance(self.tasks[OUTPUT].is_pending);
                } else {
                    clock.note(&links[self.link], reads, queued);
                }
                Some(clock.late(reads))
            })
        };
        match late(false) {
            None => return false,
            Some(late) => assert!(late == Late::default(), "pending, and its time is over"),
        }
        let letters: &[u8] = if self.link(|link| link.is_slow) { b".+" } else { b".+t" };
        let letter = if others_wake { world(|world| world.letter(letters, b'.')) } else { b't' };
        let most = match letter {
            b'.' => 0,
            b'+' => 1,
            _ => 3,
        };
        for _ in 0..most {
            let late = late(true).unwrap_or_default();
            let is_late = |_, task: Task| late.write || late.input && task.waits == Waits::Input;
            self.check_woken(is_late, "its time is over");
            if late != Late::default() {
                return true;
            }
        }
        assert!(others_wake, "nothing goes on, and no time is running");
        false
    }
}

/// Whether only reading has failed.
fn is_alone(error: &Error) -> bool {
    matches!(error, Error::Io(e) if failed_at(e) == READ_ALONE)
}

/// The events that can happen if a waker is left with the writer (1), the reader (2)
/// and a producer (4).
const EVENTS: [&[u8]; 8] = [b"", b"w", b"r", b"wr", b"p", b"wp", b"pr", b"wpr"];
