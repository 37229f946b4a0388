use super::{Kind, Pattern, Terminator};
use std::error;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// The error type of functions that read heads.
///
/// The function that you pass to [`Terminator::message`] returns it if a head is invalid.
pub type BoxError = Box<dyn error::Error + Send + Sync>;

/// The length of a message, which the function that you pass to [`Terminator::message`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// The body has this number of bytes.
    Bytes(u64),
    /// The message has this number of bytes, including the head.
    Total(u64),
    /// The head has this number of further bytes.
    ///
    /// The function is called again with the whole head.
    More(usize),
}

/// The rule that ends the head of a [`Terminator::message`]: a byte string, one of several,
/// or a number of bytes.
///
/// ```
/// use asynchat::Head;
///
/// let blank_line = Head::from("\r\n\r\n");
/// let two_bytes = Head::from(2);
/// let either = Head::any(["\r\n\r\n", "\n\n"]);
/// assert_eq!(Head::line(), Head::any(["\r\n", "\n"]));
/// # let _ = (blank_line, two_bytes, either);
/// ```
///
/// The terminator is part of the head. If the head has a length of 0, or ends at an empty byte
/// string, the first byte of input leads to [`Error::InvalidHead`](crate::Error::InvalidHead).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head(Terminator);

impl Head {
    /// Ends the head at the member of this set whose *end* comes first, as
    /// [`Terminator::any`] does.
    #[must_use]
    pub fn any<I>(patterns: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        Self::new(Terminator::any(patterns))
    }

    /// Ends the head at CR LF or a bare LF.
    #[must_use]
    pub const fn line() -> Self {
        Head(Terminator::line())
    }

    fn new(terminator: Terminator) -> Self {
        // There is no head that never ends.
        Head(if terminator.is_none() { Terminator::count(0) } else { terminator })
    }
}

impl From<&str> for Head {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&[u8]> for Head {
    fn from(bytes: &[u8]) -> Self {
        Self::new(Terminator(Pattern::new(bytes).map_or(Kind::None, Kind::Pattern)))
    }
}

impl<const N: usize> From<&[u8; N]> for Head {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

/// Ends the head after a number of bytes. No other integer type converts, so that the type of `2`
/// is inferred.
impl From<u64> for Head {
    fn from(n: u64) -> Self {
        Head(Terminator(Kind::Count(n)))
    }
}

type Measure = dyn Fn(&[u8]) -> Result<Body, BoxError> + Send + Sync;

/// A head, and the function that reads the length of the body in it.
#[derive(Clone)]
pub(crate) struct Message(Arc<Shared>);

struct Shared {
    head: Terminator,
    body: Box<Measure>,
}

impl Message {
    pub(super) fn new(Head(head): Head, body: Box<Measure>) -> Self {
        Message(Arc::new(Shared { head, body }))
    }

    /// The terminator of the head: a byte string, a set, or a count.
    #[inline(always)]
    pub(crate) fn head(&self) -> &Terminator {
        &self.0.head
    }

    /// Calls the function with a complete head.
    #[inline(always)]
    pub(crate) fn body(&self, head: &[u8]) -> Result<Body, BoxError> {
        (self.0.body)(head)
    }
}

impl PartialEq for Message {
    /// Compares the identity: functions cannot be compared.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Message {}

// A function that has panicked is called again, with the same head.
impl UnwindSafe for Message {}
impl RefUnwindSafe for Message {}

impl Hash for Message {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.head.fmt(f)
    }
}
