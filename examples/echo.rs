//! Every line comes back, with the channel as a `Stream` and a `Sink`.
//!
//! ```text
//! cargo run --example echo [ADDRESS]        (default 127.0.0.1:7007)
//! nc 127.0.0.1 7007
//! ```
//!
//! You will see each line you type once more. `Sink` appends CR LF, and waits
//! while the peer does not read.

use asynchat::{Channel, Error, Terminator};
use futures::SinkExt;
use std::io::Write;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

#[tokio::main]
async fn main() {
    if let Err(e) = run().await {
        eprintln!("echo: {e}");
        std::process::exit(1);
    }
}

async fn run() -> std::io::Result<()> {
    let address = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .nth(1)
        .unwrap_or("127.0.0.1:7007".into());
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => drop(tokio::spawn(async move {
                if let Err(e) = echo(socket).await {
                    eprintln!("{peer}: {e}");
                }
            })),
            Err(e) => {
                // The peer has gone, or there are too many: others will come.
                eprintln!("accept: {e}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn echo(socket: TcpStream) -> Result<(), Error> {
    let mut channel = Channel::builder()
        .terminator(Terminator::line())
        .encode_terminator(Terminator::crlf())
        .build(socket);
    while let Some(frame) = channel.next().await {
        match frame {
            Ok(frame) => channel.feed(frame.into_data()).await?,
            Err(Error::FrameTooLong { limit, .. }) => {
                channel.feed(format!("no more than {limit} bytes, please").into()).await?;
            }
            Err(e) => return Err(e),
        }
    }
    channel.close().await
}
