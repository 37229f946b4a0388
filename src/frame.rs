use bytes::{Bytes, BytesMut};
use std::fmt;

/// One piece of input, owned.
///
/// `Frame` deliberately does not implement `Deref`: callers must check completeness, or a
/// line that was cut off by the end of input runs as a command by accident.
///
/// ```
/// use asynchat::Frame;
///
/// let frame = Frame::Partial("QUI".into());
/// assert_eq!(frame.data(), b"QUI");
/// assert_eq!(frame.into_complete(), None); // not a command
/// ```
///
/// The bytes are a view of the block they were read into. If you keep a frame, its whole
/// block stays in memory: one read, and the longest frame of the same block.
/// [`detach`](Frame::detach) frames that you keep.
// `BytesMut`, for changes in place: `Bytes::try_into_mut` fails on every frame, because the
// read buffer shares its block.
#[derive(PartialEq, Eq, Hash)]
pub enum Frame {
    /// A frame whose end was found, or in streaming mode the rest of it. It may be empty.
    Complete(BytesMut),
    /// A part of a frame whose end has not arrived. It is never empty.
    ///
    /// Parts come in streaming mode, without a terminator, and at the end of input.
    Partial(BytesMut),
}

impl Frame {
    /// Returns the bytes, complete or not.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match self {
            Frame::Complete(data) | Frame::Partial(data) => data,
        }
    }

    /// Returns the bytes, complete or not, without copying.
    #[inline(always)]
    #[must_use]
    pub fn into_data(self) -> Bytes {
        match self {
            Frame::Complete(data) => data.freeze(),
            Frame::Partial(data) => data.freeze(),
        }
    }

    /// Returns the bytes, complete or not, to be changed in place, without copying.
    ///
    /// ```
    /// use asynchat::Frame;
    ///
    /// let mut data = Frame::Complete("hello".into()).into_mut();
    /// data.make_ascii_uppercase();
    /// assert_eq!(data, "HELLO");
    /// ```
    #[inline]
    #[must_use]
    pub fn into_mut(self) -> BytesMut {
        match self {
            Frame::Complete(data) | Frame::Partial(data) => data,
        }
    }

    /// Returns the bytes if the frame is complete, and otherwise `None`.
    ///
    /// ```
    /// use asynchat::Frame;
    ///
    /// assert!(Frame::Complete("QUIT".into()).into_complete().is_some());
    /// assert!(Frame::Partial("QUI".into()).into_complete().is_none());
    /// ```
    #[inline]
    #[must_use]
    pub fn into_complete(self) -> Option<Bytes> {
        match self {
            Frame::Complete(data) => Some(data.freeze()),
            Frame::Partial(_) => None,
        }
    }

    /// Returns `true` if the end of the frame has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Frame::Complete(_))
    }

    /// Copies the bytes into memory of their own.
    ///
    /// A frame that is kept then no longer keeps the block it was read into.
    ///
    /// ```
    /// use asynchat::Frame;
    ///
    /// let kept = Frame::Complete("hello".into()).detach();
    /// assert_eq!(kept, Frame::Complete("hello".into()));
    /// ```
    #[must_use]
    pub fn detach(self) -> Frame {
        match self {
            Frame::Complete(data) => Frame::Complete(data.as_ref().into()),
            Frame::Partial(data) => Frame::Partial(data.as_ref().into()),
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
/// [`TerminatorCodec::decode_slice`] returns it. The variants mean the same as those
/// of [`Frame`].
///
/// [`TerminatorCodec::decode_slice`]: crate::TerminatorCodec::decode_slice
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameRef<'b> {
    /// The frame, or in streaming mode the rest of it.
    Complete(&'b [u8]),
    /// A part of a frame whose end has not arrived. It is never empty.
    Partial(&'b [u8]),
}

impl<'b> FrameRef<'b> {
    /// Returns the bytes, complete or not.
    #[must_use]
    pub fn data(self) -> &'b [u8] {
        match self {
            FrameRef::Complete(data) | FrameRef::Partial(data) => data,
        }
    }

    /// Returns the bytes if the frame is complete, and otherwise `None`.
    #[inline]
    #[must_use]
    pub fn into_complete(self) -> Option<&'b [u8]> {
        match self {
            FrameRef::Complete(data) => Some(data),
            FrameRef::Partial(_) => None,
        }
    }

    /// Returns `true` if the end of the frame has arrived.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, FrameRef::Complete(_))
    }

    /// Copies the bytes into an owned [`Frame`].
    ///
    /// ```
    /// use asynchat::{Frame, FrameRef};
    ///
    /// assert_eq!(FrameRef::Partial(b"hel").into_owned(), Frame::Partial("hel".into()));
    /// ```
    #[must_use]
    pub fn into_owned(self) -> Frame {
        match self {
            FrameRef::Complete(data) => Frame::Complete(data.into()),
            FrameRef::Partial(data) => Frame::Partial(data.into()),
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
