//! The time limits of a frame, of idleness, of a stalled write and of the last read. They take
//! instants, and return whether a limit is exceeded.
//!
//! The channel reads the clock only where it would wait. One timer serves all limits. It is created
//! on first use, moves only to an earlier time, and is set again if it fires too early.
//!
//! While there is nothing to read or to write, only the timer decides that a time is over, and not
//! the clock. When the runtime makes a task yield, neither the timer nor the transport is ready, so
//! no limit is exceeded.

use crate::Timeout;
use crate::sync::{AtomicBool, Mutex, MutexGuard};
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The times that a channel waits for its peer. By default there are no limits.
///
/// On an open network set all of them, because each one protects against another kind of
/// peer. See [timeouts](crate::guide::servers#timeouts) in the guide.
///
/// ```
/// # let (io, _peer) = tokio::io::duplex(64);
/// use asynchat::{Channel, Timeouts};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let timeouts = Timeouts { idle: Some(10 * minute), ..Timeouts::all(minute) };
/// let channel = Channel::builder().terminator("\n").timeouts(timeouts).build(io);
/// assert_eq!(channel.timeouts(), timeouts);
/// ```
///
/// Timeouts are checked only while a method of the channel is awaited. They limit neither a peer
/// that reads slowly nor the duration of a connection.
///
/// A channel with a timeout needs a runtime with a timer. In a runtime without a timer, waiting
/// panics.
// Not `non_exhaustive`, which would forbid literals with `..Timeouts::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The time from a frame's first byte to its last, including the terminator.
    ///
    /// When it is over, the error is [`Timeout::Frame`]. Without [`min_rate`](Self::min_rate),
    /// further bytes do not extend the time. Skipped bytes count as part of their frame. In
    /// streaming mode the limit applies to the whole frame, not to its parts.
    ///
    /// The time begins when the channel first waits for the rest of the frame. A frame that arrives
    /// before you read it is never late. The time is paused while the channel only sends: in `run`
    /// above the high-water mark, and in `drive`, `flush`, `ready` and the `Sink`.
    ///
    /// Before the first byte of a frame, [`idle`](Self::idle) applies instead, even if the channel
    /// waits for a count of bytes. Without a terminator there is no frame, except in
    /// [`receive`](crate::Channel::receive).
    pub frame: Option<Duration>,
    /// The rate, in bytes per second, at which arriving bytes extend the time of
    /// [`frame`](Self::frame).
    ///
    /// The time of a frame becomes `frame` plus the number of its bytes that have arrived, divided
    /// by this rate. A large frame may then take long, although a peer must not trickle. Skipped
    /// and delivered bytes of the frame count, too. The length that a count or a head announces
    /// does not count, and neither do bytes of other frames.
    ///
    /// A peer may first send bytes and then fall silent. A frame therefore lasts at most `frame` +
    /// `max_length` / `min_rate`. A frame that is skipped lasts as long as its bytes arrive at this
    /// rate.
    ///
    /// Without `frame`, this rate has no effect. [`Timeouts::all`] does not set it.
    /// [`Timeout::Frame`] contains only the time `frame`.
    ///
    /// ```
    /// use asynchat::Timeouts;
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    ///
    /// // 20 seconds for a frame, and one more for each KiB of it.
    /// let timeouts =
    ///     Timeouts { min_rate: NonZeroU32::new(1024), ..Timeouts::all(Duration::from_secs(20)) };
    /// assert_eq!(timeouts.frame, Some(Duration::from_secs(20)));
    /// ```
    pub min_rate: Option<NonZeroU32>,
    /// The time until a frame begins, including the first one.
    ///
    /// When it is over, the error is [`Timeout::Idle`]. The time begins when the channel waits for
    /// input and has nothing to send, and restarts with each byte that is sent. A peer that reads a
    /// long answer slowly, or that waits for a producer, is therefore not idle.
    ///
    /// An answer that the kernel has accepted counts as sent, although the peer may still be
    /// reading it. Allow for the time that a slow peer needs to read a full send buffer. In a
    /// client, the time also passes while no request is outstanding, so set the limit only while
    /// the client awaits answers.
    pub idle: Option<Duration>,
    /// The time in which the transport accepts nothing, although output is pending or the write
    /// half is being shut down.
    ///
    /// When it is over, output is dropped, and [`Timeout::Write`] is the error of the write half.
    /// The time restarts with every byte that is accepted. It does not pass while the channel waits
    /// for a producer.
    ///
    /// When its send buffer is full, a kernel accepts no more until a large part is free again,
    /// however steadily the peer reads. On Linux this part is a third of up to 4 MiB. Set the time
    /// accordingly, or make the buffer smaller with `TcpSocket::set_send_buffer_size`. A transport
    /// with a buffer of its own, such as TLS, accepts some bytes even if the peer does not read.
    pub write: Option<Duration>,
}

impl Timeouts {
    /// Returns timeouts with the same time for `frame`, `idle` and `write`.
    ///
    /// `min_rate` is not set, so further bytes do not extend the time of a frame.
    ///
    /// ```
    /// use asynchat::Timeouts;
    /// use std::time::Duration;
    ///
    /// let timeouts = Timeouts::all(Duration::from_secs(60));
    /// assert_eq!(timeouts.idle, Some(Duration::from_secs(60)));
    /// assert_eq!(timeouts.min_rate, None);
    /// ```
    #[must_use]
    pub const fn all(after: Duration) -> Self {
        Timeouts { frame: Some(after), min_rate: None, idle: Some(after), write: Some(after) }
    }
}

/// The clocks of a channel. Most channels have none.
#[derive(Default)]
pub(crate) struct Deadlines {
    timeouts: Timeouts,
    /// The number of the frame for whose rest the channel waits, and the beginning of that wait.
    frame: Option<(u64, Instant)>,
    /// The time that this frame may take.
    allowed: Duration,
    /// The number of the last frame that has begun, and the position of its first byte in the
    /// input. Positions may wrap.
    begun: Option<(u64, u64)>,
    /// The instant since which that frame is not read, because output must be sent first.
    paused: Option<Instant>,
    /// The number of bytes that were read after the time of that frame.
    late_bytes: u64,
    idle: Option<Stillness>,
    stall: Option<Stillness>,
    /// Created when a write stalls.
    probe: Option<Arc<Probe>>,
    /// The instant since which the channel lingers.
    linger: Option<Instant>,
    timer: Timer,
}

/// A time in which nothing was sent beyond this number of bytes.
#[derive(Clone, Copy)]
struct Stillness {
    since: Instant,
    sent: u64,
}

/// A frame whose rest has not arrived.
#[derive(Clone, Copy)]
pub(crate) struct Unfinished {
    pub(crate) number: u64,
    /// The position of its first undelivered byte.
    pub(crate) from: u64,
    /// The position after the last byte that has arrived.
    pub(crate) to: u64,
    /// The number of bytes that may be read after its time, because they may have arrived in time.
    pub(crate) allowance: u64,
}

/// The instant at which a limit is exceeded, or `None` if the clock cannot represent it.
pub(crate) type Due = Option<(Instant, Timeout)>;

impl Deadlines {
    /// Changes the limits. A frame that has begun keeps its beginning. Without limits
    /// there are no clocks.
    pub(crate) fn set(deadlines: &mut Option<Box<Self>>, timeouts: Timeouts) {
        if timeouts == Timeouts::default() {
            *deadlines = None;
        } else {
            deadlines.get_or_insert_default().timeouts = timeouts;
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Notes that the channel is about to read more of the frame, if there is one. Returns an error
    /// if the frame is late, although there was always more of it to read.
    pub(crate) fn begin_read(
        &mut self,
        now: Instant,
        frame: Option<Unfinished>,
    ) -> Result<(), Timeout> {
        let (Some(frame), Some(after)) = (frame, self.timeouts.frame) else {
            // It may have had a beginning, and lost its terminator.
            (self.frame, self.paused) = (None, None);
            return Ok(());
        };
        let number = frame.number;
        self.begin_frame(number, frame.from);
        self.allowed = after.saturating_add(self.earned(frame.to));
        let paused = self.paused.take().map_or(Duration::ZERO, |paused| now - paused);
        let since = match self.frame {
            Some((known, since)) if known == number => since + paused,
            _ => {
                self.late_bytes = 0;
                now
            }
        };
        self.frame = Some((number, since));
        let is_late = since.checked_add(self.allowed).is_some_and(|due| due <= now);
        if is_late && self.late_bytes > frame.allowance {
            return Err(Timeout::Frame(after));
        }
        // Reset until the time is over: only what is read after it counts.
        self.late_bytes = if is_late { self.late_bytes } else { 0 };
        Ok(())
    }

    /// Notes the position of a frame's first byte, unless it is known.
    pub(crate) fn begin_frame(&mut self, number: u64, position: u64) {
        if self.begun.is_none_or(|(known, _)| known != number) {
            self.begun = Some((number, position));
        }
    }

    /// Returns the time by which the bytes of the frame up to this position extend its limit.
    fn earned(&self, to: u64) -> Duration {
        let (Some((_, from)), Some(rate)) = (self.begun, self.timeouts.min_rate) else {
            return Duration::ZERO;
        };
        let (arrived, rate) = (to.wrapping_sub(from), u64::from(rate.get()));
        // Less than a second: the product is below 2^62.
        let rest = Duration::from_nanos(arrived % rate * 1_000_000_000 / rate);
        Duration::from_secs(arrived / rate) + rest
    }

    /// Notes that this number of bytes was read.
    pub(crate) fn end_read(&mut self, bytes: u64) {
        self.idle = None;
        self.late_bytes += bytes;
    }

    /// Notes that there is nothing to read. Returns the instant at which that has lasted too long.
    /// If `sent`, the number of bytes sent so far, is given, the channel waits for the next frame.
    pub(crate) fn read_due(&mut self, now: Instant, sent: Option<u64>) -> Due {
        if let (Some((_, since)), Some(after)) = (self.frame, self.timeouts.frame) {
            self.idle = None;
            return Some((since.checked_add(self.allowed)?, Timeout::Frame(after)));
        }
        let (Some(sent), Some(after)) = (sent, self.timeouts.idle) else {
            self.idle = None;
            return None;
        };
        let since = since(&mut self.idle, now, sent);
        Some((since.checked_add(after)?, Timeout::Idle(after)))
    }

    /// Notes that the channel waits for output, so its peer is not idle. If the channel does not
    /// read either, the time of a frame is paused.
    pub(crate) fn pause(&mut self, now: Instant, is_read: bool) {
        self.idle = None;
        if self.frame.is_some() && !is_read {
            self.paused.get_or_insert(now);
        }
    }

    /// Notes that the transport accepts no output. Returns the instant at which that has lasted too
    /// long. `linger` is the limit if no other is set.
    pub(crate) fn write_due(&mut self, now: Instant, sent: u64, linger: Option<Duration>) -> Due {
        // A limit that was set for stalled writes is meant for the last write, too.
        let after = self.timeouts.write.or(linger)?;
        let since = since(&mut self.stall, now, sent);
        Some((since.checked_add(after)?, Timeout::Write(after)))
    }

    /// Notes that output is not stalled. A later wake of the probe then means nothing.
    pub(crate) fn end_stall(&mut self) {
        (self.stall, self.probe) = (None, None);
    }

    /// Returns `true` if a limited write is stalled.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Returns the waker for a stalled write.
    ///
    /// A transport that only flushes accepts no more bytes. The only sign that its peer reads is
    /// that it wakes the task, so a wake restarts the time.
    pub(crate) fn probe(&mut self, task: &Waker) -> Option<Waker> {
        self.stall?;
        let probe = self.probe.get_or_insert_default();
        if probe.take_woken() {
            self.stall = None;
        }
        probe.register(task);
        Some(Waker::from(Arc::clone(probe)))
    }

    /// Notes that the transport is pending because the runtime makes the task yield. The wake that
    /// follows means nothing.
    pub(crate) fn distrust_probe(&mut self) {
        self.probe = None;
    }

    /// Notes that everything is sent, and that the channel waits for the peer's close. Returns the
    /// instant at which that has lasted too long.
    pub(crate) fn linger_due(&mut self, now: Instant, linger: Duration) -> Option<Instant> {
        self.linger.get_or_insert(now).checked_add(linger)
    }

    /// Restarts the clocks.
    pub(crate) fn restart(&mut self) {
        self.restart_reading();
        self.end_stall();
    }

    /// Restarts the clocks of the input.
    pub(crate) fn restart_reading(&mut self) {
        (self.frame, self.paused, self.late_bytes) = (None, None, 0);
        self.idle = None;
    }

    /// Ready at the instant.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        self.timer.poll_until(cx, due)
    }
}

/// Wakes a task, and records that it did.
#[derive(Default)]
struct Probe {
    is_woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Probe {
    fn take_woken(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }

    fn register(&self, task: &Waker) {
        let before = self.lock().replace(task.clone());
        drop(before);
    }

    /// No waker is called or dropped under the lock.
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Probe {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let task = self.lock().take();
        task.into_iter().for_each(Waker::wake);
    }
}

/// A timer, and the task that it wakes.
///
/// A timer belongs to the runtime in which it was created. A channel may later be polled in another
/// runtime. The waker of another task is the sign of that.
#[derive(Default)]
struct Timer(Option<(Pin<Box<Sleep>>, Waker)>);

impl Timer {
    fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let known = self.0.take();
        let first = known.as_ref().map_or(due, |(sleep, _)| sleep.deadline().min(due));
        let known = known.filter(|(_, task)| task.will_wake(cx.waker()));
        let new = || (Box::pin(sleep_until(first)), cx.waker().clone());
        let (sleep, _) = self.0.insert(known.unwrap_or_else(new));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        ready!(sleep.as_mut().poll(cx));
        if sleep.deadline() < due {
            sleep.as_mut().reset(due);
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

/// Returns the first instant at which `sent` was seen to be the number of bytes sent.
fn since(stillness: &mut Option<Stillness>, now: Instant, sent: u64) -> Instant {
    match stillness {
        Some(known) if known.sent == sent => known.since,
        _ => stillness.insert(Stillness { since: now, sent }).since,
    }
}
