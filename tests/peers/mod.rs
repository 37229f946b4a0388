//! What to do where a program that a test talks to is not installed.

use std::io::Write;

/// Says in one line that `what` was left out; where `ASYNCHAT_NEED_PEERS` is
/// set, as in the gate, that is a failure.
pub(crate) fn left_out(what: &str) {
    assert!(std::env::var_os("ASYNCHAT_NEED_PEERS").is_none(), "{what}, but is needed");
    // Not `println!`, which nobody sees of a test that passes.
    let _ = writeln!(std::io::stderr(), "left out: {what}");
}
