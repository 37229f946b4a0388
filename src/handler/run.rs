//! `Channel::run`: reading, calling back, sending, closing.

use super::control::{Control, Lent};
use super::{Handler, Run};
use crate::channel::{Core, InputState, Life, TURN, TURN_FRAME};
use crate::codec::Span;
use crate::pusher::Inbox;
use crate::queue::poll_next_turn;
use crate::{Channel, Error, FrameRef, Timeout};
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why frames are not being handed out just now.
enum Halt {
    /// There is none.
    Starved,
    /// There is no room for answers.
    Full,
    Stopped,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Runs the connection: calls `handler` as input arrives, sends what it
    /// pushes, and ends when the channel is closed.
    ///
    /// Above the high-water mark nothing is read until output has sunk below
    /// the low one. After the close it reads on for a while
    /// ([`linger`](crate::Builder::linger)), so that the answer arrives. The
    /// runtime gets its turn back after a bounded number of frames and bytes.
    ///
    /// # Errors
    ///
    /// What a callback returned, or a failure of the transport or of a
    /// producer, after the frames that were received before; that includes
    /// [`Error::Timeout`] when output has stalled. Of the other deadlines
    /// [`timed_out`](Handler::timed_out) decides. Or [`Error::Aborted`], at once.
    /// Called again after any of these, or if another method has told the failure
    /// before, it gives [`Error::Closed`]; only after the error of a callback other
    /// than `timed_out` it goes on behind that frame.
    ///
    /// # Panics
    ///
    /// In a runtime without a timer, if `linger` is not zero or a deadline is set.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: everything it knows is in the channel. Call it again, with
    /// the same handler or another.
    pub fn run<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
    ) -> impl Future<Output = Result<Run, H::Error>> {
        poll_fn(move |cx| self.poll_run(cx, handler))
    }

    fn poll_run<H: Handler + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut H,
    ) -> Poll<Result<Run, H::Error>> {
        let mut turn = TURN;
        let mut had_turn = false;
        if let Life::New = self.core.life {
            self.core.life = Life::Connected;
            let mut lent = Lent::new(&mut self.core);
            let mut control = lent.control();
            handler.connected(&mut control)?;
            if control.stop {
                return Poll::Ready(Ok(Run::Stopped));
            }
        }
        // A `Pusher` may have closed: then no further frame is handed out.
        self.core.absorb();
        loop {
            let halt = match self.core.life {
                // By what it was lost, was told.
                Life::Over { lost: true } => return Poll::Ready(Err(Error::Closed.into())),
                Life::Over { lost: false } => return Poll::Ready(Ok(Run::Closed)),
                _ => dispatch(&mut self.core, handler, &mut turn)?,
            };
            if let Halt::Stopped = halt {
                return Poll::Ready(Ok(Run::Stopped));
            }
            // If producers had their turn, that has woken us; to send again in this
            // poll would be another one.
            let sent = if had_turn { Poll::Pending } else { self.poll_send(cx) };
            had_turn = sent.is_pending() && self.core.output.queue.is_turn_over();
            if self.core.output.close_requested() {
                self.core.drop_input();
            }
            if turn < 0 {
                return poll_next_turn(cx);
            }
            if let Halt::Full = halt {
                if !self.core.output.has_room() && sent.is_pending() {
                    // Then there is output, and it wakes us.
                    self.core.pause_frame();
                    return Poll::Pending;
                }
                continue;
            }
            if self.core.output.close_requested() && sent.is_ready() {
                ready!(self.poll_linger(cx));
                return Poll::Ready(self.end(handler));
            }
            if self.core.is_lost() {
                // If there is no failure here, somebody was told it before.
                let error = self.core.output.take_failure().unwrap_or(Error::Closed);
                return Poll::Ready(self.end_with(handler, error));
            }
            if !matches!(self.core.input.state, InputState::Open | InputState::Ended) {
                self.core.input.release();
                self.core.output.release();
                // Only output is left: it wakes us, or a `Pusher` does.
                return Poll::Pending;
            }
            turn -= TURN_READ;
            let more = if self.core.output.close_requested() {
                self.poll_more(cx)
            } else {
                self.poll_more_in_time(cx)
            };
            match ready!(more) {
                None => {}
                Some(Error::Timeout(timeout @ (Timeout::Frame(_) | Timeout::Idle(_)))) => {
                    let stop = self.ask_about(handler, timeout)?;
                    if stop {
                        return Poll::Ready(Ok(Run::Stopped));
                    }
                }
                Some(error) => return Poll::Ready(self.end_with(handler, error)),
            }
        }
    }

    /// Lets the handler decide whether a deadline is the end. Gives whether to
    /// stop.
    fn ask_about<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        timeout: Timeout,
    ) -> Result<bool, H::Error> {
        self.core.resume_input();
        let mut lent = Lent::new(&mut self.core);
        let mut control = lent.control();
        let asked = handler.timed_out(&mut control, timeout).map(|()| control.stop);
        drop(lent);
        asked.inspect_err(|_| {
            self.core.input.state = InputState::TimedOut(timeout);
            self.core.life = Life::Over { lost: true };
            handler.closed(Some(&Error::Timeout(timeout)));
        })
    }

    fn end<H: Handler + ?Sized>(&mut self, handler: &mut H) -> Result<Run, H::Error> {
        match self.core.output.take_failure() {
            Some(error) => self.end_with(handler, error),
            // Somebody was told it before.
            None if self.core.output.has_failed() => self.end_with(handler, Error::Closed),
            None => {
                tracing::debug!(target: "asynchat", "closed");
                self.core.life = Life::Over { lost: false };
                handler.closed(None);
                Ok(Run::Closed)
            }
        }
    }

    fn end_with<H: Handler + ?Sized>(
        &mut self,
        handler: &mut H,
        error: Error,
    ) -> Result<Run, H::Error> {
        self.core.life = Life::Over { lost: true };
        handler.closed(Some(&error));
        Err(error.into())
    }
}

/// Hands out the frames that are buffered.
fn dispatch<H: Handler + ?Sized>(
    core: &mut Core,
    handler: &mut H,
    turn: &mut isize,
) -> Result<Halt, H::Error> {
    let mut lent = Lent::new(core);
    let mut control = lent.control();
    loop {
        if let Some(halt) = halt(control.core.untouched(), *turn) {
            return Ok(halt);
        }
        control.core.is_touched = false;
        let is_starved = hand_out_plain(&mut control, handler, turn)?;
        if is_starved && !hand_out(&mut control, handler, turn)? {
            return Ok(Halt::Starved);
        }
        if control.stop {
            return Ok(Halt::Stopped);
        }
    }
}

/// Why no frame is to be handed out, even if there is one.
#[inline]
fn halt(core: &mut Core, turn: isize) -> Option<Halt> {
    // A pusher's request may come from a callback.
    let has_request = core.inbox.as_ref().is_some_and(Inbox::has_request);
    if core.output.close_requested() || has_request || turn < 0 {
        return Some(Halt::Starved);
    }
    if !core.output.has_room() {
        return Some(Halt::Full);
    }
    match core.input.state {
        InputState::TimedOut(_) | InputState::Aborted | InputState::Failed => Some(Halt::Starved),
        InputState::Open => None,
        _ => matches!(core.life, Life::InputEnded).then_some(Halt::Starved),
    }
}

/// Hands out the frames in which nothing is unusual, until a callback touches
/// the channel: what `halt` looks at can only change then, or by a pusher. Gives
/// whether it came to something else.
#[inline]
fn hand_out_plain<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
    turn: &mut isize,
) -> Result<bool, H::Error> {
    let Some(mut path) = control.core.codec.fast_path() else { return Ok(true) };
    // They may ask for something at any time.
    let has_pushers = control.core.inbox.is_some();
    let mut rest = control.rest();
    loop {
        let Some(found) = path.cut(rest) else { return Ok(true) };
        let Span { consume, len, .. } = control.core.untouched().codec.note_match(found);
        let (Some(frame), Some(behind)) = (rest.get(..len), rest.get(consume..)) else {
            return Ok(true);
        };
        rest = behind;
        *control.consumed = control.input.len() - rest.len();
        *turn -= TURN_FRAME + consume as isize;
        handler.frame(control, frame)?;
        if control.core.is_touched || has_pushers || *turn < 0 || !control.core.has_room() {
            return Ok(false);
        }
    }
}

/// Hands out what comes next, be it a frame, a part of one, or the end of input.
/// Gives whether there was anything.
fn hand_out<H: Handler + ?Sized>(
    control: &mut Control<'_>,
    handler: &mut H,
    turn: &mut isize,
) -> Result<bool, H::Error> {
    let rest = control.rest();
    let core = control.core.untouched();
    let ended = core.input.state != InputState::Open;
    let streaming = core.codec.streaming();
    let mut src = rest;
    let frame = if ended {
        core.codec.decode_slice_eof(&mut src)
    } else {
        core.codec.decode_slice(&mut src)
    };
    let taken = rest.len() - src.len();
    *control.consumed += taken;
    *turn -= TURN_FRAME + taken as isize;
    match frame {
        Ok(Some(FrameRef::Complete(data))) if !streaming => handler.frame(control, data),
        Ok(Some(FrameRef::Complete(data))) => {
            if !data.is_empty() {
                handler.collect_incoming_data(control, data)?;
            }
            handler.found_terminator(control)
        }
        Ok(Some(FrameRef::Partial(data))) => handler.collect_incoming_data(control, data),
        Err(Error::FrameTooLong { limit }) => handler.frame_too_long(control, limit),
        // The codec has no other error.
        Err(error) => return Err(error.into()),
        Ok(None) if ended => {
            core.input.state = InputState::Over;
            core.life = Life::InputEnded;
            handler.input_ended(control)
        }
        Ok(None) => return Ok(false),
    }?;
    Ok(true)
}

/// What a read counts in a turn. The bytes count when they are handed out.
const TURN_READ: isize = 4 * 1024;
