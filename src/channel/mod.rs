//! `Channel`: codec, queue and transport, and the one place that polls them.

mod builder;
mod convert;
mod core;
mod deadlines;
mod input;
mod output;
mod poll;

pub use self::builder::Builder;
pub use self::convert::{Parts, UpgradeError};
pub(crate) use self::core::{Core, Life};
use self::deadlines::Deadlines;
pub(crate) use self::input::{Input, InputState};
pub(crate) use self::output::{Output, Watermarks};
pub(crate) use self::poll::{TURN, TURN_FRAME};

use crate::codec::ReadMode;
use crate::producer::boxed;
use crate::{Error, Frame, IntoTerminator, Pusher, Terminator, TerminatorCodec, Timeouts};
use bytes::Bytes;
use futures::{Sink, Stream};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};

/// A transport whose input is cut into frames and whose output is a queue.
///
/// Use it in one of three ways: as a `Stream` of [`Frame`]s, with
/// [`receive`](Self::receive) for request and response, or by handing it a
/// [`Handler`](crate::Handler) with [`run`](Self::run).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (here, there) = tokio::io::duplex(64);
/// # let peer = tokio::spawn(async move {
/// #     let mut peer = asynchat::Channel::new(there, "\n");
/// #     assert_eq!(peer.receive("\n").await.unwrap(), "LEN");
/// #     peer.push("5\nhello");
/// #     peer.shutdown().await.unwrap();
/// # });
/// use asynchat::{Channel, Terminator};
///
/// let mut channel = Channel::new(here, "\n");
/// channel.push("LEN\n"); // sent by whatever is awaited next
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
/// [`set_terminator`](Self::set_terminator) works at any moment, from the
/// first byte not yet handed out on. Waiting for input also sends output, and
/// output that cannot be sent never stops reading.
///
/// After [`Error::FrameTooLong`] the stream goes on. Any other error ends it:
/// first come the frames already received (not after [`Pusher::abort`]), then the
/// error, then `None`, and that for ever; only after [`Error::Timeout`] you may
/// give the peer more time. After a failure of writing what has arrived is read, in
/// at most 32 reads: no peer stays by sending on.
///
/// # Output
///
/// [`push`](Self::push), [`push_slice`](Self::push_slice) and
/// [`push_with_producer`](Self::push_with_producer) queue raw bytes and never
/// wait; `Sink` (`feed`, `send`) queues one frame with `encode_terminator`
/// behind it, and waits at the high-water mark. All share one queue in call
/// order. Each chunk counts its length plus 64 bytes against that mark and a
/// producer 1 KiB.
///
/// Dropping a channel drops what is queued: [`close`](Self::close) it.
pub struct Channel<T> {
    pub(crate) io: T,
    pub(crate) core: Core,
}

impl Channel<()> {
    /// To set more than the terminator before the channel is made.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// A channel with the default settings, whose first frame ends at
    /// `terminator`.
    pub fn new(io: T, terminator: impl IntoTerminator) -> Self {
        Channel::builder().terminator(terminator).build(io)
    }

    /// The next frame, or `None` at the end of input.
    ///
    /// Output is sent meanwhile. If a close was asked for before the end was
    /// told, `None` comes only when everything queued is sent and the writing
    /// side is shut down; after it, [`shutdown`](Self::shutdown) sends what is left.
    ///
    /// So that other tasks get their turn it waits now and then, and wakes itself,
    /// although a frame is there: what is polled only once may miss it.
    ///
    /// # Errors
    ///
    /// [`Error::FrameTooLong`], after which the stream goes on. [`Error::Io`]
    /// and [`Error::Producer`] come once, after the frames that were received
    /// before, and are followed by `None`, and so does [`Error::Timeout`] if a
    /// deadline is set. [`Error::Aborted`] comes at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no byte is lost in either direction, and no deadline begins
    /// anew.
    pub async fn next(&mut self) -> Option<Result<Frame, Error>> {
        poll_fn(|cx| self.poll_frame(cx, ReadMode::AsSet)).await
    }

    /// Sets the terminator and gives the next frame, complete.
    ///
    /// It is whole also in streaming mode, and at most `max_length` bytes. With
    /// [`Terminator::none`] it is everything up to the end of input; if that is
    /// too long, all of it is skipped. Output is sent meanwhile.
    ///
    /// # Errors
    ///
    /// - [`Error::UnexpectedEof`] with what there was, if input ends first, or
    ///   broke before.
    /// - [`Error::FrameTooLong`]; the next call first finishes skipping it.
    /// - [`Error::Timeout`]; of a frame or of idleness until one is set anew.
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed before the frame is complete. The
    /// terminator stays set.
    ///
    /// The bytes are a view of the block they were read into:
    /// `Bytes::copy_from_slice` what is small and kept for long.
    pub async fn receive(&mut self, terminator: impl IntoTerminator) -> Result<Bytes, Error> {
        self.core.codec.set_terminator(terminator);
        let mode = ReadMode::Whole { max_length: self.core.codec.max_length() };
        let frame = poll_fn(|cx| self.poll_receive(cx, mode)).await?;
        Ok(frame.into_data())
    }

    /// [`receive`](Self::receive) under a limit of its own: for a protocol whose
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
    /// `max_length`, in bytes of content, is what [`Error::FrameTooLong`] speaks
    /// of then; what was [set](TerminatorCodec::set_max_length) stays set.
    ///
    /// # Cancel safety
    ///
    /// As [`receive`](Self::receive).
    pub async fn receive_within(
        &mut self,
        max_length: usize,
        terminator: impl IntoTerminator,
    ) -> Result<Bytes, Error> {
        self.core.codec.set_terminator(terminator);
        let frame = poll_fn(|cx| self.poll_receive(cx, ReadMode::Whole { max_length })).await?;
        Ok(frame.into_data())
    }

    /// The next part of a frame, as it arrives: for what is too large to hold.
    ///
    /// It comes as in streaming mode, whatever mode is set: `Partial`, never
    /// empty, as long as the frame goes on, and `Complete` with the rest, which
    /// may be empty. `max_length` does not count. With [`Terminator::none`] the
    /// end of input is the end of the frame. Output is sent meanwhile.
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
    /// - [`Error::UnexpectedEof`] if input ends first: what is left has then come
    ///   as a last part, and `partial` is empty. If input broke before, `partial`
    ///   is what could not be handed out then: half a terminator.
    /// - [`Error::Timeout`]; of a frame or of idleness until one is set anew.
    /// - [`Error::Io`], [`Error::Producer`] and [`Error::Aborted`], once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a part is handed out whole. What is not taken of a frame
    /// stays: call it again, or the rest is read as what is set next.
    pub async fn receive_part(&mut self) -> Result<Frame, Error> {
        poll_fn(|cx| self.poll_receive(cx, ReadMode::Parts)).await
    }

    /// Waits until there is room for output; it sends, and does not read.
    ///
    /// For what is pushed in answer to a peer: one that sends and never reads
    /// the answers then has to wait, too. There is room until
    /// [`queued_bytes`](Self::queued_bytes) has reached the high-water mark when it
    /// is called, and then again when it has sunk to the low one.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush), and [`Error::Closed`] after a close.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is not sent stays queued.
    pub async fn ready(&mut self) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await
    }

    /// Sends everything queued. It does not read.
    ///
    /// Behind a producer that never ends it does not end either.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Producer`], [`Error::Timeout`] or
    /// [`Error::Aborted`] if sending fails, once; [`Error::Closed`] after that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is not sent stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush_all(cx)).await
    }

    /// Sends everything queued and shuts the writing side down.
    ///
    /// It does not read; [`next`](Self::next) still gives what comes in. If you
    /// drop the channel while the peer is still sending, the kernel may reset
    /// the connection and destroy what is on its way to the peer:
    /// [`close`](Self::close) reads on for a while before.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the close stays queued, and what is not sent as well.
    pub async fn shutdown(&mut self) -> Result<(), Error> {
        self.close_when_done();
        self.flush().await
    }

    /// Closes, and reads on for a while before you drop the channel.
    ///
    /// It sends what is queued and shuts the writing side down, and then goes on
    /// until the peer has closed its side or the time set with
    /// [`linger`](crate::Builder::linger) is over, as [`run`](Self::run) does at
    /// its end: so that the last answer arrives. All the while it reads, and
    /// drops what comes, for the peer may write before it reads.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush). How the peer goes is none, and whether it does:
    /// [`linger_timed_out`](Self::linger_timed_out).
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
        poll_fn(|cx| {
            let sent = self.poll_send(cx);
            self.core.drop_input();
            if sent.is_ready() {
                return self.poll_linger(cx);
            }
            ready!(self.poll_drop_input(cx));
            // `sent` wakes us.
            Poll::Pending
        })
        .await;
        self.core.send_result()
    }
}

impl<T> Channel<T> {
    /// Changes what ends a frame, from the first byte not yet handed out on.
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.core.codec.set_terminator(terminator);
    }

    /// The terminator in force; of a running count, what remains.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.core.codec.terminator()
    }

    /// The byte string that ended the last frame; empty if none did.
    #[must_use]
    pub fn ended_by(&self) -> &[u8] {
        self.core.codec.ended_by()
    }

    /// The codec, to change its settings.
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        &mut self.core.codec
    }

    /// Sets whether output waits while frames are buffered; see
    /// [`Builder::corked`].
    pub fn set_corked(&mut self, corked: bool) {
        self.core.corked = corked;
    }

    /// Sets how long to wait for the peer.
    ///
    /// It counts for a frame that has begun as well: from its first byte if a
    /// limit was set before, and from now if none was. After [`Error::Timeout`]
    /// input goes on.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.core.set_timeouts(timeouts);
        self.core.resume_input();
    }

    /// How long to wait for the peer.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.core.timeouts()
    }

    /// Queues raw bytes. Never waits; see [`queued_bytes`](Self::queued_bytes).
    /// Where the peer decides how much you push, await [`ready`](Self::ready)
    /// before, or use the `Sink`.
    ///
    /// They are owned or `'static`; for what is borrowed, `b"…"` literals too,
    /// there is [`push_slice`](Self::push_slice).
    ///
    /// They are sent by whatever is awaited next on this channel, unless it is
    /// [`corked`](crate::Builder::corked). After a close they are dropped, with a
    /// `warn` event.
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.core.output.push(data.into());
    }

    /// Queues a copy of raw bytes. The cheapest way for small ones.
    pub fn push_slice(&mut self, data: &[u8]) {
        self.core.output.push_slice(data);
    }

    /// Queues one frame, as the `Sink` does, but never waits.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// # let key = "key";
    /// use asynchat::{Channel, Error, Terminator};
    ///
    /// let mut channel = Channel::builder().encode_terminator(Terminator::crlf()).build(io);
    /// channel.push_frame(format!("GET {key}"))?;
    /// # assert!(matches!(channel.push_frame("GET \r\nDELETE"), Err(Error::TerminatorInContent)));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TerminatorInContent`] if it would not be read back as this one
    /// frame; [`Error::Closed`] after a close. Nothing is queued then.
    pub fn push_frame(&mut self, content: impl Into<Bytes>) -> Result<(), Error> {
        self.core.push_frame(content.into())
    }

    /// Queues a producer: a stream of chunks, sent raw, in its turn.
    ///
    /// [`producer`](crate::producer) has ready-made ones, also of iterators and
    /// readers. It is polled only when it is first in the queue and there is room,
    /// and dropped once: exhausted, failed, discarded or with the channel. If it
    /// fails, the queue is cleared, the writing side is closed, and the error
    /// surfaces once as [`Error::Producer`].
    pub fn push_with_producer<S, B, E>(&mut self, producer: S)
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<io::Error>,
    {
        self.core.output.push_producer(boxed(producer));
    }

    /// Closes the writing side once everything queued so far is sent.
    ///
    /// Input goes on until it ends: `next` and `receive` still give frames, and
    /// only [`run`](Self::run) hands out no more. From now on `Sink` answers
    /// [`Error::Closed`] and a [`Pusher`] gives data back.
    pub fn close_when_done(&mut self) {
        self.core.close_when_done();
    }

    /// Drops everything buffered, in both directions. Emergencies only.
    ///
    /// That is the input not yet handed out, whole frames included, and the
    /// output not yet sent, which may cut one of your messages in two. Of an
    /// unfinished frame the rest is skipped when it comes, through the
    /// terminator in force, so that its tail does not become a frame. A close
    /// that was asked for stays.
    pub fn discard_buffers(&mut self) -> Discarded {
        let buffer = std::mem::take(&mut self.core.input.buffer);
        let dropped = self.core.codec.discard(&buffer);
        // What is left is the beginning of the terminator to skip to.
        self.core.input.buffer = buffer.as_ref().get(dropped..).unwrap_or_default().into();
        self.core.discard_output(dropped)
    }

    /// The bytes received and not yet handed out.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.core.input.buffer
    }

    /// What is queued and not sent, as counted against the high-water mark:
    /// each chunk its length plus 64 bytes, a producer 1 KiB. Small pushes are
    /// gathered into chunks; what a [`Pusher`] has pushed is not in it before the
    /// channel is next polled.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.core.output.queued() as u64
    }

    /// How many bytes the transport has taken since the channel was made: for
    /// telling a peer that is slow from one that does not read.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.core.output.sent()
    }

    /// Whether the channel was closed, and the time to [linger](Builder::linger)
    /// was over before the peer had closed its side. Everything was sent, but
    /// whether it has read that is not known.
    #[must_use]
    pub fn linger_timed_out(&self) -> bool {
        self.core.linger_timed_out
    }

    /// A handle that pushes into this channel from other tasks.
    pub fn pusher(&mut self) -> Pusher {
        self.core.pusher()
    }

    /// The codec, to look at its settings.
    #[must_use]
    pub fn codec(&self) -> &TerminatorCodec {
        &self.core.codec
    }

    /// The transport.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The transport. Do not read or write it: the channel would not know.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
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

impl<T: AsyncRead + AsyncWrite + Unpin> futures::stream::FusedStream for Channel<T> {
    fn is_terminated(&self) -> bool {
        let state = self.core.input.state;
        matches!(state, InputState::Over | InputState::Failed)
            || (matches!(state, InputState::TimedOut(_)) && self.core.has_told_all())
    }
}

/// One item is one frame, encoded with `encode_terminator`.
///
/// # Cancel safety
///
/// `SinkExt::feed` and `send` are cancel safe in this sense: if their future is
/// dropped, the item was queued whole or not at all. With `flush` and `close`
/// what is not sent stays queued, and so does the close.
impl<T: AsyncRead + AsyncWrite + Unpin> Sink<Bytes> for Channel<T> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.core.output.is_open() || !self.core.output.has_room() {
            // What does not fit goes out; whatever stops that wakes us.
            let sent = self.poll_send(cx);
            let Core { output, .. } = &mut self.core;
            let waits = (output.is_open() && !output.has_room())
                || (output.has_failed() && !output.is_shut());
            if waits && sent.is_pending() {
                self.core.pause_frame();
                return Poll::Pending;
            }
        }
        self.core.send_result()?;
        Poll::Ready(if self.core.output.is_open() { Ok(()) } else { Err(Error::Closed) })
    }

    fn start_send(mut self: Pin<&mut Self>, item: Bytes) -> Result<(), Error> {
        self.push_frame(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush_all(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.close_when_done();
        self.poll_flush_all(cx)
    }
}

impl<T> fmt::Debug for Channel<T> {
    /// Shows lengths, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("terminator", self.terminator())
            .field("unread", &self.unread().len())
            .field("queued_bytes", &self.queued_bytes())
            .field("input", &self.core.input.state)
            .field("open", &self.core.output.is_open())
            .finish_non_exhaustive()
    }
}

/// What [`discard_buffers`](Channel::discard_buffers) dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Bytes received and not yet handed out.
    pub input_bytes: usize,
    /// Bytes queued or buffered and not yet sent.
    pub output_bytes: u64,
    /// Producers in the queue.
    pub producers: usize,
}
