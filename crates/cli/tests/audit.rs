//! The audit trail as people look at it: whole after runs, and not after somebody was at it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use serde_json::Value;
use stockade_testkit::{Call, Folder, Ran, User, call, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// A state folder, and what is called with it.
struct Scene {
    folder: Folder,
    user: User,
}

impl Scene {
    fn new(user: User) -> Self {
        Self { folder: Folder::new(), user }
    }

    fn call(&self, words: &[&str]) -> Ran {
        call(STOCKADE, self.user).env("STOCKADE_STATE_DIR", self.folder.path().join("state")).args(words).run()
    }

    fn run(&self) {
        assert_eq!(self.call(&["run", "--quiet", "--", "true"]).status, 0);
    }
}

#[test]
fn a_trail_of_runs_is_whole_and_one_that_was_changed_is_not() {
    for user in users() {
        let scene = Scene::new(user);
        scene.run();
        scene.run();
        let whole = scene.call(&["audit", "verify", "--json"]).expect(0);
        let report: Value = serde_json::from_str(&whole.stdout).unwrap();
        assert!(report["bad"].is_null() && report["records"].as_u64() >= Some(6), "{report}");
        let (seq, hash) = (report["seq"].as_u64().unwrap(), report["hash"].as_str().unwrap().to_owned());
        let key = scene.folder.read("state/audit.pub").trim().to_owned();
        let said = scene.call(&["audit", "verify", "--expect", &format!("{seq}:{hash}"), "--key", &key]).expect(0);
        assert!(said.stdout.starts_with("whole: ") && said.stdout.contains(&key), "{}", said.stdout);
        let expected = format!("{seq}:{}", "0".repeat(64));
        let other = scene.call(&["audit", "verify", "--expect", &expected]).expect(1);
        assert!(other.stdout.contains("known to be there"), "{}", other.stdout);
        let other = scene.call(&["audit", "verify", "--key", &"1".repeat(64)]);
        assert!(other.status == 1 || other.status == 125, "no key of this trail: {other:?}");

        let shown = scene.call(&["audit", "display", "--last", "1"]).expect(0);
        assert!(shown.stdout.contains(" outcome ") && shown.stdout.contains("cause=exited"), "{}", shown.stdout);
        assert_eq!(shown.stdout.lines().count(), 1);
        let run = Call::trail(&scene.folder)[0]["run"].as_str().unwrap().to_owned();
        let shown = scene.call(&["audit", "display", "--run", &run, "--json"]).expect(0);
        assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);

        let exported = scene.call(&["audit", "export"]).expect(0);
        assert_eq!(exported.stdout, scene.folder.read("state/audit.jsonl"));
        let events = scene.call(&["audit", "export", "--format=ocsf"]).expect(0);
        let events: Vec<Value> = events.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(events.iter().filter(|event| event["class_uid"] == 1007).count(), 4);

        let log = scene.folder.read("state/audit.jsonl");
        std::fs::write(scene.folder.path().join("state/audit.jsonl"), log.replacen("true", "tree", 1)).unwrap();
        let wrong = scene.call(&["audit", "verify"]).expect(1);
        assert!(wrong.stdout.starts_with("wrong: audit.jsonl, line 2, record 2: it was changed"), "{}", wrong.stdout);
        for words in [&["audit", "display"][..], &["audit", "export"]] {
            let wrong = scene.call(words).expect(1);
            assert!(wrong.stderr.contains("line 2 of `audit.jsonl` is no record"), "{}", wrong.stderr);
        }
    }
}

#[test]
fn what_is_no_trail_is_refused_with_what_to_do_next() {
    let scene = Scene::new(User::Caller);
    for words in [&["audit", "verify"][..], &["audit", "display"], &["audit", "export"]] {
        let refused = scene.call(words).expect(125);
        assert!(refused.stderr.starts_with("error: ") && refused.stderr.contains("\n  next: "), "{}", refused.stderr);
    }
    scene.run();
    for words in [&["--key", "x"], &["--expect", "1:2"], &["--accept", "one"]] {
        let refused = scene.call(&[&["audit", "verify"][..], words].concat()).expect(125);
        assert!(refused.stderr.contains("\n  next: "), "{}", refused.stderr);
    }
}

#[test]
fn a_trail_of_a_former_version_is_kept_and_does_not_stop_a_run() {
    const PLAIN: &str = "{\"record\":\"intent\",\"time_ms\":1,\"run\":\"r1\"}\n";
    for user in users() {
        let scene = Scene::new(user);
        let state = scene.folder.path().join("state");
        scene.run();
        for file in std::fs::read_dir(&state).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        // Made by the user who owns it, so that he may go on with it.
        let made =
            call("sh", user).args(["-c", &format!("printf '%s' '{PLAIN}' > {}/audit.jsonl", state.display())]).run();
        assert_eq!(made.status, 0, "{made:?}");
        scene.run();
        assert_eq!(scene.folder.read("state/audit.before.jsonl"), PLAIN);
        drop(scene.call(&["audit", "verify"]).expect(0));
        std::fs::write(state.join("audit.before.jsonl"), PLAIN.replace("r1", "r2")).unwrap();
        let wrong = scene.call(&["audit", "verify"]).expect(1);
        assert!(wrong.stdout.contains("the file of before the chain"), "{}", wrong.stdout);
    }
}

#[test]
fn a_record_that_was_begun_and_not_finished_stops_no_run() {
    let scene = Scene::new(User::Caller);
    scene.run();
    let log = scene.folder.path().join("state/audit.jsonl");
    let mut torn = std::fs::OpenOptions::new().append(true).open(log).unwrap();
    std::io::Write::write_all(&mut torn, b"{\"seq\":5,\"prev\":\"ab").unwrap();
    drop(scene.call(&["audit", "verify"]).expect(1));
    scene.run();
    let said = scene.call(&["audit", "verify"]).expect(0);
    assert!(said.stdout.contains("says that something was repaired"), "{}", said.stdout);
}

#[test]
fn a_trail_that_was_emptied_as_a_whole_is_told_of() {
    let scene = Scene::new(User::Caller);
    scene.run();
    for name in ["audit.jsonl", "audit.head"] {
        std::fs::remove_file(scene.folder.path().join("state").join(name)).unwrap();
    }
    scene.run();
    let said = scene.call(&["audit", "verify"]).expect(0);
    assert!(said.stdout.contains("the key was there before it"), "{}", said.stdout);
}
