//! The memory that one connection can be made to hold.

use example_websocket::{MAX_MESSAGE, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A frame whose mask is zero.
fn frame(first: u8, length: u16) -> Vec<u8> {
    let head = match length {
        0..126 => vec![first, 0x80 | length as u8, 0, 0, 0, 0],
        _ => [&[first, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4]].concat(),
    };
    [head, vec![b'x'; usize::from(length)]].concat()
}

/// Each answer comes from another block of input: pongs, which have none, are between them.
#[tokio::test(start_paused = true)]
async fn unread_answers_take_their_own_length() {
    for (first, length) in [(0x82, 4200), (0x82, 60_000)] {
        let (mut io, theirs) = duplex(64 * 1024);
        let before = Region::new(ALLOCATOR);
        let served = tokio::spawn(async move {
            Arc::<Server>::default().connection(theirs, CancellationToken::new()).await;
        });
        io.write_all(REQUEST).await.unwrap();
        io.read_u8().await.unwrap();
        let sent = [frame(first, length), frame(0x8a, 125).repeat(2000)].concat();
        let mut rounds = 0;
        while rounds < 50 && timeout(SECOND, io.write_all(&sent)).await.is_ok() {
            rounds += 1;
        }
        let held = before.change();
        let held = held.bytes_allocated - held.bytes_deallocated;
        // And eight blocks, a message, the block that is read into, and the transport.
        assert!(held < 4 * MAX_MESSAGE, "{held} bytes after {rounds} messages of {length}");
        drop(io);
        served.await.unwrap();
    }
}

const SECOND: Duration = Duration::from_secs(1);
