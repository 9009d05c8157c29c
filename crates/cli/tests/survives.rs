//! The command is killed, interrupted, crowded, and runs out of disk: nothing is left, nothing is half done.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may stop at the first surprise"
)]

mod scene;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use scene::{Scene, listing};
use stockade_testkit::{Call, Folder, User, call, cgroups_left, processes_with, skipped, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// How many runs are killed, both users together.
const KILLS: usize = 200;
/// How many run at a time.
const AT_A_TIME: usize = 8;
/// The last moment of a run at which it is killed.
const LATEST_US: u64 = 60_000;
/// How long anything may take to disappear.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds; says what did not.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Numbers that are the same again for the same seed: Steele's splitmix64.
fn random(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `STOCKADE_TEST_SEED`, or another one each time; printed, so that a failure can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("STOCKADE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos()) | u64::from(std::process::id()) << 32
    });
    say(&format!("STOCKADE_TEST_SEED={seed}"));
    seed
}

/// Shown when the test fails.
fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").unwrap();
}

fn kill(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The runs a trail speaks of, as their cgroups are named.
fn cgroups_of(state: &Folder) -> Vec<String> {
    Call::trail(state)
        .iter()
        .filter(|record| record["record"] == "intent")
        .map(|record| format!("stockade-{}-", record["run"].as_str().unwrap()))
        .collect()
}

/// Kills one run at a moment of its life; says how its cgroup is called, if it got that far.
fn kill_one(user: User, moment: Duration, mark: &str, code: &str) -> Vec<String> {
    let scene = Scene::new();
    scene.folder.write("p/data.txt", "data");
    scene.folder.write("single.txt", "data");
    let code = format!("{code} # {mark}");
    let (mut child, state) = scene
        .call(user)
        .args(["--project", "p", "--in", "single.txt", "--out", "out", "--", "sh", "-c", &code])
        .start();
    let until_then = Instant::now() + moment;
    while Instant::now() < until_then {
        std::hint::spin_loop();
    }
    // It may have ended by itself a moment ago.
    drop(child.kill());
    let status = child.wait().unwrap();
    assert!(status.signal() == Some(9) || status.code() == Some(0), "{status:?}");
    until("processes of a killed run are left", || processes_with(mark).is_empty());
    assert_eq!(scene.folder.read("p/data.txt"), "data");
    assert_next_run_cleans_up(&scene, user);
    cgroups_of(&state)
}

/// What a killed run left in its output folder is gone after the next one, and that one's is whole.
fn assert_next_run_cleans_up(scene: &Scene, user: User) {
    // A temporary file is only taken for abandoned when it is older than a moment.
    until("temporary files of killed runs are left", || {
        let ran =
            scene.run(user, &["--quiet", "--out", "out", "--overwrite", "--", "sh", "-c", "echo whole > whole.txt"]);
        ran.status == 0 && !listing(&scene.folder.path().join("out")).iter().any(|name| name.contains(".stockade-"))
    });
    let names = listing(&scene.folder.path().join("out"));
    for name in names.iter().filter(|name| name.starts_with("many-")) {
        assert_eq!(scene.folder.read(&format!("out/{name}")), "x".repeat(4096), "{name} is not whole");
    }
    assert_eq!(scene.folder.read("out/whole.txt"), "whole\n");
}

/// Kills runs of this code at moments spread over their lives.
fn kill_many(code: &str, kills: usize, latest_us: u64) {
    let seed = seed();
    for user in users() {
        let next = AtomicUsize::new(0);
        let names = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_A_TIME)
                .map(|_| {
                    scope.spawn(|| {
                        let mut names = Vec::new();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= kills / users().len() {
                                return names;
                            }
                            let moment = Duration::from_micros(random(seed, number as u64) % latest_us);
                            names.extend(kill_one(user, moment, &format!("mark-{seed}-{user:?}-{number}-end"), code));
                        }
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
        });
        say(&format!(
            "{user:?}: {} of {} were killed after their intent was on record",
            names.len(),
            kills / users().len()
        ));
        // What a killed supervisor leaves is removed by the next run; a cgroup whose last process is
        // still being taken apart by the kernel, by the one after.
        until("cgroups of killed runs are left", || {
            Scene::new().run(user, &["--quiet", "--", "true"]).status == 0
                && !cgroups_left().iter().any(|path| names.iter().any(|name| path.contains(name)))
        });
    }
}

#[test]
fn a_killed_command_takes_its_sleeping_code_with_it() {
    kill_many("sleep 1000 & (setsid sleep 1000 &); sleep 1000", KILLS / 2, LATEST_US);
}

#[test]
fn a_command_killed_while_it_collects_leaves_no_half_file() {
    kill_many(
        "x=$(printf %04096d 0 | tr 0 x); for n in 1 2 3 4 5 6 7 8 9; do for m in 1 2 3 4 5 6 7 8 9; do printf %s $x > many-$n-$m.txt; done; done",
        KILLS / 2,
        2 * LATEST_US,
    );
}

/// Starts code that says when it is ready.
fn started(scene: &Scene, user: User, code: &str) -> (Child, BufReader<std::process::ChildStdout>, Folder) {
    let (mut child, state) = scene.call(user).args(["--json", "--", "sh", "-c", code]).start();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    (child, out, state)
}

/// The status and the cause of a run that is over.
fn ended(mut child: Child) -> (i32, String) {
    let mut text = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
    let status = child.wait().unwrap();
    let report: serde_json::Value =
        serde_json::from_str(text.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status.code().unwrap_or(-1), report["cause"]["kind"].as_str().unwrap().to_owned())
}

#[test]
fn an_interrupt_is_the_codes_to_handle_and_the_second_ends_it() {
    for user in users() {
        let scene = Scene::new();
        let (child, _out, _state) = started(&scene, user, "echo ready; exec sleep 1000");
        kill(&child, rustix::process::Signal::INT);
        assert_eq!(ended(child), (130, "signalled".to_owned()));
        let (child, mut out, _state) =
            started(&scene, user, "trap 'echo handled; exit 5' INT; echo ready; while :; do sleep 0.01; done");
        kill(&child, rustix::process::Signal::INT);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!((line.as_str(), ended(child)), ("handled\n", (5, "exited".to_owned())));
        let (child, mut out, _state) =
            started(&scene, user, "trap 'echo no' INT; echo ready; while :; do sleep 0.01; done");
        kill(&child, rustix::process::Signal::INT);
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "no\n");
        kill(&child, rustix::process::Signal::INT);
        assert_eq!(ended(child), (130, "cancelled".to_owned()));
    }
}

#[test]
fn a_termination_request_is_passed_on_and_a_hang_up_ends_the_run() {
    for user in users() {
        let scene = Scene::new();
        let (child, _out, _state) = started(&scene, user, "echo ready; exec sleep 1000");
        kill(&child, rustix::process::Signal::TERM);
        assert_eq!(ended(child), (143, "signalled".to_owned()));
        let (child, _out, _state) = started(&scene, user, "trap '' HUP TERM INT; echo ready; exec sleep 1000");
        kill(&child, rustix::process::Signal::HUP);
        assert_eq!(ended(child), (130, "cancelled".to_owned()));
    }
}

#[test]
fn code_that_does_not_heed_a_termination_request_is_killed_after_a_while() {
    let scene = Scene::new();
    let (child, _out, _state) = started(&scene, User::Caller, "trap '' TERM; echo ready; while :; do sleep 1; done");
    kill(&child, rustix::process::Signal::TERM);
    assert_eq!(ended(child), (130, "cancelled".to_owned()));
}

#[test]
fn fifty_runs_side_by_side_do_not_disturb_each_other() {
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("data.txt", "shared input\n");
        scene.folder.write("p/main.txt", "project\n");
        let runs: Vec<_> = (0..50)
            .map(|number| {
                let code = format!("read line; cat data.txt main.txt > out.txt; echo $line {number} >> out.txt; echo {number} > main.txt; echo {number}");
                let out = format!("out{number}");
                let (mut child, state) = scene.call(user).args(["--quiet", "--project", "p", "--in", "data.txt", "--out", &out, "--", "sh", "-c", &code]).start();
                child.stdin.take().unwrap().write_all(format!("input {number}\n").as_bytes()).unwrap();
                (number, child, state)
            })
            .collect();
        for (number, child, _state) in runs {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{number}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"));
            assert_eq!(
                scene.folder.read(&format!("out{number}/out.txt")),
                format!("shared input\nproject\ninput {number} {number}\n")
            );
            assert_eq!(scene.folder.read(&format!("out{number}/main.txt")), format!("{number}\n"));
        }
        assert_eq!(scene.folder.read("p/main.txt"), "project\n");
    }
}

/// Runs a shell script as root in mounts of its own, with a small file system at `small`.
fn with_small_disk(folder: &Path, script: &str) -> Option<std::process::Output> {
    if !rustix::process::geteuid().is_root() {
        skipped("a full disk", "only root can mount a small one");
        return None;
    }
    std::fs::create_dir(folder.join("small")).unwrap();
    let script = format!("set -e; mount -t tmpfs -o size=64k tmpfs small; set +e; {script}");
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", &script])
        .current_dir(folder)
        .env("S", STOCKADE)
        .env("STOCKADE_STATE_DIR", folder.join("state"))
        .output()
        .unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("unshare: ")
        || String::from_utf8_lossy(&output.stderr).starts_with("mount: ")
    {
        skipped("a full disk", "mounts are refused here");
        return None;
    }
    Some(output)
}

#[test]
fn outputs_that_do_not_fit_on_the_disk_leave_no_partial_file() {
    let folder = Folder::new();
    let script = "$S run --out small -- sh -c 'echo fits > a.txt; head -c 200000 /dev/zero > big.bin'; echo status $?; ls -A small; cat small/a.txt";
    let Some(output) = with_small_disk(folder.path(), script) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, "status 125\na.txt\nfits\n", "{stderr}");
    assert!(stderr.contains("error: cannot write `big.bin`\n  why:  no space left on device; 1 output collected before it\n  next: free some space, or name another folder\n"), "{stderr}");
}

#[test]
fn scratch_on_a_full_disk_fails_as_any_disk_does_and_the_report_says_so() {
    // A tmpfs, and where they can be mounted a disk with blocks and one without attributes.
    for (kind, room) in [
        ("", 64_000),
        (
            "umount small; truncate -s 16M image; mkfs.ext4 -q image && mount -o loop image small || exit 77;",
            10_000_000,
        ),
    ] {
        let folder = Folder::new();
        let script = format!(
            "{kind} $S run --json --scratch-dir small -- sh -c 'head -c 200000000 /dev/zero > /tmp/large; wc -c < /tmp/large'; echo status $?; ls -A small | grep -v lost+found; $S run --quiet --scratch-dir small -- echo again"
        );
        let Some(output) = with_small_disk(folder.path(), &script) else { return };
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() == Some(77) {
            skipped("a full ext4", "a loop device cannot be mounted here");
            continue;
        }
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines[1..], ["status 0", "again"], "{stdout} {stderr}");
        let written: u64 = lines[0].parse().unwrap();
        assert!(written < 200_000_000 && written * 5 > room * 4 || room < 100_000, "{written} {stderr}");
        assert!(stderr.contains("No space left on device") && stderr.contains("disk-full"), "{stderr}");
    }
}

#[test]
fn scratch_on_a_file_system_without_attributes_is_copied_and_bound() {
    let folder = Folder::new();
    folder.write("p/main.txt", "main");
    let script = "umount small; mount -t ramfs ramfs small || exit 77
        $S run --json --scratch-dir small --project p --out out -- sh -c 'cat main.txt; echo more >> main.txt; echo new > new.txt'; echo status $?; ls -A small; cat out/main.txt out/new.txt";
    let Some(output) = with_small_disk(folder.path(), script) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(77) {
        skipped("a file system without attributes", "ramfs cannot be mounted here");
        return;
    }
    assert_eq!(stdout, "mainstatus 0\nmainmore\nnew\n", "{stderr}");
    assert!(
        stderr.contains("was copied: the kernel refused")
            && stderr.contains("the path of scratch on disk shows inside"),
        "{stderr}"
    );
    assert_eq!(folder.read("p/main.txt"), "main");
}

/// Runs are killed at random moments of their lives; another one beside them always works.
#[test]
fn commands_killed_with_scratch_on_disk_leave_nothing_that_the_next_does_not_sweep() {
    let seed = seed();
    for user in users() {
        let scene = Scene::new();
        scene.folder.write("p/data.txt", "data");
        std::fs::create_dir(scene.folder.path().join("disk")).unwrap();
        let disk = scene.folder.path().join("disk");
        let quick = ["--quiet", "--scratch-dir", "disk", "--", "true"];
        assert_eq!(scene.run(user, &quick).status, 0);
        std::thread::scope(|scope| {
            for number in 0..30_u64 {
                let code = "mkdir -p /tmp/a/b/c; chmod 0 /tmp/a/b; for n in 1 2 3 4 5 6 7 8 9; do echo $n > $n; done; sleep 1000";
                let (mut child, _state) =
                    scene.call(user).args(["--scratch-dir", "disk", "--project", "p", "--", "sh", "-c", code]).start();
                let moment = Duration::from_micros(random(seed, number) % LATEST_US);
                let killer = scope.spawn(move || {
                    std::thread::sleep(moment);
                    drop(child.kill());
                    child.wait().unwrap();
                });
                if number % 5 == 0 {
                    let (mut beside, _state) = scene.call(user).args(quick).start();
                    assert!(beside.wait().unwrap().success());
                }
                if number % 4 == 3 {
                    killer.join().unwrap();
                }
            }
        });
        until("folders of killed runs are left", || scene.run(user, &quick).status == 0 && listing(&disk).is_empty());
    }
}

#[test]
fn an_audit_trail_on_a_full_disk_stops_the_run() {
    let folder = Folder::new();
    // A page of the file is nearly full, so that no record fits into what is left of it.
    let script = "export STOCKADE_STATE_DIR=$PWD/small; for n in $(seq 60); do $S run --quiet -- true; size=$(wc -c < small/audit.jsonl); [ $((size % 4096)) -gt 3600 ] && break; done
        cat /dev/zero > small/full 2>/dev/null; $S run -- sh -c 'echo it ran'; echo status $?; [ $size = $(wc -c < small/audit.jsonl) ] && echo same; rm small/full
        $S run --quiet -- echo now; grep -E '\"record\":\"(intent|outcome)' small/audit.jsonl | tail -n 2; $S audit verify --trail small | head -n 1";
    let Some(output) = with_small_disk(folder.path(), script) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(
        lines[..3],
        ["status 125", "same", "now"],
        "a record that does not fit is taken back: {stdout} {stderr}"
    );
    assert!(
        stderr.starts_with("error: cannot write the audit record to `")
            && stderr.contains("; a run without a record is not made\n  next: free space or make it writable"),
        "{stderr}"
    );
    assert!(lines[5].starts_with("whole: ") && lines.len() == 6, "{stdout}");
    let records: Vec<serde_json::Value> = lines[3..5].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((records[0]["record"].as_str(), records[1]["record"].as_str()), (Some("intent"), Some("outcome")));
}

#[test]
fn records_of_runs_side_by_side_stay_whole() {
    let state = Folder::new();
    let runs: Vec<_> = (0..20)
        .map(|_| {
            call(STOCKADE, User::Caller)
                .env("STOCKADE_STATE_DIR", state.path().join("state"))
                .args(["run", "--quiet", "--", "true"])
                .start()
        })
        .collect();
    for (mut child, _own_state) in runs {
        assert!(child.wait().unwrap().success());
    }
    let trail = Call::trail(&state);
    assert_eq!(trail.len(), 40);
    assert_eq!(trail.iter().filter(|record| record["record"] == "outcome").count(), 20);
}

/// Where the init cannot do its work, the kernel's account and the code's own end still count.
#[test]
fn a_stopped_init_neither_hides_the_time_used_nor_keeps_the_run() {
    let mut stockade = std::process::Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args([
            "run",
            "--json",
            "--cgroup",
            "off",
            "--limit",
            "time=1s",
            "--",
            "sh",
            "-c",
            "echo begun; while :; do :; done",
        ])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut begun = [0; 6];
    std::io::Read::read_exact(stockade.stdout.as_mut().unwrap(), &mut begun).unwrap();
    let id = stockade.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let init = rustix::process::Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::STOP).unwrap();
    let output = stockade.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(report["cause"]["limit"], "time", "{report}");
    assert!(report["usage"]["cpu_ms"].as_u64().unwrap() >= 500, "{report}");
    assert!(report["notes"].to_string().contains("killed as a whole"), "{report}");
}

/// A caller may ignore any signal; what it ignores would stay so over an execution.
#[test]
fn signals_the_caller_ignores_change_nothing() {
    let ignoring = "import os, signal, sys\nfor one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n    try: signal.signal(one, signal.SIG_IGN)\n    except OSError: pass\nos.execv(sys.argv[1], sys.argv[1:])";
    let run = |words: &[&str]| {
        std::process::Command::new("python3")
            .args(["-c", ignoring, env!("CARGO_BIN_EXE_stockade"), "run", "--quiet", "--limit", "time=20s"])
            .args(words)
            .output()
            .unwrap()
    };
    let seen = run(&["--", "grep", "SigIgn", "/proc/self/status"]);
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "SigIgn:\t0000000000000000\n", "{seen:?}");
    assert_eq!(seen.status.code(), Some(0), "{seen:?}");
    let large = run(&["--limit", "file-size=4096", "--", "cp", "/usr/bin/env", "large"]);
    assert!(String::from_utf8_lossy(&large.stderr).contains("file-size"), "{large:?}");
}
