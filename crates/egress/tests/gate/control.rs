//! The gate as a process: what a supervisor says to it, and what a broken or hostile one can do.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};
use stockade_audit::{Expected, Place, PublicKey, Records};
use stockade_egress::control::{self, Client, Failure, NotServed, Open};
use stockade_egress::{RunReport, Sockets, Way};

use crate::inside;
use crate::world::rules;

/// A gate on a thread of its own, as `serve` makes it, and the trail it writes.
pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) trail: PathBuf,
    serving: JoinHandle<Result<(), NotServed>>,
}

impl Process {
    pub(crate) fn start() -> Self {
        let (mut client, trail, serving) = Self::parts();
        client.hello(head_of(&trail).as_fd()).unwrap();
        Self { client, trail, serving }
    }

    fn parts() -> (Client, PathBuf, JoinHandle<Result<(), NotServed>>) {
        let (ours, trail, serving) = raw();
        (Client::new(ours), trail, serving)
    }

    /// Opens a run with one proxy.
    pub(crate) fn run(&mut self, id: &str, grants: &[impl AsRef<str>]) -> SocketAddr {
        self.client.open(Open::new(id, rules(grants))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = listener.local_addr().unwrap();
        self.client.serve(id, Sockets::proxies(vec![listener.into()])).unwrap();
        proxy
    }

    /// Closes the control socket and returns what the gate has put on record, in a chain that holds.
    pub(crate) fn end(self) -> String {
        drop(self.client);
        self.serving.join().unwrap().unwrap();
        let place = Place::new(self.trail.parent().unwrap());
        let expected = Expected::key(PublicKey::beside(&place).unwrap());
        assert_eq!(stockade_audit::verify(&place, &expected).unwrap().bad, None);
        let records = Records::of(place).unwrap().map(|entry| entry.unwrap());
        let text = records.filter(|entry| entry.kind() == "network").map(|entry| entry.line + "\n").collect();
        forget(&self.trail);
        text
    }
}

/// The head beside a trail, by a description of its own.
fn head_of(trail: &Path) -> File {
    File::options().read(true).write(true).open(trail.with_file_name("audit.head")).unwrap()
}

/// Removes a trail.
fn forget(trail: &Path) {
    std::fs::remove_dir_all(trail.parent().unwrap()).unwrap();
}

fn null() -> File {
    File::options().append(true).open("/dev/null").unwrap()
}

/// The supervisor's end as a plain socket.
fn raw() -> (OwnedFd, PathBuf, JoinHandle<Result<(), NotServed>>) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("stockade-control-{}-{number}", std::process::id()));
    let place = Place::new(folder);
    let path = place.log();
    let (trail, _) = stockade_audit::Trail::new(place).open_for_another().unwrap();
    let (ours, theirs) = control::pair().unwrap();
    let serving = std::thread::spawn(move || control::serve(theirs, trail));
    (ours, path, serving)
}

/// A server that sends back what it gets; returns its port.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                // The client may leave in the middle.
                drop(std::io::copy(&mut &stream, &mut writer));
                drop(stream.shutdown(std::net::Shutdown::Both));
            });
        }
    });
    port
}

fn grants(port: u16) -> Vec<String> {
    vec![format!("tcp://localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
}

fn tunnel(proxy: SocketAddr, target: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "CONNECT {target} HTTP/1.1\r\n\r\n").unwrap();
    let (mut head, mut byte) = (String::new(), [0]);
    while !head.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(char::from(byte[0]));
    }
    if head.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(head) }
}

fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text);
}

#[test]
fn a_run_is_opened_served_and_closed_with_a_report() {
    let port = echo();
    let mut process = Process::start();
    let proxy = process.run("r1", &grants(port));
    let target = format!("localhost:{port}");
    for _ in 0..2 {
        echoes(&mut tunnel(proxy, &target).unwrap(), b"hello");
    }
    assert!(tunnel(proxy, "evil.test:443").unwrap_err().starts_with("HTTP/1.1 403"));
    assert!(tunnel(proxy, "evil.test:443").unwrap_err().starts_with("HTTP/1.1 403"));
    let report = process.client.close("r1").unwrap();
    assert_eq!((report.totals.connections, report.totals.open), (2, 0));
    let [connected] = &report.connections[..] else { panic!("{report:?}") };
    assert_eq!((connected.host.as_str(), connected.port, connected.way), ("localhost", port, Way::Connect));
    assert_eq!((connected.count, connected.bytes_up, connected.bytes_down), (2, 10, 10));
    assert_eq!(connected.rule, format!("tcp://localhost:{port}"));
    let [refused] = &report.refusals[..] else { panic!("{report:?}") };
    assert_eq!((refused.asked.as_str(), refused.reason.as_str(), refused.count), ("evil.test:443", "not-granted", 2));
    assert_eq!(refused.next, "--net evil.test");
    assert!(TcpStream::connect(proxy).is_err());
    assert_eq!(process.client.metrics().unwrap().connections, 2);
    let trail = process.end();
    let events: Vec<serde_json::Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["record"] == "network" && event["run"] == "r1"), "{trail}");
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "opened").count(), 2, "{trail}");
    assert_eq!(kinds.last(), Some(&"ended"));
}

#[test]
fn the_certificate_is_known_before_anything_is_served() {
    let mut process = Process::start();
    let pem = process.client.open(Open::new("r1", rules(&["GET https://a.test/x"]))).unwrap().unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(process.client.open(Open::new("r2", rules(&["a.test"]))).unwrap(), None);
    let with_roots = |pem: &str| Open { extra_roots_pem: Some(pem.to_owned()), ..Open::new("r3", rules(&["b.test"])) };
    assert!(matches!(process.client.open(with_roots("nonsense")).unwrap_err(), Failure::Refused(_)));
    process.client.open(with_roots(&pem)).unwrap();
    let report = process.client.close("r1").unwrap();
    assert_eq!((report.connections.len(), report.refusals.len()), (0, 0));
    process.end();
}

fn refused(failure: Failure) -> String {
    let Failure::Refused(refused) = failure else { panic!("{failure:?}") };
    assert!(!refused.next.is_empty());
    format!("{}: {}", refused.what, refused.why)
}

#[test]
fn what_is_out_of_order_is_refused_and_the_rest_goes_on() {
    let mut process = Process::start();
    let open = |id: &str| Open::new(id, rules(&["a.test"]));
    process.client.open(open("r1")).unwrap();
    assert!(refused(process.client.open(open("r1")).unwrap_err()).ends_with("is open already"));
    assert!(refused(process.client.open(open("../r")).unwrap_err()).contains("letters, digits"));
    assert!(refused(process.client.close("r9").unwrap_err()).contains("`r9` was not closed: no run"));
    assert!(refused(process.client.serve("r9", Sockets::default()).unwrap_err()).contains("no run"));
    // What does not listen is not served; the run can be served after that.
    let null = File::open("/dev/null").unwrap();
    let failed = process.client.serve("r1", Sockets::proxies(vec![null.into()])).unwrap_err();
    assert!(refused(failed).contains("listener"));
    process.client.serve("r1", Sockets::default()).unwrap();
    assert!(refused(process.client.serve("r1", Sockets::default()).unwrap_err()).contains("served already"));
    process.end();
}

#[test]
fn nothing_is_done_before_hello_or_for_another_version() {
    let (mut client, trail, serving) = Process::parts();
    let failed = client.open(Open::new("r1", rules(&["a.test"]))).unwrap_err();
    assert!(refused(failed).contains("hello"));
    client.hello(head_of(&trail).as_fd()).unwrap();
    drop(client);
    serving.join().unwrap().unwrap();
    forget(&trail);
    let other = send_and_read(br#"{"number":1,"body":{"hello":{"version":"0.0.0-other"}}}"#, &[]);
    assert!(other.contains("0.0.0-other") && other.contains(env!("CARGO_PKG_VERSION")), "{other}");
    // The other side checks too.
    let (ours, theirs) = control::pair().unwrap();
    let answering = std::thread::spawn(move || {
        rustix::net::recv(&theirs, &mut [0; 999], RecvFlags::empty()).unwrap();
        let answer = br#"{"number":1,"body":{"hello":{"version":"9.9.9"}}}"#;
        rustix::net::send(&theirs, answer, SendFlags::empty()).unwrap();
    });
    let failure = Client::new(ours).hello(null().as_fd()).unwrap_err();
    assert!(matches!(&failure, Failure::Version { theirs, .. } if theirs == "9.9.9"), "{failure}");
    answering.join().unwrap();
}

/// Greets, sends one frame as it is, and returns the answer; the gate must live on.
fn send_and_read(bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> String {
    let (ours, trail, serving) = raw();
    let ask = |bytes: &[u8], descriptors: &[BorrowedFd<'_>]| {
        let mut space = [MaybeUninit::uninit(); 2048];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || beside.push(SendAncillaryMessage::ScmRights(descriptors)));
        rustix::net::sendmsg(&ours, &[IoSlice::new(bytes)], &mut beside, SendFlags::empty()).unwrap();
        let mut answer = vec![0; 200 << 10];
        let (count, _) = rustix::net::recv(&ours, &mut answer[..], RecvFlags::empty()).unwrap();
        String::from_utf8(answer[..count].to_vec()).unwrap()
    };
    let hello = format!(r#"{{"number":7,"body":{{"hello":{{"version":"{}"}}}}}}"#, env!("CARGO_PKG_VERSION"));
    ask(hello.as_bytes(), &[]);
    let answer = ask(bytes, descriptors);
    assert_eq!(ask(br#"{"number":9,"body":{"metrics":{}}}"#, &[]).get(..12), Some(r#"{"number":9,"#));
    drop(ours);
    serving.join().unwrap().unwrap();
    forget(&trail);
    answer
}

#[test]
fn a_bad_frame_is_refused_whole() {
    for bytes in [
        &b"garbage"[..],
        b"\0\0\0\0",
        b"{}",
        br#"{"number":1,"body":{"close":{"run":"r1","more":1}}}"#,
        br#"{"number":1,"body":{"open":{"run":"r1"}}}"#,
        br#"{"number":-1,"body":{"metrics":{}}}"#,
        br#"{"number":1,"body":{"serve":{"run":"r1","counts":{"proxies":-1,"resolver":false,"transparent":0,"watchers":0}}}}"#,
    ] {
        let answer = send_and_read(bytes, &[]);
        assert!(answer.starts_with(r#"{"number":0,"body":{"failed":"#) && answer.contains("no message"), "{answer}");
    }
    assert!(send_and_read("[".repeat(100_000).as_bytes(), &[]).contains("no message"));
    assert!(send_and_read(&vec![b' '; control::FRAME_BYTES_MAX + 1], &[]).contains("more than 163840 bytes"));
    let secret = br#"{"number":1,"body":{"open":{"run":"r1","secrets":[{"value":"hunter2hunter2"}]}}}"#;
    assert!(!send_and_read(secret, &[]).contains("hunter2"));
}

#[test]
fn descriptors_are_those_that_were_said() {
    let null = File::open("/dev/null").unwrap();
    let (one, many) = ([null.as_fd()], vec![null.as_fd(); 253]);
    assert!(send_and_read(br#"{"number":1,"body":{"metrics":{}}}"#, &one).contains("another number of descriptors"));
    for proxies in ["0", "2", "18446744073709551615"] {
        let counts = format!(r#"{{"proxies":{proxies},"resolver":false,"transparent":0,"watchers":0}}"#);
        let serve = format!(r#"{{"number":1,"body":{{"serve":{{"run":"r1","counts":{counts}}}}}}}"#);
        assert!(send_and_read(serve.as_bytes(), &one).contains("another number of descriptors"), "{proxies}");
        assert!(send_and_read(serve.as_bytes(), &many).contains("more than 250 descriptors"), "{proxies}");
    }
}

#[test]
fn what_is_too_large_to_send_is_told_here() {
    let mut process = Process::start();
    let many: Vec<String> = (0..9_000).map(|number| format!("host-{number}.a-rather-long-domain.test")).collect();
    assert!(matches!(process.client.open(Open::new("r1", rules(&many))).unwrap_err(), Failure::TooLarge));
    let null = File::open("/dev/null").unwrap();
    let many = (0..251).map(|_| null.try_clone().unwrap().into()).collect();
    assert!(matches!(process.client.serve("r1", Sockets::proxies(many)).unwrap_err(), Failure::Descriptors));
    process.client.hello(head_of(&process.trail).as_fd()).unwrap();
    process.end();
}

#[test]
fn everything_is_cut_when_the_supervisor_is_gone() {
    let port = echo();
    let mut process = Process::start();
    let proxy = process.run("r1", &grants(port));
    let mut kept = tunnel(proxy, &format!("localhost:{port}")).unwrap();
    echoes(&mut kept, b"still here");
    let trail = process.end();
    assert_eq!(kept.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(proxy).is_err());
    assert!(trail.lines().last().unwrap().contains(r#""event":"ended""#), "{trail}");
    assert_eq!(trail.matches(r#""event":"closed""#).count(), 1, "{trail}");
}

#[test]
fn a_supervisor_that_ends_in_the_middle_ends_the_gate() {
    let (ours, trail, serving) = raw();
    let hello = format!(r#"{{"number":1,"body":{{"hello":{{"version":"{}"}}}}}}"#, env!("CARGO_PKG_VERSION"));
    for _ in 0..3 {
        rustix::net::send(&ours, hello.as_bytes(), SendFlags::empty()).unwrap();
    }
    // Its answers are never read.
    drop(ours);
    serving.join().unwrap().unwrap();
    forget(&trail);
}

#[test]
fn a_gate_that_is_gone_or_silent_is_told_from_one_that_refuses() {
    let (ours, theirs) = control::pair().unwrap();
    drop(theirs);
    assert!(matches!(Client::new(ours).hello(null().as_fd()).unwrap_err(), Failure::Gone));
    let (ours, theirs) = control::pair().unwrap();
    let mut client = Client::new(ours).with_patience(Duration::from_millis(50));
    assert!(matches!(client.hello(null().as_fd()).unwrap_err(), Failure::Slow(_)));
    // The late answer is not taken for the next one.
    for (number, version) in [(1, "9.9.9"), (2, env!("CARGO_PKG_VERSION"))] {
        let answer = format!(r#"{{"number":{number},"body":{{"hello":{{"version":"{version}"}}}}}}"#);
        rustix::net::send(&theirs, answer.as_bytes(), SendFlags::empty()).unwrap();
    }
    client.hello(null().as_fd()).unwrap();
    rustix::net::send(&theirs, b"nonsense", SendFlags::empty()).unwrap();
    assert!(matches!(client.hello(null().as_fd()).unwrap_err(), Failure::Answer));
}

#[test]
fn a_gate_starts_only_with_its_socket() {
    assert!(matches!(control::serve(null().into(), null()).unwrap_err(), NotServed::Control(_)));
}

#[test]
fn without_room_for_records_there_is_no_connection() {
    let port = echo();
    let (ours, theirs) = control::pair().unwrap();
    let folder = std::env::temp_dir().join(format!("stockade-control-full-{}", std::process::id()));
    let place = Place::new(&folder);
    let (_, head) = stockade_audit::Trail::new(place.clone()).open_for_another().unwrap();
    // Every write to it fails.
    let full = File::open(place.log()).unwrap();
    let serving = std::thread::spawn(move || control::serve(theirs, full));
    let mut client = Client::new(ours);
    client.hello(head.as_fd()).unwrap();
    client.open(Open::new("r1", rules(&grants(port)))).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = listener.local_addr().unwrap();
    client.serve("r1", Sockets::proxies(vec![listener.into()])).unwrap();
    assert!(tunnel(proxy, &format!("localhost:{port}")).unwrap_err().starts_with("HTTP/1.1 503"));
    let report = client.close("r1").unwrap();
    assert_eq!((report.totals.connections, report.refusals[0].reason.as_str()), (0, "not-recorded"));
    drop(client);
    serving.join().unwrap().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_hundred_sandboxes_share_a_gate_and_everything_adds_up() {
    const RUNS: usize = 200;
    const ROUNDS: u64 = 3;
    let port = echo();
    let closed = if port == 25 { 26 } else { 25 };
    let spec = json!({ "runs": RUNS, "rounds": ROUNDS, "name": "localhost", "ports": [port], "closed": closed });
    let Some((mut child, mut control)) = inside::start(&spec) else { return };
    let mut process = Process::start();
    for number in 0..RUNS {
        let id = format!("r{number}");
        process.client.open(Open::new(&id, rules(&grants(port)))).unwrap();
        process.client.serve(&id, inside::passed_out(&control)).unwrap();
        control.write_all(b"x").unwrap();
    }
    let mut results = BufReader::new(control);
    let (mut connections, mut up) = (0, 0);
    for number in 0..RUNS {
        let mut line = String::new();
        results.read_line(&mut line).unwrap();
        let done: Value = serde_json::from_str(&line).unwrap();
        let report = process.client.close(&format!("r{number}")).unwrap();
        adds_up(&report, &done, ROUNDS);
        connections += report.totals.connections;
        up += report.totals.bytes_up;
    }
    assert!(child.wait().unwrap().success());
    let totals = process.client.metrics().unwrap();
    assert_eq!((totals.connections, totals.open, totals.bytes_up, totals.bytes_down), (connections, 0, up, up));
    assert_eq!(totals.refusals.values().sum::<u64>(), 4 * ROUNDS * RUNS as u64);
    let trail = process.end();
    let mut events = std::collections::BTreeMap::<String, u64>::new();
    for line in trail.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["record"], "network");
        *events.entry(event["event"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!((events["opened"], events["closed"], events["ended"]), (connections, connections, RUNS as u64));
    // What is refused again through a listener or proxy is told again, what a resolver or watcher sees is not.
    assert_eq!(events["refused"], (3 * ROUNDS + 1) * RUNS as u64);
}

fn adds_up(report: &RunReport, done: &Value, rounds: u64) {
    assert_eq!(report.totals.connections, done["connections"].as_u64().unwrap(), "{report:?}");
    assert_eq!((report.totals.open, report.totals.bytes_up), (0, done["up"].as_u64().unwrap()));
    assert_eq!(report.totals.bytes_down, report.totals.bytes_up);
    let ways: Vec<(Way, u64)> = report.connections.iter().map(|one| (one.way, one.count)).collect();
    assert_eq!(ways, [(Way::Transparent, rounds), (Way::Connect, rounds)]);
    assert_eq!(report.connections.iter().map(|one| one.bytes_up).sum::<u64>(), report.totals.bytes_up);
    assert_eq!(report.refusals.iter().map(|one| one.count).sum::<u64>(), done["refused"].as_u64().unwrap());
    let of = |reason: &str, way| -> u64 {
        report.refusals.iter().filter(|one| one.reason == reason && one.way == way).map(|one| one.count).sum()
    };
    assert_eq!(of("not-granted", Way::Resolver), rounds, "{report:?}");
    assert_eq!(of("not-granted", Way::Connect), rounds, "{report:?}");
    assert_eq!((of("port", Way::Transparent), of("no-name", Way::Transparent)), (rounds, rounds), "{report:?}");
    assert_eq!((report.connections_more, report.refusals_more), (0, 0));
}
