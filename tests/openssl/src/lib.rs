//! TLS sessions of OpenSSL in memory, for the tests beside this.

use native_tls::{Identity, TlsAcceptor, TlsConnector};
use tokio::io::{DuplexStream, duplex};
use tokio_native_tls::TlsStream;

/// Connects the two ends of a TLS session over memory that holds `size` bytes.
///
/// # Panics
///
/// If the handshake fails.
pub async fn tls(size: usize) -> (TlsStream<DuplexStream>, TlsStream<DuplexStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity::from_pkcs8(certificate.as_bytes(), key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::new(identity).unwrap();
    let connector = TlsConnector::builder().danger_accept_invalid_certs(true).build().unwrap();
    let (server, client) = duplex(size);
    let (acceptor, connector) = (
        tokio_native_tls::TlsAcceptor::from(acceptor),
        tokio_native_tls::TlsConnector::from(connector),
    );
    let (server, client) =
        tokio::join!(acceptor.accept(server), connector.connect("localhost", client));
    (server.unwrap(), client.unwrap())
}
