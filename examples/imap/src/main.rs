//! A client of IMAP4rev1 mail servers.
//!
//! It shows lines that contain a counted number of bytes (literals), in both directions, and a
//! connection that changes to TLS.
//!
//! ```text
//! export IMAP_PASSWORD=...
//! cargo run --release -p example-imap -- [OPTIONS] ADDRESS USER COMMAND
//!
//! --starttls CA.pem                        --timeout SECONDS
//!
//! list                   create MAILBOX    search MAILBOX WHAT...
//! select MAILBOX         idle MAILBOX      flag MAILBOX NUMBER FLAG...
//! append MAILBOX FILE    fetch MAILBOX NUMBER [--output FILE]
//! ```
//!
//! You will see the mailboxes (`list`), the last messages of one (`select`), the numbers of
//! matching messages (`search INBOX UNSEEN`), or a message (`fetch`). With `--output`, the client
//! streams a message to a file, so it may be larger than memory. `idle` waits for changes. Alerts
//! of the server go to stderr. An invalid answer is an error.
//!
//! Without `--starttls` everything is sent in the clear, including the password. Enter names of
//! mailboxes as the server shows them, with modified UTF-7 for letters outside ASCII
//! (`Entw&APw-rfe`).
//!
//! `parse.rs` assembles a response from lines and literals. `client.rs` switches the terminator as
//! `parse.rs` requires: to a line or to a count, which may be received in parts with
//! `receive_part`. `lib.rs` is the command line.

use clap::Parser;
use example_imap::{Args, run};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let password = std::env::var_os("IMAP_PASSWORD").unwrap_or_default();
    match run(Args::parse(), &password, &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::FAILURE
        }
    }
}
