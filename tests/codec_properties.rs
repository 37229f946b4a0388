//! Random sessions beside the oracle, and the properties of encoding.
//!
//! `PROPTEST_CASES` raises the number of cases.

mod common;

use asynchat::{Error, Frame, Terminator, TerminatorCodec};
use bytes::{Buf, Bytes, BytesMut};
use common::{Borrowed, Change, Ending, Event, Knobs, Measure, Owned, Session, Term};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio_util::codec::{Decoder, Encoder};

fn cases(default: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = default;
    }
    config
}

/// Bytes of a small alphabet, so that terminators happen.
fn bytes(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(b"aab\r\n".as_slice()), len)
}

/// The same, with the marks that say how long a message is, and small numbers.
fn marked(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    vec(proptest::sample::select(b"aab\r\n012359CF+*-~\0\0\x01\x03\x07".as_slice()), len)
}

/// Long terminators with borders of all lengths.
fn long_bytes() -> impl Strategy<Value = Vec<u8>> {
    (bytes(1..6), 9..40usize, bytes(0..3))
        .prop_map(|(period, len, tail)| period.into_iter().cycle().take(len).chain(tail).collect())
}

fn byte_string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => bytes(1..5), 2 => bytes(5..9), 2 => long_bytes()]
}

/// Any members, with prefixes and suffixes of others among them.
fn members() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>());
    let whole = vec(prop_oneof![8 => byte_string(), 1 => Just(vec![])], 0..5);
    (whole, vec(part, 0..3)).prop_map(|(mut members, parts)| {
        for (which, at, prefix) in parts {
            if !members.is_empty() {
                let of: &Vec<u8> = which.get(&members);
                let (before, behind) = of.split_at(at.index(of.len() + 1));
                members.push(if prefix { before } else { behind }.to_vec());
            }
        }
        members
    })
}

/// How a head ends.
fn head() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => byte_string().prop_map(Ending::Bytes),
        2 => members().prop_map(Ending::Any),
        1 => Just(Ending::Line),
        4 => (0..6u64).prop_map(Ending::Count),
    ]
}

/// A number in a head of fixed size.
fn number() -> impl Strategy<Value = Ending> {
    (1..9u8, any::<bool>(), 0..4u8, 0..4u8, 0..6u8).prop_map(
        |(width, little, offset, after, counted)| {
            let head = u64::from(width + offset + after);
            let counted = counted.min(head as u8);
            common::length(head, Measure::Length { width, little, offset, counted })
        },
    )
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => (1..12u64).prop_map(Ending::Every),
        12 => head().prop_map(common::message),
        4 => number(),
        8 => byte_string().prop_map(Ending::Bytes),
        8 => members().prop_map(Ending::Any),
        2 => Just(Ending::Line),
        1 => Just(Ending::from("\r\n")),
        4 => (0..12u64).prop_map(Ending::Count),
        1 => Just(Ending::Count(u64::MAX)),
        1 => Just(Ending::Never),
    ]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..8usize, 2 => 8..50usize, 2 => Just(usize::MAX)]
}

prop_compose! {
    fn change()(
        term in prop::option::weighted(0.7, ending().prop_map(Term::from)),
        streaming in prop::option::weighted(0.3, any::<bool>()),
        max_length in prop::option::weighted(0.2, limit()),
        keep in prop::option::weighted(0.2, any::<bool>()),
    ) -> Change {
        Change { term, streaming, max_length, keep }
    }
}

prop_compose! {
    fn session()(
        term in ending().prop_map(Term::from),
        streaming in any::<bool>(),
        max_length in limit(),
        max_head in limit(),
        keep in any::<bool>(),
        script in vec(change(), 0..10),
    ) -> Session {
        Session { term, streaming, max_length, max_head, keep, script }
    }
}

/// A session, and an input made of noise and of its terminators, whole and
/// broken off.
fn session_and_input() -> impl Strategy<Value = (Session, Vec<u8>)> {
    let noise = prop_oneof![bytes(0..5), marked(0..8)];
    let pieces = vec((noise, any::<prop::sample::Index>(), 0..60usize), 0..12);
    (session(), pieces).prop_map(|(session, pieces)| {
        let terms = session.script.iter().filter_map(|change| change.term.as_ref());
        let endings: Vec<&Ending> =
            [&session.term].into_iter().chain(terms).map(|term| &term.ending).collect();
        let members: Vec<&[u8]> = endings.iter().flat_map(|ending| ending.members()).collect();
        let mut input = vec![];
        for (noise, which, len) in pieces {
            input.extend(noise);
            if !members.is_empty() {
                let member = which.get(&members);
                // Half of the time all of it.
                input.extend(&member[..member.len().min(len)]);
            }
        }
        (session, input)
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(1..6usize, 0..40).prop_map(|steps| {
        let ends = steps.iter().scan(0, |end, step| {
            *end += step;
            Some(*end)
        });
        ends.collect()
    })
}

fn within(mut cuts: Vec<usize>, input: &[u8]) -> Vec<usize> {
    cuts.retain(|&cut| cut < input.len());
    cuts
}

fn failed(cuts: &[usize]) -> impl FnOnce(String) -> TestCaseError + '_ {
    move |e| TestCaseError::fail(format!("cut at {cuts:?}: {e}"))
}

/// Sets what is set already.
fn set_the_same(codec: &mut TerminatorCodec) {
    let same = codec.terminator().clone();
    codec.set_terminator(same);
}

/// Sets what is set already, made anew.
fn set_an_equal(codec: &mut TerminatorCodec) {
    let set = codec.terminator();
    let equal = match set.remaining() {
        Some(n) => Terminator::from(n),
        None if set.patterns().next().is_some() => Terminator::any(set.patterns()),
        None => set.clone(),
    };
    codec.set_terminator(equal);
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn session_matches_oracle(
        (session, input) in session_and_input(),
        cuts in cuts(),
    ) {
        let expected = common::oracle(&session, &input);
        let bytewise = (1..input.len()).collect();
        for cuts in [vec![], within(cuts, &input), bytewise] {
            common::play_all(&session, &input, &cuts, &expected).map_err(failed(&cuts))?;
        }
    }

    #[test]
    fn setting_the_same_again_changes_nothing(
        (session, input) in session_and_input(),
        cuts in cuts(),
    ) {
        let expected = common::oracle(&session, &input);
        let cuts = within(cuts, &input);
        common::replay_codec::<Owned>(&session, &input, &cuts, &expected, set_the_same)
            .map_err(failed(&cuts))?;
        common::replay_codec::<Borrowed>(&session, &input, &cuts, &expected, set_an_equal)
            .map_err(failed(&cuts))?;
    }
}

/// What somebody does to the read buffer between two calls.
#[derive(Clone, Debug)]
enum Vandalism {
    Arrives(Vec<u8>),
    Truncates(usize),
    Clears,
    Advances(usize),
    Overwrites(u8),
    Changes(Change),
    Ends,
}

fn vandalism() -> impl Strategy<Value = Vandalism> {
    prop_oneof![
        6 => bytes(0..30).prop_map(Vandalism::Arrives),
        2 => (0..30usize).prop_map(Vandalism::Truncates),
        1 => Just(Vandalism::Clears),
        2 => (0..30usize).prop_map(Vandalism::Advances),
        1 => prop::sample::select(b"ab\r\n".as_slice()).prop_map(Vandalism::Overwrites),
        2 => change().prop_map(Vandalism::Changes),
        1 => Just(Vandalism::Ends),
    ]
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn a_vandalized_buffer_is_no_panic(
        session in session(),
        acts in vec((vandalism(), 0..3usize), 0..60),
    ) {
        let mut codec = session.codec();
        let mut src = BytesMut::new();
        for (act, calls) in acts {
            let mut eof = false;
            match act {
                Vandalism::Arrives(bytes) => src.extend_from_slice(&bytes),
                Vandalism::Truncates(len) => src.truncate(len),
                Vandalism::Clears => src.clear(),
                Vandalism::Advances(n) => src.advance(n.min(src.len())),
                Vandalism::Overwrites(byte) => src.fill(byte),
                Vandalism::Ends => eof = true,
                Vandalism::Changes(change) => codec.apply(&change),
            }
            for _ in 0..calls {
                let (copy, mut twin) = (src.clone(), codec.clone());
                let mut slice = &copy[..];
                let (item, twins) = if eof {
                    (codec.decode_eof(&mut src), twin.decode_slice_eof(&mut slice))
                } else {
                    (codec.decode(&mut src), twin.decode_slice(&mut slice))
                };
                // Both ways to call it agree, and no byte comes from nowhere.
                prop_assert_eq!(&src[..], slice);
                prop_assert_eq!(item.is_err(), twins.is_err());
                let (item, twins) = (item.unwrap_or(None), twins.unwrap_or(None));
                prop_assert_eq!(&item, &twins.map(|frame| frame.into_owned()));
                let taken = copy.len() - src.len();
                prop_assert!(item.is_none_or(|frame| frame.data().len() <= taken));
            }
        }
    }
}

/// A terminator that is a byte string or a set.
fn sought() -> impl Strategy<Value = Ending> {
    ending().prop_map(|ending| if ending.members().is_empty() { Ending::Line } else { ending })
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    fn shortened_buffer_is_searched_again(
        ending in sought(),
        before in bytes(0..50),
        keep in any::<prop::sample::Index>(),
        noise in bytes(0..20),
        which in any::<prop::sample::Index>(),
    ) {
        let mut codec = TerminatorCodec::new(ending.build());
        let mut src = BytesMut::from(&before[..]);
        while codec.decode(&mut src).unwrap().is_some() {}
        if src.is_empty() {
            return Ok(());
        }
        src.truncate(keep.index(src.len()));
        prop_assert_eq!(codec.decode(&mut src).unwrap(), None);
        let member = *which.get(&ending.members());
        src.extend_from_slice(&[member, &noise, member].concat());
        let expected = read(&ending, &src);
        let mut events = vec![];
        while let Some(frame) = codec.decode_eof(&mut src).unwrap() {
            let data = frame.data().to_vec();
            events.push(if frame.is_complete() {
                Event::Frame { data, ended_by: codec.ended_by().to_vec(), head: codec.head_len() }
            } else {
                Event::Rest(data, codec.head_len())
            });
        }
        prop_assert_eq!(events, expected);
    }
}

/// What a reader with that terminator makes of `input`.
fn read(ending: &Ending, input: &[u8]) -> Vec<Event> {
    let session = Session {
        term: Term::from(ending.clone()),
        streaming: false,
        max_length: usize::MAX,
        max_head: usize::MAX,
        keep: false,
        script: vec![],
    };
    common::oracle(&session, input).events
}

/// What a reader with that terminator makes of `encoded`: `None` if anything
/// but complete frames.
fn read_back(ending: &Ending, encoded: &[u8]) -> Option<Vec<Vec<u8>>> {
    let complete = read(ending, encoded).into_iter().map(|event| match event {
        Event::Frame { data, .. } => Some(data),
        _ => None,
    });
    complete.collect()
}

fn encode(ending: &Ending, content: &[u8]) -> Result<BytesMut, Error> {
    let mut codec = TerminatorCodec::default().with_encode_terminator(ending.build());
    let mut encoded = BytesMut::new();
    let result = codec.encode(Bytes::copy_from_slice(content), &mut encoded);
    assert!(result.is_ok() || encoded.is_empty(), "something was written of a refused item");
    result.map(|()| encoded)
}

/// A terminator, and contents with parts of it inside and at the end.
fn contents() -> impl Strategy<Value = (Ending, Vec<Vec<u8>>)> {
    let noise = prop_oneof![Just(vec![]), bytes(1..8)];
    let content = (noise, any::<prop::sample::Index>(), 0..12usize, bytes(0..2));
    (sought(), vec(content, 1..6)).prop_map(|(ending, contents)| {
        let members = ending.members();
        let contents = contents.into_iter().map(|(mut content, which, len, tail)| {
            let member = which.get(&members);
            content.extend(&member[..len.min(member.len() - 1)]);
            content.extend(tail);
            content
        });
        let contents = contents.collect();
        (ending, contents)
    })
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn encoding_is_refused_exactly_when_it_would_not_read_back((ending, contents) in contents()) {
        let first = ending.members()[0];
        let mut all = BytesMut::new();
        let mut sent = vec![];
        for content in contents {
            let naive = [content.as_slice(), first].concat();
            let reads_back = read_back(&ending, &naive) == Some(vec![content.clone()]);
            match encode(&ending, &content) {
                Ok(encoded) => {
                    prop_assert!(reads_back, "{:?} was not refused", content);
                    prop_assert_eq!(&encoded[..], &naive[..]);
                    all.extend_from_slice(&encoded);
                    sent.push(content);
                }
                Err(Error::TerminatorInContent) => {
                    prop_assert!(!reads_back, "{:?} was refused", content);
                }
                Err(e) => prop_assert!(false, "{e:?}"),
            }
        }
        // One behind the other they read back as the same items, also here.
        let mut codec = TerminatorCodec::new(ending.build()).with_max_length(usize::MAX);
        for content in &sent {
            let frame = codec.decode(&mut all).unwrap().and_then(Frame::into_complete);
            prop_assert_eq!(frame.as_deref(), Some(&content[..]));
        }
        prop_assert!(all.is_empty());
    }

    #[test]
    fn a_clone_is_equal_and_finds_the_same(
        ending in ending(),
        other in ending(),
        input in bytes(0..40),
    ) {
        let term = ending.build();
        prop_assert_eq!(&term, &term.clone());
        // Functions cannot be compared.
        prop_assert_eq!(!ending.is_function(), term == ending.build());
        // In any order, and however often.
        let (members, others) = (ending.members(), other.members());
        let same_members = members.iter().all(|member| others.contains(member))
            && others.iter().all(|member| members.contains(member));
        match (&ending, &other) {
            (Ending::Count(m), Ending::Count(n)) => {
                prop_assert_eq!(m == n, ending.build() == other.build());
            }
            (Ending::Every(m), Ending::Every(n)) => {
                prop_assert_eq!(m == n, ending.build() == other.build());
            }
            (Ending::Message(_), Ending::Message(_)) => {}
            _ if ending.is_measured() || other.is_measured() => {
                prop_assert_ne!(ending.build(), other.build());
            }
            _ => prop_assert_eq!(same_members, ending.build() == other.build()),
        }
        let mut codec = TerminatorCodec::new(term.clone());
        let mut twin = TerminatorCodec::new(term);
        let (mut src, mut copy) = (BytesMut::from(&input[..]), BytesMut::from(&input[..]));
        for _ in 0..=input.len() {
            prop_assert_eq!(codec.decode(&mut src).ok(), twin.decode(&mut copy).ok());
        }
    }
}

/// On an edge of `n`, or far from it.
fn edge_of(n: usize) -> impl Strategy<Value = usize> {
    let near = [n.saturating_sub(1), n, n + 1, 0, usize::MAX - 1, usize::MAX];
    prop::sample::select(near.to_vec())
}

/// A count and a limit on the edges of the bytes there are, and what ends the
/// frame behind.
fn edges() -> impl Strategy<Value = (Session, Vec<u8>)> {
    let count = bytes(0..20).prop_flat_map(|input| {
        let len = input.len();
        let far = prop_oneof![9 => edge_of(len).prop_map(|n| n as u64), 1 => Just(u64::MAX)];
        (far, edge_of(len), Just(input))
    });
    (count, sought(), any::<bool>(), any::<bool>()).prop_map(|(edges, then, streaming, keep)| {
        let (count, max_length, mut input) = edges;
        input.extend([b"a", then.members()[0]].concat());
        let behind = Change { term: Some(Term::from(then)), ..Change::default() };
        let term = Term::from(Ending::Count(count));
        (
            Session {
                term,
                streaming,
                max_length,
                max_head: usize::MAX,
                keep,
                script: vec![behind],
            },
            input,
        )
    })
}

/// A frame whose content is as long as the limit, or nearly; whole, or broken
/// off in its terminator.
fn frame_at_the_limit() -> impl Strategy<Value = (Session, Vec<u8>)> {
    let content = vec(prop::sample::select(b"xy".as_slice()), 0..20);
    let frame = content.prop_flat_map(|content| (edge_of(content.len()), Just(content)));
    (frame, sought(), any::<prop::sample::Index>(), 0..60usize, any::<bool>()).prop_map(
        |((max_length, mut input), ending, which, len, streaming)| {
            let member = *which.get(&ending.members());
            input.extend([&member[..len.min(member.len())], b"x", member].concat());
            let term = Term::from(ending);
            (
                Session {
                    term,
                    streaming,
                    max_length,
                    max_head: usize::MAX,
                    keep: false,
                    script: vec![],
                },
                input,
            )
        },
    )
}

/// Decodes all of `pieces`, one after the other, in one go or in parts. Gives
/// the frames, the parts of each joined, and what is left.
fn decode_all(
    codec: &mut TerminatorCodec,
    pieces: &[&[u8]],
) -> (Vec<Result<Vec<u8>, ()>>, Vec<u8>) {
    let (mut frames, mut open, mut src) = (vec![], vec![], BytesMut::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        while let Some(item) = codec.decode(&mut src).transpose() {
            let is_over = !matches!(item, Ok(Frame::Partial(_)));
            open.extend(item.as_ref().map(Frame::data).unwrap_or_default());
            if is_over {
                frames.push(item.map(|_| std::mem::take(&mut open)).map_err(|_| ()));
            }
            assert!(frames.len() <= 2 * src.len() + 200, "endless frames");
        }
    }
    open.extend_from_slice(&src);
    (frames, open)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_edges_of_counts_and_limits((session, input) in edges(), cuts in cuts()) {
        let expected = common::oracle(&session, &input);
        for cuts in [vec![], within(cuts, &input)] {
            common::play_all(&session, &input, &cuts, &expected).map_err(failed(&cuts))?;
        }
    }

    #[test]
    fn a_frame_at_the_limit((session, input) in frame_at_the_limit(), cuts in cuts()) {
        let expected = common::oracle(&session, &input);
        let bytewise = (1..input.len()).collect();
        for cuts in [vec![], within(cuts, &input), bytewise] {
            common::play_all(&session, &input, &cuts, &expected).map_err(failed(&cuts))?;
        }
    }

    #[test]
    fn codec_equals_new_one_after_whole_frame(
        ending in sought(),
        max_length in limit(),
        streaming in any::<bool>(),
        noise in vec(bytes(0..12), 1..5),
        behind in bytes(0..40),
    ) {
        let member = ending.members()[0].to_vec();
        let before = noise.into_iter().flat_map(|noise| [noise, member.clone()].concat());
        let mut before: Vec<u8> = before.collect();
        // Up to the end of its last frame: a member may lie across that of another.
        let (_, left) = decode_all(&mut TerminatorCodec::new(ending.build()), &[&before]);
        before.truncate(before.len() - left.len());

        let new = TerminatorCodec::new(ending.build())
            .with_max_length(max_length)
            .with_streaming(streaming);
        let (first, left) = decode_all(&mut new.clone(), &[&before]);
        prop_assert!(left.is_empty());
        let (second, rest) = decode_all(&mut new.clone(), &[&behind]);
        let whole = [&before[..], &behind].concat();
        for pieces in [vec![&whole[..]], vec![&before, &behind]] {
            let (frames, left) = decode_all(&mut new.clone(), &pieces);
            prop_assert_eq!(&frames, &[&first[..], &second].concat());
            prop_assert_eq!(&left, &rest);
        }
    }

    #[test]
    fn encoded_content_is_decoded_on_every_cut(
        (ending, contents) in contents(),
        cuts in cuts(),
        streaming in any::<bool>(),
    ) {
        let encoded: Vec<(Vec<u8>, BytesMut)> = contents
            .into_iter()
            .filter_map(|content| encode(&ending, &content).ok().map(|bytes| (content, bytes)))
            .collect();
        let wire: Vec<u8> = encoded.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        let cuts = within(cuts, &wire);
        let ends = cuts.iter().copied().chain([wire.len()]);
        let pieces: Vec<&[u8]> = [0].into_iter().chain(cuts.iter().copied()).zip(ends)
            .map(|(from, to)| &wire[from..to])
            .collect();
        let mut codec = TerminatorCodec::new(ending.build())
            .with_max_length(usize::MAX)
            .with_streaming(streaming);
        let (frames, left) = decode_all(&mut codec, &pieces);
        let sent: Vec<_> = encoded.into_iter().map(|(content, _)| Ok(content)).collect();
        prop_assert_eq!((frames, left), (sent, vec![]));
    }
}

#[test]
fn refused_content_would_be_split() {
    let line = Ending::Line;
    for (ending, content) in [
        ("\r\n".into(), "a\r\nQUIT"),
        ("\n\n".into(), "a\n"),
        ("\r\n.\r\n".into(), "a\r\n.\r\nMAIL"),
        ("abab".into(), "xab"),
        (line.clone(), "a\nb"),
        (["\n", "\r\n"].into(), "a\r"),
        (["b", "ab"].into(), "xa"),
        // What is appended would itself be read as two.
        (["\n\n", "\n"].into(), "a"),
        (["xay", "a"].into(), ""),
    ] {
        let refused = encode(&ending, content.as_bytes());
        assert!(matches!(refused, Err(Error::TerminatorInContent)), "{content:?} for {ending:?}");
    }
    for (ending, content) in [
        ("\r\n".into(), "a\r"),
        ("\r\n".into(), "a\nb\r"),
        ("\n\n".into(), "a"),
        ("aab".into(), "a"),
        (line, "a\r"),
        (["ab", "b"].into(), "a"),
        (["\r\n", "\n"].into(), ""),
    ] {
        let encoded = encode(&ending, content.as_bytes()).unwrap();
        assert_eq!(encoded, [content.as_bytes(), ending.members()[0]].concat());
    }
}

#[test]
fn counts_and_none_append_nothing_and_refuse_nothing() {
    for ending in [Ending::Count(0), Ending::Count(3), Ending::Never, Ending::from("")] {
        assert_eq!(encode(&ending, b"a\r\nb").unwrap(), "a\r\nb");
    }
}
