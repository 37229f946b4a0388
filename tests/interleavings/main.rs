//! Every schedule: scenarios over a transport each of whose calls is pending,
//! does one byte, everything, or fails, as a string of letters says; and all
//! strings up to a length are tried. A future is polled once and dropped.
//!
//! Each scenario is played as it is, and to a lower depth under each of
//! `variant::CONDITIONS`: with a second task, or over a transport that buffers, for
//! example.
//!
//! `INTERLEAVINGS_DEPTH=11 cargo test --release --test interleavings` is the long run, and
//! says how many schedules there were, and of how many scenarios.

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod deadlines;
mod link;
mod loops;
mod methods;
mod reading;
mod sim;
mod split;
mod variant;
mod world;
mod writing;

use sim::{Explored, Scenario, explore};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;
use variant::{CONDITIONS, Variant};

/// A scenario, how it is varied, the name of the condition if that is one, and the
/// depth.
type Job<'s> = (&'s Scenario, Variant, &'static str, usize);

/// A scenario under each condition.
fn under_conditions(scenario: &Scenario, depth: usize) -> Vec<Job<'_>> {
    let mut jobs = vec![];
    for (condition, set) in CONDITIONS {
        // Small payloads, and large ones, which cost more.
        for (variant, less) in scenario.variants.iter().step_by(2).zip(0..) {
            let mut variant = *variant;
            set(&mut variant);
            jobs.push((scenario, variant, condition, depth.saturating_sub(less)));
        }
    }
    jobs
}

/// All scenarios, by what they are explored under.
struct Scenarios {
    /// Under each condition, and under limits of time that are not reached.
    timeless: Vec<Scenario>,
    /// Under each condition.
    timed: Vec<Scenario>,
    /// As they are.
    loops: Vec<Scenario>,
}

impl Scenarios {
    fn new() -> Self {
        let mut timeless = reading::scenarios();
        timeless.extend(writing::scenarios());
        timeless.extend(split::timeless_scenarios());
        let mut timed = deadlines::scenarios();
        timed.extend(split::timed_scenarios());
        Scenarios { timeless, timed, loops: loops::scenarios() }
    }

    fn jobs(&self, depth: usize) -> Vec<Job<'_>> {
        let Scenarios { timeless, timed, loops } = self;
        let less = depth.saturating_sub(1);
        let mut jobs = vec![];
        for scenario in timeless.iter().chain(timed).chain(loops) {
            jobs.extend(scenario.variants.iter().map(|variant| (scenario, *variant, "", depth)));
        }
        for scenario in timeless {
            let limits = Variant { limits: true, ..scenario.variants[0] };
            jobs.push((scenario, limits, "limits", less));
        }
        jobs.extend(timeless.iter().chain(timed).flat_map(|one| under_conditions(one, less)));
        jobs
    }
}

/// Explores the jobs that are `wanted`, in as many threads as there are processors. Returns what
/// came of each scenario, and what failed.
fn explore_all(
    depth: usize,
    wanted: impl Fn(&Job<'_>) -> bool,
) -> (BTreeMap<String, Explored>, Vec<String>) {
    let scenarios = Scenarios::new();
    let mut jobs = scenarios.jobs(depth);
    jobs.retain(wanted);
    let jobs = Mutex::new(jobs);
    let results = Mutex::new((BTreeMap::<String, Explored>::new(), vec![]));
    let work = || loop {
        let Some((scenario, variant, condition, depth)) = jobs.lock().unwrap().pop() else {
            return;
        };
        let explored = explore(scenario, variant, depth);
        let mut results = results.lock().unwrap();
        match explored {
            Ok(explored) => {
                let all = results.0.entry(scenario.name.clone()).or_default();
                all.schedules += explored.schedules;
                all.dropped.extend(explored.dropped);
            }
            Err(why) if condition.is_empty() => results.1.push(why),
            Err(why) => results.1.push(format!("under {condition}: {why}")),
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    results.into_inner().unwrap()
}

#[test]
fn every_schedule() {
    let asked = std::env::var("INTERLEAVINGS_DEPTH").ok().map(|depth| depth.parse().unwrap());
    let begun = Instant::now();
    let (explored, failed) = explore_all(asked.unwrap_or(DEPTH), |_| true);
    let schedules: u64 = explored.values().map(|one| one.schedules).sum();
    if asked.is_some() {
        // Not `println!`, which nobody sees of a test that passes.
        let mut out = std::io::stderr().lock();
        for (name, one) in &explored {
            writeln!(out, "{:>10}  {name}", one.schedules).unwrap();
        }
        let seconds = begun.elapsed().as_secs_f64();
        let scenarios = explored.len();
        writeln!(out, "{schedules:>10}  of {scenarios} scenarios in {seconds:.1} s").unwrap();
    }
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(explored.values().all(|one| one.schedules > 1));
}

/// How long the strings are by default.
const DEPTH: usize = 6;
