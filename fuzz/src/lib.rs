//! What the fuzz targets do. Each `run` takes any bytes, and panics when the
//! property on its file's first lines does not hold; none needs the fuzzer.

#![allow(missing_docs, unreachable_pub)] // For `tests/fuzz_corpus.rs` it is a module.

pub mod channel;
pub mod decode;
pub mod handler;
pub mod http_server;
pub mod round_trip;

// What `server` looks for at the root.
#[allow(dead_code)] // A folder.
#[path = "../../examples/http_server/files.rs"]
pub(crate) mod files;
#[path = "../../examples/common/http.rs"]
pub(crate) mod http;
#[allow(dead_code)] // Sockets and Ctrl-C.
#[path = "../../examples/common/serve.rs"]
pub(crate) mod serve;
#[allow(dead_code)]
#[path = "../../examples/http_server/server.rs"]
mod server;
