//! What a confined service cannot do any more. Without a harness: its threads would make confining refuse.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests may stop at the first surprise")]

use std::fs::File;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::process::Signal;

const NAME: &str = "a_confined_service_only_reads_connects_and_appends";
/// The one of the egress gate.
const PROFILE: &str = include_str!("../../../profiles/gate.txt");

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let has = |word: &str| words.iter().any(|other| other == word);
    // What test runners ask of a test without a harness.
    match (has("--list"), has("--ignored")) {
        (true, false) => println!("{NAME}: test"),
        (true, true) => {}
        (false, _) => a_confined_service_only_reads_connects_and_appends(),
    }
}

fn a_confined_service_only_reads_connects_and_appends() {
    let folder = tempfile::tempdir().unwrap();
    let was_root = rustix::process::geteuid().is_root();
    if !was_root {
        println!("SKIPPED: root becomes a user of no one: the tests are run by an ordinary user");
    }
    let parent = rustix::process::getppid().unwrap();
    // A service keeps its three descriptors and no other: a server to connect to, and the trail.
    let address = {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let trail = File::options().append(true).create(true).open(folder.path().join("trail")).unwrap();
        rustix::stdio::dup2_stdin(&server).unwrap();
        rustix::stdio::dup2_stdout(&trail).unwrap();
        server.local_addr().unwrap()
    };
    let left_open = File::open("/etc/hostname").unwrap().into_raw_fd();

    stockade_launch::service::confine(PROFILE, &["/etc/hostname", "/does/not/exist", "/proc/self/status"], None)
        .unwrap();

    assert_eq!(std::fs::read_link(format!("/proc/self/fd/{left_open}")).unwrap_err().kind(), ErrorKind::NotFound);
    // What it is for.
    let mut trail = File::from(rustix::io::dup(rustix::stdio::stdout()).unwrap());
    std::io::Write::write_all(&mut trail, b"record\n").unwrap();
    assert!(std::fs::read("/etc/hostname").is_ok());
    let _connected = TcpStream::connect(address).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_out, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    rustix::pipe::fcntl_setpipe_size(&into, 512 << 10).unwrap();

    // Files, by Landlock: nothing else is read, not even what everybody may.
    for path in ["/etc/passwd", "/usr/bin/env", "/proc/self/environ"] {
        assert_eq!(File::open(path).unwrap_err().kind(), ErrorKind::PermissionDenied, "{path}");
    }
    // Nothing is written, by the filter, which comes first.
    let written = File::options().write(true).open("/dev/null").unwrap_err();
    assert_eq!(written.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert!(std::fs::remove_file(folder.path().join("trail")).is_err());
    // What is on record stays: it is neither cut off nor written over.
    assert!(trail.set_len(0).is_err());
    assert_eq!(rustix::fs::fcntl_setfl(&trail, rustix::fs::OFlags::empty()), Err(Errno::PERM));
    // It may write to a place of the head; of the trail it cannot: that is open for appending.
    let length = trail.metadata().unwrap().len();
    std::os::unix::fs::FileExt::write_all_at(&trail, b"x", 0).unwrap();
    assert_eq!(trail.metadata().unwrap().len(), length + 1);
    // No port of TCP, by Landlock alone: UDP is needed for names.
    assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().raw_os_error(), Some(Errno::ACCESS.raw_os_error()));
    // No other kind of socket, no process, no signal.
    assert_eq!(UnixStream::connect("/run/any").unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert!(std::process::Command::new("/bin/true").status().is_err());
    assert_eq!(rustix::process::kill_process(parent, Signal::CONT), Err(Errno::NOSYS));
    // Not by way of a limit that ends another process of the user, nor of a pair of sockets that reaches a path.
    let none = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
    assert_eq!(rustix::process::prlimit(Some(parent), rustix::process::Resource::Cpu, none).err(), Some(Errno::PERM));
    assert!(std::os::unix::net::UnixDatagram::pair().is_err() && UnixStream::pair().is_ok());

    status(was_root);
}

/// Who it is, as the kernel says.
fn status(was_root: bool) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}"));
        line.trim_start_matches(':').split_whitespace().map(ToOwned::to_owned).collect::<Vec<String>>().join(" ")
    };
    for set in ["CapEff", "CapPrm", "CapInh"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    if was_root {
        assert_eq!((field("CapBnd").as_str(), field("Groups").as_str()), ("0000000000000000", ""));
        let own = stockade_core::plan::service_id(std::process::id());
        let ids = [own.to_string().as_str(); 4].join(" ");
        assert_eq!((field("Uid"), field("Gid")), (ids.clone(), ids));
        assert!(!stockade_core::plan::is_throw_away(own), "a run could have its id");
    }
    // What is not dumpable has a /proc of root's.
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata("/proc/self/status").unwrap().uid();
    assert_eq!(owner, 0, "others of its user may read its memory");
}
