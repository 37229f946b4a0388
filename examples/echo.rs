//! An echo server for lines, with the channel as a `Stream` and a `Sink`.
//!
//! ```text
//! cargo run --example echo [ADDRESS]        (default 127.0.0.1:7007)
//! nc 127.0.0.1 7007
//! ```
//!
//! You will see each line that you type again. The `Sink` appends CR LF, and waits while the peer
//! does not read. A peer that sends or reads nothing for a minute is disconnected. Ctrl-C or
//! SIGTERM stops the server: it accepts no new connections, and each connection ends after the
//! lines that have arrived.

#[path = "common/serve.rs"]
mod serve;

use asynchat::{Channel, Error, Terminator, Timeouts};
use futures::SinkExt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::report(format_args!("echo: {error}"));
            serve::flush();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> std::io::Result<()> {
    let address = std::env::args_os().nth(1).unwrap_or("127.0.0.1:7007".into());
    let listener = TcpListener::bind(&*address.to_string_lossy()).await?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    let connection = |socket, stop| async move {
        if let Err(error) = echo(socket, stop).await {
            serve::report(format_args!("a connection: {error}"));
        }
    };
    serve::serve(listener, serve::stop_signal()?, connection).await;
    Ok(())
}

async fn echo(socket: TcpStream, stop: CancellationToken) -> Result<(), Error> {
    let mut channel = Channel::builder()
        .terminator(Terminator::line())
        .encode_terminator(Terminator::crlf())
        .timeouts(Timeouts::all(Duration::from_secs(60)))
        .build(socket);
    loop {
        let frame = tokio::select! {
            biased;
            frame = channel.next() => frame,
            () = stop.cancelled() => None,
        };
        match frame {
            Some(Ok(frame)) => channel.feed(frame.into_data()).await?,
            Some(Err(Error::FrameTooLong { limit, .. })) => {
                channel.feed(format!("no more than {limit} bytes, please").into()).await?;
            }
            Some(Err(error)) => return Err(error),
            None => return channel.close().await,
        }
    }
}
