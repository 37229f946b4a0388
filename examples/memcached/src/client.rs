//! The text protocol of memcached: lines, some of which announce data by count.

use asynchat::{Channel, IntoTerminator, Terminator};
use bytes::Bytes;
use std::fmt;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a memcached.
///
/// An answer belongs to a call only by its place in the stream. A call that does not read its
/// answer to the end leaves the connection unusable, and later calls return [`Error::Broken`].
/// That happens if the call fails halfway, gets an unexpected answer, or is dropped. Set time
/// limits with `tokio::time::timeout`, and connect again after one.
pub struct Client<T> {
    channel: Channel<T>,
    max_value: usize,
    /// `true` if an answer, or the rest of one, is still to come.
    is_owed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub key: String,
    pub flags: u32,
    /// The number for `cas`; only `gets` requests it.
    pub cas: Option<u64>,
    pub data: Bytes,
}

/// The answer to a command that stores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Stored,
    /// `add` of an existing key; `replace` or `append` of a missing one.
    NotStored,
    /// `cas`: the value has changed.
    Exists,
    /// `cas`: the key is missing.
    NotFound,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Creates a client. Values of more than `max_value` bytes are neither sent nor accepted.
    pub fn new(io: T, max_value: usize) -> Self {
        // memcached takes a bare LF for the end of a line too. A key that had
        // one would be a second command: `push_frame` refuses both line ends.
        let channel = Channel::builder().encode_terminator(Terminator::line()).build(io);
        Client { channel, max_value: max_value.min(MAX_ITEM), is_owed: false }
    }

    /// Returns the values that exist. If one of them is [`Error::TooLong`], the others are lost, and
    /// the connection stays usable.
    pub async fn get(&mut self, keys: &[&str]) -> Result<Vec<Value>, Error> {
        self.retrieve("get", keys).await
    }

    /// Returns the same, each with its number for `cas`.
    pub async fn gets(&mut self, keys: &[&str]) -> Result<Vec<Value>, Error> {
        self.retrieve("gets", keys).await
    }

    /// Stores a value. `verb` is one of `set`, `add`, `replace`, `append` and
    /// `prepend`; `exptime` is in seconds, and 0 is no limit.
    pub async fn store(
        &mut self,
        verb: &str,
        key: &str,
        flags: u32,
        exptime: u32,
        data: impl Into<Bytes>,
    ) -> Result<Outcome, Error> {
        let data = data.into();
        let command = format!("{verb} {key} {flags} {exptime} {}", data.len());
        self.send_value(key, command, data).await
    }

    /// Stores a value unless it has changed since `gets` returned its number.
    pub async fn cas(
        &mut self,
        key: &str,
        flags: u32,
        exptime: u32,
        data: impl Into<Bytes>,
        cas: u64,
    ) -> Result<Outcome, Error> {
        let data = data.into();
        let command = format!("cas {key} {flags} {exptime} {} {cas}", data.len());
        self.send_value(key, command, data).await
    }

    /// Deletes a key. Returns `true` if it existed.
    pub async fn delete(&mut self, key: &str) -> Result<bool, Error> {
        check(key)?;
        match self.ask(format!("delete {key}"), None).await?.as_str() {
            "DELETED" => self.answered(true),
            "NOT_FOUND" => self.answered(false),
            other => Err(unexpected(other)),
        }
    }

    /// Adds to a number, and returns the sum if the number exists.
    pub async fn incr(&mut self, key: &str, by: u64) -> Result<Option<u64>, Error> {
        self.count("incr", key, by).await
    }

    /// Subtracts from a number, not below 0.
    pub async fn decr(&mut self, key: &str, by: u64) -> Result<Option<u64>, Error> {
        self.count("decr", key, by).await
    }

    /// Returns names and values, as the server writes them.
    pub async fn stats(&mut self) -> Result<Vec<(String, String)>, Error> {
        let mut stats = Vec::new();
        let mut line = self.ask("stats".into(), None).await?;
        while line != "END" {
            let stat = line.strip_prefix("STAT ").filter(|_| stats.len() < MAX_STATS);
            let (name, value) =
                stat.and_then(|stat| stat.split_once(' ')).ok_or_else(|| unexpected(&line))?;
            stats.push((name.to_owned(), value.to_owned()));
            line = self.line().await?;
        }
        self.answered(stats)
    }

    pub async fn version(&mut self) -> Result<String, Error> {
        let line = self.ask("version".into(), None).await?;
        let version = line.strip_prefix("VERSION ").ok_or_else(|| unexpected(&line))?;
        self.answered(version.to_owned())
    }

    async fn retrieve(&mut self, verb: &str, keys: &[&str]) -> Result<Vec<Value>, Error> {
        keys.iter().try_for_each(|key| check(key))?;
        let mut asked = keys.to_vec();
        let mut values = Vec::new();
        let mut too_long = None;
        let numbered = verb == "gets";
        let mut line = self.ask(format!("{verb} {}", keys.join(" ")), None).await?;
        while line != "END" {
            let parsed = value_line(&line).filter(|(value, _)| value.cas.is_some() == numbered);
            let (mut value, length) = parsed.ok_or_else(|| unexpected(&line))?;
            let place = asked.iter().position(|key| *key == value.key);
            asked.swap_remove(place.ok_or_else(|| unexpected(&line))?);
            match self.receive(length, self.max_value).await {
                Ok(data) => value.data = data,
                // It is skipped; what comes behind it is in order.
                Err(Error::Channel(asynchat::Error::FrameTooLong { limit, .. })) => {
                    too_long = Some(Error::TooLong { key: value.key.clone(), limit });
                }
                Err(e) => return Err(e),
            }
            values.push(value);
            if self.receive(2, 2).await? != "\r\n" {
                return Err(unexpected("data longer than announced"));
            }
            line = self.line().await?;
        }
        self.answered(())?;
        too_long.map_or(Ok(values), Err)
    }

    async fn send_value(&mut self, key: &str, line: String, data: Bytes) -> Result<Outcome, Error> {
        check(key)?;
        if data.len() > self.max_value {
            return Err(Error::TooLong { key: key.to_owned(), limit: self.max_value });
        }
        let answer = self.ask(line, Some(data)).await.inspect_err(|e| {
            // A server that did not understand the line may not know that data
            // follows, and run that as commands: keep away.
            self.is_owed |= matches!(e, Error::Command | Error::Client(_));
        });
        match answer?.as_str() {
            "STORED" => self.answered(Outcome::Stored),
            "NOT_STORED" => self.answered(Outcome::NotStored),
            "EXISTS" => self.answered(Outcome::Exists),
            "NOT_FOUND" => self.answered(Outcome::NotFound),
            other => Err(unexpected(other)),
        }
    }

    async fn count(&mut self, verb: &str, key: &str, by: u64) -> Result<Option<u64>, Error> {
        check(key)?;
        match self.ask(format!("{verb} {key} {by}"), None).await?.as_str() {
            "NOT_FOUND" => self.answered(None),
            other => {
                let value = number(other).ok_or_else(|| unexpected(other))?;
                self.answered(Some(value))
            }
        }
    }

    /// Sends a command and returns the first line of the answer.
    async fn ask(&mut self, command: String, data: Option<Bytes>) -> Result<String, Error> {
        if std::mem::replace(&mut self.is_owed, true) {
            return Err(Error::Broken);
        }
        if !self.channel.unread().is_empty() {
            return Err(unexpected("an unexpected answer"));
        }
        self.channel.push_frame(command)?;
        if let Some(data) = data {
            // Not as a frame: there may be anything in it.
            self.channel.push(data);
            self.channel.push("\r\n");
        }
        self.line().await
    }

    async fn line(&mut self) -> Result<String, Error> {
        let line = self.receive(Terminator::crlf(), MAX_LINE).await?;
        let line = std::str::from_utf8(&line).map_err(|_| unexpected("not text"))?;
        let error = match line.split_once(' ').unwrap_or((line, "")) {
            ("ERROR", "") => Error::Command,
            // `ERROR Too many open connections` comes unasked, and is the last.
            ("ERROR" | "CLIENT_ERROR", why) => Error::Client(why.to_owned()),
            ("SERVER_ERROR", why) => Error::Server(why.to_owned()),
            _ => return Ok(line.to_owned()),
        };
        // Such a line is the last of any answer.
        self.is_owed = false;
        Err(error)
    }

    async fn receive(
        &mut self,
        end: impl IntoTerminator,
        max_length: usize,
    ) -> Result<Bytes, Error> {
        Ok(self.channel.receive_within(max_length, end).await?)
    }

    /// The whole answer is read.
    fn answered<R>(&mut self, answer: R) -> Result<R, Error> {
        self.is_owed = false;
        Ok(answer)
    }
}

/// Returns `true` if memcached accepts the key and cannot read it as anything else.
fn check(key: &str) -> Result<(), Error> {
    let is_plain = !key.bytes().any(|byte| byte <= b' ' || byte == 0x7F);
    if is_plain && (1..=MAX_KEY).contains(&key.len()) { Ok(()) } else { Err(Error::Key) }
}

/// `VALUE key flags length [cas]`
fn value_line(line: &str) -> Option<(Value, u64)> {
    let mut words = line.strip_prefix("VALUE ")?.split(' ');
    let key = words.next()?.to_owned();
    let flags = number(words.next()?)?.try_into().ok()?;
    let length = number(words.next()?).filter(|length| *length <= MAX_ITEM as u64)?;
    let cas = match words.next() {
        Some(cas) => Some(number(cas)?),
        None => None,
    };
    let value = Value { key, flags, cas, data: Bytes::new() };
    words.next().is_none().then_some((value, length))
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn unexpected(answer: &str) -> Error {
    Error::Unexpected(answer.to_owned())
}

#[derive(Debug)]
pub enum Error {
    /// Nothing was sent: a key is 1 to 250 bytes without blanks and control
    /// characters.
    Key,
    /// The value of this key is longer than this client accepts.
    TooLong {
        key: String,
        limit: usize,
    },
    /// `ERROR`: the server does not know the command.
    Command,
    /// `CLIENT_ERROR`, or `ERROR` with a reason: the server refuses.
    Client(String),
    /// `SERVER_ERROR`: the server has failed.
    Server(String),
    /// The server sent something that is no answer to the command.
    Unexpected(String),
    /// An earlier call did not read its answer to the end.
    Broken,
    Channel(asynchat::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Key => f.write_str("not a key"),
            Error::TooLong { key, limit } => write!(f, "{key}: longer than {limit} bytes"),
            Error::Command => f.write_str("the server does not know this command"),
            Error::Client(why) => write!(f, "the server refuses: {why:?}"),
            Error::Server(why) => write!(f, "the server fails: {why:?}"),
            // Debug: it may be meant for the terminal it is shown on.
            Error::Unexpected(what) => write!(f, "unexpected answer: {what:?}"),
            Error::Broken => f.write_str("the connection broke in an earlier call"),
            Error::Channel(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Channel(e) => e.source(),
            _ => None,
        }
    }
}

impl From<asynchat::Error> for Error {
    fn from(e: asynchat::Error) -> Self {
        Error::Channel(e)
    }
}

/// Bytes of a key.
const MAX_KEY: usize = 250;

/// Bytes of a line of an answer.
const MAX_LINE: usize = 2048;

/// Lines of the answer to `stats`.
const MAX_STATS: usize = 1024;

/// The largest item that a memcached can be configured to store. It refuses 2 GiB, and then
/// runs them as commands.
const MAX_ITEM: usize = 1 << 30;
