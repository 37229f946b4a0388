//! Into a channel, out of one, and from one transport to another.

use super::{Channel, InputState};
use crate::{BoxProducer, Error, TerminatorCodec};
use bytes::BytesMut;
use std::future::Future;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, FramedParts};

/// Everything a [`Channel`] was made of.
#[non_exhaustive]
pub struct Parts<T> {
    /// The transport.
    pub io: T,
    /// The codec, in the middle of a frame perhaps.
    pub codec: TerminatorCodec,
    /// Input not yet handed out.
    pub read_buf: BytesMut,
    /// Output not yet sent, up to the first producer.
    pub unsent: BytesMut,
    /// The rest of the output; bytes queued behind a producer are one as well.
    pub producers: Vec<BoxProducer>,
}

impl<T> fmt::Debug for Parts<T> {
    /// Shows lengths, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("read_buf", &self.read_buf.len())
            .field("unsent", &self.unsent.len())
            .field("producers", &self.producers.len())
            .finish_non_exhaustive()
    }
}

/// Why [`Channel::upgrade`] failed.
pub struct UpgradeError<T> {
    /// What went wrong.
    pub error: Error,
    /// The channel as it was, unless the new transport's making failed, which
    /// has used it up.
    pub channel: Option<Channel<T>>,
}

impl<T> fmt::Debug for UpgradeError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeError")
            .field("error", &self.error)
            .field("channel", &self.channel)
            .finish()
    }
}

impl<T> fmt::Display for UpgradeError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("upgrade failed")
    }
}

impl<T> From<UpgradeError<T>> for Error {
    /// Drops the channel.
    fn from(refused: UpgradeError<T>) -> Self {
        refused.error
    }
}

impl<T> std::error::Error for UpgradeError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Goes on from a `Framed`, with what it has buffered in both directions.
    pub fn from_framed(framed: Framed<T, TerminatorCodec>) -> Self {
        let parts = framed.into_parts();
        let mut channel = Channel::builder().codec(parts.codec).build(parts.io);
        channel.core.input.buffer = parts.read_buf;
        channel.push(parts.write_buf.freeze());
        channel
    }

    /// Gives the channel's transport, codec and input to a `Framed`.
    ///
    /// # Errors
    ///
    /// The channel comes back if output or a close is still queued, or an error
    /// of the writing side was not told yet: a `Framed` has no place for them.
    /// [`flush`](Self::flush) it first.
    // The channel is what the caller had; it is not boxed to please a lint.
    #[allow(clippy::result_large_err)]
    pub fn into_framed(mut self) -> Result<Framed<T, TerminatorCodec>, Channel<T>> {
        let idle = self.core.output.is_settled();
        // In one step: what is pushed in this very moment is not lost either.
        if !idle || self.core.inbox.as_ref().is_some_and(|inbox| !inbox.close_if_empty()) {
            self.core.absorb();
            return Err(self);
        }
        let parts = self.into_parts();
        let mut framed = FramedParts::new::<bytes::Bytes>(parts.io, parts.codec);
        framed.read_buf = parts.read_buf;
        Ok(Framed::from_parts(framed))
    }

    /// Replaces the transport by one made from it, STARTTLS for example.
    ///
    /// What is queued is sent first. Settings, terminator and [`Pusher`]s go
    /// over to the new channel.
    ///
    /// ```
    /// # use asynchat::{Channel, UpgradeError};
    /// # use tokio::io::{AsyncRead, AsyncWrite, BufStream};
    /// # async fn f<T: AsyncRead + AsyncWrite + Unpin>(mut channel: Channel<T>)
    /// # -> Result<(), UpgradeError<T>> {
    /// channel.push("220 Ready to start TLS\r\n");
    /// let channel = channel.upgrade(|io| async { Ok(BufStream::new(io)) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::UnreadInput`] if any input is buffered or being skipped. It
    ///   was sent in the clear; taking it for part of the new transport is the
    ///   command injection of CVE-2011-0411. If it does belong to the new
    ///   transport, hand it over yourself with [`into_parts`](Self::into_parts).
    /// - Sending failed, or the writing side is closed.
    /// - [`Error::Io`] from `make`, or from the end of input.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the channel is lost with the future.
    ///
    /// [`Pusher`]: crate::Pusher
    pub async fn upgrade<U, F, Fut>(mut self, make: F) -> Result<Channel<U>, UpgradeError<T>>
    where
        F: FnOnce(T) -> Fut,
        Fut: Future<Output = io::Result<U>>,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let mut checked = self.flush().await;
        if checked.is_ok() && !self.core.output.is_open() {
            checked = Err(Error::Closed);
        }
        if checked.is_ok() && (!self.unread().is_empty() || self.core.codec.is_skipping()) {
            checked = Err(Error::UnreadInput);
        }
        if checked.is_ok() && self.core.input.state != InputState::Open {
            checked = Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Err(error) = checked {
            tracing::debug!(target: "asynchat", %error, "upgrade refused");
            return Err(UpgradeError { error, channel: Some(self) });
        }
        tracing::debug!(target: "asynchat", "upgrade");
        let Channel { io, core } = self;
        match make(io).await {
            Ok(io) => Ok(Channel { io, core }),
            Err(e) => Err(UpgradeError { error: Error::Io(e), channel: None }),
        }
    }
}

impl<T> Channel<T> {
    /// Takes the channel apart, with everything that is buffered and queued.
    ///
    /// That a close was asked for, or an error not told yet, is not in it. Its
    /// [`Pusher`](crate::Pusher)s find it closed.
    #[must_use]
    pub fn into_parts(mut self) -> Parts<T> {
        self.core.dismiss_pushers();
        let (unsent, producers) = self.core.output.take();
        Parts {
            io: self.io,
            codec: self.core.codec,
            read_buf: std::mem::take(&mut self.core.input.buffer),
            unsent,
            producers,
        }
    }
}
