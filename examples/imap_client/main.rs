//! A client of IMAP4rev1 mail servers: lines that are interrupted by counts of
//! bytes, in both directions, and a connection that turns to TLS.
//!
//! ```text
//! export IMAP_PASSWORD=...
//! cargo run --example imap_client -- [--starttls CA.pem] ADDRESS USER COMMAND
//!
//! list                   create MAILBOX    search MAILBOX WHAT...
//! select MAILBOX         idle MAILBOX      flag MAILBOX NUMBER FLAG...
//! append MAILBOX FILE    fetch MAILBOX NUMBER [--output FILE]
//! ```
//!
//! You will see the mailboxes; the last messages of one; the numbers of those
//! that fit (`search INBOX UNSEEN`); a message as it is, or on its way to a file
//! that may be larger than memory. `idle` waits for something to happen.
//!
//! Without `--starttls` all of it goes over the wire as it is, the password
//! too. Names of mailboxes are taken and shown as the server writes them, with
//! modified UTF-7 for other letters than ASCII (`Entw&APw-rfe`).
//!
//! `parse.rs` puts a response together from lines and literals, `client.rs`
//! switches the terminator for it: `receive` a line, `receive` a count, or a
//! count piece by piece with `receive_part`.

pub(crate) mod client;
pub(crate) mod parse;

use client::{Client, Fetched, Selected};
use indicatif::ProgressBar;
use parse::Value;
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let password = std::env::var("IMAP_PASSWORD").unwrap_or_default();
    match run(&args, &password, &mut stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let cause = e.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("imap_client: {e}{cause}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn run(
    args: &[&str],
    password: &str,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    match *args {
        ["--starttls", ca, address, user, ref command @ ..] => {
            let client = Client::connect(TcpStream::connect(address).await?, MAX_ANSWER).await?;
            let mut client = start_tls(client, ca, address).await?;
            client.login(user, password).await?;
            perform(client, command, out).await
        }
        [address, user, ref command @ ..] => {
            let io = TcpStream::connect(address).await?;
            let mut client = Client::connect(io, MAX_ANSWER).await?;
            client.login(user, password).await?;
            perform(client, command, out).await
        }
        _ => Err(USAGE.into()),
    }
}

async fn start_tls(
    client: Client<TcpStream>,
    ca: &str,
    address: &str,
) -> Result<Client<TlsStream<TcpStream>>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(client.start_tls(|io| connector.connect(name, io)).await?)
}

async fn perform<T>(
    mut client: Client<T>,
    command: &[&str],
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match *command {
        ["list"] => {
            for mailbox in client.list("*").await? {
                writeln!(out, "{:?} {:?}", mailbox.name, mailbox.flags)?;
            }
        }
        ["select", mailbox] => {
            let Selected { exists, is_read_only } = client.select(mailbox).await?;
            writeln!(out, "{exists} messages{}", if is_read_only { ", read-only" } else { "" })?;
            if exists > 0 {
                let last = format!("{}:*", exists.saturating_sub(19).max(1));
                let items = "(FLAGS RFC822.SIZE ENVELOPE)";
                for message in client.fetch(&last, items).await? {
                    writeln!(out, "{}", overview(&message))?;
                }
            }
        }
        ["search", mailbox, ref criteria @ ..] if !criteria.is_empty() => {
            client.examine(mailbox).await?;
            for number in client.search(&criteria.join(" ")).await? {
                writeln!(out, "{number}")?;
            }
        }
        ["fetch", mailbox, number] => {
            client.examine(mailbox).await?;
            for message in client.fetch(number, "BODY.PEEK[]").await? {
                if let Some(Value::String(text)) = message.get("BODY[]") {
                    out.write_all(text)?;
                }
            }
        }
        ["fetch", mailbox, number, "--output", file] => {
            client.examine(mailbox).await?;
            let length = save(&mut client, number.parse()?, file).await?;
            writeln!(out, "{length} bytes")?;
        }
        ["append", mailbox, file] => {
            let file = File::open(file).await?;
            let length = file.metadata().await?.len();
            client.append(mailbox, length, file).await?;
            writeln!(out, "{length} bytes")?;
        }
        ["create", mailbox] => client.create(mailbox).await?,
        ["flag", mailbox, number, ref flags @ ..] if !flags.is_empty() => {
            client.select(mailbox).await?;
            for message in client.store(number, "+FLAGS", flags).await? {
                writeln!(out, "{}: {:?}", message.number, flags_of(&message))?;
            }
        }
        ["idle", mailbox] => {
            client.examine(mailbox).await?;
            let mut idle = client.idle().await?;
            let words = idle.next().await?;
            idle.done().await?;
            let words: Vec<String> = words.iter().filter_map(Value::text).collect();
            writeln!(out, "{}", words.join(" ").escape_debug())?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(client.logout().await?)
}

/// A message in one line: number, size, flags and subject.
fn overview(message: &Fetched) -> String {
    let size = message.get("RFC822.SIZE").and_then(Value::number).unwrap_or_default();
    let flags = flags_of(message);
    let subject = match message.get("ENVELOPE") {
        Some(Value::List(envelope)) => envelope.get(1).and_then(Value::text),
        _ => None,
    };
    let subject = subject.unwrap_or_default();
    format!("{}: {size} bytes {flags:?} {subject:?}", message.number)
}

fn flags_of(message: &Fetched) -> Vec<String> {
    match message.get("FLAGS") {
        Some(Value::List(flags)) => flags.iter().filter_map(Value::text).collect(),
        _ => Vec::new(),
    }
}

async fn save<T>(client: &mut Client<T>, number: u32, path: &str) -> Result<u64, Box<dyn Error>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut file = File::create_new(path).await?;
    let bar = ProgressBar::new(0);
    let saved = client.fetch_to(number, &mut file, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    let saved = saved.await;
    bar.finish_and_clear();
    if saved.is_err() {
        // Half a message must not look like a whole one.
        fs::remove_file(path).await?;
    }
    Ok(saved?)
}

const USAGE: &str = "usage: imap_client [--starttls CA.pem] ADDRESS USER COMMAND";

/// What the answer to one command may take in memory. A message that is on its
/// way to a file does not count.
const MAX_ANSWER: usize = 16 << 20;
