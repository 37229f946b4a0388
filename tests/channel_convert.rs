//! What a channel promises about `upgrade`, `into_parts`, `from_framed` and
//! `into_framed`.

mod mock;

use asynchat::{BoxProducer, Channel, Error, IntoTerminator, Rewind, Terminator, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, SinkExt, StreamExt};
use mock::{
    Call, Give, Mock, Peer, Read, Step, Write, assert_waits, chunk, mock, poll, producer, show,
    transport,
};
use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio_util::codec::{Decoder, Framed, FramedParts};

fn channel(terminator: impl IntoTerminator) -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (Channel::new(io, terminator), peer)
}

/// An upgrade to a second mock: the channel or the error, and its peer.
fn upgrade(channel: Channel<Mock>) -> (Result<Channel<Mock>, Box<Refusal>>, Peer) {
    let (new, peer) = mock();
    let upgraded = poll!(channel.upgrade(move |_old| async move { Ok(new) }));
    let upgraded = match upgraded {
        std::task::Poll::Ready(upgraded) => upgraded.map_err(Box::new),
        std::task::Poll::Pending => panic!("the upgrade waits"),
    };
    (upgraded, peer)
}

type Refusal = asynchat::UpgradeError<Mock>;

#[track_caller]
fn refused(channel: Channel<Mock>) -> (String, Channel<Mock>) {
    let refusal = upgrade(channel).0.unwrap_err();
    let channel = refusal.channel.expect("the channel comes back");
    (show(refusal.error), channel)
}

// Leftovers, in both directions.

#[test]
fn read_buf_is_delivered_before_the_transport_is_read() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").read_buf(&b"one\ntw"[..]).build(io);
    assert_eq!(channel.unread(), b"one\ntw");
    peer.sends("o\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peer.calls(), [Call::Flush], "nothing was read for it");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn read_buf_may_come_from_bytes_and_be_empty() {
    let (io, peer) = mock();
    let builder = Channel::builder().read_buf(Bytes::from_static(b"SECRET"));
    assert!(!format!("{builder:?}").contains("SECRET"));
    let mut channel = builder.clone().build(io);
    assert_eq!(show(poll!(channel.next())), "partial(SECRET)");
    drop((channel, peer));
    let (io, peer) = mock();
    let mut channel = builder.read_buf(BytesMut::new()).build(io);
    assert_waits!(peer, channel.next());
}

/// A transport that returns these bytes before those of the peer.
fn rewound(read_buf: &[u8]) -> (Rewind<Mock>, Peer) {
    let (io, peer) = mock();
    let channel = Channel::builder().read_buf(read_buf).build(io);
    (channel.into_parts().rewind(), peer)
}

#[test]
fn rewind_replays_unread_input_then_reads_on() {
    let (mut channel, peer) = channel("\r\n");
    peer.sends("PROXY UNKNOWN\r\nhel");
    assert_eq!(show(poll!(channel.next())), "complete(PROXY UNKNOWN)");
    peer.sends("lo\nmore\n");
    peer.ends();
    let mut channel = Channel::new(channel.into_parts().rewind(), "\n");
    assert_eq!(show(poll!(channel.next())), "complete(hello)");
    assert_eq!(show(poll!(channel.next())), "complete(more)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[test]
fn rewind_fills_buffers_of_any_size() {
    let (mut io, peer) = rewound(b"abcde");
    assert!(!format!("{io:?}").contains("abcde"));
    let mut block = [0; 4];
    for (size, read) in [(0, ""), (2, "ab"), (0, ""), (4, "cde")] {
        let n = poll!(io.read(&mut block[..size])).map(Result::unwrap);
        assert_eq!(n, Poll::Ready(read.len()));
        assert_eq!(&block[..read.len()], read.as_bytes());
    }
    assert_eq!(peer.calls(), [], "the transport was not read");
    peer.sends("f");
    assert_eq!(poll!(io.read(&mut block)).map(Result::unwrap), Poll::Ready(1));
    assert_eq!(block[0], b'f');
    assert!(poll!(io.read(&mut block)).is_pending());
}

#[test]
fn rewind_returns_unread_input_with_transport() {
    let (mut io, peer) = rewound(b"abc");
    assert!(!peer.is_dropped());
    let mut first = [0];
    assert_eq!(poll!(io.read(&mut first)).map(Result::unwrap), Poll::Ready(1));
    peer.sends("d");
    let (left, mut io) = io.into_inner();
    assert_eq!(left, "bc");
    assert_eq!(poll!(io.read(&mut first)).map(Result::unwrap), Poll::Ready(1));
    assert_eq!(first, *b"d");
}

#[test]
fn rewind_frees_its_buffer_with_the_last_byte() {
    let (mut io, _peer) = rewound(&[b'x'; 1000]);
    let mut block = [0; 1000];
    assert_eq!(poll!(io.read(&mut block)).map(Result::unwrap), Poll::Ready(1000));
    assert!(!io.into_inner().0.try_reclaim(1), "it still holds its block");
}

#[test]
fn rewind_forwards_writes_flush_and_shutdown() {
    let (mut io, peer) = rewound(b"unread");
    assert!(io.is_write_vectored() && io.get_ref().is_write_vectored());
    let slices = [io::IoSlice::new(b"one"), io::IoSlice::new(b",two,")];
    assert_eq!(poll!(io.write_vectored(&slices)).map(Result::unwrap), Poll::Ready(8));
    assert_eq!(poll!(io.write(b"three")).map(Result::unwrap), Poll::Ready(5));
    assert!(poll!(io.flush()).is_ready());
    assert!(poll!(io.shutdown()).is_ready());
    assert!(poll!(io.get_mut().flush()).is_ready());
    let calls = [Call::Vectored(2, 8), Call::Write(5), Call::Flush, Call::Shutdown, Call::Flush];
    assert_eq!(peer.calls(), calls);
    assert_eq!(peer.written(), "one,two,three");
    peer.is_not_vectored();
    assert!(!io.is_write_vectored());
}

// Upgrade is safe.

#[test]
fn queued_output_is_sent_before_upgrade() {
    let (mut channel, peer) = channel("\n");
    channel.push("220 Ready\n");
    let (stream, probe) = producer([chunk("more")]);
    channel.push_with_producer(stream);
    let (upgraded, new) = upgrade(channel);
    let mut upgraded = upgraded.unwrap();
    assert_eq!(peer.written(), "220 Ready\nmore");
    assert_eq!(peer.calls().last(), Some(&Call::Flush), "flushed, not shut down");
    assert!(peer.is_dropped());
    assert_eq!(probe.drops(), 1);
    upgraded.push("secret");
    assert_eq!(show(poll!(upgraded.flush())), "done");
    assert_eq!(new.written(), "secret");
    assert_eq!(peer.written(), "");
}

#[test]
fn the_transport_is_not_made_before_everything_is_sent() {
    let (mut channel, peer) = channel("\n");
    peer.blocks_writes();
    peer.flushes([Step::Pending]);
    channel.push("220 Ready\n");
    let made = std::cell::Cell::new(false);
    let mut task = tokio_test::task::spawn(channel.upgrade(|io| {
        made.set(true);
        async { Ok(io) }
    }));
    tokio_test::assert_pending!(task.poll());
    peer.wake_write();
    assert!(task.is_woken());
    tokio_test::assert_pending!(task.poll(), "a flush is awaited too");
    assert!(!made.get());
    peer.wake_write();
    assert!(task.is_woken());
    assert!(task.poll().is_ready());
    assert!(made.get());
}

#[test]
fn an_upgrade_is_refused_while_input_is_buffered() {
    let (mut channel, peer) = channel("\n");
    // CVE-2011-0411: a command injected in the clear behind STARTTLS.
    peer.sends("STARTTLS\nEHLO evil\n");
    assert_eq!(show(poll!(channel.next())), "complete(STARTTLS)");
    channel.push("220 Ready\n");
    let (error, mut channel) = refused(channel);
    assert_eq!(error, "unreadinput");
    assert!(!peer.is_dropped());
    assert_eq!(channel.unread(), b"EHLO evil\n", "intact");
    channel.push("500 no\n");
    assert_eq!(show(poll!(channel.next())), "complete(EHLO evil)", "and usable");
    assert_eq!(peer.written(), "220 Ready\n500 no\n");
}

#[test]
fn an_upgrade_is_refused_on_half_a_frame_too() {
    let (mut channel, peer) = channel("\n");
    peer.sends("x");
    assert_waits!(peer, channel.next());
    assert_eq!(refused(channel).0, "unreadinput");
}

#[test]
fn upgrade_is_refused_while_overlong_frame_is_skipped() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(3);
    peer.sends("too long");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    assert_eq!(channel.unread(), b"");
    let (error, mut channel) = refused(channel);
    assert_eq!(error, "unreadinput");
    peer.sends("tail\nok\n");
    assert_eq!(show(poll!(channel.next())), "complete(ok)");
    assert!(upgrade(channel).0.is_ok(), "and when the skip is over it works");
}

#[test]
fn upgrade_is_refused_while_discarded_frame_is_skipped() {
    let (mut channel, peer) = channel("\n");
    peer.sends("half");
    assert_waits!(peer, channel.next());
    channel.discard_buffers();
    assert_eq!(refused(channel).0, "unreadinput");
}

#[test]
fn an_upgrade_is_refused_on_a_closed_channel() {
    let (mut channel, peer) = channel("\n");
    channel.push("bye\n");
    channel.close_when_done();
    let (error, mut channel) = refused(channel);
    assert_eq!(error, "closed");
    assert_eq!(peer.written(), "bye\n");
    peer.sends("one\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
}

#[test]
fn an_upgrade_is_refused_after_the_end_of_input() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one");
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "partial(one)");
    let (error, mut channel) = refused(channel);
    assert_eq!(error, "io(UnexpectedEof)");
    assert_eq!(show(poll!(channel.next())), "none");
    let (error, mut channel) = refused(channel);
    assert_eq!(error, "io(UnexpectedEof)");
    channel.push("bye");
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn upgrade_fails_if_queued_output_cannot_be_sent() {
    let (mut one, peer) = channel("\n");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    one.push("220 Ready\n");
    let (error, mut one) = refused(one);
    assert_eq!(error, "io(BrokenPipe)");
    assert_eq!(show(poll!(one.next())), "none");
    assert_eq!(refused(one).0, "closed");

    let (mut two, _peer) = channel("\n");
    two.push_with_producer(producer([Give::Err(ErrorKind::NotFound)]).0);
    assert_eq!(refused(two).0, "producer(NotFound)");
}

#[test]
fn a_failing_make_uses_the_channel_up_and_closes_its_pushers() {
    let (mut channel, peer) = channel("\n");
    let pusher = channel.pusher();
    let make = |_io| async { Err::<Mock, _>(io::Error::other("handshake")) };
    let error = channel.upgrade(make).now_or_never().unwrap().unwrap_err();
    assert!(error.channel.is_none());
    assert!(matches!(&error.error, Error::Io(e) if e.kind() == ErrorKind::Other));
    assert_eq!(error.to_string(), "upgrade failed");
    assert_eq!(error.source().unwrap().to_string(), "handshake");
    assert!(peer.is_dropped());
    assert!(pusher.is_closed());
}

#[test]
fn pushers_stay_alive_over_an_upgrade() {
    let (mut channel, peer) = channel("\n");
    let pusher = channel.pusher();
    pusher.try_push("before,").unwrap();
    let (new, new_peer) = mock();
    let make = |_old| async {
        pusher.try_push("while,").unwrap();
        Ok(new)
    };
    let mut upgraded = channel.upgrade(make).now_or_never().unwrap().unwrap();
    assert_eq!(peer.written(), "before,");
    assert!(!pusher.is_closed());
    pusher.try_push("after").unwrap();
    let mut task = tokio_test::task::spawn(upgraded.next());
    tokio_test::assert_pending!(task.poll());
    assert_eq!(new_peer.written(), "while,after");
    pusher.try_push("!").unwrap();
    assert!(task.is_woken(), "the new channel's task is woken");
}

#[test]
fn settings_are_carried_over_an_upgrade() {
    let (io, _peer) = mock();
    let mut channel = Channel::builder()
        .terminator("|")
        .max_length(4)
        .keep_terminator(true)
        .encode_terminator(";")
        .high_water(1000)
        .low_water(0)
        .in_buffer_size(10)
        .pause_when_full(true)
        .build(io);
    channel.set_terminator("||");
    let (upgraded, new) = upgrade(channel);
    let mut upgraded = upgraded.unwrap();
    new.sends("a|b||too long||");
    assert_eq!(show(poll!(upgraded.next())), "complete(a|b||)");
    assert_eq!(show(poll!(upgraded.next())), "too long(4)");
    assert!(new.asked().iter().all(|&asked| asked <= 10));
    assert_eq!(upgraded.codec().max_length(), 4);
    assert_eq!(show(poll!(upgraded.send(Bytes::from("x")))), "done");
    assert_eq!(new.written(), "x;");
    new.blocks_writes();
    upgraded.push(vec![b'x'; 1000]);
    assert_waits!(new, upgraded.feed(Bytes::from("x")));
    new.sends("y||");
    assert_waits!(new, upgraded.next());
}

#[test]
fn an_upgrade_does_not_read() {
    let (mut channel, peer) = channel("\n");
    peer.sends("for the new transport");
    channel.push("x");
    assert!(upgrade(channel).0.is_ok());
    assert_eq!(peer.asked(), []);
}

#[test]
fn bytes_that_an_upgrade_wrote_are_flushed() {
    let (mut channel, _first) = channel("\n");
    channel.push("x");
    let (new, peer) = transport().holds("HELLO").build();
    let mut channel = channel.upgrade(|_old| async { Ok(new) }).now_or_never().unwrap().unwrap();
    assert_waits!(peer, channel.next());
    assert_eq!(peer.written(), "HELLO");
}

#[tokio::test]
async fn an_upgrade_to_another_type_of_transport_goes_on_both_ways() {
    let (here, there) = tokio::io::duplex(1000);
    let mut channel = Channel::new(here, "\n");
    let mut peer = Channel::new(there, "\n");
    channel.push("ready\n");
    let mut channel: Channel<BufStream<_>> =
        channel.upgrade(|io| async { Ok(BufStream::new(io)) }).await.unwrap();
    assert_eq!(peer.receive("\n").await.unwrap(), "ready");
    channel.push("over\n");
    channel.flush().await.unwrap();
    assert_eq!(peer.receive("\n").await.unwrap(), "over");
    peer.push("back\n");
    peer.flush().await.unwrap();
    assert_eq!(channel.receive("\n").await.unwrap(), "back");
}

// Leftover bytes are handed over explicitly, never silently lost.

fn drained(producer: BoxProducer) -> String {
    let chunks: Vec<io::Result<Bytes>> = producer.collect().now_or_never().expect("ready");
    chunks.into_iter().map(|chunk| show(chunk.unwrap())).collect()
}

#[test]
fn into_framed_closes_pushers() {
    let (mut channel, _peer) = channel("\n");
    let pusher = channel.pusher();
    assert!(channel.into_framed().is_ok());
    assert!(pusher.is_closed());
}

#[test]
fn into_framed_is_refused_while_a_close_of_a_pusher_is_queued() {
    let (mut channel, _peer) = channel("\n");
    channel.pusher().close_when_done();
    let mut channel = channel.into_framed().unwrap_err();
    assert_eq!(show(poll!(channel.ready())), "closed");
}

#[test]
fn framed_shows_what_is_unread() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(channel.framed().read_buffer(), "two");
}

#[test]
fn into_parts_returns_all_parts_of_channel() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_max_length(77);
    channel.codec_mut().set_max_head(66);
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    channel.push("unsent");
    let mut parts = channel.into_parts();
    assert_eq!(parts.read_buf, "two\nthr");
    assert_eq!(parts.unsent, "unsent");
    assert_eq!(parts.producers.len(), 0);
    assert_eq!(parts.codec.max_length(), 77);
    assert_eq!(parts.codec.max_head(), 66);
    assert_eq!(*parts.codec.terminator(), Terminator::lf());
    let frame = parts.codec.decode(&mut parts.read_buf).unwrap();
    assert_eq!(show(frame), "complete(two)");
    drop(parts.io);
    assert!(peer.is_dropped());
}

#[test]
fn into_parts_keeps_order_of_unsent_bytes_and_producers() {
    for out_buffer_size in [1, 65536] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().out_buffer_size(out_buffer_size).build(io);
        let large = "L".repeat(9000);
        peer.writes([Write::Accept(3), Write::Pending]);
        channel.push("sentA");
        channel.push(large.clone());
        channel.push_slice(b"B");
        assert_waits!(peer, channel.flush());
        channel.push("C");
        let (first, first_probe) = producer([chunk("D"), chunk("E")]);
        channel.push_with_producer(first);
        channel.push("F");
        channel.push(large.clone());
        let (second, second_probe) = producer([chunk("G")]);
        channel.push_with_producer(second);
        channel.push_slice(b"H");
        let parts = channel.into_parts();
        assert_eq!(peer.written(), "sen");
        assert_eq!(parts.unsent, format!("tA{large}BC"));
        assert_eq!((first_probe.drops(), second_probe.drops()), (0, 0), "given back");
        let rest: String = parts.producers.into_iter().map(drained).collect();
        assert_eq!(rest, format!("DEF{large}GH"));
        assert_eq!((first_probe.drops(), second_probe.drops()), (1, 1));
    }
}

#[test]
fn into_parts_returns_started_producer() {
    let (mut channel, peer) = channel("\n");
    let (stream, probe) = producer([chunk("A"), Give::Pending, chunk("B")]);
    channel.push_with_producer(stream);
    assert!(poll!(channel.flush()).is_pending());
    assert_eq!(peer.written(), "A");
    let mut parts = channel.into_parts();
    assert_eq!(parts.unsent, "");
    probe.wake();
    assert_eq!(drained(parts.producers.remove(0)), "B");
}

#[test]
fn into_parts_includes_inbox_and_closes_pushers() {
    let (mut channel, _peer) = channel("\n");
    let pusher = channel.pusher();
    channel.push("a");
    pusher.try_push("b").unwrap();
    assert!(poll!(pusher.push_with_producer(producer([chunk("c")]).0)).is_ready());
    let parts = channel.into_parts();
    assert_eq!(parts.unsent, "ab");
    assert_eq!(parts.producers.into_iter().map(drained).collect::<String>(), "c");
    assert!(pusher.is_closed());
}

#[test]
fn into_parts_includes_pushes_before_close_by_pusher() {
    let (mut channel, _peer) = channel("\n");
    let pusher = channel.pusher();
    pusher.try_push("bye").unwrap();
    pusher.close_when_done();
    assert_eq!(channel.into_parts().unsent, "bye");
}

// Framed.

#[test]
fn from_framed_keeps_both_buffers() {
    let (io, peer) = mock();
    let mut parts = FramedParts::new::<Bytes>(io, TerminatorCodec::new("\n"));
    parts.read_buf = BytesMut::from("one\ntw");
    parts.write_buf = BytesMut::from("unsent ");
    let mut channel = Channel::from_framed(Framed::from_parts(parts));
    channel.push("new");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(peer.written(), "unsent new");
    peer.sends("o\n");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
}

#[test]
fn from_framed_goes_on_in_the_middle_of_an_overlong_frame() {
    let (io, peer) = mock();
    let codec = TerminatorCodec::new("\n").with_max_length(3);
    let mut framed = Framed::new(io, codec);
    peer.sends("too long");
    assert_eq!(show(poll!(StreamExt::next(&mut framed))), "too long(3)");
    let mut channel = Channel::from_framed(framed);
    peer.sends("tail\nok\n");
    assert_eq!(show(poll!(channel.next())), "complete(ok)");
}

#[test]
fn into_framed_keeps_transport_codec_and_input() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    let mut framed = channel.into_framed().unwrap();
    assert_eq!(show(poll!(StreamExt::next(&mut framed))), "complete(two)");
    peer.sends("ee\n");
    assert_eq!(show(poll!(StreamExt::next(&mut framed))), "complete(three)");
    assert_eq!(show(poll!(framed.send(Bytes::from("answer")))), "done");
    assert_eq!(peer.written(), "answer");
    let new = Framed::new(mock().0, TerminatorCodec::new("\n"));
    assert_eq!(framed.backpressure_boundary(), new.backpressure_boundary());
}

#[test]
fn into_framed_returns_channel_if_queue_is_not_empty() {
    type Queue = fn(&mut Channel<Mock>);
    let rows: [(&str, Queue); 3] = [
        ("bytes", |channel| channel.push("a")),
        ("a producer", |channel| channel.push_with_producer(producer([chunk("a")]).0)),
        ("pushed from elsewhere", |channel| channel.pusher().try_push("a").unwrap()),
    ];
    for (name, queue) in rows {
        let (mut channel, peer) = channel("\n");
        queue(&mut channel);
        let mut channel = channel.into_framed().expect_err(name);
        assert!(channel.queued_bytes() > 0, "{name}");
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "a", "{name}: intact");
        assert!(channel.into_framed().is_ok());
    }
}

#[test]
fn into_framed_returns_channel_if_write_is_unfinished() {
    let (mut channel, peer) = channel("\n");
    peer.writes([Write::Accept(1), Write::Pending]);
    channel.push("abc");
    assert_waits!(peer, channel.flush());
    let mut channel = channel.into_framed().unwrap_err();
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abc");
}

#[test]
fn into_framed_returns_channel_if_close_is_queued() {
    // `close_when_done` is an entry in the queue: a Framed would forget it.
    let closes: [fn(&mut Channel<Mock>); 2] =
        [Channel::close_when_done, |channel| channel.pusher().close_when_done()];
    for close in closes {
        let (mut channel, peer) = channel("\n");
        close(&mut channel);
        let mut channel = channel.into_framed().expect_err("a close is queued");
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown));
    }
}

#[test]
fn a_round_trip_through_framed_loses_nothing() {
    let (mut channel, peer) = channel("\r\n");
    let input = "one\r\ntwo\r\nthree\r\nfour\r\n";
    peer.reads(input.bytes().flat_map(|b| [Read::Again, Read::Data(Bytes::from(vec![b]))]));
    let mut seen = vec![];
    for _ in 0..100 {
        if let std::task::Poll::Ready(frame) = poll!(channel.next()) {
            seen.push(show(frame));
        }
        // At every turn, in the middle of frames and terminators.
        channel = Channel::from_framed(channel.into_framed().unwrap());
    }
    assert_eq!(seen, ["complete(one)", "complete(two)", "complete(three)", "complete(four)"]);
}

#[test]
fn debug_of_parts_and_refusals_prints_lengths_not_content() {
    let (mut channel, peer) = channel("\n");
    peer.sends("SECRET");
    assert_waits!(peer, channel.next());
    peer.blocks_writes();
    let refusal = {
        let (io, _new) = mock();
        channel.upgrade(|_| async { Ok(io) }).now_or_never().unwrap().unwrap_err()
    };
    let shown = format!("{refusal:?}");
    assert!(!shown.contains("SECRET") && shown.contains("unread: 6"), "{shown}");
    let mut channel = refusal.channel.unwrap();
    channel.push("PASSWORD");
    channel.push_with_producer(producer([]).0);
    let shown = format!("{:?}", channel.into_parts());
    assert!(!shown.contains("SECRET") && !shown.contains("PASSWORD"), "{shown}");
    assert!(shown.contains("read_buf: 6") && shown.contains("unsent: 8"), "{shown}");
    assert!(shown.contains("producers: 1"), "{shown}");
    let shown = format!("{:?}", rewound(b"SECRET").0);
    assert!(shown.contains("read_buf: 6") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn debug_of_builder_and_discarded_shows_settings_and_lengths() {
    let builder = Channel::builder().max_length(1234).linger(Duration::from_secs(7));
    let shown = format!("{builder:?}");
    assert!(shown.contains("1234") && shown.contains("7s"), "{shown}");
    let (mut channel, _peer) = channel("\n");
    channel.push("PASSWORD");
    let shown = format!("{:?}", channel.discard_buffers());
    assert!(shown.contains("output_bytes: 8") && !shown.contains("PASSWORD"), "{shown}");
}

#[test]
fn a_channel_and_its_futures_can_go_to_another_thread() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn all<T: AsyncRead + AsyncWrite + Unpin + Send>(mut channel: Channel<T>) {
        drop(is_send(channel.next()));
        drop(is_send(channel.receive("\n")));
        drop(is_send(channel.flush()));
        drop(is_send(Channel::shutdown(&mut channel)));
        drop(is_send(channel.upgrade(|io| async { Ok(io) })));
    }
    let (channel, _peer) = channel("\n");
    all(is_send(channel));
}

#[test]
fn into_framed_returns_channel_if_error_is_unreported() {
    let (mut channel, peer) = channel("\n");
    peer.sends("one\n");
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("lost");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    let mut channel = channel.into_framed().expect_err("a failure waits");
    assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");
    assert!(channel.into_framed().is_ok());
}

#[test]
fn into_framed_returns_channel_if_failure_of_input_is_unreported() {
    let (mut channel, peer) = channel("\n");
    // While it waits for a producer, it reads ahead.
    let (answer, probe) = producer([Give::Pending]);
    channel.push_with_producer(answer);
    peer.reads([Read::Err(ErrorKind::Other)]);
    assert!(poll!(channel.flush()).is_pending());
    probe.wake();
    assert_eq!(show(poll!(channel.flush())), "done");
    let mut channel = channel.into_framed().expect_err("a failure waits");
    assert_eq!(show(poll!(channel.next())), "io(Other)");
    assert!(channel.into_framed().is_ok());
}

#[test]
fn into_framed_takes_a_channel_whose_close_is_done() {
    let (mut channel, peer) = channel("\n");
    assert_eq!(show(poll!(Channel::shutdown(&mut channel))), "done");
    peer.sends("one\n");
    let mut framed = channel.into_framed().expect("nothing is left to do");
    assert_eq!(show(poll!(StreamExt::next(&mut framed))), "complete(one)");
}

#[test]
fn into_framed_accepts_a_transport_that_is_not_flushed() {
    let (mut channel, peer) = channel("\n");
    peer.flushes([Step::Pending]);
    channel.push("hello");
    assert_waits!(peer, channel.flush());
    assert_eq!(channel.queued_bytes(), 0);
    let mut framed = channel.into_framed().expect("everything is written");
    assert_eq!(peer.written(), "hello");
    peer.wake_write();
    peer.calls();
    assert_eq!(show(poll!(SinkExt::<Bytes>::flush(&mut framed))), "done");
    assert_eq!(peer.calls(), [Call::Flush]);
}

#[test]
fn into_framed_accepts_a_transport_that_was_never_polled() {
    let (channel, peer) = channel("\n");
    assert!(channel.into_framed().is_ok());
    assert_eq!(peer.calls(), []);
}

#[test]
fn into_framed_refuses_bytes_kept_by_discard_buffers() {
    let (mut channel, peer) = channel("\n");
    peer.blocks_writes();
    channel.push("abc");
    assert_waits!(peer, channel.flush());
    channel.discard_buffers();
    let mut channel = channel.into_framed().expect_err("a write is to be retried");
    peer.wake_write();
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "abc");
    assert!(channel.into_framed().is_ok());
}

#[test]
fn a_refused_upgrade_is_an_error_like_any_other() {
    async fn starttls(channel: Channel<Mock>) -> Result<Channel<Mock>, Error> {
        Ok(channel.upgrade(|io| async { Ok(io) }).await?)
    }
    let (mut channel, peer) = channel("\n");
    peer.sends("x");
    assert_waits!(peer, channel.next());
    assert_eq!(show(poll!(starttls(channel)).map(|result| result.map(drop))), "unreadinput");
}

#[test]
fn a_channel_is_send_and_sync_if_its_transport_is() {
    fn check<T: Send + Sync>() {}
    check::<Channel<tokio::net::TcpStream>>();
    check::<asynchat::Builder>();
}
