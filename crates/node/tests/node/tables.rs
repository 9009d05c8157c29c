//! Tables by descriptor: what memory is given for them, what is taken for one, how long it is kept, and what code can
//! do with it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use stockade_frames::{Beside, Frame};
use stockade_testkit::skipped;

use crate::sessions::Session;
use crate::support::{AS_SERVICE, Node, until};
use crate::tenancy::as_user;
use crate::warm::begun;

const MIB: usize = 1 << 20;

fn ask(bytes: usize) -> Vec<u8> {
    format!("{{\"ask\":\"table\",\"bytes\":{bytes}}}").into_bytes()
}

fn beside(node: &Node) -> PathBuf {
    node.socket().with_extension("sock.tables")
}

fn connect(path: PathBuf, user: Option<u32>) -> std::io::Result<OwnedFd> {
    let connecting = std::thread::spawn(move || {
        if let Some(user) = user {
            let id = rustix::process::Uid::from_raw(user);
            // Of this thread alone, which ends.
            rustix::thread::set_thread_res_uid(id, id, id).unwrap();
        }
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    });
    connecting.join().unwrap()
}

/// Says something and hears the answer, and what lies beside it; none when the node says nothing.
fn say(socket: &OwnedFd, frame: &[u8], given: &[BorrowedFd<'_>]) -> Option<(Value, Vec<OwnedFd>)> {
    stockade_frames::send(socket, frame, given).ok()?;
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap();
    match stockade_frames::receive(socket, Beside::Descriptors) {
        Ok(Frame::Whole(bytes, given)) => Some((serde_json::from_slice(&bytes).unwrap(), given)),
        Ok(Frame::Broken | Frame::End) | Err(_) => None,
    }
}

/// Says something at a socket of this path.
pub(crate) fn say_at(path: PathBuf, frame: &[u8]) -> Option<Value> {
    say(&connect(path, None).unwrap(), frame, &[]).map(|(answer, _)| answer)
}

/// Memory for a table, or the refusal.
pub(crate) fn memory_as(node: &Node, user: Option<u32>, bytes: usize) -> Result<(String, OwnedFd), Value> {
    let (answer, mut given) = say(&connect(beside(node), user).unwrap(), &ask(bytes), &[]).unwrap();
    match (answer["token"].as_str(), given.pop()) {
        (Some(token), Some(memory)) => Ok((token.to_owned(), memory)),
        _ => Err(answer),
    }
}

fn memory(node: &Node, bytes: usize) -> (String, OwnedFd) {
    memory_as(node, None, bytes).unwrap()
}

fn write(memory: &OwnedFd, bytes: &[u8]) {
    File::from(memory.try_clone().unwrap()).write_all(bytes).unwrap();
}

fn seal(memory: &OwnedFd) {
    rustix::fs::fcntl_add_seals(memory, SealFlags::WRITE | SealFlags::SEAL).unwrap();
}

/// A table of these bytes: its token, and the caller's end of its memory.
pub(crate) fn table_as(node: &Node, user: Option<u32>, bytes: &[u8]) -> (String, OwnedFd) {
    let (token, memory) = memory_as(node, user, bytes.len()).unwrap();
    write(&memory, bytes);
    seal(&memory);
    (token, memory)
}

pub(crate) fn table(node: &Node, bytes: &[u8]) -> String {
    table_as(node, None, bytes).0
}

fn asking(token: &str, code: &str) -> Value {
    json!({"code": code, "tables": [{"name": "t.arrow", "token": token}]})
}

#[track_caller]
fn run(node: &Node, token: &str, code: &str) -> Value {
    node.post(&[], &asking(token, code)).whole().unwrap().expect(200).json()
}

fn held(node: &Node) -> String {
    let figures = node.get("/metrics").text();
    figures.lines().find(|line| line.starts_with("stockade_tables_held ")).unwrap().to_owned()
}

/// Descriptors of a process.
fn descriptors(id: u32) -> usize {
    std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

#[test]
fn code_reads_the_callers_own_memory_by_its_name() {
    let node = Node::start(&[]);
    let bytes: Vec<u8> = (0..3 * MIB).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (token, memory) = table_as(&node, None, &bytes);
    let inode = rustix::fs::fstat(&memory).unwrap().st_ino;
    let code = "
import hashlib, mmap, os
with open('t.arrow', 'rb') as file:
    print(os.fstat(file.fileno()).st_ino, file.tell())
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        print(len(mapped), hashlib.md5(mapped).hexdigest())
print(os.listdir('.'))
open('made', 'w').write('x')
";
    let run = run(&node, &token, code);
    let said = run["stdout"].as_str().unwrap();
    assert!(said.starts_with(&format!("{inode} 0\n{} ", bytes.len())), "the memory itself, from its start: {run}");
    assert!(said.contains("'t.arrow'"), "{said}");
    // The link was there before, and is no output.
    let outputs = &run["outcome"]["report"]["outputs"];
    assert_eq!(outputs["files"].as_array().unwrap().len(), 1, "{outputs}");
    assert!(!outputs.to_string().contains("t.arrow"), "{outputs}");
    assert_eq!(run["outcome"]["report"]["begun"], "cold");
    until("it is let go of", || held(&node).ends_with(" 0"));
}

/// Also where runs have users and cgroups of their own, and warm engines wait.
#[test]
fn a_table_goes_to_a_run_that_has_a_user_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        skipped("a node with users of the host", "only root becomes another user");
        return;
    }
    let node = Node::start(&AS_SERVICE);
    let code = "import os\nprint(len(open('t.arrow', 'rb').read()), os.stat('t.arrow').st_uid)";
    for _ in 0..3 {
        let run = run(&node, &table(&node, &[7; MIB]), code);
        assert_eq!(run["stdout"], format!("{MIB} 65534\n"), "{run}");
        assert_eq!(run["outcome"]["report"]["begun"], "cold");
    }
    assert_eq!(node.run("open('a', 'wb').write(b'x')")["outcome"]["status"], 0);
}

/// Tries what follows on both descriptors that code has of a table, and says what could be done.
pub(crate) const TRIES: &str = "
import ctypes, fcntl, mmap, os
memory = os.open('t.arrow', os.O_RDONLY)
inherited = int(os.readlink('t.arrow').rsplit('/', 1)[1])
def tried(what, act):
    try:
        act()
    except (OSError, ValueError):
        return
    print('done:', what)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def hole(number):
    # FALLOC_FL_PUNCH_HOLE and KEEP_SIZE
    if libc.fallocate(number, 3, ctypes.c_long(0), ctypes.c_long(4096)):
        raise OSError(ctypes.get_errno(), 'fallocate')
def each(*tries):
    for number in (memory, inherited):
        for what, act in tries:
            tried(what, lambda: act(number, f'/proc/self/fd/{number}'))
";

/// What its mode forbids.
pub(crate) const BY_MODE: &str = "
each(
    ('open to write', lambda number, link: os.open(link, os.O_WRONLY)),
    ('open to read and write', lambda number, link: os.open(link, os.O_RDWR)),
    ('open to cut', lambda number, link: os.open(link, os.O_RDONLY | os.O_TRUNC)),
    ('leave a note', lambda number, link: os.setxattr(number, 'user.note', b'x')),
    ('execute it', lambda number, link: os.execv(link, ['x'])),
)
";

/// What would change what is in it, or how much.
pub(crate) const OF_CONTENT: &str = "
each(
    ('write', lambda number, link: os.write(number, b'x')),
    ('write at', lambda number, link: os.pwrite(number, b'x', 0)),
    ('cut', lambda number, link: os.ftruncate(number, 1)),
    ('lengthen', lambda number, link: os.ftruncate(number, 1 << 30)),
    ('make a hole', lambda number, link: hole(number)),
    ('map to write', lambda number, link: mmap.mmap(number, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)),
    ('seal', lambda number, link: fcntl.fcntl(number, 1033, 16)),
    ('unseal', lambda number, link: fcntl.fcntl(number, 1033, 0)),
    ('own it', lambda number, link: os.fchown(number, 0, -1)),
)
at = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, memory, ctypes.c_long(0))
print('protect', libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 3))
print('places', os.lseek(memory, 100, os.SEEK_SET), os.lseek(inherited, 0, os.SEEK_CUR))
";

#[test]
fn code_can_change_nothing_of_what_is_in_a_table() {
    let node = Node::start(&[]);
    let (token, memory) = table_as(&node, None, &[7; MIB]);
    // Where code has the node's own user, the mode is its own to change, which opens nothing.
    let opened = "
os.fchmod(memory, 0o666)
memory = inherited = os.open('t.arrow', os.O_RDWR)
";
    let run = run(&node, &token, &[TRIES, BY_MODE, OF_CONTENT, opened, OF_CONTENT].concat());
    assert_eq!(run["stdout"], "protect -1\nplaces 100 0\nprotect -1\nplaces 100 100\n", "{run}");
    let mut read = vec![0; MIB];
    assert_eq!(rustix::io::pread(&memory, &mut read, 0).unwrap(), MIB);
    assert!(read.iter().all(|byte| *byte == 7));
    assert_eq!(rustix::fs::fstat(&memory).unwrap().st_size, i64::try_from(MIB).unwrap());
}

#[test]
fn code_that_has_a_user_of_its_own_can_do_nothing_to_a_table_but_read_it() {
    if !rustix::process::geteuid().is_root() {
        skipped("a node with users of the host", "only root becomes another user");
        return;
    }
    let node = Node::start(&AS_SERVICE);
    let (token, memory) = table_as(&node, None, &[7; MIB]);
    let before = rustix::fs::fstat(&memory).unwrap();
    let of_inode = "
each(
    ('change its mode', lambda number, link: os.fchmod(number, 0o777)),
    ('date it', lambda number, link: os.utime(number, (1, 1))),
)
";
    let run = run(&node, &token, &[TRIES, BY_MODE, of_inode, OF_CONTENT].concat());
    assert_eq!(run["stdout"], "protect -1\nplaces 100 0\n", "{run}");
    let after = rustix::fs::fstat(&memory).unwrap();
    let told =
        |status: &rustix::fs::Stat| (status.st_mode, status.st_uid, status.st_size, status.st_mtime, status.st_ctime);
    assert_eq!(told(&before), told(&after));
    assert_eq!(rustix::fs::tell(&memory).unwrap(), u64::try_from(MIB).unwrap(), "where the caller is in it is its own");
}

#[test]
fn memory_is_of_the_length_that_was_asked_for_and_counts_from_then_on() {
    let node = Node::start(&["--table-mib", "2"]);
    for (bytes, status) in [(0, 422), (3 * MIB, 413), (usize::MAX, 413)] {
        let refused = memory_as(&node, None, bytes).unwrap_err();
        assert_eq!(refused["status"], status, "{bytes}: {refused}");
        for part in ["title", "detail", "next"] {
            assert!(!refused[part].as_str().unwrap().is_empty(), "{refused}");
        }
    }
    let (token, memory) = memory(&node, 2 * MIB);
    assert_eq!(memory_as(&node, None, 1).unwrap_err()["status"], 429, "though nothing is written yet");
    let status = rustix::fs::fstat(&memory).unwrap();
    assert_eq!((status.st_size, status.st_mode & 0o7777), (2 << 20, 0o444));
    assert!(rustix::fs::ftruncate(&memory, 4 << 20).is_err() && rustix::fs::ftruncate(&memory, 1).is_err());
    if rustix::process::geteuid().is_root() {
        // By root, who may change modes; the node looks at it again.
        rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o777)).ok();
        rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o444)).unwrap();
    }
    write(&memory, &[1; 2 * MIB]);
    seal(&memory);
    assert_eq!(run(&node, &token, "print(1)")["stdout"], "1\n");
    until("there is room again", || memory_as(&node, None, 1).is_ok());
}

#[test]
fn what_is_not_whole_or_not_sealed_is_no_table() {
    let node = Node::start(&[]);
    let refused = |what: &str, token: &str| {
        let answer = node.post(&[], &asking(token, "print('ran')")).whole().unwrap().expect(422).json();
        assert!(!answer["next"].as_str().unwrap().is_empty(), "{what}: {answer}");
        answer["detail"].as_str().unwrap().to_owned()
    };
    let (token, _memory) = memory(&node, MIB);
    assert!(refused("nothing was written", &token).contains("seals"));
    let (token, memory) = memory(&node, MIB);
    write(&memory, &[1; MIB]);
    assert!(refused("not sealed", &token).contains("seals"));
    for partly in [SealFlags::WRITE, SealFlags::SEAL, SealFlags::FUTURE_WRITE | SealFlags::SEAL] {
        let (token, memory) = self::memory(&node, MIB);
        write(&memory, &[1; MIB]);
        rustix::fs::fcntl_add_seals(&memory, partly).unwrap();
        assert!(refused("partly sealed", &token).contains("seals"), "{partly:?}");
    }
    let (token, memory) = self::memory(&node, MIB);
    write(&memory, &[1; 10]);
    seal(&memory);
    assert!(refused("holes", &token).contains("holes"));
    until("all were let go of", || held(&node).ends_with(" 0"));
}

#[test]
fn a_token_is_good_for_one_request_of_its_principal() {
    let node = Node::start(&[]);
    let token = table(&node, &[1; 10]);
    assert_eq!(token.len(), 32);
    let refused = |token: &str| node.post(&[], &asking(token, "1")).whole().unwrap().expect(422).json();
    let unknown = refused("0123456789abcdef0123456789abcdef");
    if rustix::process::geteuid().is_root() {
        let json = [("content-type", "application/json")];
        let body = asking(&token, "print(open('t.arrow').read())").to_string();
        let foreign = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, &body).unwrap().expect(422).json();
        assert_eq!((&foreign["title"], &foreign["detail"]), (&unknown["title"], &unknown["detail"]));
        let (theirs, _memory) = table_as(&node, Some(61_240), &[1; 10]);
        assert_eq!(refused(&theirs)["detail"], unknown["detail"]);
        let body = asking(&theirs, "print(len(open('t.arrow').read()))").to_string();
        let own = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, &body).unwrap().expect(200).json();
        assert_eq!(own["stdout"], "10\n");
    } else {
        skipped("tokens of others", "only root can ask as several users");
    }
    assert_eq!(run(&node, &token, "print(len(open('t.arrow').read()))")["stdout"], "10\n");
    assert_eq!(refused(&token)["detail"], unknown["detail"], "it was used");
    let token = table(&node, &[1; 10]);
    let twice = json!({"code": "1", "tables": [{"name": "a", "token": token}, {"name": "b", "token": token}]});
    node.post(&[], &twice).whole().unwrap().expect(422);
    for name in ["../t.arrow", "main.py", ".t", "a/b", ""] {
        let token = table(&node, &[1; 10]);
        let body = json!({"code": "1", "tables": [{"name": name, "token": token}]});
        node.post(&[], &body).whole().unwrap().expect(422);
    }
    until("all were let go of", || held(&node).ends_with(" 0"));
}

#[test]
fn one_key_is_one_run_whatever_its_tables_are_called_by() {
    let node = Node::start(&[]);
    let key = [("idempotency-key", "k"), ("prefer", "respond-async")];
    let ask = |bytes: &[u8]| {
        let token = table(&node, bytes);
        node.post(&key, &asking(&token, "print(open('t.arrow').read())")).whole().unwrap()
    };
    let first = ask(b"one").expect(202).json();
    assert_eq!(ask(b"one").expect(202).json()["id"], first["id"]);
    ask(b"longer").expect(409);
    assert_eq!(node.until_state(first["id"].as_str().unwrap(), "ended")["stdout"], "one\n");
}

#[test]
fn frames_that_make_no_sense_cost_their_sender_the_connection_and_nobody_else_anything() {
    let node = Node::start(&[]);
    let file = tempfile::tempfile().unwrap();
    let one = file.as_fd();
    let before = descriptors(node.process.id());
    for frame in [
        &b"{}"[..],
        br#"{"ask":"table","bytes":5,"principal":"uid-0@local"}"#,
        br#"{"ask":"table"}"#,
        br#"{"ask":"table","bytes":-5}"#,
        br#"{"ask":"output","bytes":5}"#,
        b"\0\xff\xfe",
        &[b' '; 300],
        &[b'['; 150_000],
    ] {
        for given in [vec![], vec![one], vec![one; 250]] {
            let socket = connect(beside(&node), None).unwrap();
            let answer = say(&socket, frame, &given);
            assert!(answer.as_ref().is_none_or(|(answer, _)| answer["status"] == 422), "{answer:?}");
            assert!(say(&socket, &ask(5), &[]).is_none(), "it is not heard any further");
        }
    }
    // Those who come and go, say half of it, or do not listen.
    for number in 0..100 {
        let Ok(socket) = connect(beside(&node), None) else { continue };
        match number % 3 {
            0 => drop(stockade_frames::send(&socket, b"{\"ask\":", &[one])),
            1 => drop(stockade_frames::send(&socket, &ask(5), &[])),
            _ => {}
        }
    }
    // Nothing that lies beside a frame is taken: the kernel closes it.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let socket = connect(beside(&node), None).unwrap();
    assert!(say(&socket, &ask(5), &[writer.as_fd()]).is_none_or(|(answer, _)| answer["status"] == 422));
    drop(writer);
    assert_eq!(rustix::io::read(&reader, &mut [0; 1]).unwrap(), 0, "nobody holds its other end");
    // Memory that was asked for and never written waits for its time, within its principal's bounds.
    until("nothing else of them is left", || {
        let of_memory = held(&node).rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
        descriptors(node.process.id()) <= before + of_memory + 2
    });
    // Several over one connection, and many connections at once.
    let socket = connect(beside(&node), None).unwrap();
    for _ in 0..3 {
        assert!(say(&socket, &ask(5), &[]).unwrap().0["token"].is_string());
    }
    let silent: Vec<_> = (0..40).map(|_| connect(beside(&node), None)).collect();
    assert_eq!(node.run("print(1)")["stdout"], "1\n", "the API is another socket");
    drop(silent);
    until("it is there for others again", || {
        connect(beside(&node), None).is_ok_and(|socket| say(&socket, &ask(5), &[]).is_some())
    });
}

#[test]
fn two_hundred_tables_leave_nothing_behind() {
    let node = Node::start(&[]);
    run(&node, &table(&node, &[1; 10]), "1");
    let count = || (descriptors(node.process.id()), descriptors(node.launcher()));
    let before = count();
    for number in 0..200 {
        let token = table(&node, &[1; MIB]);
        if number % 10 == 0 {
            assert_eq!(run(&node, &token, "print(len(open('t.arrow', 'rb').read()))")["stdout"], format!("{MIB}\n"));
        } else {
            // Refused for another reason: the token is used all the same.
            let mut body = asking(&token, "1");
            body["limits"] = json!({"time": "100h"});
            node.post(&[], &body).whole().unwrap().expect(422);
        }
    }
    until("every one is let go of", || held(&node).ends_with(" 0"));
    until("nothing is left", || {
        let now = count();
        now.0 <= before.0 + 2 && now.1 <= before.1 + 2
    });
}

/// Says `PUT` of a table for a session.
pub(crate) fn put(node: &Node, session: &str, name: &str, token: &str) -> crate::http::Whole {
    let path = format!("/v1/sessions/{session}/tables/{name}");
    node.ask("PUT", &path, &[], &json!({ "token": token })).whole().unwrap()
}

#[test]
fn a_session_is_given_tables_while_it_is_open_and_lets_go_of_them_at_its_end() {
    let node = Node::start(&[]);
    let session = node.ask("POST", "/v1/sessions", &[], &json!({})).whole().unwrap().expect(201).json();
    let session = session["id"].as_str().unwrap();
    let execute = |code: &str| {
        let path = format!("/v1/sessions/{session}/executions");
        node.ask("POST", &path, &[], &json!({ "code": code })).whole().unwrap().expect(200).json()
    };
    execute("x = 1");
    let (token, memory) = table_as(&node, None, &[7; MIB]);
    let inode = rustix::fs::fstat(&memory).unwrap().st_ino;
    put(&node, session, "t.arrow", &token).expect(204);
    let code = "
import os
print(os.stat('t.arrow').st_ino, len(open('t.arrow', 'rb').read()), x)
number = os.open('t.arrow', os.O_RDONLY)
for act in (lambda: os.open('t.arrow', os.O_RDWR), lambda: os.setxattr(number, 'user.x', b'1')):
    try:
        print('done', act())
    except OSError:
        pass
";
    assert_eq!(execute(code)["stdout"], format!("{inode} {MIB} 1\n"));
    put(&node, session, "t.arrow", &table(&node, &[8; 10])).expect(204);
    assert_eq!(execute("print(open('t.arrow', 'rb').read() == bytes([8] * 10))")["stdout"], "True\n");
    let used = table(&node, &[8; 10]);
    put(&node, session, "u.arrow", &used).expect(204);
    put(&node, session, "u.arrow", &used).expect(422);
    put(&node, session, "..%2Fx", &table(&node, &[8; 10])).expect(422);
    put(&node, "0123456789abcdef", "t.arrow", &table(&node, &[8; 10])).expect(404);
    // A child that inherits its descriptors has them, too.
    let child = "import subprocess, sys
print(subprocess.run([sys.executable, '-c', 'print(len(open(\"t.arrow\", \"rb\").read()))'], close_fds=False, capture_output=True).stdout)";
    assert_eq!(execute(child)["stdout"], "b'10\\n'\n");
    assert_eq!(held(&node), "stockade_tables_held 5", "three of the session, two that nobody may have any more");
    let over = node.send("DELETE", &format!("/v1/sessions/{session}"), &[], b"").whole().unwrap().expect(200).json();
    let outputs = &over["outcome"]["report"]["outputs"];
    assert!(!outputs.to_string().contains(".arrow"), "{outputs}");
    until("they are let go of", || !held(&node).ends_with(" 5"));
}

/// Also one that began in an engine that waited.
#[test]
fn a_warm_session_is_given_tables() {
    if !crate::warm::can_be_warm() {
        return;
    }
    let node = Node::start(&[&AS_SERVICE, crate::warm::WARM.as_slice()].concat());
    let plain = json!({});
    until("a session has a warm engine", || begun(&Session::open(&node, &plain).close()) == "warm");
    let session = Session::open(&node, &plain);
    let (token, memory) = table_as(&node, None, &[7; MIB]);
    put(&node, &session.id, "t.arrow", &token).expect(204);
    let inode = rustix::fs::fstat(&memory).unwrap().st_ino;
    let seen = session.run("import os\nprint(os.stat('t.arrow').st_ino, len(open('t.arrow', 'rb').read()))");
    assert_eq!(seen["stdout"], format!("{inode} {MIB}\n"));
    assert_eq!(begun(&session.close()), "warm");
    // A run with tables is cold, also where an engine waits for it.
    crate::warm::until_warm(&node);
    let cold = run(&node, &table(&node, &[7; MIB]), "print(len(open('t.arrow', 'rb').read()))");
    assert_eq!((&cold["stdout"], begun(&cold)), (&json!(format!("{MIB}\n")), &json!("cold")));
}

#[test]
fn a_run_that_waited_with_a_table_is_told_that_it_went_with_the_node() {
    let mut node = Node::start(&["--runs", "1"]);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    let token = table(&node, &[1; 10]);
    let key = [("idempotency-key", "k"), ("prefer", "respond-async")];
    let waits = node.post(&key, &asking(&token, "print('ran')")).whole().unwrap().expect(202).json();
    let waits = waits["id"].as_str().unwrap();
    let unused = table(&node, &[1; 10]);
    node.kill();
    let node = node.again(&["--runs", "1"]);
    let run = node.until_state(waits, "ended");
    assert_eq!(run["outcome"]["cause"], "refused", "{run}");
    assert!(run["outcome"]["refusal"]["what"].as_str().unwrap().contains("tables"), "{run}");
    assert!(!run.to_string().contains("ran\\n"), "{run}");
    node.post(&[], &asking(&unused, "1")).whole().unwrap().expect(422);
    let token = table(&node, &[1; 10]);
    assert_eq!(self::run(&node, &token, "print(len(open('t.arrow').read()))")["stdout"], "10\n");
}

#[test]
fn a_node_that_takes_no_tables_has_no_socket_for_them() {
    let node = Node::start(&["--table-mib", "0"]);
    assert!(!beside(&node).exists());
    assert!(node.socket().exists());
    let mut node = Node::start(&[]);
    let path = beside(&node);
    assert!(path.exists());
    assert_eq!(node.end(), 0);
    assert!(!path.exists(), "it goes with the node");
}
