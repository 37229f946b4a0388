//! Many connections to one server, which is a process of its own.

use crate::echo::{Server, load, resident};
use crate::table::{Table, cost, figure, medians};
use crate::usage::{allow_open_files, cpu, kernel_memory};
use std::cell::Cell;
use tokio::runtime::Builder;

pub(crate) fn connections() -> Table {
    let table = Table {
        title: "Connections to one server",
        size: "connections",
        columns: vec![
            cost("resident bytes of the server for each", 0.0),
            figure("bytes of the kernel for each, both ends"),
            cost("processor ns of the server for each message", 0.0),
            figure("messages a second"),
        ],
        rows: Vec::new(),
        notes: "Each connection is a `Channel` in a task. Its peer sends a line of 32 bytes and \
                awaits the echo, repeatedly. All are busy at once. Memory is read while all are \
                connected and idle.",
    };
    table.fill(&[100, 1000, 10_000], |connections| {
        allow_open_files(connections + 100)?;
        let round = |n| round(connections, &format!("127.0.{}.{n}", connections / 100));
        Ok(medians((1..=ROUNDS).map(round).collect()))
    })
}

/// One server. Each has a loopback address of its own, so that no port is used twice.
fn round(connections: usize, host: &str) -> Vec<f64> {
    let server = Server::start("asynchat", host);
    let times = MESSAGES / connections;
    let (memory, kernel) = (resident(server.id()) as f64, kernel_memory());
    let (started, used, held, slab) =
        (Cell::new(0.0), Cell::new(0.0), Cell::new(0.0), Cell::new(0.0));
    let connected = || started.set(cpu(server.id()));
    let idle = || {
        used.set(cpu(server.id()) - started.get());
        held.set(resident(server.id()) as f64 - memory);
        slab.set(kernel_memory() - kernel);
    };
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let rate = runtime.block_on(load(&server.address, connections, times, connected, idle));
    let each = connections as f64;
    vec![held.get() / each, slab.get() / each, used.get() / (times as f64 * each), rate]
}

const MESSAGES: usize = 50_000;
const ROUNDS: usize = 5;
