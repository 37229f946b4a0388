//! A chat room: what one says, everybody hears. For people on `nc` and people
//! in a browser, and over several machines if you like.
//!
//! It shows [`Pusher`](asynchat::Pusher): output for a channel from other tasks,
//! and a slow reader that is cut off at its own high-water mark and never holds
//! up the others. And a client and a server in one program.
//!
//! ```text
//! cargo run --example chat_server -- [ADDRESS] [--http ADDRESS] [--redis ADDRESS]
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
//! `room.rs` is the room, `lines.rs` and `web.rs` are the people, `bridge.rs` is
//! the way to the other servers. Reading HTTP and speaking to Redis are those of
//! the examples `http_server` and `redis`. There is no TLS, no password,
//! no memory of what was said, no limit to how much one may say, and for people
//! who type lines none to how long they may be silent.

pub(crate) mod bridge;
// Of the examples, what is needed here.
#[allow(dead_code, unreachable_pub)]
#[path = "../redis/src/client.rs"]
pub(crate) mod client;
#[allow(dead_code)]
#[path = "../http_server/http.rs"]
mod http;
pub(crate) mod lines;
pub(crate) mod room;
#[path = "../common/serve.rs"]
mod serve;
#[allow(dead_code, unreachable_pub)]
#[path = "../redis/src/value.rs"]
pub(crate) mod value;
pub(crate) mod web;

use asynchat::{Builder, Channel, Error, Handler, Terminator, Timeouts};
use room::Room;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1);
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            serve::report(format_args!("chat_server: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(mut args: impl Iterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let (mut lines, mut web) = ("127.0.0.1:7000".to_owned(), "127.0.0.1:7080".to_owned());
    let mut redis = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--http" => web = args.next().ok_or(USAGE)?,
            "--redis" => redis = Some(args.next().ok_or(USAGE)?),
            _ if arg.starts_with('-') => return Err(USAGE.into()),
            _ => lines = arg,
        }
    }
    let stop = serve::stop_signal()?;
    let (lines, web) = (TcpListener::bind(lines).await?, TcpListener::bind(web).await?);
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", lines.local_addr()?)?;
    writeln!(stdout, "and for browsers on http://{}/", web.local_addr()?)?;
    stdout.flush()?;
    serve_all(lines, web, redis, stop).await;
    Ok(())
}

/// Serves until `stop`, and sends everybody home.
pub(crate) async fn serve_all(
    lines: TcpListener,
    web: TcpListener,
    redis: Option<String>,
    stop: CancellationToken,
) {
    let room = Arc::new(Room::default());
    let stopping = CancellationToken::new();
    let closing = async {
        stop.cancelled().await;
        // First of all they are told so.
        room.close();
        stopping.cancel();
    };
    let bridge = async {
        if let Some(address) = redis {
            // It ends with the room, but does not wait for Redis then.
            let connect = || client::Client::connect(address.as_str());
            tokio::select! {
                () = bridge::run(Arc::clone(&room), connect, stopping.cancelled()) => {}
                () = async { stopping.cancelled().await; tokio::time::sleep(GRACE).await } => {}
            }
        }
    };
    let talk = |socket, stop| {
        let handler = lines::Lines::new(Arc::clone(&room));
        connection(socket, line_settings(), handler, stop)
    };
    let browse = |socket, stop| {
        let handler = web::Web::new(Arc::clone(&room));
        connection(socket, web_settings(), handler, stop)
    };
    tokio::join!(
        closing,
        serve::serve(lines, stopping.clone(), talk),
        serve::serve(web, stopping.clone(), browse),
        bridge,
    );
}

/// One connection, to its end; but not long after the server is to stop.
pub(crate) async fn connection<T, H>(
    io: T,
    settings: Builder,
    mut handler: H,
    stop: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    H: Handler<Error = Error>,
{
    let mut channel = settings.build(io);
    // How it ends is no concern of the others.
    tokio::select! {
        _ = channel.run(&mut handler) => return,
        () = stop.cancelled() => {}
    }
    channel.close_when_done();
    let _ = timeout(GRACE, channel.run(&mut handler)).await;
}

pub(crate) fn line_settings() -> Builder {
    Channel::builder()
        .terminator(Terminator::line())
        .max_length(web::MAX_LINE)
        .high_water(HIGH_WATER)
}

pub(crate) fn web_settings() -> Builder {
    // The parser wants to see the blank line.
    Channel::builder()
        .terminator(http::HEAD_END.clone())
        .keep_terminator(true)
        .high_water(HIGH_WATER)
        .timeouts(Timeouts { frame: Some(REQUEST_TIME), ..Timeouts::all(IDLE_TIME) })
}

/// How far somebody may fall behind before being cut off: what a few people can
/// say at once before anybody else gets a turn.
pub(crate) const HIGH_WATER: usize = 1 << 20;

/// How long a browser may take for a head or a body.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How long its connection may be idle, or take nothing of what is sent to it.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long a connection may take to end once the server is to stop.
const GRACE: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: chat_server [ADDRESS] [--http ADDRESS] [--redis ADDRESS]";
