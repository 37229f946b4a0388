//! The accept loop of the servers among the examples, and how they stop.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Runs `connection` for each peer until `shutdown`, then waits for all of
/// them, whose `watch` has turned to true.
pub(crate) async fn serve<F, Fut>(
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    connection: F,
) where
    F: Fn(TcpStream, watch::Receiver<bool>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                // Output is gathered by the channel: waiting to fill packets
                // only delays it.
                let _ = socket.set_nodelay(true);
                tokio::spawn(connection(socket, stopping.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come free.
                eprintln!("accept: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, stopping));
    stop.send_replace(true);
    // Every connection holds a receiver.
    stop.closed().await;
}

/// Waits for Ctrl-C.
pub(crate) async fn ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("cannot wait for Ctrl-C: {error}");
        std::future::pending().await
    }
}
