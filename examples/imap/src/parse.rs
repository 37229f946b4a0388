//! The responses of an IMAP server (RFC 3501, section 7). A response is a line that literals can
//! interrupt: `{5}` at its end announces 5 bytes, and the line continues after them.

use bytes::Bytes;

/// A piece of data in a response.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    /// A word, number or flag, or the name of the value after it.
    Atom(Bytes),
    /// A string, in quotes or as a literal.
    String(Bytes),
    /// A literal of this number of bytes, which were written elsewhere.
    Streamed(u64),
    List(Vec<Value>),
}

impl Value {
    /// Returns `true` if it is this word.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Value::Atom(atom) if atom.eq_ignore_ascii_case(word.as_bytes()))
    }

    pub fn number(&self) -> Option<u64> {
        let Value::Atom(atom) = self else { return None };
        number(atom)
    }

    /// The number of a message.
    pub fn message(&self) -> Option<u32> {
        let Value::Atom(atom) = self else { return None };
        message(atom)
    }

    /// A word or a string, as text.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Atom(text) | Value::String(text) => {
                Some(String::from_utf8_lossy(text).into_owned())
            }
            _ => None,
        }
    }
}

/// A complete response of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// `+`: the server waits for more of the command.
    Continue,
    /// The result of the command with this tag.
    Tagged(Bytes, Status),
    /// A notice about nothing in particular, or a greeting or farewell.
    Status(Status),
    Data(Vec<Value>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub kind: Kind,
    /// The code in brackets that precedes the text.
    pub code: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Ok,
    No,
    Bad,
    Bye,
    PreAuth,
}

/// Puts a response together from its lines and literals.
///
/// The part of a response that has arrived lies here and not in a future, so waiting for the
/// next line or literal is cancel safe.
#[derive(Debug)]
pub struct Parser {
    /// The lists that have no end yet, the outermost first; that one is the
    /// response, and there is none between two responses.
    open: Vec<Vec<Value>>,
    /// The bytes of the literal that is next; or else it is a line.
    literal: Option<u64>,
    /// The number of bytes of memory that the answer may still take.
    room: usize,
}

/// The reason why a response is invalid.
pub type Malformed = &'static str;

pub const TOO_MUCH: Malformed = "too much for one answer";

impl Parser {
    pub fn new(room: usize) -> Self {
        Parser { open: Vec::new(), literal: None, room }
    }

    /// The bytes of the literal that is next, if it is not a line.
    pub fn literal(&self) -> Option<u64> {
        self.literal
    }

    /// Returns `true` if the next literal is the message with this number.
    pub fn is_at_message(&self, number: u32) -> bool {
        match self.open.as_slice() {
            [response, items] => {
                matches!(&response[..], [n, word] if n.message() == Some(number) && word.is("FETCH"))
                    && items.last().is_some_and(|item| item.is("BODY[]"))
            }
            _ => false,
        }
    }

    pub fn room(&self) -> usize {
        self.room
    }

    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Takes the next line, and returns the response if that is its end.
    pub fn line(&mut self, line: &Bytes) -> Result<Option<Response>, Malformed> {
        self.charge(line.len() + COST)?;
        let mut at = 0;
        if self.open.is_empty() {
            if let Some(response) = status_line(line) {
                return Ok(Some(response));
            }
            at = if line.starts_with(b"* ") { 2 } else { return Err("no response") };
            self.open.push(Vec::new());
        }
        while let Some(byte) = line.get(at) {
            match byte {
                b' ' => at += 1,
                b'(' if self.open.len() > MAX_DEPTH => return Err("lists nested too deeply"),
                b'(' => {
                    self.open.push(Vec::new());
                    at += 1;
                }
                b')' => {
                    let list = self.open.pop().unwrap_or_default();
                    self.push(Value::List(list))?;
                    at += 1;
                }
                b'"' => at = self.quoted(line, at + 1)?,
                b'{' | b'~' if literal(&line[at..]).is_some() => {
                    self.literal = literal(&line[at..]);
                    return Ok(None);
                }
                _ => at = self.atom(line, at)?,
            }
        }
        match (self.open.pop(), self.open.is_empty()) {
            (Some(response), true) => Ok(Some(Response::Data(response))),
            _ => Err("a list without an end"),
        }
    }

    /// Takes the literal.
    pub fn took_literal(&mut self, value: Value) -> Result<(), Malformed> {
        if let Value::String(data) = &value {
            self.charge(data.len())?;
        }
        self.literal = None;
        self.push(value)
    }

    /// A quoted string, after its first quote.
    fn quoted(&mut self, line: &[u8], mut at: usize) -> Result<usize, Malformed> {
        let mut text = Vec::new();
        loop {
            match line.get(at..).unwrap_or_default() {
                [b'"', ..] => break,
                [b'\\', byte @ (b'"' | b'\\'), ..] => {
                    text.push(*byte);
                    at += 2;
                }
                [b'\\' | 0 | b'\r' | b'\n', ..] | [] => return Err("a bad quoted string"),
                [byte, ..] => {
                    text.push(*byte);
                    at += 1;
                }
            }
        }
        self.push(Value::String(text.into()))?;
        end_of_word(line, at + 1)
    }

    fn atom(&mut self, line: &Bytes, start: usize) -> Result<usize, Malformed> {
        let mut at = start;
        while let Some(byte) = line.get(at) {
            match byte {
                b' ' | b'(' | b')' => break,
                // `BODY[HEADER.FIELDS ("TO")]<0>`: blanks and all, one name.
                b'[' if is_section(&line[start..at]) => {
                    let end = line[at..].iter().position(|byte| *byte == b']');
                    at += end.ok_or("a section without an end")?;
                }
                b'"' | b'{' | 0..=0x1F | 0x7F => return Err("a bad character"),
                _ => at += 1,
            }
        }
        let atom = line.slice(start..at);
        let is_nil = atom.eq_ignore_ascii_case(b"NIL");
        self.push(if is_nil { Value::Nil } else { Value::Atom(atom) })?;
        Ok(at)
    }

    /// Adds to the innermost list.
    fn push(&mut self, value: Value) -> Result<(), Malformed> {
        self.charge(COST)?;
        self.open.last_mut().ok_or("an unexpected closing parenthesis")?.push(value);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.room = self.room.checked_sub(bytes).ok_or(TOO_MUCH)?;
        Ok(())
    }
}

/// A response whose rest is text for people, or `+`. It has no literal, even if the text looks
/// like one.
fn status_line(line: &Bytes) -> Option<Response> {
    if line.starts_with(b"+ ") || &line[..] == b"+" {
        return Some(Response::Continue);
    }
    let space = line.iter().position(|byte| *byte == b' ')?;
    let text = String::from_utf8_lossy(&line[space + 1..]);
    let (word, text) = text.split_once(' ').unwrap_or((&text, ""));
    let kind = match word.to_ascii_uppercase().as_str() {
        "OK" => Kind::Ok,
        "NO" => Kind::No,
        "BAD" => Kind::Bad,
        "BYE" => Kind::Bye,
        "PREAUTH" => Kind::PreAuth,
        _ => return None,
    };
    let code = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let (code, text) = code.unwrap_or(("", text));
    let status = Status { kind, code: code.to_owned(), text: text.trim().to_owned() };
    match line.slice(..space) {
        tag if tag == "*" => Some(Response::Status(status)),
        tag => Some(Response::Tagged(tag, status)),
    }
}

/// `{5}` at the end of a line; in front of binary data it is `~{5}`.
fn literal(rest: &[u8]) -> Option<u64> {
    let rest = rest.strip_prefix(b"~").unwrap_or(rest);
    number(rest.strip_prefix(b"{")?.strip_suffix(b"}")?)
}

/// Digits and nothing else. Sizes have 63 bits (RFC 9051), all else has 32.
fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// The number of a message: not 0, and of 32 bits.
pub fn message(digits: &[u8]) -> Option<u32> {
    number(digits)?.try_into().ok().filter(|number| *number > 0)
}

/// Returns `true` if brackets after this are part of the name.
fn is_section(name: &[u8]) -> bool {
    ["BODY", "BINARY", "BINARY.SIZE"].iter().any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
}

/// Returns the place itself if a word can end there.
fn end_of_word(line: &[u8], at: usize) -> Result<usize, Malformed> {
    match line.get(at) {
        None | Some(b' ' | b'(' | b')') => Ok(at),
        Some(_) => Err("no space between two words"),
    }
}

/// Lists within lists.
const MAX_DEPTH: usize = 16;

/// The bytes of a value besides its text: twice its size, because a list grows.
const COST: usize = 2 * size_of::<Value>();
