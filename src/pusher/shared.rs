//! The state that pushers share with their channel.
//!
//! It is made of a `Mutex` and wakers alone. Nothing that belongs to a caller (a waker,
//! a producer, data) is called or dropped under the lock.

use crate::producer::BoxProducer;
use crate::sync::{AtomicBool, Mutex, MutexGuard};
use crate::write::{LARGE, Mark, Watermarks};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

/// A request of a pusher to the channel. A later variant takes precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    CloseWhenDone,
    Abort,
}

/// A place in the order of all pushes.
pub(super) type Ticket = u64;

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// `true` if there is something to drain.
    pub(super) has_news: AtomicBool,
    /// `true` if `State::request` holds one; `run` looks at it between frames.
    pub(super) has_request: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    /// In the order of their tickets.
    pub(super) pushed: VecDeque<(Ticket, Pushed)>,
    /// The sum of the costs of `pushed`.
    cost: u64,
    /// The sum of the costs of pushes that have capacity and are not in `pushed` yet.
    granted: u64,
    /// The number of bytes that the channel had queued when it last notified.
    pub(super) queued: u64,
    /// The channel's own marks, for all of these.
    pub(super) watermarks: Option<Watermarks>,
    next_ticket: Ticket,
    /// The ticket of the last push that has waited for capacity, and keeps its place.
    last_waiter: Ticket,
    /// The pushes that wait for capacity. A ticket that is not here has been granted.
    waiting: BTreeMap<Ticket, Waiting>,
    /// The tasks that wait for the close.
    closed_waiters: BTreeMap<Ticket, Waker>,
    /// The task that polls the channel.
    pub(super) task: Option<Waker>,
    pub(super) closed: bool,
    pub(super) request: Option<Request>,
    /// How often output was discarded.
    pub(super) discards: u64,
}

struct Waiting {
    cost: u64,
    waker: Waker,
}

/// The reason why data was not taken.
pub(super) enum Refused<D> {
    Full(D),
    Closed(D),
}

/// The item that a push queues.
pub(crate) enum Pushed {
    Chunk(Bytes),
    /// Small chunks, copied together, to which more may come. Never empty.
    Block(BytesMut),
    /// Boxed, so that a chunk takes no more space than `Bytes`.
    Other(Box<Other>),
}

impl From<Vec<Bytes>> for Pushed {
    /// One part is a chunk. A list of parts would cost more than is counted for it.
    fn from(parts: Vec<Bytes>) -> Self {
        match <[Bytes; 1]>::try_from(parts) {
            Ok([part]) => Pushed::Chunk(part),
            Err(parts) => Other::Parts(parts).into(),
        }
    }
}

impl From<Other> for Pushed {
    fn from(other: Other) -> Self {
        Pushed::Other(Box::new(other))
    }
}

/// An item that is not a single chunk.
pub(crate) enum Other {
    /// Chunks with nothing between them.
    Parts(Vec<Bytes>),
    Producer(BoxProducer),
    Mark(Mark),
}

impl State {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The cost that counts against the high-water mark.
    pub(super) fn total(&self) -> u64 {
        self.queued + self.cost + self.granted
    }

    fn has_capacity(&mut self) -> bool {
        let total = self.total();
        self.watermarks.as_mut().is_none_or(|marks| marks.update(total))
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Grants capacity to pushes that wait, in their order. Returns the tasks to wake.
    pub(super) fn grant(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.has_capacity() {
            let Some((_, Waiting { cost, waker })) = self.waiting.pop_first() else { break };
            self.granted += cost;
            wakers.push(waker);
        }
        wakers
    }

    /// Queues `item` in its place. Returns the task to wake, and a chunk that was copied.
    fn put(&mut self, ticket: Ticket, item: Pushed, cost: u64) -> (Option<Waker>, Option<Pushed>) {
        self.cost += cost;
        let copied = self.gather(ticket, item);
        (self.task.take(), copied)
    }

    /// Queues `item` in its place. Small chunks are copied together. Returns a chunk that was
    /// copied, to be dropped outside the lock.
    fn gather(&mut self, ticket: Ticket, item: Pushed) -> Option<Pushed> {
        match (self.pushed.back_mut(), &item) {
            // A granted push may be polled after later ones, but keeps its place.
            (Some((last, _)), _) if *last > ticket => {
                let at = self.pushed.partition_point(|(other, _)| *other < ticket);
                self.pushed.insert(at, (ticket, item));
                return None;
            }
            // Nothing can come to lie within a block that was begun after all who wait.
            (Some((first, Pushed::Block(block))), Pushed::Chunk(chunk))
                if *first > self.last_waiter
                    && chunk.len() < LARGE
                    && chunk.len() <= block.capacity() - block.len() =>
            {
                block.extend_from_slice(chunk);
            }
            // Not after anything else: small chunks between others would hold a block each.
            (Some((_, last @ (Pushed::Chunk(_) | Pushed::Block(_)))), Pushed::Chunk(chunk))
                if chunk.len() < LARGE && ticket > self.last_waiter =>
            {
                // Another block, as large as those before it, is not moved to grow.
                let before = if let Pushed::Block(block) = last { block.capacity() } else { 0 };
                let size = (2 * before).clamp(BLOCK_MIN, BLOCK_MAX).max(chunk.len());
                let mut block = BytesMut::with_capacity(size);
                block.extend_from_slice(chunk);
                self.pushed.push_back((ticket, Pushed::Block(block)));
            }
            _ => {
                self.pushed.push_back((ticket, item));
                return None;
            }
        }
        Some(item)
    }

    /// Takes the pushed items. Until the next notification they count as queued.
    pub(super) fn take_pushed(&mut self) -> VecDeque<(Ticket, Pushed)> {
        self.queued += std::mem::take(&mut self.cost);
        std::mem::take(&mut self.pushed)
    }

    /// Closes. Returns the tasks to wake.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        self.granted = 0;
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|w| w.waker);
        waiting.chain(std::mem::take(&mut self.closed_waiters).into_values()).collect()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, ticket: Ticket, item: Pushed, cost: u64) {
        let (task, copied) = state.put(ticket, item, cost);
        self.has_news.store(true, Ordering::Release);
        drop(state);
        drop(copied);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Queues `data` if there is capacity and no other push waits for it. Empty data has no
    /// cost.
    pub(super) fn try_put<D>(
        &self,
        data: D,
        cost: u64,
        wrap: impl FnOnce(D) -> Pushed,
    ) -> Result<(), Refused<D>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed(data));
        }
        if !state.waiting.is_empty() || !state.has_capacity() {
            return Err(Refused::Full(data));
        }
        if cost > 0 {
            let ticket = state.ticket();
            self.put(state, ticket, wrap(data), cost);
        }
        Ok(())
    }

    pub(super) fn request(&self, request: Request) {
        let mut state = self.lock();
        // An abort remains one.
        state.request = state.request.max(Some(request));
        self.has_news.store(true, Ordering::Release);
        self.has_request.store(true, Ordering::Release);
        let mut wakers = state.close();
        wakers.extend(state.task.take());
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits for the close, under the ticket that the first poll returns.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>, ticket: &mut Option<u64>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(());
        }
        let ticket = *ticket.get_or_insert_with(|| state.ticket());
        let before = state.closed_waiters.insert(ticket, waker);
        drop(state);
        drop(before);
        Poll::Pending
    }

    pub(super) fn forget_closed_waiter(&self, ticket: u64) {
        let waiter = self.lock().closed_waiters.remove(&ticket);
        drop(waiter);
    }
}

/// A push that waits for capacity, or has it. Dropping it frees its place.
// The data stays with the caller until it is queued: a dropped future has pushed nothing.
pub(super) struct Waiter<'a> {
    shared: &'a Shared,
    cost: u64,
    ticket: Option<Ticket>,
    /// `false` if its item becomes the last in any case.
    keeps_place: bool,
    /// How often output had been discarded when it began to wait.
    discards: u64,
}

/// The place of data in the order of all pushes.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The place of the push that waited.
    Waited,
    /// The same, unless output was discarded meanwhile.
    Undiscarded,
    /// The place of a permit. Its holder may register a request and push it under one lock, so that
    /// requests are in the order of their registrations.
    Last,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(shared: &'a Shared, cost: u64, keeps_place: bool) -> Self {
        Waiter { shared, cost, ticket: None, keeps_place, discards: 0 }
    }

    /// Waits for capacity of this cost, which is kept until it is used. Returns an error if the
    /// channel is closed.
    pub(super) fn poll_granted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ()>> {
        let mut waker = cx.waker().clone();
        let mut state = self.shared.lock();
        if state.closed {
            return Poll::Ready(Err(()));
        }
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => {
                let ticket = state.ticket();
                (self.ticket, self.discards) = (Some(ticket), state.discards);
                if self.keeps_place {
                    state.last_waiter = ticket;
                }
                if !state.waiting.is_empty() || !state.has_capacity() {
                    let waker = waker.clone();
                    state.waiting.insert(ticket, Waiting { cost: self.cost, waker });
                } else {
                    state.granted += self.cost;
                }
                ticket
            }
        };
        let Some(waiting) = state.waiting.get_mut(&ticket) else { return Poll::Ready(Ok(())) };
        std::mem::swap(&mut waiting.waker, &mut waker);
        drop(state);
        Poll::Pending
    }

    /// Queues data that has been granted capacity. It counts its own cost from now on.
    pub(super) fn put<D>(
        mut self,
        data: D,
        cost: u64,
        place: Place,
        wrap: impl FnOnce(D) -> Pushed,
    ) -> Result<(), D> {
        let mut state = self.shared.lock();
        let is_late = matches!(place, Place::Undiscarded) && state.discards != self.discards;
        if state.closed || is_late {
            return Err(data);
        }
        if cost == 0 {
            return Ok(());
        }
        let Some(waited) = self.ticket.take() else { return Err(data) };
        state.granted -= self.cost;
        let ticket = match place {
            Place::Waited | Place::Undiscarded => waited,
            Place::Last => state.ticket(),
        };
        self.shared.put(state, ticket, wrap(data), cost);
        Ok(())
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.shared.lock();
        let waiting = state.waiting.remove(&ticket);
        let mut wakers = Vec::new();
        if waiting.is_none() && !state.closed {
            state.granted -= self.cost;
            wakers = state.grant();
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The first and the largest size of a block of small chunks.
const BLOCK_MIN: usize = 1024;
const BLOCK_MAX: usize = 64 * 1024;
