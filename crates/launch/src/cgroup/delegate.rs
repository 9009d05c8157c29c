//! A subtree of groups for a service that is not root. *Parent, outside, still privileged: root, who is about to
//! become somebody else.*
//!
//! Root makes the group, gives it to the service's user, and puts the process in it that starts the runs; runs then
//! find their place as everybody does ([`super::find`]). Whose it was takes nothing away at its end, for the group
//! above is not its own: [`sweep_delegated`] does, when the next one starts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid};

use super::sweep::Owner;
use super::{Absent, Available, Failure, SUPERVISOR, Step, Unified, open_dir, prepare, write_at};

/// Begins the name of a delegated group. Not as those of runs, which anybody may sweep.
const PREFIX: &str = "stockade.node-";
/// What its user writes to besides making groups below: version 1 knows only the first two.
const GIVEN: [&str; 4] = ["cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"];
/// Groups in groups that are looked for when one is taken away.
const DEPTH_MAX: u32 = 4;

/// A group in each tree, of a user.
#[derive(Debug)]
pub struct Delegated {
    name: String,
    trees: Vec<Tree>,
}

#[derive(Debug)]
struct Tree {
    above: OwnedFd,
    /// Where processes go, and its path.
    entrance: (OwnedFd, PathBuf),
}

impl Delegated {
    /// Makes the groups of this process and gives them to a user.
    ///
    /// # Errors
    /// When there is no place for them, or the kernel refuses; groups without a process may be left then, which the
    /// next call of [`sweep_delegated`] removes.
    pub fn make(available: &Available, user: u32, group: u32) -> Result<Self, Failure> {
        let name = Owner::this()?.name_after(PREFIX);
        let owner = (Uid::from_raw(user), Gid::from_raw(group));
        let trees = match available {
            Available::V1(trees) => {
                let made = trees.iter().map(|tree| {
                    let above = open_dir(&tree.dir).map_err(Failure::at(Step::Open, &tree.dir))?;
                    let entrance = given(&above, &tree.dir, &name, owner)?;
                    Ok(Tree { above, entrance })
                });
                made.collect::<Result<_, _>>()?
            }
            Available::V2(place) => vec![unified(place, &name, owner)?],
            Available::None(Absent { path, errno, .. }) => {
                return Err(Failure { step: Step::Absent, path: path.clone(), errno: errno.unwrap_or(Errno::NOTSUP) });
            }
        };
        Ok(Self { name, trees })
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// When the kernel refuses; it may then be in some trees only.
    pub fn attach(&self, process: Pid) -> Result<(), Failure> {
        let text = process.as_raw_nonzero().to_string();
        let put = |tree: &Tree| {
            let (dir, path) = &tree.entrance;
            write_at(dir, "cgroup.procs", &text).map_err(Failure::at(Step::Enter, path))
        };
        self.trees.iter().try_for_each(put)
    }

    /// Takes the groups away, as far as no process is in them and this process still may.
    pub fn remove(self) {
        for tree in self.trees {
            remove(&tree.above, &self.name, DEPTH_MAX);
        }
    }
}

/// Version 2: processes live in a leaf, beside which groups with limits can be made.
fn unified(place: &Unified, name: &str, owner: (Uid, Gid)) -> Result<Tree, Failure> {
    let above = open_dir(&place.dir).map_err(Failure::at(Step::Open, &place.dir))?;
    prepare(&above, &place.dir, place.controllers.cpu)?;
    let (dir, path) = given(&above, &place.dir, name, owner)?;
    let wanted = if place.controllers.cpu { "+memory +pids +cpu" } else { "+memory +pids" };
    write_at(&dir, "cgroup.subtree_control", wanted).map_err(Failure::at(Step::Enable, &path))?;
    let entrance = given(&dir, &path, SUPERVISOR, owner)?;
    Ok(Tree { above, entrance })
}

fn given(parent: &OwnedFd, above: &Path, name: &str, owner: (Uid, Gid)) -> Result<(OwnedFd, PathBuf), Failure> {
    let path = above.join(name);
    let failed = || Failure::at(Step::Make, &path);
    mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(failed())?;
    let dir = openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let dir = dir.map_err(failed())?;
    rustix::fs::fchown(&dir, Some(owner.0), Some(owner.1)).map_err(failed())?;
    for file in GIVEN {
        match rustix::fs::chownat(&dir, file, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed()(errno)),
        }
    }
    Ok((dir, path))
}

/// Removes what services that are gone left, and the groups of their runs. What has a process in it stays.
pub fn sweep_delegated(available: &Available) {
    let dirs: Vec<&Path> = match available {
        Available::V2(place) => vec![&place.dir],
        Available::V1(trees) => trees.iter().map(|tree| tree.dir.as_path()).collect(),
        Available::None(_) => Vec::new(),
    };
    let Ok(this) = Owner::this() else { return };
    for parent in dirs.into_iter().filter_map(|dir| open_dir(dir).ok()) {
        for name in folders_of(&parent) {
            if Owner::parse_after(&name, PREFIX).is_some_and(|owner| this.sees_end_of(owner)) {
                remove(&parent, &name, DEPTH_MAX);
            }
        }
    }
}

fn folders_of(dir: &OwnedFd) -> Vec<String> {
    let Ok(entries) = Dir::read_from(dir.as_fd()) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(ToOwned::to_owned));
    names.filter(|name| name != "." && name != "..").collect()
}

/// From the leaves up; a group that is in use refuses, and so do those above.
fn remove(parent: &OwnedFd, name: &str, depth: u32) {
    let opened = openat(parent, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    if let (Ok(dir), Some(depth)) = (opened, depth.checked_sub(1)) {
        for inner in folders_of(&dir) {
            remove(&dir, &inner, depth);
        }
    }
    // Files of a group are no folders; they go with it.
    unlinkat(parent, name, AtFlags::REMOVEDIR).ok();
}
