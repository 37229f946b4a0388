//! The time of a run, and the deadlines that are running.

use crate::link::Link;
use asynchat::Timeout;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// One whose clock stands still unless it is advanced.
pub(crate) fn runtime() -> Arc<Runtime> {
    thread_local! {
        static RUNTIME: Arc<Runtime> = {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            Arc::new(builder.enable_time().start_paused(true).build().unwrap())
        };
    }
    RUNTIME.with(Arc::clone)
}

/// Apart, to tell which of them it was; two ticks are longer than each.
pub(crate) const FRAME: Duration = Duration::from_millis(1000);
pub(crate) const IDLE: Duration = Duration::from_millis(1050);
pub(crate) const WRITE: Duration = Duration::from_millis(1100);
const TICK: Duration = Duration::from_millis(600);
const TICKS: u32 = 2;

/// The deadlines that are running, as the docs have them.
#[derive(Default)]
pub(crate) struct Clock {
    /// Whether the time of a frame may run while output is waited for.
    pub(crate) may_run: bool,
    now: u32,
    input: Option<Running>,
    /// Since when the rest of a frame is not read, because output goes first.
    paused: Option<u32>,
    /// How long another task has waited for output meanwhile, which may stop this time.
    doubtful: u32,
    write: Option<Running>,
    /// The same, if only bytes that are taken count, and no flush.
    taken: Option<Running>,
    /// When a task was woken last to write. Something may have left the transport.
    woken: u32,
}

#[derive(Clone, Copy)]
struct Running {
    of: Of,
    since: u32,
}

/// What has a deadline. With another one the time begins again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    /// The frame behind so many.
    Frame(usize),
    /// So much was received and sent.
    Idle(usize, usize),
    /// So much was taken by the transport, or has left it as well.
    Write(usize),
}

/// Which times are over.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Late {
    pub(crate) input: bool,
    pub(crate) write: bool,
}

/// What is waited for of the peer.
fn of(link: &Link) -> Of {
    let received = link.received();
    match received.last() {
        Some(last) if *last != b'\n' => {
            Of::Frame(received.iter().filter(|byte| **byte == b'\n').count())
        }
        _ => Of::Idle(link.delivered, link.wire.len()),
    }
}

impl Clock {
    fn running(&self, before: Option<Running>, of: Of) -> Running {
        before.filter(|before| before.of == of).unwrap_or(Running { of, since: self.now })
    }

    /// The transport was asked to take something: whether it would not. Called
    /// behind a turn, and where all was sent and then something is read: what is
    /// written or shut down behind that has its own time.
    pub(crate) fn note_output(&mut self, link: &Link) {
        let is_blocked = link.writer.is_set();
        self.write = is_blocked.then(|| self.running(self.write, Of::Write(link.progress())));
        self.taken = is_blocked.then(|| self.running(self.taken, Of::Write(link.wire.len())));
    }

    /// Everything has left the transport.
    pub(crate) fn note_flush(&mut self) {
        self.write = None;
    }

    /// A call is pending; `reads` is whether it waits for input.
    pub(crate) fn note(&mut self, link: &Link, reads: bool, queued: u64) {
        self.note_output(link);
        if !reads {
            self.paused = self.paused.or(self.input.map(|_| self.now));
            return;
        }
        let paused = self.paused.take().map_or(0, |paused| self.now - paused);
        let has_output = queued > 0 || link.wire.len() > link.flushed || link.writer.is_set();
        let of = Some(of(link)).filter(|of| match of {
            Of::Idle(..) => link.is_readable() && !has_output,
            _ => link.is_readable(),
        });
        if self.input.map(|before| before.of) != of {
            self.doubtful = 0;
        }
        self.input = of.map(|of| match self.input.filter(|before| before.of == of) {
            Some(Running { of: Of::Frame(n), since }) => {
                Running { of: Of::Frame(n), since: since + paused }
            }
            before => self.running(before, of),
        });
    }

    /// Returns which times are over, that of input only if `reads`.
    pub(crate) fn late(&self, reads: bool) -> Late {
        let is_surely_over = |one: Running| self.now - one.since >= TICKS + self.doubtful;
        let input = reads && self.input.is_some_and(is_surely_over);
        let is_still_over = |one: Running| self.now - one.since.max(self.woken) >= TICKS;
        Late { input, write: self.write.is_some_and(is_still_over) }
    }

    /// A task is woken to write.
    pub(crate) fn wakes_writer(&mut self) {
        self.woken = self.now;
    }

    /// Half of a limit passes; `doubtful` is whether another task waits for output.
    pub(crate) fn advance(&mut self, doubtful: bool) {
        self.now += 1;
        self.doubtful += u32::from(doubtful);
        runtime().block_on(tokio::time::advance(TICK));
    }

    /// The channel has reported that this time is over.
    pub(crate) fn timed_out(&mut self, link: &Link, timeout: Timeout) {
        let (over, now) = match timeout {
            Timeout::Write(WRITE) => (self.taken.take(), Of::Write(link.wire.len())),
            Timeout::Frame(FRAME) | Timeout::Idle(IDLE) => (self.input.take(), of(link)),
            other => panic!("{other:?}: there is no such limit"),
        };
        let over = over.expect("a time that has not begun is over");
        assert_eq!(over.of, now, "{timeout:?}, and it went on");
        let is_frame = matches!(over.of, Of::Frame(_));
        assert_eq!(is_frame, matches!(timeout, Timeout::Frame(_)), "{timeout:?} of {:?}", over.of);
        let until = self.paused.take().filter(|_| is_frame).unwrap_or(self.now);
        assert!(self.may_run || until - over.since >= TICKS, "{timeout:?} before its time");
    }
}
