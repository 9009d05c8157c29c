//! Files: descriptors of the caller, shares, mounts, links, races on what is mounted.

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::{Folder, STOCKADE, assert_all, assert_said, attack, call, give_to, outside, said, text, users};

const REOPEN: &str = r#"
attempt("reopen", lambda: os.write(os.open("/proc/self/fd/0", os.O_WRONLY | os.O_TRUNC), b"overwritten"))
attempt("append", lambda: os.write(os.open("/dev/stdin", os.O_RDWR | os.O_APPEND), b"overwritten"))
attempt("write", lambda: os.write(0, b"overwritten"))
attempt("truncate", lambda: os.ftruncate(0, 0))
"#;

#[test]
fn a_file_given_as_standard_input_cannot_be_changed() {
    let folder = Folder::new();
    // Without walls the same lines destroy the file.
    folder.write("control", "original");
    let control = std::process::Command::new("python3")
        .args(["-c", &format!("{}\n{REOPEN}", crate::support::PRELUDE)])
        .stdin(std::fs::File::open(folder.path().join("control")).unwrap())
        .status();
    assert!(control.unwrap().success());
    assert!(folder.read("control").contains("overwritten"));
    for user in users() {
        let input = folder.write("input", "original");
        let ran = attack(user, &[], REOPEN).input_file(std::fs::File::open(input).unwrap()).run().expect(0);
        assert_eq!(said(&ran)["write"], "EBADF");
        assert_eq!(said(&ran)["truncate"], "EINVAL");
        assert_eq!(folder.read("input"), "original");
    }
}

#[test]
fn no_descriptor_of_the_caller_is_inside() {
    for user in users() {
        let folder = Folder::new();
        let secret = folder.write("secret", "original");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o666)).unwrap();
        let code = r#"
for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
    try:
        say(f"fd {number}", os.readlink(f"/proc/self/fd/{number}").split(":")[0])
    except OSError as gone:
        say(f"fd {number}", error(gone.errno))
for number in range(3, 64):
    attempt(f"use {number}", lambda: os.fstat(number))
attempt("beyond", lambda: os.fstat(900))
"#;
        let line = format!("{}\n{code}", crate::support::PRELUDE);
        let ran = call("sh", user)
            .args([
                "-c",
                r#"exec 3<"$1" 7<>"$1" 8<. 9>>"$1"; shift; exec "$@""#,
                "sh",
                text(&secret),
                STOCKADE,
                "run",
                "--json",
                "-c",
                &line,
            ])
            .within(folder.path())
            .run()
            .expect(0);
        for (what, how) in said(&ran) {
            match what.as_str() {
                // The streams, and the descriptor for results.
                "fd 0" | "fd 1" | "fd 2" | "fd 3" => assert_eq!(how, "pipe", "{what}"),
                "use 3" => assert!(how.contains("st_mode=4480"), "a pipe: {how}"),
                // The folder that is being listed.
                "fd 4" => assert_eq!(how, "ENOENT"),
                _ => assert_eq!(how, "EBADF", "{what}"),
            }
        }
        assert_eq!(folder.read("secret"), "original");
    }
}

/// CVE-2024-21626: a leaked descriptor of a host folder, or a working folder outside the root.
#[test]
fn a_leaked_folder_leads_nowhere() {
    for user in users() {
        let folder = Folder::new();
        folder.write("secret", "original");
        let code = r#"
say("here", os.getcwd())
for number in range(64):
    for path in (f"/proc/self/fd/{number}/../../../../../../../../", f"/proc/self/fd/{number}/"):
        try:
            names = os.listdir(path)
        except OSError:
            continue
        if "secret" in names or "root" in names or "var" in names:
            say(path, "leads out")
attempt("cwd", lambda: os.readlink("/proc/self/cwd"))
attempt("root", lambda: os.readlink("/proc/self/root"))
attempt("up", lambda: "var" in os.listdir("/proc/self/cwd/../../../../../.."))
attempt("chdir up", lambda: (os.chdir("../../../../.."), "var" in os.listdir("."))[1])
"#;
        let line = format!("{}\n{code}", crate::support::PRELUDE);
        let ran = call("sh", user)
            .args(["-c", r#"exec 8<. 9</ ; exec "$@""#, "sh", STOCKADE, "run", "--json", "-c", &line])
            .within(folder.path())
            .run()
            .expect(0);
        assert_said(
            &ran,
            &[
                ("here", "/job"),
                ("cwd", "done '/job'"),
                ("root", "done '/'"),
                ("up", "done False"),
                ("chdir up", "done False"),
            ],
        );
    }
}

/// A socket or FIFO that lies in a folder reaches whoever listens, even through a read-only bind.
#[test]
fn a_host_socket_or_fifo_in_a_read_only_share_is_dead() {
    let code = r#"
place = "/job/share/" if os.path.isdir("/job/share") else ""
def connect(kind):
    one = socket.socket(socket.AF_UNIX, kind)
    one.settimeout(5)
    one.connect(place + "socket")
    one.send(b"hello")
attempt("connect", lambda: connect(socket.SOCK_STREAM))
attempt("fifo", lambda: os.write(os.open(place + "fifo", os.O_WRONLY | os.O_NONBLOCK), b"hello"))
attempt("fifo rw", lambda: os.write(os.open(place + "fifo", os.O_RDWR | os.O_NONBLOCK), b"hello"))
"#;
    for flag in ["--share", "--in"] {
        for user in users() {
            let folder = Folder::new();
            let shared = folder.path().join("share");
            std::fs::create_dir(&shared).unwrap();
            let listener = UnixListener::bind(shared.join("socket")).unwrap();
            listener.set_nonblocking(true).unwrap();
            let fifo = shared.join("fifo");
            assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
            for name in ["socket", "fifo"] {
                std::fs::set_permissions(shared.join(name), std::fs::Permissions::from_mode(0o666)).unwrap();
            }
            // A reader of the FIFO, as a program of the host would be.
            let mut reader = std::fs::File::from(
                rustix::fs::open(
                    &fifo,
                    rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK,
                    rustix::fs::Mode::empty(),
                )
                .unwrap(),
            );
            let control = outside(&shared, code);
            assert_eq!(said(&control)["connect"], "done");
            assert_eq!(said(&control)["fifo"], "done 5");
            drop(listener.accept().unwrap());
            let mut heard = [0; 64];
            assert_eq!(reader.read(&mut heard).unwrap(), 10);

            let ran = attack(user, &[flag, &format!("{}=share", shared.display())], code).run().expect(0);
            assert_eq!(said(&ran)["connect"], "ECONNREFUSED", "{}", ran.stderr);
            assert!(
                said(&ran)["fifo"] == "ENXIO" || said(&ran)["fifo"] == "EROFS" || said(&ran)["fifo"] == "EACCES",
                "{}",
                ran.stdout
            );
            assert_eq!(
                listener.accept().unwrap_err().kind(),
                std::io::ErrorKind::WouldBlock,
                "the code reached the host's socket"
            );
            assert_eq!(
                reader.read(&mut heard).unwrap_err().kind(),
                std::io::ErrorKind::WouldBlock,
                "the code wrote to the host's FIFO"
            );
        }
    }
}

#[test]
fn a_writable_share_with_a_socket_or_fifo_is_refused() {
    for user in users() {
        for what in ["socket", "deep/fifo"] {
            let folder = Folder::new();
            folder.write("share/deep/data", "");
            let path = folder.path().join("share").join(what);
            let listener = what.contains("socket").then(|| UnixListener::bind(&path).unwrap());
            if listener.is_none() {
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            let ran = attack(
                user,
                &["--share", &format!("{}:rw", folder.path().join("share").display())],
                "say('started', 'yes')",
            )
            .run()
            .expect(125);
            assert_eq!(ran.stdout, "");
            assert!(ran.stderr.contains("cannot be shared writable") && ran.stderr.contains(what), "{}", ran.stderr);
        }
    }
}

#[test]
fn folders_that_programs_obey_are_not_shared_writable() {
    for user in users() {
        for path in ["/", "/etc", "/usr/bin", "/run", "/tmp", "/var/tmp", "/home", "/root", "/proc", "/dev/shm"] {
            if !std::path::Path::new(path).exists() {
                continue;
            }
            let ran = attack(user, &["--share", &format!("{path}:rw=x")], "say('started', 'yes')").run().expect(125);
            assert_eq!(ran.stdout, "", "{path}");
        }
    }
}

#[test]
fn a_read_only_share_is_read_only() {
    for user in users() {
        let folder = Folder::new();
        let file = folder.write("share/data", "original");
        std::fs::set_permissions(folder.path().join("share"), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let code = r#"
here = "/job/share/"
attempt("write", lambda: open(here + "data", "w"))
attempt("append", lambda: os.open(here + "data", os.O_WRONLY | os.O_APPEND))
attempt("create", lambda: open(here + "new", "w"))
attempt("remove", lambda: os.unlink(here + "data"))
attempt("rename", lambda: os.rename(here + "data", here + "other"))
attempt("chmod", lambda: os.chmod(here + "data", 0o600))
attempt("truncate", lambda: os.truncate(here + "data", 0))
attempt("reopen", lambda: os.open(f"/proc/self/fd/{os.open(here + 'data', os.O_RDONLY)}", os.O_WRONLY))
attempt("touch", lambda: os.utime(here + "data"))
attempt("link", lambda: os.symlink("/", here + "link"))
attempt("xattr", lambda: os.setxattr(here + "data", "user.x", b"1"))
attempt("remount", lambda: call("mount", b"none", b"/job/share", b"", 0x20, b""))
attempt("setattr", lambda: call("mount_setattr", -100, b"/job/share", 0, b"\0" * 32, 32))
"#;
        let ran = attack(user, &["--share", text(&folder.path().join("share"))], code).run().expect(0);
        // Landlock says EACCES where it is asked before the mount (EROFS); seccomp says EPERM.
        assert_all(&ran, &["EROFS", "EACCES", "EPERM"]);
        assert_eq!(said(&ran).len(), 13);
        assert_eq!(folder.read("share/data"), "original");
        assert_eq!(std::fs::read_dir(folder.path().join("share")).unwrap().count(), 1);
    }
}

#[test]
fn what_is_staged_never_changes_outside() {
    for user in users() {
        let folder = Folder::new();
        folder.write("project/main.py", "original");
        folder.write("project/deep/data", "original");
        let file = folder.write("file", "original");
        for path in ["project/main.py", "project/deep/data", "file"] {
            std::fs::set_permissions(folder.path().join(path), std::fs::Permissions::from_mode(0o666)).unwrap();
        }
        let code = r#"
import shutil
for path in ("main.py", "deep/data", "file"):
    with open(path, "w") as one: one.write("changed")
    os.chmod(path, 0o600)
shutil.rmtree("deep")
os.unlink("main.py")
open("new", "w").close()
say("left", sorted(os.listdir(".")))
"#;
        give_to(user, folder.path());
        let ran = attack(user, &["--project", text(&folder.path().join("project")), "--in", text(&file)], code)
            .run()
            .expect(0);
        assert_said(&ran, &[("left", "['file', 'new']")]);
        for path in ["project/main.py", "project/deep/data", "file"] {
            assert_eq!(folder.read(path), "original");
            assert_eq!(std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777, 0o666);
        }
        assert!(!folder.path().join("project/new").exists());
    }
}

#[test]
fn no_set_uid_file_can_be_left_in_a_share() {
    for user in users() {
        let folder = Folder::new();
        let shared = folder.path().join("share");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
        let code = r##"
os.umask(0)
here = "/job/share/"
def file(name):
    path = here + name
    with open(path, "w") as one: one.write("#!/bin/sh\n")
    return path
CREATE = os.O_WRONLY | os.O_CREAT
attempt("chmod", lambda: os.chmod(file("a"), 0o4755))
attempt("chmod gid", lambda: os.chmod(file("a"), 0o2755))
attempt("fchmod", lambda: os.fchmod(os.open(file("b"), os.O_WRONLY), 0o6755))
attempt("fchmodat", lambda: call("fchmodat", -100, file("c").encode(), 0o4755))
attempt("fchmodat2", lambda: call("fchmodat2", -100, file("d").encode(), 0o4755, 0))
attempt("high bits", lambda: call("fchmodat", -100, file("e").encode(), 0o4755 | 1 << 32))
attempt("open", lambda: os.open(here + "f", CREATE, 0o4777))
attempt("openat", lambda: call("openat", -100, (here + "g").encode(), CREATE, 0o4777))
attempt("tmpfile", lambda: os.open(here, os.O_WRONLY | os.O_TMPFILE, 0o6777))
attempt("mknod", lambda: os.mknod(here + "h", 0o104777))
attempt("mknod none", lambda: os.mknod(here + "i", 0o4777))
attempt("mkfifo", lambda: os.mkfifo(here + "j", 0o4777))
how = struct.pack("QQQ", CREATE, 0o4777, 0)
attempt("openat2", lambda: call("openat2", -100, (here + "k").encode(), how, len(how)))
attempt("device", lambda: os.mknod(here + "l", 0o060666, os.makedev(254, 0)))
attempt("whiteout", lambda: call("renameat2", -100, file("m").encode(), -100, (here + "n").encode(), 4))
attempt("capability", lambda: os.setxattr(file("o"), "security.capability", struct.pack("<5I", 0x02000001, 0xffffffff, 0, 0, 0)))
attempt("chown", lambda: os.chown(file("p"), 0, 0))
attempt("control", lambda: os.chmod(file("q"), 0o755))
"##;
        let ran = attack(user, &["--share", &format!("{}:rw=share", shared.display())], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("control").unwrap(), "done");
        assert_eq!(told.remove("openat2").unwrap(), "ENOSYS");
        assert_eq!(told.remove("chown").unwrap(), "EINVAL");
        for (what, how) in told {
            assert_eq!(how, "EPERM", "{what}");
        }
        for entry in std::fs::read_dir(&shared).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o6000, 0, "{:?}", entry.path());
            assert!(entry.file_type().unwrap().is_file(), "{:?}", entry.path());
        }
        // What was refused is in the report.
        let refused = ran.report()["denials"].to_string();
        assert!(refused.contains("fchmod") && refused.contains("mknod"), "{refused}");
    }
}

/// CVE-2021-30465: a mount point that is a symlink makes the runtime mount elsewhere.
#[test]
fn a_link_where_an_input_is_mounted_leads_nowhere() {
    for user in users() {
        // The first ones are where the host lies while the root is built.
        for to in [
            "/.stockade{}",
            "../.stockade{}",
            "/.stockade/usr/../..{}",
            "/etc",
            "/proc/self",
            "../../../../tmp",
            "/proc/1/root",
        ] {
            let folder = Folder::new();
            let victim = folder.path().join("victim");
            std::fs::create_dir(&victim).unwrap();
            let to = to.replace("{}", text(&victim));
            folder.write("project/main.py", "");
            let data = folder.write("data/file", "staged");
            let before = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            symlink(&to, folder.path().join("project/place")).unwrap();
            let (below, file) = (data.parent().unwrap().display(), data.display());
            let given = [
                format!("{below}=place"),
                format!("{file}=place/inner"),
                format!("{below}=place/inner"),
                format!("{below}=place/in/ner"),
            ];
            give_to(user, folder.path());
            for input in &given {
                let code = r#"
attempt("place", lambda: os.path.exists("/etc/file") or os.path.exists("/etc/inner") or os.path.exists("/tmp/file") or os.path.exists("/tmp/inner"))
"#;
                let ran = attack(user, &["--project", text(&folder.path().join("project")), "--in", input], code).run();
                // It may refuse, or mount below the working folder; it may not follow.
                assert!(ran.status == 125 || ran.stdout == "place: done False\n", "{ran:?}");
                if ran.status == 125 {
                    assert_eq!(ran.report()["cause"]["kind"], "refused", "{}", ran.stderr);
                }
            }
            assert_eq!(
                std::fs::read_dir(&victim).unwrap().count(),
                0,
                "a folder was made on the host through a link to {to}"
            );
            assert_eq!(std::fs::read_to_string("/etc/hostname").unwrap_or_default(), before);
            assert!(!std::path::Path::new("/etc/file").exists() && !std::path::Path::new("/etc/inner").exists());
        }
    }
}

/// What the caller's own links lead to is decided by the caller, not by the code that made them.
#[test]
fn links_inside_what_is_given_are_followed_inside_only() {
    for user in users() {
        let folder = Folder::new();
        let secret = folder.write("secret", "TOP-SECRET");
        std::fs::create_dir(folder.path().join("given")).unwrap();
        symlink(&secret, folder.path().join("given/absolute")).unwrap();
        symlink("../secret", folder.path().join("given/relative")).unwrap();
        symlink("/etc/shadow", folder.path().join("given/shadow")).unwrap();
        for flag in ["--in", "--share"] {
            let code = r#"
for name in ("absolute", "relative", "shadow"):
    attempt(name, lambda: open("/job/given/" + name).read())
"#;
            let ran = attack(user, &[flag, text(&folder.path().join("given"))], code).run().expect(0);
            assert_said(&ran, &[("absolute", "ENOENT"), ("relative", "ENOENT"), ("shadow", "ENOENT")]);
        }
    }
}

/// The input is another file when the run starts than when it was looked at.
#[test]
fn an_input_that_is_swapped_for_a_link_is_not_followed() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for user in users() {
        let folder = Folder::new();
        let secret = folder.write("secret/file", "TOP-SECRET");
        folder.write("given/file", "staged");
        let given = folder.path().join("given");
        let aside = folder.path().join("aside");
        let link = folder.path().join("link");
        symlink(secret.parent().unwrap(), &link).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Swaps as fast as it can: most runs see one or the other, some the change.
                while !stop.load(Ordering::Relaxed) {
                    std::fs::rename(&given, &aside).unwrap();
                    std::fs::rename(&link, &given).unwrap();
                    std::fs::rename(&given, &link).unwrap();
                    std::fs::rename(&aside, &given).unwrap();
                }
            });
            for _ in 0..15 {
                // Named by the real folder: a link there is either resolved by the caller's own
                // look, and then it is the secret's folder that is named, or it is refused.
                let ran = attack(
                    user,
                    &["--in", &format!("{}=given", given.display())],
                    r#"attempt("read", lambda: open("/job/given/file").read())"#,
                )
                .run();
                let fair = ran.stdout == "read: done 'staged'\n"
                    || ran.stdout == "read: done 'TOP-SECRET'\n"
                    || (ran.status == 125 && ran.stdout.is_empty() && ran.report()["cause"]["kind"] == "refused");
                assert!(fair, "{ran:?}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(folder.read("secret/file"), "TOP-SECRET");
    }
}

#[test]
fn the_files_of_the_machine_are_not_there() {
    for user in users() {
        let folder = Folder::new();
        let secret = folder.write("secret", "TOP-SECRET");
        let code = format!(
            r#"
for path in ("/etc/shadow", "/etc/machine-id", "/root", "/var/log", "/var/lib", "/sys/fs", "/run", "/boot", "/etc/ssh", "/etc/sudoers", "/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/loop0", "/dev/console", {:?}, {:?}):
    opens(path)
"#,
            text(&secret),
            text(folder.path()),
        );
        let ran = attack(user, &[], &code).within(folder.path()).run().expect(0);
        assert_all(&ran, &["ENOENT"]);
        assert_eq!(said(&ran).len(), 21);
    }
}

#[test]
fn nothing_outside_of_scratch_can_be_written() {
    for user in users() {
        let code = r#"
for folder in ("/", "/usr", "/usr/bin", "/etc", "/dev", "/proc", "/proc/sys/kernel", "/opt", "/home", "/.stockade", "/bin"):
    attempt(folder, lambda: open(folder + "/planted", "w"))
for file in ("/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/ld.so.cache", "/usr/bin/env"):
    attempt(file, lambda: open(file, "r+"))
attempt("remove", lambda: os.unlink("/etc/passwd"))
attempt("replace", lambda: os.rename("/tmp", "/etc"))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EROFS", "EACCES", "ENOENT", "EPERM", "EBUSY", "EXDEV"]);
        let told = said(&ran);
        for path in ["/", "/usr", "/etc", "/etc/passwd", "/usr/bin/env"] {
            assert!(["EROFS", "EACCES"].contains(&told[path].as_str()), "{path}: {}", told[path]);
        }
    }
}

/// CVE-2019-5736: the code overwrites the program that started it, through `/proc/PID/exe`.
#[test]
fn the_program_that_made_the_sandbox_cannot_be_overwritten() {
    let before = std::fs::metadata(STOCKADE).unwrap();
    for user in users() {
        let code = r##"
attempt("interpreter", lambda: os.open("/proc/self/exe", os.O_WRONLY))
attempt("init", lambda: os.open("/proc/1/exe", os.O_RDONLY))
attempt("init path", lambda: os.open("/proc/1/exe", 0o10000000))
attempt("init link", lambda: os.readlink("/proc/1/exe"))
def through_a_script():
    with open("/tmp/again", "w") as one: one.write("#!/proc/self/exe\n")
    os.chmod("/tmp/again", 0o755)
    path = os.open("/proc/self/exe", 0o10000000)
    for _ in range(200):
        os.close(os.open(f"/proc/self/fd/{path}", os.O_WRONLY | os.O_TRUNC))
attempt("reopen", through_a_script)
held = os.open("/proc/self/exe", os.O_RDONLY)
attempt("fd", lambda: os.open(f"/proc/self/fd/{held}", os.O_RDWR))
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) != os.getpid():
        say("seen", name)
"##;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        for what in ["init", "init path", "init link"] {
            assert_eq!(told.remove(what).unwrap(), "ENOENT", "{what}");
        }
        for (what, how) in told {
            assert!(["EROFS", "EACCES", "ETXTBSY"].contains(&how.as_str()), "{what}: {how}");
        }
    }
    let after = std::fs::metadata(STOCKADE).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
}

/// What the code plants in a writable share must not decide where the supervisor writes afterwards.
#[test]
fn outputs_do_not_follow_a_link_planted_in_a_writable_share() {
    for user in users() {
        let folder = Folder::new();
        for name in ["share", "victim"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let victim = folder.path().join("victim");
        let code = format!(
            r#"
os.symlink({:?}, "/job/share/results")
with open("/job/planted", "w") as one: one.write("owned")
"#,
            text(&victim)
        );
        let shared = folder.path().join("share");
        let ran = attack(
            user,
            &["--share", &format!("{}:rw=share", shared.display()), "--out", text(&shared.join("results"))],
            &code,
        )
        .run();
        assert!(ran.status == 125 || ran.status == 0 || ran.status == 1, "{ran:?}");
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0, "the supervisor wrote through a link of the code");
    }
}

#[test]
fn a_proposal_is_not_written_through_a_link_planted_in_a_writable_share() {
    for user in users() {
        let folder = Folder::new();
        let shared = folder.path().join("share");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
        let victim = folder.write("victim", "precious");
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o666)).unwrap();
        let code = format!("os.symlink({:?}, '/job/share/proposal')", text(&victim));
        let ran = attack(
            user,
            &["--share", &format!("{}:rw=share", shared.display()), "--learn", text(&shared.join("proposal"))],
            &code,
        )
        .run();
        // The file is made before the code runs, so its link finds the place taken.
        assert!([0, 1, 125].contains(&ran.status), "{ran:?}");
        assert_eq!(folder.read("victim"), "precious", "the supervisor wrote through a link of the code");
    }
}

/// Stockade's own state and cache decide what later runs are made of.
#[test]
fn the_folders_of_stockade_itself_are_not_shared_writable() {
    for user in users() {
        let folder = Folder::new();
        for name in ["state", "cache"] {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).unwrap();
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        for (variable, shared) in
            [("STOCKADE_STATE_DIR", "state"), ("STOCKADE_CACHE_DIR", "cache"), ("STOCKADE_CACHE_DIR", "")]
        {
            let own = folder.path().join(if shared.is_empty() { "cache" } else { shared });
            let shared = folder.path().join(shared);
            let ran = attack(
                user,
                &["--share", &format!("{}:rw=x", text(&shared).trim_end_matches('/'))],
                "say('started', 'yes')",
            )
            .env(variable, own)
            .run();
            assert_eq!((ran.status, ran.stdout.as_str()), (125, ""), "{variable}: {}", ran.stderr);
        }
    }
}

/// A virtual environment is the project's own: its interpreter's link leads where its author wants.
#[test]
fn a_virtual_environment_of_a_hostile_project_starts_nothing_outside() {
    for user in users() {
        for program in ["tools/python3", ".venv/real/python3"] {
            let folder = Folder::new();
            folder.write("project/.venv/pyvenv.cfg", "home = /usr/bin\n");
            folder.write("project/main.py", "print('started')");
            let owned = folder.path().join("owned");
            let planted = folder.write(
                &format!("project/{program}"),
                format!("#!/bin/sh\nid > {}\nexec /usr/bin/python3 \"$@\"\n", owned.display()),
            );
            std::fs::set_permissions(&planted, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::create_dir_all(folder.path().join("project/.venv/bin")).unwrap();
            symlink(format!("../../{program}"), folder.path().join("project/.venv/bin/python")).unwrap();
            give_to(user, folder.path());
            let project = folder.path().join("project");
            let ran = call(STOCKADE, user)
                .args(["run", "-q", "--project", ".", "--venv", ".venv", "main.py"])
                .within(&project)
                .env("STOCKADE_CACHE_DIR", folder.path().join("cache"))
                .run();
            assert!(
                !owned.exists(),
                "the project's program ran outside of the walls: {}",
                std::fs::read_to_string(&owned).unwrap()
            );
            assert!(ran.status == 125 || ran.stdout == "started\n", "{ran:?}");
        }
    }
}
