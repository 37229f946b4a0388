//! Input that has gone wrong somewhere, once: a file for each case, in
//! `tests/bad_input/`, where `README.md` says how one is written.
//!
//! The clock of the servers and clients stands still: it moves on only when
//! nothing else can happen, which is how a peer that waits is told from one
//! that has closed.

mod common;

#[path = "bad_input/case.rs"]
mod case;
#[path = "bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_codec.rs"]
mod replay_codec;
#[path = "bad_input/replay_encode.rs"]
mod replay_encode;
#[path = "bad_input/replay_http.rs"]
mod replay_http;
#[path = "bad_input/talk.rs"]
mod talk;

#[allow(dead_code)] // A folder.
#[path = "../examples/http_server/files.rs"]
mod files;
#[path = "../examples/common/http.rs"]
mod http;
#[allow(dead_code)] // Ctrl-C
#[path = "../examples/common/serve.rs"]
mod serve;
#[allow(dead_code)] // The accept loop.
#[path = "../examples/http_server/server.rs"]
mod server;

use folder::Folder;

const FOLDERS: [Folder; 3] = [
    Folder {
        name: "codec",
        replay: replay_codec::replay,
        least: 103,
        bad: &[
            ("", "no name"),
            ("# a\nterminator \"x\"\n", "no source"),
            ("# a\n# Source: b\nterminater \"x\"\n", "unknown: terminater \"x\""),
            ("# a\n# Source: b\nthen nothing\n", "then: nothing to be changed behind"),
            ("# a\n# Source: b\nframe \"a\"\nthen nothing\n", "unknown: nothing"),
            ("# a\n# Source: b\nmode fast\n", "unknown: mode fast"),
            ("# a\n# Source: b\nkeep\n", "unknown: keep"),
            ("# a\n# Source: b\ninput \"a\n", "not in quotes: \"a"),
            ("# a\n# Source: b\ninput \"\\q\"\n", "not in quotes: \"\\q\""),
            ("# a\n# Source: b\ninput a\n", "not in quotes: a"),
            ("# a\n# Source: b\nmax_length many\n", "not a number: many"),
            ("# a\n# Source: b\nframe \"a\" | \"b\"\n", "not one piece: \"a\" | \"b\""),
            ("# a\n# Source: b\nterminator \"x\"\ninput \"ax\"\nframe \"a\"\n", "no end"),
            ("# a\n# Source: b\nend\ninput \"a\"\n", "something behind the end"),
        ],
        untrue: &[
            "# a\n# Source: b\nterminator \"x\"\ninput \"ax\"\nframe \"b\"\nend\n",
            "# a\n# Source: b\nterminator \"x\"\ninput \"ax\"\nframe \"a\" by \"y\"\nend\n",
            "# a\n# Source: b\nterminator \"x\"\ninput \"ax\"\nrest \"ax\"\nend\n",
            "# a\n# Source: b\nterminator \"x\"\ninput \"ax\"\nend\n",
            "# a\n# Source: b\nterminator \"x\"\nmode streaming\ninput \"a\" | \"bx\"\n\
         partial \"ab\"\nframe \"\"\nend\n",
        ],
    },
    Folder {
        name: "encode",
        replay: replay_encode::replay,
        least: 21,
        bad: &[
            ("# a\n# Source: b\ncontents \"x\"\n", "unknown: contents \"x\""),
            ("# a\n# Source: b\ncontent \"x\"\n", "nothing is expected"),
        ],
        untrue: &[
            "# a\n# Source: b\nterminator \"x\"\ncontent \"a\"\nrefused\n",
            "# a\n# Source: b\nterminator \"x\"\ncontent \"ax\"\nencoded \"axx\"\n",
        ],
    },
    Folder {
        name: "http",
        replay: replay_http::replay,
        least: 153,
        bad: &[
            ("# a\n# Source: b\nsend \"x\"\nclosed now\n", "unknown: closed now"),
            ("# a\n# Source: b\nsend \"x\"\n", "neither open nor closed"),
            ("# a\n# Source: b\ncodes 220\n", "unknown: codes 220"),
        ],
        untrue: &[
            "# a\n# Source: b\nsend \"x\\r\\n\\r\\n\"\nanswer 200\nclosed\n",
            "# a\n# Source: b\nsend \"x\\r\\n\\r\\n\"\nanswer 400\nopen\n",
        ],
    },
];

#[test]
fn codec() {
    FOLDERS[0].check();
}

#[test]
fn encode() {
    FOLDERS[1].check();
}

#[test]
fn http_server() {
    FOLDERS[2].check();
}

#[test]
fn the_corpus_is_whole() {
    folder::check_whole(&FOLDERS);
}

#[test]
fn unknown_line_fails() {
    FOLDERS.iter().for_each(Folder::check_bad);
}

#[test]
fn wrong_expectation_fails() {
    FOLDERS.iter().for_each(Folder::check_untrue);
}
