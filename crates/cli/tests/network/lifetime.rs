//! What outlives the code, the command and the gate: nothing.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stockade_testkit::{cgroups_left, processes_with};

use crate::support::{Call, User, World, attack, attacking, eventually, granted, in_a_world, text};

fn send(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
}

/// The process of the gate, once there is one.
fn gate(world: &World) -> u32 {
    let found = || world.strangers().into_iter().find(|(_, line)| line.contains("stockade-gate")).map(|(id, _)| id);
    eventually("there is a gate", || found().is_some());
    found().unwrap()
}

#[test]
fn a_connection_that_a_child_keeps_is_cut_with_the_run() {
    in_a_world(|world, user| {
        let code = r#"
stream, how = tunnel("api.example.com:7000")
stream.sendall(b"first"); say("echo", stream.recv(10))
if os.fork() == 0:
    os.setsid()
    for number in signal.valid_signals():
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True:
        time.sleep(0.05); stream.sendall(b"late")
say("left", "yes")
os._exit(0)
"#;
        let over = attack(world, user, &["tcp://api.example.com:7000"], code);
        over.assert_said(&[("echo", "b'first'"), ("left", "yes")]);
        over.assert_connected("api.example.com", 7000, "tcp");
        let heard = world.requests("echo").len();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(world.requests("echo").len(), heard);
    });
}

/// A transfer under way, and the command that carries it.
fn transfer(world: &World, user: User) -> (std::process::Child, stockade_testkit::Folder, String) {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mark = format!("transfer-{}-{number}", std::process::id());
    let command = format!("echo ready; curl -sS --cacert ca.pem https://api.example.com/slow > slow; echo {mark} $?");
    let call = granted(world, user, &["api.example.com"]).args(["--", "sh", "-c", &command]);
    let (mut child, state) = call.start();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    eventually("the transfer has begun", || world.requests("https").contains(&"GET /slow".to_owned()));
    (child, state, mark)
}

#[test]
fn nothing_is_left_when_the_command_is_killed_in_the_middle_of_a_transfer() {
    in_a_world(|world, user| {
        let (mut child, state, mark) = transfer(world, user);
        let gate = gate(world);
        send(child.id(), Signal::KILL);
        child.wait().unwrap();
        world.assert_no_strangers();
        eventually("the sandbox is gone", || processes_with(&mark).is_empty());
        eventually("the gate is gone", || {
            // Without a parent it may stay in the table for a moment.
            let state = std::fs::read_to_string(format!("/proc/{gate}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
        eventually("the server sees the end", || world.requests("https").contains(&"cut".to_owned()));
        // Its lines are whole, and its beginning is on record.
        let trail = Call::trail(&state);
        assert!(trail.iter().any(|record| record["record"] == "network" && record["event"] == "opened"), "{trail:#?}");
        // What it left of a control group goes with the next run.
        attack(world, user, &["api.example.com"], "pass");
        let id = trail[0]["run"].as_str().unwrap();
        assert!(!cgroups_left().iter().any(|group| group.contains(id)));
    });
}

#[test]
fn the_run_goes_on_without_network_when_the_gate_is_killed() {
    in_a_world(|world, user| {
        let (child, _state, mark) = transfer(world, user);
        send(gate(world), Signal::KILL);
        let began = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // The code saw its connection break; that there is no report of the network is said.
        let said = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(&format!("{mark} 0")), "{said}");
        assert!(stderr.contains("gate"), "{stderr}");
        world.assert_no_strangers();
    });
}

#[test]
fn a_gate_that_hangs_does_not_hang_the_run() {
    in_a_world(|world, user| {
        let (mut child, _state, mark) = transfer(world, user);
        send(gate(world), Signal::STOP);
        // The code is told to end, and the gate does not answer.
        send(child.id(), Signal::TERM);
        let began = Instant::now();
        eventually("it has ended", || {
            assert!(began.elapsed() < Duration::from_secs(60));
            child.try_wait().unwrap().is_some()
        });
        world.assert_no_strangers();
        assert_eq!(processes_with(&mark), Vec::<u32>::new());
    });
}

#[test]
fn a_limit_that_ends_a_run_ends_its_transfers() {
    in_a_world(|world, user| {
        let authority = world.authority();
        let call = world.call(crate::support::STOCKADE, user).args(["run", "--json", "--in", text(&authority)]);
        let call = call.args(["--net", "api.example.com", "--limit", "time=2s", "--"]);
        let over = crate::support::Over::of(
            world,
            call.args(["curl", "-sS", "--cacert", "ca.pem", "-o", "slow", "https://api.example.com/slow"]),
        );
        assert_eq!(over.ran.status, 124, "{}", over.ran.stderr);
        over.assert_connected("api.example.com", 443, "tls");
        eventually("the server sees the end", || world.requests("https").contains(&"cut".to_owned()));
    });
}

#[test]
fn an_interrupt_ends_the_transfer_and_the_gate_with_the_code() {
    in_a_world(|world, user| {
        let call = attacking(
            world,
            user,
            &["tcp://api.example.com:7000"],
            "stream = tunnel('api.example.com:7000')[0]\nprint('ready', flush=True)\ntime.sleep(600)",
        );
        let (mut child, _state) = call.start();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        send(child.id(), Signal::INT);
        eventually("it has ended", || child.try_wait().unwrap().is_some());
        world.assert_no_strangers();
    });
}
