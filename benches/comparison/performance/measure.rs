//! Contests: several ways to do the same thing, in turns, and what came of it.

use std::time::Instant;

/// A row of the page: the same work, done by us and by others.
pub(crate) struct Contest<'c> {
    /// What is varied: "8 bytes", "depth 16".
    pub(crate) what: String,
    /// What a round's figure counts; whether less of it is better.
    pub(crate) unit: Unit,
    /// Ours first.
    pub(crate) entries: Vec<Entry<'c>>,
}

pub(crate) struct Entry<'c> {
    pub(crate) name: &'static str,
    /// Does one round and gives its figure.
    pub(crate) round: Box<dyn FnMut() -> f64 + 'c>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    NanosPerFrame,
    NanosPerByte,
    Nanos,
    MegabytesPerSecond,
    PerSecond,
    Bytes,
}

/// The medians of a contest, in the order of its entries.
pub(crate) struct Outcome {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) figures: Vec<(&'static str, f64)>,
    /// The ratio that is wanted here, if it is not that of all rows.
    pub(crate) wanted: Option<f64>,
}

impl<'c> Contest<'c> {
    pub(crate) fn new(what: impl Into<String>, unit: Unit) -> Self {
        Contest { what: what.into(), unit, entries: Vec::new() }
    }

    pub(crate) fn entry(mut self, name: &'static str, round: impl FnMut() -> f64 + 'c) -> Self {
        self.entries.push(Entry { name, round: Box::new(round) });
        self
    }

    /// Everybody does a round, in turns, so that what disturbs the machine
    /// disturbs them all; the first round is for warming up.
    pub(crate) fn run(mut self, rounds: usize) -> Outcome {
        let mut figures = vec![Vec::with_capacity(rounds); self.entries.len()];
        for round in 0..=rounds {
            // Nobody has always the same one in front.
            for i in 0..self.entries.len() {
                let i = (i + round) % self.entries.len();
                let figure = (self.entries[i].round)();
                if round > 0 {
                    figures[i].push(figure);
                }
            }
        }
        let medians = figures.iter_mut().map(|figures| median(figures));
        let figures = self.entries.iter().map(|entry| entry.name).zip(medians).collect();
        Outcome { what: self.what, unit: self.unit, figures, wanted: None }
    }
}

impl Outcome {
    pub(crate) fn wanting(mut self, ratio: f64) -> Self {
        self.wanted = Some(ratio);
        self
    }

    /// How many times better the first is than each of the others.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        let ours = self.figures[0].1;
        let less_is_better = self.unit.less_is_better();
        let ratio = |theirs: f64| if less_is_better { theirs / ours } else { ours / theirs };
        self.figures[1..].iter().map(|&(_, theirs)| ratio(theirs)).collect()
    }
}

impl Unit {
    pub(crate) fn less_is_better(self) -> bool {
        !matches!(self, Unit::MegabytesPerSecond | Unit::PerSecond)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::NanosPerFrame => "ns per frame",
            Unit::NanosPerByte => "ns per byte",
            Unit::Nanos => "ns",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::PerSecond => "per second",
            Unit::Bytes => "bytes",
        }
    }
}

pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds of one run of `work`.
pub(crate) fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e9
}

/// The slope of a straight line through the logarithms.
pub(crate) fn exponent(sizes: &[usize], times: &[f64]) -> f64 {
    let points: Vec<_> = sizes.iter().zip(times).map(|(&x, y)| ((x as f64).ln(), y.ln())).collect();
    let n = points.len() as f64;
    let (sx, sy) = points.iter().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mx, my) = (sx / n, sy / n);
    let covariance: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mx) * (x - mx)).sum();
    covariance / variance
}

/// Three digits, or whole.
pub(crate) fn number(figure: f64) -> String {
    match figure {
        _ if figure >= 10_000.0 => {
            let mut digits = format!("{figure:.0}");
            let mut at = digits.len();
            while at > 3 {
                at -= 3;
                digits.insert(at, '\u{202f}');
            }
            digits
        }
        _ if figure >= 100.0 => format!("{figure:.0}"),
        _ if figure >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
