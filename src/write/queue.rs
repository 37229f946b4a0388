//! Output in call order: bytes, and producers of bytes.

use crate::producer::{self, BoxProducer};
use crate::sync::oneshot;
use bytes::{Bytes, BytesMut};
use futures_sink::Sink;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::{io, pin::Pin};

#[derive(Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// After the entries: small chunks, copied together, to which more may come.
    // Not an entry: a short answer then allocates no slots for the queue.
    block: BytesMut,
    /// The sum of the costs of the entries and of the block.
    cost: u64,
    /// The number of marks among the entries.
    marks: u32,
    /// The number of those that are a pause.
    pauses: u32,
}

enum Entry {
    /// Never empty.
    Chunk(Bytes),
    /// Small chunks, copied together. Never empty.
    Block(BytesMut),
    /// The `Mutex` is never locked. It makes a channel `Sync` although producers need
    /// not be.
    Producer(Mutex<BoxProducer>),
    /// No bytes.
    Mark(Mark),
}

/// A place in the output. It is reached when everything before it has been sent and the
/// transport was flushed.
pub(crate) enum Mark {
    /// A pusher waits for it. If the mark is dropped, the output was discarded.
    Flush(oneshot::Sender<()>),
    /// `run` delivers nothing before it is reached.
    Pause,
}

impl Mark {
    fn is_given_up(&self) -> bool {
        matches!(self, Mark::Flush(sender) if sender.is_closed())
    }
}

/// The item that a queue sends.
pub(crate) enum Piece {
    /// Bytes that may be shared.
    Chunk(Bytes),
    /// Bytes to which more may be appended.
    Block(BytesMut),
}

/// The first item of a queue.
enum First {
    /// With its cost in the budget.
    Piece(Piece, i64),
    /// The mark stays until it is reached.
    Mark,
    /// The first item was a producer that has ended.
    Nothing,
}

/// The reason why a queue cannot be drained further.
#[derive(Debug)]
pub(crate) enum DrainError {
    Sink(io::Error),
    /// The queue has been cleared.
    Producer(io::Error),
}

impl Queue {
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.extend_block(&chunk) {
            return;
        }
        // Copying a short chunk costs less than an entry for it. A longer one begins no block
        // if it may be the only one: in an empty queue, and after a mark, which a flush may
        // make of each chunk.
        let is_alone = self.is_empty() || self.ends_in_mark();
        if chunk.len() < if is_alone { BLOCK_MIN } else { LARGE } {
            self.begin_block(&chunk);
        } else {
            self.append(Entry::Chunk(chunk));
        }
    }

    pub(crate) fn push_slice(&mut self, chunk: &[u8]) {
        if self.extend_block(chunk) {
            return;
        }
        if chunk.len() < LARGE {
            self.begin_block(chunk);
        } else {
            self.append(Entry::Chunk(Bytes::copy_from_slice(chunk)));
        }
    }

    pub(crate) fn push_producer(&mut self, producer: BoxProducer) {
        self.append(Entry::Producer(Mutex::new(producer)));
    }

    pub(crate) fn push_mark(&mut self, mark: Mark) {
        self.pauses += u32::from(matches!(mark, Mark::Pause));
        if let Some(given_up) = self.last_given_up() {
            *given_up = mark;
            return;
        }
        self.marks += 1;
        self.append(Entry::Mark(mark));
    }

    fn ends_in_mark(&self) -> bool {
        self.block.is_empty() && matches!(self.entries.back(), Some(Entry::Mark(_)))
    }

    /// Returns the last entry, if it is a flush for which no caller waits any more. Another flush
    /// replaces it.
    fn last_given_up(&mut self) -> Option<&mut Mark> {
        match self.entries.back_mut() {
            Some(Entry::Mark(mark)) if self.block.is_empty() && mark.is_given_up() => Some(mark),
            _ => None,
        }
    }

    /// Appends a small chunk to the block if it fits. An empty one always does.
    #[inline]
    fn extend_block(&mut self, chunk: &[u8]) -> bool {
        let capacity = self.block.capacity() - self.block.len();
        if chunk.len() >= LARGE || chunk.len() > capacity {
            return false;
        }
        self.block.extend_from_slice(chunk);
        self.cost += chunk.len() as u64;
        true
    }

    /// Queues a small chunk that does not fit into the block.
    ///
    /// A block grows up to `LARGE`, so that short output is one piece. Longer output does not move
    /// in order to grow. It continues in another block, as large as all earlier ones, so at most
    /// half is empty.
    #[inline(never)]
    fn begin_block(&mut self, mut chunk: &[u8]) {
        let mut size = if self.ends_in_mark() { 0 } else { BLOCK_MIN };
        if !self.block.is_empty() {
            let capacity = self.block.capacity().max(LARGE) - self.block.len();
            let (fits, rest) = chunk.split_at(capacity.min(chunk.len()));
            self.block.extend_from_slice(fits);
            self.cost += fits.len() as u64;
            if rest.is_empty() {
                return;
            }
            let is_second = !matches!(self.entries.back(), Some(Entry::Block(_)));
            let before = self.block.capacity().saturating_mul(if is_second { 1 } else { 2 });
            size = before.min(BLOCK_MAX);
            self.end_block();
            chunk = rest;
        }
        // A power of two doubles to exactly `LARGE`.
        let size = size.max(chunk.len().next_power_of_two());
        self.block = BytesMut::with_capacity(size);
        self.block.extend_from_slice(chunk);
        self.cost += chunk_cost(chunk.len());
    }

    fn end_block(&mut self) {
        if !self.block.is_empty() {
            self.entries.push_back(Entry::Block(std::mem::take(&mut self.block)));
        }
    }

    fn append(&mut self, entry: Entry) {
        self.cost += entry.cost();
        self.end_block();
        self.entries.push_back(entry);
    }

    /// The cost of the queue against the high-water mark.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    #[inline]
    pub(crate) fn has_marks(&self) -> bool {
        self.marks > 0
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.block.is_empty()
    }

    /// Frees the memory of an empty queue.
    pub(crate) fn release(&mut self) {
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
    }

    /// Drops everything. Returns the number of bytes and of producers.
    pub(crate) fn clear(&mut self) -> (u64, usize) {
        (self.cost, self.marks, self.pauses) = (0, 0, 0);
        // Taken first: the `Drop` of a producer is the caller's code.
        let entries = std::mem::take(&mut self.entries);
        let block = std::mem::take(&mut self.block).len() as u64;
        entries.iter().fold((block, 0), |(bytes, producers), entry| match entry {
            Entry::Producer(_) => (bytes, producers + 1),
            Entry::Chunk(chunk) => (bytes + chunk.len() as u64, producers),
            Entry::Block(chunk) => (bytes + chunk.len() as u64, producers),
            Entry::Mark(_) => (bytes, producers),
        })
    }

    /// Takes everything: the chunks up to the first producer, and then producers. Bytes between two
    /// producers become a producer. Marks are dropped.
    pub(crate) fn take(&mut self) -> (Vec<Bytes>, Vec<BoxProducer>) {
        (self.cost, self.marks, self.pauses) = (0, 0, 0);
        self.end_block();
        let (mut chunks, mut producers) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.entries) {
            let chunk = match entry {
                Entry::Producer(producer) => {
                    producers.push(producer.into_inner().unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
                Entry::Mark(_) => continue,
                Entry::Chunk(chunk) => chunk,
                Entry::Block(chunk) => chunk.freeze(),
            };
            if producers.is_empty() {
                chunks.push(chunk);
            } else {
                producers.push(producer::boxed(producer::from_iter([chunk])));
            }
        }
        (chunks, producers)
    }

    /// Moves as much as possible into `sink`, in order. Flushes it when the queue is empty, at each
    /// mark, when the first producer is not ready, and before it yields. Ready when everything has
    /// been sent.
    ///
    /// A producer is polled only when the sink is ready for its chunk. `yielded` is set if
    /// it stopped to yield.
    pub(crate) fn poll_drain<S>(
        &mut self,
        cx: &mut Context<'_>,
        mut sink: Pin<&mut S>,
        yielded: &Cell<bool>,
    ) -> Poll<Result<(), DrainError>>
    where
        S: Sink<Piece, Error = io::Error>,
    {
        let mut budget = DRAIN_BUDGET;
        while !self.is_empty() {
            ready!(sink.as_mut().poll_ready(cx)).map_err(DrainError::Sink)?;
            let cost = match self.poll_first(cx) {
                Poll::Ready(Ok(First::Piece(piece, cost))) => {
                    sink.as_mut().start_send(piece).map_err(DrainError::Sink)?;
                    cost
                }
                Poll::Ready(Ok(First::Mark)) => {
                    // Nothing after it joins the sink before.
                    ready!(sink.as_mut().poll_flush(cx)).map_err(DrainError::Sink)?;
                    self.reach_mark();
                    CHUNK_COST
                }
                Poll::Ready(Ok(First::Nothing)) => continue,
                Poll::Ready(Err(e)) => {
                    self.clear();
                    return Poll::Ready(Err(DrainError::Producer(e)));
                }
                Poll::Pending => {
                    // What is buffered is sent; then the producer wakes the task.
                    ready!(sink.as_mut().poll_flush(cx)).map_err(DrainError::Sink)?;
                    return Poll::Pending;
                }
            };
            budget -= cost;
            if budget < 0 && !self.is_empty() {
                // An endless producer must not keep the task to itself.
                yielded.set(true);
                // What is buffered is sent, however little the budget allows.
                let _in_part = sink.poll_flush(cx).map_err(DrainError::Sink)?;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        sink.poll_flush(cx).map_err(DrainError::Sink)
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<First>> {
        let producer = match self.entries.front_mut() {
            Some(Entry::Producer(producer)) => producer,
            Some(Entry::Mark(_)) => return Poll::Ready(Ok(First::Mark)),
            _ => return Poll::Ready(Ok(self.pop_piece())),
        };
        let producer = producer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(chunk) = ready!(producer.as_mut().poll_next(cx)?) else {
            self.pop();
            return Poll::Ready(Ok(First::Nothing));
        };
        let cost = CHUNK_COST + chunk.len() as i64;
        Poll::Ready(Ok(First::Piece(Piece::Chunk(chunk), cost)))
    }

    fn pop_piece(&mut self) -> First {
        let piece = match self.pop() {
            Entry::Chunk(chunk) => Piece::Chunk(chunk),
            Entry::Block(block) => Piece::Block(block),
            Entry::Producer(_) | Entry::Mark(_) => return First::Nothing,
        };
        let cost = piece.len() as i64;
        First::Piece(piece, cost)
    }

    fn reach_mark(&mut self) {
        let Entry::Mark(mark) = self.pop() else { return };
        self.marks -= 1;
        match mark {
            // Nobody may wait for it any more.
            Mark::Flush(flushed) => drop(flushed.send(())),
            Mark::Pause => self.pauses -= 1,
        }
    }

    /// Removes the first entry of a queue that is not empty.
    fn pop(&mut self) -> Entry {
        let first = self.entries.pop_front();
        let entry = first.unwrap_or_else(|| Entry::Block(std::mem::take(&mut self.block)));
        debug_assert!(entry.cost() <= self.cost);
        self.cost -= entry.cost();
        entry
    }
}

impl Entry {
    fn cost(&self) -> u64 {
        match self {
            Entry::Chunk(chunk) => chunk_cost(chunk.len()),
            Entry::Block(chunk) => chunk_cost(chunk.len()),
            Entry::Producer(_) => PRODUCER_COST,
            Entry::Mark(_) => MARK_COST,
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Chunk(chunk) => chunk.len(),
            Piece::Block(block) => block.len(),
        }
    }
}

/// The cost of `len` queued bytes: floods of tiny chunks are bounded too.
pub(crate) fn chunk_cost(len: usize) -> u64 {
    len as u64 + 64
}

/// The cost of a queued producer.
pub(crate) const PRODUCER_COST: u64 = 1024;

/// The cost of a mark: floods of flushes are bounded.
pub(crate) const MARK_COST: u64 = 64;

/// The length from which a chunk is sent without a copy.
pub(crate) const LARGE: usize = 4 * 1024;

/// The first and the largest size of a block of small chunks.
const BLOCK_MIN: usize = 512;
const BLOCK_MAX: usize = 64 * 1024;

/// The bytes moved between two yields. A runtime looks at its clock only
/// every 61 polls.
const DRAIN_BUDGET: i64 = 256 * 1024;

/// The cost of a producer's chunk, besides its bytes, and of a mark.
const CHUNK_COST: i64 = 1024;
