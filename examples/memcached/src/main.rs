//! A client of memcached: a line at a time, until a line says that so many bytes of
//! data follow.
//!
//! ```text
//! memcached -l 127.0.0.1 -U 0                        (in another terminal)
//! cargo run --release -p example-memcached -- ADDRESS COMMAND
//!
//! get KEY...       gets KEY...      delete KEY     stats
//! set KEY VALUE    add KEY VALUE    incr KEY N     version
//! append, prepend, replace KEY VALUE; cas KEY VALUE NUMBER; decr KEY N
//! ```
//!
//! You will see what the server answers, and of `get` the data as they are. The exit
//! status is 1 if a key was not found or nothing was stored, and 2 if something went
//! wrong.
//!
//! `client.rs` is the client. Command lines go out with `push_frame`, which ends them
//! and lets no line end in; data are pushed, which lets anything through. `lib.rs` is
//! the command line.

use clap::Parser;
use example_memcached::{Args, run};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse(), &mut std::io::stdout()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::from(2)
        }
    }
}
