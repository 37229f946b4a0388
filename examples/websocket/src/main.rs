//! A WebSocket server (RFC 6455): `/echo`, and `/broadcast`, where each message goes to all.
//!
//! It shows heads whose first bytes announce their length
//! ([`asynchat::Terminator::message`]), and frames that are changed in place. The echo
//! removes the mask, writes the answer's head over it, and copies no payload.
//!
//! ```text
//! cargo run --release -p example-websocket -- [ADDRESS] [--origin ORIGIN]
//! python -m websockets ws://127.0.0.1:7090/broadcast
//! ```
//!
//! Everybody who has opened `/broadcast` sees what the others type. Ctrl-C or SIGTERM stops the
//! server, and each connection gets a Close frame with the code 1001. There are no extensions, no
//! subprotocols and no TLS.

use clap::Parser;
use example_common::serve::{serve, stop_signal};
use example_common::{exit_code, listen, say};
use example_websocket::Server;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves WebSocket: /echo and /broadcast.
#[derive(Parser)]
struct Args {
    /// The address to listen on; with port 0 the system chooses a port
    #[arg(default_value = "127.0.0.1:7090")]
    address: String,
    /// An origin whose pages may connect, besides those of the address
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(env!("CARGO_BIN_NAME"), run(Args::parse()).await)
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let listener = listen(&args.address).await?;
    let address = listener.local_addr()?;
    let mut origins = args.origin;
    origins.push(format!("http://{address}"));
    let server = Arc::new(Server { origins, ..Server::default() });
    say(format_args!("listening on ws://{address}/"))?;
    serve(listener, stop_signal()?, |socket, stop| server.clone().connection(socket, stop)).await;
    Ok(())
}
