//! The servers among the examples: what they answer to anything, and whether
//! they close.

use crate::case::{self, Case};
use crate::mailbox::Mailbox;
use crate::{server, session, tls};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// What a peer does.
#[derive(Default)]
struct Talk {
    pieces: Vec<Vec<u8>>,
    /// Whether it ends its side then.
    ends: bool,
    /// Where what is unusual in it begins and ends: cuts elsewhere tell nothing.
    unusual: Option<(usize, usize)>,
    /// Whether another cut would be another case.
    as_marked: bool,
}

/// What it hears, and whether the server closes.
#[derive(Debug, PartialEq)]
struct Heard {
    answers: Vec<u8>,
    is_closed: bool,
}

impl Talk {
    fn send(&mut self, rest: &str) -> Result<(), String> {
        let mut pieces = case::pieces(rest)?.into_iter();
        match (self.pieces.last_mut(), pieces.next()) {
            (Some(last), Some(first)) => last.extend(first),
            (None, Some(first)) => self.pieces.push(first),
            (_, None) => {}
        }
        self.pieces.extend(pieces);
        Ok(())
    }

    fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    fn send_unusual(&mut self, rest: &str) -> Result<(), String> {
        let from = self.unusual.map_or(self.len(), |(from, _)| from);
        self.send(rest)?;
        self.unusual = Some((from, self.len()));
        Ok(())
    }

    fn cuts(&self) -> Vec<Vec<usize>> {
        if self.as_marked {
            return vec![case::marks(&self.pieces)];
        }
        let (from, to) = self.unusual.unwrap_or_default();
        let mut cuts = case::cuts(&self.pieces);
        cuts.retain(|cuts| !matches!(cuts[..], [cut] if cut < from || cut > to));
        cuts
    }

    /// The same in other pieces.
    fn cut(&self, cuts: &[usize]) -> Talk {
        Talk { pieces: case::cut(&self.pieces.concat(), cuts), ends: self.ends, ..Talk::default() }
    }

    async fn with(&self, io: DuplexStream) -> Heard {
        let (mut reader, mut writer) = split(io);
        let writing = async {
            for piece in &self.pieces {
                // The server may have closed before.
                let _ = writer.write_all(piece).await;
                // It is polled until it has nothing left to do.
                for _ in 0..4 {
                    yield_now().await;
                }
            }
            if self.ends {
                let _ = writer.shutdown().await;
            }
        };
        let mut answers = vec![];
        let reading = timeout(A_WHILE, reader.read_to_end(&mut answers));
        let (is_closed, ()) = tokio::join!(reading, writing);
        Heard { is_closed: is_closed.is_ok(), answers }
    }
}

/// Longer than a server lingers, and shorter than its patience.
const A_WHILE: Duration = Duration::from_secs(50);

pub(crate) fn play_http(case: &Case) -> Result<(), String> {
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
    let config = Arc::new(server::Config { root: None, max_body: MAX_BODY });
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

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub(crate) fn play_smtp(case: &Case) -> Result<(), String> {
    let (mut talk, mut codes, mut stored, mut closed) = (Talk::default(), "", vec![], None);
    for step in &case.steps {
        match step.pair() {
            ("begun", "") => talk.send(BEGUN)?,
            ("good", "") => talk.send(GOOD)?,
            ("send", rest) => talk.send_unusual(rest)?,
            ("end", "") => talk.ends = true,
            ("as_marked", "") => talk.as_marked = true,
            ("codes", rest) => codes = rest,
            ("stored", rest) => stored.push(escaped(&case::bytes(rest)?)),
            (state @ ("open" | "closed"), "") => closed = Some(state == "closed"),
            _ => return step.unknown(),
        }
    }
    let want = (codes.to_owned(), stored, closed.ok_or("neither open nor closed")?);
    let runtime = case::runtime();
    for cuts in talk.cuts() {
        let got = runtime.block_on(smtp(&talk.cut(&cuts)));
        if got != want {
            return Err(format!("cut at {cuts:?}: {got:?}, want {want:?}"));
        }
    }
    Ok(())
}

/// The codes of the answers, what was stored, and whether the server closes.
async fn smtp(talk: &Talk) -> (String, Vec<String>, bool) {
    let mailbox = Mailbox::new();
    let (io, theirs) = duplex(64 * 1024);
    let stop = CancellationToken::new();
    let config = Arc::new(mailbox.config(TLS.clone(), MAX_SIZE));
    let served = tokio::spawn(session::connection(theirs, PEER, config, stop));
    let heard = talk.with(io).await;
    served.await.expect("no panic").ok();
    let answers = std::str::from_utf8(&heard.answers).unwrap();
    // The last line of each.
    let lines = answers.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
    let codes: Vec<&str> = lines.map(|line| &line[..3]).collect();
    let stored = mailbox.mails().iter().map(|mail| escaped(&mail.text)).collect();
    (codes.join(" "), stored, heard.is_closed)
}

static TLS: LazyLock<TlsAcceptor> = LazyLock::new(|| tls::self_signed().unwrap());
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const MAX_SIZE: u64 = 5000;

/// From the first command to the first byte of a message.
const BEGUN: &str =
    r#""EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n""#;

/// Another mail, and the end.
const GOOD: &str =
    r#""MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\ngood\r\n.\r\nQUIT\r\n""#;
