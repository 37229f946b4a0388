//! Scenarios of output: what is on the wire is what was queued, as far as it
//! has come, and all of it if it ended well.

use crate::clock::runtime;
use crate::link::Link;
use crate::sim::{
    Act, CLOSE, DRIVE, FLUSH, Method, NEXT_FULL, POLL_CLOSE, POLL_FLUSH, POLL_READY, READY, RUN,
    RUN_FULL, SHUTDOWN, Scenario, Sim, Token,
};
use crate::variant::{VARIANTS, Variant};
use crate::world::{Chunks, Mock, wait_for_producer, world};
use asynchat::{Builder, Channel, Control, Error, Handler, Parts, PushError, Pusher, Run};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

/// A channel whose peer sends this and then ends its side.
fn channel(sim: &mut Sim, builder: Builder, input: &'static str) -> Channel<Mock> {
    builder.terminator("\n").build(sim.mock(&Bytes::from_static(input.as_bytes())))
}

pub(crate) fn flush(sim: &mut Sim, channel: &mut Channel<Mock>) {
    if let Err(error) = sim.turns(FLUSH, channel, async |c| c.flush().await) {
        sim.reported(&error);
        let again = sim.turns(FLUSH, channel, async |c| c.flush().await);
        assert!(matches!(again, Err(Error::Closed)), "{again:?}");
    } else {
        sim.link(|link| assert_eq!(link.flushed, sim.queued.len() + sim.pushed.len()));
    }
}

/// Lines until the end or an error.
fn read_on(sim: &mut Sim, channel: &mut Channel<Mock>) -> Vec<Bytes> {
    let mut lines = vec![];
    loop {
        match sim.next(channel) {
            Some(Ok(frame)) => lines.push(frame.into_data()),
            Some(Err(error)) => {
                sim.reported(&error);
                break;
            }
            None => break,
        }
        assert!(lines.len() < 20, "endless lines");
    }
    sim.check_fused(channel);
    lines
}

fn push_and_flush(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    sim.push(&mut channel, 0);
    sim.push_slice(&mut channel, 1);
    sim.push(&mut channel, 2);
    flush(sim, &mut channel);
    sim.push(&mut channel, 3);
    sim.finish(&mut channel);
}

fn push_while_pending(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    sim.push(&mut channel, 0);
    let mut more = 1..4;
    let flushed = loop {
        match sim.turn(FLUSH, &mut channel, async |c| c.flush().await) {
            Poll::Ready(flushed) => break flushed,
            Poll::Pending => more.next().into_iter().for_each(|n| sim.push(&mut channel, n)),
        }
    };
    flushed.unwrap_or_else(|error| sim.reported(&error));
    sim.finish(&mut channel);
}

fn producers(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    sim.push(&mut channel, 0);
    let long = sim.producer(1..5);
    channel.push_with_producer(long);
    let empty = sim.producer([]);
    channel.push_with_producer(empty);
    sim.push(&mut channel, 5);
    flush(sim, &mut channel);
    sim.finish(&mut channel);
}

fn slow_producer(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    let mut slow = sim.producer([0, 1]);
    slow.is_slow = true;
    channel.push_with_producer(slow);
    sim.push(&mut channel, 2);
    flush(sim, &mut channel);
    sim.finish(&mut channel);
}

fn slow_producer_while_reading(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    let mut slow = sim.producer([0, 1]);
    slow.is_slow = true;
    channel.push_with_producer(slow);
    sim.push(&mut channel, 2);
    let lines = read_on(sim, &mut channel);
    if sim.link(|link| link.has_ended) {
        assert_eq!(lines, ["a", "b"]);
    }
    sim.finish(&mut channel);
}

fn failing_producer(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\n");
    sim.push(&mut channel, 0);
    let mut failing = sim.producer([1]);
    (failing.fails, failing.is_slow) = (true, true);
    channel.push_with_producer(failing);
    // Nothing behind it is sent, so it is not counted.
    channel.push(sim.payload(2));
    read_on(sim, &mut channel);
    let closed = sim.turns(SHUTDOWN, &mut channel, async |c| c.shutdown().await);
    sim.check_closed(closed);
    assert!(sim.has_reported());
    let has_failed = sim.injected("producer");
    sim.link(|link| {
        if has_failed && !link.is_lost() {
            assert!(link.is_shut && link.wire == sim.queued, "not what stood before it");
        }
    });
}

fn close_when_done(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb");
    sim.push(&mut channel, 0);
    let slow = sim.producer([1]);
    channel.push_with_producer(slow);
    channel.close_when_done();
    // After the close it is dropped, so it is not counted.
    channel.push(sim.payload(2));
    let sink = channel.push_frame("x");
    assert!(matches!(sink, Err(Error::Closed)), "{sink:?}");
    let lines = read_on(sim, &mut channel);
    sim.link(|link| {
        if link.has_ended {
            // None of the input is lost, and "the end" is that of our side, too.
            assert_eq!(lines, ["a", "b"]);
            assert!(link.is_shut || link.write_failed);
        }
    });
    sim.finish(&mut channel);
}

fn shutdown_in_between(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\n");
    sim.push(&mut channel, 0);
    sim.push(&mut channel, 1);
    // Dropped while pending; the close stays queued.
    let mut closed = sim.turn(SHUTDOWN, &mut channel, async |c| c.shutdown().await);
    if closed.is_pending() {
        read_on(sim, &mut channel);
        closed = Poll::Ready(sim.turns(SHUTDOWN, &mut channel, async |c| c.shutdown().await));
    }
    if let Poll::Ready(closed) = closed {
        sim.check_closed(closed);
    }
}

fn close(sim: &mut Sim, builder: Builder, seconds: u64) {
    let linger = std::time::Duration::from_secs(seconds);
    let mut channel = channel(sim, builder.linger(linger), "ab\n");
    sim.push(&mut channel, 0);
    let closed = sim.turns(CLOSE, &mut channel, async |c| c.close().await);
    match closed {
        // How the peer goes is no error.
        Ok(()) => sim.link(|link| {
            assert!(link.is_shut && link.wire == sim.queued);
            assert!(seconds == 0 || !link.is_readable(), "it did not linger");
        }),
        Err(error) => sim.reported(&error),
    }
    sim.check_wire();
    let again = sim.turns(CLOSE, &mut channel, async |c| c.close().await);
    assert_eq!(again.is_err(), sim.has_reported());
}

fn linger(sim: &mut Sim, builder: Builder) {
    let runtime = runtime();
    let _guard = runtime.enter();
    close(sim, builder, 1);
}

/// A peer that neither sends nor ends: the time alone is the end of it.
fn linger_to_the_end_of_the_time(sim: &mut Sim, builder: Builder) {
    let runtime = runtime();
    let _guard = runtime.enter();
    world(|world| world.links[0].is_quiet = true);
    let mut channel = channel(sim, builder.linger(std::time::Duration::from_secs(1)), "");
    sim.push(&mut channel, 0);
    sim.outside.push_back(Act::Time);
    match sim.turns(CLOSE, &mut channel, async |c| c.close().await) {
        Ok(()) => sim.link(|link| {
            assert!(link.is_shut && link.wire == sim.queued);
            assert!(sim.outside.is_empty() || link.read_failed, "it did not linger");
        }),
        Err(error) => sim.reported(&error),
    }
    sim.check_wire();
}

/// As `Sink`: each item is there whole or not at all.
fn send(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder.encode_terminator("\n").high_water(1), "");
    let mut sent: Vec<(Bytes, bool)> = vec![];
    let mut failed = false;
    for n in 0..3 {
        let item = sim.payload(n);
        let polled = sim.turn(POLL_READY, &mut channel, async |c| c.send(item.clone()).await);
        sent.push((item, matches!(polled, Poll::Ready(Ok(())))));
        if let Poll::Ready(Err(error)) = polled {
            sim.reported(&error);
            failed = true;
            break;
        }
    }
    let closed = sim.turns(POLL_CLOSE, &mut channel, async |c| SinkExt::close(c).await);
    let is_whole = closed.is_ok();
    match closed {
        Err(Error::Closed) => assert!(failed),
        Err(error) => sim.reported(&error),
        Ok(()) => assert!(!failed),
    }
    sim.link(|link| {
        let mut wire = &link.wire[..];
        for (item, is_sent) in &sent {
            if let Some(rest) = wire.strip_prefix(&item[..]).and_then(|w| w.strip_prefix(b"\n")) {
                wire = rest;
            } else if !is_whole && [&item[..], b"\n"].concat().starts_with(wire) {
                wire = b"";
            } else {
                assert!(!is_sent, "it was sent, they said");
            }
        }
        assert!(wire.is_empty(), "a part of an item, or one twice");
    });
}

/// The same call by call, and what came of which is known.
fn feed(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder.encode_terminator("\n").high_water(1), "");
    for n in 0..3 {
        let ready = sim
            .turns(POLL_READY, &mut channel, async |c| poll_fn(|cx| c.poll_ready_unpin(cx)).await);
        if let Err(error) = ready {
            sim.reported(&error);
            break;
        }
        let item = sim.payload(n);
        sim.queued.extend_from_slice(&item);
        sim.queued.push(b'\n');
        channel.start_send_unpin(item).unwrap();
        if n != 1 {
            flush_sink(sim, &mut channel);
        }
        if sim.has_reported() {
            break;
        }
    }
    sim.finish(&mut channel);
}

fn flush_sink(sim: &mut Sim, channel: &mut Channel<Mock>) {
    match sim.turns(POLL_FLUSH, channel, async |c| SinkExt::flush(c).await) {
        Ok(()) => sim.link(|link| assert_eq!(link.wire, sim.queued)),
        Err(error) => sim.reported(&error),
    }
}

/// With `ready` before each push no more is queued than the mark and one push.
fn ready(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder.high_water(100).low_water(70), "");
    for n in 0..4 {
        if let Err(error) = sim.turns(READY, &mut channel, async |c| c.ready().await) {
            sim.reported(&error);
            break;
        }
        assert!(channel.queued_bytes() < 100);
        sim.push(&mut channel, n);
    }
    sim.finish(&mut channel);
    match sim.turns(READY, &mut channel, async |c| c.ready().await) {
        Ok(()) => panic!("ready after the close"),
        Err(Error::Closed) => {}
        // It was reported to the task beside in between.
        Err(error) => sim.reported(&error),
    }
}

/// What is taken apart has everything that was not sent or handed out.
fn into_parts(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "ab\nc");
    sim.push(&mut channel, 0);
    let slow = sim.producer([1]);
    channel.push_with_producer(slow);
    sim.push(&mut channel, 2);
    let mut handed_out = vec![];
    loop {
        match sim.poll_next(&mut channel) {
            Poll::Ready(Some(Ok(frame))) => {
                handed_out.extend_from_slice(frame.data());
                if frame.is_complete() {
                    handed_out.push(b'\n');
                }
            }
            Poll::Ready(Some(Err(error))) => {
                sim.reported(&error);
                break;
            }
            Poll::Ready(None) | Poll::Pending => break,
        }
    }
    let Parts { read_buf, unsent, producers, .. } = channel.into_parts();
    handed_out.extend_from_slice(&read_buf);
    let mut output = sim.link(|link| {
        assert_eq!(handed_out, b"ab\nc"[..link.delivered]);
        link.wire.clone()
    });
    if sim.link(|link| link.is_lost()) {
        return sim.check_wire();
    }
    output.extend_from_slice(&unsent);
    for mut producer in producers {
        while let Poll::Ready(Some(chunk)) =
            producer.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
        {
            output.extend_from_slice(&chunk.unwrap());
        }
    }
    assert!(output == sim.queued, "output is lost");
}

/// The new transport is made only when everything is sent; and if the upgrade
/// is dropped, that is the end of the channel.
fn upgrade(sim: &mut Sim, builder: Builder, answers: bool) {
    let mut channel = channel(sim, builder, "");
    world(|world| world.links[0].is_quiet = true);
    let pusher = channel.pusher();
    sim.push(&mut channel, 0);
    let slow = sim.producer([1]);
    channel.push_with_producer(slow);
    let mut future = Box::pin(channel.upgrade(|old| async move {
        let is_slow = world(|world| world.letter(b"PA", b'A')) == b'P';
        let mut is_ready = !is_slow;
        poll_fn(|cx| {
            if std::mem::replace(&mut is_ready, true) {
                return Poll::Ready(());
            }
            wait_for_producer(cx);
            Poll::Pending
        })
        .await;
        assert_eq!(old.0, 0);
        world(|world| {
            let link = &world.links[0];
            assert!(link.flushed == link.wire.len() && !link.is_shut);
        });
        Ok(Mock(1))
    }));
    let upgraded = loop {
        if let Poll::Ready(upgraded) = sim.poll(&mut future) {
            break upgraded;
        }
        sim.pends("Channel::upgrade");
        if world(|world| world.letter(b"+.", b'+')) == b'.' {
            drop(future);
            assert!(pusher.is_closed());
            return sim.check_wire();
        }
    };
    sim.check_wire();
    match upgraded {
        Err(refused) => {
            let error = sim.explain(refused.error);
            sim.reported(&error);
            assert!(refused.channel.is_some(), "the channel comes back");
        }
        Ok(mut channel) => {
            sim.link(|link| assert_eq!(link.wire, sim.queued));
            sim.queued.clear();
            sim.link = 1;
            world(|world| world.given = 0);
            sim.mock(&Bytes::from_static(b"a\n"));
            if answers {
                sim.push(&mut channel, 2);
            }
            let lines = read_on(sim, &mut channel);
            sim.link(|link| assert!(!link.has_ended || lines == ["a"]));
            sim.finish(&mut channel);
        }
    }
}

/// Plaintext behind the command is never taken for part of the new transport.
fn upgrade_with_plaintext_behind(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "STARTTLS\nEHLO\n");
    let Some(line) = sim.next(&mut channel) else { panic!() };
    let line = match line {
        Ok(line) => line.into_data(),
        Err(error) => return sim.reported(&error),
    };
    assert_eq!(line, "STARTTLS");
    let behind = sim.link(|link| link.delivered) > "STARTTLS\n".len();
    sim.push(&mut channel, 0);
    let mut future = Box::pin(channel.upgrade(|_| async { Ok(Mock(1)) }));
    let upgraded = loop {
        match sim.poll(&mut future) {
            Poll::Ready(upgraded) => break upgraded,
            Poll::Pending => sim.pends("Channel::upgrade"),
        }
    };
    match upgraded {
        Ok(_) => assert!(!behind, "plaintext was taken over"),
        Err(refused) => {
            let mut channel = refused.channel.unwrap();
            match sim.explain(refused.error) {
                Error::UnreadInput => assert!(behind),
                error => sim.reported(&error),
            }
            // Intact, as far as its writing side is.
            let lines = read_on(sim, &mut channel);
            sim.link(|link| assert!(!link.has_ended || lines == ["EHLO"]));
            sim.finish(&mut channel);
        }
    }
}

fn acts(sim: &mut Sim, channel: &mut Channel<Mock>, acts: &[Act]) {
    sim.pusher = Some(channel.pusher());
    sim.outside = acts.iter().cloned().collect();
}

fn pushers(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    let all = [
        Act::Push(sim.pushed_payload(0)),
        Act::Produce(vec![sim.pushed_payload(1), sim.pushed_payload(2)]),
        Act::Push(sim.pushed_payload(3)),
    ];
    acts(sim, &mut channel, &all);
    sim.push(&mut channel, 0);
    let lines = read_on(sim, &mut channel);
    sim.link(|link| assert!(!link.has_ended || lines == ["a", "b"]));
    sim.finish(&mut channel);
}

/// After each line there is other work to wait for, and then an answer. Pushers push
/// meanwhile.
fn drive_between_lines(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    acts(sim, &mut channel, &[Act::Push(sim.pushed_payload(0)), Act::Push(sim.pushed_payload(1))]);
    let mut lines = vec![];
    while let Some(line) = sim.next(&mut channel) {
        let driven = match line {
            Ok(frame) => {
                lines.push(frame.into_data());
                drive(sim, &mut channel)
            }
            Err(error) => Err(error),
        };
        match driven {
            Ok(()) => sim.push(&mut channel, lines.len()),
            Err(error) => {
                let error = sim.explain(error);
                sim.reported(&error);
                break;
            }
        }
    }
    lines.extend(read_on(sim, &mut channel));
    let received = sim.link(|link| link.received().iter().filter(|byte| **byte == b'\n').count());
    assert_eq!(lines, ["a", "b"][..received], "a line was lost");
    sim.finish(&mut channel);
}

/// Drives work that is done at its third poll.
fn drive(sim: &mut Sim, channel: &mut Channel<Mock>) -> Result<(), Error> {
    let mut left = 3;
    sim.turns(DRIVE, channel, async |c| {
        let work = poll_fn(|cx| {
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            wait_for_producer(cx);
            Poll::Pending
        });
        c.drive(work).await
    })
}

fn drive_until_aborted(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    acts(sim, &mut channel, &[Act::Push(sim.pushed_payload(0)), Act::Abort]);
    sim.push(&mut channel, 0);
    let error = sim.turns(DRIVE, &mut channel, async |c| c.drive(pending::<()>()).await);
    let error = sim.explain(error.unwrap_err());
    sim.reported(&error);
    let again = sim.turns(DRIVE, &mut channel, async |c| c.drive(pending::<()>()).await);
    assert!(matches!(again, Err(Error::Closed)), "{again:?}");
    read_on(sim, &mut channel);
    sim.finish(&mut channel);
}

fn pusher_closes(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\n");
    let all = [Act::Push(sim.pushed_payload(0)), Act::Close, Act::Push(sim.pushed_payload(1))];
    acts(sim, &mut channel, &all);
    sim.push(&mut channel, 0);
    read_on(sim, &mut channel);
    sim.finish(&mut channel);
}

fn pusher_aborts(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    let all = [Act::Push(sim.pushed_payload(0)), Act::Abort];
    acts(sim, &mut channel, &all);
    sim.push(&mut channel, 0);
    let mut lines = 0;
    loop {
        match sim.next(&mut channel) {
            Some(Ok(_)) => assert!(!sim.has_reported()),
            Some(Err(error)) => sim.reported(&error),
            None => break,
        }
        lines += 1;
        assert!(lines < 20);
    }
    sim.check_fused(&mut channel);
    sim.finish(&mut channel);
}

fn pusher_while_flushing(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    let all = [Act::Push(sim.pushed_payload(0)), Act::Close];
    acts(sim, &mut channel, &all);
    sim.push(&mut channel, 0);
    match sim.turns(FLUSH, &mut channel, async |c| c.flush().await) {
        Ok(()) => {}
        Err(error) => sim.reported(&error),
    }
    sim.finish(&mut channel);
}

/// A way to push that waits for capacity. Returns whether the data was taken.
type Way = fn(Pusher, Bytes) -> Pin<Box<dyn Future<Output = bool>>>;

fn push(pusher: Pusher, data: Bytes) -> Pin<Box<dyn Future<Output = bool>>> {
    Box::pin(async move {
        let pushed = pusher.push(data.clone()).await;
        assert!(pushed.as_ref().is_err_and(|PushError(back)| *back == data) || pushed.is_ok());
        pushed.is_ok()
    })
}

fn push_parts(pusher: Pusher, data: Bytes) -> Pin<Box<dyn Future<Output = bool>>> {
    Box::pin(async move {
        let parts = [data.slice(..1), Bytes::new(), data.slice(1..)];
        let pushed = pusher.push_parts(parts.clone()).await;
        // An empty part is none.
        let parts = parts.map(Vec::from).concat();
        let is_back = |error: &PushError<Vec<Bytes>>| error.0.concat() == parts;
        assert!(pushed.as_ref().err().is_none_or(is_back));
        pushed.is_ok()
    })
}

fn produce(pusher: Pusher, data: Bytes) -> Pin<Box<dyn Future<Output = bool>>> {
    Box::pin(async move { pusher.push_with_producer(Chunks::new([data])).await.is_ok() })
}

fn reserve(pusher: Pusher, data: Bytes) -> Pin<Box<dyn Future<Output = bool>>> {
    Box::pin(async move {
        match pusher.reserve().await {
            Ok(permit) => permit.push(data).is_ok(),
            Err(PushError(())) => false,
        }
    })
}

/// A pusher that waits for room, in a task of its own: its future is made again
/// each time, and dropped. Room wakes it.
fn pusher_waits(sim: &mut Sim, builder: Builder, method: &'static str, way: Way) {
    let mut channel = channel(sim, builder.high_water(80).low_water(0), "");
    let pusher = channel.pusher();
    sim.pusher = Some(pusher.clone());
    sim.push(&mut channel, 0);
    sim.push(&mut channel, 1);
    for n in 0..3 {
        let data = sim.pushed_payload(n);
        for turns in 0.. {
            assert!(turns < 60, "it does not end");
            let bell = Arc::new(Token::default());
            let waker = Waker::from(Arc::clone(&bell));
            let mut cx = Context::from_waker(&waker);
            let mut waits = way(pusher.clone(), data.clone());
            if let Poll::Ready(is_taken) = waits.as_mut().poll(&mut cx) {
                assert_eq!(is_taken, !sim.link(|link| link.is_lost()));
                if is_taken {
                    sim.pushed.extend_from_slice(&data);
                }
                break;
            }
            sim.drops(method);
            match sim.turn(FLUSH, &mut channel, async |c| c.flush().await) {
                Poll::Ready(Err(Error::Closed)) => assert!(sim.has_reported()),
                Poll::Ready(Err(error)) => sim.reported(&error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if channel.queued_bytes() == 0 {
                assert!(bell.0.load(Relaxed), "room, or the end, and the pusher sleeps");
            }
            // Woken or not, it goes: it had queued nothing.
        }
    }
    sim.finish(&mut channel);
}

/// A task that flushes through a pusher, and may give up at any point. What was queued before
/// is then sent and flushed, or the connection has failed.
fn pusher_flushes(sim: &mut Sim, builder: Builder, reads: bool) {
    let builder = builder.high_water(140).low_water(0).corked(true);
    let mut channel = channel(sim, builder, if reads { "a\nb\n" } else { "" });
    let pusher = channel.pusher();
    sim.pusher = Some(pusher.clone());
    for n in 0..3 {
        sim.push(&mut channel, n);
        let queued = sim.queued.len();
        let mut flush = Box::pin(pusher.flush());
        for turns in 0.. {
            assert!(turns < 60, "it does not end");
            let bell = Arc::new(Token::default());
            let waker = Waker::from(Arc::clone(&bell));
            if let Poll::Ready(flushed) = flush.as_mut().poll(&mut Context::from_waker(&waker)) {
                sim.link(|link| match flushed {
                    Ok(()) => assert!(link.flushed >= queued, "not flushed, and they said so"),
                    Err(PushError(())) => assert!(link.is_lost(), "failed by what?"),
                });
                break;
            }
            sim.drops("Pusher::flush");
            if world(|world| world.letter(b"+.", b'+')) == b'.' {
                break;
            }
            let failed = match reads {
                true => match sim.poll_next(&mut channel) {
                    Poll::Ready(Some(item)) => item.err(),
                    // Nobody waits for input any more.
                    Poll::Ready(None) => {
                        sim.turns(FLUSH, &mut channel, async |c| c.flush().await).err()
                    }
                    Poll::Pending => None,
                },
                false => match sim.turn(FLUSH, &mut channel, async |c| c.flush().await) {
                    Poll::Ready(flushed) => flushed.err(),
                    Poll::Pending => None,
                },
            };
            match failed {
                None => {}
                Some(Error::Closed) => assert!(sim.has_reported()),
                Some(error) => sim.reported(&error),
            }
            if channel.queued_bytes() == 0 && sim.link(|link| link.flushed == queued) {
                assert!(bell.0.load(Relaxed), "it is flushed, and the pusher sleeps");
            }
        }
    }
    sim.finish(&mut channel);
}

/// A task that waits for the end of a channel is woken, however it comes.
fn closed(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    let pusher = channel.pusher();
    sim.pusher = Some(pusher.clone());
    sim.push(&mut channel, 0);
    channel.close_when_done();
    let is_closed = |pusher: &asynchat::Pusher| {
        pin!(pusher.closed()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    };
    assert!(is_closed(&pusher), "closed from the request on");
    sim.finish(&mut channel);
    assert!(is_closed(&pusher));
}

fn closed_by_a_failure(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "");
    let pusher = channel.pusher();
    sim.pusher = Some(pusher.clone());
    sim.push(&mut channel, 0);
    let bell = Arc::new(Token::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut closed = Box::pin(pusher.closed());
    assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    loop {
        // One that is dropped while pending, beside one that is kept.
        let is_pending = |pusher: &asynchat::Pusher| {
            pin!(pusher.closed()).poll(&mut Context::from_waker(Waker::noop())).is_pending()
        };
        let was_pending = is_pending(&pusher);
        if was_pending {
            sim.drops("Pusher::closed");
        }
        let flushed = sim.turn(FLUSH, &mut channel, async |c| c.flush().await);
        let failed = sim.link(|link| link.is_lost());
        assert_eq!(is_pending(&pusher), !failed);
        assert_eq!(bell.0.load(Relaxed), failed, "the end, and nobody is woken");
        match flushed {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => break,
            Poll::Ready(Err(error)) => {
                sim.reported(&error);
                break;
            }
        }
    }
    sim.finish(&mut channel);
    assert!(bell.0.load(Relaxed));
    assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}

/// Answers each line with a producer, until it is told to stop; the second one
/// answers with bytes, and closes.
struct Answers {
    payloads: Vec<Bytes>,
    queued: Vec<u8>,
    lines: Vec<Vec<u8>>,
    /// Stops at this line.
    stop: &'static [u8],
    /// Closes at this line.
    close: &'static [u8],
    most: u64,
}

impl Answers {
    fn new(sim: &Sim, stop: &'static str, close: &'static str) -> Self {
        let payloads = (0..4).rev().map(|n| sim.payload(n)).collect();
        let (stop, close) = (stop.as_bytes(), close.as_bytes());
        Answers { payloads, queued: vec![], lines: vec![], stop, close, most: 0 }
    }
}

impl Handler for Answers {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
        assert!(self.lines.iter().all(|line| line != self.close), "a frame after the close");
        self.lines.push(line.to_vec());
        self.most = self.most.max(channel.queued_bytes());
        if let Some(data) = self.payloads.pop() {
            self.queued.extend_from_slice(&data);
            channel.push(data);
        }
        if line == self.stop {
            channel.stop();
        }
        if line == self.close {
            channel.close_when_done();
            channel.push("dropped");
        }
        Ok(())
    }
}

fn run_stops_and_goes_on(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nstop\nb\nquit\nc\n");
    let mut first = Answers::new(sim, "stop", "");
    let mut second = Answers::new(sim, "", "quit");
    let run = sim.turns(RUN, &mut channel, async |c| c.run(&mut first).await);
    sim.queued.extend_from_slice(&first.queued);
    match run {
        Ok(run) => assert_eq!(run, Run::Stopped),
        Err(error) => {
            sim.reported_by_run(&error);
            return sim.finish(&mut channel);
        }
    }
    assert_eq!(first.lines, [b"a".to_vec(), b"stop".to_vec()]);
    second.payloads.truncate(2);
    let run = sim.turns(RUN, &mut channel, async |c| c.run(&mut second).await);
    sim.queued.extend_from_slice(&second.queued);
    match run {
        Ok(run) => {
            assert_eq!(run, Run::Closed);
            assert_eq!(second.lines, [b"b".to_vec(), b"quit".to_vec()]);
            sim.link(|link| assert_eq!(link.wire, sim.queued));
        }
        Err(error) => sim.reported_by_run(&error),
    }
    sim.finish(&mut channel);
}

/// A reader that is slow: above the mark nothing is read, and no more than one
/// answer is queued above it.
fn run_above_high_water(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder.high_water(70).low_water(10), "a\nb\nc\nd\n");
    let mut answers = Answers::new(sim, "", "");
    let run = sim.turns(RUN_FULL, &mut channel, async |c| c.run(&mut answers).await);
    sim.queued.extend_from_slice(&answers.queued);
    assert!(answers.most < 70, "handed out, and there was no room");
    match run {
        Ok(run) => {
            assert_eq!(run, Run::Closed);
            assert_eq!(answers.lines.len(), 4);
        }
        Err(error) => sim.reported_by_run(&error),
    }
    sim.finish(&mut channel);
}

/// Answers each line with a producer, and pauses until that is sent.
struct OneAtATime {
    answers: Vec<(Chunks, Bytes)>,
    queued: Vec<u8>,
    lines: usize,
}

impl Handler for OneAtATime {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        let is_sent = |link: &Link| link.is_lost() || link.flushed == self.queued.len();
        assert!(world(|world| is_sent(&world.links[0])), "delivered in a pause");
        self.lines += 1;
        let (mut producer, data) = self.answers.pop().expect("more lines than were sent");
        producer.is_slow = self.lines == 2;
        self.queued.extend_from_slice(&data);
        channel.push_with_producer(producer);
        channel.pause_until_sent();
        Ok(())
    }
}

fn run_pauses(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\nc\n");
    let answers =
        (0..3).map(|n| (Chunks::new([sim.payload(n), Bytes::new()]), sim.payload(n))).collect();
    let mut handler = OneAtATime { answers, queued: vec![], lines: 0 };
    let run = sim.turns(RUN_FULL, &mut channel, async |c| c.run(&mut handler).await);
    sim.queued.extend_from_slice(&handler.queued);
    match run {
        Ok(run) => {
            assert_eq!(run, Run::Closed);
            assert_eq!(handler.lines, 3);
            sim.link(|link| assert_eq!(link.wire, sim.queued));
        }
        Err(error) => sim.reported_by_run(&error),
    }
    sim.finish(&mut channel);
}

/// The same with `next`, in a channel that pauses when it is full.
fn next_above_high_water(sim: &mut Sim, builder: Builder) {
    let builder = builder.high_water(70).low_water(10).pause_when_full(true);
    let mut channel = channel(sim, builder, "a\nb\nc\nd\n");
    let mut answers = 0;
    loop {
        match sim.turns(NEXT_FULL, &mut channel, async |c| c.next().await) {
            Some(Ok(frame)) => {
                assert!(channel.queued_bytes() < 70, "handed out, and there was no room");
                assert!(frame.is_complete());
                sim.push(&mut channel, answers);
                answers += 1;
            }
            Some(Err(error)) => {
                sim.reported(&error);
                break;
            }
            None => {
                assert_eq!(answers, 4);
                break;
            }
        }
    }
    sim.finish(&mut channel);
}

fn run_with_pushers(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    let all =
        [Act::Push(sim.pushed_payload(0)), Act::Produce(vec![sim.pushed_payload(1)]), Act::Close];
    acts(sim, &mut channel, &all);
    let mut answers = Answers::new(sim, "", "");
    let run = sim.turns(RUN, &mut channel, async |c| c.run(&mut answers).await);
    sim.queued.extend_from_slice(&answers.queued);
    assert!(sim.pusher.as_ref().unwrap().is_closed(), "run is over, and pushers find it open");
    match run {
        Ok(run) => assert_eq!(run, Run::Closed),
        Err(error) => sim.reported_by_run(&error),
    }
    sim.finish(&mut channel);
}

fn run_aborted(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\n");
    let all = [Act::Push(sim.pushed_payload(0)), Act::Abort];
    acts(sim, &mut channel, &all);
    let mut answers = Answers::new(sim, "", "");
    let run = sim.turns(RUN, &mut channel, async |c| c.run(&mut answers).await);
    sim.queued.extend_from_slice(&answers.queued);
    assert!(sim.pusher.as_ref().unwrap().is_closed(), "run is over, and pushers find it open");
    match run {
        Ok(run) => {
            assert_eq!(run, Run::Closed);
            assert!(!sim.injected("aborted"), "an abort was not reported");
        }
        Err(error) => sim.reported_by_run(&error),
    }
    match sim.turns(RUN, &mut channel, async |c| c.run(&mut answers).await) {
        Ok(_) => assert!(!sim.has_reported()),
        Err(Error::Closed) => assert!(sim.has_reported()),
        // It was reported to the task beside in between.
        Err(error) => sim.reported(&error),
    }
    sim.finish(&mut channel);
}

/// Queues a producer that is never ready, over a connection that breaks.
fn channel_that_breaks(sim: &mut Sim, builder: Builder) -> Channel<Mock> {
    world(|world| world.links[0].breaks = true);
    let mut channel = channel(sim, builder.high_water(100), "a\nb\n");
    let mut waiting = sim.producer([0]);
    waiting.waits = true;
    channel.push_with_producer(waiting);
    // Nothing of it is ever sent.
    sim.queued.clear();
    channel
}

/// The break is reported, though nothing else could end the wait.
fn broken(sim: &mut Sim, builder: Builder, method: Method) {
    let mut channel = channel_that_breaks(sim, builder);
    let ended = sim.turns(method, &mut channel, async |c| match method {
        READY => c.ready().await,
        FLUSH => c.flush().await,
        SHUTDOWN => c.shutdown().await,
        DRIVE => c.drive(pending()).await,
        _ => c.close().await,
    });
    match ended {
        Ok(()) => panic!("sent by nobody"),
        Err(error) => sim.reported(&error),
    }
    sim.finish(&mut channel);
}

fn broken_while_sending(sim: &mut Sim, builder: Builder) {
    let mut channel = channel_that_breaks(sim, builder);
    let sent = sim.turns(POLL_READY, &mut channel, async |c| c.send("x".into()).await);
    sim.reported(&sent.unwrap_err());
    sim.finish(&mut channel);
}

/// What was received before is not lost.
fn broken_while_reading(sim: &mut Sim, builder: Builder, flushes: bool) {
    let mut channel = channel_that_breaks(sim, builder);
    if flushes && sim.turn(FLUSH, &mut channel, async |c| c.flush().await).is_ready() {
        return;
    }
    let lines = read_on(sim, &mut channel);
    sim.link(|link| assert_eq!(lines.len(), link.received().split(|b| *b == b'\n').count() - 1));
    assert!(sim.has_reported());
    sim.finish(&mut channel);
}

/// Answers each line with a producer that is never ready.
struct LongPoll;

impl Handler for LongPoll {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        let mut waiting = Chunks::owned([]);
        waiting.waits = true;
        channel.push_with_producer(waiting);
        Ok(())
    }
}

fn broken_while_running(sim: &mut Sim, builder: Builder) {
    world(|world| world.links[0].breaks = true);
    let mut channel = channel(sim, builder.high_water(100), "a\nb\n");
    sim.pusher = Some(channel.pusher());
    let run = sim.turns(RUN_FULL, &mut channel, async |c| c.run(&mut LongPoll).await);
    sim.reported(&run.unwrap_err());
    assert!(sim.pusher.as_ref().unwrap().is_closed(), "run is over, and pushers find it open");
    sim.finish(&mut channel);
}

/// Two lines are read and answered, also while writing is blocked.
fn answer_lines(sim: &mut Sim, builder: Builder) {
    let mut channel = channel(sim, builder, "a\nb\nc");
    sim.push(&mut channel, 0);
    let mut lines = 0;
    loop {
        match sim.next(&mut channel) {
            Some(Ok(frame)) if frame.is_complete() => {
                lines += 1;
                let answer = sim.producer([lines]);
                channel.push_with_producer(answer);
            }
            Some(Ok(frame)) => {
                assert_eq!((lines, frame.data()), (2, &b"c"[..]));
                channel.close_when_done();
            }
            Some(Err(error)) => {
                sim.reported(&error);
                break;
            }
            None => break,
        }
        assert!(lines < 3, "endless lines");
    }
    sim.finish(&mut channel);
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let scenario = |name: &str, variants, play: fn(&mut Sim, Builder)| Scenario {
        name: name.into(),
        variants,
        play: Box::new(play),
    };
    let few: &'static [Variant] = &VARIANTS[..2];
    let all: &'static [Variant] = &VARIANTS;
    vec![
        scenario("push and flush", all, push_and_flush),
        scenario("push while a flush is pending", all, push_while_pending),
        scenario("producers, long and empty", all, producers),
        scenario("a producer that is not ready", all, slow_producer),
        scenario("a producer that is not ready, reading", all, slow_producer_while_reading),
        scenario("a producer that fails", all, failing_producer),
        scenario("close_when_done", all, close_when_done),
        scenario("shutdown, dropped, then next", all, shutdown_in_between),
        scenario("close, no linger", few, |sim, b| close(sim, b, 0)),
        scenario("close", few, linger),
        scenario("close, a silent peer", &VARIANTS[..1], linger_to_the_end_of_the_time),
        scenario("send, dropped", all, send),
        scenario("feed and flush", all, feed),
        scenario("ready before each push", all, ready),
        scenario("into_parts", all, into_parts),
        scenario("upgrade", all, |sim, b| upgrade(sim, b, true)),
        scenario("upgrade, then only input", few, |sim, b| upgrade(sim, b, false)),
        scenario("upgrade with plaintext behind", all, upgrade_with_plaintext_behind),
        scenario("a pusher beside next", all, pushers),
        scenario("a pusher closes", all, pusher_closes),
        scenario("a pusher aborts", all, pusher_aborts),
        scenario("a pusher beside flush", all, pusher_while_flushing),
        scenario("a pusher waits for room", all, |sim, b| {
            pusher_waits(sim, b, "Pusher::push", push)
        }),
        scenario("a pusher of parts waits", all, |sim, b| {
            pusher_waits(sim, b, "Pusher::push_parts", push_parts)
        }),
        scenario("a pusher of a producer waits", all, |sim, b| {
            pusher_waits(sim, b, "Pusher::push_with_producer", produce)
        }),
        scenario("a permit waits for capacity", all, |sim, b| {
            pusher_waits(sim, b, "Pusher::reserve", reserve)
        }),
        scenario("a flush of a pusher", all, |sim, b| pusher_flushes(sim, b, false)),
        scenario("a flush of a pusher, reading", all, |sim, b| pusher_flushes(sim, b, true)),
        scenario("closed", few, closed),
        scenario("closed by a failure", few, closed_by_a_failure),
        scenario("run, stopped, and another", all, run_stops_and_goes_on),
        scenario("run above the high-water mark", all, run_above_high_water),
        scenario("run, paused after each line", all, run_pauses),
        scenario("next above the high-water mark", all, next_above_high_water),
        scenario("run and a pusher", all, run_with_pushers),
        scenario("run, aborted", all, run_aborted),
        scenario("producers as answers", all, answer_lines),
        scenario("drive between two lines", all, drive_between_lines),
        scenario("drive until aborted", few, drive_until_aborted),
        scenario("broken: ready", few, |sim, b| broken(sim, b, READY)),
        scenario("broken: flush", few, |sim, b| broken(sim, b, FLUSH)),
        scenario("broken: shutdown", few, |sim, b| broken(sim, b, SHUTDOWN)),
        scenario("broken: drive", few, |sim, b| broken(sim, b, DRIVE)),
        scenario("broken: close", few, |sim, b| broken(sim, b, CLOSE)),
        scenario("broken: send", few, broken_while_sending),
        scenario("broken: next", few, |sim, b| broken_while_reading(sim, b, false)),
        scenario("broken: flush, dropped", few, |sim, b| broken_while_reading(sim, b, true)),
        scenario("broken: run", few, broken_while_running),
    ]
}
