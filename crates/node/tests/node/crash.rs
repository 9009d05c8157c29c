//! `kill -9` of every part at random moments under load: nothing accepted is lost silently or run twice, and
//! nothing is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stockade_testkit::{cgroups_left, processes_with, skipped};

use crate::http;
use crate::support::{AS_SERVICE, Node, PATIENCE, alive, mounts, run_files, signal, until, warm_library};
use crate::users::below;

/// Kills of each kind; more with `STOCKADE_TEST_KILLS`.
fn rounds() -> u64 {
    std::env::var("STOCKADE_TEST_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4)
}

/// Nothing is forgotten meanwhile.
const KEEP: [&str; 2] = ["--keep-each", "60000"];

/// The same of a node whose engines have users and cgroups of their own; none where only root can start it.
fn of_service() -> Option<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        skipped("a node with users of the host", "only root becomes another user");
        return None;
    }
    Some(KEEP.into_iter().chain(AS_SERVICE).collect())
}

/// The same of one whose runs warm engines have; none where there are none.
fn of_warm() -> Option<Vec<&'static str>> {
    let flags = of_service()?;
    if !warm_library().is_file() {
        skipped("a node with warm engines", "`cargo xtask warm-library` was not run");
        return None;
    }
    Some(flags.into_iter().chain(["--warm", "1"]).collect())
}

/// A seed that is printed, so that a failure can be had again.
fn seed() -> u64 {
    let seed = std::env::var("STOCKADE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("STOCKADE_TEST_SEED={seed}");
    seed
}

fn random(seed: u64, number: u64) -> u64 {
    let mut value = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number.wrapping_mul(0xBF58_476D_1CE4_E5B9));
    value ^= value >> 30;
    value = value.wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Asks for runs until the node is gone; tells those whose acceptance was heard of, by their keys.
fn load(node: &Node, round: u64) -> BTreeMap<String, String> {
    let mut accepted = BTreeMap::new();
    for number in 0..200 {
        let key = format!("{round}-{number}");
        let body = json!({"code": "import time; print('said', flush=True); time.sleep(0.05)", "arguments": [mark()]});
        let Ok(stream) = std::os::unix::net::UnixStream::connect(node.socket()) else { break };
        let headers =
            [("content-type", "application/json"), ("prefer", "respond-async"), ("idempotency-key", key.as_str())];
        let answer = http::send(stream, "POST", "/v1/runs", &headers, body.to_string().as_bytes());
        match answer.and_then(http::Answer::whole) {
            Ok(answer) if answer.status == 202 => {
                accepted.insert(key, answer.json()["id"].as_str().unwrap().to_owned());
            }
            // It is full for a moment; more load would be no other load.
            Ok(answer) if answer.status == 429 => std::thread::sleep(Duration::from_millis(20)),
            // It is ending, and says that it does not know.
            Ok(answer) if answer.status == 503 => break,
            Ok(answer) => panic!("{}", answer.text()),
            Err(_) => break,
        }
    }
    accepted
}

/// What every process of a run of this test carries in its command line.
fn mark() -> String {
    format!("crash-mark-{}", std::process::id())
}

/// Everything that was accepted is over, and was run once: by its events, and by the audit trail.
fn check(node: &Node, accepted: &BTreeMap<String, String>) {
    check_causes(node, accepted, &["failed"]);
}

/// The same, where killing comes to one of these causes.
fn check_causes(node: &Node, accepted: &BTreeMap<String, String>, causes: &[&str]) {
    for id in accepted.values() {
        until("it is over", || matches!(node.show(id)["state"].as_str(), Some("ended" | "lost")));
        let run = node.show(id);
        let events: Vec<Value> = node.send("GET", &format!("/v1/runs/{id}/events"), &[], b"").events().collect();
        let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        assert!(count("started") <= 1 && count("result") == 1, "{events:?}");
        // What the code said; a supervisor whose launcher is gone says so on standard error, where it still can.
        let of_code = events.iter().filter(|event| event["type"] == "stdout");
        let said: String = of_code.filter_map(|event| event["text"].as_str()).collect();
        assert!(said.is_empty() || said == "said\n", "run twice: {events:?}");
        match run["state"].as_str().unwrap() {
            "ended" if run["outcome"]["cause"] == "exited" => assert_eq!(said, "said\n"),
            // Killed while its walls were made: a step inside failed, before any code.
            "ended" if run["outcome"]["cause"] == "refused" && causes.contains(&"refused") => {
                assert!(said.is_empty() && run["outcome"]["refusal"]["what"].is_string(), "{run}");
            }
            // Killed under it, and said so.
            "ended" => assert!(causes.contains(&run["outcome"]["cause"].as_str().unwrap()), "{run}"),
            _ => assert_eq!(count("started"), 1, "only what was handed over can be lost: {run}"),
        }
    }
}

fn intents(node: &Node) -> usize {
    let trail = std::fs::read_to_string(node.folder.join("state/audit.jsonl")).unwrap();
    let is_of_run = |line: &&str| line.contains("uid-") && !line.contains("\"code_digest\":\"none\"");
    trail.lines().filter(|line| line.contains("\"record\":\"intent\"")).filter(is_of_run).count()
}

fn assert_clean(node: &Node) {
    until("no process of a run is left", || processes_with(&mark()).is_empty());
    let folder = &node.folder;
    until("no file of a run is left", || run_files(folder).is_empty());
    let place = folder.to_string_lossy().into_owned();
    assert!(!mounts().iter().any(|mount| mount.contains(&place)), "{:?}", mounts());
    let place = stockade_audit::Place::new(folder.join("state"));
    let key = stockade_audit::PublicKey::beside(&place).unwrap();
    let report = stockade_audit::verify(&place, &stockade_audit::Expected::key(key)).unwrap();
    assert_eq!(report.bad, None, "the audit trail is whole, whoever was killed");
    let trail = std::fs::read_to_string(folder.join("state/audit.jsonl")).unwrap();
    let records: Vec<Value> = trail.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    // The last pool is there still, and engines of it wait.
    let is_template = |record: &&Value| record["code_digest"] == "none" && record["record"] == "intent";
    let pool = records.iter().rfind(is_template).map(|record| record["run"].clone());
    let over = records.iter().map(|record| &record["run"]).filter(|run| Some(*run) != pool.as_ref());
    let runs: Vec<String> = over.filter_map(|run| Some(format!("stockade-{}-", run.as_str()?))).collect();
    let left = || cgroups_left().into_iter().filter(|group| runs.iter().any(|run| group.contains(run))).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut found: Vec<String> = left();
    while !found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        found = left();
    }
    assert_eq!(found, Vec::<String>::new(), "cgroups of runs that are over");
}

#[test]
fn a_node_killed_at_any_moment_loses_nothing_silently_and_leaves_nothing() {
    kill_nodes(&KEEP);
}

#[test]
fn a_node_killed_at_any_moment_loses_nothing_silently_and_leaves_nothing_with_users_of_the_host() {
    if let Some(flags) = of_service() {
        kill_nodes(&flags);
    }
}

#[test]
fn a_node_killed_at_any_moment_loses_nothing_silently_and_leaves_nothing_with_warm_engines() {
    if let Some(flags) = of_warm() {
        kill_nodes(&flags);
    }
}

fn kill_nodes(flags: &[&str]) {
    let seed = seed();
    let mut node = Node::start(flags);
    let mut accepted = BTreeMap::new();
    for round in 0..rounds() {
        let id = node.process.id();
        let moment = Duration::from_millis(random(seed, round) % 1_500);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            signal(id, Signal::KILL);
        });
        let heard = load(&node, round);
        killer.join().unwrap();
        node.process.wait().unwrap();
        // The next node comes while the former one's launcher may still be there.
        node = node.again(flags);
        // Asked again with its key, each is the run that it was.
        for (key, id) in heard.iter().take(3) {
            let body =
                json!({"code": "import time; print('said', flush=True); time.sleep(0.05)", "arguments": [mark()]});
            let answer = node.post(&[("prefer", "respond-async"), ("idempotency-key", key)], &body);
            assert_eq!(answer.whole().unwrap().expect(202).json()["id"], id.as_str());
        }
        accepted.extend(heard);
    }
    assert!(!accepted.is_empty());
    check(&node, &accepted);
    assert!(intents(&node) <= total(&node), "no more runs than were accepted: {} {}", intents(&node), total(&node));
    assert_clean(&node);
}

/// Runs that are kept, over all pages.
fn total(node: &Node) -> usize {
    let (mut count, mut before) = (0, i64::MAX);
    loop {
        let page = node.get(&format!("/v1/runs?before={before}")).expect(200).json();
        count += page["runs"].as_array().unwrap().len();
        match page["before"].as_i64() {
            Some(number) => before = number,
            None => return count,
        }
    }
}

#[test]
fn a_launcher_killed_at_any_moment_ends_the_node_which_says_what_is_lost() {
    kill_launchers(&KEEP);
}

#[test]
fn a_launcher_killed_at_any_moment_ends_the_node_which_says_what_is_lost_with_users_of_the_host() {
    if let Some(flags) = of_service() {
        kill_launchers(&flags);
    }
}

#[test]
fn a_launcher_killed_at_any_moment_ends_the_node_which_says_what_is_lost_with_warm_engines() {
    if let Some(flags) = of_warm() {
        kill_launchers(&flags);
    }
}

fn kill_launchers(flags: &[&str]) {
    let seed = seed();
    let mut node = Node::start(flags);
    let mut accepted = BTreeMap::new();
    for round in 0..rounds() {
        let launcher = node.launcher();
        let moment = Duration::from_millis(random(seed, 1000 + round) % 1_500);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            signal(launcher, Signal::KILL);
        });
        accepted.extend(load(&node, round));
        killer.join().unwrap();
        assert_eq!(node.process.wait().unwrap().code(), Some(125), "without a launcher there is no node");
        let folder = node.folder.clone();
        until("nothing of the former node is alive", || alive(&folder).is_empty());
        node = node.again(flags);
    }
    check(&node, &accepted);
    assert_clean(&node);
}

#[test]
fn a_supervisor_killed_at_any_moment_fails_its_run_and_no_other() {
    kill_supervisors(&KEEP);
}

#[test]
fn a_supervisor_killed_at_any_moment_fails_its_run_and_no_other_with_users_of_the_host() {
    if let Some(flags) = of_service() {
        kill_supervisors(&flags);
    }
}

fn kill_supervisors(flags: &[&str]) {
    let node = Node::start(flags);
    let accepted = kill_while_runs_go_on(&node, |node, _| node.supervisors().first().copied());
    check(&node, &accepted);
    assert_clean(&node);
    assert_eq!(node.run("print('goes on')")["stdout"], "goes on\n");
}

#[test]
fn any_process_of_warm_engines_killed_at_any_moment_takes_runs_along_which_is_said_and_leaves_nothing() {
    let Some(flags) = of_warm() else { return };
    let node = Node::start(&flags);
    until("an engine serves", || node.run("pass")["outcome"]["report"]["begun"] == "warm");
    let accepted = kill_while_runs_go_on(&node, |node, chance| {
        // Pools, templates, makers of walls, followers, inits, engines, and what these started.
        let all = below(node.launcher());
        let number = usize::try_from(chance).unwrap() % all.len().max(1);
        all.get(number).map(|(id, _)| *id)
    });
    // An engine's own process is killed like any program; of its walls' init nobody can say why it ended.
    check_causes(&node, &accepted, &["failed", "signalled", "cancelled", "refused"]);
    until("another pool serves", || node.run("print('goes on')")["outcome"]["report"]["begun"] == "warm");
    assert_clean(&node);
}

/// Runs, and now and then a kill of what is chosen by a random number; tells those that were accepted.
fn kill_while_runs_go_on(node: &Node, victim: impl Fn(&Node, u64) -> Option<u32> + Sync) -> BTreeMap<String, String> {
    let seed = seed();
    let mut accepted = BTreeMap::new();
    for round in 0..rounds() * 2 {
        let moment = Duration::from_millis(random(seed, 2000 + round) % 300);
        std::thread::scope(|scope| {
            let killing = scope.spawn(|| {
                std::thread::sleep(moment);
                victim(node, random(seed, 4000 + round)).into_iter().for_each(|id| signal(id, Signal::KILL));
            });
            for number in 0..4 {
                let body =
                    json!({"code": "import time; print('said', flush=True); time.sleep(0.05)", "arguments": [mark()]});
                let mut answer = node.post(&[("prefer", "respond-async")], &body).whole().unwrap();
                until("there is a place", || {
                    if answer.status == 429 {
                        answer = node.post(&[("prefer", "respond-async")], &body).whole().unwrap();
                    }
                    answer.status != 429
                });
                let answer = answer.expect(202).json();
                accepted.insert(format!("{round}-{number}"), answer["id"].as_str().unwrap().to_owned());
            }
            killing.join().unwrap();
        });
    }
    accepted
}
