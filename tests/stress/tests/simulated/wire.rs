//! A simulated TCP stream as a kernel would have it: one that nothing comes
//! through is given up after a while.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use turmoil::net::TcpStream;

pub(crate) struct Wire {
    tcp: TcpStream,
    /// The most bytes of one segment.
    segment: usize,
    given_up: Pin<Box<Sleep>>,
    read: Rc<Cell<u64>>,
}

impl Wire {
    /// `read` is how many bytes it has given.
    pub(crate) fn new(tcp: TcpStream, segment: usize, read: Rc<Cell<u64>>) -> Self {
        read.set(0);
        Wire { tcp, segment, given_up: Box::pin(tokio::time::sleep(PATIENCE)), read }
    }

    /// What is still waited for, unless it is for too long. The simulation has
    /// neither retransmission nor keep-alive, and tells nobody who waits to
    /// write that the connection was reset.
    fn progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.given_up.as_mut().reset(Instant::now() + PATIENCE);
            return done;
        }
        ready!(self.given_up.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.read.set(self.read.get() + (buf.filled().len() - before) as u64);
        self.progress(cx, done)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = buf.len().min(self.segment);
        let done = Pin::new(&mut self.tcp).poll_write(cx, &buf[..most]);
        self.progress(cx, done)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The simulation loses the end of a stream if the peer's buffer is full.
        let room = pin!(self.tcp.writable()).poll(cx);
        ready!(self.progress(cx, room))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// How long a connection may stand still.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
