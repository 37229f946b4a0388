//! `Channel`: the end of a connection.

use super::{Channel, Side};
use crate::Error;
use crate::budget::CALL;
use crate::pusher::Inbox;
use crate::read::Read;
use bytes::BytesMut;
use futures_sink::Sink;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

/// # Closing
///
/// The [table of ways to close](Self#ways-to-close) compares these methods.
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Sends everything that is queued, and shuts the write half down. Input continues.
    ///
    /// To end the connection use [`close`](Self::close) instead. If you drop the channel while the
    /// peer is still sending, the kernel may reset the connection, and the last output may be lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// # tokio::spawn(async move {
    /// #     let request = peer.receive(None).await.unwrap();
    /// #     peer.push(request);
    /// #     peer.close().await
    /// # });
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push("request\n");
    /// channel.shutdown().await?; // the peer sees the end of its input
    /// assert_eq!(channel.receive("\n").await?, "request");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`flush`](Self::flush).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close and unsent output stay queued.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_close(cx)).await
    }

    /// Closes the connection so that the last output arrives.
    ///
    /// It sends everything that is queued, shuts the write half down, and waits until the peer has
    /// closed its side. Meanwhile the channel reads and drops input, because the kernel would reset
    /// a connection that is closed with unread input (RFC 9112, section 9.6). Afterwards
    /// [`next`](Self::next) returns `None`.
    ///
    /// [`linger`](crate::Builder::linger) limits the wait for the peer's close. If
    /// [`Timeouts::write`](crate::Timeouts::write) is not set, `linger` also limits how long the
    /// transport may accept nothing while output is pending. On a slow link set `Timeouts::write`
    /// to tens of seconds, because a full kernel buffer may accept nothing for that long although
    /// the peer reads.
    ///
    /// Neither limit ends a close while the peer reads a byte now and then. To limit the whole
    /// call, put it in `tokio::time::timeout`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let peer = tokio::spawn(async move {
    /// #     asynchat::Channel::new(peer, "\n").receive(None).await.unwrap()
    /// # });
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push("221 bye\n");
    /// channel.close().await?;
    /// assert!(!channel.linger_timed_out()); // the peer has closed, too
    /// assert_eq!(peer.await.unwrap(), "221 bye\n");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`flush`](Self::flush), and [`Error::Timeout`] if output remains when the time
    /// is over. If only the peer's close is missing then, `close` returns `Ok`, and
    /// [`linger_timed_out`](Self::linger_timed_out) returns `true`.
    ///
    /// # Panics
    ///
    /// If the runtime has no timer, unless `linger` is zero.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and the time limit does not restart.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_when_done();
        poll_fn(|cx| self.poll_side(cx, Side::Output, Self::poll_close_all)).await
    }

    /// Sends, and then reads and drops input until the peer has closed or the time is over.
    pub(crate) fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let linger = Some(self.linger).filter(|linger| !linger.is_zero());
        // Its waker is registered; whether output is over is asked below.
        let _sent = self.poll_send(cx, linger);
        // All the while input is dropped: the peer may write before it reads.
        let ended = self.poll_discard(cx);
        if !self.writer.is_closed() {
            return Poll::Pending;
        }
        let lingers = ended.is_pending() && !self.writer.has_failed();
        if let Some(linger) = linger.filter(|_| lingers) {
            ready!(self.poll_linger(cx, linger));
        }
        Poll::Ready(self.writer.result())
    }

    /// Reads and drops input. Ready when it is over.
    // Not through the codec: nobody takes a frame after the close.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.reader.discard() {
            *self.framed.read_buffer_mut() = BytesMut::new();
            self.framed.codec_mut().cutter.forget();
        }
        loop {
            if !self.reader.is_discarding() {
                return Poll::Ready(());
            }
            if self.reader.budget.is_exhausted() {
                return self.reader.budget.poll_yield(cx);
            }
            let read = ready!(self.reader.poll_read(cx, &mut self.framed, usize::MAX));
            self.reader.budget.spend(CALL);
            self.reader.budget.spend(self.unread().len());
            self.framed.read_buffer_mut().clear();
            match read {
                // Everything is sent. The way in which the peer goes is its own.
                Read::Broken(_) if self.writer.is_closed() => {}
                read => self.note_break(read),
            }
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>, linger: Duration) -> Poll<()> {
        let deadlines = self.deadlines.get_or_insert_default();
        // Farther away than the clock goes: never.
        let Some(due) = deadlines.linger_due(Instant::now(), linger) else { return Poll::Pending };
        ready!(deadlines.poll_until(cx, due));
        tracing::debug!(target: "asynchat", "linger timed out");
        self.linger_timed_out = true;
        self.reader.end_discarding();
        Poll::Ready(())
    }
}

impl<T> Channel<T> {
    /// Queues a shutdown of the write half, after everything queued so far.
    ///
    /// The next method that is awaited performs it. Input continues until it ends, except that
    /// [`run`](Self::run) delivers no further frame. From now on the `Sink` returns
    /// [`Error::Closed`], and a [`Pusher`](crate::Pusher) returns an error with its data.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// channel.push("bye\n");
    /// channel.close_when_done();
    /// channel.flush().await?; // sends the line, and shuts down
    /// assert_eq!(peer.receive(None).await?, "bye\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_when_done(&mut self) {
        Inbox::close_when_done(&mut self.inbox, &mut self.writer);
    }

    /// Returns `true` if [`close`](Self::close) or [`run`](Self::run) has sent everything, but the
    /// peer did not close its side in time.
    #[must_use]
    pub fn linger_timed_out(&self) -> bool {
        self.linger_timed_out
    }
}
