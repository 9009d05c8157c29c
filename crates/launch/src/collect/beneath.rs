//! Opening things below a held folder, and knowing what was opened.
//!
//! Parent, outside. Every name handed in here may lead anywhere.
//! Must never resolve a symlink, a magic link, `..` or a mount, and never open
//! what is not a regular file or a folder: a FIFO would block, a device act.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, chmodat, fstat, openat2, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{Identity, Stamp};

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
/// The host's own folders may hold mounts; they were not made by the code.
const RESOLVE_HOST: ResolveFlags = RESOLVE.difference(ResolveFlags::NO_XDEV);
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What kind of thing an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Symlink,
    Fifo,
    Socket,
    Device,
    /// Character device 0:0: a removal in an overlay's upper, else a device.
    Whiteout,
}

/// What one `stat` says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) identity: Identity,
    pub(super) mode: u32,
    /// Fewer bytes lie on disk than the size says.
    pub(super) sparse: bool,
    pub(crate) bytes_on_disk: u64,
    /// It has more than one name.
    pub(crate) is_linked: bool,
    owner: u32,
}

impl Facts {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        fstat(fd).map(|stat| Self::from_stat(&stat))
    }

    /// Looks at one name in a folder, without opening or following it.
    pub(crate) fn at(folder: BorrowedFd<'_>, name: &CStr) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statat(folder, name, flags).map(|stat| Self::from_stat(&stat))
    }

    fn from_stat(stat: &Stat) -> Self {
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        // In units of 512 bytes, whatever the file system's block is (stat(2)).
        let bytes_on_disk = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        Self {
            kind: kind(stat),
            identity: Identity {
                device: stat.st_dev,
                inode: stat.st_ino,
                bytes,
                modified: Stamp { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec },
                changed: Stamp { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec },
            },
            mode: stat.st_mode,
            sparse: bytes_on_disk < bytes,
            bytes_on_disk,
            is_linked: stat.st_nlink > 1,
            owner: stat.st_uid,
        }
    }

    pub(super) fn executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    fn same_inode(&self, other: &Self) -> bool {
        self.identity.device == other.identity.device
            && self.identity.inode == other.identity.inode
            && self.kind == other.kind
    }

    /// Closed by its mode to the caller, who owns it and so may open it up.
    fn closed_to_owner(&self, needed: u32) -> bool {
        self.mode & needed != needed && self.owner == geteuid().as_raw()
    }
}

fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice if stat.st_rdev == 0 => Kind::Whiteout,
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Kind::Device,
    }
}

/// Why something that was there could not be opened as what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    Errno(Errno),
    /// Another thing answers to the name than a moment ago.
    Restless,
}

impl From<Shut> for super::Why {
    fn from(shut: Shut) -> Self {
        match shut {
            Shut::Errno(errno) => Self::Unreadable(errno),
            Shut::Restless => Self::Restless,
        }
    }
}

/// Opens a folder of the run for reading its entries.
pub(crate) fn folder(parent: BorrowedFd<'_>, name: &CStr, seen: &Facts) -> Result<OwnedFd, Shut> {
    open_as(parent, name, seen, OFlags::DIRECTORY, 0o500)
}

/// Opens a folder of the run to remove what is in it.
pub(crate) fn folder_to_change(parent: BorrowedFd<'_>, name: &CStr, seen: &Facts) -> Result<OwnedFd, Shut> {
    open_as(parent, name, seen, OFlags::DIRECTORY, 0o700)
}

/// Opens a regular file of the run for reading.
pub(super) fn file(parent: BorrowedFd<'_>, name: &CStr, seen: &Facts) -> Result<OwnedFd, Shut> {
    open_as(parent, name, seen, OFlags::empty(), 0o400)
}

/// `seen` came from looking without opening, so FIFOs and devices are never
/// opened; holding an `O_PATH` descriptor meanwhile would prove no more, as it
/// can be opened for reading only by its name again.
fn open_as(parent: BorrowedFd<'_>, name: &CStr, seen: &Facts, kind: OFlags, needed: u32) -> Result<OwnedFd, Shut> {
    if seen.closed_to_owner(needed) {
        open_up(parent, name, seen, needed);
    }
    let fd = openat2(parent, name, READ | kind, Mode::empty(), RESOLVE).map_err(Shut::Errno)?;
    let opened = Facts::of(fd.as_fd()).map_err(Shut::Errno)?;
    if opened.same_inode(seen) { Ok(fd) } else { Err(Shut::Restless) }
}

/// Gives the owner of a file or folder on scratch the bits needed to read it,
/// if that can be done; whether it helped, the opening will tell.
fn open_up(parent: BorrowedFd<'_>, name: &CStr, seen: &Facts, needed: u32) {
    if let Ok(fd) = openat2(parent, name, PATH_ONLY, Mode::empty(), RESOLVE)
        && let Ok(held) = Facts::of(fd.as_fd())
        && held.same_inode(seen)
    {
        open_up_held(fd.as_fd(), &held, needed);
    }
}

/// `fchmod` refuses an `O_PATH` descriptor, and `fchmodat2` is young; through
/// our own `/proc` the very inode is reached, whatever its name became.
fn open_up_held(fd: BorrowedFd<'_>, held: &Facts, needed: u32) {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let mode = Mode::from_raw_mode((held.mode & 0o777) | needed);
    chmodat(CWD, path.as_str(), mode, AtFlags::empty()).ok();
}

/// Opens the top folder of an area for reading its entries.
pub(crate) fn top(area: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let held = Facts::of(area)?;
    if held.kind != Kind::Folder {
        return Err(Errno::NOTDIR);
    }
    if held.closed_to_owner(0o500) {
        open_up_held(area, &held, 0o500);
    }
    openat2(area, c".", READ | OFlags::DIRECTORY, Mode::empty(), RESOLVE)
}

/// Opens a folder of the host's side for reading its entries.
pub(super) fn host_folder(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat2(parent, name, READ | OFlags::DIRECTORY, Mode::empty(), RESOLVE_HOST)
}

/// Opens a regular file of the host's side, already seen to be one.
pub(super) fn host_file(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    openat2(parent, name, READ, Mode::empty(), RESOLVE_HOST)
}

/// Opens a folder of the host's side only to name things in it.
pub(super) fn host_folder_at(top: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    openat2(top, path, PATH_ONLY | OFlags::DIRECTORY, Mode::empty(), RESOLVE_HOST)
}

/// Whether anything, of whatever kind, lies at a path.
pub(super) fn exists(top: BorrowedFd<'_>, path: &str) -> bool {
    // A symlink on the way, or a file where a folder was, hides the path too.
    let opened = openat2(top, path, PATH_ONLY, Mode::empty(), RESOLVE);
    !matches!(opened, Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// Whose files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The run's scratch: no mounts, and modes may be opened up.
    Run,
    /// The host's own: never altered by opening.
    Host,
}

/// Opens the regular file at a path below a folder for reading.
pub(super) fn file_at(top: BorrowedFd<'_>, path: &str, side: Side) -> Result<OwnedFd, Errno> {
    let resolve = if side == Side::Run { RESOLVE } else { RESOLVE_HOST };
    let held = openat2(top, path, PATH_ONLY, Mode::empty(), resolve)?;
    let seen = Facts::of(held.as_fd())?;
    if seen.kind != Kind::File {
        return Err(Errno::INVAL);
    }
    if side == Side::Run && seen.closed_to_owner(0o400) {
        open_up_held(held.as_fd(), &seen, 0o400);
    }
    let fd = openat2(top, path, READ, Mode::empty(), resolve)?;
    if Facts::of(fd.as_fd())?.same_inode(&seen) { Ok(fd) } else { Err(Errno::STALE) }
}

/// The names in a folder, sorted, so that limits cut at the same place each time.
pub(crate) struct Names {
    pub(crate) sorted: Vec<CString>,
    /// There were more than asked for.
    pub(crate) more: bool,
}

/// Reads at most `count_max` names of an open folder.
pub(crate) fn names(folder: BorrowedFd<'_>, count_max: usize) -> Result<Names, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut names = Names { sorted: Vec::new(), more: false };
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if names.sorted.len() >= count_max {
            names.more = true;
            break;
        }
        names.sorted.push(name.to_owned());
    }
    names.sorted.sort_unstable();
    Ok(names)
}

/// Whether an overlay's upper folder hides the lower one of the same name.
pub(super) fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    [c"user.overlay.opaque", c"trusted.overlay.opaque"].into_iter().any(|attribute| {
        let mut value = [0_u8; 4];
        let read = rustix::fs::fgetxattr(folder, attribute, &mut value[..]);
        read.is_ok_and(|length| value.get(..length) == Some(b"y"))
    })
}
