//! What is known of the machine, gathered once at the edge and passed in.

use std::path::PathBuf;

use serde::Serialize;

/// Facts of the host that a plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Effective user and group of the supervisor.
    pub uid: u32,
    /// Effective group of the supervisor.
    pub gid: u32,
    /// A host id that is no one's, for what root starts: user and group of the code.
    pub throw_away: u32,
    /// The caller's folder for temporary files: the tier `landlock` makes its own in it.
    pub temporary: String,
    /// Whether root may become any user here: not within the id map of a container without root.
    pub maps_every_id: bool,
    /// The container runtime of the tiers `gvisor` and `oci`.
    pub runtime: Option<Runtime>,
    /// System folders below `/`, and links that stand for them (`/bin` → `usr/bin`).
    pub system: Vec<SystemEntry>,
    /// Files and folders of `/etc` that programs need and that exist here.
    pub etc: Vec<SystemEntry>,
}

/// A container runtime of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Whose command line it speaks.
    pub kind: RuntimeKind,
    /// The program, every symbolic link resolved.
    pub program: String,
}

/// The runtimes that can be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// gVisor.
    Runsc,
    /// The reference runtime.
    Runc,
    /// The one written in C.
    Crun,
}

impl RuntimeKind {
    /// The name of its program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runsc => "runsc",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// One entry of the host's system folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemEntry {
    /// Absolute path, the same outside and inside.
    pub path: String,
    /// What it is.
    pub kind: SystemKind,
}

/// What a system entry is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemKind {
    /// A folder, to be bound read-only.
    Folder,
    /// A file, to be bound read-only.
    File,
    /// A symbolic link, to be made again with this text.
    Link(String),
}

/// A file or folder of the caller, as it was seen when the request was made.
///
/// The launcher opens it again inside the run's own namespaces and compares device and inode, so
/// that what was decided about is what is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Absolute path with every symbolic link resolved.
    pub path: PathBuf,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes, of a file.
    pub bytes: u64,
    /// Whether it is a folder or a file.
    pub kind: SourceKind,
}

/// The two kinds of things that can be given to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A folder and everything below it.
    Folder,
    /// One regular file; `executable` keeps its x bit.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
}

impl Source {
    /// Whether everyone may read and enter it.
    #[must_use]
    pub const fn is_open_to_all(&self) -> bool {
        self.mode & 0o005 == 0o005
    }
}

impl HostFacts {
    /// A made-up host for tests and documentation of plans.
    #[must_use]
    pub fn fixture() -> Self {
        let entry = |path: &str, kind: SystemKind| SystemEntry { path: path.to_owned(), kind };
        Self {
            uid: 1000,
            gid: 1000,
            throw_away: crate::plan::throw_away_id(4242),
            temporary: "/tmp".to_owned(),
            maps_every_id: true,
            runtime: None,
            system: vec![
                entry("/usr", SystemKind::Folder),
                entry("/bin", SystemKind::Link("usr/bin".to_owned())),
                entry("/lib", SystemKind::Link("usr/lib".to_owned())),
                entry("/lib64", SystemKind::Link("usr/lib64".to_owned())),
            ],
            etc: vec![
                entry("/etc/ssl/certs", SystemKind::Folder),
                entry("/etc/ld.so.cache", SystemKind::File),
                entry("/etc/localtime", SystemKind::Link("/usr/share/zoneinfo/Etc/UTC".to_owned())),
            ],
        }
    }
}
