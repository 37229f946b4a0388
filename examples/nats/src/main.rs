//! A NATS client. Many tasks publish, subscribe and send requests over one connection.
//!
//! It shows a channel with one owner and many callers ([`asynchat::Pusher`]). It also shows a
//! handler that sorts borrowed messages into mailboxes ([`asynchat::Handler`]).
//!
//! ```text
//! nats-server                                        (in another terminal)
//! cargo run --release -p example-nats -- sub time.now noon
//! cargo run --release -p example-nats -- req time.now please
//! ```
//!
//! Run `sub` and `req` in two terminals. You will see the request in the first, and the answer in
//! the second. `sub` without an answer only prints, and `pub` publishes a message. The exit status
//! is 1 after an error. The client has no TLS and no JetStream, does not connect again, and ignores
//! a later `INFO`.

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
