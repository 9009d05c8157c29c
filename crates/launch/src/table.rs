//! Parent, outside: what memory that strangers wrote to must be before code is given it as a table.
//!
//! It is not copied, and is charged to whoever wrote it. So it must be memory that nobody can change, cut off or
//! lengthen any more, every page of which is there already, and which the code can do nothing to but read. Each
//! process on the way holds it against this anew.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use stockade_core::facts::{Source, SourceKind};
use stockade_core::paths;
use stockade_core::plan::Plan;

use crate::failure::Failure;
use crate::hooks;
use crate::outside::failed;

/// Most bytes of one table.
pub const BYTES_MAX: u64 = 16 << 30;

/// `TMPFS_MAGIC` of linux/magic.h; what lies on huge pages is another kind, which is accounted for elsewhere.
const MEMORY: u32 = 0x0102_1994;

/// Why a descriptor cannot be a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is no file of memory.
    NotMemory,
    /// Its bytes could still change, or their number.
    Unsealed,
    /// Its mode lets others write or execute, which it would be for notes left on it.
    Mode,
    /// It is empty, or has more bytes than a table may have.
    Size(u64),
    /// Some of its pages are not there: whoever reads them would make them, and pay for them.
    Holes,
    /// The kernel does not say.
    Unknown(Errno),
}

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMemory => out.write_str("it is no file of memory (memfd_create)"),
            Self::Unsealed => out.write_str("it lacks one of the seals F_SEAL_SHRINK, GROW, WRITE and SEAL"),
            Self::Mode => out.write_str("its mode is not 0444"),
            Self::Size(0) => out.write_str("it is empty"),
            Self::Size(bytes) => write!(out, "it has {bytes} bytes"),
            Self::Holes => out.write_str("it has holes"),
            Self::Unknown(errno) => out.write_str(&crate::errno_text(*errno)),
        }
    }
}

/// Holds a descriptor against all that a table must be; tells its bytes.
///
/// # Errors
/// [`Unfit`] says what it is not.
pub fn check(table: impl AsFd) -> Result<u64, Unfit> {
    let table = table.as_fd();
    // First, since it asks nothing of a file system that a stranger may serve, should one ever come so far.
    let seals = match rustix::fs::fcntl_get_seals(table) {
        Ok(seals) => seals,
        Err(Errno::INVAL | Errno::BADF) => return Err(Unfit::NotMemory),
        Err(errno) => return Err(Unfit::Unknown(errno)),
    };
    let whole = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    if !seals.contains(whole) {
        return Err(Unfit::Unsealed);
    }
    let status = rustix::fs::fstat(table).map_err(Unfit::Unknown)?;
    let system = rustix::fs::fstatfs(table).map_err(Unfit::Unknown)?;
    // The width and sign of the field differ between architectures; the numbers have 32 bits.
    let kind = u32::try_from(i128::from(system.f_type) & 0xffff_ffff).unwrap_or(0);
    if kind != MEMORY || FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Unfit::NotMemory);
    }
    if status.st_mode & 0o7777 != 0o444 {
        return Err(Unfit::Mode);
    }
    let bytes = u64::try_from(status.st_size).unwrap_or(0);
    if bytes == 0 || bytes > BYTES_MAX {
        return Err(Unfit::Size(bytes));
    }
    // Sealed as it is, no hole can be made any more.
    if u64::try_from(status.st_blocks).unwrap_or(0).saturating_mul(512) < bytes {
        return Err(Unfit::Holes);
    }
    Ok(bytes)
}

/// The same memory through an open file of our own, to be read only: where a stranger is in it, and what flags it
/// has there, is nothing to us, and the other way round.
///
/// # Errors
/// As open(2) of its link below `/proc`.
pub fn reopen(table: impl AsFd) -> Result<OwnedFd, Errno> {
    open(table.as_fd().as_raw_fd().unsigned_abs())
}

fn open(number: u32) -> Result<OwnedFd, Errno> {
    // It has been checked to be memory, or is checked after: nothing here waits.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(paths::descriptor(number), flags, Mode::empty())
}

/// Looks at the table that this process has as a number.
///
/// # Errors
/// [`Unfit`] when it is none.
pub fn look(number: u32) -> Result<Source, Unfit> {
    let table = open(number).map_err(Unfit::Unknown)?;
    let bytes = check(&table)?;
    let status = rustix::fs::fstat(&table).map_err(Unfit::Unknown)?;
    Ok(Source {
        path: paths::descriptor(number).into(),
        device: status.st_dev,
        inode: status.st_ino,
        uid: status.st_uid,
        gid: status.st_gid,
        mode: status.st_mode & 0o7777,
        bytes,
        kind: SourceKind::File { executable: false },
    })
}

/// A table, and the number it gets inside.
pub(crate) type Handed = (OwnedFd, u32);

/// Opens every table of the plan anew, and compares it with what was decided about.
pub(crate) fn open_all(plan: &Plan) -> Result<Vec<Handed>, Failure> {
    plan.tables().map(|(source, _, number)| open_one(source).map(|table| (table, number))).collect()
}

fn open_one(source: &Source) -> Result<OwnedFd, Failure> {
    let shown = source.path.to_string_lossy().into_owned();
    hooks::fault("open table").map_err(failed("open", shown.clone()))?;
    let changed = || Failure::Changed { path: shown.clone() };
    let number = shown.rsplit_once('/').and_then(|(_, number)| number.parse().ok()).ok_or_else(changed)?;
    let table = open(number).map_err(failed("open", shown.clone()))?;
    let status = rustix::fs::fstat(&table).map_err(failed("open", shown.clone()))?;
    let is_same = (status.st_dev, status.st_ino) == (source.device, source.inode);
    if is_same && check(&table) == Ok(source.bytes) { Ok(table) } else { Err(changed()) }
}

/// Whether a descriptor can only be read through.
///
/// # Errors
/// As fcntl(2).
pub fn is_read_only(table: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(rustix::fs::fcntl_getfl(table)? & OFlags::RWMODE == OFlags::RDONLY)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, fchmod, fcntl_add_seals, ftruncate, memfd_create};

    use super::*;

    const ALL: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

    fn memory(bytes: &[u8]) -> OwnedFd {
        let memory = memfd_create("table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::io::write(&memory, bytes).unwrap();
        fchmod(&memory, Mode::from_raw_mode(0o444)).unwrap();
        memory
    }

    #[test]
    fn a_table_is_whole_sealed_memory_that_can_only_be_read() {
        let table = memory(b"ARROW1");
        assert_eq!(check(&table), Err(Unfit::Unsealed));
        for left_out in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
            let partly = memory(b"ARROW1");
            fcntl_add_seals(&partly, ALL - left_out).unwrap();
            assert_eq!(check(&partly), Err(Unfit::Unsealed), "without {left_out:?}");
        }
        fcntl_add_seals(&table, ALL).unwrap();
        assert_eq!(check(&table), Ok(6));
        let own = reopen(&table).unwrap();
        assert!(is_read_only(own.as_fd()).unwrap() && !is_read_only(table.as_fd()).unwrap());
        rustix::fs::seek(&own, rustix::fs::SeekFrom::Start(3)).unwrap();
        assert_eq!(rustix::fs::tell(&table).unwrap(), 6, "places in it are told apart");
    }

    #[test]
    fn memory_that_others_may_write_to_or_that_is_not_there_is_no_table() {
        let writable = memory(b"ARROW1");
        for mode in [0o777, 0o644, 0o400, 0o1444] {
            fchmod(&writable, Mode::from_raw_mode(mode)).unwrap();
            let sealed = rustix::io::dup(&writable).unwrap();
            fcntl_add_seals(&sealed, ALL).ok();
            assert_eq!(check(&sealed), Err(Unfit::Mode), "{mode:o}");
        }
        let empty = memory(b"");
        fcntl_add_seals(&empty, ALL).unwrap();
        assert_eq!(check(&empty), Err(Unfit::Size(0)));
        let sparse = memory(b"ARROW1");
        ftruncate(&sparse, 1 << 30).unwrap();
        fcntl_add_seals(&sparse, ALL).unwrap();
        assert_eq!(check(&sparse), Err(Unfit::Holes));
        let large = memory(b"ARROW1");
        ftruncate(&large, BYTES_MAX + 1).unwrap();
        fcntl_add_seals(&large, ALL).unwrap();
        assert_eq!(check(&large), Err(Unfit::Size(BYTES_MAX + 1)));
    }

    #[test]
    fn nothing_but_memory_is_a_table() {
        let file = tempfile::tempfile().unwrap();
        assert!(check(&file).is_err());
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let device = std::fs::File::open("/dev/zero").unwrap();
        let memory_of_this = std::fs::File::open("/proc/self/mem").unwrap();
        let folder = std::fs::File::open("/").unwrap();
        let path_only = rustix::fs::open("/etc/passwd", OFlags::PATH, Mode::empty()).unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for (what, refused) in [
            ("a pipe", check(&reader)),
            ("a device", check(&device)),
            ("a process", check(&memory_of_this)),
            ("a folder", check(&folder)),
            ("a path", check(&path_only)),
            ("a socket", check(&socket)),
        ] {
            assert_eq!(refused, Err(Unfit::NotMemory), "{what}");
        }
        assert!(look(u32::MAX).is_err());
    }
}
