//! Many who append to one trail: threads, processes, and processes that are killed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use stockade_audit::{Keeping, Place, Trail, Writer, verify};

use crate::scene::{Scene, note};

/// Set where this program is to append, by the tests below.
const FOLDER: &str = "STOCKADE_AUDIT_TEST_FOLDER";
const FIRST: &str = "STOCKADE_AUDIT_TEST_FIRST";
const COUNT: u64 = 200;

/// Not a test of its own: appends, and says each number once it counts.
#[test]
fn appends_where_it_is_told_to() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let trail = Trail::new(Place::new(folder).rotating_at(16 << 10));
    for number in first..first + COUNT {
        let keeping = if number % 8 == 0 { Keeping::OnDisk } else { Keeping::Written };
        trail.append(&note(number), keeping).unwrap();
        println!("counts {number}");
    }
}

fn process(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "many::appends_where_it_is_told_to", "--nocapture"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What a process has said counts.
fn counted(child: &mut Child) -> Vec<u64> {
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    said.filter_map(|line| line.rsplit_once("counts ")?.1.parse().ok()).collect()
}

/// Kills a process once it has said that so many count; returns what it has said in all, and whether it was in time.
fn killed_after(mut child: Child, count: u64) -> (Vec<u64>, bool) {
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut counted = Vec::new();
    for number in said.filter_map(|line| line.rsplit_once("counts ")?.1.parse::<u64>().ok()) {
        counted.push(number);
        if counted.len() as u64 == count {
            child.kill().unwrap();
        }
    }
    (counted, !child.wait().unwrap().success())
}

#[test]
fn processes_side_by_side_make_one_chain() {
    let scene = Scene::rotating_at(16 << 10);
    let mut children: Vec<Child> = (0..4).map(|at| process(scene.folder.path(), 1000 * (at + 1))).collect();
    for child in &mut children {
        assert_eq!(counted(child).len() as u64, COUNT);
        assert!(child.wait().unwrap().success());
    }
    let report = scene.sound();
    assert_eq!((scene.notes().len() as u64, report.repaired.len()), (4 * COUNT, 0));
}

#[test]
fn no_record_that_counts_is_missing_after_processes_were_killed() {
    let scene = Scene::rotating_at(16 << 10);
    let (mut all, mut killed) = (Vec::new(), 0);
    for round in 0..12_u64 {
        let children = (0..3).map(|at| process(scene.folder.path(), 10_000 * (round + 1) + 1000 * at));
        let followers: Vec<_> = children
            .zip(0_u64..)
            // After so many records that differ: where in the next one that falls is the machine's to say.
            .map(|(child, at)| std::thread::spawn(move || killed_after(child, 3 + (round * 31 + at * 17) % 120)))
            .collect();
        for follower in followers {
            let (counted, was_killed) = follower.join().unwrap();
            all.extend(counted);
            killed += u32::from(was_killed);
        }
        scene.note(round + 1);
        all.push(round + 1);
        let bad = scene.verify().bad;
        assert_eq!(bad, None, "round {round}");
    }
    let there: std::collections::BTreeSet<u64> = scene.notes().into_iter().collect();
    let missing: Vec<&u64> = all.iter().filter(|number| !there.contains(number)).collect();
    assert_eq!(missing, Vec::<&u64>::new());
    assert!(killed > 0, "all of them were done before they could be killed");
}

#[test]
fn threads_share_one_write() {
    let scene = Scene::new();
    let writer = Writer::new(scene.trail.place().clone());
    std::thread::scope(|scope| {
        for thread in 0..16_u64 {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..20 {
                    writer.append(&note(100 * thread + number)).unwrap();
                }
            });
        }
    });
    writer.close().unwrap();
    let mut notes = scene.notes();
    notes.sort_unstable();
    assert_eq!(notes, (0..16).flat_map(|thread| (0..20).map(move |number| 100 * thread + number)).collect::<Vec<_>>());
    let report = scene.sound();
    assert_eq!(report.vouched, report.seq - 1);
}

#[test]
fn one_that_can_never_be_written_does_not_take_others_with_it() {
    let scene = Scene::new();
    let writer = Writer::new(scene.trail.place().clone());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let writer = &writer;
            scope.spawn(move || writer.append(&note(number)).unwrap());
            scope.spawn(move || writer.append(&["no object"]).unwrap_err());
        }
    });
    assert_eq!(scene.notes().len(), 8);
    scene.sound();
}

#[test]
fn a_lock_that_is_never_let_go_is_not_waited_for_for_ever() {
    let scene = Scene::with(1);
    let held = std::fs::File::open(scene.path("audit.jsonl")).unwrap();
    held.lock().unwrap();
    let refused = scene.trail.append(&note(2), Keeping::Written).unwrap_err();
    assert!(matches!(refused, stockade_audit::Error::Busy), "{refused}");
    held.unlock().unwrap();
    scene.note(2);
    assert_eq!(scene.notes(), [1, 2]);
}

#[test]
fn a_disk_that_is_full_takes_no_record_and_leaves_nothing() {
    // A limit of the process on files is a write that stops in the middle, as on a full disk; in a process of its own.
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let line = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{}' --exact many::appends_until_it_is_full --nocapture",
        program.display()
    );
    let done = Command::new("sh").args(["-c", &line]).env(FOLDER, folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said} {}", String::from_utf8_lossy(&done.stderr));
    let counts = said.lines().filter(|line| line.contains("counts ")).count();
    let refused = said.lines().filter(|line| line.contains("refused ")).count();
    assert!(counts > 3 && refused == 50, "{said}");
    // Nothing of those is there, and with room there is more.
    let place = Place::new(folder.path());
    let expected = stockade_audit::Expected::key(stockade_audit::PublicKey::beside(&place).unwrap());
    let report = verify(&place, &expected).unwrap();
    assert_eq!((report.bad, report.repaired.len()), (None, 0));
    let notes = || {
        stockade_audit::Records::of(place.clone())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().kind() == "note")
            .count()
    };
    assert_eq!(notes(), counts);
    Trail::new(place.clone()).append(&note(1), Keeping::OnDisk).unwrap();
    assert_eq!((notes(), verify(&place, &expected).unwrap().bad), (counts + 1, None));
}

/// Not a test of its own: appends until nothing fits, and then still.
#[test]
fn appends_until_it_is_full() {
    let Some(folder) = std::env::var_os(FOLDER).filter(|_| std::env::var_os(FIRST).is_none()) else { return };
    let writer = Writer::new(Place::new(folder));
    let mut refused = 0;
    for number in 0.. {
        match writer.append(&note(number)) {
            Ok(_) => println!("counts {number}"),
            Err(error) => {
                println!("refused {number}: {}", error.why());
                refused += 1;
            }
        }
        if refused == 50 {
            return;
        }
    }
}
