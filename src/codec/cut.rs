//! Where the next frame ends: the state, and the general path. `fast` only finds sooner what
//! this file would find.

use super::Span;
use super::front::{Front, HeadError};
use crate::terminator::{Kind, Match, Progress};
use crate::{Error, Terminator};

/// How frames are taken from the input.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadMode {
    /// In the mode and under the limit that are set.
    AsSet,
    /// Whole, under this limit. Without a terminator the frame is all the input.
    Whole { max_length: usize },
    /// In parts. Without a terminator the frame is all the input.
    Parts,
}

impl ReadMode {
    /// Returns `true` if without a terminator the end of input ends a frame.
    pub(crate) fn ends_at_eof(self) -> bool {
        !matches!(self, ReadMode::AsSet)
    }

    /// The limit in bytes if it is not the one that is set.
    #[inline(always)]
    pub(super) fn limit_or(self, max_length: usize) -> usize {
        match self {
            ReadMode::Whole { max_length } => max_length,
            _ => max_length,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum EndedBy {
    Nothing,
    /// The pattern with this index of the current terminator.
    Current(u32),
    /// The pattern with this index of one that was set before.
    Earlier(u32),
    /// A length. This many bytes of the frame are a head.
    Length(u32),
}

/// The next step with the undelivered bytes.
enum Cut {
    /// Drop this many and report `FrameTooLong`.
    TooLong(usize),
    /// Report `InvalidHead`.
    Invalid(HeadError),
    /// Take the next frame, or a part of it.
    Frame(Span),
    /// Wait for more input.
    Wait,
}

/// The state of the input, and all settings that decide where a frame ends.
#[derive(Clone, Debug)]
pub(crate) struct Cutter {
    pub(super) terminator: Terminator,
    pub(super) max_length: usize,
    pub(super) streaming: bool,
    pub(super) keep_terminator: bool,
    pub(super) max_head: usize,
    /// `true` if part of the current frame has been delivered.
    mid_frame: bool,
    /// The progress of the search for `terminator`, or for the one that is skipped through.
    pub(super) progress: Progress,
    front: Front,
    /// The number of frames that have ended: the number of the current one.
    frames: u64,
    ended_by: EndedBy,
    /// The terminator that `EndedBy::Earlier` refers to.
    earlier: Terminator,
}

impl Cutter {
    pub(super) fn new(terminator: Terminator, max_length: usize) -> Self {
        Cutter {
            terminator,
            max_length,
            streaming: false,
            keep_terminator: false,
            max_head: MAX_HEAD,
            mid_frame: false,
            progress: Progress::default(),
            front: Front::Unknown,
            frames: 0,
            ended_by: EndedBy::Nothing,
            earlier: Terminator::none(),
        }
    }

    #[inline(always)]
    pub(super) fn set_terminator(&mut self, terminator: Terminator) {
        if self.is_fresh() {
            self.replace_terminator(terminator);
        } else {
            self.set_terminator_midway(terminator);
        }
    }

    /// Returns `true` if none of the undelivered bytes was searched, and nothing is known
    /// of the frame that they begin.
    #[inline(always)]
    pub(super) fn is_fresh(&self) -> bool {
        self.progress.is_fresh() && self.front.is_unknown()
    }

    pub(super) fn ended_by(&self) -> &[u8] {
        match self.ended_by {
            EndedBy::Nothing | EndedBy::Length(_) => b"",
            EndedBy::Current(index) => self.terminator.pattern(index as usize),
            EndedBy::Earlier(index) => self.earlier.pattern(index as usize),
        }
    }

    pub(super) fn head_len(&self) -> usize {
        match self.ended_by {
            EndedBy::Length(head) => head as usize,
            _ => 0,
        }
    }

    pub(crate) fn is_skipping(&self) -> bool {
        matches!(self.front, Front::Skipped(_))
    }

    /// Notes a frame that this match ends. None of the bytes after it was searched.
    #[inline(always)]
    pub(super) fn note_match(&mut self, found: Match) -> Span {
        self.mid_frame = false;
        self.frames = self.frames.wrapping_add(1);
        self.ended_by = EndedBy::Current(found.pattern as u32);
        let len = if self.keep_terminator { found.end } else { found.start };
        Span { consume: found.end, len, is_complete: true }
    }

    #[inline(always)]
    pub(super) fn note_count(&mut self, n: usize) -> Span {
        self.end_frame();
        self.replace_terminator(Terminator::none());
        self.ended_by = EndedBy::Nothing;
        Span::complete(n)
    }

    #[inline(always)]
    pub(super) fn note_measured(&mut self, head: u32, len: usize) -> Span {
        self.mid_frame = false;
        self.frames = self.frames.wrapping_add(1);
        self.ended_by = EndedBy::Length(head);
        Span::complete(len)
    }

    /// Reads the head of the message that begins the undelivered bytes, as far as it has
    /// arrived. Returns what is known then.
    #[inline(always)]
    pub(crate) fn read_head(&self, src: &[u8], mode: ReadMode) -> (Front, Progress) {
        let max_head = self.max_head.min(mode.limit_or(self.max_length));
        let mut progress = self.progress;
        let end = match (&self.front, &self.terminator.0) {
            (Front::Head(end), _) => Some(*end as usize),
            (_, Kind::Length(length)) => Some(length.head_len()),
            (_, Kind::Message(message)) => match message.head().remaining() {
                Some(n) => Some(usize::try_from(n).unwrap_or(usize::MAX)),
                None => message.head().find(src, &mut progress).map(|found| found.end),
            },
            _ => None,
        };
        let front = match end {
            Some(end) => Front::read(&self.terminator, end, src, max_head),
            // Certain before the end has arrived: it is after `from`.
            None if progress.from >= max_head && !src.is_empty() => Front::too_long(max_head),
            None => Front::Unknown,
        };
        (front, progress)
    }

    /// Notes the message with this head if it is among `len` undelivered bytes and within
    /// the limit, or else its head.
    #[inline(always)]
    pub(crate) fn note_head(
        &mut self,
        (front, progress): (Front, Progress),
        len: usize,
        mode: ReadMode,
    ) -> Option<Span> {
        if let Front::Body { head, rest } = front {
            if rest <= len.min(mode.limit_or(self.max_length)) as u64 {
                return Some(self.note_measured(head, rest as usize));
            }
        }
        (self.front, self.progress) = (front, progress);
        None
    }

    /// Continues the search from there.
    #[inline(always)]
    pub(crate) fn resume(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// The number of the frame that the undelivered bytes belong to.
    pub(crate) fn frame_number(&self) -> u64 {
        self.frames
    }

    /// Returns `true` if no frame can be found, or refused, before a byte arrives.
    pub(crate) fn needs_input(&self) -> bool {
        self.is_fresh() && !matches!(self.terminator.0, Kind::Count(_))
    }

    /// Returns `true` if part of a frame has been delivered or skipped, and its end is to come.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.is_skipping() || (self.mid_frame && !self.terminator.is_none())
    }

    /// Finds the next frame after `skip`: how many bytes to drop, and where the frame lies
    /// after them. With `eof` no input follows `src`.
    pub(crate) fn cut(
        &mut self,
        src: &[u8],
        mode: ReadMode,
        eof: bool,
    ) -> (usize, Result<Option<Span>, Error>) {
        let limit = self.limit(mode);
        match self.cut_once(src, limit, mode) {
            Cut::Invalid(error) => (0, Err(invalid_head(error))),
            Cut::TooLong(n) => (n, Err(too_long(limit.unwrap_or(usize::MAX)))),
            Cut::Frame(span) => (0, Ok(Some(span))),
            Cut::Wait if !eof => (0, Ok(None)),
            Cut::Wait => {
                let span = self.cut_eof(src.len(), mode);
                (if span.is_some() { 0 } else { src.len() }, Ok(span))
            }
        }
    }

    /// Returns the limit in bytes of whole frames, or `None` in streaming mode.
    #[inline(always)]
    pub(crate) fn limit(&self, mode: ReadMode) -> Option<usize> {
        match mode {
            ReadMode::Whole { max_length } => Some(max_length),
            ReadMode::AsSet if !self.streaming => Some(self.max_length),
            _ => None,
        }
    }

    /// Decides about the undelivered bytes, all of which are in `src`.
    #[inline(always)]
    fn cut_once(&mut self, src: &[u8], limit: Option<usize>, mode: ReadMode) -> Cut {
        if self.is_skipping() {
            return Cut::Wait;
        }
        match self.terminator.0 {
            Kind::Count(n) => return self.cut_count(src, n, limit),
            Kind::None => return self.cut_unended(src, limit, mode),
            Kind::Pattern(_) | Kind::AnyOf(_) => {}
            _ => return self.cut_measured(src, limit, mode),
        }
        let Some(found) = self.terminator.find(src, &mut self.progress) else {
            return self.cut_unfinished(limit);
        };
        if limit.is_some_and(|limit| found.start > limit) {
            self.end_frame();
            return Cut::TooLong(found.end);
        }
        self.progress.reset();
        Cut::Frame(self.note_match(found))
    }

    /// The terminator has not arrived.
    #[inline(never)]
    fn cut_unfinished(&mut self, limit: Option<usize>) -> Cut {
        let from = self.progress.from;
        match limit {
            Some(limit) if from <= limit => return Cut::Wait,
            Some(_) => self.begin_skip(self.terminator.clone()),
            None => {}
        }
        self.progress.from = 0;
        if limit.is_some() { Cut::TooLong(from) } else { self.cut_partial(from) }
    }

    #[inline(never)]
    fn cut_count(&mut self, src: &[u8], n: u64, limit: Option<usize>) -> Cut {
        let len = usize::try_from(n).unwrap_or(usize::MAX);
        if limit.is_some_and(|limit| len > limit) || (limit.is_some() && len as u64 != n) {
            self.replace_terminator(Terminator::none());
            self.begin_skip(Terminator(Kind::Count(n)));
            return Cut::TooLong(0);
        }
        if src.len() as u64 >= n {
            return Cut::Frame(self.note_count(len));
        }
        if limit.is_some() {
            return Cut::Wait;
        }
        self.terminator = Terminator(Kind::Count(n - src.len() as u64));
        self.cut_partial(src.len())
    }

    /// A frame whose length is known, or is to be read in a head.
    #[inline(never)]
    fn cut_measured(&mut self, src: &[u8], limit: Option<usize>, mode: ReadMode) -> Cut {
        if src.is_empty() {
            return Cut::Wait;
        }
        if let Front::Unknown | Front::Head(_) = self.front {
            (self.front, self.progress) = match self.terminator.0 {
                Kind::Every(n) => (Front::Body { head: 0, rest: n }, self.progress),
                _ => self.read_head(src, mode),
            };
        }
        let (head, rest) = match self.front {
            Front::Unknown | Front::Head(_) => return Cut::Wait,
            Front::Body { head, rest } => (head, rest),
            Front::Refused(_) | Front::Skipped(_) => return self.cut_invalid(),
        };
        self.progress.reset();
        if limit.is_some_and(|limit| rest > limit as u64) {
            self.begin_skip(Terminator(Kind::Count(rest)));
            return Cut::TooLong(0);
        }
        if src.len() as u64 >= rest {
            self.front = Front::Unknown;
            return Cut::Frame(self.note_measured(head, rest as usize));
        }
        if limit.is_some() {
            return Cut::Wait;
        }
        self.front = Front::Body { head: 0, rest: rest - src.len() as u64 };
        let part = self.cut_partial(src.len());
        self.ended_by = EndedBy::Length(head.min(src.len() as u32));
        part
    }

    /// The head is invalid. The end of its message is not known: all input is skipped.
    #[cold]
    fn cut_invalid(&mut self) -> Cut {
        let front = std::mem::replace(&mut self.front, Front::Unknown);
        self.begin_skip(Terminator::none());
        match front {
            Front::Refused(error) => Cut::Invalid(*error),
            _ => Cut::Wait,
        }
    }

    /// There is no terminator.
    fn cut_unended(&mut self, src: &[u8], limit: Option<usize>, mode: ReadMode) -> Cut {
        match limit {
            Some(limit) if mode.ends_at_eof() && src.len() <= limit => Cut::Wait,
            Some(_) if mode.ends_at_eof() => {
                self.begin_skip(Terminator::none());
                Cut::TooLong(src.len())
            }
            _ => self.cut_partial(src.len()),
        }
    }

    /// Skips what there is of the rest of a skipped frame. Returns how many bytes to drop.
    ///
    /// It is called, and they are dropped, before `cut`, which may call a function that panics.
    pub(crate) fn skip(&mut self, src: &[u8]) -> usize {
        let Front::Skipped(skip) = &mut self.front else { return 0 };
        let (dropped, has_ended) = match &mut skip.0 {
            Kind::Count(n) if *n <= src.len() as u64 => (*n as usize, true),
            Kind::Count(n) => {
                *n -= src.len() as u64;
                (src.len(), false)
            }
            _ => match skip.find(src, &mut self.progress) {
                Some(found) => (found.end, true),
                None => (std::mem::take(&mut self.progress.from), false),
            },
        };
        if has_ended {
            self.front = Front::Unknown;
            self.end_frame();
        }
        dropped
    }

    /// The next `len` bytes, whose frame continues.
    fn cut_partial(&mut self, len: usize) -> Cut {
        if len == 0 {
            return Cut::Wait;
        }
        self.mid_frame = !self.terminator.is_none();
        // Without a terminator there is no frame to be in.
        self.frames += u64::from(!self.mid_frame);
        self.ended_by = EndedBy::Nothing;
        Cut::Frame(Span::partial(len))
    }

    /// Input has ended with `left` bytes undelivered.
    fn cut_eof(&mut self, left: usize, mode: ReadMode) -> Option<Span> {
        let is_skipped = self.is_skipping();
        let front = std::mem::replace(&mut self.front, Front::Unknown);
        self.end_frame();
        if !is_skipped && mode.ends_at_eof() && self.terminator.is_none() {
            self.ended_by = EndedBy::Nothing;
            return Some(Span::complete(left));
        }
        if left == 0 || is_skipped {
            return None;
        }
        if let Kind::Count(n) = self.terminator.0 {
            self.terminator = Terminator(Kind::Count(n.saturating_sub(left as u64)));
        }
        self.ended_by = match front {
            // The buffer may have been shortened from outside.
            Front::Body { head, .. } => EndedBy::Length(head.min(left as u32)),
            _ => EndedBy::Nothing,
        };
        Some(Span::partial(left))
    }

    /// The undelivered bytes belong to the next frame, and none was searched.
    #[inline(always)]
    fn end_frame(&mut self) {
        self.progress.reset();
        self.mid_frame = false;
        self.frames = self.frames.wrapping_add(1);
    }

    fn begin_skip(&mut self, terminator: Terminator) {
        self.front = Front::Skipped(Box::new(terminator));
        self.mid_frame = false;
    }

    /// Drops the whole frames of `src` after the first `consumed` bytes, and begins to skip
    /// an unfinished one. `consumed` grows with each frame: reading a head may panic.
    pub(crate) fn discard(&mut self, src: &[u8], consumed: &mut usize) {
        let rest = |consumed: usize| src.get(consumed..).unwrap_or_default();
        if rest(*consumed).is_empty() && !self.mid_frame {
            // A count that waits for its first byte is not unfinished.
            return;
        }
        if let EndedBy::Current(index) = self.ended_by {
            self.earlier = self.terminator.clone();
            self.ended_by = EndedBy::Earlier(index);
        }
        // A frame that is not delivered does not change `ended_by`.
        let ended_by = (self.ended_by, self.earlier.clone());
        *consumed += self.skip(rest(*consumed));
        // A count that waits for its first byte is not spent.
        while !rest(*consumed).is_empty() {
            let (dropped, next) = self.cut(rest(*consumed), ReadMode::AsSet, false);
            *consumed += dropped;
            match next {
                Ok(Some(span)) => *consumed += span.consume,
                Ok(None) => break,
                Err(Error::InvalidHead(error)) => {
                    // It is reported to the caller that reads on.
                    self.front = Front::Refused(Box::new(error));
                    break;
                }
                // An over-long frame is dropped like the others.
                Err(_) => *consumed += self.skip(rest(*consumed)),
            }
        }
        let unfinished = self.mid_frame || !rest(*consumed).is_empty();
        let end = self.end_of_frame().filter(|_| unfinished && !self.is_skipping());
        if let Some(terminator) = end {
            if let Kind::Count(_) = self.terminator.0 {
                self.replace_terminator(Terminator::none());
            }
            self.begin_skip(terminator);
            *consumed += self.skip(rest(*consumed));
        }
        if !self.is_skipping() && rest(*consumed).is_empty() {
            self.mid_frame = false;
            self.frames = self.frames.wrapping_add(1);
        }
        (self.ended_by, self.earlier) = ended_by;
    }

    /// The terminator through which the rest of the current frame is skipped. There is none
    /// for an incomplete head: the next body would be taken for a head.
    fn end_of_frame(&self) -> Option<Terminator> {
        let rest = |rest| Some(Terminator(Kind::Count(rest)));
        match (&self.front, &self.terminator.0) {
            (Front::Body { rest: n, .. }, _) | (_, Kind::Every(n)) => rest(*n),
            (_, Kind::Length(_) | Kind::Message(_) | Kind::None) => None,
            _ => Some(self.terminator.clone()),
        }
    }

    /// Forgets the undelivered bytes, which were taken away.
    pub(crate) fn forget(&mut self) {
        self.front = Front::Unknown;
        self.end_frame();
    }

    /// Part of the undelivered bytes was searched for another terminator.
    #[inline(never)]
    pub(super) fn set_terminator_midway(&mut self, terminator: Terminator) {
        if !self.is_skipping() {
            if terminator == self.terminator {
                return;
            }
            self.progress.reset();
            self.front = Front::Unknown;
        }
        self.replace_terminator(terminator);
    }

    /// Replaces the terminator, but not the answer of `ended_by`.
    #[inline(always)]
    pub(super) fn replace_terminator(&mut self, terminator: Terminator) {
        if let EndedBy::Current(index) = self.ended_by {
            self.earlier = std::mem::replace(&mut self.terminator, terminator);
            self.ended_by = EndedBy::Earlier(index);
        } else {
            // Not `replace`: a value that was only just stored is not loaded whole.
            self.terminator = terminator;
        }
    }
}

#[cold]
fn invalid_head(error: HeadError) -> Error {
    tracing::debug!(target: "asynchat", %error, "invalid head");
    Error::InvalidHead(error)
}

#[cold]
fn too_long(limit: usize) -> Error {
    tracing::debug!(target: "asynchat", limit, "frame too long");
    Error::FrameTooLong { limit }
}

/// The default limit of a head.
const MAX_HEAD: usize = 64 * 1024;
