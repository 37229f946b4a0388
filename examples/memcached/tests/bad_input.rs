//! What servers of memcached could say that has gone wrong somewhere, once.
//! `tests/bad_input/README.md` of the root package says how a file is written.

#[path = "../../../tests/bad_input/calls.rs"]
mod calls;
#[path = "../../../tests/bad_input/case.rs"]
mod case;
mod drivers;
#[path = "../../../tests/bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_memcached.rs"]
mod replay_memcached;

use folder::Folder;

const FOLDERS: [Folder; 1] = [Folder {
    name: "memcached",
    replay: replay_memcached::replay,
    least: 40,
    bad: &[
        ("# a\n# Source: b\ngreeting \"x\"\n", "unknown: greeting \"x\""),
        ("# a\n# Source: b\ncall \"version\"\n", "a call without a result"),
    ],
    untrue: &[
        "# a\n# Source: b\ncall \"delete a\"\nsaid \"DELETED\\r\\n\"\nresult false\n",
        "# a\n# Source: b\ncall \"delete a\"\nsaid \"DELETED\\r\\n\"\nresult true\nbroken\n",
    ],
}];

#[test]
fn memcached() {
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
