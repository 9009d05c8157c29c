//! What a pool must not outlive: policies as they were read, the trust in what it has imported, free memory.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stockade_core::trust::Libraries;
use stockade_launch::witness;

use super::make::Kind;
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
    trust_next: Instant,
    is_memory_short: bool,
}

impl Watch {
    pub(super) fn begin() -> Self {
        Self { trust_next: Instant::now() + TRUST, is_memory_short: is_memory_short() }
    }

    pub(super) const fn is_memory_short(&self) -> bool {
        self.is_memory_short
    }

    /// # Errors
    /// When the pool must end.
    pub(super) fn look(&mut self, kind: Option<&Kind>) -> Result<(), Problem> {
        self.is_memory_short = is_memory_short();
        let Some(kind) = kind else { return Ok(()) };
        if !kind.stamps.are_as_they_were() {
            return Err(over("a policy, a list of trust, the interpreter or what is installed beside it has changed"));
        }
        if Instant::now() >= self.trust_next {
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

/// Files and folders as they were that say what a run of these engines may do, and what it is made of.
#[derive(Clone, Debug)]
pub(super) struct Stamps {
    /// With what is in them.
    whole: Vec<(PathBuf, Option<Whole>)>,
    /// Folders above, in which others come and go: whose they are.
    owned: Vec<(PathBuf, Option<Owned>)>,
}

/// Its place, its length, when its contents and when anything of it was changed.
type Whole = (Owned, u64, (i64, i64), (i64, i64));
/// Device and inode; owner, group and mode.
type Owned = ((u64, u64), (u32, u32, u32));

impl Stamps {
    pub(super) fn of(policies: &[PathBuf]) -> Self {
        let policies: Vec<_> = policy::places(policies).map(Path::to_owned).collect();
        let above: BTreeSet<_> = policies.iter().flat_map(|path| path.ancestors().skip(1)).collect();
        let owned = above.into_iter().map(|path| (path.to_owned(), owner(path))).collect();
        let libraries = witness::machine_libraries().chain(witness::machine_library_roots());
        let whole = policies.into_iter().chain(trust::stamped()).chain(pythons()).chain(libraries);
        Self { whole: whole.map(stamped).collect(), owned }
    }

    /// These too.
    pub(super) fn and(mut self, paths: &[PathBuf]) -> Self {
        self.whole.extend(paths.iter().cloned().map(stamped));
        self
    }

    pub(super) fn are_as_they_were(&self) -> bool {
        self.whole.iter().all(|(path, before)| stamp(path) == *before)
            && self.owned.iter().all(|(path, before)| owner(path) == *before)
    }
}

/// Which of them is `python3` changes when one is put before it.
fn pythons() -> Vec<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).map(|folder| folder.join("python3")).collect()
}

fn stamped(path: PathBuf) -> (PathBuf, Option<Whole>) {
    let found = stamp(&path);
    (path, found)
}

fn owner(path: &Path) -> Option<Owned> {
    std::fs::metadata(path).ok().as_ref().map(owned)
}

fn owned(found: &Metadata) -> Owned {
    ((found.dev(), found.ino()), (found.uid(), found.gid(), found.mode()))
}

fn stamp(path: &Path) -> Option<Whole> {
    let found = std::fs::metadata(path).ok()?;
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    Some((owned(&found), found.len(), modified, changed))
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_policy_that_was_written_anew_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.conf");
        let none = Stamps::of(std::slice::from_ref(&path));
        assert!(none.are_as_they_were());
        std::fs::write(&path, "a").unwrap();
        assert!(!none.are_as_they_were());
        let some = Stamps::of(std::slice::from_ref(&path));
        assert!(some.are_as_they_were());
        // Another file of the same length in its place.
        std::fs::write(folder.path().join("other"), "b").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(!some.are_as_they_were());
    }

    #[test]
    fn a_folder_that_others_may_write_to_now_is_seen_and_what_comes_into_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/policy.conf");
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(&path, "a").unwrap();
        let stamps = Stamps::of(&[path]);
        std::fs::write(folder.path().join("below/other"), "").unwrap();
        assert!(stamps.are_as_they_were());
        std::fs::set_permissions(folder.path().join("below"), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!stamps.are_as_they_were());
    }

    #[test]
    fn what_is_installed_beside_the_interpreter_and_the_lists_of_trust_are_looked_at() {
        let stamps = Stamps::of(&[]);
        let places: Vec<_> = stamps.whole.iter().map(|(path, _)| path.to_string_lossy()).collect();
        for part in ["/etc/stockade/trust/list.jsonl", "bin/python3", "dist-packages", "/usr/local/lib"] {
            assert!(places.iter().any(|place| place.contains(part)), "{part}: {places:?}");
        }
    }

    #[test]
    fn another_interpreter_or_library_is_seen() {
        let prefix = tempfile::tempdir().unwrap();
        let (program, site) = (prefix.path().join("bin/python3"), prefix.path().join("lib/python3.12/site-packages"));
        for folder in [program.parent().unwrap(), &site] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(&program, "1").unwrap();
        let stamps = || Stamps::of(&[]).and(&[program.clone(), site.clone()]);
        let before = stamps();
        assert!(before.are_as_they_were());
        std::fs::create_dir(site.join("six")).unwrap();
        assert!(!before.are_as_they_were(), "a library was installed");
        let before = stamps();
        std::fs::write(prefix.path().join("other"), "2").unwrap();
        std::fs::rename(prefix.path().join("other"), &program).unwrap();
        assert!(!before.are_as_they_were(), "the interpreter is another");
    }
}
