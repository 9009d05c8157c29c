//! What comes of commands: of those that make no sense a refusal and nothing else, of those that fail half-way a record.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use stockade_store::{Object, Principal, Store};
use stockade_testkit::{User, call};

use crate::http::Whole;
use crate::security::{BIN, Place, REALM, ROLES};
use crate::support::{PATIENCE, command};

/// What ends the node, which others are still to be tested with.
const ENDING: [&str; 2] = ["drain", "stop"];

/// A command, and what it takes: names, and the words that each is one of, if it is.
#[derive(Clone, Debug)]
struct Known {
    target: String,
    command: String,
    parameters: Vec<(String, Vec<String>)>,
}

/// Every command there is, as `stockade admin help` tells them.
fn known() -> Vec<Known> {
    let said = call(command().to_str().unwrap(), User::Caller).args(["admin", "--format=json", "help"]).run().expect(0);
    let all: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
    let known = all.iter().map(|one| Known {
        target: text(one, "target"),
        command: text(one, "command"),
        parameters: one["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (text(one, "name"), words(&one["form"])))
            .collect(),
    });
    known.filter(|one| !ENDING.contains(&one.command.as_str())).collect()
}

fn words(form: &Value) -> Vec<String> {
    let words = form["word"].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned());
    words.chain((form == "flag").then(|| "true".to_owned())).collect()
}

/// A request as it is sent.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    kind: &'static str,
    body: Vec<u8>,
}

/// A part of a path, every byte of it as it may stand there.
fn part(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
        text
    })
}

fn path(target: &[u8], command: &[u8]) -> String {
    format!("/v1/admin/commands/{}/{}", part(target), part(command))
}

/// Texts of JSON: what a command could make something of, any, long, or with what other texts are put together from.
fn text() -> impl Strategy<Value = String> {
    const SAID: &[&str] = &[
        "true",
        "hosts",
        "security",
        "people",
        "roles",
        "administrator",
        "1",
        "-1",
        "1h",
        "Run",
        "daemon",
        "a",
        "name = a, version = \"1\", type = stockade.security\nconfiguration { SecuritySettings {} }",
        "name = a, version = \"1\", type = stockade.security\nconfiguration {",
    ];
    prop_oneof![
        8 => prop::sample::select(SAID).prop_map(ToOwned::to_owned),
        2 => any::<String>(),
        2 => "[{}\\[\\]\"=:,#$\\\\ \n]{0,40}",
        1 => (1_usize..400_000).prop_map(|length| "x".repeat(length)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => text().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Pairs as they are written, also of the same name.
fn object(pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// Some of what a command takes.
fn given(parameters: Vec<(String, Vec<String>)>) -> impl Strategy<Value = Vec<u8>> {
    let value = |words: Vec<String>| match words.as_slice() {
        [] => text().boxed(),
        _ => prop_oneof![8 => prop::sample::select(words), 1 => text()].boxed(),
    };
    let one = |(name, words)| prop::option::weighted(0.6, (Just(name), value(words)));
    let some = parameters.into_iter().map(one).collect::<Vec<_>>();
    some.prop_map(|pairs| {
        let written = |(name, text)| (name, Value::from(text).to_string());
        let pairs: Vec<(String, String)> = pairs.into_iter().flatten().map(written).collect();
        format!("{{\"parameters\":{}}}", object(&pairs)).into_bytes()
    })
}

/// What no program of ours writes.
fn wild(names: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![8 => prop::sample::select(names), 1 => any::<String>()];
    let texts = prop_oneof![9 => text().prop_map(Value::from), 1 => value()];
    let pair = (name, texts.prop_map(|value| value.to_string()));
    let parameters = prop::collection::vec(pair, 0..5).prop_map(|pairs| object(&pairs));
    let outer = prop_oneof![9 => Just("parameters".to_owned()), 1 => any::<String>()];
    let whole = prop::collection::vec((outer, parameters), 1..3).prop_map(|pairs| object(&pairs));
    prop_oneof![
        4 => whole.prop_map(String::into_bytes),
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (1_usize..20_000).prop_map(|depth| format!("{{\"parameters\":{}", "{\"a\":".repeat(depth)).into_bytes()),
        1 => (1_usize..20_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
    ]
}

fn asked(known: Vec<Known>) -> impl Strategy<Value = Asked> {
    let names: Vec<String> = known.iter().flat_map(|one| one.parameters.iter().map(|one| one.0.clone())).collect();
    let (of_known, any_body) = (prop::sample::select(known), wild(names).boxed());
    let a_body = any_body.clone();
    let sensible = of_known.clone().prop_flat_map(move |Known { target, command, parameters }| {
        let body = prop_oneof![6 => given(parameters), 1 => a_body.clone()];
        (Just(path(target.as_bytes(), command.as_bytes())), body)
    });
    let bytes = || prop_oneof![prop::collection::vec(any::<u8>(), 0..50), any::<String>().prop_map(String::into_bytes)];
    let elsewhere = (bytes(), bytes()).prop_map(|(target, command)| path(&target, &command));
    let kind = prop_oneof![9 => Just("application/json"), 1 => Just("text/plain")];
    (prop_oneof![8 => sensible, 1 => (elsewhere, any_body)], kind).prop_map(|((path, body), kind)| Asked {
        path,
        kind,
        body,
    })
}

impl Place {
    /// All that a command could have changed: as it is kept, and as it counts.
    fn state(&self) -> (Vec<Object>, Vec<Principal>, Option<String>, Value) {
        let mut store = Store::open(&self.node.folder.join("store/node.sqlite")).unwrap();
        let realms = self.command(0, "realm", "display", &json!({})).expect(200).json()["rows"].clone();
        (store.objects().unwrap(), store.principals().unwrap(), store.administration_realm().unwrap(), realms)
    }
}

/// A refusal is one by its status, and says what, why and what next.
fn check_refusal(answer: &Whole, asked: &Asked) -> Result<(), TestCaseError> {
    prop_assert!((400..500).contains(&answer.status), "{}: {asked:?}", answer.status);
    prop_assert_eq!(answer.headers.get("content-type").map(String::as_str), Some("application/problem+json"));
    let problem = answer.json();
    for key in ["type", "title", "detail", "next"] {
        prop_assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {problem}: {asked:?}");
    }
    Ok(())
}

#[test]
fn whatever_is_asked_for_is_done_or_refused_and_a_refusal_changes_nothing() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.force("roles", ROLES).expect(0));
    let before = std::cell::RefCell::new(place.state());
    let done = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let checked = runner.run(&asked(known()), |asked| {
        let headers = [("content-type", asked.kind)];
        // Who may do nothing, whatever he writes.
        let answer = place.ask_bytes(BIN, &asked.path, &headers, &asked.body);
        if answer.status != 200 || !asked.path.contains("/services/") {
            check_refusal(&answer, &asked)?;
        }
        prop_assert_eq!(&place.state(), &*before.borrow());
        let answer = place.ask_bytes(0, &asked.path, &headers, &asked.body);
        let after = place.state();
        if answer.status == 200 {
            done.set(done.get() + 1);
            before.replace(after);
        } else {
            check_refusal(&answer, &asked)?;
            prop_assert_eq!(&after, &*before.borrow());
        }
        Ok(())
    });
    checked.unwrap();
    // Some of it makes sense, so more than the first look at a request was tried.
    println!("done {} of {}", done.get(), runner.config().cases);
    assert!(done.get() > 20, "{}", done.get());
    place.command(0, "audit", "verify", &json!({})).expect(200);
}

#[test]
fn what_is_said_twice_is_refused() {
    let Some(place) = Place::start() else { return };
    for body in [
        r#"{"parameters":{"username":"ann","roles":"user","username":"bob"}}"#,
        r#"{"parameters":{"username":"ann"},"parameters":{"username":"bob"}}"#,
        r#"{"parameters":{"username":"ann","user\u006eame":"ann"}}"#,
    ] {
        let told = place.ask(0, "POST", "/v1/admin/commands/user/add", body).expect(422).json();
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("twice") || detail.contains("duplicate"), "{told}");
    }
}

#[test]
fn what_is_refused_is_no_transition_and_one_that_fails_has_its_outcome_on_record() {
    let Some(place) = Place::start() else { return };
    drop(place.load("roles", "1", ROLES).expect(0));
    let refused = place.load("roles", "1", REALM).expect(1).stderr;
    assert!(refused.contains("there is a version `1` of `roles` already") && refused.contains("next: "), "{refused}");
    let known = changes(&place);
    assert_eq!(
        known.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>(),
        [
            "load intent",
            "roles: none to inactive",
            "load done",
            "load intent",
            "load failed, there is a version `1` of `roles` already",
        ]
    );
    // A store that does not take it: what was to be is on record, and that it was not.
    let store = rusqlite::Connection::open(place.node.folder.join("store/node.sqlite")).unwrap();
    store.busy_timeout(PATIENCE).unwrap();
    for act in ["INSERT", "UPDATE", "DELETE"] {
        let text =
            format!("CREATE TRIGGER no_{act} BEFORE {act} ON configuration BEGIN SELECT RAISE(ABORT, 'no'); END");
        store.execute_batch(&text).unwrap();
    }
    let state = place.state();
    drop(place.load("more", "1", ROLES).expect(1));
    for command in ["activate", "remove"] {
        drop(place.admin(&[command, "configuration", "--type=security", "--name=roles"]).expect(1));
    }
    assert_eq!(place.state(), state);
    let all = changes(&place);
    let transitions = ["more: none to inactive", "roles: inactive to active", "roles: inactive to none"];
    let expected = ["load", "activate", "remove"].into_iter().zip(transitions);
    assert_eq!(all.len(), known.len() + 9, "{all:?}");
    for (of_one, (command, transition)) in all[known.len()..].chunks(3).zip(expected) {
        let [(id, intent), (of_transition, what), (of_outcome, outcome)] = of_one else { panic!("{all:?}") };
        assert_eq!((intent, what.as_str()), (&format!("{command} intent"), transition));
        assert!(outcome.starts_with(&format!("{command} failed, ")), "{all:?}");
        assert_eq!((id, id), (of_transition, of_outcome), "all of it is of one command");
    }
}

#[test]
fn what_is_shown_of_security_says_whether_a_host_can_stand_for_a_password() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    for (version, says) in ["false", "true"].into_iter().enumerate() {
        let settings = format!("SecuritySettings = {{ legacyHostTrust = {says} }}");
        drop(place.load("settings", &version.to_string(), &settings).expect(0));
        let words = ["activate", "configuration", "--type=security", "--name=settings"];
        drop(place.admin(&words).expect(0));
        let all = place.rows(&["display", "security"]);
        assert_eq!(all, [json!({ "Legacy Host Trust": says, "Administration Realm": "any" })]);
        assert_eq!(place.rows(&["display", "security", "--type=realms"])[0]["Legacy Host Trust"], says);
        for kind in ["", "--type=hosts", "--type=accesscontrol", "--type=realms"] {
            let words = ["display", "security", kind];
            let words = &words[..2 + usize::from(!kind.is_empty())];
            let (text, note) = (place.admin(words).expect(0), format!("note: legacyHostTrust = {says}: "));
            assert!(text.stderr.contains(&note), "{kind}: {}", text.stderr);
            let cell = format!("[A.X] Legacy Host Trust = {says}\n");
            assert_eq!(
                text.stdout.contains(&cell),
                !["--type=hosts", "--type=accesscontrol"].contains(&kind),
                "{kind}"
            );
            let json = place.admin(&[&["--format=json"], words].concat()).expect(0).stdout;
            let json: Value = serde_json::from_str(&json).unwrap();
            assert!(json[0]["notes"][0].as_str().unwrap().starts_with(&note["note: ".len()..]), "{kind}: {json}");
        }
    }
}

/// What the trail says of changes of the configuration: of which command, and what.
fn changes(place: &Place) -> Vec<(String, String)> {
    let trail = std::fs::read_to_string(place.node.folder.join("store/audit/audit.jsonl")).unwrap();
    let of_line = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        match (text("record").as_str(), text("target").as_str(), text("command").as_str()) {
            ("transition", ..) => {
                Some((text("command"), format!("{}: {} to {}", text("name"), text("from"), text("to"))))
            }
            ("command", "configuration", command @ ("load" | "activate" | "remove")) => {
                let reason = Some(text("reason")).filter(|reason| !reason.is_empty());
                let reason = reason.map_or_else(String::new, |reason| format!(", {reason}"));
                Some((text("id"), format!("{command} {}{reason}", text("phase"))))
            }
            _ => None,
        }
    };
    trail.lines().filter_map(of_line).collect()
}
