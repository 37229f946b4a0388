//! Commands for the memcached client.

use example_memcached::client::Client;
use tokio::io::{AsyncRead, AsyncWrite};

/// Runs one command, given in words, and tells what came of it.
pub(crate) async fn perform<T>(client: &mut Client<T>, command: &str) -> String
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let words: Vec<&str> = command.split(' ').collect();
    let result = match words[..] {
        ["get", ref keys @ ..] => client.get(keys).await.map(|values| format!("{values:?}")),
        ["gets", ref keys @ ..] => client.gets(keys).await.map(|values| format!("{values:?}")),
        ["cas", key, data] => {
            let stored = client.cas(key, 1, 2, data.to_owned(), 42).await;
            stored.map(|stored| format!("{stored:?}"))
        }
        ["delete", key] => client.delete(key).await.map(|found| format!("{found:?}")),
        ["incr", key] => client.incr(key, 5).await.map(|value| format!("{value:?}")),
        ["decr", key] => client.decr(key, 5).await.map(|value| format!("{value:?}")),
        ["stats"] => client.stats().await.map(|stats| format!("{stats:?}")),
        ["version"] => client.version().await,
        [verb, key, data] => {
            let stored = client.store(verb, key, 1, 2, data.to_owned()).await;
            stored.map(|stored| format!("{stored:?}"))
        }
        _ => panic!("{command}"),
    };
    result.unwrap_or_else(|e| format!("error: {e}"))
}
