//! The fast path: finds a frame if nothing about it is unusual. The general path in `cut`
//! finds the same frames, and all others.

use super::{Cutter, ReadMode, Span};
use crate::terminator::{Kind, Length, Match, Progress, Short};

/// The result of a look at the undelivered bytes, on the fast path.
#[derive(Clone, Copy)]
pub(crate) enum Look {
    /// A frame that a byte string ends.
    Pattern(Match),
    /// A frame of a count.
    Count(usize),
    /// A frame of a number of bytes, the first `head` of which are a head.
    Measured { head: u32, len: usize },
    /// A message, whose head is to be read.
    Message,
    /// A set, which `look_set` searches for: a call would cost the other terminators registers.
    Set,
    /// The terminator is not there.
    Absent,
    /// Only the general path can decide.
    General,
}

/// A terminator for a loop over many frames, which does not look into the codec for each.
///
/// It is valid until the codec changes.
#[derive(Clone, Copy)]
pub(crate) enum FastPath {
    Short(Short),
    Every(u64),
    Length(Length),
}

impl Cutter {
    /// Finds and notes the next frame, if nothing is unusual: `find_inline` and `find_by_call`
    /// in one, which costs fewer instructions than one after the other.
    #[inline(always)]
    pub(super) fn find_fast(&mut self, src: &[u8]) -> Option<Span> {
        if !self.is_fresh() {
            return None;
        }
        let Some(short) = self.terminator.short() else {
            let look = self.look_by_kind(src, self.max_length);
            return self.note_or_find(look, src, ReadMode::AsSet);
        };
        self.find_short(short, src)
    }

    /// Finds and notes a frame whose terminator is neither a message nor a set.
    #[inline(always)]
    pub(super) fn find_inline(&mut self, src: &[u8]) -> Option<Span> {
        if !self.is_fresh() {
            return None;
        }
        let Some(short) = self.terminator.short() else {
            let look = self.look_by_kind(src, self.max_length);
            return self.note(look);
        };
        self.find_short(short, src)
    }

    /// Finds and notes a frame that is a message, or that a set ends: both take a call.
    #[inline(always)]
    pub(super) fn find_by_call(&mut self, src: &[u8]) -> Option<Span> {
        match self.terminator.0 {
            Kind::Message(_) if self.is_fresh() => self.note_message(src, ReadMode::AsSet),
            Kind::AnyOf(_) if self.is_fresh() => self.note_set(src, ReadMode::AsSet),
            _ => None,
        }
    }

    #[inline(always)]
    fn find_short(&mut self, short: Short, src: &[u8]) -> Option<Span> {
        let found = short.find(src, &mut self.progress)?;
        // In streaming mode, too, a longer frame is for the general path.
        if found.start > self.max_length {
            return None;
        }
        Some(self.note_match(found))
    }

    /// Looks for the next frame without changing anything. The caller notes the
    /// result.
    #[inline(always)]
    pub(crate) fn look(&self, src: &[u8], mode: ReadMode) -> Look {
        if !self.is_fresh() {
            return Look::General;
        }
        // In streaming mode longer frames are for the general path.
        let limit = mode.limit_or(self.max_length);
        match self.terminator.short() {
            Some(short) => look_short(short, src, self.progress, limit),
            None => self.look_by_kind(src, limit),
        }
    }

    #[inline(always)]
    fn look_by_kind(&self, src: &[u8], limit: usize) -> Look {
        match &self.terminator.0 {
            Kind::Count(n) if *n <= limit.min(src.len()) as u64 => Look::Count(*n as usize),
            Kind::Every(n) => look_measured(0, Some(*n), src, limit),
            Kind::Length(length) if length.head_len() <= self.max_head => {
                look_measured(length.head_len(), length.total(src), src, limit)
            }
            Kind::Message(_) => Look::Message,
            Kind::AnyOf(_) => Look::Set,
            _ => Look::General,
        }
    }

    /// Looks for a frame that a set ends.
    #[inline(never)]
    pub(crate) fn look_set(&self, src: &[u8], mode: ReadMode) -> Look {
        match &self.terminator.0 {
            Kind::AnyOf(set) => {
                look_found(set.look(src, self.progress), mode.limit_or(self.max_length))
            }
            _ => Look::General,
        }
    }

    /// Looks for a frame that a set ends, and notes the result.
    #[inline(never)]
    fn note_set(&mut self, src: &[u8], mode: ReadMode) -> Option<Span> {
        match self.look_set(src, mode) {
            Look::Absent => {
                self.resume(self.searched(src));
                None
            }
            look => self.note(look),
        }
    }

    /// Notes a frame that `look` has found in `src`, or finds it if that takes a call.
    #[inline(always)]
    pub(crate) fn note_or_find(&mut self, look: Look, src: &[u8], mode: ReadMode) -> Option<Span> {
        match look {
            Look::Message => self.note_message(src, mode),
            Look::Set => self.note_set(src, mode),
            look => self.note(look),
        }
    }

    /// Notes a frame that `look` has found.
    #[inline(always)]
    pub(crate) fn note(&mut self, look: Look) -> Option<Span> {
        match look {
            Look::Pattern(found) => {
                self.progress.note(found);
                Some(self.note_match(found))
            }
            Look::Count(n) => Some(self.note_count(n)),
            Look::Measured { head, len } => Some(self.note_measured(head, len)),
            Look::Message | Look::Set | Look::Absent | Look::General => None,
        }
    }

    /// Reads the head of a message that begins in `src`, and notes the message if it is
    /// there.
    #[inline(always)]
    fn note_message(&mut self, src: &[u8], mode: ReadMode) -> Option<Span> {
        let known = self.read_head(src, mode);
        self.note_head(known, src.len(), mode)
    }

    /// Returns the progress of a search of `src` in which `look` found no terminator.
    #[cold]
    #[inline(never)]
    pub(crate) fn searched(&self, src: &[u8]) -> Progress {
        let mut progress = self.progress;
        self.terminator.note_absent(src, &mut progress);
        progress
    }

    /// Returns the fast path for many frames, if it applies.
    #[inline(always)]
    pub(crate) fn fast_path(&self) -> Option<FastPath> {
        if self.streaming || !self.is_fresh() {
            return None;
        }
        match self.terminator.0 {
            Kind::Every(n) => Some(FastPath::Every(n)),
            Kind::Length(length) if length.head_len() <= self.max_head => {
                Some(FastPath::Length(length))
            }
            _ => self.terminator.short().map(FastPath::Short),
        }
    }

    /// Returns the progress of a search that has just begun.
    #[inline(always)]
    pub(crate) fn fresh_progress(&self) -> Progress {
        debug_assert!(self.progress.is_fresh());
        let mut progress = self.progress;
        // The compiler does not know that it is fresh.
        progress.reset();
        progress
    }
}

#[inline(always)]
pub(crate) fn look_short(short: Short, src: &[u8], progress: Progress, limit: usize) -> Look {
    look_found(short.look(src, progress), limit)
}

#[inline(always)]
fn look_found(found: Option<Match>, limit: usize) -> Look {
    match found {
        Some(found) if found.start <= limit => Look::Pattern(found),
        Some(_) => Look::General,
        None => Look::Absent,
    }
}

/// A frame of `total` bytes, if it is there and within the limit.
#[inline(always)]
pub(crate) fn look_measured(head: usize, total: Option<u64>, src: &[u8], limit: usize) -> Look {
    match total {
        Some(total) if total <= limit.min(src.len()) as u64 => {
            Look::Measured { head: head as u32, len: total as usize }
        }
        _ => Look::General,
    }
}
