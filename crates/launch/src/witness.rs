//! Outside, before a launcher is root of a user namespace only: which files of the machine are root's alone.
//!
//! From within such a namespace the host's root is nobody, as are all others who are not mapped, and uid 0 is the
//! node's own user. So it is looked at before, and kept: a file that is root's alone can only become another's by
//! root. What root puts there later is not known until the node is started anew.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags};

/// What the administrator keeps for us.
const OURS: &str = "/etc/stockade";
/// How deep that is looked at.
const DEPTH_MAX: usize = 4;
/// Libraries that every run sees, of Python: in folders whose names begin so.
const PYTHONS: [&str; 2] = ["/usr/lib", "/usr/local/lib"];
/// And of R.
const R: [&str; 3] = ["/usr/local/lib/R/site-library", "/usr/lib/R/site-library", "/usr/lib/R/library"];
/// More than any machine has of them.
const SEEN_MAX: usize = 40_000;
const BYTES_MAX: u64 = 4 << 20;
/// Who the kernel says a file belongs to whose owner is not mapped.
const NOBODY: u32 = 65_534;

/// The files that were root's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness(BTreeSet<Seen>);

/// One of them: device and inode, and a time in nanoseconds by which another with the same numbers is known, which
/// inodes get that were free: when a folder was made (a file system that does not keep this: when it was changed last),
/// and when anything of a file was changed last, its owner too.
type Seen = (u64, u64, i64);

fn seen(status: &Metadata) -> Seen {
    let changed = status.ctime().saturating_mul(1_000_000_000).saturating_add(status.ctime_nsec());
    let made = status.created().ok().filter(|_| status.is_dir());
    let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    let time = made.and_then(|made| i64::try_from(made.as_nanos()).ok()).unwrap_or(changed);
    (status.dev(), status.ino(), time)
}

impl Witness {
    /// Looks; what cannot be looked at is not root's alone.
    #[must_use]
    pub fn look() -> Self {
        let mut witness = Self::default();
        witness.take_tree(Path::new(OURS), DEPTH_MAX);
        for folder in library_folders() {
            witness.take_tree(&folder, 1);
        }
        witness
    }

    fn take_tree(&mut self, path: &Path, depth: usize) {
        path.ancestors().for_each(|path| self.take(path));
        let is_folder = std::fs::symlink_metadata(path).is_ok_and(|status| status.is_dir());
        if depth > 0 && is_folder {
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                self.take_tree(&entry.path(), depth - 1);
            }
        }
    }

    fn take(&mut self, path: &Path) {
        let Ok(status) = std::fs::symlink_metadata(path) else { return };
        if status.uid() == 0 && status.mode() & 0o022 == 0 && self.0.len() < SEEN_MAX {
            self.0.insert(seen(&status));
        }
    }

    /// Whether this is one of them, and still such that root alone may write to it.
    #[must_use]
    pub fn saw(&self, status: &Metadata) -> bool {
        self.saw_at(status.uid(), status.mode(), seen(status))
    }

    fn saw_at(&self, uid: u32, mode: u32, place: Seen) -> bool {
        uid == NOBODY && mode & 0o022 == 0 && self.0.contains(&place)
    }

    /// As a file of memory that nobody changes any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn to_file(&self) -> std::io::Result<OwnedFd> {
        let mut file: File =
            rustix::fs::memfd_create("witness", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into();
        let text: String = self.0.iter().map(|(device, inode, time)| format!("{device} {inode} {time}\n")).collect();
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(file.into())
    }

    /// From such a file.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(file: File) -> std::io::Result<Self> {
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        let one = |line: &str| {
            let (device, rest) = line.split_once(' ')?;
            let (inode, time) = rest.split_once(' ')?;
            Some((device.parse().ok()?, inode.parse().ok()?, time.parse().ok()?))
        };
        text.lines().map(one).collect::<Option<_>>().map(Self).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}

/// Folders of libraries that every run sees, of Python and of R, whether or not they are there.
pub fn machine_libraries() -> impl Iterator<Item = PathBuf> {
    PYTHONS.into_iter().flat_map(|folder| libraries_in(Path::new(folder))).chain(R.map(PathBuf::from))
}

/// These, and those beside the interpreter of whoever names none.
fn library_folders() -> impl Iterator<Item = PathBuf> {
    let own = interpreter().and_then(|program| Some(program.parent()?.parent()?.join("lib")));
    machine_libraries().chain(own.into_iter().flat_map(|lib| libraries_in(&lib)))
}

/// Where another Python's of these may come to be.
pub fn machine_library_roots() -> impl Iterator<Item = PathBuf> {
    PYTHONS.into_iter().map(PathBuf::from)
}

/// Folders of libraries of Python below a `lib`, whether or not they are there.
#[must_use]
pub fn libraries_in(lib: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let pythons = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"python"));
    pythons.flat_map(|entry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name))).collect()
}

/// The interpreter of whoever names none.
fn interpreter() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|folder| folder.join("python3").canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_is_somebodys_is_not_roots() {
        let witness = Witness(BTreeSet::from([(1, 2, 5)]));
        assert!(witness.saw_at(NOBODY, 0o100_644, (1, 2, 5)));
        assert!(!witness.saw_at(NOBODY, 0o100_644, (1, 3, 5)), "put there later");
        assert!(!witness.saw_at(NOBODY, 0o100_644, (1, 2, 6)), "another with the same numbers");
        assert!(!witness.saw_at(0, 0o100_644, (1, 2, 5)), "the node's own user");
        assert!(!witness.saw_at(1000, 0o100_644, (1, 2, 5)));
        assert!(!witness.saw_at(NOBODY, 0o100_666, (1, 2, 5)));
    }

    #[test]
    fn a_file_that_was_changed_or_given_away_is_another_and_a_folder_with_more_in_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "1").unwrap();
        let of = |path: &Path| seen(&std::fs::symlink_metadata(path).unwrap());
        let (file_before, folder_before) = (of(&file), of(folder.path()));
        // A clock's tick later.
        while of(&file) == file_before {
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        }
        std::fs::write(folder.path().join("other"), "").unwrap();
        assert_eq!(of(folder.path()), folder_before);
    }

    #[test]
    fn a_folder_that_got_the_number_of_one_that_was_removed_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        let make = || {
            std::fs::create_dir(&path).unwrap();
            seen(&std::fs::symlink_metadata(&path).unwrap())
        };
        let first = make();
        // The numbers of most file systems come again at once; those of others never do.
        let again = (0..200).find_map(|_| {
            std::fs::remove_dir(&path).unwrap();
            let (device, inode, time) = make();
            ((device, inode) == (first.0, first.1) && time > first.2).then_some((device, inode, time))
        });
        if let Some(again) = again {
            let mut witness = Witness::default();
            witness.0.insert(first);
            assert!(witness.saw_at(NOBODY, 0o040_755, first));
            assert!(!witness.saw_at(NOBODY, 0o040_755, again));
        }
    }

    #[test]
    fn a_witness_is_read_as_it_was_written() {
        let witness = Witness(BTreeSet::from([(1, 2, 3), (u64::MAX, 7, i64::MIN)]));
        assert_eq!(Witness::read(witness.to_file().unwrap().into()).unwrap(), witness);
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(b"1 x\n").unwrap();
        other.rewind().unwrap();
        assert!(Witness::read(other).is_err());
    }

    #[test]
    fn the_root_folder_is_roots_and_a_folder_of_anybodys_is_not() {
        let mut witness = Witness::default();
        witness.take_tree(Path::new("/usr/lib"), 0);
        witness.take(Path::new("/tmp"));
        let is_there = |path: &str| {
            let status = std::fs::symlink_metadata(path).unwrap();
            witness.0.contains(&seen(&status))
        };
        assert!(is_there("/") && is_there("/usr") && is_there("/usr/lib"));
        assert!(!is_there("/tmp"));
    }
}
