//! Parent, outside: copies files into the run's scratch before the code runs, and maps owners.
//!
//! Sources are read with the caller's rights; the scratch is the run's own tmpfs, so sizes are
//! bounded by the kernel as well as here.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use stockade_core::facts::{Source, SourceKind};
use stockade_core::limits::Limits;
use stockade_core::paths::{self, InsidePath};
use stockade_core::plan::{Identity as User, Mount, Plan};

use crate::collect::Identity;

use crate::failure::Failure;
use crate::hooks;
use crate::outside::{failed, scratch_part};
use crate::sys::{self, Forked};

/// A file that was copied in, as it was when the code started.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// The mount of the plan whose scratch folder holds it.
    pub(crate) mount: u32,
    /// Its path below that folder.
    pub(crate) path: String,
    /// The original.
    pub(crate) original: std::path::PathBuf,
    /// The copy as it was when the code started.
    pub(crate) identity: Identity,
}

/// Copies every single file of the plan to where the code will find it.
pub(crate) fn copy_files(plan: &Plan, scratch: BorrowedFd<'_>) -> Result<Vec<Staged>, Failure> {
    let mut staged = Vec::new();
    for mount in &plan.mounts {
        if let Mount::CopiedTree { source, target, hidden } = mount {
            staged.extend(copy_tree_to(plan, source, target, hidden, scratch)?);
        }
        let Mount::Copied { source, target } = mount else { continue };
        let shown = source.path.to_string_lossy().into_owned();
        let (number, path) =
            home_of(plan, target.as_str()).ok_or_else(|| failed("stage", shown.clone())(Errno::NOTDIR))?;
        let folder = scratch_part(plan, scratch, number).map_err(failed("stage", shown.clone()))?;
        let file = open_file(source)?;
        let executable = source.kind == SourceKind::File { executable: true };
        let identity = copy_file(&file, folder.as_fd(), &path, executable, plan.identity, plan.limits.file_bytes)
            .map_err(failed("stage", shown))?;
        staged.push(Staged { mount: number, path, original: source.path.clone(), identity });
    }
    Ok(staged)
}

/// Copies files that were given as descriptors into the working folder; all belong to the code's user.
pub(crate) fn copy_given(
    plan: &Plan,
    scratch: BorrowedFd<'_>,
    files: &[(&str, &OwnedFd)],
) -> Result<Vec<Staged>, Failure> {
    let job = (0..).zip(&plan.mounts).find(|(_, mount)| mount.written_to().is_some_and(|at| at.as_str() == paths::JOB));
    let (number, _) = job.ok_or_else(|| failed("stage", paths::JOB)(Errno::NOTDIR))?;
    let folder = scratch_part(plan, scratch, number).map_err(failed("stage", paths::JOB))?;
    let mut staged = Vec::with_capacity(files.len());
    for (name, file) in files {
        let status = rustix::fs::fstat(file).map_err(failed("stage", *name))?;
        // A pipe would let this wait.
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile || name.contains('/') {
            return Err(failed("stage", *name)(Errno::INVAL));
        }
        rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).map_err(failed("stage", *name))?;
        let identity = copy_file(file, folder.as_fd(), name, false, plan.identity, plan.limits.file_bytes)
            .map_err(failed("stage", *name))?;
        staged.push(Staged { mount: number, path: (*name).to_owned(), original: std::path::PathBuf::new(), identity });
    }
    Ok(staged)
}

/// The deepest writable mount that holds the path, and the path below it.
fn home_of(plan: &Plan, target: &str) -> Option<(u32, String)> {
    (0..)
        .zip(&plan.mounts)
        .filter_map(|(number, mount)| mount.written_to().map(|folder| (number, folder)))
        .filter_map(|(number, folder)| {
            Some((folder.as_str().len(), number, target.strip_prefix(folder.as_str())?.strip_prefix('/')?.to_owned()))
        })
        .max_by_key(|(depth, ..)| *depth)
        .map(|(_, number, path)| (number, path))
}

/// Opens a caller's file and compares it with what was decided about.
fn open_file(source: &Source) -> Result<OwnedFd, Failure> {
    let shown = source.path.to_string_lossy().into_owned();
    hooks::fault("open input").map_err(failed("open", shown.clone()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(
        rustix::fs::CWD,
        &source.path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(failed("open", shown.clone()))?;
    let status = rustix::fs::fstat(&file).map_err(failed("open", shown.clone()))?;
    if (status.st_dev, status.st_ino) != (source.device, source.inode)
        || FileType::from_raw_mode(status.st_mode) != FileType::RegularFile
    {
        return Err(Failure::Changed { path: shown });
    }
    Ok(file)
}

/// Copies one file below `folder`, making the folders of its path; it belongs to the code's user.
fn copy_file(
    from: &OwnedFd,
    folder: BorrowedFd<'_>,
    path: &str,
    executable: bool,
    user: User,
    bytes_max: u64,
) -> Result<Identity, Errno> {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
    let to = sys::with_file_user(user.outside_uid, user.outside_gid, || {
        let mut parent = rustix::io::fcntl_dupfd_cloexec(folder, 3)?;
        for component in parents.split('/').filter(|component| !component.is_empty()) {
            parent = make_and_open(parent.as_fd(), OsStr::new(component))?;
        }
        let to = rustix::fs::openat(
            &parent,
            name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            mode,
        )?;
        // The caller's umask is no business of the code's.
        rustix::fs::fchmod(&to, mode)?;
        Ok(to)
    })?;
    copy_bytes(from, &to, bytes_max)?;
    Identity::of(&to)
}

fn make_and_open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn copy_bytes(from: &OwnedFd, to: &OwnedFd, bytes_max: u64) -> Result<u64, Errno> {
    let mut copied = 0;
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let count = rustix::io::read(from, &mut buffer)?;
        copied += u64::try_from(count).map_err(|_| Errno::OVERFLOW)?;
        if count == 0 {
            return Ok(copied);
        }
        if copied > bytes_max {
            return Err(Errno::FBIG);
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let written = rustix::io::write(to, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// Copies a caller's folder in place of an overlay that the kernel refused: regular files and
/// folders; anything else is left out.
pub(crate) fn copy_tree(
    plan: &Plan,
    source: &Source,
    hidden: &[String],
    scratch: BorrowedFd<'_>,
    number: u32,
) -> Result<Vec<Staged>, Failure> {
    let to = scratch_part(plan, scratch, number).map_err(failed("copy", source.path.to_string_lossy().into_owned()))?;
    copy_tree_into(plan, source, hidden, &to, number)
}

/// Copies a caller's folder to its place below a folder of scratch.
fn copy_tree_to(
    plan: &Plan,
    source: &Source,
    target: &InsidePath,
    hidden: &[String],
    scratch: BorrowedFd<'_>,
) -> Result<Vec<Staged>, Failure> {
    let at = || failed("stage", source.path.to_string_lossy().into_owned());
    // The working folder itself, or a path below it.
    let whole = (0..).zip(&plan.mounts).find(|(_, mount)| mount.written_to() == Some(target));
    let (number, path) = match whole {
        Some((number, _)) => (number, String::new()),
        None => home_of(plan, target.as_str()).ok_or_else(|| at()(Errno::NOTDIR))?,
    };
    let mut to = scratch_part(plan, scratch, number).map_err(at())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        to = sys::with_file_user(plan.identity.outside_uid, plan.identity.outside_gid, || {
            make_and_open(to.as_fd(), OsStr::new(name))
        })
        .map_err(at())?;
    }
    let mut staged = copy_tree_into(plan, source, hidden, &to, number)?;
    if !path.is_empty() {
        for file in &mut staged {
            file.path = format!("{path}/{}", file.path);
        }
    }
    Ok(staged)
}

fn copy_tree_into(
    plan: &Plan,
    source: &Source,
    hidden: &[String],
    to: &OwnedFd,
    number: u32,
) -> Result<Vec<Staged>, Failure> {
    let shown = source.path.to_string_lossy().into_owned();
    let folder = rustix::fs::openat2(
        rustix::fs::CWD,
        &source.path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(failed("copy", shown.clone()))?;
    let status = rustix::fs::fstat(&folder).map_err(failed("copy", shown.clone()))?;
    if (status.st_dev, status.st_ino) != (source.device, source.inode) {
        return Err(Failure::Changed { path: shown });
    }
    let mut copy = TreeCopy {
        hidden,
        original: &source.path,
        number,
        user: plan.identity,
        limits: &plan.limits,
        left: plan.limits.scratch_bytes,
        entries_left: plan.limits.scratch_files,
        staged: Vec::new(),
    };
    copy.folder(&folder, to, "", 0).map_err(failed("copy", shown))?;
    Ok(copy.staged)
}

struct TreeCopy<'a> {
    hidden: &'a [String],
    original: &'a Path,
    number: u32,
    user: User,
    limits: &'a Limits,
    left: u64,
    entries_left: u64,
    staged: Vec<Staged>,
}

impl TreeCopy<'_> {
    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, prefix: &str, depth: u64) -> Result<(), Errno> {
        if depth > self.limits.output_depth {
            return Err(Errno::NAMETOOLONG);
        }
        for entry in rustix::fs::Dir::read_from(from)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(text) = name.to_str().filter(|text| !matches!(*text, "." | "..")) else { continue };
            let path = if prefix.is_empty() { text.to_owned() } else { format!("{prefix}/{text}") };
            if self.hidden.contains(&path) {
                continue;
            }
            self.entries_left = self.entries_left.checked_sub(1).ok_or(Errno::NOSPC)?;
            let status = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(status.st_mode);
            if kind == FileType::Directory {
                let inner = rustix::fs::openat(
                    from,
                    name,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let target = sys::with_file_user(self.user.outside_uid, self.user.outside_gid, || {
                    make_and_open(to.as_fd(), name)
                })?;
                self.folder(&inner, &target, &path, depth + 1)?;
            } else if kind == FileType::RegularFile {
                self.file(from, to, text, path, status.st_mode & 0o100 != 0)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &str, path: String, executable: bool) -> Result<(), Errno> {
        let file = rustix::fs::openat(
            from,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let identity =
            copy_file(&file, to.as_fd(), name, executable, self.user, self.left.min(self.limits.file_bytes))?;
        self.left = self.left.saturating_sub(identity.bytes);
        self.staged.push(Staged { mount: self.number, original: self.original.join(&path), path, identity });
        Ok(())
    }
}

/// Maps the owner of a given folder to the code's user, on the detached mount only.
///
/// The map is read from a user namespace (mount_setattr(2)), which a short-lived child stands for.
pub(crate) fn map_owner(tree: BorrowedFd<'_>, source: &Source, user: User) -> Result<(), Errno> {
    const NEW_USER: u64 = 0x1000_0000;
    let (wait, hold) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let (pid, pidfd) = match sys::clone_into(NEW_USER, None)? {
        Forked::Child => {
            drop(hold);
            // Returns when the parent closes its end, or dies.
            let ended = rustix::io::read(&wait, &mut [0_u8; 1]);
            sys::exit_now(i32::from(ended.is_err()))
        }
        Forked::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(pidfd);
    let mapped = (|| {
        let folder = rustix::fs::open(
            format!("/proc/{}", pid.as_raw_nonzero()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        sys::write_kernel_file(
            folder.as_fd(),
            c"uid_map",
            format!("{} {} 1", source.uid, user.outside_uid).as_bytes(),
        )?;
        sys::write_kernel_file(
            folder.as_fd(),
            c"gid_map",
            format!("{} {} 1", source.gid, user.outside_gid).as_bytes(),
        )?;
        let namespace = rustix::fs::openat(&folder, "ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        sys::mount_setattr(tree, false, rustix::mount::MountAttrFlags::empty(), Some(namespace.as_fd()))
    })();
    drop(hold);
    sys::reap(Some(pid), true)?;
    mapped
}
