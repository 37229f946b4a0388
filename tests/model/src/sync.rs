//! The locks and atomics that threads share, of loom. It takes the place of `src/sync.rs`.

pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

use std::sync::atomic::Ordering;

/// An atomic whose stores are swaps: loom lets a store of one thread come between the two
/// halves of a swap of another.
#[derive(Default)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}

/// A oneshot channel in the place of tokio's, which loom does not see into.
pub(crate) mod oneshot {
    use super::{Arc, Mutex, MutexGuard};
    use std::pin::Pin;
    use std::sync::PoisonError;
    use std::task::{Context, Poll, Waker};

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let slot = Arc::new(Mutex::new(Slot { state: State::Empty, waker: None }));
        (Sender(Arc::clone(&slot)), Receiver(slot))
    }

    pub(crate) struct Sender<T>(Arc<Mutex<Slot<T>>>);

    pub(crate) struct Receiver<T>(Arc<Mutex<Slot<T>>>);

    struct Slot<T> {
        state: State<T>,
        waker: Option<Waker>,
    }

    enum State<T> {
        Empty,
        Sent(T),
        /// One of the two is gone.
        Closed,
    }

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            let mut slot = lock(&self.0);
            if matches!(slot.state, State::Closed) {
                return Err(value);
            }
            slot.state = State::Sent(value);
            Ok(())
        }

        pub(crate) fn is_closed(&self) -> bool {
            matches!(lock(&self.0).state, State::Closed)
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            let mut slot = lock(&self.0);
            if matches!(slot.state, State::Empty) {
                slot.state = State::Closed;
            }
            let waker = slot.waker.take();
            drop(slot);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, ()>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let mut slot = lock(&self.0);
            match std::mem::replace(&mut slot.state, State::Closed) {
                State::Sent(value) => Poll::Ready(Ok(value)),
                State::Closed => Poll::Ready(Err(())),
                State::Empty => {
                    slot.state = State::Empty;
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            let mut slot = lock(&self.0);
            slot.state = State::Closed;
            let waker = slot.waker.take();
            drop(slot);
            drop(waker);
        }
    }

    fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
