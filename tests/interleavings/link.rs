//! One connection of a run: what has gone in and out, and who waits for more.

use crate::variant::Variant;
use bytes::Bytes;
use std::io::IoSlice;
use std::task::{Context, Waker};

/// The task that reads. In scenarios of one task it does everything.
pub(crate) const INPUT: usize = 0;
/// The task that writes.
pub(crate) const OUTPUT: usize = 1;

/// The place where an event finds a waker. As in a socket there is room for one, that of
/// the task that was polled last.
#[derive(Default)]
pub(crate) struct Slot {
    waker: Option<Waker>,
    /// The tasks whose last poll left them waiting for this event.
    pub(crate) waiting: [bool; 2],
}

impl Slot {
    pub(crate) fn set(&mut self, task: usize, cx: &Context<'_>) {
        self.waker = Some(cx.waker().clone());
        self.waiting[task] = true;
    }

    /// The event is over for the task that is being polled.
    pub(crate) fn clear(&mut self, task: usize) {
        self.waker = None;
        self.waiting[task] = false;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.waker.is_some()
    }

    /// Whether the last poll of this task left `waker` here.
    pub(crate) fn is_left_by(&self, task: usize, is_stale: impl Fn(&Waker) -> bool) -> bool {
        self.waiting[task] && self.waker.as_ref().is_some_and(|waker| !is_stale(waker))
    }

    /// Takes the waker, and returns it with the tasks that must be woken.
    pub(crate) fn take(&mut self) -> (Option<Waker>, [bool; 2]) {
        (self.waker.take(), std::mem::take(&mut self.waiting))
    }
}

/// The two ends of a transport that a run looks at.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) variant: Variant,
    pub(crate) input: Bytes,
    /// How many bytes of the input were read.
    pub(crate) delivered: usize,
    /// Whether the peer never ends its side.
    pub(crate) is_quiet: bool,
    /// Whether the connection breaks at the end of the input.
    pub(crate) breaks: bool,
    /// Whether the input begins again at its end.
    pub(crate) is_endless: bool,
    /// Whether one byte leaves the transport's buffer with each call.
    pub(crate) is_slow: bool,
    pub(crate) has_ended: bool,
    /// Reading has failed.
    pub(crate) read_failed: bool,
    /// Reading has failed in a way that ends writing, too.
    pub(crate) is_broken: bool,
    pub(crate) reader: Slot,
    /// The bytes that the transport has taken.
    pub(crate) wire: Vec<u8>,
    /// How many of them, the last ones, are still in its buffer.
    pub(crate) buffered: usize,
    /// How many bytes are still in its buffer from before the channel began.
    pub(crate) buffered_before: usize,
    pub(crate) flushed: usize,
    /// The last call of the writing side was a flush that went through.
    pub(crate) has_flushed: bool,
    pub(crate) is_shut: bool,
    pub(crate) write_failed: bool,
    /// The first slice of the write that was pending last, unless it went through since.
    pub(crate) offered: Option<Vec<u8>>,
    pub(crate) writer: Slot,
}

impl Link {
    /// Whether there is more to read.
    pub(crate) fn is_readable(&self) -> bool {
        !self.has_ended && !self.read_failed
    }

    /// Whether nothing can be written any more, because of a failure.
    pub(crate) fn is_lost(&self) -> bool {
        self.write_failed || self.is_broken
    }

    pub(crate) fn received(&self) -> &[u8] {
        &self.input[..self.delivered]
    }

    /// Whether the transport was flushed that held bytes before, or is being flushed, or
    /// is lost.
    pub(crate) fn is_begun(&self) -> bool {
        self.buffered_before == 0 || self.writer.is_set() || self.is_lost()
    }

    /// How much the transport's buffer can take.
    pub(crate) fn room(&self) -> usize {
        let used = self.buffered + self.buffered_before;
        self.variant.transport_buffer().map_or(usize::MAX, |size| size.saturating_sub(used))
    }

    /// Grows with each byte that the transport takes, and with each that leaves it.
    pub(crate) fn progress(&self) -> usize {
        2 * self.wire.len() - self.buffered
    }

    /// Moves this many bytes out of the transport's buffer.
    pub(crate) fn pass_on(&mut self, n: usize) {
        let before = n.min(self.buffered_before);
        self.buffered_before -= before;
        self.buffered -= self.buffered.min(n - before);
    }

    pub(crate) fn letter_of_slow_peer(&self) -> u8 {
        if self.buffered + self.buffered_before > 1 { b'P' } else { b'A' }
    }

    /// Compares a write with the pending one before it.
    pub(crate) fn check_retry(&self, slices: &[IoSlice<'_>]) {
        let Some(offered) = self.offered.as_ref().filter(|_| self.variant.checks_retries) else {
            return;
        };
        let mut rest = &offered[..];
        for slice in slices {
            let (part, behind) = rest.split_at(rest.len().min(slice.len()));
            assert!(slice.starts_with(part), "a retried write begins with other bytes");
            rest = behind;
        }
        assert!(rest.is_empty(), "a retried write is shorter than before");
    }

    pub(crate) fn reset(&mut self, variant: Variant) {
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        *self = Link { wire, variant, ..Link::default() };
    }
}
