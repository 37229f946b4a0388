//! `discard_buffers` during a pending write.
//!
//! OpenSSL encrypts a record before it can send it, and sends that record even if
//! the retried write has other bytes, or refuses the retry.

use asynchat::{Channel, Error};
use asynchat_openssl::tls;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_native_tls::TlsStream;

/// The plaintext of one TLS record.
const RECORD: usize = 16 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

/// Less than a record, one, one byte more, several.
const OLD: [usize; 6] = [1000, RECORD - 1, RECORD, RECORD + 1, 50_000, 300_000];
const NEW: [usize; 6] = [0, 4, 5000, 20_000, 60_000, 300_000];

/// A channel with a pending write of `old` bytes, and the peer.
async fn blocked(old: usize, pieces: usize) -> (Channel<TlsStream<DuplexStream>>, Peer) {
    let (server, client) = tls(100).await;
    let mut channel = Channel::new(server, "\n");
    for _ in 0..pieces {
        channel.push(vec![b'x'; old / pieces]);
    }
    assert!(tokio_test::task::spawn(channel.flush()).poll().is_pending());
    (channel, Peer(client))
}

struct Peer(TlsStream<DuplexStream>);

impl Peer {
    /// Reads to the end, and closes.
    async fn read(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).await.unwrap();
        let _ = self.0.shutdown().await;
        all
    }
}

/// Closes the channel while the peer reads.
///
/// Returns the result of the close, the bytes that arrived, and `sent_bytes`.
async fn close(
    mut channel: Channel<TlsStream<DuplexStream>>,
    peer: Peer,
) -> (Result<(), Error>, Vec<u8>, u64) {
    let peer = tokio::spawn(peer.read());
    let closed = timeout(HOUR, channel.close()).await.expect("close does not end");
    let sent = channel.sent_bytes();
    drop(channel);
    (closed, timeout(HOUR, peer).await.expect("the peer waits").unwrap(), sent)
}

#[tokio::test(start_paused = true)]
async fn discard_during_pending_write_sends_one_record_more() {
    for old in OLD {
        for new in NEW {
            let (mut channel, peer) = blocked(old, 1).await;
            let discarded = channel.discard_buffers().output_bytes;
            channel.push(vec![b'y'; new]);
            let (closed, all, sent) = close(channel, peer).await;
            let of = |byte| all.iter().filter(|read| **read == byte).count();
            let came = (of(b'x'), of(b'y'));
            assert!(closed.is_ok(), "{old}, {new}: {closed:?} after {came:?}");
            assert_eq!(came, (old - discarded as usize, new), "{old}, {new}");
            assert!(all.is_sorted(), "{old}, {new}: out of order");
            assert_eq!(sent, all.len() as u64, "{old}, {new}");
            assert!(came.0 <= old.min(RECORD), "{old}, {new}: more than was pending is sent");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn discard_twice_during_pending_write_keeps_first_record() {
    for new in NEW {
        let (mut channel, peer) = blocked(50_000, 1).await;
        let mut discarded = channel.discard_buffers().output_bytes;
        channel.push(vec![b'z'; 1000]);
        assert!(tokio_test::task::spawn(channel.flush()).poll().is_pending());
        discarded += channel.discard_buffers().output_bytes;
        channel.push(vec![b'y'; new]);
        let (closed, all, _) = close(channel, peer).await;
        assert!(closed.is_ok(), "{new}: {closed:?}");
        assert!(all.starts_with(b"x") && all.ends_with(&vec![b'y'; new]), "{new}");
        assert_eq!(all.len() + discarded as usize, 50_000 + 1000 + new, "{new}");
    }
}

#[tokio::test(start_paused = true)]
async fn discard_of_gathered_pieces_keeps_pending_record() {
    for pieces in [2, 10, 500] {
        let (mut channel, peer) = blocked(50_000, pieces).await;
        let discarded = channel.discard_buffers().output_bytes as usize;
        channel.push("yyyy");
        let (closed, all, _) = close(channel, peer).await;
        assert!(closed.is_ok(), "{pieces}: {closed:?}");
        assert_eq!(all.len(), 50_000 - discarded + 4, "{pieces}");
        assert!(all.is_sorted() && all.ends_with(b"xyyyy"), "{pieces}");
    }
}

#[tokio::test(start_paused = true)]
async fn pending_write_goes_on_if_nothing_is_discarded() {
    for new in NEW {
        let (mut channel, peer) = blocked(50_000, 1).await;
        channel.push(vec![b'y'; new]);
        let (closed, all, _) = close(channel, peer).await;
        assert!(closed.is_ok(), "{new}: {closed:?}");
        assert!(all.is_sorted() && all.len() == 50_000 + new, "{new}");
    }
}
