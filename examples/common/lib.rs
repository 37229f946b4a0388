//! The code that the example programs share.

pub mod serve;

use std::error::Error;
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// Writes an error with its causes to stderr, in a line that begins with the program, as the
/// last that it says.
pub fn report(program: &str, error: &dyn Error) {
    serve::flush();
    serve::report(format_args!("{program}: {}", with_causes(error)));
    serve::flush();
}

/// Returns the exit status of a program: 1 after an error, which is reported.
pub fn exit_code(program: &str, result: Result<(), Box<dyn Error>>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    report(program, &*error);
    ExitCode::FAILURE
}

/// Writes a line to stdout at once.
pub fn say(line: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Binds a listener. The error names the address.
pub async fn listen(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))
}

/// Returns whether a line begins an HTTP request, is its `Host` field, or begins as a TLS
/// handshake or a STUN request does.
///
/// A web page of any origin can make a browser send a request to any port. Its body, the
/// session ticket in its handshake or the user name of WebRTC is the page's own text. A server
/// of another protocol must not come to it.
pub fn is_browser(line: &[u8]) -> bool {
    if matches!(line, [..=MAX_STUN | TLS_HANDSHAKE, ..]) {
        return true;
    }
    let begins = |word: &[u8], start: &[u8]| {
        word.get(..start.len()).is_some_and(|word| word.eq_ignore_ascii_case(start))
    };
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match words.collect::<Vec<_>>()[..] {
        [_, target, version] if begins(version, b"HTTP/") => {
            target.iter().any(|byte| b"/:*".contains(byte))
        }
        [first, ..] => begins(first, b"Host:"),
        [] => false,
    }
}

/// The first byte of a TLS record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The highest first byte of a STUN message (RFC 7983). With its length before it (RFC 4571),
/// as WebRTC sends it to a TCP port, one of less than 1 KiB begins with such a byte as well.
const MAX_STUN: u8 = 3;

/// Locks a value, which a panic elsewhere leaves in use.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns 32 hexadecimal digits that nobody can guess.
pub fn random() -> String {
    // Each number is a hash of nothing, with a key of the system's.
    let number = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", number(), number())
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
