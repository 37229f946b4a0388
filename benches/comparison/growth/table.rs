//! A table of figures against sizes, with the exponent of each column.

use crate::measure::{exponent, median, number};
use std::fmt::Write;

pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// What the sizes count.
    pub(crate) size: &'static str,
    pub(crate) columns: Vec<Column>,
    /// Each size with the medians of its columns, or with the reason why there are none.
    pub(crate) rows: Vec<(usize, Result<Vec<f64>, String>)>,
    /// What was measured, and what is wanted.
    pub(crate) notes: &'static str,
}

pub(crate) struct Column {
    name: &'static str,
    /// The exponent that is wanted at most, if the figures are a cost.
    wanted: Option<f64>,
}

/// A cost with the exponent that is wanted at most.
pub(crate) fn cost(name: &'static str, wanted: f64) -> Column {
    Column { name, wanted: Some(wanted) }
}

/// A figure of which nothing is wanted.
pub(crate) fn figure(name: &'static str) -> Column {
    Column { name, wanted: None }
}

/// The medians of rounds, which have a figure for each column.
pub(crate) fn medians(rounds: Vec<Vec<f64>>) -> Vec<f64> {
    let columns = rounds.first().map_or(0, Vec::len);
    let column = |at: usize| rounds.iter().map(|round| round[at]).collect::<Vec<_>>();
    (0..columns).map(|at| median(&mut column(at))).collect()
}

impl Table {
    /// Measures each size.
    pub(crate) fn fill(
        mut self,
        sizes: &[usize],
        measure: impl Fn(usize) -> Result<Vec<f64>, String>,
    ) -> Self {
        self.rows = sizes.iter().map(|&size| (size, measure(size))).collect();
        self
    }

    pub(crate) fn markdown(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| column.name).collect();
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.notes);
        let _ = writeln!(text, "| {} | {} |", self.size, names.join(" | "));
        let _ = writeln!(text, "|--:|{}", "--:|".repeat(names.len()));
        for (size, figures) in &self.rows {
            let _ = write!(text, "| {} |", thousands(*size));
            match figures {
                Ok(figures) => figures.iter().for_each(|&figure| {
                    let _ = write!(text, " {} |", number(figure));
                }),
                Err(_) => text += &" – |".repeat(names.len()),
            }
            text.push('\n');
        }
        text += "| **exponent** |";
        for (at, column) in self.columns.iter().enumerate() {
            let _ = write!(text, " {} |", self.exponent(at, column.wanted));
        }
        text.push('\n');
        for (size, figures) in &self.rows {
            if let Err(why) = figures {
                let _ = write!(text, "\n{} was left out: {why}.\n", thousands(*size));
            }
        }
        text
    }

    fn exponent(&self, at: usize, wanted: Option<f64>) -> String {
        let measured = self.rows.iter().filter_map(|(size, figures)| {
            figures.as_ref().ok().map(|figures| (*size, figures[at])).filter(|point| point.1 > 0.0)
        });
        let (sizes, figures): (Vec<_>, Vec<_>) = measured.unzip();
        if sizes.len() < 2 {
            return "–".into();
        }
        let exponent = exponent(&sizes, &figures);
        match wanted {
            None => format!("{exponent:.2}"),
            Some(wanted) => {
                let mark = if exponent <= wanted + TOLERANCE { "✓" } else { "✗" };
                format!("{exponent:.2} (wanted: {wanted}) {mark}")
            }
        }
    }
}

fn thousands(size: usize) -> String {
    if size < 10_000 { size.to_string() } else { number(size as f64) }
}

/// By so much an exponent may be above the one that is wanted: fixed costs and caches bend
/// every line.
const TOLERANCE: f64 = 0.1;
