//! What Redis servers could say that has gone wrong somewhere, once.
//! `tests/bad_input/README.md` of the root package says how a file is written.

#[path = "../../../tests/bad_input/case.rs"]
mod case;
#[path = "../../../tests/bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_resp.rs"]
mod replay_resp;

use folder::Folder;

const FOLDERS: [Folder; 1] = [Folder {
    name: "resp",
    replay: replay_resp::replay,
    least: 54,
    bad: &[
        ("# a\n# Source: b\ncall \"get a\"\n", "unknown: call \"get a\""),
        ("# a\n# Source: b\nsaid \"+OK\\r\\n\"\n", "nothing is expected"),
    ],
    untrue: &[
        "# a\n# Source: b\nsaid \"+OK\\r\\n\"\nvalue Null\nwaits\n",
        "# a\n# Source: b\nsaid \"+OK\\r\\n+NO\\r\\n\"\nvalue Simple(b\"OK\")\nwaits\n",
    ],
}];

#[test]
fn resp() {
    FOLDERS[0].check();
}

#[test]
fn the_corpus_is_whole() {
    folder::check_whole(&FOLDERS);
}

#[test]
fn unknown_line_fails() {
    FOLDERS[0].check_bad();
}

#[test]
fn wrong_expectation_fails() {
    FOLDERS[0].check_untrue();
}
