//! The program `example-chat`: one room, on one server and on three through Redis.

use crate::echo::{TOGETHER, resident};
use crate::programs;
use crate::table::{Column, Table, cost, figure, medians};
use crate::usage::{allow_open_files, cpu};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::timeout;

pub(crate) fn one_server() -> Table {
    table("Members of one room, on one server", 1, Vec::new())
}

pub(crate) fn three_servers() -> Table {
    let columns = vec![
        figure("processor µs of Redis for a message"),
        figure("processor µs of Redis for each newcomer"),
    ];
    table("Members of one room, on three servers and one Redis", 3, columns)
}

fn table(title: &'static str, servers: usize, more: Vec<Column>) -> Table {
    let mut columns = vec![
        figure("messages received a second, in all"),
        cost("processor ns of the servers for each of them", 0.0),
        cost("the same, of single messages", 0.0),
        cost("lag in ms, median", 1.0),
        cost("lag in ms, 99th percentile", 1.0),
        cost("processor µs for each newcomer", 1.0),
        cost("resident bytes of the servers for each member", 0.0),
    ];
    columns.extend(more);
    let table = Table {
        title,
        size: "members",
        columns,
        rows: Vec::new(),
        notes: "One member writes, and all members receive it, over loopback. The load is a \
                process of its own with one thread. The first two columns are for messages sent \
                64 at a time. The lag of a single message runs from just before the write to the \
                receipt by each member. All members are notified of each newcomer.",
    };
    let is_built = build();
    table.fill(&[10, 100, 1000, 5000], |members| {
        let program = is_built.clone()?;
        // On a server, a connection may take two.
        allow_open_files(2 * members + 200)?;
        measure(&program, servers, members)
    })
}

/// Builds the program, and returns its path.
fn build() -> Result<PathBuf, String> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", "example-chat"])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("example-chat cannot be built".into());
    }
    let bench = std::env::current_exe().map_err(|error| error.to_string())?;
    let release = bench.ancestors().nth(2).ok_or("no target folder")?;
    Ok(release.join("example-chat"))
}

/// The servers that share a room.
struct Room {
    redis: Option<programs::Server>,
    servers: Vec<programs::Server>,
}

impl Room {
    fn start(program: &str, servers: usize) -> Result<Self, String> {
        let redis = (servers > 1).then(redis).transpose()?;
        let server = |_| {
            programs::Server::start("and for browsers", |port| {
                let address = format!("127.0.0.1:{port}");
                let settings = ["--http", "127.0.0.1:0", "--connections", "10000"];
                let mut command = vec![program.to_owned(), address];
                command.extend(settings.map(str::to_owned));
                if let Some(redis) = &redis {
                    command.extend(["--redis".to_owned(), redis.address.to_string()]);
                }
                command
            })
        };
        let servers = (0..servers).map(server).collect();
        let room = Room { redis, servers };
        room.await_bridges();
        Ok(room)
    }

    /// Waits until Redis has all servers for listeners.
    fn await_bridges(&self) {
        let Some(redis) = &self.redis else { return };
        let mut socket = std::net::TcpStream::connect(redis.address).expect("it listens");
        let wanted = format!(":{}\r\n", self.servers.len());
        let mut answer = [0; 256];
        loop {
            socket.write_all(b"PUBSUB NUMSUB asynchat.chat\r\n").expect("it reads");
            let length = socket.read(&mut answer).expect("it answers");
            // Those that have subscribed still have to join the room.
            std::thread::sleep(Duration::from_millis(50));
            if answer[..length].ends_with(wanted.as_bytes()) {
                return;
            }
        }
    }

    fn cpu(&self) -> f64 {
        self.servers.iter().map(|server| cpu(server.id())).sum()
    }

    fn redis_cpu(&self) -> f64 {
        self.redis.as_ref().map_or(0.0, |redis| cpu(redis.id()))
    }

    fn resident(&self) -> f64 {
        self.servers.iter().map(|server| resident(server.id()) as f64).sum()
    }
}

fn redis() -> Result<programs::Server, String> {
    if !programs::is_installed("redis-server") {
        return Err("redis-server is not installed".into());
    }
    Ok(programs::Server::start("Ready to accept connections", |port| {
        let port = port.to_string();
        let command = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--port", &port];
        command.map(str::to_owned).into()
    }))
}

fn measure(program: &std::path::Path, servers: usize, members: usize) -> Result<Vec<f64>, String> {
    let room = Room::start(&program.display().to_string(), servers)?;
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (cpu, redis_cpu, memory) = (room.cpu(), room.redis_cpu(), room.resident());
        let mut load = Load::join(&room, members).await?;
        load.say(1).await?;
        let joining = (room.cpu() - cpu) / members as f64 / 1e3;
        let redis_joining = (room.redis_cpu() - redis_cpu) / members as f64 / 1e3;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let [rate, each, redis_each] = flood(&room, &mut load).await?;
            let [single, middle, late] = lag(&room, &mut load).await?;
            let memory = (room.resident() - memory) / members as f64;
            let mut figures = vec![rate, each, single, middle, late, joining, memory];
            if servers > 1 {
                figures.extend([redis_each, redis_joining]);
            }
            rounds.push(figures);
        }
        Ok(medians(rounds))
    })
}

/// Many messages at a time: how many are received in a second, processor time for each in
/// nanoseconds, and that of Redis for each sent in microseconds.
async fn flood(room: &Room, load: &mut Load) -> Result<[f64; 3], String> {
    let bursts = (100_000 / (BURST * load.members)).clamp(1, 20);
    let (cpu, redis_cpu, start) = (room.cpu(), room.redis_cpu(), Instant::now());
    for _ in 0..bursts {
        load.say(BURST).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let sent = (bursts * BURST) as f64;
    let received = sent * load.members as f64;
    let redis_each = (room.redis_cpu() - redis_cpu) / sent / 1e3;
    Ok([received / seconds, (room.cpu() - cpu) / received, redis_each])
}

/// One message at a time: processor time for each that is received in nanoseconds, the median
/// lag, and that of the 99th percentile, in milliseconds.
async fn lag(room: &Room, load: &mut Load) -> Result<[f64; 3], String> {
    load.heard.lags().clear();
    let cpu = room.cpu();
    for _ in 0..(20_000 / load.members).clamp(10, 200) {
        load.say(1).await?;
    }
    let mut lags = std::mem::take(&mut *load.heard.lags());
    lags.sort_by(f64::total_cmp);
    let single = (room.cpu() - cpu) / lags.len() as f64;
    Ok([single, lags[lags.len() / 2], lags[lags.len() * 99 / 100]])
}

/// The members, the first of whom speaks.
struct Load {
    members: usize,
    sender: OwnedWriteHalf,
    /// The others only listen. Whoever ends to write leaves the room.
    _silent: Vec<OwnedWriteHalf>,
    heard: Arc<Heard>,
    /// The messages that are to be heard so far.
    due: usize,
}

impl Load {
    /// Everybody comes in, to each server in turn.
    async fn join(room: &Room, members: usize) -> Result<Self, String> {
        let heard = Arc::new(Heard::default());
        let mut halves = Vec::new();
        for server in room.servers.iter().cycle().take(members) {
            if halves.len() % TOGETHER == 0 {
                heard.reach(&heard.welcomes, halves.len()).await?;
            }
            halves.push(enter(server.address, &heard).await.map_err(|error| error.to_string())?);
        }
        heard.reach(&heard.welcomes, members).await?;
        let sender = halves.swap_remove(0);
        Ok(Load { members, sender, _silent: halves, heard, due: 0 })
    }

    /// Says so many messages at once, and waits until everybody has heard all of them.
    async fn say(&mut self, messages: usize) -> Result<(), String> {
        let mut text = String::new();
        for _ in 0..messages {
            let _ = writeln!(text, "{MARK}{}", self.heard.nanos());
        }
        self.sender.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
        self.due += messages * self.members;
        self.heard.reach(&self.heard.messages, self.due).await
    }
}

async fn enter(address: SocketAddr, heard: &Arc<Heard>) -> std::io::Result<OwnedWriteHalf> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (read, write) = socket.into_split();
    tokio::spawn(listen(read, Arc::clone(heard)));
    Ok(write)
}

async fn listen(socket: impl AsyncRead + Unpin, heard: Arc<Heard>) {
    let (mut socket, mut line) = (BufReader::with_capacity(4096, socket), String::new());
    while socket.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        if let Some((_, sent)) = line.trim_end().split_once(MARK) {
            let lag = heard.nanos() - sent.parse::<u64>().expect("our own number");
            heard.lags().push(lag as f64 / 1e6);
            heard.count(&heard.messages);
        } else if line.starts_with("* welcome") {
            heard.count(&heard.welcomes);
        }
        line.clear();
    }
}

/// What all members have heard.
struct Heard {
    since: Instant,
    welcomes: AtomicUsize,
    messages: AtomicUsize,
    /// In milliseconds.
    lags: Mutex<Vec<f64>>,
    /// The number that somebody waits for.
    goal: AtomicUsize,
    reached: Notify,
}

impl Default for Heard {
    fn default() -> Self {
        Heard {
            since: Instant::now(),
            welcomes: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            lags: Mutex::default(),
            goal: AtomicUsize::new(usize::MAX),
            reached: Notify::new(),
        }
    }
}

impl Heard {
    fn nanos(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    fn lags(&self) -> std::sync::MutexGuard<'_, Vec<f64>> {
        self.lags.lock().expect("nobody panics")
    }

    fn count(&self, counter: &AtomicUsize) {
        if counter.fetch_add(1, Ordering::Relaxed) + 1 >= self.goal.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    async fn reach(&self, counter: &AtomicUsize, goal: usize) -> Result<(), String> {
        self.goal.store(goal, Ordering::Relaxed);
        let reached = async {
            while counter.load(Ordering::Relaxed) < goal {
                self.reached.notified().await;
            }
        };
        let got = timeout(BOUND, reached).await;
        got.map_err(|_| format!("of {goal} messages {} came", counter.load(Ordering::Relaxed)))
    }
}

/// Before the time at which a message was sent.
const MARK: &str = "sent at ";

/// The messages that are sent at once.
const BURST: usize = 64;
const ROUNDS: usize = 3;

/// The time for all members to hear something. People who say nothing for two minutes leave.
const BOUND: Duration = Duration::from_secs(60);
