/// `true` if there is capacity for more output. After the queue has reached the high-water mark,
/// there is none until the queue has drained to the low-water mark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermarks {
    high: u64,
    /// At most `high`.
    low: u64,
    full: bool,
}

impl Watermarks {
    pub(crate) fn new(high: usize, low: usize) -> Self {
        Watermarks { high: high as u64, low: low.min(high) as u64, full: false }
    }

    /// Updates the state to this number of queued bytes. Returns whether there is capacity.
    #[inline]
    pub(crate) fn update(&mut self, queued: u64) -> bool {
        if queued <= self.low {
            self.full = false;
        } else if queued >= self.high {
            self.full = true;
        }
        !self.full
    }

    /// Returns `true` if there was capacity at the last update.
    #[inline]
    pub(crate) fn has_capacity(&self) -> bool {
        !self.full
    }
}
