use super::{Kind, Length, Pattern, Terminator};
use bytes::Bytes;

/// A value that converts into a [`Terminator`].
///
/// Byte strings, a `u64`, a [`Length`] and `None` convert. The trait is sealed. Its purpose is a
/// compiler error for a `usize` that names the missing conversion.
///
/// ```compile_fail,E0277
/// use asynchat::{Terminator, TerminatorCodec};
///
/// let length: usize = 5;
/// TerminatorCodec::new(length); // error: use `Terminator::count(length)`
/// ```
///
/// ```
/// use asynchat::{Terminator, TerminatorCodec};
///
/// let length: usize = 5;
/// let mut codec = TerminatorCodec::new(Terminator::count(length));
/// codec.set_terminator(5);
/// codec.set_terminator("\n");
/// codec.set_terminator(None);
/// assert!(codec.terminator().is_none());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not convert into a `Terminator`",
    label = "not a terminator",
    note = "for a number of bytes in a `usize` use `Terminator::count(n)`, for another integer `u64::from(n)`"
)]
pub trait IntoTerminator: Sealed {
    /// Performs the conversion.
    fn into_terminator(self) -> Terminator;
}

pub trait Sealed {}

macro_rules! into_terminator {
    ($($(#[$doc:meta])* $(const $n:ident,)? $from:ty: $value:ident => $kind:expr;)*) => {$(
        $(#[$doc])*
        impl $(<const $n: usize>)? From<$from> for Terminator {
            #[inline(always)]
            fn from($value: $from) -> Self {
                $kind
            }
        }

        impl $(<const $n: usize>)? Sealed for $from {}

        impl $(<const $n: usize>)? IntoTerminator for $from {
            #[inline(always)]
            fn into_terminator(self) -> Terminator {
                self.into()
            }
        }
    )*};
}

into_terminator! {
    &[u8]: bytes => Terminator(Pattern::new(bytes).map_or(Kind::None, Kind::Pattern));
    const N, &[u8; N]: bytes => bytes.as_slice().into();
    &str: text => text.as_bytes().into();
    String: text => text.as_bytes().into();
    Vec<u8>: bytes => bytes.as_slice().into();
    Bytes: bytes => bytes.as_ref().into();
    /// Ends a frame after a number of bytes. No other integer type converts, so that the type of
    /// `5` in `set_terminator(5)` is inferred. For a `usize` use [`Terminator::count`].
    u64: n => Terminator(Kind::Count(n));
    Length: length => Terminator(Kind::Length(length));
    /// For `set_terminator(None)`.
    Option<Terminator>: terminator => terminator.unwrap_or_default();
}

impl Sealed for Terminator {}

impl IntoTerminator for Terminator {
    #[inline(always)]
    fn into_terminator(self) -> Terminator {
        self
    }
}
