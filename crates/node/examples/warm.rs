//! Runs of warm engines: from claim to report within the node, and over HTTP; beside bare forks of the same imports.
//!
//! `warm [MODULE]`, as root; the programs lie where they are built, `STOCKADE_WARM_LIBRARY` names the library, and
//! `STOCKADE_BENCH_JUPYTER` a Python with `jupyter_client` and `ipykernel`, to compare with; podman is compared with
//! where it is, or where `STOCKADE_BENCH_PODMAN` says.
//! Machines are shared and noisy: what counts are ratios of what was measured side by side.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark may stop at the first surprise"
)]

#[path = "../../engines/examples/support/bare.rs"]
mod bare;
#[path = "support/node.rs"]
mod node;
#[path = "support/podman.rs"]
mod podman;

use std::io::{BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bare::Bare;
use node::{Node, ask, post, program};
use stockade_audit::{Keeping, Place, Trail};
use stockade_core::limits::{Limit, Limits};
use stockade_core::pool::{Claim, Notice, Said};
use stockade_node::wire::{self, Beside, Frame};

const ROUNDS: usize = 200;
const IDS: &str = "1896742912:4096";

fn main() {
    let module = std::env::args().nth(1);
    let modules: Vec<&str> = module.as_deref().into_iter().collect();
    let import = module.as_ref().map_or_else(String::new, |module| format!("import {module}\n"));
    let code = format!("{import}print(1)");
    let mut forks = Bare::start(Some("/usr".as_ref()), &modules);
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| timed(|| forks.run())).collect();
    let fork = show("bare fork, to its output", &mut times, &[]);
    let kernel = jupyter(&code);
    let container = podman::run(&code)
        .map(|mut times| ("podman run", show("podman run of the same Python, to its output", &mut times, &[])));
    let beside: Vec<(&str, f64)> = std::iter::once(("a bare fork", fork)).chain(kernel).chain(container).collect();
    within(&modules, &code, &beside);
    over_http(&code, &beside, &mut forks);
}

/// A Jupyter kernel's start to its first result, and what it takes for another.
fn jupyter(code: &str) -> Option<(&'static str, f64)> {
    let python = std::env::var_os("STOCKADE_BENCH_JUPYTER")?;
    let ran = Command::new(python).args(["-c", include_str!("support/jupyter.py"), code]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    let mut times = said.split_whitespace().map(|time| time.parse::<f64>().unwrap());
    let (Some(start), Some(again)) = (times.next(), times.next()) else {
        panic!("{}", String::from_utf8_lossy(&ran.stderr))
    };
    println!("a Jupyter kernel, start to first result: p50 {start:.0} µs; another result: p50 {again:.0} µs");
    Some(("a kernel's start", start))
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn show(what: &str, times: &mut [Duration], beside: &[(&str, f64)]) -> f64 {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    let ratios: String = beside.iter().map(|(other, time)| format!(", {} {other}", ratio(at(50), *time))).collect();
    println!("{what}: p50 {:.0} µs, p99 {:.0} µs{ratios}", at(50), at(99));
    at(50)
}

fn ratio(ours: f64, other: f64) -> String {
    if ours > other {
        format!("{:.2} × the time of", ours / other)
    } else {
        format!("{:.1} × faster than", other / ours)
    }
}

fn library() -> PathBuf {
    std::env::var_os("STOCKADE_WARM_LIBRARY").unwrap_or_else(|| panic!("name it: STOCKADE_WARM_LIBRARY")).into()
}

/// As the launcher does it.
fn within(modules: &[&str], code: &str, beside: &[(&str, f64)]) {
    let folder = tempfile::tempdir().unwrap();
    let (control, far) = wire::pair().unwrap();
    let mut pool = Command::new(program("stockade"))
        .args(["run", "--quiet", &format!("--pool={IDS}"), &format!("--parent={}", std::process::id())])
        .args(modules.iter().map(|module| format!("--preload={module}")))
        .env("STOCKADE_STATE_DIR", folder.path())
        .env("STOCKADE_WARM_LIBRARY", library())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(far)
        .spawn()
        .unwrap();
    let limits: Vec<(String, u64)> =
        Limit::ALL.iter().map(|limit| (limit.name().to_owned(), Limits::default().of(*limit))).collect();
    let (mut begun, mut written, mut done) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let engine = next_engine(&control);
        // As one of a pool: it has come to wait for its claim.
        std::thread::sleep(Duration::from_millis(20));
        let out = folder.path().join(format!("out-{round}"));
        std::fs::create_dir(&out).unwrap();
        let claim = Claim {
            principal: "bench@local".to_owned(),
            script: Some("main.py".to_owned()),
            arguments: Vec::new(),
            inputs: Vec::new(),
            limits: limits.iter().cloned().collect(),
            out: out.display().to_string(),
        };
        let (output, to_output) = rustix::pipe::pipe().unwrap();
        let given: [OwnedFd; 4] = [to_output, file(""), file(""), file(code)];
        let bytes = serde_json::to_vec(&claim).unwrap();
        let began = Instant::now();
        wire::send(&engine, &bytes, &given.each_ref().map(AsFd::as_fd)).unwrap();
        drop(given);
        assert_eq!(next_said(&engine), Said::Begun);
        begun.push(began.elapsed());
        rustix::io::read(&output, &mut [0; 2]).unwrap();
        written.push(began.elapsed());
        assert_eq!(next_said(&engine), Said::Done(0));
        done.push(began.elapsed());
    }
    show("within the node, claim to its record", &mut begun, &[]);
    show("within the node, claim to its output", &mut written, beside);
    show("within the node, claim to its report", &mut done, beside);
    drop(control);
    pool.wait().unwrap();
}

fn file(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

fn wait(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    rustix::event::poll(&mut [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)], None).unwrap();
    match wire::receive(socket, Beside::Descriptors).unwrap() {
        Frame::Whole(bytes, descriptors) => (bytes.to_vec(), descriptors),
        other => panic!("{other:?}"),
    }
}

fn next_engine(control: &OwnedFd) -> OwnedFd {
    let (bytes, mut descriptors) = wait(control);
    match serde_json::from_slice(&bytes).unwrap() {
        Notice::Waiting {} => descriptors.remove(1),
        notice => panic!("{notice:?}"),
    }
}

fn next_said(engine: &OwnedFd) -> Said {
    Said::parse(&wait(engine).0).unwrap()
}

/// As a caller who waits for the end, over one connection.
fn over_http(code: &str, beside: &[(&str, f64)], forks: &mut Bare) {
    let node = Node::start(&[]);
    let body = serde_json::json!({ "code": code }).to_string();
    let run_on = |stream: &mut BufReader<UnixStream>| {
        let began = Instant::now();
        let answer = post(stream, "/v1/runs", &body);
        (began.elapsed(), answer.contains("\"begun\":\"warm\""))
    };
    let mut stream = node.connect();
    let mut run = || run_on(&mut stream);
    while !run().1 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let before = access(&node);
    let (mut times, mut cold) = (Vec::new(), 0);
    while times.len() < ROUNDS {
        std::thread::sleep(Duration::from_millis(40));
        let (time, is_warm) = run();
        if is_warm { times.push(time) } else { cold += 1 }
    }
    let after = access(&node);
    let access = (after.0 - before.0) / (after.1 - before.1);
    show("over HTTP, request to answer", &mut times, beside);
    share_of_access(&mut times, access);
    println!("of {} runs {cold} were cold", times.len() + cold);
    // Two callers, one after the other's answer each.
    let began = Instant::now();
    let sustained: Vec<(Duration, bool)> = std::thread::scope(|scope| {
        let callers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut stream = node.connect();
                (0..ROUNDS).map(|_| run_on(&mut stream)).collect::<Vec<_>>()
            })
        });
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let each = began.elapsed().as_secs_f64() * 1e6 / sustained.len() as f64;
    let forked = timed(|| forks.run_many(sustained.len())).as_secs_f64() * 1e6 / sustained.len() as f64;
    let namespaces = timed(|| forks.run_many_with_namespaces(sustained.len())).as_secs_f64() * 1e6;
    let namespaces = namespaces / sustained.len() as f64;
    println!("bare forks with five namespaces each and no other wall: rate × {:.2}", forked / namespaces);
    let warm = sustained.iter().filter(|(_, is_warm)| *is_warm).count();
    let mut times: Vec<Duration> = sustained.iter().map(|(time, _)| *time).collect();
    show("over HTTP without a pause", &mut times, &[]);
    println!(
        "sustained: {each:.0} µs each ({warm} of {} warm), bare forks {forked:.0} µs each; rate × {:.2}",
        sustained.len(),
        forked / each
    );
}

/// How long it took in all to find out who asks and what he may, in seconds, and how often it did.
fn access(node: &Node) -> (f64, f64) {
    let text = ask(&mut node.connect(), ("GET", "/metrics"), "");
    let figure = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
    (figure("stockade_access_seconds_sum "), figure("stockade_access_seconds_count "))
}

/// What finding out who asks and what he may takes of a request, and its two records in the trail.
fn share_of_access(times: &mut [Duration], access_s: f64) {
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64();
    let folder = std::env::temp_dir().join(format!("stockade-records-{}", std::process::id()));
    let trail = Trail::new(Place::new(folder.clone()));
    let record = serde_json::json!({ "record": "intent", "run": "0", "principal": "ann@acme", "code": "0" });
    let mut records: Vec<Duration> =
        (0..ROUNDS).map(|_| timed(|| assert!(trail.append(&record, Keeping::Written).is_ok()))).collect();
    records.sort_unstable();
    let record = records[records.len() / 2].as_secs_f64();
    std::fs::remove_dir_all(folder).unwrap();
    let share = |seconds: f64| 100.0 * seconds / median;
    println!(
        "of the median: who asks and what he may {:.0} µs, {:.2} %; two records of the trail {:.0} µs, {:.2} %; together {:.2} %",
        access_s * 1e6,
        share(access_s),
        record * 2e6,
        share(record * 2.0),
        share(record.mul_add(2.0, access_s))
    );
}
