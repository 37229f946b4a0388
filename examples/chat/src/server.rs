//! The server: its two listeners, and the limits of connections.

use crate::bridge;
use crate::http::HEAD_END;
use crate::lines::Lines;
use crate::room::Room;
use crate::web::{MAX_LINE, Web};
use asynchat::{Builder, Channel, Error, Handler, Terminator, Timeouts};
use example_common::serve::serve_up_to;
use example_redis::client::Client;
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Serves until `stop`, and sends everybody home. Each listener has `most` peers at once.
pub async fn serve_all(
    most: usize,
    lines: TcpListener,
    web: TcpListener,
    redis: Option<String>,
    hosts: Vec<String>,
    stop: CancellationToken,
) {
    let (room, hosts) = (Arc::new(Room::default()), Arc::new(hosts));
    let stopping = CancellationToken::new();
    let closing = async {
        stop.cancelled().await;
        // First of all they are told so.
        room.close();
        stopping.cancel();
    };
    let talk = |socket, stop| {
        notice_lost_peers(&socket);
        let handler = Lines::new(Arc::clone(&room));
        connection(socket, line_settings(), handler, stop)
    };
    let browse = |socket: TcpStream, stop| {
        notice_lost_peers(&socket);
        let here = socket.local_addr().ok().map(|address| address.ip().to_canonical());
        let handler = Web::new(Arc::clone(&room), Arc::clone(&hosts), here);
        connection(socket, web_settings(), handler, stop)
    };
    tokio::join!(
        closing,
        stopping.run_until_cancelled(look_after(&room)),
        serve_up_to(most, lines, stopping.clone(), talk),
        serve_up_to(most, web, stopping.clone(), browse),
        share(&room, redis, &stopping),
    );
}

/// Shares the room through Redis, if there is one, until the server is to stop.
async fn share(room: &Arc<Room>, redis: Option<String>, stopping: &CancellationToken) {
    let Some(address) = redis else { return };
    let connect = || Client::connect(address.as_str());
    tokio::select! {
        () = bridge::run(Arc::clone(room), connect, stopping.cancelled()) => {}
        // It ends with the room, but does not wait for Redis then.
        () = async { stopping.cancelled().await; sleep(GRACE).await } => {}
    }
}

async fn look_after(room: &Room) {
    loop {
        sleep(PING).await;
        room.ping();
        room.dismiss_the_silent();
    }
}

/// Makes the kernel notice within a minute that the network of a peer is gone.
pub fn notice_lost_peers(socket: &TcpStream) {
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new().with_time(PING).with_interval(PING);
    // If this fails, the name stays taken for longer.
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(LOST));
}

/// One connection, to its end; but not long after the server is to stop.
pub async fn connection<T, H>(io: T, settings: Builder, mut handler: H, stop: CancellationToken)
where
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

pub fn line_settings() -> Builder {
    Channel::builder().terminator(Terminator::line()).max_length(MAX_LINE).high_water(HIGH_WATER)
}

pub fn web_settings() -> Builder {
    // The parser wants to see the blank line.
    Channel::builder()
        .terminator(HEAD_END.clone())
        .keep_terminator(true)
        .high_water(HIGH_WATER)
        .timeouts(Timeouts { frame: Some(REQUEST_TIME), ..Timeouts::all(IDLE_TIME) })
}

/// The bytes by which somebody may lag before being cut off: as much as a few people can
/// say at once before anybody else gets a turn.
pub const HIGH_WATER: usize = 1 << 20;

/// The time of a browser for a head or a body.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The time that its connection may be idle, or take no output.
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// The interval at which a page hears from the server. Proxies close after a minute of silence.
pub const PING: Duration = Duration::from_secs(20);

/// The time for a peer to confirm output. Then it is lost.
#[cfg(target_os = "linux")]
pub const LOST: Duration = Duration::from_secs(30);

/// The time that a connection has to end after the stop.
const GRACE: Duration = Duration::from_secs(5);
