//! `stockade admin`, `login` and `logout` over TLS: whom they ask, what they tell whom, and what they keep.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use stockade_testkit::{Call, Folder, Ran, User, call};

use crate::support::{Node, command};
use crate::tls::Served;

/// Somebody at a command line of his own.
struct Desk {
    state: Folder,
}

impl Desk {
    fn new() -> Self {
        Self { state: Folder::new() }
    }

    fn call(&self, words: &[&str]) -> Call {
        let call = call(command().to_str().unwrap(), User::Caller).env("STOCKADE_STATE_DIR", self.state.path());
        call.args(words)
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.call(words).run()
    }

    /// `stockade admin` as ann, who types her password.
    fn ann(&self, globals: &[&str], words: &[&str]) -> Ran {
        let all = [&["admin"], globals, &["--username=ann", "--password-stdin"], words].concat();
        self.call(&all).input("correct horse\n").run()
    }

    fn file(&self, node: &Served) -> PathBuf {
        self.state.path().join(format!("logins/{}.json", node.at))
    }
}

fn host(node: &Served) -> String {
    format!("--hostname={}", node.at)
}

fn authority(node: &Served) -> String {
    format!("--cafile={}", node.node.folder.join("tls/certificate.pem").display())
}

fn fingerprint(node: &Served) -> String {
    let shown = shown(&node.node, "node/display", &json!({}));
    let column = shown["columns"].as_array().unwrap().iter().position(|name| name == "Certificate SHA-256").unwrap();
    format!("--fingerprint={}", shown["rows"][0][column].as_str().unwrap())
}

fn shown(node: &Node, command: &str, parameters: &Value) -> Value {
    let path = format!("/v1/admin/commands/{command}");
    node.ask("POST", &path, &[], &json!({ "parameters": parameters })).whole().unwrap().expect(200).json()
}

/// How many authentications the trail of a node has.
fn authentications(node: &Served) -> usize {
    let shown = shown(&node.node, "audit/display", &json!({ "most": "1000" }));
    shown["rows"].to_string().matches("authentication").count()
}

#[test]
fn a_command_is_asked_over_tls_with_a_password_that_is_no_word() {
    let (node, desk) = (Served::start(&["--service-name", "A.X"]), Desk::new());
    let globals = [host(&node), authority(&node)];
    let globals: Vec<&str> = globals.iter().map(String::as_str).collect();
    let said = desk.ann(&globals, &["--columns=state", "display", "node"]).expect(0);
    assert_eq!(said.stdout, "[A.X] State = running\n");
    let pinned = [host(&node), fingerprint(&node)];
    let said = desk.ann(&[&pinned[0], &pinned[1]], &["--columns=state", "display", "node"]).expect(0);
    assert_eq!(said.stdout, "[A.X] State = running\n");
    // The caller's secret is the first line, the command's the second.
    let words = [&["admin"], &globals[..], &["--username=ann", "--password-stdin"]].concat();
    let add = [&words[..], &["add", "user", "--username=eve", "--password-stdin", "--roles=user"]].concat();
    drop(desk.call(&add).input("correct horse\ntwelve horses\n").run().expect(0));
    let eve = [&["admin"], &globals[..], &["--username=eve", "--password-stdin", "display", "node"]].concat();
    let denied = desk.call(&eve).input("twelve horses\n").run().expect(4);
    assert!(denied.stderr.contains("AdminRunCommand"), "{denied:?}");
    // Each log-in was ended again: the node has no session left.
    let wrong = desk.call(&[&words[..], &["display", "node"]].concat()).input("wrong\n").run().expect(3);
    assert!(wrong.stderr.contains("not admitted"), "{wrong:?}");
    let word = [&["admin"], &globals[..], &["--username=ann", "--password=correct horse", "display", "node"]].concat();
    let refused = desk.run(&word).expect(2);
    assert!(refused.stderr.contains("--password-stdin"), "{refused:?}");
    let insist = [&["admin", "--insecure-argv"], &word[1..]].concat();
    drop(desk.run(&insist).expect(0));
}

#[test]
fn nothing_is_told_to_a_node_that_is_not_the_one_that_is_meant() {
    let (meant, other, desk) = (Served::start(&[]), Served::start(&[]), Desk::new());
    let before = authentications(&other);
    let (at, pin, ca) = (host(&other), fingerprint(&meant), authority(&meant));
    for (globals, why) in [
        (vec![at.as_str(), &pin], "another SHA-256"),
        (vec![at.as_str(), &ca], "nobody who is trusted here vouches"),
        (vec![at.as_str()], "nobody who is trusted here vouches"),
    ] {
        let refused = desk.ann(&globals, &["display", "node"]).expect(5);
        assert!(refused.stderr.contains(why) && refused.stderr.contains("told nothing"), "{refused:?}");
    }
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = format!("--hostname={}", plain.local_addr().unwrap());
    let said = std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        let mut bytes = [0; 4096];
        let count = std::io::Read::read(&mut stream, &mut bytes).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        bytes[..count].to_vec()
    });
    drop(desk.ann(&[&open, &pin], &["display", "node"]).expect(5));
    let said = said.join().unwrap();
    assert_eq!(said.first(), Some(&0x16), "a hand-shake, and nothing in clear");
    assert_eq!(authentications(&other), before);
    let nobody = desk.ann(&["--hostname=127.0.0.1:1", &pin], &["display", "node"]).expect(5);
    assert!(nobody.stderr.contains("no node answers at 127.0.0.1:1"), "{nobody:?}");
}

#[test]
fn several_nodes_are_asked_with_one_password_and_each_answers_under_its_name() {
    let nodes = [Served::start(&["--service-name", "A.X"]), Served::start(&["--service-name", "B.X"])];
    let desk = Desk::new();
    let globals: Vec<String> = nodes.iter().flat_map(|node| [host(node), fingerprint(node)]).collect();
    let globals: Vec<&str> = globals.iter().map(String::as_str).collect();
    let said = desk.ann(&globals, &["--columns=state", "--servicename=X", "display", "node"]).expect(0);
    assert!(said.stdout.contains("[A.X] State = running") && said.stdout.contains("[B.X] State = running"), "{said:?}");
    let partly = desk.ann(&globals, &["--servicename=A.X", "display", "node"]).expect(6);
    assert!(partly.stderr.contains(&format!("{}: the node is not `A.X`", nodes[1].at)), "{partly:?}");
}

#[test]
fn a_login_is_kept_for_its_owner_alone_and_ends_with_a_logout() {
    let (node, desk) = (Served::start(&["--service-name", "A.X"]), Desk::new());
    let at = node.at.to_string();
    let show = ["admin", &host(&node), "--columns=state", "display", "node"];
    let refused = desk.run(&show).expect(3);
    assert!(refused.stderr.contains("stockade login"), "{refused:?}");

    let words = ["login", "--username=ann", &fingerprint(&node), "--password-stdin", &at];
    let said = desk.call(&words).input("correct horse\n").run().expect(0);
    assert_eq!(said.stdout, format!("logged in at {at} as ann@acme, for 12 h\n"));
    let file = desk.file(&node);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("correct horse"));
    // How the node is known was kept with it.
    assert_eq!(desk.run(&show).expect(0).stdout, "[A.X] State = running\n");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = desk.run(&show).expect(3);
    assert!(refused.stderr.contains("others may read"), "{refused:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();

    // A token whose time is over is made anew, once for all commands that want one.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let first = kept["token"].clone();
    kept["ends_ms"] = json!(0);
    std::fs::write(&file, kept.to_string()).unwrap();
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let running = [(); 3].map(|()| scope.spawn(|| desk.run(&show)));
        running.map(|one| one.join().unwrap()).into()
    });
    assert!(ran.iter().all(|ran| ran.status == 0), "{ran:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_ne!(kept["token"], first);

    assert_eq!(desk.run(&["logout", &at]).expect(0).stdout, format!("logged out at {at}\n"));
    assert!(!file.exists());
    // The token is of no use any more, whoever has kept it.
    std::fs::write(&file, kept.to_string()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    drop(desk.run(&show).expect(3));
}

#[test]
fn a_logout_forgets_what_was_kept_whatever_the_node_says() {
    let (node, desk) = (Served::start(&[]), Desk::new());
    let (at, file) = (node.at.to_string(), desk.file(&node));
    let words = ["login", "--username=ann", &fingerprint(&node), "--password-stdin", &at];
    drop(desk.call(&words).input("correct horse\n").run().expect(0));
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    kept["ends_ms"] = json!(0);
    std::fs::write(&file, kept.to_string()).unwrap();
    drop(node);
    let said = desk.run(&["logout", &at]).expect(0);
    assert!(said.stdout.contains("could not be told"), "{said:?}");
    assert!(!file.exists());
    drop(desk.run(&["logout", &at]).expect(125));
}

#[test]
fn another_certificate_is_shown_without_a_restart() {
    let (node, other, desk) = (Served::start(&[]), Served::start(&[]), Desk::new());
    let (before, after, at) = (fingerprint(&node), fingerprint(&other), host(&node));
    let tls = other.node.folder.join("tls");
    let file = |flag: &str, name: &str| format!("--{flag}={}", tls.join(name).display());
    let socket = format!("--socket={}", node.node.socket().display());
    let (certificate, key) = (file("certificate", "certificate.pem"), file("key-file", "key.pem"));
    let replace = ["admin", &socket, "replace", "certificate", &certificate];
    let foreign = format!("--key-file={}", node.node.folder.join("tls/key.pem").display());
    let refused = desk.run(&[&replace[..], &[foreign.as_str()]].concat()).expect(1);
    assert!(refused.stderr.contains("cannot be shown"), "{refused:?}");
    drop(desk.ann(&[&at, &before], &["display", "node"]).expect(0));
    let said = desk.run(&[&replace[..], &[key.as_str()]].concat()).expect(0);
    assert!(said.stdout.contains(after.trim_start_matches("--fingerprint=")), "{said:?}");
    drop(desk.ann(&[&at, &after], &["display", "node"]).expect(0));
    drop(desk.ann(&[&at, &before], &["display", "node"]).expect(5));
    let trail = shown(&node.node, "audit/display", &json!({ "most": "1000" })).to_string();
    assert!(trail.contains("replace") && !trail.contains("PRIVATE"), "{trail}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    let desk = Desk::new();
    for (words, part) in [
        (&["--username=ann", "--password-stdin", "display", "node"][..], "the kernel says who asks"),
        (&["--hostname=a b", "display", "node"], "neither a name nor an address"),
        (&["--hostname=node:0", "display", "node"], "no port"),
        (&["--hostname=node", "--fingerprint=ab", "display", "node"], "64 hexadecimal digits"),
        (&["--hostname=node", "--cafile=/dev/null", "display", "node"], "cannot be used"),
        (&["--adminport=70000", "display", "node"], "1 to 65535"),
        (&["--password-stdin", "display", "node"], "whose password"),
        (&["--timeout=0", "display", "node"], "1 to 3600"),
    ] {
        let refused = desk.call(&[&["admin"], words].concat()).input("x\n").run();
        assert!(refused.status != 0 && refused.stderr.contains(part), "{words:?}: {refused:?}");
    }
}
