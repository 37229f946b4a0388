//! The example `http_client`: where bodies end, and what it refuses.

#[allow(dead_code)] // `main`
#[path = "../examples/http_client.rs"]
mod http_client;
mod programs;

use programs::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

const REQUEST: &str = "GET /a?b HTTP/1.0\r\nHost: host:1\r\nConnection: close\r\n\r\n";

/// What is printed of an answer that comes in pieces of `size` bytes, and the error.
async fn fetched(answer: &str, size: usize) -> (String, Result<(), String>) {
    let (io, mut server) = duplex(size);
    let mut out = Vec::new();
    let serving = async {
        let mut request = vec![0; REQUEST.len()];
        server.read_exact(&mut request).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&request), REQUEST);
        // The client may have closed before the end.
        let _ = server.write_all(answer.as_bytes()).await;
        drop(server);
    };
    let got = http_client::get(io, "host:1", "a?b", &mut out);
    let (got, ()) = within(async { tokio::join!(got, serving) }).await;
    (String::from_utf8(out).unwrap(), got.map_err(|error| error.to_string()))
}

#[tokio::test]
async fn get_prints_the_answer_as_it_came() {
    let long = "x".repeat(70_000);
    for (answer, is_cut) in [
        ("HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 5\r\n\r\nhello".to_owned(), false),
        ("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), false),
        (format!("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{long}"), false),
        (format!("HTTP/1.1 200 OK\r\n\r\n{long}"), false),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_owned(), false),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello".to_owned(), false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell".to_owned(), true),
    ] {
        for size in [3, 64 * 1024] {
            let (printed, got) = fetched(&answer, size).await;
            assert!(printed == answer, "{printed:.200}");
            assert_eq!(got.err().unwrap_or_default(), if is_cut { "input ended" } else { "" });
        }
    }
    for more in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\nb",
    ] {
        assert_eq!(fetched(more, 64).await, (more[..more.len() - 1].to_owned(), Ok(())));
    }
}

#[tokio::test]
async fn get_refuses_an_answer_without_a_clear_end() {
    let number = "invalid Content-Length";
    for (fields, error) in [
        ("Content-Length: 1\r\nContent-Length: 1\r\n", number),
        ("Content-Length: +1\r\n", number),
        ("Content-Length: 1, 1\r\n", number),
        ("Content-Length:\r\n", "cannot parse integer from empty string"),
        ("Content-Length: 18446744073709551616\r\n", "number too large to fit in target type"),
        (
            "Transfer-Encoding: chunked\r\n",
            "the body has a Transfer-Encoding, which HTTP/1.0 does not have",
        ),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let (printed, got) = fetched(&format!("{head}1\r\na\r\n0\r\n\r\n"), 64).await;
        assert_eq!((printed, got), (head, Err(error.to_owned())));
    }
    let head = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
    let (printed, got) = fetched(&format!("{head}a"), 64).await;
    let error = "the answer is of another protocol".to_owned();
    assert_eq!((printed, got), (head.to_owned(), Err(error)));
    for (answer, error) in [
        ("220 ready\r\n\r\n", "the answer is not HTTP"),
        ("\r\n\r\n", "the answer is not HTTP"),
        ("HTTP/1.1 200 OK\r\nA: b\r\n", "input ended after 23 bytes of a frame"),
    ] {
        let (_, got) = fetched(answer, 64).await;
        assert_eq!(got, Err(error.to_owned()), "{answer}");
    }
}

#[test]
fn split_takes_plain_urls_only() {
    for (url, parts) in [
        ("http://host", Some(("host", ""))),
        ("http://host:1/", Some(("host:1", ""))),
        ("http://[::1]:8080/a/b?c#d", Some(("[::1]:8080", "a/b?c"))),
        ("http:///a", None),
        ("https://host/", None),
        ("host", None),
        ("http://host/a b", None),
        ("http://host/\r\nA: b", None),
    ] {
        assert_eq!(http_client::split(url), parts, "{url:?}");
    }
}
