//! Callers who send half, too much, too many, or who stop reading: others notice nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_testkit::skipped;

use crate::http;
use crate::support::{Node, PATIENCE};
use crate::tenancy::as_user;

/// Memory of a process that is its own, MiB.
fn memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn half_a_request_is_given_up_and_does_no_harm() {
    let node = Node::start(&[]);
    let mut half: Vec<UnixStream> = Vec::new();
    for part in ["", "POST", "POST /v1/runs HTTP/1.1\r\nhost: n\r\n", "\0\0\0", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = node.connect();
        stream.write_all(part.as_bytes()).unwrap();
        half.push(stream);
    }
    let mut body = node.connect();
    let head =
        "POST /v1/runs HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"co";
    body.write_all(head.as_bytes()).unwrap();
    assert_eq!(node.run("print(1)")["stdout"], "1\n");
    // A caller that breaks off in the middle of its body has asked for nothing.
    drop(body);
    let began = Instant::now();
    for mut stream in half {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(began.elapsed() < PATIENCE, "given up after 15 seconds");
    }
    assert_eq!(node.get("/v1/runs").json()["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_body_of_a_gigabyte_is_refused_before_it_is_sent_and_takes_no_memory() {
    let node = Node::start(&[]);
    let before = memory(node.process.id());
    for (kind, coding) in [
        ("application/json", "content-length: 1073741824"),
        ("application/json", "transfer-encoding: chunked"),
        ("multipart/form-data; boundary=b", "content-length: 1073741824"),
        ("multipart/form-data; boundary=b", "transfer-encoding: chunked"),
    ] {
        let mut stream = node.connect();
        write!(stream, "POST /v1/runs HTTP/1.1\r\nhost: n\r\ncontent-type: {kind}\r\n{coding}\r\n\r\n").unwrap();
        let is_chunked = coding.ends_with("chunked");
        if kind.starts_with("multipart") && is_chunked {
            let head = b"--b\r\ncontent-disposition: form-data; name=\"input\"; filename=\"x\"\r\n\r\n";
            write!(stream, "{:x}\r\n", head.len()).unwrap();
            stream.write_all(head).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        let piece = vec![b' '; 1 << 20];
        for _ in 0..1024 {
            let sent = if is_chunked {
                write!(stream, "{:x}\r\n", piece.len())
                    .and_then(|()| stream.write_all(&piece))
                    .and_then(|()| stream.write_all(b"\r\n"))
            } else {
                break;
            };
            if sent.is_err() {
                break;
            }
        }
        let answer = http::answer(stream);
        // A connection that is closed under the sender is an answer, too.
        if let Ok(answer) = answer {
            assert!(matches!(answer.status, 413 | 422), "{kind} {coding}: {answer:?}");
        }
    }
    let after = memory(node.process.id());
    assert!(after < before + 350, "{before} MiB, then {after}");
    assert_eq!(node.run("print(1)")["stdout"], "1\n");
}

#[test]
fn a_reader_that_stops_delays_neither_its_run_nor_the_node() {
    let node = Node::start(&[]);
    let code = "for _ in range(8): print('x' * (1 << 20))";
    let mut stopped: Vec<_> = (0..5)
        .map(|_| {
            let mut events = node.post(&[("accept", "application/x-ndjson")], &json!({ "code": code })).events();
            let first = events.next().unwrap();
            (first["run"].as_str().unwrap().to_owned(), events)
        })
        .collect();
    for (run, _) in &stopped {
        let run = node.until_state(run, "ended");
        assert_eq!(run["outcome"]["cause"], "exited");
    }
    let after = memory(node.process.id());
    assert!(after < 200, "{after} MiB");
    // Whoever goes on reading has it all.
    let (_, events) = stopped.pop().unwrap();
    let bytes: usize = events.filter_map(|event| event["text"].as_str().map(str::len)).sum();
    assert_eq!(bytes, 8 * ((1 << 20) + 1));
}

#[test]
fn thousands_of_connections_of_one_user_leave_room_for_another() {
    if !rustix::process::geteuid().is_root() {
        skipped("connections of several users", "only root can ask as several users");
        return;
    }
    let node = Node::start(&[]);
    let socket = node.socket();
    let open: Vec<_> = (0..5000).map_while(|_| UnixStream::connect(&socket).ok()).collect();
    assert!(open.len() > 900, "{} connections", open.len());
    let json = [("content-type", "application/json")];
    let run = as_user(socket, 61_240, "POST", "/v1/runs", &json, r#"{"code":"print(1)"}"#).unwrap().expect(200).json();
    assert_eq!(run["stdout"], "1\n");
    drop(open);
    crate::support::until("the first user may come back", || {
        http::send(node.connect(), "GET", "/livez", &[], b"").is_ok_and(|answer| answer.status == 200)
    });
    let figures = node.get("/metrics").text();
    let refused = figures.lines().find_map(|line| line.strip_prefix("stockade_connections_refused_total ")).unwrap();
    assert!(refused.parse::<u64>().unwrap() > 0, "{figures}");
}

/// Output bombs, fork bombs and memory bombs of one user, while another works.
#[test]
fn bombs_of_one_user_do_not_stop_another() {
    if !rustix::process::geteuid().is_root() {
        skipped("bombs", "only root can ask as several users");
        return;
    }
    let node = Node::start(&["--runs", "2"]);
    for code in [
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "while True: print('x' * 100000)",
        "n = 0\nwhile True:\n  open(f'{n}', 'w').write('x'); n += 1",
        "import os\nwhile True: os.write(1, b'x')",
    ] {
        let request = json!({"code": code, "limits": {"time": "6s"}});
        node.post(&[("prefer", "respond-async")], &request).whole().unwrap().expect(202);
    }
    let json = [("content-type", "application/json")];
    for _ in 0..10 {
        let began = Instant::now();
        let run = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, r#"{"code":"print(1)"}"#).unwrap();
        assert_eq!(run.expect(200).json()["stdout"], "1\n");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
    let runs = node.get("/v1/runs").json();
    for run in runs["runs"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        let run: Value = node.until_state(id, "ended");
        assert_ne!(run["outcome"]["cause"], "failed", "{run}");
    }
}

/// Asks twice at once over one connection of HTTP/2; tells what was answered.
async fn twice(stream: UnixStream) -> Vec<Value> {
    stream.set_nonblocking(true).unwrap();
    let stream = hyper_util::rt::TokioIo::new(tokio::net::UnixStream::from_std(stream).unwrap());
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let ask = || {
        let body = axum::body::Body::from(json!({ "code": "print(6 * 7)" }).to_string());
        let request = hyper::Request::post("http://node/v1/runs").header("content-type", "application/json");
        let answer = sender.clone().send_request(request.body(body).unwrap());
        async {
            let body = axum::body::Body::new(answer.await.unwrap().into_body());
            serde_json::from_slice(&axum::body::to_bytes(body, 1 << 20).await.unwrap()).unwrap()
        }
    };
    let (one, other) = tokio::join!(ask(), ask());
    vec![one, other]
}

#[test]
fn who_speaks_http_2_asks_much_at_once_over_one_connection() {
    let node = Node::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(twice(node.connect()));
    assert_ne!(answers[0]["id"], answers[1]["id"]);
    for answer in answers {
        assert_eq!(answer["stdout"], "42\n", "{answer}");
    }
}

#[test]
fn who_begins_with_half_a_preface_or_asks_nothing_more_is_not_waited_for() {
    let node = Node::start(&[]);
    let began = Instant::now();
    let mut waiting = Vec::new();
    for half in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = node.connect();
        stream.write_all(half).unwrap();
        waiting.push(stream);
    }
    for mut stream in waiting {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
        assert!(began.elapsed() < PATIENCE);
    }
}

#[test]
fn who_comes_when_memory_is_short_is_told_when_to_come_again() {
    let folder = stockade_testkit::Folder::new();
    let node = Node::within(&folder.path().join("node"), &["--reserve-memory-mib", "4294967295"]);
    let answer = node.post(&[], &json!({ "code": "print(1)" })).whole().unwrap().expect(429);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(answer.json()["title"], "the machine is short of memory");
}
