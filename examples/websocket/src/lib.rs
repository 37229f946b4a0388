//! A WebSocket connection: messages from frames, the broadcast, and the end.

pub mod frame;
mod handshake;
#[allow(dead_code)] // What is not needed here.
#[path = "../../common/http.rs"]
mod http;

use asynchat::{Channel, Error, Pusher, Timeout, Timeouts};
use bytes::{Bytes, BytesMut};
use example_common::{lock, random};
use frame::Frame;
use futures::FutureExt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The state that the connections share.
#[derive(Default)]
pub struct Server {
    /// The origins of the pages that may connect.
    pub origins: Vec<String>,
    /// Everybody who takes part in the broadcast.
    pub room: Mutex<Vec<Pusher>>,
}

struct Session<'c, T> {
    channel: &'c mut Channel<T>,
    /// The server, if messages go to everybody in its room.
    broadcast: Option<&'c Server>,
    /// The most bytes of a message.
    max: usize,
    /// The opcode and the fragments of a message that is not complete.
    message: Option<(u8, BytesMut)>,
    /// Since when there is no news of the client.
    quiet: Option<Instant>,
    /// The ping that it has not answered.
    asked: Option<Vec<u8>>,
}

/// The error is the Close frame that ends the connection.
type Result<T = ()> = std::result::Result<T, BytesMut>;

impl Server {
    /// Serves one connection to its end.
    pub async fn connection<T>(self: Arc<Self>, io: T, stop: CancellationToken)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let mut channel = Channel::builder()
            .max_length(frame::MAX_HEAD + MAX_MESSAGE)
            .keep_terminator(true) // of the request, which the parser wants to see
            .corked(true) // so that the answers to a burst go out together
            .pause_when_full(true) // so that a client that does not read is not read
            .high_water(MAX_MESSAGE)
            .in_buffer_size(IN_BUFFER)
            .timeouts(TIMEOUTS)
            .build(io);
        let opened = stop.run_until_cancelled(handshake::open(&mut channel, &self.origins)).await;
        let Some(is_broadcast) = opened.flatten() else { return drop(channel.close().await) };
        let pusher = is_broadcast.then(|| channel.pusher());
        lock(&self.room).extend(pusher.clone());
        let broadcast = is_broadcast.then_some(&*self);
        let max = if is_broadcast { MAX_BROADCAST } else { MAX_MESSAGE };
        channel.codec_mut().set_max_length(frame::MAX_HEAD + max);
        let (message, quiet, asked) = (None, None, None);
        let mut session = Session { channel: &mut channel, broadcast, max, message, quiet, asked };
        let ended = stop.run_until_cancelled(session.run()).await;
        let ending = async {
            if let Some(pusher) = pusher {
                lock(&self.room).retain(|member| !member.same_channel(&pusher));
                // All that the room has sent precedes the Close frame.
                let _ = channel.flush().await;
            }
            if let Err(close) = ended.unwrap_or_else(|| Err(close(GOING_AWAY))) {
                channel.push(close);
            }
            // How it ends is no concern of the others.
            let _ = channel.close().await;
        };
        tokio::select! {
            () = ending => {}
            () = stop.cancelled().then(|()| sleep(GRACE)) => {}
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Session<'_, T> {
    /// Returns `Ok` if the client has gone.
    async fn run(&mut self) -> Result {
        self.channel.set_terminator(frame::FRAMES.clone());
        while let Some(frame) = self.channel.next().await {
            match frame {
                Ok(asynchat::Frame::Complete(bytes)) => {
                    let frame = Frame::new(bytes, self.channel.head_len());
                    if self.frame(frame)? {
                        (self.quiet, self.asked) = (None, None);
                    } else if self.quiet.get_or_insert_with(Instant::now).elapsed() >= IDLE {
                        self.ask()?;
                    }
                }
                Err(Error::Timeout(Timeout::Idle(_))) => self.ask()?,
                Err(Error::Timeout(Timeout::Frame(_))) => return Err(close(TOO_SLOW)),
                Err(Error::InvalidHead(_)) => return Err(close(PROTOCOL_ERROR)),
                Err(Error::FrameTooLong { .. }) => return Err(close(TOO_BIG)),
                Ok(asynchat::Frame::Partial(_)) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Sends a ping that can be answered only by a client that reads, but not a second one.
    fn ask(&mut self) -> Result {
        if self.asked.is_some() {
            return Err(close(TOO_SLOW));
        }
        let ping = random().into_bytes();
        self.channel.push(frame::encode(frame::PING, &ping));
        (self.quiet, self.asked) = (Some(Instant::now()), Some(ping));
        self.channel.set_timeouts(TIMEOUTS); // input goes on
        Ok(())
    }

    /// Returns whether this is news: the beginning or the end of a message, and between two
    /// the answer to a ping.
    fn frame(&mut self, frame: Frame) -> Result<bool> {
        match (frame.opcode, &mut self.message) {
            (frame::CLOSE, _) => {
                check_close(frame.payload())?;
                return Err(frame.into_answer(frame::CLOSE));
            }
            (frame::PING, _) => {
                self.send(frame.into_answer(frame::PONG));
                return Ok(false);
            }
            (frame::PONG, None) => return Ok(self.asked.as_deref() == Some(frame.payload())),
            (frame::PONG, Some(_)) => return Ok(false),
            (frame::CONTINUATION, Some((opcode, message))) => {
                if message.len() + frame.payload().len() > self.max {
                    return Err(close(TOO_BIG));
                }
                message.extend_from_slice(frame.payload());
                if !frame.is_final {
                    return Ok(false);
                }
                check_text(*opcode, message)?;
                let whole = frame::encode(*opcode, message);
                self.message = None;
                self.answer(whole);
            }
            (frame::CONTINUATION, None) | (_, Some(_)) => return Err(close(PROTOCOL_ERROR)),
            (opcode, None) if frame.is_final => {
                check_text(opcode, frame.payload())?;
                self.answer(frame.into_answer(opcode));
            }
            (opcode, message) => *message = Some((opcode, frame.payload().into())),
        }
        Ok(true)
    }

    /// Sends a message back, or to everybody in the same order. A member that has fallen too
    /// far behind is disconnected and does not delay the others.
    fn answer(&mut self, frame: BytesMut) {
        let Some(server) = self.broadcast else { return self.send(frame) };
        // Copied for the same reason as in `send`.
        let frame = Bytes::copy_from_slice(&frame);
        lock(&server.room).retain(|member| {
            member.try_push(frame.clone()).inspect_err(|_| member.abort()).is_ok()
        });
    }

    /// Queues a frame. Once some are waiting a short one is copied, or each would hold the
    /// whole block that it was read into.
    fn send(&mut self, frame: BytesMut) {
        let is_waiting = self.channel.queued_bytes() > IN_BUFFER as u64 / 8;
        if is_waiting && frame.len() < IN_BUFFER / 2 {
            self.channel.push_slice(&frame);
        } else {
            self.channel.push(frame);
        }
    }
}

fn check_close(payload: &[u8]) -> Result {
    match payload.split_first_chunk().map(|(code, reason)| (u16::from_be_bytes(*code), reason)) {
        Some((1000..=1003 | 1007..=1014 | 3000..=4999, reason)) => check_text(frame::TEXT, reason),
        None if payload.is_empty() => Ok(()),
        _ => Err(close(PROTOCOL_ERROR)),
    }
}

fn check_text(opcode: u8, message: &[u8]) -> Result {
    let is_good = opcode != frame::TEXT || std::str::from_utf8(message).is_ok();
    if is_good { Ok(()) } else { Err(close(NOT_UTF8)) }
}

fn close(code: u16) -> BytesMut {
    frame::encode(frame::CLOSE, &code.to_be_bytes())
}

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_SLOW: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// The limit of a message in bytes, and of the output that a client has not read.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The limit of a broadcast message. A member who reads keeps up with a few at once.
pub const MAX_BROADCAST: usize = MAX_MESSAGE / 16;

/// Bytes that are read at once.
const IN_BUFFER: usize = MAX_MESSAGE / 4;

/// The time that a connection has for its end once the server stops.
pub const GRACE: Duration = Duration::from_secs(5);

/// A client without news for this time is sent a ping, and then has the same time again.
const IDLE: Duration = Duration::from_secs(30);

/// The times of a connection. `idle` is [`IDLE`] where no frame has come at all.
pub const TIMEOUTS: Timeouts = Timeouts {
    frame: Some(Duration::from_secs(10)),
    min_rate: NonZeroU32::new(16 * 1024),
    idle: Some(IDLE),
    write: Some(Duration::from_secs(30)),
};
