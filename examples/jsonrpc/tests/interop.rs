//! Interop with programs: the official SDKs of the Model Context Protocol, each as
//! client and as server, and two language servers.

#[path = "../../../tests/programs/mod.rs"]
mod programs;

use programs::{is_installed, skip};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tokio::io::AsyncWriteExt;

const PROGRAM: &str = env!("CARGO_BIN_EXE_example-jsonrpc");

/// A file that is not in a package of the system: `.ci/run` installs it.
fn installed(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop").join(path);
    if !path.exists() {
        skip(&format!("{} is not installed", path.display()));
    }
    path.exists().then_some(path)
}

fn python() -> Option<Vec<String>> {
    let python = installed("venv/bin/python")?;
    let has = Command::new(&python).args(["-c", "import mcp, pylsp, pyflakes"]).status();
    if !has.is_ok_and(|status| status.success()) {
        skip("mcp or pylsp is not installed");
        return None;
    }
    Some(vec![python.display().to_string(), script("mcp_sdk.py")])
}

fn node() -> Option<Vec<String>> {
    let sdk = installed("node_modules/@modelcontextprotocol/sdk").filter(|_| is_installed("node"));
    sdk.map(|_| vec!["node".to_owned(), script("mcp_sdk.cjs")])
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name).display().to_string()
}

fn run(command: &[String], arguments: &[&str]) -> Output {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop/node_modules");
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]).args(arguments).stdin(Stdio::null()).env("NODE_PATH", modules);
    process.output().unwrap()
}

fn has_said(output: &Output, what: &str) {
    let [said, errors] = [&output.stdout, &output.stderr].map(|of| String::from_utf8_lossy(of));
    let beginning: String = said.chars().take(1000).collect();
    assert!(said.contains(what), "{beginning}\n{errors}");
}

/// Both ways: the SDK calls our server, and our client calls the SDK.
fn talks_both_ways(sdk: &[String]) {
    let output = run(sdk, &["client", PROGRAM, "serve"]);
    has_said(&output, "good");
    assert!(output.status.success());

    let (program, text) = ([PROGRAM.to_owned()], "x".repeat(100_000));
    let arguments = format!("{{\"text\":\"ü{text}\"}}");
    let call = ["call", "echo", &arguments, "--", &sdk[0], &sdk[1], "server"];
    let output = run(&program, &call);
    has_said(&output, &format!("\"text\":\"ü{text}\""));
    assert!(output.status.success());

    let call = ["call", "nothing", "--", &sdk[0], &sdk[1], "server"];
    assert!(!run(&program, &call).status.success());
}

#[test]
fn program_calls_its_own_server() {
    let text = "ü".repeat(50_000);
    let arguments = format!("{{\"text\":\"{text}\"}}");
    let call = ["call", "echo", &arguments, "--", PROGRAM, "serve"];
    let output = run(&[PROGRAM.to_owned()], &call);
    has_said(&output, &format!("\"text\":\"{text}\""));
    assert!(output.status.success());
}

/// Its client has gone to sleep: a write to stdout holds a thread of the runtime.
#[tokio::test]
async fn program_ends_at_the_end_of_input_with_full_output() {
    let mut program = tokio::process::Command::new(PROGRAM);
    program.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = program.spawn().unwrap();
    let (mut stdin, _unread) = (server.stdin.take().unwrap(), server.stdout.take());
    let version = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "a", "version": "1" } });
    let arguments = json!({ "name": "echo", "arguments": { "text": "x".repeat(1 << 20) } });
    for message in [
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": version }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments }),
    ] {
        stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }
    drop(stdin);
    programs::within(server.wait()).await.unwrap();
}

#[test]
fn python_sdk_talks_both_ways() {
    python().into_iter().for_each(|sdk| talks_both_ways(&sdk));
}

#[test]
fn node_sdk_talks_both_ways() {
    node().into_iter().for_each(|sdk| talks_both_ways(&sdk));
}

fn check(name: &str, text: &str, server: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let output = run(&[PROGRAM.to_owned()], &["check", &file, "--", server]);
    (String::from_utf8_lossy(&output.stdout).replace(&file, ""), output.status.code())
}

#[test]
fn clangd_finds_faults() {
    if !is_installed("clangd") {
        return;
    }
    let (found, code) = check("a b.c", "int main() { return x; }\n", "clangd");
    assert_eq!((&*found, code), (":1:21: \"Use of undeclared identifier 'x'\"\n", Some(2)));
    // Longer than any buffer on the way.
    let long = format!("// {}\nint main() {{ return 0; }}\n", "ü".repeat(500_000));
    assert_eq!(check("b.c", &long, "clangd"), (String::new(), Some(0)));
}

#[test]
fn pylsp_finds_faults() {
    let Some(pylsp) = python().and_then(|_| installed("venv/bin/pylsp")) else { return };
    let (found, code) = check("a.py", "print(x)\n", &pylsp.display().to_string());
    assert_eq!((&*found, code), (":1:7: \"undefined name 'x'\"\n", Some(2)));
    let (found, code) = check("b.py", "print(1)\n", &pylsp.display().to_string());
    assert_eq!((&*found, code), ("", Some(0)));
}
