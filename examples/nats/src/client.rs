use crate::protocol::{CRLF, Message, OPERATIONS, Operation, Output, Publish, is_subject};
use asynchat::{Channel, Control, Handler, Pusher, Terminator, Timeout, Timeouts};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use tokio::time::timeout;

/// A connection to a server, shared by all clones and their subscriptions. It is closed
/// after the last of them is dropped.
///
/// A task of its own owns the channel. Above the channel's high-water mark its callers wait.
/// All methods but [`drain`](Self::drain) are cancel safe: a message is sent whole or not at
/// all.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    pusher: Pusher,
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<Error>>,
    max_payload: usize,
    has_headers: bool,
    next_id: AtomicU64,
    /// The beginning of the subjects of all answers, once they are subscribed.
    inbox: OnceCell<String>,
}

/// Callers that wait for the server. The clients add them, and the owner of the channel serves
/// them.
#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    queues: BTreeMap<u64, Queue>,
    requests: BTreeMap<u64, oneshot::Sender<Message>>,
    /// In the order of the pings. `None` is a ping of the owner itself.
    pings: VecDeque<Option<oneshot::Sender<Option<String>>>>,
}

type Queue = (mpsc::UnboundedSender<Message>, Arc<Counts>);

/// The counters of a subscription.
#[derive(Default)]
struct Counts {
    /// The bytes of the messages that wait.
    waiting: AtomicUsize,
    /// The messages that were not delivered.
    dropped: AtomicU64,
}

/// The messages of one subject. It is unsubscribed when this is dropped.
pub struct Subscription {
    client: Client,
    id: u64,
    messages: mpsc::UnboundedReceiver<Message>,
    counts: Arc<Counts>,
}

/// The name of a user and the password, or a token.
#[derive(Clone, Default)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
    pub token: Option<String>,
}

/// The reason why something was not sent, or the connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client or the server has closed the connection.
    #[error("connection closed")]
    Closed,
    /// The server has refused something with `-ERR`, and has perhaps ended the session. It may
    /// be shown on a terminal.
    #[error("server: {}", .0.escape_debug())]
    Server(String),
    /// The server does not speak the protocol, or requires a feature that is missing here.
    #[error("protocol of the server: {0}")]
    Protocol(&'static str),
    #[error("connection lost")]
    Channel(#[source] Arc<asynchat::Error>),
    /// Nothing was sent, because the server would not take it.
    #[error("not sent: {0}")]
    Invalid(&'static str),
    /// Nobody answers requests of this subject.
    #[error("nobody answers")]
    NoResponders,
    /// No answer within [`ANSWER`].
    #[error("no answer in time")]
    Timeout,
}

type Result<T = ()> = std::result::Result<T, Error>;

impl Client {
    /// Begins a session, and spawns the task that owns the channel.
    pub async fn new<T>(io: T, login: &Login) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut channel = Channel::builder().max_head(MAX_LINE).timeouts(TIMEOUTS).build(io);
        let info = timeout(ANSWER, open(&mut channel, login)).await.or(Err(Error::Timeout))??;
        let max_payload = info["max_payload"].as_u64().unwrap_or(0).min(MAX_PAYLOAD) as usize;
        channel.codec_mut().set_max_length(MAX_LINE + max_payload + CRLF.len());
        channel.set_terminator(OPERATIONS.clone());
        let (reason, ended) = watch::channel(None);
        let shared = Arc::new(Shared::default());
        let client = Client(Arc::new(Inner {
            pusher: channel.pusher(),
            shared: Arc::clone(&shared),
            ended,
            max_payload,
            has_headers: info["headers"] == true,
            next_id: AtomicU64::new(INBOX + 1),
            inbox: OnceCell::new(),
        }));
        let pusher = channel.pusher();
        let error = Error::Closed;
        let owner = Owner { shared, pusher, reason, error, refused: None, is_pinged: false };
        tokio::spawn(own((channel, owner)));
        Ok(client)
    }

    pub async fn publish(&self, subject: &str, payload: impl Into<Bytes>) -> Result {
        self.publish_with(Publish { subject, ..Publish::default() }, payload).await
    }

    pub async fn publish_with(&self, publish: Publish<'_>, payload: impl Into<Bytes>) -> Result {
        let is_sent = match self.encode(publish, payload.into())? {
            Output::Chunk(chunk) => self.0.pusher.push(chunk).await.is_ok(),
            Output::Parts(parts) => self.0.pusher.push_parts(parts).await.is_ok(),
        };
        if is_sent { Ok(()) } else { Err(self.why().await) }
    }

    /// Publishes a request, and waits for its first answer.
    pub async fn request(
        &self,
        publish: Publish<'_>,
        payload: impl Into<Bytes>,
    ) -> Result<Message> {
        let answer = timeout(ANSWER, self.ask(publish, payload.into()));
        let answer = answer.await.or(Err(Error::Timeout))??;
        if answer.status() == Some("503") { Err(Error::NoResponders) } else { Ok(answer) }
    }

    async fn ask(&self, publish: Publish<'_>, payload: Bytes) -> Result<Message> {
        let inbox = self.0.inbox.get_or_try_init(|| async {
            let inbox = format!("_INBOX.{}.", example_common::random());
            self.register(format!("SUB {inbox}* {INBOX}\r\n"), |_| inbox).await
        });
        let (inbox, id) = (inbox.await?, self.next_id());
        let reply = format!("{inbox}{id}");
        let output = self.encode(Publish { reply: Some(&reply), ..publish }, payload)?;
        let (sender, answer) = oneshot::channel();
        let _forget = Request { shared: &self.0.shared, id };
        self.register(output, |state| state.requests.insert(id, sender)).await?;
        self.wait(answer).await
    }

    /// Subscribes. With a `queue` each message goes to one member of that group.
    ///
    /// A slow subscriber delays nobody. While [`MAX_WAITING`] bytes wait for it, further
    /// messages are dropped and [counted](Subscription::dropped).
    pub async fn subscribe(&self, subject: &str, queue: Option<&str>) -> Result<Subscription> {
        if !is_subject(subject, true) || !queue.is_none_or(|queue| is_subject(queue, false)) {
            return Err(Error::Invalid("subject"));
        }
        let (sender, messages) = mpsc::unbounded_channel();
        let (counts, id) = (Arc::new(Counts::default()), self.next_id());
        let line = format!("SUB {subject} {} {id}\r\n", queue.unwrap_or_default());
        let queue = (sender, Arc::clone(&counts));
        self.register(line, |state| state.queues.insert(id, queue)).await?;
        Ok(Subscription { client: self.clone(), id, messages, counts })
    }

    /// Waits until the server has handled everything sent before, and its messages of that
    /// time are here.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if the server has refused something since the last flush, such as a
    /// subject that the user may not publish to. The session goes on if the server lets it.
    pub async fn flush(&self) -> Result {
        let (sender, pong) = oneshot::channel();
        self.register("PING\r\n", |state| state.pings.push_back(Some(sender))).await?;
        self.wait(pong).await?.map_or(Ok(()), |text| Err(Error::Server(text)))
    }

    /// Ends the subscriptions after the messages that are here or on their way, and closes.
    ///
    /// # Cancel safety
    ///
    /// It must be awaited to its end. If it is dropped before, the subscriptions may have ended
    /// without a sign, and the connection stays open. Only `close` is then of use.
    pub async fn drain(&self) -> Result {
        let unsubs: String = self.0.shared.lock().queues.keys().map(|id| unsub(*id)).collect();
        self.register(unsubs, |_| ()).await?;
        self.flush().await?;
        self.close().await
    }

    /// Closes after all that was sent before. Only a [`flush`](Self::flush) before it makes sure
    /// that the server has taken it.
    pub async fn close(&self) -> Result {
        self.0.pusher.close_when_done();
        let reason = self.why().await;
        if let Error::Closed = reason { Ok(()) } else { Err(reason) }
    }

    fn encode(&self, publish: Publish<'_>, payload: Bytes) -> Result<Output> {
        if !publish.headers.is_empty() && !self.0.has_headers {
            return Err(Error::Invalid("headers, which the server does not support"));
        }
        publish.encode(payload, self.0.max_payload).map_err(Error::Invalid)
    }

    /// Pushes and registers in one step, so that nobody waits on a connection that has ended.
    async fn register<A>(
        &self,
        output: impl Into<Output>,
        register: impl FnOnce(&mut State) -> A,
    ) -> Result<A> {
        if let Ok(permit) = self.0.pusher.reserve().await {
            // The waker called under the lock is that of the owner's task alone.
            let mut state = self.0.shared.lock();
            let is_sent = match output.into() {
                Output::Chunk(chunk) => permit.push(chunk).is_ok(),
                Output::Parts(parts) => permit.push_parts(parts).is_ok(),
            };
            if is_sent {
                return Ok(register(&mut state));
            }
        }
        Err(self.why().await)
    }

    async fn wait<A>(&self, answer: oneshot::Receiver<A>) -> Result<A> {
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.why().await),
        }
    }

    /// Waits for the end, and returns its reason.
    async fn why(&self) -> Error {
        let mut ended = self.0.ended.clone();
        let reason = ended.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or(Error::Closed)
    }

    fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Relaxed)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = &*self.0.ended.borrow();
        f.debug_struct("Client").field("ended", ended).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pusher.close_when_done();
    }
}

/// A request that waits for its answer. It is forgotten when this is dropped.
struct Request<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        // Its waker is not dropped under the lock.
        let _request = self.shared.lock().requests.remove(&self.id);
    }
}

impl Subscription {
    /// Returns the next message, or the reason why there will be none.
    pub async fn next(&mut self) -> Result<Message> {
        let Some(message) = self.messages.recv().await else { return Err(self.client.why().await) };
        self.counts.waiting.fetch_sub(message.cost(), Relaxed);
        Ok(message)
    }

    /// Returns how many messages there was no room for, or had a subject that is not UTF-8.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut subscription = f.debug_struct("Subscription");
        let dropped = &self.dropped();
        subscription.field("id", &self.id).field("dropped", dropped).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Without capacity the owner does it at the next message or ping.
        if self.client.0.pusher.try_push(unsub(self.id)).is_ok() {
            let _queue = self.client.0.shared.lock().queues.remove(&self.id);
        }
    }
}

fn unsub(id: u64) -> String {
    format!("UNSUB {id}\r\n")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs in. Returns what the server says of itself.
async fn open<T>(channel: &mut Channel<T>, login: &Login) -> Result<Value>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let line = channel.receive_within(MAX_LINE, Terminator::crlf()).await?;
    let info = line.strip_prefix(b"INFO ").and_then(|info| serde_json::from_slice(info).ok());
    let info: Value = info.ok_or(Error::Protocol("no INFO"))?;
    if info["tls_required"] == true {
        return Err(Error::Protocol("TLS is required"));
    }
    let connect = json!({
        "verbose": false, "pedantic": false,
        "headers": info["headers"] == true, "no_responders": info["headers"] == true,
        "protocol": 1, "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": "asynchat",
        "user": login.user, "pass": login.password, "auth_token": login.token,
    });
    channel.push_fmt(format_args!("CONNECT {connect}\r\nPING\r\n"));
    loop {
        let line = channel.receive_within(MAX_LINE, OPERATIONS.clone()).await?;
        match Operation::parse(&line, channel.head_len()).map_err(Error::Protocol)? {
            Operation::Pong => return Ok(info),
            Operation::Ping => channel.push("PONG\r\n"),
            Operation::Error(error) => return Err(Error::Server(error.into())),
            Operation::Message(..) | Operation::Unreadable(_) | Operation::Other => {}
        }
    }
}

/// The callbacks of the channel. When it is dropped, nobody waits any more.
struct Owner {
    shared: Arc<Shared>,
    pusher: Pusher,
    reason: watch::Sender<Option<Error>>,
    error: Error,
    /// The last `-ERR` of the server, until a flush reports it.
    refused: Option<String>,
    /// `true` if nothing has come since the owner has sent a ping.
    is_pinged: bool,
}

/// The channel is dropped first, with this future too: then nothing is registered any more.
/// A tuple is dropped in this order, polled or not.
async fn own<T: AsyncRead + AsyncWrite + Unpin>(mut session: (Channel<T>, Owner)) {
    let (channel, owner) = &mut session;
    let ended = channel.run(owner).await.err().unwrap_or(Error::Closed);
    // A server that ends the session says why, and then closes or resets the connection.
    let is_end = match &ended {
        Error::Channel(error) => matches!(**error, asynchat::Error::Io(_)),
        error => matches!(error, Error::Closed),
    };
    owner.error = owner.refused.take().filter(|_| is_end).map_or(ended, Error::Server);
}

impl Handler for Owner {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result {
        self.is_pinged = false;
        match Operation::parse(data, control.head_len()).map_err(Error::Protocol)? {
            Operation::Message(INBOX, message) => {
                let id = message.subject().rsplit('.').next().and_then(|id| id.parse().ok());
                let request = id.and_then(|id: u64| self.shared.lock().requests.remove(&id));
                request.map(|request| request.send(message));
            }
            Operation::Message(id, message) => self.deliver(control, id, message),
            Operation::Unreadable(id) => {
                if let Some((_, counts)) = self.shared.lock().queues.get(&id) {
                    counts.dropped.fetch_add(1, Relaxed);
                }
            }
            Operation::Ping => {
                control.push("PONG\r\n");
                let is_closed = |queue: &Queue| queue.0.is_closed();
                let closed: Vec<_> = {
                    let state = self.shared.lock();
                    state
                        .queues
                        .iter()
                        .filter(|(_, queue)| is_closed(queue))
                        .map(|(id, _)| *id)
                        .collect()
                };
                closed.into_iter().for_each(|id| self.forget(control, id));
            }
            Operation::Pong => {
                let ping = self.shared.lock().pings.pop_front();
                if let Some(Err(refused)) =
                    ping.flatten().map(|ping| ping.send(self.refused.take()))
                {
                    self.refused = refused;
                }
            }
            Operation::Error(error) => self.refused = Some(error.into()),
            Operation::Other => {}
        }
        Ok(())
    }

    fn timed_out(&mut self, _: &mut Control<'_>, timeout: Timeout) -> Result {
        if self.is_pinged || !matches!(timeout, Timeout::Idle(_)) {
            return Err(asynchat::Error::Timeout(timeout).into());
        }
        // Pushed like those of the clients, for the pings to be sent in their order here. Without
        // capacity the server has enough to read, and is asked another time.
        let mut state = self.shared.lock();
        self.is_pinged = self.pusher.try_push("PING\r\n").is_ok();
        if self.is_pinged {
            state.pings.push_back(None);
        }
        Ok(())
    }
}

impl Owner {
    fn deliver(&self, control: &mut Control<'_>, id: u64, message: Message) {
        // Or it was on its way when nobody wanted it any more.
        let Some((sender, counts)) = self.shared.lock().queues.get(&id).cloned() else { return };
        if sender.is_closed() {
            return self.forget(control, id);
        }
        let cost = message.cost();
        if counts.waiting.fetch_add(cost, Relaxed) + cost > MAX_WAITING {
            counts.waiting.fetch_sub(cost, Relaxed);
            counts.dropped.fetch_add(1, Relaxed);
        } else {
            // If it has closed since, the next message or ping finds that.
            let _ = sender.send(message);
        }
    }

    /// Ends a subscription that was dropped.
    fn forget(&self, control: &mut Control<'_>, id: u64) {
        // Its wakers are not called under the lock.
        let _queue = self.shared.lock().queues.remove(&id);
        control.push(unsub(id));
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.reason.send_replace(Some(self.error.clone()));
        // Its wakers are not called under the lock.
        let _state = mem::take(&mut *self.shared.lock());
    }
}

impl From<asynchat::Error> for Error {
    fn from(error: asynchat::Error) -> Self {
        Error::Channel(Arc::new(error))
    }
}

/// The identifier of the subscription to all answers.
const INBOX: u64 = 1;

/// A server itself has no higher limit.
const MAX_PAYLOAD: u64 = 64 << 20;
/// `INFO` can name many servers.
const MAX_LINE: usize = 64 * 1024;

/// In bytes; a message counts its memory too.
pub const MAX_WAITING: usize = 64 << 20;

pub const ANSWER: Duration = Duration::from_secs(10);

/// A server that says nothing is sent a ping, and then has the same time again.
pub const TIMEOUTS: Timeouts = Timeouts {
    frame: Some(Duration::from_secs(30)),
    min_rate: NonZeroU32::new(16 * 1024),
    idle: Some(Duration::from_secs(60)),
    write: Some(Duration::from_secs(30)),
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};
    use tokio::io::AsyncWriteExt;

    struct Seen(Pusher, AtomicUsize);

    impl Wake for Seen {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1 + usize::from(self.0.is_closed()), Relaxed);
        }
    }

    #[test]
    fn nothing_is_registered_when_the_owner_is_dropped() {
        for is_polled in [false, true] {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap();
            let (io, mut server) = tokio::io::duplex(4096);
            let client = runtime.block_on(async {
                server.write_all(b"INFO {}\r\nPONG\r\n").await.unwrap();
                let client = Client::new(io, &Login::default()).await.unwrap();
                if is_polled {
                    tokio::task::yield_now().await;
                }
                client
            });
            let seen = Arc::new(Seen(client.0.pusher.clone(), AtomicUsize::new(0)));
            let mut why = pin!(client.why());
            let waker = Waker::from(Arc::clone(&seen));
            assert!(why.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(runtime);
            assert_eq!(seen.1.load(Relaxed), 2, "{is_polled}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_request_is_forgotten() {
        let (io, mut server) = tokio::io::duplex(4096);
        server.write_all(b"INFO {\"max_payload\":1}\r\nPONG\r\n").await.unwrap();
        let client = Client::new(io, &Login::default()).await.unwrap();
        let publish = Publish { subject: "a", ..Publish::default() };
        let asking = timeout(Duration::from_secs(1), client.request(publish, ""));
        let (given_up, waiting) = tokio::join!(asking, async {
            tokio::task::yield_now().await;
            client.0.shared.lock().requests.len()
        });
        assert!(given_up.is_err());
        assert_eq!((waiting, client.0.shared.lock().requests.len()), (1, 0));
    }
}
