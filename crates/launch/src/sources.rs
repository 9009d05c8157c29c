//! What the plan mounts of the host: opened before the host is gone, compared with what was decided about.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use stockade_core::facts::Source;
use stockade_core::plan::{Mount, Plan};

use crate::failure::Step;
use crate::inside::{At, Failed};
use crate::{root, sys};

/// What the sandbox is given of one mount's source.
#[derive(Debug)]
pub(crate) enum Given {
    /// Nothing yet: it is opened in here.
    Nothing,
    /// The mount, opened outside.
    Opened(OwnedFd),
    /// The kernel refuses to map its owner (NFS, FUSE): a copy takes its place.
    ToBeCopied,
}

/// Opens what the plan mounts, before the host is gone. What root could not be trusted to see the
/// same from in here was opened outside.
pub(crate) fn open_all(plan: &Plan, given: Vec<Given>) -> Result<Vec<Option<OwnedFd>>, Failed> {
    let given = given.into_iter().chain(std::iter::repeat_with(|| Given::Nothing));
    (0..)
        .zip(plan.mounts.iter().zip(given))
        .map(|(number, (mount, given))| match given {
            Given::Opened(source) => Ok(Some(source)),
            Given::ToBeCopied => Ok(None),
            Given::Nothing => open_one(mount).map_err(|failed| Failed { mount: number, ..failed }),
        })
        .collect()
}

pub(crate) fn open_one(mount: &Mount) -> Result<Option<OwnedFd>, Failed> {
    match mount {
        Mount::System { path, .. } if path.below("/etc").is_none() => {
            let path = root::c_path(path.as_str())?;
            sys::open_tree(rustix::fs::CWD, &path, true).map(Some).at(Step::OpenSource)
        }
        Mount::Layered { source, .. } | Mount::CopyOnWrite { source, .. } | Mount::Shared { source, .. } => {
            open_given(source).map(Some)
        }
        // Single entries of `/etc` and `/dev` are bound from clones of those folders.
        Mount::System { .. } | Mount::Device { .. } => Ok(None),
        Mount::Copied { .. }
        | Mount::CopiedTree { .. }
        | Mount::Table { .. }
        | Mount::Link { .. }
        | Mount::File { .. }
        | Mount::Scratch { .. }
        | Mount::Terminals
        | Mount::Proc
        | Mount::ForRuntime(_) => Ok(None),
    }
}

/// Opens a caller's tree, compares it with what was decided about, and clones its mount.
pub(crate) fn open_given(source: &Source) -> Result<OwnedFd, Failed> {
    let path =
        CString::new(source.path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::INVAL).at(Step::OpenSource)?;
    let folder = sys::open_without_links(&path, OFlags::PATH | OFlags::DIRECTORY).at(Step::OpenSource)?;
    let status = rustix::fs::fstat(&folder).at(Step::OpenSource)?;
    if (status.st_dev, status.st_ino) != (source.device, source.inode) {
        return Err(Errno::STALE).at(Step::SourceChanged);
    }
    sys::open_tree(folder.as_fd(), c"", true).at(Step::OpenSource)
}
