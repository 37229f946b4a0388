//! The client of the example `nats` beside `async-nats`, at one nats-server. Each has a
//! runtime of one thread.

use crate::measure::{Contest, Outcome, Unit, median, time};
use crate::network::runtime;
use crate::programs;
use bytes::Bytes;
use example_nats::client::{Client, Subscription};
use futures::StreamExt;
use std::cell::RefCell;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use tokio::runtime::Runtime;

const ROUNDS: usize = 31;
const PUBLISHED: usize = 200_000;
/// Less than the queue of either client has room for.
const RECEIVED: usize = 60_000;
/// Much less than a server keeps for a client.
const RECEIVED_BYTES: usize = 16 << 20;
const REQUESTS: usize = 8_000;

/// What both clients do.
trait Peer: Clone + Send + 'static {
    const NAME: &'static str;
    type Messages: Send;

    async fn connect(address: SocketAddr) -> Self;
    fn publish(&self, subject: &str, payload: Bytes) -> impl Future<Output = ()> + Send;
    /// Waits for an answer of the server, which comes after all that was sent before.
    async fn finish(&self);
    fn subscribe(&self, subject: &str) -> impl Future<Output = Self::Messages> + Send;
    /// Returns the length of the payload.
    fn next(messages: &mut Self::Messages) -> impl Future<Output = usize> + Send;
    fn request(&self, payload: Bytes) -> impl Future<Output = usize> + Send;
    /// Answers each request of a connection of its own.
    async fn answer(address: SocketAddr);
}

#[derive(Clone)]
struct Ours(Client);

impl Peer for Ours {
    const NAME: &'static str = "example-nats";
    type Messages = Subscription;

    async fn connect(address: SocketAddr) -> Self {
        let io = tokio::net::TcpStream::connect(address).await.expect("it listens");
        io.set_nodelay(true).expect("a socket");
        Ours(Client::new(io, None).await.expect("a session"))
    }

    async fn publish(&self, subject: &str, payload: Bytes) {
        self.0.publish(subject, &[], &payload).await.expect("it is sent");
    }

    async fn finish(&self) {
        self.0.flush().await.expect("an answer");
    }

    async fn subscribe(&self, subject: &str) -> Self::Messages {
        self.0.subscribe(subject).await.expect("a subscription")
    }

    async fn next(messages: &mut Self::Messages) -> usize {
        messages.next().await.expect("a message").payload.len()
    }

    async fn request(&self, payload: Bytes) -> usize {
        self.0.request(Self::NAME, &[], &payload).await.expect("an answer").payload.len()
    }

    async fn answer(address: SocketAddr) {
        let client = Ours::connect(address).await.0;
        let mut requests = client.subscribe(Self::NAME).await.expect("a subscription");
        while let Ok(request) = requests.next().await {
            if let Some(reply) = &request.reply {
                client.publish(reply, &[], &request.payload).await.expect("it is sent");
            }
        }
    }
}

#[derive(Clone)]
struct Theirs(async_nats::Client);

impl Peer for Theirs {
    const NAME: &'static str = "async-nats";
    type Messages = async_nats::Subscriber;

    async fn connect(address: SocketAddr) -> Self {
        Theirs(async_nats::connect(address.to_string()).await.expect("a session"))
    }

    async fn publish(&self, subject: &str, payload: Bytes) {
        self.0.publish(subject.to_owned(), payload).await.expect("it is sent");
    }

    async fn finish(&self) {
        // `flush` does not wait for the server. Nobody answers this, and the server says so.
        assert!(self.0.request("nobody", Bytes::new()).await.is_err());
    }

    async fn subscribe(&self, subject: &str) -> Self::Messages {
        self.0.subscribe(subject.to_owned()).await.expect("a subscription")
    }

    async fn next(messages: &mut Self::Messages) -> usize {
        messages.next().await.expect("a message").payload.len()
    }

    async fn request(&self, payload: Bytes) -> usize {
        self.0.request(Self::NAME, payload).await.expect("an answer").payload.len()
    }

    async fn answer(address: SocketAddr) {
        let client = Theirs::connect(address).await.0;
        let mut requests = client.subscribe(Self::NAME).await.expect("a subscription");
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                client.publish(reply, request.payload).await.expect("it is sent");
            }
        }
    }
}

/// A client on this thread, and how long that was on a processor for each message.
struct Side<P> {
    runtime: Runtime,
    client: P,
    address: SocketAddr,
    cpu: RefCell<Vec<f64>>,
}

impl<P: Peer> Side<P> {
    fn new(address: SocketAddr) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(P::connect(address));
        thread::spawn(move || self::runtime().block_on(P::answer(address)));
        Side { runtime, client, address, cpu: RefCell::default() }
    }

    /// Returns messages per second.
    fn measure(&self, count: usize, work: impl Future<Output = ()>) -> f64 {
        let before = nanos_run();
        let nanos = time(|| self.runtime.block_on(work));
        self.cpu.borrow_mut().push((nanos_run() - before) / count as f64);
        count as f64 / nanos * 1e9
    }

    fn publish(&self, tasks: usize, length: usize) -> f64 {
        let payload = Bytes::from(vec![b'x'; length]);
        self.measure(PUBLISHED, async {
            let tasks = (0..tasks).map(|_| {
                let (client, payload) = (self.client.clone(), payload.clone());
                tokio::spawn(async move {
                    for _ in 0..PUBLISHED / tasks {
                        client.publish("bench.published", payload.clone()).await;
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.expect("it ends");
            }
            self.client.finish().await;
        })
    }

    /// The messages wait at the server when the client begins to read.
    fn subscribe(&self, length: usize) -> f64 {
        let subject = format!("bench.{}", P::NAME);
        let publish = format!("PUB {subject} {length}\r\n{}\r\n", "x".repeat(length));
        let mut messages = self.runtime.block_on(async {
            let messages = self.client.subscribe(&subject).await;
            self.client.finish().await;
            messages
        });
        let count = RECEIVED.min(RECEIVED_BYTES / length);
        send(self.address, publish.repeat(count).as_bytes());
        self.measure(count, async {
            for _ in 0..count {
                assert_eq!(P::next(&mut messages).await, length);
            }
        })
    }

    fn request(&self, callers: usize) -> f64 {
        let payload = Bytes::from_static(&[b'x'; 16]);
        self.measure(REQUESTS, async {
            let callers = (0..callers).map(|_| {
                let (client, payload) = (self.client.clone(), payload.clone());
                tokio::spawn(async move {
                    for _ in 0..REQUESTS / callers {
                        assert_eq!(client.request(payload.clone()).await, 16);
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.expect("it ends");
            }
        })
    }
}

/// Sends what a client would, and waits until the server has taken it.
fn send(address: SocketAddr, publishes: &[u8]) {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.write_all(b"CONNECT {\"verbose\":false}\r\n").expect("it reads");
    socket.write_all(publishes).expect("it reads");
    socket.write_all(b"PING\r\n").expect("it reads");
    assert!(BufReader::new(socket).lines().any(|line| line.is_ok_and(|line| line == "PONG")));
}

/// How long this thread has been on a processor, kernel included.
fn nanos_run() -> f64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    said.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(f64::NAN)
}

/// Messages per second; `None` without a server.
pub(crate) fn contests() -> Option<Vec<Outcome>> {
    if !programs::is_installed("nats-server") {
        return None;
    }
    // glibc learns not to return memory at once, as in `websocket`.
    drop(black_box(Vec::<u8>::with_capacity(16 << 20)));
    let server = programs::Server::start("Server is ready", |port| {
        let arguments = format!("nats-server --addr 127.0.0.1 --port {port}");
        arguments.split(' ').map(str::to_owned).collect()
    });
    let (ours, theirs) = (Side::new(server.address), Side::new(server.address));
    let (ours, theirs): (&Side<Ours>, &Side<Theirs>) = (&ours, &theirs);
    let (mut outcomes, mut cpu) = (Vec::new(), Vec::new());
    let mut add = |what: &str, wanted, us: &dyn Fn() -> f64, them: &dyn Fn() -> f64| {
        let contest = Contest::new(what, Unit::PerSecond);
        let contest = contest.entry(Ours::NAME, us).entry(Theirs::NAME, them);
        outcomes.push(contest.run(ROUNDS).wanting(wanted));
        let own = |cpu: &RefCell<Vec<f64>>| median(&mut cpu.take()[1..]);
        cpu.push(Outcome {
            what: format!("{what}, the client's own time for each"),
            unit: Unit::Nanos,
            figures: vec![(Ours::NAME, own(&ours.cpu)), (Theirs::NAME, own(&theirs.cpu))],
            wanted: Some(0.0),
        });
    };
    add("publish 16 B, 1 task", 1.2, &|| ours.publish(1, 16), &|| theirs.publish(1, 16));
    add("publish 16 B, 16 tasks", 1.0, &|| ours.publish(16, 16), &|| theirs.publish(16, 16));
    add("publish 1 KiB, 1 task", 1.1, &|| ours.publish(1, 1024), &|| theirs.publish(1, 1024));
    add("subscribe, 16 B", 1.3, &|| ours.subscribe(16), &|| theirs.subscribe(16));
    add("subscribe, 1 KiB", 1.3, &|| ours.subscribe(1024), &|| theirs.subscribe(1024));
    add("request and reply, 16 callers", 1.3, &|| ours.request(16), &|| theirs.request(16));
    outcomes.extend(cpu);
    Some(outcomes)
}
