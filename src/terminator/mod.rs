//! `Terminator`: the rule that ends a frame, and the search for it.

mod any_of;
mod into;
mod pattern;
mod search;
mod short;

pub(crate) use self::any_of::AnyOf;
pub use self::into::IntoTerminator;
pub(crate) use self::pattern::Pattern;
pub(crate) use self::search::{Match, Progress};
pub(crate) use self::short::Short;

use std::collections::HashSet;
use std::fmt;

/// The rule that ends a frame: a byte string, one of several, or a number of bytes.
///
/// ```
/// use asynchat::Terminator;
///
/// let crlf = Terminator::from("\r\n"); // a byte string
/// let count = Terminator::from(512); // a number of bytes
/// let either = Terminator::any(["\r\n.\r\n", "\r\n"]); // whichever ends first
/// assert_eq!(Terminator::from(""), Terminator::none());
/// # let _ = (crlf, count, either);
/// ```
///
/// Matching is exact: `"\r\n"` is those two bytes and nothing else, not a bare
/// `\n`. Accepting more than the peer on the other side of a proxy does is how
/// messages are smuggled (CVE-2023-51764, CVE-2025-22871). List each variant that
/// you accept, as [`line`](Terminator::line) does.
///
/// Cloning never allocates. Byte strings of up to 8 bytes are stored inline
/// and cost next to nothing to build. Build longer ones and sets once, and clone
/// them. Two sets are equal if they have the same members, in any order.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Terminator(pub(crate) Kind);

/// The representation of a [`Terminator`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Pattern(Pattern),
    AnyOf(AnyOf),
    /// Becomes `None` when reached.
    Count(u64),
    #[default]
    None,
}

impl Terminator {
    /// Exactly CR LF.
    #[must_use]
    #[inline]
    pub const fn crlf() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\r\n")))
    }

    /// A line feed.
    #[must_use]
    #[inline]
    pub const fn lf() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\n")))
    }

    /// CR LF CR LF, the end of an HTTP/1 or mail header.
    #[must_use]
    #[inline]
    pub const fn blank_line() -> Self {
        Terminator(Kind::Pattern(Pattern::inline(b"\r\n\r\n")))
    }

    /// CR LF or a bare LF: `any(["\r\n", "\n"])`, but found faster.
    #[must_use]
    #[inline]
    pub const fn line() -> Self {
        Terminator(Kind::AnyOf(AnyOf::line()))
    }

    /// The next `n` bytes. Afterwards the terminator is [`none`](Self::none).
    ///
    /// A `u64` converts by itself; for a `u32` write `u64::from(n)`. Unlike in
    /// asynchat, where 0 means "collect all", `count(0)` ends a frame at once,
    /// empty and complete.
    #[must_use]
    #[inline]
    pub const fn count(n: usize) -> Self {
        Terminator(Kind::Count(n as u64))
    }

    /// No end: data is delivered as it arrives.
    #[must_use]
    #[inline]
    pub const fn none() -> Self {
        Terminator(Kind::None)
    }

    /// The member of this set whose *end* comes first; of those that end
    /// together, the longest.
    ///
    /// Unlike "the one that starts first", this does not depend on how the input
    /// was split across reads. Empty members are ignored, a set of one is that
    /// member, and an empty set is [`none`](Self::none).
    ///
    /// Building takes time and memory: build a set once and clone it. Each read
    /// looks again at no more than the length of the longest member.
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

    /// Returns `true` if no frame ends.
    #[must_use]
    #[inline]
    pub const fn is_none(&self) -> bool {
        matches!(self.0, Kind::None)
    }

    /// Returns the number of bytes until the frame ends, if it ends by a count.
    #[must_use]
    #[inline]
    pub const fn remaining(&self) -> Option<u64> {
        match self.0 {
            Kind::Count(n) => Some(n),
            _ => None,
        }
    }

    /// Returns the byte strings that end a frame, in the order given.
    pub fn patterns(&self) -> impl Iterator<Item = &[u8]> {
        let len = match &self.0 {
            Kind::Pattern(_) => 1,
            Kind::AnyOf(set) => set.len(),
            Kind::Count(_) | Kind::None => 0,
        };
        (0..len).map(|index| self.pattern(index))
    }

    /// The bytes of the pattern with this index; empty if there is none.
    pub(crate) fn pattern(&self, index: usize) -> &[u8] {
        match &self.0 {
            Kind::Pattern(pattern) => pattern.as_bytes(),
            Kind::AnyOf(set) => set.get(index),
            Kind::Count(_) | Kind::None => b"",
        }
    }

    /// The pattern to search for on the fast path, if it is short.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<Short> {
        match &self.0 {
            Kind::Pattern(pattern) => pattern.short(),
            Kind::AnyOf(set) => set.short(),
            Kind::Count(_) | Kind::None => None,
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
            Kind::Count(_) | Kind::None => {
                progress.set(src, 0);
                None
            }
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
