//! What a `Pusher` promises.

mod mock;

use asynchat::{
    Body, Channel, Control, Error, Handler, PushError, Pusher, Terminator, Timeouts, TryPushError,
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use mock::{
    Call, Give, Mock, Peer, Read, Step, Write, anew, assert_waits, chunk, join, mock, poll,
    producer, quiet, show, transport,
};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};

fn channel() -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (Channel::new(io, "\n"), peer)
}

/// High water 1000, low water 200, so that one chunk of 936 bytes fills it.
fn narrow() -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    let builder = Channel::builder().terminator("\n").linger(Duration::ZERO);
    (builder.high_water(1000).low_water(200).build(io), peer)
}

fn full() -> Bytes {
    Bytes::from(vec![b'-'; 936])
}

#[test]
fn a_pusher_is_clone_send_and_sync() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Pusher>();
    fn is_send<T: Send>(_: T) {}
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    is_send(pusher.push("x"));
    is_send(pusher.closed());
    is_send(pusher.reserve());
    is_send(pusher.flush());
    is_send(pusher.push_parts(["x"]));
    is_send(pusher.push_with_producer(stream::empty::<std::io::Result<Bytes>>()));
}

#[test]
fn push_joins_queue_when_channel_is_polled() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.push("first,");
    assert_eq!(show(poll!(pusher.push("pushed,"))), "done");
    channel.push("second,");
    assert_eq!(peer.written(), "");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "first,second,pushed,");
}

#[test]
fn a_push_wakes_the_task_that_polls_the_channel() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    for data in ["one", "two"] {
        assert!(!task.is_woken());
        pusher.try_push(data).unwrap();
        assert!(task.is_woken());
        assert_pending!(task.poll());
        assert_eq!(peer.written(), data);
    }
    assert!(poll!(pusher.push_with_producer(producer([chunk("three")]).0)).is_ready());
    assert!(task.is_woken());
    assert_pending!(task.poll());
    assert_eq!(peer.written(), "three");
    assert_eq!(show(poll!(pusher.push("four"))), "done");
    assert!(task.is_woken());
}

#[test]
fn a_push_wakes_the_task_that_polled_last() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    assert!(poll!(channel.next()).is_pending());
    let mut last = spawn(channel.receive("\n"));
    assert_pending!(last.poll());
    pusher.try_push("x").unwrap();
    assert!(last.is_woken());
}

#[test]
fn a_push_wakes_a_channel_that_waits_in_flush() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let (stream, probe) = producer([Give::Pending]);
    channel.push_with_producer(stream);
    let mut task = spawn(channel.flush());
    assert_pending!(task.poll());
    pusher.try_push("x").unwrap();
    assert!(task.is_woken());
    assert_pending!(task.poll());
    probe.wake();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "done");
    assert_eq!(peer.written(), "x");
}

#[test]
fn from_one_pusher_the_order_is_kept() {
    for out_buffer_size in [1, 65536] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().out_buffer_size(out_buffer_size).build(io);
        let pusher = channel.pusher();
        let large = "L".repeat(9000);
        pusher.try_push("a").unwrap();
        assert!(poll!(pusher.push_with_producer(producer([chunk("b"), chunk("c")]).0)).is_ready());
        pusher.try_push(large.clone()).unwrap();
        assert_eq!(show(poll!(pusher.push("d"))), "done");
        pusher.clone().try_push("e").unwrap();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), format!("abc{large}de"));
    }
}

#[test]
fn push_appends_no_terminator() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_encode_terminator("\n");
    channel.pusher().try_push("a\nb").unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "a\nb");
}

// Parts.

#[test]
fn push_parts_queues_chunks_that_nothing_comes_between() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    pusher.try_push("a").unwrap();
    let body = Bytes::from(vec![b'-'; 5000]);
    let parts = [Bytes::from("head,"), Bytes::new(), body.clone(), Bytes::from(",tail")];
    assert!(matches!(poll!(pusher.push_parts(parts)), Poll::Ready(Ok(()))));
    channel.push("own,");
    pusher.try_push("z").unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), format!("own,ahead,{},tailz", "-".repeat(5000)));
    let is_in_place = |(at, len)| (at, len) == (body.as_ptr() as usize, body.len());
    assert!(peer.pieces().concat().into_iter().any(is_in_place), "the body was copied");
}

#[test]
fn parts_that_wait_are_queued_together_in_their_turn() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut first = spawn(pusher.push_parts(["head,", "body,"]));
    let mut second = spawn(pusher.push("second"));
    assert!(first.poll().is_pending());
    assert_pending!(second.poll());
    assert_eq!(show(poll!(channel.flush())), "done");
    peer.written();
    assert_eq!(show(second.poll()), "done");
    assert!(matches!(first.poll(), Poll::Ready(Ok(()))));
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "head,body,second");
}

#[test]
fn parts_count_their_lengths_and_64_bytes_for_each_chunk() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    assert!(poll!(pusher.push_parts(["ab", "", "c"])).is_ready());
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 131, closed: false }");
    assert!(poll!(pusher.push_parts(["", ""])).is_ready());
    assert!(poll!(pusher.push_parts([""; 0])).is_ready());
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 131, closed: false }");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 0, closed: false }");
}

#[test]
fn push_parts_returns_all_parts_after_the_close() {
    for waits in [false, true] {
        let (mut channel, _peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut pushed = spawn(pusher.push_parts(["head", "", "body"]));
        if waits {
            assert!(pushed.poll().is_pending());
        }
        drop(channel);
        let Poll::Ready(Err(PushError(parts))) = pushed.poll() else { panic!("taken") };
        assert_eq!(parts, ["head", "body"], "but for the empty one");
    }
}

#[test]
fn dropped_push_parts_queues_no_part() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut parts = spawn(pusher.push_parts(["head", "body"]));
    assert!(parts.poll().is_pending());
    assert_eq!(show(poll!(channel.flush())), "done");
    assert!(parts.is_woken());
    drop(parts);
    peer.written();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "");
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 0, closed: false }");
}

// Permits.

fn queued(pusher: &Pusher) -> String {
    format!("{pusher:?}")
}

#[test]
fn reserve_waits_in_one_order_with_pushes() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut first = spawn(pusher.push(full()));
    let mut permit = spawn(pusher.reserve());
    let mut last = spawn(pusher.push(full()));
    assert_pending!(first.poll());
    assert!(permit.poll().is_pending());
    assert_pending!(last.poll());
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!((first.is_woken(), permit.is_woken(), last.is_woken()), (true, false, false));
    assert!(permit.poll().is_pending(), "not out of turn");
    assert_eq!(show(first.poll()), "done");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert!(permit.is_woken() && last.is_woken());
    let Poll::Ready(Ok(permit)) = permit.poll() else { panic!("no permit") };
    assert_eq!(show(last.poll()), "done");
    permit.push("permit").unwrap();
    peer.written();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "-".repeat(936) + "permit");
}

#[test]
fn a_permit_counts_64_bytes_until_used_or_dropped() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    let permits: Vec<_> = (0..3).map(|_| poll!(pusher.reserve())).collect();
    assert_eq!(queued(&pusher), "Pusher { queued: 192, closed: false }");
    let mut left = 192;
    for (permit, data) in permits.into_iter().zip([Some("abc"), Some(""), None]) {
        let Poll::Ready(Ok(permit)) = permit else { panic!("no permit") };
        assert_eq!(format!("{permit:?}"), "Permit { .. }");
        match data {
            Some(data) => permit.push(data).unwrap(),
            None => drop(permit),
        }
        left -= if data == Some("abc") { 64 - 67 } else { 64 };
        assert_eq!(queued(&pusher), format!("Pusher {{ queued: {left}, closed: false }}"));
    }
}

#[test]
fn data_takes_its_place_when_a_permit_pushes_it() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let Poll::Ready(Ok(first)) = poll!(pusher.reserve()) else { panic!("no permit") };
    let Poll::Ready(Ok(second)) = poll!(pusher.reserve()) else { panic!("no permit") };
    pusher.try_push("a").unwrap();
    second.push("b").unwrap();
    assert_eq!(show(poll!(pusher.push("c"))), "done");
    first.push("d").unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abcd");
}

#[test]
fn permit_push_wakes_the_task_that_polls_the_channel() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    let Poll::Ready(Ok(permit)) = poll!(pusher.reserve()) else { panic!("no permit") };
    assert!(!task.is_woken(), "there is nothing to send");
    permit.push("x").unwrap();
    assert!(task.is_woken());
    assert_pending!(task.poll());
    assert_eq!(peer.written(), "x");
}

#[test]
fn others_push_as_capacity_allows_while_a_permit_is_out() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    let Poll::Ready(Ok(permit)) = poll!(pusher.reserve()) else { panic!("no permit") };
    pusher.try_push(vec![b'-'; 871]).unwrap();
    pusher.try_push("").unwrap();
    assert_eq!(show(pusher.try_push("x")), "done", "999 of 1000");
    assert_eq!(show(pusher.try_push("x")), "full(x)");
    drop(permit);
}

#[test]
fn a_dropped_permit_lets_the_next_push_go() {
    for data in [None, Some("")] {
        let (io, _peer) = mock();
        let mut channel = Channel::builder().high_water(64).low_water(0).build(io);
        let pusher = channel.pusher();
        let Poll::Ready(Ok(permit)) = poll!(pusher.reserve()) else { panic!("no permit") };
        let mut waiting = spawn(pusher.push("x"));
        assert_pending!(waiting.poll());
        match data {
            Some(data) => permit.push(data).unwrap(),
            None => drop(permit),
        }
        assert!(waiting.is_woken());
        assert_eq!(show(waiting.poll()), "done");
    }
}

#[test]
fn an_empty_push_that_waited_lets_the_next_push_go() {
    let (io, _peer) = mock();
    let mut channel = Channel::builder().high_water(64).low_water(0).build(io);
    let pusher = channel.pusher();
    pusher.try_push("x").unwrap();
    let mut empty = spawn(pusher.push(""));
    let mut next = spawn(pusher.push("x"));
    assert_pending!(empty.poll());
    assert_pending!(next.poll());
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(show(empty.poll()), "done");
    assert!(next.is_woken());
    assert_eq!(show(next.poll()), "done");
}

#[test]
fn permit_push_returns_data_after_the_close() {
    for by_pusher in [false, true] {
        let (mut channel, peer) = channel();
        let pusher = channel.pusher();
        let permits: Vec<_> = (0..2).map(|_| poll!(pusher.reserve())).collect();
        match by_pusher {
            true => pusher.close_when_done(),
            false => channel.close_when_done(),
        }
        for (permit, data) in permits.into_iter().zip(["back", ""]) {
            let Poll::Ready(Ok(permit)) = permit else { panic!("no permit") };
            assert_eq!(show(permit.push(data)), format!("closed({data})"));
        }
        assert!(matches!(poll!(pusher.reserve()), Poll::Ready(Err(PushError(())))));
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "");
    }
}

#[test]
fn permit_push_parts_queues_them_as_one_and_returns_them() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let permits: Vec<_> = (0..2).map(|_| poll!(pusher.reserve())).collect();
    let mut permits = permits.into_iter().map(|permit| match permit {
        Poll::Ready(Ok(permit)) => permit,
        _ => panic!("no permit"),
    });
    permits.next().unwrap().push_parts(["head ", "", "body"]).unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "head body");
    channel.close_when_done();
    let back = permits.next().unwrap().push_parts(["a", "b"]).unwrap_err();
    assert_eq!(back.0, ["a", "b"]);
}

#[test]
fn dropped_flushes_take_one_place() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.blocks_writes();
    channel.push("x");
    for _ in 0..3 {
        assert!(poll!(pusher.flush()).is_pending());
        assert!(poll!(channel.next()).is_pending());
        assert_eq!(channel.queued_bytes(), 1 + 64);
    }
    let mut flush = spawn(pusher.flush());
    assert_pending!(flush.poll());
    assert!(poll!(channel.next()).is_pending());
    assert_eq!(channel.queued_bytes(), 1 + 64);
    peer.wake_write();
    assert!(poll!(channel.next()).is_pending());
    assert!(matches!(flush.poll(), Poll::Ready(Ok(()))));
}

#[test]
fn a_permit_may_outlive_its_channel() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    let permits: Vec<_> = (0..2).map(|_| poll!(pusher.reserve())).collect();
    drop(channel);
    assert_eq!(queued(&pusher), "Pusher { queued: 0, closed: true }");
    let mut permits = permits.into_iter();
    let Some(Poll::Ready(Ok(permit))) = permits.next() else { panic!("no permit") };
    assert_eq!(show(permit.push("back")), "closed(back)");
    drop(permits);
    assert_eq!(queued(&pusher), "Pusher { queued: 0, closed: true }");
}

#[test]
fn a_dropped_reserve_frees_its_place() {
    for granted in [false, true] {
        let (mut channel, _peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut permit = spawn(pusher.reserve());
        let mut next = spawn(pusher.push("next"));
        assert!(permit.poll().is_pending());
        assert_pending!(next.poll());
        if granted {
            assert_eq!(show(poll!(channel.flush())), "done");
            assert!(permit.is_woken());
        }
        drop(permit);
        assert_eq!(show(poll!(channel.flush())), "done");
        assert!(next.is_woken(), "granted: {granted}");
        assert_eq!(show(next.poll()), "done");
        assert_eq!(queued(&pusher), "Pusher { queued: 68, closed: false }");
    }
}

#[test]
fn reserve_that_waits_ends_when_the_channel_is_gone() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut permit = spawn(pusher.reserve());
    assert!(permit.poll().is_pending());
    drop(channel);
    assert!(permit.is_woken());
    assert!(matches!(permit.poll(), Poll::Ready(Err(PushError(())))));
}

// Flushes.

/// In words how a flush ended, if it has.
fn flushed(polled: Poll<Result<(), PushError<()>>>) -> &'static str {
    match polled {
        Poll::Pending => "pending",
        Poll::Ready(Ok(())) => "done",
        Poll::Ready(Err(PushError(()))) => "failed",
    }
}

#[test]
fn flush_waits_until_output_is_sent_and_the_transport_flushed() {
    let (mut channel, peer) = channel();
    assert_eq!(show(poll!(channel.flush())), "done");
    let pusher = channel.pusher();
    channel.push("own,");
    pusher.try_push("pushed,").unwrap();
    pusher.clone().try_push("by another").unwrap();
    peer.blocks_writes();
    peer.flushes([Step::Pending]);
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    assert_waits!(peer, channel.next());
    peer.wake_write();
    assert_waits!(peer, channel.next());
    assert!(!flush.is_woken(), "written, and not flushed");
    peer.wake_write();
    assert_waits!(peer, channel.next());
    assert!(flush.is_woken());
    assert_eq!(flushed(flush.poll()), "done");
    assert_eq!(peer.written(), "own,pushed,by another");
}

#[test]
fn ready_serves_the_flush_of_a_pusher() {
    let (mut channel, peer) = channel();
    assert_eq!(show(poll!(channel.flush())), "done");
    let pusher = channel.pusher();
    pusher.try_push("pushed").unwrap();
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    peer.flushes([Step::Pending]);
    assert_eq!(show(poll!(channel.ready())), "done");
    assert!(!flush.is_woken());
    peer.wake_write();
    assert_eq!(show(poll!(channel.ready())), "done");
    assert!(flush.is_woken());
    assert_eq!(flushed(flush.poll()), "done");
}

#[test]
fn flush_does_not_wait_for_output_queued_later() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    pusher.try_push("before,").unwrap();
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    pusher.try_push("after").unwrap();
    let (stream, _probe) = producer([Give::Pending]);
    assert!(poll!(pusher.push_with_producer(stream)).is_ready());
    peer.writes([Write::Accept(7), Write::Pending]);
    assert_waits!(peer, channel.flush());
    assert_eq!(flushed(flush.poll()), "done");
    assert_eq!(peer.output_calls(), [Call::Write(7), Call::Flush]);
    peer.wake_write();
    assert_pending!(spawn(channel.flush()).poll());
    assert_eq!(peer.written(), "before,after");
}

#[test]
fn a_flush_of_nothing_is_no_write() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    for calls in [&[Call::Flush][..], &[]] {
        let mut flushes: Vec<_> = (0..3).map(|_| spawn(pusher.flush())).collect();
        for flush in &mut flushes {
            assert_eq!(flushed(flush.poll()), "pending");
        }
        assert_waits!(peer, channel.next());
        for flush in &mut flushes {
            assert!(flush.is_woken());
            assert_eq!(flushed(flush.poll()), "done");
        }
        assert_eq!(peer.calls(), calls);
    }
}

#[test]
fn flush_wakes_the_task_that_polls_the_channel() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    assert!(task.is_woken());
    assert_pending!(task.poll());
    assert_eq!(flushed(flush.poll()), "done");
}

type Await = fn(&mut Channel<Mock>) -> Pin<Box<dyn Future<Output = String> + '_>>;

#[test]
fn flush_ends_during_each_waiting_method() {
    let awaits: [(&str, Await); 9] = [
        ("next", |channel| Box::pin(async { show(channel.next().await) })),
        ("receive", |channel| Box::pin(async { show(channel.receive(5).await) })),
        ("receive_part", |channel| Box::pin(async { show(channel.receive_part().await) })),
        ("run", |channel| Box::pin(async { show(channel.run(&mut Idle::default()).await) })),
        ("ready", |channel| Box::pin(async { show(channel.ready().await) })),
        ("flush", |channel| Box::pin(async { show(channel.flush().await) })),
        ("send", |channel| Box::pin(async { show(channel.send("x".into()).await) })),
        ("shutdown", |channel| Box::pin(async { show(channel.shutdown().await) })),
        ("close", |channel| Box::pin(async { show(channel.close().await) })),
    ];
    for (name, wait) in awaits {
        let (io, peer) = mock();
        let builder = Channel::builder().terminator("\n").linger(Duration::ZERO);
        let mut channel = builder.high_water(1000).low_water(200).build(io);
        let pusher = channel.pusher();
        peer.blocks_writes();
        let mut flush = spawn(pusher.flush());
        assert_eq!(flushed(flush.poll()), "pending");
        // It joins the queue before the flush does, and fills it.
        channel.push(vec![b'-'; 1000]);
        let mut task = spawn(wait(&mut channel));
        assert_pending!(task.poll(), "{name}");
        assert!(!flush.is_woken(), "{name}");
        peer.wake_write();
        assert!(task.is_woken(), "{name}");
        let _ = task.poll();
        assert!(flush.is_woken(), "{name}");
        assert_eq!(flushed(flush.poll()), "done", "{name}");
    }
}

#[test]
fn flush_succeeds_if_the_write_half_closes_after_it() {
    type Close = fn(&mut Channel<Mock>, &Pusher);
    let closes: [Close; 2] =
        [|channel, _| channel.close_when_done(), |_, pusher| pusher.close_when_done()];
    for close in closes {
        let (mut channel, peer) = channel();
        let pusher = channel.pusher();
        peer.blocks_writes();
        pusher.try_push("bye").unwrap();
        let mut flush = spawn(pusher.flush());
        assert_eq!(flushed(flush.poll()), "pending");
        close(&mut channel, &pusher);
        assert_waits!(peer, channel.flush());
        assert!(!flush.is_woken());
        peer.wake_write();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(flushed(flush.poll()), "done");
        assert_eq!(peer.output_calls(), [Call::Write(3), Call::Flush, Call::Shutdown]);
        assert_eq!(flushed(poll!(pusher.flush())), "failed", "closed");
    }
}

#[test]
fn flush_fails_if_output_before_it_is_lost() {
    type Lose = fn(Channel<Mock>, &Peer, &Pusher) -> Option<Channel<Mock>>;
    let losses: [(&str, Lose); 8] = [
        ("discarded", |mut channel, _, _| {
            channel.discard_buffers();
            Some(channel)
        }),
        ("aborted", |mut channel, _, pusher| {
            pusher.abort();
            assert_eq!(show(poll!(channel.flush())), "aborted");
            Some(channel)
        }),
        ("write failed", |mut channel, peer, _| {
            peer.takes_again([Write::Err(ErrorKind::BrokenPipe)]);
            assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
            Some(channel)
        }),
        ("flush failed", |mut channel, peer, _| {
            peer.takes_again([]);
            peer.flushes([Step::Err(ErrorKind::BrokenPipe)]);
            assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
            Some(channel)
        }),
        ("producer failed", |mut channel, peer, _| {
            peer.takes_again([]);
            assert_eq!(show(poll!(channel.flush())), "producer(Other)");
            Some(channel)
        }),
        ("reset", |mut channel, peer, _| {
            peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
            assert_eq!(show(poll!(channel.next())), "io(ConnectionReset)");
            Some(channel)
        }),
        ("dropped", |_, _, _| None),
        ("taken apart", |channel, _, _| {
            drop(channel.into_parts());
            None
        }),
    ];
    for (name, lose) in losses {
        for is_polled in [false, true] {
            let (mut channel, peer) = channel();
            let pusher = channel.pusher();
            peer.blocks_writes();
            pusher.try_push("lost").unwrap();
            if name == "producer failed" {
                let (stream, _probe) = producer([Give::Err(ErrorKind::Other)]);
                assert!(poll!(pusher.push_with_producer(stream)).is_ready());
            }
            let mut flush = spawn(pusher.flush());
            assert_eq!(flushed(flush.poll()), "pending");
            if is_polled {
                assert_waits!(peer, channel.next());
            }
            let channel = lose(channel, &peer, &pusher);
            assert!(flush.is_woken(), "{name}, polled: {is_polled}");
            assert_eq!(flushed(flush.poll()), "failed", "{name}");
            drop(channel);
        }
    }
}

#[test]
fn flush_on_a_closed_channel_fails_at_once() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.close_when_done();
    assert_eq!(flushed(poll!(pusher.flush())), "failed");
    assert_eq!(show(poll!(channel.flush())), "done");
    drop(channel);
    assert_eq!(flushed(poll!(pusher.flush())), "failed");
    assert_eq!(peer.output_calls(), [Call::Flush, Call::Shutdown]);
}

#[test]
fn flush_counts_64_bytes_and_waits_for_capacity() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    peer.blocks_writes();
    let mut pending = 0;
    while pusher.try_push("").is_ok() {
        assert_eq!(flushed(poll!(pusher.flush())), "pending");
        pending += 1;
        assert_eq!(
            queued(&pusher),
            format!("Pusher {{ queued: {}, closed: false }}", 64 * pending)
        );
    }
    assert_eq!(pending, 16, "1024 bytes");
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    assert_waits!(peer, channel.next());
    assert!(flush.is_woken());
    assert_eq!(channel.queued_bytes(), 0);
    assert_eq!(flushed(flush.poll()), "pending");
    assert_waits!(peer, channel.next());
    assert_eq!(flushed(flush.poll()), "done");
    assert_eq!(queued(&pusher), "Pusher { queued: 0, closed: false }");
}

#[test]
fn flush_that_waits_fails_if_output_is_discarded() {
    for discards in [false, true] {
        let (mut channel, peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut flush = spawn(pusher.flush());
        let mut next = spawn(pusher.push("next"));
        assert_eq!(flushed(flush.poll()), "pending");
        assert_pending!(next.poll());
        match discards {
            true => assert_eq!(channel.discard_buffers().output_bytes, 936),
            false => assert_eq!(show(poll!(channel.flush())), "done"),
        }
        peer.written();
        assert!(flush.is_woken());
        assert_eq!(flushed(flush.poll()), if discards { "failed" } else { "pending" });
        assert_eq!(show(next.poll()), "done");
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "next");
        assert_eq!(queued(&pusher), "Pusher { queued: 0, closed: false }");
        if !discards {
            assert_eq!(flushed(flush.poll()), "done");
        }
    }
}

#[test]
fn a_dropped_flush_leaves_order_and_output_as_they_were() {
    for is_polled in [false, true] {
        let (mut channel, peer) = channel();
        let pusher = channel.pusher();
        peer.blocks_writes();
        pusher.try_push("a").unwrap();
        assert_eq!(flushed(poll!(pusher.flush())), "pending");
        pusher.try_push("b").unwrap();
        if is_polled {
            assert_waits!(peer, channel.next());
        }
        assert_eq!(flushed(poll!(pusher.flush())), "pending");
        pusher.try_push("c").unwrap();
        peer.wake_write();
        assert_eq!(show(anew!(channel.flush())), "done");
        assert_eq!(peer.written(), "abc");
        assert_eq!(channel.queued_bytes(), 0);
    }
}

#[test]
fn flush_makes_a_corked_channel_send() {
    for flushes in [false, true] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator("\n").corked(true).build(io);
        assert_eq!(show(poll!(channel.flush())), "done");
        let pusher = channel.pusher();
        peer.sends("one\ntwo\nthree\n");
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        channel.push("answer");
        let mut flush = spawn(pusher.flush());
        if flushes {
            assert_eq!(flushed(flush.poll()), "pending");
        }
        assert_eq!(show(poll!(channel.next())), "complete(two)");
        assert_eq!(peer.written(), if flushes { "answer" } else { "" });
        channel.push("gathered");
        assert_eq!(show(poll!(channel.next())), "complete(three)");
        assert_eq!(peer.written(), "", "corked again");
        if flushes {
            assert_eq!(flushed(flush.poll()), "done");
        }
        assert_eq!(show(poll!(channel.flush())), "done");
    }
}

#[test]
fn flush_is_served_by_either_half_of_a_split_channel() {
    for writes in [false, true] {
        let (channel, peer) = channel();
        let mut channel = channel;
        let pusher = channel.pusher();
        let (mut sink, mut stream) = channel.split::<Bytes>();
        peer.blocks_writes();
        let mut reader = mock::Task::new(stream.next());
        assert!(reader.poll().is_pending());
        pusher.try_push("x").unwrap();
        let mut flush = spawn(pusher.flush());
        assert_eq!(flushed(flush.poll()), "pending");
        assert!(reader.is_woken());
        let mut writer = mock::Task::new(sink.flush());
        match writes {
            true => assert!(writer.poll().is_pending()),
            false => assert!(reader.poll().is_pending()),
        }
        peer.wake_write();
        match writes {
            true => assert_eq!(show(writer.poll()), "done"),
            false => assert!(reader.poll().is_pending()),
        }
        assert!(flush.is_woken(), "by the writer: {writes}");
        assert_eq!(flushed(flush.poll()), "done");
        assert_eq!(peer.written(), "x");
    }
}

#[test]
fn parts_and_discarded_count_no_flushes() {
    for discards in [false, true] {
        let (mut channel, _peer) = channel();
        let pusher = channel.pusher();
        let mut flushes: Vec<_> = (0..3).map(|_| spawn(pusher.flush())).collect();
        for (n, flush) in flushes.iter_mut().enumerate() {
            pusher.try_push(n.to_string()).unwrap();
            assert_eq!(flushed(flush.poll()), "pending");
        }
        let (stream, _probe) = producer([chunk("produced")]);
        assert!(poll!(pusher.push_with_producer(stream)).is_ready());
        assert_eq!(flushed(poll!(pusher.flush())), "pending");
        if discards {
            let discarded = channel.discard_buffers();
            assert_eq!((discarded.output_bytes, discarded.producers), (3, 1));
            assert_eq!(channel.queued_bytes(), 0);
        } else {
            let parts = channel.into_parts();
            assert_eq!((&parts.unsent[..], parts.producers.len()), (&b"012"[..], 1));
        }
        for flush in &mut flushes {
            assert_eq!(flushed(flush.poll()), "failed");
        }
    }
}

#[test]
fn a_dropped_flush_does_not_stop_an_upgrade() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    assert_eq!(flushed(poll!(pusher.flush())), "pending");
    let mut channel = channel.into_framed().expect_err("a flush is queued");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(flushed(poll!(pusher.flush())), "pending");
    let Poll::Ready(Ok(mut channel)) = poll!(channel.upgrade(|io| async { Ok(io) })) else {
        panic!("not upgraded");
    };
    let mut flush = spawn(pusher.flush());
    assert_eq!(flushed(flush.poll()), "pending");
    assert_waits!(peer, channel.next());
    assert_eq!(flushed(flush.poll()), "done");
}

// Room.

#[test]
fn push_waits_at_the_high_water_mark_by_bytes() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    peer.blocks_writes();
    assert_eq!(show(poll!(pusher.push(vec![b'a'; 900]))), "done", "964 of 1000");
    assert_eq!(show(poll!(pusher.push("b"))), "done", "there was room at all");
    let mut waiting = spawn(pusher.push("c"));
    assert_pending!(waiting.poll());
    assert_waits!(peer, channel.next());
    assert_pending!(waiting.poll(), "joining the queue gives no room");
    peer.wake_write();
    assert_waits!(peer, channel.next());
    assert!(waiting.is_woken());
    assert_eq!(show(waiting.poll()), "done");
    assert_waits!(peer, channel.next());
    assert_eq!(peer.written(), "a".repeat(900) + "bc");
}

#[test]
fn push_goes_on_at_the_low_water_mark_and_not_before() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(vec![b'a'; 5000]).unwrap();
    let mut waiting = spawn(pusher.push("c"));
    assert_pending!(waiting.poll());
    peer.writes([Write::Accept(4700), Write::Pending]);
    assert_waits!(peer, channel.flush());
    assert_eq!(channel.queued_bytes(), 300);
    assert!(!waiting.is_woken(), "300 are below high and above low");
    assert_pending!(waiting.poll());
    peer.wake_write();
    peer.writes([Write::Accept(100), Write::Pending]);
    assert_waits!(peer, channel.flush());
    assert_eq!(channel.queued_bytes(), 200);
    assert!(waiting.is_woken());
    assert_eq!(show(waiting.poll()), "done");
}

#[test]
fn own_output_of_channel_counts_for_pushers() {
    let (mut channel, peer) = narrow();
    peer.blocks_writes();
    channel.push(full());
    let pusher = channel.pusher();
    assert_eq!(show(pusher.try_push("x")), "full(x)");
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(show(pusher.try_push("x")), "done");
}

#[test]
fn a_producer_counts_1_kib_and_waits_too() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    let (first, _) = producer([chunk("a")]);
    let (second, probe) = producer([chunk("b")]);
    assert!(poll!(pusher.push_with_producer(first)).is_ready());
    let mut waiting = spawn(pusher.push_with_producer(second));
    assert!(waiting.poll().is_pending());
    assert_eq!(show(poll!(channel.flush())), "done");
    assert!(waiting.is_woken());
    assert!(waiting.poll().is_ready());
    assert_eq!(probe.drops(), 0);
}

#[test]
fn try_push_returns_data_when_full() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let error = pusher.try_push("back").unwrap_err();
    assert_eq!(error, TryPushError::Full(Bytes::from("back")));
    assert_eq!(error.to_string(), "no capacity in the channel's queue");
    assert_eq!(error.into_data(), "back");
    drop(channel);
    let error = pusher.try_push("back").unwrap_err();
    assert_eq!(error, TryPushError::Closed(Bytes::from("back")));
    assert_eq!(error.to_string(), "channel closed for writing");
    assert_eq!(error.into_data(), "back");
}

#[test]
fn a_slow_reader_costs_its_own_high_water_mark_and_no_more() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    peer.blocks_writes();
    let mut accepted = 0;
    for turn in 0..1000 {
        accepted += usize::from(pusher.try_push("0123456789").is_ok());
        if turn % 7 == 0 {
            assert_waits!(peer, channel.next());
        }
        assert!(channel.queued_bytes() <= 1100, "{} after {turn}", channel.queued_bytes());
    }
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written().len(), accepted * 10);
}

#[test]
fn waiting_pushes_are_served_in_order() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let names = ["a", "b", "c", "d"];
    let mut waiting: Vec<_> =
        names.iter().map(|name| spawn(pusher.push(name.repeat(936)))).collect();
    for task in &mut waiting {
        assert_pending!(task.poll());
    }
    for (turn, name) in names.iter().enumerate() {
        assert_eq!(show(poll!(channel.flush())), "done");
        peer.written();
        let woken: Vec<_> = waiting.iter().map(|task| task.is_woken()).collect();
        assert_eq!(woken.iter().position(|w| *w), Some(0), "turn {turn}: {woken:?}");
        assert_eq!(show(waiting.remove(0).poll()), "done");
        for task in &mut waiting {
            assert_pending!(task.poll(), "not out of turn");
        }
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), name.repeat(936));
    }
}

#[test]
fn try_push_does_not_overtake_a_granted_push() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut waiting = spawn(pusher.push("first,"));
    assert_pending!(waiting.poll());
    assert!(matches!(pusher.try_push("early"), Err(TryPushError::Full(_))));
    assert_eq!(show(poll!(channel.flush())), "done");
    peer.written();
    pusher.try_push("second").unwrap();
    assert_eq!(show(waiting.poll()), "done");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "first,second");
}

#[test]
fn large_chunk_is_not_copied_after_short_ones() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    for _ in 0..70 {
        pusher.try_push(vec![b's'; 1000]).unwrap();
    }
    let large = [4096, 30_000].map(|len| Bytes::from(vec![b'l'; len]));
    for chunk in &large {
        pusher.try_push(chunk.clone()).unwrap();
    }
    assert_eq!(show(poll!(channel.flush())), "done");
    let pieces = peer.pieces().concat();
    for chunk in &large {
        assert!(pieces.contains(&(chunk.as_ptr() as usize, chunk.len())), "{pieces:?}");
    }
}

#[test]
fn pushed_data_counts_while_the_channel_sends_it() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    let (sender, seen) = std::sync::mpsc::channel();
    let pushes = pusher.clone();
    channel.push_with_producer(stream::poll_fn(move |_| {
        sender.send(show(pushes.try_push("x"))).unwrap();
        Poll::Ready(None::<std::io::Result<Bytes>>)
    }));
    pusher.try_push(full()).unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(seen.recv().unwrap(), "full(x)");
}

/// Small pushes are copied together, but not past one that was granted its place before.
#[test]
fn granted_push_keeps_its_place_behind_small_pushes() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push("a").unwrap();
    pusher.try_push("b").unwrap();
    let permits: Vec<_> = (0..14).map(|_| poll!(pusher.reserve())).collect();
    let mut waiting = spawn(pusher.push("c"));
    assert_pending!(waiting.poll());
    drop(permits);
    assert!(waiting.is_woken());
    pusher.try_push("d").unwrap();
    assert_eq!(show(waiting.poll()), "done");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abcd");
}

#[test]
fn granted_pushes_keep_their_order_however_they_are_polled() {
    let orders = (0..256).map(|code| [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6]);
    let is_whole = |order: &[usize; 4]| (0..4).all(|task| order.contains(&task));
    // After so many of them another push comes.
    for (order, others_after) in orders.filter(is_whole).flat_map(|o| (0..=4).map(move |n| (o, n)))
    {
        let (mut channel, peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut waiting = ["a", "b", "c", "d"].map(|name| spawn(pusher.push(name)));
        for task in &mut waiting {
            assert_pending!(task.poll());
        }
        assert_eq!(show(poll!(channel.flush())), "done");
        peer.written();
        for (polled, task) in order.into_iter().enumerate() {
            if polled == others_after {
                pusher.try_push("e").unwrap();
                pusher.try_push("f").unwrap();
            }
            assert_eq!(show(waiting[task].poll()), "done");
        }
        let rest = if others_after < 4 { "ef" } else { "" };
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), ["abcd", rest].concat(), "polled in the order {order:?}");
    }
}

#[test]
fn capacity_for_several_wakes_all_of_them() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let mut waiting: Vec<_> =
        ["a", "b", "c"].iter().map(|name| spawn(pusher.push(*name))).collect();
    for task in &mut waiting {
        assert_pending!(task.poll());
    }
    assert_eq!(show(poll!(channel.flush())), "done");
    for task in &mut waiting {
        assert!(task.is_woken());
        assert_eq!(show(task.poll()), "done");
    }
    peer.written();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abc");
}

#[test]
fn a_dropped_push_wakes_the_next_if_it_had_capacity() {
    for woken_before in [false, true] {
        let (mut channel, peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut first = spawn(pusher.push("first"));
        let mut second = spawn(pusher.push("second"));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        if woken_before {
            assert_eq!(show(poll!(channel.flush())), "done");
            assert!(first.is_woken());
            drop(first);
        } else {
            drop(first);
            assert!(!second.is_woken(), "there is no capacity for it");
            assert_pending!(second.poll());
            assert_eq!(show(poll!(channel.flush())), "done");
        }
        assert!(second.is_woken(), "woken before: {woken_before}");
        assert_eq!(show(second.poll()), "done");
        peer.written();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "second");
    }
}

#[test]
fn dropped_future_drops_waiting_producer_unpolled() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    let (stream, probe) = producer([chunk("a")]);
    let mut waiting = spawn(pusher.push_with_producer(stream));
    assert!(waiting.poll().is_pending());
    drop(waiting);
    assert_eq!((probe.polls(), probe.drops()), (0, 1));
}

#[test]
fn empty_pushes_cost_nothing_and_do_not_grow() {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    for _ in 0..10_000 {
        pusher.try_push("").unwrap();
        assert_eq!(show(poll!(pusher.push(""))), "done");
    }
    assert!(!task.is_woken(), "there is nothing to send");
    drop(task);
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 0, closed: false }");
    assert_eq!(channel.queued_bytes(), 0);
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.calls(), [Call::Flush], "the flush of the first poll");
}

#[test]
fn output_taken_by_run_counts_for_push_in_callback() {
    struct Room(Pusher, Vec<String>);
    impl Handler for Room {
        type Error = Error;
        fn frame(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            self.1.push(show(self.0.try_push("x")));
            Ok(())
        }
    }
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    peer.blocks_writes();
    peer.sends("1\n2\n3\n");
    assert_eq!(show(poll!(channel.next())), "complete(1)");
    pusher.try_push(vec![b'-'; 930]).unwrap();
    let mut handler = Room(pusher, vec![]);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.1, ["done", "full(x)"], "994 bytes of 1000, and then 1059");
}

#[test]
fn a_producer_may_push_into_its_own_channel() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.push_with_producer(asynchat::producer::from_fn(move || {
        pusher.try_push("from within").unwrap();
        None
    }));
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    assert!(task.is_woken());
    assert_pending!(task.poll());
    assert_eq!(peer.written(), "from within");
}

#[test]
fn discard_buffers_makes_capacity_but_for_kept_bytes() {
    for kept in [200, 201] {
        let (mut channel, peer) = narrow();
        let pusher = channel.pusher();
        peer.blocks_writes();
        // The first slice of the pending write, which is kept.
        pusher.try_push(vec![b'='; kept]).unwrap();
        pusher.try_push(vec![b'-'; 5000]).unwrap();
        assert_waits!(peer, channel.next());
        let mut waiting = spawn(pusher.push("x"));
        assert_pending!(waiting.poll());
        channel.discard_buffers();
        assert_eq!(channel.queued_bytes(), kept as u64);
        if kept > 200 {
            assert_waits!(peer, channel.next());
            assert!(!waiting.is_woken(), "not sunk to the low mark");
            assert_pending!(waiting.poll());
            peer.takes_again([Write::Accept(1), Write::Pending]);
            assert_waits!(peer, channel.next());
        }
        assert!(waiting.is_woken(), "{kept}");
        assert_eq!(show(waiting.poll()), "done");
        peer.takes_again([]);
        assert_eq!(show(anew!(channel.flush())), "done");
        assert_eq!(peer.written(), "=".repeat(kept) + "x");
    }
}

// Closing.

#[test]
fn push_after_close_when_done_returns_data() {
    type Close = fn(&mut Channel<Mock>, &Pusher);
    let closes: [(&str, Close); 4] = [
        ("by the channel", |channel, _| channel.close_when_done()),
        ("by the pusher", |_, pusher| pusher.close_when_done()),
        ("by another pusher", |channel, _| channel.pusher().close_when_done()),
        ("by the sink", |channel, _| assert!(poll!(SinkExt::close(channel)).is_ready())),
    ];
    for (name, close) in closes {
        let (mut channel, peer) = channel();
        let pusher = channel.pusher();
        pusher.try_push("accepted").unwrap();
        assert!(!pusher.is_closed());
        close(&mut channel, &pusher);
        assert!(pusher.is_closed(), "{name}");
        assert_eq!(show(poll!(pusher.push("back"))), "closed(back)", "{name}");
        assert_eq!(show(pusher.try_push("back")), "closed(back)", "{name}");
        let (stream, probe) = producer([chunk("x")]);
        let Poll::Ready(Err(PushError(stream))) = poll!(pusher.push_with_producer(stream)) else {
            panic!("{name}: not given back");
        };
        assert_eq!((probe.polls(), probe.drops()), (0, 0));
        drop(stream);
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "accepted", "{name}: accepted before the close, and sent");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
        assert!(poll!(pusher.closed()).is_ready());
    }
}

#[test]
fn a_pusher_made_after_the_close_is_closed() {
    let (mut channel, _peer) = channel();
    channel.close_when_done();
    let pusher = channel.pusher();
    assert!(pusher.is_closed());
    assert_eq!(show(pusher.try_push("x")), "closed(x)");
    assert!(poll!(pusher.closed()).is_ready());
}

#[test]
fn close_by_pusher_wakes_task_and_shuts_down_after_data() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut task = spawn(channel.next());
    assert_pending!(task.poll());
    pusher.try_push("bye").unwrap();
    assert_pending!(task.poll());
    pusher.close_when_done();
    assert!(task.is_woken());
    assert_pending!(task.poll(), "input goes on");
    assert_eq!(peer.written(), "bye");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
    peer.ends();
    assert_eq!(show(task.poll()), "none");
}

#[test]
fn push_of_channel_before_inbox_close_joins_is_sent() {
    // The close joins the queue when the channel is polled, like any data.
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    pusher.close_when_done();
    channel.push("still open");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "still open");
}

#[test]
fn close_returns_data_of_waiting_push() {
    type End = fn(Channel<Mock>) -> Option<Channel<Mock>>;
    let ends: [(&str, End); 4] = [
        ("dropped", |_| None),
        ("taken apart", |channel| {
            drop(channel.into_parts());
            None
        }),
        ("closed", |mut channel| {
            channel.close_when_done();
            Some(channel)
        }),
        ("failed", |mut channel| {
            channel.push_with_producer(producer([Give::Err(ErrorKind::Other)]).0);
            assert!(poll!(channel.flush()).is_ready());
            Some(channel)
        }),
    ];
    for (name, end) in ends {
        let (mut channel, _peer) = narrow();
        let pusher = channel.pusher();
        pusher.try_push(full()).unwrap();
        let mut first = spawn(pusher.push("first"));
        let mut second = spawn(pusher.push("second"));
        let mut closed = spawn(pusher.closed());
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        assert_pending!(closed.poll());
        let _channel = end(channel);
        assert!(first.is_woken() && closed.is_woken(), "{name}");
        assert_ready!(closed.poll());
        if name != "failed" {
            assert_eq!(show(first.poll()), "closed(first)", "{name}");
            assert!(second.is_woken(), "{name}");
            assert_eq!(show(second.poll()), "closed(second)", "{name}");
        } else {
            // It had room for a moment, and was not polled then.
            assert_eq!(show(first.poll()), "closed(first)");
            assert_eq!(show(second.poll()), "closed(second)");
        }
    }
}

#[test]
fn closed_waits_until_the_channel_takes_no_more_data() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut many: Vec<_> = (0..3).map(|_| spawn(pusher.closed())).collect();
    for closed in &mut many {
        assert_pending!(closed.poll());
    }
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "io(BrokenPipe)");
    for closed in &mut many {
        assert!(closed.is_woken());
        assert_ready!(closed.poll());
    }
    assert!(pusher.is_closed());
}

#[test]
fn a_pusher_outlives_its_channel() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    drop(channel);
    assert!(pusher.is_closed());
    assert_eq!(show(poll!(pusher.push("x"))), "closed(x)");
    pusher.close_when_done();
    assert!(poll!(pusher.closed()).is_ready());
}

#[test]
fn dropping_the_pushers_does_not_close_the_channel() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    pusher.try_push("x").unwrap();
    drop(pusher);
    peer.sends("one\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peer.written(), "x");
    assert!(!channel.pusher().is_closed());
}

#[test]
fn producer_in_inbox_is_dropped_with_channel() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    let (stream, probe) = producer([chunk("a")]);
    assert!(poll!(pusher.push_with_producer(stream)).is_ready());
    assert_eq!(probe.drops(), 0);
    drop(channel);
    assert_eq!((probe.polls(), probe.drops()), (0, 1));
    drop(pusher);
    assert_eq!(probe.drops(), 1);
}

#[test]
fn producer_with_pusher_of_its_channel_can_be_dropped() {
    struct Owner(Pusher);
    impl Drop for Owner {
        fn drop(&mut self) {
            assert!(self.0.try_push("from a drop").is_err());
        }
    }
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    let owner = Owner(pusher.clone());
    let producer = stream::repeat_with(move || {
        let _ = &owner;
        std::io::Result::Ok("x")
    });
    assert!(poll!(pusher.push_with_producer(producer)).is_ready());
    drop(channel);
}

#[test]
fn failed_channel_drops_inbox() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    pusher.try_push("a").unwrap();
    let (stream, probe) = producer([chunk("b")]);
    assert!(poll!(pusher.push_with_producer(stream)).is_ready());
    assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
    assert_eq!(probe.drops(), 1);
    assert!(pusher.is_closed());
}

#[test]
fn dropped_flush_keeps_pushed_data() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(1)], 20).flatten());
    for data in ["ab", "cd", "ef"] {
        pusher.try_push(data).unwrap();
        let _ = poll!(channel.flush());
    }
    assert_eq!(show(anew!(channel.flush())), "done");
    assert_eq!(peer.written(), "abcdef");
}

#[test]
fn debug_of_pushers_and_refusals_prints_lengths_not_content() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push("SECRET").unwrap();
    assert_eq!(format!("{pusher:?}"), "Pusher { queued: 70, closed: false }");
    pusher.try_push(full()).unwrap();
    let error = pusher.try_push("SECRET").unwrap_err();
    assert_eq!(format!("{error:?}"), "Full(6 bytes)");
    drop(channel);
    let error = pusher.try_push("SECRET").unwrap_err();
    assert_eq!(format!("{error:?}"), "Closed(6 bytes)");
    let closed = anew!(pusher.push("SECRET")).unwrap_err();
    assert_eq!(
        format!("{closed:?}: {closed}"),
        "PushError(..): channel closed, or output discarded"
    );
}

// From other threads.

/// Receives lines, and then the end, from tasks that number theirs.
async fn receive_in_order(io: DuplexStream, tasks: usize, lines: usize, moves: &AtomicUsize) {
    let mut peer = Channel::new(io, "\n");
    let mut next = vec![0; tasks];
    for _ in 0..tasks * lines {
        let line = peer.receive("\n").await.unwrap();
        let line = std::str::from_utf8(&line).unwrap();
        let (task, line) = line.split_once(' ').unwrap();
        let task: usize = task.parse().unwrap();
        assert_eq!(line.parse(), Ok(next[task]), "in order from one pusher");
        next[task] += 1;
        moves.fetch_add(1, Relaxed);
    }
    assert_eq!(peer.next().await.transpose().unwrap(), None, "shut down behind the data");
}

async fn push_numbered(pusher: Pusher, task: usize, lines: usize) {
    for line in 0..lines {
        match line % 5 {
            0 => pusher.push(format!("{task} {line}\n")).await.unwrap(),
            3 => {
                let parts = [format!("{task} "), format!("{line}\n")];
                pusher.push_parts(parts).await.unwrap();
            }
            4 => pusher.reserve().await.unwrap().push(format!("{task} {line}\n")).unwrap(),
            1 => {
                let chunks = [format!("{task} "), format!("{line}\n")];
                let chunks = asynchat::producer::from_iter(chunks);
                pusher.push_with_producer(chunks).await.unwrap();
            }
            _ => {
                let mut data = Bytes::from(format!("{task} {line}\n"));
                while let Err(refused) = pusher.try_push(data) {
                    data = refused.into_data();
                    tokio::task::yield_now().await;
                }
            }
        }
        if line % 50 == 0 {
            pusher.flush().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_pushing_tasks_lose_and_reorder_nothing() {
    const TASKS: usize = 8;
    const LINES: usize = 300;
    let (here, there) = tokio::io::duplex(100);
    let mut channel =
        Channel::builder().terminator("\n").high_water(1000).low_water(200).build(here);
    let pusher = channel.pusher();
    let moves = Arc::new(AtomicUsize::new(0));
    // Sends what is pushed while it waits for input, until the peer closes.
    let mut ends = vec![tokio::spawn(async move { assert!(channel.next().await.is_none()) })];
    let moved = Arc::clone(&moves);
    ends.push(tokio::spawn(async move { receive_in_order(there, TASKS, LINES, &moved).await }));
    let push = |task| tokio::spawn(push_numbered(pusher.clone(), task, LINES));
    join((0..TASKS).map(push).collect(), &moves).await;
    pusher.close_when_done();
    pusher.closed().await;
    join(ends, &moves).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flush_from_any_thread_sends_earlier_pushes() {
    // Bytes reach the peer by a flush only.
    let (io, peer) = transport().buffers(1 << 20).pends_each(3).build();
    peer.is_not_vectored();
    peer.limits_writes(7);
    let mut channel = Channel::builder().high_water(1000).low_water(200).build(io);
    let pusher = channel.pusher();
    let moves = Arc::new(AtomicUsize::new(0));
    let owner = tokio::spawn(async move { channel.next().await.is_none() });
    let push = |letter: usize| {
        let (pusher, peer, moves) = (pusher.clone(), peer.clone(), Arc::clone(&moves));
        tokio::spawn(async move {
            let letter = b'a' + letter as u8;
            let data = Bytes::from(vec![letter; 10]);
            for pushed in 1..=300 {
                match pushed % 3 {
                    0 => pusher.push(data.clone()).await.unwrap(),
                    1 => pusher.reserve().await.unwrap().push(data.clone()).unwrap(),
                    _ => pusher.push_parts([data.slice(..4), data.slice(4..)]).await.unwrap(),
                }
                pusher.flush().await.unwrap();
                assert!(peer.count(letter) >= 10 * pushed);
                moves.fetch_add(1, Relaxed);
            }
        })
    };
    join((0..4).map(push).collect(), &moves).await;
    owner.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_channel_returns_data_of_waiting_tasks() {
    for _ in 0..200 {
        let (here, _there) = tokio::io::duplex(10);
        let mut channel = Channel::builder().high_water(100).low_water(10).build(here);
        let pusher = channel.pusher();
        let push = |_| {
            let pusher = pusher.clone();
            tokio::spawn(async move {
                loop {
                    if let Err(PushError(data)) = pusher.push("0123456789").await {
                        assert_eq!(data, "0123456789");
                        return;
                    }
                }
            })
        };
        let mut tasks: Vec<_> = (0..4).map(push).collect();
        tasks.push(tokio::spawn(async move {
            let _ = poll!(channel.next());
            tokio::task::yield_now().await;
            drop(channel);
        }));
        join(tasks, &AtomicUsize::new(0)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_before_close_when_done_are_sent_from_any_thread() {
    for _ in 0..200 {
        let (here, there) = tokio::io::duplex(100);
        let mut channel = Channel::builder().high_water(500).low_water(50).build(here);
        let pushers: Vec<_> = (0..3).map(|_| channel.pusher()).collect();
        let push = |pusher: Pusher| {
            tokio::spawn(async move {
                let mut accepted = 0;
                while accepted < 40 && pusher.push("x").await.is_ok() {
                    accepted += 1;
                }
                pusher.close_when_done();
                accepted
            })
        };
        let pushing: Vec<_> = pushers.into_iter().map(push).collect();
        let owner = tokio::spawn(async move { channel.collect::<Vec<_>>().await.len() });
        let reader = tokio::spawn(async move {
            let mut peer = Channel::new(there, "\n");
            peer.receive(asynchat::Terminator::none()).await.unwrap().len()
        });
        let moves = AtomicUsize::new(0);
        let accepted: usize = join(pushing, &moves).await.into_iter().sum();
        assert_eq!(join(vec![reader, owner], &moves).await, [accepted, 0]);
    }
}

#[test]
fn debug_does_not_write_under_the_lock() {
    struct Log(Pusher);
    impl std::fmt::Write for Log {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.try_push(text.to_owned()).map_err(|_| std::fmt::Error)
        }
    }
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    std::fmt::Write::write_fmt(&mut Log(pusher.clone()), format_args!("{pusher:?}")).unwrap();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert!(peer.written().starts_with("Pusher"));
}

#[test]
fn a_pusher_does_not_keep_the_task_of_a_channel_that_is_gone() {
    for closes_first in [false, true] {
        let (mut channel, _peer) = channel();
        let pusher = channel.pusher();
        let (task, waker) = quiet();
        let mut cx = std::task::Context::from_waker(&waker);
        if closes_first {
            channel.close_when_done();
        }
        assert!(channel.poll_next_unpin(&mut cx).is_pending());
        drop((channel, _peer));
        drop(waker);
        assert!(pusher.is_closed());
        assert_eq!(Arc::strong_count(&task), 1, "closed first: {closes_first}");
    }
}

#[test]
fn inbox_goes_with_the_last_pusher() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let (task, waker) = quiet();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(channel.poll_next_unpin(&mut cx).is_pending());
    drop(pusher);
    peer.sends("one\n");
    // It is found without the inbox, which held the task.
    assert!(channel.poll_next_unpin(&mut cx).is_ready());
    peer.forget_wakers();
    drop(waker);
    assert_eq!(Arc::strong_count(&task), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_timed_out_closes_its_pushers() {
    let (io, _peer) = mock();
    let idle = Timeouts { idle: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let mut channel = Channel::builder().terminator("\n").timeouts(idle).build(io);
    let pusher = channel.pusher();
    let mut closed = spawn(pusher.closed());
    assert_pending!(closed.poll());
    let ended = channel.run(&mut Idle::default()).await;
    assert!(matches!(ended, Err(Error::Timeout(_))), "{ended:?}");
    assert!(closed.is_woken());
    assert_ready!(closed.poll());
    assert!(pusher.is_closed());
    assert_eq!(poll!(pusher.push("back")).map(|pushed| pushed.is_err()), Poll::Ready(true));
}

// `abort`.

/// A channel whose peer does not read, with a pusher; something is queued.
fn stuck() -> (Channel<Mock>, Peer, Pusher) {
    let (mut channel, peer) = narrow();
    let pusher = channel.pusher();
    peer.blocks_writes();
    channel.push(full());
    (channel, peer, pusher)
}

/// Does nothing, and notes how the connection ended.
#[derive(Default)]
struct Idle(Vec<String>);

impl Handler for Idle {
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.0.push(String::from_utf8_lossy(data).into());
        Ok(())
    }

    fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn input_ended(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
        self.0.push("input ended".into());
        Ok(())
    }

    fn closed(&mut self, error: Option<&Error>) {
        self.0.push(format!("closed {error:?}"));
    }
}

#[test]
fn abort_ends_each_waiting_method_once() {
    let awaits: [(&str, Await); 11] = [
        ("receive_part", |channel| Box::pin(async { show(channel.receive_part().await) })),
        ("receive_within", |channel| Box::pin(async { show(channel.receive_within(9, 5).await) })),
        ("ready", |channel| Box::pin(async { show(channel.ready().await) })),
        ("close", |channel| Box::pin(async { show(channel.close().await) })),
        ("next", |channel| Box::pin(async { show(channel.next().await) })),
        ("receive", |channel| Box::pin(async { show(channel.receive(5).await) })),
        ("flush", |channel| Box::pin(async { show(channel.flush().await) })),
        ("shutdown", |channel| Box::pin(async { show(channel.shutdown().await) })),
        ("feed", |channel| Box::pin(async { show(channel.feed("x".into()).await) })),
        ("send", |channel| Box::pin(async { show(channel.send("x".into()).await) })),
        ("run", |channel| Box::pin(async { show(channel.run(&mut Idle::default()).await) })),
    ];
    for (name, wait) in awaits {
        let (mut channel, peer, pusher) = stuck();
        let mut task = spawn(wait(&mut channel));
        assert_pending!(task.poll(), "{name}");
        pusher.abort();
        assert!(task.is_woken(), "{name}");
        assert_eq!(assert_ready!(task.poll()), "aborted", "{name}");
        drop(task);
        assert_eq!(channel.queued_bytes(), 0, "{name}: what was queued is dropped");
        assert_eq!(show(poll!(channel.next())), "none", "{name}");
        assert_eq!(show(poll!(channel.flush())), "closed", "{name}: told once");
        assert_eq!(show(pusher.try_push("x")), "closed(x)", "{name}");
        assert_eq!(peer.written(), "", "{name}");
    }
}

#[test]
fn abort_drops_undelivered_input() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    pusher.abort();
    assert_eq!(show(poll!(channel.next())), "aborted");
    assert_eq!(channel.unread(), b"");
    peer.sends("more\n");
    assert_eq!(show(poll!(channel.next())), "none");
}

/// The head of a message stays, as after `discard_buffers`.
#[test]
fn a_second_abort_changes_nothing() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.set_terminator(Terminator::message(4, |_| Ok(Body::Bytes(0))));
    peer.sends("\nhe");
    assert_waits!(peer, channel.next());
    pusher.abort();
    assert_eq!(show(poll!(channel.close())), "aborted");
    pusher.abort();
    assert_eq!(show(poll!(channel.receive("\n"))), "eof(\nhe)");
}

#[test]
fn abort_of_a_connection_that_has_failed_drops_no_input() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    peer.sends("thr");
    assert_eq!(show(anew!(channel.receive("\n"))), "io(BrokenPipe)");
    pusher.abort();
    assert_eq!(show(poll!(channel.receive("\n"))), "eof(thr)");
}

#[test]
fn a_peer_that_floods_and_does_not_read_is_cut_off_by_abort() {
    // A failure of writing alone does not end reading while input keeps coming.
    let (mut channel, peer, pusher) = stuck();
    peer.sends("flood\n".repeat(1000));
    let mut handler = Idle::default();
    channel.codec_mut().set_streaming(true);
    assert_pending!(spawn(channel.run(&mut handler)).poll());
    pusher.abort();
    assert_eq!(show(poll!(channel.run(&mut handler))), "aborted");
    assert_eq!(handler.0.last().unwrap(), "closed Some(Aborted)");
    assert!(!handler.0.contains(&"input ended".into()));
}

#[test]
fn abort_ends_a_channel_that_is_closing() {
    type Close = fn(&mut Channel<Mock>, &Pusher);
    let closes: [(&str, Close); 2] = [
        ("by the channel", |channel, _| channel.close_when_done()),
        ("by the pusher", |_, pusher| pusher.close_when_done()),
    ];
    for (name, close) in closes {
        let (mut channel, peer, pusher) = stuck();
        close(&mut channel, &pusher);
        let mut handler = Idle::default();
        let mut task = spawn(channel.run(&mut handler));
        assert_pending!(task.poll(), "{name}");
        pusher.abort();
        assert!(task.is_woken(), "{name}");
        assert_eq!(show(task.poll()), "aborted", "{name}");
        drop(task);
        assert_eq!(handler.0, ["closed Some(Aborted)"], "{name}");
        assert_eq!(peer.written(), "", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn abort_ends_the_linger() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.push("bye");
    channel.close_when_done();
    let mut handler = Idle::default();
    let mut task = spawn(channel.run(&mut handler));
    assert_pending!(task.poll());
    assert_eq!(peer.written(), "bye");
    pusher.abort();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "aborted");
}

#[test]
fn abort_overrides_earlier_and_later_close() {
    for close_first in [true, false] {
        let (mut channel, _peer, pusher) = stuck();
        if close_first {
            pusher.close_when_done();
        }
        pusher.abort();
        if !close_first {
            pusher.close_when_done();
        }
        assert_eq!(show(poll!(channel.flush())), "aborted");
    }
}

#[test]
fn abort_after_the_end_of_input_does_not_open_it_again() {
    let (mut channel, peer, pusher) = stuck();
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
    pusher.abort();
    assert_eq!(show(poll!(channel.next())), "none", "fused");
    assert_eq!(show(poll!(channel.flush())), "aborted");
}

#[test]
fn abort_does_not_hide_an_error_that_came_first() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    peer.sends("one\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    pusher.abort();
    assert_eq!(show(poll!(channel.next())), "io(BrokenPipe)");
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(show(poll!(channel.flush())), "closed");
}

#[test]
fn an_aborted_channel_is_not_turned_into_a_framed_nor_upgraded() {
    let (mut one, _peer) = channel();
    one.pusher().abort();
    assert!(one.into_framed().is_err());
    let (mut two, _peer) = channel();
    two.pusher().abort();
    let upgraded = poll!(two.upgrade(|io| async { Ok(io) }));
    let Poll::Ready(Err(refused)) = upgraded else { panic!("not refused") };
    assert_eq!(show(refused.error), "aborted");
}

#[test]
fn an_aborted_channel_that_is_gone_keeps_no_waker() {
    let (mut channel, peer, pusher) = stuck();
    let (task, waker) = quiet();
    let mut context = std::task::Context::from_waker(&waker);
    for close in [false, true] {
        if close {
            pusher.close_when_done();
        }
        let mut flush = Box::pin(channel.flush());
        assert!(flush.as_mut().poll(&mut context).is_pending());
    }
    drop((channel, waker));
    peer.forget_wakers();
    assert_eq!(Arc::strong_count(&task), 1);
    pusher.abort();
}

#[test]
fn a_dropped_closed_keeps_no_waker() {
    let (mut channel, _peer) = channel();
    let pusher = channel.pusher();
    let (task, waker) = quiet();
    let mut closed = Box::pin(pusher.closed());
    assert!(closed.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    drop((closed, waker));
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn abort_or_close_from_a_callback_counts_from_the_next_frame() {
    struct Own(Option<Pusher>, bool, usize);
    impl Handler for Own {
        type Error = Error;
        fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
            self.0 = Some(channel.pusher());
            Ok(())
        }
        fn frame(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            self.2 += 1;
            match (&self.0, self.1) {
                (Some(pusher), true) => pusher.abort(),
                (Some(pusher), false) => pusher.close_when_done(),
                (None, _) => {}
            }
            Ok(())
        }
    }
    for (abort, end) in [(true, "aborted"), (false, "run(closed)")] {
        let (io, peer) = mock();
        let mut channel =
            Channel::builder().terminator("\n").linger(std::time::Duration::ZERO).build(io);
        peer.sends("x\n".repeat(1000));
        let mut own = Own(None, abort, 0);
        assert_eq!(show(poll!(channel.run(&mut own))), end);
        assert_eq!(own.2, 1, "{end}");
    }
}

#[test]
fn run_after_an_error_is_closed_and_not_a_good_end() {
    let (mut channel, _peer, pusher) = stuck();
    pusher.abort();
    assert_eq!(show(poll!(channel.run(&mut Idle::default()))), "aborted");
    let again = poll!(channel.run(&mut Idle::default()));
    assert!(matches!(again, Poll::Ready(Err(Error::Closed))), "{again:?}");
}

#[test]
fn pushers_know_whether_they_push_into_the_same_channel() {
    let (mut one, _peer) = channel();
    let (mut other, _peer) = channel();
    assert!(one.pusher().same_channel(&one.pusher().clone()));
    assert!(!one.pusher().same_channel(&other.pusher()));
}

#[test]
fn aborted_channel_has_empty_parts_and_usable_codec() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.sends("abc");
    assert_waits!(peer, channel.next());
    channel.push("queued");
    pusher.abort();
    let mut parts = channel.into_parts();
    assert_eq!((parts.read_buf.len(), parts.unsent.len()), (0, 0));
    parts.read_buf.extend_from_slice(b"tail\nabcdef\n");
    let frame = tokio_util::codec::Decoder::decode(&mut parts.codec, &mut parts.read_buf);
    assert_eq!(show(frame), "complete(abcdef)", "the tail of what was dropped is no frame");
}

/// Two threads: the last pusher pushes and is dropped at any moment.
#[test]
fn push_of_the_last_pusher_is_not_lost() {
    let (mut channel, peer) = channel();
    let (send, receive) = std::sync::mpsc::sync_channel::<Pusher>(0);
    let pushes = std::thread::spawn(move || {
        receive.into_iter().for_each(|pusher| pusher.try_push("x").unwrap());
    });
    for _ in 0..2_000 {
        let pusher = channel.pusher();
        let alive = pusher.clone();
        send.send(pusher).unwrap();
        drop(alive);
        let mut turns = 0_u64;
        while peer.written().is_empty() {
            assert!(poll!(channel.next()).is_pending());
            turns += 1;
            assert!(turns < 100_000_000, "a push is lost");
        }
    }
    drop(send);
    pushes.join().unwrap();
}

#[test]
fn try_push_succeeds_after_the_queue_sank_to_the_low_mark() {
    let (mut channel, _peer) = narrow();
    let pusher = channel.pusher();
    pusher.try_push(full()).unwrap();
    assert_eq!(show(pusher.try_push("x")), "full(x)");
    assert_eq!(show(poll!(channel.flush())), "done");
    channel.push([b'x'; 300].as_slice());
    assert_eq!(show(pusher.try_push("x")), "done");
    assert_eq!(show(poll!(channel.flush())), "done");
}

#[test]
fn abort_ends_ready_and_feed_although_there_is_capacity() {
    let (mut channel, _peer) = narrow();
    assert_eq!(show(poll!(channel.flush())), "done");
    let pusher = channel.pusher();
    pusher.abort();
    assert_eq!(show(poll!(channel.ready())), "aborted");
    assert_eq!(show(poll!(channel.feed("x".into()))), "closed");
}

#[tokio::test(start_paused = true)]
async fn pusher_made_after_run_lost_the_connection_is_closed() {
    let (io, peer) = mock();
    let limit = Duration::from_secs(1);
    let timeouts = Timeouts { idle: Some(limit), ..Timeouts::default() };
    let mut channel = Channel::builder().terminator("\n").timeouts(timeouts).build(io);
    let ended = channel.run(&mut Idle::default()).await;
    assert!(matches!(ended, Err(Error::Timeout(_))), "{ended:?}");
    let pusher = channel.pusher();
    assert!(pusher.is_closed());
    assert_eq!(show(pusher.try_push("x")), "closed(x)");
    assert_eq!(peer.written(), "");
}
