//! The model of Python's `asynchat` for tokio.
//!
//! A channel cuts its input into frames by a terminator that can change at any moment: a
//! byte string, one of several, a number of bytes, a head that announces its body, or none.
//! Its output is a queue of bytes and of producers of bytes. It is for protocols in which one element tells how the next
//! one ends: header, then body; line, then literal; command, then a new transport.
//!
//! ```
//! use asynchat::{Channel, Error, Terminator};
//! # async fn talk<T>(socket: T) -> Result<(), Error>
//! # where T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {
//!
//! let mut channel = Channel::new(socket, Terminator::blank_line());
//! channel.push("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); // never waits
//! let head = channel.receive(Terminator::blank_line()).await?; // up to CR LF CR LF
//! let length = content_length(&head);
//! let body = channel.receive(length).await?; // that many bytes
//! println!("{} bytes", body.len());
//! channel.close().await
//! # }
//! # fn content_length(_: &[u8]) -> u64 { 0 }
//! ```
//!
//! # The way of the data
//!
//! ```text
//! in   socket ─▶ Framed ─▶ TerminatorCodec ─┬▶ Frame ────▶ Channel: next, receive
//!                                           └▶ FrameRef ─▶ Channel::run ─▶ Handler
//! out  push, push_with_producer, Sink, Pusher ─▶ queue ─▶ Sink ─▶ write buffer ─▶ socket
//! ```
//!
//! | type | purpose |
//! |---|---|
//! | [`Terminator`] | the rule that ends a frame |
//! | [`message`] | functions that read lengths in heads |
//! | [`TerminatorCodec`] | bytes in, frames out; no I/O; for tokio-util's `Framed`, or by hand |
//! | [`Channel`] | a `Framed` with that codec and an output queue; a `Stream` and a `Sink` |
//! | [`Handler`] | asynchat's two callbacks, driven by [`Channel::run`] |
//! | [`Pusher`] | output for a channel from other tasks |
//! | [`producer`] | ready-made producers |
//! | [`Pipe`] | two halves, such as a child's pipes, as one transport |
//! | [`Rewind`] | a transport that returns unread input first |
//!
//! # Where to begin
//!
//! - A client: [`Channel::receive`].
//! - A server that awaits other things for its answers: [`Channel::next`].
//! - A server at full speed, with borrowed frames and gathered answers: [`Channel::run`].
//! - Only the framing: [`TerminatorCodec`].
//!
//! # Guarantees
//!
//! - Frames never depend on how the input was split across reads.
//! - Input is bounded by `max_length`. Output is bounded by the high-water mark, with
//!   [`Channel::run`], [`Channel::ready`], the `Sink`, [`Pusher`], and
//!   [`Builder::pause_when_full`].
//! - Polling for input also sends output. Without `pause_when_full` a peer that does not
//!   read does not stop reading.
//! - Every async method documents its cancel safety. No byte received is lost silently.
//! - [`Timeouts`] limit how long a frame, idleness and a stalled write may take.
//! - There is no unsafe code, and no panic on any input.
//!
//! # Limits
//!
//! There is no TLS, no accept loop, and no text: frames are bytes. Unless [`Timeouts`] are
//! set, only the end of a connection is limited ([`Builder::linger`]).
//!
//! Events go to `tracing`, target `asynchat`: life cycle, terminator switches, over-long
//! frames, errors. They never show content, and neither does `Debug`; both show
//! terminators.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod budget;
mod channel;
mod codec;
mod deadlines;
mod error;
mod frame;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handler;
pub mod message;
mod pipe;
pub mod producer;
mod pusher;
mod read;
mod rewind;
#[cfg_attr(asynchat_model, path = "../tests/model/src/sync.rs")]
mod sync;
mod terminator;
mod write;

pub use self::channel::{Builder, Channel, Discarded, Parts, UpgradeError};
pub use self::codec::TerminatorCodec;
pub use self::deadlines::Timeouts;
pub use self::error::{Error, Timeout};
pub use self::frame::{Frame, FrameRef};
pub use self::handler::{Control, Handler, Run};
pub use self::pipe::Pipe;
pub use self::producer::BoxProducer;
pub use self::pusher::{Permit, PushError, Pusher, TryPushError};
pub use self::rewind::Rewind;
pub use self::terminator::{Body, BoxError, Head, IntoTerminator, Length, Terminator};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
