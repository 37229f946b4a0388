//! Opens files below a folder. No name leads out of the folder, even if files are moved
//! meanwhile. A call that may block (for a lease, or a network) runs on one of a limited number
//! of threads.

use crate::http::{NOT_FOUND, Status, UNAVAILABLE};
use bytes::Bytes;
use futures::{Stream, stream};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// A folder whose files may be read.
pub(crate) struct Files {
    folder: Arc<File>,
    pub(crate) turns: Arc<Semaphore>,
}

impl Files {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let folder = Arc::new(File::open(folder)?);
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Files { folder, turns: Arc::new(Semaphore::new(MAX_CALLS)) })
    }

    /// Opens a regular file. Returns what is in it, and its length in bytes.
    pub(crate) async fn open(
        &self,
        name: String,
    ) -> Result<(impl Stream<Item = io::Result<Bytes>> + use<>, u64), Status> {
        let (folder, turns) = (Arc::clone(&self.folder), Arc::clone(&self.turns));
        let opening = in_turn(Arc::clone(&turns), move || open(&folder, &name));
        let Ok(Ok(opened)) = timeout(OPEN_TIME, opening).await else { return Err(UNAVAILABLE) };
        let (file, length) = opened?;
        let file = Open { file: Some(file), turns };
        let blocks = stream::try_unfold((file, length), |(file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let reading = in_turn(Arc::clone(&file.turns), move || file.read(left));
            let (file, block) = timeout(READ_TIME, reading).await???;
            let left = left - block.len() as u64;
            Ok(Some((block, (file, left))))
        });
        Ok((blocks, length))
    }
}

/// Makes a call that may block, when it is its turn.
pub(crate) async fn in_turn<T: Send + 'static>(
    turns: Arc<Semaphore>,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let turn = turns.acquire_owned().await;
    // It cannot be stopped, and has its turn for as long as it takes.
    Ok(spawn_blocking(move || (call(), turn)).await?.0)
}

/// An open file. Closing it may block as well.
struct Open {
    file: Option<File>,
    turns: Arc<Semaphore>,
}

impl Open {
    /// Reads a block of the bytes that are left. It is not empty.
    fn read(self, left: u64) -> io::Result<(Self, Bytes)> {
        let mut block = Vec::with_capacity(BLOCK);
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        match file.take(left.min(BLOCK as u64)).read_to_end(&mut block)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok((self, block.into())),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let file = self.file.take();
        tokio::spawn(in_turn(Arc::clone(&self.turns), || drop(file)));
    }
}

#[cfg(unix)]
fn open(folder: &File, name: &str) -> Result<(File, u64), Status> {
    use rustix::fs::{FileType, OFlags, fstat};
    use rustix::io::Errno;

    let find = |flags| {
        let file = find(folder, Path::new(name), flags)?;
        let stat = fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
        is_file.then_some((file, stat)).ok_or(Errno::NOENT)
    };
    // To open a pipe would wake up its writer: so it is looked at first.
    #[cfg(target_os = "linux")]
    find(OFlags::PATH).map_err(status)?;
    // Neither a pipe without another end nor a lease is waited for.
    let (file, stat) = find(OFlags::NONBLOCK | OFlags::NOCTTY).map_err(status)?;
    Ok((file.into(), u64::try_from(stat.st_size).map_err(|_| UNAVAILABLE)?))
}

#[cfg(unix)]
fn status(error: rustix::io::Errno) -> Status {
    use rustix::io::Errno;
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP => NOT_FOUND,
        Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => NOT_FOUND,
        // No descriptors are left, somebody has a lease, the disk fails.
        _ => UNAVAILABLE,
    }
}

#[cfg(unix)]
fn find(
    folder: &File,
    name: &Path,
    flags: rustix::fs::OFlags,
) -> rustix::io::Result<rustix::fd::OwnedFd> {
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::fs::{Mode, OFlags, openat};
    use rustix::io::{Errno, retry_on_intr};

    let is_plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain || name.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Errno::NOENT);
    }
    let flags = flags | OFlags::CLOEXEC;
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

/// The calls made at once. Each may keep a thread and a descriptor for as long as it hangs.
pub(crate) const MAX_CALLS: usize = 64;

/// Bytes of a file that are read at once.
const BLOCK: usize = 32 * 1024;

/// The time that opening a file may take.
pub(crate) const OPEN_TIME: Duration = Duration::from_secs(5);

/// The time that reading a block of it may take.
const READ_TIME: Duration = Duration::from_secs(30);
