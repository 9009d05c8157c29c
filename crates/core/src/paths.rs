//! The paths inside the walls, in one place, and the type that keeps them well formed.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// The working folder of the code.
pub const JOB: &str = "/job";
/// The home folder of the throw-away user.
pub const HOME: &str = "/home/runner";
/// Shared memory, which is memory wherever scratch lies.
pub const SHARED_MEMORY: &str = "/dev/shm";
/// Where a caller's interpreter tree is mounted, so that no outside path shows.
pub const INTERPRETER: &str = "/opt/stockade/interpreter";
/// Where the environment is mounted.
pub const ENVIRONMENT: &str = "/opt/stockade/env";
/// Where the engine's start-up files are made.
pub const ENGINE: &str = "/opt/stockade/engine";
/// Where tools of the build jail are mounted.
pub const TOOLS: &str = "/opt/stockade/tools";

/// Where each process finds its own descriptors.
const DESCRIPTORS: &str = "/proc/self/fd/";

/// The text of the link that leads to a descriptor of whoever follows it.
#[must_use]
pub fn descriptor(number: u32) -> String {
    format!("{DESCRIPTORS}{number}")
}

/// Whether a link's text is such a one.
#[must_use]
pub fn is_descriptor(text: &[u8]) -> bool {
    let number = text.strip_prefix(DESCRIPTORS.as_bytes());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// An absolute path inside the sandbox: no `.`/`..`, no empty component, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct InsidePath(String);

/// Why a path cannot be one inside the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPath {
    /// It names nothing.
    #[error("it is empty")]
    Empty,
    /// It would leave the folder it is to be in.
    #[error("it leaves its folder")]
    Leaves,
    /// It has a control character or is too long for the kernel.
    #[error("it has a control character or is longer than 255 bytes a component")]
    Hostile,
}

impl InsidePath {
    /// Parses an absolute inside path.
    ///
    /// # Errors
    /// [`BadPath`] when it is not absolute, has `.`/`..` or empty components, or hostile characters.
    pub fn parse(path: &str) -> Result<Self, BadPath> {
        let relative = path.strip_prefix('/').ok_or(BadPath::Leaves)?;
        check_components(relative)?;
        Ok(Self(path.to_owned()))
    }

    /// A path written in our own source.
    ///
    /// # Panics
    /// When it is not well formed: a bug of ours.
    #[must_use]
    pub fn fixed(path: &'static str) -> Self {
        assert!(Self::parse(path).is_ok(), "{path} is no inside path");
        Self(path.to_owned())
    }

    /// The root itself.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Joins a relative name of one or more components below this path.
    ///
    /// # Errors
    /// [`BadPath`] when the name would leave the folder or is hostile.
    pub fn join(&self, name: &str) -> Result<Self, BadPath> {
        check_components(name)?;
        Ok(Self(format!("{}/{name}", self.0.trim_end_matches('/'))))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without its leading slash, for calls relative to a root descriptor.
    #[must_use]
    pub fn relative(&self) -> &str {
        self.0.trim_start_matches('/')
    }

    /// This path relative to `folder`, if it lies in it; the empty text for the folder itself.
    #[must_use]
    pub fn below<'a>(&'a self, folder: &str) -> Option<&'a str> {
        let rest = self.0.strip_prefix(folder)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }
}

impl fmt::Display for InsidePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn check_components(relative: &str) -> Result<(), BadPath> {
    if relative.is_empty() {
        return Err(BadPath::Empty);
    }
    for component in relative.split('/') {
        match component {
            "" => return Err(BadPath::Empty),
            "." | ".." => return Err(BadPath::Leaves),
            long if long.len() > 255 || long.chars().any(crate::text::is_harmful) => return Err(BadPath::Hostile),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        let job = InsidePath::parse(JOB).unwrap();
        for (name, reason) in [
            ("../etc", BadPath::Leaves),
            ("a/../../b", BadPath::Leaves),
            ("/etc", BadPath::Empty),
            ("", BadPath::Empty),
            ("a//b", BadPath::Empty),
            ("a\nb", BadPath::Hostile),
        ] {
            assert_eq!(job.join(name), Err(reason), "{name:?}");
        }
        assert_eq!(job.join("a/b").unwrap().as_str(), "/job/a/b");
        assert_eq!(job.join("a/b").unwrap().below(JOB), Some("a/b"));
        assert_eq!(InsidePath::parse("/jobs").unwrap().below(JOB), None);
    }
}
