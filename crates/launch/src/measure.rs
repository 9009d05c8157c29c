//! Parent, outside: how much lies in scratch on disk, by a walk that the code may disturb.
//!
//! A bounded number of entries at a time. Sparse files count by what they take, hard links once. What
//! a walk cannot see: files that are open and have no name any more, and what is moved about while it
//! looks. So a first finding is looked at again, and nothing here is ever called a wall.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use stockade_core::limits::{Limit, Limits};

use crate::collect::beneath::{self, Facts, Kind, Shut};
use crate::root::OWN_FILES;

/// Entries that are looked at in one go while the code runs.
const ENTRIES: u64 = 4_096;
/// Looks that are left out while less than half of a limit is used.
const RESTS: u32 = 3;
/// Folders that are held open; what lies deeper cannot be watched.
pub(crate) const DEPTH_MAX: usize = 200;

/// What scratch has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Bytes.
    Bytes,
    /// Files and folders.
    Files,
    /// Folders in folders: more than can be watched.
    Depth,
}

impl Over {
    /// The limit that is reached.
    pub(crate) const fn limit(self) -> Limit {
        match self {
            Self::Bytes => Limit::Scratch,
            Self::Files | Self::Depth => Limit::ScratchFiles,
        }
    }
}

/// A walk that goes on where it stopped.
#[derive(Debug)]
pub(crate) struct Measure {
    bytes_max: u64,
    files_max: u64,
    bytes: u64,
    files: u64,
    frames: Vec<(OwnedFd, std::vec::IntoIter<CString>)>,
    linked: HashSet<u64>,
    is_suspected: bool,
    /// How many looks are left out, when there is far too little to be near a limit.
    rests: u32,
}

enum Pass {
    Paused,
    Ended,
    Over(Over),
}

impl Measure {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.scratch_bytes,
            files_max: limits.scratch_files.saturating_add(OWN_FILES),
            bytes: 0,
            files: 0,
            frames: Vec::new(),
            linked: HashSet::new(),
            is_suspected: false,
            rests: 0,
        }
    }

    /// Goes on for a bounded time, while the code runs. A file that is removed and one that is made
    /// meanwhile may both be counted, so only a second walk in a row that finds too much counts.
    pub(crate) fn look(&mut self, top: BorrowedFd<'_>) -> Option<Over> {
        if self.rests > 0 {
            self.rests -= 1;
            return None;
        }
        let mut left = ENTRIES;
        loop {
            match self.go_on(top, &mut left) {
                Pass::Paused => return None,
                Pass::Ended => {
                    self.is_suspected = false;
                    let is_far = self.bytes < self.bytes_max / 2 && self.files < self.files_max / 2;
                    self.rests = if is_far { RESTS } else { 0 };
                    return None;
                }
                Pass::Over(over) if self.is_suspected => return Some(over),
                Pass::Over(_) => {
                    self.frames.clear();
                    self.is_suspected = true;
                }
            }
        }
    }

    /// Walks it whole, when nobody writes any more.
    pub(crate) fn whole(&mut self, top: BorrowedFd<'_>) -> Option<Over> {
        self.frames.clear();
        match self.go_on(top, &mut { u64::MAX }) {
            Pass::Over(over) => Some(over),
            Pass::Paused | Pass::Ended => None,
        }
    }

    fn go_on(&mut self, top: BorrowedFd<'_>, left: &mut u64) -> Pass {
        if self.frames.is_empty() {
            (self.bytes, self.files) = (0, 0);
            self.linked.clear();
            let Ok(top) = beneath::top(top) else { return Pass::Ended };
            if let Err(over) = self.enter(top) {
                return Pass::Over(over);
            }
        }
        loop {
            let depth = self.frames.len();
            let Some((folder, names)) = self.frames.last_mut() else { return Pass::Ended };
            let Some(name) = names.next() else {
                self.frames.pop();
                continue;
            };
            // Gone meanwhile: what is no longer there takes nothing.
            let Ok(facts) = Facts::at(folder.as_fd(), &name) else { continue };
            let opened = (facts.kind == Kind::Folder).then(|| beneath::folder(folder.as_fd(), &name, &facts));
            // The folders at the top are ours.
            if depth > 1 {
                self.count(&facts);
            }
            let entered = match opened {
                Some(Ok(_)) if depth >= DEPTH_MAX => Err(Over::Depth),
                Some(Err(Shut::Errno(Errno::MFILE | Errno::NFILE))) => Err(Over::Depth),
                Some(Ok(folder)) => self.enter(folder),
                Some(Err(_)) | None => Ok(()),
            };
            if let Err(over) = entered.and_then(|()| self.within()) {
                return Pass::Over(over);
            }
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Pass::Paused;
            }
        }
    }

    fn count(&mut self, facts: &Facts) {
        self.files += 1;
        if !facts.is_linked || facts.kind == Kind::Folder || self.linked.insert(facts.identity.inode) {
            self.bytes = self.bytes.saturating_add(facts.bytes_on_disk);
        }
    }

    fn within(&self) -> Result<(), Over> {
        if self.bytes > self.bytes_max {
            Err(Over::Bytes)
        } else if self.files > self.files_max {
            Err(Over::Files)
        } else {
            Ok(())
        }
    }

    /// Reads the names of a folder, as many as there may be in all.
    fn enter(&mut self, folder: OwnedFd) -> Result<(), Over> {
        let room = self.files_max.saturating_sub(self.files).saturating_add(OWN_FILES);
        let Ok(names) = beneath::names(folder.as_fd(), usize::try_from(room).unwrap_or(usize::MAX)) else {
            return Ok(());
        };
        if names.more {
            return Err(Over::Files);
        }
        self.frames.push((folder, names.sorted.into_iter()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    fn measured(change: impl FnOnce(&std::path::Path)) -> (Option<Over>, Measure) {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("s1");
        std::fs::create_dir(&own).unwrap();
        change(&own);
        let top = rustix::fs::open(folder.path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let limits = Limits { scratch_bytes: 1 << 20, scratch_files: 500, ..Limits::default() };
        let mut measure = Measure::new(&limits);
        let looked = measure.look(top.as_fd());
        assert_eq!(measure.whole(top.as_fd()), looked);
        (looked, measure)
    }

    #[test]
    fn holes_take_nothing_and_links_count_once() {
        let (over, measure) = measured(|own| {
            std::fs::File::create(own.join("hole")).unwrap().set_len(1 << 40).unwrap();
            std::fs::write(own.join("file"), vec![1; 600 << 10]).unwrap();
            std::fs::hard_link(own.join("file"), own.join("link")).unwrap();
        });
        assert_eq!((over, measure.files), (None, 3));
        assert!(measure.bytes >= 600 << 10 && measure.bytes < 1 << 20, "{}", measure.bytes);
    }

    #[test]
    fn too_much_of_anything_is_found() {
        let bytes = measured(|own| std::fs::write(own.join("file"), vec![1; 2 << 20]).unwrap()).0;
        let files = measured(|own| (0..600).for_each(|n| std::fs::write(own.join(n.to_string()), "").unwrap())).0;
        let depth = measured(|own| std::fs::create_dir_all(own.join("d/".repeat(300))).unwrap()).0;
        let fine = measured(|own| std::fs::create_dir_all(own.join("d/".repeat(100))).unwrap()).0;
        assert_eq!((bytes, files, depth, fine), (Some(Over::Bytes), Some(Over::Files), Some(Over::Depth), None));
    }
}
