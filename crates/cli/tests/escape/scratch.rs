//! Scratch on disk (`--scratch-dir`): what the code writes is a real folder of the host for a while.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Folder, Ran, User, assert_gone, attack, eventually, give_to, mark, said, text, users};

/// A folder of the user's to make scratch in.
fn disk(user: User, folder: &Folder) -> PathBuf {
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    give_to(user, &disk);
    disk
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Why the run ended; that nothing of it is left, and that nothing more than it gave was claimed.
#[track_caller]
fn ended(ran: &Ran, disk: &Path) -> String {
    let report = ran.report();
    assert_eq!(names(disk), [""; 0], "left on disk: {}", ran.stderr);
    assert!(!report["enforced"].to_string().contains("\"scratch\""), "{}", ran.stderr);
    assert!(report["notes"].to_string().contains("scratch is on disk: watched, not walled"), "{}", ran.stderr);
    assert_eq!(report["scratch"], "disk");
    let cause = &report["cause"];
    cause["limit"].as_str().or_else(|| cause["kind"].as_str()).unwrap().to_owned()
}

#[test]
fn too_much_on_disk_ends_the_run() {
    const BYTES: &str = r#"
number = 0
while True:
    number += 1
    for folder in ("/tmp", "/job", os.environ["HOME"]):
        with open(f"{folder}/hog{number}", "wb") as one: one.write(b"x" * (1 << 20))
    time.sleep(0.01)
"#;
    const FILES: &str = r#"
number = 0
while True:
    number += 1
    for folder in ("/tmp", "/job", os.environ["HOME"]):
        os.mkdir(f"{folder}/{number}")
    time.sleep(0.0005)
"#;
    // It closes the folder that it goes on writing in.
    const CLOSED: &str = r#"
os.makedirs("/tmp/closed/inner")
files = [open(f"/tmp/closed/inner/{number}", "wb") for number in range(100)]
os.chmod("/tmp/closed/inner", 0)
os.chmod("/tmp/closed", 0)
while True:
    for one in files: one.write(b"x" * (1 << 16)); one.flush()
    time.sleep(0.01)
"#;
    const DEEP: &str = r#"
os.chdir("/tmp")
for level in range(300): os.mkdir("d"); os.chdir("d")
time.sleep(60)
"#;
    // Ends before anybody has looked.
    const QUICK: &str = "open('/tmp/hog', 'wb').write(b'x' * (40 << 20))";
    for user in users() {
        for (code, limit) in [
            (BYTES, "scratch"),
            (FILES, "scratch-files"),
            (CLOSED, "scratch"),
            (DEEP, "scratch-files"),
            (QUICK, "scratch"),
        ] {
            for cgroup in ["auto", "off"] {
                let folder = Folder::new();
                let disk = disk(user, &folder);
                let bounds = ["--limit", "scratch=32MiB", "--limit", "scratch-files=2000", "--limit", "time=60s"];
                let flags = [&["--scratch-dir", text(&disk), "--cgroup", cgroup], &bounds[..]].concat();
                let ran = attack(user, &flags, code).run().expect(125);
                assert_eq!(ended(&ran, &disk), limit, "{code}\n{}", ran.stderr);
            }
        }
    }
}

#[test]
fn what_takes_no_room_on_disk_does_not_count_and_memory_stays_memory() {
    for user in users() {
        let folder = Folder::new();
        let disk = disk(user, &folder);
        let flags = ["--scratch-dir", text(&disk), "--limit", "scratch=32MiB"];
        let code = r#"
for number in range(50):
    with open("/tmp/hole", "wb") as one: one.truncate(1 << 29)
    with open("/tmp/again", "wb") as one: one.write(b"x" * (10 << 20))
    if number == 0:
        for copy in range(20): os.link("/tmp/again", f"/tmp/again{copy}")
    time.sleep(0.01)
with open("/dev/shm/large", "wb") as one: one.write(b"x" * (40 << 20))
say("device", os.stat("/dev/shm").st_dev != os.stat("/tmp").st_dev)
"#;
        let ran = attack(user, &flags, code).run().expect(0);
        assert_eq!((ended(&ran, &disk).as_str(), said(&ran)["device"].as_str()), ("exited", "True"));
        for cgroup in ["auto", "off"] {
            let flags = [&flags[..], &["--limit", "memory=128MiB", "--cgroup", cgroup]].concat();
            let code = "with open('/dev/shm/large', 'wb') as one:\n    for n in range(400): one.write(b'x' * (1 << 20)); time.sleep(0.002)\ntime.sleep(5)";
            let ran = attack(user, &flags, code).run();
            assert!(ran.status != 0 && names(&disk).is_empty(), "{cgroup}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_hostile_tree_on_disk_is_removed_whole_and_nothing_beside_it() {
    for user in users() {
        let folder = Folder::new();
        folder.write("beside/stays", "stays");
        let disk = disk(user, &folder);
        folder.write("disk/mine", "mine");
        let code = format!(
            r##"
os.chdir("/tmp")
os.symlink({beside:?}, "link")
os.symlink("../../../..", "up")
os.mkfifo("fifo")
one = socket.socket(socket.AF_UNIX); one.bind("socket")
for name in (b"new\nline", b"esc\x1b[2J", b"\xff\xfe", b"x" * 255, b"-rf", b"moved-1", b" "):
    os.mkdir(name); os.close(os.open(name + b"/inner" if len(name) < 200 else name + b"/i", os.O_CREAT | os.O_WRONLY))
for number in range(3000): os.close(os.open(f"many{{number}}", os.O_CREAT | os.O_WRONLY))
for level in range(150): os.mkdir("deep"); open("file", "w"); os.chdir("deep")
def closed(number):
    os.makedirs(f"/job/closed{{number}}/inner/inner")
    for below in ("/inner/inner", "/inner", ""): os.chmod(f"/job/closed{{number}}" + below, 0)
for number in range(5): closed(number)
os.chmod("/job", 0)
import fcntl
for name, flag in (("immutable", 0x10), ("append", 0x20)):
    file = os.open(os.environ["HOME"] + "/" + name, os.O_CREAT | os.O_RDWR)
    attempt(name, lambda: fcntl.ioctl(file, 0x40086602, struct.pack("l", flag)))
"##,
            beside = text(&folder.path().join("beside"))
        );
        let ran = attack(user, &["--scratch-dir", text(&disk)], &code).run().expect(0);
        for name in ["immutable", "append"] {
            assert!(said(&ran)[name] != "done" && !said(&ran)[name].starts_with("done "), "{}", ran.stdout);
        }
        assert_eq!(names(&disk), ["mine"], "{}", ran.stderr);
        assert_eq!(folder.read("beside/stays"), "stays");
    }
}

#[test]
fn links_planted_in_scratch_on_disk_lead_the_collector_nowhere() {
    for user in users() {
        let folder = Folder::new();
        folder.write("secret/file", "secret");
        folder.write("out/kept", "");
        let disk = disk(user, &folder);
        give_to(user, &folder.path().join("out"));
        let secret = text(&folder.path().join("secret")).to_owned();
        let code = format!(
            "os.chdir('/job')\nos.symlink({secret:?}, 'folder')\nos.symlink({secret:?} + '/file', 'file')\nos.symlink('../../inner', 'up')\nos.mkfifo('fifo')\nopen('plain', 'w').write('plain')\nos.link('plain', 'hard')"
        );
        let out = folder.path().join("out");
        let flags = ["--scratch-dir", text(&disk), "--out", text(&out)];
        let ran = attack(user, &flags, &code).run().expect(0);
        assert_eq!(ended(&ran, &disk), "exited");
        let mut came = names(&folder.path().join("out"));
        came.sort();
        assert_eq!(came, ["hard", "kept", "plain"], "{}", ran.stderr);
    }
}

/// Every file below a folder, links not followed.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn nobody_else_reaches_scratch_on_disk_while_the_code_runs() {
    for user in users() {
        let folder = Folder::new();
        let disk = disk(user, &folder);
        let name = mark("path");
        folder.write(&format!("{name}/file"), "x");
        let code = r#"
def make(path, mode): os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))
attempt("set-uid open", lambda: make("/tmp/one", 0o4755))
make("/tmp/two", 0o755)
attempt("set-uid chmod", lambda: os.chmod("/tmp/two", 0o4755))
attempt("set-gid chmod", lambda: os.chmod("/tmp", 0o2777))
attempt("device", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0)))
attempt("null", lambda: os.mknod("/tmp/null", 0o20666, os.makedev(1, 3)))
os.mkfifo("/tmp/fifo", 0o666)
for path in ("/proc/self/mountinfo", "/proc/self/mounts", "/proc/self/maps"):
    say(path, repr(open(path).read()))
os.chmod("/tmp", 0o777)
print("ready", flush=True)
input()
"#;
        let project = folder.path().join(&name);
        let flags = ["--scratch-dir", text(&disk), "--project", text(&project)];
        let (mut child, _state) = attack(user, &flags, code).start();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|line| line != "ready").collect();
        let outer = disk.join(&names(&disk)[0]);
        let status = std::fs::metadata(&outer).unwrap();
        assert_eq!(status.permissions().mode() & 0o7777, 0o700);
        assert_eq!(status.uid(), std::fs::metadata(&disk).unwrap().uid());
        let found = all(&outer);
        assert!(found.iter().any(|path| path.ends_with("fifo")), "{found:?}");
        for path in &found {
            let status = std::fs::symlink_metadata(path).unwrap();
            let (kind, mode) = (status.file_type(), status.permissions().mode());
            let is_device =
                !kind.is_file() && !kind.is_dir() && !kind.is_symlink() && status.mode() & 0o170_000 != 0o010_000;
            assert!(mode & 0o6000 == 0 && !is_device, "{} {mode:o}", path.display());
        }
        if rustix::process::geteuid().is_root() {
            // As the next user of the machine, and as the one that the code is.
            for id in [61_235, std::fs::metadata(outer.join("inner")).unwrap().uid()] {
                if id == status.uid() {
                    continue;
                }
                let mut list = Command::new("ls");
                list.arg(outer.join("inner")).uid(id).gid(id).stdout(Stdio::null()).stderr(Stdio::null());
                assert!(!list.status().unwrap().success(), "{id} may enter");
            }
        }
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(names(&disk), [""; 0]);
        for line in &told {
            let (what, how) = line.split_once(": ").unwrap();
            assert!(what.starts_with('/') || how == "EPERM", "{line}");
            assert!(!how.contains("stockade-test") && !how.contains(&name) && !how.contains("inner"), "{line}");
        }
    }
}

#[test]
fn what_a_killed_run_left_on_disk_is_swept_by_the_next_and_no_living_ones() {
    for user in users() {
        let folder = Folder::new();
        let disk = disk(user, &folder);
        let name = mark("killed");
        let code =
            format!("# {name}\nos.makedirs('/tmp/a/b')\nos.chmod('/tmp/a', 0)\nprint('ready', flush=True)\ninput()");
        let start = || {
            let (mut child, state) = attack(user, &["--scratch-dir", text(&disk)], &code).start();
            let mut line = String::new();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            (child, out, state)
        };
        let (mut living, _living_out, _living_state) = start();
        let (mut killed, _killed_out, _killed_state) = start();
        assert_eq!(names(&disk).len(), 2);
        killed.kill().unwrap();
        killed.wait().unwrap();
        eventually("the next run sweeps", || {
            attack(user, &["--scratch-dir", text(&disk)], "").run().status == 0 && names(&disk).len() == 1
        });
        living.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(living.wait().unwrap().success());
        assert_eq!(names(&disk), [""; 0]);
        assert_gone(&name);
    }
}
