//! Ready-made producers for
//! [`push_with_producer`](crate::Channel::push_with_producer).
//!
//! A producer is any `Stream` of `Result<impl Into<Bytes>, impl Into<io::Error>>`. Most
//! classes of asynchat's successors are in `futures` already: `stream::iter` and `once`,
//! `chain`, `map`, `unfold`, channels. A stream of plain `Bytes` becomes one with
//! `.map(Ok::<_, io::Error>)`. The functions below are those that `futures` lacks.
//!
//! The guide's page [producers](crate::guide::producers) shows the idiom for each producer of Medusa, the server that
//! asynchat came from.
//!
//! asynchat's `more()` had only the empty string to say that it is exhausted. A stream has
//! three answers: not ready (`Pending`), exhausted (`None`) and failed (`Err`). An empty
//! chunk is skipped.

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::{io, pin::Pin};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// A boxed producer, as the queue holds it and [`Parts`](crate::Parts) returns it.
pub type BoxProducer = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Calls `more` until it returns `None`: asynchat's `more()`.
///
/// It is called only when there is capacity for its chunk.
///
/// ```
/// use asynchat::producer;
///
/// let mut countdown = 3;
/// let producer = producer::from_fn(move || {
///     countdown -= 1;
///     (countdown >= 0).then(|| format!("{countdown}\r\n").into())
/// });
/// # let _ = producer;
/// ```
pub fn from_fn<F>(more: F) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    F: FnMut() -> Option<Bytes> + Send + 'static,
{
    from_iter(std::iter::from_fn(more))
}

/// Sends the items of an iterator, chunk by chunk, as there is capacity.
pub fn from_iter<I>(chunks: I) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Into<Bytes>,
{
    stream::iter(chunks.into_iter().map(|chunk| Ok(chunk.into())))
}

/// Awaits `future` and sends its output: an answer that is still being made.
///
/// Output that is queued after it waits, so answers stay in order.
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

/// Reads `reader` to its end, in blocks of up to 16 KiB.
///
/// An error of the reader fails the producer.
pub fn from_reader<R>(reader: R) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    R: AsyncRead + Send + 'static,
{
    ReaderStream::with_capacity(reader, READER_BLOCK)
}

/// Reads exactly `len` bytes of `reader`: for a length that was announced.
///
/// A reader that ends early fails the producer with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), so that output queued after it cannot
/// be taken for its rest. Further bytes of the reader are not sent.
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
