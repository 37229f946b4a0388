//! `Channel::run`: passes each event to the handler. The progress of `run` is assigned in
//! this file and in no other.

use super::control::Control;
use super::{Handler, Run};
use crate::channel::{Event, Policy, RunState, Side};
use crate::codec::{FastPath, Look, ReadMode, Span, look_measured, look_short};
use crate::pusher::Inbox;
use crate::read::{End, InputGuard, Reading};
use crate::terminator::{Progress, Short};
use crate::write::Writer;
use crate::{Channel, Error, Timeout};
use std::error;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers are gathered until no frame is buffered. Without capacity for answers, nothing is read.
const POLICY: Policy =
    Policy { mode: ReadMode::AsSet, corked: true, pause_when_full: true, counts_frames: true };

/// # Callbacks
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Calls `handler` as input arrives, and sends its output, until the channel is closed.
    ///
    /// Small frames cost no allocation, and the answers to all buffered frames share one write. At
    /// the end, `run` does the same as [`close`](Channel::close).
    ///
    /// At the high-water mark, `run` delivers no frame until the queue has drained to the low-water
    /// mark. It delivers none in a [pause](Control::pause_until_sent) either. Meanwhile it reads up
    /// to one `in_buffer_size` ahead, to notice a broken connection. `run` yields after a bounded
    /// number of frames and bytes.
    ///
    /// If only reading fails, `run` sends queued output before it returns the error. A TLS peer
    /// that closes without `close_notify` therefore still gets its answers.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// use asynchat::{Channel, Control, Error, Handler, Run};
    ///
    /// struct Echo;
    ///
    /// impl Handler for Echo {
    ///     type Error = Error;
    ///
    ///     fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
    ///         channel.push_slice(line);
    ///         channel.push("\n");
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server = tokio::spawn(async move {
    ///     let mut channel = Channel::new(io, "\n");
    ///     channel.run(&mut Echo).await
    /// });
    /// peer.push("hello\n");
    /// assert_eq!(peer.receive("\n").await?, "hello");
    /// peer.close().await?;
    /// assert_eq!(server.await.unwrap()?, Run::Closed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [servers](crate::guide::servers) in the guide.
    ///
    /// # Errors
    ///
    /// - The error of a callback. [`timed_out`](Handler::timed_out) decides whether
    ///   [`Timeout::Frame`] and [`Timeout::Idle`] are errors.
    /// - A failure of the transport or of a producer, after the frames that arrived before it.
    /// - [`Error::Aborted`], at once.
    ///
    /// After an error of a callback other than `timed_out` and `invalid_head`, the next call of
    /// `run` continues after that frame. After any other of these errors, or after another method
    /// has reported the failure, the next call returns [`Error::Closed`].
    ///
    /// # Panics
    ///
    /// If the runtime has no timer, and `linger` is not zero or a timeout is set.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the progress of `run` is part of the channel. Call `run` again, with the same
    /// handler or another one.
    pub fn run<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
    ) -> impl Future<Output = Result<Run, H::Error>> {
        poll_fn(move |cx| {
            self.poll_side(cx, Side::Input, |channel, cx| channel.poll_run(cx, handler))
        })
    }

    fn poll_run<H: Handler + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut H,
    ) -> Poll<Result<Run, H::Error>> {
        if let RunState::New = self.run {
            self.run = RunState::Connected;
            if self.call(|control| handler.connected(control))? {
                return Poll::Ready(Ok(Run::Stopped));
            }
        }
        loop {
            // A pusher may have closed: then no further frame is delivered.
            self.drain_inbox();
            match self.run {
                RunState::Over { lost: false } => return Poll::Ready(Ok(Run::Closed)),
                RunState::Over { lost: true } => return Poll::Ready(Err(Error::Closed.into())),
                _ if self.writer.close_requested() => return self.poll_last(cx, handler),
                RunState::InputEnded => {
                    ready!(self.poll_without_input(cx, handler))?;
                    continue;
                }
                _ => {}
            }
            let is_stopped = match ready!(self.poll_event(cx, POLICY)) {
                // Sending may have called code that closes. Then the input is dropped.
                Event::Frame(_) | Event::Error(Error::FrameTooLong { .. })
                    if is_closing(&self.writer, &self.inbox) =>
                {
                    false
                }
                Event::Frame(span) => self.deliver(handler, span)?,
                Event::Error(error) => self.on_error(handler, error)?,
                Event::End => self.on_end(handler)?,
            };
            if is_stopped {
                return Poll::Ready(Ok(Run::Stopped));
            }
        }
    }

    /// Calls back. Returns whether to stop.
    fn call<E>(&mut self, call: impl FnOnce(&mut Control<'_>) -> Result<(), E>) -> Result<bool, E> {
        let (framed, lent) = self.lend_with_framed();
        let mut guard = InputGuard::new(framed);
        let mut control = Control::new(guard.input(), lent);
        call(&mut control)?;
        Ok(control.stop)
    }

    /// Delivers a frame, and then those that are buffered after it. Returns whether to
    /// stop.
    fn deliver<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        span: Span,
    ) -> Result<bool, H::Error> {
        self.call(|control| {
            deliver_span(control, handler, span)?;
            while !is_interrupted(control) {
                control.is_dirty = false;
                if !deliver_fast(control, handler)? && !deliver_one(control, handler)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Returns whether to stop.
    fn on_error<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        error: Error,
    ) -> Result<bool, H::Error> {
        match error {
            Error::FrameTooLong { limit } => {
                self.call(|control| handler.frame_too_long(control, limit))
            }
            Error::InvalidHead(error) => self.on_invalid_head(handler, &error),
            Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_))) => {
                self.on_timeout(handler, timeout)
            }
            Error::Io(error) if !self.writer.has_failed() => {
                // Only reading has failed.
                self.close_when_done();
                self.run = RunState::InputFailed(error);
                Ok(false)
            }
            error => Err(self.lose(handler, error)),
        }
    }

    /// Input is over. Lets the handler react.
    fn on_invalid_head<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        error: &Arc<dyn error::Error + Send + Sync>,
    ) -> Result<bool, H::Error> {
        self.run = RunState::InputEnded;
        let called = self.call(|control| handler.invalid_head(control, error));
        called.inspect_err(|_| {
            self.end(true);
            handler.closed(Some(&Error::InvalidHead(Arc::clone(error))));
        })
    }

    /// Lets the handler decide whether a timeout is the end.
    fn on_timeout<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        timeout: Timeout,
    ) -> Result<bool, H::Error> {
        let Reading::Ended(End::TimedOut(late)) = *self.reader.state() else { return Ok(false) };
        self.reader.resume();
        let called = self.call(|control| handler.timed_out(control, timeout));
        called.inspect_err(|_| {
            self.reader.time_out(late);
            self.end(true);
            handler.closed(Some(&Error::Timeout(timeout)));
        })
    }

    fn on_end<H: Handler + ?Sized>(&mut self, handler: &mut H) -> Result<bool, H::Error> {
        let is_eof = matches!(self.reader.state(), Reading::Ended(End::Eof { .. }));
        if !is_eof {
            // A failure that is not here was reported by another method.
            let error = self.writer.take_failure().unwrap_or(Error::Closed);
            return Err(self.lose(handler, error));
        }
        self.run = RunState::InputEnded;
        self.call(|control| handler.input_ended(control))
    }

    /// Sends output after input has ended without a close by the handler.
    fn poll_without_input<H: Handler + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut H,
    ) -> Poll<Result<(), H::Error>> {
        let _sent = self.poll_send(cx, None);
        // After an invalid head more may arrive; a break is noticed.
        let _broke = self.poll_read_ahead(cx);
        if self.writer.close_requested() {
            return Poll::Ready(Ok(()));
        }
        if self.writer.is_broken() {
            let error = self.writer.take_failure().unwrap_or(Error::Closed);
            return Poll::Ready(Err(self.lose(handler, error)));
        }
        self.release_buffers();
        // Output that is queued wakes the task, or a pusher does.
        Poll::Pending
    }

    /// Sends the last output and waits for the peer's close.
    fn poll_last<H: Handler + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut H,
    ) -> Poll<Result<Run, H::Error>> {
        let closed = ready!(self.poll_close_all(cx));
        let error = match std::mem::replace(&mut self.run, RunState::Connected) {
            // An abort is reported in any case.
            RunState::InputFailed(error) if !matches!(closed, Err(Error::Aborted)) => {
                Some(Error::Io(error))
            }
            _ => closed.err(),
        };
        if let Some(error) = error {
            return Poll::Ready(Err(self.lose(handler, error)));
        }
        tracing::debug!(target: "asynchat", "closed");
        self.end(false);
        handler.closed(None);
        Poll::Ready(Ok(Run::Closed))
    }

    /// The connection is lost by `error`.
    fn lose<H: Handler + ?Sized>(&mut self, handler: &mut H, error: Error) -> H::Error {
        self.end(true);
        handler.closed(Some(&error));
        error.into()
    }

    /// The connection is over. Its pushers find it closed.
    fn end(&mut self, lost: bool) {
        self.run = RunState::Over { lost };
        if let Some(inbox) = &mut self.inbox {
            drop(inbox.close());
        }
    }
}

/// Why no further frame is delivered in this call, even if one is buffered.
fn is_interrupted(control: &mut Control<'_>) -> bool {
    let lent = &mut control.lent;
    control.stop
        || lent.writer.is_paused()
        || is_closing(lent.writer, lent.inbox)
        || lent.reader.budget.is_exhausted()
        || !lent.writer.has_capacity()
}

/// Returns `true` if a close or an abort is requested.
fn is_closing(writer: &Writer, inbox: &Option<Inbox>) -> bool {
    writer.close_requested() || inbox.as_ref().is_some_and(Inbox::has_request)
}

/// Delivers frames on the fast path, if there is one. Returns whether there may be another
/// frame.
fn deliver_fast<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
) -> Result<bool, H::Error> {
    let Some(fast) = control.codec.cutter.fast_path() else { return Ok(false) };
    let limit = control.codec.max_length();
    // A loop for each: one for all would ask for each frame which it is.
    match fast {
        FastPath::Short(Short::Byte(byte)) => {
            deliver_each(control, handler, move |src, progress| {
                look_short(Short::Byte(byte), src, progress, limit)
            })
        }
        FastPath::Short(Short::Line) => deliver_each(control, handler, move |src, progress| {
            look_short(Short::Line, src, progress, limit)
        }),
        FastPath::Short(Short::Word(word)) => {
            deliver_each(control, handler, move |src, progress| {
                look_short(Short::Word(word), src, progress, limit)
            })
        }
        FastPath::Every(n) => {
            deliver_each(control, handler, move |src, _| look_measured(0, Some(n), src, limit))
        }
        FastPath::Length(length) => deliver_each(control, handler, move |src, _| {
            look_measured(length.head_len(), length.total(src), src, limit)
        }),
    }
}

/// Delivers frames until a callback does more than to push: only then, or by a pusher, a
/// reason to stop can arise.
#[inline(never)]
fn deliver_each<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
    look: impl Fn(&[u8], Progress) -> Look,
) -> Result<bool, H::Error> {
    let has_pushers = control.lent.inbox.is_some();
    let (input, mut consumed) = (control.input, *control.consumed);
    loop {
        // Branches, not choices of values: the next frame does not wait for them.
        let Some(rest) = input.get(consumed..) else { return Ok(false) };
        let look = look(rest, control.codec.cutter.fresh_progress());
        if let Look::Absent = look {
            // Or the tail of each read would be searched twice.
            control.codec.cutter.resume(control.codec.cutter.searched(rest));
        }
        let Some(span) = control.codec.cutter.note(look) else { return Ok(false) };
        let Some(data) = rest.get(..span.len) else { return Ok(false) };
        consumed += span.consume;
        *control.consumed = consumed;
        control.lent.reader.budget.spend_frame(span.consume);
        handler.frame(control, data)?;
        let is_exhausted = control.lent.reader.budget.is_exhausted();
        if control.is_dirty || has_pushers || is_exhausted || !control.has_capacity() {
            return Ok(true);
        }
    }
}

/// Delivers a frame that is complete. Returns whether there was one.
fn deliver_one<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
) -> Result<bool, H::Error> {
    let rest = control.rest();
    let look = control.codec.cutter.look(rest, POLICY.mode);
    let Some(span) = control.codec.cutter.note_or_find(look, rest, POLICY.mode) else {
        return Ok(false);
    };
    control.lent.reader.budget.spend_frame(span.consume);
    deliver_span(control, handler, span)?;
    Ok(true)
}

/// Delivers the first bytes of the buffered input.
fn deliver_span<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
    span: Span,
) -> Result<(), H::Error> {
    let data = control.rest().get(..span.len).unwrap_or_default();
    *control.consumed += span.consume;
    if !span.is_complete {
        return handler.collect_incoming_data(control, data);
    }
    if !control.codec.streaming() {
        return handler.frame(control, data);
    }
    if !data.is_empty() {
        handler.collect_incoming_data(control, data)?;
    }
    handler.found_terminator(control)
}
