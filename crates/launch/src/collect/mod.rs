//! Brings out what a run left behind in its folders.
//!
//! Parent, outside, after every process of the sandbox is dead. All that lies
//! below an [`Area`] was written by code nobody audited: it chose the names,
//! kinds, sizes, modes, links and depth.
//! Must never follow a symlink, open anything but a regular file or a folder,
//! write outside the destination, keep a special mode bit or an extended
//! attribute, recurse on the stack, or believe a folder entry's type.

mod apply;
pub(crate) mod beneath;
mod content;
mod names;
mod place;
mod walk;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::failure::errno_text;
pub use apply::{Applied, AppliedFile, Project, apply};
use beneath::Side;
pub use names::{CACHE_ENDINGS, CACHE_FOLDERS, NameFault, is_guarded, is_run_by_tools, shown};

/// How many entries a list of things left out may hold; the rest is counted.
pub const LEFT_OUT_LISTED_MAX: usize = 1_000;

/// One writable folder of the run, as the code left it.
#[derive(Debug)]
pub struct Area<'a> {
    /// Where it lay below `/job`: empty for `/job` itself, `data` for `/job/data`.
    pub prefix: String,
    /// The folder on scratch: a plain folder, or the *upper* of an overlay.
    pub changed: BorrowedFd<'a>,
    /// The lower of the overlay, on the host's side; `None` for a plain folder.
    pub original: Option<BorrowedFd<'a>>,
}

/// A moment as the file system stamps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u64,
}

/// What tells one state of one file from every other: any write changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Apparent size.
    pub bytes: u64,
    /// Last change of the content.
    pub modified: Stamp,
    /// Last change of content or metadata; code cannot set it.
    pub changed: Stamp,
}

impl Identity {
    /// Reads the identity of an open file.
    pub fn of(file: impl AsFd) -> Result<Self, Errno> {
        beneath::Facts::of(file.as_fd()).map(|facts| facts.identity)
    }
}

/// Where the original of a staged file lies, to be opened only when needed.
#[derive(Debug)]
pub struct Original<'a> {
    /// A folder on the host's side.
    pub folder: BorrowedFd<'a>,
    /// The file below that folder.
    pub path: String,
}

/// A file that was copied in before the start.
#[derive(Debug)]
pub struct Staged<'a> {
    /// Its path below `/job`.
    pub path: String,
    /// The copy's identity after the last touch of ours.
    pub identity: Identity,
    /// What it was copied from, for comparing content.
    pub original: Option<Original<'a>>,
}

/// What may be brought out at most; beyond it things are left out and named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Sum of apparent sizes; a hole counts like data.
    pub bytes_max: u64,
    /// Files and new folders together.
    pub files_max: u64,
    /// Folder levels entered below an area, at most [`Bounds::DEPTH_MAX`].
    pub depth_max: usize,
    /// Apparent size of one file.
    pub file_bytes_max: u64,
    /// Bytes of one name, at most 255.
    pub name_bytes_max: usize,
    /// Folder entries looked at, of whatever kind.
    pub entries_max: usize,
    /// What becomes of byte code and other caches.
    pub caches: Caches,
}

/// What becomes of caches ([`CACHE_FOLDERS`], [`CACHE_ENDINGS`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caches {
    /// They are no outputs.
    Skip,
    /// They are outputs like any other: a build makes them on purpose.
    Keep,
}

impl Bounds {
    /// Each level holds up to three descriptors open, so depth is capped here
    /// whatever is asked.
    pub const DEPTH_MAX: usize = 128;
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes_max: 1 << 30,
            files_max: 10_000,
            depth_max: 64,
            file_bytes_max: 1 << 30,
            name_bytes_max: 255,
            entries_max: 200_000,
            caches: Caches::Skip,
        }
    }
}

/// All that is known about the folders of a run that has ended.
#[derive(Debug)]
pub struct Leavings<'a> {
    /// The writable folders.
    pub areas: &'a [Area<'a>],
    /// The files copied in before the start.
    pub staged: &'a [Staged<'a>],
    /// Folders below `/job` that were there before the start (mount points,
    /// staged folders): by themselves no outputs. Prefixes of areas and parents
    /// of staged files need not be named.
    pub folders_given: &'a [String],
    /// What may be brought out.
    pub bounds: Bounds,
}

/// What to do with the outputs found.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Report only; nothing is written.
    List,
    /// Copy below a folder.
    Folder {
        /// The folder, open.
        folder: BorrowedFd<'a>,
        /// What happens to a file that is already there.
        existing: Existing,
        /// Guarded paths that were named and so may be written ([`is_guarded`]).
        allow: &'a [String],
    },
}

/// What happens to a regular file that lies where an output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the output is left out.
    Keep,
    /// It is replaced, atomically.
    Overwrite,
}

/// Whether the run made a file or altered one it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing lay there before.
    Created,
    /// Something lay there before, with other content.
    Changed,
}

/// One regular file that the run created or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Path below `/job`: valid UTF-8 without control characters.
    pub path: String,
    /// Apparent size.
    pub bytes: u64,
    /// Created or changed.
    pub state: State,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Whether tools are known to run or load a file of this name unasked.
    pub run_by_tools: bool,
    /// The regular file it replaces, as it was when collecting.
    pub original: Option<Identity>,
}

/// What kind of thing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedKind {
    /// A folder, listed after all that was in it.
    Folder,
    /// Anything else.
    File,
}

/// Something the run was given and took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Path below `/job`.
    pub path: String,
    /// Folder or not.
    pub kind: RemovedKind,
    /// The original, as it was when collecting.
    pub original: Option<Identity>,
}

/// Something found and not brought out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its path, escaped and shortened for display: never to be opened.
    pub name_shown: String,
    /// The reason.
    pub why: Why,
}

/// Why something was not brought out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A device file.
    Device,
    /// A name that cannot be taken as it is.
    Name(NameFault),
    /// The file alone is larger than allowed.
    FileTooLarge,
    /// With it, all outputs together would be larger than allowed.
    TotalBytes,
    /// There are more outputs than allowed.
    Count,
    /// A folder deeper than allowed, with all that is in it.
    Depth,
    /// More folder entries than may be looked at; the rest was not seen.
    Entries,
    /// It, or the folder, cannot be read.
    Unreadable(Errno),
    /// It is not what it was a moment ago: somebody else writes here.
    Restless,
    /// A file is already there.
    Exists,
    /// A folder, symlink or other thing is where it, or its folder, would go.
    InTheWay,
    /// A name that tools act upon, and nobody allowed it ([`is_guarded`]).
    Guarded,
    /// The destination's file system does not take the name.
    NameRefused(Errno),
    /// The original was changed, made or removed outside since the run began.
    Conflict,
    /// A folder that still holds something.
    NotEmpty,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink => f.write_str("a symbolic link"),
            Self::Fifo => f.write_str("a FIFO"),
            Self::Socket => f.write_str("a socket"),
            Self::Device => f.write_str("a device file"),
            Self::Name(fault) => fault.fmt(f),
            Self::FileTooLarge => f.write_str("larger than one file may be"),
            Self::TotalBytes => f.write_str("over the limit of bytes for all outputs"),
            Self::Count => f.write_str("over the limit of files"),
            Self::Depth => f.write_str("over the limit of depth"),
            Self::Entries => f.write_str("holds more entries than are looked at"),
            Self::Unreadable(errno) => write!(f, "cannot be read: {}", errno_text(*errno)),
            Self::Restless => f.write_str("changed while it was read"),
            Self::Exists => f.write_str("a file of this name exists"),
            Self::InTheWay => f.write_str("something that is no plain file or folder is in the way"),
            Self::Guarded => f.write_str("tools act upon this name, and it was not allowed"),
            Self::NameRefused(errno) => write!(f, "the destination refuses the name: {}", errno_text(*errno)),
            Self::Conflict => f.write_str("the original was changed outside since the run began"),
            Self::NotEmpty => f.write_str("the folder is not empty"),
        }
    }
}

/// What a run left, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Regular files created or changed; with a destination, those now there.
    pub files: Vec<Output>,
    /// Folders created.
    pub folders: Vec<String>,
    /// What was removed, children before their folder.
    pub removed: Vec<Removed>,
    /// Removed things beyond the limit of the list.
    pub removed_more: u64,
    /// What was found and not brought out.
    pub left_out: Vec<LeftOut>,
    /// Left-out things beyond the limit of the list.
    pub left_out_more: u64,
    /// Caches skipped, a folder counting once.
    pub caches: u64,
    /// Sum of the apparent sizes of `files`.
    pub bytes: u64,
}

/// What was being done when collecting or applying stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening a folder of the run, or the destination.
    Open,
    /// Making a folder at the destination.
    MakeFolder,
    /// Writing a temporary file at the destination.
    Write,
    /// Giving the temporary file its name.
    Rename,
    /// Removing a file or folder of the project.
    Remove,
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::MakeFolder => "make the folder",
            Self::Write => "write",
            Self::Rename => "put in place",
            Self::Remove => "remove",
        }
    }
}

/// Why collecting or applying stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    step: Step,
    path_shown: String,
    errno: Errno,
}

impl Failure {
    fn new(step: Step, path: &str, errno: Errno) -> Self {
        Self { step, path_shown: shown(path.as_bytes()), errno }
    }

    /// What was being done.
    pub fn step(&self) -> Step {
        self.step
    }

    /// To what, escaped for display.
    pub fn path_shown(&self) -> &str {
        &self.path_shown
    }

    /// What the kernel said.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What to do about it.
    pub fn next(&self) -> &'static str {
        match self.errno {
            Errno::NOSPC | Errno::DQUOT => "free some space, or name another folder",
            Errno::ACCESS | Errno::PERM | Errno::ROFS => "name a folder you may write to",
            Errno::MFILE | Errno::NFILE => "raise the limit of open files",
            _ => "run it again with another folder; what was written stays",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path_shown.is_empty() { "." } else { &self.path_shown };
        write!(f, "cannot {} `{place}`", self.step.words())
    }
}

impl std::error::Error for Failure {}

/// A failure midway, with what was done before it and stays done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped<T> {
    /// What went wrong.
    pub failure: Failure,
    /// What had been done.
    pub done: Box<T>,
}

/// Finds what the run created, changed and removed, and brings files out.
///
/// Nothing of a run may still be alive. A file or folder that its mode closes
/// to its own owner, the caller, is opened to it on scratch.
pub fn collect(leavings: &Leavings<'_>, destination: &Destination<'_>) -> Result<Collected, Stopped<Collected>> {
    let mut walk = walk::Walk::new(leavings, destination);
    match walk.all() {
        Ok(()) => Ok(walk.done()),
        Err(failure) => Err(Stopped { failure, done: Box::new(walk.done()) }),
    }
}

/// The area that a path below `/job` lies in: the one with the longest prefix.
pub fn area_of<'a, 'b>(areas: &'b [Area<'a>], path: &str) -> Option<&'b Area<'a>> {
    areas.iter().filter(|area| names::below(&area.prefix, path).is_some()).max_by_key(|area| area.prefix.len())
}

/// Opens the content of one output again, read-only.
pub fn open_output(areas: &[Area<'_>], path: &str) -> Result<OwnedFd, Failure> {
    open_side(area_of(areas, path).map(|area| (area, area.changed)), path, Side::Run)
}

/// Opens what an output of an overlay had been before the run, read-only.
pub fn open_original(areas: &[Area<'_>], path: &str) -> Result<OwnedFd, Failure> {
    open_side(area_of(areas, path).and_then(|area| Some((area, area.original?))), path, Side::Host)
}

fn open_side(found: Option<(&Area<'_>, BorrowedFd<'_>)>, path: &str, side: Side) -> Result<OwnedFd, Failure> {
    let opened = found
        .and_then(|(area, folder)| Some((folder, names::below(&area.prefix, path)?)))
        .ok_or(Errno::NOENT)
        .and_then(|(folder, relative)| beneath::file_at(folder, relative, side));
    opened.map_err(|errno| Failure::new(Step::Open, path, errno))
}
