//! `Handler`: asynchat's callbacks, their `Control`, and the loop that calls them.

mod control;
mod run;

pub use self::control::Control;

use crate::{Error, Timeout};
use std::sync::Arc;

/// asynchat's callbacks, which [`Channel::run`](crate::Channel::run) calls as input arrives.
///
/// Callbacks are synchronous and borrow their data, so a small frame costs no allocation. If an
/// answer needs to wait, push it as a [producer](crate::producer::from_future), which keeps answers
/// in order. If the next step of the protocol needs to wait, use
/// [`Channel::next`](crate::Channel::next) instead.
///
/// In whole mode, `run` calls `collect_incoming_data` once for each frame that is not empty, and
/// then `found_terminator`. In streaming mode it calls `collect_incoming_data` as data arrives, as
/// asynchat does. Data without a terminator, and an unfinished frame at the end of input, are
/// passed only to `collect_incoming_data`. A changed setting applies from the next byte. After
/// `close_when_done` no further frame is delivered.
///
/// If a callback returns an error, `run` returns it. The channel stays intact, and you can call
/// `run` again, except after an error of [`timed_out`](Self::timed_out) or
/// [`invalid_head`](Self::invalid_head).
///
/// If frames are whole, override [`frame`](Self::frame):
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
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let (io, peer) = tokio::io::duplex(64);
/// # let mut peer = asynchat::Channel::new(peer, "\n");
/// # let mut channel = asynchat::Channel::new(io, "\n");
/// # tokio::spawn(async move { channel.run(&mut Shout).await });
/// # peer.push("hello\n");
/// # assert_eq!(peer.receive("\n").await.unwrap(), "HELLO");
/// # }
/// ```
///
/// Otherwise override asynchat's two callbacks, as the program in [coming from
/// asynchat](crate::guide::coming_from_asynchat) does.
pub trait Handler {
    /// The error type of the callbacks and of `run`.
    type Error: From<Error>;

    /// Collects bytes. In whole mode `data` is a whole frame. In streaming mode, without a
    /// terminator and at the end of input, it is a part of a frame. It is never empty.
    ///
    /// By default the bytes are dropped with a `warn` event. For an unfinished frame at the end of
    /// input, the event is `debug`. If a handler overrides [`frame`](Self::frame) and stays in
    /// whole mode, only two cases lead here. One is such an unfinished frame. The other is data
    /// that arrives while no terminator is set, as after a count.
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

    /// Ends a frame, because its terminator was found or its count was reached.
    ///
    /// By default it does nothing.
    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// Handles a frame in whole mode.
    ///
    /// By default it calls `collect_incoming_data`, if the frame is not empty, and then
    /// `found_terminator`. An unfinished frame at the end of input is passed to
    /// `collect_incoming_data` instead.
    #[inline]
    fn frame(&mut self, channel: &mut Control<'_>, data: &[u8]) -> Result<(), Self::Error> {
        if !data.is_empty() {
            self.collect_incoming_data(channel, data)?;
        }
        self.found_terminator(channel)
    }

    /// Starts a connection: called once for a channel, before any other callback.
    ///
    /// Push a greeting here. If another handler continues with the channel, its `connected` is not
    /// called.
    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// Handles a frame longer than `max_length`. By default it returns an error.
    ///
    /// If it returns `Ok`, the rest is skipped and the next frame is delivered normally. If the
    /// terminator was a count, it is now [`none`](crate::Terminator::none), so set a terminator for
    /// the bytes that follow.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// use asynchat::{Channel, Control, Error, Handler};
    ///
    /// struct Polite;
    ///
    /// impl Handler for Polite {
    ///     type Error = Error;
    ///
    ///     fn frame_too_long(
    ///         &mut self,
    ///         channel: &mut Control<'_>,
    ///         limit: usize,
    ///     ) -> Result<(), Error> {
    ///         channel.push_fmt(format_args!("at most {limit} bytes\n"));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut channel = Channel::builder().terminator("\n").max_length(5).build(io);
    /// tokio::spawn(async move { channel.run(&mut Polite).await });
    /// peer.push("too long\n");
    /// assert_eq!(peer.receive("\n").await.unwrap(), "at most 5 bytes");
    /// # }
    /// ```
    fn frame_too_long(
        &mut self,
        channel: &mut Control<'_>,
        limit: usize,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::FrameTooLong { limit }.into())
    }

    /// Handles a head that is too long or cannot be read. By default it returns an error, which
    /// ends the connection.
    ///
    /// The end of the message is not known, so no further input is delivered. Push a last message
    /// here, and call `close_when_done`. If this returns `Ok`, `run` only sends output, as after
    /// [`input_ended`](Self::input_ended), until the channel is closed. If this returns an error,
    /// the answers to earlier messages are still queued, and [`close`](crate::Channel::close) sends
    /// them.
    fn invalid_head(
        &mut self,
        channel: &mut Control<'_>,
        error: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::InvalidHead(Arc::clone(error)).into())
    }

    /// Handles [`Timeout::Frame`] or [`Timeout::Idle`]. By default it returns an error, which ends
    /// the connection.
    ///
    /// Push a last message here, and call `close_when_done`. If this returns `Ok`, `run` continues.
    /// Unless you close the channel, the timeout restarts, and this may be called again. For an
    /// unknown variant, return `Err(timeout.into())`.
    ///
    /// This is not called for a [stalled write](Timeout::Write), because a last message could not
    /// be sent.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// use asynchat::{Channel, Control, Error, Handler, Timeout, Timeouts};
    /// use std::time::Duration;
    ///
    /// struct Polite;
    ///
    /// impl Handler for Polite {
    ///     type Error = Error;
    ///
    ///     fn timed_out(&mut self, channel: &mut Control<'_>, _: Timeout) -> Result<(), Error> {
    ///         channel.push("421 too slow\n");
    ///         channel.close_when_done();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let timeouts = Timeouts::all(Duration::from_secs(60));
    /// let mut channel = Channel::builder().terminator("\n").timeouts(timeouts).build(io);
    /// tokio::spawn(async move { channel.run(&mut Polite).await });
    /// assert_eq!(peer.receive("\n").await.unwrap(), "421 too slow");
    /// # }
    /// ```
    fn timed_out(
        &mut self,
        channel: &mut Control<'_>,
        timeout: Timeout,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::Timeout(timeout).into())
    }

    /// Handles the end of the peer's input, after all of it was delivered.
    ///
    /// By default it calls `close_when_done`. If you do not close the channel, `run` only sends
    /// output, until a [`Pusher`](crate::Pusher) closes the channel or the future is dropped.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        channel.close_when_done();
        Ok(())
    }

    /// Ends a connection. It is called once, after [`connected`](Self::connected), when the channel
    /// is closed, or with the error that ended the connection.
    ///
    /// This is not called if `run` ends by `stop`, or if its future is dropped. After an error of a
    /// callback, this is called only if that callback was [`timed_out`](Self::timed_out) or
    /// [`invalid_head`](Self::invalid_head). Code that must run in any case belongs in `Drop`.
    fn closed(&mut self, error: Option<&Error>) {
        let _ = error;
    }
}

/// How [`Channel::run`](crate::Channel::run) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was sent, the write half is shut down, and the peer has closed or the
    /// [linger](crate::Builder::linger) is over. You can drop the channel.
    Closed,
    /// A callback has called [`Control::stop`]. The channel is intact.
    Stopped,
}
