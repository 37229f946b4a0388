use crate::Timeout;
use bytes::Bytes;
use std::{fmt, io};

/// What can go wrong on a channel or in the codec.
///
/// [`FrameTooLong`] is the only one after which input simply goes on: the
/// over-long frame is skipped and the next one comes normally. After
/// [`Timeout`] it can, if that is not one of writing; see there.
///
/// [`FrameTooLong`]: Error::FrameTooLong
/// [`Timeout`]: Error::Timeout
#[non_exhaustive]
pub enum Error {
    /// The transport failed.
    Io(io::Error),
    /// The peer sent a frame whose content is longer than `limit` bytes.
    ///
    /// If it was to end by a count, that is spent: set what the bytes behind
    /// it end at.
    #[non_exhaustive]
    FrameTooLong {
        /// The `max_length` in force, in bytes of content.
        limit: usize,
    },
    /// The caller's content would not have been read back as one frame,
    /// because the terminator occurs in it or across its end.
    TerminatorInContent,
    /// Input ended before the frame [`receive`](crate::Channel::receive)
    /// waited for was complete.
    #[non_exhaustive]
    UnexpectedEof {
        /// What had arrived of it; empty if input ended between two frames.
        partial: Bytes,
    },
    /// A producer in the output queue failed; nothing behind it was sent.
    Producer(io::Error),
    /// The writing side has been closed or has failed before.
    Closed,
    /// The connection was given up with [`Pusher::abort`](crate::Pusher::abort).
    Aborted,
    /// A deadline has passed.
    ///
    /// After [`Timeout::Frame`] and [`Timeout::Idle`] input is over, but nothing
    /// that was received is lost, and output goes on: push a last word, and
    /// close. Or set the timeouts anew
    /// ([`set_timeouts`](crate::Channel::set_timeouts)): that gives the
    /// peer the whole time once more, and input goes on where it was. Until then
    /// `next` gives `None`, `receive` this error again, and what there is of a
    /// frame stays in [`unread`](crate::Channel::unread).
    ///
    /// [`Timeout::Write`] is a failure of the writing side, like one of the
    /// transport.
    Timeout(Timeout),
    /// An upgrade was refused because input was left unread: it was sent
    /// before the new transport began and must not be taken for part of it.
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
            Error::TerminatorInContent => f.write_str("terminator inside the content"),
            Error::UnexpectedEof { partial } if partial.is_empty() => f.write_str("input ended"),
            Error::UnexpectedEof { partial } => {
                write!(f, "input ended after {} bytes of a frame", partial.len())
            }
            Error::Producer(_) => f.write_str("producer failed"),
            Error::Closed => f.write_str("channel closed for writing"),
            Error::Aborted => f.write_str("connection given up"),
            Error::Timeout(timeout) => timeout.fmt(f),
            Error::UnreadInput => f.write_str("unread input before the upgrade"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its message is this one's.
            Error::Io(e) => e.source(),
            Error::Producer(e) => Some(e),
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
    /// For callers that speak `io::Result`; the kind says what it was.
    fn from(e: Error) -> Self {
        let kind = match e {
            Error::Io(e) => return e,
            Error::FrameTooLong { .. } | Error::UnreadInput => io::ErrorKind::InvalidData,
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
