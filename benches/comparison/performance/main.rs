//! Measures `asynchat` beside its alternatives, in one run.
//!
//! ```text
//! cargo bench -p asynchat-comparison --bench performance                 all of it
//! cargo bench -p asynchat-comparison --bench performance -- 3 9          these questions
//! cargo bench -p asynchat-comparison --bench performance -- --write      and docs/evidence/performance.md
//! ```
//!
//! It prints a table for each question, with the medians of rounds that take turns and the
//! factor between asynchat and each alternative. It takes about ten minutes on a machine at
//! rest.

mod arguments;
mod echo;
#[allow(dead_code)]
#[path = "../../../examples/http_server/files.rs"]
mod files;
#[allow(dead_code)]
#[path = "../../../examples/common/http.rs"]
mod http;
#[path = "http.rs"]
mod http_contest;
mod jsonrpc;
mod machine;
mod measure;
mod memory;
mod messages;
mod nats;
mod network;
mod page;
#[path = "../../../tests/programs/mod.rs"]
mod programs;
#[allow(dead_code)]
#[path = "../../../examples/common/serve.rs"]
mod serve;
#[allow(dead_code)]
#[path = "../../../examples/http_server/server.rs"]
mod server;
mod websocket;

use arguments::Arguments;
use measure::{Outcome, Unit};
use page::Section;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read() else { return Ok(()) };
    let mut sections = Vec::new();
    for (number, measure) in (1..).zip(QUESTIONS) {
        if arguments.wants(number) {
            let section = measure(number)?;
            println!("{}", section.markdown());
            sections.push(section);
        }
    }
    if arguments.write {
        write_page(&sections)?;
    }
    Ok(())
}

const QUESTIONS: [fn(usize) -> Result<Section>; 20] = [
    |number| {
        let outcomes = memory::decode_owned(&[8, 16, 32, 64]);
        let title = "Whole lines to `Bytes`, in memory";
        let mut section = section(number, title, &[1.7, 0.0, 0.97], outcomes);
        let python = memory::python().ok_or("no python3 with asynchat is installed")?;
        section.notes = format!("CPython's asynchat takes {python:.0} ns for a line of 8 bytes.");
        Ok(section)
    },
    |number| {
        let outcomes = memory::decode_owned(&[1024]);
        Ok(section(
            number,
            "Whole lines of 1 KiB to `Bytes`, in memory",
            &[3.0, 15.0, 0.97],
            outcomes,
        ))
    },
    |number| {
        let outcomes = memory::decode_borrowed();
        Ok(section(
            number,
            "Borrowed lines beside bare `memchr_iter` (LF) and `memmem::find_iter` (CR LF)",
            &[0.8],
            outcomes,
        ))
    },
    |number| {
        let outcomes = network::handler();
        let title = "A `Handler` reading lines over loopback";
        let mut section = section(number, title, &[1.2, 0.95], outcomes);
        section.notes = "At 8 bytes 1.5 times `read_until` is wanted.".into();
        Ok(section)
    },
    |number| {
        let outcomes = network::stream();
        let title = "A `Channel` as a `Stream` of lines over loopback";
        let mut section = section(number, title, &[1.5, 1.5, 0.0], outcomes);
        section.notes = "At 1 KiB 1.2 is wanted.".into();
        Ok(section)
    },
    |number| {
        let outcomes = network::push_small();
        let title = "`push` of small chunks over loopback";
        let mut section = section(number, title, &[1.3, 1.3, 1.3, 0.0], outcomes);
        section.notes =
            "Wanted: 1.3 times the others at 64 bytes, and no less at 1 KiB. The channel has an \
                         `out_buffer_size` of 256 KiB, and that much is pushed before each `flush`."
                .into();
        Ok(section)
    },
    |number| {
        let outcomes = network::push_large();
        let title = "`push` of large `Bytes` over loopback";
        let mut section = section(number, title, &[1.0, 1.0, 0.0], outcomes);
        section.notes =
            "The channel has an `out_buffer_size` of 256 KiB, and that much is pushed before each \
                         `flush`."
                .into();
        Ok(section)
    },
    trickle,
    |number| {
        let outcomes = memory::hostile();
        let mut section = section(number, "Floods of half terminators", &[0.0, 1.0], outcomes);
        // Where frames end, they cost more than their bytes.
        let endless = section.outcomes.iter().take(9);
        let worst = endless.map(|o| o.figures[0].1).fold(0.0, f64::max);
        section.notes = format!(
            "The input is read in pieces of 1400 bytes. The worst input without frames costs \
             {worst:.2} ns per byte, and 0.5 is wanted. Kind input has `x` in place of the half \
             terminators. The factor against kind input is the inverse of the first ratio."
        );
        Ok(section)
    },
    switch,
    heap,
    |number| {
        let outcomes = http_contest::contests();
        let title = "HTTP/1.1 requests, keep-alive, 64 connections, one thread each";
        let mut section = section(number, title, &[1.0], outcomes);
        section.notes =
            "Wanted: 1.1 at depth 1 and 1.7 at depth 16; 0.97 and 0.8 of the two calls of \
                         the kernel. The load has the other core, and compares every byte."
                .into();
        Ok(section)
    },
    |number| {
        let outcomes = network::echo_many(10_000);
        let title = "Echo of 10,000 connections at once on two cores";
        let mut section = section(number, title, &[1.1], outcomes);
        section.notes =
            "A tenth of the memory is wanted. The load is a program of its own on the same two cores. Memory is the growth of \
             the server's process after all are served, without the kernel's."
                .into();
        Ok(section)
    },
    |number| {
        let title = "Messages of a `u32` and 16 bytes to `Bytes`, in memory";
        let mut section = section(number, title, &[], messages::decode_owned());
        section.notes =
            "Wanted: a `Length` 3 times as fast as `LengthDelimitedCodec`, and 2.5 times as fast \
                         as wire-codec. \"Two counts\" \
                         sets the terminator by hand, for the length and for the body."
                .into();
        Ok(section)
    },
    |number| {
        let title = "Messages of a `u32` and 16 bytes, borrowed";
        let mut section = section(number, title, &[], messages::decode_borrowed());
        section.notes = "Wanted: a `Length` in 5.5 ns, at 0.85 of the speed of wire-codec.".into();
        Ok(section)
    },
    |number| {
        let title = "A `Channel` reading messages of a `u32` and 16 bytes over loopback";
        let mut section = section(number, title, &[], messages::stream());
        section.notes =
            "Wanted: `next` of a `Length` 1.5 times as fast as `LengthDelimitedCodec`.".into();
        Ok(section)
    },
    |number| {
        let title = "A `Handler` reading messages of a `u32` and 16 bytes over loopback";
        let mut section = section(number, title, &[], messages::handler());
        section.notes = "Wanted: `run` of a `Length` within 1.1 times of the loop by hand.".into();
        Ok(section)
    },
    |number| {
        let title = "WebSocket echo over loopback, four connections, one thread each";
        let mut section = section(number, title, &[1.0, 1.0], websocket::contests());
        section.notes = "Wanted: ahead in every row. The messages are text, masked by the client \
                         and checked to be UTF-8 by the server. The load has the other core, and \
                         compares every byte. `forward` is the example `echo-server` of \
                         tokio-tungstenite; `send` flushes after each message. The allocator \
                         keeps the memory that is freed."
            .into();
        Ok(section)
    },
    |number| {
        let title = "JSON-RPC, a message a line, over a pair of sockets";
        let mut section = section(number, title, &[1.0], jsonrpc::contests());
        section.notes = "Each message is awaited before the next one. Both ends are of the same \
                         kind, each on a thread of its own. JSON takes most of the time."
            .into();
        Ok(section)
    },
    |number| {
        let title = "NATS: one connection to a nats-server";
        let outcomes = nats::contests().ok_or("no nats-server is installed")?;
        let mut section = section(number, title, &[1.0], outcomes);
        section.notes = "Each client has a runtime of one thread, and the server the other core. \
                         A round of publishing ends when the server has answered. Requests are \
                         answered by a client of the same kind on a thread of its own."
            .into();
        Ok(section)
    },
];

fn section(number: usize, title: &'static str, targets: &[f64], outcomes: Vec<Outcome>) -> Section {
    Section { number, title, targets: targets.into(), outcomes, notes: String::new() }
}

fn trickle(number: usize) -> Result<Section> {
    let mut notes = String::from(
        "One frame arrives in pieces, and its terminator is at its end. The figures are \
         nanoseconds per byte, and the exponent with which the time grows. At most 1.05 is wanted. \
         The last column has the exponent of `memchr` over the same pieces, once each. Bytes that \
         do not fit the caches cost more with any search.\n\n\
         | pieces of | 1 MiB | 4 MiB | 16 MiB | 64 MiB | exponent | of the bare search |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for trickle in memory::trickle() {
        let _ = write!(notes, "| {} |", trickle.piece);
        for nanos in trickle.per_byte {
            let _ = write!(notes, " {nanos:.3} |");
        }
        let mark = if trickle.exponent <= 1.05 { "✓" } else { "✗" };
        let _ = writeln!(notes, " {:.3} {mark} | {:.3} |", trickle.exponent, trickle.bare);
    }
    let mut section = section(number, "One large frame that trickles in", &[], Vec::new());
    section.notes = notes;
    Ok(section)
}

fn switch(number: usize) -> Result<Section> {
    let allocated = heap_figures()?["switch-allocations"];
    let mut section = section(number, "Changing the terminator", &[2.0], memory::switch());
    section.notes = format!(
        "Wanted: 5 times for the prepared and ready-made ones, 2 for the last. 4000 changes allocate {allocated} bytes."
    );
    Ok(section)
}

fn heap(number: usize) -> Result<Section> {
    let figures = heap_figures()?;
    let outcomes = vec![
        Outcome {
            what: "on the heap".into(),
            unit: Unit::Bytes,
            figures: vec![
                ("Channel, as a Stream", figures["idle-stream"]),
                ("Channel, with a Handler", figures["idle-handler"]),
                ("Framed<LinesCodec>", figures["idle-framed"]),
            ],
            wanted: None,
        },
        Outcome {
            what: "`size_of`, the transport excluded".into(),
            unit: Unit::Bytes,
            figures: vec![
                ("Channel, as a Stream", figures["size-of-channel"]),
                ("Channel, with a Handler", figures["size-of-channel"]),
                ("Framed<LinesCodec>", figures["size-of-framed"]),
            ],
            wanted: None,
        },
    ];
    let mut section = section(number, "Memory of an idle connection", &[], outcomes);
    section.notes =
        "Each of 100,000 connections has served a request. At most 512 bytes are wanted.".into();
    Ok(section)
}

/// The figures that the bench `heap` prints.
fn heap_figures() -> Result<HashMap<String, f64>> {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "--package", "asynchat-comparison", "--bench", "heap"])
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let figure = |line: &str| {
        let (name, figure) = line.split_once(' ')?;
        Some((name.to_owned(), figure.parse().ok()?))
    };
    Ok(said.lines().filter_map(figure).collect())
}

fn write_page(sections: &[Section]) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence");
    let mut page = format!("{INTRODUCTION}\n{}\n", machine::machine());
    for section in sections {
        let _ = write!(page, "\n{}", section.markdown());
        if !section.outcomes.is_empty() {
            let name = format!("performance-{:02}.svg", section.number);
            section.chart(&docs.join(&name))?;
            let _ = write!(page, "\n![{}]({name})\n", section.title.replace('`', ""));
        }
    }
    page += &std::fs::read_to_string(docs.join("performance-notes.md")).unwrap_or_default();
    std::fs::write(docs.join("performance.md"), page)?;
    Ok(())
}

const INTRODUCTION: &str = "# Performance

Every row is a contest in one run. All entries do the same work in turns, and the figures are
the medians of all rounds. Each ratio says how many times better asynchat is. ✓ and ✗ say
whether the goal was reached. Do not compare figures of different runs or machines. Ratios can
be compared, with care.

```sh
cargo bench -p asynchat-comparison --bench performance -- --write
```

writes this page, with the text of `performance-notes.md` after the tables.
";
