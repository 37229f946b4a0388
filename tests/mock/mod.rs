//! A transport and a producer that follow a script and keep a record.
//!
//! No clock anywhere: a loop that does not end runs into a limit of calls.

// Each test binary uses a part of it.
#![allow(dead_code, unused_macros, unused_imports)]

use asynchat::{Error, Frame, PushError, Run, TryPushError};
use bytes::Bytes;
use futures::Stream;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

/// What a read does. When the script is used up, reads are pending.
#[derive(Clone, Debug)]
pub(crate) enum Read {
    /// Gives these bytes, in as many reads as the reader takes for them.
    Data(Bytes),
    /// Pending until [`Peer::wake_read`].
    Pending,
    /// Pending once, and woken at once.
    Again,
    /// The end, from now on.
    Eof,
    Err(ErrorKind),
    /// The same error, from now on.
    Fails(ErrorKind),
    /// Always ready: gives these bytes again and again.
    Endless(Bytes),
}

/// Read errors that mean a broken connection.
pub(crate) const BREAKS: [ErrorKind; 4] = [
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::BrokenPipe,
    ErrorKind::NotConnected,
];

/// Read errors that end input only.
pub(crate) const ONE_WAY: [ErrorKind; 4] =
    [ErrorKind::Other, ErrorKind::TimedOut, ErrorKind::UnexpectedEof, ErrorKind::InvalidData];

/// What a write does. When the script is used up, writes take everything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Write {
    /// Takes at most this many bytes, once.
    Accept(usize),
    /// Pending until [`Peer::wake_write`].
    Pending,
    /// Pending once, and woken at once.
    Again,
    Zero,
    /// Reports one byte more than it was offered.
    Overclaims,
    Err(ErrorKind),
}

/// What a flush or a shutdown does. When the script is used up, it succeeds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Pending until [`Peer::wake_write`].
    Pending,
    /// Pending once, and woken at once.
    Again,
    Err(ErrorKind),
}

/// What was called and came to something, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read(usize),
    /// How many bytes were taken.
    Write(usize),
    /// Of how many slices how many bytes were taken.
    Vectored(usize, usize),
    Flush,
    Shutdown,
}

#[derive(Default)]
struct State {
    reads: VecDeque<Read>,
    writes: VecDeque<Write>,
    flushes: VecDeque<Step>,
    shutdowns: VecDeque<Step>,
    /// At most this many bytes are taken by one write.
    write_limit: Option<usize>,
    /// The bytes that have reached the peer.
    written: Vec<u8>,
    /// The number of bytes that it buffers until it is flushed.
    buffers: usize,
    buffered: Vec<u8>,
    checks_retries: bool,
    /// The bytes first offered to the pending write, up to one record.
    offered: Option<Vec<u8>>,
    /// No call is ever pending.
    always_ready: bool,
    /// Each write or flush with a number divisible by this is pending; 0 is none.
    pends_each: usize,
    steps: usize,
    /// The number of bytes that reads have returned.
    delivered: usize,
    /// Whether the last read was pending.
    read_pends: bool,
    /// Whether a write has failed.
    broke: bool,
    calls: Vec<Call>,
    /// How many bytes each read asked for.
    asked: Vec<usize>,
    /// Address and length of each slice of each write.
    pieces: Vec<Vec<(usize, usize)>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    vectored: bool,
    dropped: bool,
    calls_since_the_test_looked: usize,
}

/// More calls than this between two looks of the test are an endless loop.
const CALLS: usize = 300_000;

/// The transport.
pub(crate) struct Mock(Arc<Mutex<State>>);

/// The test's end of it.
#[derive(Clone)]
pub(crate) struct Peer(Arc<Mutex<State>>);

/// A transport that does vectored writes, and its peer.
///
/// `ASYNCHAT_TRANSPORT=buffers` or `checks_retries` runs the same tests over such
/// a transport.
pub(crate) fn mock() -> (Mock, Peer) {
    let transport = transport();
    match std::env::var("ASYNCHAT_TRANSPORT").as_deref() {
        Ok("buffers") => transport.buffers(1 << 20),
        Ok("checks_retries") => transport.checks_retries(),
        _ => transport,
    }
    .build()
}

/// Builds a transport that does vectored writes, and more if it is asked to.
pub(crate) fn transport() -> Transport {
    Transport(State { vectored: true, ..State::default() })
}

/// The assumptions about a transport, one method for each.
pub(crate) struct Transport(State);

impl Transport {
    /// Buffers up to `most` bytes, which reach the peer only by a flush, a shutdown,
    /// or a write that finds the buffer full.
    pub(crate) fn buffers(mut self, most: usize) -> Self {
        self.0.buffers = most;
        self
    }

    /// Holds these bytes before the channel begins, as if they had been written.
    pub(crate) fn holds(mut self, data: &str) -> Self {
        self.0.buffered = data.into();
        self.0.buffers = self.0.buffers.max(data.len());
        self
    }

    /// Panics if a retried write does not begin with the bytes first offered.
    pub(crate) fn checks_retries(mut self) -> Self {
        self.0.checks_retries = true;
        self
    }

    /// Skips the script where that is pending.
    pub(crate) fn always_ready(mut self) -> Self {
        self.0.always_ready = true;
        self
    }

    /// Makes each `n`th write or flush pending once, and woken at once.
    pub(crate) fn pends_each(mut self, n: usize) -> Self {
        self.0.pends_each = n;
        self
    }

    /// Reads return these pieces, and then the end. Before each of them, and before the
    /// end, a read is pending once, and woken at once.
    pub(crate) fn delivers<'p>(mut self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let pieces = pieces.into_iter().map(|piece| Read::Data(Bytes::copy_from_slice(piece)));
        let steps = pieces.chain([Read::Eof]).flat_map(|step| [Read::Again, step]);
        self.0.reads.extend(steps);
        self
    }

    /// Fails each read that comes after the script, while writing goes on.
    pub(crate) fn reading_fails(mut self, kind: ErrorKind) -> Self {
        self.0.reads.push_back(Read::Fails(kind));
        self
    }

    pub(crate) fn build(self) -> (Mock, Peer) {
        let state = Arc::new(Mutex::new(self.0));
        (Mock(Arc::clone(&state)), Peer(state))
    }
}

/// The largest part of a pending write that must not change: one TLS record.
pub(crate) const RECORD: usize = 16 * 1024;

impl State {
    /// Removes the steps that are pending from the scripts of a transport that is
    /// always ready.
    fn skip_pending(&mut self) {
        if !self.always_ready {
            return;
        }
        self.reads.retain(|read| !matches!(read, Read::Pending | Read::Again));
        self.writes.retain(|write| !matches!(write, Write::Pending | Write::Again));
        for steps in [&mut self.flushes, &mut self.shutdowns] {
            steps.retain(|step| matches!(step, Step::Err(_)));
        }
    }

    /// Returns `true` if this write or flush is to be pending, and wakes its task.
    fn pends_now(&mut self, cx: &mut Context<'_>) -> bool {
        self.steps += 1;
        let pends = self.pends_each > 0 && self.steps % self.pends_each == 0;
        if pends {
            cx.waker().wake_by_ref();
        }
        pends
    }

    /// Remembers the offer of a write that is pending.
    fn pends(&mut self, slices: &[&[u8]]) {
        let first = slices.iter().find(|slice| !slice.is_empty()).copied().unwrap_or_default();
        let first = &first[..first.len().min(RECORD)];
        self.offered.get_or_insert_with(|| first.to_vec());
    }

    fn check_retry(&self, slices: &[&[u8]]) {
        let offered = self.offered.iter().filter(|_| self.checks_retries);
        for first in offered {
            let is_same = slices.concat().starts_with(first);
            assert!(is_same, "a retried write begins with other bytes");
        }
    }

    /// Takes bytes into the buffer, or passes them on.
    fn take(&mut self, data: &[u8]) -> usize {
        if self.buffers == 0 {
            self.written.extend_from_slice(data);
            return data.len();
        }
        if self.buffered.len() >= self.buffers {
            self.moves();
        }
        let taken = data.len().min(self.buffers - self.buffered.len());
        self.buffered.extend_from_slice(&data[..taken]);
        taken
    }

    /// Passes the buffered bytes on to the peer.
    fn moves(&mut self) {
        self.written.append(&mut self.buffered);
    }
}

impl Peer {
    /// Ends an endless read: the next one is pending.
    pub(crate) fn pauses_reads(&self) {
        self.lock().reads.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        state.calls_since_the_test_looked = 0;
        state
    }

    /// Adds to the script of the reads, and wakes the reader.
    pub(crate) fn reads(&self, script: impl IntoIterator<Item = Read>) {
        let waker = {
            let mut state = self.lock();
            state.reads.extend(script);
            state.reader.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Sends these bytes.
    pub(crate) fn sends(&self, data: impl AsRef<[u8]>) {
        self.reads([Read::Data(Bytes::copy_from_slice(data.as_ref()))]);
    }

    pub(crate) fn ends(&self) {
        self.reads([Read::Eof]);
    }

    /// Goes on behind a `Read::Pending`.
    pub(crate) fn wake_read(&self) {
        let waker = {
            let mut state = self.lock();
            if let Some(Read::Pending) = state.reads.front() {
                state.reads.pop_front();
            }
            state.reader.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn writes(&self, script: impl IntoIterator<Item = Write>) {
        self.lock().writes.extend(script);
    }

    /// Writes do this from now on, whatever they were to do, and wakes the writer.
    pub(crate) fn takes_again(&self, script: impl IntoIterator<Item = Write>) {
        let waker = {
            let mut state = self.lock();
            state.writes = script.into_iter().collect();
            state.writer.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Writes are pending until `wake_write`.
    pub(crate) fn blocks_writes(&self) {
        self.writes([Write::Pending]);
    }

    pub(crate) fn flushes(&self, script: impl IntoIterator<Item = Step>) {
        self.lock().flushes.extend(script);
    }

    pub(crate) fn shutdowns(&self, script: impl IntoIterator<Item = Step>) {
        self.lock().shutdowns.extend(script);
    }

    /// Goes on behind a `Write::Pending` or a `Step::Pending`.
    pub(crate) fn wake_write(&self) {
        let waker = {
            let mut state = self.lock();
            if let Some(Write::Pending) = state.writes.front() {
                state.writes.pop_front();
            } else if let Some(Step::Pending) = state.flushes.front() {
                state.flushes.pop_front();
            } else if let Some(Step::Pending) = state.shutdowns.front() {
                state.shutdowns.pop_front();
            }
            state.writer.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn limits_writes(&self, most: usize) {
        self.lock().write_limit = Some(most);
    }

    pub(crate) fn is_not_vectored(&self) {
        self.lock().vectored = false;
    }

    /// Reads fail with this error from now on, and wakes the reader.
    pub(crate) fn reading_fails(&self, kind: ErrorKind) {
        self.reads([Read::Fails(kind)]);
    }

    /// What has reached the peer since the last call.
    #[track_caller]
    pub(crate) fn written(&self) -> String {
        String::from_utf8(self.written_bytes()).unwrap()
    }

    pub(crate) fn written_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().written)
    }

    /// Returns how often this byte has reached the peer, since the last call of `written`.
    pub(crate) fn count(&self, byte: u8) -> usize {
        self.lock().written.iter().filter(|written| **written == byte).count()
    }

    /// Returns the number of bytes that reads have returned.
    pub(crate) fn delivered(&self) -> usize {
        self.lock().delivered
    }

    /// Returns `true` if the last read was pending.
    pub(crate) fn read_pends(&self) -> bool {
        self.lock().read_pends
    }

    /// What was called since the last call of this.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// The same without the reads.
    pub(crate) fn output_calls(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| !matches!(call, Call::Read(_))).collect()
    }

    /// How many bytes each read asked for, pending ones as well, since the
    /// last call.
    pub(crate) fn asked(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Address and length of each slice of each write since the last call.
    pub(crate) fn pieces(&self) -> Vec<Vec<(usize, usize)>> {
        std::mem::take(&mut self.lock().pieces)
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.lock().dropped
    }

    /// Whether a write has failed.
    pub(crate) fn broke(&self) -> bool {
        self.lock().broke
    }

    pub(crate) fn forget_wakers(&self) {
        let mut state = self.lock();
        (state.reader, state.writer) = (None, None);
    }

    pub(crate) fn has_reader(&self) -> bool {
        self.lock().reader.is_some()
    }

    pub(crate) fn has_writer(&self) -> bool {
        self.lock().writer.is_some()
    }
}

impl Mock {
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        state.calls_since_the_test_looked += 1;
        assert!(state.calls_since_the_test_looked < CALLS, "one poll does not end");
        state
    }

    fn write(&self, cx: &mut Context<'_>, slices: &[&[u8]]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        state.pieces.push(slices.iter().map(|s| (s.as_ptr() as usize, s.len())).collect());
        state.check_retry(slices);
        state.skip_pending();
        if state.pends_now(cx) {
            state.pends(slices);
            return Poll::Pending;
        }
        let most = match state.writes.front().copied() {
            Some(Write::Pending) => {
                state.pends(slices);
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Some(Write::Again) => {
                state.pends(slices);
                state.writes.pop_front();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Write::Zero) => 0,
            Some(Write::Overclaims) => return Poll::Ready(Ok(len + 1)),
            Some(Write::Err(kind)) => {
                state.writes.pop_front();
                state.broke = true;
                return Poll::Ready(Err(kind.into()));
            }
            Some(Write::Accept(n)) => {
                state.writes.pop_front();
                n
            }
            None => usize::MAX,
        };
        state.offered = None;
        let most = len.min(most).min(state.write_limit.unwrap_or(usize::MAX));
        let all = slices.concat();
        Poll::Ready(Ok(state.take(&all[..most])))
    }
}

impl fmt::Debug for Mock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mock")
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.lock() {
            state.dropped = true;
        }
    }
}

impl AsyncRead for Mock {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.asked.push(buf.remaining());
        state.skip_pending();
        state.read_pends = false;
        match state.reads.front_mut() {
            None | Some(Read::Pending) => {
                state.reader = Some(cx.waker().clone());
                state.read_pends = true;
                return Poll::Pending;
            }
            Some(Read::Again) => {
                state.reads.pop_front();
                state.read_pends = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Read::Eof) => state.calls.push(Call::Read(0)),
            Some(Read::Err(kind)) => {
                let kind = *kind;
                state.reads.pop_front();
                return Poll::Ready(Err(kind.into()));
            }
            Some(Read::Fails(kind)) => return Poll::Ready(Err((*kind).into())),
            Some(Read::Data(data)) => {
                let n = data.len().min(buf.remaining());
                buf.put_slice(&data.split_to(n));
                if data.is_empty() {
                    state.reads.pop_front();
                }
                state.delivered += n;
                state.calls.push(Call::Read(n));
            }
            Some(Read::Endless(data)) => {
                let n = data.len().min(buf.remaining());
                buf.put_slice(&data[..n]);
                state.delivered += n;
                state.calls.push(Call::Read(n));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Mock {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = std::task::ready!(self.write(cx, &[buf]))?;
        self.lock().calls.push(Call::Write(taken));
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(self.lock().vectored, "a vectored write to an I/O that says it has none");
        let slices: Vec<&[u8]> = bufs.iter().map(|slice| &**slice).collect();
        let taken = std::task::ready!(self.write(cx, &slices))?;
        let slices = slices.iter().filter(|slice| !slice.is_empty()).count();
        self.lock().calls.push(Call::Vectored(slices, taken));
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.skip_pending();
        if state.pends_now(cx) {
            return Poll::Pending;
        }
        match state.flushes.front().copied() {
            Some(step) => {
                std::task::ready!(step.poll(cx, &mut state, |state| &mut state.flushes))?;
            }
            None => state.calls.push(Call::Flush),
        }
        state.moves();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        state.skip_pending();
        match state.shutdowns.front().copied() {
            Some(step) => {
                std::task::ready!(step.poll(cx, &mut state, |state| &mut state.shutdowns))?;
            }
            None => state.calls.push(Call::Shutdown),
        }
        state.moves();
        Poll::Ready(Ok(()))
    }
}

impl Step {
    fn poll(
        self,
        cx: &mut Context<'_>,
        state: &mut State,
        script: fn(&mut State) -> &mut VecDeque<Step>,
    ) -> Poll<io::Result<()>> {
        match self {
            Step::Pending => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Step::Again => {
                script(state).pop_front();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Err(kind) => {
                script(state).pop_front();
                Poll::Ready(Err(kind.into()))
            }
        }
    }
}

/// What a producer gives. When the script is used up, it is exhausted.
#[derive(Clone, Debug)]
pub(crate) enum Give {
    Chunk(Bytes),
    /// Pending until [`Probe::wake`].
    Pending,
    /// Pending once, and woken at once.
    Again,
    Err(ErrorKind),
    /// Always ready: gives these bytes again and again.
    Endless(Bytes),
}

#[derive(Default)]
struct ProducerState {
    script: VecDeque<Give>,
    polls: usize,
    drops: usize,
    ended: bool,
    failed: bool,
    waker: Option<Waker>,
}

/// A producer that follows a script.
pub(crate) struct Scripted(Arc<Mutex<ProducerState>>);

/// The test's end of it.
pub(crate) struct Probe(Arc<Mutex<ProducerState>>);

pub(crate) fn producer(script: impl IntoIterator<Item = Give>) -> (Scripted, Probe) {
    let script = script.into_iter().collect();
    let state = Arc::new(Mutex::new(ProducerState { script, ..ProducerState::default() }));
    (Scripted(Arc::clone(&state)), Probe(state))
}

pub(crate) fn chunk(data: &str) -> Give {
    Give::Chunk(Bytes::copy_from_slice(data.as_bytes()))
}

impl Probe {
    pub(crate) fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }

    pub(crate) fn drops(&self) -> usize {
        self.0.lock().unwrap().drops
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.0.lock().unwrap().failed
    }

    /// Goes on behind a `Give::Pending`.
    pub(crate) fn wake(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            if let Some(Give::Pending) = state.script.front() {
                state.script.pop_front();
            }
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.0.lock().unwrap().drops += 1;
    }
}

impl Stream for Scripted {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap();
        state.polls += 1;
        assert!(!state.ended, "a producer is not polled after its end");
        assert!(state.polls < CALLS, "one poll does not end");
        match state.script.pop_front() {
            Some(Give::Chunk(data)) => Poll::Ready(Some(Ok(data))),
            Some(Give::Endless(data)) => {
                state.script.push_front(Give::Endless(data.clone()));
                Poll::Ready(Some(Ok(data)))
            }
            Some(Give::Pending) => {
                state.script.push_front(Give::Pending);
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Give::Again) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Give::Err(kind)) => {
                (state.ended, state.failed) = (true, true);
                Poll::Ready(Some(Err(kind.into())))
            }
            None => {
                state.ended = true;
                Poll::Ready(None)
            }
        }
    }
}

/// A task, which is polled again only after a wake.
///
/// Two of them over the halves of a split channel have two wakers.
pub(crate) struct Task<F: Future> {
    future: tokio_test::task::Spawn<F>,
    is_asleep: bool,
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Self {
        Task { future: tokio_test::task::spawn(future), is_asleep: false }
    }

    /// Returns `true` if a poll would be the first one, or follows a wake.
    pub(crate) fn is_woken(&self) -> bool {
        !self.is_asleep || self.future.is_woken()
    }

    /// Polls the future.
    ///
    /// # Panics
    ///
    /// If it is pending and was not woken.
    #[track_caller]
    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        assert!(self.is_woken(), "the task was not woken");
        let polled = self.future.poll();
        self.is_asleep = polled.is_pending();
        polled
    }
}

/// Polls each of two tasks that was woken, in turn, until both are ready.
///
/// # Panics
///
/// If both wait and neither was woken.
#[track_caller]
pub(crate) fn run_both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Task::new(a), Task::new(b));
    let (mut of_a, mut of_b) = (None, None);
    for _ in 0..TURNS {
        let mut is_stuck = true;
        if of_a.is_none() && a.is_woken() {
            of_a = ready(a.poll());
            is_stuck = false;
        }
        if of_b.is_none() && b.is_woken() {
            of_b = ready(b.poll());
            is_stuck = false;
        }
        match (of_a, of_b) {
            (Some(a), Some(b)) => return (a, b),
            (a, b) => (of_a, of_b) = (a, b),
        }
        assert!(!is_stuck, "a wake is lost: {}", if of_a.is_none() { "first" } else { "second" });
    }
    panic!("the tasks do not end");
}

/// Waits for all tasks of a runtime with threads, and panics if `moves` stops growing, because
/// a wake was lost.
pub(crate) async fn join<T>(tasks: Vec<JoinHandle<T>>, moves: &AtomicUsize) -> Vec<T> {
    let (mut seen, mut idle) = (0, 0);
    while !tasks.iter().all(JoinHandle::is_finished) {
        let now = moves.load(Relaxed);
        idle = if now == seen { idle + 1 } else { 0 };
        seen = now;
        assert!(idle < 20_000_000, "nothing moves any more");
        tokio::task::yield_now().await;
    }
    let mut results = vec![];
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

/// More turns than this are an endless loop.
const TURNS: usize = 100_000;

/// Polls a future once, then drops it.
macro_rules! poll {
    ($future:expr) => {
        tokio_test::task::spawn($future).poll()
    };
}
pub(crate) use poll;

/// A waker that does nothing. The count of its `Arc` tells who keeps it.
pub(crate) struct Quiet;

impl std::task::Wake for Quiet {
    fn wake(self: Arc<Self>) {}
}

/// A quiet waker, and what counts it.
pub(crate) fn quiet() -> (Arc<Quiet>, Waker) {
    let count = Arc::new(Quiet);
    (Arc::clone(&count), Waker::from(count))
}

/// Polls a future once, then drops it: it waits, and for something that wakes.
macro_rules! assert_waits {
    ($peer:expr, $future:expr) => {{
        $peer.forget_wakers();
        let mut task = tokio_test::task::spawn($future);
        tokio_test::assert_pending!(task.poll());
        assert!(
            task.is_woken() || $peer.has_reader() || $peer.has_writer(),
            "pending, and nobody wakes it"
        );
    }};
}
pub(crate) use assert_waits;

/// Polls a new future each turn, and drops it, until one is ready.
macro_rules! anew {
    ($future:expr) => {{
        let mut turns = 0;
        loop {
            if let std::task::Poll::Ready(ready) = tokio_test::task::spawn($future).poll() {
                break ready;
            }
            turns += 1;
            assert!(turns < 100_000, "it does not end");
        }
    }};
}
pub(crate) use anew;

/// A result in words, content and all: `"complete(abc)"`.
#[track_caller]
pub(crate) fn show(result: impl Show) -> String {
    result.show()
}

pub(crate) trait Show {
    fn show(self) -> String;
}

impl<T: Show> Show for Poll<T> {
    #[track_caller]
    fn show(self) -> String {
        match self {
            Poll::Ready(ready) => ready.show(),
            Poll::Pending => "pending".into(),
        }
    }
}

impl<T: Show> Show for Option<T> {
    #[track_caller]
    fn show(self) -> String {
        self.map_or("none".into(), Show::show)
    }
}

impl<T: Show, E: Show> Show for Result<T, E> {
    #[track_caller]
    fn show(self) -> String {
        match self {
            Ok(ok) => ok.show(),
            Err(error) => error.show(),
        }
    }
}

impl Show for () {
    fn show(self) -> String {
        "done".into()
    }
}

/// Not as the error `Closed`.
impl Show for Run {
    fn show(self) -> String {
        format!("run({self:?})").to_lowercase()
    }
}

impl Show for Bytes {
    #[track_caller]
    fn show(self) -> String {
        String::from_utf8(self.to_vec()).unwrap()
    }
}

impl Show for Frame {
    #[track_caller]
    fn show(self) -> String {
        match self {
            Frame::Complete(data) => format!("complete({})", data.freeze().show()),
            Frame::Partial(data) => format!("partial({})", data.freeze().show()),
        }
    }
}

impl Show for Error {
    #[track_caller]
    fn show(self) -> String {
        match self {
            Error::Io(e) => format!("io({:?})", e.kind()),
            Error::FrameTooLong { limit, .. } => format!("too long({limit})"),
            Error::UnexpectedEof { partial, .. } => format!("eof({})", partial.show()),
            Error::Producer(e) => format!("producer({:?})", e.kind()),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

impl Show for PushError {
    #[track_caller]
    fn show(self) -> String {
        format!("closed({})", self.0.show())
    }
}

impl Show for TryPushError {
    #[track_caller]
    fn show(self) -> String {
        match self {
            TryPushError::Full(data) => format!("full({})", data.show()),
            TryPushError::Closed(data) => format!("closed({})", data.show()),
        }
    }
}
