//! The tier `landlock`: no namespace, no root of its own, so each of these is stopped by something else
//! than in a run with them. Mostly: the code has the caller's own user id.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Call, Folder, PRELUDE, Ran, STOCKADE, User, assert_all, assert_gone, assert_said, call, eventually, give_to, mark,
    processes_with, said, skipped, text, users,
};

/// An interpreter that the throw-away user of root's runs can reach, too.
const FLAGS: [&str; 5] = ["--tier", "landlock", "--python", "/usr/bin/python3", "--json"];

/// A call whose folder for temporary files is the test's own.
fn starting(user: User, temporary: &Path, flags: &[&str], code: &str) -> Call {
    call(STOCKADE, user)
        .env("TMPDIR", temporary)
        .arg("run")
        .args(FLAGS)
        .args(flags)
        .args(["-c", &format!("{PRELUDE}\n{code}")])
}

/// The folder for temporary files of the caller, closed to others who are not.
fn temporary() -> Folder {
    let folder = Folder::new();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    folder
}

fn attack(user: User, code: &str) -> Ran {
    let folder = temporary();
    let ran = starting(user, folder.path(), &[], code).run();
    assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new(), "the run's folder is left");
    ran
}

fn left_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A process of the same user as the run's, to be found unharmed.
struct Witness(Child);

impl Witness {
    fn new(user: User) -> Self {
        let (child, _state) = call("sleep", user).env("WITNESS", "secret").arg("600").start();
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn is_well(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn only_the_layers_that_are_there_are_named() {
    for user in users() {
        let ran = attack(user, "say('hello', 'done')").expect(0);
        let report = ran.report();
        assert_eq!(report["tier"], "landlock");
        let named: Vec<&str> = report["enforced"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        for layer in ["no-new-privileges", "no-capabilities", "seccomp", "landlock", "scopes", "rlimits", "no-sockets"]
        {
            assert!(named.contains(&layer), "{layer}: {named:?}");
        }
        for layer in
            ["user", "mount", "pid", "network", "ipc", "uts", "root", "proc", "scratch", "locked-mounts", "time"]
        {
            assert!(!named.contains(&layer), "{layer}: {named:?}");
        }
        let is_root = user == User::Caller && rustix::process::geteuid().is_root();
        assert_eq!(named.contains(&"throw-away-user"), is_root, "{named:?}");
    }
}

#[test]
fn files_of_the_caller_and_the_machine_are_not_read() {
    let folder = Folder::new();
    let key = folder.write(".ssh/id_rsa", "secret");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for user in users() {
        give_to(user, &folder.path().join(".ssh"));
        let code = format!(
            r#"
key = {key:?}
for path in (key, "/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc", "/proc/self/environ", "/proc/1/cmdline", "/proc/kallsyms", "/dev/shm", "/dev/tty", "/sys/kernel", "/tmp", "/", "/var/tmp", os.environ["TMPDIR"] + "/../.alive"):
    opens(path)
attempt("list", lambda: os.listdir(os.path.dirname(key)))
attempt("run", lambda: os.execv("/etc/ssl/openssl.cnf", ["x"]))
"#
        );
        let ran = attack(user, &code).expect(0);
        assert_all(&ran, &["EACCES", "ENOENT"]);
        // The same attack, on what may be read.
        assert_said(&attack(user, "opens('/usr/bin/env')").expect(0), &[("/usr/bin/env", "done")]);
    }
}

#[test]
fn links_and_moves_bring_no_file_into_reach() {
    let folder = Folder::new();
    for user in users() {
        let secret = folder.write("secret", "secret");
        give_to(user, &secret);
        let code = format!(
            r#"
secret = {secret:?}
attempt("link", lambda: os.link(secret, "linked"))
attempt("move in", lambda: os.rename(secret, "moved"))
open("own", "w").close()
attempt("move out", lambda: os.rename("own", secret + ".own"))
attempt("replace", lambda: os.rename("own", secret))
os.symlink(secret, "symbolic")
attempt("through a link", lambda: open("symbolic").read())
attempt("through a link, writing", lambda: open("symbolic", "w"))
held = os.open(secret, os.O_PATH)
attempt("held", lambda: open(f"/proc/self/fd/{{held}}").read())
attempt("held and linked", lambda: os.link(f"/proc/self/fd/{{held}}", "linked2", follow_symlinks=True))
attempt("held and read", lambda: os.read(held, 10))
"#
        );
        let ran = attack(user, &code).expect(0);
        assert_all(&ran, &["EACCES", "EXDEV", "EBADF", "EPERM"]);
        assert_eq!(folder.read("secret"), "secret");
        assert_eq!(left_in(folder.path()).len(), 1);
    }
}

#[test]
fn nothing_outside_of_its_own_folder_is_written_or_changed() {
    let folder = Folder::new();
    let file = folder.write("file", "as it was");
    for user in users() {
        give_to(user, &file);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let before = std::fs::metadata(&file).unwrap();
        let code = format!(
            r#"
file = {file:?}
attempt("write", lambda: open(file, "a"))
attempt("truncate", lambda: os.truncate(file, 0))
attempt("unlink", lambda: os.unlink(file))
attempt("chmod", lambda: os.chmod(file, 0o777))
attempt("fchmodat2", lambda: call("fchmodat2", os.open(file, os.O_PATH), b"", 0o777, 0x1000))
attempt("utime", lambda: os.utime(file, (1, 1)))
attempt("setxattr", lambda: os.setxattr(file, "user.x", b"1"))
attempt("removexattr", lambda: os.removexattr(file, "user.x"))
attempt("watch", lambda: call("openat", -100, file.encode(), 2, 0))
attempt("make", lambda: open(os.path.dirname(file) + "/new", "w"))
attempt("make in /tmp", lambda: open("/tmp/stockade-escape", "w"))
attempt("make in /var/tmp", lambda: open("/var/tmp/stockade-escape", "w"))
attempt("make a folder", lambda: os.mkdir(os.path.dirname(file) + "/new"))
attempt("make a socket", lambda: os.mknod(os.path.dirname(file) + "/new", 0o140644))
attempt("beside", lambda: open("../beside", "w"))
attempt("lock", lambda: open("../.alive", "r+"))
attempt("own start-up", lambda: open(os.environ["PYTHONPATH"].split(":")[0] + "/sitecustomize.py", "w"))
"#
        );
        assert_all(&attack(user, &code).expect(0), &["EACCES", "EPERM", "EXDEV"]);
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!(folder.read("file"), "as it was");
        assert_eq!((before.mode(), before.mtime(), before.ctime()), (after.mode(), after.mtime(), after.ctime()));
        assert_eq!(left_in(folder.path()).len(), 1);
        std::fs::remove_file(&file).unwrap();
        folder.write("file", "as it was");
    }
}

#[test]
fn no_socket_of_any_kind_reaches_the_host() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let folder = Folder::new();
    let stream = UnixListener::bind(folder.path().join("stream")).unwrap();
    let datagram = UnixDatagram::bind(folder.path().join("datagram")).unwrap();
    for name in ["stream", "datagram"] {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    tcp.set_nonblocking(true).unwrap();
    udp.set_nonblocking(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    datagram.set_nonblocking(true).unwrap();
    for user in users() {
        let code = format!(
            r#"
folder = {folder:?}
for family, kind in ((2, 1), (10, 1), (2, 2), (10, 2), (2, 3), (1, 1), (1, 2), (1, 5), (17, 3), (40, 1), (38, 5), (44, 2)):
    attempt(f"socket {{family}} {{kind}}", lambda: call("socket", family, kind, 0))
for kind in (2, 3):
    attempt(f"pair {{kind}}", lambda: socket.socketpair(socket.AF_UNIX, kind))
def through_a_pair(action):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    other.close()
    action(one)
attempt("connect a pair", lambda: through_a_pair(lambda one: one.connect(folder + "/stream")))
attempt("connect a pair, datagrams", lambda: through_a_pair(lambda one: one.connect(folder + "/datagram")))
attempt("connect a pair, abstract", lambda: through_a_pair(lambda one: one.connect("\0name")))
attempt("bind a pair", lambda: through_a_pair(lambda one: one.bind("own")))
"#,
            folder = folder.path()
        );
        let ran = attack(user, &code).expect(0);
        assert_all(&ran, &["EPERM"]);
        assert!(tcp.accept().is_err() && udp.recv(&mut [0; 8]).is_err());
        assert!(stream.accept().is_err() && datagram.recv(&mut [0; 8]).is_err());
        // What was refused is told.
        let told = ran.report()["denials"].to_string();
        assert!(told.contains("\"socket\"") && told.contains("\"socketpair\""), "{told}");
        // A sender's address in a datagram on a pair of streams or packets leads nowhere either.
        let code = format!(
            r#"
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    attempt(str(int(kind)), lambda: one.sendto(b"hello", {:?}))
"#,
            folder.path().join("datagram")
        );
        attack(user, &code).expect(0).stderr.clear();
        assert!(datagram.recv(&mut [0; 8]).is_err());
    }
}

#[test]
fn other_processes_of_the_user_are_neither_signalled_nor_read() {
    for user in users() {
        let mut witness = Witness::new(user);
        let niceness = || rustix::process::getpriority_process(Pid::from_raw(witness.pid().cast_signed())).unwrap();
        let before = niceness();
        let code = format!(
            r#"
init, witness = os.getppid(), {witness}
supervisor = int(os.environ.get("SUPERVISOR", "0")) or witness
for name, pid in (("init", init), ("witness", witness)):
    for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
        attempt(f"signal {{int(number)}} to the {{name}}", lambda: os.kill(pid, number))
    attempt(f"group of the {{name}}", lambda: os.killpg(pid, signal.SIGKILL))
    attempt(f"pidfd of the {{name}}", lambda: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL))
    attempt(f"trace the {{name}}", lambda: call("ptrace", 16, pid, 0, 0))
    attempt(f"memory of the {{name}}", lambda: call("process_vm_readv", pid, 0, 0, 0, 0, 0))
    attempt(f"descriptors of the {{name}}", lambda: call("pidfd_getfd", os.pidfd_open(pid), 0, 0))
    attempt(f"compare the {{name}}", lambda: call("kcmp", pid, os.getpid(), 0, 0, 0))
    attempt(f"limits of the {{name}}", lambda: call("prlimit64", pid, 7, 0, 0))
    attempt(f"niceness of the {{name}}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt(f"processors of the {{name}}", lambda: os.sched_setaffinity(pid, [0]))
    attempt(f"policy of the {{name}}", lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)))
    for file in ("environ", "mem", "maps", "cmdline", "status", "stat", "fd", "fd/0", "root", "cwd", "exe", "task", "net/tcp"):
        opens(f"/proc/{{pid}}/{{file}}")
    for link in ("exe", "cwd", "root", "fd/0"):
        attempt(f"{{link}} of the {{name}}", lambda: os.readlink(f"/proc/{{pid}}/{{link}}"))
attempt("niceness of all", lambda: os.setpriority(os.PRIO_USER, 0, 19))
"#,
            witness = witness.pid()
        );
        let ran = attack(user, &code);
        let expected = ["EPERM", "EACCES", "ENOENT", "ESRCH"];
        assert_all(&ran, &expected);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(niceness(), before);
        assert!(witness.is_well());
    }
}

#[test]
fn killing_everyone_ends_the_run_only() {
    for user in users() {
        let mut witness = Witness::new(user);
        let ran = attack(user, "os.kill(-1, signal.SIGKILL)\nos.killpg(0, signal.SIGKILL)\nsay('still', 'here')");
        assert_eq!(ran.status, 137, "{}", ran.stderr);
        assert!(witness.is_well());
    }
}

#[test]
fn signals_by_way_of_a_descriptor_stay_inside() {
    for user in users() {
        let mut witness = Witness::new(user);
        let code = format!(
            r#"
import fcntl
reading, writing = os.pipe()
attempt("own it", lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, {witness}))
fcntl.fcntl(reading, 10, signal.SIGKILL)
fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
os.write(writing, b"x")
attempt("lease", lambda: fcntl.fcntl(os.open("/usr/bin/env", os.O_RDONLY), 1024, 0))
attempt("notice", lambda: fcntl.fcntl(os.open("/usr/bin", os.O_RDONLY), 1026, 1))
attempt("watch", lambda: call("ioctl", 0, 0x5412, b"x"))
time.sleep(0.2)
"#,
            witness = witness.pid()
        );
        let told = said(&attack(user, &code).expect(0));
        assert_eq!((told["lease"].as_str(), told["notice"].as_str()), ("EPERM", "EPERM"));
        assert!(witness.is_well());
    }
}

const DAEMON: &str = r#"
def daemon():
    if os.fork() != 0: os._exit(0)
    os.setsid()
    if os.fork() != 0: os._exit(0)
    call("prctl", 1, 0, 0, 0, 0)
    for number in signal.valid_signals():
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: time.sleep(1)
"#;

#[test]
fn a_daemon_left_behind_is_gone_when_the_run_ends() {
    for user in users() {
        let name = mark("bare-daemon");
        let code =
            format!("# {name}\n{DAEMON}\nfor _ in range(5): in_child(daemon)\ntime.sleep(0.2)\nsay('left', 'yes')");
        let ran = attack(user, &code).expect(0);
        assert!(ran.report()["processes_left"].as_u64().unwrap() >= 5, "{}", ran.stderr);
        assert_eq!(processes_with(&name), Vec::<u32>::new());
    }
}

/// Each process makes its successor and ends: whoever lists processes comes too late.
#[test]
fn processes_that_flee_from_being_killed_are_killed() {
    for user in users() {
        let name = mark("comet");
        let code = format!(
            "# {name}\ndef flee():\n    while os.fork() == 0: pass\n    os._exit(0)\nfor _ in range(8):\n    if os.fork() == 0: flee()\ntime.sleep(0.2)"
        );
        attack(user, &code).expect(0).stderr.clear();
        assert_eq!(processes_with(&name), Vec::<u32>::new());
    }
}

fn started(user: User, temporary: &Path, name: &str) -> (Child, Folder) {
    let code = format!(
        "# {name}\n{DAEMON}\nin_child(daemon)\nin_child(daemon)\ncall('prctl', 1, 0, 0, 0, 0)\nopen('left', 'w').close()\nsay('ready', 'yes')\ntime.sleep(600)"
    );
    let (mut child, state) = starting(user, temporary, &[], &code).start();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready: yes");
    assert!(processes_with(name).len() >= 3);
    (child, state)
}

#[test]
fn nothing_outlives_stockade_when_it_is_killed_and_the_next_run_clears_its_folder() {
    for user in users() {
        let (name, folder) = (mark("bare-orphan"), temporary());
        let (mut child, _state) = started(user, folder.path(), &name);
        // A run beside it leaves a living one's folder alone.
        starting(user, folder.path(), &[], "pass").run().expect(0).stderr.clear();
        assert_eq!(left_in(folder.path()).len(), 1);
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_gone(&name);
        assert_eq!(left_in(folder.path()).len(), 1, "it was killed, so its folder is left");
        starting(user, folder.path(), &[], "pass").run().expect(0).stderr.clear();
        assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
    }
}

/// Nobody inside can kill the init; somebody outside may.
#[test]
fn nothing_outlives_the_init_when_it_is_killed() {
    for user in users() {
        let (name, folder) = (mark("bare-init"), temporary());
        let (mut child, _state) = started(user, folder.path(), &name);
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
        let init = children.split_whitespace().next().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(125));
        assert_eq!(processes_with(&name), Vec::<u32>::new());
        assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn interrupts_and_limits_end_the_whole_tree() {
    for user in users() {
        let (name, folder) = (mark("bare-limit"), temporary());
        let code = format!("# {name}\n{DAEMON}\nin_child(daemon)\ntime.sleep(600)");
        let ran = starting(user, folder.path(), &["--limit", "time=1s"], &code).run().expect(124);
        assert_eq!(processes_with(&name), Vec::<u32>::new(), "{}", ran.stderr);
        let code = format!(
            "# {name}\n{DAEMON}\nin_child(daemon)\nwhile True: open('full', 'ab').write(b'x' * 100_000); time.sleep(0.001)"
        );
        let ran = starting(user, folder.path(), &["--limit", "scratch=10MiB"], &code).run().expect(125);
        assert!(ran.report()["cause"].to_string().contains("scratch"), "{}", ran.stderr);
        assert_eq!(processes_with(&name), Vec::<u32>::new());
        let code = format!("# {name}\nnumber = 0\nwhile True: number += 1; open(f'f{{number}}', 'w').close()");
        let ran = starting(user, folder.path(), &["--limit", "scratch-files=1000"], &code).run().expect(125);
        assert!(ran.report()["cause"].to_string().contains("scratch-files"), "{}", ran.stderr);
        assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn no_memory_or_queue_is_shared_with_other_programs() {
    for user in users() {
        let code = r#"
attempt("shmget", lambda: raw(29 if not ARM else 194, 0, 4096, 0o1600))
attempt("msgget", lambda: raw(68 if not ARM else 186, 0, 0o1600))
attempt("semget", lambda: raw(64 if not ARM else 190, 0, 1, 0o1600))
attempt("mq_open", lambda: raw(240 if not ARM else 180, b"name", 0o102, 0o600, 0))
attempt("/dev/shm", lambda: open("/dev/shm/stockade-escape", "w"))
attempt("/dev/mqueue", lambda: open("/dev/mqueue/stockade-escape", "w"))
"#;
        assert_all(&attack(user, code).expect(0), &["ENOSYS", "EACCES", "ENOENT"]);
    }
}

#[test]
fn the_kernels_doors_are_closed_as_in_every_run() {
    for user in users() {
        let code = r#"
tries(("userfaultfd", 0), ("bpf", 0, 0, 0), ("perf_event_open", 0, 0, 0, 0, 0), ("keyctl", 0, 0), ("add_key", 0, 0, 0, 0, 0),
      ("unshare", 0x10000000), ("mount", 0, 0, 0, 0, 0), ("setns", 0, 0), ("open_by_handle_at", 0, 0, 0), ("io_uring_setup", 1, 0),
      ("chroot", b"/tmp"), ("kexec_load", 0, 0, 0, 0))
attempt("become root", lambda: os.setuid(0) if os.getuid() else os.setuid(1))
attempt("set-uid file", lambda: os.close(os.open("setuid", os.O_CREAT | os.O_WRONLY, 0o4755)))
attempt("set-uid mode", lambda: os.chmod("/usr/bin/env", 0o4755))
"#;
        assert_all(&attack(user, code).expect(0), &["EPERM", "ENOSYS"]);
    }
}

#[test]
fn outputs_are_collected_with_the_same_disbelief() {
    for user in users() {
        let (folder, results) = (temporary(), Folder::new());
        let secret = results.write("secret", "secret");
        std::fs::set_permissions(results.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let out = results.path().join("out");
        let code = format!(
            "os.symlink({secret:?}, 'planted')\nos.symlink('/etc', 'folder')\nos.mkfifo('fifo')\nos.makedirs('a/b')\nopen('a/b/kept', 'w').write('kept')\nos.mkdir('closed', 0)\nsay('made', 'all')"
        );
        let ran = starting(user, folder.path(), &["--out", text(&out)], &code).run().expect(0);
        assert_eq!(std::fs::read_to_string(out.join("a/b/kept")).unwrap(), "kept");
        let mut names: Vec<String> = std::fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "closed")
            .collect();
        names.sort();
        assert_eq!(names, ["a"], "{}", ran.stderr);
        assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
        let told = ran.report()["outputs"]["left_out"].to_string();
        assert!(told.contains("planted") && told.contains("fifo"), "{told}");
    }
}

#[test]
fn a_project_is_copied_and_never_changes() {
    let folder = Folder::new();
    folder.write("project/main.py", "import util\nopen('data', 'a').write(util.TEXT)\nopen('sub/new', 'w').write('n')\nimport os; os.remove('gone')\nprint(open('data').read(), os.path.exists('.env'))\n");
    folder.write("project/util.py", "TEXT = ' changed'\n");
    folder.write("project/data", "original");
    folder.write("project/gone", "original");
    folder.write("project/sub/old", "original");
    folder.write("project/.env", "SECRET=1");
    for user in users() {
        give_to(user, &folder.path().join("project"));
        let out = folder.path().join(format!("out-{user:?}"));
        let ran = call(STOCKADE, user)
            .within(folder.path())
            .arg("run")
            .args(FLAGS)
            .args(["--project", "project", "--out", text(&out), "project/main.py"])
            .run()
            .expect(0);
        assert_eq!(ran.stdout, "original changed False\n");
        assert_eq!(folder.read("project/data"), "original");
        assert_eq!(std::fs::read_to_string(out.join("data")).unwrap(), "original changed");
        assert_eq!(std::fs::read_to_string(out.join("sub/new")).unwrap(), "n");
        assert!(!out.join("util.py").exists() && !out.join("sub/old").exists(), "what is unchanged is no output");
        assert!(ran.report()["outputs"]["removed"].to_string().contains("gone"), "{}", ran.stderr);
    }
}

#[test]
fn a_folder_for_temporary_files_that_others_rule_is_refused() {
    let folder = Folder::new();
    // Others could put something else in the place of the run's folder.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    for user in users() {
        let ran = starting(user, folder.path(), &[], "pass").run().expect(125);
        assert!(ran.stderr.contains("cannot use the folder for temporary files"), "{}", ran.stderr);
        assert_eq!(left_in(folder.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn what_needs_namespaces_is_refused() {
    let folder = Folder::new();
    folder.write("share/file", "");
    folder.write("notebook.ipynb", "{}");
    folder.write("query.sql", "select 1");
    for arguments in [
        &["--share", "share", "-c", "1"][..],
        &["--project", "share", "--apply", "-c", "1"],
        &["--diff", "-c", "1"],
        &["--require", "pid", "-c", "1"],
        &["--require", "namespaces", "-c", "1"],
        &["notebook.ipynb"],
        &["query.sql"],
    ] {
        let ran = call(STOCKADE, User::Ordinary)
            .within(folder.path())
            .arg("run")
            .args(FLAGS)
            .args(arguments)
            .run()
            .expect(125);
        assert!(ran.stderr.contains("\"next\":"), "{arguments:?}: {}", ran.stderr);
    }
}

/// As in a hardened container: a user namespace below which none can be made.
#[test]
fn it_runs_where_namespaces_are_switched_off() {
    if !rustix::process::geteuid().is_root() {
        skipped("a machine without namespaces", "the tests are run by an ordinary user");
        return;
    }
    let binary = Folder::new();
    let stockade = binary.path().join("stockade");
    std::fs::copy(STOCKADE, &stockade).unwrap();
    let home = Folder::new();
    // The ids of everyone are mapped, so that an ordinary user is one in there too.
    let script = format!(
        r#"
import ctypes, os, sys
assert ctypes.CDLL(None).unshare(0x10000000) == 0
sys.stdin.readline()
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.setgroups([]); os.setresgid(61234, 61234, 61234); os.setresuid(61234, 61234, 61234)
os.chdir({home:?})
os.execve({stockade:?}, ["stockade", "run"] + sys.argv[1:], {{"HOME": {home:?}, "PATH": "/usr/bin:/bin"}})
"#,
        home = text(home.path()),
        stockade = text(&stockade)
    );
    for (tier, status) in [("namespaces", 125), ("landlock", 0)] {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", &script, "--tier", tier, "-c", "print(6 * 7)"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let own = std::fs::read_link("/proc/self/ns/user").unwrap();
        eventually("the namespace is made", || {
            std::fs::read_link(format!("/proc/{}/ns/user", child.id())).is_ok_and(|other| other != own)
        });
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295").unwrap();
        }
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap()).expect(status);
        if status == 0 {
            assert_eq!(ran.stdout, "42\n");
            assert!(ran.stderr.contains("tier landlock goes without: user mount pid network"), "{}", ran.stderr);
        }
    }
}

/// What the default profile of Docker answers, with the capabilities its root has.
#[test]
fn it_runs_inside_a_default_container() {
    if !rustix::process::geteuid().is_root() {
        skipped("a default container", "the tests are run by an ordinary user");
        return;
    }
    let folder = temporary();
    let script = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == "aarch64"
# clone3 ENOSYS; unshare, setns, mount, umount2, pivot_root, fsopen, open_tree, move_mount, mount_setattr,
# bpf, perf_event_open, keyctl, add_key, kcmp, process_vm_readv, userfaultfd EPERM; clone with namespaces EPERM.
numbers = [97, 268, 40, 39, 41, 430, 428, 429, 442, 280, 241, 219, 217, 272, 270, 282] if ARM else [272, 308, 165, 166, 155, 430, 428, 429, 442, 321, 298, 250, 248, 312, 310, 323]
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 435), (0x06, 0, 0, 0x50000 | 38)]
for number in numbers:
    lines += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | 1)]
lines += [(0x15, 0, 3, 220 if ARM else 56), (0x20, 0, 0, 16), (0x45, 0, 1, 0x7e020000), (0x06, 0, 0, 0x50000 | 1), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(lines), ctypes.addressof(code)))
kept = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31}
# The filter first, which takes a right that a container's root lacks.
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
for capability in range(64):
    if capability not in kept:
        libc.prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"#;
    for (tier, status) in [("namespaces", 125), ("landlock", 0)] {
        let ran = call("/usr/bin/python3", User::Caller)
            .env("TMPDIR", folder.path())
            .args(["-c", script, STOCKADE, "run", "--tier", tier, "--python", "/usr/bin/python3", "-c", "print(6 * 7)"])
            .run()
            .expect(status);
        assert_eq!(ran.stdout, if status == 0 { "42\n" } else { "" }, "{}", ran.stderr);
        assert!(status != 0 || ran.stderr.contains("throw-away-user"), "{}", ran.stderr);
    }
}

#[test]
fn ordinary_work_works() {
    for user in users() {
        let code = r#"
import asyncio, concurrent.futures, csv, json, multiprocessing, sqlite3, subprocess, tempfile, zipfile
def send(end): end.send("pong")
def piped():
    own, other = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=send, args=(other,))
    child.start()
    said = own.recv()
    child.join()
    return said
attempt("pipe", piped)
attempt("threads", lambda: concurrent.futures.ThreadPoolExecutor(2).submit(lambda: 3).result())
attempt("subprocess", lambda: subprocess.run(["sh", "-c", "echo $((1 + 1)) | cat"], capture_output=True, text=True).stdout)
attempt("asyncio", lambda: asyncio.run(asyncio.sleep(0, "slept")))
attempt("temporary", lambda: tempfile.NamedTemporaryFile().write(b"x"))
attempt("sqlite", lambda: sqlite3.connect("data.db").execute("select 1").fetchone())
attempt("zip", lambda: zipfile.ZipFile("z.zip", "w").writestr("a", "b"))
attempt("processors", lambda: os.cpu_count() > 0)
attempt("home", lambda: open(os.path.expanduser("~/note"), "w").write("x"))
attempt("null", lambda: open("/dev/null", "w").write("x"))
attempt("random", lambda: len(os.urandom(4)))
attempt("input", lambda: sys.stdin.read())
"#;
        let ran = attack(user, code).expect(0);
        let expected = [
            ("pipe", "done 'pong'"),
            ("threads", "done 3"),
            ("subprocess", "done '2\\n'"),
            ("asyncio", "done 'slept'"),
            ("temporary", "done 1"),
            ("sqlite", "done (1,)"),
            ("zip", "done"),
            ("processors", "done True"),
            ("home", "done 1"),
            ("null", "done 1"),
            ("random", "done 4"),
            ("input", "done ''"),
        ];
        assert_said(&ran, &expected);
    }
}

/// Nothing of the supervisor or its init is in the code's hands.
#[test]
fn the_code_holds_no_descriptor_but_its_own() {
    for user in users() {
        let code = r#"
for number in range(3, 64):
    try: os.fstat(number)
    except OSError: continue
    say(str(number), os.readlink(f"/proc/self/fd/{number}").split(":")[0])
say("end", "reached")
"#;
        // Descriptor 3 is the result's, which the start-up has closed or keeps.
        let told = said(&attack(user, code).expect(0));
        assert!(told.iter().all(|(number, what)| number == "end" || what == "pipe"), "{told:?}");
    }
}
