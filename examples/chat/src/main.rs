//! A chat room for people on `nc` and people in a browser, over several machines if you like.
//!
//! It shows how tasks send output to each other's channels with a [`Pusher`](asynchat::Pusher). A
//! slow reader is disconnected at its own high-water mark, and never delays the others. The example
//! also shows a client and a server in one program.
//!
//! ```text
//! cargo run --release -p example-chat -- [ADDRESS] [--http ADDRESS] [--redis ADDRESS]
//!                                        [--host NAME]... [--connections NUMBER]
//! nc 127.0.0.1 7000                 one person
//! http://127.0.0.1:7080/            another person
//! ```
//!
//! Each person sees the messages of the others. `/nick NAME`, `/who`, `/quit` and `/help` are
//! commands. The defaults are 127.0.0.1:7000 for lines, and 127.0.0.1:7080 for browsers.
//!
//! With `--redis`, all servers on the same Redis share the room. If a server loses its connection
//! to Redis, it reports that in the room, and connects again with growing pauses. Names are checked
//! on all servers. However, if two people choose the same name at the same moment, or while there
//! is no connection, both get it.
//!
//! # Browsers
//!
//! A browser may use the server's address, `localhost`, and each name in `--host` (the public name,
//! if there is a proxy). The server refuses a request for any other name, because a foreign page
//! could have made the browser send it (DNS rebinding). For the same reason, a line of HTTP, TLS or
//! WebRTC on the other port ends that connection.
//!
//! The server sends a heartbeat to each page every 20 seconds. A page that has lost its connection
//! connects again, and takes over the person's place in the room.
//!
//! # Limits
//!
//! People who type lines have two minutes for the first line, and may then be silent. There is no
//! TLS, password or history. There is no limit on the number of messages, and no limit per address,
//! because all people of a household or proxy may share one address.
//!
//! Ctrl-C or SIGTERM stops the server, which notifies all people and closes the connections.
//!
//! `room.rs` is the room, `lines.rs` and `web.rs` serve people, `bridge.rs` connects to other
//! servers through Redis, and `server.rs` joins these parts. The code for HTTP and Redis is that of
//! the examples `http_server` and `redis`.

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
    /// The address for people who type lines; with port 0 the system chooses a port
    #[arg(default_value = "127.0.0.1:7000")]
    address: String,
    /// The address for browsers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7080")]
    http: String,
    /// The address of a Redis through which servers share the room
    #[arg(long, value_name = "ADDRESS")]
    redis: Option<String>,
    /// A host name for browsers, besides `localhost` and the address; repeatable
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// The maximum number of peers on each address; less if fewer files may be open
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
