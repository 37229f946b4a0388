//! Commands for the IMAP client.

use example_imap::client::{Client, Error, Settings};
use std::io::Cursor;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};

pub(crate) fn settings(max_answer: usize) -> Settings {
    Settings { max_answer, timeout: Duration::from_secs(60), alert: |_| () }
}

/// Runs one command, given in words, and tells what came of it.
pub(crate) async fn perform<T>(client: &mut Client<T>, command: &str) -> String
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    attempt(client, command).await.unwrap_or_else(|e| format!("error: {e}"))
}

async fn attempt<T>(client: &mut Client<T>, command: &str) -> Result<String, Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let words: Vec<&str> = command.split('|').collect();
    let result = match words[..] {
        ["login", user, password] => format!("{:?}", client.login(user, password).await?),
        ["list", pattern] => format!("{:?}", client.list(pattern).await?),
        ["select", mailbox] => format!("{:?}", client.select(mailbox).await?),
        ["examine", mailbox] => format!("{:?}", client.examine(mailbox).await?),
        ["create", mailbox] => format!("{:?}", client.create(mailbox).await?),
        ["search", criteria] => format!("{:?}", client.search(criteria).await?),
        ["fetch", set, items] => format!("{:?}", client.fetch(set, items).await?),
        ["store", set, flag] => format!("{:?}", client.store(set, "+FLAGS", &[flag]).await?),
        ["fetch_to", number] => {
            // One that wants to be flushed.
            let (mut to, mut progress) = (BufWriter::new(Vec::new()), Vec::new());
            let number = number.parse().unwrap();
            let length = client.fetch_to(number, &mut to, |done, all| progress.push((done, all)));
            let length = length.await?;
            // How many pieces there are depends on the cut.
            assert!(progress.is_sorted() && progress.iter().all(|(_, all)| *all == length));
            assert!(progress.last().is_none_or(|last| *last == (length, length)));
            format!("{length} {:?}", String::from_utf8_lossy(to.get_ref()))
        }
        ["append", mailbox, message] => {
            let length = message.len() as u64;
            let message = Cursor::new(message.to_owned());
            format!("{:?}", client.append(mailbox, length, message).await?)
        }
        ["idle", count] => {
            let mut events = Vec::new();
            let mut idle = client.idle().await?;
            for _ in 0..count.parse().unwrap() {
                events.push(idle.next().await?);
            }
            idle.done().await?;
            format!("{events:?}")
        }
        // What the last command was told besides.
        ["besides"] => format!("{:?} {:?}", client.unasked, client.notices),
        _ => panic!("{command}"),
    };
    Ok(result)
}
