use crate::producer::BoxProducer;
use bytes::{Bytes, BytesMut};
use futures::Sink;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::{io, pin::Pin};

/// Output in call order: bytes, and producers of bytes.
#[derive(Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// Behind them: small chunks, copied together, to which more may come.
    gathered: BytesMut,
    /// The sum of the entries' costs.
    cost: usize,
    /// Whether the last drain ended because producers had given all they may.
    is_turn_over: bool,
}

enum Entry {
    /// Never empty.
    Chunk(Bytes),
    /// Small chunks, copied together. Never empty.
    Block(BytesMut),
    /// Never locked: a `Mutex` is how a channel is `Sync` although producers
    /// need not be.
    Producer(Mutex<BoxProducer>),
}

/// What a queue gives to be sent.
pub(crate) enum Piece {
    /// Others may have it as well.
    Chunk(Bytes),
    /// More may be copied behind it.
    Block(BytesMut),
}

/// Why a queue cannot be drained further.
#[derive(Debug)]
pub(crate) enum DrainError {
    Sink(io::Error),
    /// The queue has been cleared.
    Producer(io::Error),
}

impl Queue {
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.gather(&chunk) {
            return;
        }
        if chunk.len() < LARGE && !self.is_empty() {
            self.gather_anew(&chunk);
        } else {
            self.append(Entry::Chunk(chunk));
        }
    }

    pub(crate) fn push_slice(&mut self, chunk: &[u8]) {
        if self.gather(chunk) {
            return;
        }
        if chunk.len() < LARGE {
            self.gather_anew(chunk);
        } else {
            self.append(Entry::Chunk(Bytes::copy_from_slice(chunk)));
        }
    }

    /// Copies a small chunk behind the others, if there is room for it. For an
    /// empty one there is.
    #[inline]
    fn gather(&mut self, chunk: &[u8]) -> bool {
        let room = self.gathered.capacity() - self.gathered.len();
        if chunk.len() >= LARGE || chunk.len() > room {
            return false;
        }
        self.gathered.extend_from_slice(chunk);
        self.cost += chunk.len();
        true
    }

    /// Makes room for a small chunk. A block grows up to `LARGE`, so that what is
    /// short is one piece. What is longer is not moved to grow, but goes on in
    /// another block, as large as those before it: no more than half is empty.
    #[inline(never)]
    fn gather_anew(&mut self, mut chunk: &[u8]) {
        let mut size = GATHERED_MIN;
        if !self.gathered.is_empty() {
            let room = self.gathered.capacity().max(LARGE) - self.gathered.len();
            let (fits, rest) = chunk.split_at(room.min(chunk.len()));
            self.gathered.extend_from_slice(fits);
            self.cost += fits.len();
            if rest.is_empty() {
                return;
            }
            let is_second = !matches!(self.entries.back(), Some(Entry::Block(_)));
            let before = self.gathered.capacity().saturating_mul(if is_second { 1 } else { 2 });
            size = before.min(GATHERED_MAX);
            self.end_block();
            chunk = rest;
        }
        // A power of two doubles to just `LARGE`.
        let size = size.max(chunk.len().next_power_of_two());
        self.gathered = BytesMut::with_capacity(size);
        self.gathered.extend_from_slice(chunk);
        self.cost += chunk_cost(chunk.len());
    }

    fn end_block(&mut self) {
        if !self.gathered.is_empty() {
            self.entries.push_back(Entry::Block(std::mem::take(&mut self.gathered)));
        }
    }

    pub(crate) fn push_producer(&mut self, producer: BoxProducer) {
        self.append(Entry::Producer(Mutex::new(producer)));
    }

    fn append(&mut self, entry: Entry) {
        self.cost += entry.cost();
        self.end_block();
        self.entries.push_back(entry);
    }

    /// What the entries count against the high-water mark.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    pub(crate) fn is_turn_over(&self) -> bool {
        self.is_turn_over
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.gathered.is_empty()
    }

    /// Gives the memory of an empty queue back.
    pub(crate) fn release(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Drops everything: gives the bytes and the number of producers dropped.
    pub(crate) fn clear(&mut self) -> (usize, usize) {
        self.cost = 0;
        // Taken first: a producer's `Drop` is not our code.
        let entries = std::mem::take(&mut self.entries);
        let gathered = std::mem::take(&mut self.gathered).len();
        entries.iter().fold((gathered, 0), |(bytes, producers), entry| match entry {
            Entry::Chunk(chunk) => (bytes + chunk.len(), producers),
            Entry::Block(chunk) => (bytes + chunk.len(), producers),
            Entry::Producer(_) => (bytes, producers + 1),
        })
    }

    /// Takes everything: the chunks up to the first producer, and from there
    /// on producers (bytes between two of them become one each).
    pub(crate) fn take(&mut self) -> (Vec<Bytes>, Vec<BoxProducer>) {
        self.cost = 0;
        self.end_block();
        let (mut chunks, mut producers) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.entries) {
            let chunk = match entry {
                Entry::Producer(producer) => {
                    producers.push(producer.into_inner().unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
                Entry::Chunk(chunk) => chunk,
                Entry::Block(chunk) => chunk.freeze(),
            };
            if producers.is_empty() {
                chunks.push(chunk);
            } else {
                producers.push(crate::producer::boxed(crate::producer::from_iter([chunk])));
            }
        }
        (chunks, producers)
    }

    /// Moves what can be moved into `sink`, in order, and flushes it when the
    /// queue is empty, its first producer has nothing ready, or has had its turn.
    /// Ready when everything has been sent.
    ///
    /// A producer is polled only when the sink is ready to take what it gives.
    pub(crate) fn poll_drain<S>(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: Pin<&mut S>,
    ) -> Poll<Result<(), DrainError>>
    where
        S: Sink<Piece, Error = io::Error>,
    {
        let mut turn = TURN;
        self.is_turn_over = false;
        while !self.is_empty() {
            ready!(sink.as_mut().poll_ready(cx)).map_err(DrainError::Sink)?;
            let Some(Entry::Producer(producer)) = self.entries.front_mut() else {
                if let Some(piece) = self.pop() {
                    sink.as_mut().start_send(piece).map_err(DrainError::Sink)?;
                }
                continue;
            };
            let producer = producer.get_mut().unwrap_or_else(PoisonError::into_inner);
            match producer.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    // An endless producer must not keep the task to itself.
                    turn -= TURN_CHUNK + chunk.len().min(TURN as usize) as isize;
                    if !chunk.is_empty() {
                        let piece = Piece::Chunk(chunk);
                        sink.as_mut().start_send(piece).map_err(DrainError::Sink)?;
                    }
                    if turn < 0 {
                        self.is_turn_over = true;
                        // What there is goes out, however little a turn brings.
                        let _in_part = sink.poll_flush(cx).map_err(DrainError::Sink)?;
                        return poll_next_turn(cx);
                    }
                }
                Poll::Ready(None) => {
                    self.pop();
                }
                Poll::Ready(Some(Err(e))) => {
                    self.clear();
                    return Poll::Ready(Err(DrainError::Producer(e)));
                }
                Poll::Pending => {
                    // What there is goes out; then the producer wakes us.
                    ready!(sink.as_mut().poll_flush(cx)).map_err(DrainError::Sink)?;
                    return Poll::Pending;
                }
            }
        }
        sink.poll_flush(cx).map_err(DrainError::Sink)
    }

    /// Removes the first entry of a queue that is not empty: its bytes, if it
    /// holds any.
    fn pop(&mut self) -> Option<Piece> {
        let first = self.entries.pop_front();
        let entry = first.unwrap_or_else(|| Entry::Block(std::mem::take(&mut self.gathered)));
        self.cost -= entry.cost();
        match entry {
            Entry::Chunk(chunk) => Some(Piece::Chunk(chunk)),
            Entry::Block(block) => Some(Piece::Block(block)),
            Entry::Producer(_) => None,
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        match self {
            Entry::Chunk(chunk) => chunk_cost(chunk.len()),
            Entry::Block(chunk) => chunk_cost(chunk.len()),
            Entry::Producer(_) => PRODUCER_COST,
        }
    }
}

/// Gives the runtime its turn: pending, and woken by ourselves.
pub(crate) fn poll_next_turn<T>(cx: &mut Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// What `len` queued bytes count against the high-water mark: so floods of
/// tiny chunks are bounded too.
pub(crate) fn chunk_cost(len: usize) -> usize {
    len.saturating_add(64)
}

/// What a queued producer counts against the high-water mark.
pub(crate) const PRODUCER_COST: usize = 1024;

/// From here on a chunk is sent from where it lies instead of being copied.
pub(crate) const LARGE: usize = 4 * 1024;

/// The first and the largest size of a block of gathered chunks.
const GATHERED_MIN: usize = 512;
const GATHERED_MAX: usize = 64 * 1024;

/// What producers may give in one poll, in bytes, and what a chunk counts.
const TURN: isize = 256 * 1024;
const TURN_CHUNK: isize = 1024;
