//! A Maildir: every message is a file of its own, written in `tmp` and moved to
//! `new` once it is complete and on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::task::spawn_blocking;

pub struct Maildir {
    root: PathBuf,
}

impl Maildir {
    /// Makes the folders that are not there.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        for folder in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        Ok(Maildir { root })
    }

    /// Begins a message, with these lines in front of it.
    pub async fn begin(&self, trace: String) -> io::Result<Incoming> {
        let name = unique_name();
        let (tmp, new) = (self.root.join("tmp").join(&name), self.root.join("new").join(&name));
        // The file comes together with what removes it, so that it goes also if
        // by then nobody waits for it any more.
        let opened = spawn_blocking(move || {
            let file = std::fs::File::create_new(&tmp)?;
            io::Result::Ok(Incoming {
                file: BufWriter::with_capacity(BUFFER, File::from_std(file)),
                tmp,
                new,
            })
        });
        let mut incoming: Incoming = opened.await??;
        incoming.write_line(trace.as_bytes()).await?;
        Ok(incoming)
    }
}

/// A message on its way in. Unless it is delivered, nothing of it remains.
pub struct Incoming {
    file: BufWriter<File>,
    tmp: PathBuf,
    new: PathBuf,
}

impl Incoming {
    pub async fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line).await?;
        self.file.write_all(b"\n").await
    }

    /// When this is done, a loss of power does not lose the message.
    pub async fn deliver(mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        tokio::fs::rename(&self.tmp, &self.new).await?;
        #[cfg(unix)]
        if let Some(folder) = self.new.parent() {
            File::open(folder).await?.sync_all().await?;
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Of what is delivered there is nothing left under this name.
        let _ = std::fs::remove_file(&self.tmp);
    }
}

/// By the rules of Maildir: the time, what tells apart those of the same
/// microsecond, and the host. Should it still not be unique, opening fails.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    format!("{seconds}.M{micros:06}P{}Q{count}.localhost", std::process::id())
}

/// Bytes of a message that are gathered for one write.
const BUFFER: usize = 32 * 1024;
