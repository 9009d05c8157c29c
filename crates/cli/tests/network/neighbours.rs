//! Other runs and their gates, and the gate as a process: out of reach.

use std::io::{BufRead, BufReader, Write};

use crate::support::{Call, Over, Ran, User, World, attack, attacking, eventually, in_a_world};

/// A run that serves on its own loopback and waits for a line; what it has been given for its own granted name.
struct Neighbour {
    child: std::process::Child,
    state: stockade_testkit::Folder,
    said: Vec<String>,
}

impl Neighbour {
    fn new(world: &World, user: User, grants: &[&str]) -> Self {
        let code = r#"
listener = socket.create_server(("0.0.0.0", 9999))
abstract = socket.socket(socket.AF_UNIX); abstract.bind("\0neighbour"); abstract.listen()
path = socket.socket(socket.AF_UNIX); path.bind("/tmp/neighbour"); path.listen()
print(socket.gethostbyname("api.example.com"), flush=True)
sys.stdin.readline()
say("body", secure(tunnel("api.example.com:443")[0], "api.example.com"))
for one in (listener, abstract, path):
    one.settimeout(0)
    attempt("visitor", one.accept)
"#;
        let (mut child, state) = attacking(world, user, grants, code).start();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { child, state, said: vec![line.trim().to_owned()] }
    }

    fn ended(mut self) -> Over {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let ran = Ran::from(self.child.wait_with_output().unwrap());
        Over { ran, trail: Call::trail(&self.state) }
    }
}

#[test]
fn one_run_does_not_get_through_what_another_was_granted() {
    in_a_world(|world, user| {
        let neighbour = Neighbour::new(world, user, &["api.example.com"]);
        let made_up = neighbour.said[0].clone();
        assert!(made_up.starts_with("198.18."), "{made_up}");
        let code = format!(
            r#"
say("proxy", connect("api.example.com:443"))
say("socks", socks("api.example.com", 443))
say("name", direct("api.example.com", 443))
say("made up", direct({made_up:?}, 8443))
say("listener", direct({made_up:?}, 9999))
say("loopback", direct("127.0.0.1", 9999))
def unix(name):
    with socket.socket(socket.AF_UNIX) as one: one.connect(name)
attempt("abstract", lambda: unix("\0neighbour"))
attempt("path", lambda: unix("/tmp/neighbour"))
say("listed", len(open("/proc/net/unix").readlines()) - 1)
"#
        );
        let over = attack(world, user, &["other.example.com:8443"], &code);
        let mut said = over.said();
        let expected = [
            ("proxy", "403"),
            ("socks", "2"),
            ("name", "no-such-name"),
            // The address was made up for somebody else; here it is nobody's.
            ("made up", "cut"),
            ("listener", "ECONNREFUSED"),
            ("loopback", "ECONNREFUSED"),
            ("abstract", "ECONNREFUSED"),
            ("path", "ENOENT"),
            ("listed", "0"),
        ];
        for (what, how) in expected {
            assert_eq!(said.remove(what).as_deref(), Some(how), "{what}");
        }
        assert!(over.refusals().iter().any(|(asked, why)| asked == "api.example.com:443" && why == "not-granted"));
        assert_eq!(over.records("opened").len(), 0, "{:#?}", over.trail);
        world.assert_silent();
        // The neighbour was not disturbed, nobody came to it, and its trail is its own.
        let neighbour = neighbour.ended();
        assert_eq!(
            neighbour.ran.stdout.lines().collect::<Vec<_>>(),
            ["body: hello from api.example.com/", "visitor: EAGAIN", "visitor: EAGAIN", "visitor: EAGAIN"],
            "{}",
            neighbour.ran.stderr
        );
        neighbour.assert_nothing_denied();
        neighbour.assert_connected("api.example.com", 443, "tls");
        world.assert_no_strangers();
    });
}

#[test]
fn a_run_without_grants_beside_one_with_some_has_none() {
    in_a_world(|world, user| {
        let neighbour = Neighbour::new(world, user, &["api.example.com"]);
        let code = format!(
            "attempt('proxy', proxy)\nsay('made up', direct({:?}, 443))\nsay('name', direct('api.example.com', 443))\nsay('told', sum(name.lower().endswith('_proxy') and name.lower() != 'no_proxy' for name in os.environ))",
            neighbour.said[0]
        );
        let none: &[&str] = &[];
        let over = attack(world, user, none, &code);
        over.assert_said(&[
            ("proxy", "ECONNREFUSED"),
            ("made up", "ENETUNREACH"),
            ("name", "no-such-name"),
            ("told", "0"),
        ]);
        assert!(over.records("opened").is_empty() && over.ran.report()["network"].is_null());
        world.assert_silent();
        neighbour.ended().assert_nothing_denied();
    });
}

/// Sockets of the machine that the gate could open, asked for by every way of naming one.
#[test]
fn sockets_without_an_address_are_not_reached() {
    in_a_world(|world, user| {
        let folder = stockade_testkit::Folder::new();
        let mark = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let outside = format!(
            "import socket\none = socket.socket(socket.AF_UNIX); one.bind('\\0{mark}'); one.listen()\ntwo = socket.socket(socket.AF_UNIX); two.bind('gate.sock'); two.listen()\nprint('ready', flush=True)\ninput()\nfor listener in (one, two):\n    listener.settimeout(0)\n    try: listener.accept(); print('visited')\n    except BlockingIOError: print('alone')"
        );
        let (mut server, _state) = world.call("python3", user).within(folder.path()).args(["-c", &outside]).start();
        let mut said = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let path = folder.path().join("gate.sock");
        let code = format!(
            r#"
def unix(name):
    with socket.socket(socket.AF_UNIX) as one: one.connect(name)
attempt("abstract", lambda: unix("\0{mark}"))
attempt("path", lambda: unix({path:?}))
for name in ({path:?}, "unix:" + {path:?}, "\0{mark}", "@{mark}"):
    say(repr(name), socks(name, 443))
say("listed", len(open("/proc/net/unix").readlines()) - 1)
"#
        );
        let over = attack(world, user, &["api.example.com"], &code);
        let mut told = over.said();
        assert_eq!(told.remove("abstract").as_deref(), Some("ECONNREFUSED"));
        assert_eq!(told.remove("path").as_deref(), Some("ENOENT"));
        assert_eq!(told.remove("listed").as_deref(), Some("0"));
        assert!(told.len() == 4 && told.values().all(|how| how == "2"), "{told:?}");
        over.assert_reasons(&["bad-host"]);
        server.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut said, &mut rest).unwrap();
        assert_eq!(rest, "alone\nalone\n");
        server.wait().unwrap();
        world.assert_silent();
    });
}

#[test]
fn the_process_of_the_gate_is_neither_seen_nor_reached() {
    in_a_world(|world, user| {
        let code = r#"
print("ready", flush=True)
outside = int(sys.stdin.readline())
say("listed", sum(b"stockade-" b"gate" in open(f"/proc/{one}/cmdline", "rb").read() for one in os.listdir("/proc") if one.isdigit() and os.path.exists(f"/proc/{one}/cmdline")))
attempt("kill", lambda: os.kill(outside, 0))
attempt("memory", lambda: open(f"/proc/{outside}/mem", "rb"))
attempt("descriptors", lambda: os.listdir(f"/proc/{outside}/fd"))
attempt("environment", lambda: open(f"/proc/{outside}/environ", "rb"))
attempt("trace", lambda: call("ptrace", 16, outside, 0, 0))
attempt("read", lambda: call("process_vm_readv", outside, 0, 0, 0, 0, 0))
attempt("open", lambda: call("pidfd_open", outside, 0))
say("init", open("/proc/1/comm").read().strip() if os.path.exists("/proc/1/comm") else "hidden")
"#;
        let (mut child, state) = attacking(world, user, &["api.example.com"], code).start();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let gate = || world.strangers().into_iter().find(|(_, line)| line.contains("stockade-gate"));
        eventually("there is a gate", || gate().is_some());
        let (id, _) = gate().unwrap();
        // What it holds is nobody's to read outside either, but root's.
        let dumpable = std::fs::metadata(format!("/proc/{id}/environ")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&dumpable), 0, "the gate's memory is not its user's to read");
        writeln!(child.stdin.as_mut().unwrap(), "{id}").unwrap();
        let mut stdout = String::new();
        std::io::Read::read_to_string(&mut said, &mut stdout).unwrap();
        let mut ran = Ran::from(child.wait_with_output().unwrap());
        ran.stdout = stdout;
        let over = Over { ran, trail: Call::trail(&state) };
        let mut told = over.said();
        assert_eq!(told.remove("listed").as_deref(), Some("0"), "{:?}", over.ran);
        assert!(told.remove("init").is_some_and(|name| !name.contains("gate")));
        for (what, how) in &told {
            assert!(["ENOENT", "ESRCH", "EPERM", "ENOSYS"].contains(&how.as_str()), "{what}: {how}");
        }
        assert_eq!(told.len(), 7, "{told:?}");
        world.assert_no_strangers();
        world.assert_silent();
    });
}
