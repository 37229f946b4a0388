//! Each assumption about a transport, one at a time.
//!
//! It may buffer, check retried writes, fail in one direction or in both, and be
//! always ready. Two tasks may poll the channel over it.

mod mock;

use asynchat::{Channel, Control, Error, Handler, Run};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use mock::*;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Answers each frame with this number of bytes, and closes after `bye`.
struct Answers(usize);

impl Handler for Answers {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, frame: &[u8]) -> Result<(), Error> {
        control.push(vec![b'x'; self.0]);
        if frame == b"bye" {
            control.close_when_done();
        }
        Ok(())
    }
}

fn channel(io: Mock) -> Channel<Mock> {
    Channel::builder().terminator("\n").linger(Duration::ZERO).build(io)
}

fn waiting() -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send {
    futures::stream::pending()
}

// A transport that buffers.

#[test]
fn next_flushes_bytes_buffered_before() {
    let (io, peer) = transport().holds("PROXY").build();
    let mut channel = channel(io);
    assert_waits!(peer, channel.next());
    assert_eq!(peer.written(), "PROXY");
}

#[test]
fn flush_flushes_bytes_buffered_before() {
    let (io, peer) = transport().holds("PROXY").build();
    let mut channel = channel(io);
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "PROXY");
}

#[test]
fn ready_flushes_bytes_buffered_before() {
    let (io, peer) = transport().holds("PROXY").build();
    let mut channel = channel(io);
    assert_eq!(show(poll!(channel.ready())), "done");
    assert_eq!(peer.written(), "PROXY");
}

#[test]
fn next_of_a_corked_channel_flushes_bytes_buffered_before() {
    let (io, peer) = transport().holds("PROXY").build();
    let mut channel = channel(io);
    channel.set_corked(true);
    peer.sends("one\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peer.written(), "PROXY");
}

#[test]
fn run_flushes_bytes_buffered_before() {
    let (io, peer) = transport().holds("PROXY").build();
    let mut channel = channel(io);
    let mut handler = Answers(1);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), "PROXY");
}

#[test]
fn output_reaches_peer_through_small_buffer() {
    let (io, peer) = transport().buffers(7).build();
    let mut channel = channel(io);
    channel.push(vec![b'x'; 100]);
    assert_waits!(peer, channel.next());
    assert_eq!(peer.written().len(), 100);
}

// A transport that checks retried writes.

#[test]
fn discard_keeps_first_slice_of_pending_write() {
    for (old, new) in [(512, 4), (50_000, 4), (50_000, 5000), (50_000, 20_000), (50_000, 60_000)] {
        let (io, peer) = transport().checks_retries().build();
        let mut channel = channel(io);
        peer.blocks_writes();
        channel.push(vec![b'x'; old]);
        channel.push("tail");
        assert_waits!(peer, channel.flush());
        let (_, first) = peer.pieces()[0][0];
        let kept = first.min(RECORD);
        assert_eq!(channel.discard_buffers().output_bytes, (old + 4 - kept) as u64);
        assert_eq!(channel.queued_bytes(), kept as u64);
        channel.push(vec![b'y'; new]);
        peer.wake_write();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), ["x".repeat(kept), "y".repeat(new)].concat());
    }
}

#[test]
fn discard_keeps_pending_write_before_shutdown() {
    let (io, peer) = transport().checks_retries().build();
    let mut channel = channel(io);
    peer.blocks_writes();
    channel.push("old");
    channel.close_when_done();
    assert_waits!(peer, channel.flush());
    channel.discard_buffers();
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "old");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

// A transport on which reading fails.

#[test]
fn run_delivers_answer_after_input_failed_alone() {
    for request in ["get\n", "bye\n"] {
        let (io, peer) = mock();
        let mut channel = channel(io);
        peer.limits_writes(1000);
        peer.writes([Write::Accept(1000), Write::Pending]);
        peer.sends(request);
        peer.reading_fails(ErrorKind::UnexpectedEof);
        let mut handler = Answers(10_000);
        assert_waits!(peer, channel.run(&mut handler));
        peer.wake_write();
        let ended = show(poll!(channel.run(&mut handler)));
        let expected = if request == "bye\n" { "run(closed)" } else { "io(UnexpectedEof)" };
        assert_eq!((ended.as_str(), peer.written().len()), (expected, 10_000), "{request}");
    }
}

#[test]
fn output_goes_on_after_input_failed_alone() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    peer.sends("half");
    peer.reading_fails(ErrorKind::UnexpectedEof);
    assert_eq!(show(poll!(channel.next())), "io(UnexpectedEof)");
    assert_eq!(show(poll!(channel.next())), "none");
    channel.push("sorry");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "sorry");
}

#[test]
fn broken_read_ends_both_directions() {
    for kind in BREAKS {
        let (io, peer) = mock();
        let mut channel = channel(io);
        let (waits, probe) = producer([Give::Pending]);
        channel.push_with_producer(waits);
        peer.sends("one\n");
        peer.reading_fails(kind);
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
        assert_eq!(show(poll!(channel.next())), "none");
        assert_eq!(show(poll!(channel.flush())), "closed");
        assert_eq!(probe.drops(), 1);
    }
}

#[test]
fn flush_notices_reset_beside_waiting_producer() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    channel.push_with_producer(waiting());
    assert_waits!(peer, channel.flush());
    peer.sends("one\n");
    peer.reading_fails(ErrorKind::ConnectionReset);
    assert_eq!(show(anew!(channel.flush())), "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn frames_that_were_read_ahead_are_cut_as_others() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    peer.sends("one");
    assert_waits!(peer, channel.next());
    let (waits, probe) = producer([Give::Pending]);
    channel.push_with_producer(waits);
    peer.sends("\na\nb\n");
    assert_waits!(peer, channel.flush());
    probe.wake();
    assert_eq!(show(poll!(channel.flush())), "done");
    for frame in ["one", "a", "b"] {
        assert_eq!(show(poll!(channel.next())), format!("complete({frame})"));
    }
}

#[test]
fn run_notices_reset_above_high_water_mark() {
    struct Polls;
    impl Handler for Polls {
        type Error = Error;
        fn frame(&mut self, control: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            control.push_with_producer(waiting());
            Ok(())
        }
    }
    let (io, peer) = mock();
    let mut channel = channel(io);
    peer.sends("poll\n".repeat(200));
    let mut handler = Polls;
    assert_waits!(peer, channel.run(&mut handler));
    peer.reading_fails(ErrorKind::ConnectionReset);
    assert_eq!(show(anew!(channel.run(&mut handler))), "io(ConnectionReset)");
}

// A transport that claims too much.

#[test]
fn claim_of_more_than_was_offered_is_an_error() {
    let (io, peer) = mock();
    peer.writes([Write::Overclaims]);
    let mut channel = Channel::new(io, "\n");
    channel.push("one");
    assert_eq!(show(poll!(channel.flush())), "io(Other)");
    assert_eq!(show(poll!(channel.flush())), "closed");
    assert_eq!((channel.sent_bytes(), channel.queued_bytes()), (0, 0));
}

// A transport that is always ready.

#[test]
fn output_loops_yield_over_ready_transport() {
    for (call, most) in [("ready", 28), ("ready", 100), ("feed", 28), ("send", 7), ("flush", 100)] {
        let (io, peer) = transport().always_ready().build();
        peer.limits_writes(most);
        let builder = Channel::builder().high_water(32 * 1024).low_water(8 * 1024);
        let mut channel = builder.build(io);
        let mut is_pending = false;
        for _ in 0..10_000 {
            let item = Bytes::from_static(&[b'x'; 100]);
            let polled = match call {
                "feed" => poll!(channel.feed(item)),
                "send" => poll!(channel.send(item)),
                _ => {
                    channel.push(item);
                    if call == "ready" { poll!(channel.ready()) } else { poll!(channel.flush()) }
                }
            };
            is_pending |= polled.is_pending();
            peer.calls();
        }
        assert!(is_pending, "{call} never yields, {most} bytes at a time");
    }
}

#[test]
fn one_poll_writes_a_bounded_number_of_times_and_of_bytes() {
    for (at_once, len, chunks, bound) in [
        (1, 100_000, 1, 10_000),
        (50_000, 10_000_000, 1, 1 << 20),
        (usize::MAX, 50_000, 200, 1 << 20),
    ] {
        let (io, peer) = mock();
        peer.limits_writes(at_once);
        let mut channel = channel(io);
        for _ in 0..chunks {
            channel.push(vec![b'x'; len]);
        }
        assert_waits!(peer, channel.flush());
        let written = peer.written_bytes().len();
        assert!(written <= bound, "{written} of {chunks} chunks, {at_once} at once");
    }
}

// Two tasks.

#[test]
fn reader_of_split_channel_completes_writers_flush() {
    let (io, peer) = mock();
    let (mut sink, mut stream) = channel(io).split();
    peer.blocks_writes();
    let mut writer = Task::new(async { sink.send("x".into()).await });
    let mut reader = Task::new(async { stream.next().await });
    assert!(writer.poll().is_pending());
    peer.reads([Read::Data("one".into())]);
    assert!(reader.poll().is_pending());
    peer.wake_write();
    while reader.is_woken() {
        assert!(reader.poll().is_pending());
    }
    assert_eq!(show(writer.poll()), "done");
}

#[test]
fn wake_of_the_transport_reaches_both_tasks() {
    for reader_is_first in [false, true] {
        let (io, peer) = mock();
        let (mut sink, mut stream) = channel(io).split();
        peer.blocks_writes();
        let mut writer = Task::new(async { sink.send("x".into()).await });
        let mut reader = Task::new(async { stream.next().await });
        if reader_is_first {
            assert!(reader.poll().is_pending());
        }
        assert!(writer.poll().is_pending());
        if !reader_is_first {
            assert!(reader.poll().is_pending());
            assert!(!writer.is_woken(), "nothing has happened");
        }
        peer.wake_write();
        assert!(writer.is_woken() && reader.is_woken(), "reader first: {reader_is_first}");
    }
}

/// The two directions of a transport keep a waker each. A wake by the older one of them
/// must not make the channel forget a task that it does not wake.
#[test]
fn stale_wake_of_both_tasks_forgets_neither() {
    let (io, peer) = mock();
    let (mut sink, mut stream) = channel(io).split();
    peer.writes([Write::Pending, Write::Pending]);
    let mut writer = Task::new(async { sink.send("x".into()).await });
    let mut reader = Task::new(async { stream.next().await });
    assert!(writer.poll().is_pending());
    assert!(reader.poll().is_pending());
    peer.wake_write();
    assert!(writer.poll().is_pending());
    peer.sends("one\n");
    assert_eq!(show(reader.poll()), "complete(one)");
    peer.wake_write();
    assert_eq!(show(writer.poll()), "done");
}

#[test]
fn waker_of_a_task_is_dropped_after_it_was_woken() {
    let (io, peer) = mock();
    let (mut sink, mut stream) = channel(io).split();
    peer.blocks_writes();
    let mut writer = Task::new(async { sink.send("x".into()).await });
    assert!(writer.poll().is_pending());
    let (reader, waker) = quiet();
    assert!(stream.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    peer.wake_write();
    assert_eq!(show(writer.poll()), "done");
    assert_eq!(Arc::strong_count(&reader), 1);
}

#[test]
fn waker_of_a_task_is_dropped_after_it_alone_was_woken() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    let pusher = channel.pusher();
    let (mut sink, mut stream) = channel.split();
    peer.blocks_writes();
    let mut writer = tokio_test::task::spawn(sink.send("x".into()));
    assert!(writer.poll().is_pending());
    let (reader, waker) = quiet();
    assert!(stream.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    // Only the inbox holds a waker, and only the reader waits.
    peer.forget_wakers();
    peer.wake_write();
    assert_eq!(show(writer.poll()), "done");
    drop(writer);
    pusher.try_push("y").unwrap();
    assert_eq!(show(poll!(sink.flush())), "done");
    assert_eq!(Arc::strong_count(&reader), 1);
}

#[test]
fn pusher_wakes_reader_after_writer_was_done() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    let pusher = channel.pusher();
    let (mut sink, mut stream) = channel.split();
    let mut reader = Task::new(async { stream.next().await });
    assert!(reader.poll().is_pending());
    assert_eq!(show(poll!(sink.flush())), "done");
    assert_eq!(show(poll!(pusher.push("two"))), "done");
    assert!(reader.poll().is_pending());
    assert_eq!(peer.written(), "two");
}

#[test]
fn abort_ends_both_tasks() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    let pusher = channel.pusher();
    let (mut sink, mut stream) = channel.split();
    peer.blocks_writes();
    let (mut turns, mut pusher) = (0, Some(pusher));
    let abort = poll_fn(|cx| {
        turns += 1;
        if turns == 3 {
            pusher.take().into_iter().for_each(|pusher| pusher.abort());
        }
        cx.waker().wake_by_ref();
        if turns < 3 { Poll::Pending } else { Poll::Ready(()) }
    });
    let tasks = async { futures::join!(abort, async { sink.send("x".into()).await }) };
    let ((_, sent), next) = run_both(tasks, async { stream.next().await });
    assert!(matches!(sent, Err(Error::Aborted | Error::Closed)), "{sent:?}");
    assert!(matches!(next, None | Some(Err(Error::Aborted))), "{next:?}");
    assert_ne!(sent.is_err_and(|e| matches!(e, Error::Aborted)), next.is_some());
}

#[test]
fn failed_write_of_one_task_ends_the_other() {
    let (io, peer) = mock();
    let (mut sink, mut stream) = channel(io).split();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    let write = async { sink.send("x".into()).await };
    let (next, sent) = run_both(async { stream.next().await }, write);
    assert_eq!((show(next), show(sent)), ("none".into(), "io(BrokenPipe)".into()));
}

#[test]
fn drive_works_over_each_transport() {
    for (io, peer) in [
        transport().build(),
        transport().buffers(5).build(),
        transport().holds("x").checks_retries().build(),
        transport().always_ready().build(),
    ] {
        let mut channel = channel(io);
        channel.push("x".repeat(20));
        peer.sends("one\ntwo\n");
        assert!(poll!(channel.drive(std::future::pending::<()>())).is_pending());
        assert!(peer.written().ends_with(&"x".repeat(20)), "sent and flushed");
        assert!(matches!(poll!(channel.drive(async { 7 })), Poll::Ready(Ok(7))));
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        peer.reading_fails(ErrorKind::ConnectionReset);
        let ended = anew!(channel.drive(std::future::pending::<()>()));
        assert_eq!(show(ended), "io(ConnectionReset)");
        assert_eq!(show(poll!(channel.next())), "complete(two)");
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn drive_goes_on_if_reading_fails_alone() {
    let (io, peer) = transport().reading_fails(ErrorKind::UnexpectedEof).build();
    let mut channel = channel(io);
    channel.push("answer");
    assert!(poll!(channel.drive(std::future::pending::<()>())).is_pending());
    assert_eq!(peer.written(), "answer");
    assert_eq!(show(poll!(channel.next())), "io(UnexpectedEof)");
}

#[test]
fn drive_that_is_ready_is_not_woken_again() {
    let (io, peer) = mock();
    let mut channel = channel(io);
    let (done, work) = tokio::sync::oneshot::channel();
    let mut drive = tokio_test::task::spawn(async move {
        channel.drive(work).await.unwrap().unwrap();
        channel
    });
    assert!(drive.poll().is_pending());
    done.send(()).unwrap();
    let Poll::Ready(channel) = drive.poll() else { panic!("it waits") };
    let (_sink, mut stream) = channel.split();
    let mut reader = Task::new(async { stream.next().await });
    assert!(reader.poll().is_pending());
    peer.sends("one\n");
    assert!(reader.is_woken() && !drive.is_woken());
    assert_eq!(show(reader.poll()), "complete(one)");
}

#[test]
fn drive_after_split_and_reunite_is_woken() {
    let (io, peer) = mock();
    let (mut sink, mut stream) = channel(io).split();
    let mut reader = Task::new(async { stream.next().await });
    assert!(reader.poll().is_pending());
    peer.blocks_writes();
    let mut writer = Task::new(async { sink.send("x".into()).await });
    assert!(writer.poll().is_pending());
    drop((reader, writer));
    let mut channel = sink.reunite(stream).unwrap();
    let mut drive = Task::new(channel.drive(std::future::pending::<()>()));
    assert!(drive.poll().is_pending());
    peer.wake_write();
    assert!(drive.is_woken());
    assert!(drive.poll().is_pending());
    peer.reading_fails(ErrorKind::ConnectionReset);
    assert!(drive.is_woken());
    assert_eq!(show(drive.poll()), "io(ConnectionReset)");
    assert_eq!(peer.written(), "x");
}

#[test]
fn run_closes_over_each_transport() {
    for (io, peer) in [
        transport().build(),
        transport().buffers(5).build(),
        transport().holds("x").checks_retries().build(),
        transport().always_ready().build(),
    ] {
        let mut channel = channel(io);
        peer.sends("bye\n");
        peer.ends();
        let ended = anew!(channel.run(&mut Answers(20)));
        assert!(matches!(ended, Ok(Run::Closed)), "{ended:?}");
        assert!(peer.written().ends_with(&"x".repeat(20)));
    }
}
