//! A Maildir: every message is a file of its own. It is written in `tmp` and moved to `new` when
//! it is complete and on the disk.

use example_common::random;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::task::spawn_blocking;

pub struct Maildir {
    root: PathBuf,
}

impl Maildir {
    /// Makes the folders that are not there. Nobody else may look into them.
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        builder.mode(0o700);
        for folder in ["tmp", "new", "cur"] {
            builder.create(root.join(folder))?;
        }
        Ok(Maildir { root: root.to_owned() })
    }

    /// Begins a message, with these lines in front of it.
    pub async fn begin(&self, trace: String) -> io::Result<Incoming> {
        let name = unique_name();
        let (tmp, new) = (self.root.join("tmp").join(&name), self.root.join("new").join(&name));
        // The file comes together with what removes it, so that it goes also if
        // by then nobody waits for it any more.
        let opened = spawn_blocking(move || {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            options.mode(0o600);
            let file = File::from_std(options.open(&tmp)?);
            io::Result::Ok(Incoming { file: BufWriter::with_capacity(BUFFER, file), tmp, new })
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

    /// When this is done, a loss of power does not lose the message. After an error it is
    /// not there.
    pub async fn deliver(mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.get_ref().sync_all().await?;
        // Opened before the move, because an error after it has to undo the move.
        #[cfg(unix)]
        let folder = File::open(self.new.with_file_name("")).await?;
        tokio::fs::rename(&self.tmp, &self.new).await?;
        #[cfg(unix)]
        if let Err(error) = folder.sync_all().await {
            // Unless a reader was faster, and has it.
            if tokio::fs::remove_file(&self.new).await.is_ok() {
                return Err(error);
            }
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

/// By the rules of Maildir: the time, the process, a number and the host. Servers on
/// several hosts may share the folder, so that only the random part is unique.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, micros, process) = (now.as_secs(), now.subsec_micros(), std::process::id());
    format!("{seconds}.M{micros:06}P{process}R{}Q{count}.localhost", random())
}

/// Bytes of a message that are gathered for one write.
const BUFFER: usize = 32 * 1024;
