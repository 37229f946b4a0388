//! The two ends of a dialogue, each in both styles: `run` with a `Handler`, and
//! a loop over `next`.

use crate::dialogue::{Element, How, Session, Side, ending};
use crate::wire::{PATIENCE, Wire};
use asynchat::{Builder, Channel, Control, Error, Frame, Handler, Terminator, Timeout, producer};
use asynchat_stress::Rng;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

/// What both sides have seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The first thing that must not be.
    pub(crate) wrong: Option<String>,
    /// From when to when a connection was that was lost, and how.
    pub(crate) lost: Vec<(Duration, Duration, String)>,
    /// How many of those had a part of an element.
    pub(crate) cut_elements: usize,
    answers: u64,
    connections: u64,
    simulated: Duration,
}

impl Log {
    pub(crate) fn add(&mut self, other: Log) {
        self.lost.extend(other.lost);
        self.cut_elements += other.cut_elements;
        self.answers += other.answers;
        self.connections += other.connections;
        self.simulated += other.simulated;
    }

    pub(crate) fn summary(&self) -> String {
        let Log { answers, connections, lost, cut_elements, simulated, .. } = self;
        let (lost, seconds) = (lost.len(), simulated.as_secs());
        format!(
            "{answers} answers on {connections} connections in {seconds} simulated seconds; \
             ends that lost theirs: {lost}, {cut_elements} of them in the middle of an element"
        )
    }

    fn lost(&mut self, what: String, party: &Party) {
        self.cut_elements += usize::from(party.is_cut);
        self.lost.push((party.began, now(), what));
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// Why a conversation did not come to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something must not be.
    Wrong(String),
    Lost(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Lost(error)
    }
}

/// What `Channel` and `Control` have in common.
trait Talk {
    fn push(&mut self, data: Bytes);
    fn push_slice(&mut self, data: &[u8]);
    fn push_line(&mut self, line: &str) -> Result<(), Failure>;
    fn push_producer(&mut self, producer: BoxStream<'static, io::Result<Bytes>>);
    fn set_terminator(&mut self, terminator: Terminator);
    fn set_streaming(&mut self, streaming: bool);
    fn ended_by(&self) -> &[u8];
    fn close_when_done(&mut self);
}

macro_rules! talk {
    ($talker:ty) => {
        impl Talk for $talker {
            fn push(&mut self, data: Bytes) {
                self.push(data);
            }

            fn push_slice(&mut self, data: &[u8]) {
                self.push_slice(data);
            }

            fn push_line(&mut self, line: &str) -> Result<(), Failure> {
                match self.push_frame(line.to_owned()) {
                    // Sending has failed, and `next` or `run` tells how, once
                    // what was received before is handed out.
                    Err(Error::Closed) => Ok(()),
                    pushed => Ok(pushed?),
                }
            }

            fn push_producer(&mut self, producer: BoxStream<'static, io::Result<Bytes>>) {
                self.push_with_producer(producer);
            }

            fn set_terminator(&mut self, terminator: Terminator) {
                self.set_terminator(terminator);
            }

            fn set_streaming(&mut self, streaming: bool) {
                self.codec_mut().set_streaming(streaming);
            }

            fn ended_by(&self) -> &[u8] {
                self.ended_by()
            }

            fn close_when_done(&mut self) {
                self.close_when_done();
            }
        }
    };
}

talk!(Channel<Wire>);
talk!(Control<'_>);

/// Queues an element.
fn say(talk: &mut dyn Talk, element: Element) -> Result<(), Failure> {
    talk.push_line(&element.header)?;
    let body = Bytes::from(element.body);
    match element.how {
        How::Whole => talk.push(body),
        How::Slices(size) => body.chunks(size).for_each(|chunk| talk.push_slice(chunk)),
        How::Producer(size) => {
            talk.push_producer(producer::from_iter(chunks(body, size)).boxed());
        }
        How::Slow(size) => talk.push_producer(slowly(chunks(body, size)).boxed()),
    }
    talk.push_slice(element.ended_by.as_bytes());
    Ok(())
}

fn chunks(body: Bytes, size: usize) -> impl Iterator<Item = Bytes> + Send + 'static {
    let ends = (0..body.len()).step_by(size);
    ends.map(move |at| body.slice(at..body.len().min(at + size)))
}

fn slowly(
    chunks: impl Iterator<Item = Bytes> + Send + 'static,
) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::iter(chunks).then(|chunk| async move {
        sleep(Duration::from_millis(7)).await;
        Ok(chunk)
    })
}

/// One end of a session: what it has heard, checked as it comes, and what it
/// says to that.
struct Party {
    sessions: Vec<Rc<Session>>,
    /// Which of them is its own; for a server, once it has been told.
    own: usize,
    hears: Side,
    coming: Coming,
    /// The number of the next element to come.
    seq: u64,
    /// What has come of the line or the body that is coming.
    data: Vec<u8>,
    /// How many bytes of this connection it has had, endings included, and how
    /// many were read.
    taken: u64,
    read: Rc<Cell<u64>>,
    /// The most that one read asks for.
    read_size: usize,
    /// The most that is read while nobody asks for input.
    read_ahead: usize,
    /// Which request a client asks next.
    ask: u64,
    /// Whether a client closes its side behind the last request, not behind
    /// the last answer.
    closes_early: bool,
    has_closed: bool,
    /// How often it was told that it is over.
    told: u32,
    /// When its connection was there.
    began: Duration,
    /// Whether the connection ended in the middle of an element.
    is_cut: bool,
}

enum Coming {
    /// "resume", the client and the number of its first request.
    Resume,
    Header(Element),
    Body(Element),
    /// Nothing more.
    End,
}

impl Party {
    fn client(session: Rc<Session>, own: usize, closes_early: bool) -> Self {
        let mut sessions = vec![session.clone(); own];
        sessions.push(session);
        Party { own, hears: Side::Answer, closes_early, ..Party::server(sessions) }
    }

    fn server(sessions: Vec<Rc<Session>>) -> Self {
        Party {
            sessions,
            own: 0,
            hears: Side::Request,
            coming: Coming::Resume,
            seq: 0,
            data: Vec::new(),
            taken: 0,
            read: Rc::default(),
            read_size: 0,
            read_ahead: 0,
            ask: 0,
            closes_early: false,
            has_closed: false,
            told: 0,
            began: Duration::ZERO,
            is_cut: false,
        }
    }

    /// A client's, on a new connection: goes on where it was.
    fn resume(&mut self) {
        (self.data, self.taken, self.told, self.has_closed) = (Vec::new(), 0, 0, false);
        self.ask = self.seq;
        self.coming = self.next_header();
    }

    fn session(&self) -> &Session {
        &self.sessions[self.own]
    }

    fn is_done(&self) -> bool {
        matches!(self.coming, Coming::End) && self.data.is_empty()
    }

    fn is_amid(&self) -> bool {
        matches!(self.coming, Coming::Body(_)) || !self.data.is_empty()
    }

    fn next_header(&self) -> Coming {
        if self.seq == self.session().elements {
            return Coming::End;
        }
        Coming::Header(self.session().element(self.hears, self.seq))
    }

    fn begin(&mut self, talk: &mut dyn Talk) -> Result<(), Failure> {
        if self.hears == Side::Request {
            return Ok(());
        }
        talk.push_line(&format!("resume {} {}", self.own, self.seq))?;
        self.ask_on(talk)
    }

    /// Asks as many requests as may be without an answer, and closes behind
    /// the last.
    fn ask_on(&mut self, talk: &mut dyn Talk) -> Result<(), Failure> {
        let (elements, window) = (self.session().elements, self.session().window);
        while self.ask < elements.min(self.seq + window) {
            say(talk, self.session().element(Side::Request, self.ask))?;
            self.ask += 1;
        }
        let said = if self.closes_early { self.ask } else { self.seq };
        if said == elements && !self.has_closed {
            self.has_closed = true;
            talk.close_when_done();
        }
        Ok(())
    }

    /// What is to come, and the bytes behind it.
    fn expected(&self) -> Option<(&[u8], &'static str)> {
        match &self.coming {
            Coming::Resume => None,
            Coming::Header(element) => Some((element.header.as_bytes(), "\n")),
            Coming::Body(element) => Some((&element.body, element.ended_by)),
            Coming::End => Some((b"", "")),
        }
    }

    fn collect(&mut self, data: &[u8]) -> Result<(), Failure> {
        if data.is_empty() {
            return Err(self.wrong("nothing was collected"));
        }
        let most = data.len() + LONGEST_END + self.read_size + self.read_ahead;
        if self.read.get() - self.taken > most as u64 {
            return Err(self.wrong("read on, though there was a frame"));
        }
        let from = self.data.len();
        self.data.extend_from_slice(data);
        self.taken += data.len() as u64;
        let Some((expected, ended_by)) = self.expected() else { return Ok(()) };
        // At the end of input with half a terminator behind it.
        let rest = expected.get(from..).unwrap_or_default().iter().chain(ended_by.as_bytes());
        if from <= expected.len() && rest.take(data.len()).eq(data) {
            return Ok(());
        }
        Err(self.wrong("not what was sent"))
    }

    fn found(&mut self, talk: &mut dyn Talk) -> Result<(), Failure> {
        let data = std::mem::take(&mut self.data);
        self.taken += talk.ended_by().len() as u64;
        let as_expected = |expected: &[u8], ended_by: &str| {
            data == expected && talk.ended_by() == ended_by.as_bytes()
        };
        if self.expected().is_some_and(|(expected, ended_by)| !as_expected(expected, ended_by)) {
            return Err(self.wrong("not the whole, or something else"));
        }
        let text = String::from_utf8_lossy(&data);
        match std::mem::replace(&mut self.coming, Coming::End) {
            Coming::Resume => {
                let mut numbers = text.split(' ').skip(1).map(|number| number.parse::<u64>());
                let (Some(Ok(own)), Some(Ok(seq))) = (numbers.next(), numbers.next()) else {
                    return Err(self.wrong("not a number to resume from"));
                };
                (self.own, self.seq) = (own as usize, seq);
                self.coming = self.next_header();
            }
            Coming::Header(element) => {
                let Some(ending) = ending(&text) else {
                    return Err(self.wrong("no ending"));
                };
                talk.set_terminator(ending);
                talk.set_streaming(element.streaming);
                self.coming = Coming::Body(element);
            }
            Coming::Body(_) => {
                talk.set_terminator("\n".into());
                talk.set_streaming(false);
                self.seq += 1;
                self.coming = self.next_header();
                return self.reply(talk);
            }
            Coming::End => return Err(self.wrong("more than was sent")),
        }
        Ok(())
    }

    fn reply(&mut self, talk: &mut dyn Talk) -> Result<(), Failure> {
        match self.hears {
            Side::Request => say(talk, self.session().element(Side::Answer, self.seq - 1)),
            Side::Answer => self.ask_on(talk),
        }
    }

    /// Everything that was read has been handed out, but for a part of
    /// something.
    fn check_rest(&self, unread: &[u8]) -> Result<(), Failure> {
        let read = self.read.get();
        if self.taken + unread.len() as u64 != read {
            return Err(self.wrong(&format!("of {read} bytes {} came", self.taken)));
        }
        let rest = [&self.data, unread].concat();
        let is_part = match self.expected() {
            None => !rest.contains(&b'\n'),
            Some((b"", "")) => rest.is_empty(),
            Some((expected, ended_by)) => {
                let all = [expected, ended_by.as_bytes()].concat();
                all.starts_with(&rest) && rest.len() < all.len()
            }
        };
        if is_part { Ok(()) } else { Err(self.wrong("the rest is no part of what was sent")) }
    }

    fn wrong(&self, what: &str) -> Failure {
        let Party { own, hears, seq, data, taken, .. } = self;
        let length = data.len();
        Failure::Wrong(format!(
            "{hears:?} {seq} of session {own}: {what} ({length} bytes of it, {taken} in all)"
        ))
    }
}

impl Handler for Party {
    type Error = Failure;

    fn connected(&mut self, control: &mut Control<'_>) -> Result<(), Failure> {
        self.begin(control)
    }

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Failure> {
        self.collect(data)
    }

    fn found_terminator(&mut self, control: &mut Control<'_>) -> Result<(), Failure> {
        self.found(control)
    }

    fn closed(&mut self, _: Option<&Error>) {
        self.told += 1;
    }
}

/// How one end is set up, on one connection.
struct Setup {
    handles: bool,
    builder: Builder,
    read_size: usize,
    segment: usize,
    /// Drops what it awaits after so long, and awaits it again.
    impatience: Option<Duration>,
    /// Waits for room before it reads on.
    waits: bool,
}

impl Setup {
    fn random(rng: &mut Rng, hears: Side, handles: bool) -> Self {
        let high_water = match (hears, handles) {
            // It must not wait for a server who waits for it.
            (Side::Answer, true) => 1 << 20,
            _ => rng.of(&[1, 2000, 128 * 1024]),
        };
        let read_size = rng.of(&[1, 100, 65_536]);
        let builder = Channel::builder()
            .terminator("\n")
            .encode_terminator("\n")
            .max_length(1 << 20)
            .in_buffer_size(read_size)
            .out_buffer_size(rng.of(&[1, 300, 65_536]))
            .high_water(high_water)
            .low_water(high_water / 2)
            .linger(LINGER)
            .corked(rng.one_in(2));
        let impatience = rng.one_in(3).then(|| Duration::from_millis(1 + rng.below(20)));
        let waits = hears == Side::Request && rng.one_in(2);
        let segment = rng.of(&[30, 1400, 65_536]);
        Setup { handles, builder, read_size, segment, impatience, waits }
    }
}

/// A conversation, to its end or the connection's.
async fn converse(party: &mut Party, tcp: TcpStream, setup: Setup) -> Result<(), Failure> {
    party.began = now();
    party.read_size = setup.read_size;
    // `run` above the high-water mark, and `ready`.
    party.read_ahead = if setup.handles || setup.waits { setup.read_size } else { 0 };
    let wire = Wire::new(tcp, setup.segment, party.read.clone());
    let mut channel = setup.builder.clone().build(wire);
    let ended = if setup.handles {
        handle(&mut channel, party, &setup).await
    } else {
        stream(&mut channel, party, &setup).await
    };
    if let Err(Failure::Wrong(_)) = &ended {
        return ended;
    }
    party.is_cut = party.is_amid() || !channel.unread().is_empty();
    // `run` drops what comes after a close.
    if !(setup.handles && party.has_closed) {
        party.check_rest(channel.unread())?;
    }
    ended
}

/// As often as `impatience` will have it.
macro_rules! patiently {
    ($setup:expr, $future:expr) => {
        loop {
            match $setup.impatience {
                None => break $future.await,
                Some(patience) => {
                    if let Ok(done) = timeout(patience, $future).await {
                        break done;
                    }
                }
            }
        }
    };
}

async fn handle(
    channel: &mut Channel<Wire>,
    party: &mut Party,
    setup: &Setup,
) -> Result<(), Failure> {
    let ended = patiently!(setup, channel.run(party));
    if party.told != 1 && !matches!(ended, Err(Failure::Wrong(_))) {
        return Err(party.wrong(&format!("told {} times that it is over", party.told)));
    }
    ended.map(|_| ())
}

async fn stream(
    channel: &mut Channel<Wire>,
    party: &mut Party,
    setup: &Setup,
) -> Result<(), Failure> {
    party.begin(channel)?;
    // By reading and by writing: the second is told to `ready`.
    let (mut failed, mut not_ready) = (None, None);
    while let Some(item) = patiently!(setup, channel.next()) {
        match item {
            Ok(Frame::Partial(data)) => party.collect(&data)?,
            Ok(Frame::Complete(data)) => {
                if !data.is_empty() {
                    party.collect(&data)?;
                }
                party.found(channel)?;
            }
            Err(error) if failed.is_some() => {
                return Err(party.wrong(&format!("a second error: {error:?}")));
            }
            Err(error) => failed = Some(error),
        }
        if setup.waits && failed.is_none() && not_ready.is_none() {
            not_ready = channel.ready().await.err();
        }
    }
    match not_ready.or(failed) {
        Some(error) => Err(error.into()),
        None => Ok(patiently!(setup, channel.close())?),
    }
}

/// Notes how a conversation ended; whether it is one that may end so.
fn note(ended: Result<(), Failure>, party: &Party, log: &RefCell<Log>) -> Result<(), String> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut};
    let mut log = log.borrow_mut();
    match ended {
        Ok(()) if party.is_done() => {}
        Ok(()) => log.lost("early end".into(), party),
        Err(Failure::Lost(Error::Io(e)))
            if matches!(e.kind(), BrokenPipe | ConnectionReset | TimedOut) =>
        {
            log.lost(format!("{:?}", e.kind()), party);
        }
        // It was closing, and the network took nothing.
        Err(Failure::Lost(Error::Timeout(timeout @ Timeout::Write(LINGER)))) => {
            log.lost(format!("{timeout:?}"), party);
        }
        Err(other) => {
            let wrong = match other {
                Failure::Wrong(what) => what,
                Failure::Lost(error) => format!("lost by {error:?}"),
            };
            log.wrong.get_or_insert(wrong.clone());
            return Err(wrong);
        }
    }
    Ok(())
}

pub(crate) async fn server(sessions: Vec<Rc<Session>>, log: Rc<RefCell<Log>>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (tcp, _) = listener.accept().await?;
        log.borrow_mut().connections += 1;
        let mut rng = Rng::new(sessions[0].seed ^ log.borrow().connections);
        let handles = rng.one_in(2);
        let setup = Setup::random(&mut rng, Side::Request, handles);
        let (mut party, log) = (Party::server(sessions.clone()), log.clone());
        tokio::task::spawn_local(async move {
            let ended = converse(&mut party, tcp, setup).await;
            // What is wrong is in the log.
            let _ = note(ended, &party, &log);
        });
    }
}

pub(crate) async fn client(
    session: Rc<Session>,
    own: usize,
    log: Rc<RefCell<Log>>,
) -> turmoil::Result {
    let handles = own == 1;
    let mut rng = Rng::new(session.seed);
    let mut party = Party::client(session, own, !handles && rng.one_in(2));
    for _ in 0..MOST_ATTEMPTS {
        if let Ok(Ok(tcp)) = timeout(PATIENCE, TcpStream::connect(("server", PORT))).await {
            party.resume();
            let ended = converse(&mut party, tcp, Setup::random(&mut rng, Side::Answer, handles));
            note(ended.await, &party, &log)?;
            if party.is_done() {
                let mut log = log.borrow_mut();
                log.answers += party.seq;
                log.simulated = now();
                return Ok(());
            }
        }
        sleep(Duration::from_millis(50 + rng.below(100))).await;
    }
    Err("endless attempts".into())
}

const PORT: u16 = 7;

/// How long a transport may take nothing while a channel is being closed.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Of what stands behind a frame.
const LONGEST_END: usize = 32;

const MOST_ATTEMPTS: u32 = 500;
