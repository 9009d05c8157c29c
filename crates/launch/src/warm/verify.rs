//! Outside: whether a process that says it is an engine is one, as the kernel tells.
//!
//! It came out of a template, which could say anything. Its user, rights and filter, and the namespaces it is in,
//! are the kernel's word. Landlock is the one wall that nobody outside can see.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use stockade_core::layer::{Layer, Layers};

use super::entrance::{Entrance, Entrances};
use crate::hooks;

/// The kernel's page about a process is shorter.
const STATUS_BYTES: usize = 4096;

/// A process that was looked at.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) pidfd: OwnedFd,
    pub(crate) pid: Pid,
    /// Its id in the template's pid namespace.
    pub(crate) pid_in_template: u32,
}

/// Opens the process and compares it with what was made for it.
pub(crate) fn look(pid: Pid, user: u32, made: &Entrances, given: Layers) -> Result<Seen, Errno> {
    // First of all, so that what is looked at below is what this stands for as long as it lives.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let pid_in_template = check_status(folder.as_fd(), user)?;
    for (which, name, layer) in [
        (Entrance::Mounts, c"ns/mnt", Layer::MountNamespace),
        (Entrance::Processes, c"ns/pid", Layer::PidNamespace),
        (Entrance::Network, c"ns/net", Layer::Network),
        (Entrance::Queues, c"ns/ipc", Layer::IpcNamespace),
        (Entrance::HostName, c"ns/uts", Layer::UtsNamespace),
    ] {
        let Some(own) = made.get(which) else {
            if given.has(layer) {
                return Err(Errno::NOENT);
            }
            continue;
        };
        let (made, seen) = (rustix::fs::fstat(own)?, rustix::fs::statat(&folder, name, rustix::fs::AtFlags::empty())?);
        if (made.st_dev, made.st_ino) != (seen.st_dev, seen.st_ino) {
            return Err(Errno::XDEV);
        }
    }
    // It still is the same process that was looked at.
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::CONT).or_else(|errno| match errno {
        Errno::PERM => Ok(()),
        errno => Err(errno),
    })?;
    Ok(Seen { pidfd, pid, pid_in_template })
}

fn check_status(folder: BorrowedFd<'_>, user: u32) -> Result<u32, Errno> {
    let file = rustix::fs::openat(folder, c"status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0; STATUS_BYTES];
    let length = rustix::io::read(&file, &mut bytes)?;
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(Errno::BADMSG)?;
    let fields = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|rest| rest.split_whitespace().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let user = user.to_string();
    let are_all = |name: &str, wanted: &str, count: usize| {
        let fields = fields(name);
        fields.len() == count && fields.iter().all(|field| *field == wanted)
    };
    let is_none = |name: &str| are_all(name, "0000000000000000", 1);
    let has_rights = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].iter().any(|name| !is_none(name));
    if !are_all("Uid", &user, 4) || !are_all("Gid", &user, 4) || !fields("Groups").is_empty() {
        return Err(Errno::ACCESS);
    }
    let filters = fields("Seccomp_filters").first().and_then(|count| count.parse::<u32>().ok());
    // Two: its template's, and its own.
    let is_filtered = are_all("Seccomp", "2", 1) && filters.is_none_or(|count| count >= 2);
    if (has_rights && !hooks::removed(Layer::NoCapabilities))
        || !(are_all("NoNewPrivs", "1", 1) || hooks::removed(Layer::NoNewPrivileges))
        || !(is_filtered || hooks::removed(Layer::Seccomp))
        || !are_all("Threads", "1", 1)
    {
        return Err(Errno::PERM);
    }
    // Outside, in the template's namespace, in its own.
    let numbers = fields("NSpid");
    let below = numbers.len().checked_sub(2).and_then(|second| numbers.get(second));
    below.and_then(|number| number.parse().ok()).ok_or(Errno::SRCH)
}
