//! What `Terminator::message`, `Length` and `every` promise beyond the rows of
//! `codec_table`, and the functions of the module `message`.

mod mock;

use asynchat::{
    Body, BoxError, Channel, Control, Error, Frame, FrameRef, Handler, Head, Length, Run,
    Terminator, TerminatorCodec, message,
};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use mock::{Call, Read, assert_waits, mock, poll, show};
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio_util::codec::{Decoder, Encoder, Framed};

/// A line with a number, and that many bytes.
fn numbered() -> Terminator {
    Terminator::message("\n", |head| {
        let digits = head.strip_suffix(b"\n").unwrap_or(head);
        Ok(Body::Bytes(message::decimal(digits)?))
    })
}

/// The same, and how often it was asked.
fn counted() -> (Terminator, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let terminator = Terminator::message("\n", {
        let calls = Arc::clone(&calls);
        move |head| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(Body::Bytes(message::decimal(head.strip_suffix(b"\n").unwrap_or(head))?))
        }
    });
    (terminator, calls)
}

fn complete(data: &[u8]) -> Option<FrameRef<'_>> {
    Some(FrameRef::Complete(data))
}

fn partial(data: &[u8]) -> Option<FrameRef<'_>> {
    Some(FrameRef::Partial(data))
}

// Setting a terminator.

#[test]
fn the_same_message_set_again_changes_nothing() {
    let (terminator, calls) = counted();
    for streaming in [false, true] {
        let mut codec = TerminatorCodec::new(terminator.clone()).with_streaming(streaming);
        calls.store(0, Ordering::Relaxed);
        let input = b"3\nabc2\nde";
        let (mut src, mut seen) = (&input[..0], vec![]);
        for end in 1..=input.len() {
            src = &input[input.len().min(end) - src.len() - 1..end];
            codec.set_terminator(terminator.clone());
            while let Some(frame) = codec.decode_slice(&mut src).unwrap() {
                seen.extend_from_slice(frame.data());
                codec.set_terminator(terminator.clone());
            }
        }
        assert_eq!(seen, input);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}

#[test]
fn the_same_record_set_again_changes_nothing() {
    let mut codec = TerminatorCodec::new(Terminator::every(3)).with_streaming(true);
    assert_eq!(codec.decode_slice(&mut &b"a"[..]).unwrap(), partial(b"a"));
    codec.set_terminator(Terminator::every(3));
    assert_eq!(codec.decode_slice(&mut &b"bcd"[..]).unwrap(), complete(b"bc"));
}

#[test]
fn another_terminator_applies_from_the_first_byte_of_the_head() {
    let mut codec = TerminatorCodec::new(numbered());
    let mut src = &b"5\nab\nc"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    codec.set_terminator("\n");
    assert_eq!(codec.decode_slice(&mut src).unwrap(), complete(b"5"));
    assert_eq!(codec.decode_slice(&mut src).unwrap(), complete(b"ab"));
}

#[test]
fn terminator_set_in_streamed_body_applies_from_next_byte() {
    let mut codec = TerminatorCodec::new(numbered()).with_streaming(true);
    let mut src = &b"9\nab"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), partial(b"9\nab"));
    assert_eq!(codec.head_len(), 2);
    codec.set_terminator(2);
    src = b"cdef";
    assert_eq!(codec.decode_slice(&mut src).unwrap(), complete(b"cd"));
    assert_eq!(codec.head_len(), 0);
}

#[test]
fn different_message_asks_again_for_same_head() {
    let ((first, asked), (second, asked_again)) = (counted(), counted());
    let mut codec = TerminatorCodec::new(first);
    let mut src = &b"3\nab"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    codec.set_terminator(second);
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    assert_eq!((asked.load(Ordering::Relaxed), asked_again.load(Ordering::Relaxed)), (1, 1));
}

// A function that fails.

#[test]
fn panic_of_function_consumes_nothing_and_is_retried() {
    let panics = Arc::new(AtomicUsize::new(2));
    let terminator = Terminator::message("\n", {
        let panics = Arc::clone(&panics);
        move |_| {
            let left = panics.load(Ordering::Relaxed);
            panics.store(left.saturating_sub(1), Ordering::Relaxed);
            assert_eq!(left, 0, "the function panics");
            Ok(Body::Bytes(1))
        }
    });
    let mut codec = TerminatorCodec::new(terminator.clone());
    let mut src = BytesMut::from("x\nay\nb");
    for _ in 0..2 {
        let panicked = catch_unwind(AssertUnwindSafe(|| codec.decode(&mut src)));
        assert!(panicked.is_err());
        assert_eq!(src, "x\nay\nb");
    }
    assert_eq!(codec.decode(&mut src).unwrap().map(Frame::into_data), Some("x\na".into()));

    let (io, peer) = mock();
    let mut channel = Channel::new(io, terminator);
    peer.sends("x\nay\nb");
    for _ in 0..2 {
        panics.store(1, Ordering::Relaxed);
        let panicked = catch_unwind(AssertUnwindSafe(|| poll!(channel.next())));
        assert!(panicked.is_err());
    }
    assert_eq!(show(poll!(channel.next())), "complete(x\na)");
    assert_eq!(show(poll!(channel.next())), "complete(y\nb)");
}

#[test]
fn panic_of_function_after_skipped_message_loses_no_frame() {
    // The second head panics once.
    let panics = || {
        let left = Arc::new(AtomicUsize::new(1));
        Terminator::message(1, move |head| {
            let is_marked = head == b"P";
            assert!(!is_marked || left.swap(0, Ordering::Relaxed) == 0, "the function panics");
            Ok(Body::Bytes(if head == b"L" { 10 } else { 2 }))
        })
    };
    let rest = "EVILEVPabQcd";
    let mut codec = TerminatorCodec::new(panics()).with_max_length(5);
    let mut src = BytesMut::from("LEVIL");
    assert!(matches!(codec.decode(&mut src), Err(Error::FrameTooLong { .. })));
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    src.extend_from_slice(rest.as_bytes());
    let panicked = catch_unwind(AssertUnwindSafe(|| codec.decode(&mut src)));
    assert!(panicked.is_err());
    for frame in ["Pab", "Qcd"] {
        assert_eq!(codec.decode(&mut src).unwrap().map(Frame::into_data), Some(frame.into()));
    }

    for discards in [false, true] {
        let (io, peer) = mock();
        let mut channel = Channel::builder().terminator(panics()).max_length(5).build(io);
        peer.sends("LEVIL");
        assert_eq!(show(poll!(channel.next())), "too long(5)");
        assert_waits!(peer, channel.next());
        peer.sends(rest);
        if discards {
            // Nothing of it is delivered, and nothing of it is taken for a frame.
            let panicked = catch_unwind(AssertUnwindSafe(|| poll!(channel.next())));
            assert!(panicked.is_err());
            channel.discard_buffers();
            assert_eq!(channel.unread(), b"");
            continue;
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| poll!(channel.next())));
        assert!(panicked.is_err());
        for frame in ["Pab", "Qcd"] {
            assert_eq!(show(poll!(channel.next())), format!("complete({frame})"));
        }
    }
}

#[test]
fn a_shortened_buffer_shortens_the_head() {
    let mut codec = TerminatorCodec::new(Length::u32_be());
    let mut src = BytesMut::from(&b"\0\0\0\x08abc"[..]);
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    src.truncate(2);
    let rest = codec.decode_eof(&mut src).unwrap().map(Frame::into_data);
    assert_eq!(rest, Some(Bytes::from_static(b"\0\0")));
    assert_eq!(codec.head_len(), 2);
}

#[test]
fn an_invalid_head_is_reported_once_with_its_reason() {
    let mut codec = TerminatorCodec::new(numbered());
    let mut src = BytesMut::from("+5\nabc");
    let error = codec.decode(&mut src).unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(reason, "length with a byte that is not a digit");
    assert_eq!(error.to_string(), "invalid message head");
    assert!(matches!(error, Error::InvalidHead(_)));
    assert_eq!(src, "+5\nabc");
}

#[test]
fn a_codec_drops_all_input_after_an_invalid_head() {
    let mut codec = TerminatorCodec::new(numbered());
    let mut src = BytesMut::from("x\nabc");
    assert!(codec.decode(&mut src).is_err());
    assert!(codec.is_skipping());
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    codec.set_terminator("\n");
    src.extend_from_slice(b"one\ntwo");
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    assert_eq!(codec.decode_eof(&mut src).unwrap(), None);
    assert_eq!(src, "");
}

#[test]
fn framed_ends_at_an_invalid_head() {
    let (io, peer) = mock();
    let mut framed = Framed::new(io, TerminatorCodec::new(numbered()));
    peer.sends("1\na-1\nb");
    assert_eq!(show(poll!(framed.next())), "complete(1\na)");
    assert!(matches!(poll!(framed.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    assert!(matches!(poll!(framed.next()), Poll::Ready(None)));
    peer.sends("1\nc");
    assert!(poll!(framed.next()).is_pending());
}

// In a channel.

#[test]
fn invalid_head_ends_input_after_frames_and_keeps_output() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator(numbered()).linger(Duration::ZERO).build(io);
    peer.sends("1\nax\nbc");
    assert_eq!(show(poll!(channel.next())), "complete(1\na)");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    assert!(matches!(poll!(channel.next()), Poll::Ready(None)));
    assert_eq!(channel.unread(), b"x\nbc");
    channel.set_terminator("\n");
    assert!(matches!(poll!(channel.receive("\n")), Poll::Ready(Err(Error::Closed))));
    assert!(matches!(poll!(channel.next()), Poll::Ready(None)));
    channel.push("400\n");
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(peer.written(), "400\n");
}

#[test]
fn close_after_an_invalid_head_reads_until_the_peer_closes() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator(numbered()).linger(Duration::ZERO).build(io);
    peer.sends("x\nbc");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    channel.push("400\n");
    peer.sends("more");
    peer.ends();
    assert_eq!(show(poll!(channel.close())), "done");
    assert!(peer.calls().contains(&Call::Read(0)), "{:?}", peer.calls());
}

#[test]
fn peek_shows_unread_bytes_after_invalid_head() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\nbc");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    for n in [0, 1, 9] {
        let Poll::Ready(Ok(shown)) = poll!(channel.peek(n)) else { panic!("it waits") };
        assert_eq!(shown, b"x\nbc");
    }
    assert_eq!(channel.into_parts().read_buf, "x\nbc");
}

#[test]
fn limit_of_a_dropped_receive_does_not_refuse_a_later_head() {
    for (terminator, message) in [(numbered(), "1\nx"), (Length::u32_be().into(), "\0\0\0\u{1}x")] {
        let (io, peer) = mock();
        let mut channel = Channel::new(io, terminator.clone());
        // The fast path begins with the second poll.
        for _ in 0..2 {
            let limited = terminator.clone();
            assert!(poll!(channel.receive_within(0, limited)).is_pending());
            peer.sends(message);
            let Poll::Ready(Some(Ok(frame))) = poll!(channel.next()) else { panic!("{message:?}") };
            assert_eq!(frame.data(), message.as_bytes());
        }
    }
}

#[test]
fn a_break_is_noticed_after_an_invalid_head() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\n");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    assert!(poll!(channel.drive(std::future::pending::<()>())).is_pending());
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.drive(std::future::pending::<()>()))), "io(ConnectionReset)");
}

#[test]
fn unread_input_survives_a_break_after_invalid_head_and_shutdown() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\nbc");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    assert_eq!(show(poll!(channel.shutdown())), "done");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    let pending = || std::future::pending::<()>();
    assert_eq!(show(poll!(channel.drive(pending()))), "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.drive(pending()))), "closed");
    assert!(matches!(poll!(channel.next()), Poll::Ready(None)));
    assert_eq!(show(poll!(channel.receive("\n"))), "closed");
    assert_eq!(channel.unread(), b"x\nbc");
}

#[test]
fn run_notices_a_break_after_an_invalid_head() {
    struct GoesOn;
    impl Handler for GoesOn {
        type Error = Error;

        fn invalid_head(
            &mut self,
            _: &mut Control<'_>,
            _: &Arc<dyn std::error::Error + Send + Sync>,
        ) -> Result<(), Error> {
            Ok(())
        }
    }
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\n");
    assert!(poll!(channel.run(&mut GoesOn)).is_pending());
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    let ended = poll!(channel.run(&mut GoesOn));
    assert!(matches!(ended, Poll::Ready(Err(Error::Io(_)))), "{ended:?}");
}

#[test]
fn receive_returns_an_invalid_head_once() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    let terminator = channel.terminator().clone();
    peer.sends("x\nbc");
    let received = poll!(channel.receive(terminator.clone()));
    assert!(matches!(received, Poll::Ready(Err(Error::InvalidHead(_)))));
    for _ in 0..2 {
        let received = poll!(channel.receive(terminator.clone()));
        assert!(matches!(received, Poll::Ready(Err(Error::Closed))));
    }
    assert!(matches!(poll!(channel.receive_part()), Poll::Ready(Err(Error::Closed))));
}

#[test]
fn upgrade_refuses_unread_bytes_after_invalid_head() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\n");
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    let upgraded = poll!(channel.upgrade(|io| async { Ok(io) }));
    let Poll::Ready(Err(refused)) = upgraded else { panic!("upgraded") };
    assert!(matches!(refused.error, Error::UnreadInput));
}

#[test]
fn the_function_is_not_asked_about_input_that_a_close_drops() {
    let (terminator, calls) = counted();
    let (io, peer) = mock();
    let mut channel = Channel::new(io, terminator);
    channel.close_when_done();
    peer.sends("3\nabc1\nd");
    peer.ends();
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

struct Listener<'a> {
    seen: &'a RefCell<Vec<String>>,
    answers: bool,
}

impl Handler for Listener<'_> {
    type Error = Error;

    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        let (head, body) = data.split_at(channel.head_len());
        let (head, body) = (head.escape_ascii(), body.escape_ascii());
        self.seen.borrow_mut().push(format!("{head} {body}"));
        Ok(())
    }

    fn invalid_head(
        &mut self,
        channel: &mut Control<'_>,
        error: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Error> {
        self.seen.borrow_mut().push(format!("invalid: {error}"));
        if !self.answers {
            return Err(Error::InvalidHead(Arc::clone(error)));
        }
        channel.push("400\n");
        channel.close_when_done();
        Ok(())
    }

    fn closed(&mut self, error: Option<&Error>) {
        self.seen.borrow_mut().push(format!("closed: {error:?}"));
    }
}

#[test]
fn run_ends_with_an_invalid_head_unless_the_handler_answers() {
    for answers in [false, true] {
        let (io, peer) = mock();
        let mut channel =
            Channel::builder().terminator(numbered()).linger(Duration::ZERO).build(io);
        peer.sends("1\na2\nbcx\nd");
        let seen = RefCell::default();
        let ended = poll!(channel.run(&mut Listener { seen: &seen, answers }));
        let closed = match (ended, answers) {
            (Poll::Ready(Err(Error::InvalidHead(_))), false) => {
                "closed: Some(InvalidHead(\"length with a byte that is not a digit\"))"
            }
            (Poll::Ready(Ok(Run::Closed)), true) => "closed: None",
            (ended, _) => panic!("{ended:?}"),
        };
        let invalid = "invalid: length with a byte that is not a digit";
        assert_eq!(*seen.borrow(), ["1\\n a", "2\\n bc", invalid, closed]);
        assert_eq!(peer.written(), if answers { "400\n" } else { "" });
    }
}

struct Nothing;

impl Handler for Nothing {
    type Error = Error;
}

#[test]
fn run_returns_an_invalid_head_by_default() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("x\n");
    let ended = poll!(channel.run(&mut Nothing));
    assert!(matches!(ended, Poll::Ready(Err(Error::InvalidHead(_)))));
    assert!(matches!(poll!(channel.run(&mut Nothing)), Poll::Ready(Err(Error::Closed))));
}

#[test]
fn max_head_applies_to_a_length_that_a_callback_sets() {
    struct Switches(Vec<String>);
    impl Handler for Switches {
        type Error = Error;

        fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.push(data.escape_ascii().to_string());
            channel.set_terminator(Length::u64_be());
            Ok(())
        }
    }
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").max_head(4).build(io);
    peer.sends("one\n\0\0\0\0\0\0\0\x02xy");
    let mut handler = Switches(vec![]);
    let ended = poll!(channel.run(&mut handler));
    assert!(matches!(ended, Poll::Ready(Err(Error::InvalidHead(_)))));
    assert_eq!(handler.0, ["one"]);
}

// Discarding.

#[test]
fn discard_buffers_drops_messages_and_skips_rest_of_body() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("1\na3\nb");
    assert_eq!(show(poll!(channel.receive_within(9, numbered()))), "1\na");
    assert_eq!(channel.discard_buffers().input_bytes, 3);
    peer.sends("cd2\nef");
    assert_eq!(show(poll!(channel.next())), "complete(2\nef)");
}

#[test]
fn discard_buffers_keeps_an_incomplete_head() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, numbered());
    peer.sends("1\na1");
    assert_eq!(show(poll!(channel.next())), "complete(1\na)");
    assert_eq!(channel.discard_buffers().input_bytes, 0);
    assert_eq!(channel.unread(), b"1");
    peer.sends("\nb");
    assert_eq!(show(poll!(channel.next())), "complete(1\nb)");
}

#[test]
fn discard_buffers_leaves_an_invalid_head_to_be_reported() {
    let (terminator, calls) = counted();
    let (io, peer) = mock();
    let mut channel = Channel::new(io, terminator);
    peer.sends("1\na1\nbx\n");
    assert_eq!(show(poll!(channel.next())), "complete(1\na)");
    assert_eq!(channel.discard_buffers().input_bytes, 3);
    assert!(matches!(poll!(channel.next()), Poll::Ready(Some(Err(Error::InvalidHead(_))))));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn discard_buffers_skips_the_rest_of_a_record() {
    for streaming in [false, true] {
        let (io, peer) = mock();
        let mut channel =
            Channel::builder().terminator(Terminator::every(3)).streaming(streaming).build(io);
        peer.sends("abcd");
        assert_eq!(show(poll!(channel.next())), "complete(abc)");
        if streaming {
            assert_eq!(show(poll!(channel.next())), "partial(d)");
        }
        channel.discard_buffers();
        peer.sends("efghi");
        assert_eq!(show(poll!(channel.next())), "complete(ghi)", "{streaming}");
    }
}

// Values.

#[test]
fn head_len_is_zero_for_other_terminators() {
    let mut codec = TerminatorCodec::new(numbered());
    let mut src = &b"1\nab\nc"[..];
    codec.decode_slice(&mut src).unwrap();
    assert_eq!((codec.head_len(), codec.ended_by()), (2, &b""[..]));
    codec.set_terminator("\n");
    codec.decode_slice(&mut src).unwrap();
    assert_eq!((codec.head_len(), codec.ended_by()), (0, &b"\n"[..]));
    codec.set_terminator(1);
    codec.decode_slice(&mut src).unwrap();
    assert_eq!((codec.head_len(), codec.ended_by()), (0, &b""[..]));
}

#[test]
fn nothing_is_reserved_for_a_body_that_is_announced() {
    for streaming in [false, true] {
        let mut codec = TerminatorCodec::new(Length::u64_be())
            .with_streaming(streaming)
            .with_max_length(usize::MAX);
        let mut src = BytesMut::from(&b"\x7f\xff\xff\xff\xff\xff\xff\xffabc"[..]);
        // With 32 bits it is too long.
        drop(codec.decode(&mut src));
        assert!(src.capacity() < 64);
    }
}

#[test]
fn encoding_appends_nothing_for_lengths() {
    for terminator in [numbered(), Terminator::every(3), Length::u8().into()] {
        let mut codec = TerminatorCodec::default().with_encode_terminator(terminator);
        let mut sent = BytesMut::new();
        codec.encode(Bytes::from("x\n"), &mut sent).unwrap();
        assert_eq!(sent, "x\n");
    }
}

#[test]
fn a_channel_sends_messages_as_they_are() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, Length::u8());
    assert_eq!(show(poll!(channel.send(Bytes::from("\x01a")))), "done");
    assert_eq!(peer.written(), "\x01a");
    assert_waits!(peer, channel.next());
}

#[test]
fn equality_and_accessors_of_messages() {
    let (one, two) = (numbered(), numbered());
    assert_eq!(one, one.clone());
    assert_ne!(one, two);
    assert_eq!(Terminator::from(Length::u16_be()), Terminator::from(Length::big(2)));
    assert_ne!(Terminator::from(Length::u16_be()), Terminator::from(Length::little(2)));
    assert_eq!(Terminator::every(0), Terminator::none());
    assert_ne!(Terminator::every(2), Terminator::count(2));
    for terminator in [one, Length::u8().into(), Terminator::every(1)] {
        assert!(!terminator.is_none());
        assert_eq!(terminator.remaining(), None);
        assert_eq!(terminator.patterns().count(), 0);
    }
    assert_eq!(Head::from(2), Head::from(2u64));
    assert_eq!(Head::from(b"ab"), Head::from("ab"));
    assert_eq!(Head::any(["\r\n", "\n"]), Head::line());
    assert_eq!(format!("{two:?}"), "Message(Pattern(\"\\n\"))");
}

#[test]
fn the_limit_of_a_head_is_64_kib_unless_set() {
    let codec = TerminatorCodec::default();
    assert_eq!(codec.max_head(), 64 * 1024);
    assert_eq!(codec.clone().with_max_head(5).max_head(), 5);
    let (io, _peer) = mock();
    let channel = Channel::builder().max_head(7).build(io);
    assert_eq!(channel.codec().max_head(), 7);
}

#[test]
#[should_panic(expected = "outside the head")]
fn a_length_outside_its_head_panics() {
    let _ = Length::u16_be().within(1, 2);
}

#[test]
#[should_panic(expected = "counted bytes exceed the head")]
fn a_length_that_counts_more_than_its_head_panics() {
    let _ = Length::u8().counting(2);
}

#[test]
#[should_panic(expected = "1 to 8 bytes")]
fn a_length_of_no_bytes_panics() {
    let _ = Length::little(0);
}

#[test]
#[should_panic(expected = "1 to 8 bytes")]
fn a_length_of_nine_bytes_panics() {
    let _ = Length::big(9);
}

// The functions of the module `message`.

fn answer<T>(result: Result<T, BoxError>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

#[test]
fn content_length_reads_one_field_and_nothing_else() {
    let no_digit = Err("length with a byte that is not a digit".into());
    let two = Err("two Content-Length fields".into());
    let space = Err("space around the name of Content-Length".into());
    let rows: &[(&str, Result<Option<u64>, String>)] = &[
        ("", Ok(None)),
        ("\r\n\r\n", Ok(None)),
        ("Content-Length: 5\r\n\r\n", Ok(Some(5))),
        ("content-length:5\r\n\r\n", Ok(Some(5))),
        ("CONTENT-LENGTH:\t 5 \t\r\n\r\n", Ok(Some(5))),
        ("Content-Length: 5\n\n", Ok(Some(5))),
        ("Content-Length: 5", Ok(Some(5))),
        ("Content-Type: x\r\nContent-Length: 0\r\n\r\n", Ok(Some(0))),
        ("POST /Content-Length:9 HTTP/1.1\r\nA: b\r\n\r\n", Ok(None)),
        ("X-Content-Length: 5\r\nContent-Lengths: 6\r\n\r\n", Ok(None)),
        ("A: Content-Length: 5\r\n\r\n", Ok(None)),
        ("Content-Length: 18446744073709551615\r\n\r\n", Ok(Some(u64::MAX))),
        ("Content-Length: 00000000000000000000000005\r\n\r\n", Ok(Some(5))),
        ("Content-Length: 18446744073709551616\r\n", Err("length of 2^64 or more".into())),
        ("Content-Length: 99999999999999999999\r\n", Err("length of 2^64 or more".into())),
        ("Content-Length: +5\r\n\r\n", no_digit.clone()),
        ("Content-Length: -5\r\n\r\n", no_digit.clone()),
        ("Content-Length: 5, 5\r\n\r\n", no_digit.clone()),
        ("Content-Length: 5 5\r\n\r\n", no_digit.clone()),
        ("Content-Length: 0x5\r\n\r\n", no_digit.clone()),
        ("Content-Length: 5\r\r\n\r\n", Err("CR without LF".into())),
        ("Content-Length: 5\0\r\n\r\n", no_digit),
        ("Content-Length:\r\n\r\n", Err("no length".into())),
        ("Content-Length: 5\r\nContent-Length: 5\r\n\r\n", two.clone()),
        ("Content-Length: 5\ncontent-length: 6\r\n\r\n", two),
        ("Content-Length : 5\r\n\r\n", space.clone()),
        ("Content-Length\x0b: 5\r\n\r\n", space.clone()),
        ("A: b\rContent-Length: 5\r\n\r\n", Err("CR without LF".into())),
        ("A: b\r\n Content-Length: 5\r\n\r\n", space),
        ("Content-Length: 5\r\n 6\r\n\r\n", Err("Content-Length on two lines".into())),
        ("Content-Length: 5\r\n\t\r\n\r\n", Err("Content-Length on two lines".into())),
    ];
    for (head, expected) in rows {
        assert_eq!(answer(message::content_length(head.as_bytes())), *expected, "{head:?}");
    }
}

#[test]
fn decimal_reads_digits_and_nothing_else() {
    let rows: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("5", Some(5)),
        ("007", Some(7)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("+5", None),
        ("-5", None),
        (" 5", None),
        ("5\n", None),
        ("5_0", None),
        ("\u{0665}", None),
    ];
    for (digits, expected) in rows {
        assert_eq!(message::decimal(digits.as_bytes()).ok(), *expected, "{digits:?}");
    }
}

#[test]
fn messages_hash_as_they_compare() {
    let (one, other) = (numbered(), numbered());
    assert_eq!(HashSet::from([one.clone(), one.clone()]).len(), 1);
    let hashes = [&one, &other].map(|one| BuildHasherDefault::<DefaultHasher>::new().hash_one(one));
    assert_ne!(hashes[0], hashes[1]);
    assert_eq!(HashSet::from([one, other]).len(), 2);
}
