//! `Pusher`: output for a channel from other tasks.

mod inbox;
mod permit;
mod shared;

pub(crate) use self::inbox::Inbox;
pub use self::permit::Permit;
pub(crate) use self::shared::Request;

use self::shared::{Other, Place, Pushed, Refused, Shared, Waiter};
use crate::producer::boxed;
use crate::sync::{Arc, oneshot};
use crate::write::{MARK_COST, Mark, PRODUCER_COST, Writer, chunk_cost};
use bytes::Bytes;
use futures_core::Stream;
use std::future::poll_fn;
use std::{fmt, io};

/// A handle that pushes into a channel from other tasks.
///
/// [`Channel::pusher`](crate::Channel::pusher) creates a pusher, which is cheap to clone. For
/// recipes see [tasks](crate::guide::tasks) in the guide.
///
/// A push wakes the task that polls the channel, and the data joins the channel's queue in that
/// poll. The data is raw bytes, to which no terminator is appended. Pushes that have capacity at
/// once are sent in the order in which they are made. Waiting pushes get capacity in their order,
/// and each takes its place in the queue when its task is polled again.
///
/// | method | queues | without capacity |
/// |---|---|---|
/// | [`push`](Self::push) | one chunk | waits |
/// | [`try_push`](Self::try_push) | one chunk | returns `Full` |
/// | [`push_parts`](Self::push_parts) | several chunks, and nothing between them | waits |
/// | [`push_with_producer`](Self::push_with_producer) | a producer | waits |
/// | [`reserve`](Self::reserve) | nothing; returns a [`Permit`] | waits |
/// | [`Permit::push`] | one chunk | pushes anyway |
/// | [`flush`](Self::flush) | nothing; waits until everything queued before is sent | waits |
///
/// There is capacity until the queue reaches the channel's high-water mark, and again when it has
/// drained to the low-water mark. Each chunk counts as its length plus 64 bytes, a producer as 1
/// KiB, and a permit or a flush as 64 bytes.
///
/// For a broadcast use [`try_push`](Self::try_push), and disconnect a slow reader with
/// [`abort`](Self::abort). A slow reader then holds at most its own high-water mark. That mark also
/// limits how far a fast reader may lag in a burst, so set
/// [`high_water`](crate::Builder::high_water) to the size of the largest burst. See
/// [broadcast](crate::guide::output#broadcast) in the guide.
///
/// **A task that owns a channel must never await a method of a `Pusher` that waits.** Meanwhile,
/// the task would not send its own output. It must not wait for another task that does so either,
/// for example through a bounded queue. Two such tasks can deadlock. No timeout ends such a
/// deadlock, because timeouts are checked only while a method of the channel is awaited. Inside
/// [`Channel::drive`](crate::Channel::drive), a push into the same channel is allowed.
#[derive(Clone)]
pub struct Pusher {
    shared: Arc<Shared>,
}

/// The error of a push into a closed channel, with the data that was not queued.
#[derive(Clone, PartialEq, Eq)]
pub struct PushError<T = Bytes>(pub T);

/// The error of [`Pusher::try_push`], with the data that was not queued.
#[derive(Clone, PartialEq, Eq)]
pub enum TryPushError {
    /// There is no capacity at the moment, or another push is waiting for it.
    Full(Bytes),
    /// The channel is closed.
    Closed(Bytes),
}

impl Pusher {
    /// Queues `data`, and waits for capacity if there is none.
    ///
    /// When there is any capacity, data of any size is accepted. Waiting pushes get capacity in
    /// their order.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let owner = tokio::spawn(async move { channel.next().await.is_none() });
    /// pusher.push("news\n").await.unwrap();
    /// assert_eq!(peer.receive("\n").await.unwrap(), "news");
    /// drop(peer);
    /// assert!(owner.await.unwrap()); // the channel is dropped
    /// assert!(pusher.push("late\n").await.is_err());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`], with the data, if the channel is closed or dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped before it is ready, the data is not queued.
    pub async fn push(&self, data: impl Into<Bytes>) -> Result<(), PushError> {
        let data = data.into();
        let cost = cost(&data);
        self.put(data, cost, Pushed::Chunk).await.map_err(PushError)
    }

    /// Queues `data` if there is capacity.
    ///
    /// No push overtakes one that waits: while another push waits for capacity, this returns
    /// [`TryPushError::Full`] even if there is capacity. Therefore, do not await
    /// [`push`](Self::push) into a channel that a broadcaster aborts on `Full`. The broadcaster
    /// would disconnect a peer that keeps up.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, TryPushError};
    ///
    /// let mut channel = Channel::builder().high_water(100).build(io);
    /// let pusher = channel.pusher();
    /// assert!(pusher.try_push(vec![b'x'; 100]).is_ok());
    /// assert!(matches!(pusher.try_push("more"), Err(TryPushError::Full(_))));
    /// # channel.discard_buffers();
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryPushError`], with the data.
    pub fn try_push(&self, data: impl Into<Bytes>) -> Result<(), TryPushError> {
        let data = data.into();
        let cost = cost(&data);
        self.shared.try_put(data, cost, Pushed::Chunk).map_err(|refused| match refused {
            Refused::Full(data) => TryPushError::Full(data),
            Refused::Closed(data) => TryPushError::Closed(data),
        })
    }

    /// Queues several chunks with nothing between them, and waits for capacity if there is
    /// none.
    ///
    /// Use this for a head and a body, without copying the body. Empty chunks are skipped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// use bytes::Bytes;
    ///
    /// let pusher = channel.pusher();
    /// let body = Bytes::from_static(b"hello");
    /// pusher.push_parts([Bytes::from(format!("{}\n", body.len())), body]).await.unwrap();
    /// channel.close_when_done();
    /// # drop(channel.flush().await);
    /// # drop(channel);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "5");
    /// assert_eq!(peer.receive(5).await.unwrap(), "hello");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`], with the chunks that are not empty, if the channel is closed or
    /// dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped before it is ready, nothing is queued.
    pub async fn push_parts(
        &self,
        parts: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<(), PushError<Vec<Bytes>>> {
        let (parts, cost) = collect(parts);
        self.put(parts, cost, Pushed::from).await.map_err(PushError)
    }

    /// Queues a producer, and waits for capacity if there is none.
    ///
    /// See [`Channel::push_with_producer`](crate::Channel::push_with_producer).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let producer = asynchat::producer::from_iter(["one, ", "two\n"]);
    /// pusher.push_with_producer(producer).await.unwrap();
    /// channel.flush().await.unwrap();
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "one, two");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`], with the producer, if the channel is closed or dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped before it is ready, the producer is dropped
    /// without being polled.
    pub async fn push_with_producer<S, B, E>(&self, producer: S) -> Result<(), PushError<S>>
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        let wrap = |producer| Other::Producer(boxed(producer)).into();
        self.put(producer, PRODUCER_COST, wrap).await.map_err(PushError)
    }

    /// Waits for capacity, and returns a permit to push one chunk without waiting.
    ///
    /// A caller can then register its request and push it in one step, within which its future
    /// cannot be dropped. No caller therefore gets the answer of another:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// use asynchat::{PushError, Pusher};
    /// use std::collections::VecDeque;
    /// use std::sync::Mutex;
    /// use tokio::sync::oneshot::{self, Receiver, Sender};
    ///
    /// /// The answers come in the order of the requests.
    /// type Waiters = Mutex<VecDeque<Sender<String>>>;
    ///
    /// async fn call(
    ///     pusher: &Pusher,
    ///     waiters: &Waiters,
    ///     request: &'static str,
    /// ) -> Result<Receiver<String>, PushError<()>> {
    ///     let permit = pusher.reserve().await?;
    ///     let (sender, receiver) = oneshot::channel();
    ///     let mut waiters = waiters.lock().unwrap();
    ///     permit.push(request).map_err(|_| PushError(()))?;
    ///     waiters.push_back(sender);
    ///     Ok(receiver)
    /// }
    ///
    /// let (pusher, waiters) = (channel.pusher(), Waiters::default());
    /// let answer = call(&pusher, &waiters, "GET a\n").await.unwrap();
    /// assert_eq!(waiters.lock().unwrap().len(), 1);
    /// # drop((answer, channel.flush().await));
    /// # }
    /// ```
    ///
    /// Permits and waiting pushes get capacity in one order. Data takes its place in the output
    /// when it is pushed, and not when capacity was reserved.
    ///
    /// When the connection ends, the owner must first close or drop the channel, and then drop the
    /// registered requests. In the other order, a caller could register a request after that, which
    /// would never be answered.
    ///
    /// # Errors
    ///
    /// [`PushError`] if the channel is closed or dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped before it is ready, the next waiting push gets the
    /// capacity.
    pub async fn reserve(&self) -> Result<Permit<'_>, PushError<()>> {
        let mut waiter = Waiter::new(&self.shared, chunk_cost(0), false);
        poll_fn(|cx| waiter.poll_granted(cx)).await.map_err(PushError)?;
        Ok(Permit::new(waiter))
    }

    /// Waits until everything queued so far is passed to the transport, and the transport is
    /// flushed.
    ///
    /// This includes data of this pusher, of others and of the channel itself, but not output that
    /// is queued later. A [corked](crate::Builder::corked) channel sends, too. A flush waits for
    /// capacity as a push does, and counts as 64 bytes until it completes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// let pusher = channel.pusher();
    /// let owner = tokio::spawn(async move { channel.next().await.is_none() });
    /// pusher.push("bye\n").await.unwrap();
    /// pusher.flush().await.unwrap();
    /// owner.abort(); // drops the channel
    /// assert_eq!(peer.receive("\n").await.unwrap(), "bye");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`] if the channel is closed or dropped, or if the output is discarded.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the output and its order do not change.
    pub async fn flush(&self) -> Result<(), PushError<()>> {
        let (flush, flushed) = oneshot::channel();
        let mut waiter = Waiter::new(&self.shared, MARK_COST, true);
        poll_fn(|cx| waiter.poll_granted(cx)).await.map_err(PushError)?;
        let wrap = |flush| Other::Mark(Mark::Flush(flush)).into();
        let put = waiter.put(flush, MARK_COST, Place::Undiscarded, wrap);
        put.map_err(|_| PushError(()))?;
        flushed.await.map_err(|_| PushError(()))
    }

    /// Closes the channel's write half after everything queued so far is sent.
    ///
    /// Later pushes return an error. [`run`](crate::Channel::run) delivers no further frame.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// pusher.push("bye\n").await.unwrap();
    /// pusher.close_when_done();
    /// assert!(pusher.push("late\n").await.is_err());
    /// channel.flush().await.unwrap();
    /// # let mut peer = asynchat::Channel::new(peer, None);
    /// assert_eq!(peer.receive(None).await.unwrap(), "bye\n");
    /// # }
    /// ```
    pub fn close_when_done(&self) {
        self.shared.request(Request::CloseWhenDone);
    }

    /// Disconnects the peer, and ends the method that the channel's task awaits.
    ///
    /// Queued output and undelivered input are dropped. The awaited method (`run`, `next`,
    /// `receive`, `flush` or the `Sink`) returns [`Error::Aborted`](crate::Error::Aborted), once.
    /// This also applies while the channel closes and its peer does not read. Only
    /// [`upgrade`](crate::Channel::upgrade) is not interrupted while it makes the new transport.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, Error};
    ///
    /// let mut channel = Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let owner = tokio::spawn(async move { channel.next().await });
    /// pusher.abort();
    /// assert!(matches!(owner.await.unwrap(), Some(Err(Error::Aborted))));
    /// # }
    /// ```
    pub fn abort(&self) {
        self.shared.request(Request::Abort);
    }

    /// Returns `true` if the channel accepts no more data.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// assert!(!pusher.is_closed());
    /// drop(channel);
    /// assert!(pusher.is_closed());
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().is_closed()
    }

    /// Returns `true` if both pushers push into the same channel.
    ///
    /// ```
    /// # let ((io, _peer), (other_io, _other_peer)) = (tokio::io::duplex(64), tokio::io::duplex(64));
    /// use asynchat::Channel;
    ///
    /// let (mut one, mut other) = (Channel::new(io, "\n"), Channel::new(other_io, "\n"));
    /// let pusher = one.pusher();
    /// assert!(pusher.same_channel(&pusher.clone()));
    /// assert!(!pusher.same_channel(&other.pusher()));
    /// ```
    #[must_use]
    pub fn same_channel(&self, other: &Pusher) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Waits until the channel accepts no more data.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let watcher = tokio::spawn(async move { pusher.closed().await });
    /// drop(channel);
    /// assert!(watcher.await.is_ok());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: this method changes nothing.
    pub async fn closed(&self) {
        let mut waiter = ClosedWaiter { shared: &self.shared, ticket: None };
        poll_fn(|cx| waiter.shared.poll_closed(cx, &mut waiter.ticket)).await;
    }

    async fn put<D>(&self, data: D, cost: u64, wrap: impl Fn(D) -> Pushed) -> Result<(), D> {
        let data = match self.shared.try_put(data, cost, &wrap) {
            Ok(()) => return Ok(()),
            Err(Refused::Closed(data)) => return Err(data),
            Err(Refused::Full(data)) => data,
        };
        let mut waiter = Waiter::new(&self.shared, cost, true);
        if poll_fn(|cx| waiter.poll_granted(cx)).await.is_err() {
            return Err(data);
        }
        waiter.put(data, cost, Place::Waited, wrap)
    }
}

impl Inbox {
    /// A pusher into the channel of this inbox, which is made if there is none.
    pub(crate) fn pusher(inbox: &mut Option<Self>, writer: &Writer) -> Pusher {
        Pusher { shared: Inbox::shared(inbox, writer) }
    }
}

struct ClosedWaiter<'a> {
    shared: &'a Shared,
    ticket: Option<u64>,
}

impl Drop for ClosedWaiter<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.forget_closed_waiter(ticket);
        }
    }
}

/// The chunks that are not empty, and their cost.
fn collect(parts: impl IntoIterator<Item = impl Into<Bytes>>) -> (Vec<Bytes>, u64) {
    let parts = parts.into_iter().map(Into::into).filter(|part: &Bytes| !part.is_empty());
    let parts: Vec<Bytes> = parts.collect();
    let cost = parts.iter().map(cost).sum();
    (parts, cost)
}

/// The cost of a chunk. An empty one is not queued.
fn cost(data: &Bytes) -> u64 {
    if data.is_empty() { 0 } else { chunk_cost(data.len()) }
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (queued, closed) = {
            let state = self.shared.lock();
            (state.total(), state.is_closed())
        };
        // Written outside the lock: the writer is the caller's code.
        f.debug_struct("Pusher").field("queued", &queued).field("closed", &closed).finish()
    }
}

impl TryPushError {
    /// Returns the data that was not queued.
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
            TryPushError::Full(_) => "no capacity in the channel's queue",
            TryPushError::Closed(_) => "channel closed for writing",
        })
    }
}

impl std::error::Error for TryPushError {}

impl<T> fmt::Debug for PushError<T> {
    /// Never shows content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushError(..)")
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("channel closed, or output discarded")
    }
}

impl<T> std::error::Error for PushError<T> {}
