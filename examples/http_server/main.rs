//! An HTTP/1.0 and 1.1 server on a `Handler`.
//!
//! It shows a protocol whose framing changes all the time. A head ends at a blank line, a body ends
//! after a count, and chunks alternate between lines and counts. Bodies are passed on as they
//! arrive, and requests may be pipelined. Memory and open files stay bounded for any peer.
//!
//! ```text
//! cargo run --example http_server -- [ADDRESS] [--root DIR] [--max-body BYTES] [--name NAME]...
//! ```
//!
//! The default address is 127.0.0.1:8080; with port 0 the system chooses a port. The first line
//! of output is `listening on` and the address. Then try
//!
//! ```text
//! curl -i http://127.0.0.1:8080/                               a page
//! curl -i http://127.0.0.1:8080/echo --data-binary @FILE       the file, as it is sent
//! curl -i http://127.0.0.1:8080/stream?n=1000                  "line 1" to "line 1000"
//! curl -i http://127.0.0.1:8080/files/NAME                     DIR/NAME
//! ```
//!
//! # Limits
//!
//! - `/echo` holds a body of up to 16 MiB until it is complete, and at most 64 MiB for all
//!   connections. Above 64 MiB it answers 503. A body of more than 16 MiB is echoed while it
//!   arrives. A client or proxy that sends everything before it reads can then block until it is
//!   disconnected.
//! - A body of more than `--max-body` bytes is refused. The default is 1 GiB.
//! - A head may take ten seconds. A body may take twenty seconds, and one more for every 500 bytes
//!   that have arrived.
//! - The server closes a connection after ten seconds without a first request, and after a minute
//!   without a further request. It also closes a connection if the peer accepts nothing of an
//!   answer for a minute.
//!
//! # Security
//!
//! - `Host` must be an address, `localhost`, or a `--name` (the public name, if there is a proxy).
//!   With DNS rebinding, a foreign page could otherwise read the answer.
//! - If two programs could understand a request differently (RFC 9112), the server answers with an
//!   error and closes the connection.
//! - Names below `/files/` are not percent-decoded. There is no TLS and no `Date` field.
//!
//! Ctrl-C or SIGTERM stops the server. Requests that have begun may finish within ten seconds.
//!
//! `server.rs` is the server, and `files.rs` opens files. `common/http.rs` reads heads and chunks,
//! and `common/serve.rs` has the accept loop.

mod files;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/serve.rs"]
mod serve;
mod server;

use files::Files;
use server::Config;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let ended = Runtime::new().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(run());
        // A file that cannot be opened or closed is not waited for.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::report(format_args!("http_server: {error}"));
            serve::flush();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:8080".to_owned();
    let mut config = Config { files: None, names: vec![], max_body: 1 << 30, max_held: 16 << 20 };
    let mut args = std::env::args_os().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match arg.to_str() {
            Some("--root") => {
                let root = PathBuf::from(value()?);
                let files = Files::new(&root);
                config.files = Some(files.map_err(|error| format!("{}: {error}", root.display()))?);
            }
            Some("--max-body") => {
                let bytes = value()?.to_str().and_then(|bytes| bytes.parse().ok());
                config.max_body = bytes.ok_or("--max-body takes a number of bytes")?;
            }
            Some("--name") => config.names.push(value()?.into_string().map_err(|_| USAGE)?),
            Some(text) if !text.starts_with('-') => address = text.to_owned(),
            _ => return Err(USAGE.into()),
        }
    }
    let listener = TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", listener.local_addr()?)?;
    stdout.flush()?;
    let stop = serve::stop_signal()?;
    server::serve(listener, config, stop).await;
    Ok(())
}

const USAGE: &str = "usage: http_server [ADDRESS] [--root DIR] [--max-body BYTES] [--name NAME]...";
