//! What is said: elements made from a seed, which both sides know. Each is a
//! line that tells how its body ends, and the body.

use asynchat::Terminator;
use asynchat_stress::Rng;

/// What one client has to ask, and how much of it before it has answers.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) seed: u64,
    pub(crate) elements: u64,
    pub(crate) window: u64,
    /// Of the bodies that are long.
    longest: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Request,
    Answer,
}

/// How an element is handed to the channel.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Whole,
    /// In pieces of so many bytes.
    Slices(usize),
    Producer(usize),
    /// A producer that is not always ready.
    Slow(usize),
}

pub(crate) struct Element {
    pub(crate) header: String,
    pub(crate) body: Vec<u8>,
    /// The bytes behind the body.
    pub(crate) ended_by: &'static str,
    pub(crate) how: How,
    pub(crate) streaming: bool,
}

impl Session {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let (seed, elements) = (rng.next(), 20 + rng.below(40));
        Session {
            seed,
            elements,
            window: 1 + rng.below(8),
            longest: [500, 30_000][rng.of(&[0, 1])],
        }
    }

    pub(crate) fn element(&self, side: Side, seq: u64) -> Element {
        let salt = if side == Side::Request { 0x51 } else { 0xa2 };
        let mut rng = Rng::new(self.seed ^ (seq << 8) ^ salt);
        let ending = rng.of(&[0, 1, 2, 3, 4]);
        let (name, members) = ENDINGS[ending];
        let longest = if rng.one_in(6) { self.longest } else { 60 };
        let (body, ended_by) = cut(letters(&mut rng, longest), members);
        let header = format!("{side:?} {seq} {name} {}", body.len());
        let chunk = 1 + rng.below(1 + body.len() as u64 / 2) as usize;
        let how = match rng.below(4) {
            0 => How::Whole,
            1 => How::Slices(chunk),
            2 => How::Producer(chunk),
            _ => How::Slow(chunk.max(body.len() / 4)),
        };
        Element { header, body, ended_by, how, streaming: rng.one_in(3) }
    }
}

/// Mostly letters, and what endings are made of.
fn letters(rng: &mut Rng, longest: u64) -> Vec<u8> {
    let letter = |rng: &mut Rng| b"abcdefghijklmnopqrstuvwxyz\r\n.-|="[rng.below(32) as usize];
    (0..rng.below(longest)).map(|_| letter(rng)).collect()
}

/// What comes before the first of `members`, and which that is: of those that
/// end first the longest.
fn cut(mut body: Vec<u8>, members: &[&'static str]) -> (Vec<u8>, &'static str) {
    let Some(last) = members.last() else { return (body, "") };
    body.extend_from_slice(last.as_bytes());
    let found = (0..=body.len()).find_map(|end| {
        let here = members.iter().filter(|member| body[..end].ends_with(member.as_bytes()));
        here.max_by_key(|member| member.len()).map(|member| (end - member.len(), *member))
    });
    let (end, member) = found.expect("it was put there");
    body.truncate(end);
    (body, member)
}

/// What the header says of the body's end, or `None` if that is not understood.
pub(crate) fn ending(header: &str) -> Option<Terminator> {
    let mut words = header.split(' ').skip(2);
    let (name, length) = (words.next()?, words.next()?);
    let (_, members) = ENDINGS.iter().find(|(known, _)| *known == name)?;
    Some(match members {
        [] => length.parse::<u64>().ok()?.into(),
        [one] => (*one).into(),
        many => Terminator::any(many.iter().copied()),
    })
}

const ENDINGS: [(&str, &[&str]); 5] = [
    ("count", &[]),
    ("line", &["\n"]),
    ("dot", &["\r\n.\r\n"]),
    ("boundary", &["\r\n--boundary=--"]),
    ("any", &["|=", "\n", "\r\n"]),
];
