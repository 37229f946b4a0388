//! Lines that come sixteen at a time over 50 connections, each answered: beside ntex.
//!
//! ```text
//! cd benches/ntex && cargo +nightly run --release
//! ```
//!
//! Each server is a process of its own with one thread. The load is one more, with one
//! thread, and checks every byte. The servers take turns for some rounds. It prints the
//! median of each, in lines per second, and how many times better ours is.

use asynchat::{Channel, Control, Error, Handler, Terminator};
use ntex::service::fn_service;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: usize = 50;
const DEPTH: usize = 16;
const ROUNDS: usize = 9;
const SERVERS: [&str; 4] = ["ntex", "run", "next", "next, corked"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("ntex") => serve_ntex()?,
        Some(kind) => runtime().block_on(serve(kind))?,
        None => compare(),
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn compare() {
    let servers = SERVERS.map(Server::start);
    let mut rates = SERVERS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (server, rates) in servers.iter().zip(&mut rates) {
            rates.push(runtime().block_on(load(&server.address, Duration::from_secs(1))));
        }
    }
    let medians = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!("| server | lines per second | beside ntex |\n|---|--:|--:|");
    for (kind, rate) in SERVERS.iter().zip(medians) {
        println!("| {kind} | {rate:.0} | {:.2}× |", rate / medians[0]);
    }
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(kind: &str) -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut child =
            Command::new(program).arg(kind).stdout(Stdio::piped()).spawn().expect("this program");
        let mut address = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("its address");
        Server { child, address: address.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends lines for a time. Returns how many were answered in a second.
async fn load(address: &str, time: Duration) -> f64 {
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        let socket = TcpStream::connect(address).await.expect("it listens");
        socket.set_nodelay(true).expect("a socket");
        sockets.push(socket);
    }
    let start = Instant::now();
    let local = tokio::task::LocalSet::new();
    let talks: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            local.spawn_local(async move {
                let lines = b"a line of 32 bytes with its LF.\n".repeat(DEPTH);
                let mut answers = vec![0; lines.len()];
                let mut count = 0;
                while start.elapsed() < time {
                    socket.write_all(&lines).await.expect("it is read");
                    socket.read_exact(&mut answers).await.expect("it answers");
                    assert!(answers == lines, "an echo");
                    count += DEPTH;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    local
        .run_until(async {
            for talk in talks {
                count += talk.await.expect("it ends well");
            }
        })
        .await;
    count as f64 / start.elapsed().as_secs_f64()
}

struct Echo;

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, frame: &[u8]) -> Result<(), Error> {
        control.push_slice(frame);
        control.push_slice(b"\n");
        Ok(())
    }
}

async fn serve(kind: &str) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let builder =
            Channel::builder().terminator(Terminator::lf()).corked(kind == "next, corked");
        let mut channel = builder.build(socket);
        if kind == "run" {
            tokio::spawn(async move { channel.run(&mut Echo).await });
        } else {
            tokio::spawn(async move {
                while let Some(frame) = channel.next().await {
                    channel.push_slice(frame?.data());
                    channel.push_slice(b"\n");
                }
                channel.close().await
            });
        }
    }
}

/// Lines for ntex: the decoder of its documentation, with a fast search.
struct Lines;

impl ntex::codec::Decoder for Lines {
    type Item = ntex::util::Bytes;
    type Error = std::io::Error;

    fn decode(&self, src: &mut ntex::util::BytesMut) -> std::io::Result<Option<Self::Item>> {
        Ok(memchr::memchr(b'\n', src).map(|end| src.split_to(end + 1)))
    }
}
impl ntex::codec::Encoder for Lines {
    type Item = ntex::util::Bytes;
    type Error = std::io::Error;

    fn encode(&self, item: Self::Item, dst: &mut ntex::util::BytePages) -> std::io::Result<()> {
        dst.extend_from_slice(&item);
        Ok(())
    }
}

fn serve_ntex() -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    ntex::rt::System::new("ntex", ntex::rt::DefaultRuntime).block_on(async move {
        ntex::server::build()
            .workers(1)
            .listen("lines", listener, ntex::SharedCfg::default(), async |_| {
                fn_service(async |io: ntex::io::Io| {
                    while let Ok(Some(line)) = io.recv(&Lines).await {
                        let _ = io.encode(line, &Lines);
                    }
                    Ok::<_, std::io::Error>(())
                })
            })?
            .run()
            .await
    })
}
