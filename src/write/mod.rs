//! The output side: the queue, the write buffer it drains into, and the life of the
//! output. The state of the output is assigned in this file and in no other.

mod buffer;
mod queue;
mod watermarks;

pub(crate) use self::queue::{LARGE, MARK_COST, Mark, PRODUCER_COST, chunk_cost};
pub(crate) use self::watermarks::Watermarks;

use self::buffer::{BufferSink, WriteBuffer};
use self::queue::{DrainError, Queue};
use crate::budget::Budget;
use crate::{BoxProducer, Error, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use futures_sink::Sink;
use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::{fmt, io};
use tokio::io::AsyncWrite;

pub(crate) struct Writer {
    queue: Queue,
    buffer: WriteBuffer,
    state: Writing,
    watermarks: Watermarks,
    /// `true` if the last poll stopped to yield.
    yielded: bool,
    /// For loops over `ready`, `flush` and the `Sink`.
    pub(crate) budget: Budget,
}

/// The state of the output, which only moves down this list.
#[derive(Debug)]
enum Writing {
    Open,
    /// To be shut down when everything is sent.
    Closing(Cause),
    /// Shut down, or broken: nothing can be sent any more.
    Closed(Cause),
}

/// The reason why output ends.
#[derive(Debug)]
struct Cause {
    /// `true` if the owner has asked for it.
    requested: bool,
    failure: Failure,
}

/// The error that ended the output. It is reported to one caller, once.
#[derive(Debug)]
enum Failure {
    None,
    /// Boxed, because it is rare.
    Unreported(Box<Error>),
    Reported,
}

impl Writer {
    pub(crate) fn new(out_buffer_size: usize, watermarks: Watermarks) -> Self {
        Writer {
            queue: Queue::default(),
            buffer: WriteBuffer::new(out_buffer_size),
            state: Writing::Open,
            watermarks,
            yielded: false,
            budget: Budget::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, data: Bytes) {
        if self.accepts() {
            self.queue.push(data);
        }
    }

    #[inline]
    pub(crate) fn push_slice(&mut self, data: &[u8]) {
        if self.accepts() {
            self.queue.push_slice(data);
        }
    }

    /// Queues formatted text, without a `String` in between.
    pub(crate) fn push_fmt(&mut self, args: fmt::Arguments<'_>) {
        if self.accepts() {
            // The queue itself never fails.
            if fmt::write(&mut Text(&mut self.queue), args).is_err() {
                tracing::warn!(target: "asynchat", "a `Display` failed, so its text is incomplete");
            }
        }
    }

    pub(crate) fn push_producer(&mut self, producer: BoxProducer) {
        if self.accepts() {
            self.queue.push_producer(producer);
        }
    }

    /// Queues a mark. It is dropped if the output is to end.
    pub(crate) fn push_mark(&mut self, mark: Mark) {
        if self.is_open() {
            self.queue.push_mark(mark);
        }
    }

    /// Queues one frame, encoded by `codec`.
    pub(crate) fn push_frame(
        &mut self,
        codec: &TerminatorCodec,
        content: Bytes,
    ) -> Result<(), Error> {
        if !self.is_open() {
            return Err(Error::Closed);
        }
        let ending = codec.ending_for(&content)?;
        self.queue.push(content);
        self.queue.push_slice(ending);
        Ok(())
    }

    /// Returns `true` if data is accepted. Otherwise it is dropped, with an event.
    #[inline]
    fn accepts(&self) -> bool {
        let is_open = self.is_open();
        if !is_open {
            warn_of_dropped();
        }
        is_open
    }

    /// Returns the number of queued bytes, as counted against the high-water mark.
    #[inline]
    pub(crate) fn queued(&self) -> u64 {
        self.queue.cost() + self.buffer.len() as u64
    }

    pub(crate) fn sent(&self) -> u64 {
        self.buffer.sent()
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.watermarks
    }

    /// Pauses until everything queued so far is sent, if there is anything.
    pub(crate) fn pause_until_sent(&mut self) {
        // What the transport held before was not queued here.
        let is_flushed = self.buffer.is_flushed() || (self.buffer.len() == 0 && self.sent() == 0);
        if !self.queue.is_empty() || !is_flushed {
            self.push_mark(Mark::Pause);
        }
    }

    /// Returns `true` if a pause was requested, and output before it is not sent.
    pub(crate) fn is_paused(&self) -> bool {
        self.queue.is_paused()
    }

    /// Returns `true` if somebody waits until a part of the output is sent.
    pub(crate) fn has_marks(&self) -> bool {
        self.queue.has_marks()
    }

    /// Returns `true` if output must not be gathered further. Either it fills a write, a caller
    /// waits for a mark, or the transport has not been polled yet.
    pub(crate) fn is_urgent(&self) -> bool {
        self.is_fresh() || self.has_marks() || self.queued() >= self.buffer.capacity() as u64
    }

    /// Updates the watermark. Returns `true` if there is capacity.
    #[inline]
    pub(crate) fn has_capacity(&mut self) -> bool {
        self.watermarks.update(self.queued())
    }

    /// Updates the watermark after output has left the queue.
    // A caller may check only after the queue has grown again. Without this update, the queue would
    // then still count as full.
    #[inline]
    fn update_watermark(&mut self) {
        if !self.watermarks.has_capacity() {
            self.watermarks.update(self.queued());
        }
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, Writing::Open)
    }

    /// Returns `true` if nothing can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, Writing::Closed(_))
    }

    /// Returns `true` if nothing can be sent any more because of a failure.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_closed() && self.has_failed()
    }

    pub(crate) fn close_requested(&self) -> bool {
        self.cause().is_some_and(|cause| cause.requested)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.cause().is_some_and(|cause| !matches!(cause.failure, Failure::None))
    }

    /// Returns `true` if nothing is left to send, to close or to report.
    pub(crate) fn is_settled(&self) -> bool {
        let is_reported = match &self.state {
            Writing::Open => true,
            Writing::Closing(_) => false,
            Writing::Closed(cause) => !matches!(cause.failure, Failure::Unreported(_)),
        };
        self.queue.is_empty() && self.buffer.len() == 0 && is_reported
    }

    /// Returns `true` if there is something to send, to flush or to shut down. A producer may
    /// still be making it.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        match self.state {
            Writing::Open => !self.queue.is_empty() || !self.buffer.is_flushed(),
            Writing::Closing(_) => true,
            Writing::Closed(_) => false,
        }
    }

    /// Returns `true` if pending output waits for the transport, and not for a producer.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.buffer.is_flushed() || self.queue.is_empty()
    }

    /// Returns `true` if the last poll stopped to yield.
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded
    }

    fn cause(&self) -> Option<&Cause> {
        match &self.state {
            Writing::Open => None,
            Writing::Closing(cause) | Writing::Closed(cause) => Some(cause),
        }
    }

    pub(crate) fn close_when_done(&mut self) {
        match &mut self.state {
            Writing::Open => {
                tracing::debug!(target: "asynchat", "close when done");
                self.state = Writing::Closing(Cause { requested: true, failure: Failure::None });
            }
            Writing::Closing(cause) | Writing::Closed(cause) => cause.requested = true,
        }
    }

    /// Ends the output with `error`, unless it is over.
    pub(crate) fn fail(&mut self, error: Error) {
        if !self.is_closed() {
            tracing::debug!(target: "asynchat", %error, "output failed");
            self.end(Failure::Unreported(Box::new(error)));
        }
    }

    /// Ends the output with `error`, also if everything has been sent.
    pub(crate) fn abort(&mut self, error: Error) {
        self.end(Failure::Unreported(Box::new(error)));
    }

    /// Drops the queue. An earlier failure remains the failure.
    fn end(&mut self, failure: Failure) {
        self.state = match std::mem::replace(&mut self.state, Writing::Open) {
            Writing::Open => Writing::Closed(Cause { requested: false, failure }),
            Writing::Closing(cause) | Writing::Closed(cause) => match cause.failure {
                Failure::None => Writing::Closed(Cause { failure, ..cause }),
                _ => Writing::Closed(cause),
            },
        };
        self.buffer.clear();
        // Last: the `Drop` of a producer is the caller's code.
        self.queue.clear();
        self.update_watermark();
    }

    /// The error that ended the output, if it was not reported.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        let (Writing::Closing(cause) | Writing::Closed(cause)) = &mut self.state else {
            return None;
        };
        if !matches!(cause.failure, Failure::Unreported(_)) {
            return None;
        }
        match std::mem::replace(&mut cause.failure, Failure::Reported) {
            Failure::Unreported(error) => Some(*error),
            _ => None,
        }
    }

    /// The result of `poll_send` when there is nothing left to do.
    pub(crate) fn result(&mut self) -> Result<(), Error> {
        match self.take_failure() {
            Some(error) => Err(error),
            None if self.has_failed() => Err(Error::Closed),
            None => Ok(()),
        }
    }

    /// Drops the queue, except the bytes with which a pending write must be retried. Returns the
    /// number of bytes and of producers.
    pub(crate) fn discard(&mut self) -> (u64, usize) {
        let (bytes, producers) = self.queue.clear();
        let bytes = bytes + self.buffer.discard() as u64;
        self.update_watermark();
        (bytes, producers)
    }

    /// Takes the queued output: bytes, and then producers.
    pub(crate) fn take(&mut self) -> (BytesMut, Vec<BoxProducer>) {
        let (chunks, producers) = self.queue.take();
        let mut unsent = self.buffer.take();
        chunks.iter().for_each(|chunk| unsent.extend_from_slice(chunk));
        (unsent, producers)
    }

    /// Notes that another transport, which may hold bytes, replaces the previous one.
    pub(crate) fn begin_transport(&mut self) {
        self.buffer.begin_transport();
    }

    /// Returns `true` if the transport has not been polled yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.buffer.is_fresh()
    }

    /// Frees the memory of empty buffers.
    pub(crate) fn release(&mut self) {
        self.queue.release();
        self.buffer.release();
    }

    /// Sends as much as possible, and then shuts down if that was requested. Ready when there is
    /// nothing left to do. `result` has the error.
    ///
    /// The transport is polled with `probe`, if there is one.
    pub(crate) fn poll_send<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
        probe: Option<&Waker>,
    ) -> Poll<()>
    where
        T: AsyncWrite + Unpin,
    {
        let yielded = Cell::new(false);
        let sent = self.poll_drain(cx, io, probe, &yielded);
        self.yielded = yielded.get();
        self.update_watermark();
        ready!(sent);
        if let Writing::Closing(_) = self.state {
            let mut sink = BufferSink { io, buffer: &mut self.buffer, probe, yielded: &yielded };
            let shut = ready!(Pin::new(&mut sink).poll_close(cx));
            self.note_shutdown(shut);
        }
        Poll::Ready(())
    }

    fn poll_drain<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
        probe: Option<&Waker>,
        yielded: &Cell<bool>,
    ) -> Poll<()>
    where
        T: AsyncWrite + Unpin,
    {
        loop {
            let mut sink = BufferSink { io, buffer: &mut self.buffer, probe, yielded };
            match ready!(self.queue.poll_drain(cx, Pin::new(&mut sink), yielded)) {
                Ok(()) => return Poll::Ready(()),
                Err(DrainError::Sink(e)) => {
                    self.fail(Error::Io(e));
                    return Poll::Ready(());
                }
                Err(DrainError::Producer(e)) => self.fail_producer(e),
            }
        }
    }

    /// Sends the bytes before the producer, and nothing after it.
    // Reported at once, the error would make the caller drop the channel, and cut off
    // answers that are complete.
    fn fail_producer(&mut self, error: io::Error) {
        tracing::debug!(target: "asynchat", %error, "producer failed");
        let requested = self.close_requested();
        let failure = Failure::Unreported(Box::new(Error::Producer(error)));
        self.state = Writing::Closing(Cause { requested, failure });
    }

    fn note_shutdown(&mut self, shut: io::Result<()>) {
        tracing::debug!(target: "asynchat", ok = shut.is_ok(), "write half shut down");
        match shut {
            // A peer that is gone has been sent everything.
            Err(e) if e.kind() != io::ErrorKind::NotConnected => self.fail(Error::Io(e)),
            _ => self.end(Failure::None),
        }
    }
}

/// A queue into which text is formatted.
struct Text<'q>(&'q mut Queue);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_slice(text.as_bytes());
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let queued = self.queued();
        if queued > 0 {
            tracing::warn!(target: "asynchat", queued, "channel dropped with output queued");
        }
    }
}

#[cold]
fn warn_of_dropped() {
    tracing::warn!(target: "asynchat", "data pushed after the write half was closed is dropped");
}
