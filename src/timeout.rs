use std::fmt;
use std::time::Duration;

/// The deadline that has passed, with the time that was given.
///
/// The first three end a channel as [`Error::Timeout`](crate::Error::Timeout).
/// The last one is told by [`Channel::lingered_out`](crate::Channel::lingered_out)
/// alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// A frame has begun and was not complete in time; see
    /// [`Builder::frame_timeout`](crate::Builder::frame_timeout).
    Frame(Duration),
    /// No frame has begun for so long; see
    /// [`Builder::idle_timeout`](crate::Builder::idle_timeout).
    Idle(Duration),
    /// Output waited, and the transport took nothing for so long; see
    /// [`Builder::write_timeout`](crate::Builder::write_timeout).
    Write(Duration),
    /// Everything was sent, and the peer did not close its side in time; see
    /// [`Builder::linger`](crate::Builder::linger).
    Linger(Duration),
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeout::Frame(after) => write!(f, "frame not complete within {after:?}"),
            Timeout::Idle(after) => write!(f, "no frame within {after:?}"),
            Timeout::Write(after) => write!(f, "nothing could be sent for {after:?}"),
            Timeout::Linger(after) => write!(f, "peer has not closed within {after:?}"),
        }
    }
}

impl std::error::Error for Timeout {}
