//! Resources: bombs of every kind, inside outer limits so that a failing test harms nobody.

use std::time::Instant;

use crate::support::{User, assert_gone, assert_said, attack, mark, said, skipped, users};

fn cause(ran: &stockade_testkit::Ran) -> String {
    let report = ran.report();
    let cause = &report["cause"];
    cause["limit"].as_str().or_else(|| cause["kind"].as_str()).unwrap().to_owned()
}

#[test]
fn a_fork_bomb_stays_within_the_limit_of_processes() {
    for user in users() {
        for cgroup in ["auto", "off"] {
            let code = r#"
children = []
try:
    while len(children) < 500:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    say("stopped", "never")
except OSError as refused:
    say("stopped", error(refused.errno))
say("within", len(children) <= 64)
import threading
def start():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
attempt("thread", start)
os._exit(0)
"#;
            let ran = attack(user, &["--cgroup", cgroup, "--limit", "processes=64", "--limit", "time=30s"], code)
                .run()
                .expect(0);
            assert_said(&ran, &[("stopped", "EAGAIN"), ("within", "True"), ("thread", "RuntimeError")]);
            assert!(ran.report()["processes_left"].as_u64().unwrap() >= 40, "{}", ran.stderr);
        }
    }
}

#[test]
fn a_fork_bomb_that_never_ends_is_ended() {
    for user in users() {
        let name = mark("bomb");
        let code = format!(
            r#"
# {name}
import signal
for one in range(1, 32):
    if one not in (9, 17, 19): signal.signal(one, signal.SIG_IGN)
while True:
    try:
        os.fork()
        os.setsid()
    except OSError:
        pass
"#
        );
        let began = Instant::now();
        let ran = attack(user, &["--limit", "processes=64", "--limit", "time=2s"], &code).run().expect(124);
        assert_eq!(cause(&ran), "time");
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
        assert_gone(&name);
    }
}

#[test]
fn memory_of_one_process_is_bounded() {
    for user in users() {
        let code = r#"
held = []
while True:
    held.append(bytearray(8 << 20))
    if len(held) > 64: say("held", len(held)); break
    time.sleep(0.01)
time.sleep(1)
"#;
        let ran = attack(user, &["--limit", "memory=128MiB", "--limit", "time=30s"], code).run();
        assert_eq!((ran.status, cause(&ran).as_str()), (125, "memory"), "{ran:?}");
    }
}

#[test]
fn memory_of_many_processes_is_bounded_together() {
    for user in users() {
        let code = r#"
for _ in range(12):
    if os.fork() == 0:
        held = bytearray(b"x") * (32 << 20)
        time.sleep(20)
        os._exit(0)
time.sleep(20)
"#;
        let ran = attack(user, &["--limit", "memory=160MiB", "--limit", "time=15s"], code).run();
        assert_eq!(cause(&ran), "memory", "{ran:?}");
    }
}

/// A memfd that nobody maps is in no process's size.
#[test]
fn memory_in_memfds_is_bounded() {
    for user in users() {
        let code = r#"
held = []
block = b"x" * (1 << 20)
for _ in range(400):
    one = os.memfd_create("hog")
    held.append(one)
    os.write(one, block)
    time.sleep(0.01)
time.sleep(3)
say("held", len(held))
"#;
        let ran =
            attack(user, &["--limit", "memory=128MiB", "--limit", "scratch=16MiB", "--limit", "time=30s"], code).run();
        assert_eq!(cause(&ran), "memory", "{ran:?}");
    }
}

/// System V shared memory outlives the process that made it and is mapped by nobody.
#[test]
fn memory_in_detached_shared_segments_is_bounded() {
    for user in users() {
        let code = r#"
LIBC.shmat.restype = ctypes.c_void_p
for number in range(12):
    segment = LIBC.shmget(0, 32 << 20, 0o1600)
    if segment < 0: say("segments", number); break
    where = LIBC.shmat(segment, None, 0)
    ctypes.memset(where, 1, 32 << 20)
    LIBC.shmdt(ctypes.c_void_p(where))
    time.sleep(0.1)
time.sleep(2)
say("held", number)
"#;
        let ran =
            attack(user, &["--limit", "memory=128MiB", "--limit", "scratch=16MiB", "--limit", "time=30s"], code).run();
        let refused_early = said(&ran).get("segments").is_some_and(|count| count.parse::<u32>().unwrap() <= 4);
        assert!(cause(&ran) == "memory" || refused_early, "{user:?} {ran:?}");
    }
}

#[test]
fn scratch_is_bounded_in_bytes_across_all_its_folders() {
    for user in users() {
        let code = r#"
block = b"x" * (1 << 20)
total = 0
for folder in ("/tmp", "/job", "/dev/shm", os.environ["HOME"], "/job"):
    try:
        with open(folder + "/hog", "ab", buffering=0) as one:
            for _ in range(12): total += one.write(block)
    except OSError as refused:
        say(folder, error(refused.errno))
say("within", total <= 32 << 20)
attempt("hole", lambda: (os.truncate("/tmp/hog", 1 << 40)))
attempt("allocate", lambda: os.posix_fallocate(os.open("/tmp/other", os.O_RDWR | os.O_CREAT), 0, 64 << 20))
"#;
        let ran = attack(user, &["--limit", "scratch=32MiB", "--limit", "file-size=64MiB"], code).run().expect(0);
        let told = said(&ran);
        assert_eq!(told["within"], "True");
        assert!(told.values().any(|how| how == "ENOSPC"), "{told:?}");
        assert_eq!(told["hole"], "EFBIG");
        assert!(ran.report()["denials"].to_string().contains("scratch"), "{}", ran.stderr);
    }
}

#[test]
fn scratch_is_bounded_in_files_across_all_its_folders() {
    for user in users() {
        let code = r#"
made = 0
def make(path, how):
    global made
    how(path)
    made += 1
refused = set()
for number in range(400):
    for folder in ("/tmp", "/job", "/dev/shm", os.environ["HOME"]):
        for how in (lambda path: os.close(os.open(path + "f", os.O_CREAT | os.O_WRONLY)), os.mkdir, lambda path: os.symlink("x", path + "s")):
            try: make(f"{folder}/{number}", how)
            except OSError as gone: refused.add(error(gone.errno))
say("refused", sorted(refused))
say("within", made <= 600)
"#;
        let ran = attack(user, &["--limit", "scratch-files=500"], code).run().expect(0);
        assert_said(&ran, &[("refused", "['ENOSPC']"), ("within", "True")]);
        assert!(ran.report()["denials"].to_string().contains("scratch-files"), "{}", ran.stderr);
    }
}

#[test]
fn a_single_file_is_bounded() {
    for user in users() {
        let code = r#"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
one = os.open("/tmp/large", os.O_RDWR | os.O_CREAT)
attempt("seek", lambda: os.pwrite(one, b"x", 8 << 20))
attempt("truncate", lambda: os.ftruncate(one, 1 << 40))
attempt("within", lambda: os.pwrite(one, b"x", (4 << 20) - 1))
memory = os.memfd_create("large")
attempt("memfd", lambda: os.ftruncate(memory, 1 << 40))
"#;
        let ran = attack(user, &["--limit", "file-size=4MiB"], code).run().expect(0);
        assert_said(&ran, &[("seek", "EFBIG"), ("truncate", "EFBIG"), ("within", "done 1"), ("memfd", "EFBIG")]);
    }
}

#[test]
fn a_flood_on_the_streams_is_bounded() {
    for user in users() {
        for target in ["1", "2"] {
            let code = format!("block = b'x' * 65536\nwhile True: os.write({target}, block)");
            let ran = attack(user, &["--limit", "streams=1MiB", "--limit", "time=30s"], &code).run().expect(125);
            assert!(ran.stderr.contains(r#""limit":"streams""#));
            let passed = ran.stdout.len() + ran.stderr.len();
            assert!(passed < 2 << 20, "{passed} bytes were passed on after a limit of 1 MiB");
        }
    }
}

#[test]
fn open_descriptors_are_bounded() {
    for user in users() {
        let code = r#"
held = []
try:
    while len(held) < 5000: held.append(os.dup(0))
except OSError as refused:
    say("stopped", error(refused.errno))
say("within", len(held) <= 100)
for one in held: os.close(one)
import resource
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, 5000))
    say("raise", "done")
except ValueError:
    say("raise", "EPERM")
"#;
        let ran = attack(user, &["--limit", "open-files=100"], code).run().expect(0);
        assert_said(&ran, &[("stopped", "EMFILE"), ("within", "True"), ("raise", "EPERM")]);
    }
}

/// Each process has its own RLIMIT_CPU; the limit is the tree's.
#[test]
fn cpu_time_of_many_processes_is_bounded_together() {
    for user in users() {
        let code = r#"
for _ in range(3):
    if os.fork() == 0:
        while True: pass
while True:
    # Short-lived children, which no sample sees for long.
    child = os.fork()
    if child == 0:
        for _ in range(200000): pass
        os._exit(0)
    os.waitpid(child, 0)
"#;
        let began = Instant::now();
        let ran = attack(user, &["--limit", "cpu-time=2s", "--limit", "time=60s"], code).run().expect(125);
        assert_eq!(cause(&ran), "cpu-time");
        assert!(began.elapsed().as_secs() < 40);
    }
}

#[test]
fn wall_time_is_bounded_whatever_the_code_ignores() {
    for user in users() {
        let code = r#"
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(600)
"#;
        let began = Instant::now();
        let ran = attack(user, &["--limit", "time=1s"], code).run().expect(124);
        assert_eq!(cause(&ran), "time");
        assert!(began.elapsed().as_secs() < 20);
    }
}

#[test]
fn deep_folders_break_nothing() {
    for user in users() {
        let code = r#"
os.chdir("/job")
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
with open("bottom", "w") as one: one.write("x")
say("made", "yes")
"#;
        let folder = crate::support::Folder::new();
        let out = folder.path().join("out");
        let ran = attack(user, &["--out", crate::support::text(&out)], code).run();
        assert_eq!(said(&ran)["made"], "yes");
        assert!(ran.status == 0 || ran.status == 125, "{ran:?}");
        if ran.status == 0 {
            assert!(
                ran.report()["outputs"]["left_out"].to_string().contains("over the limit of depth"),
                "{}",
                ran.stderr
            );
        }
    }
}

#[test]
fn limits_cannot_be_given_up_from_inside() {
    if users().len() < 2 {
        skipped("both callers", "the tests are not run by root");
    }
    for user in users() {
        let code = r#"
import resource
for name in ("CORE", "NOFILE", "FSIZE", "NPROC", "CPU", "MEMLOCK", "MSGQUEUE", "RTPRIO", "NICE"):
    which = getattr(resource, "RLIMIT_" + name, None)
    if which is None: continue
    soft, hard = resource.getrlimit(which)
    say(name, hard >= 0)
attempt("nice", lambda: os.nice(-5))
attempt("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)))
attempt("score", lambda: open("/proc/self/oom_score_adj", "w").write("-1000"))
attempt("io", lambda: raw(30 if ARM else 251, 1, 0, 1 << 13))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let told = said(&ran);
        for name in ["CORE", "NOFILE", "FSIZE", "NPROC", "CPU", "MEMLOCK", "MSGQUEUE"] {
            assert_eq!(told[name], "True", "{name} is unlimited");
        }
        for name in ["nice", "realtime", "score", "io"] {
            assert!(["EPERM", "EACCES"].contains(&told[name].as_str()), "{name}: {}", told[name]);
        }
    }
}

#[test]
fn a_limit_above_what_the_policy_permits_is_refused() {
    for (limit, _) in [("processes=99999999", 0), ("memory=0", 0), ("time=-1", 0), ("scratch=99999TiB", 0)] {
        let ran = attack(User::Caller, &["--limit", limit], "say('started', 'yes')").run().expect(125);
        assert_eq!(ran.stdout, "", "{limit}");
    }
}
