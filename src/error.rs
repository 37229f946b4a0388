use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

/// An error of a channel or of the codec.
///
/// The [table of errors](crate::Channel#errors-and-their-order) lists the effect of each on input
/// and output. Only after [`FrameTooLong`](Error::FrameTooLong) does input continue by itself.
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    Io(io::Error),
    /// The peer sent a frame whose content is longer than `limit` bytes.
    ///
    /// If the terminator was a count, it is now [`none`](crate::Terminator::none), so set a
    /// terminator for the bytes that follow.
    #[non_exhaustive]
    FrameTooLong {
        /// The `max_length` that was exceeded, in bytes, without the terminator.
        limit: usize,
    },
    /// The head of a [`message`](crate::Terminator::message) is too long, or its length
    /// cannot be read, so that the end of the message is not known.
    ///
    /// Nothing is consumed, and no further input is returned, but the channel still sends output.
    /// Push a last message, and close. Afterwards `next` returns `None`, and `receive` returns
    /// [`Error::Closed`]. The reason is in an `Arc`, so a handler can both keep and return it.
    InvalidHead(Arc<dyn std::error::Error + Send + Sync>),
    /// The content would not be read back as one frame, because the terminator occurs in it or
    /// across its end.
    TerminatorInContent,
    /// Input ended before the frame that [`receive`](crate::Channel::receive) waited
    /// for was complete.
    #[non_exhaustive]
    UnexpectedEof {
        /// The bytes of the frame that had arrived. There are none if input ended between two
        /// frames.
        partial: Bytes,
    },
    /// A producer in the output queue failed. Output queued after it was not sent.
    Producer(io::Error),
    /// The write half is closed, or its failure was already reported.
    /// [`receive`](crate::Channel::receive) also returns this error after [`Error::InvalidHead`].
    Closed,
    /// [`Pusher::abort`](crate::Pusher::abort) ended the connection.
    Aborted,
    /// A limit of [`Timeouts`](crate::Timeouts) was exceeded.
    ///
    /// After [`Timeout::Frame`] and [`Timeout::Idle`], no further input is returned, but the
    /// channel still sends output. Push a last message, and close. Afterwards `next` returns
    /// `None`, and `receive` returns this error again. An unfinished frame stays in
    /// [`unread`](crate::Channel::unread). To resume input, call
    /// [`set_timeouts`](crate::Channel::set_timeouts), which restarts the time.
    ///
    /// [`Timeout::Write`] is a failure of the write half, like an error of the transport.
    Timeout(Timeout),
    /// The channel refused an upgrade because input was unread.
    ///
    /// The peer sent that input before the new transport began, so it must not be taken for input
    /// of the new transport.
    UnreadInput,
}

impl fmt::Debug for Error {
    /// Shows lengths, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => f.debug_tuple("Io").field(e).finish(),
            Error::FrameTooLong { limit } => {
                f.debug_struct("FrameTooLong").field("limit", limit).finish()
            }
            Error::InvalidHead(e) => f.debug_tuple("InvalidHead").field(e).finish(),
            Error::TerminatorInContent => f.write_str("TerminatorInContent"),
            Error::UnexpectedEof { partial } => {
                f.debug_struct("UnexpectedEof").field("partial_len", &partial.len()).finish()
            }
            Error::Producer(e) => f.debug_tuple("Producer").field(e).finish(),
            Error::Closed => f.write_str("Closed"),
            Error::Aborted => f.write_str("Aborted"),
            Error::Timeout(timeout) => f.debug_tuple("Timeout").field(timeout).finish(),
            Error::UnreadInput => f.write_str("UnreadInput"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => e.fmt(f),
            Error::FrameTooLong { limit } => write!(f, "frame longer than {limit} bytes"),
            Error::InvalidHead(_) => f.write_str("invalid message head"),
            Error::TerminatorInContent => f.write_str("content contains the terminator"),
            Error::UnexpectedEof { partial } if partial.is_empty() => f.write_str("input ended"),
            Error::UnexpectedEof { partial } => {
                write!(f, "input ended after {} bytes of a frame", partial.len())
            }
            Error::Producer(_) => f.write_str("producer failed"),
            Error::Closed => f.write_str("channel closed"),
            Error::Aborted => f.write_str("connection aborted"),
            Error::Timeout(timeout) => timeout.fmt(f),
            Error::UnreadInput => f.write_str("unread input before the upgrade"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // `Display` shows its message already.
            Error::Io(e) => e.source(),
            Error::Producer(e) => Some(e),
            Error::InvalidHead(e) => Some(&**e),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Io(e)
    }
}

impl From<Timeout> for Error {
    fn from(timeout: Timeout) -> Self {
        Error::Timeout(timeout)
    }
}

impl From<Error> for io::Error {
    /// Converts the error for functions that return `io::Result`. The kind depends on the variant.
    fn from(e: Error) -> Self {
        let kind = match e {
            Error::Io(e) => return e,
            Error::FrameTooLong { .. } | Error::InvalidHead(_) | Error::UnreadInput => {
                io::ErrorKind::InvalidData
            }
            Error::TerminatorInContent => io::ErrorKind::InvalidInput,
            Error::UnexpectedEof { .. } => io::ErrorKind::UnexpectedEof,
            Error::Producer(ref e) => e.kind(),
            Error::Closed => io::ErrorKind::BrokenPipe,
            Error::Aborted => io::ErrorKind::ConnectionAborted,
            Error::Timeout(_) => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, e)
    }
}

/// The limit of [`Timeouts`](crate::Timeouts) that was exceeded, with its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// A frame had begun, but was not complete in time. See
    /// [`Timeouts::frame`](crate::Timeouts::frame).
    Frame(Duration),
    /// No frame began in time. See [`Timeouts::idle`](crate::Timeouts::idle).
    Idle(Duration),
    /// The transport accepted no output in time. See [`Timeouts::write`](crate::Timeouts::write).
    Write(Duration),
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeout::Frame(after) => write!(f, "frame not complete within {after:?}"),
            Timeout::Idle(after) => write!(f, "no frame within {after:?}"),
            Timeout::Write(after) => write!(f, "transport accepted no output for {after:?}"),
        }
    }
}

impl std::error::Error for Timeout {}
