//! What engines of one template do not share.

use std::collections::BTreeSet;

use stockade_core::request::CgroupMode;
use stockade_engines::warm;

use crate::scene::{BOUNDS, PRELUDE, Scene, made_environment, pandas, said, text};

/// A library that made everything random before the fork.
const HELD: &str = "
import multiprocessing, random, secrets, ssl, tempfile, uuid
R = random.Random(7)
R.random(); random.random(); random.gauss(0, 1); ssl.RAND_bytes(8); uuid.uuid1(); uuid.uuid4(); secrets.token_hex(8)
next(tempfile._get_candidate_names()); multiprocessing.current_process().authkey
";

pub fn no_two_engines_share_a_stream_of_random_numbers() {
    let folder = made_environment(&[("held", HELD)]);
    let mut scene = Scene::start(Some(folder.path()), &["held"], CgroupMode::Off);
    let code = "
import held, random, secrets, ssl, tempfile, uuid, os, multiprocessing
say('random', random.getrandbits(64)); say('gauss', random.gauss(0, 1)); say('own', held.R.getrandbits(64))
say('ssl', ssl.RAND_bytes(16).hex()); say('uuid1', str(uuid.uuid1())); say('uuid4', str(uuid.uuid4()))
say('node', uuid.getnode()); say('secrets', secrets.token_hex(16)); say('urandom', os.urandom(8).hex())
say('names', next(tempfile._get_candidate_names())); say('key', bytes(multiprocessing.current_process().authkey).hex())
say('new', random.Random().getrandbits(64)); say('libuuid', uuid._generate_time_safe()[0].hex() if uuid._generate_time_safe else os.urandom(16).hex())
";
    differ(&mut scene, code);
    let Some(environment) = pandas() else { return };
    let more = "
import numpy, numpy.random as n
say('legacy', n.bytes(16).hex()); say('normal', [float(n.normal()) for _ in range(2)]); say('integers', n.randint(1 << 62))
say('modern', int(n.default_rng().integers(1 << 62)))
import pandas; say('sample', list(pandas.DataFrame({'a': range(10**6)}).sample(3).a))
";
    let mut scene = Scene::start(Some(&environment), &["pandas", "numpy.random"], CgroupMode::Off);
    differ(&mut scene, more);
}

fn differ(scene: &mut Scene, code: &str) {
    let answers: Vec<_> = (0..4).map(|_| scene.attack(code)).collect();
    let said: Vec<_> = answers.iter().map(said).collect();
    for (what, first) in &said[0] {
        let all: BTreeSet<&String> = said.iter().map(|one| &one[what]).collect();
        // The machine's address, if it has one: no stream.
        if what != "node" || all.len() > 1 || first.parse::<u64>().unwrap() >> 40 & 1 == 1 {
            assert_eq!(all.len(), said.len(), "{what}: {all:?}");
        }
    }
    assert!(said[0].len() >= 5, "{}", text(&answers[0].error));
}

pub fn nothing_of_an_engine_is_there_in_the_next() {
    let mut scene = Scene::start(None, &["json"], CgroupMode::Off);
    let code = r#"
import json, builtins
for folder in ("/tmp", "/job", "/dev/shm", os.environ.get("HOME", "/home/runner"), "/var/tmp"):
    attempt(folder, lambda: sorted(os.listdir(folder)))
    try: open(folder + "/left", "w").close()
    except OSError: pass
say("module", hasattr(json, "left")); json.left = 1
say("builtins", hasattr(builtins, "left")); builtins.left = 1
say("modules", "left" in sys.modules); sys.modules["left"] = sys
say("variable", "LEFT" in os.environ); os.environ["LEFT"] = "1"
say("semaphore", LIBC.semget(0x5151, 1, 0o666)); LIBC.semget(0x5151, 1, 0o1666)
attempt("shm", lambda: len(open("/proc/sysvipc/sem").readlines()))
say("limit", __import__("resource").getrlimit(8)[0] > 0); say("umask", os.umask(0))
server = socket.socket(socket.AF_UNIX); attempt("name", lambda: server.bind("\0left"))
attempt("port", lambda: socket.create_server(("127.0.0.1", 5557)) and None)
"#;
    let (first, second) = (scene.attack(code), scene.attack(code));
    assert_eq!(text(&first.error), "");
    assert_eq!(said(&first), said(&second));
    for what in ["/tmp", "/job", "/dev/shm"] {
        assert_eq!(said(&second)[what], "done []");
    }
    assert_eq!((said(&second)["name"].as_str(), said(&second)["module"].as_str()), ("done", "False"));
}

pub fn engines_that_live_at_the_same_time_do_not_reach_each_other() {
    let mut scene = Scene::start(None, &["json"], CgroupMode::Off);
    let (one, other) = (scene.engine().unwrap(), scene.engine().unwrap());
    let (process, init) = (one.process().as_raw_nonzero(), one.init().as_raw_nonzero());
    let one = scene.claimed(one);
    let neighbour = format!(
        "{PRELUDE}
for folder in ('/tmp', '/job', '/dev/shm'): open(folder + '/secret', 'w').write('TOP-SECRET')
a = socket.socket(socket.AF_UNIX); a.bind('\\0neighbour'); a.listen()
b = socket.create_server(('127.0.0.1', 5558)); s = LIBC.semget(0x5152, 1, 0o1666)
os.write(3, b'stands'); sys.stdin.read(); time.sleep(60)"
    );
    // Until it stands: it says so on its result descriptor.
    let patient = stockade_engines::warm::Bounds { longest: std::time::Duration::from_secs(2), ..BOUNDS };
    let answer = warm::run(&one, neighbour.as_bytes(), patient).unwrap();
    assert_eq!(
        (answer.said.as_slice(), answer.ended),
        (b"stands".as_slice(), warm::Ended::TimedOut),
        "{}",
        text(&answer.error)
    );
    let other = scene.claimed(other);
    let code = format!(
        r#"{PRELUDE}
def connect(family, address):
    with socket.socket(family) as one: one.connect(address)
attempt("abstract", lambda: connect(socket.AF_UNIX, "\0neighbour"))
attempt("tcp", lambda: connect(socket.AF_INET, ("127.0.0.1", 5558)))
attempt("semaphore", lambda: LIBC.semget(0x5152, 1, 0) >= 0 and 1/0)
for folder in ("/tmp", "/job", "/dev/shm"): opens(folder + "/secret")
hits = [pid for pid in list(range(1, 100)) + list(range(103, 70000)) + [{process}, {init}] if not os.path.exists(f"/proc/{{pid}}") == False]
say("processes", sorted(set(hits)))
for pid in ({process}, {init}):
    attempt(f"kill", lambda: os.kill(pid, 9))
    attempt(f"trace", lambda: call("ptrace", 16, pid, 0, 0))
    attempt(f"read", lambda: call("process_vm_readv", pid, b"\0" * 16, 1, b"\0" * 16, 1, 0))
    attempt(f"open", lambda: call("pidfd_open", pid, 0))
"#
    );
    let answer = warm::run(&other, code.as_bytes(), BOUNDS).unwrap();
    let said = said(&answer);
    assert_eq!(text(&answer.error), "");
    for (what, how) in [
        ("abstract", "ECONNREFUSED"),
        ("tcp", "ECONNREFUSED"),
        ("semaphore", "done False"),
        ("/tmp/secret", "ENOENT"),
        ("/job/secret", "ENOENT"),
        ("/dev/shm/secret", "ENOENT"),
        ("kill", "ESRCH"),
        ("trace", "EPERM"),
        ("read", "EPERM"),
        ("open", "ESRCH"),
    ] {
        assert_eq!(said[what], how, "{what}");
    }
    assert_eq!(said["processes"], "[]");
    assert!(one.engine().process().as_raw_nonzero() == process);
}

pub fn an_engine_does_not_reach_its_template() {
    // What the template holds, a fork of it holds too: so it holds a descriptor and a shared map of its own.
    let held = "
import mmap, os, socket
MAP = mmap.mmap(-1, 4096); FILE = open('/etc/hosts'); PAIR = socket.socketpair()
KEPT = [FILE.fileno(), PAIR[0].fileno(), PAIR[1].fileno()]
";
    let folder = made_environment(&[("held", held)]);
    let mut scene = Scene::start(Some(folder.path()), &["held"], CgroupMode::Off);
    let template = scene.template.init().as_raw_nonzero();
    let code = format!(
        r#"
import held
say("descriptors", sorted(int(one) for one in os.listdir("/proc/self/fd")))
for number in held.KEPT: attempt("kept", lambda: os.fstat(number))
say("others", [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (os.getpid(),)])
say("parent", os.getppid())
for pid in (os.getppid(), 1, 2, {template}):
    attempt(f"kill {{pid}}", lambda: os.kill(pid, 0) if pid > 0 else call("ptrace", 16, pid, 0, 0))
    attempt(f"trace {{pid}}", lambda: call("ptrace", 16, pid, 0, 0))
    attempt(f"memory {{pid}}", lambda: open(f"/proc/{{pid}}/mem", "rb"))
for name, arguments in (("add_key", (b"user", b"a", b"b", 1, -3)), ("keyctl", (0, -3, 0)), ("request_key", (b"user", b"a", 0, 0))):
    attempt(name, lambda: call(name, *arguments))
for kind in ("user", "mnt", "pid"):
    handle = os.open(f"/proc/self/ns/{{kind}}", os.O_RDONLY)
    attempt("parent of " + kind, lambda: call("ioctl", handle, 0xb702 if kind == "pid" else 0xb701, 0))
    attempt("setns", lambda: call("setns", handle, 0))
say("root", sorted(os.listdir("/opt/stockade")))
say("shared", [line.split()[-1] for line in open("/proc/self/maps") if line.split()[1] == "rw-s" and "(deleted)" not in line])
"#
    );
    let answer = scene.attack(&code);
    let said = said(&answer);
    assert_eq!(text(&answer.error), "");
    // Three streams, the result, its own socket, and the folder that is being listed.
    let descriptors: Vec<u32> =
        said["descriptors"].trim_matches(['[', ']']).split(", ").map(|one| one.parse().unwrap()).collect();
    assert_eq!((descriptors.len(), &descriptors[..4]), (6, [0, 1, 2, 3].as_slice()), "{descriptors:?}");
    assert_eq!((said["kept"].as_str(), said["others"].as_str(), said["parent"].as_str()), ("EBADF", "[]", "0"));
    for (what, how) in &said {
        if what.starts_with("trace") || what.ends_with("key") || what.starts_with("setns") || what.starts_with("keyctl")
        {
            assert_eq!(how, "EPERM", "{what}");
        }
        if what.starts_with("memory") {
            assert!(["ENOENT", "EACCES"].contains(&how.as_str()), "{what}: {how}");
        }
        if what.starts_with("parent of") {
            assert!(["ENOTTY", "EPERM"].contains(&how.as_str()), "{what}: {how}");
        }
        if what.starts_with("kill") {
            assert!(["EPERM", "ESRCH"].contains(&how.as_str()) || what == "kill 1", "{what}: {how}");
        }
    }
    assert_eq!(said["shared"], "[]");
}

pub fn every_engine_has_a_user_of_its_own() {
    let mut scene = Scene::start(None, &[], CgroupMode::Off);
    let engines: Vec<_> = (0..5).map(|_| scene.engine().unwrap()).collect();
    let users: BTreeSet<u32> = engines.iter().map(stockade_launch::warm::Engine::user).collect();
    assert_eq!(users.len(), 5);
    for engine in &engines {
        let seen = crate::scene::users_of(engine.process());
        assert!(seen.iter().all(|user| *user == engine.user()), "{seen:?}");
        assert!(!crate::scene::users_of(scene.template.init()).contains(&engine.user()));
    }
    drop(engines);
    // None is used again while there are others.
    assert!(!users.contains(&scene.engine().unwrap().user()));
}
