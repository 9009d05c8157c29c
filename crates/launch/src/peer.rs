//! Outside: who is at the other end of a Unix socket, beyond the user that the kernel names.
//!
//! A process in a user namespace shows the user that it was made from. Where runs have their maker's user, a run that
//! came out of its other walls would show as whoever serves it.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use crate::sys;

/// A user namespace, by the number of its file; they are all on one file system of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserNamespace(u64);

impl UserNamespace {
    /// That of this process; `None` where there is no `/proc` to see it in.
    #[must_use]
    pub fn own() -> Option<Self> {
        std::fs::metadata("/proc/self/ns/user").ok().map(|file| Self(file.ino()))
    }

    /// That of the process that connected to this end of a socket. `None` where it cannot be told: the kernel is older
    /// than Linux 6.11 (`SO_PEERPIDFD`, `PIDFD_GET_USER_NAMESPACE`), the process is gone, or it is of another user,
    /// whose processes ours may not look at.
    #[must_use]
    pub fn of_peer(socket: BorrowedFd<'_>) -> Option<Self> {
        let process = sys::peer_process(socket).ok()?;
        let namespace = sys::user_namespace(process.as_fd()).ok()?;
        rustix::fs::fstat(&namespace).ok().map(|file| Self(file.st_ino))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    const CONNECT: &str = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";

    fn seen(program: &[&str]) -> Option<UserNamespace> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let (first, rest) = program.split_first().unwrap();
        let mut process =
            Command::new(first).args(rest).args(["-c", CONNECT]).arg(&path).stdin(Stdio::null()).spawn().unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let seen = UserNamespace::of_peer(socket.as_fd());
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        process.wait().unwrap();
        seen
    }

    #[test]
    fn a_process_in_a_user_namespace_of_its_own_is_seen_to_be_there() {
        let own = UserNamespace::own().unwrap();
        let same = seen(&["/usr/bin/python3"]);
        if same.is_none() {
            // Linux before 6.11; what comes of that is the caller's to say.
            eprintln!("skipped: user namespaces of peers: the kernel does not tell");
            return;
        }
        assert_eq!(same, Some(own));
        let other = seen(&["unshare", "--user", "--map-current-user", "/usr/bin/python3"]);
        assert!(other.is_some_and(|other| other != own), "{other:?}");
    }
}
