//! `Channel`: its output.

use super::{Channel, Discarded, RunState};
use crate::budget::{CALL, FRAME};
use crate::producer::boxed;
use crate::pusher::Inbox;
use crate::{Error, Pusher};
use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// # Output
///
/// The methods that push never wait. The next method that is awaited sends the pushed data.
impl<T> Channel<T> {
    /// Queues raw bytes.
    ///
    /// The bytes are owned or `'static`. For borrowed bytes and `b"…"` literals use
    /// [`push_slice`](Self::push_slice). A [corked](crate::Builder::corked) channel may send them
    /// later. After a close, the bytes are dropped with a `warn` event.
    ///
    /// If the peer determines how much you push, await [`ready`](Self::ready) first, or use the
    /// `Sink`. See [backpressure](crate::guide::output#backpressure) in the guide.
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
    /// This is the cheapest way to push a few bytes. In other respects it is like
    /// [`push`](Self::push).
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
    /// The text is formatted straight into the queue, without a `String`. If a `Display`
    /// implementation fails, the text that it wrote before is sent, with a `warn` event.
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

    /// Queues one frame followed by `encode_terminator`, as the `Sink` does, but never waits.
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
    /// [`Error::TerminatorInContent`] if the content would not be read back as exactly one frame,
    /// and [`Error::Closed`] after a close. In both cases nothing is queued.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.writer.push_frame(self.framed.codec(), content.into())
    }

    /// Queues a producer, which is a stream of chunks that are sent raw.
    ///
    /// The channel polls a producer only when it is first in the queue and there is capacity. The
    /// module [`producer`](crate::producer) has ready-made ones, and the
    /// [guide](crate::guide::producers) has recipes.
    ///
    /// A producer is dropped as soon as it is exhausted, fails or is discarded, and otherwise with
    /// the channel. If a producer fails, the channel clears its queue, closes the write half, and
    /// reports the error once as [`Error::Producer`].
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
    /// Use this for emergencies only, because dropping unsent output may cut one of your messages
    /// in two. Undelivered input is dropped, including whole frames. When the rest of an unfinished
    /// frame arrives, the channel skips it through the current terminator. A requested close stays
    /// queued.
    ///
    /// If the transport has a pending write, the channel must retry it with the same bytes. Up to
    /// 16 KiB of that write therefore stay queued, and are sent before anything else.
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
        self.lend_with_framed().1.discard_output(input_bytes)
    }

    /// Returns the number of queued bytes, as counted against the high-water mark.
    ///
    /// Each chunk counts as its length plus 64 bytes, and a producer as 1 KiB. Small pushes are
    /// gathered into chunks. [`Pusher::flush`] and
    /// [`Control::pause_until_sent`](crate::Control::pause_until_sent) count as 64 bytes until the
    /// output before them is sent. Data of a [`Pusher`] counts from the next poll of the channel
    /// on.
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
    /// If output is pending and this number grows, the peer reads slowly. If it does not grow, the
    /// peer does not read.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.writer.sent()
    }
}

/// Methods that wait for output.
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Waits until there is capacity for more output.
    ///
    /// Await this before or after each push if the peer determines how much you push. A peer that
    /// sends and never reads the answers then has to wait, too. There is capacity until
    /// [`queued_bytes`](Self::queued_bytes) reaches the high-water mark, and again when it has
    /// fallen to the low-water mark.
    ///
    /// `ready` sends only if there is no capacity, and reads only to notice a broken connection.
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
    /// The same as [`flush`](Self::flush), and [`Error::Closed`] after a close.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: unsent output stays queued.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await
    }

    /// Sends everything that is queued, and flushes the transport.
    ///
    /// This includes waiting for producers that are not ready. Meanwhile the channel reads at most
    /// one `in_buffer_size` ahead, to notice a broken connection.
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
    /// [`Error::Io`], [`Error::Producer`], [`Error::Timeout`] or [`Error::Aborted`], once, if
    /// sending fails. Afterwards [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: unsent output stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// Sends everything that is queued, and reads only to notice a break.
    pub(super) fn poll_flush_all(
        &mut self,
        cx: &mut Context<'_>,
        reads_ahead: bool,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_output(cx, reads_ahead));
        self.writer.release();
        Poll::Ready(self.writer.result())
    }

    /// Ready if there is capacity for more output.
    pub(super) fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.writer.budget.is_exhausted() {
            return self.writer.budget.poll_yield(cx);
        }
        // For the item that is pushed next.
        self.writer.budget.spend(FRAME);
        // A pusher may have aborted.
        self.drain_inbox();
        let sent = if !self.writer.is_open() || !self.writer.has_capacity() {
            self.poll_output(cx, true)
        } else if self.writer.is_fresh() || self.writer.has_marks() {
            // What the transport holds is flushed; nobody waits for that here.
            self.poll_send(cx, None)
        } else {
            Poll::Ready(())
        };
        let is_full = self.writer.is_open() && !self.writer.has_capacity();
        let is_failing = self.writer.has_failed() && !self.writer.is_closed();
        // What has yielded did so for the caller, which may never wait otherwise.
        if sent.is_pending() && (is_full || is_failing || self.writer.has_yielded()) {
            return Poll::Pending;
        }
        self.writer.result()?;
        Poll::Ready(if self.writer.is_open() { Ok(()) } else { Err(Error::Closed) })
    }

    /// Sends, for a caller that waits only for output.
    fn poll_output(&mut self, cx: &mut Context<'_>, reads_ahead: bool) -> Poll<()> {
        if self.writer.budget.is_exhausted() {
            return self.writer.budget.poll_yield(cx);
        }
        let before = self.writer.sent();
        let sent = self.poll_send(cx, None);
        self.writer.budget.spend(CALL);
        self.writer.budget.spend((self.writer.sent() - before) as usize);
        if sent.is_ready() {
            return sent;
        }
        self.pause_clocks(self.wakers.input_waits_elsewhere(cx.waker()));
        self.writer.budget.restart();
        if reads_ahead && !self.writer.is_blocked() {
            return self.poll_read_ahead(cx);
        }
        Poll::Pending
    }
}
