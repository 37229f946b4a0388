use bytes::Bytes;
use std::fmt;

/// One piece of input, owned.
///
/// There is no `Deref` to the bytes on purpose: whether a piece was complete
/// must be looked at, or a line that was cut off by the end of input runs as
/// a command by accident.
///
/// The bytes are a view of the block they were read into. That is what makes
/// them cheap, and it means that a frame of one byte which is *kept* can hold
/// a whole block in memory: a read, and the longest frame that was read into
/// the same block. [`detach`](Frame::detach) what you keep.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Frame {
    /// The terminator was found, or the count reached: this is the frame, or
    /// in streaming mode the rest of it. May be empty.
    Complete(Bytes),
    /// A part of a frame whose end has not come: in streaming mode, without
    /// a terminator, and at the end of input. Never empty.
    Partial(Bytes),
}

impl Frame {
    /// The bytes, complete or not.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Frame::Complete(data) | Frame::Partial(data) => data,
        }
    }

    /// The bytes, complete or not, without copying.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        match self {
            Frame::Complete(data) | Frame::Partial(data) => data,
        }
    }

    /// The bytes if the frame is complete.
    #[must_use]
    pub fn into_complete(self) -> Option<Bytes> {
        match self {
            Frame::Complete(data) => Some(data),
            Frame::Partial(_) => None,
        }
    }

    /// Whether the end of the frame was seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Frame::Complete(_))
    }

    /// Copies the bytes into memory of their own, so that keeping this frame
    /// does not keep the block it was read into.
    #[must_use]
    pub fn detach(self) -> Frame {
        match self {
            Frame::Complete(data) => Frame::Complete(Bytes::copy_from_slice(&data)),
            Frame::Partial(data) => Frame::Partial(Bytes::copy_from_slice(&data)),
        }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

/// One piece of input, borrowed from the caller's buffer.
///
/// What [`TerminatorCodec::decode_slice`] gives; the variants mean the same as
/// those of [`Frame`].
///
/// [`TerminatorCodec::decode_slice`]: crate::TerminatorCodec::decode_slice
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameRef<'b> {
    /// The frame, or in streaming mode the rest of it.
    Complete(&'b [u8]),
    /// A part of a frame whose end has not come. Never empty.
    Partial(&'b [u8]),
}

impl<'b> FrameRef<'b> {
    /// The bytes, complete or not.
    #[must_use]
    pub fn data(self) -> &'b [u8] {
        match self {
            FrameRef::Complete(data) | FrameRef::Partial(data) => data,
        }
    }

    /// The bytes if the frame is complete.
    #[must_use]
    pub fn into_complete(self) -> Option<&'b [u8]> {
        match self {
            FrameRef::Complete(data) => Some(data),
            FrameRef::Partial(_) => None,
        }
    }

    /// Whether the end of the frame was seen.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, FrameRef::Complete(_))
    }

    /// Copies the bytes into an owned [`Frame`].
    #[must_use]
    pub fn into_owned(self) -> Frame {
        match self {
            FrameRef::Complete(data) => Frame::Complete(Bytes::copy_from_slice(data)),
            FrameRef::Partial(data) => Frame::Partial(Bytes::copy_from_slice(data)),
        }
    }
}

impl AsRef<[u8]> for FrameRef<'_> {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

impl fmt::Debug for Frame {
    /// Shows the length, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, self.is_complete(), self.data().len())
    }
}

impl fmt::Debug for FrameRef<'_> {
    /// Shows the length, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, self.is_complete(), self.data().len())
    }
}

fn debug(f: &mut fmt::Formatter<'_>, complete: bool, len: usize) -> fmt::Result {
    let name = if complete { "Complete" } else { "Partial" };
    write!(f, "{name}({len} bytes)")
}
