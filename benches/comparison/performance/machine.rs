//! What the figures of a page were measured with.

use std::process::Command;

/// The day, the processor, the systems and the versions of libraries, as one sentence.
pub(crate) fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpu = cpu.trim_start_matches([':', '\t', ' ']);
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let lock = include_str!("../../../Cargo.lock");
    let version = |name: &str| {
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.trim_start().starts_with(&format!("name = \"{name}\"")));
        let line = entry.and_then(|entry| entry.lines().find(|line| line.starts_with("version")));
        let version = line.unwrap_or_default().trim_start_matches("version = ").trim_matches('"');
        format!("{name} {version}")
    };
    let versions = ["tokio", "tokio-util", "bytes", "memchr", "hyper", "tokio-tungstenite"]
        .map(version)
        .join(", ");
    format!(
        "{}, {cpu}, {cores} cores, {}; {}; {versions}.",
        said("date", &["+%F"]),
        said("uname", &["-sr"]).split('-').next().unwrap_or_default(),
        said("rustc", &["--version"]),
    )
}
