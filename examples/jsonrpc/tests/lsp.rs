//! The client of language servers with scripted ones, in memory.

use example_jsonrpc::lsp::Client;
use futures::{FutureExt, poll};
use serde_json::{Value, json};
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn client(pipe: usize) -> (Client<DuplexStream>, DuplexStream) {
    let (io, peer) = duplex(pipe);
    (Client::new(io), peer)
}

fn framed(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// All that one call and the notifications after it are, for a server that says `input`.
async fn talk(input: &[u8], cut: usize) -> Vec<String> {
    let (mut client, mut peer) = client(1 << 16);
    let mut said = Vec::new();
    peer.write_all(&input[..cut]).await.unwrap();
    {
        // Given up as often as you like.
        let mut call = pin!(client.call("initialize", json!({})));
        if let Some(answer) = call.as_mut().now_or_never() {
            said.push(answer.unwrap().to_string());
        } else {
            peer.write_all(&input[cut..]).await.unwrap();
            said.push(call.await.unwrap().to_string());
        }
    }
    while let Some(message) = client.receive().now_or_never() {
        said.push(message.unwrap().to_string());
    }
    let mut sent = vec![0; 1 << 16];
    let n = peer.read(&mut sent).await.unwrap();
    said.push(String::from_utf8_lossy(&sent[..n]).into());
    said
}

fn script() -> Vec<u8> {
    let mut input = framed(&json!({ "jsonrpc": "2.0", "method": "window/logMessage" }));
    input
        .extend(framed(&json!({ "jsonrpc": "2.0", "id": 1, "method": "workspace/configuration" })));
    input.extend(b"Content-Type: utf-8\r\ncontent-length:40\r\n\r\n");
    input.extend(r#"{"jsonrpc":"2.0","id":1,"result":"üü"}"#.as_bytes());
    input
}

#[tokio::test]
async fn messages_do_not_depend_on_the_cut() {
    let script = script();
    let whole = talk(&script, script.len()).await;
    assert_eq!(whole.len(), 2);
    assert_eq!(whole[0], "\"üü\"");
    assert!(whole[1].ends_with(
        r#"{"error":{"code":-32601,"message":"method not found"},"id":1,"jsonrpc":"2.0"}"#
    ));
    for cut in 0..script.len() {
        assert_eq!(talk(&script, cut).await, whole, "{cut}");
    }
}

#[tokio::test]
async fn dropped_receive_loses_nothing() {
    let (mut client, mut peer) = client(1 << 16);
    let messages = [json!({ "method": "a" }), json!({ "method": "b", "params": ["ü"] })];
    let mut received = Vec::new();
    for byte in messages.iter().flat_map(framed) {
        peer.write_all(&[byte]).await.unwrap();
        if let Some(message) = client.receive().now_or_never() {
            received.push(message.unwrap());
        }
    }
    assert_eq!(received, messages);
}

#[tokio::test]
async fn dropped_call_leaves_the_next_one_its_answer() {
    let (mut client, mut peer) = client(1 << 16);
    {
        let mut call = pin!(client.call("a", Value::Null));
        assert!(poll!(&mut call).is_pending());
    }
    for id in [1, 2] {
        peer.write_all(&framed(&json!({ "id": id, "result": id }))).await.unwrap();
    }
    assert_eq!(client.call("b", Value::Null).await.unwrap(), 2);
}

#[tokio::test]
async fn server_error_is_reported() {
    let (mut client, mut peer) = client(1 << 16);
    peer.write_all(&framed(&json!({ "id": 1, "error": { "message": "no" } }))).await.unwrap();
    let error = client.call("a", Value::Null).await.unwrap_err().to_string();
    assert_eq!(error, r#"a: {"message":"no"}"#);
}

#[tokio::test]
async fn bad_server_is_an_error() {
    let deep = format!("Content-Length: 1000\r\n\r\n{}", "[".repeat(1000));
    let rows: [(&str, &str); 10] = [
        ("", "the server closed its output"),
        ("Content-Length: 9\r\n\r\n{}", "the server ended in a message"),
        ("Content-Le", "the server ended in a message"),
        ("Content-Length: 9223372036854775808\r\n\r\n{", "frame longer than 67108864 bytes"),
        ("Content-Length: 18446744073709551616\r\n\r\n{", "invalid message head"),
        ("Content-Length: -1\r\n\r\n{", "invalid message head"),
        ("Content-Type: a\r\n\r\n{}", "invalid message head"),
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "invalid message head"),
        ("Content-Length: 2\r\n\r\n{]", "key must be a string"),
        (&deep, "recursion limit"),
    ];
    for (input, expected) in rows {
        let (mut client, mut peer) = client(1 << 16);
        peer.write_all(input.as_bytes()).await.unwrap();
        drop(peer);
        let error = client.receive().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{input}: {error}");
    }
}

#[tokio::test]
async fn endless_head_is_an_error() {
    let (mut client, mut peer) = client(1 << 16);
    peer.write_all(&[b'x'; 5000]).await.unwrap();
    let error = client.receive().await.unwrap_err().to_string();
    assert_eq!(error, "invalid message head");
}

#[tokio::test]
async fn message_that_is_too_long_is_skipped() {
    let (mut client, mut peer) = client(1 << 16);
    let sent = tokio::spawn(async move {
        peer.write_all(format!("Content-Length: {}\r\n\r\n", 65 << 20).as_bytes()).await.unwrap();
        for _ in 0..65 {
            peer.write_all(&[b'x'; 1 << 20]).await.unwrap();
        }
        peer.write_all(&framed(&json!({ "method": "a" }))).await.unwrap();
        peer
    });
    assert!(client.receive().await.unwrap_err().to_string().contains("frame longer than"));
    assert_eq!(client.receive().await.unwrap(), json!({ "method": "a" }));
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn server_that_asks_and_does_not_read_is_an_error() {
    let (mut client, peer) = client(1 << 16);
    let (_unread, mut write) = tokio::io::split(peer);
    let ask = framed(&json!({ "id": "x".repeat(1 << 20), "method": "ask" }));
    let asking = tokio::spawn(async move { while write.write_all(&ask).await.is_ok() {} });
    let error = client.receive().await.unwrap_err().to_string();
    assert_eq!(error, "the server sends requests and does not read");
    drop(client);
    asking.await.unwrap();
}

#[tokio::test]
async fn dropped_close_still_sends_everything() {
    let (mut client, mut peer) = client(10);
    client.notify("a", Value::Null);
    assert!(client.close().now_or_never().is_none());
    let closed = tokio::spawn(async move { client.close().await.unwrap() });
    let mut sent = Vec::new();
    peer.read_to_end(&mut sent).await.unwrap();
    let notification = json!({ "jsonrpc": "2.0", "method": "a", "params": null });
    assert_eq!(sent, framed(&notification));
    drop(peer);
    closed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_returns_when_the_server_does_not_read() {
    let (mut client, _peer) = client(10);
    client.notify("a", Value::Null);
    assert!(client.close().await.is_err());
}
