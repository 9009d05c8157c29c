//! One key, one run, however often and by how many it is asked for.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::Node;

#[test]
fn many_who_ask_at_once_with_one_key_get_one_run() {
    let node = Node::start(&[]);
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let answer = node.post(&[("idempotency-key", "k1")], &json!({"code": "print('once')"}));
                    let run = answer.whole().unwrap().expect(200).json();
                    assert_eq!(run["stdout"], "once\n");
                    run["id"].as_str().unwrap().to_owned()
                })
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    assert_eq!(node.get("/v1/runs").json()["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_that_was_used_for_something_else_is_refused() {
    let node = Node::start(&[]);
    let key = ("idempotency-key", "k1");
    node.post(&[key], &json!({"code": "1"})).whole().unwrap().expect(200);
    node.post(&[key], &json!({"code": "2"})).whole().unwrap().expect(409);
    let with_input = json!({"code": "1", "inputs": [{"name": "a", "content": ""}]});
    node.post(&[key], &with_input).whole().unwrap().expect(409);
    node.post(&[("idempotency-key", "")], &json!({"code": "1"})).whole().unwrap().expect(422);
    let long = "x".repeat(201);
    node.post(&[("idempotency-key", &long)], &json!({"code": "1"})).whole().unwrap().expect(422);
}

#[test]
fn a_key_is_remembered_over_a_crash() {
    let mut node = Node::start(&[]);
    let key = ("idempotency-key", "k1");
    let first = node.post(&[key], &json!({"code": "print(1)"})).whole().unwrap().expect(200).json();
    node.kill();
    let node = node.again(&[]);
    let second = node.post(&[key], &json!({"code": "print(1)"})).whole().unwrap().expect(200).json();
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["stdout"], "1\n");
}
