//! RESP, the protocol of Redis: values, and a parser without I/O. The parser takes a line or a
//! bulk, and returns what to read next.

use bytes::Bytes;
use std::fmt::{self, Write};
use std::iter;
use std::mem::take;

/// A value of a server, in RESP2 or RESP3. A deep one is written and dropped without
/// recursion.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    BigNumber(Bytes),
    /// A status, such as `OK`.
    Simple(Bytes),
    Bulk(Bytes),
    /// A bulk string with its format: `txt` or `mkd`.
    Verbatim(Bytes, Bytes),
    Error(Bytes),
    Array(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// Not an answer: a message of pub/sub, for example.
    Push(Vec<Value>),
}

/// The part to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Up to CR LF.
    Line,
    /// This number of bytes, and the CR LF after them.
    Bulk { len: u64, kind: BulkKind },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkKind {
    String,
    Error,
    Verbatim,
}

/// The bytes are not RESP, or ask for too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// The result of a line or a bulk string.
pub enum Parsed {
    /// There is more to this value.
    Incomplete(Next),
    Value(Value),
}

/// Puts values together.
pub struct Parser {
    /// The aggregates that have begun, from the outermost on.
    open: Vec<Aggregate>,
    /// The cost of the value so far, and its limit.
    size: u64,
    max_size: u64,
}

struct Aggregate {
    kind: Kind,
    /// Values still to come. Never 0.
    left: u64,
    values: Vec<Value>,
}

#[derive(Clone, Copy)]
enum Kind {
    Array,
    Set,
    Map,
    Push,
    /// An attribute of the value that follows. It is skipped.
    Attribute,
}

impl Parser {
    pub fn new(max_size: u64) -> Self {
        Parser { open: Vec::new(), size: 0, max_size }
    }

    /// Returns `true` if part of an aggregate has arrived.
    pub fn has_begun(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes a line, without its end.
    pub fn line(&mut self, line: &Bytes) -> Result<Parsed, Invalid> {
        self.charge(line.len() as u64)?;
        let Some((mark, rest)) = line.split_first() else { return Err(Invalid("empty line")) };
        let text = || line.slice(1..);
        let value = match mark {
            b'$' | b'*' if rest == b"-1" => Value::Null,
            b'$' => return self.bulk_header(rest, BulkKind::String),
            b'!' => return self.bulk_header(rest, BulkKind::Error),
            b'=' => return self.bulk_header(rest, BulkKind::Verbatim),
            b'+' => Value::Simple(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(parse(rest).ok_or(Invalid("not an integer"))?),
            b',' => Value::Double(parse(rest).ok_or(Invalid("not a number"))?),
            b'(' if is_whole_number(rest) => Value::BigNumber(text()),
            b'_' if rest.is_empty() => Value::Null,
            b'#' if rest == b"t" => Value::Boolean(true),
            b'#' if rest == b"f" => Value::Boolean(false),
            b'*' => return self.begin(Kind::Array, rest, 1),
            b'~' => return self.begin(Kind::Set, rest, 1),
            b'>' => return self.begin(Kind::Push, rest, 1),
            b'%' => return self.begin(Kind::Map, rest, 2),
            b'|' => return self.begin(Kind::Attribute, rest, 2),
            _ => return Err(Invalid("unknown type")),
        };
        Ok(self.end(value))
    }

    /// Takes a bulk string, with the CR LF after it.
    pub fn bulk(&mut self, kind: BulkKind, mut data: Bytes) -> Result<Parsed, Invalid> {
        if !data.ends_with(b"\r\n") {
            return Err(Invalid("no line end after a bulk string"));
        }
        data.truncate(data.len() - 2);
        self.charge(data.len() as u64)?;
        let value = match kind {
            BulkKind::String => Value::Bulk(data),
            BulkKind::Error => Value::Error(data),
            BulkKind::Verbatim if data.get(3) == Some(&b':') => {
                Value::Verbatim(data.slice(..3), data.slice(4..))
            }
            BulkKind::Verbatim => return Err(Invalid("verbatim string without its format")),
        };
        Ok(self.end(value))
    }

    fn bulk_header(&self, len: &[u8], kind: BulkKind) -> Result<Parsed, Invalid> {
        // Charged when it has come: who streams it does not hold it.
        Ok(Parsed::Incomplete(Next::Bulk { len: length(len)?, kind }))
    }

    fn begin(&mut self, kind: Kind, count: &[u8], each: u64) -> Result<Parsed, Invalid> {
        let left = length(count)?.checked_mul(each).ok_or(Invalid("too many elements"))?;
        if self.open.len() == MAX_DEPTH {
            return Err(Invalid("nested too deeply"));
        }
        let aggregate = Aggregate { kind, left, values: Vec::new() };
        if left > 0 {
            self.open.push(aggregate);
            return Ok(Parsed::Incomplete(Next::Line));
        }
        Ok(match aggregate.into_value() {
            Some(value) => self.end(value),
            None => Parsed::Incomplete(Next::Line),
        })
    }

    /// A value has ended, and with it perhaps the aggregates around it.
    fn end(&mut self, mut value: Value) -> Parsed {
        while let Some(mut aggregate) = self.open.pop() {
            aggregate.values.push(value);
            aggregate.left -= 1;
            if aggregate.left > 0 {
                self.open.push(aggregate);
                return Parsed::Incomplete(Next::Line);
            }
            match aggregate.into_value() {
                Some(whole) => value = whole,
                None => return Parsed::Incomplete(Next::Line),
            }
        }
        self.size = 0;
        Parsed::Value(value)
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Invalid> {
        self.size = self.size.saturating_add(bytes).saturating_add(size_of::<Value>() as u64);
        if self.size > self.max_size { Err(Invalid("too large")) } else { Ok(()) }
    }
}

impl Aggregate {
    fn into_value(self) -> Option<Value> {
        Some(match self.kind {
            Kind::Array => Value::Array(self.values),
            Kind::Set => Value::Set(self.values),
            Kind::Push => Value::Push(self.values),
            Kind::Map => {
                let mut values = self.values.into_iter();
                let pair = || Some((values.next()?, values.next()?));
                Value::Map(std::iter::from_fn(pair).collect())
            }
            Kind::Attribute => return None,
        })
    }
}

/// A length or a count: digits and nothing else.
fn length(text: &[u8]) -> Result<u64, Invalid> {
    let digits = text.iter().all(u8::is_ascii_digit);
    parse(text).filter(|_| digits).ok_or(Invalid("not a length"))
}

/// Digits, perhaps with a sign.
fn is_whole_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn parse<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Returns the server that has the key, if an error is the redirection of a cluster:
/// `MOVED 3999 10.0.0.1:6379`.
pub fn redirection(error: &[u8]) -> Option<String> {
    let mut words = error.split(|&byte| byte == b' ');
    let (b"MOVED" | b"ASK") = words.next()? else { return None };
    let address = Text(words.nth(1)?).to_string();
    match address.strip_prefix(':') {
        // A server need not know the name by which it is reached.
        Some(port) if !port.contains(':') => Some(format!("this host, port {port}")),
        _ => Some(address).filter(|address| !address.is_empty()),
    }
}

/// Writes it much as `redis-cli` does.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut open: Vec<Pieces<'_>> = vec![Box::new(iter::once(Piece::Value(0, self)))];
        while let Some(pieces) = open.last_mut() {
            match pieces.next() {
                None => drop(open.pop()),
                // The first one stands where the writer is, the others below it.
                Some(Piece::Mark(_, 0, mark)) => write!(f, "1{mark} ")?,
                Some(Piece::Mark(indent, i, mark)) => {
                    write!(f, "\n{:indent$}{}{mark} ", "", i + 1)?;
                }
                Some(Piece::Arrow) => f.write_str(" => ")?,
                Some(Piece::Value(indent, value)) => match value.pieces(indent) {
                    Some(pieces) => open.push(pieces),
                    None => value.write_scalar(f)?,
                },
            }
        }
        Ok(())
    }
}

/// An aggregate as it is written.
type Pieces<'v> = Box<dyn Iterator<Item = Piece<'v>> + 'v>;

enum Piece<'v> {
    /// The beginning of an element: indentation, index, and the mark after the number.
    Mark(usize, usize, &'static str),
    /// Between a key and its value.
    Arrow,
    Value(usize, &'v Value),
}

impl Value {
    /// Returns the pieces of an aggregate that is not empty.
    fn pieces(&self, indent: usize) -> Option<Pieces<'_>> {
        let part = move |value| Piece::Value(indent + 3, value);
        let (values, mark) = match self {
            Value::Array(values) if !values.is_empty() => (values, ")"),
            Value::Set(values) if !values.is_empty() => (values, "~"),
            Value::Push(values) if !values.is_empty() => (values, ">"),
            Value::Map(pairs) if !pairs.is_empty() => {
                return Some(Box::new(pairs.iter().enumerate().flat_map(
                    move |(i, (key, value))| {
                        [Piece::Mark(indent, i, "#"), part(key), Piece::Arrow, part(value)]
                    },
                )));
            }
            _ => return None,
        };
        let element = move |(i, value)| [Piece::Mark(indent, i, mark), part(value)];
        Some(Box::new(values.iter().enumerate().flat_map(element)))
    }

    fn write_scalar(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("(nil)"),
            Value::Boolean(value) => write!(f, "({value})"),
            Value::Integer(value) => write!(f, "(integer) {value}"),
            Value::Double(value) => write!(f, "(double) {value}"),
            Value::BigNumber(digits) => write!(f, "(big number) {}", Text(digits)),
            Value::Simple(text) => write!(f, "{}", Text(text)),
            Value::Bulk(data) => write!(f, "\"{}\"", data.escape_ascii()),
            Value::Verbatim(_, text) => write_lines(f, text),
            Value::Error(text) => write!(f, "(error) {}", Text(text)),
            Value::Array(_) | Value::Set(_) | Value::Push(_) | Value::Map(_) => {
                f.write_str("(empty)")
            }
        }
    }

    /// Takes the values in an aggregate.
    fn take_values(&mut self) -> Vec<Value> {
        match self {
            Value::Array(values) | Value::Set(values) | Value::Push(values) => take(values),
            Value::Map(pairs) => take(pairs).into_iter().flat_map(<[Value; 2]>::from).collect(),
            _ => Vec::new(),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let mut open = Vec::from_iter(Some(self.take_values()).filter(|values| !values.is_empty()));
        while let Some(values) = open.last_mut() {
            match values.pop() {
                None => drop(open.pop()),
                Some(mut value) => open.push(value.take_values()),
            }
        }
    }
}

/// Writes text of several lines, which may end with CR LF.
fn write_lines(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    for (i, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let end = if i > 0 { "\n" } else { "" };
        write!(f, "{end}{}", Text(line.strip_suffix(b"\r").unwrap_or(line)))?;
    }
    Ok(())
}

/// Text for a terminal: control characters and invalid UTF-8 are escaped.
pub struct Text<'t>(pub &'t [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }?;
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid reply: {}", self.0)
    }
}

/// The depth to which values are nested. A script of a server ends where Lua does, at 8,000
/// values on its stack.
pub const MAX_DEPTH: usize = 8_000;
