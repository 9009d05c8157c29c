//! The relay against real connections on the loopback.

use std::io::Read;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

struct Running {
    port: u16,
    stop: Arc<AtomicBool>,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn start(rules: Rules) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, refusals) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let (stopped, recorded) = (Arc::clone(&stop), Arc::clone(&refusals));
    let thread = std::thread::spawn(move || {
        let on_refusal = |refusal| recorded.lock().unwrap().push(refusal);
        serve(&OwnedFd::from(listener), &rules, &stopped, &on_refusal).unwrap();
    });
    Running { port, stop, refusals, thread: Some(thread) }
}

/// Every allowed name is `server`, and loopback is dialled: for tests only.
fn loopback_rules(allowed: &[&str], server: SocketAddr) -> Rules {
    Rules {
        allowed: allowed.iter().map(|host| HostPort::https(host)).collect(),
        resolve: Box::new(move |_| Ok(vec![server])),
        acceptable: |_| true,
    }
}

fn ask(port: u16, request: &[u8]) -> String {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(client.write_all(request));
    let mut answer = Vec::new();
    drop(client.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().take(100).flatten() {
            std::thread::spawn(move || drop(io::copy(&mut (&client), &mut (&client))));
        }
    });
    address
}

#[test]
fn an_allowed_host_is_reached_and_bytes_pass_both_ways() {
    let relay = start(loopback_rules(&["index.invalid"], echo_server()));
    let mut client = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
    client.write_all(b"CONNECT INDEX.invalid:443 HTTP/1.1\r\nHost: x\r\n\r\nearly ").unwrap();
    let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let writer = client.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        (&writer).write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    let head = b"HTTP/1.1 200 Connection established\r\n\r\nearly ";
    assert!(answer.starts_with(head));
    assert!(answer[head.len()..] == sent[..]);
    assert!(relay.refusals.lock().unwrap().is_empty());
}

#[test]
fn everything_else_is_refused_and_recorded() {
    let relay = start(loopback_rules(&["index.invalid"], echo_server()));
    for (request, status) in [
        (&b"CONNECT other.invalid:443 HTTP/1.1\r\n\r\n"[..], "403"),
        (b"CONNECT sub.index.invalid:443 HTTP/1.1\r\n\r\n", "403"),
        (b"CONNECT index.invalid.other:443 HTTP/1.1\r\n\r\n", "403"),
        (b"CONNECT index.invalid:80 HTTP/1.1\r\n\r\n", "403"),
        (b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n", "403"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", "403"),
        (b"GET http://index.invalid/ HTTP/1.1\r\n\r\n", "403"),
        (b"\x16\x03\x01\x00\r\n\r\n", "403"),
    ] {
        let answer = ask(relay.port, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert_eq!(relay.refusals.lock().unwrap().len(), 8);
    let first = relay.refusals.lock().unwrap()[0].clone();
    assert_eq!(first.target, "other.invalid:443");
    assert_eq!(first.reason, "the host is not one of the package index");
}

#[test]
fn a_head_without_end_is_cut_off() {
    let relay = start(loopback_rules(&["index.invalid"], echo_server()));
    let answer = ask(relay.port, &[b'a'; 12 << 10]);
    assert!(answer.is_empty() || answer.contains("larger than 8 KiB"), "{answer}");
    drop(TcpStream::connect(("127.0.0.1", relay.port)).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    assert!(relay.refusals.lock().unwrap().iter().any(|r| r.reason.contains("8 KiB")));
}

#[test]
fn a_listed_name_that_resolves_to_this_machine_is_refused() {
    let server = echo_server();
    let mut rules = Rules::new(vec![HostPort::https("index.invalid")]);
    rules.resolve = Box::new(move |_| Ok(vec!["8.8.8.8:443".parse().unwrap(), server]));
    let relay = start(rules);
    let answer = ask(relay.port, b"CONNECT index.invalid:443 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("not public"), "{answer}");
    let relay = start(Rules::new(vec![HostPort::https("localhost")]));
    let answer = ask(relay.port, b"CONNECT localhost:443 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("not public"), "{answer}");
}

#[test]
fn more_clients_than_the_bound_wait_their_turn() {
    let relay = start(loopback_rules(&["index.invalid"], echo_server()));
    let idle: Vec<TcpStream> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(("127.0.0.1", relay.port)).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(400));
    let mut late = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
    late.write_all(b"CONNECT index.invalid:443 HTTP/1.1\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(late.read(&mut [0; 16]).is_err());
    drop(idle);
    late.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(late.read(&mut [0; 16]).unwrap() > 0);
}
