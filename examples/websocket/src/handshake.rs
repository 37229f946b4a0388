//! The opening handshake (RFC 6455, section 4.2).

use crate::http::{self, Body, Request, Status};
use asynchat::{Channel, Error};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncWrite};

/// Answers a request. Returns whether the broadcast was opened, not the echo, or `None` if
/// nothing was.
pub(crate) async fn open<T>(channel: &mut Channel<T>, origins: &[String]) -> Option<bool>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let checked = match channel.receive_within(MAX_REQUEST, http::HEAD_END.clone()).await {
        Ok(head) => check(&head, origins),
        Err(Error::FrameTooLong { .. }) => Err(http::FIELDS_TOO_LARGE),
        Err(Error::Timeout(_)) => Err(http::REQUEST_TIMEOUT),
        Err(_) => return None,
    };
    match &checked {
        Ok((_, accept)) => channel.push_fmt(format_args!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )),
        Err(status) => channel.push_fmt(format_args!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\
             Sec-WebSocket-Version: 13\r\nAllow: GET\r\nContent-Length: 0\r\n\r\n"
        )),
    }
    checked.ok().map(|(is_broadcast, _)| is_broadcast)
}

/// Returns also the value that proves that the request was understood.
fn check(head: &[u8], origins: &[String]) -> Result<(bool, String), Status> {
    let request = Request::parse(head)?;
    let is_broadcast = match (request.method, request.path) {
        ("GET", path @ ("/echo" | "/broadcast")) => path == "/broadcast",
        ("GET", _) => return Err(http::NOT_FOUND),
        _ => return Err(http::METHOD_NOT_ALLOWED),
    };
    // A browser names the page that asks. It may be a page of anybody.
    let is_known = |value: &[u8]| origins.iter().any(|origin| origin.as_bytes() == value);
    if !request.values("Origin").all(is_known) {
        return Err("403 Forbidden");
    }
    let wants_it = request.lists("Upgrade", "websocket") && request.lists("Connection", "upgrade");
    if !wants_it || !request.is_1_1 || !request.values("Sec-WebSocket-Version").eq([b"13"]) {
        return Err("426 Upgrade Required");
    }
    let mut keys = request.values("Sec-WebSocket-Key");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(http::BAD_REQUEST) };
    if !BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
        || request.body != Body::Length(0)
    {
        return Err(http::BAD_REQUEST);
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok((is_broadcast, BASE64_STANDARD.encode(digest)))
}

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_REQUEST: usize = 16 * 1024;
