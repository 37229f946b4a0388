//! A transport whose fate is decided outside, and who is woken by it.

use super::input::{Input, Steps};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The peer's side of it is its fields.
pub struct Io {
    /// What the peer sends; as far as `sent` it can be read.
    pub input: Vec<u8>,
    pub sent: usize,
    /// What was read of it.
    pub arrived: Arc<AtomicUsize>,
    /// What comes when all of that was read; otherwise reading waits.
    pub end: Option<End>,
    /// Whether the end was read.
    pub ended: bool,
    /// How many bytes can be written before writing waits.
    pub room: usize,
    /// And how many by one call: one more after every 16, or most of the time
    /// would go into one write like the other.
    pub at_once: usize,
    writes: usize,
    pub write_error: bool,
    /// A write, a flush or the shutdown has failed.
    pub broke: bool,
    /// Whether flush and shutdown wait.
    pub stuck: bool,
    pub vectored: bool,
    pub written: Vec<u8>,
    /// The length of `written`, for producers to look at.
    pub taken: Arc<AtomicUsize>,
    pub flushed: usize,
    pub shutdowns: usize,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    /// Since it was last set to 0.
    pub calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Eof,
    Error,
}

impl Io {
    pub fn new(input: &[u8]) -> Self {
        Io {
            input: input.to_vec(),
            sent: 0,
            arrived: Arc::default(),
            end: None,
            ended: false,
            room: usize::MAX,
            at_once: usize::MAX,
            writes: 0,
            write_error: false,
            broke: false,
            stuck: false,
            vectored: true,
            written: vec![],
            taken: Arc::default(),
            flushed: 0,
            shutdowns: 0,
            reader: None,
            writer: None,
            calls: 0,
        }
    }

    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// `n` more bytes come from the peer.
    pub fn send(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n).min(self.input.len());
        self.wake();
    }

    /// Whether `waker` waits to read, and to write.
    pub fn will_wake(&self, waker: &Waker) -> (bool, bool) {
        let is_it = |waiting: &Option<Waker>| waiting.as_ref().is_some_and(|w| w.will_wake(waker));
        (is_it(&self.reader), is_it(&self.writer))
    }

    /// Whoever waits may try again.
    pub fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Nothing waits any more.
    pub fn let_go(&mut self) {
        self.sent = self.input.len();
        self.end = self.end.or(Some(End::Eof));
        (self.room, self.at_once, self.stuck) = (usize::MAX, usize::MAX, false);
        self.wake();
    }

    /// What the peer does next: it sends, reads, or both.
    pub fn fate(&mut self, steps: &mut Steps, fates: &mut Input<'_>) {
        let what = fates.byte() & 3;
        if what != 1 {
            self.room = self.room.saturating_add(steps.size());
        }
        self.send(if what == 2 { 0 } else { steps.size() });
    }

    fn call(&mut self) {
        self.calls += 1;
        assert!(self.calls < 1_000_000, "one poll goes on for ever");
    }

    /// Fails if writing is to: once, for nobody may go on behind that.
    fn breaks(&mut self) -> io::Result<()> {
        assert!(!self.broke, "used after it failed");
        self.broke = self.write_error;
        if self.broke { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn wait<R>(&mut self, cx: &mut Context<'_>) -> Poll<R> {
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn write<'b>(
        &mut self,
        cx: &mut Context<'_>,
        slices: impl Iterator<Item = &'b [u8]>,
    ) -> Poll<io::Result<usize>> {
        self.call();
        assert_eq!(self.shutdowns, 0, "written after the shutdown");
        self.breaks()?;
        if self.room == 0 {
            return self.wait(cx);
        }
        let mut left = self.room.min(self.at_once.saturating_add(self.writes / 16));
        self.writes += 1;
        let before = self.written.len();
        for slice in slices {
            let piece = &slice[..slice.len().min(left)];
            self.written.extend_from_slice(piece);
            left -= piece.len();
        }
        let n = self.written.len() - before;
        assert!(n > 0, "a write of nothing");
        self.room = if self.room == usize::MAX { self.room } else { self.room - n };
        self.taken.store(self.written.len(), Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.call();
        assert!(!self.ended, "read after the end");
        let from = self.arrived();
        let n = (self.sent - from).min(buf.remaining());
        if n == 0 && from == self.input.len() {
            if let Some(end) = self.end {
                self.ended = true;
                return Poll::Ready(match end {
                    End::Eof => Ok(()),
                    End::Error => Err(ErrorKind::ConnectionReset.into()),
                });
            }
        }
        if n == 0 {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buf.put_slice(&self.input[from..from + n]);
        self.arrived.store(from + n, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, [buf].into_iter())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(self.vectored, "a vectored write to an I/O that says it has none");
        self.write(cx, bufs.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call();
        self.breaks()?;
        if self.stuck {
            return self.wait(cx);
        }
        self.flushed = self.written.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call();
        self.breaks()?;
        if self.stuck {
            return self.wait(cx);
        }
        self.shutdowns += 1;
        Poll::Ready(Ok(()))
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub struct Count(AtomicUsize);

impl Count {
    /// Whether it was woken since the last call.
    pub fn take(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
