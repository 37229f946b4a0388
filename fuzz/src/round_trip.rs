//! What the encoder accepts is read back as exactly one frame, however it is
//! cut, also in a sequence; what it refuses would not have been, and leaves
//! nothing behind.

use asynchat::{Error, FrameRef, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use fuzz_oracle::input::Input;
use fuzz_oracle::oracle::reads_back;
use tokio_util::codec::Encoder;

pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut steps = input.steps();
    let term = input.term();
    let ending = term.ending.members().first().copied().unwrap_or_default();
    let mut codec = TerminatorCodec::new(term.built.clone()).with_max_length(usize::MAX);
    codec.set_encode_terminator(term.built);
    let mut sent = BytesMut::new();
    let mut items = vec![];
    while !input.0.is_empty() {
        let item = input.some(32);
        let before = sent.len();
        match codec.encode(Bytes::copy_from_slice(item), &mut sent) {
            Ok(()) => {
                let written = &sent[before..];
                assert_eq!(written.strip_suffix(ending), Some(item), "as it is, and its ending");
                assert!(ending.is_empty() || reads_back(&term.ending, item, ending), "injection");
                items.push(item);
            }
            Err(Error::TerminatorInContent) => {
                assert_eq!(sent.len(), before, "written though refused");
                assert!(!reads_back(&term.ending, item, ending), "refused without need");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    if ending.is_empty() {
        return assert_eq!(sent, items.concat());
    }
    let (mut from, mut arrived, mut read) = (0, 0, items.iter());
    while arrived < sent.len() {
        arrived += steps.size().min(sent.len() - arrived);
        let mut src = &sent[from..arrived];
        while let Some(frame) = codec.decode_slice(&mut src).expect("no limit") {
            assert_eq!(Some(frame), read.next().map(|item| FrameRef::Complete(item)));
        }
        from = arrived - src.len();
    }
    assert_eq!((from, read.next()), (sent.len(), None), "all were read");
}
