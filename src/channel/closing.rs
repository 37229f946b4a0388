//! `Channel`: the end of a connection.

use super::{Channel, Side};
use crate::Error;
use crate::pusher::Inbox;
use futures::Sink;
use std::future::poll_fn;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// # Closing
///
/// The [table of ways to close](Self#ways-to-close) compares these methods.
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Sends everything that is queued and shuts the write half down. Input goes on.
    ///
    /// To end the connection use [`close`](Self::close): if you drop the channel while the
    /// peer is still sending, the kernel may reset the connection and destroy the output in
    /// flight.
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
    /// As [`flush`](Self::flush).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and so does output that is not sent.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_close(cx)).await
    }

    /// Closes the connection so that the last output arrives.
    ///
    /// It sends everything that is queued, shuts the write half down, and waits until the
    /// peer has closed its side. Meanwhile it reads, and drops the input, because a kernel
    /// resets the connection if a socket with unread input is closed (RFC 9112, section 9.6).
    /// Input is over: [`next`](Self::next) returns `None` afterwards.
    ///
    /// [`linger`](crate::Builder::linger) limits how long it waits for the peer's close. If
    /// [`Timeouts::write`](crate::Timeouts::write) is not set, `linger` also limits how long
    /// output may wait for a transport that accepts nothing. A kernel accepts nothing until a
    /// third of its send buffer is free, however steadily the peer reads. On a slow link set
    /// `Timeouts::write` to tens of seconds.
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
    /// As [`flush`](Self::flush), and [`Error::Timeout`] if output remains. If only the
    /// peer's close is missing, it returns `Ok`, and
    /// [`linger_timed_out`](Self::linger_timed_out) is `true`.
    ///
    /// # Panics
    ///
    /// In a runtime without a timer, unless `linger` is zero.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and the time goes on.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_when_done();
        poll_fn(|cx| self.poll_side(cx, Side::Output, Self::poll_close_all)).await
    }
}

impl<T> Channel<T> {
    /// Queues a shutdown: the write half is closed after everything queued so far is sent.
    ///
    /// The next method that is awaited carries it out. Input goes on until it ends; only
    /// [`run`](Self::run) delivers no further frame. From now on the `Sink` returns
    /// [`Error::Closed`], and a [`Pusher`](crate::Pusher) returns its data.
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

    /// Returns `true` if [`close`](Self::close) or [`run`](Self::run) sent everything and the
    /// peer did not close its side in time.
    #[must_use]
    pub fn linger_timed_out(&self) -> bool {
        self.linger_timed_out
    }
}
