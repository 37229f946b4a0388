//! The deliberate differences from asynchat. Each scene is played here and, if a `python3`
//! with asynchat (up to 3.11) is installed, with the original. `docs/asynchat.md` says why.

mod mock;
mod programs;

use asynchat::{Channel, Control, Error, Handler, IntoTerminator, producer};
use bytes::Bytes;
use futures::{SinkExt, stream};
use mock::{Mock, Peer, anew, mock, poll, show};
use std::collections::BTreeSet;
use std::io;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

/// Python 3.11 or older has it; for later ones there is a package.
static HAS_ASYNCHAT: LazyLock<bool> =
    LazyLock::new(|| programs::works(&["python3", "-W", "ignore", "-c", "import asynchat"]));

/// What came of a scene there and here, and what should.
#[track_caller]
fn differs(scene: &str, theirs: &str, ours: impl AsRef<str>, want: &str) {
    assert_eq!(ours.as_ref(), want, "{scene}, here");
    assert_ne!(theirs, want, "{scene}: no difference");
    if *HAS_ASYNCHAT {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asynchat_differences.py");
        let output = Command::new("python3").args([script, scene]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim_end(), theirs, "{scene}, asynchat: {output:?}");
    }
}

type Act = fn(&str, &mut Control<'_>) -> Result<(), Error>;

/// Writes down each callback, and then does what the scene wants.
struct Recorder {
    seen: Vec<String>,
    act: Act,
}

impl Recorder {
    fn new(act: Act) -> Self {
        Recorder { seen: vec![], act }
    }

    fn quiet() -> Self {
        Recorder::new(|_, _| Ok(()))
    }

    fn record(&mut self, event: String, control: &mut Control<'_>) -> Result<(), Error> {
        let done = (self.act)(&event, control);
        self.seen.push(event);
        done
    }

    fn note(&mut self, event: &str) {
        self.seen.push(event.into());
    }

    fn seen(&self) -> String {
        self.seen.join(" ")
    }
}

impl Handler for Recorder {
    type Error = Error;

    fn collect_incoming_data(&mut self, c: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.record(format!("collect({})", data.escape_ascii()), c)
    }

    fn found_terminator(&mut self, c: &mut Control<'_>) -> Result<(), Error> {
        self.record("found".into(), c)
    }

    fn frame_too_long(&mut self, c: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        self.record(format!("too-long({limit})"), c)
    }

    fn closed(&mut self, _: Option<&Error>) {
        self.note("close");
    }
}

/// In streaming mode, as asynchat always is.
fn channel(terminator: impl IntoTerminator) -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    let builder = Channel::builder().terminator(terminator).streaming(true);
    (builder.linger(Duration::ZERO).build(io), peer)
}

/// Runs until it waits or ends.
fn run(channel: &mut Channel<Mock>, recorder: &mut Recorder) -> String {
    show(poll!(channel.run(recorder)))
}

#[test]
fn a_count_of_zero() {
    let (mut channel, peer) = channel(0);
    let mut recorder = Recorder::quiet();
    peer.sends("ab");
    run(&mut channel, &mut recorder);
    differs("a_count_of_zero", "collect(ab)", recorder.seen(), "found collect(ab)");
}

#[test]
fn a_spent_count() {
    let (mut channel, peer) = channel(1);
    let mut recorder = Recorder::quiet();
    peer.sends("a");
    run(&mut channel, &mut recorder);
    let ours = format!("{} {:?}", recorder.seen(), channel.terminator());
    differs("a_spent_count", "collect(a) found 0", ours, "collect(a) found None");
}

#[test]
fn half_a_terminator_at_the_end() {
    let (mut channel, peer) = channel("\r\n");
    let mut recorder = Recorder::quiet();
    peer.sends("QUIT\r");
    peer.ends();
    run(&mut channel, &mut recorder);
    let (theirs, want) = ("collect(QUIT) close", "collect(QUIT) collect(\\r) close");
    differs("half_a_terminator_at_the_end", theirs, recorder.seen(), want);
}

#[test]
fn a_frame_without_an_end() {
    let (mut channel, peer) = channel("\n");
    channel.codec_mut().set_streaming(false);
    let mut recorder = Recorder::quiet();
    (0..100).for_each(|_| peer.sends([b'x'; 10_000]));
    for _ in 0..100 {
        run(&mut channel, &mut recorder);
    }
    let ours = format!("{}, {} bytes held", recorder.seen(), channel.unread().len());
    let want = "too-long(65536), 0 bytes held";
    differs("a_frame_without_an_end", "1000000 bytes collected", ours, want);
}

#[test]
fn frames_after_a_close() {
    let (mut channel, peer) = channel("\n");
    let mut recorder = Recorder::new(|event, control| {
        if event == "found" {
            control.close_when_done();
        }
        Ok(())
    });
    peer.sends("a\nb\n");
    run(&mut channel, &mut recorder);
    let (theirs, want) = ("collect(a) found collect(b) found", "collect(a) found close");
    differs("frames_after_a_close", theirs, recorder.seen(), want);
}

#[test]
fn terminator_set_while_data_is_buffered() {
    let (mut channel, peer) = channel("\r\n\r\n");
    let mut recorder = Recorder::quiet();
    peer.sends("a\r\n");
    run(&mut channel, &mut recorder);
    channel.set_terminator("\r\n");
    recorder.note("set,");
    run(&mut channel, &mut recorder);
    recorder.note("then read");
    peer.sends("b");
    run(&mut channel, &mut recorder);
    let theirs = "collect(a) set, then read found collect(b)";
    let want = "collect(a) set, found then read collect(b)";
    differs("terminator_set_while_data_is_buffered", theirs, recorder.seen(), want);
}

#[test]
fn a_terminator_set_in_collect_incoming_data() {
    let (mut channel, peer) = channel(5);
    let mut seen = vec![];
    let count: Act = |_, control| {
        control.set_terminator(10);
        Ok(())
    };
    let byte_string: Act = |_, control| {
        control.set_terminator("\n");
        Ok(())
    };
    for act in [count, byte_string] {
        peer.sends("abc");
        run(&mut channel, &mut Recorder::new(act));
        seen.push(format!("{:?}", channel.terminator()));
    }
    let (ours, want) = (seen.join(" "), r#"Count(10) Pattern("\n")"#);
    differs("a_terminator_set_in_collect_incoming_data", "7 close", ours, want);
}

#[test]
fn an_empty_chunk_of_a_producer() {
    let (mut channel, peer) = channel(None);
    channel.push_with_producer(producer::from_iter(["a", "", "b"]));
    show(anew!(channel.flush()));
    let ours = format!("send({})", peer.written());
    differs("an_empty_chunk_of_a_producer", "send(a)", ours, "send(ab)");
}

#[test]
fn a_producer_that_fails() {
    let (mut channel, peer) = channel(None);
    let chunks = [Ok(Bytes::from("a")), Err(io::Error::other("oops"))];
    channel.push_with_producer(stream::iter(chunks));
    channel.push("behind");
    let first = show(anew!(channel.flush()));
    channel.push("behind");
    let second = show(anew!(channel.flush()));
    let ours = format!("send({}) {first} {second}", peer.written());
    let want = "send(a) producer(Other) closed";
    differs("a_producer_that_fails", "send(a) raised send(behind)", ours, want);
}

#[test]
fn when_a_push_is_sent() {
    let (mut channel, peer) = channel(None);
    channel.push("a");
    let before = peer.written();
    let _ = poll!(channel.next());
    let ours = format!("send({before}) before push returns, send({}) when polled", peer.written());
    let want = "send() before push returns, send(a) when polled";
    differs("when_a_push_is_sent", "send(a) before push returns", ours, want);
}

#[test]
fn a_buffer_that_changes_after_its_push() {
    let (mut channel, peer) = channel(None);
    let mut data = *b"a";
    channel.push_slice(&data);
    data[0] = b'b';
    show(anew!(channel.flush()));
    let ours = format!("send({}), not {}", peer.written(), data.escape_ascii());
    differs("a_buffer_that_changes_after_its_push", "send(b)", ours, "send(a), not b");
}

#[test]
fn a_push_after_a_close() {
    let (mut channel, peer) = channel(None);
    channel.push("a");
    show(anew!(channel.shutdown()));
    channel.push("b");
    let queued = channel.queued_bytes();
    let fed = show(anew!(channel.feed("b".into())));
    let ours = format!("send({}), {queued} queued, {fed}", peer.written());
    let want = "send(a), 0 queued, closed";
    differs("a_push_after_a_close", "send(a) close, 1 queued", ours, want);
}

#[test]
fn a_peer_that_does_not_read() {
    let (mut channel, peer) = channel("\n");
    let mut recorder = Recorder::new(|event, control| {
        if event == "found" {
            control.push(vec![b'x'; 100_000]);
        }
        Ok(())
    });
    peer.blocks_writes();
    (0..100).for_each(|_| peer.sends("GET\n"));
    for _ in 0..100 {
        run(&mut channel, &mut recorder);
    }
    let ours = format!("{} bytes queued, then {}", channel.queued_bytes(), recorder.seen());
    let theirs = "10000000 bytes queued, reads on: True";
    // The high-water mark is 128 KiB.
    let want = "200064 bytes queued, then collect(GET) found collect(GET) found";
    differs("a_peer_that_does_not_read", theirs, ours, want);
}

#[test]
fn a_peer_that_ends_its_side_first() {
    let (mut channel, peer) = channel("\n");
    let mut recorder = Recorder::new(|event, control| {
        if event == "found" {
            control.push("answer");
        }
        Ok(())
    });
    peer.blocks_writes();
    peer.sends("question\n");
    peer.ends();
    let waits = run(&mut channel, &mut recorder);
    peer.wake_write();
    let ended = run(&mut channel, &mut recorder);
    let ours = format!("{} send({}) {waits} {ended}", recorder.seen(), peer.written());
    let want = "collect(question) found close send(answer) pending run(closed)";
    differs("a_peer_that_ends_its_side_first", "collect(question) close", ours, want);
}

#[test]
fn how_a_connection_is_closed() {
    let (mut channel, peer) = channel(None);
    channel.push("bye");
    channel.close_when_done();
    run(&mut channel, &mut Recorder::quiet());
    let ours = format!("{:?}", peer.output_calls());
    let want = "[Write(3), Flush, Shutdown]";
    differs("how_a_connection_is_closed", "send(bye) close", ours, want);
}

#[test]
fn discard_buffers_within_a_frame() {
    let (mut channel, peer) = channel("\n");
    let mut recorder = Recorder::quiet();
    peer.sends("ab");
    run(&mut channel, &mut recorder);
    channel.discard_buffers();
    recorder.note("discard");
    peer.sends("c\nd\n");
    run(&mut channel, &mut recorder);
    let theirs = "collect(ab) discard collect(c) found collect(d) found";
    let want = "collect(ab) discard collect(d) found";
    differs("discard_buffers_within_a_frame", theirs, recorder.seen(), want);
}

#[test]
fn discard_buffers_after_a_close() {
    let (mut channel, peer) = channel(None);
    channel.push("a");
    channel.close_when_done();
    channel.discard_buffers();
    show(anew!(channel.shutdown()));
    let ours = format!("{:?}", peer.output_calls());
    // A channel begins unflushed.
    let want = "[Flush, Shutdown]";
    differs("discard_buffers_after_a_close", "to be written: False", ours, want);
}

#[test]
fn discard_buffers_while_a_write_is_pending() {
    let (mut channel, peer) = channel(None);
    peer.blocks_writes();
    channel.push("a");
    let _ = poll!(channel.flush());
    channel.push("b");
    channel.discard_buffers();
    channel.push("c");
    peer.wake_write();
    show(anew!(channel.flush()));
    let ours = format!("send({})", peer.written());
    differs("discard_buffers_while_a_write_is_pending", "send(c)", ours, "send(ac)");
}

#[test]
fn an_error_of_a_callback() {
    let (mut channel, peer) = channel("\n");
    let mut recorder = Recorder::new(|event, _| match event {
        "found" => Err(io::Error::other("oops").into()),
        _ => Ok(()),
    });
    peer.sends("a\nb\n");
    let first = run(&mut channel, &mut recorder);
    recorder.note("again");
    recorder.act = |_, _| Ok(());
    let second = run(&mut channel, &mut recorder);
    let ours = format!("{} {first} {second}", recorder.seen());
    let want = "collect(a) found again collect(b) found io(Other) pending";
    differs("an_error_of_a_callback", "collect(a) found close", ours, want);
}

/// Every scene has its row, and every row its scene, here and there.
#[test]
fn the_page_has_all_of_them() {
    let (_, differences) = include_str!("../docs/asynchat.md").split_once("# Differences").unwrap();
    let page: BTreeSet<&str> = differences
        .lines()
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once("| `"))
        .map(|(_, scene)| scene)
        .collect();
    let script: BTreeSet<&str> = include_str!("asynchat_differences.py")
        .lines()
        .filter_map(|line| line.strip_prefix("def ")?.strip_suffix("():"))
        .collect();
    let scenes: BTreeSet<&str> = include_str!("asynchat_differences.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("    differs(\"")?.split_once('"'))
        .map(|(scene, _)| scene)
        .collect();
    assert_eq!(page, script);
    assert_eq!(page, scenes);
    assert!(page.len() >= 18, "{page:?}");
}
