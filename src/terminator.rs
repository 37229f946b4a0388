use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use bytes::Bytes;
use memchr::{memchr, memmem};
use std::{cmp::Reverse, fmt, sync::Arc};

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
    pub fn crlf() -> Self {
        Self::from(b"\r\n")
    }

    /// A line feed.
    #[must_use]
    pub fn lf() -> Self {
        Self::from(b"\n")
    }

    /// CR LF CR LF, the end of an HTTP/1 or mail header.
    #[must_use]
    pub fn blank_line() -> Self {
        Self::from(b"\r\n\r\n")
    }

    /// CR LF or a bare LF: `any(["\r\n", "\n"])`, but found faster.
    #[must_use]
    pub fn line() -> Self {
        Terminator::AnyOf(AnyOf(Set::Line))
    }

    /// This many bytes.
    #[must_use]
    pub fn count(n: usize) -> Self {
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
            [a, b] if a.as_bytes() == b"\r\n" && b.as_bytes() == b"\n" => Self::line(),
            _ => Terminator::AnyOf(AnyOf(Set::Shared(Arc::new(Shared::new(patterns))))),
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

/// A byte string that ends a frame; never empty.
#[derive(Clone)]
pub struct Pattern(Repr);

#[derive(Clone)]
enum Repr {
    /// `word` holds the pattern in its last `len` bytes (1 to 8), zero before.
    Inline {
        word: [u8; 8],
        len: u8,
    },
    Long(Arc<Long>),
}

struct Long {
    finder: memmem::Finder<'static>,
    /// `borders[i]`: length of the longest proper prefix of the pattern that
    /// is also a suffix of its first `i + 1` bytes (Knuth, Morris, Pratt).
    borders: Box<[usize]>,
}

impl Pattern {
    /// `None` if `bytes` is empty.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut word = [0; 8];
        if bytes.is_empty() {
            return None;
        }
        Some(Pattern(match word.len().checked_sub(bytes.len()) {
            Some(pad) => {
                if let Some(tail) = word.get_mut(pad..) {
                    tail.copy_from_slice(bytes);
                }
                // 1..=8: fits.
                Repr::Inline { word, len: bytes.len() as u8 }
            }
            None => Repr::Long(Arc::new(Long::new(bytes))),
        }))
    }

    /// The byte string.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { word, len } => {
                word.get(8usize.saturating_sub(usize::from(*len))..).unwrap_or_default()
            }
            Repr::Long(long) => long.finder.needle(),
        }
    }

    /// Where the first occurrence in `src` starts, and how long it is.
    #[inline]
    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<(usize, usize)> {
        match &self.0 {
            Repr::Inline { word, len } => {
                let len = usize::from(*len);
                let found = find_inline(*word, len, src, progress.from, progress.long);
                if let Some(start) = found {
                    progress.note(start - progress.from);
                }
                if found.is_none() {
                    progress.set(src, self.held(src));
                }
                Some((found?, len))
            }
            Repr::Long(long) => Some((long.find(src, progress)?, long.borders.len())),
        }
    }

    /// Length of the longest suffix of `src` that could begin the pattern.
    fn held(&self, src: &[u8]) -> usize {
        match &self.0 {
            Repr::Inline { .. } => {
                let bytes = self.as_bytes();
                (1..bytes.len())
                    .rev()
                    .find(|&n| bytes.get(..n).is_some_and(|prefix| src.ends_with(prefix)))
                    .unwrap_or(0)
            }
            Repr::Long(long) => {
                let tail = src.len().saturating_sub(long.borders.len() - 1);
                long.step(0, src.get(tail..).unwrap_or_default()).0
            }
        }
    }
}

/// `memchr`, with the first bytes looked at here unless frames are `long`: for
/// a short one the call costs more than the search.
#[inline(always)]
fn find_byte(byte: u8, src: &[u8], long: bool) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some((first, rest)) = src.split_first_chunk::<PROBE>() else {
        return memchr(byte, src);
    };
    if long {
        return memchr(byte, src);
    }
    let all = ONES * u64::from(byte);
    let both = u128::from_le_bytes(*first);
    let mut at = 0;
    for word in [both as u64, (both >> 64) as u64] {
        let word = word ^ all;
        // The lowest high bit set marks the first byte that is now zero.
        let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Some(memchr(byte, rest)? + at)
}

/// `memchr` for the last byte and a compare: the fastest on ordinary input.
/// Where that byte turns up without the rest too often (somebody sends floods
/// of it), a searcher whose speed does not depend on the input takes over.
#[inline]
fn find_inline(word: [u8; 8], len: usize, src: &[u8], from: usize, long: bool) -> Option<usize> {
    let [.., last] = word;
    let pattern = u64::from_le_bytes(word);
    let shift = 64 - 8 * len as u32;
    let first_end = from + len;
    let mut end = first_end;
    let mut credit = 64;
    loop {
        end += find_byte(last, src.get(end - 1..)?, long)?;
        let matched = match end.checked_sub(8).and_then(|s| src.get(s..end)?.first_chunk::<8>()) {
            // The bytes before the pattern are shifted out.
            Some(window) => (u64::from_le_bytes(*window) ^ pattern) >> shift == 0,
            None => src.get(..end)?.ends_with(word.get(8 - len..)?),
        };
        if matched {
            return Some(end - len);
        }
        end += 1;
        credit -= 16;
        if credit + ((end - first_end) as isize) < 0 {
            let start = end - len;
            let found = memmem::find(src.get(start..)?, word.get(8 - len..)?)?;
            return Some(start + found);
        }
    }
}

impl Long {
    fn new(bytes: &[u8]) -> Self {
        let mut long = Long { finder: memmem::Finder::new(bytes).into_owned(), borders: [].into() };
        let mut borders = vec![0];
        let mut matched = 0;
        for &byte in bytes.iter().skip(1) {
            matched = next(bytes, &borders, matched, byte);
            borders.push(matched);
        }
        long.borders = borders.into();
        long
    }

    /// Goes on from `matched` bytes of the pattern over `src`. Gives how much
    /// is matched at the end, and where in `src` the pattern ended, if it did.
    fn step(&self, mut matched: usize, src: &[u8]) -> (usize, Option<usize>) {
        let needle = self.finder.needle();
        for (i, &byte) in src.iter().enumerate() {
            matched = next(needle, &self.borders, matched, byte);
            if matched == needle.len() {
                return (matched, Some(i + 1));
            }
        }
        (matched, None)
    }

    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<usize> {
        let len = self.borders.len();
        let seen = progress.from + progress.held;
        let fresh = src.get(seen..)?;
        let held = if fresh.len() < len {
            // A drip: go on where the last call stopped, look at nothing twice.
            let (held, end) = self.step(progress.held, fresh);
            if let Some(end) = end {
                return (seen + end).checked_sub(len);
            }
            held
        } else {
            let found = self.finder.find(src.get(progress.from..)?);
            if let Some(at) = found {
                return Some(progress.from + at);
            }
            self.step(0, src.get(src.len() - (len - 1)..)?).0
        };
        progress.set(src, held);
        None
    }
}

/// One step of Knuth, Morris and Pratt's automaton.
fn next(needle: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while needle.get(matched) != Some(&byte) {
        match matched.checked_sub(1).and_then(|i| borders.get(i)) {
            Some(&shorter) => matched = shorter,
            None => return 0,
        }
    }
    matched + 1
}

/// Several byte strings, the first of which to end ends the frame.
///
/// Made by [`Terminator::any`] and [`Terminator::line`].
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

    fn get(&self, member: usize) -> &[u8] {
        match (&self.0, member) {
            (Set::Line, 0) => b"\r\n",
            (Set::Line, _) => b"\n",
            (Set::Shared(shared), _) => {
                shared.patterns.get(member).map(Pattern::as_bytes).unwrap_or_default()
            }
        }
    }

    #[inline]
    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        match &self.0 {
            Set::Line => {
                let fresh = src.get(progress.from..)?;
                let Some(at) = find_byte(b'\n', fresh, progress.long) else {
                    progress.set(src, usize::from(src.ends_with(b"\r")));
                    return None;
                };
                progress.note(at);
                let lf = progress.from + at;
                let (start, member) = match lf.checked_sub(1) {
                    Some(cr) if src.get(cr) == Some(&b'\r') => (cr, 0),
                    _ => (lf, 1),
                };
                Some(Found { start, end: lf + 1, member })
            }
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
        let last_byte = first.filter(|_| patterns.len() <= FEW && last_bytes.all(|b| b == first));
        Shared { patterns, by_length, last_byte, searcher }
    }

    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        let fresh = src.get(progress.from..)?;
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
    /// the fastest on ordinary input, as `find_inline` is for one.
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
            if credit + (end as isize) < 0 {
                // A flood of that byte: no member has ended up to here.
                let longest = self.by_length.first().and_then(|&i| self.patterns.get(i))?;
                let start = end.saturating_sub(longest.as_bytes().len() - 1);
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

    /// The slow way, for sets too large for a searcher.
    fn find_each(&self, mut src: &[u8]) -> Option<Found> {
        let mut best: Option<Found> = None;
        for (member, pattern) in self.patterns.iter().enumerate() {
            let Some((start, len)) = pattern.find(src, &mut Progress::default()) else { continue };
            let end = start + len;
            // It ends no later than the best so far, because `src` is cut there.
            if best.is_none_or(|best| end < best.end || start < best.start) {
                best = Some(Found { start, end, member });
            }
            src = src.get(..end)?;
        }
        best
    }
}

/// How many bytes `find_byte` looks at itself: two words.
const PROBE: usize = 16;

/// Up to how many members are compared one by one.
const FEW: usize = 4;

/// Bytes of all members together above which no automaton is built.
const SEARCHER_MAX: usize = 1 << 20;

/// A terminator that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Which one of the set.
    pub(crate) member: usize,
}

/// How far the search has come in the bytes not yet delivered.
///
/// No terminator starts before `from`; the `held` bytes from there on are all
/// that was seen, and are the longest suffix of it that could begin one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) from: usize,
    pub(crate) held: usize,
    /// Whether the last frame was so long that it is not worth looking at the
    /// first bytes before calling `memchr`.
    long: bool,
}

impl Progress {
    /// Forgets what was seen: other bytes follow.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        self.from = 0;
        self.held = 0;
    }

    #[inline(always)]
    fn note(&mut self, found_after: usize) {
        self.long = found_after >= PROBE;
    }
    fn set(&mut self, src: &[u8], held: usize) {
        self.from = src.len().saturating_sub(held);
        self.held = held;
    }
}

impl Terminator {
    /// Looks for the terminator.
    ///
    /// If it is not there, `progress` says where to go on. It must have been
    /// made by this terminator, or be the default.
    #[inline(always)]
    pub(crate) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        // One byte, the most frequent terminator, with the least to decide.
        if let Terminator::Pattern(Pattern(Repr::Inline { word: [.., byte], len: 1 })) = self {
            if let Some(fresh) = src.get(progress.from..) {
                return match find_byte(*byte, fresh, progress.long) {
                    Some(at) => {
                        progress.note(at);
                        let start = progress.from + at;
                        Some(Found { start, end: start + 1, member: 0 })
                    }
                    None => {
                        progress.set(src, 0);
                        None
                    }
                };
            }
        }
        self.find_other(src, progress)
    }

    #[inline]
    fn find_other(&self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        if progress.from + progress.held > src.len() {
            // Somebody shortened the buffer.
            *progress = Progress::default();
        }
        match self {
            Terminator::Pattern(pattern) => {
                let (start, len) = pattern.find(src, progress)?;
                Some(Found { start, end: start + len, member: 0 })
            }
            Terminator::AnyOf(set) => set.find(src, progress),
            Terminator::Count(_) | Terminator::None => {
                progress.set(src, 0);
                None
            }
        }
    }
}

impl From<&[u8]> for Terminator {
    fn from(bytes: &[u8]) -> Self {
        Pattern::new(bytes).map_or(Terminator::None, Terminator::Pattern)
    }
}

impl<const N: usize> From<&[u8; N]> for Terminator {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for Terminator {
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

impl From<u64> for Terminator {
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

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Inline { word: a, len: m }, Repr::Inline { word: b, len: n }) => {
                a == b && m == n
            }
            (Repr::Long(a), Repr::Long(b)) => {
                Arc::ptr_eq(a, b) || a.finder.needle() == b.finder.needle()
            }
            _ => false,
        }
    }
}

impl Eq for Pattern {}

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

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let patterns = self.iter().map(|p| p.escape_ascii().to_string());
        f.debug_list().entries(patterns).finish()
    }
}
