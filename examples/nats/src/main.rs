//! A NATS client. Many tasks publish, subscribe and send requests over one connection.
//!
//! It shows a channel with one owner and many callers ([`asynchat::Pusher`]). It also shows a
//! handler that sorts borrowed messages into mailboxes ([`asynchat::Handler`]).
//!
//! ```text
//! nats-server                                        (in another terminal)
//! cargo run --release -p example-nats -- localhost:4222 sub time.now noon
//! cargo run --release -p example-nats -- localhost:4222 req time.now please
//! ```
//!
//! Run `sub` and `req` in two terminals. You will see the request in the first, and the answer in
//! the second. `sub` without an answer only prints, and `pub` publishes a message. The exit status
//! is 1 after an error. The environment variables `NATS_USER` and `NATS_PASSWORD` log in. The
//! program waits for an answer until you stop it with Ctrl-C. The client has no TLS and no
//! JetStream, does not connect again, and ignores a later `INFO`.

use example_common::{exit_code, report, say};
use example_nats::client::Client;
use example_nats::protocol::Message;
use std::error::Error;
use std::process::ExitCode;
use std::{env, io};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    exit_code(env!("CARGO_BIN_NAME"), run(&args).await)
}

async fn run(args: &[&str]) -> Result<(), Box<dyn Error>> {
    let [address, command, subject, text @ ..] = args else { return Err(USAGE.into()) };
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    let (user, password) = (env::var("NATS_USER").ok(), env::var("NATS_PASSWORD").ok());
    let client = Client::new(io, user.as_deref().zip(password.as_deref())).await?;
    match (*command, text) {
        ("pub", [text]) => client.publish(subject, &[], text.as_bytes()).await?,
        ("req", [text]) => print(&client.request(subject, &[], text.as_bytes()).await?)?,
        ("sub", [] | [_]) => {
            let mut messages = client.subscribe(subject).await?;
            client.flush().await?;
            loop {
                let message = messages.next().await?;
                print(&message)?;
                if let Some((reply, answer)) = message.reply.zip(text.first())
                    && let Err(error) = client.publish(&reply, &[], answer.as_bytes()).await
                {
                    // A server passes on any text as a subject.
                    report(env!("CARGO_BIN_NAME"), &error);
                }
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(client.flush().await?)
}

/// Prints a message in one line, in which nothing moves the cursor of a terminal.
fn print(message: &Message) -> io::Result<()> {
    let text = String::from_utf8_lossy(&message.payload);
    say(format_args!("{} {}", message.subject.escape_debug(), text.escape_debug()))
}

const USAGE: &str = "usage: ADDRESS (pub SUBJECT TEXT | req SUBJECT TEXT | sub SUBJECT [ANSWER])";
