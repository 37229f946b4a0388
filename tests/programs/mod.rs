//! Starts and stops the programs that tests need, and skips a test whose program is not
//! installed.

// Each test uses some of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

/// Reports in one line why a test is skipped.
///
/// # Panics
///
/// If `ASYNCHAT_REQUIRE_INTEROP` is set, as in the gate.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("ASYNCHAT_REQUIRE_INTEROP").is_none(), "{reason}, but is required");
    // Not `println!`, which nobody sees of a test that passes; and in one piece.
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// Returns `true` if a program is installed, and reports otherwise that the test is skipped.
/// Name the program that runs, by its path if it is not among the commands, because a server
/// may start another.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // Servers are often where only root looks.
    let mut folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = folders.any(|folder| Path::new(folder).join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// Returns `true` if a command succeeds, and reports otherwise that the test is skipped. Name
/// a command that needs the same parts of a program as the test.
pub(crate) fn works(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let works = output.is_ok_and(|output| output.status.success());
    if !works {
        skip(&format!("`{}` fails", command.join(" ")));
    }
    works
}

/// A server on a loopback port of its own, stopped when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `arguments(port)`, the first of which is the program, and waits
    /// until it prints a line with `ready` in it.
    pub(crate) fn start(ready: &str, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        Self::try_start(ready, arguments).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Does the same, and skips the test if the server does not start. Part of it may be
    /// missing, or its version may have other settings.
    pub(crate) fn start_if_whole(
        ready: &str,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Option<Self> {
        Self::try_start(ready, arguments).inspect_err(|why| skip(why)).ok()
    }

    fn try_start(ready: &str, arguments: impl Fn(u16) -> Vec<String>) -> Result<Self, String> {
        let mut said = String::new();
        // Another program may take the port in between: then another one.
        for _ in 0..5 {
            let port = free_port();
            let mut child = Command::new("sh")
                .args(["-c", "exec \"$@\" 2>&1", "sh"])
                .args(arguments(port))
                .env("PATH", std::env::var("PATH").unwrap_or_default() + ":/usr/sbin")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("there is a shell");
            let mut output = BufReader::new(child.stdout.take().expect("piped"));
            let (tell, lines) = mpsc::channel();
            // It reads to the end, or the server would wait for us one day.
            std::thread::spawn(move || {
                let mut line = Vec::new();
                while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                }
            });
            while let Ok(line) = lines.recv_timeout(BOUND) {
                if line.contains(ready) {
                    return Ok(Server { child, address: (Ipv4Addr::LOCALHOST, port).into() });
                }
                said += &line;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        Err(format!("{:?} does not start: {said}", arguments(0)))
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it, as an operator would, and waits for its end.
    pub(crate) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").arg(pid).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.stop();
        }
    }
}

/// A loopback port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A guard against hanging; nothing waits for the time to pass.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(BOUND, future).await.expect("somebody hangs")
}

/// After this something counts as hung.
const BOUND: Duration = Duration::from_secs(60);

/// A server with a script, over a pipe that holds `size` bytes: it greets, and
/// in each turn awaits exactly what is to be sent and answers. Nothing else may
/// be sent to it.
pub(crate) fn scripted(
    size: usize,
    greeting: &'static str,
    turns: impl Iterator<Item = (&'static str, &'static str)> + Send + 'static,
) -> (DuplexStream, JoinHandle<()>) {
    let (io, mut server) = duplex(size);
    let played = tokio::spawn(async move {
        server.write_all(greeting.as_bytes()).await.unwrap();
        for (sent, answer) in turns {
            let mut got = vec![0; sent.len()];
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&got), sent);
            server.write_all(answer.as_bytes()).await.unwrap();
        }
        let mut rest = String::new();
        server.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "");
    });
    (io, played)
}
