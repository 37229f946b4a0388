//! Idle costs no buffer: an idle channel keeps none on the heap, only its
//! deadlines, if any are set, and the inbox of its pushers.
//!
//! Every byte on the heap is counted, so this binary has one test: others
//! would allocate beside it.

use asynchat::{Channel, Control, Error, Handler, Terminator};
use futures::task::noop_waker_ref;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Join, ReadBuf, join};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Input without memory of its own: `reads` times `size` bytes, the last of them
/// a line feed; it is then quiet or at its end.
struct Quiet {
    size: usize,
    reads: usize,
    given: usize,
    ends: bool,
}

impl AsyncRead for Quiet {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = self.size * self.reads;
        if self.given == end {
            if self.ends {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest_of_this_read = self.size - self.given % self.size;
        let n = rest_of_this_read.min(buf.remaining());
        buf.initialize_unfilled_to(n).fill(b'x');
        buf.advance(n);
        self.given += n;
        if self.given == end {
            let filled = buf.filled_mut();
            filled[filled.len() - 1] = b'\n';
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes everything, but for so many calls nothing.
struct Taking {
    blocked: usize,
}

impl Taking {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.blocked == 0 {
            return Poll::Ready(());
        }
        self.blocked -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Taking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll(cx));
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both.
type Transport = Join<Quiet, Taking>;

fn quiet(size: usize, reads: usize, ends: bool) -> Transport {
    join(Quiet { size, reads, given: 0, ends }, Taking { blocked: 0 })
}

/// Answers each line with as many bytes in two pieces; stays open at the end.
struct Answer {
    served: usize,
}

impl Handler for Answer {
    type Error = Error;

    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Error> {
        channel.push_slice(data);
        channel.push_slice(b"\n");
        self.served += 1;
        Ok(())
    }

    fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn input_ended(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// A waker that is not allocated: a channel keeps the waker of a pending poll.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(noop_waker_ref()))
}

fn serve_with_next(channel: &mut Channel<Transport>) {
    // A large frame takes several turns.
    let mut polls = (0..20).map(|_| poll_once(channel.next()));
    let Some(Poll::Ready(Some(Ok(frame)))) = polls.find(Poll::is_ready) else {
        panic!("no frame");
    };
    channel.push_slice(frame.data());
    channel.push_slice(b"\n");
    drop(frame);
    for _ in 0..20 {
        assert!(poll_once(channel.next()).is_pending());
    }
}

fn serve_with_receive(channel: &mut Channel<Transport>) {
    let mut polls = (0..20).map(|_| poll_once(channel.receive("\n")));
    let Some(Poll::Ready(Ok(line))) = polls.find(Poll::is_ready) else {
        panic!("no line");
    };
    channel.push_slice(&line);
    channel.push_slice(b"\n");
    drop(line);
    for _ in 0..20 {
        assert!(poll_once(channel.receive("\n")).is_pending());
    }
}

/// What is not taken has to be kept for a while.
fn serve_and_wait_for_the_peer(
    channel: &mut Channel<Transport>,
    serve: fn(&mut Channel<Transport>),
) {
    channel.get_mut().writer_mut().blocked = 5;
    serve(channel);
    assert_eq!(channel.get_ref().writer().blocked, 0, "nothing was blocked");
    assert_eq!(channel.queued_bytes(), 0, "it did not go through");
}

fn serve_with_next_blocked(channel: &mut Channel<Transport>) {
    serve_and_wait_for_the_peer(channel, serve_with_next);
}

fn serve_with_run_blocked(channel: &mut Channel<Transport>) {
    serve_and_wait_for_the_peer(channel, serve_with_run);
}

fn serve_with_run(channel: &mut Channel<Transport>) {
    let mut handler = Answer { served: 0 };
    for _ in 0..20 {
        assert!(poll_once(channel.run(&mut handler)).is_pending());
    }
    assert_eq!(handler.served, 1);
}

#[test]
fn an_idle_channel_that_has_served_a_request_keeps_no_buffer() {
    type Serve = fn(&mut Channel<Transport>);
    // Name, size and number of reads of the one request, whether input then
    // ends, how it is served.
    let rows: [(&str, usize, usize, bool, Serve); 17] = [
        ("next: one read", 3000, 1, false, serve_with_next),
        ("run: one read", 3000, 1, false, serve_with_run),
        ("next: several reads", 1000, 4, false, serve_with_next),
        ("run: several reads", 1000, 4, false, serve_with_run),
        ("next: reads have grown", 60_000, 1, false, serve_with_next),
        ("run: reads have grown", 60_000, 1, false, serve_with_run),
        ("next: one huge frame", 600_000, 1, false, serve_with_next),
        ("run: one huge frame", 600_000, 1, false, serve_with_run),
        ("receive: one read", 3000, 1, false, serve_with_receive),
        ("receive: several reads", 1000, 4, false, serve_with_receive),
        ("receive: reads have grown", 60_000, 1, false, serve_with_receive),
        ("receive: one huge frame", 600_000, 1, false, serve_with_receive),
        ("next: a blocked write went through", 3000, 1, false, serve_with_next_blocked),
        ("next: a large blocked write", 60_000, 1, false, serve_with_next_blocked),
        ("run: a blocked write went through", 3000, 1, false, serve_with_run_blocked),
        ("run: half closed, left open", 3000, 1, true, serve_with_run),
        ("run: half closed, left open, reads have grown", 60_000, 1, true, serve_with_run),
    ];
    for (name, size, reads, ends, serve) in rows {
        let builder = Channel::builder().terminator("\n").max_length(usize::MAX);
        let kept = || {
            let mut channels: Vec<_> =
                (0..100).map(|_| builder.clone().build(quiet(size, reads, ends))).collect();
            let region = Region::new(HEAP);
            channels.iter_mut().for_each(serve);
            let change = region.change();
            assert!(change.allocations > 0, "{name}: nothing was counted");
            change.bytes_allocated as isize - change.bytes_deallocated as isize
        };
        // The thread that runs the tests allocates once as well, now or later.
        let kept = [kept(), kept(), kept()];
        assert!(kept.contains(&0), "{name}: bytes kept by 100 channels: {kept:?}");
    }
    what_a_half_came_in_is_kept();
    a_channel_with_deadlines_keeps_them_and_one_timer();
    a_channel_with_a_pusher_keeps_its_inbox();
    a_frame_that_is_kept_keeps_its_block_and_a_detached_one_does_not();
    what_one_huge_frame_took_is_given_back_while_the_next_one_comes();
    a_prepared_terminator_is_cloned_and_set_without_an_allocation();
    run_hands_out_a_block_of_lines_without_an_allocation();
}

/// How often `f` allocates: the least of three times, for the thread that runs
/// the tests allocates once as well.
fn allocations(mut f: impl FnMut()) -> usize {
    let counts = [(); 3].map(|()| {
        let region = Region::new(HEAP);
        f();
        let change = region.change();
        change.allocations + change.reallocations
    });
    counts.into_iter().min().unwrap_or_default()
}

fn a_prepared_terminator_is_cloned_and_set_without_an_allocation() {
    let many: Vec<String> = (0..100).map(|i| format!("{i:0>20}!")).collect();
    let rows = [
        ("a byte", Terminator::lf()),
        ("8 bytes", "12345678".into()),
        ("9 bytes", "123456789".into()),
        ("a long byte string", vec![b'x'; 5000].into()),
        ("a line's end", Terminator::line()),
        ("a set of 2", Terminator::any(["<end of text>", "\0"])),
        ("a set that ends alike", Terminator::any(["\r\n\r\n", "\n\r\n", "\n\n"])),
        ("a set of 100", Terminator::any(&many)),
        ("a set too large for an automaton", Terminator::any([&vec![b'x'; 1 << 20][..], b"y"])),
        ("a count", Terminator::count(5)),
        ("none", Terminator::none()),
    ];
    let mut cx = Context::from_waker(noop_waker_ref());
    for (name, terminator) in &rows {
        assert_eq!(allocations(|| drop(terminator.clone())), 0, "{name}: cloned");
        let mut channel = Channel::builder().build(quiet(1, 0, false));
        let set = allocations(|| {
            channel.set_terminator(terminator.clone());
            channel.codec_mut().set_encode_terminator(terminator.clone());
            assert!(pin!(channel.receive(terminator.clone())).poll(&mut cx).is_pending());
        });
        assert_eq!(set, 0, "{name}: set");
    }
    // Half a frame was searched for another one already. (A count and none would
    // take it.)
    let then_quiet = Quiet { size: 1, reads: 0, given: 0, ends: false };
    let begun = io::Cursor::new(b"half a frame").chain(then_quiet);
    let mut channel = Channel::new(join(begun, Taking { blocked: 0 }), "\n");
    assert!(pin!(channel.next()).poll(&mut cx).is_pending());
    assert_eq!(channel.unread(), b"half a frame");
    let set = allocations(|| {
        for (_, terminator) in &rows[..rows.len() - 2] {
            channel.set_terminator(terminator.clone());
            assert!(pin!(channel.next()).poll(&mut cx).is_pending());
        }
    });
    assert_eq!(set, 0, "set midway");
}

fn run_hands_out_a_block_of_lines_without_an_allocation() {
    /// Counts what asynchat's two callbacks get.
    struct Callbacks {
        data: usize,
        lines: usize,
    }

    impl Handler for Callbacks {
        type Error = Error;

        fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
            self.data += data.len();
            Ok(())
        }

        fn found_terminator(&mut self, _: &mut Control<'_>) -> Result<(), Error> {
            self.lines += 1;
            Ok(())
        }
    }

    let mut cx = Context::from_waker(noop_waker_ref());
    // Name, terminator, a line, how much of that is content.
    let rows = [
        ("a byte", Terminator::lf(), "xx\n", 2),
        ("a long byte string", "0123456789".into(), "x0123456789", 1),
        ("a set", Terminator::any(["\r\n\r\n", "\n"]), "xx\n", 2),
    ];
    for (name, terminator, line, content) in &rows {
        for streaming in [false, true] {
            // What is read at once.
            let count = 4096 / line.len();
            let input = line.repeat(count);
            let builder = Channel::builder().terminator(terminator.clone()).streaming(streaming);
            let made = allocations(|| {
                let then_quiet = Quiet { size: 1, reads: 0, given: 0, ends: false };
                let io = io::Cursor::new(input.as_bytes()).chain(then_quiet);
                let mut channel = builder.clone().build(join(io, Taking { blocked: 0 }));
                let mut handler = Callbacks { data: 0, lines: 0 };
                for _ in 0..10 {
                    assert!(pin!(channel.run(&mut handler)).poll(&mut cx).is_pending());
                }
                assert_eq!((handler.data, handler.lines), (content * count, count), "{name}");
            });
            assert_eq!(made, 1, "{name}, streaming {streaming}: more than the block");
        }
    }
}

fn what_one_huge_frame_took_is_given_back_while_the_next_one_comes() {
    let mut input = vec![b'x'; 1_000_000];
    input[999_990] = b'\n';
    let then_quiet = Quiet { size: 1, reads: 0, given: 0, ends: false };
    let io = join(io::Cursor::new(input).chain(then_quiet), Taking { blocked: 0 });
    let mut channel = Channel::builder().terminator("\n").max_length(usize::MAX).build(io);
    let region = Region::new(HEAP);
    let mut polls = (0..100).map(|_| poll_once(channel.next()));
    let Some(Poll::Ready(Some(Ok(frame)))) = polls.find(Poll::is_ready) else {
        panic!("no frame");
    };
    assert_eq!(frame.data().len(), 999_990);
    drop(frame);
    assert!(poll_once(channel.next()).is_pending());
    assert_eq!(channel.unread(), b"xxxxxxxxx");
    let change = region.change();
    let kept = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    assert!(kept < 100_000, "bytes kept for 9 of the next frame: {kept}");
}

/// A peer that stops within a frame, or in streaming mode within a terminator,
/// is not idle: what has come is kept, in a block with room for the next read.
fn what_a_half_came_in_is_kept() {
    let mut cx = Context::from_waker(noop_waker_ref());
    // Name, whether streaming, what comes, how much of it is held, and how many
    // bytes a channel keeps for it.
    type Row = (&'static str, bool, Vec<u8>, usize, RangeInclusive<usize>);
    let behind_a_part = [&[b'x'; 2999][..], b"\r"].concat();
    let rows: [Row; 5] = [
        ("parts handed out", true, vec![b'x'; 3000], 0, 0..=0),
        ("half a terminator", true, b"\r".to_vec(), 1, 1..=8 * 1024),
        ("half a terminator behind a part", true, behind_a_part, 1, 1..=8 * 1024),
        ("half a frame", false, b"x".to_vec(), 1, 1..=8 * 1024),
        ("half a frame of a whole read", false, vec![b'x'; 60_000], 60_000, 60_000..=256 * 1024),
    ];
    for (name, streaming, input, held, keeps) in rows {
        let builder = Channel::builder().terminator("\r\n").streaming(streaming);
        let mut channels: Vec<_> = (0..100)
            .map(|_| {
                let then_quiet = Quiet { size: 1, reads: 0, given: 0, ends: false };
                let io = io::Cursor::new(&input).chain(then_quiet);
                builder.clone().build(join(io, Taking { blocked: 0 }))
            })
            .collect();
        let region = Region::new(HEAP);
        for channel in &mut channels {
            let mut polls = (0..50).map(|_| pin!(channel.next()).poll(&mut cx));
            let came = polls.by_ref().filter(Poll::is_ready).count();
            assert_eq!(came > 0, streaming && input.len() > 1, "{name}");
            assert_eq!(channel.unread().len(), held, "{name}");
        }
        let change = region.change();
        let kept = (change.bytes_allocated - change.bytes_deallocated) / 100;
        assert!(keeps.contains(&kept), "{name}: bytes kept by a channel: {kept}");
    }
}

fn a_channel_with_deadlines_keeps_them_and_one_timer() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let limit = Duration::from_secs(3600);
    let deadlines = |builder: asynchat::Builder| builder.timeouts(asynchat::Timeouts::all(limit));
    for serve in [serve_with_next, serve_with_run] {
        let builder = deadlines(Channel::builder().terminator("\n"));
        let mut channels = Vec::with_capacity(100);
        let region = Region::new(HEAP);
        for _ in 0..100 {
            let io = quiet(3000, 1, false);
            channels.push(builder.clone().build(io));
        }
        channels.iter_mut().for_each(serve);
        let change = region.change();
        let kept = change.bytes_allocated - change.bytes_deallocated;
        assert!((1..=100 * 512).contains(&kept), "bytes kept by 100 channels: {kept}");
    }
}

fn a_channel_with_a_pusher_keeps_its_inbox() {
    let mut channels: Vec<_> = (0..100)
        .map(|_| Channel::builder().terminator("\n").build(quiet(3000, 1, false)))
        .collect();
    // What wakes a task is the program's own, and here nothing on the heap.
    let mut cx = Context::from_waker(noop_waker_ref());
    let region = Region::new(HEAP);
    for channel in &mut channels {
        let pusher = channel.pusher();
        for _ in 0..10 {
            pusher.try_push(&b"news\n"[..]).unwrap();
            // The line is dropped.
            let _ = pin!(channel.next()).poll(&mut cx);
        }
        assert!(pin!(channel.next()).poll(&mut cx).is_pending());
        assert_eq!(channel.queued_bytes(), 0);
    }
    let change = region.change();
    let kept = change.bytes_allocated - change.bytes_deallocated;
    assert!((1..=100 * 256).contains(&kept), "bytes kept by 100 channels: {kept}");
}

fn a_frame_that_is_kept_keeps_its_block_and_a_detached_one_does_not() {
    let builder = Channel::builder().terminator("\n");
    let mut channel = builder.build(quiet(3000, 1, false));
    let Poll::Ready(Some(Ok(frame))) = poll_once(channel.next()) else {
        panic!("no frame");
    };
    let address = frame.data().as_ptr();
    let content = frame.data().to_vec();
    let detached = frame.detach();
    assert_ne!(detached.data().as_ptr(), address);
    assert_eq!(detached.data(), content);
    assert!(detached.into_data().try_into_mut().is_ok(), "memory of its own");
}
