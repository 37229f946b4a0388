//! Pipelined GETs: the client of `example-redis` beside the `redis` crate, its
//! asynchronous connection and its blocking one.
//!
//! `cargo bench -p asynchat-comparison --bench redis_get`. It starts a server of its
//! own, or takes the one at `REDIS=HOST:PORT`, whose keys `bench:…` it sets.
//! All of them run on one thread and take turns; each builds its commands,
//! sends them at once, and holds all the values before it looks at them. The
//! figures are medians; compare those of one run.

#[path = "../../tests/programs/mod.rs"]
mod programs;

use example_redis::client::Client;
use example_redis::value::Value;
use mimalloc::MiMalloc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

const DEPTHS: [usize; 4] = [1, 16, 100, 1000];
const SIZES: [usize; 3] = [16, 1024, 64 * 1024];
const ROUNDS: usize = 31;

/// What one client does in a round, at least: so many requests, or so many
/// bytes of values.
const REQUESTS: usize = 1000;
const BYTES: usize = 16 << 20;

/// The C library's would return the top of its heap behind each pipeline, and
/// fetch it again, from whichever client happens to lie there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What every client must get: the keys, and their values.
struct Stock {
    keys: Vec<String>,
    values: Vec<Vec<u8>>,
}

/// A client that fetches values, all of them in one pipeline.
trait Contestant {
    const NAME: &'static str;
    type Value;

    fn fetch(&mut self, keys: &[String]) -> Result<Vec<Self::Value>>;
    fn bytes(value: &Self::Value) -> Option<&[u8]>;
}

struct Ours {
    runtime: Runtime,
    client: Client<TcpStream>,
}

struct Async {
    runtime: Runtime,
    connection: redis::aio::MultiplexedConnection,
}

struct Blocking(redis::Connection);

fn main() -> Result<()> {
    // Of `cargo test --benches` nobody wants the figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let (server, address) = match std::env::var("REDIS") {
        Ok(address) => (None, address),
        Err(_) if !programs::is_installed("redis-server") => return Ok(()),
        Err(_) => {
            let server = start();
            let address = server.address.to_string();
            (Some(server), address)
        }
    };
    let redis = redis::Client::open(format!("redis://{address}"))?;
    let mut blocking = Blocking(redis.get_connection()?);
    let (here, there) = (runtime()?, runtime()?);
    let mut ours = Ours { client: here.block_on(Client::connect(&address))?, runtime: here };
    let connection = there.block_on(redis.get_multiplexed_async_connection())?;
    let mut tasks = Async { connection, runtime: there };

    let info: String = redis::cmd("INFO").arg("server").query(&mut blocking.0)?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    for package in ["asynchat", "redis", "tokio"] {
        print!("{package} {}, ", locked(package));
    }
    println!("server {}; requests per second\n", version.unwrap_or("?"));
    println!(
        "| depth | value | {} | {} | {} | times async | times blocking |",
        Ours::NAME,
        Async::NAME,
        Blocking::NAME
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for size in SIZES {
        for depth in DEPTHS {
            let stock = Stock::new(size, depth);
            stock.fill(&mut blocking.0)?;
            let [ours, tasks, blocking] = stock.compare(&mut ours, &mut tasks, &mut blocking)?;
            println!(
                "| {depth} | {size} B | {ours:.0} | {tasks:.0} | {blocking:.0} | {:.2} | {:.2} |",
                ours / tasks,
                ours / blocking
            );
        }
    }
    drop(server);
    Ok(())
}

fn start() -> programs::Server {
    programs::Server::start("Ready to accept connections", |port| {
        let arguments = format!("redis-server --bind 127.0.0.1 --save --port {port}");
        arguments.split(' ').map(str::to_owned).collect()
    })
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

impl Stock {
    /// As many values as a pipeline is long, no two of them alike.
    fn new(size: usize, depth: usize) -> Self {
        let value = |i: usize| format!("{i:016}").into_bytes().repeat(size / 16);
        Stock {
            keys: (0..depth).map(|i| format!("bench:{i}")).collect(),
            values: (0..depth).map(value).collect(),
        }
    }

    fn fill(&self, connection: &mut redis::Connection) -> Result<()> {
        for (key, value) in self.keys.iter().zip(&self.values) {
            redis::cmd("SET").arg(key).arg(value).exec(connection)?;
        }
        Ok(())
    }

    /// Requests per second, the medians of all rounds.
    fn compare(&self, one: &mut Ours, two: &mut Async, three: &mut Blocking) -> Result<[f64; 3]> {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        // The first round is for the caches.
        for round in 0..=ROUNDS {
            for turn in 0..3 {
                let who = (round + turn) % 3;
                let time = match who {
                    0 => self.measure(one)?,
                    1 => self.measure(two)?,
                    _ => self.measure(three)?,
                };
                if round > 0 {
                    times[who].push(time);
                }
            }
        }
        Ok(times.map(|times| 1.0 / median(times).as_secs_f64()))
    }

    /// How long a request takes.
    fn measure<C: Contestant>(&self, contestant: &mut C) -> Result<Duration> {
        let depth = self.keys.len();
        let size = self.values.first().map_or(1, Vec::len);
        let pipelines = REQUESTS.min(BYTES / size).div_ceil(depth);
        let start = Instant::now();
        for _ in 0..pipelines {
            let values = contestant.fetch(&self.keys)?;
            let mut pairs = values.iter().map(C::bytes).zip(&self.values);
            let equal = pairs.all(|(value, expected)| value == Some(expected));
            if values.len() != depth || !equal {
                return Err(format!("{}: not what was set", C::NAME).into());
            }
        }
        Ok(start.elapsed() / u32::try_from(pipelines * depth)?)
    }
}

impl Contestant for Ours {
    const NAME: &'static str = "asynchat";
    type Value = Value;

    fn fetch(&mut self, keys: &[String]) -> Result<Vec<Self::Value>> {
        for key in keys {
            self.client.send(&["GET", key]);
        }
        self.runtime.block_on(async {
            let mut values = Vec::with_capacity(keys.len());
            for _ in keys {
                values.push(self.client.receive().await?);
            }
            Ok(values)
        })
    }

    fn bytes(value: &Self::Value) -> Option<&[u8]> {
        if let Value::Bulk(data) = value { Some(data) } else { None }
    }
}

impl Contestant for Async {
    const NAME: &'static str = "redis, async";
    type Value = redis::Value;

    fn fetch(&mut self, keys: &[String]) -> Result<Vec<Self::Value>> {
        let connection = &mut self.connection;
        Ok(self.runtime.block_on(async {
            match keys {
                [key] => redis::cmd("GET").arg(key).query_async(connection).await.map(|v| vec![v]),
                _ => pipeline(keys).query_async(connection).await,
            }
        })?)
    }

    fn bytes(value: &Self::Value) -> Option<&[u8]> {
        bulk(value)
    }
}

impl Contestant for Blocking {
    const NAME: &'static str = "redis, blocking";
    type Value = redis::Value;

    fn fetch(&mut self, keys: &[String]) -> Result<Vec<Self::Value>> {
        Ok(match keys {
            [key] => vec![redis::cmd("GET").arg(key).query(&mut self.0)?],
            _ => pipeline(keys).query(&mut self.0)?,
        })
    }

    fn bytes(value: &Self::Value) -> Option<&[u8]> {
        bulk(value)
    }
}

fn pipeline(keys: &[String]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(keys.len());
    for key in keys {
        pipeline.cmd("GET").arg(key);
    }
    pipeline
}

fn bulk(value: &redis::Value) -> Option<&[u8]> {
    if let redis::Value::BulkString(data) = value { Some(data) } else { None }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The version of a package that this was built with.
fn locked(package: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split(&format!("name = \"{package}\"\nversion = \"")).nth(1);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("?")
}
