//! Folders to collect from, and short ways to look at what came out.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use stockade_launch::collect::{
    Area, Bounds, Collected, Destination, Existing, Leavings, LeftOut, Stamp, Stopped, Why, collect,
};

/// A place with the folders that most tests need.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["job", "out", "lower"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// Collects `job` as a plain folder into `out`.
    pub(crate) fn collect(&self, bounds: Bounds) -> Collected {
        self.collect_with(bounds, Existing::Keep, &[]).unwrap()
    }

    pub(crate) fn collect_with(
        &self,
        bounds: Bounds,
        existing: Existing,
        allow: &[String],
    ) -> Result<Collected, Stopped<Collected>> {
        let (job, out) = (open(&self.at("job")), open(&self.at("out")));
        let areas = [Area { prefix: String::new(), changed: job.as_fd(), original: None }];
        let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds };
        collect(&leavings, &Destination::Folder { folder: out.as_fd(), existing, allow })
    }

    /// Lists `job` as the upper of an overlay over `lower`, mounted at `data`.
    pub(crate) fn list_overlay(&self) -> Collected {
        let (job, lower) = (open(&self.at("job")), open(&self.at("lower")));
        let areas = [Area { prefix: "data".to_owned(), changed: job.as_fd(), original: Some(lower.as_fd()) }];
        let leavings = Leavings { areas: &areas, staged: &[], folders_given: &[], bounds: Bounds::default() };
        collect(&leavings, &Destination::List).unwrap()
    }
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

pub(crate) fn make_node(path: &Path, kind: FileType) {
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from_raw_mode(0o644), 0).unwrap();
}

/// What a test's own tree may be closed to: root is not stopped by modes, and an
/// ordinary user could not look at the tree before the collector does.
pub(crate) fn readable(mode: u32) -> u32 {
    if rustix::process::geteuid().is_root() { mode } else { mode | 0o700 }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn make_opaque(path: &Path) -> bool {
    rustix::fs::setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).is_ok()
}

pub(crate) fn paths(collected: &Collected) -> Vec<&str> {
    collected.files.iter().map(|file| file.path.as_str()).collect()
}

pub(crate) fn removed(collected: &Collected) -> Vec<&str> {
    collected.removed.iter().map(|removed| removed.path.as_str()).collect()
}

pub(crate) fn why(collected: &Collected, name: &str) -> Option<Why> {
    why_in(&collected.left_out, name)
}

pub(crate) fn why_in(left_out: &[LeftOut], name: &str) -> Option<Why> {
    left_out.iter().find(|left| left.name_shown == name).map(|left| left.why)
}

pub(crate) fn now() -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Stamp { seconds: i64::try_from(now.as_secs()).unwrap(), nanoseconds: now.subsec_nanos().into() }
}
