//! A chain over many files.

use std::process::Command;

use stockade_audit::{Attached, Keeping, Place, Trail, Wrong, verify};

use crate::scene::{Scene, note};

fn scene() -> Scene {
    let scene = Scene::rotating_at(4096);
    (1..=100).for_each(|number| _ = scene.note(number));
    scene
}

#[test]
fn a_chain_goes_on_in_the_next_file() {
    let scene = scene();
    let report = scene.sound();
    assert!(report.files > 5, "{report:?}");
    assert_eq!(scene.notes(), (1..=100).collect::<Vec<_>>());
    let first = std::fs::read_to_string(scene.path("audit.000002.jsonl")).unwrap();
    assert!(first.contains("\"record\":\"continued\"") && first.contains("audit.000001.jsonl"), "{first}");
    let former = std::fs::read_to_string(scene.path("audit.000001.jsonl")).unwrap();
    assert!(former.lines().last().unwrap().contains("\"record\":\"checkpoint\""));
}

#[test]
fn a_file_that_is_gone_or_in_another_place_is_found() {
    let scene = scene();
    let [one, two, three] = [1, 2, 3].map(|number| scene.path(&format!("audit.00000{number}.jsonl")));
    let aside = scene.path("aside");
    std::fs::rename(&two, &aside).unwrap();
    let bad = scene.verify().bad.unwrap();
    assert!(bad.file == "audit.000003.jsonl" && bad.line == 1, "{bad:?}");
    assert!(matches!(bad.wrong, Wrong::Missing { .. }), "{bad:?}");
    std::fs::rename(&three, &two).unwrap();
    std::fs::rename(&aside, &three).unwrap();
    assert_eq!(scene.verify().bad.unwrap().file, "audit.000002.jsonl");
    std::fs::remove_file(&one).unwrap();
    assert!(scene.verify().bad.is_some());
}

#[test]
fn who_has_the_log_open_goes_on_in_the_next_file() {
    let scene = Scene::rotating_at(4096);
    let (log, head) = scene.trail.open_for_another().unwrap();
    let attached = Attached::new(log, head);
    for number in (1..=100).step_by(2) {
        scene.note(number);
        attached.append(&note(number + 1)).unwrap();
    }
    assert_eq!(scene.notes(), (1..=100).collect::<Vec<_>>());
    assert!(scene.sound().files > 5);
}

#[test]
fn somebody_ended_between_keeping_a_file_and_emptying_it_loses_nothing() {
    let scene = Scene::rotating_at(4096);
    let mut number = 0;
    let before = loop {
        number += 1;
        let log = std::fs::read(scene.path("audit.jsonl")).unwrap_or_default();
        scene.note(number);
        if scene.path("audit.000001.jsonl").exists() {
            break log;
        }
    };
    // As it was then: the kept file is there, with its checkpoint, and the log is still the same.
    let kept = std::fs::read(scene.path("audit.000001.jsonl")).unwrap();
    assert!(kept.starts_with(&before));
    scene.put(&kept);
    let last: serde_json::Value =
        serde_json::from_slice(kept.split(|byte| *byte == b'\n').rev().nth(1).unwrap()).unwrap();
    let head = format!(
        r#"{{"seq":{},"hash":{},"inode":1,"bytes":{},"checkpoint":{{"seq":{},"time_ms":{}}},"cut":null}}"#,
        last["seq"],
        last["hash"],
        kept.len(),
        last["seq"],
        last["time_ms"]
    );
    std::fs::write(scene.path("audit.head"), format!("{head:<511}\n")).unwrap();
    assert_eq!(scene.sound().repaired.len(), 0);
    scene.note(number);
    assert!(!scene.path("audit.000002.jsonl").exists());
    assert_eq!(scene.notes(), (1..=number).collect::<Vec<_>>());
    // Or emptied, and nothing written to it.
    scene.put("");
    std::fs::write(scene.path("audit.head"), format!("{head:<511}\n")).unwrap();
    assert_eq!(scene.sound().seq, last["seq"].as_u64().unwrap());
    scene.note(number);
    assert_eq!(scene.notes(), (1..=number).collect::<Vec<_>>());
    assert_eq!(scene.sound().repaired.len(), 0);
}

/// Unmounted at its end.
struct Small(std::path::PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_file_that_cannot_be_kept_for_want_of_room_goes_on_as_it_is() {
    let scene = Scene::new();
    let folder = scene.path("small");
    std::fs::create_dir(&folder).unwrap();
    // With room for the trail's four files, the folder, and one more.
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m,nr_inodes=6", "small"]).arg(&folder).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let _small = Small(folder.clone());
    let trail = Trail::new(Place::new(&folder).rotating_at(1 << 20));
    let filler = folder.join("filler");
    std::fs::write(&filler, vec![0; 4 << 20]).unwrap();
    let mut number = 0;
    let mut append = |until_bytes: u64| {
        while std::fs::metadata(folder.join("audit.jsonl")).map_or(0, |about| about.len()) < until_bytes {
            number += 1;
            trail.append(&note(number), Keeping::Written).unwrap();
        }
        number
    };
    let most = append(1_300_000);
    let sound = || {
        let report = verify(trail.place(), &scene_key(&trail)).unwrap();
        assert_eq!(report.bad, None);
        report
    };
    let report = sound();
    assert_eq!(report.files, 1);
    // As many checkpoints as there are without: nothing was tried in vain.
    assert!(report.checkpoints <= most / 256 + 2, "{report:?}");
    // What seems to have room, and has none for another file, is no reason to stop either.
    std::fs::write(&filler, "").unwrap();
    trail.append(&note(most + 1), Keeping::Written).unwrap();
    assert_eq!(sound().files, 1);
    std::fs::remove_file(&filler).unwrap();
    trail.append(&note(most + 2), Keeping::Written).unwrap();
    let report = sound();
    assert_eq!(report.files, 2);
}

fn scene_key(trail: &Trail) -> stockade_audit::Expected {
    stockade_audit::Expected::key(stockade_audit::PublicKey::beside(trail.place()).unwrap())
}
