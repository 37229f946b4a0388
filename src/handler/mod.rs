//! `Handler`: asynchat's callbacks, their `Control`, and the loop that calls them.

mod control;
mod run;

pub use self::control::Control;

use crate::{Error, Timeout};
use std::sync::Arc;

/// asynchat's callbacks, which [`Channel::run`](crate::Channel::run) calls as input
/// arrives.
///
/// Callbacks are synchronous and borrow their data, so that a small frame costs no
/// allocation. An answer that needs to wait is pushed as a producer, which keeps answers
/// in order. A protocol that awaits other things is written against the channel's
/// `Stream` instead.
///
/// In whole mode a frame is one `collect_incoming_data` (none if it is empty) and one
/// `found_terminator`. In streaming mode data is collected as it arrives, as in asynchat.
/// Without a terminator, and for the rest at the end of input, only
/// `collect_incoming_data` is called. A setting applies from the next byte. After
/// `close_when_done` no further frame is delivered.
///
/// An `Err` from any callback ends `run` with it. The channel stays as it is, and `run`
/// can be called again (not after [`timed_out`](Self::timed_out) or [`invalid_head`](Self::invalid_head)).
///
/// Override [`frame`](Self::frame) if frames are whole:
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
/// Or override asynchat's two callbacks:
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
    /// The error that ends `run` early.
    type Error: From<Error>;

    /// Collects bytes: a whole frame, or in streaming mode, without a terminator and at
    /// the end of input, a part of one. Never empty.
    ///
    /// By default the bytes are dropped, with an event: `debug` for an unfinished frame at
    /// the end of input, and otherwise `warn`. A handler that overrides
    /// [`frame`](Self::frame) and stays in whole mode is called with that rest only, and
    /// with data that arrives while no terminator is set: also after a count.
    fn collect_incoming_data(
        &mut self,
        channel: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Self::Error> {
        let bytes = data.len();
        if channel.lent.reader.is_open() {
            tracing::warn!(target: "asynchat", bytes, "data dropped: no callback takes it");
        } else {
            tracing::debug!(target: "asynchat", bytes, "unfinished frame dropped");
        }
        Ok(())
    }

    /// Ends a frame: the terminator was found, or the count reached. Does nothing by
    /// default.
    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// Handles a frame in whole mode.
    ///
    /// By default it calls `collect_incoming_data`, if the frame is not empty, and
    /// `found_terminator`. The rest at the end of input is no frame: it is passed to
    /// `collect_incoming_data`.
    #[inline]
    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Self::Error> {
        if !data.is_empty() {
            self.collect_incoming_data(channel, data)?;
        }
        self.found_terminator(channel)
    }

    /// Called once for a channel, before anything else. The place for a greeting. A
    /// second handler that continues with the channel is not called.
    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// Handles a frame longer than `max_length`. By default it is an error.
    ///
    /// With `Ok` the rest is skipped and the next frame is delivered normally. If the
    /// terminator was a count, it is now [`none`](crate::Terminator::none): set a
    /// terminator for the bytes that follow.
    fn frame_too_long(
        &mut self,
        channel: &mut Control<'_>,
        limit: usize,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::FrameTooLong { limit }.into())
    }

    /// Handles a head that is too long or cannot be read. By default it is an error, which
    /// loses the connection.
    ///
    /// The end of the message is not known, so input is over. The place for a last message:
    /// push it, and `close_when_done`. With `Ok` `run` goes on for the output alone, as
    /// after [`input_ended`](Self::input_ended), until the channel is closed. After an error
    /// the answers to earlier messages are still queued:
    /// [`close`](crate::Channel::close) sends them.
    fn invalid_head(
        &mut self,
        channel: &mut Control<'_>,
        error: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::InvalidHead(Arc::clone(error)).into())
    }

    /// Handles [`Timeout::Frame`] or [`Timeout::Idle`]. By default it is an error, which
    /// loses the connection.
    ///
    /// The place for a last message: push it, and `close_when_done`. With `Ok` `run` goes
    /// on. Unless you close, the peer has the whole time again, and then this is called
    /// again. Return `Err(timeout.into())` for a timeout that you do not know.
    ///
    /// It is not called for a [stalled write](Timeout::Write), because a message would
    /// wait for the same transport.
    fn timed_out(
        &mut self,
        channel: &mut Control<'_>,
        timeout: Timeout,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::Timeout(timeout).into())
    }

    /// Called when the peer has ended its side and everything that it sent was delivered.
    /// By default the channel is closed after the queued output is sent.
    ///
    /// If you do not close it, `run` goes on for the output alone, until a
    /// [`Pusher`](crate::Pusher) closes it or the future is dropped.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        channel.close_when_done();
        Ok(())
    }

    /// Called once, at the end and after [`connected`](Self::connected): the connection
    /// was closed, or lost by this error.
    ///
    /// It is not called when `run` ends by `stop` or by the error of a callback, except
    /// [`timed_out`](Self::timed_out) and [`invalid_head`](Self::invalid_head), nor when its future is dropped. Code that must run
    /// in any case belongs in `Drop`.
    fn closed(&mut self, error: Option<&Error>) {
        let _ = error;
    }
}

/// The way in which [`Channel::run`](crate::Channel::run) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was sent, the write half is shut down, and the peer has closed or the
    /// [linger](crate::Builder::linger) is over: drop the channel.
    Closed,
    /// A callback called [`Control::stop`]. The channel is intact.
    Stopped,
}
