//! Tasks: a thread each, which polls when it was woken and at no other time.

use loom::sync::{Condvar, Mutex};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The waker of a task. It also counts others that have ended.
pub(crate) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    is_rung: bool,
    /// The number of tasks that are to end.
    others: usize,
}

impl Bell {
    pub(crate) fn new(others: usize) -> Arc<Self> {
        let state = Mutex::new(State { is_rung: false, others });
        Arc::new(Bell { state, changed: Condvar::new() })
    }

    /// Waits for a wake. Returns `false` if there was none, and all others have ended.
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.is_rung && state.others > 0 {
            state = self.changed.wait(state).unwrap();
        }
        std::mem::take(&mut state.is_rung)
    }

    /// Lets the task poll.
    pub(crate) fn ring(&self) {
        self.state.lock().unwrap().is_rung = true;
        self.changed.notify_one();
    }

    /// One of the others has ended.
    pub(crate) fn leave(&self) {
        self.state.lock().unwrap().others -= 1;
        self.changed.notify_one();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Polls until it is ready.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    let (bell, mut future) = (Bell::new(1), pin!(future));
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.wait();
    }
}

/// Polls once, and drops the future.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let waker = Waker::from(Bell::new(1));
    pin!(future).poll(&mut Context::from_waker(&waker))
}
