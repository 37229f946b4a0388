//! Ready-made producers for
//! [`push_with_producer`](crate::Channel::push_with_producer).
//!
//! A producer is any `Stream` of `Result<impl Into<Bytes>, impl Into<io::Error>>`. `futures` has
//! functions for most of them: `stream::iter` and `once`, `chain`, `map`, `unfold`, and channels. A
//! stream of plain `Bytes` becomes a producer with `.map(Ok::<_, io::Error>)`. This module has the
//! functions that `futures` lacks.
//!
//! When it is polled, a producer returns a chunk, or it is not ready (`Pending`), exhausted
//! (`None`) or failed (`Err`). An empty chunk is skipped. In asynchat, an empty chunk of `more()`
//! ended a producer.
//!
//! For recipes, such as chunked coding, dot stuffing and compression, see
//! [producers](crate::guide::producers) in the guide.

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{io, pin::Pin};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// A boxed producer, as [`Parts`](crate::Parts) holds it.
pub type BoxProducer = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Returns a producer that calls `more` for each chunk until `more` returns `None`.
///
/// The channel calls `more` only when there is capacity for its chunk.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (io, peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, producer};
///
/// let mut channel = Channel::new(io, "\n");
/// let mut countdown = 3;
/// channel.push_with_producer(producer::from_fn(move || {
///     countdown -= 1;
///     (countdown >= 0).then(|| format!("{countdown}\n").into())
/// }));
/// channel.shutdown().await?;
/// # let mut peer = Channel::new(peer, "\n");
/// assert_eq!(peer.receive(None).await?, "2\n1\n0\n");
/// # Ok(())
/// # }
/// ```
pub fn from_fn<F>(more: F) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    F: FnMut() -> Option<Bytes> + Send + 'static,
{
    from_iter(std::iter::from_fn(more))
}

/// Returns a producer of the items of an iterator, which it takes only when there is capacity.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (io, peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, producer};
///
/// let mut channel = Channel::new(io, "\n");
/// channel.push_with_producer(producer::from_iter(["one\n", "two\n"]));
/// channel.shutdown().await?;
/// # let mut peer = Channel::new(peer, "\n");
/// assert_eq!(peer.receive(None).await?, "one\ntwo\n");
/// # Ok(())
/// # }
/// ```
pub fn from_iter<I>(chunks: I) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Into<Bytes>,
{
    stream::iter(chunks.into_iter().map(|chunk| Ok(chunk.into())))
}

/// Returns a producer that awaits `future` and sends its output.
///
/// Use this for an answer that is not ready yet. Output that is queued after the producer waits, so
/// answers stay in order.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (io, peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, producer};
/// use std::io;
///
/// let mut channel = Channel::new(io, "\n");
/// channel.push_with_producer(producer::from_future(async {
///     tokio::task::yield_now().await; // or a slow database
///     Ok::<_, io::Error>("slow\n")
/// }));
/// channel.push("fast\n");
/// channel.flush().await?;
/// # let mut peer = Channel::new(peer, "\n");
/// assert_eq!(peer.receive("\n").await?, "slow");
/// # Ok(())
/// # }
/// ```
pub fn from_future<F, B, E>(future: F) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    F: Future<Output = Result<B, E>> + Send + 'static,
    B: Into<Bytes>,
    E: Into<io::Error>,
{
    stream::once(async { future.await.map(Into::into).map_err(Into::into) })
}

/// Returns a producer that reads `reader` to its end, in blocks of up to 16 KiB.
///
/// If the reader fails, the producer fails with its error.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (io, peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, producer};
///
/// let mut channel = Channel::new(io, "\n");
/// let file = std::io::Cursor::new("content\n"); // or a `tokio::fs::File`
/// channel.push_with_producer(producer::from_reader(file));
/// channel.shutdown().await?;
/// # let mut peer = Channel::new(peer, "\n");
/// assert_eq!(peer.receive(None).await?, "content\n");
/// # Ok(())
/// # }
/// ```
pub fn from_reader<R>(reader: R) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    R: AsyncRead + Send + 'static,
{
    ReaderStream::with_capacity(reader, READER_BLOCK)
}

/// Returns a producer that reads exactly `len` bytes of `reader`.
///
/// Use this after you have announced the length to the peer. If the reader ends early, the producer
/// fails with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), so that the peer cannot take later
/// output for the missing bytes. Further bytes of the reader are not sent.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), asynchat::Error> {
/// # let (io, peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, producer};
///
/// let mut channel = Channel::new(io, "\n");
/// channel.push("Content-Length: 4\r\n\r\n");
/// let file = std::io::Cursor::new("longer now");
/// channel.push_with_producer(producer::from_reader_exact(file, 4));
/// channel.shutdown().await?;
/// # let mut peer = Channel::new(peer, "\n");
/// assert_eq!(peer.receive(None).await?, "Content-Length: 4\r\n\r\nlong");
/// # Ok(())
/// # }
/// ```
pub fn from_reader_exact<R>(
    reader: R,
    len: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    R: AsyncRead + Send + 'static,
{
    let blocks = Box::pin(from_reader(reader));
    stream::try_unfold((blocks, len), |(mut blocks, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut block) = blocks.try_next().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        block.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - block.len() as u64;
        Ok(Some((block, (blocks, left))))
    })
}

/// Boxes any producer.
pub(crate) fn boxed<S, B, E>(producer: S) -> BoxProducer
where
    S: Stream<Item = Result<B, E>> + Send + 'static,
    B: Into<Bytes>,
    E: Into<io::Error>,
{
    Box::pin(producer.map(|chunk| chunk.map(Into::into).map_err(Into::into)))
}

/// Large enough to be sent uncopied, small enough to have many open.
const READER_BLOCK: usize = 16 * 1024;
