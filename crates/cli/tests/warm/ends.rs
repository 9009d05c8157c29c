//! What is left: nothing, whoever ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use stockade_core::request::CgroupMode;
use stockade_core::warm::Ids;
use stockade_engines::warm::{self, Ended};

use crate::scene::{BOUNDS, Scene, ids, text, users_of};

/// The word by which this program starts itself as a launcher.
pub const LAUNCHER: &str = "--as-launcher";

/// Processes with a user of these.
fn processes(ids: Ids) -> Vec<i32> {
    let all = ids.template()..ids.engines().end;
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| Pid::from_raw(*pid).is_some_and(|pid| users_of(pid).iter().any(|user| all.contains(user))))
        .collect()
}

pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

const LEAVES_MUCH: &str = "
import os, subprocess, sys
for _ in range(3):
    if os.fork() == 0:
        os.setsid(); subprocess.Popen(['sleep', '1000']); import time; time.sleep(1000)
open('/tmp/file', 'w').write('x' * 1000); print('done')
";

pub fn nothing_is_left_of_an_engine_that_was_dropped() {
    let before = mounts();
    let mut scene = Scene::start(None, &[], CgroupMode::Auto);
    drop(scene.engine().unwrap());
    let (own, descriptors) = (processes(ids()).len(), open_descriptors());
    for _ in 0..5 {
        assert_eq!(text(&scene.run(LEAVES_MUCH).output), "done\n");
        let engine = scene.engine().unwrap();
        let claimed = scene.claimed(engine);
        warm::run(&claimed, LEAVES_MUCH.as_bytes(), BOUNDS).unwrap();
        drop(claimed.kill().unwrap());
        drop(scene.template.make_cell().unwrap());
        let cell = scene.template.make_cell().unwrap();
        drop(scene.template.order(cell).unwrap());
        scene.template.begin_cell().unwrap();
        drop(scene.template.make_cell().unwrap());
        drop(scene.template.finish_cell().unwrap());
    }
    assert_eq!(text(&scene.run("print(2)").output), "2\n");
    eventually("processes are gone", || processes(ids()).len() == own);
    assert_eq!(open_descriptors(), descriptors);
    drop(scene);
    assert_eq!(processes(ids()), Vec::<i32>::new());
    assert_eq!(mounts(), before);
    let left = stockade_testkit::cgroups_left();
    assert!(!left.iter().any(|group| group.contains(&format!("-{}-", std::process::id()))), "{left:?}");
}

/// In a process of its own: a template, an engine that runs, one that waits, walls that wait, some that rise.
pub fn launch(_: Option<&str>) {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let (one, waiting) = (scene.engine().unwrap(), scene.engine().unwrap());
    let claimed = scene.claimed(one);
    let patient = warm::Bounds { longest: Duration::from_millis(300), ..BOUNDS };
    let code = format!("{LEAVES_MUCH}\nimport time; time.sleep(1000)");
    warm::run(&claimed, code.as_bytes(), patient).unwrap();
    let cell = scene.template.make_cell().unwrap();
    scene.template.begin_cell().unwrap();
    println!("{} {}", ids().template(), processes(ids()).len());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(60));
    drop((waiting, cell));
}

pub fn nothing_is_left_when_the_launcher_is_killed() {
    for signal in [Signal::KILL, Signal::TERM] {
        let mut child =
            Command::new(std::env::current_exe().unwrap()).arg(LAUNCHER).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<u32> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let ids = Ids::parse(words[0], 0x1_0000).unwrap();
        // Template, its maker, three engines or walls and more, what the code started.
        assert!(words[1] >= 12 && processes(ids).len() >= 12, "{line}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        eventually("everything is gone", || processes(ids).is_empty());
    }
}

pub fn engines_end_with_their_template() {
    for whom in ["its init", "its process"] {
        let mut scene = Scene::start(None, &[], CgroupMode::Off);
        let (one, waiting) = (scene.engine().unwrap(), scene.engine().unwrap());
        let cell = scene.template.make_cell().unwrap();
        let victim = match whom {
            "its init" => scene.template.init(),
            _ => child_of(scene.template.init()),
        };
        let claimed = scene.claimed(one);
        kill_process(victim, Signal::KILL).unwrap();
        let answer = warm::run(&claimed, b"import time; time.sleep(30)", BOUNDS).unwrap();
        assert_eq!(answer.ended, Ended::Silent, "{whom}");
        assert!(scene.template.fork(cell).is_err(), "{whom}");
        // Its init first kills the others, one of whom made walls.
        eventually("no walls are made any more", || scene.template.make_cell().is_err());
        drop((claimed, waiting, scene));
        assert_eq!(processes(ids()), Vec::<i32>::new(), "{whom}");
        // Whoever had it starts another.
        let mut next = Scene::start(None, &[], CgroupMode::Off);
        assert_eq!(text(&next.run("print(1)").output), "1\n");
    }
}

pub fn engines_end_with_what_made_their_walls_or_are_served_on() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let engine = scene.engine().unwrap();
    let claimed = scene.claimed(engine);
    kill_process(scene.template.maker(), Signal::KILL).unwrap();
    assert!(scene.template.make_cell().is_err());
    assert_eq!(warm::run(&claimed, b"print(1)", BOUNDS).unwrap().output, b"1\n");
    drop((claimed, scene));
    assert_eq!(processes(ids()), Vec::<i32>::new());
}

pub fn who_makes_walls_is_not_waited_for_without_end() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let engine = scene.engine().unwrap();
    let claimed = scene.claimed(engine);
    kill_process(scene.template.maker(), Signal::STOP).unwrap();
    assert!(!scene.template.makes_no_more());
    let asked = Instant::now();
    assert!(scene.template.make_cell().is_err());
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert!(scene.template.makes_no_more(), "what it answers now answers nobody can say which order");
    assert_eq!(warm::run(&claimed, b"print(1)", BOUNDS).unwrap().output, b"1\n");
    drop((claimed, scene));
    assert_eq!(processes(ids()), Vec::<i32>::new());
}

pub fn an_engine_killed_from_outside_harms_no_other() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    for is_init in [false, true] {
        let (one, other) = (scene.engine().unwrap(), scene.engine().unwrap());
        let process = pidfd_open(one.process(), PidfdFlags::empty()).unwrap();
        kill_process(if is_init { one.init() } else { one.process() }, Signal::KILL).unwrap();
        // What is killed may go on for a moment: the end of its init reaches it by the kernel.
        rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], None).unwrap();
        let claimed = scene.claimed(one);
        assert_eq!(warm::run(&claimed, b"print(1)", BOUNDS).unwrap().ended, Ended::Silent);
        let claimed = scene.claimed(other);
        assert_eq!(warm::run(&claimed, b"print(1)", BOUNDS).unwrap().output, b"1\n");
    }
    assert_eq!(text(&scene.run("print(2)").output), "2\n");
}

fn child_of(pid: Pid) -> Pid {
    let pid = pid.as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
}
