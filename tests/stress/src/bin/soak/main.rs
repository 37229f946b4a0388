//! A server and thousands of clients in one process, for as long as you like.
//!
//! A tenth of the clients send their requests byte by byte, a tenth are silent, a tenth
//! flood (half of these never read), and a tenth reset. The others send requests and check each
//! answer. Within a minute a tenth of the connections ends, and new ones replace them.
//!
//! Run it with
//!
//! ```sh
//! cargo run --release -p asynchat-stress --bin soak -- --connections 9000 --minutes 30
//! ```
//!
//! `--over tls` puts TLS between them.
//!
//! Every connection takes two open files; see `ulimit -n`. You will see a line
//! a minute, and at the end whether all answers were right, memory stayed where
//! it was, and all files were closed. If not, it exits with 1.

mod clients;
mod server;
mod transport;
mod watch;
mod words;

use clients::Clients;
use server::Server;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use transport::Layer;
use watch::Watch;

struct Options {
    connections: usize,
    minutes: f64,
    layer: Layer,
}

impl Options {
    fn from_args() -> Result<Self, Box<dyn Error>> {
        let mut options = Options { connections: 1000, minutes: 2.0, layer: Layer::Tcp };
        let mut args = std::env::args().skip(1);
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} has no value"))?;
            match name.as_str() {
                "--connections" => options.connections = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                "--over" if value == "tls" => options.layer = Layer::tls()?,
                _ => return Err(format!("unknown option: {name} {value}").into()),
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
    let server = Server::start(options.layer.clone()).await?;
    let clients = Clients::start(options.connections, server.addresses(), options.layer);
    let (began, mut second) = (Instant::now(), tokio::time::interval(Duration::from_secs(1)));
    while began.elapsed() < watch.duration() {
        second.tick().await;
        watch.look(began.elapsed())?;
    }
    clients.stop().await;
    let open = server.stop().await;
    Ok(watch.verdict(open)?)
}
