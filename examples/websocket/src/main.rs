//! A WebSocket server (RFC 6455) with `/echo`, and with `/broadcast`, which sends each message to
//! all clients.
//!
//! It shows heads whose first bytes announce their length ([`asynchat::Terminator::message`]), and
//! frames that are changed in place. The echo removes the mask, and writes the answer's head over
//! the old one, without copying the payload.
//!
//! ```text
//! cargo run --release -p example-websocket -- [ADDRESS] [--origin ORIGIN]
//! python -m websockets ws://127.0.0.1:7090/broadcast
//! ```
//!
//! All clients of `/broadcast` see the messages of the others. Ctrl-C or SIGTERM stops the server,
//! which sends a Close frame with the code 1001 to each client. There are no extensions, no
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
