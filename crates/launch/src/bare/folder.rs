//! Parent, outside: the folder of a run without namespaces, made for it alone and removed at its end.
//!
//! A file in it is locked for as long as anything of the run lives; what nobody holds, the next run
//! removes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use stockade_core::ground::FOLDER_START;
use stockade_core::paths::InsidePath;
use stockade_core::plan::{self, Groups, Mount, Plan};
use stockade_core::request::Over;

use crate::failure::Failure;
use crate::hooks;
use crate::outside::failed;
use crate::removal::{open_folder, remove};
use crate::sys;

/// The file that is locked.
const ALIVE: &CStr = c".alive";
/// A folder without that file is for so long that of who makes or removes it.
const UNLOCKED: Duration = Duration::from_secs(60);
/// Entries looked at by one sweep.
const SWEPT_MAX: usize = 1_000;
const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder of one run; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Folder {
    parent: OwnedFd,
    name: CString,
    /// It, held open.
    pub(crate) open: OwnedFd,
    /// The locked file.
    pub(crate) alive: OwnedFd,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now, the next run tries again.
        remove(self.parent.as_fd(), &self.name, self.open.as_fd()).ok();
    }
}

impl Folder {
    /// Makes the folder of the plan, and in it what the plan makes.
    pub(crate) fn make(path: &InsidePath, plan: &Plan) -> Result<Self, Failure> {
        let at = || failed("make the run's folder", path.as_str());
        let (above, name) = path.as_str().rsplit_once('/').unwrap_or_default();
        let parent = open_parent(above)?;
        sweep(parent.as_fd());
        let name = CString::new(name).map_err(|_| at()(Errno::INVAL))?;
        hooks::fault("mkdir").map_err(at())?;
        rustix::fs::mkdirat(&parent, &*name, Mode::from_raw_mode(0o700)).map_err(at())?;
        let made = (|| {
            let open = rustix::fs::openat(&parent, &*name, OPEN_FOLDER, Mode::empty())?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let alive = rustix::fs::openat(&open, ALIVE, flags, Mode::from_raw_mode(0o600))?;
            rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive)?;
            // A sweep may have come in between; then it is gone, and this run does not start.
            if rustix::fs::fstat(&alive)?.st_nlink == 0 { Err(Errno::STALE) } else { Ok((open, alive)) }
        })();
        let (open, alive) = match made {
            Ok(made) => made,
            Err(errno) => {
                if let Ok(open) = open_folder(parent.as_fd(), &name) {
                    remove(parent.as_fd(), &name, open.as_fd()).ok();
                }
                return Err(at()(errno));
            }
        };
        // From here on it is removed whatever happens.
        let folder = Self { parent, name, open, alive };
        folder.fill(plan).map_err(at())?;
        Ok(folder)
    }

    fn fill(&self, plan: &Plan) -> Result<(), Errno> {
        let (user, group) = (plan.identity.outside_uid, plan.identity.outside_gid);
        if plan.identity.groups == Groups::Dropped {
            let owner = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::fchown(&self.open, Some(owner.0), Some(owner.1))?;
        }
        for (number, mount) in (0..).zip(&plan.mounts) {
            match mount {
                Mount::Scratch { target, .. } => {
                    let name = plan.ground.scratch_name(number, target);
                    sys::with_file_user(user, group, || {
                        rustix::fs::mkdirat(&self.open, name, Mode::from_raw_mode(0o755))
                    })?;
                }
                // Ours, and the code only reads them: they stay this process's.
                Mount::File { target, contents } => self.write(&self.below(plan, target)?, contents)?,
                Mount::Layered { source, target, over } => {
                    let path = source.path.to_str().ok_or(Errno::INVAL)?;
                    self.lay_over(&self.below(plan, target)?, path, over)?;
                }
                // Copied after this, or the host's own.
                Mount::Copied { .. }
                | Mount::CopiedTree { .. }
                | Mount::CopyOnWrite { .. }
                | Mount::System { .. }
                | Mount::Link { .. }
                | Mount::Shared { .. }
                | Mount::Table { .. }
                | Mount::Device { .. }
                | Mount::Terminals
                | Mount::Proc
                | Mount::ForRuntime(_) => {}
            }
        }
        Ok(())
    }

    /// Where something inside lies below this folder.
    fn below(&self, plan: &Plan, target: &InsidePath) -> Result<String, Errno> {
        let folder = plan.ground.folder().ok_or(Errno::INVAL)?;
        plan.ground.place(target).below(folder.as_str()).map(ToOwned::to_owned).ok_or(Errno::INVAL)
    }

    /// A folder below this one, with those above it; open to all, within one that is not.
    fn make_folders(&self, path: &str) -> Result<OwnedFd, Errno> {
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.open, 3)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            folder = rustix::fs::openat(&folder, name, OPEN_FOLDER, Mode::empty())?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755))?;
        }
        Ok(folder)
    }

    fn write(&self, path: &str, contents: &[u8]) -> Result<(), Errno> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.make_folders(above)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        let mut rest = contents;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// A tree with something over it: a folder of links to what is in the tree, and the pieces.
    fn lay_over(&self, path: &str, source: &str, over: &[Over]) -> Result<(), Errno> {
        for piece in over {
            let (Over::File { name, .. } | Over::Link { name, .. }) = piece;
            match piece {
                Over::File { contents, .. } => self.write(&format!("{path}/{name}"), contents)?,
                Over::Link { text, .. } => self.link(&format!("{path}/{name}"), text)?,
            }
        }
        let mut folders: Vec<&str> = over
            .iter()
            .filter_map(|piece| {
                let (Over::File { name, .. } | Over::Link { name, .. }) = piece;
                name.rsplit_once('/').map(|(above, _)| above)
            })
            .chain([""])
            .collect();
        folders.sort_unstable();
        folders.dedup();
        for below in folders {
            let from = if below.is_empty() { source.to_owned() } else { format!("{source}/{below}") };
            let tree = rustix::fs::open(&*from, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            for entry in Dir::read_from(&tree)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().to_str() else { continue };
                if matches!(name, "." | "..") {
                    continue;
                }
                match self.link(&format!("{path}/{below}/{name}"), &format!("{from}/{name}")) {
                    // A piece lies there.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    fn link(&self, path: &str, text: &str) -> Result<(), Errno> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.make_folders(above)?;
        rustix::fs::symlinkat(text, &folder, name)
    }
}

/// The caller's folder for temporary files, if nobody else can put something else in our folder's place.
fn open_parent(path: &str) -> Result<OwnedFd, Failure> {
    let at = || failed("use the folder for temporary files", path);
    let parent =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(at())?;
    let status = rustix::fs::fstat(&parent).map_err(at())?;
    let own = rustix::process::geteuid().as_raw();
    let others_write = status.st_mode & 0o022 != 0 && status.st_mode & 0o1000 == 0;
    if others_write || (status.st_uid != 0 && status.st_uid != own) {
        return Err(at()(Errno::PERM));
    }
    Ok(parent)
}

/// Removes folders of runs that are dead, with all that was theirs.
fn sweep(parent: BorrowedFd<'_>) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = Dir::read_from(parent) else { return };
    for entry in entries.flatten().take(SWEPT_MAX) {
        let name = entry.file_name();
        if !name.to_bytes().starts_with(FOLDER_START.as_bytes()) {
            continue;
        }
        let Ok(open) = open_folder(parent, name) else { continue };
        let Ok(status) = rustix::fs::fstat(&open) else { continue };
        // Root removes what its own runs left, never a folder that another user could be busy in.
        if status.st_uid != own && !(own == 0 && plan::is_throw_away(status.st_uid)) {
            continue;
        }
        // Held meanwhile, so that no other sweep comes in between.
        if let Dead::Yes(_lock) = death_of(&open, status.st_mtime) {
            remove(parent, name, open.as_fd()).ok();
        }
    }
}

/// Whether anything of a run lives.
enum Dead {
    /// Nothing; the lock is ours now, if there is one.
    Yes(Option<OwnedFd>),
    /// Something, or it cannot be known.
    No,
}

fn death_of(open: &OwnedFd, modified: i64) -> Dead {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(open, ALIVE, flags, Mode::empty()) {
        Ok(alive) => match rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Dead::Yes(Some(alive)),
            Err(_) => Dead::No,
        },
        Err(Errno::NOENT) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let age = now.saturating_sub(Duration::from_secs(u64::try_from(modified).unwrap_or(0)));
            if age > UNLOCKED { Dead::Yes(None) } else { Dead::No }
        }
        Err(_) => Dead::No,
    }
}
