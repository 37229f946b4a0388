//! The programming model of Python's `asynchat`, for tokio.
//!
//! A [`Channel`] cuts input into frames by a terminator that can change at any moment, and queues
//! output as bytes and producers of bytes. A terminator is a byte string, one of several, a number
//! of bytes, or a head that announces its body. Use the crate for a protocol in which one element
//! determines where the next one ends. Examples are a header and its body, a line and a literal, or
//! a command and a new transport.
//!
//! ```
//! use asynchat::{BoxError, Channel, Terminator, message};
//! use tokio::io::{AsyncRead, AsyncWrite};
//!
//! /// Answers "5\r\nhello" with "olleh\r\n".
//! async fn serve<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> Result<(), BoxError> {
//!     let mut channel = Channel::new(io, Terminator::crlf());
//!     while let Some(frame) = channel.next().await {
//!         // A line that the end of input cuts off is not complete.
//!         let Some(line) = frame?.into_complete() else { break };
//!         let length = message::decimal(&line)?;
//!         let mut body = channel.receive(length).await?.to_vec();
//!         body.reverse();
//!         channel.push(body); // never waits; sent by the next call of `next`
//!         channel.push("\r\n");
//!         channel.set_terminator(Terminator::crlf());
//!     }
//!     Ok(channel.close().await?) // the last answer arrives
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), BoxError> {
//!     let (client, server) = tokio::io::duplex(64); // or a `TcpStream`, or TLS
//!     let server = tokio::spawn(serve(server));
//!     let mut client = Channel::new(client, Terminator::crlf());
//!     client.push("5\r\nhello");
//!     assert_eq!(client.receive(Terminator::crlf()).await?, "olleh");
//!     client.close().await?;
//!     server.await?
//! }
//! ```
//!
//! # Data flow
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
//! | [`TerminatorCodec`] | cuts bytes into frames without I/O; for tokio-util's `Framed`, or on its own |
//! | [`Channel`] | a `Framed` with that codec and an output queue; a `Stream` and a `Sink` |
//! | [`Handler`] | asynchat's two callbacks, which [`Channel::run`] calls |
//! | [`Pusher`] | output for a channel from other tasks |
//! | [`producer`] | ready-made producers |
//! | [`Timeouts`] | how long a channel waits for its peer |
//! | [`Pipe`] | two halves, such as a child's pipes, as one transport |
//! | [`Rewind`] | a transport that returns unread input first |
//!
//! # Where to begin
//!
//! ```sh
//! cargo add asynchat bytes futures
//! cargo add tokio --features macros,net,rt-multi-thread
//! ```
//!
//! The [guide] has a page for each topic, with recipes that are compiled and run.
//!
//! | program | method | page |
//! |---|---|---|
//! | a client, or a dialogue in a straight line | [`Channel::receive`] | [dialogues](crate::guide::dialogues) |
//! | a server that awaits other work before it answers | [`Channel::next`] | [dialogues](crate::guide::dialogues#line-protocols), [servers](crate::guide::servers) |
//! | a server at full speed, with borrowed frames and answers that share a write | [`Channel::run`] | [`Handler`], [servers](crate::guide::servers) |
//! | messages whose heads announce their bodies | [`Terminator::message`], [`Length`] | [messages](crate::guide::messages) |
//! | output that is made while it is sent | [`Channel::push_with_producer`] | [producers](crate::guide::producers), [output](crate::guide::output) |
//! | one connection for several tasks | [`Channel::pusher`] | [tasks](crate::guide::tasks) |
//! | STARTTLS, PROXY, HTTP `Upgrade` | [`Channel::upgrade`], [`Parts::rewind`] | [transports](crate::guide::transports), [hyper](crate::guide::hyper) |
//! | only the framing | [`TerminatorCodec`] | [coming from `Framed`](crate::guide::coming_from_framed) |
//! | a port from Python | [`Handler`] | [coming from asynchat](crate::guide::coming_from_asynchat) |
//!
//! If the framing is fixed, or the protocol is HTTP or WebSocket, read [when to use something
//! else](crate::guide::when_to_use_something_else) first.
//!
//! # Guarantees
//!
//! - Frames never depend on how the input was split across reads.
//! - Input is bounded by `max_length`. Output is bounded by the high-water mark with
//!   [`Channel::run`], [`Channel::ready`], the `Sink`, [`Pusher`], and
//!   [`Builder::pause_when_full`].
//! - Waiting for input also sends output. While the peer does not read, the channel still reads,
//!   unless `pause_when_full` is set.
//! - Every async method documents its cancel safety. No received byte is lost silently.
//! - [`Timeouts`] limit slow frames, idle peers and stalled writes.
//! - There is no unsafe code, and no panic on any input.
//!
//! # Limits
//!
//! The crate has no TLS and no accept loop. Frames are bytes, not text. A frame has at most 64 KiB
//! unless [`Builder::max_length`] is set. Unless [`Timeouts`] are set, only closing a connection
//! has a time limit ([`Builder::linger`]).
//!
//! The crate emits `tracing` events with the target `asynchat` for the life cycle, terminator
//! switches, over-long frames and errors. Events and `Debug` never show content, but they do show
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
