//! The codec alone, in tokio-util's `Framed`, `FramedRead` and `FramedWrite`,
//! and the limits that its documentation names.

mod mock;

use asynchat::{Error, Frame, Terminator, TerminatorCodec};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use mock::{assert_waits, mock, poll, show};
use tokio_util::codec::{Framed, FramedRead, FramedWrite};

#[test]
fn framed_switches_right_after_a_frame_and_writes() {
    let (io, peer) = mock();
    let codec =
        TerminatorCodec::new(Terminator::blank_line()).with_encode_terminator(Terminator::crlf());
    let mut framed = Framed::new(io, codec);
    peer.sends("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET");
    let head = poll!(framed.next());
    assert_eq!(show(head), "complete(POST / HTTP/1.1\r\nContent-Length: 5)");
    framed.codec_mut().set_terminator(5);
    assert_eq!(show(poll!(framed.next())), "complete(hello)");
    framed.codec_mut().set_terminator(Terminator::blank_line());
    assert_waits!(peer, framed.next());
    assert_eq!(show(poll!(framed.send(Bytes::from("HTTP/1.1 200 OK")))), "done");
    assert_eq!(show(poll!(framed.flush())), "done");
    assert_eq!(peer.written(), "HTTP/1.1 200 OK\r\n");
}

#[test]
fn framed_write_refuses_injection_and_writes_nothing_of_it() {
    let (io, peer) = mock();
    let codec = TerminatorCodec::default().with_encode_terminator("\r\n");
    let mut framed = FramedWrite::new(io, codec);
    for content in ["to\r\nRCPT TO:<x>", "\r\n", "a\r\n"] {
        let refused = framed.start_send_unpin(Bytes::from(content));
        assert!(matches!(refused, Err(Error::TerminatorInContent)), "{content:?}");
    }
    for content in ["MAIL FROM:<a>", "", "a\r", "\n"] {
        framed.start_send_unpin(Bytes::from(content)).unwrap();
    }
    assert_eq!(show(poll!(framed.flush())), "done");
    assert_eq!(peer.written(), "MAIL FROM:<a>\r\n\r\na\r\r\n\n\r\n");
}

#[test]
fn framed_read_returns_rest_at_end_of_input() {
    let (io, peer) = mock();
    let mut framed = FramedRead::new(io, TerminatorCodec::new("\r\n"));
    peer.sends("one\r\ntwo\r");
    peer.ends();
    assert_eq!(show(poll!(framed.next())), "complete(one)");
    let last = poll!(framed.next());
    assert!(matches!(&last, std::task::Poll::Ready(Some(Ok(Frame::Partial(_))))));
    assert_eq!(show(last), "partial(two\r)");
    assert!(matches!(poll!(framed.next()), std::task::Poll::Ready(None)));
}

#[test]
fn framed_applies_change_only_when_new_bytes_arrive() {
    let (io, peer) = mock();
    let mut framed = Framed::new(io, TerminatorCodec::new("\r\n"));
    peer.sends("one|two|");
    assert_waits!(peer, framed.next());
    framed.codec_mut().set_terminator("|");
    assert_waits!(peer, framed.next());
    peer.sends("x");
    assert_eq!(show(poll!(framed.next())), "complete(one)");
}

#[test]
fn framed_returns_none_once_after_error_then_reads_on() {
    let (io, peer) = mock();
    let mut framed = Framed::new(io, TerminatorCodec::new("\n").with_max_length(3));
    peer.sends("too long\nok\n");
    assert_eq!(show(poll!(framed.next())), "too long(3)");
    assert!(matches!(poll!(framed.next()), std::task::Poll::Ready(None)));
    assert_waits!(peer, framed.next());
    peer.sends("x");
    assert_eq!(show(poll!(framed.next())), "complete(ok)");
}
