//! The Redis client: what it makes of servers that say anything.

use crate::case::{self, Case, Step};
use example_redis::client::{Client, Error, Streamed};
use example_redis::value::Value;
use futures::poll;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

/// Longer than anything the client waits for.
const A_WHILE: Duration = Duration::from_secs(3600);

/// What a file of `resp` says.
#[derive(Default)]
struct Resp {
    commands: Vec<Vec<String>>,
    pieces: Vec<Vec<u8>>,
    ends: bool,
    wants: Vec<String>,
}

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    let mut resp = Resp::default();
    for step in &case.steps {
        resp.step(step)?;
    }
    if resp.wants.is_empty() {
        return Err("nothing is expected".into());
    }
    let runtime = case::runtime();
    for cuts in case::cuts(&resp.pieces) {
        for way in ["receive", "receive, given up and begun again", "receive_streamed"] {
            if way == "receive_streamed" && resp.wants.iter().any(|want| want.contains(TOO_LONG)) {
                // Whoever streams has no limit.
                continue;
            }
            let pieces = case::cut(&resp.pieces.concat(), &cuts);
            let mut got = runtime.block_on(resp.replay(pieces, way));
            let mut wants = resp.wants.clone();
            if way == "receive_streamed" {
                // What was handed out is not part of what was cut off.
                for line in got.iter_mut().chain(&mut wants) {
                    line.truncate(line.find(" after ").unwrap_or(line.len()));
                }
            }
            if got != wants {
                return Err(format!("{way}, cut at {cuts:?}: {got:?}, want {:?}", resp.wants));
            }
        }
    }
    Ok(())
}

const TOO_LONG: &str = "frame longer than 536870912 bytes";

impl Resp {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step.pair() {
            ("command", rest) => {
                self.commands.push(rest.split(' ').map(str::to_owned).collect());
            }
            ("said", rest) => case::extend(&mut self.pieces, case::pieces(rest)?),
            ("end", "") => self.ends = true,
            ("value", rest) => self.wants.push(format!("value {rest}")),
            ("error", rest) => self.wants.push(format!("error {rest}")),
            ("waits", "") => self.wants.push("waits".into()),
            _ => return step.unknown(),
        }
        Ok(())
    }

    /// All values, up to an error or until nothing comes any more.
    async fn replay(&self, pieces: Vec<Vec<u8>>, way: &str) -> Vec<String> {
        let (io, theirs) = duplex(64 * 1024);
        let server = Server::new(theirs, pieces, self.ends);
        let mut client = Client::new(io);
        for command in &self.commands {
            client.send(command);
        }
        let mut got = vec![];
        loop {
            assert!(got.len() < 1000, "endless values");
            match timeout(A_WHILE, receive(&mut client, way)).await {
                Ok(Ok(value)) => got.push(format!("value {value:?}")),
                Ok(Err(error)) => {
                    got.push(format!("error {error}"));
                    let again = client.receive().await;
                    assert!(matches!(again, Err(Error::Broken)));
                    break;
                }
                Err(_) => {
                    got.push("waits".into());
                    break;
                }
            }
        }
        drop(client);
        server.sent().await;
        got
    }
}

async fn receive(client: &mut Client<DuplexStream>, way: &str) -> Result<Value, Error> {
    match way {
        "receive" => client.receive().await,
        "receive_streamed" => {
            let mut bulk = match client.receive_streamed().await? {
                Streamed::Value(value) => return Ok(value),
                Streamed::Bulk(bulk) => bulk,
            };
            let mut data = vec![];
            while let Some(chunk) = bulk.chunk().await? {
                data.extend_from_slice(&chunk);
            }
            Ok(Value::Bulk(data.into()))
        }
        _ => {
            for _ in 0..1000 {
                if let Poll::Ready(reply) = poll!(pin!(client.receive())) {
                    return reply;
                }
                yield_now().await;
            }
            // By now nothing will come.
            std::future::pending().await
        }
    }
}

/// A server that says something, whatever it is told.
struct Server(JoinHandle<Vec<u8>>);

impl Server {
    fn new(io: DuplexStream, pieces: Vec<Vec<u8>>, ends: bool) -> Self {
        let (mut reader, mut writer) = split(io);
        let saying = async move {
            for piece in pieces {
                let _ = writer.write_all(&piece).await;
                yield_now().await;
            }
            if ends {
                let _ = writer.shutdown().await;
            }
            writer
        };
        Server(tokio::spawn(async move {
            let mut sent = vec![];
            let (_writer, read) = tokio::join!(saying, reader.read_to_end(&mut sent));
            read.map(|_| sent).unwrap_or_default()
        }))
    }

    /// What it was sent.
    async fn sent(self) -> Vec<u8> {
        self.0.await.expect("no panic")
    }
}
