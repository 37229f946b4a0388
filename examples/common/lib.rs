//! The code that the example programs share.

pub mod serve;

use std::error::Error;

/// Writes an error with its causes to stderr, in a line that begins with the program.
pub fn report(program: &str, error: &dyn Error) {
    serve::report(format_args!("{program}: {}", with_causes(error)));
}

/// Returns the text of an error, and of those that caused it.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        // Some say it themselves.
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
