//! `Channel`: the settings that may change at any moment.

use super::Channel;
use crate::deadlines::{Deadlines, Timeouts};
use crate::terminator::IntoTerminator;
use crate::{Terminator, TerminatorCodec};

/// # Settings
///
/// You can change these settings at any moment. The [`Builder`](crate::Builder) has the settings
/// that stay fixed.
impl<T> Channel<T> {
    /// Sets the terminator, starting with the first byte not yet delivered.
    ///
    /// The terminator also applies to bytes that are already buffered. Setting an equal terminator
    /// again changes nothing, except that a count restarts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"DATA\r\nhello").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, "\r\n");
    /// assert_eq!(channel.next().await.unwrap()?.data(), b"DATA");
    /// channel.set_terminator(5); // or "\n", `None`, a `Terminator`, a `Length`
    /// assert_eq!(channel.next().await.unwrap()?.data(), b"hello");
    /// assert!(channel.terminator().is_none()); // after a count
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.framed.codec_mut().set_terminator(terminator);
    }

    /// Sets the timeouts.
    ///
    /// They also apply to a frame that has begun. If a limit was set before, its time counts from
    /// the first byte of the frame, and otherwise from now. After [`Timeout::Frame`] or
    /// [`Timeout::Idle`], input resumes where it was, and the timeouts restart.
    ///
    /// See [timeouts](crate::guide::servers#timeouts) in the guide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, Error, Timeout, Timeouts};
    /// use std::time::Duration;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let second = Duration::from_secs(1);
    /// channel.set_timeouts(Timeouts::all(second));
    /// let late = channel.receive("\n").await; // the peer says nothing
    /// assert!(matches!(late, Err(Error::Timeout(Timeout::Idle(limit))) if limit == second));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Timeout::Frame`]: crate::Timeout::Frame
    /// [`Timeout::Idle`]: crate::Timeout::Idle
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        Deadlines::set(&mut self.deadlines, timeouts);
        self.reader.resume();
    }

    /// Sets whether output waits while frames are buffered. See
    /// [`Builder::corked`](crate::Builder::corked).
    pub fn set_corked(&mut self, corked: bool) {
        self.corked = corked;
    }

    /// Returns the codec, to change its settings.
    ///
    /// A change applies to all bytes not yet delivered, as with
    /// [`set_terminator`](Self::set_terminator).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\n").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.codec_mut().set_keep_terminator(true);
    /// assert_eq!(channel.next().await.unwrap()?.data(), b"one\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        self.framed.codec_mut()
    }

    /// Returns the current terminator. For a count, this is the number of bytes remaining.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let channel = asynchat::Channel::new(io, 5);
    /// assert_eq!(channel.terminator().remaining(), Some(5));
    /// ```
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.framed.codec().terminator()
    }

    /// Returns the timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.deadlines.as_ref().map(|deadlines| deadlines.timeouts()).unwrap_or_default()
    }

    /// Returns the codec.
    #[must_use]
    pub fn codec(&self) -> &TerminatorCodec {
        self.framed.codec()
    }

    /// Returns the byte string that ended the last frame, or an empty slice if none did.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\r\ntwo\n").await.unwrap();
    /// use asynchat::{Channel, Terminator};
    ///
    /// let mut channel = Channel::new(io, Terminator::line());
    /// assert_eq!(channel.receive(Terminator::line()).await?, "one");
    /// assert_eq!(channel.ended_by(), b"\r\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.framed.codec().ended_by()
    }

    /// Returns the length of the head in the last frame, if it is a message.
    ///
    /// See [`TerminatorCodec::head_len`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"\0\x05hello").await.unwrap();
    /// use asynchat::{Channel, Length};
    ///
    /// let mut channel = Channel::new(io, Length::u16_be());
    /// let mut message = channel.next().await.unwrap()?.into_data();
    /// let body = message.split_off(channel.head_len());
    /// assert_eq!(body, "hello");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.framed.codec().head_len()
    }
}
