//! Bytes on their way to the transport.

use super::queue::{LARGE, Piece};
use bytes::{Buf, Bytes, BytesMut};
use futures_sink::Sink;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::AsyncWrite;

pub(crate) struct WriteBuffer {
    /// The first bytes: large chunks, which are not copied, and the small ones between them.
    chunks: VecDeque<Bytes>,
    /// The bytes after those: small chunks, copied together.
    tail: BytesMut,
    /// The length of all of these.
    len: usize,
    /// The number of bytes that the transport has accepted.
    sent: u64,
    /// The number of bytes to gather before they are written. Never 0.
    capacity: u32,
    /// The length of the first slice of a write that is pending, at most `RECORD`;
    /// else 0. A retry begins with the same bytes.
    offered: u16,
    /// `true` if the transport may hold bytes that are not flushed.
    is_dirty: bool,
    /// `true` if the transport has not been polled yet.
    is_fresh: bool,
}

impl WriteBuffer {
    /// An empty buffer over a transport that may hold bytes already.
    pub(crate) fn new(capacity: usize) -> Self {
        WriteBuffer {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            len: 0,
            sent: 0,
            capacity: u32::try_from(capacity.max(1)).unwrap_or(u32::MAX),
            offered: 0,
            is_dirty: true,
            is_fresh: true,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.len == 0 && !self.is_dirty
    }

    /// Notes that another transport, which may hold bytes, replaces the previous one.
    pub(crate) fn begin_transport(&mut self) {
        (self.is_dirty, self.is_fresh) = (true, true);
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// A single chunk is written without a copy, if one call can then also write the bytes after
    /// it.
    fn put(&mut self, chunk: Bytes, large: usize, vectored: bool) {
        let is_alone = self.len == 0 && vectored;
        self.len += chunk.len();
        if chunk.len() < large && !is_alone {
            return self.tail.extend_from_slice(&chunk);
        }
        self.end_tail();
        self.chunks.push_back(chunk);
    }

    /// A block is written without a copy if one call can write several pieces. If a block fits
    /// after the previous one, it is copied. Otherwise a peer that accepts nothing would make the
    /// channel hold many blocks that are nearly empty.
    fn put_block(&mut self, block: BytesMut, large: usize, vectored: bool) {
        self.len += block.len();
        let capacity = self.tail.capacity().max(LARGE) - self.tail.len();
        let is_small = block.len() <= capacity || (!vectored && block.len() < large);
        if is_small && !self.tail.is_empty() {
            return self.tail.extend_from_slice(&block);
        }
        self.end_tail();
        self.tail = block;
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    /// Drops everything except the bytes with which a retry must begin. Returns the number of bytes
    /// dropped.
    pub(crate) fn discard(&mut self) -> usize {
        let keep = usize::from(self.offered);
        let kept = match self.chunks.front_mut() {
            Some(first) => first.split_to(keep.min(first.len())),
            None => self.tail.split_to(keep.min(self.tail.len())).freeze(),
        };
        let dropped = self.len - kept.len();
        self.clear();
        self.len = kept.len();
        if !kept.is_empty() {
            self.chunks.push_back(kept);
        }
        self.offered = self.len as u16;
        dropped
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.tail.clear();
        (self.len, self.offered) = (0, 0);
    }

    pub(crate) fn take(&mut self) -> BytesMut {
        let mut all = BytesMut::with_capacity(self.len);
        self.chunks.drain(..).for_each(|chunk| all.extend_from_slice(&chunk));
        all.unsplit(self.tail.split());
        (self.len, self.offered) = (0, 0);
        all
    }

    /// Frees the memory of an empty buffer.
    pub(crate) fn release(&mut self) {
        if self.len == 0 {
            self.chunks = VecDeque::new();
            self.tail = BytesMut::new();
        }
    }

    fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.len);
        self.len -= n;
        while let Some(chunk) = self.chunks.front_mut() {
            if n < chunk.len() {
                return chunk.advance(n);
            }
            n -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail.advance(n);
    }

    /// Writes once, as much as the transport accepts in one call.
    fn poll_write<T>(&mut self, cx: &mut Context<'_>, io: Pin<&mut T>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite,
    {
        let first = self.chunks.front().map_or(self.tail.as_ref(), Bytes::as_ref);
        let (first_len, is_alone) = (first.len(), first.len() == self.len);
        let (written, offered) = if is_alone || !io.is_write_vectored() {
            (io.poll_write(cx, first), first_len)
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let parts = self.chunks.iter().map(Bytes::as_ref).chain([self.tail.as_ref()]);
            let (mut used, mut offered) = (0, 0);
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
                used += 1;
                offered += part.len();
            }
            (io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default()), offered)
        };
        if written.is_pending() {
            self.offered = first_len.min(RECORD) as u16;
            return Poll::Pending;
        }
        match ready!(written) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e)),
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(n) if n > offered => Poll::Ready(Err(io::Error::other(OVERCLAIM))),
            Ok(n) => {
                (self.is_dirty, self.offered) = (true, 0);
                self.sent += n as u64;
                self.advance(n);
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// The sink of the queue. It gathers small chunks, and writes large ones without a copy, together
/// with the bytes before them.
pub(crate) struct BufferSink<'a, T> {
    pub(crate) io: &'a mut T,
    pub(crate) buffer: &'a mut WriteBuffer,
    /// The waker for the transport, if it is not the waker of the task.
    pub(crate) probe: Option<&'a Waker>,
    /// Set if a poll stopped to yield.
    pub(crate) yielded: &'a Cell<bool>,
}

impl<T: AsyncWrite + Unpin> BufferSink<'_, T> {
    fn poll_write_down_to(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<()>> {
        self.buffer.is_fresh = false;
        let mut writes = 0;
        let end = self.buffer.sent + MAX_WRITTEN;
        while self.buffer.len > len {
            if writes == MAX_WRITES || self.buffer.sent > end {
                // A transport that is always ready must not keep the task.
                self.yielded.set(true);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            writes += 1;
            ready!(self.buffer.poll_write(cx, Pin::new(self.io)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Sink<Piece> for BufferSink<'_, T> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let cx = &mut Context::from_waker(self.probe.unwrap_or(cx.waker()));
        let below = self.buffer.capacity() - 1;
        self.poll_write_down_to(cx, below)
    }

    fn start_send(mut self: Pin<&mut Self>, piece: Piece) -> io::Result<()> {
        let this = &mut *self;
        // Where several pieces cannot go in one call, copying is cheaper than a call
        // for each, up to the size of a whole buffer.
        let vectored = this.io.is_write_vectored();
        let large = if vectored { LARGE } else { this.buffer.capacity() };
        match piece {
            Piece::Chunk(chunk) if chunk.is_empty() => {}
            Piece::Chunk(chunk) => this.buffer.put(chunk, large, vectored),
            Piece::Block(block) => this.buffer.put_block(block, large, vectored),
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let cx = &mut Context::from_waker(self.probe.unwrap_or(cx.waker()));
        ready!(self.poll_write_down_to(cx, 0))?;
        if self.buffer.is_dirty {
            ready!(poll_uninterrupted(|| Pin::new(&mut *self.io).poll_flush(cx)))?;
            self.buffer.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let cx = &mut Context::from_waker(self.probe.unwrap_or(cx.waker()));
        ready!(self.as_mut().poll_flush(cx))?;
        poll_uninterrupted(|| Pin::new(&mut *self.io).poll_shutdown(cx))
    }
}

/// Repeats a call for as long as it is interrupted.
fn poll_uninterrupted(mut call: impl FnMut() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    loop {
        match ready!(call()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

/// The number of pieces in one vectored write.
const MAX_SLICES: usize = 32;

/// The most writes, and the most bytes, in one poll.
const MAX_WRITES: u32 = 1024;
const MAX_WRITTEN: u64 = 256 * 1024;

/// The largest TLS record. A transport has begun to send no more of a pending write.
// OpenSSL fails a retry that begins with other bytes ("bad write retry").
const RECORD: usize = 16 * 1024;

const OVERCLAIM: &str = "transport reports more bytes written than it was offered";
