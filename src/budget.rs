//! The work that a task may do on a channel before it yields to others.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The work that is left until the task yields, in bytes.
///
/// A burst that a channel passes on to others must not reach their high-water mark before they are
/// polled.
#[derive(Debug)]
pub(crate) struct Budget(i64);

impl Budget {
    pub(crate) const fn new() -> Self {
        Budget(BUDGET)
    }

    #[inline(always)]
    pub(crate) fn spend(&mut self, cost: usize) {
        // Nothing has so many bytes.
        debug_assert!(i64::try_from(cost).is_ok());
        self.0 = self.0.wrapping_sub(cost as i64);
    }

    /// Spends a frame of this number of bytes.
    #[inline(always)]
    pub(crate) fn spend_frame(&mut self, bytes: usize) {
        self.spend(FRAME + bytes);
    }

    #[inline(always)]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0 <= 0
    }

    /// Returns `true` if more was spent than there was.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.0 < 0
    }

    /// Leaves nothing, but enough for one more read: that stops only what is overdrawn.
    pub(crate) fn exhaust(&mut self) {
        self.0 = 0;
    }

    /// Restores the budget, because the task waits and other tasks run.
    #[inline(always)]
    pub(crate) fn restart(&mut self) {
        *self = Budget::new();
    }

    /// Yields: returns `Pending`, and wakes the task at once.
    pub(crate) fn poll_yield<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.restart();
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Returns `Pending`, and wakes the task, if the runtime makes the task yield. Every resource of
/// tokio is then pending, even a transport that has something to read.
pub(crate) fn poll_runtime(cx: &mut Context<'_>) -> Poll<()> {
    let (sender, receiver) = oneshot::channel();
    // A completed oneshot is pending for that reason alone. tokio's own question for it,
    // `has_budget_remaining`, needs its feature `rt`.
    let _ = sender.send(());
    pin!(receiver).poll(cx).map(drop)
}

/// The work between two yields.
const BUDGET: i64 = 64 * 1024;

/// The cost of a frame, besides its bytes.
pub(crate) const FRAME: usize = 64;

/// The cost of a call to the transport, besides the bytes it moves.
pub(crate) const CALL: usize = 512;
