use asynchat::{Body, BoxError, Channel, Terminator, message};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

/// A client of a language server. Its methods are cancel safe: no part of a message is lost.
pub struct Client<T> {
    channel: Channel<T>,
    calls: u64,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    pub fn new(io: T) -> Self {
        let message = Terminator::message("\r\n\r\n", |head| {
            Ok(Body::Bytes(message::content_length(head)?.ok_or("no Content-Length")?))
        });
        let builder = Channel::builder().terminator(message).max_head(MAX_HEAD);
        Client { channel: builder.max_length(MAX_MESSAGE).build(io), calls: 0 }
    }

    /// Queues a notification.
    pub fn notify(&mut self, method: &str, params: Value) {
        self.push(json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Sends a request and returns its result. Dropped, it has sent the request all the same.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value, BoxError> {
        self.calls += 1;
        let id = json!(self.calls);
        self.push(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.receive().await?;
            if message["id"] == id {
                let error = message.get("error").map(|error| format!("{method}: {error}"));
                return error.map_or(Ok(message["result"].clone()), |error| Err(error.into()));
            }
        }
    }

    /// Returns the next notification, or answer. Requests of the server are refused.
    pub async fn receive(&mut self) -> Result<Value, BoxError> {
        loop {
            let frame = self.channel.next().await.ok_or("the server closed its output")??;
            let frame = frame.into_complete().ok_or("the server ended in a message")?;
            let message: Value = serde_json::from_slice(&frame[self.channel.head_len()..])?;
            if message.get("id").is_none() || message.get("method").is_none() {
                return Ok(message);
            }
            if self.channel.queued_bytes() >= MAX_QUEUED {
                return Err("the server sends requests and does not read".into());
            }
            let error = json!({ "code": -32601, "message": "method not found" });
            self.push(json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }));
        }
    }

    /// Sends what is queued, and waits for the end of the server.
    pub async fn close(&mut self) -> Result<(), BoxError> {
        Ok(self.channel.close().await?)
    }

    fn push(&mut self, message: Value) {
        let body = message.to_string();
        self.channel.push_fmt(format_args!("Content-Length: {}\r\n\r\n{body}", body.len()));
    }
}

const MAX_HEAD: usize = 4096;
const MAX_MESSAGE: usize = 64 << 20;
const MAX_QUEUED: u64 = 64 << 20;
