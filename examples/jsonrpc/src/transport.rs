use crate::scan::Scan;
use asynchat::{Channel, Error, Pusher, Terminator, Timeouts};
use bytes::BytesMut;
use example_common::lock;
use futures::{SinkExt, StreamExt};
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::{RxJsonRpcMessage, ServiceRole, TxJsonRpcMessage};
use rmcp::transport::Transport;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::mem::take;
use std::sync::{Arc, Mutex};
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
    /// Locked within a poll only. `close` takes it.
    channel: Arc<Mutex<Option<Channel<T>>>>,
    /// A side of a channel has one waker: that of the send that has the turn.
    turn: Arc<tokio::sync::Mutex<()>>,
    pusher: Pusher,
    max_line: usize,
    line: BytesMut,
    /// Reads on in a line that is too long to be kept.
    too_long: Option<Scan>,
    _role: PhantomData<fn() -> R>,
}

impl<R: ServiceRole, T: AsyncRead + AsyncWrite + Send + Unpin + 'static> JsonLines<R, T> {
    /// `max_line` is in bytes; `rmcp` itself has [`MAX_LINE`].
    pub fn new(io: T, max_line: usize) -> Self {
        let write = Some(STALL).filter(|_| !R::IS_CLIENT);
        let timeouts = Timeouts { write, ..Timeouts::default() };
        let builder = Channel::builder().terminator(Terminator::lf()).streaming(true);
        let builder = builder.high_water(HIGH_WATER).pause_when_full(!R::IS_CLIENT).linger(CLOSE);
        let mut channel = builder.in_buffer_size(READ).timeouts(timeouts).build(io);
        let pusher = channel.pusher();
        let (channel, turn) = (Arc::new(Mutex::new(Some(channel))), Arc::default());
        let (line, too_long, _role) = (BytesMut::new(), None, PhantomData);
        JsonLines { channel, turn, pusher, max_line, line, too_long, _role }
    }

    /// Returns the message that is the line, unless it is refused.
    fn end_line(&mut self) -> Option<RxJsonRpcMessage<R>> {
        if let Some(scan) = self.too_long.take() {
            return self.refuse(scan, true, format!("line longer than {} bytes", self.max_line));
        }
        let line = take(&mut self.line);
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line).trim_ascii();
        match serde_json::from_slice(line) {
            Ok(message) => Some(message),
            Err(_) if line.is_empty() => None,
            Err(error) => {
                self.refuse(Scan::default().read(line), error.is_data(), error.to_string())
            }
        }
    }

    /// Answers an invalid request. An invalid answer is returned as an error for its call.
    fn refuse(&self, scan: Scan, is_json: bool, why: String) -> Option<RxJsonRpcMessage<R>> {
        tracing::warn!(id = ?scan.id, "{why}");
        let code = if is_json { ErrorCode::INVALID_REQUEST } else { ErrorCode::PARSE_ERROR };
        let error = ErrorData::new(code, why, None);
        match (scan.id.clone().flatten(), scan.is_call) {
            (Some(id), false) => return Some(RxJsonRpcMessage::<R>::error(error, Some(id))),
            // A notification has no answer, and errors without an id could be answered in turn.
            (None, is_call) if R::IS_CLIENT || (is_call && scan.id.is_none()) => {}
            (None, _) if !is_json => {}
            (id, _) => _ = self.push(&TxJsonRpcMessage::<R>::error(error, id)),
        }
        None
    }

    fn push(&self, message: &TxJsonRpcMessage<R>) -> Result<(), Error> {
        let mut text = serde_json::to_vec(message).map_err(|error| Error::Io(error.into()))?;
        text.push(b'\n');
        let mut channel = lock(&self.channel);
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
        let (channel, turn, pusher) =
            (self.channel.clone(), self.turn.clone(), self.pusher.clone());
        async move {
            queued?;
            let flush = async {
                let _turn = turn.lock().await;
                poll_fn(|cx| match &mut *lock(&channel) {
                    Some(channel) => channel.poll_flush_unpin(cx),
                    // The pusher's flush is woken.
                    None => Poll::Pending,
                })
                .await
            };
            tokio::select! {
                biased;
                flushed = flush => flushed,
                // While others go on, or `close` does.
                flushed = pusher.flush() => flushed.map_err(|_| Error::Closed),
            }
        }
    }

    /// Cancel safe: the part of a line that has arrived is kept.
    async fn receive(&mut self) -> Option<RxJsonRpcMessage<R>> {
        loop {
            let piece = poll_fn(|cx| match &mut *lock(&self.channel) {
                Some(channel) => channel.poll_next_unpin(cx),
                None => Poll::Ready(None),
            });
            let piece = piece.await?.inspect_err(|error| tracing::warn!("{error}")).ok()?;
            let ends = piece.is_complete();
            self.line.unsplit(piece.into_mut());
            if self.too_long.is_some() || self.line.len() > self.max_line {
                let scan = self.too_long.take().unwrap_or_default();
                self.too_long = Some(scan.read(&take(&mut self.line)));
            }
            if ends && let Some(message) = self.end_line() {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        let Some(mut channel) = lock(&self.channel).take() else { return Ok(()) };
        // Or `STALL` would apply instead of `CLOSE`.
        channel.set_timeouts(Timeouts::default());
        channel.close().await
    }
}

pub const MAX_LINE: usize = 16 << 20;
pub const HIGH_WATER: usize = 1 << 20;
pub const MAX_QUEUED: u64 = 64 << 20;
const READ: usize = 256 * 1024;
pub const STALL: Duration = Duration::from_secs(30);
pub const CLOSE: Duration = Duration::from_secs(2);
