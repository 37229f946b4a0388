//! A transport, and the peer's end of it.

use loom::sync::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The transport. As in a socket there is room for one waker in each direction.
pub(crate) struct Link(Arc<Mutex<State>>);

#[derive(Clone)]
pub(crate) struct Peer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    input: Vec<u8>,
    is_blocked: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    sent: Vec<u8>,
    is_shut: bool,
}

pub(crate) fn link(is_blocked: bool) -> (Link, Peer) {
    let state = Arc::new(Mutex::new(State { is_blocked, ..State::default() }));
    (Link(Arc::clone(&state)), Peer(state))
}

impl Peer {
    /// Sends a line.
    pub(crate) fn send(&self, line: &str) {
        let mut state = self.0.lock().unwrap();
        state.input.extend_from_slice(line.as_bytes());
        let waker = state.reader.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Takes what the transport could not.
    pub(crate) fn unblock(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_blocked = false;
        let waker = state.writer.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn received(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().sent.clone()).unwrap()
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.0.lock().unwrap().is_shut
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        if state.input.is_empty() {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut state.input));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.is_blocked {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.sent.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().is_shut = true;
        Poll::Ready(Ok(()))
    }
}
