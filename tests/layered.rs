//! A channel over TLS, over an in-memory transport and over TCP.
//!
//! A TLS session takes more than it has sent, and sends in `poll_flush`. If the peer
//! leaves without `close_notify`, reading fails while writing goes on.

use asynchat::{Channel, Control, Error, Handler, Run, Terminator, Timeout, Timeouts};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Any transport below TLS.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

type Server = server::TlsStream<Box<dyn Io>>;
type Client = client::TlsStream<Box<dyn Io>>;

/// The transport below TLS: memory of this size, or a socket.
#[derive(Clone, Copy, Debug)]
enum Below {
    Memory(usize),
    Tcp,
}

// The session tickets of a server must fit, or `accept` waits for a client that reads.
const BELOW: [Below; 4] =
    [Below::Memory(512), Below::Memory(1000), Below::Memory(100_000), Below::Tcp];

impl Below {
    async fn pair(self) -> (Box<dyn Io>, Box<dyn Io>) {
        match self {
            Below::Memory(size) => {
                let (a, b) = duplex(size);
                (Box::new(a), Box::new(b))
            }
            Below::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (server, _) = listener.accept().await.unwrap();
                (Box::new(server), Box::new(client))
            }
        }
    }

    /// A TLS session, the server's end and the client's.
    async fn tls(self) -> (Server, Client) {
        let (server, client) = self.pair().await;
        handshake(server, client).await
    }
}

async fn handshake<A, B>(server: A, client: B) -> (server::TlsStream<A>, client::TlsStream<B>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let accepts = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let connects = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(
        TlsAcceptor::from(Arc::new(accepts)).accept(server),
        TlsConnector::from(Arc::new(connects)).connect(name, client),
    );
    (server.unwrap(), client.unwrap())
}

/// Runs a dialogue over each transport, and panics if it does not end.
///
/// Over memory the clock is paused: it moves on only if no task can.
fn over_each<F: Future<Output = ()>>(dialogue: impl Fn(Below) -> F) {
    for below in BELOW {
        let is_tcp = matches!(below, Below::Tcp);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(!is_tcp).build().unwrap();
        let ended = runtime.block_on(async { timeout(HOUR, dialogue(below)).await });
        assert!(ended.is_ok(), "{below:?}: a wake is lost");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Answers each frame with `len` bytes, and then closes if `closes` is set.
struct Answers {
    len: usize,
    closes: bool,
}

impl Handler for Answers {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        control.push(vec![b'x'; self.len]);
        if self.closes {
            control.close_when_done();
        }
        Ok(())
    }
}

#[test]
fn header_and_body_are_exchanged_over_tls() {
    over_each(|below| async move {
        let (server, client) = below.tls().await;
        let serve = async {
            let mut channel = Channel::new(server, "\r\n");
            loop {
                let header = channel.receive("\r\n").await?;
                let Some(len) = header.strip_prefix(b"LEN ") else { break };
                let len: usize = std::str::from_utf8(len).unwrap().parse().unwrap();
                let body = channel.receive(Terminator::count(len)).await?;
                channel.push(format!("OK {len}\r\n"));
                channel.push(body);
            }
            channel.close().await
        };
        let ask = async {
            let mut channel = Channel::new(client, "\r\n");
            for len in [0, 1, 1000, 20_000, 60_000] {
                channel.push(format!("LEN {len}\r\n"));
                channel.push(vec![b'b'; len]);
                let header = channel.receive("\r\n").await?;
                assert_eq!(header, format!("OK {len}"));
                let body = channel.receive(Terminator::count(len)).await?;
                assert!(body.len() == len && body.iter().all(|byte| *byte == b'b'));
            }
            channel.push("BYE\r\n");
            channel.close().await
        };
        let (served, asked) = tokio::join!(serve, ask);
        assert!(served.is_ok() && asked.is_ok(), "{below:?}: {served:?}, {asked:?}");
    });
}

/// Sends a request, ends the transport below without `close_notify`, and reads on.
async fn leave_early(mut client: Client) -> Vec<u8> {
    client.write_all(b"get\n").await.unwrap();
    client.flush().await.unwrap();
    client.get_mut().0.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // It ends with `close_notify`, or without.
    let _ = client.read_to_end(&mut answer).await;
    answer
}

#[test]
fn run_delivers_answer_to_peer_without_close_notify() {
    over_each(|below| async move {
        for len in [1, 10_000, 300_000] {
            let (server, client) = below.tls().await;
            let serve = async {
                let mut channel = Channel::builder().terminator("\n").build(server);
                channel.run(&mut Answers { len, closes: true }).await
            };
            let (ended, answer) = tokio::join!(serve, leave_early(client));
            assert!(matches!(ended, Ok(Run::Closed)), "{below:?}, {len}: {ended:?}");
            assert_eq!(answer.len(), len, "{below:?}");
        }
    });
}

#[test]
fn run_delivers_answer_before_it_reports_early_end() {
    over_each(|below| async move {
        let (server, client) = below.tls().await;
        let serve = async move {
            let mut channel = Channel::builder().terminator("\n").build(server);
            channel.run(&mut Answers { len: 10_000, closes: false }).await
        };
        let (ended, answer) = tokio::join!(serve, leave_early(client));
        let kind = match ended {
            Err(Error::Io(e)) => Some(e.kind()),
            _ => None,
        };
        assert_eq!(kind, Some(ErrorKind::UnexpectedEof), "{below:?}");
        assert_eq!(answer.len(), 10_000, "{below:?}");
    });
}

#[test]
fn close_delivers_answer_to_peer_without_close_notify() {
    over_each(|below| async move {
        let (server, client) = below.tls().await;
        let serve = async {
            let mut channel = Channel::new(server, "\n");
            channel.receive("\n").await?;
            channel.push(vec![b'x'; 10_000]);
            channel.close().await
        };
        let (closed, answer) = tokio::join!(serve, leave_early(client));
        assert!(closed.is_ok(), "{below:?}: {closed:?}");
        assert_eq!(answer.len(), 10_000, "{below:?}");
    });
}

#[test]
fn discard_during_pending_write_keeps_tls_intact() {
    over_each(|below| async move {
        for new in [4, 5000, 20_000, 60_000] {
            let (server, mut client) = below.tls().await;
            let mut channel = Channel::new(server, "\n");
            // More than the kernel takes: the peer does not read yet.
            let old = 32 << 20;
            channel.push(vec![b'x'; old]);
            assert!(tokio_test::task::spawn(channel.flush()).poll().is_pending());
            let discarded = channel.discard_buffers().output_bytes;
            assert!(discarded > 0, "{below:?}: no write is pending");
            channel.push(vec![b'y'; new]);
            let read = async {
                let mut all = Vec::new();
                client.read_to_end(&mut all).await.unwrap();
                client.shutdown().await.unwrap();
                all
            };
            let (closed, all) = tokio::join!(channel.close(), read);
            assert!(closed.is_ok(), "{below:?}: {closed:?}");
            let kept = old - discarded as usize;
            assert_eq!(all.len(), kept + new, "{below:?}");
            assert_eq!(channel.sent_bytes(), all.len() as u64, "{below:?}");
            let (before, after) = all.split_at(kept);
            assert!(before.iter().all(|byte| *byte == b'x'), "{below:?}");
            assert!(after.iter().all(|byte| *byte == b'y'), "{below:?}");
        }
    });
}

/// Sends back what comes, line by line.
struct Echo;

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, frame: &[u8]) -> Result<(), Error> {
        control.push_slice(frame);
        control.push_slice(b"\n");
        Ok(())
    }

    fn input_ended(&mut self, control: &mut Control<'_>) -> Result<(), Error> {
        control.close_when_done();
        Ok(())
    }
}

#[test]
fn split_channel_works_in_two_tasks_over_tls() {
    const LINES: usize = 300;
    over_each(|below| async move {
        let (server, client) = below.tls().await;
        let served = tokio::spawn(async move {
            // Both ends send more than fits: only reading lets either go on.
            let mut channel = Channel::builder().terminator("\n").high_water(1000).build(server);
            channel.run(&mut Echo).await
        });
        let channel = Channel::builder()
            .terminator("\n")
            .encode_terminator("\n")
            .high_water(1000)
            .low_water(100)
            .build(client);
        let (mut sink, mut stream) = channel.split();
        let writer = tokio::spawn(async move {
            for n in 0..LINES {
                sink.feed(Bytes::from(format!("{n:0500}"))).await?;
            }
            sink.close().await
        });
        let reader = tokio::spawn(async move {
            for n in 0..LINES {
                let frame = stream.next().await.unwrap().unwrap();
                assert_eq!(frame.into_data(), format!("{n:0500}"));
            }
            stream.next().await
        });
        writer.await.unwrap().unwrap();
        let last = reader.await.unwrap();
        assert!(last.is_none(), "{below:?}: {last:?}");
        assert!(matches!(served.await.unwrap(), Ok(Run::Closed)), "{below:?}");
    });
}

#[test]
fn send_of_one_task_completes_while_the_other_reads() {
    over_each(|below| async move {
        let (server, client) = below.tls().await;
        let (mut sink, mut stream) = Channel::new(client, "\n").split();
        let reader = tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
        let writer = tokio::spawn(async move { sink.send(vec![b'x'; 500_000].into()).await });
        let (mut from, mut to) = tokio::io::split(server);
        let talk = async {
            for _ in 0..100 {
                to.write_all(b"hello\n").await.unwrap();
                to.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut all = vec![0; 500_000];
        let (_, read) = tokio::join!(talk, from.read_exact(&mut all));
        read.unwrap();
        writer.await.unwrap().unwrap();
        to.shutdown().await.unwrap();
        drop((from, to));
        reader.await.unwrap();
    });
}

// The write timeout, on a clock that moves on only if no task can.

/// Passes on 20,000 bytes a second of the paused clock, and is never silent for longer than
/// `PAUSE`. The other direction is not slowed down.
async fn throttle(mut wire: DuplexStream, mut to: DuplexStream) {
    let (mut slow, mut fast) = ([0; 1000], [0; 1000]);
    loop {
        tokio::select! {
            read = wire.read(&mut slow) => match read {
                Ok(n @ 1..) => {
                    if to.write_all(&slow[..n]).await.is_err() {
                        return;
                    }
                    sleep(PAUSE).await;
                }
                _ => return,
            },
            read = to.read(&mut fast) => match read {
                Ok(n @ 1..) => {
                    if wire.write_all(&fast[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

/// The clock is paused, so this takes no time.
const PAUSE: Duration = Duration::from_millis(50);

const SENT: usize = 200_000;

fn writes_within<T>(io: T, write: Duration) -> Channel<T>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let timeouts = Timeouts { write: Some(write), ..Timeouts::default() };
    let mut channel = Channel::builder().timeouts(timeouts).build(io);
    channel.push(vec![b'x'; SENT]);
    channel
}

/// Sends to a steady reader over TLS. Returns how much has arrived.
async fn send_over_tls(buffer_limit: Option<usize>, write: Duration) -> (usize, Result<(), Error>) {
    let (server, wire) = duplex(1000);
    let (to, client) = duplex(1 << 20);
    let slow = tokio::spawn(throttle(wire, to));
    let (mut server, mut client) = handshake(server, client).await;
    if buffer_limit.is_some() {
        server.get_mut().1.set_buffer_limit(buffer_limit);
    }
    let mut channel = writes_within(server, write);
    let send = async move { channel.shutdown().await };
    let read = async move {
        let mut all = Vec::new();
        let _ = client.read_to_end(&mut all).await;
        all.len()
    };
    let (sent, arrived) = tokio::join!(send, read);
    slow.await.unwrap();
    (arrived, sent)
}

#[tokio::test(start_paused = true)]
async fn write_timeout_spares_steady_reader_over_tls() {
    let second = Duration::from_secs(1);
    // At 20 kB/s the 64 KiB that rustls takes ahead need 3.3 seconds to drain, and
    // 16 KiB need 0.8. In less time only wakes show that the peer reads.
    for (buffer_limit, write) in
        [(None, second * 7 / 2), (None, second / 2), (Some(16 * 1024), second / 2)]
    {
        let (arrived, sent) = send_over_tls(buffer_limit, write).await;
        assert_eq!((arrived, sent.is_ok()), (SENT, true), "{buffer_limit:?}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn write_timeout_spares_steady_reader_over_buf_writer() {
    let second = Duration::from_secs(1);
    for (size, write) in
        [(64 * 1024, second * 7 / 2), (64 * 1024, second / 2), (16 * 1024, second / 2)]
    {
        let (io, wire) = duplex(1000);
        let (to, mut peer) = duplex(1 << 20);
        let slow = tokio::spawn(throttle(wire, to));
        let mut channel = writes_within(BufWriter::with_capacity(size, io), write);
        let send = async move { channel.shutdown().await };
        let read = async move {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.map(|_| all.len())
        };
        let (sent, arrived) = tokio::join!(send, read);
        slow.await.unwrap();
        assert_eq!((arrived.unwrap(), sent.is_ok()), (SENT, true), "{size}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn write_timeout_ends_stalled_peer_over_tls() {
    let second = Duration::from_secs(1);
    for buffer_limit in [None, Some(16 * 1024)] {
        let (server, client) = duplex(1000);
        let (mut server, client) = handshake(server, client).await;
        if buffer_limit.is_some() {
            server.get_mut().1.set_buffer_limit(buffer_limit);
        }
        let mut channel = writes_within(server, second);
        let start = Instant::now();
        let sent = timeout(HOUR, channel.shutdown()).await.unwrap();
        let expected =
            matches!(sent, Err(Error::Timeout(Timeout::Write(after))) if after == second);
        assert!(expected, "{buffer_limit:?}: {sent:?}");
        assert_eq!(start.elapsed(), second, "{buffer_limit:?}");
        drop(client);
    }
}
