//! asynchat for tokio
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod channel;
mod codec;
mod error;
mod frame;
mod handler;
pub mod producer;
mod pusher;
mod queue;
mod terminator;

pub use self::channel::{Builder, Channel, Discarded, Parts, UpgradeError};
pub use self::codec::TerminatorCodec;
pub use self::error::Error;
pub use self::frame::{Frame, FrameRef};
pub use self::handler::{Control, Handler, Run};
pub use self::producer::BoxProducer;
pub use self::pusher::{Closed, Pusher, TryPushError};
pub use self::terminator::{AnyOf, Pattern, Terminator};
