//! What a channel's futures do when they are polled.

use super::{Channel, Core, InputState, Life};
use crate::codec::{ReadMode, Span};
use crate::queue::poll_next_turn;
use crate::{Error, Frame};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Sends what can be sent without waiting. Ready when nothing is left to
    /// do, or sending has failed.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(inbox) = &self.core.inbox {
            inbox.register(cx.waker());
            self.core.absorb();
        }
        let sent =
            if self.core.output.has_work() { self.poll_send_in_time(cx) } else { Poll::Ready(()) };
        self.core.publish();
        sent
    }

    /// Reads on and drops what comes, until the peer has closed its side or
    /// the time is over. Everything is sent before.
    pub(crate) fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = &mut self.core;
        if matches!(core.life, Life::Over { .. }) {
            return Poll::Ready(());
        }
        if !core.linger.is_zero() && !core.output.has_failed() {
            let mut time = match std::mem::replace(&mut core.life, Life::Connected) {
                Life::Lingering(time) => time,
                _ => Box::pin(tokio::time::sleep(core.linger)),
            };
            let time_left = time.as_mut().poll(cx).is_pending();
            core.life = Life::Lingering(time);
            if time_left {
                ready!(self.poll_drop_input(cx));
            } else {
                tracing::debug!(target: "asynchat", "lingered out");
                core.linger_timed_out = true;
            }
        }
        let lost = self.core.output.has_failed();
        self.core.life = Life::Over { lost };
        Poll::Ready(())
    }

    /// Reads and drops what comes. Ready when that is over.
    pub(super) fn poll_drop_input(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS {
            if self.core.input.state != InputState::Open {
                return Poll::Ready(());
            }
            // What the peer is to get is sent or will be; how it goes is its
            // own affair. How sending goes is told by who sends.
            let _error = ready!(self.poll_read(cx));
            self.core.drop_input();
        }
        poll_next_turn(cx)
    }

    pub(super) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.poll_send(cx).is_pending() {
            self.core.pause_frame();
            return Poll::Pending;
        }
        self.core.output.release();
        Poll::Ready(self.core.send_result())
    }

    /// The next frame.
    #[inline]
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        mode: ReadMode,
    ) -> Poll<Option<Result<Frame, Error>>> {
        let span = match self.core.plain_span(mode) {
            Some(span) => span,
            None => match ready!(self.poll_span(cx, mode)) {
                Some(Ok(span)) => span,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        Poll::Ready(Some(Ok(span.take(&mut self.core.input.buffer))))
    }

    /// Where in the buffer the next frame lies. The caller must take it at once.
    #[inline(never)]
    fn poll_span(
        &mut self,
        cx: &mut Context<'_>,
        mode: ReadMode,
    ) -> Poll<Option<Result<Span, Error>>> {
        if self.core.turn <= 0 {
            self.core.turn = TURN;
            return poll_next_turn(cx);
        }
        // For the frame, or the error, that comes of this.
        self.core.turn -= TURN_FRAME;
        if self.core.corked {
            if let Some(span) = self.core.buffered_span(mode) {
                return Poll::Ready(Some(span));
            }
        }
        let sent = self.poll_send(cx);
        if sent.is_pending() && self.core.output.queue.is_turn_over() {
            // To send again with the next frame would be another one: one frame,
            // read if need be, and then the others.
            self.core.turn = 0;
        }
        loop {
            let core = &mut self.core;
            match core.input.state {
                InputState::Open | InputState::Ended => {}
                InputState::Over | InputState::Failed => {
                    core.turn = TURN;
                    return Poll::Ready(None);
                }
                InputState::TimedOut(_) if core.has_told_all() => {
                    core.turn = TURN;
                    return Poll::Ready(None);
                }
                InputState::Aborted => {
                    core.input.state = InputState::Failed;
                    return Poll::Ready(core.output.take_failure().map(Err));
                }
                InputState::Done | InputState::TimedOut(_) => {
                    if !core.output.is_open() {
                        // "The end" includes the end of our side.
                        ready!(sent);
                    }
                    let failure = core.output.take_failure();
                    if failure.is_some() {
                        core.input.state = InputState::Failed;
                    } else if core.input.state == InputState::Done {
                        core.input.state = InputState::Over;
                    }
                    return Poll::Ready(failure.map(Err));
                }
            }
            match core.next_span(mode) {
                Ok(Some(span)) => return Poll::Ready(Some(Ok(span))),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(None) if core.input.state == InputState::Ended => {
                    core.input.state = InputState::Done;
                }
                // A long frame over an I/O that is always ready must not keep
                // the task to itself.
                Ok(None) if core.turn < 0 => {
                    core.turn = TURN;
                    return poll_next_turn(cx);
                }
                Ok(None) => {
                    let before = core.input.buffer.len();
                    let Poll::Ready(error) = self.poll_more_in_time(cx) else {
                        self.core.turn = TURN;
                        return Poll::Pending;
                    };
                    if let Some(error) = error {
                        return Poll::Ready(Some(Err(error)));
                    }
                    let read = self.core.input.buffer.len().saturating_sub(before);
                    self.core.turn -= TURN_READ + read as isize;
                }
            }
        }
    }

    /// For callers that want a frame and nothing else.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        mode: ReadMode,
    ) -> Poll<Result<Frame, Error>> {
        Poll::Ready(match ready!(self.poll_frame(cx, mode)) {
            Some(Ok(Frame::Partial(partial))) if !matches!(mode, ReadMode::Parts) => {
                Err(Error::UnexpectedEof { partial: partial.freeze() })
            }
            Some(frame) => frame,
            None => self.core.receive_after_the_end(),
        })
    }

    /// Reads once, for somebody who has taken all that is buffered. Ready when the
    /// buffer or the state of input has changed; an error is the one that ends
    /// everything.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Error>> {
        let is_broken = self.core.output.is_broken();
        let is_over = is_broken && !self.core.input.takes_late_read();
        let more = if is_over { Poll::Pending } else { self.poll_read(cx) };
        match more {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            // If writing failed too, that came first; one is enough.
            Poll::Ready(Err(e)) => {
                Poll::Ready(Some(self.core.output.take_failure().unwrap_or(Error::Io(e))))
            }
            Poll::Pending if is_broken => {
                if !is_over {
                    ready!(poll_budget(cx));
                }
                // Everything received was handed out: now the failure's turn.
                self.core.input.state = InputState::Failed;
                Poll::Ready(self.core.output.take_failure())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads once, and notes how input ends.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Core { input, output, .. } = &mut self.core;
        match input.poll_fill(cx, &mut self.io) {
            Poll::Ready(Ok(0)) => {
                tracing::debug!(target: "asynchat", "input ended");
                input.state = InputState::Ended;
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(e)) => {
                tracing::debug!(target: "asynchat", error = %e, "reading failed");
                input.state = InputState::Failed;
                return Poll::Ready(Err(e));
            }
            Poll::Pending => {
                output.release();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Pending, and to be woken, if the runtime makes the task yield: then everything
/// of tokio's is pending, also a transport that has something to read.
fn poll_budget(cx: &mut Context<'_>) -> Poll<()> {
    let (sender, receiver) = oneshot::channel();
    let _ = sender.send(());
    pin!(receiver).poll(cx).map(drop)
}

/// What one poll of `run` may do, and all polls for frames until one is pending:
/// in bytes, and what a frame counts besides. Others must get their turn before a
/// burst that is passed on to them is as much as their high-water mark.
pub(crate) const TURN: isize = 64 * 1024;
pub(crate) const TURN_FRAME: isize = 64;

/// What a read counts beside its bytes.
const TURN_READ: isize = 512;

/// Reads in one poll that drops what comes.
const READS: usize = 32;
