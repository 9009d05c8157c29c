//! Limits on real processes. The tests of groups need the right to make one,
//! mostly root, and print why when they are skipped; those of the watchdog
//! need nothing.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "helpers of tests, which clippy does not see as tests"
)]

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;
use stockade_launch::cgroup::{self, Available, Group, Limits, Version, Wall};
use stockade_launch::watch::{Precision, Sample, Verdict, Watch};

const MIB: u64 = 1 << 20;

fn limits(memory_mib: u64, pids: u64) -> Limits {
    Limits { memory_bytes: memory_mib * MIB, pids, cpu_percent: 100_000 }
}

/// One at a time: leftovers, timings and the host's shared memory are common.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A group, or the reason why this machine gives none.
fn group(name: &str, limits: &Limits) -> Option<(Available, Group)> {
    let available = cgroup::find();
    if let Available::None(absent) = &available {
        eprintln!("skipped: no control groups: {absent:?}");
        return None;
    }
    match Group::create(&available, name, limits) {
        Ok(group) => Some((available, group)),
        Err(failure) if rustix::process::geteuid().is_root() => panic!("{failure}"),
        Err(failure) => {
            eprintln!("skipped: {failure}; next: {}", failure.next());
            None
        }
    }
}

/// A shell that waits for a line before it starts, so that it can be moved.
fn shell(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("read go; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn go(child: &mut Child) {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
}

fn run_inside(group: &Group, script: &str) {
    let mut child = shell(script);
    group.attach(Pid::from_child(&child), 0).unwrap();
    go(&mut child);
    child.wait().unwrap();
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn groups_named(name: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let find = |point: &str| Command::new("find").args([point, "-name", &format!("stockade-{name}-*")]).output();
    points
        .flat_map(|p| String::from_utf8(find(p).unwrap().stdout).unwrap().lines().map(String::from).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_tree_over_its_memory_is_killed_and_counted() {
    let _guard = alone();
    let Some((_, group)) = group("oom", &limits(64, 100)) else {
        return;
    };
    run_inside(&group, "head -c 200M /dev/zero | tail");
    let usage = group.usage();
    eprintln!("{:?} {usage:?}", group.enforced());
    assert!(usage.oom_kills.unwrap() >= 1);
    assert!(usage.memory_peak_bytes.is_none_or(|peak| (60 * MIB..=65 * MIB).contains(&peak)));
    group.remove().unwrap();
    assert_eq!(groups_named("oom"), [""; 0]);
}

#[test]
fn memory_in_a_memfd_counts() {
    let _guard = alone();
    let Some((_, group)) = group("memfd", &limits(64, 100)) else {
        return;
    };
    let memfd: OwnedFd = memfd_create("hog", MemfdFlags::CLOEXEC).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "read go; exec head -c 200M /dev/zero"])
        .stdin(Stdio::piped())
        .stdout(Stdio::from(memfd))
        .spawn()
        .unwrap();
    group.attach(Pid::from_child(&child), 0).unwrap();
    go(&mut child);
    child.wait().unwrap();
    assert!(group.oom_kills().unwrap() >= 1);
    group.remove().unwrap();
}

#[test]
fn forks_beyond_the_limit_are_refused_and_counted() {
    let _guard = alone();
    let Some((_, group)) = group("pids", &limits(200, 8)) else {
        return;
    };
    run_inside(&group, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; wait");
    let usage = group.usage();
    assert!(usage.pids_refused.unwrap() >= 1, "{usage:?}");
    assert!(usage.pids_peak.is_none_or(|peak| peak <= 8), "{usage:?}");
    group.kill().unwrap();
    group.remove().unwrap();
}

#[test]
fn a_share_of_a_processor_is_held_and_time_is_counted() {
    let _guard = alone();
    let asked = Limits { cpu_percent: 20, ..limits(200, 50) };
    let Some((_, group)) = group("cpu", &asked) else {
        return;
    };
    assert_eq!(group.enforced().cpu, Wall::Held);
    let start = Instant::now();
    run_inside(&group, "timeout 1 sh -c 'while :; do :; done'");
    let used = group.usage().cpu_usec.unwrap();
    let wall = u64::try_from(start.elapsed().as_micros()).unwrap();
    assert!(used > wall / 20 && used < wall / 2, "used {used} of {wall}");
    group.remove().unwrap();
}

#[test]
fn time_of_children_nobody_waits_for_is_counted() {
    let _guard = alone();
    let Some((_, group)) = group("reap", &limits(200, 50)) else {
        return;
    };
    let script = "exec python3 -c 'import signal,os,time\nsignal.signal(signal.SIGCHLD,signal.SIG_IGN)\nif not os.fork():\n  while time.process_time()<0.4: pass\n  os._exit(0)\ntime.sleep(1.5)'";
    run_inside(&group, script);
    let used = group.usage().cpu_usec.unwrap();
    assert!(used > 300_000, "{used}");
    group.remove().unwrap();
}

#[test]
fn a_fork_storm_is_killed_to_the_last() {
    let _guard = alone();
    let Some((_, group)) = group("storm", &limits(400, 200)) else {
        return;
    };
    let mut child = shell("b() { while :; do sleep 9 & b2=$!; (b) & sleep 0.01; done; }; b");
    group.attach(Pid::from_child(&child), 0).unwrap();
    go(&mut child);
    until("the storm", || group.usage().pids_refused.unwrap() > 3);
    let reaper = std::thread::spawn(move || child.wait().unwrap());
    let start = Instant::now();
    group.kill().unwrap();
    eprintln!("storm killed in {:?}", start.elapsed());
    reaper.join().unwrap();
    group.remove().unwrap();
    assert_eq!(groups_named("storm"), [""; 0]);
}

#[test]
fn a_thread_lets_itself_in_through_the_doors() {
    let _guard = alone();
    let Some((_, group)) = group("doors", &limits(200, 50)) else {
        return;
    };
    let doors = group.doors().unwrap();
    if group.enforced().version == Version::V2 {
        assert!(doors.is_empty() && group.fd().is_some());
        return;
    }
    let name = group.name().to_string();
    let lines = std::thread::spawn(move || {
        doors.iter().try_for_each(|door| cgroup::enter(door.as_fd())).unwrap();
        std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
    });
    let lines = lines.join().unwrap();
    let inside = |tree: &str| lines.lines().any(|l| l.contains(&format!(":{tree}:")) && l.ends_with(&name));
    assert!(inside("memory") && inside("pids"), "{lines}");
    group.remove().unwrap();
}

#[test]
fn a_group_left_by_a_dead_supervisor_is_swept_and_a_living_one_is_not() {
    let _guard = alone();
    let Some((available, group)) = group("alive", &limits(100, 50)) else {
        return;
    };
    // A child makes a group in this test's own program and is killed.
    if std::env::var_os("LEAVE_A_GROUP").is_some() {
        let left = Group::create(&available, "left", &limits(100, 50)).unwrap();
        std::mem::forget(left);
        group.remove().unwrap();
        return;
    }
    if group.enforced().version == Version::V2 && std::env::var_os("IN_ROOT_GROUP").is_none() {
        eprintln!("skipped: the child would be in another group");
        return;
    }
    let name = "a_group_left_by_a_dead_supervisor_is_swept_and_a_living_one_is_not";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env("LEAVE_A_GROUP", "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    // Another run beside this test may sweep them first; gone they must be either way.
    let swept = cgroup::sweep(&available);
    assert_eq!(swept.kept, 0);
    assert_eq!(groups_named("left"), [""; 0]);
    assert!(!groups_named("alive").is_empty());
    group.remove().unwrap();
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let _guard = alone();
    let Some((available, group)) = group("twice", &limits(100, 50)) else {
        return;
    };
    let before = groups_named("twice").len();
    let failure = Group::create(&available, "twice", &limits(100, 50)).unwrap_err();
    assert_eq!(failure.step(), cgroup::Step::Make);
    assert_eq!(groups_named("twice").len(), before);
    drop(group);
    assert_eq!(groups_named("twice"), [""; 0]);
}

fn watched(script: &str, memory_mib: u64, mut enough: impl FnMut(&Sample) -> bool) -> Sample {
    let mut child = shell(script);
    let mut watch = Watch::new(Pid::from_child(&child), &limits(memory_mib, 100)).unwrap();
    go(&mut child);
    let mut sample = Sample::default();
    let script = script.to_string();
    until(&script, || {
        sample = watch.tick(None);
        enough(&sample)
    });
    kill_tree(child);
    assert!(watch.peak().memory_bytes >= sample.memory_bytes);
    sample
}

fn kill_tree(mut child: Child) {
    // Hold back the children's list while killing from the leaves up.
    let mut all = vec![child.id()];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        all.extend(list.split_whitespace().map(|n| n.parse::<u32>().unwrap()));
        next += 1;
    }
    for pid in all.iter().rev() {
        let pid = Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    child.wait().unwrap();
}

#[test]
fn the_watchdog_weighs_a_memory_hog_near_its_limit() {
    let _guard = alone();
    let hog = "python3 -c 'x=bytearray(150<<20)\nimport time; time.sleep(20)' & wait";
    let sample = watched(hog, 160, |s| s.memory_bytes > 150 * MIB);
    eprintln!("{sample:?}");
    assert_ne!(sample.precision, Precision::UpperBound);
    assert!(sample.memory_bytes < 170 * MIB && sample.processes == 2);
}

#[test]
fn the_watchdog_does_not_count_pages_shared_by_forks_twice() {
    let _guard = alone();
    let fork = "exec python3 -c 'import os,time\nx=bytearray(60<<20)\nfor i in range(4): os.fork() or time.sleep(20)\ntime.sleep(20)'";
    let mut over = false;
    let sample = watched(fork, 200, |s| {
        over |= s.verdict == Verdict::Over;
        s.processes == 5 && s.precision == Precision::Proportional
    });
    eprintln!("{sample:?}");
    assert!(sample.memory_bytes < 160 * MIB && !over);
}

#[test]
fn the_watchdog_ends_a_run_that_is_over_its_memory() {
    let _guard = alone();
    let hog = "exec python3 -c 'x=bytearray(200<<20)\nimport time; time.sleep(20)'";
    let sample = watched(hog, 100, |s| s.verdict == Verdict::Over);
    assert!(sample.memory_bytes > 100 * MIB);
    let forks = "exec python3 -c 'import os,time\nfor i in range(3): os.fork()\nx=bytearray(25<<20)\ntime.sleep(20)'";
    let sample = watched(forks, 100, |s| s.verdict == Verdict::Over);
    assert!(sample.memory_bytes > 100 * MIB && sample.processes > 3);
}

#[test]
fn the_watchdog_estimates_what_it_may_not_weigh() {
    let _guard = alone();
    let closed = "exec python3 -c 'import ctypes,time\nctypes.CDLL(None).prctl(4,0,0,0,0)\nx=bytearray(120<<20)\ntime.sleep(20)'";
    let sample = watched(closed, 100, |s| s.verdict == Verdict::Over);
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may weigh every process");
    } else {
        assert_eq!((sample.precision, sample.unreadable), (Precision::Estimated, 1));
    }
}

#[test]
fn the_watchdog_sees_memory_behind_an_ended_first_thread() {
    let _guard = alone();
    let hide = "exec python3 -c 'import threading,ctypes,time\ndef f():\n  x=bytearray(120<<20); time.sleep(20)\nthreading.Thread(target=f).start()\nctypes.CDLL(None).syscall(60,0)'";
    let sample = watched(hide, 400, |s| s.memory_bytes > 110 * MIB);
    assert_eq!(sample.processes, 1);
    let sample = watched(hide, 130, |s| s.memory_bytes > 110 * MIB);
    assert_ne!(sample.precision, Precision::UpperBound);
}

#[test]
fn the_watchdog_sees_a_memfd_that_nobody_maps_once() {
    let _guard = alone();
    let hog = "exec python3 -c 'import os,time\nf=os.memfd_create(\"x\")\ng=os.dup(f)\nos.fork()\nif os.lseek(f,0,2)==0: os.write(f,bytes(100<<20))\ntime.sleep(20)'";
    let sample = watched(hog, 1000, |s| s.memfd_bytes >= 100 * MIB);
    assert!(sample.memfd_bytes < 210 * MIB && sample.memory_bytes > 100 * MIB, "{sample:?}");
    let forged = "cd /dev/shm && : > 'memfd:x (deleted)'; sleep 20";
    let sample = watched(forged, 1000, |s| s.processes == 2);
    assert_eq!(sample.memfd_bytes, 0);
}

#[test]
fn the_watchdog_counts_many_processes_and_threads() {
    let _guard = alone();
    let many = "i=0; while [ $i -lt 300 ]; do sleep 20 & i=$((i+1)); done; wait";
    let sample = watched(many, 1000, |s| s.processes == 301);
    assert!(!sample.truncated && sample.threads == 301);
    let threads = "exec python3 -c 'import threading,time\nfor i in range(50): threading.Thread(target=time.sleep,args=(20,)).start()'";
    watched(threads, 1000, |s| s.threads == 51);
}

#[test]
fn the_watchdog_counts_processor_time_of_the_dead() {
    let _guard = alone();
    let busy = "python3 -c 'import time\nwhile time.process_time()<0.4: pass'; sleep 20; :";
    watched(busy, 1000, |s| s.cpu_usec > 300_000 && s.processes == 2);
}

#[test]
fn the_watchdog_reads_scratch_in_memory_only() {
    let _guard = alone();
    let mut child = shell("sleep 1");
    let mut watch = Watch::new(Pid::from_child(&child), &limits(1000, 10)).unwrap();
    let disk = std::fs::File::open("/work").or_else(|_| std::fs::File::open("/")).unwrap();
    let before = watch.tick(Some(disk.as_fd()));
    assert_eq!(before.scratch_bytes, 0);
    child.kill().unwrap();
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_vanished_tree_is_an_empty_sample() {
    let _guard = alone();
    let mut child = shell(":");
    let pid = Pid::from_child(&child);
    let mut watch = Watch::new(pid, &limits(100, 10)).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let sample = watch.tick(None);
    assert_eq!((sample.processes, sample.memory_bytes, sample.truncated), (0, 0, false));
    assert!(Watch::new(pid, &limits(100, 10)).is_err());
}

fn time<T>(what: &str, rounds: usize, mut step: impl FnMut() -> T) {
    let mut all: Vec<Duration> = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        std::hint::black_box(step());
        all.push(start.elapsed());
    }
    all.sort();
    eprintln!("{what:40} median {:?}, worst {:?}", all[rounds / 2], all[rounds - 1]);
}

/// Not a timed test: it prints what one step costs on this machine.
#[test]
fn costs_are_printed() {
    let _guard = alone();
    time("find", 50, cgroup::find);
    if let Some((available, first)) = group("cost", &limits(100, 50)) {
        time("sweep of nothing", 50, || cgroup::sweep(&available));
        time("usage", 50, || first.usage());
        time("oom_kills", 50, || first.oom_kills());
        first.remove().unwrap();
        let mut held = Vec::new();
        time("create", 50, || {
            let name = format!("cost{}", held.len());
            held.push(Group::create(&available, &name, &limits(100, 50)).unwrap());
        });
        time("doors", 50, || held[0].doors().unwrap());
        time("remove", 50, || held.pop().unwrap().remove().unwrap());
    }
    let mut child = shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 20 & done; wait");
    let pid = Pid::from_child(&child);
    go(&mut child);
    let mut watch = Watch::new(pid, &limits(100_000, 50)).unwrap();
    until("ten processes", || watch.tick(None).processes == 10);
    time("tick, 10 processes", 200, || watch.tick(None));
    let mut near = Watch::new(pid, &limits(1, 50)).unwrap();
    time("tick near the limit, 10 processes", 100, || near.tick(None));
    kill_tree(child);
}
