//! Errors of a session.

use std::sync::Arc;

/// The reason why something was not sent, or the connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server has refused something with this line, and has perhaps ended the session.
    #[error("server: {0:?}")]
    Server(String),
    /// The server does not speak the protocol, or requires a feature that is not here.
    #[error("protocol of the server: {0}")]
    Protocol(&'static str),
    /// The connection is lost or closed.
    #[error("connection")]
    Channel(#[source] Arc<asynchat::Error>),
    /// Nothing was sent, because the server would not take it.
    #[error("not sent: {0}")]
    Invalid(&'static str),
    /// Nobody answers requests of this subject.
    #[error("nobody answers")]
    NoResponders,
}

pub(crate) type Result<T = (), E = Error> = std::result::Result<T, E>;

impl From<asynchat::Error> for Error {
    fn from(error: asynchat::Error) -> Self {
        Error::Channel(Arc::new(error))
    }
}
