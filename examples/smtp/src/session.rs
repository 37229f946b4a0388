//! The server: one task for each connection, with one [`Session`], and a second one after
//! STARTTLS.

use crate::command::{Command, Reply};
use crate::maildir::{Incoming, Maildir};
use asynchat::{Channel, Error, Terminator, Timeout, Timeouts};
use bytes::{Bytes, BytesMut};
use example_common::{is_browser, serve};
use futures::SinkExt;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The choices of the command line.
pub struct Config {
    pub maildir: Maildir,
    /// The most bytes a message may have, each line counted with its CR LF.
    pub max_size: u64,
    pub tls: TlsAcceptor,
}

/// Serves until `stop`, then lets every connection finish its mail.
pub async fn serve(listener: TcpListener, config: Config, stop: CancellationToken) {
    let config = Arc::new(config);
    let connection = |socket: TcpStream, stop| {
        let config = Arc::clone(&config);
        async move {
            if let Ok(peer) = socket.peer_addr() {
                // How one connection ends is no concern of the others.
                let _ = connection(socket, peer.ip(), config, stop).await;
            }
        }
    };
    serve::serve(listener, stop, connection).await;
}

/// Serves one connection until it is closed, or is to stop and takes too long.
pub async fn connection<T>(
    io: T,
    peer: IpAddr,
    config: Arc<Config>,
    stop: CancellationToken,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let too_late = async {
        stop.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        ended = sessions(io, peer, config, stop.clone()) => ended,
        // A mail that is being received is dropped with the session.
        () = too_late => Ok(()),
    }
}

/// A session, and one more if the peer goes over to TLS.
async fn sessions<T>(
    io: T,
    peer: IpAddr,
    config: Arc<Config>,
    stop: CancellationToken,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let channel = Channel::builder()
        .encode_terminator(Terminator::crlf())
        // The answers to a group of commands go out together (RFC 2920).
        .corked(true)
        .linger(LINGER)
        .timeouts(Timeouts::all(PATIENCE))
        .build(io);
    let mut session = Session::new(channel, peer, Arc::clone(&config), stop.clone());
    session.channel.push_frame("220 localhost ESMTP")?;
    if !session.run().await? {
        return Ok(());
    }
    session.channel.push_frame("220 2.0.0 go ahead")?;
    let upgrade = session.channel.upgrade(|io| config.tls.accept(io));
    let channel = timeout(PATIENCE, upgrade).await.map_err(io::Error::from)??;
    // Nothing of what was said before counts any more (RFC 3207, section 4.2).
    let mut session = Session::new(channel, peer, Arc::clone(&config), stop);
    session.is_secure = true;
    session.run().await.map(drop)
}

/// The server's side of a dialogue, in the clear or within TLS.
struct Session<T> {
    channel: Channel<T>,
    peer: IpAddr,
    config: Arc<Config>,
    stop: CancellationToken,
    /// The time at which it ends in any case.
    end: Instant,
    is_secure: bool,
    hello: Option<Hello>,
    /// The transaction, from MAIL on.
    mail: Option<Envelope>,
    /// The number of commands and messages refused since the last mail that was stored.
    refused: usize,
}

struct Hello {
    name: String,
    /// The name of the protocol that it speaks (RFC 3848).
    protocol: &'static str,
}

struct Envelope {
    sender: String,
    recipients: Vec<String>,
}

/// Why a session does not go on.
enum Break {
    /// This is the last answer.
    Bye(Reply),
    /// The peer asks for TLS, and has no answer yet.
    StartTls,
    Lost(Error),
}

impl From<Error> for Break {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(Timeout::Frame(_) | Timeout::Idle(_)) => Break::Bye(TOO_SLOW),
            error => Break::Lost(error),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<T> {
    fn new(
        channel: Channel<T>,
        peer: IpAddr,
        config: Arc<Config>,
        stop: CancellationToken,
    ) -> Self {
        let end = Instant::now() + SESSION;
        let (is_secure, hello, mail, refused) = (false, None, None, 0);
        Session { channel, peer, config, stop, end, is_secure, hello, mail, refused }
    }

    /// Serves the peer until the end. Returns whether it asks for TLS instead.
    async fn run(&mut self) -> Result<bool, Error> {
        let Err(reason) = self.dialogue().await;
        match reason {
            Break::Bye(reply) => self.channel.push_frame(reply)?,
            Break::StartTls => return Ok(true),
            // It may still be reading.
            Break::Lost(Error::UnexpectedEof { .. }) => {}
            Break::Lost(error) => return Err(error),
        }
        let closed = timeout(GRACE, self.channel.close());
        closed.await.map_err(io::Error::from)??;
        Ok(false)
    }

    async fn dialogue(&mut self) -> Result<Infallible, Break> {
        loop {
            let reply = self.step().await?;
            // The other recipients may have the next mail.
            if reply.starts_with(['4', '5']) && reply != TOO_MANY {
                if self.refused == MAX_REFUSED {
                    return Err(Break::Bye("421 4.7.0 too many errors"));
                }
                self.refused += 1;
            }
            self.answer(reply).await?;
        }
    }

    /// Runs a command, and returns the answer to it.
    async fn step(&mut self) -> Result<Reply, Break> {
        let (stop, is_idle) = (self.stop.clone(), self.mail.is_none());
        let line = tokio::select! {
            // A command that has arrived is answered first.
            biased;
            line = self.command_line() => line?,
            () = stop.cancelled(), if is_idle => {
                return Err(Break::Bye("421 4.3.2 the server is stopping"));
            }
        };
        match Command::parse(&line) {
            Ok(command) => self.execute(command).await,
            Err(reply) => Ok(reply),
        }
    }

    /// Returns the next command. One that is unlike a command ends the session, so that nothing
    /// after it runs.
    async fn command_line(&mut self) -> Result<BytesMut, Break> {
        self.channel.set_terminator(Terminator::line());
        let (mut line, mut is_complete) = (BytesMut::new(), false);
        while !is_complete {
            is_complete = self.part(&mut line).await?;
            if line.len() > MAX_LINE {
                // It may be a request of HTTP with a long target: its end is not waited for.
                return Err(Break::Bye(LINE_TOO_LONG));
            }
        }
        if is_browser(&line) {
            // A web page has made a browser send this line. Its own text follows.
            return Err(Break::Bye("221 2.7.0 this is not HTTP"));
        }
        if self.channel.ended_by() != b"\r\n" {
            // To other servers the text after it may be the same line.
            return Err(Break::Bye("500 5.5.2 lines must end in CR LF"));
        }
        Ok(line)
    }

    /// Adds the next part to a line, and returns whether it is complete. Further parts of one
    /// beyond [`MAX_LINE`] are dropped.
    async fn part(&mut self, line: &mut BytesMut) -> Result<bool, Break> {
        let part = timeout_at(self.end, self.channel.receive_part()).await;
        let part = part.map_err(|_| Break::Bye(TOO_SLOW))??;
        if line.len() <= MAX_LINE {
            line.extend_from_slice(part.data());
        }
        Ok(part.is_complete())
    }

    async fn execute(&mut self, command: Command<'_>) -> Result<Reply, Break> {
        Ok(match (command, &mut self.mail) {
            (Command::Quit, _) => return Err(Break::Bye("221 2.0.0 bye")),
            (Command::Noop, _) => OK,
            (Command::Help, _) => "214 2.0.0 see RFC 5321",
            (Command::Vrfy, _) => "252 2.5.0 cannot verify, but will try",
            (Command::Rset, mail) => {
                *mail = None;
                OK
            }
            (Command::Helo(name), mail) => {
                *mail = None;
                self.hello = Some(Hello { name: name.to_owned(), protocol: "SMTP" });
                "250 localhost"
            }
            (Command::Ehlo(name), mail) => {
                *mail = None;
                let protocol = if self.is_secure { "ESMTPS" } else { "ESMTP" };
                self.hello = Some(Hello { name: name.to_owned(), protocol });
                self.extensions().await?
            }
            (_, _) if self.hello.is_none() => "503 5.5.1 EHLO first, please",
            (Command::StartTls, _) if self.is_secure => "503 5.5.1 TLS is already active",
            (Command::StartTls, _) if !self.channel.unread().is_empty() => {
                // It came in the clear, and would be run as if it had not.
                return Err(Break::Bye("554 5.5.1 nothing may follow STARTTLS"));
            }
            (Command::StartTls, _) => return Err(Break::StartTls),
            (Command::Mail(..), Some(_)) => "503 5.5.1 a mail has already begun",
            (Command::Mail(_, size), _) if size > self.config.max_size => TOO_LARGE,
            (Command::Mail(sender, _), mail) => {
                *mail = Some(Envelope { sender: sender.to_owned(), recipients: Vec::new() });
                "250 2.1.0 OK"
            }
            (Command::Rcpt(_) | Command::Data, None) => "503 5.5.1 MAIL first, please",
            (Command::Rcpt(_), Some(mail)) if mail.recipients.len() == MAX_RECIPIENTS => TOO_MANY,
            (Command::Rcpt(recipient), Some(mail)) => {
                mail.recipients.push(recipient.to_owned());
                "250 2.1.5 OK"
            }
            (Command::Data, Some(mail)) if mail.recipients.is_empty() => "554 5.5.1 no recipients",
            (Command::Data, _) => self.data().await?,
        })
    }

    /// The answer to EHLO, but for its last line.
    async fn extensions(&mut self) -> Result<Reply, Break> {
        self.answer("250-localhost").await?;
        self.answer("250-PIPELINING").await?;
        self.answer(format!("250-SIZE {}", self.config.max_size)).await?;
        self.answer("250-8BITMIME").await?;
        if !self.is_secure {
            self.answer("250-STARTTLS").await?;
        }
        self.answer("250-HELP").await?;
        Ok("250 ENHANCEDSTATUSCODES")
    }

    /// Receives a message and stores it.
    async fn data(&mut self) -> Result<Reply, Break> {
        let begun = match self.trace() {
            Ok(trace) => self.config.maildir.begin(trace).await,
            Err(error) => Err(error),
        };
        let file = match begun {
            Ok(file) => file,
            Err(error) => return Ok(not_stored(&error)),
        };
        self.answer("354 end with a dot").await?;
        let message = self.message(file).await?;
        self.mail = None;
        Ok(match message {
            Ok(message) => match message.deliver().await {
                Ok(()) => {
                    self.refused = 0;
                    "250 2.0.0 stored"
                }
                Err(error) => not_stored(&error),
            },
            Err(reply) => reply,
        })
    }

    /// Writes a message to a file. A refusal is answered at the end of the message, unless
    /// that is too far away.
    async fn message(&mut self, file: Incoming) -> Result<Result<Incoming, Reply>, Break> {
        self.channel.set_terminator(Terminator::crlf());
        // Dots that are stuffed do not count in the size, so that this is not too early.
        let most = self.config.max_size.saturating_mul(2).saturating_add(EXCESS);
        let last = self.channel.received_bytes().saturating_add(most);
        let (mut message, mut size, mut line) = (Ok(file), 0, BytesMut::new());
        loop {
            let is_complete = self.part(&mut line).await?;
            if self.channel.received_bytes() > last {
                return Err(Break::Bye(TOO_LARGE));
            }
            if !is_complete {
                continue;
            }
            if line == "." {
                return Ok(message);
            }
            let text = line.strip_prefix(b".").unwrap_or(&line);
            size += text.len() as u64 + 2;
            if let Ok(file) = &mut message {
                if line.len() > MAX_LINE {
                    message = Err(LINE_TOO_LONG);
                } else if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                    message = Err("550 5.6.0 bare CR or LF in the message");
                } else if size > self.config.max_size {
                    message = Err(TOO_LARGE);
                } else if let Err(error) = file.write_line(text).await {
                    message = Err(not_stored(&error));
                }
            }
            line.clear();
        }
    }

    /// Returns the lines in front of a message: its origin and its recipients (RFC 5321,
    /// section 4.4).
    fn trace(&self) -> io::Result<String> {
        let mut trace = String::new();
        if let Some(mail) = &self.mail {
            trace += &format!("Return-Path: <{}>\n", mail.sender);
            for recipient in &mail.recipients {
                trace += &format!("Delivered-To: {recipient}\n");
            }
        }
        if let Some(Hello { name, protocol }) = &self.hello {
            let peer = match self.peer.to_canonical() {
                IpAddr::V4(address) => format!("[{address}]"),
                IpAddr::V6(address) => format!("[IPv6:{address}]"),
            };
            let date = OffsetDateTime::now_utc().format(&Rfc2822).map_err(io::Error::other)?;
            trace += &format!("Received: from {name} ({peer})\n");
            trace += &format!("\tby localhost with {protocol};\n\t{date}");
        }
        Ok(trace)
    }

    /// Queues a line, which the next wait for the peer sends. If there is no capacity, the
    /// peer has to read first.
    async fn answer(&mut self, line: impl Into<Bytes>) -> Result<(), Break> {
        let queued = timeout_at(self.end, self.channel.feed(line.into())).await;
        Ok(queued.map_err(|_| Break::Bye(TOO_SLOW))??)
    }
}

fn not_stored(error: &io::Error) -> Reply {
    serve::report(format_args!("cannot store a message: {error}"));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "452 4.3.1 insufficient storage"
        }
        _ => "451 4.3.0 temporary storage failure",
    }
}

const OK: Reply = "250 2.0.0 OK";
const LINE_TOO_LONG: Reply = "500 5.5.2 line too long";
const TOO_LARGE: Reply = "552 5.3.4 message too large";
const TOO_MANY: Reply = "452 4.5.3 too many recipients";
const TOO_SLOW: Reply = "421 4.4.2 timed out";

/// Bytes of a line, its CR LF not counted. RFC 5321, section 4.5.3.1, wants 510
/// of a command and 998 of text; some mailers do not fold their long lines.
const MAX_LINE: usize = 2048;

/// Bytes beyond twice the allowed size that are read of a refused message, for its end.
const EXCESS: u64 = 1 << 20;

const MAX_RECIPIENTS: usize = 100;

/// The number of refusals that are answered before the connection is given up.
const MAX_REFUSED: usize = 20;

/// The wait for a line, for capacity, or for a handshake (section 4.5.3.2).
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The time of a session, so that nobody keeps a place by a word now and then.
const SESSION: Duration = Duration::from_secs(60 * 60);

/// The time in which a connection has to finish.
const GRACE: Duration = Duration::from_secs(10);

/// The time for which input is read after the close.
const LINGER: Duration = Duration::from_secs(1);
