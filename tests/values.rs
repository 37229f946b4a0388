//! What the plain values are made of and what they tell: conversions, getters,
//! `Debug` and `Display`.

use asynchat::{Error, Frame, FrameRef, Pattern, Terminator, TerminatorCodec, Timeout};
use bytes::Bytes;
use std::error::Error as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

fn failed(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "no luck")
}

/// Of each what `Debug` and `Display` show, and its kind as an `io::Error`.
#[test]
fn errors_tell_what_was_and_never_content() {
    let eof = |partial: &'static str| Error::UnexpectedEof { partial: partial.into() };
    let second = Duration::from_secs(1);
    let no_luck = r#"Custom { kind: TimedOut, error: "no luck" }"#;
    for (error, debug, display, kind) in [
        (
            Error::from(failed(ErrorKind::TimedOut)),
            format!("Io({no_luck})"),
            "no luck",
            ErrorKind::TimedOut,
        ),
        (
            Error::FrameTooLong { limit: 3 },
            "FrameTooLong { limit: 3 }".into(),
            "frame longer than 3 bytes",
            ErrorKind::InvalidData,
        ),
        (
            Error::TerminatorInContent,
            "TerminatorInContent".into(),
            "terminator inside the content",
            ErrorKind::InvalidInput,
        ),
        (
            eof("secret"),
            "UnexpectedEof { partial_len: 6 }".into(),
            "input ended after 6 bytes of a frame",
            ErrorKind::UnexpectedEof,
        ),
        (
            eof(""),
            "UnexpectedEof { partial_len: 0 }".into(),
            "input ended",
            ErrorKind::UnexpectedEof,
        ),
        (
            Error::Producer(failed(ErrorKind::TimedOut)),
            format!("Producer({no_luck})"),
            "producer failed",
            ErrorKind::TimedOut,
        ),
        (Error::Closed, "Closed".into(), "channel closed for writing", ErrorKind::BrokenPipe),
        (Error::Aborted, "Aborted".into(), "connection given up", ErrorKind::ConnectionAborted),
        (
            Error::from(Timeout::Idle(second)),
            "Timeout(Idle(1s))".into(),
            "no frame within 1s",
            ErrorKind::TimedOut,
        ),
        (
            Error::UnreadInput,
            "UnreadInput".into(),
            "unread input before the upgrade",
            ErrorKind::InvalidData,
        ),
    ] {
        assert_eq!((format!("{error:?}"), error.to_string()), (debug, display.into()));
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (kind, display.into()));
    }
}

#[test]
fn only_what_somebody_else_failed_with_is_a_source() {
    let source = |error: &Error| error.source().map(|source| source.to_string());
    assert_eq!(source(&Error::Producer(failed(ErrorKind::Other))).as_deref(), Some("no luck"));
    // One of the transport speaks for itself; its source is the next one.
    let inner = io::Error::other(Error::Producer(failed(ErrorKind::Other)));
    assert_eq!(source(&Error::from(inner)).as_deref(), Some("no luck"));
    assert!(Error::from(io::Error::from(ErrorKind::NotFound)).source().is_none());
    assert!(Error::Closed.source().is_none());
    // And it is handed on as it came, not wrapped.
    let error = io::Error::from(Error::Io(failed(ErrorKind::NotFound)));
    assert!(error.get_ref().is_some_and(|inner| !inner.is::<Error>()), "{error:?}");
}

#[test]
fn frames_borrowed_and_owned() {
    let data = Bytes::from("secret");
    for (frame, debug, complete) in [
        (Frame::Complete(data.clone()), "Complete(6 bytes)", Some(data.clone())),
        (Frame::Partial(data.clone()), "Partial(6 bytes)", None),
    ] {
        let borrowed = match frame {
            Frame::Complete(_) => FrameRef::Complete(&data),
            Frame::Partial(_) => FrameRef::Partial(&data),
        };
        assert_eq!(format!("{frame:?} {borrowed:?}"), format!("{debug} {debug}"));
        assert_eq!((frame.data(), borrowed.data()), (&data[..], &data[..]));
        assert_eq!((frame.as_ref(), borrowed.as_ref()), (&data[..], &data[..]));
        assert_eq!(
            (frame.is_complete(), borrowed.is_complete()),
            (complete.is_some(), complete.is_some())
        );
        assert_eq!(frame.clone().into_complete(), complete);
        assert_eq!(borrowed.into_complete(), complete.as_deref());
        assert_eq!(borrowed.into_owned(), frame);
        assert_eq!(frame.clone().into_data().as_ptr(), data.as_ptr(), "copied");
        let detached = frame.clone().detach();
        assert_eq!(detached, frame);
        assert_ne!(detached.data().as_ptr(), data.as_ptr(), "not copied");
    }
}

#[test]
fn terminators_out_of_other_types() {
    let bytes = |bytes: &[u8]| Pattern::new(bytes).map_or(Terminator::None, Terminator::Pattern);
    let rows = [
        (Terminator::from("\r\n"), bytes(b"\r\n"), r#"Pattern("\r\n")"#),
        (Terminator::from(&b"ab"[..]), bytes(b"ab"), r#"Pattern("ab")"#),
        (Terminator::from(b"\0\xff"), bytes(b"\0\xff"), r#"Pattern("\x00\xff")"#),
        (Terminator::from(String::from("ab")), bytes(b"ab"), r#"Pattern("ab")"#),
        (Terminator::from(vec![b'a']), bytes(b"a"), r#"Pattern("a")"#),
        (
            Terminator::from(Bytes::from("123456789")),
            bytes(b"123456789"),
            r#"Pattern("123456789")"#,
        ),
        (Terminator::from(5), Terminator::Count(5), "Count(5)"),
        (Terminator::count(5), Terminator::Count(5), "Count(5)"),
        (Terminator::from(Some(Terminator::Count(5))), Terminator::Count(5), "Count(5)"),
        (Terminator::from(None), Terminator::None, "None"),
        (Terminator::from(""), Terminator::None, "None"),
        (Terminator::crlf(), bytes(b"\r\n"), r#"Pattern("\r\n")"#),
        (Terminator::lf(), bytes(b"\n"), r#"Pattern("\n")"#),
        (Terminator::blank_line(), bytes(b"\r\n\r\n"), r#"Pattern("\r\n\r\n")"#),
        (Terminator::line(), Terminator::any(["\r\n", "\n"]), r#"AnyOf(["\r\n", "\n"])"#),
        (Terminator::any([";", ","]), Terminator::any([";", ","]), r#"AnyOf([";", ","])"#),
        (Terminator::any([",", ";"]), Terminator::any([",", ";"]), r#"AnyOf([",", ";"])"#),
        (Terminator::any(["", "ab"]), bytes(b"ab"), r#"Pattern("ab")"#),
        (Terminator::any([""]), Terminator::None, "None"),
    ];
    for (made, same, shown) in &rows {
        assert_eq!(made, same, "{shown}");
        assert_eq!(&format!("{made:?}"), shown);
        for (other, _, looks) in &rows {
            assert_eq!(made == other, shown == looks, "{shown} and {looks}");
        }
    }
}

#[test]
fn a_codec_has_the_knobs_it_was_made_with() {
    let knobs = |codec: &TerminatorCodec| {
        (
            codec.terminator().clone(),
            codec.max_length(),
            codec.streaming(),
            codec.keep_terminator(),
            codec.encode_terminator().clone(),
        )
    };
    let new = (Terminator::None, 65536, false, false, Terminator::None);
    assert_eq!(knobs(&TerminatorCodec::default()), new);
    let codec = TerminatorCodec::new("a")
        .with_terminator("b")
        .with_max_length(7)
        .with_streaming(true)
        .with_keep_terminator(true)
        .with_encode_terminator("c");
    assert_eq!(knobs(&codec), ("b".into(), 7, true, true, "c".into()));
}
