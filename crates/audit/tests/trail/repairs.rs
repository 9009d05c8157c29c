//! What is left by processes that end in the middle, disks that are full, and files of before.

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::Value;
use stockade_audit::{Attached, Keeping, Place, Trail, Wrong, verify};

use crate::scene::{Scene, note};

fn repaired(scene: &Scene) -> Vec<Value> {
    let records = stockade_audit::Records::of(scene.trail.place().clone()).unwrap();
    records.map(|entry| entry.unwrap().value()).filter(|record| record["record"] == "repaired").collect()
}

fn add(scene: &Scene, bytes: &[u8]) {
    OpenOptions::new().append(true).open(scene.path("audit.jsonl")).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_torn_line_is_taken_off_and_that_is_on_record() {
    let scene = Scene::with(3);
    add(&scene, b"{\"seq\":6,\"prev\":\"00");
    assert_eq!(scene.wrong(), (6, None, Wrong::Torn));
    scene.note(4);
    let report = scene.sound();
    assert_eq!((scene.notes(), report.repaired.len()), (vec![1, 2, 3, 4], 1));
    let repaired = repaired(&scene);
    assert_eq!((&repaired[0]["cut"]["bytes"], &repaired[0]["head"]), (&19.into(), &"known".into()));
    scene.note(5);
    assert_eq!(scene.sound().repaired.len(), 1, "it is said once");
}

#[test]
fn a_whole_record_whose_writer_was_ended_before_the_head_stays() {
    let scene = Scene::with(3);
    let (log, head) = (scene.log(), std::fs::read(scene.path("audit.head")).unwrap());
    scene.note(4);
    std::fs::write(scene.path("audit.head"), &head).unwrap();
    assert_eq!(scene.sound().seq, 6);
    scene.note(5);
    assert_eq!((scene.notes(), scene.sound().repaired.len()), (vec![1, 2, 3, 4, 5], 0));
    // At every byte of it.
    let all = scene.log();
    for length in log.len()..all.len() {
        scene.put(&all[..length]);
        std::fs::write(scene.path("audit.head"), &head).unwrap();
        scene.note(9);
        let notes = scene.notes();
        assert!(matches!(notes.as_slice(), [1, 2, 3, 9] | [1, 2, 3, 4, 9]), "{length}: {notes:?}");
        assert_eq!(scene.verify().bad, None, "{length}");
    }
}

#[test]
fn records_that_are_gone_stay_missed_after_others_came() {
    let scene = Scene::with(6);
    let lines = scene.lines();
    scene.put_lines(&lines[..5]);
    assert_eq!(scene.wrong().2, Wrong::Truncated { to: 8 });
    let link = scene.note(7);
    assert_eq!(scene.wrong(), (6, Some(9), Wrong::Missing { from: 6, to: 8 }));
    assert_eq!((link.seq, &repaired(&scene)[0]["lost"]["to"]), (10, &8.into()));
    // Somebody looked into it.
    let mut expected = scene.expected();
    expected.accepted.insert(9);
    let report = verify(scene.trail.place(), &expected).unwrap();
    assert_eq!((report.bad, report.repaired), (None, vec![9]));
}

#[test]
fn a_log_that_was_taken_away_is_missed_too() {
    let scene = Scene::with(3);
    std::fs::remove_file(scene.path("audit.jsonl")).unwrap();
    scene.note(4);
    assert_eq!(scene.wrong(), (1, Some(6), Wrong::Missing { from: 1, to: 5 }));
}

#[test]
fn a_trail_that_was_emptied_as_a_whole_begins_anew_and_says_so() {
    let scene = Scene::with(8);
    assert!(!scene.sound().key_was_there);
    for name in ["audit.jsonl", "audit.head"] {
        std::fs::remove_file(scene.path(name)).unwrap();
    }
    scene.note(9);
    let report = scene.sound();
    assert!(report.key_was_there && scene.lines()[0].contains("\"key_was_there\":true"), "{report:?}");
    assert!(serde_json::to_value(&report).unwrap()["key_was_there"].as_bool().unwrap());
    // One with a key of its own has nothing to say.
    std::fs::remove_file(scene.path("audit.jsonl")).unwrap();
    std::fs::remove_file(scene.path("audit.head")).unwrap();
    std::fs::remove_file(scene.path("audit.key")).unwrap();
    scene.note(10);
    assert!(!scene.sound().key_was_there && !scene.log().contains("key_was_there"));
}

#[test]
fn a_clock_that_was_ahead_once_does_not_put_checkpoints_off() {
    let scene = Scene::with(1);
    let (before, path) = (scene.sound().checkpoints, scene.path("audit.head"));
    let mut head: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let ahead = head["checkpoint"]["time_ms"].as_u64().unwrap() + 3_600_000;
    head["checkpoint"]["time_ms"] = ahead.into();
    std::fs::write(&path, format!("{:<511}\n", head.to_string())).unwrap();
    scene.note(2);
    assert_eq!(scene.sound().checkpoints, before + 1);
    scene.note(3);
    assert_eq!(scene.sound().checkpoints, before + 1, "it is by the clock of now");
}

#[test]
fn a_head_that_is_gone_is_made_again_and_that_is_on_record() {
    for head in [None, Some("rubbish")] {
        let scene = Scene::with(3);
        std::fs::remove_file(scene.path("audit.head")).unwrap();
        if let Some(text) = head {
            std::fs::write(scene.path("audit.head"), text).unwrap();
        }
        assert_eq!(scene.wrong().2, Wrong::NoHead);
        scene.note(4);
        assert_eq!((scene.notes().len(), scene.sound().repaired.len()), (4, 1));
        assert_eq!(repaired(&scene)[0]["head"], "missing");
    }
}

#[test]
fn a_file_of_before_the_chain_is_set_aside_and_vouched_for() {
    const PLAIN: &str = "{\"record\":\"intent\",\"time_ms\":1}\n{\"record\":\"outcome\",\"time_ms\":2}\n";
    let scene = Scene::new();
    scene.put(PLAIN);
    scene.note(1);
    scene.sound();
    let begun: Value = serde_json::from_str(&scene.lines()[0]).unwrap();
    assert_eq!(begun["before"]["bytes"], PLAIN.len());
    let before = scene.path("audit.before.jsonl");
    assert_eq!(std::fs::read_to_string(&before).unwrap(), PLAIN);
    std::fs::write(&before, PLAIN.replace('2', "3")).unwrap();
    assert_eq!(scene.wrong(), (1, Some(1), Wrong::Before));
    std::fs::remove_file(&before).unwrap();
    assert_eq!(scene.wrong(), (1, Some(1), Wrong::Before));
}

#[test]
fn a_file_that_is_no_chain_any_more_is_not_appended_to() {
    let scene = Scene::with(3);
    scene.put("something\nelse\n");
    let refused = scene.trail.append(&note(4), Keeping::Written).unwrap_err();
    assert!(refused.next().contains("verify"), "{refused}");
    assert_eq!(scene.log(), "something\nelse\n");
}

#[test]
fn nothing_is_left_of_a_record_that_does_not_fit_the_disk() {
    // A descriptor whose every write fails, as that of a full disk.
    let scene = Scene::with(1);
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let head = OpenOptions::new().read(true).write(true).open(scene.path("audit.head")).unwrap();
    let before = std::fs::read(scene.path("audit.head")).unwrap();
    assert!(Attached::new(full, head).append(&note(2)).is_err());
    assert_eq!(std::fs::read(scene.path("audit.head")).unwrap(), before);
}

#[test]
fn who_may_only_append_goes_on_where_the_head_says() {
    let scene = Scene::with(2);
    let (log, head) = scene.trail.open_for_another().unwrap();
    let attached = Attached::new(log, head);
    attached.append(&note(3)).unwrap();
    scene.note(4);
    attached.append(&note(5)).unwrap();
    assert_eq!((scene.notes(), scene.sound().repaired.len()), (vec![1, 2, 3, 4, 5], 0));
    // What it cannot repair it leaves, until somebody who can has come.
    add(&scene, b"{torn");
    assert!(attached.append(&note(6)).is_err());
    scene.note(6);
    attached.append(&note(7)).unwrap();
    assert_eq!(scene.notes(), [1, 2, 3, 4, 5, 6, 7]);
    scene.sound();
}

#[test]
fn a_trail_that_is_made_ready_has_begun() {
    let scene = Scene::new();
    let (log, head) = Trail::new(Place::new(scene.path("state"))).open_for_another().unwrap();
    Attached::new(log, head).append(&note(1)).unwrap();
    let trail = Trail::new(Place::new(scene.path("state")));
    trail.append(&note(2), Keeping::OnDisk).unwrap();
    let key = stockade_audit::PublicKey::beside(trail.place()).unwrap();
    assert_eq!(verify(trail.place(), &stockade_audit::Expected::key(key)).unwrap().bad, None);
}
