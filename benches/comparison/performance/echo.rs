//! Echo servers in a process of their own, and their load.

use asynchat::{Channel, Error};
use futures::{SinkExt, StreamExt};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::codec::{Framed, LinesCodec};

/// This program as an echo server, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a server of either kind on a loopback address.
    pub(crate) fn start(kind: &str, host: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["serve-echo", kind, host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("its address");
        Server { child, address: address.trim().to_owned() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// An echo server of either kind on two threads: prints its address, and ends
/// with its input.
pub(crate) fn serve(kind: &str, host: &str) {
    let runtime =
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let ours = kind == "asynchat";
    runtime.block_on(async {
        let listener = TcpListener::bind((host, 0)).await.expect("a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let _ = socket.set_nodelay(true);
                if ours {
                    tokio::spawn(echo(socket));
                } else {
                    tokio::spawn(echo_framed(socket));
                }
            }
        });
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await;
    });
}

async fn echo(socket: TcpStream) -> Result<(), Error> {
    let mut channel = Channel::new(socket, "\n");
    while let Some(frame) = channel.next().await {
        channel.push(frame?.into_data());
        channel.push_slice(b"\n");
    }
    channel.shutdown().await
}

async fn echo_framed(socket: TcpStream) {
    let mut framed = Framed::new(socket, LinesCodec::new());
    while let Some(Ok(line)) = framed.next().await {
        if framed.send(line).await.is_err() {
            break;
        }
    }
}

/// Everybody says a line and hears it, so many times. Returns how many lines that was in a
/// second. `connected` is called before it, and `idle` after it, while all are connected.
pub(crate) async fn load(
    address: &str,
    connections: usize,
    times: usize,
    connected: impl FnOnce(),
    idle: impl FnOnce(),
) -> f64 {
    let line = [&[b'x'; 31][..], b"\n"].concat();
    let mut sockets = Vec::with_capacity(connections);
    for n in 1..=connections {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        if n % TOGETHER == 0 {
            say(&mut socket, &line).await;
        }
        sockets.push(socket);
    }
    connected();
    let start = Instant::now();
    let talks = sockets.into_iter().map(|mut socket| {
        let line = line.clone();
        tokio::spawn(async move {
            for _ in 0..times {
                say(&mut socket, &line).await;
            }
            socket
        })
    });
    let talks: Vec<_> = talks.collect();
    let mut sockets = Vec::with_capacity(connections);
    for talk in talks {
        sockets.push(talk.await.expect("it ends well"));
    }
    let seconds = start.elapsed().as_secs_f64();
    idle();
    drop(sockets);
    (connections * times) as f64 / seconds
}

/// Says a line, and hears it.
async fn say(socket: &mut TcpStream, line: &[u8]) {
    socket.write_all(line).await.expect("it is read");
    socket.read_exact(&mut [0; 32]).await.expect("it answers");
}

/// So many connect before one of them is heard, and with it all before it are accepted. One
/// that does not fit into the listener's queue would come again after a second.
pub(crate) const TOGETHER: usize = 64;

/// The resident memory of a process, in bytes.
pub(crate) fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or_default() * 1024
}
