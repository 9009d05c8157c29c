//! What can go wrong in the launcher, and what to do next.

use rustix::io::Errno;
use stockade_core::layer::{Layer, Layers};
use stockade_core::text;
use thiserror::Error;

use crate::cgroup;

/// The step that a machine without user namespaces refuses.
pub(crate) const MAKE_NAMESPACES: &str = "make the namespaces of";

/// The step that makes scratch on disk.
pub(crate) const MAKE_SCRATCH: &str = "make scratch in";

/// An errno as somebody tells it that is not believed: rustix ends the process for a number that is none.
pub(crate) const fn told_errno(number: i32) -> Errno {
    if number > 0 && number < 4096 { Errno::from_raw_os_error(number) } else { Errno::INVAL }
}

/// A run that did not start, or could not be followed to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// A step outside of the sandbox failed.
    #[error("cannot {step} `{}`", text::shown(.object, 400))]
    Outside {
        /// What was done.
        step: &'static str,
        /// To what.
        object: String,
        /// The system's answer.
        errno: Errno,
    },
    /// A step inside of the sandbox failed before the code started.
    #[error("cannot {}{}", step.what(), object.as_ref().map_or_else(String::new, |object| format!(" `{}`", text::shown(object, 400))))]
    Inside {
        /// What was done.
        step: Step,
        /// The mount of the plan it was about.
        object: Option<String>,
        /// The system's answer.
        errno: Errno,
    },
    /// A step with the run's cgroup failed.
    #[error("{0}")]
    Cgroup(cgroup::Failure),
    /// The machine cannot give layers that the plan requires.
    #[error("this machine cannot give what the run requires: {missing}")]
    Missing {
        /// What is missing.
        missing: Layers,
    },
    /// An input is no longer what was asked about.
    #[error("`{}` changed while the run was being prepared", text::shown(.path, 400))]
    Changed {
        /// The input.
        path: String,
    },
    /// A writable share holds something that leads out.
    #[error("cannot share `{}` writable: it holds {what} `{}`", text::shown(.path, 400), text::shown(.inner, 400))]
    UnsafeShare {
        /// The share.
        path: String,
        /// What was found.
        inner: String,
        /// What it is.
        what: &'static str,
    },
    /// The container runtime did not come as far as the code.
    #[error("the container runtime `{runtime}` did not start the code")]
    Runtime {
        /// Its name.
        runtime: &'static str,
        /// What it said.
        said: String,
    },
    /// The sandbox's init ended before it said that the code is about to begin: it never did.
    #[error("the sandbox ended before the code began")]
    Unbegun,
    /// The sandbox's init ended without a word.
    #[error("the sandbox ended before it said how the code ended")]
    Lost,
    /// This process has several threads.
    #[error("a sandbox can only be made by a process with one thread")]
    Threads,
}

impl Failure {
    /// Why, as the system says it.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Outside { step: MAKE_NAMESPACES, errno: Errno::NOSPC | Errno::USERS, .. } => {
                "user namespaces are switched off on this machine, or their limit is reached".to_owned()
            }
            Self::Outside { step: MAKE_NAMESPACES, errno: Errno::PERM, .. } => {
                "this machine refuses user namespaces to this user".to_owned()
            }
            Self::Outside { step: MAKE_SCRATCH, errno: Errno::NOTSUP, .. } => {
                "its file system does not keep owners and modes".to_owned()
            }
            Self::Outside { errno, .. } | Self::Inside { errno, .. } => errno_text(*errno),
            Self::Cgroup(why) => errno_text(why.errno()),
            Self::Missing { .. } => "each is required by the policy or by --require".to_owned(),
            Self::Changed { .. } => "its device or inode is another one than before".to_owned(),
            Self::UnsafeShare { .. } => "code could speak to the host through it".to_owned(),
            Self::Runtime { said, .. } => text::shown(said, 600),
            Self::Unbegun | Self::Lost => "it was killed from outside, or the machine is out of memory".to_owned(),
            Self::Threads => {
                "the sandbox starts as a copy of this process, and a lock held by another thread would never open"
                    .to_owned()
            }
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Inside { step: Step::Namespaces | Step::Maps, .. } | Self::Outside { step: MAKE_NAMESPACES, .. } => {
                "run `stockade doctor`: it says what this machine lacks and how to get it".to_owned()
            }
            Self::Outside { step: MAKE_SCRATCH, errno: Errno::NOSPC | Errno::DQUOT, .. } => {
                "free space there, or name a folder on another disk: --scratch-dir DIR".to_owned()
            }
            Self::Outside { step: MAKE_SCRATCH, .. } => {
                "name a folder on a disk of this machine that you may write to: --scratch-dir DIR".to_owned()
            }
            Self::Inside { errno: Errno::NOSPC, .. } | Self::Outside { errno: Errno::NOSPC, .. } => {
                "raise --limit scratch=SIZE or scratch-files=N, or free space".to_owned()
            }
            Self::Outside { errno: Errno::FBIG, .. } => {
                "raise --limit file-size=SIZE, or give the folder that holds it (folders are not copied)".to_owned()
            }
            Self::Outside { step: "open" | "copy" | "stage" | "compare with", errno: Errno::ACCESS, .. } => {
                "make it readable to you, or give less".to_owned()
            }
            Self::UnsafeShare { .. } => "remove it, or share read-only".to_owned(),
            Self::Cgroup(why) => why.next().to_owned(),
            Self::Missing { missing } if missing.has(Layer::SecondKernel) => {
                "ask for it with --tier gvisor, and see that `runsc` is gVisor's".to_owned()
            }
            Self::Inside { step: Step::Closed, .. } => {
                "use an interpreter or environment outside of root's home (--python /usr/bin/python3), or start it as an ordinary user".to_owned()
            }
            Self::Missing { missing } if missing.has(Layer::Scopes) => {
                "use a kernel whose Landlock keeps signals inside (Linux 6.12 or later), with `landlock` in its lsm= list"
                    .to_owned()
            }
            Self::Runtime { runtime, .. } => {
                format!("see that `{runtime}` works by itself, or run without --tier")
            }
            Self::Changed { .. } => "run it again".to_owned(),
            Self::Missing { .. } | Self::Inside { .. } | Self::Outside { .. } | Self::Unbegun | Self::Lost | Self::Threads => {
                "run `stockade doctor`".to_owned()
            }
        }
    }
}

/// An errno as it stands in a sentence: "no such file or directory".
#[must_use]
pub fn errno_text(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    // The standard library appends "(os error N)" and begins with a capital.
    text.split(" (os error ").next().unwrap_or(&text).to_lowercase()
}

macro_rules! steps {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// One step of the set-up inside, as the fixed failure frame names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $(#[doc = $text] $name = $number,)*
        }

        impl Step {
            /// Completes "cannot …".
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub(crate) fn parse(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

steps! {
    Descriptors = 1 "close the caller's descriptors",
    Session = 2 "start a session",
    Supervisor = 3 "hear from the supervisor",
    User = 4 "become the throw-away user",
    ParentDeath = 5 "be tied to the supervisor's life",
    Namespaces = 6 "make namespaces",
    Maps = 7 "map the throw-away user",
    HostName = 8 "set the host name",
    Loopback = 9 "bring up the loopback interface",
    Resolver = 10 "open the run's resolver",
    Proxy = 11 "open the listener of the gate's proxy",
    OpenSource = 12 "open",
    SourceChanged = 13 "mount, because it changed meanwhile,",
    RootFolder = 14 "make the root file system",
    Scratch = 15 "make the scratch space",
    Proc = 16 "mount the process file system",
    Pivot = 17 "change to the new root",
    Mount = 18 "mount",
    Overlay = 19 "mount an overlay of",
    Terminal = 20 "make a terminal",
    ReadOnly = 21 "make the root read-only",
    Fork = 22 "start the code's process",
    Time = 23 "set the clocks",
    LockMounts = 24 "lock the mounts",
    Rlimits = 25 "set limits",
    Capabilities = 26 "drop capabilities",
    NoNewPrivileges = 27 "refuse new privileges",
    Streams = 28 "connect the streams",
    WorkingFolder = 29 "enter the working folder",
    Landlock = 30 "set up Landlock",
    Seccomp = 31 "load the system-call filter",
    Missing = 32 "give every required layer",
    Execute = 33 "execute the program",
    Cgroup = 34 "enter the cgroup",
    Answers = 37 "answer for granted addresses",
    Transparent = 38 "open a listener for a granted port",
    Watcher = 39 "watch for what is not granted",
    Closed = 36 "let the code read what it is given: it is closed to the throw-away user that root's runs have",
    MountPoint = 35 "make the mount point, which must not lead through a link, of",
}
