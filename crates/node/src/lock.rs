//! One node a folder: a lock that the node, its launcher and every supervisor hold together.
//!
//! It is one open file that they inherit, so it is free only when the last of them has ended. A node that gets it
//! knows that nothing of the former one is alive.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::refusal::{Kind, Refusal};

/// How long what a killed node started may take to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of a folder.
    ///
    /// # Errors
    /// [`Refusal`] when another node has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, Refusal> {
        let failed = |error: &std::io::Error| {
            Refusal::invalid(
                "the node's folder cannot be used",
                crate::system_text(error),
                "name one that the node's user may write, with --folder DIR",
            )
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(|error| failed(&error))?;
        match take_alone(&file, PATIENCE) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => Err(Refusal::new(
                Kind::Conflict,
                "another node uses this folder",
                "it is still there, or something that it started",
                "end it, or name another folder with --folder DIR",
            )),
            Err(errno) => Err(failed(&errno.into())),
        }
    }

    /// The open file, for others to hold it too.
    pub(crate) const fn file(&self) -> &File {
        &self.0
    }
}

/// Locks an open file, waiting so long for whoever has it.
///
/// # Errors
/// `WOULDBLOCK` when it was not given up; else the system's answer.
pub(crate) fn take_alone(file: &File, patience: Duration) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_held_for_as_long_as_a_program_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        rustix::io::fcntl_setfd(lock.file(), rustix::io::FdFlags::empty()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        drop(lock);
        let file = File::open(folder.path().join("lock")).unwrap();
        let take = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(take(), Err(Errno::WOULDBLOCK));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(take(), Ok(()));
    }
}
