//! Two tasks that poll the two sides of a channel, beside the thread of the events.

use crate::Exploration;
use crate::link::{Link, link};
use crate::task::{poll_once, wait_for};
use asynchat_model::{Channel, Error, Timeouts};
use futures::{SinkExt, StreamExt};
use loom::sync::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The deed of the task of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    Next,
    /// Polls once, and is gone.
    DropNext,
}

/// The deed of the task of the output.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    Flush,
    Ready,
    Close,
    /// Polls once, and is gone.
    DropFlush,
}

/// An event beside the two tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// The peer sends a line.
    Line,
    /// The transport takes output again.
    Unblock,
    /// A thread pushes.
    Push,
    Abort,
}

#[derive(Clone, Debug)]
struct Scene {
    input: Input,
    output: Output,
    events: Vec<Event>,
    /// Whether a stalled write has a limit, and so a waker of its own.
    has_timeout: bool,
}

impl Scene {
    /// Returns `false` if a task waits for an event that does not happen.
    fn ends(&self) -> bool {
        let happens = |event| self.events.contains(&event);
        let is_sent = happens(Event::Unblock) || happens(Event::Abort);
        let is_read = happens(Event::Line) || happens(Event::Abort);
        (is_sent || self.output == Output::DropFlush) && (is_read || self.input == Input::DropNext)
    }

    fn play(&self) {
        let (io, peer) = link(true);
        let hour = Duration::from_secs(3600);
        let timeouts = if self.has_timeout { Timeouts::all(hour) } else { Timeouts::default() };
        let builder = Channel::builder().terminator("\n").timeouts(timeouts);
        // For `ready` one letter fills it.
        let high_water = if self.output == Output::Ready { 1 } else { 1000 };
        let mut channel = builder.high_water(high_water).low_water(0).build(io);
        channel.push("x");
        let pusher = channel.pusher();
        let channel = Arc::new(Mutex::new(channel));
        let (input, output) = (self.input, self.output);
        let theirs = Arc::clone(&channel);
        let reader = loom::thread::spawn(move || read(input, &theirs));
        let theirs = Arc::clone(&channel);
        let writer = loom::thread::spawn(move || write(output, &theirs));
        let mut expected = "x";
        for event in &self.events {
            match event {
                Event::Line => peer.send("line\n"),
                Event::Unblock => peer.unblock(),
                Event::Push if pusher.try_push("p").is_ok() => expected = "xp",
                Event::Push => {}
                Event::Abort => pusher.abort(),
            }
        }
        let ends = [reader.join().unwrap(), writer.join().unwrap()];
        if self.events.contains(&Event::Abort) {
            return self.check_abort(ends);
        }
        self.check_ends(ends);
        assert!(ends[1] == End::Dropped || peer.received().starts_with('x'), "not sent");
        peer.unblock();
        let _flushed = poll_once(poll_fn(|cx| channel.lock().unwrap().poll_flush_unpin(cx)));
        assert_eq!(peer.received(), expected);
    }

    /// One task reports the abort. Neither may, if each has ended before it.
    fn check_abort(&self, ends: [End; 2]) {
        let aborts = ends.iter().filter(|end| **end == End::Aborted).count();
        let is_missing =
            aborts == 0 && self.events == [Event::Abort] && !ends.contains(&End::Dropped);
        assert!(aborts <= 1 && !is_missing, "the abort was reported {aborts} times");
    }

    fn check_ends(&self, [read, written]: [End; 2]) {
        assert!(read == End::Good || (read, self.input) == (End::Dropped, Input::DropNext));
        assert!(
            written == End::Good || (written, self.output) == (End::Dropped, Output::DropFlush)
        );
    }
}

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Good,
    Aborted,
    /// The abort was reported to the other task.
    Over,
    Dropped,
}

fn read(input: Input, channel: &Mutex<Channel<Link>>) -> End {
    let next = poll_fn(|cx| channel.lock().unwrap().poll_next_unpin(cx));
    let item = match input {
        Input::Next => wait_for(next),
        Input::DropNext => match poll_once(next) {
            Poll::Ready(item) => item,
            Poll::Pending => return End::Dropped,
        },
    };
    match item {
        Some(Ok(frame)) => {
            assert_eq!(frame.into_data(), "line");
            End::Good
        }
        Some(Err(Error::Aborted)) => End::Aborted,
        None => End::Over,
        Some(error) => panic!("{error:?}"),
    }
}

fn write(output: Output, channel: &Mutex<Channel<Link>>) -> End {
    let poll = |cx: &mut Context<'_>| {
        let mut channel = channel.lock().unwrap();
        match output {
            Output::Flush | Output::DropFlush => channel.poll_flush_unpin(cx),
            Output::Ready => channel.poll_ready_unpin(cx),
            Output::Close => channel.poll_close_unpin(cx),
        }
    };
    let written = match output {
        Output::DropFlush => match poll_once(poll_fn(poll)) {
            Poll::Ready(written) => written,
            Poll::Pending => return End::Dropped,
        },
        _ => wait_for(poll_fn(poll)),
    };
    match written {
        Ok(()) => End::Good,
        Err(Error::Aborted) => End::Aborted,
        Err(Error::Closed) => End::Over,
        Err(error) => panic!("{error:?}"),
    }
}

const INPUTS: [Input; 2] = [Input::Next, Input::DropNext];

const OUTPUTS: [Output; 4] = [Output::Flush, Output::Ready, Output::Close, Output::DropFlush];

const EVENTS: [Event; 4] = [Event::Line, Event::Unblock, Event::Push, Event::Abort];

/// All sequences of at most two different events.
fn sequences() -> Vec<Vec<Event>> {
    let mut sequences = Vec::new();
    for first in EVENTS {
        sequences.push(vec![first]);
        for second in EVENTS.into_iter().filter(|second| *second != first) {
            sequences.push(vec![first, second]);
        }
    }
    sequences
}

fn explore(preemptions: usize, has_timeout: bool) {
    let mut exploration = Exploration::new(preemptions);
    for input in INPUTS {
        for output in OUTPUTS {
            for events in sequences() {
                let scene = Scene { input, output, events, has_timeout };
                if scene.ends() {
                    exploration.explore(scene, Scene::play);
                }
            }
        }
    }
}

#[test]
fn two_halves_are_woken_by_each_event() {
    explore(3, false);
}

#[test]
fn two_halves_are_woken_through_probe() {
    // Nothing waits for the clock, which would need a runtime that runs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    explore(2, true);
}
