//! A transport for MCP and a client for LSP.

pub mod echo;
pub mod lsp;
pub mod scan;
pub mod transport;
