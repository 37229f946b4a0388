//! Which lines come from a browser.

use example_common::is_browser;

#[test]
fn is_browser_finds_requests_the_host_tls_and_stun() {
    for line in [
        "GET / HTTP/1.1",
        "POST /a?b=c HTTP/1.1\r",
        "POST / HTTP/1.0 ",
        "OPTIONS * HTTP/1.1",
        "CONNECT a:1 HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "PRI * HTTP/2.0",
        "M-SEARCH * HTTP/1.1",
        "get / http/1.1",
        "Host: a",
        "host:a:1 b c",
        "HOST:",
        "POST\t/\tHTTP/1.1",
        "GET  / HTTP/1.1",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}",
        // STUN: to a TURN server, in a frame, and in one of 0x010a bytes.
        "\0\u{3}\0\u{8}!\u{12}",
        "\0\u{8c}\0\u{1}\0\u{78}!\u{12}",
        "\u{1}",
    ] {
        assert!(is_browser(line.as_bytes()), "{line:?}");
    }
    for line in [
        "",
        " ",
        "hello",
        "I like HTTP/2",
        "what is GET / HTTP/1.1 about?",
        "GET /",
        "the Host: field",
        "hostile words",
        "HTTP/1.1 200 OK",
        "EHLO host",
        "MAIL FROM:<a@b> SIZE=1",
        "/nick host",
        "\thi",
        "\u{8}hi",
        "\u{1b}[A",
        "NOOP\0",
    ] {
        assert!(!is_browser(line.as_bytes()), "{line:?}");
    }
}
