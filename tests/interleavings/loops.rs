//! Scenarios over a transport that is always ready, with input that never ends and
//! output that is taken at once: each loop yields.

use crate::clock::runtime;
use crate::sim::{Scenario, Sim, Token};
use crate::variant::{VARIANTS, Variant};
use crate::world::{Mock, WORK, World, world};
use asynchat::{Builder, Channel, Control, Error, Handler};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Lines without an end.
static INPUT: LazyLock<Bytes> = LazyLock::new(|| b"0123456789abcde\n".repeat(256).into());

fn channel(sim: &mut Sim, builder: Builder) -> Channel<Mock> {
    world(|world| world.links[0].is_endless = true);
    builder.terminator("\n").encode_terminator("\n").build(sim.mock(&INPUT))
}

/// Polls until it is ready, or was pending this often.
fn poll<F: Future>(future: F, most: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..most {
        let token = Arc::new(Token::default());
        let waker = Waker::from(Arc::clone(&token));
        if let Poll::Ready(ready) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            world(|world| world.works(WORK_READY));
            return Some(ready);
        }
        assert!(token.0.load(Relaxed), "pending, and nobody wakes it");
        world(World::rests);
    }
    None
}

/// Calls it again and again.
fn repeat(
    sim: &mut Sim,
    builder: Builder,
    mut call: impl AsyncFnMut(&mut Channel<Mock>, Bytes) -> Result<(), Error>,
) {
    let mut channel = channel(sim, builder);
    let payload = sim.payload(0);
    while world(|world| world.work_before) < WORK {
        poll(call(&mut channel, payload.clone()), 1000).expect("it does not end").unwrap();
    }
}

/// It never ends.
fn endless<F: Future>(future: F) {
    assert!(poll(future, 50).is_none());
}

/// Answers each line.
struct Answers(Option<Bytes>);

impl Handler for Answers {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        world(|world| world.works(WORK_READY));
        self.0.iter().for_each(|answer| channel.push(answer.clone()));
        Ok(())
    }
}

fn run(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder);
    endless(channel.run(&mut Answers(None)));
}

fn run_answered(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder);
    endless(channel.run(&mut Answers(Some(sim.payload(0)))));
}

fn close(sim: &mut Sim, builder: Builder) {
    let runtime = runtime();
    let _guard = runtime.enter();
    let mut channel = channel(sim, builder.linger(Duration::from_secs(1)));
    endless(channel.close());
}

fn flush_of_much(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder);
    let payload = sim.payload(0);
    (0..WORK / payload.len().max(WORK_READY)).for_each(|_| channel.push(payload.clone()));
    poll(channel.flush(), 1000).expect("it does not end").unwrap();
}

fn producer(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder);
    let payload = sim.payload(0);
    channel.push_with_producer(asynchat::producer::from_iter(std::iter::repeat(payload)));
    endless(channel.flush());
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, play: fn(&mut Sim, Builder)| Scenario {
        name: format!("always ready: {name}"),
        variants: &ALWAYS_READY,
        play: Box::new(play),
    };
    vec![
        scenario("next", |sim, b| repeat(sim, b, async |c, _| c.next().await.unwrap().map(drop))),
        scenario("a stream", |sim, b| {
            repeat(sim, b, async |c, _| StreamExt::next(c).await.unwrap().map(drop));
        }),
        scenario("next, answered", |sim, b| {
            repeat(sim, b, async |c, payload| {
                c.push(payload);
                c.next().await.unwrap().map(drop)
            });
        }),
        scenario("next, corked", |sim, b| {
            repeat(sim, b.corked(true), async |c, payload| {
                c.push(payload);
                c.next().await.unwrap().map(drop)
            });
        }),
        scenario("receive", |sim, b| repeat(sim, b, async |c, _| c.receive("\n").await.map(drop))),
        scenario("receive a count", |sim, b| {
            repeat(sim, b, async |c, _| c.receive(4).await.map(drop));
        }),
        scenario("receive_part", |sim, b| {
            repeat(sim, b.terminator(u64::MAX), async |c, _| c.receive_part().await.map(drop));
        }),
        scenario("run", run),
        scenario("run, answered", run_answered),
        scenario("ready", |sim, b| {
            repeat(sim, b.high_water(1000), async |c, payload| {
                c.push(payload);
                c.ready().await
            });
        }),
        scenario("ready, copied", |sim, b| {
            repeat(sim, b.high_water(10_000), async |c, payload| {
                c.push_slice(&payload);
                c.ready().await
            });
        }),
        scenario("send", |sim, b| repeat(sim, b, async |c, payload| c.send(payload).await)),
        scenario("feed", |sim, b| repeat(sim, b, async |c, payload| c.feed(payload).await)),
        scenario("flush", |sim, b| {
            repeat(sim, b, async |c, payload| {
                c.push(payload);
                c.flush().await
            });
        }),
        scenario("poll_flush", |sim, b| {
            repeat(sim, b, async |c, payload| {
                c.push_frame(payload)?;
                SinkExt::flush(c).await
            });
        }),
        scenario("flush of much", flush_of_much),
        scenario("a producer", producer),
        scenario("close", close),
    ]
}

/// There is one schedule of each.
const ALWAYS_READY: [Variant; 4] =
    [ready(VARIANTS[0]), ready(VARIANTS[1]), ready(VARIANTS[2]), ready(VARIANTS[3])];

const fn ready(variant: Variant) -> Variant {
    Variant { always_ready: true, ..variant }
}

/// The work of a poll that is ready, or of a callback.
const WORK_READY: usize = 128;
