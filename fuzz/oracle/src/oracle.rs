//! The framing rules in the simplest words: of the whole input each time, by
//! comparing at every place. Slow, and too simple to be wrong.

use asynchat::{Body, BoxError, Terminator};

/// What ends a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending<'d> {
    /// One of these; none of them is empty, and there is one at least.
    Any(Vec<&'d [u8]>),
    Count(u64),
    Every(u64),
    Message(Message),
    Never,
}

/// A message: how its head ends. Two are the same if they were built at once.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which of the prepared ones.
    pub number: usize,
    pub head: Head,
    pub measure: fn(&[u8]) -> Result<Body, BoxError>,
}

#[derive(Clone, Debug)]
pub enum Head {
    Any(&'static [&'static [u8]]),
    Count(usize),
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// An ending, and what the crate makes of it.
#[derive(Clone, Debug)]
pub struct Term<'d> {
    pub ending: Ending<'d>,
    pub built: Terminator,
}

impl<'d> Term<'d> {
    pub fn pattern(bytes: &'d [u8]) -> Self {
        Term { built: Terminator::from(bytes), ending: Ending::any(vec![bytes]) }
    }

    pub fn any(members: Vec<&'d [u8]>) -> Self {
        let built = Terminator::any(&members);
        Term::new(members, built)
    }

    /// What was built of these members.
    pub fn new(members: Vec<&'d [u8]>, built: Terminator) -> Self {
        Term { ending: Ending::any(members), built }
    }

    pub fn count(n: u64) -> Self {
        Term { built: Terminator::from(n), ending: Ending::Count(n) }
    }
}

impl<'d> Ending<'d> {
    fn any(mut members: Vec<&'d [u8]>) -> Self {
        members.retain(|member| !member.is_empty());
        if members.is_empty() { Ending::Never } else { Ending::Any(members) }
    }

    pub fn members(&self) -> &[&'d [u8]] {
        match self {
            Ending::Any(members) => members,
            _ => &[],
        }
    }

    /// The member that ends first, of several the longest, and where it ends.
    pub fn find(&self, content: &[u8]) -> Option<(&'d [u8], usize)> {
        let here = |end: usize| {
            let member = self.members().iter().filter(|member| ends_with(&content[..end], member));
            member.max_by_key(|member| member.len()).map(|member| (*member, end))
        };
        (1..=content.len()).find_map(here)
    }

    /// Compares with what the crate says is in force.
    pub fn check(&self, terminator: &Terminator) {
        let is_same = match self {
            Ending::Count(n) => terminator.remaining() == Some(*n),
            Ending::Any(_) => terminator.patterns().next().is_some(),
            Ending::Every(_) | Ending::Message(_) => {
                !terminator.is_none() && terminator.patterns().next().is_none()
            }
            Ending::Never => terminator.is_none(),
        };
        assert!(is_same, "{terminator:?} for {self:?}");
    }

    /// The length of the longest suffix of `content` that could begin a member.
    pub fn held(&self, content: &[u8]) -> usize {
        let begins = |tail: &[u8]| {
            self.members().iter().any(|m| m.len() > tail.len() && m.starts_with(tail))
        };
        let longest = self.members().iter().map(|m| m.len() - 1).max().unwrap_or(0);
        (1..=longest.min(content.len()))
            .rev()
            .find(|&len| begins(&content[content.len() - len..]))
            .unwrap_or(0)
    }
}

/// What comes out next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'d> {
    Complete(&'d [u8]),
    Partial(&'d [u8]),
    TooLong(usize),
    InvalidHead,
}

/// How frames are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Take {
    /// As the mode says.
    AsSet,
    /// As with `receive`, under this limit.
    Whole(usize),
    /// As with `receive_part`.
    Parts,
}

/// The rules, for an input of which more and more has arrived.
#[derive(Clone)]
pub struct Oracle<'d> {
    pub input: &'d [u8],
    /// What was handed out or dropped.
    pub pos: usize,
    pub ending: Ending<'d>,
    /// What the frame being skipped ends at.
    pub skip: Option<Ending<'d>>,
    pub mid_frame: bool,
    pub ended_by: &'d [u8],
    /// How much of the last frame or part of one is a head.
    pub head_len: usize,
    /// How much of the message is a head, and how much is left of it, once that is known.
    known: Option<(usize, u64)>,
    /// A head was found invalid by `discard`, under the limit that was set then.
    refused: bool,
    pub streaming: bool,
    pub keep: bool,
    pub max_length: usize,
}

impl<'d> Oracle<'d> {
    pub fn new(input: &'d [u8], ending: Ending<'d>) -> Self {
        Oracle {
            input,
            pos: 0,
            ending,
            skip: None,
            mid_frame: false,
            ended_by: b"",
            head_len: 0,
            known: None,
            refused: false,
            streaming: false,
            keep: false,
            max_length: usize::MAX,
        }
    }

    /// Changes the ending. An equal one changes nothing.
    pub fn set(&mut self, ending: Ending<'d>) {
        if ending != self.ending {
            (self.known, self.refused) = (None, false);
        }
        self.ending = ending;
    }

    /// The next item if the first `arrived` bytes of the input are there, and
    /// if `ended`, no more.
    pub fn next(&mut self, take: Take, arrived: usize, ended: bool) -> Option<Item<'d>> {
        if !self.skipped(arrived) {
            if ended {
                self.pos = arrived;
                (self.skip, self.mid_frame) = (None, false);
            }
            return None;
        }
        let content = &self.input[self.pos..arrived];
        let in_parts = take == Take::Parts || (take == Take::AsSet && self.streaming);
        let limit = match take {
            _ if in_parts => usize::MAX,
            Take::Whole(limit) => limit,
            _ => self.max_length,
        };
        match self.ending.clone() {
            Ending::Any(_) => self.any(content, limit, in_parts),
            Ending::Count(n) => self.count(content, n, limit, in_parts),
            Ending::Every(_) | Ending::Message(_) if content.is_empty() => None,
            Ending::Every(n) => {
                self.known = self.known.or(Some((0, n)));
                self.measured(content, limit, in_parts)
            }
            Ending::Message(_) if std::mem::take(&mut self.refused) => {
                self.skip = Some(Ending::Never);
                return Some(Item::InvalidHead);
            }
            Ending::Message(message) => {
                let most = if let Take::Whole(limit) = take { limit } else { self.max_length };
                match self.known.map_or_else(|| measure(&message, content, most), |it| Ok(Some(it)))
                {
                    Ok(known) => self.known = known,
                    Err(()) => {
                        self.skip = Some(Ending::Never);
                        return Some(Item::InvalidHead);
                    }
                }
                self.measured(content, limit, in_parts)
            }
            Ending::Never => self.never(content, take, ended),
        }
        .or_else(|| if ended { self.rest(arrived) } else { None })
    }

    /// Drops what is to be skipped: whether that is over.
    fn skipped(&mut self, arrived: usize) -> bool {
        let content = &self.input[self.pos..arrived];
        let (dropped, left) = match &self.skip {
            None => return true,
            Some(Ending::Count(n)) if *n > content.len() as u64 => {
                (content.len(), Some(Ending::Count(n - content.len() as u64)))
            }
            Some(Ending::Count(n)) => (*n as usize, None),
            Some(ending) => match ending.find(content) {
                Some((_, end)) => (end, None),
                None => (content.len() - ending.held(content), Some(ending.clone())),
            },
        };
        self.pos += dropped;
        self.skip = left;
        self.skip.is_none()
    }

    fn any(&mut self, content: &'d [u8], limit: usize, in_parts: bool) -> Option<Item<'d>> {
        let Some((member, end)) = self.ending.find(content) else {
            let certain = content.len() - self.ending.held(content);
            if in_parts {
                return self.partial(certain);
            }
            return (certain > limit).then(|| self.too_long(self.ending.clone(), certain, limit));
        };
        self.pos += end;
        self.mid_frame = false;
        if end - member.len() > limit {
            return Some(Item::TooLong(limit));
        }
        (self.ended_by, self.head_len) = (member, 0);
        Some(Item::Complete(&content[..if self.keep { end } else { end - member.len() }]))
    }

    fn count(
        &mut self,
        content: &'d [u8],
        n: u64,
        limit: usize,
        in_parts: bool,
    ) -> Option<Item<'d>> {
        if !in_parts && n > limit as u64 {
            self.ending = Ending::Never;
            return Some(self.too_long(Ending::Count(n), 0, limit));
        }
        if n <= content.len() as u64 {
            self.ending = Ending::Never;
            self.pos += n as usize;
            (self.mid_frame, self.ended_by, self.head_len) = (false, b"", 0);
            return Some(Item::Complete(&content[..n as usize]));
        }
        if !in_parts {
            return None;
        }
        self.ending = Ending::Count(n - content.len() as u64);
        self.partial(content.len())
    }

    fn measured(&mut self, content: &'d [u8], limit: usize, in_parts: bool) -> Option<Item<'d>> {
        let (head, left) = self.known?;
        if !in_parts && left > limit as u64 {
            return Some(self.too_long(Ending::Count(left), 0, limit));
        }
        if left <= content.len() as u64 {
            self.pos += left as usize;
            (self.mid_frame, self.ended_by, self.head_len, self.known) = (false, b"", head, None);
            return Some(Item::Complete(&content[..left as usize]));
        }
        if !in_parts {
            return None;
        }
        let part = self.partial(content.len());
        self.known = Some((0, left - content.len() as u64));
        self.head_len = head;
        part
    }

    fn never(&mut self, content: &'d [u8], take: Take, ended: bool) -> Option<Item<'d>> {
        let Take::Whole(limit) = take else {
            return self.partial(content.len()).or_else(|| {
                // Then the end of input is the end of the frame.
                (ended && take == Take::Parts).then(|| self.all(content))
            });
        };
        if content.len() > limit {
            return Some(self.too_long(Ending::Never, content.len(), limit));
        }
        ended.then(|| self.all(content))
    }

    fn all(&mut self, content: &'d [u8]) -> Item<'d> {
        self.pos += content.len();
        (self.ended_by, self.head_len) = (b"", 0);
        Item::Complete(content)
    }

    fn partial(&mut self, len: usize) -> Option<Item<'d>> {
        let part = &self.input[self.pos..self.pos + len];
        if len == 0 {
            return None;
        }
        self.pos += len;
        (self.ended_by, self.head_len) = (b"", 0);
        self.mid_frame = self.ending != Ending::Never;
        Some(Item::Partial(part))
    }

    fn too_long(&mut self, skip: Ending<'d>, dropped: usize, limit: usize) -> Item<'d> {
        self.pos += dropped;
        (self.skip, self.mid_frame, self.known) = (Some(skip), false, None);
        Item::TooLong(limit)
    }

    /// Input has ended: what is left, if anything.
    fn rest(&mut self, arrived: usize) -> Option<Item<'d>> {
        let rest = &self.input[self.pos..arrived];
        self.mid_frame = false;
        let known = self.known.take();
        if rest.is_empty() {
            return None;
        }
        if let Ending::Count(n) = &mut self.ending {
            *n -= rest.len() as u64;
        }
        self.pos = arrived;
        (self.ended_by, self.head_len) = (b"", known.map_or(0, |(head, _)| head));
        Some(Item::Partial(rest))
    }

    /// Drops what has arrived, and goes on to skip an unfinished frame.
    pub fn discard(&mut self, arrived: usize) {
        if self.pos == arrived && !self.mid_frame {
            return;
        }
        let last = (self.ended_by, self.head_len);
        self.skipped(arrived);
        while self.pos < arrived {
            match self.next(Take::AsSet, arrived, false) {
                None => break,
                // It is told to who reads on.
                Some(Item::InvalidHead) => {
                    (self.skip, self.refused) = (None, true);
                    break;
                }
                Some(_) => {}
            }
        }
        let unfinished = self.mid_frame || self.pos < arrived;
        let skip = match (&self.ending, self.known) {
            (Ending::Never, _) => None,
            (_, Some((_, left))) => Some(Ending::Count(left)),
            (Ending::Every(n), None) => Some(Ending::Count(*n)),
            // The head of a message stays.
            (Ending::Message(_), None) => None,
            (ending, None) => Some(ending.clone()),
        };
        if let (true, None, Some(skip)) = (unfinished, &self.skip, skip) {
            self.skip = Some(skip);
            self.known = None;
            if let Ending::Count(_) = self.ending {
                self.ending = Ending::Never;
            }
            self.skipped(arrived);
        }
        self.mid_frame = false;
        (self.ended_by, self.head_len) = last;
    }

    /// What is held back.
    pub fn left(&self, arrived: usize) -> &'d [u8] {
        &self.input[self.pos..arrived]
    }
}

/// How long the head of the message is and how long the message, if that is known; an
/// error if its head is invalid.
fn measure(message: &Message, content: &[u8], most: usize) -> Result<Option<(usize, u64)>, ()> {
    let most = most.min(MAX_HEAD);
    let mut need = match &message.head {
        Head::Count(n) => *n,
        Head::Any(members) => {
            let ending = Ending::Any(members.to_vec());
            match ending.find(content) {
                Some((_, end)) => end,
                None if content.len() - ending.held(content) >= most => return Err(()),
                None => return Ok(None),
            }
        }
    };
    loop {
        if need == 0 || need > most {
            return Err(());
        }
        let Some(head) = content.get(..need) else { return Ok(None) };
        let total = match (message.measure)(head) {
            Ok(Body::More(more)) if more > 0 => {
                need += more;
                continue;
            }
            Ok(Body::Bytes(body)) => body.saturating_add(need as u64),
            Ok(Body::Total(total)) if total >= need as u64 => total,
            _ => return Err(()),
        };
        return Ok(Some((need, total)));
    }
}

/// The default limit of a head.
const MAX_HEAD: usize = 64 * 1024;

/// The last byte first: most of the time that is all to be compared.
fn ends_with(content: &[u8], member: &[u8]) -> bool {
    content.last() == member.last() && content.ends_with(member)
}

/// Whether content with this behind it is read as exactly this one frame.
pub fn reads_back(ending: &Ending<'_>, content: &[u8], behind: &[u8]) -> bool {
    let all = [content, behind].concat();
    ending.find(&all).is_some_and(|(member, end)| end == all.len() && member.len() == behind.len())
}
