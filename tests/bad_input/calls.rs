//! Calls of the clients that wait for an answer to each command.

use crate::case::{self, Step, escaped};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::timeout;

/// A client over a pipe.
pub(crate) trait Client: Sized {
    /// Whether the server speaks first: then that is the answer to the first call.
    const IS_GREETED: bool;

    /// Returns the client, or why there is none.
    async fn connect(io: DuplexStream) -> Result<Self, String>;

    /// Runs a command, given in words, and returns what came of it.
    async fn perform(&mut self, command: &str) -> String;
}

/// A call: the command, what the server says to it, what it was sent, and what
/// comes of it.
#[derive(Clone, Default)]
pub(crate) struct Call {
    pub(crate) command: String,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) ends: bool,
    /// Whether another cut would be another case.
    pub(crate) as_marked: bool,
    pub(crate) result: Option<String>,
    pub(crate) sent: Option<Vec<u8>>,
}

/// The result of a greeting that is accepted.
pub(crate) const CONNECTED: &str = "connected";

/// Longer than anything a client waits for.
const A_WHILE: Duration = Duration::from_secs(3600);

pub(crate) fn read_call(calls: &mut Vec<Call>, step: &Step) -> Result<(), String> {
    let without = || format!("a {} without a call", step.word);
    match step.pair() {
        ("call", rest) => {
            let command = String::from_utf8(case::bytes(rest)?).map_err(|_| "not UTF-8")?;
            calls.push(Call { command, ..Call::default() });
        }
        ("said", rest) => {
            let pieces = case::pieces(rest)?;
            case::extend(&mut calls.last_mut().ok_or_else(without)?.pieces, pieces);
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

pub(crate) fn replay_calls<C: Client>(calls: &[Call]) -> Result<(), String> {
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
                .block_on(replay_once::<C>(&calls))
                .map_err(|e| format!("cut at {cuts:?}: {e}"))?;
        }
    }
    Ok(())
}

async fn replay_once<C: Client>(calls: &[Call]) -> Result<(), String> {
    let (io, mut theirs) = duplex(1024 * 1024);
    let mut calls = calls.iter();
    let mut client = if C::IS_GREETED {
        let call = calls.next().expect("the greeting");
        let connecting = timeout(A_WHILE, C::connect(io));
        let (connected, ()) = tokio::join!(connecting, say(&mut theirs, call));
        let connected = connected.unwrap_or_else(|_| Err("waits".into()));
        let got = connected.as_ref().map_or_else(|e| format!("refused: {e}"), |_| CONNECTED.into());
        is_result(call, &got)?;
        let Ok(client) = connected else { return Ok(()) };
        client
    } else {
        C::connect(io).await?
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
