//! asynchat's callbacks, what they may do, and the loop that calls them.

mod control;
mod run;

pub use self::control::Control;

use crate::channel::InputState;
use crate::{Error, Timeout};

/// asynchat's callbacks: what [`Channel::run`](crate::Channel::run) calls as
/// input arrives.
///
/// They are synchronous and get borrowed data, so that a small frame costs no
/// allocation. What needs to wait is pushed as a producer, which keeps answers
/// in order, or written against the channel's `Stream` instead.
///
/// In whole mode a frame is one `collect_incoming_data` (none if it is empty)
/// and one `found_terminator`. In streaming mode data is collected as it
/// arrives, as in asynchat. Without a terminator, and for what is left at the
/// end of input, only `collect_incoming_data` is called. What a callback sets
/// counts from the next byte on. After `close_when_done` no further frame is
/// handed out.
///
/// An `Err` from any of them ends `run` with it; the channel stays as it is, and
/// `run` can be called again (not after [`timed_out`](Self::timed_out)).
///
/// Override either `collect_incoming_data` and `found_terminator`, asynchat's
/// two, or [`frame`](Self::frame), if frames are whole:
///
/// ```
/// # use asynchat::{Control, Error, Handler};
/// struct Shout;
///
/// impl Handler for Shout {
///     type Error = Error;
///
///     fn frame(&mut self, channel: &mut Control<'_>, line: &[u8]) -> Result<(), Error> {
///         channel.push(line.to_ascii_uppercase());
///         channel.push("\n");
///         Ok(())
///     }
/// }
/// ```
///
/// And with those two:
///
/// ```
/// use asynchat::{Control, Error, Handler};
///
/// /// "5\n" and then five bytes, which are sent back.
/// #[derive(Default)]
/// struct Echo {
///     data: Vec<u8>,
///     in_body: bool,
/// }
///
/// impl Handler for Echo {
///     type Error = Error;
///
///     fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
///         self.data.extend_from_slice(data);
///         Ok(())
///     }
///
///     fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
///         let data = std::mem::take(&mut self.data);
///         self.in_body = !self.in_body;
///         if self.in_body {
///             let length = std::str::from_utf8(&data).ok().and_then(|s| s.parse::<u64>().ok());
///             channel.set_terminator(length.unwrap_or(0));
///         } else {
///             channel.push(data);
///             channel.set_terminator("\n");
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Handler {
    /// What ends `run` early.
    type Error: From<Error>;

    /// Some bytes have arrived: a whole frame, or in streaming mode, without a
    /// terminator and at the end of input, a part of one. Never empty.
    ///
    /// By default they are dropped, with an event: `debug` at the end of input,
    /// for what is left of a frame, and otherwise `warn`. For a handler that
    /// overrides [`frame`](Self::frame) and stays in whole mode, it is only that
    /// rest, and whatever arrives while no terminator is set: also behind a
    /// count, which is spent when reached.
    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Self::Error> {
        let bytes = data.len();
        if channel.core.input.state == InputState::Open {
            tracing::warn!(target: "asynchat", bytes, "data not collected: dropped");
        } else {
            tracing::debug!(target: "asynchat", bytes, "unfinished frame dropped");
        }
        Ok(())
    }

    /// The terminator was found, or the count reached: what was collected
    /// since the last time is a frame. By default nothing is done.
    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// A whole frame, in whole mode. By default `collect_incoming_data`, if it
    /// is not empty, and `found_terminator`. What is left at the end of input
    /// comes to `collect_incoming_data` all the same: it is no frame.
    #[inline]
    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Self::Error> {
        if !data.is_empty() {
            self.collect_incoming_data(channel, data)?;
        }
        self.found_terminator(channel)
    }

    /// Once for a channel, before anything else: `run` has begun. The place for
    /// a greeting. A second handler that goes on with the channel is not told.
    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// A frame is longer than `max_length`. With `Ok` its rest is skipped and
    /// the next frame comes normally; by default it is an error.
    ///
    /// A count is spent by it: set here what the bytes behind it end at.
    fn frame_too_long(
        &mut self,
        channel: &mut Control<'_>,
        limit: usize,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::FrameTooLong { limit }.into())
    }

    /// A deadline has passed: [`Timeout::Frame`] or [`Timeout::Idle`]. By default
    /// that is an error, and the connection is lost by it.
    ///
    /// The place for a last word: push it, and `close_when_done`. With `Ok` `run`
    /// goes on; if you do not close, the peer has the whole time once more, and
    /// then you are asked again. `Err(timeout.into())` is for what you do not
    /// know.
    ///
    /// A [stalled write](Timeout::Write) is not asked about: whatever you could
    /// say would wait behind it. But only that deadline ends a last word that is
    /// not read.
    fn timed_out(
        &mut self,
        channel: &mut Control<'_>,
        timeout: Timeout,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::Timeout(timeout).into())
    }

    /// The peer has ended its side, and everything it sent was handed out. By
    /// default the channel is closed once what is queued has been sent.
    ///
    /// If you do not close it, `run` goes on for the output alone, until a
    /// [`Pusher`](crate::Pusher) closes it or you drop the future.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        channel.close_when_done();
        Ok(())
    }

    /// Once, at the end: the connection was closed, or lost by this error.
    /// Not called when `run` ends by `stop` or by an error of a callback, except
    /// [`timed_out`](Self::timed_out), nor if its future is dropped, nor behind a
    /// [`close`](crate::Channel::close) that has ended: what
    /// must be done in any case belongs in `Drop`.
    fn closed(&mut self, error: Option<&Error>) {
        let _ = error;
    }
}

/// How [`Channel::run`](crate::Channel::run) came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was sent, the writing side is shut down, and
    /// [lingering](crate::Builder::linger) is over: drop the channel.
    Closed,
    /// A callback called [`Control::stop`]; the channel is intact.
    Stopped,
}
