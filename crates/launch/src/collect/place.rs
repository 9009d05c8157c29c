//! Putting files into a folder of the host, whole or not at all.
//!
//! Parent, outside. The folder may hold anything, also symlinks somebody
//! planted, and another run may write there at the same time.
//! Must never write through a name it did not make, nor replace anything but
//! a regular file, nor leave a temporary file behind.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, fchmod, flock, linkat, mkdirat, openat, renameat,
    renameat_with, unlinkat,
};
use rustix::io::Errno;

use super::beneath::{self, Facts, Kind};
use super::content::{Content, CopyFault};
use super::{Existing, Step, Why, names};

pub(super) const TEMPORARY_START: &str = ".stockade-";
pub(super) const TEMPORARY_END: &str = ".part";
pub(super) const TEMPORARY_RANDOM: usize = 8;

/// A temporary file that nobody holds is swept away when older than this: its maker is given the
/// time between making it and taking hold of it.
const STALE: Duration = Duration::from_secs(1);
/// A folder with more entries than this is not searched for stale files.
const SWEPT_ENTRIES_MAX: usize = 10_000;

/// Why a file was not put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// This one is left out; others may work.
    LeftOut(Why),
    /// Nothing further will work.
    Stopped(Step, Errno),
}

/// The permissions of a new file; special bits are never among them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Permissions {
    /// 0644, or 0755 if executable, less what the umask or the folder's default
    /// access list takes away: so the kernel has to create it with them.
    Fresh { executable: bool },
    /// As the file had that it replaces.
    Exactly(Mode),
}

/// A regular file, open, with what was seen of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: BorrowedFd<'a>,
    pub(super) seen: &'a Facts,
}

/// Makes temporary files, fills them and gives them their names.
#[derive(Debug)]
pub(super) struct Placer {
    counter: u64,
    pub(super) content: Content,
}

impl Placer {
    pub(super) fn new() -> Self {
        let mut seed = [0_u8; 8];
        // Unique is enough: a name that exists is refused, and another tried.
        let drawn = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::NONBLOCK);
        let counter = if drawn.is_ok() { u64::from_le_bytes(seed) } else { u64::from(std::process::id()) };
        Self { counter, content: Content::new() }
    }

    /// Copies a file to a name in a folder.
    pub(super) fn place(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        source: Source<'_>,
        existing: Existing,
        permissions: Permissions,
    ) -> Result<(), Refused> {
        let existing = room_for(folder, name, existing)?;
        let temporary = self.temporary(folder, permissions)?;
        let (from, to) = (source.file, temporary.file.as_fd());
        self.content.copy(from, to, source.seen.identity.bytes, source.seen.sparse).map_err(Refused::from)?;
        if let Permissions::Exactly(mode) = permissions {
            fchmod(to, mode).map_err(|errno| Refused::Stopped(Step::Write, errno))?;
        }
        temporary.name_it(name, existing)
    }

    fn temporary<'a>(&mut self, folder: BorrowedFd<'a>, permissions: Permissions) -> Result<Temporary<'a>, Refused> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = match permissions {
            Permissions::Fresh { executable: false } => 0o644,
            Permissions::Fresh { executable: true } => 0o755,
            Permissions::Exactly(_) => 0o600,
        };
        loop {
            let name = self.temporary_name();
            match openat(folder, name.as_c_str(), flags, Mode::from_raw_mode(mode)) {
                Ok(file) => {
                    // Held until renamed, so that `sweep` knows it is alive; a
                    // file system without locks only loses the sweeping.
                    flock(&file, FlockOperation::NonBlockingLockExclusive).ok();
                    return Ok(Temporary { folder, name, file, armed: true });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Refused::Stopped(Step::Write, errno)),
            }
        }
    }

    fn temporary_name(&mut self) -> CString {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.counter ^ (self.counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        let mut name = TEMPORARY_START.to_owned();
        for _ in 0..TEMPORARY_RANDOM {
            name.push(char::from_digit(u32::try_from(mixed % 32).unwrap_or(0), 32).unwrap_or('0'));
            mixed /= 32;
        }
        name.push_str(TEMPORARY_END);
        CString::new(name).unwrap_or_default()
    }
}

impl From<CopyFault> for Refused {
    fn from(fault: CopyFault) -> Self {
        match fault {
            CopyFault::Read(errno) => Self::LeftOut(Why::Unreadable(errno)),
            CopyFault::Short => Self::LeftOut(Why::Restless),
            CopyFault::Write(errno) => Self::Stopped(Step::Write, errno),
        }
    }
}

/// Whether a file may take a name, and how: `Keep` means the name must be free.
fn room_for(folder: BorrowedFd<'_>, name: &CStr, existing: Existing) -> Result<Existing, Refused> {
    match Facts::at(folder, name) {
        Err(Errno::NOENT) => Ok(Existing::Keep),
        Ok(facts) if facts.kind != Kind::File => Err(Refused::LeftOut(Why::InTheWay)),
        Ok(_) if existing == Existing::Keep => Err(Refused::LeftOut(Why::Exists)),
        Ok(_) => Ok(Existing::Overwrite),
        Err(errno) => Err(refused_name(errno, Step::Open)),
    }
}

/// Some file systems refuse names that others take: that is no failure.
fn refused_name(errno: Errno, step: Step) -> Refused {
    match errno {
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Refused::LeftOut(Why::NameRefused(errno)),
        _ => Refused::Stopped(step, errno),
    }
}

/// A file under a temporary name; removed unless it got its own.
struct Temporary<'a> {
    folder: BorrowedFd<'a>,
    name: CString,
    file: OwnedFd,
    armed: bool,
}

impl Temporary<'_> {
    fn name_it(mut self, name: &CStr, existing: Existing) -> Result<(), Refused> {
        let folder = self.folder;
        let renamed = match existing {
            Existing::Keep => self.rename_to_free(name),
            // Replaces the name itself: a symlink put there since is not
            // followed, and a folder is not replaced.
            Existing::Overwrite => renameat(folder, self.name.as_c_str(), folder, name),
        };
        match renamed {
            Ok(()) => {
                self.armed = false;
                Ok(())
            }
            Err(Errno::EXIST) => Err(Refused::LeftOut(Why::Exists)),
            Err(Errno::ISDIR) => Err(Refused::LeftOut(Why::InTheWay)),
            Err(errno) => Err(refused_name(errno, Step::Rename)),
        }
    }

    fn rename_to_free(&self, name: &CStr) -> Result<(), Errno> {
        let (folder, own) = (self.folder, self.name.as_c_str());
        match renameat_with(folder, own, folder, name, RenameFlags::NOREPLACE) {
            // NFS and older FUSE know no such flag; a link refuses as well.
            Err(Errno::INVAL | Errno::NOSYS) => {
                linkat(folder, own, folder, name, AtFlags::empty())?;
                unlinkat(folder, own, AtFlags::empty())
            }
            renamed => renamed,
        }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if self.armed {
            // If even this fails, `sweep` finds it next time.
            unlinkat(self.folder, self.name.as_c_str(), AtFlags::empty()).ok();
        }
    }
}

/// Removes temporary files of ours that a killed `stockade` left in a folder.
pub(super) fn sweep(folder: BorrowedFd<'_>) {
    let Ok(opened) = beneath::host_folder(folder, c".") else {
        return;
    };
    let Ok(names) = beneath::names(opened.as_fd(), SWEPT_ENTRIES_MAX) else {
        return;
    };
    for name in &names.sorted {
        if name.to_str().is_ok_and(names::is_temporary) && is_stale(folder, name) {
            unlinkat(folder, name.as_c_str(), AtFlags::empty()).ok();
        }
    }
}

fn is_stale(folder: BorrowedFd<'_>, name: &CStr) -> bool {
    let Ok(facts) = Facts::at(folder, name) else {
        return false;
    };
    let written = Duration::from_secs(u64::try_from(facts.identity.changed.seconds).unwrap_or(0));
    let age = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|now| now.checked_sub(written));
    facts.kind == Kind::File
        && age.is_some_and(|age| age > STALE)
        && beneath::file(folder, name, &facts)
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// A folder that is made or opened only when something goes into it.
#[derive(Debug)]
struct Level {
    name: CString,
    state: LevelState,
}

#[derive(Debug)]
enum LevelState {
    Wanted,
    Open(OwnedFd),
    Blocked(Why),
}

/// The chain of folders from the destination down to where the walk is.
#[derive(Debug)]
pub(super) struct Shelf<'a> {
    top: BorrowedFd<'a>,
    levels: Vec<Level>,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(top: BorrowedFd<'a>) -> Self {
        Self { top, levels: Vec::new() }
    }

    pub(super) fn down(&mut self, name: CString) {
        self.levels.push(Level { name, state: LevelState::Wanted });
    }

    pub(super) fn up(&mut self) {
        self.levels.pop();
    }

    /// The folder where the walk is, made with its parents if need be.
    pub(super) fn folder(&mut self) -> Result<BorrowedFd<'_>, Refused> {
        let mut at = self.top;
        for level in &mut self.levels {
            if matches!(level.state, LevelState::Wanted) {
                level.state = match enter(at, &level.name) {
                    Ok(fd) => LevelState::Open(fd),
                    Err(Refused::LeftOut(why)) => LevelState::Blocked(why),
                    Err(stopped @ Refused::Stopped(..)) => return Err(stopped),
                };
            }
            at = match &level.state {
                LevelState::Open(fd) => fd.as_fd(),
                LevelState::Blocked(why) => return Err(Refused::LeftOut(*why)),
                LevelState::Wanted => return Err(Refused::LeftOut(Why::InTheWay)),
            };
        }
        Ok(at)
    }
}

/// Opens a folder, made if it is not there; a symlink to one is in the way.
pub(super) fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Refused> {
    let made = match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(refused_name(errno, Step::MakeFolder)),
    };
    match beneath::host_folder(parent, name) {
        Ok(fd) => {
            if !made {
                sweep(fd.as_fd());
            }
            Ok(fd)
        }
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Refused::LeftOut(Why::InTheWay)),
        Err(errno) => Err(Refused::Stopped(Step::Open, errno)),
    }
}
