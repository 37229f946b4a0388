//! The client, its subscriptions, and the task that owns their channel.

use crate::error::{Error, Result};
use crate::protocol::{Headers, Info, Message, body, check, is_word, words};
use asynchat::Error::{Closed, Io};
use asynchat::{Channel, Control, Handler, Pusher, Terminator, Timeouts, TryPushError};
use bytes::Bytes;
use example_common::{lock, random};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// A connection to a server, shared by all clones and their subscriptions. It is closed, after
/// all that was sent, when the last of them is dropped.
///
/// A task of its own owns the channel. Above the channel's high-water mark its callers wait.
/// All methods are cancel safe. A message is sent whole, or not at all.
///
/// # Waiting
///
/// There is no limit to the silence of a server, or of one that is gone without a reset. Put a
/// timeout around [`new`](Self::new), [`request`](Self::request) and [`flush`](Self::flush). A
/// program that only receives notices a lost server if it flushes from time to time. [`TIMEOUTS`]
/// end a session in which the server stops reading, or stops within a message.
#[derive(Clone)]
pub struct Client(Arc<Session>);

struct Session {
    pusher: Pusher,
    runtime: tokio::runtime::Handle,
    info: Info,
    open: Weak<Mutex<Open>>,
    /// The reason of the end.
    ended: Arc<OnceLock<Error>>,
    /// The beginning of the subjects of all answers, once they are subscribed.
    inbox: OnceCell<String>,
    /// That of the next subscription or request.
    number: AtomicU64,
    /// A permit for each flush that may still be registered. Otherwise a server that sends no
    /// pongs, and callers that give up, would fill the memory.
    pings: Arc<Semaphore>,
}

/// The messages of one subject. It is unsubscribed when it is dropped.
///
/// The client itself has one for each request, until the answer has come.
pub struct Subscription {
    client: Client,
    key: String,
    messages: mpsc::UnboundedReceiver<Box<(Message, OwnedSemaphorePermit)>>,
    dropped: Arc<AtomicU64>,
}

impl Client {
    /// Logs in with a user and a password. Waits indefinitely for a silent server.
    pub async fn new<T>(io: T, login: Option<(&str, &str)>) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let builder = Channel::builder().max_head(MAX_LINE).max_length(MAX_MESSAGE);
        let mut channel = builder.timeouts(TIMEOUTS).build(io);
        let greeting = channel.receive_within(MAX_LINE, Terminator::crlf()).await?;
        let (info, connect) = Info::connect(&greeting, login)?;
        channel.push(connect);
        let answer = channel.receive_within(MAX_LINE, Terminator::crlf()).await?;
        if answer != "PONG" {
            return Err(Error::Server(String::from_utf8_lossy(&answer).into()));
        }
        channel.set_terminator(Terminator::message("\r\n", body));
        let (mut owner, pusher) = (Owner::default(), channel.pusher());
        let (open, ended) = (Arc::downgrade(&owner.open), owner.ended.clone());
        let (inbox, number) = (OnceCell::new(), AtomicU64::new(2));
        let pings = Arc::new(Semaphore::new(1024));
        let runtime = tokio::runtime::Handle::current();
        runtime.spawn(async move {
            let ended = channel.run(&mut owner).await;
            owner.end(ended.err());
        });
        Ok(Client(Arc::new(Session { pusher, runtime, info, open, ended, inbox, number, pings })))
    }

    /// Publishes to a subject, with the names and values of headers. Waits while the queue is
    /// full, indefinitely if the server reads slowly.
    pub async fn publish(&self, to: &str, headers: Headers<'_>, payload: &[u8]) -> Result {
        check(is_word(to), "subject")?;
        let message = self.0.info.encode(to, headers, payload)?;
        // After the end a flush returns its reason.
        if self.0.pusher.push(message).await.is_ok() { Ok(()) } else { self.flush().await }
    }

    /// Publishes a request, and waits for its first answer, indefinitely if none comes.
    ///
    /// # Errors
    ///
    /// [`Error::NoResponders`] if nobody has subscribed to the subject, and the server knows
    /// headers.
    pub async fn request(&self, to: &str, headers: Headers<'_>, payload: &[u8]) -> Result<Message> {
        check(is_word(to), "subject")?;
        let inbox = self.0.inbox.get_or_try_init(async || {
            let inbox = format!("_INBOX.{}.", random());
            self.call(format!("SUB {inbox}* {INBOX}\r\n"), |_| ()).await.map(|()| inbox)
        });
        let (inbox, number) = (inbox.await?, self.0.number.fetch_add(1, Relaxed));
        let reply = format!("{inbox}{number}");
        let request = self.0.info.encode(&format!("{to} {reply}"), headers, payload)?;
        let answer = self.open(reply, request).await?.next().await?;
        let is_refused = answer.headers.starts_with("NATS/1.0 503");
        if is_refused { Err(Error::NoResponders) } else { Ok(answer) }
    }

    /// Subscribes. `*` stands for one token of a subject, and `>` for all that follow.
    ///
    /// A slow subscriber delays nobody. While [`MAX_WAITING`] bytes wait for it, further messages
    /// are dropped and [counted](Subscription::dropped).
    pub async fn subscribe(&self, subject: &str) -> Result<Subscription> {
        check(is_word(subject), "subject")?;
        let number = self.0.number.fetch_add(1, Relaxed).to_string();
        let sub = format!("SUB {subject} {number}\r\n");
        self.open(number, sub).await
    }

    /// Waits until the server has handled everything sent before, and its messages of that
    /// time are here. Waits indefinitely for a silent server.
    ///
    /// A flush that was given up counts until the server answers it. While there are 1024, a
    /// further one waits before it asks the server.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if the server has refused something since the last flush, such as a
    /// subject that the user may not publish to. The session goes on if the server lets it. A
    /// refusal can be lost if the future is dropped when the server has just answered.
    pub async fn flush(&self) -> Result {
        let place = self.0.pings.clone().acquire_owned().await.ok();
        let (flush, pong) = oneshot::channel();
        self.call("PING\r\n", |open| open.flushes.push_back((flush, place))).await?;
        pong.await.unwrap_or_else(|_| Some(self.ended())).map_or(Ok(()), Err)
    }

    /// Sends, and opens a mailbox.
    async fn open(&self, key: String, data: impl Into<Bytes>) -> Result<Subscription> {
        let (sender, messages) = mpsc::unbounded_channel();
        let (room, dropped) = (Arc::new(Semaphore::new(MAX_WAITING)), Arc::<AtomicU64>::default());
        let mailbox = Mailbox { sender, room, dropped: dropped.clone() };
        self.call(data, |open| _ = open.mailboxes.insert(key.clone(), mailbox)).await?;
        Ok(Subscription { client: self.clone(), key, messages, dropped })
    }

    /// Sends, and registers the caller in the same step. So the flushes have the order of their
    /// pings, and no caller that has given up is registered.
    async fn call(&self, data: impl Into<Bytes>, register: impl FnOnce(&mut Open)) -> Result {
        let permit = self.0.pusher.reserve().await;
        let open = self.0.open.upgrade().ok_or_else(|| self.ended())?;
        let mut open = lock(&open);
        // Wakes the owner's task alone. If it fails, the owner is about to be dropped, together
        // with all that is registered.
        let _ = permit.map(|permit| permit.push(data));
        register(&mut open);
        Ok(())
    }

    fn ended(&self) -> Error {
        self.0.ended.get().cloned().unwrap_or_else(|| Closed.into())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pusher.close_when_done();
    }
}

impl Subscription {
    /// Returns the next message, or the reason why there will be none. Waits indefinitely if the
    /// server is gone without a reset.
    pub async fn next(&mut self) -> Result<Message> {
        Ok(self.messages.recv().await.ok_or_else(|| self.client.ended())?.0)
    }

    /// Returns how many messages there was no room for.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Client(session) = &self.client;
        let _mailbox = session.open.upgrade().map(|open| lock(&open).mailboxes.remove(&self.key));
        // The one to all answers stays.
        if !self.key.starts_with("_INBOX.") {
            let (pusher, unsub) = (session.pusher.clone(), format!("UNSUB {}\r\n", self.key));
            // Later, even if no message comes any more.
            if let Err(TryPushError::Full(unsub)) = pusher.try_push(unsub) {
                session.runtime.spawn(async move { pusher.push(unsub).await });
            }
        }
    }
}

/// The callers that wait while the session lasts. Nothing of theirs is called or dropped under
/// the lock.
#[derive(Default)]
struct Open {
    /// By the numbers of their subscriptions or, in the one to all answers, by their subjects.
    mailboxes: BTreeMap<String, Mailbox>,
    /// The flushes, in the order of their pings. They get the last refusal. One that was given up
    /// remains until its pong comes.
    flushes: VecDeque<(oneshot::Sender<Option<Error>>, Option<OwnedSemaphorePermit>)>,
}

#[derive(Clone)]
struct Mailbox {
    /// Boxed, because a channel begins with room for 32 of them.
    sender: mpsc::UnboundedSender<Box<(Message, OwnedSemaphorePermit)>>,
    /// A permit for each byte that may still wait.
    room: Arc<Semaphore>,
    /// The number of messages that there was no room for.
    dropped: Arc<AtomicU64>,
}

/// The callbacks of the channel. All callers learn the end when it is dropped.
#[derive(Default)]
struct Owner {
    open: Arc<Mutex<Open>>,
    ended: Arc<OnceLock<Error>>,
    /// The last refusal of the server, until a flush reports it.
    refused: Option<Error>,
}

impl Owner {
    fn end(self, error: Option<Error>) {
        let error = error.unwrap_or_else(|| Closed.into());
        let is_lost = matches!(&error, Error::Channel(error) if matches!(**error, Closed | Io(_)));
        // A server that ends the session has said why.
        let _ = self.ended.set(self.refused.filter(|_| is_lost).unwrap_or(error));
    }
}

impl Handler for Owner {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result {
        let (line, content) = data.split_at(control.head_len());
        match words(line).next().unwrap_or_default() {
            b"MSG" | b"HMSG" => {
                let message = Message::parse(line, content);
                let (number, message) = message.ok_or(Error::Protocol("invalid message"))?;
                let key = if number == INBOX { &message.subject } else { number };
                let mailbox = lock(&self.open).mailboxes.get(key).cloned();
                let Some(Mailbox { sender, room, dropped }) = mailbox else { return Ok(()) };
                let cost = size_of::<Message>() + data.len();
                // A request has room for one answer.
                let cost = if number == INBOX { MAX_WAITING } else { cost };
                // A message of any size has room if no other waits.
                match room.try_acquire_many_owned(cost.min(MAX_WAITING) as u32) {
                    Ok(room) => _ = sender.send(Box::new((message, room))),
                    Err(_) => _ = dropped.fetch_add(1, Relaxed),
                }
            }
            b"PING" => control.push("PONG\r\n"),
            b"PONG" => {
                let flush = lock(&self.open).flushes.pop_front();
                let Some((flush, _place)) = flush else { return Ok(()) };
                // One that was given up does not report it.
                self.refused = flush.send(self.refused.take()).err().flatten();
            }
            b"-ERR" => {
                let text = String::from_utf8_lossy(line);
                self.refused = Some(Error::Server(text.trim().into()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The number of the subscription to all answers.
const INBOX: &str = "1";

/// `INFO` can name many servers.
const MAX_LINE: usize = 64 * 1024;

/// A server itself has no higher limit for a payload.
const MAX_MESSAGE: usize = MAX_LINE + (64 << 20);

/// The most bytes that wait for a subscriber. A message counts as it came, with the memory of a
/// [`Message`]. Texts that are not UTF-8 can become three times as long. For a request, one answer
/// waits.
pub const MAX_WAITING: usize = 64 << 20;

/// A server pings only a client that is silent itself, so that its silence means nothing. A long
/// message may take longer if it comes at this rate, in bytes per second.
pub const TIMEOUTS: Timeouts =
    Timeouts { idle: None, min_rate: RATE, ..Timeouts::all(Duration::from_secs(60)) };

const RATE: Option<std::num::NonZeroU32> = std::num::NonZeroU32::new(16 * 1024);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    async fn connect() -> (Client, DuplexStream) {
        let (io, mut server) = duplex(4096);
        server.write_all(b"INFO {\"max_payload\":1}\r\nPONG\r\n").await.unwrap();
        (Client::new(io, None).await.unwrap(), server)
    }

    #[test]
    fn callers_learn_the_end_when_the_runtime_is_dropped() {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let (client, _server) = first.block_on(connect());
        let mut messages = first.block_on(client.subscribe("a")).unwrap();
        drop(first);
        let is_closed = |error| matches!(error, Error::Channel(error) if matches!(*error, Closed));
        runtime().block_on(async {
            assert!(is_closed(messages.next().await.err().unwrap()));
            assert!(is_closed(client.flush().await.unwrap_err()));
            assert!(is_closed(client.publish("a", &[], b"").await.unwrap_err()));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn request_keeps_one_answer() {
        let (client, mut server) = connect().await;
        let mut answers = client.open("_INBOX.a.7".into(), "PING\r\n").await.unwrap();
        server.write_all("MSG _INBOX.a.7 1 1\r\nx\r\n".repeat(100).as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(answers.dropped(), 99);
        assert_eq!(answers.next().await.unwrap().payload, b"x");
        assert!(timeout(Duration::from_secs(1), answers.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_request_is_forgotten() {
        let (client, _server) = connect().await;
        let asking = timeout(Duration::from_secs(1), client.request("a", &[], b""));
        let open = || client.0.open.upgrade().map(|open| lock(&open).mailboxes.len());
        let (given_up, waiting) = tokio::join!(asking, async {
            tokio::task::yield_now().await;
            open()
        });
        assert!(given_up.is_err());
        assert_eq!((waiting, open()), (Some(1), Some(0)));
    }
}
