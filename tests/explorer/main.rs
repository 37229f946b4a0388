//! Every schedule: scenarios over a transport each of whose calls is pending,
//! does one byte, everything, or fails, as a string of letters says; and all
//! strings up to a length are tried. A future is polled once and dropped.
//!
//! `EXPLORER_DEPTH=11 cargo test --release --test explorer` is the long run, and
//! says how many schedules there were, and of how many scenarios.

#[path = "../common/mod.rs"]
mod common;

mod deadlines;
mod methods;
mod reading;
mod sim;
mod world;
mod writing;

use sim::{Explored, Scenario, Variant, explore};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

fn scenarios() -> Vec<Scenario> {
    let mut all = reading::scenarios();
    all.extend(writing::scenarios());
    all
}

/// The first of its variants, with limits.
fn with_limits(scenario: &Scenario) -> Variant {
    Variant { limits: true, ..scenario.variants[0] }
}

/// Explores everything, in as many threads as there are processors. Gives what
/// came of each scenario, and what failed.
fn explore_all(depth: usize) -> (BTreeMap<String, Explored>, Vec<String>) {
    let (timeless, timed) = (scenarios(), deadlines::scenarios());
    let mut jobs: Vec<(&Scenario, Variant, usize)> = vec![];
    for scenario in timeless.iter().chain(&timed) {
        jobs.extend(scenario.variants.iter().map(|variant| (scenario, *variant, depth)));
    }
    // Limits that are not reached change nothing.
    let under_limits = |scenario| (scenario, with_limits(scenario), depth.saturating_sub(1));
    jobs.extend(timeless.iter().map(under_limits));
    let jobs = Mutex::new(jobs);
    let results = Mutex::new((BTreeMap::<String, Explored>::new(), vec![]));
    let work = || loop {
        let Some((scenario, variant, depth)) = jobs.lock().unwrap().pop() else { return };
        let explored = explore(scenario, variant, depth);
        let mut results = results.lock().unwrap();
        match explored {
            Ok(explored) => {
                let all = results.0.entry(scenario.name.clone()).or_default();
                all.schedules += explored.schedules;
                all.dropped.extend(explored.dropped);
            }
            Err(why) => results.1.push(why),
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    results.into_inner().unwrap()
}

#[test]
fn every_schedule() {
    let asked = std::env::var("EXPLORER_DEPTH").ok().map(|depth| depth.parse().unwrap());
    let begun = Instant::now();
    let (explored, failed) = explore_all(asked.unwrap_or(DEPTH));
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
