//! The tiers `gvisor` and `oci`: a container inside the walls of a run. The attacks are those that the
//! runtime has to stop, or that reach for the runtime itself.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Call, Folder, PRELUDE, Ran, STOCKADE, User, assert_all, assert_gone, assert_said, call, eventually, give_to, mark,
    processes_with, said, skipped, text, users,
};

const GVISOR: &str = "gvisor";
const OCI: &str = "oci";

/// Every tier whose runtime is here, with every user.
fn everywhere() -> Vec<(&'static str, User)> {
    let users = users();
    tiers().into_iter().flat_map(|tier| users.iter().map(move |user| (tier, *user))).collect()
}

fn tiers() -> Vec<&'static str> {
    [(GVISOR, "runsc"), (OCI, "runc")]
        .into_iter()
        .filter(|(tier, runtime)| {
            let is_here = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
                .iter()
                .any(|folder| Path::new(folder).join(runtime).exists());
            if !is_here {
                skipped(&format!("the tier {tier}"), &format!("{runtime} is not installed"));
            }
            is_here
        })
        .map(|(tier, _)| tier)
        .collect()
}

fn starting(tier: &str, user: User, flags: &[&str], code: &str) -> Call {
    call(STOCKADE, user)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["run", "--json", "--python", "/usr/bin/python3", "--tier", tier])
        .args(flags)
        .args(["-c", &format!("{PRELUDE}\n{code}")])
}

fn attack(tier: &str, user: User, code: &str) -> Ran {
    starting(tier, user, &[], code).run()
}

fn layers(ran: &Ran) -> Vec<String> {
    let report = ran.report();
    report["enforced"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_the_layers_that_were_found_are_named() {
    for (tier, user) in everywhere() {
        let ran = attack(tier, user, "say('hello', 'done')").expect(0);
        assert_eq!(ran.report()["tier"], tier);
        let named = layers(&ran);
        let has = |layer: &str| named.iter().any(|one| one == layer);
        for layer in [
            "user",
            "mount",
            "pid",
            "network",
            "root",
            "proc",
            "no-new-privileges",
            "no-capabilities",
            "seccomp",
            "scratch",
        ] {
            assert!(has(layer), "{tier}: {layer}: {named:?}");
        }
        for layer in ["landlock", "scopes", "no-sockets", "gate"] {
            assert!(!has(layer), "{tier}: {layer}: {named:?}");
        }
        assert_eq!(has("second-kernel"), tier == GVISOR, "{named:?}");
        assert_eq!(has("rlimits"), tier == OCI, "{named:?}");
    }
}

#[test]
fn the_host_kernel_is_not_the_one_that_code_in_gvisor_speaks_to() {
    let own = std::fs::read_to_string("/proc/version").unwrap();
    for (tier, user) in everywhere() {
        let code = "print(open('/proc/version').read(), end=''); import ctypes; text = ctypes.create_string_buffer(4096)\nattempt('log', lambda: (call('syslog', 3, text, 4096), text.value)[1].decode(errors='replace'))";
        let ran = attack(tier, user, code).expect(0);
        let is_own = ran.stdout.starts_with(&own);
        assert_eq!(is_own, tier == OCI, "{}", ran.stdout);
        assert_eq!(ran.stdout.contains("gVisor"), tier == GVISOR, "{}", ran.stdout);
        // What no kernel of the host is asked cannot be misused: gVisor knows none of these.
        let code = "tries(('bpf', 0, 0, 0), ('userfaultfd', 0), ('perf_event_open', 0, 0, 0, 0, 0), ('keyctl', 99, 0), ('kexec_load', 0, 0, 0, 0), ('open_by_handle_at', 0, 0, 0))";
        assert_all(&attack(tier, user, code).expect(0), &["EPERM", "ENOSYS", "ENOTSUP", "EACCES", "ENODEV"]);
    }
}

#[test]
fn nothing_of_the_host_lies_in_a_container() {
    let folder = Folder::new();
    let key = folder.write(".ssh/id_rsa", "secret");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for (tier, user) in everywhere() {
        give_to(user, &folder.path().join(".ssh"));
        let code = format!(
            r#"
for path in ({key:?}, "/etc/shadow", "/root/.bashrc", "/var/log/dpkg.log", "/proc/kcore", "/dev/kvm", "/dev/sda", "/dev/vda", "/dev/mem",
             "/proc/1/root/etc/shadow", "/proc/self/root/../etc/shadow", "/run/state", "/run/log", "/opt/stockade/root/etc", "/opt/stockade/root/.stockade", "/sys/fs/cgroup/cgroup.procs"):
    opens(path)
attempt("where the host lay", lambda: os.listdir("/.stockade")[0])
attempt("where the root lies", lambda: os.listdir("/opt/stockade/root")[0])
attempt("where the state lies", lambda: os.listdir("/run")[0])
"#
        );
        assert_all(&attack(tier, user, &code).expect(0), &["ENOENT", "EACCES", "EPERM", "IndexError"]);
        let ran = attack(tier, user, "opens('/usr/bin/env'); print(open('/proc/mounts').read())").expect(0);
        assert_eq!(said(&ran)["/usr/bin/env"], "done");
        let home = folder.path().to_str().unwrap();
        assert!(!ran.stdout.contains(home) && !ran.stdout.contains(env!("CARGO_MANIFEST_DIR")), "{}", ran.stdout);
        let code = "for path in ('/usr/x', '/etc/x', '/etc/passwd', '/x', '/opt/stockade/engine/enter.sh', '/opt/stockade/bundle/config.json', '/bin/sh', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname'): opens(path, os.O_WRONLY | os.O_CREAT)";
        assert_all(&attack(tier, user, code).expect(0), &["EROFS", "EACCES", "EPERM", "ENOENT", "EISDIR"]);
    }
}

#[test]
fn a_container_has_no_network_and_no_socket_of_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = mark("outer-abstract");
    let _listening = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let shared = Folder::new();
    let _socket = UnixListener::bind(shared.path().join("socket")).unwrap();
    std::fs::set_permissions(shared.path().join("socket"), std::fs::Permissions::from_mode(0o777)).unwrap();
    for (tier, user) in everywhere() {
        give_to(user, shared.path());
        let code = format!(
            r#"
attempt("loopback", lambda: socket.create_connection(("127.0.0.1", {port}), 3))
attempt("address", lambda: socket.create_connection(("192.0.2.1", 443), 3))
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0{name}"))
attempt("shared", lambda: socket.socket(socket.AF_UNIX).connect("/job/shared/socket"))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
"#
        );
        let ran =
            starting(tier, user, &["--share", &format!("{}:ro=shared", text(shared.path()))], &code).run().expect(0);
        assert_all(
            &ran,
            &["ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "ENOENT", "EPERM", "EACCES", "ENXIO", "EAFNOSUPPORT"],
        );
    }
}

#[test]
fn a_container_reaches_what_is_granted_through_the_gate_or_not_at_all() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let grant = format!("tcp://127.0.0.1:{port}");
    for (tier, user) in everywhere() {
        let code = format!(
            "attempt('granted', lambda: socket.create_connection(('127.0.0.1', {port}), 5).close())\nattempt('other', lambda: socket.create_connection(('127.0.0.1', {}), 5))",
            port ^ 1
        );
        let ran = starting(tier, user, &["--net", &grant], &code).run();
        if tier == GVISOR {
            let ran = ran.expect(125);
            assert!(ran.stderr.contains("--net cannot be had with --tier gvisor"), "{}", ran.stderr);
        } else {
            let ran = ran.expect(0);
            assert_eq!(said(&ran)["other"], "ECONNREFUSED", "{}", ran.stderr);
            assert!(layers(&ran).contains(&"gate".to_owned()));
        }
    }
}

#[test]
fn processes_of_the_host_and_of_the_runtime_are_out_of_reach() {
    for (tier, user) in everywhere() {
        let (witness, _state) = call("sleep", user).env("WITNESS", "secret").arg("600").start();
        let mut witness = witness;
        let code = format!(
            r#"
pid = {}
attempt("signal", lambda: os.kill(pid, 9))
attempt("look", lambda: open(f"/proc/{{pid}}/cmdline").read())
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
print(open("/proc/1/cmdline").read().split("\0")[0])
"#,
            witness.id()
        );
        let ran = attack(tier, user, &code).expect(0);
        assert!(["ESRCH", "EPERM"].contains(&said(&ran)["signal"].as_str()), "{}", ran.stdout);
        assert_eq!(said(&ran)["look"], "ENOENT");
        assert!(ran.stdout.contains("[1]\n/usr/bin/python3"), "the code is alone: {}", ran.stdout);
        assert!(witness.try_wait().unwrap().is_none());
        witness.kill().unwrap();
        witness.wait().unwrap();
    }
}

#[test]
fn no_descriptor_of_the_runtime_is_inside_a_container() {
    for (tier, user) in everywhere() {
        let code = r#"
for number in range(3, 256):
    try: os.fstat(number)
    except OSError: continue
    say(str(number), os.readlink(f"/proc/self/fd/{number}"))
for number in range(3):
    attempt(f"reopen {number}", lambda: os.open(f"/proc/self/fd/{number}/..", os.O_PATH))
say("end", "reached")
"#;
        let told = said(&attack(tier, user, code).expect(0));
        assert!(told.keys().all(|what| what == "end" || what.starts_with("reopen")), "{tier}: {told:?}");
        assert!(told.values().all(|how| ["reached", "ENOTDIR", "ENOENT"].contains(&how.as_str())), "{told:?}");
    }
}

#[test]
fn a_proof_can_be_neither_forged_nor_taken_back() {
    for (tier, user) in everywhere() {
        let code = r#"
folder = "/opt/stockade/proofs"
for name in ("second-kernel", "seccomp", "proc", "no-capabilities", "started", "landlock", "gate"):
    open(f"{folder}/{name}", "w").write("forged")
os.rename(f"{folder}/gate", f"{folder}/scopes")
os.unlink(f"{folder}/landlock")
say("made", "all")
"#;
        let ran = attack(tier, user, code).expect(0);
        assert_said(&ran, &[("made", "all")]);
        let plain = layers(&attack(tier, user, "pass").expect(0));
        assert_eq!(layers(&ran), plain);
    }
}

/// A library named by a variable runs in every program, so also in one of ours that had it.
#[test]
fn no_variable_lets_the_code_in_before_its_time() {
    for (tier, user) in everywhere() {
        let folder = Folder::new();
        folder.write("library.so", "no library");
        let ran = call(STOCKADE, user)
            .within(folder.path())
            .args(["run", "--tier", tier, "--in", "library.so", "--env", "LD_PRELOAD=/job/library.so"])
            .args(["--env", "name=x", "--env", "status=3", "--env", "A=$(echo b) 'c' \"d\""])
            .args(["--", "sh", "-c", "echo $name $status \"$A\""])
            .run();
        assert_eq!(ran.stdout, "x 3 $(echo b) 'c' \"d\"\n", "{}", ran.stderr);
        // The loader complains for the program that is the code's, and for none before it.
        assert_eq!(ran.stderr.matches("ld.so").count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn the_doors_that_a_runtime_needs_are_closed_to_the_code() {
    for (tier, user) in everywhere() {
        if tier != OCI {
            // Namespaces and mounts of gVisor's own kernel are nothing to the host.
            continue;
        }
        let code = r#"
tries(("unshare", 0x10000000), ("unshare", 0x20000), ("setns", 0, 0), ("clone", 0x10000011), ("mount", 0, 0, 0, 0, 0), ("umount2", b"/proc/sys", 2),
      ("pivot_root", b"/", b"/"), ("chroot", b"/tmp"), ("open_tree", -100, b"/", 1), ("fsopen", b"proc", 0), ("mount_setattr", -100, b"/proc/sys", 0, 0, 0),
      ("ptrace", 0, 0, 0, 0), ("process_vm_readv", 1, 0, 0, 0, 0, 0), ("seccomp", 0, 0, 0), ("prctl", 22, 1), ("prctl", 28, 0), ("sethostname", b"x", 1), ("add_key", 0, 0, 0, 0, 0),
      ("clone3", 0, 0))
"#;
        assert_all(&attack(tier, user, code).expect(0), &["EPERM", "ENOSYS"]);
    }
}

#[test]
fn nobody_in_a_container_becomes_another_user() {
    let shared = Folder::new();
    for (tier, user) in everywhere() {
        give_to(user, shared.path());
        let code = r#"
attempt("become another", lambda: os.setuid(1))
attempt("become another for good", lambda: os.setresuid(65534, 65534, 65534))
open("shared/program", "w").close()
try: os.chmod("shared/program", 0o6755)
except OSError: pass
attempt("device", lambda: os.mknod("shared/device", 0o60600, os.makedev(8, 0)))
print(open("/proc/self/status").read())
"#;
        let share = format!("{}:rw=shared", text(shared.path()));
        let ran = starting(tier, user, &["--share", &share], code).run().expect(0);
        assert!(["EPERM", "EINVAL"].contains(&said(&ran)["become another"].as_str()), "{}", ran.stdout);
        assert!(["EPERM", "EINVAL"].contains(&said(&ran)["become another for good"].as_str()), "{}", ran.stdout);
        assert_ne!(said(&ran)["device"], "done");
        assert!(ran.stdout.contains("CapEff:\t0000000000000000") && ran.stdout.contains("CapBnd:\t0000000000000000"));
        let mode = std::fs::metadata(shared.path().join("program")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7000, 0, "a set-id file of the caller's: {mode:o}");
        assert!(!shared.path().join("device").exists());
        std::fs::remove_file(shared.path().join("program")).unwrap();
    }
}

#[test]
fn a_container_is_bounded_as_every_run() {
    for (tier, user) in everywhere() {
        let code = r#"
def fill(path):
    with open(path, "wb") as file:
        for _ in range(40): file.write(bytes(1 << 20))
for path in ("big", "/tmp/big", os.path.expanduser("~/big")):
    attempt(path, lambda: fill(path))
    os.unlink(path)
"#;
        let ran = starting(tier, user, &["--limit", "scratch=20MiB"], code).run().expect(0);
        assert_all(&ran, &["ENOSPC"]);
        let code = "x = bytearray(600 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\ntime.sleep(5)";
        let ran = starting(tier, user, &["--limit", "memory=300MiB"], code).run().expect(125);
        assert!(ran.report()["cause"].to_string().contains("memory"), "{tier} {user:?}: {}", ran.stderr);
        let ran = starting(tier, user, &["--limit", "cpu-time=1s"], "while True: pass").run().expect(125);
        assert!(ran.report()["cause"].to_string().contains("cpu-time"), "{}", ran.stderr);
        let ran =
            starting(tier, user, &["--limit", "streams=100KiB"], "while True: print('x' * 1000)").run().expect(125);
        assert_eq!(ran.stdout.len(), 100 << 10);
        let code = "
made = 0
try:
    while made < 1000:
        if os.fork() == 0: time.sleep(20); os._exit(0)
        made += 1
except OSError: pass
print(made)";
        // Whether the second kernel refuses, or ends for want of a process: no more are made.
        let ran = starting(tier, user, &["--limit", "processes=60", "--limit", "time=60s"], code).run();
        let made = ran.stdout.trim().parse::<u32>().unwrap_or(0);
        assert!(made < 200, "{tier} {user:?}: {made}");
    }
}

/// A process that leaves its session and parent, as a daemon does.
const DAEMON: &str = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
time.sleep(0.3)";

#[test]
fn nothing_of_a_container_outlives_its_run() {
    for (tier, user) in everywhere() {
        // In gVisor no process of the host has the code's command line; its runtime has the run's id.
        let name = mark("outer-daemon");
        let before = runtimes();
        assert_eq!(starting(tier, user, &[], &format!("# {name}\n{DAEMON}")).run().expect(0).stdout, "");
        assert_gone(&name);
        let ran = starting(tier, user, &["--limit", "time=3s"], &format!("# {name}\n{DAEMON}\ntime.sleep(600)"))
            .run()
            .expect(124);
        assert!(ran.report()["cause"].to_string().contains("time"), "{}", ran.stderr);
        assert_gone(&name);
        eventually("no runtime is left", || runtimes().iter().all(|pid| before.contains(pid)));
    }
}

#[test]
fn the_end_of_stockade_is_the_end_of_the_container() {
    for (tier, user) in everywhere() {
        let name = mark("outer-killed");
        let folder = Folder::new();
        let ready = folder.path().join("ready");
        give_to(user, folder.path());
        let code = format!("# {name}\nopen('shared/ready', 'w').close()\n{DAEMON}\ntime.sleep(600)");
        let before = runtimes();
        let share = format!("{}:rw=shared", text(folder.path()));
        let (mut child, _state) = starting(tier, user, &["--share", &share], &code).start();
        eventually("the code runs", || ready.exists());
        assert!(runtimes().iter().any(|pid| !before.contains(pid)), "there is a runtime");
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_gone(&name);
        eventually("no runtime is left", || runtimes().iter().all(|pid| before.contains(pid)));
    }
}

/// Processes whose program is a container runtime's.
fn runtimes() -> Vec<u32> {
    ["/run/state", "runsc-sandbox", "runsc-gofer"].iter().flat_map(|word| processes_with(word)).collect()
}

#[test]
fn an_interrupt_ends_a_container() {
    for (tier, user) in everywhere() {
        let folder = Folder::new();
        give_to(user, folder.path());
        let share = format!("{}:rw=shared", text(folder.path()));
        let (child, _state) =
            starting(tier, user, &["--share", &share], "open('shared/ready', 'w').close()\ntime.sleep(600)").start();
        eventually("the code runs", || folder.path().join("ready").exists());
        kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        // Python turns it into an exception where it hears of it; gVisor's runtime ends of it itself.
        assert!([1, 130].contains(&ran.status), "{tier}: {} {}", ran.status, ran.stderr);
    }
}

#[test]
fn a_runtime_that_is_missing_or_broken_runs_nothing() {
    let folder = Folder::new();
    for (tier, names) in [(GVISOR, &["runsc"][..]), (OCI, &["runc", "crun"])] {
        let run = |path: &str| {
            let ran = call(STOCKADE, User::Caller)
                .env("PATH", path)
                .within(folder.path())
                .args(["run", "--json", "--tier", tier, "--", "/usr/bin/touch", "ran"])
                .run()
                .expect(125);
            assert!(ran.stderr.contains("\"next\":") && ran.stdout.is_empty(), "{}", ran.stderr);
            ran.stderr
        };
        assert!(run("/nonexistent").contains("not in PATH"));
        let elsewhere = Folder::new();
        for name in names {
            let program = elsewhere.write(name, "#!/bin/sh\n");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert!(run(text(elsewhere.path())).contains("lies outside of the system folders"));
        // One that says it did and did not, one that fails, and what is no runtime at all.
        for program in ["/usr/bin/true", "/usr/bin/false", "/usr/bin/env"] {
            let broken = Folder::new();
            symlink(program, broken.path().join(names[0])).unwrap();
            let said = run(text(broken.path()));
            // One that ends as our own script does is taken for one that gave nothing.
            let is_told = said.contains("did not start the code") || said.contains("cannot give what the run requires");
            assert!(is_told, "{program}: {said}");
        }
    }
}

/// The runtime is whichever comes first in the caller's `PATH`; its container is looked at like any other.
#[test]
fn another_runtime_gives_the_same_container() {
    let Some(program) = ["/usr/bin/crun", "/usr/sbin/crun"].into_iter().find(|path| Path::new(path).exists()) else {
        skipped("the tier oci by crun", "crun is not installed");
        return;
    };
    let folder = Folder::new();
    symlink(program, folder.path().join("crun")).unwrap();
    for user in users() {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let code = "tries(('unshare', 0x10000000), ('mount', 0, 0, 0, 0, 0), ('ptrace', 0, 0, 0, 0), ('setns', 0, 0), ('seccomp', 0, 0, 0))\nopens('/etc/shadow')\nopens('/run/state')";
        let ran = starting(OCI, user, &[], code).env("PATH", folder.path()).run().expect(0);
        assert_all(&ran, &["EPERM", "ENOENT"]);
        let named = layers(&ran);
        for layer in ["no-capabilities", "seccomp", "proc"] {
            assert!(named.contains(&layer.to_owned()), "{named:?}");
        }
    }
}

#[test]
fn outputs_of_a_container_are_collected_with_the_same_disbelief() {
    for (tier, user) in everywhere() {
        let results = Folder::new();
        let secret = results.write("secret", "secret");
        std::fs::set_permissions(results.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let out = results.path().join("out");
        let code = format!(
            "os.symlink({secret:?}, 'planted')\nos.symlink('/etc', 'folder')\nos.makedirs('a/b')\nopen('a/b/kept', 'w').write('kept')\nos.chmod('a/b/kept', 0o755)\nsay('made', 'all')"
        );
        let ran = starting(tier, user, &["--out", text(&out)], &code).run().expect(0);
        assert_eq!(std::fs::read_to_string(out.join("a/b/kept")).unwrap(), "kept");
        assert!(!out.join("planted").exists() && !out.join("folder").exists());
        let told = ran.report()["outputs"]["left_out"].to_string();
        assert!(told.contains("planted") && told.contains("folder"), "{told}");
    }
}

#[test]
fn ordinary_work_works_in_a_container() {
    for (tier, user) in everywhere() {
        let code = r#"
import asyncio, concurrent.futures, json, multiprocessing, sqlite3, ssl, subprocess, tempfile, threading
def listens():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    server.accept()[0].sendall(b"hello")
    return client.recv(5)
attempt("threads", lambda: concurrent.futures.ThreadPoolExecutor(2).submit(lambda: 3).result())
attempt("processes", lambda: multiprocessing.get_context("fork").Pool(2).map(abs, [-1, -2]))
attempt("queue", lambda: multiprocessing.get_context("fork").Queue().put(1))
attempt("subprocess", lambda: subprocess.run(["sh", "-c", "echo $((1 + 1)) | cat"], capture_output=True, text=True).stdout)
attempt("asyncio", lambda: asyncio.run(asyncio.sleep(0, "slept")))
attempt("loopback", listens)
attempt("temporary", lambda: tempfile.NamedTemporaryFile().write(b"x"))
attempt("sqlite", lambda: sqlite3.connect("data.db").execute("select 1").fetchone())
attempt("processors", lambda: os.cpu_count() > 0)
attempt("home", lambda: open(os.path.expanduser("~/note"), "w").write("x"))
attempt("user", lambda: __import__("pwd").getpwuid(os.getuid()).pw_name)
attempt("list", lambda: os.listdir("."))
attempt("null", lambda: open("/dev/null", "w").write("x"))
attempt("random", lambda: len(os.urandom(4)))
attempt("input", lambda: sys.stdin.read())
"#;
        let ran = starting(tier, user, &[], code).input("data").run().expect(0);
        let expected = [
            ("threads", "done 3"),
            ("processes", "done [1, 2]"),
            ("queue", "done"),
            ("subprocess", "done '2\\n'"),
            ("asyncio", "done 'slept'"),
            ("loopback", "done b'hello'"),
            ("temporary", "done 1"),
            ("sqlite", "done (1,)"),
            ("processors", "done True"),
            ("home", "done 1"),
            ("user", "done 'runner'"),
            ("list", "done ['data.db']"),
            ("null", "done 1"),
            ("random", "done 4"),
            ("input", "done 'data'"),
        ];
        assert_said(&ran, &expected);
        for (program, status) in [("exit 7", 7), ("kill -KILL $$", if tier == GVISOR { 137 } else { 0 })] {
            let call = call(STOCKADE, user).args(["run", "--tier", tier, "--", "sh", "-c", program]);
            assert_eq!(call.run().status, status, "{tier}: {program}");
        }
        for (program, status) in [("no-such-program", 127), ("./missing", 127), ("/etc/passwd", 126)] {
            let ran = call(STOCKADE, user).args(["run", "--json", "--tier", tier, "--", program]).run().expect(status);
            assert_eq!(
                ran.report()["cause"]["kind"].as_str().map(|kind| kind.starts_with("not-")),
                Some(true),
                "{}",
                ran.stderr
            );
        }
    }
}
