use super::{Channel, Core, Deadlines, Input, Life, Output, TURN, Watermarks};
use crate::{IntoTerminator, TerminatorCodec, Timeouts};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// The settings of a [`Channel`] before it is made.
///
/// ```
/// # let (io, _peer) = tokio::io::duplex(64);
/// use asynchat::Channel;
///
/// let channel = Channel::builder().terminator("\r\n").max_length(1000).build(io);
/// # drop(channel);
/// ```
#[derive(Clone, Debug)]
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
        }
    }
}

impl Builder {
    /// A codec made elsewhere, with all its settings, in the middle of a frame
    /// perhaps.
    pub fn codec(mut self, codec: TerminatorCodec) -> Self {
        self.codec = codec;
        self
    }

    /// What the first frame ends at. Default: none.
    pub fn terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.codec.set_terminator(terminator);
        self
    }

    /// The most bytes of content a frame may have in whole mode, the terminator
    /// not counted. Default: 64 KiB; `usize::MAX` for no limit.
    pub fn max_length(mut self, max_length: usize) -> Self {
        self.codec.set_max_length(max_length);
        self
    }

    /// Whether frames come in parts, as they arrive. Default: no.
    /// [`receive`](Channel::receive) gives them whole all the same.
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.codec.set_streaming(streaming);
        self
    }

    /// Whether the terminator stays at the end of a complete frame. Default: no.
    pub fn keep_terminator(mut self, keep: bool) -> Self {
        self.codec.set_keep_terminator(keep);
        self
    }

    /// What `Sink` and [`push_frame`](Channel::push_frame) append. Default:
    /// nothing.
    pub fn encode_terminator(mut self, terminator: impl IntoTerminator) -> Self {
        self.codec.set_encode_terminator(terminator);
        self
    }

    /// The most bytes to ask for in one read. Default: 65536. Reads start small
    /// and grow up to this while they come back full.
    pub fn in_buffer_size(mut self, bytes: usize) -> Self {
        self.in_buffer_size = bytes;
        self
    }

    /// How many bytes are gathered for one write: small chunks in blocks, large
    /// ones where they lie. Default: 65536. Who sends in bulk can win a quarter with
    /// 256 KiB, and a [high-water mark](Self::high_water) above that.
    pub fn out_buffer_size(mut self, bytes: usize) -> Self {
        self.out_buffer_size = bytes;
        self
    }

    /// At how many queued bytes `Sink` and [`Pusher`](crate::Pusher) wait and
    /// [`run`](Channel::run) stops reading. Default: 128 KiB.
    pub fn high_water(mut self, bytes: usize) -> Self {
        self.high_water = bytes;
        self
    }

    /// At how many queued bytes they go on. Default: 32 KiB.
    pub fn low_water(mut self, bytes: usize) -> Self {
        self.low_water = bytes;
        self
    }

    /// How long [`run`](Channel::run) and [`close`](Channel::close) read on, and drop what
    /// they read, after the writing side is shut down. Default: one second.
    ///
    /// Closing a socket with unread input makes the kernel reset it, and that
    /// destroys the answer on its way to the peer (RFC 9112, section 9.6).
    /// Zero is for none, and for runtimes without a timer: there any other
    /// value panics when they get so far.
    ///
    /// That the peer did not close in this time is no error, for everything was
    /// sent; [`linger_timed_out`](Channel::linger_timed_out) tells.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long to wait for the peer. Default: no limits.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Whether `next` and `receive` send only when no whole frame is buffered,
    /// or `out_buffer_size` is reached. Default: no.
    ///
    /// The answers to pipelined requests then go out together, in one write
    /// instead of one each, as those of [`run`](Channel::run) do (RFC 2920 asks
    /// it of mail servers). But an answer waits for those to the requests
    /// behind it: do not set it if they take long.
    pub fn corked(mut self, corked: bool) -> Self {
        self.corked = corked;
        self
    }

    /// The channel.
    pub fn build<T: AsyncRead + AsyncWrite + Unpin>(self, io: T) -> Channel<T> {
        let room = Watermarks::new(self.high_water, self.low_water.min(self.high_water));
        Channel {
            io,
            core: Core {
                codec: self.codec,
                input: Input::new(self.in_buffer_size),
                output: Output::new(self.out_buffer_size, room),
                inbox: None,
                life: Life::New,
                turn: TURN,
                linger: self.linger,
                linger_timed_out: false,
                deadlines: Deadlines::new(self.timeouts),
                corked: self.corked,
            },
        }
    }
}
