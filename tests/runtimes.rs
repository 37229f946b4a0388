//! A channel may move between runtimes: its timers are those of the runtime that polls it.

use asynchat::{Channel, Error, Timeout, Timeouts};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

const LIMIT: Duration = Duration::from_secs(30);

/// A runtime whose clock is advanced when all tasks wait.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn channel() -> (Channel<DuplexStream>, DuplexStream) {
    let (io, peer) = duplex(16);
    let builder = Channel::builder().terminator("\n").linger(LIMIT);
    (builder.timeouts(Timeouts::all(LIMIT)).build(io), peer)
}

/// Lets a method wait in a runtime of its own, which may be dropped.
fn begin_elsewhere<R>(
    is_dropped: bool,
    channel: &mut Channel<DuplexStream>,
    wait: impl AsyncFnOnce(&mut Channel<DuplexStream>) -> R,
) -> Option<Runtime> {
    let first = paused();
    let waited = first.block_on(async { tokio::time::timeout(LIMIT / 3, wait(channel)).await });
    assert!(waited.is_err(), "it waits");
    (!is_dropped).then_some(first)
}

/// Runs a future in a runtime of its own. A timer that stayed behind would never end it.
fn run_elsewhere<F: Future>(future: F) -> F::Output {
    let bounded = async { tokio::time::timeout(10 * LIMIT, future).await };
    paused().block_on(bounded).expect("its timer is of another runtime")
}

#[test]
fn idle_timeout_is_reported_in_another_runtime() {
    for is_dropped in [false, true] {
        let (mut channel, _peer) = channel();
        let _first = begin_elsewhere(is_dropped, &mut channel, async |c| c.next().await);
        let next = run_elsewhere(channel.next());
        assert!(matches!(next, Some(Err(Error::Timeout(Timeout::Idle(LIMIT))))), "{next:?}");
    }
}

#[test]
fn frame_timeout_is_reported_in_another_runtime() {
    for is_dropped in [false, true] {
        let (mut channel, mut peer) = channel();
        paused().block_on(peer.write_all(b"half")).unwrap();
        let _first = begin_elsewhere(is_dropped, &mut channel, async |c| c.next().await);
        let next = run_elsewhere(channel.next());
        assert!(matches!(next, Some(Err(Error::Timeout(Timeout::Frame(LIMIT))))), "{next:?}");
    }
}

#[test]
fn write_timeout_is_reported_in_another_runtime() {
    for is_dropped in [false, true] {
        let (mut channel, _peer) = channel();
        channel.push([b'x'; 100].as_slice());
        let _first = begin_elsewhere(is_dropped, &mut channel, async |c| c.flush().await);
        let flushed = run_elsewhere(channel.flush());
        assert!(matches!(flushed, Err(Error::Timeout(Timeout::Write(LIMIT)))), "{flushed:?}");
    }
}

#[test]
fn linger_ends_in_another_runtime() {
    for is_dropped in [false, true] {
        let (mut channel, _peer) = channel();
        let _first = begin_elsewhere(is_dropped, &mut channel, async |c| c.close().await);
        assert!(!channel.linger_timed_out());
        run_elsewhere(channel.close()).unwrap();
        assert!(channel.linger_timed_out());
    }
}
