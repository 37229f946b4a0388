use crate::channel::Watermarks;
use crate::producer::{BoxProducer, boxed};
use crate::queue::{PRODUCER_COST, chunk_cost};
use bytes::Bytes;
use futures::Stream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::{fmt, io};
use tokio::sync::{Notify, Semaphore};

/// Pushes into a channel from other tasks.
///
/// Made by [`Channel::pusher`](crate::Channel::pusher). Cheap to clone. What
/// is pushed joins the channel's queue when the channel is next polled, and
/// wakes the task that polls it; from one `Pusher` it stays in order. It is
/// raw bytes: no terminator is appended.
///
/// There is room until what is queued (each chunk counts its length plus 64
/// bytes, a producer 1 KiB) reaches the channel's high-water mark, and then
/// again when it has sunk to the low one. That mark is also how far a reader
/// who keeps up may fall behind in a burst: the default, 128 KiB, is some 1,900
/// short lines. For a broadcast set [`high_water`](crate::Builder::high_water)
/// to what the largest burst may be.
///
/// For a broadcast use [`try_push`](Self::try_push): a slow reader then costs
/// its own high-water mark and no more, and [`abort`](Self::abort) cuts it off.
/// **Never await [`push`](Self::push) in a task that owns a channel itself**: it
/// does not send its own output meanwhile, and two such tasks that fill each
/// other up wait for ever.
#[derive(Clone)]
pub struct Pusher {
    shared: Arc<Shared>,
}

/// The channel is closed; the data comes back.
#[derive(Clone, PartialEq, Eq)]
pub struct PushError<T = Bytes>(pub T);

/// Why [`Pusher::try_push`] did not take the data, which comes back.
#[derive(Clone, PartialEq, Eq)]
pub enum TryPushError {
    /// There is no room now.
    Full(Bytes),
    /// The channel is closed.
    Closed(Bytes),
}

/// The channel's end of its pushers.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
}

pub(crate) enum Pushed {
    Chunk(Bytes),
    Producer(BoxProducer),
}

struct Shared {
    state: Mutex<State>,
    /// One permit: whoever holds it is the first in line for room.
    turn: Semaphore,
    room: Notify,
    closed: Notify,
    /// Whether `State::request` holds one; to be looked at between frames.
    requested: AtomicBool,
}

struct State {
    pushed: Vec<Pushed>,
    /// What `pushed` counts against the high-water mark.
    cost: usize,
    /// What the channel had queued when it was last polled.
    queued: usize,
    /// The channel's own marks, for `queued` and `cost` together.
    room: Watermarks,
    /// Of the task that polls the channel.
    task: Option<Waker>,
    closed: bool,
    /// What the channel is still to do.
    request: Option<Request>,
}

/// What a pusher can ask of a channel besides sending. The last outweighs the
/// first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    CloseWhenDone,
    Abort,
}

impl Pusher {
    /// Queues `data`, waiting for room if there is none.
    ///
    /// Data of any size is taken when there is room at all. Those who wait are
    /// served in turn.
    ///
    /// # Errors
    ///
    /// [`PushError`], with the data, if the channel is closed or gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the data was not queued.
    pub async fn push(&self, data: impl Into<Bytes>) -> Result<(), PushError> {
        let data = data.into();
        let cost = chunk_cost(data.len());
        self.put_in_turn(data, cost, Pushed::Chunk).await.map_err(PushError)
    }

    /// Queues `data` if there is room.
    ///
    /// # Errors
    ///
    /// [`TryPushError`], with the data.
    pub fn try_push(&self, data: impl Into<Bytes>) -> Result<(), TryPushError> {
        let data = data.into();
        let cost = chunk_cost(data.len());
        self.put(data, cost, Pushed::Chunk).map_err(|refused| match refused {
            Refused::Full(data) => TryPushError::Full(data),
            Refused::Closed(data) => TryPushError::Closed(data),
        })
    }

    /// Queues a producer, waiting for room if there is none.
    ///
    /// # Errors
    ///
    /// [`PushError`], with the producer, if the channel is closed or gone.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the producer is dropped without being polled.
    pub async fn push_with_producer<S, B, E>(&self, producer: S) -> Result<(), PushError<S>>
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        let wrap = |producer| Pushed::Producer(boxed(producer));
        self.put_in_turn(producer, PRODUCER_COST, wrap).await.map_err(PushError)
    }

    /// Closes the channel's writing side once everything queued so far is
    /// sent. What is pushed afterwards is given back.
    pub fn close_when_done(&self) {
        self.request(Request::CloseWhenDone);
    }

    /// Gives the connection up: whatever its task awaits ends.
    ///
    /// What is queued is dropped, and so is input not yet handed out. `run`,
    /// `next`, `receive`, `flush` and the `Sink` end with
    /// [`Error::Aborted`](crate::Error::Aborted), once, also if the channel is
    /// closing and its peer does not read. (Only the making of a new transport
    /// in [`upgrade`](crate::Channel::upgrade) does not; give that a time.) The
    /// transport is the task's to drop.
    /// There is no last word: what you would say would wait behind what the peer
    /// does not read.
    ///
    /// ```
    /// # use asynchat::{Channel, TryPushError};
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// # let mut channel = Channel::new(io, "\n");
    /// # let pusher = channel.pusher();
    /// if let Err(TryPushError::Full(_)) = pusher.try_push("news\n") {
    ///     pusher.abort(); // it does not read
    /// }
    /// ```
    pub fn abort(&self) {
        self.request(Request::Abort);
    }

    /// Whether the channel takes no more data.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// Whether both push into the same channel.
    #[must_use]
    pub fn same_channel(&self, other: &Pusher) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Waits until the channel takes no more data.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    pub async fn closed(&self) {
        let mut closed = std::pin::pin!(self.shared.closed.notified());
        closed.as_mut().enable();
        if !self.is_closed() {
            closed.await;
        }
    }

    fn request(&self, request: Request) {
        let mut state = self.shared.lock();
        // An abort stays one.
        state.request = state.request.max(Some(request));
        self.shared.requested.store(true, Ordering::Release);
        let task = state.task.take();
        self.shared.close(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    async fn put_in_turn<D>(
        &self,
        mut data: D,
        cost: usize,
        wrap: impl Fn(D) -> Pushed,
    ) -> Result<(), D> {
        // The semaphore is never closed; without a turn one only waits unfairly.
        let _turn = self.shared.turn.acquire().await;
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            data = match self.put(data, cost, &wrap) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(data)) => return Err(data),
                Err(Refused::Full(data)) => data,
            };
            room.await;
        }
    }

    fn put<D>(&self, data: D, cost: usize, wrap: impl Fn(D) -> Pushed) -> Result<(), Refused<D>> {
        let mut state = self.shared.lock();
        if state.closed {
            return Err(Refused::Closed(data));
        }
        let waiting = state.queued + state.cost;
        if !state.room.has_room(waiting) {
            return Err(Refused::Full(data));
        }
        let pushed = wrap(data);
        if matches!(&pushed, Pushed::Chunk(data) if data.is_empty()) {
            drop(state);
            return Ok(());
        }
        state.cost += cost;
        state.pushed.push(pushed);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        Ok(())
    }
}

enum Refused<D> {
    Full(D),
    Closed(D),
}

impl Shared {
    /// Nothing of others is dropped or called under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.closed, true) {
            drop(state);
            self.closed.notify_waiters();
            self.room.notify_one();
        }
    }
}

impl Inbox {
    pub(crate) fn new(room: Watermarks, queued: usize, closed: bool) -> Self {
        let state =
            State { pushed: Vec::new(), cost: 0, queued, room, task: None, closed, request: None };
        Inbox {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                turn: Semaphore::new(1),
                room: Notify::new(),
                closed: Notify::new(),
                requested: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn pusher(&self) -> Pusher {
        Pusher { shared: Arc::clone(&self.shared) }
    }

    /// From now on a push wakes `task`.
    pub(crate) fn register(&self, task: &Waker) {
        // A closed channel's too: it may still be aborted.
        let is_known = |state: &State| state.task.as_ref().is_some_and(|t| t.will_wake(task));
        if is_known(&self.shared.lock()) {
            return;
        }
        // Cloned and dropped outside of the lock: a waker is code of others.
        let mut task = Some(task.clone());
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.task, &mut task);
        drop(state);
    }

    /// Whether a pusher wants the channel closed or aborted.
    pub(crate) fn has_request(&self) -> bool {
        self.shared.requested.load(Ordering::Acquire)
    }

    /// Takes what was pushed, and what to do behind it.
    pub(crate) fn take(&self) -> (Vec<Pushed>, Option<Request>) {
        let mut state = self.shared.lock();
        state.queued += std::mem::take(&mut state.cost);
        self.shared.requested.store(false, Ordering::Release);
        (std::mem::take(&mut state.pushed), state.request.take())
    }

    /// Takes no more, and gives what was pushed until now.
    pub(crate) fn close(&self) -> Vec<Pushed> {
        let mut state = self.shared.lock();
        let pushed = std::mem::take(&mut state.pushed);
        state.cost = 0;
        self.shared.close(state);
        pushed
    }

    /// The same if nothing was pushed; otherwise it stays open.
    pub(crate) fn close_if_empty(&self) -> bool {
        let state = self.shared.lock();
        if !state.pushed.is_empty() || state.request.is_some() {
            return false;
        }
        self.shared.close(state);
        true
    }

    /// Says how much the channel has queued now.
    pub(crate) fn publish(&self, queued: usize) {
        let mut state = self.shared.lock();
        state.queued = queued;
        let waiting = state.queued + state.cost;
        if state.room.has_room(waiting) {
            drop(state);
            self.shared.room.notify_one();
        }
    }
}

impl Drop for Inbox {
    /// Producers go with the channel, not with the last pusher.
    fn drop(&mut self) {
        drop(self.close());
        let task = self.shared.lock().task.take();
        drop(task);
    }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queued, closed) = {
            let state = self.shared.lock();
            (state.queued + state.cost, state.closed)
        };
        // Written outside of the lock: the writer is code of others.
        f.debug_struct("Pusher").field("queued", &queued).field("closed", &closed).finish()
    }
}

impl TryPushError {
    /// The data that was not queued.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        match self {
            TryPushError::Full(data) | TryPushError::Closed(data) => data,
        }
    }
}

impl fmt::Debug for TryPushError {
    /// Shows the length, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryPushError::Full(data) => write!(f, "Full({} bytes)", data.len()),
            TryPushError::Closed(data) => write!(f, "Closed({} bytes)", data.len()),
        }
    }
}

impl fmt::Display for TryPushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryPushError::Full(_) => "no room in the channel's queue",
            TryPushError::Closed(_) => "channel closed for writing",
        })
    }
}

impl std::error::Error for TryPushError {}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushError(..)")
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed for writing")
    }
}

impl<T> std::error::Error for PushError<T> {}
