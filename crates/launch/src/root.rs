//! Child, inside, trusts nothing: the root file system of one run, piece by piece.
//!
//! Nothing of the host is visible in it but what the plan names. While it is built the host lies
//! below `/.stockade`, and the workshop (the scratch tmpfs as a whole, what binds and overlays are
//! made from) covers the host's `/usr` there; one unmount takes both away at the end, since each
//! unmount waits for the whole machine (an expedited RCU grace period).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use stockade_core::container;
use stockade_core::paths::{self, InsidePath};
use stockade_core::plan::{ForRuntime, Mount, Plan};
use stockade_core::request::Over;

use crate::failure::Step;
use crate::inside::{At, Failed, read_only};
use crate::{disk, hooks, sources, sys};

/// Where the host lies while the root is built.
const HOST: &CStr = c"/.stockade";
/// Where the workshop lies meanwhile: every Linux has `/usr`.
const WORKSHOP: &str = "/.stockade/usr";

/// Files and folders of ours on scratch, beyond the limit of the code.
pub(crate) const OWN_FILES: u64 = 64;

/// The root under construction.
#[derive(Debug)]
pub(crate) struct Root {
    base: OwnedFd,
    scratch: OwnedFd,
    on_disk: Option<OnDisk>,
    proc: Option<OwnedFd>,
    /// The host's `/etc` and `/dev`, of which single entries are bound.
    etc: OwnedFd,
    dev: OwnedFd,
}

/// Scratch as a folder of a disk, attached to the workshop, which stays memory.
#[derive(Debug)]
struct OnDisk {
    folder: OwnedFd,
    /// Whether the file system takes the attributes that an overlay keeps its notes in.
    keeps_notes: bool,
}

impl OnDisk {
    fn begin(folder: OwnedFd, plan: &Plan, workshop: BorrowedFd<'_>) -> Result<Self, Failed> {
        disk::restrict(folder.as_fd()).at(Step::Scratch)?;
        make_at(workshop, "disk", 0o755)?;
        make_at(folder.as_fd(), "empty", 0o755)?;
        for (number, mount) in (0..).zip(&plan.mounts) {
            for (letter, mode) in workshop_folders(mount).iter().filter(|(letter, _)| *letter == 's') {
                make_at(folder.as_fd(), &format!("{letter}{number}"), *mode)?;
                make_at(folder.as_fd(), &format!("w{number}"), 0o755)?;
            }
        }
        Ok(Self { folder, keeps_notes: true })
    }

    fn enter(&mut self) -> Result<(), Failed> {
        sys::move_mount(self.folder.as_fd(), &workshop("disk")?).at(Step::Scratch)?;
        self.keeps_notes = sys::set_attribute(&workshop("disk/empty")?, c"user.overlay.test").is_ok();
        Ok(())
    }
}

/// Where the changes of an overlay go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    InMemory,
    OnDisk,
}

impl Kept {
    /// The path of a folder there.
    fn folder(self, name: &str) -> Result<CString, Failed> {
        match self {
            Self::InMemory => workshop(name),
            Self::OnDisk => workshop(&format!("disk/{name}")),
        }
    }
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
    pub(crate) fn begin(plan: &Plan, given: disk::Given) -> Result<Self, Failed> {
        let made: usize = plan
            .mounts
            .iter()
            .map(|mount| if let Mount::File { contents, .. } = mount { contents.len() + 4096 } else { 0 })
            .sum();
        let size = c(&format!("{}", made + (1 << 20)))?;
        let nodev = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        // gVisor makes its copy of the root read-only again, and would have to name what else is locked there.
        let base_is = if plan.ground.runtime().is_some() { MountAttrFlags::empty() } else { nodev };
        let base = sys::new_mount(c"tmpfs", &[(c"size", &size), (c"nr_inodes", c"4096"), (c"mode", c"0755")], base_is)
            .at(Step::RootFolder)?;
        let on_disk = match given {
            disk::Given::Memory => None,
            disk::Given::Opened(folder) => Some(folder),
            disk::Given::Found(folder) => Some(sources::open_given(&folder)?),
        };
        // With scratch on disk what lies in memory is shared memory only, and bounded as such.
        let bytes = if on_disk.is_some() { plan.limits.memory_bytes } else { plan.limits.scratch_bytes };
        let bytes = c(&bytes.to_string())?;
        let files = c(&plan.limits.scratch_files.saturating_add(OWN_FILES).to_string())?;
        let scratch = sys::new_mount(c"tmpfs", &[(c"size", &bytes), (c"nr_inodes", &files), (c"mode", c"0755")], nodev)
            .at(Step::Scratch)?;
        make_at(base.as_fd(), ".stockade", 0o755)?;
        for name in ["empty", "etc", "dev", "locked"] {
            make_at(scratch.as_fd(), name, 0o755)?;
        }
        for (number, mount) in (0..).zip(&plan.mounts) {
            for (letter, mode) in workshop_folders(mount) {
                make_at(scratch.as_fd(), &format!("{letter}{number}"), *mode)?;
            }
        }
        let on_disk = on_disk.map(|folder| OnDisk::begin(folder, plan, scratch.as_fd())).transpose()?;
        let etc = sys::open_tree(rustix::fs::CWD, c"/etc", true).at(Step::OpenSource)?;
        sys::mount_setattr(etc.as_fd(), true, read_only(), None).at(Step::Mount)?;
        let dev = sys::open_tree(rustix::fs::CWD, c"/dev", true).at(Step::OpenSource)?;
        sys::mount_setattr(
            dev.as_fd(),
            true,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            None,
        )
        .at(Step::Mount)?;
        // Refused inside many containers, whose own /proc is covered in part (mount_too_revealing):
        // the layer is then missing, and the host's is never used instead.
        let proc = if hooks::removed(stockade_core::layer::Layer::Proc) {
            None
        } else {
            // A container runtime looks after processes of its own.
            let hidden: &[(&CStr, &CStr)] =
                if plan.ground.runtime().is_some() { &[] } else { &[(c"hidepid", c"invisible")] };
            sys::new_mount(
                c"proc",
                hidden,
                MountAttrFlags::MOUNT_ATTR_NOSUID
                    | MountAttrFlags::MOUNT_ATTR_NODEV
                    | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            )
            .ok()
        };
        Ok(Self { base, scratch, on_disk, proc, etc, dev })
    }

    /// The scratch tmpfs, whose descriptor the supervisor keeps to stage and to collect.
    pub(crate) fn scratch(&self) -> BorrowedFd<'_> {
        self.scratch.as_fd()
    }

    /// Makes it the root of this process; from here on the host lies in the workshop's shadow. Says whether there is a `/proc`.
    pub(crate) fn enter(&mut self) -> Result<bool, Failed> {
        sys::move_mount(self.base.as_fd(), c"/").at(Step::RootFolder)?;
        sys::enter_folder(self.base.as_fd()).at(Step::RootFolder)?;
        sys::pivot_root(c".stockade").at(Step::Pivot)?;
        // A second wall: whatever goes wrong below, nothing of the host is written to.
        let host =
            rustix::fs::open(HOST, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
                .at(Step::Pivot)?;
        sys::mount_setattr(host.as_fd(), true, MountAttrFlags::MOUNT_ATTR_RDONLY, None).at(Step::Pivot)?;
        sys::move_mount(self.scratch.as_fd(), &c(WORKSHOP)?).at(Step::Scratch)?;
        sys::make_file(&workshop("nothing")?, b"").at(Step::Scratch)?;
        if let Some(on_disk) = &mut self.on_disk {
            on_disk.enter()?;
        }
        // A second clone of the workshop, read-only, to bind from what must not be written to.
        let locked = sys::open_tree(rustix::fs::CWD, &c(WORKSHOP)?, false).at(Step::Scratch)?;
        sys::mount_setattr(locked.as_fd(), false, read_only(), None).at(Step::Scratch)?;
        for (mount, name) in [(&locked, "locked"), (&self.etc, "etc"), (&self.dev, "dev")] {
            sys::move_mount(mount.as_fd(), &workshop(name)?).at(Step::RootFolder)?;
        }
        Ok(self.proc.is_some())
    }

    /// Puts one mount of the plan in place.
    pub(crate) fn mount(
        &mut self,
        number: u32,
        mount: &Mount,
        source: Option<BorrowedFd<'_>>,
    ) -> Result<Mounted, Failed> {
        let source = || source.ok_or(Errno::BADF).at(Step::OpenSource);
        match mount {
            Mount::System { path, folder } if path.below("/etc").is_some() => bind_from_workshop(path, *folder)?,
            Mount::System { path, folder } => bind(source()?, path, *folder, read_only())?,
            Mount::Device { target } => bind_from_workshop(target, false)?,
            Mount::Shared { target, .. } => {
                let source = source()?;
                sys::mount_setattr(
                    source,
                    true,
                    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
                    None,
                )
                .at(Step::Mount)?;
                attach(source, target)?;
            }
            Mount::Link { target, text } => {
                let c_text = c(text)?;
                with_parents(target, |path| sys::make_link(path, &c_text))?;
            }
            Mount::Table { target, number, .. } => {
                let text = c(&paths::descriptor(*number))?;
                // In the working folder itself, which is scratch: nothing of the caller's lies on the way.
                sys::make_link(&c(target.as_str())?, &text).at(Step::Mount)?;
            }
            Mount::File { target, contents } => with_parents(target, |path| sys::make_file(path, contents))?,
            Mount::Scratch { target, .. } => return self.mount_scratch(number, target),
            Mount::Layered { target, over, .. } => return layer_read_only(number, target, over, source()?),
            Mount::CopyOnWrite { target, hidden, .. } => {
                let Ok(source) = source() else { return Ok(Mounted::OverlayRefused) };
                if self.on_disk.as_ref().is_some_and(|on_disk| !on_disk.keeps_notes) {
                    return Ok(Mounted::OverlayRefused);
                }
                return layer_writable(number, target, hidden, source, self.kept());
            }
            // The supervisor copied it before the mounts began.
            Mount::Copied { .. } | Mount::CopiedTree { .. } => {}
            Mount::Terminals => mount_terminals()?,
            Mount::Proc => {
                self.mount_proc()?;
                if self.proc.is_some() {
                    mask_proc()?;
                }
            }
            Mount::ForRuntime(ForRuntime::Root) => mount_again()?,
            Mount::ForRuntime(ForRuntime::Groups) => mount_groups()?,
            Mount::ForRuntime(ForRuntime::Proc) => self.mount_proc()?,
        }
        Ok(Mounted::Done)
    }

    /// Puts a copy in place of a refused overlay; the supervisor made it meanwhile.
    pub(crate) fn mount_copy(&self, number: u32, mount: &Mount) -> Result<(), Failed> {
        if let Mount::CopyOnWrite { target, .. } | Mount::Scratch { target, .. } = mount {
            let folder = self.kept().folder(&scratch_folder(number))?;
            bind_folder(&folder, target)
        } else {
            Err(Errno::INVAL).at(Step::Overlay)
        }
    }

    /// A bind of a folder on disk would show its outside path (show_mountinfo); an overlay over nothing
    /// shows paths of the workshop only.
    fn mount_scratch(&self, number: u32, target: &InsidePath) -> Result<Mounted, Failed> {
        match &self.on_disk {
            None => bind_scratch(number, target).map(|()| Mounted::Done),
            Some(_) if target.as_str() == paths::SHARED_MEMORY => bind_scratch(number, target).map(|()| Mounted::Done),
            Some(OnDisk { keeps_notes: false, .. }) => Ok(Mounted::OverlayRefused),
            Some(_) => overlay_scratch(number, &workshop("disk/empty")?, target, Kept::OnDisk),
        }
    }

    const fn kept(&self) -> Kept {
        if self.on_disk.is_some() { Kept::OnDisk } else { Kept::InMemory }
    }

    fn mount_proc(&self) -> Result<(), Failed> {
        make_folders("/proc")?;
        let Some(proc) = &self.proc else { return Ok(()) };
        sys::move_mount(proc.as_fd(), c"/proc").at(Step::Proc)
    }

    /// Lets go of the host and the workshop, and makes the root read-only.
    pub(crate) fn finish(self) -> Result<(), Failed> {
        sys::detach(HOST).at(Step::Pivot)?;
        // Not recursive: scratch stays writable.
        sys::mount_setattr(self.base.as_fd(), false, read_only(), None).at(Step::ReadOnly)
    }
}

/// The folders of the workshop that a mount needs, by first letter, and their modes: scratch, work
/// folder of an overlay, place of its lower tree, what lies over that.
const fn workshop_folders(mount: &Mount) -> &'static [(char, u32)] {
    match mount {
        Mount::Scratch { sticky: true, .. } => &[('s', 0o1777)],
        Mount::Scratch { sticky: false, .. } => &[('s', 0o755)],
        Mount::CopyOnWrite { .. } => &[('s', 0o755), ('w', 0o755), ('l', 0o755), ('m', 0o755)],
        Mount::Layered { .. } => &[('l', 0o755), ('m', 0o755)],
        Mount::System { .. }
        | Mount::Link { .. }
        | Mount::File { .. }
        | Mount::Copied { .. }
        | Mount::CopiedTree { .. }
        | Mount::Table { .. }
        | Mount::Shared { .. }
        | Mount::Device { .. }
        | Mount::Terminals
        | Mount::Proc
        | Mount::ForRuntime(_) => &[],
    }
}

/// A path in the workshop.
fn workshop(name: &str) -> Result<CString, Failed> {
    c(&format!("{WORKSHOP}/{name}"))
}

/// Folders are made with exactly this mode: the umask is zero meanwhile.
fn make_at(folder: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(), Failed> {
    hooks::fault("mkdirat").at(Step::Scratch)?;
    rustix::fs::mkdirat(folder, name, rustix::fs::Mode::from_raw_mode(mode)).at(Step::Scratch)
}

/// Makes a folder, and those above it that are missing.
fn make_folders(path: &str) -> Result<(), Failed> {
    match sys::make_folder(&c(path)?, 0o755) {
        Err(Errno::NOENT) => {
            let (above, _) = path.rsplit_once('/').unwrap_or_default();
            if above.is_empty() {
                return Err(Errno::NOENT).at(Step::Mount);
            }
            make_folders(above)?;
            sys::make_folder(&c(path)?, 0o755).at(Step::Mount)
        }
        other => other.at(Step::Mount),
    }
}

/// Makes something at a path; the folders above it only when they turn out to be missing.
fn with_parents(path: &InsidePath, make: impl Fn(&CStr) -> Result<(), Errno>) -> Result<(), Failed> {
    let own = c(path.as_str())?;
    match make(&own) {
        Err(Errno::NOENT) => {
            make_parents(path)?;
            make(&own).at(Step::Mount)
        }
        other => other.at(Step::Mount),
    }
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
    with_parents(target, |path| match sys::make_file(path, b"") {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    })
}

fn bind(source: BorrowedFd<'_>, target: &InsidePath, folder: bool, attributes: MountAttrFlags) -> Result<(), Failed> {
    make_point(target, folder)?;
    sys::mount_setattr(source, true, attributes, None).at(Step::Mount)?;
    sys::move_mount(source, &c(target.as_str())?).at(Step::Mount)
}

/// Binds an entry of the host's `/etc` or `/dev`; its attributes are those of the clone there.
fn bind_from_workshop(path: &InsidePath, folder: bool) -> Result<(), Failed> {
    make_point(path, folder)?;
    sys::bind(&workshop(path.relative())?, &c(path.as_str())?).at(Step::Mount)
}

fn bind_scratch(number: u32, target: &InsidePath) -> Result<(), Failed> {
    bind_folder(&workshop(&scratch_folder(number))?, target)
}

fn bind_folder(folder: &CStr, target: &InsidePath) -> Result<(), Failed> {
    let folder = sys::open_tree(rustix::fs::CWD, folder, false).at(Step::Scratch)?;
    attach(folder.as_fd(), target)
}

/// Attaches a mount where the plan wants it, following no link on the way: below the working folder
/// lies what the caller gave, and a link in it could lead to the host, which is still there.
fn attach(mount: BorrowedFd<'_>, target: &InsidePath) -> Result<(), Failed> {
    let mut point =
        rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .at(Step::Mount)?;
    for name in target.relative().split('/') {
        point = sys::enter_or_make(point.as_fd(), &c(name)?).at(Step::MountPoint)?;
    }
    sys::move_mount_onto(mount, point.as_fd()).at(Step::Mount)
}

/// Attaches a caller's tree where only overlays find it.
fn attach_lower(number: u32, source: BorrowedFd<'_>) -> Result<String, Failed> {
    let lower = format!("{WORKSHOP}/l{number}");
    sys::mount_setattr(source, true, read_only(), None).at(Step::Mount)?;
    sys::move_mount(source, &c(&lower)?).at(Step::Mount)?;
    Ok(lower)
}

fn overlay(options: &[(&CStr, &CStr)], attributes: MountAttrFlags, target: &InsidePath) -> Result<Mounted, Failed> {
    let Ok(made) = sys::new_mount(c"overlay", options, attributes) else { return Ok(Mounted::OverlayRefused) };
    attach(made.as_fd(), target)?;
    Ok(Mounted::Done)
}

/// A lower-only overlay needs two lower folders (fs/overlayfs): the upper one holds what lies over
/// the tree, often nothing.
fn layer_read_only(number: u32, target: &InsidePath, over: &[Over], source: BorrowedFd<'_>) -> Result<Mounted, Failed> {
    let lower = attach_lower(number, source)?;
    let both = c(&format!("{}:{lower}", lay_over(number, over)?))?;
    overlay(&[(c"lowerdir", &both), (c"userxattr", c"")], read_only(), target)
}

fn lay_over(number: u32, over: &[Over]) -> Result<String, Failed> {
    let folder = format!("{WORKSHOP}/m{number}");
    for piece in over {
        let (Over::File { name, .. } | Over::Link { name, .. }) = piece;
        let path = below(&folder, name)?;
        match piece {
            Over::File { contents, .. } => sys::make_file(&path, contents),
            Over::Link { text, .. } => sys::make_link(&path, &c(text)?),
        }
        .at(Step::Overlay)?;
    }
    Ok(folder)
}

/// A path below a folder of the workshop, with the folders above it made.
fn below(folder: &str, name: &str) -> Result<CString, Failed> {
    let path = InsidePath::parse(&format!("{folder}/{name}")).map_err(|_| Errno::INVAL).at(Step::Overlay)?;
    make_parents(&path)?;
    c(path.as_str())
}

fn layer_writable(
    number: u32,
    target: &InsidePath,
    hidden: &[String],
    source: BorrowedFd<'_>,
    kept: Kept,
) -> Result<Mounted, Failed> {
    let lower = attach_lower(number, source)?;
    let lowers = if hidden.is_empty() { c(&lower)? } else { c(&format!("{}:{lower}", hide(number, hidden)?))? };
    overlay_scratch(number, &lowers, target, kept)
}

/// An overlay whose changes go to the scratch folder of mount `number`.
fn overlay_scratch(number: u32, lowers: &CStr, target: &InsidePath, kept: Kept) -> Result<Mounted, Failed> {
    let upper = kept.folder(&scratch_folder(number))?;
    let work = kept.folder(&format!("w{number}"))?;
    // The end of the run would wait for a disk to take what is removed a moment later.
    let volatile: &[(&CStr, &CStr)] = if kept == Kept::OnDisk { &[(c"volatile", c"")] } else { &[] };
    let options: [(&CStr, &CStr); 4] =
        [(c"lowerdir", lowers), (c"upperdir", &upper), (c"workdir", &work), (c"userxattr", c"")];
    let options = [&options, volatile].concat();
    overlay(&options, MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV, target)
}

/// A layer of whiteouts over the caller's tree: what it names does not exist for the code.
fn hide(number: u32, hidden: &[String]) -> Result<String, Failed> {
    let mask = format!("{WORKSHOP}/m{number}");
    for name in hidden {
        sys::make_whiteout(&below(&mask, name)?).at(Step::Overlay)?;
    }
    Ok(mask)
}

fn mount_terminals() -> Result<(), Failed> {
    make_folders("/dev/pts")?;
    let terminals = sys::new_mount(
        c"devpts",
        &[(c"ptmxmode", c"0666"), (c"mode", c"0600"), (c"max", c"256")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
    .at(Step::Terminal)?;
    sys::move_mount(terminals.as_fd(), c"/dev/pts").at(Step::Terminal)
}

/// Everything that stands so far, once more: the root of a container. The host lies in it, too, until
/// it is let go of right here.
fn mount_again() -> Result<(), Failed> {
    make_folders(container::ROOT)?;
    let again = sys::open_tree(rustix::fs::CWD, c"/", true).at(Step::RootFolder)?;
    sys::mount_setattr(again.as_fd(), false, MountAttrFlags::MOUNT_ATTR_RDONLY, None).at(Step::ReadOnly)?;
    sys::move_mount(again.as_fd(), &c(container::ROOT)?).at(Step::RootFolder)?;
    sys::detach(&c(&format!("{}{}", container::ROOT, HOST.to_string_lossy()))?).at(Step::Pivot)
}

/// Where it is refused the runtime says whether it can do without.
fn mount_groups() -> Result<(), Failed> {
    make_folders("/sys/fs/cgroup")?;
    let nothing = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    match sys::new_mount(c"cgroup2", &[], nothing) {
        Ok(groups) => sys::move_mount(groups.as_fd(), c"/sys/fs/cgroup").at(Step::Mount),
        Err(_) => Ok(()),
    }
}

/// Files of `/proc` that tell of the machine to everyone; what only root may read or write is
/// closed by the throw-away user already. Folders are covered by an empty one.
const MASKED_FILES: [&str; 6] = ["cmdline", "config.gz", "kallsyms", "keys", "key-users", "modules"];
const MASKED_FOLDERS: [&str; 7] = ["acpi", "asound", "bus", "driver", "fs", "irq", "scsi"];

fn mask_proc() -> Result<(), Failed> {
    let (nothing, empty) = (workshop("locked/nothing")?, workshop("locked/empty")?);
    let files = MASKED_FILES.into_iter().map(|name| (name, &nothing));
    for (name, cover) in files.chain(MASKED_FOLDERS.into_iter().map(|name| (name, &empty))) {
        match sys::bind(cover, &c(&format!("/proc/{name}"))?) {
            // This kernel does not have it.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno).at(Step::Proc),
        }
    }
    // Kernel parameters: readable, as programs expect, never writable.
    let clone = sys::open_tree(rustix::fs::CWD, c"/proc/sys", false).at(Step::Proc)?;
    sys::mount_setattr(clone.as_fd(), false, read_only() | MountAttrFlags::MOUNT_ATTR_NOEXEC, None).at(Step::Proc)?;
    sys::move_mount(clone.as_fd(), c"/proc/sys").at(Step::Proc)
}
