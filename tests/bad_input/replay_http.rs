//! The example `http_server`: what it answers to anything, and whether it closes.

use crate::case::{self, Case, escaped};
use crate::server;
use crate::talk::{Heard, Talk};
use std::sync::Arc;
use tokio::io::duplex;
use tokio_util::sync::CancellationToken;

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    let (mut talk, mut answers, mut closed) = (Talk::default(), vec![], None);
    for step in &case.steps {
        match step.pair() {
            ("send", rest) => talk.send_unusual(rest)?,
            ("end", "") => talk.ends = true,
            ("as_marked", "") => talk.as_marked = true,
            ("answer", rest) => answers.push(Answer::read(rest)?),
            (state @ ("open" | "closed"), "") => closed = Some(state == "closed"),
            _ => return step.unknown(),
        }
    }
    let closed = closed.ok_or("neither open nor closed")?;
    let runtime = case::runtime();
    for cuts in talk.cuts() {
        let heard = runtime.block_on(http(&talk.cut(&cuts)));
        let got = Answer::parse_all(&heard.answers);
        let is_so = got.len() == answers.len() && answers.iter().zip(&got).all(|(a, b)| a.is(b));
        if !is_so || heard.is_closed != closed {
            let is_closed = heard.is_closed;
            return Err(format!(
                "cut at {cuts:?}: {got:?}, closed: {is_closed}; want {answers:?}, closed: {closed}"
            ));
        }
    }
    Ok(())
}

async fn http(talk: &Talk) -> Heard {
    let (io, theirs) = duplex(64 * 1024);
    let stop = CancellationToken::new();
    let config = Arc::new(server::Config {
        files: None,
        names: vec!["x".to_owned()],
        max_body: MAX_BODY,
        max_held: 0,
    });
    let served = tokio::spawn(server::connection(theirs, config, stop));
    let heard = talk.with(io).await;
    // It ends with its peer, and by no panic.
    served.await.expect("no panic").ok();
    heard
}

const MAX_BODY: u64 = 1000;

/// An answer of the HTTP server.
#[derive(Debug)]
struct Answer {
    status: String,
    body: Option<String>,
    /// Whether its body ends before its end.
    is_cut: bool,
}

impl Answer {
    /// `200`, `200 "body"`, `200 cut "bo"`.
    fn read(text: &str) -> Result<Self, String> {
        let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
        case::number(status)?;
        let (is_cut, rest) = match rest.strip_prefix("cut ") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let body = if rest.is_empty() { None } else { Some(escaped(&case::bytes(rest)?)) };
        Ok(Answer { status: status.to_owned(), body, is_cut })
    }

    fn is(&self, got: &Answer) -> bool {
        self.status == got.status
            && self.is_cut == got.is_cut
            && (self.body.is_none() || self.body == got.body)
    }

    fn parse_all(mut bytes: &[u8]) -> Vec<Answer> {
        let mut answers = vec![];
        while !bytes.is_empty() {
            answers.push(Answer::parse(&mut bytes));
        }
        answers
    }

    #[track_caller]
    fn parse(bytes: &mut &[u8]) -> Answer {
        let end = find(bytes, b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap().to_ascii_lowercase();
        *bytes = &bytes[end + 4..];
        let status = head.strip_prefix("http/1.1 ").expect("an answer")[..3].to_owned();
        let length = head.split("\r\ncontent-length: ").nth(1);
        let length =
            length.map(|rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        let (body, is_cut) = if head.contains("\r\ntransfer-encoding: chunked") {
            unchunk(bytes)
        } else {
            take(bytes, length.unwrap_or(0))
        };
        Answer { status, body: Some(escaped(&body)), is_cut }
    }
}

/// So many bytes, or as many as there are.
fn take(bytes: &mut &[u8], length: usize) -> (Vec<u8>, bool) {
    let (body, rest) = bytes.split_at(length.min(bytes.len()));
    *bytes = rest;
    (body.to_vec(), body.len() < length)
}

fn unchunk(bytes: &mut &[u8]) -> (Vec<u8>, bool) {
    let mut body = vec![];
    while let Some(end) = find(bytes, b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).expect("a size");
        *bytes = &bytes[end + 2..];
        body.extend(take(bytes, size).0);
        assert_eq!(take(bytes, 2).0, b"\r\n", "behind a chunk");
        if size == 0 {
            return (body, false);
        }
    }
    (body, true)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
