//! A pipelining Redis client for the command line, with RESP2 and RESP3.
//!
//! It shows `receive` with lines and counts in turn, and a parser without I/O. The parser keeps the
//! received part of a reply, so awaiting a reply is cancel safe. The example also streams a large
//! value to a file.
//!
//! ```text
//! cargo run --release -p example-redis -- [OPTIONS] ADDRESS COMMAND ARGS…
//!
//! example-redis 127.0.0.1:6379 SET greeting hello
//! example-redis 127.0.0.1:6379 GET greeting                   "hello"
//! example-redis --resp3 127.0.0.1:6379 CONFIG GET save        a map
//! example-redis 127.0.0.1:6379 SUBSCRIBE news                 messages, until Ctrl-C
//! example-redis --output FILE 127.0.0.1:6379 GET large        to a new file, with a progress bar
//! example-redis --repeat 1000 127.0.0.1:6379 INCR n           one pipeline
//! ```
//!
//! You will see replies in a form similar to that of `redis-cli`. The exit status is 1 if the last
//! reply was an error, and 2 after any other error. The client reads the password from
//! `REDISCLI_AUTH`. `--user` names the user of an access control list.
//!
//! `value.rs` is the protocol, `client.rs` the client, and `lib.rs` the command line. There is no
//! TLS, no cluster, and no reconnecting.

use clap::Parser;
use example_redis::{Args, run};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let password = std::env::var_os("REDISCLI_AUTH");
    match run(Args::parse(), password, &mut std::io::stdout()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::from(2)
        }
    }
}
