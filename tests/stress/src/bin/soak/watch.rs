//! What is counted and measured, and what it must be at the end.

use std::fmt;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub(crate) static COUNTS: Counts = Counts {
    answers: AtomicU64::new(0),
    wrong: AtomicU64::new(0),
    connections: AtomicU64::new(0),
    lost: AtomicU64::new(0),
    refused: AtomicU64::new(0),
};

pub(crate) struct Counts {
    /// Checked and right.
    pub(crate) answers: AtomicU64,
    wrong: AtomicU64,
    /// At the server, now.
    pub(crate) connections: AtomicU64,
    /// The server's that ended by an error.
    pub(crate) lost: AtomicU64,
    /// Attempts to connect that failed.
    pub(crate) refused: AtomicU64,
}

impl Counts {
    /// Something must not be; the first ones are said.
    pub(crate) fn wrong(&self, what: fmt::Arguments<'_>) {
        if self.wrong.fetch_add(1, Relaxed) < 20 {
            eprintln!("WRONG {what}");
        }
    }
}

pub(crate) struct Watch {
    duration: Duration,
    /// At the start.
    files: u64,
    /// Of each second after the warm-up, in KiB.
    memory: Vec<u64>,
    next_line: Duration,
    answers: u64,
}

impl Watch {
    pub(crate) fn new(duration: Duration) -> io::Result<Self> {
        let (files, memory) = (open_files()?, Vec::new());
        let mut watch = Watch { duration, files, memory, next_line: Duration::ZERO, answers: 0 };
        watch.next_line = watch.interval();
        Ok(watch)
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// A minute, unless it is all shorter.
    fn interval(&self) -> Duration {
        Duration::from_secs(60).min(self.duration / 6)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs(120).min(self.duration / 3)
    }

    /// To be called every second.
    pub(crate) fn look(&mut self, now: Duration) -> io::Result<()> {
        let memory = resident()?;
        if now >= self.warm_up() {
            self.memory.push(memory);
        }
        if now >= self.next_line {
            self.next_line += self.interval();
            self.say(now, memory)?;
        }
        Ok(())
    }

    fn say(&mut self, now: Duration, memory: u64) -> io::Result<()> {
        let answers = COUNTS.answers.load(Relaxed);
        let rate = (answers - self.answers) as f64 / self.interval().as_secs_f64();
        self.answers = answers;
        println!(
            "{:6.1} min: {answers:10} answers ({rate:6.0}/s), {} wrong, {:5} connections, \
             {:7} lost, {} refused, {:4} MiB, {:5} files",
            now.as_secs_f64() / 60.0,
            COUNTS.wrong.load(Relaxed),
            COUNTS.connections.load(Relaxed),
            COUNTS.lost.load(Relaxed),
            COUNTS.refused.load(Relaxed),
            memory / 1024,
            open_files()?,
        );
        Ok(())
    }

    /// `open` is how many connections are left after all clients have gone.
    pub(crate) fn verdict(&self, open: usize) -> io::Result<bool> {
        let (answers, wrong) = (COUNTS.answers.load(Relaxed), COUNTS.wrong.load(Relaxed));
        // The first and the last quarter of what comes after the warm-up.
        let quarter = (self.memory.len() / 4).max(1);
        let first = mean(self.memory.iter().take(quarter));
        let last = mean(self.memory.iter().rev().take(quarter));
        let files = open_files()?;
        let checks = [
            (format!("{answers} answers"), answers > 0),
            (format!("{wrong} wrong"), wrong == 0),
            (
                format!("{} MiB, and at the end {}", first / 1024, last / 1024),
                last <= first + first / 10 + SLACK,
            ),
            (format!("{open} connections left open"), open == 0),
            (format!("{} files at the start, {files} at the end", self.files), files == self.files),
        ];
        for (what, is_right) in &checks {
            println!("{} {what}", if *is_right { "ok  " } else { "FAIL" });
        }
        Ok(checks.iter().all(|(_, is_right)| *is_right))
    }
}

fn mean<'a>(values: impl ExactSizeIterator<Item = &'a u64>) -> u64 {
    let count = values.len().max(1) as u64;
    values.sum::<u64>() / count
}

fn open_files() -> io::Result<u64> {
    Ok(fs::read_dir("/proc/self/fd")?.count() as u64)
}

/// Memory in use, in KiB.
fn resident() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| io::Error::other("no VmRSS"))
}

/// What memory may grow beyond a tenth, in KiB.
const SLACK: u64 = 8 * 1024;
