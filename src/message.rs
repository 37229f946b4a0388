//! Functions that read lengths in the heads of common protocols, for
//! [`Terminator::message`](crate::Terminator::message).
//!
//! These functions accept only input that the protocols define. If two programs read a length
//! differently, messages can be smuggled past one of them (RFC 9112, section 11.2).

use crate::BoxError;

/// Reads the `Content-Length` field of a head of fields, as in LSP and HTTP/1.
///
/// Names are compared without regard to case. Lines end with LF or CR LF, and a first line that is
/// not a field is skipped. `None` means that there is no such field. That is a length of 0 in an
/// HTTP request, and an error in LSP.
///
/// ```
/// use asynchat::message::content_length;
///
/// assert_eq!(content_length(b"content-LENGTH: 5\r\n\r\n")?, Some(5));
/// assert_eq!(content_length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?, None);
/// assert!(content_length(b"Content-Length: +5\r\n\r\n").is_err());
/// # Ok::<(), asynchat::BoxError>(())
/// ```
///
/// # Errors
///
/// An error is returned in these cases (RFC 9112, sections 2.2 and 6.3):
///
/// - The field occurs twice, or continues on another line.
/// - White space or a control byte precedes or follows its name.
/// - Its value is not a decimal number below 2^64.
/// - The head has a CR without LF.
pub fn content_length(head: &[u8]) -> Result<Option<u64>, BoxError> {
    let mut length = None;
    let mut is_last = false;
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.contains(&b'\r') {
            return Err("CR without LF".into());
        }
        if is_last && matches!(line, [b' ' | b'\t', ..]) {
            return Err("Content-Length on two lines".into());
        }
        is_last = false;
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let is_space = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        let start = name.iter().position(|byte| !is_space(byte)).unwrap_or(0);
        let end = name.iter().rposition(|byte| !is_space(byte)).map_or(0, |at| at + 1);
        let trimmed = name.get(start..end).unwrap_or_default();
        if !trimmed.eq_ignore_ascii_case(b"content-length") {
            continue;
        }
        if trimmed.len() != name.len() {
            return Err("space around the name of Content-Length".into());
        }
        let value = decimal(trim(value.get(1..).unwrap_or_default()))?;
        if length.replace(value).is_some() {
            return Err("two Content-Length fields".into());
        }
        is_last = true;
    }
    Ok(length)
}

/// Reads a decimal number: digits and nothing else.
///
/// `str::parse` would also accept `+5`. First strip the bytes around the number, including the
/// terminator of the head.
///
/// ```
/// use asynchat::{Body, Terminator, TerminatorCodec, message::decimal};
///
/// // A netstring: "5:hello,"
/// let netstring = Terminator::message(":", |head| {
///     let digits = head.strip_suffix(b":").unwrap_or(head);
///     Ok(Body::Bytes(decimal(digits)?.saturating_add(1)))
/// });
/// let mut codec = TerminatorCodec::new(netstring);
/// let frame = codec.decode_slice(&mut &b"5:hello,"[..])?;
/// assert_eq!(frame.map(|frame| frame.data()), Some(&b"5:hello,"[..]));
/// # Ok::<(), asynchat::Error>(())
/// ```
///
/// # Errors
///
/// An error is returned if there is no digit, if any byte is not a digit, or if the number is 2^64
/// or more.
pub fn decimal(digits: &[u8]) -> Result<u64, BoxError> {
    if digits.is_empty() {
        return Err("no length".into());
    }
    digits.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u64::from(byte - b'0')))
            .ok_or_else(|| "length of 2^64 or more".into()),
        _ => Err("length with a byte that is not a digit".into()),
    })
}

/// Removes optional white space, which is SP and HTAB (RFC 9110, section 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
