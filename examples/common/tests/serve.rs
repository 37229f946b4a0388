//! The accept loop: its limit, and how it stops.

use example_common::serve::*;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A server on a port of its own, and what stops it.
async fn start<F, Fut>(connection: F) -> (SocketAddr, CancellationToken, JoinHandle<()>)
where
    F: Fn(TcpStream, CancellationToken) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    (address, stop.clone(), tokio::spawn(serve(listener, stop, connection)))
}

/// Greets, and waits for the peer to go, whatever else happens.
async fn stubborn(mut socket: TcpStream, _: CancellationToken) {
    socket.write_all(b"hi").await.unwrap();
    let _ = socket.read_to_end(&mut vec![]).await;
}

/// Greets, and ends with the server.
async fn polite(socket: TcpStream, stop: CancellationToken) {
    tokio::select! {
        () = stubborn(socket, stop.clone()) => {}
        () = stop.cancelled() => {}
    }
}

async fn greeted(address: SocketAddr) -> TcpStream {
    let mut peer = TcpStream::connect(address).await.unwrap();
    within(peer.read_exact(&mut [0; 2])).await.unwrap();
    peer
}

/// A guard against hanging; nothing waits for the time to pass.
async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("somebody hangs")
}

#[tokio::test]
async fn serve_lets_peers_above_the_limit_wait() {
    let (address, stop, served) = start(polite).await;
    let mut peers = vec![];
    for _ in 0..max_connections(MAX_CONNECTIONS) {
        peers.push(greeted(address).await);
    }
    // The kernel has accepted it, and the server cannot have seen it.
    let mut waiting = TcpStream::connect(address).await.unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    waiting.try_read(&mut [0; 2]).unwrap_err();
    peers.pop();
    within(waiting.read_exact(&mut [0; 2])).await.unwrap();
    stop.cancel();
    within(served).await.unwrap();
}

/// Writes for as long as the kernel takes it, and returns how much that was.
#[cfg(target_os = "linux")]
async fn fill(socket: TcpStream) -> usize {
    let (mut taken, mut tries) = (0, 0);
    while tries < 1000 {
        match socket.try_write(&[0; 65536]) {
            Ok(length) => (taken, tries) = (taken + length, 0),
            Err(_) => tries += 1,
        }
        tokio::task::yield_now().await;
    }
    taken
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn kernel_takes_little_output_for_peers_that_do_not_read() {
    let (filled, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let (address, ..) = start(move |socket, _| {
        let filled = filled.clone();
        async move { filled.send(fill(socket).await).unwrap() }
    })
    .await;
    let peer = tokio::net::TcpSocket::new_v4().unwrap();
    peer.set_recv_buffer_size(4096).unwrap();
    let _peer = peer.connect(address).await.unwrap();
    let taken = within(taken.recv()).await.unwrap();
    assert!(taken < 256 * 1024, "{taken}");
}

#[tokio::test]
async fn serve_waits_for_its_connections_when_stopped() {
    let (address, stop, served) = start(stubborn).await;
    let peer = greeted(address).await;
    stop.cancel();
    while TcpStream::connect(address).await.is_ok() {}
    assert!(!served.is_finished());
    drop(peer);
    within(served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn serve_drops_connections_at_the_deadline() {
    let (address, stop, served) = start(stubborn).await;
    let mut peer = TcpStream::connect(address).await.unwrap();
    peer.read_exact(&mut [0; 2]).await.unwrap();
    let begun = Instant::now();
    stop.cancel();
    served.await.unwrap();
    assert!(begun.elapsed() >= DEADLINE && begun.elapsed() < DEADLINE + Duration::from_secs(1));
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
#[cfg(unix)]
async fn stop_signal_is_cancelled_by_both_signals() {
    for signal in ["-INT", "-TERM"] {
        let stop = stop_signal().unwrap();
        let ourselves = std::process::id().to_string();
        assert!(Command::new("kill").args([signal, &ourselves]).status().await.unwrap().success());
        within(stop.cancelled()).await;
    }
}

#[cfg(unix)]
fn allow_open_files(number: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(number);
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test]
#[cfg(unix)]
async fn max_connections_fit_into_the_open_files() {
    if std::env::var_os("IS_CHILD").is_some() {
        for (files, connections) in [(0, 1), (20, 1), (64, 16), (256, 112), (1024, 400)] {
            allow_open_files(files);
            assert_eq!(max_connections(400), connections);
        }
        assert_eq!(max_connections(5000), 496);
        return;
    }
    let child = again("max_connections_fit_into_the_open_files");
    let output = within(child.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(start_paused = true)]
#[cfg(unix)]
async fn serve_reports_failed_accepts_rarely() {
    if std::env::var_os("IS_CHILD").is_some() {
        let (address, stop, served) = start(polite).await;
        let _peer = std::net::TcpStream::connect(address).unwrap();
        allow_open_files(0);
        tokio::time::sleep(Duration::from_secs(12)).await;
        stop.cancel();
        return served.await.unwrap();
    }
    let child = again("serve_reports_failed_accepts_rarely");
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().filter(|line| line.starts_with("accept: ")).count(), 3, "{said}");
}

#[tokio::test(start_paused = true)]
async fn report_writes_few_lines_at_a_time_and_counts_the_rest() {
    if std::env::var_os("IS_CHILD").is_some() {
        for _ in 0..2 {
            tokio::time::advance(REPORT_PAUSE).await;
            (0..REPORTS).for_each(|number| report(format_args!("line {number}")));
        }
        flush();
        report("the end");
        return flush();
    }
    let child = again("report_writes_few_lines_at_a_time_and_counts_the_rest");
    let said = child.wait_with_output().await.unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("line ")).count(), 2 * MAX_REPORTS);
    let counts = said.lines().filter_map(|line| line.strip_suffix(" lines were dropped"));
    let dropped: usize = counts.map(|count| count.parse::<usize>().unwrap()).sum();
    assert_eq!(dropped, 2 * (REPORTS - MAX_REPORTS));
    assert!(said.ends_with("\nthe end\n"), "{said}");
}

/// In a process of its own, whose stderr is a pipe that is not read at first.
#[tokio::test]
async fn report_drops_and_counts_unread_lines() {
    if std::env::var_os("IS_CHILD").is_some() {
        tokio::time::pause();
        for _ in 0..REPORTS {
            report("x".repeat(999));
            tokio::time::advance(REPORT_PAUSE).await;
        }
        flush();
        writeln!(std::io::stdout(), "returned").unwrap();
        std::io::stdin().read_to_end(&mut vec![]).unwrap();
        flush();
        report("the end");
        return flush();
    }
    let mut child = again("report_drops_and_counts_unread_lines");
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    within(async { while !lines.next_line().await.unwrap().unwrap().ends_with("returned") {} })
        .await;
    let said = within(child.wait_with_output()).await.unwrap().stderr;
    let said = String::from_utf8(said).unwrap();
    let mut count = said.lines().filter(|line| line.starts_with('x')).count();
    for line in said.lines() {
        if let Some(dropped) = line.strip_suffix(" lines were dropped") {
            count += dropped.parse::<usize>().unwrap();
        }
    }
    assert_eq!(count, REPORTS);
    assert!(said.ends_with("\nthe end\n"), "{said}");
}

/// Runs a test once more, in a process of its own.
fn again(test: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env("IS_CHILD", "").stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

const REPORTS: usize = 10_000;
