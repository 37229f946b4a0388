//! The model of Python's `asynchat` for tokio.
//!
//! A channel whose input is cut into frames by a terminator that can change at
//! any moment (a byte string, one of several, a number of bytes, or nothing),
//! and whose output is a queue of bytes and producers of bytes. It is for
//! protocols whose next element says how the one after it ends: header, then
//! body; line, then literal; command, then a new transport.
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
//! channel.shutdown().await
//! # }
//! # fn content_length(_: &[u8]) -> u64 { 0 }
//! ```
//!
//! # The way of the data
//!
//! ```text
//! in   socket ─▶ read buffer ─▶ TerminatorCodec ─┬▶ Frame ────▶ Channel: next, receive
//!                                                └▶ FrameRef ─▶ Channel::run ─▶ Handler
//! out  push, push_with_producer, Sink, Pusher ─▶ queue ─▶ write buffer ─▶ socket
//! ```
//!
//! | type | what it is |
//! |---|---|
//! | [`Terminator`] | what ends a frame |
//! | [`TerminatorCodec`] | bytes in, frames out; no I/O; for tokio-util's `Framed`, or by hand |
//! | [`Channel`] | a transport with that codec and an output queue; a `Stream` and a `Sink` |
//! | [`Handler`] | asynchat's two callbacks, driven by [`Channel::run`] |
//! | [`Pusher`] | output for a channel from other tasks |
//! | [`producer`] | ready-made producers |
//!
//! # Where to begin
//!
//! - A client: [`Channel::receive`].
//! - A server that awaits other things for its answers: [`Channel::next`].
//! - A server at full speed, frames borrowed and answers gathered:
//!   [`Channel::run`].
//! - Only the framing: [`TerminatorCodec`].
//!
//! # What it promises
//!
//! The frames do not depend on how the input was cut into reads. Input is
//! bounded by `max_length`; output by the high-water mark, with [`Channel::run`],
//! [`Channel::ready`], the `Sink` and [`Pusher`]. Polling for input
//! also sends output, and a peer that does not read does not stop us reading.
//! Every async method says what dropping its future means. No byte received is
//! lost silently. How long a frame, idleness and a stalled write may take can be
//! set ([`Timeouts`]). There is no unsafe code, and no panic on any input.
//!
//! # What it is not
//!
//! It has no TLS, no accept loop, and no text: frames are bytes. Unless set,
//! nothing has a deadline but the lingering close.
//!
//! Events go to `tracing`, target `asynchat`: life-cycle, terminator switches,
//! over-long frames, errors. They never show content, and neither does `Debug`;
//! terminators they do show.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod channel;
#[allow(dead_code, unused_imports)]
mod codec;
mod error;
mod frame;
mod handler;
pub mod producer;
mod pusher;
mod queue;
mod terminator;
mod timeout;

pub use self::channel::{Builder, Channel, Discarded, Parts, UpgradeError};
pub use self::codec::TerminatorCodec;
pub use self::error::Error;
pub use self::frame::{Frame, FrameRef};
pub use self::handler::{Control, Handler, Run};
pub use self::producer::BoxProducer;
pub use self::pusher::{PushError, Pusher, TryPushError};
pub use self::terminator::{IntoTerminator, Terminator};
pub use self::timeout::{Timeout, Timeouts};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/producers.md")]
struct Producers;

#[cfg(doctest)]
#[doc = include_str!("../docs/recipes.md")]
struct Recipes;
