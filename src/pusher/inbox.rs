//! The channel's side of the state that pushers share with it.

use super::shared::{Other, Pushed, Request, Shared, State, Ticket};
use crate::budget::FRAME;
use crate::sync::Arc;
use crate::write::Writer;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::Waker;

/// The channel's side of the inbox.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
    /// The value of the last notification, or `UNKNOWN`.
    notified: u64,
}

impl Inbox {
    fn new(writer: &Writer) -> Self {
        let shared = Shared::default();
        let mut state = shared.lock();
        state.queued = writer.queued();
        state.watermarks = Some(writer.watermarks());
        state.closed = !writer.is_open();
        drop(state);
        Inbox { shared: Arc::new(shared), notified: UNKNOWN }
    }

    /// Returns the state shared with pushers. The inbox is made if there is none.
    pub(super) fn shared(inbox: &mut Option<Self>, writer: &Writer) -> Arc<Shared> {
        Arc::clone(&inbox.get_or_insert_with(|| Inbox::new(writer)).shared)
    }

    /// Closes inbox and output after what was pushed until now.
    pub(crate) fn close_when_done(inbox: &mut Option<Self>, writer: &mut Writer) {
        if let Some(inbox) = inbox {
            inbox.close_into(writer);
        }
        writer.close_when_done();
    }

    /// Closes, and moves what was pushed until now into the queue.
    pub(crate) fn close_into(&mut self, writer: &mut Writer) {
        queue(self.close(), writer);
    }

    /// Returns `true` if the last pusher is gone.
    pub(crate) fn is_abandoned(&mut self) -> bool {
        Arc::get_mut(&mut self.shared).is_some()
    }

    /// Returns `true` if there is something to drain.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.shared.has_news.load(Ordering::Acquire)
    }

    /// Returns `true` if a pusher wants the channel closed or aborted.
    #[inline]
    pub(crate) fn has_request(&self) -> bool {
        self.shared.has_request.load(Ordering::Acquire)
    }

    /// From now on a push wakes `task`, also if the channel is closed: it may still be
    /// aborted.
    pub(crate) fn register(&self, task: &Waker) {
        let is_known = |state: &State| state.task.as_ref().is_some_and(|t| t.will_wake(task));
        if is_known(&self.shared.lock()) {
            return;
        }
        let mut task = Some(task.clone());
        let mut state = self.shared.lock();
        std::mem::swap(&mut state.task, &mut task);
        drop(state);
    }

    /// Moves what was pushed into the queue. Returns the request to follow it.
    pub(crate) fn drain(&mut self, writer: &mut Writer) -> Option<Request> {
        if !self.shared.has_news.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut state = self.shared.lock();
        let request = state.request.take();
        self.shared.has_request.store(false, Ordering::Release);
        self.notified = UNKNOWN;
        let pushed = state.take_pushed();
        drop(state);
        queue(pushed, writer);
        request
    }

    /// Moves what was pushed into the queue. A request is still to be drained.
    pub(crate) fn take_pushed(&mut self, writer: &mut Writer) {
        self.notified = UNKNOWN;
        let pushed = self.shared.lock().take_pushed();
        queue(pushed, writer);
    }

    /// The same, and the queue is about to be discarded.
    pub(crate) fn discard_into(&mut self, writer: &mut Writer) {
        self.shared.lock().discards += 1;
        self.take_pushed(writer);
    }

    /// Closes. Returns what was pushed until now.
    pub(crate) fn close(&mut self) -> VecDeque<(Ticket, Pushed)> {
        let mut state = self.shared.lock();
        let wakers = state.close();
        let pushed = state.take_pushed();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        pushed
    }

    /// Closes if nothing was pushed. Returns whether that is so.
    pub(crate) fn close_if_empty(&mut self) -> bool {
        let mut state = self.shared.lock();
        if !state.pushed.is_empty() || state.request.is_some() {
            return false;
        }
        let wakers = state.close();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Notifies the pushers of the number of bytes that the channel has queued.
    pub(crate) fn notify(&mut self, queued: u64) {
        if self.notified == queued {
            return;
        }
        self.notified = queued;
        let mut state = self.shared.lock();
        state.queued = queued;
        let wakers = state.grant();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Inbox {
    /// Producers are dropped with the channel, not with the last pusher.
    fn drop(&mut self) {
        let pushed = self.close();
        if !pushed.is_empty() {
            tracing::warn!(target: "asynchat", pushed = pushed.len(), "channel dropped with pushes queued");
        }
        drop(pushed);
        let task = self.shared.lock().task.take();
        drop(task);
    }
}

fn queue(pushed: VecDeque<(Ticket, Pushed)>, writer: &mut Writer) {
    for (_, item) in pushed {
        writer.budget.spend(FRAME);
        match item {
            Pushed::Chunk(chunk) => writer.push(chunk),
            Pushed::Block(block) => writer.push(block.freeze()),
            Pushed::Other(other) => match *other {
                Other::Parts(parts) => parts.into_iter().for_each(|part| writer.push(part)),
                Other::Producer(producer) => writer.push_producer(producer),
                Other::Mark(mark) => writer.push_mark(mark),
            },
        }
    }
}

/// No queue is so long.
const UNKNOWN: u64 = u64::MAX;
