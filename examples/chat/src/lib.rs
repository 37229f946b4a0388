//! The parts of the chat server.

pub mod bridge;
#[allow(dead_code)] // What is not needed here.
#[path = "../../common/http.rs"]
mod http;
pub mod lines;
pub mod room;
pub mod server;
pub mod web;
