//! Random sessions against CPython's own asynchat (up to 3.11), without
//! sockets: the same callbacks in the same order, with the same data, of a
//! `Handler` on a `Channel` and of the bare codec.
//!
//! It needs a `python3` with asynchat; without one it reports that and passes.
//! `ASYNCHAT_SESSIONS` sets the number of sessions, and `ASYNCHAT_SEED` their seed. Both are
//! printed, with the time, by `cargo test --test asynchat_differential -- --nocapture`.
//!
//! The deliberate differences of `docs/asynchat.md` are left out, above all a count of 0.
//! Input that asynchat forgets in its buffer at the end must be delivered last here.

mod common;
mod programs;

use asynchat::{Channel, Control, Error, FrameRef, Handler, Terminator, TerminatorCodec};
use common::delivers;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    // Python 3.11 or older has it; for later ones there is a package.
    if !programs::works(&["python3", "-W", "ignore", "-c", "import asynchat"]) {
        return;
    }
    let count = number("ASYNCHAT_SESSIONS").unwrap_or(3000);
    let seed = number("ASYNCHAT_SEED").unwrap_or(0xa57c);
    let begun = Instant::now();
    compare(count, seed);
    println!("{count} sessions are the same, seed {seed:#x}, {:?}", begun.elapsed());
}

/// A number in the environment, with `0x` in front or without.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Deals the sessions out to as many processes as there are processors. Which
/// of them plays a session does not change it.
fn compare(count: u64, seed: u64) {
    let shares = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    std::thread::scope(|scope| {
        for share in 0..shares as u64 {
            scope.spawn(move || compare_share((share..count).step_by(shares), seed));
        }
    });
}

fn compare_share(numbers: impl Iterator<Item = u64> + Clone + Send + 'static, seed: u64) {
    let mut python = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asynchat_oracle.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 started before");
    let stdin = python.stdin.take().expect("piped");
    let mut answers = BufReader::new(python.stdout.take().expect("piped")).lines();
    let asked = numbers.clone();
    let writer = std::thread::spawn(move || {
        let mut stdin = BufWriter::new(stdin);
        for number in asked {
            stdin.write_all(Session::random(seed, number).line().as_bytes())?;
        }
        stdin.flush()
    });
    for number in numbers {
        let place = format!("seed {seed:#x}, session {number}");
        let theirs = answers.next().expect("an answer to each").expect("a line of ASCII");
        compare_one(&place, &Session::random(seed, number), &theirs);
    }
    assert!(answers.next().is_none(), "an answer too many");
    writer.join().expect("no panic").expect("python3 reads its input");
    assert!(python.wait().expect("python3 ends").success());
}

#[track_caller]
fn compare_one(place: &str, session: &Session, theirs: &str) {
    let run = session.run(true);
    assert_eq!(run, theirs, "{place}, run: {session:?}");
    let streamed = session.decode(true);
    assert_eq!(streamed, theirs, "{place}, streaming mode: {session:?}");
    // In whole mode parts are held, and come together.
    let theirs = joined(theirs);
    assert_eq!(joined(&session.run(false)), theirs, "{place}, run, whole mode: {session:?}");
    assert_eq!(joined(&session.decode(false)), theirs, "{place}, whole mode: {session:?}");
}

/// The callbacks of a channel, in the words of `asynchat_oracle.py`.
struct Recorder<'s> {
    terminators: std::slice::Iter<'s, Set>,
    calls: String,
}

impl Recorder<'_> {
    fn set_next(&mut self, control: &mut Control<'_>) {
        if let Some(terminator) = self.terminators.next().and_then(Set::terminator) {
            control.set_terminator(terminator);
        }
    }
}

impl Handler for Recorder<'_> {
    type Error = Error;

    fn connected(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        self.set_next(control);
        Ok(())
    }

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        write!(self.calls, "c{},", hex(data)).expect("a String");
        Ok(())
    }

    fn found_terminator(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        self.calls.push_str("f,");
        self.set_next(control);
        Ok(())
    }
}

impl Session {
    /// The same one for the same numbers, everywhere.
    fn random(seed: u64, number: u64) -> Session {
        let mut random = Random(seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(number));
        random.0 = random.next();
        random.session()
    }

    fn line(&self) -> String {
        let terminators: Vec<String> = self.terminators.iter().map(Set::field).collect();
        let cuts: Vec<String> = self.cuts.iter().map(|cut| hex(cut)).collect();
        format!("{} {}\n", terminators.join(","), cuts.join(","))
    }

    /// Runs a channel whose every read is one of the cuts.
    fn run(&self, streaming: bool) -> String {
        let mut at = 0;
        let ends = self.cuts.iter().map(|cut| {
            at += cut.len();
            at
        });
        let (io, _peer) = delivers(&self.cuts.concat(), &ends.collect::<Vec<_>>());
        let mut channel = Channel::builder()
            .streaming(streaming)
            .max_length(usize::MAX)
            .linger(Duration::ZERO)
            .build(io);
        let mut recorder = Recorder { terminators: self.terminators.iter(), calls: String::new() };
        // Before each read it waits, and so it does before the end.
        for _ in 0..self.cuts.len() + 2 {
            let before = recorder.calls.len();
            let mut turn = tokio_test::task::spawn(channel.run(&mut recorder));
            let (ended, is_woken) = (turn.poll(), turn.is_woken());
            drop(turn);
            if ended.is_ready() {
                let (calls, held) = recorder.calls.split_at(before);
                // At the end it may only be told what was held.
                let held = held.strip_prefix('c').and_then(|held| held.strip_suffix(','));
                assert!(held.is_some() || before == recorder.calls.len(), "{}", recorder.calls);
                return format!("{calls}b{}", held.unwrap_or_default());
            }
            assert!(is_woken, "a lost wake");
        }
        panic!("it does not end: {}", recorder.calls);
    }

    /// The callbacks that the codec would make.
    fn decode(&self, streaming: bool) -> String {
        let mut codec =
            TerminatorCodec::default().with_streaming(streaming).with_max_length(usize::MAX);
        let mut terminators = self.terminators.iter();
        let mut set_next = |codec: &mut TerminatorCodec| {
            if let Some(terminator) = terminators.next().and_then(Set::terminator) {
                codec.set_terminator(terminator);
            }
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
    fn terminator(&self) -> Option<Terminator> {
        match self {
            Set::Bytes(bytes) => Some(Terminator::from(bytes.as_slice())),
            Set::Count(n) => Some(Terminator::from(*n)),
            Set::Never => Some(Terminator::none()),
            Set::Stay => None,
        }
    }

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
    // `write!` would be most of what a session takes.
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
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
