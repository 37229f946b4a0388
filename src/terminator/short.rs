use super::search::{Match, Progress, find_byte};
use memchr::memchr;

/// The pattern that ends nearly all frames: a copy of the terminator's bytes, to
/// search with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Short {
    Byte(u8),
    /// CR LF or LF, in this order.
    Line,
    /// A byte string of 2 to 8 bytes.
    Word(Word),
}

/// The byte string is the last `len` of the 8 bytes of `word` (in memory, that is
/// little-endian); before it are zeros. Numbers, because they stay in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    word: u64,
    len: usize,
}

impl Short {
    /// Returns the first occurrence in `src`. If there is none, updates `progress`.
    #[inline(always)]
    pub(crate) fn find(self, src: &[u8], progress: &mut Progress) -> Option<Match> {
        let found = self.look(src, *progress);
        match found {
            Some(found) => progress.note(found),
            None => self.note_absent(src, progress),
        }
        found
    }

    /// The same for a caller that updates `progress` itself. Everything is passed
    /// by value, so that all of it stays in registers.
    #[inline(always)]
    pub(crate) fn look(self, src: &[u8], Progress { from, long, .. }: Progress) -> Option<Match> {
        match self {
            Short::Byte(byte) => {
                let start = find_byte_from(byte, src, from, long)?;
                Some(Match { start, end: start + 1, pattern: 0 })
            }
            Short::Line => Some(find_cr(find_byte_from(b'\n', src, from, long)?, src)),
            Short::Word(word) => word.find(src, from, long),
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn note_absent(self, src: &[u8], progress: &mut Progress) {
        progress.set(src, self.partial(src));
    }

    /// The length of the longest suffix of `src` that could begin the pattern.
    pub(super) fn partial(self, src: &[u8]) -> usize {
        match self {
            Short::Byte(_) => 0,
            Short::Line => usize::from(src.ends_with(b"\r")),
            Short::Word(Word { word, len }) => {
                let word = word.to_le_bytes();
                let bytes = word.get(8 - len..).unwrap_or_default();
                let is_suffix = |n| bytes.get(..n).is_some_and(|prefix| src.ends_with(prefix));
                (1..bytes.len()).rev().find(|&n| is_suffix(n)).unwrap_or(0)
            }
        }
    }
}

#[inline(always)]
fn find_byte_from(byte: u8, src: &[u8], from: usize, long: bool) -> Option<usize> {
    Some(from + find_byte(byte, src.get(from..)?, long)?)
}

/// The end of a line whose LF is at `lf`.
#[inline(always)]
fn find_cr(lf: usize, src: &[u8]) -> Match {
    match lf.checked_sub(1) {
        Some(cr) if src.get(cr) == Some(&b'\r') => Match { start: cr, end: lf + 1, pattern: 0 },
        _ => Match { start: lf, end: lf + 1, pattern: 1 },
    }
}

impl Word {
    #[inline(always)]
    pub(super) fn new(word: [u8; 8], len: u8) -> Self {
        Word { word: u64::from_le_bytes(word), len: usize::from(len) }
    }

    /// `memchr` for the last byte and a compare: the fastest on ordinary input.
    #[inline(always)]
    fn find(self, src: &[u8], from: usize, long: bool) -> Option<Match> {
        let Word { word, len } = self;
        let last = (word >> 56) as u8;
        let first_end = from + len;
        let end = first_end + find_byte(last, src.get(first_end - 1..)?, long)?;
        if self.ends_at(end, src) {
            return Some(self.found(end));
        }
        self.find_next(src, end)
    }

    #[inline(always)]
    fn found(self, end: usize) -> Match {
        Match { start: end - self.len, end, pattern: 0 }
    }

    /// Returns `true` if the pattern ends at `end`, which is at most the length of `src`.
    #[inline(always)]
    fn ends_at(self, end: usize, src: &[u8]) -> bool {
        let Word { word, len } = self;
        match end.checked_sub(8).and_then(|start| src.get(start..)?.first_chunk()) {
            // The bytes before the pattern are shifted out.
            Some(window) => (u64::from_le_bytes(*window) ^ word) >> (64 - 8 * len) == 0,
            None => src.get(end - len..end) == word.to_le_bytes().get(8 - len..),
        }
    }

    /// Continues after a last byte without the rest; the next one is at `last` or
    /// later.
    ///
    /// Floods of that byte must not be slow: the next places are compared all at
    /// once, and `memchr` is called only after them.
    // A call of `memchr` for each such byte costs 5 ns. `memmem` is no way out: a flood of
    // the pattern's own bytes has a candidate at every fourth place.
    #[inline(never)]
    fn find_next(self, src: &[u8], mut last: usize) -> Option<Match> {
        let word = self.word.to_le_bytes();
        let needle = word.get(8 - self.len..)?;
        loop {
            let start = last + 1 - self.len;
            let rest = src.get(start..)?;
            let at = match rest.first_chunk::<BLOCK>() {
                Some(block) => find_in_block(block, needle),
                None => Some(rest.windows(self.len).position(|bytes| bytes == needle)?),
            };
            if let Some(at) = at {
                return Some(self.found(start + at + self.len));
            }
            last += PLACES;
            last += memchr(*needle.last()?, src.get(last..)?)?;
        }
    }
}

/// Returns the first of the `PLACES` first bytes of `block` at which `needle`
/// begins. The cost does not depend on the input. Compilers vectorize the loop.
#[inline(always)]
fn find_in_block(block: &[u8; BLOCK], needle: &[u8]) -> Option<usize> {
    let mut is_here = [u8::MAX; PLACES];
    for (bytes, &wanted) in block.windows(PLACES).zip(needle) {
        for (is_here, &byte) in is_here.iter_mut().zip(bytes) {
            *is_here &= if byte == wanted { u8::MAX } else { 0 };
        }
    }
    if is_here == [0; PLACES] {
        return None;
    }
    is_here.iter().position(|&is_here| is_here != 0)
}

/// The number of places that are compared at once.
const PLACES: usize = 32;

/// The number of bytes needed for that: a match at the last place has up to 8.
const BLOCK: usize = 40;
