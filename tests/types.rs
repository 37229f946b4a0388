//! What the plain values are made of and what they tell: conversions, getters,
//! `Debug` and `Display`.

use asynchat::{Channel, Error, Frame, FrameRef, Terminator, TerminatorCodec, Timeout, Timeouts};
use bytes::{Bytes, BytesMut};
use std::collections::HashSet;
use std::error::Error as _;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, ErrorKind};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

fn failed(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "no luck")
}

/// For a frame beyond this limit.
fn too_long(limit: usize) -> Error {
    let mut codec = TerminatorCodec::new(limit as u64 + 1).with_max_length(limit);
    codec.decode_slice(&mut &b""[..]).unwrap_err()
}

/// For input that ends after these bytes of a frame.
fn eof(partial: &str) -> Error {
    let io = tokio_test::io::Builder::new().read(partial.as_bytes()).build();
    tokio_test::block_on(Channel::new(io, "\n").receive("\n")).unwrap_err()
}

/// Of each what `Debug` and `Display` show, and its kind as an `io::Error`.
#[test]
fn errors_show_cause_and_no_content() {
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
            too_long(3),
            "FrameTooLong { limit: 3 }".into(),
            "frame longer than 3 bytes",
            ErrorKind::InvalidData,
        ),
        (
            Error::TerminatorInContent,
            "TerminatorInContent".into(),
            "content contains the terminator",
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
        (Error::Closed, "Closed".into(), "channel closed", ErrorKind::BrokenPipe),
        (Error::Aborted, "Aborted".into(), "connection aborted", ErrorKind::ConnectionAborted),
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
fn only_foreign_errors_are_sources() {
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
    let text = "secret";
    let complete = || Frame::Complete(text.into());
    let partial = || Frame::Partial(text.into());
    let rows: [(&dyn Fn() -> Frame, _, _, _); 2] = [
        (&complete, FrameRef::Complete(text.as_bytes()), "Complete(6 bytes)", Some(text)),
        (&partial, FrameRef::Partial(text.as_bytes()), "Partial(6 bytes)", None),
    ];
    for (frame, borrowed, debug, complete) in rows {
        let complete = complete.map(str::as_bytes);
        assert_eq!(format!("{:?} {borrowed:?}", frame()), format!("{debug} {debug}"));
        assert_eq!((frame().data(), borrowed.data()), (text.as_bytes(), text.as_bytes()));
        assert_eq!((frame().as_ref(), borrowed.as_ref()), (text.as_bytes(), text.as_bytes()));
        assert_eq!(
            (frame().is_complete(), borrowed.is_complete()),
            (complete.is_some(), complete.is_some())
        );
        assert_eq!(frame().into_complete().as_deref(), complete);
        assert_eq!(borrowed.into_complete(), complete);
        assert_eq!(borrowed.into_owned(), frame());
    }
    assert_ne!(complete(), partial());
    assert_eq!(HashSet::from([complete(), partial(), complete()]).len(), 2);
}

#[test]
fn frames_return_their_bytes_without_copying() {
    for new in [Frame::Complete, Frame::Partial] {
        let frame = || {
            let data = BytesMut::from("secret");
            (data.as_ptr(), new(data))
        };
        let (address, owned) = frame();
        let data = owned.into_data();
        assert_eq!((data.as_ptr(), data.as_ref()), (address, b"secret".as_slice()), "copied");
        let (address, owned) = frame();
        let mut data = owned.into_mut();
        data.make_ascii_uppercase();
        assert_eq!((data.as_ptr(), data.as_ref()), (address, b"SECRET".as_slice()), "copied");
        let (address, owned) = frame();
        let is_complete = owned.is_complete();
        let complete = owned.into_complete().map(|data| data.as_ptr());
        assert_eq!(complete, is_complete.then_some(address));
        let mut block = BytesMut::from("secret and more");
        let kept = new(block.split_to(6));
        let address = kept.data().as_ptr();
        let detached = kept.detach();
        assert_eq!((detached.is_complete(), detached.data()), (is_complete, &b"secret"[..]));
        assert_ne!(detached.data().as_ptr(), address, "not copied");
        assert_eq!(block, " and more");
    }
}

#[test]
fn terminators_out_of_other_types() {
    let bytes = |bytes: &[u8]| Terminator::any([bytes]);
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
        (Terminator::from(5), Terminator::from(5_u64), "Count(5)"),
        (Terminator::count(5), Terminator::from(5), "Count(5)"),
        (Terminator::from(Some(Terminator::from(5))), Terminator::from(5), "Count(5)"),
        (Terminator::from(0), Terminator::count(0), "Count(0)"),
        (Terminator::from(None), Terminator::none(), "None"),
        (Terminator::from(""), Terminator::none(), "None"),
        (Terminator::default(), Terminator::none(), "None"),
        (Terminator::crlf(), bytes(b"\r\n"), r#"Pattern("\r\n")"#),
        (Terminator::lf(), bytes(b"\n"), r#"Pattern("\n")"#),
        (Terminator::blank_line(), bytes(b"\r\n\r\n"), r#"Pattern("\r\n\r\n")"#),
        (Terminator::line(), Terminator::any(["\r\n", "\n"]), r#"AnyOf(["\r\n", "\n"])"#),
        (Terminator::any([";", ","]), Terminator::any([",", ";"]), r#"AnyOf([";", ","])"#),
        (Terminator::any(["", "ab"]), bytes(b"ab"), r#"Pattern("ab")"#),
        (Terminator::any([""]), Terminator::none(), "None"),
    ];
    for (made, same, shown) in &rows {
        assert_eq!(made, same, "{shown}");
        assert_eq!(&format!("{made:?}"), shown);
        for (other, _, looks) in &rows {
            assert_eq!(made == other, shown == looks, "{shown} and {looks}");
            let both = HashSet::from([made, other]);
            assert_eq!(both.len(), 1 + usize::from(made != other), "{shown} and {looks}");
            assert_eq!(hash(made) == hash(other), made == other, "{shown} and {looks}");
        }
    }
}

fn hash(terminator: &Terminator) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(terminator)
}

#[test]
fn sets_compare_without_order_and_repetition() {
    let long = "a byte string that is not inline";
    for members in [&["\r\n", "\n"][..], &[";", ","], &["ab", "b", "aab"], &[long, "b", ";;"]] {
        let set = Terminator::any(members);
        let reversed = || members.iter().rev();
        let twice = Terminator::any(reversed().chain(reversed()).chain(&[""]));
        for equal in [Terminator::any(reversed()), twice] {
            assert_eq!(set, equal);
            assert_eq!(HashSet::from([set.clone(), equal]).len(), 1, "{set:?}");
        }
        for other in [
            Terminator::any(&members[1..]),
            Terminator::any(members.iter().chain(&["more"])),
            Terminator::any(members.iter().map(|member| format!("{member}x"))),
            Terminator::none(),
        ] {
            assert_ne!(set, other);
            assert_ne!(hash(&set), hash(&other), "{set:?}");
            assert_eq!(HashSet::from([set.clone(), other]).len(), 2, "{set:?}");
        }
    }
}

#[test]
fn terminators_show_their_kind() {
    let long = "a byte string that is not inline";
    for (terminator, patterns, remaining) in [
        (Terminator::none(), vec![], None),
        (Terminator::any([""]), vec![], None),
        (Terminator::crlf(), vec!["\r\n"], None),
        (Terminator::from(long), vec![long], None),
        (Terminator::line(), vec!["\r\n", "\n"], None),
        (Terminator::any([",", long, "", ";", ","]), vec![",", long, ";"], None),
        (Terminator::count(0), vec![], Some(0)),
        (Terminator::count(usize::MAX), vec![], Some(usize::MAX as u64)),
        (Terminator::from(u64::MAX), vec![], Some(u64::MAX)),
    ] {
        let shown: Vec<_> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        assert_eq!(terminator.patterns().collect::<Vec<_>>(), shown, "{terminator:?}");
        assert_eq!(terminator.remaining(), remaining, "{terminator:?}");
        let is_none = patterns.is_empty() && remaining.is_none();
        assert_eq!(terminator.is_none(), is_none, "{terminator:?}");
        assert_eq!(terminator == Terminator::none(), is_none, "{terminator:?}");
    }
}

#[test]
fn a_terminator_is_two_words() {
    assert_eq!(size_of::<Terminator>(), 16);
    assert_eq!(size_of::<Option<Terminator>>(), 16);
}

#[test]
fn remaining_count_decreases_with_each_part() {
    let mut codec = TerminatorCodec::new(5).with_streaming(true);
    assert_eq!(codec.terminator().remaining(), Some(5));
    let mut src = &b"abc"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Partial(b"abc")));
    assert_eq!(codec.terminator().remaining(), Some(2));
    let mut src = &b"defg"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Complete(b"de")));
    assert!(codec.terminator().is_none());
}

#[test]
fn timeouts_are_all_or_none_or_chosen() {
    let second = Duration::from_secs(1);
    let some = Some(second);
    let min_rate = None;
    assert_eq!(Timeouts::default(), Timeouts { frame: None, min_rate, idle: None, write: None });
    assert_eq!(Timeouts::all(second), Timeouts { frame: some, min_rate, idle: some, write: some });
    let chosen = Timeouts { write: None, ..Timeouts::all(second) };
    let (io, _peer) = tokio::io::duplex(1);
    let mut channel = Channel::builder().timeouts(chosen).build(io);
    assert_eq!(channel.timeouts(), chosen);
    channel.set_timeouts(Timeouts::default());
    assert_eq!(channel.timeouts(), Timeouts::default());
    channel.set_timeouts(chosen);
    assert_eq!(channel.timeouts(), chosen);
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
    let new = (Terminator::none(), 65536, false, false, Terminator::none());
    assert_eq!(knobs(&TerminatorCodec::default()), new);
    let codec = TerminatorCodec::new("a")
        .with_terminator("b")
        .with_max_length(7)
        .with_streaming(true)
        .with_keep_terminator(true)
        .with_encode_terminator("c");
    assert_eq!(knobs(&codec), ("b".into(), 7, true, true, "c".into()));
}

#[test]
fn a_channel_is_at_most_600_bytes_beyond_its_transport() {
    let size = size_of::<Channel<()>>();
    assert!(size <= 600 || size_of::<usize>() != 8, "{size}");
}

/// The marker traits of the public types, as far as their parts allow.
#[test]
fn public_types_have_their_marker_traits() {
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    fn shared<T: Send + Sync + Unpin>() {}
    all::<Terminator>();
    all::<TerminatorCodec>();
    all::<Frame>();
    all::<FrameRef<'_>>();
    all::<Timeouts>();
    all::<Timeout>();
    all::<asynchat::Builder>();
    all::<asynchat::Discarded>();
    all::<asynchat::Run>();
    all::<asynchat::PushError>();
    all::<asynchat::TryPushError>();
    all::<asynchat::Pipe<Vec<u8>, Vec<u8>>>();
    // An error, a producer or a waker in it need not be unwind safe.
    shared::<Error>();
    shared::<asynchat::Channel<tokio::net::TcpStream>>();
    shared::<asynchat::Pusher>();
    shared::<asynchat::Permit<'_>>();
    shared::<asynchat::UpgradeError<tokio::net::TcpStream>>();
    fn sent<T: Send + Unpin>() {}
    sent::<asynchat::Parts<tokio::net::TcpStream>>();
    fn shared_by_reference<T: Send + Sync>() {}
    shared_by_reference::<asynchat::Control<'_>>();
}
