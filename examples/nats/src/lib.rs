//! The command line.

pub mod client;
pub mod protocol;

use asynchat::BoxError;
use bytes::Bytes;
use clap::{Parser, Subcommand};
use client::{Client, Login};
use percent_encoding::percent_decode_str;
use protocol::{Message, Publish};
use std::io::Write;
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
    Pub(Item),
    /// Publish a request, and print its answer
    Req(Item),
    /// Print the messages of a subject
    Sub(Subject),
    /// Answer the requests of a subject with a text, and print them
    Reply {
        text: String,
        #[command(flatten)]
        subject: Subject,
    },
}

#[derive(clap::Args)]
struct Item {
    subject: String,
    payload: String,
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
}

fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("no colon")?;
    Ok((name.into(), value.trim().into()))
}

#[derive(clap::Args)]
struct Subject {
    subject: String,
    /// The queue group that shares the messages
    #[arg(long)]
    queue: Option<String>,
    /// End after this number of messages
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
}

pub async fn run(args: Args, out: &mut impl Write) -> Result<(), BoxError> {
    let client = connect(&args.server).await?;
    let (subject, text) = match args.command {
        Command::Sub(subject) => (subject, None),
        Command::Reply { text, subject } => (subject, Some(Bytes::from(text))),
        Command::Pub(ref item) | Command::Req(ref item) => {
            let headers: Vec<_> = item.header.iter().map(|(n, v)| (&**n, &**v)).collect();
            let publish = Publish { subject: &item.subject, reply: None, headers: &headers };
            match args.command {
                Command::Pub(_) => client.publish_with(publish, item.payload.clone()).await?,
                _ => print(out, &client.request(publish, item.payload.clone()).await?)?,
            }
            client.flush().await?;
            return Ok(client.close().await?);
        }
    };
    let mut messages = client.subscribe(&subject.subject, subject.queue.as_deref()).await?;
    client.flush().await?;
    for _ in 0..subject.count {
        let message = messages.next().await?;
        if let Some((reply, text)) = message.reply().zip(text.as_ref()) {
            client.publish(reply, text.clone()).await?;
        }
        print(out, &message)?;
    }
    if messages.dropped() > 0 {
        writeln!(out, "{} messages were dropped", messages.dropped())?;
    }
    client.flush().await?;
    Ok(client.close().await?)
}

/// Connects to the server of a URL.
pub async fn connect(url: &str) -> Result<Client, BoxError> {
    let url = Url::parse(url)?;
    let (("nats", Some(host)), port) = ((url.scheme(), url.host_str()), url.port()) else {
        return Err("URL that is not nats://HOST".into());
    };
    let decode = |text| percent_decode_str(text).decode_utf8().map(String::from);
    let user = Some(decode(url.username())?).filter(|user| !user.is_empty());
    let login = match url.password() {
        Some(password) => Login { user, password: Some(decode(password)?), token: None },
        None => Login { token: user, ..Login::default() },
    };
    let io = TcpStream::connect((host.trim_matches(['[', ']']), port.unwrap_or(4222))).await?;
    io.set_nodelay(true)?;
    Ok(Client::new(io, &login).await?)
}

/// Prints a message in one line, in which nothing moves the cursor of a terminal.
fn print(out: &mut impl Write, message: &Message) -> std::io::Result<()> {
    write!(out, "{}", message.subject().escape_debug())?;
    for (name, value) in message.headers() {
        write!(out, " {}: {}", name.escape_debug(), value.escape_debug())?;
    }
    writeln!(out, " {}", String::from_utf8_lossy(message.payload()).escape_debug())?;
    out.flush()
}
