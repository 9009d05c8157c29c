//! Tables by descriptor: what is taken for one, from whom, how long it is kept, and what code can do with it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};
use stockade_frames::{Beside, Frame};
use stockade_testkit::skipped;

use crate::support::{AS_SERVICE, Node, until};
use crate::tenancy::as_user;

const ASK: &[u8] = br#"{"ask":"table"}"#;
const ALL: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);
const MIB: usize = 1 << 20;

/// Memory of these bytes, as a table is but for its seals.
fn memory(bytes: &[u8]) -> OwnedFd {
    let memory = rustix::fs::memfd_create("table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    File::from(memory.try_clone().unwrap()).write_all(bytes).unwrap();
    rustix::fs::fchmod(&memory, Mode::from_raw_mode(0o444)).unwrap();
    memory
}

fn table(bytes: &[u8]) -> OwnedFd {
    let memory = memory(bytes);
    rustix::fs::fcntl_add_seals(&memory, ALL).unwrap();
    memory
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

/// Says something and hears the answer; none when the node says nothing.
fn say(socket: &OwnedFd, frame: &[u8], given: &[BorrowedFd<'_>]) -> Option<Value> {
    stockade_frames::send(socket, frame, given).ok()?;
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).unwrap();
    match stockade_frames::receive(socket, Beside::Nothing) {
        Ok(Frame::Whole(bytes, _)) => Some(serde_json::from_slice(&bytes).unwrap()),
        Ok(Frame::Broken | Frame::End) | Err(_) => None,
    }
}

/// Says something at a socket of this path.
pub(crate) fn say_at(path: PathBuf, frame: &[u8]) -> Option<Value> {
    say(&connect(path, None).unwrap(), frame, &[])
}

fn hand_over_as(node: &Node, user: Option<u32>, given: impl AsFd) -> Value {
    say(&connect(beside(node), user).unwrap(), ASK, &[given.as_fd()]).unwrap()
}

fn hand_over(node: &Node, given: impl AsFd) -> String {
    let answer = hand_over_as(node, None, given);
    answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
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
    let table = table(&bytes);
    let inode = rustix::fs::fstat(&table).unwrap().st_ino;
    let code = "
import hashlib, mmap, os
with open('t.arrow', 'rb') as file:
    print(os.fstat(file.fileno()).st_ino, file.tell())
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        print(len(mapped), hashlib.md5(mapped).hexdigest())
print(os.listdir('.'))
open('made', 'w').write('x')
";
    let run = run(&node, &hand_over(&node, &table), code);
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
        let run = run(&node, &hand_over(&node, table(&[7; MIB])), code);
        assert_eq!(run["stdout"], format!("{MIB} 65534\n"), "{run}");
        assert_eq!(run["outcome"]["report"]["begun"], "cold");
    }
    let memory = node.run("open('a', 'wb').write(b'x')");
    assert_eq!(memory["outcome"]["status"], 0);
}

#[test]
fn code_can_do_nothing_to_a_table_but_read_it() {
    let node = Node::start(&[]);
    let table = table(&[7; MIB]);
    let before = rustix::fs::fstat(&table).unwrap();
    let code = "
import ctypes, fcntl, mmap, os
memory = os.open('t.arrow', os.O_RDONLY)
inherited = int(os.readlink('t.arrow').rsplit('/', 1)[1])
def tried(what, act):
    try:
        act()
    except (OSError, ValueError, PermissionError):
        return
    print('done:', what)
for number in (memory, inherited):
    link = f'/proc/self/fd/{number}'
    tried('open to write', lambda: os.open(link, os.O_WRONLY))
    tried('open to read and write', lambda: os.open(link, os.O_RDWR))
    tried('open to cut', lambda: os.open(link, os.O_RDONLY | os.O_TRUNC))
    tried('write', lambda: os.write(number, b'x'))
    tried('write at', lambda: os.pwrite(number, b'x', 0))
    tried('cut', lambda: os.ftruncate(number, 1))
    tried('lengthen', lambda: os.ftruncate(number, 1 << 30))
    tried('make a hole', lambda: os.posix_fallocate(number, 0, 4096))
    tried('map to write', lambda: mmap.mmap(number, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE))
    tried('seal', lambda: fcntl.fcntl(number, 1033, 16))
    tried('unseal', lambda: fcntl.fcntl(number, 1033, 0))
    tried('change its mode', lambda: os.fchmod(number, 0o777))
    tried('own it', lambda: os.fchown(number, os.getuid(), -1))
    tried('date it', lambda: os.utime(number, (1, 1)))
    tried('leave a note', lambda: os.setxattr(number, 'user.note', b'x'))
    tried('execute it', lambda: os.execv(link, ['x']))
libc = ctypes.CDLL(None, use_errno=True)
mapped = mmap.mmap(memory, 0, prot=mmap.PROT_READ)
libc.mmap.restype = ctypes.c_void_p
at = libc.mmap(None, ctypes.c_size_t(4096), 1, 1, memory, ctypes.c_long(0))
print('protect', libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 3))
print('places', os.lseek(memory, 100, os.SEEK_SET), os.lseek(inherited, 0, os.SEEK_CUR))
os.unlink('t.arrow')
print(len(os.read(memory, 10)))
";
    let run = run(&node, &hand_over(&node, &table), code);
    assert_eq!(run["stdout"], "protect -1\nplaces 100 0\n10\n", "{run}");
    let after = rustix::fs::fstat(&table).unwrap();
    let told =
        |status: &rustix::fs::Stat| (status.st_mode, status.st_uid, status.st_size, status.st_mtime, status.st_ctime);
    assert_eq!(told(&before), told(&after));
    let own = rustix::fs::tell(&table).unwrap();
    assert_eq!(own, u64::try_from(MIB).unwrap(), "where the caller is in it is the caller's");
}

#[test]
fn what_is_no_whole_sealed_memory_is_refused() {
    let node = Node::start(&["--table-mib", "2"]);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let open = |path: &str| OwnedFd::from(File::open(path).unwrap());
    let with_mode = |mode| {
        let memory = memory(&[1; 10]);
        rustix::fs::fchmod(&memory, Mode::from_raw_mode(mode)).unwrap();
        rustix::fs::fcntl_add_seals(&memory, ALL).unwrap();
        memory
    };
    let sparse = memory(b"ARROW1");
    rustix::fs::ftruncate(&sparse, 1 << 20).unwrap();
    rustix::fs::fcntl_add_seals(&sparse, ALL).unwrap();
    let mut strange = vec![
        ("a file of disk", tempfile::tempfile().unwrap().into(), 422),
        ("a pipe", reader, 422),
        ("its other end", writer, 422),
        ("a socket", socket.into(), 422),
        ("a device", open("/dev/zero"), 422),
        ("memory of a process", open("/proc/self/mem"), 422),
        ("a folder", open("/"), 422),
        ("unsealed memory", memory(&[1; 10]), 422),
        ("memory that others may write", with_mode(0o777), 422),
        ("memory that can be executed", with_mode(0o555), 422),
        ("no bytes", table(b""), 422),
        ("holes", sparse, 422),
        ("too much", table(&[1; 3 * MIB]), 413),
    ];
    for left_out in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
        let partly = memory(&[1; 10]);
        rustix::fs::fcntl_add_seals(&partly, ALL - left_out).unwrap();
        strange.push(("partly sealed memory", partly, 422));
    }
    for (what, given, status) in strange {
        let answer = hand_over_as(&node, None, given);
        assert_eq!(answer["status"], status, "{what}: {answer}");
        for part in ["title", "detail", "next"] {
            assert!(!answer[part].as_str().unwrap().is_empty(), "{what}: {answer}");
        }
    }
    // As much as one may have, and then no more until it is used.
    let token = hand_over(&node, table(&[1; 2 * MIB]));
    assert_eq!(hand_over_as(&node, None, table(&[1]))["status"], 429);
    assert_eq!(run(&node, &token, "print(1)")["stdout"], "1\n");
    until("there is room again", || hand_over_as(&node, None, table(&[1]))["token"].is_string());
}

#[test]
fn a_token_is_good_for_one_request_of_its_principal() {
    let node = Node::start(&[]);
    let token = hand_over(&node, table(&[1; 10]));
    assert_eq!(token.len(), 32);
    let refused = |token: &str| node.post(&[], &asking(token, "1")).whole().unwrap().expect(422).json();
    let unknown = refused("0123456789abcdef0123456789abcdef");
    if rustix::process::geteuid().is_root() {
        let json = [("content-type", "application/json")];
        let body = asking(&token, "print(open('t.arrow').read())").to_string();
        let foreign = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, &body).unwrap().expect(422).json();
        assert_eq!((&foreign["title"], &foreign["detail"]), (&unknown["title"], &unknown["detail"]));
        let theirs = hand_over_as(&node, Some(61_240), table(&[1; 10]));
        let theirs = theirs["token"].as_str().unwrap();
        assert_eq!(refused(theirs)["detail"], unknown["detail"]);
        let body = asking(theirs, "print(len(open('t.arrow').read()))").to_string();
        let own = as_user(node.socket(), 61_240, "POST", "/v1/runs", &json, &body).unwrap().expect(200).json();
        assert_eq!(own["stdout"], "10\n");
    } else {
        skipped("tokens of others", "only root can ask as several users");
    }
    assert_eq!(run(&node, &token, "print(len(open('t.arrow').read()))")["stdout"], "10\n");
    assert_eq!(refused(&token)["detail"], unknown["detail"], "it was used");
    let token = hand_over(&node, table(&[1; 10]));
    let twice = json!({"code": "1", "tables": [{"name": "a", "token": token}, {"name": "b", "token": token}]});
    node.post(&[], &twice).whole().unwrap().expect(422);
    for name in ["../t.arrow", "main.py", ".t", "a/b", ""] {
        let token = hand_over(&node, table(&[1; 10]));
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
        let token = hand_over(&node, table(bytes));
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
    let (one, two) = (table(&[1; 10]), table(&[2; 10]));
    let before = descriptors(node.process.id());
    for (frame, given) in [
        (&b"{}"[..], vec![one.as_fd()]),
        (br#"{"ask":"table","principal":"uid-0@local"}"#, vec![one.as_fd()]),
        (br#"{"ask":"output"}"#, vec![one.as_fd()]),
        (b"\0\xff\xfe", vec![]),
        (ASK, vec![]),
        (ASK, vec![one.as_fd(), two.as_fd()]),
        (ASK, vec![one.as_fd(); 250]),
        (&[b' '; 300], vec![one.as_fd()]),
        (&[b'['; 150_000], vec![one.as_fd()]),
    ] {
        let socket = connect(beside(&node), None).unwrap();
        let answer = say(&socket, frame, &given);
        assert!(answer.as_ref().is_none_or(|answer| answer["status"] == 422), "{answer:?}");
        assert!(say(&socket, ASK, &[one.as_fd()]).is_none(), "it is not heard any further");
    }
    // Those who come and go, say half of it, or do not listen.
    for number in 0..100 {
        let Ok(socket) = connect(beside(&node), None) else { continue };
        if number % 2 == 0 {
            drop(stockade_frames::send(&socket, b"{\"ask\":", &[one.as_fd()]));
        }
    }
    until("nothing of them is left", || descriptors(node.process.id()) <= before + 2);
    // Several over one connection, and many connections at once.
    let socket = connect(beside(&node), None).unwrap();
    for _ in 0..3 {
        assert!(say(&socket, ASK, &[one.as_fd()]).unwrap()["token"].is_string());
    }
    let silent: Vec<_> = (0..40).map(|_| connect(beside(&node), None)).collect();
    assert_eq!(node.run("print(1)")["stdout"], "1\n", "the API is another socket");
    drop(silent);
    until("it is there for others again", || {
        connect(beside(&node), None).is_ok_and(|socket| say(&socket, ASK, &[two.as_fd()]).is_some())
    });
}

#[test]
fn two_hundred_tables_leave_nothing_behind() {
    let node = Node::start(&[]);
    run(&node, &hand_over(&node, table(&[1; 10])), "1");
    let count = || (descriptors(node.process.id()), descriptors(node.launcher()));
    let before = count();
    for number in 0..200 {
        let token = hand_over(&node, table(&[1; MIB]));
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
fn put(node: &Node, session: &str, name: &str, token: &str) -> crate::http::Whole {
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
    let table = table(&[7; MIB]);
    let inode = rustix::fs::fstat(&table).unwrap().st_ino;
    put(&node, session, "t.arrow", &hand_over(&node, &table)).expect(204);
    let code = "
import os
print(os.stat('t.arrow').st_ino, len(open('t.arrow', 'rb').read()), x)
number = os.open('t.arrow', os.O_RDONLY)
for act in (lambda: os.open('t.arrow', os.O_RDWR), lambda: os.setxattr(number, 'user.x', b'1'), lambda: os.fchmod(number, 0o777)):
    try:
        print('done', act())
    except OSError:
        pass
";
    assert_eq!(execute(code)["stdout"], format!("{inode} {MIB} 1\n"));
    put(&node, session, "t.arrow", &hand_over(&node, self::table(&[8; 10]))).expect(204);
    assert_eq!(execute("print(open('t.arrow', 'rb').read() == bytes([8] * 10))")["stdout"], "True\n");
    let used = hand_over(&node, self::table(&[8; 10]));
    put(&node, session, "u.arrow", &used).expect(204);
    put(&node, session, "u.arrow", &used).expect(422);
    put(&node, session, "..%2Fx", &hand_over(&node, self::table(&[8; 10]))).expect(422);
    put(&node, "0123456789abcdef", "t.arrow", &hand_over(&node, self::table(&[8; 10]))).expect(404);
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

#[test]
fn a_run_that_waited_with_a_table_is_told_that_it_went_with_the_node() {
    let mut node = Node::start(&["--runs", "1"]);
    let first = node.submit("import time; time.sleep(1000)");
    node.until_state(&first, "running");
    let token = hand_over(&node, table(&[1; 10]));
    let key = [("idempotency-key", "k"), ("prefer", "respond-async")];
    let waits = node.post(&key, &asking(&token, "print('ran')")).whole().unwrap().expect(202).json();
    let waits = waits["id"].as_str().unwrap();
    let unused = hand_over(&node, table(&[1; 10]));
    node.kill();
    let node = node.again(&["--runs", "1"]);
    let run = node.until_state(waits, "ended");
    assert_eq!(run["outcome"]["cause"], "refused", "{run}");
    assert!(run["outcome"]["refusal"]["what"].as_str().unwrap().contains("tables"), "{run}");
    assert!(!run.to_string().contains("ran\\n"), "{run}");
    node.post(&[], &asking(&unused, "1")).whole().unwrap().expect(422);
    let token = hand_over(&node, table(&[1; 10]));
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
