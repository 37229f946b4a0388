//! Scenarios of a channel that `StreamExt::split` has divided: one task reads, and
//! another one writes.

use crate::deadlines;
use crate::sim::{Act, Scenario, Sim};
use crate::variant::{Tasks, VARIANTS, Variant};
use crate::world::{Mock, world};
use asynchat::{Builder, Channel, Error, Timeout};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt, poll};
use std::task::Poll;

/// What a task does with its half.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Reads to the end; or sends each payload, and flushes.
    All,
    /// The same, and then closes.
    Closes,
    /// Polls once, and drops the future.
    Once,
}

/// What a task that reads has got.
#[derive(Default)]
struct Got {
    lines: Vec<Bytes>,
    errors: Vec<Error>,
    /// Whether it has read until there was nothing more.
    is_all: bool,
}

async fn read(stream: &mut SplitStream<Channel<Mock>>, does: Does) -> Got {
    let mut got = Got::default();
    loop {
        let item = match does {
            Does::Once => match poll!(stream.next()) {
                Poll::Ready(item) => item,
                Poll::Pending => return got,
            },
            _ => stream.next().await,
        };
        match item {
            None => break,
            Some(Ok(frame)) => got.lines.push(frame.into_data()),
            Some(Err(Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_))))) => {
                world(|world| world.timed_out(timeout));
                break;
            }
            Some(Err(error)) => got.errors.push(error),
        }
        assert!(got.lines.len() + got.errors.len() < 20, "it does not end");
    }
    got.is_all = true;
    got
}

async fn write(
    sink: &mut SplitSink<Channel<Mock>, Bytes>,
    does: Does,
    payloads: Vec<Bytes>,
) -> Result<(), Error> {
    if does == Does::Once {
        return match poll!(sink.flush()) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        };
    }
    for payload in payloads {
        sink.send(payload).await?;
    }
    match does {
        Does::Closes => sink.close().await,
        _ => sink.flush().await,
    }
}

/// Two tasks, each with a half of a channel whose peer sends two lines.
fn play(sim: &mut Sim, mut channel: Channel<Mock>, reads: Does, writes: Does, acts: &[Act]) {
    sim.pusher = Some(channel.pusher());
    sim.outside = acts.iter().cloned().collect();
    if writes == Does::Once {
        sim.push(&mut channel, 0);
        sim.push(&mut channel, 1);
    }
    let payloads: Vec<Bytes> = (0..3).map(|n| sim.payload(n)).collect();
    if writes != Does::Once {
        for payload in &payloads {
            sim.queued.extend_from_slice(payload);
            sim.queued.push(b'\n');
        }
    }
    let (mut sink, mut stream) = channel.split();
    let (got, sent) =
        sim.run_both(read(&mut stream, reads), write(&mut sink, writes, payloads.clone()));
    got.errors.iter().for_each(|error| sim.reported(error));
    match &sent {
        Ok(()) => {}
        Err(Error::Closed) => assert!(sim.has_reported_failure(), "closed by what?"),
        Err(error) => {
            sim.reported(error);
            assert!(sim.has_reported_failure(), "output reports a failure of input");
        }
    }
    if got.is_all && sim.link(|link| link.has_ended) && !sim.injected("aborted") {
        assert!(sim.has_reported_failure() || got.lines == ["a", "b"], "input is lost");
    }
    let mut channel = stream.reunite(sink).unwrap();
    if sent.is_ok() && writes != Does::Once {
        let len = sim.queued.len();
        sim.link(|link| assert!(link.flushed >= len, "sent, they said"));
    }
    sim.finish(&mut channel);
}

/// One that has room for nothing that is not sent.
fn channel(sim: &mut Sim, builder: Builder) -> Channel<Mock> {
    roomy_channel(sim, builder.high_water(1))
}

fn roomy_channel(sim: &mut Sim, builder: Builder) -> Channel<Mock> {
    let builder = builder.terminator("\n").encode_terminator("\n");
    builder.build(sim.mock(&Bytes::from_static(b"a\nb\n")))
}

fn halves(sim: &mut Sim, builder: Builder, reads: Does, writes: Does) {
    let channel = channel(sim, builder);
    play(sim, channel, reads, writes, &[]);
}

fn with_acts(sim: &mut Sim, builder: Builder, acts: &[Act]) {
    let channel = roomy_channel(sim, builder);
    play(sim, channel, Does::All, Does::All, acts);
}

fn pushed(sim: &mut Sim, builder: Builder) {
    let acts = [
        Act::Push(sim.pushed_payload(0)),
        Act::Produce(vec![sim.pushed_payload(1), sim.pushed_payload(2)]),
    ];
    with_acts(sim, builder, &acts);
}

fn closed_by_a_pusher(sim: &mut Sim, builder: Builder) {
    let channel = channel(sim, builder);
    let acts = [Act::Push(sim.pushed_payload(0)), Act::Close];
    play(sim, channel, Does::All, Does::Once, &acts);
}

fn aborted(sim: &mut Sim, builder: Builder) {
    with_acts(sim, builder, &[Act::Push(sim.pushed_payload(0)), Act::Abort]);
}

fn slow_producer(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder);
    let mut slow = sim.producer([4, 5]);
    slow.is_slow = true;
    channel.push_with_producer(slow);
    play(sim, channel, Does::All, Does::All, &[]);
}

/// Neither task waits beyond what the limits allow.
fn timed(sim: &mut Sim, builder: Builder, is_silent: bool) {
    world(|world| world.links[0].is_quiet = is_silent);
    let channel = deadlines::channel(sim, builder.encode_terminator("\n"), b"a\nb\n");
    play(sim, channel, Does::All, Does::All, &[]);
}

pub(crate) fn timeless_scenarios() -> Vec<Scenario> {
    vec![
        scenario("next and send", |sim, b| halves(sim, b, Does::All, Does::All)),
        scenario("next and close", |sim, b| halves(sim, b, Does::All, Does::Closes)),
        scenario("next, dropped, and send", |sim, b| halves(sim, b, Does::Once, Does::All)),
        scenario("next and flush, dropped", |sim, b| halves(sim, b, Does::All, Does::Once)),
        scenario("a pusher", pushed),
        scenario("a pusher closes", closed_by_a_pusher),
        scenario("a pusher aborts", aborted),
        scenario("a producer that is not ready", slow_producer),
    ]
}

pub(crate) fn timed_scenarios() -> Vec<Scenario> {
    vec![
        scenario("time", |sim, b| timed(sim, b, false)),
        scenario("time, a silent peer", |sim, b| timed(sim, b, true)),
    ]
}

fn scenario(name: &str, play: fn(&mut Sim, Builder)) -> Scenario {
    Scenario { name: format!("split: {name}"), variants: &SPLIT, play: Box::new(play) }
}

/// Whichever task is polled first.
const SPLIT: [Variant; 4] = [
    Variant { tasks: Tasks::OtherFirst, ..VARIANTS[0] },
    Variant { tasks: Tasks::OtherLast, ..VARIANTS[0] },
    Variant { tasks: Tasks::OtherLast, ..VARIANTS[2] },
    Variant { tasks: Tasks::OtherFirst, ..VARIANTS[3] },
];
