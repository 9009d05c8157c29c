//! Runs that warm engines have are those that are started anew, only sooner.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stockade_launch::cgroup::SUPERVISOR;
use stockade_testkit::{processes_with, skipped};

use base64::Engine as _;

use crate::sessions::Session;
use crate::support::{AS_SERVICE, Node, signal, until, warm_library};
use crate::users::below;

/// On a machine that is not busy it is over within a second; other tests run beside this.
const SOON: Duration = Duration::from_secs(4);

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What a node is told that keeps some.
pub(crate) const WARM: [&str; 2] = ["--warm", "2"];

/// Whether there can be a node here that keeps engines warm.
pub(crate) fn can_be_warm() -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped("a node with warm engines", "only root becomes another user");
        return false;
    }
    if !warm_library().is_file() {
        skipped("a node with warm engines", "`cargo xtask warm-library` was not run");
        return false;
    }
    true
}

/// A node that keeps engines warm, if there can be one here.
fn start(flags: &[&str]) -> Option<Node> {
    can_be_warm().then(|| Node::start(&[&AS_SERVICE, WARM.as_slice(), flags].concat()))
}

pub(crate) fn begun(run: &Value) -> &Value {
    &run["outcome"]["report"]["begun"]
}

/// Waits until an engine waits for the next run of plain Python.
pub(crate) fn until_warm(node: &Node) {
    until("an engine serves", || begun(&node.run("pass")) == "warm");
    until("the next one waits", || !followers(node).is_empty());
}

/// Processes of this program that follow waiting engines, and pools: children of the launcher.
fn of_pools(node: &Node) -> Vec<u32> {
    let is_of_pool = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--pool="))
    };
    node.supervisors().into_iter().filter(is_of_pool).collect()
}

pub(crate) fn called(node: &Node, name: &str) -> Vec<u32> {
    let is_called =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|own| own.trim() == name);
    of_pools(node).into_iter().filter(is_called).collect()
}

/// Those whose engines wait: they have rehearsed, and sleep.
pub(crate) fn followers(node: &Node) -> Vec<u32> {
    let sleeps = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains("(engine-waits) S "))
    };
    called(node, "engine-waits").into_iter().filter(sleeps).collect()
}

/// Children of a process, in the order in which they came.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// What the kernel says of a process; nothing when it is gone.
fn status(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

fn pool(node: &Node) -> u32 {
    called(node, "stockade")[0]
}

/// What must be the same, however a run began.
fn essence(run: &Value) -> Value {
    let mut run = json!({ "stdout": run["stdout"], "stderr": run["stderr"], "outcome": run["outcome"] });
    let report = run["outcome"]["report"].as_object_mut().unwrap();
    for own in ["run", "begun", "host_user"] {
        report.remove(own).unwrap();
    }
    let usage = report["usage"].as_object_mut().unwrap();
    usage.retain(|name, _| ["bytes_in", "bytes_out", "stream_bytes"].contains(&name.as_str()));
    run
}

const CASES: [(&str, &str); 28] = [
    ("output", "print(1); import sys; print('warned', file=sys.stderr)"),
    ("exits", "import sys; sys.exit(3)"),
    ("exits with words", "raise SystemExit('no')"),
    ("exits as an interrupt does", "import sys; sys.exit(130)"),
    ("an exception", "def f():\n  return 1/0\nf()"),
    ("no python", "1 +"),
    ("ends at once", "import os; print('x', flush=True); os._exit(7)"),
    ("crashes", "import ctypes; ctypes.string_at(1)"),
    ("kills itself", "import os; os.kill(os.getpid(), 9)"),
    ("interrupts itself", "raise KeyboardInterrupt"),
    (
        "what it sees",
        "import sys, os; print(sorted(globals()), __name__, __file__, __doc__, __spec__, type(__loader__), sys.argv, sys.path, sys.orig_argv, os.getcwd(), sys.flags, sorted(os.environ.items()), sys.executable, sys.prefix, os.getuid(), os.getgid(), os.getgroups(), sys.stdin.read())",
    ),
    (
        "what is not closed",
        "f = open('a.txt', 'w'); f.write('hello')\nclass A:\n  def __init__(s): s.f = open('b.txt', 'w'); s.f.write('b'); s.me = s\n  def __del__(s): print('gone')\na = A(); print('no newline', end='')",
    ),
    ("a process is left", "import os, time\nif os.fork() == 0:\n  time.sleep(60)\nprint('parent')"),
    (
        "a thread is waited for",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
    ),
    (
        "another interpreter",
        "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.path)'], capture_output=True, text=True).stdout)",
    ),
    ("memory without a process", "import os; print(os.memfd_create('x') > 0)"),
    (
        "files",
        "import in_1; print(open('in.csv').read(), in_1.x, in_1.__file__); open('in.csv', 'a').write('more'); import os; print(os.listdir(), os.stat('in.csv').st_uid)",
    ),
    ("a child exits", "import os, sys\nif os.fork() == 0: sys.exit(0)\nos.wait(); print('result')"),
    ("a child ends as code does", "import os\nchild = os.fork()\nif child:\n  os.wait(); print('result')"),
    ("closes what is open", "import os, time; os.closerange(3, 256); time.sleep(6); print('goes on')"),
    ("closes its output", "import sys; print('x', flush=True); sys.stdout.close()"),
    ("has no output", "import sys; sys.stdout = None"),
    (
        "output that cannot be written out",
        "import sys\nclass Stream:\n  closed = False\n  def write(s, t): pass\n  def flush(s): raise RuntimeError('no')\nsys.stderr = Stream(); sys.exit(3)",
    ),
    ("too much memory", "x = bytearray(3 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1"),
    ("too long", "print('so far', flush=True)\nwhile True: pass"),
    ("a refused address", "import socket; s = socket.socket(); s.connect(('10.0.0.1', 80))"),
    ("a name", "import socket; socket.getaddrinfo('example.com', 80)"),
    (
        "folders and links",
        "import os; os.makedirs('d/e'); open('d/e/f.txt', 'w').write('x'); os.symlink('/etc/passwd', 'l'); os.mkfifo('p')",
    ),
];

fn run(node: &Node, what: &str, code: &str) -> Value {
    let inputs = json!([
        { "name": "in.csv", "content": base64(b"1,2\n") },
        { "name": "in_1.py", "content": base64(b"x = 5\n") },
    ]);
    let mut request = json!({ "code": code, "arguments": ["a", "--b", "ü"], "inputs": inputs });
    if what == "too long" {
        request["limits"] = json!({ "time": "1s" });
    }
    node.post(&[], &request).whole().unwrap().expect(200).json()
}

#[test]
fn a_warm_run_and_a_cold_one_of_the_same_code_come_to_the_same() {
    let Some(warm) = start(&[]) else { return };
    let cold = Node::start(&[&AS_SERVICE, ["--warm", "0"].as_slice()].concat());
    until_warm(&warm);
    for (what, code) in CASES {
        until("an engine waits", || !followers(&warm).is_empty());
        let (warm, cold) = (run(&warm, what, code), run(&cold, what, code));
        assert_eq!((begun(&warm), begun(&cold)), (&json!("warm"), &json!("cold")), "{what}: {warm}");
        assert_eq!(essence(&warm), essence(&cold), "{what}");
    }
}

/// What code of a session can tell an engine by.
const SEEN: &str = "
import sys, os, signal
print({name: repr(value) for name, value in sorted(globals().items()) if name[:2] == '__' and name != '__builtins__'})
print(sys.argv, sys.path, sys.orig_argv[1:], os.getcwd(), sys.flags, sorted(os.environ.items()), sys.executable)
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT), os.getuid(), os.listdir())
open('out.txt', 'w').write('made')
";

#[test]
fn a_warm_session_and_a_cold_one_see_the_same() {
    let Some(warm) = start(&[]) else { return };
    let cold = Node::start(&[&AS_SERVICE, ["--warm", "0"].as_slice()].concat());
    let asked = json!({ "inputs": [{ "name": "in.csv", "content": base64(b"1,2\n") }] });
    until("a session has a warm engine", || begun(&Session::open(&warm, &asked).close()) == "warm");
    until("the next one waits", || !followers(&warm).is_empty());
    let [warm, cold] = [&warm, &cold].map(|node| {
        let session = Session::open(node, &asked);
        let run = session.run(SEEN);
        (run["stdout"].clone(), session.close())
    });
    assert_eq!(warm.0, cold.0);
    assert_eq!((begun(&warm.1), begun(&cold.1)), (&json!("warm"), &json!("cold")));
    let essence = |session: &Value| {
        let report = &session["outcome"]["report"];
        json!([report["cause"], report["outputs"], report["environment"], report["layers"]])
    };
    assert_eq!(essence(&warm.1), essence(&cold.1));
    assert_eq!(warm.1["outcome"]["report"]["cause"], json!({ "kind": "exited", "status": 0 }));
}

#[test]
fn what_engines_cannot_serve_is_started_anew() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    for limits in [json!({ "memory": "64m" }), json!({ "processes": "8" }), json!({ "cpus": "1" })] {
        let answer = node.post(&[], &json!({ "code": "print(1)", "limits": limits })).whole().unwrap();
        let run = answer.expect(200).json();
        assert_eq!((begun(&run), &run["stdout"]), (&json!("cold"), &json!("1\n")), "{run}");
    }
    assert_eq!(begun(&node.run("print(1)")), "warm", "others still are");
    let metrics = node.get("/metrics").expect(200).text();
    for (begun, at_least) in [("warm", 1), ("cold", 3)] {
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("stockade_runs_begun_total{{begun=\"{begun}\"}} ")));
        assert!(line.unwrap().parse::<u32>().unwrap() >= at_least, "{metrics}");
    }
}

#[test]
fn runs_that_come_at_once_wait_for_the_next_engines() {
    let Some(node) = start(&["--runs", "8"]) else { return };
    until_warm(&node);
    let runs: Vec<Value> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..24).map(|_| scope.spawn(|| node.run("print('x')"))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert!(runs.iter().all(|run| run["stdout"] == "x\n"), "{runs:?}");
    let warm = runs.iter().filter(|run| begun(run) == "warm").count();
    // A machine that is busy enough makes none for a quarter of a second.
    assert!(warm > runs.len() / 2, "{warm} of {}", runs.len());
}

#[test]
fn a_run_waits_no_longer_for_a_pool_that_makes_no_engines_and_is_cancelled_while_it_waits() {
    let Some(node) = start(&["--runs", "8"]) else { return };
    until_warm(&node);
    let pool = pool(&node);
    signal(pool, Signal::STOP);
    // What still waits is used up. One that the pool was about to offer is nobody's.
    let timed = |_| {
        let asked = Instant::now();
        (node.run("print('goes on')"), asked.elapsed())
    };
    let (run, took) = (0..100).map(timed).find(|(run, _)| begun(run) == "cold").expect("engines are made");
    assert_eq!(run["stdout"], "goes on\n", "{run}");
    assert!(took > Duration::from_millis(250), "it did not wait: {took:?}");
    let id = node.submit("import time; time.sleep(1000)");
    let run = node.send("DELETE", &format!("/v1/runs/{id}"), &[], b"").whole().unwrap().expect(200).json();
    assert_eq!((&run["state"], &run["outcome"]["cancelled"]), (&json!("ended"), &json!(true)), "{run}");
    signal(pool, Signal::CONT);
    until("engines are made again", || begun(&node.run("pass")) == "warm");
}

/// A process of this name of the pool that sessions have engines of.
fn of_sessions(node: &Node, name: &str) -> Option<u32> {
    let is_one = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--preload=pandas"))
    };
    called(node, name).into_iter().find(is_one)
}

/// A node, and a session in an engine that waited for it.
fn with_session(test: impl Fn(&Node, &Session<'_>)) {
    let Some(node) = start(&[]) else { return };
    until("a session has a warm engine", || begun(&Session::open(&node, &json!({})).close()) == "warm");
    until("the next one waits", || of_sessions(&node, "engine-waits").is_some());
    test(&node, &Session::open(&node, &json!({})));
}

#[test]
fn a_session_that_is_closed_ends_by_itself_whatever_its_pool_does() {
    with_session(|node, session| {
        assert_eq!(session.run("import atexit; atexit.register(open, 'ended', 'w')")["stdout"], "");
        let pool = of_sessions(node, "stockade").unwrap();
        signal(pool, Signal::STOP);
        let asked = Instant::now();
        let closed = session.close();
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
        signal(pool, Signal::CONT);
        let report = &closed["outcome"]["report"];
        assert_eq!((begun(&closed), &report["cause"]), (&json!("warm"), &json!({ "kind": "exited", "status": 0 })));
        assert!(report["outputs"].to_string().contains("ended"), "{closed}");
    });
}

#[test]
fn what_is_executed_when_the_pool_is_killed_is_not_said_to_be_refused() {
    with_session(|node, session| {
        let run = session.submit_until("import time; print('begun', flush=True); time.sleep(1000)", "begun");
        signal(of_sessions(node, "stockade").unwrap(), Signal::KILL);
        let run = node.until_state(&run, "ended");
        assert_eq!((&run["outcome"]["cause"], &run["stdout"]), (&json!("cancelled"), &json!("begun\n")), "{run}");
        assert_eq!(session.until_over()["outcome"]["cause"], "failed");
    });
}

#[test]
fn a_session_waits_no_longer_for_such_a_pool_and_is_closed_while_it_waits() {
    let Some(node) = start(&["--sessions-each", "12"]) else { return };
    let open = || Session::open(&node, &json!({}));
    until("a session has a warm engine", || begun(&open().close()) == "warm");
    until("the next one waits", || !followers(&node).is_empty());
    // There is another, of plain Python.
    let of_sessions = |name: &str| of_sessions(&node, name);
    let pool = of_sessions("stockade").unwrap();
    let kept = open();
    assert_eq!(kept.run("x = 1; print(x)")["stdout"], "1\n");
    signal(pool, Signal::STOP);
    let mut busy = Vec::new();
    while of_sessions("engine-waits").is_some() {
        busy.push(open());
        assert_eq!(busy.last().unwrap().run("print(1)")["stdout"], "1\n");
    }
    let session = open();
    assert_eq!(session.run("print('goes on')")["stdout"], "goes on\n");
    assert_eq!(begun(&session.close()), "cold");
    // It never had an engine: what was to be executed in it is refused, and nothing is lost.
    let session = open();
    let run = session.submit("print('never')");
    let closed = session.close();
    assert_eq!((&closed["state"], &closed["outcome"]["cause"]), (&json!("ended"), &json!("cancelled")), "{closed}");
    let run = node.until_state(&run, "ended");
    assert_eq!((&run["outcome"]["cause"], &run["stdout"]), (&json!("refused"), &json!("")), "{run}");
    signal(pool, Signal::CONT);
    assert_eq!(kept.run("print(x)")["stdout"], "1\n");
    until("engines are made again", || begun(&open().close()) == "warm");
}

#[test]
fn a_warm_run_is_cancelled_soon_with_its_whole_tree_and_keeps_what_it_said() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    for (mark, code) in [
        ("warm-mark-sleeps", "import time; print('so far', flush=True); time.sleep(1000)"),
        (
            "warm-mark-ignores",
            "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nopen('half.txt', 'w').write('half')\nprint('so far', flush=True)\nwhile True: time.sleep(1000)",
        ),
        (
            "warm-mark-forks",
            "import subprocess, sys, time\n[subprocess.Popen(['sh', '-c', 'sleep 1000; :', sys.argv[1]], start_new_session=True) for _ in range(20)]\nopen('half.txt', 'w').write('half')\nprint('so far', flush=True)\ntime.sleep(1000)",
        ),
    ] {
        until("an engine waits", || !followers(&node).is_empty());
        let request = json!({ "code": code, "arguments": [mark] });
        let answer = node.post(&[("prefer", "respond-async")], &request).whole().unwrap().expect(202).json();
        let id = answer["id"].as_str().unwrap();
        node.until_says(id, "so far");
        let asked = Instant::now();
        let run = node.send("DELETE", &format!("/v1/runs/{id}"), &[], b"").whole().unwrap().expect(200).json();
        assert!(asked.elapsed() < SOON, "{mark}: {:?}", asked.elapsed());
        assert_eq!((begun(&run), &run["stdout"]), (&json!("warm"), &json!("so far\n")), "{run}");
        assert_eq!(run["outcome"]["cancelled"], true);
        until("its tree is dead", || processes_with(mark).is_empty());
        if mark != "warm-mark-sleeps" {
            node.get(&format!("/v1/runs/{id}/outputs/half.txt")).expect(200);
        }
    }
}

#[test]
fn a_pool_whose_maker_of_walls_does_not_answer_ends_and_another_serves() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let former = pool(&node);
    // After the template's own.
    let maker = children(former)[1];
    assert!(status(maker).starts_with("Name:\tstockade\n"), "{}", status(maker));
    signal(maker, Signal::STOP);
    let asked = Instant::now();
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
    until("it ends", || status(former).is_empty());
    // A second attempt would take ten seconds again.
    assert!(asked.elapsed() < Duration::from_secs(18), "{:?}", asked.elapsed());
    assert_eq!(status(maker), "");
    until("another pool serves", || begun(&node.run("pass")) == "warm");
    assert_ne!(pool(&node), former);
}

/// Of cgroup version 1 or 2: where this process's memory is bounded.
fn group(pid: u32) -> std::path::PathBuf {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |mark: &str| text.lines().find_map(|line| line.split_once(mark)).map(|(_, path)| path.to_owned());
    match of(":memory:/") {
        Some(path) => std::path::Path::new("/sys/fs/cgroup/memory").join(path),
        None => std::path::Path::new("/sys/fs/cgroup").join(of("0::/").unwrap()),
    }
}

#[test]
fn an_engine_for_which_there_is_no_cgroup_serves_nobody() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let has_cgroup = |run: &Value| run["outcome"]["report"]["enforced"].to_string().contains("\"cgroup\"");
    if !has_cgroup(&node.run("pass")) {
        skipped("a cgroup that cannot be made", "this machine gives none");
        return;
    }
    // In which a pool makes those of its engines.
    let above = group(pool(&node));
    let above = above.ancestors().find(|path| !path.ends_with(SUPERVISOR)).unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(above).unwrap());
    assert_ne!(owner, 0, "{}", above.display());
    std::os::unix::fs::chown(above, Some(0), Some(0)).unwrap();
    // What waits already is used up.
    until("a run is started anew", || {
        let run = node.run("pass");
        assert!(begun(&run) == "cold" || has_cgroup(&run), "{run}");
        begun(&run) == "cold" && followers(&node).is_empty()
    });
    std::os::unix::fs::chown(above, Some(owner), Some(owner)).unwrap();
    until("engines serve again", || begun(&node.run("pass")) == "warm");
    assert!(has_cgroup(&node.run("pass")));
}

/// Each says what it finds of the one before, and leaves the same for the next.
const LEAVES: &str = "
import os, random, sys, json, socket
here = ['/tmp/left', '/dev/shm/left', '/home/runner/left', 'left']
found = [path for path in here if os.path.exists(path)]
found += [name for name in ('LEFT',) if name in os.environ]
found += [name for name in ('left',) if hasattr(json, name) or hasattr(sys, name)]
try:
    socket.socket(socket.AF_UNIX).connect('\\0left')
    found.append('socket')
except OSError:
    pass
print(json.dumps([found, random.random(), os.urandom(4).hex()]))
for path in here: open(path, 'w').write('x')
os.environ['LEFT'] = json.left = sys.left = 'x'
s = socket.socket(socket.AF_UNIX); s.bind('\\0left'); s.listen()
if os.fork() == 0:
    import time; time.sleep(1000)
";

#[test]
fn nothing_of_a_run_is_there_in_the_next() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let (mut users, mut numbers) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for round in 0..6 {
        until("an engine waits", || !followers(&node).is_empty());
        let run = node.run(LEAVES);
        assert_eq!(begun(&run), "warm", "{run}");
        let said: Value = serde_json::from_str(run["stdout"].as_str().unwrap()).unwrap();
        assert_eq!(said[0], json!([]), "round {round}");
        assert!(numbers.insert(said[1].to_string()), "two runs share a stream of random numbers");
        assert!(users.insert(run["outcome"]["report"]["host_user"].as_u64().unwrap()), "two runs share a user");
    }
}

#[test]
fn what_code_says_on_the_sockets_it_finds_is_at_most_its_own_end() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    for (code, cause) in [
        ("b'\\x02\\0\\0\\0\\x05' + bytes(11)", json!({ "kind": "exited", "status": 5 })),
        ("b'x' * 16", json!({ "kind": "cancelled" })),
        ("b'\\x03\\x00'", json!({ "kind": "cancelled" })),
    ] {
        until("an engine waits", || !followers(&node).is_empty());
        let lies = format!(
            "import os, time\nprint('said', flush=True)\nfor d in range(4, 64):\n  try: os.write(d, {code})\n  except OSError: pass\ntime.sleep(1000)"
        );
        let run = node.run(&lies);
        let report = &run["outcome"]["report"];
        assert_eq!(
            (begun(&run), &run["stdout"], &report["cause"]),
            (&json!("warm"), &json!("said\n"), &cause),
            "{run}"
        );
    }
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
}

#[test]
fn a_template_that_ends_is_replaced_and_no_later_run_misses_it() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let former = pool(&node);
    // The first of them: the template's own.
    signal(children(former)[0], Signal::KILL);
    until("none of its engines waits", || followers(&node).is_empty());
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
    until("another pool serves", || begun(&node.run("pass")) == "warm");
    assert_ne!(pool(&node), former);
}

#[test]
fn a_pool_that_is_killed_takes_its_runs_along_which_is_said() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let id = node.submit("import time; print('begun', flush=True); time.sleep(1000) # warm-mark-lost");
    node.until_says(&id, "begun");
    signal(pool(&node), Signal::KILL);
    let run = node.until_state(&id, "ended");
    // Its code has run: no caller may take it for one that was refused.
    assert_eq!((&run["outcome"]["cause"], &run["stdout"]), (&json!("failed"), &json!("begun\n")), "{run}");
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
    until("another pool serves", || begun(&node.run("pass")) == "warm");
}

#[test]
fn a_follower_that_is_killed_takes_only_its_own_run_along() {
    let Some(node) = start(&[]) else { return };
    until_warm(&node);
    let id = node.submit("import time; print('begun', flush=True); time.sleep(1000)");
    node.until_says(&id, "begun");
    signal(called(&node, "engine-runs")[0], Signal::KILL);
    let run = node.until_state(&id, "ended");
    assert_eq!(run["outcome"]["cause"], "failed", "{run}");
    until("an engine waits", || !followers(&node).is_empty());
    assert_eq!(begun(&node.run("print('goes on')")), "warm");
}

#[test]
fn who_follows_an_engine_keeps_nothing_of_those_before() {
    let Some(node) = start(&["--runs", "10"]) else { return };
    until_warm(&node);
    let kept = || {
        until("an engine waits", || !followers(&node).is_empty());
        let newest = followers(&node).into_iter().max().unwrap();
        std::fs::read_dir(format!("/proc/{newest}/fd")).unwrap().count()
    };
    let before = kept();
    for _ in 0..8 {
        until("an engine waits", || !followers(&node).is_empty());
        let id = node.submit("import time; print('begun', flush=True); time.sleep(1000)");
        node.until_says(&id, "begun");
    }
    assert!(kept() < before + 8, "{} descriptors, {before} before", kept());
}

#[test]
fn nothing_of_warm_engines_is_left_when_the_launcher_or_the_node_is_killed() {
    for kills_node in [false, true] {
        let Some(mut node) = start(&[]) else { return };
        until_warm(&node);
        let id = node.submit("import os, time; os.fork(); print('begun', flush=True); time.sleep(1000)");
        node.until_says(&id, "begun");
        let launcher = node.launcher();
        let all: Vec<u32> = below(launcher).into_iter().map(|(pid, _)| pid).collect();
        assert!(all.len() > 5, "{all:?}");
        if kills_node {
            node.kill()
        } else {
            signal(launcher, Signal::KILL)
        }
        let is_alive = |pid: &&u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        until("all are gone", || all.iter().find(is_alive).is_none());
    }
}
