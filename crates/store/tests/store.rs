//! The store keeps what it said it keeps, through any end of its process.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may stop at the first surprise")]

use stockade_store::{Acceptance, DAY_MS, Ended, File, Kind, NewEvent, NewRun, State, Store, Which};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("state.sqlite")).unwrap();
    (folder, store)
}

fn run<'a>(id: &'a str, principal: &'a str, key: Option<&'a str>, digest: &'a str) -> NewRun<'a> {
    NewRun {
        id,
        kind: Kind::Run,
        session: None,
        principal,
        request: "{}",
        digest,
        idempotency_key: key,
        files: &[],
        events: &[],
        durable: true,
    }
}

fn ended(outcome: &str, cpu_ms: i64) -> Ended<'_> {
    Ended { outcome, outputs: 0, cpu_ms, events: &[] }
}

#[test]
fn a_key_stands_for_one_run_of_one_principal() {
    let (_folder, mut store) = store();
    assert_eq!(store.accept(&run("a", "ann", Some("k"), "1"), 1).unwrap(), Acceptance::New);
    let Acceptance::Known(known) = store.accept(&run("b", "ann", Some("k"), "1"), 2).unwrap() else {
        panic!("the same is known")
    };
    assert_eq!(known.id, "a");
    assert_eq!(store.accept(&run("c", "ann", Some("k"), "2"), 3).unwrap(), Acceptance::Conflict);
    assert_eq!(store.accept(&run("d", "bob", Some("k"), "2"), 4).unwrap(), Acceptance::New);
    assert_eq!(store.runs("ann", Which::Runs, i64::MAX, 10).unwrap().len(), 1);
}

#[test]
fn a_run_goes_forward_only() {
    let (_folder, mut store) = store();
    store.accept(&run("a", "ann", None, "1"), 1).unwrap();
    assert!(store.start(("a", true), &[], 2).unwrap());
    assert!(!store.start(("a", true), &[], 3).unwrap(), "it was handed over before");
    assert!(
        store.end(("a", true), &Ended { events: &[NewEvent::new("result", "done")], ..ended("done", 0) }, 4).unwrap()
    );
    assert!(!store.end(("a", true), &ended("other", 0), 5).unwrap());
    assert!(!store.start(("a", true), &[], 6).unwrap());
    let kept = store.run("ann", "a").unwrap().unwrap();
    assert_eq!((kept.state, kept.outcome.as_deref(), kept.ended_ms), (State::Ended, Some("done"), Some(4)));
    assert_eq!(store.events("a", 1, 1000).unwrap().len(), 1);
}

#[test]
fn a_store_opened_again_loses_what_ran_and_keeps_what_waits() {
    let (folder, mut store) = store();
    let file = vec![7; (2 << 20) + 5];
    for id in ["waits", "runs", "over"] {
        store.accept(&NewRun { files: &[File(&file), File(b"")], ..run(id, "ann", None, "1") }, 1).unwrap();
    }
    store.start(("runs", true), &[], 2).unwrap();
    store.start(("over", true), &[], 2).unwrap();
    store.end(("over", true), &ended("done", 0), 3).unwrap();
    store.append("runs", &[NewEvent::new("stdout", "so far")], 3).unwrap();
    // Not closed: what a killed process leaves.
    std::mem::forget(store);

    let mut store = Store::open(&folder.path().join("state.sqlite")).unwrap();
    let found = store.recover("boot", "lost", &[NewEvent::new("result", "lost")], 9).unwrap();
    assert_eq!(found.lost.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["runs"]);
    assert_eq!(found.waiting.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["waits"]);
    let said: Vec<String> = store.events("runs", 1, 1000).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(said, ["stdout", "result"]);
    let mut back = Vec::new();
    let mut part = 0;
    while let Some(bytes) = store.part_of_file("waits", 0, part).unwrap() {
        back.extend(bytes);
        part += 1;
    }
    assert_eq!(back, file);
    assert!(store.part_of_file("waits", 1, 0).unwrap().is_none());
    assert!(store.part_of_file("runs", 0, 0).unwrap().is_none(), "its files are let go");
    assert_eq!(store.recover("boot", "lost", &[], 10).unwrap().lost.len(), 0);
}

#[test]
fn nobody_sees_runs_of_others() {
    let (_folder, mut store) = store();
    store.accept(&run("a", "ann", None, "1"), 1).unwrap();
    assert!(store.run("bob", "a").unwrap().is_none());
    assert!(store.runs("bob", Which::Runs, i64::MAX, 10).unwrap().is_empty());
}

#[test]
fn events_are_numbered_without_gaps_and_read_in_parts() {
    let (_folder, mut store) = store();
    store.accept(&NewRun { events: &[NewEvent::new("accepted", "")], ..run("a", "ann", None, "1") }, 1).unwrap();
    for number in 0..10 {
        assert_eq!(store.append("a", &[NewEvent::new("stdout", vec![0; 100])], 2).unwrap(), number + 2);
    }
    let part = store.events("a", 3, 250).unwrap();
    assert_eq!(part.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(store.events("a", 11, 1).unwrap().len(), 1);
    assert!(store.events("a", 12, 1).unwrap().is_empty());
    assert!(store.append("nobody", &[NewEvent::new("stdout", "")], 3).is_err(), "there is no such run");
}

#[test]
fn what_is_outdated_is_told_by_age_and_number_and_forgotten_whole() {
    let (_folder, mut store) = store();
    for (id, end) in [("a", 10), ("b", 20), ("c", 30)] {
        store.accept(&run(id, "ann", Some(id), "1"), 1).unwrap();
        store.start((id, true), &[], 2).unwrap();
        store.append(id, &[NewEvent::new("stdout", "x")], 3).unwrap();
        store.end((id, true), &Ended { outputs: 99, ..ended("done", 0) }, end).unwrap();
    }
    store.accept(&run("waits", "ann", None, "1"), 1).unwrap();
    let ids = |store: &mut Store, before, most, bytes| {
        let mut ids: Vec<String> = store.outdated(before, most, bytes).unwrap().into_iter().map(|run| run.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&mut store, 15, 100, 1000), ["a"]);
    assert_eq!(ids(&mut store, 0, 1, 1000), ["a", "b"]);
    assert_eq!(ids(&mut store, 0, 100, 200), ["a"], "outputs and what was said count");
    assert_eq!(ids(&mut store, 0, 100, 5), ["a", "b"], "the youngest stays, however large");
    assert!(store.forget("a").unwrap());
    assert!(!store.forget("waits").unwrap(), "what waits is never forgotten");
    assert!(store.events("a", 1, 100).unwrap().is_empty());
    assert_eq!(store.accept(&run("new", "ann", Some("a"), "2"), 40).unwrap(), Acceptance::New, "its key is free");
    store.shrink().unwrap();
}

#[test]
fn a_file_of_a_later_version_is_refused() {
    let (folder, store) = store();
    drop(store);
    let path = folder.path().join("state.sqlite");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = Store::open(&path).unwrap_err();
    assert!(refused.next().contains("restore a copy"), "{refused}");
}

#[test]
fn what_did_not_wait_for_the_disk_is_lost_with_the_machine_and_not_with_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Store::open(&folder.path().join("state.sqlite")).unwrap();
    let mut store = open();
    assert_eq!(store.recover("one", "lost", &[], 1).unwrap().lost.len(), 0);
    store.accept(&NewRun { durable: false, ..run("quick", "ann", None, "1") }, 2).unwrap();
    store.accept(&run("durable", "ann", None, "2"), 2).unwrap();
    drop(store);
    let mut store = open();
    let found = store.recover("one", "lost", &[], 3).unwrap();
    assert_eq!((found.lost.len(), found.waiting.len()), (0, 2), "the process was killed");
    drop(store);
    let mut store = open();
    let found = store.recover("two", "lost", &[], 4).unwrap();
    let names = |runs: &[stockade_store::Run]| runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
    assert_eq!((names(&found.lost), names(&found.waiting)), (vec!["quick".to_owned()], vec!["durable".to_owned()]));
    assert_eq!(store.run("ann", "quick").unwrap().unwrap().state, State::Lost);
}

#[test]
fn what_a_run_used_is_counted_once_with_its_end_and_outlives_the_run() {
    let (folder, mut store) = store();
    for (id, principal) in [("a", "ann"), ("b", "ann"), ("c", "bob"), ("d", "ann")] {
        store.accept(&run(id, principal, None, "1"), 1).unwrap();
    }
    assert!(store.end(("a", true), &ended("done", 700), 5).unwrap());
    assert!(!store.end(("a", true), &ended("done", 700), 6).unwrap());
    assert!(store.end(("b", false), &ended("done", 30), 7).unwrap());
    assert!(store.end(("c", true), &ended("done", i64::MAX), 8).unwrap());
    assert!(store.end(("d", true), &ended("done", -5), 9).unwrap(), "nobody gets time back");
    store.forget("a").unwrap();
    std::mem::forget(store);
    let mut store = Store::open(&folder.path().join("state.sqlite")).unwrap();
    store.recover("boot", "lost", &[], 10).unwrap();
    assert_eq!(store.cpu_used("ann", 11).unwrap(), 730);
    assert_eq!(store.cpu_used("cyd", 11).unwrap(), 0);
}

#[test]
fn each_day_has_its_own_count_however_the_clock_jumps() {
    let (_folder, mut store) = store();
    let uses = |store: &mut Store, number: i64, at: i64| {
        let id = format!("r{number}");
        store.accept(&run(&id, "ann", None, "1"), at).unwrap();
        store.end((&id, true), &ended("done", 10), at).unwrap();
    };
    uses(&mut store, 0, DAY_MS - 1);
    uses(&mut store, 1, DAY_MS);
    // Back over midnight, far ahead, and back again.
    uses(&mut store, 2, DAY_MS - 1);
    for number in 0..20 {
        uses(&mut store, 100 + number, 40_000 * DAY_MS + number * DAY_MS);
    }
    uses(&mut store, 3, DAY_MS - 1);
    assert_eq!(store.cpu_used("ann", 0).unwrap(), 30);
    assert_eq!(store.cpu_used("ann", DAY_MS).unwrap(), 10);
    // What is kept is bounded, and today is among it.
    for number in 0..60 {
        uses(&mut store, 1_000 + number, number * DAY_MS);
    }
    uses(&mut store, 4, 5);
    assert_eq!(store.cpu_used("ann", 59 * DAY_MS).unwrap(), 10);
    assert_eq!(store.cpu_used("ann", 30 * DAY_MS).unwrap(), 0, "long ago");
    assert_eq!(store.cpu_used("ann", 5).unwrap(), 10);
}
