#![cfg(feature = "dangerous-test-hooks")]
//! The n-th system call of the set-up fails, for every n, on either side of the fork.
//!
//! After each: no code ran that should not have, nothing is left, the message is clear, the trail is whole.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

mod scene;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use scene::Scene;
use serde_json::Value;
use stockade_testkit::{Call, User, call, skipped, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// More calls than any set-up makes: a loop that gets there would never end.
const CALLS_MAX: usize = 3_000;
/// What the code prints first; its niceness follows, which the hooks raise when they failed a call
/// inside or in the init.
const MARK: &str = "the code ran with niceness";

/// Layers that a run may lack when their call fails: the report must not claim them.
/// - `cgroup-namespace`: only the names of the host's cgroups could be seen, and no `/proc` shows them;
/// - `time`: only how long the machine is up could be seen;
/// - `proc`: many containers refuse it; then there is no `/proc` at all.
const OPTIONAL: [&str; 3] = ["cgroup-namespace", "time", "proc"];
/// What the report says when a folder was copied for want of an overlay.
const COPIED: &str = "was copied: the kernel refused an overlay";
/// The same of scratch on disk.
const BOUND: &str = "the path of scratch on disk shows inside";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Program,
    Files,
    Python,
    Disk,
    Network,
    WithoutNamespaces,
    Container,
}

impl Shape {
    fn arguments(self) -> Vec<String> {
        let shell = format!(
            "echo {MARK} $(nice); find . -type f | sort | while read name; do echo $name $(cat $name); done; echo changed > main.txt 2>&1; echo more > new.txt"
        );
        let python = format!("import os; print('{MARK}', os.getpriority(0, 0))");
        let words: &[&str] = match self {
            Self::Program => &["--", "sh", "-c", &shell],
            Self::Files => &[
                "--project",
                "p",
                "--in",
                "data.csv",
                "--in",
                "folder=sub/folder",
                "--share",
                "shared",
                "--share",
                "written:rw",
                "--",
                "sh",
                "-c",
                &shell,
            ],
            Self::Python => &["-c", &python],
            Self::Disk => &["--project", "p", "--in", "data.csv", "--", "sh", "-c", &shell],
            // Every kind of socket that a granted sandbox passes out.
            Self::Network => {
                &["--net", "api.example.com", "--net", "10.0.0.0/8", "--net", "2001:db8::80", "--", "sh", "-c", &shell]
            }
            Self::WithoutNamespaces => {
                &["--tier", "landlock", "--in", "data.csv", "--in", "folder=sub/folder", "--", "sh", "-c", &shell]
            }
            Self::Container => {
                &["--tier", "oci", "--project", "p", "--in", "data.csv", "--share", "shared", "--", "sh", "-c", &shell]
            }
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// Which runs are made: by whom, of what, bounded how.
#[derive(Clone, Copy, Debug)]
struct Case {
    user: User,
    shape: Shape,
    cgroup: &'static str,
}

/// What one run came to.
#[derive(Debug)]
struct Found {
    status: i32,
    stdout: String,
    stderr: String,
    was_hit: bool,
    trail: Vec<Value>,
    /// What lies where scratch was made.
    left: BTreeSet<String>,
}

impl Found {
    fn code_ran(&self) -> bool {
        self.stdout.contains(MARK)
    }

    fn report(&self) -> Value {
        self.stderr.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
    }

    /// What the code saw and left, without what the fault may change.
    fn seen(&self) -> (String, String) {
        let after = self.stdout.split_once(MARK).map_or("", |(_, after)| after);
        let stdout = after.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
        let mut files: Vec<String> =
            self.report()["outputs"]["files"].as_array().into_iter().flatten().map(ToString::to_string).collect();
        files.sort();
        (stdout, files.concat())
    }
}

fn scene() -> Scene {
    let scene = Scene::new();
    for name in ["p/main.txt", "p/.env", "data.csv", "folder/inner.txt", "shared/live.txt", "written/log.txt"] {
        scene.folder.write(name, name);
    }
    scene
}

/// Runs a case with call `number` of `side` failing, and looks at what is left.
fn run(scene: &Scene, case: Case, side: &str, number: usize) -> Found {
    let log = scene.folder.path().join(format!("fault-{side}-{number}.log"));
    let mut call = scene.call(case.user).args(["--json", "--cgroup", case.cgroup]).env("STOCKADE_TEST_FAULT_LOG", &log);
    let disk = scene.folder.path().join(format!("disk-{side}-{number}"));
    if case.shape == Shape::Disk {
        std::fs::create_dir(&disk).unwrap();
        if case.user == User::Ordinary && rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&disk, Some(scene::ordinary_user()), Some(scene::ordinary_user())).unwrap();
        }
        call = call.args(["--scratch-dir", disk.to_str().unwrap()]).args(case.shape.arguments());
    } else {
        call = call.args(case.shape.arguments());
    }
    if number > 0 {
        call = call.env("STOCKADE_TEST_FAULT", format!("{side}:{number}"));
    }
    let (ran, state) = scene.ended(call);
    let logged = std::fs::read_to_string(&log).unwrap_or_default();
    drop(std::fs::remove_file(&log));
    let left = scene::listing(&disk);
    drop(std::fs::remove_dir(&disk));
    let is_nice = ran.stdout.contains(MARK) && !ran.stdout.contains(&format!("{MARK} 0\n"));
    Found {
        status: ran.status,
        was_hit: !logged.is_empty() || is_nice || ran.status != 0,
        stderr: format!("{logged}{}", ran.stderr),
        stdout: ran.stdout,
        trail: Call::trail(&state),
        left,
    }
}

/// What a run went on without after its call failed: layers of [`OPTIONAL`], or an overlay.
fn went_without(found: &Found, baseline: &Found) -> Vec<&'static str> {
    let lacks = |found: &Found, name: &str| !found.report()["enforced"].to_string().contains(&format!("\"{name}\""));
    let mut without: Vec<_> =
        OPTIONAL.into_iter().filter(|name| lacks(found, name) && !lacks(baseline, name)).collect();
    let notes = found.report()["notes"].to_string();
    if notes.contains(COPIED) || notes.contains(BOUND) {
        without.push("overlay");
    }
    without
}

/// What is wrong with a run whose call failed; nothing if it is as it should be.
fn wrong(found: &Found, baseline: &Found) -> Option<String> {
    // What the gate tells of a run comes when it ends, of one that did not start as well.
    let kinds = found.trail.iter().filter_map(|record| record["record"].as_str());
    let kinds: Vec<&str> = kinds.filter(|kind| *kind != "network").collect();
    if !found.left.is_empty() {
        return Some(format!("on disk is left {:?}", found.left));
    }
    if found.status == 0 {
        // Tolerated: then it is one of the few that are listed here, and the code saw what it should.
        let without = went_without(found, baseline);
        if kinds != ["intent", "outcome"] {
            return Some(format!("the trail is {kinds:?}"));
        }
        if without.len() != 1 {
            return Some(format!("the call failed, and the report lacks {without:?}"));
        }
        if found.seen() != baseline.seen() && without != ["proc"] {
            return Some(format!("the code saw {:?} instead of {:?}", found.seen(), baseline.seen()));
        }
        return None;
    }
    if found.status == 126 {
        // The execution itself failed: that is an outcome, the walls stood.
        let is_outcome = found.report()["cause"]["kind"] == "not-executable" && kinds == ["intent", "outcome"];
        return (!is_outcome || found.code_ran()).then(|| format!("status 126, and the trail is {kinds:?}"));
    }
    if found.status != 125 {
        return Some(format!("status {}", found.status));
    }
    if found.code_ran() {
        return Some("the code ran".to_owned());
    }
    if kinds != ["intent", "failed"] {
        return Some(format!("the trail is {kinds:?}"));
    }
    let said = found.report();
    let what = said["what"].as_str().unwrap_or_default();
    let is_clear =
        ["cannot ", "the sandbox ended", "the container runtime"].iter().any(|start| what.starts_with(start));
    if !is_clear || !said["why"].is_string() || !said["next"].is_string() {
        return Some("the message is not clear".to_owned());
    }
    None
}

/// Fails every call of a side in turn, several runs at a time; says how many calls there were, and
/// what runs went on without.
fn fail_each(case: Case, side: &str) -> (usize, BTreeSet<&'static str>) {
    let scene = scene();
    let version = call(STOCKADE, User::Caller).arg("--version").run().stdout;
    assert!(version.contains("dangerous-test-hooks"), "another build has replaced the command under test: {version}");
    assert_eq!(scene.run(case.user, &["--quiet", "--", "true"]).status, 0);
    let baseline = run(&scene, case, side, 0);
    assert!(baseline.status == 0 && baseline.code_ran(), "{case:?}: {baseline:?}");
    let (next, done) = (AtomicUsize::new(1), AtomicBool::new(false));
    let (last, without) = (Mutex::new(0), Mutex::new(BTreeSet::new()));
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    assert!(number < CALLS_MAX, "the calls of {side} never end");
                    let found = run(&scene, case, side, number);
                    if !found.was_hit {
                        done.store(true, Ordering::Relaxed);
                        continue;
                    }
                    let mut last = last.lock().unwrap();
                    *last = number.max(*last);
                    if found.status == 0 {
                        without.lock().unwrap().extend(went_without(&found, &baseline));
                    }
                    if let Some(what) = wrong(&found, &baseline) {
                        problems
                            .lock()
                            .unwrap()
                            .push(format!("{side}:{number}: {what}\n{}\n{}", found.stdout, found.stderr));
                    }
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{case:?}: {} calls\n{}", problems.len(), problems.join("\n"));
    (last.into_inner().unwrap(), without.into_inner().unwrap())
}

/// Both users, both ways to bound the tree.
fn cases(shape: Shape) -> Vec<Case> {
    users().into_iter().flat_map(|user| ["auto", "off"].map(|cgroup| Case { user, shape, cgroup })).collect()
}

#[test]
fn every_call_outside_may_fail() {
    for shape in [Shape::Program, Shape::Files, Shape::Python, Shape::Disk, Shape::Network] {
        for case in cases(shape) {
            let (calls, without) = fail_each(case, "outside");
            assert!(calls >= 5 && without.is_empty(), "{case:?}: {calls} {without:?}");
        }
    }
}

/// Builds the root, then watches over the code.
#[test]
fn every_call_of_the_init_may_fail() {
    for (shape, expected) in [
        (Shape::Program, BTreeSet::from(["proc"])),
        (Shape::Files, BTreeSet::from(["proc", "overlay"])),
        (Shape::Python, BTreeSet::from(["proc"])),
        (Shape::Disk, BTreeSet::from(["proc", "overlay"])),
    ] {
        for case in cases(shape) {
            let (calls, without) = fail_each(case, "init");
            assert!(calls >= 60, "{case:?}: {calls}");
            assert_eq!(without, expected, "{case:?}");
        }
    }
}

/// From its birth to the fork of the code's process, and in that to the execution of the code.
#[test]
fn every_call_inside_may_fail() {
    for shape in [Shape::Program, Shape::Files, Shape::Python, Shape::Disk, Shape::Network] {
        for case in cases(shape) {
            let (calls, without) = fail_each(case, "inside");
            assert!(calls >= 40, "{case:?}: {calls}");
            assert_eq!(without, BTreeSet::from(["cgroup-namespace", "time"]), "{case:?}");
        }
    }
}

/// The runtime is what the walls are made around, so what it misses keeps the code from starting.
#[test]
fn every_call_of_a_run_in_a_container_may_fail() {
    if !["/usr/bin/runc", "/usr/sbin/runc"].iter().any(|path| std::path::Path::new(path).exists()) {
        skipped("faults in a container", "runc is not installed");
        return;
    }
    for case in cases(Shape::Container) {
        for (side, least) in [("outside", 5), ("inside", 40), ("init", 60)] {
            let (calls, _) = fail_each(case, side);
            assert!(calls >= least, "{case:?}, {side}: {calls}");
        }
    }
}

/// There nothing but what is required is made, so a run goes on without nothing.
#[test]
fn every_call_of_a_run_without_namespaces_may_fail() {
    for case in cases(Shape::WithoutNamespaces) {
        for (side, least) in [("outside", 5), ("inside", 20), ("init", 3)] {
            let (calls, without) = fail_each(case, side);
            assert!(calls >= least && without.is_empty(), "{case:?}, {side}: {calls} {without:?}");
        }
    }
    // Nothing of it is left in the folder for temporary files, the scene looks at everything else.
    let left: Vec<_> = std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("stockade-run-"))
        .filter(|entry| std::fs::File::open(entry.path().join(".alive")).is_ok_and(|lock| lock.try_lock().is_ok()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
