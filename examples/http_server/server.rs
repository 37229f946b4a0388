//! The server: one task for each connection, a [`Channel`] that runs an [`Http`].

use crate::files::Files;
use crate::http::{self, Body, HEAD_END, Request, Status};
use crate::serve;
use asynchat::{Channel, Control, Error, Handler, Run, Terminator, Timeout, Timeouts, producer};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// The settings.
pub(crate) struct Config {
    /// The files below `/files/`, if any.
    pub(crate) files: Option<Files>,
    /// The names of the server, besides `localhost` and its addresses.
    pub(crate) names: Vec<String>,
    /// The most bytes a request's body may have.
    pub(crate) max_body: u64,
    /// The most bytes of a body that are held before `/echo` begins to answer.
    pub(crate) max_held: usize,
}

/// Serves until `stop`, then lets every connection finish what it is at.
pub(crate) async fn serve(listener: TcpListener, config: Config, stop: CancellationToken) {
    let config = Arc::new(config);
    // How one connection ends is no concern of the others.
    let connection = |socket, stop| connection(socket, Arc::clone(&config), stop).map(drop);
    serve::serve(listener, stop, connection).await;
}

/// Serves one connection until it is closed.
pub(crate) async fn connection<T>(
    io: T,
    config: Arc<Config>,
    stop: CancellationToken,
) -> Result<Run, Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut http = Http::new(config);
    let mut channel = Channel::builder()
        .terminator(HEAD_END.clone())
        .max_length(MAX_HEAD)
        // `httparse` wants to see the blank line.
        .keep_terminator(true)
        // A peer that connects has something to ask.
        .timeouts(Timeouts { idle: Some(HEAD_TIME), ..http.timeouts() })
        .build(io);
    tokio::select! {
        ended = channel.run(&mut http) => return ended,
        () = stop.cancelled() => {}
    }
    // `run` is cancel safe: it goes on where it was.
    http.stopping = true;
    let finished = timeout(GRACE, async {
        let is_idle = http.state == State::Head && channel.unread().is_empty();
        if !is_idle && channel.run(&mut http).await? == Run::Closed {
            return Ok(Run::Closed);
        }
        channel.close_when_done();
        channel.run(&mut http).await
    });
    finished.await.unwrap_or_else(|late| Err(Error::Io(late.into())))
}

/// The server's side of one connection.
struct Http {
    config: Arc<Config>,
    state: State,
    exchange: Exchange,
    /// When the first bytes of the current piece of the body arrived.
    piece_began: Instant,
    /// When the body is late.
    due: Instant,
    /// `true` if the current request is the last.
    stopping: bool,
}

/// The next piece of input.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Head,
    /// As many bytes of a body.
    Body(u64),
    ChunkSize,
    /// As many bytes of a chunk.
    ChunkData(u64),
    /// The CR LF after it.
    ChunkEnd,
    Trailers,
}

/// The current request, once its head is read.
#[derive(Default)]
struct Exchange {
    is_head: bool,
    keep_alive: bool,
    /// `true` if an answer has begun: then there is no other.
    answered: bool,
    /// The body, if it is to be sent back.
    echo: Option<Body>,
    /// The bytes of it that are not yet sent back.
    held: Held,
    /// Bytes of the chunks so far.
    chunks: u64,
    /// Trailer lines so far.
    trailers: usize,
}

/// A part of a body that is to be sent back, and its share of the memory for such.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Adds some bytes. Returns `false` if there is no memory to hold them for long.
    fn add(&mut self, data: &[u8]) -> bool {
        self.bytes.extend_from_slice(data);
        // As many bytes as of a head are free.
        let length = data.len().min(self.bytes.len().saturating_sub(MAX_HEAD)) as u32;
        let Ok(more) = Arc::clone(&ROOM).try_acquire_many_owned(length) else { return false };
        match &mut self.room {
            Some(room) => room.merge(more),
            None => self.room = Some(more),
        }
        true
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Handler for Http {
    type Error = Error;

    /// Whole mode: a head, or a line of the chunked coding.
    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        let understood = match self.state {
            State::Head => self.head(channel, data),
            State::ChunkSize => self.chunk_size(channel, data),
            State::Trailers => self.trailer(channel, data),
            State::ChunkEnd if data == b"\r\n" => {
                self.turn_to(channel, State::ChunkSize);
                Ok(())
            }
            _ => Err(http::BAD_REQUEST),
        };
        if let Err(status) = understood {
            self.refuse(channel, status, "");
        }
        Ok(())
    }

    /// Streaming mode: some bytes of a body.
    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Error> {
        if !matches!(self.state, State::Body(_) | State::ChunkData(_)) {
            // What is left of a line, because input has ended.
            self.refuse(channel, http::BAD_REQUEST, "");
            return Ok(());
        }
        let now = Instant::now();
        if channel.timeouts().idle.is_some() {
            self.piece_began = now;
        }
        // A peer that sends much at once may not be silent for long.
        let earned = Duration::from_secs_f64(data.len() as f64 / BODY_RATE);
        self.due = (self.due + earned).min(now + BODY_TIME);
        channel.set_timeouts(Timeouts { idle: None, ..self.timeouts() });
        if self.exchange.echo.is_some() {
            let has_room = self.exchange.held.add(data);
            if self.exchange.answered || self.exchange.held.bytes.len() > self.config.max_held {
                self.send_held(channel);
            } else if !has_room {
                self.refuse(channel, http::UNAVAILABLE, "");
            }
        }
        Ok(())
    }

    /// Streaming mode: the end of a body or of a chunk.
    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        match self.state {
            State::ChunkData(_) => self.turn_to(channel, State::ChunkEnd),
            _ => self.request_ended(channel),
        }
        Ok(())
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, _: usize) -> Result<(), Error> {
        let is_size = self.state == State::ChunkSize;
        let status = if is_size { http::BAD_REQUEST } else { http::FIELDS_TOO_LARGE };
        self.refuse(channel, status, "");
        Ok(())
    }

    fn timed_out(&mut self, channel: &mut Control<'_>, timeout: Timeout) -> Result<(), Error> {
        match (self.state, timeout) {
            // Nothing was asked.
            (State::Head, Timeout::Idle(_)) => channel.close_when_done(),
            _ => self.refuse(channel, http::REQUEST_TIMEOUT, ""),
        }
        Ok(())
    }

    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        match self.state {
            State::Head => channel.close_when_done(),
            _ => self.refuse(channel, http::BAD_REQUEST, ""),
        }
        Ok(())
    }
}

/// Requests.
impl Http {
    fn new(config: Arc<Config>) -> Self {
        let (state, exchange, now) = (State::Head, Exchange::default(), Instant::now());
        Http { config, state, exchange, piece_began: now, due: now, stopping: false }
    }

    /// Turns to the next piece.
    fn turn_to(&mut self, channel: &mut Control<'_>, state: State) {
        let (terminator, streaming, max_length) = match state {
            State::Head => (HEAD_END.clone(), false, MAX_HEAD),
            // In streaming mode nothing is held, and there is no limit.
            State::Body(length) | State::ChunkData(length) => (length.into(), true, 0),
            // CR LF, of which the CR is looked for later: a bare LF is refused
            // at once, instead of waiting for more.
            State::ChunkSize | State::Trailers => (Terminator::lf(), false, MAX_LINE),
            State::ChunkEnd => (Terminator::count(2), false, MAX_LINE),
        };
        channel.set_terminator(terminator);
        channel.codec_mut().set_streaming(streaming);
        channel.codec_mut().set_max_length(max_length);
        self.state = state;
        self.piece_began = Instant::now();
        channel.set_timeouts(self.timeouts());
    }

    /// The times for the next piece, or for the rest of one that has begun. A body has one
    /// time for all of its chunks.
    fn timeouts(&self) -> Timeouts {
        let (idle, frame) = match self.state {
            State::Head => (IDLE_TIME, HEAD_TIME),
            _ => {
                let left = self.due.saturating_duration_since(Instant::now());
                (left, self.piece_began.elapsed() + left)
            }
        };
        Timeouts { idle: Some(idle), write: Some(WRITE_TIME), ..Timeouts::all(frame) }
    }

    fn head(&mut self, channel: &mut Control<'_>, head: &[u8]) -> Result<(), Status> {
        // One empty line in front is tolerated (RFC 9112, section 2.2).
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        self.exchange.is_head = head.starts_with(b"HEAD ");
        let request = Request::parse(head)?;
        // No page has an address of somebody else's as its name.
        if !request.host.is_none_or(|host| http::is_ours(host, &self.config.names, |_| true)) {
            return Err(http::MISDIRECTED);
        }
        if matches!(request.body, Body::Length(length) if length > self.config.max_body) {
            return Err(http::CONTENT_TOO_LARGE);
        }
        // A body that waits for our word and is not wanted: better it never comes.
        let unwanted = request.expects_continue && request.path != "/echo";
        self.exchange.keep_alive = request.keep_alive && !unwanted;
        self.route(channel, &request)?;
        if self.exchange.answered && !self.exchange.keep_alive {
            // Whether there is a body or not, nobody will look at it.
            channel.close_when_done();
            return Ok(());
        }
        if request.expects_continue {
            channel.push("HTTP/1.1 100 Continue\r\n\r\n");
        }
        let state = match request.body {
            Body::Length(0) => {
                self.request_ended(channel);
                return Ok(());
            }
            Body::Length(length) => State::Body(length),
            Body::Chunked => State::ChunkSize,
        };
        self.due = Instant::now() + BODY_TIME;
        self.turn_to(channel, state);
        Ok(())
    }

    fn route(&mut self, channel: &mut Control<'_>, request: &Request<'_>) -> Result<(), Status> {
        let file = request.path.strip_prefix("/files/");
        match (request.method, request.path, file) {
            ("GET" | "HEAD", "/", _) => self.answer(channel, http::OK, HTML, PAGE),
            ("GET" | "HEAD", "/stream", _) => self.stream(channel, request)?,
            ("GET" | "HEAD", _, Some(name)) => self.file(channel, name),
            // Once more than `max_held` bytes have come it is answered while the rest comes.
            ("POST", "/echo", _) => self.exchange.echo = Some(request.body),
            (_, "/", _) | (_, "/stream", _) | (_, _, Some(_)) => {
                self.refuse(channel, http::METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n");
            }
            (_, "/echo", _) => self.refuse(channel, http::METHOD_NOT_ALLOWED, "Allow: POST\r\n"),
            _ => self.answer(channel, http::NOT_FOUND, TEXT, http::NOT_FOUND),
        }
        Ok(())
    }

    fn chunk_size(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Status> {
        let size = http::chunk_size(line).ok_or(http::BAD_REQUEST)?;
        let chunks = self.exchange.chunks.saturating_add(size);
        if chunks > self.config.max_body {
            return Err(http::CONTENT_TOO_LARGE);
        }
        self.exchange.chunks = chunks;
        self.turn_to(channel, if size > 0 { State::ChunkData(size) } else { State::Trailers });
        Ok(())
    }

    fn trailer(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Status> {
        self.exchange.trailers += 1;
        if line == b"\r\n" {
            self.request_ended(channel);
        } else if !http::is_trailer(line) {
            return Err(http::BAD_REQUEST);
        } else if self.exchange.trailers > MAX_TRAILERS {
            return Err(http::FIELDS_TOO_LARGE);
        }
        Ok(())
    }

    /// The request is read to its end, and answered but for the end of an echo.
    fn request_ended(&mut self, channel: &mut Control<'_>) {
        self.send_held(channel);
        if self.exchange.echo == Some(Body::Chunked) {
            channel.push(http::LAST_CHUNK);
        }
        if self.stopping {
            // Nothing behind this request is looked at any more.
            return channel.stop();
        }
        if !self.exchange.keep_alive {
            return channel.close_when_done();
        }
        self.exchange = Exchange::default();
        if self.state != State::Head || channel.timeouts().idle != Some(IDLE_TIME) {
            self.turn_to(channel, State::Head);
        }
    }
}

/// Answers.
impl Http {
    /// The head of an answer. `fields` say what its body is, and `length` how long.
    fn start<'a>(&self, status: Status, fields: &'a str, length: Option<u64>) -> Start<'a> {
        let keep_alive = self.exchange.keep_alive && !self.stopping;
        Start { status, fields, length, keep_alive }
    }

    fn begin(&mut self, channel: &mut Control<'_>, start: Start<'_>) {
        self.exchange.answered = true;
        start.parts(|part| channel.push_slice(part.as_bytes()));
    }

    fn answer(&mut self, channel: &mut Control<'_>, status: Status, fields: &str, body: &str) {
        self.begin(channel, self.start(status, fields, Some(body.len() as u64)));
        if !self.exchange.is_head {
            channel.push_slice(body.as_bytes());
        }
    }

    /// Answers with an error, unless an answer has begun, and closes.
    fn refuse(&mut self, channel: &mut Control<'_>, status: Status, fields: &str) {
        self.exchange.keep_alive = false;
        self.exchange.held = Held::default();
        if !self.exchange.answered {
            self.answer(channel, status, &format!("{fields}{TEXT}"), status);
        }
        channel.close_when_done();
    }

    /// Sends back what is held, if `/echo` was asked, and before that the head of the answer.
    fn send_held(&mut self, channel: &mut Control<'_>) {
        let Some(body) = self.exchange.echo else { return };
        if !self.exchange.answered {
            let start = match body {
                Body::Length(n) => self.start(http::OK, BINARY, Some(n)),
                Body::Chunked => self.start(http::OK, BINARY_IN_CHUNKS, None),
            };
            self.begin(channel, start);
        }
        let held = std::mem::take(&mut self.exchange.held);
        if held.bytes.is_empty() {
            return;
        }
        let size = format!("{:x}\r\n", held.bytes.len());
        let data = Bytes::from_owner(held);
        match body {
            Body::Length(_) => channel.push(data),
            Body::Chunked => {
                channel.push(size);
                channel.push(data);
                channel.push("\r\n");
            }
        }
    }

    fn stream(&mut self, channel: &mut Control<'_>, request: &Request<'_>) -> Result<(), Status> {
        let n = request.query.strip_prefix("n=").and_then(|n| http::number(n.as_bytes(), 10));
        let n = n.ok_or(http::BAD_REQUEST)?;
        let lines = producer::from_iter((1..=n).map(|i| format!("line {i}\n")));
        // In HTTP/1.0 only the close can end it.
        self.exchange.keep_alive &= request.is_1_1;
        let fields = if request.is_1_1 { TEXT_IN_CHUNKS } else { TEXT };
        self.begin(channel, self.start(http::OK, fields, None));
        match request.is_1_1 {
            _ if self.exchange.is_head => {}
            true => channel.push_with_producer(http::chunked(lines)),
            false => channel.push_with_producer(lines),
        }
        Ok(())
    }

    fn file(&mut self, channel: &mut Control<'_>, name: &str) {
        let (config, name) = (Arc::clone(&self.config), name.to_owned());
        let (is_head, start) = (self.exchange.is_head, self.start(http::OK, BINARY, None));
        let answer = async move {
            let opened = match &config.files {
                Some(files) => files.open(name).await,
                None => Err(http::NOT_FOUND),
            };
            let (start, body) = match opened {
                Ok((body, length)) => (Start { length: Some(length), ..start }, body.left_stream()),
                Err(status) => {
                    let length = Some(status.len() as u64);
                    let body = stream::iter([Ok(status.into())]).right_stream();
                    (Start { status, fields: TEXT, length, ..start }, body)
                }
            };
            let mut text = String::new();
            start.parts(|part| text += part);
            let head = stream::iter([Ok(text.into())]);
            head.chain(body.take(if is_head { 0 } else { usize::MAX }))
        };
        self.exchange.answered = true;
        channel.push_with_producer(stream::once(answer).flatten());
        // One file is open at a time, however many are asked for.
        channel.pause_until_sent();
    }
}

/// The head of an answer.
struct Start<'a> {
    status: Status,
    fields: &'a str,
    length: Option<u64>,
    keep_alive: bool,
}

impl Start<'_> {
    /// Its parts, one after the other.
    fn parts(&self, mut push: impl FnMut(&str)) {
        ["HTTP/1.1 ", self.status, "\r\n", self.fields].into_iter().for_each(&mut push);
        if let Some(length) = self.length {
            ["Content-Length: ", &length.to_string(), "\r\n"].into_iter().for_each(&mut push);
        }
        push(if self.keep_alive { KEEP_ALIVE } else { CLOSE });
    }
}

const KEEP_ALIVE: &str = "Connection: keep-alive\r\n\r\n";
const CLOSE: &str = "Connection: close\r\n\r\n";
const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const BINARY: &str =
    "Content-Type: application/octet-stream\r\nX-Content-Type-Options: nosniff\r\n";
const TEXT_IN_CHUNKS: &str =
    "Content-Type: text/plain; charset=utf-8\r\nTransfer-Encoding: chunked\r\n";
const BINARY_IN_CHUNKS: &str = "Content-Type: application/octet-stream\r\n\
     X-Content-Type-Options: nosniff\r\nTransfer-Encoding: chunked\r\n";

/// As many bytes may be held, or be on their way back, of all connections.
pub(crate) static ROOM: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(64 << 20)));

const PAGE: &str = "<!doctype html><title>asynchat</title><p>It works.\n";

/// Bytes of a request head.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes of a line of the chunked coding.
const MAX_LINE: usize = 1024;

const MAX_TRAILERS: usize = 64;

/// The time that a head may take, once it has begun, and until the first one begins.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);

/// The time that a body may take beyond what its bytes earn, and the most that is ever left.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(20);

/// Bytes per second that are not too slow for a body.
const BODY_RATE: f64 = 500.0;

/// The time that a connection may be idle between two requests.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(60);

/// The time in which a peer may take nothing of an answer. A kernel shows it in large steps.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(60);

/// The time that a connection may take to finish once the server is stopping.
const GRACE: Duration = Duration::from_secs(10);
