use super::search::{Found, Progress, find_byte};
use memchr::memchr;

/// What nearly all frames end with. It is a copy of what the terminator holds,
/// to search with.
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
    /// The first occurrence in `src`; if there is none, `progress` is brought up
    /// to date.
    #[inline(always)]
    pub(crate) fn find(self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        let found = match self {
            Short::Byte(byte) => find_byte_from(byte, src, progress).map(|start| Found {
                start,
                end: start + 1,
                member: 0,
            }),
            Short::Line => find_byte_from(b'\n', src, progress).map(|lf| find_cr(lf, src)),
            Short::Word(word) => word.find(src, progress),
        };
        if found.is_none() {
            self.give_up(src, progress);
        }
        found
    }

    #[cold]
    #[inline(never)]
    fn give_up(self, src: &[u8], progress: &mut Progress) {
        progress.set(src, self.held(src));
    }

    /// Length of the longest suffix of `src` that could begin it.
    pub(super) fn held(self, src: &[u8]) -> usize {
        match self {
            Short::Byte(_) => 0,
            Short::Line => usize::from(src.ends_with(b"\r")),
            Short::Word(Word { word, len }) => {
                let word = word.to_le_bytes();
                let bytes = word.get(8 - len..).unwrap_or_default();
                let is_held = |n| bytes.get(..n).is_some_and(|prefix| src.ends_with(prefix));
                (1..bytes.len()).rev().find(|&n| is_held(n)).unwrap_or(0)
            }
        }
    }
}

#[inline(always)]
fn find_byte_from(byte: u8, src: &[u8], progress: &mut Progress) -> Option<usize> {
    Some(progress.from + find_byte(byte, src.get(progress.from..)?, progress)?)
}

/// The end of a line whose LF is there.
#[inline(always)]
fn find_cr(lf: usize, src: &[u8]) -> Found {
    match lf.checked_sub(1) {
        Some(cr) if src.get(cr) == Some(&b'\r') => Found { start: cr, end: lf + 1, member: 0 },
        _ => Found { start: lf, end: lf + 1, member: 1 },
    }
}

impl Word {
    #[inline(always)]
    pub(super) fn new(word: [u8; 8], len: u8) -> Self {
        Word { word: u64::from_le_bytes(word), len: usize::from(len) }
    }

    /// `memchr` for the last byte and a compare: the fastest on ordinary input.
    #[inline(always)]
    fn find(self, src: &[u8], progress: &mut Progress) -> Option<Found> {
        let Word { word, len } = self;
        let last = (word >> 56) as u8;
        let first_end = progress.from + len;
        let end = first_end + find_byte(last, src.get(first_end - 1..)?, progress)?;
        if self.ends_at(end, src) {
            return Some(self.found(end));
        }
        self.find_next(src, end)
    }

    #[inline(always)]
    fn found(self, end: usize) -> Found {
        Found { start: end - self.len, end, member: 0 }
    }

    /// Whether it ends at `end`, which lies in `src`.
    #[inline(always)]
    fn ends_at(self, end: usize, src: &[u8]) -> bool {
        let Word { word, len } = self;
        match end.checked_sub(8).and_then(|start| src.get(start..)?.first_chunk()) {
            // The bytes before it are shifted out.
            Some(window) => (u64::from_le_bytes(*window) ^ word) >> (64 - 8 * len) == 0,
            None => src.get(end - len..end) == word.to_le_bytes().get(8 - len..),
        }
    }

    /// Goes on behind a last byte without the rest: the next one lies at `last` or
    /// behind it.
    ///
    /// Where one such is, more may follow: so the next places are compared all at
    /// once, and `memchr` is called only behind them.
    #[inline(never)]
    fn find_next(self, src: &[u8], mut last: usize) -> Option<Found> {
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

/// Which of the first `PLACES` bytes of `block` is the first that `needle` begins
/// at. What it costs does not depend on the input: compilers make SIMD
/// instructions of it.
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

/// How many places are compared at once.
const PLACES: usize = 32;

/// How many bytes there must be for that: what begins there has up to 8.
const BLOCK: usize = 40;
