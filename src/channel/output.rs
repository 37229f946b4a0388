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

impl<T> Channel<T> {
    /// Queues raw bytes. Never waits.
    ///
    /// The bytes are owned or `'static`; for borrowed ones, `b"…"` literals too, there is
    /// [`push_slice`](Self::push_slice). The next method that is awaited on this channel
    /// sends them, unless it is [corked](crate::Builder::corked). After a close they are dropped,
    /// with a `warn` event.
    ///
    /// Where the peer decides how much you push, await [`ready`](Self::ready) first, or
    /// use the `Sink`.
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.writer.push(data.into());
    }

    /// Queues a copy of raw bytes. The cheapest way for small ones.
    pub fn push_slice(&mut self, data: &[u8]) {
        self.writer.push_slice(data);
    }

    /// Queues formatted text as raw bytes. Never waits.
    ///
    /// It is formatted straight into the queue, without a `String`. A `Display`
    /// implementation must not fail: what it has written before is sent, with a `warn` event.
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

    /// Queues one frame, as the `Sink` does. Never waits.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// # let key = "key";
    /// use asynchat::{Channel, Error, Terminator};
    ///
    /// let mut channel = Channel::builder().encode_terminator(Terminator::crlf()).build(io);
    /// channel.push_frame(format!("GET {key}"))?;
    /// # assert!(matches!(channel.push_frame("GET \r\nDELETE"), Err(Error::TerminatorInContent)));
    /// # channel.discard_buffers();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if it would not be read back as this one frame;
    /// [`Error::Closed`] after a close. Nothing is queued then.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.writer.push_frame(self.framed.codec(), content.into())
    }

    /// Queues a producer: a stream of chunks, sent raw, in its turn.
    ///
    /// The module [`producer`](crate::producer) has ready-made ones. A producer is polled
    /// only when it is first in the queue and there is capacity. It is dropped once:
    /// exhausted, failed, discarded or with the channel. If it fails, the queue is cleared,
    /// the write half is closed, and the error is reported once as [`Error::Producer`].
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.writer.push_producer(boxed(producer));
    }

    /// Returns a handle that pushes into this channel from other tasks.
    pub fn pusher(&mut self) -> Pusher {
        let pusher = Inbox::pusher(&mut self.inbox, &self.writer);
        if let (RunState::Over { .. }, Some(inbox)) = (&self.run, &mut self.inbox) {
            // `run` has ended the connection.
            drop(inbox.close());
        }
        pusher
    }

    /// Drops everything buffered, in both directions. For emergencies only.
    ///
    /// Undelivered input is dropped, whole frames included, and so is unsent output, which
    /// may cut one of your messages in two. The rest of an unfinished frame is skipped when
    /// it arrives, through the current terminator. A requested close stays.
    ///
    /// A write that the transport has not finished must be retried with the same bytes.
    /// Up to 16 KiB of it stay queued and are sent before anything else.
    pub fn discard_buffers(&mut self) -> Discarded {
        let input_bytes = self.discard_input();
        // A pusher may have aborted.
        self.drain_inbox();
        Discarded::new(input_bytes, &mut self.lend_with_framed().1)
    }

    /// Returns what is queued and not sent, as counted against the high-water mark.
    ///
    /// Each chunk counts its length plus 64 bytes, and a producer 1 KiB; small pushes are
    /// gathered into chunks. [`Pusher::flush`] and
    /// [`Control::pause_until_sent`](crate::Control::pause_until_sent) count 64 bytes until
    /// they are reached. Data of a [`Pusher`] counts when the channel is next polled.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.writer.queued()
    }

    /// Returns how many bytes the transport has taken since the channel was created.
    ///
    /// It tells a peer that reads slowly from one that does not read.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.writer.sent()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Waits until there is capacity for output.
    ///
    /// Await it where the peer decides how much you push: a peer that sends and never
    /// reads the answers then has to wait, too. It sends only if there is no capacity, and
    /// reads only to notice a broken connection. There is capacity until
    /// [`queued_bytes`](Self::queued_bytes) has reached the high-water mark, and again when
    /// it has sunk to the low one.
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
    /// While only producers are waited for, up to one `in_buffer_size` is read ahead to
    /// notice a broken connection. It does not end before the last producer does.
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
