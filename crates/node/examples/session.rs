//! Re-execution in sessions: within the node and over HTTP, beside another result of a Jupyter kernel.
//!
//! `session`, by anyone; the programs lie where they are built, and `STOCKADE_BENCH_JUPYTER` names a Python with
//! `jupyter_client` and `ipykernel`, to compare with. `session sql` builds the environment of SQL, too.
//! Machines are shared and noisy: what counts are ratios of what was measured side by side.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark may stop at the first surprise"
)]

#[path = "support/node.rs"]
mod node;

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use node::{Node, post, program};
use stockade_core::session::{Act, Answer, Order};
use stockade_node::wire::{self, Beside, Frame};

const ROUNDS: usize = 2_000;
/// Before anything counts.
const WARM_UP: usize = 300;

/// A language, what is executed again and again, and what that prints.
const TONGUES: [(&str, &str, &str); 3] =
    [("python", "print(1)", "1\n"), ("r", "cat('1\\n')", "1\n"), ("sql", "SELECT 1", "")];

fn main() {
    let with_sql = std::env::args().nth(1).is_some_and(|word| word == "sql");
    let kernel = jupyter();
    let has_r = std::path::Path::new("/usr/bin/Rscript").is_file();
    for (language, code, output) in TONGUES {
        if (language == "sql" && !with_sql) || (language == "r" && !has_r) {
            println!("{language}: not measured");
            continue;
        }
        within(language, code, output, kernel);
        over_http(language, code, output, kernel);
    }
}

/// From a request for `print(1)` to its output, in a Jupyter kernel that is there.
fn jupyter() -> Option<f64> {
    let python = std::env::var_os("STOCKADE_BENCH_JUPYTER")?;
    let ran = Command::new(python).args(["-c", include_str!("support/jupyter.py"), "print(1)"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let Some(again) = said.split_whitespace().nth(1) else { panic!("{}", String::from_utf8_lossy(&ran.stderr)) };
    println!("a Jupyter kernel, another result: p50 {again} µs");
    Some(again.parse().unwrap())
}

fn show(what: &str, times: &mut [Duration], kernel: Option<f64>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    let beside =
        kernel.map_or_else(String::new, |time| format!(", {:.1} × faster than a Jupyter kernel", time / at(50)));
    println!("{what}: p50 {:.0} µs, p99 {:.0} µs{beside}", at(50), at(99));
}

/// As the launcher does it: orders go to the supervisor of a session.
fn within(language: &str, code: &str, output: &str, kernel: Option<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let (orders, far) = wire::pair().unwrap();
    let report = file("");
    rustix::io::fcntl_setfd(&report, rustix::io::FdFlags::empty()).unwrap();
    let mut supervisor = Command::new(program("stockade"))
        .args(["run", "--quiet", "--principal=bench@local", &format!("--session={language}")])
        .arg(format!("--report-fd={}", std::os::fd::AsRawFd::as_raw_fd(&report)))
        .env("STOCKADE_STATE_DIR", folder.path())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(far)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut whole, mut engine) = (Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let (mut out, error, mut told, given) = (file(""), file(""), file(""), file(code));
        let act = u64::try_from(round).unwrap();
        let order = Order::Act { act, what: Act::Execute { time_ms: 60_000 } };
        let beside: Vec<OwnedFd> = [&out, &error, &told, &given].map(|file| file.try_clone().unwrap().into()).into();
        let beside: Vec<_> = beside.iter().map(AsFd::as_fd).collect();
        let began = Instant::now();
        wire::send(&orders, &order.to_bytes(), &beside).unwrap();
        assert_eq!(next(&orders), Answer { act, status: 0 });
        let time = began.elapsed();
        let report: serde_json::Value = serde_json::from_str(&text(&mut told)).unwrap();
        assert!(text(&mut out).contains(output));
        if round >= WARM_UP {
            whole.push(time);
            engine.push(Duration::from_micros(report["usage"]["wall_usec"].as_u64().unwrap()));
        }
    }
    show(&format!("{language}, within the node, order to the engine to its answer"), &mut engine, kernel);
    show(
        &format!("{language}, within the node, order to the supervisor, record and report included"),
        &mut whole,
        kernel,
    );
    drop(orders);
    supervisor.wait().unwrap();
}

fn file(text: &str) -> std::fs::File {
    let mut file: std::fs::File = rustix::fs::memfd_create("bench", rustix::fs::MemfdFlags::CLOEXEC).unwrap().into();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn text(file: &mut std::fs::File) -> String {
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

fn next(socket: &OwnedFd) -> Answer {
    rustix::event::poll(&mut [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)], None).unwrap();
    match wire::receive(socket, Beside::Nothing).unwrap() {
        Frame::Whole(bytes, _) => Answer::parse(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// As a caller who waits for each answer, over one connection.
fn over_http(language: &str, code: &str, output: &str, kernel: Option<f64>) {
    let node = Node::start(&["--warm", "0"]);
    let mut stream = node.connect();
    let asked = serde_json::json!({ "language": language }).to_string();
    let opened: serde_json::Value = serde_json::from_str(&post(&mut stream, "/v1/sessions", &asked)).unwrap();
    let path = format!("/v1/sessions/{}/executions", opened["id"].as_str().unwrap_or_else(|| panic!("{opened}")));
    let asked = serde_json::json!({ "code": code }).to_string();
    let mut times = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        let began = Instant::now();
        let answer = post(&mut stream, &path, &asked);
        let time = began.elapsed();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["stdout"].as_str().is_some_and(|said| said.contains(output)), "{answer}");
        if round >= WARM_UP {
            times.push(time);
        }
    }
    show(&format!("{language}, over HTTP, request to answer"), &mut times, kernel);
}
