//! `Channel`: its input.

use super::Channel;
use crate::codec::ReadMode;
use crate::read::InputGuard;
use crate::terminator::IntoTerminator;
use crate::{Error, Frame};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Returns the next frame, or `None` at the end of input.
    ///
    /// Queued output is sent before each frame. A server that answers pipelined requests
    /// at once should be [corked](crate::Builder::corked), so that the answers go out together.
    ///
    /// If a close was requested before the end was reported, `None` is returned only when
    /// everything queued is sent and the write half is shut down.
    ///
    /// To avoid starving other tasks, `next` occasionally yields even if a frame is
    /// available.
    ///
    /// # Errors
    ///
    /// After [`Error::FrameTooLong`] the stream goes on. [`Error::Io`], [`Error::Producer`]
    /// and [`Error::Timeout`] are returned once, after the frames that were received
    /// before, and are followed by `None`. [`Error::Aborted`] is returned at once.
    ///
    /// A failure of input, or a timeout, leaves the output: [`close`](Self::close) the
    /// channel before you drop it, also after an error, and queued output is delivered.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost in either direction, and no time restarts.
    pub async fn next(&mut self) -> Option<Result<Frame, Error>> {
        poll_fn(|cx| self.poll_frame(cx, ReadMode::AsSet)).await
    }

    /// Sets the terminator and returns the next frame, complete.
    ///
    /// The frame is whole also in streaming mode, and at most `max_length` bytes. With
    /// [`Terminator::none`](crate::Terminator::none) it is everything up to the end of input; if that is too long,
    /// all of it is skipped. Output is sent meanwhile.
    ///
    /// A count is spent by its frame. The terminator is then `none`, and `next` would return
    /// whatever arrives.
    ///
    /// The bytes are a view of the block they were read into: copy what is small and kept
    /// for long.
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] with the bytes that had arrived, if input ends first or is over.
    /// - [`Error::FrameTooLong`]; the next call first finishes skipping the frame.
    /// - [`Error::InvalidHead`] of a [`message`](crate::Terminator::message), once; afterwards
    ///   [`Error::Closed`].
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

    /// Calls [`receive`](Self::receive) under a limit of its own: for a protocol whose
    /// lines are short and whose bodies are long.
    ///
    /// ```
    /// # async fn f(mut channel: asynchat::Channel<tokio::io::DuplexStream>) -> Result<(), asynchat::Error> {
    /// let line = channel.receive_within(1000, "\r\n").await?;
    /// # let length = 0;
    /// let body = channel.receive_within(16 << 20, length).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `max_length` is in bytes of content. The limit that was
    /// [set](crate::TerminatorCodec::set_max_length) stays set.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_within(
        &mut self,
        max_length: usize,
        terminator: impl IntoTerminator,
    ) -> Result<Bytes, Error> {
        self.set_terminator(terminator);
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, BytesMut::freeze)).await
    }

    /// Calls [`receive`](Self::receive), and returns bytes that can be changed in place:
    /// to unmask or to decrypt them without a copy.
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
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_mut(
        &mut self,
        terminator: impl IntoTerminator,
    ) -> Result<BytesMut, Error> {
        self.set_terminator(terminator);
        let max_length = self.framed.codec().max_length();
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, std::convert::identity))
            .await
    }

    /// Returns the next part of a frame, as it arrives: for a frame that is too large to
    /// hold.
    ///
    /// Parts are returned as in streaming mode, in both modes: `Partial`, never empty, as long
    /// as the frame goes on, and `Complete` with the rest, which may be empty.
    /// `max_length` does not apply. With [`Terminator::none`](crate::Terminator::none) the end of input ends the
    /// frame. Output is sent meanwhile.
    ///
    /// ```
    /// # use asynchat::{Channel, Error};
    /// # use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
    /// async fn save<T, W>(channel: &mut Channel<T>, len: u64, file: &mut W) -> Result<(), Error>
    /// where
    ///     T: AsyncRead + AsyncWrite + Unpin,
    ///     W: AsyncWrite + Unpin,
    /// {
    ///     channel.set_terminator(len);
    ///     loop {
    ///         let part = channel.receive_part().await?;
    ///         file.write_all(part.data()).await?;
    ///         if part.is_complete() {
    ///             return Ok(());
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] if input ends first. The rest has been returned as a
    ///   last part, and `partial` is empty. If input failed, `partial` is what could not
    ///   be returned: part of a terminator.
    /// - [`Error::Timeout`], again with each call until input is
    ///   [resumed](Self::set_timeouts).
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a part is returned whole. Call it again for the rest of the frame, or
    /// that is read under the terminator set next.
    pub async fn receive_part(&mut self) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_receive_part(cx)).await
    }
}

impl<T> Channel<T> {
    /// Returns the bytes received and not yet delivered.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.framed.read_buffer()
    }

    /// Returns how many bytes have been read from the transport since the channel was
    /// created.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.reader.received()
    }

    pub(super) fn discard_input(&mut self) -> usize {
        let mut guard = InputGuard::new(&mut self.framed);
        let (codec, input, consumed) = guard.input();
        let position = self.reader.received().wrapping_sub(input.len() as u64);
        let number = codec.cutter.frame_number();
        if let Some(deadlines) = &mut self.deadlines {
            // What is dropped of the current frame has earned its time.
            deadlines.begin_frame(number, position);
        }
        codec.cutter.discard(input, consumed);
        let input_bytes = *consumed;
        drop(guard);
        // The rest could begin the terminator to skip to. Its block is freed.
        let buffer = self.framed.read_buffer_mut();
        *buffer = BytesMut::from(buffer.as_ref());
        input_bytes
    }
}
