//! What a channel is apart from its transport, and questions to all of it.

use super::{Deadlines, Discarded, Input, InputState, Output, TURN_FRAME};
use crate::codec::{ReadMode, Span};
use crate::pusher::{Inbox, Pushed, Request};
use crate::{Error, Frame, Pusher, TerminatorCodec};
use bytes::{Buf, Bytes, BytesMut};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Sleep;

/// All of a channel but its transport.
pub(crate) struct Core {
    pub(crate) codec: TerminatorCodec,
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Made with the first `Pusher`.
    pub(crate) inbox: Option<Inbox>,
    pub(crate) life: Life,
    /// What may still be handed out and read before a poll for a frame gives
    /// the runtime its turn.
    pub(crate) turn: isize,
    pub(crate) linger: Duration,
    /// Whether that time was over before the peer had closed.
    pub(super) linger_timed_out: bool,
    pub(super) deadlines: Option<Box<Deadlines>>,
    /// Whether output waits for input to be used up, as far as there is room.
    pub(crate) corked: bool,
}

/// How far `run` has come.
pub(crate) enum Life {
    New,
    Connected,
    /// The handler knows that input has ended.
    InputEnded,
    /// Everything is sent; reading on until the peer has closed or the time is
    /// over.
    Lingering(Pin<Box<Sleep>>),
    Over {
        lost: bool,
    },
}

impl Core {
    /// The next frame of what is buffered, as long as input is not over.
    #[inline]
    pub(super) fn next_span(&mut self, mode: ReadMode) -> Result<Option<Span>, Error> {
        let ended = self.input.state == InputState::Ended;
        self.codec.next_span(&mut self.input.buffer, mode, ended)
    }

    /// The same, and a part of the turn for it, if nothing else is to be done and
    /// nothing is unusual.
    #[inline(always)]
    pub(super) fn plain_span(&mut self, mode: ReadMode) -> Option<Span> {
        let is_idle = self.turn > 0 && self.inbox.is_none() && !self.output.has_work();
        if !is_idle || self.input.state != InputState::Open {
            return None;
        }
        let look = self.codec.look(&self.input.buffer, mode);
        let span = self.codec.note(look)?;
        self.turn -= TURN_FRAME;
        Some(span)
    }

    /// A frame that can be had without sending first, if there is room to go on
    /// so. What others want is heard all the same.
    pub(super) fn buffered_span(&mut self, mode: ReadMode) -> Option<Result<Span, Error>> {
        self.absorb();
        self.publish();
        let is_readable = matches!(self.input.state, InputState::Open | InputState::Ended);
        if !is_readable || self.output.is_plenty() || !self.output.has_room() {
            return None;
        }
        let span = self.next_span(mode).transpose();
        if span.is_none() && self.input.state == InputState::Ended {
            // The codec says so once: asked again, it would begin anew.
            self.input.state = InputState::Done;
        }
        span
    }

    /// What `receive` says when there is nothing to come.
    #[cold]
    pub(super) fn receive_after_the_end(&mut self) -> Result<Frame, Error> {
        if self.codec.terminator().is_none() && self.input.state == InputState::Over {
            return Ok(Frame::Complete(BytesMut::new()));
        }
        if let InputState::TimedOut(timeout) = self.input.state {
            // To take what there is of a frame would make one of its tail.
            return Err(Error::Timeout(timeout));
        }
        let rest = self.input.buffer.split().freeze();
        let partial = if self.codec.is_skipping() { Bytes::new() } else { rest };
        Err(Error::UnexpectedEof { partial })
    }

    pub(crate) fn push_frame(&mut self, content: Bytes) -> Result<(), Error> {
        if !self.output.is_open() {
            return Err(Error::Closed);
        }
        let ending = self.codec.ending_for(&content)?;
        self.output.queue.push(content);
        self.output.queue.push_slice(ending);
        Ok(())
    }

    pub(crate) fn close_when_done(&mut self) {
        if let Some(inbox) = &self.inbox {
            let pushed = inbox.close();
            self.queue_pushed(pushed);
        }
        self.output.close_when_done();
    }

    pub(crate) fn discard_output(&mut self, input_bytes: usize) -> Discarded {
        self.absorb();
        let (output_bytes, producers) = self.output.discard();
        self.forget_stall();
        let discarded = Discarded { input_bytes, output_bytes: output_bytes as u64, producers };
        tracing::debug!(target: "asynchat", ?discarded, "buffers discarded");
        discarded
    }

    /// Whether, after a deadline, nothing of the writing side is left to tell.
    pub(super) fn has_told_all(&self) -> bool {
        self.output.is_open() || self.output.is_settled()
    }

    /// Whether the connection broke, and nothing can come of it any more.
    pub(crate) fn is_lost(&self) -> bool {
        match self.input.state {
            InputState::Open | InputState::Ended => false,
            InputState::TimedOut(_) | InputState::Aborted | InputState::Failed => true,
            InputState::Done | InputState::Over => self.output.is_broken(),
        }
    }

    /// Drops the input of a channel that is being closed.
    pub(crate) fn drop_input(&mut self) {
        self.resume_input();
        // Through the codec: should somebody read on with `next`, the tail of a
        // frame must not come as one.
        let dropped = self.codec.discard(&self.input.buffer);
        self.input.buffer.advance(dropped);
        if self.input.state == InputState::Ended {
            self.input.buffer.clear();
            self.input.state = InputState::Done;
        }
    }

    pub(crate) fn pusher(&mut self) -> Pusher {
        let output = &self.output;
        self.inbox
            .get_or_insert_with(|| Inbox::new(output.room, output.queued(), !output.is_open()))
            .pusher()
    }

    /// Lets go of the pushers: what they have pushed is queued, and from now on
    /// they find the channel closed.
    pub(crate) fn dismiss_pushers(&mut self) {
        self.absorb();
        if let Some(inbox) = self.inbox.take() {
            let pushed = inbox.close();
            self.queue_pushed(pushed);
        }
    }

    /// Moves what was pushed from other tasks into the queue.
    pub(crate) fn absorb(&mut self) {
        let Some(inbox) = &self.inbox else { return };
        let (pushed, request) = inbox.take();
        self.queue_pushed(pushed);
        match request {
            Some(Request::CloseWhenDone) => self.output.close_when_done(),
            Some(Request::Abort) => self.abort(),
            None => {}
        }
    }

    fn abort(&mut self) {
        tracing::debug!(target: "asynchat", "aborted");
        self.output.end_with(Error::Aborted);
        if !matches!(self.input.state, InputState::Over | InputState::Failed) {
            self.drop_input();
            self.input.state = InputState::Aborted;
        }
    }

    fn queue_pushed(&mut self, pushed: Vec<Pushed>) {
        for item in pushed {
            match item {
                Pushed::Chunk(chunk) => self.output.queue.push(chunk),
                Pushed::Producer(producer) => self.output.queue.push_producer(producer),
            }
        }
    }

    /// Tells the pushers how things stand.
    pub(super) fn publish(&self) {
        match &self.inbox {
            Some(inbox) if self.output.is_open() => inbox.publish(self.output.queued()),
            Some(inbox) => drop(inbox.close()),
            None => {}
        }
    }

    /// What to answer when `poll_send` has nothing left to do.
    pub(super) fn send_result(&mut self) -> Result<(), Error> {
        match self.output.take_failure() {
            Some(error) => Err(error),
            None if self.output.has_failed() => Err(Error::Closed),
            None => Ok(()),
        }
    }
}
