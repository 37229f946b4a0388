//! The program itself: out of descriptors, without stderr, on a disk that is full or fails,
//! and stopped by a signal.
#![cfg(unix)]

#[path = "../../../tests/programs/example.rs"]
mod example;
#[path = "../../../tests/programs/mod.rs"]
mod programs;

use asynchat::Channel;
use programs::within;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::yield_now;

/// A server that a shell has started.
struct Program {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Program {
    /// One with few descriptors, whose stderr is full.
    async fn start() -> Self {
        Self::start_by("ulimit -n 64; exec \"$@\" 2>/dev/full").await
    }

    /// The arguments of the script end in that of `--maildir`, the fourth.
    async fn start_by(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .args([env!("CARGO_BIN_EXE_example-smtp"), "127.0.0.1:0", "--maildir"])
            .arg(folder.path().join("Maildir"));
        let (child, [address]) = example::start(&mut command).await;
        Program { child, address, folder }
    }

    async fn connect(&self) -> Channel<TcpStream> {
        Channel::new(TcpStream::connect(self.address).await.unwrap(), "\r\n")
    }

    /// Somebody who has been greeted.
    async fn greeted(&self) -> Channel<TcpStream> {
        let mut peer = self.connect().await;
        peer.expect("220 ").await;
        peer
    }

    /// Sets how many files it may have open.
    async fn allow_open_files(&self, number: u32) {
        let process = self.child.id().unwrap().to_string();
        let limit = format!("--nofile={number}:");
        let set = Command::new("prlimit").args(["--pid", &process, &limit]).status().await;
        assert!(set.unwrap().success());
    }

    fn mails(&self, folder: &str) -> Vec<PathBuf> {
        names(&self.folder.path().join("Maildir").join(folder))
    }

    /// Stops it as an operator would; it must end well.
    async fn stop(&mut self, signal: &str) {
        let process = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().await.unwrap().success());
        assert_eq!(within(self.child.wait()).await.unwrap().code(), Some(0));
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

trait Expect {
    async fn expect(&mut self, answer: &str);
}

impl Expect for Channel<TcpStream> {
    /// Reads up to a line that begins so.
    async fn expect(&mut self, answer: &str) {
        while !within(self.receive("\r\n")).await.unwrap().starts_with(answer.as_bytes()) {}
    }
}

const UP_TO_DATA: &str = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_server_without_descriptors_or_stderr_goes_on() {
    let mut program = Program::start().await;
    let mut sender = program.greeted().await;
    sender.push(UP_TO_DATA);
    sender.expect("354 ").await;
    program.allow_open_files(0).await;
    // It tries to accept this one, and says that it cannot.
    let mut waiting = program.connect().await;
    // The folder cannot be opened, and so not be synced.
    sender.push("text\r\n.\r\n");
    sender.expect("451 4.3.0 ").await;
    assert_eq!((program.mails("new"), program.mails("tmp")), (vec![], vec![]));
    program.allow_open_files(64).await;
    waiting.expect("220 ").await;
    sender.push(format!("{UP_TO_DATA}text\r\n.\r\nQUIT\r\n"));
    sender.expect("250 2.0.0 stored").await;
    sender.expect("221 ").await;
    assert_eq!(program.mails("new").len(), 1);
    program.stop("-TERM").await;
}

#[tokio::test]
async fn a_mail_is_for_its_owner_and_nothing_stays_after_a_stop() {
    for signal in ["-INT", "-TERM"] {
        let mut program = Program::start().await;
        let mut sender = program.greeted().await;
        sender.push(format!("{UP_TO_DATA}text\r\n.\r\n"));
        sender.expect("250 2.0.0 stored").await;
        let root = program.folder.path().join("Maildir");
        let folders = names(&root);
        assert_eq!(folders.len(), 3);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert!(folders.iter().chain([&root]).all(|folder| mode(folder) == 0o700));
        assert!(program.mails("new").iter().all(|mail| mode(mail) == 0o600));
        // This one breaks off while the server waits for the rest.
        sender.push(format!("{UP_TO_DATA}half\r\n"));
        sender.expect("354 ").await;
        assert_eq!(program.mails("tmp").len(), 1);
        let mut idle = program.greeted().await;
        let stopping = program.stop(signal);
        let breaking_off = async {
            idle.expect("421 ").await;
            drop(sender);
            let _ = within(idle.into_parts().io.read_to_end(&mut vec![])).await;
        };
        tokio::join!(stopping, breaking_off);
        assert_eq!((program.mails("new").len(), program.mails("tmp").len()), (1, 0));
    }
}

/// It waits for stdout, and has not said where it listens. SIGINT would do the same, but is
/// ignored by what a shell runs in the background.
#[tokio::test]
async fn a_server_whose_stdout_is_full_is_stopped_by_a_signal() {
    let (stdout, _unread) = tokio::net::unix::pipe::pipe().unwrap();
    stdout.writable().await.unwrap();
    while stdout.try_write(&[0; 4096]).is_ok() {}
    let folder = tempfile::tempdir().unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_example-smtp"))
        .args(["127.0.0.1:0", "--maildir"])
        .arg(folder.path())
        .stdout(stdout.into_blocking_fd().unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    within(async {
        while !folder.path().join("cur").exists() {
            yield_now().await
        }
    })
    .await;
    let process = server.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().await.unwrap().success());
    assert!(!within(server.wait()).await.unwrap().success());
}

/// A limit to the size of files takes the place of the disk.
#[tokio::test]
async fn a_full_disk_refuses_a_mail_and_takes_a_smaller_one() {
    let program = Program::start_by("trap '' XFSZ; ulimit -f 128; exec \"$@\"").await;
    let mut sender = program.greeted().await;
    for lines in [10_000, 2000, 10_000] {
        let text = "0123456789\r\n".repeat(lines);
        sender.push(format!("{UP_TO_DATA}{text}.\r\n"));
        let answer = if lines == 2000 { "250 2.0.0 stored" } else { "452 4.3.1 " };
        sender.expect("354 ").await;
        sender.expect(answer).await;
        assert_eq!(program.mails("tmp"), Vec::<PathBuf>::new());
    }
    assert_eq!(program.mails("new").len(), 1);
}

/// The first attempt of each thread to sync this folder fails.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_mail_whose_folder_fails_to_sync_is_not_kept() {
    if !programs::works(&["strace", "-D", "-o", "/dev/null", "true"]) {
        return;
    }
    let program = Program::start_by(
        "exec strace -D -f -qq -o /dev/null -P \"$4/new\" -e trace=fsync \
         -e inject=fsync:error=EIO:when=1 \"$@\"",
    )
    .await;
    let mut sender = program.greeted().await;
    let mut failed = 0;
    loop {
        sender.push(format!("{UP_TO_DATA}text\r\n.\r\n"));
        sender.expect("354 ").await;
        let answer = within(sender.receive("\r\n")).await.unwrap();
        assert_eq!(program.mails("tmp"), Vec::<PathBuf>::new());
        if answer == "250 2.0.0 stored" {
            break;
        }
        assert!(answer.starts_with(b"451 4.3.0 "), "{answer:?}");
        assert_eq!(program.mails("new"), Vec::<PathBuf>::new());
        failed += 1;
    }
    assert!(failed > 0 && program.mails("new").len() == 1, "{failed} have failed");
}
