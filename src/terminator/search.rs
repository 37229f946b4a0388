use memchr::memchr;

/// Where a terminator was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The index of the pattern in its set.
    pub(crate) pattern: usize,
}

/// The progress of the search in the undelivered bytes.
///
/// No terminator starts before `from`. The `partial` bytes from there on are the
/// longest suffix of the searched bytes that could begin one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) from: usize,
    pub(crate) partial: usize,
    /// `true` if the last frame was so long that calling `memchr` pays off.
    pub(super) long: bool,
}

impl Progress {
    /// Returns `true` if none of the undelivered bytes was searched.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen() == 0
    }

    /// The number of undelivered bytes that were searched.
    #[inline(always)]
    pub(crate) fn seen(&self) -> usize {
        self.from + self.partial
    }

    /// Records that other bytes follow.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        self.from = 0;
        self.partial = 0;
    }

    /// Records a match, of which only its length matters.
    #[inline(always)]
    pub(crate) fn note(&mut self, found: Match) {
        self.long = found.start.wrapping_sub(self.from) >= SHORT_FRAME;
    }

    /// Records that the terminator is not in `src`, whose last `partial` bytes
    /// could begin it.
    pub(super) fn set(&mut self, src: &[u8], partial: usize) {
        debug_assert!(partial <= src.len());
        self.from = src.len().saturating_sub(partial);
        self.partial = partial;
    }
}

/// `memchr`, in a version that is inlined unless frames are `long`: for a short
/// one the call costs more than the search.
#[inline(always)]
pub(super) fn find_byte(byte: u8, src: &[u8], long: bool) -> Option<usize> {
    match src.first_chunk::<SHORT_FRAME>() {
        Some(first) if !long => match find_byte_inline(byte, first) {
            Some(at) => Some(at),
            None => Some(memchr(byte, src.get(SHORT_FRAME..)?)? + SHORT_FRAME),
        },
        _ => memchr(byte, src),
    }
}

#[inline(always)]
fn find_byte_inline(byte: u8, src: &[u8]) -> Option<usize> {
    // Every x86-64 has SSE2, so no feature has to be detected.
    #[cfg(target_arch = "x86_64")]
    if let Some(searcher) = memchr::arch::x86_64::sse2::memchr::One::new(byte) {
        return searcher.find(src);
    }
    memchr(byte, src)
}

/// A frame below this length is short.
const SHORT_FRAME: usize = 256;
