//! The tasks that poll a channel: one, or one for each side.
//!
//! The transport, the timer and the inbox hold one waker each, and polling either side registers a
//! waker with all of them. While one task waits, it is the waker of that task. When two tasks wait,
//! it is a waker that wakes both.

use crate::sync::{Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

/// A side of a channel: its input or its output. Each side may be polled by its own task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

/// The wakers of the sides whose last poll was pending.
#[derive(Default)]
pub(crate) struct Wakers {
    input: Option<Waker>,
    output: Option<Waker>,
    /// Created when two tasks poll the channel.
    both: Option<Arc<Both>>,
}

/// Wakes both tasks.
#[derive(Default)]
struct Both(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    input: Option<Waker>,
    output: Option<Waker>,
    /// `true` if both tasks were woken since the channel last checked.
    is_woken: bool,
}

impl Wakers {
    /// Returns `true` if no task waits for input.
    #[inline(always)]
    pub(crate) fn is_input_idle(&self) -> bool {
        self.input.is_none()
    }

    /// Returns `true` if another task than `task` waits for input.
    pub(crate) fn input_waits_elsewhere(&self, task: &Waker) -> bool {
        self.input.as_ref().is_some_and(|input| !input.will_wake(task))
    }

    /// Begins a poll of a side. Returns the waker to poll with, if it is not `task`.
    pub(crate) fn enter(&mut self, side: Side, task: &Waker) -> Option<Waker> {
        self.forget_woken();
        let other = match side {
            Side::Input => &self.output,
            Side::Output => &self.input,
        };
        let other = other.as_ref().filter(|other| !other.will_wake(task))?.clone();
        let both = self.both.get_or_insert_default();
        let (task, other) = (Some(task.clone()), Some(other));
        let (input, output) = match side {
            Side::Input => (task, other),
            Side::Output => (other, task),
        };
        both.set(Slots { input, output, is_woken: false });
        Some(Waker::from(Arc::clone(both)))
    }

    /// Ends a poll of a side: its waker is kept if that was pending, or forgotten.
    pub(crate) fn leave(&mut self, side: Side, task: &Waker, is_pending: bool) {
        let slot = match side {
            Side::Input => &mut self.input,
            Side::Output => &mut self.output,
        };
        if !is_pending {
            *slot = None;
            if let Some(both) = &self.both {
                both.forget(side);
            }
        } else if !slot.as_ref().is_some_and(|known| known.will_wake(task)) {
            *slot = Some(task.clone());
        }
    }

    /// Wakes the task of the other side, which waits for a change that was just made.
    pub(crate) fn wake_other(&self, side: Side) {
        let other = match side {
            Side::Input => &self.output,
            Side::Output => &self.input,
        };
        other.iter().for_each(Waker::wake_by_ref);
    }

    /// A woken task registers again when it is polled. The waker of a task that has ended must not
    /// be kept.
    fn forget_woken(&mut self) {
        if self.both.as_ref().is_some_and(|both| both.take_woken()) {
            (self.input, self.output) = (None, None);
        }
    }
}

impl Both {
    fn set(&self, slots: Slots) {
        let before = std::mem::replace(&mut *self.lock(), slots);
        drop(before);
    }

    fn forget(&self, side: Side) {
        let mut slots = self.lock();
        let waker = match side {
            Side::Input => slots.input.take(),
            Side::Output => slots.output.take(),
        };
        drop(slots);
        drop(waker);
    }

    fn take_woken(&self) -> bool {
        std::mem::take(&mut self.lock().is_woken)
    }

    /// No waker is called or dropped under the lock.
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut slots = self.lock();
        let (input, output) = (slots.input.take(), slots.output.take());
        slots.is_woken |= input.is_some() || output.is_some();
        drop(slots);
        input.into_iter().chain(output).for_each(Waker::wake);
    }
}
