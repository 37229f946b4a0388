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
    let asked = requests(input.0);
    assert!(whole.statuses.len() <= asked.len(), "{:?} for {asked:?}", whole.statuses);
    for (status, asked) in whole.statuses.iter().zip(asked) {
        let is_so = match asked {
            Asked::Broken => status.as_str() >= "400",
            Asked::Page => status != "404",
            Asked::Other => true,
        };
        assert!(is_so, "{status} for {asked:?}");
    }
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
    // With and without.
    let max_held = if input.len() % 2 == 0 { 64 } else { 0 };
    let config =
        Arc::new(Config { files: None, names: vec!["x".to_owned()], max_body: MAX_BODY, max_held });
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
    /// Those of the final ones.
    statuses: Vec<String>,
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
            answers.statuses.push(String::from_utf8_lossy(&head[9..12]).into_owned());
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
        assert!(self.is_cut || other.is_cut || self.statuses == other.statuses);
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

/// The meaning of a request for a strict reader.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    /// It has to be refused.
    Broken,
    /// The path is `/`.
    Page,
    Other,
}

/// The requests that a strict reader sees, the first broken one included.
fn requests(input: &[u8]) -> Vec<Asked> {
    let mut rest = Input(input);
    let mut all = vec![];
    while !rest.0.is_empty() {
        rest.0 = rest.0.strip_prefix(b"\r\n").unwrap_or(rest.0);
        let Some(end) = find(rest.0, b"\r\n\r\n") else {
            all.push(Asked::Other);
            break;
        };
        let head = rest.bytes(end + 4);
        all.push(asked(head));
        if all.ends_with(&[Asked::Broken]) || !skip_body(head, &mut rest) {
            break;
        }
    }
    all
}

/// Looks at the target and at `Host`.
fn asked(head: &[u8]) -> Asked {
    let line = String::from_utf8_lossy(head.split(|&byte| byte == b'\r').next().unwrap());
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Asked::Broken;
    };
    let hosts = fields(head, "host");
    if hosts.len() > 1 || !hosts.iter().all(|host| is_host(host)) || target.contains('#') {
        return Asked::Broken;
    }
    if hosts.is_empty() && version != "HTTP/1.0" {
        return Asked::Broken;
    }
    let path = match target {
        "*" if method == "OPTIONS" => return Asked::Other,
        _ if method == "CONNECT" && is_host(target) => return Asked::Other,
        _ if method == "CONNECT" => return Asked::Broken,
        _ if target.starts_with('/') => target,
        _ if target.to_ascii_lowercase().starts_with("http://") => {
            let end = target[7..].find(['/', '?']).map_or(target.len(), |end| 7 + end);
            if end == 7 || !is_host(&target[7..end]) {
                return Asked::Broken;
            }
            &target[end..]
        }
        _ => return Asked::Broken,
    };
    let is_page = matches!(path.split('?').next(), Some("" | "/"));
    if is_page { Asked::Page } else { Asked::Other }
}

/// Returns `true` if this may be a host with a port; text in brackets is hardly checked.
fn is_host(text: &str) -> bool {
    let is_escape = |rest: &str| matches!(rest.as_bytes(), [a, b, ..] if [a, b].iter().all(|byte| byte.is_ascii_hexdigit()));
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']').unwrap_or(("", "x"));
            let is_address = inside.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.');
            (is_address && inside.matches(':').count() > 1, port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name =
                name.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=%".contains(c));
            (is_name && name.split('%').skip(1).all(is_escape), port)
        }
    };
    let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "x" });
    is_host && digits.chars().all(|c| c.is_ascii_digit())
}

/// Returns `true` if the end of the body is known and there: another request may follow.
fn skip_body(head: &[u8], rest: &mut Input<'_>) -> bool {
    let lengths = fields(head, "content-length");
    let codings = fields(head, "transfer-encoding");
    let members = codings.join(",").to_ascii_lowercase();
    let members = members.split(',').map(str::trim).filter(|coding| !coding.is_empty());
    match (&lengths[..], &codings[..], &members.collect::<Vec<_>>()[..]) {
        ([], [], _) => true,
        ([length], [], _) => length.parse().is_ok_and(|length| rest.bytes(length).len() == length),
        ([], _, ["chunked"]) => skip_chunks(rest).is_some(),
        _ => false,
    }
}

fn fields(head: &[u8], name: &str) -> Vec<String> {
    let head = String::from_utf8_lossy(head);
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let fields = fields.filter(|field| field.0.eq_ignore_ascii_case(name));
    fields.map(|field| field.1.trim().to_owned()).collect()
}

fn skip_chunks(rest: &mut Input<'_>) -> Option<()> {
    loop {
        let line = rest.bytes(find(rest.0, b"\r\n")? + 2);
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r\n")?);
        let size = line.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        let (size, extensions) = line.split_at(line.len() - size.len());
        let size = usize::from_str_radix(size, 16).ok()?;
        if !are_extensions(&unquoted(extensions)?) {
            return None;
        }
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

/// Chunk extensions with a word for each value in quotes.
fn unquoted(text: &str) -> Option<String> {
    let Some((before, quoted)) = text.split_once('"') else { return Some(text.to_owned()) };
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            chars.next()?;
        }
        if c == '"' {
            let after = chars.as_str();
            let is_whole = after.is_empty() || after.starts_with([';', ' ', '\t']);
            let is_value = before.trim_end().ends_with('=');
            return Some(before.to_owned() + "word" + &unquoted(after)?)
                .filter(|_| is_whole && is_value);
        }
    }
    None
}

fn are_extensions(text: &str) -> bool {
    let is_token = |word: &str| {
        let word = word.trim_matches([' ', '\t']);
        let is_in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !word.is_empty() && word.chars().all(is_in_token)
    };
    let mut parts = text.split(';');
    let is_first_blank = parts.next().unwrap_or_default().trim_matches([' ', '\t']).is_empty();
    let are_all = parts.all(|part| match part.split_once('=') {
        Some((name, value)) => is_token(name) && is_token(value),
        None => is_token(part),
    });
    is_first_blank && are_all && !text.ends_with([' ', '\t'])
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
