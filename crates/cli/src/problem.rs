//! What the command can say when it refuses or fails: what, why, what to do next.

use std::fmt;

use serde::Serialize;
use stockade_core::audit::NotRecorded;
use stockade_core::plan::Unplannable;
use stockade_core::policy::Reason;
use stockade_core::text;
use stockade_launch::{Failure, collect};

/// A refusal or failure of Stockade itself.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    why: String,
    next: String,
    status: u8,
    /// Whether code of the run may have run: nobody must take it then for one that never did.
    may_have_run: bool,
    /// Whether it only says that nothing was decided.
    undecided: bool,
}

/// The exit status of a refusal or failure of Stockade itself (run.md).
const REFUSED: u8 = 125;

impl Problem {
    pub(crate) fn new(what: impl Into<String>, why: impl AsRef<str>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: plain(why.as_ref()),
            next: next.into(),
            status: REFUSED,
            may_have_run: false,
            undecided: false,
        }
    }

    /// Something about a path of the caller.
    pub(crate) fn path(what: &str, path: &std::path::Path, error: &std::io::Error, next: impl Into<String>) -> Self {
        Self::new(format!("cannot {what} `{}`", text::shown(&path.to_string_lossy(), 400)), error.to_string(), next)
    }

    /// Collecting or applying that stopped midway, with what was done before.
    pub(crate) fn midway(failure: &collect::Failure, done: &str) -> Self {
        let why = format!("{}; {done}", stockade_launch::errno_text(failure.errno()));
        Self::new(failure.to_string(), why, failure.next()).that_may_have_run()
    }

    /// Of a run whose code may have run.
    pub(crate) const fn that_may_have_run(mut self) -> Self {
        self.may_have_run = true;
        self
    }

    /// That nothing was decided, since something is not there yet.
    pub(crate) const fn undecided(mut self) -> Self {
        self.undecided = true;
        self
    }

    /// Whether it says that.
    pub(crate) const fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// What to do, without a name.
    pub(crate) fn next(&self) -> &str {
        &self.next
    }

    /// With another exit status: 126 not executable, 127 not found.
    pub(crate) const fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// The exit status.
    pub(crate) const fn status(&self) -> u8 {
        self.status
    }

    /// The first lines of what is shown: what, and why.
    pub(crate) fn without_next(&self) -> String {
        format!("error: {}\n  why:  {}\n", self.what, self.why)
    }

    /// The second line, without a name.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// The first line, for the audit trail.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The same for programs. Like a report it has a `cause`, which decides.
    pub(crate) fn document(&self) -> Document<'_> {
        let status = self.status;
        let cause = if self.may_have_run { Cause::Failed { status } } else { Cause::Refused { status } };
        Document { cause, what: &self.what, why: &self.why, next: &self.next }
    }
}

/// A refusal or failure as one JSON document.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    cause: Cause,
    what: &'a str,
    why: &'a str,
    next: &'a str,
}

/// The cause that no run has: there was none, or nothing can be said of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Cause {
    Refused { status: u8 },
    Failed { status: u8 },
}

/// A reason as it stands in a sentence: what the system says begins with a capital and ends with a number.
pub(crate) fn plain(why: &str) -> String {
    let Some((said, _)) = why.strip_suffix(')').and_then(|why| why.rsplit_once(" (os error ")) else {
        return why.to_owned();
    };
    let mut rest = said.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}  next: {}", self.without_next(), self.next)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let may_have_run = matches!(failure, Failure::Lost);
        Self { may_have_run, ..Self::new(failure.to_string(), failure.why(), failure.next()) }
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::new("the run is not permitted", reason.to_string(), reason.next().to_string())
    }
}

impl From<Unplannable> for Problem {
    fn from(unplannable: Unplannable) -> Self {
        Self::new("the run cannot be planned", unplannable.to_string(), unplannable.next())
    }
}

impl From<NotRecorded> for Problem {
    fn from(refused: NotRecorded) -> Self {
        Self::new(
            refused.to_string(),
            format!("{}; a run without a record is not made", plain(&refused.why)),
            "free space or make it writable, or set STOCKADE_STATE_DIR to another folder",
        )
    }
}

impl From<stockade_engines::Unusable> for Problem {
    fn from(unusable: stockade_engines::Unusable) -> Self {
        Self::new(unusable.what, unusable.why, unusable.next)
    }
}

impl From<stockade_environments::Error> for Problem {
    fn from(error: stockade_environments::Error) -> Self {
        Self::new(error.to_string(), error.why(), error.next())
    }
}

impl Problem {
    /// The same, as a build jail tells it to the builder.
    pub(crate) fn into_jail_failure(self) -> stockade_environments::JailFailure {
        stockade_environments::JailFailure { what: self.what, why: self.why, next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_stands_in_a_sentence() {
        for (said, why) in [
            ("No space left on device (os error 28)", "no space left on device"),
            ("not a directory (os error 20)", "not a directory"),
            ("Python 3.9 is too old (see above)", "Python 3.9 is too old (see above)"),
            ("", ""),
        ] {
            assert_eq!(plain(said), why);
        }
    }
}
