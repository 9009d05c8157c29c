//! Everything that can be done to a file, and that it is found.

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use stockade_audit::{Expected, Link, Place, PublicKey, Trail, Wrong, verify};

use crate::scene::Scene;

/// `begun`, eight notes with a checkpoint after the first, and a checkpoint of the rest.
fn scene() -> Scene {
    let scene = Scene::with(8);
    scene.trail.close().unwrap();
    assert_eq!(scene.sound().records, 11);
    scene
}

/// The same line with another content and the hash that fits it: what somebody does who knows the form.
fn rehashed(line: &str, seq: u64, prev: &str, change: impl FnOnce(String) -> String) -> (String, String) {
    let body = line.split_once("\",").unwrap().1.rsplit_once(",\"hash\":\"").unwrap().0;
    let hashed = format!("{{\"seq\":{seq},\"prev\":\"{prev}\",{}", change(body.to_owned()));
    let digest = Sha256::new_with_prefix("stockade audit record 1\n").chain_update(&hashed).finalize();
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (format!("{hashed},\"hash\":\"{hash}\"}}"), hash)
}

/// Every line from `from` on hashed anew, so that the chain is whole.
fn rehash_from(lines: &mut [String], from: usize) {
    let mut prev = if from == 0 { "0".repeat(64) } else { hash_of(&lines[from - 1]) };
    for (at, line) in lines.iter_mut().enumerate().skip(from) {
        (*line, prev) = rehashed(line, at as u64 + 1, &prev, |body| body);
    }
}

fn hash_of(line: &str) -> String {
    line[line.len() - 66..line.len() - 2].to_owned()
}

#[test]
fn a_record_that_was_changed_is_found() {
    let scene = scene();
    scene.put(scene.log().replace("\"number\":4", "\"number\":5"));
    assert_eq!(scene.wrong(), (6, Some(6), Wrong::Changed));
}

#[test]
fn a_record_that_was_changed_and_hashed_anew_is_found() {
    let scene = scene();
    let mut lines = scene.lines();
    let prev = hash_of(&lines[4]);
    (lines[5], _) = rehashed(&lines[5], 6, &prev, |body| body.replace("\"number\":4", "\"number\":5"));
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (7, Some(7), Wrong::Replaced { seq: 6 }));
}

#[test]
fn a_chain_that_was_hashed_anew_from_a_change_on_does_not_fit_its_checkpoint() {
    let scene = scene();
    let mut lines = scene.lines();
    lines[5] = lines[5].replace("\"number\":4", "\"number\":5");
    rehash_from(&mut lines, 5);
    scene.put_lines(&lines);
    assert!(matches!(scene.wrong(), (11, Some(11), Wrong::Swapped { of: 10 })), "{:?}", scene.wrong());
    // With what the checkpoint says of it put right as well, the signature is what does not fit.
    let last = hash_of(&lines[9]);
    let of_hash =
        serde_json::from_str::<serde_json::Value>(&lines[10]).unwrap()["of_hash"].as_str().unwrap().to_owned();
    (lines[10], _) = rehashed(&lines[10].clone(), 11, &last, |body| body.replace(&of_hash, &last));
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (11, Some(11), Wrong::Signature));
}

#[test]
fn a_record_that_was_removed_is_found() {
    let scene = scene();
    let mut lines = scene.lines();
    lines.remove(5);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (6, Some(7), Wrong::Missing { from: 6, to: 6 }));
    // The first of all, too.
    lines.remove(0);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (1, Some(2), Wrong::Missing { from: 1, to: 1 }));
}

#[test]
fn records_that_changed_places_are_found() {
    let scene = scene();
    let mut lines = scene.lines();
    lines.swap(4, 5);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (5, Some(6), Wrong::Missing { from: 5, to: 5 }));
    // And with their numbers and hashes made to fit.
    rehash_from(&mut lines, 4);
    scene.put_lines(&lines);
    assert!(matches!(scene.wrong(), (11, Some(11), Wrong::Swapped { .. })));
}

#[test]
fn a_record_that_comes_twice_or_was_put_in_is_found() {
    let scene = scene();
    let mut lines = scene.lines();
    lines.insert(6, lines[5].clone());
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (7, Some(6), Wrong::Order { next: 7 }));
    for (inserted, wrong) in [
        ("{\"record\":\"note\"}".to_owned(), (7, None, Wrong::NoRecord)),
        (String::new(), (7, None, Wrong::NoRecord)),
        ("x".repeat(5 << 20), (7, None, Wrong::TooLong)),
        (rehashed(&lines[5], 7, &hash_of(&lines[5]), |body| body).0, (8, Some(7), Wrong::Order { next: 8 })),
    ] {
        lines[6] = inserted;
        scene.put_lines(&lines);
        assert_eq!(scene.wrong(), wrong);
    }
}

#[test]
fn records_cut_off_at_a_line_are_found_by_the_head() {
    let scene = Scene::with(8);
    let lines = scene.lines();
    for left in 1..lines.len() {
        scene.put_lines(&lines[..left]);
        let last = left as u64;
        assert_eq!(scene.wrong(), (last, Some(last), Wrong::Truncated { to: 10 }));
    }
    // And by nothing but a number that is known elsewhere, if the head is cut back with them.
    scene.put_lines(&lines);
    let known = scene.note(9);
    let head = std::fs::read(scene.path("audit.head")).unwrap();
    let all = scene.log();
    std::fs::write(scene.path("audit.head"), "").unwrap();
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (10, Some(10), Wrong::NoHead));
    scene.note(9);
    let expected = Expected { links: vec![known], ..scene.expected() };
    let bad = verify(scene.trail.place(), &expected).unwrap().bad.unwrap();
    assert!(matches!(bad.wrong, Wrong::NotAsKnown { .. }), "{bad:?}");
    std::fs::write(scene.path("audit.head"), head).unwrap();
    scene.put(all);
    assert_eq!(verify(scene.trail.place(), &expected).unwrap().bad, None);
    let beyond = Link { seq: known.seq + 1, ..known };
    let expected = Expected { links: vec![beyond], ..scene.expected() };
    let bad = verify(scene.trail.place(), &expected).unwrap().bad.unwrap();
    assert_eq!(bad.wrong, Wrong::Truncated { to: beyond.seq });
}

#[test]
fn a_file_that_was_cut_anywhere_is_found() {
    let scene = Scene::with(3);
    let all = scene.log();
    for length in 0..all.len() {
        scene.put(&all[..length]);
        assert!(scene.verify().bad.is_some(), "{length}");
    }
    std::fs::remove_file(scene.path("audit.jsonl")).unwrap();
    assert_eq!(scene.wrong(), (0, Some(0), Wrong::Truncated { to: 5 }));
}

#[test]
fn the_last_record_replaced_by_one_that_fits_is_found_by_the_head() {
    let scene = Scene::with(3);
    let mut lines = scene.lines();
    let prev = hash_of(&lines[3]);
    (lines[4], _) = rehashed(&lines[4], 5, &prev, |body| body.replace("\"number\":3", "\"number\":4"));
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (5, Some(5), Wrong::Head));
    // Whoever appends next does not hide it.
    scene.note(4);
    assert_eq!(scene.wrong(), (6, Some(6), Wrong::Replaced { seq: 5 }));
}

#[test]
fn checkpoints_that_changed_places_are_found() {
    let scene = scene();
    let mut lines = scene.lines();
    assert!(lines[2].contains("\"checkpoint\"") && lines[10].contains("\"checkpoint\""));
    lines.swap(2, 10);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (3, Some(11), Wrong::Missing { from: 3, to: 10 }));
    rehash_from(&mut lines, 2);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (3, Some(3), Wrong::Swapped { of: 10 }));
}

#[test]
fn a_chain_that_was_signed_with_another_key_is_found() {
    let scene = scene();
    let other = Scene::with(8);
    other.trail.close().unwrap();
    // All of it, with its head; and its checkpoint alone, in the chain of this one.
    let (log, head) = (scene.log(), std::fs::read(scene.path("audit.head")).unwrap());
    scene.put(other.log());
    std::fs::copy(other.path("audit.head"), scene.path("audit.head")).unwrap();
    let key = PublicKey::beside(other.trail.place()).unwrap().id();
    assert_eq!(scene.wrong(), (3, Some(3), Wrong::OtherKey { key: key.clone() }));
    std::fs::write(scene.path("audit.head"), head).unwrap();
    let mut lines: Vec<String> = log.lines().map(ToOwned::to_owned).collect();
    let own = PublicKey::beside(scene.trail.place()).unwrap().id();
    (lines[10], _) = rehashed(&lines[10].clone(), 11, &hash_of(&lines[9]), |body| body.replace(&own, &key));
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (11, Some(11), Wrong::OtherKey { key }));
    // The public key beside it replaced as well: found by whoever kept the right one.
    std::fs::copy(other.path("audit.pub"), scene.path("audit.pub")).unwrap();
    scene.put(log);
    assert_eq!(scene.wrong(), (3, Some(3), Wrong::OtherKey { key: own }));
}

#[test]
fn a_chain_without_its_checkpoints_is_found() {
    let scene = Scene::with(600);
    let mut lines: Vec<String> = scene.lines();
    let all = lines.len();
    lines.retain(|line| !line.contains("\"record\":\"checkpoint\""));
    assert!(all - lines.len() >= 3, "{all}");
    rehash_from(&mut lines, 1);
    scene.put_lines(&lines);
    assert!(matches!(scene.wrong().2, Wrong::Unsigned { .. }), "{:?}", scene.wrong());
}

#[test]
fn what_belongs_to_the_beginning_is_nowhere_else() {
    let scene = scene();
    let mut lines = scene.lines();
    let begun = lines[0].clone();
    lines.truncate(3);
    lines.push(rehashed(&begun, 4, &hash_of(&lines[2]), |body| body).0);
    scene.put_lines(&lines);
    assert_eq!(scene.wrong(), (4, Some(4), Wrong::Place));
}

#[test]
fn a_trail_that_is_not_there_is_no_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let scene = scene();
    assert!(verify(&Place::new(folder.path()), &scene.expected()).is_err());
    assert!(PublicKey::beside(&Place::new(folder.path())).is_err());
    assert!(!folder.path().join("audit.jsonl").exists(), "verifying makes nothing");
}

#[test]
fn a_key_that_others_may_read_signs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::with(1);
    let mode = |path: &str| std::fs::metadata(scene.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("audit.key"), mode("audit.jsonl"), mode("audit.head")), (0o600, 0o600, 0o600));
    scene.note(2);
    std::fs::set_permissions(scene.path("audit.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let before = scene.log();
    let refused = scene.trail.close().unwrap_err();
    assert!(refused.why().contains("others"), "{refused}");
    assert_eq!(scene.log(), before);
    // A fresh trail does not begin without one.
    let key = scene.path("audit.key");
    let elsewhere = Trail::new(Place::new(scene.path("other")).with_key(&key));
    assert!(elsewhere.close().is_err());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    elsewhere.close().unwrap();
    assert!(!scene.path("other/audit.key").exists());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn any_byte_of_any_line_that_is_changed_is_found(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        thread_local! { static SCENE: (Scene, Vec<u8>) = { let scene = scene(); let log = scene.log().into_bytes(); (scene, log) } }
        SCENE.with(|(scene, log)| {
            let mut bytes = log.clone();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            scene.put(&bytes);
            let line = 1 + log[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            let bad = scene.verify().bad;
            // Named where it is; a line's end that is gone makes one line of two.
            prop_assert!(bad.as_ref().is_some_and(|bad| bad.line == line), "{at}: {bad:?}");
            Ok(())
        })?;
    }
}
