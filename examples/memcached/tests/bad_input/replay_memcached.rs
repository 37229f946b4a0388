//! The memcached client: what it makes of servers that say anything.

use crate::calls::{self, Call, read_call, replay_calls};
use crate::case::Case;
use crate::drivers::perform;
use example_memcached::client::Client;
use tokio::io::DuplexStream;

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    let mut calls = vec![];
    for step in &case.steps {
        match step.pair() {
            ("broken", "") => calls.push(Call {
                command: "version".into(),
                result: Some("error: the connection broke in an earlier call".into()),
                ..Call::default()
            }),
            _ => read_call(&mut calls, step)?,
        }
    }
    replay_calls::<Client<DuplexStream>>(&calls)
}

impl calls::Client for Client<DuplexStream> {
    const IS_GREETED: bool = false;

    async fn connect(io: DuplexStream) -> Result<Self, String> {
        Ok(Client::new(io, MAX_VALUE))
    }

    async fn perform(&mut self, command: &str) -> String {
        perform(self, command).await
    }
}

const MAX_VALUE: usize = 20;
