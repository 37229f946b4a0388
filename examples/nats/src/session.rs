//! The mailboxes of a session: the clients open them and take the messages, and the owner of
//! the channel fills them.

use crate::error::{Error, Result};
use crate::protocol::{Limits, Message, refusal, split};
use asynchat::{Control, Handler, Pusher, Timeout};
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

/// The state that clients share. When it is dropped, the channel is closed.
pub(crate) struct Session {
    pub(crate) pusher: Pusher,
    pub(crate) runtime: Handle,
    pub(crate) limits: Limits,
    /// The beginning of the subjects of all answers, once they are subscribed.
    pub(crate) inbox: OnceCell<String>,
    pub(crate) next_number: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) mailboxes: BTreeMap<Source, Mailbox>,
    /// The number of pings that were sent.
    pub(crate) pings: u64,
    /// The text of the last `-ERR` of the server, until a flush reports it.
    pub(crate) refused: Option<String>,
    /// The reason of the end.
    ended: Option<Error>,
}

/// The messages that a mailbox is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The messages of the subscription of this number.
    Subscription(u64),
    /// The answer to the request of this number.
    Request(u64),
    /// The pong to the ping of this number. Its reply is the last refusal before it.
    Ping(u64),
}

#[derive(Default)]
pub(crate) struct Mailbox {
    messages: VecDeque<Message>,
    /// The memory of the messages.
    bytes: usize,
    /// The number of messages that there was no room for.
    pub(crate) dropped: u64,
    reader: Option<Waker>,
}

impl Session {
    pub(crate) fn new(pusher: Pusher, limits: Limits) -> Self {
        Session {
            pusher,
            limits,
            runtime: Handle::current(),
            inbox: OnceCell::new(),
            next_number: AtomicU64::new(INBOX + 1),
            state: Mutex::default(),
        }
    }

    /// Nothing of a caller is called or dropped under this lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next message, or the reason why there will be none.
    pub(crate) fn poll_next(&self, from: Source, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        let mut reader = Some(cx.waker().clone());
        let State { mailboxes, ended, .. } = &mut *self.lock();
        let mailbox = mailboxes.entry(from).or_default();
        match (mailbox.messages.pop_front(), ended) {
            (Some(message), _) => {
                mailbox.bytes -= message.cost();
                Poll::Ready(Ok(message))
            }
            (None, Some(reason)) => Poll::Ready(Err(reason.clone())),
            (None, None) => {
                mailbox.messages.shrink_to(KEPT);
                // `put` and `end` wake it.
                mem::swap(&mut mailbox.reader, &mut reader);
                Poll::Pending
            }
        }
    }

    /// Puts a message into its mailbox, if it is still open and has room.
    fn put(&self, to: Source, mut message: Message) {
        let mut state = self.lock();
        let State { mailboxes, refused, .. } = &mut *state;
        let Some(mailbox) = mailboxes.get_mut(&to) else { return };
        if let Source::Ping(_) = to {
            message.reply = refused.take();
        }
        // A caller takes one answer.
        let limit = if let Source::Subscription(_) = to { MAX_WAITING } else { 0 };
        if !mailbox.messages.is_empty() && mailbox.bytes + message.cost() > limit {
            mailbox.dropped += 1;
            return;
        }
        mailbox.bytes += message.cost();
        mailbox.messages.push_back(message);
        let reader = mailbox.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pusher.close_when_done();
    }
}

/// The callbacks of the channel. It does not keep the session open.
pub(crate) struct Owner {
    pub(crate) session: Weak<Session>,
    pub(crate) pongs: u64,
    /// `true` if nothing has come since the owner has sent a ping.
    pub(crate) is_pinged: bool,
}

impl Owner {
    /// Tells those who wait, and those to come, why the session has ended.
    pub(crate) fn end(&self, error: Error) {
        let Some(session) = self.session.upgrade() else { return };
        let mut state = session.lock();
        let is_end = match &error {
            Error::Channel(error) => matches!(**error, asynchat::Error::Io(_)),
            error => matches!(error, Error::Closed),
        };
        // A server that ends the session has said why.
        let reason = state.refused.take().filter(|_| is_end).map_or(error, Error::Server);
        state.ended.get_or_insert(reason);
        let wakers: Vec<_> = state.mailboxes.values_mut().filter_map(|m| m.reader.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Owner {
    /// With the runtime, before the session has ended.
    fn drop(&mut self) {
        self.end(Error::Closed);
    }
}

impl Handler for Owner {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result {
        self.is_pinged = false;
        let Some(session) = self.session.upgrade() else { return Ok(()) };
        let (line, content) = data.split_at(control.head_len());
        match split(line).0 {
            "MSG" | "HMSG" => {
                let message = Message::parse(line, content);
                let (number, message) = message.ok_or(Error::Protocol("invalid message"))?;
                let request = || message.subject.rsplit('.').next()?.parse().ok();
                let source = match number {
                    // There is no request 0.
                    INBOX => Source::Request(request().unwrap_or(0)),
                    _ => Source::Subscription(number),
                };
                session.put(source, message);
            }
            "PING" => control.push("PONG\r\n"),
            "PONG" if self.pongs < session.lock().pings => {
                self.pongs += 1;
                session.put(Source::Ping(self.pongs), Message::default());
            }
            // A server may refuse the login, and leave the connection open.
            "-ERR" if self.pongs == 0 => return Err(Error::Server(refusal(line))),
            "-ERR" => session.lock().refused = Some(refusal(line)),
            _ => {}
        }
        Ok(())
    }

    fn timed_out(&mut self, _: &mut Control<'_>, timeout: Timeout) -> Result {
        let session = self.session.upgrade().filter(|_| !self.is_pinged);
        let (Some(session), Timeout::Idle(_)) = (session, timeout) else {
            return Err(asynchat::Error::Timeout(timeout).into());
        };
        // Pushed like those of the clients, to be counted in their order. Without capacity the
        // server has enough to read, and is asked another time.
        let mut state = session.lock();
        self.is_pinged = session.pusher.try_push("PING\r\n").is_ok();
        state.pings += u64::from(self.is_pinged);
        Ok(())
    }
}

/// The number of the subscription to all answers.
pub(crate) const INBOX: u64 = 1;

/// The number of messages that an empty mailbox keeps room for.
const KEPT: usize = 64;

/// In bytes; a message counts its memory too.
pub const MAX_WAITING: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn mailbox_that_was_emptied_keeps_little_memory() {
        let mut channel = asynchat::Channel::new(tokio::io::empty(), "\n");
        let session = Session::new(channel.pusher(), (0, false));
        let from = Source::Subscription(2);
        session.lock().mailboxes.insert(from, Mailbox::default());
        (0..100_000).for_each(|_| session.put(from, Message::default()));
        let mut cx = Context::from_waker(Waker::noop());
        while session.poll_next(from, &mut cx).is_ready() {}
        assert!(session.lock().mailboxes[&from].messages.capacity() < 1000);
    }
}
