//! What a run says is told as it says it, kept, and told again.

use serde_json::{Value, json};

use crate::support::Node;

const LINES: (&str, &str) = ("accept", "application/x-ndjson");

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn text(events: &[Value], kind: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).map(|event| event["text"].as_str().unwrap()).collect()
}

#[test]
fn output_is_told_before_the_run_has_ended() {
    let node = Node::start(&[]);
    // It goes on only when the test has seen what it said: by an environment it cannot reach, so it is cancelled.
    let code = "import time\nprint('first', flush=True)\ntime.sleep(1000)";
    let mut events = node.post(&[LINES], &json!({ "code": code })).events();
    let accepted = events.next().unwrap();
    assert_eq!((accepted["type"].as_str(), accepted["seq"].as_i64()), (Some("accepted"), Some(1)));
    assert_eq!(events.next().unwrap()["type"], "started");
    assert_eq!(events.next().unwrap()["text"], "first\n");
    let id = accepted["run"].as_str().unwrap();
    node.send("DELETE", &format!("/v1/runs/{id}"), &[], b"").whole().unwrap().expect(200);
    let result = events.last().unwrap();
    assert_eq!((result["type"].as_str(), &result["data"]["cancelled"]), (Some("result"), &json!(true)));
}

#[test]
fn who_reconnects_misses_nothing() {
    let node = Node::start(&[]);
    let code = "import sys\nfor n in range(2000): print('line', n, flush=n % 100 == 0)\nprint('é' * 50000)";
    let whole: Vec<Value> = node.post(&[LINES], &json!({ "code": code })).events().collect();
    let id = whole[0]["run"].as_str().unwrap();
    let expected: String = (0..2000).map(|n| format!("line {n}\n")).collect::<String>() + &"é".repeat(50_000) + "\n";
    assert_eq!(text(&whole, "stdout"), expected);
    assert_eq!(whole.last().unwrap()["type"], "result");
    let numbers: Vec<i64> = whole.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (1..=i64::try_from(whole.len()).unwrap()).collect::<Vec<_>>());
    // From every number on, as if the connection had been lost there.
    for from in 1..=whole.len() {
        let again: Vec<Value> =
            node.send("GET", &format!("/v1/runs/{id}/events?from={from}"), &[], b"").events().collect();
        assert_eq!(kinds(&again), kinds(&whole[from - 1..]), "from {from}");
        assert_eq!(text(&again, "stdout"), text(&whole[from - 1..], "stdout"));
    }
    let beyond: Vec<Value> = node.send("GET", &format!("/v1/runs/{id}/events?from=99999"), &[], b"").events().collect();
    assert!(beyond.is_empty());
}

#[test]
fn bytes_that_are_no_text_arrive_whole() {
    let node = Node::start(&[]);
    let code = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 3)";
    let events: Vec<Value> = node.post(&[LINES], &json!({ "code": code })).events().collect();
    let bytes: Vec<u8> = events
        .iter()
        .filter(|event| event["type"] == "stdout")
        .flat_map(|event| match (&event["text"], &event["base64"]) {
            (Value::String(text), _) => text.clone().into_bytes(),
            (_, Value::String(encoded)) => {
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap()
            }
            _ => panic!("{event}"),
        })
        .collect();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>().repeat(3));
}

#[test]
fn server_sent_events_have_the_numbers_that_browsers_send_back() {
    let node = Node::start(&[]);
    let accept = ("accept", "text/event-stream");
    let answer = node.post(&[accept], &json!({ "code": "print(1)" }));
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let body = answer.whole().unwrap().text();
    let blocks: Vec<&str> = body.split_terminator("\n\n").filter(|block| !block.starts_with(':')).collect();
    assert!(blocks[0].starts_with("id: 1\nevent: accepted\ndata: {"), "{body}");
    assert!(blocks.last().unwrap().contains("\nevent: result\n"), "{body}");
    let first: Value = serde_json::from_str(blocks[0].split_once("data: ").unwrap().1).unwrap();
    let path = format!("/v1/runs/{}/events", first["run"].as_str().unwrap());
    let rest = node.send("GET", &path, &[accept, ("last-event-id", "2")], b"").whole().unwrap().text();
    assert!(rest.starts_with("id: 3\n"), "{rest}");
}

#[test]
fn denials_and_outputs_are_events_before_the_result() {
    let node = Node::start(&[]);
    let code = "open('made.txt', 'w').write('x')\nimport socket\ntry: socket.getaddrinfo('example.com', 80)\nexcept OSError: pass";
    let events: Vec<Value> = node.post(&[LINES], &json!({ "code": code })).events().collect();
    let kinds = kinds(&events);
    assert!(kinds.contains(&"denial"), "{events:?}");
    let output = events.iter().find(|event| event["type"] == "output").unwrap();
    assert_eq!(output["data"]["path"], "made.txt");
    assert_eq!(kinds.last(), Some(&"result"));
}

#[test]
fn more_output_than_a_run_may_make_ends_it_and_what_was_said_is_kept() {
    let node = Node::start(&[]);
    let request = json!({"code": "while True: print('x' * 1000)", "limits": {"streams": "2MiB"}});
    let run = node.post(&[], &request).whole().unwrap().expect(200).json();
    assert_eq!(run["outcome"]["report"]["cause"], json!({"kind": "limit", "limit": "streams"}));
    assert_eq!((run["stdout"].as_str().unwrap().len(), &run["truncated"]), (1 << 20, &json!(true)));
    let path = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
    let events: Vec<Value> = node.send("GET", &path, &[], b"").events().collect();
    assert_eq!(text(&events, "stdout").len(), 2 << 20);
}
