//! The bytes of HTTP/1: the head of a request, and the chunked coding.
//! Strict where leniency would let two readers see two different requests.

use asynchat::Terminator;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use httparse::Header;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
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
pub(crate) const MISDIRECTED: Status = "421 Misdirected Request";
pub(crate) const FIELDS_TOO_LARGE: Status = "431 Request Header Fields Too Large";
pub(crate) const NOT_IMPLEMENTED: Status = "501 Not Implemented";
pub(crate) const UNAVAILABLE: Status = "503 Service Unavailable";
pub(crate) const VERSION_NOT_SUPPORTED: Status = "505 HTTP Version Not Supported";

/// `Terminator::blank_line()`, and wherever a lenient reader would see one: so
/// that a head with bare LFs is refused at once instead of waited for.
pub(crate) static HEAD_END: LazyLock<Terminator> =
    LazyLock::new(|| Terminator::any(["\r\n\r\n", "\n\r\n", "\n\n"]));

/// The head of a request, as far as a server of ours needs it.
pub(crate) struct Request<'h> {
    pub(crate) method: &'h str,
    pub(crate) path: &'h str,
    pub(crate) query: &'h str,
    /// The server that is asked, perhaps with a port.
    pub(crate) host: Option<&'h str>,
    /// HTTP/1.1 or a later 1.x, and not 1.0.
    pub(crate) is_1_1: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) body: Body,
    /// The lines of all fields, and the blank one.
    fields: &'h [u8],
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
        let end = head.iter().position(|&byte| byte == b'\r').ok_or(BAD_REQUEST)?;
        let (method, target, is_1_1) = request_line(&head[..end])?;
        let (server, path, query) = split_target(method, target)?;
        let fields = &head[end + 2..];
        let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let headers = match httparse::parse_headers(fields, &mut headers) {
            Ok(httparse::Status::Complete((n, headers))) if n == fields.len() => headers,
            Err(httparse::Error::TooManyHeaders) => return Err(FIELDS_TOO_LARGE),
            _ => return Err(BAD_REQUEST),
        };
        let host = match only(headers, "Host")? {
            Some(host) if !is_authority(host) => return Err(BAD_REQUEST),
            None if is_1_1 => return Err(BAD_REQUEST),
            host => server.or(host.and_then(|host| std::str::from_utf8(host).ok())),
        };
        let body = body(headers, is_1_1)?;
        let mut expected = list(headers, "Expect").peekable();
        let expects_continue = expected.peek().is_some() && is_1_1 && body != Body::Length(0);
        if !expected.all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
            return Err(EXPECTATION_FAILED);
        }
        let has_option = |option: &[u8]| {
            list(headers, "Connection").any(|value| value.eq_ignore_ascii_case(option))
        };
        let keep_alive = !has_option(b"close") && (is_1_1 || has_option(b"keep-alive"));
        let request = Request {
            method,
            path,
            query,
            host,
            is_1_1,
            keep_alive,
            expects_continue,
            body,
            fields,
        };
        Ok(request)
    }

    /// The values of a field, one of each line that has it.
    #[allow(dead_code)] // Some servers have no further fields.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.fields.split(|&byte| byte == b'\n').filter_map(move |line| {
            let value = line.get(name.len()..)?.strip_prefix(b":")?;
            line[..name.len()].eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
        })
    }

    /// Returns `true` if a list has this member, in any case.
    #[allow(dead_code)]
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        members(self.values(name)).any(|value| value.eq_ignore_ascii_case(member.as_bytes()))
    }
}

/// Returns `true` if CR and LF occur only together.
fn has_whole_line_ends(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    // Looking at all of it without a branch is the fastest.
    let is_whole = pairs
        .fold(true, |is_whole, (&byte, &next)| is_whole & ((byte == b'\r') == (next == b'\n')));
    is_whole && head.first() != Some(&b'\n') && head.last() != Some(&b'\r')
}

/// The method, the target, and whether the version is 1.1 or a later 1.x, which is read
/// as 1.1 (RFC 9110, section 2.5).
fn request_line(line: &[u8]) -> Result<(&str, &str, bool), Status> {
    let mut words = std::str::from_utf8(line).map_err(|_| BAD_REQUEST)?.split(' ');
    let [method, target, version] = [(); 3].map(|()| words.next().unwrap_or_default());
    if words.next().is_some() || !is_token(method.as_bytes()) {
        return Err(BAD_REQUEST);
    }
    let is_1_1 = match version.strip_prefix("HTTP/").map(str::as_bytes) {
        Some([b'1', b'.', minor @ b'0'..=b'9']) => *minor > b'0',
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => return Err(VERSION_NOT_SUPPORTED),
        _ => return Err(BAD_REQUEST),
    };
    if !METHODS.contains(&method) {
        return Err(NOT_IMPLEMENTED);
    }
    Ok((method, target, is_1_1))
}

/// The server, if it is named, the path and the query of a target in one of its forms (RFC
/// 9112, section 3.2).
fn split_target<'h>(
    method: &str,
    target: &'h str,
) -> Result<(Option<&'h str>, &'h str, &'h str), Status> {
    // A fragment never leaves a client, and what is not ASCII is escaped.
    if target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(BAD_REQUEST);
    }
    // Unlike that of `Host` it must have a name.
    let is_server =
        |text: &str| is_authority(text.as_bytes()) && !text.is_empty() && !text.starts_with(':');
    let (server, target) = match (method, target) {
        ("CONNECT", _) if !is_server(target) || !target.contains(':') => return Err(BAD_REQUEST),
        ("CONNECT", _) | ("OPTIONS", "*") => (None, target),
        _ if target.starts_with('/') => (None, target),
        _ => {
            let (scheme, rest) = target.split_once("://").ok_or(BAD_REQUEST)?;
            let (server, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !is_token(scheme.as_bytes()) || !is_server(server) {
                return Err(BAD_REQUEST);
            }
            if !scheme.eq_ignore_ascii_case("http") {
                // We are not asked as that (RFC 9110, section 7.4).
                return Err(MISDIRECTED);
            }
            (Some(server), rest)
        }
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok((server, if path.is_empty() { "/" } else { path }, query))
}

/// Returns `true` if a host, perhaps with a port, is `localhost`, one of the names, or an
/// address that is ours. Under any other name a page of somebody else's may have made a
/// browser come (DNS rebinding).
pub(crate) fn is_ours(host: &str, names: &[String], is_address: impl Fn(IpAddr) -> bool) -> bool {
    let (host, _port) = split_authority(host);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
        || address.parse().is_ok_and(is_address)
}

/// The host and the port, which may be empty.
fn split_authority(text: &str) -> (&str, &str) {
    match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], &text[colon + 1..]),
        _ => (text, ""),
    }
}

/// Returns `true` for a host, which may be empty, with or without a port (RFC 3986,
/// section 3.2).
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let (host, port) = split_authority(text);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_name(host.as_bytes()),
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns `true` for a registered name, which may be empty and have escapes.
fn is_name(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', rest @ ..] => match rest {
                [high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    rest
                }
                _ => return false,
            },
            [b'#' | b'^' | b'`' | b'|', ..] => return false,
            [b'(' | b')' | b',' | b';' | b'=', rest @ ..] => rest,
            [byte, rest @ ..] if is_in_token(*byte) => rest,
            _ => return false,
        }
    }
}

/// The value of a field that may occur only once.
fn only<'h>(headers: &[Header<'h>], name: &str) -> Result<Option<&'h [u8]>, Status> {
    let mut values = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(BAD_REQUEST),
    }
}

/// The members of a list, in one line or several, without the empty ones (RFC 9110,
/// section 5.6.1.2).
fn list<'h>(headers: &[Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
    members(lines.map(|h| h.value))
}

fn members<'h>(lines: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h [u8]> {
    let members = lines.flat_map(|line| line.split(|&byte| byte == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn body(headers: &[Header<'_>], is_1_1: bool) -> Result<Body, Status> {
    let is_coded = headers.iter().any(|h| h.name.eq_ignore_ascii_case("Transfer-Encoding"));
    let codings = || list(headers, "Transfer-Encoding");
    match (is_coded, only(headers, "Content-Length")?) {
        (false, None) => Ok(Body::Length(0)),
        (false, Some(length)) => number(length, 10).map(Body::Length).ok_or(BAD_REQUEST),
        (true, Some(_)) => Err(BAD_REQUEST),
        (true, None) if !is_1_1 => Err(BAD_REQUEST),
        (true, None) => {
            let chunked = codings().position(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            match (chunked, codings().count()) {
                (Some(0), 1) => Ok(Body::Chunked),
                (Some(n), count) if n + 1 == count => Err(NOT_IMPLEMENTED),
                // Nobody knows where the body ends (RFC 9112, section 6.3).
                _ => Err(BAD_REQUEST),
            }
        }
    }
}

/// Digits and nothing else: no sign, no `0x`, no list, no overflow.
pub(crate) fn number(text: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(text, radix).ok()
}

/// The size in a chunk's first line, CR LF included; extensions are skipped.
pub(crate) fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, mut extensions) = line.split_at(digits);
    while !extensions.is_empty() {
        extensions = skip_extension(extensions)?;
    }
    number(size, 16)
}

/// Returns the rest after a chunk extension (RFC 9112, section 7.1.1).
fn skip_extension(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_token(skip_blanks(skip_blanks(text).strip_prefix(b";")?))?;
    match skip_blanks(rest).strip_prefix(b"=").map(skip_blanks) {
        Some([b'"', quoted @ ..]) => skip_quoted(quoted),
        Some(value) => skip_token(value),
        None => Some(rest),
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    &text[blanks..]
}

/// Returns the rest after a token, which must not be empty.
fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|&&byte| is_in_token(byte)).count();
    (length > 0).then(|| &text[length..])
}

/// Returns the rest after the closing quote.
fn skip_quoted(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] if is_text(*byte) => rest,
            _ => return None,
        };
    }
}

/// Returns `true` for a field of the trailer, CR LF included.
pub(crate) fn is_trailer(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    line.iter().copied().all(is_text) && skip_token(line).is_some_and(|rest| rest.starts_with(b":"))
}

fn is_token(text: &[u8]) -> bool {
    skip_token(text).is_some_and(<[u8]>::is_empty)
}

fn is_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Returns `true` unless this is a control character, a bare CR or LF for example.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
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

/// The end of all chunks, without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The methods somebody may mean seriously; any other is not implemented.
const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"];

const MAX_FIELDS: usize = 64;
