/// Pushes `producer` into a channel, and returns what the peer receives.
async fn sent<S, B, E>(producer: S) -> String
where
    S: futures::Stream<Item = Result<B, E>> + Send + 'static,
    B: Into<bytes::Bytes>,
    E: Into<std::io::Error>,
{
    let (io, peer) = tokio::io::duplex(1 << 20);
    let mut channel = asynchat::Channel::new(io, None);
    channel.push_with_producer(producer);
    channel.shutdown().await.unwrap();
    let received = asynchat::Channel::new(peer, None).receive(None).await.unwrap();
    String::from_utf8(received.to_vec()).unwrap()
}
