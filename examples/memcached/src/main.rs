//! A memcached client. It shows lines, some of which announce a number of bytes of data.
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
//! You will see the answer of the server. For `get` this is the unchanged data. The exit status is
//! 1 if a key was not found or nothing was stored, and 2 after an error.
//!
//! `client.rs` is the client. It sends command lines with `push_frame`, which appends the line end
//! and refuses one inside the line. It sends data with `push`, which accepts any byte. `lib.rs` is
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
