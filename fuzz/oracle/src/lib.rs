//! What the fuzz targets are checked against, and played on.

#![allow(missing_docs, unreachable_pub)] // For `tests/fuzz_corpus.rs` it is a module.

pub mod input;
pub mod io;
pub mod oracle;
pub mod producer;
