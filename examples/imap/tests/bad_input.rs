//! What IMAP servers could say that has gone wrong somewhere, once.
//! `tests/bad_input/README.md` of the root package says how a file is written.

#[path = "../../../tests/bad_input/calls.rs"]
mod calls;
#[path = "../../../tests/bad_input/case.rs"]
mod case;
mod drivers;
#[path = "../../../tests/bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_imap.rs"]
mod replay_imap;

use folder::Folder;

const FOLDERS: [Folder; 1] = [Folder {
    name: "imap",
    replay: replay_imap::replay,
    least: 42,
    bad: &[("# a\n# Source: b\nresult []\n", "a result without a call")],
    untrue: &[
        "# a\n# Source: b\ncall \"search|X\"\nsaid \"A1 OK\\r\\n\"\nresult [1]\n",
        "# a\n# Source: b\ncall \"search|X\"\nsaid \"A1 OK\\r\\n\"\nresult []\nsent \"\"\n",
    ],
}];

#[test]
fn imap() {
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
