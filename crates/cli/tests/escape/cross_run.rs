//! Cross-run: two runs of one caller at the same time share nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::Child;

use crate::support::{Folder, PRELUDE, STOCKADE, User, assert_all, assert_said, attack, call, mark, said, users};

/// A run that has said `ready` and stays until its input ends.
struct Neighbour {
    child: Child,
    told: String,
    _state: Folder,
}

impl Neighbour {
    fn start(user: User, code: &str) -> Self {
        let code = format!("{PRELUDE}\n{code}\nsay('ready', 'yes')\nsys.stdin.read()");
        let (mut child, state) = call(STOCKADE, user).args(["run", "-q", "-c", &code]).start();
        let mut told = String::new();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
        while !told.ends_with("ready: yes\n") {
            assert!(lines.read_line(&mut told).unwrap() > 0, "the neighbour ended: {told}");
        }
        drop(lines);
        Self { child, told, _state: state }
    }

    /// Lets it end; what it said after `ready`.
    fn stop(mut self) {
        drop(self.child.stdin.take().map(|mut input| input.flush()));
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn abstract_sockets_of_another_run_are_not_reached() {
    for user in users() {
        let name = mark("neighbour");
        let neighbour = Neighbour::start(
            user,
            &format!(
                "server = socket.socket(socket.AF_UNIX); server.bind('\\0{name}'); server.listen(); tcp = socket.create_server(('127.0.0.1', 5555)); udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(('127.0.0.1', 5556))"
            ),
        );
        let code = format!(
            r#"
def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)
attempt("abstract", lambda: connect(socket.AF_UNIX, "\0{name}"))
attempt("tcp", lambda: connect(socket.AF_INET, ("127.0.0.1", 5555)))
attempt("same name", lambda: socket.socket(socket.AF_UNIX).bind("\0{name}"))
attempt("same port", lambda: socket.create_server(("127.0.0.1", 5555)).close())
"#
        );
        let ran = attack(user, &[], &code).run().expect(0);
        assert_said(
            &ran,
            &[("abstract", "ECONNREFUSED"), ("tcp", "ECONNREFUSED"), ("same name", "done"), ("same port", "done")],
        );
        neighbour.stop();
    }
}

#[test]
fn shared_memory_and_queues_of_another_run_are_not_seen() {
    for user in users() {
        let neighbour = Neighbour::start(
            user,
            r#"
semaphore = LIBC.semget(0x5150, 1, 0o1666)
segment = LIBC.shmget(0x5150, 4096, 0o1666)
queue = LIBC.msgget(0x5150, 0o1666)
with open("/dev/shm/secret", "w") as one: one.write("TOP-SECRET")
# Without a cgroup there are none: no process owns their memory.
import errno
say("made", semaphore >= 0 and (min(segment, queue) >= 0 or ctypes.get_errno() == errno.ENOSYS))
"#,
        );
        assert!(neighbour.told.contains("made: True"), "{}", neighbour.told);
        let code = r#"
def get(function, *arguments):
    ctypes.set_errno(0)
    if function(*arguments) < 0: raise OSError(ctypes.get_errno(), "")
attempt("shm", lambda: get(LIBC.shmget, 0x5150, 4096, 0))
attempt("msg", lambda: get(LIBC.msgget, 0x5150, 0))
attempt("sem", lambda: get(LIBC.semget, 0x5150, 1, 0))
attempt("mq", lambda: raw(180 if ARM else 240, b"stockade", os.O_RDWR, 0, 0))
attempt("dev shm", lambda: os.listdir("/dev/shm"))
attempt("sysvipc", lambda: [len(open("/proc/sysvipc/" + name).readlines()) for name in ("shm", "msg", "sem")])
"#;
        let ran = attack(user, &[], code).run().expect(0);
        let none = if ran.report()["accounting"] == "watchdog" { "ENOSYS" } else { "ENOENT" };
        assert_said(
            &ran,
            &[
                ("shm", none),
                ("msg", none),
                ("sem", "ENOENT"),
                ("mq", "ENOENT"),
                ("dev shm", "done []"),
                ("sysvipc", "done [1, 1, 1]"),
            ],
        );
        neighbour.stop();
    }
}

#[test]
fn files_and_processes_of_another_run_are_not_seen() {
    for user in users() {
        let secret = mark("secret");
        let neighbour = Neighbour::start(
            user,
            &format!(
                "for folder in ('/tmp', '/job', '/dev/shm', os.environ['HOME']):\n    with open(folder + '/{secret}', 'w') as one: one.write('TOP-SECRET')\nsay('pid', os.getpid())"
            ),
        );
        let code = format!(
            r#"
for folder in ("/tmp", "/job", "/dev/shm", os.environ["HOME"]):
    attempt(folder, lambda: os.listdir(folder))
    opens(folder + "/{secret}")
say("processes", [name for name in os.listdir("/proc") if name.isdigit()] == [str(os.getpid())])
# Ids of the host, guessed: none of them exists here.
hits = 0
for pid in range(3, 70000, 7):
    try: os.kill(pid, 0); hits += 1
    except ProcessLookupError: pass
say("hits", hits)
"#
        );
        let ran = attack(user, &[], &code).run().expect(0);
        let mut told = said(&ran);
        assert_eq!(told.remove("processes").unwrap(), "True");
        assert_eq!(told.remove("hits").unwrap(), "0");
        for (what, how) in told {
            assert!(how == "done []" || how == "ENOENT", "{what}: {how}");
        }
        neighbour.stop();
    }
}

/// Two runs of root at the same time are two different users outside.
#[test]
fn two_runs_started_by_root_are_two_users() {
    if !rustix::process::geteuid().is_root() {
        crate::support::skipped("two users", "the tests are run by an ordinary user: both runs are that user");
        return;
    }
    let folder = Folder::new();
    let shared = folder.path().join("share");
    std::fs::create_dir(&shared).unwrap();
    let name = mark("uid");
    let neighbours: Vec<Neighbour> =
        (0..2).map(|number| Neighbour::start(User::Caller, &format!("number = {number} # {name}"))).collect();
    let uids: Vec<Vec<u32>> = neighbours
        .iter()
        .map(|neighbour| {
            let supervisor = neighbour.child.id();
            let init = children(supervisor)[0];
            let status = std::fs::read_to_string(format!("/proc/{}/status", children(init)[0])).unwrap();
            let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned();
            line.split_whitespace().skip(1).map(|id| id.parse().unwrap()).collect()
        })
        .collect();
    assert_ne!(uids[0], uids[1]);
    for uid in uids.into_iter().flatten() {
        assert!(uid >= 0x7000_0000, "{uid}");
    }
    neighbours.into_iter().for_each(Neighbour::stop);
}

fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap()
        .split_whitespace()
        .map(|one| one.parse().unwrap())
        .collect()
}

/// One run leaves nothing that a later one finds.
#[test]
fn nothing_of_a_run_is_there_in_the_next() {
    for user in users() {
        let code = r#"
for folder in ("/tmp", "/job", "/dev/shm", os.environ["HOME"], "/var/tmp"):
    attempt(folder, lambda: sorted(os.listdir(folder)))
    try: open(folder + "/left", "w").close()
    except OSError: pass
LIBC.shmget(0x4141, 4096, 0o1666)
attempt("ipc", lambda: len(open("/proc/sysvipc/shm").readlines()))
"#;
        let first = attack(user, &[], code).run().expect(0);
        let second = attack(user, &[], code).run().expect(0);
        assert_eq!(said(&first), said(&second));
        let own = if second.report()["accounting"] == "watchdog" { "done 1" } else { "done 2" };
        assert_all(&second, &["done []", "ENOENT", own]);
    }
}

#[test]
fn a_neighbour_cannot_be_slowed_through_keys_locks_or_watches() {
    for user in users() {
        let folder = Folder::new();
        folder.write("data/file", "x");
        let data = folder.path().join("data");
        let neighbour_code = format!(
            "{PRELUDE}\nimport fcntl\none = open('/job/data/file')\nattempt('lock', lambda: fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB))\nsay('ready', 'yes')\nsys.stdin.read()"
        );
        let (mut child, _state) = call(STOCKADE, user)
            .args(["run", "-q", "--share", crate::support::text(&data), "-c", &neighbour_code])
            .start();
        let mut told = String::new();
        {
            let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
            while !told.ends_with("ready: yes\n") {
                assert!(lines.read_line(&mut told).unwrap() > 0, "{told}");
            }
        }
        // The lock of a file in a read-only share is on the run's own overlay, not on the host's file.
        let ran = attack(
            user,
            &["--share", crate::support::text(&data)],
            "import fcntl\nattempt('lock', lambda: fcntl.flock(open('/job/data/file'), fcntl.LOCK_EX | fcntl.LOCK_NB))",
        )
        .run()
        .expect(0);
        assert_eq!(said(&ran)["lock"], "done", "{}", ran.stdout);
        let file = std::fs::File::open(data.join("file")).unwrap();
        assert!(rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok());
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
