//! Lifetime: what outlives the code, and what outlives Stockade itself.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stockade_testkit::cgroups_left;

use crate::support::{STOCKADE, assert_gone, attack, call, eventually, mark, processes_with, users};

/// The stubborn kind: forked twice, own session, deaf, and with the parent-death signal cleared.
const DAEMON: &str = r#"
def daemon():
    if os.fork() != 0: os._exit(0)
    os.setsid()
    if os.fork() != 0: os._exit(0)
    call("prctl", 1, 0, 0, 0, 0)
    for number in signal.valid_signals():
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True: time.sleep(1)
"#;

#[test]
fn a_daemon_left_behind_is_gone_when_the_run_ends() {
    for user in users() {
        let name = mark("daemon");
        let code = format!("# {name}\n{DAEMON}\nin_child(daemon)\ntime.sleep(0.3)\nsay('left', 'yes')");
        let ran = attack(user, &[], &code).run().expect(0);
        assert!(ran.report()["processes_left"].as_u64().unwrap() >= 1, "{}", ran.stderr);
        // At the very moment it returns, not later.
        assert_eq!(processes_with(&name), Vec::<u32>::new());
    }
}

/// The same without walls stays alive, which shows that the daemon is one.
#[test]
fn the_daemon_of_these_tests_does_outlive_its_parent_without_walls() {
    let name = mark("control");
    let folder = crate::support::Folder::new();
    let code = format!(
        "# {name}\n{DAEMON}\nfor number in (0, 1, 2): os.dup2(os.open('/dev/null', os.O_RDWR), number)\nin_child(daemon)\ntime.sleep(0.3)"
    );
    assert_eq!(crate::support::outside(folder.path(), &code).status, 0);
    let left = processes_with(&name);
    for pid in &left {
        kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    assert_eq!(left.len(), 1);
}

#[test]
fn a_pipe_held_open_by_a_grandchild_does_not_hang_the_run() {
    for user in users() {
        let name = mark("pipe");
        let code = format!("# {name}\n{DAEMON}\nin_child(daemon)\nsay('done', 'yes')");
        let began = Instant::now();
        let ran = attack(user, &[], &code).run().expect(0);
        assert_eq!(ran.stdout, "done: yes\n");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_gone(&name);
    }
}

#[test]
fn nothing_outlives_stockade_when_it_is_killed() {
    for user in users() {
        for terminal in [false, true] {
            let name = mark("orphan");
            let code = format!(
                "{}\n# {name}\n{DAEMON}\nin_child(daemon)\nin_child(daemon)\ncall('prctl', 1, 0, 0, 0, 0)\nos.setsid() if os.getpid() != os.getsid(0) else None\nsay('ready', 'yes')\ntime.sleep(600)",
                crate::support::PRELUDE
            );
            let starting = if terminal {
                crate::support::at_terminal(user, &["-q", "-c", &code])
            } else {
                call(STOCKADE, user).args(["run", "-q", "-c", &code])
            };
            let (mut child, _state) = starting.start();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(line.trim(), "ready: yes");
            assert!(processes_with(&name).len() >= 3);
            // `stockade` itself: at a terminal it is the child of what made the terminal.
            let supervisor = if terminal {
                let text = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
                text.split_whitespace().next().unwrap().parse().unwrap()
            } else {
                i32::try_from(child.id()).unwrap()
            };
            kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
            if !terminal {
                child.wait().unwrap();
            }
            eventually("the sandbox is gone", || processes_with(&name).iter().all(|pid| *pid == child.id()));
            if terminal {
                child.wait().unwrap();
            }
            assert_gone(&name);
        }
    }
    // What a killed run leaves of its cgroup is removed by the next run.
    attack(crate::support::User::Caller, &[], "pass").run().expect(0).stderr.clear();
}

#[test]
fn the_next_run_removes_the_cgroup_of_a_killed_one() {
    let name = mark("group");
    let code = format!("# {name}\nimport time\nprint('ready', flush=True)\ntime.sleep(600)");
    let (mut child, _state) = call(STOCKADE, crate::support::User::Caller).args(["run", "-q", "-c", &code]).start();
    let mut byte = [0; 5];
    child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    // Its group's name holds its process id.
    let pid = format!("-{}-", child.id());
    let own = || cgroups_left().into_iter().filter(|group| group.contains(&pid)).collect::<Vec<_>>();
    if own().is_empty() {
        crate::support::skipped("cgroups of killed runs", "this caller cannot make a cgroup");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&name);
    let ran = attack(crate::support::User::Caller, &[], "pass").run().expect(0);
    assert_eq!(own(), Vec::<String>::new(), "{}", ran.stderr);
}

#[test]
fn an_interrupt_reaches_the_code_and_a_second_one_ends_it() {
    for user in users() {
        let name = mark("interrupt");
        let code = format!(
            "# {name}\nimport os, signal, time\nsignal.signal(signal.SIGINT, lambda *_: os.write(1, b'caught\\n'))\nos.write(1, b'ready\\n')\nwhile True: time.sleep(1)"
        );
        let (mut child, _state) = call(STOCKADE, user).args(["run", "--json", "-c", &code]).start();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        kill_process(pid, Signal::INT).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "caught");
        kill_process(pid, Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_gone(&name);
    }
}

#[test]
fn nothing_is_left_when_the_callers_reader_goes_away() {
    for user in users() {
        let name = mark("reader");
        let code = format!("# {name}\n{DAEMON}\nin_child(daemon)\nwhile True: os.write(1, b'x' * 65536)");
        let (mut child, _state) = call(STOCKADE, user)
            .args(["run", "-q", "--limit", "time=20s", "-c", &format!("{}\n{code}", crate::support::PRELUDE)])
            .start();
        let mut some = [0; 1024];
        child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
        drop(child.stdout.take());
        // The code learns of it as any program does: its pipe is closed.
        child.wait().unwrap();
        assert_gone(&name);
    }
}

#[test]
fn no_mount_of_a_run_is_seen_outside() {
    for user in users() {
        let folder = crate::support::Folder::new();
        folder.write("share/file", "");
        attack(user, &["--share", crate::support::text(&folder.path().join("share"))], "say('x', 'y')")
            .run()
            .expect(0)
            .stderr
            .clear();
        let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!after.contains(crate::support::text(folder.path())) && !after.contains(".stockade"), "{after}");
    }
}

/// Everything inside is dead, and the caller's reader neither reads nor goes away.
#[test]
fn stockade_can_be_ended_while_its_reader_stalls() {
    for user in users() {
        let name = mark("stalled");
        let code = format!(
            "# {name}\nimport os, sys\nos.write(2, b'ready\\n')\nos.write(1, b'x' * 60000)\nos.write(1, b'x' * 60000)\nos.write(1, b'x' * 10000)"
        );
        let (mut child, _state) = call(STOCKADE, user).args(["run", "-q", "-c", &code]).start();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // The code ends when its own pipe has taken the rest; what is left lies with the supervisor.
        let pid = child.id();
        eventually("the code has ended", || {
            !processes_with(&name).iter().any(|one| {
                std::fs::read_to_string(format!("/proc/{one}/comm")).is_ok_and(|comm| comm.starts_with("python"))
            })
        });
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::TERM).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("a stalled reader keeps Stockade from ending");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_gone(&name);
    }
}
