//! A client of NATS: many tasks publish, subscribe and ask over one connection.
//!
//! It shows a channel with one owner and many callers ([`asynchat::Pusher`]), and messages
//! that are borrowed while they are sorted into queues ([`asynchat::Handler`]).
//!
//! ```text
//! nats-server                                        (in another terminal)
//! cargo run --release -p example-nats -- reply noon time.now
//! cargo run --release -p example-nats -- req time.now please
//! ```
//!
//! You will see the answer, and the request at the one that has answered it. `pub` and `sub`
//! publish and subscribe. The exit status is 1 if something went wrong. It has no TLS, no
//! JetStream, does not connect again, and does not follow what a server says of itself later
//! (`INFO` with other servers, or the end that is near).

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
