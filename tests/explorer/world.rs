//! The world of one run: what becomes of each call is read from a string.
//!
//! It lies in the thread, so that transports and producers find it without
//! being handed it, and costs no lock.

use crate::deadlines::Clock;
use asynchat::Timeout;
use bytes::Bytes;
use futures::Stream;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
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

/// The two ends of a transport that a run looks at.
#[derive(Default)]
pub(crate) struct Link {
    input: Bytes,
    /// How many bytes of the input were read.
    pub(crate) delivered: usize,
    /// Whether the peer never ends its side.
    pub(crate) is_quiet: bool,
    pub(crate) has_ended: bool,
    read_failed: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) wire: Vec<u8>,
    pub(crate) flushed: usize,
    /// The last call of the writing side was a flush that went through.
    has_flushed: bool,
    pub(crate) is_shut: bool,
    pub(crate) write_failed: bool,
    pub(crate) writer: Option<Waker>,
    vectored: bool,
}

impl Link {
    /// Whether there is more to read.
    pub(crate) fn is_readable(&self) -> bool {
        !self.has_ended && !self.read_failed
    }

    pub(crate) fn received(&self) -> &[u8] {
        &self.input[..self.delivered]
    }

    fn reset(&mut self, vectored: bool) {
        let mut wire = std::mem::take(&mut self.wire);
        wire.clear();
        *self = Link { wire, vectored, ..Link::default() };
    }
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) fate: Fate,
    pub(crate) links: [Link; 2],
    /// Of whoever waits for a producer.
    pub(crate) producer: Option<Waker>,
    /// How many bytes producers gave.
    pub(crate) given: usize,
    /// The errors there were.
    pub(crate) injected: Vec<&'static str>,
    /// In scenarios in which time passes.
    pub(crate) clock: Option<Clock>,
    calls: usize,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

pub(crate) fn world<R>(act: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(act)
}

impl World {
    /// For the next run.
    pub(crate) fn reset(&mut self, vectored: bool) {
        self.links.iter_mut().for_each(|link| link.reset(vectored));
        self.producer = None;
        self.given = 0;
        self.injected.clear();
        self.clock = None;
        self.calls = 0;
    }

    /// It was told that this time is over.
    pub(crate) fn timed_out(&mut self, timeout: Timeout) {
        let link = &mut self.links[0];
        self.clock.as_mut().expect("time passes").tell(link, timeout);
        if let Timeout::Write(_) = timeout {
            link.write_failed = true;
            self.injected.push("write timeout");
        }
    }

    pub(crate) fn sends(&mut self, link: usize, input: Bytes) {
        self.links[link].input = input;
    }

    pub(crate) fn letter(&mut self, letters: &'static [u8], at_last: u8) -> u8 {
        self.calls += 1;
        assert!(self.calls < CALLS, "it goes on for ever");
        self.fate.letter(letters, at_last)
    }

    fn fails<T>(&mut self, what: &'static str) -> Poll<io::Result<T>> {
        self.injected.push(what);
        Poll::Ready(Err(kind(what).into()))
    }

    fn read(&mut self, at: usize, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = &self.links[at];
        assert!(link.is_readable(), "read on behind the end");
        if let Some(clock) = self.clock.as_mut().filter(|_| link.has_flushed) {
            clock.note_output(link);
        }
        let left = link.input.len() - link.delivered;
        let letter = match left.min(buf.remaining()) {
            0 if link.is_quiet => b'P',
            0 => self.letter(b"PZE", b'Z'),
            1 => self.letter(b"PAE", b'A'),
            _ => self.letter(b"P1AE", b'A'),
        };
        let link = &mut self.links[at];
        let n = match letter {
            b'P' => {
                link.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            b'E' => {
                link.read_failed = true;
                return self.fails("read");
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
        Poll::Ready(Ok(()))
    }

    fn write(
        &mut self,
        at: usize,
        cx: &Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = &self.links[at];
        assert!(!link.write_failed && !link.is_shut, "written behind the end");
        let len = slices.iter().map(|slice| slice.len()).sum();
        let letter = match (len, slices.len()) {
            (0, _) => panic!("a write of nothing"),
            (1, _) => self.letter(b"PAE", b'A'),
            (2, _) | (_, 1) => self.letter(b"P1AE", b'A'),
            _ => self.letter(b"P1-AE", b'A'),
        };
        let link = &mut self.links[at];
        (link.writer, link.has_flushed) = (None, false);
        let mut n = match letter {
            b'P' => {
                link.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            b'E' => {
                link.write_failed = true;
                return self.fails("write");
            }
            b'1' => 1,
            b'-' => len - 1,
            _ => len,
        };
        let taken = n;
        for slice in slices {
            let part = n.min(slice.len());
            link.wire.extend_from_slice(&slice[..part]);
            n -= part;
        }
        Poll::Ready(Ok(taken))
    }

    /// A flush or a shutdown.
    fn step(&mut self, at: usize, cx: &Context<'_>, what: &'static str) -> Poll<io::Result<()>> {
        let link = &self.links[at];
        assert!(!link.write_failed && !link.is_shut, "{what} behind the end");
        let letter = self.letter(b"PAE", b'A');
        let link = &mut self.links[at];
        (link.writer, link.has_flushed) = (None, false);
        match letter {
            b'P' => link.writer = Some(cx.waker().clone()),
            b'E' => {
                link.write_failed = true;
                return self.fails(what);
            }
            _ if what == "flush" => {
                (link.flushed, link.has_flushed) = (link.wire.len(), true);
            }
            _ => link.is_shut = true,
        }
        if letter == b'P' { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

/// What a transport says that failed at this.
fn kind(what: &str) -> ErrorKind {
    match what {
        "read" => ErrorKind::ConnectionReset,
        "write" => ErrorKind::BrokenPipe,
        "flush" => ErrorKind::TimedOut,
        "shutdown" => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    }
}

/// At what a transport failed that says this.
pub(crate) fn failed_at(error: &io::Error) -> &'static str {
    let all = ["read", "write", "flush", "shutdown"];
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
        world(|world| world.links[self.0].vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        world(|world| world.step(self.0, cx, "flush"))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        world(|world| {
            let link = &world.links[self.0];
            assert_eq!(link.flushed, link.wire.len(), "shut down before it was flushed");
            world.step(self.0, cx, "shutdown")
        })
    }
}

/// A producer of these chunks.
pub(crate) struct Chunks {
    pub(crate) chunks: VecDeque<Bytes>,
    /// Whether it may be not ready.
    pub(crate) is_slow: bool,
    /// Whether it fails at its end.
    pub(crate) fails: bool,
    pub(crate) has_ended: bool,
}

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        assert!(!self.has_ended, "a producer is polled behind its end");
        if self.is_slow && world(|world| world.letter(b"PA", b'A')) == b'P' {
            world(|world| world.producer = Some(cx.waker().clone()));
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

/// No run has more calls than this.
const CALLS: usize = 2000;
