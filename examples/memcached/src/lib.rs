//! The command line of the memcached client.

pub mod client;

use clap::{Parser, Subcommand};
use client::{Client, Outcome};
use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use tokio::net::TcpStream;

/// Runs one command on a memcached server.
#[derive(Parser)]
pub struct Args {
    /// The server, HOST:PORT
    address: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print values unchanged
    Get {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Print the sizes, flags and numbers of values
    Gets {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Store a value
    Set(Item),
    /// Store a value if there is none
    Add(Item),
    /// Store a value if there is one
    Replace(Item),
    /// Append to a value
    Append(Item),
    /// Prepend to a value
    Prepend(Item),
    /// Store a value if it still has the number that `gets` printed
    Cas {
        #[command(flatten)]
        item: Item,
        number: u64,
    },
    /// Remove a value
    Delete { key: String },
    /// Add to a number
    Incr { key: String, by: u64 },
    /// Subtract from a number
    Decr { key: String, by: u64 },
    /// Print the counters of the server
    Stats,
    /// Print the version of the server
    Version,
}

#[derive(clap::Args)]
struct Item {
    key: String,
    #[arg(allow_hyphen_values = true)]
    value: OsString,
}

/// Runs one command. Returns `true` if everything was found or stored.
pub async fn run(args: Args, out: &mut impl Write) -> Result<bool, Box<dyn Error>> {
    let mut client = Client::new(TcpStream::connect(args.address).await?, MAX_VALUE);
    match args.command {
        Command::Get { keys } => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let values = client.get(&keys).await?;
            for value in &values {
                out.write_all(&value.data)?;
                writeln!(out)?;
            }
            Ok(values.len() == keys.len())
        }
        Command::Gets { keys } => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let values = client.gets(&keys).await?;
            for value in &values {
                let (key, flags, cas) = (&value.key, value.flags, value.cas.unwrap_or_default());
                writeln!(out, "{key}: {} bytes, flags {flags}, cas {cas}", value.data.len())?;
            }
            Ok(values.len() == keys.len())
        }
        Command::Set(item) => store(&mut client, "set", item, out).await,
        Command::Add(item) => store(&mut client, "add", item, out).await,
        Command::Replace(item) => store(&mut client, "replace", item, out).await,
        Command::Append(item) => store(&mut client, "append", item, out).await,
        Command::Prepend(item) => store(&mut client, "prepend", item, out).await,
        Command::Cas { item, number } => {
            let value = item.value.into_encoded_bytes();
            say(out, client.cas(&item.key, 0, 0, value, number).await?)
        }
        Command::Delete { key } => {
            let found = client.delete(&key).await?;
            writeln!(out, "{}", if found { "deleted" } else { "not found" })?;
            Ok(found)
        }
        Command::Incr { key, by } => say_number(out, client.incr(&key, by).await?),
        Command::Decr { key, by } => say_number(out, client.decr(&key, by).await?),
        Command::Stats => {
            for (name, value) in client.stats().await? {
                writeln!(out, "{}: {}", name.escape_debug(), value.escape_debug())?;
            }
            Ok(true)
        }
        Command::Version => {
            // It may be meant for the terminal it is shown on.
            writeln!(out, "{}", client.version().await?.escape_debug())?;
            Ok(true)
        }
    }
}

async fn store(
    client: &mut Client<TcpStream>,
    verb: &str,
    item: Item,
    out: &mut impl Write,
) -> Result<bool, Box<dyn Error>> {
    let value = item.value.into_encoded_bytes();
    say(out, client.store(verb, &item.key, 0, 0, value).await?)
}

fn say(out: &mut impl Write, stored: Outcome) -> Result<bool, Box<dyn Error>> {
    let text = match stored {
        Outcome::Stored => "stored",
        Outcome::NotStored => "not stored",
        Outcome::Exists => "changed meanwhile",
        Outcome::NotFound => "not found",
    };
    writeln!(out, "{text}")?;
    Ok(stored == Outcome::Stored)
}

fn say_number(out: &mut impl Write, number: Option<u64>) -> Result<bool, Box<dyn Error>> {
    let text = number.map_or("not found".to_owned(), |number| number.to_string());
    writeln!(out, "{text}")?;
    Ok(number.is_some())
}

/// The largest value that a server accepts by default.
const MAX_VALUE: usize = 1 << 20;
