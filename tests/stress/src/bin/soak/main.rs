//! A server and thousands of clients in one process, for as long as you like.
//!
//! A tenth of the clients drip their requests byte by byte, a tenth are silent,
//! a tenth flood (every second of these never reads), a tenth reset; the others
//! ask and check each answer. Each tenth of the connections ends and is made
//! anew within a minute.
//!
//! Run it with
//!
//! ```sh
//! cargo run --release -p asynchat-stress --bin soak -- --connections 9000 --minutes 30
//! ```
//!
//! Every connection takes two open files; see `ulimit -n`. You will see a line
//! a minute, and at the end whether all answers were right, memory stayed where
//! it was, and all files were closed. If not, it exits with 1.

mod clients;
mod server;
mod watch;
mod words;

use clients::Clients;
use server::Server;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use watch::Watch;

struct Options {
    connections: usize,
    minutes: f64,
}

impl Options {
    fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut options = Options { connections: 1000, minutes: 2.0 };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--connections" => options.connections = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                _ => return Err(format!("what is {name}?").into()),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, Box<dyn Error>> {
    let options = Options::from_args()?;
    let mut watch = Watch::new(Duration::from_secs_f64(options.minutes * 60.0))?;
    let server = Server::start().await?;
    let clients = Clients::start(options.connections, server.addresses());
    let (began, mut second) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
    while began.elapsed() < watch.duration() {
        second.tick().await;
        watch.look(began.elapsed())?;
    }
    clients.stop().await;
    let open = server.stop().await;
    Ok(watch.verdict(open)?)
}
