//! A client of NATS: many tasks publish, subscribe and ask over one connection.
//!
//! It shows a channel with one owner and many callers ([`asynchat::Pusher`]), and messages
//! that are borrowed while they are sorted into mailboxes ([`asynchat::Handler`]).
//!
//! ```text
//! nats-server                                        (in another terminal)
//! cargo run --release -p example-nats -- sub time.now noon
//! cargo run --release -p example-nats -- req time.now please
//! ```
//!
//! You will see the answer, and the request in the first terminal. `pub` publishes, and `sub`
//! without an answer only prints. The exit status is 1 if something went wrong. The client has
//! no TLS and no JetStream, does not connect again, and ignores an `INFO` that comes later.

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
