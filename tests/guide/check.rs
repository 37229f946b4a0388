/// Plays `messages`, each a head and a body, and after them each of `refused` with the error
/// that it must lead to: whole, cut in two at each byte, and byte by byte.
fn check(
    terminator: impl asynchat::IntoTerminator,
    messages: &[(&[u8], &[u8])],
    refused: &[(&[u8], &str)],
) {
    let codec = asynchat::TerminatorCodec::new(terminator);
    let good: Vec<u8> = messages.iter().flat_map(|(head, body)| [*head, *body].concat()).collect();
    let seen = |&(head, body): &(&[u8], &[u8])| Ok(([head, body].concat(), head.len()));
    let good_seen: Vec<Seen> = messages.iter().map(seen).collect();
    play_each_cut(&codec, &good, &good_seen);
    for (bad, error) in refused {
        let (mut input, mut expected) = (good.clone(), good_seen.clone());
        input.extend_from_slice(bad);
        expected.push(Err((*error).to_owned()));
        play_each_cut(&codec, &input, &expected);
    }
}

/// A message with the length of its head, or the error that ends the play.
type Seen = Result<(Vec<u8>, usize), String>;

fn play_each_cut(codec: &asynchat::TerminatorCodec, input: &[u8], expected: &[Seen]) {
    let in_two = (0..input.len()).map(|at| vec![&input[..at], &input[at..]]);
    for chunks in in_two.chain([input.chunks(1).collect()]) {
        for play in [play_decode, play_decode_slice, play_framed, play_channel] {
            assert_eq!(play(codec.clone(), &chunks), expected, "{chunks:?}");
        }
    }
}

fn play_decode(mut codec: asynchat::TerminatorCodec, chunks: &[&[u8]]) -> Vec<Seen> {
    let (mut src, mut seen) = (bytes::BytesMut::new(), Vec::new());
    for chunk in chunks {
        src.extend_from_slice(chunk);
        let before = src.capacity();
        while let Some(item) = tokio_util::codec::Decoder::decode(&mut codec, &mut src).transpose()
        {
            seen.push(look(item.map(|frame| frame.into_complete()), codec.head_len()));
            if seen.last().is_some_and(Result::is_err) {
                return seen;
            }
        }
        assert!(src.capacity() <= before, "nothing is reserved");
    }
    seen
}

fn play_decode_slice(mut codec: asynchat::TerminatorCodec, chunks: &[&[u8]]) -> Vec<Seen> {
    let (mut unread, mut seen) = (Vec::new(), Vec::new());
    for chunk in chunks {
        unread.extend_from_slice(chunk);
        let mut src = &unread[..];
        while let Some(item) = codec.decode_slice(&mut src).transpose() {
            let data = item.map(|frame| Some(frame.data().to_vec()));
            seen.push(look(data, codec.head_len()));
            if seen.last().is_some_and(Result::is_err) {
                return seen;
            }
        }
        unread = src.to_vec();
    }
    seen
}

fn play_framed(codec: asynchat::TerminatorCodec, chunks: &[&[u8]]) -> Vec<Seen> {
    let mut framed = tokio_util::codec::Framed::new(transport(chunks), codec);
    play_stream(|| {
        let item = futures::executor::block_on_stream(&mut framed).next()?;
        assert!(framed.read_buffer().capacity() <= 64 * 1024, "nothing is reserved");
        Some(look(item.map(|frame| frame.into_complete()), framed.codec().head_len()))
    })
}

fn play_channel(codec: asynchat::TerminatorCodec, chunks: &[&[u8]]) -> Vec<Seen> {
    let mut channel = asynchat::Channel::builder().codec(codec).build(transport(chunks));
    play_stream(|| {
        let item = futures::executor::block_on(channel.next())?;
        assert!(channel.framed().read_buffer().capacity() <= 64 * 1024, "nothing is reserved");
        Some(look(item.map(|frame| frame.into_complete()), channel.head_len()))
    })
}

fn play_stream(mut next: impl FnMut() -> Option<Seen>) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(item) = next() {
        let is_over = item.is_err();
        seen.push(item);
        if is_over {
            break;
        }
    }
    seen
}

/// Each read returns one chunk.
fn transport(
    chunks: &[&[u8]],
) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + use<> {
    let chunks: Vec<_> =
        chunks.iter().map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let chunks = chunks.into_iter().map(|chunk| chunk.map(bytes::Bytes::from));
    let reader = tokio_util::io::StreamReader::new(futures::stream::iter(chunks));
    asynchat::Pipe::new(reader, tokio::io::sink())
}

fn look<D: AsRef<[u8]>>(item: Result<Option<D>, asynchat::Error>, head_len: usize) -> Seen {
    match item {
        Ok(Some(data)) => Ok((data.as_ref().to_vec(), head_len)),
        Ok(None) => Err("partial".to_owned()),
        Err(asynchat::Error::InvalidHead(reason)) => Err(reason.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
