//! The clients, each a task that connects again and again.

use crate::transport::{Layer, Transport, set_reset};
use crate::watch::COUNTS;
use crate::words::{ANSWER, Header, body, request};
use asynchat::{Channel, Error, Terminator};
use asynchat_stress::Rng;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) struct Clients {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn start(connections: usize, addresses: Arc<[SocketAddr]>, layer: Layer) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let turns = Arc::new(Semaphore::new(100));
        for at in 0..connections {
            let client = Client {
                kind: Kind::of(at),
                address: addresses[at % addresses.len()],
                layer: layer.clone(),
                rng: Rng::new((at as u64) << 40),
                turns: turns.clone(),
            };
            let mut stopped = stop.subscribe();
            tasks.spawn(async move {
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => {}
                    () = client.run() => {}
                }
            });
        }
        Clients { stop, tasks }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                COUNTS.wrong(format_args!("client: {error}"));
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Asks,
    Trickles,
    IsSilent,
    /// Asks on without waiting for answers.
    Floods,
    /// And does not even read them.
    FloodsAndNeverReads,
    Resets,
}

impl Kind {
    fn of(at: usize) -> Self {
        match at % 20 {
            0 | 1 => Kind::Trickles,
            2 | 3 => Kind::IsSilent,
            4 => Kind::Floods,
            5 => Kind::FloodsAndNeverReads,
            6 | 7 => Kind::Resets,
            _ => Kind::Asks,
        }
    }
}

struct Client {
    kind: Kind,
    address: SocketAddr,
    layer: Layer,
    rng: Rng,
    /// To connect: as many at a time as fit into the listeners' queues.
    turns: Arc<Semaphore>,
}

impl Client {
    async fn run(mut self) {
        loop {
            match self.connect().await {
                Ok(socket) => self.talk(socket).await,
                Err(_) => {
                    COUNTS.refused.fetch_add(1, Relaxed);
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn connect(&self) -> io::Result<Transport> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        self.layer.connect(self.address).await
    }

    /// One connection, for ten minutes on average.
    async fn talk(&mut self, socket: Transport) {
        let until = Instant::now() + Duration::from_millis(self.rng.below(20 * 60_000));
        let ended = match self.kind {
            Kind::Asks => self.ask(socket, until).await,
            Kind::Trickles => self.trickle(socket, until).await,
            Kind::IsSilent => self.be_silent(socket, until).await,
            Kind::Floods => self.flood(socket, until).await,
            Kind::FloodsAndNeverReads => self.never_read(socket, until).await,
            Kind::Resets => self.reset(socket).await,
        };
        if let Err(error) = ended {
            COUNTS.wrong(format_args!("client that {:?}: {error:?}", self.kind));
        }
    }

    /// Some requests one by one, and a pause.
    async fn ask(&mut self, socket: Transport, until: Instant) -> Result<(), Error> {
        let mut channel = Channel::new(socket, Terminator::blank_line());
        let connection = self.rng.next();
        let mut seq = 0;
        while Instant::now() < until {
            for _ in 0..1 + self.rng.below(5) {
                channel.push(request(connection, seq));
                answer(&mut channel, connection, seq).await?;
                seq += 1;
            }
            sleep(Duration::from_millis(200 + self.rng.below(2000))).await;
        }
        self.leave(channel).await
    }

    /// As they should, or without a word.
    async fn leave(&mut self, mut channel: Channel<Transport>) -> Result<(), Error> {
        if self.rng.one_in(2) {
            return Ok(());
        }
        channel.close_when_done();
        match channel.next().await {
            None => Ok(()),
            Some(more) => Err(io::Error::other(format!("more: {more:?}")).into()),
        }
    }

    async fn trickle(&mut self, socket: Transport, until: Instant) -> Result<(), Error> {
        let mut channel = Channel::new(socket, Terminator::blank_line());
        let connection = self.rng.next();
        for seq in 0.. {
            for byte in request(connection, seq) {
                channel.push_slice(&[byte]);
                channel.flush().await?;
                sleep(Duration::from_millis(20 + self.rng.below(100))).await;
                if Instant::now() >= until {
                    return Ok(());
                }
            }
            answer(&mut channel, connection, seq).await?;
        }
        Ok(())
    }

    /// Says nothing, or half a request.
    async fn be_silent(&mut self, mut socket: Transport, until: Instant) -> Result<(), Error> {
        if self.rng.one_in(2) {
            let half = request(self.rng.next(), 0);
            socket.write_all(&half[..half.len() / 2]).await?;
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    async fn flood(&mut self, socket: Transport, until: Instant) -> Result<(), Error> {
        let mut channel = Channel::new(socket, Terminator::blank_line());
        let connection = self.rng.next();
        let mut asked = 0;
        for seq in 0.. {
            while asked < seq + 64 {
                channel.push(request(connection, asked));
                asked += 1;
            }
            answer(&mut channel, connection, seq).await?;
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    /// Until everything between here and the server is full.
    async fn never_read(&mut self, mut socket: Transport, until: Instant) -> Result<(), Error> {
        let connection = self.rng.next();
        for seq in 0.. {
            let request = request(connection, seq);
            // Where it is short of memory the kernel throws away what is sent to a
            // full queue, and after a quarter of an hour the connection.
            let Ok(Ok(())) = timeout_at(until, socket.write_all(&request)).await else { break };
        }
        Ok(())
    }

    /// Asks and resets, before the answer or in the middle of it.
    async fn reset(&mut self, mut socket: Transport) -> Result<(), Error> {
        let connection = self.rng.next();
        for seq in 0..1 + self.rng.below(20) {
            socket.write_all(&request(connection, seq)).await?;
        }
        sleep(Duration::from_millis(self.rng.below(3))).await;
        set_reset(&socket)?;
        drop(socket);
        sleep(Duration::from_millis(500 + self.rng.below(1000))).await;
        Ok(())
    }
}

/// Takes the answer to a request, and checks all of it.
async fn answer(channel: &mut Channel<Transport>, connection: u64, seq: u64) -> Result<(), Error> {
    let header = channel.receive(Terminator::blank_line()).await?;
    let expected = body(connection, seq);
    if Header::parse(ANSWER, &header) != Some(Header::of(seq, &expected)) {
        return Err(io::Error::other(format!("not the header of answer {seq}")).into());
    }
    if channel.receive(expected.len() as u64).await? != expected {
        return Err(io::Error::other(format!("not the body of answer {seq}")).into());
    }
    COUNTS.answers.fetch_add(1, Relaxed);
    Ok(())
}
