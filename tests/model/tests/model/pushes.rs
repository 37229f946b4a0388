//! Threads that push, beside the thread that owns the channel.

use crate::Exploration;
use crate::link::{Link, Peer, link};
use crate::task::{Bell, poll_once, wait_for};
use asynchat_model::{Channel, Error, Parts, Pusher};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A call of a thread. It pushes one letter, which no other call pushes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Push,
    PushParts,
    PushProducer,
    TryPush,
    /// Reserves, and pushes.
    Reserve,
    Flush,
    Close,
    Abort,
    /// Waits for a close, which somebody else asks for.
    Closed,
    /// Polls once, and drops the future; so do the rest.
    DropPush,
    DropReserve,
    DropFlush,
    DropClosed,
}

use Call::*;

const CALLS: [Call; 13] = [
    Push,
    PushParts,
    PushProducer,
    TryPush,
    Reserve,
    Flush,
    Close,
    Abort,
    Closed,
    DropPush,
    DropReserve,
    DropFlush,
    DropClosed,
];

/// The deed of the owner after the first poll of its channel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    /// Polls `next` when it is woken, until nobody pushes any more.
    Serves,
    Closes,
    /// Discards buffers, and serves.
    Discards,
    Drops,
    TakesApart,
    /// Makes a `Framed` of it, or serves if that is refused.
    Converts,
}

use Owner::*;

const OWNERS: [Owner; 6] = [Serves, Closes, Discards, Drops, TakesApart, Converts];

#[derive(Clone, Debug)]
struct Scene {
    owner: Owner,
    /// Whether a pusher outlives the threads.
    keeps_pusher: bool,
    /// The calls of each thread.
    threads: Vec<Vec<Call>>,
}

/// A letter that was pushed.
#[derive(Clone, Copy, Debug)]
struct Letter {
    letter: char,
    is_accepted: bool,
}

/// The state in which the owner ends.
#[derive(Default)]
struct Outcome {
    /// A channel that serves still.
    channel: Option<Channel<Link>>,
    unsent: String,
    aborts: usize,
}

impl Scene {
    fn calls(&self, call: Call) -> bool {
        self.threads.iter().any(|thread| thread.contains(&call))
    }

    /// Returns `false` if a thread waits for a close that nobody asks for.
    fn ends(&self) -> bool {
        let closes = |calls: &[Call]| calls.contains(&Close) || calls.contains(&Abort);
        matches!(self.owner, Closes | Drops | TakesApart)
            || self.threads.iter().enumerate().all(|(number, thread)| {
                let before = thread.iter().position(|call| *call == Closed);
                let mut others =
                    self.threads.iter().enumerate().filter(|(other, _)| *other != number);
                before.is_none_or(|before| {
                    closes(&thread[..before]) || others.any(|(_, thread)| closes(thread))
                })
            })
    }

    fn play(&self) {
        let (io, peer) = link(false);
        let builder = Channel::builder().terminator("\n").linger(Duration::ZERO);
        // One letter fills it.
        let mut channel = builder.high_water(1).low_water(0).build(io);
        let bell = Bell::new(self.threads.len());
        let producers = Arc::new(AtomicUsize::new(0));
        let spawn = |(calls, letters): (&Vec<Call>, &'static str)| {
            let mut caller = Caller {
                pusher: channel.pusher(),
                peer: peer.clone(),
                checks_flush: self.owner != Discards,
                producers: Arc::clone(&producers),
                pushed: Vec::new(),
            };
            let (calls, bell) = (calls.clone(), Arc::clone(&bell));
            loom::thread::spawn(move || {
                calls
                    .into_iter()
                    .zip(letters.chars())
                    .for_each(|(call, letter)| caller.make(call, letter));
                drop(caller.pusher);
                bell.leave();
                caller.pushed
            })
        };
        let handles: Vec<_> = self.threads.iter().zip(["abc", "ABC"]).map(spawn).collect();
        let kept = self.keeps_pusher.then(|| channel.pusher());
        let outcome = self.own(channel, &bell);
        // Nobody was woken for what is left to do now.
        let received = peer.received() + &outcome.unsent;
        let pushed = handles.into_iter().map(|handle| handle.join().unwrap());
        pushed.for_each(|pushed| self.check_letters(&pushed, &received));
        self.check_wakes(&outcome, &peer);
        let is_open = !self.calls(Close) && !self.calls(Abort);
        if let Some(mut channel) = outcome.channel.filter(|_| is_open) {
            check_capacity(&mut channel, kept.as_ref(), &peer);
        }
        assert_eq!(producers.load(Relaxed), 0, "a producer outlives its channel");
    }

    fn own(&self, mut channel: Channel<Link>, bell: &Arc<Bell>) -> Outcome {
        let mut outcome = Outcome::default();
        if !poll(&mut channel, bell, &mut outcome.aborts) {
            return outcome;
        }
        match self.owner {
            Serves => {}
            Discards => {
                channel.discard_buffers();
                bell.ring();
            }
            Closes => {
                channel.close_when_done();
                let closed = wait_for(channel.shutdown());
                assert!(matches!(closed, Ok(()) | Err(Error::Aborted)), "{closed:?}");
                return outcome;
            }
            Drops => return outcome,
            TakesApart => {
                outcome.unsent = unsent(channel.into_parts());
                return outcome;
            }
            Converts => match channel.into_framed() {
                Ok(_framed) => return outcome,
                Err(refused) => {
                    channel = refused;
                    bell.ring();
                }
            },
        }
        while bell.wait() && poll(&mut channel, bell, &mut outcome.aborts) {}
        outcome.channel = Some(channel);
        outcome
    }

    /// Each letter that was accepted was sent once, and no other.
    fn check_letters(&self, pushed: &[Letter], received: &str) {
        let may_lose = self.calls(Abort) || matches!(self.owner, Discards | Drops);
        for &Letter { letter, is_accepted } in pushed {
            let times = received.matches(letter).count();
            let is_right = times == usize::from(is_accepted) || (may_lose && times == 0);
            assert!(is_right, "{letter} was sent {times} times: {received:?}, {pushed:?}");
        }
        let is_of_these = |letter: &char| pushed.iter().any(|pushed| pushed.letter == *letter);
        assert!(received.chars().filter(is_of_these).is_sorted(), "reordered: {received:?}");
    }

    fn check_wakes(&self, outcome: &Outcome, peer: &Peer) {
        if outcome.channel.is_none() {
            return;
        }
        if self.calls(Abort) {
            assert_eq!(outcome.aborts, 1, "the abort was not reported once");
        } else if self.calls(Close) {
            assert!(peer.is_shut(), "the close was not carried out");
        }
    }
}

/// Polls the channel. Returns `false` when it is over.
fn poll(channel: &mut Channel<Link>, bell: &Arc<Bell>, aborts: &mut usize) -> bool {
    let waker = Waker::from(Arc::clone(bell));
    let mut cx = Context::from_waker(&waker);
    loop {
        match channel.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(Err(Error::Aborted))) => *aborts += 1,
            Poll::Ready(Some(item)) => panic!("nobody has sent {item:?}"),
            Poll::Ready(None) => return false,
            Poll::Pending => return true,
        }
    }
}

/// A thread that makes calls.
struct Caller {
    pusher: Pusher,
    peer: Peer,
    /// Whether nothing is lost that was accepted before a flush.
    checks_flush: bool,
    /// The number of producers that are not dropped.
    producers: Arc<AtomicUsize>,
    pushed: Vec<Letter>,
}

impl Caller {
    fn make(&mut self, call: Call, letter: char) {
        let pusher = &self.pusher;
        match call {
            Flush => self.check_flush(wait_for(pusher.flush()).is_ok()),
            DropFlush => self.check_flush(matches!(poll_once(pusher.flush()), Poll::Ready(Ok(())))),
            Close => pusher.close_when_done(),
            Abort => pusher.abort(),
            Closed => {
                wait_for(pusher.closed());
                assert!(pusher.is_closed());
            }
            DropReserve => drop(poll_once(pusher.reserve())),
            DropClosed => {
                let _is_closed = poll_once(pusher.closed());
            }
            push => {
                let is_accepted = self.push(push, Bytes::from(letter.to_string()));
                self.pushed.push(Letter { letter, is_accepted });
            }
        }
    }

    fn push(&self, call: Call, data: Bytes) -> bool {
        let pusher = &self.pusher;
        match call {
            PushParts => wait_for(pusher.push_parts([data])).is_ok(),
            PushProducer => {
                wait_for(pusher.push_with_producer(producer(data, &self.producers))).is_ok()
            }
            TryPush => pusher.try_push(data).is_ok(),
            Reserve => wait_for(pusher.reserve()).is_ok_and(|permit| permit.push(data).is_ok()),
            DropPush => matches!(poll_once(pusher.push(data)), Poll::Ready(Ok(()))),
            _ => wait_for(pusher.push(data)).is_ok(),
        }
    }

    fn check_flush(&self, is_flushed: bool) {
        if !is_flushed || !self.checks_flush {
            return;
        }
        let (received, pushed) = (self.peer.received(), &self.pushed);
        let is_sent = |pushed: &Letter| !pushed.is_accepted || received.contains(pushed.letter);
        assert!(pushed.iter().all(is_sent), "flushed and not sent: {received:?}, {pushed:?}");
    }
}

/// A producer of one chunk, which counts in `alive` until it is dropped.
fn producer(
    data: Bytes,
    alive: &Arc<AtomicUsize>,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send + use<> {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    alive.fetch_add(1, Relaxed);
    let alive = Alive(Arc::clone(alive));
    stream::iter([data]).map(move |data| {
        let _alive = &alive;
        Ok(data)
    })
}

fn unsent(parts: Parts<Link>) -> String {
    let mut unsent = parts.unsent.to_vec();
    for producer in parts.producers {
        let chunks = producer.collect::<Vec<_>>().now_or_never().unwrap();
        chunks.into_iter().for_each(|chunk| unsent.extend_from_slice(&chunk.unwrap()));
    }
    String::from_utf8(unsent).unwrap()
}

/// All capacity is free again.
fn check_capacity(channel: &mut Channel<Link>, kept: Option<&Pusher>, peer: &Peer) {
    let pusher = kept.cloned().unwrap_or_else(|| channel.pusher());
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 0, closed: false }");
    assert!(pusher.try_push("z").is_ok(), "a push that is gone waits");
    assert!(poll_once(channel.next()).is_pending());
    assert!(peer.received().ends_with('z'));
}

fn explore(preemptions: usize, owners: &[Owner], threads: &[Vec<Vec<Call>>]) {
    let mut exploration = Exploration::new(preemptions);
    for &owner in owners {
        for keeps_pusher in [false, true] {
            for threads in threads.iter().cloned() {
                let scene = Scene { owner, keeps_pusher, threads };
                if scene.ends() {
                    exploration.explore(scene, Scene::play);
                }
            }
        }
    }
}

#[test]
fn nothing_is_lost_around_one_call() {
    explore(4, &OWNERS, &CALLS.map(|call| vec![vec![call]]));
}

#[test]
fn nothing_is_lost_around_two_calls_in_turn() {
    let pairs = CALLS.iter().flat_map(|first| CALLS.iter().map(move |second| [*first, *second]));
    let threads: Vec<_> = pairs.map(|pair| vec![pair.to_vec()]).collect();
    explore(2, &OWNERS, &threads);
}

#[test]
fn nothing_is_lost_around_two_calls_at_once() {
    let pairs = CALLS.iter().enumerate().flat_map(|(at, first)| {
        CALLS[at..].iter().map(move |second| vec![vec![*first], vec![*second]])
    });
    let threads: Vec<_> = pairs.collect();
    explore(1, &OWNERS, &threads);
    explore(2, &[Serves], &threads);
}
