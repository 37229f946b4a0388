//! The frame at the front of the undelivered bytes, and the head of a message.

use crate::Terminator;
use crate::terminator::Body;
use std::error::Error;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// The reason why a head is invalid.
pub(super) type HeadError = Arc<dyn Error + Send + Sync>;

/// The known facts about the frame at the front.
#[derive(Clone, Debug)]
pub(crate) enum Front {
    /// Only the progress of the search for its terminator, or for the terminator of its head.
    Unknown,
    /// It is skipped, because it is too long, was discarded, or has an invalid head. It ends
    /// at a byte string, at one of a set, after a count, or never. Boxed, because it is rare.
    Skipped(Box<Terminator>),
    /// The head has at least this number of bytes, not all of which have arrived.
    Head(u32),
    /// The length is known: `rest` bytes of the frame are undelivered, the first `head` of
    /// which are the head.
    Body { head: u32, rest: u64 },
    /// The head is invalid, which is still to be reported. Boxed, because it is rare.
    Refused(Box<HeadError>),
}

// The error is not called before it is returned to the caller.
impl UnwindSafe for Front {}
impl RefUnwindSafe for Front {}

impl Front {
    #[inline(always)]
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Front::Unknown)
    }

    /// Reads a head of at least `end` bytes at the front of `src`.
    #[inline(always)]
    pub(super) fn read(
        terminator: &Terminator,
        mut end: usize,
        src: &[u8],
        max_head: usize,
    ) -> Front {
        loop {
            if end == 0 {
                return Front::refused("head is empty");
            }
            // Also if the head is buffered as a whole: the outcome must not depend on how
            // the input was split. Not before the first byte, because the next call may have
            // another limit.
            if end > max_head {
                return if src.is_empty() { Front::Unknown } else { Front::too_long(max_head) };
            }
            let Some(head) = src.get(..end) else { return Front::Head(end as u32) };
            let total = match terminator.body(head) {
                Ok(Body::More(0)) => return Front::refused("head extended by 0 bytes"),
                Ok(Body::More(more)) => {
                    end = end.saturating_add(more);
                    continue;
                }
                Ok(Body::Bytes(body)) => body.saturating_add(end as u64),
                Ok(Body::Total(total)) => total,
                Err(error) => return Front::Refused(Box::new(error.into())),
            };
            if total < end as u64 {
                return Front::refused("message is shorter than its head");
            }
            return Front::Body { head: end as u32, rest: total };
        }
    }

    #[cold]
    pub(super) fn too_long(max_head: usize) -> Front {
        Front::refused(format!("head longer than {max_head} bytes"))
    }

    #[cold]
    fn refused(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Front {
        Front::Refused(Box::new(reason.into().into()))
    }
}
