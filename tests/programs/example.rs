//! Starts an example program, and reads where it listens.

use crate::programs::within;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Starts a program, which is killed on drop. Returns the addresses at the end of its first
/// `N` lines of output.
pub(crate) async fn start<const N: usize>(command: &mut Command) -> (Child, [SocketAddr; N]) {
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut addresses = vec![];
    while addresses.len() < N {
        let line = within(output.next_line()).await.unwrap().expect("the program listens");
        let address = line.rsplit([' ', '/']).find(|word| !word.is_empty()).unwrap();
        addresses.push(address.parse().unwrap());
    }
    (child, addresses.try_into().unwrap())
}
