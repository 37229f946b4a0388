//! Bytes in, frames out: every way in, every cut.

use crate::case::{self, Case, Step};
use crate::common::{self, Borrowed, Change, Ending, Event, Knobs, Owned, Session, Source};
use asynchat::{Error, Frame, TerminatorCodec};

/// What a file says.
struct Script {
    session: Session,
    /// Whole mode, streaming mode, or both.
    modes: Vec<bool>,
    pieces: Vec<Vec<u8>>,
    items: Vec<Item>,
}

/// One thing that comes out, at the cuts that are marked.
#[derive(Debug, PartialEq)]
enum Item {
    Partial(Vec<u8>),
    /// And what ended it, if that is said.
    Frame(Vec<u8>, Option<Vec<u8>>),
    TooLong(usize),
    Rest(Vec<u8>),
}

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    let mut script = Script::read(case)?;
    for streaming in script.modes.clone() {
        script.session.streaming = streaming;
        script.replay().map_err(|e| format!("streaming {streaming}: {e}"))?;
    }
    Ok(())
}

impl Script {
    fn read(case: &Case) -> Result<Self, String> {
        let session = Session {
            term: Ending::Never.into(),
            streaming: false,
            max_length: TerminatorCodec::DEFAULT_MAX_LENGTH,
            max_head: 64 * 1024,
            keep: false,
            script: vec![],
        };
        let (modes, pieces, items) = (vec![false], vec![vec![]], vec![]);
        let mut script = Script { session, modes, pieces, items };
        let mut ended = false;
        for step in &case.steps {
            if ended {
                return Err("something behind the end".into());
            }
            ended = step.pair() == ("end", "");
            script.step(step)?;
        }
        if !ended {
            return Err("no end".into());
        }
        if script.modes.len() > 1 && script.items.iter().any(|i| matches!(i, Item::Partial(_))) {
            return Err("parts differ between the modes".into());
        }
        Ok(script)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step.pair() {
            ("terminator", rest) => self.session.term = ending(rest)?.into(),
            ("max_length", n) => self.session.max_length = case::number(n)? as usize,
            ("mode", "whole") => self.modes = vec![false],
            ("mode", "streaming") => self.modes = vec![true],
            ("mode", "both") => self.modes = vec![false, true],
            ("keep", "yes") => self.session.keep = true,
            ("input", rest) => self.input(case::pieces(rest)?),
            ("partial", rest) => self.items.push(Item::Partial(case::bytes(rest)?)),
            ("rest", rest) => self.items.push(Item::Rest(case::bytes(rest)?)),
            ("too_long", n) => self.event(Item::TooLong(case::number(n)? as usize)),
            ("frame", rest) => {
                let (data, by) = match rest.split_once(" by ") {
                    Some((data, by)) => (data, Some(case::bytes(by)?)),
                    None => (rest, None),
                };
                self.event(Item::Frame(case::bytes(data)?, by));
            }
            ("then", rest) => self.then(rest)?,
            ("end", "") => {}
            _ => return step.unknown(),
        }
        Ok(())
    }

    /// Goes on with the last piece.
    fn input(&mut self, pieces: Vec<Vec<u8>>) {
        let mut pieces = pieces.into_iter();
        if let (Some(last), Some(first)) = (self.pieces.last_mut(), pieces.next()) {
            last.extend(first);
        }
        self.pieces.extend(pieces);
    }

    fn event(&mut self, item: Item) {
        self.items.push(item);
        self.session.script.push(Change::default());
    }

    /// What is to be changed behind the last event.
    fn then(&mut self, rest: &str) -> Result<(), String> {
        let change = self.session.script.last_mut().ok_or("then: nothing to be changed behind")?;
        match rest.split_once(' ').unwrap_or((rest, "")) {
            ("terminator", rest) => change.term = Some(ending(rest)?.into()),
            ("max_length", n) => change.max_length = Some(case::number(n)? as usize),
            ("mode", mode @ ("whole" | "streaming")) => {
                change.streaming = Some(mode == "streaming");
            }
            ("keep", keep @ ("yes" | "no")) => change.keep = Some(keep == "yes"),
            _ => return Err(format!("unknown: {rest}")),
        }
        Ok(())
    }

    fn replay(&self) -> Result<(), String> {
        let input = self.pieces.concat();
        assert!(input.len() <= 1000, "the oracle is slow");
        let expected = common::oracle(&self.session, &input);
        if !self.agrees_with(&expected.events) {
            return Err(format!("want {:?}, but the rules give {:?}", self.items, expected.events));
        }
        let marks = case::marks(&self.pieces);
        for cuts in all_cuts(input.len()).into_iter().chain([marks]) {
            common::play_all(&self.session, &input, &cuts, &expected)
                .map_err(|e| format!("cut at {cuts:?}: {e}"))?;
        }
        if self.modes.len() > 1 && self.session.streaming {
            // The parts are not written down.
            return Ok(());
        }
        self.replay_as_marked::<Owned>().map_err(|e| format!("decode, as marked: {e}"))?;
        self.replay_as_marked::<Borrowed>().map_err(|e| format!("decode_slice, as marked: {e}"))
    }

    /// Whether these are the items, the parts of a frame joined.
    fn agrees_with(&self, events: &[Event]) -> bool {
        let mut joined = vec![];
        let mut open = vec![];
        for item in &self.items {
            match item {
                Item::Partial(data) => open.extend(data),
                Item::Rest(data) | Item::Frame(data, _) => {
                    open.extend(data);
                    joined.push((item, std::mem::take(&mut open)));
                }
                Item::TooLong(_) => joined.push((item, vec![])),
            }
        }
        let mut events = events.to_vec();
        if let (false, Some(Event::Rest(data, _))) = (open.is_empty(), events.last()) {
            // All of the rest has come before the end.
            if *data != open {
                return false;
            }
            events.pop();
        }
        events.len() == joined.len()
            && events.iter().zip(&joined).all(|pair| match pair {
                (Event::Frame { data, ended_by, .. }, (Item::Frame(_, by), want)) => {
                    data == want && by.as_ref().is_none_or(|by| by == ended_by)
                }
                (Event::TooLong(limit), (Item::TooLong(want), _)) => limit == want,
                (Event::Rest(data, _), (Item::Rest(_), want)) => data == want,
                _ => false,
            })
    }

    /// Exactly these items, at the cuts that are marked.
    fn replay_as_marked<S: Source>(&self) -> Result<(), String> {
        let mut codec = self.session.codec();
        let mut source = S::default();
        let mut changes = self.session.script.iter();
        let mut items = self.items.iter();
        let ends =
            self.pieces.iter().map(|piece| (piece.as_slice(), false)).chain([(&[][..], true)]);
        for (piece, eof) in ends {
            source.push(piece);
            while let Some(item) = source.take(&mut codec, eof).transpose() {
                let want = items.next().ok_or_else(|| format!("{item:?}, want nothing"))?;
                if !is(&item, want, eof, codec.ended_by()) {
                    return Err(format!("{item:?}, want {want:?}"));
                }
                if !matches!(item, Ok(Frame::Partial(_))) {
                    changes.next().inspect(|change| codec.apply(change));
                }
            }
        }
        items.next().map_or(Ok(()), |want| Err(format!("nothing, want {want:?}")))
    }
}

fn is(item: &Result<Frame, Error>, want: &Item, eof: bool, ended_by: &[u8]) -> bool {
    match (item, want) {
        (Ok(Frame::Partial(data)), Item::Partial(want)) => !eof && data == want,
        (Ok(Frame::Partial(data)), Item::Rest(want)) => eof && data == want,
        (Ok(Frame::Complete(data)), Item::Frame(want, by)) => {
            data == want && by.as_ref().is_none_or(|by| by == ended_by)
        }
        (Err(Error::FrameTooLong { limit, .. }), Item::TooLong(want)) => limit == want,
        _ => false,
    }
}

/// Those of the tables, and of what is short every two as well.
fn all_cuts(len: usize) -> Vec<Vec<usize>> {
    let mut all = common::all_cuts(len);
    if len <= SHORT {
        all.extend((1..len).flat_map(|a| (a + 1..len).map(move |b| vec![a, b])));
    }
    all
}

const SHORT: usize = 32;

/// `"…"`, `any "…" "…"`, `line`, `count N`, `none`.
pub(crate) fn ending(text: &str) -> Result<Ending, String> {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("line", "") => Ok(Ending::Line),
        ("none", "") => Ok(Ending::Never),
        ("count", n) => case::number(n).map(Ending::Count),
        ("any", mut rest) => {
            let mut members = vec![];
            while !rest.is_empty() {
                let (member, behind) = case::quoted(rest)?;
                members.push(member);
                rest = behind.trim_start();
            }
            Ok(Ending::Any(members))
        }
        _ => case::bytes(text).map(Ending::Bytes),
    }
}
