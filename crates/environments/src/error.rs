//! The one error type of this crate: what happened, why, and what to do next.
//!
//! Text from outside enters only through `quote`, so no message carries control characters.

use std::fmt::Display;
use std::io;
use std::path::Path;

use crate::jail::JailFailure;
use crate::quote::{neutral, quote_path};

/// What failed on the way from a request to an environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A requirement, or the file that holds it, asks for something that is refused.
    #[error("{0}")]
    Requirement(Detail),
    /// The PEP 723 block of a script cannot be used.
    #[error("{0}")]
    Script(Detail),
    /// The interpreter is not one that the code accepts.
    #[error("{0}")]
    Python(Detail),
    /// The package index, or its configuration, cannot be used.
    #[error("{0}")]
    Index(Detail),
    /// uv is missing and could not be fetched.
    #[error("{0}")]
    Tool(Detail),
    /// No set of packages meets the request.
    #[error("{0}")]
    Resolve(Detail),
    /// The lock holds something that is refused.
    #[error("{0}")]
    Lock(Detail),
    /// A package file could not be fetched, or is not the one that was locked.
    #[error("{0}")]
    Wheel(Detail),
    /// A package, or all of them together, take more room than there is for a build.
    #[error("{0}")]
    Size(Detail),
    /// The verified package files could not be installed.
    #[error("{0}")]
    Install(Detail),
    /// The installed tree holds something that is refused.
    #[error("{0}")]
    Tree(Detail),
    /// A file or folder of the store could not be used.
    #[error("{0}")]
    Store(Detail),
    /// An archive cannot be written, or is refused.
    #[error("{0}")]
    Archive(Detail),
    /// Advisories cannot be read.
    #[error("{0}")]
    Advisories(Detail),
    /// A name or digest stands for no environment, or cannot.
    #[error("{0}")]
    Name(Detail),
    /// A trust list cannot be used, or what somebody vouches for cannot be written down.
    #[error("{0}")]
    Trust(Detail),
    /// The build jail did not start or did not deliver.
    #[error("{0}")]
    Jail(JailFailure),
}

impl Error {
    /// Why it happened.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Jail(failure) => &failure.why,
            Self::Requirement(d)
            | Self::Script(d)
            | Self::Python(d)
            | Self::Index(d)
            | Self::Tool(d)
            | Self::Resolve(d)
            | Self::Lock(d)
            | Self::Wheel(d)
            | Self::Size(d)
            | Self::Install(d)
            | Self::Tree(d)
            | Self::Store(d)
            | Self::Archive(d)
            | Self::Advisories(d)
            | Self::Name(d)
            | Self::Trust(d) => &d.why,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn next(&self) -> &str {
        match self {
            Self::Jail(failure) => &failure.next,
            Self::Requirement(d)
            | Self::Script(d)
            | Self::Python(d)
            | Self::Index(d)
            | Self::Tool(d)
            | Self::Resolve(d)
            | Self::Lock(d)
            | Self::Wheel(d)
            | Self::Size(d)
            | Self::Install(d)
            | Self::Tree(d)
            | Self::Store(d)
            | Self::Archive(d)
            | Self::Advisories(d)
            | Self::Name(d)
            | Self::Trust(d) => &d.next,
        }
    }

    /// Whether the request itself is at fault, so that trying again cannot help.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Requirement(_) | Self::Script(_) | Self::Python(_) | Self::Lock(_) | Self::Size(_) | Self::Tree(_)
        )
    }
}

/// The three parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    what: String,
    why: String,
    next: String,
}

impl Detail {
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), next: next.into() }
    }

    /// The same, said of something more exactly.
    pub(crate) fn of(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), ..self }
    }
}

impl Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

/// An operation on a path of the store failed.
pub(crate) fn store(operation: &str, path: &Path, cause: &io::Error) -> Error {
    Error::Store(Detail::new(
        format!("cannot {operation} {}", quote_path(path)),
        said(cause),
        "check that the environment store is writable and has free space, then run again",
    ))
}

/// Something of the store is not what was put there.
pub(crate) fn damaged(path: &Path, why: &str) -> Error {
    Error::Store(Detail::new(
        format!("{} is damaged", quote_path(path)),
        why,
        "`stockade env verify` names what changed; take the environment away and build it again",
    ))
}

/// What the system said, to stand within a sentence: in lower case, without the number of the error.
pub(crate) fn said(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error ").next().unwrap_or(&text);
    neutral(&text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_said_fits_into_a_sentence() {
        let missing = io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
        assert_eq!(said(&missing), "no such file or directory");
        // tempfile names the path behind the number; the message has it already.
        let folder = tempfile::tempdir().unwrap().path().join("missing");
        assert_eq!(said(&tempfile::NamedTempFile::new_in(folder).unwrap_err()), "no such file or directory");
        assert_eq!(said(&io::ErrorKind::TimedOut.into()), "timed out");
        let message = store("open the lock", Path::new("/x"), &missing);
        assert_eq!(message.to_string(), "cannot open the lock `/x`");
        assert_eq!(message.why(), "no such file or directory");
    }
}
