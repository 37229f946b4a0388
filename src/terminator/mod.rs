//! What ends a frame, and the search for it.

mod any_of;
mod pattern;
mod search;
mod short;

pub use self::any_of::AnyOf;
pub use self::pattern::Pattern;
pub(crate) use self::search::{Found, Progress};
pub(crate) use self::short::Short;

use bytes::Bytes;

/// What ends a frame.
///
/// ```
/// use asynchat::Terminator;
///
/// let crlf = Terminator::from("\r\n"); // a byte string
/// let count = Terminator::from(512); // a number of bytes
/// let either = Terminator::any(["\r\n.\r\n", "\r\n"]); // whichever ends first
/// assert_eq!(Terminator::from(""), Terminator::None);
/// # let _ = (crlf, count, either);
/// ```
///
/// Matching is exact: `"\r\n"` is those two bytes and nothing else, not a bare
/// `\n`. Accepting more than the peer on the other side of a proxy does is how
/// messages are smuggled (CVE-2023-51764, CVE-2025-22871); leniency is what
/// you list yourself, as [`line`](Terminator::line) does.
///
/// Cloning never allocates. Byte strings of up to 8 bytes are stored inline
/// and cost next to nothing to build; prepare longer ones and sets once and
/// clone them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminator {
    /// A frame ends at a byte string.
    Pattern(Pattern),
    /// A frame ends at the first of several byte strings.
    AnyOf(AnyOf),
    /// A frame ends after this many bytes.
    ///
    /// It is spent when reached: the terminator is then [`None`] until it is
    /// set again, as in asynchat. Unlike in asynchat, where 0 means "collect
    /// all", `Count(0)` ends a frame at once, empty and complete.
    ///
    /// [`None`]: Terminator::None
    Count(u64),
    /// Never: everything is handed out as it arrives.
    #[default]
    None,
}

impl Terminator {
    /// Exactly CR LF.
    #[must_use]
    #[inline]
    pub const fn crlf() -> Self {
        Terminator::Pattern(Pattern::inline(b"\r\n"))
    }

    /// A line feed.
    #[must_use]
    #[inline]
    pub const fn lf() -> Self {
        Terminator::Pattern(Pattern::inline(b"\n"))
    }

    /// CR LF CR LF, the end of an HTTP/1 or mail header.
    #[must_use]
    #[inline]
    pub const fn blank_line() -> Self {
        Terminator::Pattern(Pattern::inline(b"\r\n\r\n"))
    }

    /// CR LF or a bare LF: `any(["\r\n", "\n"])`, but found faster.
    #[must_use]
    #[inline]
    pub const fn line() -> Self {
        Terminator::AnyOf(AnyOf::line())
    }

    /// This many bytes. (A `u64` converts by itself; of a `u32`, `u64::from`.)
    #[must_use]
    #[inline]
    pub const fn count(n: usize) -> Self {
        Terminator::Count(n as u64)
    }

    /// The terminator of this set whose *end* comes first; of those that end
    /// together, the longest.
    ///
    /// Unlike "the one that starts first", this does not depend on how the
    /// input was cut into reads. Empty members are left out, a set of one is
    /// that one, and an empty set is [`Terminator::None`].
    ///
    /// Building cannot fail, but it takes time and memory: prepare a set once
    /// and clone it. Each read looks again at no more than the length of the
    /// longest member, and at its end compares each member once.
    #[must_use]
    pub fn any<I>(patterns: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut patterns: Vec<Pattern> =
            patterns.into_iter().filter_map(|p| Pattern::new(p.as_ref())).collect();
        match patterns.as_slice() {
            [] => Terminator::None,
            [_] => patterns.pop().map_or(Terminator::None, Terminator::Pattern),
            _ => Terminator::AnyOf(AnyOf::new(patterns)),
        }
    }

    /// The bytes of the `member`th pattern: what is appended, or was matched.
    pub(crate) fn member(&self, member: usize) -> &[u8] {
        match self {
            Terminator::Pattern(pattern) => pattern.as_bytes(),
            Terminator::AnyOf(set) => set.get(member),
            Terminator::Count(_) | Terminator::None => b"",
        }
    }
}

impl Terminator {
    /// What to look for, if it is a short byte string or a line's end.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<Short> {
        match self {
            Terminator::Pattern(pattern) => pattern.short(),
            Terminator::AnyOf(set) => set.short(),
            Terminator::Count(_) | Terminator::None => None,
        }
    }

    /// Looks for the terminator.
    ///
    /// If it is not there, `progress` says where to go on. It must have been
    /// made by this terminator, or be the default.
    #[inline(always)]
    pub(crate) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        if progress.from + progress.held > src.len() {
            // Somebody shortened the buffer.
            *progress = Progress::default();
        }
        match self {
            Terminator::Pattern(pattern) => pattern.find(src, progress),
            Terminator::AnyOf(set) => set.find(src, progress),
            Terminator::Count(_) | Terminator::None => {
                progress.set(src, 0);
                None
            }
        }
    }
}

impl From<&[u8]> for Terminator {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        Pattern::new(bytes).map_or(Terminator::None, Terminator::Pattern)
    }
}

impl<const N: usize> From<&[u8; N]> for Terminator {
    #[inline]
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for Terminator {
    #[inline]
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<String> for Terminator {
    fn from(text: String) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Terminator {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<Bytes> for Terminator {
    fn from(bytes: Bytes) -> Self {
        Self::from(bytes.as_ref())
    }
}

/// The only integer, so that `set_terminator(5)` infers; a `usize` goes through
/// [`Terminator::count`].
impl From<u64> for Terminator {
    #[inline]
    fn from(n: u64) -> Self {
        Terminator::Count(n)
    }
}

impl From<Option<Terminator>> for Terminator {
    /// So that `set_terminator(None)` can be written.
    fn from(terminator: Option<Terminator>) -> Self {
        terminator.unwrap_or_default()
    }
}
