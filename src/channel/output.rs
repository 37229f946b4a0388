//! `Channel`: its output.

use super::{Channel, Discarded, RunState};
use crate::producer::boxed;
use crate::pusher::Inbox;
use crate::{Error, Pusher};
use bytes::Bytes;
use futures::{Sink, Stream};
use std::future::poll_fn;
use std::pin::Pin;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// # Output
///
/// The methods that push never wait, and the next method that is awaited sends.
impl<T> Channel<T> {
    /// Queues raw bytes.
    ///
    /// The bytes are owned or `'static`. For borrowed bytes and `b"…"` literals use
    /// [`push_slice`](Self::push_slice). The next method that is awaited on this channel
    /// sends them, unless it is [corked](crate::Builder::corked). After a close they are
    /// dropped, with a `warn` event.
    ///
    /// A push never waits. If the peer decides how much you push, await
    /// [`ready`](Self::ready) first, or use the `Sink`: see
    /// [backpressure](crate::guide::output#backpressure) in the guide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// channel.push("hello, ");
    /// channel.push(format!("{}\n", "world"));
    /// channel.flush().await?;
    /// # let mut peer = Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await?, "hello, world");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.writer.push(data.into());
    }

    /// Queues a copy of raw bytes.
    ///
    /// It is the cheapest way to push small ones. Otherwise it is like [`push`](Self::push).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let body = [1, 2, 3];
    /// channel.push_slice(&[body.len() as u8]);
    /// channel.push_slice(&body);
    /// channel.flush().await?;
    /// # let mut peer = Channel::new(peer, "\n");
    /// assert_eq!(peer.receive(4).await?, &[3, 1, 2, 3][..]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn push_slice(&mut self, data: &[u8]) {
        self.writer.push_slice(data);
    }

    /// Queues formatted text as raw bytes.
    ///
    /// It is formatted straight into the queue, without a `String`. A `Display`
    /// implementation must not fail: the text that it wrote before is sent, with a `warn`
    /// event.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\r\n");
    /// channel.push_fmt(format_args!("RETR {}\r\n", 7));
    /// channel.flush().await?;
    /// # let mut peer = Channel::new(peer, "\r\n");
    /// assert_eq!(peer.receive("\r\n").await?, "RETR 7");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push_fmt(&mut self, args: fmt::Arguments<'_>) {
        self.writer.push_fmt(args);
    }

    /// Queues one frame with `encode_terminator`, as the `Sink` does, but never waits.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, Error, Terminator};
    ///
    /// let mut channel = Channel::builder().encode_terminator(Terminator::crlf()).build(io);
    /// channel.push_frame(format!("GET {}", "key"))?;
    /// let injected = channel.push_frame("GET \r\nDELETE");
    /// assert!(matches!(injected, Err(Error::TerminatorInContent)));
    /// # channel.discard_buffers();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if the content would not be read back as this one
    /// frame, and [`Error::Closed`] after a close. Nothing is queued then.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.writer.push_frame(self.framed.codec(), content.into())
    }

    /// Queues a producer, which is a stream of chunks that are sent raw.
    ///
    /// The channel polls it only when it is first in the queue and there is capacity. The
    /// module [`producer`](crate::producer) has ready-made ones, and the
    /// [guide](crate::guide::producers) has recipes.
    ///
    /// A producer is dropped once: when it is exhausted, has failed, is discarded, or with
    /// the channel. If it fails, the queue is cleared, the write half is closed, and the
    /// error is reported once as [`Error::Producer`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, producer};
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let file = std::io::Cursor::new("a file, "); // or a `tokio::fs::File`
    /// channel.push_with_producer(producer::from_reader(file));
    /// channel.push("and more\n");
    /// channel.flush().await?;
    /// # let mut peer = Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await?, "a file, and more");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.writer.push_producer(boxed(producer));
    }

    /// Returns a handle that pushes into this channel from other tasks.
    ///
    /// See [`Pusher`] and [tasks](crate::guide::tasks) in the guide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// tokio::spawn(async move { channel.next().await.is_none() }); // the owner
    /// pusher.push("news\n").await.unwrap();
    /// # let mut peer = Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await?, "news");
    /// # Ok(())
    /// # }
    /// ```
    pub fn pusher(&mut self) -> Pusher {
        let pusher = Inbox::pusher(&mut self.inbox, &self.writer);
        if let (RunState::Over { .. }, Some(inbox)) = (&self.run, &mut self.inbox) {
            // `run` has ended the connection.
            drop(inbox.close());
        }
        pusher
    }

    /// Drops everything buffered, in both directions.
    ///
    /// It is for emergencies only, because dropping unsent output may cut one of your
    /// messages in two. Undelivered input is dropped, whole frames included. The rest of an
    /// unfinished frame is skipped when it arrives, through the current terminator. A
    /// requested close stays.
    ///
    /// A write that the transport has not finished must be retried with the same bytes. Up to
    /// 16 KiB of it stay queued and are sent before anything else.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push("never sent\n");
    /// let discarded = channel.discard_buffers();
    /// assert_eq!(discarded.output_bytes, 11);
    /// ```
    pub fn discard_buffers(&mut self) -> Discarded {
        let input_bytes = self.discard_input();
        // A pusher may have aborted.
        self.drain_inbox();
        Discarded::new(input_bytes, &mut self.lend_with_framed().1)
    }

    /// Returns the size of the queued output, as counted against the high-water mark.
    ///
    /// Each chunk counts its length plus 64 bytes, and a producer 1 KiB; small pushes are
    /// gathered into chunks. [`Pusher::flush`] and
    /// [`Control::pause_until_sent`](crate::Control::pause_until_sent) count 64 bytes until
    /// they are reached. Data of a [`Pusher`] counts when the channel is next polled.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push(vec![b'x'; 1000]);
    /// assert_eq!(channel.queued_bytes(), 1064);
    /// # channel.discard_buffers();
    /// ```
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.writer.queued()
    }

    /// Returns the number of bytes that the transport has accepted since the channel was
    /// created.
    ///
    /// If it grows, the peer reads slowly; if it does not, the peer does not read.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.writer.sent()
    }
}

/// Methods that wait for output.
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Waits until there is capacity for output.
    ///
    /// Await it if the peer decides how much you push. A peer that sends and never reads the
    /// answers then has to wait, too. There is capacity until
    /// [`queued_bytes`](Self::queued_bytes) has reached the high-water mark, and again when
    /// it has sunk to the low-water mark.
    ///
    /// It sends only if there is no capacity, and reads only to notice a broken connection.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # tokio::spawn(async move { asynchat::Channel::new(peer, None).receive(None).await });
    /// let mut channel = asynchat::Channel::builder().high_water(1000).low_water(100).build(io);
    /// for _ in 0..100 {
    ///     channel.push(vec![b'x'; 100]);
    ///     channel.ready().await?;
    ///     assert!(channel.queued_bytes() < 1000);
    /// }
    /// # channel.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [backpressure](crate::guide::output#backpressure) in the guide.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush), and [`Error::Closed`] after a close.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: output that is not sent stays queued.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await
    }

    /// Sends everything that is queued, and flushes the transport.
    ///
    /// It waits for producers that are not ready, and meanwhile reads up to one
    /// `in_buffer_size` ahead to notice a broken connection.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push("hello\n");
    /// channel.flush().await?;
    /// assert_eq!((channel.queued_bytes(), channel.sent_bytes()), (0, 6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Producer`], [`Error::Timeout`] or [`Error::Aborted`] if
    /// sending fails, once; afterwards [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: output that is not sent stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }
}
