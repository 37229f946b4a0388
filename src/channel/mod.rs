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
use futures::stream::FusedStream;
use futures::{Sink, Stream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

/// A transport whose input is cut into frames and whose output is a queue.
///
/// Use it as a `Stream` of [`Frame`]s, with [`receive`](Self::receive) for request and
/// response, or with a [`Handler`](crate::Handler) and [`run`](Self::run).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (here, there) = tokio::io::duplex(64);
/// # let peer = tokio::spawn(async move {
/// #     let mut peer = asynchat::Channel::new(there, "\n");
/// #     assert_eq!(peer.receive("\n").await.unwrap(), "LEN");
/// #     peer.push("5\nhello");
/// #     peer.close().await.unwrap();
/// # });
/// use asynchat::{Channel, Terminator};
///
/// let mut channel = Channel::new(here, "\n");
/// channel.push("LEN\n"); // sent by the next method that is awaited
/// let length = channel.receive("\n").await?;
/// let length: usize = std::str::from_utf8(&length).unwrap().parse().unwrap();
/// let body = channel.receive(Terminator::count(length)).await?;
/// assert_eq!(body, "hello");
/// # peer.await.unwrap();
/// # Ok(())
/// # }
/// ```
///
/// # Input
///
/// [`set_terminator`](Self::set_terminator) works at any moment, from the first byte not
/// yet delivered. Waiting for input also sends output, and output that cannot be sent
/// never stops reading, unless the channel
/// [pauses when it is full](Builder::pause_when_full).
///
/// After [`Error::FrameTooLong`] the stream goes on. Any other error ends it: first come
/// the frames already received (not after [`Pusher::abort`](crate::Pusher::abort)), then the error, then
/// `None` permanently. Only after [`Error::Timeout`] input can be
/// [resumed](Self::set_timeouts). After a failure of the output, input that has arrived
/// is read in at most 32 reads, so that no peer stays by sending on.
///
/// A read error that means a broken connection, such as a reset, ends both directions.
/// Any other, such as a TLS peer that closes without `close_notify`, ends input only.
///
/// # Output
///
/// [`push`](Self::push), [`push_slice`](Self::push_slice) and
/// [`push_with_producer`](Self::push_with_producer) queue raw bytes and never wait. The
/// `Sink` (`feed`, `send`) queues one frame with `encode_terminator`, and waits at the
/// high-water mark. All share one queue in call order. Each chunk counts its length plus
/// 64 bytes against that mark, and a producer 1 KiB.
///
/// Dropping a channel drops its queued output, with a `warn` event: [`close`](Self::close)
/// it.
///
/// # Two tasks
///
/// The `Stream` and the `Sink` may be polled from two tasks
/// ([`StreamExt::split`](futures::StreamExt::split)). A failure of input is reported by
/// the `Stream` only. A failure of output is reported once, by the side that is polled
/// first; afterwards the `Stream` ends with `None` and the `Sink` returns
/// [`Error::Closed`].
///
/// - A push does not wake a task: push with a [`Pusher`](crate::Pusher), or flush. One of the halves must
///   be polled for that.
/// - The halves have no `set_terminator`, `receive`, `head_len`, `set_timeouts` or `close`.
///   If the framing changes, let one task own the channel, and let the others have a
///   `Pusher`.
/// - `SinkExt::close` is [`shutdown`](Self::shutdown). For [`close`](Self::close) bring the
///   halves together again with `reunite`.
pub struct Channel<T> {
    framed: Framed<T, TerminatorCodec>,
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    /// Made with the first `Pusher`, and dropped after the last.
    pub(crate) inbox: Option<Inbox>,
    /// Boxed, because most channels have none.
    deadlines: Option<Box<Deadlines>>,
    wakers: Wakers,
    linger: Duration,
    linger_timed_out: bool,
    /// `true` if output waits for input to be used up, as far as there is capacity.
    corked: bool,
    /// `true` if `next` and `receive` neither read nor deliver without capacity.
    pause_when_full: bool,
    /// The progress of `run`. Assigned there only.
    pub(crate) run: RunState,
}

/// The progress of `Channel::run`.
pub(crate) enum RunState {
    New,
    /// The handler knows of the connection.
    Connected,
    /// The handler knows that input has ended; output goes on.
    InputEnded,
    /// Reading failed; the output goes on until it is sent.
    InputFailed(io::Error),
    /// The handler knows the end.
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

impl<T> Channel<T> {
    pub(crate) fn lend_with_framed(&mut self) -> (&mut Framed<T, TerminatorCodec>, Lent<'_>) {
        let Channel { framed, reader, writer, inbox, deadlines, .. } = self;
        (framed, Lent { reader, writer, inbox, deadlines })
    }
}

/// The same as [`next`](Channel::next).
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
        self.reader.is_fused() || (self.reader.is_timed_out() && self.all_reported())
    }
}

/// One item is one frame, encoded with `encode_terminator`. `SinkExt::close` is
/// [`shutdown`](Channel::shutdown), not [`close`](Channel::close).
///
/// # Cancel safety
///
/// `SinkExt::feed` and `send` are cancel safe in this sense: if their future is dropped,
/// the item was queued whole or not at all. With `flush` and `close` output that is not
/// sent stays queued, and so does the close.
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

/// The amount that [`discard_buffers`](Channel::discard_buffers) dropped.
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

impl Discarded {
    /// Drops the output, after `input_bytes` of the input.
    pub(crate) fn new(input_bytes: usize, of: &mut Lent<'_>) -> Self {
        if let Some(inbox) = of.inbox {
            inbox.discard_into(of.writer);
        }
        let (output_bytes, producers) = of.writer.discard();
        if let Some(inbox) = of.inbox {
            inbox.notify(of.writer.queued());
        }
        if let Some(deadlines) = of.deadlines.as_mut().filter(|_| of.writer.queued() == 0) {
            deadlines.end_stall();
        }
        let discarded = Discarded { input_bytes, output_bytes, producers };
        tracing::debug!(target: "asynchat", ?discarded, "buffers discarded");
        discarded
    }
}
