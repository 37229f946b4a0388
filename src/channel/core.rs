//! What a channel is apart from its transport, and questions to all of it.

use super::{Discarded, Input, InputState, Output};
use crate::pusher::{Inbox, Pushed, Request};
use crate::{Error, Pusher, TerminatorCodec};
use bytes::{Buf, BytesMut};
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
    pub(crate) linger: Duration,
    /// Whether output waits for input to be used up, as far as there is room.
    pub(crate) corked: bool,
}

/// How far `run` has come.
pub(crate) enum Life {
    New,
    Connected,
    /// The handler knows that input has ended.
    InputEnded,
    /// Shut down; reading on until the peer has closed or the time is over.
    Lingering(Pin<Box<Sleep>>),
    Over,
}

impl Core {
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
        let discarded = Discarded { input_bytes, output_bytes, producers };
        tracing::debug!(target: "asynchat", ?discarded, "buffers discarded");
        discarded
    }

    /// Whether the connection broke, and nothing can come of it any more.
    pub(crate) fn is_lost(&self) -> bool {
        let broken = self.output.has_failed() && self.output.is_shut();
        match self.input.state {
            InputState::Open | InputState::Ended => false,
            InputState::Aborted | InputState::Failed => true,
            InputState::Done | InputState::Over => broken,
        }
    }

    /// Whether the connection came to a bad end.
    pub(crate) fn has_failed(&self) -> bool {
        self.output.has_failed() || self.input.state == InputState::Failed
    }

    /// Drops the input of a channel that is being closed.
    pub(crate) fn drop_input(&mut self) {
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
        self.output.break_with(Error::Aborted);
        if !matches!(self.input.state, InputState::Over | InputState::Failed) {
            self.input.buffer = BytesMut::new();
            self.input.state = InputState::Aborted;
        }
    }

    fn queue_pushed(&mut self, pushed: Vec<Pushed>) {
        for item in pushed {
            match item {
                _ if !self.output.is_open() => {}
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
