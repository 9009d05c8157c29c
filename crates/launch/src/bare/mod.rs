//! The tier `landlock`: a run without any namespace, where they are blocked.
//!
//! Its files lie in a folder of the host ([`folder`]); Landlock is the wall of files, seccomp that of
//! everything else ([`inside`]). There is no pid namespace whose end takes all with it: the init is the
//! reaper of the tree and kills until nobody is left ([`tree`]), and this process is its reaper.

pub(crate) mod folder;
pub(crate) mod inside;
pub(crate) mod tree;

use std::os::fd::{AsFd, OwnedFd};

use stockade_core::plan::{Groups, Plan};

use crate::failure::Failure;
use crate::outside::failed;
use crate::stage::{self, Staged};
use crate::sys;
use folder::Folder;
use tree::Orphans;

/// What a run without namespaces needs besides.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its folder, filled.
    pub(crate) folder: Folder,
    /// What was copied into it.
    pub(crate) staged: Vec<Staged>,
    /// Who is killed when the init is lost.
    pub(crate) orphans: Orphans,
    /// Processes and threads that its user has already.
    pub(crate) tasks_before: u64,
}

/// Parent, outside: makes the folder and fills it; nothing for a run with a root of its own.
pub(crate) fn make_ready(plan: &Plan) -> Result<Option<Ready>, Failure> {
    let Some(path) = plan.ground.folder() else { return Ok(None) };
    // Whoever loses its parent comes to this process, should the init be killed.
    sys::become_reaper().map_err(failed("become the reaper of", plan.run.clone()))?;
    let orphans = Orphans::begin().map_err(failed("read", "/proc"))?;
    let folder = Folder::make(path, plan)?;
    let staged = stage::copy_files(plan, folder.open.as_fd())?;
    let tasks_before = match plan.identity.groups {
        Groups::Dropped => 0,
        Groups::Kept | Groups::Unmapped => tree::tasks_of(plan.identity.outside_uid),
    };
    Ok(Some(Ready { folder, staged, orphans, tasks_before }))
}

/// What the child takes of it: the proof of life, which the init holds until everyone is dead.
pub(crate) fn alive(ready: Option<&Ready>) -> Result<Option<OwnedFd>, Failure> {
    ready
        .map(|ready| rustix::io::fcntl_dupfd_cloexec(&ready.folder.alive, 3).map_err(failed("copy", "a descriptor")))
        .transpose()
}
