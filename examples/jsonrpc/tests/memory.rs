//! The memory that a client can make a server hold.

use example_jsonrpc::echo::Echo;
use example_jsonrpc::transport::{HIGH_WATER, JsonLines, MAX_LINE};
use rmcp::transport::Transport;
use rmcp::{RoleServer, ServiceExt};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::time::timeout;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn held(since: &Region<'_, System>) -> usize {
    let change = since.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

// In one test, for the allocator counts them all.
#[tokio::test(start_paused = true)]
async fn hostile_client_is_held_in_bounded_memory() {
    endless_line().await;
    unread_answers().await;
}

async fn endless_line() {
    let (io, mut peer) = duplex(1 << 16);
    let before = Region::new(ALLOCATOR);
    let mut server = JsonLines::<RoleServer, _>::new(io, MAX_LINE);
    let receiving = tokio::spawn(async move { server.receive().await });
    let piece = vec![b'x'; 1 << 20];
    for n in 0..100 {
        peer.write_all(&piece).await.unwrap();
        // A line that grows is copied.
        assert!(held(&before) < 3 * MAX_LINE, "{} bytes after {n} MiB", held(&before));
    }
    assert!(held(&before) < 3 << 20, "{} bytes of a line that is refused", held(&before));
    drop(peer);
    assert!(receiving.await.unwrap().is_none());
}

async fn unread_answers() {
    let (io, mut peer) = duplex(1 << 16);
    let served = tokio::spawn(async move {
        let service = Echo.serve(JsonLines::<RoleServer, _>::new(io, MAX_LINE)).await.unwrap();
        service.waiting().await.unwrap()
    });
    let version = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "a", "version": "1" } });
    let initialize =
        json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": version });
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    peer.write_all(format!("{initialize}\n{initialized}\n").as_bytes()).await.unwrap();
    let before = Region::new(ALLOCATOR);
    let params = json!({ "name": "echo", "arguments": { "text": "x".repeat(1000) } });
    for id in 1..400_000 {
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        let line = format!("{call}\n");
        let Ok(written) = timeout(SECOND, peer.write_all(line.as_bytes())).await else { break };
        written.unwrap();
    }
    // Requests at work, of some KiB each, come on top of what waits.
    assert!(held(&before) < 16 * HIGH_WATER, "{} bytes", held(&before));
    drop(peer);
    served.await.unwrap();
}

const SECOND: Duration = Duration::from_secs(1);
