//! The processes of a run without a pid namespace: found by their parents, killed until none is left.
//!
//! Only one's own children are ever signalled: until they are waited for, their numbers are nobody
//! else's. Killing them makes their children one's own, as one is the reaper of the tree.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::cgroup::{number, read_at};
use crate::sys;
use crate::watch::Stat;

/// Children taken in at once; the rest is found when these are dead.
const TEXT_BYTES: usize = 16 << 10;
/// Rounds of killing by which any tree within its limits is dead.
const ROUNDS_MAX: usize = 100_000;

/// One's own children, as `/proc` lists them.
#[derive(Debug)]
pub(crate) struct Children {
    proc: OwnedFd,
    own: Pid,
}

impl Children {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::process::getpid();
        // The `/proc` of another pid namespace would name strangers.
        let named = rustix::fs::readlink("/proc/self", Vec::new())?;
        if named.to_bytes() != own.as_raw_nonzero().to_string().as_bytes() {
            return Err(Errno::NOTSUP);
        }
        Ok(Self { proc: rustix::fs::openat(CWD, "/proc", flags, Mode::empty())?, own })
    }

    /// Kills every child there is now.
    pub(crate) fn kill(&self) -> Result<(), Errno> {
        for child in self.list()? {
            match rustix::process::kill_process(child, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<Vec<Pid>, Errno> {
        let own = self.own.as_raw_nonzero();
        let mut text = vec![0; TEXT_BYTES];
        match read_at(&self.proc, &format!("{own}/task/{own}/children"), &mut text) {
            Ok(text) => Ok(text.split(|byte| *byte == b' ').filter_map(pid).collect()),
            // A kernel without CONFIG_PROC_CHILDREN.
            Err(Errno::NOENT) => self.scan(),
            Err(errno) => Err(errno),
        }
    }

    /// Every process names its parent.
    fn scan(&self) -> Result<Vec<Pid>, Errno> {
        let own = u64::from(self.own.as_raw_nonzero().get().unsigned_abs());
        let is_child =
            |name: &str| Stat::read(&self.proc, &format!("{name}/stat")).is_ok_and(|stat| stat.parent == own);
        let entries = Dir::read_from(&self.proc)?;
        Ok(entries
            .flatten()
            .filter_map(|entry| {
                let child = pid(entry.file_name().to_bytes())?;
                entry.file_name().to_str().is_ok_and(is_child).then_some(child)
            })
            .collect())
    }
}

impl AsRawFd for Children {
    fn as_raw_fd(&self) -> RawFd {
        self.proc.as_raw_fd()
    }
}

fn pid(text: &[u8]) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number(text)?).ok()?)
}

/// What becomes children of the supervisor when an init is killed that had a tree.
#[derive(Debug)]
pub(crate) struct Orphans {
    children: Children,
    /// Children it had before.
    before: Vec<Pid>,
}

impl Orphans {
    /// Remembers the children of this process, which are none of the run's.
    pub(crate) fn begin() -> Result<Self, Errno> {
        let children = Children::of_this_process()?;
        let before = children.list()?;
        Ok(Self { children, before })
    }

    /// Kills the run's processes that have become this process's children, and theirs.
    pub(crate) fn end(&self) {
        for _ in 0..ROUNDS_MAX {
            let found: Vec<Pid> = self
                .children
                .list()
                .unwrap_or_default()
                .into_iter()
                .filter(|child| !self.before.contains(child) && is_filtered(self.children.proc.as_fd(), *child))
                .collect();
            if found.is_empty() {
                return;
            }
            for child in found {
                rustix::process::kill_process(child, Signal::KILL).ok();
                // It is this process's child, and dead or dying: there is something to wait for.
                sys::reap(Some(child), true).ok();
            }
        }
    }
}

/// Whether a process has a system-call filter, as everything of a run does: this process may get
/// orphans of its caller's other children, too.
fn is_filtered(proc: BorrowedFd<'_>, child: Pid) -> bool {
    let mut text = [0; 4096];
    read_at(proc, &format!("{}/status", child.as_raw_nonzero()), &mut text)
        .is_ok_and(|text| text.split(|byte| *byte == b'\n').any(|line| line == b"Seccomp:\t2"))
}

/// How many processes and threads a user has: the kernel counts them all against one limit.
pub(crate) fn tasks_of(user: u32) -> u64 {
    let Ok(proc) = rustix::fs::open("/proc", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    else {
        return 0;
    };
    let Ok(entries) = Dir::read_from(&proc) else { return 0 };
    entries
        .flatten()
        .filter(|entry| pid(entry.file_name().to_bytes()).is_some())
        .filter_map(|entry| {
            let folder = entry.file_name().to_str().ok()?;
            let status = rustix::fs::statat(&proc, folder, rustix::fs::AtFlags::empty()).ok()?;
            // The owner of a process that is not dumpable is root; it is one of few.
            let tasks = (status.st_uid == user)
                .then(|| rustix::fs::statat(&proc, format!("{folder}/task"), rustix::fs::AtFlags::empty()).ok())??;
            links(&tasks).checked_sub(2)
        })
        .sum()
}

/// How many names a file has, or folders a folder.
#[cfg_attr(target_arch = "x86_64", expect(clippy::useless_conversion, reason = "the field has 32 bits on 64-bit ARM"))]
pub(super) fn links(status: &rustix::fs::Stat) -> u64 {
    u64::try_from(status.st_nlink).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_lists_of_children_shows_the_same() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let children = Children::of_this_process().unwrap();
        let own = Pid::from_child(&child);
        // Threads of the test may have children too; those of a run's init are of its one thread.
        assert!(children.scan().unwrap().contains(&own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children.scan().unwrap().contains(&own));
        assert!(tasks_of(rustix::process::getuid().as_raw()) >= 1);
    }
}
