//! `TerminatorCodec`: its settings, and its methods for tokio-util and for slices.

mod cut;
mod fast;
mod front;
mod span;

pub(crate) use self::cut::{Cutter, ReadMode};
pub(crate) use self::fast::{FastPath, Look, look_measured, look_short};
pub(crate) use self::span::Span;

use crate::terminator::{IntoTerminator, Progress};
use crate::{Error, Frame, FrameRef, Terminator};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Cuts a byte stream into frames at a terminator that can change at any time.
///
/// The codec performs no I/O. Use it in tokio-util's [`Framed`], [`FramedRead`] and
/// [`FramedWrite`], or call [`decode_slice`] on bytes that you own. A [`Channel`](crate::Channel)
/// does not have the [limits of `Framed`](#in-framed).
///
/// ```
/// use asynchat::{Frame, TerminatorCodec};
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
/// In *whole* mode, the default, each frame is returned as [`Complete`] when its end has arrived.
/// Without a terminator, data is returned as [`Partial`] as it arrives.
///
/// In [*streaming*](Self::set_streaming) mode, data is returned as `Partial` as it arrives, except
/// the longest suffix that could begin a terminator. When the end of the frame has arrived, the
/// remaining bytes are returned as `Complete`.
///
/// Frames (the `Partial`s joined with their `Complete`) and errors never depend on how the input
/// was split across reads. The terminator is stripped unless it is
/// [kept](Self::set_keep_terminator). If input ends within a frame, the remaining bytes are
/// returned as one `Partial`.
///
/// # Limits
///
/// If a frame in whole mode has more than [`max_length`](Self::set_max_length) bytes,
/// [`Error::FrameTooLong`] is returned once, as soon as that is certain. A count above the limit is
/// refused before any of its bytes arrives. The codec then skips the frame through its terminator,
/// even if you set another one meanwhile, and returns the next frame normally. Streaming mode and
/// [`Terminator::none`] have no limit, because they buffer no whole frame.
///
/// For a [`message`](Terminator::message), `max_length` limits head and body together. If the head
/// is longer than [`max_head`](Self::set_max_head), or cannot be read, the end of the message is
/// not known. [`Error::InvalidHead`] is then returned once, with nothing consumed, and the next
/// call drops all input.
///
/// Time is linear in the input, even if a peer sends one byte at a time. Each read examines at most
/// the length of a terminator again.
///
/// # In `Framed`
///
/// `Framed` decides when to call the codec. This leads to two limits (tokio-util 0.7.20):
///
/// - After [`decode`](Decoder::decode) has returned `None`, `Framed` does not call it again until
///   new bytes arrive. Until then, a terminator that you set through `codec_mut()` does not apply
///   to the buffered bytes. If input has ended, it never does. Set the terminator right after a
///   frame.
/// - After an error `Framed` returns `None` once and then waits for new bytes, even if
///   further frames are buffered.
///
/// [`Framed`]: tokio_util::codec::Framed
/// [`FramedRead`]: tokio_util::codec::FramedRead
/// [`FramedWrite`]: tokio_util::codec::FramedWrite
/// [`decode_slice`]: Self::decode_slice
/// [`Complete`]: Frame::Complete
/// [`Partial`]: Frame::Partial
#[derive(Clone, Debug)]
pub struct TerminatorCodec {
    pub(crate) cutter: Cutter,
    encode_terminator: Terminator,
}

impl TerminatorCodec {
    /// The default `max_length`: 64 KiB.
    pub const DEFAULT_MAX_LENGTH: usize = 64 * 1024;

    /// Creates a codec for frames that end at `terminator`.
    ///
    /// ```
    /// use asynchat::{FrameRef, Terminator, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Terminator::line()).with_max_length(1000);
    /// let mut input = &b"one\r\ntwo\n"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"one")));
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"two")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    pub fn new(terminator: impl IntoTerminator) -> Self {
        TerminatorCodec {
            cutter: Cutter::new(terminator.into_terminator(), Self::DEFAULT_MAX_LENGTH),
            encode_terminator: Terminator::none(),
        }
    }

    /// Sets the terminator, builder-style.
    #[must_use]
    pub fn with_terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.set_terminator(terminator);
        self
    }

    /// Sets the limit in bytes, builder-style.
    #[must_use]
    pub fn with_max_length(mut self, max_length: usize) -> Self {
        self.set_max_length(max_length);
        self
    }

    /// Sets the limit of a head in bytes, builder-style.
    #[must_use]
    pub fn with_max_head(mut self, max_head: usize) -> Self {
        self.set_max_head(max_head);
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

    /// Sets the terminator that is appended when encoding, builder-style.
    #[must_use]
    pub fn with_encode_terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.set_encode_terminator(terminator);
        self
    }

    /// Sets the terminator, starting with the first byte not yet delivered.
    ///
    /// The rest of an over-long frame is still skipped through its own terminator. Setting an
    /// equal terminator again does not restart the search.
    ///
    /// ```
    /// use asynchat::{FrameRef, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new("\r\n");
    /// let mut input = &b"5\r\nhello"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"5")));
    /// codec.set_terminator(5);
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"hello")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    // Always inlined: a new terminator is in registers. Passed on in memory it would
    // have to be loaded before it is stored.
    #[inline(always)]
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.cutter.set_terminator(terminator.into_terminator());
        if tracing::enabled!(target: "asynchat", tracing::Level::TRACE) {
            self.trace_terminator();
        }
    }

    /// Sets the maximum length of a frame in whole mode, in bytes, without the terminator.
    ///
    /// `usize::MAX` means no limit, but a length that exceeds `usize` is still refused.
    pub fn set_max_length(&mut self, max_length: usize) {
        self.cutter.max_length = max_length;
    }

    /// Sets the maximum length of the head of a [`message`](Terminator::message), in bytes,
    /// including its terminator. Default: 64 KiB.
    ///
    /// This limit also applies in streaming mode. A smaller `max_length` limits the head, too.
    pub fn set_max_head(&mut self, max_head: usize) {
        // The length of a head has 32 bits.
        self.cutter.max_head = max_head.min(u32::MAX as usize);
    }

    /// Sets whether frames are returned in parts, as they arrive.
    ///
    /// ```
    /// use asynchat::{FrameRef, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new("\n");
    /// codec.set_streaming(true);
    /// let mut input = &b"hel"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Partial(b"hel")));
    /// let mut input = &b"lo\n"[..];
    /// assert_eq!(codec.decode_slice(&mut input)?, Some(FrameRef::Complete(b"lo")));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    pub fn set_streaming(&mut self, streaming: bool) {
        self.cutter.streaming = streaming;
    }

    /// Sets whether the terminator stays at the end of a complete frame.
    pub fn set_keep_terminator(&mut self, keep: bool) {
        self.cutter.keep_terminator = keep;
    }

    /// Sets the terminator that is appended to each encoded item: a byte string, or the first
    /// of a set.
    ///
    /// With any other terminator, such as [`Terminator::none`] (the default), the encoder appends
    /// nothing and checks nothing.
    ///
    /// With [`Terminator::line`] the encoder appends CR LF, and also refuses content with a bare
    /// LF. Use it for a peer that accepts both as the end of a line.
    ///
    /// The encoder refuses content that would not be read back as exactly one frame. The first
    /// member of a set must not contain another member that ends earlier, as `"\n\n"` contains
    /// `"\n"`. With such a set, nothing can be encoded.
    ///
    /// ```
    /// use asynchat::{Error, Terminator, TerminatorCodec};
    /// use bytes::{Bytes, BytesMut};
    /// use tokio_util::codec::Encoder;
    ///
    /// let mut codec = TerminatorCodec::default().with_encode_terminator(Terminator::crlf());
    /// let mut output = BytesMut::new();
    /// codec.encode(Bytes::from("NOOP"), &mut output)?;
    /// assert_eq!(output, "NOOP\r\n");
    /// let two_lines = codec.encode(Bytes::from("NOOP\r\nQUIT"), &mut output);
    /// assert!(matches!(two_lines, Err(Error::TerminatorInContent)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn set_encode_terminator(&mut self, terminator: impl IntoTerminator) {
        self.encode_terminator = terminator.into_terminator();
    }

    /// Returns the current terminator. For a count, this is the number of bytes
    /// remaining.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        &self.cutter.terminator
    }

    /// Returns the maximum length of a frame in whole mode, in bytes, without the terminator.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.cutter.max_length
    }

    /// Returns the maximum length of the head of a message, in bytes.
    #[must_use]
    pub fn max_head(&self) -> usize {
        self.cutter.max_head
    }

    /// Returns `true` if frames are returned in parts, as they arrive.
    #[must_use]
    pub fn streaming(&self) -> bool {
        self.cutter.streaming
    }

    /// Returns `true` if the terminator stays at the end of a complete frame.
    #[must_use]
    pub fn keep_terminator(&self) -> bool {
        self.cutter.keep_terminator
    }

    /// Returns the terminator that is appended to each encoded item.
    #[must_use]
    pub fn encode_terminator(&self) -> &Terminator {
        &self.encode_terminator
    }

    /// Returns the byte string that ended the last frame.
    ///
    /// It is empty if a length ended the frame, or if the frame was a `Partial`.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.cutter.ended_by()
    }

    /// Returns the length of the head in the last frame, or part of a frame, if it is a
    /// [`message`](Terminator::message).
    ///
    /// It is 0 for other terminators, for later parts of a message, and for a head that the end of
    /// input cut off. It describes only the last frame. After `split`, `forward` or `ready_chunks`,
    /// the codec may be ahead of the frame that you process.
    ///
    /// ```
    /// use asynchat::{Length, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Length::u16_be());
    /// let message = codec.decode_slice(&mut &b"\0\x05hello"[..])?.unwrap();
    /// let (head, body) = message.data().split_at(codec.head_len());
    /// assert_eq!((head, body), (&b"\0\x05"[..], &b"hello"[..]));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.cutter.head_len()
    }

    /// Returns `true` if the rest of an over-long or discarded frame is being skipped.
    ///
    /// ```
    /// let mut codec = asynchat::TerminatorCodec::new("\n").with_max_length(3);
    /// let mut input = &b"too long"[..];
    /// assert!(codec.decode_slice(&mut input).is_err());
    /// assert!(codec.is_skipping());
    /// ```
    #[must_use]
    pub fn is_skipping(&self) -> bool {
        self.cutter.is_skipping()
    }

    /// Takes the next frame off the front of `src`, without copying.
    ///
    /// The frame borrows `src`, not the codec, so the terminator can be changed between frames.
    /// `None` means that `src` holds no further frame. Pass the bytes that are then left in `src`
    /// again, followed by the bytes that arrive next.
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
    /// - [`Error::FrameTooLong`] if a frame exceeds `max_length`. The next call continues after
    ///   that frame.
    /// - [`Error::InvalidHead`] if the head of a message is invalid. The next call drops all input.
    // Always inlined: a call would cost as much as the frame.
    #[inline(always)]
    pub fn decode_slice<'b>(&mut self, src: &mut &'b [u8]) -> Result<Option<FrameRef<'b>>, Error> {
        let found = self.cutter.find_fast(src);
        let found = found.map(|span| (src.get(..span.len), src.get(span.consume..)));
        if let Some((Some(frame), Some(rest))) = found {
            *src = rest;
            return Ok(Some(FrameRef::Complete(frame)));
        }
        self.decode_slice_general(src, false)
    }

    /// Takes the next frame off the front of `src` if no more input follows.
    ///
    /// An incomplete frame is returned as one `Partial`, or dropped if it was being skipped.
    ///
    /// ```
    /// use asynchat::{FrameRef, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new("\n");
    /// let mut src = &b"one\ntwo"[..];
    /// assert_eq!(codec.decode_slice_eof(&mut src)?, Some(FrameRef::Complete(b"one")));
    /// assert_eq!(codec.decode_slice_eof(&mut src)?, Some(FrameRef::Partial(b"two")));
    /// assert_eq!(codec.decode_slice_eof(&mut src)?, None);
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The same as [`decode_slice`](Self::decode_slice).
    pub fn decode_slice_eof<'b>(
        &mut self,
        src: &mut &'b [u8],
    ) -> Result<Option<FrameRef<'b>>, Error> {
        self.decode_slice_general(src, true)
    }

    #[inline(never)]
    fn decode_slice_general<'b>(
        &mut self,
        src: &mut &'b [u8],
        eof: bool,
    ) -> Result<Option<FrameRef<'b>>, Error> {
        *src = src.get(self.cutter.skip(src)..).unwrap_or_default();
        let (dropped, span) = self.cutter.cut(src, ReadMode::AsSet, eof);
        *src = src.get(dropped..).unwrap_or_default();
        Ok(span?.map(|span| span.take_slice(src)))
    }

    /// Not inlined: the rest of `decode` would be larger, and slower.
    #[inline(never)]
    fn decode_by_call(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if let Some(span) = self.cutter.find_by_call(src) {
            let mut frame = Ok(Some(Frame::Complete(src.split_to(span.consume))));
            if let Ok(Some(Frame::Complete(data))) = &mut frame {
                data.truncate(span.len);
            }
            return frame;
        }
        self.decode_general(src, false)
    }

    #[inline(never)]
    fn decode_general(&mut self, src: &mut BytesMut, eof: bool) -> Result<Option<Frame>, Error> {
        src.advance(self.cutter.skip(src).min(src.len()));
        let (dropped, span) = self.cutter.cut(src, ReadMode::AsSet, eof);
        src.advance(dropped.min(src.len()));
        Ok(span?.map(|span| span.take(src)))
    }

    #[cold]
    fn trace_terminator(&self) {
        tracing::trace!(target: "asynchat", terminator = ?self.cutter.terminator, "terminator set");
    }

    /// The bytes to append to `content` so that it reads back as one frame.
    pub(crate) fn ending_for(&self, content: &[u8]) -> Result<&[u8], Error> {
        let terminator = &self.encode_terminator;
        let ending = terminator.pattern(0);
        if ending.is_empty() {
            return Ok(ending);
        }
        let mut progress = Progress::default();
        if terminator.find(content, &mut progress).is_some() {
            return Err(Error::TerminatorInContent);
        }
        // The content has no terminator, but one could lie across its end.
        let partial = content.get(progress.from..).unwrap_or_default();
        let owned;
        let edge = if partial.is_empty() {
            ending
        } else {
            owned = [partial, ending].concat();
            owned.as_slice()
        };
        match terminator.find(edge, &mut Progress::default()) {
            // The whole ending, not a shorter member that begins there too: the reader would
            // see an empty frame after each.
            Some(found) if found.start == partial.len() && found.end == edge.len() => Ok(ending),
            _ => Err(Error::TerminatorInContent),
        }
    }
}

impl Default for TerminatorCodec {
    /// Creates a codec without a terminator: data is returned as it arrives.
    fn default() -> Self {
        Self::new(Terminator::none())
    }
}

impl Decoder for TerminatorCodec {
    type Item = Frame;
    type Error = Error;

    /// Takes the next frame off `src`, without copying.
    // Always inlined: a call would cost as much as the frame.
    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if let Some(span) = self.cutter.find_inline(src) {
            // Shortened in its place: what was just stored in parts is slow to move.
            let mut frame = Ok(Some(Frame::Complete(src.split_to(span.consume))));
            if let Ok(Some(Frame::Complete(data))) = &mut frame {
                data.truncate(span.len);
            }
            return frame;
        }
        self.decode_by_call(src)
    }

    /// Takes the next frame off `src` if no more input follows.
    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, Error> {
        self.decode_general(src, true)
    }
}

// `Bytes` alone: beside an `Encoder<&[u8]>`, `framed.send("x".into())` would not infer.
impl Encoder<Bytes> for TerminatorCodec {
    type Error = Error;

    /// Appends `item` to `dst` as it is, followed by the `encode_terminator`, if one is set.
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if a reader with that terminator would not read back
    /// exactly `item`, because the terminator occurs in it or across its end. Nothing is
    /// written then.
    fn encode(&mut self, item: Bytes, dst: &mut BytesMut) -> Result<(), Error> {
        let ending = self.ending_for(&item)?;
        dst.reserve(item.len() + ending.len());
        dst.put(item);
        dst.put_slice(ending);
        Ok(())
    }
}
