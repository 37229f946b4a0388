//! How long a frame, idleness and a stalled write may take.
//!
//! The clock is looked at only where the channel would wait. One timer serves
//! all three: it is made when it is first waited for, is moved only to an
//! earlier time, and when it goes off too early is set again. While there is
//! nothing to read or to write, it alone decides that a time is over, not the
//! clock: when the runtime makes a task yield, timer and transport are both not
//! ready, and nobody is late.

use super::input::LATE_READS;
use super::{Core, InputState, Output};
use crate::{Channel, Error, Timeout, Timeouts};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

/// Made only if one is set, and then in a box: most channels have none.
#[derive(Default)]
pub(crate) struct Deadlines {
    timeouts: Timeouts,
    /// Since when the rest of the frame with this number is waited for.
    frame: Option<Instant>,
    frame_number: u64,
    /// Since when that is not read, because output has to go first.
    paused: Option<Instant>,
    /// How often it was read on after its time.
    late_reads: usize,
    idle: Option<Stillness>,
    stall: Option<Stillness>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Since when nothing was sent beyond so many bytes.
#[derive(Clone, Copy)]
struct Stillness {
    since: Instant,
    sent: u64,
}

/// What the channel waits for when it reads.
#[derive(Clone, Copy)]
enum Wait {
    /// The rest of a frame, until then, if the clock goes so far.
    Frame { due: Option<Instant>, after: Duration },
    /// The next frame. So much has been sent.
    Next { sent: u64 },
    /// Something that has no deadline, or its own output as well.
    Else,
}

impl Deadlines {
    pub(super) fn new(timeouts: Timeouts) -> Option<Box<Self>> {
        let is_any = timeouts != Timeouts::default();
        is_any.then(|| Box::new(Deadlines { timeouts, ..Deadlines::default() }))
    }

    /// Called with what became of sending: a stall that lasts too long ends it.
    fn watch_output(
        &mut self,
        cx: &mut Context<'_>,
        output: &mut Output,
        sent: Poll<()>,
    ) -> Poll<()> {
        let Some(after) = self.timeouts.write.filter(|_| sent.is_pending() && output.is_blocked())
        else {
            self.stall = None;
            return sent;
        };
        let since = since(&mut self.stall, output.sent());
        ready!(self.poll_until(cx, since.checked_add(after)));
        let timeout = Timeout::Write(after);
        tracing::debug!(target: "asynchat", %timeout, "timed out");
        output.end_with(Error::Timeout(timeout));
        Poll::Ready(())
    }

    /// The time of a frame stands still while it is not read, and nobody is idle.
    fn pause(&mut self) {
        self.idle = None;
        if self.frame.is_some() && self.paused.is_none() {
            self.paused = Some(Instant::now());
        }
    }

    /// The frame that has begun is about to be read on. An error if it is late
    /// although more and more of it was there to read.
    fn wait_for_frame(&mut self, number: u64, after: Duration) -> Result<Wait, Timeout> {
        let now = Instant::now();
        let paused = self.paused.take().map_or(Duration::ZERO, |paused| now - paused);
        let is_known = self.frame_number == number;
        self.frame_number = number;
        let since = match self.frame.filter(|_| is_known) {
            Some(since) => since + paused,
            None => {
                self.late_reads = 0;
                now
            }
        };
        self.frame = Some(since);
        let due = since.checked_add(after);
        if due.is_some_and(|due| due <= now) {
            self.late_reads += 1;
            if self.late_reads > LATE_READS {
                return Err(Timeout::Frame(after));
            }
        }
        Ok(Wait::Frame { due, after })
    }

    /// There is nothing to read: ready when that has lasted too long.
    fn poll_wait(&mut self, cx: &mut Context<'_>, wait: Wait) -> Poll<Timeout> {
        match (wait, self.timeouts.idle) {
            (Wait::Frame { due, after }, _) => {
                self.idle = None;
                self.poll_until(cx, due).map(|()| Timeout::Frame(after))
            }
            (Wait::Next { sent }, Some(after)) => {
                let due = since(&mut self.idle, sent).checked_add(after);
                self.poll_until(cx, due).map(|()| Timeout::Idle(after))
            }
            _ => {
                self.idle = None;
                Poll::Pending
            }
        }
    }

    fn poll_until(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        // Farther away than the clock goes: never.
        let Some(due) = due else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < due {
            timer.as_mut().reset(due);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// Gives the whole time anew.
    fn restart(&mut self) {
        (self.frame, self.paused, self.idle) = (None, None, None);
        self.late_reads = 0;
    }
}

/// Since when nothing was sent beyond `sent`, as far as one has looked.
fn since(stillness: &mut Option<Stillness>, sent: u64) -> Instant {
    match stillness {
        Some(known) if known.sent == sent => known.since,
        _ => stillness.insert(Stillness { since: Instant::now(), sent }).since,
    }
}

impl Core {
    /// Changes the deadlines. What has begun keeps the time at which it did.
    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        match &mut self.deadlines {
            Some(deadlines) if timeouts != Timeouts::default() => deadlines.timeouts = timeouts,
            deadlines => *deadlines = Deadlines::new(timeouts),
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.deadlines.as_ref().map(|d| d.timeouts).unwrap_or_default()
    }

    /// Goes on with the input if a deadline has ended it.
    pub(crate) fn resume_input(&mut self) {
        if matches!(self.input.state, InputState::TimedOut(_)) {
            self.input.state = InputState::Open;
        }
    }

    /// Output is gone without having been sent: what comes next has not stalled.
    pub(super) fn forget_stall(&mut self) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.stall = None;
        }
    }

    /// Only output is waited for: the peer is not to blame for its frame.
    pub(crate) fn pause_frame(&mut self) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.pause();
        }
    }

    fn is_in_frame(&self) -> bool {
        !self.input.buffer.is_empty() || self.codec.is_mid_frame()
    }

    /// What is waited for now. A frame that goes on beyond its time is an error.
    fn wait(&mut self) -> Result<Wait, Timeout> {
        let is_in_frame = self.is_in_frame();
        let Core { codec, output, deadlines: Some(deadlines), .. } = self else {
            return Ok(Wait::Else);
        };
        if !is_in_frame {
            // It may have had a beginning and lost its terminator.
            (deadlines.frame, deadlines.paused) = (None, None);
        }
        match (is_in_frame, deadlines.timeouts.frame) {
            (true, Some(after)) => deadlines.wait_for_frame(codec.frame_number(), after),
            (false, _) if !output.has_work() => Ok(Wait::Next { sent: output.sent() }),
            _ => Ok(Wait::Else),
        }
    }

    fn time_out(&mut self, timeout: Timeout) -> Error {
        tracing::debug!(target: "asynchat", %timeout, "timed out");
        self.input.state = InputState::TimedOut(timeout);
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.restart();
        }
        Error::Timeout(timeout)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Sends what can be sent, unless that has stalled for too long.
    #[inline(never)]
    pub(super) fn poll_send_in_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Core { output, deadlines, .. } = &mut self.core;
        let sent = output.poll_send(cx, &mut self.io);
        output.note_sunk();
        match deadlines {
            Some(deadlines) => deadlines.watch_output(cx, output, sent),
            None => sent,
        }
    }

    /// [`poll_more`](Self::poll_more) for somebody who waits for a frame. All
    /// frames that are buffered have been taken.
    #[inline]
    pub(crate) fn poll_more_in_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        if self.core.deadlines.is_none() {
            return self.poll_more(cx);
        }
        self.poll_more_until_due(cx)
    }

    #[inline(never)]
    fn poll_more_until_due(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        let wait = match self.core.wait() {
            Ok(wait) => wait,
            Err(timeout) => return Poll::Ready(Some(self.core.time_out(timeout))),
        };
        let more = self.poll_more(cx);
        let Some(deadlines) = &mut self.core.deadlines else { return more };
        if more.is_ready() {
            deadlines.idle = None;
            return more;
        }
        let timeout = ready!(deadlines.poll_wait(cx, wait));
        Poll::Ready(Some(self.core.time_out(timeout)))
    }
}
