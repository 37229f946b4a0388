//! Input that has gone wrong somewhere, once: a file for each case, in
//! `tests/bad_input/`, where `README.md` says how one is written.
//!
//! The clock of the servers and clients stands still: it moves on only when
//! nothing else can happen, which is how a peer that waits is told from one
//! that has closed.

mod common;
mod peers;

#[path = "bad_input/case.rs"]
mod case;
#[path = "bad_input/play_clients.rs"]
mod play_clients;
#[path = "bad_input/play_codec.rs"]
mod play_codec;
#[path = "bad_input/play_encode.rs"]
mod play_encode;
#[path = "bad_input/play_servers.rs"]
mod play_servers;

#[path = "../examples/smtp_server/command.rs"]
mod command;
#[path = "../examples/http_server/http.rs"]
mod http;
#[allow(dead_code)] // `main` has no use here.
#[path = "../examples/imap_client/main.rs"]
mod imap_client;
#[path = "perform/mailbox.rs"]
mod mailbox;
#[path = "../examples/smtp_server/maildir.rs"]
mod maildir;
#[allow(dead_code)] // `main` has no use here.
#[path = "../examples/memcached_client/main.rs"]
mod memcached_client;
#[path = "perform/imap.rs"]
mod perform_imap;
#[path = "perform/memcached.rs"]
mod perform_memcached;
#[allow(dead_code)] // `main` has no use here.
#[path = "../examples/redis_client/main.rs"]
mod redis_client;
#[allow(dead_code)] // Ctrl-C
#[path = "../examples/common/serve.rs"]
mod serve;
#[allow(dead_code)] // The accept loop.
#[path = "../examples/http_server/server.rs"]
mod server;
#[allow(dead_code)] // The accept loop.
#[path = "../examples/smtp_server/session.rs"]
mod session;
#[allow(dead_code)] // What is shown to clients.
#[path = "../examples/smtp_server/tls.rs"]
mod tls;

use case::Case;
use std::collections::HashMap;

/// What plays the files of a folder.
type Play = fn(&Case) -> Result<(), String>;

const FOLDERS: [(&str, Play); 7] = [
    ("codec", play_codec::play),
    ("encode", play_encode::play),
    ("http", play_servers::play_http),
    ("imap", play_clients::play_imap),
    ("memcached", play_clients::play_memcached),
    ("resp", play_clients::play_resp),
    ("smtp", play_servers::play_smtp),
];

fn play_of(folder: &str) -> Play {
    FOLDERS.iter().find(|(name, _)| *name == folder).expect("a folder").1
}

/// Plays every file of a folder, and tells all that fail.
fn check(folder: &str) {
    let play = play_of(folder);
    let failed: Vec<String> = case::read_folder(folder)
        .iter()
        .filter_map(|case| play(case).err().map(|e| format!("{}: {e}", case.file)))
        .collect();
    assert!(failed.is_empty(), "{} files fail\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn codec() {
    check("codec");
}

#[test]
fn encode() {
    check("encode");
}

#[test]
fn http_server() {
    check("http");
}

#[test]
fn imap() {
    check("imap");
}

#[test]
fn memcached() {
    check("memcached");
}

#[test]
fn resp() {
    check("resp");
}

#[test]
fn smtp_server() {
    check("smtp");
}

/// No file is left out because nobody looks where it is, and none is there
/// twice.
#[test]
fn the_corpus_is_whole() {
    let mut folders = case::folders();
    folders.sort();
    assert_eq!(folders, FOLDERS.map(|(name, _)| name));
    let cases: Vec<Case> =
        FOLDERS.iter().flat_map(|(folder, _)| case::read_folder(folder)).collect();
    assert!(cases.len() >= 430, "{} files", cases.len());
    let (mut names, mut contents) = (HashMap::new(), HashMap::new());
    for case in &cases {
        if let Some(other) = names.insert(&case.name, &case.file) {
            panic!("{other} and {} have one name", case.file);
        }
        if let Some(other) = contents.insert((case.folder(), &case.steps), &case.file) {
            panic!("{other} and {} say the same", case.file);
        }
    }
}

/// A slip in a file must not make it pass.
#[test]
fn what_is_not_understood_fails() {
    for (folder, text, why) in case::BAD_FILES {
        let case = Case::parse("bad.txt", text);
        let played = case.and_then(|case| play_of(folder)(&case));
        assert_eq!(played.as_ref().map_err(String::as_str), Err(*why), "{folder}: {text}");
    }
}

/// Nor must a file pass that expects something else.
#[test]
fn what_is_not_so_fails() {
    for (folder, text) in case::FALSE_FILES {
        let case = Case::parse("false.txt", text).unwrap();
        let e = play_of(folder)(&case).expect_err(text);
        assert!(e.contains("want"), "{folder}: {e}");
    }
}
