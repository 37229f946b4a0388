//! `Channel`: the settings that may change at any moment.

use super::Channel;
use crate::deadlines::{Deadlines, Timeouts};
use crate::terminator::IntoTerminator;
use crate::{Terminator, TerminatorCodec};

impl<T> Channel<T> {
    /// Changes the terminator, from the first byte not yet delivered.
    pub fn set_terminator(&mut self, terminator: impl IntoTerminator) {
        self.framed.codec_mut().set_terminator(terminator);
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

    /// Sets whether output waits while frames are buffered; see [`Builder::corked`](crate::Builder::corked).
    pub fn set_corked(&mut self, corked: bool) {
        self.corked = corked;
    }

    /// Returns the codec, to change its settings.
    pub fn codec_mut(&mut self) -> &mut TerminatorCodec {
        self.framed.codec_mut()
    }

    /// Returns the current terminator. For a count, this is the number of bytes
    /// remaining.
    #[must_use]
    pub fn terminator(&self) -> &Terminator {
        self.framed.codec().terminator()
    }

    /// Returns the limits of time.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.deadlines.as_ref().map(|deadlines| deadlines.timeouts()).unwrap_or_default()
    }

    /// Returns the codec.
    #[must_use]
    pub fn codec(&self) -> &TerminatorCodec {
        self.framed.codec()
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
}
