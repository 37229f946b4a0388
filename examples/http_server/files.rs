//! Files below a folder. No name leads out of it, even if files are moved meanwhile. A
//! call that may block (for a lease, a pipe, a network) is made on a thread for such calls.

use crate::http::{NOT_FOUND, Status, UNAVAILABLE};
use asynchat::producer;
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use std::fs::File;
use std::io;
use std::path::{Component, Path};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A folder whose files may be read.
pub(crate) struct Files {
    folder: Arc<File>,
    turns: Arc<Semaphore>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let folder = Arc::new(File::open(folder)?);
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Files { folder, turns: Arc::new(Semaphore::new(MAX_OPENING)) })
    }

    /// Opens a regular file. Returns what is in it, and its length in bytes.
    pub(crate) async fn open(
        &self,
        name: String,
    ) -> Result<(impl Stream<Item = io::Result<Bytes>> + use<>, u64), Status> {
        let (folder, turns) = (Arc::clone(&self.folder), Arc::clone(&self.turns));
        let opening = async {
            let turn = turns.acquire_owned().await;
            // It cannot be stopped, and has its turn for as long as it takes.
            spawn_blocking(move || (open(&folder, &name), turn).0).await
        };
        let Ok(Ok(opened)) = timeout(OPEN_TIME, opening).await else { return Err(UNAVAILABLE) };
        let (file, length) = opened?;
        let blocks = Box::pin(producer::from_reader_exact(Reader(Some(file.into())), length));
        let in_time = stream::try_unfold(blocks, |mut blocks| async {
            let block = timeout(READ_TIME, blocks.try_next()).await??;
            Ok(block.map(|block| (block, blocks)))
        });
        Ok((in_time, length))
    }
}

/// An open file. Closing it may block as well.
struct Reader(Option<tokio::fs::File>);

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |file| Pin::new(file).poll_read(cx, buf))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let file = self.0.take();
        spawn_blocking(|| drop(file));
    }
}

#[cfg(unix)]
fn open(folder: &File, name: &str) -> Result<(File, u64), Status> {
    use rustix::fs::{FileType, fstat};
    use rustix::io::Errno;

    let opened = find(folder, Path::new(name)).and_then(|file| Ok((fstat(&file)?, file)));
    match opened {
        Ok((stat, file)) if FileType::from_raw_mode(stat.st_mode).is_file() => {
            Ok((file.into(), u64::try_from(stat.st_size).map_err(|_| UNAVAILABLE)?))
        }
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) => Err(NOT_FOUND),
        Err(Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV) => Err(NOT_FOUND),
        // No descriptors are left, somebody has a lease, the disk fails.
        Err(_) => Err(UNAVAILABLE),
    }
}

#[cfg(unix)]
fn find(folder: &File, name: &Path) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::{Errno, retry_on_intr};

    let is_plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain || name.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Errno::NOENT);
    }
    // Neither a pipe without another end nor a lease is waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let found = retry_on_intr(|| openat2(folder, name, flags, Mode::empty(), resolve));
        // A kernel before 5.6 has no such call, and a filter may not let it through.
        if !matches!(found, Err(Errno::NOSYS | Errno::PERM)) {
            return found;
        }
    }
    // Folder by folder, and along no link.
    let mut found: Option<OwnedFd> = None;
    for part in name {
        let folder = found.as_ref().map_or(folder.as_fd(), AsFd::as_fd);
        let flags = flags | OFlags::NOFOLLOW;
        found = Some(retry_on_intr(|| openat(folder, part, flags, Mode::empty()))?);
    }
    found.ok_or(Errno::NOENT)
}

#[cfg(not(unix))]
fn open(_: &File, _: &str) -> Result<(File, u64), Status> {
    Err(NOT_FOUND)
}

/// The number of files opened at once: other threads are for reading.
const MAX_OPENING: usize = 256;

/// The time that opening a file may take.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// The time that reading a block of it may take.
const READ_TIME: Duration = Duration::from_secs(30);
