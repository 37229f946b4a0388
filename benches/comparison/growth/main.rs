//! What a size costs: tables of cost against size, with the exponents of growth.
//!
//! ```text
//! cargo bench -p asynchat-comparison --bench growth                 all of it
//! cargo bench -p asynchat-comparison --bench growth -- 1 5          these tables
//! cargo bench -p asynchat-comparison --bench growth -- --write      and docs/evidence/growth.md
//! ```
//!
//! It takes some minutes, wants the machine for itself, and 10,100 open files. What is said
//! about the figures is in `docs/evidence/growth-notes.md`.

#[path = "../performance/arguments.rs"]
mod arguments;
mod channel;
mod chat;
mod connections;
#[allow(dead_code)]
#[path = "../performance/echo.rs"]
mod echo;
#[path = "../performance/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "../performance/measure.rs"]
mod measure;
#[path = "../../../tests/programs/mod.rs"]
mod programs;
mod table;
mod usage;

use arguments::Arguments;
use std::path::Path;
use table::Table;

fn main() -> std::io::Result<()> {
    let Some(arguments) = Arguments::read() else { return Ok(()) };
    let mut page = format!("{INTRODUCTION}\n{}\n", machine::machine());
    for (number, table) in (1..).zip(TABLES) {
        if arguments.wants(number) {
            let table = table().markdown();
            println!("{table}");
            page += "\n";
            page += &table;
        }
    }
    if arguments.write {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence");
        page += "\n";
        page += &std::fs::read_to_string(docs.join("growth-notes.md"))?;
        std::fs::write(docs.join("growth.md"), page)?;
    }
    Ok(())
}

const TABLES: [fn() -> Table; 6] = [
    connections::connections,
    channel::frame_length,
    channel::queue_length,
    channel::pushers,
    chat::one_server,
    chat::three_servers,
];

const INTRODUCTION: &str = "# Growth

Each table shows how a cost grows with a size. The exponent below a column is the slope of a
line through the logarithms (least squares). A cost per byte, entry or message has the exponent
0 if it does not depend on the size. A total cost that is proportional to the size has 1. ✓ and
✗ say whether the exponent is at most 0.1 above the goal. Figures are medians of rounds.
Processor time is shown because other programs disturb the clock.

```sh
cargo bench -p asynchat-comparison --bench growth -- --write
```

writes this page, with the text of `growth-notes.md` after the tables.
";
