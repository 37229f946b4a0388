//! The bytes of HTTP/1: what a request head says, and the chunked coding.
//! Strict where leniency would let two readers see two different requests.

use asynchat::Terminator;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use httparse::Header;
use std::io;
use std::mem::MaybeUninit;
use std::sync::LazyLock;

/// A status code with its reason phrase.
pub(crate) type Status = &'static str;

pub(crate) const OK: Status = "200 OK";
pub(crate) const BAD_REQUEST: Status = "400 Bad Request";
pub(crate) const NOT_FOUND: Status = "404 Not Found";
pub(crate) const METHOD_NOT_ALLOWED: Status = "405 Method Not Allowed";
pub(crate) const REQUEST_TIMEOUT: Status = "408 Request Timeout";
pub(crate) const CONTENT_TOO_LARGE: Status = "413 Content Too Large";
pub(crate) const EXPECTATION_FAILED: Status = "417 Expectation Failed";
pub(crate) const FIELDS_TOO_LARGE: Status = "431 Request Header Fields Too Large";
pub(crate) const NOT_IMPLEMENTED: Status = "501 Not Implemented";
pub(crate) const VERSION_NOT_SUPPORTED: Status = "505 HTTP Version Not Supported";

/// `Terminator::blank_line()`, and wherever a lenient reader would see one: so
/// that a head with bare LFs is refused at once instead of waited for.
pub(crate) static HEAD_END: LazyLock<Terminator> =
    LazyLock::new(|| Terminator::any(["\r\n\r\n", "\n\r\n", "\n\n"]));

/// What a request head says, as far as this server cares.
pub(crate) struct Request<'h> {
    pub(crate) method: &'h str,
    pub(crate) path: &'h str,
    pub(crate) query: &'h str,
    /// HTTP/1.1, and not 1.0.
    pub(crate) is_1_1: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) body: Body,
}

/// How the end of a request's body is found.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
}

impl<'h> Request<'h> {
    /// Reads a head, blank line included.
    pub(crate) fn parse(head: &'h [u8]) -> Result<Self, Status> {
        // httparse takes a bare LF as well.
        if !has_whole_line_ends(head) {
            return Err(BAD_REQUEST);
        }
        let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, &mut headers) {
            Ok(httparse::Status::Complete(n)) if n == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(FIELDS_TOO_LARGE),
            Err(httparse::Error::Version) if names_version(head) => {
                return Err(VERSION_NOT_SUPPORTED);
            }
            _ => return Err(BAD_REQUEST),
        }
        let method = parsed.method.ok_or(BAD_REQUEST)?;
        if !METHODS.contains(&method) {
            return Err(NOT_IMPLEMENTED);
        }
        let (path, query) = split_target(parsed.path.ok_or(BAD_REQUEST)?);
        let is_1_1 = parsed.version == Some(1);
        let headers = parsed.headers;
        if only(headers, "Host")?.is_none() && is_1_1 {
            return Err(BAD_REQUEST);
        }
        let body = body(headers, is_1_1)?;
        let expects_continue = match only(headers, "Expect")? {
            Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(EXPECTATION_FAILED);
            }
            expect => expect.is_some() && is_1_1 && body != Body::Length(0),
        };
        let keep_alive = !has_connection_option(headers, "close")
            && (is_1_1 || has_connection_option(headers, "keep-alive"));
        Ok(Request { method, path, query, is_1_1, keep_alive, expects_continue, body })
    }
}

/// Whether CR and LF occur only together.
fn has_whole_line_ends(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    // Looking at all of it without a branch is the fastest.
    let is_whole = pairs
        .fold(true, |is_whole, (&byte, &next)| is_whole & ((byte == b'\r') == (next == b'\n')));
    is_whole && head.first() != Some(&b'\n') && head.last() != Some(&b'\r')
}

/// Whether the third and last word of the request line is some HTTP version.
fn names_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ').skip(2);
    let version = words.next().unwrap_or_default();
    matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
        && words.next().is_none()
}

/// The path and the query; of `http://host/path` too.
fn split_target(target: &str) -> (&str, &str) {
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    target.split_once('?').unwrap_or((target, ""))
}

/// The value of a field that may occur only once.
fn only<'h>(headers: &[Header<'h>], name: &str) -> Result<Option<&'h [u8]>, Status> {
    let mut values = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(BAD_REQUEST),
    }
}

fn body(headers: &[Header<'_>], is_1_1: bool) -> Result<Body, Status> {
    match (only(headers, "Transfer-Encoding")?, only(headers, "Content-Length")?) {
        (None, None) => Ok(Body::Length(0)),
        (None, Some(length)) => number(length, 10).map(Body::Length).ok_or(BAD_REQUEST),
        (Some(_), Some(_)) => Err(BAD_REQUEST),
        (Some(_), None) if !is_1_1 => Err(BAD_REQUEST),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        (Some(_), None) => Err(NOT_IMPLEMENTED),
    }
}

fn has_connection_option(headers: &[Header<'_>], option: &str) -> bool {
    headers
        .iter()
        .filter(|h| h.name.eq_ignore_ascii_case("Connection"))
        .flat_map(|h| h.value.split(|&byte| byte == b','))
        .any(|value| value.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}

/// Digits and nothing else: no sign, no `0x`, no list, no overflow.
pub(crate) fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

/// The size in a chunk's first line, CR LF included; extensions are ignored.
pub(crate) fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n").filter(|line| is_text(line))?;
    match line.iter().position(|&byte| byte == b';') {
        Some(at) => number(line[..at].trim_ascii_end(), 16),
        None => number(line, 16),
    }
}

/// Whether this is a field behind the last chunk, CR LF included.
pub(crate) fn is_trailer(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n").filter(|line| is_text(line)) else { return false };
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.len() < line.len() && name.iter().all(is_token)
}

/// Whether there is no control character in it, bare CR and LF included.
fn is_text(line: &[u8]) -> bool {
    line.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

/// `data` as one chunk; it must not be empty, for that would be the last one.
pub(crate) fn chunk(data: &[u8]) -> Bytes {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat().into()
}

/// Puts any producer into the chunked coding.
pub(crate) fn chunked<S>(body: S) -> impl Stream<Item = io::Result<Bytes>>
where
    S: Stream<Item = io::Result<Bytes>>,
{
    body.try_filter(|data| future::ready(!data.is_empty()))
        .map_ok(|data| chunk(&data))
        .chain(stream::iter([Ok(Bytes::from_static(LAST_CHUNK))]))
}

/// Behind all chunks, without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The methods somebody may mean seriously; any other is not implemented.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

const MAX_FIELDS: usize = 64;
