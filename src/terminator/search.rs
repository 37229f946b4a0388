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

    /// The terminator is not in `src`, but its last `held` bytes could begin it.
    pub(super) fn set(&mut self, src: &[u8], held: usize) {
        self.from = src.len().saturating_sub(held);
        self.held = held;
    }
}

/// `memchr`, with the first bytes looked at here unless frames are long: for a
/// short one the call costs more than the search.
#[inline(always)]
pub(super) fn find_byte(byte: u8, src: &[u8], progress: &mut Progress) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let at = match src.split_first_chunk::<PROBE>() {
        Some((first, rest)) if !progress.long => {
            let first = u128::from_le_bytes(*first);
            for (i, word) in [first as u64, (first >> 64) as u64].into_iter().enumerate() {
                let word = word ^ (ONES * u64::from(byte));
                // The lowest high bit set marks the first byte that is now zero.
                let zeros = word.wrapping_sub(ONES) & !word & HIGHS;
                if zeros != 0 {
                    return Some(8 * i + zeros.trailing_zeros() as usize / 8);
                }
            }
            memchr(byte, rest)? + PROBE
        }
        _ => memchr(byte, src)?,
    };
    progress.long = at >= PROBE;
    Some(at)
}

/// How many bytes `find_byte` looks at itself: two words.
const PROBE: usize = 16;
