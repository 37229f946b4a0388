use super::{Body, BoxError};

/// A length in a head of fixed size, for a [`Terminator`](crate::Terminator).
///
/// Each frame is a head and the body that it announces. The constructors describe a head that is
/// only a length. [`within`](Self::within) places the length in a longer head, and
/// [`counting`](Self::counting) describes a length that includes part of the head.
///
/// ```
/// use asynchat::{FrameRef, Length, TerminatorCodec};
///
/// // PostgreSQL: a type, then a length that counts itself.
/// const MESSAGE: Length = Length::u32_be().within(1, 5).counting(4);
///
/// let mut codec = TerminatorCodec::new(MESSAGE);
/// let mut input = &b"Q\0\0\0\x0eSELECT 1;\0Q"[..];
/// let query = codec.decode_slice(&mut input)?;
/// assert_eq!(query, Some(FrameRef::Complete(b"Q\0\0\0\x0eSELECT 1;\0")));
/// assert_eq!(codec.head_len(), 5);
/// # Ok::<(), asynchat::Error>(())
/// ```
///
/// If the length is less than the part of the head that it includes, the head is invalid
/// ([`Error::InvalidHead`]). `max_length` limits head and body together. `Length` does not check
/// the other bytes of the head. To check them, use [`Terminator::message`]. Encoding writes no
/// head, so push it before the body.
///
/// The guide has recipes for the [messages](crate::guide::messages) of several protocols.
///
/// [`Error::InvalidHead`]: crate::Error::InvalidHead
/// [`Terminator::message`]: crate::Terminator::message
// Aligned like the payloads of the other terminators, so that all move in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(align(8))]
pub struct Length {
    /// 1 to 8 bytes.
    width: u8,
    is_little: bool,
    /// The place of the number in the head. It lies whole in it.
    offset: u8,
    /// The length of the head.
    head: u8,
    /// The number of bytes of the head that the length counts.
    counted: u8,
}

impl Length {
    const fn new(width: u8, is_little: bool) -> Self {
        assert!(1 <= width && width <= 8, "a length has 1 to 8 bytes");
        Length { width, is_little, offset: 0, head: width, counted: 0 }
    }

    /// Describes a length of 1 byte.
    #[must_use]
    pub const fn u8() -> Self {
        Self::big(1)
    }

    /// Describes a length of 2 bytes in network order.
    ///
    /// ```
    /// use asynchat::{Length, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Length::u16_be());
    /// let message = codec.decode_slice(&mut &b"\0\x02hi, and more"[..])?;
    /// assert_eq!(message.map(|message| message.data()), Some(&b"\0\x02hi"[..]));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    #[must_use]
    pub const fn u16_be() -> Self {
        Self::big(2)
    }

    /// Describes a length of 4 bytes in network order.
    #[must_use]
    pub const fn u32_be() -> Self {
        Self::big(4)
    }

    /// Describes a length of 8 bytes in network order.
    #[must_use]
    pub const fn u64_be() -> Self {
        Self::big(8)
    }

    /// Describes a length of `width` bytes in network order, the most significant byte first.
    ///
    /// # Panics
    ///
    /// If `width` is not 1 to 8.
    #[must_use]
    pub const fn big(width: u8) -> Self {
        Self::new(width, false)
    }

    /// Describes a length of `width` bytes, the least significant byte first.
    ///
    /// ```
    /// use asynchat::{Length, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Length::little(3));
    /// let message = codec.decode_slice(&mut &b"\x02\0\0hi, and more"[..])?;
    /// assert_eq!(message.map(|message| message.data()), Some(&b"\x02\0\0hi"[..]));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `width` is not 1 to 8.
    #[must_use]
    pub const fn little(width: u8) -> Self {
        Self::new(width, true)
    }

    /// Places the length `offset` bytes into a head of `head_len` bytes.
    ///
    /// ```
    /// use asynchat::{Length, TerminatorCodec};
    ///
    /// // A type of one byte, a length of two bytes, and flags of one byte.
    /// let mut codec = TerminatorCodec::new(Length::u16_be().within(1, 4));
    /// let message = codec.decode_slice(&mut &b"T\0\x02Fhi, and more"[..])?;
    /// assert_eq!(message.map(|message| message.data()), Some(&b"T\0\x02Fhi"[..]));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the length does not lie within the head.
    #[must_use]
    pub const fn within(self, offset: u8, head_len: u8) -> Self {
        let end = offset as usize + self.width as usize;
        assert!(end <= head_len as usize, "the length lies outside the head");
        Length { offset, head: head_len, ..self }
    }

    /// Sets the number of bytes of the head that the length includes. Default: 0.
    ///
    /// ```
    /// use asynchat::{Length, TerminatorCodec};
    ///
    /// let mut codec = TerminatorCodec::new(Length::u16_be().counting(2));
    /// let message = codec.decode_slice(&mut &b"\0\x04hi, and more"[..])?;
    /// assert_eq!(message.map(|message| message.data()), Some(&b"\0\x04hi"[..]));
    /// # Ok::<(), asynchat::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the head has fewer bytes. Call [`within`](Self::within) first.
    #[must_use]
    pub const fn counting(self, bytes: u8) -> Self {
        assert!(bytes <= self.head, "counted bytes exceed the head");
        Length { counted: bytes, ..self }
    }

    #[inline(always)]
    pub(crate) fn head_len(self) -> usize {
        usize::from(self.head)
    }

    /// The length of head and body. `None` if `src` does not hold the head, or if the length
    /// is below the number of bytes that it counts.
    #[inline(always)]
    pub(crate) fn total(self, src: &[u8]) -> Option<u64> {
        if src.len() < self.head_len() {
            return None;
        }
        let body = self.number(src).checked_sub(u64::from(self.counted))?;
        Some(body.saturating_add(u64::from(self.head)))
    }

    #[inline(always)]
    fn number(self, src: &[u8]) -> u64 {
        let src = src.get(usize::from(self.offset)..).unwrap_or_default();
        let eight = src.first_chunk::<8>().copied().unwrap_or_else(|| padded(src));
        // The mask states that no bit is shifted that is not there.
        let unused = (64 - 8 * u32::from(self.width)) & 63;
        if self.is_little {
            (u64::from_le_bytes(eight) << unused) >> unused
        } else {
            u64::from_be_bytes(eight) >> unused
        }
    }

    /// The answer for a complete head.
    pub(super) fn body(self, head: &[u8]) -> Result<Body, BoxError> {
        match self.total(head) {
            Some(total) => Ok(Body::Total(total)),
            None => Err("length less than the head that it counts".into()),
        }
    }
}

/// The last bytes of the input, and zeros.
#[cold]
fn padded(src: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.iter_mut().zip(src).for_each(|(to, from)| *to = *from);
    eight
}
