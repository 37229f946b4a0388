//! Random sessions against CPython's own asynchat (up to 3.11), without
//! sockets: the same callbacks in the same order, with the same data.
//!
//! Needs a `python3` that has asynchat; without one it says so and passes.
//! `ASYNCHAT_SESSIONS` sets the number of sessions, and their time is printed
//! by `cargo test --test asynchat_differential -- --nocapture`.
//!
//! Intended differences: a count of 0, which asynchat takes for "collect all",
//! is left out; what is held at the end of input, which asynchat forgets in
//! its buffer, must be what comes as the last `Partial` here. Sets of
//! terminators and `max_length` asynchat does not know.

mod peers;

use asynchat::{FrameRef, Terminator, TerminatorCodec};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::process::{Command, Stdio};

#[derive(Debug)]
enum Set {
    Bytes(Vec<u8>),
    Count(u64),
    Never,
    /// Leave what is set.
    Stay,
}

#[derive(Debug)]
struct Session {
    /// The first to start with, the others after each frame.
    terminators: Vec<Set>,
    cuts: Vec<Vec<u8>>,
}

#[test]
fn the_same_as_cpythons_asynchat() {
    let has_asynchat = Command::new("python3")
        .args(["-W", "ignore", "-c", "import asynchat"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_asynchat {
        return peers::left_out("no python3 with asynchat (3.11 or older) is installed");
    }
    let count = match std::env::var("ASYNCHAT_SESSIONS") {
        Ok(number) => number.parse().expect("ASYNCHAT_SESSIONS is a number"),
        Err(_) => 3000,
    };
    compare(count);
}

fn compare(count: usize) {
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asynchat_oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 started before");
    let stdin = python.stdin.take().expect("piped");
    let stdout = python.stdout.take().expect("piped");
    // Both sides make the same sessions of the same seed.
    let writer = std::thread::spawn(move || {
        let mut stdin = BufWriter::new(stdin);
        let mut random = Random(SEED);
        for _ in 0..count {
            stdin.write_all(random.session().line().as_bytes())?;
        }
        stdin.flush()
    });
    let mut random = Random(SEED);
    let mut seen = 0;
    for (number, theirs) in BufReader::new(stdout).lines().enumerate() {
        let session = random.session();
        compare_one(number, &session, &theirs.expect("a line of ASCII"));
        seen += 1;
    }
    writer.join().expect("no panic").expect("python3 reads its input");
    assert!(python.wait().expect("python3 ends").success());
    assert_eq!(seen, count, "sessions answered");
    println!("{count} sessions are the same, seed {SEED:#x}");
}

#[track_caller]
fn compare_one(number: usize, session: &Session, theirs: &str) {
    let streamed = session.play(true);
    assert_eq!(streamed, theirs, "session {number}, streaming mode: {session:?}");
    let whole = joined(&session.play(false));
    assert_eq!(whole, joined(theirs), "session {number}, whole mode: {session:?}");
}

impl Session {
    fn line(&self) -> String {
        let terminators: Vec<String> = self.terminators.iter().map(Set::field).collect();
        let cuts: Vec<String> = self.cuts.iter().map(|cut| hex(cut)).collect();
        format!("{} {}\n", terminators.join(","), cuts.join(","))
    }

    /// The callbacks in the words of `asynchat_oracle.py`.
    fn play(&self, streaming: bool) -> String {
        let mut codec =
            TerminatorCodec::default().with_streaming(streaming).with_max_length(usize::MAX);
        let mut terminators = self.terminators.iter();
        let mut set_next = |codec: &mut TerminatorCodec| match terminators.next() {
            Some(Set::Bytes(bytes)) => codec.set_terminator(bytes.as_slice()),
            Some(Set::Count(n)) => codec.set_terminator(*n),
            Some(Set::Never) => codec.set_terminator(Terminator::None),
            Some(Set::Stay) | None => {}
        };
        set_next(&mut codec);
        let mut calls = String::new();
        let mut buffer = Vec::new();
        for cut in &self.cuts {
            buffer.extend_from_slice(cut);
            let mut src = buffer.as_slice();
            while let Some(frame) = codec.decode_slice(&mut src).expect("no limit") {
                if !frame.data().is_empty() {
                    write!(calls, "c{},", hex(frame.data())).expect("a String");
                }
                if let FrameRef::Complete(_) = frame {
                    calls.push_str("f,");
                    set_next(&mut codec);
                }
            }
            let consumed = buffer.len() - src.len();
            buffer.drain(..consumed);
        }
        let mut src = buffer.as_slice();
        let end = codec.decode_slice_eof(&mut src).expect("no limit");
        assert!(end.is_none_or(|frame| !frame.is_complete()));
        calls + "b" + &hex(end.map_or(b"", FrameRef::data))
    }
}

/// The data of each frame in one piece, and at the end all that is left.
fn joined(calls: &str) -> Vec<String> {
    let mut frames = vec![String::new()];
    for call in calls.split(',') {
        match call.split_at(1) {
            ("f", _) => frames.push(String::new()),
            (_, data) => frames.last_mut().expect("never empty").push_str(data),
        }
    }
    frames
}

impl Set {
    fn field(&self) -> String {
        match self {
            Set::Bytes(bytes) => format!("s{}", hex(bytes)),
            Set::Count(n) => format!("i{n}"),
            Set::Never => "n".into(),
            Set::Stay => "-".into(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String");
        text
    })
}

/// SplitMix64: the same sessions everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// Of a small alphabet, so that terminators happen.
    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| b"aab\r\n"[self.below(5) as usize]).collect()
    }

    fn terminator(&mut self) -> Set {
        match self.below(16) {
            0..4 => Set::Count(1 + self.below(12)),
            4 => Set::Never,
            5 => Set::Stay,
            6 => Set::Bytes(b"\r\n".to_vec()),
            7 => Set::Bytes(b"\r\n.\r\n".to_vec()),
            8..10 => {
                // A long one with borders.
                let (period, len) = (1 + self.below(5), 9 + self.below(20) as usize);
                Set::Bytes(self.bytes(period).into_iter().cycle().take(len).collect())
            }
            _ => {
                let len = 1 + self.below(5);
                Set::Bytes(self.bytes(len))
            }
        }
    }

    /// Noise and terminators, whole and broken off, in random cuts.
    fn session(&mut self) -> Session {
        let mut terminators: Vec<Set> = (0..=self.below(10)).map(|_| self.terminator()).collect();
        // It must begin with something.
        if let Set::Stay = terminators[0] {
            terminators[0] = Set::Never;
        }
        let mut input = vec![];
        for _ in 0..self.below(14) {
            let len = self.below(5);
            input.extend(self.bytes(len));
            let which = self.below(terminators.len() as u64) as usize;
            if let Set::Bytes(bytes) = &terminators[which] {
                let len = self.below(2 * bytes.len() as u64 + 1) as usize;
                input.extend(&bytes[..len.min(bytes.len())]);
            }
        }
        let longest = [1, 4, 40][self.below(3) as usize];
        let mut cuts = vec![];
        while !input.is_empty() {
            let len = 1 + self.below(longest) as usize;
            let rest = input.split_off(len.min(input.len()));
            cuts.push(std::mem::replace(&mut input, rest));
        }
        Session { terminators, cuts }
    }
}

const SEED: u64 = 0xa57c;
