//! The IMAP client: what it makes of servers that say anything.

use crate::calls::{self, CONNECTED, Call, read_call, replay_calls};
use crate::case::{self, Case};
use crate::drivers::{perform, settings};
use example_imap::client::Client;
use tokio::io::DuplexStream;

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    // The greeting is what is said to a call that is none.
    let greeting = b"* OK hello\r\n".to_vec();
    let mut calls =
        vec![Call { pieces: vec![greeting], result: Some(CONNECTED.into()), ..Call::default() }];
    for step in &case.steps {
        match (step.pair(), calls.as_mut_slice()) {
            (("greeting", rest), [first]) => first.pieces = case::pieces(rest)?,
            (("refused", why), [first]) => first.result = Some(format!("refused: {why}")),
            (("broken", ""), _) => calls.push(Call {
                command: "search|X".into(),
                result: Some("error: the connection broke in an earlier command".into()),
                ..Call::default()
            }),
            (_, [_]) if step.word != "call" => {
                return Err(format!("a {} without a call", step.word));
            }
            _ => read_call(&mut calls, step)?,
        }
    }
    replay_calls::<Client<DuplexStream>>(&calls)
}

impl calls::Client for Client<DuplexStream> {
    const IS_GREETED: bool = true;

    async fn connect(io: DuplexStream) -> Result<Self, String> {
        Client::connect(io, settings(MAX_ANSWER)).await.map_err(|error| error.to_string())
    }

    async fn perform(&mut self, command: &str) -> String {
        perform(self, command).await
    }
}

const MAX_ANSWER: usize = 20_000;
