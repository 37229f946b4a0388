use memchr::memchr;

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
    /// Whether the last frame was so long that it is worth calling `memchr`.
    long: bool,
}

impl Progress {
    /// Whether nothing of the undelivered bytes was seen.
    #[inline(always)]
    pub(crate) fn is_fresh(&self) -> bool {
        self.from == 0 && self.held == 0
    }

    /// No terminator starts before `from`; what follows is yet to be seen.
    pub(crate) fn skip_to(&mut self, from: usize) {
        self.from = from;
        self.held = 0;
    }

    /// Forgets what was seen: other bytes follow.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        self.from = 0;
        self.held = 0;
    }

    /// The terminator is not in `src`, but its last `held` bytes could begin it.
    pub(super) fn set(&mut self, src: &[u8], held: usize) {
        self.from = src.len().saturating_sub(held);
        self.held = held;
    }
}

/// `memchr`, in a version that is inlined unless frames are long: for a short
/// one the call costs more than the search.
#[inline(always)]
pub(super) fn find_byte(byte: u8, src: &[u8], progress: &mut Progress) -> Option<usize> {
    let at = match src.first_chunk::<SHORT_FRAME>() {
        Some(first) if !progress.long => match find_byte_inline(byte, first) {
            Some(at) => at,
            None => memchr(byte, src.get(SHORT_FRAME..)?)? + SHORT_FRAME,
        },
        _ => memchr(byte, src)?,
    };
    progress.long = at >= SHORT_FRAME;
    Some(at)
}

#[inline(always)]
fn find_byte_inline(byte: u8, src: &[u8]) -> Option<usize> {
    // SSE2 is there on every x86-64, so nothing has to be asked or called.
    #[cfg(target_arch = "x86_64")]
    if let Some(searcher) = memchr::arch::x86_64::sse2::memchr::One::new(byte) {
        return searcher.find(src);
    }
    memchr(byte, src)
}

/// Up to here a frame counts as short.
const SHORT_FRAME: usize = 256;
