//! `Channel`: its input.

use super::poll::Event;
use super::{Channel, Side};
use crate::budget::FRAME;
use crate::codec::{Look, ReadMode, Span};
use crate::read::{End, InputGuard, Late, Reading};
use crate::terminator::IntoTerminator;
use crate::{Error, Frame, Timeout};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// # Input
///
/// All of these methods also send queued output while they wait.
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Sends queued output, then returns the next frame, or `None` at the end of input.
    ///
    /// If requests are pipelined, a write before each frame is expensive.
    /// [Cork](crate::Builder::corked) the channel if the program answers at once, but not if an
    /// answer takes long.
    ///
    /// If you request a close before the end of input is reported, `next` first sends all output
    /// and shuts the write half down, and then returns `None`.
    ///
    /// To avoid starving other tasks, `next` occasionally yields even if a frame is
    /// available.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\ntwo\nthr").await.unwrap();
    /// # drop(peer);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let mut lines = Vec::new();
    /// while let Some(frame) = channel.next().await {
    ///     // The last frame is not complete: input ended before its terminator.
    ///     lines.extend(frame?.into_complete());
    /// }
    /// assert_eq!(lines, ["one", "two"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// After [`Error::FrameTooLong`] the next call returns the next frame. [`Error::Io`],
    /// [`Error::Producer`], [`Error::InvalidHead`] and [`Error::Timeout`] are returned once, after
    /// the frames that arrived before them, and are followed by `None`. [`Error::Aborted`] is
    /// returned at once. The [table of errors](Self#errors-and-their-order) lists their effect on
    /// the output.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost in either direction, and no timeout restarts.
    pub async fn next(&mut self) -> Option<Result<Frame, Error>> {
        poll_fn(|cx| self.poll_frame(cx, ReadMode::AsSet)).await
    }

    /// Sets the terminator and returns the next frame, complete.
    ///
    /// The frame is whole even in streaming mode, and has at most `max_length` bytes. With
    /// [`Terminator::none`](crate::Terminator::none) the frame is all data up to the end of input.
    /// If that is too long, all of it is skipped.
    ///
    /// After a count the terminator is `none`, and `next` would return bytes as they arrive.
    ///
    /// The bytes keep the whole block that they were read into in memory. Copy small frames that
    /// you keep for a long time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::BoxError> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"5\r\nhello").await.unwrap();
    /// use asynchat::{Channel, Terminator, message};
    ///
    /// let mut channel = Channel::new(io, Terminator::crlf());
    /// let length = channel.receive(Terminator::crlf()).await?;
    /// let body = channel.receive(message::decimal(&length)?).await?;
    /// assert_eq!(body, "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [dialogues](crate::guide::dialogues) in the guide.
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`], with the bytes that had arrived, if input ends or has ended
    ///   before the frame is complete.
    /// - [`Error::FrameTooLong`] if the frame exceeds `max_length`. The next call first skips the
    ///   rest of that frame.
    /// - [`Error::InvalidHead`], once, if the head of a [`message`](crate::Terminator::message) is
    ///   invalid, and then [`Error::Closed`].
    /// - [`Error::Timeout`], again with each call until input is
    ///   [resumed](Self::set_timeouts).
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed before the frame is complete. The terminator stays
    /// set.
    pub async fn receive(&mut self, terminator: impl IntoTerminator) -> Result<Bytes, Error> {
        self.set_terminator(terminator);
        let max_length = self.framed.codec().max_length();
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, BytesMut::freeze)).await
    }

    /// Sets the terminator and returns the next frame, complete, with a limit for this frame alone.
    ///
    /// `max_length` is the limit in bytes, without the terminator. Use this for a protocol with
    /// short lines and long bodies. The limit of the
    /// [codec](crate::TerminatorCodec::set_max_length) does not change.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # use tokio::io::AsyncWriteExt;
    /// # peer.write_all(b"DATA\r\nhello, world\r\n").await.unwrap();
    /// use asynchat::{Channel, Error};
    ///
    /// let mut channel = Channel::new(io, "\r\n");
    /// assert_eq!(channel.receive_within(1000, "\r\n").await?, "DATA");
    /// let too_long = channel.receive_within(10, "\r\n").await;
    /// assert!(matches!(too_long, Err(Error::FrameTooLong { limit: 10, .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// The same as [`receive`](Self::receive).
    pub async fn receive_within(
        &mut self,
        max_length: usize,
        terminator: impl IntoTerminator,
    ) -> Result<Bytes, Error> {
        self.set_terminator(terminator);
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, BytesMut::freeze)).await
    }

    /// Sets the terminator and returns the next frame, complete, as bytes that can be changed
    /// in place.
    ///
    /// Use this instead of [`receive`](Self::receive) to unmask or decrypt the bytes without a
    /// copy.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"iDMMN").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, None);
    /// let mut masked = channel.receive_mut(5).await?;
    /// masked.iter_mut().for_each(|byte| *byte ^= 0x21);
    /// assert_eq!(masked, "Hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// The same as [`receive`](Self::receive).
    pub async fn receive_mut(
        &mut self,
        terminator: impl IntoTerminator,
    ) -> Result<BytesMut, Error> {
        self.set_terminator(terminator);
        let max_length = self.framed.codec().max_length();
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, std::convert::identity))
            .await
    }

    /// Returns the next part of a frame, as it arrives.
    ///
    /// Use this for a frame that is too large to hold. In both modes, the parts are those of
    /// streaming mode. While the frame continues, each part is a `Partial` that is not empty. The
    /// last part is a `Complete`, which may be empty. `max_length` does not apply. With
    /// [`Terminator::none`](crate::Terminator::none) the end of input ends the frame.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(4);
    /// # let sent = tokio::spawn(async move {
    /// #     tokio::io::AsyncWriteExt::write_all(&mut peer, b"hello, world").await
    /// # });
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, 12);
    /// let mut file = Vec::new(); // or a `tokio::fs::File`
    /// loop {
    ///     let part = channel.receive_part().await?;
    ///     file.extend_from_slice(part.data());
    ///     if part.is_complete() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(file, b"hello, world");
    /// # sent.await.unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [large bodies](crate::guide::dialogues#bodies-too-large-to-hold) in the guide.
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] if input ends within the frame. All bytes have then been returned
    ///   in parts, and `partial` is empty. If input failed, `partial` is the part of a terminator
    ///   that could not be returned.
    /// - [`Error::Timeout`], again with each call until input is
    ///   [resumed](Self::set_timeouts).
    /// - [`Error::InvalidHead`], [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`],
    ///   once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no part is lost. Call `receive_part` again for the rest of the frame. Otherwise
    /// the next terminator that you set also applies to that rest.
    pub async fn receive_part(&mut self) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_receive_part(cx)).await
    }

    /// The next frame.
    #[inline]
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        mode: ReadMode,
    ) -> Poll<Option<Result<Frame, Error>>> {
        let span = match ready!(self.poll_span(cx, mode)) {
            Event::Frame(span) => span,
            Event::Error(error) => return Poll::Ready(Some(Err(error))),
            Event::End => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(span.take(self.framed.read_buffer_mut()))))
    }

    #[inline]
    fn poll_span(&mut self, cx: &mut Context<'_>, mode: ReadMode) -> Poll<Event> {
        match self.buffered_frame(mode) {
            Some(span) => Poll::Ready(Event::Frame(span)),
            None => self.poll_frame_slow(cx, mode),
        }
    }

    /// Returns the next whole frame, in the type that the caller returns.
    fn poll_receive<D: Into<Bytes>>(
        &mut self,
        cx: &mut Context<'_>,
        mode: ReadMode,
        convert: impl FnOnce(BytesMut) -> D,
    ) -> Poll<Result<D, Error>> {
        let span = match ready!(self.poll_span(cx, mode)) {
            Event::Frame(span) => span,
            Event::Error(error) => return Poll::Ready(Err(error)),
            Event::End => return Poll::Ready(Err(self.error_after_end())),
        };
        let data = convert(span.take_data(self.framed.read_buffer_mut()));
        if !span.is_complete {
            return Poll::Ready(Err(Error::UnexpectedEof { partial: data.into() }));
        }
        Poll::Ready(Ok(data))
    }

    /// Returns the next part of a frame.
    fn poll_receive_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Error>> {
        let frame = ready!(self.poll_frame(cx, ReadMode::Parts));
        Poll::Ready(frame.unwrap_or_else(|| Err(self.error_after_end())))
    }

    /// The error that `receive` returns when no frame follows.
    #[cold]
    fn error_after_end(&mut self) -> Error {
        if let Some(timeout) = self.read_timeout() {
            // The rest of a frame must not become one.
            return Error::Timeout(timeout);
        }
        if self.reader.is_refused() {
            return Error::Closed;
        }
        let rest = self.framed.read_buffer_mut().split().freeze();
        let is_skipping = self.framed.codec().is_skipping();
        self.framed.codec_mut().cutter.forget();
        Error::UnexpectedEof { partial: if is_skipping { Bytes::new() } else { rest } }
    }

    /// The fast path: a frame is buffered, and there is nothing else to do.
    #[inline(always)]
    fn buffered_frame(&mut self, mode: ReadMode) -> Option<Span> {
        let has_news = self.inbox.as_ref().is_some_and(|inbox| inbox.has_news());
        // Without work there is capacity as well. Corked output waits for the input, unless
        // pushers must be notified of what it adds.
        let is_corked = self.corked && self.inbox.is_none();
        let has_work = self.writer.has_work() && !(is_corked && self.may_gather());
        let is_busy = has_news || has_work || self.reader.budget.is_exhausted();
        if is_busy || !self.reader.is_open() || !self.wakers.is_input_idle() {
            return None;
        }
        // The result is passed by value: it stays in registers.
        let span = match self.framed.codec().cutter.look(self.framed.read_buffer(), mode) {
            Look::Absent => return self.note_absent(),
            Look::Message => self.buffered_message(mode)?,
            Look::Set => self.buffered_set(mode)?,
            look => self.framed.codec_mut().cutter.note(look)?,
        };
        self.reader.budget.spend(FRAME);
        Some(span)
    }

    /// Records the progress of the search. Otherwise the tail of each read would be searched twice.
    #[cold]
    fn note_absent(&mut self) -> Option<Span> {
        if self.unread().is_empty() {
            return None;
        }
        let progress = self.framed.codec().cutter.searched(self.framed.read_buffer());
        self.framed.codec_mut().cutter.resume(progress);
        None
    }

    fn buffered_set(&mut self, mode: ReadMode) -> Option<Span> {
        match self.framed.codec().cutter.look_set(self.framed.read_buffer(), mode) {
            Look::Absent => self.note_absent(),
            look => self.framed.codec_mut().cutter.note(look),
        }
    }

    fn buffered_message(&mut self, mode: ReadMode) -> Option<Span> {
        let buffer = self.framed.read_buffer();
        let (head, len) = (self.framed.codec().cutter.read_head(buffer, mode), buffer.len());
        self.framed.codec_mut().cutter.note_head(head, len, mode)
    }

    #[inline(never)]
    fn poll_frame_slow(&mut self, cx: &mut Context<'_>, mode: ReadMode) -> Poll<Event> {
        let policy = self.policy(mode);
        self.poll_side(cx, Side::Input, |channel, cx| channel.poll_event(cx, policy))
    }
}

impl<T> Channel<T> {
    /// Returns the bytes that were received and not yet delivered.
    ///
    /// [`peek`](Self::peek) waits for such bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\ntwo").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// assert_eq!(channel.receive("\n").await?, "one");
    /// assert_eq!(channel.unread(), b"two");
    /// assert_eq!(channel.received_bytes(), 7);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.framed.read_buffer()
    }

    /// Returns the number of bytes read from the transport since the channel was created.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.reader.received()
    }

    /// Returns the timeout that has ended the input.
    pub(super) fn read_timeout(&self) -> Option<Timeout> {
        let Reading::Ended(End::TimedOut(late)) = *self.reader.state() else { return None };
        let timeouts = self.timeouts();
        Some(match late {
            Late::Frame => Timeout::Frame(timeouts.frame.unwrap_or_default()),
            Late::Idle => Timeout::Idle(timeouts.idle.unwrap_or_default()),
        })
    }

    pub(super) fn discard_input(&mut self) -> usize {
        let (framed, mut lent) = self.lend_with_framed();
        let mut guard = InputGuard::new(framed);
        let (codec, input, consumed) = guard.input();
        lent.begin_frame(codec.cutter.frame_number(), input.len());
        codec.cutter.discard(input, consumed);
        let input_bytes = *consumed;
        drop(guard);
        // The rest could begin the terminator to skip to. Its block is freed.
        let buffer = self.framed.read_buffer_mut();
        *buffer = BytesMut::from(buffer.as_ref());
        input_bytes
    }
}
