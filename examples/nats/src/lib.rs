//! A client of NATS.

pub mod client;
pub mod error;
pub mod protocol;
