//! The clients among the examples: what they make of servers that say anything.

use crate::case::{self, Case, Step};
use crate::perform_memcached::perform as perform_memcached;
use crate::redis_client::client::Streamed;
use crate::redis_client::value::Value;
use crate::{imap_client, memcached_client, perform_imap, redis_client};
use futures::poll;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

/// Longer than anything a client waits for.
const A_WHILE: Duration = Duration::from_secs(3600);

// Redis.

/// What a file of `resp` says.
#[derive(Default)]
struct Resp {
    commands: Vec<Vec<String>>,
    pieces: Vec<Vec<u8>>,
    ends: bool,
    wants: Vec<String>,
}

pub(crate) fn play_resp(case: &Case) -> Result<(), String> {
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
            let mut got = runtime.block_on(resp.play(pieces, way));
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
            ("said", rest) => extend(&mut self.pieces, case::pieces(rest)?),
            ("end", "") => self.ends = true,
            ("value", rest) => self.wants.push(format!("value {rest}")),
            ("error", rest) => self.wants.push(format!("error {rest}")),
            ("waits", "") => self.wants.push("waits".into()),
            _ => return step.unknown(),
        }
        Ok(())
    }

    /// All values, up to an error or until nothing comes any more.
    async fn play(&self, pieces: Vec<Vec<u8>>, way: &str) -> Vec<String> {
        let (io, theirs) = duplex(64 * 1024);
        let server = Server::new(theirs, pieces, self.ends);
        let mut client = redis_client::client::Client::new(io);
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
                    assert!(matches!(again, Err(redis_client::client::Error::Broken)));
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

async fn receive(
    client: &mut redis_client::client::Client<DuplexStream>,
    way: &str,
) -> Result<Value, redis_client::client::Error> {
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

// memcached and IMAP.

/// A call: the command, what the server says to it, what it was sent, and what
/// comes of it.
#[derive(Clone, Default)]
struct Call {
    command: String,
    pieces: Vec<Vec<u8>>,
    ends: bool,
    /// Whether another cut would be another case.
    as_marked: bool,
    result: Option<String>,
    sent: Option<Vec<u8>>,
}

/// A client that has its connection, or is told why not.
enum Client {
    Memcached(memcached_client::client::Client<DuplexStream>),
    Imap(imap_client::client::Client<DuplexStream>),
}

impl Client {
    async fn perform(&mut self, command: &str) -> String {
        match self {
            Client::Memcached(client) => perform_memcached(client, command).await,
            Client::Imap(client) => perform_imap::perform(client, command).await,
        }
    }
}

pub(crate) fn play_memcached(case: &Case) -> Result<(), String> {
    let mut calls = vec![];
    for step in &case.steps {
        match step.pair() {
            ("broken", "") => calls.push(Call {
                command: "version".into(),
                result: Some("error: the connection is broken by an earlier call".into()),
                ..Call::default()
            }),
            _ => read_call(&mut calls, step)?,
        }
    }
    play_calls(&calls, false)
}

pub(crate) fn play_imap(case: &Case) -> Result<(), String> {
    // The greeting is what is said to a call that is none.
    let greeting = b"* OK hello\r\n".to_vec();
    let mut calls =
        vec![Call { pieces: vec![greeting], result: Some("connected".into()), ..Call::default() }];
    for step in &case.steps {
        match (step.pair(), calls.as_mut_slice()) {
            (("greeting", rest), [first]) => first.pieces = case::pieces(rest)?,
            (("refused", why), [first]) => first.result = Some(format!("refused: {why}")),
            (("broken", ""), _) => calls.push(Call {
                command: "search|X".into(),
                result: Some("error: the connection is broken by an earlier command".into()),
                ..Call::default()
            }),
            (_, [_]) if step.word != "call" => {
                return Err(format!("a {} without a call", step.word));
            }
            _ => read_call(&mut calls, step)?,
        }
    }
    play_calls(&calls, true)
}

fn read_call(calls: &mut Vec<Call>, step: &Step) -> Result<(), String> {
    let without = || format!("a {} without a call", step.word);
    match step.pair() {
        ("call", rest) => {
            let command = String::from_utf8(case::bytes(rest)?).map_err(|_| "not UTF-8")?;
            calls.push(Call { command, ..Call::default() });
        }
        ("said", rest) => {
            let pieces = case::pieces(rest)?;
            extend(&mut calls.last_mut().ok_or_else(without)?.pieces, pieces);
        }
        ("end", "") => calls.last_mut().ok_or_else(without)?.ends = true,
        ("as_marked", "") => calls.last_mut().ok_or_else(without)?.as_marked = true,
        ("result", rest) => {
            calls.last_mut().ok_or_else(without)?.result = Some(rest.to_owned());
        }
        ("sent", rest) => {
            calls.last_mut().ok_or_else(without)?.sent = Some(case::bytes(rest)?);
        }
        _ => return step.unknown(),
    }
    Ok(())
}

fn play_calls(calls: &[Call], is_imap: bool) -> Result<(), String> {
    if calls.iter().any(|call| call.result.is_none()) {
        return Err("a call without a result".into());
    }
    let runtime = case::runtime();
    for (which, call) in calls.iter().enumerate() {
        let mut all = case::cuts(&call.pieces);
        if call.as_marked {
            all = vec![case::marks(&call.pieces)];
        }
        for cuts in all {
            let mut calls = calls.to_vec();
            calls[which].pieces = case::cut(&call.pieces.concat(), &cuts);
            runtime
                .block_on(play_once(&calls, is_imap))
                .map_err(|e| format!("cut at {cuts:?}: {e}"))?;
        }
    }
    Ok(())
}

async fn play_once(calls: &[Call], is_imap: bool) -> Result<(), String> {
    let (io, theirs) = duplex(1024 * 1024);
    let mut calls = calls.iter();
    let mut theirs = theirs;
    let mut client = if is_imap {
        let call = calls.next().expect("the greeting");
        let connecting = imap_client::client::Client::connect(io, MAX_ANSWER);
        let (client, ()) = tokio::join!(timeout(A_WHILE, connecting), say(&mut theirs, call));
        let (client, got) = match client {
            Ok(Ok(client)) => (Some(client), "connected".into()),
            Ok(Err(e)) => (None, format!("refused: {e}")),
            Err(_) => (None, "refused: waits".into()),
        };
        is_result(call, &got)?;
        let Some(client) = client else { return Ok(()) };
        Client::Imap(client)
    } else {
        Client::Memcached(memcached_client::client::Client::new(io, MAX_VALUE))
    };
    for call in calls {
        let performing = timeout(A_WHILE, client.perform(&call.command));
        let (got, ()) = tokio::join!(performing, say(&mut theirs, call));
        is_result(call, &got.unwrap_or_else(|_| "waits".into()))?;
        let mut sent = vec![0; 64 * 1024];
        let n = timeout(Duration::from_secs(1), theirs.read(&mut sent)).await;
        let sent = &sent[..n.map_or(0, |n| n.unwrap_or(0))];
        if call.sent.as_ref().is_some_and(|want| want != sent) {
            let want = call.sent.clone().unwrap_or_default();
            return Err(format!("sent {:?}, want {:?}", escaped(sent), escaped(&want)));
        }
    }
    Ok(())
}

/// What the server says to a call, which is polled before.
async fn say(server: &mut DuplexStream, call: &Call) {
    for piece in &call.pieces {
        yield_now().await;
        let _ = server.write_all(piece).await;
    }
    yield_now().await;
    if call.ends {
        let _ = server.shutdown().await;
    }
}

fn is_result(call: &Call, got: &str) -> Result<(), String> {
    let want = call.result.as_deref().unwrap_or_default();
    if got == want { Ok(()) } else { Err(format!("{:?}: {got}, want {want}", call.command)) }
}

const MAX_VALUE: usize = 20;
const MAX_ANSWER: usize = 20_000;

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

fn extend(pieces: &mut Vec<Vec<u8>>, more: Vec<Vec<u8>>) {
    let mut more = more.into_iter();
    match (pieces.last_mut(), more.next()) {
        (Some(last), Some(first)) => last.extend(first),
        (None, Some(first)) => pieces.push(first),
        (_, None) => {}
    }
    pieces.extend(more);
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
