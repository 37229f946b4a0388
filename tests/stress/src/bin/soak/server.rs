//! Sends each body back, if it is the one that was announced and it is its turn.

use crate::transport::Layer;
use crate::watch::COUNTS;
use crate::words::{ANSWER, Header, REQUEST};
use asynchat::{Channel, Control, Error, Handler, Terminator, producer};
use bytes::Bytes;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

pub(crate) struct Server {
    addresses: Vec<SocketAddr>,
    /// Each connection and each listener holds a receiver.
    stop: watch::Sender<bool>,
}

impl Server {
    /// On several addresses, each of which has ports enough of its own.
    pub(crate) async fn start(layer: Layer) -> io::Result<Self> {
        let mut server = Server { addresses: Vec::new(), stop: watch::Sender::new(false) };
        for last in 1..=8 {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
            // More than clients that connect, and go, before one is accepted: of
            // what does not fit the kernel resets some, and that is not our doing.
            let listener = socket.listen(4096)?;
            server.addresses.push(listener.local_addr()?);
            tokio::spawn(accept(listener, layer.clone(), server.stop.subscribe()));
        }
        Ok(server)
    }

    pub(crate) fn addresses(&self) -> Arc<[SocketAddr]> {
        self.addresses.as_slice().into()
    }

    /// To be called when all clients have gone. How many connections are still
    /// there when they have had their time to notice.
    pub(crate) async fn stop(self) -> usize {
        self.stop.send_replace(true);
        let all_gone = self.stop.closed();
        // A peer that has taken nothing for long is asked every two minutes by the
        // kernel whether it is still there.
        let _ = tokio::time::timeout(Duration::from_secs(300), all_gone).await;
        self.stop.receiver_count()
    }
}

async fn accept(listener: TcpListener, layer: Layer, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                tokio::spawn(serve(socket, layer.clone(), stop.clone()));
            }
            Err(error) => {
                COUNTS.wrong(format_args!("accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(socket: TcpStream, layer: Layer, _open: watch::Receiver<bool>) {
    let Ok(transport) = layer.accept(socket).await else {
        COUNTS.lost.fetch_add(1, Relaxed);
        return;
    };
    let mut channel = Channel::new(transport, Terminator::blank_line());
    COUNTS.connections.fetch_add(1, Relaxed);
    match channel.run(&mut Echo::default()).await {
        Ok(_) => {}
        // Some clients reset.
        Err(Error::Io(_)) => {
            COUNTS.lost.fetch_add(1, Relaxed);
        }
        Err(error) => COUNTS.wrong(format_args!("server: {error:?}")),
    }
    COUNTS.connections.fetch_sub(1, Relaxed);
}

#[derive(Default)]
struct Echo {
    seq: u64,
    /// Of the body that is coming.
    header: Option<Header>,
}

impl Handler for Echo {
    type Error = Error;

    fn frame(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        match self.header.take() {
            None => self.header(control, data),
            Some(header) => self.body(control, header, data),
        }
    }

    /// The rest of a request whose client has gone.
    fn collect_incoming_data(&mut self, _: &mut Control<'_>, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

impl Echo {
    fn header(&mut self, control: &mut Control<'_>, data: &[u8]) -> Result<(), Error> {
        match Header::parse(REQUEST, data) {
            Some(header) if header.seq == self.seq => {
                control.set_terminator(header.length);
                self.header = Some(header);
                Ok(())
            }
            header => refuse(format_args!("{header:?} for {}", self.seq)),
        }
    }

    fn body(
        &mut self,
        control: &mut Control<'_>,
        header: Header,
        data: &[u8],
    ) -> Result<(), Error> {
        if !header.fits(data) {
            return refuse(format_args!("{} bytes for {header:?}", data.len()));
        }
        self.seq += 1;
        control.push(Header::of(header.seq, data).to_bytes(ANSWER));
        if data.len() > 4096 {
            let body = Bytes::copy_from_slice(data);
            let ends = (0..body.len()).step_by(1000);
            let chunks = ends.map(move |at| body.slice(at..body.len().min(at + 1000)));
            control.push_with_producer(producer::from_iter(chunks));
        } else {
            control.push_slice(data);
        }
        control.set_terminator(Terminator::blank_line());
        Ok(())
    }
}

fn refuse(what: std::fmt::Arguments<'_>) -> Result<(), Error> {
    COUNTS.wrong(format_args!("request: {what}"));
    Err(io::Error::from(io::ErrorKind::InvalidData).into())
}
