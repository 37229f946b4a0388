//! The input side: how much to read at a time, and the life of the input. The state of
//! the input is assigned in this file and in no other.

mod guard;

pub(crate) use self::guard::InputGuard;

use crate::TerminatorCodec;
use crate::budget::Budget;
use bytes::{BufMut, BytesMut};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::codec::Framed;
use tokio_util::io::poll_read_buf;

pub(crate) struct Reader {
    state: Reading,
    /// The number of bytes that the next read asks for.
    read_size: u32,
    max_read_size: u32,
    /// `true` if the read before returned less than a quarter.
    was_short: bool,
    /// The number of bytes read from the transports.
    received: u64,
    /// The number of reads that may still follow a failure of the output.
    late_reads_left: u8,
    /// For loops over `next`, `receive` and `run`.
    pub(crate) budget: Budget,
}

/// The state of the input.
#[derive(Debug)]
pub(crate) enum Reading {
    Open,
    /// No more input arrives, but buffered frames are still to be delivered.
    Draining(Stop),
    /// The channel is being closed: input is read and dropped.
    Discarding,
    /// Everything is delivered.
    Ended(End),
}

/// The reason why no more input arrives.
#[derive(Debug)]
pub(crate) enum Stop {
    /// `delivered` is `true` if a frame that the end of input ends was delivered.
    Eof { delivered: bool },
    /// Reading failed. Output continues.
    Failed(io::Error),
    /// The connection broke, which the output reports.
    Broken,
}

/// The end of the input, and whether it has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof {
        reported: bool,
    },
    Aborted {
        reported: bool,
    },
    /// Reported. `set_timeouts` resumes the input.
    TimedOut(Late),
    /// Reported. The connection may have broken in both directions.
    Failed {
        broke: bool,
    },
    /// A head is invalid. Reported; the buffered input stays unread.
    Refused(Rest),
}

/// The input that follows an invalid head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// More may arrive.
    Open,
    /// No more arrives.
    Over,
    /// The connection broke after its output had ended. The error is `None` once it is reported.
    Broke(Option<io::ErrorKind>),
}

/// The limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    Frame,
    Idle,
}

/// The result of one read.
#[derive(Debug)]
pub(crate) enum Read {
    /// Bytes were read, or input is over.
    Done,
    /// The connection broke: output is over as well.
    Broken(io::Error),
}

impl Reader {
    pub(crate) fn new(in_buffer_size: usize) -> Self {
        let max_read_size = u32::try_from(in_buffer_size.max(1)).unwrap_or(u32::MAX);
        Reader {
            state: Reading::Open,
            read_size: max_read_size.min(STACK_READ as u32),
            max_read_size,
            was_short: false,
            received: 0,
            late_reads_left: LATE_READS,
            budget: Budget::new(),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> &Reading {
        &self.state
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, Reading::Open)
    }

    /// Returns `true` if the peer has ended its side, so that all remaining input is buffered.
    #[inline]
    pub(crate) fn is_at_eof(&self) -> bool {
        matches!(self.state, Reading::Draining(Stop::Eof { .. }))
    }

    /// Returns `true` if nothing more is delivered or reported in any case.
    pub(crate) fn is_fused(&self) -> bool {
        match self.state {
            Reading::Open | Reading::Draining(_) => false,
            Reading::Discarding | Reading::Ended(End::Failed { .. } | End::Refused(_)) => true,
            Reading::Ended(End::Eof { reported } | End::Aborted { reported }) => reported,
            Reading::Ended(End::TimedOut(_)) => false,
        }
    }

    /// Returns `true` if an error of the input is still to be reported.
    pub(crate) fn has_failure(&self) -> bool {
        matches!(self.state, Reading::Draining(Stop::Failed(_)))
    }

    pub(crate) fn is_timed_out(&self) -> bool {
        matches!(self.state, Reading::Ended(End::TimedOut(_)))
    }

    /// Everything buffered is delivered. Returns the error to report, if there is one.
    pub(crate) fn finish(&mut self) -> Option<io::Error> {
        let failed = Reading::Ended(End::Failed { broke: false });
        let stop = match std::mem::replace(&mut self.state, failed) {
            Reading::Draining(stop) => stop,
            other => {
                self.state = other;
                return None;
            }
        };
        match stop {
            Stop::Eof { .. } => self.state = Reading::Ended(End::Eof { reported: false }),
            Stop::Failed(error) => {
                self.state = Reading::Ended(End::Failed { broke: is_break(&error) });
                return Some(error);
            }
            Stop::Broken => self.state = Reading::Ended(End::Failed { broke: true }),
        }
        None
    }

    /// Notes that a frame that the end of input ends is delivered. Returns `true` if one was
    /// delivered before.
    pub(crate) fn deliver_end(&mut self) -> bool {
        match &mut self.state {
            Reading::Draining(Stop::Eof { delivered }) => std::mem::replace(delivered, true),
            _ => false,
        }
    }

    /// Notes that the end is reported.
    pub(crate) fn note_reported(&mut self) {
        if let Reading::Ended(End::Eof { reported } | End::Aborted { reported }) = &mut self.state {
            *reported = true;
        }
    }

    /// Ends the input, because a failure of the output is reported instead of its end.
    pub(crate) fn fail(&mut self) {
        self.state = Reading::Ended(End::Failed { broke: true });
    }

    /// Notes that a head is invalid, which is being reported.
    pub(crate) fn refuse(&mut self) {
        let rest = if self.is_open() { Rest::Open } else { Rest::Over };
        self.state = Reading::Ended(End::Refused(rest));
    }

    pub(crate) fn time_out(&mut self, late: Late) {
        self.state = Reading::Ended(End::TimedOut(late));
    }

    /// Continues if a timeout has ended the input.
    pub(crate) fn resume(&mut self) {
        if let Reading::Ended(End::TimedOut(_)) = self.state {
            self.state = Reading::Open;
        }
    }

    /// Aborts the input. Returns whether to drop the buffered input, which stays if the input was
    /// over or is aborted already.
    pub(crate) fn abort(&mut self) -> bool {
        if self.is_fused() || matches!(self.state, Reading::Ended(End::Aborted { .. })) {
            return false;
        }
        self.state = Reading::Ended(End::Aborted { reported: false });
        true
    }

    /// Notes that reading failed, although output had ended without a failure.
    pub(crate) fn note_failure(&mut self, error: io::Error) {
        self.state = match self.state {
            Reading::Ended(End::Refused(_)) => {
                Reading::Ended(End::Refused(Rest::Broke(Some(error.kind()))))
            }
            _ => Reading::Draining(Stop::Failed(error)),
        };
    }

    /// Takes the error of a break that is still to be reported. The frames stay.
    pub(crate) fn take_break(&mut self) -> Option<io::Error> {
        if let Reading::Ended(End::Refused(Rest::Broke(kind))) = &mut self.state {
            return kind.take().map(io::Error::from);
        }
        match std::mem::replace(&mut self.state, Reading::Draining(Stop::Broken)) {
            Reading::Draining(Stop::Failed(error)) if is_break(&error) => Some(error),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Returns `true` if the connection has broken, which is reported.
    pub(crate) fn has_broken(&self) -> bool {
        matches!(
            self.state,
            Reading::Draining(Stop::Broken)
                | Reading::Ended(End::Failed { broke: true } | End::Refused(Rest::Broke(_)))
        )
    }

    /// Returns `true` if more may arrive, and be read to notice a break.
    pub(crate) fn may_read_ahead(&self) -> bool {
        matches!(self.state, Reading::Open | Reading::Ended(End::Refused(Rest::Open)))
    }

    /// Returns `true` if a head was invalid. Buffered input stays unread.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.state, Reading::Ended(End::Refused(_)))
    }

    /// From now on, reads and drops input, without the codec. Returns whether to drop the buffered
    /// input.
    pub(crate) fn discard(&mut self) -> bool {
        match self.state {
            Reading::Open | Reading::Ended(End::TimedOut(_) | End::Refused(Rest::Open)) => {
                self.state = Reading::Discarding;
            }
            Reading::Draining(_) | Reading::Ended(End::Refused(_)) => {
                self.end_discarding();
            }
            Reading::Discarding | Reading::Ended(_) => return false,
        }
        true
    }

    pub(crate) fn is_discarding(&self) -> bool {
        matches!(self.state, Reading::Discarding)
    }

    /// Nothing more is read.
    pub(crate) fn end_discarding(&mut self) {
        self.state = Reading::Ended(End::Eof { reported: true });
    }

    /// Counts a read after a failure of the output. Returns `true` if it may be done. A peer that
    /// continues to send must not keep the channel open.
    pub(crate) fn count_late_read(&mut self) -> bool {
        let left = self.late_reads_left.checked_sub(1);
        self.late_reads_left = left.unwrap_or_default();
        left.is_some()
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The most bytes of one read, and of a read-ahead.
    pub(crate) fn max_read_size(&self) -> usize {
        self.max_read_size as usize
    }

    /// Reads once into the read buffer, at most `limit` bytes, and records the end of the
    /// input.
    pub(crate) fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        framed: &mut Framed<T, TerminatorCodec>,
        limit: usize,
    ) -> Poll<Read>
    where
        T: AsyncRead + Unpin,
    {
        let size = (self.read_size as usize).min(limit);
        let read = ready!(self.poll_fill(cx, framed, size));
        Poll::Ready(match read {
            Ok(0) => {
                tracing::debug!(target: "asynchat", "input ended");
                self.stop(Stop::Eof { delivered: false });
                Read::Done
            }
            Ok(n) => {
                self.received += n as u64;
                self.adapt(n as u32);
                Read::Done
            }
            Err(error) => {
                tracing::debug!(target: "asynchat", %error, "reading failed");
                if is_break(&error) {
                    self.stop(Stop::Broken);
                    Read::Broken(error)
                } else {
                    self.stop(Stop::Failed(error));
                    Read::Done
                }
            }
        })
    }

    /// No more input arrives. Input that is dropped, or was refused, is over at once.
    fn stop(&mut self, stop: Stop) {
        self.state = match self.state {
            Reading::Discarding => Reading::Ended(End::Eof { reported: true }),
            Reading::Ended(End::Refused(_)) => Reading::Ended(End::Refused(Rest::Over)),
            _ => Reading::Draining(stop),
        };
    }

    /// Reads once, again if that is interrupted. Returns the number of bytes.
    fn poll_fill<T>(
        &mut self,
        cx: &mut Context<'_>,
        framed: &mut Framed<T, TerminatorCodec>,
        size: usize,
    ) -> Poll<io::Result<usize>>
    where
        T: AsyncRead + Unpin,
    {
        self.shrink(framed.read_buffer_mut());
        loop {
            let read = if framed.read_buffer().is_empty() && size <= STACK_READ {
                poll_fill_from_stack(cx, framed, size)
            } else {
                poll_fill_buffer(cx, framed, size)
            };
            if !matches!(&read, Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::Interrupted) {
                return read;
            }
        }
    }

    /// Frees a buffer that a frame far larger than a read has enlarged.
    fn shrink(&self, buffer: &mut BytesMut) {
        let max_read_size = self.max_read_size();
        let enlarged = max_read_size.saturating_mul(4).max(16 * STACK_READ);
        if buffer.len() <= max_read_size && buffer.try_reclaim(enlarged) {
            *buffer = BytesMut::from(buffer.as_ref());
        }
    }

    /// Reads grow while the transport fills them. They shrink when two in a row return less than a
    /// quarter. One is not enough, because it may be the rest of a burst.
    fn adapt(&mut self, read: u32) {
        let is_short = read < self.read_size / 4;
        if read >= self.read_size {
            self.read_size = self.read_size.saturating_mul(2).min(self.max_read_size);
        } else if is_short && self.was_short {
            let least = self.max_read_size.min(STACK_READ as u32);
            self.read_size = (self.read_size / 2).max(least);
        }
        self.was_short = is_short;
    }
}

fn poll_fill_buffer<T>(
    cx: &mut Context<'_>,
    framed: &mut Framed<T, TerminatorCodec>,
    size: usize,
) -> Poll<io::Result<usize>>
where
    T: AsyncRead + Unpin,
{
    let mut guard = InputGuard::new(framed);
    let (io, buffer) = guard.transport();
    buffer.reserve(size);
    let read = poll_read_buf(Pin::new(io), cx, &mut (&mut *buffer).limit(size));
    if read.is_pending() {
        release(buffer);
    }
    read
}

/// Reads into the stack, and allocates only for the bytes that arrived, because waiting must not
/// cost a buffer.
fn poll_fill_from_stack<T>(
    cx: &mut Context<'_>,
    framed: &mut Framed<T, TerminatorCodec>,
    size: usize,
) -> Poll<io::Result<usize>>
where
    T: AsyncRead + Unpin,
{
    let mut stack = [const { MaybeUninit::<u8>::uninit() }; STACK_READ];
    let mut block = ReadBuf::uninit(stack.get_mut(..size).unwrap_or_default());
    let read = Pin::new(framed.get_mut()).poll_read(cx, &mut block);
    let buffer = framed.read_buffer_mut();
    if read.is_pending() {
        release(buffer);
    }
    ready!(read)?;
    let read = block.filled();
    if buffer.try_reclaim(read.len()) {
        buffer.extend_from_slice(read);
    } else {
        // Of its exact size: a frame that is kept holds no more than this.
        *buffer = BytesMut::from(read);
    }
    Poll::Ready(Ok(read.len()))
}

/// Frees the memory of an empty buffer.
pub(crate) fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
}

/// Returns `true` if a read error means that the connection is gone in both directions. Others,
/// such as that of a TLS peer that closes without `close_notify`, end only the input.
fn is_break(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected)
}

/// The number of reads after a failure of the output, because the socket's buffer may hold the last
/// bytes of the peer.
const LATE_READS: u8 = 32;

/// The smallest read. Up to this size, reads go into the stack.
const STACK_READ: usize = 4 * 1024;
