#![cfg(feature = "dangerous-test-hooks")]
//! One wall is taken away: either the run refuses to start, or the others still hold, or the attack
//! that guards the wall notices.
//!
//! What the hooks cannot take away (the private root, scratch, the throw-away user, the watchdog, the
//! cgroup and time namespaces) is not tried here. Without a pid namespace the init's
//! kill(-1) reaches every process of its user, so that removal is tried only where root starts the
//! run and its user is nobody else's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise, in what they share too"
)]

use stockade_testkit::{Call, Ran, User, call, skipped, users};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

/// Layers the built-in policy requires, as far as hooks can take them away.
const REQUIRED: [&str; 5] = ["network", "no-new-privileges", "no-capabilities", "seccomp", "landlock"];
/// Layers a run may do without; the report then does not claim them.
const OPTIONAL: [&str; 6] = ["ipc", "locked-mounts", "proc", "scopes", "cgroup", "rlimits"];
/// Without these nothing can be built: what they would separate is the host's.
const ESSENTIAL: [&str; 3] = ["user", "mount", "uts"];

fn without(user: User, layers: &str, flags: &[&str], code: &str) -> Call {
    let prelude = include_str!("escape/prelude.py");
    call(STOCKADE, user)
        .args(["run", "--json"])
        .args(flags)
        .args(["-c", &format!("{prelude}\n{code}")])
        .env("STOCKADE_TEST_WITHOUT", layers)
}

fn layers(ran: &Ran) -> Vec<String> {
    ran.report()["enforced"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_refused(ran: &Ran, layer: &str) {
    assert_eq!((ran.status, ran.stdout.as_str()), (125, ""), "without {layer}: {}", ran.stderr);
    assert_eq!(ran.report()["cause"]["kind"], "refused", "without {layer}: {}", ran.stderr);
}

#[test]
fn the_hooks_take_a_layer_away_and_the_report_says_so() {
    for user in users() {
        let whole = without(user, "none", &[], "print('started')").run().expect(0);
        for layer in OPTIONAL {
            if !layers(&whole).iter().any(|one| one == layer) {
                skipped(&format!("without {layer}"), "this machine does not give it to begin with");
                continue;
            }
            let ran = without(user, layer, &[], "print('started')").run().expect(0);
            assert_eq!(ran.stdout, "started\n");
            let mut expected = layers(&whole);
            expected.retain(|one| one != layer);
            if layer == "cgroup" {
                expected.insert(expected.iter().position(|one| one == "rlimits").unwrap(), "watchdog".to_owned());
            }
            // Landlock gives both or its own share; nothing else may change.
            assert_eq!(layers(&ran), expected, "without {layer}");
        }
    }
}

#[test]
fn a_run_that_requires_a_layer_does_not_start_without_it() {
    for user in users() {
        for layer in REQUIRED.into_iter().chain(OPTIONAL) {
            let ran = without(user, layer, &["--require", layer], "print('started')").run();
            assert_refused(&ran, layer);
            assert!(ran.stderr.contains(layer) || layer == "cgroup", "{}", ran.stderr);
        }
    }
}

#[test]
fn what_the_policy_requires_is_required_without_a_flag() {
    for user in users() {
        for layer in REQUIRED {
            let ran = without(user, layer, &[], "print('started')").run();
            assert_refused(&ran, layer);
            assert!(
                ran.stderr.contains("cannot give what the run requires") && ran.stderr.contains(layer),
                "{}",
                ran.stderr
            );
        }
    }
}

#[test]
fn without_a_namespace_everything_else_is_made_of_nothing_starts() {
    let name = rustix::system::uname().nodename().to_owned();
    for user in users() {
        for layer in ESSENTIAL {
            assert_refused(&without(user, layer, &[], "print('started')").run(), layer);
        }
    }
    assert_eq!(rustix::system::uname().nodename(), name.as_c_str(), "the host's name was changed");
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(".stockade"),
        "the host's mounts were changed"
    );
}

#[test]
fn without_a_pid_namespace_nothing_starts_or_nobody_else_is_reached() {
    if !rustix::process::geteuid().is_root() {
        skipped("without pid", "the init's kill(-1) would reach every process of this user");
        return;
    }
    let mut neighbour = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let ran =
        without(User::Caller, "pid", &[], &format!("attempt('signal', lambda: os.kill({}, 0))", neighbour.id())).run();
    assert!(neighbour.try_wait().unwrap().is_none(), "a process of the caller was killed");
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
    assert!(ran.status == 125 && ran.stdout.is_empty() || ran.stdout == "signal: EPERM\n", "{ran:?}");
}

/// The guard of `ipc` is `cross_run.rs::shared_memory_and_queues_of_another_run_are_not_seen`.
#[test]
fn without_the_ipc_namespace_the_attack_on_semaphores_notices() {
    let key = 0x5354_0000 + i64::from(std::process::id() % 65_536);
    let make = format!("import ctypes\nl = ctypes.CDLL(None)\nprint(l.semget({key}, 1, 0o1666))");
    let made = std::process::Command::new("python3").args(["-c", &make]).output().unwrap();
    let segment: i64 = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
    assert!(segment >= 0);
    let look = format!("attempt('segment', lambda: raw(190 if ARM else 64, {key}, 1, 0) >= 0)");
    let seen: Vec<(String, String)> = users()
        .into_iter()
        .map(|user| (without(user, "ipc", &[], &look).run().stdout, without(user, "none", &[], &look).run().stdout))
        .collect();
    let remove = format!("import ctypes\nctypes.CDLL(None).semctl({segment}, 0, 0)");
    assert!(std::process::Command::new("python3").args(["-c", &remove]).status().unwrap().success());
    for (open, closed) in seen {
        assert_eq!((open.as_str(), closed.as_str()), ("segment: done True\n", "segment: ENOENT\n"));
    }
}

/// The guards of `rlimits` are `resources.rs::open_descriptors_are_bounded` and `a_single_file_is_bounded`.
#[test]
fn without_rlimits_the_attacks_on_descriptors_and_files_notice() {
    for user in users() {
        let code = r#"
held = []
try:
    while len(held) < 300: held.append(os.dup(0))
except OSError: pass
say("descriptors", len(held))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
attempt("file", lambda: os.truncate("/tmp/large" if open("/tmp/large", "w") else "", 8 << 20)) if len(held) >= 300 else None
"#;
        let flags = ["--limit", "open-files=100", "--limit", "file-size=4MiB"];
        let open = without(user, "rlimits", &flags, code).run().expect(0);
        assert_eq!(open.stdout, "descriptors: 300\nfile: done\n");
        let closed = without(user, "none", &flags, code).run().expect(0);
        assert!(closed.stdout.starts_with("descriptors: ") && !closed.stdout.contains("300"), "{}", closed.stdout);
    }
}

#[test]
fn without_its_own_proc_there_is_none_at_all() {
    for user in users() {
        let code = r#"
attempt("list", lambda: os.listdir("/proc"))
for path in ("/proc/1/environ", "/proc/self/fd", "/proc/sys/kernel/hostname", "/proc/cmdline", "/proc/sysrq-trigger", "/proc/kcore"):
    opens(path)
"#;
        let ran = without(user, "proc", &[], code).run().expect(0);
        assert_eq!(ran.stdout.lines().next().unwrap(), "list: done []");
        assert!(ran.stdout.lines().skip(1).all(|line| line.ends_with(": ENOENT")), "{}", ran.stdout);
    }
}

#[test]
fn without_a_cgroup_the_watchdog_ends_a_memory_hog() {
    for user in users() {
        let code = "held = []\nwhile len(held) < 80:\n    held.append(bytearray(b'x') * (8 << 20))\n    time.sleep(0.02)\ntime.sleep(2)";
        let ran = without(user, "cgroup", &["--limit", "memory=128MiB", "--limit", "time=30s"], code).run().expect(125);
        assert_eq!(ran.report()["cause"]["limit"], "memory");
        assert_eq!(ran.report()["accounting"], "watchdog");
    }
}

/// A run that goes on without layers the policy requires, which only a build with hooks can.
fn unrequired(user: User, layers: &str, code: &str) -> Ran {
    without(user, layers, &[], code).env("STOCKADE_TEST_UNREQUIRED", layers).run()
}

/// Runs the same attacks with and without a wall; says what changed, as `name: with -> without`.
fn changed(user: User, layers: &str, code: &str) -> Vec<String> {
    let (whole, open) = (unrequired(user, "none", code).expect(0), unrequired(user, layers, code).expect(0));
    for layer in layers.split(',') {
        assert!(!self::layers(&open).iter().any(|one| one == layer), "{layer} is claimed though it was taken away");
    }
    let lines = |ran: &Ran| ran.stdout.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let (whole, open) = (lines(&whole), lines(&open));
    assert_eq!(whole.len(), open.len(), "{whole:?} {open:?}");
    let differ = whole.iter().zip(&open).filter(|(whole, open)| whole != open);
    differ
        .map(|(whole, open)| format!("{whole} -> {}", open.split_once(": ").map_or(open.as_str(), |(_, end)| end)))
        .collect()
}

const FILE_ATTACKS: &str = r#"
attempt("shadow", lambda: open("/etc/shadow"))
attempt("usr", lambda: open("/usr/planted", "w"))
attempt("root", lambda: open("/planted", "w"))
attempt("etc", lambda: open("/etc/passwd", "a"))
attempt("sysctl", lambda: open("/proc/sys/kernel/hostname", "w"))
attempt("comm", lambda: open("/proc/self/comm", "w").write("renamed") and None)
attempt("init", lambda: os.listdir("/proc/1/fd"))
attempt("mem", lambda: open("/dev/mem", "rb"))
"#;

/// Landlock's own guard is `comm`; the mounts, the private root and the process's own rights hold the rest.
#[test]
fn without_landlock_the_mounts_still_hold_and_the_attack_on_proc_notices() {
    for user in users() {
        let differ = changed(user, "landlock,scopes", FILE_ATTACKS);
        let noticed: Vec<&str> = differ.iter().map(String::as_str).filter(|line| line.starts_with("comm: ")).collect();
        assert_eq!(noticed, ["comm: EACCES -> done"], "{differ:?}");
        // The answer comes from another wall; it is still no.
        assert!(differ.iter().all(|line| line.starts_with("comm: ") || !line.ends_with("done")), "{differ:?}");
    }
}

/// Calls that the filter refuses, and what code makes of them when it does not.
#[test]
fn without_seccomp_code_reaches_the_kernel_but_no_further() {
    let code = format!(
        r#"{FILE_ATTACKS}
attempt("keyring", lambda: call("keyctl", 0, -3, 1, 0, 0))
attempt("own namespaces", lambda: call("unshare", 0x10020000))
attempt("uncover", lambda: call("umount2", b"/proc/sys", 2))
attempt("writable", lambda: call("mount", b"none", b"/usr", b"", 32 | 4096, b""))
attempt("host proc", lambda: call("mount", b"proc", b"/tmp", b"proc", 0, b""))
attempt("network", lambda: socket.create_connection(("192.0.2.1", 80), 3))
attempt("usr again", lambda: open("/usr/planted", "w"))
"#
    );
    for user in users() {
        let differ = changed(user, "seccomp", &code);
        assert!(differ.iter().any(|line| line.starts_with("own namespaces: EPERM -> done")), "{differ:?}");
        for name in
            ["shadow", "usr", "root", "etc", "sysctl", "uncover", "writable", "host proc", "network", "usr again"]
        {
            let reached = differ.iter().any(|line| line.starts_with(&format!("{name}: ")) && line.ends_with("done"));
            assert!(!reached, "{name}: {differ:?}");
        }
    }
}

/// The guard of `network` is `network.rs`; abstract sockets are held by Landlock's scope besides.
#[test]
fn without_the_network_namespace_the_attack_on_the_hosts_loopback_notices() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("unrequired-{}", std::process::id());
    let _abstract = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap())
            .unwrap()
    };
    let code = format!(
        r#"
attempt("loopback", lambda: socket.create_connection(("127.0.0.1", {port}), 3) and None)
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0{name}"))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
"#
    );
    for user in users() {
        let differ = changed(user, "network", &code);
        assert_eq!(differ, ["loopback: ECONNREFUSED -> done", "abstract: ECONNREFUSED -> EPERM"]);
    }
}

/// What could come back are rights in a user namespace that owns nothing of the host, behind the filter.
#[test]
fn without_dropped_capabilities_the_filter_and_the_namespaces_still_hold() {
    let code = format!(
        r#"{FILE_ATTACKS}
attempt("none left", lambda: int(next(l for l in open("/proc/self/status") if l.startswith("CapBnd"))[7:], 16) == 0)
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, b""))
attempt("uncover", lambda: call("umount2", b"/proc/sys", 2))
attempt("become root", lambda: os.setuid(0))
attempt("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("host name", lambda: call("sethostname", b"x", 1))
"#
    );
    for user in users() {
        let differ = changed(user, "no-capabilities", &code);
        assert_eq!(differ, ["none left: done True -> done False"]);
    }
}

/// Landlock sets it too; the kernel takes a filter only of a process that has it.
#[test]
fn without_no_new_privileges_landlock_sets_it_and_without_both_nothing_starts() {
    let look = "attempt('set', lambda: next(l for l in open('/proc/self/status') if l.startswith('NoNewPrivs'))[-2])";
    for user in users() {
        assert_eq!(changed(user, "no-new-privileges", look), [""; 0]);
        let ran = unrequired(user, "no-new-privileges,landlock,scopes", "print('started')");
        assert_refused(&ran, "no-new-privileges");
        assert!(ran.stderr.contains("cannot load the system-call filter"), "{}", ran.stderr);
    }
}

/// Several optional walls at once: what the required ones keep out stays out.
#[test]
fn without_every_optional_wall_the_required_ones_still_hold() {
    let name = format!("removed-{}", std::process::id());
    let listener = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::UnixListener::bind_addr(&std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap())
            .unwrap()
    };
    listener.set_nonblocking(true).unwrap();
    let mut neighbour = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    for user in users() {
        let code = format!(
            r#"
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0{name}"))
attempt("signal", lambda: os.kill({}, 0))
attempt("init", lambda: os.listdir("/proc/1/fd"))
attempt("network", lambda: socket.create_connection(("192.0.2.1", 80), 3))
attempt("shadow", lambda: open("/etc/shadow"))
attempt("usr", lambda: open("/usr/planted", "w"))
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, b""))
attempt("remount", lambda: call("mount", b"none", b"/usr", b"", 32 | 4096, b""))
attempt("uncover", lambda: call("umount2", b"/proc/sys", 2))
attempt("unshare", lambda: call("unshare", 0x10000000))
attempt("trace", lambda: call("ptrace", 16, 1, 0, 0))
attempt("limits", lambda: call("prlimit64", 1, 7, struct.pack("QQ", 0, 0), 0))
"#,
            neighbour.id()
        );
        let ran = without(user, "locked-mounts,scopes,cgroup,rlimits", &[], &code).run().expect(0);
        let expected = [
            ("abstract", "ECONNREFUSED"),
            ("signal", "ESRCH"),
            ("init", "ENOENT"),
            ("network", "ENETUNREACH"),
            ("shadow", "ENOENT"),
            ("usr", "EACCES"),
            ("mount", "EPERM"),
            ("remount", "EPERM"),
            ("uncover", "EPERM"),
            ("unshare", "EPERM"),
            ("trace", "EPERM"),
            ("limits", "EPERM"),
        ];
        for (line, (what, how)) in ran.stdout.lines().zip(expected) {
            // Landlock is asked before the mount's read-only flag.
            assert!(line == format!("{what}: {how}") || (what == "usr" && line == "usr: EROFS"), "{line}");
        }
        assert_eq!(ran.stdout.lines().count(), expected.len(), "{}", ran.stdout);
    }
    assert!(listener.accept().is_err(), "the code reached the host");
    assert!(neighbour.try_wait().unwrap().is_none());
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}
