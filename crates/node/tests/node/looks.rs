//! What there is to know before something is run is what running it comes to; and asking runs nothing.

use serde_json::{Value, json};
use stockade_testkit::{Call, Folder, User, call, skipped};

use crate::support::{AS_SERVICE, Node, command, run_files, until};
use crate::tenancy::as_user;

/// As an ordinary user's node, and as one whose engines have users of their own.
fn kinds() -> Vec<Vec<&'static str>> {
    if rustix::process::geteuid().is_root() {
        return vec![Vec::new(), AS_SERVICE.to_vec()];
    }
    skipped("a node with users of the host", "only root becomes another user");
    vec![Vec::new()]
}

fn policy(folder: &Folder, lines: &str) -> String {
    let text = format!(
        "name = ours, version = 1, type = stockade.policy\nconfiguration {{ StockadePolicy {{ name = ours\n{lines}\n}} }}\n"
    );
    folder.write("policy.conf", text);
    folder.path().join("policy.conf").to_string_lossy().into_owned()
}

/// The command, as the node's service.
pub(crate) fn as_service(node: &Node, words: &[&str]) -> Call {
    let below = |name| node.folder.join(name);
    call(command().to_str().unwrap(), User::Ordinary)
        .within(&below("home"))
        .env("HOME", below("home"))
        .env("STOCKADE_CACHE_DIR", below("cache"))
        .env("STOCKADE_STATE_DIR", below("state"))
        .args(words)
}

fn records(node: &Node) -> usize {
    let trail = std::fs::read_to_string(node.folder.join("state/audit.jsonl")).unwrap_or_default();
    trail.lines().filter(|line| !line.contains("\"record\":\"checkpoint\"")).count()
}

/// What is said of a run before it, which must be what comes of it.
#[track_caller]
fn decision(node: &Node, body: &Value) -> Value {
    let said = node.ask("POST", "/v1/policies/check", &[], body).whole().unwrap().expect(200).json();
    let run = node.post(&[], body).whole().unwrap().expect(200).json();
    let outcome = &run["outcome"];
    if said["decision"] == "permitted" {
        assert_ne!(outcome["cause"], "refused", "{said} {run}");
        assert_eq!(said["environment"], outcome["report"]["environment"], "{said} {run}");
    } else {
        assert_eq!((&said["decision"], &outcome["cause"]), (&json!("refused"), &json!("refused")), "{said} {run}");
        for part in ["what", "why", "next"] {
            assert_eq!(said[part], outcome["refusal"][part], "{said} {run}");
        }
    }
    said
}

#[test]
fn what_is_said_of_a_run_is_what_comes_of_it() {
    for kind in kinds() {
        let folder = crate::support::open_folder();
        let file = policy(&folder, "languages = [python, r], limits { memory = 2GiB, wallTime = 20m }");
        let node = Node::start(&[kind.as_slice(), &["--policy", &file]].concat());
        let ok = decision(&node, &json!({"code": "print(1)"}));
        assert_eq!((ok["decision"].as_str(), ok["policy"].as_str()), (Some("permitted"), Some("ours 1")));
        assert_eq!(ok["limits"]["memory"], 1 << 30, "{ok}");
        let no = decision(&node, &json!({"code": "print(1)", "limits": {"memory": "3GiB"}}));
        assert!(no["why"].as_str().unwrap().contains("`ours`"), "{no}");
        let no = decision(&node, &json!({"code": "print(1)", "environment": "none-of-this-name"}));
        assert!(no["what"].as_str().unwrap().contains("none-of-this-name"), "{no}");
        decision(&node, &json!({"code": "# /// script\n# dependencies = 7\n# ///\n"}));
        // The policy as it is now.
        policy(&folder, "languages = [r]");
        let no = decision(&node, &json!({"code": "print(1)"}));
        assert!(no["why"].as_str().unwrap().contains("does not permit python"), "{no}");
        // And one that cannot be understood refuses.
        folder.write("policy.conf", "{");
        assert_eq!(decision(&node, &json!({"code": "print(1)"}))["decision"], "refused");
    }
}

#[test]
fn what_the_node_would_not_accept_is_refused_with_the_same_problem() {
    let node = Node::start(&["--queue-each", "1", "--runs", "1"]);
    let both = |body: &Value| {
        let ask = |path| {
            let answer = node.ask("POST", path, &[("prefer", "respond-async")], body).whole().unwrap();
            let mut problem = answer.json();
            problem["request_id"] = Value::Null;
            (answer.status, problem)
        };
        let (said, done) = (ask("/v1/policies/check"), ask("/v1/runs"));
        assert_eq!(said, done);
        said.0
    };
    assert_eq!(both(&json!({"code": "1", "limits": {"time": "100h"}})), 422);
    assert_eq!(both(&json!({"code": "1", "name": "../x.py"})), 422);
    assert_eq!(both(&json!({"code": "1", "with": ["./here"]})), 422);
    assert_eq!(both(&json!({"cod": "1"})), 422);
    assert_eq!(both(&json!({})), 422);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    node.submit("print('waits')");
    assert_eq!(both(&json!({"code": "1"})), 429);
}

#[test]
fn asking_runs_builds_and_records_nothing() {
    let node = Node::start(&[]);
    let before = records(&node);
    // `iniconfig` would have to be built first, which is for who runs it.
    for (body, decision) in [
        (json!({"code": "open('made', 'w')"}), "permitted"),
        (json!({"code": "import iniconfig", "with": ["iniconfig==2.0.0"]}), "unknown"),
        (json!({"code": "# /// script\n# dependencies = ['iniconfig==2.0.0']\n# ///\n"}), "unknown"),
    ] {
        let said = node.ask("POST", "/v1/policies/check", &[], &body).whole().unwrap().expect(200).json();
        assert_eq!(said["decision"], decision, "{said}");
    }
    let form = "--x\r\ncontent-disposition: form-data; name=\"script\"; filename=\"a.py\"\r\n\r\nprint(open('b').read())\n\r\n\
                --x\r\ncontent-disposition: form-data; name=\"input\"; filename=\"b\"\r\n\r\n1\r\n--x--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=x")];
    let said = node.send("POST", "/v1/policies/check", &kind, form.as_bytes()).whole().unwrap().expect(200).json();
    assert_eq!(said["decision"], "permitted", "{said}");
    assert_eq!(records(&node), before, "no record");
    assert_eq!(node.get("/v1/runs").expect(200).json()["runs"], json!([]));
    assert_eq!(node.get("/v1/me").expect(200).json()["cpu"]["used_ms"], 0);
    assert_eq!(run_files(&node.folder), Vec::<std::path::PathBuf>::new());
    until("nothing looks any more", || node.supervisors().is_empty());
    assert_eq!(std::fs::read_dir(node.folder.join("runs")).unwrap().count(), 0);
    let built = as_service(&node, &["env", "list", "--json"]).run().expect(0).stdout;
    assert_eq!(built.trim(), "[]");
}

#[test]
fn the_rules_of_a_caller_are_those_of_the_policies_and_the_node_together() {
    for kind in kinds() {
        let folder = crate::support::open_folder();
        let file = policy(&folder, "languages = [python, sql], limits { memory = 2GiB }, require = [landlock]");
        let flags = [kind.as_slice(), &["--run-time", "900"]].concat();
        let node = Node::start(&flags);
        let rules = node.get("/v1/policies").expect(200).json();
        assert_eq!((&rules["policies"], &rules["required"]), (&json!(["offline"]), &json!([])), "{rules}");
        let node = Node::start(&[flags.as_slice(), &["--policy", &file]].concat());
        let rules = node.get("/v1/policies").expect(200).json();
        assert_eq!(rules["policies"], json!(["ours 1"]));
        assert_eq!(rules["languages"], json!(["python", "sql"]));
        assert_eq!(rules["required"], json!([{"policy": "ours", "says": ["landlock"]}]));
        let limit = |name: &str, key: &str| rules["limits"][name][key].clone();
        assert_eq!((limit("memory", "most"), limit("memory", "policy")), (json!(2_u64 << 30), json!("ours")));
        assert_eq!((limit("time", "most"), limit("time", "usual")), (json!(900_000), json!(900_000)));
        assert_eq!(limit("time", "policy"), Value::Null);
        assert!(!rules.to_string().contains("policy.conf"), "where files lie is the operator's: {rules}");
        // One that is broken is told, and permits nothing.
        folder.write("policy.conf", "{");
        let problem = node.get("/v1/policies");
        assert_eq!(problem.status, 500);
        assert!(problem.json()["next"].is_string());
    }
}

#[test]
fn environments_that_have_names_are_listed_and_shown_and_others_are_found_by_who_knows_them() {
    for kind in kinds() {
        let node = Node::start(&kind);
        assert_eq!(node.get("/v1/environments").expect(200).json(), json!({"environments": []}));
        drop(as_service(&node, &["env", "build", "ours", "--with", "six==1.17.0"]).run().expect(0));
        // Of somebody's run, which has no name.
        let own = json!({"code": "import six; print(six.__version__)", "with": ["six==1.16.0"]});
        let run = node.post(&[], &own).whole().unwrap().expect(200).json();
        let digest = run["outcome"]["report"]["environment"].as_str().unwrap();
        let listed = node.get("/v1/environments").expect(200).json();
        let [ours] = listed["environments"].as_array().unwrap().as_slice() else { panic!("{listed}") };
        assert_eq!((&ours["names"], &ours["packages"], &ours["r"]), (&json!(["ours"]), &json!(1), &Value::Null));
        let shown = node.get("/v1/environments/ours").expect(200).json();
        let six = json!({"name": "six", "version": "1.17.0", "from_source": false});
        assert_eq!((&shown["digest"], &shown["contents"]), (&ours["digest"], &json!([six])));
        assert_eq!(shown["trusted"], false, "{shown}");
        assert!(shown["doubts"][0]["why"].is_string(), "{shown}");
        let folder = node.folder.to_string_lossy();
        assert!(!shown.to_string().contains(&*folder), "{shown}");
        for known in [digest, &digest[..12]] {
            let shown = node.get(&format!("/v1/environments/{known}")).expect(200).json();
            assert_eq!((&shown["names"], &shown["digest"]), (&json!([]), &json!(digest)));
        }
        for none in [&digest[..8], "nosuch", "..", "-x", "a%20b", "%00", "ours%2F..%2Fours", "x".repeat(300).as_str()] {
            let problem = node.get(&format!("/v1/environments/{none}"));
            assert_eq!(problem.status, 404, "{none}: {}", problem.text());
            assert!(problem.json()["next"].is_string());
        }
        // It is what a run has that names it, and what is said of that run before.
        let body = json!({"code": "import six; print(six.__version__)", "environment": "ours"});
        assert_eq!(decision(&node, &body)["environment"], ours["digest"]);
        let said = node.ask("POST", "/v1/policies/check", &[], &own).whole().unwrap().expect(200).json();
        assert_eq!((&said["decision"], &said["environment"]), (&json!("permitted"), &json!(digest)));
    }
}

#[test]
fn what_waits_to_be_looked_at_takes_no_more_memory_than_what_waits_to_run() {
    let node = Node::start(&[]);
    let body = json!({"code": format!("#{}", "x".repeat(12 << 20))}).to_string();
    let kind = [("content-type", "application/json")];
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.process.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
        };
        of("RssAnon:") + of("RssShmem:")
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| node.send("POST", "/v1/policies/check", &kind, body.as_bytes()).whole()))
            .collect();
        let mut most = 0;
        while all.iter().any(|one| !one.is_finished()) {
            most = most.max(memory());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(most < 350, "{most} MiB");
        // Refused before it is sent is an answer, too.
        let statuses: Vec<u16> =
            all.into_iter().filter_map(|one| one.join().unwrap().ok()).map(|one| one.status).collect();
        assert!(statuses.contains(&200), "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 429, 503].contains(status)), "{statuses:?}");
    });
    assert_eq!(node.run("print(1)")["stdout"], "1\n");
}

#[test]
fn who_asks_much_is_served_in_turn_and_leaves_others_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("turns", "only root can ask as several users");
        return;
    }
    let node = Node::start(&[]);
    std::thread::scope(|scope| {
        let many: Vec<_> = (0..30).map(|_| scope.spawn(|| node.get("/v1/environments").status)).collect();
        let other = as_user(node.socket(), 61_240, "GET", "/v1/policies", &[], "").unwrap().expect(200);
        assert_eq!(other.json()["policies"], json!(["offline"]));
        let waiting = many.iter().filter(|one| !one.is_finished()).count();
        assert!(waiting >= 10, "the other did not wait for all of them: {waiting} were left");
        assert!(node.supervisors().len() <= 2, "{}", node.supervisors().len());
        for one in many {
            assert!([200, 429].contains(&one.join().unwrap()));
        }
    });
    // Who goes away, and a kill of what looks, leave nothing.
    for _ in 0..5 {
        drop(node.send("GET", "/v1/environments", &[], b""));
        for supervisor in node.supervisors() {
            crate::support::signal(supervisor, rustix::process::Signal::KILL);
        }
    }
    until("nothing looks any more", || node.supervisors().is_empty());
    node.get("/v1/environments").expect(200);
    assert_eq!(std::fs::read_dir(node.folder.join("runs")).unwrap().count(), 0);
}
