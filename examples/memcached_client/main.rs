//! A client of memcached: a line at a time, until a line says that so many
//! bytes of data follow.
//!
//! ```text
//! memcached -l 127.0.0.1 -U 0                        (in another terminal)
//! cargo run --example memcached_client -- ADDRESS COMMAND
//!
//! get KEY...       gets KEY...      delete KEY     stats
//! set KEY VALUE    add KEY VALUE    incr KEY N     version
//! append, prepend, replace KEY VALUE; cas KEY VALUE NUMBER; decr KEY N
//! ```
//!
//! You will see what the server answers, and of `get` the data as they are.
//! The exit status is 1 if a key was not found or nothing was stored, and 2 if
//! something went wrong.
//!
//! `client.rs` is the client. Command lines go out with `push_frame`, which ends
//! them and lets no line end in; data are pushed, which lets anything through.

pub(crate) mod client;

use client::{Client, Outcome};
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> =
        std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args, &mut stdout()).await {
        Ok(found) => ExitCode::from(if found { 0 } else { 1 }),
        Err(e) => {
            let cause = e.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("memcached_client: {e}{cause}");
            ExitCode::from(2)
        }
    }
}

/// Runs one command, and tells whether everything was found or stored.
pub(crate) async fn run(args: &[&str], out: &mut impl Write) -> Result<bool, Box<dyn Error>> {
    let [address, command @ ..] = args else { return Err(USAGE.into()) };
    let mut client = Client::new(TcpStream::connect(address).await?, MAX_VALUE);
    match *command {
        ["get", ref keys @ ..] if !keys.is_empty() => {
            let values = client.get(keys).await?;
            for value in &values {
                out.write_all(&value.data)?;
                writeln!(out)?;
            }
            Ok(values.len() == keys.len())
        }
        ["gets", ref keys @ ..] if !keys.is_empty() => {
            let values = client.gets(keys).await?;
            for value in &values {
                let (key, flags, cas) = (&value.key, value.flags, value.cas.unwrap_or_default());
                writeln!(out, "{key}: {} bytes, flags {flags}, cas {cas}", value.data.len())?;
            }
            Ok(values.len() == keys.len())
        }
        [verb @ ("set" | "add" | "replace" | "append" | "prepend"), key, value] => {
            let stored = client.store(verb, key, 0, 0, value.to_owned()).await?;
            told(out, stored)
        }
        ["cas", key, value, cas] => {
            let stored = client.cas(key, 0, 0, value.to_owned(), cas.parse()?).await?;
            told(out, stored)
        }
        ["delete", key] => {
            let found = client.delete(key).await?;
            writeln!(out, "{}", if found { "deleted" } else { "not found" })?;
            Ok(found)
        }
        [verb @ ("incr" | "decr"), key, by] => {
            let by = by.parse()?;
            let counted = match verb {
                "incr" => client.incr(key, by).await?,
                _ => client.decr(key, by).await?,
            };
            let text = counted.map_or("not found".to_owned(), |value| value.to_string());
            writeln!(out, "{text}")?;
            Ok(counted.is_some())
        }
        ["stats"] => {
            for (name, value) in client.stats().await? {
                writeln!(out, "{}: {}", name.escape_debug(), value.escape_debug())?;
            }
            Ok(true)
        }
        ["version"] => {
            // It may be meant for the terminal it is shown on.
            writeln!(out, "{}", client.version().await?.escape_debug())?;
            Ok(true)
        }
        _ => Err(USAGE.into()),
    }
}

fn told(out: &mut impl Write, stored: Outcome) -> Result<bool, Box<dyn Error>> {
    let text = match stored {
        Outcome::Stored => "stored",
        Outcome::NotStored => "not stored",
        Outcome::Exists => "changed meanwhile",
        Outcome::NotFound => "not found",
    };
    writeln!(out, "{text}")?;
    Ok(stored == Outcome::Stored)
}

const USAGE: &str = "usage: memcached_client ADDRESS COMMAND [KEY [VALUE]]";

/// What a server takes unless it is told otherwise.
const MAX_VALUE: usize = 1 << 20;
