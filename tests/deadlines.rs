//! Deadlines: a whole frame, idleness, a stalled write, the lingering close.
//!
//! The clock stands still unless a test moves it.

mod mock;

use asynchat::{
    Builder, Channel, Control, Error, Frame, Handler, Length, Terminator, Timeout, Timeouts,
    producer,
};
use bytes::Bytes;
use futures::stream::FusedStream;
use futures::{SinkExt, StreamExt};
use mock::{Call, Give, Mock, Peer, Read, Step, Write, chunk, mock, poll, show};
use std::future::{Future, pending};
use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::coop::{consume_budget, has_budget_remaining};
use tokio::time::{Instant, advance, sleep};
use tokio_test::task::spawn;

const SECOND: Duration = Duration::from_secs(1);
/// The limits, different ones so that each is known by its time.
const FRAME: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(30);
const LIMITS: Timeouts =
    Timeouts { frame: Some(FRAME), idle: Some(IDLE), write: Some(WRITE), min_rate: None };
/// The grain of the timer.
const TICK: Duration = Duration::from_millis(1);

fn builder() -> Builder {
    Channel::builder().terminator("\n").linger(Duration::ZERO)
}

fn limited() -> Builder {
    builder().timeouts(LIMITS)
}

fn over(builder: Builder) -> (Channel<Mock>, Peer) {
    let (io, peer) = mock();
    (builder.build(io), peer)
}

/// Whether `$future`, polled anew, waits and wakes at `$after`, not earlier;
/// gives what comes then.
macro_rules! at {
    ($after:expr, $future:expr) => {
        // A match keeps what is borrowed there.
        match $future {
            future => {
                let mut task = spawn(future);
                assert!(task.poll().is_pending(), "it waits");
                advance($after - TICK).await;
                assert!(!task.is_woken() || task.poll().is_pending(), "not earlier");
                advance(2 * TICK).await;
                assert!(task.is_woken(), "the timer wakes it");
                show(task.poll())
            }
        }
    };
}

/// Writes down what is called; `timed_out` does what the test wants.
struct Recorder<F> {
    seen: Vec<String>,
    timed_out: F,
}

fn recorder<F>(timed_out: F) -> Recorder<F>
where
    F: FnMut(&mut Control<'_>, Timeout) -> Result<(), Error>,
{
    Recorder { seen: vec![], timed_out }
}

impl<F> Recorder<F> {
    fn seen(&mut self) -> String {
        std::mem::take(&mut self.seen).join(" ")
    }
}

impl<F> Handler for Recorder<F>
where
    F: FnMut(&mut Control<'_>, Timeout) -> Result<(), Error>,
{
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.seen.push(format!("collect({})", std::str::from_utf8(data).unwrap()));
        Ok(())
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.seen.push("found".into());
        if self.seen.iter().any(|seen| seen == "collect(UNLIMITED)") {
            let write = channel.timeouts().write;
            channel.set_timeouts(Timeouts { write, ..Timeouts::default() });
        }
        Ok(())
    }

    fn frame_too_long(&mut self, _: &mut Control<'_>, _: usize) -> Result<(), Error> {
        self.seen.push("too long".into());
        Ok(())
    }

    fn timed_out(&mut self, channel: &mut Control<'_>, timeout: Timeout) -> Result<(), Error> {
        self.seen.push(format!("{timeout:?}"));
        (self.timed_out)(channel, timeout)
    }

    fn closed(&mut self, error: Option<&Error>) {
        self.seen.push(error.map_or("closed".into(), |error| format!("closed by {error:?}")));
    }
}

/// Everything provided.
struct Plain(Option<String>);

impl Handler for Plain {
    type Error = Error;

    fn closed(&mut self, error: Option<&Error>) {
        assert!(self.0.is_none(), "closed is called once");
        self.0 = Some(format!("{error:?}"));
    }
}

// The whole frame.

/// Sends a byte each second, the first of them at once, until the call is over:
/// gives its result and after how many seconds.
macro_rules! trickle {
    ($peer:expr, $first:expr, $call:expr) => {{
        $peer.sends($first);
        let mut seconds = 0;
        loop {
            if let Poll::Ready(ready) = poll!($call) {
                break (show(ready), seconds);
            }
            advance(SECOND).await;
            advance(if seconds == 4 { TICK } else { Duration::ZERO }).await;
            $peer.sends("x");
            seconds += 1;
            assert!(seconds < 100, "it never ends");
        }
    }};
}

#[tokio::test(start_paused = true)]
async fn trickled_frame_is_timed_from_first_byte() {
    let slow = || ("timeout(frame(5s))".to_owned(), 5);
    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.next()), slow(), "next");
    assert_eq!(channel.unread(), b"xxxxxx", "nothing is lost");

    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.receive("\r\n")), slow(), "receive");

    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.receive(100)), slow(), "a count");

    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.receive(None)), slow(), "all there is");

    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.receive_within(100, "\n")), slow(), "receive_within");

    let (mut channel, peer) = over(limited());
    assert_eq!(trickle!(peer, "x", channel.run(&mut Plain(None))), slow(), "run");

    let (mut channel, peer) = over(limited().streaming(true));
    assert_eq!(trickle!(peer, "x", channel.run(&mut Plain(None))), slow(), "run, in parts");
}

#[tokio::test(start_paused = true)]
async fn peek_ends_with_the_time_and_next_reports_it() {
    let peek =
        async |channel: &mut Channel<Mock>| channel.peek(100).await.map(Bytes::copy_from_slice);
    let (mut channel, peer) = over(limited());
    assert_eq!(at!(IDLE, peek(&mut channel)), "", "no frame has begun");
    assert_eq!(show(poll!(channel.next())), "timeout(idle(60s))");
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(show(poll!(peek(&mut channel))), "", "and the end stays");

    channel.set_timeouts(LIMITS);
    peer.sends("a\nb");
    assert_eq!(at!(FRAME, peek(&mut channel)), "a\nb");
    assert_eq!(show(poll!(channel.next())), "complete(a)", "nothing is lost");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    assert_eq!(show(poll!(peek(&mut channel))), "b");
}

#[tokio::test(start_paused = true)]
async fn peek_restarts_no_time() {
    let (mut channel, peer) = over(limited());
    peer.sends("x");
    let mut seconds = 0;
    while poll!(channel.peek(100)).is_pending() {
        advance(SECOND).await;
        peer.sends("x");
        assert!(poll!(channel.peek(1)).is_ready());
        seconds += 1;
        assert!(seconds < 100, "it never ends");
    }
    assert_eq!(seconds, 5, "a trickle");
    assert_eq!(show(poll!(channel.next())), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn time_of_input_stands_still_while_the_channel_pauses() {
    let timeouts = Timeouts { write: None, ..LIMITS };
    let builder = limited().timeouts(timeouts).high_water(10).low_water(0).pause_when_full(true);
    let (mut channel, peer) = over(builder);
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(3 * SECOND).await;
    peer.blocks_writes();
    channel.push(vec![b'x'; 100]);
    assert!(poll!(channel.next()).is_pending());
    advance(100 * FRAME).await;
    assert!(poll!(channel.next()).is_pending());
    peer.wake_write();
    assert_eq!(at!(2 * SECOND, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn drive_ends_when_output_stalls() {
    let (mut channel, peer) = over(limited());
    peer.blocks_writes();
    peer.sends("one\n");
    channel.push("x");
    let stalled = at!(WRITE, channel.drive(pending::<()>()));
    assert_eq!(stalled, "timeout(write(30s))");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[tokio::test(start_paused = true)]
async fn time_of_input_goes_on_while_another_task_waits_for_output() {
    let (channel, peer) = over(limited());
    let (mut sink, mut stream) = channel.split();
    peer.sends("x");
    let mut reader = spawn(stream.next());
    assert!(reader.poll().is_pending());
    peer.blocks_writes();
    let mut writer = spawn(sink.send(Bytes::from_static(b"y")));
    assert!(writer.poll().is_pending());
    advance(FRAME - SECOND).await;
    peer.sends("x");
    assert!(reader.poll().is_pending());
    advance(SECOND + TICK).await;
    assert!(reader.is_woken());
    assert_eq!(show(reader.poll()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn time_of_input_stands_still_during_drive() {
    let (mut channel, peer) = over(limited());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(3 * SECOND).await;
    assert_eq!(channel.drive(sleep(100 * IDLE)).await.unwrap(), ());
    peer.sends("y");
    assert_eq!(at!(2 * SECOND, channel.next()), "timeout(frame(5s))");

    let (mut channel, _peer) = over(limited());
    assert!(poll!(channel.next()).is_pending());
    advance(IDLE / 2).await;
    channel.drive(sleep(100 * IDLE)).await.unwrap();
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))", "begins afterwards");
}

/// One second more for each ten bytes.
fn rated() -> Builder {
    builder().timeouts(Timeouts { min_rate: NonZeroU32::new(10), ..LIMITS })
}

#[tokio::test(start_paused = true)]
async fn arrived_bytes_of_a_frame_extend_its_time() {
    let late = "timeout(frame(5s))";
    let (mut channel, peer) = over(rated());
    peer.sends("x".repeat(20));
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), late, "in the first read");

    let (mut channel, peer) = over(rated());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(3 * SECOND).await;
    peer.sends("x".repeat(24));
    assert_eq!(at!(2 * SECOND + SECOND * 5 / 2, channel.next()), late, "and later");

    let (mut channel, peer) = over(rated().in_buffer_size(7));
    peer.sends("x".repeat(20));
    assert_eq!(at!(FRAME + 2 * SECOND, channel.receive(100)), late, "in many reads");

    let (mut channel, peer) = over(rated().streaming(true));
    peer.sends("x".repeat(20));
    assert_eq!(at!(FRAME + 2 * SECOND, channel.run(&mut Plain(None))), late, "delivered");

    let (mut channel, peer) = over(rated().max_length(3));
    peer.sends("x".repeat(20));
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), late, "skipped");

    let (mut channel, _peer) = over(rated().read_buf(&[b'x'; 20][..]));
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), late, "from another reader");
}

#[tokio::test(start_paused = true)]
async fn announced_length_earns_no_time() {
    let (mut channel, peer) = over(rated().streaming(true).max_length(usize::MAX));
    channel.set_terminator(1_073_741_824);
    peer.sends("x".repeat(10));
    assert_eq!(show(poll!(channel.next())), "partial(xxxxxxxxxx)");
    assert_eq!(at!(FRAME + SECOND, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn head_and_body_of_a_message_earn_time_for_one_frame() {
    for streaming in [false, true] {
        let (mut channel, peer) = over(rated().streaming(streaming));
        channel.set_terminator(Length::u8());
        peer.sends([&b"\x01a\x64"[..], &[b'x'; 19]].concat());
        assert_eq!(show(poll!(channel.next())), "complete(\x01a)");
        if streaming {
            assert!(show(poll!(channel.next())).starts_with("partial(d"));
        }
        let ended = at!(FRAME + 2 * SECOND, channel.next());
        assert_eq!(ended, "timeout(frame(5s))", "streaming: {streaming}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_other_frames_earn_no_time() {
    let late = "timeout(frame(5s))";
    let before = "x".repeat(999) + "\n";
    for streaming in [false, true] {
        let (mut channel, peer) = over(rated().streaming(streaming));
        peer.sends(before.clone() + &"x".repeat(10));
        assert_eq!(show(poll!(channel.next())), format!("complete({})", before.trim_end()));
        if streaming {
            assert_eq!(show(poll!(channel.next())), "partial(xxxxxxxxxx)");
        }
        assert_eq!(at!(FRAME + SECOND, channel.next()), late, "streaming: {streaming}");
    }
    // The rest of a skipped frame, in the same read as part of the next one.
    let (mut channel, peer) = over(rated().streaming(true));
    peer.sends("half");
    assert!(poll!(channel.receive("\n")).is_pending());
    channel.discard_buffers();
    peer.sends(before + &"x".repeat(10));
    assert_eq!(show(poll!(channel.next())), "partial(xxxxxxxxxx)");
    assert_eq!(at!(FRAME + SECOND, channel.next()), late, "behind a skipped frame");
}

#[tokio::test(start_paused = true)]
async fn bytes_discarded_in_a_callback_earn_time() {
    struct Discards;
    impl Handler for Discards {
        type Error = Error;

        fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            assert_eq!(channel.discard_buffers().input_bytes, 20);
            Ok(())
        }
    }
    let (mut channel, peer) = over(rated());
    peer.sends("one\n".to_owned() + &"x".repeat(20));
    let late = at!(FRAME + 2 * SECOND, channel.run(&mut Discards));
    assert_eq!(late, "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn bytes_read_ahead_earn_time_for_their_own_frame() {
    let (mut channel, peer) = over(rated());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    channel.push_with_producer(futures::stream::pending::<io::Result<Bytes>>());
    peer.sends("x".repeat(9) + "\n" + &"y".repeat(20));
    assert!(poll!(channel.flush()).is_pending());
    assert_eq!(show(poll!(channel.next())), "complete(xxxxxxxxxx)");
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn min_rate_needs_a_limit_of_the_frame() {
    let timeouts = Timeouts { frame: None, min_rate: NonZeroU32::new(10), ..LIMITS };
    let (mut channel, peer) = over(builder().timeouts(timeouts));
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(1000 * SECOND).await;
    assert!(poll!(channel.next()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn resumed_frame_keeps_earned_time() {
    let (mut channel, peer) = over(rated());
    peer.sends("x".repeat(20));
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), "timeout(frame(5s))");
    channel.set_timeouts(channel.timeouts());
    assert_eq!(at!(FRAME + 2 * SECOND, channel.next()), "timeout(frame(5s))");
    // The time is as long as the clock goes.
    channel.set_timeouts(Timeouts { frame: Some(Duration::MAX), ..channel.timeouts() });
    assert!(poll!(channel.next()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_frame_begun_in_read_buf_has_its_time() {
    let (mut channel, _peer) = over(limited().read_buf(&b"x"[..]));
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    let (mut channel, _peer) = over(limited().read_buf(&b"x\n"[..]));
    assert_eq!(show(poll!(channel.next())), "complete(x)");
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn frame_in_parts_is_timed_from_first_to_last_byte() {
    for terminator in [Terminator::lf(), Terminator::count(100), Terminator::any(["\n", "--"])] {
        for part in [false, true] {
            let (mut channel, peer) = over(limited().streaming(!part));
            channel.set_terminator(terminator.clone());
            let mut parts = 0;
            let error = loop {
                // Each byte is a part, and behind it the rest is waited for.
                let result = if part {
                    poll!(channel.receive_part()).map(Some)
                } else {
                    poll!(channel.next())
                };
                match result {
                    Poll::Ready(Some(Ok(Frame::Partial(_)))) => parts += 1,
                    Poll::Ready(error) => break show(error),
                    Poll::Pending => {
                        advance(if parts == 0 { 2 * FRAME } else { SECOND }).await;
                        peer.sends("x");
                    }
                }
                assert!(parts < 100, "it never ends");
            };
            // The first one, and those of the next five seconds.
            assert_eq!((error.as_str(), parts), ("timeout(frame(5s))", 6), "{terminator:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn skipped_bytes_count_as_part_of_their_frame() {
    let (mut channel, peer) = over(limited().max_length(3));
    peer.sends("xx");
    assert!(poll!(channel.next()).is_pending());
    advance(2 * SECOND).await;
    peer.sends("xxx");
    assert_eq!(show(poll!(channel.next())), "too long(3)");
    // Three of five seconds are left.
    assert_eq!(trickle!(peer, "x", channel.next()), ("timeout(frame(5s))".to_owned(), 3));

    let (mut channel, _peer) = over(limited().max_length(3));
    assert_eq!(show(poll!(channel.receive(10))), "too long(3)", "not a byte of it came");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");

    let (mut channel, peer) = over(limited());
    peer.sends("xx");
    assert!(poll!(channel.next()).is_pending());
    advance(2 * SECOND).await;
    channel.discard_buffers();
    assert_eq!(trickle!(peer, "x", channel.next()), ("timeout(frame(5s))".to_owned(), 3));

    // One that nobody has waited for yet has no time behind it.
    let (mut channel, peer) = over(limited());
    peer.sends("on");
    assert!(poll!(channel.next()).is_pending());
    advance(FRAME - SECOND).await;
    peer.sends("e\ntw");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    channel.discard_buffers();
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn each_frame_has_its_own_time() {
    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|_, timeout| Err(timeout.into()));
    for _ in 0..10 {
        peer.sends("on");
        assert!(poll!(channel.run(&mut handler)).is_pending());
        advance(FRAME - SECOND).await;
        // Its end comes together with the next one's beginning.
        peer.sends("e\ntw");
        assert!(poll!(channel.run(&mut handler)).is_pending());
        advance(FRAME - SECOND).await;
        assert!(poll!(channel.run(&mut handler)).is_pending());
        peer.sends("o\n");
    }
    assert!(poll!(channel.run(&mut handler)).is_pending());
    assert_eq!(handler.seen(), "collect(one) found collect(two) found ".repeat(10).trim());

    let (mut channel, peer) = over(limited().streaming(true).max_length(1));
    for _ in 0..10 {
        peer.sends("on");
        assert_eq!(show(poll!(channel.next())), "partial(on)");
        assert!(poll!(channel.next()).is_pending());
        advance(FRAME - SECOND).await;
        peer.sends("e\n");
        assert_eq!(show(poll!(channel.next())), "complete(e)");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_skipped_frame_ends_with_it() {
    let (mut channel, peer) = over(limited().max_length(3));
    for _ in 0..3 {
        peer.sends("xxxxx");
        assert_eq!(show(poll!(channel.next())), "too long(3)");
        assert!(poll!(channel.next()).is_pending());
        advance(FRAME - SECOND).await;
        peer.sends("x\nab");
        assert!(poll!(channel.next()).is_pending());
        advance(FRAME - SECOND).await;
        assert!(poll!(channel.next()).is_pending());
        peer.sends("\n");
        assert_eq!(show(poll!(channel.next())), "complete(ab)");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_for_the_frame_before_is_not_the_next_ones() {
    let (mut channel, peer) = over(limited());
    peer.sends("one\ntw");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    advance(10 * FRAME).await; // work
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn a_frame_whose_rest_has_arrived_is_not_late() {
    let (mut channel, peer) = over(limited().max_length(usize::MAX));
    peer.sends("on");
    assert!(poll!(channel.next()).is_pending());
    advance(10 * FRAME).await; // elsewhere
    // More than one read.
    peer.sends([&vec![b'x'; 50_000][..], b"\n"].concat());
    let Poll::Ready(Some(Ok(Frame::Complete(frame)))) = poll!(channel.next()) else {
        panic!("no frame");
    };
    assert_eq!(frame.len(), 50_002);
}

/// A frame whose first byte came long ago, and whose others come without a pause,
/// one with each read.
async fn late_and_never_pausing(builder: Builder) -> (Channel<Mock>, Peer) {
    let (mut channel, peer) = over(builder);
    peer.sends("x");
    while poll!(channel.next()).is_ready() {}
    advance(2 * FRAME).await;
    peer.calls();
    peer.reads([Read::Endless(Bytes::from_static(b"x"))]);
    (channel, peer)
}

/// How many bytes were read since the last look.
fn read_of(peer: &Peer) -> usize {
    let read = |call| if let Call::Read(n) = call { n } else { 0 };
    peer.calls().into_iter().map(read).sum()
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_late_after_too_many_bytes_without_a_pause() {
    // Whole: `max_length`. In parts: `in_buffer_size`.
    for (streaming, max_length, in_buffer_size) in [(false, 100, 7), (true, 7, 100)] {
        let builder = || {
            let builder = limited().streaming(streaming).max_length(max_length);
            builder.in_buffer_size(in_buffer_size)
        };
        let (mut channel, peer) = late_and_never_pausing(builder()).await;
        let mut seen = vec![];
        while seen.last().is_none_or(|last: &String| !last.starts_with("timeout")) {
            assert!(seen.len() < 1000, "it never ends");
            seen.push(show(poll!(channel.next())));
        }
        seen.retain(|seen| seen != "pending" && !seen.starts_with("partial"));
        let too_long: &[&str] = if streaming { &[] } else { &["too long(100)"] };
        assert_eq!(seen, [too_long, &["timeout(frame(5s))"]].concat());
        assert_eq!(read_of(&peer), 101, "streaming: {streaming}");

        let (mut channel, peer) = late_and_never_pausing(builder()).await;
        let mut handler = recorder(|_, timeout| Err(timeout.into()));
        let mut turns = 0;
        let error = loop {
            if let Poll::Ready(ended) = poll!(channel.run(&mut handler)) {
                break show(ended);
            }
            turns += 1;
            assert!(turns < 1000, "it never ends");
        };
        assert_eq!(error, "timeout(frame(5s))");
        assert_eq!(read_of(&peer), 101, "streaming: {streaming}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_not_late_if_its_rest_is_within_max_length() {
    let (mut channel, peer) = over(limited().max_length(101));
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(2 * FRAME).await;
    // More reads than 32, each of a byte.
    peer.reads([(); 100].map(|()| Read::Data(Bytes::from_static(b"x"))));
    peer.sends("\n");
    assert_eq!(show(poll!(channel.next())), format!("complete({})", "x".repeat(101)));
}

#[tokio::test(start_paused = true)]
async fn a_frame_without_max_length_is_late_only_when_it_pauses() {
    let builder = limited().max_length(usize::MAX).in_buffer_size(7);
    let (mut channel, peer) = late_and_never_pausing(builder).await;
    let mut read = 0;
    while read < 10_000 {
        assert!(poll!(channel.next()).is_pending());
        let more = read_of(&peer);
        assert!(more > 0, "it waits, and there is more");
        read += more;
        advance(FRAME).await;
    }
    assert_eq!(channel.unread().len(), 1 + read);
    peer.pauses_reads();
    assert_eq!(show(poll!(channel.next())), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn without_a_terminator_there_is_no_frame_to_be_late() {
    let (mut channel, peer) = over(limited());
    channel.set_terminator(None);
    for _ in 0..100 {
        peer.sends("x");
        assert_eq!(show(poll!(channel.next())), "partial(x)");
        assert!(poll!(channel.next()).is_pending());
        advance(SECOND).await;
    }
    assert_eq!(at!(IDLE - SECOND, channel.next()), "timeout(idle(60s))");

    // Nor is there one any more, although a part of it has come.
    let (mut channel, peer) = over(limited());
    channel.codec_mut().set_streaming(true);
    peer.sends("x");
    assert_eq!(show(poll!(channel.next())), "partial(x)");
    assert!(poll!(channel.next()).is_pending(), "its time has begun");
    channel.set_terminator(None);
    assert!(poll!(channel.next()).is_pending());
    advance(2 * FRAME).await;
    assert!(poll!(channel.next()).is_pending());
    channel.set_terminator("\n");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))", "and now anew");

    channel.set_terminator(None);
    channel.set_timeouts(Timeouts { frame: None, ..channel.timeouts() });
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");

    // All there is was one frame, as long as somebody waited for it.
    let (mut channel, peer) = over(limited());
    peer.sends("x");
    assert!(poll!(channel.receive(None)).is_pending());
    advance(FRAME - SECOND).await;
    assert_eq!(show(poll!(channel.next())), "partial(x)");
    channel.set_terminator("\n");
    peer.sends("y");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn a_frame_stands_still_while_run_does_not_read() {
    let (mut channel, peer) =
        over(limited().high_water(100).low_water(10).timeouts(Timeouts { write: None, ..LIMITS }));
    let mut handler = recorder(|_, timeout| Err(timeout.into()));
    peer.sends("on");
    assert!(poll!(channel.run(&mut handler)).is_pending());
    advance(2 * SECOND).await;
    channel.push([b'x'; 200].as_slice());
    peer.blocks_writes();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(10 * FRAME).await;
    assert!(task.poll().is_pending(), "above the high-water mark");
    peer.wake_write();
    assert!(task.is_woken() && task.poll().is_pending());
    advance(3 * SECOND - TICK).await;
    assert!(task.poll().is_pending(), "there were three seconds left");
    advance(2 * TICK).await;
    assert_eq!(show(task.poll()), "timeout(frame(5s))");
}

#[tokio::test(start_paused = true)]
async fn a_frame_stands_still_while_only_output_is_waited_for() {
    let (mut channel, peer) =
        over(limited().high_water(10).low_water(1).timeouts(Timeouts { write: None, ..LIMITS }));
    // One task: another waker would be another one, which may read.
    let (_count, task) = mock::quiet();
    macro_rules! poll {
        ($future:expr) => {
            pin!($future).poll(&mut Context::from_waker(&task))
        };
    }
    peer.sends("on");
    assert!(poll!(channel.next()).is_pending());
    advance(2 * SECOND).await;
    channel.push([b'x'; 100].as_slice());
    peer.blocks_writes();
    assert!(poll!(channel.flush()).is_pending());
    advance(10 * FRAME).await;
    assert!(poll!(channel.ready()).is_pending());
    peer.wake_write();
    assert_eq!(show(poll!(channel.ready())), "done");
    assert_eq!(at!(3 * SECOND, channel.next()), "timeout(frame(5s))");
}

// Idleness.

#[tokio::test(start_paused = true)]
async fn peer_without_first_frame_is_idle() {
    let (mut channel, _peer) = over(limited());
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
    let (mut channel, _peer) = over(limited());
    assert_eq!(at!(IDLE, channel.receive("\r\n")), "timeout(idle(60s))");
    let (mut channel, _peer) = over(limited());
    assert_eq!(at!(IDLE, channel.receive_part()), "timeout(idle(60s))");
    let (mut channel, _peer) = over(limited());
    assert_eq!(at!(IDLE, channel.run(&mut Plain(None))), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn idleness_begins_with_the_end_of_a_frame() {
    let (mut channel, peer) = over(limited());
    for _ in 0..5 {
        assert!(poll!(channel.next()).is_pending());
        advance(IDLE - SECOND).await;
        peer.sends("one\n");
        assert_eq!(show(poll!(channel.next())), "complete(one)");
    }
    advance(10 * IDLE).await; // work
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");

    let (mut channel, _peer) = over(limited());
    channel.set_terminator(5);
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))", "no byte of a count");
}

#[tokio::test(start_paused = true)]
async fn peer_with_begun_frame_is_not_idle() {
    let (mut channel, peer) = over(limited().timeouts(Timeouts { frame: None, ..LIMITS }));
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(10 * IDLE).await;
    assert!(poll!(channel.next()).is_pending());
    peer.sends("\n");
    assert_eq!(show(poll!(channel.next())), "complete(x)");
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn slow_reader_of_long_answer_is_not_idle() {
    let (mut channel, peer) = over(limited());
    channel.push([b'x'; 100].as_slice());
    peer.limits_writes(10);
    let mut task = spawn(channel.next());
    for _ in 0..9 {
        peer.writes([Write::Accept(10), Write::Pending]);
        peer.wake_write();
        assert!(task.poll().is_pending());
        advance(WRITE - SECOND).await;
    }
    peer.wake_write();
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(channel.sent_bytes(), 100);
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))", "from the answer's end on");
}

#[tokio::test(start_paused = true)]
async fn whose_answer_is_being_made_is_not_idle() {
    let (mut channel, _peer) = over(limited());
    let (answer, probe) = mock::producer([chunk("a"), Give::Pending, chunk("b")]);
    channel.push_with_producer(answer);
    let mut handler = Plain(None);
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(10 * IDLE).await;
    assert!(task.poll().is_pending());
    probe.wake();
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(at!(IDLE, channel.run(&mut Plain(None))), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn peer_of_idle_producer_is_not_idle() {
    let (mut channel, _peer) = over(limited());
    assert!(poll!(channel.next()).is_pending());
    let (answer, probe) = mock::producer([Give::Pending]);
    channel.push_with_producer(answer);
    let mut flush = spawn(channel.flush());
    assert!(flush.poll().is_pending());
    advance(10 * IDLE).await;
    probe.wake();
    assert_eq!(show(flush.poll()), "done");
    drop(flush);
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn pushes_restart_idle_time() {
    let (mut channel, _peer) = over(limited());
    let pusher = channel.pusher();
    for _ in 0..5 {
        assert!(poll!(channel.run(&mut Plain(None))).is_pending());
        advance(IDLE - SECOND).await;
        pusher.try_push("news\n").unwrap();
    }
    assert_eq!(at!(IDLE, channel.run(&mut Plain(None))), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn peer_is_not_idle_above_high_water() {
    let (mut channel, peer) =
        over(limited().high_water(10).timeouts(Timeouts { write: None, ..LIMITS }));
    channel.push([b'x'; 100].as_slice());
    peer.blocks_writes();
    let mut handler = Plain(None);
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(10 * IDLE).await;
    assert!(task.poll().is_pending());
    peer.wake_write();
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(at!(IDLE, channel.run(&mut Plain(None))), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn frame_and_idle_time_stand_still_in_a_pause() {
    struct Pause;
    impl Handler for Pause {
        type Error = Error;
        fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
            channel.push("answer");
            channel.pause_until_sent();
            Ok(())
        }
    }
    for (rest, limit, timeout) in
        [("", IDLE, "timeout(idle(60s))"), ("tw", FRAME, "timeout(frame(5s))")]
    {
        let (mut channel, peer) = over(limited().timeouts(Timeouts { write: None, ..LIMITS }));
        assert!(poll!(channel.run(&mut Pause)).is_pending());
        peer.blocks_writes();
        peer.sends(format!("one\r\n{rest}"));
        let mut pause = Pause;
        let mut task = spawn(channel.run(&mut pause));
        assert!(task.poll().is_pending());
        advance(10 * IDLE).await;
        assert!(task.poll().is_pending());
        peer.wake_write();
        assert!(task.poll().is_pending());
        drop(task);
        assert_eq!(at!(limit, channel.run(&mut Pause)), timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_ended_input_is_not_idle() {
    /// Goes on for the output.
    struct Listener;
    impl Handler for Listener {
        type Error = Error;
        fn input_ended(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
            Ok(())
        }
    }
    let (mut channel, peer) = over(limited());
    peer.ends();
    assert!(poll!(channel.run(&mut Listener)).is_pending());
    advance(10 * IDLE).await;
    assert!(poll!(channel.run(&mut Listener)).is_pending());
}

// A stalled write.

/// What waits for output.
async fn wait_for_output(
    name: &str,
    mut channel: Channel<Mock>,
) -> (Result<(), Error>, Option<Channel<Mock>>) {
    let ended = match name {
        "next" => channel.next().await.unwrap().map(drop),
        "receive" => channel.receive("\n").await.map(drop),
        "run" => channel.run(&mut Plain(None)).await.map(drop),
        "flush" => channel.flush().await,
        "ready" => channel.ready().await,
        "feed" => channel.feed("y".into()).await,
        "send" => channel.send("y".into()).await,
        "Sink::close" => SinkExt::close(&mut channel).await,
        "shutdown" => channel.shutdown().await,
        "close" => channel.close().await,
        "run, closing" => {
            channel.close_when_done();
            channel.run(&mut Plain(None)).await.map(drop)
        }
        "upgrade" => match channel.upgrade(|io| async { io::Result::Ok(io) }).await {
            Ok(_) => return (Ok(()), None),
            Err(refused) => return (Err(refused.error), refused.channel),
        },
        _ => unreachable!(),
    };
    (ended, Some(channel))
}

const WAITS: [&str; 12] = [
    "next",
    "receive",
    "run",
    "flush",
    "ready",
    "feed",
    "send",
    "Sink::close",
    "shutdown",
    "close",
    "run, closing",
    "upgrade",
];

#[tokio::test(start_paused = true)]
async fn stalled_write_ends_each_waiting_method() {
    for name in WAITS {
        for linger in [Duration::ZERO, SECOND] {
            let (mut channel, peer) = over(limited().high_water(10).low_water(1).linger(linger));
            let pusher = channel.pusher();
            channel.push("1234567890");
            peer.blocks_writes();
            let mut task = spawn(wait_for_output(name, channel));
            assert!(task.poll().is_pending(), "{name}");
            advance(WRITE - TICK).await;
            assert!(task.poll().is_pending(), "{name}");
            advance(2 * TICK).await;
            assert!(task.is_woken(), "{name}");
            let Poll::Ready((ended, Some(mut channel))) = task.poll() else {
                panic!("{name}: it does not end");
            };
            assert_eq!(show(ended), "timeout(write(30s))", "{name}");
            assert_eq!(channel.queued_bytes(), 0, "{name}");
            assert_eq!(show(poll!(channel.flush())), "closed", "{name}: told once");
            assert!(pusher.is_closed(), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_makes_headway_does_not_stall() {
    let (mut channel, peer) = over(limited());
    channel.push("x".repeat(10));
    let mut task = spawn(channel.flush());
    for _ in 0..9 {
        peer.writes([Write::Accept(1), Write::Pending]);
        peer.wake_write();
        assert!(task.poll().is_pending());
        advance(WRITE - SECOND).await;
    }
    assert!(task.poll().is_pending());
    advance(2 * SECOND).await;
    assert_eq!(show(task.poll()), "timeout(write(30s))");
    assert_eq!(peer.written(), "x".repeat(9));
}

#[tokio::test(start_paused = true)]
async fn wake_of_a_pending_flush_restarts_its_time() {
    let (mut channel, peer) = over(limited());
    channel.push("x");
    peer.flushes([Step::Pending, Step::Pending]);
    let mut task = spawn(channel.flush());
    assert!(task.poll().is_pending());
    advance(WRITE - SECOND).await;
    peer.wake_write();
    assert!(task.is_woken());
    assert!(task.poll().is_pending());
    advance(WRITE - SECOND).await;
    assert!(task.poll().is_pending());
    advance(2 * SECOND).await;
    assert_eq!(show(task.poll()), "timeout(write(30s))");
}

#[tokio::test(start_paused = true)]
async fn yields_to_the_runtime_do_not_prolong_a_stall() {
    let (io, _peer) = tokio::io::duplex(4);
    let mut channel = limited().build(io);
    channel.push("more than the pipe takes");
    let began = Instant::now();
    let flushed = loop {
        let flushed = poll!(channel.flush());
        if flushed.is_ready() {
            break flushed;
        }
        while has_budget_remaining() {
            let _ = poll!(consume_budget());
        }
        // The pipe makes the task yield, and wakes it.
        assert!(poll!(channel.flush()).is_pending());
        sleep(SECOND).await;
        assert!(began.elapsed() <= WRITE + SECOND);
    };
    assert_eq!(show(flushed), "timeout(write(30s))");
}

#[tokio::test(start_paused = true)]
async fn flushing_and_shutting_down_may_stall_too() {
    let (mut channel, peer) = over(limited());
    peer.flushes([Step::Pending]);
    channel.push("x");
    assert_eq!(at!(WRITE, channel.flush()), "timeout(write(30s))");
    let (mut channel, peer) = over(limited());
    peer.shutdowns([Step::Pending]);
    assert_eq!(at!(WRITE, channel.shutdown()), "timeout(write(30s))");
    let (mut channel, peer) = over(limited());
    peer.shutdowns([Step::Pending]);
    channel.close_when_done();
    let mut handler = Plain(None);
    assert_eq!(at!(WRITE, channel.run(&mut handler)), "timeout(write(30s))");
    assert_eq!(handler.0.unwrap(), "Some(Timeout(Write(30s)))");
    let (mut channel, peer) = over(limited());
    peer.shutdowns([Step::Pending]);
    channel.close_when_done();
    peer.ends();
    assert_eq!(at!(WRITE, channel.next()), "timeout(write(30s))", "input has ended");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_is_not_ready_is_no_stall() {
    let (mut channel, peer) = over(limited());
    let (answer, probe) = mock::producer([chunk("a"), Give::Pending, chunk("b")]);
    channel.push_with_producer(answer);
    let mut task = spawn(channel.flush());
    assert!(task.poll().is_pending());
    advance(10 * WRITE).await;
    assert!(task.poll().is_pending());
    peer.blocks_writes();
    probe.wake();
    assert!(task.poll().is_pending());
    advance(WRITE - TICK).await;
    assert!(task.poll().is_pending(), "the time begins with the chunk");
    advance(2 * TICK).await;
    assert_eq!(show(task.poll()), "timeout(write(30s))");
}

#[tokio::test(start_paused = true)]
async fn kept_bytes_of_a_discarded_write_keep_their_time() {
    let (mut channel, peer) = over(limited());
    channel.push("x");
    peer.blocks_writes();
    assert!(poll!(channel.flush()).is_pending());
    advance(WRITE - SECOND).await;
    // The write that is pending must be retried.
    channel.discard_buffers();
    assert_eq!(channel.queued_bytes(), 1);
    assert_eq!(at!(SECOND, channel.flush()), "timeout(write(30s))");
}

#[tokio::test(start_paused = true)]
async fn sent_output_does_not_stall() {
    for is_woken in [true, false] {
        let (mut channel, peer) = over(limited());
        peer.flushes([Step::Pending, Step::Pending]);
        channel.push("x");
        assert!(poll!(channel.flush()).is_pending());
        advance(WRITE - SECOND).await;
        if !is_woken {
            peer.forget_wakers();
        }
        peer.wake_write();
        peer.wake_write();
        assert_eq!(show(poll!(channel.flush())), "done");
        advance(WRITE).await;
        peer.blocks_writes();
        channel.push("y");
        assert_eq!(at!(WRITE, channel.flush()), "timeout(write(30s))");
    }
}

#[tokio::test(start_paused = true)]
async fn received_frames_precede_write_timeout() {
    let (mut channel, peer) = over(limited());
    channel.push("x");
    peer.blocks_writes();
    assert!(poll!(channel.next()).is_pending());
    peer.sends("one\ntwo\n");
    advance(WRITE + TICK).await;
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    assert_eq!(show(poll!(channel.next())), "complete(two)");
    assert_eq!(show(poll!(channel.next())), "timeout(write(30s))");
    assert_eq!(show(poll!(channel.next())), "none");
}

#[tokio::test(start_paused = true)]
async fn run_reports_write_timeout_once_without_asking_handler() {
    let (mut channel, peer) = over(limited().timeouts(Timeouts { frame: Some(SECOND), ..LIMITS }));
    let mut handler = recorder(|_, _| unreachable!());
    channel.push("x");
    peer.blocks_writes();
    peer.sends("one\n");
    assert_eq!(at!(WRITE, channel.run(&mut handler)), "timeout(write(30s))");
    assert_eq!(handler.seen(), "collect(one) found closed by Timeout(Write(30s))");
    assert_eq!(show(poll!(channel.run(&mut handler))), "closed");
    assert_eq!(handler.seen(), "");
}

/// A read for each line, without end as far as one can see.
fn floods(peer: &Peer, line: &str) {
    peer.reads(vec![Read::Data(line.to_owned().into()); 10_000]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stalls_is_let_go_also_if_it_floods() {
    for (line, frames) in [("one\n", 32), ("x", 0), ("one\ntwo\n", 64)] {
        let (mut channel, peer) = over(limited());
        channel.push("x");
        peer.blocks_writes();
        assert!(poll!(channel.next()).is_pending());
        floods(&peer, line);
        advance(WRITE + TICK).await;
        let mut seen = 0;
        let end = loop {
            match poll!(channel.next()) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(_))) => seen += 1,
                end => break show(end),
            }
        };
        assert_eq!((seen, end.as_str()), (frames, "timeout(write(30s))"), "{line:?}");
        assert_eq!(show(poll!(channel.next())), "none");
    }
}

#[tokio::test(start_paused = true)]
async fn run_lets_a_peer_go_that_stalls_and_floods() {
    for high_water in [10, 1 << 20] {
        let (mut channel, peer) = over(limited().high_water(high_water).low_water(1));
        channel.push([b'x'; 100].as_slice());
        peer.blocks_writes();
        let mut handler = recorder(|_, _| unreachable!());
        assert!(poll!(channel.run(&mut handler)).is_pending());
        floods(&peer, "one\n");
        advance(WRITE + TICK).await;
        let end = loop {
            match poll!(channel.run(&mut handler)) {
                Poll::Pending => {}
                end => break show(end),
            }
        };
        assert_eq!(end, "timeout(write(30s))");
        let expected = "collect(one) found ".repeat(32) + "closed by Timeout(Write(30s))";
        assert_eq!(handler.seen(), expected);
    }
}

// One clock for all.

#[tokio::test(start_paused = true)]
async fn dropped_call_does_not_restart_deadline() {
    let (mut channel, peer) = over(limited());
    for first in [None, Some(Read::Data("x".into()))] {
        let limit = if first.is_none() { IDLE } else { FRAME };
        peer.reads(first);
        let mut waited = Duration::ZERO;
        while waited < limit {
            assert!(poll!(channel.next()).is_pending());
            advance(SECOND).await;
            waited += SECOND;
            if waited == limit {
                advance(TICK).await;
            }
        }
        assert!(show(poll!(channel.next())).starts_with("timeout"));
        channel.set_timeouts(Timeouts { idle: Some(IDLE), ..channel.timeouts() });
    }
    let (mut channel, peer) = over(limited());
    channel.push("x");
    peer.blocks_writes();
    for _ in 0..30 {
        assert!(poll!(channel.flush()).is_pending());
        advance(SECOND).await;
    }
    advance(TICK).await;
    assert_eq!(show(poll!(channel.flush())), "timeout(write(30s))");
}

#[tokio::test(start_paused = true)]
async fn both_deadlines_are_reported_earlier_one_first() {
    for (frame, write, first) in [(FRAME, WRITE, "frame(5s)"), (WRITE, FRAME, "write(5s)")] {
        let (mut channel, peer) = over(builder().timeouts(Timeouts {
            frame: Some(frame),
            write: Some(write),
            ..Timeouts::default()
        }));
        channel.push("x");
        peer.blocks_writes();
        peer.sends("on");
        assert_eq!(at!(FRAME, channel.next()), format!("timeout({first})"));
        if first.starts_with("frame") {
            let left = WRITE - FRAME - TICK;
            assert_eq!(at!(left, channel.flush()), "timeout(write(30s))");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_wakes_once_and_not_again_and_again() {
    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|_, _| Ok(()));
    peer.sends("x");
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    for _ in 0..3 {
        advance(FRAME + TICK).await;
        assert!(task.is_woken());
        assert!(task.poll().is_pending());
        assert!(!task.is_woken(), "the whole time once more");
        advance(FRAME - 2 * TICK).await;
        assert!(!task.is_woken());
        advance(3 * TICK).await;
        assert!(task.is_woken() && task.poll().is_pending());
    }
    drop(task);
    assert_eq!(handler.seen().matches("Frame(5s)").count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_the_clock_is_none() {
    let far = Duration::MAX;
    let deadlines = builder().timeouts(Timeouts::all(far));
    let (mut channel, peer) = over(deadlines);
    assert!(poll!(channel.next()).is_pending());
    peer.sends("x");
    channel.push("x");
    peer.blocks_writes();
    assert!(poll!(channel.next()).is_pending());
    advance(Duration::from_secs(1 << 25)).await;
    assert!(poll!(channel.next()).is_pending());
    assert!(poll!(channel.flush()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn linger_beyond_the_clock_waits_for_the_peer() {
    let (mut channel, peer) = over(builder().linger(Duration::MAX));
    assert!(poll!(channel.close()).is_pending());
    advance(Duration::from_secs(1 << 25)).await;
    assert!(poll!(channel.close()).is_pending());
    peer.reads([Read::Eof]);
    assert_eq!(show(poll!(channel.close())), "done");
    assert!(!channel.linger_timed_out());
}

#[tokio::test(start_paused = true)]
async fn reset_while_close_waits_for_the_peer_is_no_error() {
    let (mut channel, peer) = over(builder().linger(IDLE));
    assert!(poll!(channel.close()).is_pending());
    peer.reads([Read::Err(ErrorKind::ConnectionReset)]);
    assert_eq!(show(poll!(channel.close())), "done");
    assert!(matches!(poll!(channel.next()), Poll::Ready(None)));
}

#[tokio::test(start_paused = true)]
async fn upgrade_after_a_timeout_of_the_input_is_refused() {
    let (mut channel, _peer) = over(limited());
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
    let refused = channel.upgrade(|io| async { Ok(io) }).await.unwrap_err();
    assert!(matches!(refused.error, Error::Timeout(Timeout::Idle(IDLE))));
    assert!(refused.channel.is_some());
}

// Changes at run time.

#[tokio::test(start_paused = true)]
async fn deadlines_can_be_set_and_taken_away_at_any_moment() {
    let (mut channel, peer) = over(builder());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    advance(10 * FRAME).await;
    channel.set_timeouts(Timeouts { frame: Some(FRAME), ..channel.timeouts() });
    assert!(poll!(channel.next()).is_pending(), "it counts from now on");
    advance(2 * SECOND).await;
    channel.set_timeouts(Timeouts { frame: Some(3 * SECOND), ..channel.timeouts() });
    assert_eq!(at!(SECOND, channel.next()), "timeout(frame(3s))", "from the first byte on");

    let (mut channel, peer) = over(limited());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    channel.set_timeouts(Timeouts { frame: None, ..channel.timeouts() });
    advance(10 * IDLE).await;
    assert!(poll!(channel.next()).is_pending());
    peer.sends("\n");
    assert_eq!(show(poll!(channel.next())), "complete(x)");
    channel.set_timeouts(Timeouts { idle: Some(SECOND), ..channel.timeouts() });
    assert_eq!(at!(SECOND, channel.next()), "timeout(idle(1s))");
    channel.set_timeouts(Timeouts { idle: None, ..channel.timeouts() });
    channel.push("x");
    peer.blocks_writes();
    assert!(poll!(channel.next()).is_pending());
    channel.set_timeouts(Timeouts { write: None, ..channel.timeouts() });
    advance(10 * WRITE).await;
    assert!(poll!(channel.next()).is_pending());
    channel.set_timeouts(Timeouts { write: Some(SECOND), ..channel.timeouts() });
    assert_eq!(at!(SECOND, channel.next()), "timeout(write(1s))");
}

#[tokio::test(start_paused = true)]
async fn removed_deadlines_wake_no_task() {
    let (mut channel, _peer) = over(limited());
    let mut task = spawn(());
    assert!(task.enter(|cx, _| channel.poll_next_unpin(cx)).is_pending());
    channel.set_timeouts(Timeouts::default());
    assert!(task.enter(|cx, _| channel.poll_next_unpin(cx)).is_pending());
    advance(10 * IDLE).await;
    assert!(!task.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_handler_sets_deadlines_as_its_protocol_goes_on() {
    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|_, timeout| Err(timeout.into()));
    peer.sends("UNLIMITED\nx");
    assert!(poll!(channel.run(&mut handler)).is_pending());
    advance(10 * IDLE).await;
    assert!(poll!(channel.run(&mut handler)).is_pending());

    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|channel, _| {
        channel.set_timeouts(Timeouts {
            frame: Some(2 * FRAME),
            write: Some(SECOND),
            ..channel.timeouts()
        });
        channel.push("x");
        Ok(())
    });
    peer.sends("x");
    peer.blocks_writes();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(FRAME + TICK).await;
    assert!(task.poll().is_pending());
    advance(SECOND + TICK).await;
    assert_eq!(show(task.poll()), "timeout(write(1s))");

    let (mut channel, _peer) = over(limited());
    let mut handler = recorder(|channel, _| {
        assert_eq!(channel.timeouts().write, Some(WRITE));
        channel.set_timeouts(Timeouts { idle: Some(SECOND), ..channel.timeouts() });
        Ok(())
    });
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    for after in [IDLE, SECOND] {
        advance(after + TICK).await;
        assert!(task.is_woken() && task.poll().is_pending());
    }
    drop(task);
    assert_eq!(handler.seen(), "Idle(60s) Idle(1s)");
}

// What comes after.

#[tokio::test(start_paused = true)]
async fn deadline_is_reported_once_and_ends_input() {
    let (mut channel, peer) = over(limited());
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    assert!(channel.is_terminated());
    // More often than frames come in a turn: the end costs none of it.
    for _ in 0..2000 {
        assert_eq!(show(poll!(channel.next())), "none");
    }
    peer.sends("e\n");
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(show(poll!(channel.run(&mut Plain(None)))), "closed");
    assert_eq!(channel.unread(), b"on");
    assert_eq!(channel.into_parts().read_buf, "on");

    let (mut channel, peer) = over(limited());
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.receive("\n")), "timeout(frame(5s))");
    assert_eq!(show(poll!(channel.receive("\n"))), "timeout(frame(5s))");
    assert_eq!(show(poll!(channel.receive_part())), "timeout(frame(5s))");
    channel.set_timeouts(Timeouts { frame: Some(FRAME), ..channel.timeouts() });
    peer.sends("e\n");
    assert_eq!(show(poll!(channel.receive("\n"))), "one", "not its tail alone");
}

/// Otherwise what there is would be taken for all, or the tail for a frame.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_not_forgotten_over_a_close() {
    for told in [false, true] {
        let (mut channel, peer) = over(limited());
        peer.sends("ha");
        assert_eq!(at!(FRAME, channel.receive(Terminator::none())), "timeout(frame(5s))");
        channel.push("too slow\n");
        assert_eq!(show(poll!(channel.shutdown())), "done");
        assert!(channel.is_terminated());
        if told {
            assert_eq!(show(poll!(channel.next())), "none");
        }
        assert_eq!(show(poll!(channel.receive(Terminator::none()))), "timeout(frame(5s))");
        assert_eq!(show(poll!(channel.receive("\n"))), "timeout(frame(5s))");
        channel.set_timeouts(Timeouts { frame: Some(FRAME), ..channel.timeouts() });
        peer.sends("lf\n");
        assert_eq!(show(poll!(channel.receive("\n"))), "half");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_deadline_one_can_answer_and_close() {
    let (mut channel, peer) = over(limited().linger(SECOND));
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    channel.push("too slow\n");
    assert_eq!(show(poll!(channel.flush())), "done");
    assert_eq!(peer.written(), "too slow\n");
    channel.push("bye\n");
    let mut task = spawn(channel.close());
    assert!(task.poll().is_pending());
    assert_eq!(peer.written(), "bye\n");
    peer.sends("e\n");
    peer.ends();
    assert!(task.is_woken(), "it reads on");
    assert_eq!(show(task.poll()), "done");
    drop(task);
    assert_eq!(channel.unread(), b"");

    let (mut channel, peer) = over(limited());
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    channel.push("too slow\n");
    channel.close_when_done();
    peer.blocks_writes();
    assert!(!channel.is_terminated());
    assert!(poll!(channel.next()).is_pending(), "a loop over next does not cut it off");
    peer.wake_write();
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(peer.written(), "too slow\n");
    assert_eq!(peer.output_calls().last(), Some(&Call::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn deadline_set_again_restarts_its_time() {
    let (mut channel, peer) = over(limited());
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
    channel.push("PING\n");
    channel.set_timeouts(Timeouts { idle: Some(IDLE), ..channel.timeouts() });
    assert!(!channel.is_terminated());
    assert!(poll!(channel.next()).is_pending());
    peer.sends("PO");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    channel.set_timeouts(Timeouts { frame: Some(FRAME), ..channel.timeouts() });
    assert!(poll!(channel.next()).is_pending());
    advance(FRAME - SECOND).await;
    peer.sends("NG\n");
    assert_eq!(show(poll!(channel.next())), "complete(PONG)");
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn deadline_ends_run_and_is_reported_to_handler() {
    let (mut channel, peer) = over(limited());
    let mut handler = Plain(None);
    peer.sends("x");
    assert_eq!(at!(FRAME, channel.run(&mut handler)), "timeout(frame(5s))");
    assert_eq!(handler.0.as_deref(), Some("Some(Timeout(Frame(5s)))"));
    assert_eq!(show(poll!(channel.run(&mut handler))), "closed");
    assert_eq!(channel.unread(), b"x");
    channel.push("too slow");
    assert_eq!(show(poll!(channel.shutdown())), "done");
    assert_eq!(peer.written(), "too slow");
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_answer_before_the_close() {
    let (mut channel, peer) = over(limited().linger(SECOND));
    let mut handler = recorder(|channel, timeout| {
        channel.push(format!("{timeout}\n"));
        channel.close_when_done();
        Ok(())
    });
    peer.sends("x");
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(FRAME + TICK).await;
    assert!(task.poll().is_pending(), "it lingers");
    assert_eq!(peer.written(), "frame not complete within 5s\n");
    peer.sends("\nmore\n");
    peer.ends();
    assert!(task.is_woken());
    assert_eq!(show(task.poll()), "run(closed)");
    drop(task);
    assert_eq!(handler.seen(), "Frame(5s) closed", "no frame any more");
}

#[tokio::test(start_paused = true)]
async fn unread_answer_does_not_outlast_deadline() {
    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|channel, _| {
        channel.push("too slow");
        channel.close_when_done();
        Ok(())
    });
    peer.sends("x");
    peer.blocks_writes();
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(FRAME + TICK).await;
    for _ in 0..29 {
        peer.sends("x");
        assert!(task.poll().is_pending());
        advance(SECOND).await;
    }
    advance(SECOND + TICK).await;
    assert_eq!(show(task.poll()), "timeout(write(30s))");
    drop(task);
    assert_eq!(handler.seen(), "Frame(5s) closed by Timeout(Write(30s))");
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_ask_first_and_go_on() {
    let (mut channel, peer) = over(limited());
    let mut asked = false;
    let mut handler = recorder(move |channel, timeout| {
        if std::mem::replace(&mut asked, true) {
            return Err(timeout.into());
        }
        channel.push("PING\n");
        Ok(())
    });
    let mut task = spawn(channel.run(&mut handler));
    assert!(task.poll().is_pending());
    advance(IDLE + TICK).await;
    assert!(task.poll().is_pending());
    assert_eq!(peer.written(), "PING\n");
    peer.sends("PONG\n");
    assert!(task.poll().is_pending());
    advance(IDLE - TICK).await;
    assert!(task.poll().is_pending());
    advance(2 * TICK).await;
    assert_eq!(show(task.poll()), "timeout(idle(60s))");
    drop(task);
    let seen = "Idle(60s) collect(PONG) found Idle(60s) closed by Timeout(Idle(60s))";
    assert_eq!(handler.seen(), seen);
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_stop_at_a_deadline_with_the_channel_intact() {
    let (mut channel, peer) = over(limited());
    let mut handler = recorder(|channel, _| {
        channel.stop();
        Ok(())
    });
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.run(&mut handler)), "run(stopped)");
    peer.sends("e\n");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
}

#[tokio::test(start_paused = true)]
async fn closing_channel_has_only_write_deadline() {
    let (mut channel, peer) =
        over(limited().timeouts(Timeouts { frame: Some(SECOND), idle: Some(SECOND), ..LIMITS }));
    channel.push("x");
    channel.close_when_done();
    peer.blocks_writes();
    let mut handler = recorder(|_, _| unreachable!());
    let mut task = spawn(channel.run(&mut handler));
    peer.sends("x");
    assert!(task.poll().is_pending());
    advance(WRITE - SECOND).await;
    assert!(task.poll().is_pending());
    peer.wake_write();
    assert_eq!(show(task.poll()), "run(closed)");
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_channel_keeps_its_deadlines() {
    let (channel, _first) = over(limited());
    let (io, peer) = mock();
    let Ok(mut channel) = channel.upgrade(|_| async { Ok(io) }).await else {
        panic!("refused");
    };
    peer.sends("x");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    let unread = channel.upgrade(|io| async { io::Result::Ok(io) }).await.unwrap_err();
    assert_eq!(show(unread.error), "unreadinput");
}

#[tokio::test(start_paused = true)]
async fn idle_time_begins_again_after_an_upgrade() {
    let (mut channel, _first) = over(limited());
    assert!(poll!(channel.next()).is_pending());
    let (io, _peer) = mock();
    let make = async |_| {
        advance(IDLE - SECOND).await;
        Ok(io)
    };
    let Ok(mut channel) = channel.upgrade(make).await else {
        panic!("refused");
    };
    assert_eq!(at!(IDLE, channel.next()), "timeout(idle(60s))");
}

#[tokio::test(start_paused = true)]
async fn channel_from_framed_accepts_timeouts() {
    let (channel, peer) = over(builder());
    let mut channel = Channel::from_framed(channel.into_framed().ok().unwrap());
    channel.set_timeouts(Timeouts { write: Some(WRITE), ..channel.timeouts() });
    channel.push("x");
    peer.blocks_writes();
    assert_eq!(at!(WRITE, channel.flush()), "timeout(write(30s))");
}

// The lingering close.

#[tokio::test(start_paused = true)]
async fn linger_timeout_is_reported_without_error() {
    let (mut channel, _peer) = over(builder().linger(SECOND));
    assert_eq!(at!(SECOND, channel.close()), "done");
    assert!(channel.linger_timed_out());

    let (mut channel, _peer) = over(builder().linger(SECOND));
    channel.close_when_done();
    let mut handler = Plain(None);
    assert_eq!(at!(SECOND, channel.run(&mut handler)), "run(closed)");
    assert_eq!(handler.0.as_deref(), Some("None"));
    assert!(channel.linger_timed_out());

    let (mut channel, peer) = over(builder().linger(SECOND));
    assert!(poll!(channel.close()).is_pending());
    peer.ends();
    assert_eq!(show(poll!(channel.close())), "done");
    assert!(!channel.linger_timed_out(), "it has closed");

    let (mut channel, _peer) = over(builder());
    assert_eq!(show(poll!(channel.close())), "done");
    assert!(!channel.linger_timed_out(), "no time was set");
}

// Off.

#[test]
fn with_no_deadline_set_no_timer_is_touched() {
    let (mut channel, peer) = over(builder());
    channel.set_timeouts(Timeouts::default());
    assert!(poll!(channel.next()).is_pending());
    peer.sends("x");
    assert!(poll!(channel.next()).is_pending());
    assert!(poll!(channel.run(&mut Plain(None))).is_pending());
    channel.push("x");
    peer.blocks_writes();
    assert!(poll!(channel.next()).is_pending());
    assert!(poll!(channel.flush()).is_pending());
    assert!(poll!(channel.close()).is_pending());
    peer.wake_write();
    assert_eq!(show(poll!(channel.close())), "done");
}

#[test]
fn a_runtime_without_a_timer_serves_a_channel_without_deadlines() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (io, peer) = tokio::io::duplex(4);
        let (mut channel, mut peer) = (builder().build(io), builder().build(peer));
        channel.push("a line longer than the pipe\n");
        peer.push("another one\n");
        let answered = async {
            let line = channel.receive("\n").await?;
            channel.shutdown().await?;
            Ok::<_, Error>(line)
        };
        let (here, there) = tokio::join!(answered, peer.receive("\n"));
        assert_eq!(here.unwrap(), "another one");
        assert_eq!(there.unwrap(), "a line longer than the pipe");
    });
}

/// Also if deadlines are set: only waiting needs one.
#[test]
fn ready_calls_touch_no_timer() {
    let (mut channel, peer) = over(limited());
    for _ in 0..10 {
        peer.sends("one\n");
        assert_eq!(show(poll!(channel.next())), "complete(one)");
        channel.push("x");
        assert_eq!(show(poll!(channel.flush())), "done");
    }
    channel.push_with_producer(producer::from_iter(["a", "b"]));
    assert_eq!(show(poll!(channel.shutdown())), "done");
    assert_eq!(peer.written(), "xxxxxxxxxxab");
}

#[test]
fn errors_say_which_deadline_it_was() {
    for (timeout, words) in [
        (Timeout::Frame(FRAME), "frame not complete within 5s"),
        (Timeout::Idle(IDLE), "no frame within 60s"),
        (Timeout::Write(WRITE), "transport accepted no output for 30s"),
    ] {
        let error = Error::from(timeout);
        assert_eq!((error.to_string(), timeout.to_string()), (words.into(), words.into()));
        assert_eq!(format!("{error:?}"), format!("Timeout({timeout:?})"));
        assert!(std::error::Error::source(&error).is_none(), "its words are this one's");
        assert_eq!(io::Error::from(error).kind(), ErrorKind::TimedOut);
    }
}

/// `close` and `run`, each at the end of a channel with output that waits.
const LAST: [&str; 2] = ["close", "run"];

async fn end(name: &str, channel: &mut Channel<Mock>) -> Result<(), Error> {
    match name {
        "close" => channel.close().await,
        _ => {
            channel.close_when_done();
            channel.run(&mut Plain(None)).await.map(drop)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn linger_limits_a_stall_at_the_end() {
    for name in LAST {
        let (mut channel, peer) = over(builder().linger(SECOND));
        peer.blocks_writes();
        channel.push("lost");
        assert_eq!(at!(SECOND, end(name, &mut channel)), "timeout(write(1s))", "{name}");
        assert_eq!(channel.queued_bytes(), 0, "{name}");
        assert_eq!(show(poll!(channel.flush())), "closed", "{name}");
        assert!(!channel.linger_timed_out(), "{name}: not everything was sent");

        // The shutdown may stall as well.
        let (mut channel, peer) = over(builder().linger(SECOND));
        peer.shutdowns([Step::Pending]);
        assert_eq!(at!(SECOND, end(name, &mut channel)), "timeout(write(1s))", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn linger_does_not_limit_a_slow_reader() {
    for name in LAST {
        let (mut channel, peer) = over(builder().linger(SECOND));
        peer.takes_again([Write::Accept(1), Write::Pending]);
        channel.push("slowly");
        for _ in 0..5 {
            assert!(poll!(end(name, &mut channel)).is_pending(), "{name}");
            advance(SECOND - TICK).await;
            peer.takes_again([Write::Accept(1), Write::Pending]);
        }
        assert!(poll!(end(name, &mut channel)).is_pending(), "{name}: it lingers");
        peer.ends();
        assert_eq!(show(poll!(end(name, &mut channel))), "done", "{name}");
        assert_eq!(peer.written(), "slowly", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn linger_does_not_limit_a_producer_that_is_not_ready() {
    for name in LAST {
        let (mut channel, peer) = over(builder().linger(SECOND));
        let (waiting, probe) = mock::producer([Give::Pending, chunk("late")]);
        channel.push_with_producer(waiting);
        assert!(poll!(end(name, &mut channel)).is_pending(), "{name}");
        advance(100 * SECOND).await;
        assert!(poll!(end(name, &mut channel)).is_pending(), "{name}");
        probe.wake();
        peer.ends();
        assert_eq!(show(poll!(end(name, &mut channel))), "done", "{name}");
        assert_eq!(peer.written(), "late", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_write_timeout_replaces_linger_for_a_stall() {
    for name in LAST {
        let (mut channel, peer) = over(limited().linger(SECOND));
        peer.blocks_writes();
        channel.push("lost");
        assert_eq!(at!(WRITE, end(name, &mut channel)), "timeout(write(30s))", "{name}");
    }
}

#[test]
fn a_linger_of_zero_limits_no_stall_and_needs_no_timer() {
    for name in LAST {
        let (mut channel, peer) = over(builder());
        peer.blocks_writes();
        channel.push("late");
        assert!(poll!(end(name, &mut channel)).is_pending(), "{name}");
        peer.wake_write();
        assert_eq!(show(poll!(end(name, &mut channel))), "done", "{name}");
        assert_eq!(peer.written(), "late", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn close_drops_input_while_output_waits() {
    let (mut channel, peer) = over(builder().linger(SECOND));
    peer.sends("one\ntw");
    assert_eq!(show(poll!(channel.next())), "complete(one)");
    peer.blocks_writes();
    channel.push("last");
    assert!(poll!(channel.close()).is_pending());
    peer.sends("o\nthree\n");
    assert!(poll!(channel.close()).is_pending());
    assert_eq!(channel.unread(), b"");
    assert_eq!(show(poll!(channel.next())), "none");
    assert_eq!(show(poll!(channel.receive("\n"))), "eof()");
    peer.wake_write();
    peer.ends();
    assert_eq!(show(poll!(channel.close())), "done");
    assert_eq!(peer.written(), "last");
}

#[tokio::test(start_paused = true)]
async fn a_late_frame_does_not_restart_the_clock_of_a_stall() {
    let limits = Timeouts { write: Some(FRAME + SECOND), ..LIMITS };
    let (mut channel, peer) = over(builder().timeouts(limits));
    peer.blocks_writes();
    channel.push("lost");
    peer.sends("on");
    assert_eq!(at!(FRAME, channel.next()), "timeout(frame(5s))");
    assert_eq!(at!(SECOND - TICK, channel.flush()), "timeout(write(6s))");
}
