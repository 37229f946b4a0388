//! An HTTP/1.0 and 1.1 server on a `Handler`.
//!
//! It shows a protocol whose framing changes all the time: a head up to a
//! blank line, a body by count, the chunked coding by line and count in turn.
//! Bodies are handed on as they arrive, requests may be pipelined, and memory
//! stays bounded whatever a peer sends or does not read.
//!
//! Requests are read by the book (RFC 9112): what two readers could understand
//! differently gets an error and the close. One empty line in front of a
//! request is tolerated.
//!
//! ```text
//! cargo run --example http_server -- [ADDRESS] [--root DIR] [--max-body BYTES]
//! ```
//!
//! The default address is 127.0.0.1:8080; with port 0 the system chooses one.
//! The first line of output is `listening on` and the address. Then try
//!
//! ```text
//! curl -i http://127.0.0.1:8080/                               a page
//! curl -i http://127.0.0.1:8080/echo --data-binary @FILE       the file, as it is sent
//! curl -i http://127.0.0.1:8080/stream?n=1000                  "line 1" to "line 1000"
//! curl -i http://127.0.0.1:8080/files/NAME                     DIR/NAME
//! ```
//!
//! Names below `/files/` are taken as they are, not percent-decoded. A body of
//! more than `--max-body` bytes (1 GiB unless set) is refused.
//!
//! Ctrl-C or SIGTERM stops it: no new connections, idle ones are closed, and requests
//! that have begun are finished, or cut off after ten seconds.
//!
//! A request has to come in time: a head in ten seconds, a body, or each of its
//! chunks, in twenty seconds and one more for every 500 bytes that have arrived, which
//! small chunks make very long. Otherwise it is answered with 408, and the connection closed. One that
//! is idle for a minute is closed without a word, and one whose peer takes nothing of
//! an answer for half a minute is dropped.
//!
//! `server.rs` is the server. `common/http.rs` reads heads and chunks, and
//! `common/serve.rs` is the accept loop. There is no TLS and no `Date` field.

#[path = "../common/http.rs"]
mod http;
#[path = "../common/serve.rs"]
mod serve;
mod server;

use server::Config;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::report(format_args!("http_server: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:8080".to_owned();
    let mut config = Config { root: None, max_body: 1 << 30 };
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--root" => config.root = Some(args.next().ok_or(USAGE)?.into()),
            "--max-body" => config.max_body = args.next().ok_or(USAGE)?.parse()?,
            _ if arg.starts_with('-') => return Err(USAGE.into()),
            _ => address = arg,
        }
    }
    let stop = serve::stop_signal()?;
    let listener = TcpListener::bind(address).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    server::serve(listener, config, stop).await;
    Ok(())
}

const USAGE: &str = "usage: http_server [ADDRESS] [--root DIR] [--max-body BYTES]";
