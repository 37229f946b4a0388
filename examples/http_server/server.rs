//! The server: one task per connection, each a [`Channel`] that runs an
//! [`Http`].

use crate::http::{self, Body, HEAD_END, Request, Status};
use crate::serve;
use asynchat::{Channel, Control, Error, Handler, Run, Terminator, Timeout, Timeouts, producer};
use bytes::Bytes;
use futures::{FutureExt, Stream};
use std::io;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What can be chosen on the command line.
pub(crate) struct Config {
    /// Where `/files/` looks, if anywhere.
    pub(crate) root: Option<PathBuf>,
    /// The most bytes a request's body may have.
    pub(crate) max_body: u64,
}

/// Serves until `stop`, then lets every connection finish what it is at.
pub(crate) async fn serve(listener: TcpListener, config: Config, stop: CancellationToken) {
    let config = Arc::new(config);
    let connection = |socket, stop| {
        // How one connection ends is no concern of the others.
        connection(socket, Arc::clone(&config), stop).map(drop)
    };
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
    let mut channel = Channel::builder()
        .terminator(HEAD_END.clone())
        .max_length(MAX_HEAD)
        // `httparse` wants to see the blank line.
        .keep_terminator(true)
        .timeouts(Timeouts {
            frame: Some(HEAD_TIME),
            idle: Some(IDLE_TIME),
            ..Timeouts::all(WRITE_TIME)
        })
        .build(io);
    let mut http = Http::new(config);
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
    /// Whether the current request is to be the last.
    stopping: bool,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Head,
    /// As many bytes of a body.
    Body(u64),
    ChunkSize,
    /// As many bytes of a chunk.
    ChunkData(u64),
    /// The CR LF behind it.
    ChunkEnd,
    Trailers,
}

/// What there is to know about the current request, once its head is read.
#[derive(Default)]
struct Exchange {
    is_head: bool,
    keep_alive: bool,
    /// Whether an answer has begun: then no other can be given.
    answered: bool,
    /// The body, if it is to be sent back.
    echo: Option<Body>,
    /// Bytes of the chunks so far.
    chunks: u64,
    /// Trailer lines so far.
    trailers: usize,
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
        self.begin_echo(channel);
        match self.exchange.echo {
            Some(Body::Length(_)) => channel.push_slice(data),
            Some(Body::Chunked) => channel.push(http::chunk(data)),
            None => {}
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
        Http { config, state: State::Head, exchange: Exchange::default(), stopping: false }
    }

    /// Turns to what comes next.
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
        let (idle, frame, min_rate) = match state {
            State::Head => (IDLE_TIME, HEAD_TIME, None),
            State::Body(_) | State::ChunkData(_) => (BODY_TIME, BODY_TIME, BODY_RATE),
            State::ChunkSize | State::ChunkEnd | State::Trailers => (BODY_TIME, BODY_TIME, None),
        };
        channel.set_timeouts(Timeouts {
            frame: Some(frame),
            min_rate,
            idle: Some(idle),
            write: Some(WRITE_TIME),
        });
        self.state = state;
    }

    fn head(&mut self, channel: &mut Control<'_>, head: &[u8]) -> Result<(), Status> {
        // One empty line in front is tolerated (RFC 9112, section 2.2).
        let head = head.strip_prefix(b"\r\n").unwrap_or(head);
        self.exchange.is_head = head.starts_with(b"HEAD ");
        let request = Request::parse(head)?;
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
        match request.body {
            Body::Length(0) => self.request_ended(channel),
            Body::Length(length) => self.turn_to(channel, State::Body(length)),
            Body::Chunked => self.turn_to(channel, State::ChunkSize),
        }
        Ok(())
    }

    fn route(&mut self, channel: &mut Control<'_>, request: &Request<'_>) -> Result<(), Status> {
        let file = request.path.strip_prefix("/files/");
        match (request.method, request.path, file) {
            ("GET" | "HEAD", "/", _) => self.answer(channel, http::OK, HTML, PAGE),
            ("GET" | "HEAD", "/stream", _) => self.stream(channel, request)?,
            ("GET" | "HEAD", _, Some(name)) => self.file(channel, name),
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
        self.exchange.chunks = self.exchange.chunks.saturating_add(size);
        if self.exchange.chunks > self.config.max_body {
            return Err(http::CONTENT_TOO_LARGE);
        }
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
        self.begin_echo(channel);
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
        if self.state != State::Head {
            self.turn_to(channel, State::Head);
        }
    }
}

/// Answers.
impl Http {
    /// Begins an answer. `fields` say what its body is, and `length` how long.
    fn begin(
        &mut self,
        channel: &mut Control<'_>,
        status: Status,
        fields: &str,
        length: Option<u64>,
    ) {
        // Small pieces are gathered anyway: cheaper than to format them.
        for piece in ["HTTP/1.1 ", status, "\r\n", fields] {
            channel.push_slice(piece.as_bytes());
        }
        if let Some(length) = length {
            channel.push_slice(b"Content-Length: ");
            channel.push_slice(itoa::Buffer::new().format(length).as_bytes());
            channel.push_slice(b"\r\n");
        }
        let keep_alive = self.exchange.keep_alive && !self.stopping;
        channel.push_slice(match keep_alive {
            true => b"Connection: keep-alive\r\n\r\n",
            false => b"Connection: close\r\n\r\n",
        });
        self.exchange.answered = true;
    }

    fn answer(&mut self, channel: &mut Control<'_>, status: Status, fields: &str, body: &str) {
        self.begin(channel, status, fields, Some(body.len() as u64));
        if !self.exchange.is_head {
            channel.push_slice(body.as_bytes());
        }
    }

    fn answer_with_producer<S>(
        &mut self,
        channel: &mut Control<'_>,
        fields: &str,
        length: Option<u64>,
        body: S,
    ) where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.begin(channel, http::OK, fields, length);
        if !self.exchange.is_head {
            channel.push_with_producer(body);
        }
    }

    /// Answers with an error, unless an answer has begun, and closes.
    fn refuse(&mut self, channel: &mut Control<'_>, status: Status, fields: &str) {
        self.exchange.keep_alive = false;
        if !self.exchange.answered {
            self.answer(channel, status, &format!("{fields}{TEXT}"), status);
        }
        channel.close_when_done();
    }

    /// Begins the answer to `/echo`, if that is the request and it has not
    /// begun: as late as possible, so that until then a mistake in the body
    /// gets its own answer.
    fn begin_echo(&mut self, channel: &mut Control<'_>) {
        if self.exchange.answered {
            return;
        }
        match self.exchange.echo {
            Some(Body::Length(n)) => self.begin(channel, http::OK, BINARY, Some(n)),
            Some(Body::Chunked) => {
                self.begin(channel, http::OK, &format!("{BINARY}{CHUNKED}"), None);
            }
            None => {}
        }
    }

    fn stream(&mut self, channel: &mut Control<'_>, request: &Request<'_>) -> Result<(), Status> {
        let n = request.query.strip_prefix("n=").and_then(|n| http::number(n.as_bytes(), 10));
        let n = n.ok_or(http::BAD_REQUEST)?;
        let lines = producer::from_iter((1..=n).map(|i| format!("line {i}\n")));
        if request.is_1_1 {
            let fields = format!("{TEXT}{CHUNKED}");
            self.answer_with_producer(channel, &fields, None, http::chunked(lines));
        } else {
            // Only the close can end it.
            self.exchange.keep_alive = false;
            self.answer_with_producer(channel, TEXT, None, lines);
        }
        Ok(())
    }

    fn file(&mut self, channel: &mut Control<'_>, name: &str) {
        let root = self.config.root.as_deref();
        match root.map(|root| open(root, name)) {
            Some(Ok((file, length))) => {
                let body = producer::from_reader_exact(file, length);
                self.answer_with_producer(channel, BINARY, Some(length), body);
            }
            _ => self.answer(channel, http::NOT_FOUND, TEXT, http::NOT_FOUND),
        }
    }
}

/// Opens a regular file somewhere below `root`, and tells its length.
///
/// It blocks, for as long as it takes to find a file; reading does not.
fn open(root: &Path, name: &str) -> io::Result<(File, u64)> {
    let plain = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    let root = root.canonicalize()?;
    let path = root.join(name).canonicalize()?;
    if !plain || !path.starts_with(root) || !path.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    Ok((File::from_std(file), length))
}

const HTML: &str = "Content-Type: text/html; charset=utf-8\r\n";
const TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const BINARY: &str = "Content-Type: application/octet-stream\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

const PAGE: &str = "<!doctype html><title>asynchat</title><p>It works.\n";

/// Bytes of a request head.
const MAX_HEAD: usize = 64 * 1024;

/// Bytes of a line of the chunked coding.
const MAX_LINE: usize = 1024;

const MAX_TRAILERS: usize = 64;

/// How long a head may take, once it has begun.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a body, or the next piece of one, may let us wait before it begins,
/// and how long it may take on top of what its bytes earn at the rate below.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(20);

/// Bytes per second that are not too slow for a body.
pub(crate) const BODY_RATE: Option<NonZeroU32> = NonZeroU32::new(500);

/// How long a connection may be idle between two requests.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long a peer may take nothing of what it asked for.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long a connection may take to finish once the server is to stop.
const GRACE: Duration = Duration::from_secs(10);
