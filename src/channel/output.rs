//! The writing side: the queue, the write buffer it drains into, and whether
//! it is open.

use crate::queue::{DrainError, LARGE, Piece, Queue};
use crate::{BoxProducer, Error};
use bytes::{Buf, Bytes, BytesMut};
use futures::Sink;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

pub(crate) struct Output {
    pub(crate) queue: Queue,
    buffer: WriteBuffer,
    state: State,
    /// Whether the owner has asked for the close (a failure closes as well).
    close_requested: bool,
    failure: Failure,
    pub(crate) room: Watermarks,
}

/// How far closing has come. It only goes down the list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// To be shut down when everything is sent.
    Closing,
    /// Shut down, or broken: nothing can be sent any more.
    Shut,
}

/// The error that ended the writing side: given to one caller, once.
enum Failure {
    None,
    Unseen(Error),
    Seen,
}

impl Output {
    pub(crate) fn new(out_buffer_size: usize, room: Watermarks) -> Self {
        Output {
            queue: Queue::default(),
            buffer: WriteBuffer::new(out_buffer_size),
            state: State::Open,
            close_requested: false,
            failure: Failure::None,
            room,
        }
    }

    /// What is queued and not sent, as counted against the high-water mark.
    pub(crate) fn queued(&self) -> usize {
        self.queue.cost() + self.buffer.len
    }

    pub(crate) fn sent(&self) -> u64 {
        self.buffer.sent
    }

    /// Whether what is queued fills a write.
    pub(crate) fn is_plenty(&self) -> bool {
        self.queued() >= self.buffer.capacity
    }

    pub(crate) fn has_room(&mut self) -> bool {
        let queued = self.queued();
        self.room.has_room(queued)
    }

    /// Something has left the queue. Somebody may ask for room only when it has
    /// grown again.
    #[inline]
    pub(super) fn note_sunk(&mut self) {
        if self.room.full {
            self.has_room();
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, data: Bytes) {
        if self.accepts() {
            self.queue.push(data);
        }
    }

    #[inline]
    pub(crate) fn push_slice(&mut self, data: &[u8]) {
        if self.accepts() {
            self.queue.push_slice(data);
        }
    }

    pub(crate) fn push_producer(&mut self, producer: BoxProducer) {
        if self.accepts() {
            self.queue.push_producer(producer);
        }
    }

    /// Whether data is taken. What is pushed otherwise is dropped, and said.
    #[inline]
    fn accepts(&self) -> bool {
        let is_open = self.is_open();
        if !is_open {
            warn_of_dropped();
        }
        is_open
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether nothing can be sent any more because of a failure.
    #[inline]
    pub(crate) fn is_broken(&self) -> bool {
        self.has_failed() && self.is_shut()
    }

    /// Whether everything was sent and the writing side is shut down, or broken.
    pub(crate) fn is_shut(&self) -> bool {
        self.state == State::Shut
    }

    pub(crate) fn close_requested(&self) -> bool {
        self.close_requested
    }

    /// Whether nothing is left to send, to close or to tell.
    pub(crate) fn is_settled(&self) -> bool {
        self.queue.is_empty()
            && self.buffer.is_flushed()
            && self.state != State::Closing
            && !matches!(self.failure, Failure::Unseen(_))
    }

    /// Whether it is the transport that sending waits for, and not a producer.
    pub(super) fn is_blocked(&self) -> bool {
        !self.buffer.is_flushed() || self.queue.is_empty()
    }

    pub(crate) fn has_failed(&self) -> bool {
        !matches!(self.failure, Failure::None)
    }

    pub(crate) fn close_when_done(&mut self) {
        self.close_requested = true;
        if self.is_open() {
            tracing::debug!(target: "asynchat", "close when done");
            self.state = State::Closing;
        }
    }

    /// The error that ended the writing side, if nobody was given it yet.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        match std::mem::replace(&mut self.failure, Failure::Seen) {
            Failure::Unseen(error) => Some(error),
            Failure::Seen => None,
            Failure::None => {
                self.failure = Failure::None;
                None
            }
        }
    }

    /// Drops what is queued and buffered: bytes and producers.
    pub(crate) fn discard(&mut self) -> (usize, usize) {
        let (bytes, producers) = self.queue.clear();
        let bytes = bytes + self.buffer.clear();
        self.note_sunk();
        (bytes, producers)
    }

    /// Takes what is queued and buffered: bytes, and then producers.
    pub(crate) fn take(&mut self) -> (BytesMut, Vec<BoxProducer>) {
        let (chunks, producers) = self.queue.take();
        let mut unsent = self.buffer.take();
        chunks.iter().for_each(|chunk| unsent.extend_from_slice(chunk));
        (unsent, producers)
    }

    /// Whether there is something to send, also if it is still being made, or to
    /// shut down.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        let idle = self.queue.is_empty() && self.buffer.is_flushed();
        match self.state {
            State::Open => !idle,
            State::Closing => true,
            State::Shut => false,
        }
    }

    /// Sends what can be sent, then shuts down if that was asked for. Ready
    /// when there is nothing to do any more; an error waits in `take_failure`.
    pub(crate) fn poll_send<T>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<()>
    where
        T: AsyncWrite + Unpin,
    {
        loop {
            let mut sink = Writer { io, buffer: &mut self.buffer };
            match ready!(self.queue.poll_drain(cx, Pin::new(&mut sink))) {
                Ok(()) => break,
                Err(DrainError::Sink(e)) => {
                    self.break_with(e);
                    return Poll::Ready(());
                }
                Err(DrainError::Producer(e)) => {
                    tracing::debug!(target: "asynchat", error = %e, "producer failed");
                    // What stood before it goes out, nothing behind it.
                    self.failure = Failure::Unseen(Error::Producer(e));
                    self.state = State::Closing;
                }
            }
        }
        if self.state == State::Closing {
            let mut sink = Writer { io, buffer: &mut self.buffer };
            let shut = ready!(Pin::new(&mut sink).poll_close(cx));
            tracing::debug!(target: "asynchat", ok = shut.is_ok(), "writing side shut down");
            self.state = State::Shut;
            match shut {
                // The peer is gone, and everything was sent before.
                Err(e) if e.kind() == io::ErrorKind::NotConnected => {}
                Err(e) => self.break_with(e),
                Ok(()) => {}
            }
        }
        Poll::Ready(())
    }

    fn break_with(&mut self, error: io::Error) {
        tracing::debug!(target: "asynchat", %error, "writing failed");
        self.end_with(Error::Io(error));
    }

    /// Ends the writing side by `error`, unless one has ended it before.
    pub(crate) fn end_with(&mut self, error: Error) {
        self.state = State::Shut;
        self.discard();
        self.buffer.needs_flush = false;
        if !self.has_failed() {
            self.failure = Failure::Unseen(error);
        }
    }

    /// Gives the memory of empty buffers back.
    pub(crate) fn release(&mut self) {
        self.queue.release();
        self.buffer.release();
    }
}

/// When there is room for more output: after the high-water mark was reached,
/// only once what is queued has sunk to the low one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermarks {
    pub(crate) high: usize,
    pub(crate) low: usize,
    full: bool,
}

impl Watermarks {
    pub(crate) fn new(high: usize, low: usize) -> Self {
        Watermarks { high, low, full: false }
    }

    #[inline]
    pub(crate) fn has_room(&mut self, queued: usize) -> bool {
        if queued <= self.low {
            self.full = false;
        } else if queued >= self.high {
            self.full = true;
        }
        !self.full
    }
}

#[cold]
fn warn_of_dropped() {
    tracing::warn!(target: "asynchat", "pushed after the writing side was closed: dropped");
}

/// Makes a call again for as long as it is interrupted.
fn poll_again(mut call: impl FnMut() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    loop {
        match ready!(call()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Bytes on their way to the socket.
struct WriteBuffer {
    /// In front: large chunks where they lie, and what stood between them.
    chunks: VecDeque<Bytes>,
    /// Behind them: small chunks, copied together.
    tail: BytesMut,
    /// The length of all of these.
    len: usize,
    /// How much is gathered before it is written.
    capacity: usize,
    /// How many bytes the I/O has taken.
    sent: u64,
    /// Whether bytes were written that the I/O may still hold.
    needs_flush: bool,
}

impl WriteBuffer {
    fn new(capacity: usize) -> Self {
        WriteBuffer {
            chunks: VecDeque::new(),
            tail: BytesMut::new(),
            len: 0,
            capacity: capacity.max(1),
            sent: 0,
            needs_flush: false,
        }
    }

    fn is_flushed(&self) -> bool {
        self.len == 0 && !self.needs_flush
    }

    /// A chunk alone is written from where it lies, if one call can then take
    /// what comes behind it as well.
    fn put(&mut self, chunk: Bytes, large: usize, vectored: bool) {
        let is_alone = self.len == 0 && vectored;
        self.len += chunk.len();
        if chunk.len() < large && !is_alone {
            return self.tail.extend_from_slice(&chunk);
        }
        self.end_tail();
        self.chunks.push_back(chunk);
    }

    /// A block is what comes last, and is written from where it lies if several
    /// pieces can go in one call. Not if it fits behind the one before it: a
    /// peer that takes nothing would make us hold many that are nearly empty.
    fn put_block(&mut self, block: BytesMut, large: usize, vectored: bool) {
        self.len += block.len();
        let room = self.tail.capacity().max(LARGE) - self.tail.len();
        let is_small = block.len() <= room || (!vectored && block.len() < large);
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

    fn clear(&mut self) -> usize {
        self.chunks.clear();
        self.tail.clear();
        std::mem::take(&mut self.len)
    }

    fn take(&mut self) -> BytesMut {
        let mut all = BytesMut::with_capacity(self.len);
        self.chunks.drain(..).for_each(|chunk| all.extend_from_slice(&chunk));
        all.unsplit(self.tail.split());
        self.len = 0;
        all
    }

    fn release(&mut self) {
        if self.len == 0 {
            self.chunks = VecDeque::new();
            self.tail = BytesMut::new();
        }
    }

    fn advance(&mut self, mut n: usize) {
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

    /// Writes once, as much as one call takes.
    fn poll_write<T>(&mut self, cx: &mut Context<'_>, io: Pin<&mut T>) -> Poll<io::Result<()>>
    where
        T: AsyncWrite,
    {
        let first = self.chunks.front().map_or(self.tail.as_ref(), Bytes::as_ref);
        let written = if first.len() == self.len || !io.is_write_vectored() {
            io.poll_write(cx, first)
        } else {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let parts = self.chunks.iter().map(Bytes::as_ref).chain([self.tail.as_ref()]);
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            io.poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
        };
        match ready!(written) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => {
                self.needs_flush = true;
                self.sent += n as u64;
                self.advance(n.min(self.len));
                Poll::Ready(Ok(()))
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e)),
        }
    }
}

/// The queue's own sink: gathers small chunks, writes large ones from where
/// they lie together with what stands before them.
struct Writer<'a, T> {
    io: &'a mut T,
    buffer: &'a mut WriteBuffer,
}

impl<T: AsyncWrite + Unpin> Writer<'_, T> {
    fn poll_write_down_to(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Poll<Result<(), io::Error>> {
        while self.buffer.len > len {
            ready!(self.buffer.poll_write(cx, Pin::new(self.io)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Sink<Piece> for Writer<'_, T> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let below = self.buffer.capacity - 1;
        self.poll_write_down_to(cx, below)
    }

    fn start_send(mut self: Pin<&mut Self>, piece: Piece) -> io::Result<()> {
        let this = &mut *self;
        // Where several pieces cannot go in one call, copying is cheaper than
        // a call for each, up to the size of a whole buffer.
        let vectored = this.io.is_write_vectored();
        let large = if vectored { LARGE } else { this.buffer.capacity };
        match piece {
            Piece::Chunk(chunk) => this.buffer.put(chunk, large, vectored),
            Piece::Block(block) => this.buffer.put_block(block, large, vectored),
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_down_to(cx, 0))?;
        if self.buffer.needs_flush {
            ready!(poll_again(|| Pin::new(&mut *self.io).poll_flush(cx)))?;
            self.buffer.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        poll_again(|| Pin::new(&mut *self.io).poll_shutdown(cx))
    }
}

/// Pieces given to one vectored write.
const MAX_SLICES: usize = 32;
