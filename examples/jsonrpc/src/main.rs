//! JSON-RPC over stdin and stdout, in both of its framings: one message per line (the Model
//! Context Protocol), or a head and a body (the Language Server Protocol).
//!
//! ```text
//! cargo run --release -p example-jsonrpc -- COMMAND
//!
//! serve                          an MCP server with one tool, for any client
//! call TOOL [JSON] -- SERVER...  what a tool of an MCP server answers
//! check FILE -- SERVER...        what a language server finds in a file
//! ```
//!
//! You will see text that comes back (`call echo '{"text":"hello"}' -- PROGRAM serve`), and
//! the faults in a file (`check a.c -- clangd`). The exit status is 2 if there were any.
//!
//! `transport.rs` is a transport for the crate `rmcp` on the two sides of one channel: its
//! server reads nothing more from a client that does not read. `scan.rs` finds whose message
//! a line was that is too long. `lsp.rs` has one terminator, for a head and its body.

use clap::Parser;
use example_jsonrpc::{Args, run};
use std::process::exit;

#[tokio::main]
async fn main() {
    let code = match run(Args::parse(), &mut std::io::stdout()).await {
        Ok(is_good) => i32::from(!is_good) * 2,
        Err(error) => {
            example_common::report(env!("CARGO_BIN_NAME"), &*error);
            1
        }
    };
    // A write to stdout that nobody reads would hold the end of the runtime.
    exit(code);
}
