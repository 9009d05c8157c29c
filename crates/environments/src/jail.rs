//! What this crate asks of a build jail. The launcher's owner implements [`Jail`].
//!
//! Inside: cwd is `/job`, empty and writable; `/tmp` and `HOME` are writable; the interpreter is
//! at its inside path; nothing of the host's data, and no network but a proxy at
//! [`crate::INSIDE_PROXY`] that leads to the hosts of the step.
//! What comes back is not believed: every output is checked again outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// One step run behind the walls of a build jail.
pub struct JailStep<'a> {
    /// A short name for messages and the audit record, such as `resolve`.
    pub name: &'static str,
    /// The program, by its inside path, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment of the program; the jail adds `HOME` and `PATH` only if missing.
    pub vars: BTreeMap<String, String>,
    /// Files and folders shown read-only.
    pub shown: Vec<Shown>,
    /// An empty folder: what the step created below `/job` is copied here, as regular files and
    /// folders only. Anything else the step left there is a failure of the step.
    pub outputs: PathBuf,
    /// The hosts that may be reached, by TLS on port 443; none means no network at all.
    pub hosts: BTreeSet<String>,
    /// The step is killed after this long.
    pub time_ms_max: u64,
    /// Bound on what the step may write below `/job`, `/tmp` and `HOME` together.
    pub scratch_bytes_max: u64,
    /// Called with each line the step writes to its standard error; the text is untrusted.
    pub on_line: &'a mut dyn FnMut(&str),
}

impl fmt::Debug for JailStep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JailStep")
            .field("name", &self.name)
            .field("argv", &self.argv)
            .field("vars", &self.vars)
            .field("shown", &self.shown)
            .field("outputs", &self.outputs)
            .field("hosts", &self.hosts)
            .field("time_ms_max", &self.time_ms_max)
            .field("scratch_bytes_max", &self.scratch_bytes_max)
            .finish_non_exhaustive()
    }
}

/// A file or folder of the host shown read-only at an inside path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Where it is on the host; absolute.
    pub outside: PathBuf,
    /// Where the step sees it; absolute. Missing parents are made by the jail.
    pub inside: String,
}

/// How a step came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited by itself with this code.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It was killed at its deadline.
    TimedOut,
    /// It was killed, or failed, because it reached a limit of the jail.
    LimitReached,
}

/// What is known about a step that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JailOutcome {
    /// How it ended.
    pub ended: Ended,
    /// What it asked for and did not get, as far as that can be known: a phrase each, such as `network to
    /// files.example.com (no network was granted)`. A file that is not there is not among it: nobody outside
    /// learns that it was looked for.
    pub denied: Vec<String>,
}

/// The jail could not be made, or could not bring the outputs out: nothing the step did counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct JailFailure {
    /// What failed.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do about it.
    pub next: String,
}

/// Runs steps behind walls.
pub trait Jail {
    /// Runs one step to its end.
    ///
    /// # Errors
    /// When the walls could not be built or the outputs could not be collected.
    fn run(&mut self, step: JailStep<'_>) -> Result<JailOutcome, JailFailure>;
}
