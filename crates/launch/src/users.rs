//! Outside: users of the host for one process and what it starts, in a user namespace of their own.
//!
//! A launcher that gives every run a user needs to be root over those users, and over nothing else. It is that in a
//! user namespace which has its own user as 0 and a range of ids of no one by their own numbers; whoever may write
//! the map (root, or newuidmap(1)) does so between [`separate`] and [`become_root`].

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::failure::Failure;
use crate::outside::failed;
use crate::sys;

const NEW_USER: u64 = 0x1000_0000;
const NEW_MOUNTS: u64 = 0x0002_0000;

/// Who is 0 in the namespace, and which others are in it: ids of users, or of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Map {
    /// The host's id of 0.
    pub root: u32,
    /// The first of the others, whose numbers are the same inside.
    pub first: u32,
    /// How many others there are.
    pub count: u32,
}

impl Map {
    /// As newuidmap(1) takes it: words of numbers.
    #[must_use]
    pub fn words(self) -> [u32; 6] {
        [0, self.root, 1, self.first, self.first, self.count]
    }
}

impl fmt::Display for Map {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, first, count } = self;
        write!(out, "0 {root} 1\n{first} {first} {count}\n")
    }
}

/// The process that connected a Unix socket, whatever has its number meanwhile.
///
/// # Errors
/// As getsockopt(2); `ENOPROTOOPT` before Linux 6.5.
pub fn peer(socket: impl AsFd) -> std::io::Result<OwnedFd> {
    Ok(sys::peer_process(socket.as_fd())?)
}

/// Whether a process is in the user namespace of this one.
///
/// # Errors
/// When that cannot be seen: the process is gone, the caller has no right over it (ptrace(2)), or the kernel is older
/// than Linux 6.11 (`ENOTTY`).
pub fn is_beside_us(process: impl AsFd) -> std::io::Result<bool> {
    let theirs = rustix::fs::fstat(sys::user_namespace(process.as_fd())?)?;
    let ours = rustix::fs::stat("/proc/self/ns/user")?;
    Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}

/// Moves this process into a user namespace whose map is yet to be written. Whoever it is now owns the namespace: if
/// root, then nobody else outside has a right over it.
///
/// # Errors
/// [`Failure`] when the kernel refuses, or this process has more than one thread.
pub fn separate() -> Result<(), Failure> {
    if !sys::single_threaded() {
        return Err(Failure::Threads);
    }
    sys::unshare(NEW_USER).map_err(failed("make", "a user namespace"))
}

/// Writes the maps of a process that called [`separate`]; the caller is root outside.
///
/// # Errors
/// [`Failure`] when the kernel refuses.
pub fn write_maps(process: Pid, users: Map, groups: Map) -> Result<(), Failure> {
    let folder = format!("/proc/{}", process.as_raw_nonzero());
    let folder = rustix::fs::open(folder.as_str(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open", folder.clone()))?;
    for (name, map) in [(c"uid_map", users), (c"gid_map", groups)] {
        sys::write_kernel_file(folder.as_fd(), name, map.to_string().as_bytes())
            .map_err(failed("write", format!("the launcher's {}", name.to_string_lossy())))?;
    }
    Ok(())
}

/// Becomes root of the namespace, which outside is its user and nobody more, in no other group, and takes mounts of
/// its own, of which it can make those of its runs. There is no way back and no execution gives more.
///
/// # Errors
/// [`Failure`] when the kernel refuses; the process must end then.
pub fn become_root() -> Result<(), Failure> {
    sys::become_user(0, true).map_err(failed("become", "root of a user namespace"))?;
    sys::unshare(NEW_MOUNTS).map_err(failed("make", "a mount namespace"))?;
    sys::set_no_new_privileges().map_err(failed("take privileges from", "this process"))?;
    // Its memory is nobody's business; what it executes decides for itself.
    sys::set_dumpable(false).map_err(failed("hide the memory of", "this process"))
}
