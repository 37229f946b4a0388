//! The bytes of the protocol: operations of a server, and messages to be published.

use crate::error::{Error, Result};
use asynchat::{Body, BoxError, message::decimal};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

/// Answers the greeting of a server. Returns its limits, too.
pub(crate) fn connect(info: &[u8], login: &Url) -> Result<(String, Limits)> {
    let info = info.strip_prefix(b"INFO ").and_then(|info| serde_json::from_slice(info).ok());
    let info: Value = info.ok_or(Error::Protocol("no INFO"))?;
    if info["tls_required"] == true {
        return Err(Error::Protocol("TLS is required"));
    }
    let decode = |text| percent_decode_str(text).decode_utf8_lossy();
    let (user, password) = (decode(login.username()), login.password().map(decode));
    let headers = info["headers"] == true;
    let connect = json!({
        "verbose": false, "pedantic": false, "headers": headers, "no_responders": headers,
        "user": user, "pass": password, "auth_token": user,
    });
    let max_payload = info["max_payload"].as_u64().unwrap_or(0).min(MAX_PAYLOAD);
    Ok((format!("CONNECT {connect}\r\n"), (max_payload as usize, headers)))
}

/// Returns how many bytes follow the line of an operation. The last word of a message's line is
/// the length of its content.
pub(crate) fn body(line: &[u8]) -> Result<Body, BoxError> {
    match split(line) {
        ("MSG" | "HMSG", words) => {
            let size = decimal(words.last().unwrap_or_default())?;
            Ok(Body::Bytes(size.saturating_add(CRLF.len() as u64)))
        }
        ("", _) => Err("unknown operation".into()),
        _ => Ok(Body::Bytes(0)),
    }
}

/// Returns the name of an operation, and its words. They are split where a server does: other
/// blanks can be part of a subject.
pub(crate) fn split(line: &[u8]) -> (&'static str, impl DoubleEndedIterator<Item = &[u8]>) {
    let words = line.trim_ascii().split(|byte| matches!(byte, b' ' | b'\t'));
    let mut words = words.filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let known = NAMES.into_iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    (known.unwrap_or_default(), words)
}

/// Returns the text of an `-ERR`.
pub(crate) fn refusal(line: &[u8]) -> String {
    String::from_utf8_lossy(&line.trim_ascii()["-ERR".len()..]).trim().trim_matches('\'').into()
}

/// A message that was received. Bytes of its texts that are not UTF-8 have become U+FFFD.
#[derive(Default)]
pub struct Message {
    pub subject: String,
    /// The subject that an answer goes to, if one is wanted.
    pub reply: Option<String>,
    pub payload: Vec<u8>,
    pub(crate) headers: String,
}

impl Message {
    /// Reads a message and the number of its subscription. `None` if it breaks the protocol.
    pub(crate) fn parse(line: &[u8], content: &[u8]) -> Option<(u64, Self)> {
        let (name, mut words) = split(line);
        let (subject, number, _size) = (words.next()?, words.next()?, words.next_back()?);
        let headers = if name == "HMSG" { decimal(words.next_back()?).ok()? } else { 0 };
        let reply = words.next();
        let content = content.strip_suffix(CRLF).filter(|_| words.next().is_none())?;
        let (headers, payload) = content.split_at_checked(headers.try_into().ok()?)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (subject, reply, headers) = (text(subject), reply.map(text), text(headers));
        Some((decimal(number).ok()?, Message { subject, reply, payload: payload.into(), headers }))
    }

    /// Returns the names and values of the headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let fields = self.headers.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name, value.trim()))
    }

    /// Returns the memory that it needs, in bytes.
    pub(crate) fn cost(&self) -> usize {
        let reply = self.reply.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.subject.len() + reply + self.payload.len() + self.headers.len()
    }
}

/// Names and values.
pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// The most bytes of headers and payload that a server takes, and whether it takes headers.
pub(crate) type Limits = (usize, bool);

/// Encodes a message to be published.
pub(crate) fn encode(
    (subject, reply): (&str, Option<&str>),
    headers: Headers<'_>,
    payload: &[u8],
    (max, has_headers): Limits,
) -> Result<Vec<u8>> {
    if !is_subject(subject, false) {
        return Err(Error::Invalid("subject"));
    }
    if !has_headers && !headers.is_empty() {
        return Err(Error::Invalid("headers, which the server does not know"));
    }
    let mut block = String::new();
    for &(name, value) in headers {
        let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || !name.bytes().all(is_name) || value.contains(['\r', '\n']) {
            return Err(Error::Invalid("header"));
        }
        let version = if block.is_empty() { "NATS/1.0\r\n" } else { "" };
        block.extend([version, name, ": ", value, "\r\n"]);
    }
    let (mut operation, mut block_len) = ("PUB ", String::new());
    if !block.is_empty() {
        block += "\r\n";
        (operation, block_len) = ("HPUB ", format!(" {}", block.len()));
    }
    let size = block.len() + payload.len();
    if size > max {
        return Err(Error::Invalid("longer than the server takes"));
    }
    let (blank, reply) = reply.map_or(("", ""), |reply| (" ", reply));
    let mut number = itoa::Buffer::new();
    let size = number.format(size);
    let line = [operation, subject, blank, reply, &block_len, " ", size, "\r\n", &block].concat();
    Ok([line.as_bytes(), payload, CRLF].concat())
}

/// Returns whether a server takes it for one subject: no blank or line end, no empty token,
/// and wildcards only where they are allowed.
pub(crate) fn is_subject(subject: &str, wildcards: bool) -> bool {
    let is_token = |(i, token): (usize, &str)| match token {
        "" => false,
        "*" => wildcards,
        ">" => wildcards && i == 0,
        _ => token.bytes().all(|byte| byte > b' ' && byte != 0x7f),
    };
    subject.len() <= MAX_SUBJECT && subject.split('.').rev().enumerate().all(is_token)
}

const NAMES: [&str; 7] = ["MSG", "HMSG", "PING", "PONG", "+OK", "-ERR", "INFO"];

pub(crate) const CRLF: &[u8] = b"\r\n";

/// A server itself has no higher limit.
const MAX_PAYLOAD: u64 = 64 << 20;

/// Two of them fit into the 4096 bytes of a line that a server takes.
const MAX_SUBJECT: usize = 1024;
