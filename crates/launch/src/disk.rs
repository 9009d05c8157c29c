//! Parent, outside: scratch on disk. A fresh folder in the one the caller named, private to the run,
//! removed at the end whatever lies in it.
//!
//! The outer folder belongs to the caller and is closed to everybody else; its lock says that the run
//! lives. The inner one belongs to the code's user and is all of it that the sandbox sees. Nothing
//! here follows a link or crosses to another file system.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use stockade_core::facts::{Source, SourceKind};
use stockade_core::plan::{Groups, Plan};
use stockade_core::request::Scratch;

use crate::collect::beneath;
use crate::failure::{Failure, MAKE_SCRATCH};
use crate::outside::failed;
use crate::removal::{MOVED, open_folder, remove};
use crate::{hooks, sources, sys};

/// What the folders of runs are called, before the run's id.
const PREFIX: &str = ".stockade-scratch-";
/// What the sandbox sees lies in here.
const INNER: &str = "inner";
/// Entries of the caller's folder that are looked at for what killed runs left.
const LOOKED_AT: usize = 100_000;
/// How often a name is tried anew: one that was just made can be swept by another run.
const TRIES: u32 = 8;

/// What the sandbox is given of it.
#[derive(Debug)]
pub(crate) enum Given {
    /// Nothing: scratch is memory.
    Memory,
    /// The mount, opened by root, whose throw-away user could not.
    Opened(OwnedFd),
    /// The folder, to be opened in the sandbox's own mount namespace.
    Found(Source),
}

/// The folder of one run. Dropping it removes it.
#[derive(Debug)]
pub struct Disk {
    parent: OwnedFd,
    name: CString,
    outer: OwnedFd,
    inner: OwnedFd,
    path: PathBuf,
    is_left: bool,
}

impl Disk {
    /// Makes the folder of a plan whose scratch is on disk, after what killed runs left was removed.
    pub(crate) fn make(plan: &Plan, notes: &mut Vec<String>) -> Result<Option<Self>, Failure> {
        let Scratch::Disk(folder) = &plan.scratch else { return Ok(None) };
        let shown = folder.path.to_string_lossy().into_owned();
        let parent = open_parent(folder).map_err(failed(MAKE_SCRATCH, shown.clone()))?;
        let status = rustix::fs::fstat(&parent).map_err(failed(MAKE_SCRATCH, shown.clone()))?;
        if (status.st_dev, status.st_ino) != (folder.device, folder.inode) {
            return Err(Failure::Changed { path: shown });
        }
        if sweep(parent.as_fd()).is_err() {
            notes.push(format!(
                "in `{}` lies what a killed run left, and it could not be removed",
                stockade_core::text::shown(&shown, 200)
            ));
        }
        make_in(parent, folder, plan).map(Some).map_err(failed(MAKE_SCRATCH, shown))
    }

    /// The folder that the sandbox writes to.
    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// What the sandbox needs to mount it.
    pub(crate) fn given(&self, plan: &Plan) -> Result<Given, Failure> {
        let shown = || self.path.to_string_lossy().into_owned();
        let status = rustix::fs::fstat(&self.inner).map_err(failed(MAKE_SCRATCH, shown()))?;
        let source = Source {
            path: self.path.clone(),
            device: status.st_dev,
            inode: status.st_ino,
            uid: status.st_uid,
            gid: status.st_gid,
            mode: 0o755,
            bytes: 0,
            kind: SourceKind::Folder,
        };
        if plan.identity.groups != Groups::Dropped {
            return Ok(Given::Found(source));
        }
        let opened = sources::open_given(&source).map_err(|bad| failed(MAKE_SCRATCH, shown())(bad.errno))?;
        Ok(Given::Opened(opened))
    }

    /// Removes it and all that lies in it.
    ///
    /// # Errors
    /// [`Failure`] when something cannot be removed; the next run beside it tries again.
    pub fn remove(mut self) -> Result<(), Failure> {
        self.is_left = true;
        remove(self.parent.as_fd(), &self.name, self.outer.as_fd())
            .map_err(failed("remove the scratch of the run,", self.path.to_string_lossy()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !self.is_left {
            // What cannot be removed now is the next run's to sweep.
            remove(self.parent.as_fd(), &self.name, self.outer.as_fd()).ok();
        }
    }
}

fn open_parent(folder: &Source) -> Result<OwnedFd, Errno> {
    hooks::fault("open scratch folder")?;
    rustix::fs::openat2(
        CWD,
        &folder.path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

fn make_in(parent: OwnedFd, folder: &Source, plan: &Plan) -> Result<Disk, Errno> {
    let (name, outer) = make_outer(parent.as_fd(), &plan.run)?;
    let path = folder.path.join(Path::new(&*name.to_string_lossy())).join(INNER);
    match make_inner(outer.as_fd(), plan) {
        Ok(inner) => Ok(Disk { parent, name, outer, inner, path, is_left: false }),
        Err(errno) => {
            remove(parent.as_fd(), &name, outer.as_fd()).ok();
            Err(errno)
        }
    }
}

/// Makes a folder under a name nobody has, and locks it. Another run that sweeps could come between
/// the two, and take it for one whose run is dead.
fn make_outer(parent: BorrowedFd<'_>, run: &str) -> Result<(CString, OwnedFd), Errno> {
    for number in 0..TRIES {
        let name = CString::new(format!("{PREFIX}{run}-{number}")).map_err(|_| Errno::INVAL)?;
        hooks::fault("mkdir scratch")?;
        rustix::fs::mkdirat(parent, &name, Mode::RWXU)?;
        let taken = (|| {
            hooks::fault("lock scratch")?;
            let outer = open_folder(parent, &name)?;
            rustix::fs::flock(&outer, FlockOperation::NonBlockingLockExclusive)?;
            rustix::fs::fchmod(&outer, Mode::RWXU)?;
            Ok((rustix::fs::fstat(&outer)?, outer))
        })();
        match taken {
            Ok((status, _)) if status.st_nlink == 0 => {}
            Ok((status, outer)) => {
                if is_private(&status) {
                    return Ok((name, outer));
                }
                // This file system does not keep owners and modes.
                rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR).ok();
                return Err(Errno::NOTSUP);
            }
            Err(Errno::AGAIN | Errno::NOENT) => {}
            Err(errno) => {
                rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR).ok();
                return Err(errno);
            }
        }
    }
    Err(Errno::BUSY)
}

/// A folder of this very user that is closed to everybody else.
fn is_private(status: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
        && status.st_uid == rustix::process::geteuid().as_raw()
        && status.st_mode & 0o7777 == 0o700
}

fn make_inner(outer: BorrowedFd<'_>, plan: &Plan) -> Result<OwnedFd, Errno> {
    hooks::fault("mkdir scratch")?;
    rustix::fs::mkdirat(outer, INNER, Mode::RWXU)?;
    let inner = open_folder(outer, c"inner")?;
    let (uid, gid) = (plan.identity.outside_uid, plan.identity.outside_gid);
    hooks::fault("chown scratch")?;
    if uid != rustix::process::geteuid().as_raw() {
        rustix::fs::fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    rustix::fs::fchmod(&inner, Mode::from_raw_mode(0o755))?;
    let status = rustix::fs::fstat(&inner)?;
    if status.st_uid == uid && status.st_mode & 0o7777 == 0o755 { Ok(inner) } else { Err(Errno::NOTSUP) }
}

/// Removes what runs left whose supervisor is dead: a living one holds the lock.
fn sweep(parent: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut swept = Ok(());
    for name in beneath::names(parent, LOOKED_AT)?.sorted {
        if !name.to_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        // Somebody else's, or gone meanwhile.
        let Ok(outer) = open_folder(parent, &name) else { continue };
        let is_ours = rustix::fs::fstat(&outer).is_ok_and(|status| is_private(&status));
        // Another private folder of ours, which somebody gave this name.
        if is_ours && !holds_a_run(outer.as_fd()) {
            continue;
        }
        if is_ours && rustix::fs::flock(&outer, FlockOperation::NonBlockingLockExclusive).is_ok() {
            swept = swept.and(remove(parent, &name, outer.as_fd()));
        }
    }
    swept
}

/// Whether nothing lies in a folder but what a run makes there, or its removal.
fn holds_a_run(outer: BorrowedFd<'_>) -> bool {
    beneath::names(outer, LOOKED_AT).is_ok_and(|names| {
        names
            .sorted
            .iter()
            .all(|name| name.to_bytes() == INNER.as_bytes() || name.to_bytes().starts_with(MOVED.as_bytes()))
    })
}

/// Gives the cloned mount the attributes of scratch.
pub(crate) fn restrict(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    use rustix::mount::MountAttrFlags;
    sys::mount_setattr(mount, true, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn what_a_dead_run_left_is_swept_and_what_lives_stays() {
        let folder = tempfile::tempdir().unwrap();
        let parent = held(folder.path());
        let (living, lock) = make_outer(parent.as_fd(), "living").unwrap();
        let (dead, unlocked) = make_outer(parent.as_fd(), "dead").unwrap();
        drop(unlocked);
        std::fs::create_dir_all(folder.path().join(dead.to_str().unwrap()).join("inner/deep")).unwrap();
        std::fs::create_dir(folder.path().join(".stockade-scratch-open")).unwrap();
        std::fs::create_dir(folder.path().join("another")).unwrap();
        let (renamed, unlocked) = make_outer(parent.as_fd(), "renamed").unwrap();
        std::fs::write(folder.path().join(renamed.to_str().unwrap()).join("precious"), "").unwrap();
        drop(unlocked);
        std::os::unix::fs::symlink("another", folder.path().join(".stockade-scratch-link")).unwrap();
        sweep(held(folder.path()).as_fd()).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".stockade-scratch-link",
                living.to_str().unwrap(),
                ".stockade-scratch-open",
                renamed.to_str().unwrap(),
                "another"
            ]
        );
        drop(lock);
    }
}
