use std::fmt;
use std::time::Duration;

/// How long a channel waits for its peer. Nothing is limited by default.
///
/// Set all of them on an open network: each one is against another peer.
///
/// ```
/// # let (io, _peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, Timeouts};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let timeouts = Timeouts { idle: Some(10 * minute), ..Timeouts::all(minute) };
/// let channel = Channel::builder().terminator("\n").timeouts(timeouts).build(io);
/// assert_eq!(channel.timeouts(), timeouts);
/// ```
///
/// A channel with a timeout needs a runtime with a timer: waiting panics in
/// another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The time from a frame's first byte to its last, terminator included.
    ///
    /// Further bytes do not extend it: a trickle has as long as a silent peer.
    /// Skipped bytes count as part of their frame, and in streaming mode the time
    /// is that of the whole frame. It ends with [`Timeout::Frame`].
    ///
    /// The time begins when the channel first waits for the rest of the frame. It
    /// stands still while the channel waits for its own output and does not read:
    /// in `run` above the high-water mark, in `flush`, `ready` and the `Sink`. A
    /// frame that has arrived when you come to read it is not late.
    ///
    /// Before its first byte a frame is [idle](Self::idle), also if a count of
    /// bytes is awaited. Without a terminator there is no frame, except for
    /// [`receive`](crate::Channel::receive).
    pub frame: Option<Duration>,
    /// The time until a frame begins, the first one too.
    ///
    /// It begins when the channel waits for input and has nothing to send, and
    /// restarts with each byte that is sent. A peer that is slow to read a long
    /// answer is not idle, nor is one that waits for a producer. It ends with
    /// [`Timeout::Idle`].
    pub idle: Option<Duration>,
    /// The time in which the transport takes nothing while output waits for it,
    /// or while the write half is being shut down.
    ///
    /// Every byte that is taken restarts it, and the time of a producer that is
    /// not ready does not count. Then output is dropped, and [`Timeout::Write`]
    /// is the error of the write half.
    ///
    /// A kernel takes no more until a good part of its send buffer is free again
    /// (on Linux a third, of up to 4 MiB), however steadily the peer reads. Set
    /// the time accordingly, or make that buffer smaller with
    /// `TcpSocket::set_send_buffer_size`.
    pub write: Option<Duration>,
}

impl Timeouts {
    /// Limits everything to the same time.
    #[must_use]
    pub const fn all(after: Duration) -> Self {
        Timeouts { frame: Some(after), idle: Some(after), write: Some(after) }
    }
}

/// The limit of [`Timeouts`] that was exceeded, with the time that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timeout {
    /// A frame had begun and was not complete in time; see [`Timeouts::frame`].
    Frame(Duration),
    /// No frame began in time; see [`Timeouts::idle`].
    Idle(Duration),
    /// The transport took no output in time; see [`Timeouts::write`].
    Write(Duration),
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timeout::Frame(after) => write!(f, "frame not complete within {after:?}"),
            Timeout::Idle(after) => write!(f, "no frame within {after:?}"),
            Timeout::Write(after) => write!(f, "nothing could be sent for {after:?}"),
        }
    }
}

impl std::error::Error for Timeout {}
