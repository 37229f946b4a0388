//! What is said: a header that ends in a blank line, with the number of the
//! message, the length of its body and a checksum; and the body.

use asynchat_stress::Rng;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) seq: u64,
    pub(crate) length: u64,
    pub(crate) sum: u64,
}

impl Header {
    pub(crate) fn of(seq: u64, body: &[u8]) -> Self {
        Header { seq, length: body.len() as u64, sum: sum(body) }
    }

    pub(crate) fn to_bytes(self, first_line: &str) -> Vec<u8> {
        let mut text = String::with_capacity(first_line.len() + 80);
        let Header { seq, length, sum } = self;
        let written = write!(
            text,
            "{first_line}\r\nsequence: {seq}\r\ncontent-length: {length}\r\nchecksum: {sum:x}\r\n\r\n"
        );
        written.expect("a string takes everything");
        text.into_bytes()
    }

    /// Of what came before the blank line.
    pub(crate) fn parse(first_line: &str, data: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(data).ok()?.split("\r\n");
        if lines.next()? != first_line {
            return None;
        }
        Some(Header {
            seq: lines.next()?.strip_prefix("sequence: ")?.parse().ok()?,
            length: lines.next()?.strip_prefix("content-length: ")?.parse().ok()?,
            sum: u64::from_str_radix(lines.next()?.strip_prefix("checksum: ")?, 16).ok()?,
        })
    }

    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        self.length == body.len() as u64 && self.sum == sum(body)
    }
}

/// What request `seq` of a connection carries.
pub(crate) fn body(connection: u64, seq: u64) -> Vec<u8> {
    let mut rng = Rng::new(connection ^ seq.rotate_left(32));
    let longest = if rng.one_in(200) { LONGEST } else { 1000 };
    let length = rng.below(longest) as usize;
    let mut body = Vec::with_capacity(length + 8);
    while body.len() < length {
        body.extend_from_slice(&rng.next().to_le_bytes());
    }
    body.truncate(length);
    body
}

pub(crate) fn request(connection: u64, seq: u64) -> Vec<u8> {
    let body = body(connection, seq);
    let mut request = Header::of(seq, &body).to_bytes(REQUEST);
    request.extend_from_slice(&body);
    request
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

pub(crate) const REQUEST: &str = "ECHO";
pub(crate) const ANSWER: &str = "OK";

/// Of a body; the limit of a channel is above it.
pub(crate) const LONGEST: u64 = 60_000;
