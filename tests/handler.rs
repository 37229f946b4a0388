//! What `Handler`, `Control` and `Channel::run` promise.

mod mock;

use asynchat::{
    Builder, Channel, Control, Error, Handler, Pusher, Run, Terminator, TerminatorCodec, Timeout,
    Timeouts,
};
use bytes::Bytes;
use futures::stream;
use mock::{
    BREAKS, Call, Give, Mock, ONE_WAY, Peer, Read, Show, Step, Write, anew, assert_waits, chunk,
    mock, poll, producer, show,
};
use std::io::{self, ErrorKind};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tokio_util::codec::{Framed, FramedParts};

/// An error of the handler's own.
#[derive(Debug)]
enum Oops {
    Channel(Error),
    Mine,
}

impl From<Error> for Oops {
    fn from(error: Error) -> Self {
        Oops::Channel(error)
    }
}

impl Show for Oops {
    fn show(self) -> String {
        match self {
            Oops::Channel(error) => error.show(),
            Oops::Mine => "mine".into(),
        }
    }
}

type Act<'a> = Box<dyn FnMut(&str, &mut Control<'_>) -> Result<(), Oops> + Send + 'a>;

/// Writes down each callback, and then does what the test wants.
struct Recorder<'a> {
    seen: Vec<String>,
    act: Act<'a>,
}

/// `act` is told the name of the callback, with the data: "collect(abc)".
fn recorder<'a>(mut act: impl FnMut(&str, &mut Control<'_>) + Send + 'a) -> Recorder<'a> {
    failing(move |event, channel| {
        act(event, channel);
        Ok(())
    })
}

/// Fills the queue up to a high-water mark of 1000.
fn full_at_once() -> Recorder<'static> {
    recorder(|event, channel| {
        if event == "connected" {
            channel.push(vec![b'x'; 1000]);
        }
    })
}

fn failing<'a>(
    act: impl FnMut(&str, &mut Control<'_>) -> Result<(), Oops> + Send + 'a,
) -> Recorder<'a> {
    Recorder { seen: vec![], act: Box::new(act) }
}

impl Recorder<'_> {
    fn record(&mut self, event: String, channel: &mut Control<'_>) -> Result<(), Oops> {
        let done = (self.act)(&event, channel);
        self.seen.push(event);
        done
    }

    /// What was called since the last call of this.
    fn seen(&mut self) -> String {
        std::mem::take(&mut self.seen).join(" ")
    }
}

impl Handler for Recorder<'_> {
    type Error = Oops;

    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Oops> {
        assert!(!data.is_empty(), "never empty");
        self.record(format!("collect({})", std::str::from_utf8(data).unwrap()), channel)
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.record("found".into(), channel)
    }

    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.record("connected".into(), channel)
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, limit: usize) -> Result<(), Oops> {
        self.record(format!("too-long({limit})"), channel)
    }

    /// Does not close by itself.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.record("ended".into(), channel)
    }

    fn closed(&mut self, error: Option<&Error>) {
        self.seen.push(error.map_or("closed".into(), |error| format!("closed by {error}")));
    }
}

/// Collects lines and sends them back; everything provided is left as it is.
#[derive(Default)]
struct Echo {
    line: Vec<u8>,
}

impl Handler for Echo {
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.line.extend_from_slice(data);
        Ok(())
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.line.push(b'\n');
        channel.push(std::mem::take(&mut self.line));
        Ok(())
    }
}

fn builder() -> Builder {
    Channel::builder().terminator("\n").linger(Duration::ZERO)
}

fn channel() -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (builder().build(io), peer)
}

/// With out_buffer_size 1 and with the default.
fn both() -> [(Channel<Mock>, Peer); 2] {
    [1, 65536].map(|size| {
        let (io, peer) = mock();
        (builder().out_buffer_size(size).build(io), peer)
    })
}

// The rhythm.

#[test]
fn whole_frame_is_one_collect_and_one_found() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|_, _| ());
    peer.reads("one\n\ntwo\nthr".chars().map(|c| Read::Data(Bytes::from(c.to_string()))));
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found found collect(two) found");
    assert_eq!(channel.unread(), b"thr");
}

#[test]
fn in_streaming_mode_data_is_collected_as_it_arrives() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_streaming(true);
    let mut handler = recorder(|_, _| ());
    peer.sends("on");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(on)");
    peer.sends("e\n\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(e) found found collect(two) found");
}

#[test]
fn without_a_terminator_only_collect_is_called() {
    let (mut channel, peer) = channel();
    channel.set_terminator(Terminator::none());
    let mut handler = recorder(|_, _| ());
    peer.sends("abc");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("def");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(abc) collect(def)");
}

#[test]
fn a_partial_at_the_end_of_input_calls_collect_only() {
    for streaming in [false, true] {
        let (mut channel, peer) = channel();
        channel.set_terminator("\r\n");
        channel.codec_mut().set_streaming(streaming);
        let mut handler = recorder(|event, channel| {
            if event == "ended" {
                channel.close_when_done();
            }
        });
        peer.sends("one\r\n\r");
        peer.ends();
        assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
        assert_eq!(handler.seen(), "connected collect(one) found collect(\r) ended closed");
    }
}

#[test]
fn a_count_of_zero_is_found_at_once() {
    let (mut channel, peer) = channel();
    let mut left = 3;
    let mut handler = recorder(move |event, channel| {
        if event != "connected" && left > 0 {
            left -= 1;
            channel.set_terminator(0);
        }
    });
    channel.set_terminator(0);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected found found found found");
}

#[test]
fn a_handler_may_override_frame_for_whole_frames() {
    struct Lines(Vec<String>);
    impl Handler for Lines {
        type Error = Error;
        fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.push(format!("collect {}", data.escape_ascii()));
            Ok(())
        }
        fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
            unreachable!("`frame` is overridden")
        }
        fn frame(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.push(format!("frame {}", data.escape_ascii()));
            Ok(())
        }
    }
    let (mut channel, peer) = channel();
    let mut handler = Lines(vec![]);
    peer.sends("one\n\ntwo");
    peer.ends();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.0, ["frame one", "frame ", "collect two"]);
}

#[test]
fn frame_is_called_in_whole_mode_only() {
    struct Both(String);
    impl Handler for Both {
        type Error = Error;
        fn collect_incoming_data(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            self.0 += "collect ";
            Ok(())
        }
        fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
            self.0 += "found ";
            Ok(())
        }
        fn frame(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            self.0 += "frame ";
            Ok(())
        }
    }
    for (streaming, expected) in [(false, "frame "), (true, "collect found ")] {
        let (mut channel, peer) = channel();
        channel.set_terminator(3);
        channel.codec_mut().set_streaming(streaming);
        peer.sends("abc");
        let mut handler = Both(String::new());
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.0, expected, "streaming: {streaming}");
    }
}

#[test]
fn a_handler_may_do_with_collecting_alone() {
    struct Log(Vec<String>);
    impl Handler for Log {
        type Error = Error;
        fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.push(data.escape_ascii().to_string());
            Ok(())
        }
    }
    let (mut channel, peer) = channel();
    let mut handler = Log(vec![]);
    peer.sends("one\n\ntwo\nthr");
    peer.ends();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.0, ["one", "two", "thr"]);
}

#[test]
fn terminator_set_in_callback_applies_from_next_byte() {
    // In whole mode from behind the frame, in both callbacks.
    for callback in ["collect(3)", "found"] {
        let (mut channel, peer) = channel();
        let mut first = true;
        let mut handler = recorder(move |event, channel| {
            if event == callback && std::mem::take(&mut first) {
                channel.set_terminator(3);
            }
        });
        peer.sends("3\nabcrest");
        assert_waits!(peer, channel.run(&mut handler));
        let seen = handler.seen();
        assert_eq!(seen, "connected collect(3) found collect(abc) found collect(rest)");
    }
    // In streaming mode from behind what was collected.
    let (mut channel, peer) = channel();
    channel.codec_mut().set_streaming(true);
    let mut handler = recorder(|event, channel| {
        if event == "collect(ab)" {
            channel.set_terminator("|");
        }
    });
    peer.sends("ab");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("c\nd|e");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(ab) collect(c\nd) found collect(e)");
}

#[test]
fn settings_set_in_callback_apply_from_next_byte() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| match event {
        "collect(stream)" => channel.codec_mut().set_streaming(true),
        "collect(ort)" => {
            channel.codec_mut().set_streaming(false);
            channel.codec_mut().set_keep_terminator(true);
            channel.codec_mut().set_max_length(4);
        }
        _ => {}
    });
    peer.sends("stream\nsh");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("ort\ntoo long\nok\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(
        handler.seen(),
        "connected collect(stream) found collect(sh) collect(ort) found too-long(4) collect(ok\n) found"
    );
}

#[test]
fn control_returns_terminator_ended_by_and_queued_bytes() {
    let (mut channel, peer) = channel();
    channel.set_terminator(Terminator::any([";", "\r\n"]));
    let mut told = vec![];
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            told.push(format!(
                "{:?} {}",
                channel.ended_by().escape_ascii().to_string(),
                channel.queued_bytes()
            ));
            channel.push_fmt(format_args!("{}{:2}", 123, 45));
            channel.push_slice(b"");
            assert_eq!(*channel.terminator(), Terminator::any([";", "\r\n"]));
        }
    });
    peer.sends("a;b\r\n");
    assert_waits!(peer, channel.run(&mut handler));
    drop(handler);
    assert_eq!(told, [r#"";" 0"#, r#""\\r\\n" 69"#]);
}

#[test]
fn debug_of_control_prints_lengths_not_content() {
    let (mut channel, peer) = channel();
    let mut shown = String::new();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("PASSWORD");
            shown = format!("{channel:?}");
        }
    });
    peer.sends("SECRET\nSECRET");
    assert_waits!(peer, channel.run(&mut handler));
    drop(handler);
    assert!(shown.contains("queued_bytes: 72"), "{shown}");
    assert!(!shown.contains("SECRET") && !shown.contains("PASSWORD"), "{shown}");
}

// connected, closed, errors.

#[test]
fn connected_comes_once_before_anything_else_and_may_greet() {
    let (mut channel, peer) = channel();
    peer.sends("one\n");
    let mut handler = recorder(|event, channel| {
        if event == "connected" {
            channel.push("220 hello\n");
        }
    });
    for _ in 0..3 {
        assert_waits!(peer, channel.run(&mut handler));
    }
    assert_eq!(handler.seen(), "connected collect(one) found");
    assert_eq!(peer.written(), "220 hello\n");
    let mut other = recorder(|_, _| ());
    assert_waits!(peer, channel.run(&mut other));
    assert_eq!(other.seen(), "", "also not with another handler");
}

#[test]
fn run_delivers_frames_buffered_by_next() {
    let (mut channel, peer) = channel();
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    let mut handler = recorder(|_, _| ());
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(two) found");
}

#[test]
fn by_default_an_overlong_frame_is_an_error() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_max_length(3);
    peer.sends("too long\nok\n");
    assert_eq!(show(poll!(channel.run(&mut Echo::default()))), "too long(3)");
    // The channel stays as it is.
    let mut handler = Echo::default();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), "ok\n");
}

#[test]
fn with_ok_from_frame_too_long_the_next_frame_comes_normally() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_max_length(3);
    let mut handler = recorder(|_, _| ());
    peer.sends("a\nmuch too");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends(" long\nb\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(a) found too-long(3) collect(b) found");
}

#[test]
fn a_handler_error_ends_run_and_keeps_the_unconsumed_input() {
    for at in ["connected", "collect(two)", "found", "too-long(5)", "ended"] {
        let (mut channel, peer) = channel();
        channel.codec_mut().set_max_length(5);
        let mut armed = true;
        let mut handler = failing(move |event, channel| {
            channel.push_slice(b".");
            if event == at && std::mem::take(&mut armed) {
                return Err(Oops::Mine);
            }
            if event == "ended" {
                channel.close_when_done();
            }
            Ok(())
        });
        peer.sends("one\ntwo\ntoo long\nthree\n");
        if at != "ended" {
            assert_eq!(show(poll!(channel.run(&mut handler))), "mine");
            assert_waits!(peer, channel.run(&mut handler));
        } else {
            peer.ends();
            assert_eq!(show(poll!(channel.run(&mut handler))), "mine");
        }
        let mut expected = "connected collect(one) found collect(two) found too-long(5) \
                            collect(three) found"
            .to_owned();
        match at {
            "ended" => expected += " ended",
            // Its frame had been consumed.
            "collect(two)" => expected = expected.replace("collect(two) found", "collect(two)"),
            _ => {}
        }
        assert_eq!(handler.seen(), expected, "{at}");
    }
}

#[test]
fn an_error_of_a_callback_does_not_call_closed() {
    let (mut channel, peer) = channel();
    let mut handler = failing(|event, _| if event == "found" { Err(Oops::Mine) } else { Ok(()) });
    peer.sends("one\n");
    assert_eq!(show(poll!(channel.run(&mut handler))), "mine");
    drop(channel);
    assert_eq!(handler.seen(), "connected collect(one) found");
}

#[test]
fn closed_comes_exactly_once_without_an_error_after_a_close() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("221 bye\n");
            channel.close_when_done();
        }
    });
    peer.sends("QUIT\n");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    for _ in 0..5 {
        assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    }
    assert_eq!(handler.seen(), "connected collect(QUIT) found closed");
    assert_eq!(peer.written(), "221 bye\n");
    assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
}

#[test]
fn closed_is_called_once_with_final_error() {
    type Fail = fn(&mut Channel<Mock>, &Peer);
    let rows: [(&str, Fail, &str); 4] = [
        (
            "a failed read",
            |_, peer| peer.reads([Read::Err(ErrorKind::ConnectionReset)]),
            "io(ConnectionReset)",
        ),
        (
            "a failed write",
            |channel, peer| {
                peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
                channel.push("x");
            },
            "io(BrokenPipe)",
        ),
        (
            "a failed producer",
            |channel, _| channel.push_with_producer(producer([Give::Err(ErrorKind::NotFound)]).0),
            "producer(NotFound)",
        ),
        (
            "both directions",
            |channel, peer| {
                peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
                peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
                channel.push("x");
            },
            "io(BrokenPipe)",
        ),
    ];
    for (name, fail, error) in rows {
        let (mut channel, peer) = channel();
        peer.sends("one\ntwo\n");
        fail(&mut channel, &peer);
        let mut handler = recorder(|_, _| ());
        assert_eq!(show(poll!(channel.run(&mut handler))), error, "{name}");
        let seen = handler.seen();
        let frames = "connected collect(one) found collect(two) found closed by ";
        assert!(seen.starts_with(frames), "{name}: {seen}");
        for _ in 0..5 {
            assert!(poll!(channel.run(&mut handler)).is_ready());
        }
        assert_eq!(handler.seen(), "", "{name}: exactly once");
    }
}

#[test]
fn output_before_failed_producer_is_sent_before_run_ends() {
    for (mut channel, peer) in both() {
        peer.writes([Write::Accept(2), Write::Again, Write::Accept(2), Write::Again]);
        let mut handler = recorder(|event, channel| {
            if event == "found" {
                channel.push("first,");
                let failing = stream::iter([Ok("before"), Err(io::Error::other("no"))]);
                channel.push_with_producer(failing);
                channel.push("behind");
            }
        });
        peer.sends("GET\n");
        assert_eq!(show(anew!(channel.run(&mut handler))), "producer(Other)");
        assert_eq!(peer.written(), "first,before");
        assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
        assert_eq!(handler.seen(), "connected collect(GET) found closed by producer failed");
    }
}

#[test]
fn output_before_failed_producer_is_sent_after_end_of_input() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|_, _| ());
    peer.ends();
    assert_pending!(poll!(channel.run(&mut handler)));
    peer.blocks_writes();
    channel.push("before");
    channel.push_with_producer(producer([Give::Err(ErrorKind::Other)]).0);
    assert_waits!(peer, channel.run(&mut handler));
    peer.wake_write();
    assert_eq!(show(poll!(channel.run(&mut handler))), "producer(Other)");
    assert_eq!(peer.written(), "before");
}

#[test]
fn a_failed_write_ends_run_when_it_happens() {
    let (mut channel, peer) = channel();
    peer.writes([Write::Pending, Write::Err(ErrorKind::BrokenPipe)]);
    let mut handler = recorder(|event, channel| {
        if event == "connected" {
            channel.push("hello");
        }
    });
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    peer.wake_write();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "io(BrokenPipe)");
}

// The end of input.

#[test]
fn by_default_a_half_closed_peer_is_answered_before_the_close() {
    for (mut channel, peer) in both() {
        peer.sends("one\ntwo\n");
        peer.ends();
        peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(3)], 10).flatten());
        let mut handler = Echo::default();
        assert_eq!(show(anew!(channel.run(&mut handler))), "run(closed)");
        assert_eq!(peer.written(), "one\ntwo\n");
        let calls = peer.output_calls();
        assert_eq!(calls[calls.len() - 2..], [Call::Flush, Call::Shutdown]);
    }
}

#[test]
fn a_half_closed_peer_is_answered_by_a_producer_too() {
    let (mut channel, peer) = channel();
    let (stream, probe) = producer([Give::Pending, chunk("answer")]);
    channel.push_with_producer(stream);
    peer.ends();
    let mut handler = Echo::default();
    let mut task = spawn(channel.run(&mut handler));
    assert_pending!(task.poll());
    probe.wake();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "run(closed)");
    assert_eq!(peer.written(), "answer");
}

#[test]
fn input_ended_may_leave_the_channel_open_for_pushers() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut handler = recorder(|_, _| ());
    peer.ends();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    pusher.try_push("news").unwrap();
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    assert_eq!(peer.written(), "news");
    pusher.close_when_done();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "run(closed)");
    drop(task);
    assert_eq!(handler.seen(), "connected ended closed", "ended comes once");
}

#[test]
fn after_input_ended_a_failed_write_ends_run() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut handler = recorder(|_, _| ());
    peer.ends();
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    pusher.try_push("news").unwrap();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "io(BrokenPipe)");
}

#[test]
fn input_ended_before_run_is_reported_to_handler() {
    let (mut channel, peer) = channel();
    peer.ends();
    assert_eq!(show(poll!(channel.next())), "none");
    let mut handler = Echo::default();
    assert_eq!(
        show(poll!(channel.run(&mut handler))),
        "run(closed)",
        "by default it is closed then"
    );
}

// close_when_done: no further frame is handed out.

#[test]
fn no_frame_is_delivered_after_close_in_callback() {
    for callback in ["connected", "collect(QUIT)", "found"] {
        for streaming in [false, true] {
            let (mut channel, peer) = channel();
            channel.codec_mut().set_streaming(streaming);
            let mut handler = recorder(move |event, channel| {
                if event == callback {
                    channel.close_when_done();
                }
            });
            peer.sends("QUIT\nDELETE\nall");
            assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
            let seen = handler.seen();
            assert!(!seen.contains("DELETE") && !seen.contains("all"), "{seen}");
            assert!(seen.ends_with("closed"), "{seen}");
        }
    }
}

#[test]
fn input_during_last_answer_is_dropped() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("bye");
            channel.close_when_done();
        }
    });
    peer.blocks_writes();
    peer.sends("QUIT\n");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("DELETE\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(channel.unread(), b"", "and not kept");
    peer.wake_write();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "connected collect(QUIT) found closed");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn no_frame_is_delivered_after_close_by_pusher() {
    // Buffered before, and arriving only now.
    for buffered in [true, false] {
        let (mut channel, peer) = channel();
        let pusher = channel.pusher();
        peer.sends("one\ntwo\nthree\n");
        if buffered {
            assert_eq!(show(poll!(channel.next())), "complete(one)");
        }
        pusher.close_when_done();
        let mut handler = recorder(|_, _| ());
        assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
        assert_eq!(handler.seen(), "connected closed", "buffered: {buffered}");
    }
}

#[test]
fn no_waiting_frame_is_delivered_after_close_by_pusher() {
    let (io, peer) = mock();
    let mut channel = builder().high_water(1000).low_water(0).build(io);
    let pusher = channel.pusher();
    peer.blocks_writes();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push(vec![b'x'; 1000]);
        }
    });
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found");
    pusher.close_when_done();
    peer.wake_write();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "closed");
}

#[test]
fn no_frame_is_delivered_after_a_close_that_sending_made() {
    for frames in ["one\ntwo\n", "too long\ntwo\n"] {
        let (mut channel, peer) = channel();
        channel.codec_mut().set_max_length(3);
        let pusher = channel.pusher();
        channel.push_with_producer(stream::poll_fn(move |_| {
            pusher.close_when_done();
            std::task::Poll::Ready(None::<Result<Bytes, io::Error>>)
        }));
        peer.sends(frames);
        let mut handler = recorder(|_, _| ());
        assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
        assert_eq!(handler.seen(), "connected closed");
    }
}

#[test]
fn close_when_done_before_run_delivers_no_frame() {
    let (mut channel, peer) = channel();
    peer.sends("one\n");
    channel.push("bye");
    channel.close_when_done();
    let mut handler = recorder(|_, _| ());
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "connected closed");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn run_reports_an_abort_also_after_input_failed() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    channel.push("x");
    peer.blocks_writes();
    peer.reads([Read::Err(ErrorKind::Other)]);
    let mut handler = recorder(|_, _| ());
    assert_waits!(peer, channel.run(&mut handler));
    pusher.abort();
    assert_eq!(show(poll!(channel.run(&mut handler))), "aborted");
    assert_eq!(handler.seen(), "connected closed by connection aborted");
}

#[test]
fn close_in_callback_sends_data_of_pusher_and_closes_it() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let pushing = pusher.clone();
    let mut handler = recorder(move |event, channel| {
        if event == "found" {
            pushing.try_push("accepted").unwrap();
            channel.close_when_done();
            assert!(pushing.try_push("refused").is_err());
        }
    });
    peer.sends("QUIT\n");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(peer.written(), "accepted");
    assert!(pusher.is_closed());
}

// stop

#[test]
fn stop_leaves_channel_intact() {
    for callback in ["connected", "collect(STARTTLS)", "found"] {
        let (mut channel, peer) = channel();
        let mut handler = recorder(move |event, channel| {
            if event == callback {
                channel.push("220 go\n");
                channel.stop();
            }
        });
        peer.sends("STARTTLS\nrest");
        if callback == "connected" {
            assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
            assert_eq!(peer.asked(), []);
        } else {
            assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
            assert_eq!(channel.unread(), b"rest");
            assert_eq!(peer.asked().len(), 1, "no read after the stop");
        }
        let before = if callback == "connected" { vec![] } else { vec![Call::Flush] };
        assert_eq!(peer.output_calls(), before, "only the flush of the first poll");
        assert!(channel.queued_bytes() > 0);
        assert!(!handler.seen().contains("closed"));
        assert_eq!(show(poll!(channel.flush())), "done");
        assert_eq!(peer.written(), "220 go\n");
    }
}

#[test]
fn after_stop_run_again_continues() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        channel.push_slice(b".");
        if event == "found" {
            channel.stop();
        }
    });
    peer.sends("one\ntwo\nthree\n");
    for expected in ["connected collect(one) found", "collect(two) found", "collect(three) found"] {
        assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
        assert_eq!(handler.seen(), expected);
    }
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), ".......");
}

#[test]
fn after_stop_the_stream_continues() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.stop();
        }
    });
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
}

#[test]
fn after_stop_an_upgrade_is_possible() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("220 go\n");
            channel.stop();
        }
    });
    peer.sends("STARTTLS\n");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
    let (new, new_peer) = mock();
    let mut upgraded = anew_upgrade(channel, new);
    assert_eq!(peer.written(), "220 go\n");
    new_peer.sends("EHLO\n");
    assert_eq!(show(poll!(upgraded.run(&mut handler))), "run(stopped)");
    assert_eq!(handler.seen(), "connected collect(STARTTLS) found collect(EHLO) found");
    assert_eq!(show(poll!(upgraded.flush())), "done");
    assert_eq!(new_peer.written(), "220 go\n");
}

fn anew_upgrade(channel: Channel<Mock>, io: Mock) -> Channel<Mock> {
    match poll!(channel.upgrade(|_| async { Ok(io) })) {
        std::task::Poll::Ready(upgraded) => upgraded.unwrap(),
        std::task::Poll::Pending => panic!("the upgrade waits"),
    }
}

#[test]
fn next_run_finishes_stop_with_close_when_done() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "ended" {
            channel.push("bye");
            channel.close_when_done();
            channel.stop();
        }
    });
    peer.ends();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(stopped)");
    assert_eq!(peer.written(), "");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(peer.written(), "bye");
}

// Water marks.

#[test]
fn run_delivers_no_frame_above_the_high_water_mark() {
    let (io, peer) = mock();
    let mut channel = builder().high_water(1000).low_water(0).build(io);
    peer.blocks_writes();
    peer.sends("x\n".repeat(100));
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            assert!(channel.queued_bytes() < 1000, "this frame comes too early");
            channel.push(vec![b'x'; 100]);
        }
    });
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!((channel.queued_bytes(), channel.unread().len()), (1000, 180));
}

#[test]
fn run_delivers_nothing_between_high_and_low_water_mark() {
    let (io, peer) = mock();
    let mut channel = builder().high_water(1000).low_water(200).in_buffer_size(8).build(io);
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push(vec![b'x'; 1000]);
        }
    });
    peer.blocks_writes();
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found");
    assert_eq!(channel.unread(), b"two\n");
    peer.asked();
    peer.sends("three\n");
    assert_waits!(peer, channel.run(&mut handler));
    // One `in_buffer_size` at most is read ahead, in one read more.
    assert_eq!(peer.asked(), [4], "reading has stopped");
    assert_eq!(channel.unread(), b"two\nthre");
    peer.sends("four\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.asked(), []);
    peer.wake_write();
    peer.writes([Write::Accept(700), Write::Pending]);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(channel.queued_bytes(), 300);
    assert_eq!((handler.seen().as_str(), peer.asked().len()), ("", 0));
    peer.wake_write();
    peer.writes([Write::Accept(100), Write::Pending]);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(two) found");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(three) found collect(four) found");
    assert_eq!(peer.written_bytes().len(), 4000);
}

#[test]
fn run_reads_ahead_one_in_buffer_size_above_the_high_water_mark() {
    for size in [1, 5, 4096, 10_000] {
        let (io, peer) = mock();
        let mut channel = builder().high_water(1000).low_water(0).in_buffer_size(size).build(io);
        let mut handler = full_at_once();
        peer.blocks_writes();
        peer.reads([Read::Endless(Bytes::from_static(b"\n"))]);
        for _ in 0..1000 {
            let _pending = spawn(channel.run(&mut handler)).poll();
        }
        assert_eq!(channel.unread().len(), size);
        peer.asked();
        assert_waits!(peer, channel.run(&mut handler));
        assert!(!peer.has_reader(), "{size}");
        assert_eq!(peer.asked(), [], "{size}");
        assert_eq!(handler.seen(), "connected", "{size}");
    }
}

#[test]
fn a_read_ahead_never_exceeds_one_in_buffer_size() {
    // Pieces that do not add up to it, and reads that return full and grow.
    for (size, piece) in [(5, 2), (8192, 100_000), (65_536, 3000), (65_536, 1_000_000)] {
        let (io, peer) = mock();
        let mut channel = builder().high_water(1000).low_water(0).in_buffer_size(size).build(io);
        let mut handler = full_at_once();
        peer.blocks_writes();
        peer.reads([Read::Endless(Bytes::from(vec![b'\n'; piece]))]);
        for _ in 0..1000 {
            let _pending = spawn(channel.run(&mut handler)).poll();
        }
        assert_eq!(channel.unread().len(), size, "in pieces of {piece}");
    }
}

#[test]
fn run_notices_a_break_above_the_high_water_mark() {
    for kind in BREAKS {
        let (io, peer) = mock();
        let mut channel = builder().high_water(1000).low_water(0).build(io);
        let mut handler = full_at_once();
        peer.blocks_writes();
        assert_waits!(peer, channel.run(&mut handler));
        assert!(peer.has_reader());
        peer.sends("one\n");
        peer.reads([Read::Err(kind)]);
        let error = format!("io({kind:?})");
        assert_eq!(show(poll!(channel.run(&mut handler))), error);
        let closed = io::Error::from(kind);
        let seen = format!("connected collect(one) found closed by {closed}");
        assert_eq!(handler.seen(), seen, "what was received comes first");
        assert_eq!(peer.written(), "", "{kind:?}");
    }
}

#[test]
fn run_sends_on_after_a_read_error_above_the_high_water_mark() {
    for kind in ONE_WAY {
        let (io, peer) = mock();
        let mut channel = builder().high_water(1000).low_water(0).build(io);
        let mut handler = full_at_once();
        peer.blocks_writes();
        peer.sends("one\ntw");
        peer.reads([Read::Err(kind)]);
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "connected", "{kind:?}");
        peer.wake_write();
        assert_eq!(show(anew!(channel.run(&mut handler))), format!("io({kind:?})"));
        let closed = io::Error::from(kind);
        assert_eq!(handler.seen(), format!("collect(one) found closed by {closed}"));
        assert_eq!(peer.written_bytes().len(), 1000, "{kind:?}");
        assert_eq!(peer.calls().last(), Some(&Call::Shutdown), "{kind:?}");
        assert_eq!(channel.unread(), b"tw", "{kind:?}");
    }
}

#[test]
fn run_that_has_read_ahead_is_woken_by_the_write_alone() {
    let (io, peer) = mock();
    let mut channel = builder().high_water(1000).low_water(0).in_buffer_size(4).build(io);
    let mut handler = full_at_once();
    peer.blocks_writes();
    // As much as is read ahead, and more.
    peer.sends("one\ntwo\n");
    peer.forget_wakers();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    assert!(!task.is_woken());
    assert!(!peer.has_reader() && peer.has_writer());
    peer.wake_write();
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(handler.seen(), "connected collect(one) found collect(two) found");
}

#[test]
fn pushes_above_high_water_pause_run() {
    let (io, peer) = mock();
    let mut channel = builder().high_water(1000).low_water(0).in_buffer_size(4).build(io);
    let pusher = channel.pusher();
    let mut handler = recorder(|_, _| ());
    peer.blocks_writes();
    pusher.try_push(vec![b'x'; 2000]).unwrap();
    assert_waits!(peer, channel.run(&mut handler));
    peer.asked();
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.asked(), [4], "read ahead, and no more");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.asked(), []);
    assert_eq!(handler.seen(), "connected");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(one) found collect(two) found");
}

// Pauses.

/// Answers each frame, and pauses until the answer is sent.
fn one_at_a_time() -> Recorder<'static> {
    recorder(|event, channel| {
        if event == "found" {
            channel.push("answer;");
            channel.pause_until_sent();
        }
    })
}

#[test]
fn run_delivers_no_frame_until_the_answer_is_sent_and_flushed() {
    for streaming in [false, true] {
        let (mut channel, peer) = channel();
        channel.codec_mut().set_streaming(streaming);
        let mut handler = one_at_a_time();
        peer.blocks_writes();
        peer.sends("one\ntwo\nthree\n");
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "connected collect(one) found");
        assert_eq!(peer.calls().last(), Some(&Call::Read(14)), "nothing is written");
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "");
        peer.flushes([Step::Pending]);
        peer.wake_write();
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "", "written, and not flushed");
        peer.blocks_writes();
        peer.forget_wakers();
        let mut task = spawn(channel.run(&mut handler));
        assert!(task.poll().is_pending());
        peer.wake_write();
        assert!(task.is_woken());
        drop(task);
        peer.takes_again([]);
        peer.wake_write();
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "collect(two) found collect(three) found");
        assert_eq!(peer.written(), "answer;answer;answer;");
    }
}

#[test]
fn each_answer_is_sent_before_the_next_frame_if_nothing_waits() {
    let (mut channel, peer) = channel();
    peer.sends("one\ntwo\n");
    let mut handler = one_at_a_time();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found collect(two) found");
    let each = [Call::Write(7), Call::Flush];
    assert_eq!(peer.output_calls(), [&[Call::Flush][..], &each, &each].concat());
}

#[test]
fn a_pause_waits_for_a_producer_and_for_no_later_output() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let (file, probe) = producer([chunk("file,"), Give::Pending, chunk("end,")]);
    let (later, _probe) = producer([Give::Pending]);
    let (mut file, mut later) = (Some(file), Some(later));
    let mut handler = recorder(move |event, channel| {
        if event == "found" && file.is_some() {
            channel.push_with_producer(file.take().unwrap());
            channel.pause_until_sent();
            channel.push_with_producer(later.take().unwrap());
        }
    });
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found");
    // Pushers may push meanwhile.
    pusher.try_push("pushed").unwrap();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "");
    assert_eq!(peer.written(), "file,");
    probe.wake();
    let _ = poll!(channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(two) found");
    assert_eq!(peer.written(), "end,");
}

#[test]
fn pause_waits_for_earlier_pushes() {
    let (mut channel, peer) = channel();
    let pusher = channel.pusher();
    let mut handler = recorder(move |event, channel| {
        if event == "found" {
            pusher.try_push("pushed,").unwrap();
            channel.pause_until_sent();
            channel.push("later,");
        }
    });
    peer.blocks_writes();
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found");
    peer.writes([Write::Accept(7), Write::Pending]);
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(two) found");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), "pushed,later,pushed,later,");
}

#[test]
fn a_pause_with_an_empty_queue_does_nothing() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|_, channel| {
        channel.pause_until_sent();
        assert_eq!(channel.queued_bytes(), 0);
    });
    // What a transport holds from before was not queued.
    peer.flushes([Step::Pending]);
    peer.sends("one\ntwo\n");
    let _ = poll!(channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found collect(two) found");
    peer.wake_write();
    peer.sends("three\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(three) found");
    assert_eq!(peer.output_calls(), [Call::Flush]);
}

#[test]
fn a_pause_waits_for_the_first_bytes_of_a_connection() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| match event {
        "collect(push)" => channel.push("answer"),
        "collect(pause)" => channel.pause_until_sent(),
        _ => {}
    });
    peer.blocks_writes();
    peer.sends("push\n");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("pause\nafter\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(push) found collect(pause) found");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(after) found");
}

#[test]
fn a_pause_waits_for_a_flush_that_is_pending() {
    let (mut channel, peer) = channel();
    assert_eq!(show(poll!(channel.flush())), "done");
    let mut handler = recorder(|event, channel| match event {
        "connected" => channel.push("greeting"),
        "found" => channel.pause_until_sent(),
        _ => {}
    });
    peer.flushes([Step::Pending]);
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(channel.queued_bytes(), 0);
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "collect(two) found");
}

#[tokio::test(start_paused = true)]
async fn every_callback_may_pause_until_its_answer_is_sent() {
    for callback in ["connected", "found", "too-long(9)", "timed-out", "ended"] {
        let (io, peer) = mock();
        let idle = Some(Duration::from_secs(1));
        let builder = builder().timeouts(Timeouts { idle, ..Timeouts::default() });
        let mut channel = builder.max_length(9).build(io);
        let mut is_first = true;
        let pause = recorder(move |event, channel| {
            if event == callback && std::mem::take(&mut is_first) {
                channel.push("answer");
                channel.pause_until_sent();
            }
        });
        let mut handler = Patient(pause);
        assert_eq!(show(poll!(channel.flush())), "done");
        peer.blocks_writes();
        match callback {
            "connected" => {}
            "found" => peer.sends("one\n"),
            "too-long(9)" => peer.sends("0123456789\n"),
            "timed-out" => {
                assert_waits!(peer, channel.run(&mut handler));
                tokio::time::advance(Duration::from_secs(2)).await;
            }
            _ => peer.ends(),
        }
        let _ = poll!(channel.run(&mut handler));
        let before = handler.0.seen();
        assert!(before.contains(callback), "{before}");
        if callback != "ended" {
            peer.sends("next\n");
            assert_waits!(peer, channel.run(&mut handler));
            assert_eq!(handler.0.seen(), "", "{callback}");
        }
        peer.wake_write();
        let _ = poll!(channel.run(&mut handler));
        let after = if callback == "ended" { "" } else { "collect(next) found" };
        assert_eq!(handler.0.seen(), after, "{callback}");
        assert_eq!(peer.written(), "answer", "{callback}");
    }
}

/// Goes on after a frame that is too long, and after a timeout.
struct Patient<'a>(Recorder<'a>);

impl Handler for Patient<'_> {
    type Error = Oops;

    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Oops> {
        self.0.collect_incoming_data(channel, data)
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.0.found_terminator(channel)
    }

    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.0.connected(channel)
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, limit: usize) -> Result<(), Oops> {
        self.0.frame_too_long(channel, limit)
    }

    fn timed_out(&mut self, channel: &mut Control<'_>, _: Timeout) -> Result<(), Oops> {
        self.0.record("timed-out".into(), channel)
    }

    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Oops> {
        self.0.input_ended(channel)
    }
}

#[test]
fn run_reads_ahead_one_in_buffer_size_in_a_pause() {
    let (io, peer) = mock();
    let mut channel = builder().in_buffer_size(8).build(io);
    let mut handler = one_at_a_time();
    peer.blocks_writes();
    peer.sends("one\ntwo\n");
    assert_waits!(peer, channel.run(&mut handler));
    peer.sends("three\nfour\n");
    for _ in 0..3 {
        assert_waits!(peer, channel.run(&mut handler));
    }
    assert_eq!(channel.unread(), b"two\nthre");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut handler));
    let three = "collect(two) found collect(three) found collect(four) found";
    assert_eq!(handler.seen(), format!("connected collect(one) found {three}"));
}

#[test]
fn run_notices_a_break_in_a_pause() {
    for kind in BREAKS {
        let (mut channel, peer) = channel();
        let (file, probe) = producer([Give::Pending]);
        let mut file = Some(file);
        let mut handler = recorder(move |event, channel| {
            if event == "connected" {
                channel.push_with_producer(file.take().unwrap());
                channel.pause_until_sent();
            }
        });
        let mut task = spawn(channel.run(&mut handler));
        assert!(task.poll().is_pending());
        peer.sends("one\n");
        peer.reads([Read::Err(kind)]);
        assert!(task.is_woken());
        assert_eq!(show(task.poll()), format!("io({kind:?})"));
        drop(task);
        assert_eq!(probe.drops(), 1);
        let closed = io::Error::from(kind);
        let seen = format!("connected collect(one) found closed by {closed}");
        assert_eq!(handler.seen(), seen, "what was received comes first");
    }
}

#[test]
fn a_pause_ends_when_its_output_is_lost() {
    type Lose = fn(&mut Channel<Mock>, &Peer, &Pusher);
    let losses: [(&str, Lose, &str, &str); 6] = [
        ("discarded", |channel, _, _| _ = channel.discard_buffers(), "pending", ""),
        ("aborted", |_, _, pusher| pusher.abort(), "aborted", "closed by connection aborted"),
        (
            "write failed",
            |_, peer, _| peer.takes_again([Write::Err(ErrorKind::BrokenPipe)]),
            "io(BrokenPipe)",
            "collect(two) found closed by broken pipe",
        ),
        (
            "producer failed",
            |_, peer, _| peer.takes_again([]),
            "producer(Other)",
            "collect(two) found closed by producer failed",
        ),
        (
            "closed",
            |channel, peer, _| {
                channel.close_when_done();
                peer.takes_again([]);
            },
            "producer(Other)",
            "closed by producer failed",
        ),
        (
            "closed by a pusher",
            |_, peer, pusher| {
                pusher.close_when_done();
                peer.takes_again([]);
            },
            "producer(Other)",
            "closed by producer failed",
        ),
    ];
    for (name, lose, end, seen) in losses {
        // The producer is not polled before the answer is written.
        let (io, peer) = mock();
        let mut channel = builder().out_buffer_size(1).build(io);
        let pusher = channel.pusher();
        let mut is_first = true;
        let mut handler = recorder(move |event, channel| {
            if event == "found" && std::mem::take(&mut is_first) {
                channel.push("answer");
                channel.push_with_producer(producer([Give::Err(ErrorKind::Other)]).0);
                channel.pause_until_sent();
            }
        });
        peer.blocks_writes();
        peer.sends("one\ntwo\n");
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "connected collect(one) found", "{name}");
        lose(&mut channel, &peer, &pusher);
        assert_eq!(show(poll!(channel.run(&mut handler))), end, "{name}");
        assert_eq!(handler.seen(), seen, "{name}");
        if end == "pending" {
            // The write is still pending, and must be retried.
            peer.sends("three\n");
            assert_waits!(peer, channel.run(&mut handler));
            assert_eq!(handler.seen(), "collect(three) found", "{name}");
        }
    }
}

#[test]
fn a_pause_and_a_close_in_one_callback_send_the_answer() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("bye");
            channel.pause_until_sent();
            channel.close_when_done();
            channel.pause_until_sent();
        }
    });
    peer.sends("one\ntwo\n");
    peer.ends();
    assert_eq!(show(anew!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "connected collect(one) found closed");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn a_pause_outlasts_stop_and_another_handler() {
    let (mut channel, peer) = channel();
    let mut first = recorder(|event, channel| {
        if event == "found" {
            channel.push("answer");
            channel.pause_until_sent();
            channel.stop();
        }
    });
    peer.blocks_writes();
    peer.sends("one\ntwo\n");
    assert_eq!(show(poll!(channel.run(&mut first))), "run(stopped)");
    let mut second = recorder(|_, _| ());
    assert_waits!(peer, channel.run(&mut second));
    assert_eq!(second.seen(), "");
    peer.wake_write();
    assert_waits!(peer, channel.run(&mut second));
    assert_eq!(second.seen(), "collect(two) found");
}

#[test]
fn run_with_a_pause_after_each_frame_yields() {
    let (io, peer) = mock::transport().always_ready().build();
    let mut channel = builder().build(io);
    peer.reads([Read::Endless(Bytes::from_static(b"a\n"))]);
    let mut handler = one_at_a_time();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    assert!(task.is_woken());
    drop(task);
    let frames = handler.seen.len() / 2;
    assert!((10..10_000).contains(&frames), "{frames}");
    assert!(peer.written_bytes().len() >= 7 * (frames - 1));
}

// Fair.

#[test]
fn run_yields_over_always_ready_transport() {
    for data in ["\n".repeat(4096), "a\n".repeat(2048), "x".repeat(5000) + "\n", "x".repeat(4096)] {
        for streaming in [false, true] {
            let (mut channel, peer) = channel();
            channel.codec_mut().set_streaming(streaming);
            channel.codec_mut().set_max_length(1_000_000);
            peer.reads([Read::Endless(Bytes::from(data.clone()))]);
            let mut frames = 0;
            let mut handler = recorder(|_, _| frames += 1);
            for _ in 0..3 {
                let mut task = spawn(channel.run(&mut handler));
                assert!(task.poll().is_pending());
                assert!(task.is_woken(), "Pending with a wake of its own");
            }
            drop(handler);
            assert!(frames < 10_000, "{frames} callbacks in three polls");
            let read: usize = peer
                .calls()
                .iter()
                .map(|call| match call {
                    Call::Read(n) => *n,
                    _ => 0,
                })
                .sum();
            assert!(read < 8_000_000, "{read} bytes in three polls");
        }
    }
}

#[test]
fn run_yields_over_counts_of_zero_that_take_no_input() {
    for streaming in [false, true] {
        let (mut channel, _peer) = channel();
        channel.codec_mut().set_streaming(streaming);
        channel.set_terminator(0);
        let mut frames = 0;
        let mut handler = recorder(|event, channel| {
            if event == "found" {
                frames += 1;
                assert!(frames < 4000, "all of them in one turn");
                channel.set_terminator(0);
            }
        });
        for _ in 0..3 {
            let mut task = spawn(channel.run(&mut handler));
            assert_pending!(task.poll());
            assert!(task.is_woken(), "Pending with a wake of its own");
        }
        drop(handler);
        // A frame costs 64 bytes of 64 KiB, and one more may fit into a turn.
        let turn = 64 * 1024 / 64;
        assert!((3 * turn..=3 * (turn + 1)).contains(&frames), "{frames}");
    }
}

#[test]
fn run_yields_over_frames_that_are_buffered_and_echoed() {
    let (mut channel, peer) = channel();
    peer.reads([Read::Endless(Bytes::from("a\n".repeat(2048)))]);
    let mut handler = Echo::default();
    for _ in 0..10 {
        let mut task = spawn(channel.run(&mut handler));
        assert_pending!(task.poll());
        assert!(task.is_woken());
        drop(task);
        let written = peer.written_bytes().len();
        assert!((1..100_000).contains(&written), "output goes on too: {written}");
    }
}

#[test]
fn push_after_discarded_endless_producer_is_sent_at_once() {
    let (mut channel, peer) = channel();
    channel.push_with_producer(producer([Give::Endless(Bytes::from_static(&[b'-'; 9000]))]).0);
    let mut handler = recorder(|event, channel| match event {
        "collect(stop)" => drop(channel.discard_buffers()),
        "collect(ping)" => channel.push("pong"),
        _ => {}
    });
    peer.sends("stop\n");
    let mut task = spawn(channel.run(&mut handler));
    for _ in 0..3 {
        assert_pending!(task.poll());
    }
    assert!(!task.is_woken());
    assert!(peer.written().starts_with("--"));
    peer.sends("ping\n");
    assert!(task.is_woken());
    assert_pending!(task.poll());
    assert_eq!(peer.written(), "pong");
}

#[test]
fn run_that_yields_delivers_all_buffered_frames() {
    for length in (0..256).chain([511, 1023, 4095]) {
        let (io, _peer) = mock();
        let mut parts = FramedParts::new::<Bytes>(io, TerminatorCodec::new("\n"));
        parts.read_buf = ("x".repeat(length) + "\n").repeat(1100).as_str().into();
        let mut channel = Channel::from_framed(Framed::from_parts(parts));
        let mut frames = 0;
        let mut handler = recorder(|event, channel| {
            frames += usize::from(event == "found");
            channel.codec_mut().set_max_length(10_000);
        });
        let mut task = spawn(channel.run(&mut handler));
        assert_pending!(task.poll());
        while task.is_woken() {
            assert_pending!(task.poll());
        }
        drop(task);
        drop(handler);
        assert_eq!(frames, 1100, "of {length} bytes");
    }
}

#[test]
fn run_yields_while_it_skips_an_endless_frame() {
    let (mut channel, peer) = channel();
    channel.codec_mut().set_max_length(10);
    peer.reads([Read::Endless(Bytes::from("x".repeat(4096)))]);
    let mut handler = recorder(|_, _| ());
    for _ in 0..10 {
        let mut task = spawn(channel.run(&mut handler));
        assert!(task.poll().is_pending());
        assert!(task.is_woken());
    }
    assert_eq!(handler.seen(), "connected too-long(10)");
}

#[test]
fn run_yields_after_close_while_peer_floods() {
    let (mut channel, peer) = channel();
    peer.blocks_writes();
    peer.sends("QUIT\n");
    peer.reads([Read::Endless(Bytes::from("x".repeat(4096)))]);
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("bye");
            channel.close_when_done();
        }
    });
    for _ in 0..10 {
        let mut task = spawn(channel.run(&mut handler));
        assert!(task.poll().is_pending());
        assert!(task.is_woken());
    }
    assert_eq!(channel.unread(), b"");
    assert_eq!(handler.seen(), "connected collect(QUIT) found");
}

#[test]
fn run_yields_over_endless_producer_and_reads_input() {
    let (mut channel, peer) = channel();
    let (stream, _probe) = producer([Give::Endless(Bytes::from(vec![b'x'; 1000]))]);
    channel.push_with_producer(stream);
    let mut handler = recorder(|_, _| ());
    for _ in 0..10 {
        peer.sends("a\n");
        let mut task = spawn(channel.run(&mut handler));
        assert!(task.poll().is_pending());
        assert!(task.is_woken());
        drop(task);
        peer.written_bytes();
    }
    assert_eq!(handler.seen().matches("found").count(), 10);
}

// Cancel safety.

#[test]
fn run_is_cancel_safe_at_every_pending() {
    let long = "y".repeat(9_000);
    let input = format!("one\n\ntwo\n{long}\nlast\n");
    for (size, again) in [(1, true), (2, true), (3, false), (64, true), (4096, true), (9000, true)]
    {
        for (mut channel, peer) in both() {
            for piece in input.as_bytes().chunks(size) {
                if again {
                    peer.reads([Read::Again]);
                }
                peer.sends(piece);
            }
            peer.ends();
            peer.writes(std::iter::repeat_n([Write::Again, Write::Accept(1500)], 50).flatten());
            peer.flushes([Step::Again, Step::Again]);
            peer.shutdowns([Step::Again]);
            let mut handler = Echo::default();
            assert_eq!(show(anew!(channel.run(&mut handler))), "run(closed)");
            assert_eq!(peer.written(), input);
        }
    }
}

#[test]
fn run_next_and_receive_may_take_turns_at_every_pending() {
    let (mut channel, peer) = channel();
    let input: String = (0..60).map(|i| format!("line {i}\n")).collect();
    peer.reads(input.bytes().flat_map(|b| [Read::Again, Read::Data(Bytes::from(vec![b]))]));
    let mut lines = vec![];
    let mut turns = 0;
    while lines.len() < 60 {
        turns += 1;
        assert!(turns < 10_000, "it does not end");
        let mut handler = recorder(|_, _| ());
        assert!(poll!(channel.run(&mut handler)).is_pending());
        let collected = handler.seen.iter().filter(|seen| seen.starts_with("collect("));
        lines.extend(collected.map(|seen| seen[8..seen.len() - 1].to_owned()));
        if let std::task::Poll::Ready(Ok(line)) = poll!(channel.receive("\n")) {
            lines.push(show(line));
        }
        if let std::task::Poll::Ready(Some(Ok(frame))) = poll!(channel.next()) {
            lines.push(show(frame.into_data()));
        }
    }
    assert!(lines.iter().enumerate().all(|(i, line)| *line == format!("line {i}")), "{lines:?}");
}

// discard_buffers in a callback.

#[test]
fn discard_buffers_in_callback_drops_later_input_and_output() {
    for callback in ["collect(one)", "found"] {
        let (mut channel, peer) = channel();
        let mut discarded = None;
        let mut handler = recorder(|event, channel| {
            if event == callback && discarded.is_none() {
                channel.push("dropped");
                discarded = Some(channel.discard_buffers());
                channel.push("kept");
            }
        });
        peer.sends("one\ntwo\nthr");
        assert_waits!(peer, channel.run(&mut handler));
        peer.sends("ee\nfour\n");
        assert_waits!(peer, channel.run(&mut handler));
        assert_eq!(handler.seen(), "connected collect(one) found collect(four) found");
        drop(handler);
        let discarded = discarded.unwrap();
        assert_eq!((discarded.input_bytes, discarded.output_bytes), (7, 7));
        assert_eq!(peer.written(), "kept");
    }
}

#[test]
fn discard_buffers_in_connected_drops_buffered_input() {
    let (mut channel, peer) = channel();
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    let mut handler = recorder(|event, channel| {
        if event == "connected" {
            assert_eq!(channel.discard_buffers().input_bytes, 7);
        }
    });
    peer.sends("ee\nfour\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(four) found");
}

#[test]
fn discard_buffers_in_a_callback_that_fails_holds_as_well() {
    let (mut channel, peer) = channel();
    let mut armed = true;
    let mut handler = failing(move |event, channel| {
        if event == "found" && std::mem::take(&mut armed) {
            channel.discard_buffers();
            return Err(Oops::Mine);
        }
        Ok(())
    });
    peer.sends("one\ntwo\nthr");
    assert_eq!(show(poll!(channel.run(&mut handler))), "mine");
    assert_eq!(channel.unread(), b"");
    peer.sends("ee\nfour\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(handler.seen(), "connected collect(one) found collect(four) found");
}

// Types.

#[test]
fn run_works_with_a_mut_dyn_handler() {
    let (mut channel, peer) = channel();
    let mut echo = Echo::default();
    let handler: &mut dyn Handler<Error = Error> = &mut echo;
    peer.sends("one\n");
    assert_waits!(peer, channel.run(handler));
    assert_eq!(peer.written(), "one\n");
    let mut boxed: Box<dyn Handler<Error = Error> + Send> = Box::new(Echo::default());
    peer.sends("two\n");
    assert_waits!(peer, channel.run(&mut *boxed));
    assert_eq!(peer.written(), "two\n");
}

#[test]
fn the_future_of_run_is_send_when_transport_and_handler_are() {
    fn is_send<T: Send>(_: T) {}
    fn check<T, H>(channel: &mut Channel<T>, handler: &mut H)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
        H: Handler + Send + ?Sized,
    {
        is_send(channel.run(handler));
    }
    let (mut channel, _peer) = channel();
    check(&mut channel, &mut Echo::default());
    let mut boxed: Box<dyn Handler<Error = Error> + Send> = Box::new(Echo::default());
    check(&mut channel, &mut *boxed);
}

#[test]
fn a_pusher_in_a_callback_reaches_the_same_channel() {
    struct Broadcast(Pusher);
    impl Handler for Broadcast {
        type Error = Error;
        fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.try_push(Bytes::copy_from_slice(data)).map_err(|_| Error::Closed)
        }
        fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
            Ok(())
        }
    }
    let (mut channel, peer) = channel();
    let mut handler = Broadcast(channel.pusher());
    peer.sends("one\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), "one");
}

// The lingering close; the clock stands still unless the test moves it.

const LINGER: Duration = Duration::from_secs(5);

/// A channel that has said good-bye: it is shut down, and lingers.
fn lingering() -> (Channel<Mock>, Peer, Recorder<'static>) {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").linger(LINGER).build(io);
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("bye\n");
            channel.close_when_done();
        }
    });
    peer.sends("QUIT\n");
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(peer.written(), "bye\n");
    assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
    assert_eq!(handler.seen(), "connected collect(QUIT) found", "not closed yet");
    (channel, peer, handler)
}

#[tokio::test(start_paused = true)]
async fn input_during_linger_is_dropped_until_timeout() {
    let (mut channel, peer, mut handler) = lingering();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    for _ in 0..4 {
        peer.sends("DELETE\nall");
        assert!(task.is_woken());
        assert!(task.poll().is_pending());
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::advance(Duration::from_millis(1100)).await;
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "run(closed)");
    drop(task);
    assert_eq!(handler.seen(), "closed", "no frame, and closed once");
    assert_eq!(channel.unread(), b"");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_ends_the_linger_at_once() {
    let (mut channel, peer, mut handler) = lingering();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    peer.sends("rest");
    peer.ends();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "run(closed)");
    drop(task);
    assert_eq!(handler.seen(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_ends_the_linger_and_is_no_error() {
    let (mut channel, peer, mut handler) = lingering();
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "closed");
}

#[tokio::test(start_paused = true)]
async fn linger_over_flood_yields_and_times_out() {
    let (mut channel, peer, mut handler) = lingering();
    peer.reads([Read::Endless(Bytes::from(vec![b'x'; 4096]))]);
    let mut task = spawn(channel.run(&mut handler));
    for _ in 0..10 {
        assert!(task.poll().is_pending());
        assert!(task.is_woken());
    }
    tokio::time::advance(LINGER + Duration::from_millis(1)).await;
    assert_eq!(show(task.poll()), "run(closed)");
}

#[tokio::test(start_paused = true)]
async fn linger_is_cancel_safe_without_restarting_its_time() {
    let (mut channel, peer, mut handler) = lingering();
    for _ in 0..5 {
        assert!(poll!(channel.run(&mut handler)).is_pending());
        peer.sends("more\n");
        tokio::time::advance(Duration::from_millis(1001)).await;
    }
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_closed_before_needs_no_linger() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").linger(LINGER).build(io);
    peer.sends("one\n");
    peer.ends();
    assert_eq!(show(poll!(channel.run(&mut Echo::default()))), "run(closed)");
    assert_eq!(peer.written(), "one\n");
}

#[test]
fn a_linger_of_zero_is_none_and_needs_no_timer() {
    let (mut channel, peer) = channel();
    channel.close_when_done();
    peer.sends("unread");
    assert_eq!(show(poll!(channel.run(&mut Echo::default()))), "run(closed)");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_there_is_no_linger() {
    let (io, peer) = mock();
    let mut channel = Channel::builder().terminator("\n").linger(LINGER).build(io);
    peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
    channel.push("bye");
    channel.close_when_done();
    assert_eq!(show(poll!(channel.run(&mut Echo::default()))), "io(BrokenPipe)");
}

#[tokio::test]
async fn run_serves_a_peer_over_a_pipe_to_the_end() {
    let (here, there) = tokio::io::duplex(16);
    let mut channel = Channel::new(here, "\n");
    let server = tokio::spawn(async move { channel.run(&mut Echo::default()).await });
    let mut peer = Channel::new(there, "\n");
    let line = "z".repeat(10_000);
    for _ in 0..3 {
        peer.push(format!("{line}\n"));
        assert_eq!(peer.receive("\n").await.unwrap(), line);
    }
    peer.push("last\n");
    peer.shutdown().await.unwrap();
    assert_eq!(peer.receive("\n").await.unwrap(), "last", "half closed, and answered");
    assert!(peer.next().await.is_none());
    assert_eq!(server.await.unwrap().unwrap(), Run::Closed);
    assert_ready!(spawn(peer.flush()).poll()).unwrap();
}

#[test]
fn input_ended_is_called_once() {
    let (mut channel, peer) = channel();
    let mut handler = recorder(|_, _| {});
    let mut open = recorder(|_, _| {});
    peer.sends("one\n");
    peer.ends();
    let mut stays_open = StaysOpen(&mut handler);
    assert!(poll!(channel.run(&mut stays_open)).is_pending());
    assert!(stays_open.0.seen().ends_with("ended"));
    assert_eq!(show(poll!(channel.next())), "none");
    assert!(poll!(channel.run(&mut StaysOpen(&mut open))).is_pending());
    assert_eq!(open.seen(), "");
}

/// Does not close at the end of input.
struct StaysOpen<'r, 'a>(&'r mut Recorder<'a>);

impl Handler for StaysOpen<'_, '_> {
    type Error = Oops;

    fn collect_incoming_data(&mut self, c: &mut Control<'_>, data: &[u8]) -> Result<(), Oops> {
        self.0.collect_incoming_data(c, data)
    }

    fn found_terminator(&mut self, c: &mut Control<'_>) -> Result<(), Oops> {
        self.0.found_terminator(c)
    }

    fn input_ended(&mut self, c: &mut Control<'_>) -> Result<(), Oops> {
        self.0.record("ended".into(), c)
    }
}

#[test]
fn run_does_not_take_reported_failure_for_end_of_input() {
    let (mut channel, peer) = channel();
    peer.sends("abc");
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(anew!(channel.next())), "io(ConnectionReset)");
    assert_eq!(show(poll!(channel.next())), "none");
    let mut handler = recorder(|_, _| {});
    assert_eq!(show(poll!(channel.run(&mut handler))), "closed");
    let seen = handler.seen();
    assert!(seen.contains("closed by") && !seen.contains("collect"), "{seen}");
}

#[test]
fn run_reports_closed_after_reported_write_error() {
    type Tell = fn(&mut Channel<Mock>) -> String;
    let tells: [(&str, Tell); 3] = [
        ("flush", |channel| show(anew!(channel.flush()))),
        ("ready", |channel| show(anew!(channel.ready()))),
        ("close", |channel| show(anew!(channel.close()))),
    ];
    for (name, tell) in tells {
        for ends in [true, false] {
            let (mut channel, peer) = channel();
            channel.push([b'x'; 200_000].as_slice());
            peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
            assert_eq!(tell(&mut channel), "io(BrokenPipe)", "{name}");
            if ends {
                // The end of input is answered by a close.
                peer.ends();
            } else {
                channel.close_when_done();
            }
            let mut handler = recorder(|_, _| {});
            assert_eq!(show(poll!(channel.run(&mut handler))), "closed", "{name}");
            let expected = match (name, ends) {
                // The end of input went with the rest of it.
                ("close", _) => "connected closed by channel closed",
                (_, true) => "connected ended closed by channel closed",
                (_, false) => "connected closed by channel closed",
            };
            assert_eq!(handler.seen(), expected, "{name}");
            assert_eq!(show(poll!(channel.run(&mut handler))), "closed", "{name}");
            assert_eq!(handler.seen(), "", "{name}");
        }
    }
}

#[test]
fn a_panic_of_a_callback_loses_and_repeats_no_frame() {
    let (mut channel, peer) = channel();
    peer.sends("one\ntwo\nDELE");
    let mut panics = recorder(|event, _| assert_ne!(event, "collect(one)", "planted"));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = poll!(channel.run(&mut panics));
    }));
    assert!(outcome.is_err());
    let mut handler = recorder(|_, _| {});
    assert!(poll!(channel.run(&mut handler)).is_pending());
    assert_eq!(handler.seen(), "collect(two) found");
    peer.sends(" 1\n");
    assert!(poll!(channel.run(&mut handler)).is_pending());
    assert_eq!(handler.seen(), "collect(DELE 1) found");
}

#[test]
fn next_delivers_nothing_after_run_has_begun_to_close() {
    let (mut channel, peer) = channel();
    peer.blocks_writes();
    peer.sends("quit\nDELE");
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            channel.push("bye");
            channel.close_when_done();
        }
    });
    assert_waits!(peer, channel.run(&mut handler));
    assert_eq!(channel.unread(), b"", "dropped");
    peer.sends(" 1\nlate\n");
    assert_eq!(show(anew!(channel.next())), "none");
    assert_eq!(show(anew!(channel.receive("\n"))), "eof()");
    assert_eq!(channel.unread(), b"");
    peer.wake_write();
    peer.ends();
    assert_eq!(show(anew!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "connected collect(quit) found closed");
    assert_eq!(peer.written(), "bye");
}

#[test]
fn a_pusher_can_be_made_in_a_callback() {
    let (mut channel, peer) = channel();
    let mut pusher = None;
    let mut handler = recorder(|event, channel| {
        if event == "connected" {
            pusher = Some(channel.pusher());
        }
    });
    let mut task = spawn(channel.run(&mut handler));
    assert_pending!(task.poll());
    drop(task);
    drop(handler);
    pusher.unwrap().try_push("from elsewhere").unwrap();
    let mut handler = recorder(|_, _| {});
    assert_pending!(spawn(channel.run(&mut handler)).poll());
    assert_eq!(peer.written(), "from elsewhere");
}

#[test]
fn a_frame_pushed_by_a_callback_is_checked() {
    let (io, peer) = mock();
    let mut channel = builder().encode_terminator("\n").build(io);
    let mut results = vec![];
    let mut handler = recorder(|event, channel| {
        if event == "found" {
            results.push(show(channel.push_frame("fine")));
            results.push(show(channel.push_frame("not\nfine")));
        }
    });
    peer.sends("x\n");
    assert_pending!(spawn(channel.run(&mut handler)).poll());
    drop(handler);
    assert_eq!(results, ["done", "terminatorincontent"]);
    assert_eq!(peer.written(), "fine\n");
}

#[tokio::test(start_paused = true)]
async fn closed_is_called_once_if_linger_is_repeated() {
    let (mut channel, peer, mut handler) = lingering();
    peer.ends();
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(show(poll!(channel.run(&mut handler))), "run(closed)");
    assert_eq!(handler.seen(), "closed");
}
