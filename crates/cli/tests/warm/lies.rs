//! Templates that crash or lie: what they say is believed for nothing.

use std::time::Duration;

use stockade_core::request::CgroupMode;

use crate::ends::eventually;
use crate::scene::{Scene, made_environment, text};

/// A library that speaks in the template's place.
const LIAR: &str = r#"
import ctypes, os, socket, struct, time
libc = ctypes.CDLL(None)
orders = socket.socket(fileno=os.dup(3))
def say_ready(): orders.send(bytes([3]) + bytes(15))
def next_order():
    frame, descriptors, _, _ = socket.recv_fds(orders, 16, 32)
    if not frame: os._exit(0)
    return dict(zip(frame[1:], descriptors))
def say_sealed(order): os.write(order[10], struct.pack("<BBBBIiI", 6, 0, 0, 0, 0xffffff, 0, 0))
def enter(order):
    for kind in range(1, 8):
        if kind in order and libc.setns(order[kind], 0): os._exit(9)
def drop_capabilities():
    for number in range(64): libc.prctl(24, number, 0, 0, 0)
    libc.syscall(126, struct.pack("II", 0x20080522, 0), bytes(24))
def lie(seal):
    say_ready()
    while True:
        order = next_order()
        if os.fork() == 0:
            enter(order)
            if os.fork() == 0:
                seal(order)
                say_sealed(order)
                time.sleep(60)
            os._exit(0)
        for one in order.values(): os.close(one)
"#;

fn liar(code: &str) -> tempfile::TempDir {
    made_environment(&[("speak", LIAR), ("liar", &format!("from speak import *\n{code}"))])
}

fn is_not_believed(code: &str) {
    let folder = liar(code);
    let mut scene = Scene::start(Some(folder.path()), &["liar"], CgroupMode::Off);
    for _ in 0..2 {
        let engine = scene.engine();
        let why = match engine {
            Ok(engine) => panic!("{code}: believed, with {}", engine.enforced()),
            Err(failure) => failure.to_string(),
        };
        assert!(why.contains("believe the walls of"), "{code}: {why}\n{}", text(scene.template.complaints()));
    }
}

pub fn a_template_that_says_an_engine_is_sealed_is_not_believed() {
    for code in [
        "lie(lambda order: None)",
        "lie(lambda order: (os.setgroups([]), os.setresgid(1000, 1000, 1000)))",
        "lie(lambda order: (os.setgroups([]), os.setresgid(1000, 1000, 1000), libc.prctl(8, 1, 0, 0, 0), os.setresuid(1000, 1000, 1000)))",
        "lie(lambda order: (os.setgroups([]), os.setresgid(1000, 1000, 1000), os.setresuid(1000, 1000, 1000), drop_capabilities()))",
        "lie(lambda order: (os.setgroups([]), os.setresgid(1000, 1000, 1000), libc.prctl(8, 1, 0, 0, 0), os.setresuid(1000, 1000, 1000), drop_capabilities()))",
    ] {
        is_not_believed(code);
    }
}

pub fn a_template_that_passes_itself_off_as_an_engine_is_not_believed() {
    is_not_believed("say_ready()\nwhile True: say_sealed(next_order())");
    // One of its children, in no walls but its own.
    is_not_believed(
        "say_ready()\nwhile True:\n  order = next_order()\n  if os.fork() == 0:\n    say_sealed(order); time.sleep(60)\n  [os.close(one) for one in order.values()]",
    );
    // The walls of another engine, which are still there.
    let folder = liar(
        "say_ready()\nlast = None\nwhile True:\n  order = next_order(); last = last or order\n  if os.fork() == 0:\n    enter(last)\n    if os.fork() == 0: say_sealed(order); time.sleep(60)\n    os._exit(0)",
    );
    let mut scene = Scene::start(Some(folder.path()), &["liar"], CgroupMode::Off);
    let first = scene.template.make_cell().unwrap();
    let first = scene.template.order(first).unwrap();
    let why = scene.engine().unwrap_err().to_string();
    assert!(why.contains("believe the walls of"), "{why}\n{}", text(scene.template.complaints()));
    drop(first);
}

pub fn a_template_that_raves_is_not_believed() {
    for code in [
        "say_ready(); orders.send(b'x' * 16); next_order(); time.sleep(60)",
        "say_ready(); order = next_order(); os.write(order[10], b'x' * 16); time.sleep(60)",
        "say_ready(); order = next_order(); os.write(order[10], b'x'); time.sleep(60)",
        "say_ready(); order = next_order(); os.write(order[10], os.urandom(100_000)); time.sleep(60)",
        "say_ready(); order = next_order(); orders.send(bytes([4]) + bytes(15)); time.sleep(60)",
        "say_ready(); order = next_order(); socket.send_fds(socket.socket(fileno=order[10]), [b'x' * 16], [0, 1, 2]); time.sleep(60)",
        "say_ready(); time.sleep(60)",
        // One that keeps its engine's process from being taken notice of.
        "say_ready(); order = next_order()\nif os.fork() == 0:\n  enter(order)\n  if os.fork() == 0: say_sealed(order)\n  time.sleep(60)\ntime.sleep(60)",
        "say_ready(); next_order(); os.abort()",
        "say_ready(); next_order(); os._exit(0)",
        "say_ready(); order = next_order(); [os.close(one) for one in order.values()]; time.sleep(60)",
    ] {
        let folder = liar(code);
        let mut scene = Scene::start(Some(folder.path()), &["liar"], CgroupMode::Off);
        assert!(scene.engine().is_err(), "{code}");
    }
}

pub fn a_template_that_does_not_start_says_why() {
    for (code, what) in [
        ("raise ImportError('missing piece')", "missing piece"),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "started a thread",
        ),
        ("import os; os._exit(3)", ""),
        ("import os; os.write(3, b'nonsense'); import time; time.sleep(60)", ""),
    ] {
        let folder = made_environment(&[("held", code)]);
        let mut scene = Scene::begin(Some(folder.path()), &["held"], CgroupMode::Off);
        assert!(scene.template.wait_until_ready(Duration::from_secs(30)).is_err(), "{code}");
        eventually(code, || text(scene.template.complaints()).contains(what));
    }
}
