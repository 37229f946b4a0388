//! What processes use of the machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;

/// The processor time of this process, in nanoseconds.
pub(crate) fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The processor time of the threads that a process has now, in nanoseconds.
pub(crate) fn cpu(process: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return 0.0 };
    let used = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    used.sum()
}

/// The memory of the kernel's own objects on this machine, in bytes.
pub(crate) fn kernel_memory() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() * 1024.0
}

/// Lets this process and its children have so many files open.
pub(crate) fn allow_open_files(files: usize) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= files as u64) {
        return Ok(());
    }
    if let Some(maximum) = maximum.filter(|&maximum| maximum < files as u64) {
        return Err(format!("{files} open files are needed, and {maximum} are allowed"));
    }
    let limit = Rlimit { current: Some(files as u64), maximum };
    setrlimit(Resource::Nofile, limit).map_err(|error| error.to_string())
}
