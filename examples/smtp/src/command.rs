//! The commands of SMTP (RFC 5321, section 4.1.1), parsed strictly.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A line of the server, without its CR LF.
pub type Reply = &'static str;

#[derive(Debug, PartialEq)]
pub enum Command<'l> {
    Helo(&'l str),
    Ehlo(&'l str),
    /// The sender, empty for `<>`, and the size that was declared, or 0.
    Mail(&'l str, u64),
    Rcpt(&'l str),
    Data,
    Rset,
    Noop,
    Vrfy,
    Help,
    StartTls,
    Quit,
}

impl<'l> Command<'l> {
    /// Reads a line. An error is what to answer.
    pub fn parse(line: &'l [u8]) -> Result<Self, Reply> {
        if !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            // A bare CR is one of these.
            return Err("500 5.5.2 only printable ASCII allowed");
        }
        let line = std::str::from_utf8(line).unwrap_or_default().trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (verb.to_ascii_uppercase().as_str(), rest) {
            ("HELO", name) if is_client(name) => Ok(Command::Helo(name)),
            ("EHLO", name) if is_client(name) => Ok(Command::Ehlo(name)),
            ("HELO" | "EHLO", _) => Err("501 5.5.4 host name required"),
            ("MAIL", rest) => mail(rest),
            ("RCPT", rest) => rcpt(rest),
            ("DATA", "") => Ok(Command::Data),
            ("RSET", "") => Ok(Command::Rset),
            ("STARTTLS", "") => Ok(Command::StartTls),
            ("QUIT", "") => Ok(Command::Quit),
            ("DATA" | "RSET" | "STARTTLS" | "QUIT", _) => Err("501 5.5.4 no parameters allowed"),
            ("NOOP", _) => Ok(Command::Noop),
            ("HELP", _) => Ok(Command::Help),
            ("VRFY", "") => Err("501 5.5.4 whom?"),
            ("VRFY", _) => Ok(Command::Vrfy),
            ("EXPN", _) => Err("502 5.5.1 not implemented"),
            _ => Err("500 5.5.1 unknown command"),
        }
    }
}

fn mail(rest: &str) -> Result<Command<'_>, Reply> {
    let path = after(rest, "FROM:").ok_or("501 5.5.4 MAIL FROM:<address>, please")?;
    let path = path.trim_start();
    let (sender, parameters) = match path.strip_prefix("<>") {
        Some(parameters) => ("", parameters),
        None => mailbox(path).ok_or(BAD_SENDER)?,
    };
    let mut declared = 0;
    for parameter in words(parameters).ok_or(BAD_SENDER)? {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (name.to_ascii_uppercase().as_str(), value) {
            ("SIZE", size) => declared = number(size).ok_or("501 5.5.4 bad SIZE")?,
            ("BODY", body) if is_one_of(body, &["7BIT", "8BITMIME"]) => {}
            ("BODY", _) => return Err("501 5.5.4 bad BODY"),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    Ok(Command::Mail(sender, declared))
}

fn rcpt(rest: &str) -> Result<Command<'_>, Reply> {
    let path = after(rest, "TO:").ok_or("501 5.5.4 RCPT TO:<address>, please")?;
    let path = path.trim_start();
    // The one address that every server has, whatever its domain.
    let (recipient, parameters) = match path.split_once('>') {
        Some((postmaster, rest)) if is_one_of(postmaster, &["<postmaster"]) => ("postmaster", rest),
        _ => mailbox(path).ok_or(BAD_RECIPIENT)?,
    };
    match words(parameters).ok_or(BAD_RECIPIENT)?.next() {
        None => Ok(Command::Rcpt(recipient)),
        Some(_) => Err(UNKNOWN_PARAMETER),
    }
}

/// Splits `<local@domain>` from the text after it.
fn mailbox(path: &str) -> Option<(&str, &str)> {
    let mut path = path.strip_prefix('<')?;
    if path.starts_with('@') {
        // A source route: nobody uses it, everybody has to accept it.
        let (route, rest) = path.split_once(':')?;
        if !route.split(',').all(|hop| hop.strip_prefix('@').is_some_and(is_host)) {
            return None;
        }
        path = rest;
    }
    let local = local_part(path)?;
    let (domain, rest) = path[local.len()..].strip_prefix('@')?.split_once('>')?;
    let mailbox = &path[..local.len() + 1 + domain.len()];
    (local.len() <= 64 && is_host(domain)).then_some((mailbox, rest))
}

/// Returns the words with dots between them, or the quoted string, that `text` begins with.
fn local_part(text: &str) -> Option<&str> {
    if !text.starts_with('"') {
        let local = &text[..text.find('@')?];
        let is_atom =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_atom);
        return local.split('.').all(is_word).then_some(local);
    }
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(&text[..=at]),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// Returns whether this can be the name of a client. Some end theirs in a dot, as in DNS.
fn is_client(name: &str) -> bool {
    is_host(name.strip_suffix('.').unwrap_or(name))
}

/// Returns whether this is a domain or an address in brackets.
fn is_host(name: &str) -> bool {
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match after(literal, "IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => literal.parse::<Ipv4Addr>().is_ok(),
        };
    }
    // The underscore is for machines that are called so, though they should not.
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(is_inner)
    };
    name.len() <= 255 && name.split('.').all(is_label)
}

/// Returns the words of `text`, which is empty or begins with a space.
fn words(text: &str) -> Option<impl Iterator<Item = &str>> {
    (text.is_empty() || text.starts_with(' ')).then(|| text.split(' ').filter(|w| !w.is_empty()))
}

/// Returns the text after `keyword`, in capitals or not.
fn after<'t>(text: &'t str, keyword: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(keyword.len())?;
    head.eq_ignore_ascii_case(keyword).then_some(rest)
}

fn is_one_of(text: &str, keywords: &[&str]) -> bool {
    keywords.iter().any(|keyword| text.eq_ignore_ascii_case(keyword))
}

/// Reads digits and nothing else. A number past 64 bits is large enough.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

const BAD_SENDER: Reply = "501 5.1.7 bad sender address";
const BAD_RECIPIENT: Reply = "501 5.1.3 bad recipient address";
const UNKNOWN_PARAMETER: Reply = "555 5.5.4 unknown parameter";
