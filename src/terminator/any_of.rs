use super::search::{Found, Progress};
use super::{Pattern, Short};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memchr;
use std::{cmp::Reverse, fmt, sync::Arc};

/// Several byte strings, the first of which to end ends the frame.
///
/// Made by [`Terminator::any`](crate::Terminator::any) and
/// [`Terminator::line`](crate::Terminator::line).
#[derive(Clone)]
pub struct AnyOf(Set);

#[derive(Clone)]
enum Set {
    /// CR LF and LF.
    Line,
    Shared(Arc<Shared>),
}

struct Shared {
    patterns: Vec<Pattern>,
    /// The longest first.
    by_length: Vec<usize>,
    /// Of all members, if they have it in common.
    last_byte: Option<u8>,
    /// `None` if the set is too large for it: then each is searched for.
    searcher: Option<AhoCorasick>,
}

impl AnyOf {
    pub(super) const fn line() -> Self {
        AnyOf(Set::Line)
    }

    /// Of two members or more.
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        match patterns.as_slice() {
            [a, b] if a.as_bytes() == b"\r\n" && b.as_bytes() == b"\n" => Self::line(),
            _ => AnyOf(Set::Shared(Arc::new(Shared::new(patterns)))),
        }
    }

    /// The members, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    fn len(&self) -> usize {
        match &self.0 {
            Set::Line => 2,
            Set::Shared(shared) => shared.patterns.len(),
        }
    }

    pub(super) fn get(&self, member: usize) -> &[u8] {
        match (&self.0, member) {
            (Set::Line, 0) => b"\r\n",
            (Set::Line, _) => b"\n",
            (Set::Shared(shared), _) => {
                shared.patterns.get(member).map(Pattern::as_bytes).unwrap_or_default()
            }
        }
    }

    #[inline(always)]
    pub(super) fn short(&self) -> Option<Short> {
        matches!(self.0, Set::Line).then_some(Short::Line)
    }

    #[inline]
    pub(super) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        match &self.0 {
            Set::Line => Short::Line.find(src, progress),
            Set::Shared(shared) => shared.find(src, progress),
        }
    }
}

impl Shared {
    fn new(patterns: Vec<Pattern>) -> Self {
        let total: usize = patterns.iter().map(|p| p.as_bytes().len()).sum();
        // A DFA is the fastest, but it takes up to 1 KiB for each byte of the set.
        let kind = if total <= 256 { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let searcher = (total <= SEARCHER_MAX)
            .then(|| {
                AhoCorasick::builder()
                    // "As soon as any has ended", and then the longest first.
                    .match_kind(MatchKind::Standard)
                    .kind(Some(kind))
                    .build(patterns.iter().map(Pattern::as_bytes))
                    .ok()
            })
            .flatten();
        let mut by_length: Vec<usize> = (0..patterns.len()).collect();
        by_length.sort_by_key(|&i| Reverse(patterns.get(i).map(|p| p.as_bytes().len())));
        let mut last_bytes = patterns.iter().map(|p| p.as_bytes().last().copied());
        let first = last_bytes.next().flatten();
        let longest = by_length.first().and_then(|&i| patterns.get(i)).map(|p| p.as_bytes().len());
        let is_small = patterns.len() <= FEW && longest <= Some(SHORT);
        let last_byte = first.filter(|_| is_small && last_bytes.all(|b| b == first));
        Shared { patterns, by_length, last_byte, searcher }
    }

    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        let fresh = src.get(progress.from..).filter(|fresh| !fresh.is_empty())?;
        let found = match self.last_byte {
            Some(byte) => self.find_by_last_byte(byte, fresh),
            None => self.find_any(fresh),
        };
        if let Some(Found { start, end, member }) = found {
            let from = progress.from;
            return Some(Found { start: from + start, end: from + end, member });
        }
        // What could begin a member lies no further back than where we began.
        let held = self.patterns.iter().map(|p| p.held(fresh)).max().unwrap_or(0);
        progress.set(src, held);
        None
    }

    /// `memchr` for the byte they all end in, and a compare with each there:
    /// the fastest on ordinary input, as `Word::find` is for one.
    fn find_by_last_byte(&self, byte: u8, src: &[u8]) -> Option<Found> {
        let mut end = 0;
        let mut credit = 64;
        loop {
            end += memchr(byte, src.get(end..)?)? + 1;
            let seen = src.get(..end)?;
            for &member in &self.by_length {
                let bytes = self.patterns.get(member)?.as_bytes();
                if seen.ends_with(bytes) {
                    return Some(Found { start: end - bytes.len(), end, member });
                }
            }
            credit -= 16 * self.patterns.len() as isize;
            if end.checked_add_signed(credit).is_none() {
                // A flood of that byte: no member has ended up to here.
                let longest = self.by_length.first().and_then(|&i| self.patterns.get(i))?;
                let start = end.saturating_sub(longest.as_bytes().len());
                let found = self.find_any(src.get(start..)?)?;
                let Found { start: s, end: e, member } = found;
                return Some(Found { start: start + s, end: start + e, member });
            }
        }
    }

    fn find_any(&self, src: &[u8]) -> Option<Found> {
        let Some(searcher) = &self.searcher else { return self.find_each(src) };
        let found = searcher.find(src)?;
        Some(Found { start: found.start(), end: found.end(), member: found.pattern().as_usize() })
    }

    /// The slow way, for sets too large for a searcher: looks for each member
    /// in a window that doubles, so that one which is not there is not searched
    /// for through the whole buffer at every frame.
    fn find_each(&self, src: &[u8]) -> Option<Found> {
        let mut window = WINDOW;
        loop {
            // What ends first ends in the first window in which anything ends.
            let part = src.get(..window).unwrap_or(src);
            let found = self.find_each_in(part);
            if found.is_some() || part.len() == src.len() {
                return found;
            }
            window = window.saturating_mul(2);
        }
    }

    fn find_each_in(&self, mut src: &[u8]) -> Option<Found> {
        let mut best: Option<Found> = None;
        for (member, pattern) in self.patterns.iter().enumerate() {
            let Some(found) = pattern.find(src, &mut Progress::default()) else { continue };
            let Found { start, end, .. } = found;
            // The first to end, and of those that end together the longest.
            if best.is_none_or(|best| (end, start) < (best.end, best.start)) {
                best = Some(Found { start, end, member });
            }
            src = src.get(..end)?;
        }
        best
    }
}

impl PartialEq for AnyOf {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Set::Line, Set::Line) => true,
            (Set::Shared(a), Set::Shared(b)) => Arc::ptr_eq(a, b) || a.patterns == b.patterns,
            _ => false,
        }
    }
}

impl Eq for AnyOf {}

impl fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().filter_map(Pattern::new)).finish()
    }
}

/// Up to how many members are compared one by one, and of how many bytes.
const FEW: usize = 4;
const SHORT: usize = 64;

/// The first window of `find_each`.
const WINDOW: usize = 256;

/// Bytes of all members together above which no automaton is built.
const SEARCHER_MAX: usize = 1 << 20;
