//! The accept loop of the servers among the examples, and how they stop.

#![allow(unreachable_pub)] // Part of a library, and a private module of the programs beside it.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs `connection` for each peer until `stop` is cancelled, then waits for all of them.
///
/// A connection should end soon after `stop` is cancelled. Those that have not ended
/// after [`DEADLINE`] are dropped.
pub async fn serve<F, Fut>(listener: TcpListener, stop: CancellationToken, connection: F)
where
    F: Fn(TcpStream, CancellationToken) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    serve_up_to(MAX_CONNECTIONS, listener, stop, connection).await;
}

/// Does the same for `most` peers at once. Further ones wait to be accepted.
pub async fn serve_up_to<F, Fut>(
    most: usize,
    listener: TcpListener,
    stop: CancellationToken,
    connection: F,
) where
    F: Fn(TcpStream, CancellationToken) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (connections, cut_off) = (TaskTracker::new(), CancellationToken::new());
    let permits = Arc::new(Semaphore::new(max_connections(most)));
    let accepting = async {
        let mut reported: Option<Instant> = None;
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((socket, _)) => {
                    // Output is gathered by the channel: waiting to fill packets only
                    // delays it.
                    let _ = socket.set_nodelay(true);
                    // And the kernel takes no megabytes at once: how long it takes nothing then
                    // says how long the peer does.
                    #[cfg(target_os = "linux")]
                    let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(MAX_UNSENT);
                    let (served, cut_off) = (connection(socket, stop.clone()), cut_off.clone());
                    connections.spawn(async move {
                        cut_off.run_until_cancelled(served).await;
                        drop(permit);
                    });
                }
                Err(error) if is_about_one_peer(&error) => {}
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to come free.
                    if reported.is_none_or(|at| at.elapsed() >= REPORT_PAUSE) {
                        report(format_args!("accept: {error}"));
                        reported = Some(Instant::now());
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.close();
    if timeout(DEADLINE, connections.wait()).await.is_err() {
        cut_off.cancel();
        connections.wait().await;
    }
    flush();
}

/// The number of peers served at once: `most`, or fewer if the files that this process may
/// have open do not allow so many. Each connection may have a second one.
pub fn max_connections(most: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let connections = usize::try_from(files.saturating_sub(RESERVE) / 2);
        connections.unwrap_or(usize::MAX).min(most).max(1)
    }
    #[cfg(not(unix))]
    most
}

/// Returns whether the peer left before it was accepted. The next one may be waiting.
fn is_about_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Returns a token that is cancelled by Ctrl-C and by SIGTERM. Until this is called they end
/// the program, which may be waiting for somebody to read its stdout.
pub fn stop_signal() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (signal, stopping) = (signal()?, stop.clone());
    tokio::spawn(async move {
        signal.await;
        stopping.cancel();
    });
    Ok(stop)
}

#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move { drop(interrupt.recv().await) })
}

/// Writes a line to stderr, on a thread of its own: a pipe that nobody reads holds up nobody.
/// Lines that it does not take in time are counted and dropped, and so are those beyond
/// [`MAX_REPORTS`], because a peer may be able to cause them.
pub fn report(line: impl Display) {
    let lines = LINES.get_or_init(|| {
        let (lines, waiting) = mpsc::sync_channel(MAX_LINES);
        // Without the thread all lines are dropped.
        let _ = thread::Builder::new().spawn(|| write_lines(waiting));
        lines
    });
    if is_too_many() || lines.try_send((format!("{line}\n"), None)).is_err() {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a report, and returns whether it is one too many.
fn is_too_many() -> bool {
    let mut reported = reported();
    if reported.0.is_none_or(|since| since.elapsed() >= REPORT_PAUSE) {
        *reported = (Some(Instant::now()), 0);
    }
    reported.1 += 1;
    reported.1 > MAX_REPORTS
}

/// The number of reports since an instant that is not long ago.
fn reported() -> MutexGuard<'static, (Option<Instant>, usize)> {
    static REPORTED: Mutex<(Option<Instant>, usize)> = Mutex::new((None, 0));
    REPORTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the reported lines are written, for a second at most. The next one is reported,
/// however many there were.
pub fn flush() {
    *reported() = (None, 0);
    let Some(lines) = LINES.get().cloned() else { return };
    let (done, written) = mpsc::channel();
    // They may leave no room at once.
    let _ = thread::Builder::new().spawn(move || lines.send((String::new(), Some(done))));
    let _ = written.recv_timeout(FLUSH_TIME);
}

fn write_lines(lines: mpsc::Receiver<Line>) {
    for (line, _done) in lines {
        // `eprintln!` panics if that fails.
        let _ = io::stderr().write_all(line.as_bytes());
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = writeln!(io::stderr(), "{dropped} lines were dropped");
        }
    }
}

/// Text for stderr, and a sender that is dropped after it is written.
type Line = (String, Option<mpsc::Sender<()>>);

static LINES: OnceLock<mpsc::SyncSender<Line>> = OnceLock::new();
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Lines that may wait to be written.
const MAX_LINES: usize = 1000;

/// The time that the last lines have.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// The most peers that [`serve`] serves at once.
pub const MAX_CONNECTIONS: usize = 400;

/// The files that a process has open besides those of its connections.
#[cfg(unix)]
const RESERVE: u64 = 32;

/// Bytes that the kernel holds of a connection, besides those that the peer has room for.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 64 * 1024;

/// The pause after an error that another `accept` would only repeat.
const PAUSE: Duration = Duration::from_millis(100);

/// The least time between two reports of such errors.
pub const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// The most lines that are reported within [`REPORT_PAUSE`].
pub const MAX_REPORTS: usize = 10;

/// The time that connections have to end after the stop.
pub const DEADLINE: Duration = Duration::from_secs(15);
