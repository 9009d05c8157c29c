//! Two files that take turns: when one is full, the other is emptied and goes on. Both stay open, since a confined node
//! can open none.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::refusal::Refusal;

/// Their names.
pub(crate) const NAMES: [&str; 2] = ["node.0.log", "node.1.log"];

#[derive(Debug)]
pub(super) struct Files {
    current: File,
    other: File,
    bytes: u64,
    bytes_max: u64,
}

impl Files {
    /// Opens them in a folder that nobody else may write to, and goes on where a former node stopped.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Result<Self, Refusal> {
        let next = "name a folder that only the node's user may write to, with --log-dir DIR";
        let failed = |why: String| Refusal::invalid("the folder of logs cannot be used", why, next);
        let io_failed = |error: io::Error| failed(crate::system_text(&error));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(io_failed)?;
        // One folder from here on, whatever its name comes to lead to.
        let folder = File::open(folder).map_err(io_failed)?;
        let status = folder.metadata().map_err(io_failed)?;
        if status.uid() != rustix::process::geteuid().as_raw() || status.mode() & 0o022 != 0 {
            return Err(failed("others own it, or may write to it".to_owned()));
        }
        let [first, second] = NAMES.map(|name| open(&folder, name));
        let (first, second) = (first.map_err(io_failed)?, second.map_err(io_failed)?);
        let age = |file: &File| file.metadata().map(|status| (status.mtime(), status.mtime_nsec()));
        let is_second_younger = age(&second).map_err(io_failed)? > age(&first).map_err(io_failed)?
            && length(&second).map_err(io_failed)? > 0;
        let (current, other) = if is_second_younger { (second, first) } else { (first, second) };
        let bytes = length(&current).map_err(io_failed)?;
        Ok(Self { current, other, bytes, bytes_max })
    }

    /// One line, whole.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.bytes_max {
            self.other.set_len(0)?;
            std::mem::swap(&mut self.current, &mut self.other);
            self.bytes = 0;
        }
        self.current.write_all(line)?;
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }
}

fn open(folder: &File, name: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn length(file: &File) -> io::Result<u64> {
    file.metadata().map(|status| status.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(folder: &Path) -> Vec<String> {
        NAMES.iter().map(|name| std::fs::read_to_string(folder.join(name)).unwrap()).collect()
    }

    #[test]
    fn two_files_take_turns_and_never_grow_beyond_their_bound() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        let mut files = Files::open(&folder, 10).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n"] {
            files.write(line.as_bytes()).unwrap();
        }
        assert_eq!(said(&folder), ["aaaa\nbbbb\n", "cccc\n"]);
        // Another node goes on.
        drop(files);
        let older = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        File::options().write(true).open(folder.join(NAMES[0])).unwrap().set_modified(older).unwrap();
        let mut files = Files::open(&folder, 10).unwrap();
        files.write(b"dddd\n").unwrap();
        assert_eq!(said(&folder), ["aaaa\nbbbb\n", "cccc\ndddd\n"]);
        files.write(b"eeee\n").unwrap();
        assert_eq!(said(&folder), ["eeee\n", "cccc\ndddd\n"]);
    }

    #[test]
    fn a_folder_or_a_file_of_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("logs");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), folder.join(NAMES[0])).unwrap();
        assert!(Files::open(&folder, 10).is_err(), "a link would lead elsewhere");
        std::fs::remove_file(folder.join(NAMES[0])).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Files::open(&folder, 10).is_err());
    }
}
