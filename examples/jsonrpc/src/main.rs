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
//! faults in a file (`check a.c -- clangd`). The exit status is 2 if there are any.
//!
//! `transport.rs` is a transport for the crate `rmcp` on the two sides of one channel. Its server
//! stops reading from a client that does not read. `scan.rs` finds the id of a message in a line
//! that is too long. `lsp.rs` has one terminator for a head and its body.

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
