use super::search::{Match, Progress};
use super::{Pattern, Short};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memchr;
use std::hash::{Hash, Hasher};
use std::{cmp::Reverse, fmt, sync::Arc};

/// Several byte strings. The first of them to end ends the frame.
#[derive(Clone)]
pub(crate) struct AnyOf(Set);

#[derive(Clone)]
enum Set {
    /// CR LF and LF.
    Line,
    Shared(Arc<Shared>),
}

struct Shared {
    patterns: Vec<Pattern>,
    /// Indexes: the longest first, those of the same length by their bytes.
    by_length: Vec<usize>,
    /// The last byte, if all patterns have the same.
    last_byte: Option<u8>,
    /// `None` if the set is too large for it: then each pattern is searched for.
    searcher: Option<AhoCorasick>,
}

impl AnyOf {
    pub(super) const fn line() -> Self {
        AnyOf(Set::Line)
    }

    /// A set of two patterns or more, all different.
    pub(super) fn new(patterns: Vec<Pattern>) -> Self {
        match patterns.as_slice() {
            [a, b] if a.as_bytes() == b"\r\n" && b.as_bytes() == b"\n" => Self::line(),
            _ => AnyOf(Set::Shared(Arc::new(Shared::new(patterns)))),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.0 {
            Set::Line => 2,
            Set::Shared(shared) => shared.patterns.len(),
        }
    }

    /// The pattern with this index, in the order given; empty if there is none.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        match (&self.0, index) {
            (Set::Line, 0) => b"\r\n",
            (Set::Line, _) => b"\n",
            (Set::Shared(shared), _) => {
                shared.patterns.get(index).map(Pattern::as_bytes).unwrap_or_default()
            }
        }
    }

    /// The patterns in an order that is the same for equal sets.
    fn canonical(&self) -> impl Iterator<Item = &[u8]> {
        let by_length: &[usize] = match &self.0 {
            Set::Line => &[0, 1],
            Set::Shared(shared) => &shared.by_length,
        };
        by_length.iter().map(|&index| self.get(index))
    }

    #[inline(always)]
    pub(super) fn short(&self) -> Option<Short> {
        matches!(self.0, Set::Line).then_some(Short::Line)
    }

    #[inline]
    pub(super) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Match> {
        match &self.0 {
            Set::Line => Short::Line.find(src, progress),
            Set::Shared(shared) => {
                let found = shared.look(src, *progress);
                if found.is_none() {
                    shared.note_absent(src, progress);
                }
                found
            }
        }
    }

    /// The same for a caller that updates `progress` itself.
    #[inline]
    pub(crate) fn look(&self, src: &[u8], progress: Progress) -> Option<Match> {
        match &self.0 {
            Set::Line => Short::Line.look(src, progress),
            Set::Shared(shared) => shared.look(src, progress),
        }
    }

    /// Records that no member is in `src`.
    pub(super) fn note_absent(&self, src: &[u8], progress: &mut Progress) {
        match &self.0 {
            Set::Line => Short::Line.note_absent(src, progress),
            Set::Shared(shared) => shared.note_absent(src, progress),
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
                    // Reports the first to end, and of those the longest first.
                    .match_kind(MatchKind::Standard)
                    .kind(Some(kind))
                    .build(patterns.iter().map(Pattern::as_bytes))
                    .ok()
            })
            .flatten();
        let mut by_length: Vec<usize> = (0..patterns.len()).collect();
        by_length
            .sort_by_key(|&i| patterns.get(i).map(|p| (Reverse(p.as_bytes().len()), p.as_bytes())));
        let mut last_bytes = patterns.iter().map(|p| p.as_bytes().last().copied());
        let first = last_bytes.next().flatten();
        let longest = by_length.first().and_then(|&i| patterns.get(i)).map(|p| p.as_bytes().len());
        let is_small = patterns.len() <= FEW && longest <= Some(SHORT);
        let last_byte = first.filter(|_| is_small && last_bytes.all(|b| b == first));
        Shared { patterns, by_length, last_byte, searcher }
    }

    fn look(&self, src: &[u8], Progress { from, .. }: Progress) -> Option<Match> {
        let fresh = src.get(from..).filter(|fresh| !fresh.is_empty())?;
        let Match { start, end, pattern } = match self.last_byte {
            Some(byte) => self.find_by_last_byte(byte, fresh),
            None => self.find_any(fresh),
        }?;
        Some(Match { start: from + start, end: from + end, pattern })
    }

    fn note_absent(&self, src: &[u8], progress: &mut Progress) {
        let Some(fresh) = src.get(progress.from..).filter(|fresh| !fresh.is_empty()) else {
            return;
        };
        // A suffix that could begin a pattern does not begin before `from`.
        let partial = self.patterns.iter().map(|p| p.partial(fresh)).max().unwrap_or(0);
        progress.set(src, partial);
    }

    /// `memchr` for the byte that all patterns end in, and a compare with each of
    /// them there: the fastest on ordinary input, as `Word::find` is for one.
    fn find_by_last_byte(&self, byte: u8, src: &[u8]) -> Option<Match> {
        let mut end = 0;
        let mut credit = 64;
        loop {
            end += memchr(byte, src.get(end..)?)? + 1;
            let seen = src.get(..end)?;
            for &pattern in &self.by_length {
                let bytes = self.patterns.get(pattern)?.as_bytes();
                if seen.ends_with(bytes) {
                    return Some(Match { start: end - bytes.len(), end, pattern });
                }
            }
            credit -= 16 * self.patterns.len() as isize;
            if end.checked_add_signed(credit).is_none() {
                // A flood of that byte: no pattern has ended up to here.
                let longest = self.by_length.first().and_then(|&i| self.patterns.get(i))?;
                let start = end.saturating_sub(longest.as_bytes().len());
                let found = self.find_any(src.get(start..)?)?;
                let Match { start: s, end: e, pattern } = found;
                return Some(Match { start: start + s, end: start + e, pattern });
            }
        }
    }

    fn find_any(&self, src: &[u8]) -> Option<Match> {
        let Some(searcher) = &self.searcher else { return self.find_each(src) };
        let found = searcher.find(src)?;
        let pattern = found.pattern().as_usize();
        Some(Match { start: found.start(), end: found.end(), pattern })
    }

    /// For sets too large for a searcher: searches for each pattern in a window
    /// that doubles. An absent pattern is not searched for in the whole buffer at
    /// every frame.
    fn find_each(&self, src: &[u8]) -> Option<Match> {
        let mut window = WINDOW;
        loop {
            // The first to end is in the first window in which any ends.
            let part = src.get(..window).unwrap_or(src);
            let found = self.find_each_in(part);
            if found.is_some() || part.len() == src.len() {
                return found;
            }
            window = window.saturating_mul(2);
        }
    }

    fn find_each_in(&self, mut src: &[u8]) -> Option<Match> {
        let mut best: Option<Match> = None;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let Some(found) = pattern.find(src, &mut Progress::default()) else { continue };
            let Match { start, end, .. } = found;
            // The first to end, and of those that end together the longest.
            if best.is_none_or(|best| (end, start) < (best.end, best.start)) {
                best = Some(Match { start, end, pattern: index });
            }
            src = src.get(..end)?;
        }
        best
    }
}

impl PartialEq for AnyOf {
    /// Compares without regard to order.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Set::Shared(a), Set::Shared(b)) if Arc::ptr_eq(a, b) => true,
            _ => self.canonical().eq(other.canonical()),
        }
    }
}

impl Eq for AnyOf {}

impl Hash for AnyOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().for_each(|pattern| pattern.hash(state));
    }
}

impl fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = (0..self.len()).map(|index| self.get(index));
        f.debug_list().entries(patterns.filter_map(Pattern::new)).finish()
    }
}

/// The largest set that is compared one by one, and its longest pattern in bytes.
const FEW: usize = 4;
const SHORT: usize = 64;

/// The first window of `find_each`.
const WINDOW: usize = 256;

/// The size in bytes of all patterns above which no automaton is built.
const SEARCHER_MAX: usize = 1 << 20;
