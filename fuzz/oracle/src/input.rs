//! The fuzzer's bytes, and what is made of them.

use super::oracle::{Ending, Head, Message, Term};
use asynchat::{Body, BoxError, Length, Terminator};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Taken off the front; zeros when they are used up.
#[derive(Clone, Copy)]
pub struct Input<'d>(pub &'d [u8]);

impl<'d> Input<'d> {
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as the first says, below `most`.
    pub fn some(&mut self, most: u8) -> &'d [u8] {
        let len = self.byte() % most;
        self.bytes(len.into())
    }

    /// Half of the time small, sometimes none.
    pub fn limit(&mut self) -> usize {
        match self.byte() {
            byte @ 0..=127 => usize::from(byte % 16),
            byte @ 128..=191 => usize::from(byte % 64),
            _ => usize::MAX,
        }
    }

    /// The sizes of the pieces in which something arrives, in turn.
    pub fn steps(&mut self) -> Steps {
        let steps = [(); 4].map(|()| usize::from(self.byte()));
        Steps { steps, turn: 0 }
    }

    pub fn term(&mut self) -> Term<'d> {
        let kind = self.byte();
        let more = usize::from(kind >> 4);
        match kind & 15 {
            // Up to 8 bytes lie inline.
            0..=3 => Term::pattern(self.bytes(1 + more % 8)),
            4 => Term::pattern(self.bytes(9 + more)),
            5 => built((0..2 + more % 2).map(|_| self.some(6)).collect()),
            6 | 7 => PREPARED[more].clone(),
            8 => Term { ending: Ending::Any(vec![b"\r\n", b"\n"]), built: Terminator::line() },
            9 => Term { ending: Ending::Any(vec![b"\r\n"]), built: Terminator::crlf() },
            10 => Term { ending: Ending::Any(vec![b"\n"]), built: Terminator::lf() },
            11 => Term { ending: Ending::Any(vec![b"\r\n\r\n"]), built: Terminator::blank_line() },
            12 | 13 => Term::count(more as u64),
            14 => Term::count(u64::MAX >> more),
            _ if more >= 12 => {
                let n = 1 + more as u64 % 4;
                Term { ending: Ending::Every(n), built: Terminator::every(n) }
            }
            _ if more >= 4 => MESSAGES[more - 4].clone(),
            _ => Term { ending: Ending::Never, built: Terminator::none() },
        }
    }
}

/// One of several, of up to 5 bytes each, as it was built before if it was:
/// building takes longer than a run.
fn built(members: Vec<&[u8]>) -> Term<'_> {
    thread_local! {
        static BUILT: RefCell<HashMap<[u8; 18], Terminator>> = RefCell::default();
    }
    let mut key = [0xff; 18];
    for (place, member) in key.chunks_mut(6).zip(&members) {
        place[0] = member.len() as u8;
        place[1..][..member.len()].copy_from_slice(member);
    }
    BUILT.with_borrow_mut(|known| match known.get(&key) {
        Some(built) => Term::new(members, built.clone()),
        None => {
            let term = Term::any(members);
            if known.len() == MOST_KNOWN {
                known.clear();
            }
            known.insert(key, term.built.clone());
            term
        }
    })
}

const MOST_KNOWN: usize = 1000;

/// And so does building these.
static PREPARED: LazyLock<Vec<Term<'static>>> = LazyLock::new(|| {
    let sets: [&[&[u8]]; 16] = [
        &[b"\r\n\r\n", b"\n\r\n", b"\n\n"],
        &[b"\r\n.\r\n", b"\r\n"],
        &[b"\r\n", b"\r", b"\n"],
        &[b"\r", b"\n", b"\r\n"],
        &[b"\n\n", b"\n"],
        &[b"a", b"ab", b"abc", b"bc", b"c"],
        &[b"aab", b"ab", b"b", b"aaab", b"baab"],
        &[b"abab", b"babb", b"bbbbb"],
        &[b"ab", b"aab", b"aaab", b"aaaab"],
        &[b"aaaaaaaab", b"ab"],
        &[b"abababababab", b"bababababac"],
        &[b"--end\r\n", b"--end--\r\n"],
        &[b"\0", b"\0\0"],
        &[b"ab", b"ab", b"b"],
        &[b"aaaaaaaaaaaaaaaaaaaab"],
        &[b"abcabcabcabcabd", b"cab", b"\n"],
    ];
    sets.iter().map(|set| Term::any(set.to_vec())).collect()
});

/// Messages, whose functions are built once.
static MESSAGES: LazyLock<Vec<Term<'static>>> = LazyLock::new(|| {
    const LENGTH: Length = Length::u16_be().within(1, 4).counting(2);
    let heads = [
        Head::Any(&[b"\n"]),
        Head::Any(&[b"\r\n\r\n"]),
        Head::Any(&[b"\r\n", b"\n"]),
        Head::Any(&[b"aab", b"ab", b"|"]),
        Head::Count(1),
        Head::Count(2),
        Head::Count(1),
        Head::Count(4),
    ];
    let messages = heads.into_iter().enumerate().map(|(number, head)| {
        let built = match (&head, number) {
            (_, 6) => Length::u8().into(),
            (_, 7) => LENGTH.into(),
            (Head::Count(n), _) => Terminator::message(*n as u64, marks),
            (Head::Any(members), _) => {
                Terminator::message(asynchat::Head::any(members.iter()), marks)
            }
        };
        let measure = match number {
            6 => one_byte,
            7 => two_bytes,
            _ => marks,
        };
        Term { ending: Ending::Message(Message { number, head, measure }), built }
    });
    messages.collect()
});

/// The sum of the bytes decides.
fn marks(head: &[u8]) -> Result<Body, BoxError> {
    let sum = head.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    Ok(match (sum & 15, u64::from(sum >> 4)) {
        (n @ 0..=8, _) => Body::Bytes(n.into()),
        (9, n) => Body::Bytes(4 * n),
        (10, n) => Body::Total(n),
        (11, _) => Body::More(1),
        (12, n) => Body::More(n as usize),
        (13, n) => Body::Bytes(u64::MAX >> (4 * n)),
        _ => return Err("no length".into()),
    })
}

fn one_byte(head: &[u8]) -> Result<Body, BoxError> {
    Ok(Body::Bytes(head[0].into()))
}

fn two_bytes(head: &[u8]) -> Result<Body, BoxError> {
    let number = u64::from(head[1]) << 8 | u64::from(head[2]);
    Ok(Body::Bytes(number.checked_sub(2).ok_or("too little")?))
}

/// See [`Input::steps`].
#[derive(Clone)]
pub struct Steps {
    steps: [usize; 4],
    turn: usize,
}

impl Steps {
    /// Everything at once.
    pub fn whole() -> Self {
        Steps { steps: [usize::MAX; 4], turn: 0 }
    }

    pub fn is_whole(&self) -> bool {
        self.steps == [usize::MAX; 4]
    }

    /// At least 1.
    pub fn size(&mut self) -> usize {
        let step = self.steps[self.turn % 4];
        self.turn += 1;
        match step {
            0..=127 => 1 + step % 8,
            128..=191 => 1 + step % 64,
            _ => usize::MAX,
        }
    }
}
