//! Where root writes, and how: never where others could lead it elsewhere.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Uid};

use super::failed;
use crate::refusal::Refusal;
use crate::whole;

/// Refuses a place that others could lead elsewhere.
pub(super) fn check_place(prefix: Option<&Path>, place: &Path) -> Result<(), Refusal> {
    let refused = |path: &Path, why: &str| {
        Refusal::invalid(format!("nothing is written below {}", path.display()), why, "name another folder")
    };
    // The links of this machine are root's; those of another one's files would lead to this one's.
    if let Some(prefix) = prefix {
        let below = |path: &&Path| path.starts_with(prefix) && *path != prefix;
        let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|status| status.is_symlink());
        if let Some(link) = place.ancestors().filter(below).find(is_link) {
            return Err(refused(link, "it is a link, which leads to files of this machine"));
        }
    }
    let above = place.ancestors().skip(1).find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    let there = above.canonicalize().map_err(|error| failed(above, &error))?;
    match writable_by_others(&there) {
        Some(loose) if rustix::process::geteuid().is_root() => Err(refused(loose, "others than root may write to it")),
        _ => Ok(()),
    }
}

/// A folder that is its owner's alone. One that has something in it of others stays as it is.
pub(super) fn own_folder(folder: &Path, owner: Option<(Uid, Gid)>) -> Result<(), Refusal> {
    let io_failed = |error: std::io::Error| failed(folder, &error);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(io_failed)?;
    // One folder from here on, whatever its name comes to lead to.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| io_failed(errno.into())).map(File::from)?;
    let status = opened.metadata().map_err(io_failed)?;
    let wanted = owner.map_or(status.uid(), |(uid, _)| uid.as_raw());
    let is_its_own = status.uid() == wanted && status.mode() & 0o077 == 0;
    if !is_its_own && std::fs::read_dir(folder).map_err(io_failed)?.next().is_some() {
        return Err(Refusal::invalid(
            format!("{} cannot be the node's folder", folder.display()),
            "it has something in it, and is not the service's user's alone",
            "name one that is empty or not there, with --folder DIR",
        ));
    }
    opened.set_permissions(std::fs::Permissions::from_mode(0o700)).map_err(io_failed)?;
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&opened, Some(uid), Some(gid)).map_err(|errno| io_failed(errno.into()))?;
    }
    Ok(())
}

/// The first of a file and the folders above it that others than root may change. A folder where only owners may
/// rename is safe for what is root's.
pub(super) fn writable_by_others(program: &Path) -> Option<&Path> {
    program.ancestors().find(|path| {
        std::fs::metadata(path).map_or(true, |status| {
            let sticky = status.is_dir() && status.mode() & 0o1000 != 0;
            status.uid() != 0 || (status.mode() & 0o022 != 0 && !sticky)
        })
    })
}

/// A file that all may read, and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    whole::write(path, 0o644, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_others_may_write_to_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("stockade");
        std::fs::write(&program, "x").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(writable_by_others(&program).is_some());
        assert_eq!(writable_by_others(Path::new("/usr/bin/env")), None);
    }
}
