use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A reader and a writer as one transport.
///
/// Use this for the pipes of a child process. Their `poll_shutdown` does nothing, so the child sees
/// the end of its input only when the pipe is dropped. `Pipe` therefore drops the writer at its
/// shutdown. Later writes fail with [`BrokenPipe`](io::ErrorKind::BrokenPipe).
///
/// If a child writes its output only after the end of its input, as `sort` does, call
/// [`shutdown`](crate::Channel::shutdown) and then `receive(None)`.
///
/// ```
/// # #[cfg(unix)]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use asynchat::{Channel, Pipe};
/// use std::process::Stdio;
/// use tokio::process::Command;
///
/// let mut child =
///     Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let (stdout, stdin) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
/// let mut channel = Channel::new(Pipe::new(stdout, stdin), "\n");
/// channel.push("hello\n");
/// assert_eq!(channel.receive("\n").await?, "hello");
/// channel.close().await?; // `cat` ends
/// drop(channel); // or a child that still writes would wait for its pipe
/// assert!(child.wait().await?.success());
/// # Ok(())
/// # }
/// # #[cfg(not(unix))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Pipe<R, W> {
    reader: R,
    /// `None` when it has been shut down.
    writer: Option<W>,
}

impl<R, W> Pipe<R, W> {
    /// Creates a transport that reads from `reader` and writes to `writer`.
    pub fn new(reader: R, writer: W) -> Self {
        Pipe { reader, writer: Some(writer) }
    }

    /// Returns the reader and the writer. The writer is `None` after its shutdown.
    pub fn into_inner(self) -> (R, Option<W>) {
        (self.reader, self.writer)
    }
}

impl<R: Unpin, W: Unpin> Pipe<R, W> {
    fn writer(&mut self) -> io::Result<Pin<&mut W>> {
        self.writer.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Pipe<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Pipe<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writer.is_some() {
            ready!(self.writer()?.poll_shutdown(cx))?;
            self.writer = None;
        }
        Poll::Ready(Ok(()))
    }
}
