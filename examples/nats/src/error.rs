//! Errors of a session.

use std::sync::Arc;

/// The reason why something was not sent, or the connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The client or the server has closed the connection.
    #[error("connection closed")]
    Closed,
    /// The server has refused something with `-ERR`, and has perhaps ended the session. It may
    /// be shown on a terminal.
    #[error("server: {}", .0.escape_debug())]
    Server(String),
    /// The server does not speak the protocol, or requires a feature that is not here.
    #[error("protocol of the server: {0}")]
    Protocol(&'static str),
    #[error("connection lost")]
    Channel(#[source] Arc<asynchat::Error>),
    /// Nothing was sent, because the server would not take it.
    #[error("not sent: {0}")]
    Invalid(&'static str),
    /// Nobody answers requests of this subject.
    #[error("nobody answers")]
    NoResponders,
    /// No answer within [`ANSWER`](crate::client::ANSWER).
    #[error("no answer in time")]
    Timeout,
}

pub(crate) type Result<T = (), E = Error> = std::result::Result<T, E>;

impl From<asynchat::Error> for Error {
    fn from(error: asynchat::Error) -> Self {
        Error::Channel(Arc::new(error))
    }
}
