//! A chat room, for people on `nc` and people in a browser, and over several machines if
//! you like.
//!
//! It shows [`Pusher`](asynchat::Pusher), output for a channel from other tasks. A slow
//! reader is cut off at its own high-water mark and never holds up the others. It also shows
//! a client and a server in one program.
//!
//! ```text
//! cargo run --release -p example-chat -- [ADDRESS] [--http ADDRESS] [--redis ADDRESS]
//!                                        [--host NAME]... [--connections NUMBER]
//! nc 127.0.0.1 7000                 one person
//! http://127.0.0.1:7080/            another one
//! ```
//!
//! You will see what the other writes; `/nick NAME`, `/who`, `/quit` and `/help`
//! are commands. The defaults are 127.0.0.1:7000, and 127.0.0.1:7080 for
//! browsers. With `--redis` all servers that have the same Redis share the room;
//! a lost connection is tried again, with growing pauses, and said in the room.
//! Names are then checked on all servers, but two people who take the same one
//! at the same moment, or while there is no connection, both get it.
//!
//! Browsers may come to the address they are connected to, to `localhost`, and to each
//! name in `--host`. Under any other name a request is refused, because a page of
//! somebody else's could have made the browser send it (DNS rebinding). With a proxy, that
//! name is the public one. A peer that sends a line of HTTP, TLS or WebRTC to the
//! other port is a browser as well, and the connection ends.
//!
//! A page hears from the server every 20 seconds. One that has lost its connection
//! connects again, and takes its seat over.
//!
//! Ctrl-C or SIGTERM stops it. It says so to everybody and closes the connections.
//!
//! `room.rs` is the room, `lines.rs` and `web.rs` are the people, `bridge.rs` is
//! the way to the other servers, and `server.rs` joins them. Reading HTTP and
//! speaking to Redis are those of the examples `http_server` and `redis`. There is
//! no TLS, no password, no memory, and no limit to the number of messages. People who type
//! lines have two minutes for the first one, and may then be silent. There is no limit per
//! address, because all people of one household or proxy may share one.

use clap::Parser;
use example_chat::server::serve_all;
use example_common::listen;
use example_common::serve::{MAX_CONNECTIONS, stop_signal};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Serves a chat room.
#[derive(Parser)]
struct Args {
    /// Where to listen for people who type lines; with port 0 the system chooses one
    #[arg(default_value = "127.0.0.1:7000")]
    address: String,
    /// Where to listen for browsers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7080")]
    http: String,
    /// A Redis through which servers share the room
    #[arg(long, value_name = "ADDRESS")]
    redis: Option<String>,
    /// A name under which browsers come, besides `localhost` and the address; repeatable
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// The most peers at once on each of the two; fewer if files may not be open for them
    #[arg(long, value_name = "NUMBER", default_value_t = MAX_CONNECTIONS)]
    connections: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let (lines, web) = (listen(&args.address).await?, listen(&args.http).await?);
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", lines.local_addr()?)?;
    writeln!(stdout, "and for browsers on http://{}/", web.local_addr()?)?;
    stdout.flush()?;
    let stop = stop_signal()?;
    serve_all(args.connections, lines, web, args.redis, args.host, stop).await;
    Ok(())
}
