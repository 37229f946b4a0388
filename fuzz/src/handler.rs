//! `run` calls back with exactly what the oracle says of what has arrived, at
//! any cut, whatever the callbacks set, and sends what they push, once and in
//! order: what the codec driven by hand would give.
//!
//! Nothing is called back behind a close or above the high-water mark, `stop`
//! and a callback that fails lose nothing, and a `Pending` has somebody who
//! wakes. A failure of the transport comes behind the frames that were received,
//! and `closed` once, with what `run` gives. If only reading fails, all that was
//! pushed is sent.
//!
//! The last bytes of an input may choose the [`Nature`] of the transport.

use asynchat::{Channel, Control, Error, Handler, Run};
use fuzz_oracle::input::{Input, Steps};
use fuzz_oracle::io::{Count, End, Io, Nature};
use fuzz_oracle::oracle::{Item, Oracle, Take, Term};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let nature = Nature::take(&mut input);
    let steps = input.steps();
    let fates = Input(input.some(64));
    let script = Input(input.some(64));
    let whole = play(input.0, Steps::whole(), Input(b""), script, Nature::default());
    let cut = play(input.0, steps, fates, script, nature);
    // What is discarded depends on what has arrived.
    if whole.discarded || cut.discarded {
        return;
    }
    if cut.broke {
        assert!(whole.frames.starts_with(&cut.frames));
        assert!(whole.written.starts_with(&cut.written));
    } else {
        assert_eq!(whole, cut);
    }
}

/// What has come of it.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    /// The frames, their parts joined, and what was too long.
    frames: Vec<Option<Vec<u8>>>,
    written: Vec<u8>,
    discarded: bool,
    /// The transport has failed, at least in one direction.
    broke: bool,
}

/// Plays the oracle beside what it is called with.
struct Checking<'d> {
    script: Input<'d>,
    oracle: Oracle<'d>,
    arrived: Arc<AtomicUsize>,
    /// The end of `input` is known.
    ended: bool,
    open: Vec<u8>,
    frames: Vec<Option<Vec<u8>>>,
    pushed: Vec<u8>,
    closing: bool,
    stopped: bool,
    /// A callback has failed.
    failed: bool,
    discarded: bool,
    told: bool,
    /// `closed` was called, with an error of this kind.
    closed: Option<Option<ErrorKind>>,
}

impl<'d> Checking<'d> {
    /// The item comes; nothing came before it.
    fn expect(&mut self, control: &Control<'_>, item: Item<'_>) {
        assert!(!self.closing, "called back after the close");
        assert!(!self.told && self.closed.is_none(), "called back after the end");
        assert!(!self.stopped && !self.failed, "called back, and run is to return");
        assert!(control.queued_bytes() < HIGH as u64, "called back without room");
        let arrived = self.arrived.load(Ordering::Relaxed);
        // The end is told only once there is nothing else.
        let next = self.oracle.next(Take::AsSet, arrived, false).or_else(|| {
            self.ended = arrived == self.oracle.input.len();
            self.oracle.next(Take::AsSet, arrived, self.ended)
        });
        assert_eq!(next, Some(item));
        assert_eq!(control.ended_by(), self.oracle.ended_by);
        assert_eq!(control.head_len(), self.oracle.head_len);
        self.oracle.ending.check(control.terminator());
    }

    /// Does what the script says after a frame or an error.
    fn act(&mut self, control: &mut Control<'_>, frame: Option<Vec<u8>>) -> Result<(), Error> {
        self.frames.push(frame);
        let what = self.script.byte();
        match what & 15 {
            0..=2 => {}
            3..=5 => {
                let Term { ending, built } = self.script.term();
                control.set_terminator(built);
                self.oracle.set(ending);
            }
            6 => {
                self.oracle.max_length = self.script.limit();
                control.codec_mut().set_max_length(self.oracle.max_length);
            }
            7 => {
                self.oracle.streaming ^= true;
                control.codec_mut().set_streaming(self.oracle.streaming);
            }
            8 => {
                self.oracle.keep ^= true;
                control.codec_mut().set_keep_terminator(self.oracle.keep);
            }
            9 | 10 => self.push(control, usize::from(what)),
            11 => {
                let data = vec![what; usize::from(what)];
                self.pushed.extend_from_slice(&data);
                control.push_with_producer(asynchat::producer::from_iter([data]));
            }
            12 => {
                self.stopped = true;
                control.stop();
            }
            13 if what > 127 => {
                self.closing = true;
                control.close_when_done();
            }
            14 if what > 127 => {
                self.discarded = true;
                control.discard_buffers();
                self.oracle.discard(self.arrived.load(Ordering::Relaxed));
            }
            15 if what > 127 => return self.fail(),
            _ => self.push(control, self.frames.len()),
        }
        Ok(())
    }

    /// By an error that `run` has not of its own.
    fn fail(&mut self) -> Result<(), Error> {
        self.failed = true;
        Err(Error::TerminatorInContent)
    }

    /// What has arrived was handed out, unless it was closed; or the end was told,
    /// and then it was seen to.
    fn has_received_all(&mut self) {
        if self.closing || self.told {
            return;
        }
        let arrived = self.arrived.load(Ordering::Relaxed);
        let next = self.oracle.next(Take::AsSet, arrived, false);
        assert_eq!(next, None, "frames are missing");
    }

    /// Panics if a pushed byte has not reached the peer.
    fn has_sent_all(&self, io: &Io) {
        assert!(io.is_flushed(), "the transport is not flushed");
        if !self.discarded {
            assert_eq!(io.written, self.pushed, "output is not sent");
        }
    }

    fn outcome(self, io: &Io, broke: bool) -> Outcome {
        let (frames, written) = (self.frames, io.written.clone());
        Outcome { frames, written, discarded: self.discarded, broke }
    }

    fn push(&mut self, control: &mut Control<'_>, len: usize) {
        let data = vec![self.frames.len() as u8; len];
        self.pushed.extend_from_slice(&data);
        control.push_slice(&data);
    }

    fn complete(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        let mut frame = std::mem::take(&mut self.open);
        frame.extend_from_slice(data);
        self.act(control, Some(frame))
    }
}

impl Handler for Checking<'_> {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        self.expect(control, Item::Complete(data));
        self.complete(control, data)
    }

    /// In streaming mode the end of a frame comes in two calls: the first is
    /// known by being all that the oracle has of it.
    fn collect_incoming_data(
        &mut self,
        control: &mut Control<'_>,
        data: &[u8],
    ) -> Result<(), Error> {
        assert!(!data.is_empty());
        let mut ahead = self.oracle.clone();
        let arrived = self.arrived.load(Ordering::Relaxed);
        if ahead.next(Take::AsSet, arrived, false) == Some(Item::Complete(data)) {
            self.open.extend_from_slice(data);
            return Ok(());
        }
        self.expect(control, Item::Partial(data));
        self.open.extend_from_slice(data);
        Ok(())
    }

    fn invalid_head(
        &mut self,
        control: &mut Control<'_>,
        _: &Arc<dyn std::error::Error + Send + Sync>,
    ) -> Result<(), Error> {
        self.expect(control, Item::InvalidHead);
        self.frames.push(None);
        self.closing = true;
        control.close_when_done();
        Ok(())
    }

    fn found_terminator(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        let mut ahead = self.oracle.clone();
        let arrived = self.arrived.load(Ordering::Relaxed);
        let Some(Item::Complete(rest)) = ahead.next(Take::AsSet, arrived, false) else {
            panic!("a terminator was found too early");
        };
        assert!(self.open.ends_with(rest), "the rest was not collected");
        self.expect(control, Item::Complete(rest));
        self.complete(control, b"")
    }

    fn frame_too_long(&mut self, control: &mut Control<'_>, limit: usize) -> Result<(), Error> {
        self.expect(control, Item::TooLong(limit));
        self.act(control, None)
    }

    fn input_ended(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        let arrived = self.arrived.load(Ordering::Relaxed);
        assert_eq!(arrived, self.oracle.input.len(), "the end came too early");
        assert_eq!(self.oracle.next(Take::AsSet, arrived, true), None, "frames are missing");
        assert!(!std::mem::replace(&mut self.told, true), "the end was told twice");
        let what = self.script.byte();
        if (200..=250).contains(&what) {
            // The peer has only closed its side, and is answered.
            self.push(control, usize::from(what));
            return Ok(());
        }
        self.closing = true;
        control.close_when_done();
        if what > 250 { self.fail() } else { Ok(()) }
    }

    fn closed(&mut self, error: Option<&Error>) {
        let kind = error.map(|error| match error {
            Error::Io(e) => e.kind(),
            error => panic!("{error:?}"),
        });
        assert_eq!(self.closed.replace(kind), None, "closed twice");
    }
}

fn play<'d>(
    input: &'d [u8],
    mut steps: Steps,
    mut fates: Input<'d>,
    mut script: Input<'d>,
    nature: Nature,
) -> Outcome {
    let Term { ending, built } = script.term();
    let mut io = Io::new(input);
    io.has_nature(nature);
    io.end = io.end.or(Some(End::Eof));
    let mut write_fails = usize::MAX;
    if steps.is_whole() {
        io.send(input.len());
    } else {
        let what = fates.byte();
        (io.at_once, io.vectored) = (steps.size(), what & 1 == 0);
        io.room = if nature.always_ready { usize::MAX } else { 0 };
        match what >> 4 {
            7 => io.end = Some(End::Error),
            11 => write_fails = usize::from(what >> 1 & 7),
            _ => {}
        }
    }
    let mut checking = Checking {
        script,
        oracle: Oracle::new(input, ending),
        arrived: Arc::clone(&io.arrived),
        ended: false,
        open: vec![],
        frames: vec![],
        pushed: vec![],
        closing: false,
        stopped: false,
        failed: false,
        discarded: false,
        told: false,
        closed: None,
    };
    let mut channel = Channel::builder()
        .terminator(built)
        .max_length(usize::MAX)
        .linger(std::time::Duration::ZERO)
        .high_water(HIGH)
        .low_water(HIGH / 4)
        .build(io);
    let pusher = nature.writer_first.then(|| channel.pusher());
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    // Each turn a byte goes in or out, a callback stops, or the end comes.
    for turn in 0..TURNS {
        let io = channel.get_mut();
        io.write_error = turn >= write_fails;
        (io.reader, io.writer, io.calls) = (None, None, 0);
        count.take();
        let polled = pin!(channel.run(&mut checking)).poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Ready(Ok(Run::Closed)) => {
                let io = channel.get_ref();
                assert!(checking.closing, "closed by nobody");
                // After everything was sent, a reset by the peer is no failure.
                assert!(!io.broke || io.is_lost(), "it has failed");
                assert_eq!(checking.closed, Some(None));
                assert_eq!(io.shutdowns, 1);
                checking.has_sent_all(io);
                assert!(pusher.is_none_or(|pusher| pusher.is_closed()));
                let fails = io.ended && io.end == Some(End::Error);
                return checking.outcome(io, fails);
            }
            Poll::Ready(Err(Error::TerminatorInContent)) => {
                assert!(std::mem::take(&mut checking.failed), "failed by nobody");
            }
            Poll::Ready(Err(Error::Io(e))) => {
                let io = channel.get_ref();
                let fails = io.ended && io.end == Some(End::Error);
                assert!(
                    fails && e.kind() == nature.error
                        || io.broke && e.kind() == ErrorKind::BrokenPipe
                );
                assert_eq!(checking.closed, Some(Some(e.kind())));
                checking.has_received_all();
                if nature.is_chosen && !io.broke {
                    checking.has_sent_all(io);
                }
                assert!(
                    pusher.is_none_or(|pusher| pusher.is_closed()),
                    "a pusher finds the channel open"
                );
                // `closed` sees to it that it is not called again.
                let again = pin!(channel.run(&mut checking)).poll(&mut Context::from_waker(&waker));
                assert!(matches!(again, Poll::Ready(Err(Error::Closed))), "{again:?}");
                return checking.outcome(channel.get_ref(), true);
            }
            Poll::Ready(Ok(Run::Stopped)) => {
                assert!(std::mem::take(&mut checking.stopped), "stopped by nobody");
            }
            Poll::Ready(Err(error)) => panic!("{error:?}"),
            Poll::Pending => {
                assert!(!checking.stopped && !checking.failed, "not stopped");
                let waits = !count.is_woken();
                assert!(!waits || !channel.get_ref().broke, "it waits, and writing has failed");
                let all_sent = channel.queued_bytes() == 0;
                let io = channel.get_ref();
                assert!(
                    nature.holds == 0 || io.is_flushing(),
                    "the first poll does not flush the transport"
                );
                if checking.told && !checking.closing && all_sent {
                    // Nothing is to be done, and nothing comes, until we close.
                    checking.closing = true;
                    channel.close_when_done();
                    continue;
                }
                // Only the peer can wake it, or it has woken itself.
                let io = channel.get_ref();
                let (reads, writes) = io.will_wake(&waker);
                let woken = count.take();
                assert!(woken || reads || writes, "nobody wakes it");
                assert!(writes || io.room > 0 || all_sent, "it does not send");
                if nature.is_chosen {
                    let is_flushed = all_sent && io.is_flushed();
                    assert!(woken || writes || is_flushed, "it does not flush");
                    assert!(woken || reads || io.ended, "it would not notice a broken connection");
                }
            }
        }
        channel.get_mut().fate(&mut steps, &mut fates);
    }
    panic!("it does not end");
}

const HIGH: usize = 400;
const TURNS: usize = 20_000;
