//! `Channel`: a `Framed` with a queue of producers.

mod builder;
mod convert;
mod drive;
mod peek;
mod poll;
mod wakers;

pub use self::builder::Builder;
pub use self::convert::{Parts, UpgradeError};
pub(crate) use self::poll::{Event, Policy};
pub(crate) use self::wakers::Side;

use self::wakers::Wakers;
use crate::codec::ReadMode;
use crate::deadlines::{Deadlines, Timeouts};
use crate::producer::boxed;
use crate::pusher::Inbox;
use crate::read::{InputGuard, Reader};
use crate::terminator::IntoTerminator;
use crate::write::Writer;
use crate::{Error, Frame, Pusher, Terminator, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use futures::stream::FusedStream;
use futures::{Sink, Stream};
use std::future::poll_fn;
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
/// the frames already received (not after [`Pusher::abort`]), then the error, then
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
/// - A push does not wake a task: push with a [`Pusher`], or flush. One of the halves must
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

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Returns the next frame, or `None` at the end of input.
    ///
    /// Queued output is sent before each frame. A server that answers pipelined requests
    /// at once should be [corked](Builder::corked), so that the answers go out together.
    ///
    /// If a close was requested before the end was reported, `None` is returned only when
    /// everything queued is sent and the write half is shut down.
    ///
    /// To avoid starving other tasks, `next` occasionally yields even if a frame is
    /// available.
    ///
    /// # Errors
    ///
    /// After [`Error::FrameTooLong`] the stream goes on. [`Error::Io`], [`Error::Producer`]
    /// and [`Error::Timeout`] are returned once, after the frames that were received
    /// before, and are followed by `None`. [`Error::Aborted`] is returned at once.
    ///
    /// A failure of input, or a timeout, leaves the output: [`close`](Self::close) the
    /// channel before you drop it, also after an error, and queued output is delivered.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost in either direction, and no time restarts.
    pub async fn next(&mut self) -> Option<Result<Frame, Error>> {
        poll_fn(|cx| self.poll_frame(cx, ReadMode::AsSet)).await
    }

    /// Sets the terminator and returns the next frame, complete.
    ///
    /// The frame is whole also in streaming mode, and at most `max_length` bytes. With
    /// [`Terminator::none`] it is everything up to the end of input; if that is too long,
    /// all of it is skipped. Output is sent meanwhile.
    ///
    /// A count is spent by its frame. The terminator is then `none`, and `next` would return
    /// whatever arrives.
    ///
    /// The bytes are a view of the block they were read into: copy what is small and kept
    /// for long.
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] with the bytes that had arrived, if input ends first or is over.
    /// - [`Error::FrameTooLong`]; the next call first finishes skipping the frame.
    /// - [`Error::InvalidHead`] of a [`message`](Terminator::message), once; afterwards
    ///   [`Error::Closed`].
    /// - [`Error::Timeout`], again with each call until input is
    ///   [resumed](Self::set_timeouts).
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed before the frame is complete. The terminator stays
    /// set.
    pub async fn receive(&mut self, terminator: impl IntoTerminator) -> Result<Bytes, Error> {
        self.set_terminator(terminator);
        let max_length = self.framed.codec().max_length();
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, BytesMut::freeze)).await
    }

    /// Calls [`receive`](Self::receive), and returns bytes that can be changed in place:
    /// to unmask or to decrypt them without a copy.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"iDMMN").await.unwrap();
    /// let mut channel = asynchat::Channel::new(io, None);
    /// let mut masked = channel.receive_mut(5).await?;
    /// masked.iter_mut().for_each(|byte| *byte ^= 0x21);
    /// assert_eq!(masked, "Hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_mut(
        &mut self,
        terminator: impl IntoTerminator,
    ) -> Result<BytesMut, Error> {
        self.set_terminator(terminator);
        let max_length = self.framed.codec().max_length();
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, std::convert::identity))
            .await
    }

    /// Calls [`receive`](Self::receive) under a limit of its own: for a protocol whose
    /// lines are short and whose bodies are long.
    ///
    /// ```
    /// # async fn f(mut channel: asynchat::Channel<tokio::io::DuplexStream>) -> Result<(), asynchat::Error> {
    /// let line = channel.receive_within(1000, "\r\n").await?;
    /// # let length = 0;
    /// let body = channel.receive_within(16 << 20, length).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `max_length` is in bytes of content. The limit that was
    /// [set](TerminatorCodec::set_max_length) stays set.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_within(
        &mut self,
        max_length: usize,
        terminator: impl IntoTerminator,
    ) -> Result<Bytes, Error> {
        self.set_terminator(terminator);
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length }, BytesMut::freeze)).await
    }

    /// Returns the next part of a frame, as it arrives: for a frame that is too large to
    /// hold.
    ///
    /// Parts are returned as in streaming mode, in both modes: `Partial`, never empty, as long
    /// as the frame goes on, and `Complete` with the rest, which may be empty.
    /// `max_length` does not apply. With [`Terminator::none`] the end of input ends the
    /// frame. Output is sent meanwhile.
    ///
    /// ```
    /// # use asynchat::{Channel, Error};
    /// # use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
    /// async fn save<T, W>(channel: &mut Channel<T>, len: u64, file: &mut W) -> Result<(), Error>
    /// where
    ///     T: AsyncRead + AsyncWrite + Unpin,
    ///     W: AsyncWrite + Unpin,
    /// {
    ///     channel.set_terminator(len);
    ///     loop {
    ///         let part = channel.receive_part().await?;
    ///         file.write_all(part.data()).await?;
    ///         if part.is_complete() {
    ///             return Ok(());
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] if input ends first. The rest has been returned as a
    ///   last part, and `partial` is empty. If input failed, `partial` is what could not
    ///   be returned: part of a terminator.
    /// - [`Error::Timeout`], again with each call until input is
    ///   [resumed](Self::set_timeouts).
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a part is returned whole. Call it again for the rest of the frame, or
    /// that is read under the terminator set next.
    pub async fn receive_part(&mut self) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_receive_part(cx)).await
    }

    /// Waits until there is capacity for output.
    ///
    /// Await it where the peer decides how much you push: a peer that sends and never
    /// reads the answers then has to wait, too. It sends only if there is no capacity, and
    /// reads only to notice a broken connection. There is capacity until
    /// [`queued_bytes`](Self::queued_bytes) has reached the high-water mark, and again when
    /// it has sunk to the low one.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush), and [`Error::Closed`] after a close.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: output that is not sent stays queued.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await
    }

    /// Sends everything that is queued, and flushes the transport.
    ///
    /// While only producers are waited for, up to one `in_buffer_size` is read ahead to
    /// notice a broken connection. It does not end before the last producer does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Producer`], [`Error::Timeout`] or [`Error::Aborted`] if
    /// sending fails, once; afterwards [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: output that is not sent stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// Sends everything that is queued and shuts the write half down. Input goes on.
    ///
    /// To end the connection use [`close`](Self::close): if you drop the channel while
    /// the peer is still sending, the kernel may reset the connection and destroy the
    /// output in flight.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and so does output that is not sent.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_close(cx)).await
    }

    /// Closes the connection so that the last output arrives.
    ///
    /// It sends everything that is queued, shuts the write half down, and waits until the
    /// peer has closed its side. All the while it reads, and drops what it reads: closing
    /// a socket with unread input makes the kernel reset it (RFC 9112, section 9.6).
    ///
    /// [`linger`](Builder::linger) limits how long it waits for the peer's close. It also
    /// limits how long output may wait for a transport that takes nothing, if
    /// [`Timeouts::write`] is not set. A kernel takes nothing until a third of its send
    /// buffer is free, however steadily the peer reads: on a slow link set
    /// `Timeouts::write` to tens of seconds.
    ///
    /// Input is over: [`next`](Self::next) returns `None` afterwards.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`Error::Timeout`] if output remains. If only the peer's
    /// close is missing, it returns `Ok`, and
    /// [`linger_timed_out`](Self::linger_timed_out) is `true`.
    ///
    /// # Panics
    ///
    /// In a runtime without a timer, unless `linger` is zero.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and the time goes on.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_when_done();
        poll_fn(|cx| self.poll_side(cx, Side::Output, Self::poll_close_all)).await
    }
}

impl<T> Channel<T> {
    /// Changes the terminator, from the first byte not yet delivered.
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.framed.codec_mut().set_terminator(terminator);
    }

    /// Returns the current terminator. For a count, this is the number of bytes
    /// remaining.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.framed.codec().terminator()
    }

    /// Returns the byte string that ended the last frame; empty if none did.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.framed.codec().ended_by()
    }

    /// Returns how many bytes of the last frame are the head of a message; see
    /// [`TerminatorCodec::head_len`].
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.framed.codec().head_len()
    }

    /// Returns the codec.
    #[must_use]
    pub fn codec(&self) -> &TerminatorCodec {
        self.framed.codec()
    }

    /// Returns the codec, to change its settings.
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        self.framed.codec_mut()
    }

    /// Sets whether output waits while frames are buffered; see [`Builder::corked`].
    pub fn set_corked(&mut self, corked: bool) {
        self.corked = corked;
    }

    /// Returns the limits of time.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.deadlines.as_ref().map(|deadlines| deadlines.timeouts()).unwrap_or_default()
    }

    /// Sets the limits of time.
    ///
    /// They apply to a frame that has begun as well: from its first byte if a limit was
    /// set before, and from now if none was. After [`Timeout::Frame`] or
    /// [`Timeout::Idle`] input goes on where it was, with the whole time again.
    ///
    /// [`Timeout::Frame`]: crate::Timeout::Frame
    /// [`Timeout::Idle`]: crate::Timeout::Idle
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        Deadlines::set(&mut self.deadlines, timeouts);
        self.reader.resume();
    }

    /// Queues raw bytes. Never waits.
    ///
    /// The bytes are owned or `'static`; for borrowed ones, `b"…"` literals too, there is
    /// [`push_slice`](Self::push_slice). The next method that is awaited on this channel
    /// sends them, unless it is [corked](Builder::corked). After a close they are dropped,
    /// with a `warn` event.
    ///
    /// Where the peer decides how much you push, await [`ready`](Self::ready) first, or
    /// use the `Sink`.
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.writer.push(data.into());
    }

    /// Queues a copy of raw bytes. The cheapest way for small ones.
    pub fn push_slice(&mut self, data: &[u8]) {
        self.writer.push_slice(data);
    }

    /// Queues formatted text as raw bytes. Never waits.
    ///
    /// It is formatted straight into the queue, without a `String`. A `Display`
    /// implementation must not fail: what it has written before is sent, with a `warn` event.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::new(io, "\r\n");
    /// channel.push_fmt(format_args!("RETR {}\r\n", 7));
    /// channel.flush().await?;
    /// # let mut peer = Channel::new(peer, "\r\n");
    /// assert_eq!(peer.receive("\r\n").await?, "RETR 7");
    /// # Ok(())
    /// # }
    /// ```
    pub fn push_fmt(&mut self, args: fmt::Arguments<'_>) {
        self.writer.push_fmt(args);
    }

    /// Queues one frame, as the `Sink` does. Never waits.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// # let key = "key";
    /// use asynchat::{Channel, Error, Terminator};
    ///
    /// let mut channel = Channel::builder().encode_terminator(Terminator::crlf()).build(io);
    /// channel.push_frame(format!("GET {key}"))?;
    /// # assert!(matches!(channel.push_frame("GET \r\nDELETE"), Err(Error::TerminatorInContent)));
    /// # channel.discard_buffers();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if it would not be read back as this one frame;
    /// [`Error::Closed`] after a close. Nothing is queued then.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.writer.push_frame(self.framed.codec(), content.into())
    }

    /// Queues a producer: a stream of chunks, sent raw, in its turn.
    ///
    /// The module [`producer`](crate::producer) has ready-made ones. A producer is polled
    /// only when it is first in the queue and there is capacity. It is dropped once:
    /// exhausted, failed, discarded or with the channel. If it fails, the queue is cleared,
    /// the write half is closed, and the error is reported once as [`Error::Producer`].
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.writer.push_producer(boxed(producer));
    }

    /// Queues a shutdown: the write half is closed after everything queued so far is sent.
    ///
    /// The next method that is awaited carries it out. Input goes on until it ends; only
    /// [`run`](Self::run) delivers no more frames. From now on the `Sink` returns
    /// [`Error::Closed`], and a [`Pusher`] returns its data.
    pub fn close_when_done(&mut self) {
        Inbox::close_when_done(&mut self.inbox, &mut self.writer);
    }

    /// Drops everything buffered, in both directions. For emergencies only.
    ///
    /// Undelivered input is dropped, whole frames included, and so is unsent output, which
    /// may cut one of your messages in two. The rest of an unfinished frame is skipped when
    /// it arrives, through the current terminator. A requested close stays.
    ///
    /// A write that the transport has not finished must be retried with the same bytes.
    /// Up to 16 KiB of it stay queued and are sent before anything else.
    pub fn discard_buffers(&mut self) -> Discarded {
        let input_bytes = self.discard_input();
        // A pusher may have aborted.
        self.drain_inbox();
        Discarded::new(input_bytes, &mut self.lend_with_framed().1)
    }

    fn discard_input(&mut self) -> usize {
        let mut guard = InputGuard::new(&mut self.framed);
        let (codec, input, consumed) = guard.input();
        let position = self.reader.received().wrapping_sub(input.len() as u64);
        let number = codec.cutter.frame_number();
        if let Some(deadlines) = &mut self.deadlines {
            // What is dropped of the current frame has earned its time.
            deadlines.begin_frame(number, position);
        }
        codec.cutter.discard(input, consumed);
        let input_bytes = *consumed;
        drop(guard);
        // The rest could begin the terminator to skip to. Its block is freed.
        let buffer = self.framed.read_buffer_mut();
        *buffer = BytesMut::from(buffer.as_ref());
        input_bytes
    }

    /// Returns the bytes received and not yet delivered.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.framed.read_buffer()
    }

    /// Returns what is queued and not sent, as counted against the high-water mark.
    ///
    /// Each chunk counts its length plus 64 bytes, and a producer 1 KiB; small pushes are
    /// gathered into chunks. [`Pusher::flush`] and
    /// [`Control::pause_until_sent`](crate::Control::pause_until_sent) count 64 bytes until
    /// they are reached. Data of a [`Pusher`] counts when the channel is next polled.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.writer.queued()
    }

    /// Returns how many bytes the transport has taken since the channel was created.
    ///
    /// It tells a peer that reads slowly from one that does not read.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.writer.sent()
    }

    /// Returns how many bytes have been read from the transport since the channel was
    /// created.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.reader.received()
    }

    /// Returns `true` if [`close`](Self::close) or [`run`](Self::run) sent everything and
    /// the peer did not close its side in time.
    #[must_use]
    pub fn linger_timed_out(&self) -> bool {
        self.linger_timed_out
    }

    /// Returns a handle that pushes into this channel from other tasks.
    pub fn pusher(&mut self) -> Pusher {
        let pusher = Inbox::pusher(&mut self.inbox, &self.writer);
        if let (RunState::Over { .. }, Some(inbox)) = (&self.run, &mut self.inbox) {
            // `run` has ended the connection.
            drop(inbox.close());
        }
        pusher
    }

    /// Returns the `Framed` that holds the transport, the codec and the read buffer.
    #[must_use]
    pub fn framed(&self) -> &Framed<T, TerminatorCodec> {
        &self.framed
    }

    /// Returns the transport.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        self.framed.get_ref()
    }

    /// Returns the transport. Do not read or write it: the channel would not know.
    pub fn get_mut(&mut self) -> &mut T {
        self.framed.get_mut()
    }

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
