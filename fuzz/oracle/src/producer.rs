//! A producer that follows a script, and does not like to be asked too early.

use bytes::Bytes;
use futures::Stream;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

pub struct Producer {
    script: Vec<u8>,
    next: usize,
    /// How many bytes stand before what it gives next, sent ones included.
    at: usize,
    /// How many of them the transport has taken.
    taken: Arc<AtomicUsize>,
    out_buffer: usize,
    probe: Arc<Probe>,
}

/// What is known of a producer outside of the queue.
#[derive(Default)]
pub struct Probe {
    goes: AtomicBool,
    failed: AtomicBool,
    drops: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

enum Step {
    /// Until `Probe::go`.
    Wait,
    /// Not ready, and woken at once.
    Again,
    Fail,
    Chunk(usize),
}

impl Step {
    fn new(byte: u8) -> Self {
        match byte & 7 {
            0 => Step::Wait,
            1 => Step::Again,
            2 if byte > 127 => Step::Fail,
            _ => Step::Chunk(usize::from(byte >> 3)),
        }
    }
}

impl Producer {
    pub fn new(
        script: &[u8],
        at: usize,
        taken: Arc<AtomicUsize>,
        out_buffer: usize,
    ) -> (Self, Arc<Probe>) {
        let probe = Arc::new(Probe::default());
        let script = script.to_vec();
        let producer =
            Producer { script, next: 0, at, taken, out_buffer, probe: Arc::clone(&probe) };
        (producer, probe)
    }

    /// All that it will give, and whether it fails behind that.
    pub fn gives(&self) -> (Vec<u8>, bool) {
        let mut all = vec![];
        for &byte in &self.script {
            match Step::new(byte) {
                Step::Fail => return (all, true),
                Step::Chunk(len) => all.resize(all.len() + len, byte),
                Step::Wait | Step::Again => {}
            }
        }
        (all, false)
    }
}

impl Stream for Producer {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        assert!(this.next <= this.script.len(), "asked after the end");
        let unsent = this.at - this.taken.load(Ordering::Relaxed);
        assert!(unsent < this.out_buffer, "asked without room");
        let byte = this.script.get(this.next).copied();
        this.next += 1;
        match byte.map(Step::new) {
            None => Poll::Ready(None),
            Some(Step::Wait) if !this.probe.goes.load(Ordering::Relaxed) => {
                this.next -= 1;
                *this.probe.waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Step::Wait | Step::Again) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail) => {
                this.next = usize::MAX;
                this.probe.failed.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(ErrorKind::Other.into())))
            }
            Some(Step::Chunk(len)) => {
                this.at += len;
                Poll::Ready(Some(Ok(vec![byte.unwrap_or_default(); len].into())))
            }
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.probe.drops.fetch_add(1, Ordering::Relaxed);
    }
}

impl Probe {
    pub fn go(&self) {
        self.goes.store(true, Ordering::Relaxed);
        self.waker.lock().unwrap().take().into_iter().for_each(Waker::wake);
    }

    pub fn forget(&self) {
        *self.waker.lock().unwrap() = None;
    }

    pub fn will_wake(&self, waker: &Waker) -> bool {
        self.waker.lock().unwrap().as_ref().is_some_and(|w| w.will_wake(waker))
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    pub fn drops(&self) -> usize {
        self.drops.load(Ordering::Relaxed)
    }
}
