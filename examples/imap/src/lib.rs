//! The command line of the IMAP client.

pub mod client;
pub mod parse;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use client::{Client, Fetched, Selected, Settings};
use example_common::serve::{flush, report};
use futures::{Stream, TryStreamExt};
use indicatif::ProgressBar;
use parse::Value;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncSeekExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::io::{ReaderStream, StreamReader};

/// Runs one command on an IMAP server. IMAP_PASSWORD holds the password.
#[derive(Parser)]
pub struct Args {
    /// Stop waiting for a silent server after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Change to TLS, and trust the certificates in this file
    #[arg(long, value_name = "CA.pem")]
    starttls: Option<PathBuf>,
    /// The server, HOST:PORT
    address: String,
    user: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the mailboxes
    List,
    /// Show the last messages of a mailbox
    Select { mailbox: String },
    /// Print the numbers of the matching messages
    Search {
        mailbox: String,
        #[arg(required = true)]
        criteria: Vec<String>,
    },
    /// Print a message, or save it
    Fetch {
        mailbox: String,
        number: String,
        /// A file that does not exist yet
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Add a message to a mailbox
    Append { mailbox: String, file: PathBuf },
    /// Create a mailbox
    Create { mailbox: String },
    /// Set flags of a message
    Flag {
        mailbox: String,
        number: String,
        #[arg(required = true)]
        flags: Vec<String>,
    },
    /// Wait for changes in a mailbox
    Idle { mailbox: String },
}

/// Logs in, runs the command and logs out.
pub async fn run(args: Args, password: &OsStr, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let password = password.to_str().ok_or("IMAP_PASSWORD is not UTF-8")?;
    let limit = Duration::from_secs(args.timeout);
    let settings = Settings { max_answer: MAX_ANSWER, timeout: limit, alert };
    let io = timeout(limit, TcpStream::connect(&args.address)).await??;
    let mut client = Client::connect(io, settings).await?;
    if let Some(ca) = args.starttls {
        let handshake = start_tls(client, &ca, &args.address);
        let mut client = timeout(limit, handshake).await??;
        client.login(&args.user, password).await?;
        return perform(client, args.command, out).await;
    }
    client.login(&args.user, password).await?;
    perform(client, args.command, out).await
}

/// Shows the user an alert of the server.
fn alert(text: &str) {
    report(format_args!("{}: the server warns: {text:?}", env!("CARGO_PKG_NAME")));
    flush();
}

async fn start_tls(
    client: Client<TcpStream>,
    ca: &Path,
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
    command: Command,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    match command {
        Command::List => {
            for mailbox in client.list("*").await? {
                writeln!(out, "{:?} {:?}", mailbox.name, mailbox.flags)?;
            }
        }
        Command::Select { mailbox } => {
            let Selected { exists, is_read_only } = client.select(&mailbox).await?;
            writeln!(out, "{exists} messages{}", if is_read_only { ", read-only" } else { "" })?;
            if exists > 0 {
                let last = format!("{}:*", exists.saturating_sub(19).max(1));
                let items = "(FLAGS RFC822.SIZE ENVELOPE)";
                for message in client.fetch(&last, items).await? {
                    writeln!(out, "{}", overview(&message))?;
                }
            }
        }
        Command::Search { mailbox, criteria } => {
            client.examine(&mailbox).await?;
            for number in client.search(&criteria.join(" ")).await? {
                writeln!(out, "{number}")?;
            }
        }
        Command::Fetch { mailbox, number, output: None } => {
            client.examine(&mailbox).await?;
            let messages = client.fetch(&number, "BODY.PEEK[]").await?;
            let mut texts = messages.iter().filter_map(|message| message.get("BODY[]")).peekable();
            texts.peek().ok_or("no message")?;
            for text in texts {
                let Value::String(text) = text else { return Err("no message".into()) };
                out.write_all(text)?;
            }
        }
        Command::Fetch { mailbox, number, output: Some(file) } => {
            client.examine(&mailbox).await?;
            let length = save(&mut client, number.parse()?, &file).await?;
            writeln!(out, "{length} bytes")?;
        }
        Command::Append { mailbox, file } => {
            let mut file = File::open(file).await?;
            // How long it is has to be said first.
            let length =
                with_crlf(&mut file).try_fold(0, async |n, lines| Ok(n + lines.len() as u64));
            let length = length.await?;
            file.rewind().await?;
            client.append(&mailbox, length, StreamReader::new(with_crlf(file))).await?;
            writeln!(out, "{length} bytes")?;
        }
        Command::Create { mailbox } => client.create(&mailbox).await?,
        Command::Flag { mailbox, number, flags } => {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            client.select(&mailbox).await?;
            for message in client.store(&number, "+FLAGS", &flags).await? {
                writeln!(out, "{}: {:?}", message.number, flags_of(&message))?;
            }
        }
        Command::Idle { mailbox } => {
            client.examine(&mailbox).await?;
            let mut idle = client.idle().await?;
            let words = idle.next().await?;
            idle.done().await?;
            let words: Vec<String> = words.iter().filter_map(Value::text).collect();
            writeln!(out, "{}", words.join(" ").escape_debug())?;
        }
    }
    Ok(client.logout().await?)
}

/// Reads a message whose lines may end with LF as it is sent.
fn with_crlf(file: impl AsyncRead) -> impl Stream<Item = io::Result<Bytes>> {
    let mut last = 0;
    ReaderStream::with_capacity(file, 64 * 1024).map_ok(move |text| {
        let mut sent = Vec::with_capacity(text.len());
        for byte in text {
            if byte == b'\n' && last != b'\r' {
                sent.push(b'\r');
            }
            sent.push(byte);
            last = byte;
        }
        sent.into()
    })
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

async fn save<T>(client: &mut Client<T>, number: u32, path: &Path) -> Result<u64, Box<dyn Error>>
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

/// The limit of the memory for the answer to one command. A message that is saved to a file
/// does not count.
const MAX_ANSWER: usize = 16 << 20;
