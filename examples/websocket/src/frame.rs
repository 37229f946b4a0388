//! The bytes of a frame (RFC 6455, section 5).

use asynchat::{Body, BoxError, Terminator};
use bytes::{Buf, BufMut, BytesMut};
use std::array;
use std::sync::LazyLock;

/// Ends a client's frame. The head is 2 bytes, and then up to 8 of length and 4 of mask.
pub static FRAMES: LazyLock<Terminator> = LazyLock::new(|| Terminator::message(2, body));

/// Returns the length of the payload, or how much more of the head it takes to know it.
fn body(head: &[u8]) -> Result<Body, BoxError> {
    let (first, second) = (head[0], head[1]);
    let (width, least) = match second & !MASKED {
        126 => (2, 126),
        127 => (8, 1 << 16),
        _ => (0, 0),
    };
    if head.len() > 2 {
        let short = u64::from(second & !MASKED);
        let length = if width == 0 { short } else { (&head[2..]).get_uint(width) };
        let is_good = (least..1 << 63).contains(&length);
        let why = "length not in the shortest form, or of 64 bits";
        return is_good.then_some(Body::Bytes(length)).ok_or_else(|| why.into());
    }
    match first & OPCODE {
        _ if first & RESERVED != 0 => Err("extension that was not agreed on".into()),
        _ if second & MASKED == 0 => Err("frame without a mask".into()),
        CLOSE | PING | PONG if first & FIN == 0 || width > 0 => Err("long control frame".into()),
        CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(Body::More(width + MASK)),
        _ => Err("unknown opcode".into()),
    }
}

/// A client's frame without its mask.
pub struct Frame {
    pub is_final: bool,
    pub opcode: u8,
    bytes: BytesMut,
    head_len: usize,
}

impl Frame {
    /// Removes the mask from a complete frame, in place.
    pub fn new(mut bytes: BytesMut, head_len: usize) -> Self {
        let (head, payload) = bytes.split_at_mut(head_len);
        let (is_final, opcode) = (head[0] & FIN != 0, head[0] & OPCODE);
        // As wide as a register.
        let mask: [u8; 16] = array::from_fn(|i| head[head_len - MASK + i % MASK]);
        let unmask = |block: &mut [u8]| block.iter_mut().zip(mask).for_each(|(byte, m)| *byte ^= m);
        let mut blocks = payload.chunks_exact_mut(mask.len());
        blocks.by_ref().for_each(unmask);
        unmask(blocks.into_remainder());
        Frame { is_final, opcode, bytes, head_len }
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.head_len..]
    }

    /// Makes it a server's frame with the same payload, in place: the head moves over the
    /// mask.
    pub fn into_answer(self, opcode: u8) -> BytesMut {
        let Frame { mut bytes, head_len, .. } = self;
        bytes.copy_within(..head_len - MASK, MASK);
        bytes.advance(MASK);
        bytes[0] = FIN | opcode;
        bytes[1] &= !MASKED;
        bytes
    }
}

/// Returns a server's frame.
pub fn encode(opcode: u8, payload: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(MAX_HEAD + payload.len());
    bytes.put_u8(FIN | opcode);
    match payload.len() {
        len @ 0..126 => bytes.put_u8(len as u8),
        len @ 126..0x1_0000 => bytes.put_slice(&[126, (len >> 8) as u8, len as u8]),
        len => {
            bytes.put_u8(127);
            bytes.put_u64(len as u64);
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The most bytes of a head.
pub const MAX_HEAD: usize = 2 + 8 + MASK;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const MASK: usize = 4;
