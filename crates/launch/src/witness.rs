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

/// The files that were root's alone, by device and inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness(BTreeSet<(u64, u64)>);

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
            self.0.insert((status.dev(), status.ino()));
        }
    }

    /// Whether this is one of them, and still such that root alone may write to it.
    #[must_use]
    pub fn saw(&self, status: &Metadata) -> bool {
        self.saw_at(status.uid(), status.mode(), (status.dev(), status.ino()))
    }

    fn saw_at(&self, uid: u32, mode: u32, place: (u64, u64)) -> bool {
        uid == NOBODY && mode & 0o022 == 0 && self.0.contains(&place)
    }

    /// As a file of memory that nobody changes any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn to_file(&self) -> std::io::Result<OwnedFd> {
        let mut file: File =
            rustix::fs::memfd_create("witness", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into();
        let text: String = self.0.iter().map(|(device, inode)| format!("{device} {inode}\n")).collect();
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
        let pair = |line: &str| {
            let (device, inode) = line.split_once(' ')?;
            Some((device.parse().ok()?, inode.parse().ok()?))
        };
        text.lines().map(pair).collect::<Option<_>>().map(Self).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    }
}

fn library_folders() -> impl Iterator<Item = PathBuf> {
    let pythons = PYTHONS.into_iter().map(PathBuf::from).chain(lib_of_python()).flat_map(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"python")).map(|entry| entry.path())
    });
    let pythons = pythons.flat_map(|folder| [folder.join("site-packages"), folder.join("dist-packages")]);
    pythons.chain(R.map(PathBuf::from))
}

/// Beside the interpreter of whoever names none.
fn lib_of_python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let program = std::env::split_paths(&path).find_map(|folder| folder.join("python3").canonicalize().ok())?;
    Some(program.parent()?.parent()?.join("lib"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_or_is_somebodys_is_not_roots() {
        let witness = Witness(BTreeSet::from([(1, 2)]));
        assert!(witness.saw_at(NOBODY, 0o100_644, (1, 2)));
        assert!(!witness.saw_at(NOBODY, 0o100_644, (1, 3)), "put there later");
        assert!(!witness.saw_at(0, 0o100_644, (1, 2)), "the node's own user");
        assert!(!witness.saw_at(1000, 0o100_644, (1, 2)));
        assert!(!witness.saw_at(NOBODY, 0o100_666, (1, 2)));
    }

    #[test]
    fn a_witness_is_read_as_it_was_written() {
        let witness = Witness(BTreeSet::from([(1, 2), (u64::MAX, 7)]));
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
            witness.0.contains(&(status.dev(), status.ino()))
        };
        assert!(is_there("/") && is_there("/usr") && is_there("/usr/lib"));
        assert!(!is_there("/tmp"));
    }
}
