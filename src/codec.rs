use crate::terminator::{Found, Progress, Short};
use crate::{Error, Frame, FrameRef, Terminator};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Cuts a byte stream into frames at a terminator that can change at any time.
///
/// It does no I/O. Use it in tokio-util's [`Framed`], [`FramedRead`] and
/// [`FramedWrite`], call [`decode_slice`] yourself on bytes you own, or use a
/// [`Channel`](crate::Channel), which has none of `Framed`'s limits (below).
///
/// ```
/// use asynchat::{Frame, Terminator, TerminatorCodec};
/// use bytes::BytesMut;
/// use tokio_util::codec::Decoder;
///
/// let mut codec = TerminatorCodec::new("\r\n");
/// let mut input = BytesMut::from("DATA 5\r\nhello");
/// let line = codec.decode(&mut input)?.and_then(Frame::into_complete);
/// assert_eq!(line.as_deref(), Some(&b"DATA 5"[..]));
/// codec.set_terminator(5);
/// let body = codec.decode(&mut input)?.and_then(Frame::into_complete);
/// assert_eq!(body.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), asynchat::Error>(())
/// ```
///
/// # Two modes
///
/// In *whole* mode, the default, a frame comes once, [`Complete`], when its
/// end is there; without a terminator, what has arrived comes as [`Partial`].
/// In [*streaming*](Self::set_streaming) mode what has arrived comes at once
/// as `Partial`, except the longest suffix that could begin a terminator, and
/// the rest as `Complete`. How the input was cut into reads never changes the
/// frames (the `Partial`s joined with their `Complete`) or the errors.
///
/// The terminator is stripped unless [kept](Self::set_keep_terminator). At the
/// end of input what is left comes as one `Partial`.
///
/// # Limits
///
/// A frame of more than [`max_length`](Self::set_max_length) bytes in whole
/// mode is [`Error::FrameTooLong`], once, as soon as that is certain, and a
/// count above it before any of its bytes is awaited. The frame is then
/// skipped through its terminator, whatever is set meanwhile, and the next one
/// comes normally. Streaming mode and `Terminator::None` hold nothing back and
/// have no limit.
///
/// Time is linear in the input however slowly it drips: a byte is looked at
/// again at most for the length of a terminator.
///
/// # In `Framed`
///
/// `Framed` decides when to call the codec, and that has limits you should
/// know (tokio-util 0.7.20):
///
/// - After [`decode`](Decoder::decode) had no frame, it is not called again
///   until new bytes arrive. A terminator changed through `codec_mut()` at
///   that point does not see what is buffered until then, and never if input
///   has ended. Change it right after a frame.
/// - After an error it gives `None` once and then waits for new bytes, though
///   good frames may be buffered.
///
/// [`Framed`]: tokio_util::codec::Framed
/// [`FramedRead`]: tokio_util::codec::FramedRead
/// [`FramedWrite`]: tokio_util::codec::FramedWrite
/// [`decode_slice`]: Self::decode_slice
/// [`Complete`]: Frame::Complete
/// [`Partial`]: Frame::Partial
#[derive(Clone, Debug)]
pub struct TerminatorCodec {
    terminator: Terminator,
    max_length: usize,
    streaming: bool,
    keep_terminator: bool,
    encode_terminator: Terminator,
    /// How far `skip`, if any, or else `terminator` was searched for.
    progress: Progress,
    /// What the rest of an over-long or discarded frame goes up to.
    skip: Option<Terminator>,
    current: Current,
    ended_by: EndedBy,
    /// What `EndedBy::Earlier` speaks of.
    earlier: Terminator,
}

/// The frame that the undelivered bytes belong to.
#[derive(Clone, Copy, Debug, Default)]
struct Current {
    /// Whether part of it has been delivered.
    delivered: bool,
    /// Whether a channel has noted that it has begun. Stays while it is skipped.
    noted: bool,
}

#[derive(Clone, Copy, Debug)]
enum EndedBy {
    Nothing,
    /// This member of the terminator that is still set.
    Current(usize),
    /// This member of one that was set before.
    Earlier(usize),
}

/// What to do with the undelivered bytes.
enum Cut {
    /// Drop this many and look again.
    Skip(usize),
    /// Drop this many and report `FrameTooLong`.
    TooLong(usize),
    /// This is the next frame, or a part of it.
    Frame(Span),
    /// Nothing can be said without more input.
    Wait,
}

/// Where the next frame lies: the first `consume` undelivered bytes go, and the
/// first `len` of them are the frame, or a part of it. It must be taken, once: the
/// codec is behind it already.
#[must_use]
pub(crate) struct Span {
    consume: usize,
    len: usize,
    is_complete: bool,
}

impl Span {
    fn whole(len: usize) -> Self {
        Span { consume: len, len, is_complete: true }
    }

    fn part(len: usize) -> Self {
        Span { consume: len, len, is_complete: false }
    }

    /// Takes it off `src`.
    // A frame is made as late as possible, and in place: what is returned through
    // memory is stored word by word and loaded in larger pieces, and each such
    // load waits until the stores are done. That is half the time of a frame.
    #[inline(always)]
    pub(crate) fn take(self, src: &mut BytesMut) -> Frame {
        let mut data = src.split_to(self.consume.min(src.len()));
        data.truncate(self.len);
        let data = data.freeze();
        if self.is_complete { Frame::Complete(data) } else { Frame::Partial(data) }
    }

    /// The same for a slice.
    fn take_slice<'b>(self, src: &mut &'b [u8]) -> FrameRef<'b> {
        let (data, rest) = src.split_at_checked(self.consume).unwrap_or((src, b""));
        *src = rest;
        let data = data.get(..self.len).unwrap_or(data);
        if self.is_complete { FrameRef::Complete(data) } else { FrameRef::Partial(data) }
    }
}

/// Cuts frames at a short terminator, apart from the codec, so that it need not
/// be asked anew for each of them.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    short: Short,
    max_length: usize,
    progress: Progress,
}

impl Plain {
    /// Where the first frame in `src` ends, none of which was seen before. If
    /// there is none, the codec has to `resume`.
    #[inline(always)]
    pub(crate) fn cut(&mut self, src: &[u8]) -> Option<Found> {
        let found = self.short.find(src, &mut self.progress)?;
        if found.start > self.max_length {
            self.progress.skip_to(found.start);
            return None;
        }
        Some(found)
    }
}

impl TerminatorCodec {
    /// The default `max_length`: 64 KiB.
    pub const DEFAULT_MAX_LENGTH: usize = 64 * 1024;

    /// A codec for frames that end at `terminator`.
    pub fn new(terminator: impl Into<Terminator>) -> Self {
        TerminatorCodec {
            terminator: terminator.into(),
            max_length: Self::DEFAULT_MAX_LENGTH,
            streaming: false,
            keep_terminator: false,
            encode_terminator: Terminator::None,
            progress: Progress::default(),
            skip: None,
            current: Current::default(),
            ended_by: EndedBy::Nothing,
            earlier: Terminator::None,
        }
    }

    /// Sets the terminator, builder-style.
    #[must_use]
    pub fn with_terminator(mut self, terminator: impl Into<Terminator>) -> Self {
        self.set_terminator(terminator);
        self
    }

    /// Sets the limit in bytes, builder-style.
    #[must_use]
    pub fn with_max_length(mut self, max_length: usize) -> Self {
        self.set_max_length(max_length);
        self
    }

    /// Sets streaming mode, builder-style.
    #[must_use]
    pub fn with_streaming(mut self, streaming: bool) -> Self {
        self.set_streaming(streaming);
        self
    }

    /// Sets whether terminators are kept, builder-style.
    #[must_use]
    pub fn with_keep_terminator(mut self, keep: bool) -> Self {
        self.set_keep_terminator(keep);
        self
    }

    /// Sets what is appended when encoding, builder-style.
    #[must_use]
    pub fn with_encode_terminator(mut self, terminator: impl Into<Terminator>) -> Self {
        self.set_encode_terminator(terminator);
        self
    }

    /// Changes the terminator, from the first byte not yet delivered on.
    ///
    /// What an over-long frame still has to skip is skipped under the old one
    /// first. Setting the same one again does not begin the search anew.
    // Always: a terminator that was just made is in registers, and passed on in
    // memory it would have to be loaded before it is stored.
    #[inline(always)]
    pub fn set_terminator(&mut self, terminator: impl Into<Terminator>) {
        let terminator = terminator.into();
        if self.progress.is_fresh() {
            self.replace_terminator(terminator);
        } else {
            self.set_terminator_midway(terminator);
        }
        if tracing::enabled!(target: "asynchat", tracing::Level::TRACE) {
            self.tell_terminator();
        }
    }

    /// Part of what is there was searched for another.
    #[inline(never)]
    fn set_terminator_midway(&mut self, terminator: Terminator) {
        if self.skip.is_none() {
            if terminator == self.terminator {
                return;
            }
            self.progress.reset();
        }
        self.replace_terminator(terminator);
    }

    #[cold]
    fn tell_terminator(&self) {
        tracing::trace!(target: "asynchat", terminator = ?self.terminator, "terminator set");
    }

    /// Sets the most bytes of content a frame may have in whole mode, the
    /// terminator not counted; `usize::MAX` for no limit.
    pub fn set_max_length(&mut self, max_length: usize) {
        self.max_length = max_length;
    }

    /// Sets whether frames come in parts, as they arrive.
    pub fn set_streaming(&mut self, streaming: bool) {
        self.streaming = streaming;
    }

    /// Sets whether the terminator stays at the end of a complete frame.
    pub fn set_keep_terminator(&mut self, keep: bool) {
        self.keep_terminator = keep;
    }

    /// Sets what is appended to each encoded item: a byte string, or of a set
    /// the first. A count and `None` (the default) append nothing.
    ///
    /// `line()` appends CR LF, and refuses a bare LF as well: right for a peer
    /// that takes both for the end of a line.
    ///
    /// Content is refused unless it reads back as exactly one frame, so do not
    /// put a member first that another member ends before its own end (`"\n\n"`
    /// before `"\n"`): nothing can be encoded then.
    pub fn set_encode_terminator(&mut self, terminator: impl Into<Terminator>) {
        self.encode_terminator = terminator.into();
    }

    /// The terminator in force; of a running count, what remains.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        &self.terminator
    }

    /// The most bytes of content a frame may have in whole mode.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Whether frames come in parts, as they arrive.
    #[must_use]
    pub fn streaming(&self) -> bool {
        self.streaming
    }

    /// Whether the terminator stays at the end of a complete frame.
    #[must_use]
    pub fn keep_terminator(&self) -> bool {
        self.keep_terminator
    }

    /// What is appended to each encoded item.
    #[must_use]
    pub fn encode_terminator(&self) -> &Terminator {
        &self.encode_terminator
    }

    /// The byte string that ended the last frame handed out: empty if that
    /// was ended by a count, or was a `Partial`.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        match self.ended_by {
            EndedBy::Nothing => b"",
            EndedBy::Current(member) => self.terminator.member(member),
            EndedBy::Earlier(member) => self.earlier.member(member),
        }
    }

    /// Whether the rest of an over-long or discarded frame is being skipped.
    #[must_use]
    pub fn is_skipping(&self) -> bool {
        self.skip.is_some()
    }

    /// Whether part of a frame has been delivered, and its end has not.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.current.delivered
    }

    /// Notes that the current frame has begun; gives whether that was known.
    pub(crate) fn note_frame(&mut self) -> bool {
        std::mem::replace(&mut self.current.noted, true)
    }

    /// Takes the next frame off the front of `src`, without copying.
    ///
    /// The frame borrows `src`, not the codec: change the terminator between
    /// frames as you like. `None` means that `src` holds no further frame.
    /// What is then left in it must come again, in front of the bytes that
    /// arrive next; do not put other bytes in its place.
    ///
    /// ```
    /// use asynchat::{FrameRef, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new("\n");
    /// let mut src = &b"one\ntwo\nthr"[..];
    /// assert_eq!(codec.decode_slice(&mut src)?, Some(FrameRef::Complete(b"one")));
    /// assert_eq!(codec.decode_slice(&mut src)?, Some(FrameRef::Complete(b"two")));
    /// assert_eq!(codec.decode_slice(&mut src)?, None);
    /// assert_eq!(src, b"thr");
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::FrameTooLong`]; call again to go on behind that frame.
    // Always: a call would cost as much as the frame.
    #[inline(always)]
    pub fn decode_slice<'b>(&mut self, src: &mut &'b [u8]) -> Result<Option<FrameRef<'b>>, Error> {
        let plain = self.cut_plain(src).map(|it| (src.get(..it.start), src.get(it.end..)));
        if let Some((Some(frame), Some(rest))) = plain {
            *src = rest;
            return Ok(Some(FrameRef::Complete(frame)));
        }
        self.decode_slice_unusual(src)
    }

    /// What is not the plain case: apart, so that the plain one is inlined.
    #[inline(never)]
    fn decode_slice_unusual<'b>(
        &mut self,
        src: &mut &'b [u8],
    ) -> Result<Option<FrameRef<'b>>, Error> {
        let (skip, span) = self.span_unusual(src);
        *src = src.get(skip..).unwrap_or_default();
        Ok(span?.map(|span| span.take_slice(src)))
    }

    /// The same when no more input will come: what is left at the end is
    /// handed out as one `Partial`, or dropped if it was being skipped.
    ///
    /// # Errors
    ///
    /// [`Error::FrameTooLong`]; call again to go on behind that frame.
    pub fn decode_slice_eof<'b>(
        &mut self,
        src: &mut &'b [u8],
    ) -> Result<Option<FrameRef<'b>>, Error> {
        if let Some(frame) = self.decode_slice(src)? {
            return Ok(Some(frame));
        }
        let rest = std::mem::take(src);
        Ok(self.end(rest.len()).then_some(FrameRef::Partial(rest)))
    }

    /// Like `next_span`, but in streaming mode: without a terminator, the end of
    /// input is the end of the frame.
    pub(crate) fn next_part(
        &mut self,
        src: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Span>, Error> {
        let is_last = eof && self.skip.is_none() && self.terminator == Terminator::None;
        let span = self.next_span_as(true, src, eof)?;
        if span.is_none() && is_last {
            self.ended_by = EndedBy::Nothing;
            return Ok(Some(Span::whole(0)));
        }
        Ok(span)
    }

    /// Like `next_span`, but in this mode.
    fn next_span_as(
        &mut self,
        streaming: bool,
        src: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Span>, Error> {
        let set = std::mem::replace(&mut self.streaming, streaming);
        let span = self.next_span(src, eof);
        self.streaming = set;
        span
    }

    /// Like `next_span`, but always whole: without a terminator, everything up to
    /// the end of input is one frame.
    pub(crate) fn next_whole(
        &mut self,
        max_length: usize,
        src: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Span>, Error> {
        while self.skip.is_some() {
            let Cut::Skip(n) = self.cut_skip(src) else { break };
            src.advance(n.min(src.len()));
        }
        if self.skip.is_some() || self.terminator != Terminator::None {
            let set = std::mem::replace(&mut self.max_length, max_length);
            let span = self.next_span_as(false, src, eof);
            self.max_length = set;
            return span;
        }
        if src.len() > max_length {
            src.clear();
            self.progress.reset();
            self.begin_skip(Terminator::None);
            return Err(too_long(max_length));
        }
        Ok(eof.then(|| {
            self.ended_by = EndedBy::Nothing;
            Span::whole(src.len())
        }))
    }

    /// Drops the whole frames at the front of `src`, and goes on to skip the
    /// unfinished one, if any: gives how many bytes to drop.
    pub(crate) fn discard(&mut self, src: &[u8]) -> usize {
        if src.is_empty() && !self.current.delivered {
            // A count that waits for its first byte is not unfinished.
            return 0;
        }
        if let EndedBy::Current(member) = self.ended_by {
            self.earlier = self.terminator.clone();
            self.ended_by = EndedBy::Earlier(member);
        }
        // What is not handed out does not change what was.
        let ended_by = (self.ended_by, self.earlier.clone());
        let mut rest = src;
        while self.skip.is_some() {
            let Cut::Skip(n) = self.cut_skip(rest) else { break };
            rest = rest.get(n..).unwrap_or_default();
        }
        // An over-long frame is dropped like the others.
        while !rest.is_empty() && !matches!(self.decode_slice(&mut rest), Ok(None)) {}
        let unfinished = self.current.delivered || !rest.is_empty();
        if unfinished && self.skip.is_none() && self.terminator != Terminator::None {
            let terminator = self.terminator.clone();
            if let Terminator::Count(_) = terminator {
                self.replace_terminator(Terminator::None);
            }
            self.begin_skip(terminator);
            while let Cut::Skip(n) = self.cut_skip(rest) {
                rest = rest.get(n..).unwrap_or_default();
            }
        }
        self.current.delivered = false;
        self.current.noted &= self.skip.is_some();
        (self.ended_by, self.earlier) = ended_by;
        src.len() - rest.len()
    }

    /// What to look for if nothing is unusual, as it is for nearly all frames.
    #[inline(always)]
    fn plain_terminator(&self) -> Option<Short> {
        if self.skip.is_some() || self.keep_terminator || !self.progress.is_fresh() {
            return None;
        }
        self.terminator.short()
    }

    /// How to cut whole frames if nothing is unusual. It holds until anything is
    /// called that changes the codec.
    #[inline(always)]
    pub(crate) fn plain(&self) -> Option<Plain> {
        if self.streaming {
            return None;
        }
        let short = self.plain_terminator()?;
        Some(Plain { short, max_length: self.max_length, progress: self.progress })
    }

    /// That a frame was cut with `plain`, whose terminator was this member.
    #[inline(always)]
    pub(crate) fn note_plain(&mut self, member: usize) {
        self.current = Current::default();
        self.ended_by = EndedBy::Current(member);
    }

    /// That `plain` found none.
    #[inline(always)]
    pub(crate) fn resume(&mut self, plain: Plain) {
        self.progress = plain.progress;
    }

    /// The same for one frame, in place: to make a `Plain` costs as much as that.
    #[inline(always)]
    fn cut_plain(&mut self, src: &[u8]) -> Option<Found> {
        let found = self.plain_terminator()?.find(src, &mut self.progress)?;
        if found.start > self.max_length {
            self.progress.skip_to(found.start);
            return None;
        }
        self.note_plain(found.member);
        Some(found)
    }

    /// The next frame, if it is there and nothing is unusual.
    #[inline(always)]
    pub(crate) fn plain_span(&mut self, src: &[u8]) -> Option<Span> {
        let found = self.cut_plain(src)?;
        Some(Span { consume: found.end, len: found.start, is_complete: true })
    }

    /// The next frame. What is to be skipped before it is gone from `src`; with
    /// `eof` nothing will come behind `src`, and what is left over is a part.
    #[inline(always)]
    pub(crate) fn next_span(
        &mut self,
        src: &mut BytesMut,
        eof: bool,
    ) -> Result<Option<Span>, Error> {
        match self.plain_span(src) {
            Some(span) => Ok(Some(span)),
            None => self.next_span_unusual(src, eof),
        }
    }

    #[inline(never)]
    fn next_span_unusual(&mut self, src: &mut BytesMut, eof: bool) -> Result<Option<Span>, Error> {
        let (skip, span) = self.span_unusual(src);
        src.advance(skip.min(src.len()));
        let span = span?;
        if span.is_some() || !eof {
            return Ok(span);
        }
        if self.end(src.len()) {
            return Ok(Some(Span::part(src.len())));
        }
        src.clear();
        Ok(None)
    }

    /// How many bytes to skip first, and the next frame behind them.
    fn span_unusual(&mut self, src: &[u8]) -> (usize, Result<Option<Span>, Error>) {
        let mut skip = 0;
        loop {
            match self.cut(src.get(skip..).unwrap_or_default()) {
                Cut::Skip(n) => skip += n,
                Cut::TooLong(n) => return (skip + n, Err(too_long(self.max_length))),
                Cut::Frame(span) => return (skip, Ok(Some(span))),
                Cut::Wait => return (skip, Ok(None)),
            }
        }
    }

    /// Decides about the undelivered bytes, all of which are in `src`.
    #[inline(always)]
    fn cut(&mut self, src: &[u8]) -> Cut {
        if self.skip.is_some() {
            return self.cut_skip(src);
        }
        if let Terminator::Count(n) = self.terminator {
            return self.cut_count(src, n);
        }
        let Some(found) = self.terminator.find(src, &mut self.progress) else {
            return self.cut_unfinished();
        };
        let Found { start: len, end: consume, member } = found;
        self.progress.reset();
        self.current = Current::default();
        if len > self.max_length && !self.streaming {
            return Cut::TooLong(consume);
        }
        self.ended_by = EndedBy::Current(member);
        let len = if self.keep_terminator { consume } else { len };
        Cut::Frame(Span { consume, len, is_complete: true })
    }

    /// The terminator is not there yet.
    #[inline(never)]
    fn cut_unfinished(&mut self) -> Cut {
        let from = self.progress.from;
        if self.streaming || self.terminator == Terminator::None {
            self.progress.from = 0;
            return self.partial(from);
        }
        if from > self.max_length {
            self.begin_skip(self.terminator.clone());
            self.progress.from = 0;
            return Cut::TooLong(from);
        }
        Cut::Wait
    }

    #[inline(never)]
    fn cut_count(&mut self, src: &[u8], n: u64) -> Cut {
        let len = usize::try_from(n).unwrap_or(usize::MAX);
        if !self.streaming && (len > self.max_length || len as u64 != n) {
            self.replace_terminator(Terminator::None);
            self.begin_skip(Terminator::Count(n));
            return Cut::TooLong(0);
        }
        if src.len() as u64 >= n {
            self.replace_terminator(Terminator::None);
            self.current = Current::default();
            self.ended_by = EndedBy::Nothing;
            return Cut::Frame(Span::whole(len));
        }
        if !self.streaming {
            return Cut::Wait;
        }
        self.terminator = Terminator::Count(n - src.len() as u64);
        self.partial(src.len())
    }

    /// The rest of a skipped frame.
    #[cold]
    fn cut_skip(&mut self, src: &[u8]) -> Cut {
        let Some(skip) = self.skip.take() else { return Cut::Wait };
        let dropped = match skip {
            Terminator::Count(n) if n <= src.len() as u64 => n as usize,
            Terminator::Count(n) => {
                self.skip = Some(Terminator::Count(n - src.len() as u64));
                src.len()
            }
            skip => match skip.find(src, &mut self.progress) {
                Some(found) => found.end,
                None => {
                    let from = self.progress.from;
                    self.progress.from = 0;
                    self.skip = Some(skip);
                    return if from == 0 { Cut::Wait } else { Cut::Skip(from) };
                }
            },
        };
        match self.skip {
            Some(_) if dropped == 0 => return Cut::Wait,
            Some(_) => {}
            None => {
                self.progress.reset();
                self.current = Current::default();
            }
        }
        Cut::Skip(dropped)
    }

    fn partial(&mut self, len: usize) -> Cut {
        if len == 0 {
            return Cut::Wait;
        }
        // Without a terminator there is no frame to be in.
        let in_frame = self.terminator != Terminator::None;
        self.current = Current { delivered: in_frame, noted: in_frame && self.current.noted };
        self.ended_by = EndedBy::Nothing;
        Cut::Frame(Span::part(len))
    }

    /// Input has ended with `left` bytes undelivered: whether they are handed
    /// out.
    fn end(&mut self, left: usize) -> bool {
        self.progress.reset();
        self.current = Current::default();
        let skipped = self.skip.take().is_some();
        if left == 0 || skipped {
            return false;
        }
        if let Terminator::Count(n) = self.terminator {
            self.terminator = Terminator::Count(n.saturating_sub(left as u64));
        }
        self.ended_by = EndedBy::Nothing;
        true
    }

    fn begin_skip(&mut self, terminator: Terminator) {
        self.skip = Some(terminator);
        self.current.delivered = false;
    }

    /// Replaces the terminator, but not what `ended_by` says.
    #[inline(always)]
    fn replace_terminator(&mut self, terminator: Terminator) {
        if let EndedBy::Current(member) = self.ended_by {
            self.earlier = std::mem::replace(&mut self.terminator, terminator);
            self.ended_by = EndedBy::Earlier(member);
        } else {
            // Not `replace`: what was only just stored is not loaded whole.
            self.terminator = terminator;
        }
    }

    /// What to append to `content` so that it reads back as one frame.
    pub(crate) fn ending_for(&self, content: &[u8]) -> Result<&[u8], Error> {
        let terminator = &self.encode_terminator;
        let ending = terminator.member(0);
        if ending.is_empty() {
            return Ok(ending);
        }
        let mut progress = Progress::default();
        if terminator.find(content, &mut progress).is_some() {
            return Err(Error::TerminatorInContent);
        }
        // None lies in the content; one could still lie across its end.
        let held = content.get(progress.from..).unwrap_or_default();
        let owned;
        let edge = if held.is_empty() {
            ending
        } else {
            owned = [held, ending].concat();
            owned.as_slice()
        };
        match terminator.find(edge, &mut Progress::default()) {
            // Of those that start there the whole ending, not a shorter one.
            Some(found) if found.start == held.len() && found.end == edge.len() => Ok(ending),
            _ => Err(Error::TerminatorInContent),
        }
    }
}

#[cold]
fn too_long(limit: usize) -> Error {
    tracing::debug!(target: "asynchat", limit, "frame too long");
    Error::FrameTooLong { limit }
}

impl Default for TerminatorCodec {
    /// No terminator: everything is handed out as it arrives.
    fn default() -> Self {
        Self::new(Terminator::None)
    }
}

impl Decoder for TerminatorCodec {
    type Item = Frame;
    type Error = Error;

    /// Takes the next frame off `src`, without copying.
    // Always: a call would cost as much as the frame.
    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        Ok(self.next_span(src, false)?.map(|span| span.take(src)))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        Ok(self.next_span(src, true)?.map(|span| span.take(src)))
    }
}

impl Encoder<Bytes> for TerminatorCodec {
    type Error = Error;

    /// Writes `item` as it is, and behind it the `encode_terminator`, if set.
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if a reader with that terminator would
    /// not read back exactly `item`, be it that the terminator lies in it or
    /// across its end. Nothing is written then.
    fn encode(&mut self, item: Bytes, dst: &mut BytesMut) -> Result<(), Error> {
        let ending = self.ending_for(&item)?;
        dst.reserve(item.len() + ending.len());
        dst.put(item);
        dst.put_slice(ending);
        Ok(())
    }
}
