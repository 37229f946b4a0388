use crate::channel::{Discarded, Lent};
use crate::deadlines::{Deadlines, Timeouts};
use crate::producer::boxed;
use crate::pusher::Inbox;
use crate::terminator::IntoTerminator;
use crate::{Error, Pusher, Terminator, TerminatorCodec};
use bytes::Bytes;
use futures_core::Stream;
use std::{fmt, io};

/// The channel, as the callbacks of a [`Handler`](crate::Handler) see it.
pub struct Control<'a> {
    pub(super) codec: &'a mut TerminatorCodec,
    /// The buffered input.
    pub(super) input: &'a [u8],
    /// The length of the delivered part.
    pub(super) consumed: &'a mut usize,
    pub(super) lent: Lent<'a>,
    pub(super) stop: bool,
    /// `true` if a callback has done more than push.
    pub(super) is_dirty: bool,
    /// `true` if a callback has pushed.
    pub(super) has_pushed: bool,
}

impl<'a> Control<'a> {
    pub(super) fn new(
        (codec, input, consumed): (&'a mut TerminatorCodec, &'a [u8], &'a mut usize),
        lent: Lent<'a>,
    ) -> Self {
        let (stop, is_dirty, has_pushed) = (false, false, false);
        Control { codec, input, consumed, lent, stop, is_dirty, has_pushed }
    }

    /// Queues raw bytes, owned or `'static`. See [`Channel::push`](crate::Channel::push).
    #[inline]
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.has_pushed = true;
        self.lent.writer.push(data.into());
    }

    /// Queues a copy of raw bytes. See [`Channel::push_slice`](crate::Channel::push_slice).
    #[inline]
    pub fn push_slice(&mut self, data: &[u8]) {
        self.has_pushed = true;
        self.lent.writer.push_slice(data);
    }

    /// Queues formatted text as raw bytes. See [`Channel::push_fmt`](crate::Channel::push_fmt).
    pub fn push_fmt(&mut self, args: fmt::Arguments<'_>) {
        self.has_pushed = true;
        self.lent.writer.push_fmt(args);
    }

    /// Queues one frame, after checking its content. See
    /// [`Channel::push_frame`](crate::Channel::push_frame).
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] or [`Error::Closed`]. In both cases nothing is queued.
    /// `Closed` is also returned if the output has failed. If you ignore it then,
    /// [`run`](crate::Channel::run) ends with the cause.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.has_pushed = true;
        self.lent.writer.push_frame(self.codec, content.into())
    }

    /// Queues a producer. See [`Channel::push_with_producer`](crate::Channel::push_with_producer).
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.has_pushed = true;
        self.lent.writer.push_producer(boxed(producer));
    }

    /// Sets the terminator, starting with the next byte. The mode and the limits do not change.
    #[inline]
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.is_dirty = true;
        self.codec.set_terminator(terminator);
    }

    /// Returns the current terminator. For a count, this is the number of bytes
    /// remaining.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.codec.terminator()
    }

    /// Returns the byte string that ended the last frame, or an empty slice if none did.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.codec.ended_by()
    }

    /// Returns the length of the head in the last frame, if it is a message. See
    /// [`TerminatorCodec::head_len`].
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.codec.head_len()
    }

    /// Returns the codec, to change its settings.
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        self.is_dirty = true;
        self.codec
    }

    /// Returns the timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.lent.deadlines.as_ref().map(|deadlines| deadlines.timeouts()).unwrap_or_default()
    }

    /// Sets the timeouts, as [`Channel::set_timeouts`](crate::Channel::set_timeouts) does. This does
    /// not resume input that a timeout has ended before `run`.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        Deadlines::set(self.lent.deadlines, timeouts);
    }

    /// Pauses the delivery of frames until everything queued so far is passed to the transport, and
    /// the transport is flushed.
    ///
    /// Use this for answers that hold a file or another scarce resource. However many requests a
    /// peer pipelines, only one answer at a time then holds such a resource.
    ///
    /// ```
    /// # use asynchat::{Channel, Control, Error, Handler};
    /// # use futures::stream;
    /// # use std::io;
    /// struct Files;
    ///
    /// impl Handler for Files {
    ///     type Error = Error;
    ///
    ///     fn frame(&mut self, channel: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
    ///         let file = stream::iter([Ok::<_, io::Error>("content\n")]); // opened here
    ///         channel.push_with_producer(file);
    ///         channel.pause_until_sent();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (here, there) = tokio::io::duplex(64);
    /// # let mut peer = Channel::new(there, "\n");
    /// # let mut channel = Channel::new(here, "\n");
    /// # let server = tokio::spawn(async move { channel.run(&mut Files).await });
    /// peer.push("GET a\nGET b\n");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "content");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "content");
    /// # peer.close().await.unwrap();
    /// # server.await.unwrap().unwrap();
    /// # }
    /// ```
    ///
    /// Gathered answers are sent at once. Meanwhile [`run`](crate::Channel::run) reads as it does
    /// above the high-water mark, and the timeouts of the input are paused. The pause includes data
    /// that a [`Pusher`] has pushed so far, but no output that is pushed after this call. If there
    /// is nothing to send or to flush, this does nothing. The pause also ends if output is
    /// discarded.
    pub fn pause_until_sent(&mut self) {
        self.is_dirty = true;
        if let Some(inbox) = self.lent.inbox {
            inbox.take_pushed(self.lent.writer);
        }
        self.lent.writer.pause_until_sent();
    }

    /// Closes the channel after everything queued so far is sent. No further frame is delivered.
    pub fn close_when_done(&mut self) {
        self.is_dirty = true;
        Inbox::close_when_done(self.lent.inbox, self.lent.writer);
    }

    /// Drops everything buffered, in both directions. See
    /// [`Channel::discard_buffers`](crate::Channel::discard_buffers).
    pub fn discard_buffers(&mut self) -> Discarded {
        self.is_dirty = true;
        let before = *self.consumed;
        self.lent
            .begin_frame(self.codec.cutter.frame_number(), self.input.len().saturating_sub(before));
        self.codec.cutter.discard(self.input, self.consumed);
        let input_bytes = *self.consumed - before;
        self.lent.discard_output(input_bytes)
    }

    /// Returns a handle that pushes into this channel from other tasks.
    ///
    /// Data of the [`Pusher`] joins the queue after everything that callbacks push in the same poll
    /// of [`run`](crate::Channel::run), or before a [pause](Self::pause_until_sent).
    pub fn pusher(&mut self) -> Pusher {
        self.is_dirty = true;
        Inbox::pusher(self.lent.inbox, self.lent.writer)
    }

    /// Returns the number of queued bytes. See
    /// [`Channel::queued_bytes`](crate::Channel::queued_bytes).
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.lent.writer.queued()
    }

    /// Makes [`run`](crate::Channel::run) return [`Run::Stopped`](crate::Run::Stopped) after
    /// this callback.
    ///
    /// The channel stays intact. Between the callback and the return of `run`, nothing is sent or
    /// read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"STARTTLS\nrest").await.unwrap();
    /// use asynchat::{Channel, Control, Error, Handler, Run};
    ///
    /// struct UntilTls;
    ///
    /// impl Handler for UntilTls {
    ///     type Error = Error;
    ///
    ///     fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
    ///         if line == b"STARTTLS" {
    ///             channel.stop();
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// assert_eq!(channel.run(&mut UntilTls).await?, Run::Stopped);
    /// assert_eq!(channel.unread(), b"rest"); // `upgrade` would refuse
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop(&mut self) {
        self.is_dirty = true;
        self.stop = true;
    }

    /// The input that is buffered and not delivered.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.input.get(*self.consumed..).unwrap_or_default()
    }

    /// Updates the watermark if there was a push. Returns `true` if there is capacity for the
    /// answer to another frame.
    #[inline(always)]
    pub(super) fn has_capacity(&mut self) -> bool {
        !std::mem::take(&mut self.has_pushed) || self.lent.writer.has_capacity()
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
