//! Configuration on trial: whoever forces a change proves in time that somebody can still administer the node.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stockade_store::Store;

use crate::security::{DAEMON, Place, REALM, ROLES, admin};
use crate::support::until;

/// Nobody may administer the node.
const LOCK_OUT: &str =
    r#"RoleToPrivilegeMappings = { roles = { administrator = { deny = [ { privilege = "AdminRunCommand" } ] } } }"#;
const FORCE: [&str; 6] =
    ["activate", "configuration", "--type=security", "--name=lock-out", "--force", "--confirm-within=10s"];

/// Somebody who is not root and has everything, but for what is denied.
fn chief(deny: &str) -> String {
    let all = ["AdminRunCommand", "Run", "Session", "EnvironmentBuild", "EnvironmentUse", "DataSourceRead"];
    let more = ["ScriptTrust", "Egress", "AuditRead", "MetricsRead"];
    let all: Vec<_> = all.iter().chain(&more).map(|one| format!("{{ privilege = \"{one}\" }}")).collect();
    format!(
        "RoleToPrivilegeMappings = {{ roles = {{ chief = {{ privileges = [ {} ], deny = [ {deny} ] }} }} }}",
        all.join(", ")
    )
}

const CHIEFS: &str = r#"LocalAuthenticationRealm = { name = "people", initialPrincipals = [ { userName = "daemon", roles = [ "chief" ] } ] }"#;

fn active(place: &Place) -> Vec<String> {
    let rows = place.rows(&["display", "configuration"]);
    let active = rows.iter().filter(|row| row["State"] == "Active");
    active.map(|row| format!("{} {}", row["Name"].as_str().unwrap(), row["Version"].as_str().unwrap())).collect()
}

/// What the store of a node that is not there has in force, and whether something is on trial.
fn kept(folder: &Path) -> (Vec<String>, bool) {
    let mut store = Store::open(&folder.join("store/node.sqlite")).unwrap();
    let active = store.objects().unwrap().into_iter().filter(|one| one.active).map(|one| one.id.name).collect();
    (active, store.trial().unwrap().is_some())
}

#[test]
fn who_confirms_must_be_able_to_administer_the_node_by_what_is_on_trial() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", CHIEFS).expect(0));
    drop(place.force("roles", &chief("")).expect(0));
    let tame = chief(r#"{ privilege = "AdminRunCommand", resource = "configuration.deactivate" }"#);
    drop(place.load("roles", "2", &tame).expect(0));
    let change = |more: Value| {
        let mut parameters = json!({"type": "security", "name": "roles", "version": "2"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.command(DAEMON, "configuration", "activate", &parameters)
    };
    let refused = change(json!({})).expect(409).json();
    assert!(refused["next"].as_str().unwrap().contains("--confirm-within"), "{refused}");
    for half in [
        json!({"force": "true"}),
        json!({"confirm-within": "120s"}),
        json!({"force": "true", "confirm-within": "9s"}),
        json!({"force": "true", "confirm-within": "2h"}),
    ] {
        change(half).expect(422);
    }
    assert_eq!(active(&place), ["people 1", "roles 1"]);
    let answer = change(json!({"force": "true", "confirm-within": "1h"})).expect(200).json();
    let mut notes = answer["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap());
    assert!(notes.any(|note| note.contains("on trial")), "{answer}");
    assert_eq!(active(&place), ["people 1", "roles 2"]);
    // He may say the word, and cannot do what it stands for.
    let refused = place.command(DAEMON, "configuration", "confirm", &json!({})).expect(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("configuration.deactivate"), "{refused}");
    // Nothing else is changed meanwhile, nor taken away that may be given back; what gives nobody anything goes on.
    for words in [
        &["activate", "configuration", "--type=security", "--name=roles", "--version=1"][..],
        &["deactivate", "configuration", "--type=security", "--name=people"],
        &["remove", "configuration", "--type=security", "--name=roles", "--version=1"],
        &["add", "user", "--username=new"],
        &["update", "user", "--username=daemon", "--roles=user"],
        &["remove", "user", "--username=daemon"],
    ] {
        let refused = place.admin(words).expect(1);
        assert!(refused.stderr.contains("admin confirm configuration"), "{words:?}: {}", refused.stderr);
    }
    drop(place.admin(&["lock", "user", "--username=daemon"]).expect(0));
    // Also after another start.
    let place = place.again();
    drop(place.admin(&["confirm", "configuration"]).expect(0));
    assert_eq!(active(&place), ["people 1", "roles 2"]);
    let refused = place.admin(&["confirm", "configuration"]).expect(1);
    assert!(refused.stderr.contains("nothing to confirm"), "{}", refused.stderr);
    drop(place.admin(&["deactivate", "configuration", "--type=security", "--name=roles"]).expect(0));
}

#[test]
fn what_nobody_confirms_is_given_back_by_itself_and_on_record() {
    let Some(place) = Place::start() else { return };
    drop(place.load("lock-out", "1", LOCK_OUT).expect(0));
    drop(place.admin(&FORCE).expect(0));
    for words in [&["display", "node"][..], &["confirm", "configuration"]] {
        drop(place.admin(words).expect(4));
    }
    until("it is given back", || place.admin(&["display", "node"]).status == 0);
    assert_eq!(active(&place), [""; 0]);
    let past = place.rows(&["history", "configuration", "--most=1"]);
    assert_eq!((past[0]["Principal"].as_str(), past[0]["Transition"].as_str()), (Some("the node"), Some("deactivate")));
    let records = place.rows(&["display", "audit"]);
    let said: Vec<_> = records
        .iter()
        .filter(|row| row["Principal"] == "the node")
        .map(|row| row["What"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("give-back intent") && said[0].contains("uid-0@local"), "{said:?}");
    assert!(said[1].contains("lock-out 1 inactive") && said[2].contains("give-back done"), "{said:?}");
    drop(place.admin(&["verify", "audit"]).expect(0));
}

#[test]
fn a_node_that_is_killed_in_a_trial_gives_back_the_former_one_or_is_still_on_trial() {
    let Some(mut place) = Place::start() else { return };
    drop(place.force("people", CHIEFS).expect(0));
    drop(place.load("lock-out", "1", LOCK_OUT).expect(0));
    let mut on_trial = false;
    // In small steps, then in large ones: a machine that has much to do is slower.
    for delay_ms in (0..12).map(|round| 7 * round).chain((1..20).map(|round| 200 * round)) {
        let socket = place.node.socket();
        let changing = std::thread::spawn(move || admin(&socket, &FORCE));
        std::thread::sleep(Duration::from_millis(delay_ms));
        place.node.kill();
        let said = changing.join().unwrap();
        // Both or neither: it is never in force without an end.
        let (active, trial) = kept(&place.node.folder);
        assert_eq!(active.contains(&"lock-out".to_owned()), trial, "{active:?}");
        assert!(trial || said.status != 0, "what was answered for is in force");
        on_trial = trial;
        if trial {
            break;
        }
        place = place.again();
    }
    assert!(on_trial, "one of them was quick enough");
    // Its time goes on without a node; then each start is a chance to be killed while it is given back.
    std::thread::sleep(Duration::from_secs(10));
    let flags = [&crate::support::AS_SERVICE[..], &["--service-name", "A.X", "--warm", "0"]].concat();
    for round in 0_u64..40 {
        let (mut process, _state) = crate::support::starting(&place.node.folder, &flags).start();
        std::thread::sleep(Duration::from_millis(25 * round));
        process.kill().unwrap();
        process.wait().unwrap();
        until("nothing of the node is alive", || crate::support::alive(&place.node.folder).is_empty());
        let (active, trial) = kept(&place.node.folder);
        assert_eq!(active.contains(&"lock-out".to_owned()), trial, "{active:?}");
        assert!(active.contains(&"people".to_owned()), "what was in force before is");
        if !trial {
            break;
        }
    }
    let place = place.again();
    // Before anybody is served.
    assert_eq!(active(&place), ["people 1"]);
    drop(place.admin(&["verify", "audit"]).expect(0));
}

#[test]
fn who_hangs_up_in_a_change_leaves_no_half_of_it() {
    let Some(place) = Place::start() else { return };
    drop(place.force("people", REALM).expect(0));
    drop(place.load("roles", "1", ROLES).expect(0));
    let other = r#"RoleToPrivilegeMappings = { privileges = { analyst = [ { privilege = "Session" } ] } }"#;
    drop(place.load("roles", "2", other).expect(0));
    for round in 0_u64..40 {
        let body = json!({"parameters": {"type": "security", "name": "roles", "version": (1 + round % 2).to_string()}});
        let (body, path) = (body.to_string(), "/v1/admin/commands/configuration/activate");
        let mut stream = place.node.connect();
        let head = format!("POST {path} HTTP/1.1\r\nhost: node\r\ncontent-type: application/json");
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        std::thread::sleep(Duration::from_micros(500 * round));
        drop(stream);
    }
    // What is kept and what counts for requests become the same, and stay so.
    let agree = || {
        let kept = active(&place).contains(&"roles 2".to_owned());
        let session = place.rows(&["explain", "authorization", "--user=games", "--privilege=Session"]);
        kept == (session[0]["Decision"] == "permitted")
    };
    until("they are the same", agree);
    for round in 0_u64..20 {
        let version = format!("--version={}", 1 + round % 2);
        let mut child = std::process::Command::new(crate::support::command())
            .args(["admin", &format!("--socket={}", place.node.socket().display())])
            .args(["activate", "configuration", "--type=security", "--name=roles", &version])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(2 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        until("they are the same", agree);
    }
}

#[test]
fn what_cannot_be_put_on_record_is_not_given_back_until_it_can() {
    let Some(place) = Place::start() else { return };
    drop(place.load("lock-out", "1", LOCK_OUT).expect(0));
    drop(place.admin(&FORCE).expect(0));
    let (trail, aside) = (place.node.folder.join("store/audit"), place.node.folder.join("store/aside"));
    std::fs::rename(&trail, &aside).unwrap();
    std::thread::sleep(Duration::from_secs(12));
    assert!(kept(&place.node.folder).1, "it is still on trial");
    std::fs::rename(&aside, &trail).unwrap();
    until("it is given back", || place.admin(&["display", "node"]).status == 0);
    drop(place.admin(&["verify", "audit"]).expect(0));
}
