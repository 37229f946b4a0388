//! The bridge between several servers, which share one room through the pub/sub of Redis.
//!
//! Each server publishes the events of its people, and every few seconds their names. It
//! receives its own messages as well. If none has arrived for a while, the connection is
//! lost, even if the socket reports no error.

use crate::room::{self, News, Room};
use example_common::random;
use example_redis::client::{Client, Error};
use example_redis::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Connects the room with the others until `closed` is ready.
/// `connect` makes a new connection to Redis.
pub async fn run<T, Fut>(
    room: Arc<Room>,
    connect: impl Fn() -> Fut,
    closed: impl Future<Output = ()>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
    Fut: Future<Output = Result<Client<T>, Error>>,
{
    let mut session = Session { room: &room, me: random(), heard: BTreeMap::new(), lost: None };
    let mut closed = pin!(closed);
    loop {
        let ended = session.run(&connect).await;
        room.unlink();
        let Err(error) = ended else { return };
        if session.lost.is_none() {
            room.notice(&format!("no connection to the other servers ({error}); trying again"));
        }
        let wait = session.lost.map_or(FIRST_WAIT, |wait| (wait * 2).min(LAST_WAIT));
        session.lost = Some(wait);
        tokio::select! {
            () = sleep(wait) => {}
            () = &mut closed => return,
        }
    }
}

struct Session<'r> {
    room: &'r Room,
    /// This server, among the others.
    me: String,
    /// When each server was last heard of, this one too.
    heard: BTreeMap<String, Instant>,
    /// While there is no connection: the last pause.
    lost: Option<Duration>,
}

impl Session<'_> {
    /// Ends well only when the room is closed.
    async fn run<T, Fut>(&mut self, connect: impl Fn() -> Fut) -> Result<(), Error>
    where
        T: AsyncRead + AsyncWrite + Unpin,
        Fut: Future<Output = Result<Client<T>, Error>>,
    {
        let connecting = async {
            let mut client = connect().await?;
            // Only in RESP3 may one connection both publish and subscribe.
            client.call(&["HELLO", "3"]).await?;
            client.call(&["SUBSCRIBE", CHANNEL]).await?;
            Ok::<_, Error>(client)
        };
        let mut client = timeout(SILENCE, connecting).await.map_err(|_| silent())??;
        let mut news = self.room.link(BACKLOG);
        self.publish(&mut client, "hello");
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heard = BTreeMap::from([(self.me.clone(), Instant::now())]);
        loop {
            tokio::select! {
                received = client.receive() => self.receive(&mut client, received?),
                // The rest waits in the room's queue, which is bounded.
                news = news.recv(), if client.unanswered() < BACKLOG as u64 => match news {
                    Some(news) => self.publish(&mut client, &encode(&news)),
                    None => {
                        client.call(&["PUBLISH", CHANNEL, &format!("{} bye", self.me)]).await?;
                        return Ok(());
                    }
                },
                // The first one comes at once.
                _ = beat.tick() => {
                    let nicks = self.room.nicks().join(" ");
                    self.publish(&mut client, &format!("here {nicks}"));
                    self.forget_the_silent()?;
                }
            }
        }
    }

    fn publish<T: AsyncRead + AsyncWrite + Unpin>(&self, client: &mut Client<T>, message: &str) {
        client.send(&["PUBLISH", CHANNEL, &format!("{} {message}", self.me)]);
    }

    fn receive<T>(&mut self, client: &mut Client<T>, value: Value)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Value::Push(parts) = &value else { return };
        let [Value::Bulk(kind), _, Value::Bulk(message)] = parts.as_slice() else { return };
        let message = String::from_utf8_lossy(message);
        let Some((server, message)) = message.split_once(' ').filter(|_| kind == "message") else {
            return;
        };
        self.heard.insert(server.to_owned(), Instant::now());
        if server == self.me {
            // It works: a message has come round.
            if self.lost.take().is_some() {
                self.room.notice("connected to the other servers again");
            }
            return;
        }
        match message.split_once(' ').unwrap_or((message, "")) {
            ("hello", _) => {
                let nicks = self.room.nicks().join(" ");
                self.publish(client, &format!("here {nicks}"));
            }
            ("here", nicks) => {
                let nicks: BTreeSet<_> = nicks.split(' ').filter(|n| room::is_nick(n)).collect();
                self.room.set_nicks_of(server, nicks.into_iter().map(str::to_owned).collect());
            }
            ("bye", _) => {
                self.heard.remove(server);
                self.room.forget(server);
            }
            _ => {
                if let Some(news) = decode(message) {
                    self.room.hear_from(server, news);
                }
            }
        }
    }

    fn forget_the_silent(&mut self) -> Result<(), Error> {
        let (room, me) = (self.room, &self.me);
        self.heard.retain(|server, heard| {
            let is_alive = heard.elapsed() < SILENCE;
            if !is_alive {
                room.forget(server);
            }
            is_alive
        });
        if self.heard.contains_key(me) { Ok(()) } else { Err(silent()) }
    }
}

fn encode(news: &News) -> String {
    match news {
        News::Said { who, text } => format!("said {who} {text}"),
        News::Joined(who) => format!("joined {who}"),
        News::Left(who) => format!("left {who}"),
        News::Renamed { from, to } => format!("renamed {from} {to}"),
    }
}

/// Reads a message of another server. It is believed, but kept to the form.
fn decode(message: &str) -> Option<News> {
    let (kind, rest) = message.split_once(' ')?;
    let (who, text) = rest.split_once(' ').unwrap_or((rest, ""));
    if !room::is_nick(who) {
        return None;
    }
    let who = who.to_owned();
    Some(match kind {
        "said" => News::Said { who, text: room::plain(text) },
        "joined" => News::Joined(who),
        "left" => News::Left(who),
        "renamed" if room::is_nick(text) => News::Renamed { from: who, to: text.to_owned() },
        _ => return None,
    })
}

fn silent() -> Error {
    Error::Channel(asynchat::Error::Io(io::ErrorKind::TimedOut.into()))
}

pub const CHANNEL: &str = "asynchat.chat";

/// The number of messages that may wait for Redis.
const BACKLOG: usize = 1000;

/// The interval at which a server names its people, and the silence after which it is gone.
pub const BEAT: Duration = Duration::from_secs(10);
pub const SILENCE: Duration = Duration::from_secs(35);

/// The pause before Redis is tried again grows from the first to the last.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
pub const LAST_WAIT: Duration = Duration::from_secs(10);
