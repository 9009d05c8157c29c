//! Parent, outside, when everything inside is dead: what a run left, to be collected from.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use stockade_core::facts::Source;
use stockade_core::outcome::Outcome;
use stockade_core::paths;
use stockade_core::plan::{Mount, Plan};

use crate::bare::folder::Folder;
use crate::cgroup::Group;
use crate::collect::{self, Bounds, Caches, Leavings};
use crate::disk::Disk;
use crate::failure::Failure;
use crate::outside::{Init, failed, scratch_part};
use crate::stage::Staged;
use crate::sys;

/// A run that ended: what was measured, and its scratch.
#[derive(Debug)]
pub struct Finished {
    /// The plan it followed.
    pub plan: Plan,
    /// What was measured.
    pub outcome: Outcome,
    /// What the engine said on its result descriptor: a claim of the code.
    pub said: Vec<u8>,
    /// Whether the code left a line of standard error unended.
    pub error_ends_open: bool,
    /// When the code began: seconds and nanoseconds since 1970.
    pub began: (i64, u64),
    pub(crate) scratch: OwnedFd,
    pub(crate) staged: Vec<Staged>,
    pub(crate) copied_mounts: Vec<u32>,
    /// What the kernel still takes down.
    pub ending: Ending,
    /// Scratch on disk, if it is there; removed when this is dropped, or earlier and with an answer.
    pub disk: Option<Disk>,
}

/// The end of a sandbox in which everything is dead: the kernel takes its namespaces down, and its
/// cgroup can be removed after. Dropping it waits, so it is dropped last; what cannot be removed then
/// is the next run's to sweep.
#[derive(Debug)]
pub struct Ending {
    // Dropped in this order: a group with a process stays.
    pub(crate) _init: Init,
    pub(crate) _group: Option<Group>,
    pub(crate) _folder: Option<Folder>,
}

impl Drop for Ending {
    /// The caller is not kept by what may take long: signals that waited end it.
    fn drop(&mut self) {
        sys::unblock_signals().ok();
    }
}

/// One folder that the code wrote to, held open.
#[derive(Debug)]
struct Held {
    number: u32,
    prefix: String,
    changed: OwnedFd,
    original: Option<OwnedFd>,
}

/// The caller's file a copy was made from, its folder held open.
#[derive(Debug)]
struct HeldStaged {
    path: String,
    identity: collect::Identity,
    folder: Option<OwnedFd>,
    name: String,
}

impl Finished {
    /// Lets `with` look at what the run left below the working folder.
    ///
    /// # Errors
    /// [`Failure`] when a folder of the run cannot be opened.
    pub fn leavings<T>(&self, caches: Caches, with: impl FnOnce(&Leavings<'_>) -> T) -> Result<T, Failure> {
        let held = self.hold_areas()?;
        let held_staged: Vec<HeldStaged> = held.iter().flat_map(|area| self.hold_staged(area)).collect();
        let areas: Vec<collect::Area<'_>> = held
            .iter()
            .map(|area| collect::Area {
                prefix: area.prefix.clone(),
                changed: area.changed.as_fd(),
                original: area.original.as_ref().map(AsFd::as_fd),
            })
            .collect();
        let staged: Vec<collect::Staged<'_>> = held_staged
            .iter()
            .map(|staged| collect::Staged {
                path: staged.path.clone(),
                identity: staged.identity,
                original: staged
                    .folder
                    .as_ref()
                    .map(|folder| collect::Original { folder: folder.as_fd(), path: staged.name.clone() }),
            })
            .collect();
        let folders_given = self.folders_given();
        Ok(with(&Leavings {
            areas: &areas,
            staged: &staged,
            folders_given: &folders_given,
            bounds: Bounds { caches, ..self.bounds() },
        }))
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.plan.limits;
        Bounds {
            bytes_max: limits.output_bytes,
            files_max: limits.output_files,
            depth_max: usize::try_from(limits.output_depth).unwrap_or(Bounds::DEPTH_MAX).min(Bounds::DEPTH_MAX),
            file_bytes_max: limits.file_bytes,
            // Scratch takes a few more than its limit, for folders of ours.
            entries_max: usize::try_from(limits.scratch_files.saturating_add(crate::root::OWN_FILES))
                .unwrap_or(usize::MAX),
            ..Bounds::default()
        }
    }

    fn hold_areas(&self) -> Result<Vec<Held>, Failure> {
        let mut areas = Vec::new();
        for (number, mount) in (0..).zip(&self.plan.mounts) {
            let Some(target) = mount.written_to() else { continue };
            let source = if let Mount::CopyOnWrite { source, .. } = mount { Some(source) } else { None };
            let Some(prefix) = target.below(paths::JOB) else { continue };
            let changed = scratch_part(&self.plan, self.scratch.as_fd(), number)
                .map_err(failed("collect from", target.as_str()))?;
            // A folder that was copied has its originals one by one.
            let is_overlay = !self.copied_mounts.contains(&number);
            let original = source.filter(|_| is_overlay).map(open_original).transpose()?;
            areas.push(Held { number, prefix: prefix.to_owned(), changed, original });
        }
        Ok(areas)
    }

    fn hold_staged<'a>(&'a self, area: &'a Held) -> impl Iterator<Item = HeldStaged> + 'a {
        self.staged.iter().filter(|staged| staged.mount == area.number).map(|staged| {
            let path =
                if area.prefix.is_empty() { staged.path.clone() } else { format!("{}/{}", area.prefix, staged.path) };
            let name = staged.original.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            HeldStaged { path, identity: staged.identity, folder: staged.original.parent().and_then(open_folder), name }
        })
    }

    /// Mount points below the working folder: by themselves no outputs.
    fn folders_given(&self) -> Vec<String> {
        self.plan
            .mounts
            .iter()
            .filter_map(|mount| {
                let (Mount::CopyOnWrite { target, .. }
                | Mount::CopiedTree { target, .. }
                | Mount::Layered { target, .. }
                | Mount::Shared { target, .. }) = mount
                else {
                    return None;
                };
                target.below(paths::JOB)
            })
            .flat_map(|path| {
                path.match_indices('/')
                    .map(|(end, _)| path.get(..end).unwrap_or(path))
                    .chain([path])
                    .map(ToOwned::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter(|path| !path.is_empty())
            .collect()
    }
}

/// The caller's folder below an overlay, if it still is the one that was given.
fn open_original(source: &Source) -> Result<OwnedFd, Failure> {
    let shown = source.path.to_string_lossy().into_owned();
    let folder = rustix::fs::openat2(
        CWD,
        &source.path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS,
    )
    .map_err(failed("compare with", shown.clone()))?;
    let status = rustix::fs::fstat(&folder).map_err(failed("compare with", shown.clone()))?;
    if (status.st_dev, status.st_ino) == (source.device, source.inode) {
        Ok(folder)
    } else {
        Err(Failure::Changed { path: shown })
    }
}

/// Without it a staged file that was touched counts as changed.
fn open_folder(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}
