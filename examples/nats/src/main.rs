//! A client of NATS: many tasks publish, subscribe and request over one connection.
//!
//! It shows a channel with one owner and many callers ([`asynchat::Pusher`]), and messages
//! that are borrowed while they are sorted into queues ([`asynchat::Handler`]).
//!
//! ```text
//! nats-server                                        (in another terminal)
//! cargo run --release -p example-nats -- sub time.now --reply noon
//! cargo run --release -p example-nats -- req time.now please
//! ```
//!
//! You will see the answer in one terminal, and the request in the terminal that answers. `pub`
//! and `sub` publish and subscribe. The exit status is 1 after an error. The client has no TLS and
//! no JetStream. It does not reconnect, and ignores later `INFO` (other servers, lame duck mode).

use clap::Parser;
use example_nats::{Args, run};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse(), &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::FAILURE
        }
    }
}
