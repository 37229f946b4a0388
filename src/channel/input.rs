//! The reading side: the buffer, how much to read at a time, and where input
//! ends.

use crate::Timeout;
use bytes::{BufMut, BytesMut};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

pub(crate) struct Input {
    pub(crate) buffer: BytesMut,
    pub(crate) state: InputState,
    /// How much the next read asks for.
    read_size: usize,
    max_read_size: usize,
    /// How often it may be read on after the writing side has broken.
    late_reads_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputState {
    Open,
    /// The peer has ended it; what is buffered is still to be handed out.
    Ended,
    /// Everything was handed out.
    Done,
    /// And that was told. It stays so.
    Over,
    /// This deadline has passed, which was told. It could go on.
    TimedOut(Timeout),
    /// A `Pusher` has given the connection up, and that is to be told.
    Aborted,
    /// It did not end, but broke, and the error was told. It stays so.
    Failed,
}

impl Input {
    pub(crate) fn new(in_buffer_size: usize) -> Self {
        let max_read_size = in_buffer_size.max(1);
        Input {
            buffer: BytesMut::new(),
            state: InputState::Open,
            read_size: STACK_READ.min(max_read_size),
            max_read_size,
            late_reads_left: LATE_READS,
        }
    }

    /// Whether there may be one more read after the writing side has broken. A peer
    /// must not keep the channel by sending on.
    pub(super) fn takes_late_read(&mut self) -> bool {
        let left = self.late_reads_left.checked_sub(1);
        self.late_reads_left = left.unwrap_or_default();
        left.is_some()
    }

    /// Gives the memory of an empty buffer back.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Reads once into the buffer: how many bytes, 0 at the end of input.
    pub(crate) fn poll_fill<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        loop {
            match ready!(self.poll_fill_once(cx, io)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    self.adapt(n);
                    return Poll::Ready(Ok(n));
                }
            }
        }
    }

    fn poll_fill_once<T>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        // A frame far larger than a read has blown the buffer up: give it back.
        let blown_up = self.max_read_size.saturating_mul(4).max(16 * STACK_READ);
        if self.buffer.len() <= self.max_read_size && self.buffer.try_reclaim(blown_up) {
            self.buffer = BytesMut::from(self.buffer.as_ref());
        }
        let read = if self.buffer.is_empty() && self.read_size <= STACK_READ {
            self.poll_fill_from_stack(cx, io)
        } else {
            self.buffer.reserve(self.read_size);
            poll_read_buf(Pin::new(io), cx, &mut (&mut self.buffer).limit(self.read_size))
        };
        if read.is_pending() && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        read
    }

    /// Waiting must not cost a buffer: reads into the stack, and allocates only
    /// for what came.
    fn poll_fill_from_stack<T>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut T,
    ) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        let mut stack = [const { MaybeUninit::<u8>::uninit() }; STACK_READ];
        let size = self.read_size.min(STACK_READ);
        let mut block = ReadBuf::uninit(stack.get_mut(..size).unwrap_or_default());
        ready!(Pin::new(io).poll_read(cx, &mut block))?;
        let read = block.filled();
        if self.buffer.try_reclaim(read.len()) {
            self.buffer.extend_from_slice(read);
        } else {
            // Of its exact size: a frame that is kept keeps no more than this.
            self.buffer = BytesMut::from(read);
        }
        Poll::Ready(Ok(read.len()))
    }

    /// Reads grow while they come back full, and shrink when they do not.
    fn adapt(&mut self, read: usize) {
        if read >= self.read_size {
            self.read_size = self.read_size.saturating_mul(2).min(self.max_read_size);
        } else if read < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(STACK_READ.min(self.max_read_size));
        }
    }
}

/// What lies in the socket's buffer when a frame is late, or when writing has
/// failed, has arrived in time, perhaps; so many reads are taken for that.
pub(super) const LATE_READS: usize = 32;

/// The smallest read; up to this size the stack is read into.
const STACK_READ: usize = 4 * 1024;
