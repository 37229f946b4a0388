//! A transport of two halves: the shutdown drops the half that writes.
#![cfg(unix)]

use asynchat::{Channel, Error, Pipe};
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, empty};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

type Process = Pipe<ChildStdout, ChildStdin>;

/// A child that writes what it reads, and ends when its input ends.
fn cat() -> (Child, Channel<Process>) {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let pipe = Pipe::new(child.stdout.take().unwrap(), child.stdin.take().unwrap());
    (child, Channel::builder().terminator("\n").linger(Duration::ZERO).build(pipe))
}

/// Bounds what hangs if the child has no end of input.
async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("the child does not end")
}

#[tokio::test]
async fn shutdown_of_pipe_is_an_end_of_input() {
    let (sender, theirs) = pipe::pipe().unwrap();
    let (_sender, ours) = pipe::pipe().unwrap();
    let mut channel = Channel::new(Pipe::new(ours, sender), "\n");
    channel.push("bye");
    channel.shutdown().await.unwrap();
    let mut theirs = File::from(theirs.into_nonblocking_fd().unwrap());
    let mut read = String::new();
    // It would be an error, if the pipe were open.
    theirs.read_to_string(&mut read).unwrap();
    assert_eq!(read, "bye");
    assert!(matches!(channel.ready().await, Err(Error::Closed)));
}

#[tokio::test]
async fn shutdown_ends_a_child_and_its_answer_arrives() {
    let (mut child, mut channel) = cat();
    channel.push("one\ntwo");
    bounded(channel.shutdown()).await.unwrap();
    assert_eq!(bounded(channel.receive("\n")).await.unwrap(), "one");
    assert_eq!(bounded(channel.receive(None)).await.unwrap(), "two");
    assert!(bounded(child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn close_ends_a_child_that_writes_back() {
    let (mut child, mut channel) = cat();
    // More than the pipes hold: the child writes before it has read all.
    channel.push(vec![b'x'; 1_000_000]);
    bounded(channel.close()).await.unwrap();
    drop(channel);
    bounded(child.wait()).await.unwrap();
}

#[tokio::test]
async fn pipe_forwards_both_kinds_of_writes() {
    let (mut theirs, ours) = duplex(64);
    let mut pipe = Pipe::new(empty(), ours);
    assert!(pipe.is_write_vectored());
    pipe.write_all(b"one,").await.unwrap();
    let slices = [IoSlice::new(b"two,"), IoSlice::new(b"three")];
    assert_eq!(pipe.write_vectored(&slices).await.unwrap(), 9);
    pipe.flush().await.unwrap();
    let (_, writer) = pipe.into_inner();
    drop(writer.unwrap());
    let mut written = String::new();
    theirs.read_to_string(&mut written).await.unwrap();
    assert_eq!(written, "one,two,three");
}

#[tokio::test]
async fn pipe_has_no_writer_after_its_shutdown() {
    let (_theirs, ours) = duplex(64);
    let mut pipe = Pipe::new(empty(), ours);
    for _ in 0..2 {
        pipe.shutdown().await.unwrap();
    }
    assert!(!pipe.is_write_vectored());
    assert_eq!(pipe.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(pipe.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert!(pipe.into_inner().1.is_none());
}
