//! What the codec tests share: sessions, an oracle too simple to be wrong, and
//! every way to play a session.
//!
//! A session is the settings to start with and what to change after each frame
//! or error. The oracle takes the input byte by byte and says what must have
//! come out after each of them; `replay_codec` and `play_channel` compare that
//! with the crate after every piece of the input, and at its end.

#![allow(dead_code)] // Each test file uses its part of this.

#[path = "../mock/mod.rs"]
pub(crate) mod mock;

use asynchat::{
    Body, BoxError, Channel, Control, Error, Frame, Handler, Head, Length, Terminator,
    TerminatorCodec,
};
use bytes::BytesMut;
use futures::StreamExt;
use mock::{Mock, Peer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};
use tokio_util::codec::{Decoder, FramedRead};

/// What ends a frame, in the oracle's words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    Bytes(Vec<u8>),
    Any(Vec<Vec<u8>>),
    Line,
    Count(u64),
    Every(u64),
    Message(Message),
    Never,
}

/// A head, and how the length of the body is read in it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    head: Box<Ending>,
    measure: Measure,
    /// How often the crate has asked.
    calls: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure {
    /// The last of these bytes in the head decides: a digit is the length of the body,
    /// `A` to `J` is 0 to 9 bytes in all, `+` and `*` are one byte and two bytes more of
    /// the head, `-` is none, `~` is a body of 2^64 - 1 bytes. Without one the head is
    /// invalid.
    Marks,
    /// A number of `width` bytes at `offset`, which counts `counted` bytes of the head.
    Length { width: u8, little: bool, offset: u8, counted: u8 },
}

impl Measure {
    pub(crate) fn measure(self, head: &[u8]) -> Result<Body, BoxError> {
        let Measure::Length { width, little, offset, counted } = self else {
            let marks = head.iter().rev().find(|byte| b"0123456789ABCDEFGHIJ+*-~".contains(byte));
            return Ok(match marks {
                Some(digit @ b'0'..=b'9') => Body::Bytes(u64::from(digit - b'0')),
                Some(letter @ b'A'..=b'J') => Body::Total(u64::from(letter - b'A')),
                Some(b'+') => Body::More(1),
                Some(b'*') => Body::More(2),
                Some(b'-') => Body::More(0),
                Some(_) => Body::Bytes(u64::MAX),
                None => return Err("no mark".into()),
            });
        };
        let mut bytes = head[offset.into()..][..width.into()].to_vec();
        if little {
            bytes.reverse();
        }
        let number = bytes.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        let body = number.checked_sub(counted.into()).ok_or("less than it counts")?;
        Ok(Body::Bytes(body))
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls)
    }
}

impl Message {
    fn build(&self) -> Terminator {
        if let Measure::Length { width, little, offset, counted } = self.measure {
            let Ending::Count(head) = *self.head else { panic!("a length has a head of a size") };
            let length = if little { Length::little(width) } else { Length::big(width) };
            return length.within(offset, head as u8).counting(counted).into();
        }
        let head = match &*self.head {
            Ending::Bytes(bytes) => Head::from(bytes.as_slice()),
            Ending::Any(members) => Head::any(members),
            Ending::Line => Head::line(),
            Ending::Count(n) => Head::from(*n),
            other => panic!("{other:?} ends no head"),
        };
        let (calls, measure) = (Arc::clone(&self.calls), self.measure);
        Terminator::message(head, move |head| {
            calls.fetch_add(1, Ordering::Relaxed);
            measure.measure(head)
        })
    }
}

/// A message whose length [`Measure::Marks`] reads.
pub(crate) fn message(head: impl Into<Ending>) -> Ending {
    let head = Box::new(head.into());
    Ending::Message(Message { head, measure: Measure::Marks, calls: Arc::default() })
}

/// A message whose length is a number in a head of this many bytes.
pub(crate) fn length(head: u64, measure: Measure) -> Ending {
    let head = Box::new(Ending::Count(head));
    Ending::Message(Message { head, measure, calls: Arc::default() })
}

impl Ending {
    pub(crate) fn build(&self) -> Terminator {
        match self {
            Ending::Bytes(bytes) => Terminator::from(bytes.as_slice()),
            Ending::Any(members) => Terminator::any(members),
            Ending::Line => Terminator::line(),
            Ending::Count(n) => Terminator::from(*n),
            Ending::Every(n) => Terminator::every(*n),
            Ending::Message(message) => message.build(),
            Ending::Never => Terminator::none(),
        }
    }

    /// Whether a length ends the frame.
    pub(crate) fn is_measured(&self) -> bool {
        matches!(self, Ending::Count(_) | Ending::Every(_) | Ending::Message(_))
    }

    /// Whether a function reads that length.
    pub(crate) fn is_function(&self) -> bool {
        matches!(self, Ending::Message(Message { measure: Measure::Marks, .. }))
    }

    /// How often the crate has asked for the length of a message.
    fn calls(&self) -> Option<&AtomicUsize> {
        match self {
            Ending::Message(message) => Some(&message.calls),
            _ => None,
        }
    }

    /// The byte strings to look for, in the order given.
    pub(crate) fn members(&self) -> Vec<&[u8]> {
        let mut members: Vec<&[u8]> = match self {
            Ending::Bytes(bytes) => vec![bytes],
            Ending::Any(members) => members.iter().map(Vec::as_slice).collect(),
            Ending::Line => vec![b"\r\n", b"\n"],
            _ => vec![],
        };
        members.retain(|member| !member.is_empty());
        members
    }

    /// The longest member that `content` ends with.
    pub(crate) fn at_end_of(&self, content: &[u8]) -> Option<Vec<u8>> {
        let ends = self.members().into_iter().filter(|member| content.ends_with(member));
        ends.max_by_key(|member| member.len()).map(<[u8]>::to_vec)
    }

    /// Length of the longest suffix of `content` that could begin a member.
    pub(crate) fn held(&self, content: &[u8]) -> usize {
        let members = self.members();
        let longest = members.iter().map(|member| member.len()).max().unwrap_or(0);
        (content.len().saturating_sub(longest)..content.len())
            .map(|at| &content[at..])
            .find(|tail| members.iter().any(|m| m.len() > tail.len() && m.starts_with(tail)))
            .map_or(0, <[u8]>::len)
    }
}

impl From<&str> for Ending {
    fn from(text: &str) -> Self {
        Ending::Bytes(text.into())
    }
}

impl From<Vec<u8>> for Ending {
    fn from(bytes: Vec<u8>) -> Self {
        Ending::Bytes(bytes)
    }
}

impl<const N: usize> From<[&str; N]> for Ending {
    fn from(members: [&str; N]) -> Self {
        Ending::Any(members.iter().map(|member| member.as_bytes().to_vec()).collect())
    }
}

impl From<u64> for Ending {
    fn from(n: u64) -> Self {
        Ending::Count(n)
    }
}

/// An ending together with what the crate makes of it.
#[derive(Clone)]
pub(crate) struct Term {
    pub(crate) ending: Ending,
    pub(crate) built: Terminator,
}

impl<E: Into<Ending>> From<E> for Term {
    fn from(ending: E) -> Self {
        let ending = ending.into();
        Term { built: ending.build(), ending }
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.built.fmt(f)
    }
}

/// What to change after a frame or an error.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) term: Option<Term>,
    pub(crate) streaming: Option<bool>,
    pub(crate) max_length: Option<usize>,
    pub(crate) keep: Option<bool>,
}

/// The settings to start with, and the changes after the first, second, …
/// frame or error.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) term: Term,
    pub(crate) streaming: bool,
    pub(crate) max_length: usize,
    pub(crate) max_head: usize,
    pub(crate) keep: bool,
    pub(crate) script: Vec<Change>,
}

impl Session {
    pub(crate) fn codec(&self) -> TerminatorCodec {
        TerminatorCodec::new(self.term.built.clone())
            .with_streaming(self.streaming)
            .with_max_length(self.max_length)
            .with_max_head(self.max_head)
            .with_keep_terminator(self.keep)
    }

    /// The counters of all messages.
    fn counters(&self) -> impl Iterator<Item = &AtomicUsize> {
        let later = self.script.iter().filter_map(|change| change.term.as_ref());
        [&self.term].into_iter().chain(later).filter_map(|term| term.ending.calls())
    }

    /// How often the crate has asked for the length of a message since `begin`.
    fn calls(&self) -> usize {
        self.counters().map(|calls| calls.load(Ordering::Relaxed)).sum()
    }

    fn begin(&self) {
        self.counters().for_each(|calls| calls.store(0, Ordering::Relaxed));
    }

    /// No correct run has more items than this.
    fn most_items(&self, input: &[u8]) -> usize {
        2 * input.len() + self.script.len() + 4
    }
}

/// One thing that came out, the parts of a frame joined.
#[derive(Clone, PartialEq)]
pub(crate) enum Event {
    Frame {
        data: Vec<u8>,
        ended_by: Vec<u8>,
        /// How much of it is a head.
        head: usize,
    },
    TooLong(usize),
    InvalidHead,
    /// What was left at the end of input, and how much of it is a head.
    Rest(Vec<u8>, usize),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Frame { data, ended_by, head } => {
                let (data, ended_by) = (data.escape_ascii(), ended_by.escape_ascii());
                write!(f, "\"{data}\" by \"{ended_by}\" head {head}")
            }
            Event::TooLong(limit) => write!(f, "too long ({limit})"),
            Event::InvalidHead => write!(f, "invalid head"),
            Event::Rest(data, head) => write!(f, "rest \"{}\" head {head}", data.escape_ascii()),
        }
    }
}

/// The framing rules, one byte at a time.
struct Oracle {
    session: Session,
    terminator: Ending,
    built: Terminator,
    /// What has arrived of the current frame.
    content: Vec<u8>,
    /// How an over-long frame ends, and what has arrived of it.
    skip: Option<(Ending, Vec<u8>)>,
    /// How long the head of the message is at least, if that is known.
    need: Option<usize>,
    /// How long the head and the message are, if that is known.
    known: Option<(usize, u64)>,
    calls: usize,
    events: Vec<Event>,
}

impl Oracle {
    fn new(session: &Session) -> Self {
        let mut oracle = Oracle {
            session: session.clone(),
            terminator: session.term.ending.clone(),
            built: session.term.built.clone(),
            content: vec![],
            skip: None,
            need: None,
            known: None,
            calls: 0,
            events: vec![],
        };
        oracle.without_input();
        oracle
    }

    fn byte(&mut self, byte: u8) {
        if let Some((ending, skipped)) = &mut self.skip {
            skipped.push(byte);
            let over = match ending {
                Ending::Count(n) => skipped.len() as u64 == *n,
                ending => ending.at_end_of(skipped).is_some(),
            };
            if over {
                self.skip = None;
            }
        } else {
            self.content.push(byte);
            if let Ending::Message(message) = self.terminator.clone() {
                self.message(&message);
            } else if let Ending::Every(n) = self.terminator {
                self.measured(0, n);
            } else if let Some(found) = self.terminator.at_end_of(&self.content) {
                self.found(found);
            } else if self.terminator == Ending::Count(self.content.len() as u64) {
                self.spend_count();
            } else if !self.terminator.members().is_empty()
                && self.over(self.undelivered_from() as u64)
            {
                let content = std::mem::take(&mut self.content);
                self.skip = Some((self.terminator.clone(), content));
                self.close(Event::TooLong(self.session.max_length));
            }
        }
        self.without_input();
    }

    /// Goes on with a message, of which a byte has arrived.
    fn message(&mut self, message: &Message) {
        let limit = self.session.max_head.min(self.session.max_length);
        while self.known.is_none() {
            let need = match (self.need, &*message.head) {
                (Some(need), _) => need,
                (None, Ending::Count(n)) => usize::try_from(*n).unwrap_or(usize::MAX),
                // An empty byte string is a head of no bytes.
                (None, head) if head.members().is_empty() => 0,
                (None, head) if head.at_end_of(&self.content).is_some() => self.content.len(),
                (None, head) => {
                    if self.content.len() - head.held(&self.content) >= limit {
                        self.invalid();
                    }
                    return;
                }
            };
            self.need = Some(need);
            if need == 0 || need > limit {
                return self.invalid();
            }
            if self.content.len() < need {
                return;
            }
            self.calls += usize::from(message.measure == Measure::Marks);
            let total = match message.measure.measure(&self.content[..need]) {
                Ok(Body::More(more)) if more > 0 => {
                    self.need = Some(need + more);
                    continue;
                }
                Ok(Body::Bytes(body)) => (need as u64).saturating_add(body),
                Ok(Body::Total(total)) if total >= need as u64 => total,
                _ => return self.invalid(),
            };
            self.known = Some((need, total));
        }
        if let Some((head, total)) = self.known {
            self.measured(head, total);
        }
    }

    /// A byte of a frame of `total` bytes has arrived.
    fn measured(&mut self, head: usize, total: u64) {
        if self.over(total) {
            let skipped = std::mem::take(&mut self.content);
            let is_over = skipped.len() as u64 == total;
            self.skip = (!is_over).then_some((Ending::Count(total), skipped));
            self.close(Event::TooLong(self.session.max_length));
        } else if self.content.len() as u64 == total {
            let data = std::mem::take(&mut self.content);
            self.close(Event::Frame { data, ended_by: vec![], head });
        }
    }

    /// Nobody knows where the message ends: everything that follows is dropped.
    fn invalid(&mut self) {
        self.content.clear();
        self.skip = Some((Ending::Never, vec![]));
        self.close(Event::InvalidHead);
    }

    /// Whether that many bytes of content are too many.
    fn over(&self, len: u64) -> bool {
        !self.session.streaming && len > self.session.max_length as u64
    }

    fn found(&mut self, ended_by: Vec<u8>) {
        let mut data = std::mem::take(&mut self.content);
        let len = data.len() - ended_by.len();
        if self.over(len as u64) {
            return self.close(Event::TooLong(self.session.max_length));
        }
        if !self.session.keep {
            data.truncate(len);
        }
        self.close(Event::Frame { data, ended_by, head: 0 });
    }

    fn spend_count(&mut self) {
        (self.terminator, self.built) = (Ending::Never, Terminator::none());
        let data = std::mem::take(&mut self.content);
        self.close(Event::Frame { data, ended_by: vec![], head: 0 });
    }

    /// Counts that are over before any byte of them has come.
    fn without_input(&mut self) {
        while let (None, Ending::Count(n)) = (&self.skip, &self.terminator) {
            let n = *n;
            if n == 0 {
                self.spend_count();
            } else if self.content.is_empty() && self.over(n) {
                self.skip = Some((Ending::Count(n), vec![]));
                (self.terminator, self.built) = (Ending::Never, Terminator::none());
                self.close(Event::TooLong(self.session.max_length));
            } else {
                break;
            }
        }
    }

    fn close(&mut self, event: Event) {
        self.events.push(event);
        (self.need, self.known) = (None, None);
        if self.session.script.is_empty() {
            return;
        }
        let change = self.session.script.remove(0);
        if let Some(term) = change.term {
            (self.terminator, self.built) = (term.ending, term.built);
        }
        self.session.streaming = change.streaming.unwrap_or(self.session.streaming);
        self.session.max_length = change.max_length.unwrap_or(self.session.max_length);
        self.session.keep = change.keep.unwrap_or(self.session.keep);
    }

    fn undelivered_from(&self) -> usize {
        self.content.len() - self.terminator.held(&self.content)
    }

    fn state(&self) -> State {
        let at_once = self.session.streaming || self.terminator.members().is_empty();
        let waits = match self.terminator {
            Ending::Count(_) | Ending::Every(_) => !self.session.streaming,
            Ending::Message(_) => !self.session.streaming || self.known.is_none(),
            _ => false,
        };
        let delivered = if at_once && !waits { self.undelivered_from() } else { 0 };
        let (open, left) = self.content.split_at(delivered);
        let terminator = match self.terminator {
            Ending::Count(n) => Terminator::from(n - open.len() as u64),
            _ => self.built.clone(),
        };
        let left = match &self.skip {
            None => left,
            Some((ending, skipped)) => &skipped[skipped.len() - ending.held(skipped)..],
        };
        let (open, left) = (open.to_vec(), left.to_vec());
        let (events, skips) = (self.events.len(), self.skip.is_some());
        State { events, open, left, terminator, skips, calls: self.calls }
    }

    fn end(mut self) -> Vec<Event> {
        if self.skip.is_none() && !self.content.is_empty() {
            let head = self.known.map_or(0, |(head, _)| head);
            self.events.push(Event::Rest(self.content, head));
        }
        self.events
    }
}

/// How things stand when some first part of the input has arrived.
#[derive(Debug)]
pub(crate) struct State {
    /// How many events there are.
    pub(crate) events: usize,
    /// What was handed out of a frame whose end has not come.
    pub(crate) open: Vec<u8>,
    /// What is held back.
    pub(crate) left: Vec<u8>,
    terminator: Terminator,
    pub(crate) skips: bool,
    /// How often the length of a message was asked for.
    calls: usize,
}

/// What must come out.
#[derive(Debug)]
pub(crate) struct Expected {
    /// After no byte, after the first, …
    pub(crate) states: Vec<State>,
    pub(crate) events: Vec<Event>,
}

pub(crate) fn oracle(session: &Session, input: &[u8]) -> Expected {
    let mut oracle = Oracle::new(session);
    let mut states = vec![oracle.state()];
    for &byte in input {
        oracle.byte(byte);
        states.push(oracle.state());
    }
    Expected { states, events: oracle.end() }
}

/// What has come out so far.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) events: Vec<Event>,
    /// What was handed out of a frame that goes on.
    pub(crate) open: Vec<u8>,
    /// How much of that is a head.
    pub(crate) head: usize,
    items: usize,
}

impl Trace {
    /// Notes an item; gives whether it ended a frame.
    pub(crate) fn note(
        &mut self,
        item: Result<Frame, Error>,
        (ended_by, head): (&[u8], usize),
    ) -> Result<bool, String> {
        self.items += 1;
        if item.is_ok() && head > 0 && !self.open.is_empty() {
            return Err("a head that is not at the front".into());
        }
        match item {
            Ok(Frame::Partial(data)) if data.is_empty() => Err("an empty Partial".into()),
            Ok(Frame::Partial(data)) => {
                if !ended_by.is_empty() {
                    return Err("ended_by() is set for a Partial".into());
                }
                self.open.extend_from_slice(&data);
                self.head += head;
                Ok(false)
            }
            Ok(Frame::Complete(rest)) => {
                let mut data = std::mem::take(&mut self.open);
                data.extend_from_slice(&rest);
                let head = std::mem::take(&mut self.head) + head;
                self.events.push(Event::Frame { data, ended_by: ended_by.to_vec(), head });
                Ok(true)
            }
            Err(Error::InvalidHead(_)) if self.open.is_empty() => {
                self.events.push(Event::InvalidHead);
                Ok(true)
            }
            Err(Error::FrameTooLong { limit, .. }) if self.open.is_empty() => {
                self.events.push(Event::TooLong(limit));
                Ok(true)
            }
            Err(e) => Err(format!("unexpected error {e:?}, open: {:?}", self.open)),
        }
    }

    /// Compares with what must have come out of the first `arrived` bytes.
    fn check(&self, expected: &Expected, arrived: usize, session: &Session) -> Result<(), String> {
        let state = &expected.states[arrived];
        let events = &expected.events[..state.events];
        if session.calls() != state.calls {
            let calls = (session.calls(), state.calls);
            return Err(format!("after {arrived} bytes: asked (is, should be) {calls:?} times"));
        }
        if self.events == events && self.open == state.open {
            return Ok(());
        }
        Err(format!(
            "after {arrived} bytes\n  got  {:?} open \"{}\"\n  want {:?} open \"{}\"",
            self.events,
            self.open.escape_ascii(),
            events,
            state.open.escape_ascii()
        ))
    }

    fn check_end(mut self, expected: &Expected, session: &Session) -> Result<(), String> {
        if !self.open.is_empty() {
            self.events.push(Event::Rest(self.open, self.head));
        }
        let calls = expected.states.last().map_or(0, |state| state.calls);
        if session.calls() != calls {
            return Err(format!("asked {} times, not {calls}", session.calls()));
        }
        if self.events == expected.events {
            return Ok(());
        }
        Err(format!("at the end\n  got  {:?}\n  want {:?}", self.events, expected.events))
    }
}

/// What the codec tells of the last frame.
pub(crate) fn ended(codec: &TerminatorCodec) -> (&[u8], usize) {
    (codec.ended_by(), codec.head_len())
}

/// Whatever has the codec's knobs.
pub(crate) trait Knobs {
    fn apply(&mut self, change: &Change);
}

macro_rules! knobs {
    ($($type:ty $(, $generic:ident)? $(: $codec:ident)?;)*) => {$(
        impl$(<$generic>)? Knobs for $type {
            fn apply(&mut self, change: &Change) {
                if let Some(term) = &change.term {
                    self.set_terminator(term.built.clone());
                }
                let codec = self$(.$codec())?;
                if let Some(streaming) = change.streaming {
                    codec.set_streaming(streaming);
                }
                if let Some(max_length) = change.max_length {
                    codec.set_max_length(max_length);
                }
                if let Some(keep) = change.keep {
                    codec.set_keep_terminator(keep);
                }
            }
        }
    )*};
}

knobs! {
    TerminatorCodec;
    Control<'_>: codec_mut;
    Channel<T>, T: codec_mut;
}

/// The two ways to call the codec.
pub(crate) trait Source: Default {
    fn push(&mut self, bytes: &[u8]);
    fn left(&self) -> &[u8];
    fn take(&mut self, codec: &mut TerminatorCodec, eof: bool) -> Result<Option<Frame>, Error>;
}

/// `decode` and `decode_eof`.
#[derive(Default)]
pub(crate) struct Owned(BytesMut);

impl Source for Owned {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn left(&self) -> &[u8] {
        &self.0
    }

    fn take(&mut self, codec: &mut TerminatorCodec, eof: bool) -> Result<Option<Frame>, Error> {
        if eof { codec.decode_eof(&mut self.0) } else { codec.decode(&mut self.0) }
    }
}

/// `decode_slice` and `decode_slice_eof`.
#[derive(Default)]
pub(crate) struct Borrowed(Vec<u8>);

impl Source for Borrowed {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn left(&self) -> &[u8] {
        &self.0
    }

    fn take(&mut self, codec: &mut TerminatorCodec, eof: bool) -> Result<Option<Frame>, Error> {
        let mut src = self.0.as_slice();
        let frame =
            if eof { codec.decode_slice_eof(&mut src) } else { codec.decode_slice(&mut src) };
        let frame = frame.map(|frame| frame.map(|frame| frame.into_owned()));
        let left = src.to_vec();
        self.0 = left;
        frame
    }
}

/// `input` cut before each of the `cuts`, which ascend.
fn pieces<'i>(input: &'i [u8], cuts: &[usize]) -> Vec<&'i [u8]> {
    let mut from = 0;
    let mut pieces = vec![];
    for &cut in cuts.iter().chain([&input.len()]) {
        if cut > from {
            pieces.push(&input[from..cut]);
            from = cut;
        }
    }
    pieces
}

/// Plays a session on the bare codec. `before` is done before each call.
pub(crate) fn replay_codec<S: Source>(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
    before: fn(&mut TerminatorCodec),
) -> Result<(), String> {
    session.begin();
    let mut codec = session.codec();
    let mut source = S::default();
    let mut trace = Trace::default();
    let mut script = session.script.iter();
    let mut drain = |codec: &mut TerminatorCodec, source: &mut S, trace: &mut Trace, eof| {
        loop {
            before(codec);
            let Some(item) = source.take(codec, eof).transpose() else { return Ok(()) };
            if trace.note(item, ended(codec))? {
                script.next().inspect(|change| codec.apply(change));
            }
            if trace.items > session.most_items(input) {
                return Err("endless items".to_string());
            }
        }
    };
    drain(&mut codec, &mut source, &mut trace, false)?;
    trace.check(expected, 0, session)?;
    let mut arrived = 0;
    for piece in pieces(input, cuts) {
        source.push(piece);
        arrived += piece.len();
        drain(&mut codec, &mut source, &mut trace, false)?;
        trace.check(expected, arrived, session)?;
        let state = &expected.states[arrived];
        let seen = (source.left(), codec.terminator(), codec.is_skipping());
        if seen != (state.left.as_slice(), &state.terminator, state.skips) {
            return Err(format!("after {arrived} bytes: {seen:?} for {state:?}"));
        }
    }
    let items = trace.items;
    drain(&mut codec, &mut source, &mut trace, true)?;
    if trace.items > items + 1 {
        return Err("the end came in more than one part".into());
    }
    if !source.left().is_empty() {
        return Err("bytes left behind the end".into());
    }
    trace.check_end(expected, session)
}

/// A transport that delivers the input in pieces, and its peer.
pub(crate) fn delivers(input: &[u8], cuts: &[usize]) -> (Mock, Peer) {
    mock::transport().delivers(pieces(input, cuts)).build()
}

/// Plays a session on a `Channel`, polled by hand.
pub(crate) fn play_channel(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(), String> {
    session.begin();
    let (io, peer) = delivers(input, cuts);
    let channel = Channel::builder()
        .terminator(session.term.built.clone())
        .streaming(session.streaming)
        .max_length(session.max_length)
        .max_head(session.max_head)
        .keep_terminator(session.keep)
        .build(io);
    let mut task = tokio_test::task::spawn(channel);
    let mut trace = Trace::default();
    let mut script = session.script.iter();
    loop {
        match task.poll_next() {
            Poll::Ready(Some(item)) => {
                if trace.note(item, ended(task.codec()))? {
                    script.next().inspect(|change| task.apply(change));
                }
            }
            Poll::Ready(None) => break,
            Poll::Pending if !task.is_woken() => return Err("a lost wake".into()),
            Poll::Pending if !peer.read_pends() => {}
            Poll::Pending => {
                let arrived = peer.delivered();
                trace.check(expected, arrived, session)?;
                let state = &expected.states[arrived];
                let seen = (task.unread(), task.terminator());
                if seen != (state.left.as_slice(), &state.terminator) {
                    return Err(format!("after {arrived} bytes: {seen:?} for {state:?}"));
                }
            }
        }
        if trace.items > session.most_items(input) {
            return Err("endless items".into());
        }
    }
    if !matches!(task.poll_next(), Poll::Ready(None)) {
        return Err("not fused".into());
    }
    trace.check_end(expected, session)
}

/// Writes down what asynchat's two callbacks are told.
struct Listener<'s> {
    trace: Trace,
    script: std::slice::Iter<'s, Change>,
    most_items: usize,
}

impl Listener<'_> {
    /// Notes the end of a frame, and changes what is to be changed then.
    fn ended(&mut self, control: &mut Control<'_>, event: Event) -> Result<(), Error> {
        self.trace.events.push(event);
        self.script.next().inspect(|change| control.apply(change));
        self.count()
    }

    fn count(&mut self) -> Result<(), Error> {
        self.trace.items += 1;
        if self.trace.items > self.most_items {
            return Err(io::Error::other("endless items").into());
        }
        Ok(())
    }
}

impl Handler for Listener<'_> {
    type Error = Error;

    fn collect_incoming_data(
        &mut self,
        control: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Error> {
        assert!(!data.is_empty(), "collected nothing");
        assert!(control.head_len() == 0 || self.trace.open.is_empty(), "a head within a frame");
        self.trace.head += control.head_len();
        self.trace.open.extend_from_slice(data);
        self.count()
    }

    fn found_terminator(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        let data = std::mem::take(&mut self.trace.open);
        let (ended_by, head) = (control.ended_by().to_vec(), self.trace.head);
        self.trace.head = 0;
        self.ended(control, Event::Frame { data, ended_by, head })
    }

    fn invalid_head(
        &mut self,
        control: &mut Control<'_>,
        _: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Error> {
        control.close_when_done();
        self.ended(control, Event::InvalidHead)
    }

    fn frame_too_long(&mut self, control: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        self.ended(control, Event::TooLong(limit))
    }
}

/// Plays a session on `Channel::run`, whose future is a new one in each turn.
pub(crate) fn play_run(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(), String> {
    session.begin();
    let (io, peer) = delivers(input, cuts);
    let mut channel = Channel::builder()
        .terminator(session.term.built.clone())
        .streaming(session.streaming)
        .max_length(session.max_length)
        .max_head(session.max_head)
        .keep_terminator(session.keep)
        .linger(Duration::ZERO)
        .build(io);
    let (script, most_items) = (session.script.iter(), 2 * session.most_items(input));
    let mut listener = Listener { trace: Trace::default(), script, most_items };
    for _ in 0..2 * input.len() + most_items {
        let mut turn = tokio_test::task::spawn(channel.run(&mut listener));
        let (ended, is_woken) = (turn.poll(), turn.is_woken());
        drop(turn);
        match ended {
            Poll::Ready(Ok(_)) => return listener.trace.check_end(expected, session),
            Poll::Ready(Err(e)) => return Err(format!("unexpected error {e:?}")),
            Poll::Pending if !is_woken => return Err("a lost wake".into()),
            Poll::Pending => {}
        }
        // Otherwise it has only given up its turn.
        if peer.read_pends() {
            listener.trace.check(expected, peer.delivered(), session)?;
        }
    }
    Err("endless turns".into())
}

/// Plays a session on tokio-util's `FramedRead`, which stops after an error.
pub(crate) fn play_framed(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(), String> {
    session.begin();
    let mut framed = FramedRead::new(delivers(input, cuts).0, session.codec());
    let mut trace = Trace::default();
    let mut script = session.script.iter();
    while let Some(item) = futures::executor::block_on(framed.next()) {
        if trace.note(item, ended(framed.decoder()))? {
            script.next().inspect(|change| framed.decoder_mut().apply(change));
        }
        if trace.items > session.most_items(input) {
            return Err("endless items".into());
        }
    }
    trace.check_end(expected, session)
}

/// Plays a session with `receive`, which is always in whole mode.
pub(crate) fn play_receive(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(), String> {
    session.begin();
    let mut channel = Channel::builder()
        .terminator(session.term.built.clone())
        .max_length(session.max_length)
        .max_head(session.max_head)
        .keep_terminator(session.keep)
        .build(delivers(input, cuts).0);
    let mut trace = Trace::default();
    let mut script = session.script.iter();
    loop {
        let terminator = channel.terminator().clone();
        let to_the_end = terminator.is_none();
        let item = match futures::executor::block_on(channel.receive(terminator)) {
            Ok(rest) if to_the_end => {
                trace.open.extend_from_slice(&rest);
                break;
            }
            Err(Error::UnexpectedEof { partial, .. }) => {
                trace.open.extend_from_slice(&partial);
                trace.head = if partial.is_empty() { 0 } else { channel.head_len() };
                break;
            }
            // Unlike elsewhere there is a limit to this, too.
            Err(Error::FrameTooLong { .. }) if to_the_end => {
                let Some((Event::Rest(..), before)) = expected.events.split_last() else {
                    return Err(format!("too long for {:?}", expected.events));
                };
                return if trace.events == before {
                    Ok(())
                } else {
                    trace.check_end(expected, session)
                };
            }
            item => item.map(|data| Frame::Complete(data.into())),
        };
        let is_over = matches!(item, Err(Error::InvalidHead(_)));
        trace.note(item, ended(channel.codec()))?;
        if is_over {
            let next = futures::executor::block_on(channel.receive("x"));
            assert!(matches!(next, Err(Error::Closed)), "{next:?}");
            break;
        }
        script.next().inspect(|change| channel.apply(change));
        if trace.items > session.most_items(input) {
            return Err("endless items".into());
        }
    }
    trace.check_end(expected, session)
}

/// Plays a session in every way at these cuts.
pub(crate) fn play_all(
    session: &Session,
    input: &[u8],
    cuts: &[usize],
    expected: &Expected,
) -> Result<(), String> {
    let with = |path: &'static str| move |e| format!("{path}: {e}");
    replay_codec::<Owned>(session, input, cuts, expected, |_| ()).map_err(with("decode"))?;
    replay_codec::<Borrowed>(session, input, cuts, expected, |_| ())
        .map_err(with("decode_slice"))?;
    play_channel(session, input, cuts, expected).map_err(with("Channel"))?;
    play_run(session, input, cuts, expected).map_err(with("run"))?;
    let is_error = |event: &Event| matches!(event, Event::TooLong(_) | Event::InvalidHead);
    if !expected.events.iter().any(is_error) {
        play_framed(session, input, cuts, expected).map_err(with("FramedRead"))?;
    }
    let streams = session.script.iter().any(|change| change.streaming == Some(true));
    if !session.streaming && !streams {
        play_receive(session, input, cuts, expected).map_err(with("receive"))?;
    }
    Ok(())
}

/// Whole, every split into two, and pieces of 1, 2, 3, 5 and 7 bytes.
pub(crate) fn all_cuts(len: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    all.extend((1..len).map(|cut| vec![cut]));
    all.extend([1, 2, 3, 5, 7].map(|size| (size..len).step_by(size).collect()));
    all
}
