//! What the test suites of hiredis and libvalkey decide about replies.
//! `tests/suites/README.md` of the root package says how a row is written.

#[path = "../../../tests/bad_input/case.rs"]
mod case;
#[allow(dead_code)] // A folder of files.
#[path = "../../../tests/bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_resp.rs"]
mod replay_resp;
#[path = "../../../tests/suites/rows.rs"]
mod rows;

use case::{Case, Step};
use folder::Folder;

const REPLIES: Folder = Folder {
    name: "replies",
    replay,
    least: 57,
    bad: &[
        ("# a\n# Source: b\nsend \"x\"\n", "unknown: send \"x\""),
        ("# a\n# Source: b\nsaid \"x\"\n", "nothing is expected"),
        ("# a\n# Source: b\nsaid \"x\"\nnested Null\n", "not a number: Null"),
    ],
    untrue: &[
        "# a\n# Source: b\nsaid \":1\\r\\n\"\nvalue Integer(2)\nwaits\n",
        "# a\n# Source: b\nsaid \"*1\\r\\n:1\\r\\n\"\nnested 2 Integer(1)\nwaits\n",
        "# a\n# Source: b\nsaid \":1\\r\\n\"\nerror invalid reply: not an integer\n",
    ],
};

/// Plays a row as a case of `bad_input/resp`.
fn replay(row: &Case) -> Result<(), String> {
    let steps = row.steps.iter().map(spell_out).collect::<Result<_, _>>()?;
    replay_resp::replay(&Case { file: row.file.clone(), name: row.name.clone(), steps })
}

/// `nested 2 Null` is `value Array([Array([Null])])`.
fn spell_out(step: &Step) -> Result<Step, String> {
    if step.word != "nested" {
        return Ok(step.clone());
    }
    let (depth, value) = step.rest.split_once(' ').unwrap_or((&step.rest, ""));
    let depth = case::number(depth)? as usize;
    let rest = format!("{}{value}{}", "Array([".repeat(depth), "])".repeat(depth));
    Ok(Step { word: "value".to_owned(), rest })
}

#[test]
fn the_client_decides_replies_as_their_rows_say() {
    rows::check(include_str!("../../../tests/suites/hiredis.txt"), REPLIES.least, REPLIES.replay);
}

#[test]
fn a_row_with_a_slip_fails() {
    REPLIES.check_bad();
}

#[test]
fn a_row_that_is_not_true_fails() {
    REPLIES.check_untrue();
}
