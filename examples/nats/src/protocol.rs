//! The bytes of the protocol: operations of a server, and messages to publish.

use asynchat::{Body, BoxError, Terminator, message};
use bytes::{Buf, Bytes};
use std::borrow::Cow;
use std::str;
use std::sync::LazyLock;

/// Ends an operation of a server. The last word of a message's line is the length of its
/// content.
pub(crate) static OPERATIONS: LazyLock<Terminator> =
    LazyLock::new(|| Terminator::message("\r\n", body));

fn body(head: &[u8]) -> Result<Body, BoxError> {
    let name = words(head).next().unwrap_or_default();
    let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
    if [&b"MSG"[..], b"HMSG"].iter().any(is) {
        let size = words(head).last().unwrap_or_default();
        return Ok(Body::Bytes(message::decimal(size)?.saturating_add(CRLF.len() as u64)));
    }
    match [&b"PING"[..], b"PONG", b"+OK", b"-ERR", b"INFO"].iter().any(is) {
        true => Ok(Body::Bytes(0)),
        false => Err("unknown operation".into()),
    }
}

/// Splits a line where a server does: other blanks can be part of a subject.
fn words(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = head.trim_ascii().split(|byte| matches!(byte, b' ' | b'\t'));
    words.filter(|word| !word.is_empty())
}

/// An operation of a server.
pub(crate) enum Operation<'a> {
    /// To a subscription.
    Message(u64, Message),
    /// A message to a subscription, of which a subject is not UTF-8.
    Unreadable(u64),
    Ping,
    Pong,
    /// An operation that needs no answer.
    Other,
    Error(Cow<'a, str>),
}

impl<'a> Operation<'a> {
    /// Reads a complete operation.
    pub(crate) fn parse(data: &'a [u8], head_len: usize) -> Result<Self, &'static str> {
        let (head, body) = data.split_at(head_len);
        let (mut line, mut count) = ([&b""[..]; 7], 0);
        for (word, found) in line.iter_mut().zip(words(head)) {
            *word = found;
            count += 1;
        }
        let is = |word: &[u8], name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let (sid, headers, has_reply) = match line[..count] {
            [name, _, sid, _] if is(name, "MSG") => (sid, &b"0"[..], false),
            [name, _, sid, _, _] if is(name, "MSG") => (sid, &b"0"[..], true),
            [name, _, sid, headers, _] if is(name, "HMSG") => (sid, headers, false),
            [name, _, sid, _, headers, _] if is(name, "HMSG") => (sid, headers, true),
            [name, ..] if is(name, "MSG") || is(name, "HMSG") => {
                return Err("wrong number of words");
            }
            [name] if is(name, "PING") => return Ok(Operation::Ping),
            [name] if is(name, "PONG") => return Ok(Operation::Pong),
            [name, ..] if is(name, "-ERR") => {
                let text = head.trim_ascii()[name.len()..].trim_ascii();
                let text = text.strip_prefix(b"'").unwrap_or(text);
                let text = text.strip_suffix(b"'").unwrap_or(text);
                return Ok(Operation::Error(String::from_utf8_lossy(text)));
            }
            _ => return Ok(Operation::Other),
        };
        let (Ok(sid), Ok(headers)) = (message::decimal(sid), message::decimal(headers)) else {
            return Err("invalid number");
        };
        let Some(content) = body.strip_suffix(CRLF) else { return Err("no CR LF after a payload") };
        let headers_len = usize::try_from(headers).unwrap_or(usize::MAX);
        if headers_len > content.len() {
            return Err("headers longer than their message");
        }
        // The bytes are of any publisher, and the session is not its to end.
        if str::from_utf8(head).is_err() {
            return Ok(Operation::Unreadable(sid));
        }
        let bytes = Bytes::copy_from_slice(&data[..head_len + content.len()]);
        Ok(Operation::Message(sid, Message { bytes, head_len, headers_len, has_reply }))
    }
}

/// A message that was received, in memory of its own.
#[derive(Clone)]
pub struct Message {
    bytes: Bytes,
    head_len: usize,
    headers_len: usize,
    has_reply: bool,
}

impl Message {
    #[must_use]
    pub fn subject(&self) -> &str {
        self.word(1).unwrap_or_default()
    }

    /// Returns the subject that an answer goes to, if one is wanted.
    #[must_use]
    pub fn reply(&self) -> Option<&str> {
        self.word(3).filter(|_| self.has_reply)
    }

    fn word(&self, n: usize) -> Option<&str> {
        str::from_utf8(words(&self.bytes[..self.head_len]).nth(n)?).ok()
    }

    /// Returns the names and values of the headers, in their order. Without UTF-8 there are none.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.header_lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim()))
    }

    /// Returns the status that a server sends in place of an answer.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.header_lines().next()?.split_ascii_whitespace().nth(1)
    }

    fn header_lines(&self) -> impl Iterator<Item = &str> {
        let headers = &self.bytes[self.head_len..][..self.headers_len];
        str::from_utf8(headers).unwrap_or_default().split("\r\n")
    }

    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.head_len + self.headers_len..]
    }

    #[must_use]
    pub fn into_payload(mut self) -> Bytes {
        self.bytes.advance(self.head_len + self.headers_len);
        self.bytes
    }

    /// Returns the memory that it needs, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }
}

/// A message to be published.
#[derive(Clone, Copy, Default)]
pub struct Publish<'a> {
    pub subject: &'a str,
    /// The subject that answers go to.
    pub reply: Option<&'a str>,
    pub headers: &'a [(&'a str, &'a str)],
}

/// The bytes of one push.
pub(crate) enum Output {
    Chunk(Bytes),
    Parts([Bytes; 3]),
}

impl<B: Into<Bytes>> From<B> for Output {
    fn from(bytes: B) -> Self {
        Output::Chunk(bytes.into())
    }
}

impl Publish<'_> {
    /// Encodes it. A payload that is not small is not copied.
    pub(crate) fn encode(self, payload: Bytes, max: usize) -> Result<Output, &'static str> {
        let subjects = [self.subject, self.reply.unwrap_or("-")];
        if !subjects.iter().all(|subject| is_subject(subject, false)) {
            return Err("subject");
        }
        let mut headers = Vec::new();
        for (name, value) in self.headers {
            let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
            if name.is_empty() || !name.bytes().all(is_name) || value.contains(['\r', '\n']) {
                return Err("header");
            }
            let start = if headers.is_empty() { VERSION } else { "" };
            [start, name, ": ", value, "\r\n"].iter().for_each(|part| headers.extend(part.bytes()));
        }
        if !headers.is_empty() {
            headers.extend(CRLF);
        }
        let size = headers.len() + payload.len();
        if size > max {
            return Err("longer than the server accepts");
        }
        let is_small = payload.len() < INLINE;
        let inline = if is_small { payload.len() + CRLF.len() } else { 0 };
        let line = self.subject.len() + self.reply.map_or(0, str::len) + MAX_NUMBERS;
        let mut out = Vec::with_capacity(line + headers.len() + inline);
        let mut put = |part: &[u8]| out.extend_from_slice(part);
        put(if headers.is_empty() { b"PUB " } else { b"HPUB " });
        put(self.subject.as_bytes());
        if let Some(reply) = self.reply {
            put(b" ");
            put(reply.as_bytes());
        }
        put(b" ");
        let mut number = itoa::Buffer::new();
        if !headers.is_empty() {
            put(number.format(headers.len()).as_bytes());
            put(b" ");
        }
        put(number.format(size).as_bytes());
        put(CRLF);
        put(&headers);
        if is_small {
            put(&payload);
            put(CRLF);
            return Ok(out.into());
        }
        Ok(Output::Parts([out.into(), payload, Bytes::from_static(CRLF)]))
    }
}

/// Returns whether a server takes it for one subject: no blank or line end, no empty token,
/// and wildcards only where they are allowed.
pub(crate) fn is_subject(subject: &str, wildcards: bool) -> bool {
    let (mut before, mut is_good, mut has_wildcard) = (b'.', subject.len() <= MAX_SUBJECT, false);
    for byte in subject.bytes() {
        is_good &= byte > b' ' && byte != 0x7f && (byte != b'.' || before != b'.');
        has_wildcard |= matches!(byte, b'*' | b'>');
        before = byte;
    }
    let mut tokens = subject.split('.').rev().enumerate().filter(|_| has_wildcard);
    is_good
        && before != b'.'
        && tokens.all(|(i, token)| match token {
            "*" => wildcards,
            ">" => wildcards && i == 0,
            _ => true,
        })
}

pub(crate) const CRLF: &[u8] = b"\r\n";

/// From this length a payload is not copied, in bytes.
const INLINE: usize = 4096;

const VERSION: &str = "NATS/1.0\r\n";

/// The bytes of a line besides its subjects, at most.
const MAX_NUMBERS: usize = 50;

/// Two of them fit into the 4096 bytes of a line that a server takes.
const MAX_SUBJECT: usize = 1024;
