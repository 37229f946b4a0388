//! An SMTP server that stores what it gets, with STARTTLS.
//!
//! It shows a dialogue in a straight line: `receive` takes the terminator
//! along, so that a command may end in CR LF or a bare LF (to be refused), but
//! a line of a message in CR LF only; `feed` queues the answers, and waits for
//! a peer that does not read them; `upgrade` goes over to TLS, and the same
//! code goes on behind it. Memory stays bounded whatever a peer sends.
//!
//! Nothing is relayed and no address is looked up: all mail goes into one
//! Maildir, whoever it is for. The server calls itself `localhost`.
//!
//! ```text
//! cargo run --example smtp_server -- [ADDRESS] [--maildir DIR] [--max-size BYTES]
//!                                    [--cert PEM --key PEM]
//! ```
//!
//! The default address is 127.0.0.1:2525; with port 0 the system chooses one.
//! DIR is `Maildir` unless set, and is made if it is not there; BYTES is 10 MiB.
//! Without `--cert` a certificate for `localhost` is made on the spot, which
//! nobody has a reason to trust. The first line of output is `listening on` and
//! the address. Then try
//!
//! ```text
//! swaks --server 127.0.0.1:2525 --from a@example.org --to b@example.org --tls
//! cat Maildir/new/*
//! ```
//!
//! You will see the dialogue, and then the mail behind a `Return-Path`, a
//! `Delivered-To` for each recipient and a `Received`. Lines are stored with
//! LF, as is the custom; any other byte is stored as it came.
//!
//! Only CR LF `.` CR LF ends a message. Mail with a bare CR or LF anywhere in
//! it is refused: two servers could see two different messages in it, and that
//! is how mail is smuggled (CVE-2023-51764 and its family).
//!
//! Ctrl-C or SIGTERM stops it: no new connections, idle ones are told so, and mail that
//! has begun is finished, or dropped after ten seconds.
//!
//! `command.rs` reads commands, `maildir.rs` stores, `tls.rs` makes the TLS
//! configuration, `session.rs` is the server.

mod command;
mod maildir;
#[path = "../common/serve.rs"]
mod serve;
mod session;
mod tls;

use maildir::Maildir;
use session::Config;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::report(format_args!("smtp_server: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:2525".to_owned();
    let mut maildir = PathBuf::from("Maildir");
    let mut max_size = 10 << 20;
    let (mut cert, mut key) = (None, None);
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--maildir" => maildir = args.next().ok_or(USAGE)?.into(),
            "--max-size" => max_size = args.next().ok_or(USAGE)?.parse()?,
            "--cert" => cert = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            "--key" => key = Some(PathBuf::from(args.next().ok_or(USAGE)?)),
            _ if arg.starts_with('-') => return Err(USAGE.into()),
            _ => address = arg,
        }
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => tls::from_files(&cert, &key)?,
        (None, None) => tls::self_signed()?,
        _ => return Err(USAGE.into()),
    };
    let stop = serve::stop_signal()?;
    let config = Config { maildir: Maildir::open(maildir)?, max_size, tls };
    let listener = TcpListener::bind(address).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    session::serve(listener, config, stop).await;
    Ok(())
}

const USAGE: &str = "usage: smtp_server [ADDRESS] [--maildir DIR] [--max-size BYTES] \
                     [--cert PEM --key PEM]";
