use super::{Channel, Core, Deadlines, Input, Life, Output, TURN, Timeouts, Watermarks};
use crate::{Terminator, TerminatorCodec};
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
    pub fn terminator(mut self, terminator: impl Into<Terminator>) -> Self {
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
    pub fn encode_terminator(mut self, terminator: impl Into<Terminator>) -> Self {
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

    /// How long [`run`](Channel::run) and
    /// [`close_and_linger`](Channel::close_and_linger) read on, and drop what
    /// they read, after the writing side is shut down. Default: one second.
    ///
    /// Closing a socket with unread input makes the kernel reset it, and that
    /// destroys the answer on its way to the peer (RFC 9112, section 9.6).
    /// Zero is for none, and for runtimes without a timer: there any other
    /// value panics when they get so far.
    ///
    /// That the peer did not close in this time is no error, for everything was
    /// sent; [`lingered_out`](Channel::lingered_out) tells.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long a frame may take from its first byte to its last, terminator
    /// included. Default: no limit.
    ///
    /// Further bytes do not give it more time: a peer that drips has as long as
    /// one that is silent. What is skipped counts as part of its frame, and in
    /// streaming mode the time is that of the whole frame. It ends with
    /// [`Timeout::Frame`](crate::Timeout::Frame).
    ///
    /// The time begins when the channel first waits for the rest of the frame,
    /// not while you are busy with the one before, and stands still while the
    /// channel waits for its own output and does not read: in `run` above the
    /// high-water mark, in `flush`, `ready` and the `Sink`. A frame whose rest
    /// has arrived when you come to read it is not late.
    ///
    /// A peer that has sent nothing of its frame is [idle](Self::idle_timeout),
    /// also if a count of bytes is awaited: set both. (A count that was refused
    /// as too long has begun.) And one that does not read is neither, for both
    /// times stand still: set [the third](Self::write_timeout) too. Without a
    /// terminator there is no frame, except for [`receive`](Channel::receive).
    ///
    /// Needs a runtime with a timer: waiting panics in another one, if this or
    /// one of the next two is set.
    pub fn frame_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.frame = timeout.into();
        self
    }

    /// How long to wait for a frame to begin, the first one too. Default: no
    /// limit.
    ///
    /// The time begins when the channel waits for input and has nothing to send,
    /// and anew with whatever is sent: a peer that is slow to read a long answer
    /// is not idle, nor one for whom a producer is still at work. What you have
    /// still to push, from another task perhaps, the channel does not know: be it
    /// a producer, or [set](Channel::set_idle_timeout) no limit meanwhile. It
    /// ends with [`Timeout::Idle`](crate::Timeout::Idle).
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.idle = timeout.into();
        self
    }

    /// How long the transport may take nothing while output waits for it, or for
    /// the writing side to be shut down. Default: no limit.
    ///
    /// Every byte it takes gives it the whole time anew, and a producer that is
    /// not ready takes none of it. When it is over, output is dropped, and
    /// [`Timeout::Write`](crate::Timeout::Write) is the error of the writing
    /// side, told as a failure of the transport would be: in `next` and `run`
    /// after the frames that have arrived, for which 32 more reads are made, and
    /// no more if the peer sends on. Closing is no exception.
    ///
    /// A kernel takes no more until a good part of its send buffer is free again
    /// (on Linux a third, of up to 4 MiB), however steadily the peer reads: give
    /// it time for that, or make the buffer smaller before, with
    /// `TcpSocket::set_send_buffer_size`.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.write = timeout.into();
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
                lingered_out: false,
                deadlines: Deadlines::new(self.timeouts),
                corked: self.corked,
            },
        }
    }
}
