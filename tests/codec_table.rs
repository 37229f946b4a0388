//! The framing rules as a table: each row is played whole, at every split into
//! two and in small pieces; in whole and in streaming mode; through `decode`,
//! `decode_slice`, `Channel` and `FramedRead`; and beside the oracle.

mod common;

use asynchat::{Error, Frame, FrameRef, Terminator, TerminatorCodec};
use bytes::BytesMut;
use common::{Change, Ending, Event, Measure, Session, Term};
use std::collections::HashSet;
use tokio_util::codec::Decoder;

/// A longer frame cannot be held, and is too long for any limit.
const LONGEST: u64 = usize::MAX as u64;

struct Row {
    name: &'static str,
    session: Session,
    modes: &'static [bool],
    input: Vec<u8>,
    wants: Vec<Want>,
}

/// An event of a row.
enum Want {
    /// A frame; what ended it is left to the oracle.
    Frame(Vec<u8>),
    /// A frame and what ended it.
    By(Vec<u8>, Vec<u8>),
    TooLong(usize),
    /// A message, and how much of it is the head.
    Message(Vec<u8>, usize),
    InvalidHead,
    Rest(Vec<u8>),
    /// The same, and how much of it is a head.
    RestOf(Vec<u8>, usize),
}

fn f(data: impl AsRef<[u8]>) -> Want {
    Want::Frame(data.as_ref().to_vec())
}

fn by(data: impl AsRef<[u8]>, ended_by: impl AsRef<[u8]>) -> Want {
    Want::By(data.as_ref().to_vec(), ended_by.as_ref().to_vec())
}

fn long(limit: usize) -> Want {
    Want::TooLong(limit)
}

fn m(data: impl AsRef<[u8]>, head: usize) -> Want {
    Want::Message(data.as_ref().to_vec(), head)
}

fn rest(data: impl AsRef<[u8]>) -> Want {
    Want::Rest(data.as_ref().to_vec())
}

const WHOLE: &[bool] = &[false];
const STREAMING: &[bool] = &[true];
const BOTH: &[bool] = &[false, true];

fn row(
    name: &'static str,
    term: impl Into<Term>,
    input: impl AsRef<[u8]>,
    wants: impl Into<Vec<Want>>,
) -> Row {
    let wants = wants.into();
    let session = Session {
        term: term.into(),
        streaming: false,
        max_length: TerminatorCodec::DEFAULT_MAX_LENGTH,
        max_head: 64 * 1024,
        keep: false,
        script: vec![],
    };
    // In streaming mode no frame is too long.
    let modes =
        if wants.iter().any(|want| matches!(want, Want::TooLong(_))) { WHOLE } else { BOTH };
    Row { name, session, modes, input: input.as_ref().to_vec(), wants }
}

impl Row {
    fn limit(mut self, max_length: usize) -> Self {
        self.session.max_length = max_length;
        self
    }

    fn max_head(mut self, max_head: usize) -> Self {
        self.session.max_head = max_head;
        self
    }

    fn keep(mut self) -> Self {
        self.session.keep = true;
        self
    }

    fn only(mut self, modes: &'static [bool]) -> Self {
        self.modes = modes;
        self
    }

    /// What is set after the next frame or error.
    fn then(self, term: impl Into<Term>) -> Self {
        self.change(Change { term: Some(term.into()), ..Change::default() })
    }

    /// After the next frame or error, nothing.
    fn stay(self) -> Self {
        self.change(Change::default())
    }

    fn change(mut self, change: Change) -> Self {
        self.session.script.push(change);
        self
    }
}

#[track_caller]
fn check(rows: Vec<Row>) {
    for row in rows {
        check_row(row);
    }
}

#[track_caller]
fn check_row(mut row: Row) {
    let name = row.name;
    for &streaming in row.modes {
        row.session.streaming = streaming;
        let expected = common::oracle(&row.session, &row.input);
        let agrees = expected.events.len() == row.wants.len()
            && expected.events.iter().zip(&row.wants).all(|pair| match pair {
                (Event::Frame { data, .. }, Want::Frame(want)) => data == want,
                (Event::Frame { data, ended_by, head: 0 }, Want::By(want, by)) => {
                    data == want && ended_by == by
                }
                (Event::Frame { data, head, .. }, Want::Message(want, at)) => {
                    data == want && head == at
                }
                (Event::InvalidHead, Want::InvalidHead) => true,
                (Event::TooLong(limit), Want::TooLong(want)) => limit == want,
                (Event::Rest(data, 0), Want::Rest(want)) => data == want,
                (Event::Rest(data, head), Want::RestOf(want, at)) => data == want && head == at,
                _ => false,
            });
        assert!(agrees, "row \"{name}\" and the oracle differ, oracle: {:?}", expected.events);
        for cuts in common::all_cuts(row.input.len()) {
            if let Err(e) = common::play_all(&row.session, &row.input, &cuts, &expected) {
                let mode = if streaming { "streaming" } else { "whole" };
                panic!("row \"{name}\", {mode} mode, cut at {cuts:?}: {e}");
            }
        }
    }
}

#[test]
fn byte_strings() {
    check(patterns());
}

fn patterns() -> Vec<Row> {
    let x = |n: usize| "x".repeat(n);
    vec![
        row("no input at all", "\r\n", "", []),
        row("only a terminator is an empty frame", "\r\n", "\r\n", [by("", "\r\n")]),
        row("three empty frames", "\n", "\n\n\n", [f(""), f(""), f("")]),
        row("one byte", "\n", "one\ntwo\n", [by("one", "\n"), f("two")]),
        row("one byte, the rest unfinished", "\n", "one\ntw", [f("one"), rest("tw")]),
        row("CRLF", "\r\n", "one\r\ntwo\r\n", [f("one"), f("two")]),
        row("CRLF at the start", "\r\n", "\r\none\r\n", [f(""), f("one")]),
        row("an empty frame in the middle", "\r\n", "a\r\n\r\nb\r\n", [f("a"), f(""), f("b")]),
        row("no terminator in the input", "\r\n", "hello", [rest("hello")]),
        row("a bare LF is not CRLF", "\r\n", "a\nb\r\n", [f("a\nb")]),
        row("a bare CR is not CRLF", "\r\n", "a\rb\r\n", [f("a\rb")]),
        row("LF CR is not CRLF", "\r\n", "a\n\rb\r\n", [f("a\n\rb")]),
        row("CR CR LF: the first CR is content", "\r\n", "a\r\r\n", [f("a\r")]),
        row("many CRs, then LF", "\r\n", "\r\r\r\r\r\n", [f("\r\r\r\r")]),
        row("a held CR at the end of input", "\r\n", "ab\r", [rest("ab\r")]),
        row("nothing but a held CR", "\r\n", "\r", [rest("\r")]),
        row("LF keeps the CR", "\n", "a\r\n", [f("a\r")]),
        row("aab in aaab", "aab", "aaab", [f("a")]),
        row("aab in aaaab and aab", "aab", "aaaabaab", [f("aa"), f("")]),
        row("aab: held aa at the end of input", "aab", "xaaa", [rest("xaaa")]),
        row("abab in ababab", "abab", "ababab", [f(""), rest("ab")]),
        row("ababc in abababc", "ababc", "abababc", [f("ab")]),
        row("aaaab in aaaaaab", "aaaab", "aaaaaab", [f("aa")]),
        row("abcabd in abcabcabd", "abcabd", "abcabcabd", [f("abc")]),
        row("aa in aaaa", "aa", "aaaa", [f(""), f("")]),
        row("aa in aaa", "aa", "aaa", [f(""), rest("a")]),
        row("aa in baaab", "aa", "baaab", [f("b"), rest("ab")]),
        row("two LF in three", "\n\n", "a\n\n\nb\n\n", [f("a"), f("\nb")]),
        row("two LF in four", "\n\n", "a\n\n\n\n", [f("a"), f("")]),
        row("dot lines that share a CRLF", "\r\n.\r\n", "a\r\n.\r\n.\r\n", [f("a"), rest(".\r\n")]),
        row("dot line behind CRLF", "\r\n.\r\n", "a\r\n\r\n.\r\n", [f("a\r\n")]),
        row("dot line behind its own prefix", "\r\n.\r\n", "a\r\n.\r\r\n.\r\n", [f("a\r\n.\r")]),
        row("a blank line", "\r\n\r\n", "a: b\r\n\r\nbody", [f("a: b"), rest("body")]),
        row("CRLF CR CRLF CRLF is found late", "\r\n\r\n", "\r\n\r\r\n\r\n", [f("\r\n\r")]),
        row("zero bytes", vec![0, 0], b"a\0b\0\0c\0\0", [f(b"a\0b"), f("c")]),
        row("zero before a short pattern", vec![0, 1], b"\x01\0\0\x01", [f(b"\x01\0")]),
        row("a single zero byte", vec![0], b"\0a\0", [f(""), f("a")]),
        row("high bytes", vec![0xff, 0xfe], b"\xff\xff\xfe\xfe", [f(b"\xff"), rest(b"\xfe")]),
        row("three bytes", "END", "ENEND.END", [f("EN"), f(".")]),
        row("five bytes", "=====", "a==========", [f("a"), f("")]),
        row("seven bytes", "1234567", "12345612345671234567", [f("123456"), f("")]),
        row(
            "eight bytes, the longest inline",
            "12345678",
            "1212345678.12345678",
            [f("12"), f(".")],
        ),
        row(
            "nine bytes, the first not inline",
            "123456789",
            "1212345678123456789",
            [f("1212345678")],
        ),
        row("nine equal bytes", x(9).as_str(), x(28), [f(""), f(""), f(""), rest("x")]),
        row("eight equal bytes", x(8).as_str(), x(23), [f(""), f(""), rest(x(7))]),
        row(
            "17 bytes with borders",
            "abaababaabaababaa",
            "abaababaabaabaababaabaababaa!",
            [f("abaababaaba"), rest("!")],
        ),
        row(
            "17 bytes, half of them twice",
            "0123456789abcdefg",
            "01234567890123456789abcdefg",
            [f("0123456789")],
        ),
        row(
            "17 bytes, held at the end of input",
            "0123456789abcdefg",
            "z0123456789abcdef",
            [rest("z0123456789abcdef")],
        ),
        row(
            "what was held is forgotten behind a frame",
            "123456789",
            "x123456789abcdefgh9kl",
            [f("x"), rest("abcdefgh9kl")],
        ),
        row(
            "64 bytes behind 63 of them",
            (x(63) + "y").as_str(),
            x(63) + &x(63) + "yz",
            [f(x(63)), rest("z")],
        ),
        row(
            "300 bytes",
            (x(150) + "y" + &x(149)).as_str(),
            x(160) + "y" + &x(149) + "z",
            [f(x(10)), rest("z")],
        ),
        row("300 equal bytes, and one", x(300).as_str(), x(301), [by("", x(300)), rest("x")]),
        row("a flood of last bytes", "\r\n", "\n".repeat(90) + "\r\n", [f("\n".repeat(90))]),
        row("a flood of first bytes", "\r\n", "\r".repeat(90) + "\n", [f("\r".repeat(89))]),
        row("a flood of near misses", "aab", "ab".repeat(40) + "aab", [f("ab".repeat(40))]),
        row("kept", "\r\n", "a\r\n\r\nb", [by("a\r\n", "\r\n"), f("\r\n"), rest("b")]).keep(),
        row("kept, a long one", "--boundary--", "a--boundary--", [f("a--boundary--")]).keep(),
        row("kept, in two halves", "abab", "xabaabab", [f("xabaabab")]).keep(),
    ]
}

#[test]
fn sets() {
    check(any_of());
}

fn any_of() -> Vec<Row> {
    let set = |members: &[&[u8]]| Ending::Any(members.iter().map(|m| m.to_vec()).collect());
    let hundred = Ending::Any((0..100).map(|i| format!("k{i:02};").into()).collect());
    let wide = Ending::Any((0..10).map(|i| format!("{i}{}", "w".repeat(40)).into()).collect());
    let letters = Ending::Any((b'a'..=b'z').map(|letter| vec![b'-', letter]).collect());
    let a64 = "a".repeat(64);
    vec![
        row(
            "line: CRLF and LF",
            Ending::Line,
            "a\r\nb\nc",
            [by("a", "\r\n"), by("b", "\n"), rest("c")],
        ),
        row("line: a lone CR is content", Ending::Line, "a\rb\n", [by("a\rb", "\n")]),
        row("line: CR CR LF", Ending::Line, "a\r\r\n", [by("a\r", "\r\n")]),
        row("line: LF CR LF", Ending::Line, "\n\r\n", [by("", "\n"), by("", "\r\n")]),
        row("line: LF LF", Ending::Line, "\n\n", [f(""), f("")]),
        row("line: a CR held at the end of input", Ending::Line, "a\r", [rest("a\r")]),
        row("line: nothing but a CR", Ending::Line, "\r", [rest("\r")]),
        row("line: kept", Ending::Line, "a\r\nb\n", [by("a\r\n", "\r\n"), by("b\n", "\n")]).keep(),
        row("CRLF and LF as a set", ["\r\n", "\n"], "a\r\nb\n", [by("a", "\r\n"), by("b", "\n")]),
        row(
            "LF and CRLF: the order does not matter",
            ["\n", "\r\n"],
            "a\r\nb\n\r\n",
            [by("a", "\r\n"), by("b", "\n"), by("", "\r\n")],
        ),
        row(
            "any of CR, LF, CRLF: CR ends first",
            ["\r\n", "\n", "\r"],
            "a\r\nb",
            [by("a", "\r"), by("", "\n"), rest("b")],
        ),
        row(
            "the end comes first, not the start",
            ["abcd", "bc"],
            "abcd",
            [by("a", "bc"), rest("d")],
        ),
        row("that order reversed", ["bc", "abcd"], "abcd", [by("a", "bc"), rest("d")]),
        row("the start comes first in vain", ["abcd", "c"], "abce", [by("ab", "c"), rest("e")]),
        row("ending together, the longest", ["c", "abc", "bc"], "xabc", [by("x", "abc")]),
        row("ending together, the longest last", ["c", "bc", "abc"], "xabc", [by("x", "abc")]),
        row(
            "ending together, the longest first",
            ["abc", "bc", "c"],
            "xbcc",
            [by("x", "bc"), by("", "c")],
        ),
        row(
            "ending together behind a border",
            ["aba", "ba"],
            "ababa",
            [by("", "aba"), by("", "ba")],
        ),
        row("a prefix member shadows", ["a", "ab"], "ab", [by("", "a"), rest("b")]),
        row("a prefix member shadows, reversed", ["ab", "a"], "xab", [by("x", "a"), rest("b")]),
        row(
            "CRLF shadows the dot line",
            ["\r\n.\r\n", "\r\n"],
            "a\r\n.\r\n",
            [by("a", "\r\n"), by(".", "\r\n")],
        ),
        row("a member inside another", ["abcde", "bcd"], "xabcde", [by("xa", "bcd"), rest("e")]),
        row(
            "a member inside another that never ends",
            ["abcx", "bc"],
            "abcx",
            [by("a", "bc"), rest("x")],
        ),
        row("a suffix member, alone", ["abc", "c"], "bc", [by("b", "c")]),
        row("held: the longest of all members", ["aab", "b"], "aaab", [by("a", "aab")]),
        row("held: one member goes on in another", ["abx", "bcy"], "abcy", [by("a", "bcy")]),
        row("held: three chained members", ["abx", "bcx", "cdx"], "abcdx", [by("ab", "cdx")]),
        row("held at the end of input", ["abc", "bd"], "xab", [rest("xab")]),
        row("twins", ["x", "x"], "axbx", [by("a", "x"), by("b", "x")]),
        row("twins among others", ["yx", "x", "yx"], "ayx", [by("a", "yx")]),
        row("empty members are left out", ["", "x", ""], "axb", [by("a", "x"), rest("b")]),
        row("empty members among several", ["", "x", "y"], "axby", [by("a", "x"), by("b", "y")]),
        row("only empty members is none", ["", ""], "abc", [rest("abc")]),
        row("an empty set is none", Ending::Any(vec![]), "abc", [rest("abc")]),
        row("a set of one is that one", ["ab"], "aab", [by("a", "ab")]),
        row(
            "self-overlapping members",
            ["aa", "bb"],
            "aaabbb",
            [by("", "aa"), by("a", "bb"), rest("b")],
        ),
        row(
            "a hundred members",
            hundred.clone(),
            "ak00;bk99;k9k;k42;ck1",
            [by("a", "k00;"), by("b", "k99;"), by("k9k;", "k42;"), rest("ck1")],
        ),
        row(
            "a hundred members, over the limit",
            hundred,
            "aaaak00;ak01;",
            [long(3), by("a", "k01;")],
        )
        .limit(3),
        row(
            "all letters behind a dash",
            letters,
            "a-b--c-",
            [by("a", "-b"), by("-", "-c"), rest("-")],
        ),
        row(
            "a set too large for the small automaton",
            wide,
            "a0".to_owned() + &"w".repeat(39) + "1" + &"w".repeat(41),
            [by("a0".to_owned() + &"w".repeat(39), "1".to_owned() + &"w".repeat(40)), rest("w")],
        ),
        row(
            "a long member and a short one",
            [a64.as_str(), "b"],
            "a".repeat(70) + "b",
            [by("", a64.as_bytes()), by("aaaaaa", "b")],
        ),
        row(
            "a long member that is never whole",
            [a64.as_str(), "ab"],
            "a".repeat(60) + "b",
            [by("a".repeat(59), "ab")],
        ),
        row(
            "binary members",
            set(&[b"\xff\xff", b"\0"]),
            b"\xffa\xff\xff\0",
            [by(b"\xffa", b"\xff\xff"), by("", b"\0")],
        ),
        row(
            "members of one byte",
            [",", ";", "."],
            "a,b;c.d",
            [by("a", ","), by("b", ";"), by("c", "."), rest("d")],
        ),
        row(
            "a flood of the byte all members end in",
            ["\r\n", "\r.\n"],
            "-".repeat(40) + &"\n".repeat(40) + "\r.\n--\r\n",
            [by("-".repeat(40) + &"\n".repeat(40), "\r.\n"), by("--", "\r\n")],
        ),
        row("kept, each its own", ["abc", "bc", "c"], "abcbcc", [f("abc"), f("bc"), f("c")]).keep(),
        row("from one set to another", [",", ";"], "a;b,c!", [by("a", ";"), by("b,c", "!")])
            .then([";", "!"]),
        row(
            "blank lines, strict and lenient",
            ["\r\n\r\n", "\n\n"],
            "a\r\n\r\nb\n\nc\n\r\n",
            [by("a", "\r\n\r\n"), by("b", "\n\n"), rest("c\n\r\n")],
        ),
    ]
}

#[test]
fn counts_and_none() {
    check(counts());
}

fn counts() -> Vec<Row> {
    vec![
        row("none: all is the rest", Ending::Never, "a\r\nb", [rest("a\r\nb")]),
        row("none: no input", Ending::Never, "", []),
        row("an empty byte string is none", "", "abc", [rest("abc")]),
        row("a count", 3, "abc", [by("abc", "")]),
        row("a count is spent", 3, "abcdef", [f("abc"), rest("def")]),
        row("a count of terminators", 4, "\r\n\r\n", [f("\r\n\r\n")]),
        row("a count again", 2, "abcdef", [f("ab"), f("cd"), f("ef")]).then(2).then(2),
        row("a count at the end of input", 5, "abc", [rest("abc")]),
        row("a count and no input", 5, "", []),
        row("a count of nothing", 0, "abc", [by("", ""), rest("abc")]),
        row("a count of nothing needs no input", 0, "", [f("")]),
        row("a count of nothing, three times", 0, "", [f(""), f(""), f("")]).then(0).then(0),
        row("a count of nothing at the end of input", "\n", "a\n", [f("a"), f("")]).then(0),
        row("a count of nothing between lines", "\n", "a\nb\n", [f("a"), f(""), f("b")])
            .then(0)
            .then("\n"),
        row("the longest count", LONGEST, "abc", [rest("abc")]).limit(usize::MAX),
        row("a count, then a byte string", 3, "ab\ncd\n", [by("ab\n", ""), by("cd", "\n")])
            .then("\n"),
        row("a byte string, then a count", "\n", "2\nabc", [f("2"), f("ab"), rest("c")]).then(2),
        row("a byte string, then none", "\n", "a\nb\nc", [f("a"), rest("b\nc")])
            .then(Ending::Never),
        row("a count does not strip when kept", 2, "abc\n", [f("ab"), f("c\n")]).keep().then("\n"),
        row("a count cuts a terminator in two", 2, "a\r\nb\r\n", [f("a\r"), f("\nb")]).then("\r\n"),
        row("a longer terminator takes over", "\n", "a\nb\n.\nc\n", [f("a"), f("b"), rest("c\n")])
            .then("\n.\n"),
        row("a shorter terminator takes over", "\r\n", "a\r\nb\nc\n", [f("a"), f("b"), f("c")])
            .then("\n"),
        row("the rest of a run belongs to the next", "aa", "aaaab", [f(""), f("aa")]).then("b"),
        row("a terminator set to itself", "\n", "a\nb\n", [f("a"), f("b")]).then("\n"),
        row(
            "every kind in turn",
            "\n",
            "a\nbc;dxefgh",
            [by("a", "\n"), by("bc", ";"), by("d", "x"), by("ef", ""), rest("gh")],
        )
        .then([";", ","])
        .then("x")
        .then(2)
        .then(Ending::Never),
    ]
}

#[test]
fn records_and_messages() {
    check(records());
    check(messages());
    check(numbers());
}

fn records() -> Vec<Row> {
    let every = Ending::Every;
    vec![
        row("every 2", every(2), "abcdef", [by("ab", ""), f("cd"), f("ef")]),
        row("every 2, the rest unfinished", every(2), "abc", [f("ab"), rest("c")]),
        row("every 1", every(1), "ab", [f("a"), f("b")]),
        row("every 3, and no input", every(3), "", []),
        row("every 2, kept", every(2), "a\nb", [f("a\n"), rest("b")]).keep(),
        row("every 3, above the limit", every(3), "abcdefg", [long(2), long(2), long(2)]).limit(2),
        row("every 3, at the limit", every(3), "abcdef", [f("abc"), f("def")]).limit(3),
        row("the longest record", every(LONGEST), "abc", [rest("abc")]).limit(usize::MAX),
        row("records, then lines", every(2), "abc\nd", [f("ab"), f("c"), rest("d")]).then("\n"),
        row("lines, then records", "\n", "a\nbcde", [f("a"), f("bc"), f("de")]).then(every(2)),
        row("an over-long record, then lines", every(4), "abcde\n", [long(3), f("e")])
            .limit(3)
            .then("\n"),
    ]
}

fn messages() -> Vec<Row> {
    let line = || common::message("\n");
    let two = || common::message(2);
    vec![
        row("a body", line(), "3\nabc2\nde", [m("3\nabc", 2), m("2\nde", 2)]),
        row("a body of nothing", line(), "0\n0\n", [m("0\n", 2), m("0\n", 2)]),
        row("a body at the end of input", line(), "3\nab", [Want::RestOf(b"3\nab".into(), 2)]),
        row("a head at the end of input", line(), "3", [rest("3")]),
        row("no input", line(), "", []),
        row("a length in all", line(), "E\nabJ\n1234567", [m("E\nab", 2), m("J\n1234567", 2)]),
        row("a length in all, of the head", line(), "C\n0\n", [m("C\n", 2), m("0\n", 2)]),
        row("a length below the head", line(), "B\nab", [Want::InvalidHead]),
        row("a length of nothing", line(), "A\nab", [Want::InvalidHead]),
        row("a head without a length", line(), "0\nxy\nab", [m("0\n", 2), Want::InvalidHead]),
        row("a head of a count", two(), "x2abx1c", [m("x2ab", 2), m("x1c", 2)]),
        row("more of the head", two(), "x+1ax*y2bc", [m("x+1a", 3), m("x*y2bc", 4)]),
        row("more of the head, many times", two(), "x++++0x0", [m("x++++0", 6), m("x0", 2)]),
        row("more of the head at the end", two(), "x0x+", [m("x0", 2), rest("x+")]),
        row("no more of the head", two(), "x-ab", [Want::InvalidHead]),
        row("a head of no bytes", common::message(0), "ab", [Want::InvalidHead]),
        row("a head of no bytes, and no input", common::message(0), "", []),
        row("a head that ends at nothing", common::message(""), "ab", [Want::InvalidHead]),
        row(
            "a set ends the head",
            common::message(["\n\n", "|"]),
            "1\n\na0|",
            [m("1\n\na", 3), m("0|", 2)],
        ),
        row(
            "a line ends the head",
            common::message(Ending::Line),
            "1\r\na0\n",
            [m("1\r\na", 3), m("0\n", 2)],
        ),
        row("a terminator in the body", line(), "3\n\n\n\n0\n", [m("3\n\n\n\n", 2), m("0\n", 2)]),
        row("keeping does not matter", line(), "1\na0\n", [m("1\na", 2), m("0\n", 2)]).keep(),
        #[cfg(target_pointer_width = "64")]
        row("the longest body", line(), "~\nab", [Want::RestOf(b"~\nab".into(), 2)])
            .limit(usize::MAX),
        row("a message at the limit", line(), "3\nabc0\n", [m("3\nabc", 2), m("0\n", 2)]).limit(5),
        row("a message above the limit is skipped", line(), "3\n\nbc1\na", [long(4), m("1\na", 2)])
            .limit(4),
        row("a message far above the limit", line(), "~\nabc", [long(4)]).limit(4),
        row("a head at its limit", line(), "xx0\n", [m("xx0\n", 4)]).max_head(4),
        row("a head above its limit", line(), "xxx0\nab", [Want::InvalidHead]).max_head(4),
        row("a head above the limit of all", line(), "xxx0\nab", [Want::InvalidHead]).limit(4),
        row("a head above its limit, unfinished", line(), "xxxx", [Want::InvalidHead]).max_head(4),
        row("a head held at its limit", common::message("\r\n\r\n"), "abc\r\n", [rest("abc\r\n")])
            .max_head(4),
        row("a head of a count above its limit", two(), "x", [Want::InvalidHead]).max_head(1),
        row("more of the head above its limit", two(), "x+", [Want::InvalidHead]).max_head(2),
        row("a message, then lines", line(), "1\nab\nc", [m("1\na", 2), f("b"), rest("c")])
            .then("\n"),
        row("lines, then a message", "\n", "a\n1\nb0\n", [f("a"), m("1\nb", 2), m("0\n", 2)])
            .then(line()),
        row("a count, then a message", 1, "a1\nb", [f("a"), m("1\nb", 2)]).then(line()),
        row("a message, then another", line(), "1\nax1b", [m("1\na", 2), m("x1b", 2)]).then(two()),
        row("an over-long message, then lines", line(), "3\nabcd\n", [long(4), f("d")])
            .limit(4)
            .then("\n"),
    ]
}

fn numbers() -> Vec<Row> {
    let number = |head, width, little, offset, counted| {
        common::length(head, Measure::Length { width, little, offset, counted })
    };
    let be = |width: u8| number(width.into(), width, false, 0, 0);
    let le = |width: u8| number(width.into(), width, true, 0, 0);
    vec![
        row(
            "a length of one byte",
            be(1),
            b"\x02ab\0\x01",
            [m(b"\x02ab", 1), m(b"\0", 1), Want::RestOf(b"\x01".into(), 1)],
        ),
        row("two bytes", be(2), b"\0\x02ab\0", [m(b"\0\x02ab", 2), rest(b"\0")]),
        row("a length of three bytes", be(3), b"\0\0\x01a", [m(b"\0\0\x01a", 3)]),
        row("four bytes", be(4), b"\0\0\0\x01a\0\0\0\0", [m(b"\0\0\0\x01a", 4), m(b"\0\0\0\0", 4)]),
        row("eight bytes", be(8), b"\0\0\0\0\0\0\0\x01a", [m(b"\0\0\0\0\0\0\0\x01a", 8)]),
        row("the least first", le(2), b"\x01\0a", [m(b"\x01\0a", 2)]),
        row("three bytes, the least first", le(3), b"\x01\0\0a", [m(b"\x01\0\0a", 3)]),
        row(
            "eight bytes, the least first",
            le(8),
            b"\x01\0\0\0\0\0\0\0a",
            [m(b"\x01\0\0\0\0\0\0\0a", 8)],
        ),
        row("within a head", number(5, 2, false, 2, 0), b"ab\0\x01cX", [m(b"ab\0\x01cX", 5)]),
        row(
            "that counts itself",
            number(5, 4, false, 1, 4),
            b"Q\0\0\0\x05x",
            [m(b"Q\0\0\0\x05x", 5)],
        ),
        row(
            "that counts the whole head",
            number(2, 2, true, 0, 2),
            b"\x02\0\x03\0a",
            [m(b"\x02\0", 2), m(b"\x03\0a", 2)],
        ),
        row("below what it counts", number(2, 2, true, 0, 2), b"\x01\0a", [Want::InvalidHead]),
        row("2^63", be(8), b"\x80\0\0\0\0\0\0\0a", [long(9)]).limit(9),
        row("2^64 - 1", be(8), b"\xff\xff\xff\xff\xff\xff\xff\xffa", [long(9)]).limit(9),
        row("a negative number of four bytes", be(4), b"\xff\xff\xff\xffa", [long(9)]).limit(9),
        row(
            "the whole head of a length above its limit",
            be(4),
            b"\0\0\0\x01a",
            [Want::InvalidHead],
        )
        .max_head(3),
        row("the head of a length above its limit", be(4), b"\0", [Want::InvalidHead]).max_head(3),
    ]
}

#[test]
fn over_long_frames() {
    check(limits());
}

fn limits() -> Vec<Row> {
    vec![
        row("exactly the limit", "\r\n", "abc\r\n", [f("abc")]).limit(3),
        row("one over", "\r\n", "abcd\r\nok\r\n", [long(3), f("ok")]).limit(3),
        row("the limit and half a terminator", "\r\n", "abc\r", [rest("abc\r")]).limit(3),
        row("half a terminator that was content", "\r\n", "abc\rd\r\n", [long(3)]).limit(3),
        row("half a terminator at the limit is content", "\r\n", "ab\rc\r\n", [long(3)]).limit(3),
        row("half a terminator below the limit", "\r\n", "a\rc\r\n", [f("a\rc")]).limit(3),
        row("CR CR LF at the limit", "\r\n", "abc\r\r\n", [long(3)]).limit(3),
        row(
            "the limit and 16 of 17 bytes",
            "0123456789abcdefg",
            "abc0123456789abcdefg",
            [f("abc")],
        )
        .limit(3),
        row("16 of 17 bytes, then not", "0123456789abcdefg", "abc0123456789abcdef.", [long(3)])
            .limit(3),
        row("the limit and what is held at the end", "12345", "abc1234", [rest("abc1234")])
            .limit(3),
        row("limit 0: only empty frames", "\n", "\na\n\n", [f(""), long(0), f("")]).limit(0),
        row("limit 0 and a held prefix", "\r\n", "\r\n\r", [f(""), rest("\r")]).limit(0),
        row(
            "the terminator does not count when kept",
            "\r\n",
            "abc\r\nabcd\r\n",
            [f("abc\r\n"), long(3)],
        )
        .limit(3)
        .keep(),
        row("far over", "\n", "x".repeat(50) + "\nok\n", [long(3), f("ok")]).limit(3),
        row(
            "the skip ends at a terminator cut in two",
            "\r\n",
            "abcdefgh\r\r\nok\r\n",
            [long(3), f("ok")],
        )
        .limit(3),
        row(
            "the skip passes half terminators",
            "\r\n.\r\n",
            "abcde\r\n.\r.\r\n\r\n.\r\nok\r\n.\r\n",
            [long(3), f("ok")],
        )
        .limit(3),
        row("the skip passes a self-overlap", "aab", "xxxxaaaaabokaab", [long(3), f("ok")])
            .limit(3),
        row(
            "several over-long in a row",
            "\n",
            "aaaa\nbbbbb\nc\ndddddd\n",
            [long(3), long(3), f("c"), long(3)],
        )
        .limit(3),
        row("over-long at the end of input", "\n", "ok\nabcdef", [f("ok"), long(3)]).limit(3),
        row("over-long, with a prefix held at the end", "\r\n", "abcdef\r", [long(3)]).limit(3),
        row("over-long, and the input ends there", "\n", "abcd\n", [long(3)]).limit(3),
        row(
            "over-long line",
            Ending::Line,
            "abcd\r\nok\nabcd\nabc\r\n",
            [long(3), by("ok", "\n"), long(3), by("abc", "\r\n")],
        )
        .limit(3),
        row("line: CR at the limit", Ending::Line, "abc\rd\n", [long(3)]).limit(3),
        row("a set at the limit", ["END", "."], "abcEND", [by("abc", "END")]).limit(3),
        row("a set over the limit", ["END", "."], "abcENx.ok.", [long(3), by("ok", ".")]).limit(3),
        row(
            "a set whose short member saves the frame",
            ["abcd", "c"],
            "xxabcok",
            [by("xxab", "c"), rest("ok")],
        )
        .limit(4),
        row(
            "a set: of those ending together the longest",
            ["d", "bcd"],
            "xxxbcd",
            [by("xxx", "bcd")],
        )
        .limit(3),
        row("a count at the limit", 3, "abcd", [f("abc"), rest("d")]).limit(3),
        row("a count over the limit", 4, "abcdef", [long(3), rest("ef")]).limit(3),
        row("a count over the limit needs no input", 4, "", [long(3)]).limit(3),
        row("a count over the limit, and a line behind it", 4, "abcdok\n", [long(3), f("ok")])
            .limit(3)
            .then("\n"),
        row("a count over the limit, cut off", 9, "abc", [long(3)]).limit(3).then("\n"),
        row("a count over the limit ends with the input", 4, "abcd", [long(3)]).limit(3).then("\n"),
        row("two counts over the limit", 4, "abcdefghok", [long(3), long(3), f("ok")])
            .limit(3)
            .then(4)
            .then(2),
        row("a count of nothing behind a skip", "\n", "abcd\nx", [long(3), f(""), rest("x")])
            .limit(3)
            .then(0),
        row("a count of nothing while the input ends in a skip", "\n", "abcdef", [long(3)])
            .limit(3)
            .then(0),
        row("limit 0 and counts", 0, "ab\n", [f(""), long(0), rest("b\n")]).limit(0).then(1),
        row("the old terminator ends the skip", "\r\n", "abcd\nx\r\nok\n", [long(3), f("ok")])
            .limit(3)
            .then("\n"),
        row(
            "a count set while skipping",
            "\r\n",
            "abcd1234\r\nokgo",
            [long(3), f("ok"), rest("go")],
        )
        .limit(3)
        .then(2),
        row("none set while skipping", "\r\n", "abcdef\r\nrest\r\n", [long(3), rest("rest\r\n")])
            .limit(3)
            .then(Ending::Never),
        row(
            "a long pattern set while skipping",
            "\n",
            "abcd123456789\nok123456789",
            [long(3), f("ok")],
        )
        .limit(3)
        .then("123456789"),
        row("a set while skipping", "ab", "xxxxaab,ok;", [long(3), by("", ","), by("ok", ";")])
            .limit(3)
            .then([",", ";"]),
        row("a count skipped under another terminator", 5, "a\nb\ncok\n", [long(3), f("ok")])
            .limit(3)
            .then("\n"),
        row(
            "the limit raised while skipping",
            "\n",
            "abcd\nabcd\nabcdefghi\n",
            [long(3), f("abcd"), long(8)],
        )
        .limit(3)
        .change(Change { max_length: Some(8), ..Change::default() }),
        row("the limit lowered after a frame", "\n", "abcd\nabcd\n", [f("abcd"), long(3)])
            .limit(8)
            .change(Change { max_length: Some(3), ..Change::default() }),
        row(
            "what a skip held is forgotten behind it",
            "123456789",
            "xxxx123456789abcdefgh9kl",
            [long(3), rest("abcdefgh9kl")],
        )
        .limit(3)
        .change(Change { max_length: Some(64), ..Change::default() }),
        row("streaming from the next frame on", "\n", "abcd\nabcd\n", [long(3), f("abcd")])
            .limit(3)
            .change(Change { streaming: Some(true), ..Change::default() }),
        row("whole from the next frame on", "\n", "abcd\nabcd\n", [f("abcd"), long(3)])
            .limit(3)
            .only(STREAMING)
            .change(Change { streaming: Some(false), ..Change::default() }),
        row("keep from the next frame on", "\n", "a\nb\n", [f("a"), f("b\n")])
            .change(Change { keep: Some(true), ..Change::default() }),
        row("streaming has no limit", "\n", "abcdef\nabc\n", [f("abcdef"), f("abc")])
            .limit(3)
            .only(STREAMING),
        row("a streamed count has no limit", 5, "abcdefg", [f("abcde"), rest("fg")])
            .limit(3)
            .only(STREAMING),
        row("none has no limit", Ending::Never, "abcdef", [rest("abcdef")]).limit(3),
        row("no limit", "\n", "x".repeat(99) + "\n", [f("x".repeat(99))]).limit(usize::MAX),
    ]
}

#[test]
fn protocols() {
    check(snippets());
}

fn snippets() -> Vec<Row> {
    vec![
        row(
            "SMTP: commands, a message, commands",
            "\r\n",
            "EHLO x\r\nDATA\r\nSubject: s\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
            [f("EHLO x"), f("DATA"), f("Subject: s\r\n\r\n..dot"), f("QUIT")],
        )
        .stay()
        .then("\r\n.\r\n")
        .then("\r\n"),
        row(
            "SMTP: a message without a line has no CRLF before its dot",
            "\r\n",
            "DATA\r\n.\r\n",
            [f("DATA"), rest(".\r\n")],
        )
        .then("\r\n.\r\n"),
        row(
            "HTTP: head, body, the next head",
            "\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
            [f("POST / HTTP/1.1\r\nContent-Length: 5"), f("hello"), f("GET / HTTP/1.1")],
        )
        .then(5)
        .then("\r\n\r\n"),
        row(
            "HTTP: an empty body",
            "\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            [f("POST / HTTP/1.1\r\nContent-Length: 0"), f(""), f("GET / HTTP/1.1")],
        )
        .then(0)
        .then("\r\n\r\n"),
        row(
            "HTTP: the head with its blank line",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            [f("GET / HTTP/1.1\r\n\r\n")],
        )
        .keep(),
        row(
            "HTTP: chunks",
            "\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            [f("5"), f("hello"), f(""), f("0"), f("")],
        )
        .then(5)
        .then("\r\n"),
        row(
            "Redis: bulk strings",
            "\r\n",
            "*2\r\n$4\r\nEC\r\n\r\n$0\r\n\r\n",
            [f("*2"), f("$4"), f("EC\r\n"), f(""), f("$0"), f(""), f("")],
        )
        .stay()
        .then(4)
        .then("\r\n")
        .stay()
        .then(0)
        .then("\r\n"),
        row(
            "netstrings",
            ":",
            "5:hello,0:,1:,,",
            [f("5"), f("hello"), f(""), f("0"), f(""), f(""), f("1"), f(","), f("")],
        )
        .then(5)
        .then(",")
        .then(":")
        .then(0)
        .then(",")
        .then(":")
        .then(1)
        .then(","),
        row(
            "memcached: set and get",
            "\r\n",
            "set k 0 0 5\r\nhe\r\nl\r\nget k\r\n",
            [f("set k 0 0 5"), f("he\r\nl"), f(""), f("get k")],
        )
        .then(5)
        .then("\r\n"),
        row(
            "MIME: parts between boundaries",
            "--b\r\n",
            "preamble\r\n--b\r\none\r\n--c\r\n--b\r\ntwo\r\n--b--\r\nepilogue",
            [
                f("preamble\r\n"),
                by("one\r\n--c", "\r\n--b\r\n"),
                by("two", "\r\n--b--"),
                rest("\r\nepilogue"),
            ],
        )
        .then(["\r\n--b\r\n", "\r\n--b--"])
        .stay()
        .then(Ending::Never),
        row(
            "IMAP: a literal inside a command",
            "\r\n",
            "a LOGIN {3}\r\nb\r\n {1}\r\nc\r\n",
            [f("a LOGIN {3}"), f("b\r\n"), f(" {1}"), f("c"), f("")],
        )
        .then(3)
        .then("\r\n")
        .then(1)
        .then("\r\n"),
        row(
            "length prefixes of two bytes",
            2,
            b"\0\x03abc\0\0\0\x01d",
            [f(b"\0\x03"), f("abc"), f(b"\0\0"), f(""), f(b"\0\x01"), f("d")],
        )
        .then(3)
        .then(2)
        .then(0)
        .then(2)
        .then(1),
        row(
            "FTP: a Telnet interrupt before the line",
            Ending::Line,
            b"\xff\xf4\xff\xf2ABOR\r\n",
            [by(b"\xff\xf4\xff\xf2ABOR", "\r\n")],
        ),
        row(
            "POP3: a list",
            "\r\n",
            "+OK\r\n1 120\r\n2 200\r\n.\r\n+OK\r\n",
            [f("+OK"), f("1 120\r\n2 200"), f("+OK")],
        )
        .then("\r\n.\r\n")
        .then("\r\n"),
        row(
            "STOMP: head, body up to a zero byte",
            "\n\n",
            b"SEND\nid:1\n\nbody\0\nACK\n\n\0",
            [f("SEND\nid:1"), f("body"), f("\nACK"), f("")],
        )
        .then(vec![0])
        .then("\n\n")
        .then(vec![0]),
    ]
}

#[test]
fn history() {
    check(past_bugs());
}

/// What went wrong in code of this kind.
fn past_bugs() -> Vec<Row> {
    let flood = "\n".repeat(200);
    let empty: Vec<Want> = (0..200).map(|_| f("")).collect();
    vec![
        row("an over-long line is no endless loop", "\n", "x".repeat(40), [long(8)]).limit(8),
        row("one over-long line is one error", "\n", "x".repeat(40) + "\nok\n", [long(8), f("ok")])
            .limit(8),
        row("a line without end does not stay in memory", "\n", "x".repeat(200), [long(8)])
            .limit(8),
        row("smuggling: LF dot LF", "\r\n.\r\n", "a\n.\nMAIL\r\n.\r\n", [f("a\n.\nMAIL")]),
        row("smuggling: LF dot CRLF", "\r\n.\r\n", "a\n.\r\nMAIL\r\n.\r\n", [f("a\n.\r\nMAIL")]),
        row("smuggling: CRLF dot LF", "\r\n.\r\n", "a\r\n.\nMAIL\r\n.\r\n", [f("a\r\n.\nMAIL")]),
        row("smuggling: CRLF dot CR", "\r\n.\r\n", "a\r\n.\rMAIL\r\n.\r\n", [f("a\r\n.\rMAIL")]),
        row("smuggling: CR dot CR", "\r\n.\r\n", "a\r.\rMAIL\r\n.\r\n", [f("a\r.\rMAIL")]),
        row(
            "smuggling: CRLF zero dot CRLF",
            "\r\n.\r\n",
            b"a\r\n\0.\r\nMAIL\r\n.\r\n",
            [f(b"a\r\n\0.\r\nMAIL")],
        ),
        row("smuggling: a bare LF in a chunk head", "\r\n", "5;\n\r\n", [f("5;\n")]),
        row("a zero-length header does not loop for ever", 2, b"\0\0", [f(b"\0\0"), f("")]).then(0),
        row(
            "a peer's count is not awaited",
            "\r\n",
            "$99999999999\r\nabc",
            [f("$99999999999"), long(64)],
        )
        .limit(64)
        .then(99_999_999_999),
        row(
            "a terminator cut in two while discarding",
            "\r\n",
            "abcdef\r\nok\r\n",
            [long(3), f("ok")],
        )
        .limit(3),
        row("the limit's edge with half a terminator held", "\r\n\r\n", "abc\r\n\r\n", [f("abc")])
            .limit(3),
        row(
            "the tail of an over-long command is no command",
            "\n",
            "xxxx DELE all\nNOOP\n",
            [long(4), f("NOOP")],
        )
        .limit(4),
        row(
            "its tail is none under a new terminator either",
            "\r\n",
            "xxxx\nDELE all\n\r\nNOOP\n",
            [long(4), f("NOOP")],
        )
        .limit(4)
        .then("\n"),
        row("a flood of empty frames", "\n", flood, empty),
        row(
            "a truncated last command is no command",
            "\n",
            "DELE 1\nDELE 1",
            [f("DELE 1"), rest("DELE 1")],
        ),
        row("a lone CR at the end of input is not lost", Ending::Line, "QUIT\r", [rest("QUIT\r")]),
    ]
}

#[test]
fn row_names_are_unique() {
    let tables = [
        patterns(),
        any_of(),
        counts(),
        records(),
        messages(),
        numbers(),
        limits(),
        snippets(),
        past_bugs(),
    ];
    let names: Vec<&str> = tables.iter().flatten().map(|row| row.name).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.len() >= 100, "{} rows", names.len());
}

#[test]
fn trickle_of_mode_flips_does_not_recurse() {
    let change = |i: usize| Change {
        term: Some(if i % 2 == 0 { Term::from(0) } else { Term::from("\n") }),
        streaming: Some(i % 3 == 0),
        ..Change::default()
    };
    let session = Session {
        term: Term::from("\n"),
        streaming: false,
        max_length: 8,
        max_head: usize::MAX,
        keep: false,
        script: (0..4000).map(change).collect(),
    };
    let input = b"a\n".repeat(2000);
    let expected = common::oracle(&session, &input);
    assert_eq!(expected.events.len(), 4000);
    common::play_all(&session, &input, &[], &expected).unwrap();
    common::play_all(&session, &input, &[1, 2, 999], &expected).unwrap();
}

/// Every byte, at every place of the first machine words, among its neighbours.
#[test]
fn a_byte_is_found_wherever_it_is() {
    for byte in 0..=255u8 {
        let neighbours = [byte ^ 1, byte.wrapping_sub(1), byte.wrapping_add(1), byte ^ 0x80];
        for (at, filler) in (0..40).flat_map(|at| neighbours.map(|filler| (at, filler))) {
            let mut input = vec![filler; at];
            input.push(byte);
            input.extend([byte, filler, filler, filler, byte, filler, filler, filler, filler]);
            let mut codec = TerminatorCodec::new(&[byte]);
            let mut src = &input[..];
            // Twice, for the second search knows how long the first frame was.
            for content in [&input[..at], b""] {
                let frame = codec.decode_slice(&mut src).unwrap();
                assert_eq!(frame, Some(FrameRef::Complete(content)), "{byte:#x} at {at}");
            }
            assert_eq!(src.len(), 8, "{byte:#x} at {at}");
        }
    }
}

/// Short and long frames in turn, with every length around a machine word.
#[test]
fn frame_of_any_length_is_found() {
    for (ending, noise) in [
        (Ending::from("\n"), "x"),
        (Ending::from("\r\n"), "\n"),
        (Ending::from("\r\n"), "\r"),
        (Ending::from("\r\n.\r\n"), "\r\n\r."),
        (Ending::from("12345678"), "1234567"),
        (Ending::from("123456789"), "12345678"),
        (Ending::Line, "\r"),
        (["\n", "ab"].into(), "a"),
    ] {
        let end = ending.members()[0].to_vec();
        let mut input = vec![];
        for len in (0..40).flat_map(|len| [len, 40 - len]) {
            input.extend(noise.bytes().cycle().take(len));
            input.extend(b"-");
            input.extend(&end);
        }
        let session = Session {
            term: Term::from(ending),
            streaming: false,
            max_length: 64,
            max_head: usize::MAX,
            keep: false,
            script: vec![],
        };
        let expected = common::oracle(&session, &input);
        assert_eq!(expected.events.len(), 80);
        let pieces = |size| (size..input.len()).step_by(size).collect();
        for cuts in [vec![], pieces(1), pieces(8), pieces(16), pieces(17), pieces(39)] {
            common::play_all(&session, &input, &cuts, &expected).unwrap();
        }
    }
}

/// Behind so many half terminators that another way of searching takes over.
#[test]
fn terminator_is_found_after_flood() {
    let bytes = b"\r\n.\r\n.\r\n";
    for (len, flood) in (2..=8).flat_map(|len| (0..120).map(move |flood| (len, flood))) {
        let end = &bytes[..len];
        // Its last byte without the first.
        let half = [b"x", &end[1..]].concat();
        let mut content = half.repeat(flood);
        // So that the end comes at any distance from a block's edge.
        content.resize(content.len() + 1 + flood % 40, b'-');
        let input = [&content[..], end, b"behind"].concat();
        let mut codec = TerminatorCodec::new(end);
        let mut src = &input[..];
        let frame = codec.decode_slice(&mut src).unwrap();
        assert_eq!(frame, Some(FrameRef::Complete(&content)), "{len} bytes, {flood} halves");
        assert_eq!(src, b"behind");
        // And it is not found where it is not.
        let mut src = &input[..input.len() - 7];
        assert_eq!(codec.decode_slice(&mut src).unwrap(), None, "{len} bytes, {flood} halves");
    }
}

#[test]
fn change_while_pending_applies_to_buffered_bytes() {
    let mut codec = TerminatorCodec::new("\r\n");
    let mut src = BytesMut::from("one\ntwo\n");
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    codec.set_terminator("\n");
    assert_eq!(codec.decode(&mut src).unwrap(), Some(Frame::Complete("one".into())));
    codec.set_terminator(2);
    assert_eq!(codec.decode(&mut src).unwrap(), Some(Frame::Complete("tw".into())));
    // What could begin the old one does not count for the new one.
    let mut codec = TerminatorCodec::new("\r\n");
    let mut src = BytesMut::from("\r");
    assert_eq!(codec.decode(&mut src).unwrap(), None);
    codec.set_terminator("123456789");
    src.extend_from_slice(b"23456789");
    assert_eq!(codec.decode(&mut src).unwrap(), None);
}

#[test]
fn a_change_mid_frame_counts_from_the_first_byte_not_delivered() {
    let mut codec = TerminatorCodec::new("aab").with_streaming(true);
    let mut src = &b"xaaa"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Partial(b"xa")));
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    assert_eq!(src, b"aa");
    codec.set_terminator("aa");
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Complete(b"")));
    assert_eq!(codec.ended_by(), b"aa");
}

#[test]
fn change_of_mode_while_pending_delivers_buffered_bytes() {
    for terminator in ["\n", "\r\n", "123456789"] {
        let mut codec = TerminatorCodec::new(terminator);
        let mut src = &b"abc"[..];
        assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
        codec.set_streaming(true);
        assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Partial(b"abc")));
    }
}

#[test]
fn shortened_buffer_is_searched_again() {
    for end in ["\n", "\r\n", "123456789"] {
        for terminator in [end.into(), Terminator::any([end, "123456789"])] {
            let mut codec = TerminatorCodec::new(terminator);
            assert_eq!(codec.decode_slice(&mut &b"abcdefghijklmnop"[..]).unwrap(), None);
            let src = ["ab", end].concat();
            let frame = codec.decode_slice(&mut src.as_bytes()).unwrap();
            assert_eq!(frame, Some(FrameRef::Complete(b"ab")), "{end:?}");
        }
    }
}

#[test]
fn a_limit_lowered_while_pending_counts_at_once() {
    let mut codec = TerminatorCodec::new("\n");
    let mut src = &b"abcd"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    codec.set_max_length(3);
    assert!(matches!(codec.decode_slice(&mut src), Err(Error::FrameTooLong { limit: 3, .. })));
    assert_eq!(codec.decode_slice(&mut src).unwrap(), None);
    assert_eq!(src, b"");
    src = b"tail\nok\n";
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Complete(b"ok")));
}

#[test]
fn running_count_returns_remaining_bytes() {
    let mut codec = TerminatorCodec::new(5).with_streaming(true);
    let mut src = &b"ab"[..];
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Partial(b"ab")));
    assert_eq!(codec.terminator(), &Terminator::from(3));
    src = b"cdefg";
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Complete(b"cde")));
    assert_eq!(codec.terminator(), &Terminator::none());
    assert_eq!(codec.decode_slice(&mut src).unwrap(), Some(FrameRef::Partial(b"fg")));
}

#[test]
fn nothing_is_reserved_on_the_word_of_a_count() {
    for streaming in [false, true] {
        let mut codec =
            TerminatorCodec::new(LONGEST).with_streaming(streaming).with_max_length(usize::MAX);
        let mut src = BytesMut::from("abc");
        let _ = codec.decode(&mut src).unwrap();
        assert!(src.capacity() < 64);
    }
}

#[test]
fn ended_by_outlives_a_change_of_terminator() {
    let mut codec = TerminatorCodec::new(Terminator::any(["\r\n", "\n", ";"]));
    let mut src = &b"a\r\nb;"[..];
    assert_eq!(codec.ended_by(), b"");
    codec.decode_slice(&mut src).unwrap();
    codec.set_terminator(7);
    codec.set_terminator("x");
    assert_eq!(codec.ended_by(), b"\r\n");
    codec.set_terminator(Terminator::any(["\r\n", "\n", ";"]));
    codec.decode_slice(&mut src).unwrap();
    assert_eq!(codec.ended_by(), b";");
    src = b"ab";
    codec.set_terminator(2);
    codec.decode_slice(&mut src).unwrap();
    assert_eq!(codec.ended_by(), b"");
}

/// No automaton is built for it.
#[test]
fn a_set_of_more_than_a_mebibyte() {
    let huge = vec![b'x'; 1 << 20];
    let set = |tail: &[&str]| {
        let tail = tail.iter().map(|member| member.as_bytes().to_vec());
        Term::from(Ending::Any([huge.clone()].into_iter().chain(tail).collect()))
    };
    let session = Session {
        term: set(&["abcd", "bc", "aab", "b", "abcd"]),
        streaming: false,
        max_length: 6,
        max_head: usize::MAX,
        keep: false,
        script: vec![],
    };
    let input = b"xabcdxaaabbcxxxxxyyb1234567b";
    let expected = common::oracle(&session, input);
    let frame = |data: &[u8], ended_by: &[u8]| Event::Frame {
        data: data.to_vec(),
        ended_by: ended_by.to_vec(),
        head: 0,
    };
    assert_eq!(
        expected.events,
        [
            frame(b"xa", b"b"),
            frame(b"cdxa", b"aab"),
            frame(b"", b"b"),
            Event::TooLong(6),
            Event::TooLong(6),
        ]
    );
    for cuts in [vec![], vec![3], vec![8, 9], (1..input.len()).collect()] {
        common::play_all(&session, input, &cuts, &expected).unwrap();
    }

    // Frames as long as that need more than the first look, and the longest of
    // those that end together comes last.
    let session = Session { term: set(&["bc", "abc"]), max_length: 1000, ..session };
    let lens = [0, 1, 252, 253, 254, 255, 256, 300, 700];
    let input: Vec<u8> =
        lens.iter().flat_map(|&len| [&vec![b'-'; len][..], b"abc"].concat()).collect();
    let expected = common::oracle(&session, &input);
    let wants: Vec<Event> = lens.iter().map(|&len| frame(&vec![b'-'; len], b"abc")).collect();
    assert_eq!(expected.events, wants);
    for cuts in [vec![], vec![2000], (100..input.len()).step_by(100).collect()] {
        common::play_all(&session, &input, &cuts, &expected).unwrap();
    }
}
