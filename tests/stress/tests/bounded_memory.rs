//! What a peer can make a channel hold is bounded, whatever it does and for
//! however long: `docs/evidence/memory.md` in numbers.
//!
//! Each attack is made twice, the second time ten times as long. Both must have
//! the same peak, to the byte, and that must be within the formula. Of each
//! group one must come to a third of it: otherwise the formula says nothing.
//!
//! Every byte on the heap is counted, so this is a program without a harness,
//! which would allocate beside it: `-- NAME` is for one group. What the peer says
//! is made outside of what is counted.

use asynchat::{
    Builder, Channel, Control, Error, Frame, Handler, Pusher, Terminator, TryPushError,
};
use bytes::Bytes;
use futures::task::noop_waker_ref;
use futures::{Sink, Stream, stream};
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

/// The settings that the formulas are made of.
#[derive(Clone, Copy)]
struct Config {
    name: &'static str,
    max_length: usize,
    in_buffer_size: usize,
    out_buffer_size: usize,
    high_water: usize,
    low_water: usize,
}

const DEFAULT: Config = Config {
    name: "default",
    max_length: 64 * 1024,
    in_buffer_size: 64 * 1024,
    out_buffer_size: 64 * 1024,
    high_water: 128 * 1024,
    low_water: 32 * 1024,
};

/// No number is a power of two or a multiple of another.
const SMALL: Config = Config {
    name: "small",
    max_length: 32_003,
    in_buffer_size: 5_003,
    out_buffer_size: 3_007,
    high_water: 20_011,
    low_water: 7_013,
};

impl Config {
    /// What input takes. A frame and half a terminator are held, and may lie
    /// behind as much that was handed out. A block that is too small for them and
    /// a read is doubled. When what is left in it is no more than a read, that is
    /// copied into a new one.
    fn whole(&self, terminator: usize) -> usize {
        4 * self.max_length + self.streaming(terminator)
    }

    /// The same when nothing is held but half a terminator.
    fn streaming(&self, terminator: usize) -> usize {
        4 * terminator + 3 * self.in_buffer_size + SMALL_CHANGE
    }

    /// What may stay of the block of a large frame while other input comes: it is
    /// given back when there is room in it for this beside what is held.
    fn behind_a_frame(&self, terminator: usize) -> usize {
        4 * terminator + self.blown_up() + self.in_buffer_size + SMALL_CHANGE
    }

    fn blown_up(&self) -> usize {
        (4 * self.in_buffer_size).max(64 * 1024)
    }

    /// What output takes, if the program pushes up to `piece` bytes at a time.
    /// Blocks grow by doubling, and the largest, as large as all others, may be
    /// sent but for its end; of the write buffer as much again may be sent
    /// already, and what is being copied into it is there twice.
    fn output(&self, piece: usize) -> usize {
        3 * (self.high_water + piece) + 3 * self.out_buffer_size + SMALL_CHANGE
    }

    /// The same while output waits for input to be used up, and is taken when it
    /// is sent: no more than a write gathers.
    fn corked(&self, piece: usize) -> usize {
        Config { high_water: self.out_buffer_size.min(self.high_water), ..*self }.output(piece)
    }

    /// What a producer of such chunks takes besides what is pushed: the write
    /// buffer when it is not quite full, and a chunk.
    fn producer(&self, chunk: usize) -> usize {
        4 * (self.out_buffer_size + chunk) + SMALL_CHANGE
    }
}

/// Reference counts, a pusher's shared state, the first slots of queues.
const SMALL_CHANGE: usize = 1024;

/// A transport that says `text` over and over, in pieces, up to `left` bytes.
struct Peer<'a> {
    text: &'a [u8],
    at: usize,
    piece: usize,
    left: usize,
    takes: Takes,
    vectored: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Everything,
    /// So many bytes for each write.
    Little,
    /// So many bytes in all.
    UpTo(usize),
    Nothing,
}

impl<'a> Peer<'a> {
    fn says(text: &'a [u8], piece: usize, left: usize) -> Self {
        Peer { text, at: 0, piece, left, takes: Takes::Everything, vectored: true }
    }

    /// It says far more than may be read from it.
    fn never_reads(text: &'a [u8], vectored: bool) -> Self {
        Peer { takes: Takes::Nothing, vectored, ..Peer::says(text, usize::MAX, 1 << 18) }
    }
}

impl AsyncRead for Peer<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.text.is_empty() && self.left > 0 {
            return Poll::Pending;
        }
        let mut n = self.piece.min(buf.remaining()).min(self.left);
        self.left -= n;
        while n > 0 {
            let rest = &self.text[self.at..];
            let part = &rest[..n.min(rest.len())];
            buf.put_slice(part);
            n -= part.len();
            self.at = (self.at + part.len()) % self.text.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.takes {
            Takes::Everything => Poll::Ready(Ok(data.len())),
            Takes::Little => Poll::Ready(Ok(data.len().min(PIECE))),
            Takes::UpTo(left) if *left > 0 => {
                let taken = data.len().min(*left);
                *left -= taken;
                Poll::Ready(Ok(taken))
            }
            Takes::UpTo(_) | Takes::Nothing => Poll::Pending,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn channel<'a>(config: &Config, terminator: &Terminator, peer: Peer<'a>) -> Channel<Peer<'a>> {
    builder(config, terminator).build(peer)
}

fn builder(config: &Config, terminator: &Terminator) -> Builder {
    Channel::builder()
        .terminator(terminator.clone())
        .max_length(config.max_length)
        .in_buffer_size(config.in_buffer_size)
        .out_buffer_size(config.out_buffer_size)
        .high_water(config.high_water)
        .low_water(config.low_water)
        .linger(Duration::ZERO)
}

/// Polls up to so many times: nobody but we wake anything.
fn poll_up_to<F: Future>(most: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(noop_waker_ref());
    for _ in 0..most {
        if let Poll::Ready(ready) = future.as_mut().poll(&mut cx) {
            return Some(ready);
        }
    }
    None
}

/// Reads to the end with `next`; `keep` may keep frames.
fn read_with_next(channel: &mut Channel<Peer<'_>>, mut keep: impl FnMut(Frame)) {
    let most = channel.get_ref().left + 10;
    let mut frames = 0;
    while let Some(frame) = poll_up_to(most, channel.next()).expect("it does not end") {
        if let Ok(frame) = frame {
            keep(frame);
        }
        frames += 1;
        assert!(frames <= most, "more frames than bytes");
    }
    assert_eq!(channel.get_ref().left, 0, "not read to the end");
}

/// How frames are asked for one by one.
#[derive(Clone, Copy)]
enum Ask {
    /// `receive`.
    Whole,
    /// `receive_within` so many bytes.
    Within(usize),
    /// `receive_part`.
    Part,
}

/// Reads to the end with one of these.
fn read_with(channel: &mut Channel<Peer<'_>>, ask: Ask, terminator: &Terminator) {
    let most = channel.get_ref().left + 10;
    for _ in 0..most {
        let terminator = terminator.clone();
        let done = match ask {
            Ask::Whole => poll_up_to(most, channel.receive(terminator)).map(|it| it.map(drop)),
            Ask::Within(limit) => {
                poll_up_to(most, channel.receive_within(limit, terminator)).map(|it| it.map(drop))
            }
            Ask::Part => poll_up_to(most, channel.receive_part()).map(|it| it.map(drop)),
        };
        match done.expect("it does not end") {
            Err(Error::UnexpectedEof { .. }) => break,
            // Without a terminator the end of input is no error.
            Ok(()) if channel.get_ref().left == 0 && channel.unread().is_empty() => break,
            Ok(()) | Err(Error::FrameTooLong { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(channel.get_ref().left, 0, "not read to the end");
}

/// Reads to the end with `run`.
fn read_with_run(channel: &mut Channel<Peer<'_>>, answer: &'static [u8]) {
    let most = channel.get_ref().left + 10;
    let mut handler = Answer { answer, slices: true };
    let end = poll_up_to(most, channel.run(&mut handler)).expect("it does not end");
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(channel.get_ref().left, 0, "not read to the end");
}

/// Answers each frame, also those that are too long.
struct Answer {
    answer: &'static [u8],
    slices: bool,
}

impl Answer {
    fn answer(&self, channel: &mut Control<'_>) {
        if self.slices {
            channel.push_slice(self.answer);
        } else {
            channel.push(self.answer);
        }
    }
}

impl Handler for Answer {
    type Error = Error;

    fn collect_incoming_data(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn found_terminator(&mut self, channel: &mut Control<'_>) -> Result<(), Error> {
        self.answer(channel);
        Ok(())
    }

    fn frame_too_long(&mut self, channel: &mut Control<'_>, _: usize) -> Result<(), Error> {
        self.answer(channel);
        Ok(())
    }
}

/// The results, group by group.
#[derive(Default)]
struct Report {
    failures: Vec<String>,
    /// The closest to its bound in this group.
    closest: f64,
}

impl Report {
    /// Measures an attack of length `n` and one of `10 * n`.
    fn attack(&mut self, name: &str, bound: usize, n: usize, attack: impl Fn(usize)) {
        let measure = |n| {
            let profiler = dhat::Profiler::builder().testing().build();
            attack(n);
            let peak = dhat::HeapStats::get().max_bytes;
            drop(profiler);
            peak
        };
        self.measure(name, bound, n, measure);
    }

    /// The same, but what is on the heap when `attack` gives its channel back.
    fn afterwards<T>(&mut self, name: &str, bound: usize, n: usize, attack: impl Fn(usize) -> T) {
        let measure = |n| {
            let profiler = dhat::Profiler::builder().testing().build();
            let channel = attack(n);
            let held = dhat::HeapStats::get().curr_bytes;
            drop(channel);
            drop(profiler);
            held
        };
        self.measure(name, bound, n, measure);
    }

    fn measure(&mut self, name: &str, bound: usize, n: usize, measure: impl Fn(usize) -> usize) {
        let once = measure(n);
        // Ten times that could take the machine with it.
        assert!(once <= 3 * bound, "{name}: {once} is far more than {bound}");
        let tenfold = measure(10 * n);
        let used = tenfold as f64 / bound as f64;
        self.closest = self.closest.max(used);
        println!("{name:64} {once:9} {bound:9} {used:5.2}");
        if once != tenfold {
            self.failures.push(format!("{name}: {once}, but {tenfold} when ten times as long"));
        }
        if tenfold > bound {
            self.failures.push(format!("{name}: {tenfold} is more than {bound}"));
        }
    }

    /// Ends a group of attacks.
    fn group(&mut self, name: &str) {
        println!("-- {name}");
        if self.closest < 1.0 / 3.0 {
            self.failures.push(format!("{name}: the formula is too wide ({:.2})", self.closest));
        }
        self.closest = 0.0;
    }

    /// Input through `next`, through `run`, through `next` in streaming mode, and
    /// as it is asked for.
    fn input(&mut self, name: &str, config: &Config, input: &Input<'_>) {
        let Input { terminator, longest, text, piece, n } = *input;
        let name = format!("{name}, {}", config.name);
        let whole = config.whole(longest);
        let open = |n| channel(config, terminator, Peer::says(text, piece, n));
        self.attack(&format!("{name}: next"), whole, n, |n| read_with_next(&mut open(n), drop));
        self.attack(&format!("{name}: run"), whole, n, |n| read_with_run(&mut open(n), b""));
        self.attack(&format!("{name}: streaming"), config.streaming(longest), n, |n| {
            let mut channel = open(n);
            channel.codec_mut().set_streaming(true);
            read_with_next(&mut channel, drop);
        });
        let open_as_asked = |n, ask| {
            // What is set must not count where something else is asked for.
            let config = match ask {
                Ask::Whole => config,
                Ask::Within(_) | Ask::Part => &Config { max_length: usize::MAX, ..*config },
            };
            let mut channel = channel(config, terminator, Peer::says(text, piece, n));
            channel.codec_mut().set_streaming(!matches!(ask, Ask::Part));
            channel
        };
        for (what, bound, ask) in [
            ("receive", whole, Ask::Whole),
            ("receive_within", whole, Ask::Within(config.max_length)),
            ("receive_part", config.streaming(longest), Ask::Part),
        ] {
            self.attack(&format!("{name}: {what}"), bound, n, |n| {
                read_with(&mut open_as_asked(n, ask), ask, terminator);
            });
        }
    }
}

#[derive(Clone, Copy)]
struct Input<'a> {
    terminator: &'a Terminator,
    /// Its length, or that of its longest member.
    longest: usize,
    text: &'a [u8],
    piece: usize,
    n: usize,
}

const CONFIGS: [&Config; 2] = [&SMALL, &DEFAULT];
const WHOLE_READS: usize = usize::MAX;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut report = Report::default();
    for (name, attacks) in GROUPS {
        if wanted.as_ref().is_none_or(|wanted| name.contains(wanted)) {
            attacks(&mut report);
            report.group(name);
        }
    }
    assert!(report.failures.is_empty(), "\n{}", report.failures.join("\n"));
}

type Attacks = fn(&mut Report);

const GROUPS: [(&str, Attacks); 16] = [
    ("trickle_of_a_long_frame", trickle_of_a_long_frame),
    ("flood_without_terminator", flood_without_terminator),
    ("one_huge_frame", one_huge_frame),
    ("flood_of_empty_frames", flood_of_empty_frames),
    ("half_terminators", half_terminators),
    ("huge_count", huge_count),
    ("huge_terminator", huge_terminator),
    ("sets", sets),
    ("preparing_terminators", preparing_terminators),
    ("kept_frames", kept_frames),
    ("peer_that_does_not_read", peer_that_does_not_read),
    ("corked", corked),
    ("lingering", lingering),
    ("endless_producers", endless_producers),
    ("tiny_pieces", tiny_pieces),
    ("flushes", flushes),
];

fn trickle_of_a_long_frame(report: &mut Report) {
    for config in CONFIGS {
        let terminator = &"\n".into();
        let mut text = vec![b'x'; config.max_length];
        text.push(b'\n');
        let input = Input { terminator, longest: 1, text: &text, piece: 1, n: text.len() };
        report.input("trickle", config, &input);
        let input = Input { piece: config.in_buffer_size - 1, n: 50 * text.len(), ..input };
        report.input("trickle in large pieces", config, &input);
        let text = ill_fitting(config);
        let input = Input { piece: PIECE, text: &text, n: 4 * text.len(), ..input };
        report.input("trickle of frames that do not fit", config, &input);
    }
}

/// A long frame; the longest, for which there is not enough room behind that
/// one, and yet too little in front to move it there; and a tiny one, that ends
/// in the same piece.
fn ill_fitting(config: &Config) -> Vec<u8> {
    let shorter = config.max_length * 39 / 40;
    let rest = (shorter + config.max_length + 4) % PIECE;
    let mut text = vec![b'x'; shorter - rest];
    text.push(b'\n');
    text.resize(text.len() + config.max_length, b'x');
    text.extend(b"\nx\n");
    text
}

fn flood_without_terminator(report: &mut Report) {
    for config in CONFIGS {
        let terminator = &"\n".into();
        let (text, n) = ([b'x'; 1 << 12], 10 * config.max_length);
        let input = Input { terminator, longest: 1, text: &text, piece: WHOLE_READS, n };
        report.input("flood without terminator", config, &input);
        // No terminator at all: nothing is held, but by who asks for a whole frame.
        let none = &Terminator::none();
        let name = format!("flood, no terminator set, {}", config.name);
        let open = |n| channel(config, none, Peer::says(&text, WHOLE_READS, n));
        let (whole, streaming) = (config.whole(0), config.streaming(0));
        report.attack(&format!("{name}: next"), streaming, n, |n| {
            read_with_next(&mut open(n), drop);
        });
        report.attack(&format!("{name}: receive"), whole, n, |n| {
            read_with(&mut open(n), Ask::Whole, none);
        });
        report.attack(&format!("{name}: receive_within"), whole, n, |n| {
            let mut channel = open(n);
            channel.codec_mut().set_max_length(usize::MAX);
            read_with(&mut channel, Ask::Within(config.max_length), none);
        });
        report.attack(&format!("{name}: receive_part"), streaming, n, |n| {
            read_with(&mut open(n), Ask::Part, none);
        });
    }
}

/// The buffer does not stay as large as it was for one frame.
fn one_huge_frame(report: &mut Report) {
    for config in CONFIGS {
        let config = &Config { max_length: usize::MAX, ..*config };
        // The block of the second is just not given back.
        let large = (5 * config.in_buffer_size / 2).max(3 * config.blown_up() / 8);
        let rows = [("huge", 100 * config.in_buffer_size, 4096), ("large", large, WHOLE_READS)];
        for (what, length, piece) in rows {
            let mut text = vec![b'x'; length];
            // Behind it so many lines, that always leave half a line in the buffer.
            for _ in 0..7 * config.in_buffer_size {
                text.extend(b"\nabcde");
            }
            let name = format!("held after one {what} frame, {}", config.name);
            let bound = config.behind_a_frame(1);
            report.afterwards(&name, bound, 4 * config.in_buffer_size, |n| {
                let peer = Peer::says(&text, piece, length + n);
                let mut channel = channel(config, &Terminator::lf(), peer);
                let mut frames = 0;
                while frames < n / 7 {
                    let frame = poll_up_to(length, channel.next()).expect("it does not end");
                    assert!(frame.is_some_and(|frame| frame.is_ok()), "it has ended");
                    frames += 1;
                }
                channel
            });
        }
    }
}

fn flood_of_empty_frames(report: &mut Report) {
    for config in CONFIGS {
        let terminator = &"\n".into();
        let (text, n) = ([b'\n'; 1 << 12], 2 * config.in_buffer_size);
        let bound = config.streaming(1);
        let open = |n| channel(config, terminator, Peer::says(&text, WHOLE_READS, n));
        let name = format!("empty frames, {}: next", config.name);
        report.attack(&name, bound, n, |n| read_with_next(&mut open(n), drop));
        let name = format!("empty frames, {}: run", config.name);
        report.attack(&name, bound, n, |n| read_with_run(&mut open(n), b""));
        let name = format!("empty frames, {}: run, each answered", config.name);
        let answer = &[b'a'; 99];
        let bound = bound + config.output(answer.len());
        report.attack(&name, bound, n, |n| {
            // Turns and reads of a full buffer meet anew after millions of frames.
            let peer = Peer::says(&text, 500, n);
            read_with_run(&mut channel(config, terminator, peer), answer);
        });
    }
}

fn half_terminators(report: &mut Report) {
    for ending in ["\r\n", "\r\n.\r\n", "0123456789abcdef!"] {
        let terminator = &ending.into();
        let half = &ending.as_bytes()[..ending.len() - 1];
        for piece in [1, 7, WHOLE_READS] {
            let n = 2 * SMALL.max_length;
            let input = Input { terminator, longest: ending.len(), text: half, piece, n };
            let name = format!("half terminators ({}) in pieces of {piece}", ending.len());
            report.input(&name.replace(&WHOLE_READS.to_string(), "a read"), &SMALL, &input);
        }
    }
}

fn huge_count(report: &mut Report) {
    for config in CONFIGS {
        for streaming in [false, true] {
            for piece in [100, WHOLE_READS] {
                let name = format!("count of 2^63, {}, streaming {streaming}", config.name);
                let n = 10 * config.in_buffer_size;
                report.attack(&name, config.streaming(0), n, |n| {
                    let peer = Peer::says(b"x", piece, n);
                    let mut channel = channel(config, &Terminator::from(1 << 63), peer);
                    channel.codec_mut().set_streaming(streaming);
                    read_with_next(&mut channel, drop);
                });
            }
        }
    }
}

fn huge_terminator(report: &mut Report) {
    let mut ending = vec![b'x'; HUGE];
    ending[HUGE - 1] = b'y';
    let terminator = &Terminator::from(ending);
    for config in CONFIGS {
        // With a limit as small as a tenth of what is held of the terminator.
        let config = &Config { max_length: HUGE / 10, ..*config };
        for (name, piece) in [("flooded", WHOLE_READS), ("trickled", 64)] {
            let n = 3 * HUGE;
            let input = Input { terminator, longest: HUGE, text: b"xxxxxxxx", piece, n };
            report.input(&format!("half of a terminator of 64 KiB {name}"), config, &input);
        }
    }
}

fn sets(report: &mut Report) {
    let many: Vec<String> = (0..100).map(|i| format!("{i:0>20}!")).collect();
    // Members that end alike, that do not, and too many for a table.
    let rows: [(&str, Terminator, usize, &[u8]); 3] = [
        ("set of 3", Terminator::any(["\r\n\r\n", "\n\r\n", "\n\n"]), 4, b"\r\n\r"),
        ("set of 2", Terminator::any(["<end of text>", "\0"]), 13, b"<end of text"),
        ("set of 100", Terminator::any(many.iter().map(String::as_str)), 21, &[b'0'; 20]),
    ];
    for (name, terminator, longest, text) in &rows {
        for piece in [512, WHOLE_READS] {
            let n = 3 * SMALL.max_length;
            let (longest, text) = (*longest, *text);
            report.input(name, &SMALL, &Input { terminator, longest, text, piece, n });
        }
    }
}

/// Those are the program's own, but large ones cost more than their length.
fn preparing_terminators(report: &mut Report) {
    // A vector doubles at the last byte of these, and is then half empty.
    for len in [17, 1025, HUGE, HUGE + 1] {
        let bytes = vec![b'x'; len];
        let prepare = || Terminator::from(bytes.as_slice());
        let name = format!("a byte string of {len} bytes prepared");
        // The copy, and 8 bytes for each byte in a vector, which grows one by one.
        let bound = len + 8 * len.next_power_of_two() + SMALL_CHANGE;
        report.attack(&name, bound, 1, |n| (0..n).for_each(|_| drop(prepare())));
        // It is then cut to its length.
        report.afterwards(&format!("{name}: kept"), 9 * len + SMALL_CHANGE, 1, |n| {
            (1..n).for_each(|_| drop(prepare()));
            prepare()
        });
    }
}

fn kept_frames(report: &mut Report) {
    for config in CONFIGS {
        let text = ill_fitting(config);
        let n = 2 * KEPT * text.len();
        let kept = |n, detach: bool| {
            let mut kept = VecDeque::with_capacity(KEPT);
            let peer = Peer::says(&text, PIECE, n);
            read_with_next(&mut channel(config, &"\n".into(), peer), |frame| {
                if frame.data().len() > 1 {
                    return;
                }
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(if detach { frame.detach() } else { frame });
            });
            assert_eq!(kept.len(), KEPT);
        };
        let slots = KEPT * size_of::<Frame>();
        let bound = slots + (KEPT + 1) * config.whole(1);
        let name = format!("{KEPT} frames kept, {}: as they come", config.name);
        report.attack(&name, bound, n, |n| kept(n, false));
        let bound = slots + KEPT + config.whole(1);
        let name = format!("{KEPT} frames kept, {}: detached", config.name);
        report.attack(&name, bound, n, |n| kept(n, true));
    }
}

fn peer_that_does_not_read(report: &mut Report) {
    for config in CONFIGS {
        for piece in [100, 1000, 5000] {
            for vectored in [true, false] {
                does_not_read(report, config, piece, vectored);
                takes_all_but_a_byte(report, config, piece, vectored);
            }
        }
    }
    let config = &Config { name: "odd", high_water: 33 << 10, out_buffer_size: 1, ..SMALL };
    takes_all_but_a_byte(report, config, 100, true);
}

/// A block of which all but the end is sent is still there whole.
fn takes_all_but_a_byte(report: &mut Report, config: &Config, piece: usize, vectored: bool) {
    let name = format!("all but a byte, {}, {piece} bytes, vectored {vectored}", config.name);
    report.attack(&name, config.output(piece), 5, |n| {
        let peer = Peer::never_reads(b"", vectored);
        let mut channel = channel(config, &Terminator::lf(), peer);
        let mut pushed = 0;
        for _ in 0..n {
            while channel.queued_bytes() < config.high_water as u64 {
                channel.push_slice(&[b'a'; 5000][..piece]);
                pushed += piece;
            }
            let left = pushed - channel.sent_bytes() as usize;
            channel.get_mut().takes = Takes::UpTo(left - 1);
            assert!(poll_up_to(1, channel.next()).is_none());
            assert_eq!(channel.queued_bytes(), 1);
        }
    });
}

/// Whoever may push does, as often as it is let, with `piece` bytes at a time.
fn does_not_read(report: &mut Report, config: &Config, piece: usize, vectored: bool) {
    let name = format!("no reader, {}, {piece} bytes, vectored {vectored}", config.name);
    let answer: &'static [u8] = &[b'a'; 5000][..piece];
    let lf = &Terminator::lf();
    let open = |text| channel(config, lf, Peer::never_reads(text, vectored));
    let bound = config.output(piece);
    for slices in [true, false] {
        let what = if slices { "push_slice" } else { "push" };
        let bound = bound + config.streaming(1);
        report.attack(&format!("{name}: handler, {what}"), bound, 100, |n| {
            let mut channel = open(b"\n\n\n\n\n\n\n");
            assert!(poll_up_to(n, channel.run(&mut Answer { answer, slices })).is_none());
            assert!(channel.queued_bytes() > config.low_water as u64, "nothing is queued");
            assert!(channel.get_ref().left > 0, "it has never stopped");
        });
    }
    let n = 2 * config.high_water / piece;
    report.attack(&format!("{name}: pusher"), bound, n, |n| {
        let mut channel = open(b"");
        let mut pushing = Pushing::into(&mut channel);
        let mut handler = Answer { answer: b"", slices: true };
        // Many at once, and then one by one.
        (0..n).for_each(|_| pushing.push(answer));
        for _ in 0..n {
            assert!(poll_up_to(1, channel.run(&mut handler)).is_none());
            pushing.push(answer);
        }
        assert!(pushing.refused.is_some(), "never full");
    });
    report.attack(&format!("{name}: sink"), bound, n, |n| {
        let mut channel = open(b"");
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut waits = false;
        for _ in 0..n {
            let mut sink = Pin::new(&mut channel);
            waits = sink.as_mut().poll_ready(&mut cx).is_pending();
            if !waits {
                sink.start_send(Bytes::copy_from_slice(answer)).unwrap();
            }
        }
        assert!(waits, "never full");
    });
}

/// Whoever pushes into a channel from elsewhere, copies of its own.
struct Pushing {
    pusher: Pusher,
    /// What came back the last time.
    refused: Option<Bytes>,
}

impl Pushing {
    fn into(channel: &mut Channel<Peer<'_>>) -> Self {
        Pushing { pusher: channel.pusher(), refused: None }
    }

    fn push(&mut self, data: &[u8]) {
        let data = self.refused.take().unwrap_or_else(|| Bytes::copy_from_slice(data));
        if let Err(error) = self.pusher.try_push(data) {
            assert!(matches!(error, TryPushError::Full(_)), "{error}");
            self.refused = Some(error.into_data());
        }
    }
}

/// Requests that never stop, each answered by more than it is long.
fn corked(report: &mut Report) {
    for config in CONFIGS {
        for piece in [1, 100, 1000] {
            let answer = &[b'a'; 1000][..piece];
            let open = |peer| {
                let mut channel = channel(config, &Terminator::lf(), peer);
                channel.set_corked(true);
                channel
            };
            let name = format!("corked, {}, {piece} bytes", config.name);
            let bound = config.streaming(1) + config.corked(piece);
            let n = 20 * config.in_buffer_size;
            report.attack(&format!("{name}: all is taken"), bound, n, |n| {
                let mut channel = open(Peer::says(b"a request\n", WHOLE_READS, n));
                let most = n + 10;
                while let Some(frame) = poll_up_to(most, channel.next()).expect("it does not end") {
                    frame.unwrap();
                    channel.push_slice(answer);
                }
                assert_eq!(channel.get_ref().left, 0, "not read to the end");
            });
            let bound = config.streaming(1) + config.output(piece);
            report.attack(&format!("{name}: no reader"), bound, n, |n| {
                let mut channel = open(Peer::never_reads(b"\n", true));
                let mut waits = false;
                for _ in 0..n {
                    waits = poll_up_to(1, channel.ready()).is_none();
                    if !waits && poll_up_to(10, channel.next()).is_some() {
                        channel.push_slice(answer);
                    }
                }
                assert!(waits, "never full");
            });
        }
    }
}

/// A peer that goes on when we close.
fn lingering(report: &mut Report) {
    // Nobody moves its clock, so that lingering ends with the input.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut huge = vec![b'x'; HUGE];
    huge[HUGE - 1] = b'y';
    let linger = Duration::from_secs(1);
    let rows: [(&str, Terminator, usize); 4] = [
        ("no terminator set", Terminator::none(), 0),
        ("a byte", Terminator::from("\n"), 1),
        ("half of 64 KiB", Terminator::from(huge), HUGE),
        ("a count", Terminator::from(1 << 63), 0),
    ];
    for config in CONFIGS {
        for (what, terminator, longest) in &rows {
            for (how, piece) in [("flooded", WHOLE_READS), ("trickled", 64)] {
                let n = 3 * HUGE;
                let bound = config.streaming(*longest);
                let close = |n, takes| {
                    let peer = Peer { takes, ..Peer::says(b"xxxxxxxx", piece, n) };
                    let mut channel = builder(config, terminator).linger(linger).build(peer);
                    channel.push_slice(b"bye");
                    let closed = poll_up_to(n, channel.close());
                    assert_eq!(channel.get_ref().left, 0, "not read to the end");
                    assert_eq!(closed.is_some(), takes == Takes::Everything);
                };
                let name = format!("close, {}, {what} {how}", config.name);
                report.attack(&name, bound, n, |n| close(n, Takes::Everything));
                let name = format!("{name}: not taken");
                report.attack(&name, bound, n, |n| close(n, Takes::Nothing));
            }
        }
        // What was held of a frame goes, if not its block.
        let name = format!("close, {}: in a frame", config.name);
        report.afterwards(&name, config.behind_a_frame(1), 3 * config.max_length, |n| {
            let peer = Peer::says(b"x", 64, config.max_length / 2 + n);
            let mut channel = builder(config, &Terminator::lf()).linger(linger).build(peer);
            while channel.unread().len() < config.max_length / 2 {
                assert!(poll_up_to(1, channel.next()).is_none());
            }
            assert!(poll_up_to(n, channel.close()).is_some());
            channel
        });
    }
}

/// Never ends: chunks of so many bytes, each with memory of its own.
fn endless(chunk: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::repeat_with(move || Ok(Bytes::from(vec![b'p'; chunk])))
}

fn endless_producers(report: &mut Report) {
    for config in CONFIGS {
        for (name, takes) in [
            ("everything", Takes::Everything),
            ("slowly", Takes::Little),
            ("nothing", Takes::Nothing),
        ] {
            for (chunk, vectored) in
                [(100, true), (100, false), (16 << 10, true), (16 << 10, false)]
            {
                let name = format!(
                    "endless producer, {}, {chunk} bytes, taken {name}, vectored {vectored}",
                    config.name
                );
                report.attack(&name, config.producer(chunk), 5, |n| {
                    let mut channel = channel(config, &Terminator::lf(), {
                        Peer { takes, ..Peer::never_reads(b"", vectored) }
                    });
                    channel.push_with_producer(endless(chunk));
                    let mut handler = Answer { answer: b"", slices: true };
                    assert!(poll_up_to(n, channel.run(&mut handler)).is_none());
                });
            }
        }
        let name = format!("producers pushed while they may, {}", config.name);
        report.attack(&name, config.output(0), 1000, |n| {
            let peer = Peer::never_reads(b"", true);
            let mut channel = channel(config, &Terminator::lf(), peer);
            let pusher = channel.pusher();
            let mut handler = Answer { answer: b"", slices: true };
            let mut waits = false;
            for _ in 0..n {
                waits = poll_up_to(1, pusher.push_with_producer(endless(100))).is_none();
                assert!(poll_up_to(1, channel.run(&mut handler)).is_none());
            }
            assert!(waits, "never full");
        });
    }
}

fn tiny_pieces(report: &mut Report) {
    for config in CONFIGS {
        for (what, text) in [("one byte", &b"t"[..]), ("no byte", b"")] {
            let open = || channel(config, &Terminator::lf(), Peer::never_reads(b"", true));
            let name = format!("tiny, {}, {what}: pusher, not polled", config.name);
            let n = 2 * config.high_water / 64;
            report.attack(&name, config.output(1), n, |n| {
                let mut channel = open();
                let mut pushing = Pushing::into(&mut channel);
                (0..n).for_each(|_| pushing.push(text));
                assert_eq!(pushing.refused.is_none(), text.is_empty());
                let mut handler = Answer { answer: b"", slices: true };
                assert!(poll_up_to(1, channel.run(&mut handler)).is_none());
            });
            let name = format!("tiny, {}, {what}: pusher, and two parts in turn", config.name);
            report.attack(&name, config.output(2), n, |n| {
                let mut channel = open();
                let mut pushing = Pushing::into(&mut channel);
                for _ in 0..n {
                    pushing.push(text);
                    // Ready at once, or full: nothing waits.
                    poll_up_to(1, pushing.pusher.push_parts([&b"t"[..]; 2]));
                }
                let mut handler = Answer { answer: b"", slices: true };
                assert!(poll_up_to(1, channel.run(&mut handler)).is_none());
            });
            // With something between them, so that they are not gathered.
            let name = format!("tiny, {}, {what}: and 4 KiB in turn", config.name);
            report.attack(&name, config.output(4096), 1000, |n| {
                push_while_ready(&mut open(), n, |channel| {
                    channel.push_slice(text);
                    channel.push(Bytes::from(vec![b'l'; 4096]));
                });
            });
            // Each is on its way to the transport before the next is pushed.
            for vectored in [true, false] {
                let name =
                    format!("tiny, {}, {what}: one a poll, vectored {vectored}", config.name);
                report.attack(&name, config.output(1), config.high_water, |n| {
                    let peer = Peer::never_reads(b"", vectored);
                    let mut channel = channel(config, &Terminator::lf(), peer);
                    for _ in 0..n {
                        if channel.queued_bytes() < config.high_water as u64 {
                            channel.push_slice(text);
                        }
                        assert!(poll_up_to(1, channel.next()).is_none());
                    }
                });
            }
            let name = format!("tiny, {}, {what}: and producers in turn", config.name);
            report.attack(&name, config.output(0), 1000, |n| {
                push_while_ready(&mut open(), n, |channel| {
                    channel.push_with_producer(stream::pending::<io::Result<Bytes>>());
                    channel.push_slice(text);
                });
            });
        }
    }
}

/// Flushes that are given up, behind output that nobody takes; before and after the channel
/// is polled.
fn flushes(report: &mut Report) {
    for config in CONFIGS {
        for polls in [false, true] {
            let name = format!("flushes, {}, polled {polls}", config.name);
            let n = 2 * config.high_water / 64;
            report.attack(&name, config.output(1), n, |n| {
                let mut channel = channel(config, &Terminator::lf(), Peer::never_reads(b"", true));
                channel.push(Bytes::from_static(b"x"));
                let pusher = channel.pusher();
                for _ in 0..n {
                    assert!(poll_up_to(1, pusher.flush()).is_none());
                    assert!(!polls || poll_up_to(1, channel.next()).is_none());
                }
                // In the queue one takes the place of another that is given up.
                assert_eq!(pusher.try_push("x").is_ok(), polls);
                assert!(poll_up_to(1, channel.next()).is_none());
            });
        }
        let name = format!("flushes between pushes, {}", config.name);
        report.attack(&name, config.output(1), config.high_water, |n| {
            let mut channel = channel(config, &Terminator::lf(), Peer::never_reads(b"", true));
            let pusher = channel.pusher();
            for _ in 0..n {
                if pusher.try_push("x").is_err() {
                    break;
                }
                assert!(poll_up_to(1, pusher.flush()).is_none());
                assert!(poll_up_to(1, channel.next()).is_none());
            }
            assert!(pusher.try_push("x").is_err(), "never full");
        });
    }
}

/// What a program does that has read about `ready`.
fn push_while_ready(
    channel: &mut Channel<Peer<'_>>,
    n: usize,
    push: impl Fn(&mut Channel<Peer<'_>>),
) {
    let mut waits = false;
    for _ in 0..n {
        waits = poll_up_to(1, channel.ready()).is_none();
        if !waits {
            push(channel);
        }
    }
    assert!(waits, "never full");
}

/// A piece of input that is no more than little.
const PIECE: usize = 64;

/// How many frames are kept.
const KEPT: usize = 16;

/// The length of the largest terminator.
const HUGE: usize = 64 * 1024;
