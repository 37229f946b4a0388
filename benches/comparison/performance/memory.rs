//! In memory, without a socket: decoding, switching, hostile input.

use crate::measure::{Contest, Outcome, Unit, exponent, median, time};
use asynchat::{FrameRef, IntoTerminator, Terminator, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use memchr::{memchr_iter, memmem};
use std::fmt::Debug;
use std::hint::black_box;
use std::io::Write as _;
use std::process::{Command, Stdio};
use tokio_util::codec::{AnyDelimiterCodec, Decoder, LinesCodec};

const BLOCK: usize = 64 * 1024;
const ROUNDS: usize = 101;

/// About 64 KiB of lines, and how many there are.
fn lines(length: usize, ending: &str) -> (Vec<u8>, usize) {
    let line = "x".repeat(length) + ending;
    let count = (BLOCK / line.len()).max(4);
    (line.repeat(count).into_bytes(), count)
}

/// Nanoseconds for each of `count` frames of `block`, which `next` takes off its front.
#[inline(always)]
pub(crate) fn owned<T>(
    block: &[u8],
    count: usize,
    mut next: impl FnMut(&mut BytesMut) -> Option<T>,
) -> f64 {
    let mut input = BytesMut::from(block);
    let mut seen = 0;
    let nanos = time(|| {
        while let Some(frame) = next(&mut input) {
            black_box(&frame);
            seen += 1;
        }
    });
    assert_eq!(seen, count);
    nanos / count as f64
}

/// The next frame of a decoder, which reports no error.
#[inline(always)]
pub(crate) fn next<D: Decoder<Error: Debug>>(
    decoder: &mut D,
    input: &mut BytesMut,
) -> Option<D::Item> {
    decoder.decode(input).expect("no frame is too long")
}

fn borrowed(codec: &mut TerminatorCodec, block: &[u8], count: usize) -> f64 {
    let mut input = black_box(block);
    let mut seen = 0;
    let nanos = time(|| {
        while let Ok(Some(FrameRef::Complete(data))) = codec.decode_slice(&mut input) {
            black_box(data);
            seen += 1;
        }
    });
    assert_eq!(seen, count);
    nanos / count as f64
}

/// The bare loop: the ends of frames, and nothing else.
fn bare(block: &[u8], count: usize, width: usize, ends: impl Iterator<Item = usize>) -> f64 {
    let (mut start, mut seen) = (0, 0);
    let nanos = time(|| {
        for at in ends {
            black_box(&block[start..at]);
            start = at + width;
            seen += 1;
        }
    });
    assert_eq!(seen, count);
    nanos / count as f64
}

/// What a frame that is owned costs at least, as long as `BytesMut` holds it.
struct ByHand;

impl Decoder for ByHand {
    type Item = Bytes;
    type Error = std::io::Error;

    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> std::io::Result<Option<Bytes>> {
        let Some(at) = memchr::memchr(b'\n', src) else { return Ok(None) };
        let mut frame = src.split_to(at + 1);
        frame.truncate(at);
        Ok(Some(frame.freeze()))
    }
}

pub(crate) fn decode_owned(lengths: &[usize]) -> Vec<Outcome> {
    let contest = |&length: &usize| {
        let (block, count) = lines(length, "\n");
        let mut ours = TerminatorCodec::new("\n");
        let mut lines = LinesCodec::new();
        let mut any = AnyDelimiterCodec::new(b"\n".to_vec(), b"\n".to_vec());
        Contest::new(format!("{length} bytes"), Unit::NanosPerFrame)
            .entry("asynchat", || {
                owned(&block, count, |input| next(&mut ours, input).map(|frame| frame.into_data()))
            })
            .entry("LinesCodec", || owned(&block, count, |input| next(&mut lines, input)))
            .entry("AnyDelimiterCodec", || owned(&block, count, |input| next(&mut any, input)))
            .entry("memchr and split_to by hand", || {
                owned(&block, count, |input| next(&mut ByHand, input))
            })
            .run(ROUNDS)
    };
    lengths.iter().map(contest).collect()
}

pub(crate) fn decode_borrowed() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for length in [8, 16, 32, 64] {
        let (block, count) = lines(length, "\n");
        let mut codec = TerminatorCodec::new("\n");
        outcomes.push(
            Contest::new(format!("{length} bytes, LF"), Unit::NanosPerFrame)
                .entry("asynchat", || borrowed(&mut codec, &block, count))
                .entry("the bare search", || bare(&block, count, 1, memchr_iter(b'\n', &block)))
                .run(ROUNDS),
        );
    }
    for length in [8, 16, 32, 64] {
        let (block, count) = lines(length, "\r\n");
        let mut codec = TerminatorCodec::new("\r\n");
        let finder = memmem::Finder::new("\r\n");
        outcomes.push(
            Contest::new(format!("{length} bytes, CR LF"), Unit::NanosPerFrame)
                .entry("asynchat", || borrowed(&mut codec, &block, count))
                .entry("the bare search", || bare(&block, count, 2, finder.find_iter(&block)))
                .run(ROUNDS),
        );
    }
    outcomes
}

/// Frames of 1 to 64 MiB in pieces of so many bytes.
pub(crate) struct Trickle {
    pub(crate) piece: usize,
    /// Nanoseconds per byte, for each size.
    pub(crate) per_byte: Vec<f64>,
    /// With which the time grows.
    pub(crate) exponent: f64,
    /// The same of `memchr` over each piece once, which is what memory costs.
    pub(crate) bare: f64,
}

pub(crate) fn trickle() -> Vec<Trickle> {
    let sizes: Vec<usize> = [1, 4, 16, 64].map(|mib| mib << 20).into();
    let mut input = vec![b'x'; sizes[3]];
    input.extend_from_slice(b"\r\n");
    let trickle = |size: usize, piece: usize| {
        let input = &input[sizes[3] - size..];
        let mut codec = TerminatorCodec::new("\r\n").with_max_length(usize::MAX);
        time(|| {
            let mut end = 0;
            loop {
                end = (end + piece).min(input.len());
                let mut arrived = &input[..end];
                if let Some(frame) = codec.decode_slice(&mut arrived).expect("no limit") {
                    assert_eq!(frame.data().len(), size);
                    break;
                }
            }
        })
    };
    let bare = |size: usize, piece: usize| {
        let input = &input[sizes[3] - size..];
        time(|| {
            let found =
                input.chunks(piece).filter_map(|piece| memchr::memchr(b'\n', piece)).count();
            assert_eq!(black_box(found), 1);
        })
    };
    let medians = |round: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let median = |&size: &usize| {
            let mut rounds: Vec<f64> = (0..5).map(|_| round(size)).collect();
            median(&mut rounds)
        };
        sizes.iter().map(median).collect()
    };
    let row = |piece: usize| {
        let times = medians(&|size| trickle(size, piece));
        let bare = medians(&|size| bare(size, piece));
        let per_byte = times.iter().zip(&sizes).map(|(time, &size)| time / size as f64).collect();
        let (exponent, bare) = (exponent(&sizes, &times), exponent(&sizes, &bare));
        Trickle { piece, per_byte, exponent, bare }
    };
    [1, 64, 1400].map(row).into()
}

/// Floods of half terminators, and beside them kind input for the same
/// terminator, and `LinesCodec` on its kind input.
pub(crate) fn hostile() -> Vec<Outcome> {
    let long17 = "0123456789abcdefg";
    let long64 = "ab".repeat(31) + "ac";
    // The flood, and what is kind beside it: the same without half terminators.
    let endless: [(&str, &str, String); 9] = [
        ("\\r\\r\\r… for CR LF", "\r\n", "\r".repeat(BLOCK)),
        ("\\n\\n\\n… for CR LF", "\r\n", "\n".repeat(BLOCK)),
        ("\\r\\n\\r… for CR LF CR LF", "\r\n\r\n", "\r\n\r".repeat(BLOCK / 3)),
        ("\\r\\n.\\r… for CR LF . CR LF", "\r\n.\r\n", "\r\n.\r".repeat(BLOCK / 4)),
        ("aaa… for aaab", "aaab", "a".repeat(BLOCK)),
        ("bbb… for aaab", "aaab", "b".repeat(BLOCK)),
        ("its first 16 bytes, for one of 17", long17, long17[..16].repeat(BLOCK / 16)),
        ("its last byte, for one of 17", long17, "g".repeat(BLOCK)),
        ("its first 62 bytes, for one of 64", &long64, "ab".repeat(BLOCK / 2)),
    ];
    let framed = [6, 30, 126].map(|length: usize| {
        let frames = |byte: &str| (byte.repeat(length) + "\r\n").repeat(BLOCK / (length + 2));
        (format!("frames of {length} \\n, for CR LF"), frames("\n"), frames("x"))
    });
    let rows = endless
        .iter()
        .map(|(what, terminator, flood)| {
            ((*what).to_owned(), *terminator, flood.clone(), "x".repeat(BLOCK))
        })
        .chain(framed.map(|(what, flood, kind)| (what, "\r\n", flood, kind)));
    let (kind_lines, count) = lines(8, "\n");
    let contest = |(what, terminator, flood, kind): (String, &str, String, String)| {
        let search = |input: &[u8]| {
            let mut codec = TerminatorCodec::new(terminator).with_max_length(usize::MAX);
            let nanos = time(|| {
                // As it comes from a network.
                let (mut start, mut end) = (0, 0);
                while end < input.len() {
                    end = (end + 1400).min(input.len());
                    let mut arrived = &input[start..end];
                    while let Some(frame) = codec.decode_slice(&mut arrived).expect("no limit") {
                        black_box(frame);
                    }
                    start = end - arrived.len();
                }
            });
            nanos / input.len() as f64
        };
        let mut lines = LinesCodec::new();
        Contest::new(what, Unit::NanosPerByte)
            .entry("asynchat", || search(flood.as_bytes()))
            .entry("asynchat, kind input", || search(kind.as_bytes()))
            .entry("LinesCodec, kind lines of 8", || {
                owned(&kind_lines, count, |input| next(&mut lines, input)) / 9.0
            })
            .run(ROUNDS)
    };
    rows.map(contest).collect()
}

/// What it costs to change the terminator.
pub(crate) fn switch() -> Vec<Outcome> {
    const TIMES: usize = 10_000;
    fn each(mut step: impl FnMut(usize)) -> f64 {
        time(|| (0..TIMES).for_each(&mut step)) / TIMES as f64
    }
    /// A function of its own, as a callback is.
    #[inline(never)]
    fn set(codec: &mut TerminatorCodec, terminator: impl IntoTerminator) {
        codec.set_terminator(terminator);
    }
    #[inline(never)]
    fn set_ready_made(codec: &mut TerminatorCodec, i: usize) {
        codec.set_terminator(match i {
            0 => Terminator::crlf(),
            _ => Terminator::blank_line(),
        });
    }
    #[inline(never)]
    fn set_clone(codec: &mut TerminatorCodec, prepared: &Terminator) {
        codec.set_terminator(prepared.clone());
    }
    /// Building a searcher for the same.
    fn finder<'n>(needles: [&'n str; 2]) -> impl FnMut() -> f64 + 'n {
        move || each(|i| drop(black_box(memmem::Finder::new(black_box(needles)[i % 2]))))
    }
    const LONG: [&str; 2] = ["\r\n--boundary\r\n", "\r\n--another\r\n"];
    let prepared = LONG.map(Terminator::from);
    let sets = [["\r\n", "\n", ";"], ["a", "b", "c"]].map(Terminator::any);
    let mut codecs = [(); 4].map(|()| TerminatorCodec::default());
    let [one, two, three, four] = &mut codecs;
    vec![
        Contest::new("prepared, a clone of it", Unit::Nanos)
            .entry("set_terminator", || each(|i| set_clone(one, &black_box(&prepared)[i % 2])))
            .entry("memmem::Finder::new", finder(LONG))
            .run(ROUNDS)
            .wanting(5.0),
        Contest::new("prepared, a clone of a set", Unit::Nanos)
            .entry("set_terminator", || each(|i| set_clone(two, &black_box(&sets)[i % 2])))
            .entry("memmem::Finder::new", finder(LONG))
            .run(ROUNDS)
            .wanting(5.0),
        Contest::new("ready-made, crlf() and blank_line()", Unit::Nanos)
            .entry("set_terminator", || each(|i| set_ready_made(three, black_box(i % 2))))
            .entry("memmem::Finder::new", finder(["\r\n", "\r\n\r\n"]))
            .run(ROUNDS)
            .wanting(5.0),
        Contest::new("by &str of up to 8 bytes", Unit::Nanos)
            .entry("set_terminator", || {
                each(|i| set(four, black_box(["\r\n.\r\n", "\r\n"])[i % 2]))
            })
            .entry("memmem::Finder::new", finder(["\r\n.\r\n", "\r\n"]))
            .run(ROUNDS),
    ]
}

/// What the original takes for a line of 8 bytes, without a socket.
pub(crate) fn python() -> Option<f64> {
    let (block, count) = lines(8, "\r\n");
    python_nanos_per_frame(&block, count)
}

fn python_nanos_per_frame(block: &[u8], count: usize) -> Option<f64> {
    let mut python = Command::new("python3")
        .args(["-W", "ignore", "-c", PYTHON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    python.stdin.take()?.write_all(block).ok()?;
    let output = python.wait_with_output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let (nanos, frames) = said.trim().split_once(' ')?;
    assert_eq!(frames.parse(), Ok(count), "the original sees as many frames");
    Some(nanos.parse::<f64>().ok()? / count as f64)
}

const PYTHON: &str = r#"
import asynchat, sys, time
block = sys.stdin.buffer.read()
class Channel(asynchat.async_chat):
    ac_in_buffer_size = 65536
    def __init__(self):
        super().__init__()
        self.set_terminator(b"\r\n")
        self.frames, self.data, self.rest = 0, [], block
    def recv(self, size):
        data, self.rest = self.rest[:size], self.rest[size:]
        return data
    def collect_incoming_data(self, data):
        self.data.append(data)
    def found_terminator(self):
        b"".join(self.data)
        self.data = []
        self.frames += 1
def nanos():
    channel = Channel()
    start = time.perf_counter_ns()
    while channel.rest:
        channel.handle_read()
    return time.perf_counter_ns() - start, channel.frames
rounds = sorted(nanos() for _ in range(31))
print(*rounds[15])
"#;
