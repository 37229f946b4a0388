//! Content out: encoded, or refused, on every way out.

use crate::case::{self, Case};
use crate::common::Ending;
use crate::replay_codec::ending;
use asynchat::{Channel, Control, Error, Frame, Handler, Terminator, TerminatorCodec};
use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_util::codec::{Decoder, Encoder};

pub(crate) fn replay(case: &Case) -> Result<(), String> {
    let (mut terminator, mut content, mut want) = (Ending::Never, None, None);
    for step in &case.steps {
        match step.pair() {
            ("terminator", rest) => terminator = ending(rest)?,
            ("content", rest) => content = Some(Bytes::from(case::bytes(rest)?)),
            ("encoded", rest) => want = Some(Some(case::bytes(rest)?)),
            ("refused", "") => want = Some(None),
            _ => return step.unknown(),
        }
    }
    let (Some(content), Some(want)) = (content, want) else {
        return Err("nothing is expected".into());
    };
    let runtime = case::runtime();
    let terminator = terminator.build();
    for (way, got) in [
        ("encode", encode(&terminator, &content)),
        ("feed", runtime.block_on(feed(&terminator, &content))),
        ("push_frame", runtime.block_on(push_frame(&terminator, &content))),
        ("push_frame in a callback", runtime.block_on(push_frame_back(&terminator, &content))),
    ] {
        let got = match got {
            Ok(encoded) => Some(encoded),
            Err(Error::TerminatorInContent) => None,
            Err(e) => return Err(format!("{way}: {e}")),
        };
        if got != want {
            return Err(format!("{way}: {got:?}, want {want:?}"));
        }
    }
    match want {
        Some(encoded) if terminator.patterns().next().is_some() => {
            read_back(&terminator, encoded, &content)
        }
        _ => Ok(()),
    }
}

/// A reader with that terminator sees what was meant.
fn read_back(terminator: &Terminator, encoded: Vec<u8>, content: &Bytes) -> Result<(), String> {
    let mut codec = TerminatorCodec::new(terminator.clone());
    let mut encoded = BytesMut::from(encoded.as_slice());
    let frames = [codec.decode_eof(&mut encoded), codec.decode_eof(&mut encoded)];
    match &frames {
        [Ok(Some(Frame::Complete(frame))), Ok(None)] if frame == content => Ok(()),
        _ => Err(format!("read back: {frames:?}, want {content:?}")),
    }
}

fn encode(terminator: &Terminator, content: &Bytes) -> Result<Vec<u8>, Error> {
    let mut codec = TerminatorCodec::default().with_encode_terminator(terminator.clone());
    let mut encoded = BytesMut::new();
    let done = codec.encode(content.clone(), &mut encoded);
    assert!(done.is_ok() || encoded.is_empty(), "refused, and yet written");
    done.map(|()| encoded.to_vec())
}

fn channel(terminator: &Terminator) -> (Channel<DuplexStream>, DuplexStream) {
    let (io, peer) = duplex(1024);
    let channel = Channel::builder().encode_terminator(terminator.clone()).linger(Duration::ZERO);
    (channel.build(io), peer)
}

/// What was done, and what has arrived.
async fn arrived(done: Result<(), Error>, mut peer: DuplexStream) -> Result<Vec<u8>, Error> {
    let mut got = vec![];
    peer.read_to_end(&mut got).await?;
    assert!(done.is_ok() || got.is_empty(), "refused, and yet sent");
    done.map(|()| got)
}

async fn feed(terminator: &Terminator, content: &Bytes) -> Result<Vec<u8>, Error> {
    let (mut channel, peer) = channel(terminator);
    let done = channel.feed(content.clone()).await;
    channel.shutdown().await?;
    arrived(done, peer).await
}

async fn push_frame(terminator: &Terminator, content: &Bytes) -> Result<Vec<u8>, Error> {
    let (mut channel, peer) = channel(terminator);
    let done = channel.push_frame(content.clone());
    channel.shutdown().await?;
    arrived(done, peer).await
}

async fn push_frame_back(terminator: &Terminator, content: &Bytes) -> Result<Vec<u8>, Error> {
    struct Greeter(Bytes, Result<(), Error>);

    impl Handler for Greeter {
        type Error = Error;

        fn connected(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
            self.1 = control.push_frame(self.0.clone());
            control.close_when_done();
            Ok(())
        }
    }

    let (mut channel, peer) = channel(terminator);
    let mut greeter = Greeter(content.clone(), Ok(()));
    channel.run(&mut greeter).await?;
    arrived(greeter.1, peer).await
}
