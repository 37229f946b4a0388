//! The arguments of the programs that measure.

use crate::echo;

pub(crate) struct Arguments {
    /// The numbers of the tables to measure; none for all.
    numbers: Vec<String>,
    /// Whether the page is written.
    pub(crate) write: bool,
}

impl Arguments {
    /// Returns `None` if there is nothing to measure: the program was a server for one that
    /// measures, or `cargo test --benches` has started it.
    pub(crate) fn read() -> Option<Self> {
        let mut numbers: Vec<String> = std::env::args().skip(1).collect();
        if let [command, kind, host] = &numbers[..]
            && command == "serve-echo"
        {
            echo::serve(kind, host);
            return None;
        }
        let has = |option: &str| numbers.iter().any(|argument| argument == option);
        let (measure, write) = (has("--bench"), has("--write"));
        numbers.retain(|argument| !argument.starts_with("--"));
        measure.then_some(Arguments { numbers, write })
    }

    pub(crate) fn wants(&self, number: usize) -> bool {
        self.numbers.is_empty() || self.numbers.contains(&number.to_string())
    }
}
