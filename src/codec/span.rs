use crate::{Frame, FrameRef};
use bytes::BytesMut;

/// The place of the next frame in the undelivered bytes. `consume` bytes are taken off the front.
/// The first `len` of them are the frame, or a part of it.
///
/// The caller must take it exactly once, because the codec has already moved past it.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// At most the number of undelivered bytes.
    pub(crate) consume: usize,
    /// At most `consume`.
    pub(crate) len: usize,
    pub(crate) is_complete: bool,
}

impl Span {
    pub(crate) fn complete(len: usize) -> Self {
        Span { consume: len, len, is_complete: true }
    }

    pub(crate) fn partial(len: usize) -> Self {
        Span { consume: len, len, is_complete: false }
    }

    /// Takes the frame off the front of `src`.
    // The frame is made here and nowhere before, in place: a frame that is returned
    // through memory is stored word by word and loaded in larger pieces. Such a load
    // waits for the stores, which is half the time of a frame. For the same reason an empty
    // frame holds its block as any other does: a branch for it costs as much.
    #[inline(always)]
    pub(crate) fn take(self, src: &mut BytesMut) -> Frame {
        let mut data = src.split_to(self.consume.min(src.len()));
        data.truncate(self.len);
        if self.is_complete { Frame::Complete(data) } else { Frame::Partial(data) }
    }

    /// Takes the bytes of the frame, complete or not.
    #[inline(always)]
    pub(crate) fn take_data(self, src: &mut BytesMut) -> BytesMut {
        debug_assert!(self.len <= self.consume && self.consume <= src.len());
        let mut data = src.split_to(self.consume.min(src.len()));
        data.truncate(self.len);
        data
    }

    /// Takes the frame off the front of a slice.
    #[inline(always)]
    pub(crate) fn take_slice<'b>(self, src: &mut &'b [u8]) -> FrameRef<'b> {
        debug_assert!(self.len <= self.consume && self.consume <= src.len());
        // A branch, not a choice of values: the next frame does not wait for it.
        let (Some(data), Some(rest)) = (src.get(..self.len), src.get(self.consume..)) else {
            return FrameRef::Partial(std::mem::take(src));
        };
        *src = rest;
        if self.is_complete { FrameRef::Complete(data) } else { FrameRef::Partial(data) }
    }
}
