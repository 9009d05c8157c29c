//! The standard library of Python: processes, threads, files, sockets, signals, time.

use crate::support::{Folder, User, quiet, run, users, works};

/// Processes of all three kinds; `METHOD` is replaced.
const PROCESSES: &str = r#"
import multiprocessing as mp
from multiprocessing import shared_memory

class Point:  # pickled by reference to __main__
    def __init__(self, x): self.x = x

def square(point): return Point(point.x ** 2)
def put(queue): queue.put("a word")
def bump(name):
    memory = shared_memory.SharedMemory(name); memory.buf[0] += 1; memory.close()
def count(value):
    for _ in range(100):
        with value.get_lock(): value.value += 1

if __name__ == "__main__":
    context = mp.get_context("METHOD")
    with context.Pool(3) as pool:
        assert [point.x for point in pool.map(square, map(Point, range(5)))] == [0, 1, 4, 9, 16]
    queue = context.Queue()
    process = context.Process(target=put, args=(queue,)); process.start()
    assert queue.get(timeout=60) == "a word"; process.join()
    with context.Manager() as manager:
        shared = manager.dict(); shared["a"] = 1; assert dict(shared) == {"a": 1}
    memory = shared_memory.SharedMemory(create=True, size=1000); memory.buf[0] = 7
    process = context.Process(target=bump, args=(memory.name,)); process.start(); process.join()
    assert memory.buf[0] == 8; memory.close(); memory.unlink()
    value = context.Value("i", 0)
    processes = [context.Process(target=count, args=(value,)) for _ in range(3)]
    for process in processes: process.start()
    for process in processes: process.join()
    assert value.value == 300
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=context) as pool: assert list(pool.map(abs, [-1, -2])) == [1, 2]
"#;

#[test]
fn forked_processes_share_work_and_memory() {
    for user in users() {
        let _ = works(user, &[], &PROCESSES.replace("METHOD", "fork"));
    }
}

#[test]
fn spawned_processes_share_work_and_memory() {
    for user in users() {
        let _ = works(user, &[], &PROCESSES.replace("METHOD", "spawn"));
    }
}

#[test]
fn processes_of_a_fork_server_share_work_and_memory() {
    let _ = works(User::Caller, &[], &PROCESSES.replace("METHOD", "forkserver"));
}

#[test]
fn threads_run_side_by_side() {
    let _ = works(
        User::Caller,
        &[],
        r#"
import threading, concurrent.futures
with concurrent.futures.ThreadPoolExecutor(32) as pool: assert sum(pool.map(lambda x: x * x, range(1000))) == 332833500
barrier = threading.Barrier(20)
threads = [threading.Thread(target=barrier.wait, name="worker %d" % n) for n in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join(30)
assert not any(thread.is_alive() for thread in threads)
"#,
    );
}

#[test]
fn children_see_what_their_parent_sees() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import os, subprocess, sys
assert subprocess.check_output("echo $((6 * 7)) | cat", shell=True) == b"42\n"
assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
child = subprocess.run([sys.executable, "-c", "import sys; print(sorted(sys.path[1:]))"], capture_output=True, text=True, check=True)
assert child.stdout.strip() == str(sorted(sys.path[1:])), child.stdout
assert subprocess.check_output([sys.executable, "-m", "json.tool", "--compact"], input=b'{"a": 1}') == b'{"a":1}\n'
assert os.popen("date +%Y").read().strip().isdigit() and os.system("exit 4") >> 8 == 4
slow = subprocess.Popen(["sleep", "60"])
try: slow.wait(0.1)
except subprocess.TimeoutExpired: slow.kill()
assert slow.wait(10) == -9
"#,
        );
    }
}

#[test]
fn temporary_files_and_folders_come_and_go() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import os, tempfile
with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as named, tempfile.TemporaryFile() as unnamed, tempfile.SpooledTemporaryFile(10) as spooled:
    named.write(b"x" * 100); unnamed.write(b"y"); spooled.write(b"z" * 100)
    open(os.path.join(folder, "f"), "w").close()
assert tempfile.gettempdir() == "/tmp" and not os.path.exists(folder)
"#,
        );
    }
}

#[test]
fn files_can_be_made_moved_linked_and_locked() {
    let _ = works(
        User::Caller,
        &[],
        r#"
import fcntl, mmap, os, pathlib, shutil
os.makedirs("a/b"); pathlib.Path("a/b/c").write_text("x"); os.rename("a", "z")
os.symlink("z/b/c", "link"); os.link("z/b/c", "hard"); os.chmod("hard", 0o755); os.utime("hard", (1, 1))
assert open("link").read() == "x" and os.stat("hard").st_nlink == 2
shutil.copytree("z", "y"); shutil.copy2("hard", "copy"); shutil.move("y", "/tmp/y"); shutil.rmtree("z"); os.mkfifo("/tmp/fifo")
shutil.unpack_archive(shutil.make_archive("/tmp/archive", "gztar", "/tmp/y"), "/tmp/unpacked"); assert os.path.exists("/tmp/unpacked/b/c")
with open("hard", "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX); fcntl.lockf(file, fcntl.LOCK_EX)
    file.truncate(1 << 20); view = mmap.mmap(file.fileno(), 0); view[:2] = b"hi"; view.flush()
assert shutil.disk_usage("/job").free > 1 << 20
"#,
    );
}

#[test]
fn sqlite_keeps_a_write_ahead_log() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import os, sqlite3
for folder in ("/job", "/tmp", os.path.expanduser("~")):
    path = os.path.join(folder, "x.db")
    one, other = sqlite3.connect(path), sqlite3.connect(path)
    assert one.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    one.execute("create table t (a)"); one.executemany("insert into t values (?)", [(n,) for n in range(1000)]); one.commit()
    assert other.execute("select sum(a) from t").fetchone() == (499500,) and os.path.exists(path + "-wal")
    one.close(); other.close(); os.unlink(path)
"#,
        );
    }
}

#[test]
fn servers_on_loopback_answer() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import asyncio, socket
async def shout(reader, writer):
    writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
async def ask(reader, writer):
    writer.write(b"hey\n"); assert await reader.readline() == b"HEY\n"; writer.close()
async def main():
    for host in ("127.0.0.1", "::1", "localhost"):
        server = await asyncio.start_server(shout, host, 0)
        await ask(*await asyncio.open_connection(host, server.sockets[0].getsockname()[1])); server.close()
    server = await asyncio.start_unix_server(shout, "/tmp/s.sock")
    await ask(*await asyncio.open_unix_connection("/tmp/s.sock")); server.close()
    child = await asyncio.create_subprocess_exec("sh", "-c", "cat; exit 4", stdin=-1, stdout=-1)
    assert (await child.communicate(b"x"))[0] == b"x" and child.returncode == 4
asyncio.run(main())
datagram, sender = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
datagram.bind(("127.0.0.1", 0)); sender.sendto(b"d", datagram.getsockname()); assert datagram.recv(9) == b"d"
assert socket.gethostbyname(socket.gethostname()) == "127.0.0.1" and socket.getservbyname("http") == 80
"#,
        );
    }
}

#[test]
fn certificates_are_found() {
    let _ = works(
        User::Caller,
        &[],
        "import ssl\nassert ssl.create_default_context().cert_store_stats()['x509_ca'] > 20\n",
    );
    let _ = works(
        User::Ordinary,
        &[],
        "import ssl\nassert ssl.create_default_context().cert_store_stats()['x509_ca'] > 20\n",
    );
}

#[test]
fn locale_and_time_zones_are_there() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import datetime, locale, os, sys, time, zoneinfo
assert "UTF-8" in locale.setlocale(locale.LC_ALL, "") and sys.getfilesystemencoding() == "utf-8"
summer = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich"))
assert str(summer.utcoffset()) == "2:00:00" and len(zoneinfo.available_timezones()) > 400
os.environ["TZ"] = "America/New_York"; time.tzset(); assert time.tzname == ("EST", "EDT")
open("日本 é", "w").write("ü"); assert os.listdir() and open("日本 é").read() == "ü"
"#,
        );
    }
}

#[test]
fn a_user_with_a_name_and_a_home_is_there() {
    for user in users() {
        let _ = works(
            user,
            &[],
            r#"
import getpass, grp, os, pathlib, platform, pwd, uuid
assert getpass.getuser() == pwd.getpwuid(os.getuid()).pw_name and grp.getgrgid(os.getgid()).gr_name
home = pathlib.Path.home(); (home / ".config").mkdir(); (home / ".config/x").write_text("y")
assert platform.platform() and platform.freedesktop_os_release()["ID"] and uuid.uuid1()
"#,
        );
    }
}

#[test]
fn processors_are_counted_as_outside() {
    let here = std::thread::available_parallelism().unwrap().get().to_string();
    for user in users() {
        let ran = works(
            user,
            &[],
            r#"
import multiprocessing, os
cores = {part for part in os.listdir("/sys/devices/system/cpu") if part[:3] == "cpu" and part[3:].isdigit()}
assert len(cores) >= os.cpu_count() == multiprocessing.cpu_count() >= 1
assert os.path.exists("/sys/devices/system/cpu/online") and open("/proc/cpuinfo").read().count("processor") and os.getloadavg()
print(len(os.sched_getaffinity(0)))
"#,
        );
        assert_eq!(ran.stdout.trim(), here);
    }
}

#[test]
fn signals_reach_their_handlers() {
    let _ = works(
        User::Caller,
        &[],
        r#"
import os, signal, time
seen = []
for name in ("SIGALRM", "SIGUSR1", "SIGINT", "SIGTERM", "SIGHUP", "SIGCHLD"): signal.signal(getattr(signal, name), lambda number, frame: seen.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.1)
for name in ("SIGUSR1", "SIGINT", "SIGTERM", "SIGHUP"): os.kill(os.getpid(), getattr(signal, name))
if os.fork() == 0: os._exit(0)
os.wait(); time.sleep(0.01)
assert seen == [14, 10, 2, 15, 1, 17], seen
assert signal.sigtimedwait([signal.SIGUSR2], 0.01) is None
"#,
    );
}

#[test]
fn a_terminal_can_be_made() {
    let _ = works(
        User::Caller,
        &[],
        r#"
import os, pty
pid, terminal = pty.fork()
if pid == 0: os.execvp("tty", ["tty"])
assert os.read(terminal, 100).startswith(b"/dev/pts/"); os.waitpid(pid, 0)
"#,
    );
}

#[test]
fn a_script_finds_its_own_source() {
    let ran = works(
        User::Caller,
        &[],
        r#"
import inspect, os, runpy, sys
def own(): return 1
assert inspect.getsource(own) == "def own(): return 1\n" and open(__file__).read().startswith("\nimport inspect")
assert sys.path[0] == os.path.dirname(os.path.abspath(__file__)) == os.getcwd()
if __name__ == "__main__": print(runpy.run_path(__file__, run_name="again")["__name__"])
"#,
    );
    assert_eq!(ran.stdout, "again\n");
}

#[test]
fn questions_and_data_come_from_standard_input() {
    for user in users() {
        let folder = Folder::new();
        folder.write("x.py", "import csv, sys\nname = input('name? ')\nprint(name, sum(int(row['v']) for row in csv.DictReader(sys.stdin)))\n");
        let ran = quiet(run(user, &folder).arg("x.py").input("Ada\nk,v\na,1\nb,41\n").run().expect(0));
        assert_eq!(ran.stdout, "name? Ada 42\n");
    }
}

#[test]
fn every_module_of_the_standard_library_imports_that_imports_outside() {
    let code = r#"
import importlib, sys, warnings
warnings.simplefilter("ignore")
failed = []
for name in sorted(sys.stdlib_module_names):
    if name in ("antigravity", "this", "idlelib"): continue
    try: importlib.import_module(name)
    except ImportError: failed.append(name)
print(failed)
"#;
    let folder = Folder::new();
    folder.write("x.py", code);
    let outside = std::process::Command::new("python3").arg("x.py").current_dir(folder.path()).output().unwrap();
    let ran = works(User::Caller, &[], code);
    assert_eq!(ran.stdout, String::from_utf8_lossy(&outside.stdout));
}

#[test]
fn limits_of_the_run_are_those_a_program_asks_for() {
    let _ = works(
        User::Caller,
        &["--limit", "open-files=300"],
        r#"
import resource
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 and resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >= 0
try: files = [open("/dev/null") for _ in range(400)]
except OSError as error: assert error.errno == 24
"#,
    );
}
