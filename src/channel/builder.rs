use super::{Channel, RunState};
use crate::TerminatorCodec;
use crate::deadlines::{Deadlines, Timeouts};
use crate::read::Reader;
use crate::terminator::IntoTerminator;
use crate::write::{Watermarks, Writer};
use bytes::BytesMut;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

/// The settings of a [`Channel`] before it is created.
///
/// [`Channel::builder`] returns the defaults. To create many channels, clone the builder.
///
/// ```
/// # let (io, _peer) = tokio::io::duplex(64);
/// use asynchat::Channel;
///
/// let channel = Channel::builder().terminator("\r\n").max_length(1000).build(io);
/// assert_eq!(channel.codec().max_length(), 1000);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Builder {
    codec: TerminatorCodec,
    in_buffer_size: usize,
    out_buffer_size: usize,
    high_water: usize,
    low_water: usize,
    linger: Duration,
    timeouts: Timeouts,
    corked: bool,
    pause_when_full: bool,
    read_buf: BytesMut,
}

impl Default for Builder {
    fn default() -> Self {
        Builder {
            codec: TerminatorCodec::default(),
            in_buffer_size: 64 * 1024,
            out_buffer_size: 64 * 1024,
            high_water: 128 * 1024,
            low_water: 32 * 1024,
            linger: Duration::from_secs(1),
            timeouts: Timeouts::default(),
            corked: false,
            pause_when_full: false,
            read_buf: BytesMut::new(),
        }
    }
}

/// # Creating a channel
impl<T: AsyncRead + AsyncWrite + Unpin> Channel<T> {
    /// Creates a channel with the default settings, whose first frame ends at `terminator`.
    ///
    /// `io` is any transport that reads and writes: a socket, TLS, a [`Pipe`](crate::Pipe).
    /// No buffer is allocated.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// use asynchat::Channel;
    ///
    /// let (here, there) = tokio::io::duplex(64); // or a `TcpStream`
    /// let (mut channel, mut peer) = (Channel::new(here, "\n"), Channel::new(there, "\n"));
    /// peer.push("hello\n");
    /// peer.flush().await?;
    /// assert_eq!(channel.receive("\n").await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(io: T, terminator: impl IntoTerminator) -> Self {
        Builder::default().terminator(terminator).build(io)
    }
}

impl Channel<()> {
    /// Returns the default settings of a channel, to change more than the terminator.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, Terminator};
    ///
    /// let builder = Channel::builder().terminator("\r\n").corked(true).max_length(1000);
    /// let channel = builder.build(io);
    /// assert_eq!(*channel.terminator(), Terminator::crlf());
    /// assert_eq!(channel.codec().max_length(), 1000);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Sets the codec, with all its settings. The codec may be in the middle of a frame.
    ///
    /// ```
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, TerminatorCodec};
    ///
    /// let codec = TerminatorCodec::new("\n").with_max_length(1000);
    /// let channel = Channel::builder().codec(codec).build(io);
    /// assert_eq!(channel.codec().max_length(), 1000);
    /// ```
    pub fn codec(mut self, codec: TerminatorCodec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the terminator of the first frame. Default: none.
    pub fn terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.codec.set_terminator(terminator);
        self
    }

    /// Sets the maximum length of a frame in whole mode, in bytes, without the terminator. Default:
    /// 64 KiB. `usize::MAX` means no limit.
    ///
    /// For a [`message`](crate::Terminator::message) the limit applies to head and body together.
    /// For bodies of up to 1 MiB that follow a length of 4 bytes, set 1 MiB + 4.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"too long\nshort\n").await.unwrap();
    /// use asynchat::{Channel, Error};
    ///
    /// let mut channel = Channel::builder().terminator("\n").max_length(5).build(io);
    /// let too_long = channel.next().await.unwrap();
    /// assert!(matches!(too_long, Err(Error::FrameTooLong { limit: 5, .. })));
    /// assert_eq!(channel.next().await.unwrap()?.data(), b"short");
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_length(mut self, max_length: usize) -> Self {
        self.codec.set_max_length(max_length);
        self
    }

    /// Sets the maximum length of the head of a [`message`](crate::Terminator::message), in bytes.
    /// Default: 64 KiB, or `max_length` if that is less.
    pub fn max_head(mut self, max_head: usize) -> Self {
        self.codec.set_max_head(max_head);
        self
    }

    /// Sets whether frames are returned in parts, as they arrive. Default: no.
    ///
    /// [`receive`](Channel::receive) returns frames whole in both modes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # use tokio::io::AsyncWriteExt;
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// use asynchat::{Channel, Frame};
    ///
    /// let mut channel = Channel::builder().terminator("\n").streaming(true).build(io);
    /// peer.write_all(b"hel").await?;
    /// assert_eq!(channel.next().await.unwrap()?, Frame::Partial("hel".into()));
    /// peer.write_all(b"lo\n").await?;
    /// assert_eq!(channel.next().await.unwrap()?, Frame::Complete("lo".into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.codec.set_streaming(streaming);
        self
    }

    /// Sets whether the terminator stays at the end of a complete frame. Default: no.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # tokio::io::AsyncWriteExt::write_all(&mut peer, b"one\r\n").await.unwrap();
    /// use asynchat::{Channel, Terminator};
    ///
    /// let builder = Channel::builder().terminator(Terminator::line()).keep_terminator(true);
    /// let mut channel = builder.build(io);
    /// assert_eq!(channel.next().await.unwrap()?.data(), b"one\r\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_terminator(mut self, keep: bool) -> Self {
        self.codec.set_keep_terminator(keep);
        self
    }

    /// Sets the terminator that `Sink` and [`push_frame`](Channel::push_frame) append: a byte
    /// string, or the first of a set. Default: none.
    ///
    /// With any other terminator, they append nothing and check nothing. To send a message, push
    /// its head with [`push_slice`](Channel::push_slice), and then its body.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    /// use futures::SinkExt;
    ///
    /// let mut channel = Channel::builder().encode_terminator("\r\n").build(io);
    /// channel.send("hello".into()).await?;
    /// # let mut peer = Channel::new(peer, None);
    /// assert_eq!(peer.receive(7).await?, "hello\r\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn encode_terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.codec.set_encode_terminator(terminator);
        self
    }

    /// Sets the maximum number of bytes of one read. Default: 65536.
    ///
    /// Reads start small, and grow up to this size while the transport fills them.
    pub fn in_buffer_size(mut self, bytes: usize) -> Self {
        self.in_buffer_size = bytes;
        self
    }

    /// Sets the number of bytes that the channel gathers for one write. Default: 65536.
    ///
    /// Small chunks are copied into blocks, and large chunks are written without a copy. With 256
    /// KiB, and a [high-water mark](Self::high_water) above that, bulk output can be a quarter
    /// faster.
    pub fn out_buffer_size(mut self, bytes: usize) -> Self {
        self.out_buffer_size = bytes;
        self
    }

    /// Sets the number of queued bytes at which the `Sink` and a [`Pusher`](crate::Pusher)
    /// wait and [`run`](Channel::run) stops reading. Default: 128 KiB.
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// Sets the number of queued bytes at which waiting pushes and paused reading resume. Default:
    /// 32 KiB.
    pub fn low_water(mut self, bytes: usize) -> Self {
        self.low_water = bytes;
        self
    }

    /// Sets how long closing a connection may wait for the peer. Default: one second.
    ///
    /// After everything is sent, [`Channel::close`] and [`Channel::run`] wait at most this long for
    /// the peer's close. If [`Timeouts::write`] is not set, they also wait at most this long while
    /// output is pending and the transport accepts nothing.
    ///
    /// When its send buffer is full, a kernel accepts nothing until a third of the buffer is free.
    /// On a slow link that can take longer than a second. Set [`Timeouts::write`] then, or a longer
    /// linger.
    ///
    /// With zero, they do not wait for the peer's close, and a stalled write has no limit. Set zero
    /// in a runtime without a timer, where any other value panics.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    /// use std::time::Duration;
    ///
    /// let mut channel = Channel::builder().linger(Duration::from_secs(5)).build(io);
    /// channel.push("bye\n");
    /// channel.close().await?; // after 5 seconds, because the peer does not close
    /// assert!(channel.linger_timed_out());
    /// # drop(peer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the limits for slow frames, idle peers and stalled writes. Default: none.
    ///
    /// See [timeouts](crate::guide::servers#timeouts) in the guide.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets whether `next` and `receive` send only when no whole frame is buffered, or when
    /// `out_buffer_size` is reached. Default: no.
    ///
    /// The answers to pipelined requests then share one write, as they do in [`run`](Channel::run).
    /// RFC 2920 asks mail servers to do so. With 16 pipelined requests, a server that answers at
    /// once is about ten times faster.
    ///
    /// Each answer then waits for the answers to later requests that are already buffered. Do not
    /// cork a channel if its answers take a long time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, peer) = tokio::io::duplex(64);
    /// # let mut peer = asynchat::Channel::new(peer, "\n");
    /// # peer.push("one\ntwo\n");
    /// # peer.flush().await?;
    /// use asynchat::Channel;
    /// use futures::FutureExt;
    ///
    /// let mut channel = Channel::builder().terminator("\n").corked(true).build(io);
    /// while let Some(Some(request)) = channel.next().now_or_never() {
    ///     channel.push(request?.into_data());
    ///     channel.push("\n"); // the last call of `next` sends both answers
    /// }
    /// assert_eq!(channel.sent_bytes(), 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn corked(mut self, corked: bool) -> Self {
        self.corked = corked;
        self
    }

    /// Sets whether `next`, `receive` and the `Stream` neither read nor deliver above the
    /// [high-water mark](Self::high_water), as [`run`](Channel::run) does. Default: no.
    ///
    /// They then wait until the queue has drained to the [low-water mark](Self::low_water). Up to
    /// one `in_buffer_size` is read ahead, to notice a broken connection. Meanwhile
    /// [`Timeouts::frame`] and [`Timeouts::idle`] are paused.
    ///
    /// Set it in a server whose peers may send requests without reading the answers. The channel
    /// then stops reading their requests, so the queued answers stay bounded. Never set it on both
    /// ends of a connection, because two full peers would then wait for each other.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # use tokio::io::AsyncWriteExt;
    /// # let (io, mut peer) = tokio::io::duplex(64);
    /// # peer.write_all(&[b'\n'; 64]).await.unwrap();
    /// use asynchat::Channel;
    /// use futures::FutureExt;
    ///
    /// let builder = Channel::builder().terminator("\n").pause_when_full(true);
    /// let mut channel = builder.high_water(1000).low_water(1000).build(io);
    /// while let Some(Some(request)) = channel.next().now_or_never() {
    ///     request?;
    ///     channel.push(vec![b'x'; 500]); // which the peer does not read
    /// }
    /// assert!(channel.queued_bytes() < 2000);
    /// # channel.discard_buffers();
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause_when_full(mut self, pause: bool) -> Self {
        self.pause_when_full = pause;
        self
    }

    /// Sets input that has already been read from the transport. Default: none.
    ///
    /// The channel delivers these bytes first, as if it had read them itself. So does each channel
    /// of a clone of the builder. For example, hyper's `Upgraded` returns a transport and the bytes
    /// that were read past the HTTP head. See [hyper](crate::guide::hyper) in the guide.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), asynchat::Error> {
    /// # let (io, _peer) = tokio::io::duplex(64);
    /// use asynchat::Channel;
    ///
    /// let mut channel = Channel::builder().terminator("\n").read_buf(&b"hello\n"[..]).build(io);
    /// assert_eq!(channel.receive("\n").await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_buf(mut self, read_buf: impl Into<BytesMut>) -> Self {
        self.read_buf = read_buf.into();
        self
    }

    /// Creates the channel. No buffer is allocated.
    pub fn build<T: AsyncRead + AsyncWrite + Unpin>(self, io: T) -> Channel<T> {
        let watermarks = Watermarks::new(self.high_water, self.low_water);
        let mut deadlines = None;
        Deadlines::set(&mut deadlines, self.timeouts);
        // No buffer is allocated.
        let mut framed = Framed::with_capacity(io, self.codec, 0);
        *framed.read_buffer_mut() = self.read_buf;
        Channel {
            framed,
            reader: Reader::new(self.in_buffer_size),
            writer: Writer::new(self.out_buffer_size, watermarks),
            inbox: None,
            deadlines,
            wakers: Default::default(),
            linger: self.linger,
            linger_timed_out: false,
            corked: self.corked,
            pause_when_full: self.pause_when_full,
            run: RunState::New,
        }
    }
}

impl fmt::Debug for Builder {
    /// Shows the length of the input, never content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("codec", &self.codec)
            .field("in_buffer_size", &self.in_buffer_size)
            .field("out_buffer_size", &self.out_buffer_size)
            .field("high_water", &self.high_water)
            .field("low_water", &self.low_water)
            .field("linger", &self.linger)
            .field("timeouts", &self.timeouts)
            .field("corked", &self.corked)
            .field("pause_when_full", &self.pause_when_full)
            .field("read_buf", &self.read_buf.len())
            .finish()
    }
}
