//! Whom each run is outside: ids of the range, leased one after the other.
//!
//! None is given out again while anything of whoever had it is alive, by the kernel's word: when the range is
//! through, it begins anew without those of any process that is there, and without those that are leased. Between
//! two such looks no id is given out twice, so that a look at every run is not needed. Nothing is remembered over
//! the end of a launcher: the next one looks before it gives out the first.

use std::collections::BTreeSet;
use std::io;

use crate::range::Range;

/// The kernel's page about a process is shorter.
const STATUS_BYTES_MAX: u64 = 16 << 10;

/// The ids of a launcher.
#[derive(Debug)]
pub(super) struct Users {
    range: Range,
    /// From here on none was given out since the last look.
    next: u32,
    leased: Vec<Lease>,
    /// In use at the last look.
    taken: BTreeSet<u32>,
}

/// Ids that follow each other, of users and of groups, for one run until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Users {
    /// # Errors
    /// When it cannot be seen who is alive.
    pub(super) fn new(range: Range) -> io::Result<Self> {
        let mut users = Self { range, next: range.first(), leased: Vec::new(), taken: BTreeSet::new() };
        users.begin_anew()?;
        Ok(users)
    }

    /// Ids of nobody; `None` when there are not as many.
    ///
    /// # Errors
    /// When it cannot be seen who is alive.
    pub(super) fn lease(&mut self, count: u32) -> io::Result<Option<Lease>> {
        if let Some(lease) = self.following(count) {
            return Ok(Some(lease));
        }
        self.begin_anew()?;
        Ok(self.following(count))
    }

    /// Whoever had them is over, with everything it started, as far as the launcher knows.
    pub(super) fn give_back(&mut self, lease: Lease) {
        self.leased.retain(|one| *one != lease);
    }

    fn following(&mut self, count: u32) -> Option<Lease> {
        loop {
            let first = self.next;
            let end = first.checked_add(count)?;
            if count == 0 || end > self.range.last() + 1 {
                return None;
            }
            match self.taken.range(first..end).next_back() {
                Some(taken) => self.next = taken + 1,
                None => {
                    self.next = end;
                    let lease = Lease { first, count };
                    self.leased.push(lease);
                    return Some(lease);
                }
            }
        }
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        // Those that are leased may have no process yet.
        self.taken = self.leased.iter().flat_map(|lease| lease.first..lease.first + lease.count).collect();
        self.taken.extend(ids_alive()?.into_iter().filter(|id| self.range.has(*id)));
        self.next = self.range.first();
        Ok(())
    }
}

/// The ids of all processes there are, dead ones that nobody waited for among them: real, effective, saved and of
/// files, of users and groups.
fn ids_alive() -> io::Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        match status(&entry.path().join("status")) {
            Ok(text) => ids.extend(ids_in(&text)),
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn status(path: &std::path::Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(STATUS_BYTES_MAX).read_to_end(&mut bytes)?;
    // Its name may be anything.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ids_in(status: &str) -> impl Iterator<Item = u32> {
    let of_ids = |line: &&str| ["Uid:", "Gid:", "Groups:"].iter().any(|name| line.starts_with(name));
    status.lines().filter(of_ids).flat_map(str::split_whitespace).filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Users {
        Users::new(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn an_id_is_not_given_out_again_before_the_range_is_through() {
        let mut users = users("1900000000:6");
        let leases: Vec<u32> = (0..3)
            .map(|_| {
                let lease = users.lease(2).unwrap().unwrap();
                users.give_back(lease);
                lease.first
            })
            .collect();
        assert_eq!(leases, [1_900_000_000, 1_900_000_002, 1_900_000_004]);
        assert_eq!(users.lease(2).unwrap().unwrap().first, 1_900_000_000, "all are free again");
    }

    #[test]
    fn what_is_leased_is_nobody_elses() {
        let mut users = users("1900000000:6");
        let all: Vec<Lease> = (0..3).map(|_| users.lease(2).unwrap().unwrap()).collect();
        assert_eq!(users.lease(2).unwrap(), None);
        users.give_back(all[1]);
        assert_eq!(users.lease(2).unwrap(), Some(all[1]));
        assert_eq!(users.lease(1).unwrap(), None);
        users.give_back(all[0]);
        assert_eq!(users.lease(3).unwrap(), None, "three that follow each other are not free");
        assert_eq!(users.lease(0).unwrap(), None);
    }

    #[test]
    fn what_a_process_has_is_not_given_out() {
        if !rustix::process::geteuid().is_root() {
            stockade_testkit::skipped("ids in use", "only root has processes of other users");
            return;
        }
        use std::os::unix::process::CommandExt;
        struct Lingering(std::process::Child);
        impl Drop for Lingering {
            fn drop(&mut self) {
                self.0.kill().unwrap();
                self.0.wait().unwrap();
            }
        }
        let of = |uid: u32, gid: u32| {
            Lingering(std::process::Command::new("sleep").arg("1000").uid(uid).gid(gid).spawn().unwrap())
        };
        let lingering = [of(1_900_100_000, 61_234), of(61_234, 1_900_100_003)];
        let mut users = users("1900100000:8");
        let leases: Vec<u32> = std::iter::from_fn(|| users.lease(2).unwrap()).map(|lease| lease.first).collect();
        assert_eq!(leases, [1_900_100_001, 1_900_100_004, 1_900_100_006], "not 0, of a user, nor 3, of a group");
        drop(lingering);
        for first in leases {
            users.give_back(Lease { first, count: 2 });
        }
        assert_eq!(users.lease(8).unwrap().unwrap().first, 1_900_100_000, "it is gone");
    }

    #[test]
    fn every_kind_of_id_counts() {
        let status = "Name:\tUid: 7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t9 10 \n";
        assert_eq!(ids_in(status).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
