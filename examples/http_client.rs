//! An HTTP/1 client: fetches a URL over plain TCP and prints the answer.
//!
//! It shows a terminator that changes. A head ends at a blank line, and its body ends after
//! `Content-Length` bytes or at the end of input. The client prints the body as it arrives, so its
//! length has no limit.
//!
//! ```text
//! cargo run --example http_server              (in another terminal)
//! cargo run --example http_client [URL]        (default http://127.0.0.1:8080/)
//! ```
//!
//! You will see the status line, the fields, an empty line and the body, unchanged. The request
//! is HTTP/1.0, so the body never comes in chunks. There is no TLS, and no redirect is followed.

use asynchat::{Channel, Terminator};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "http_client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let url = std::env::args_os().nth(1).unwrap_or("http://127.0.0.1:8080/".into());
    let (host, path) = split(url.to_str().unwrap_or_default())
        .ok_or("usage: http_client [http://HOST[:PORT]/PATH]")?;
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    get(TcpStream::connect(address).await?, host, path, &mut std::io::stdout()).await
}

/// Returns the host, with its port if there is one, and the path after the slash.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
    // Blanks and line ends would become part of the request.
    let rest =
        url.strip_prefix("http://").filter(|url| url.bytes().all(|b| b.is_ascii_graphic()))?;
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    Some(rest.split_once('/').unwrap_or((rest, ""))).filter(|(host, _)| !host.is_empty())
}

pub(crate) async fn get<T>(
    socket: T,
    host: &str,
    path: &str,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // `httparse` wants to see the blank line.
    let mut channel = Channel::builder().keep_terminator(true).build(socket);
    channel.push(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    let end = loop {
        let head = channel.receive(Terminator::blank_line()).await?;
        out.write_all(&head)?;
        if let Some(end) = end_of_body(&head)? {
            break end;
        }
    };
    channel.set_terminator(end);
    loop {
        let part = channel.receive_part().await?;
        out.write_all(part.data())?;
        if part.is_complete() {
            break;
        }
    }
    out.flush()?;
    Ok(channel.close().await?)
}

/// Returns the terminator of the body that the head announces, or `None` if another head
/// follows.
fn end_of_body(head: &[u8]) -> Result<Option<Terminator>, Box<dyn Error>> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut answer = httparse::Response::new(&mut fields);
    if !answer.parse(head).is_ok_and(|status| status.is_complete()) {
        return Err("the answer is not HTTP".into());
    }
    match answer.code {
        Some(101) => return Err("the answer is of another protocol".into()),
        Some(100..200) => return Ok(None),
        // They have no body, whatever their fields say.
        Some(204 | 304) => return Ok(Some(Terminator::count(0))),
        _ => {}
    }
    let mut end = Terminator::none();
    for field in answer.headers {
        if field.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err("the body has a Transfer-Encoding, which HTTP/1.0 does not have".into());
        }
        if field.name.eq_ignore_ascii_case("Content-Length") {
            let is_number = field.value.iter().all(u8::is_ascii_digit);
            if !is_number || !end.is_none() {
                return Err("invalid Content-Length".into());
            }
            end = std::str::from_utf8(field.value)?.parse::<u64>()?.into();
        }
    }
    Ok(Some(end))
}
