//! Information: what the code learns of the caller and of the machine.

use crate::support::{
    Folder, STOCKADE, User, assert_all, assert_said, attack, call, give_to, mark, outside, said, skipped, text, users,
};

#[test]
fn the_host_name_is_not_the_machines() {
    for user in users() {
        let code = "say('name', (os.uname().nodename, socket.gethostname(), open('/etc/hostname').read().strip(), open('/proc/sys/kernel/hostname').read().strip()))";
        let folder = Folder::new();
        assert_said(
            &attack(user, &[], code).run().expect(0),
            &[("name", "('sandbox', 'sandbox', 'sandbox', 'sandbox')")],
        );
        assert_ne!(
            outside(folder.path(), "print(os.uname().nodename)").stdout.trim(),
            "sandbox",
            "the control: the machine has another name"
        );
    }
}

#[test]
fn variables_of_the_caller_are_absent() {
    for user in users() {
        let secret = mark("variable");
        let code = r#"
say("names", sorted(os.environ))
say("environ", repr(open("/proc/self/environ").read()))
attempt("init", lambda: open("/proc/1/environ", "rb").read())
"#;
        let ran = attack(user, &[], code)
            .env("SECRET_X", &secret)
            .env("AWS_SECRET_ACCESS_KEY", &secret)
            .env("PYTHONPATH", "/evil")
            .env("LD_LIBRARY_PATH", "/evil")
            .env("PYTHONSTARTUP", "/evil")
            .env("BASH_ENV", "/evil")
            .run()
            .expect(0);
        let told = said(&ran);
        // Some names are Stockade's own; no value is the caller's.
        assert!(
            !ran.stdout.contains(&secret) && !told["names"].contains("SECRET") && !ran.stdout.contains("/evil"),
            "{}",
            ran.stdout
        );
        assert_eq!(told["init"], "ENOENT");
        for name in ["HOME", "PATH", "USER"] {
            assert!(told["names"].contains(name));
        }
        // The stack, where a program finds its variables, holds none either.
        let ran = attack(user, &[], "say('memory', b'mark-' + b'variable' in b''.join(os.pread(os.open('/proc/self/mem', os.O_RDONLY), int(line.split('-')[1].split()[0], 16) - int(line.split('-')[0], 16), int(line.split('-')[0], 16)) for line in open('/proc/self/maps') if '[stack]' in line))")
            .env("SECRET_X", &secret)
            .run()
            .expect(0);
        assert_said(&ran, &[("memory", "False")]);
        // Only what is listed by name passes.
        let ran = attack(user, &["--env", "SECRET_X"], "say('given', os.environ['SECRET_X'])")
            .env("SECRET_X", &secret)
            .run()
            .expect(0);
        assert_eq!(said(&ran)["given"], secret);
    }
}

/// The mount table is the classic place where a container shows the host's layout.
#[test]
fn the_mount_table_shows_no_path_of_the_caller() {
    for user in users() {
        let folder = Folder::new();
        let name = mark("path");
        for below in ["input", "project", "readonly"] {
            folder.write(&format!("{name}/{below}/file"), "x");
        }
        let place = folder.path().join(&name);
        let (input, project, readonly) = (place.join("input"), place.join("project"), place.join("readonly"));
        let code = r#"
for path in ("/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/mountstats", "/proc/self/maps", "/proc/thread-self/mountinfo"):
    say(path, repr(open(path).read()))
"#;
        let flags = ["--in", text(&input), "--project", text(&project), "--share", text(&readonly)];
        let ran = attack(user, &flags, code).within(&place).run().expect(0);
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
        for (what, how) in said(&ran) {
            for secret in [
                name.as_str(),
                text(folder.path()),
                "stockade-test",
                &format!("{home}/"),
                "/root",
                env!("CARGO_MANIFEST_DIR"),
            ] {
                assert!(!how.contains(secret), "{what} shows {secret}: {how}");
            }
        }
    }
}

/// A bind always shows the path of its folder (show_mountinfo), which a caller who shares it writable
/// has to accept; nothing else of the caller may show beside it.
#[test]
fn a_writable_share_shows_its_own_path_and_no_other() {
    for user in users() {
        let folder = Folder::new();
        let (shared, other) = (mark("writable"), mark("other"));
        folder.write(&format!("{shared}/file"), "x");
        folder.write(&format!("{other}/file"), "x");
        give_to(user, folder.path());
        let share = format!("{}:rw=data", folder.path().join(&shared).display());
        let input = format!("{}=input", folder.path().join(&other).display());
        let code = "say('table', repr(open('/proc/self/mountinfo').read()))";
        let flags = ["--share", &share, "--in", &input];
        let ran = attack(user, &flags, code).within(&folder.path().join(&other)).run().expect(0);
        let rest = ran.stdout.replacen(&format!("{}/{shared} /job/data", text(folder.path())), "", 1);
        assert!(!rest.contains("stockade-test") && !rest.contains(&other) && !rest.contains(&shared), "{rest}");
    }
}

#[test]
fn the_command_line_of_the_caller_is_not_visible() {
    for user in users() {
        let secret = mark("argument");
        let folder = Folder::new();
        folder.write(&format!("{secret}/file"), "x");
        let code = r#"
seen = b""
for name in os.listdir("/proc"):
    if name.isdigit():
        seen += open(f"/proc/{name}/cmdline", "rb").read()
say("seen", seen.count(b"mark-" + b"argument"))
"#;
        let ran =
            attack(user, &["--in", &format!("{}=data", folder.path().join(&secret).display())], code).run().expect(0);
        assert_said(&ran, &[("seen", "0")]);
    }
}

#[test]
fn the_users_of_the_machine_are_not_visible() {
    for user in users() {
        let code = r#"
import grp, pwd
say("users", sorted(entry.pw_name for entry in pwd.getpwall()))
say("groups", sorted(entry.gr_name for entry in grp.getgrall()))
say("homes", os.listdir("/home"))
for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/ssh", "/etc/fstab", "/etc/hostid", "/var/run/utmp", "/var/log/wtmp", "/root", "/etc/os-release" if False else "/etc/crontab"):
    opens(path)
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("users").unwrap(), "['nobody', 'root', 'runner']");
        assert_eq!(told.remove("groups").unwrap(), "['nogroup', 'root', 'runner', 'tty']");
        assert_eq!(told.remove("homes").unwrap(), "['runner']");
        for (what, how) in told {
            assert_eq!(how, "ENOENT", "{what}");
        }
    }
}

#[test]
fn the_kernels_command_line_and_log_are_not_visible() {
    for user in users() {
        let code = r#"
attempt("cmdline", lambda: open("/proc/cmdline").read())
attempt("kmsg", lambda: open("/proc/kmsg", "rb").read(10))
attempt("dev kmsg", lambda: open("/dev/kmsg", "rb").read(10))
attempt("syslog", lambda: call("syslog", 3, ctypes.create_string_buffer(4096), 4096))
attempt("syslog size", lambda: call("syslog", 10, 0, 0))
attempt("var log", lambda: os.listdir("/var/log"))
attempt("config", lambda: open("/proc/config.gz", "rb").read(2))
attempt("symbols", lambda: open("/proc/kallsyms").read(64))
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let mut told = said(&ran);
        told.retain(|what, how| !(["config", "symbols"].contains(&what.as_str()) && how == "ENOENT"));
        for (what, expected) in [
            ("cmdline", "done ''"),
            ("kmsg", "EACCES"),
            ("dev kmsg", "ENOENT"),
            ("syslog", "EPERM"),
            ("syslog size", "EPERM"),
            ("var log", "ENOENT"),
        ] {
            assert_eq!(told.remove(what).unwrap(), expected, "{what}");
        }
        for (what, how) in told {
            assert!(how == "done ''" || how == "done b''", "{what}: {how}");
        }
    }
}

/// The clocks count from the start of the run; other files of `/proc` still let a patient reader
/// work out when the machine started, which SECURITY.md says.
#[test]
fn the_clocks_do_not_tell_how_long_the_machine_is_up() {
    for user in users() {
        let code = r#"
say("uptime", float(open("/proc/uptime").read().split()[0]) < 60)
say("monotonic", time.clock_gettime(time.CLOCK_MONOTONIC) < 60)
say("boot", time.clock_gettime(time.CLOCK_BOOTTIME) < 60)
"#;
        let ran = attack(user, &[], code).run().expect(0);
        if !ran.report()["enforced"].as_array().unwrap().iter().any(|layer| layer == "time") {
            skipped("clocks", "this kernel has no time namespaces");
            continue;
        }
        assert_said(&ran, &[("uptime", "True"), ("monotonic", "True"), ("boot", "True")]);
    }
}

#[test]
fn the_machines_hardware_tree_is_not_there() {
    for user in users() {
        let code = r#"
for path in ("/sys/firmware", "/sys/class/dmi/id/product_uuid", "/sys/class/net", "/sys/fs/cgroup", "/dev/disk", "/dev/input", "/dev/dri", "/dev/nvidia0", "/run/udev", "/proc/bus/pci/devices", "/proc/scsi/scsi", "/proc/asound/cards", "/proc/driver/rtc", "/proc/fs/ext4", "/proc/irq/0"):
    opens(path)
"#;
        assert_all(&attack(user, &[], code).run().expect(0), &["ENOENT"]);
    }
}

#[test]
fn the_ids_of_the_caller_are_not_told() {
    for user in users() {
        // A given folder belongs, inside, to the throw-away user or to nobody.
        let folder = Folder::new();
        folder.write("data/file", "x");
        let code = r#"
say("owner", {os.stat(path).st_uid for path in ("/job", "/job/data", "/job/data/file", "/usr", "/etc", "/")} <= {1000, 65534})
say("maps", (open("/proc/self/uid_map").read().split(), open("/proc/self/gid_map").read().split()))
"#;
        let ran = attack(user, &["--in", text(&folder.path().join("data"))], code).run().expect(0);
        assert_said(&ran, &[("owner", "True"), ("maps", "(['1000', '1000', '1'], ['1000', '1000', '1'])")]);
    }
}

#[test]
fn timings_and_errors_do_not_show_which_host_paths_exist() {
    for user in users() {
        let folder = Folder::new();
        let there = folder.write("there", "x");
        let code = format!(
            r#"
for path in ({:?}, {:?}):
    opens(path)
    attempt("stat " + path, lambda: os.stat(path))
    attempt("exec " + path, lambda: os.execv(path, ["x"]))
    attempt("connect " + path, lambda: socket.socket(socket.AF_UNIX).connect(path))
"#,
            text(&there),
            text(&folder.path().join("not-there"))
        );
        assert_all(&attack(user, &[], &code).run().expect(0), &["ENOENT"]);
    }
}

#[test]
fn the_outer_message_of_a_refused_run_goes_to_the_caller_only() {
    // A run that does not start has no code that could read why.
    let ran =
        call(STOCKADE, User::Caller).args(["run", "--require", "nonsense", "-c", "print('started')"]).run().expect(125);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("error:") && ran.stderr.contains("next:"), "{}", ran.stderr);
}
