//! An SMTP server that stores mail, with STARTTLS.
//!
//! It shows a dialogue in a straight line. `set_terminator` ends a line of a message only at CR LF.
//! It ends a command also at a bare LF, so that the server can refuse such a command at once.
//! `receive_part` receives lines of any length. `feed` queues the answers, and waits while the peer
//! does not read them. After `upgrade` has changed to TLS, the same code continues. Memory stays
//! bounded for any peer.
//!
//! ```text
//! cargo run --release -p example-smtp -- [ADDRESS] [--maildir DIR] [--max-size BYTES]
//!                                        [--cert PEM --key PEM]
//! ```
//!
//! The default address is 127.0.0.1:2525; with port 0 the system chooses a port. DIR is `Maildir`
//! by default, and is created if necessary. BYTES is 10 MiB by default. Without `--cert`, the
//! server makes a certificate for `localhost`, which no client has a reason to trust. The first
//! line of output is `listening on` and the address. Then try
//!
//! ```text
//! swaks --server 127.0.0.1:2525 --from a@example.org --to b@example.org --tls
//! cat Maildir/new/*
//! ```
//!
//! You will see the dialogue, and then the mail after a `Return-Path`, a `Delivered-To` for each
//! recipient and a `Received`. Lines are stored with LF, as is usual in a Maildir. Any other byte
//! is stored unchanged. The server relays nothing and looks up no address. Mail for any recipient
//! goes into the same Maildir. The server calls itself `localhost`.
//!
//! # Security
//!
//! - Only CR LF `.` CR LF ends a message. The server refuses mail that contains a bare CR or LF,
//!   because two servers could read different messages from it (CVE-2023-51764 and similar ones).
//! - A line of HTTP, TLS or WebRTC ends the session. A foreign page can make a browser send such a
//!   line, followed by a whole dialogue. A command that is too long also ends the session, because
//!   it may be such a line.
//! - If a message is too large, the server skips the rest, up to the same limit again plus 1 MiB. A
//!   session lasts at most an hour.
//!
//! Ctrl-C or SIGTERM stops the server. It accepts no more connections, and notifies idle clients. A
//! mail that has begun may finish within ten seconds.
//!
//! `command.rs` parses commands, `maildir.rs` stores mail, `tls.rs` makes the TLS configuration,
//! and `session.rs` is the server.

use clap::Parser;
use example_common::listen;
use example_common::serve::stop_signal;
use example_smtp::maildir::Maildir;
use example_smtp::session::{self, Config};
use example_smtp::tls;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Receives mail into one Maildir.
#[derive(Parser)]
struct Args {
    /// The address to listen on; with port 0 the system chooses a port
    #[arg(default_value = "127.0.0.1:2525")]
    address: String,
    /// The folder for mail; created if necessary
    #[arg(long, value_name = "DIR", default_value = "Maildir")]
    maildir: PathBuf,
    /// The maximum size of a message in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20)]
    max_size: u64,
    /// The certificate with its chain
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of the certificate
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let tls = match (args.cert, args.key) {
        (Some(cert), Some(key)) => tls::from_files(&cert, &key)
            .map_err(|error| format!("{} and {}: {error}", cert.display(), key.display()))?,
        _ => tls::self_signed()?,
    };
    let maildir = Maildir::open(&args.maildir);
    let maildir = maildir.map_err(|error| format!("{}: {error}", args.maildir.display()))?;
    let config = Config { maildir, max_size: args.max_size, tls };
    let listener = listen(&args.address).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    session::serve(listener, config, stop_signal()?).await;
    Ok(())
}
