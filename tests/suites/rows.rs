//! A suite: a file of rows. `README.md` says how one is written.

use crate::case::Case;
use std::collections::HashSet;

/// Plays every row, and reports all that fail, each with its source.
pub(crate) fn check(text: &str, least: usize, replay: fn(&Case) -> Result<(), String>) {
    let rows = read(text).unwrap();
    assert!(rows.len() >= least, "{} rows", rows.len());
    let mut seen = HashSet::new();
    for row in &rows {
        assert!(seen.insert(&row.name), "two rows are named {}", row.name);
    }
    let failed: Vec<String> = rows
        .iter()
        .filter_map(|row| replay(row).err().map(|e| format!("{}\n  {}\n  {e}", row.name, row.file)))
        .collect();
    assert!(failed.is_empty(), "{} rows fail\n{}", failed.len(), failed.join("\n"));
}

/// Reads all rows. What precedes the first empty line is about the file.
fn read(text: &str) -> Result<Vec<Case>, String> {
    text.split("\n\n").skip(1).map(row).collect()
}

/// Reads a row. Its source takes the place of a file name.
fn row(text: &str) -> Result<Case, String> {
    let mut lines = text.trim_start().lines().skip(1);
    let source = lines.next().unwrap_or_default().trim_start_matches("# ");
    let row = Case::parse(source, text.trim_start()).map_err(|e| format!("{e}: {text}"))?;
    let rule = lines.next().and_then(|line| line.strip_prefix("# Rule: "));
    rule.filter(|rule| !rule.is_empty()).ok_or_else(|| format!("no rule: {text}"))?;
    Ok(row)
}

#[test]
fn a_row_without_its_source_or_rule_is_an_error() {
    for (row, why) in [
        ("# a\nsend \"b\"", "no source"),
        ("# a\n# Source: b\nsend \"c\"", "no rule"),
        ("# a\n# Source: b\n# Rule: \nsend \"c\"", "no rule"),
        ("send \"c\"", "no name"),
    ] {
        let read = read(&format!("# A file.\n\n{row}\n"));
        assert!(read.is_err_and(|e| e.starts_with(why)), "{row}");
    }
    let read = read("# A file.\n\n# a\n# Source: b\n# Rule: c\nend\n").unwrap();
    assert_eq!((read.len(), &*read[0].name, &*read[0].file), (1, "a", "Source: b"));
}
