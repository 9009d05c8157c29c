//! Outputs: what the code leaves behind, and what the collector and `--apply` make of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Folder, User, attack, give_to, said, text, users};

/// Everything below a folder: path and kind.
fn tree(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![top.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(kind.is_file() || kind.is_dir(), "{:?} is no plain file", entry.path());
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(top).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// A destination that everyone may write to.
fn destination(folder: &Folder) -> std::path::PathBuf {
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::set_permissions(&out, std::fs::Permissions::from_mode(0o777)).unwrap();
    out
}

#[test]
fn only_plain_files_come_out_of_a_hostile_tree() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let code = r##"
os.chdir("/job")
os.symlink("/etc/shadow", "shadow")
os.symlink("/etc", "folder")
os.symlink("../../../../../../etc/passwd", "relative")
os.symlink("/proc/self/fd/3", "magic")
os.mkfifo("fifo")
one = socket.socket(socket.AF_UNIX); one.bind("socket")
with open("plain", "w") as file: file.write("content")
os.link("plain", "hard")
os.makedirs("deep/er")
os.link("plain", "deep/er/hard")
with open("executable", "w") as file: file.write("#!/bin/sh\n")
os.chmod("executable", 0o777)
os.chmod("plain", 0o666)
for name in (b"new\nline", b"esc\x1b[2J", b"bell\x07", b"latin\xff\xfe", b"x" * 255, b"-rf", b" ", b"back\\slash", "über".encode(), "rtl\u202egpj.exe".encode(), b"tab\t", b"\xc2\x9b2J"):
    attempt(repr(name), lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY)))
"##;
        let ran = attack(user, &["--out", text(&out)], code).run().expect(0);
        assert!(said(&ran).values().all(|how| how == "done"), "{}", ran.stdout);
        let long = "x".repeat(255);
        let came = tree(&out);
        for (name, comes) in [
            ("plain", true),
            ("hard", true),
            ("deep/er/hard", true),
            ("executable", true),
            ("über", true),
            ("-rf", true),
            (long.as_str(), true),
            ("shadow", false),
            ("folder", false),
            ("relative", false),
            ("magic", false),
            ("fifo", false),
            ("socket", false),
        ] {
            assert_eq!(came.iter().any(|one| one == name), comes, "{name}: {came:?}");
        }
        for name in &came {
            assert!(!name.chars().any(|one| one.is_control() || one == '\u{202e}' || one == '\u{fffd}'), "{name:?}");
            let status = std::fs::metadata(out.join(name)).unwrap();
            assert_eq!(status.mode() & 0o7022, 0, "{name} {:o}", status.mode());
            assert_eq!(status.nlink(), 1, "{name}");
        }
        // It belongs to who called, not to the throw-away user.
        let caller = if user == User::Caller {
            rustix::process::geteuid().as_raw()
        } else {
            std::fs::metadata(out.join("plain")).unwrap().uid()
        };
        assert_eq!(std::fs::metadata(out.join("plain")).unwrap().uid(), caller);
        let left = ran.report()["outputs"]["left_out"].to_string();
        for why in ["a symbolic link", "a FIFO", "a socket"] {
            assert!(left.contains(why), "{left}");
        }
        assert!(!ran.stderr.contains('\u{1b}') && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
}

#[test]
fn a_device_or_a_set_uid_file_cannot_be_left_to_be_collected() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let code = r#"
attempt("device", lambda: os.mknod("/job/disk", 0o060666, os.makedev(254, 0)))
with open("/job/program", "w") as one: one.write("x")
attempt("set-uid", lambda: os.chmod("/job/program", 0o4755))
attempt("set-gid folder", lambda: (os.mkdir("/job/group"), os.chmod("/job/group", 0o2777))[1])
attempt("mkdir", lambda: os.mkdir("/job/other", 0o6777))
"#;
        let ran = attack(user, &["--out", text(&out)], code).run().expect(0);
        let told = said(&ran);
        assert_eq!(
            (told["device"].as_str(), told["set-uid"].as_str(), told["set-gid folder"].as_str()),
            ("EPERM", "EPERM", "EPERM")
        );
        assert_eq!(tree(&out), ["program"]);
        assert_eq!(std::fs::metadata(out.join("program")).unwrap().mode() & 0o7000, 0);
    }
}

#[test]
fn sparse_bombs_and_floods_of_files_are_left_out() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let code = r#"
os.chdir("/job")
os.truncate(os.open("within", os.O_CREAT | os.O_WRONLY), 1 << 20)
os.truncate(os.open("bomb", os.O_CREAT | os.O_WRONLY), 900 << 20)
os.mkdir("many")
for number in range(5000):
    os.close(os.open(f"many/{number}", os.O_CREAT | os.O_WRONLY))
say("made", "yes")
"#;
        let ran = attack(user, &["--out", text(&out), "--limit", "output=64MiB", "--limit", "output-files=1000"], code)
            .run()
            .expect(0);
        assert_eq!(said(&ran)["made"], "yes");
        let came = tree(&out);
        assert!(came.len() <= 1000, "{}", came.len());
        assert!(!out.join("bomb").exists());
        let status = std::fs::metadata(out.join("within"));
        assert!(status.is_err() || status.unwrap().blocks() < 8, "holes stay holes");
        let report = ran.report();
        assert!(report["outputs"]["left_out"].to_string().contains("over the limit"), "{}", ran.stderr);
        assert!(report["outputs"]["left_out_more"].as_u64().unwrap() > 2000);
    }
}

/// Collection begins when every process of the run is dead, so there is nobody left to swap anything.
#[test]
fn nobody_is_alive_to_swap_outputs_while_they_are_collected() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let code = r#"
def swap():
    os.setsid()
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(one, signal.SIG_IGN)
    os.chdir("/job")
    number = 0
    while True:
        number += 1
        try:
            with open("file", "w") as one: one.write("plain")
            os.unlink("file")
            os.symlink("/etc/passwd", "file")
            os.unlink("file")
            with open("count", "w") as one: one.write(str(number))
        except OSError: pass
for _ in range(4):
    if os.fork() == 0: swap()
time.sleep(0.3)
for number in range(1000):
    with open(f"/job/{number}", "w") as one: one.write("x" * 100)
say("left", "yes")
"#;
        let ran = attack(user, &["--out", text(&out)], code).run().expect(0);
        assert_eq!(said(&ran)["left"], "yes");
        assert!(ran.report()["processes_left"].as_u64().unwrap() >= 4);
        let came = tree(&out);
        assert!(came.len() >= 1000, "{}", came.len());
        if out.join("file").exists() {
            assert!(!std::fs::read_to_string(out.join("file")).unwrap().contains("root:"));
        }
        assert!(!ran.report()["outputs"]["left_out"].to_string().contains("changed while"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_of_the_caller_is_replaced_only_when_that_was_asked() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        std::fs::write(out.join("precious"), "precious").unwrap();
        std::fs::set_permissions(out.join("precious"), std::fs::Permissions::from_mode(0o666)).unwrap();
        let code = "open('/job/precious', 'w').write('owned')\nopen('/job/new', 'w').close()";
        let ran = attack(user, &["--out", text(&out)], code).run().expect(0);
        assert_eq!(std::fs::read_to_string(out.join("precious")).unwrap(), "precious");
        assert!(ran.report()["outputs"]["left_out"].to_string().contains("exists"), "{}", ran.stderr);
        attack(user, &["--out", text(&out), "--overwrite"], code).run().expect(0).stderr.clear();
        assert_eq!(std::fs::read_to_string(out.join("precious")).unwrap(), "owned");
        let listed = attack(user, &["--out", text(&folder.path().join("dry")), "--dry-run"], code).run().expect(0);
        assert!(listed.stderr.contains("precious") && !folder.path().join("dry").exists(), "{}", listed.stderr);
    }
}

#[test]
fn a_link_that_lies_at_the_destination_is_not_followed() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let victim = folder.write("victim/file", "precious");
        for path in [victim.clone(), victim.parent().unwrap().to_path_buf()] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        symlink(&victim, out.join("file")).unwrap();
        symlink(victim.parent().unwrap(), out.join("folder")).unwrap();
        symlink(folder.path().join("victim/new"), out.join("dangling")).unwrap();
        let code = r#"
for path in ("/job/file", "/job/dangling", "/job/folder/file", "/job/folder/other"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as one: one.write("owned")
"#;
        for flags in [&["--out", text(&out)][..], &["--out", text(&out), "--overwrite"][..]] {
            let ran = attack(user, flags, code).run();
            assert!(ran.status == 0 || ran.status == 125, "{ran:?}");
            assert_eq!(folder.read("victim/file"), "precious", "{flags:?}");
            assert_eq!(std::fs::read_dir(victim.parent().unwrap()).unwrap().count(), 1, "{flags:?}");
        }
    }
}

/// What git, an editor or a CI runs by itself is never written back, whatever the code changed.
#[test]
fn an_edited_hook_is_not_applied() {
    for user in users() {
        let folder = Folder::new();
        for (name, content) in [
            ("main.py", "a = 1\n"),
            (".git/hooks/pre-commit", "#!/bin/sh\n"),
            (".git/config", "[core]\n"),
            ("hooks/post-checkout", "#!/bin/sh\n"),
            (".github/workflows/ci.yml", "on: push\n"),
            (".vscode/tasks.json", "{}\n"),
            (".envrc", "x\n"),
        ] {
            let path = folder.write(&format!("project/{name}"), content);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
            let mut above = path.parent().unwrap();
            while above != folder.path() {
                std::fs::set_permissions(above, std::fs::Permissions::from_mode(0o777)).unwrap();
                above = above.parent().unwrap();
            }
        }
        let code = r##"
for path in (".git/hooks/pre-commit", ".git/config", "hooks/post-checkout", ".github/workflows/ci.yml", ".vscode/tasks.json", ".envrc", ".bashrc", "main.py", ".GIT/hooks/pre-push", ".git/hooks/post-commit", ".gitmodules"):
    os.makedirs(os.path.dirname("/job/" + path) or "/job", exist_ok=True)
    with open("/job/" + path, "w") as one: one.write("#!/bin/sh\necho owned\n")
"##;
        give_to(user, folder.path());
        for all in [&["--all"][..], &[][..]] {
            let project = folder.path().join("project");
            let mut flags = vec!["--project", text(&project), "--apply"];
            flags.extend(all);
            let ran = attack(user, &flags, code).run().expect(0);
            assert_eq!(folder.read("project/main.py"), "#!/bin/sh\necho owned\n", "{}", ran.stderr);
            folder.write("project/main.py", "a = 1\n");
            give_to(user, folder.path());
            for name in tree(&project) {
                if name != "main.py" {
                    assert!(!folder.read(&format!("project/{name}")).contains("owned"), "{name} was written, {all:?}");
                }
            }
        }
    }
}

#[test]
fn a_diff_cannot_steer_the_terminal_that_shows_it() {
    for user in users() {
        let folder = Folder::new();
        folder.write("project/main.py", "a = 1\n");
        give_to(user, folder.path());
        let code = "open('/job/main.py', 'w').write('a = 2 \\x1b]52;c;x\\x07 \\x1b[2J\\n')\nopen('/job/n\\x1b[2Jew', 'w').write('x\\n')\nopen('/job/bidi.py', 'w').write('a\\u202eb\\n')";
        let ran = attack(user, &["--project", text(&folder.path().join("project")), "--diff"], code).run().expect(0);
        assert!(ran.stdout.contains("+a = 2"), "{:?}", ran.stdout);
        for danger in ['\u{1b}', '\u{7}', '\u{202e}'] {
            assert!(!ran.stdout.contains(danger) && !ran.stderr.contains(danger), "{danger:?} {:?}", ran.stdout);
        }
    }
}

#[test]
fn fifty_thousand_outputs_are_counted_not_suffered() {
    let folder = Folder::new();
    let out = destination(&folder);
    let code = r#"
for number in range(50000):
    os.close(os.open(f"/job/{number}", os.O_CREAT | os.O_WRONLY))
say("made", "yes")
"#;
    let began = std::time::Instant::now();
    let ran = attack(User::Caller, &["--out", text(&out)], code).run().expect(0);
    assert_eq!(said(&ran)["made"], "yes");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 20_000);
    let report = ran.report();
    let left = report["outputs"]["left_out"].as_array().unwrap().len() as u64
        + report["outputs"]["left_out_more"].as_u64().unwrap();
    assert_eq!(left, 30_000);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn extended_attributes_do_not_come_out() {
    for user in users() {
        let folder = Folder::new();
        let out = destination(&folder);
        let code = r#"
with open("/job/file", "w") as one: one.write("x")
attempt("user", lambda: os.setxattr("/job/file", "user.note", b"x"))
attempt("overlay", lambda: os.setxattr("/job/file", "user.overlay.redirect", b"/etc"))
attempt("security", lambda: os.setxattr("/job/file", "security.capability", struct.pack("<5I", 0x02000001, 0xffffffff, 0, 0, 0)))
attempt("trusted", lambda: os.setxattr("/job/file", "trusted.overlay.opaque", b"y"))
attempt("acl", lambda: os.setxattr("/job/file", "system.posix_acl_access", struct.pack("<I", 2) + struct.pack("<HHI", 1, 7, 0xffffffff) + struct.pack("<HHI", 4, 7, 0xffffffff) + struct.pack("<HHI", 32, 7, 0xffffffff)))
"#;
        let ran = attack(user, &["--out", text(&out)], code).run().expect(0);
        let told = said(&ran);
        assert!(
            ["EPERM", "EOPNOTSUPP"].contains(&told["security"].as_str())
                && ["EPERM", "EOPNOTSUPP"].contains(&told["trusted"].as_str()),
            "{told:?}"
        );
        let mut names = [0_u8; 256];
        assert_eq!(rustix::fs::listxattr(out.join("file"), &mut names).unwrap(), 0);
    }
}
