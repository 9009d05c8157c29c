//! Parent, outside: removes what a run left on the host, whatever its code made of it.
//!
//! Must never follow a link that the code made, cross to another file system, or recurse: the code
//! chose names, number and depth. Nothing of the run lives any more.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use crate::collect::beneath::{self, Facts, Shut};

/// What a folder is called that was moved up to be removed.
pub(crate) const MOVED: &str = "moved-";
/// Names of one folder that are held at a time while it is emptied.
const NAMES: usize = 4_096;

/// Opens a folder as it lies there: not through a link, not on another file system.
pub(crate) fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )
}

/// Removes a held folder and all that lies in it.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &CStr, folder: BorrowedFd<'_>) -> Result<(), Errno> {
    empty(folder)?;
    gone(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)).map(drop)
}

/// Whether it could be removed; what is gone already is as good.
fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    removed.or_else(|errno| if errno == Errno::NOENT { Ok(()) } else { Err(errno) })
}

/// Empties a folder, however deep and wide: what lies deeper is moved to its top, so that never more
/// than two folders are open and nothing is walked twice.
fn empty(top: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut moved = 0;
    loop {
        let names = names_from_the_start(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if is_removed_as_file(top, &name)? {
                continue;
            }
            let folder = open_to_empty(top, &name)?;
            empty_into(folder.as_fd(), top, &mut moved)?;
            gone(rustix::fs::unlinkat(top, &name, AtFlags::REMOVEDIR))?;
        }
    }
}

/// Removes the files of a folder, and moves its folders to the top.
fn empty_into(folder: BorrowedFd<'_>, top: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        let names = names_from_the_start(folder)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if is_removed_as_file(folder, &name)? || rustix::fs::unlinkat(folder, &name, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            // Its owner may move a folder only when it is open to writing: `..` changes.
            drop(open_to_empty(folder, &name)?);
            loop {
                *moved += 1;
                match rustix::fs::renameat(folder, &name, top, format!("{MOVED}{moved}")) {
                    Ok(()) => break,
                    // From a removal that was killed.
                    Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
}

fn names_from_the_start(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    rustix::fs::seek(folder, SeekFrom::Start(0))?;
    beneath::names(folder, NAMES).map(|names| names.sorted)
}

/// Removes what is no folder.
fn is_removed_as_file(folder: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn open_to_empty(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let seen = Facts::at(parent, name)?;
    beneath::folder_to_change(parent, name, &seen).map_err(|shut| match shut {
        Shut::Errno(errno) => errno,
        Shut::Restless => Errno::BUSY,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn held(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_folder_is_emptied_however_deep_wide_and_closed_it_is_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("stays"), "").unwrap();
        let top = folder.path().join("top");
        std::fs::create_dir_all(top.join("closed/inner")).unwrap();
        std::os::unix::fs::symlink(other.path(), top.join("closed/inner/link")).unwrap();
        std::fs::write(top.join("closed/moved-1"), "").unwrap();
        std::fs::create_dir_all(top.join("moved-1/full")).unwrap();
        for mode in [("closed/inner", Mode::empty()), ("closed", Mode::empty())] {
            rustix::fs::chmod(top.join(mode.0), mode.1).unwrap();
        }
        let mut here = held(&top);
        for _ in 0..3_000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = open_folder(here.as_fd(), c"d").unwrap();
        }
        for number in 0..2 * NAMES {
            std::fs::write(top.join(format!("file-{number}\n")), "").unwrap();
        }
        let parent = held(folder.path());
        remove(parent.as_fd(), c"top", held(&top).as_fd()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(other.path().join("stays").exists());
    }
}
