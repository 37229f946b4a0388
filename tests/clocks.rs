//! Clocks of a channel that two tasks poll, or whose output waits for a producer.

use asynchat::{Channel, Error, Timeout, Timeouts};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, interval, sleep};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(3000);

fn channel(room: usize, timeouts: Timeouts) -> (Channel<DuplexStream>, DuplexStream) {
    let (io, peer) = duplex(room);
    (Channel::builder().terminator("\n").timeouts(timeouts).build(io), peer)
}

/// The time in which a task that reads finds this timeout, while another one flushes.
async fn read_beside_flush(channel: Channel<DuplexStream>, expected: Timeout) -> Duration {
    let begun = Instant::now();
    let (mut sink, mut stream) = channel.split();
    let flush = tokio::spawn(async move {
        sleep(SECOND).await;
        let _ = sink.flush().await;
    });
    let next = tokio::time::timeout(LONG, stream.next()).await.expect("a timeout");
    assert!(matches!(&next, Some(Err(Error::Timeout(t))) if *t == expected), "{next:?}");
    flush.abort();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn frame_time_goes_on_while_another_task_flushes() {
    for trickles in [false, true] {
        let (mut channel, mut peer) = channel(1000, Timeouts::all(LIMIT));
        channel.push_with_producer(stream::pending::<io::Result<Bytes>>());
        peer.write_all(b"half").await.unwrap();
        let peer = tokio::spawn(async move {
            loop {
                sleep(if trickles { SECOND } else { LONG }).await;
                peer.write_all(b"x").await.unwrap();
            }
        });
        assert_eq!(read_beside_flush(channel, Timeout::Frame(LIMIT)).await, LIMIT);
        peer.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn timer_of_one_task_survives_a_poll_of_the_other() {
    let timeouts = Timeouts { frame: Some(LIMIT), write: Some(LONG), ..Timeouts::default() };
    let (mut channel, mut peer) = channel(16, timeouts);
    channel.push([b'x'; 100].as_slice());
    peer.write_all(b"half").await.unwrap();
    assert_eq!(read_beside_flush(channel, Timeout::Frame(LIMIT)).await, LIMIT);
}

#[tokio::test(start_paused = true)]
async fn producer_does_not_restart_the_time_of_a_stall() {
    for gives in [false, true] {
        let (mut channel, _peer) = channel(16, Timeouts::all(LIMIT));
        channel.push([b'x'; 100].as_slice());
        let mut ticks = interval(SECOND);
        channel.push_with_producer(stream::poll_fn(move |cx| {
            while ticks.poll_tick(cx).is_ready() {
                if gives {
                    return Poll::Ready(Some(io::Result::Ok(Bytes::from_static(b"x"))));
                }
            }
            Poll::Pending
        }));
        let begun = Instant::now();
        let next = tokio::time::timeout(LONG, channel.next()).await.expect("a timeout");
        assert!(matches!(next, Some(Err(Error::Timeout(Timeout::Write(LIMIT))))), "{next:?}");
        assert_eq!(begun.elapsed(), LIMIT, "gives: {gives}");
    }
}
