//! The command line.

mod client;
mod error;
mod protocol;
mod session;

pub use client::{ANSWER, Client, Subscription, TIMEOUTS};
pub use error::Error;
pub use protocol::{Headers, Message};
pub use session::MAX_WAITING;

use asynchat::BoxError;
use clap::{Parser, Subcommand};
use std::io::{self, Write};
use tokio::net::TcpStream;
use url::Url;

/// Publishes and subscribes at a NATS server.
#[derive(Parser)]
pub struct Args {
    /// nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]
    #[arg(long, default_value = "nats://127.0.0.1")]
    server: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish a message
    Pub { subject: String, text: String },
    /// Publish a request, and print its answer
    Req { subject: String, text: String },
    /// Print the messages of a subject, and answer the requests among them with a text
    Sub { subject: String, answer: Option<String> },
}

pub async fn run(args: Args, out: &mut impl Write) -> Result<(), BoxError> {
    let client = connect(&args.server).await?;
    match args.command {
        Command::Pub { subject, text } => client.publish(&subject, &[], text.as_bytes()).await?,
        Command::Req { subject, text } => {
            print(out, &client.request(&subject, &[], text.as_bytes()).await?)?;
        }
        Command::Sub { subject, answer } => {
            let mut messages = client.subscribe(&subject).await?;
            client.flush().await?;
            loop {
                let message = messages.next().await?;
                print(out, &message)?;
                // A server passes on any text.
                let reply = message.reply.filter(|reply| protocol::is_subject(reply, false));
                if let Some((reply, answer)) = reply.zip(answer.as_ref()) {
                    client.publish(&reply, &[], answer.as_bytes()).await?;
                }
            }
        }
    }
    Ok(client.flush().await?)
}

/// Connects to the server of a URL.
pub async fn connect(url: &str) -> Result<Client, BoxError> {
    let url = Url::parse(url)?;
    let ("nats", Some(host)) = (url.scheme(), url.host_str()) else {
        return Err("URL that is not nats://HOST".into());
    };
    let host = (host.trim_matches(['[', ']']), url.port().unwrap_or(4222));
    let io = TcpStream::connect(host).await?;
    io.set_nodelay(true)?;
    Ok(Client::new(io, &url).await?)
}

/// Prints a message in one line, in which nothing moves the cursor of a terminal.
fn print(out: &mut impl Write, message: &Message) -> io::Result<()> {
    let text = String::from_utf8_lossy(&message.payload);
    writeln!(out, "{} {}", message.subject.escape_debug(), text.escape_debug())?;
    out.flush()
}
