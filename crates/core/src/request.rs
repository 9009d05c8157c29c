//! What is asked: parsed, bounded, well formed; nothing is decided yet.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::Source;
use crate::layer::{Layer, Layers};
use crate::limits::Limit;
use crate::network::Network;
use crate::paths::InsidePath;
use crate::trust::Libraries;

/// The language of the code, as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Python scripts, code, notebooks.
    Python,
    /// R scripts.
    R,
    /// SQL over staged files.
    Sql,
    /// Any program, ad hoc.
    Program,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 4] = [Self::Python, Self::R, Self::Sql, Self::Program];

    /// The name in policies and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::R => "r",
            Self::Sql => "sql",
            Self::Program => "program",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What an engine adapter needs inside the walls to run the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The program and its arguments; the program is an inside path, or a name looked up in `PATH`.
    pub argv: Vec<String>,
    /// Variables the engine needs, besides the ones every run has.
    pub vars: BTreeMap<String, String>,
    /// Trees of the caller mounted read-only: interpreter, environment.
    pub trees: Vec<Tree>,
    /// Small files made for this run: the engine's start-up code.
    pub files: Vec<MadeFile>,
    /// Whether the engine has a result descriptor (descriptor 3).
    pub result: ResultDescriptor,
}

/// Whether descriptor 3 carries results to the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultDescriptor {
    /// Descriptor 3 is a pipe to the supervisor.
    Open,
    /// Descriptor 3 is a socket to the supervisor, from which the engine takes orders as well.
    Conversation,
    /// There is none.
    None,
}

/// A tree or file of the caller, read-only inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it lies outside.
    pub source: Source,
    /// Where it is mounted inside.
    pub target: InsidePath,
    /// What lies over it: a virtual environment names its interpreter by an outside path, which
    /// means nothing inside.
    pub over: Vec<Over>,
}

/// A piece laid over a [`Tree`], by its path below the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// A file with these bytes.
    File {
        /// Path below the tree.
        name: String,
        /// Its bytes.
        contents: Vec<u8>,
    },
    /// A symbolic link with this text.
    Link {
        /// Path below the tree.
        name: String,
        /// Its text.
        text: String,
    },
}

/// A file made for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFile {
    /// Where it is inside.
    pub target: InsidePath,
    /// Its bytes.
    pub contents: Cow<'static, [u8]>,
}

/// A file or folder staged into the working folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What is staged.
    pub source: Source,
    /// Where: the working folder itself, or a path below it.
    pub target: InsidePath,
    /// Paths below the source that are left out because they look like secrets.
    pub hidden: Vec<String>,
}

/// A table that is handed to the code as a descriptor of sealed memory: nobody copies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The memory, by the number that its descriptor has outside.
    pub source: Source,
    /// The link in the working folder that leads to it.
    pub target: InsidePath,
}

/// A folder shared live with the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What is shared.
    pub source: Source,
    /// Where it is inside.
    pub target: InsidePath,
    /// Whether the run may write.
    pub access: Access,
}

/// What a run may do with a shared folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write, on the host's own files.
    Write,
}

/// What the walls are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Namespaces and a root file system of the run's own, with every other layer.
    #[default]
    Namespaces,
    /// What can be had where namespaces are blocked: Landlock and seccomp, on the host's own files.
    Landlock,
    /// Inside the walls of `namespaces`, gVisor: a second kernel, which answers the code's system calls.
    Gvisor,
    /// Inside the walls of `namespaces`, a container made by a runtime that the administrator trusts.
    Oci,
}

impl Tier {
    /// The name of `--tier` and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Gvisor => "gvisor",
            Self::Oci => "oci",
        }
    }

    /// The layers that it never has.
    #[must_use]
    pub const fn goes_without(self) -> Layers {
        match self {
            Self::Namespaces => Layers::of(&[Layer::NoSockets, Layer::SecondKernel]),
            // What is made of files and calls on the host's kernel says nothing of the code, which is on another.
            Self::Gvisor => {
                Layers::of(&[Layer::Landlock, Layer::Scopes, Layer::Rlimits, Layer::NoSockets, Layer::Gate])
            }
            // A runtime makes mounts, which Landlock forbids to whoever it holds.
            Self::Oci => Layers::of(&[Layer::Landlock, Layer::Scopes, Layer::NoSockets, Layer::SecondKernel]),
            Self::Landlock => Layers::of(&[
                Layer::UserNamespace,
                Layer::MountNamespace,
                Layer::PidNamespace,
                Layer::Network,
                Layer::IpcNamespace,
                Layer::UtsNamespace,
                Layer::CgroupNamespace,
                Layer::TimeNamespace,
                Layer::Root,
                Layer::LockedMounts,
                Layer::Proc,
                Layer::Scratch,
                Layer::Gate,
                Layer::SecondKernel,
            ]),
        }
    }
}

/// How the three streams reach the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Streams {
    /// Three pipes.
    Pipes,
    /// A terminal of the sandbox's own.
    Terminal,
}

/// Where all that the code writes lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scratch {
    /// In memory: the kernel bounds its bytes and files.
    #[default]
    Memory,
    /// In a fresh folder made in this one: watched, not walled.
    Disk(Source),
}

/// How strictly a cgroup is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupMode {
    /// Used when it can be had; otherwise the watchdog, and the report says so.
    #[default]
    Auto,
    /// No cgroup, no run.
    Require,
    /// Not used: the watchdog, and the report says so.
    Off,
}

/// What is asked of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How the code is called in reports: a file name, `-c`, `-`.
    pub label: String,
    /// The language of the code.
    pub language: Language,
    /// What the engine needs.
    pub start: Start,
    /// Files and folders staged into the working folder.
    pub inputs: Vec<Input>,
    /// Tables handed over as descriptors.
    pub tables: Vec<Table>,
    /// Folders shared live.
    pub shares: Vec<Share>,
    /// The libraries of strangers that the code has, as they were judged.
    pub libraries: Libraries,
    /// What the walls are to be made of.
    pub tier: Tier,
    /// Limits asked for, each at most the policy's.
    pub limits: Vec<(Limit, u64)>,
    /// Network asked for.
    pub network: Network,
    /// Variables asked for.
    pub vars: BTreeMap<String, String>,
    /// Layers without which the run shall not start, besides the policy's.
    pub require: Layers,
    /// How strictly a cgroup is wanted.
    pub cgroup: CgroupMode,
    /// Where scratch lies.
    pub scratch: Scratch,
    /// How the streams reach the code.
    pub streams: Streams,
}
