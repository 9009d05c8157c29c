//! Whose a group is, and the removal of those whose supervisor is gone. *Parent, outside, may still be
//! privileged.*

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, RawDir, readlink, unlinkat};
use rustix::io::Errno;

use super::{Available, Failure, Step, number, open_dir};
use crate::watch::Stat;

const PREFIX: &str = "stockade-";

/// What a [`sweep`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leftover groups removed.
    pub removed: u32,
    /// Leftovers that could not be removed, mostly as they are not empty.
    pub kept: u32,
}

/// Removes groups whose supervisor is gone; one reading of each directory
/// when there are none. Groups of other pid namespaces are left alone, since
/// whether their supervisors live cannot be seen from here.
#[must_use]
pub fn sweep(available: &Available) -> Swept {
    let dirs: Vec<&Path> = match available {
        Available::V2(place) => vec![&place.dir],
        Available::V1(trees) => trees.iter().map(|tree| tree.dir.as_path()).collect(),
        Available::None(_) => Vec::new(),
    };
    let mut swept = Swept::default();
    for dir in dirs.into_iter().filter_map(|dir| open_dir(dir).ok()) {
        sweep_dir(&dir, &mut swept);
    }
    swept
}

fn sweep_dir(dir: &OwnedFd, swept: &mut Swept) {
    let mut space = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(dir, &mut space);
    let mut this = None;
    while let Some(Ok(entry)) = entries.next() {
        let Some(owner) = entry.file_name().to_str().ok().and_then(Owner::parse) else {
            continue;
        };
        // Who we are is asked only once there is something to compare.
        if this.is_none() {
            this = Owner::this().ok();
        }
        if this.as_ref().is_none_or(|this| this.namespace != owner.namespace) || owner.lives() {
            continue;
        }
        match unlinkat(dir, entry.file_name(), AtFlags::REMOVEDIR) {
            Ok(()) => swept.removed += 1,
            Err(_) => swept.kept += 1,
        }
    }
}

/// The supervisor that made a group, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    namespace: u64,
    pid: u64,
    started: u64,
}

impl Owner {
    pub(super) fn this() -> Result<Owner, Failure> {
        let unreadable = |path: &'static str| move |errno| Failure { step: Step::Read, path: path.into(), errno };
        let (link, stat) = ("/proc/self/ns/pid", "/proc/self/stat");
        let namespace = readlink(link, Vec::new()).map_err(unreadable(link))?;
        let namespace = namespace.as_bytes().strip_prefix(b"pid:[").and_then(|rest| rest.strip_suffix(b"]"));
        let this = Stat::of("self").map_err(unreadable(stat))?;
        let namespace = namespace.and_then(number).ok_or(Errno::INVAL).map_err(unreadable(link))?;
        Ok(Owner { namespace, pid: this.pid, started: this.started })
    }

    pub(super) fn name(self, run: &str) -> Result<String, Failure> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if run.is_empty() || run.len() > 128 || !run.bytes().all(plain) {
            return Err(Failure { step: Step::Name, path: run.into(), errno: Errno::INVAL });
        }
        Ok(format!("{PREFIX}{run}-{}-{}-{}", self.namespace, self.pid, self.started))
    }

    /// A name with nothing between the beginning and whose it is.
    pub(super) fn name_after(self, prefix: &str) -> String {
        format!("{prefix}{}-{}-{}", self.namespace, self.pid, self.started)
    }

    fn parse(name: &str) -> Option<Owner> {
        let mut parts = name.strip_prefix(PREFIX)?.rsplitn(4, '-');
        let mut part = || number(parts.next()?.as_bytes());
        let (started, pid, namespace) = (part()?, part()?, part()?);
        parts.next().map(|_run| Owner { namespace, pid, started })
    }

    /// The reverse of [`Owner::name_after`].
    pub(super) fn parse_after(name: &str, prefix: &str) -> Option<Owner> {
        let mut parts = name.strip_prefix(prefix)?.split('-');
        let mut part = || number(parts.next()?.as_bytes());
        let (namespace, pid, started) = (part()?, part()?, part()?);
        parts.next().is_none().then_some(Owner { namespace, pid, started })
    }

    /// Whether another has ended, as far as this one can know.
    pub(super) fn sees_end_of(self, other: Owner) -> bool {
        self.namespace == other.namespace && !other.lives()
    }

    fn lives(self) -> bool {
        // Anything but a clear "no such process" counts as alive.
        match Stat::of(&self.pid.to_string()) {
            Ok(stat) => stat.started == self.started,
            Err(errno) => errno != Errno::NOENT && errno != Errno::SRCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SUPERVISOR;
    use super::*;

    #[test]
    fn a_groups_name_tells_its_owner() {
        let owner = Owner { namespace: 7, pid: 42, started: 99 };
        let name = owner.name("a-b-1").unwrap();
        assert_eq!(name, "stockade-a-b-1-7-42-99");
        assert_eq!(Owner::parse(&name), Some(owner));
        for strange in ["stockade-", "stockade-1-2-3", "stockade-x-1-2-+3", "other-x-1-2-3", SUPERVISOR] {
            assert_eq!(Owner::parse(strange), None, "{strange}");
        }
        for bad in ["", "a/b", "..", "a b", "a\n"] {
            assert_eq!(owner.name(bad).unwrap_err().step(), Step::Name, "{bad:?}");
        }
    }

    #[test]
    fn this_process_lives_and_its_earlier_namesake_does_not() {
        let this = Owner::this().unwrap();
        assert!(this.lives());
        assert!(!Owner { started: this.started + 1, ..this }.lives());
        assert!(!Owner { pid: 4_194_305, ..this }.lives());
    }
}
