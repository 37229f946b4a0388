//! An async client: sends a command and receives what its answer says is to
//! come, a line, a count of bytes, or everything up to a blank line.
//!
//! ```text
//! cargo run --example http_server                    (in another terminal)
//! cargo run --example lines_client [ADDRESS] [PATH]  (default 127.0.0.1:8080 /)
//! ```
//!
//! You will see the status line, the number of header bytes and the body of
//! one HTTP/1.1 answer. `receive` takes the terminator along, so that each
//! line of the client says what it waits for.

use asynchat::{Channel, Error, Terminator};
use std::io::Write;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() {
    if let Err(e) = run().await {
        eprintln!("lines_client: {e}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).skip(1);
    let address = args.next().unwrap_or("127.0.0.1:8080".into());
    let path = args.next().unwrap_or("/".into());
    let socket = TcpStream::connect(&address).await?;
    let answer = get(socket, &address, &path).await?;
    let Answer { status, header_len, body } = answer;
    writeln!(std::io::stdout(), "{status}\n{header_len} bytes of header\n{body}")?;
    Ok(())
}

struct Answer {
    status: String,
    header_len: usize,
    body: String,
}

async fn get<T>(socket: T, host: &str, path: &str) -> Result<Answer, Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut channel = Channel::new(socket, Terminator::crlf());
    channel.push(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    let status = channel.receive(Terminator::crlf()).await?;
    let header = channel.receive(Terminator::blank_line()).await?;
    let mut body = Vec::new();
    match field(&header, "content-length").and_then(|value| value.parse::<u64>().ok()) {
        Some(length) => body.extend(channel.receive(length).await?),
        // "Transfer-Encoding: chunked": a line with a count, so many bytes,
        // an empty line, and so on down to a count of 0.
        None => loop {
            let line = channel.receive(Terminator::crlf()).await?;
            let size = u64::from_str_radix(&String::from_utf8_lossy(&line), 16)
                .map_err(std::io::Error::other)?;
            body.extend(channel.receive(size).await?);
            channel.receive(Terminator::crlf()).await?;
            if size == 0 {
                break;
            }
        },
    }
    channel.close().await?;
    Ok(Answer {
        status: String::from_utf8_lossy(&status).into(),
        header_len: header.len(),
        body: String::from_utf8_lossy(&body).into(),
    })
}

/// The value of a header field.
fn field(header: &[u8], name: &str) -> Option<String> {
    let header = String::from_utf8_lossy(header);
    let mut fields = header.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    Some(value.trim().into())
}
