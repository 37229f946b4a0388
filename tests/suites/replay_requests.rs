//! Rows about requests, against the server.

use crate::case::{self, Case, Step};
use crate::http::{Body, Request};
use crate::replay_http;

/// Plays a row as a case of `tests/bad_input/http`, with another request behind it.
pub(crate) fn replay(row: &Case) -> Result<(), String> {
    let (reads, mut steps): (Vec<Step>, Vec<Step>) =
        row.steps.iter().cloned().partition(|step| step.word == "reads");
    let sent = steps.iter().filter(|step| step.word == "send");
    let sent: Vec<_> = sent.map(|step| case::pieces(&step.rest)).collect::<Result<_, _>>()?;
    for step in reads {
        let got = read(&sent.concat().concat())?;
        if got != step.rest {
            return Err(format!("reads {got}, want {}", step.rest));
        }
    }
    if !steps.iter().any(|step| step.word == "end") {
        let is_open = steps.iter().any(|step| step.word == "open");
        steps.push(self::step("send", PAGE));
        steps.extend(is_open.then(|| self::step("answer", "200")));
    }
    replay_http::replay(&Case { file: row.file.clone(), name: row.name.clone(), steps })
}

/// Returns what the first head says.
fn read(sent: &[u8]) -> Result<String, String> {
    // The server ignores one empty line.
    let sent = sent.strip_prefix(b"\r\n").unwrap_or(sent);
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n").ok_or("no end of the head")?;
    let request = match Request::parse(&sent[..end + 4]) {
        Ok(request) => request,
        Err(status) => return Ok(status.to_owned()),
    };
    let Request { method, path, query, .. } = request;
    let host = request.host.unwrap_or("-");
    let mark = if query.is_empty() { "" } else { "?" };
    let body = match request.body {
        Body::Length(length) => length.to_string(),
        Body::Chunked => "chunked".to_owned(),
    };
    let connection = if request.keep_alive { "keep" } else { "last" };
    Ok(format!("{method} {host} {path}{mark}{query} {body} {connection}"))
}

fn step(word: &str, rest: &str) -> Step {
    Step { word: word.to_owned(), rest: rest.to_owned() }
}

const PAGE: &str = r#""GET / HTTP/1.1\r\nHost: x\r\n\r\n""#;
