use super::inbox::{Place, Pushed, Waiter};
use super::{PushError, cost};
use bytes::Bytes;
use std::fmt;

/// Capacity for one chunk, returned by [`Pusher::reserve`](crate::Pusher::reserve).
///
/// It counts 64 bytes against the high-water mark until it is used or dropped. Dropping it
/// lets the next push go that waits.
#[must_use = "a permit that is not used takes capacity from others"]
pub struct Permit<'a> {
    waiter: Waiter<'a>,
}

impl<'a> Permit<'a> {
    pub(super) fn new(granted: Waiter<'a>) -> Self {
        Permit { waiter: granted }
    }

    /// Queues `data` after everything pushed so far. Never waits, so the caller may hold a
    /// lock.
    ///
    /// Data of any size is accepted. It counts its length plus 64 bytes from now on.
    ///
    /// # Errors
    ///
    /// [`PushError`], with the data, if the channel was closed meanwhile or is gone.
    pub fn push(self, data: impl Into<Bytes>) -> Result<(), PushError> {
        let data = data.into();
        let cost = cost(&data);
        self.waiter.put(data, cost, Place::Last, Pushed::Chunk).map_err(PushError)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
