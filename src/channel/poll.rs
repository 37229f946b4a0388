//! The polls that the methods share. `poll_event` decides the next event of a connection,
//! and every method that waits for input calls it. `poll_send` sends, in every method.

use super::Channel;
use super::wakers::Side;
use crate::budget::{CALL, FRAME, poll_runtime};
use crate::codec::{ReadMode, Span};
use crate::deadlines::Unfinished;
use crate::pusher::Request;
use crate::read::{End, InputGuard, Late, Read, Reading, release};
use crate::{Error, Timeout};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// The next event of the input.
pub(crate) enum Event {
    /// A frame, or a part of one, which the caller must take off the read buffer at once.
    Frame(Span),
    Error(Error),
    /// Nothing more is to be delivered or reported.
    End,
}

/// The reason why the channel waits for no more input.
pub(super) enum Over {
    /// The input has ended. Ready if everything is sent.
    Ended(Poll<()>),
    Late(Timeout),
    /// The output has failed, and all input that had arrived is read.
    Broken,
}

/// How a caller waits for the next event.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) mode: ReadMode,
    /// `true` if buffered frames are delivered before output is sent, while there is capacity.
    pub(crate) corked: bool,
    /// `true` if nothing is read or delivered without capacity or during a pause.
    pub(crate) pause_when_full: bool,
    /// `true` if the budget counts the bytes of frames instead of reads, because the caller may
    /// pass frames on to other channels.
    pub(crate) counts_frames: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Updates the watermark. Returns whether the output can wait for the answers to the frames
    /// that are buffered.
    pub(super) fn may_gather(&mut self) -> bool {
        !self.writer.is_urgent() && self.writer.has_capacity()
    }

    /// The policy of the methods that the owner awaits.
    pub(super) fn policy(&self, mode: ReadMode) -> Policy {
        let Channel { corked, pause_when_full, .. } = *self;
        Policy { mode, corked, pause_when_full, counts_frames: false }
    }

    /// Polls as one of two tasks: both are woken by each event of their side.
    pub(crate) fn poll_side<R>(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<R>,
    ) -> Poll<R> {
        let Some(both) = self.wakers.enter(side, cx.waker()) else {
            let polled = poll(self, cx);
            self.wakers.leave(side, cx.waker(), polled.is_pending());
            return polled;
        };
        let before = self.progress();
        let polled = poll(self, &mut Context::from_waker(&both));
        self.wakers.leave(side, cx.waker(), polled.is_pending());
        if self.progress() != before {
            self.wakers.wake_other(side);
        }
        polled
    }

    /// Returns a value that changes with everything for which the other side may wait.
    fn progress(&self) -> impl PartialEq + use<T> {
        let Channel { framed, reader, writer, .. } = self;
        let input = (framed.read_buffer().len(), reader.is_open(), reader.is_fused());
        let output = (writer.sent(), writer.queued(), writer.has_work(), writer.is_closed());
        (input, output)
    }

    /// Returns the next event of the connection.
    ///
    /// Buffered frames come first. At the end of input, the failure of the input or of the output
    /// follows, and then the end. An aborted connection has no frames. Unless the channel is
    /// corked, output is sent before all of these.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>, policy: Policy) -> Poll<Event> {
        match ready!(self.poll_wait(cx, policy, |it| it.buffered_event(policy))) {
            Ok(event) => Poll::Ready(event),
            Err(Over::Ended(sent)) => self.poll_end(policy.mode, sent),
            Err(Over::Late(timeout)) => Poll::Ready(Event::Error(self.time_out(timeout))),
            Err(Over::Broken) => {
                self.reader.fail();
                Poll::Ready(self.writer.take_failure().map_or(Event::End, Event::Error))
            }
        }
    }

    /// Waits until `look` finds a value in the buffered input. If an event ends the wait instead,
    /// this neither notes nor reports the event.
    #[inline(always)]
    pub(super) fn poll_wait<R>(
        &mut self,
        cx: &mut Context<'_>,
        policy: Policy,
        mut look: impl FnMut(&mut Self) -> Option<R>,
    ) -> Poll<Result<R, Over>> {
        if self.reader.budget.is_exhausted() {
            if policy.corked && !self.writer.has_yielded() {
                // Answers do not wait for the others.
                let _sent = self.poll_send(cx, None);
            }
            return self.reader.budget.poll_yield(cx);
        }
        // For the frame, or the error, that is returned.
        self.reader.budget.spend(FRAME);
        self.drain_inbox();
        if policy.corked && self.may_gather() {
            self.notify_pushers();
            if let Some(found) = look(self) {
                return Poll::Ready(Ok(found));
            }
        }
        // Before the next frame is delivered: an answer must not wait for as long as the
        // caller works on the next request.
        let sent = self.poll_send(cx, None);
        if sent.is_pending() && self.writer.has_yielded() {
            // One frame, which may need a read; then others have their turn.
            self.reader.budget.exhaust();
        }
        let is_held = self.writer.is_paused() || !self.writer.has_capacity();
        if policy.pause_when_full && sent.is_pending() && is_held {
            ready!(self.poll_pause(cx));
        }
        loop {
            if let Some(found) = look(self) {
                return Poll::Ready(Ok(found));
            }
            if !self.reader.is_open() {
                return Poll::Ready(Err(Over::Ended(sent)));
            }
            // A long frame over a transport that is always ready must not keep the task.
            if self.reader.budget.is_overdrawn() {
                return self.reader.budget.poll_yield(cx);
            }
            let before = self.unread().len();
            match self.poll_more(cx, policy.mode) {
                Poll::Ready(None) => {
                    let read = self.unread().len().saturating_sub(before);
                    let budget = &mut self.reader.budget;
                    budget.spend(CALL);
                    budget.spend(if policy.counts_frames { READ } else { read });
                }
                Poll::Ready(Some(over)) => return Poll::Ready(Err(over)),
                Poll::Pending => {
                    self.reader.budget.restart();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Returns the next event that needs no read.
    fn buffered_event(&mut self, policy: Policy) -> Option<Event> {
        let mode = policy.mode;
        if !matches!(self.reader.state(), Reading::Open | Reading::Draining(_)) {
            return None;
        }
        let at_eof = self.reader.is_at_eof();
        // Before the cut: a frame of a count leaves no terminator behind.
        let to_the_end = at_eof && mode.ends_at_eof() && self.terminator().is_none();
        let before = self.unread().len();
        let next = self.next_span(mode, at_eof);
        if policy.counts_frames {
            self.reader.budget.spend(before - self.unread().len());
        }
        match next {
            Ok(Some(span)) => {
                if policy.counts_frames {
                    self.reader.budget.spend(span.consume);
                }
                if to_the_end && span.is_complete && self.reader.deliver_end() {
                    // Only the first frame that the end of input ends precedes a failure.
                    return Some(self.end_again(span));
                }
                Some(Event::Frame(span))
            }
            Err(error) => {
                if let Error::InvalidHead(_) = error {
                    self.reader.refuse();
                }
                Some(Event::Error(error))
            }
            Ok(None) if self.reader.is_open() => None,
            Ok(None) => {
                let failure = self.reader.finish().map(Error::Io);
                let has_failed = matches!(self.reader.state(), Reading::Ended(End::Failed { .. }));
                // If the output has failed as well, that came first, and one is enough.
                let first = has_failed.then(|| self.writer.take_failure()).flatten();
                first.or(failure).map(Event::Error)
            }
        }
    }

    fn next_span(&mut self, mode: ReadMode, at_eof: bool) -> Result<Option<Span>, Error> {
        if !at_eof && self.unread().is_empty() && self.framed.codec().cutter.needs_input() {
            return Ok(None);
        }
        let mut guard = InputGuard::new(&mut self.framed);
        let (codec, input, consumed) = guard.input();
        let (before, number) = (input.len(), codec.cutter.frame_number());
        *consumed = codec.cutter.skip(input);
        let rest = input.get(*consumed..).unwrap_or_default();
        let (dropped, span) = codec.cutter.cut(rest, mode, at_eof);
        *consumed += dropped;
        if let Some(deadlines) = self.deadlines.as_mut().filter(|_| codec.cutter.is_mid_frame()) {
            // A part of it is gone when the channel waits for the rest.
            let current = codec.cutter.frame_number();
            let from = before - if current == number { 0 } else { *consumed };
            let position = self.reader.received().wrapping_sub(from as u64);
            deadlines.begin_frame(current, position);
        }
        span
    }

    /// Returns the frame that the end of input ends, again. It is empty, and does not report the
    /// end. A failure of the output is returned in its place, once.
    fn end_again(&mut self, empty: Span) -> Event {
        match self.writer.take_failure() {
            Some(failure) => {
                self.reader.fail();
                Event::Error(failure)
            }
            None => Event::Frame(empty),
        }
    }

    /// Handles the end, after everything buffered has been delivered.
    fn poll_end(&mut self, mode: ReadMode, sent: Poll<()>) -> Poll<Event> {
        self.reader.budget.restart();
        let is_eof = matches!(self.reader.state(), Reading::Ended(End::Eof { .. }));
        let to_the_end = is_eof && mode.ends_at_eof() && self.terminator().is_none();
        if to_the_end {
            return Poll::Ready(self.end_again(Span::complete(0)));
        }
        let is_aborted = matches!(self.reader.state(), Reading::Ended(End::Aborted { .. }));
        if self.all_reported() {
            return Poll::Ready(Event::End);
        }
        if !is_aborted && !self.writer.is_open() {
            // "The end" includes the end of the output: a loop over `next` ends here, and
            // would drop the channel with its last answer.
            ready!(sent);
        }
        let failure = self.writer.take_failure();
        if failure.is_some() && !is_aborted {
            self.reader.fail();
        }
        self.reader.note_reported();
        Poll::Ready(failure.map_or(Event::End, Event::Error))
    }

    /// Reads once. Ready when the buffer or the state of the input has changed, or with the reason
    /// why nothing more is read.
    fn poll_more(&mut self, cx: &mut Context<'_>, mode: ReadMode) -> Poll<Option<Over>> {
        if self.deadlines.is_some() {
            return self.poll_more_in_time(cx, mode);
        }
        self.poll_read(cx)
    }

    #[inline(never)]
    fn poll_more_in_time(&mut self, cx: &mut Context<'_>, mode: ReadMode) -> Poll<Option<Over>> {
        let Channel { framed, reader, writer, deadlines: Some(deadlines), .. } = self else {
            return self.poll_read(cx);
        };
        let (now, before) = (Instant::now(), framed.read_buffer().len());
        let is_unfinished = before > 0 || framed.codec().cutter.is_mid_frame();
        let received = reader.received();
        let frame = is_unfinished.then(|| Unfinished {
            number: framed.codec().cutter.frame_number(),
            from: received.wrapping_sub(before as u64),
            to: received,
            allowance: framed.codec().cutter.limit(mode).unwrap_or(reader.max_read_size()) as u64,
        });
        let waits_for_next = frame.is_none() && !writer.has_work();
        if let Err(timeout) = deadlines.begin_read(now, frame) {
            return Poll::Ready(Some(Over::Late(timeout)));
        }
        let more = self.poll_read(cx);
        let read = self.framed.read_buffer().len().saturating_sub(before);
        let Some(deadlines) = &mut self.deadlines else { return more };
        if more.is_ready() {
            deadlines.end_read(read as u64);
            return more;
        }
        let sent = waits_for_next.then(|| self.writer.sent());
        let Some((due, timeout)) = deadlines.read_due(now, sent) else { return more };
        ready!(deadlines.poll_until(cx, due));
        Poll::Ready(Some(Over::Late(timeout)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Over>> {
        let is_broken = self.writer.is_broken();
        if is_broken && !self.reader.count_late_read() {
            return Poll::Ready(Some(Over::Broken));
        }
        match self.reader.poll_read(cx, &mut self.framed, usize::MAX) {
            Poll::Ready(read) => {
                self.note_break(read);
                Poll::Ready(None)
            }
            Poll::Pending if is_broken => {
                ready!(poll_runtime(cx));
                // Everything received has been delivered.
                Poll::Ready(Some(Over::Broken))
            }
            Poll::Pending => {
                self.writer.release();
                Poll::Pending
            }
        }
    }

    /// Ends both directions if reading has detected a break.
    pub(super) fn note_break(&mut self, read: Read) {
        let Read::Broken(error) = read else { return };
        if self.writer.is_closed() && !self.writer.has_failed() {
            self.reader.note_failure(error);
        } else {
            self.writer.fail(Error::Io(error));
            self.notify_pushers();
        }
    }

    /// Waits for capacity, or for the end of a pause. Ready if the connection broke meanwhile.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pause_clocks(false);
        let broke = self.poll_read_ahead(cx);
        if broke.is_pending() {
            self.reader.budget.restart();
        }
        broke
    }

    /// Reads at most one `in_buffer_size` ahead, to notice a break. Ready if the connection broke,
    /// and otherwise pending.
    pub(crate) fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.reader.may_read_ahead() {
            let before = self.unread().len();
            let limit = self.reader.max_read_size().saturating_sub(before);
            if limit == 0 {
                // The output that the caller waits for wakes it.
                return Poll::Pending;
            }
            if self.reader.budget.is_overdrawn() {
                return self.reader.budget.poll_yield(cx);
            }
            let read = ready!(self.reader.poll_read(cx, &mut self.framed, limit));
            self.reader.budget.spend(CALL);
            self.reader.budget.spend(self.unread().len().saturating_sub(before));
            self.note_break(read);
        }
        // Input that ended well, or alone, leaves the output to wait for.
        if self.writer.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn pause_clocks(&mut self, is_read: bool) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.pause(Instant::now(), is_read);
        }
    }

    fn time_out(&mut self, timeout: Timeout) -> Error {
        tracing::debug!(target: "asynchat", %timeout, "timed out");
        let is_idle = matches!(timeout, Timeout::Idle(_));
        self.reader.time_out(if is_idle { Late::Idle } else { Late::Frame });
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.restart_reading();
        }
        Error::Timeout(timeout)
    }

    /// Sends as much as possible without waiting. Ready when nothing is left to do, or when sending
    /// has failed. `linger` is the limit of a stall if no other is set.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, linger: Option<Duration>) -> Poll<()> {
        if let Some(inbox) = &self.inbox {
            inbox.register(cx.waker());
            self.drain_inbox();
        }
        let has_work = self.writer.has_work();
        let sent = if has_work { self.poll_write(cx, linger) } else { Poll::Ready(()) };
        self.notify_pushers();
        sent
    }

    #[inline(never)]
    fn poll_write(&mut self, cx: &mut Context<'_>, linger: Option<Duration>) -> Poll<()> {
        loop {
            let probe = self.deadlines.as_mut().and_then(|deadlines| deadlines.probe(cx.waker()));
            let io = self.framed.get_mut();
            let sent = self.writer.poll_send(cx, io, probe.as_ref());
            if sent.is_ready() || self.writer.has_yielded() || !self.writer.is_blocked() {
                if let Some(deadlines) = &mut self.deadlines {
                    deadlines.end_stall();
                }
                return sent;
            }
            if self.poll_stall(cx, linger).is_ready() {
                return Poll::Ready(());
            }
            // A stall that begins has no probe yet: the transport would wake the task alone.
            let deadlines = self.deadlines.as_ref();
            let begins = probe.is_none() && deadlines.is_some_and(|known| known.is_stalled());
            if !begins {
                return Poll::Pending;
            }
        }
    }

    /// Waits while the transport accepts nothing. Ready when that has lasted too long. The transport
    /// wakes the task when it accepts bytes.
    fn poll_stall(&mut self, cx: &mut Context<'_>, linger: Option<Duration>) -> Poll<()> {
        if linger.is_some() {
            self.deadlines.get_or_insert_default();
        }
        let Some(deadlines) = &mut self.deadlines else { return Poll::Pending };
        let due = deadlines.write_due(Instant::now(), self.writer.sent(), linger);
        let Some((due, timeout)) = due else { return Poll::Pending };
        if poll_runtime(cx).is_pending() {
            deadlines.distrust_probe();
        }
        ready!(deadlines.poll_until(cx, due));
        self.writer.fail(Error::Timeout(timeout));
        Poll::Ready(())
    }
}

impl<T> Channel<T> {
    /// Returns `true` if nothing is left to deliver or to report, unless a timeout of the input
    /// is resumed.
    pub(super) fn all_reported(&self) -> bool {
        let output_reported = self.writer.is_open() || self.writer.is_settled();
        self.reader.is_fused() || (self.reader.is_timed_out() && output_reported)
    }

    /// Moves what was pushed from other tasks into the queue.
    pub(crate) fn drain_inbox(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        let is_abandoned = inbox.is_abandoned();
        let request = inbox.drain(&mut self.writer);
        if is_abandoned {
            // The fast path is on again.
            self.inbox = None;
        }
        match request {
            Some(Request::CloseWhenDone) => self.writer.close_when_done(),
            Some(Request::Abort) => self.abort(),
            None => {}
        }
    }

    /// Frees the memory of empty buffers.
    pub(crate) fn release_buffers(&mut self) {
        self.writer.release();
        release(self.framed.read_buffer_mut());
    }

    fn notify_pushers(&mut self) {
        match &mut self.inbox {
            Some(inbox) if self.writer.is_open() => inbox.notify(self.writer.queued()),
            Some(inbox) => drop(inbox.close()),
            None => {}
        }
    }

    fn abort(&mut self) {
        tracing::debug!(target: "asynchat", "aborted");
        self.writer.abort(Error::Aborted);
        if self.reader.abort() {
            // Through the codec, which the caller may use on.
            self.discard_input();
        }
    }
}

/// The cost of a read, in bytes, if the budget counts the bytes of frames.
const READ: usize = 4 * 1024;
