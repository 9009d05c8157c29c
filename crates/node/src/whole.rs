//! Files that are there whole or not at all, whenever the process that writes them is ended and however full the disk
//! is: written under another name, on the disk, and then called as they are meant to be.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes a file in a folder that nobody else may write to; one that was there is another from then on.
pub(crate) fn write(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let new = beside(path);
    // What a process left there that was killed.
    drop(std::fs::remove_file(&new));
    let written = write_new(&new, mode, text).and_then(|()| std::fs::rename(&new, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&new)))?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn write_new(new: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut new = OsString::from(path);
    new.push(".new");
    PathBuf::from(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_whole_leaves_what_was_there_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        // Of a process that was killed.
        std::fs::write(beside(&path), "{\"ha").unwrap();
        write(&path, 0o640, b"one").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        // A name that a file cannot take the place of.
        let taken = folder.path().join("taken");
        std::fs::create_dir_all(taken.join("more")).unwrap();
        assert!(write(&taken, 0o600, b"two").is_err());
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names, ["a.json", "taken"]);
    }
}
