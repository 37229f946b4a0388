//! The SMTP server: every command and refusal, what ends a message and what does not,
//! STARTTLS, and how it stops.

mod mailbox;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use asynchat::{Channel, Error, Terminator, Timeout};
use example_smtp::command::Command;
use example_smtp::{session, tls};
use mailbox::{Mail, Mailbox};
use programs::within;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);
const MAX_SIZE: u64 = 100_000;
const MAX_LINE: usize = 2048;

/// A mail from `a@example.org`, if it came as in most of these tests.
fn mail(recipients: &str, text: impl AsRef<[u8]>) -> Mail {
    Mail {
        sender: "a@example.org".into(),
        recipients: recipients.into(),
        received: "from client ([192.0.2.1]) ESMTP".into(),
        text: text.as_ref().into(),
    }
}

static TLS: LazyLock<TlsAcceptor> = LazyLock::new(|| tls::self_signed().unwrap());
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A connection to the server without a socket.
struct Peer {
    io: DuplexStream,
    mailbox: Mailbox,
    /// Tells the server to stop.
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
}

impl Peer {
    fn new() -> Self {
        Self::with_room(64 * 1024)
    }

    /// No more than `room` bytes go at once, in either direction.
    fn with_room(room: usize) -> Self {
        let mailbox = Mailbox::new();
        let (io, theirs) = duplex(room);
        let stop = CancellationToken::new();
        let config = Arc::new(mailbox.config(TLS.clone(), MAX_SIZE));
        let served = tokio::spawn(session::connection(theirs, PEER, config, stop.clone()));
        Peer { io, mailbox, stop, served }
    }

    async fn send(&mut self, data: impl AsRef<[u8]>) {
        self.io.write_all(data.as_ref()).await.unwrap();
    }

    /// Reads up to a line that begins with `last`.
    #[track_caller]
    fn reads_up_to(&mut self, last: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let mut got = String::new();
            while !(got.ends_with("\r\n") && got.lines().any(|line| line.starts_with(last))) {
                let Ok(byte) = within(self.io.read_u8()).await else {
                    panic!("{place}: only {got:?}");
                };
                got.push(char::from(byte));
            }
        }
    }

    /// Reads until the server closes, and waits for its end.
    async fn reads_to_end(self) -> (String, Vec<Mail>) {
        within(self.waits_for_the_end()).await
    }

    /// The same, where it may take its time.
    async fn waits_for_the_end(mut self) -> (String, Vec<Mail>) {
        let mut got = String::new();
        self.io.read_to_string(&mut got).await.unwrap();
        drop(self.io);
        self.served.await.unwrap().unwrap();
        (got, self.mailbox.mails())
    }
}

/// Sends a whole session, no more than `room` bytes at once, and reads until
/// the server closes.
async fn talk(session: &[u8], room: usize) -> (String, Vec<Mail>) {
    let peer = Peer::with_room(room);
    let (mut reader, mut writer) = split(peer.io);
    let mut got = Vec::new();
    let writing = async {
        // The server may have closed before.
        if writer.write_all(session).await.is_ok() {
            let _ = writer.shutdown().await;
        }
    };
    within(async { tokio::join!(writing, reader.read_to_end(&mut got)) }).await.1.unwrap();
    drop((reader, writer));
    within(peer.served).await.unwrap().unwrap();
    (String::from_utf8(got).unwrap(), peer.mailbox.mails())
}

/// The codes of answers that are well-formed, in their order.
#[track_caller]
fn codes(answers: &str) -> String {
    let mut codes: Vec<&str> = Vec::new();
    let mut more = false;
    for line in answers.split_inclusive("\r\n") {
        let text = line.strip_suffix("\r\n").expect("a whole line");
        assert!(text.len() <= 510 && text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text:?}");
        let (code, rest) = text.split_at(3);
        if more {
            assert_eq!(codes.last(), Some(&code), "{answers}");
        } else {
            codes.push(code);
        }
        more = rest.starts_with('-');
        assert!(more || rest.starts_with(' '), "{text:?}");
        // RFC 2034: but for the greeting and the answers to HELO, EHLO and DATA.
        let class = rest.split(' ').nth(1).unwrap_or_default();
        let is_plain = more
            || matches!(text, "220 localhost ESMTP" | "250 localhost")
            || text == "250 ENHANCEDSTATUSCODES"
            || code == "354";
        let is_class = class.split('.').count() == 3 && class[..2] == format!("{}.", &code[..1]);
        assert!(is_plain || is_class, "{text:?}");
    }
    assert!(!more, "{answers}");
    codes.join(" ")
}

const HELLO: &str = "EHLO client\r\n";
const ENVELOPE: &str = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n";

/// From the greeting to the first byte of the message.
fn begun() -> String {
    format!("{HELLO}{ENVELOPE}DATA\r\n")
}

/// A session with this message, up to its last line end, and then a good one.
fn session_with(message: &[u8]) -> Vec<u8> {
    let good = format!("{ENVELOPE}DATA\r\ngood\r\n.\r\nQUIT\r\n");
    [begun().as_bytes(), message, b".\r\n", good.as_bytes()].concat()
}

/// Both stored, or only the second.
const BOTH: &str = "220 250 250 250 354 250 250 250 354 250 221";

fn second_only(refusal: &str) -> String {
    format!("220 250 250 250 354 {refusal} 250 250 354 250 221")
}

/// How large the pieces are that a session is cut into.
const ROOMS: [usize; 6] = [1, 2, 3, 5, 7, 64 * 1024];

#[tokio::test]
async fn dialogues_come_out_the_same_however_they_are_cut() {
    let b = || mail("b@example.org", "x\n");
    let smtp = || Mail { received: "from client ([192.0.2.1]) SMTP".into(), ..b() };
    let from = |sender: &str| Mail { sender: sender.into(), ..b() };
    let mail_to = |to: &str| mail(to, "x\n");
    let nobody = "EHLO client\r\nMAIL FROM:<a@example.org>\r\n";
    let message = "DATA\r\nx\r\n.\r\n";
    let table: Vec<(&str, String, &str, Vec<Mail>)> = vec![
        ("nothing", "".into(), "220", vec![]),
        ("a QUIT", "QUIT\r\n".into(), "220 221", vec![]),
        ("nothing runs behind QUIT", "QUIT\r\nNOOP\r\n".into(), "220 221", vec![]),
        ("half a command does not run", "NOOP\r\nQUIT".into(), "220 250", vec![]),
        ("half a line end", "NOOP\r\nNOOP\r".into(), "220 250", vec![]),
        (
            "a mail",
            format!("{HELLO}{ENVELOPE}{message}QUIT\r\n"),
            "220 250 250 250 354 250 221",
            vec![b()],
        ),
        (
            "a mail without QUIT",
            format!("{HELLO}{ENVELOPE}{message}"),
            "220 250 250 250 354 250",
            vec![b()],
        ),
        (
            "a mail by HELO",
            format!("HELO client\r\n{ENVELOPE}{message}QUIT\r\n"),
            "220 250 250 250 354 250 221",
            vec![smtp()],
        ),
        (
            "small letters and spaces at the end",
            "ehlo client \r\nmail from:<a@example.org> body=8bitmime  size=3 \r\n\
             rcpt to:<b@example.org>  \r\ndata \r\nx\r\n.\r\nquit \r\n"
                .into(),
            "220 250 250 250 354 250 221",
            vec![b()],
        ),
        (
            "three recipients",
            format!(
                "{HELLO}{ENVELOPE}RCPT TO:<Postmaster>\r\nRCPT TO:<\"q> @\\\" \"@[127.0.0.1]>\r\n{message}"
            ),
            "220 250 250 250 250 250 354 250",
            vec![mail_to("b@example.org postmaster \"q> @\\\" \"@[127.0.0.1]")],
        ),
        (
            "a bounce",
            format!("{HELLO}MAIL FROM:<> SIZE=3\r\nRCPT TO:<b@example.org>\r\n{message}"),
            "220 250 250 250 354 250",
            vec![from("")],
        ),
        (
            "source routes are left out",
            format!("{HELLO}MAIL FROM:<@x,@y.z:c@d>\r\nRCPT TO:<@x:b@example.org>\r\n{message}"),
            "220 250 250 250 354 250",
            vec![from("c@d")],
        ),
        (
            "two mails",
            format!("{HELLO}{ENVELOPE}{message}{ENVELOPE}{message}"),
            "220 250 250 250 354 250 250 250 354 250",
            vec![b(), b()],
        ),
        (
            "the second mail needs an envelope of its own",
            format!(
                "{HELLO}{ENVELOPE}{message}RCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<c@d>\r\nDATA\r\n"
            ),
            "220 250 250 250 354 250 503 503 250 554",
            vec![b()],
        ),
        (
            "RSET forgets the envelope, not the name",
            format!("{HELLO}{ENVELOPE}RSET\r\nDATA\r\n{ENVELOPE}{message}"),
            "220 250 250 250 250 503 250 250 354 250",
            vec![b()],
        ),
        (
            "EHLO in between forgets the envelope",
            format!("{HELLO}{ENVELOPE}EHLO client\r\nDATA\r\nHELO client\r\n{ENVELOPE}{message}"),
            "220 250 250 250 250 503 250 250 250 354 250",
            vec![smtp()],
        ),
        (
            "no name",
            format!("{ENVELOPE}DATA\r\nSTARTTLS\r\nNOOP\r\nRSET\r\nHELP\r\nVRFY b\r\n"),
            "220 503 503 503 503 250 250 214 252",
            vec![],
        ),
        (
            "no MAIL",
            format!("{HELLO}RCPT TO:<b@example.org>\r\nDATA\r\nQUIT\r\n"),
            "220 250 503 503 221",
            vec![],
        ),
        (
            "two MAILs: the first counts",
            format!("{HELLO}{ENVELOPE}MAIL FROM:<c@d>\r\n{message}"),
            "220 250 250 250 503 354 250",
            vec![b()],
        ),
        ("no recipient", format!("{nobody}DATA\r\nQUIT\r\n"), "220 250 250 554 221", vec![]),
        (
            "a refused recipient, and one that is not",
            format!("{nobody}RCPT TO:<nobody>\r\nRCPT TO:<b@example.org>\r\n{message}"),
            "220 250 250 501 250 354 250",
            vec![b()],
        ),
        (
            "a refused MAIL changes nothing",
            format!(
                "{HELLO}MAIL FROM:<a@example.org> SIZE=100001\r\nRCPT TO:<b@c>\r\n{ENVELOPE}{message}"
            ),
            "220 250 552 503 250 250 354 250",
            vec![b()],
        ),
        (
            "commands inside a message are text",
            format!("{}NOOP\r\nRSET\r\nQUIT\r\n.\r\nNOOP\r\n", begun()),
            "220 250 250 250 354 250 250",
            vec![mail("b@example.org", "NOOP\nRSET\nQUIT\n")],
        ),
        ("a bare CR in a command", "NO\rOP\r\nNOOP\r\n".into(), "220 500 250", vec![]),
        ("CR CR LF behind a command", "NOOP\r\r\nNOOP\r\n".into(), "220 500 250", vec![]),
        ("a NUL in a command", "NOOP \0\r\nNOOP\r\n".into(), "220 500 250", vec![]),
        ("a letter beyond ASCII", "NOOP \u{e9}\r\nNOOP\r\n".into(), "220 500 250", vec![]),
        ("a bare LF behind a command", "NOOP\nNOOP\r\n".into(), "220 500", vec![]),
        (
            "a bare LF in a command",
            format!("{HELLO}MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\n"),
            "220 250 500",
            vec![],
        ),
        ("an empty line", "\r\nNOOP\r\n".into(), "220 500 250", vec![]),
        ("a bare LF alone", "\n\r\n".into(), "220 500", vec![]),
    ];
    for (name, session, expected, mails) in table {
        for room in ROOMS {
            let (answers, stored) = talk(session.as_bytes(), room).await;
            assert_eq!(codes(&answers), expected, "{name}, {room} at once");
            assert_eq!(stored, mails, "{name}, {room} at once");
        }
    }
}

/// What stands between DATA and the last dot, and what is stored of it.
#[tokio::test]
async fn messages_are_stored_as_they_were_meant() {
    let every_byte: Vec<u8> = (0..=255).filter(|byte| !b"\r\n".contains(byte)).collect();
    let every_byte = |end: &[u8]| [&every_byte, end].concat();
    // The first dot of a line counts in its length.
    let longest = |dots: &str, end| format!("{dots}{}{end}", "x".repeat(MAX_LINE - 2)).into_bytes();
    let table: [(&str, &[u8], &[u8]); 16] = [
        ("empty", b"", b""),
        ("one empty line", b"\r\n", b"\n"),
        ("a header and a text", b"Subject: x\r\n\r\ntext\r\n", b"Subject: x\n\ntext\n"),
        ("a dot at the very start", b"..\r\n", b".\n"),
        ("two dots at the very start", b"...\r\n", b"..\n"),
        ("a dot and a letter", b".x\r\n", b"x\n"),
        ("two dots and a letter", b"..x\r\n", b".x\n"),
        ("dots in every line", b"..\r\n..\r\n...\r\n..x\r\n", b".\n.\n..\n.x\n"),
        ("dots that begin no line", b"a.b.\r\n x.\r\nx..\r\n", b"a.b.\n x.\nx..\n"),
        ("a dot and a space", b". \r\nx\r\n", b" \nx\n"),
        ("a space and a dot", b" .\r\nx\r\n", b" .\nx\n"),
        ("a dot and a NUL", b".\0\r\nx\r\n", b"\0\nx\n"),
        ("a NUL and a dot", b"\0.\r\nx\r\n", b"\0.\nx\n"),
        ("every byte but CR and LF", &every_byte(b"\r\n"), &every_byte(b"\n")),
        ("the longest line", &longest("xx", "\r\n"), &longest("xx", "\n")),
        ("the longest line with dots", &longest("..", "\r\n"), &longest(".", "\n")),
    ];
    for (name, message, text) in table {
        for room in ROOMS {
            let (answers, mails) = talk(&session_with(message), room).await;
            assert_eq!(codes(&answers), BOTH, "{name}, {room} at once");
            let expected = [mail("b@example.org", text), mail("b@example.org", "good\n")];
            assert!(mails == expected, "{name}, {room} at once: {mails:?}");
        }
    }
}

/// Only CR LF . CR LF ends a message. What somebody else might take for its end
/// gets the whole of it refused, once, and nothing in it runs.
#[tokio::test]
async fn nothing_is_smuggled() {
    let evil = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<v@example.org>\r\nDATA\r\nevil";
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\n.\r",
        "\r.\n",
        "\n\n.\r\n",
        "\n\r.\r\n",
        "\r\n.\r\r\n",
        "\r\r\n.\n",
        "\r\n\n.\n",
        "\r\n.\n\r\n",
        "\r\n\0.\n",
        "\r\n.\0\n",
        "\n.\0\r\n",
        "\n..\r\n",
        "\n",
        "\r",
    ] {
        let message = format!("Subject: x\r\n\r\ntext{end}{evil}\r\n");
        for room in ROOMS {
            let (answers, mails) = talk(&session_with(message.as_bytes()), room).await;
            assert_eq!(codes(&answers), second_only("550"), "{end:?}, {room} at once");
            assert_eq!(mails, [mail("b@example.org", "good\n")], "{end:?}, {room} at once");
        }
    }
    // At the very start there is no line end before the dot to be spoilt.
    for message in ["\n.\n", "\n.\r\n", ".\n", ".\r", "\r.\r", ".\r\r\n", ".\n\r\n", "\r\r\n"] {
        let (answers, mails) =
            talk(&session_with(format!("{message}{evil}\r\n").as_bytes()), 64 * 1024).await;
        assert_eq!(codes(&answers), second_only("550"), "{message:?}");
        assert_eq!(mails, [mail("b@example.org", "good\n")], "{message:?}");
    }
    // These are text, and harmless.
    for end in
        ["\r\n. \r\n", "\r\n .\r\n", "\r\n.\0\r\n", "\r\n\0.\r\n", "\r\n..\r\n", "\r\n.\t\r\n"]
    {
        let (answers, mails) =
            talk(&session_with(format!("text{end}{evil}\r\n").as_bytes()), 64 * 1024).await;
        assert_eq!(codes(&answers), BOTH, "{end:?}");
        let text = format!("text{end}{evil}\r\n").replace("\r\n.", "\r\n").replace("\r\n", "\n");
        assert_eq!(mails[0].text, text.as_bytes(), "{end:?}");
        assert_eq!(mails.len(), 2, "{end:?}");
    }
}

#[tokio::test]
async fn split_anywhere_it_means_the_same() {
    let message = b"..dot\r\n.\n.\r.\r\r\n.\n..\r\n\r\nQUIT\r\n";
    let session = [b"NO\rOP\r\nEHLO [::1]\r\n", &session_with(message)[..]].concat();
    let whole = talk(&session, 64 * 1024).await;
    assert_eq!(codes(&whole.0), second_only("550").replacen("220", "220 500 501", 1));
    for at in 0..session.len() {
        let mut peer = Peer::new();
        peer.send(&session[..at]).await;
        // The server is polled until it has nothing left to do.
        for _ in 0..8 {
            yield_now().await;
        }
        peer.send(&session[at..]).await;
        assert_eq!(peer.reads_to_end().await, whole, "split at {at}");
    }
}

#[tokio::test]
async fn answers_come_in_order_with_documented_codes() {
    let (a, b) = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>");
    let table = [
        ("", "220 localhost ESMTP"),
        ("NOOP", "250 2.0.0"),
        ("BREW", "500 5.5.1"),
        ("NOOPS", "500 5.5.1"),
        (" NOOP", "500 5.5.1"),
        ("NOOP\t", "500 5.5.2"),
        (b, "503 5.5.1"),
        ("HELO client", "250 localhost"),
        ("VRFY b", "252 2.5.0"),
        ("VRFY", "501 5.5.4"),
        ("HELP", "214 2.0.0"),
        ("HELP MAIL", "214 2.0.0"),
        ("EXPN list", "502 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("MAIL FROM:a@example.org", "501 5.1.7"),
        ("MAIL", "501 5.5.4"),
        (&format!("{a} SIZE=100001"), "552 5.3.4"),
        (&format!("{a} AUTH=<>"), "555 5.5.4"),
        (a, "250 2.1.0"),
        (a, "503 5.5.1"),
        ("DATA", "554 5.5.1"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT FROM:<b@example.org>", "501 5.5.4"),
        (&format!("{b} NOTIFY=NEVER"), "555 5.5.4"),
        (b, "250 2.1.5"),
        ("NOOP behind it", "250 2.0.0"),
        ("DATA", "354 end with a dot"),
        ("x\r\n.", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("RSET now", "501 5.5.4"),
        ("DATA now", "501 5.5.4"),
        ("STARTTLS now", "501 5.5.4"),
        ("QUIT now", "501 5.5.4"),
        ("HELO", "501 5.5.4"),
        ("EHLO", "501 5.5.4"),
        ("QUIT", "221 2.0.0"),
    ];
    let (commands, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    let session = commands[1..].join("\r\n") + "\r\n";
    let (answers, mails) = talk(session.as_bytes(), 64 * 1024).await;
    codes(&answers);
    assert_eq!(answers.lines().count(), expected.len(), "{answers}");
    for ((answer, expected), command) in answers.lines().zip(expected).zip(commands) {
        assert!(answer.starts_with(expected), "{command}: {answer}");
    }
    assert_eq!(mails.len(), 1);

    let (answers, _) = talk(b"EHLO client\r\n", 64 * 1024).await;
    let extensions = "220 localhost ESMTP\r\n250-localhost\r\n250-PIPELINING\r\n\
        250-SIZE 100000\r\n250-8BITMIME\r\n250-STARTTLS\r\n250-HELP\r\n\
        250 ENHANCEDSTATUSCODES\r\n";
    assert_eq!(answers, extensions);
}

#[test]
fn commands_are_read_to_the_letter() {
    let local = "a".repeat(64);
    let domain = format!("{0}.{0}.{0}.{0}.com", "a".repeat(62));
    assert_eq!(domain.len(), 255);
    for address in [
        "a@b",
        "a.b.c@d.e.f",
        "!#$%&'*+-/=?^_`{|}~@b",
        "\"\"@b",
        "\" \"@b",
        "\"a@b>c\"@d",
        "\"\\\"\\\\\"@d",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "a@[ipv6:2001:db8::1]",
        "a@under_score.b-c",
        "a@1.2",
        &format!("{local}@b"),
        &format!("a@{domain}"),
    ] {
        let rcpt = format!("RCPT TO:<{address}>");
        assert_eq!(Command::parse(rcpt.as_bytes()), Ok(Command::Rcpt(address)));
        let mail = format!("MAIL FROM:<@[127.0.0.1],@x:{address}> SIZE=7");
        assert_eq!(Command::parse(mail.as_bytes()), Ok(Command::Mail(address, 7)));
    }
    for path in [
        "",
        "a@b",
        "<a@b",
        "a@b>",
        "<a@b>>",
        "<<a@b>>",
        "<a@b>x",
        "<a@b>SIZE=1",
        "<",
        "< a@b>",
        "<a@b >",
        "<a>",
        "<@b>",
        "<a@>",
        "<a@@b>",
        "<a@b@c>",
        "<a b@c>",
        "<.a@b>",
        "<a.@b>",
        "<a..b@c>",
        "<a@.b>",
        "<a@b.>",
        "<a@b..c>",
        "<a@-b>",
        "<a@b->",
        "<a@b c>",
        "<a@[b]>",
        "<a@[127.0.0.1>",
        "<a@[1.2.3]>",
        "<a@[IPv6:127.0.0.1]>",
        "<a@[::1]>",
        "<a@[]>",
        "<\"a@b>",
        "<\"a\"b@c>",
        "<a\"b\"@c>",
        "<\"a\\\"@b>",
        "<a,b@c>",
        "<a;b@c>",
        "<a:b@c>",
        "<a(b)@c>",
        "<a\\b@c>",
        "<@x>",
        "<@x:>",
        "<@x a@b>",
        "<@x,y:a@b>",
        "<@:a@b>",
        "<x,@y:a@b>",
        "<postmaster>x",
        "<post master>",
        &format!("<a{local}@b>"),
        &format!("<a@{domain}m>"),
    ] {
        let refused = Command::parse(format!("RCPT TO:{path}").as_bytes().to_vec().leak());
        assert_eq!(refused, Err("501 5.1.3 bad recipient address"), "{path}");
        let refused = Command::parse(format!("MAIL FROM:{path}").as_bytes().to_vec().leak());
        assert_eq!(refused, Err("501 5.1.7 bad sender address"), "{path}");
    }
    for (parameters, expected) in [
        ("", Ok(0)),
        (" SIZE=0", Ok(0)),
        (" size=42 body=7bit", Ok(42)),
        ("  BODY=8BITMIME   SIZE=42", Ok(42)),
        (" SIZE=99999999999999999999", Ok(u64::MAX)),
        (" SIZE", Err("501")),
        (" SIZE=", Err("501")),
        (" SIZE=-1", Err("501")),
        (" SIZE=+1", Err("501")),
        (" SIZE=1=1", Err("501")),
        (" BODY", Err("501")),
        (" BODY=BINARYMIME", Err("501")),
        (" SMTPUTF8", Err("555")),
        (" =", Err("555")),
    ] {
        let line = format!("MAIL FROM:<>{parameters}");
        let parsed = Command::parse(line.as_bytes()).map_err(|reply| &reply[..3]);
        assert_eq!(parsed, expected.map(|size| Command::Mail("", size)), "{parameters}");
    }
    for (line, parsed) in [
        ("MAIL FROM: <a@b> SIZE=7", Command::Mail("a@b", 7)),
        ("MAIL FROM:  <>", Command::Mail("", 0)),
        ("mail from: <@x:a@b>", Command::Mail("a@b", 0)),
        ("RCPT TO: <a@b>", Command::Rcpt("a@b")),
        ("RCPT TO:   <Postmaster>", Command::Rcpt("postmaster")),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Ok(parsed), "{line}");
    }
    for name in ["a", "a.b", "[127.0.0.1]", "[IPv6:::1]", "a_b-c", "a.", "a.b."] {
        assert_eq!(Command::parse(format!("EHLO {name}").as_bytes()), Ok(Command::Ehlo(name)));
        assert_eq!(Command::parse(format!("helo {name}").as_bytes()), Ok(Command::Helo(name)));
    }
    for name in ["", " a", "a b", "[]", "[::1]", "a)", "a\"", "a;", "<a>", "-", ".", "a..", ".a"] {
        let refused = "501 5.5.4 host name required";
        assert_eq!(Command::parse(format!("EHLO {name}").as_bytes()), Err(refused), "{name}");
    }
    // Whatever it is, it does not panic.
    for byte in 0..=255 {
        for line in ["", "MAIL FROM:<", "MAIL FROM:<\"", "RCPT TO:<@", "EHLO ["] {
            let _ = Command::parse(&[line.as_bytes(), &[byte]].concat());
            let _ = Command::parse(&[line.as_bytes(), &[byte, b'@', byte, b'>']].concat());
        }
    }
}

#[tokio::test]
async fn limits_are_met_at_their_edges() {
    let whole = 64 * 1024;
    // Lines of a message. The dot that is stuffed counts.
    let line = |n: usize| format!("{}\r\n", "x".repeat(n)).into_bytes();
    for (name, message, expected) in [
        ("the longest line", line(MAX_LINE), BOTH.to_owned()),
        ("one byte more", line(MAX_LINE + 1), second_only("500")),
        (
            "half a terminator more",
            [&line(MAX_LINE)[..MAX_LINE], b"\r.\r\n"].concat(),
            second_only("500"),
        ),
        ("many bytes more", line(1 << 20), second_only("500")),
        (
            "two such lines",
            [line(3000), b"MAIL FROM:<c@d>\r\n".to_vec(), line(3000)].concat(),
            second_only("500"),
        ),
        (
            "a dot behind a line too long",
            [line(3000), b"..\r\n".to_vec()].concat(),
            second_only("500"),
        ),
        (
            "a bare end in a line too long",
            [&line(3000)[..3000], b"\n.\n.\r\n"].concat(),
            second_only("500"),
        ),
        (
            "too long, then with a bare LF",
            [line(3000), b"a\nb\r\n".to_vec()].concat(),
            second_only("500"),
        ),
        (
            "with a bare LF, then too long",
            [b"a\nb\r\n".to_vec(), line(3000)].concat(),
            second_only("550"),
        ),
    ] {
        for room in [1000, whole] {
            let (answers, mails) = talk(&session_with(&message), room).await;
            assert_eq!(codes(&answers), expected, "{name}, {room} at once");
            assert_eq!(mails.len(), if expected == BOTH { 2 } else { 1 }, "{name}");
        }
    }

    // Messages: CR LF counts, dots that are stuffed do not.
    let fits = format!("{}{}", "x".repeat(98) + "\r\n", "..".to_owned() + &"x".repeat(97) + "\r\n");
    let fits = fits.repeat(MAX_SIZE as usize / 200);
    for (name, message, expected) in [
        ("the largest message", fits.clone(), BOTH.to_owned()),
        ("one byte more", format!("x{fits}"), second_only("552")),
        ("one empty line more", format!("{fits}\r\n"), second_only("552")),
        ("many more", fits.repeat(10), second_only("552")),
        ("too large, then with a bare LF", format!("{fits}x\r\n\n\r\n"), second_only("552")),
    ] {
        let (answers, mails) = talk(&session_with(message.as_bytes()), whole).await;
        assert_eq!(codes(&answers), expected, "{name}");
        let text = message.replace("\r\n.", "\r\n").replace("\r\n", "\n");
        let both = [mail("b@example.org", text), mail("b@example.org", "good\n")];
        assert!(mails == both[usize::from(expected != BOTH)..], "{name}");
    }

    // Commands. None runs behind one that is too long.
    let hello = "HELO a\r\n";
    let noop = |n: usize| format!("{hello}NOOP {}\r\nNOOP\r\n", "x".repeat(n - 5));
    for (name, session, expected) in [
        ("the longest command", noop(MAX_LINE), "220 250 250 250"),
        ("one byte more", noop(MAX_LINE + 1), "220 250 500"),
        ("a command as long as a message", noop(1 << 20), "220 250 500"),
        ("a command without an end", format!("{hello}{}", "x".repeat(5000)), "220 250 500"),
        (
            "a request of HTTP",
            format!("{hello}POST /{} HTTP/1.1\r\nHost: x\r\n\r\nNOOP\r\n", "x".repeat(5000)),
            "220 250 500",
        ),
        ("a bare LF behind it", format!("{hello}{}\nNOOP\r\n", "x".repeat(5000)), "220 250 500"),
        ("before HELO", format!("{}\r\nNOOP\r\n", "x".repeat(5000)), "220 500"),
    ] {
        for room in [1000, whole] {
            let (answers, _) = talk(session.as_bytes(), room).await;
            assert_eq!(codes(&answers), expected, "{name}, {room} at once");
        }
    }

    // Recipients.
    let session = format!(
        "{HELLO}MAIL FROM:<a@example.org>\r\n{}DATA\r\nx\r\n.\r\n",
        (0..130).map(|i| format!("RCPT TO:<{i}@b>\r\n")).collect::<String>()
    );
    let (answers, mails) = talk(session.as_bytes(), whole).await;
    let codes_of_all = ["250 ".repeat(100), "452 ".repeat(30)].concat();
    assert_eq!(codes(&answers), format!("220 250 250 {codes_of_all}354 250"));
    let recipients: Vec<_> = (0..100).map(|i| format!("{i}@b")).collect();
    assert_eq!(mails, [mail(&recipients.join(" "), "x\n")]);

    // Refusals. A mail that is stored makes good for those before it.
    let session = "BREW\r\n".repeat(30);
    let (answers, _) = talk(session.as_bytes(), whole).await;
    assert_eq!(codes(&answers), format!("220 {}421", "500 ".repeat(20)));
    let bad = "BREW\r\n".repeat(20);
    let session = format!("{bad}{}x\r\n.\r\n{bad}BREW\r\nNOOP\r\n", begun());
    let (answers, _) = talk(session.as_bytes(), whole).await;
    let bad = "500 ".repeat(20);
    assert_eq!(codes(&answers), format!("220 {bad}250 250 250 354 250 {bad}421"));
}

/// A peer that sends bare LFs is answered, instead of waited for.
#[tokio::test]
async fn a_bare_line_feed_is_refused_at_once() {
    for line in ["NOOP\n", "QUIT\n", "\n", "NOOP\r\r\r\n\n", "EHLO client\nMAIL FROM:<a@b>\n"] {
        let mut peer = Peer::new();
        peer.reads_up_to("220").await;
        peer.send(line).await;
        peer.reads_up_to("500").await;
        // It is closed with one answer at most more, though we have not closed.
        let (rest, _) = peer.reads_to_end().await;
        assert!(rest.is_empty() || line.starts_with("NOOP\r"), "{line:?}: {rest}");
    }
    let mut peer = Peer::new();
    peer.send("NOOP\rNOOP\r\n").await;
    peer.reads_up_to("500").await;
    peer.send("NOOP\r\n").await;
    peer.reads_up_to("250").await;
}

/// Wherever a connection breaks: what was not complete does not exist.
#[tokio::test]
async fn a_message_that_breaks_off_is_not_stored() {
    let session = begun() + "Subject: x\r\n\r\n..\r\n.\r\n";
    for at in 0..=session.len() {
        let (answers, mails) = talk(&session.as_bytes()[..at], 64 * 1024).await;
        let complete = at == session.len();
        assert_eq!(mails.len(), usize::from(complete), "cut off at {at}");
        assert_eq!(codes(&answers).ends_with("354 250"), complete, "cut off at {at}");
    }
    let large = begun() + &"x".repeat(70).repeat(20) + &"y\r\n".repeat(20_000);
    assert_eq!(talk(large.as_bytes(), 64 * 1024).await.1, []);
    assert_eq!(talk(format!("{large}.").as_bytes(), 64 * 1024).await.1, []);
    assert_eq!(talk(format!("{large}.\r").as_bytes(), 64 * 1024).await.1, []);

    // A reset, because there is something we have not read.
    let server = Server::start(MAX_SIZE).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(format!("{}half", begun()).as_bytes()).await.unwrap();
    socket.peek(&mut [0; 4]).await.unwrap();
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_is_cancelled_leaves_nothing() {
    let mut peer = Peer::new();
    peer.send(format!("{}{}", begun(), "half\r\n".repeat(10_000))).await;
    peer.reads_up_to("354").await;
    assert_eq!(peer.mailbox.names("tmp").len(), 1);
    peer.served.abort();
    assert!(within(peer.served).await.unwrap_err().is_cancelled());
    assert_eq!(peer.mailbox.mails(), []);
}

/// The disk fails; the session does not.
#[tokio::test]
async fn failed_store_is_reported() {
    let mut peer = Peer::new();
    peer.send(begun()).await;
    peer.reads_up_to("354").await;
    let folder = peer.mailbox.folder.path().to_owned();
    std::fs::remove_dir(folder.join("new")).unwrap();
    peer.send("text\r\n.\r\n").await;
    peer.reads_up_to("451 4.3.0").await;
    std::fs::remove_dir(folder.join("tmp")).unwrap();
    peer.send(format!("{ENVELOPE}DATA\r\n")).await;
    peer.reads_up_to("451 4.3.0").await;
    for name in ["tmp", "new"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    // The envelope is still there.
    peer.send("DATA\r\ntext\r\n.\r\nQUIT\r\n").await;
    peer.reads_up_to("250 2.0.0 stored").await;
    assert_eq!(peer.reads_to_end().await.1, [mail("b@example.org", "text\n")]);
}

#[tokio::test]
async fn full_disk_is_reported_to_peer_at_most_twenty_times() {
    let mut peer = Peer::new();
    std::fs::remove_dir(peer.mailbox.folder.path().join("tmp")).unwrap();
    peer.send(format!("{HELLO}{ENVELOPE}{}QUIT\r\n", "DATA\r\n".repeat(30))).await;
    within(&mut peer.served).await.unwrap().unwrap();
    let mut answers = String::new();
    peer.io.read_to_string(&mut answers).await.unwrap();
    assert_eq!(codes(&answers), format!("220 250 250 250 {}421", "451 ".repeat(20)));
}

/// In these tests the clock stands still: it moves on only when nothing else
/// can happen.
#[tokio::test(start_paused = true)]
async fn silent_peer_times_out() {
    let minutes = |n: u64| Duration::from_secs(60 * n);
    for (name, session) in [
        ("before its name", String::new()),
        ("behind it", HELLO.into()),
        ("in a transaction", format!("{HELLO}{ENVELOPE}")),
        ("in a command", "NOO".into()),
        ("in a line end", "NOOP\r".into()),
        ("in a message", begun()),
        ("in a line of it", format!("{}x\r\ny", begun())),
        ("in its end", format!("{}x\r\n.\r", begun())),
        ("in a line too long", begun() + &"x".repeat(5000)),
        ("in a message too large", begun() + &"x\r\n".repeat(50_000)),
    ] {
        let mut peer = Peer::new();
        let start = Instant::now();
        peer.send(&session).await;
        let (answers, mails) = timeout(HOUR, peer.waits_for_the_end()).await.unwrap();
        assert!(codes(&answers).ends_with(" 421"), "{name}: {answers}");
        assert!(answers.contains("421 4.4.2 "), "{name}: {answers}");
        assert_eq!(mails, [], "{name}");
        // The server has said it, and then read on for a second.
        assert!(start.elapsed() - minutes(5) < Duration::from_secs(2), "{name}");
    }
    // A byte now and then is not a line; a line now and then is.
    for (pieces, expected) in
        [(["N", "O", "O"], "220 421"), (["NOOP\r\n"; 3], "220 250 250 250 421")]
    {
        let mut peer = Peer::new();
        let start = Instant::now();
        for piece in pieces {
            let _ = peer.io.write_all(piece.as_bytes()).await;
            tokio::time::sleep(minutes(2)).await;
        }
        let (answers, _) = timeout(HOUR, peer.waits_for_the_end()).await.unwrap();
        assert_eq!(codes(&answers), expected);
        assert!(start.elapsed() < minutes(10));
    }
}

/// A word now and then does not keep a place, and a message does not begin a new hour.
#[tokio::test(start_paused = true)]
async fn a_session_ends_after_an_hour() {
    for (first, word) in [("", "NOOP\r\n"), (&*begun(), "x\r\n"), (&*begun(), ".\r\n")] {
        let (mut peer, start) = (Peer::new(), Instant::now());
        peer.send(first).await;
        // Until nobody reads.
        while peer.io.write_all(word.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(4 * 60)).await;
        }
        assert!(start.elapsed() < HOUR + Duration::from_secs(5 * 60), "{word:?}");
        let (answers, mails) = peer.reads_to_end().await;
        assert!(answers.contains("421 4.4.2 "), "{word:?}: {answers}");
        assert_eq!(mails.len(), usize::from(word == ".\r\n"));
    }
}

#[tokio::test]
async fn a_refused_message_is_not_read_without_end() {
    for piece in ["x\r\n", "\r\n", "x", "\n", ".", ".\n"] {
        let (mut peer, block) = (Peer::new(), piece.repeat(20_000));
        peer.send(begun()).await;
        peer.reads_up_to("354").await;
        let (mut reader, mut writer) = split(&mut peer.io);
        let sending = async {
            for sent in 0.. {
                assert!(sent * block.len() < 2 << 20, "{piece:?} is taken for ever");
                writer.write_all(block.as_bytes()).await.unwrap();
            }
        };
        let mut answer = [0; 5];
        tokio::select! {
            () = sending => unreachable!(),
            read = reader.read_exact(&mut answer) => drop(read.unwrap()),
        }
        assert_eq!(&answer, b"552 5", "{piece:?}");
        assert_eq!(within(peer.waits_for_the_end()).await.1, [], "{piece:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn peer_that_does_not_read_is_not_read_and_times_out() {
    let mut peer = Peer::new();
    let noops = "NOOP\r\n".repeat(100);
    let mut taken = 0;
    while timeout(Duration::from_secs(1), peer.send(&noops)).await.is_ok() {
        taken += noops.len();
        assert!(taken < 1 << 20, "{taken} bytes were taken and the answers not read");
    }
    let error = timeout(HOUR, peer.served).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Timeout(Timeout::Write(_))));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_after_deadline() {
    let mut peer = Peer::new();
    peer.send(begun() + "half").await;
    peer.reads_up_to("354").await;
    let start = Instant::now();
    peer.stop.cancel();
    let (rest, mails) = peer.reads_to_end().await;
    assert_eq!((&*rest, mails), ("", vec![]));
    assert_eq!(start.elapsed().as_secs(), 10);
}

/// The server itself, on a socket, with a certificate for localhost.
struct Server {
    address: SocketAddr,
    mailbox: Mailbox,
    stop: CancellationToken,
    served: JoinHandle<()>,
    files: TempDir,
}

impl Server {
    async fn start(max_size: u64) -> Self {
        let files = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mailbox = Mailbox::new();
        let config = mailbox.config(tls::from_files(&cert, &key).unwrap(), max_size);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(session::serve(listener, config, stop.clone()));
        Server { address, mailbox, stop, served, files }
    }

    fn cert(&self) -> PathBuf {
        self.files.path().join("cert.pem")
    }

    async fn connect(&self) -> Channel<TcpStream> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        Channel::new(socket, Terminator::crlf())
    }

    /// Stops it, waits for its end, and gives what it has stored.
    async fn stop(self) -> Vec<Mail> {
        self.stop.cancel();
        within(self.served).await.unwrap();
        self.mailbox.mails()
    }
}

/// Sends `commands` and reads the codes of as many answers.
#[track_caller]
fn expect<T: AsyncRead + AsyncWrite + Unpin>(
    client: &mut Channel<T>,
    commands: &str,
    expected: &str,
) -> impl Future<Output = String> {
    let place = std::panic::Location::caller();
    client.push_slice(commands.as_bytes());
    async move {
        let (mut answers, mut left) = (String::new(), expected.split(' ').count());
        while left > 0 {
            let line = within(client.receive(Terminator::crlf())).await.unwrap();
            let line = String::from_utf8(line.to_vec()).unwrap();
            left -= usize::from(line.as_bytes()[3] == b' ');
            answers += &(line + "\r\n");
        }
        assert_eq!(codes(&answers), expected, "{place}");
        answers
    }
}

fn connector(cert: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn starttls_resets_session() {
    let server = Server::start(MAX_SIZE).await;
    let mut client = server.connect().await;
    let answers = expect(&mut client, HELLO, "220 250").await;
    assert!(answers.contains("250-STARTTLS\r\n"));
    expect(&mut client, ENVELOPE, "250 250").await;
    expect(&mut client, "STARTTLS\r\n", "220").await;
    let tls = connector(&server.cert());
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = within(client.upgrade(|io| tls.connect(name, io))).await.unwrap();
    // Name and envelope are forgotten, and STARTTLS is not offered once more.
    expect(&mut client, ENVELOPE, "503 503").await;
    expect(&mut client, "DATA\r\nSTARTTLS\r\n", "503 503").await;
    let answers = expect(&mut client, HELLO, "250").await;
    assert!(!answers.contains("STARTTLS"), "{answers}");
    expect(&mut client, "DATA\r\nSTARTTLS\r\n", "503 503").await;
    let session = format!("{ENVELOPE}DATA\r\n..secret\r\n.\r\nNOOP\r\nQUIT\r\n");
    expect(&mut client, &session, "250 250 354 250 250 221").await;
    assert!(within(client.next()).await.is_none());
    drop(client);
    let received = "from client ([127.0.0.1]) ESMTPS".into();
    assert_eq!(server.stop().await, [Mail { received, ..mail("b@example.org", ".secret\n") }]);
}

/// What was sent in the clear behind STARTTLS does not run, neither in the
/// clear nor within TLS.
#[tokio::test]
async fn bytes_pipelined_after_starttls_are_not_run() {
    let evil = format!("{HELLO}{ENVELOPE}DATA\r\nevil\r\n.\r\n");
    let session = format!("{HELLO}STARTTLS\r\n{evil}QUIT\r\n");
    let (answers, mails) = talk(session.as_bytes(), 64 * 1024).await;
    assert_eq!((&*codes(&answers), mails), ("220 250 554", vec![]));
    let (answers, _) = talk(format!("{HELLO}STARTTLS\r\n\n").as_bytes(), 64 * 1024).await;
    assert_eq!(codes(&answers), "220 250 554");
    // What comes only after the answer is no handshake.
    for room in [1, 2, 3, 5, 7] {
        let mut peer = Peer::with_room(room);
        let (mut reader, mut writer) = split(&mut peer.io);
        let mut got = Vec::new();
        let writing = async {
            let _ = writer.write_all(session.as_bytes()).await;
            let _ = writer.shutdown().await;
        };
        within(async { tokio::join!(writing, reader.read_to_end(&mut got)) }).await.1.unwrap();
        drop(peer.io);
        let served = within(peer.served).await.unwrap();
        assert_eq!(peer.mailbox.mails(), [], "{room} at once");
        let got = String::from_utf8_lossy(&got);
        if !got.contains("\r\n554 ") {
            let (_, rest) = got.split_once("220 2.0.0 go ahead\r\n").unwrap();
            assert!(!rest.contains("250") && rest.len() < 50, "{room} at once: {rest}");
            served.unwrap_err();
        }
    }

    // The same with a client that goes on with its handshake.
    let server = Server::start(MAX_SIZE).await;
    let mut client = server.connect().await;
    expect(&mut client, HELLO, "220 250").await;
    expect(&mut client, "STARTTLS\r\n", "220").await;
    let tls = connector(&server.cert());
    let name = ServerName::try_from("localhost").unwrap();
    let failed = client.upgrade(|mut io| async move {
        io.write_all(evil.as_bytes()).await?;
        tls.connect(name, io).await
    });
    within(failed).await.unwrap_err();
    // A client that does not trust the certificate goes away in the middle.
    let mut client = server.connect().await;
    expect(&mut client, &format!("{HELLO}STARTTLS\r\n"), "220 250 220").await;
    let other = Server::start(MAX_SIZE).await;
    let tls = connector(&other.cert());
    let name = ServerName::try_from("localhost").unwrap();
    within(client.upgrade(|io| tls.connect(name, io))).await.unwrap_err();
    assert_eq!(other.stop().await, []);
    assert_eq!(server.stop().await, []);
}

#[tokio::test]
async fn stopping_finishes_the_mail_that_has_begun() {
    let server = Server::start(MAX_SIZE).await;
    let mut fresh = server.connect().await;
    expect(&mut fresh, "", "220").await;
    let mut idle = server.connect().await;
    expect(&mut idle, HELLO, "220 250").await;
    let mut sending = server.connect().await;
    expect(&mut sending, &begun(), "220 250 250 250 354").await;
    let mut addressing = server.connect().await;
    expect(&mut addressing, &format!("{HELLO}{ENVELOPE}"), "220 250 250 250").await;

    server.stop.cancel();
    for mut client in [fresh, idle] {
        expect(&mut client, "", "421").await;
        assert!(within(client.next()).await.is_none());
    }
    // By now nobody listens any more.
    TcpStream::connect(server.address).await.unwrap_err();
    for (mut client, rest, expected) in
        [(sending, "one\r\n.\r\n", "250 421"), (addressing, "DATA\r\ntwo\r\n.\r\n", "354 250 421")]
    {
        expect(&mut client, rest, expected).await;
        assert!(within(client.next()).await.is_none());
    }
    within(server.served).await.unwrap();
    let texts: Vec<_> = server.mailbox.mails().into_iter().map(|mail| mail.text).collect();
    assert_eq!(texts, [b"one\n", b"two\n"]);
}

/// To close a socket with unread input is to reset it: the server reads on.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_still_sending_gets_its_last_answer() {
    for (last, expected) in [("QUIT\r\n", "221"), ("NOOP\n", "500")] {
        let mut peer = Peer::with_room(1000);
        peer.reads_up_to("220").await;
        peer.send(last).await;
        peer.reads_up_to(expected).await;
        within(peer.io.read_u8()).await.unwrap_err();
        peer.send(vec![b'x'; 100_000]).await;
        peer.send("\r\nNOOP\r\n".repeat(1000)).await;
        assert_eq!(peer.reads_to_end().await.0, "");
    }
}

/// Mail that other programs send, with CR LF.
fn samples() -> Vec<Vec<u8>> {
    let head = "From: sender@example.org\r\nSubject: sample\r\n\r\n";
    let dots = ".\r\n..\r\n.x\r\n\r\n.\r\nx.\r\n";
    let mut large = Vec::from(head);
    for i in 0..73_000 {
        large.extend(format!("{:.<70}\r\n", format!("..{i}")).bytes());
    }
    assert!((5 << 20..6_000_000).contains(&large.len()), "{}", large.len());
    vec![
        format!("{head}short\r\n").into(),
        format!("{head}{dots}").into(),
        format!(".{head}{dots}").into(),
        [head.as_bytes(), b"\xc3\xa9 \xff\xfe \x01\x00 \xe9\r\n"].concat(),
        format!("{head}{}\r\n", "x".repeat(998)).into(),
        large,
    ]
}

fn text(mail: &[u8]) -> Vec<u8> {
    let mut text = mail.to_vec();
    text.retain(|&byte| byte != b'\r');
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn smtplib_gets_along_with_it() {
    if !programs::works(&["python3", "-c", "import pathlib, smtplib, ssl"]) {
        return;
    }
    let samples = samples();
    let folder = tempfile::tempdir().unwrap();
    for (i, sample) in samples.iter().enumerate() {
        std::fs::write(folder.path().join(i.to_string()), sample).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp_client.py");
    for secure in [false, true] {
        let limit = 6_000_000;
        let server = Server::start(limit).await;
        let mut python = tokio::process::Command::new("python3");
        python.arg(&script).arg(server.address.port().to_string()).arg(folder.path());
        python.arg(limit.to_string()).kill_on_drop(true);
        if secure {
            python.arg(server.cert());
        }
        let output = within(python.output()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mails = server.stop().await;
        // The first is sent behind each refusal, and not once more.
        let sent = [&samples[..1], &samples[..1], &samples[..1], &samples[1..]].concat();
        assert_eq!(mails.len(), sent.len());
        for (mail, sent) in mails.iter().zip(&sent) {
            assert!(mail.text == text(sent), "{} bytes", sent.len());
            assert_eq!(mail.sender, "sender@example.org");
            assert_eq!(mail.recipients, "one@example.org two@example.org");
            let protocol = if secure { " ([127.0.0.1]) ESMTPS" } else { " ([127.0.0.1]) ESMTP" };
            assert!(mail.received.ends_with(protocol), "{}", mail.received);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_gets_along_with_it() {
    // Without the module it has no TLS.
    if !programs::is_installed("swaks") || !programs::works(&["perl", "-MNet::SSLeay", "-e1"]) {
        return;
    }
    let server = Server::start(MAX_SIZE).await;
    let cert = server.cert();
    let verify = ["--tls", "--tls-verify", "--tls-ca-path", cert.to_str().unwrap()];
    let mut expected = Vec::new();
    for (name, options, protocol) in [
        ("plain", &[][..], "ESMTP"),
        ("HELO", &["--protocol", "SMTP"], "SMTP"),
        ("pipelined", &["--pipeline"], "ESMTP"),
        ("TLS", &["--tls"], "ESMTPS"),
        ("TLS, pipelined", &["--tls", "--pipeline"], "ESMTPS"),
        ("TLS, verified", &verify, "ESMTPS"),
    ] {
        let data = format!("Subject: {name}\\n\\n.\\n..\\n.x\\nend");
        let mut swaks = tokio::process::Command::new("swaks");
        swaks.args(["--server", "127.0.0.1", "--port", &server.address.port().to_string()]);
        swaks.args(["--helo", "client", "--from", "a@example.org"]);
        swaks.args(["--to", "b@example.org,c@example.org", "--data", &data]).args(options);
        let output = within(swaks.kill_on_drop(true).output()).await.unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
        expected.push(Mail {
            received: format!("from client ([127.0.0.1]) {protocol}"),
            ..mail("b@example.org c@example.org", format!("Subject: {name}\n\n.\n..\n.x\nend\n"))
        });
    }
    assert_eq!(server.stop().await, expected);
}
