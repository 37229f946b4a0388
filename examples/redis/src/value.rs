//! RESP, the protocol of Redis: values, and a parser that is told what has
//! arrived and says what to read next. It does no I/O.

use bytes::Bytes;
use std::fmt;

/// What a server can say, in RESP2 or RESP3.
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
    /// A bulk string, and what is in it: `txt` or `mkd`.
    Verbatim(Bytes, Bytes),
    Error(Bytes),
    Array(Vec<Value>),
    Set(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// Not the answer to anything: a message of pub/sub, for example.
    Push(Vec<Value>),
}

/// What to read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Up to CR LF.
    Line,
    /// As many bytes, and the CR LF behind them.
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

/// What a line or a bulk string has led to.
pub enum Parsed {
    /// There is more to this value.
    Incomplete(Next),
    Value(Value),
}

/// Puts values together.
pub struct Parser {
    /// The aggregates that have begun, from the outermost on.
    open: Vec<Aggregate>,
    /// What the value has cost so far, and may cost.
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
    /// Said about the value that follows, and skipped.
    Attribute,
}

impl Parser {
    pub fn new(max_size: u64) -> Self {
        Parser { open: Vec::new(), size: 0, max_size }
    }

    /// Whether part of an aggregate has come.
    pub fn has_begun(&self) -> bool {
        !self.open.is_empty()
    }

    /// A line, without its end.
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
            b'(' => Value::BigNumber(text()),
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

    /// A bulk string, with the CR LF behind it.
    pub fn bulk(&mut self, kind: BulkKind, mut data: Bytes) -> Result<Parsed, Invalid> {
        if !data.ends_with(b"\r\n") {
            return Err(Invalid("no line end behind a bulk string"));
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

fn parse<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Much as `redis-cli` writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Value {
    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        match self {
            Value::Null => f.write_str("(nil)"),
            Value::Boolean(value) => write!(f, "({value})"),
            Value::Integer(value) => write!(f, "(integer) {value}"),
            Value::Double(value) => write!(f, "(double) {value}"),
            Value::BigNumber(digits) => write!(f, "(big number) {}", Text(digits)),
            Value::Simple(text) => write!(f, "{}", Text(text)),
            Value::Bulk(data) => write!(f, "\"{}\"", data.escape_ascii()),
            Value::Verbatim(_, text) => {
                let mut lines = text.split(|&byte| byte == b'\n').enumerate();
                lines.try_for_each(|(i, line)| {
                    let end = if i > 0 { "\n" } else { "" };
                    write!(f, "{end}{}", Text(line))
                })
            }
            Value::Error(text) => write!(f, "(error) {}", Text(text)),
            Value::Array(values) => write_all(f, indent, ")", values.iter()),
            Value::Set(values) => write_all(f, indent, "~", values.iter()),
            Value::Push(values) => write_all(f, indent, ">", values.iter()),
            Value::Map(pairs) if pairs.is_empty() => f.write_str("(empty)"),
            Value::Map(pairs) => {
                for (i, (key, value)) in pairs.iter().enumerate() {
                    begin_line(f, indent, i, "#")?;
                    key.write(f, indent + 3)?;
                    f.write_str(" => ")?;
                    value.write(f, indent + 3)?;
                }
                Ok(())
            }
        }
    }
}

/// Text for a terminal: what could move its cursor is escaped.
pub struct Text<'t>(pub &'t [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0).chars().try_for_each(|c| match c {
            _ if c.is_control() => write!(f, "{}", c.escape_default()),
            _ => write!(f, "{c}"),
        })
    }
}

fn write_all<'v>(
    f: &mut fmt::Formatter<'_>,
    indent: usize,
    mark: &str,
    values: impl ExactSizeIterator<Item = &'v Value>,
) -> fmt::Result {
    if values.len() == 0 {
        return f.write_str("(empty)");
    }
    for (i, value) in values.enumerate() {
        begin_line(f, indent, i, mark)?;
        value.write(f, indent + 3)?;
    }
    Ok(())
}

/// The first one stands where the writer is, the others below it.
fn begin_line(f: &mut fmt::Formatter<'_>, indent: usize, i: usize, mark: &str) -> fmt::Result {
    if i > 0 {
        write!(f, "\n{:indent$}", "")?;
    }
    write!(f, "{}{mark} ", i + 1)
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not what a Redis server says: {}", self.0)
    }
}

/// Deeper than any reply of a server, and no danger to the stack.
const MAX_DEPTH: usize = 32;
