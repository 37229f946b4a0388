//! A transport that does as the play says, and the wakers that wait for it.

use super::input::{Input, Steps};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
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
    /// And how many by one call, which grows with the calls: otherwise most of the time
    /// would go into one write like the other.
    pub at_once: usize,
    writes: usize,
    pub write_error: bool,
    /// A write, a flush or the shutdown has failed, or a read has failed with an
    /// error that ends both directions.
    pub broke: bool,
    /// Whether flush and shutdown wait.
    pub stuck: bool,
    pub vectored: bool,
    /// The bytes taken from the channel.
    pub written: Vec<u8>,
    /// The number of these that have reached the peer.
    moved: usize,
    /// The length of `written`, for producers to look at.
    pub taken: Arc<AtomicUsize>,
    pub flushed: usize,
    pub flushes: usize,
    pub shutdowns: usize,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    /// Since it was last set to 0.
    pub calls: usize,
    pub nature: Nature,
    /// The number of bytes buffered before the channel began, and not yet moved.
    before: usize,
    /// The bytes first offered to the pending write, up to one record, and the
    /// length of the first slice of the latest retry.
    offered: Option<(Vec<u8>, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Eof,
    /// The error of its nature.
    Error,
}

/// The kind of transport, and the tasks that poll the channel over it.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// Whether the input chose it. An input that does not choose keeps its old
    /// meaning.
    pub is_chosen: bool,
    /// The `Stream` side and the `Sink` side of the channel are two tasks.
    pub two_tasks: bool,
    /// The writing task is polled before the reading one if both were woken.
    pub writer_first: bool,
    /// No call is ever pending.
    pub always_ready: bool,
    /// The number of bytes it buffers until it is flushed; 0 for a transport that
    /// does not buffer.
    pub buffers: usize,
    /// The number of these that it holds before the channel begins.
    pub holds: usize,
    /// The error of a read that fails.
    pub error: ErrorKind,
    /// Whether the input of a transport that is always ready ends with that error.
    pub fails: bool,
}

impl Default for Nature {
    fn default() -> Self {
        Nature {
            is_chosen: false,
            two_tasks: false,
            writer_first: false,
            always_ready: false,
            buffers: 0,
            holds: 0,
            error: ErrorKind::UnexpectedEof,
            fails: false,
        }
    }
}

impl Nature {
    /// Takes three bytes off the end if the last one is a mark.
    pub fn take(input: &mut Input<'_>) -> Self {
        let &[ref rest @ .., size, what, mark] = input.0 else { return Nature::default() };
        if !MARKS.contains(&mark) {
            return Nature::default();
        }
        input.0 = rest;
        let size = usize::from(size);
        let holds = if what & 16 != 0 { 1 + size % 16 } else { 0 };
        let buffers = match what >> 2 & 3 {
            0 => holds,
            1 => 1 + size % 32,
            2 => 1 + size * 8,
            _ => usize::MAX,
        };
        Nature {
            is_chosen: true,
            two_tasks: what & 1 != 0,
            writer_first: mark & 1 != 0,
            always_ready: what & 2 != 0,
            buffers,
            holds: holds.min(buffers),
            error: ERRORS[usize::from(what >> 5)],
            fails: mark & 2 != 0,
        }
    }
}

/// The last byte of an input that chooses. No older input of the corpus ends so.
const MARKS: RangeInclusive<u8> = 0xa8..=0xaf;

/// Errors of reading: the first four end the input, the others both directions.
const ERRORS: [ErrorKind; 8] = [
    ErrorKind::UnexpectedEof,
    ErrorKind::InvalidData,
    ErrorKind::TimedOut,
    ErrorKind::Other,
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::BrokenPipe,
    ErrorKind::NotConnected,
];

/// The largest part of a pending write that must not change: one TLS record.
const RECORD: usize = 16 * 1024;

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
            moved: 0,
            taken: Arc::default(),
            flushed: 0,
            flushes: 0,
            shutdowns: 0,
            reader: None,
            writer: None,
            calls: 0,
            nature: Nature::default(),
            before: 0,
            offered: None,
        }
    }

    /// Sets the nature. It must be called before the channel begins.
    pub fn has_nature(&mut self, nature: Nature) {
        (self.nature, self.before) = (nature, nature.holds);
        if nature.always_ready {
            self.sent = self.input.len();
            self.end = Some(if nature.fails { End::Error } else { End::Eof });
        }
    }

    /// Returns `true` if a read would be ready.
    pub fn is_readable(&self) -> bool {
        let arrived = self.arrived();
        let at_end = arrived == self.input.len() && self.end.is_some() && !self.ended;
        self.sent > arrived || at_end
    }

    /// Returns `true` if a read has failed with an error that ends both directions.
    pub fn is_lost(&self) -> bool {
        self.ended && self.end == Some(End::Error) && ERRORS[4..].contains(&self.nature.error)
    }

    /// Returns `true` if the transport holds nothing, older bytes included.
    pub fn is_flushed(&self) -> bool {
        self.before == 0 && self.flushed == self.written.len()
    }

    /// Returns `true` if a flush was called, or a write waits for the peer.
    pub fn is_flushing(&self) -> bool {
        self.flushes > 0 || self.offered.is_some()
    }

    /// Returns the least and the largest number of bytes of a pending write that
    /// `discard_buffers` keeps.
    pub fn pending(&self) -> RangeInclusive<usize> {
        self.offered.as_ref().map_or(0..=0, |(first, most)| first.len()..=*most)
    }

    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// `n` more bytes come from the peer.
    pub fn send(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n).min(self.input.len());
        self.wake_reader();
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

    /// Wakes the reader. A single task is woken for either direction.
    pub fn wake_reader(&mut self) {
        if self.nature.two_tasks {
            self.reader.take().into_iter().for_each(Waker::wake);
        } else {
            self.wake();
        }
    }

    /// Wakes the writer. A single task is woken for either direction.
    pub fn wake_writer(&mut self) {
        if self.nature.two_tasks {
            self.writer.take().into_iter().for_each(Waker::wake);
        } else {
            self.wake();
        }
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
        let slices: Vec<&[u8]> = slices.filter(|slice| !slice.is_empty()).collect();
        self.check_retry(&slices);
        let room = self.writable();
        if room == 0 {
            let first = slices.first().copied().unwrap_or_default();
            let first = &first[..first.len().min(RECORD)];
            let (_, most) = self.offered.get_or_insert_with(|| (first.to_vec(), 0));
            *most = first.len();
            return self.wait(cx);
        }
        self.offered = None;
        let mut left = room.min(self.grown(self.at_once));
        self.writes += 1;
        let before = self.written.len();
        for slice in slices {
            let piece = &slice[..slice.len().min(left)];
            self.written.extend_from_slice(piece);
            left -= piece.len();
        }
        let n = self.written.len() - before;
        assert!(n > 0, "a write of nothing");
        if self.nature.buffers == 0 {
            self.moves();
        }
        self.taken.store(self.written.len(), Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    /// Panics if a retried write does not begin with the bytes first offered.
    fn check_retry(&self, slices: &[&[u8]]) {
        let Some((first, _)) = &self.offered else { return };
        let again = slices.iter().copied().flatten();
        let same = first.iter().zip(again).take_while(|(first, again)| first == again).count();
        let is_same = same == first.len() || !self.nature.is_chosen;
        assert!(is_same, "a retried write begins with other bytes");
    }

    /// Returns how much can be written. A full buffer moves now: a caller that
    /// waits to write does not flush.
    fn writable(&mut self) -> usize {
        if self.nature.buffers == 0 {
            return self.room;
        }
        let buffers = self.grown(self.nature.buffers);
        if self.held() >= buffers {
            self.moves();
        }
        buffers.saturating_sub(self.held())
    }

    /// Returns a size after the writes so far: twice as much after every 32.
    fn grown(&self, size: usize) -> usize {
        size.saturating_mul(1 << (self.writes / 32).min(16))
    }

    /// Returns the number of bytes taken that have not reached the peer.
    fn held(&self) -> usize {
        self.before + self.written.len() - self.moved
    }

    /// Moves buffered bytes to the peer, as far as there is room.
    fn moves(&mut self) {
        let n = self.held().min(self.room);
        if self.room != usize::MAX {
            self.room -= n;
        }
        let before = n.min(self.before);
        self.before -= before;
        self.moved += n - before;
    }

    /// Moves all buffered bytes to the peer, or waits for room.
    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.call();
        self.breaks()?;
        if self.stuck {
            return self.wait(cx);
        }
        self.moves();
        if self.held() > 0 {
            return self.wait(cx);
        }
        self.flushed = self.written.len();
        Poll::Ready(Ok(()))
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
                    End::Error => {
                        self.broke |= self.is_lost();
                        Err(self.nature.error.into())
                    }
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
        self.flushes += 1;
        self.poll_move(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_done = self.offered.is_none() || !self.nature.is_chosen;
        assert!(is_done, "shut down although a write is pending");
        ready!(self.poll_move(cx))?;
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

    /// Returns `true` if it was woken since the last `take`.
    pub fn is_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
