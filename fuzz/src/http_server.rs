//! The HTTP example gives the same answers however the requests are cut, well
//! formed, never more than a strict reader sees requests, and none behind one
//! that closes.

use super::server::{self, Config};
use fuzz_oracle::input::{Input, Steps};
use fuzz_oracle::io::{Count, End, Io};
use std::cell::RefCell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let steps = input.steps();
    let fates = Input(input.some(32));
    let whole = Answers::read(&serve(input.0, Steps::whole(), Input(b"")), input.0);
    let cut = Answers::read(&serve(input.0, steps, fates), input.0);
    whole.assert_agrees(&cut);
    let most = requests(input.0);
    assert!(whole.count <= most, "{} answers for {most} requests", whole.count);
}

/// All that the server sends, up to `ENOUGH`.
fn serve(input: &[u8], mut steps: Steps, mut fates: Input<'_>) -> Vec<u8> {
    // For the timer: it never runs.
    let _time = RUNTIME.enter();
    let mut io = Io::new(input);
    io.end = Some(End::Eof);
    if steps.is_whole() {
        io.send(input.len());
        io.room = ENOUGH + 1;
    } else {
        (io.room, io.at_once) = (0, steps.size());
    }
    let io = Rc::new(RefCell::new(io));
    let config = Arc::new(Config { root: None, max_body: MAX_BODY });
    let stop = CancellationToken::new();
    let mut served = pin!(server::connection(Shared(Rc::clone(&io)), config, stop));
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for _ in 0..TURNS {
        {
            let mut io = io.borrow_mut();
            (io.reader, io.writer, io.calls) = (None, None, 0);
        }
        if served.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            let mut written = std::mem::take(&mut io.borrow_mut().written);
            written.truncate(ENOUGH);
            return written;
        }
        let mut io = io.borrow_mut();
        // A stalled write is polled with a waker of its own.
        let registers = io.reader.is_some() || io.writer.is_some();
        assert!(count.take() || registers, "nobody wakes it");
        let room = io.room;
        io.fate(&mut steps, &mut fates);
        if io.room > room {
            // An answer is longer than what is asked.
            io.room = io.room.saturating_add(32);
        }
        io.write_error |= io.written.len() > ENOUGH;
    }
    panic!("it does not end");
}

/// What was answered; chunks are joined, for they come as the data came.
#[derive(Default)]
struct Answers {
    /// Heads and bodies, one behind the other.
    parts: Vec<u8>,
    /// How many were final ones.
    count: usize,
    /// There may have been more, behind `ENOUGH`.
    is_cut: bool,
}

impl Answers {
    /// Reads what was written in answer to `input`, strictly.
    fn read(written: &[u8], input: &[u8]) -> Self {
        let mut answers = Answers { is_cut: written.len() == ENOUGH, ..Answers::default() };
        let mut rest = Input(written);
        while !rest.0.is_empty() {
            let Some(end) = find(rest.0, b"\r\n\r\n") else {
                assert!(answers.is_cut, "half a head");
                break;
            };
            let head = rest.bytes(end + 4);
            assert!(head.starts_with(b"HTTP/1.1 "), "this is no answer");
            answers.parts.extend_from_slice(head);
            if head.starts_with(b"HTTP/1.1 100 ") {
                continue;
            }
            answers.count += 1;
            let body = body(head, &mut rest);
            // Of what the server itself says nothing is ever cut off.
            assert!(!has(head, b"octet-stream") || is_in(&body, input), "no echo");
            answers.parts.extend_from_slice(&body);
            assert!(!has(head, b"Connection: close\r\n") || rest.0.is_empty(), "not the last");
        }
        answers
    }

    /// The more chunks there are, the less fits before `ENOUGH`.
    fn assert_agrees(&self, other: &Self) {
        let (here, there) = (self.parts.len(), other.parts.len());
        assert!(here >= there || self.is_cut, "less, if whole");
        assert!(there >= here || other.is_cut, "less, if cut");
        let both = here.min(there);
        assert!(self.is_cut || other.is_cut || self.count == other.count);
        let [one, two] = [self, other].map(|answers| &answers.parts[..both]);
        assert!(one == two, "{}\n{}", one.escape_ascii(), two.escape_ascii());
    }
}

fn body(head: &[u8], rest: &mut Input<'_>) -> Vec<u8> {
    // An echo may be cut off, if the request was. It never answers a HEAD.
    let is_echo = has(head, b"octet-stream");
    if !is_echo && (rest.0.is_empty() || rest.0.starts_with(b"HTTP/1.1 ")) {
        return vec![];
    }
    if let Some(at) = find(head, b"Content-Length: ") {
        let digits = head[at + 16..].split(|&byte| byte == b'\r').next().unwrap_or_default();
        let len = std::str::from_utf8(digits).unwrap().parse().unwrap();
        return rest.bytes(len).to_vec();
    }
    if !has(head, b"Transfer-Encoding: chunked\r\n") {
        assert!(has(head, b"Connection: close\r\n"), "how does it end?");
        return rest.bytes(usize::MAX).to_vec();
    }
    let mut all = vec![];
    while let Some(line) = find(rest.0, b"\r\n") {
        let size = std::str::from_utf8(rest.bytes(line + 2)).unwrap().trim_end();
        let size = usize::from_str_radix(size, 16).expect("no chunk");
        all.extend_from_slice(rest.bytes(size));
        let end = rest.bytes(2);
        assert!(end == b"\r\n" || rest.0.is_empty(), "a chunk without end");
        if size == 0 {
            return all;
        }
    }
    // The part of a line behind `ENOUGH`.
    rest.0 = b"";
    all
}

/// How many requests a strict reader sees, the first broken one included.
fn requests(input: &[u8]) -> usize {
    let mut rest = Input(input);
    let mut count = 0;
    loop {
        if rest.0.is_empty() {
            return count;
        }
        count += 1;
        rest.0 = rest.0.strip_prefix(b"\r\n").unwrap_or(rest.0);
        let Some(end) = find(rest.0, b"\r\n\r\n") else { return count };
        let head = rest.bytes(end + 4).to_ascii_lowercase();
        let lengths = fields(&head, "content-length");
        let codings = fields(&head, "transfer-encoding");
        let goes_on = match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => true,
            ([length], []) => match length.parse() {
                Ok(length) => rest.bytes(length).len() == length,
                Err(_) => false,
            },
            ([], [coding]) => coding == "chunked" && skip_chunks(&mut rest).is_some(),
            _ => false,
        };
        if !goes_on {
            return count;
        }
    }
}

fn fields(head: &[u8], name: &str) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    fields.filter(|field| field.0 == name).map(|field| field.1.trim().to_owned()).collect()
}

fn skip_chunks(rest: &mut Input<'_>) -> Option<()> {
    loop {
        let line = rest.bytes(find(rest.0, b"\r\n")? + 2);
        let size = std::str::from_utf8(line.split(|&byte| byte == b';').next()?).ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
        if size == 0 {
            break;
        }
        if rest.bytes(size).len() < size || rest.bytes(2) != b"\r\n" {
            return None;
        }
    }
    while rest.bytes(find(rest.0, b"\r\n")? + 2) != b"\r\n" {}
    Some(())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

fn has(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}

/// Whether these bytes come in this order, possibly with others between them.
fn is_in(body: &[u8], input: &[u8]) -> bool {
    let mut input = input.iter();
    body.iter().all(|byte| input.any(|other| other == byte))
}

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

/// A transport that can be looked at while the server has it.
struct Shared(Rc<RefCell<Io>>);

impl AsyncRead for Shared {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

/// A peer that has read so much goes. It is in the middle of a body then.
const ENOUGH: usize = 2048;
const MAX_BODY: u64 = 4096;
const TURNS: usize = 60_000;
