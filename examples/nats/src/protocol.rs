//! The bytes of the protocol: operations of a server, and messages to be published.

use crate::error::{Error, Result};
use asynchat::{Body, BoxError, message::decimal};
use serde::Deserialize;
use serde_json::json;

/// The greeting of a server.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    headers: bool,
    /// The most bytes of headers and payload.
    max_payload: usize,
    tls_required: bool,
}

impl Info {
    /// Reads a greeting, and returns the answer to it, too.
    pub(crate) fn connect(line: &[u8], login: Option<(&str, &str)>) -> Result<(Self, String)> {
        let info = line.strip_prefix(b"INFO ").and_then(|info| serde_json::from_slice(info).ok());
        let info = info.filter(|info: &Info| !info.tls_required);
        let info = info.ok_or(Error::Protocol("no INFO, or TLS is required"))?;
        let (user, password) = login.unzip();
        let options = json!({
            "verbose": false, "pedantic": false, "user": user, "pass": password,
            "headers": info.headers, "no_responders": info.headers,
        });
        Ok((info, format!("CONNECT {options}\r\nPING\r\n")))
    }

    /// Encodes a message to be published to a subject, which a subject for answers may follow.
    pub(crate) fn encode(&self, to: &str, headers: Headers<'_>, payload: &[u8]) -> Result<Vec<u8>> {
        // The server drops others in silence, or is slow, if it is `pedantic`.
        check(!to.split(['.', ' ']).any(|token| matches!(token, "" | "*" | ">")), "subject")?;
        check(headers.is_empty() || self.headers, "headers, which the server does not know")?;
        let mut block = String::new();
        for (name, value) in headers {
            check(is_word(name) && !name.contains(':') && !value.contains(['\r', '\n']), "header")?;
            block += &format!("{name}: {value}\r\n");
        }
        let line = if headers.is_empty() {
            format!("PUB {to} {}\r\n", payload.len())
        } else {
            block = format!("NATS/1.0\r\n{block}\r\n");
            let size = block.len() + payload.len();
            format!("HPUB {to} {} {size}\r\n{block}", block.len())
        };
        check(block.len() + payload.len() <= self.max_payload, "longer than the server takes")?;
        Ok([line.as_bytes(), payload, b"\r\n"].concat())
    }
}

/// Returns how many bytes follow the line of an operation. The last word of a message's line is
/// the length of its content.
pub(crate) fn body(line: &[u8]) -> Result<Body, BoxError> {
    let mut words = words(line);
    match words.next().unwrap_or_default() {
        b"MSG" | b"HMSG" => {
            let size = decimal(words.last().unwrap_or_default())?;
            Ok(Body::Bytes(size.saturating_add("\r\n".len() as u64)))
        }
        b"PING" | b"PONG" | b"+OK" | b"-ERR" | b"INFO" => Ok(Body::Bytes(0)),
        _ => Err("unknown operation".into()),
    }
}

/// Splits a line where a server does: other blanks can be part of a subject.
pub(crate) fn words(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let words = line.trim_ascii().split(|byte| matches!(byte, b' ' | b'\t'));
    words.filter(|word| !word.is_empty())
}

/// A message that was received. Bytes of its texts that are not UTF-8 have become U+FFFD.
pub struct Message {
    pub subject: String,
    /// The subject that an answer goes to, if one is wanted.
    pub reply: Option<String>,
    pub payload: Vec<u8>,
    pub(crate) headers: String,
}

impl Message {
    /// Reads a message and the number of its subscription. `None` if it breaks the protocol.
    pub(crate) fn parse<'l>(line: &'l [u8], content: &[u8]) -> Option<(&'l str, Self)> {
        let mut words = words(line);
        let (name, subject) = (words.next()?, words.next()?);
        let (number, _size) = (str::from_utf8(words.next()?).ok()?, words.next_back()?);
        let headers = if name == b"HMSG" { decimal(words.next_back()?).ok()? } else { 0 };
        let reply = words.next();
        let content = content.strip_suffix(b"\r\n").filter(|_| words.next().is_none())?;
        let (headers, payload) = content.split_at_checked(headers.try_into().ok()?)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (subject, reply, headers) = (text(subject), reply.map(text), text(headers));
        Some((number, Message { subject, reply, payload: payload.into(), headers }))
    }

    /// Returns the names and values of the headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.headers.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim()))
    }
}

/// Names and values.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) fn check(is_valid: bool, what: &'static str) -> Result {
    if is_valid { Ok(()) } else { Err(Error::Invalid(what)) }
}

/// Returns whether it is one word of a line. The server judges the subject of a subscription.
pub(crate) fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte > b' ' && byte != 0x7f) && (1..=MAX_WORD).contains(&text.len())
}

/// Two of them fit into the 4096 bytes of a line that a server takes.
const MAX_WORD: usize = 1024;
