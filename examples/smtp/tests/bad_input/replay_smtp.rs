//! The SMTP server: what it answers to anything, what it stores, and whether it closes.

use crate::case::{self, Case, escaped};
use crate::mailbox::Mailbox;
use crate::talk::Talk;
use example_smtp::{session, tls};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use tokio::io::duplex;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) fn replay(case: &Case) -> Result<(), String> {
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
