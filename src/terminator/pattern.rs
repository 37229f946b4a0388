use super::search::{Progress, find_byte};
use memchr::{memchr, memmem};
use std::{fmt, sync::Arc};

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
    #[inline]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            0 => None,
            1..=8 => Some(Self::inline(bytes)),
            _ => Some(Self::long(bytes)),
        }
    }

    /// Of 1 to 8 bytes.
    #[inline]
    pub(super) const fn inline(mut bytes: &[u8]) -> Self {
        let len = bytes.len() as u8;
        let mut word = 0;
        while let [first, rest @ ..] = bytes {
            word = word << 8 | *first as u64;
            bytes = rest;
        }
        Pattern(Repr::Inline { word: word.to_be_bytes(), len })
    }

    #[inline(never)]
    fn long(bytes: &[u8]) -> Self {
        Pattern(Repr::Long(Arc::new(Long::new(bytes))))
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

    /// The byte, if it is only one.
    #[inline(always)]
    pub(super) fn as_byte(&self) -> Option<u8> {
        match self.0 {
            Repr::Inline { word: [.., byte], len: 1 } => Some(byte),
            _ => None,
        }
    }

    /// Where the first occurrence in `src` starts, and how long it is.
    #[inline(always)]
    pub(super) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<(usize, usize)> {
        match &self.0 {
            Repr::Inline { word, len } => {
                let len = usize::from(*len);
                let found = find_inline(*word, len, src, progress);
                if found.is_none() {
                    progress.set(src, self.held(src));
                }
                Some((found?, len))
            }
            Repr::Long(long) => Some((long.find(src, progress)?, long.borders.len())),
        }
    }

    /// Length of the longest suffix of `src` that could begin the pattern.
    pub(super) fn held(&self, src: &[u8]) -> usize {
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

/// `memchr` for the last byte and a compare: the fastest on ordinary input.
/// Where that byte turns up without the rest too often (somebody sends floods
/// of it), a searcher whose speed does not depend on the input takes over.
#[inline(always)]
fn find_inline(word: [u8; 8], len: usize, src: &[u8], progress: &mut Progress) -> Option<usize> {
    let [.., last] = word;
    let first_end = progress.from + len;
    let end = first_end + find_byte(last, src.get(first_end - 1..)?, progress)?;
    if ends_with(src, end, word, len) {
        return Some(end - len);
    }
    find_inline_next(word, len, src, first_end, end)
}

/// Whether the pattern in `word` ends at `end`, which lies in `src`.
#[inline(always)]
fn ends_with(src: &[u8], end: usize, word: [u8; 8], len: usize) -> bool {
    match end.checked_sub(8).and_then(|start| src.get(start..)?.first_chunk()) {
        // The bytes before the pattern are shifted out.
        Some(window) => {
            (u64::from_le_bytes(*window) ^ u64::from_le_bytes(word)) >> (64 - 8 * len) == 0
        }
        None => src.get(end - len..end) == word.get(8 - len..),
    }
}

/// Goes on behind a last byte without the rest, at `end`.
#[inline(never)]
fn find_inline_next(
    word: [u8; 8],
    len: usize,
    src: &[u8],
    first_end: usize,
    mut end: usize,
) -> Option<usize> {
    let [.., last] = word;
    let mut credit = 64;
    loop {
        end += 1;
        credit -= 16;
        if credit + ((end - first_end) as isize) < 0 {
            let start = end - len;
            return Some(start + memmem::find(src.get(start..)?, word.get(8 - len..)?)?);
        }
        end += memchr(last, src.get(end - 1..)?)?;
        if ends_with(src, end, word, len) {
            return Some(end - len);
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

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
