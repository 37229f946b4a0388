//! Evidence that needs more than the tests of the crate itself; see `tests`.

/// splitmix64: numbers that a seed decides.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    /// From this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of the choices.
    pub fn of(&mut self, choices: &[usize]) -> usize {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../../src/guide/hyper.md")]
struct Hyper;
