use crate::channel::{Core, Discarded};
use crate::producer::boxed;
use crate::{Error, IntoTerminator, Pusher, Terminator, TerminatorCodec, Timeouts};
use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use std::ops::{Deref, DerefMut};
use std::{fmt, io};

/// The channel, as a [`Handler`](crate::Handler)'s callbacks may use it.
pub struct Control<'a> {
    pub(super) core: Watched<'a>,
    /// The input that is buffered, and how much of it is done with.
    pub(super) input: &'a [u8],
    pub(super) consumed: &'a mut usize,
    pub(super) stop: bool,
}

impl<'a> Control<'a> {
    /// Queues raw bytes, owned or `'static`; see [`Channel::push`](crate::Channel::push).
    #[inline]
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.core.pushing().output.push(data.into());
    }

    /// Queues a copy of borrowed raw bytes; see
    /// [`Channel::push_slice`](crate::Channel::push_slice).
    #[inline]
    pub fn push_slice(&mut self, data: &[u8]) {
        self.core.pushing().output.push_slice(data);
    }

    /// Queues one frame, checked; see
    /// [`Channel::push_frame`](crate::Channel::push_frame).
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] and [`Error::Closed`]; nothing is queued.
    /// If the writing side has failed it is `Closed` as well: ignore that one,
    /// and [`run`](crate::Channel::run) ends with the cause.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.core.pushing().push_frame(content.into())
    }

    /// Queues a producer; see
    /// [`Channel::push_with_producer`](crate::Channel::push_with_producer).
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
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
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

    /// The codec, to change its settings.
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        &mut self.core.codec
    }

    /// Sets how long to wait for the peer; see
    /// [`Channel::set_timeouts`](crate::Channel::set_timeouts).
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.core.untouched().set_timeouts(timeouts);
    }

    /// How long to wait for the peer.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.core.timeouts()
    }

    /// Closes once everything queued so far is sent. No further frame is
    /// handed out.
    pub fn close_when_done(&mut self) {
        self.core.close_when_done();
    }

    /// Drops everything buffered; see
    /// [`Channel::discard_buffers`](crate::Channel::discard_buffers).
    pub fn discard_buffers(&mut self) -> Discarded {
        let rest = self.rest();
        let dropped = self.core.codec.discard(rest);
        *self.consumed += dropped;
        self.core.discard_output(dropped)
    }

    /// A handle that pushes into this channel from other tasks. What is pushed
    /// with it joins the queue behind everything pushed through `Control` in the
    /// same turn of [`run`](crate::Channel::run).
    pub fn pusher(&mut self) -> Pusher {
        self.core.pusher()
    }

    /// What is queued and not sent; see
    /// [`Channel::queued_bytes`](crate::Channel::queued_bytes).
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.core.output.queued() as u64
    }

    /// Makes [`run`](crate::Channel::run) return
    /// [`Run::Stopped`](crate::Run::Stopped) after this callback, with the channel
    /// intact and nothing sent or read in between.
    pub fn stop(&mut self) {
        self.core.is_touched = true;
        self.stop = true;
    }

    /// What is buffered and not yet consumed.
    pub(super) fn rest(&self) -> &'a [u8] {
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
pub(super) struct Watched<'a> {
    core: &'a mut Core,
    /// More than by pushing.
    pub(super) is_touched: bool,
    has_pushed: bool,
}

impl Watched<'_> {
    /// Only the room for output can change by it.
    #[inline(always)]
    fn pushing(&mut self) -> &mut Core {
        self.has_pushed = true;
        self.core
    }

    /// For changes that nobody has to hear of.
    #[inline(always)]
    pub(super) fn untouched(&mut self) -> &mut Core {
        self.core
    }

    /// Whether there is room for what comes of another frame.
    #[inline(always)]
    pub(super) fn has_room(&mut self) -> bool {
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

/// The buffered input, lent out for callbacks to borrow from. What was consumed
/// is taken off its front also when a callback panics: no frame comes twice,
/// and the tail of none becomes one.
pub(super) struct Lent<'c> {
    core: &'c mut Core,
    input: BytesMut,
    consumed: usize,
}

impl<'c> Lent<'c> {
    pub(super) fn new(core: &'c mut Core) -> Self {
        let input = std::mem::take(&mut core.input.buffer);
        Lent { core, input, consumed: 0 }
    }

    pub(super) fn control(&mut self) -> Control<'_> {
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
