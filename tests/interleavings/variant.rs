//! How scenarios are varied.

/// How a scenario is varied.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variant {
    pub(crate) out_buffer: usize,
    /// Payloads that are sent from where they lie, or a few bytes.
    pub(crate) large: bool,
    pub(crate) vectored: bool,
    /// All limits of time are set, and none is ever reached.
    pub(crate) limits: bool,
    pub(crate) tasks: Tasks,
    /// The transport has a buffer of its own. Bytes leave it when the transport is
    /// flushed, or when it is full.
    pub(crate) buffers: bool,
    /// The transport's buffer holds bytes before the channel begins.
    pub(crate) holds_output: bool,
    /// A write that was pending is retried with the same bytes, or more.
    pub(crate) checks_retries: bool,
    /// Reading fails in a way that says nothing about writing.
    pub(crate) reads_fail_alone: bool,
    /// Each call to the transport does everything at once.
    pub(crate) always_ready: bool,
}

/// Which tasks poll the channel, each with a waker of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Tasks {
    #[default]
    One,
    /// One for the `Stream` side and one for the `Sink` side. While a scenario uses one
    /// of them, the other one is polled beside it: before each of its polls.
    OtherFirst,
    /// The same after each of its polls that is pending.
    OtherLast,
}

impl Variant {
    /// The size of the transport's own buffer.
    pub(crate) fn transport_buffer(&self) -> Option<usize> {
        // Less than two payloads.
        self.buffers.then_some(if self.large { 3000 } else { 5 })
    }
}

/// Small payloads never reach the default bound, so it is 1 as well, and there
/// are payloads above it.
pub(crate) const VARIANTS: [Variant; 4] = [
    variant(1, false, true),
    variant(65536, false, true),
    variant(16, true, true),
    variant(4096, true, false),
];

pub(crate) const fn variant(out_buffer: usize, large: bool, vectored: bool) -> Variant {
    Variant {
        out_buffer,
        large,
        vectored,
        limits: false,
        tasks: Tasks::One,
        buffers: false,
        holds_output: false,
        checks_retries: false,
        reads_fail_alone: false,
        always_ready: false,
    }
}

/// A name, and how a variant is changed by it.
type Condition = (&'static str, fn(&mut Variant));

/// The conditions under which each scenario is played as well. The variants above take
/// the opposite for granted.
pub(crate) const CONDITIONS: [Condition; 8] = [
    ("two tasks, the other one first", |variant| variant.tasks = Tasks::OtherFirst),
    ("two tasks, the other one last", |variant| variant.tasks = Tasks::OtherLast),
    ("a transport that buffers", |variant| variant.buffers = true),
    ("a transport that holds output", |variant| {
        (variant.buffers, variant.holds_output) = (true, true);
    }),
    ("writes retried with the same bytes", |variant| variant.checks_retries = true),
    ("reading that fails alone", |variant| variant.reads_fail_alone = true),
    ("a transport that is always ready", |variant| variant.always_ready = true),
    ("all of these but the last", |variant| {
        variant.tasks = Tasks::OtherLast;
        (variant.buffers, variant.holds_output) = (true, true);
        (variant.checks_retries, variant.reads_fail_alone) = (true, true);
    }),
];
