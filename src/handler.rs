use crate::channel::{Core, Discarded, InputState, Life};
use crate::producer::boxed;
use crate::pusher::Inbox;
use crate::queue::poll_next_turn;
use crate::terminator::Found;
use crate::{Channel, Error, FrameRef, Pusher, Terminator, Timeout};
use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// asynchat's callbacks: what [`Channel::run`] calls as input arrives.
///
/// They are synchronous and get borrowed data, so that a small frame costs no
/// allocation. What needs to wait is pushed as a producer, which keeps answers
/// in order, or written against the channel's `Stream` instead.
///
/// In whole mode a frame is one `collect_incoming_data` (none if it is empty)
/// and one `found_terminator`. In streaming mode data is collected as it
/// arrives, as in asynchat. Without a terminator, and for what is left at the
/// end of input, only `collect_incoming_data` is called. What a callback sets
/// counts from the next byte on. After `close_when_done` no further frame is
/// handed out.
///
/// An `Err` from any of them ends `run` with it; the channel stays as it is.
///
/// Override either `collect_incoming_data` and `found_terminator`, asynchat's
/// two, or [`frame`](Self::frame), if frames are whole:
///
/// ```
/// # use asynchat::{Control, Error, Handler};
/// struct Shout;
///
/// impl Handler for Shout {
///     type Error = Error;
///
///     fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
///         channel.push(line.to_ascii_uppercase());
///         channel.push("\n");
///         Ok(())
///     }
/// }
/// ```
///
/// And with those two:
///
/// ```
/// use asynchat::{Control, Error, Handler};
///
/// /// "5\n" and then five bytes, which are sent back.
/// #[derive(Default)]
/// struct Echo {
///     data: Vec<u8>,
///     in_body: bool,
/// }
///
/// impl Handler for Echo {
///     type Error = Error;
///
///     fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
///         self.data.extend_from_slice(data);
///         Ok(())
///     }
///
///     fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
///         let data = std::mem::take(&mut self.data);
///         self.in_body = !self.in_body;
///         if self.in_body {
///             let length = std::str::from_utf8(&data).ok().and_then(|s| s.parse::<u64>().ok());
///             channel.set_terminator(length.unwrap_or(0));
///         } else {
///             channel.push(data);
///             channel.set_terminator("\n");
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Handler {
    /// What ends `run` early.
    type Error: From<Error>;

    /// Some bytes have arrived: a whole frame, or in streaming mode, without a
    /// terminator and at the end of input, a part of one. Never empty.
    ///
    /// By default they are dropped, with an event: `debug` at the end of input,
    /// for what is left of a frame, and otherwise `warn`. For a handler that
    /// overrides [`frame`](Self::frame) and stays in whole mode, it is only that
    /// rest, and whatever arrives while no terminator is set: also behind a
    /// count, which is spent when reached.
    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Self::Error> {
        let bytes = data.len();
        if channel.core.input.state == InputState::Open {
            tracing::warn!(target: "asynchat", bytes, "data not collected: dropped");
        } else {
            tracing::debug!(target: "asynchat", bytes, "unfinished frame dropped");
        }
        Ok(())
    }

    /// The terminator was found, or the count reached: what was collected
    /// since the last time is a frame. By default nothing is done.
    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// A whole frame, in whole mode. By default `collect_incoming_data`, if it
    /// is not empty, and `found_terminator`. What is left at the end of input
    /// comes to `collect_incoming_data` all the same: it is no frame.
    #[inline]
    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Self::Error> {
        if !data.is_empty() {
            self.collect_incoming_data(channel, data)?;
        }
        self.found_terminator(channel)
    }

    /// Once for a channel, before anything else: `run` has begun. The place for
    /// a greeting. A second handler that goes on with the channel is not told.
    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// A frame is longer than `max_length`. With `Ok` its rest is skipped and
    /// the next frame comes normally; by default it is an error.
    ///
    /// A count is spent by it: set here what the bytes behind it end at.
    fn frame_too_long(
        &mut self,
        channel: &mut Control<'_>,
        limit: usize,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::FrameTooLong { limit }.into())
    }

    /// A deadline has passed: [`Timeout::Frame`] or [`Timeout::Idle`]. By default
    /// that is an error, and the connection is lost by it.
    ///
    /// The place for a last word: push it, and `close_when_done`. With `Ok` `run`
    /// goes on; if you do not close, the peer has the whole time once more, and
    /// then you are asked again.
    ///
    /// A [stalled write](Timeout::Write) is not asked about: whatever you could
    /// say would wait behind it.
    fn timed_out(
        &mut self,
        channel: &mut Control<'_>,
        timeout: Timeout,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::Timeout(timeout).into())
    }

    /// The peer has ended its side, and everything it sent was handed out. By
    /// default the channel is closed once what is queued has been sent.
    ///
    /// If you do not close it, `run` goes on for the output alone, until a
    /// [`Pusher`](crate::Pusher) closes it or you drop the future.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        channel.close_when_done();
        Ok(())
    }

    /// Once, at the end: the connection was closed, or lost by this error.
    /// Not called when `run` ends by `stop` or by an error of a callback, except
    /// [`timed_out`](Self::timed_out), nor if its future is dropped: what must be
    /// done in any case belongs in `Drop`.
    fn closed(&mut self, error: Option<&Error>) {
        let _ = error;
    }
}

/// How [`Channel::run`] came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was sent and the writing side is shut down.
    Closed,
    /// A callback called [`Control::stop`]; the channel is intact.
    Stopped,
}

/// The channel, as a [`Handler`]'s callbacks may use it.
pub struct Control<'a> {
    core: Watched<'a>,
    /// The input that is buffered, and how much of it is done with.
    input: &'a [u8],
    consumed: &'a mut usize,
    stop: bool,
}

impl<'a> Control<'a> {
    /// Queues raw bytes, owned or `'static`; see [`Channel::push`].
    #[inline]
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.core.pushing().output.push(data.into());
    }

    /// Queues a copy of borrowed raw bytes; see [`Channel::push_slice`].
    #[inline]
    pub fn push_slice(&mut self, data: &[u8]) {
        self.core.pushing().output.push_slice(data);
    }

    /// Queues one frame, checked; see [`Channel::push_frame`].
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] and [`Error::Closed`]; nothing is queued.
    /// If the writing side has failed it is `Closed` as well: ignore that one,
    /// and [`run`](Channel::run) ends with the cause.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.core.pushing().push_frame(content.into())
    }

    /// Queues a producer; see [`Channel::push_with_producer`].
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.core.pushing().output.push_producer(boxed(producer));
    }

    /// Changes what ends a frame, from the next byte on. Mode and limit stay as
    /// they are.
    #[inline]
    pub fn set_terminator(&mut self, terminator: impl Into<Terminator>) {
        self.core.codec.set_terminator(terminator);
    }

    /// The terminator in force; of a running count, what remains.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.core.codec.terminator()
    }

    /// The byte string that ended the last frame; empty if none did.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.core.codec.ended_by()
    }

    /// Sets whether frames come in parts, as they arrive.
    pub fn set_streaming(&mut self, streaming: bool) {
        self.core.codec.set_streaming(streaming);
    }

    /// Sets the most bytes a frame may have in whole mode.
    pub fn set_max_length(&mut self, max_length: usize) {
        self.core.codec.set_max_length(max_length);
    }

    /// Sets whether the terminator stays at the end of a complete frame.
    pub fn set_keep_terminator(&mut self, keep: bool) {
        self.core.codec.set_keep_terminator(keep);
    }

    /// Sets how long a frame may take; see
    /// [`Channel::set_frame_timeout`].
    pub fn set_frame_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.core.untouched().set_timeout(|timeouts| timeouts.frame = timeout.into());
    }

    /// Sets how long to wait for a frame to begin; see
    /// [`Channel::set_idle_timeout`].
    pub fn set_idle_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.core.untouched().set_timeout(|timeouts| timeouts.idle = timeout.into());
    }

    /// Sets how long the transport may take nothing; see
    /// [`Channel::set_write_timeout`].
    pub fn set_write_timeout(&mut self, timeout: impl Into<Option<Duration>>) {
        self.core.untouched().set_timeout(|timeouts| timeouts.write = timeout.into());
    }

    /// Closes once everything queued so far is sent. No further frame is
    /// handed out.
    pub fn close_when_done(&mut self) {
        self.core.close_when_done();
    }

    /// Drops everything buffered; see [`Channel::discard_buffers`].
    pub fn discard_buffers(&mut self) -> Discarded {
        let rest = self.rest();
        let dropped = self.core.codec.discard(rest);
        *self.consumed += dropped;
        self.core.discard_output(dropped)
    }

    /// A handle that pushes into this channel from other tasks. What is pushed
    /// with it joins the queue behind everything pushed through `Control` in the
    /// same turn of [`run`](Channel::run).
    pub fn pusher(&mut self) -> Pusher {
        self.core.pusher()
    }

    /// What is queued and not sent; see [`Channel::queued_bytes`].
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.core.output.queued()
    }

    /// Makes [`run`](Channel::run) return [`Run::Stopped`] after this callback,
    /// with the channel intact and nothing sent or read in between.
    pub fn stop(&mut self) {
        self.core.touch();
        self.stop = true;
    }

    /// What is buffered and not yet consumed.
    fn rest(&self) -> &'a [u8] {
        self.input.get(*self.consumed..).unwrap_or_default()
    }
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("terminator", self.terminator())
            .field("queued_bytes", &self.queued_bytes())
            .finish_non_exhaustive()
    }
}

/// A core that knows whether anything may have been changed in it.
struct Watched<'a> {
    core: &'a mut Core,
    /// More than by pushing.
    is_touched: bool,
    has_pushed: bool,
}

impl Watched<'_> {
    fn touch(&mut self) -> &mut Core {
        self
    }

    /// Only the room for output can change by it.
    #[inline(always)]
    fn pushing(&mut self) -> &mut Core {
        self.has_pushed = true;
        self.core
    }

    /// For changes that nobody has to hear of.
    #[inline(always)]
    fn untouched(&mut self) -> &mut Core {
        self.core
    }

    /// Whether there is room for what comes of another frame.
    #[inline(always)]
    fn has_room(&mut self) -> bool {
        !std::mem::take(&mut self.has_pushed) || self.core.output.has_room()
    }
}

impl Deref for Watched<'_> {
    type Target = Core;

    #[inline(always)]
    fn deref(&self) -> &Core {
        self.core
    }
}

impl DerefMut for Watched<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Core {
        self.is_touched = true;
        self.core
    }
}

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
    /// After an error [`Error::Closed`].
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
                Life::Lingering(_) => Halt::Starved,
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
            self.core.input.state = InputState::TimedOut;
            self.core.life = Life::Over { lost: true };
            handler.closed(Some(&Error::Timeout(timeout)));
        })
    }

    fn end<H: Handler + ?Sized>(&mut self, handler: &mut H) -> Result<Run, H::Error> {
        match self.core.output.take_failure() {
            Some(error) => self.end_with(handler, error),
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

/// The buffered input, lent out for callbacks to borrow from. What was consumed
/// is taken off its front also when a callback panics: no frame comes twice,
/// and the tail of none becomes one.
struct Lent<'c> {
    core: &'c mut Core,
    input: BytesMut,
    consumed: usize,
}

impl<'c> Lent<'c> {
    fn new(core: &'c mut Core) -> Self {
        let input = std::mem::take(&mut core.input.buffer);
        Lent { core, input, consumed: 0 }
    }

    fn control(&mut self) -> Control<'_> {
        let core = Watched { core: self.core, is_touched: false, has_pushed: false };
        Control { core, input: &self.input, consumed: &mut self.consumed, stop: false }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.core.input.buffer = std::mem::take(&mut self.input);
        self.core.input.buffer.advance(self.consumed);
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
        if let Some(halt) = halt(control.core.touch(), *turn) {
            return Ok(halt);
        }
        control.core.is_touched = false;
        let is_open = control.core.input.state == InputState::Open;
        let starved = if is_open && !control.core.codec.streaming() {
            hand_out_plain(&mut control, handler, turn)?
        } else {
            true
        };
        if starved && !hand_out(&mut control, handler, turn)? {
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
        InputState::TimedOut | InputState::Aborted | InputState::Failed => Some(Halt::Starved),
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
    let Some(mut plain) = control.core.codec.plain() else { return Ok(true) };
    // They may ask for something at any time.
    let has_pushers = control.core.inbox.is_some();
    let mut rest = control.rest();
    loop {
        let found = plain.cut(rest);
        let Some(Found { start, end, member }) = found else {
            control.core.untouched().codec.resume(plain);
            return Ok(true);
        };
        let (Some(frame), Some(behind)) = (rest.get(..start), rest.get(end..)) else {
            return Ok(true);
        };
        rest = behind;
        control.core.untouched().codec.note_plain(member);
        *control.consumed = control.input.len() - rest.len();
        *turn -= TURN_FRAME + end as isize;
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
    let core = control.core.touch();
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

/// What one poll of `run` may do, in bytes, and what a frame and a read count.
/// Others must get their turn before a burst that is passed on to them is as
/// much as their high-water mark.
const TURN: isize = 64 * 1024;
const TURN_FRAME: isize = 64;
const TURN_READ: isize = 4 * 1024;
