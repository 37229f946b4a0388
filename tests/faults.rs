//! What comes of a connection that breaks, on real sockets: every way to break
//! it, in every state, by every way to use the channel.
//!
//! Nothing here waits for time to pass: a peer acts at once, or when it is told
//! that our output is blocked. `.ci/tiny_sockets` runs all of it once more with
//! socket buffers of 4 KiB.

mod mock;
mod programs;

use asynchat::{Builder, Channel, Control, Error, Handler, Terminator};
use bytes::Bytes;
use futures::{SinkExt, stream};
use mock::show;
use programs::within;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What a call to the transport does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Err(ErrorKind),
    /// A write of nothing.
    Zero,
    /// No fault: the call does its work.
    None,
}

/// A socket whose next calls may fail. When a list is used up, all is well.
struct Faulty {
    socket: TcpStream,
    reads: VecDeque<Fault>,
    writes: VecDeque<Fault>,
    flushes: VecDeque<Fault>,
    shutdowns: VecDeque<Fault>,
    /// Told when a write cannot go on, and when the writing side is shut down.
    blocked: Arc<Notify>,
    shut: Arc<Notify>,
}

impl Faulty {
    fn new(socket: TcpStream) -> Self {
        Faulty {
            socket,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            flushes: VecDeque::new(),
            shutdowns: VecDeque::new(),
            blocked: Arc::default(),
            shut: Arc::default(),
        }
    }
}

fn fault(script: &mut VecDeque<Fault>) -> io::Result<bool> {
    match script.pop_front() {
        Some(Fault::Err(kind)) => Err(kind.into()),
        Some(Fault::Zero) => Ok(true),
        Some(Fault::None) | None => Ok(false),
    }
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        fault(&mut self.reads)?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.as_mut().poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if fault(&mut self.writes)? {
            return Poll::Ready(Ok(0));
        }
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if written.is_pending() {
            self.blocked.notify_one();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        fault(&mut self.flushes)?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        fault(&mut self.shutdowns)?;
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        self.shut.notify_one();
        Poll::Ready(Ok(()))
    }
}

/// The two ends of a connection.
async fn pair() -> (Faulty, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (Faulty::new(socket), peer)
}

/// How the peer goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It ends its side, and would still read.
    HalfClose,
    Close,
    Reset,
}

const ENDS: [End; 3] = [End::HalfClose, End::Close, End::Reset];

impl End {
    /// Gives the peer back if it is still there.
    async fn act(self, mut peer: TcpStream) -> Option<TcpStream> {
        match self {
            End::HalfClose => {
                peer.shutdown().await.unwrap();
                return Some(peer);
            }
            End::Close => {}
            End::Reset => peer.set_zero_linger().unwrap(),
        }
        None
    }
}

/// Until the kernel knows of the reset.
async fn knows_of_the_reset(channel: &Channel<Faulty>) {
    let socket = &channel.get_ref().socket;
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await.unwrap();
        if ready.is_error() || ready.is_read_closed() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A result in words. By which of the two names the kernel calls a peer that
/// is gone depends on what it was asked first.
fn gone(said: String) -> String {
    said.replace("io(ConnectionReset)", "io(gone)").replace("io(BrokenPipe)", "io(gone)")
}

/// The ways to use a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Api {
    Next,
    Receive,
    Run,
}

const APIS: [Api; 3] = [Api::Next, Api::Receive, Api::Run];

/// More than this comes of no case here.
const MOST: usize = 100_000;

impl Api {
    /// Everything that comes, in words; and what comes after the end, always
    /// the same.
    async fn all(self, channel: &mut Channel<Faulty>) -> Vec<String> {
        match self {
            Api::Next => all_of_next(channel).await,
            Api::Receive => all_of_receive(channel).await,
            Api::Run => all_of_run(channel).await,
        }
    }
}

async fn all_of_next(channel: &mut Channel<Faulty>) -> Vec<String> {
    let mut said = Said::default();
    for _ in 0..MOST {
        match channel.next().await {
            Some(item) => said.item(show(item)),
            None => {
                for _ in 0..3 {
                    assert_eq!(show(channel.next().await), "none", "fused");
                }
                said.item("none".into());
                return said.0;
            }
        }
    }
    panic!("there is no end: {:?}", said.0);
}

async fn all_of_receive(channel: &mut Channel<Faulty>) -> Vec<String> {
    let mut said = Said::default();
    let terminator = channel.terminator().clone();
    for _ in 0..MOST {
        let received = channel.receive(terminator.clone()).await;
        let is_end =
            matches!(&received, Err(Error::UnexpectedEof { partial, .. }) if partial.is_empty());
        said.item(show(received));
        if is_end {
            for _ in 0..3 {
                assert_eq!(show(channel.receive(terminator.clone()).await), "eof()", "fused");
            }
            return said.0;
        }
    }
    panic!("there is no end: {:?}", said.0);
}

async fn all_of_run(channel: &mut Channel<Faulty>) -> Vec<String> {
    let mut recorder = Recorder::default();
    let ended = channel.run(&mut recorder).await;
    let is_closed = ended.is_ok();
    recorder.said.item(match ended {
        Ok(run) => show(run),
        Err(error) => show(error),
    });
    for _ in 0..3 {
        let again = channel.run(&mut recorder).await;
        assert_eq!(again.is_ok(), is_closed, "fused: {again:?}");
        assert!(is_closed || matches!(again, Err(Error::Closed)), "fused: {again:?}");
    }
    recorder.said.0
}

/// What was said; the parts of a frame are joined.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn item(&mut self, item: String) {
        let data = |item: &str| item.split_once('(').map(|(_, data)| data.to_owned());
        let last = self.0.last_mut().filter(|last| last.starts_with("partial("));
        let is_part = item.starts_with("partial(") || item.starts_with("complete(");
        match (last, data(&item)) {
            (Some(last), Some(rest)) if is_part => {
                let kind = item.split('(').next().unwrap();
                let open = data(last).unwrap();
                *last = format!("{kind}({}{rest}", open.trim_end_matches(')'));
            }
            _ => self.0.push(item),
        }
    }
}

/// Says in the words of `next` what a handler is told.
#[derive(Default)]
struct Recorder {
    said: Said,
    /// Whether it closes after the first frame.
    closes: bool,
}

fn text(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).unwrap()
}

impl Handler for Recorder {
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.said.item(format!("partial({})", text(data)));
        Ok(())
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.said.item("complete()".into());
        if self.closes {
            channel.close_when_done();
        }
        Ok(())
    }

    fn frame_too_long(&mut self, _: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        self.said.item(format!("too long({limit})"));
        Ok(())
    }

    fn closed(&mut self, error: Option<&Error>) {
        self.said.item(format!("closed by {}", error.map_or("us", |_| "an error")));
    }
}

/// What the peer has sent when it goes, and what comes of it.
struct State {
    name: &'static str,
    settings: fn(Builder) -> Builder,
    sent: &'static str,
    /// What comes in any case, in the words of `next`.
    comes: &'static [&'static str],
    /// What is left at the end of input.
    rest: &'static str,
    /// As much of it as was handed out before the end.
    handed_out: &'static str,
}

fn line(builder: Builder) -> Builder {
    builder.terminator(Terminator::crlf())
}

const STATES: &[State] = &[
    State {
        name: "before any byte",
        settings: line,
        sent: "",
        comes: &[],
        rest: "",
        handed_out: "",
    },
    State {
        name: "between two frames",
        settings: line,
        sent: "one\r\n\r\n",
        comes: &["complete(one)", "complete()"],
        rest: "",
        handed_out: "",
    },
    State {
        name: "in a frame",
        settings: line,
        sent: "one\r\ntw",
        comes: &["complete(one)"],
        rest: "tw",
        handed_out: "",
    },
    State {
        name: "in a terminator",
        settings: line,
        sent: "one\r\ntwo\r",
        comes: &["complete(one)"],
        rest: "two\r",
        handed_out: "",
    },
    State {
        name: "in a terminator, and nothing else",
        settings: line,
        sent: "\r",
        comes: &[],
        rest: "\r",
        handed_out: "",
    },
    State {
        name: "in one of several terminators",
        settings: |builder| builder.terminator(Terminator::any(["--", "-=-"])),
        sent: "one--two-",
        comes: &["complete(one)"],
        rest: "two-",
        handed_out: "",
    },
    State {
        name: "in a count",
        settings: |builder| builder.terminator(10),
        sent: "12345",
        comes: &[],
        rest: "12345",
        handed_out: "",
    },
    State {
        name: "in an over-long frame",
        settings: |builder| line(builder).max_length(4),
        sent: "one\r\ntoo long",
        comes: &["complete(one)", "too long(4)"],
        rest: "",
        handed_out: "",
    },
    State {
        name: "in the terminator of an over-long frame",
        settings: |builder| line(builder).max_length(4),
        sent: "too long\r",
        comes: &["too long(4)"],
        rest: "",
        handed_out: "",
    },
    State {
        name: "in an over-long count",
        settings: |builder| builder.terminator(10).max_length(4),
        sent: "12345",
        comes: &["too long(4)"],
        rest: "",
        handed_out: "",
    },
    State {
        name: "in a streamed frame",
        settings: |builder| line(builder).streaming(true),
        sent: "one\r\ntwo\r",
        comes: &["complete(one)"],
        rest: "two\r",
        handed_out: "two",
    },
    State {
        name: "in a streamed count",
        settings: |builder| builder.terminator(10).streaming(true),
        sent: "12345",
        comes: &[],
        rest: "12345",
        handed_out: "12345",
    },
    State {
        name: "without a terminator",
        settings: |builder| builder,
        sent: "abc",
        comes: &[],
        rest: "abc",
        handed_out: "abc",
    },
];

impl State {
    fn streams(&self) -> bool {
        !self.handed_out.is_empty()
    }

    /// In the words of this API.
    fn expected(&self, api: Api, end: End) -> Vec<String> {
        let is_reset = end == End::Reset;
        let mut expected: Vec<String> = self.comes.iter().map(|item| item.to_string()).collect();
        if api == Api::Receive {
            // It gives whole frames only, and what there is of one at the end.
            expected.iter_mut().for_each(|item| {
                if let Some(data) = item.strip_prefix("complete(") {
                    *item = data.trim_end_matches(')').into();
                }
            });
            expected.extend(is_reset.then(|| "io(ConnectionReset)".into()));
            expected.extend((!self.rest.is_empty()).then(|| format!("eof({})", self.rest)));
            expected.push("eof()".into());
            return expected;
        }
        let rest = if is_reset { self.handed_out } else { self.rest };
        expected.extend((!rest.is_empty()).then(|| format!("partial({rest})")));
        let last: &[&str] = match (api, is_reset) {
            (Api::Run, false) => &["closed by us", "run(closed)"],
            (Api::Run, true) => &["closed by an error", "io(ConnectionReset)"],
            (_, false) => &["none"],
            (_, true) => &["io(ConnectionReset)", "none"],
        };
        expected.extend(last.iter().map(|item| item.to_string()));
        expected
    }
}

#[tokio::test]
async fn the_peer_goes_in_every_state() {
    let mut cases = 0;
    for state in STATES {
        for (end, api) in ENDS.into_iter().flat_map(|end| APIS.map(|api| (end, api))) {
            if api == Api::Receive && state.streams() {
                continue; // It is never in the middle of handing out.
            }
            cases += 1;
            let (io, mut peer) = pair().await;
            let mut channel = (state.settings)(Channel::builder()).build(io);
            peer.write_all(state.sent.as_bytes()).await.unwrap();
            let _peer = end.act(peer).await;
            let said = within(api.all(&mut channel)).await;
            assert_eq!(said, state.expected(api, end), "{}, {end:?}, {api:?}", state.name);
        }
    }
    assert_eq!(cases, 13 * 9 - 3 * 3);
}

/// The ways to send, and to wait for its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sender {
    Flush,
    Shutdown,
    Close,
    Next,
    Receive,
    Run,
    Ready,
    Send,
    Feed,
}

const SENDERS: [Sender; 9] = [
    Sender::Flush,
    Sender::Shutdown,
    Sender::Close,
    Sender::Next,
    Sender::Receive,
    Sender::Run,
    Sender::Ready,
    Sender::Send,
    Sender::Feed,
];

impl Sender {
    /// Awaits this; what came of it, the frames left out.
    async fn act(self, channel: &mut Channel<Faulty>) -> String {
        match self {
            Sender::Flush => show(channel.flush().await),
            Sender::Shutdown => show(channel.shutdown().await),
            Sender::Close => show(channel.close().await),
            Sender::Next => last_but("none", all_of_next(channel).await),
            Sender::Receive => last_but("eof()", all_of_receive(channel).await),
            Sender::Run => all_of_run(channel).await.pop().unwrap(),
            Sender::Ready => show(channel.ready().await),
            Sender::Send => show(channel.send("sent".into()).await),
            Sender::Feed => feed(channel).await,
        }
    }

    /// Whether it has nothing to wait for when there is room.
    fn only_makes_room(self) -> bool {
        matches!(self, Sender::Ready | Sender::Feed)
    }

    fn reads(self) -> bool {
        matches!(self, Sender::Next | Sender::Receive | Sender::Run)
    }
}

/// What stands before the end.
fn last_but(end: &str, mut said: Vec<String>) -> String {
    assert_eq!(said.pop().as_deref(), Some(end));
    said.pop().unwrap_or_default()
}

/// Until it fails.
async fn feed(channel: &mut Channel<Faulty>) -> String {
    for _ in 0..MOST {
        if let Err(error) = channel.feed(Bytes::from(vec![b'x'; 4096])).await {
            return show(error);
        }
    }
    panic!("everything was taken");
}

/// More than the kernel takes.
fn much() -> usize {
    let is_small = std::env::var_os("ASYNCHAT_TINY_SOCKETS").is_some();
    if is_small { 256 << 10 } else { 32 << 20 }
}

/// What one is told of a writing side that has failed before.
async fn assert_closed(channel: &mut Channel<Faulty>, which: &str) {
    channel.push("dropped");
    assert_eq!(channel.queued_bytes(), 0, "{which}");
    assert_eq!(show(channel.flush().await), "closed", "{which}");
    assert_eq!(show(channel.send("refused".into()).await), "closed", "{which}");
    assert_eq!(show(channel.ready().await), "closed", "{which}");
    assert_eq!(show(channel.shutdown().await), "closed", "{which}");
}

#[tokio::test]
async fn a_reset_while_output_is_blocked() {
    for sender in SENDERS {
        for closes in [false, true] {
            if closes && (sender.only_makes_room() || sender == Sender::Send) {
                continue; // They are refused after a close.
            }
            let which = format!("{sender:?}, closing: {closes}");
            let (io, peer) = pair().await;
            let blocked = Arc::clone(&io.blocked);
            let mut channel = line(Channel::builder()).build(io);
            channel.push(vec![b'x'; much()]);
            if closes {
                channel.close_when_done();
            }
            let reset = async {
                blocked.notified().await;
                End::Reset.act(peer).await
            };
            let (said, _) = within(async { tokio::join!(sender.act(&mut channel), reset) }).await;
            assert_eq!(gone(said), "io(gone)", "{which}");
            assert!(channel.sent_bytes() < much() as u64, "{which}");
            assert_closed(&mut channel, &which).await;
        }
    }
}

/// It waits as long as the peer is there, and all of it arrives then.
#[tokio::test]
async fn a_half_closed_peer_that_reads_late() {
    for sender in SENDERS {
        if sender == Sender::Feed {
            continue; // It does not end.
        }
        let (io, mut peer) = pair().await;
        let blocked = Arc::clone(&io.blocked);
        let mut channel = line(Channel::builder()).build(io);
        channel.push(vec![b'x'; much()]);
        if sender.reads() {
            channel.close_when_done();
        }
        let reads = async {
            peer.shutdown().await.unwrap();
            blocked.notified().await;
            let mut got = vec![0; much()];
            peer.read_exact(&mut got).await.unwrap();
            peer
        };
        let sends = async {
            let said = sender.act(&mut channel).await;
            // `ready` leaves what there is room for.
            let _ = channel.flush().await;
            said
        };
        let (said, peer) = within(async { tokio::join!(sends, reads) }).await;
        let good = match sender {
            Sender::Next | Sender::Receive => "",
            Sender::Run => "run(closed)",
            _ => "done",
        };
        assert_eq!(said, good, "{sender:?}");
        assert!(channel.sent_bytes() >= much() as u64, "{sender:?}");
        drop(peer);
    }
}

/// The kernel knows of it before we send.
#[tokio::test]
async fn a_reset_before_output() {
    for sender in SENDERS {
        if sender == Sender::Ready {
            continue; // There is room.
        }
        let (io, mut peer) = pair().await;
        let mut channel = line(Channel::builder()).build(io);
        peer.write_all(b"one\r\ntw").await.unwrap();
        End::Reset.act(peer).await;
        knows_of_the_reset(&channel).await;
        channel.push("hello");
        let said = within(sender.act(&mut channel)).await;
        assert_eq!(gone(said), "io(gone)", "{sender:?}");
        assert_eq!(channel.sent_bytes(), 0, "{sender:?}");
        assert_closed(&mut channel, &format!("{sender:?}")).await;
        if !sender.reads() && sender != Sender::Close {
            // Input goes on: what was received is there, and no second error.
            let said = all_of_next(&mut channel).await;
            assert_eq!(said[0], "complete(one)", "{sender:?}");
            assert!(said.iter().all(|item| !item.starts_with("io(")), "{sender:?}: {said:?}");
        }
    }
}

/// Everything was sent before: that there is nobody to shut down for is none.
#[tokio::test]
async fn a_reset_between_write_and_shutdown() {
    for sender in [Sender::Shutdown, Sender::Close, Sender::Next, Sender::Receive, Sender::Run] {
        let (io, mut peer) = pair().await;
        let mut channel = line(Channel::builder()).build(io);
        channel.push("bye");
        within(channel.flush()).await.unwrap();
        let mut got = [0; 3];
        within(peer.read_exact(&mut got)).await.unwrap();
        End::Reset.act(peer).await;
        knows_of_the_reset(&channel).await;
        channel.close_when_done();
        let said = within(sender.act(&mut channel)).await;
        let good = match sender {
            Sender::Run => "run(closed)",
            Sender::Shutdown | Sender::Close => "done",
            // They read, and the reset is how input ends.
            _ => "io(ConnectionReset)",
        };
        assert_eq!(said, good, "{sender:?}");
        assert_eq!(&got, b"bye");
    }
}

/// The close waits for the producer; the peer's end does not cut it short, and
/// its reset does.
#[tokio::test]
async fn the_peer_goes_while_a_producer_is_pending() {
    for (end, api) in ENDS.into_iter().flat_map(|end| APIS.map(|api| (end, api))) {
        let which = format!("{end:?}, {api:?}");
        let (io, mut peer) = pair().await;
        let mut channel = line(Channel::builder()).build(io);
        let (tell, told) = tokio::sync::oneshot::channel::<Bytes>();
        channel
            .push_with_producer(stream::once(async move { told.await.map_err(io::Error::other) }));
        channel.close_when_done();
        peer.write_all(b"one\r\n").await.unwrap();
        let peer = end.act(peer).await;
        let mut all = tokio_test::task::spawn(api.all(&mut channel));
        if end != End::Reset {
            // So much it does before it waits for the producer.
            assert!(all.poll().is_pending(), "{which}");
            tell.send("late".into()).unwrap();
        }
        let said = within(async { tokio::join!(&mut all, late(peer)) }).await;
        drop(all);
        let (said, got) = said;
        match (end, api) {
            // `run` hands out no frame after a close, and `Close` may be met
            // by a reset only after the write.
            (End::Reset, Api::Run) => assert_eq!(gone(said.last().unwrap().clone()), "io(gone)"),
            (End::Reset, _) => assert_eq!(said[1], "io(ConnectionReset)", "{which}"),
            (_, Api::Run) => assert_eq!(said.last().unwrap(), "run(closed)", "{which}"),
            (_, Api::Receive) => assert_eq!(said, ["one", "eof()"], "{which}"),
            (_, Api::Next) => assert_eq!(said, ["complete(one)", "none"], "{which}"),
        }
        assert_eq!(got, if end == End::HalfClose { "late" } else { "" }, "{which}");
    }
}

/// What a peer that is still there gets.
async fn late(peer: Option<TcpStream>) -> String {
    let mut got = String::new();
    if let Some(mut peer) = peer {
        peer.read_to_string(&mut got).await.unwrap();
    }
    got
}

/// How the peer goes when it has all that it will get is its own affair.
#[tokio::test]
async fn the_peer_goes_while_we_linger() {
    for end in ENDS {
        for is_run in [true, false] {
            let (io, mut peer) = pair().await;
            let shut = Arc::clone(&io.shut);
            let mut channel = line(Channel::builder()).linger(Duration::from_secs(600)).build(io);
            let linger = async {
                if !is_run {
                    channel.push("bye");
                    return show(channel.close().await);
                }
                let mut recorder = Recorder { closes: true, ..Recorder::default() };
                let ended = show(channel.run(&mut recorder).await);
                assert_eq!(recorder.said.0, ["complete()", "closed by us"], "{end:?}");
                ended
            };
            let goes = async {
                peer.write_all(b"\r\nand more").await.unwrap();
                shut.notified().await;
                peer.write_all(b" and more").await.unwrap();
                end.act(peer).await
            };
            let (said, _) = within(async { tokio::join!(linger, goes) }).await;
            assert_eq!(said, if is_run { "run(closed)" } else { "done" }, "{end:?}");
        }
    }
}

/// A fault of the transport itself, and what each way to send says of it.
#[tokio::test]
async fn sending_fails() {
    let kinds = [ErrorKind::TimedOut, ErrorKind::ConnectionAborted, ErrorKind::Other];
    let mut faults: Vec<(Fault, String)> = vec![(Fault::Zero, "io(WriteZero)".into())];
    faults.extend(kinds.map(|kind| (Fault::Err(kind), format!("io({kind:?})"))));
    for (fault, good) in faults {
        for sender in SENDERS {
            if sender == Sender::Ready {
                continue; // There is room.
            }
            let which = format!("{fault:?}, {sender:?}");
            let (mut io, mut peer) = pair().await;
            io.writes = [Fault::None, fault].into();
            let mut channel = line(Channel::builder()).out_buffer_size(5).build(io);
            channel.push("first");
            within(channel.flush()).await.unwrap();
            channel.push("second");
            // Reading is well, and goes first.
            peer.write_all(b"one\r\ntwo\r\n").await.unwrap();
            channel.get_ref().socket.readable().await.unwrap();
            let said = match sender {
                Sender::Next | Sender::Receive => {
                    let all = match sender {
                        Sender::Next => within(all_of_next(&mut channel)).await,
                        _ => within(all_of_receive(&mut channel)).await,
                    };
                    let words = if sender == Sender::Next {
                        ["complete(one)", "complete(two)"]
                    } else {
                        ["one", "two"]
                    };
                    assert_eq!(all[..2], words, "{which}");
                    all[2].clone()
                }
                _ => within(sender.act(&mut channel)).await,
            };
            assert_eq!(said, good, "{which}");
            assert_eq!(channel.sent_bytes(), 5, "{which}");
            assert_closed(&mut channel, &which).await;
            drop(channel);
            assert_eq!(arrived(peer).await, "first", "{which}");
        }
    }
}

/// What has arrived at the peer, however it ended.
async fn arrived(mut peer: TcpStream) -> String {
    let mut got = vec![];
    let _ = within(peer.read_to_end(&mut got)).await;
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn flushing_and_shutting_down_fail() {
    let gone = Fault::Err(ErrorKind::NotConnected);
    let late = Fault::Err(ErrorKind::TimedOut);
    for sender in [Sender::Flush, Sender::Shutdown, Sender::Close, Sender::Next, Sender::Run] {
        for (flushes, shutdowns, good) in [
            (vec![late], vec![], "io(TimedOut)"),
            (vec![], vec![late], "io(TimedOut)"),
            // The peer is gone, and everything was sent before.
            (vec![], vec![gone], ""),
        ] {
            if sender == Sender::Flush && flushes.is_empty() {
                continue; // It does not shut down.
            }
            let which = format!("{flushes:?}, {shutdowns:?}, {sender:?}");
            let (mut io, mut peer) = pair().await;
            (io.flushes, io.shutdowns) = (flushes.into(), shutdowns.into());
            let mut channel = line(Channel::builder()).build(io);
            channel.push("bye");
            if sender != Sender::Flush {
                channel.close_when_done();
            }
            peer.shutdown().await.unwrap();
            let said = within(sender.act(&mut channel)).await;
            let well = match sender {
                Sender::Next => "",
                Sender::Run => "run(closed)",
                _ => "done",
            };
            assert_eq!(said, if good.is_empty() { well } else { good }, "{which}");
            drop(channel);
            assert_eq!(arrived(peer).await, "bye", "{which}");
        }
    }
}

/// A TLS peer that does not announce its end, say.
#[tokio::test]
async fn output_goes_on_if_only_reading_fails() {
    use ErrorKind::{InvalidData, Other, TimedOut, UnexpectedEof};
    for kind in [Other, TimedOut, UnexpectedEof, InvalidData] {
        for (api, large) in APIS.into_iter().flat_map(|api| [(api, false), (api, true)]) {
            if large && kind != UnexpectedEof {
                continue; // It takes long, and the kinds are told apart before.
            }
            let which = format!("{kind:?}, {api:?}, large: {large}");
            let (mut channel, peer) = reading_fails(kind).await;
            let queued = "x".repeat(if large { much() } else { 5 });
            channel.push(queued.clone());
            let talk = async {
                assert_eq!(api.all(&mut channel).await, api.of_failed_read(kind), "{which}");
                if api != Api::Receive {
                    assert_eq!(channel.unread(), b"two\r", "{which}");
                }
                // `run` has ended the writing side, with all that was queued before.
                assert!(api != Api::Run || channel.queued_bytes() == 0, "{which}");
                channel.push(" and bye");
                assert_eq!(show(channel.shutdown().await), "done", "{which}");
                drop(channel);
            };
            let ((), got) = within(async { tokio::join!(talk, arrived(peer)) }).await;
            let rest = if api == Api::Run { "" } else { " and bye" };
            assert!(got == queued + rest, "{which}: {} bytes", got.len());
        }
    }
}

#[tokio::test]
async fn output_ends_if_reading_finds_a_broken_connection() {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    for kind in [ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected] {
        for (api, large) in APIS.into_iter().flat_map(|api| [(api, false), (api, true)]) {
            let which = format!("{kind:?}, {api:?}, large: {large}");
            let (mut channel, peer) = reading_fails(kind).await;
            let queued = "x".repeat(if large { much() } else { 5 });
            channel.push(queued.clone());
            let (dropped, waiting) = tokio::sync::oneshot::channel::<Bytes>();
            let waiting = async move { waiting.await.map_err(io::Error::other) };
            channel.push_with_producer(stream::once(waiting));
            let said = within(api.all(&mut channel)).await;
            assert_eq!(said, api.of_failed_read(kind), "{which}");
            if api != Api::Receive {
                assert_eq!(channel.unread(), b"two\r", "{which}");
            }
            assert!(dropped.is_closed(), "{which}");
            within(assert_closed(&mut channel, &which)).await;
            let sent = channel.sent_bytes() as usize;
            assert_eq!(sent < queued.len(), large, "{which}: {sent} sent");
            drop(channel);
            assert!(arrived(peer).await == queued[..sent], "{which}");
        }
    }
}

/// A channel over a socket whose second read fails, after "one\r\ntwo\r".
async fn reading_fails(kind: ErrorKind) -> (Channel<Faulty>, TcpStream) {
    let (mut io, mut peer) = pair().await;
    io.reads = [Fault::None, Fault::Err(kind)].into();
    peer.write_all(b"one\r\ntwo\r").await.unwrap();
    io.socket.readable().await.unwrap();
    (line(Channel::builder()).build(io), peer)
}

impl Api {
    /// What is said in `reading_fails`.
    fn of_failed_read(self, kind: ErrorKind) -> Vec<String> {
        let error = format!("io({kind:?})");
        let said: &[&str] = match self {
            Api::Next => &["complete(one)", &error, "none"],
            Api::Receive => &["one", &error, "eof(two\r)", "eof()"],
            Api::Run => &["complete(one)", "closed by an error", &error],
        };
        said.iter().map(|item| item.to_string()).collect()
    }
}

/// An interrupted call is made again, and nobody is told.
#[tokio::test]
async fn interrupted() {
    let often = || VecDeque::from(vec![Fault::Err(ErrorKind::Interrupted); 3]);
    for call in ["read", "write", "flush", "shutdown"] {
        for (sender, large) in SENDERS.into_iter().flat_map(|s| [(s, false), (s, true)]) {
            if sender.only_makes_room() {
                continue; // Nothing has to be sent.
            }
            let which = format!("{call}, {sender:?}, large: {large}");
            let (mut io, mut peer) = pair().await;
            match call {
                "read" => io.reads = often(),
                "write" => io.writes = often(),
                "flush" => io.flushes = often(),
                _ => io.shutdowns = often(),
            }
            let mut channel = line(Channel::builder()).build(io);
            // Both small and large, for vectored writes.
            let sent = "x".repeat(if large { 10_000 } else { 10 });
            channel.push(sent.clone());
            peer.write_all(b"one\r\n").await.unwrap();
            peer.shutdown().await.unwrap();
            let talk = async {
                let said = sender.act(&mut channel).await;
                channel.shutdown().await.unwrap();
                // What it has not read would be a reset when it goes.
                while channel.next().await.is_some() {}
                drop(channel);
                said
            };
            let (said, got) = within(async { tokio::join!(talk, arrived(peer)) }).await;
            let good = match sender {
                Sender::Next => "complete(one)",
                Sender::Receive => "one",
                Sender::Run => "run(closed)",
                _ => "done",
            };
            assert_eq!(said, good, "{which}");
            assert_eq!(got.trim_end_matches("sent"), sent, "{which}");
        }
    }
}

/// A future is dropped while a peer does not read: then that is all it costs.
#[tokio::test]
async fn a_peer_that_never_reads() {
    async fn given_up(blocked: Arc<Notify>, act: impl Future<Output = String>) {
        tokio::select! {
            () = blocked.notified() => {}
            said = act => panic!("{said}, though nobody reads"),
        }
    }
    for sender in SENDERS {
        let (io, peer) = pair().await;
        let blocked = Arc::clone(&io.blocked);
        let mut channel = line(Channel::builder()).build(io);
        channel.push(vec![b'x'; much()]);
        within(given_up(blocked, sender.act(&mut channel))).await;
        let (sent, queued) = (channel.sent_bytes(), channel.queued_bytes());
        assert!(sent < much() as u64 && queued > 0, "{sender:?}: {sent} sent, {queued} queued");
        drop(channel);
        let mut got = vec![];
        let mut peer = peer;
        let _ = within(peer.read_to_end(&mut got)).await;
        assert_eq!(got.len() as u64, sent, "{sender:?}");
    }
}
