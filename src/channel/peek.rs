//! `Channel::peek`: returns input without consuming it.

use super::{Channel, Side};
use crate::Error;
use crate::codec::ReadMode;
use crate::read::InputGuard;
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Waits until at least `n` bytes are buffered, and returns all buffered bytes without
    /// consuming them.
    ///
    /// If input ends for any reason, `peek` returns fewer than `n` bytes. It does not report an
    /// error of the connection or a timeout: [`next`](Self::next) does, after the frames. If `n` is
    /// 0, `peek` never waits. The rest of a frame that is being skipped is not returned.
    ///
    /// The [`Timeouts`](crate::Timeouts) apply as in `next`. If some bytes are buffered, but fewer
    /// than `n`, they count as a frame that has begun.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"EHLO x\r\n").await.unwrap();
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\r\n");
    /// // No byte is there if the peer has closed or is late: `receive` reports that.
    /// let is_tls = channel.peek(1).await?.first() == Some(&0x16);
    /// assert!(!is_tls); // otherwise: `channel.into_parts().rewind()`, and a new channel
    /// assert_eq!(channel.receive("\r\n").await?, "EHLO x");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See [TLS or plain text](crate::guide::transports#tls-or-plain-text-by-the-first-byte)
    /// in the guide.
    ///
    /// # Errors
    ///
    /// [`Error::FrameTooLong`] if `n` exceeds [`max_length`](crate::TerminatorCodec::max_length).
    /// Nothing is read then.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed, and no timeout restarts.
    pub async fn peek(&mut self, n: usize) -> Result<&[u8], Error> {
        let limit = self.codec().max_length();
        if n > limit {
            return Err(Error::FrameTooLong { limit });
        }
        poll_fn(|cx| self.poll_side(cx, Side::Input, |it, cx| it.poll_peek(cx, n))).await;
        Ok(self.shown())
    }

    /// Ready if enough is buffered, or if no more input follows.
    fn poll_peek(&mut self, cx: &mut Context<'_>, n: usize) -> Poll<()> {
        let policy = self.policy(ReadMode::AsSet);
        // The next method finds what ends the input again, and reports it. An error that
        // is taken here could not be reported after the frames that precede it.
        self.poll_wait(cx, policy, |it| it.shows(n).then_some(())).map(drop)
    }
}

impl<T> Channel<T> {
    /// Drops the rest of a skipped frame. Returns `true` if at least `n` bytes are buffered then.
    fn shows(&mut self, n: usize) -> bool {
        if !self.reader.is_refused() {
            let mut guard = InputGuard::new(&mut self.framed);
            let (codec, input, consumed) = guard.input();
            *consumed = codec.cutter.skip(input);
        }
        self.shown().len() >= n
    }

    /// The buffered input, without the rest of a skipped frame.
    fn shown(&self) -> &[u8] {
        let is_shown = self.reader.is_refused() || !self.codec().is_skipping();
        if is_shown { self.unread() } else { &[] }
    }
}
