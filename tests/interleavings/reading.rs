//! Scenarios of input: what is handed out is what a naive oracle makes of the
//! bytes that were delivered.

use crate::common::{self, Change, Ending, Expected, Knobs, Session, Term, Trace};
use crate::sim::{
    FLUSH, NEXT, PEEK, POLL_NEXT, RECEIVE, RECEIVE_MUT, RECEIVE_PART, RECEIVE_WITHIN, RUN,
    Scenario, Sim,
};
use crate::variant::{VARIANTS, Variant, variant};
use crate::world::{Mock, world};
use asynchat::{Builder, Channel, Control, Error, Frame, Handler, Run, Terminator};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::collections::VecDeque;
use std::task::Poll;

/// What the peer sends, and how it is to be read.
struct Input {
    name: &'static str,
    session: Session,
    bytes: Bytes,
    expected: Expected,
}

fn input(
    name: &'static str,
    bytes: &'static str,
    term: impl Into<Ending>,
    set: impl FnOnce(&mut Session),
) -> Input {
    let mut session = Session {
        term: Term::from(term.into()),
        streaming: false,
        max_length: usize::MAX,
        max_head: usize::MAX,
        keep: false,
        script: vec![],
    };
    set(&mut session);
    let expected = common::oracle(&session, bytes.as_bytes());
    Input { name, session, bytes: Bytes::from_static(bytes.as_bytes()), expected }
}

fn to(ending: impl Into<Ending>) -> Change {
    Change { term: Some(Term::from(ending.into())), ..Change::default() }
}

fn inputs() -> Vec<Input> {
    let as_is = |_: &mut Session| ();
    let streams = |session: &mut Session| session.streaming = true;
    vec![
        input("a byte", "a\n\nbc\nd", "\n", as_is),
        input("CR LF", "a\r\n\r\r\nb\r\n", "\r\n", as_is),
        input("a long byte string", "abababababc-", "ababababc", as_is),
        input("one of several", "a.\r\n\r\nb..", ["\r\n\r\n", ".\r\n", ".."], as_is),
        input("a line", "a\n\rb\r\n\n", Ending::Line, as_is),
        input("a count, spent", "abcd\nef", 3, |session| {
            session.script = vec![to("\n"), to(2)];
        }),
        input("a count of nothing", "ab\n", 0, |session| {
            session.script = vec![to(0), to("\n")];
        }),
        input("no terminator", "abc", Ending::Never, as_is),
        input("kept", "a\r\n\r\nb", "\r\n", |session| session.keep = true),
        input("the end in a terminator", "a\r\nb\r", "\r\n", as_is),
        input("the end in a count", "abcd", 6, as_is),
        input("an over-long frame", "abcde\r\nok\r\n", "\r\n", |session| session.max_length = 3),
        input("an over-long frame, then another terminator", "abcde\r\nok;", "\r\n", |session| {
            session.max_length = 3;
            session.script = vec![to(";")];
        }),
        input("an over-long count", "abcdefok\n", 6, |session| {
            session.max_length = 3;
            session.script = vec![to("\n")];
        }),
        input("the end of an over-long frame", "abcdef\r", "\r\n", |session| {
            session.max_length = 3;
        }),
        input("records", "abcdef\ng", Ending::Every(3), |session| {
            session.script = vec![Change::default(), to("\n")];
        }),
        input("messages", "1\na+1b0\n", common::message(2), as_is),
        input("the end in a message", "1\na2\nb", common::message("\n"), as_is),
        input("an over-long message", "3\nabc1\nd", common::message("\n"), |session| {
            session.max_length = 3;
        }),
        input("an invalid head", "1\nax\nb", common::message("\n"), as_is),
        input("a head above its limit", "0\nxx\r", common::message("\r\n"), |session| {
            session.max_head = 4;
        }),
        input("streaming messages", "2\nab1\nc", common::message("\n"), streams),
        input("streaming", "ab\r\rc\r\nd\r\n", "\r\n", streams),
        input("streaming a count", "abcde\r\n", 4, |session| {
            session.streaming = true;
            session.script = vec![to("\r\n")];
        }),
        input("streaming to the end in a terminator", "ab\r\nc\r", "\r\n", streams),
        input("streaming one frame of two", "abc\nde\n", "\n", |session| {
            session.script = vec![Change { streaming: Some(true), ..Change::default() }];
        }),
    ]
}

/// One input, one way to read it.
struct Reader<'r> {
    input: &'r Input,
    script: VecDeque<Change>,
    trace: Trace,
    /// How many payloads to queue, one for each frame.
    answers: usize,
    items: usize,
}

impl<'r> Reader<'r> {
    fn new(input: &'r Input, answers: usize) -> Self {
        let script = input.session.script.clone().into();
        Reader { input, script, trace: Trace::default(), answers, items: 0 }
    }

    fn build(&self, sim: &mut Sim, builder: Builder) -> Channel<Mock> {
        builder.codec(self.input.session.codec()).build(sim.mock(&self.input.bytes))
    }

    /// Notes what was handed out, changes what is to be changed behind a frame,
    /// and answers it.
    fn take(&mut self, sim: &mut Sim, channel: &mut Channel<Mock>, item: Result<Frame, Error>) {
        self.items += 1;
        assert!(self.items < ITEMS, "endless items");
        if !self.trace.note(item, common::ended(channel.codec())).unwrap() {
            return;
        }
        if let Some(change) = self.script.pop_front() {
            channel.apply(&change);
        }
        if self.answers > 0 {
            self.answers -= 1;
            sim.push(channel, self.answers);
        }
    }

    /// Whether a frame is being skipped whose end has not arrived.
    fn skips(&self, sim: &Sim) -> bool {
        sim.link(|link| !link.has_ended && self.input.expected.states[link.delivered].skips)
    }

    /// Compares with what was delivered: no byte is lost, doubled or out of
    /// order.
    fn check(&self, sim: &Sim, unread: &[u8]) {
        let state = &self.input.expected.states[sim.link(|link| link.delivered)];
        assert_eq!(self.trace.events, self.input.expected.events[..state.events]);
        if state.skips {
            return assert_eq!(unread, state.left);
        }
        let (mine, all) = ((&self.trace.open, unread), (&state.open, &state.left));
        assert!(mine.0.iter().chain(mine.1).eq(all.0.iter().chain(all.1)), "{mine:?} of {all:?}");
    }

    /// The same behind an error. One of the writing side may come when all frames
    /// were handed out.
    fn check_failed(&mut self, sim: &Sim, unread: &[u8]) {
        match sim.link(|link| link.has_ended) {
            true => self.check_end(sim, unread),
            false => self.check(sim, unread),
        }
    }

    /// The same after a head that is invalid, which ends the input.
    fn check_invalid(&mut self) {
        self.trace.events.push(common::Event::InvalidHead);
        assert_eq!(self.trace.events, self.input.expected.events);
    }

    /// The same when input ends within a frame, after which `partial` is left of it.
    fn check_early_end(&mut self, sim: &mut Sim, partial: &[u8]) {
        let Some(error) = sim.reported_beside() else { return self.check_end(sim, partial) };
        sim.reported(&error);
        // The beginning of a terminator to skip to is not returned.
        match self.skips(sim) {
            true => assert_eq!(partial, b""),
            false => self.check_failed(sim, partial),
        }
    }

    /// The same at the end of input.
    fn check_end(&mut self, sim: &Sim, rest: &[u8]) {
        assert!(sim.link(|link| link.has_ended), "ended before its end");
        let mut rest = [&std::mem::take(&mut self.trace.open), rest].concat();
        if let Some(common::Event::Rest(expected, head)) =
            self.input.expected.events.get(self.trace.events.len())
        {
            assert_eq!(&rest, expected);
            self.trace.events.push(common::Event::Rest(std::mem::take(&mut rest), *head));
        }
        assert!(rest.is_empty(), "{rest:?} is left");
        assert_eq!(self.trace.events, self.input.expected.events);
    }
}

/// The ways to the next frame.
#[derive(Clone, Copy)]
enum Next {
    Plain,
    AsStream,
    /// With a look at what is buffered before each frame.
    Peeked,
}

/// With `next`, or as a stream.
fn read_next(sim: &mut Sim, builder: Builder, input: &Input, answers: usize, by: Next) {
    let mut reader = Reader::new(input, answers);
    let mut channel = reader.build(sim, builder);
    loop {
        if let Next::Peeked = by {
            peek(sim, &mut channel, reader.items);
        }
        let item = if let Next::AsStream = by {
            sim.turns(POLL_NEXT, &mut channel, async |c| StreamExt::next(c).await)
        } else {
            sim.turns(NEXT, &mut channel, async |c| c.next().await)
        };
        match item {
            Some(item @ (Ok(_) | Err(Error::FrameTooLong { .. }))) => {
                reader.take(sim, &mut channel, item);
            }
            Some(Err(Error::InvalidHead(_))) => {
                reader.check_invalid();
                break;
            }
            Some(Err(error)) => {
                sim.reported(&error);
                reader.check_failed(sim, channel.unread());
                break;
            }
            None => {
                reader.check_end(sim, channel.unread());
                break;
            }
        }
    }
    // The mock does not stand reading after the end.
    sim.check_fused(&mut channel);
    sim.finish(&mut channel);
}

/// Looks at one more byte each time, up to three.
fn peek(sim: &mut Sim, channel: &mut Channel<Mock>, turn: usize) {
    let n = (turn + 1) % 4;
    let peeked = sim.turns(PEEK, channel, async |c| c.peek(n).await.map(Bytes::copy_from_slice));
    let shown = peeked.expect("it takes no error");
    let is_skipping = channel.codec().is_skipping();
    assert_eq!(shown, if is_skipping { b"" } else { channel.unread() });
    let is_over = sim.link(|link| link.has_ended) || world(|world| !world.injected.is_empty());
    assert!(shown.len() >= n || is_over, "fewer bytes, and input goes on");
}

/// The methods that give one whole frame, in any mode.
#[derive(Clone, Copy)]
enum Receive {
    Plain,
    Mut,
    /// Under this limit.
    Within(usize),
}

/// With `receive` or one of those like it.
fn read_receive(sim: &mut Sim, builder: Builder, input: &Input, answers: usize, by: Receive) {
    let mut reader = Reader::new(input, answers);
    let mut channel = reader.build(sim, builder);
    if let Receive::Within(_) = by {
        channel.codec_mut().set_max_length(0);
    }
    loop {
        let terminator = channel.terminator().clone();
        let to_the_end = terminator.is_none();
        let item = receive(sim, &mut channel, &terminator, by);
        match item {
            Ok(rest) if to_the_end => {
                reader.check_end(sim, &rest);
                break;
            }
            Err(Error::UnexpectedEof { partial, .. }) => {
                reader.check_early_end(sim, &partial);
                break;
            }
            Ok(_) | Err(Error::FrameTooLong { .. }) => {
                reader.take(sim, &mut channel, item.map(|data| Frame::Complete(data.into())));
            }
            Err(Error::InvalidHead(_)) => {
                reader.check_invalid();
                match receive(sim, &mut channel, &terminator, Receive::Plain) {
                    Err(Error::Closed) => {}
                    // The failure that was reported to the other task.
                    Err(error @ Error::Io(_)) => sim.reported(&error),
                    again => panic!("after an invalid head: {again:?}"),
                }
                break;
            }
            Err(error) => {
                sim.reported(&error);
                reader.check_failed(sim, channel.unread());
                let skips = channel.codec().is_skipping();
                let left = if skips { vec![] } else { channel.unread().to_vec() };
                let again = loop {
                    match receive(sim, &mut channel, &terminator, Receive::Plain) {
                        // Output goes on after a failure of input, and may fail as well.
                        Err(error @ Error::Io(_)) if !sim.has_reported_failure() => {
                            sim.reported(&error);
                        }
                        again => break again,
                    }
                };
                match again {
                    Err(Error::UnexpectedEof { partial, .. }) => assert_eq!(partial, left),
                    other => panic!("after an error: {other:?}"),
                }
                break;
            }
        }
    }
    sim.finish(&mut channel);
}

fn receive(
    sim: &mut Sim,
    channel: &mut Channel<Mock>,
    terminator: &Terminator,
    by: Receive,
) -> Result<Bytes, Error> {
    match by {
        Receive::Plain => {
            sim.turns(RECEIVE, channel, async |c| c.receive(terminator.clone()).await)
        }
        Receive::Mut => sim.turns(RECEIVE_MUT, channel, async |c| {
            c.receive_mut(terminator.clone()).await.map(BytesMut::freeze)
        }),
        Receive::Within(limit) => sim.turns(RECEIVE_WITHIN, channel, async |c| {
            c.receive_within(limit, terminator.clone()).await
        }),
    }
}

/// With `receive_part`, as in streaming mode whatever is set.
fn read_parts(sim: &mut Sim, builder: Builder, input: &Input, answers: usize) {
    let mut reader = Reader::new(input, answers);
    let mut channel = reader.build(sim, builder);
    loop {
        let to_the_end = channel.terminator().is_none();
        match sim.turns(RECEIVE_PART, &mut channel, async |c| c.receive_part().await) {
            Ok(Frame::Complete(rest)) if to_the_end => {
                reader.check_end(sim, &rest);
                break;
            }
            Err(Error::UnexpectedEof { partial, .. }) => {
                reader.check_early_end(sim, &partial);
                break;
            }
            item @ Ok(_) => reader.take(sim, &mut channel, item),
            Err(Error::InvalidHead(_)) => {
                reader.check_invalid();
                break;
            }
            Err(error) => {
                sim.reported(&error);
                reader.check_failed(sim, channel.unread());
                break;
            }
        }
    }
    sim.finish(&mut channel);
}

/// A handler that notes what it is given, and switches and answers in its
/// callbacks.
struct Callbacks<'c, 'r> {
    reader: &'c mut Reader<'r>,
    payloads: VecDeque<Bytes>,
    queued: &'c mut Vec<u8>,
    /// Before which frame it calls `stop`.
    stops: bool,
}

impl Callbacks<'_, '_> {
    fn take(&mut self, channel: &mut Control<'_>, item: Result<Frame, Error>) {
        self.reader.items += 1;
        assert!(self.reader.items < ITEMS, "endless items");
        let ended_by = if item.is_ok() { channel.ended_by().to_vec() } else { vec![] };
        // The head was noted with its data.
        if !self.reader.trace.note(item, (&ended_by, 0)).unwrap() {
            return;
        }
        if let Some(change) = self.reader.script.pop_front() {
            channel.apply(&change);
        }
        if let Some(data) = self.payloads.pop_front() {
            self.queued.extend_from_slice(&data);
            channel.push(data);
        }
        if self.stops {
            channel.stop();
        }
    }
}

impl Handler for Callbacks<'_, '_> {
    type Error = Error;

    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Error> {
        assert!(!data.is_empty());
        self.reader.trace.head += channel.head_len();
        self.reader.trace.open.extend_from_slice(data);
        Ok(())
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.take(channel, Ok(Frame::Complete(BytesMut::new())));
        Ok(())
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        let error = ByDefault.frame_too_long(channel, limit);
        self.take(channel, error.map(|()| unreachable!()));
        Ok(())
    }
}

/// A handler that overrides nothing.
struct ByDefault;

impl Handler for ByDefault {
    type Error = Error;
}

/// With `run`, which `stops` behind each frame and is called again.
fn read_run(sim: &mut Sim, builder: Builder, input: &Input, answers: usize, stops: bool) {
    let mut reader = Reader::new(input, answers);
    let mut channel = reader.build(sim, builder);
    let payloads = (0..answers).map(|n| sim.payload(n)).collect();
    let mut queued = vec![];
    let mut callbacks = Callbacks { reader: &mut reader, payloads, queued: &mut queued, stops };
    let mut run = Ok(Run::Stopped);
    for _ in 0..ITEMS {
        let Ok(Run::Stopped) = run else { break };
        run = sim.turns(RUN, &mut channel, async |c| c.run(&mut callbacks).await);
    }
    sim.queued = queued;
    match run {
        Ok(Run::Closed) => reader.check_end(sim, channel.unread()),
        Ok(Run::Stopped) => panic!("it stops for ever"),
        Err(Error::InvalidHead(_)) => reader.check_invalid(),
        Err(error) => {
            sim.reported_by_run(&error);
            reader.check_failed(sim, channel.unread());
        }
    }
    sim.finish(&mut channel);
}

/// The terminator is switched while `next` is pending, after any number of
/// bytes: it counts from the first one not yet handed out.
fn switch_while_pending(sim: &mut Sim, builder: Builder, bytes: &Bytes, expected: &[Expected]) {
    let mut channel = builder.terminator("\r\n").build(sim.mock(bytes));
    let mut trace = Trace::default();
    let mut switched_at = None;
    loop {
        match sim.turn(NEXT, &mut channel, async |c| c.next().await) {
            Poll::Pending if switched_at.is_none() => {
                channel.set_terminator(";");
                switched_at = Some(sim.link(|link| link.delivered));
            }
            Poll::Pending => {}
            Poll::Ready(Some(item @ Ok(_))) => {
                trace.note(item, common::ended(channel.codec())).unwrap();
            }
            Poll::Ready(Some(Err(error))) => {
                sim.reported(&error);
                break;
            }
            Poll::Ready(None) => break,
        }
    }
    let expected = &expected[switched_at.map_or(0, |at| at + 1)];
    if sim.link(|link| link.has_ended) {
        if !trace.open.is_empty() {
            trace.events.push(common::Event::Rest(trace.open, 0));
        }
        assert_eq!(trace.events, expected.events);
    } else {
        let state = &expected.states[sim.link(|link| link.delivered)];
        assert_eq!(trace.events, expected.events[..state.events]);
        assert_eq!(channel.unread(), state.left);
    }
    sim.finish(&mut channel);
}

/// What comes of `bytes` if `first` is always in force, and if it was for the
/// first `n` of them, for each `n`.
fn switched(bytes: &Bytes, first: &str, then: &str) -> Vec<Expected> {
    let with = |term: &str, script| Session {
        term: Term::from(term),
        streaming: false,
        max_length: usize::MAX,
        max_head: usize::MAX,
        keep: false,
        script,
    };
    let after = |n: usize| {
        let events = common::oracle(&with(first, vec![]), bytes).states[n].events;
        match events {
            0 => common::oracle(&with(then, vec![]), bytes),
            _ => {
                let mut script = vec![Change::default(); events - 1];
                script.push(to(then));
                common::oracle(&with(first, script), bytes)
            }
        }
    };
    let always = common::oracle(&with(first, vec![]), bytes);
    [always].into_iter().chain((0..=bytes.len()).map(after)).collect()
}

/// Answers are held back while whole frames are buffered, and sent then.
fn corked(sim: &mut Sim, builder: Builder, input: &Input) {
    read_next(sim, builder.corked(true), input, 3, Next::Plain);
}

/// What is buffered in both directions is dropped, and the tail of what was
/// unfinished does not become a frame.
fn discard_while_pending(sim: &mut Sim, builder: Builder, bytes: &Bytes) {
    let mut channel = builder.terminator("\r\n").build(sim.mock(bytes));
    sim.push(&mut channel, 0);
    sim.push(&mut channel, 1);
    let mut lines = vec![];
    let mut kept = bytes.to_vec();
    let mut discarded = false;
    loop {
        match sim.turn(NEXT, &mut channel, async |c| c.next().await) {
            Poll::Pending if !discarded => {
                discarded = true;
                let dropped = channel.discard_buffers();
                // What a pending write was offered is still to be sent.
                let stays = sim.link(|link| match &link.offered {
                    _ if link.is_lost() => sim.queued.len(),
                    offered => link.wire.len() + offered.as_ref().map_or(0, Vec::len),
                });
                let dropped = dropped.output_bytes as usize;
                assert_eq!(dropped, sim.queued.len() - stays, "dropped of the output");
                sim.queued.truncate(stays);
                sim.push(&mut channel, 2);
                // Whole lines up to here were handed out, so that what is dropped
                // is a part of one.
                let delivered = sim.link(|link| link.delivered);
                let begun = lines.iter().map(|line: &Bytes| line.len() + 2).sum::<usize>();
                if begun < delivered {
                    let next = bytes[begun..].windows(2).position(|pair| pair == b"\r\n");
                    kept.drain(begun..next.map_or(bytes.len(), |at| begun + at + 2));
                }
            }
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => lines.push(frame.into_data()),
            Poll::Ready(Some(Err(error))) => {
                sim.reported(&error);
                break;
            }
            Poll::Ready(None) => {
                let kept = kept.strip_suffix(b"\r\n").unwrap_or(&kept);
                assert_eq!(lines.join(&b"\r\n"[..]), kept);
                break;
            }
        }
    }
    sim.finish(&mut channel);
}

/// One method after the other on the same channel, each dropped while pending:
/// what one has read the next one has.
fn one_after_the_other(sim: &mut Sim, builder: Builder, bytes: &Bytes) {
    let mut channel = builder.build(sim.mock(bytes));
    let mut sent = vec![];
    let mut failed = false;
    let mut ways = (0..4).cycle();
    while sent.len() < bytes.len() && !failed {
        channel.set_terminator("\n");
        let way = if sim.has_read() { Some(0) } else { ways.next() };
        let frame = match way {
            Some(0) => sim.poll_next(&mut channel).map(Option::unwrap),
            Some(1) => sim
                .turn(RECEIVE, &mut channel, async |c| c.receive("\n").await)
                .map_ok(|data| Frame::Complete(data.into())),
            Some(2) => sim.turn(RECEIVE_PART, &mut channel, async |c| c.receive_part().await),
            _ => {
                sim.push(&mut channel, 0);
                let flushed = sim.turns(FLUSH, &mut channel, async |c| c.flush().await);
                if let Err(error) = flushed {
                    sim.reported(&error);
                    failed = true;
                }
                continue;
            }
        };
        match frame {
            Poll::Pending => {}
            Poll::Ready(Ok(frame)) => {
                sent.extend_from_slice(frame.data());
                if frame.is_complete() {
                    sent.push(b'\n');
                }
            }
            Poll::Ready(Err(error)) => {
                let error = sim.reported_beside().unwrap_or(error);
                sim.reported(&error);
                failed = true;
            }
        }
        if sim.queued.len() > 6 * sim.payload(0).len() {
            ways = (0..3).cycle();
        }
    }
    assert!(bytes.starts_with(&sent));
    sim.finish(&mut channel);
}

/// How reading is varied: it queues nothing.
const QUIET: [Variant; 1] = [variant(65536, false, true)];

type Way = fn(&mut Sim, Builder, &Input, usize);

fn way(
    name: &str,
    input: Input,
    variants: &'static [Variant],
    answers: usize,
    read: Way,
) -> Scenario {
    let name = format!("{}: {name}", input.name);
    let play = move |sim: &mut Sim, builder: Builder| read(sim, builder, &input, answers);
    Scenario { name, variants, play: Box::new(play) }
}

fn is_whole(input: &Input) -> bool {
    let streams = |change: &Change| change.streaming == Some(true);
    !input.session.streaming && !input.session.script.iter().any(streams)
}

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut all = vec![];
    let mut each = |name, answers, variants, wanted: fn(&Input) -> bool, read: Way| {
        let inputs = inputs().into_iter().filter(wanted);
        all.extend(inputs.map(|input| way(name, input, variants, answers, read)));
    };
    each("next", 0, &QUIET, |_| true, |sim, b, input, n| read_next(sim, b, input, n, Next::Plain));
    each(
        "peek, then next",
        0,
        &QUIET,
        |_| true,
        |sim, b, input, n| read_next(sim, b, input, n, Next::Peeked),
    );
    each("receive", 0, &QUIET, is_whole, |sim, b, input, n| {
        read_receive(sim, b, input, n, Receive::Plain)
    });
    each("receive_mut", 0, &QUIET, is_whole, |sim, b, input, n| {
        read_receive(sim, b, input, n, Receive::Mut)
    });
    each(
        "receive_within",
        0,
        &QUIET,
        |input| is_whole(input) && input.session.max_length == 3,
        |sim, b, input, n| {
            read_receive(sim, b, input, n, Receive::Within(input.session.max_length))
        },
    );
    let unlimited = |input: &Input| input.session.max_length == usize::MAX;
    each("receive_part", 0, &QUIET, unlimited, read_parts);
    each("run", 0, &QUIET, |_| true, |sim, b, input, n| read_run(sim, b, input, n, false));
    let some = |input: &Input| ["CR LF", "streaming", "a count, spent"].contains(&input.name);
    each("run, stopped", 0, &QUIET, some, |sim, b, input, n| read_run(sim, b, input, n, true));
    each("next, answered", 2, &VARIANTS, some, |sim, b, input, n| {
        read_next(sim, b, input, n, Next::Plain)
    });
    each("peek, then next, answered", 2, &VARIANTS, some, |sim, b, input, n| {
        read_next(sim, b, input, n, Next::Peeked)
    });
    each("a stream, answered", 2, &VARIANTS, some, |sim, b, input, n| {
        read_next(sim, b, input, n, Next::AsStream)
    });
    each("run, answered", 2, &VARIANTS, some, |sim, b, input, n| read_run(sim, b, input, n, false));
    each("run, answered and stopped", 2, &VARIANTS, some, |sim, b, input, n| {
        read_run(sim, b, input, n, true)
    });
    let lines = |input: &Input| ["CR LF", "a count, spent"].contains(&input.name);
    each("receive, answered", 2, &VARIANTS, lines, |sim, b, input, n| {
        read_receive(sim, b, input, n, Receive::Plain)
    });
    each("corked", 3, &VARIANTS, lines, |sim, b, input, _| corked(sim, b, input));
    let bytes = Bytes::from_static(b"a\r\nb;c\r\nd;");
    let expected = switched(&bytes, "\r\n", ";");
    all.push(Scenario {
        name: "a switch while pending".into(),
        variants: &QUIET,
        play: Box::new(move |sim, builder| switch_while_pending(sim, builder, &bytes, &expected)),
    });
    let bytes = Bytes::from_static(b"a\r\nbcd\r\ne\r\n");
    all.push(Scenario {
        name: "discard_buffers while pending".into(),
        variants: &VARIANTS,
        play: Box::new(move |sim, builder| discard_while_pending(sim, builder, &bytes)),
    });
    let bytes = Bytes::from_static(b"ab\nc\nd\n");
    all.push(Scenario {
        name: "one method after the other".into(),
        variants: &VARIANTS,
        play: Box::new(move |sim, builder| one_after_the_other(sim, builder, &bytes)),
    });
    all
}

/// No run has more items than this.
const ITEMS: usize = 60;
