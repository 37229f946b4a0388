//! What a channel promises about its input: `next`, `receive`, the `Stream`.

mod mock;

use asynchat::{Channel, IntoTerminator, Parts, Terminator};
use bytes::{Bytes, BytesMut};
use futures::stream::FusedStream;
use futures::{StreamExt, TryFutureExt};
use mock::{
    BREAKS, Call, Give, Mock, ONE_WAY, Peer, Read, Step, Write, anew, assert_waits, mock, poll,
    producer, show,
};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

fn channel(terminator: impl IntoTerminator) -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (Channel::new(io, terminator), peer)
}

fn data(data: &str) -> Read {
    Read::Data(Bytes::copy_from_slice(data.as_bytes()))
}

// Switching works at any moment.

#[test]
fn next_that_is_ready_forgets_the_waker_of_a_dropped_one() {
    let (mut channel, peer) = channel("\r\n");
    peer.sends("abc|def");
    let (task, waker) = mock::quiet();
    assert!(channel.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    peer.forget_wakers();
    drop(waker);
    channel.set_terminator("|");
    assert_eq!(show(poll!(channel.next())), "complete(abc)");
    assert_eq!(Arc::strong_count(&task), 1);
}

#[test]
fn switching_works_while_pending_with_bytes_buffered() {
    let (mut channel, peer) = channel("\r\n");
    peer.sends("abc|def|");
    assert_waits!(peer, channel.next());
    assert_eq!(channel.unread(), b"abc|def|");
    channel.set_terminator("|");
    peer.asked();
    assert_eq!(show(poll!(channel.next())), "complete(abc)");
    assert_eq!(show(poll!(channel.next())), "complete(def)");
    assert_eq!(peer.asked(), [], "whole frames in the buffer come without new bytes");
    assert_waits!(peer, channel.next());
}

#[test]
fn switching_works_after_a_frame() {
    let (mut channel, peer) = channel("\n");
    peer.sends("5\nhelloGET|rest");
    assert_eq!(show(poll!(channel.next())), "complete(5)");
    channel.set_terminator(5);
    assert_eq!(show(poll!(channel.next())), "complete(hello)");
    assert_eq!(*channel.terminator(), Terminator::none(), "a count is spent when reached");
    channel.set_terminator("|");
    assert_eq!(show(poll!(channel.next())), "complete(GET)");
    channel.set_terminator(Terminator::none());
    assert_eq!(show(poll!(channel.next())), "partial(rest)");
}

#[test]
fn switching_works_after_frame_too_long() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(3);
    peer.sends("overlong");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    channel.set_terminator(2);
    peer.sends("tail\nabcd");
    assert_eq!(show(poll!(channel.next())), "complete(ab)", "skipped under the old terminator");
    channel.set_terminator("\n");
    assert_waits!(peer, channel.next());
}

#[test]
fn switching_works_between_frames_after_the_end_of_input() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo|three|4");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    channel.set_terminator("!");
    channel.codec_mut().set_max_length(100);
    // Reads the end of input.
    assert_eq!(show(poll!(channel.receive("|"))), "two");
    channel.set_terminator("|");
    assert_eq!(show(poll!(channel.next())), "complete(three)");
    channel.set_terminator(0);
    assert_eq!(show(poll!(channel.next())), "complete()");
    channel.set_terminator("|");
    assert_eq!(show(poll!(channel.next())), "partial(4)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn switching_works_on_buffered_frames_after_end_of_input() {
    let (mut channel, peer) = channel("!");
    channel.codec_mut().set_max_length(4);
    peer.sends("a|b|");
    assert_waits!(peer, channel.next());
    peer.sends("c|!d|e|");
    peer.ends();
    // Over-long under "!", exactly at the read that was the last one.
    assert_eq!(show(poll!(channel.next())), "too long(4)");
    channel.set_terminator("|");
    assert_eq!(show(poll!(channel.next())), "complete(d)");
    assert_eq!(show(poll!(channel.next())), "complete(e)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn frame_of_count_is_distinct_from_frame_of_end_of_input() {
    let (mut channel, peer) = channel("!");
    let (late, probe) = producer([Give::Pending, Give::Err(ErrorKind::Other)]);
    channel.push_with_producer(late);
    peer.sends("abcde");
    peer.ends();
    // It reads ahead to the end.
    assert!(poll!(channel.flush()).is_pending());
    assert_eq!(channel.unread(), b"abcde");
    probe.wake();
    assert_eq!(show(poll!(channel.receive(2))), "ab");
    assert_eq!(show(poll!(channel.receive(1))), "c");
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "de");
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "producer(Other)");
}

#[test]
fn change_of_terminator_wakes_no_task() {
    // `Framed` hangs here: it does not decode again before new bytes arrive.
    let (mut channel, peer) = channel("\r\n");
    peer.sends("a\nb\n");
    assert_waits!(peer, channel.next());
    channel.set_terminator("\n");
    let mut task = tokio_test::task::spawn(channel.next());
    assert_eq!(show(task.poll()), "complete(a)");
}

// Polling for input also sends output.

#[test]
fn push_followed_by_next_just_works() {
    let (mut channel, peer) = channel("\n");
    channel.push("hello\n");
    assert_waits!(peer, channel.next());
    assert_eq!(peer.written(), "hello\n");
    assert_eq!(peer.output_calls().last(), Some(&Call::Flush));
}

#[test]
fn push_followed_by_receive_just_works() {
    let (mut channel, peer) = channel("\n");
    channel.push_slice(b"hello\n");
    assert_waits!(peer, channel.receive("\n"));
    assert_eq!(peer.written(), "hello\n");
}

#[test]
fn output_is_sent_also_when_a_frame_is_already_buffered() {
    let (mut channel, peer) = channel("\n");
    peer.sends("a\nb\n");
    assert_eq!(show(poll!(channel.next())), "complete(a)");
    channel.push("answer");
    assert_eq!(show(poll!(channel.next())), "complete(b)");
    assert_eq!(peer.written(), "answer");
}

#[test]
fn a_write_that_is_blocked_never_stops_reading_in_next() {
    let (mut channel, peer) = channel("\n");
    peer.blocks_writes();
    channel.push(vec![b'x'; 300_000]);
    for _ in 0..100 {
        peer.sends("line\n");
        assert_eq!(show(poll!(channel.next())), "complete(line)");
    }
    peer.forget_wakers();
    assert_waits!(peer, channel.next());
    assert!(peer.has_reader() && peer.has_writer(), "it waits for both");
    let mut task = tokio_test::task::spawn(channel.next());
    tokio_test::assert_pending!(task.poll());
    peer.wake_write();
    assert!(task.is_woken());
    tokio_test::assert_pending!(task.poll());
    assert_eq!(peer.written_bytes().len(), 300_000);
}

#[test]
fn a_write_that_is_blocked_never_stops_reading_in_receive() {
    let (mut channel, peer) = channel("\n");
    peer.blocks_writes();
    channel.push(vec![b'x'; 300_000]);
    for _ in 0..100 {
        peer.sends("line\nbody");
        assert_eq!(show(poll!(channel.receive("\n"))), "line");
        assert_eq!(show(poll!(channel.receive(4))), "body");
    }
}

#[test]
fn flush_send_and_shutdown_do_not_read() {
    use futures::SinkExt;
    let (mut channel, peer) = channel("\n");
    peer.sends("line\n");
    channel.push("a");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(show(poll!(channel.send(Bytes::from("b")))), "done");
    peer.blocks_writes();
    channel.push("c");
    assert_waits!(peer, channel.flush());
    assert!(!peer.has_reader());
    assert_waits!(peer, channel.send(Bytes::from("d")));
    assert_waits!(peer, Channel::shutdown(&mut channel));
    assert!(!peer.has_reader());
    peer.wake_write();
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    assert_eq!(peer.asked(), [], "not one read");
    assert_eq!(show(poll!(channel.next())), "complete(line)", "and input goes on");
}

// Order at a failure.

#[test]
fn buffered_frames_precede_write_error_and_none() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    // Arrived, but not read yet.
    peer.sends("three\nfour\nfi");
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
    assert_eq!(show(poll!(channel.next())), "complete(three)");
    assert_eq!(show(poll!(channel.next())), "complete(four)");
    assert_eq!(show(poll!(channel.next())), "io(BrokenPipe)", "never Pending instead");
    for _ in 0..20 {
        assert_eq!(show(poll!(channel.next())), "none", "fused");
        peer.sends("more\n");
    }
}

#[test]
fn pending_next_reports_write_error_at_once() {
    let (mut channel, peer) = channel("\n");
    peer.writes([Write::Pending, Write::Err(ErrorKind::ConnectionReset)]);
    channel.push("x");
    let mut task = tokio_test::task::spawn(channel.next());
    tokio_test::assert_pending!(task.poll());
    peer.wake_write();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "io(ConnectionReset)");
    drop(task);
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn a_failed_write_ends_receive_too() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\n");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.receive("\n"))), "one");
    assert_eq!(show(poll!(channel.receive("\n"))), "io(BrokenPipe)");
    assert_eq!(show(poll!(channel.receive("\n"))), "eof()");
}

#[test]
fn a_failed_flush_and_a_failed_shutdown_surface_as_well() {
    let (mut one, peer) = channel("\n");
    peer.flushes([Step::Err(ErrorKind::TimedOut)]);
    one.push("x");
    assert_eq!(show(poll!(one.next())), "io(TimedOut)");
    assert_eq!(show(poll!(one.next())), "none");

    let (mut two, peer) = channel("\n");
    peer.shutdowns([Step::Err(ErrorKind::TimedOut)]);
    two.close_when_done();
    assert_eq!(show(poll!(two.next())), "io(TimedOut)");
    assert_eq!(show(poll!(two.next())), "none");
}

#[test]
fn read_error_is_reported_once_then_none() {
    let (mut channel, peer) = channel("\n");
    peer.reads([data("one\ntwo\nthr"), Read::Err(ErrorKind::ConnectionReset), data("ee\n")]);
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
    assert_eq!(show(poll!(channel.next())), "io(ConnectionReset)");
    for _ in 0..20 {
        assert_eq!(show(poll!(channel.next())), "none", "fused");
    }
}

#[test]
fn read_and_write_failure_report_one_error() {
    let (mut channel, peer) = channel("\n");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "io(BrokenPipe)");
    for _ in 0..5 {
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn read_and_later_write_failure_report_one_error() {
    let (mut channel, peer) = channel("\n");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    peer.writes([Write::Pending, Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "io(ConnectionReset)");
    peer.wake_write();
    for _ in 0..5 {
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn none_is_permanent_after_later_write_failure() {
    let (mut channel, peer) = channel("\n");
    peer.ends();
    peer.writes([Write::Pending, Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "none");
    assert!(channel.is_terminated());
    peer.wake_write();
    for _ in 0..5 {
        assert_eq!(show(poll!(channel.next())), "none");
        assert!(channel.is_terminated());
    }
    assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)", "flush still tells");
}

#[test]
fn stream_is_fused() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo");
    peer.ends();
    for expected in ["complete(one)", "partial(two)"] {
        assert!(!channel.is_terminated());
        assert_eq!(show(poll!(StreamExt::next(&mut channel))), expected);
    }
    assert_eq!(show(poll!(StreamExt::next(&mut channel))), "none");
    for _ in 0..20 {
        assert!(channel.is_terminated());
        assert_eq!(show(poll!(StreamExt::next(&mut channel))), "none");
    }
}

#[test]
fn after_a_read_error_input_is_over_and_output_goes_on() {
    for kind in ONE_WAY {
        let (mut channel, peer) = channel("\n");
        peer.reads([data("abc"), Read::Err(kind)]);
        assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
        channel.set_terminator("b");
        assert_eq!(show(poll!(channel.next())), "none", "what is buffered is no frame now");
        assert_eq!(channel.unread(), b"abc", "{kind:?}");
        channel.push("bye");
        assert_eq!(show(poll!(channel.next())), "none", "{kind:?}");
        assert_eq!(show(poll!(channel.flush())), "done", "{kind:?}");
        assert_eq!(peer.written(), "bye", "{kind:?}");
        assert_eq!(show(anew!(channel.shutdown())), "done", "{kind:?}");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown), "{kind:?}");
    }
}

#[test]
fn after_a_break_input_and_output_are_over() {
    for kind in BREAKS {
        let (mut channel, peer) = channel("\n");
        peer.reads([data("abc"), Read::Err(kind)]);
        peer.blocks_writes();
        channel.push("lost");
        let (waiting, probe) = producer([Give::Pending]);
        channel.push_with_producer(waiting);
        assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
        assert_eq!((channel.queued_bytes(), probe.drops()), (0, 1), "{kind:?}: dropped");
        channel.set_terminator("b");
        assert_eq!(show(poll!(channel.next())), "none", "what is buffered is no frame now");
        assert_eq!(channel.unread(), b"abc", "{kind:?}");
        peer.wake_write();
        channel.push("bye");
        assert_eq!(channel.queued_bytes(), 0, "{kind:?}");
        assert_eq!(show(channel.push_frame("bye")), "closed", "{kind:?}");
        assert_eq!(show(poll!(channel.next())), "none", "{kind:?}");
        assert_eq!(show(poll!(channel.ready())), "closed", "{kind:?}");
        assert_eq!(show(poll!(channel.flush())), "closed", "{kind:?}");
        assert_eq!(show(poll!(channel.shutdown())), "closed", "{kind:?}");
        assert_eq!(peer.written(), "", "{kind:?}");
        assert!(!peer.calls().contains(&Call::Shutdown), "{kind:?}");
    }
}

#[test]
fn a_break_is_reported_once_by_the_method_polled_first() {
    for kind in BREAKS {
        let (mut channel, peer) = channel("\n");
        peer.reads([data("one\n"), Read::Err(kind)]);
        channel.push_with_producer(producer([Give::Pending]).0);
        assert_eq!(show(anew!(channel.flush())), format!("io({kind:?})"));
        assert_eq!(show(poll!(channel.flush())), "closed", "{kind:?}");
        assert_eq!(show(poll!(channel.next())), "complete(one)", "{kind:?}");
        assert_eq!(show(poll!(channel.next())), "none", "{kind:?}");
    }
}

#[test]
fn an_interrupted_read_is_tried_again() {
    let (mut channel, peer) = channel("\n");
    peer.reads([Read::Err(ErrorKind::Interrupted), data("one\n")]);
    assert_eq!(show(poll!(channel.next())), "complete(one)");
}

#[test]
fn reads_double_while_full_and_halve_after_two_short_ones() {
    let (mut channel, peer) = channel(Terminator::none());
    let kib = |n: usize| n * 1024;
    let comes = [kib(4), kib(8), kib(5), 100, kib(3), 100, 1, 1];
    let asked = [kib(4), kib(8), kib(16), kib(16), kib(16), kib(8), kib(4), kib(4)];
    for length in comes {
        peer.sends(vec![b'x'; length]);
        let part = anew!(channel.next()).unwrap().unwrap();
        assert_eq!(part.data().len(), length);
    }
    assert_eq!(peer.asked(), asked);
}

// After FrameTooLong the stream goes on.

#[test]
fn stream_continues_in_buffered_bytes_after_frame_too_long() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(5);
    peer.sends("good\nmuch too long\nfine\n");
    assert_eq!(show(poll!(channel.next())), "complete(good)");
    peer.asked();
    assert_eq!(show(poll!(channel.next())), "too long(5)");
    assert_eq!(show(poll!(channel.next())), "complete(fine)");
    assert_eq!(peer.asked(), []);
}

#[test]
fn trickled_overlong_frame_is_one_error() {
    let (mut channel, peer) = channel("\r\n");
    channel.codec_mut().set_max_length(5);
    peer.reads("much too long\r\nfine\r\n".chars().map(|c| data(&c.to_string())));
    assert_eq!(show(poll!(channel.next())), "too long(5)");
    assert_eq!(show(poll!(channel.next())), "complete(fine)");
    assert_waits!(peer, channel.next());
}

#[test]
fn an_overlong_frame_that_the_end_of_input_cuts_ends_cleanly() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(5);
    peer.sends("much too long");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "too long(5)");
    assert_eq!(show(poll!(channel.next())), "none");
}

// receive

#[test]
fn receive_sets_terminator_and_returns_next_frame() {
    let rows: [(&str, Terminator, &str, &str); 9] = [
        ("a byte string", "\r\n".into(), "one\r\ntwo", "one"),
        ("a long byte string", "0123456789".into(), "one0123456789two", "one"),
        ("the first of several", Terminator::any(["||", "\n", ";"]), "one;two\n", "one"),
        ("a line ending in LF", Terminator::line(), "one\ntwo", "one"),
        ("a line ending in CR LF", Terminator::line(), "one\r\ntwo", "one"),
        ("a count", 3.into(), "onetwo", "one"),
        ("a count of none", 0.into(), "", ""),
        ("an empty frame", "\n".into(), "\ntwo", ""),
        ("an empty line", Terminator::line(), "\r\ntwo", ""),
    ];
    for (name, terminator, input, expected) in rows {
        // At once, and byte by byte, in both modes.
        for streaming in [false, true] {
            let (mut whole, peer) = channel("x");
            whole.codec_mut().set_streaming(streaming);
            peer.sends(input);
            assert_eq!(show(poll!(whole.receive(terminator.clone()))), expected, "{name}");

            let (mut trickle, peer) = channel("x");
            trickle.codec_mut().set_streaming(streaming);
            peer.reads(input.chars().flat_map(|c| [Read::Again, data(&c.to_string())]));
            assert_eq!(
                show(anew!(trickle.receive(terminator.clone()))),
                expected,
                "{name}, trickling"
            );
        }
    }
}

#[test]
fn receive_none_reads_to_the_end_of_input() {
    for streaming in [false, true] {
        let (mut channel, peer) = channel("\n");
        channel.codec_mut().set_streaming(streaming);
        peer.reads([data("one\n"), data("two"), Read::Again, data("three"), Read::Eof]);
        assert_eq!(show(anew!(channel.receive(Terminator::none()))), "one\ntwothree");
        assert_eq!(show(poll!(channel.receive(Terminator::none()))), "", "and the end is clean");
    }
}

#[test]
fn receive_none_stays_under_max_length() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(5);
    peer.sends("12345");
    assert_waits!(peer, channel.receive(Terminator::none()));
    peer.sends("6");
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "too long(5)");
    assert_eq!(channel.unread(), b"", "nothing is held");
    peer.sends("789012345");
    assert_waits!(peer, channel.receive(Terminator::none()));
    peer.ends();
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "");
}

#[test]
fn receive_none_of_exactly_max_length_is_legal() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(5);
    peer.sends("12345");
    peer.ends();
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "12345");
}

#[test]
fn receive_fails_with_partial_frame_at_end_of_input() {
    for terminator in [Terminator::from("\r\n"), Terminator::line(), 10.into()] {
        for streaming in [false, true] {
            let (mut channel, peer) = channel("x");
            channel.codec_mut().set_streaming(streaming);
            peer.reads([data("ab"), Read::Again, data("c\r"), Read::Eof]);
            assert_eq!(show(anew!(channel.receive(terminator.clone()))), "eof(abc\r)");
            assert_eq!(show(anew!(channel.receive(terminator.clone()))), "eof()");
        }
    }
}

#[test]
fn unexpected_eof_is_empty_when_input_ended_cleanly() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\n");
    peer.ends();
    assert_eq!(show(poll!(channel.receive("\n"))), "one");
    assert_eq!(show(poll!(channel.receive("\n"))), "eof()");
    assert_eq!(show(poll!(channel.receive("\n"))), "eof()");
}

#[test]
fn receive_is_always_whole_in_streaming_mode_and_the_mode_stays() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_streaming(true);
    peer.sends("he");
    assert_waits!(peer, channel.receive("\n"));
    peer.sends("llo\nwor");
    assert_eq!(show(poll!(channel.receive("\n"))), "hello");
    assert_eq!(show(poll!(channel.next())), "partial(wor)");
}

#[test]
fn receive_of_a_count_of_zero_does_not_wait() {
    let (mut channel, peer) = channel("\n");
    assert_eq!(show(poll!(channel.receive(0))), "");
    assert_eq!(peer.asked(), [], "not one read");
}

#[test]
fn count_over_limit_fails_before_its_bytes_arrive() {
    let (mut one, peer) = channel("\n");
    one.codec_mut().set_max_length(10);
    assert_eq!(show(poll!(one.receive(11))), "too long(10)");
    assert_eq!(peer.asked(), [], "not one read");
    peer.sends("12345678901next\n");
    assert_eq!(show(poll!(one.receive("\n"))), "next", "its bytes are skipped");

    let (mut two, peer) = channel(u64::MAX);
    assert_eq!(show(poll!(two.next())), "too long(65536)");
    assert_eq!(peer.asked(), [], "not one read");
}

#[test]
fn receive_finishes_skip_after_frame_too_long() {
    let (mut channel, peer) = channel("x");
    channel.codec_mut().set_max_length(5);
    peer.reads([data("too"), data("lo"), Read::Pending, data("ngtail\r"), data("\nok\n12")]);
    assert_waits!(peer, channel.receive("\r\n"));
    peer.wake_read();
    assert_eq!(show(poll!(channel.receive("\r\n"))), "too long(5)");
    assert_eq!(show(poll!(channel.receive("\n"))), "ok");
    assert_eq!(show(poll!(channel.receive(2))), "12");
}

#[test]
fn a_skip_is_not_finished_by_the_terminator_of_the_next_receive() {
    let (mut channel, peer) = channel("x");
    channel.codec_mut().set_max_length(5);
    peer.sends("too long;");
    assert_eq!(show(poll!(channel.receive("\n"))), "too long(5)");
    peer.sends("tail;\nok;");
    assert_eq!(show(poll!(channel.receive(";"))), "ok", "the tail never becomes a frame");
}

#[test]
fn receive_consumes_nothing_until_the_frame_is_complete() {
    let (mut channel, peer) = channel("x");
    peer.reads("hello world\r\n".chars().flat_map(|c| [Read::Again, data(&c.to_string())]));
    for n in 0..=12 {
        assert!(poll!(channel.receive("\r\n")).is_pending());
        assert_eq!(channel.unread(), &b"hello world\r\n"[..n]);
    }
    assert_eq!(show(poll!(channel.receive("\r\n"))), "hello world");
}

#[test]
fn receive_mut_returns_bytes_to_change_in_place() {
    let (mut channel, peer) = channel("x");
    peer.sends("one\ntwo\nab");
    peer.ends();
    let mut one = poll!(channel.receive_mut("\n")).map(Result::unwrap);
    let Poll::Ready(data) = &mut one else { panic!("it waits") };
    data.make_ascii_uppercase();
    assert_eq!(data, "ONE");
    assert_eq!(channel.unread(), b"two\nab", "the block is shared, the bytes are not");
    assert_eq!(poll!(channel.receive_mut(3)).map(Result::unwrap), Poll::Ready("two".into()));
    assert_eq!(show(poll!(channel.receive_mut("\r\n").map_ok(BytesMut::freeze))), "eof(\nab)");
}

#[test]
fn received_bytes_counts_all_read_bytes() {
    let (io, peer) = mock();
    let builder = Channel::builder().terminator("\n").linger(Duration::ZERO);
    let mut channel = builder.read_buf(&b"x"[..]).build(io);
    assert_eq!(channel.received_bytes(), 0, "somebody else has read that");
    peer.sends("one\ntw");
    assert_eq!(show(poll!(channel.next())), "complete(xone)");
    assert_eq!(channel.received_bytes(), 6);
    assert_waits!(peer, channel.next());
    channel.discard_buffers();
    peer.sends("o");
    assert_waits!(peer, channel.next());
    peer.sends("dropped");
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(channel.received_bytes(), 14, "discarded bytes count too");
}

#[test]
fn a_dropped_receive_may_be_followed_by_another_terminator() {
    let (mut channel, peer) = channel("x");
    peer.sends("a\nb|cd");
    assert_waits!(peer, channel.receive("\r\n"));
    assert_waits!(peer, channel.receive(100));
    assert_eq!(show(poll!(channel.receive("\n"))), "a");
    assert_eq!(show(poll!(channel.receive("|"))), "b");
    assert_waits!(peer, channel.receive(3));
    assert_eq!(show(poll!(channel.receive(2))), "cd");
}

// pause_when_full

/// Full above 1000 bytes, and a transport that takes nothing.
fn full_channel() -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    let builder = Channel::builder().terminator("\n").pause_when_full(true).in_buffer_size(8);
    let mut channel = builder.high_water(1000).low_water(200).build(io);
    peer.blocks_writes();
    channel.push(vec![b'x'; 1000]);
    (channel, peer)
}

#[test]
fn nothing_is_delivered_above_the_high_water_mark_if_paused() {
    let (mut channel, peer) = full_channel();
    peer.sends("one\ntwo\nthree\n");
    assert_waits!(peer, channel.next());
    assert_eq!(channel.unread(), b"one\ntwo\n", "one `in_buffer_size` is read ahead");
    peer.asked();
    assert_waits!(peer, channel.next());
    assert_waits!(peer, StreamExt::next(&mut channel));
    assert_waits!(peer, channel.receive("\n"));
    assert_waits!(peer, channel.receive_part());
    assert_waits!(peer, channel.peek(8 + 1));
    assert_eq!(peer.asked(), [], "reading has stopped");
    peer.wake_write();
    peer.writes([Write::Accept(700), Write::Pending]);
    assert_waits!(peer, channel.next());
    assert_eq!(channel.queued_bytes(), 300, "above the low mark");
    peer.wake_write();
    peer.writes([Write::Accept(100), Write::Pending]);
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.receive("\n"))), "two");
    assert_eq!(show(poll!(channel.next())), "complete(three)", "reading has resumed");
    assert_waits!(peer, channel.next());
}

#[test]
fn paused_corked_channel_sends_before_it_delivers() {
    let (mut channel, peer) = full_channel();
    channel.set_corked(true);
    peer.sends("one\n");
    assert_waits!(peer, channel.next());
    peer.wake_write();
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peer.written_bytes().len(), 1000);
}

#[test]
fn paused_channel_notices_a_break() {
    for kind in BREAKS {
        let (mut channel, peer) = full_channel();
        peer.reads([data("one\n"), Read::Err(kind)]);
        assert_eq!(show(poll!(channel.next())), "complete(one)", "what was received comes first");
        assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn paused_channel_keeps_a_read_error_until_output_is_sent() {
    for kind in ONE_WAY {
        let (mut channel, peer) = full_channel();
        peer.reads([data("one\n"), Read::Err(kind)]);
        assert_waits!(peer, channel.next());
        peer.wake_write();
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
    }
}

#[test]
fn paused_channel_counts_bytes_of_pushers() {
    let (io, peer) = mock();
    let builder = Channel::builder().terminator("\n").high_water(1000).low_water(200);
    let mut channel = builder.pause_when_full(true).build(io);
    let pusher = channel.pusher();
    peer.blocks_writes();
    peer.sends("one\n");
    pusher.try_push(vec![b'x'; 2000]).unwrap();
    assert_waits!(peer, channel.next());
    let mut push = tokio_test::task::spawn(pusher.push("more"));
    assert!(push.poll().is_pending());
    peer.wake_write();
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert!(push.is_woken());
    assert_eq!(show(push.poll()), "done");
}

// peek

/// What `peek` shows, in words.
fn peeked(channel: &mut Channel<Mock>, n: usize) -> String {
    show(poll!(channel.peek(n)).map_ok(Bytes::copy_from_slice))
}

#[test]
fn peek_shows_all_that_is_buffered_and_takes_nothing() {
    let (mut channel, peer) = channel("\n");
    assert_waits!(peer, channel.peek(3));
    peer.sends("on");
    assert_waits!(peer, channel.peek(3));
    peer.sends("e\ntwo\n");
    assert_eq!(peeked(&mut channel, 3), "one\ntwo\n");
    peer.asked();
    assert_eq!(peeked(&mut channel, 8), "one\ntwo\n");
    assert_eq!(peer.asked(), [], "enough was buffered");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peeked(&mut channel, 1), "two\n");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
}

#[test]
fn peek_of_nothing_never_waits() {
    let (mut channel, peer) = channel("\n");
    peer.sends("ab");
    assert_eq!(peeked(&mut channel, 0), "");
    assert_eq!(peer.calls(), [Call::Flush], "nothing is read");
    assert_waits!(peer, channel.next());
    assert_eq!(peeked(&mut channel, 0), "ab");
}

#[test]
fn peek_works_in_each_mode() {
    for terminator in [Terminator::none(), Terminator::count(5), Terminator::crlf()] {
        for streaming in [false, true] {
            let (io, peer) = mock();
            let builder = Channel::builder().terminator(terminator.clone()).streaming(streaming);
            let mut channel = builder.build(io);
            peer.sends("abc\r\n");
            assert_eq!(peeked(&mut channel, 1), "abc\r\n");
            let next = show(poll!(channel.next()));
            let whole = if terminator == Terminator::crlf() { "abc" } else { "abc\r\n" };
            let kind = if terminator.is_none() { "partial" } else { "complete" };
            assert_eq!(next, format!("{kind}({whole})"));
        }
    }
}

#[test]
fn peek_leaves_the_search_where_it_was() {
    for streaming in [false, true] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator("ababac").streaming(streaming).build(io);
        let mut seen = String::new();
        for byte in "xababababacababac".chars() {
            peer.sends(byte.to_string());
            let buffered = channel.unread().len();
            assert_eq!(peeked(&mut channel, buffered + 1).len(), buffered + 1);
            while let Poll::Ready(next) = poll!(channel.next()) {
                let frame = next.unwrap().unwrap();
                seen += std::str::from_utf8(frame.data()).unwrap();
                seen += if frame.is_complete() { "|" } else { "" };
            }
        }
        assert_eq!(seen, "xabab||", "streaming: {streaming}");
    }
}

#[test]
fn peek_shows_fewer_bytes_if_input_is_over() {
    for (ends, next) in [
        (Read::Eof, "none"),
        (Read::Err(ErrorKind::ConnectionReset), "io(ConnectionReset)"),
        (Read::Err(ErrorKind::Other), "io(Other)"),
    ] {
        let (mut channel, peer) = channel("\n");
        peer.reads([data("a\nb"), ends.clone()]);
        assert_eq!(peeked(&mut channel, 100), "a\nb");
        assert_eq!(peeked(&mut channel, 100), "a\nb", "again");
        assert_eq!(show(poll!(channel.next())), "complete(a)");
        if next == "none" {
            assert_eq!(show(poll!(channel.next())), "partial(b)");
        }
        assert_eq!(show(poll!(channel.next())), next);
        assert_eq!(show(poll!(channel.next())), "none");
        let left = if next == "none" { "" } else { "b" };
        assert_eq!(peeked(&mut channel, 1), left);
    }
}

#[test]
fn peek_leaves_a_failure_of_output_to_next() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(peeked(&mut channel, 100), "one\ntwo");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "io(BrokenPipe)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn peek_reads_a_bounded_amount_after_output_has_failed() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(usize::MAX);
    peer.reads([Read::Endless(Bytes::from_static(b"xxxx"))]);
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    anew!(channel.peek(usize::MAX)).unwrap();
    assert_eq!(show(anew!(channel.next())), "io(BrokenPipe)");
}

#[test]
fn peek_of_aborted_channel_is_empty() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\n");
    channel.pusher().abort();
    assert_eq!(peeked(&mut channel, 1), "");
    assert_eq!(show(poll!(channel.next())), "aborted");
}

#[test]
fn peek_above_max_length_reads_nothing() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(10);
    peer.sends("x".repeat(30));
    assert_eq!(peeked(&mut channel, 11), "too long(10)");
    assert_eq!(peer.calls(), []);
    assert_eq!(peeked(&mut channel, 10), "x".repeat(30));
    assert_eq!(show(poll!(channel.next())), "too long(10)");
}

#[test]
fn peek_does_not_show_a_skipped_frame() {
    let (mut channel, peer) = channel("\r\n");
    channel.codec_mut().set_max_length(3);
    peer.sends("too long");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    assert_waits!(peer, channel.peek(1));
    peer.sends("tail\r");
    assert_waits!(peer, channel.peek(1));
    assert_eq!(channel.unread(), b"\r");
    assert_eq!(peeked(&mut channel, 0), "", "part of a terminator");
    peer.sends("\nok\r\n");
    assert_eq!(peeked(&mut channel, 1), "ok\r\n");
    assert_eq!(show(poll!(channel.next())), "complete(ok)");

    peer.sends("ha");
    assert_waits!(peer, channel.next());
    channel.discard_buffers();
    peer.sends("rest\r");
    peer.ends();
    assert_eq!(peeked(&mut channel, 1), "", "the end does not show it either");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn peek_sends_output_meanwhile() {
    for corked in [false, true] {
        let (mut channel, peer) = channel("\n");
        channel.set_corked(corked);
        channel.push("220 Ready\n");
        assert_waits!(peer, channel.peek(1));
        assert_eq!(peer.written(), "220 Ready\n");
    }
}

// Cancel safety of input.

/// Cuts `input` in many ways, each with a pending read before every piece.
fn cuts(input: &str) -> impl Iterator<Item = Vec<Read>> + '_ {
    [1, 2, 3, 5, 7, 64, 4095, 4096, 4097, 8192, 9000].into_iter().map(move |size| {
        let pieces = input.as_bytes().chunks(size);
        pieces.flat_map(|p| [Read::Again, Read::Data(Bytes::copy_from_slice(p))]).collect()
    })
}

#[test]
fn a_dropped_next_loses_nothing_in_either_direction() {
    let long = "y".repeat(9_000);
    let input = format!("one\ntwo\n\n{long}\nlast\nrest");
    let expected = format!(
        "complete(one) complete(two) complete() complete({long}) complete(last) partial(rest) none"
    );
    for out_buffer_size in [1, 65536] {
        for script in cuts(&input) {
            let (io, peer) = mock();
            let builder = Channel::builder().terminator("\n").out_buffer_size(out_buffer_size);
            let mut channel = builder.build(io);
            peer.reads(script);
            peer.ends();
            peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(1000)], 50).flatten());
            channel.push(long.clone());
            channel.push("tail");
            let mut seen = vec![];
            while seen.last().is_none_or(|last| last != "none") {
                seen.push(show(anew!(channel.next())));
            }
            assert_eq!(seen.join(" "), expected);
            anew!(channel.flush()).unwrap();
            assert_eq!(peer.written(), format!("{long}tail"));
        }
    }
}

#[test]
fn a_dropped_receive_loses_nothing_in_either_direction() {
    let long = "y".repeat(9_000);
    let input = format!("5\nhello{long}\r\nrest");
    for script in cuts(&input) {
        for streaming in [false, true] {
            let (mut channel, peer) = channel("x");
            channel.codec_mut().set_streaming(streaming);
            peer.reads(script.clone());
            peer.ends();
            peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(7)], 50).flatten());
            channel.push("question");
            assert_eq!(show(anew!(channel.receive("\n"))), "5");
            assert_eq!(show(anew!(channel.receive(5))), "hello");
            assert_eq!(show(anew!(channel.receive("\r\n"))), long);
            assert_eq!(show(anew!(channel.receive(Terminator::none()))), "rest");
            anew!(channel.flush()).unwrap();
            assert_eq!(peer.written(), "question");
        }
    }
}

#[test]
fn dropped_receive_loses_nothing_during_skip() {
    let input = "x".repeat(50) + "\r\nok\r\n";
    for script in cuts(&input) {
        let (mut channel, peer) = channel("x");
        channel.codec_mut().set_max_length(10);
        peer.reads(script);
        assert_eq!(show(anew!(channel.receive("\r\n"))), "too long(10)");
        assert_eq!(show(anew!(channel.receive("\r\n"))), "ok");
    }
}

// Streaming, end of input.

#[test]
fn streaming_delivers_all_but_possible_terminator_prefix() {
    let (mut channel, peer) = channel("\r\n");
    channel.codec_mut().set_streaming(true);
    peer.sends("ab\r");
    assert_eq!(show(poll!(channel.next())), "partial(ab)");
    assert_waits!(peer, channel.next());
    peer.sends("\ncd");
    assert_eq!(show(poll!(channel.next())), "complete()");
    assert_eq!(channel.ended_by(), b"\r\n");
    assert_eq!(show(poll!(channel.next())), "partial(cd)");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn end_of_input_delivers_rest_with_prefix_as_partial() {
    let (mut channel, peer) = channel("\r\n");
    peer.sends("one\r\ntwo\r");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "partial(two\r)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn keep_terminator_and_ended_by_work_at_run_time() {
    let (mut channel, peer) = channel(Terminator::any([";", "\r\n"]));
    peer.sends("a;b\r\nc;");
    assert_eq!(show(poll!(channel.next())), "complete(a)");
    assert_eq!(channel.ended_by(), b";");
    channel.codec_mut().set_keep_terminator(true);
    assert_eq!(show(poll!(channel.next())), "complete(b\r\n)");
    assert_eq!(channel.ended_by(), b"\r\n");
    channel.codec_mut().set_keep_terminator(false);
    assert_eq!(show(poll!(channel.next())), "complete(c)");
}

// Read sizes.

#[test]
fn read_size_grows_while_reads_are_full() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().in_buffer_size(32 * 1024).streaming(true).build(io);
    peer.sends(vec![b'x'; 400_000]);
    let mut received = 0;
    while received < 400_000 {
        received += match anew!(channel.next()) {
            Some(Ok(frame)) => frame.data().len(),
            other => panic!("{other:?}"),
        };
    }
    let asked = peer.asked();
    assert!(asked[0] <= 4096, "small at first: {asked:?}");
    assert!(asked.is_sorted(), "growing: {asked:?}");
    assert_eq!(asked.last(), Some(&(32 * 1024)), "up to in_buffer_size: {asked:?}");
}

#[test]
fn reads_ask_for_no_more_than_in_buffer_size() {
    for in_buffer_size in [1, 100, 4096, 10_000, 65536] {
        let (io, peer) = mock();
        let builder = Channel::builder().in_buffer_size(in_buffer_size).terminator("\n");
        let mut channel = builder.max_length(usize::MAX).build(io);
        // One huge frame, so that the buffer grows far beyond a read.
        peer.sends(vec![b'x'; 200_000]);
        assert_waits!(peer, channel.next());
        let most = peer.asked().into_iter().max();
        assert!(most <= Some(in_buffer_size), "{most:?} asked, {in_buffer_size} allowed");
    }
}

#[test]
fn read_sizes_shrink_again_when_little_comes() {
    let (mut channel, peer) = channel(Terminator::none());
    peer.sends(vec![b'x'; 1_000_000]);
    let mut got = 0;
    while got < 1_000_000 {
        got += anew!(channel.next()).unwrap().unwrap().data().len();
    }
    assert_waits!(peer, channel.next());
    peer.asked();
    for _ in 0..50 {
        peer.sends("x");
        assert_eq!(show(poll!(channel.next())), "partial(x)");
    }
    assert!(peer.asked().last() <= Some(&4096));
}

// discard_buffers, unread, Debug

#[test]
fn discard_buffers_drops_input_and_returns_its_length() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    let discarded = channel.discard_buffers();
    assert_eq!(discarded.input_bytes, 7);
    assert_eq!(channel.unread(), b"");
    peer.sends("ee\nfour\n");
    assert_eq!(show(poll!(channel.next())), "complete(four)", "no tail becomes a frame");
}

#[test]
fn discard_buffers_skips_frame_through_split_terminator() {
    let (mut channel, peer) = channel("\r\n");
    peer.sends("unfinished\r");
    assert_waits!(peer, channel.next());
    channel.discard_buffers();
    peer.sends("\nnext\r\n");
    assert_eq!(show(poll!(channel.next())), "complete(next)");
}

#[test]
fn discard_buffers_skips_the_rest_of_a_count() {
    for streaming in [false, true] {
        let (mut channel, peer) = channel(10);
        channel.codec_mut().set_streaming(streaming);
        peer.sends("1234");
        let _ = poll!(channel.next());
        channel.discard_buffers();
        channel.set_terminator("\n");
        peer.sends("567890next\n");
        assert_eq!(show(poll!(channel.receive("\n"))), "next");
    }
}

#[test]
fn discard_buffers_continues_pending_skip() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(3);
    peer.sends("too long");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    channel.discard_buffers();
    peer.sends("tail\nok\n");
    assert_eq!(show(poll!(channel.next())), "complete(ok)");
}

#[test]
fn discard_buffers_drops_frames_that_are_too_long() {
    let rows: [(&str, Terminator, &str, &str, usize); 7] = [
        ("between others", "\n".into(), "two\ntoo long\nthree\nfo", "ur\n", 21),
        ("alone", "\n".into(), "too long\n", "", 9),
        ("unfinished", "\n".into(), "too lo", "ng\n", 6),
        ("half a terminator", "\r\n".into(), "too long\r", "\n", 8),
        ("a count", 5.into(), "helloxyz", "", 8),
        ("half a count", 5.into(), "hel", "lo", 3),
        ("records", Terminator::every(4), "onestwosth", "re", 10),
    ];
    for (name, terminator, buffered, rest, dropped) in rows {
        let (mut channel, peer) = channel("\n");
        channel.codec_mut().set_max_length(3);
        peer.sends(format!("one\n{buffered}"));
        assert_eq!(show(poll!(channel.next())), "complete(one)", "{name}");
        channel.set_terminator(terminator);
        assert_eq!(channel.discard_buffers().input_bytes, dropped, "{name}");
        channel.set_terminator("\n");
        peer.sends(format!("{rest}ok\n"));
        assert_eq!(show(poll!(channel.next())), "complete(ok)", "{name}");
    }
}

#[test]
fn discard_buffers_between_frames_skips_nothing() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(channel.discard_buffers().input_bytes, 4);
    peer.sends("three\n");
    assert_eq!(show(poll!(channel.next())), "complete(three)");
}

#[test]
fn a_huge_frame_comes_whole_and_the_next_one_too() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(usize::MAX);
    let huge = "x".repeat(3_000_000);
    peer.sends(format!("{huge}\nsmall\n"));
    // It has to give the runtime its turn in between.
    assert_waits!(peer, channel.next());
    let frame = anew!(channel.next()).unwrap().unwrap();
    assert_eq!(frame.into_complete().unwrap(), huge);
    assert_eq!(show(anew!(channel.next())), "complete(small)");
}

#[tokio::test]
async fn yield_after_write_failure_loses_no_frame() {
    use tokio::io::AsyncWriteExt;
    use tokio::task::coop::{consume_budget, has_budget_remaining};
    // How often the task has used up its turn when it comes to the channel, how
    // often that is polled, what comes first.
    for (yields, polls, first) in
        [(0, 1, "complete(one)"), (1, 2, "complete(one)"), (1000, 33, "none")]
    {
        let (fails, script) = mock();
        script.writes([Write::Err(ErrorKind::BrokenPipe)]);
        let (io, mut peer) = tokio::io::duplex(100);
        let mut channel = Channel::new(tokio::io::join(io, fails), "\n");
        channel.push("x");
        assert_eq!(show(channel.flush().await), "io(BrokenPipe)");
        peer.write_all(b"one\n").await.unwrap();
        let mut polled = 0;
        let came = poll_fn(|cx| {
            while polled < yields && has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            polled += 1;
            pin!(channel.next()).poll(cx)
        });
        assert_eq!((show(came.await), polled), (first.into(), polls));
        assert_eq!(show(channel.next().await), "none");
    }
}

#[test]
fn debug_of_a_channel_prints_lengths_not_content() {
    let (mut channel, peer) = channel("\n");
    peer.sends("SECRET");
    assert_waits!(peer, channel.next());
    channel.push("PASSWORD");
    let shown = format!("{channel:?}");
    assert!(!shown.contains("SECRET") && !shown.contains("PASSWORD"), "{shown}");
    assert!(shown.contains("unread: 6") && shown.contains("queued_bytes: 72"), "{shown}");
    peer.ends();
    let frame = anew!(channel.next()).unwrap().unwrap();
    assert_eq!(format!("{frame:?}"), "Partial(6 bytes)");
}

#[test]
fn debug_of_an_error_prints_lengths_not_content() {
    let (mut channel, peer) = channel("\n");
    peer.sends("SECRET");
    peer.ends();
    let error = anew!(channel.receive("\n")).unwrap_err();
    let shown = format!("{error:?} {error}");
    assert!(!shown.contains("SECRET") && shown.contains('6'), "{shown}");
}

#[test]
fn receive_to_the_end_does_not_take_a_failure_for_the_end() {
    for fails in ["reading", "writing"] {
        let (mut channel, peer) = channel("\n");
        peer.sends("abc");
        if fails == "reading" {
            peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
        } else {
            peer.writes([Write::Err(ErrorKind::ConnectionReset)]);
            channel.push("x");
        }
        let broken = show(anew!(channel.receive(Terminator::none())));
        assert_eq!(broken, "io(ConnectionReset)", "{fails}");
        assert_eq!(channel.unread(), b"abc");
        assert_eq!(show(poll!(channel.receive(Terminator::none()))), "eof(abc)", "{fails}");
        assert_eq!(show(poll!(channel.receive(Terminator::none()))), "eof()", "{fails}");
    }
}

#[test]
fn discard_buffers_after_frame_too_long_skips_that_frame_only() {
    for pieces in [vec!["defg\n"], vec!["d", "e", "f", "g", "\n"]] {
        let (mut channel, peer) = channel("\n");
        channel.codec_mut().set_streaming(true);
        peer.sends("abc");
        assert_eq!(show(poll!(channel.next())), "partial(abc)");
        channel.codec_mut().set_streaming(false);
        channel.codec_mut().set_max_length(2);
        pieces.iter().for_each(|piece| peer.sends(piece));
        assert_eq!(show(anew!(channel.next())), "too long(2)");
        assert_waits!(peer, channel.next());
        channel.discard_buffers();
        peer.sends("ok\n");
        assert_eq!(show(anew!(channel.next())), "complete(ok)", "in {} pieces", pieces.len());
    }
}

#[test]
fn none_is_permanent_after_later_producer_failure() {
    let (mut channel, peer) = channel("\n");
    peer.ends();
    peer.shutdowns([Step::Pending]);
    assert_eq!(show(poll!(channel.next())), "none");
    let fails = std::io::Error::from(ErrorKind::Other);
    channel.push_with_producer(futures::stream::iter([Err::<Bytes, _>(fails)]));
    assert!(channel.is_terminated());
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn discard_buffers_twice_skips_an_unfinished_frame_once() {
    let (mut channel, peer) = channel(3);
    channel.codec_mut().set_streaming(true);
    peer.sends("ab");
    assert_eq!(show(poll!(channel.next())), "partial(ab)");
    // There is nothing to skip to, and then nothing left to skip.
    channel.set_terminator(Terminator::none());
    channel.discard_buffers();
    channel.set_terminator("\n");
    channel.discard_buffers();
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
}

#[test]
fn discard_buffers_drops_nothing_that_has_not_begun() {
    let (mut channel, peer) = channel(0);
    channel.discard_buffers();
    assert_eq!(show(poll!(channel.next())), "complete()", "a count of 0 is not spent");
    channel.codec_mut().set_max_length(3);
    channel.set_terminator(5);
    channel.discard_buffers();
    assert_eq!(*channel.terminator(), Terminator::from(5));
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    peer.sends("hello");
    assert_waits!(peer, channel.next());
}

#[test]
fn discard_buffers_after_skip_drops_no_unstarted_frame() {
    let (mut channel, peer) = channel("\n");
    peer.sends("\nabc");
    assert_eq!(show(poll!(channel.next())), "complete()");
    channel.codec_mut().set_max_length(2);
    channel.set_terminator(3);
    assert_eq!(show(poll!(channel.next())), "too long(2)");
    assert_eq!(channel.unread(), b"abc", "to be skipped");
    channel.set_terminator(0);
    assert_eq!(channel.discard_buffers().input_bytes, 3);
    assert_eq!(show(poll!(channel.next())), "complete()", "a count of 0 is not spent");
}

#[test]
fn discard_buffers_keeps_ended_by() {
    let (mut channel, peer) = channel(Terminator::line());
    peer.sends("one\r\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    channel.discard_buffers();
    assert_eq!(channel.ended_by(), b"\r\n");
    peer.sends("three\n");
    assert_eq!(show(poll!(channel.next())), "complete(three)");
    assert_eq!(channel.ended_by(), b"\n");
}

#[test]
fn receive_after_failure_returns_no_skipped_bytes() {
    let (mut channel, peer) = channel("abc");
    channel.codec_mut().set_max_length(3);
    peer.sends("xxxxxxxxab");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(anew!(channel.next())), "too long(3)");
    assert_eq!(show(anew!(channel.next())), "io(ConnectionReset)");
    assert_eq!(show(anew!(channel.receive("\n"))), "eof()");
}

// receive_within

#[test]
fn receive_within_has_a_limit_of_its_own_and_leaves_the_other() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(4);
    peer.sends("12345\n123456\n1234512345\n");
    assert_eq!(show(poll!(channel.receive_within(5, "\n"))), "12345", "more than max_length");
    assert_eq!(show(poll!(channel.receive_within(5, "\n"))), "too long(5)");
    assert_eq!(show(poll!(channel.receive_within(5, 5))), "12345");
    assert_eq!(show(poll!(channel.next())), "partial(12345\n)", "the count is spent");
    channel.set_terminator("\n");
    peer.sends("1234\n12345\n");
    assert_eq!(show(poll!(channel.next())), "complete(1234)");
    assert_eq!(show(poll!(channel.receive("\n"))), "too long(4)");
    peer.sends("12345");
    assert_eq!(show(poll!(channel.receive_within(4, 5))), "too long(4)");
    assert_waits!(peer, channel.receive_within(4, "\n"));
    peer.sends("abc\n");
    assert_eq!(show(poll!(channel.receive_within(4, "\n"))), "abc");
    peer.sends("12345");
    peer.ends();
    assert_eq!(show(poll!(channel.receive_within(4, Terminator::none()))), "too long(4)");
    assert_eq!(show(poll!(channel.receive_within(4, Terminator::none()))), "");
}

#[test]
fn dropped_receive_within_continues_under_another_limit() {
    let (mut channel, peer) = channel("\n");
    peer.reads([data("123"), Read::Again, data("45"), Read::Again, data("6\n")]);
    for _ in 0..2 {
        assert_waits!(peer, channel.receive_within(100, "\n"));
    }
    assert_eq!(show(anew!(channel.receive_within(5, "\n"))), "too long(5)");
}

// receive_part

#[test]
fn receive_part_returns_parts_in_either_mode() {
    for streaming in [false, true] {
        let (mut channel, peer) = channel("\n");
        channel.codec_mut().set_streaming(streaming);
        channel.codec_mut().set_max_length(2);
        channel.set_terminator(10);
        assert_waits!(peer, channel.receive_part());
        peer.sends("hello");
        assert_eq!(show(poll!(channel.receive_part())), "partial(hello)", "above max_length");
        assert_waits!(peer, channel.receive_part());
        peer.sends("worldab\n");
        assert_eq!(show(poll!(channel.receive_part())), "complete(world)");
        assert_eq!(show(poll!(channel.receive("\n"))), "ab");
        channel.set_terminator(0);
        assert_eq!(show(poll!(channel.receive_part())), "complete()");
    }
}

#[test]
fn receive_part_leaves_the_mode_as_it_was() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntw");
    assert_eq!(show(poll!(channel.receive_part())), "complete(one)");
    assert_waits!(peer, channel.next());
    peer.sends("o\n");
    assert_eq!(show(poll!(channel.next())), "complete(two)", "whole, not in parts");
}

#[test]
fn receive_part_holds_only_terminator_prefix() {
    let (mut channel, peer) = channel("\r\n.\r\n");
    peer.sends("text\r\n.");
    assert_eq!(show(poll!(channel.receive_part())), "partial(text)");
    assert_waits!(peer, channel.receive_part());
    peer.sends(".\r\n.\r");
    assert_eq!(show(poll!(channel.receive_part())), "partial(\r\n..)");
    peer.sends("\nnext");
    assert_eq!(show(poll!(channel.receive_part())), "complete()");
}

#[test]
fn receive_part_returns_all_bytes_before_unexpected_eof() {
    let (mut channel, peer) = channel("\r\n");
    peer.reads([data("abc"), Read::Again, data("d\r"), Read::Eof]);
    assert_eq!(show(anew!(channel.receive_part())), "partial(abc)");
    assert_eq!(show(anew!(channel.receive_part())), "partial(d)");
    assert_eq!(show(anew!(channel.receive_part())), "partial(\r)", "what was held");
    assert_eq!(show(anew!(channel.receive_part())), "eof()");
    assert_eq!(show(anew!(channel.receive_part())), "eof()");
}

#[test]
fn receive_part_without_terminator_completes_at_end_of_input() {
    let (mut channel, peer) = channel(Terminator::none());
    peer.reads([data("abc"), Read::Again, data("d"), Read::Eof]);
    assert_eq!(show(anew!(channel.receive_part())), "partial(abc)");
    assert_eq!(show(anew!(channel.receive_part())), "partial(d)");
    assert_eq!(show(anew!(channel.receive_part())), "complete()");
}

#[test]
fn dropped_receive_part_loses_nothing_and_sends_output() {
    let (mut channel, peer) = channel("\n");
    peer.reads([Read::Again, data("a"), Read::Again, Read::Again, data("b\n"), Read::Again]);
    channel.push("go");
    assert_eq!(show(anew!(channel.receive_part())), "partial(a)");
    assert_eq!(show(anew!(channel.receive_part())), "complete(b)");
    assert_eq!(peer.written(), "go");
}

#[test]
fn receive_part_first_finishes_a_skip() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(3);
    peer.sends("overlong");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    channel.set_terminator(4);
    peer.sends("tail\nbo");
    assert_eq!(show(poll!(channel.receive_part())), "partial(bo)");
}

#[test]
fn receive_part_ends_with_the_error_of_the_transport() {
    let (mut channel, peer) = channel("\n");
    peer.reads([data("a"), Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.receive_part())), "partial(a)");
    assert_eq!(show(poll!(channel.receive_part())), "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.receive_part())), "eof()");
}

#[test]
fn receive_part_to_end_of_input_precedes_output_errors() {
    // A write that is blocked, with a close behind it.
    let (mut one, peer) = channel(Terminator::none());
    peer.blocks_writes();
    peer.sends("abc");
    peer.ends();
    one.push("x");
    one.close_when_done();
    assert_eq!(show(poll!(one.receive_part())), "partial(abc)");
    assert_eq!(show(poll!(one.receive_part())), "complete()");
    assert_eq!(show(poll!(one.receive_part())), "complete()", "and the end is clean");
    // A write that failed.
    let (mut two, peer) = channel(Terminator::none());
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    peer.sends("abc");
    peer.ends();
    two.push("x");
    assert_eq!(show(poll!(two.receive_part())), "partial(abc)");
    assert_eq!(show(poll!(two.receive_part())), "complete()");
    assert_eq!(show(poll!(two.next())), "io(BrokenPipe)");
}

#[test]
fn ended_by_is_empty_after_end_of_input() {
    let (mut channel, peer) = channel("\n");
    peer.sends("abc\n");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "complete(abc)");
    assert_eq!(channel.ended_by(), b"\n");
    channel.set_terminator(Terminator::none());
    assert_eq!(show(poll!(channel.receive_part())), "complete()");
    assert_eq!(channel.ended_by(), b"");
}

#[test]
fn receive_part_returns_buffered_prefix_after_failure() {
    let (mut channel, peer) = channel("\r\n");
    peer.reads([data("abc\r"), Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.receive_part())), "partial(abc)");
    assert_eq!(show(poll!(channel.receive_part())), "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.receive_part())), "eof(\r)");
}

#[test]
fn no_frame_follows_skip_ended_by_end_of_input() {
    for corked in [false, true] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator("\n").corked(corked).build(io);
        peer.sends("ab");
        peer.ends();
        assert_eq!(show(poll!(channel.next())), "partial(ab)");
        assert_eq!(show(poll!(channel.receive_within(5, 1000))), "too long(5)");
        assert_eq!(show(poll!(channel.receive(0))), "eof()", "corked: {corked}");
    }
}

#[test]
fn next_yields_over_buffered_frames() {
    let (mut channel, peer) = channel("\n");
    peer.sends("\n".repeat(4000));
    let mut frames = 0;
    let mut task = loop {
        let mut task = tokio_test::task::spawn(channel.next());
        if task.poll().is_pending() {
            break task;
        }
        frames += 1;
        assert!(frames < 4000, "all of them in one turn");
    };
    assert!(task.is_woken(), "Pending with a wake of its own");
    assert_eq!(show(task.poll()), "complete()", "and it goes on");
}

#[test]
fn next_yields_over_counts_of_zero() {
    for way in ["next", "receive", "receive_part"] {
        let (mut channel, _peer) = channel("\n");
        for _ in 0..3 {
            let mut frames = 0;
            let take = async {
                loop {
                    channel.set_terminator(0);
                    let frame = match way {
                        "next" => show(channel.next().await),
                        "receive" => show(channel.receive(0).await),
                        _ => show(channel.receive_part().await),
                    };
                    assert!(["complete()", ""].contains(&frame.as_str()), "{way}: {frame}");
                    frames += 1;
                    assert!(frames < 4000, "{way}: all of them in one turn");
                }
            };
            let mut task = tokio_test::task::spawn(take);
            let pending: Poll<()> = task.poll();
            assert!(pending.is_pending());
            assert!(task.is_woken(), "{way}: Pending with a wake of its own");
            drop(task);
            assert_eq!(frames, 64 * 1024 / 64, "{way}");
        }
    }
}

#[test]
fn none_stays_none_however_often_it_is_asked_for() {
    let (mut channel, peer) = channel("\n");
    peer.ends();
    for _ in 0..5000 {
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn codec_resets_progress_after_receive() {
    for (begun, taken) in [("abcdef", "eof(abcdef)"), (TOO_LONG, "eof()")] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator("\n").max_length(100).build(io);
        peer.sends(begun);
        peer.reads([Read::Err(ErrorKind::UnexpectedEof)]);
        if begun == TOO_LONG {
            assert_eq!(show(anew!(channel.receive("\n"))), "too long(100)");
        }
        assert_eq!(show(anew!(channel.receive("\n"))), "io(UnexpectedEof)");
        assert_eq!(show(anew!(channel.receive("\n"))), taken);
        let Parts { mut codec, mut read_buf, .. } = channel.into_parts();
        read_buf.extend_from_slice(b"ab\ncdefgh\n");
        let frame = tokio_util::codec::Decoder::decode(&mut codec, &mut read_buf);
        assert_eq!(show(frame), "complete(ab)", "{taken}");
    }
}

/// A frame of more than 100 bytes, without its end.
const TOO_LONG: &str = match std::str::from_utf8(&[b'x'; 200]) {
    Ok(text) => text,
    Err(_) => "",
};

#[test]
fn receive_to_the_end_reports_a_failed_producer_after_it() {
    let (mut channel, peer) = channel("\n");
    channel.push_with_producer(producer([Give::Err(ErrorKind::NotFound)]).0);
    peer.sends("abc");
    peer.ends();
    assert_eq!(show(anew!(channel.receive(Terminator::none()))), "abc");
    assert_eq!(show(anew!(channel.receive(Terminator::none()))), "producer(NotFound)");
    assert_eq!(show(anew!(channel.receive(Terminator::none()))), "eof()");
}

#[test]
fn receive_within_refuses_a_longer_frame_that_is_buffered() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\nlonger\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.receive_within(3, "\n"))), "too long(3)");
    assert_eq!(show(poll!(channel.receive_within(3, "\n"))), "two");
}
