//! JSON-RPC over stdin and stdout, in both of its framings: one message per line (the Model
//! Context Protocol), or a head and a body (the Language Server Protocol).
//!
//! ```text
//! cargo run --release -p example-jsonrpc -- COMMAND
//!
//! serve                          an MCP server with one tool, for any client
//! call TOOL [JSON] -- SERVER...  the answer of a tool of an MCP server
//! check FILE -- SERVER...        the findings of a language server in a file
//! ```
//!
//! You will see the text that you send (`call echo '{"text":"hello"}' -- PROGRAM serve`), or the
//! faults in a file (`check a.c -- clangd`). The exit status is 2 if there are faults.
//!
//! `transport.rs` is a transport for the crate `rmcp`, on one channel whose input and output are
//! polled separately. The server stops reading from a client that does not read its answers.
//! `scan.rs` finds the id of a message in a line that is too long. `lsp.rs` uses one terminator for
//! a head and its body.

use asynchat::{BoxError, Pipe};
use clap::Parser;
use example_jsonrpc::echo::Echo;
use example_jsonrpc::lsp::Client;
use example_jsonrpc::transport::{JsonLines, MAX_LINE};
use rmcp::model::CallToolRequestParams;
use rmcp::{RoleClient, RoleServer, ServiceExt};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Stdio, exit};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Speaks JSON-RPC over stdin and stdout, as MCP and as LSP.
#[derive(Parser)]
enum Args {
    /// Serve MCP with one tool, `echo`
    Serve,
    /// Call a tool of an MCP server, and print its answer
    Call {
        tool: String,
        /// The arguments of the tool, a JSON object
        #[arg(default_value = "{}")]
        arguments: String,
        /// The server and its arguments
        #[arg(required = true, last = true)]
        server: Vec<String>,
    },
    /// Print the findings of a language server in a file
    Check {
        file: PathBuf,
        /// The server and its arguments
        #[arg(required = true, last = true)]
        server: Vec<String>,
    },
}

#[tokio::main]
async fn main() {
    let code = match run(Args::parse()).await {
        Ok(is_good) => i32::from(!is_good) * 2,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            1
        }
    };
    // A write to stdout that nobody reads would hold the end of the runtime.
    exit(code);
}

/// Returns `true` if the tool succeeded, or if nothing was found in the file.
async fn run(args: Args) -> Result<bool, BoxError> {
    let mut out = std::io::stdout();
    match args {
        Args::Serve => {
            let io = Pipe::new(tokio::io::stdin(), tokio::io::stdout());
            Echo.serve(JsonLines::<RoleServer, _>::new(io, MAX_LINE)).await?.waiting().await?;
            Ok(true)
        }
        Args::Call { tool, arguments, server } => {
            let (_child, io) = start(&server)?;
            let client = ().serve(JsonLines::<RoleClient, _>::new(io, MAX_LINE)).await?;
            let request = CallToolRequestParams::new(tool);
            let request = request.with_arguments(serde_json::from_str(&arguments)?);
            let answer = client.call_tool(request).await?;
            client.cancel().await?;
            // As JSON, in which nothing moves the cursor of a terminal.
            writeln!(out, "{}", json!(answer.content))?;
            Ok(answer.is_error != Some(true))
        }
        Args::Check { file, server } => {
            let found = check(&server, &file).await?;
            for fault in &found {
                let (start, message) = (&fault["range"]["start"], &fault["message"]);
                let at = |name| start[name].as_u64().map_or(0, |n| n.saturating_add(1));
                let (line, column) = (at("line"), at("character"));
                writeln!(out, "{}:{line}:{column}: {message}", file.display())?;
            }
            Ok(found.is_empty())
        }
    }
}

/// Starts a server, which is killed if it has not ended when it is dropped.
fn start(server: &[String]) -> Result<(Child, Pipe<ChildStdout, ChildStdin>), BoxError> {
    let mut command = Command::new(&server[0]);
    command.args(&server[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", server[0]))?;
    let (stdout, stdin) = child.stdout.take().zip(child.stdin.take()).ok_or("no pipes")?;
    Ok((child, Pipe::new(stdout, stdin)))
}

/// Opens a file at a language server, and returns its findings.
async fn check(server: &[String], file: &Path) -> Result<Vec<Value>, BoxError> {
    let (_child, io) = start(server)?;
    let (path, text) = (file.canonicalize()?, std::fs::read_to_string(file)?);
    let mut client = Client::new(io);
    let who = json!({ "processId": std::process::id(), "rootUri": null, "capabilities": {} });
    client.call("initialize", who).await?;
    client.notify("initialized", json!({}));
    let kind = path.extension().map(|extension| extension.to_string_lossy());
    let uri = url::Url::from_file_path(&path).map_err(|()| "no path of a file")?;
    let file = json!({ "uri": uri.as_str(), "languageId": kind, "version": 1, "text": text });
    client.notify("textDocument/didOpen", json!({ "textDocument": file }));
    let found = loop {
        let message = client.receive().await?;
        if message["method"] == "textDocument/publishDiagnostics" {
            break message["params"]["diagnostics"].clone();
        }
    };
    client.call("shutdown", json!({})).await?;
    client.notify("exit", json!({}));
    client.close().await?;
    Ok(serde_json::from_value(found)?)
}
