use crate::TerminatorCodec;
use bytes::{Buf, BytesMut};
use tokio_util::codec::Framed;

/// The read buffer, taken out of its `Framed` while a transport or a callback runs.
///
/// Dropping the guard puts the buffer back, even if that code panics, and removes consumed bytes.
/// No frame is therefore delivered twice, and the tail of a frame never becomes a frame.
pub(crate) struct InputGuard<'f, T> {
    framed: &'f mut Framed<T, TerminatorCodec>,
    input: BytesMut,
    /// At most the length of `input`.
    consumed: usize,
}

impl<'f, T> InputGuard<'f, T> {
    pub(crate) fn new(framed: &'f mut Framed<T, TerminatorCodec>) -> Self {
        let input = std::mem::take(framed.read_buffer_mut());
        InputGuard { framed, input, consumed: 0 }
    }

    /// The transport, and the buffer to read into.
    pub(super) fn transport(&mut self) -> (&mut T, &mut BytesMut) {
        (self.framed.get_mut(), &mut self.input)
    }

    /// The codec, the input, and the number of consumed bytes.
    pub(crate) fn input(&mut self) -> (&mut TerminatorCodec, &[u8], &mut usize) {
        (self.framed.codec_mut(), &self.input, &mut self.consumed)
    }
}

impl<T> Drop for InputGuard<'_, T> {
    fn drop(&mut self) {
        self.input.advance(self.consumed.min(self.input.len()));
        // A swap, because the buffer that it replaces is empty.
        std::mem::swap(self.framed.read_buffer_mut(), &mut self.input);
    }
}
