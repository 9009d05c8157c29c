//! The kernel's surface: system calls, namespaces, mounts, control files.

use crate::support::{Folder, assert_all, assert_said, attack, outside, said, skipped, users};

#[test]
fn no_namespace_can_be_made_or_entered() {
    for user in users() {
        let code = r#"
NAMES = {"time": 0x80, "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000, "net": 0x40000000}
for name, flag in NAMES.items():
    attempt(f"unshare {name}", lambda: call("unshare", flag))
    if name != "time":
        attempt(f"clone {name}", lambda: call("clone", flag | 17, 0, 0, 0, 0))
        attempt(f"clone {name} with user", lambda: call("clone", flag | 0x10000000 | 17, 0, 0, 0, 0))
attempt("unshare nothing", lambda: call("unshare", 0))
for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"):
    handle = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
    attempt(f"setns {name}", lambda: call("setns", handle, 0))
attempt("setns pidfd", lambda: call("setns", call("pidfd_open", 1, 0), 0x10000000))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
        assert_eq!(said(&ran).len(), 32);
        // clone3 hides its flags behind a pointer; ENOSYS, so that threads fall back to clone.
        let ran = attack(
            user,
            &[],
            r#"
attempt("clone3", lambda: call("clone3", struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64))
import threading
one = threading.Thread(target=lambda: say("thread", "runs")); one.start(); one.join()
"#,
        )
        .run()
        .expect(0);
        assert_said(&ran, &[("clone3", "ENOSYS"), ("thread", "runs")]);
        let denied =
            attack(user, &[], "attempt('u', lambda: call('unshare', 0x10000000))").run().expect(0).report()["denials"]
                .to_string();
        assert!(denied.contains("unshare"), "{denied}");
    }
}

#[test]
fn nothing_can_be_mounted_moved_or_unmounted() {
    for user in users() {
        let code = r#"
tries(
    ("mount", b"none", b"/tmp", b"tmpfs", 0, b""), ("mount", b"/usr", b"/tmp", b"", 4096, b""), ("mount", b"none", b"/usr", b"", 32 | 4096, b""),
    ("mount", b"proc", b"/tmp", b"proc", 0, b""), ("mount", b"cgroup", b"/tmp", b"cgroup", 0, b"rdma"),
    ("umount2", b"/proc/sys", 2), ("pivot_root", b"/tmp", b"/tmp"), ("chroot", b"/tmp"),
    ("open_tree", -100, b"/", 1), ("move_mount", -100, b"/tmp", -100, b"/usr", 0), ("fsopen", b"tmpfs", 0), ("fsconfig", 3, 0, b"a", b"b", 0),
    ("fsmount", 3, 0, 0), ("fspick", -100, b"/", 0), ("mount_setattr", -100, b"/usr", 0x8000, b"\0" * 32, 32), ("statmount", b"\0" * 64, b"\0" * 64, 64, 0), ("listmount", b"\0" * 64, b"\0" * 64, 8, 0),
)
for path in ("/proc/sys", "/proc/kcore", "/proc/cmdline", "/usr", "/"):
    attempt("uncover " + path, lambda: call("umount2", path.encode(), 0))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
    }
}

/// A folder handed to a chroot outlives it; here nobody may make one.
#[test]
fn the_classic_way_out_of_a_chroot_is_closed() {
    for user in users() {
        let code = r#"
os.mkdir("/tmp/jail")
back = os.open("/", os.O_RDONLY)
attempt("chroot", lambda: os.chroot("/tmp/jail"))
os.fchdir(back)
for _ in range(64): os.chdir("..")
say("root", sorted(set(os.listdir(".")) & {"root", "var", "boot", "srv", "mnt"}))
"#;
        assert_said(&attack(user, &[], code).run().expect(0), &[("chroot", "EPERM"), ("root", "[]")]);
    }
}

/// CVE-2022-0492 and its kin: a cgroup's release agent is a program the host runs as root.
#[test]
fn control_groups_are_out_of_reach() {
    for user in users() {
        let code = r#"
os.mkdir("/tmp/group")
for kind in (b"cgroup", b"cgroup2"):
    attempt(kind.decode(), lambda: call("mount", b"none", b"/tmp/group", kind, 0, b"memory" if kind == b"cgroup" else b""))
attempt("user namespace first", lambda: call("unshare", 0x10000000 | 0x20000 | 0x2000000))
attempt("folder", lambda: os.listdir("/sys/fs/cgroup"))
for path in ("/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/proc/cgroups/release_agent"):
    attempt(path, lambda: open(path, "w").write("/job/evil"))
# Of the host's groups not even the names are seen.
say("paths", sorted({line.rstrip("\n").split(":", 2)[2] for line in open("/proc/self/cgroup")}))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("paths").unwrap(), "['/']");
        for what in ["cgroup", "cgroup2", "user namespace first"] {
            assert_eq!(told.remove(what).unwrap(), "EPERM");
        }
        for (what, how) in told {
            assert!(["ENOENT", "ENOTDIR", "EACCES"].contains(&how.as_str()), "{what}: {how}");
        }
    }
}

#[test]
fn parameters_of_the_kernel_cannot_be_written() {
    for user in users() {
        let code = r#"
for name in ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/shmmax", "kernel/msgmni", "kernel/sysrq", "kernel/modprobe", "kernel/ns_last_pid", "kernel/randomize_va_space", "kernel/yama/ptrace_scope",
    "vm/overcommit_memory", "vm/drop_caches", "fs/binfmt_misc/register", "fs/mqueue/queues_max", "fs/file-max", "net/ipv4/ip_forward", "net/ipv4/ping_group_range", "net/ipv4/ip_unprivileged_port_start", "user/max_user_namespaces"):
    path = "/proc/sys/" + name
    if os.path.exists(path):
        attempt(name, lambda: os.close(os.open(path, os.O_WRONLY)))
for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/proc/irq/0/smp_affinity", "/proc/mtrr", "/proc/acpi/wakeup", "/proc/bus/pci/00", "/proc/scsi/scsi", "/proc/timer_list", "/proc/self/clear_refs" if False else "/proc/fs/ext4", "/proc/pressure/memory"):
    if os.path.exists(path):
        attempt(path, lambda: os.write(os.open(path, os.O_WRONLY), b"b"))
def remounted():
    # The host's files below a covered one stay covered: there is no other way to them.
    return [os.path.exists("/proc/self/root/proc/../proc/bus/pci"), os.path.exists("/proc/thread-self/root/proc/fs/ext4")]
attempt("behind", remounted)
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("behind").unwrap(), "done [False, False]");
        assert!(told.len() > 12, "{told:?}");
        for (what, how) in told {
            assert!(["EROFS", "EACCES", "EPERM", "EISDIR"].contains(&how.as_str()), "{what}: {how}");
        }
    }
}

#[test]
fn files_of_the_kernel_that_tell_of_memory_are_empty() {
    for user in users() {
        let code = r#"
for name in ("kcore", "kmsg", "kallsyms", "keys", "key-users", "modules", "sched_debug", "timer_list", "cmdline", "config.gz", "kpagecount"):
    if os.path.exists("/proc/" + name):
        attempt(name, lambda: open("/proc/" + name, "rb").read(64))
for name in ("kpageflags", "vmallocinfo", "slabinfo", "pagetypeinfo", "self/pagemap"):
    attempt(name, lambda: any(open("/proc/" + name, "rb").read(8)) if name != "self/pagemap" else struct.unpack("Q", os.pread(os.open("/proc/self/pagemap", os.O_RDONLY), 8, id(NUMBERS) // 4096 * 8))[0] & (1 << 55) - 1)
attempt("iomem", lambda: [line for line in open("/proc/iomem") if line.split("-")[0].strip().strip("0")])
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        // Frame numbers are zero for whoever has no capability.
        assert_eq!(told.remove("self/pagemap").unwrap(), "done 0");
        assert!(told.len() >= 10);
        for (what, how) in told {
            assert!(["done b''", "done []", "EACCES", "EPERM", "ENOENT"].contains(&how.as_str()), "{what}: {how}");
        }
    }
}

#[test]
fn system_calls_that_reach_into_the_kernel_are_refused() {
    for user in users() {
        let code = r#"
params = ctypes.create_string_buffer(256)
tries(
    ("io_uring_setup", 8, params), ("io_uring_enter", 0, 1, 0, 0, 0, 0), ("io_uring_register", 0, 0, 0, 0), ("userfaultfd", 0), ("userfaultfd", 1),
    ("bpf", 0, params, 64), ("bpf", 5, params, 120), ("perf_event_open", params, 0, -1, -1, 0),
    ("open_by_handle_at", -100, params, 0), ("name_to_handle_at", -100, b"/", params, params, 0), ("fanotify_init", 0, 0),
    ("kexec_load", 0, 0, 0, 0), ("kexec_file_load", 0, 0, 0, 0, 0), ("init_module", params, 0, b""), ("finit_module", 0, b"", 0), ("delete_module", b"x", 0),
    ("syslog", 3, params, 256), ("reboot", 0xfee1dead - (1 << 32), 672274793, 0), ("swapon", b"/tmp/x", 0), ("swapoff", b"/tmp/x"), ("acct", b"/tmp/x"), ("quotactl", 0, 0, 0, 0), ("quotactl_fd", 0, 0, 0, 0),
    ("sethostname", b"evil", 4), ("setdomainname", b"evil", 4), ("settimeofday", params, 0), ("clock_settime", 0, params), ("adjtimex", params), ("clock_adjtime", 0, params),
    ("iopl", 3), ("ioperm", 0, 1, 1), ("modify_ldt", 1, params, 16), ("vmsplice", 1, params, 1, 0), ("memfd_secret", 0), ("process_mrelease", 0, 0), ("migrate_pages", 0, 0, 0, 0),
    ("seccomp", 1, 0, params), ("landlock_create_ruleset", 0, 0, 1), ("lsm_get_self_attr", 100, 0, params, 0), ("sync",), ("syncfs", 0), ("file_setattr", -100, b"/tmp", params, 64, 0),
    ("personality", 0x0040000), ("personality", 0x0400000),
)
for option in (22, 24, 28, 35, 53):
    attempt(f"prctl {option}", lambda: call("prctl", option, 1, 0, 0, 0))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
        let told = said(&ran).len();
        assert!(told > 40, "{told}");
        // What the kernel does not know, and what hides its arguments, is as if it did not exist.
        let unknown = attack(
            user,
            &[],
            r#"
for number in (400, 470, 480, 512, 548, 999, 100000):
    attempt(str(number), lambda: raw(number, 0, 0, 0, 0, 0, 0))
tries(("openat2", -100, b"/", b"\0" * 24, 24), ("io_setup", 1, b"\0" * 8), ("cachestat", 0, 0, 0, 0))
"#,
        )
        .run()
        .expect(0);
        for (what, how) in said(&unknown) {
            assert_eq!(how, "ENOSYS", "{what}");
        }
    }
}

/// Another table of system calls, in which every number means something else.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_another_architecture_end_the_process() {
    let code = r#"
import mmap
def run(machine_code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(machine_code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return function()
def child(what, machine_code):
    pid = os.fork()
    if pid == 0:
        run(machine_code)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    say(what, f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {os.WEXITSTATUS(status)}")
# mov eax, N; int 0x80; ret     getpid of 32 bits is 20
child("int 0x80", b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
# mov eax, 0x40000000 + 39; syscall; ret     getpid as x32
child("x32", b"\xb8\x27\x00\x00\x40\x0f\x05\xc3")
# mov eax, 0x40000000 + 520; syscall; ret    execve as x32
child("x32 execve", b"\xb8\x08\x02\x00\x40\x0f\x05\xc3")
# The control: getpid as this machine calls it.
child("syscall", b"\xb8\x27\x00\x00\x00\x0f\x05\xc3")
"#;
    let folder = Folder::new();
    assert_eq!(said(&outside(folder.path(), code))["syscall"], "status 0");
    for user in users() {
        let ran = attack(user, &[], code).run().expect(0);
        assert_said(
            &ran,
            &[("int 0x80", "signal 31"), ("x32", "signal 31"), ("x32 execve", "signal 31"), ("syscall", "status 0")],
        );
    }
}

/// A program in memory is code like any other: it may run, and gains nothing by it.
#[test]
fn a_program_run_from_memory_is_inside_the_same_walls() {
    for user in users() {
        let code = r#"
import subprocess
program = call("memfd_create", b"program", 0)
with open("/usr/bin/grep", "rb") as one: os.write(program, one.read())
os.set_inheritable(program, True)
ended = subprocess.run([f"/proc/self/fd/{program}", "-E", "^(NoNewPrivs|Seccomp|CapEff|CapBnd):", "/proc/self/status"], pass_fds=[program], capture_output=True, text=True)
for line in ended.stdout.splitlines():
    name, value = line.split(":")
    say(name, int(value.strip(), 16))
"#;
        assert_said(
            &attack(user, &[], code).run().expect(0),
            &[("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0"), ("CapBnd", "0")],
        );
    }
}

#[test]
fn devices_cannot_be_made() {
    for user in users() {
        let code = r#"
for what, kind, major, minor in (("disk", 0o060666, 254, 0), ("memory", 0o020666, 1, 1), ("whiteout", 0o020666, 0, 0), ("null", 0o020666, 1, 3), ("loop", 0o060666, 7, 0), ("fuse", 0o020666, 10, 229)):
    for folder in ("/tmp", "/job", "/dev/shm"):
        attempt(f"{what} in {folder}", lambda: os.mknod(f"{folder}/{what}", kind, os.makedev(major, minor)))
    attempt(f"{what} high", lambda: call("mknodat", -100, b"/tmp/x", kind | 1 << 32, os.makedev(major, minor)))
say("devices", sorted(name for name in os.listdir("/dev") if name not in ("fd", "stdin", "stdout", "stderr", "pts", "shm", "ptmx")))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("devices").unwrap(), "['full', 'null', 'random', 'tty', 'urandom', 'zero']");
        assert_eq!(told.len(), 24);
        for (what, how) in told {
            assert_eq!(how, "EPERM", "{what}");
        }
    }
}

/// File handles reach past a private root (the "shocker" attack on early containers).
#[test]
fn file_handles_reach_nothing() {
    for user in users() {
        let code = r#"
for inode in (1, 2, 3, 128):
    handle = struct.pack("Ii", 8, 1) + struct.pack("II", inode, 0)
    for folder in ("/usr", "/job", "/etc/services"):
        attempt(f"{folder} {inode}", lambda: call("open_by_handle_at", os.open(folder, os.O_RDONLY), handle, 0))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
        assert_eq!(said(&ran).len(), 12);
    }
}

/// The kernel starts the machine's crash handler as root for whoever crashes; a limit of zero keeps
/// files from being written, only a limit of one keeps a piped handler from being started (core(5),
/// fs/coredump.c). The pattern belongs to the whole machine, so the limit is what is looked at.
#[test]
fn a_crash_starts_no_program_of_the_host() {
    for user in users() {
        let code = r#"
import resource
say("limit", resource.getrlimit(resource.RLIMIT_CORE))
in_child(lambda: os.kill(os.getpid(), signal.SIGSEGV))
say("left", [name for name in os.listdir(".") if "core" in name])
"#;
        assert_said(&attack(user, &[], code).run().expect(0), &[("limit", "(1, 1)"), ("left", "[]")]);
    }
}

#[test]
fn inode_flags_and_raw_disk_requests_are_refused() {
    for user in users() {
        let code = r#"
with open("/job/file", "w"): pass
one = os.open("/job/file", os.O_RDWR)
word = ctypes.create_string_buffer(256)
for what, request, expected in (("SETFLAGS", 0x40086602, 0), ("FSSETXATTR", 0x401C5820, 0), ("FIFREEZE", 0xC0045877, 0), ("FITRIM", 0xC0185879, 0), ("BTRFS_SNAP", 0x50009401, 0), ("BLKROSET", 0x125D, 0), ("KVM_CREATE", 0xAE01, 0), ("FS_IOC_ENABLE_VERITY", 0x40806685, 0)):
    attempt(what, lambda: call("ioctl", one, request, word))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM", "ENOTTY"]);
        assert_eq!(said(&ran).len(), 8);
    }
}

#[test]
fn the_report_names_refused_calls_and_a_flood_of_them_ends_nothing() {
    for user in users() {
        let code = r#"
for _ in range(3000):
    try: call("ptrace", 0, 0, 0, 0)
    except OSError as refused: last = refused.errno
say("last", error(last))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        // After a thousand the listener is closed: the kernel answers by itself, with ENOSYS.
        assert!(["EPERM", "ENOSYS"].contains(&said(&ran)["last"].as_str()), "{}", ran.stdout);
        let denied = ran.report()["denials"].to_string();
        assert!(denied.contains("ptrace") && denied.contains("1000"), "{denied}");
    }
}

#[test]
fn the_second_wall_stands_where_the_kernel_has_landlock() {
    for user in users() {
        let ran = attack(user, &[], "say('x', 'y')").run().expect(0);
        let report = ran.report();
        let layers = report["enforced"].as_array().unwrap();
        for layer in [
            "user",
            "mount",
            "pid",
            "network",
            "ipc",
            "uts",
            "root",
            "locked-mounts",
            "proc",
            "throw-away-user",
            "no-new-privileges",
            "no-capabilities",
            "seccomp",
            "landlock",
            "rlimits",
            "scratch",
        ] {
            if !layers.iter().any(|one| one == layer) {
                // A test never passes silently where a wall is missing.
                skipped(&format!("layer {layer}"), "this machine does not give it");
            }
        }
        for required in ["root", "network", "no-new-privileges", "no-capabilities", "seccomp", "landlock"] {
            assert!(layers.iter().any(|one| one == required), "{required}");
        }
    }
}
