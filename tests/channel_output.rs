//! What a channel promises about its output: the queue, producers, `Sink`,
//! `flush`, `close`.

mod mock;

use asynchat::{Channel, Error, Terminator, producer as ready_made};
use bytes::Bytes;
use futures::{Sink, SinkExt, StreamExt, stream};
use mock::{
    BREAKS, Call, Give, Mock, Peer, Read, Step, Write, anew, assert_waits, chunk, mock, poll,
    producer, show,
};
use std::cell::Cell;
use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_test::task::spawn;

fn channel() -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (Channel::new(io, "\n"), peer)
}

/// With out_buffer_size 1 and with the default: small payloads never reach the
/// default bound.
fn both() -> [(Channel<Mock>, Peer); 2] {
    [1, 65536].map(|size| {
        let (io, peer) = mock();
        (Channel::builder().terminator("\n").out_buffer_size(size).build(io), peer)
    })
}

fn poll_ready(channel: &mut Channel<Mock>) -> Poll<Result<(), Error>> {
    tokio_test::task::spawn(()).enter(|cx, _| Pin::new(channel).poll_ready(cx))
}

/// A repeatable source of sizes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % below
    }
}

// Gathering.

#[test]
fn many_small_chunks_go_out_in_one_write() {
    for vectored in [true, false] {
        let (mut channel, peer) = channel();
        if !vectored {
            peer.is_not_vectored();
        }
        let mut expected = String::new();
        for i in 0..1000 {
            channel.push(format!("{i},"));
            channel.push_slice(b"x;");
            expected += &format!("{i},x;");
        }
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), expected);
        let calls = peer.calls();
        assert_eq!(calls.len(), 2, "one write and one flush: {calls:?}");
        assert_eq!(calls[1], Call::Flush);
    }
}

#[test]
fn chunk_alone_of_512_bytes_is_not_copied_and_more_is_gathered() {
    let (mut channel, peer) = channel();
    let (first, large) = (Bytes::from(vec![b'a'; 512]), Bytes::from(vec![b'd'; 4096]));
    channel.push(first.clone());
    assert_eq!(channel.queued_bytes(), 64 + 512);
    channel.push("b");
    channel.push("c");
    assert_eq!(channel.queued_bytes(), 64 + 512 + 64 + 2, "one chunk more");
    channel.push(large.clone());
    channel.push_slice(b"e");
    channel.push_slice(&large);
    assert_eq!(show(poll!(channel.flush())), "done");
    let pieces = peer.pieces().concat();
    assert_eq!(pieces[0], (first.as_ptr() as usize, 512));
    assert_eq!(pieces[2], (large.as_ptr() as usize, 4096));
    let lengths: Vec<_> = pieces.iter().map(|&(_, length)| length).collect();
    assert_eq!(lengths[..5], [512, 2, 4096, 1, 4096], "a large one is not taken to pieces");
}

#[test]
fn shorter_chunks_are_gathered_from_the_first() {
    let (mut channel, peer) = channel();
    channel.push(vec![b'a'; 511]);
    channel.push("b");
    assert_eq!(channel.queued_bytes(), 64 + 512);
    assert_eq!(show(poll!(channel.flush())), "done");
    let pieces = peer.pieces().concat();
    assert_eq!(pieces.iter().map(|&(_, length)| length).collect::<Vec<_>>(), [512]);
}

#[test]
fn small_chunks_beyond_a_block_go_on_in_further_ones() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().out_buffer_size(1 << 20).build(io);
    let data: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
    data.chunks(999).for_each(|chunk| channel.push_slice(chunk));
    assert_eq!(show(poll!(channel.flush())), "done");
    assert!(peer.written_bytes() == data, "in order");
    let lengths: Vec<_> = peer.pieces().concat().iter().map(|&(_, length)| length).collect();
    let kib = |n: usize| n * 1024;
    let full = [kib(4), kib(4), kib(8), kib(16), kib(32), kib(64), kib(64)];
    assert_eq!(lengths[..7], full, "all but the last are full");
    assert_eq!(lengths[7..], [200_000 - kib(192)]);
}

#[test]
fn where_the_io_is_not_vectored_small_chunks_are_gathered_too() {
    let (mut channel, peer) = channel();
    peer.is_not_vectored();
    channel.push("a");
    channel.push("b");
    channel.push("c");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.calls(), [Call::Write(3), Call::Flush]);
}

#[test]
fn large_chunk_is_copied_if_transport_is_not_vectored() {
    let (mut channel, peer) = channel();
    peer.is_not_vectored();
    channel.push("head");
    channel.push(vec![b'x'; 8192]);
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.calls(), [Call::Write(8196), Call::Flush]);
}

#[test]
fn the_small_chunks_of_a_producer_are_gathered() {
    for vectored in [true, false] {
        let (mut channel, peer) = channel();
        if !vectored {
            peer.is_not_vectored();
        }
        channel.push_with_producer(ready_made::from_iter(["a"; 200]));
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "a".repeat(200));
        assert_eq!(peer.calls().len(), 2);
    }
}

#[test]
fn small_chunks_are_gathered_up_to_out_buffer_size() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().out_buffer_size(100).build(io);
    channel.push_with_producer(ready_made::from_iter(["0123456789"; 100]));
    assert_eq!(show(poll!(channel.flush())), "done");
    let writes = peer.output_calls();
    for call in &writes[..writes.len() - 1] {
        match call {
            Call::Write(n) | Call::Vectored(_, n) => assert_eq!(*n, 100),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(writes.len(), 11);
}

#[test]
fn a_large_chunk_is_written_from_where_it_lies() {
    let (mut channel, peer) = channel();
    let large = Bytes::from(vec![b'x'; 100_000]);
    channel.push(large.clone());
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.pieces(), [[(large.as_ptr() as usize, 100_000)]]);
}

#[test]
fn large_chunk_is_vectored_with_preceding_bytes() {
    let (mut channel, peer) = channel();
    let large = Bytes::from(vec![b'x'; 100_000]);
    channel.push("head");
    channel.push(large.clone());
    channel.push_slice(b"tail");
    assert_eq!(show(poll!(channel.flush())), "done");
    let pieces = peer.pieces();
    assert_eq!(pieces[0][1], (large.as_ptr() as usize, 100_000), "never copied");
    assert_eq!(pieces[0][0].1, 4);
    let written = peer.written();
    assert!(written.starts_with("headx") && written.ends_with("xtail"));
    let calls = peer.calls();
    assert!(matches!(calls[0], Call::Vectored(2.., 100_004..)), "{calls:?}");
}

#[test]
fn a_large_chunk_of_a_producer_is_not_copied_either() {
    for (mut channel, peer) in both() {
        let large = Bytes::from(vec![b'x'; 4096]);
        channel.push_with_producer(ready_made::from_iter([Bytes::from("head"), large.clone()]));
        assert_eq!(show(poll!(channel.flush())), "done");
        let pieces: Vec<_> = peer.pieces().concat();
        assert!(pieces.contains(&(large.as_ptr() as usize, 4096)), "{pieces:?}");
    }
}

#[test]
fn partial_writes_at_every_length_keep_the_order() {
    let large: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
    let expected = [b"head".as_slice(), &large, b"middle", &large, b"tail"].concat();
    for vectored in [true, false] {
        for at in 1..expected.len() {
            let (mut channel, peer) = channel();
            if !vectored {
                peer.is_not_vectored();
            }
            peer.writes([Write::Accept(at), Write::Again]);
            channel.push("head");
            channel.push(large.clone());
            channel.push("middle");
            channel.push(large.clone());
            channel.push_slice(b"tail");
            anew!(channel.flush()).unwrap();
            assert!(peer.written_bytes() == expected, "cut at {at}");
        }
    }
}

#[test]
fn output_is_concatenation_of_random_chunks() {
    const SIZES: [usize; 8] = [1, 10, 600, 4095, 4097, 8191, 8193, 70_000];
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let (io, peer) = mock();
        let out_buffer_size = [1, 100, 8192, 65536][dice.roll(4)];
        let mut channel = Channel::builder().out_buffer_size(out_buffer_size).build(io);
        if seed % 3 == 0 {
            peer.is_not_vectored();
        }
        let mut expected = vec![];
        for turn in 0..40u8 {
            let mut size = SIZES[dice.roll(8)];
            size = 1 + dice.roll(size);
            let data: Vec<u8> = (0..size).map(|i| turn.wrapping_add(i as u8)).collect();
            expected.extend_from_slice(&data);
            match dice.roll(4) {
                0 => channel.push(data),
                1 => channel.push_slice(&data),
                2 => channel.push_with_producer(ready_made::from_iter(
                    data.chunks(1 + size / 3).map(Bytes::copy_from_slice).collect::<Vec<_>>(),
                )),
                _ => Pin::new(&mut channel).start_send(data.into()).unwrap(),
            }
            let most = SIZES[dice.roll(8)];
            let most = 1 + dice.roll(most);
            peer.writes([Write::Accept(most), Write::Again]);
            let _ = poll!(channel.next());
        }
        anew!(channel.flush()).unwrap();
        assert!(peer.written_bytes() == expected, "seed {seed}");
        assert_eq!(channel.queued_bytes(), 0);
    }
}

#[test]
fn all_share_one_queue_in_call_order() {
    for (mut channel, peer) in both() {
        channel.codec_mut().set_encode_terminator("\n");
        channel.push("a");
        channel.push_slice(b"b");
        channel.push_with_producer(ready_made::from_iter(["c", "d"]));
        channel.push("e");
        assert_eq!(show(poll!(channel.feed(Bytes::from("f")))), "done");
        channel.push_with_producer(stream::once(async { io::Result::Ok("g") }));
        channel.push(vec![b'H'; 10_000]);
        channel.push("i");
        anew!(channel.flush()).unwrap();
        assert_eq!(peer.written(), format!("abcdef\ng{}i", "H".repeat(10_000)));
    }
}

#[test]
fn an_interrupted_write_flush_or_shutdown_is_tried_again() {
    let (mut channel, peer) = channel();
    peer.writes([Write::Err(ErrorKind::Interrupted)]);
    peer.flushes([Step::Err(ErrorKind::Interrupted)]);
    peer.shutdowns([Step::Err(ErrorKind::Interrupted)]);
    channel.push("a");
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    assert_eq!(peer.written(), "a");
    let made = [Call::Flush, Call::Shutdown];
    assert_eq!(peer.output_calls().split_off(1), made, "each once more, until it is done");
}

#[test]
fn a_write_of_zero_bytes_is_an_error_not_a_loop() {
    let (mut channel, peer) = channel();
    peer.writes([Write::Zero]);
    channel.push("a");
    assert_eq!(show(poll!(channel.flush())), "io(WriteZero)");
}

// Producers.

#[test]
fn producers_are_polled_one_at_a_time_in_order() {
    for (mut channel, peer) in both() {
        let (first, first_probe) = producer([chunk("a"), Give::Pending, chunk("b")]);
        let (second, second_probe) = producer([chunk("c")]);
        channel.push_with_producer(first);
        channel.push_with_producer(second);
        assert!(poll!(channel.flush()).is_pending());
        assert_eq!(peer.written(), "a", "Pending flushes what was before");
        assert_eq!(peer.output_calls().last(), Some(&Call::Flush));
        assert_eq!(second_probe.polls(), 0);
        first_probe.wake();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "bc");
        assert_eq!((first_probe.drops(), second_probe.drops()), (1, 1));
    }
}

#[test]
fn pending_producer_wakes_polling_task() {
    let (mut channel, peer) = channel();
    let (stream, probe) = producer([Give::Pending, chunk("a")]);
    channel.push_with_producer(stream);
    let mut task = tokio_test::task::spawn(channel.next());
    tokio_test::assert_pending!(task.poll());
    assert!(!task.is_woken());
    probe.wake();
    assert!(task.is_woken());
    tokio_test::assert_pending!(task.poll());
    assert_eq!(peer.written(), "a");
}

#[test]
fn producer_is_polled_only_below_output_bound() {
    for (mut channel, peer) in both() {
        peer.blocks_writes();
        // Above both bounds.
        channel.push(vec![b'x'; 70_000]);
        let (stream, probe) = producer([chunk("a"), chunk("b")]);
        channel.push_with_producer(stream);
        for _ in 0..10 {
            assert!(poll!(channel.flush()).is_pending());
            assert!(poll!(channel.next()).is_pending());
        }
        assert_eq!(probe.polls(), 0);
        peer.wake_write();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(probe.polls(), 3);
    }
}

#[test]
fn endless_producer_stays_below_bound_while_write_is_blocked() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().out_buffer_size(1000).build(io);
    peer.blocks_writes();
    let (stream, probe) = producer([Give::Endless(Bytes::from(vec![b'x'; 100]))]);
    channel.push_with_producer(stream);
    for _ in 0..10 {
        assert!(poll!(channel.next()).is_pending());
    }
    assert_eq!(probe.polls(), 10, "ten times 100 bytes fill 1000");
}

#[test]
fn an_empty_chunk_is_skipped() {
    let (mut channel, peer) = channel();
    channel.push_with_producer(ready_made::from_iter(["", "a", "", "", "b", ""]));
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "ab");
    peer.calls();

    channel.push_with_producer(ready_made::from_iter([""; 10]));
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.calls(), [], "and nothing is not written");
}

#[test]
fn an_endless_producer_of_empty_chunks_does_not_hold_the_task() {
    let (mut channel, peer) = channel();
    let (stream, _probe) = producer([Give::Endless(Bytes::new())]);
    channel.push_with_producer(stream);
    peer.sends("line\n");
    assert_eq!(show(poll!(channel.next())), "complete(line)");
    let mut task = tokio_test::task::spawn(channel.flush());
    tokio_test::assert_pending!(task.poll());
    assert!(task.is_woken());
}

#[test]
fn endless_producer_yields_and_does_not_starve_input() {
    for (mut channel, peer) in both() {
        let (stream, probe) = producer([Give::Endless(Bytes::from(vec![b'x'; 5000]))]);
        channel.push_with_producer(stream);
        for _ in 0..10 {
            peer.sends("line\n");
            // The others have their turn after each of the producer's.
            let mut next = poll!(channel.next());
            if next.is_pending() {
                next = poll!(channel.next());
            }
            assert_eq!(show(next), "complete(line)");
        }
        let polls = probe.polls();
        let mut task = tokio_test::task::spawn(channel.next());
        tokio_test::assert_pending!(task.poll());
        assert!(task.is_woken(), "Pending with a wake of its own");
        assert!(probe.polls() - polls < 10_000, "after a bounded number of chunks");
        drop(task);
        peer.written_bytes();
    }
}

#[test]
fn feed_after_endless_producer_works_and_flush_never_ends() {
    let (mut channel, _peer) = channel();
    let (stream, _probe) = producer([Give::Pending]);
    channel.push_with_producer(stream);
    assert_eq!(show(poll!(channel.feed(Bytes::from("a")))), "done");
    assert!(poll!(channel.flush()).is_pending());
}

#[test]
fn failed_producer_clears_queue_closes_and_is_reported_once() {
    for (mut channel, peer) in both() {
        let (failing, failing_probe) = producer([chunk("before"), Give::Err(ErrorKind::NotFound)]);
        let (behind, behind_probe) = producer([chunk("behind")]);
        channel.push("first,");
        channel.push_with_producer(failing);
        channel.push("behind");
        channel.push_with_producer(behind);
        let pusher = channel.pusher();
        assert_eq!(show(poll!(channel.flush())), "producer(NotFound)");
        assert_eq!(peer.written(), "first,before", "what was before it is sent, nothing behind it");
        assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
        assert_eq!((failing_probe.drops(), behind_probe.drops()), (1, 1));
        assert_eq!(behind_probe.polls(), 0);
        assert_eq!(channel.queued_bytes(), 0);
        assert!(pusher.is_closed());
        assert_eq!(show(poll!(channel.flush())), "closed", "once");
        assert_eq!(show(poll!(channel.send(Bytes::from("x")))), "closed");
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[test]
fn next_reports_failed_producer_after_received_frames() {
    for (mut channel, peer) in both() {
        peer.sends("one\ntwo\n");
        channel.push_with_producer(stream::iter([Ok("before"), Err(io::Error::other("no"))]));
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        assert_eq!(show(poll!(channel.next())), "complete(two)");
        assert_eq!(show(poll!(channel.next())), "producer(Other)");
        assert_eq!(show(poll!(channel.next())), "none");
        assert_eq!(peer.written(), "before");
        assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
    }
}

#[test]
fn a_failed_producer_surfaces_from_the_sink() {
    let (mut channel, _peer) = channel();
    channel.push_with_producer(stream::once(async { Err::<Bytes, _>(io::Error::other("no")) }));
    assert_eq!(show(poll!(channel.send(Bytes::from("x")))), "producer(Other)");
    assert_eq!(show(poll!(channel.send(Bytes::from("x")))), "closed");
}

#[test]
fn output_before_failed_producer_is_sent_over_slow_writes() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Accept(2), Write::Again, Write::Accept(2), Write::Again]);
        channel.push("first,");
        channel.push_with_producer(stream::iter([Ok("before"), Err(io::Error::other("no"))]));
        assert_eq!(show(anew!(channel.flush())), "producer(Other)");
        assert_eq!(peer.written(), "first,before");
        assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
    }
}

#[test]
fn output_before_failed_producer_is_sent_before_next_ends() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Accept(2), Write::Again, Write::Accept(2), Write::Again]);
        channel.push("first,");
        channel.push_with_producer(stream::iter([Ok("before"), Err(io::Error::other("no"))]));
        assert_eq!(show(anew!(channel.next())), "producer(Other)");
        assert_eq!(show(anew!(channel.next())), "none");
        assert_eq!(peer.written(), "first,before");
        assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
    }
}

#[test]
fn a_producer_is_dropped_exactly_once() {
    type Act = fn(Channel<Mock>);
    let rows: [(&str, Give, Act); 6] = [
        ("exhausted", chunk("a"), |mut channel| assert!(poll!(channel.flush()).is_ready())),
        ("failed", Give::Err(ErrorKind::Other), |mut channel| {
            assert!(poll!(channel.flush()).is_ready());
        }),
        ("discarded", Give::Pending, |mut channel| {
            assert!(poll!(channel.flush()).is_pending());
            assert_eq!(channel.discard_buffers().producers, 1);
            assert!(poll!(channel.flush()).is_ready());
        }),
        ("with the channel", Give::Pending, |mut channel| {
            assert!(poll!(channel.flush()).is_pending());
        }),
        ("with the channel, never polled", Give::Pending, drop),
        ("with the parts", Give::Pending, |channel| drop(channel.into_parts())),
    ];
    for (name, gives, act) in rows {
        let (mut channel, _peer) = channel();
        let (stream, probe) = producer([gives]);
        channel.push_with_producer(stream);
        act(channel);
        assert_eq!(probe.drops(), 1, "{name}");
    }
}

#[test]
fn producer_is_dropped_once_exhausted_failed_or_discarded() {
    for gives in [vec![chunk("a")], vec![Give::Err(ErrorKind::Other)]] {
        let (mut channel, _peer) = channel();
        let (stream, probe) = producer(gives);
        channel.push_with_producer(stream);
        let _ = poll!(channel.next());
        assert_eq!(probe.drops(), 1);
        drop(channel);
        assert_eq!(probe.drops(), 1);
    }
    let (mut channel, _peer) = channel();
    let (stream, probe) = producer([Give::Pending]);
    channel.push_with_producer(stream);
    channel.discard_buffers();
    assert_eq!(probe.drops(), 1);
}

#[test]
fn a_write_that_fails_drops_the_producers_in_the_queue() {
    let (mut channel, peer) = channel();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    let (stream, probe) = producer([chunk("a"), Give::Pending]);
    let (behind, behind_probe) = producer([chunk("b")]);
    channel.push_with_producer(stream);
    channel.push_with_producer(behind);
    assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
    assert_eq!((probe.drops(), behind_probe.drops()), (1, 1));
    assert_eq!(behind_probe.polls(), 0);
}

#[test]
fn ready_made_producers_produce_documented_bytes() {
    let (mut channel, peer) = channel();
    let mut left = 3;
    channel.push_with_producer(ready_made::from_fn(move || {
        left -= 1;
        (left >= 0).then(|| Bytes::from(format!("{left}")))
    }));
    channel.push_with_producer(ready_made::from_iter(vec!["a", "b"]));
    channel.push_with_producer(ready_made::from_reader(&b"reader"[..]));
    channel.push_with_producer(ready_made::from_reader(tokio_test::io::Builder::new().build()));
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "210abreader");
    let failing = tokio_test::io::Builder::new().read_error(io::Error::other("no")).build();
    channel.push_with_producer(ready_made::from_reader(failing));
    assert_eq!(show(poll!(channel.flush())), "producer(Other)");
}

#[test]
fn from_reader_reads_blocks_of_up_to_16_kib() {
    let blocks = ready_made::from_reader(&[b'x'; 40_000][..]).map(|block| block.unwrap().len());
    assert_eq!(poll!(blocks.collect::<Vec<_>>()), Poll::Ready(vec![16_384, 16_384, 7_232]));
}

#[test]
fn from_reader_exact_produces_announced_length_or_fails() {
    let (mut channel, peer) = channel();
    channel.push_with_producer(ready_made::from_reader_exact(&b"12345beyond"[..], 5));
    channel.push_with_producer(ready_made::from_reader_exact(&b"beyond"[..], 0));
    channel.push("behind,");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "12345behind,");
    channel.push_with_producer(ready_made::from_reader_exact(&b"1234"[..], 5));
    channel.push("behind");
    assert_eq!(show(poll!(channel.flush())), "producer(UnexpectedEof)");
    assert_eq!(peer.written(), "1234", "what is queued behind it cannot pass for its end");
}

#[test]
fn from_future_keeps_answers_in_order() {
    let (mut channel, peer) = channel();
    let (sender, slow) = oneshot::channel::<&'static str>();
    channel.push_with_producer(ready_made::from_future(async {
        slow.await.map_err(io::Error::other)
    }));
    channel.push_with_producer(ready_made::from_future(async { Ok::<_, io::Error>("two,") }));
    channel.push("three");
    let mut flush = tokio_test::task::spawn(channel.flush());
    assert!(flush.poll().is_pending());
    assert_eq!(peer.written(), "");
    sender.send("one,").unwrap();
    assert!(flush.is_woken());
    assert_eq!(show(flush.poll()), "done");
    assert_eq!(peer.written(), "one,two,three");
}

#[test]
fn from_future_fails_the_channel_if_the_future_fails() {
    let (mut channel, peer) = channel();
    let fails = async { Err::<Bytes, _>(ErrorKind::NotFound) };
    channel.push_with_producer(ready_made::from_future(fails));
    channel.push("behind");
    assert_eq!(show(poll!(channel.flush())), "producer(NotFound)");
    assert_eq!(peer.written(), "");
}

// Formatting.

#[test]
fn push_fmt_joins_the_queue_as_one_push_does() {
    for (mut channel, peer) in both() {
        channel.push_slice(b"a");
        channel.push_fmt(format_args!("{}-{:03}|", "b", 7));
        channel.push_slice(b"c");
        assert_eq!(channel.queued_bytes(), 64 + 8, "gathered");
        let long = "x".repeat(10_000);
        channel.push_fmt(format_args!("{long}{long}"));
        channel.push_fmt(format_args!(""));
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), format!("ab-007|c{long}{long}"));
    }
}

#[test]
fn push_fmt_ends_where_display_fails() {
    struct Fails;
    impl std::fmt::Display for Fails {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("half")?;
            Err(std::fmt::Error)
        }
    }
    let (mut channel, peer) = channel();
    channel.push_fmt(format_args!("a {Fails} b"));
    channel.push(",");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "a half,");
}

#[test]
fn push_fmt_is_dropped_after_a_close() {
    let (mut channel, peer) = channel();
    channel.close_when_done();
    channel.push_fmt(format_args!("{}", "late"));
    assert_eq!(channel.queued_bytes(), 0);
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "");
}

// drive

/// Work that is done when the sender says so.
fn work() -> (oneshot::Sender<()>, impl Future<Output = &'static str>) {
    let (done, wait) = oneshot::channel();
    (done, async {
        wait.await.unwrap();
        "answer"
    })
}

/// Counts its polls, and is dropped with a note.
struct Watched<'w> {
    polls: &'w Cell<usize>,
    drops: &'w Cell<usize>,
}

impl Future for Watched<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.polls.set(self.polls.get() + 1);
        Poll::Pending
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

#[test]
fn drive_sends_concurrent_pushes() {
    for corked in [false, true] {
        let (mut channel, peer) = channel();
        channel.set_corked(corked);
        let pusher = channel.pusher();
        channel.push("queued,");
        let (done, work) = work();
        let mut drive = spawn(channel.drive(work));
        assert!(drive.poll().is_pending());
        assert_eq!(peer.written(), "queued,");
        let mut push = spawn(pusher.push("news"));
        assert_eq!(show(push.poll()), "done");
        assert!(drive.is_woken());
        assert!(drive.poll().is_pending());
        assert_eq!(peer.written(), "news");
        done.send(()).unwrap();
        assert!(drive.is_woken());
        assert_eq!(drive.poll().map(Result::unwrap), Poll::Ready("answer"));
    }
}

#[test]
fn drive_completes_the_flush_of_a_pusher() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    peer.blocks_writes();
    let mut drive = spawn(channel.drive(pending::<()>()));
    assert!(drive.poll().is_pending());
    let mut flush = spawn(async {
        pusher.push("news").await.unwrap();
        pusher.flush().await
    });
    assert!(flush.poll().is_pending());
    assert!(drive.is_woken());
    assert!(drive.poll().is_pending());
    assert!(!flush.is_woken());
    peer.wake_write();
    assert!(drive.poll().is_pending());
    assert!(flush.is_woken());
    assert!(flush.poll().is_ready());
    assert_eq!(peer.written(), "news");
}

#[test]
fn drive_ends_with_the_error_of_a_broken_connection() {
    for kind in BREAKS {
        let (mut channel, peer) = channel();
        let (polls, drops) = (Cell::new(0), Cell::new(0));
        let mut drive = spawn(channel.drive(Watched { polls: &polls, drops: &drops }));
        assert!(drive.poll().is_pending());
        peer.sends("one\ntw");
        assert!(drive.is_woken());
        assert!(drive.poll().is_pending());
        peer.reads([Read::Err(kind)]);
        assert!(drive.is_woken());
        assert_eq!(show(drive.poll()), format!("io({kind:?})"));
        assert_eq!((polls.get(), drops.get()), (3, 1), "polled in every poll, dropped once");
        drop(drive);
        assert_eq!(show(poll!(channel.next())), "complete(one)", "frames stay");
        assert_eq!(show(poll!(channel.next())), "none", "the error is reported once");
        assert_eq!(show(poll!(channel.drive(async {}))), "closed");
    }
}

#[test]
fn drive_goes_on_after_input_ended_alone() {
    for ends in READ_FAILURES.map(Read::Err).into_iter().chain([Read::Eof]) {
        let (mut channel, peer) = channel();
        peer.sends("one\n");
        peer.reads([ends.clone()]);
        channel.push("x");
        let (done, work) = work();
        let mut drive = spawn(channel.drive(work));
        assert!(drive.poll().is_pending(), "{ends:?}");
        done.send(()).unwrap();
        assert_eq!(drive.poll().map(Result::unwrap), Poll::Ready("answer"));
        drop(drive);
        assert_eq!(peer.written(), "x");
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        let next = show(poll!(channel.next()));
        match ends {
            Read::Err(kind) => assert_eq!(next, format!("io({kind:?})"), "left to next"),
            _ => assert_eq!(next, "none"),
        }
    }
}

#[test]
fn drive_ends_with_the_failure_of_output() {
    let (mut one, peer) = channel();
    peer.blocks_writes();
    peer.sends("one\n");
    one.push("x");
    let mut drive = spawn(one.drive(pending::<()>()));
    assert!(drive.poll().is_pending());
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    peer.wake_write();
    assert!(drive.is_woken());
    assert_eq!(show(drive.poll()), "io(BrokenPipe)");
    drop(drive);
    assert_eq!(show(poll!(one.next())), "complete(one)");
    assert_eq!(show(poll!(one.next())), "none");

    let (mut two, peer) = channel();
    two.push("sent first");
    two.push_with_producer(producer([Give::Err(ErrorKind::NotFound)]).0);
    assert_eq!(show(poll!(two.drive(pending::<()>()))), "producer(NotFound)");
    assert_eq!(peer.written(), "sent first");

    let (mut three, peer) = channel();
    let pusher = three.pusher();
    peer.sends("one\n");
    let mut drive = spawn(three.drive(pending::<()>()));
    assert!(drive.poll().is_pending());
    pusher.abort();
    assert!(drive.is_woken());
    assert_eq!(show(drive.poll()), "aborted");
    drop(drive);
    assert_eq!(show(poll!(three.next())), "none", "nothing is delivered after an abort");
}

#[test]
fn drive_after_a_break_that_was_reported_is_closed() {
    let (mut channel, peer) = channel();
    assert_eq!(show(poll!(channel.shutdown())), "done");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.next())), "io(ConnectionReset)");
    for _ in 0..2 {
        let driven = poll!(channel.drive(std::future::pending::<()>()));
        assert!(matches!(driven, Poll::Ready(Err(Error::Closed))), "{driven:?}");
    }
}

#[test]
fn drive_of_failed_channel_does_not_poll() {
    let (polls, drops) = (Cell::new(0), Cell::new(0));
    let watched = || Watched { polls: &polls, drops: &drops };
    let (mut channel, peer) = channel();
    peer.sends("one\n");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("x");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.drive(watched()))), "io(BrokenPipe)", "not reported before");
    assert_eq!(show(poll!(channel.drive(watched()))), "closed");
    assert_eq!((polls.get(), drops.get()), (0, 2));
}

#[test]
fn drive_returns_work_done_at_the_moment_of_a_failure() {
    let (mut channel, peer) = channel();
    let (done, work) = work();
    let mut drive = spawn(channel.drive(work));
    assert!(drive.poll().is_pending());
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    done.send(()).unwrap();
    assert_eq!(drive.poll().map(Result::unwrap), Poll::Ready("answer"));
    drop(drive);
    assert_eq!(show(poll!(channel.next())), "io(ConnectionReset)", "and the failure stays");
}

#[test]
fn drive_after_shutdown_watches_the_input() {
    let (mut channel, peer) = channel();
    assert_eq!(show(poll!(channel.shutdown())), "done");
    let (done, work) = work();
    let mut drive = spawn(channel.drive(work));
    assert!(drive.poll().is_pending());
    done.send(()).unwrap();
    assert_eq!(drive.poll().map(Result::unwrap), Poll::Ready("answer"));
    drop(drive);
    peer.sends("one\n");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    let ended = show(poll!(channel.drive(pending::<()>())));
    assert_eq!(ended, "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn drive_reads_ahead_one_in_buffer_size() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").in_buffer_size(5).build(io);
    peer.reads([Read::Endless(Bytes::from_static(b"\n"))]);
    for _ in 0..100 {
        let _pending = poll!(channel.drive(pending::<()>()));
    }
    assert_eq!(channel.unread().len(), 5);
    peer.asked();
    assert!(poll!(channel.drive(pending::<()>())).is_pending());
    assert_eq!(peer.asked(), []);
}

#[test]
fn dropped_drive_loses_nothing() {
    let (mut channel, peer) = channel();
    peer.blocks_writes();
    channel.push("one,");
    peer.sends("frame\nrest");
    assert_waits!(peer, channel.drive(pending::<()>()));
    channel.push("two");
    assert_waits!(peer, channel.drive(pending::<()>()));
    peer.wake_write();
    assert_waits!(peer, channel.drive(pending::<()>()));
    assert_eq!(peer.written(), "one,two");
    assert_eq!(show(poll!(channel.next())), "complete(frame)");
    assert_eq!(channel.unread(), b"rest");
}

#[test]
fn loop_over_ready_drive_sends_and_yields() {
    let (mut channel, peer) = channel();
    let mut turns = 0;
    for _ in 0..1000 {
        channel.push("x");
        turns += usize::from(poll!(channel.drive(async {})).is_pending());
        peer.calls();
    }
    assert!(turns > 0, "it never yields");
    assert!(peer.written().len() > 900);
}

// Accounting and water marks.

#[test]
fn queued_bytes_adds_64_per_entry_and_1024_per_producer() {
    let (mut channel, _peer) = channel();
    assert_eq!(channel.queued_bytes(), 0);
    channel.push("12345");
    assert_eq!(channel.queued_bytes(), 69);
    channel.push(vec![b'x'; 5000]);
    assert_eq!(channel.queued_bytes(), 69 + 5064);
    channel.push_with_producer(ready_made::from_iter(["x"]));
    assert_eq!(channel.queued_bytes(), 69 + 5064 + 1024);
    channel.push_slice(&[b'x'; 4096]);
    assert_eq!(channel.queued_bytes(), 69 + 5064 + 1024 + 4160);
    channel.push("");
    channel.push_slice(b"");
    assert_eq!(channel.queued_bytes(), 69 + 5064 + 1024 + 4160, "nothing costs nothing");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(channel.queued_bytes(), 0);
}

#[test]
fn queued_bytes_counts_write_buffer() {
    let (mut channel, peer) = channel();
    peer.writes([Write::Accept(1000), Write::Pending]);
    channel.push(vec![b'x'; 5000]);
    assert_waits!(peer, channel.flush());
    assert_eq!(channel.queued_bytes(), 4000);
}

#[test]
fn push_never_waits() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().high_water(100).low_water(10).build(io);
    peer.blocks_writes();
    for _ in 0..100 {
        channel.push(vec![b'x'; 5000]);
    }
    assert!(channel.queued_bytes() >= 500_000, "queued_bytes lets the caller decide");
    assert_waits!(peer, channel.flush());
    channel.push("y");
    peer.wake_write();
    assert_eq!(show(anew!(channel.flush())), "done", "it yields now and then");
    assert_eq!(peer.written_bytes().len(), 500_001);
}

#[test]
fn sink_waits_above_high_water_until_low_water() {
    let (io, peer) = mock();
    let mut channel =
        Channel::builder().high_water(10_000).low_water(2_000).out_buffer_size(1).build(io);
    peer.blocks_writes();
    assert_eq!(show(poll!(channel.feed(Bytes::from(vec![b'x'; 9_000])))), "done");
    assert_eq!(show(poll_ready(&mut channel)), "done", "below the high-water mark");
    assert_eq!(show(poll!(channel.feed(Bytes::from(vec![b'x'; 9_000])))), "done");
    assert_eq!(show(poll_ready(&mut channel)), "pending");
    peer.wake_write();
    peer.writes([Write::Accept(9_000), Write::Accept(5_000), Write::Pending]);
    assert_eq!(show(poll_ready(&mut channel)), "pending", "4,000 left are not low enough");
    assert_eq!(channel.queued_bytes(), 4_000);
    peer.wake_write();
    peer.writes([Write::Accept(2_000), Write::Pending]);
    assert_eq!(show(poll_ready(&mut channel)), "done", "2,000 are");
    assert_eq!(show(poll!(channel.feed(Bytes::from(vec![b'x'; 5_000])))), "done");
    assert_eq!(show(poll_ready(&mut channel)), "done", "until the high-water mark is reached");
}

#[test]
fn sink_that_waits_for_capacity_is_woken_by_write() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().high_water(100).low_water(10).build(io);
    peer.blocks_writes();
    channel.push(vec![b'x'; 200]);
    let mut task = tokio_test::task::spawn(channel.feed(Bytes::from("item")));
    tokio_test::assert_pending!(task.poll());
    assert!(!task.is_woken());
    peer.wake_write();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "done");
}

#[test]
fn sink_has_capacity_with_watermarks_of_zero() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().high_water(0).low_water(0).build(io);
    for _ in 0..3 {
        assert_eq!(show(anew!(channel.send(Bytes::from("a")))), "done");
    }
    assert_eq!(peer.written(), "aaa");
}

// Sink is one frame.

#[test]
fn sink_appends_encode_terminator_and_refuses_it_in_content() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_encode_terminator("\r\n");
    assert_eq!(show(poll!(channel.send(Bytes::from("one")))), "done");
    assert_eq!(show(poll!(channel.send(Bytes::from("two\r\nQUIT")))), "terminatorincontent");
    assert_eq!(show(poll!(channel.send(Bytes::new()))), "done");
    assert_eq!(peer.written(), "one\r\n\r\n", "of the refused item nothing was sent");
    channel.push("raw\r\nbytes");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "raw\r\nbytes");
}

#[test]
fn a_refused_item_leaves_the_channel_open() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_encode_terminator(Terminator::line());
    assert_eq!(show(poll!(channel.send(Bytes::from("a\nb")))), "terminatorincontent");
    assert_eq!(show(poll!(channel.send(Bytes::from("c")))), "done");
    assert_eq!(peer.written(), "c\r\n");
}

#[test]
fn a_dropped_send_has_queued_its_item_whole_or_not_at_all() {
    for full in [false, true] {
        for (mut channel, peer) in both() {
            channel.codec_mut().set_encode_terminator("\n");
            peer.writes([Write::Accept(3), Write::Pending]);
            channel.push(vec![b'-'; if full { 200_000 } else { 1 }]);
            assert_waits!(peer, channel.send(Bytes::from("item")));
            peer.wake_write();
            anew!(channel.flush()).unwrap();
            let written = peer.written();
            let item = written.trim_start_matches('-');
            assert_eq!(item, if full { "" } else { "item\n" });
        }
    }
}

#[test]
fn a_dropped_send_is_whole_or_nothing_at_every_pending() {
    // Each write is pending once: dropped there, and not sent again.
    for steps in 0..12 {
        for (mut channel, peer) in both() {
            channel.codec_mut().set_encode_terminator("\n");
            peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(1)], 20).flatten());
            {
                let mut task = tokio_test::task::spawn(channel.send(Bytes::from("item")));
                for _ in 0..steps {
                    if task.poll().is_ready() {
                        break;
                    }
                }
            }
            anew!(channel.flush()).unwrap();
            assert_eq!(peer.written(), if steps == 0 { "" } else { "item\n" });
        }
    }
}

// Closing.

#[test]
fn close_drains_queue_then_flushes_then_shuts_down() {
    for (mut channel, peer) in both() {
        channel.push("a");
        channel.push_with_producer(ready_made::from_iter(["b", "c"]));
        channel.close_when_done();
        assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
        assert_eq!(peer.written(), "abc");
        let calls = peer.calls();
        assert_eq!(calls[calls.len() - 2..], [Call::Flush, Call::Shutdown], "{calls:?}");
        assert!(calls[..calls.len() - 2].iter().all(|call| *call != Call::Shutdown));
        assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done", "closed is closed");
        assert_eq!(peer.calls(), [], "shut down once");
    }
}

#[test]
fn close_when_done_waits_for_earlier_entries() {
    let (mut channel, peer) = channel();
    let (stream, probe) = producer([Give::Pending, chunk("last")]);
    channel.push_with_producer(stream);
    channel.close_when_done();
    assert!(poll!(channel.next()).is_pending());
    assert!(!peer.calls().contains(&Call::Shutdown));
    probe.wake();
    assert!(poll!(channel.next()).is_pending());
    assert_eq!(peer.written(), "last");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

#[test]
fn close_when_done_closes_sink_drops_pushes_and_keeps_input() {
    let (mut channel, peer) = channel();
    channel.push("bye\n");
    channel.close_when_done();
    channel.push("dropped");
    channel.push_slice(b"dropped");
    let (stream, probe) = producer([chunk("dropped")]);
    channel.push_with_producer(stream);
    assert_eq!(probe.drops(), 1);
    assert_eq!(show(poll_ready(&mut channel)), "closed");
    assert!(matches!(Pin::new(&mut channel).start_send(Bytes::from("x")), Err(Error::Closed)));
    assert_eq!(show(poll!(channel.send(Bytes::from("x")))), "closed");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "bye\n");
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.receive("\n"))), "two");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn after_a_close_none_of_next_comes_only_after_the_shutdown() {
    for steps in [vec![], vec![Step::Pending]] {
        let (mut channel, peer) = channel();
        peer.ends();
        peer.blocks_writes();
        peer.shutdowns(steps.clone());
        channel.push("answer");
        channel.close_when_done();
        assert_waits!(peer, channel.next());
        assert_eq!(peer.written(), "");
        peer.wake_write();
        if !steps.is_empty() {
            assert_waits!(peer, channel.next());
            assert!(!peer.calls().contains(&Call::Shutdown));
            peer.wake_write();
        }
        assert_eq!(show(poll!(channel.next())), "none");
        assert_eq!(peer.written(), "answer");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
    }
}

#[test]
fn shutdown_sends_close_after_none() {
    let (mut channel, peer) = channel();
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
    peer.blocks_writes();
    channel.push("answer");
    channel.close_when_done();
    assert_eq!(show(poll!(channel.next())), "none");
    assert_waits!(peer, Channel::shutdown(&mut channel));
    peer.wake_write();
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

#[test]
fn shutdown_of_lost_connection_succeeds() {
    let (mut channel, peer) = channel();
    peer.shutdowns([Step::Err(ErrorKind::NotConnected)]);
    channel.push("bye");
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn a_shutdown_that_fails_otherwise_is_an_error_once() {
    let (mut channel, peer) = channel();
    peer.shutdowns([Step::Err(ErrorKind::TimedOut)]);
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "io(TimedOut)");
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "closed");
}

#[test]
fn failed_flush_is_reported_once_then_closed() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
        channel.push("a");
        assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
        assert_eq!(show(poll!(channel.flush())), "closed");
        assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "closed");
        assert_eq!(show(poll!(channel.send(Bytes::from("b")))), "closed");
        channel.push("dropped");
        assert_eq!(channel.queued_bytes(), 0);
        assert_eq!(show(poll!(channel.next())), "none");
        assert_eq!(peer.written(), "");
    }
}

#[test]
fn close_through_the_sink_is_the_same() {
    let (mut channel, peer) = channel();
    channel.push("a");
    assert_eq!(show(poll!(SinkExt::close(&mut channel))), "done");
    assert_eq!(peer.written(), "a");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

// Cancel safety of output.

#[test]
fn a_dropped_flush_loses_nothing() {
    for (mut channel, peer) in both() {
        let mut expected = vec![];
        for size in [1, 10, 5000, 9000, 3, 70_000, 2] {
            let data = vec![size as u8; size];
            expected.extend_from_slice(&data);
            channel.push(data);
        }
        channel.push_with_producer(producer([chunk("p"), Give::Again, chunk("q")]).0);
        expected.extend_from_slice(b"pq");
        peer.limits_writes(3000);
        peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(777)], 40).flatten());
        peer.flushes([Step::Again, Step::Again]);
        assert_eq!(show(anew!(channel.flush())), "done");
        assert!(peer.written_bytes() == expected);
        assert_eq!(peer.output_calls().last(), Some(&Call::Flush));
    }
}

#[test]
fn a_dropped_shutdown_stays_queued_and_loses_nothing() {
    for (mut channel, peer) in both() {
        channel.push(vec![b'x'; 9000]);
        channel.push_with_producer(producer([chunk("p"), Give::Again, chunk("q")]).0);
        peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(777)], 40).flatten());
        peer.flushes([Step::Again]);
        peer.shutdowns([Step::Again, Step::Again]);
        assert_waits!(peer, Channel::shutdown(&mut channel));
        channel.push("dropped: the close is asked for");
        assert_eq!(show(anew!(channel.flush())), "done", "any door ends the close");
        assert_eq!(peer.written(), "x".repeat(9000) + "pq");
        assert_eq!(peer.output_calls()[..].last(), Some(&Call::Shutdown));
    }
}

#[test]
fn a_flush_of_the_io_that_is_pending_is_waited_for() {
    let (mut channel, peer) = channel();
    peer.flushes([Step::Pending]);
    channel.push("a");
    assert_waits!(peer, channel.flush());
    assert_eq!(peer.written(), "a");
    assert_waits!(peer, channel.next());
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    peer.calls();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.calls(), [], "nothing to do costs nothing");
}

// discard_buffers

#[test]
fn discard_buffers_drops_all_output_if_no_write_is_pending() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Accept(1), Write::Accept(2)]);
        peer.flushes([Step::Pending]);
        channel.push("abc");
        assert_waits!(peer, channel.flush());
        channel.push(vec![b'x'; 9000]);
        let (stream, probe) = producer([Give::Pending]);
        channel.push_with_producer(stream);
        (0..90).for_each(|_| channel.push_slice(&[b'y'; 100]));
        let discarded = channel.discard_buffers();
        assert_eq!(discarded.input_bytes, 0);
        assert_eq!(discarded.output_bytes, 9000 + 9000);
        assert_eq!((discarded.producers, probe.drops()), (1, 1));
        assert_eq!(channel.queued_bytes(), 0);
        peer.wake_write();
        channel.push("new");
        anew!(channel.flush()).unwrap();
        assert_eq!(peer.written(), "abcnew");
    }
}

/// A retried write begins with the bytes that were offered first.
#[test]
fn discard_buffers_keeps_the_first_slice_of_a_pending_write() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Accept(1), Write::Pending]);
        channel.push("abc");
        channel.push(vec![b'x'; 9000]);
        let (stream, probe) = producer([Give::Pending]);
        channel.push_with_producer(stream);
        (0..90).for_each(|_| channel.push_slice(&[b'y'; 100]));
        assert_waits!(peer, channel.flush());
        let discarded = channel.discard_buffers();
        assert_eq!(discarded.input_bytes, 0);
        assert_eq!(discarded.output_bytes, 9000 + 9000, "without the rest of abc");
        assert_eq!((discarded.producers, probe.drops()), (1, 1));
        assert_eq!(channel.queued_bytes(), 2);
        let again = channel.discard_buffers();
        assert_eq!((again.output_bytes, again.producers), (0, 0));
        assert_eq!(channel.queued_bytes(), 2, "kept, however often");
        peer.wake_write();
        channel.push("new");
        anew!(channel.flush()).unwrap();
        assert_eq!(peer.written(), "abcnew");
    }
}

#[test]
fn discard_buffers_keeps_one_tls_record_of_a_long_slice() {
    for vectored in [true, false] {
        let (mut channel, peer) = channel();
        if !vectored {
            peer.is_not_vectored();
        }
        let large: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        peer.writes([Write::Accept(1), Write::Pending]);
        channel.push(large.clone());
        assert_waits!(peer, channel.flush());
        assert_eq!(channel.discard_buffers().output_bytes, 99_999 - 16_384);
        assert_eq!(channel.queued_bytes(), 16_384);
        channel.push("new");
        peer.wake_write();
        anew!(channel.flush()).unwrap();
        assert!(peer.written_bytes() == [&large[..16_385], b"new"].concat());
    }
}

#[test]
fn discard_buffers_keeps_offered_bytes_only() {
    for vectored in [true, false] {
        let (mut channel, peer) = channel();
        if !vectored {
            peer.is_not_vectored();
        }
        peer.blocks_writes();
        channel.push("abc");
        assert_waits!(peer, channel.flush());
        channel.push_slice(b"later");
        peer.writes([Write::Accept(2), Write::Pending]);
        peer.wake_write();
        assert_waits!(peer, channel.flush());
        assert_eq!(peer.written(), "ab");
        let offered = peer.pieces().last().unwrap()[0].1;
        channel.push_slice(b"still later");
        let discarded = channel.discard_buffers().output_bytes;
        assert_eq!(discarded, "clater".len() as u64 - offered as u64 + 11, "vectored: {vectored}");
        assert_eq!(channel.queued_bytes(), offered as u64);
        peer.wake_write();
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "clater"[..offered], "vectored: {vectored}");
    }
}

#[test]
fn discard_buffers_keeps_a_queued_close() {
    let (mut channel, peer) = channel();
    channel.push("abc");
    channel.close_when_done();
    channel.discard_buffers();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

#[test]
fn a_queued_close_follows_the_bytes_that_discard_buffers_keeps() {
    let (mut channel, peer) = channel();
    peer.blocks_writes();
    channel.push("abc");
    channel.close_when_done();
    assert_waits!(peer, channel.flush());
    channel.discard_buffers();
    assert_waits!(peer, channel.flush());
    assert_eq!(peer.calls(), [], "not shut down before them");
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abc");
    assert_eq!(peer.calls(), [Call::Write(3), Call::Flush, Call::Shutdown]);
}

#[test]
fn dropped_channel_drops_transport_and_queue() {
    let (mut channel, peer) = channel();
    channel.push("abc");
    drop(channel);
    assert!(peer.is_dropped());
    assert_eq!(peer.written(), "");
}

#[test]
fn a_stream_is_forwarded_into_the_sink_in_order() {
    let (io, peer) = mock();
    let builder = Channel::builder().encode_terminator("\n").high_water(500).low_water(50);
    let mut channel = builder.build(io);
    peer.limits_writes(100);
    let items = stream::iter((0..200).map(|i| Ok(Bytes::from(format!("item {i}")))));
    assert_eq!(show(poll!(items.forward(&mut channel))), "done");
    let expected: String = (0..200).map(|i| format!("item {i}\n")).collect();
    assert_eq!(peer.written(), expected);
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

#[test]
fn the_read_side_of_two_channels_that_only_write_never_stops() {
    // The deadlock of two peers that only write.
    let (a, b) = tokio::io::duplex(64);
    let (mut a, mut b) = (Channel::new(a, "\n"), Channel::new(b, "\n"));
    for channel in [&mut a, &mut b] {
        channel.push("x".repeat(10_000) + "\n");
    }
    let mut got = (None, None);
    for _ in 0..10_000 {
        if let (None, Poll::Ready(frame)) = (&got.0, poll!(a.next())) {
            got.0 = Some(frame);
        }
        if let (None, Poll::Ready(frame)) = (&got.1, poll!(b.next())) {
            got.1 = Some(frame);
        }
        if got.0.is_some() && got.1.is_some() {
            break;
        }
        let _ = (poll!(a.flush()), poll!(b.flush()));
    }
    let expected = format!("complete({})", "x".repeat(10_000));
    assert_eq!(show(got.0.flatten()), expected);
    assert_eq!(show(got.1.flatten()), expected);
}

#[test]
fn reads_pending_while_output_is_sent_are_not_lost() {
    let (mut channel, peer) = channel();
    peer.reads([Read::Again, Read::Again]);
    peer.sends("one\n");
    peer.writes([Write::Again, Write::Accept(1), Write::Again]);
    channel.push("ab");
    assert_eq!(show(anew!(channel.next())), "complete(one)");
    assert_eq!(show(anew!(channel.flush())), "done");
    assert_eq!(peer.written(), "ab");
}

#[test]
fn output_before_failed_producer_is_sent_before_sink_fails() {
    let (mut channel, peer) = channel();
    peer.blocks_writes();
    channel.push("before");
    let (fails, _) = producer([Give::Err(ErrorKind::Other)]);
    channel.push_with_producer(fails);
    assert_waits!(peer, channel.flush());
    peer.writes([Write::Accept(1), Write::Pending]);
    peer.wake_write();
    assert_waits!(peer, channel.flush());
    assert_waits!(peer, channel.feed(Bytes::from("y")));
    peer.wake_write();
    assert_eq!(show(anew!(channel.feed(Bytes::from("y")))), "producer(Other)");
    assert_eq!(peer.written(), "before");
}

// push_frame

#[test]
fn push_frame_appends_and_refuses_like_the_sink_and_never_waits() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().encode_terminator("\r\n").high_water(10).build(io);
    peer.blocks_writes();
    for n in 0..100 {
        assert_eq!(show(channel.push_frame(format!("{n:02}"))), "done");
    }
    assert_eq!(show(channel.push_frame("a\r\nb")), "terminatorincontent");
    channel.push("raw");
    peer.writes([]);
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    let expected: String = (0..100).map(|n| format!("{n:02}\r\n")).collect();
    assert_eq!(peer.written(), expected + "raw");
    channel.close_when_done();
    assert_eq!(show(channel.push_frame("late")), "closed");
}

// ready and sent_bytes

#[test]
fn ready_waits_for_capacity_and_sends() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().high_water(100).low_water(10).build(io);
    assert_eq!(show(poll!(channel.ready())), "done");
    peer.blocks_writes();
    channel.push(vec![b'x'; 99]);
    assert_waits!(peer, channel.ready());
    assert_eq!(channel.sent_bytes(), 0);
    peer.limits_writes(50);
    peer.wake_write();
    assert_eq!(show(anew!(channel.ready())), "done");
    assert_eq!(channel.sent_bytes(), 99);
    channel.close_when_done();
    assert_eq!(show(poll!(channel.ready())), "closed");
}

/// What is full has room again once it has sunk to the low mark, also if nobody
/// asked until there was more between the marks.
#[test]
fn capacity_between_polls_is_remembered() {
    for (corked, discards) in [(false, false), (true, false), (false, true)] {
        let (io, peer) = mock();
        let builder = Channel::builder().terminator("\n").corked(corked);
        let mut channel = builder.high_water(1000).low_water(100).build(io);
        peer.sends("a\nb\n");
        peer.blocks_writes();
        channel.push(vec![b'x'; 10]);
        channel.push(vec![b'x'; 4096]);
        assert!(poll!(channel.ready()).is_pending(), "full");
        if discards {
            assert_eq!(channel.discard_buffers().output_bytes, 4096);
            assert_eq!(channel.queued_bytes(), 10, "offered, and below the low mark");
        } else {
            peer.wake_write();
            for frame in ["complete(a)", "complete(b)"] {
                assert_eq!(show(poll!(channel.next())), frame);
            }
            peer.blocks_writes();
            assert_eq!(channel.queued_bytes(), 0);
        }
        channel.push(vec![b'x'; 500]);
        assert_eq!(show(poll!(channel.ready())), "done", "corked: {corked}");
    }
}

#[test]
fn ready_waits_if_discard_buffers_keeps_more_than_low_water() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().high_water(1000).low_water(100).build(io);
    peer.blocks_writes();
    channel.push(vec![b'x'; 1000]);
    assert_waits!(peer, channel.ready());
    assert_eq!(channel.discard_buffers().output_bytes, 0);
    assert_eq!(channel.queued_bytes(), 1000);
    assert_waits!(peer, channel.ready());
    peer.writes([Write::Accept(899), Write::Pending]);
    peer.wake_write();
    assert_waits!(peer, channel.ready());
    assert_eq!(channel.queued_bytes(), 101);
    peer.wake_write();
    assert_eq!(show(poll!(channel.ready())), "done");
    assert_eq!(peer.written_bytes().len(), 1000);
}

#[test]
fn ready_reports_error_of_awaited_producer() {
    let (io, _peer) = mock();
    let mut channel = Channel::builder().high_water(3000).low_water(10).build(io);
    let (stream, probe) = producer([Give::Pending, Give::Err(ErrorKind::NotFound)]);
    channel.push_with_producer(stream);
    assert_eq!(show(poll!(channel.ready())), "done", "1 KiB is below the mark");
    channel.push(vec![b'x'; 3000]);
    assert!(poll!(channel.ready()).is_pending());
    probe.wake();
    assert_eq!(show(poll!(channel.ready())), "producer(NotFound)");
    assert_eq!(show(poll!(channel.ready())), "closed");
}

// corked

#[test]
fn answers_to_buffered_frames_go_out_in_one_write_when_corked() {
    for (corked, writes) in [(false, 3), (true, 1)] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator("\n").corked(corked).build(io);
        peer.sends("a\nb\nc\n");
        for expected in ["a", "b", "c"] {
            assert_eq!(show(poll!(channel.receive("\n"))), expected);
            channel.push(format!("{expected}!"));
        }
        assert!(poll!(channel.receive("\n")).is_pending());
        assert_eq!(peer.written(), "a!b!c!");
        let calls = peer.output_calls();
        let count = calls.iter().filter(|call| matches!(call, Call::Write(_) | Call::Vectored(..)));
        assert_eq!(count.count(), writes, "corked: {corked}");
    }
}

#[test]
fn corked_channel_sends_full_writes_and_before_waiting() {
    let (io, peer) = mock();
    let mut channel =
        Channel::builder().terminator("\n").corked(true).out_buffer_size(200).build(io);
    channel.push("greeting,");
    assert!(poll!(channel.next()).is_pending());
    assert_eq!(peer.written(), "greeting,", "nothing is buffered");
    peer.sends("a\n".repeat(100));
    let mut unsent = 0;
    for _ in 0..100 {
        assert_eq!(show(poll!(channel.next())), "complete(a)");
        channel.push_slice(b"0123456789");
        unsent = unsent.max(channel.queued_bytes());
    }
    assert!(unsent <= 210, "bounded: {unsent}");
    let mut sent = peer.written();
    assert!(!sent.is_empty());
    assert_eq!(show(poll!(channel.flush())), "done", "at once, if asked");
    sent += &peer.written();
    assert_eq!(sent, "0123456789".repeat(100));
    channel.set_corked(false);
    peer.sends("b\nc\n");
    assert_eq!(show(poll!(channel.next())), "complete(b)");
    channel.push("b!");
    assert_eq!(show(poll!(channel.next())), "complete(c)");
    assert_eq!(peer.written(), "b!");
}

#[test]
fn a_corked_channel_is_sent_and_shut_down_at_the_end_of_input() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").corked(true).build(io);
    peer.sends("a\n");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "complete(a)");
    channel.push("a!");
    channel.close_when_done();
    peer.writes([Write::Pending]);
    assert_waits!(peer, channel.next());
    peer.wake_write();
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(peer.written(), "a!");
    assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
}

#[test]
fn corked_channel_sees_abort_and_pushes_before_waiting() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").corked(true).build(io);
    let pusher = channel.pusher();
    let mut task = tokio_test::task::spawn(channel.next());
    assert!(task.poll().is_pending());
    pusher.try_push("news").unwrap();
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    assert_eq!(peer.written(), "news");
    pusher.abort();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "aborted");
}

#[test]
fn a_corked_channel_with_frames_buffered_hears_its_pushers() {
    let (io, peer) = mock();
    let mut channel =
        Channel::builder().terminator("\n").corked(true).high_water(200).low_water(100).build(io);
    let pusher = channel.pusher();
    peer.sends("x\n".repeat(100));
    for _ in 0..50 {
        assert_eq!(show(poll!(channel.next())), "complete(x)");
        assert_eq!(show(pusher.try_push("news")), "done", "the peer reads everything");
    }
    pusher.abort();
    assert_eq!(show(poll!(channel.next())), "aborted", "at once, not behind the other frames");
    assert!(peer.written().starts_with("newsnews"));
}

// close

#[tokio::test(start_paused = true)]
async fn close_sends_and_drops_input_until_peer_closes() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, "\n");
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    channel.push("bye");
    let mut task = tokio_test::task::spawn(channel.close());
    assert!(task.poll().is_pending());
    assert_eq!(peer.written(), "bye");
    assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
    peer.sends("ee\nfour\n");
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    peer.ends();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "done");
    drop(task);
    assert_eq!(channel.unread(), b"");
}

#[tokio::test(start_paused = true)]
async fn close_reads_while_it_sends_for_a_peer_that_writes_first() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (io, mut peer) = tokio::io::duplex(64);
    let peer = tokio::spawn(async move {
        peer.write_all(b"PUT\n").await.unwrap();
        peer.write_all(&[b'x'; 1000]).await.unwrap();
        let mut got = vec![];
        peer.read_to_end(&mut got).await.unwrap();
        got.len()
    });
    let mut channel = Channel::new(io, "\n");
    assert_eq!(show(channel.receive("\n").await), "PUT");
    channel.push(vec![b'y'; 1000]);
    assert_eq!(show(channel.close().await), "done");
    drop(channel);
    assert_eq!(peer.await.unwrap(), 1000);
}

/// Read errors that end input only.
const READ_FAILURES: [ErrorKind; 4] =
    [ErrorKind::Other, ErrorKind::TimedOut, ErrorKind::UnexpectedEof, ErrorKind::InvalidData];

#[tokio::test(start_paused = true)]
async fn close_reports_a_failed_producer_if_only_reading_failed() {
    for kind in READ_FAILURES {
        let (mut channel, peer) = channel();
        let (failing, _probe) = producer([Give::Err(ErrorKind::InvalidData)]);
        channel.push("x");
        channel.push_with_producer(failing);
        peer.blocks_writes();
        assert_waits!(peer, channel.close());
        peer.reads([Read::Err(kind)]);
        assert_waits!(peer, channel.close());
        peer.wake_write();
        assert_eq!(show(anew!(channel.close())), "producer(InvalidData)", "{kind:?}");
        assert_eq!(show(anew!(channel.close())), "closed", "{kind:?}");
        assert_eq!(peer.written(), "x", "{kind:?}");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn close_drops_a_failure_of_the_input() {
    for before in [true, false] {
        let (mut channel, peer) = channel();
        let (answer, probe) = producer([Give::Pending]);
        channel.push_with_producer(answer);
        peer.reads([Read::Err(ErrorKind::Other)]);
        if before {
            // While it waits for a producer, it reads ahead.
            assert!(poll!(channel.flush()).is_pending());
        }
        probe.wake();
        assert_eq!(show(poll!(channel.close())), "done");
        assert_eq!(show(poll!(channel.next())), "none", "failed before the close: {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn close_drops_output_and_reports_a_break_while_it_sends() {
    for kind in BREAKS {
        // The failure that came first is the one that is reported.
        let by_producer = (Give::Err(ErrorKind::InvalidData), "producer(InvalidData)".into());
        for (give, reported) in [by_producer, (Give::Pending, format!("io({kind:?})"))] {
            let (mut channel, peer) = channel();
            let (stream, probe) = producer([give]);
            channel.push("x");
            channel.push_with_producer(stream);
            peer.blocks_writes();
            assert_waits!(peer, channel.close());
            peer.reads([Read::Err(kind)]);
            assert_eq!(show(poll!(channel.close())), reported, "{kind:?}");
            assert_eq!((channel.queued_bytes(), probe.drops()), (0, 1), "{kind:?}, {reported}");
            peer.wake_write();
            assert_eq!(show(poll!(channel.close())), "closed", "{kind:?}, {reported}");
            assert_eq!(peer.written(), "", "{kind:?}, {reported}");
            assert_eq!(peer.calls(), [], "{kind:?}, {reported}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn close_lets_go_of_the_timer_and_lingers_once() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, "\n");
    let mut task = tokio_test::task::spawn(channel.close());
    assert!(task.poll().is_pending());
    peer.ends();
    assert_eq!(show(task.poll()), "done");
    drop(task);
    assert_eq!(show(poll!(channel.close())), "done", "over is over");

    let (io, peer) = mock();
    let mut channel = Channel::builder().linger(Duration::from_secs(5)).build(io);
    assert!(poll!(channel.close()).is_pending());
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(show(poll!(channel.close())), "done");
    peer.sends("late");
    assert_eq!(show(poll!(channel.close())), "done", "and not read again");
}

#[tokio::test(start_paused = true)]
async fn close_ends_with_however_often_it_is_dropped() {
    let (io, peer) = mock();
    let linger = Duration::from_secs(5);
    let mut channel = Channel::builder().terminator("\n").linger(linger).build(io);
    for _ in 0..4 {
        assert!(poll!(channel.close()).is_pending());
        peer.sends("more\n");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert_eq!(show(poll!(channel.close())), "done");
}

#[test]
fn close_of_none_needs_no_timer_and_errors_are_those_of_flush() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().linger(Duration::ZERO).build(io);
    channel.push("bye");
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(peer.written(), "bye");

    let (io, peer) = mock();
    let mut channel = Channel::builder().build(io);
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("bye");
    assert_eq!(show(poll!(channel.close())), "io(BrokenPipe)");
    assert_eq!(show(poll!(channel.close())), "closed");
}

#[tokio::test(start_paused = true)]
async fn close_takes_a_reset_for_the_end_and_an_abort_for_an_error() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, "\n");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.close())), "done");

    let (io, _peer) = mock();
    let mut channel = Channel::new(io, "\n");
    let pusher = channel.pusher();
    let mut task = tokio_test::task::spawn(channel.close());
    assert!(task.poll().is_pending());
    pusher.abort();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "aborted");
}

#[test]
fn output_before_idle_producer_is_sent() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().build(io);
    channel.push("first");
    channel.push_with_producer(stream::repeat_with(|| Ok::<_, io::Error>(Bytes::new())));
    assert!(poll!(channel.flush()).is_pending());
    assert_eq!(peer.written(), "first");
}

#[test]
fn earlier_output_does_not_make_a_later_flush_yield() {
    let (mut channel, _peer) = channel();
    channel.push(vec![b'x'; 1 << 20]);
    while poll!(channel.flush()).is_pending() {}
    let yields = (0..100).filter(|_| {
        channel.push("few bytes");
        poll!(channel.flush()).is_pending()
    });
    assert!(yields.count() <= 1);
}

#[test]
fn receive_to_the_end_fails_after_a_failure_of_output() {
    let (mut channel, peer) = channel();
    channel.push("x");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    peer.reads([Read::Eof]);
    let next = poll!(channel.next());
    assert!(matches!(next, Poll::Ready(Some(Err(Error::Io(_))))), "{next:?}");
    assert_eq!(show(poll!(channel.receive(Terminator::none()))), "eof()");
}
