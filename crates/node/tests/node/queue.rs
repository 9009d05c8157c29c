//! Runs wait their turn: fairly, visibly, and not without bound.

use serde_json::json;
use stockade_testkit::skipped;

use crate::support::{Node, until};
use crate::tenancy::as_user;

const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("prefer", "respond-async")];

#[test]
fn a_principal_who_asks_for_much_does_not_delay_another_who_asks_for_little() {
    if !rustix::process::geteuid().is_root() {
        skipped("fairness", "only root can ask as several users");
        return;
    }
    let node = Node::start(&["--runs", "1"]);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    let many: Vec<String> = (0..10).map(|_| node.submit("print(1)")).collect();
    let body = r#"{"code":"print(2)"}"#;
    let theirs = as_user(node.socket(), 61_240, "POST", "/v1/runs", &JSON, body).unwrap().expect(202).json();
    assert_eq!(theirs["position"], 2, "right after the first of the other's");
    assert_eq!(node.show(&many[9])["position"], 11);
    node.send("DELETE", &format!("/v1/runs/{first}"), &[], b"").whole().unwrap().expect(200);
    let path = format!("/v1/runs/{}", theirs["id"].as_str().unwrap());
    until("all are served", || many.iter().all(|run| node.show(run)["state"] == "ended"));
    let theirs = as_user(node.socket(), 61_240, "GET", &path, &[], "").unwrap().json();
    let ended = |run: &serde_json::Value| run["ended_ms"].as_i64().unwrap();
    let before = many.iter().filter(|run| ended(&node.show(run)) < ended(&theirs)).count();
    assert!(before <= 1, "{before} of the other's ended before it");
}

#[test]
fn more_than_may_wait_is_told_to_come_back() {
    let node = Node::start(&["--runs", "1", "--queue-each", "3"]);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    let waiting: Vec<String> = (0..3).map(|_| node.submit("print(1)")).collect();
    // Who asks again for one that waits is told of it.
    let again = [("prefer", "respond-async"), ("idempotency-key", "known")];
    node.send("DELETE", &format!("/v1/runs/{}", waiting[0]), &[], b"").whole().unwrap().expect(200);
    let known = node.post(&again, &json!({"code": "print(1)"})).whole().unwrap().expect(202).json();
    let told = node.post(&again, &json!({"code": "print(1)"})).whole().unwrap().expect(202).json();
    assert_eq!(told["id"], known["id"]);
    let answer = node.post(&[], &json!({"code": "print(1)"})).whole().unwrap().expect(429);
    assert_eq!(answer.headers["retry-after"], "2");
    assert_eq!(answer.json()["title"], "too many runs wait");
    let figures = node.get("/metrics").expect(200).text();
    for line in ["stockade_runs_waiting 3", "stockade_runs_running 1", "stockade_http_answers_total{status=\"429\"} 1"]
    {
        assert!(figures.lines().any(|one| one == line), "{line}: {figures}");
    }
    node.send("DELETE", &format!("/v1/runs/{}", waiting[1]), &[], b"").whole().unwrap().expect(200);
    node.submit("print('a place is free again')");
}

#[test]
fn never_more_runs_at_once_than_may() {
    let node = Node::start(&["--runs", "2", "--runs-each", "2"]);
    let runs: Vec<String> = (0..8).map(|_| node.submit("import time; time.sleep(0.3)")).collect();
    let mut most = 0;
    until("all have ended", || {
        // At one moment: asked one by one, a run may end and another begin in between.
        let listed = node.get("/v1/runs").expect(200).json();
        let states: Vec<_> = listed["runs"].as_array().unwrap().iter().map(|run| run["state"].clone()).collect();
        assert_eq!(states.len(), runs.len());
        most = most.max(states.iter().filter(|state| *state == "running").count());
        assert!(node.supervisors().len() <= 2);
        states.iter().all(|state| state == "ended")
    });
    assert!((1..=2).contains(&most), "{most}");
}
