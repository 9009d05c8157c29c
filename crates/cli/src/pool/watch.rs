//! What a pool must not outlive: policies as they were read, the trust in what it has imported, free memory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_core::trust::Libraries;

use super::make::Kind;
use crate::args::Run;
use crate::problem::Problem;
use crate::{policy, trust};

/// How often trust is looked at anew: the lists are read, and files looked at.
const TRUST: Duration = Duration::from_secs(30);
/// With less memory left no engine is kept waiting.
const MEMORY_BYTES_MIN: u64 = 512 << 20;
/// Nor with less than this part.
const MEMORY_PART: u64 = 10;

#[derive(Debug)]
pub(super) struct Watch {
    policies: Stamps,
    trust_next: Instant,
    is_memory_short: bool,
}

impl Watch {
    pub(super) fn over(arguments: &Run) -> Result<Self, Problem> {
        Ok(Self {
            policies: Stamps::of(&arguments.policies),
            trust_next: Instant::now() + TRUST,
            is_memory_short: is_memory_short(),
        })
    }

    pub(super) const fn is_memory_short(&self) -> bool {
        self.is_memory_short
    }

    /// # Errors
    /// When the pool must end.
    pub(super) fn look(&mut self, kind: Option<&Kind>) -> Result<(), Problem> {
        self.is_memory_short = is_memory_short();
        if !self.policies.are_as_they_were() {
            return Err(over("a policy has changed"));
        }
        if Instant::now() >= self.trust_next
            && let Some(kind) = kind
        {
            self.trust_next = Instant::now() + TRUST;
            check_trust(&kind.used)?;
        }
        Ok(())
    }
}

fn over(why: &str) -> Problem {
    Problem::new("the warm engines have to go", why, "the next run is started anew, and warm engines after it")
}

/// Only what somebody vouches for is imported ahead: what one import does, all engines have.
pub(super) fn check_trust(used: &crate::ask::Used) -> Result<(), Problem> {
    match trust::judged(used)? {
        Libraries::None | Libraries::Trusted => Ok(()),
        Libraries::Doubted { doubts, .. } => {
            let first = doubts.first().map_or_else(String::new, |doubt| format!("{}: {}", doubt.library, doubt.why));
            Err(Problem::new(
                "there are no warm engines of this environment",
                format!("its libraries are not all trusted: {first}"),
                "`stockade env trust add` puts them on a list",
            ))
        }
        Libraries::Unjudged => Err(over("its libraries were not judged")),
    }
}

/// Files as they were.
#[derive(Clone, Debug)]
pub(super) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Stamps {
    pub(super) fn of(policies: &[PathBuf]) -> Self {
        Self(policy::places(policies).map(|path| (path.to_owned(), stamp(path))).collect())
    }

    pub(super) fn are_as_they_were(&self) -> bool {
        self.0.iter().all(|(path, before)| stamp(path) == *before)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((found.dev(), found.ino(), found.len(), modified, changed))
}

fn is_memory_short() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
    };
    let (Some(all), Some(free)) = (field("MemTotal:"), field("MemAvailable:")) else { return false };
    free < MEMORY_BYTES_MIN.min(all / 4) || free < all / MEMORY_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_was_written_anew_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.conf");
        let none = Stamps::of(&[path.clone()]);
        assert!(none.are_as_they_were());
        std::fs::write(&path, "a").unwrap();
        assert!(!none.are_as_they_were());
        let some = Stamps::of(&[path.clone()]);
        assert!(some.are_as_they_were());
        // Another file of the same length in its place.
        std::fs::write(folder.path().join("other"), "b").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(!some.are_as_they_were());
    }
}
