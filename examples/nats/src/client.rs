//! The client and its subscriptions.

use crate::error::{Error, Result};
use crate::protocol::{CRLF, Headers, Message, body, connect, encode, is_subject};
use crate::session::{INBOX, Mailbox, Owner, Session, Source, State};
use asynchat::{Channel, Terminator, Timeouts, TryPushError};
use bytes::Bytes;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::cooperative;
use tokio::time::timeout;
use url::Url;

/// A connection to a server, shared by all clones and their subscriptions. It is closed, after
/// all that was sent, when the last of them is dropped.
///
/// A task of its own owns the channel. Above the channel's high-water mark its callers wait.
/// All methods are cancel safe. A message is sent whole, or not at all.
#[derive(Clone)]
pub struct Client(Arc<Session>);

/// The messages of one subject. It is unsubscribed when it is dropped.
///
/// The client itself has one for each request and ping, until the answer has come.
pub struct Subscription {
    client: Client,
    source: Source,
}

impl Client {
    /// Logs in with the user and password of a URL, or with a token in place of the user.
    pub async fn new<T>(io: T, login: &Url) -> Result<Self>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut channel = Channel::builder().max_head(MAX_LINE).timeouts(TIMEOUTS).build(io);
        let login = async {
            let line = channel.receive_within(MAX_LINE, Terminator::crlf()).await?;
            let (connect, limits) = connect(&line, login)?;
            channel.push(connect);
            channel.codec_mut().set_max_length(MAX_LINE + limits.0 + CRLF.len());
            channel.set_terminator(Terminator::message("\r\n", body));
            let session = Arc::new(Session::new(channel.pusher(), limits));
            let mut owner = Owner { session: Arc::downgrade(&session), pongs: 0, is_pinged: false };
            tokio::spawn(async move {
                let ended = channel.run(&mut owner).await;
                owner.end(ended.err().unwrap_or(Error::Closed));
            });
            let client = Client(session);
            client.flush().await.map(|()| client)
        };
        timeout(ANSWER, login).await.unwrap_or(Err(Error::Timeout))
    }

    /// Publishes to a subject, with the names and values of headers.
    pub async fn publish(&self, to: &str, headers: Headers<'_>, payload: &[u8]) -> Result {
        let message = encode((to, None), headers, payload, self.0.limits)?;
        let is_sent = self.0.pusher.push(message).await.is_ok();
        // A flush then returns the reason of the end.
        if is_sent { Ok(()) } else { self.flush().await }
    }

    /// Publishes a request, and waits for its first answer.
    pub async fn request(&self, to: &str, headers: Headers<'_>, payload: &[u8]) -> Result<Message> {
        let answer = timeout(ANSWER, async {
            let inbox = self.0.inbox.get_or_init(|| async {
                let inbox = format!("_INBOX.{}.", example_common::random());
                self.call(format!("SUB {inbox}* {INBOX}\r\n"), |_| Source::Request(INBOX)).await;
                inbox
            });
            let (inbox, number) = (inbox.await, self.0.next_number.fetch_add(1, Relaxed));
            let reply = [inbox, itoa::Buffer::new().format(number)].concat();
            let request = encode((to, Some(&reply)), headers, payload, self.0.limits)?;
            self.call(request, |_| Source::Request(number)).await.next().await
        });
        let answer = answer.await.unwrap_or(Err(Error::Timeout))?;
        let is_refused = answer.headers.starts_with("NATS/1.0 503");
        if is_refused { Err(Error::NoResponders) } else { Ok(answer) }
    }

    /// Subscribes. `*` stands for one token of a subject, and `>` for all that follow.
    ///
    /// A slow subscriber delays nobody. While [`MAX_WAITING`](crate::MAX_WAITING) bytes wait for it, further
    /// messages are dropped and [counted](Subscription::dropped). If the session has ended, the
    /// subscription says why.
    pub async fn subscribe(&self, subject: &str) -> Result<Subscription> {
        if !is_subject(subject, true) {
            return Err(Error::Invalid("subject"));
        }
        let number = self.0.next_number.fetch_add(1, Relaxed);
        let sub = format!("SUB {subject} {number}\r\n");
        Ok(self.call(sub, |_| Source::Subscription(number)).await)
    }

    /// Waits until the server has handled everything sent before, and its messages of that
    /// time are here.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if the server has refused something since the last flush, such as a
    /// subject that the user may not publish to. The session goes on if the server lets it.
    pub async fn flush(&self) -> Result {
        let ping = |state: &mut State| {
            state.pings += 1;
            Source::Ping(state.pings)
        };
        let pong = self.call("PING\r\n", ping).await.next().await?;
        pong.reply.map_or(Ok(()), |refused| Err(Error::Server(refused)))
    }

    /// Sends, and opens a mailbox in the same step: the mailboxes have the order of the pings,
    /// and there is none of a caller that has given up. After the end the mailbox says why.
    async fn call(
        &self,
        data: impl Into<Bytes>,
        source: impl FnOnce(&mut State) -> Source,
    ) -> Subscription {
        let permit = self.0.pusher.reserve().await;
        let mut state = self.0.lock();
        // Wakes the owner's task alone.
        let _ = permit.map(|permit| permit.push(data));
        let source = source(&mut state);
        state.mailboxes.insert(source, Mailbox::default());
        Subscription { client: self.clone(), source }
    }
}

impl Subscription {
    /// Returns the next message, or the reason why there will be none.
    pub async fn next(&mut self) -> Result<Message> {
        cooperative(poll_fn(|cx| self.client.0.poll_next(self.source, cx))).await
    }

    /// Returns how many messages there was no room for.
    pub fn dropped(&self) -> u64 {
        self.client.0.lock().mailboxes.get(&self.source).map_or(0, |mailbox| mailbox.dropped)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let _mailbox = self.client.0.lock().mailboxes.remove(&self.source);
        let Source::Subscription(number) = self.source else { return };
        let pusher = self.client.0.pusher.clone();
        if let Err(TryPushError::Full(unsub)) = pusher.try_push(format!("UNSUB {number}\r\n")) {
            self.client.0.runtime.spawn(async move { pusher.push(unsub).await });
        }
    }
}

/// `INFO` can name many servers.
const MAX_LINE: usize = 64 * 1024;

/// The time that an answer may take.
pub const ANSWER: Duration = Duration::from_secs(10);

/// A server that says nothing is sent a ping, and then has the same time again.
pub const TIMEOUTS: Timeouts =
    Timeouts { min_rate: NonZeroU32::new(16 * 1024), ..Timeouts::all(Duration::from_secs(30)) };

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;

    async fn connect() -> (Client, DuplexStream) {
        let (io, mut server) = duplex(4096);
        server.write_all(b"INFO {\"max_payload\":1}\r\nPONG\r\n").await.unwrap();
        let login = Url::parse("nats://localhost").unwrap();
        (Client::new(io, &login).await.unwrap(), server)
    }

    #[test]
    fn callers_learn_the_end_when_the_runtime_is_dropped() {
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let (client, _server) = first.block_on(connect());
        let mut messages = first.block_on(client.subscribe("a")).unwrap();
        drop(first);
        runtime().block_on(async {
            assert!(matches!(messages.next().await, Err(Error::Closed)));
            assert!(matches!(client.flush().await, Err(Error::Closed)));
            assert!(matches!(client.publish("a", &[], b"").await, Err(Error::Closed)));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_request_is_forgotten() {
        let (client, _server) = connect().await;
        let asking = timeout(Duration::from_secs(1), client.request("a", &[], b""));
        let (given_up, waiting) = tokio::join!(asking, async {
            tokio::task::yield_now().await;
            client.0.lock().mailboxes.len()
        });
        assert!(given_up.is_err());
        assert_eq!((waiting, client.0.lock().mailboxes.len()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn mailbox_of_a_request_keeps_one_answer() {
        let (client, mut server) = connect().await;
        let mut answers = client.call("", |_| Source::Request(7)).await;
        server.write_all("MSG _INBOX.a.7 1 1\r\nx\r\n".repeat(100).as_bytes()).await.unwrap();
        while answers.dropped() < 99 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(answers.next().await.unwrap().payload, b"x");
        assert!(timeout(Duration::from_secs(1), answers.next()).await.is_err());
    }
}
