//! TCP, or TLS over it.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::either::Either;

pub(crate) type Transport = Either<TcpStream, TlsStream<TcpStream>>;

/// Makes transports of sockets.
#[derive(Clone)]
pub(crate) enum Layer {
    Tcp,
    Tls(TlsAcceptor, TlsConnector),
}

impl Layer {
    /// Returns TLS with a certificate of its own.
    pub(crate) fn tls() -> Result<Self, Box<dyn Error>> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())?;
        Ok(Layer::Tls(Arc::new(server).into(), Arc::new(client).into()))
    }

    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<Transport> {
        let _ = socket.set_nodelay(true);
        Ok(match self {
            Layer::Tcp => Either::Left(socket),
            Layer::Tls(acceptor, _) => Either::Right(acceptor.accept(socket).await?.into()),
        })
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> io::Result<Transport> {
        let socket = TcpStream::connect(address).await?;
        let _ = socket.set_nodelay(true);
        Ok(match self {
            Layer::Tcp => Either::Left(socket),
            Layer::Tls(_, connector) => {
                let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
                Either::Right(connector.connect(name, socket).await?.into())
            }
        })
    }
}

/// Makes the socket reset the connection when it is dropped.
pub(crate) fn set_reset(transport: &Transport) -> io::Result<()> {
    match transport {
        Either::Left(socket) => socket.set_zero_linger(),
        Either::Right(stream) => stream.get_ref().0.set_zero_linger(),
    }
}

const NAME: &str = "localhost";
