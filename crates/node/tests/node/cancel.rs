//! A caller ends its runs, whatever they do, and keeps what they said.

use std::time::{Duration, Instant};

use serde_json::json;
use stockade_testkit::processes_with;

use crate::support::{Node, until};

/// A run that was told to end is over within a second, on a machine that is not busy; other tests run beside this.
const SOON: Duration = Duration::from_secs(4);

fn cancel(node: &Node, run: &str) -> serde_json::Value {
    node.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").whole().unwrap().expect(200).json()
}

#[test]
fn a_cancelled_run_ends_soon_with_its_whole_tree_and_keeps_what_it_said() {
    let node = Node::start(&[]);
    for (mark, code) in [
        ("mark-sleeps", "import time; print('so far', flush=True); time.sleep(1000)"),
        (
            "mark-ignores",
            "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('so far', flush=True)\nwhile True: time.sleep(1000)",
        ),
        (
            "mark-forks",
            "import subprocess, time\n[subprocess.Popen(['sleep', '1000', ], start_new_session=True) for _ in range(20)]\nopen('half.txt', 'w').write('half')\nprint('so far', flush=True)\ntime.sleep(1000)",
        ),
    ] {
        let request = json!({"code": code, "arguments": [mark]});
        let answer = node.post(&[("prefer", "respond-async")], &request).whole().unwrap().expect(202).json();
        let id = answer["id"].as_str().unwrap();
        node.until_says(id, "so far");
        let began = Instant::now();
        let run = cancel(&node, id);
        let took = began.elapsed();
        assert!(took < SOON, "{mark}: {took:?}");
        assert_eq!((&run["state"], &run["stdout"]), (&json!("ended"), &json!("so far\n")), "{run}");
        assert_eq!(run["outcome"]["cancelled"], true);
        until("its tree is dead", || processes_with(mark).is_empty());
        if mark == "mark-forks" {
            node.get(&format!("/v1/runs/{id}/outputs/half.txt")).expect(200);
        }
        assert_eq!(cancel(&node, id)["outcome"], run["outcome"], "once more changes nothing");
    }
}

#[test]
fn a_run_that_waits_is_cancelled_without_ever_running() {
    let node = Node::start(&["--runs", "1"]);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    let second = node.submit("print('never')");
    assert_eq!(node.show(&second)["position"], 1);
    let run = cancel(&node, &second);
    assert_eq!((&run["state"], &run["stdout"]), (&json!("ended"), &json!("")), "{run}");
    assert_eq!((&run["outcome"]["cause"], &run["started_ms"]), (&json!("cancelled"), &json!(null)));
    cancel(&node, &first);
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
}

/// At any moment between its acceptance and its end.
#[test]
fn a_run_that_is_cancelled_at_any_moment_is_over() {
    let node = Node::start(&["--runs", "2", "--runs-each", "2"]);
    for number in 0..25 {
        let id = node.submit("import time; time.sleep(1000)");
        std::thread::sleep(Duration::from_millis(number * 4));
        let run = cancel(&node, &id);
        assert_eq!((&run["state"], &run["outcome"]["cancelled"]), (&json!("ended"), &json!(true)), "{run}");
    }
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
}
