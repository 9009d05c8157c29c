//! What the node does, shown to who looks after it and to nobody else; and how it is told to end.

use serde_json::json;

use crate::security::{BIN, DAEMON, Place, REALM, ROLES};
use crate::support::until;

#[test]
fn runs_and_sessions_of_everybody_are_shown_to_who_looks_after_the_node_without_what_they_compute() {
    let Some(place) = Place::start() else { return };
    let code = r#"{"code":"print('hunter' + '2')"}"#;
    for user in [0, DAEMON] {
        place.ask(user, "POST", "/v1/runs", code).expect(200);
    }
    let session = place.ask(DAEMON, "POST", "/v1/sessions", "{}").expect(201).json()["id"].as_str().unwrap().to_owned();
    let whose = |rows: &[serde_json::Value]| rows.iter().map(|row| row["Principal"].clone()).collect::<Vec<_>>();
    let runs = place.rows(&["display", "run"]);
    assert_eq!(whose(&runs), ["uid-1@local", "uid-0@local"]);
    assert!(runs.iter().all(|row| row["State"] == "ended" && row["Cause"] == "exited"), "{runs:?}");
    assert!(!json!(runs).to_string().contains("hunter"));
    assert_eq!(whose(&place.rows(&["display", "run", "--principal=uid-0@local"])), ["uid-0@local"]);
    let id = format!("--run={}", runs[1]["Run"].as_str().unwrap());
    assert_eq!(whose(&place.rows(&["display", "run", &id])), ["uid-0@local"]);
    assert_eq!(place.rows(&["display", "run", "--most=1"]).len(), 1);
    let sessions = place.rows(&["display", "session"]);
    assert_eq!(
        (whose(&sessions), sessions[0]["Session"].as_str()),
        (vec![json!("uid-1@local")], Some(session.as_str()))
    );
    let engines = place.rows(&["display", "engine"]);
    assert_eq!((engines.len(), engines[0]["Name"].as_str()), (1, Some(session.as_str())));
    assert!(place.rows(&["display", "policy"]).iter().any(|row| row["Topic"] == "policy"));
    assert_eq!(place.rows(&["display", "environment"]), [json!(null); 0]);
    let cluster = place.rows(&["display", "cluster"]);
    assert_eq!((cluster[0]["Cluster"].as_str(), cluster[0]["Service Name"].as_str()), (Some("X"), Some("A.X")));
    // Nobody else, by no command.
    for target in ["run", "session", "engine", "environment", "policy", "cluster"] {
        place.command(DAEMON, target, "display", &json!({})).expect(403);
    }
}

#[test]
fn what_somebody_runs_is_ended_by_who_looks_after_the_node_and_by_nobody_else() {
    let Some(place) = Place::start() else { return };
    let long = r#"{"code":"import time; time.sleep(600)"}"#;
    let begin = |user: u32| {
        let headers = [("content-type", "application/json"), ("prefer", "respond-async")];
        let begun = place.ask_bytes(user, "/v1/runs", &headers, long.as_bytes()).expect(202).json();
        begun["id"].as_str().unwrap().to_owned()
    };
    // More than are under way at once: some wait.
    let of_daemon: Vec<String> = (0..4).map(|_| begin(DAEMON)).collect();
    let of_bin = begin(BIN);
    let session = place.ask(DAEMON, "POST", "/v1/sessions", "{}").expect(201).json()["id"].as_str().unwrap().to_owned();
    place.command(BIN, "run", "cancel", &json!({ "run": of_daemon[0] })).expect(403);
    place.command(0, "run", "cancel", &json!({})).expect(422);
    let only = format!("--run={}", of_daemon[1]);
    let ended = place.rows(&["cancel", "run", &only]);
    assert_eq!(
        (ended.len(), ended[0]["Run"].as_str(), ended[0]["State"].as_str()),
        (1, Some(of_daemon[1].as_str()), Some("ended"))
    );
    assert_eq!(place.rows(&["cancel", "run", "--principal=uid-1@local"]).len(), 3);
    assert_eq!(place.rows(&["cancel", "session", "--principal=uid-1@local"])[0]["Session"], session.as_str());
    assert_eq!(place.rows(&["cancel", "run", "--principal=uid-1@local"]), [json!(null); 0]);
    let state = |user: u32, id: &str| place.ask(user, "GET", &format!("/v1/runs/{id}"), "").expect(200).json();
    for id in &of_daemon {
        assert_eq!(state(DAEMON, id)["outcome"]["cancelled"], true, "{id}");
    }
    assert!(state(BIN, &of_bin)["outcome"].is_null(), "another's is not touched");
    drop(place.admin(&["cancel", "run", "--principal=uid-2@local"]).expect(0));
    let trail = place.rows(&["display", "audit", "--most=200"]);
    assert_eq!(trail.iter().filter(|row| row["What"] == "run cancel done").count(), 4, "{trail:?}");
}

#[test]
fn whoever_reaches_the_node_learns_what_it_is_found_by_and_nothing_more() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    for name in ["browse", "display"] {
        let said = place.command(BIN, "services", name, &json!({"anything": "is not looked at"})).expect(200).json();
        assert_eq!(said["columns"], json!(["Service Name", "Service Type", "Address", "State"]));
        assert_eq!(said["rows"], json!([["A.X", "node", "local", "running"]]));
    }
    place.command(BIN, "node", "display", &json!({})).expect(403);
    place.command(BIN, "services", "remove", &json!({})).expect(404);
}

#[test]
fn the_trail_is_given_to_programs_of_others() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    let file = place.files.path().join("trail.jsonl");
    let into = format!("--file={}", file.display());
    assert_eq!(place.admin(&["export", "audit", "--most=3", &into]).expect(0).stdout, "");
    let text = std::fs::read_to_string(&file).unwrap();
    let kept = std::fs::read_to_string(place.node.folder.join("store/audit/audit.jsonl")).unwrap();
    assert!(text.lines().count() == 3 && text.lines().all(|line| kept.lines().any(|one| one == line)), "{text}");
    let rows = place.rows(&["export", "audit", "--form=ocsf", "--most=2"]);
    let event: serde_json::Value = serde_json::from_str(rows[1]["Record"].as_str().unwrap()).unwrap();
    assert!(rows.len() == 2 && event["class_uid"].is_u64(), "{event}");
    place.command(DAEMON, "audit", "export", &json!({})).expect(403);
}

#[test]
fn a_node_is_told_to_take_no_more_and_to_end() {
    let Some(mut place) = Place::start() else { return };
    drop(place.force("roles", ROLES).expect(0));
    place.command(DAEMON, "node", "stop", &json!({})).expect(403);
    place.command(DAEMON, "node", "drain", &json!({})).expect(403);
    assert_eq!(place.admin(&["--columns=state", "drain", "node"]).expect(0).stdout, "[A.X] State = draining\n");
    until("no run is taken", || place.runs(0) == 503);
    assert_eq!(place.rows(&["display", "node"])[0]["State"], "draining");
    assert_eq!(place.admin(&["--columns=state", "stop", "node"]).expect(0).stdout, "[A.X] State = stopping\n");
    let mut status = None;
    until("the node ends", || {
        status = place.node.process.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}
