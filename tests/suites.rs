//! What the test suite of llhttp decides about HTTP, against the server and the client
//! among the examples. `suites/README.md` says how a row is written.

#[path = "bad_input/case.rs"]
mod case;
#[allow(dead_code)] // A folder of files.
#[path = "bad_input/folder.rs"]
mod folder;
#[path = "bad_input/replay_http.rs"]
mod replay_http;
#[path = "suites/replay_requests.rs"]
mod replay_requests;
#[path = "suites/replay_responses.rs"]
mod replay_responses;
#[path = "suites/rows.rs"]
mod rows;
#[path = "bad_input/talk.rs"]
mod talk;

#[allow(dead_code)] // A folder.
#[path = "../examples/http_server/files.rs"]
mod files;
#[path = "../examples/common/http.rs"]
mod http;
#[allow(dead_code)] // `main`
#[path = "../examples/http_client.rs"]
mod http_client;
#[allow(dead_code)] // Ctrl-C
#[path = "../examples/common/serve.rs"]
mod serve;
#[allow(dead_code)] // The accept loop.
#[path = "../examples/http_server/server.rs"]
mod server;

use folder::Folder;

const REQUESTS: Folder = Folder {
    name: "requests",
    replay: replay_requests::replay,
    least: 124,
    bad: &[
        ("# a\n# Source: b\nsaid \"x\"\nclosed\n", "unknown: said \"x\""),
        ("# a\n# Source: b\nsend \"x\"\n", "neither open nor closed"),
        ("# a\n# Source: b\nsend \"x\"\nreads GET\nclosed\n", "no end of the head"),
    ],
    untrue: &[
        "# a\n# Source: b\nsend \"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\"\nanswer 400\nclosed\n",
        "# a\n# Source: b\nsend \"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\"\nanswer 200\nclosed\n",
        "# a\n# Source: b\nsend \"GET / HTTP/1.0\\r\\n\\r\\n\"\nanswer 200\nopen\n",
        "# a\n# Source: b\nsend \"GET / HTTP/1.0\\r\\n\\r\\n\"\nreads GET - / 0 keep\n\
         answer 200\nclosed\n",
    ],
};

const RESPONSES: Folder = Folder {
    name: "responses",
    replay: replay_responses::replay,
    least: 65,
    bad: &[
        ("# a\n# Source: b\nsend \"x\"\n", "unknown: send \"x\""),
        ("# a\n# Source: b\nsaid \"x\"\n", "nothing is expected"),
    ],
    untrue: &[
        "# a\n# Source: b\nsaid \"HTTP/1.1 200 OK\\r\\n\\r\\nab\"\nbody \"a\"\n",
        "# a\n# Source: b\nsaid \"HTTP/1.1 200 OK\\r\\n\\r\\nab\"\nrefused the answer is not HTTP\n",
        "# a\n# Source: b\nsaid \"HTTP/1.1 200 OK\\r\\n\\r\\nab\"\ncut \"ab\"\n",
        "# a\n# Source: b\nsaid \"HTP/1.1 200 OK\\r\\n\\r\\nab\"\nbody \"ab\"\n",
    ],
};

#[test]
fn the_server_decides_requests_as_their_rows_say() {
    rows::check(include_str!("suites/llhttp_requests.txt"), REQUESTS.least, REQUESTS.replay);
}

#[test]
fn the_client_decides_responses_as_their_rows_say() {
    rows::check(include_str!("suites/llhttp_responses.txt"), RESPONSES.least, RESPONSES.replay);
}

#[test]
fn a_row_with_a_slip_fails() {
    REQUESTS.check_bad();
    RESPONSES.check_bad();
}

#[test]
fn a_row_that_is_not_true_fails() {
    REQUESTS.check_untrue();
    RESPONSES.check_untrue();
}
