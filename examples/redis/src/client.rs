//! A client: sends commands as they are queued, and returns replies in order.

use super::value::{BulkKind, Invalid, Next, Parsed, Parser, Text, Value};
use asynchat::{Channel, Terminator};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::mem::take;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};

/// A connection to a server, in RESP2, or in RESP3 after `HELLO 3`.
///
/// [`send`](Self::send) as many commands as you like, then
/// [`receive`](Self::receive) as many replies; or [`call`](Self::call).
pub struct Client<T> {
    channel: Channel<T>,
    parser: Parser,
    next: Next,
    /// The number of commands that were sent, and of those that were answered.
    sent: u64,
    answered: u64,
    /// Unanswered commands that messages answer: their numbers, and the number of messages to
    /// come.
    subscribing: VecDeque<(u64, usize)>,
    /// Messages that arrived while `call` waited for its reply.
    messages: VecDeque<Value>,
    is_resp3: bool,
    /// `true` if there are subscriptions, as the server reported last. (It counts those to shard
    /// channels separately.)
    is_subscribed: bool,
    /// `true` if the connection is in the middle of something that was dropped.
    is_broken: bool,
}

/// The result of [`Client::receive_streamed`].
pub enum Streamed<'c, T> {
    Bulk(Bulk<'c, T>),
    /// Anything else, whole.
    Value(Value),
}

/// A bulk string that is still arriving.
pub struct Bulk<'c, T> {
    client: &'c mut Client<T>,
    len: u64,
    rest: Rest,
}

/// The rest of a bulk string.
enum Rest {
    Data,
    LineEnd,
    Nothing,
}

#[derive(Debug)]
pub enum Error {
    /// The connection failed, or ended.
    Channel(asynchat::Error),
    /// The reply is not RESP, or is too large.
    Invalid(Invalid),
    /// The server refused the command.
    Server(String),
    /// More than [`MAX_MESSAGES`] arrived while a reply was awaited.
    TooManyMessages,
    /// The connection has failed before, or a `Bulk` was dropped.
    Broken,
}

impl Client<TcpStream> {
    pub async fn connect(address: impl ToSocketAddrs) -> Result<Self, Error> {
        let socket = TcpStream::connect(address).await.map_err(asynchat::Error::Io)?;
        // Commands are gathered by the channel.
        let _ = socket.set_nodelay(true);
        Ok(Client::new(socket))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub fn new(io: T) -> Self {
        Client {
            channel: Channel::new(io, Terminator::crlf()),
            parser: Parser::new(MAX_REPLY),
            next: Next::Line,
            sent: 0,
            answered: 0,
            subscribing: VecDeque::new(),
            messages: VecDeque::new(),
            is_resp3: false,
            is_subscribed: false,
            is_broken: false,
        }
    }

    /// Queues a command. It is sent while a reply is awaited. `HELLO 3` must not
    /// be refused: in RESP2 messages look like replies.
    pub fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) {
        self.channel.push(encode(command));
        let word = |i: usize| command.get(i).map_or(&b""[..], AsRef::as_ref);
        self.is_resp3 |= word(0).eq_ignore_ascii_case(b"HELLO") && word(1) == b"3";
        if SUBSCRIBING.iter().any(|name| word(0).eq_ignore_ascii_case(name)) {
            // One for each name; for no name, at least one.
            self.subscribing.push_back((self.sent, command.len().max(2) - 1));
        }
        self.sent += 1;
    }

    /// Returns the number of commands that have not been answered.
    pub fn unanswered(&self) -> u64 {
        self.sent - self.answered
    }

    /// Returns the next reply or message. Commands are sent meanwhile, so a pipeline may have any
    /// length.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the part of a reply that has arrived is kept.
    pub async fn receive(&mut self) -> Result<Value, Error> {
        match self.messages.pop_front() {
            Some(message) => Ok(message),
            None => self.receive_next().await,
        }
    }

    /// Sends a command and returns its reply, or the server's error. For a subscription, this is
    /// the confirmation of its last name. Replies to earlier commands that were not received are
    /// dropped. Messages are kept for [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// The command may have been sent. Its reply is dropped later.
    pub async fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Value, Error> {
        self.send(command);
        loop {
            match self.receive_next().await? {
                Value::Error(ref text) if self.unanswered() == 0 => {
                    return Err(Error::Server(String::from_utf8_lossy(text).into()));
                }
                reply if self.unanswered() == 0 => return Ok(reply),
                message @ Value::Push(_) if self.messages.len() < MAX_MESSAGES => {
                    self.messages.push_back(message);
                }
                Value::Push(_) => return self.fails(Error::TooManyMessages),
                _ => {}
            }
        }
    }

    async fn receive_next(&mut self) -> Result<Value, Error> {
        if self.is_broken {
            return Err(Error::Broken);
        }
        loop {
            match self.receive_part().await {
                Ok(Parsed::Incomplete(next)) => self.next = next,
                Ok(Parsed::Value(value)) => {
                    self.next = Next::Line;
                    return Ok(self.note(value));
                }
                Err(error) => return self.fails(error),
            }
        }
    }

    /// Reads a line or a bulk string. The parts parsed before are in `self`, so this is as cancel
    /// safe as the channel's `receive`.
    async fn receive_part(&mut self) -> Result<Parsed, Error> {
        match self.next {
            Next::Line => {
                let line = self.receive_line().await?;
                self.parser.line(&line).map_err(Error::Invalid)
            }
            Next::Bulk { len, kind } => {
                let len = len.saturating_add(CRLF);
                let data = self.channel.receive_within(MAX_REPLY as usize, len).await?;
                self.parser.bulk(kind, data).map_err(Error::Invalid)
            }
        }
    }

    async fn receive_line(&mut self) -> Result<Bytes, asynchat::Error> {
        self.channel.receive_within(MAX_REPLY as usize, Terminator::crlf()).await
    }

    /// Counts a reply, and distinguishes a message from one.
    fn note(&mut self, mut value: Value) -> Value {
        let awaited = self.subscribing.front_mut().filter(|(number, _)| *number == self.answered);
        let message = match &mut value {
            Value::Push(message) => take(message),
            // In RESP2 they are arrays, and a subscriber gets no other ones,
            // but for what answers PING.
            Value::Array(values)
                if !self.is_resp3
                    && (self.is_subscribed || awaited.is_some())
                    && values.first() != Some(&Value::Bulk(Bytes::from_static(b"pong"))) =>
            {
                take(values)
            }
            _ => {
                if awaited.is_some() {
                    // Refused.
                    self.subscribing.pop_front();
                }
                self.answered = self.sent.min(self.answered + 1);
                return value;
            }
        };
        // Only a confirmation ends in a number: of the subscriptions there are.
        if let [_, _, Value::Integer(count)] = message[..] {
            self.is_subscribed = count > 0;
            if let Some((_, left)) = awaited {
                *left -= 1;
                if *left == 0 {
                    self.subscribing.pop_front();
                    self.answered += 1;
                }
            }
        }
        Value::Push(message)
    }

    /// Returns the next reply. Only the beginning of a bulk string has arrived; take the rest from
    /// the `Bulk`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`receive`](Self::receive).
    pub async fn receive_streamed(&mut self) -> Result<Streamed<'_, T>, Error> {
        let is_begun = self.next != Next::Line || self.parser.has_begun();
        if is_begun || self.is_broken || !self.messages.is_empty() {
            return self.receive().await.map(Streamed::Value);
        }
        let line = match self.receive_line().await {
            Ok(line) => line,
            Err(error) => return self.fails(error.into()),
        };
        let parsed = match self.parser.line(&line) {
            Ok(parsed) => parsed,
            Err(invalid) => return self.fails(Error::Invalid(invalid)),
        };
        match parsed {
            Parsed::Value(value) => Ok(Streamed::Value(self.note(value))),
            Parsed::Incomplete(Next::Bulk { len, kind: BulkKind::String }) => {
                self.channel.set_terminator(len);
                self.is_broken = true;
                Ok(Streamed::Bulk(Bulk { client: self, len, rest: Rest::Data }))
            }
            Parsed::Incomplete(next) => {
                self.next = next;
                self.receive_next().await.map(Streamed::Value)
            }
        }
    }

    /// The connection cannot be used further: the place of the next reply is not known.
    fn fails<V>(&mut self, error: Error) -> Result<V, Error> {
        self.is_broken = true;
        Err(error)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Bulk<'_, T> {
    /// Returns the number of its bytes.
    #[allow(clippy::len_without_is_empty)] // It is no collection.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns some more of the bytes, or `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. The client is unusable if the `Bulk` is dropped before `None`.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let channel = &mut self.client.channel;
        while let Rest::Data = self.rest {
            let part = channel.receive_part().await?;
            if part.is_complete() {
                self.rest = Rest::LineEnd;
            }
            if !part.data().is_empty() {
                return Ok(Some(part.into_data()));
            }
        }
        if let Rest::LineEnd = self.rest {
            let end = channel.receive(CRLF).await?;
            self.client.parser.bulk(BulkKind::String, end).map_err(Error::Invalid)?;
            self.client.note(Value::Null);
            self.client.is_broken = false;
            self.rest = Rest::Nothing;
        }
        Ok(None)
    }
}

impl From<asynchat::Error> for Error {
    fn from(error: asynchat::Error) -> Self {
        Error::Channel(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Channel(error) => error.fmt(f),
            Error::Invalid(invalid) => invalid.fmt(f),
            Error::Server(text) => Text(text.as_bytes()).fmt(f),
            Error::TooManyMessages => write!(f, "more than {MAX_MESSAGES} messages in one call"),
            Error::Broken => f.write_str("the connection has failed before"),
        }
    }
}

impl std::error::Error for Error {}

/// A command is an array of bulk strings.
fn encode<A: AsRef<[u8]>>(command: &[A]) -> Vec<u8> {
    let len = |argument: &A| argument.as_ref().len() + 16;
    let mut encoded = Vec::with_capacity(16 + command.iter().map(len).sum::<usize>());
    encoded.push(b'*');
    put_number(&mut encoded, command.len());
    for argument in command.iter().map(AsRef::as_ref) {
        encoded.extend_from_slice(b"\r\n$");
        put_number(&mut encoded, argument.len());
        encoded.extend_from_slice(b"\r\n");
        encoded.extend_from_slice(argument);
    }
    encoded.extend_from_slice(b"\r\n");
    encoded
}

/// `write!` would take a quarter of the time of a small request.
fn put_number(encoded: &mut Vec<u8>, n: usize) {
    if n > 9 {
        put_number(encoded, n / 10);
    }
    encoded.push(b'0' + (n % 10) as u8);
}

/// Commands that messages answer.
const SUBSCRIBING: [&[u8]; 6] =
    [b"SUBSCRIBE", b"UNSUBSCRIBE", b"PSUBSCRIBE", b"PUNSUBSCRIBE", b"SSUBSCRIBE", b"SUNSUBSCRIBE"];

const CRLF: u64 = 2;

/// The maximum size of a line, and of a reply that is not streamed, in bytes: the default of a
/// server's `proto-max-bulk-len`.
const MAX_REPLY: u64 = 512 << 20;

const MAX_MESSAGES: usize = 10_000;
