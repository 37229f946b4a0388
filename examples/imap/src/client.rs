//! A client of IMAP4rev1. Commands and answers may contain literals.

use super::parse::{Kind, Malformed, Parser, Response, Status, TOO_MUCH, Value, message};
use asynchat::{BoxProducer, Channel, Terminator, Timeout, Timeouts, producer};
use bytes::Bytes;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// A connection to an IMAP server.
///
/// A command that is not answered to its end, because it failed halfway or its
/// future was dropped, leaves the connection unusable: later ones are
/// [`Error::Broken`]. After [`Error::Refused`] and [`Error::Argument`] it goes on.
pub struct Client<T> {
    channel: Channel<T>,
    parser: Parser,
    settings: Settings,
    /// Since when an answer is awaited, and how many bytes there had been until then.
    awaited: Option<(Instant, u64)>,
    /// The number of the last command.
    tag: u32,
    /// `true` if the answer to the last command is incomplete.
    is_busy: bool,
    is_authenticated: bool,
    /// The last list of the server, under TLS if there is TLS.
    pub capabilities: Vec<String>,
    /// Data that the last command did not request: the server may report at any time
    /// that a message was added, removed or changed.
    pub unasked: VecDeque<Vec<Value>>,
    /// Notices that came with the last answer.
    pub notices: Vec<Status>,
}

/// The limits for a server.
#[derive(Clone, Copy)]
pub struct Settings {
    /// The bytes of memory that the answer to one command may take.
    pub max_answer: usize,
    /// The time that the server may be silent. An answer may take ten times as long, and
    /// longer if there is much to send or to receive.
    pub timeout: Duration,
    /// Called with each alert, which must be shown to the user (RFC 3501, section 7.1).
    pub alert: fn(&str),
}

#[derive(Debug, PartialEq)]
pub struct Mailbox {
    /// As the server writes it: other letters than ASCII are in modified UTF-7.
    pub name: String,
    pub flags: Vec<String>,
}

#[derive(Debug, PartialEq)]
pub struct Selected {
    /// The number of messages.
    pub exists: u32,
    pub is_read_only: bool,
}

/// The data of a message: names and values.
#[derive(Debug, PartialEq)]
pub struct Fetched {
    pub number: u32,
    pub items: Vec<(String, Value)>,
}

impl Fetched {
    pub fn get(&self, name: &str) -> Option<&Value> {
        let mut items = self.items.iter();
        items.find(|(item, _)| item.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A part of a command.
enum Part<'a> {
    /// Sent as it is.
    Words(&'a str),
    /// Sent in quotes, or as a literal.
    Text(&'a str),
    /// A literal of this number of bytes.
    Literal(u64, BoxProducer),
}

use Part::{Literal, Text, Words};

/// The answers to a command, besides data.
enum Reply {
    Continue,
    Ended(Status),
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Awaits the greeting.
    pub async fn connect(io: T, settings: Settings) -> Result<Self, Error> {
        let channel = Channel::builder()
            // No line of a command has a line end in it: `push_frame` sees to that.
            .encode_terminator(Terminator::line())
            .build(io);
        let mut client = Client::new(channel, settings);
        match client.response().await? {
            Response::Status(Status { kind: Kind::Ok, .. }) => {}
            Response::Status(Status { kind: Kind::PreAuth, .. }) => client.is_authenticated = true,
            Response::Status(Status { kind: Kind::Bye, text, .. }) => return Err(Error::Bye(text)),
            _ => return Err(Error::Malformed("no greeting")),
        }
        Ok(client)
    }

    fn new(channel: Channel<T>, settings: Settings) -> Self {
        let mut client = Client {
            channel,
            parser: Parser::new(settings.max_answer),
            settings,
            awaited: None,
            tag: 0,
            is_busy: false,
            is_authenticated: false,
            capabilities: Vec::new(),
            unasked: VecDeque::new(),
            notices: Vec::new(),
        };
        client.await_answer(true);
        client
    }

    /// Changes to TLS, with this `handshake`.
    ///
    /// No state is carried over. `Channel::upgrade` refuses bytes that the server, or an
    /// attacker in between, has sent after its consent: they would be taken for an answer under
    /// TLS (CVE-2021-38371).
    pub async fn start_tls<U, F, Fut>(mut self, handshake: F) -> Result<Client<U>, Error>
    where
        F: FnOnce(T) -> Fut,
        Fut: Future<Output = io::Result<U>>,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        if self.is_authenticated {
            // Too late for STARTTLS, and perhaps said by somebody in between.
            return Err(Error::Malformed("authenticated before TLS"));
        }
        self.command(vec![Words("STARTTLS")]).await?;
        let channel = self.channel.upgrade(handshake).await.map_err(asynchat::Error::from)?;
        Ok(Client::new(channel, self.settings))
    }

    /// Logs in, unless the server knows the user already (`PREAUTH`).
    pub async fn login(&mut self, user: &str, password: &str) -> Result<(), Error> {
        self.ask_capabilities().await?;
        if self.is_authenticated {
            return Ok(());
        }
        if self.is_capable_of("LOGINDISABLED") {
            return Err(Error::Argument("no login on this connection, try TLS"));
        }
        self.command(vec![Words("LOGIN "), Text(user), Words(" "), Text(password)]).await?;
        self.is_authenticated = true;
        self.ask_capabilities().await
    }

    /// The mailboxes whose names match: `*` is anything, `%` stops at a level.
    pub async fn list(&mut self, pattern: &str) -> Result<Vec<Mailbox>, Error> {
        self.command(vec![Words("LIST \"\" "), Text(pattern)]).await?;
        self.take("LIST", |data| match data {
            [_, Value::List(flags), _, name, ..] => {
                let flags = flags.iter().filter_map(Value::text).collect();
                Some(Mailbox { name: name.text()?, flags })
            }
            _ => None,
        })
    }

    pub async fn select(&mut self, mailbox: &str) -> Result<Selected, Error> {
        self.open("SELECT ", mailbox).await
    }

    /// Opens a mailbox without changing anything in it.
    pub async fn examine(&mut self, mailbox: &str) -> Result<Selected, Error> {
        self.open("EXAMINE ", mailbox).await
    }

    /// Returns the numbers of the messages that match criteria of IMAP: `UNSEEN`,
    /// `FROM "ann" SINCE 1-Feb-2024`, `RETURN (ALL) UNSEEN`.
    pub async fn search(&mut self, criteria: &str) -> Result<Vec<u32>, Error> {
        self.command(vec![Words(&format!("SEARCH {criteria}"))]).await?;
        let (tag, room) = (format!("A{}", self.tag), self.parser.room());
        let mut found = self.take("SEARCH", searched)?;
        found.extend(self.take("ESEARCH", |data| extended_search(data, &tag, room))?);
        Ok(found.concat())
    }

    /// Returns data of these messages (`1:3,5`, for example), and perhaps of others. The data is
    /// held in memory.
    pub async fn fetch(&mut self, set: &str, items: &str) -> Result<Vec<Fetched>, Error> {
        self.command(vec![Words(&format!("FETCH {set} {items}"))]).await?;
        self.take("FETCH", fetched)
    }

    /// Writes a message of any length to `to` as it arrives, and returns its length. `progress` is
    /// called with the number of bytes so far.
    pub async fn fetch_to<W: AsyncWrite + Unpin>(
        &mut self,
        number: u32,
        to: &mut W,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<u64, Error> {
        self.send(vec![Words(&format!("FETCH {number} BODY.PEEK[]"))]).await?;
        let mut streamed = None;
        loop {
            match self.parser.literal() {
                Some(length) if streamed.is_none() && self.parser.is_at_message(number) => {
                    self.stream(length, to, &mut progress).await?;
                    streamed = Some(length);
                    self.parser.took_literal(Value::Streamed(length))?;
                }
                _ => {
                    let Some(response) = self.step().await? else { continue };
                    if let Some(reply) = self.keep(response)? {
                        self.end(reply)?;
                        break;
                    }
                }
            }
        }
        let fetched =
            self.take("FETCH", fetched)?.into_iter().filter(|fetched| fetched.number == number);
        let length = match (streamed, fetched.filter_map(|f| f.get("BODY[]").cloned()).next()) {
            (Some(length), _) => length,
            // A short one need not be a literal.
            (None, Some(Value::String(message))) => {
                to.write_all(&message).await.map_err(Error::Output)?;
                message.len() as u64
            }
            _ => return Err(Error::Malformed("no message")),
        };
        to.flush().await.map_err(Error::Output)?;
        Ok(length)
    }

    /// Changes flags: `change` is `FLAGS`, `+FLAGS` or `-FLAGS`.
    pub async fn store(
        &mut self,
        set: &str,
        change: &str,
        flags: &[&str],
    ) -> Result<Vec<Fetched>, Error> {
        let words = format!("STORE {set} {change} ({})", flags.join(" "));
        self.command(vec![Words(&words)]).await?;
        self.take("FETCH", fetched)
    }

    /// Adds a message of `length` bytes to a mailbox, as it is read. A message that ends early is
    /// not added, and breaks the connection.
    pub async fn append<R>(&mut self, mailbox: &str, length: u64, message: R) -> Result<(), Error>
    where
        R: AsyncRead + Send + 'static,
    {
        let message = Box::pin(producer::from_reader_exact(message, length));
        let message = Literal(length, message);
        self.command(vec![Words("APPEND "), Text(mailbox), Words(" "), message]).await?;
        Ok(())
    }

    pub async fn create(&mut self, mailbox: &str) -> Result<(), Error> {
        self.command(vec![Words("CREATE "), Text(mailbox)]).await?;
        Ok(())
    }

    /// Waits for changes, which the server reports as they happen.
    pub async fn idle(&mut self) -> Result<Idle<'_, T>, Error> {
        self.send(vec![Words("IDLE")]).await?;
        self.go_ahead().await?;
        let mut idle = Idle { client: self, phase: Phase::Beginning };
        idle.begun();
        Ok(idle)
    }

    /// Logs out. The work is done, so the way in which the connection ends does not matter.
    pub async fn logout(mut self) -> Result<(), Error> {
        self.send(vec![Words("LOGOUT")]).await?;
        loop {
            match self.reply().await {
                Err(Error::Bye(_)) => {}
                Err(Error::Channel(_)) => return Ok(()),
                reply => {
                    self.end(reply?)?;
                    let _ = self.channel.shutdown().await;
                    return Ok(());
                }
            }
        }
    }
}

/// Commands and their ends.
impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    async fn command(&mut self, parts: Vec<Part<'_>>) -> Result<Status, Error> {
        self.send(parts).await?;
        let reply = self.reply().await?;
        self.end(reply)
    }

    async fn send(&mut self, parts: Vec<Part<'_>>) -> Result<(), Error> {
        for part in &parts {
            match part {
                // The brace would begin a literal.
                Words(words) if !is_printable(words) || words.contains('{') => {
                    return Err(Error::Argument("a character that cannot be sent there"));
                }
                Text(text) if text.contains('\0') => {
                    return Err(Error::Argument("NUL cannot be sent"));
                }
                _ => {}
            }
        }
        if std::mem::replace(&mut self.is_busy, true) {
            return Err(Error::Broken);
        }
        self.unasked.clear();
        self.notices.clear();
        self.parser.set_room(self.settings.max_answer);
        self.await_answer(true);
        self.tag = self.tag.wrapping_add(1);
        let mut line = format!("A{} ", self.tag);
        for part in parts {
            match part {
                Words(words) => line += words,
                Text(text) if is_printable(text) => {
                    line += &format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
                }
                Text(text) => {
                    self.begin_literal(std::mem::take(&mut line), text.len() as u64).await?;
                    self.channel.push_slice(text.as_bytes());
                }
                Literal(length, data) => {
                    self.begin_literal(std::mem::take(&mut line), length).await?;
                    self.channel.push_with_producer(data);
                }
            }
        }
        Ok(self.channel.push_frame(line)?)
    }

    /// Ends a line with the announcement of a literal, and waits for consent if the server
    /// requires that.
    async fn begin_literal(&mut self, line: String, length: u64) -> Result<(), Error> {
        if self.is_capable_of("LITERAL+") {
            return Ok(self.channel.push_frame(format!("{line}{{{length}+}}"))?);
        }
        self.channel.push_frame(format!("{line}{{{length}}}"))?;
        self.go_ahead().await
    }

    /// Waits for `+`. The server may refuse an incomplete command, but cannot have executed it.
    async fn go_ahead(&mut self) -> Result<(), Error> {
        match self.reply().await? {
            Reply::Continue => Ok(()),
            reply => {
                self.end(reply)?;
                self.is_busy = true;
                Err(Error::Malformed("the end of an incomplete command"))
            }
        }
    }

    async fn reply(&mut self) -> Result<Reply, Error> {
        loop {
            let response = self.response().await?;
            if let Some(reply) = self.keep(response)? {
                return Ok(reply);
            }
        }
    }

    /// Keeps the data that is not about the command.
    fn keep(&mut self, response: Response) -> Result<Option<Reply>, Error> {
        match response {
            Response::Data(data) => self.unasked.push_back(data),
            Response::Status(Status { kind: Kind::Bye, text, .. }) => return Err(Error::Bye(text)),
            Response::Status(status) => self.notices.push(status),
            Response::Continue => return Ok(Some(Reply::Continue)),
            Response::Tagged(tag, status) if tag == format!("A{}", self.tag) => {
                return Ok(Some(Reply::Ended(status)));
            }
            Response::Tagged(..) => return Err(Error::Malformed("the end of another command")),
        }
        Ok(None)
    }

    fn end(&mut self, reply: Reply) -> Result<Status, Error> {
        let Reply::Ended(status) = reply else {
            return Err(Error::Malformed("a continuation that was not requested"));
        };
        self.is_busy = false;
        if status.kind == Kind::Ok { Ok(status) } else { Err(Error::Refused(status)) }
    }

    async fn ask_capabilities(&mut self) -> Result<(), Error> {
        self.command(vec![Words("CAPABILITY")]).await?;
        let names = |data: &[Value]| data.iter().skip(1).map(Value::text).collect::<Option<_>>();
        let told: Vec<Vec<_>> = self.take("CAPABILITY", names)?;
        self.capabilities = told.concat();
        Ok(())
    }

    fn is_capable_of(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|name| name.eq_ignore_ascii_case(capability))
    }

    async fn open(&mut self, verb: &str, mailbox: &str) -> Result<Selected, Error> {
        let ended = self.command(vec![Words(verb), Text(mailbox)]).await?;
        let exists = self.take("EXISTS", |data| data[0].number()?.try_into().ok())?;
        let exists = *exists.last().ok_or("no size of the mailbox")?;
        Ok(Selected { exists, is_read_only: ended.code.eq_ignore_ascii_case("READ-ONLY") })
    }

    /// Takes the answers that the last command requested. Each one must be valid: a skipped answer
    /// would look like an empty result.
    fn take<R>(
        &mut self,
        word: &str,
        read: impl Fn(&[Value]) -> Option<R>,
    ) -> Result<Vec<R>, Error> {
        let is_asked = |data: &Vec<Value>| keyword(data).is_some_and(|name| name.is(word));
        let (asked, rest): (Vec<_>, Vec<_>) = self.unasked.drain(..).partition(is_asked);
        self.unasked = rest.into();
        let unread = Error::Malformed("an answer that cannot be read");
        asked.iter().map(|data| read(data)).collect::<Option<_>>().ok_or(unread)
    }
}

/// Responses: the terminator switches between lines and counts.
impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Cancel safe, as `step` is.
    async fn response(&mut self) -> Result<Response, Error> {
        loop {
            if let Some(response) = self.step().await? {
                return Ok(response);
            }
        }
    }

    /// Reads a line or a literal, and returns the response if that is its end.
    ///
    /// Cancel safe: `receive` is, and its result goes to the parser before anything else is
    /// awaited.
    async fn step(&mut self) -> Result<Option<Response>, Error> {
        let literal = self.parser.literal();
        let next = literal.map_or(Terminator::crlf(), Terminator::from);
        let data = match self.receive(next).await {
            Err(asynchat::Error::FrameTooLong { .. }) => return Err(Error::Malformed(TOO_MUCH)),
            data => data?,
        };
        if literal.is_some() {
            self.parser.took_literal(Value::String(data))?;
            return Ok(None);
        }
        let response = self.parser.line(&data)?;
        match &response {
            Some(Response::Status(status) | Response::Tagged(_, status))
                if status.code.eq_ignore_ascii_case("ALERT") =>
            {
                (self.settings.alert)(&status.text);
            }
            _ => {}
        }
        Ok(response)
    }

    /// Limits the silence of the server if it owes an answer.
    fn await_answer(&mut self, is_owed: bool) {
        let timeout = self.settings.timeout;
        let idle = is_owed.then_some(timeout);
        let timeouts = Timeouts { idle, min_rate: Some(MIN_RATE), ..Timeouts::all(timeout) };
        self.channel.set_timeouts(timeouts);
        self.awaited = is_owed.then(|| (Instant::now(), self.transferred()));
    }

    /// Receives until the answer is due, even if the server keeps sending. Cancel safe.
    async fn receive(&mut self, next: Terminator) -> Result<Bytes, asynchat::Error> {
        while let Some(due) = self.due() {
            let receiving = self.channel.receive_within(self.parser.room(), next.clone());
            match timeout_at(due, receiving).await {
                Ok(received) => return received,
                Err(_) if self.due() > Some(due) => {}
                Err(_) => return Err(Timeout::Frame(LONG * self.settings.timeout).into()),
            }
        }
        self.channel.receive_within(self.parser.room(), next).await
    }

    /// Returns the time at which the answer is due, as far as is known.
    fn due(&self) -> Option<Instant> {
        let (since, transferred) = self.awaited?;
        let earned = (self.transferred() - transferred) / u64::from(MIN_RATE.get());
        Some(since + LONG * self.settings.timeout + Duration::from_secs(earned))
    }

    fn transferred(&self) -> u64 {
        self.channel.received_bytes() + self.channel.sent_bytes()
    }

    async fn stream<W: AsyncWrite + Unpin>(
        &mut self,
        length: u64,
        to: &mut W,
        progress: &mut impl FnMut(u64, u64),
    ) -> Result<(), Error> {
        self.channel.set_terminator(length);
        let mut done = 0;
        loop {
            let part = self.channel.receive_part().await?;
            to.write_all(part.data()).await.map_err(Error::Output)?;
            done += part.data().len() as u64;
            progress(done, length);
            if part.is_complete() {
                return Ok(());
            }
        }
    }
}

/// A server that reports changes until `done`. Dropping this instead breaks the connection.
pub struct Idle<'c, T> {
    client: &'c mut Client<T>,
    phase: Phase,
}

/// The progress of idling. A server may close a connection that only idles for 30 minutes, so
/// idling ends earlier and begins again (RFC 2177).
enum Phase {
    Beginning,
    Idling { until: Instant },
    Ending,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Idle<'_, T> {
    /// Returns the next change: `4 EXISTS`, for example.
    ///
    /// Cancel safe: nothing is lost, not even half a response.
    pub async fn next(&mut self) -> Result<Vec<Value>, Error> {
        loop {
            if let Some(data) = self.client.unasked.pop_front() {
                return Ok(data);
            }
            self.step().await?;
            // This can go on for ever: the limit is for one response.
            self.client.parser.set_room(self.client.settings.max_answer);
            self.client.notices.clear();
        }
    }

    pub async fn done(mut self) -> Result<(), Error> {
        while let Phase::Beginning = self.phase {
            self.step().await?;
        }
        if let Phase::Idling { .. } = self.phase {
            self.ask_for_end()?;
        }
        let reply = self.client.reply().await?;
        self.client.end(reply)?;
        Ok(())
    }

    /// Awaits a response, or the time to begin again.
    ///
    /// Cancel safe, as `response` is.
    async fn step(&mut self) -> Result<(), Error> {
        let response = self.client.response();
        let response = match self.phase {
            Phase::Idling { until } => match timeout_at(until, response).await {
                Ok(response) => response?,
                Err(_) => return self.ask_for_end(),
            },
            _ => response.await?,
        };
        match (self.client.keep(response)?, &self.phase) {
            (None, _) => {}
            (Some(Reply::Continue), Phase::Beginning) => self.begun(),
            (Some(reply @ Reply::Ended(_)), Phase::Ending) => {
                self.client.end(reply)?;
                self.phase = Phase::Beginning;
                // It waits only for literals, and there is none.
                self.client.send(vec![Words("IDLE")]).await?;
            }
            _ => return Err(Error::Malformed("the end of idling")),
        }
        Ok(())
    }

    fn begun(&mut self) {
        self.client.await_answer(false);
        self.phase = Phase::Idling { until: Instant::now() + RENEWAL };
    }

    fn ask_for_end(&mut self) -> Result<(), Error> {
        self.client.await_answer(true);
        self.phase = Phase::Ending;
        Ok(self.client.channel.push_frame("DONE")?)
    }
}

/// Returns the name of the data: the first word, or the one after a number.
fn keyword(data: &[Value]) -> Option<&Value> {
    data.get(usize::from(data.first()?.number().is_some()))
}

/// `SEARCH 1 2 3 (MODSEQ 12)`: the list is of RFC 7162.
fn searched(data: &[Value]) -> Option<Vec<u32>> {
    let mut numbers = data.get(1..)?;
    if let [before @ .., Value::List(list)] = numbers {
        let [word, number] = &list[..] else { return None };
        numbers = number.number().filter(|_| word.is("MODSEQ")).map(|_| before)?;
    }
    numbers.iter().map(Value::message).collect()
}

/// `ESEARCH (TAG "A5") UID ALL 1:3,5 COUNT 4` (RFC 4731), if it has the numbers of all results,
/// and they fit into `room`.
fn extended_search(data: &[Value], tag: &str, room: usize) -> Option<Vec<u32>> {
    let mut data = data.get(1..)?;
    if let [Value::List(command), rest @ ..] = data {
        let [word, of] = &command[..] else { return None };
        data = of.text().filter(|of| word.is("TAG") && of == tag).map(|_| rest)?;
    }
    if data.first().is_some_and(|word| word.is("UID")) {
        data = &data[1..];
    }
    let (mut found, mut count) = (Vec::new(), None);
    for pair in data.chunks(2) {
        match pair {
            [name, Value::Atom(set)] if name.is("ALL") => found = numbers(set, room)?,
            [name, number] if name.is("COUNT") => count = Some(number.number()?),
            [name, number] if name.is("MODSEQ") => drop(number.number()?),
            _ => return None,
        }
    }
    count.is_none_or(|count| count == found.len() as u64).then_some(found)
}

/// `1:3,5`
fn numbers(set: &[u8], room: usize) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in set.split(|byte| *byte == b',') {
        let colon = range.iter().position(|byte| *byte == b':').unwrap_or(range.len());
        let first = message(&range[..colon])?;
        let last = range.get(colon + 1..).map_or(Some(first), message)?;
        let range = first.min(last)..=first.max(last);
        if range.size_hint().0 > (room / size_of::<u32>()).saturating_sub(numbers.len()) {
            return None;
        }
        numbers.extend(range);
    }
    Some(numbers)
}

/// `1 FETCH (FLAGS (\Seen) RFC822.SIZE 5)`
fn fetched(data: &[Value]) -> Option<Fetched> {
    let [number, word, Value::List(items)] = data else { return None };
    let pairs = items.chunks(2).map(|pair| match pair {
        [name, value] => Some((name.text()?, value.clone())),
        _ => None,
    });
    let items = pairs.collect::<Option<_>>()?;
    word.is("FETCH").then_some(Fetched { number: number.message()?, items })
}

/// Returns `true` if a line can contain it: ASCII without control characters.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

#[derive(Debug)]
pub enum Error {
    /// Nothing was sent.
    Argument(&'static str),
    /// The server says NO or BAD.
    Refused(Status),
    /// The server closes the connection.
    Bye(String),
    /// The answer of the server is invalid, or not expected.
    Malformed(Malformed),
    /// An earlier command was not answered to its end.
    Broken,
    /// The message cannot be written to its destination.
    Output(io::Error),
    Channel(asynchat::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(why) => f.write_str(why),
            // Debug: there may be more in it than text.
            Error::Refused(status) => write!(f, "the server refuses: {:?}", status.text),
            Error::Bye(text) => write!(f, "the server closed the connection: {text:?}"),
            Error::Malformed(what) => write!(f, "invalid answer of the server: {what}"),
            Error::Broken => f.write_str("the connection broke in an earlier command"),
            Error::Output(_) => f.write_str("cannot write the message"),
            Error::Channel(asynchat::Error::Timeout(_)) => {
                f.write_str("the server did not answer in time")
            }
            Error::Channel(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Output(e) => Some(e),
            Error::Channel(e) => e.source(),
            _ => None,
        }
    }
}

impl From<Malformed> for Error {
    fn from(what: Malformed) -> Self {
        Error::Malformed(what)
    }
}

impl From<asynchat::Error> for Error {
    fn from(e: asynchat::Error) -> Self {
        Error::Channel(e)
    }
}

/// The rate, in bytes per second, at which an answer may take any time.
const MIN_RATE: NonZeroU32 = NonZeroU32::new(1024).unwrap();

/// The time of an answer, in times that the server may be silent.
const LONG: u32 = 10;

/// Less than the 30 minutes of RFC 3501, section 5.4.
const RENEWAL: Duration = Duration::from_secs(28 * 60);
