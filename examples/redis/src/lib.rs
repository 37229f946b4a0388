//! The command line of the Redis client.

pub mod client;
pub mod value;

use clap::Parser;
use client::{Bulk, Client, Streamed};
use indicatif::ProgressFinish::AndClear;
use indicatif::{ProgressBar, ProgressStyle};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use value::Value;

/// Runs one command on a Redis server. REDISCLI_AUTH holds the password.
#[derive(Parser)]
pub struct Args {
    /// The user that the password belongs to
    #[arg(long, value_name = "NAME")]
    user: Option<OsString>,
    /// Speak RESP3
    #[arg(long)]
    resp3: bool,
    /// Send the command this number of times, in one pipeline
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Save the reply in a file that does not exist yet
    #[arg(long, value_name = "FILE", conflicts_with = "repeat")]
    output: Option<PathBuf>,
    /// The server, HOST:PORT
    address: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Returns `true` if the last reply was no error.
pub async fn run(
    args: Args,
    password: Option<OsString>,
    out: &mut impl Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut client = Client::connect(&args.address).await?;
    match (&args.user, &password) {
        (None, None) => {}
        (Some(_), None) => return Err("--user needs a password in REDISCLI_AUTH".into()),
        (user, Some(password)) => {
            let words = ["AUTH".as_ref()].into_iter().chain(user.as_deref()).chain([&**password]);
            client.call(&words.map(OsStr::as_encoded_bytes).collect::<Vec<_>>()).await?;
        }
    }
    if args.resp3 {
        client.call(&["HELLO", "3"]).await?;
    }
    let command: Vec<&[u8]> = args.command.iter().map(|word| word.as_encoded_bytes()).collect();
    for _ in 0..args.repeat {
        client.send(&command);
    }
    if let Some(path) = args.output {
        return save(&mut client, path, out).await;
    }
    let name = args.command[0].to_ascii_uppercase();
    let endless = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"];
    let is_endless = endless.iter().any(|endless| name == **endless);
    loop {
        let reply = client.receive().await?;
        let is_error = print(&reply, out)?;
        if is_error && is_endless || !is_endless && client.unanswered() == 0 {
            return Ok(!is_error);
        }
    }
}

/// Prints a reply, and returns whether it is an error.
fn print(reply: &Value, out: &mut impl Write) -> std::io::Result<bool> {
    writeln!(out, "{reply}")?;
    let Value::Error(error) = reply else { return out.flush().map(|()| false) };
    if let Some(address) = value::redirection(error) {
        writeln!(out, "(another server of the cluster has the key: {address})")?;
    }
    out.flush().map(|()| true)
}

/// Writes a reply to a file if it is a string; otherwise it is printed.
async fn save(
    client: &mut Client<TcpStream>,
    path: PathBuf,
    out: &mut impl Write,
) -> Result<bool, Box<dyn std::error::Error>> {
    let mut bulk = match client.receive_streamed().await? {
        Streamed::Bulk(bulk) => bulk,
        Streamed::Value(value) => return Ok(!print(&value, out)?),
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

const BAR: &str = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
