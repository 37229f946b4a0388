//! A folder of files, and the checks that every folder must pass.

use crate::case::{self, Case};
use std::collections::HashMap;

/// A count that no `usize` holds is too long for any limit.
const FOR_64_BITS: &str = "codec/count_of_all_bits_without_a_limit.txt";

/// A folder of files.
pub(crate) struct Folder {
    pub(crate) name: &'static str,
    /// Plays a file.
    pub(crate) replay: fn(&Case) -> Result<(), String>,
    /// The least number of files.
    pub(crate) least: usize,
    /// Files with a slip, and the message about it.
    pub(crate) bad: &'static [(&'static str, &'static str)],
    /// Files that expect what is not so.
    pub(crate) untrue: &'static [&'static str],
}

impl Folder {
    /// Plays every file, and tells all that fail.
    pub(crate) fn check(&self) {
        let failed: Vec<String> = case::read_folder(self.name)
            .iter()
            .filter(|case| cfg!(target_pointer_width = "64") || case.file != FOR_64_BITS)
            .filter_map(|case| (self.replay)(case).err().map(|e| format!("{}: {e}", case.file)))
            .collect();
        assert!(failed.is_empty(), "{} files fail\n{}", failed.len(), failed.join("\n"));
    }

    /// A slip in a file must not make it pass.
    pub(crate) fn check_bad(&self) {
        for (text, why) in self.bad {
            let case = Case::parse("bad.txt", text);
            let replayed = case.and_then(|case| (self.replay)(&case));
            assert_eq!(
                replayed.as_ref().map_err(String::as_str),
                Err(*why),
                "{}: {text}",
                self.name
            );
        }
    }

    /// Nor must a file pass that expects something else.
    pub(crate) fn check_untrue(&self) {
        for text in self.untrue {
            let case = Case::parse("untrue.txt", text).unwrap();
            let e = (self.replay)(&case).expect_err(text);
            assert!(e.contains("want"), "{}: {e}", self.name);
        }
    }
}

/// No file is left out because nobody looks where it is, and none is there twice.
pub(crate) fn check_whole(all: &[Folder]) {
    let mut there = case::folders();
    there.sort();
    assert_eq!(there, all.iter().map(|folder| folder.name).collect::<Vec<_>>());
    let (mut names, mut contents) = (HashMap::new(), HashMap::new());
    for folder in all {
        let cases = case::read_folder(folder.name);
        assert!(cases.len() >= folder.least, "{} files in {}", cases.len(), folder.name);
        for case in cases {
            if let Some(other) = names.insert(case.name, case.file.clone()) {
                panic!("{other} and {} have one name", case.file);
            }
            if let Some(other) = contents.insert((folder.name, case.steps), case.file.clone()) {
                panic!("{other} and {} say the same", case.file);
            }
        }
    }
}
