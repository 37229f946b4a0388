//! Conversions into a channel, out of one, and from one transport to another.

use super::Channel;
use crate::{BoxProducer, Error, Rewind, TerminatorCodec};
use bytes::BytesMut;
use std::future::{Future, poll_fn};
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, FramedParts};

/// The parts of a [`Channel`], with everything that is buffered and queued.
///
/// [`Channel::into_parts`] returns them.
#[non_exhaustive]
pub struct Parts<T> {
    /// The transport.
    pub io: T,
    /// The codec, which may be in the middle of a frame.
    pub codec: TerminatorCodec,
    /// The input not yet delivered.
    pub read_buf: BytesMut,
    /// The output not yet sent, up to the first producer.
    ///
    /// If the transport has a pending write, its bytes come first.
    pub unsent: BytesMut,
    /// The rest of the output, beginning with the first producer. Bytes queued after a producer are
    /// wrapped in a producer, too.
    pub producers: Vec<BoxProducer>,
}

impl<T> Parts<T> {
    /// Returns a transport that returns `read_buf` first, and then reads from `io`.
    ///
    /// Use this if the unread input belongs to the next protocol, such as TLS after a PROXY header,
    /// or a protocol after an HTTP `Upgrade`. If unread input would be an error, use
    /// [`Channel::upgrade`].
    ///
    /// The codec, `unsent` and `producers` are dropped. If output is dropped, a `warn` event
    /// reports that, so [`flush`](Channel::flush) the channel before you take it apart. Settings,
    /// timeouts and pushers end with the channel. To keep the settings, clone the
    /// [`Builder`](crate::Builder) for the next channel.
    ///
    /// See [PROXY protocol](crate::guide::transports#proxy-protocol-then-tls) in the guide,
    /// and the example of [`Rewind`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), std::io::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"CONNECT\nrest").await?;
    /// # drop(peer);
    /// use tokio::io::AsyncReadExt;
    ///
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// assert_eq!(channel.receive("\n").await?, "CONNECT");
    /// let mut io = channel.into_parts().rewind();
    /// let mut rest = String::new();
    /// io.read_to_string(&mut rest).await?;
    /// assert_eq!(rest, "rest");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn rewind(self) -> Rewind<T> {
        let (bytes, producers) = (self.unsent.len(), self.producers.len());
        if bytes > 0 || producers > 0 {
            tracing::warn!(target: "asynchat", bytes, producers, "rewound with output queued");
        }
        Rewind::new(self.read_buf, self.io)
    }
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

/// The error of [`Channel::upgrade`].
pub struct UpgradeError<T> {
    /// The reason.
    pub error: Error,
    /// The unchanged channel.
    ///
    /// It is `None` if making the new transport failed, because that consumed the old one.
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

/// # Conversions
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Creates a channel from a `Framed`, with the bytes that the `Framed` has buffered in both
    /// directions.
    ///
    /// The codec keeps its settings. All other settings are the defaults.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\ntwo\n").await.unwrap();
    /// use asynchat::{Channel, TerminatorCodec};
    /// use futures::StreamExt;
    /// use tokio_util::codec::Framed;
    ///
    /// let mut framed = Framed::new(io, TerminatorCodec::new("\n"));
    /// assert_eq!(framed.next().await.unwrap()?.data(), b"one");
    /// let mut channel = Channel::from_framed(framed);
    /// assert_eq!(channel.receive("\n").await?, "two");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [coming from `Framed`](crate::guide::coming_from_framed) in the guide.
    pub fn from_framed(framed: Framed<T, TerminatorCodec>) -> Self {
        // Taken apart: a `Framed` also remembers that its input has ended or failed, and
        // that must not return with `into_framed`.
        let parts = framed.into_parts();
        let builder = Channel::builder().codec(parts.codec).read_buf(parts.read_buf);
        let mut channel = builder.build(parts.io);
        channel.push(parts.write_buf.freeze());
        channel
    }

    /// Returns a `Framed` with the transport, the codec and the input of this channel.
    ///
    /// Each [`Pusher`](crate::Pusher) then reports that the channel is closed.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let channel = asynchat::Channel::new(io, "\n");
    /// let framed = channel.into_framed().expect("output is queued");
    /// assert!(framed.read_buffer().is_empty());
    /// ```
    ///
    /// # Errors
    ///
    /// The channel is returned if output, a close or a flush of a [`Pusher`](crate::Pusher) is
    /// still queued, or if an error was not reported. A `Framed` cannot hold them, so
    /// [`flush`](Self::flush) the channel first.
    #[expect(clippy::result_large_err, reason = "the channel is what the caller had")]
    pub fn into_framed(mut self) -> Result<Framed<T, TerminatorCodec>, Channel<T>> {
        let is_settled = self.writer.is_settled() && !self.reader.has_failure();
        // In one step, or a push in between would be lost.
        if !is_settled || self.inbox.as_mut().is_some_and(|inbox| !inbox.close_if_empty()) {
            self.drain_inbox();
            return Err(self);
        }
        let mut framed = self.framed;
        if !framed.read_buffer().is_empty() {
            // Only then it decodes what is buffered before it reads.
            framed = framed.map_codec(|codec| codec);
        }
        framed.set_backpressure_boundary(FRAMED_BOUNDARY);
        Ok(framed)
    }

    /// Replaces the transport with one that `make` creates from it, for example for STARTTLS.
    ///
    /// Queued output is sent first. The channel keeps its settings, its terminator and its
    /// [`Pusher`]s, and restarts its timeouts. No timeout applies while `make` runs, so put a
    /// handshake with the peer in `tokio::time::timeout`. See
    /// [STARTTLS](crate::guide::transports#starttls) in the guide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    /// use tokio::io::BufStream;
    ///
    /// let mut channel = Channel::new(io, "\r\n");
    /// channel.push("220 Ready to start TLS\r\n");
    /// // Or `acceptor.accept(io)` of tokio-rustls.
    /// let channel = channel.upgrade(|io| async { Ok(BufStream::new(io)) }).await?;
    /// assert_eq!(channel.sent_bytes(), 24);
    /// # drop(peer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::UnreadInput`] if input is buffered, or a frame is partly read. That input was not
    ///   encrypted. To take it for input of the new transport would permit the command injection of
    ///   CVE-2011-0411. If the input does belong to the new transport, use [`Parts::rewind`].
    /// - The errors of [`flush`](Self::flush), if sending fails or the write half is closed.
    /// - [`Error::Io`] if `make` fails, or if the end of input has been read.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the channel is lost.
    ///
    /// [`Pusher`]: crate::Pusher
    pub async fn upgrade<U, F, Fut>(mut self, make: F) -> Result<Channel<U>, UpgradeError<T>>
    where
        F: FnOnce(T) -> Fut,
        Fut: Future<Output = io::Result<U>>,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        // Nothing is read ahead: it could be the beginning of the new transport.
        let flushed = poll_fn(|cx| self.poll_flush_all(cx, false)).await;
        if let Err(error) = flushed.and_then(|()| self.check_upgrade()) {
            tracing::debug!(target: "asynchat", %error, "upgrade refused");
            return Err(UpgradeError { error, channel: Some(self) });
        }
        tracing::debug!(target: "asynchat", "upgrade");
        let Channel { framed, reader, mut writer, inbox, mut deadlines, .. } = self;
        let FramedParts { io, codec, .. } = framed.into_parts();
        let io = match make(io).await {
            Ok(io) => io,
            Err(e) => return Err(UpgradeError { error: Error::Io(e), channel: None }),
        };
        writer.begin_transport();
        if let Some(deadlines) = &mut deadlines {
            deadlines.restart();
        }
        Ok(Channel {
            framed: Framed::with_capacity(io, codec, 0),
            reader,
            writer,
            inbox,
            deadlines,
            wakers: Default::default(),
            linger: self.linger,
            linger_timed_out: self.linger_timed_out,
            corked: self.corked,
            pause_when_full: self.pause_when_full,
            run: self.run,
        })
    }

    fn check_upgrade(&self) -> Result<(), Error> {
        if !self.writer.is_open() {
            Err(Error::Closed)
        } else if !self.unread().is_empty() || self.codec().cutter.is_mid_frame() {
            Err(Error::UnreadInput)
        } else if let Some(timeout) = self.read_timeout() {
            Err(Error::Timeout(timeout))
        } else if !self.reader.is_open() {
            Err(Error::Io(io::ErrorKind::UnexpectedEof.into()))
        } else {
            Ok(())
        }
    }
}

impl<T> Channel<T> {
    /// Takes the channel apart, with everything that is buffered and queued.
    ///
    /// A requested close, or an error that was not reported, is lost. Each
    /// [`Pusher`](crate::Pusher) then reports that the channel is closed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\nrest").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// assert_eq!(channel.receive("\n").await?, "one");
    /// channel.push("unsent");
    /// let parts = channel.into_parts();
    /// assert_eq!((&parts.read_buf[..], &parts.unsent[..]), (&b"rest"[..], &b"unsent"[..]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn into_parts(mut self) -> Parts<T> {
        self.drain_inbox();
        if let Some(inbox) = &mut self.inbox {
            inbox.close_into(&mut self.writer);
        }
        let (unsent, producers) = self.writer.take();
        let FramedParts { io, codec, read_buf, .. } = self.framed.into_parts();
        Parts { io, codec, read_buf, unsent, producers }
    }

    /// Returns the `Framed` that holds the transport, the codec and the read buffer.
    #[must_use]
    pub fn framed(&self) -> &Framed<T, TerminatorCodec> {
        &self.framed
    }

    /// Returns the transport.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        self.framed.get_ref()
    }

    /// Returns the transport. Do not read from it or write to it, because the channel would not
    /// notice.
    pub fn get_mut(&mut self) -> &mut T {
        self.framed.get_mut()
    }
}

/// The backpressure boundary that a `Framed` has by default.
const FRAMED_BOUNDARY: usize = 8 * 1024;
