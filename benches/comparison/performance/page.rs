//! The page `docs/evidence/performance.md` and its charts.

use crate::measure::{Outcome, number};
use plotters::coord::ranged1d::SegmentedCoord;
use plotters::prelude::*;
use std::fmt::Write;
use std::path::Path;

/// What is known of one question: its number, what it asks, and the answer.
pub(crate) struct Section {
    pub(crate) number: usize,
    pub(crate) title: &'static str,
    /// What is wanted of the ratio to each of the others; a 0 wants nothing.
    pub(crate) targets: Vec<f64>,
    pub(crate) outcomes: Vec<Outcome>,
    /// What is to be said besides.
    pub(crate) notes: String,
}

impl Section {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}. {}\n\n", self.number, self.title);
        if let Some(first) = self.outcomes.first() {
            let names: Vec<_> = first.figures.iter().map(|&(name, _)| name).collect();
            let unit = first.unit.name();
            let _ = write!(text, "| {unit} | {} |", names.join(" | "));
            let has_own = self.outcomes.iter().any(|outcome| outcome.wanted.is_some());
            for (name, &target) in names[1..].iter().zip(&self.targets) {
                let _ = match target {
                    0.0 => write!(text, " against {name} |"),
                    // The notes say what is wanted of each row.
                    _ if has_own => write!(text, " against {name} |"),
                    _ => write!(text, " against {name} (wanted: {target:.2}×) |"),
                };
            }
            let columns = names.len() + self.targets.len().min(names.len() - 1);
            let _ = writeln!(text, "\n|---|{}", "--:|".repeat(columns));
        }
        for outcome in &self.outcomes {
            let same = outcome.unit == self.outcomes[0].unit;
            let unit = if same { String::new() } else { format!(", {}", outcome.unit.name()) };
            let _ = write!(text, "| {}{unit} |", outcome.what);
            for &(_, figure) in &outcome.figures {
                let _ = write!(text, " {} |", number(figure));
            }
            for (ratio, target) in outcome.ratios().iter().zip(&self.targets) {
                let mark = match outcome.wanted.unwrap_or(*target) {
                    0.0 => "",
                    wanted if *ratio < wanted => " ✗",
                    _ => " ✓",
                };
                let _ = write!(text, " {ratio:.2}×{mark} |");
            }
            text.push('\n');
        }
        if !self.notes.is_empty() {
            let _ = write!(text, "\n{}\n", self.notes);
        }
        text
    }

    /// Bars, as long as the figures; on a background of any colour.
    pub(crate) fn chart(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let names: Vec<_> = self.outcomes[0].figures.iter().map(|&(name, _)| name).collect();
        let outcomes: Vec<_> =
            self.outcomes.iter().filter(|o| o.unit == self.outcomes[0].unit).collect();
        let bars = names.len() + 1;
        let top = outcomes.iter().flat_map(|o| &o.figures).fold(0.0, |top, f| f64::max(top, f.1));
        // Below the bars there is room for their names.
        let rows = bars * outcomes.len() + names.len();
        let height = 90 + 18 * rows as u32;
        let area = SVGBackend::new(path, (760, height)).into_drawing_area();
        let text = ("sans-serif", 13).into_font().color(&GREY);
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .caption(
                format!("{} ({})", self.title.replace('`', ""), outcomes[0].unit.name()),
                text.clone(),
            )
            .x_label_area_size(24)
            .y_label_area_size(190)
            .build_cartesian_2d(0.0..top * 1.02, (0..rows).into_segmented())?;
        let label = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) => {
                // From the top down; the axis asks beyond its ends, too.
                match rows.checked_sub(1 + at) {
                    Some(at) if at % bars == 0 && at / bars < outcomes.len() => {
                        outcomes[at / bars].what.clone()
                    }
                    _ => String::new(),
                }
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(GREY)
            .label_style(text.clone())
            .y_labels(rows)
            .y_label_formatter(&label)
            .draw()?;
        for (i, name) in names.iter().enumerate() {
            let color = COLORS[i % COLORS.len()];
            let series = outcomes.iter().enumerate().map(|(row, outcome)| {
                let at = rows - 1 - (row * bars + i);
                bar(at, outcome.figures[i].1, color)
            });
            chart.draw_series(series)?.label(*name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 10, y + 5)], color.filled())
            });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(text)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

type Segment = SegmentedCoord<plotters::coord::types::RangedCoordusize>;

fn bar(
    at: usize,
    length: f64,
    color: RGBColor,
) -> Rectangle<(f64, <Segment as plotters::coord::ranged1d::Ranged>::ValueType)> {
    let mut bar = Rectangle::new(
        [(0.0, SegmentValue::Exact(at)), (length, SegmentValue::Exact(at + 1))],
        color.filled(),
    );
    bar.set_margin(2, 2, 0, 0);
    bar
}

/// Readable on white and on black.
const GREY: RGBColor = RGBColor(128, 128, 128);
const COLORS: [RGBColor; 5] = [
    RGBColor(46, 139, 192),
    RGBColor(222, 143, 5),
    RGBColor(120, 160, 80),
    RGBColor(170, 110, 170),
    RGBColor(190, 90, 80),
];
