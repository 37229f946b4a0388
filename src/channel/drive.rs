//! `Channel::drive`: the connection continues while the owner awaits something else.

use super::{Channel, Side};
use crate::Error;
use crate::budget::{CALL, FRAME};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// # Awaiting other work
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Awaits `future`, and sends output meanwhile. Returns the value of `future`.
    ///
    /// Use this for the work between a request and its answer, as in [a slow
    /// query](crate::guide::tasks#a-slow-query-between-a-request-and-its-answer) in the guide. The
    /// channel also sends data of a [`Pusher`](crate::Pusher) and [corked](super::Builder::corked)
    /// output. It returns no frame, and reads at most one `in_buffer_size` ahead, to notice a
    /// broken connection. [`Timeouts::frame`] is paused, and [`Timeouts::idle`] begins afterwards.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// # peer.push("GET\n");
    /// # peer.flush().await?;
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let request = channel.receive("\n").await?;
    /// pusher.push("news\n").await.unwrap();
    /// let query = async {
    ///     tokio::task::yield_now().await; // or a slow database
    ///     "answer\n"
    /// };
    /// let answer = channel.drive(query).await?; // sends the news
    /// channel.push(answer);
    /// channel.flush().await?;
    /// assert_eq!(peer.receive("\n").await?, "news");
    /// assert_eq!(peer.receive("\n").await?, "answer");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `future` cannot use the channel itself, so pass a `Pusher` to it. Inside `drive`, awaiting a
    /// push or a flush of this `Pusher` cannot deadlock, because the channel sends.
    ///
    /// The end of input does not end `drive`, and neither does a read error that leaves the output
    /// intact. [`next`](Self::next) reports both. After [`shutdown`](Self::shutdown), `drive` only
    /// watches the input.
    ///
    /// # Errors
    ///
    /// In each of these cases, `future` is dropped, and the error is returned once:
    ///
    /// - [`Error::Io`] if the connection breaks. With more than one `in_buffer_size` of unread
    ///   input, and after a [`Timeout`](crate::Timeout) of the input, only a write detects this.
    /// - [`Error::Timeout`] if output stalls for longer than [`Timeouts::write`].
    /// - [`Error::Producer`] if a producer fails.
    /// - [`Error::Aborted`] if a `Pusher` aborts.
    /// - [`Error::Closed`] if an earlier failure of the connection was already reported.
    ///
    /// Afterwards `next` returns the frames that arrived before the failure (none after an abort),
    /// and then `None`. If the connection has failed before the call, `future` is not polled. If
    /// `future` completes in the same poll as a failure, its value is returned, and the next method
    /// reports the failure.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe for the channel: no byte is lost in either direction. `future` is dropped
    /// together with the future of this method.
    ///
    /// [`Timeouts::frame`]: crate::Timeouts::frame
    /// [`Timeouts::idle`]: crate::Timeouts::idle
    /// [`Timeouts::write`]: crate::Timeouts::write
    pub async fn drive<F: Future>(&mut self, future: F) -> Result<F::Output, Error> {
        // First of all, or it would lie in this future twice.
        let mut future = pin!(future);
        poll_fn(|cx| self.poll_begin(cx)).await?;
        poll_fn(|cx| self.poll_drive(cx, future.as_mut())).await
    }

    /// Ready if this task may continue, and the connection has not failed.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.writer.budget.is_exhausted() || self.reader.budget.is_exhausted() {
            self.reader.budget.restart();
            return self.writer.budget.poll_yield(cx);
        }
        // For a future that is ready at once: then nothing below can yield.
        self.writer.budget.spend(FRAME);
        self.drain_inbox();
        Poll::Ready(self.take_break().map_or(Ok(()), Err))
    }

    fn poll_drive<F: Future>(
        &mut self,
        cx: &mut Context<'_>,
        future: Pin<&mut F>,
    ) -> Poll<Result<F::Output, Error>> {
        let _connection = self.poll_side(cx, Side::Output, Self::poll_connection);
        // Polled in any case: work that is done is not thrown away.
        if let Poll::Ready(output) = future.poll(cx) {
            self.wakers.leave(Side::Output, cx.waker(), false);
            return Poll::Ready(Ok(output));
        }
        match self.take_break() {
            Some(error) => {
                self.wakers.leave(Side::Output, cx.waker(), false);
                Poll::Ready(Err(error))
            }
            None => {
                self.writer.budget.restart();
                self.reader.budget.restart();
                // The connection or the future wakes the task.
                Poll::Pending
            }
        }
    }

    /// Sends, and reads ahead. Never ready.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let before = self.writer.sent() + self.reader.received();
        self.drain_inbox();
        // Its waker is registered; a failure is asked for afterwards.
        let _sent = self.poll_send(cx, None);
        self.pause_clocks(false);
        let _broke = self.poll_read_ahead(cx);
        let moved = self.writer.sent() + self.reader.received() - before;
        self.writer.budget.spend(CALL);
        self.writer.budget.spend(moved as usize);
        self.release_buffers();
        Poll::Pending
    }

    /// Takes the error of a connection that has failed in either direction.
    fn take_break(&mut self) -> Option<Error> {
        if self.writer.is_broken() {
            return Some(self.writer.take_failure().unwrap_or(Error::Closed));
        }
        let broke = self.reader.take_break().map(Error::Io);
        broke.or_else(|| self.reader.has_broken().then_some(Error::Closed))
    }
}
