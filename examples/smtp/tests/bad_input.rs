//! What peers could send to an SMTP server that has gone wrong somewhere, once.
//! `tests/bad_input/README.md` of the root package says how a file is written.

#[path = "../../../tests/bad_input/case.rs"]
mod case;
#[path = "../../../tests/bad_input/folder.rs"]
mod folder;
mod mailbox;
#[path = "bad_input/replay_smtp.rs"]
mod replay_smtp;
#[path = "../../../tests/bad_input/talk.rs"]
mod talk;

use folder::Folder;

const FOLDERS: [Folder; 1] = [Folder {
    name: "smtp",
    replay: replay_smtp::replay,
    least: 66,
    bad: &[("# a\n# Source: b\nanswer 200\n", "unknown: answer 200")],
    untrue: &[
        "# a\n# Source: b\nsend \"NOOP\\r\\n\"\ncodes 220 500\nopen\n",
        "# a\n# Source: b\nbegun\nsend \"a\\r\\n.\\r\\n\"\ncodes 220 250 250 250 354 250\nopen\n",
    ],
}];

#[test]
fn smtp_server() {
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
