//! The folder of secrets: opened once, and read below that descriptor only, whatever a name says.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use zeroize::Zeroizing;

use super::BYTES_MAX;
use crate::refusal::Refusal;

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// As it was named, which is how configuration names it.
    named: PathBuf,
    descriptor: OwnedFd,
}

impl Folder {
    /// Opens the folder that is named, for the node of this one. The process may go on reading what is below it, so it
    /// is one that is made for this.
    pub(super) fn open(named: &Path, node: &Path) -> Result<Self, Refusal> {
        let refused = |why: &str| {
            let next = "make one for secrets alone, of root or the node's user: mode 700, or 750 with the node's group";
            Refusal::invalid("the folder of secrets cannot be used", why, next)
        };
        let failed = |error: std::io::Error| {
            let next = "name a folder that the node's user may read, with --secrets FOLDER";
            Refusal::invalid("the folder of secrets cannot be used", crate::system_text(&error), next)
        };
        // Without links, so that it is below what it seems to be below.
        let path = std::fs::canonicalize(named).map_err(failed)?;
        if node.starts_with(&path) {
            return Err(refused("the node's own folder is in it"));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let about = rustix::fs::fstat(&descriptor).map_err(|errno| failed(errno.into()))?;
        if !is_ours(about.st_uid, about.st_mode) {
            return Err(refused("others may enter or change it"));
        }
        Ok(Self { path, descriptor, named: std::path::absolute(named).map_err(failed)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The text of a file below it, without the line's end; else why not.
    pub(super) fn read(&self, path: &Path) -> Result<Zeroizing<String>, String> {
        let below = path
            .strip_prefix(&self.named)
            .or_else(|_| path.strip_prefix(&self.path))
            .map_err(|_| "it is not in the folder of --secrets".to_owned())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = openat2(&self.descriptor, below, flags, Mode::empty(), resolve);
        let file = File::from(opened.map_err(|errno| crate::system_text(&errno.into()))?);
        let about = file.metadata().map_err(|error| crate::system_text(&error))?;
        if !about.is_file() || !is_ours(about.uid(), about.mode()) {
            return Err("it is no file of root or the node's user that others can neither read nor change".to_owned());
        }
        let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX + 2));
        let most = BYTES_MAX as u64 + 2;
        file.take(most).read_to_string(&mut text).map_err(|_| "it is no text".to_owned())?;
        let end = text.trim_end_matches(['\n', '\r']).len();
        text.truncate(end);
        Ok(text)
    }
}

/// Whether it is root's or the node's, others cannot read it, and its group cannot change it.
fn is_ours(owner: u32, mode: u32) -> bool {
    [0, rustix::process::geteuid().as_raw()].contains(&owner) && mode & 0o027 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_secret_is_a_private_file_below_the_folder_and_nothing_leads_out() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("secrets");
        std::fs::create_dir_all(place.join("more")).unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(&place, 0o700);
        let write = |name: &str, text: &str, mode: u32| {
            let path = home.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("outside", "out", 0o600);
        write("secrets/ldap", "hunter2\n", 0o600);
        write("secrets/more/deep", "deep", 0o440);
        write("secrets/open", "x", 0o604);
        write("secrets/shared", "x", 0o620);
        write("secrets/large", &"x".repeat(5_000), 0o600);
        symlink("ldap", place.join("link")).unwrap();
        symlink("..", place.join("up")).unwrap();
        symlink("/", place.join("root")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let node = home.path().join("node");
        let folder = Folder::open(&place, &node).unwrap();
        let read = |name: &str| folder.read(&place.join(name));
        assert_eq!(read("ldap").unwrap().as_str(), "hunter2");
        assert_eq!(read("more/deep").unwrap().as_str(), "deep");
        // Too large a one is told by its length.
        assert!(read("large").unwrap().len() > BYTES_MAX);
        for name in
            ["../outside", "up/outside", "root/etc/hostname", "link", "open", "shared", "more", "pipe", "none", ""]
        {
            assert!(read(name).is_err(), "{name}");
        }
        assert!(folder.read(Path::new("/etc/hostname")).is_err() && folder.read(Path::new("ldap")).is_err());
        // It is the folder that was opened, whatever has its name now.
        std::fs::rename(&place, home.path().join("aside")).unwrap();
        std::fs::create_dir(&place).unwrap();
        write("secrets/ldap", "other", 0o600);
        assert_eq!(read("ldap").unwrap().as_str(), "hunter2");
        // Nothing else of the machine becomes readable by its name.
        mode(&place, 0o755);
        for other in [Path::new("/"), Path::new("/etc"), &home.path().join("outside"), &place, home.path()] {
            assert!(Folder::open(other, &node).is_err(), "{}", other.display());
        }
        mode(&place, 0o700);
        assert!(Folder::open(&place, &place.join("node")).is_err(), "the node's folder is in it");
    }
}
