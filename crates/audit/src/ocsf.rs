//! Records as events of OCSF 1.3: facts that the record has, under the names that a SIEM knows. The whole record is in
//! `unmapped`.

use serde_json::{Map, Value, json};

use crate::read::Entry;

const VERSION: &str = "1.3.0";
/// "Other", of activities and statuses.
const OTHER: u64 = 99;
const SUCCESS: u64 = 1;
const FAILURE: u64 = 2;

/// A class of events and what of it happened.
struct Class {
    category: u64,
    class: u64,
    activity: u64,
    status: Option<u64>,
    rest: Value,
}

/// One record as an event.
#[must_use]
pub fn event(entry: &Entry) -> Value {
    let record = entry.value();
    let Class { category, class, activity, status, rest } = class(entry.kind(), &record);
    let mut event = Map::new();
    let mut set = |key: &str, value: Value| event.insert(key.to_owned(), value);
    set("category_uid", json!(category));
    set("class_uid", json!(class));
    set("activity_id", json!(activity));
    set("type_uid", json!(class * 100 + activity));
    set("time", record.get("time_ms").cloned().unwrap_or(json!(0)));
    // 1 informational, 2 low.
    set("severity_id", json!(if status == Some(FAILURE) { 2 } else { 1 }));
    if let Some(status) = status {
        set("status_id", json!(status));
    }
    set("message", json!(entry.kind()));
    let product = json!({"name": "Stockade", "vendor_name": "Stockade", "version": env!("CARGO_PKG_VERSION")});
    let uid = entry.link.hash_hex();
    set("metadata", json!({"version": VERSION, "product": product, "sequence": entry.link.seq, "uid": uid}));
    if let Some(Value::Object(rest)) = known(rest) {
        event.extend(rest);
    }
    event.insert("unmapped".to_owned(), record);
    Value::Object(event)
}

/// Without what the record does not say.
fn known(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Object(fields) => {
            let fields = fields.into_iter().filter_map(|(key, value)| Some((key, known(value)?)));
            Some(Value::Object(fields.collect()))
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => Some(other),
    }
}

fn class(kind: &str, record: &Value) -> Class {
    match kind {
        "authentication" => authentication(record),
        "authorisation" => authorisation(record),
        "command" | "transition" => administration(kind, record),
        "trusted-name" => Class { rest: api("trusted hosts", "update", record), ..of(6, 6003, 3, Some(SUCCESS)) },
        "environment" => Class { rest: api("environment", "build", record), ..of(6, 6003, 1, Some(SUCCESS)) },
        "act" => Class { rest: api("session", text(record, "what"), record), ..of(6, 6003, OTHER, None) },
        "intent" => Class { rest: process(record), ..of(1, 1007, 1, Some(SUCCESS)) },
        "outcome" => Class { rest: process(record), ..of(1, 1007, 2, None) },
        "failed" => Class { rest: process(record), ..of(1, 1007, 1, Some(FAILURE)) },
        "network" => network(record),
        // The trail about itself.
        _ => of(0, 0, OTHER, None),
    }
}

const fn of(category: u64, class: u64, activity: u64, status: Option<u64>) -> Class {
    Class { category, class, activity, status, rest: Value::Null }
}

fn text<'r>(record: &'r Value, key: &str) -> &'r str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn status(record: &Value) -> u64 {
    match text(record, "decision") {
        "permitted" => SUCCESS,
        _ => FAILURE,
    }
}

/// `name@realm` as a user, or nothing.
fn user(record: &Value) -> Value {
    let principal = text(record, "principal");
    let (name, realm) = principal.rsplit_once('@').unwrap_or((principal, ""));
    if name.is_empty() { Value::Null } else { json!({"name": name, "domain": realm, "uid": principal}) }
}

fn source(record: &Value) -> Value {
    match text(record, "source") {
        "" => Value::Null,
        source if source.parse::<std::net::IpAddr>().is_ok() => json!({"ip": source}),
        source => json!({"name": source}),
    }
}

/// 3002 Authentication: a logon.
fn authentication(record: &Value) -> Class {
    let mut user = user(record);
    // The realm that was asked, whatever the name says.
    if let Some(user) = user.as_object_mut() {
        user.insert("domain".to_owned(), json!(text(record, "realm")));
    }
    let rest = json!({
        "user": user,
        "src_endpoint": source(record),
        "auth_protocol": text(record, "method"),
        "status_detail": text(record, "reason"),
    });
    Class { rest, ..of(3, 3002, 1, Some(status(record))) }
}

/// 3003 Authorize Session: a privilege was given for one thing, or not.
fn authorisation(record: &Value) -> Class {
    let rest = json!({
        "user": user(record),
        "src_endpoint": source(record),
        "privileges": [text(record, "privilege")],
        "status_detail": text(record, "rule"),
    });
    Class { rest, ..of(3, 3003, 1, Some(status(record))) }
}

/// 6003 API Activity.
fn administration(kind: &str, record: &Value) -> Class {
    if kind == "transition" {
        let operation = format!("configuration {}", text(record, "to"));
        return Class { rest: api("configuration", &operation, record), ..of(6, 6003, 3, Some(SUCCESS)) };
    }
    let operation = format!("{} {}", text(record, "command"), text(record, "target"));
    let status = match text(record, "phase") {
        "done" => Some(SUCCESS),
        "failed" | "denied" => Some(FAILURE),
        _ => None,
    };
    Class { rest: api("administration", &operation, record), ..of(6, 6003, OTHER, status) }
}

fn api(service: &str, operation: &str, record: &Value) -> Value {
    json!({
        "actor": {"user": user(record)},
        "api": {"operation": operation, "service": {"name": service}},
        "src_endpoint": source(record),
    })
}

/// 1007 Process Activity: a run was launched, or has ended.
fn process(record: &Value) -> Value {
    let file = match text(record, "code_digest") {
        digest if digest.len() == 64 => {
            json!({"name": text(record, "label"), "type_id": 1, "hashes": [{"algorithm_id": 3, "algorithm": "SHA-256", "value": digest}]})
        }
        _ => Value::Null,
    };
    let process = json!({"uid": text(record, "run"), "name": text(record, "label"), "file": file});
    json!({
        "actor": {"user": user(record)},
        "device": {"type_id": 0},
        "process": process,
        "exit_code": record.pointer("/outcome/cause/status"),
        "status_detail": record.get("error"),
    })
}

/// 4001 Network Activity: a connection of a run, seen by the gate.
fn network(record: &Value) -> Class {
    let (activity, status) = match text(record, "event") {
        "opened" => (1, SUCCESS),
        "closed" => (2, SUCCESS),
        "refused" => (5, FAILURE),
        _ => (OTHER, SUCCESS),
    };
    // What was asked for and not given is `HOST:PORT` if it was understood.
    let asked = text(record, "asked").rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = asked.map_or((text(record, "host"), None), |(host, port)| (host, Some(json!(port))));
    let rest = json!({
        "dst_endpoint": {
            "hostname": host,
            "ip": record.get("address"),
            "port": port.as_ref().or_else(|| record.get("port")),
        },
        "connection_info": {"direction_id": 2, "protocol_num": 6},
        "traffic": {"bytes_out": record.get("bytes_up"), "bytes_in": record.get("bytes_down")},
        "status_detail": record.get("reason"),
    });
    Class { rest, ..of(4, 4001, activity, Some(status)) }
}
