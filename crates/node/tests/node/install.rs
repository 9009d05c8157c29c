//! Installation, and the node as a service manager starts it. There is none here: the tests play its part.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use stockade_testkit::{Folder, Ran, User, call, skipped};

use crate::http;
use crate::machine::Machine;
use crate::support::{NODE, PATIENCE, alive, command, open_folder, signal, until};

const ORDINARY: u32 = 61_234;
const PLAIN_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn install(words: &[&str]) -> Ran {
    command();
    call(NODE, User::Caller).arg("install").args(words).run()
}

fn installed(prefix: &Folder, more: &[&str]) -> Ran {
    let mut words = vec!["--prefix", prefix.path().to_str().unwrap()];
    words.extend(more);
    install(&words)
}

/// A folder of whoever runs the tests: root writes into no other.
fn own_folder() -> Folder {
    let folder = Folder::new();
    rustix::fs::chown(folder.path(), Some(rustix::process::geteuid()), None).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn unit(prefix: &Folder, name: &str) -> String {
    prefix.read(&format!("etc/systemd/system/{name}"))
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let prefix = own_folder();
    drop(installed(&prefix, &["--", "--policy", "/etc/stockade/a b%.conf"]).expect(0));
    let service = unit(&prefix, "stockade-node.service");
    assert!(service.contains("--policy \"/etc/stockade/a b%%.conf\""), "{service}");
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        skipped("the units, by systemd itself", "systemd-analyze is not installed");
        return;
    }
    let units = prefix.path().join("etc/systemd/system");
    let verify = || {
        call("systemd-analyze", User::Caller)
            .within(&units)
            .args(["verify", "./stockade-node.service", "./stockade-node.socket"])
            .run()
    };
    let said = verify();
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
    // It does find what is wrong.
    std::fs::write(units.join("stockade-node.service"), service.replace("KillMode=mixed", "KilMode=mixed")).unwrap();
    assert!(verify().stderr.contains("KilMode"));
}

#[test]
fn a_dry_run_shows_everything_and_does_nothing() {
    let prefix = own_folder();
    let ran = installed(&prefix, &["--dry-run"]).expect(0);
    for shown in [
        "useradd --system",
        "/var/lib/stockade",
        "Delegate=yes",
        "ListenStream=/run/stockade/node.sock",
        "ListenSequentialPacket=/run/stockade/node.sock.tables",
    ] {
        assert!(ran.stdout.contains(shown), "{}", ran.stdout);
    }
    assert_eq!(std::fs::read_dir(prefix.path()).unwrap().count(), 0);
}

#[test]
fn installing_again_changes_nothing_and_what_is_not_ours_stays() {
    let prefix = own_folder();
    drop(installed(&prefix, &[]).expect(0));
    let folder = std::fs::metadata(prefix.path().join("var/lib/stockade")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    let again = installed(&prefix, &[]).expect(0);
    assert!(again.stdout.contains("is there already: "), "{}", again.stdout);
    let path = prefix.path().join("etc/systemd/system/stockade-node.service");
    std::fs::write(&path, "[Service]\nExecStart=/bin/true\n").unwrap();
    let refused = installed(&prefix, &[]).expect(125);
    assert!(refused.stderr.contains("is somebody else's"), "{}", refused.stderr);
    assert!(std::fs::read_to_string(&path).unwrap().contains("/bin/true"));
}

#[test]
fn nothing_of_a_flag_becomes_another_line_of_a_unit() {
    for words in [
        &["--user", "a\nExecStartPre=/bin/sh"][..],
        &["--user", "root"],
        &["--folder", "/a\nb"],
        &["--folder", "/a b"],
        &["--folder", "/srv/%h"],
        &["--socket", "relative"],
        &["--socket", "/run/a\" b"],
        &["--programs", "/opt/$HOME"],
        &["--", "--policy\nExecStartPre=/bin/sh"],
        // What the unit says already, and what would not hold in it.
        &["--", "--drain", "90"],
        &["--", "--run-as", "root"],
        &["--", "--socket", "/tmp/s"],
        &["--", "--log-dir", "/var/log/stockade"],
        &["--", "--help"],
    ] {
        let mut all = vec!["--dry-run"];
        all.extend(words);
        let refused = install(&all).expect(125);
        assert!(refused.stderr.contains("next: "), "{}", refused.stderr);
    }
}

#[test]
fn programs_that_others_may_change_are_not_started_by_root() {
    if !rustix::process::geteuid().is_root() {
        skipped("installing for real", "the tests are run by an ordinary user");
        return;
    }
    let programs = Folder::new();
    for name in ["stockade", "stockade-gate", "stockade-node"] {
        let program = programs.write(name, "#!/bin/sh\n");
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let refused = install(&["--programs", programs.path().to_str().unwrap()]).expect(125);
    assert!(refused.stderr.contains("others than root may write to"), "{}", refused.stderr);
    assert!(!Path::new("/etc/systemd/system/stockade-node.service").exists());
}

#[test]
fn a_first_certificate_is_the_nodes_own_and_its_fingerprint_is_told() {
    if !rustix::process::geteuid().is_root() {
        skipped("installing for real", "the tests are run by an ordinary user");
        return;
    }
    let machine = Machine::new(&[]);
    let fingerprint = || {
        let ran = machine.types("stockade-node install -- --listen 192.0.2.7:8443").expect(0);
        let told = ran.stdout.lines().find_map(|line| line.split_once(" has the SHA-256 "));
        told.unwrap_or_else(|| panic!("{ran:?}")).1.to_owned()
    };
    let first = fingerprint();
    assert_eq!(fingerprint(), first, "it is made once");
    let asked = machine.types("stockade-node certificate --folder /var/lib/stockade").expect(0);
    assert_eq!(asked.stdout.trim_end(), first);
    let key = machine.types("stat -c '%U %a' /var/lib/stockade/tls/key.pem").expect(0);
    assert_eq!(key.stdout, "stockade 600\n");
}

#[test]
fn nothing_is_written_through_a_link_or_where_others_may_write() {
    let (prefix, outside) = (own_folder(), Folder::new());
    std::os::unix::fs::symlink(outside.path(), prefix.path().join("etc")).unwrap();
    let refused = installed(&prefix, &[]).expect(125);
    assert!(refused.stderr.contains("it is a link"), "{}", refused.stderr);
    std::fs::remove_file(prefix.path().join("etc")).unwrap();
    std::fs::create_dir_all(prefix.path().join("var/lib")).unwrap();
    std::os::unix::fs::symlink(outside.path(), prefix.path().join("var/lib/stockade")).unwrap();
    let refused = installed(&prefix, &[]).expect(125);
    assert!(refused.stderr.contains("it is a link"), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    if !rustix::process::geteuid().is_root() {
        skipped("a folder of others", "the tests are run by an ordinary user");
        return;
    }
    let open = open_folder();
    let refused = installed(&open, &[]).expect(125);
    assert!(refused.stderr.contains("others than root may write to"), "{}", refused.stderr);
    assert_eq!(std::fs::read_dir(open.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_has_something_of_others_in_it_is_not_taken() {
    let prefix = own_folder();
    std::fs::create_dir_all(prefix.path().join("srv/data/more")).unwrap();
    let refused = installed(&prefix, &["--folder", "/srv/data"]).expect(125);
    assert!(refused.stderr.contains("cannot be the node's folder"), "{}", refused.stderr);
    let status = std::fs::metadata(prefix.path().join("srv/data")).unwrap();
    assert_ne!(status.permissions().mode() & 0o077, 0, "it is as it was");
}

/// A node that a service manager started: its end of everything.
struct Service {
    process: Child,
    home: Folder,
    told: UnixDatagram,
}

impl Service {
    fn folder(&self) -> std::path::PathBuf {
        self.home.path().join("node")
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("given.sock")
    }

    fn hears(&self) -> String {
        let mut text = [0; 1000];
        let length = self.told.recv(&mut text).expect("it says something");
        String::from_utf8_lossy(&text[..length]).into_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if !std::thread::panicking() {
            until("nothing of the node is alive", || alive(&self.folder()).is_empty());
        }
    }
}

/// As systemd does it: the socket is descriptor 3, and variables say so, and where to tell how it goes.
fn activated(before: &[&str], flags: &[&str], listener: impl Into<OwnedFd>, home: Folder) -> Service {
    activated_with(before, flags, listener, None, home)
}

/// The same, with a second socket as descriptor 4.
fn activated_with(
    before: &[&str],
    flags: &[&str],
    listener: impl Into<OwnedFd>,
    second: Option<OwnedFd>,
    home: Folder,
) -> Service {
    let told = UnixDatagram::bind(home.path().join("notify")).unwrap();
    std::fs::set_permissions(home.path().join("notify"), std::fs::Permissions::from_mode(0o777)).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let script = match second {
        None => "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"",
        Some(_) => "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"",
    };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "sh"]).args(before).args([NODE, "start", "--folder"]).arg(home.path().join("node"));
    if before.is_empty() {
        shell.arg("--shared-user");
    }
    shell.args(flags).stdin(Stdio::from(listener.into()));
    if let Some(second) = second {
        shell.stdout(Stdio::from(second));
    }
    shell.env_clear().env("PATH", PLAIN_PATH).env("NOTIFY_SOCKET", home.path().join("notify"));
    if before.is_empty() && rustix::process::geteuid().is_root() {
        shell.uid(ORDINARY).gid(ORDINARY);
    }
    let process = shell.spawn().unwrap();
    Service { process, home, told }
}

fn get(socket: &Path, path: &str) -> u16 {
    http::send(UnixStream::connect(socket).unwrap(), "GET", path, &[], b"").unwrap().status
}

#[test]
fn a_node_serves_the_socket_it_is_given_and_says_when_it_is_ready_and_when_it_ends() {
    let home = open_folder();
    let listener = UnixListener::bind(home.path().join("given.sock")).unwrap();
    let kept: OwnedFd = listener.try_clone().unwrap().into();
    let mut service = activated(&[], &[], listener, home);
    // Who connects before it is ready waits.
    let early = UnixStream::connect(service.socket()).unwrap();
    assert_eq!(service.hears(), "READY=1\nSTATUS=serving\n");
    assert_eq!(http::send(early, "GET", "/livez", &[], b"").unwrap().status, 200);
    assert_eq!(get(&service.socket(), "/readyz"), 200);
    assert!(!service.folder().join("node.sock").exists(), "there is no second one");
    // Only the node has the socket: a launcher that kept it would take connections and never answer.
    let link = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept))).unwrap();
    let has = |id: u32| {
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten();
        files.filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == link)).count()
    };
    let node = service.process.id();
    assert_eq!(has(node), 1);
    for other in alive(&service.folder()).into_iter().filter(|id| *id != node) {
        assert_eq!(has(other), 0, "process {other} has the socket too");
    }
    signal(node, rustix::process::Signal::TERM);
    assert_eq!(service.hears(), "STOPPING=1\nSTATUS=finishing runs that are under way\n");
    assert_eq!(service.process.wait().unwrap().code(), Some(0));
    assert!(service.socket().exists(), "it is the service manager's");
}

/// A socket of packets that listens.
fn for_tables(path: &Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    socket
}

#[test]
fn a_node_takes_tables_at_the_second_socket_it_is_given_if_that_is_where_they_are_looked_for() {
    let home = open_folder();
    let listener = UnixListener::bind(home.path().join("given.sock")).unwrap();
    let beside = home.path().join("given.sock.tables");
    let second = for_tables(&beside);
    let service = activated_with(&[], &[], listener, Some(second), home);
    assert_eq!(service.hears(), "READY=1\nSTATUS=serving\n");
    let answer = crate::tables::say_at(beside, b"{}").unwrap();
    assert_eq!(answer["status"], 422, "it is served: {answer}");
    drop(service);
    for wrong in ["elsewhere.sock", "stream"] {
        let home = open_folder();
        let listener = UnixListener::bind(home.path().join("given.sock")).unwrap();
        let beside = home.path().join("given.sock.tables");
        let second = if wrong == "stream" {
            UnixListener::bind(&beside).unwrap().into()
        } else {
            for_tables(&home.path().join(wrong))
        };
        let mut service = activated_with(&[], &[], listener, Some(second), home);
        assert_eq!(service.process.wait().unwrap().code(), Some(125), "{wrong}");
    }
}

#[test]
fn a_node_that_cannot_serve_does_not_say_it_is_ready() {
    let home = open_folder();
    let policy = home.write("policy.conf", "this is no policy {");
    let listener = UnixListener::bind(home.path().join("given.sock")).unwrap();
    let mut service = activated(&[], &["--policy", policy.to_str().unwrap()], listener, home);
    assert_eq!(service.process.wait().unwrap().code(), Some(125));
    service.told.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert!(service.told.recv(&mut [0; 10]).is_err());
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_refused() {
    let home = open_folder();
    let (one, _other) = UnixStream::pair().unwrap();
    let mut service = activated(&[], &[], one, home);
    assert_eq!(service.process.wait().unwrap().code(), Some(125));
    assert!(!service.folder().exists(), "nothing was opened");
    // Who may connect to one without a path, nothing says.
    let name = format!("stockade-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let nameless = UnixListener::bind_addr(&address).unwrap();
    let mut service = activated(&[], &[], nameless, open_folder());
    assert_eq!(service.process.wait().unwrap().code(), Some(125));
}

/// As `ProtectSystem=strict` has it: nothing may be written to but the folders that are named.
const READ_ONLY: &str = r#"
mount --bind /run /run
for folder; do shift; [ "$folder" = -- ] && break; mkdir -p "$folder"; mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /run
mount -o remount,bind,ro /
if touch /run/stockade-written 2>/dev/null || touch /var/stockade-written 2>/dev/null; then exit 1; fi
exec "$@"
"#;

/// What the unit leaves root, until the node is the service's user.
#[test]
fn the_rights_and_folders_that_the_unit_leaves_are_enough() {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/setpriv").exists() {
        skipped("the unit's rights", "root, and setpriv and unshare (util-linux) are needed");
        return;
    }
    let prefix = own_folder();
    drop(installed(&prefix, &[]).expect(0));
    let service = unit(&prefix, "stockade-node.service");
    assert!(service.contains("\nNoNewPrivileges=yes\n"));
    let set = service.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let set: String =
        set.split(' ').map(|one| format!(",+{}", one.trim_start_matches("CAP_").to_lowercase())).collect();
    let set = format!("--bounding-set=-all{set}");
    let home = open_folder();
    let listener = UnixListener::bind(home.path().join("given.sock")).unwrap();
    // systemd makes it; of another name it would not be there.
    let runtime = service.lines().find_map(|line| line.strip_prefix("RuntimeDirectory=")).unwrap();
    let (runtime, own) = (format!("/run/{runtime}"), home.path().to_str().unwrap().to_owned());
    let before = [
        ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", READ_ONLY, "sh", &own, &runtime, "--"].as_slice(),
        &["/usr/bin/setpriv", "--no-new-privs", set.as_str(), "--inh-caps=-all"],
    ]
    .concat();
    let service = activated(&before, &["--run-as", "61234"], listener, home);
    assert_eq!(service.hears(), "READY=1\nSTATUS=serving\n");
    let body = json!({"code": "print(6 * 7)"}).to_string();
    let kind = [("content-type", "application/json")];
    let stream = UnixStream::connect(service.socket()).unwrap();
    let run = http::send(stream, "POST", "/v1/runs", &kind, body.as_bytes()).unwrap().whole().unwrap().expect(200);
    let run = run.json();
    assert_eq!(run["stdout"], "42\n");
    // Of the host's users it has one that nobody has.
    let user = run["outcome"]["report"]["host_user"].as_u64().unwrap();
    assert!(user != 0 && user != 61_234, "{run}");
    let stream = UnixStream::connect(service.socket()).unwrap();
    let _session = http::send(stream, "POST", "/v1/sessions", &kind, b"{}").unwrap().whole().unwrap().expect(201);
}
