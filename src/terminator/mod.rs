//! `Terminator`: the rule that ends a frame, and the search for it.

mod any_of;
mod into;
mod length;
mod message;
mod pattern;
mod search;
mod short;

pub(crate) use self::any_of::AnyOf;
pub use self::into::IntoTerminator;
pub use self::length::Length;
pub(crate) use self::message::Message;
pub use self::message::{Body, BoxError, Head};
pub(crate) use self::pattern::Pattern;
pub(crate) use self::search::{Match, Progress};
pub(crate) use self::short::Short;

use std::collections::HashSet;
use std::fmt;

/// The rule that ends a frame.
///
/// | constructor | a frame ends | afterwards |
/// |---|---|---|
/// | `from("\r\n")`, [`crlf`](Self::crlf), [`lf`](Self::lf), [`blank_line`](Self::blank_line) | at this byte string | stays |
/// | [`any`](Self::any), [`line`](Self::line) | at the byte string of a set that ends first | stays |
/// | [`count`](Self::count), `from(5u64)` | after a number of bytes | becomes `none` |
/// | [`every`](Self::every) | after a number of bytes | stays |
/// | [`message`](Self::message), `from(`[`Length`]`)` | after a head and the body that it announces | stays |
/// | [`none`](Self::none) | never: data is delivered as it arrives | stays |
///
/// ```
/// use asynchat::{Length, Terminator};
///
/// let crlf = Terminator::from("\r\n");
/// let count = Terminator::from(512);
/// let either = Terminator::any(["\r\n.\r\n", "\r\n"]);
/// let message = Terminator::from(Length::u32_be());
/// assert_eq!(crlf, Terminator::crlf());
/// assert_eq!(Terminator::from(""), Terminator::none());
/// # let _ = (count, either, message);
/// ```
///
/// Matching is exact: `"\r\n"` matches those two bytes, but not a bare `\n`. If a server accepts
/// more line ends than the proxy in front of it, messages can be smuggled (CVE-2023-51764,
/// CVE-2025-22871). List each variant that you accept, as [`line`](Terminator::line) does.
///
/// Cloning never allocates. Byte strings of up to 8 bytes are stored inline, and are cheap to
/// build. Build longer byte strings, sets and messages once, and clone them. Two sets are equal if
/// they have the same members, in any order. A message is equal only to its clones.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Terminator(pub(crate) Kind);

/// The representation of a [`Terminator`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Pattern(Pattern),
    AnyOf(AnyOf),
    /// Becomes `None` when reached.
    Count(u64),
    /// Never of 0 bytes.
    Every(u64),
    Length(Length),
    Message(Message),
    #[default]
    None,
}

impl Terminator {
    /// Ends a frame at CR LF only.
    #[must_use]
    #[inline]
    pub const fn crlf() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\r\n")))
    }

    /// Ends a frame at a line feed.
    #[must_use]
    #[inline]
    pub const fn lf() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\n")))
    }

    /// Ends a frame at CR LF CR LF, the end of an HTTP/1 or mail header.
    #[must_use]
    #[inline]
    pub const fn blank_line() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\r\n\r\n")))
    }

    /// Ends a frame at CR LF or a bare LF.
    ///
    /// It equals `any(["\r\n", "\n"])`, but its search is faster.
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Terminator::line());
    /// let mut input = &b"one\r\ntwo\n"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"one")));
    /// assert_eq!(codec.ended_by(), b"\r\n");
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"two")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn line() -> Self {
        Terminator(Kind::AnyOf(AnyOf::line()))
    }

    /// Ends a frame after `n` bytes. Afterwards the terminator is [`none`](Self::none).
    ///
    /// A `u64` converts without this method. For a `u32` write `u64::from(n)`. `count(0)` ends a
    /// frame at once, so the next frame is empty and complete. In asynchat 0 means "collect all".
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let length: usize = "5".parse().unwrap();
    /// let mut codec = TerminatorCodec::new(Terminator::count(length));
    /// let mut input = &b"hello, world"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"hello")));
    /// assert!(codec.terminator().is_none());
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn count(n: usize) -> Self {
        Terminator(Kind::Count(n as u64))
    }

    /// Ends a frame after every `n` bytes, for records of a fixed size.
    ///
    /// `every(0)` is [`none`](Self::none).
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Terminator::every(3));
    /// let mut input = &b"onetwo"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"one")));
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"two")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn every(n: u64) -> Self {
        Terminator(if n == 0 { Kind::None } else { Kind::Every(n) })
    }

    /// Ends a frame after a head and the body that the head announces.
    ///
    /// The codec calls `body` with the complete head, including its terminator. `body` returns the
    /// length of the message. For a number in a head of fixed size, [`Length`] is faster. The
    /// module [`message`](crate::message) has functions that read common heads.
    ///
    /// ```
    /// use asynchat::{Body, FrameRef, Terminator, TerminatorCodec, message};
    ///
    /// // The Language Server Protocol.
    /// let terminator = Terminator::message("\r\n\r\n", |head| {
    ///     let length = message::content_length(head)?.ok_or("no Content-Length")?;
    ///     Ok(Body::Bytes(length))
    /// });
    /// let mut codec = TerminatorCodec::new(terminator);
    /// let mut input = &b"Content-Length: 2\r\n\r\n{}Content-"[..];
    /// let Some(FrameRef::Complete(message)) = codec.decode_slice(&mut input)? else { panic!() };
    /// assert_eq!(&message[codec.head_len()..], b"{}");
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// In a channel:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"\0\x05hello").await.unwrap();
    /// use asynchat::{Channel, Length};
    ///
    /// let mut channel = Channel::new(io, Length::u16_be());
    /// let message = channel.receive(Length::u16_be()).await?;
    /// assert_eq!(message.slice(channel.head_len()..), "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The guide has the terminators of [ten protocols](crate::guide::messages).
    ///
    /// The frame is the head and the body in one block, and
    /// [`head_len`](crate::TerminatorCodec::head_len) is the length of the head. In streaming mode,
    /// the first part of a frame is the whole head and the bytes of the body that have arrived.
    ///
    /// - `body` is called once for each length of the head, and not again while the rest arrives.
    ///   If the first bytes of the head announce its length, as in MQTT, `body` returns
    ///   [`Body::More`]. If `body` reads the whole head again after each `More(1)`, the work is
    ///   quadratic in the length of the head.
    /// - If bytes such as CR LF must follow the body, add their number to its length with
    ///   `saturating_add`. Check them when the frame has arrived.
    /// - A head is invalid if it exceeds [`max_head`](crate::TerminatorCodec::set_max_head), if
    ///   `body` returns an error, or if the message is shorter than its head. The end of the
    ///   message is then not known, so [`Error::InvalidHead`] ends the input. Nothing is consumed.
    /// - If a message has more than `max_length` bytes, [`Error::FrameTooLong`] is returned before
    ///   any byte of its body arrives. The message is skipped, and the next one is returned
    ///   normally.
    ///
    /// Build the terminator once and clone it. A clone is equal to the original, so setting it
    /// again changes nothing.
    ///
    /// [`Error::InvalidHead`]: crate::Error::InvalidHead
    /// [`Error::FrameTooLong`]: crate::Error::FrameTooLong
    #[must_use]
    pub fn message<F>(head: impl Into<Head>, body: F) -> Self
    where
        F: Fn(&[u8]) -> Result<Body, BoxError> + Send + Sync + 'static,
    {
        Terminator(Kind::Message(Message::new(head.into(), Box::new(body))))
    }

    /// Ends no frame: data is delivered as it arrives.
    #[must_use]
    #[inline]
    pub const fn none() -> Self {
        Terminator(Kind::None)
    }

    /// Ends a frame at the member of this set whose *end* comes first.
    ///
    /// If several members end at the same byte, the longest one ends the frame. Unlike a search for
    /// the member that *starts* first, this rule never depends on how the input was split across
    /// reads. Empty members are ignored, a set of one is that member, and an empty set is
    /// [`none`](Self::none).
    ///
    /// Building a set takes time and memory, so build it once and clone it. Each read examines
    /// again at most as many bytes as the longest member has.
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Terminator::any([": ", "\r\n"]));
    /// let mut input = &b"Host: example.com\r\n"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"Host")));
    /// assert_eq!(codec.ended_by(), b": ");
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"example.com")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    pub fn any<I>(patterns: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut known = HashSet::new();
        let patterns = patterns.into_iter().filter_map(|p| Pattern::new(p.as_ref()));
        let mut members: Vec<_> = patterns.filter(|p| known.insert(p.clone())).collect();
        Terminator(match members.as_slice() {
            [] => Kind::None,
            [_] => members.pop().map_or(Kind::None, Kind::Pattern),
            _ => Kind::AnyOf(AnyOf::new(members)),
        })
    }

    /// Returns `true` if the terminator is [`none`](Self::none).
    #[must_use]
    #[inline]
    pub const fn is_none(&self) -> bool {
        matches!(self.0, Kind::None)
    }

    /// Returns the number of bytes remaining until a [`count`](Self::count) is reached, or `None`
    /// for other terminators.
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Terminator::count(5)).with_streaming(true);
    /// assert_eq!(codec.decode_slice(&mut &b"hel"[..])?, Some(FrameRef::Partial(b"hel")));
    /// assert_eq!(codec.terminator().remaining(), Some(2));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub const fn remaining(&self) -> Option<u64> {
        match self.0 {
            Kind::Count(n) => Some(n),
            _ => None,
        }
    }

    /// Returns the byte strings that end a frame, in the order in which they were passed.
    ///
    /// ```
    /// use asynchat::Terminator;
    ///
    /// let either = Terminator::any(["\r\n", "\n"]);
    /// assert!(either.patterns().eq([&b"\r\n"[..], b"\n"]));
    /// ```
    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        let len = match &self.0 {
            Kind::Pattern(_) => 1,
            Kind::AnyOf(set) => set.len(),
            _ => 0,
        };
        (0..len).map(|index| self.pattern(index))
    }

    /// The bytes of the pattern with this index; empty if there is none.
    pub(crate) fn pattern(&self, index: usize) -> &[u8] {
        match &self.0 {
            Kind::Pattern(pattern) => pattern.as_bytes(),
            Kind::AnyOf(set) => set.get(index),
            _ => b"",
        }
    }

    /// The pattern to search for on the fast path, if it is short.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<Short> {
        match &self.0 {
            Kind::Pattern(pattern) => pattern.short(),
            Kind::AnyOf(set) => set.short(),
            _ => None,
        }
    }

    /// Records that the terminator, a short pattern or a set, is not in `src`.
    pub(crate) fn note_absent(&self, src: &[u8], progress: &mut Progress) {
        match (self.short(), &self.0) {
            (Some(short), _) => short.note_absent(src, progress),
            (_, Kind::AnyOf(set)) => set.note_absent(src, progress),
            _ => {}
        }
    }

    /// Searches for the terminator. If it is not there, `progress` records where
    /// to continue. `progress` must come from this terminator, or be the default.
    #[inline(always)]
    pub(crate) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Match> {
        if progress.seen() > src.len() {
            // The buffer was shortened from outside.
            *progress = Progress::default();
        }
        match &self.0 {
            Kind::Pattern(pattern) => pattern.find(src, progress),
            Kind::AnyOf(set) => set.find(src, progress),
            _ => {
                progress.set(src, 0);
                None
            }
        }
    }

    /// Returns the length of the message with this complete head.
    pub(crate) fn body(&self, head: &[u8]) -> Result<Body, BoxError> {
        match &self.0 {
            Kind::Length(length) => length.body(head),
            Kind::Message(message) => message.body(head),
            _ => Ok(Body::Bytes(0)),
        }
    }
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// A terminator moves in two registers.
const _: () = assert!(size_of::<Terminator>() == 16);
