//! A pipelining Redis client, RESP2 and RESP3, as a command line.
//!
//! It shows `receive` switching between lines and counts, a parser that knows
//! nothing of I/O, replies that are cancel safe because what has arrived of
//! them is kept, and a large value streamed to a file without being held.
//!
//! ```text
//! cargo run --example redis_client -- [OPTIONS] ADDRESS COMMAND ARGS…
//!
//! redis_client 127.0.0.1:6379 SET greeting hello
//! redis_client 127.0.0.1:6379 GET greeting                   "hello"
//! redis_client --resp3 127.0.0.1:6379 CONFIG GET save        a map
//! redis_client 127.0.0.1:6379 SUBSCRIBE news                 messages, until Ctrl-C
//! redis_client --output FILE 127.0.0.1:6379 GET large        to a new file, with a progress bar
//! redis_client --repeat 1000 127.0.0.1:6379 INCR n           one pipeline
//! ```
//!
//! Replies are written much as `redis-cli` writes them; the exit status is 1 if the
//! last was an error. A password is taken from `REDISCLI_AUTH`.
//!
//! `value.rs` is the protocol, `client.rs` the client. There is no TLS, no
//! cluster, and no reconnecting.

pub(crate) mod client;
pub(crate) mod value;

use client::{Bulk, Client, Streamed};
use indicatif::ProgressFinish::AndClear;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::path::PathBuf;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use value::Value;

#[tokio::main]
async fn main() {
    let arguments = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1);
    let password = std::env::var("REDISCLI_AUTH").ok();
    match run(arguments, password, &mut io::stdout()).await {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(error) => {
            eprintln!("redis_client: {error}");
            std::process::exit(2);
        }
    }
}

/// Whether the last reply was no error.
pub(crate) async fn run(
    arguments: impl Iterator<Item = String>,
    password: Option<String>,
    out: &mut impl Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    let options = Options::parse(arguments).ok_or(USAGE)?;
    let mut client = Client::connect(&options.address).await?;
    if let Some(password) = password {
        client.call(&["AUTH", &password]).await?;
    }
    if options.resp3 {
        client.call(&["HELLO", "3"]).await?;
    }
    for _ in 0..options.repeat {
        client.send(&options.command);
    }
    if let Some(path) = options.output {
        return save(&mut client, path, out).await;
    }
    let name = options.command[0].to_ascii_uppercase();
    let is_endless = matches!(&*name, "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR");
    loop {
        let reply = client.receive().await?;
        writeln!(out, "{reply}")?;
        out.flush()?;
        let is_error = matches!(reply, Value::Error(_));
        if is_error && is_endless || !is_endless && client.unanswered() == 0 {
            return Ok(!is_error);
        }
    }
}

/// Writes a reply to a file if it is a string; otherwise it is printed.
async fn save(
    client: &mut Client<TcpStream>,
    path: PathBuf,
    out: &mut impl Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut bulk = match client.receive_streamed().await? {
        Streamed::Bulk(bulk) => bulk,
        Streamed::Value(value) => {
            writeln!(out, "{value}")?;
            return Ok(!matches!(value, Value::Error(_)));
        }
    };
    // What is there stays as it is.
    let file = File::create_new(&path).await?;
    if let Err(error) = save_bulk(&mut bulk, file).await {
        // Part of a value must not look like the whole.
        tokio::fs::remove_file(&path).await?;
        return Err(error);
    }
    writeln!(out, "{} bytes in {}", bulk.len(), path.display())?;
    Ok(true)
}

async fn save_bulk(
    bulk: &mut Bulk<'_, TcpStream>,
    file: File,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = BufWriter::with_capacity(256 * 1024, file);
    // It draws nothing where stderr is not a terminal, and clears itself.
    let style = ProgressStyle::with_template(BAR)?;
    let bar = ProgressBar::new(bulk.len()).with_style(style).with_finish(AndClear);
    while let Some(chunk) = bulk.chunk().await? {
        file.write_all(&chunk).await?;
        bar.inc(chunk.len() as u64);
    }
    file.flush().await?;
    Ok(())
}

struct Options {
    resp3: bool,
    repeat: u64,
    output: Option<PathBuf>,
    address: String,
    /// Not empty.
    command: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (mut resp3, mut repeat, mut output) = (false, 1, None);
        let address = loop {
            let argument = arguments.next()?;
            match argument.as_str() {
                "--resp3" => resp3 = true,
                "--repeat" => repeat = arguments.next()?.parse().ok()?,
                "--output" => output = Some(arguments.next()?.into()),
                _ if argument.starts_with('-') => return None,
                _ => break argument,
            }
        };
        let command: Vec<String> = arguments.collect();
        let alone = output.is_none() || repeat == 1;
        (!command.is_empty() && repeat > 0 && alone).then_some(Options {
            resp3,
            repeat,
            output,
            address,
            command,
        })
    }
}

const BAR: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

const USAGE: &str =
    "usage: redis_client [--resp3] [--repeat N] [--output FILE] ADDRESS COMMAND ARGS…";
