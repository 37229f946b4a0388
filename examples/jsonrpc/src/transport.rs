use crate::scan::Scan;
use asynchat::{Channel, Error, Frame, Pusher, Terminator, Timeouts};
use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A transport of `rmcp`: one message per line, on the two sides of a channel. It needs no
/// task: `receive` polls the input, and the sends that are awaited poll the output.
///
/// - Messages go out in the order of the calls of `send`, which never waits itself.
/// - A server stops reading while [`HIGH_WATER`] bytes wait for its client. It ends the
///   connection if the client takes no byte for [`STALL`].
/// - A client always reads, or two full peers could wait for each other. It ends the
///   connection when [`MAX_QUEUED`] bytes wait.
/// - A request that is too long or invalid is answered if its id can be found. An answer of
///   that kind ends the call that waits for it.
/// - `close` sends the queue, unless the peer takes no byte for [`CLOSE`].
pub struct JsonLines<R, T> {
    output: Arc<Output<T>>,
    pusher: Pusher,
    max_line: usize,
    line: BytesMut,
    /// Reads on in a line that is too long to be kept.
    too_long: Option<Scan>,
    _role: PhantomData<fn() -> R>,
}

struct Output<T> {
    /// Locked within a poll only. `close` takes it.
    channel: Mutex<Option<Channel<T>>>,
    /// A side of a channel has one waker: that of the send that has the turn.
    turn: tokio::sync::Mutex<()>,
}

impl<R: ServiceRole, T: AsyncRead + AsyncWrite + Send + Unpin + 'static> JsonLines<R, T> {
    /// `max_line` is in bytes; `rmcp` itself has [`MAX_LINE`].
    pub fn new(io: T, max_line: usize) -> Self {
        let write = Some(STALL).filter(|_| !R::IS_CLIENT);
        let builder = Channel::builder().terminator(Terminator::lf()).streaming(true);
        let builder = builder.high_water(HIGH_WATER).pause_when_full(!R::IS_CLIENT).linger(CLOSE);
        let builder = builder.in_buffer_size(READ);
        let mut channel = builder.timeouts(Timeouts { write, ..Timeouts::default() }).build(io);
        let pusher = channel.pusher();
        let channel = Mutex::new(Some(channel));
        let output = Arc::new(Output { channel, turn: Default::default() });
        let (line, too_long, _role) = (BytesMut::new(), None, PhantomData);
        JsonLines { output, pusher, max_line, line, too_long, _role }
    }

    /// Returns the message that ends with this piece, if one does.
    fn take(&mut self, piece: Frame) -> Option<RxJsonRpcMessage<R>> {
        let ends = piece.is_complete();
        match self.too_long.take() {
            Some(scan) => self.too_long = Some(scan.read(piece.data())),
            None if self.line.is_empty() => self.line = piece.into_mut(),
            None => self.line.extend_from_slice(piece.data()),
        }
        if self.line.len() > self.max_line {
            self.too_long = Some(Scan::default().read(&take(&mut self.line)));
        }
        if !ends {
            return None;
        }
        if let Some(scan) = self.too_long.take() {
            let why = format!("line longer than {} bytes", self.max_line);
            return self.refuse(scan, ErrorCode::INVALID_REQUEST, why);
        }
        let line = take(&mut self.line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        match serde_json::from_slice(line) {
            Ok(message) => Some(message),
            Err(_) if line.is_empty() => None,
            Err(error) => {
                let is_json = error.is_data();
                let code =
                    if is_json { ErrorCode::INVALID_REQUEST } else { ErrorCode::PARSE_ERROR };
                self.refuse(Scan::default().read(line), code, error.to_string())
            }
        }
    }

    /// Answers an invalid request. An invalid answer is returned as an error for its call.
    fn refuse(&self, scan: Scan, code: ErrorCode, why: String) -> Option<RxJsonRpcMessage<R>> {
        tracing::warn!(id = ?scan.id, "{why}");
        let error = ErrorData::new(code, why, None);
        match (scan.id.clone().flatten(), scan.is_call) {
            (Some(id), false) => return Some(RxJsonRpcMessage::<R>::error(error, Some(id))),
            // A notification has no answer, and errors without an id could be answered in turn.
            (None, is_call) if R::IS_CLIENT || (is_call && scan.id.is_none()) => {}
            (None, _) if code == ErrorCode::PARSE_ERROR => {}
            (id, _) => _ = self.push(&TxJsonRpcMessage::<R>::error(error, id)),
        }
        None
    }

    fn push(&self, message: &TxJsonRpcMessage<R>) -> Result<(), Error> {
        let mut text = serde_json::to_vec(message).map_err(|error| Error::Io(error.into()))?;
        text.push(b'\n');
        let mut channel = self.output.lock();
        let channel = channel.as_mut().ok_or(Error::Closed)?;
        if channel.queued_bytes() >= MAX_QUEUED {
            self.pusher.abort();
        }
        channel.push(text);
        Ok(())
    }
}

impl<R: ServiceRole, T> Transport<R> for JsonLines<R, T>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Error = Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<R>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let queued = self.push(&message);
        let (output, pusher) = (Arc::clone(&self.output), self.pusher.clone());
        async move {
            queued?;
            tokio::select! {
                biased;
                flushed = output.flush() => flushed,
                // While others go on, or `close` does.
                flushed = pusher.flush() => flushed.map_err(|_| Error::Closed),
            }
        }
    }

    /// Cancel safe: the part of a line that has arrived is kept.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        loop {
            let piece = poll_fn(|cx| match &mut *self.output.lock() {
                Some(channel) => channel.poll_next_unpin(cx),
                None => Poll::Ready(None),
            });
            let piece = piece.await?.inspect_err(|error| tracing::warn!("{error}")).ok()?;
            if let Some(message) = self.take(piece) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        let channel = self.output.lock().take();
        let Some(mut channel) = channel else { return Ok(()) };
        // Or `STALL` would apply instead of `CLOSE`.
        channel.set_timeouts(Timeouts::default());
        channel.close().await
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Output<T> {
    async fn flush(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let flush = poll_fn(|cx| match &mut *self.lock() {
            Some(channel) => channel.poll_flush_unpin(cx),
            // The pusher's flush is woken.
            None => Poll::Pending,
        });
        flush.await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Channel<T>>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub const MAX_LINE: usize = 16 << 20;
pub const HIGH_WATER: usize = 1 << 20;
pub const MAX_QUEUED: u64 = 64 << 20;
const READ: usize = 256 * 1024;
pub const STALL: Duration = Duration::from_secs(30);
pub const CLOSE: Duration = Duration::from_secs(2);
