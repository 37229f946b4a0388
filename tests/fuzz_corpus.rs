//! The fuzz targets without a fuzzer: whatever it has found to be of interest
//! is played again.
//!
//! `.ci/fuzz` looks for more.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[path = "../fuzz/oracle/src/lib.rs"]
mod oracle_crate;

// What is a crate for the fuzzer.
extern crate self as fuzz_oracle;
use oracle_crate::{input, io, oracle, producer};
// Where the server of the example looks for them.
use fuzz::{files, http, serve};
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = corpus.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 30, "{target}: the corpus is not there");
    files.retain(|file| {
        let data = std::fs::read(file).unwrap();
        std::panic::catch_unwind(|| run(&data)).is_err()
    });
    assert!(files.is_empty(), "{files:#?}");
}

#[test]
fn channel() {
    replay("channel", fuzz::channel::run);
}

#[test]
fn decode() {
    replay("decode", fuzz::decode::run);
}

#[test]
fn handler() {
    replay("handler", fuzz::handler::run);
}

#[test]
fn http_server() {
    replay("http", fuzz::http_server::run);
}

#[test]
fn round_trip() {
    replay("round_trip", fuzz::round_trip::run);
}
