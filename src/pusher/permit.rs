use super::shared::{Place, Pushed, Waiter};
use super::{PushError, collect, cost};
use bytes::Bytes;
use std::fmt;

/// Capacity for one push, which [`Pusher::reserve`](crate::Pusher::reserve) returns.
///
/// A permit counts as 64 bytes against the high-water mark until it is used or dropped. If it is
/// dropped, the next waiting push gets the capacity. The data that a permit pushes may exceed the
/// mark. The output of a channel is therefore bounded by the mark plus the data of its permits. A
/// task that waits for a second permit while it holds one can deadlock with other tasks that do the
/// same.
#[must_use = "a permit that is not used takes capacity from others"]
pub struct Permit<'a> {
    waiter: Waiter<'a>,
}

impl<'a> Permit<'a> {
    pub(super) fn new(granted: Waiter<'a>) -> Self {
        Permit { waiter: granted }
    }

    /// Queues `data` after everything pushed so far.
    ///
    /// It never waits, so the caller may hold a lock. Data of any size is accepted, and counts as
    /// its length plus 64 bytes from now on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let permit = pusher.reserve().await.unwrap();
    /// permit.push("hello\n").unwrap();
    /// channel.flush().await.unwrap();
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "hello");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`], with the data, if the channel was closed or dropped meanwhile.
    pub fn push(self, data: impl Into<Bytes>) -> Result<(), PushError> {
        let data = data.into();
        let cost = cost(&data);
        self.waiter.put(data, cost, Place::Last, Pushed::Chunk).map_err(PushError)
    }

    /// Queues several chunks with nothing between them, as [`Pusher::push_parts`] does, but never
    /// waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut channel = asynchat::Channel::new(io, "\n");
    /// let pusher = channel.pusher();
    /// let permit = pusher.reserve().await.unwrap();
    /// permit.push_parts(["5\n", "hello"]).unwrap();
    /// channel.flush().await.unwrap();
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// assert_eq!(peer.receive(7).await.unwrap(), "5\nhello");
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PushError`], with the chunks that are not empty, if the channel was closed or
    /// dropped meanwhile.
    ///
    /// [`Pusher::push_parts`]: crate::Pusher::push_parts
    pub fn push_parts(
        self,
        parts: impl IntoIterator<Item = impl Into<Bytes>>,
    ) -> Result<(), PushError<Vec<Bytes>>> {
        let (parts, cost) = collect(parts);
        self.waiter.put(parts, cost, Place::Last, Pushed::from).map_err(PushError)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
