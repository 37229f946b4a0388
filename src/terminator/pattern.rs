use super::search::{Match, Progress};
use super::short::{Short, Word};
use memchr::memmem;
use std::hash::{Hash, Hasher};
use std::{fmt, sync::Arc};

/// A byte string that ends a frame; never empty.
#[derive(Clone)]
pub(crate) struct Pattern(Repr);

/// The payloads have the same place and size, so that each moves in one register.
#[derive(Clone)]
enum Repr {
    /// The last of these bytes.
    Byte(Eight),
    /// The last 2 to 7 of these bytes. The first byte is their number, and zeros
    /// are between.
    // With the number beside the bytes, the payload would be stored in parts and loaded
    // whole, and such a load waits for the stores.
    Short(Eight),
    Eight(Eight),
    Long(Arc<Long>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
struct Eight([u8; 8]);

struct Long {
    finder: memmem::Finder<'static>,
    /// `borders[i]`: length of the longest proper prefix of the pattern that
    /// is also a suffix of its first `i + 1` bytes (Knuth, Morris, Pratt).
    borders: Box<[usize]>,
}

impl Pattern {
    /// Returns `None` if `bytes` is empty.
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            0 => None,
            1..=8 => Some(Self::inline(bytes)),
            _ => Some(Self::long(bytes)),
        }
    }

    /// A pattern of 1 to 8 bytes.
    #[inline]
    pub(super) const fn inline(bytes: &[u8]) -> Self {
        // The first and the last bytes, which overlap, instead of one by one.
        let (first, last, width) = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => (u32::from_be_bytes(*first), u32::from_be_bytes(*last), 4),
            _ => match (bytes.first_chunk(), bytes.last_chunk()) {
                (Some(first), Some(last)) => {
                    (u16::from_be_bytes(*first) as u32, u16::from_be_bytes(*last) as u32, 2)
                }
                _ => match bytes {
                    [byte] => (*byte as u32, *byte as u32, 1),
                    _ => (0, 0, 0),
                },
            },
        };
        let word = ((first as u64) << (8 * (bytes.len() - width))) | last as u64;
        Pattern(match bytes.len() {
            1 => Repr::Byte(Eight(word.to_be_bytes())),
            8 => Repr::Eight(Eight(word.to_be_bytes())),
            len => Repr::Short(Eight((word | ((len as u64) << 56)).to_be_bytes())),
        })
    }

    #[inline(never)]
    fn long(bytes: &[u8]) -> Self {
        Pattern(Repr::Long(Arc::new(Long::new(bytes))))
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Byte(Eight([.., byte])) => std::slice::from_ref(byte),
            Repr::Short(Eight(bytes)) => {
                let [len, ..] = bytes;
                bytes.get(8usize.saturating_sub(usize::from(*len))..).unwrap_or_default()
            }
            Repr::Eight(Eight(bytes)) => bytes,
            Repr::Long(long) => long.finder.needle(),
        }
    }

    #[inline(always)]
    pub(super) fn short(&self) -> Option<Short> {
        match &self.0 {
            Repr::Byte(Eight([.., byte])) => Some(Short::Byte(*byte)),
            Repr::Short(Eight([len, a, b, c, d, e, f, g])) => {
                Some(Short::Word(Word::new([0, *a, *b, *c, *d, *e, *f, *g], *len)))
            }
            Repr::Eight(Eight(word)) => Some(Short::Word(Word::new(*word, 8))),
            Repr::Long(_) => None,
        }
    }

    /// Returns the first occurrence in `src`. If there is none, updates `progress`.
    #[inline(always)]
    pub(super) fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Match> {
        match &self.0 {
            Repr::Long(long) => long.find(src, progress),
            _ => self.short()?.find(src, progress),
        }
    }

    /// The length of the longest suffix of `src`, which does not contain the
    /// pattern, that could begin it.
    pub(super) fn partial(&self, src: &[u8]) -> usize {
        match &self.0 {
            Repr::Long(long) => long.partial(src),
            _ => self.short().map_or(0, |short| short.partial(src)),
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

    /// Continues from `matched` bytes of the pattern over `src`. Returns how much
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

    fn partial(&self, src: &[u8]) -> usize {
        let tail = src.len().saturating_sub(self.borders.len());
        self.step(0, src.get(tail..).unwrap_or_default()).0
    }

    #[inline(never)]
    fn find(&self, src: &[u8], progress: &mut Progress) -> Option<Match> {
        let start = self.search(src, progress)?;
        Some(Match { start, end: start + self.borders.len(), pattern: 0 })
    }

    fn search(&self, src: &[u8], progress: &mut Progress) -> Option<usize> {
        let len = self.borders.len();
        let seen = progress.seen();
        let fresh = src.get(seen..)?;
        let partial = if fresh.len() < len {
            // A trickle: continue where the last call stopped, look at no byte twice.
            let (partial, end) = self.step(progress.partial, fresh);
            if let Some(end) = end {
                return (seen + end).checked_sub(len);
            }
            partial
        } else {
            let found = self.finder.find(src.get(progress.from..)?);
            if let Some(at) = found {
                return Some(progress.from + at);
            }
            self.partial(src)
        };
        progress.set(src, partial);
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
            (Repr::Byte(a), Repr::Byte(b))
            | (Repr::Short(a), Repr::Short(b))
            | (Repr::Eight(a), Repr::Eight(b)) => a == b,
            (Repr::Long(a), Repr::Long(b)) => {
                Arc::ptr_eq(a, b) || a.finder.needle() == b.finder.needle()
            }
            _ => false,
        }
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
