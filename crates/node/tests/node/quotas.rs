//! CPU time of a day, and classes: what a principal may have is counted, told, and nobody gets around it.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use stockade_testkit::{Folder, skipped};

use crate::support::{AS_SERVICE, Node, signal, until};
use crate::tenancy::as_user;
use crate::warm::{WARM, begun, can_be_warm, until_warm};

const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("prefer", "respond-async")];
/// Uses this much CPU time, in milliseconds.
const BURN: &str =
    "import sys, time\nend = time.process_time() + int(sys.argv[1]) / 1000\nwhile time.process_time() < end: pass\n";

fn used(node: &Node) -> i64 {
    node.get("/v1/me").expect(200).json()["cpu"]["used_ms"].as_i64().unwrap()
}

fn measured(run: &Value) -> i64 {
    run["outcome"]["report"]["usage"]["cpu_ms"].as_i64().unwrap()
}

/// A day that ends in the middle of a test begins another count.
fn wait_if_midnight_is_near(node: &Node) {
    let turns = node.get("/v1/me").expect(200).json()["cpu"]["turns_ms"].as_i64().unwrap();
    until("midnight has passed, should it be near", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let left = turns - i64::try_from(now.as_millis()).unwrap();
        !(0..=45_000).contains(&left)
    });
}

/// A file of classes that the node's user may read.
fn classes(home: &Folder, text: &str) -> String {
    let whole = format!(
        "name = n\nversion = 1\ntype = \"stockade.classes\"\nconfiguration {{ StockadeClasses {{ classes = [\n{text}\n] }} }}\n"
    );
    home.write("classes.conf", whole);
    home.path().join("classes.conf").to_string_lossy().into_owned()
}

#[test]
fn who_has_used_up_the_day_is_refused_until_it_turns_and_is_told_so() {
    let node = Node::start(&["--cpu-each", "1"]);
    wait_if_midnight_is_near(&node);
    let me = node.get("/v1/me").expect(200).json();
    assert_eq!((me["cpu"]["used_ms"].as_i64(), me["cpu"]["most_ms"].as_i64()), (Some(0), Some(1_000)));
    assert_eq!((me["class"].as_str(), me["sessions"]["most"].as_i64()), (Some("usual"), Some(4)));
    let key = [("idempotency-key", "first")];
    let body = json!({"code": BURN, "arguments": ["1300"]});
    let first = node.post(&key, &body).whole().unwrap().expect(200).json();
    assert!(measured(&first) >= 1_300);
    assert_eq!(used(&node), measured(&first), "what the supervisor measured is what is counted");
    let refused = node.post(&[], &json!({"code": "1"})).whole().unwrap().expect(429);
    let retry: i64 = refused.headers["retry-after"].parse().unwrap();
    let problem = refused.json();
    assert_eq!(problem["title"], "your CPU time of today is used up");
    let why = problem["detail"].as_str().unwrap();
    assert!(why.starts_with("your runs used 1.") && why.contains(" of 1.0 s "), "{why}");
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    let left = node.get("/v1/me").expect(200).json()["cpu"]["turns_ms"].as_i64().unwrap() - now.unwrap();
    assert!((retry * 1_000 - left).abs() < 5_000, "{retry} {left}");
    // By no other way, and under no other key.
    node.ask("POST", "/v1/sessions", &[], &json!({})).whole().unwrap().expect(429);
    for number in 0..20 {
        let key = format!("key-{number}");
        let many = [("idempotency-key", key.as_str())];
        node.post(&many, &json!({"code": "1"})).whole().unwrap().expect(429);
    }
    // What was accepted before is told again.
    assert_eq!(node.post(&key, &body).whole().unwrap().expect(200).json()["id"], first["id"]);
    let figures = node.get("/metrics").expect(200).text();
    assert!(figures.lines().any(|line| line == "stockade_cpu_quota_refusals_total 23"), "{figures}");
    assert!(figures.lines().any(|line| line == "stockade_cpu_seconds_total 1"), "{figures}");
    // Nothing is had by forgetting the run, nor by another life of the node.
    node.send("DELETE", &format!("/v1/runs/{}?forget=true", first["id"].as_str().unwrap()), &[], b"");
    let node = node.again(&["--cpu-each", "1"]);
    assert_eq!(used(&node), measured(&first));
    node.post(&[], &json!({"code": "1"})).whole().unwrap().expect(429);
    if rustix::process::geteuid().is_root() {
        as_user(node.socket(), 61_241, "POST", "/v1/runs", &JSON, "{\"code\":\"1\"}").unwrap().expect(202);
    } else {
        skipped("others have a day of their own", "only root can ask as several users");
    }
}

#[test]
fn what_waits_when_the_day_is_used_up_is_refused_at_its_turn() {
    let node = Node::start(&["--runs", "1", "--cpu-each", "1"]);
    wait_if_midnight_is_near(&node);
    let ask = |ms: &str| {
        let body = json!({"code": BURN, "arguments": [ms]});
        let accepted = node.post(&JSON[1..], &body).whole().unwrap().expect(202).json();
        accepted["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (ask("1200"), ask("1200"));
    assert_eq!(node.until_state(&first, "ended")["outcome"]["cause"], "exited");
    let second = node.until_state(&second, "ended");
    assert_eq!(second["outcome"]["cause"], "refused");
    assert_eq!(second["outcome"]["refusal"]["what"], "your CPU time of today is used up");
    assert!(used(&node) < 2_400, "it did not run");
}

#[test]
fn what_the_code_says_of_its_use_is_not_asked() {
    let node = Node::start(&["--cpu-each", "3600"]);
    wait_if_midnight_is_near(&node);
    // Whatever it writes wherever it can: what it used is measured outside, children and orphans included.
    let code = r#"
import os, sys, time
lie = b'{"cause":{"kind":"exited","status":0},"usage":{"cpu_ms":0}}\n'
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        burn(0.7)
        open('done', 'w').close()
    os._exit(0)
os.wait()
while not os.path.exists('done'): time.sleep(0.02)
for number in range(1, 64):
    try:
        os.write(number, lie)
    except OSError:
        pass
burn(0.4)
"#;
    let run = node.run(code);
    assert!(used(&node) >= 1_100, "{} {run}", used(&node));
    assert_eq!(used(&node), measured(&run));
}

#[test]
fn who_has_its_supervisor_killed_pays_for_the_time_it_took() {
    let node = Node::start(&["--cpu-each", "3600"]);
    wait_if_midnight_is_near(&node);
    let run = node.submit("print('here', flush=True)\nwhile True: pass");
    node.until_says(&run, "here");
    std::thread::sleep(Duration::from_millis(600));
    for supervisor in node.supervisors() {
        signal(supervisor, Signal::KILL);
    }
    assert_eq!(node.until_state(&run, "ended")["outcome"]["cause"], "failed");
    assert!(used(&node) >= 600, "{}", used(&node));
    // And one that is cancelled for what it used.
    let before = used(&node);
    let code = "import time\nwhile time.process_time() < 0.5: pass\nprint('burned', flush=True)\ntime.sleep(1000)";
    let run = node.submit(code);
    node.until_says(&run, "burned");
    node.send("DELETE", &format!("/v1/runs/{run}"), &[], b"").whole().unwrap().expect(200);
    assert!(used(&node) - before >= 500, "{}", used(&node) - before);
}

#[test]
fn a_session_is_charged_once_with_all_that_was_executed_in_it() {
    let node = Node::start(&["--cpu-each", "3600"]);
    wait_if_midnight_is_near(&node);
    let session = node.ask("POST", "/v1/sessions", &[], &json!({})).whole().unwrap().expect(201).json();
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap());
    let code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass";
    for _ in 0..2 {
        node.ask("POST", &format!("{path}/executions"), &[], &json!({ "code": code })).whole().unwrap().expect(200);
    }
    assert_eq!(node.get("/v1/me").expect(200).json()["sessions"]["open"], 1);
    node.send("DELETE", &path, &[], b"").whole().unwrap().expect(200);
    let run = node.show(session["id"].as_str().unwrap());
    assert!(used(&node) >= 600, "{}", used(&node));
    assert_eq!(used(&node), measured(&run));
    assert_eq!(node.get("/v1/me").expect(200).json()["sessions"]["open"], 0);
}

#[test]
fn what_a_warm_engine_used_for_a_run_is_counted_as_of_any_other() {
    if !can_be_warm() {
        return;
    }
    let node = Node::start(&[&AS_SERVICE[..], &WARM, &["--cpu-each", "3600"]].concat());
    wait_if_midnight_is_near(&node);
    until_warm(&node);
    let before = used(&node);
    let mut run = Value::Null;
    until("an engine has it", || {
        run = node.run("import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass");
        begun(&run) == "warm"
    });
    assert!(measured(&run) >= 400, "{run}");
    assert!(used(&node) - before >= measured(&run));
}

/// What is counted is what the reports say of all that have ended, whenever the node is killed.
#[test]
fn a_kill_between_the_end_of_a_run_and_its_count_loses_and_doubles_nothing() {
    let flags = ["--cpu-each", "36000", "--keep-each", "10000"];
    let mut node = Node::start(&flags);
    wait_if_midnight_is_near(&node);
    let rounds = std::env::var("STOCKADE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4_u64);
    for round in 0..rounds {
        for _ in 0..12 {
            node.submit("sum(range(300000))");
        }
        // At a moment of each round's own, while runs end one after the other.
        std::thread::sleep(Duration::from_millis(150 + round * 97 % 400));
        node.kill();
        node = node.again(&flags);
    }
    until("all are over", || {
        let runs = node.get("/v1/runs?limit=100").expect(200).json();
        runs["runs"].as_array().unwrap().iter().all(|run| ["ended", "lost"].contains(&run["state"].as_str().unwrap()))
    });
    let (mut total, mut ended, mut before) = (0, 0, None);
    loop {
        let query = before.map_or_else(String::new, |before: i64| format!("&before={before}"));
        let page = node.get(&format!("/v1/runs?limit=100{query}")).expect(200).json();
        for run in page["runs"].as_array().unwrap() {
            if run["state"] == "ended" {
                // Of the page, which tells as much as the run itself.
                let run = node.show(run["id"].as_str().unwrap());
                total += measured(&run);
                ended += 1;
            }
        }
        before = page["before"].as_i64();
        if before.is_none() {
            break;
        }
    }
    assert!(ended > 0);
    assert_eq!(used(&node), total, "of {ended} runs");
}

#[test]
fn a_class_of_more_weight_is_served_first_and_the_others_too() {
    if !rustix::process::geteuid().is_root() {
        skipped("classes", "only root can ask as several users");
        return;
    }
    let home = crate::support::open_folder();
    let text = "{ name = first, weight = 3, users = [61250], runs = 1, cpuPerDay = 1h }\n{ name = usual, queue = 7 }";
    let file = classes(&home, text);
    let node = Node::start(&["--runs", "1", "--classes", &file]);
    let hold = node.submit("import time; time.sleep(1000)");
    node.until_state(&hold, "running");
    let ask = |user| {
        let answer = as_user(node.socket(), user, "POST", "/v1/runs", &JSON, "{\"code\":\"print(1)\"}").unwrap();
        answer.expect(202).json()
    };
    let usual: Vec<Value> = (0..3).map(|_| ask(61_251)).collect();
    let first: Vec<Value> = (0..5).map(|_| ask(61_250)).collect();
    let show = |user, run: &Value| {
        let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
        as_user(node.socket(), user, "GET", &path, &[], "").unwrap().expect(200).json()
    };
    let positions = |user, runs: &[Value]| -> Vec<i64> {
        runs.iter().map(|run| show(user, run)["position"].as_i64().unwrap()).collect()
    };
    // The one that runs took the turn of its class in this round.
    assert_eq!(positions(61_250, &first), [1, 2, 3, 4, 5]);
    assert_eq!(positions(61_251, &usual), [6, 7, 8]);
    let me = as_user(node.socket(), 61_250, "GET", "/v1/me", &[], "").unwrap().expect(200).json();
    assert_eq!((me["class"].as_str(), me["weight"].as_i64()), (Some("first"), Some(3)));
    assert_eq!((me["runs"]["waiting"].as_i64(), me["runs"]["running_most"].as_i64()), (Some(5), Some(1)));
    assert_eq!(me["cpu"]["most_ms"], 3_600_000);
    let me = as_user(node.socket(), 61_251, "GET", "/v1/me", &[], "").unwrap().expect(200).json();
    assert_eq!((me["class"].as_str(), me["runs"]["waiting_most"].as_i64()), (Some("usual"), Some(7)));
    let figures = node.get("/metrics").expect(200).text();
    assert!(figures.contains("stockade_class_runs_waiting{class=\"first\"} 5"), "{figures}");
    node.send("DELETE", &format!("/v1/runs/{hold}"), &[], b"").whole().unwrap().expect(200);
    let ended = |user, run: &Value| {
        until("it is served", || show(user, run)["state"] == "ended");
        show(user, run)["started_ms"].as_i64().unwrap()
    };
    let mut order: Vec<(i64, &str)> = first.iter().map(|run| (ended(61_250, run), "first")).collect();
    order.extend(usual.iter().map(|run| (ended(61_251, run), "usual")));
    order.sort_unstable();
    let order: Vec<&str> = order.into_iter().map(|(_, class)| class).collect();
    assert!(order.starts_with(&["first", "first", "first"]) && order.last() == Some(&"usual"), "{order:?}");
}

#[test]
fn classes_that_cannot_be_understood_start_no_node() {
    let home = crate::support::open_folder();
    for (text, why) in [
        ("{ name = a, users = [nobody-of-this-name] }", "there is no user `nobody-of-this-name`"),
        ("{ name = a, users = [1], wieght = 2 }", "there is no key `wieght`"),
    ] {
        let file = classes(&home, text);
        let folder: PathBuf = home.path().join("node");
        let refused = crate::support::starting(&folder, &["--classes", &file]).run().expect(125);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}
