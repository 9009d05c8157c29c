//! How a node begins and ends, and what it refuses to be.

use serde_json::json;
use stockade_testkit::{Folder, User, call, skipped};

use crate::support::{NODE, Node, command, signal, starting, until};

#[test]
fn it_does_not_run_as_root() {
    if !rustix::process::geteuid().is_root() {
        skipped("a node as root", "the tests are run by an ordinary user");
        return;
    }
    let folder = Folder::new();
    let refused =
        call(NODE, User::Caller).args(["start", "--folder"]).arg(folder.path().join("node")).run().expect(125);
    assert_eq!(
        refused.stderr,
        "error: the node does not run as root\n  why:  who takes over a process that speaks with strangers must not own the machine\n  next: start it as a user of its own, or with --run-as USER\n"
    );
    assert!(!folder.path().join("node").exists(), "nothing was opened");
    let refused = call(NODE, User::Caller).args(["start", "--run-as", "root", "--folder", "/tmp/x"]).run().expect(125);
    assert!(refused.stderr.contains("--run-as names root"), "{}", refused.stderr);
}

#[test]
fn run_as_drops_root_for_good() {
    if !rustix::process::geteuid().is_root() {
        skipped("--run-as", "only root becomes another user");
        return;
    }
    let folder = Folder::new();
    let (mut process, _state) = call(NODE, User::Caller)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .args(["start", "--run-as", "61234", "--folder"])
        .arg(folder.path().join("node"))
        .start();
    // Whoever is answered is so by a node that has given up everything; its socket is there before.
    until("it serves", || {
        std::os::unix::net::UnixStream::connect(folder.path().join("node/node.sock"))
            .and_then(|stream| crate::http::send(stream, "GET", "/livez", &[], b""))
            .is_ok()
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_eq!(line("Uid:"), "Uid:\t61234\t61234\t61234\t61234");
    assert_eq!(line("Gid:"), "Gid:\t61234\t61234\t61234\t61234");
    assert_eq!(line("Groups:").trim_end(), "Groups:");
    assert_eq!(
        (line("CapEff:"), line("CapPrm:")),
        ("CapEff:\t0000000000000000".to_owned(), "CapPrm:\t0000000000000000".to_owned())
    );
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn two_nodes_do_not_share_a_folder() {
    let node = Node::start(&[]);
    let refused = starting(&node.folder, &[]).run().expect(125);
    assert!(refused.stderr.contains("another node uses this folder"), "{}", refused.stderr);
    node.get("/livez").expect(200);
}

#[test]
fn a_node_that_can_run_nothing_does_not_serve() {
    let folder = Folder::new();
    // What is no policy, and one that forbids what the node tries.
    let sql_only = "name = ours, version = 1, type = stockade.policy\n\
                    configuration { StockadePolicy { name = ours, languages = [sql] } }\n";
    for (text, what) in [("this is no policy {", "is refused"), (sql_only, "error: a tiny job cannot be run")] {
        let policy = folder.write("policy.conf", text);
        let refused = starting(&folder.path().join("node"), &["--policy", policy.to_str().unwrap()]).run().expect(125);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
        assert!(!folder.path().join("node.sock").exists());
    }
}

#[test]
fn a_socket_for_others_that_they_cannot_reach_is_refused() {
    let folder = Folder::new();
    let refused = call(NODE, User::Ordinary)
        .args(["start", "--shared-user", "--socket-mode", "666", "--folder"])
        .arg(folder.path().join("node"))
        .run()
        .expect(125);
    assert!(refused.stderr.contains("others cannot reach the node"), "{}", refused.stderr);
}

#[test]
fn told_to_end_it_finishes_what_runs_and_keeps_what_waits() {
    let mut node = Node::start(&["--runs", "1"]);
    let running = node.submit("import time; print('begun', flush=True); time.sleep(1.5); print('done')");
    let waiting = node.submit("print('later')");
    node.until_says(&running, "begun");
    signal(node.process.id(), rustix::process::Signal::TERM);
    until("it drains", || node.get("/readyz").status == 503);
    let refused = node.post(&[], &json!({"code": "print(1)"})).whole().unwrap().expect(503);
    assert_eq!(refused.json()["title"], "the node is ending");
    assert_eq!(node.process.wait().unwrap().code(), Some(0));
    assert!(!node.socket().exists());
    let node = node.again(&[]);
    let run = node.show(&running);
    assert_eq!((&run["state"], &run["stdout"]), (&json!("ended"), &json!("begun\ndone\n")));
    assert_eq!(node.until_state(&waiting, "ended")["stdout"], "later\n");
}

#[test]
fn a_run_that_does_not_end_in_time_does_not_keep_the_node() {
    let mut node = Node::start(&["--drain", "1"]);
    let running = node.submit("import time; print('begun', flush=True); time.sleep(1000)");
    node.until_says(&running, "begun");
    assert_eq!(node.end(), 0);
    let node = node.again(&[]);
    let run = node.show(&running);
    assert_eq!((&run["state"], &run["stdout"]), (&json!("lost"), &json!("begun\n")), "{run}");
}

#[test]
fn the_command_starts_its_neighbour_and_asks_how_it_is() {
    let node = Node::start(&[]);
    node.run("1");
    let status =
        |words: &[&str]| call(command().to_str().unwrap(), User::Caller).args(["node", "status"]).args(words).run();
    let ready = status(&["--socket", node.socket().to_str().unwrap()]).expect(0);
    let expected = "ready: 0 running, 0 waiting, 1 accepted since it started\n\
                    all runs have the node's own user on the host (--shared-user)\n";
    let own = ready.stdout.strip_prefix(expected).unwrap_or_else(|| panic!("{}", ready.stdout));
    let you =
        format!("you are uid-{}@local of the class usual: 0 running, 0 waiting, ", rustix::process::geteuid().as_raw());
    assert!(own.starts_with(&you) && own.ends_with(" of CPU time used today (UTC)\n"), "{own}");
    let refused = status(&["--socket", "/nothing/here"]).expect(125);
    assert!(refused.stderr.contains("no node answers at `/nothing/here`"), "{}", refused.stderr);
    let help = call(command().to_str().unwrap(), User::Caller).args(["node", "start", "--help"]).run().expect(0);
    assert!(help.stdout.contains("--socket-mode"), "{}", help.stdout);
}

#[test]
fn the_api_describes_itself() {
    let node = Node::start(&[]);
    let document = node.get("/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/v1/runs"]["post"].is_object());
    let page = node.get("/docs").expect(200);
    assert!(page.headers["content-type"].starts_with("text/html"));
    assert!(page.text().contains("Idempotency-Key"));
    assert_eq!(node.get("/livez").expect(200).text(), "alive\n");
    assert_eq!(node.get("/readyz").expect(200).text(), "ready\n");
}
