//! The parts of the SMTP server.

pub mod command;
pub mod maildir;
pub mod session;
pub mod tls;
