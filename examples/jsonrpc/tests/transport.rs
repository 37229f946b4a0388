//! The transport with scripted peers, in memory: what it delivers, and what becomes of a
//! peer that does not do its part.

use example_jsonrpc::echo::Echo;
use example_jsonrpc::transport::{CLOSE, HIGH_WATER, JsonLines, MAX_LINE};
use futures::{FutureExt, poll};
use rmcp::model::{CallToolRequestParams, EmptyResult, ServerJsonRpcMessage, ServerResult};
use rmcp::service::{RunningService, ServiceRole};
use rmcp::transport::Transport;
use rmcp::{RoleClient, RoleServer, ServiceExt};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

type Server = JsonLines<RoleServer, DuplexStream>;
type Client = JsonLines<RoleClient, DuplexStream>;

fn server(pipe: usize) -> (Server, DuplexStream) {
    let (io, peer) = duplex(pipe);
    (JsonLines::new(io, MAX_LINE), peer)
}

/// What is delivered, and the answers, for an input that ends.
async fn deliver<R: ServiceRole>(input: &[u8], cut: usize, max_line: usize) -> (Vec<Value>, String)
where
    JsonLines<R, DuplexStream>: Transport<R>,
{
    let (io, mut peer) = duplex(1 << 20);
    let mut transport: JsonLines<R, _> = JsonLines::new(io, max_line);
    let mut received = Vec::new();
    for part in [&input[..cut], &input[cut..]] {
        peer.write_all(part).await.unwrap();
        // Dropped when nothing more has arrived.
        while let Some(Some(message)) = transport.receive().now_or_never() {
            received.push(serde_json::to_value(message).unwrap());
        }
    }
    peer.shutdown().await.unwrap();
    assert!(transport.receive().await.is_none());
    transport.close().await.unwrap();
    let mut answers = String::new();
    peer.read_to_string(&mut answers).await.unwrap();
    (received, answers)
}

fn ping(id: impl Into<Value>) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "ping" })
}

#[tokio::test]
async fn messages_do_not_depend_on_the_cut() {
    let input = "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n\n \r\n\
        {\"jsonrpc\":\"2.0\",\"id\":\"ü\\n\",\"method\":\"ping\"}\n\
        {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n\
        no JSON\n{\"jsonrpc\":\"2.0\",\"method\":\"what\",\"id\":[]}\n\
        {\"method\":\"is cut off\"";
    let whole = deliver::<RoleServer>(input.as_bytes(), input.len(), MAX_LINE).await;
    assert_eq!(whole.0.len(), 3);
    assert_eq!(whole.0[..2], [ping(1), ping("ü\n")]);
    assert_eq!(whole.1.lines().count(), 1);
    for cut in 0..input.len() {
        assert_eq!(deliver::<RoleServer>(input.as_bytes(), cut, MAX_LINE).await, whole);
    }
}

#[tokio::test]
async fn answers_do_not_depend_on_the_cut() {
    let long = "x".repeat(200);
    let input = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{}}}}\n\
         {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}}\r\n\
         {{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{{\"a\":\"{long}\"}}}}\n\
         {{\"result\":{{\"a\":\"{long}\"}},\"id\":3}}\n\
         {{\"jsonrpc\":\"2.0\",\"id\":4,\"error\":{{\"code\":1,\"message\":\"ü\"}}}}\n"
    );
    let whole = deliver::<RoleClient>(input.as_bytes(), input.len(), 100).await;
    let ids: Vec<&Value> = whole.0.iter().map(|message| &message["id"]).collect();
    assert_eq!(ids, [&json!(1), &Value::Null, &json!(2), &json!(3), &json!(4)]);
    assert_eq!(whole.1, "");
    for cut in 0..input.len() {
        assert_eq!(deliver::<RoleClient>(input.as_bytes(), cut, 100).await, whole, "{cut}");
    }
}

#[tokio::test]
async fn refused_message_reaches_its_caller() {
    let long = "x".repeat(200);
    let rows: [(&str, Option<Value>); 14] = [
        // Too long: the id first, last, with a quote and a brace in it, in between.
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"id":8,"a":"LONG"}}"#, Some(json!(7))),
        (
            r#"{"method":"m","params":{"id":8,"a":"LONG\"}"},"jsonrpc":"2.0","id":7}"#,
            Some(json!(7)),
        ),
        (r#"{"a":"LONG","id" : "\"},{" ,"method":"m"}"#, Some(json!("\"},{"))),
        (r#"{"a":[{"id":1},"id",LONG],"method":"m","id":-7,"b":[]}"#, Some(json!(-7))),
        // A notification, and what is no message at all.
        (r#"{"method":"m","params":{"id":8,"a":"LONG"}}"#, None),
        (r#"LONG,"id":7"#, Some(Value::Null)),
        // No request, and no JSON.
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping","jsonrpc":1}"#, Some(json!(7))),
        (r#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, Some(json!("a"))),
        (r#"{"id":7,"method":"ping","params":{"#, Some(json!(7))),
        (r#"{"jsonrpc":"1.0","id":1.5,"method":"ping"}"#, Some(Value::Null)),
        ("[]", Some(Value::Null)),
        ("7", Some(Value::Null)),
        (r#"{"id":7}}"#, None),
        (r#"{"method":"ping","params":"#, None),
    ];
    for (line, id) in rows {
        let line = line.replace("LONG", &long) + "\n";
        for cut in [0, 60, line.len() - 1, line.len()] {
            let (_, answers) =
                deliver::<RoleServer>(line.as_bytes(), cut.min(line.len()), 100).await;
            let answers: Vec<Value> =
                answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
            assert_eq!(ids, Vec::from_iter(&id), "{line}");
            assert!(answers.iter().all(|answer| answer["error"]["code"].is_i64()));
        }
    }
}

#[tokio::test]
async fn refused_answer_ends_its_call() {
    let rows = [
        r#"{"jsonrpc":"2.0","id":7,"result":{"a":"LONG"}}"#,
        r#"{"result":{"a":"LONG"},"id":7,"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":}"#,
        r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
    ];
    for line in rows {
        let line = line.replace("LONG", &"x".repeat(200)) + "\n";
        let (received, answers) = deliver::<RoleClient>(line.as_bytes(), 0, 100).await;
        assert_eq!(answers, "");
        assert_eq!(received.len(), 1, "{line}");
        assert_eq!(received[0]["id"], 7);
        assert!(received[0]["error"]["code"].is_i64());
    }
}

#[tokio::test]
async fn client_answers_no_answer_without_an_id() {
    assert_eq!(deliver::<RoleClient>(b"[]\n{}\n7\nno\n", 0, 100).await, (vec![], String::new()));
}

#[tokio::test]
async fn endless_line_is_not_kept() {
    let (mut server, mut peer) = server(1 << 16);
    let peer = tokio::spawn(async move {
        for _ in 0..200 {
            peer.write_all(&[b'x'; 1 << 20]).await.unwrap();
        }
        peer.write_all(b"\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await.unwrap();
        peer
    });
    let message = server.receive().await.unwrap();
    assert_eq!(serde_json::to_value(message).unwrap(), ping(1));
    drop(peer.await.unwrap());
}

fn answer(id: i64) -> ServerJsonRpcMessage {
    let id = serde_json::from_value(json!(id)).unwrap();
    ServerJsonRpcMessage::response(ServerResult::EmptyResult(EmptyResult {}), id)
}

#[tokio::test]
async fn sends_go_out_in_the_order_of_their_calls() {
    let (mut server, peer) = server(10);
    let mut sends = Vec::new();
    for id in 0..100 {
        sends.push(server.send(answer(id)));
    }
    let sent = tokio::spawn(async move {
        // One is dropped, and one that has the turn: their messages stay.
        let mut sends = sends.into_iter();
        drop(sends.next());
        let mut first = Box::pin(sends.next().unwrap());
        let mut second = Box::pin(sends.next().unwrap());
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        drop(first);
        second.await.unwrap();
        futures::future::try_join_all(sends.rev()).await.unwrap();
        server
    });
    let mut lines = BufReader::new(peer).lines();
    for id in 0..100 {
        let line = lines.next_line().await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], id);
    }
    sent.await.unwrap();
}

#[tokio::test]
async fn send_ends_while_others_go_on() {
    let (mut server, mut peer) = server(64);
    let mut first = pin!(server.send(answer(1)));
    let mut sends = vec![Box::pin(server.send(answer(2)))];
    let mut rest = vec![0; 16];
    for id in 3..1000 {
        // The queue is never empty.
        sends.push(Box::pin(server.send(answer(id))));
        for send in &mut sends {
            if let Poll::Ready(sent) = poll!(send) {
                sent.unwrap();
                break;
            }
        }
        if poll!(&mut first).is_ready() {
            return;
        }
        assert_eq!(peer.read(&mut rest).await.unwrap(), 16);
    }
    panic!("it waits for all the others");
}

#[tokio::test]
async fn close_ends_the_sends_and_loses_nothing() {
    let (mut server, mut peer) = server(10);
    let mut sends = Vec::new();
    for id in 0..100 {
        sends.push(tokio::spawn(server.send(answer(id))));
    }
    yield_now().await;
    let closed = tokio::spawn(async move { server.close().await });
    let mut text = String::new();
    peer.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.lines().count(), 100);
    drop(peer);
    closed.await.unwrap().unwrap();
    for send in sends {
        send.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn server_disconnects_client_that_does_not_read() {
    let (io, peer) = duplex(1 << 16);
    let served = tokio::spawn(async move {
        let service = Echo.serve(JsonLines::<RoleServer, _>::new(io, MAX_LINE)).await.unwrap();
        service.waiting().await.unwrap()
    });
    let (read, mut write) = tokio::io::split(peer);
    let mut answers = BufReader::new(read).lines();
    write.write_all(INITIALIZE).await.unwrap();
    answers.next_line().await.unwrap().unwrap();
    let text = "x".repeat(1000);
    let written = Arc::new(AtomicUsize::new(0));
    for id in 0..400_000 {
        let params = json!({ "name": "echo", "arguments": { "text": text } });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        if write.write_all(format!("{call}\n").as_bytes()).await.is_err() {
            break;
        }
        written.fetch_add(1, Relaxed);
    }
    // A thousand answers wait in the queue. `rmcp` takes requests and answers in a random
    // order, so that some thousand more requests may be at work.
    assert!(written.load(Relaxed) < 10 * HIGH_WATER / 1000, "{written:?}");
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn server_ends_at_the_end_of_input_with_full_output() {
    // Above the high-water mark the end is not seen.
    for (length, limit) in [(100_000, 5 + 2), (5 << 20, 30 + 1)] {
        let start = Instant::now();
        let (io, mut peer) = duplex(1 << 12);
        let served = tokio::spawn(async move {
            let service = Echo.serve(JsonLines::<RoleServer, _>::new(io, MAX_LINE)).await.unwrap();
            service.waiting().await.unwrap()
        });
        peer.write_all(INITIALIZE).await.unwrap();
        let params = json!({ "name": "echo", "arguments": { "text": "x".repeat(length) } });
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        peer.write_all(format!("{call}\n").as_bytes()).await.unwrap();
        peer.shutdown().await.unwrap();
        served.await.unwrap();
        // `rmcp` itself waits for five seconds.
        assert!(start.elapsed() <= Duration::from_secs(limit), "{:?}", start.elapsed());
    }
}

/// A client whose server has answered the handshake, and nothing more.
async fn client(pipe: usize) -> (RunningService<RoleClient, ()>, DuplexStream) {
    let (io, mut peer) = duplex(pipe);
    let client: JoinHandle<_> =
        tokio::spawn(async move { ().serve(Client::new(io, MAX_LINE)).await.unwrap() });
    let mut line = String::new();
    BufReader::with_capacity(1, &mut peer).read_line(&mut line).await.unwrap();
    let request: Value = serde_json::from_str(&line).unwrap();
    let result = json!({ "protocolVersion": request["params"]["protocolVersion"],
        "capabilities": {}, "serverInfo": { "name": "a", "version": "1" } });
    let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    peer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    line.clear();
    BufReader::with_capacity(1, &mut peer).read_line(&mut line).await.unwrap();
    assert!(line.contains("notifications/initialized"), "{line}");
    (client.await.unwrap(), peer)
}

#[tokio::test(start_paused = true)]
async fn cancel_returns_when_the_server_stops_reading() {
    let (client, _peer) = client(1000).await;
    let caller = client.peer().clone();
    let arguments = json!({ "text": "x".repeat(1 << 20) }).as_object().unwrap().clone();
    let request = CallToolRequestParams::new("echo").with_arguments(arguments);
    let called = tokio::spawn(async move { caller.call_tool(request).await });
    yield_now().await;
    let start = Instant::now();
    client.cancel().await.unwrap();
    assert!(start.elapsed() <= 2 * CLOSE, "{:?}", start.elapsed());
    assert!(called.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn client_ends_when_the_server_stops_in_the_middle() {
    let (client, mut peer) = client(1000).await;
    let caller = client.peer().clone();
    let called =
        tokio::spawn(async move { caller.call_tool(CallToolRequestParams::new("echo")).await });
    let mut line = String::new();
    BufReader::with_capacity(1, &mut peer).read_line(&mut line).await.unwrap();
    peer.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"res").await.unwrap();
    drop(peer);
    assert!(called.await.unwrap().is_err());
    client.waiting().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn client_disconnects_asking_server_that_does_not_read() {
    let (client, peer) = client(1 << 16).await;
    let (_unread, mut write) = tokio::io::split(peer);
    // Each answer tells the id.
    let ping = ping("x".repeat(1 << 20)).to_string() + "\n";
    for _ in 0..1000 {
        if write.write_all(ping.as_bytes()).await.is_err() {
            client.waiting().await.unwrap();
            return;
        }
    }
    panic!("1 GB of answers wait");
}

const INITIALIZE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":\
    {\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"a\",\"version\":\"1\"}}}\n\
    {\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
