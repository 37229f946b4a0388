//! What the server has stored.

#![allow(dead_code)] // Each test uses its part of this.

use example_smtp::maildir::Maildir;
use example_smtp::session::Config;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// A Maildir to look into.
pub(crate) struct Mailbox {
    pub(crate) folder: TempDir,
}

/// A mail as it was stored.
#[derive(Debug, PartialEq)]
pub(crate) struct Mail {
    pub(crate) sender: String,
    pub(crate) recipients: String,
    /// From whom, and with which protocol.
    pub(crate) received: String,
    pub(crate) text: Vec<u8>,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        // In memory, if it can be: what is stored is synced, and disks are slow.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Mailbox { folder: folder.unwrap() }
    }

    pub(crate) fn config(&self, tls: TlsAcceptor, max_size: u64) -> Config {
        let maildir = Maildir::open(self.folder.path()).unwrap();
        Config { maildir, max_size, tls }
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join(folder)).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    /// What was stored, in this order, when nothing is being stored any more.
    #[track_caller]
    pub(crate) fn mails(&self) -> Vec<Mail> {
        assert_eq!(self.names("tmp"), Vec::<PathBuf>::new());
        assert_eq!(self.names("cur"), Vec::<PathBuf>::new());
        let mut names = self.names("new");
        names.sort_by_key(|name| {
            let name = name.to_str().unwrap();
            let (_, count) = name.strip_suffix(".localhost").unwrap().rsplit_once('Q').unwrap();
            count.parse::<u64>().unwrap()
        });
        names.iter().map(|name| Mail::parse(&std::fs::read(name).unwrap())).collect()
    }
}

impl Mail {
    /// Takes the trace off a stored mail.
    #[track_caller]
    fn parse(file: &[u8]) -> Self {
        let mut rest = file;
        let mut line = || {
            let end = rest.iter().position(|&byte| byte == b'\n').expect("a line of the trace");
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            rest = &rest[end + 1..];
            line
        };
        let sender = line().strip_prefix("Return-Path: <").unwrap().strip_suffix('>').unwrap();
        let mut recipients = Vec::new();
        let from = loop {
            match line().split_once(": ").unwrap() {
                ("Delivered-To", recipient) => recipients.push(recipient),
                ("Received", from) => break from,
                other => panic!("{other:?}"),
            }
        };
        let by = line().strip_prefix("\tby localhost with ").unwrap().strip_suffix(';').unwrap();
        let date = line();
        assert!(date.len() == 32 && date.ends_with(" +0000"), "{date:?}");
        Mail {
            sender: sender.into(),
            recipients: recipients.join(" "),
            received: format!("{from} {by}"),
            text: rest.into(),
        }
    }
}
