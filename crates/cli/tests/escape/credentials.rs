//! Credentials: users, groups, capabilities, set-uid programs, no_new_privs.

use crate::support::{assert_all, attack, outside, said, users};

#[test]
fn every_capability_set_is_empty() {
    for user in users() {
        let code = r#"
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    say(name, int(status[name], 16))
say("NoNewPrivs", status["NoNewPrivs"].strip())
say("Seccomp", status["Seccomp"].strip())
header = struct.pack("Ii", 0x20080522, 0)
attempt("capset", lambda: raw(91 if ARM else 126, header, struct.pack("6I", 0xffffffff, 0xffffffff, 0, 0xffffffff, 0xffffffff, 0)))
attempt("ambient", lambda: call("prctl", 47, 2, 0, 0, 0))
attempt("securebits", lambda: call("prctl", 28, 0, 0, 0, 0))
attempt("privileges back", lambda: call("prctl", 38, 0, 0, 0, 0))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(told.remove(name).unwrap(), "0", "{name}");
        }
        assert_eq!(told.remove("NoNewPrivs").unwrap(), "1");
        assert_eq!(told.remove("Seccomp").unwrap(), "2");
        assert_eq!(told.remove("privileges back").unwrap(), "EINVAL");
        assert_eq!(told.len(), 3);
        for (what, how) in told {
            assert_eq!(how, "EPERM", "{what}");
        }
    }
}

#[test]
fn the_code_is_nobody_and_stays_so() {
    for user in users() {
        let code = r#"
say("ids", (os.getresuid(), os.getresgid()))
attempt("setuid 0", lambda: os.setuid(0))
attempt("setgid 0", lambda: os.setgid(0))
attempt("setresuid", lambda: os.setresuid(0, 0, 0))
attempt("setgroups", lambda: os.setgroups([0]))
attempt("drop groups", lambda: os.setgroups([]))
attempt("uid_map", lambda: open("/proc/self/uid_map", "w").write("0 0 1"))
attempt("setgroups file", lambda: open("/proc/self/setgroups", "w").write("allow"))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("ids").unwrap(), "((1000, 1000, 1000), (1000, 1000, 1000))");
        for (what, how) in told {
            assert!(["EPERM", "EINVAL", "EACCES"].contains(&how.as_str()), "{what}: {how}");
        }
    }
}

#[test]
fn started_by_root_the_code_has_no_supplementary_group() {
    for user in users() {
        let ran = attack(user, &[], "say('groups', os.getgroups())\nsay('line', open('/proc/self/status').read().split('Groups:')[1].split('\\n')[0].strip())").run().expect(0);
        assert_eq!(said(&ran)["groups"], "[]", "{user:?}");
        assert_eq!(said(&ran)["line"], "");
    }
}

/// Groups the kernel will not let an ordinary user drop are not mapped: they have no number inside.
#[test]
fn supplementary_groups_of_an_ordinary_user_have_no_name_inside() {
    use crate::support::{Folder, PRELUDE, STOCKADE};
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("supplementary groups", "only root can give a caller some");
        return;
    }
    let folder = Folder::new();
    let code = format!(
        "{PRELUDE}\nsay('groups', sorted(set(os.getgroups())))\nattempt('drop', lambda: os.setgroups([]))\nattempt('back', lambda: os.setgid(4))"
    );
    let start = r#"
import os, sys
os.setgroups([4, 27, 61235])
os.setresgid(61234, 61234, 61234)
os.setresuid(61234, 61234, 61234)
os.environ.update(HOME=sys.argv[1], STOCKADE_STATE_DIR=sys.argv[1] + "/state", STOCKADE_CACHE_DIR="/var/tmp/stockade-test-cache-ordinary", PATH="/usr/local/bin:/usr/bin:/bin")
os.execv(sys.argv[2], sys.argv[2:])
"#;
    let ran = stockade_testkit::call("python3", crate::support::User::Caller)
        .args(["-c", start, crate::support::text(folder.path()), STOCKADE, "run", "--json", "-c", &code])
        .run()
        .expect(0);
    let told = said(&ran);
    assert_eq!(told["groups"], "[65534]");
    assert_eq!(told["drop"], "EPERM");
    assert_eq!(told["back"], "EINVAL");
}

#[test]
fn set_uid_programs_give_nothing() {
    let programs = ["su", "sudo", "ping", "mount", "passwd", "newgrp", "chsh", "pkexec", "fusermount3"];
    let there: Vec<&str> = programs
        .into_iter()
        .filter(|name| ["/usr/bin", "/bin"].iter().any(|folder| std::path::Path::new(folder).join(name).exists()))
        .collect();
    if there.is_empty() {
        crate::support::skipped("set-uid programs", "this machine has none");
        return;
    }
    for user in users() {
        let code = format!(
            r#"
import shutil, stat, subprocess
nosuid = os.statvfs("/usr").f_flag & 2
say("nosuid", bool(nosuid))
for name in {there:?}:
    path = shutil.which(name)
    if path is None: continue
    # The program reports the ids it runs with through the owner of its /proc entry.
    arguments = {{"su": ["-c", "id"], "sudo": ["-n", "id"], "ping": ["-c1", "127.0.0.1"], "mount": ["-t", "tmpfs", "x", "/tmp"], "passwd": ["-d", "root"], "pkexec": ["id"]}}.get(name, ["--version"])
    ended = subprocess.run([path] + arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    say(name, "uid=0" in ended.stdout or "euid=0" in ended.stdout)
own = "/tmp/own"
shutil.copy("/usr/bin/id", own)
attempt("own", lambda: os.chmod(own, 0o4755))
say("effective", subprocess.run(["id", "-u"], capture_output=True, text=True).stdout.strip())
"#
        );
        let ran = attack(user, &[], &code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("nosuid").unwrap(), "True");
        assert_eq!(told.remove("own").unwrap(), "EPERM");
        assert_eq!(told.remove("effective").unwrap(), "1000");
        assert!(!told.is_empty());
        for (what, how) in told {
            assert_eq!(how, "False", "{what} gave root");
        }
    }
}

/// Keyrings of the caller hold what it is logged in with.
#[test]
fn keyrings_of_the_caller_are_closed() {
    for user in users() {
        let code = r#"
for ring in (-1, -2, -3, -4, -5):
    attempt(f"describe {ring}", lambda: call("keyctl", 6, ring, 0, 0))
    attempt(f"read {ring}", lambda: call("keyctl", 11, ring, ctypes.create_string_buffer(64), 64))
attempt("join", lambda: call("keyctl", 1, 0))
attempt("add", lambda: call("add_key", b"user", b"x", b"y", 1, -3))
attempt("request", lambda: call("request_key", b"user", b"x", 0, -3))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        assert_all(&ran, &["EPERM"]);
        assert_eq!(said(&ran).len(), 13);
        let keys = attack(user, &[], "say('keys', repr(open('/proc/keys').read() + open('/proc/key-users').read()))")
            .run()
            .expect(0);
        assert_eq!(said(&keys)["keys"], "''");
    }
}

#[test]
fn the_names_of_credentials_in_a_project_are_left_out() {
    for user in users() {
        let folder = crate::support::Folder::new();
        for name in [".env", ".git/config", "id_rsa", ".aws/credentials", "deep/server.pem", "deep/.netrc"] {
            folder.write(&format!("project/{name}"), "TOP-SECRET");
        }
        folder.write("project/main.py", "");
        let code = r#"
for top, folders, names in os.walk("/job"):
    for name in names:
        say(os.path.join(top, name), "there")
for name in (".env", ".git/config", "id_rsa", ".aws/credentials", "deep/server.pem", "deep/.netrc"):
    opens("/job/" + name)
"#;
        let control = outside(&folder.path().join("project"), &code.replace("/job", "."));
        assert_eq!(said(&control)["./.env"], "done");
        let ran =
            attack(user, &["--project", crate::support::text(&folder.path().join("project"))], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("/job/main.py").unwrap(), "there");
        assert_eq!(told.len(), 6);
        for (what, how) in told {
            assert_eq!(how, "ENOENT", "{what}");
        }
        assert!(ran.stderr.contains("look like secrets"), "{}", ran.stderr);
    }
}

/// Firejail's holes came from a set-uid program that obeys its caller and enters running sandboxes.
#[test]
fn stockade_itself_has_no_rights_to_lend_and_joins_nothing() {
    use crate::support::{STOCKADE, User, call};
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(STOCKADE).unwrap().permissions().mode() & 0o6000, 0);
    let mut names = [0_u8; 256];
    let length = rustix::fs::listxattr(STOCKADE, &mut names).unwrap_or(0);
    assert!(!String::from_utf8_lossy(&names[..length]).contains("security.capability"));
    for word in ["join", "shell", "exec", "attach", "--join=1", "--bandwidth=1"] {
        let ran = call(STOCKADE, User::Caller).args([word, "1"]).run();
        assert!(ran.status != 0 && ran.stdout.is_empty(), "{word}: {ran:?}");
    }
}

/// CVE-2020-17367 and CVE-2020-17368: names on firejail's command line reached a shell.
#[test]
fn names_and_arguments_are_never_read_by_a_shell() {
    use crate::support::{Folder, STOCKADE, call};
    for user in users() {
        let folder = Folder::new();
        let name = "$(touch owned);touch owned`touch owned`|touch owned.py";
        folder.write(name, "import sys; print(sys.argv[1:])");
        crate::support::give_to(user, folder.path());
        let out = "$(touch owned);touch owned";
        let ran = call(STOCKADE, user)
            .args([
                "run",
                "-q",
                "--out",
                out,
                "--env",
                "X=$(touch owned)",
                name,
                "--output=$(touch owned)",
                "; touch owned",
            ])
            .within(folder.path())
            .run()
            .expect(0);
        assert_eq!(ran.stdout, "['--output=$(touch owned)', '; touch owned']\n");
        assert!(!folder.path().join("owned").exists());
    }
}
