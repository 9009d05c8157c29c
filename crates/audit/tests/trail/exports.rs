//! A trail as others read it.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};
use stockade_audit::{Format, Keeping, Records, export};

use crate::scene::Scene;

/// A record with its kind first.
#[derive(Serialize)]
struct Kind {
    record: String,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

fn exported(scene: &Scene, format: Format) -> Vec<Value> {
    let mut out = Vec::new();
    let count = export(Records::of(scene.trail.place().clone()).unwrap(), format, &mut out).unwrap();
    let lines: Vec<Value> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, count);
    lines
}

#[test]
fn json_lines_are_what_stands_in_the_files() {
    let scene = Scene::rotating_at(4096);
    (1..=50).for_each(|number| _ = scene.note(number));
    let mut out = Vec::new();
    export(Records::of(scene.trail.place().clone()).unwrap(), Format::JsonLines, &mut out).unwrap();
    let mut all = String::new();
    for number in 1.. {
        match std::fs::read_to_string(scene.path(&format!("audit.{number:06}.jsonl"))) {
            Ok(text) => all += &text,
            Err(_) => break,
        }
    }
    assert_eq!(String::from_utf8(out).unwrap(), all + &scene.log());
}

#[test]
fn every_event_of_ocsf_says_what_its_class_requires() {
    let scene = Scene::with(1);
    for record in [
        json!({"record": "authentication", "time_ms": 5, "principal": "ann@local", "realm": "local", "source": "192.0.2.7", "method": "password", "decision": "refused", "reason": "locked"}),
        json!({"record": "authorisation", "time_ms": 5, "principal": "ann@local", "privilege": "Run", "resource": "default", "decision": "permitted", "rule": "role user"}),
        json!({"record": "command", "time_ms": 5, "principal": "ann@local", "target": "node", "command": "stop", "phase": "done"}),
        json!({"record": "transition", "time_ms": 5, "principal": "ann@local", "from": "inactive", "to": "active"}),
        json!({"record": "trusted-name", "time_ms": 5, "entry": "a.acme.com", "object": "x", "added": [], "removed": ["192.0.2.1"]}),
        json!({"record": "intent", "time_ms": 5, "principal": "ann@local", "run": "r1", "label": "a.py", "code_digest": "a".repeat(64)}),
        json!({"record": "outcome", "time_ms": 5, "run": "r1"}),
        json!({"record": "network", "time_ms": 5, "run": "r1", "event": "opened", "host": "a.test", "address": "192.0.2.1", "port": 443}),
        json!({"record": "network", "time_ms": 5, "run": "r1", "event": "refused", "asked": "b.test:25", "reason": "port"}),
    ] {
        let kind = record["record"].as_str().unwrap().to_owned();
        let mut rest = record.as_object().unwrap().clone();
        rest.remove("record");
        scene.trail.append(&Kind { record: kind, rest }, Keeping::Written).unwrap();
    }
    let events = exported(&scene, Format::Ocsf);
    for event in &events {
        let class = event["class_uid"].as_u64().unwrap();
        assert_eq!(event["type_uid"], class * 100 + event["activity_id"].as_u64().unwrap());
        assert_eq!(event["category_uid"], class / 1000, "{event}");
        assert_eq!(event["metadata"]["version"], "1.3.0");
        assert!(event["severity_id"].is_u64() && event["time"].is_u64() && event["unmapped"]["hash"].is_string());
        assert_eq!(event["metadata"]["uid"], event["unmapped"]["hash"]);
        let required: &[&str] = match class {
            1007 => &["actor", "device", "process"],
            3002 | 3003 => &["user"],
            4001 => &["dst_endpoint"],
            6003 => &["actor", "api"],
            _ => &[],
        };
        assert!(required.iter().all(|key| event[key].is_object()), "{event}");
    }
    let of = |class: u64| events.iter().filter(|event| event["class_uid"] == class).collect::<Vec<_>>();
    let logon = of(3002)[0];
    assert_eq!((&logon["status_id"], &logon["src_endpoint"]["ip"]), (&json!(2), &json!("192.0.2.7")));
    assert_eq!((&logon["user"]["name"], &logon["user"]["domain"]), (&json!("ann"), &json!("local")));
    assert_eq!((of(3003)[0]["status_id"].clone(), of(6003).len(), of(1007).len()), (json!(1), 3, 2));
    assert_eq!((&of(4001)[1]["activity_id"], &of(4001)[1]["status_id"]), (&json!(5), &json!(2)));
    assert_eq!(of(4001)[1]["dst_endpoint"], json!({"hostname": "b.test", "port": 25}), "nothing that is not known");
}

#[test]
fn a_reader_that_is_slow_holds_nobody_up_and_gets_every_record_once() {
    /// Appends while it is written to.
    struct Slow<'s>(&'s Scene, u64, Vec<u8>);
    impl Write for Slow<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if bytes == b"\n" && self.1 < 300 {
                self.1 += 1;
                self.0.note(self.1);
            }
            self.2.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scene = Scene::rotating_at(8192);
    (1..=20).for_each(|number| _ = scene.note(number));
    let mut slow = Slow(&scene, 20, Vec::new());
    export(Records::of(scene.trail.place().clone()).unwrap(), Format::JsonLines, &mut slow).unwrap();
    let text = String::from_utf8(slow.2).unwrap();
    let numbers: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|record| record["number"].as_u64())
        .collect();
    assert!(numbers.len() > 20, "{numbers:?}");
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_damaged_trail_is_not_passed_off_as_a_whole_one() {
    let scene = Scene::with(5);
    scene.put(scene.log().replace("\"number\":3", "\"number\":4"));
    let mut out = Vec::new();
    let failed = export(Records::of(scene.trail.place().clone()).unwrap(), Format::JsonLines, &mut out).unwrap_err();
    assert!(matches!(failed, stockade_audit::Error::Damaged { line: 5, .. }), "{failed}");
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 4);
}
