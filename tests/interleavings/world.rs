//! The world of one run: what becomes of each call is read from a string.
//!
//! It lies in the thread, so that transports and producers find it without
//! being handed it, and costs no lock.

use crate::clock::Clock;
use crate::link::{INPUT, Link, Slot};
use crate::variant::Variant;
use asynchat::Timeout;
use bytes::Bytes;
use futures::Stream;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What becomes of each call, one letter each: `P`ending, `1` byte, all `-` but
/// one byte, `A`ll, `E`rror, the end (`Z`); of an act from outside, and of time that
/// passes: now (`+`) or not (`.`).
#[derive(Default)]
pub(crate) struct Fate {
    /// Which of which letters.
    string: Vec<(u8, &'static [u8])>,
    read: usize,
    depth: usize,
}

impl Fate {
    pub(crate) fn new(depth: usize) -> Self {
        Fate { depth, ..Fate::default() }
    }

    /// The next letter of the string. One that is used up grows, to `depth`;
    /// from there on it is always the same letter.
    fn letter(&mut self, letters: &'static [u8], at_last: u8) -> u8 {
        if self.read == self.depth {
            return at_last;
        }
        if self.read == self.string.len() {
            self.string.push((0, letters));
        }
        let (letter, of) = self.string[self.read];
        assert_eq!(of, letters, "a run is not repeatable");
        self.read += 1;
        letters[usize::from(letter)]
    }

    /// Goes on to the next string, depth first: whether there is one.
    pub(crate) fn advance(&mut self) -> bool {
        self.string.truncate(self.read);
        self.read = 0;
        while let Some((letter, of)) = self.string.pop() {
            if usize::from(letter) + 1 < of.len() {
                self.string.push((letter + 1, of));
                return true;
            }
        }
        false
    }

    pub(crate) fn text(&self) -> String {
        let letters = self.string.iter().map(|&(letter, of)| char::from(of[usize::from(letter)]));
        letters.take(self.read).collect()
    }
}

#[derive(Default)]
pub(crate) struct World {
    variant: Variant,
    pub(crate) fate: Fate,
    pub(crate) links: [Link; 2],
    /// The task that is being polled.
    task: usize,
    /// Where a producer that is not ready finds its waker.
    pub(crate) producer: Slot,
    /// Whether a producer was polled that is never ready.
    pub(crate) is_stuck: bool,
    /// How many bytes producers gave.
    pub(crate) given: usize,
    /// The errors there were.
    pub(crate) injected: Vec<&'static str>,
    /// In scenarios in which time passes.
    pub(crate) clock: Option<Clock>,
    /// How much was done since the last poll that was pending, and before.
    work: usize,
    pub(crate) work_before: usize,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
    /// How many producers of the channel's owner there are. Apart, as a producer may
    /// be dropped at any time.
    static PRODUCERS: Cell<usize> = const { Cell::new(0) };
}

pub(crate) fn world<R>(act: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(act)
}

impl World {
    /// For the next run.
    pub(crate) fn reset(&mut self, variant: Variant) {
        self.variant = variant;
        self.links.iter_mut().for_each(|link| link.reset(variant));
        self.task = INPUT;
        self.producer = Slot::default();
        (self.is_stuck, self.given) = (false, 0);
        self.injected.clear();
        self.clock = None;
        (self.work, self.work_before) = (0, 0);
        PRODUCERS.set(0);
    }

    /// Forgets what this task waits for. It is about to be polled.
    pub(crate) fn polls(&mut self, task: usize) {
        self.task = task;
        self.producer.waiting[task] = false;
        for link in &mut self.links {
            link.reader.waiting[task] = false;
            link.writer.waiting[task] = false;
        }
    }

    /// Makes `task` wait for what is in the way of output, if another task has moved it
    /// on meanwhile. Returns whether that is nothing.
    pub(crate) fn hands_over(&mut self, task: usize, link: usize) -> bool {
        let places = [&mut self.links[link].writer, &mut self.producer];
        let is_moved = places.iter().any(|slot| slot.waiting[task] && !slot.is_set());
        for slot in places {
            slot.waiting[task] = slot.is_set() && (is_moved || slot.waiting[task]);
        }
        let is_blocked = self.links[link].writer.is_set() || self.producer.is_set();
        is_moved && !is_blocked && !self.is_stuck
    }

    /// The channel has reported that this time is over.
    pub(crate) fn timed_out(&mut self, timeout: Timeout) {
        let link = &mut self.links[0];
        self.clock.as_mut().expect("time passes").timed_out(link, timeout);
        if let Timeout::Write(_) = timeout {
            link.write_failed = true;
            self.injected.push("write timeout");
        }
    }

    /// Lets the peer of this link send this. The channel is about to begin.
    pub(crate) fn sends(&mut self, link: usize, input: Bytes) {
        let link = &mut self.links[link];
        link.input = input;
        link.buffered_before = if self.variant.holds_output { BUFFERED_BEFORE } else { 0 };
    }

    pub(crate) fn letter(&mut self, letters: &'static [u8], at_last: u8) -> u8 {
        self.works(WORK_CALL);
        if self.variant.always_ready {
            return at_last;
        }
        self.fate.letter(letters, at_last)
    }

    /// Counts work since the last poll that was pending. Other tasks want their turn.
    pub(crate) fn works(&mut self, cost: usize) {
        self.work += cost;
        assert!(self.work < WORK, "it keeps the task to itself");
    }

    /// A poll was pending.
    pub(crate) fn rests(&mut self) {
        self.work_before += std::mem::take(&mut self.work);
    }

    fn fails<T>(&mut self, what: &'static str) -> Poll<io::Result<T>> {
        self.injected.push(what);
        Poll::Ready(Err(kind(what).into()))
    }

    fn read(&mut self, at: usize, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.links[at];
        assert!(link.is_readable(), "read on after the end");
        if let Some(clock) = self.clock.as_mut().filter(|_| link.has_flushed) {
            clock.note_output(link);
        }
        if link.is_endless && link.delivered == link.input.len() {
            self.links[at].delivered = 0;
        }
        let link = &self.links[at];
        let left = link.input.len() - link.delivered;
        let letter = match left.min(buf.remaining()) {
            0 if link.is_quiet => b'P',
            0 if link.breaks => self.letter(b"PE", b'E'),
            0 => self.letter(b"PZE", b'Z'),
            1 => self.letter(b"PAE", b'A'),
            _ => self.letter(b"P1AE", b'A'),
        };
        let (task, link) = (self.task, &mut self.links[at]);
        link.reader.clear(task);
        let n = match letter {
            b'P' => {
                link.reader.set(task, cx);
                return Poll::Pending;
            }
            b'E' => {
                let is_alone = self.variant.reads_fail_alone && !link.breaks;
                (link.read_failed, link.is_broken) = (true, !is_alone);
                return self.fails(if is_alone { READ_ALONE } else { "read" });
            }
            b'Z' => {
                link.has_ended = true;
                0
            }
            b'1' => 1,
            _ => left.min(buf.remaining()),
        };
        buf.put_slice(&link.input[link.delivered..link.delivered + n]);
        link.delivered += n;
        self.works(n);
        Poll::Ready(Ok(()))
    }

    fn write(
        &mut self,
        at: usize,
        cx: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = &self.links[at];
        assert!(!link.is_lost() && !link.is_shut, "written after the end");
        link.check_retry(slices);
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = link.room();
        let letter = match (len.min(room), slices.len()) {
            _ if len == 0 => panic!("a write of nothing"),
            (0, _) if link.is_slow => link.letter_of_slow_peer(),
            // Its buffer is full: first that has to go.
            (0 | 1, _) => self.letter(b"PAE", b'A'),
            (2, _) | (_, 1) => self.letter(b"P1AE", b'A'),
            _ => self.letter(b"P1-AE", b'A'),
        };
        let (task, link) = (self.task, &mut self.links[at]);
        link.writer.clear(task);
        (link.offered, link.has_flushed) = (None, false);
        if room == 0 && letter == b'A' {
            link.pass_on(usize::MAX);
        }
        let most = len.min(link.room());
        let mut n = match letter {
            b'P' => {
                link.pass_on(usize::from(link.is_slow));
                link.writer.set(task, cx);
                let first = slices.first().map_or(&[][..], |slice| slice);
                link.offered = Some(first[..first.len().min(RECORD)].to_vec());
                return Poll::Pending;
            }
            b'E' => {
                link.write_failed = true;
                return self.fails("write");
            }
            b'1' => 1,
            b'-' => most - 1,
            _ => most,
        };
        let taken = n;
        for slice in slices {
            let part = n.min(slice.len());
            link.wire.extend_from_slice(&slice[..part]);
            n -= part;
        }
        if link.variant.transport_buffer().is_some() {
            link.buffered += taken;
        }
        self.works(taken);
        Poll::Ready(Ok(taken))
    }

    /// A flush or a shutdown.
    fn step(&mut self, at: usize, cx: &Context<'_>, what: &'static str) -> Poll<io::Result<()>> {
        let link = &self.links[at];
        assert!(!link.is_lost() && !link.is_shut, "{what} after the end");
        let letter = match link.buffered + link.buffered_before {
            _ if link.is_slow && what == "flush" => link.letter_of_slow_peer(),
            // With a clock, what is moved only here would look like a stall.
            2.. if what == "flush" && self.clock.is_none() => self.letter(b"P1AE", b'A'),
            _ => self.letter(b"PAE", b'A'),
        };
        let (task, link) = (self.task, &mut self.links[at]);
        link.writer.clear(task);
        link.has_flushed = false;
        match letter {
            b'P' | b'1' => {
                link.pass_on(usize::from(letter == b'1' || link.is_slow));
                link.writer.set(task, cx);
                return Poll::Pending;
            }
            b'E' => {
                link.write_failed = true;
                return self.fails(what);
            }
            _ if what == "flush" => {
                link.pass_on(usize::MAX);
                (link.flushed, link.has_flushed) = (link.wire.len(), true);
                self.clock.iter_mut().for_each(Clock::note_flush);
            }
            _ => link.is_shut = true,
        }
        Poll::Ready(Ok(()))
    }
}

/// How many producers of the channel's owner there are.
pub(crate) fn producers() -> usize {
    PRODUCERS.get()
}

/// A failure of reading that says nothing about writing, as when TLS misses a
/// close_notify.
pub(crate) const READ_ALONE: &str = "read, alone";

/// What a transport says that failed at this.
fn kind(what: &str) -> ErrorKind {
    match what {
        "read" => ErrorKind::ConnectionReset,
        READ_ALONE => ErrorKind::UnexpectedEof,
        "write" => ErrorKind::BrokenPipe,
        "flush" => ErrorKind::TimedOut,
        "shutdown" => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    }
}

/// At what a transport failed that says this.
pub(crate) fn failed_at(error: &io::Error) -> &'static str {
    let all = ["read", READ_ALONE, "write", "flush", "shutdown"];
    all.into_iter().find(|what| kind(what) == error.kind()).unwrap_or("something else")
}

/// A transport over one of the links.
#[derive(Debug)]
pub(crate) struct Mock(pub(crate) usize);

impl AsyncRead for Mock {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        world(|world| world.read(self.0, cx, buf))
    }
}

impl AsyncWrite for Mock {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        world(|world| world.write(self.0, cx, &[IoSlice::new(buf)]))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        assert!(self.is_write_vectored(), "a vectored write to an I/O that says it has none");
        world(|world| world.write(self.0, cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        world(|world| world.variant.vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        world(|world| world.step(self.0, cx, "flush"))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        world(|world| {
            let link = &world.links[self.0];
            let must_retry = world.variant.checks_retries && link.offered.is_some();
            assert!(!must_retry, "shut down, and a write was not retried");
            assert_eq!(link.flushed, link.wire.len(), "shut down before it was flushed");
            world.step(self.0, cx, "shutdown")
        })
    }
}

/// A producer of these chunks.
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    /// Whether it may be not ready.
    pub(crate) is_slow: bool,
    /// Whether it fails at its end.
    pub(crate) fails: bool,
    /// Whether it is never ready.
    pub(crate) waits: bool,
    /// Whether it belongs to the owner of the channel, and not to a pusher.
    is_owned: bool,
    has_ended: bool,
}

impl Chunks {
    pub(crate) fn new(chunks: impl Into<VecDeque<Bytes>>) -> Self {
        let chunks = chunks.into();
        let no = false;
        Chunks { chunks, is_slow: no, fails: no, waits: no, is_owned: no, has_ended: no }
    }

    /// One of the channel's owner.
    pub(crate) fn owned(chunks: impl Into<VecDeque<Bytes>>) -> Self {
        PRODUCERS.set(PRODUCERS.get() + 1);
        let mut owned = Chunks::new(chunks);
        owned.is_owned = true;
        owned
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        PRODUCERS.set(PRODUCERS.get().saturating_sub(self.is_owned.into()));
    }
}

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        assert!(!self.has_ended, "a producer is polled after its end");
        if self.waits {
            world(|world| world.is_stuck = true);
            return Poll::Pending;
        }
        if self.is_slow && world(|world| world.letter(b"PA", b'A')) == b'P' {
            wait_for_producer(cx);
            return Poll::Pending;
        }
        let chunk = self.chunks.pop_front();
        self.has_ended = chunk.is_none();
        if self.has_ended && self.fails {
            world(|world| world.injected.push("producer"));
            return Poll::Ready(Some(Err(ErrorKind::Other.into())));
        }
        world(|world| world.given += chunk.as_ref().map_or(0, Bytes::len));
        Poll::Ready(chunk.map(Ok))
    }
}

/// Leaves the waker of a task that waits for a producer, or the like.
pub(crate) fn wait_for_producer(cx: &Context<'_>) {
    world(|world| world.producer.set(world.task, cx));
}

/// The most work between two polls that are pending, in bytes.
pub(crate) const WORK: usize = 12 * 1024 * 1024;

/// The work of a call to the transport, besides its bytes.
const WORK_CALL: usize = 2048;

/// How many bytes are in the transport's buffer before the channel begins.
const BUFFERED_BEFORE: usize = 2;

/// How much of a pending write must be offered again: a record of TLS.
const RECORD: usize = 16 * 1024;
