//! `Handler`: asynchat's callbacks, their `Control`, and the loop that calls them.

mod control;
mod run;

pub use self::control::Control;

use crate::{Error, Timeout};
use std::sync::Arc;

/// asynchat's callbacks, which [`Channel::run`](crate::Channel::run) calls as input arrives.
///
/// Callbacks are synchronous and borrow their data, so that a small frame costs no
/// allocation. If an answer needs to wait, push it as a
/// [producer](crate::producer::from_future), which keeps answers in order. If the protocol
/// awaits other work, use [`Channel::next`](crate::Channel::next) instead.
///
/// In whole mode a frame is one `collect_incoming_data` (none if it is empty) and one
/// `found_terminator`. In streaming mode data is collected as it arrives, as in asynchat.
/// Without a terminator, and for the rest at the end of input, only `collect_incoming_data`
/// is called. A setting applies from the next byte. After `close_when_done` no further frame
/// is delivered.
///
/// An `Err` from any callback ends `run` with it. The channel stays as it is, and `run` can
/// be called again, except after an error of [`timed_out`](Self::timed_out) or
/// [`invalid_head`](Self::invalid_head).
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
/// Or override asynchat's two callbacks. [Coming from
/// asynchat](crate::guide::coming_from_asynchat) has a program with them.
pub trait Handler {
    /// The error that ends `run` early.
    type Error: From<Error>;

    /// Collects bytes: a whole frame, or in streaming mode, without a terminator and at the
    /// end of input, a part of one. `data` is never empty.
    ///
    /// By default the bytes are dropped, with an event: `debug` for an unfinished frame at
    /// the end of input, and otherwise `warn`. If a handler overrides [`frame`](Self::frame)
    /// and stays in whole mode, two cases are left: that rest, and data that arrives while no
    /// terminator is set, as after a count.
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

    /// Ends a frame: the terminator was found, or the count reached.
    ///
    /// By default it does nothing.
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

    /// Starts a connection: called once for a channel, before any other callback.
    ///
    /// Push a greeting here. If another handler continues with the channel, it is not called
    /// again.
    fn connected(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        let _ = channel;
        Ok(())
    }

    /// Handles a frame longer than `max_length`. By default it returns an error.
    ///
    /// With `Ok` the rest is skipped and the next frame is delivered normally. If the
    /// terminator was a count, it is now [`none`](crate::Terminator::none): set a terminator
    /// for the bytes that follow.
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

    /// Handles a head that is too long or cannot be read. By default it returns an error, and
    /// the connection is lost.
    ///
    /// The end of the message is not known, so input is over. Push a last message here, and
    /// call `close_when_done`. With `Ok` `run` goes on for the output alone, as after
    /// [`input_ended`](Self::input_ended), until the channel is closed. After an error the
    /// answers to earlier messages are still queued: [`close`](crate::Channel::close) sends
    /// them.
    fn invalid_head(
        &mut self,
        channel: &mut Control<'_>,
        error: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Self::Error> {
        let _ = channel;
        Err(Error::InvalidHead(Arc::clone(error)).into())
    }

    /// Handles [`Timeout::Frame`] or [`Timeout::Idle`]. By default it returns an error, and
    /// the connection is lost.
    ///
    /// Push a last message here, and call `close_when_done`. With `Ok` `run` goes on. Unless
    /// you close, the peer has the whole time again, and then this is called again. Return
    /// `Err(timeout.into())` for a timeout that you do not know.
    ///
    /// It is not called for a [stalled write](Timeout::Write), because a message would wait
    /// for the same transport.
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
    /// By default it calls `close_when_done`. If you do not close the channel, `run` goes on
    /// for the output alone, until a [`Pusher`](crate::Pusher) closes it or the future is
    /// dropped.
    fn input_ended(&mut self, channel: &mut Control<'_>) -> Result<(), Self::Error> {
        channel.close_when_done();
        Ok(())
    }

    /// Ends a connection: called once, after [`connected`](Self::connected), if the channel
    /// was closed, or lost by this error.
    ///
    /// It is not called when `run` ends by `stop`, or when its future is dropped. After an
    /// error of a callback it is called only if that was [`timed_out`](Self::timed_out) or
    /// [`invalid_head`](Self::invalid_head). Code that must run in any case belongs in
    /// `Drop`.
    fn closed(&mut self, error: Option<&Error>) {
        let _ = error;
    }
}

/// The way in which [`Channel::run`](crate::Channel::run) ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything was sent, the write half is shut down, and the peer has closed or the
    /// [linger](crate::Builder::linger) is over. Drop the channel.
    Closed,
    /// A callback called [`Control::stop`]. The channel is intact.
    Stopped,
}
