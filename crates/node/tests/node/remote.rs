//! `stockade run --node`: the same command line, here and through a node.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stockade_testkit::{Call, Folder, Ran, User, call};

use crate::support::{Node, command, signal, until};

const CODE: &str = "import sys, os\nprint('ä', sys.argv)\nprint('oops', file=sys.stderr)\nsys.stdout.buffer.write(bytes([0, 255, 27, 10]))\nos.makedirs('b'); open('b/c d.txt', 'w').write(open('in.csv').read() * 2)\nopen('.bashrc', 'w').write('x')\nimport socket\ntry: socket.getaddrinfo('example.com', 80)\nexcept OSError as e: print(e)\nraise SystemExit(7)\n";

fn run(folder: &Folder) -> Call {
    call(command().to_str().unwrap(), User::Ordinary).within(folder.path()).arg("run")
}

fn address(socket: &Path) -> String {
    format!("--node=unix:{}", socket.display())
}

/// A folder with the script and its input.
fn work() -> Folder {
    let folder = Folder::new();
    folder.write("main.py", CODE);
    folder.write("in.csv", "1,2\n");
    folder
}

/// The lines of a report that say nothing of times, names, or this machine's cgroups.
fn lasting(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter(|line| !line.starts_with("stockade: ") && !line.contains("cgroup")).collect()
}

#[test]
fn a_run_there_is_byte_for_byte_a_run_here() {
    let (here, there) = (work(), work());
    let node = Node::start(&[]);
    let words = ["--in=in.csv", "--out=out", "main.py", "x", "--y"];
    let local = run(&here).args(words).run().expect(7);
    let remote = run(&there).arg(address(&node.socket())).args(words).run().expect(7);
    assert_eq!(remote.stdout, local.stdout);
    assert_eq!(lasting(&remote), lasting(&local));
    assert!(remote.stderr.contains(".bashrc (tools act upon this name"), "{}", remote.stderr);
    assert!(!there.path().join("out/.bashrc").exists());
    for folder in [&here, &there] {
        assert_eq!(folder.read("out/b/c d.txt"), "1,2\n1,2\n");
    }
    // What is there stays, and is said.
    let again = run(&there).arg(address(&node.socket())).args(["--json"]).args(words).run().expect(7);
    let report = again.report();
    assert_eq!(report["outputs"]["files"].as_array().unwrap().len(), 0, "{report}");
    assert!(report["outputs"]["left_out"].to_string().contains("a file of this name exists"), "{report}");
    assert_eq!(report["cause"]["status"], 7);
}

#[test]
fn what_a_node_does_not_give_is_refused_before_anything_is_sent() {
    let folder = work();
    let nowhere = folder.path().join("nothing");
    for words in [&["--net=example.com"][..], &["--project=."], &["--tier=landlock"], &["--env=A=b"]] {
        let ran = run(&folder).arg(address(&nowhere)).args(words).arg("main.py").run().expect(125);
        assert!(ran.stderr.contains("cannot be had with --node"), "{}", ran.stderr);
    }
    for words in [&["--in=."][..], &["--in=in.csv=a/b"]] {
        let ran = run(&folder).arg(address(&nowhere)).args(words).arg("main.py").run().expect(125);
        assert!(ran.stderr.contains("next: "), "{}", ran.stderr);
    }
    let ran = run(&folder).arg(address(&nowhere)).args(["--", "true"]).run().expect(125);
    assert!(ran.stderr.contains("not programs of its machine"), "{}", ran.stderr);
    folder.write("f.json", r#"{"script": "y = 1", "outputs": [{"name": "y"}]}"#);
    let words = ["--data-function=f.json", "--out=results"];
    let ran = run(&folder).arg(address(&nowhere)).args(words).run().expect(125);
    assert!(ran.stderr.contains("POST /v1/data-functions"), "{}", ran.stderr);
    let ran = run(&folder).arg(address(&nowhere)).arg("main.py").run().expect(125);
    assert!(ran.stderr.contains("no node answers"), "{}", ran.stderr);
    let ran = run(&folder).args(["--node=http://host", "main.py"]).run().expect(125);
    assert!(ran.stderr.contains("unix:PATH"), "{}", ran.stderr);
}

#[test]
fn a_refusal_of_the_node_is_told_as_one_of_ours() {
    let (folder, node) = (work(), Node::start(&[]));
    let ran = run(&folder).arg(address(&node.socket())).args(["--limit=time=9999h", "main.py"]).run().expect(125);
    assert!(ran.stderr.starts_with("error: limit `time` is more than this node gives\n  why:  "), "{}", ran.stderr);
    let ran = run(&folder).arg(address(&node.socket())).args(["--with=../x", "main.py"]).run().expect(125);
    assert!(ran.stderr.contains("is no package of an index"), "{}", ran.stderr);
    // This one only a run finds out.
    let ran = run(&folder).arg(address(&node.socket())).args(["--environment=none", "main.py"]).run().expect(125);
    assert!(ran.stderr.contains("error: ") && ran.stderr.contains("\n  next: "), "{}", ran.stderr);
}

#[test]
fn what_would_be_decided_there_is_told_and_nothing_is_run() {
    let (folder, node) = (work(), Node::start(&[]));
    let at = || run(&folder).arg(address(&node.socket()));
    let told = at().args(["--explain", "--limit=memory=2GiB", "main.py"]).run().expect(0);
    assert!(told.stdout.starts_with("policy    offline\nenvironment none\nlimit     time "), "{}", told.stdout);
    assert!(
        told.stdout.contains(&format!("\nlimit     memory {}\n", stockade_core::text::bytes(2 << 30))),
        "{}",
        told.stdout
    );
    let document = at().args(["--explain", "--json", "main.py"]).run().expect(0).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&document).unwrap()["decision"], "permitted");
    let refused = at().args(["--explain", "--environment=none", "main.py"]).run().expect(125);
    let run = at().args(["--environment=none", "main.py"]).run().expect(125);
    assert_eq!(refused.stderr, run.stderr);
    let refused = at().args(["--explain", "--limit=time=9999h", "main.py"]).run().expect(125);
    assert!(refused.stderr.starts_with("error: limit `time` is more than this node gives"), "{}", refused.stderr);
    let figures = node.get("/metrics").expect(200).text();
    assert!(figures.contains("\nstockade_runs_accepted_total 1\n"), "but for the one that ran: {figures}");
}

#[test]
fn an_interrupt_ends_the_run_there_and_keeps_what_it_said() {
    let (folder, node) = (work(), Node::start(&[]));
    let code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('begun', flush=True)\nwhile True: time.sleep(1000)";
    let (mut child, _state) = run(&folder).arg(address(&node.socket())).args(["-c", code]).start();
    let mut said = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"begun\n");
    signal(child.id(), rustix::process::Signal::INT);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("stockade: cancelled"));
    until("nothing runs", || node.supervisors().is_empty());
}

/// Passes connections on to a node, and breaks each off after so many bytes of its answer.
fn breaking(node: &Node, folder: &Folder, bytes: usize) -> (std::path::PathBuf, Arc<AtomicUsize>) {
    let path = folder.path().join("breaking.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (socket, connections) = (node.socket(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for near in listener.incoming() {
            count.fetch_add(1, Ordering::Relaxed);
            let (mut near, mut far) = (near.unwrap(), UnixStream::connect(&socket).unwrap());
            let (mut asks, mut asked) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut asks, &mut asked)));
            drop(std::io::copy(&mut (&mut far).take(u64::try_from(bytes).unwrap()), &mut near));
            drop((near.shutdown(std::net::Shutdown::Both), far.shutdown(std::net::Shutdown::Both)));
        }
    });
    (path, connections)
}

#[test]
fn a_connection_that_breaks_off_costs_nothing_that_was_said() {
    let (folder, node) = (work(), Node::start(&[]));
    // Every answer holds a few events, and then half of one.
    let (socket, connections) = breaking(&node, &folder, 4_500);
    let code = "import sys\nimport time\nfor i in range(400):\n print('line', i, flush=True)\n if not i % 40: time.sleep(0.01)";
    let ran = run(&folder).arg(address(&socket)).args(["--quiet", "-c", code]).run().expect(0);
    let lines: String = (0..400).map(|number| format!("line {number}\n")).collect();
    assert_eq!(ran.stdout, lines);
    assert!(connections.load(Ordering::Relaxed) > 1, "it was broken off");
    // One that brings nothing is not followed for ever.
    let folder = work();
    let (socket, _) = breaking(&node, &folder, 300);
    let ran = run(&folder).arg(address(&socket)).args(["-c", code]).run().expect(125);
    assert!(ran.stderr.contains("next:"), "{}", ran.stderr);
}
