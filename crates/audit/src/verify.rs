//! Holds a trail against itself, and against what is known of it elsewhere; stops at the first thing that is wrong.
//!
//! Reads each file once, a line at a time. Former files are read while others append; only the last of them waits.

mod wrong;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use serde::Serialize;

use crate::append::CHECKPOINT_RECORDS;
use crate::error::Error;
use crate::files::Place;
use crate::head::Head;
use crate::key::PublicKey;
use crate::line::{Line, Link};
use crate::lock::Lock;
use crate::look::{before, last_of};
use crate::own::Own;
use crate::read::{Lines, Raw, is_missing};

pub use wrong::{Bad, Wrong};

/// Others than the trail's own may come without a checkpoint until somebody appends who has the key.
const WITHOUT_KEY: &str = "network";
/// So many of the others may follow each other without one: those that are due, and what the trail adds itself.
const UNSIGNED_MAX: u64 = CHECKPOINT_RECORDS + 8;
/// Repairs that are listed.
const REPAIRS_MAX: usize = 100;

/// What is known of a trail elsewhere.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What its checkpoints are signed with.
    pub key: PublicKey,
    /// Records that must be in it, each as an earlier verification said it.
    pub links: Vec<Link>,
    /// Records before which others may be missing: somebody has looked into it.
    pub accepted: BTreeSet<u64>,
}

impl Expected {
    /// This key and nothing else.
    #[must_use]
    pub const fn key(key: PublicKey) -> Self {
        Self { key, links: Vec::new(), accepted: BTreeSet::new() }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Records that are as they were written.
    pub records: u64,
    /// Files that were read.
    pub files: u64,
    /// Checkpoints that fit the key.
    pub checkpoints: u64,
    /// The last record that a checkpoint vouches for.
    pub vouched: u64,
    /// The last record and its hash: keep them elsewhere, and give them to the next verification.
    pub seq: u64,
    /// See `seq`.
    pub hash: String,
    /// The key's short name.
    pub key: String,
    /// Records that say that something was repaired, the first hundred.
    pub repaired: Vec<u64>,
    /// Whether its first record says that the key was there before it: then there was another trail, of which nothing
    /// is left here, unless the key is that of several.
    pub key_was_there: bool,
    /// The first thing that is wrong.
    pub bad: Option<Bad>,
}

/// Verifies the trail of this place.
///
/// # Errors
/// [`Error`] when it cannot be read. What is wrong with it is in the report.
pub fn verify(place: &Place, expected: &Expected) -> Result<Report, Error> {
    let mut pass = Pass::new(place, expected);
    let found = pass.all();
    let mut report = pass.report;
    (report.seq, report.hash, report.key) = (pass.last.seq, pass.last.hash_hex(), expected.key.id());
    match found {
        Ok(()) => Ok(report),
        Err(Stop::Bad(bad)) => Ok(Report { bad: Some(bad), ..report }),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Why it goes no further.
enum Stop {
    Bad(Bad),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

struct Pass<'p> {
    place: &'p Place,
    expected: &'p Expected,
    report: Report,
    last: Link,
    /// Records since the last checkpoint, of those that could have brought one.
    unsigned: u64,
    file: String,
    line: u64,
}

impl<'p> Pass<'p> {
    fn new(place: &'p Place, expected: &'p Expected) -> Self {
        let report = Report::default();
        Self { place, expected, report, last: Link::START, unsigned: 0, file: String::new(), line: 0 }
    }

    fn all(&mut self) -> Result<(), Stop> {
        let mut read = 0;
        loop {
            read = self.rotated(read)?;
            let log = match File::open(self.place.log()) {
                Ok(log) => Some(log),
                Err(error) if is_missing(&error) && (read > 0 || self.place.head().exists()) => None,
                Err(error) => return Err(Error::file("open", &self.place.log())(error).into()),
            };
            let head = File::open(self.place.head()).ok();
            let _lock = log.as_ref().map(|log| Lock::take_of(log, head.as_ref())).transpose()?;
            if self.place.all_rotated()?.last().is_some_and(|last| *last > read) {
                continue;
            }
            if let Some(log) = &log {
                self.log(log, read)?;
            }
            return self.end(head.as_ref());
        }
    }

    /// Every former file after `read`; returns the last.
    fn rotated(&mut self, read: u64) -> Result<u64, Stop> {
        let mut last = read;
        for number in self.place.all_rotated()?.into_iter().filter(|number| *number > read) {
            self.lines(Lines::open(&self.place.rotated(number))?)?;
            last = number;
        }
        Ok(last)
    }

    fn log(&mut self, log: &File, read: u64) -> Result<(), Stop> {
        let path = self.place.log();
        let length = log.metadata().map_err(Error::file("look at", &path))?.len();
        // Who continued it was ended before he could empty it; the next who appends does that.
        let is_kept = read > 0 && length > 0 && last_of(&self.place.rotated(read)).ok() == last_of(&path).ok();
        if is_kept && same(&self.place.rotated(read), &path)? {
            return Ok(());
        }
        self.lines(Lines::of(log.try_clone().map_err(Error::file("read", &path))?, &path))
    }

    fn lines(&mut self, mut lines: Lines) -> Result<(), Stop> {
        (self.file, self.line) = (lines.name(), 0);
        self.report.files += 1;
        while let Some(raw) = lines.next()? {
            self.line += 1;
            let line = match raw {
                Raw::Line(line) => Line::parse(line),
                Raw::TooLong => return self.bad(None, Wrong::TooLong),
                Raw::Torn => return self.bad(None, Wrong::Torn),
            };
            match line {
                Some(line) => self.record(&line)?,
                None => return self.bad(None, Wrong::NoRecord),
            }
        }
        Ok(())
    }

    fn record(&mut self, line: &Line<'_>) -> Result<(), Stop> {
        let seq = line.link.seq;
        if !line.is_whole() {
            return self.bad(Some(seq), Wrong::Changed);
        }
        self.follows(line)?;
        if let Some(other) = self.expected.links.iter().find(|link| link.seq == seq && link.hash != line.link.hash) {
            return self.bad(Some(seq), Wrong::NotAsKnown { hash: other.hash_hex() });
        }
        let kind = line.kind();
        if kind != WITHOUT_KEY {
            self.unsigned += 1;
        }
        if Own::is_kind(kind) {
            self.own(line)?;
        }
        if self.unsigned > UNSIGNED_MAX {
            return self.bad(Some(seq), Wrong::Unsigned { records: self.unsigned });
        }
        self.last = line.link;
        self.report.records += 1;
        Ok(())
    }

    /// Whether it is the next in the chain.
    fn follows(&self, line: &Line<'_>) -> Result<(), Stop> {
        let (seq, next) = (line.link.seq, self.last.seq.saturating_add(1));
        if seq > next && self.expected.accepted.contains(&seq) {
            return Ok(());
        }
        match seq {
            seq if seq > next => self.bad(Some(seq), Wrong::Missing { from: next, to: seq - 1 }),
            seq if seq < next => self.bad(Some(seq), Wrong::Order { next }),
            _ if line.prev != self.last.hash => self.bad(Some(seq), Wrong::Replaced { seq: self.last.seq }),
            _ => Ok(()),
        }
    }

    /// What the trail says of itself.
    fn own(&mut self, line: &Line<'_>) -> Result<(), Stop> {
        let seq = line.link.seq;
        let Ok(own) = serde_json::from_slice::<Own>(&line.json()) else {
            return self.bad(Some(seq), Wrong::NoRecord);
        };
        match own {
            Own::Begun { before: said, key_was_there, .. } => {
                if seq != 1 {
                    return self.bad(Some(seq), Wrong::Place);
                }
                self.report.key_was_there = key_was_there;
                if said.is_some() && before(self.place)? != said {
                    return self.bad(Some(seq), Wrong::Before);
                }
            }
            Own::Continued { .. } if self.line != 1 => return self.bad(Some(seq), Wrong::Place),
            Own::Continued { .. } => {}
            Own::Repaired { .. } => {
                if self.report.repaired.len() < REPAIRS_MAX {
                    self.report.repaired.push(seq);
                }
            }
            Own::Checkpoint { time_ms, of_seq, of_hash, key, signature } => {
                let of = Link { seq: seq - 1, hash: line.prev };
                if of_seq != of.seq || of_hash != of.hash_hex() {
                    return self.bad(Some(seq), Wrong::Swapped { of: of_seq });
                }
                if key != self.expected.key.id() {
                    return self.bad(Some(seq), Wrong::OtherKey { key });
                }
                if !self.expected.key.fits(of, time_ms, &signature) {
                    return self.bad(Some(seq), Wrong::Signature);
                }
                self.unsigned = 0;
                self.report.checkpoints += 1;
                self.report.vouched = of.seq;
            }
        }
        Ok(())
    }

    /// What is to be there after the last line.
    fn end(&mut self, head: Option<&File>) -> Result<(), Stop> {
        let head = head.and_then(|file| Head::read(file).ok().flatten());
        let seq = Some(self.last.seq);
        let Some(head) = head else { return self.bad(seq, Wrong::NoHead) };
        if head.link.seq > self.last.seq {
            return self.bad(seq, Wrong::Truncated { to: head.link.seq });
        }
        if head.link.seq == self.last.seq && head.link != self.last {
            return self.bad(seq, Wrong::Head);
        }
        let beyond = self.expected.links.iter().map(|link| link.seq).filter(|known| *known > self.last.seq).max();
        beyond.map_or(Ok(()), |to| self.bad(seq, Wrong::Truncated { to }))
    }

    fn bad<T>(&self, seq: Option<u64>, wrong: Wrong) -> Result<T, Stop> {
        Err(Stop::Bad(Bad::new(&self.file, self.line, seq, wrong)))
    }
}

/// Whether two files are of one length.
fn same(one: &Path, other: &Path) -> Result<bool, Error> {
    let length = |path: &Path| std::fs::metadata(path).map(|about| about.len()).map_err(Error::file("look at", path));
    Ok(length(one)? == length(other)?)
}
