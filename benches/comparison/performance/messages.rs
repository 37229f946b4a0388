//! A length of 4 bytes, and a body: the headline use of counted frames.

use crate::measure::{Contest, Outcome, Unit, time};
use crate::memory::{next, owned};
use crate::network::{connected, runtime, send};
use asynchat::{
    Body, BoxError, Channel, Control, Error, FrameRef, Handler, Length, Terminator, TerminatorCodec,
};
use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use std::hint::black_box;
use tokio::io::{AsyncReadExt, BufReader};
use tokio_util::codec::{Decoder, Framed, LengthDelimitedCodec};
use wire_codec::framing::{Endian, Framer, LengthPrefixed, LengthWidth};

const BODY: usize = 16;
const LENGTH: Length = Length::u32_be();
const ROUNDS: usize = 101;
const BLOCKS: usize = 200;

/// About 64 KiB of messages, and how many there are.
fn messages() -> (Vec<u8>, usize) {
    let message = [&(BODY as u32).to_be_bytes()[..], &[b'x'; BODY]].concat();
    let count = 64 * 1024 / message.len();
    (message.repeat(count), count)
}

fn function() -> Terminator {
    fn body(head: &[u8]) -> Result<Body, BoxError> {
        Ok(Body::Bytes(u32::from_be_bytes(head.try_into()?).into()))
    }
    Terminator::message(4, body)
}

fn wire() -> LengthPrefixed {
    LengthPrefixed::bounded(LengthWidth::U32, Endian::Big)
}

/// What an owned message costs at least.
struct ByHand;

impl Decoder for ByHand {
    type Item = Bytes;
    type Error = std::io::Error;

    #[inline(always)]
    fn decode(&mut self, src: &mut BytesMut) -> std::io::Result<Option<Bytes>> {
        let Some(head) = src.first_chunk() else { return Ok(None) };
        let len = u32::from_be_bytes(*head) as usize;
        if src.len() - 4 < len {
            return Ok(None);
        }
        src.advance(4);
        Ok(Some(src.split_to(len).freeze()))
    }
}

/// The length and the body as frames of their own.
fn two_counts(block: &[u8], count: usize) -> f64 {
    let mut codec = TerminatorCodec::new(4);
    let mut input = BytesMut::from(block);
    let mut next = |codec: &mut TerminatorCodec| codec.decode(&mut input).ok().flatten();
    let mut seen = 0;
    let nanos = time(|| {
        while let Some(head) = next(&mut codec) {
            codec.set_terminator(u64::from(head.into_mut().get_u32()));
            black_box(next(&mut codec).map(|frame| frame.into_data()));
            codec.set_terminator(4);
            seen += 1;
        }
    });
    assert_eq!(seen, count);
    nanos / count as f64
}

fn borrowed(terminator: Terminator, block: &[u8], count: usize) -> f64 {
    let mut codec = TerminatorCodec::new(terminator);
    let mut input = black_box(block);
    let mut seen = 0;
    let nanos = time(|| {
        while let Ok(Some(FrameRef::Complete(message))) = codec.decode_slice(&mut input) {
            black_box(message);
            seen += 1;
        }
    });
    assert_eq!(seen, count);
    nanos / count as f64
}

pub(crate) fn decode_owned() -> Vec<Outcome> {
    let (block, count) = messages();
    let every = Terminator::every(4 + BODY as u64);
    let mut length = TerminatorCodec::new(LENGTH);
    let mut message = TerminatorCodec::new(function());
    let mut records = TerminatorCodec::new(every);
    let mut delimited = LengthDelimitedCodec::new();
    let mut framed = wire_codec::codec::FrameCodec::new(wire());
    vec![
        Contest::new("20 bytes", Unit::NanosPerFrame)
            .entry("asynchat, `Length`", || {
                owned(&block, count, |input| {
                    next(&mut length, input).map(|frame| frame.into_data())
                })
            })
            .entry("asynchat, `message`", || {
                owned(&block, count, |input| {
                    next(&mut message, input).map(|frame| frame.into_data())
                })
            })
            .entry("asynchat, `every`", || {
                owned(&block, count, |input| {
                    next(&mut records, input).map(|frame| frame.into_data())
                })
            })
            .entry("asynchat, two counts", || two_counts(&block, count))
            .entry("LengthDelimitedCodec", || {
                owned(&block, count, |input| next(&mut delimited, input).map(BytesMut::freeze))
            })
            .entry("wire-codec", || {
                owned(&block, count, |input| next(&mut framed, input).map(BytesMut::freeze))
            })
            .entry("split_to by hand", || owned(&block, count, |input| next(&mut ByHand, input)))
            .run(ROUNDS),
    ]
}

pub(crate) fn decode_borrowed() -> Vec<Outcome> {
    let (block, count) = messages();
    let every = Terminator::every(4 + BODY as u64);
    let wire = wire();
    vec![
        Contest::new("20 bytes", Unit::NanosPerFrame)
            .entry("asynchat, `Length`", || borrowed(LENGTH.into(), &block, count))
            .entry("asynchat, `message`", || borrowed(function(), &block, count))
            .entry("asynchat, `every`", || borrowed(every.clone(), &block, count))
            .entry("wire-codec", || {
                let (mut input, mut seen) = (black_box(&block[..]), 0);
                let nanos = time(|| {
                    while let Ok(Some(frame)) = wire.next_frame(input) {
                        black_box(frame.payload());
                        input = &input[frame.consumed()..];
                        seen += 1;
                    }
                });
                assert_eq!(seen, count);
                nanos / count as f64
            })
            .entry("by hand", || {
                let (mut input, mut seen) = (black_box(&block[..]), 0);
                let nanos = time(|| {
                    while let Some((head, rest)) = input.split_first_chunk() {
                        let len = u32::from_be_bytes(*head) as usize;
                        let Some((body, rest)) = rest.split_at_checked(len) else { break };
                        black_box(body);
                        input = rest;
                        seen += 1;
                    }
                });
                assert_eq!(seen, count);
                nanos / count as f64
            })
            .run(ROUNDS),
    ]
}

struct Count(usize);

impl Handler for Count {
    type Error = Error;

    fn frame(&mut self, _: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        black_box(data);
        self.0 += 1;
        Ok(())
    }
}

pub(crate) fn stream() -> Vec<Outcome> {
    let runtime = runtime();
    let (block, count) = messages();
    let frames = count * BLOCKS;
    let each = |nanos: f64| nanos / frames as f64;
    let delimited = |capacity: usize| {
        let (runtime, block) = (&runtime, &block);
        move || {
            each(connected(runtime, send(block, BLOCKS), async |socket| {
                let codec = LengthDelimitedCodec::new();
                let mut framed = Framed::with_capacity(socket, codec, capacity);
                let mut seen = 0;
                while let Some(message) = framed.next().await {
                    black_box(message.expect("it ends well"));
                    seen += 1;
                }
                assert_eq!(seen, frames);
            }))
        }
    };
    let next = |terminator: Terminator| {
        let (runtime, block) = (&runtime, &block);
        move || {
            each(connected(runtime, send(block, BLOCKS), async |socket| {
                let mut channel = Channel::new(socket, terminator.clone());
                let mut seen = 0;
                while let Some(message) = channel.next().await {
                    black_box(message.expect("it ends well"));
                    seen += 1;
                }
                assert_eq!(seen, frames);
            }))
        }
    };
    vec![
        Contest::new("20 bytes", Unit::NanosPerFrame)
            .entry("`next` of a `Length`", next(LENGTH.into()))
            .entry("`next` of a `message`", next(function()))
            .entry("`receive`, two counts", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut channel = Channel::new(socket, None);
                    let mut seen = 0;
                    while let Ok(mut head) = channel.receive(4).await {
                        let body = channel.receive(u64::from(head.get_u32())).await;
                        black_box(body.expect("it ends well"));
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .entry("LengthDelimitedCodec", delimited(8 * 1024))
            .entry("LengthDelimitedCodec, 64 KiB buffer", delimited(64 * 1024))
            .run(21),
    ]
}

pub(crate) fn handler() -> Vec<Outcome> {
    let runtime = runtime();
    let (block, count) = messages();
    let frames = count * BLOCKS;
    let each = |nanos: f64| nanos / frames as f64;
    let run = |terminator: Terminator| {
        let (runtime, block) = (&runtime, &block);
        move || {
            each(connected(runtime, send(block, BLOCKS), async |socket| {
                let mut handler = Count(0);
                let mut channel = Channel::new(socket, terminator.clone());
                channel.run(&mut handler).await.expect("it ends well");
                assert_eq!(handler.0, frames);
            }))
        }
    };
    vec![
        Contest::new("20 bytes", Unit::NanosPerFrame)
            .entry("`run` of a `Length`", run(LENGTH.into()))
            .entry("`run` of a `message`", run(function()))
            .entry("BufReader by hand", || {
                each(connected(&runtime, send(&block, BLOCKS), async |socket| {
                    let mut reader = BufReader::with_capacity(64 * 1024, socket);
                    let (mut body, mut seen) = (Vec::new(), 0);
                    while let Ok(len) = reader.read_u32().await {
                        body.resize(len as usize, 0);
                        reader.read_exact(&mut body).await.expect("it ends well");
                        black_box(&body);
                        seen += 1;
                    }
                    assert_eq!(seen, frames);
                }))
            })
            .run(21),
    ]
}
