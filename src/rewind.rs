use bytes::{Buf, BytesMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io, io::IoSlice};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that first returns input that was read before.
///
/// [`Parts::rewind`](crate::Parts::rewind) creates it. Writes go directly to the transport.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # use tokio::io::AsyncWriteExt;
/// # let (io, mut peer) = tokio::io::duplex(64);
/// # peer.write_all(b"PROXY UNKNOWN\r\nhello\n").await.unwrap();
/// use asynchat::{Channel, Rewind};
///
/// let mut channel = Channel::new(io, "\r\n");
/// assert_eq!(channel.receive("\r\n").await?, "PROXY UNKNOWN");
/// let io: Rewind<_> = channel.into_parts().rewind(); // for `TlsAcceptor::accept`, say
/// let mut channel = Channel::new(io, "\n");
/// assert_eq!(channel.receive("\n").await?, "hello");
/// # Ok(())
/// # }
/// ```
pub struct Rewind<T> {
    /// The input to return first. Its memory is freed with the last byte.
    read_buf: BytesMut,
    io: T,
}

impl<T> Rewind<T> {
    pub(crate) fn new(read_buf: BytesMut, io: T) -> Self {
        Rewind { read_buf, io }
    }

    /// Returns the inner transport. Reading from it skips the input that is not yet returned.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// Returns the inner transport.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Returns the input that is not yet returned, and the inner transport.
    #[must_use]
    pub fn into_inner(self) -> (BytesMut, T) {
        (self.read_buf, self.io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_buf.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let (first, _) = self.read_buf.split_at(buf.remaining().min(self.read_buf.len()));
        let n = first.len();
        buf.put_slice(first);
        self.read_buf.advance(n);
        if self.read_buf.is_empty() {
            self.read_buf = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for Rewind<T> {
    /// Shows a length, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewind").field("read_buf", &self.read_buf.len()).finish_non_exhaustive()
    }
}
