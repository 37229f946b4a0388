//! `tracing` events: target `asynchat`, for life-cycle, switches, over-long
//! frames and errors; never content.

mod mock;

use asynchat::producer::from_iter;
use asynchat::{Channel, Control, Error, Handler};
use mock::{Give, Mock, Read, Write, mock, poll, producer, show};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps each event as one line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("asynchat")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        assert_eq!(event.metadata().target(), "asynchat");
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push((*event.metadata().level(), line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The events of a scenario, as lines.
fn events(scenario: impl FnOnce()) -> Vec<(Level, String)> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), scenario);
    let events = std::mem::take(&mut *log.0.lock().unwrap());
    for (_, line) in &events {
        assert!(!line.contains("SECRET"), "content in an event: {line}");
    }
    events
}

#[track_caller]
fn assert_has(events: &[(Level, String)], words: &str) {
    assert!(events.iter().any(|(_, line)| line.contains(words)), "no {words:?} in {events:#?}");
}

#[test]
fn events_cover_life_cycle_without_content() {
    let events = events(|| {
        let (io, peer) = mock();
        let mut channel = Channel::builder().max_length(10).terminator("\n").build(io);
        peer.sends("SECRET\nSECRETSECRETSECRET\nSECRET");
        assert_eq!(show(poll!(channel.next())), "complete(SECRET)");
        assert_eq!(show(poll!(channel.next())), "too long(10)");
        channel.set_terminator("\r\n");
        channel.push("SECRET");
        channel.discard_buffers();
        channel.push("SECRET");
        peer.ends();
        channel.close_when_done();
        assert_eq!(show(poll!(channel.next())), "none");
    });
    for words in
        ["terminator set", "frame too long", "buffers discarded", "close when done", "input ended"]
    {
        assert_has(&events, words);
    }
    assert_has(&events, "write half shut down");
}

#[test]
fn errors_have_events_without_content() {
    let events = events(|| {
        let (io, peer) = mock();
        let mut channel = Channel::new(io, "\n");
        peer.reads([Read::Err(ErrorKind::Other)]);
        assert_eq!(show(poll!(channel.next())), "io(Other)");

        let (io, peer) = mock();
        let mut channel = Channel::new(io, "\n");
        peer.writes([Write::Err(ErrorKind::BrokenPipe)]);
        channel.push("SECRET");
        assert_eq!(show(poll!(channel.flush())), "io(BrokenPipe)");

        let (io, _peer) = mock();
        let mut channel = Channel::new(io, "\n");
        channel.push("SECRET");
        channel.push_with_producer(producer([Give::Err(ErrorKind::NotFound)]).0);
        assert_eq!(show(poll!(channel.flush())), "producer(NotFound)");
    });
    for words in ["reading failed", "output failed", "producer failed"] {
        assert_has(&events, words);
    }
}

#[test]
fn a_reset_has_an_event_of_each_direction() {
    for (kind, fails) in [(ErrorKind::ConnectionReset, true), (ErrorKind::Other, false)] {
        let events = events(|| {
            let (io, peer) = mock();
            let mut channel = Channel::new(io, "\n");
            peer.reads([Read::Err(kind)]);
            assert_eq!(show(poll!(channel.next())), format!("io({kind:?})"));
        });
        assert_has(&events, "reading failed");
        let has_failed = events.iter().any(|(_, line)| line.contains("output failed"));
        assert_eq!(has_failed, fails, "{kind:?}: {events:#?}");
    }
}

#[test]
fn rewind_warns_of_dropped_output() {
    for (output, chunks, warns) in [("", 0, false), ("SECRET", 0, true), ("", 1, true)] {
        let events = events(|| {
            let (io, _peer) = mock();
            let mut channel = Channel::new(io, "\n");
            channel.push(output);
            (0..chunks).for_each(|_| channel.push_with_producer(from_iter(["SECRET"])));
            drop(channel.into_parts().rewind());
        });
        let has_warned = events.iter().any(|(level, _)| *level == Level::WARN);
        assert_eq!(has_warned, warns, "{events:#?}");
    }
}

#[test]
fn an_upgrade_and_its_refusal_have_events_without_content() {
    let events = events(|| {
        let (io, _peer) = mock();
        assert!(poll!(Channel::new(io, "\n").upgrade(|io| async { Ok(io) })).is_ready());
        let (io, peer) = mock();
        let mut channel = Channel::new(io, "\n");
        peer.sends("SECRET");
        assert!(poll!(channel.next()).is_pending());
        assert!(poll!(channel.upgrade(|io| async { Ok(io) })).is_ready());
    });
    assert_has(&events, "upgrade ");
    assert_has(&events, "upgrade refused");
}

#[test]
fn push_after_close_when_done_drops_the_data_with_a_warn_event() {
    let events = events(|| {
        let (io, _peer) = mock();
        let mut channel = Channel::new(io, "\n");
        channel.close_when_done();
        channel.push("SECRET");
        channel.push_slice(b"SECRET");
        channel.push_with_producer(producer([]).0);
    });
    let warned = events.iter().filter(|(level, _)| *level == Level::WARN).count();
    assert_eq!(warned, 3, "{events:#?}");
}

#[test]
fn a_channel_dropped_with_output_queued_has_a_warn_event() {
    type Queue = fn(&mut Channel<Mock>);
    let rows: [(Queue, usize); 4] = [
        (|_| (), 0),
        (|channel| channel.push("SECRET"), 1),
        (|channel| drop(channel.pusher()), 0),
        (|channel| channel.pusher().try_push("SECRET").unwrap(), 1),
    ];
    for (queue, expected) in rows {
        let events = events(|| {
            let (io, _peer) = mock();
            queue(&mut Channel::new(io, "\n"));
        });
        let warned = events.iter().filter(|(level, _)| *level == Level::WARN).count();
        assert_eq!(warned, expected, "{events:#?}");
    }
}

#[test]
fn frames_that_come_and_go_in_the_ordinary_way_have_no_events() {
    let (io, peer) = mock();
    let mut channel = Channel::new(io, "\n");
    let events = events(|| {
        for _ in 0..10 {
            peer.sends("SECRET\n");
            assert_eq!(show(poll!(channel.next())), "complete(SECRET)");
            channel.push("SECRET\n");
            assert_eq!(show(poll!(channel.flush())), "done");
        }
    });
    assert_eq!(events, []);
}

#[test]
fn uncollected_frame_has_event_without_content() {
    struct Whole(Vec<usize>);
    impl Handler for Whole {
        type Error = Error;
        fn frame(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.0.push(data.len());
            Ok(())
        }
    }
    let mut whole = Whole(vec![]);
    let events = events(|| {
        let (io, peer) = mock();
        let mut channel =
            Channel::builder().terminator("\n").linger(std::time::Duration::ZERO).build(io);
        peer.sends("SECRET\n\nSEC");
        peer.ends();
        assert_eq!(show(poll!(channel.run(&mut whole))), "run(closed)");
    });
    assert_eq!(whole.0, [6, 0], "each whole frame, and no other");
    assert_has(&events, "unfinished frame dropped");
    assert_has(&events, "bytes=3");
}
