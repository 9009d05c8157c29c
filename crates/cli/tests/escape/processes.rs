//! Processes: the init, other processes of the run and of the host, signals, the caller's terminal.

use crate::support::{PRELUDE, User, assert_all, assert_said, at_terminal, attack, mark, said, text, users};

#[test]
fn nothing_of_the_init_can_be_read() {
    for user in users() {
        let code = r#"
for name in ("environ", "maps", "mem", "fd", "fdinfo", "cwd", "root", "exe", "auxv", "cmdline", "status", "stat", "ns/user", "ns/mnt", "task/1/mem", "map_files", "syscall", "stack", "io", "limits", "mountinfo", "net/tcp", "attr/current", "clear_refs", "oom_score_adj", "uid_map"):
    attempt(name, lambda: os.close(os.open("/proc/1/" + name, os.O_RDONLY)))
for name in ("mem", "oom_score_adj", "clear_refs", "uid_map", "setgroups", "timens_offsets"):
    attempt("write " + name, lambda: os.close(os.open("/proc/1/" + name, os.O_WRONLY)))
attempt("listed", lambda: "1" in os.listdir("/proc"))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("listed").unwrap(), "done False");
        assert_eq!(told.len(), 32);
        for (what, how) in told {
            assert_eq!(how, "ENOENT", "{what}");
        }
    }
}

#[test]
fn the_init_can_be_neither_traced_nor_read_by_system_call() {
    for user in users() {
        let code = r#"
buffer = ctypes.create_string_buffer(64)
vector = struct.pack("QQ", ctypes.addressof(buffer), 64)
remote = struct.pack("QQ", 0x400000, 64)
for pid in (1, os.getpid(), os.getppid()):
    attempt(f"attach {pid}", lambda: call("ptrace", 16, pid, 0, 0))
    attempt(f"seize {pid}", lambda: call("ptrace", 0x4206, pid, 0, 0))
    attempt(f"readv {pid}", lambda: call("process_vm_readv", pid, vector, 1, remote, 1, 0))
    attempt(f"writev {pid}", lambda: call("process_vm_writev", pid, vector, 1, remote, 1, 0))
    attempt(f"kcmp {pid}", lambda: call("kcmp", pid, os.getpid(), 0, 0, 0))
    attempt(f"move {pid}", lambda: call("move_pages", pid, 0, 0, 0, 0, 0))
    attempt(f"getfd {pid}", lambda: call("pidfd_getfd", call("pidfd_open", pid, 0), 0, 0))
    attempt(f"madvise {pid}", lambda: call("process_madvise", call("pidfd_open", pid, 0), vector, 1, 4, 0))
attempt("traceme", lambda: call("ptrace", 0, 0, 0, 0))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        // pid 0, which the parent of the first process reads as, has no such process.
        assert_all(&ran, &["EPERM", "EINVAL", "ESRCH"]);
        for (what, how) in said(&ran).iter().filter(|(what, _)| what.ends_with(" 1") || *what == "traceme") {
            assert_eq!(how, "EPERM", "{what}");
        }
    }
}

#[test]
fn the_init_outlives_every_signal_of_the_code() {
    for user in users() {
        let code = r#"
for number in range(1, 65):
    attempt(f"signal {number}", lambda: os.kill(1, number)) if number not in (32, 33) else None
init = call("pidfd_open", 1, 0)
attempt("pidfd", lambda: signal.pidfd_send_signal(init, signal.SIGKILL))
def everyone():
    os.setsid()
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(-1, signal.SIGTERM)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
in_child(everyone)
attempt("group", lambda: os.kill(0, 0))
say("alive", "yes")
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let told = said(&ran);
        assert_eq!(told["alive"], "yes");
        // Refused by Landlock's scope, or permitted and without effect: the kernel spares a namespace's init.
        assert!(
            told.iter().all(|(what, how)| !(what.starts_with("signal ") || what == "pidfd")
                || ["done", "EPERM"].contains(&how.as_str())),
            "{told:?}"
        );
    }
}

/// With kill(0) and kill(-1) the code ends itself, and nothing of the caller's.
#[test]
fn killing_everyone_ends_the_run_only() {
    for user in users() {
        for target in ["0", "-1", "-os.getpgrp()"] {
            // The caller's shell and a neighbour in its process group survive.
            let code = format!(
                "{PRELUDE}\ntry: os.kill({target}, signal.SIGKILL)\nexcept ProcessLookupError: pass\nos.kill(os.getpid(), signal.SIGKILL)"
            );
            let ran = crate::support::call("sh", user)
                .args(["-c", r#"sleep 300 & neighbour=$!; "$@"; echo "status $?"; kill -0 $neighbour && echo "neighbour lives"; kill $neighbour"#, "sh", crate::support::STOCKADE, "run", "--json", "-c", &code])
                .run()
                .expect(0);
            assert_eq!(ran.stdout, "status 137\nneighbour lives\n", "{target}: {}", ran.stderr);
            assert_eq!(ran.report()["cause"]["kind"], "signalled");
        }
    }
}

#[test]
fn the_limits_of_the_init_cannot_be_changed() {
    for user in users() {
        let code = r#"
zero = struct.pack("QQ", 0, 0)
for resource in range(16):
    attempt(f"prlimit {resource}", lambda: call("prlimit64", 1, resource, zero, 0))
attempt("old too", lambda: call("prlimit64", 1, 7, zero, ctypes.create_string_buffer(16)))
attempt("high bits", lambda: call("prlimit64", 1 | 1 << 32, 7, zero, 0))
import resource as limits
for one in (limits.RLIMIT_NOFILE, limits.RLIMIT_NPROC, limits.RLIMIT_FSIZE, limits.RLIMIT_CORE):
    soft, hard = limits.getrlimit(one)
    try:
        limits.setrlimit(one, (hard + 1, hard + 1))
        say(f"raise {one}", "done")
    except ValueError:
        say(f"raise {one}", "EPERM")
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
        assert_eq!(said(&ran).len(), 22);
    }
}

#[test]
fn processes_of_the_host_are_neither_seen_nor_reached() {
    for user in users() {
        let secret = mark("argv");
        let mut neighbour =
            std::process::Command::new("sleep").args(["300"]).env("NEIGHBOUR", &secret).spawn().unwrap();
        let code = format!(
            r#"
seen = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
say("own", seen == [os.getpid()] and os.getpid() < 10)
say("parent", os.getppid())
attempt("signal", lambda: os.kill({pid}, 0))
attempt("cmdline", lambda: open("/proc/{pid}/cmdline").read())
attempt("pidfd", lambda: call("pidfd_open", {pid}, 0))
attempt("priority", lambda: os.getpriority(os.PRIO_PROCESS, {pid}))
attempt("affinity", lambda: os.sched_getaffinity({pid}))
attempt("session", lambda: os.getsid({pid}))
"#,
            pid = neighbour.id()
        );
        let ran = attack(user, &[], &code).run().expect(0);
        neighbour.kill().unwrap();
        neighbour.wait().unwrap();
        assert_said(
            &ran,
            &[
                ("own", "True"),
                ("parent", "1"),
                ("signal", "ESRCH"),
                ("cmdline", "ENOENT"),
                ("pidfd", "ESRCH"),
                ("priority", "ESRCH"),
                ("affinity", "ESRCH"),
                ("session", "ESRCH"),
            ],
        );
    }
}

/// Typing into the terminal of the caller, or pasting from its console.
#[test]
fn the_callers_terminal_cannot_be_typed_into() {
    for user in users() {
        let code = format!(
            r#"{PRELUDE}
import fcntl, termios
letter = ctypes.create_string_buffer(b"\n")
for what, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCCONS", 0x541D), ("TIOCSETD", 0x5423)):
    for number in (0, 1, 2):
        attempt(f"{{what}} {{number}}", lambda: call("ioctl", number, request, letter))
    attempt(f"{{what}} tty", lambda: call("ioctl", os.open("/dev/tty", os.O_RDWR), request, letter))
    attempt(f"{{what}} high", lambda: call("ioctl", 0, request | 1 << 32, letter))
say("terminal", os.ttyname(0))
say("pts", sorted(os.listdir("/dev/pts")))
attempt("session", lambda: os.tcgetpgrp(0) == os.getpgrp())
"#
        );
        let ran = at_terminal(user, &["-q", "-c", &code]).run().expect(0);
        let told: std::collections::BTreeMap<String, String> = said(&ran);
        assert_eq!(told["terminal"].trim(), "/dev/pts/0", "{}", ran.stdout);
        assert_eq!(told["pts"].trim(), "['0', 'ptmx']");
        assert_eq!(told["session"].trim(), "done True");
        let attempts: Vec<_> = told.iter().filter(|(what, _)| what.starts_with("TIO")).collect();
        assert_eq!(attempts.len(), 20);
        for (what, how) in attempts {
            assert_eq!(how.trim(), "EPERM", "{what}");
        }
    }
}

#[test]
fn the_terminal_inside_is_not_the_callers() {
    for user in users() {
        // Without a terminal there is none inside either: pipes, and no controlling terminal.
        let ran = attack(
            user,
            &[],
            r#"
attempt("tty", lambda: os.open("/dev/tty", os.O_RDWR))
say("terminal", os.isatty(0) or os.isatty(1) or os.isatty(2))
attempt("pts", lambda: [name for name in os.listdir("/dev/pts") if name != "ptmx"])
attempt("console", lambda: os.open("/dev/console", os.O_RDWR))
"#,
        )
        .run()
        .expect(0);
        assert_said(&ran, &[("tty", "ENXIO"), ("terminal", "False"), ("pts", "done []"), ("console", "ENOENT")]);
    }
}

/// A terminal obeys more than colours: it answers questions onto the caller's input.
#[test]
fn terminal_escape_sequences_are_neutralised_when_standard_output_is_a_terminal() {
    let attacks = r#"
import sys
out = sys.stdout.buffer
for one in (b"\x1b]52;c;ZWNobyBwd25lZA==\x07", b"\x1b]0;title\x1b\\", b"\x1b[6n", b"\x1b[2J", b"\x1bP$qm\x1b\\", b"\x1bc", b"\xc2\x9b6n", b"\x9b6n", b"\x1b[21t", b"\x1b]8;;http://x/\x1b\\", b"\x05", b"\x1b[?1049h", b"\x1b#8", b"\x1b_x\x1b\\"):
    out.write(b"<" + one + b">\n")
    out.flush()
    sys.stderr.buffer.write(b"<" + one + b">\n")
    sys.stderr.flush()
"#;
    for user in users() {
        let shown = at_terminal(user, &["-q", "-c", attacks]).run().expect(0).stdout;
        assert_eq!(shown.matches('<').count(), 28, "{shown:?}");
        for danger in ['\u{1b}', '\u{7}', '\u{9b}', '\u{5}'] {
            assert!(!shown.contains(danger), "{danger:?} in {shown:?}");
        }
        // The caller may ask for them: then they are there, which shows that the test sees them.
        let raw = at_terminal(user, &["-q", "--raw", "-c", attacks]).run().expect(0).stdout;
        assert!(raw.contains("\u{1b}]52;c;") && raw.contains("\u{1b}[6n"), "{raw:?}");
    }
}

/// Colours pass, but must not hide what Stockade itself says afterwards.
#[test]
fn the_report_is_not_hidden_by_colours_of_the_code() {
    for user in users() {
        let shown = at_terminal(user, &["-c", r"print('\x1b[8mhidden', end='')"]).run().expect(0).stdout;
        let before = shown.split("stockade: done").next().unwrap();
        assert!(before.contains("\u{1b}[8m"), "{shown:?}");
        assert!(
            before.ends_with("\u{1b}[0m") || before.trim_end().ends_with("\u{1b}[0m"),
            "conceal is still on when the report begins: {shown:?}"
        );
    }
}

/// Who reads the report as the last line of standard error must find it there.
#[test]
fn the_report_begins_on_a_line_of_its_own_whatever_the_code_wrote() {
    for user in users() {
        let ran = attack(
            user,
            &[],
            r#"os.write(2, b'{"run":"forged","cause":{"kind":"exited","status":0}} no end of line ')"#,
        )
        .run()
        .expect(0);
        assert_ne!(ran.report()["run"], "forged");
    }
}

#[test]
fn what_the_code_says_in_the_report_cannot_steer_a_terminal() {
    for user in users() {
        let folder = stockade_testkit::Folder::new();
        let ran = crate::support::call(crate::support::STOCKADE, user)
            .args(["run", "-c", "open('/job/a\\x1b[2Jb\\nstockade: done', 'w').close()\nimport socket\ntry: socket.getaddrinfo('x\\x1b]0;evil\\x07', 80)\nexcept Exception: pass"])
            .within(folder.path())
            .run();
        assert!(
            !ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\u{7}'),
            "{:?} {}",
            ran.stderr,
            text(folder.path())
        );
        assert_eq!(
            ran.stderr.matches("\nstockade: done").count() + usize::from(ran.stderr.starts_with("stockade: done")),
            usize::from(ran.status == 0),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn the_caller_started_as_root_is_no_more_exposed_than_an_ordinary_user() {
    // Both answer the same: whoever starts it, the code is the same nobody.
    let code = r#"
attempt("uid", lambda: (os.getresuid(), os.getresgid(), os.getgroups() in ([], [65534])))
attempt("map", lambda: open("/proc/self/uid_map").read().split()[0::2])
"#;
    let answers: Vec<String> =
        users().into_iter().map(|user: User| attack(user, &[], code).run().expect(0).stdout).collect();
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
}
