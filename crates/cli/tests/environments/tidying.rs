//! `env gc`: what is named, recent or in use stays, whoever comes at the same time.

use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::{Place, short};

const ALL: [&str; 4] = ["env", "gc", "--keep-days", "0"];

#[test]
fn what_a_run_uses_stays_until_it_has_ended() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    place.done(&ALL);
    assert_eq!(place.count("envs"), 1, "it has a name");
    let code = "import sys; print('here', flush=True); sys.stdin.readline(); import six; print(six.__name__)";
    let (mut child, _state) = place.call(&["run", "-q", "--environment", "x", "-c", code]).start();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("here"));
    place.done(&["env", "rm", "x"]);
    let refused = place.ran(&["env", "rm", &digest]).expect(125);
    assert!(refused.stderr.contains("a run or a build uses it"), "{}", refused.stderr);
    place.done(&ALL);
    assert_eq!(place.count("envs"), 1);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().as_deref(), Some("six"));
    assert!(child.wait().unwrap().success());

    let kept = place.ran(&["env", "gc"]).expect(0);
    assert!(kept.stdout.starts_with("gone: 0 environments"), "it was used just now: {}", kept.stdout);
    let dry = place.ran(&["env", "gc", "--keep-days", "0", "--dry-run"]).expect(0);
    assert!(dry.stdout.contains(&format!("would go: environment {}", short(&digest))), "{}", dry.stdout);
    assert_eq!(place.count("envs"), 1);
    let gone = place.document(&["env", "gc", "--keep-days", "0", "--json"]);
    assert_eq!(gone["environments"], serde_json::json!([digest]));
    for folder in ["envs", "uses", "imports", "requests", "files", "building", "wheels", "index"] {
        assert_eq!(place.count(folder), 0, "{folder}");
    }
    assert_eq!(place.count("tools"), 1, "uv is needed again");
}

#[test]
fn package_files_stay_for_those_who_need_them() {
    let place = Place::new();
    place.built("x", &["--with", "six"]);
    place.done(&ALL);
    assert_eq!((place.count("wheels"), place.count("envs")), (1, 1));
    place.done(&["env", "verify", "--all"]);
}

/// Many that run and build, and some that take away, at the same time: each run either works or was told
/// that there is nothing by this name; none loses its files midway.
#[test]
fn no_run_loses_its_environment_to_somebody_who_tidies() {
    let place = Place::new();
    let digest = place.built("x", &["--with", "six"]);
    place.done(&["env", "rm", "x"]);
    let (working, done) = (AtomicBool::new(true), AtomicUsize::new(0));
    // It imports late, when the other one had all the time to take the file away.
    let code = "import time; time.sleep(0.1); import six; print(six.__name__)";
    std::thread::scope(|scope| {
        let builders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..4 {
                        let ran = place.ran(&["run", "-q", "--with", "six", "-c", code]).expect(0);
                        assert_eq!(ran.stdout, "six\n");
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while working.load(Ordering::SeqCst) {
                    let ran = place.ran(&["run", "-q", "--environment", &digest, "-c", code]);
                    let told = ran.status == 125 && ran.stderr.contains("there is no environment");
                    assert!(told || (ran.status == 0 && ran.stdout == "six\n"), "{ran:?}");
                }
            });
            scope.spawn(|| {
                while working.load(Ordering::SeqCst) {
                    place.done(&ALL);
                }
            });
        }
        let ended: Vec<_> = builders.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        working.store(false, Ordering::SeqCst);
        assert!(ended.into_iter().all(|ended| ended.is_ok()));
    });
    assert_eq!(done.load(Ordering::SeqCst), 8);
    place.done(&ALL);
    assert_eq!((place.count("envs"), place.count("building"), place.count("uses")), (0, 0, 0));
}
