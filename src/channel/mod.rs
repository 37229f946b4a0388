//! `Channel`: a `Framed` with a queue of producers.

// rustdoc shows the methods of `Channel` in the order of these lines.
mod builder;
mod input;
mod peek;

mod output;

mod closing;
mod settings;

mod convert;
mod drive;
mod poll;
mod wakers;

pub use self::builder::Builder;
pub use self::convert::{Parts, UpgradeError};
pub(crate) use self::poll::{Event, Policy};
pub(crate) use self::wakers::Side;

use self::wakers::Wakers;
use crate::codec::ReadMode;
use crate::deadlines::Deadlines;
use crate::pusher::Inbox;
use crate::read::Reader;
use crate::write::Writer;
use crate::{Error, Frame, TerminatorCodec};
use bytes::Bytes;
use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

/// A connection that cuts its input into frames and queues its output.
///
/// Use it as a `Stream` of [`Frame`]s, with [`receive`](Self::receive) for request and
/// response, or with a [`Handler`](crate::Handler) and [`run`](Self::run).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::BoxError> {
/// # let (here, there) = tokio::io::duplex(64);
/// # let peer = tokio::spawn(async move {
/// #     let mut peer = asynchat::Channel::new(there, "\n");
/// #     assert_eq!(peer.receive("\n").await.unwrap(), "LEN");
/// #     peer.push("5\nhello");
/// #     peer.close().await.unwrap();
/// # });
/// use asynchat::{Channel, message};
///
/// let mut channel = Channel::new(here, "\n");
/// channel.push("LEN\n"); // sent by the next method that is awaited
/// let length = channel.receive("\n").await?;
/// let body = channel.receive(message::decimal(&length)?).await?;
/// assert_eq!(body, "hello");
/// # peer.await.unwrap();
/// # Ok(())
/// # }
/// ```
///
/// The [guide](crate::guide) has recipes for most tasks.
///
/// # Input and output
///
/// [`set_terminator`](Self::set_terminator) takes effect at any moment, from the first byte
/// not yet delivered.
///
/// Waiting for input also sends output. While output is blocked, the channel still reads, unless
/// [`pause_when_full`](Builder::pause_when_full) is set.
///
/// [`push`](Self::push), [`push_slice`](Self::push_slice) and
/// [`push_with_producer`](Self::push_with_producer) queue raw bytes and never wait. The `Sink`
/// (`feed`, `send`) queues one frame with `encode_terminator`, and waits at the high-water mark.
/// All of them share one queue, in call order. Against that mark, each chunk counts as its length
/// plus 64 bytes, and a producer as 1 KiB.
///
/// # Ways to close
///
/// | way | sends | waits for | reads |
/// |---|---|---|---|
/// | [`shutdown`](Self::shutdown) | queued output, then shuts the write half down | the transport to accept all of it | only to notice a broken connection; input continues afterwards |
/// | [`close`](Self::close) | the same | also the peer's close, at most for [`linger`](Builder::linger) | everything that arrives, and drops it |
/// | [`close_when_done`](Self::close_when_done) | the same, when the next method is awaited | nothing | as before; [`run`](Self::run) delivers no further frame, and ends as `close` does |
/// | [`Pusher::abort`](crate::Pusher::abort) | nothing: the queue is dropped | nothing: the awaited method returns [`Error::Aborted`] | nothing: undelivered input is dropped |
/// | dropping the channel | nothing: the queue is dropped, with a `warn` event | nothing | nothing; if input is unread, the kernel resets the connection |
///
/// To end a connection use `close`, so that the last output arrives. `run` ends in the same way.
/// From another task use [`Pusher::close_when_done`](crate::Pusher::close_when_done).
///
/// # Errors and their order
///
/// Frames that arrived before an error are returned before it, except before [`Error::Aborted`]. An
/// error of the connection is returned once, unless the table says otherwise. After an error that
/// ends input, [`next`](Self::next) returns `None` from then on, unless you resume input after a
/// timeout. In the table, "over" means that no further input is returned, or no further output is
/// sent.
///
/// | error | returned by | input afterwards | output afterwards |
/// |---|---|---|---|
/// | [`FrameTooLong`](Error::FrameTooLong) | input methods, in place of the frame | the frame is skipped, and the next one is returned | continues |
/// | [`InvalidHead`](Error::InvalidHead) | input methods | over; `receive` returns [`Closed`](Error::Closed) | continues |
/// | [`UnexpectedEof`](Error::UnexpectedEof) | `receive` and its variants, in each call after the end of input | over | continues |
/// | [`Timeout`](Error::Timeout) of `frame` or `idle` | input methods; `receive` in each call | over until [`set_timeouts`](Self::set_timeouts) resumes it | continues |
/// | [`Io`](Error::Io): reading failed, but the connection is not broken (TLS without `close_notify`, for example) | input methods | over | continues |
/// | [`Io`](Error::Io): the connection is broken (by a reset, for example), or a write failed | the method that is polled first | frames that have arrived are returned, from at most 32 reads | over; producers are dropped |
/// | [`Producer`](Error::Producer), [`Timeout`](Error::Timeout) of `write` | the same | the same | the same |
/// | [`Aborted`](Error::Aborted) | the method that is awaited, at once | over | over |
/// | [`Closed`](Error::Closed) | output methods, in each call after a close or a failure | not affected | over |
/// | [`TerminatorInContent`](Error::TerminatorInContent) | [`push_frame`](Self::push_frame), the `Sink`; nothing is queued | not affected | not affected |
/// | [`UnreadInput`](Error::UnreadInput) | [`upgrade`](Self::upgrade) | not affected | not affected |
///
/// If output continues after an error, await [`close`](Self::close) before you drop the channel, so
/// that queued output is delivered.
///
/// # Two tasks
///
/// The `Stream` and the `Sink` may be polled from two tasks
/// ([`StreamExt::split`]). Only the `Stream` reports a failure of input.
/// The side that is polled first reports a failure of output, once. Afterwards the `Stream` ends
/// with `None`, and the `Sink` returns [`Error::Closed`].
///
/// - A push into the channel does not wake a task, so push with a [`Pusher`](crate::Pusher), or
///   flush. A push of a `Pusher` is sent when one of the halves is polled.
/// - The halves have no `set_terminator`, `receive`, `head_len`, `set_timeouts` or `close`.
///   If the framing changes, let one task own the channel, and let the others have a
///   `Pusher`.
/// - `SinkExt::close` does the same as [`shutdown`](Self::shutdown). To call
///   [`close`](Self::close), first join the halves with `reunite`.
///
/// [`StreamExt::split`]: https://docs.rs/futures/0.3/futures/stream/trait.StreamExt.html#method.split
pub struct Channel<T> {
    framed: Framed<T, TerminatorCodec>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// Created with the first `Pusher`, and dropped after the last.
    pub(crate) inbox: Option<Inbox>,
    /// Boxed, because most channels have none.
    deadlines: Option<Box<Deadlines>>,
    wakers: Wakers,
    linger: Duration,
    linger_timed_out: bool,
    /// `true` if output waits until no frame is buffered, while there is capacity.
    corked: bool,
    /// `true` if `next` and `receive` neither read nor deliver without capacity.
    pause_when_full: bool,
    /// The progress of `run`. Assigned there only.
    pub(crate) run: RunState,
}

/// The progress of `Channel::run`.
pub(crate) enum RunState {
    New,
    /// The handler's `connected` was called.
    Connected,
    /// The handler was notified that input has ended. Output continues.
    InputEnded,
    /// Reading failed. Output continues until everything is sent.
    InputFailed(io::Error),
    /// The handler was notified of the end.
    Over {
        lost: bool,
    },
}

/// The parts of a channel apart from its `Framed`, for callbacks.
pub(crate) struct Lent<'c> {
    pub(crate) reader: &'c mut Reader,
    pub(crate) writer: &'c mut Writer,
    pub(crate) inbox: &'c mut Option<Inbox>,
    pub(crate) deadlines: &'c mut Option<Box<Deadlines>>,
}

impl Lent<'_> {
    /// Notes that the frame of this number goes on, before some of its `unread` bytes are dropped:
    /// they have earned its time.
    pub(crate) fn begin_frame(&mut self, number: u64, unread: usize) {
        let position = self.reader.received().wrapping_sub(unread as u64);
        if let Some(deadlines) = self.deadlines {
            deadlines.begin_frame(number, position);
        }
    }

    /// Drops the output, after `input_bytes` of the input. Returns the amounts.
    pub(crate) fn discard_output(&mut self, input_bytes: usize) -> Discarded {
        if let Some(inbox) = self.inbox {
            inbox.discard_into(self.writer);
        }
        let (output_bytes, producers) = self.writer.discard();
        if let Some(inbox) = self.inbox {
            inbox.notify(self.writer.queued());
        }
        if let Some(deadlines) = self.deadlines.as_mut().filter(|_| self.writer.queued() == 0) {
            deadlines.end_stall();
        }
        let discarded = Discarded { input_bytes, output_bytes, producers };
        tracing::debug!(target: "asynchat", ?discarded, "buffers discarded");
        discarded
    }
}

impl<T> Channel<T> {
    pub(crate) fn lend_with_framed(&mut self) -> (&mut Framed<T, TerminatorCodec>, Lent<'_>) {
        let Channel { framed, reader, writer, inbox, deadlines, .. } = self;
        (framed, Lent { reader, writer, inbox, deadlines })
    }
}

/// Returns frames as [`next`](Channel::next) does.
///
/// # Cancel safety
///
/// Cancel safe, as `next` is: no byte is lost in either direction.
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Channel<T> {
    type Item = Result<Frame, Error>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_frame(cx, ReadMode::AsSet)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> FusedStream for Channel<T> {
    fn is_terminated(&self) -> bool {
        self.all_reported()
    }
}

/// Sends each item as one frame, encoded with `encode_terminator`.
///
/// `SinkExt::close` does the same as [`shutdown`](Channel::shutdown), and not as
/// [`close`](Channel::close).
///
/// # Cancel safety
///
/// If the future of `SinkExt::feed` or `send` is dropped, the item was either queued whole or not
/// at all. If the future of `flush` or `close` is dropped, unsent output and the close stay queued.
impl<T: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for Channel<T> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_side(cx, Side::Output, Self::poll_capacity)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), Error> {
        self.push_frame(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_side(cx, Side::Output, |channel, cx| channel.poll_flush_all(cx, true))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.close_when_done();
        self.poll_side(cx, Side::Output, |channel, cx| channel.poll_flush_all(cx, true))
    }
}

impl<T> fmt::Debug for Channel<T> {
    /// Shows lengths, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("terminator", self.terminator())
            .field("unread", &self.unread().len())
            .field("queued_bytes", &self.queued_bytes())
            .field("input", self.reader.state())
            .field("open", &self.writer.is_open())
            .finish_non_exhaustive()
    }
}

/// The amount of data that [`discard_buffers`](Channel::discard_buffers) dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// The number of bytes received and not yet delivered.
    pub input_bytes: usize,
    /// The number of bytes queued and not yet sent.
    pub output_bytes: u64,
    /// The number of producers in the queue.
    pub producers: usize,
}
