//! Child, inside, trusts nothing: the root file system of one run, piece by piece.
//!
//! Nothing of the host is visible in it but what the plan names. Working pieces (the scratch tmpfs
//! as a whole, lower folders of overlays) lie below `/.stockade` while it is built and are gone after.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use stockade_core::paths::InsidePath;
use stockade_core::plan::{Mount, Plan};
use stockade_core::request::Over;

use crate::failure::Step;
use crate::hooks;
use crate::inside::{At, Failed, read_only};
use crate::sys;

/// Where working pieces lie while the root is built.
const WORKSHOP: &str = "/.stockade";

/// The root under construction.
#[derive(Debug)]
pub(crate) struct Root {
    base: OwnedFd,
    scratch: OwnedFd,
    proc: Option<OwnedFd>,
}

/// What became of one mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// It is in place.
    Done,
    /// The kernel refused an overlay; a copy may be mounted instead.
    OverlayRefused,
}

/// The scratch folder of mount `number` of the plan: what overlays write to, or what is bound.
pub(crate) fn scratch_folder(number: u32) -> String {
    format!("s{number}")
}

/// A C string of a path.
pub(crate) fn c_path(path: &str) -> Result<CString, Failed> {
    CString::new(path).map_err(|_| Errno::INVAL).at(Step::Mount)
}

fn c(path: &str) -> Result<CString, Failed> {
    c_path(path)
}

impl Root {
    /// Makes the (detached) root, scratch and process file systems, and the scratch folders.
    pub(crate) fn begin(plan: &Plan) -> Result<Self, Failed> {
        let made: usize = plan.mounts.iter().map(|mount| if let Mount::File { contents, .. } = mount { contents.len() + 4096 } else { 0 }).sum();
        let size = c(&format!("{}", made + (1 << 20)))?;
        let base = sys::new_mount(c"tmpfs", &[(c"size", &size), (c"nr_inodes", c"4096"), (c"mode", c"0755")], MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV).at(Step::RootFolder)?;
        let bytes = c(&plan.limits.scratch_bytes.to_string())?;
        // A few more for the folders that are made here.
        let files = c(&(plan.limits.scratch_files + 64).to_string())?;
        let options: [(&CStr, &CStr); 3] = [(c"size", &bytes), (c"nr_inodes", &files), (c"mode", c"0755")];
        let scratch = sys::new_mount(c"tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV).at(Step::Scratch)?;
        for (number, mount) in (0..).zip(&plan.mounts) {
            let mode = match mount {
                Mount::Scratch { sticky: true, .. } => 0o1777,
                Mount::Scratch { sticky: false, .. } | Mount::CopyOnWrite { .. } | Mount::Layered { .. } => 0o755,
                _ => continue,
            };
            make_at(scratch.as_fd(), &scratch_folder(number), mode)?;
            if matches!(mount, Mount::CopyOnWrite { .. }) {
                make_at(scratch.as_fd(), &format!("w{number}"), 0o755)?;
            }
        }
        // Refused inside many containers, whose own /proc is covered in part (mount_too_revealing):
        // the layer is then missing, and the host's is never used instead.
        let proc = if hooks::removed(stockade_core::layer::Layer::Proc) {
            None
        } else {
            sys::new_mount(c"proc", &[(c"hidepid", c"invisible")], MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC).ok()
        };
        Ok(Self { base, scratch, proc })
    }

    /// The scratch tmpfs, whose descriptor the supervisor keeps to stage and to collect.
    pub(crate) fn scratch(&self) -> BorrowedFd<'_> {
        self.scratch.as_fd()
    }

    /// Makes it the root of this process; the host is out of reach from here on. Says whether there is a `/proc`.
    pub(crate) fn enter(&mut self) -> Result<bool, Failed> {
        sys::move_mount(self.base.as_fd(), c"/").at(Step::RootFolder)?;
        sys::enter_folder(self.base.as_fd()).at(Step::RootFolder)?;
        sys::pivot_root().at(Step::Pivot)?;
        for (folder, mode) in [("/.stockade", 0o700), ("/.stockade/scratch", 0o700), ("/.stockade/empty", 0o755)] {
            sys::make_folder(&c(folder)?, mode).at(Step::RootFolder)?;
        }
        sys::move_mount(self.scratch.as_fd(), &c("/.stockade/scratch")?).at(Step::Scratch)?;
        Ok(self.proc.is_some())
    }

    /// Puts one mount of the plan in place.
    pub(crate) fn mount(&mut self, number: u32, mount: &Mount, source: Option<BorrowedFd<'_>>) -> Result<Mounted, Failed> {
        let source = || source.ok_or(Errno::BADF).at(Step::OpenSource);
        match mount {
            Mount::System { path, folder } => bind(source()?, path, *folder, read_only())?,
            Mount::Device { target } => bind(source()?, target, false, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)?,
            Mount::Shared { target, .. } => bind(source()?, target, true, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?,
            Mount::Link { target, text } => {
                make_parents(target)?;
                sys::make_link(&c(target.as_str())?, &c(text)?).at(Step::Mount)?;
            }
            Mount::File { target, contents } => {
                make_parents(target)?;
                sys::make_file(&c(target.as_str())?, contents).at(Step::Mount)?;
            }
            Mount::Scratch { target, .. } => bind_scratch(number, target, false)?,
            Mount::Layered { target, over, .. } => return layer_read_only(number, target, over, source()?),
            Mount::CopyOnWrite { target, hidden, .. } => return layer_writable(number, target, hidden, source()?),
            // The supervisor copied it before the mounts began.
            Mount::Copied { .. } => {}
            Mount::Terminals => mount_terminals()?,
            Mount::Proc => self.mount_proc()?,
        }
        Ok(Mounted::Done)
    }

    /// Puts a copy in place of a refused overlay; the supervisor made it meanwhile.
    pub(crate) fn mount_copy(&self, number: u32, mount: &Mount) -> Result<(), Failed> {
        match mount {
            Mount::CopyOnWrite { target, .. } => bind_scratch(number, target, false),
            Mount::Layered { target, .. } => bind_scratch(number, target, true),
            _ => Err(Errno::INVAL).at(Step::Overlay),
        }
    }

    fn mount_proc(&self) -> Result<(), Failed> {
        make_folders("/proc")?;
        let Some(proc) = &self.proc else { return Ok(()) };
        sys::move_mount(proc.as_fd(), c"/proc").at(Step::Proc)?;
        mask_proc()
    }

    /// Lets go of the working pieces and makes the root read-only.
    pub(crate) fn finish(self) -> Result<(), Failed> {
        sys::detach(&c("/.stockade/scratch")?).at(Step::Scratch)?;
        // Not the empty folder: overlays are made of it, and a removed folder lists nothing.
        for entry in ["scratch", "lower"] {
            match rustix::fs::rmdir(format!("{WORKSHOP}/{entry}")) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(errno).at(Step::RootFolder),
            }
        }
        // Not recursive: scratch stays writable.
        sys::mount_setattr(self.base.as_fd(), false, read_only(), None).at(Step::ReadOnly)
    }
}

fn make_at(folder: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Failed> {
    hooks::fault("mkdirat").at(Step::Scratch)?;
    let mode = rustix::fs::Mode::from_raw_mode(mode);
    rustix::fs::mkdirat(folder, name, mode).at(Step::Scratch)?;
    // mkdir honours the umask, which may be the caller's strange one.
    rustix::fs::chmodat(folder, name, mode, rustix::fs::AtFlags::empty()).at(Step::Scratch)
}

/// Makes a folder and every folder above it.
fn make_folders(path: &str) -> Result<(), Failed> {
    for (end, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
        let folder = path.get(..end).unwrap_or(path);
        sys::make_folder(&c(folder)?, 0o755).at(Step::Mount)?;
    }
    Ok(())
}

fn make_parents(path: &InsidePath) -> Result<(), Failed> {
    match path.as_str().rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => make_folders(parent),
        _ => Ok(()),
    }
}

/// Makes a mount point of the right kind.
fn make_point(target: &InsidePath, folder: bool) -> Result<(), Failed> {
    if folder {
        return make_folders(target.as_str());
    }
    make_parents(target)?;
    match sys::make_file(&c(target.as_str())?, b"") {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).at(Step::Mount),
    }
}

fn bind(source: BorrowedFd<'_>, target: &InsidePath, folder: bool, attributes: MountAttrFlags) -> Result<(), Failed> {
    make_point(target, folder)?;
    sys::mount_setattr(source, true, attributes, None).at(Step::Mount)?;
    sys::move_mount(source, &c(target.as_str())?).at(Step::Mount)
}

fn bind_scratch(number: u32, target: &InsidePath, is_read_only: bool) -> Result<(), Failed> {
    let folder = c(&format!("{WORKSHOP}/scratch/{}", scratch_folder(number)))?;
    let clone = sys::open_tree(rustix::fs::CWD, &folder, false).at(Step::Scratch)?;
    if is_read_only {
        sys::mount_setattr(clone.as_fd(), false, read_only(), None).at(Step::Scratch)?;
    }
    make_folders(target.as_str())?;
    sys::move_mount(clone.as_fd(), &c(target.as_str())?).at(Step::Scratch)
}

/// Attaches a caller's tree where only overlays find it.
fn attach_lower(number: u32, source: BorrowedFd<'_>) -> Result<CString, Failed> {
    let lower = format!("{WORKSHOP}/lower/{number}");
    make_folders(&lower)?;
    let lower = c(&lower)?;
    sys::mount_setattr(source, true, read_only(), None).at(Step::Mount)?;
    sys::move_mount(source, &lower).at(Step::Mount)?;
    Ok(lower)
}

fn overlay(options: &[(&CStr, &CStr)], attributes: MountAttrFlags, target: &InsidePath, lower: &CStr) -> Result<Mounted, Failed> {
    make_folders(target.as_str())?;
    let made = sys::new_mount(c"overlay", options, attributes);
    sys::detach(lower).at(Step::Overlay)?;
    rustix::fs::rmdir(lower).at(Step::Overlay)?;
    let Ok(made) = made else { return Ok(Mounted::OverlayRefused) };
    sys::move_mount(made.as_fd(), &c(target.as_str())?).at(Step::Overlay)?;
    Ok(Mounted::Done)
}

/// A lower-only overlay needs two lower folders (fs/overlayfs): the upper one holds what lies over
/// the tree, often nothing.
fn layer_read_only(number: u32, target: &InsidePath, over: &[Over], source: BorrowedFd<'_>) -> Result<Mounted, Failed> {
    let lower = attach_lower(number, source)?;
    let above = if over.is_empty() { format!("{WORKSHOP}/empty") } else { lay_over(number, over)? };
    let both = c(&format!("{above}:{}", lower.to_string_lossy()))?;
    overlay(&[(c"lowerdir", &both), (c"userxattr", c"")], read_only(), target, &lower)
}

fn lay_over(number: u32, over: &[Over]) -> Result<String, Failed> {
    let folder = format!("{WORKSHOP}/scratch/m{number}");
    for piece in over {
        let (Over::File { name, .. } | Over::Link { name, .. }) = piece;
        let path = below(&folder, name)?;
        match piece {
            Over::File { contents, .. } => sys::make_file(&c(path.as_str())?, contents),
            Over::Link { text, .. } => sys::make_link(&c(path.as_str())?, &c(text)?),
        }
        .at(Step::Overlay)?;
    }
    Ok(folder)
}

/// A path below a working folder, with the folders above it made.
fn below(folder: &str, name: &str) -> Result<InsidePath, Failed> {
    let path = InsidePath::parse(&format!("{folder}/{name}")).map_err(|_| Errno::INVAL).at(Step::Overlay)?;
    make_parents(&path)?;
    Ok(path)
}

fn layer_writable(number: u32, target: &InsidePath, hidden: &[String], source: BorrowedFd<'_>) -> Result<Mounted, Failed> {
    let lower = attach_lower(number, source)?;
    let lowers = if hidden.is_empty() {
        lower.clone()
    } else {
        c(&format!("{}:{}", hide(number, hidden)?, lower.to_string_lossy()))?
    };
    let upper = c(&format!("{WORKSHOP}/scratch/{}", scratch_folder(number)))?;
    let work = c(&format!("{WORKSHOP}/scratch/w{number}"))?;
    let options: [(&CStr, &CStr); 4] = [(c"lowerdir", &lowers), (c"upperdir", &upper), (c"workdir", &work), (c"userxattr", c"")];
    overlay(&options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, target, &lower)
}

/// A layer of whiteouts over the caller's tree: what it names does not exist for the code.
fn hide(number: u32, hidden: &[String]) -> Result<String, Failed> {
    let mask = format!("{WORKSHOP}/scratch/m{number}");
    make_folders(&mask)?;
    for name in hidden {
        let path = below(&mask, name)?;
        sys::make_whiteout(&c(path.as_str())?).at(Step::Overlay)?;
    }
    Ok(mask)
}

fn mount_terminals() -> Result<(), Failed> {
    make_folders("/dev/pts")?;
    let terminals = sys::new_mount(c"devpts", &[(c"ptmxmode", c"0666"), (c"mode", c"0600"), (c"max", c"256")], MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC).at(Step::Terminal)?;
    sys::move_mount(terminals.as_fd(), c"/dev/pts").at(Step::Terminal)
}

/// Files of `/proc` that tell of the machine or control it; folders are covered by an empty one.
const MASKED_FILES: [&str; 12] = [
    "/proc/cmdline", "/proc/config.gz", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/key-users",
    "/proc/kmsg", "/proc/kpagecount", "/proc/modules", "/proc/sched_debug", "/proc/sysrq-trigger", "/proc/timer_list",
];
const MASKED_FOLDERS: [&str; 7] = ["/proc/acpi", "/proc/asound", "/proc/bus", "/proc/driver", "/proc/fs", "/proc/irq", "/proc/scsi"];

fn mask_proc() -> Result<(), Failed> {
    let cover = |path: &str, with: &CStr| {
        match rustix::fs::access(path, rustix::fs::Access::EXISTS) {
            // This kernel does not have it.
            Err(_) => return Ok(()),
            Ok(()) => {}
        }
        let clone = sys::open_tree(rustix::fs::CWD, with, false).at(Step::Proc)?;
        sys::mount_setattr(clone.as_fd(), false, read_only(), None).at(Step::Proc)?;
        sys::move_mount(clone.as_fd(), &c(path)?).at(Step::Proc)
    };
    make_file_once("/.stockade/nothing")?;
    for path in MASKED_FILES {
        cover(path, c"/.stockade/nothing")?;
    }
    for path in MASKED_FOLDERS {
        cover(path, c"/.stockade/empty")?;
    }
    // Kernel parameters: readable, as programs expect, never writable.
    let clone = sys::open_tree(rustix::fs::CWD, c"/proc/sys", false).at(Step::Proc)?;
    sys::mount_setattr(clone.as_fd(), false, read_only() | MountAttrFlags::MOUNT_ATTR_NOEXEC, None).at(Step::Proc)?;
    sys::move_mount(clone.as_fd(), c"/proc/sys").at(Step::Proc)
}

fn make_file_once(path: &str) -> Result<(), Failed> {
    sys::make_file(&c(path)?, b"").at(Step::Proc)
}
