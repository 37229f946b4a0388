use bytes::{Bytes, BytesMut};
use std::fmt;

/// A frame of the input, or a part of one, that owns its bytes.
///
/// `Frame` deliberately does not implement `Deref`, so that callers check completeness. Otherwise a
/// line that the end of input has cut off could run as a command.
///
/// ```
/// use asynchat::Frame;
///
/// let frame = Frame::Partial("QUI".into());
/// assert_eq!(frame.data(), b"QUI");
/// assert_eq!(frame.into_complete(), None); // not a command
/// ```
///
/// The bytes are a view of the block that they were read into, which stays in memory as long as the
/// frame. Such a block holds one read, and the longest frame that shares it. Call
/// [`detach`](Frame::detach) on each frame that you keep.
// `BytesMut`, for changes in place: `Bytes::try_into_mut` fails on every frame, because the
// read buffer shares its block.
#[derive(PartialEq, Eq, Hash)]
pub enum Frame {
    /// A complete frame, or in streaming mode the last part of one. It may be empty.
    Complete(BytesMut),
    /// A part of a frame whose end has not arrived. It is never empty.
    ///
    /// Parts are returned in streaming mode, without a terminator, and at the end of input.
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

    /// Returns the bytes, complete or not, as a buffer that can be changed in place, without
    /// copying.
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
    /// The frame then no longer keeps the block that it was read into in memory.
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

/// A frame of the input, or a part of one, that borrows the caller's buffer.
///
/// [`TerminatorCodec::decode_slice`] returns it. Its variants have the same meaning as those of
/// [`Frame`].
///
/// [`TerminatorCodec::decode_slice`]: crate::TerminatorCodec::decode_slice
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameRef<'b> {
    /// A complete frame, or in streaming mode the last part of one. It may be empty.
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
