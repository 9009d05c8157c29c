//! Appending: everything of one write is in the chain, or nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::Error;
use crate::files::{Place, rotated_name};
use crate::head::{Head, Signed, measure};
use crate::key::Key;
use crate::line::{self, Link};
use crate::lock::Lock;
use crate::look::{First, Held, Repair, Standing, look};
use crate::own::{FORMAT, Own};
use crate::rotate;

/// A checkpoint is due after so many records, or so long after the former.
pub(crate) const CHECKPOINT_RECORDS: u64 = 256;
const CHECKPOINT_MS: u64 = 60_000;
/// How often a log is moved away while somebody waits for its lock.
const MOVES_MAX: u32 = 8;

/// When a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// When the system has it: it survives the end of every process, however that comes, but not a loss of power.
    Written,
    /// When it is on the disk.
    OnDisk,
}

/// A trail that records are appended to. Nothing is kept open between them, so it may be used after a fork.
#[derive(Clone, Debug)]
pub struct Trail {
    place: Place,
}

impl Trail {
    /// The trail of this place; its folder and its files are made with the first record.
    #[must_use]
    pub const fn new(place: Place) -> Self {
        Self { place }
    }

    /// Where it lies.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Appends one record: an object whose first key is `record`, with neither `seq`, `prev` nor `hash` in it.
    ///
    /// # Errors
    /// [`Error`]; nothing of it is in the file then.
    pub fn append(&self, record: &impl Serialize, keeping: Keeping) -> Result<Link, Error> {
        self.append_all(&[json(record)?], keeping)
    }

    /// Appends several at once, each as JSON.
    pub(crate) fn append_all(&self, records: &[Vec<u8>], keeping: Keeping) -> Result<Link, Error> {
        self.locked(|held, standing| commit(held, standing, records, Sign::WhenDue, keeping))
    }

    /// Signs what is there, if anything came since it was signed last; for the end of a process that writes many.
    ///
    /// # Errors
    /// [`Error`].
    pub fn close(&self) -> Result<Link, Error> {
        self.locked(|held, standing| commit(held, standing, &[], Sign::Now, Keeping::OnDisk))
    }

    /// Makes the trail ready and opens it for a process that may not read it: the log, for appending and nothing else,
    /// and the head. Both are that process's alone, or its lock would be another's.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open_for_another(&self) -> Result<(File, File), Error> {
        self.append_all(&[], Keeping::Written)?;
        Ok((self.place.open_log(OpenOptions::new().append(true))?, self.place.open_head()?))
    }

    fn locked(&self, act: impl FnOnce(&Held<'_>, Standing) -> Result<Link, Error>) -> Result<Link, Error> {
        for _ in 0..MOVES_MAX {
            let (log, head) = self.place.open()?;
            let _lock = Lock::take(&log, &head)?;
            if !self.place.is_at_its_path(&log) {
                continue;
            }
            let held = Held { place: &self.place, log: &log, head: &head };
            if let Some(standing) = look(&held)? {
                return act(&held, standing);
            }
        }
        Err(Error::Busy)
    }
}

/// Whether a checkpoint is added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    WhenDue,
    Now,
}

/// A record as it is appended.
pub(crate) fn json(record: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(record).map_err(|error| Error::Record { why: error.to_string() })
}

/// Lines that go into the file together.
pub(crate) struct Batch {
    pub(crate) lines: Vec<u8>,
    pub(crate) link: Link,
    pub(crate) checkpoint: Signed,
}

impl Batch {
    pub(crate) const fn after(standing: &Standing) -> Self {
        Self { lines: Vec::new(), link: standing.link, checkpoint: standing.checkpoint }
    }

    fn add(&mut self, record: &[u8]) -> Result<(), Error> {
        self.link = line::add(&mut self.lines, self.link, record)?;
        Ok(())
    }

    /// What the chain has to say of its file before anything else.
    fn open(&mut self, held: &Held<'_>, first: First, repair: Option<Repair>, time_ms: u64) -> Result<(), Error> {
        match first {
            First::Nothing => {}
            First::Begun(before) => {
                let key_was_there = held.place.key().exists();
                let key = Key::of(held.place)?.public().to_string();
                self.add(&Own::Begun { time_ms, format: FORMAT, key, before, key_was_there }.json()?)?;
            }
            First::Continued(number) => {
                let bytes = std::fs::metadata(held.place.rotated(number));
                let bytes = bytes.map_err(Error::file("look at", &held.place.rotated(number)))?.len();
                self.add(&Own::Continued { time_ms, former: rotated_name(number), bytes }.json()?)?;
            }
        }
        let Some(Repair { has_head, cut, lost }) = repair else { return Ok(()) };
        let head = if has_head { "known" } else { "missing" }.to_owned();
        self.add(&Own::Repaired { time_ms, head, cut, lost }.json()?)
    }

    pub(crate) fn sign(&mut self, place: &Place, time_ms: u64) -> Result<(), Error> {
        self.add(&Key::of(place)?.checkpoint(self.link, time_ms).json()?)?;
        self.checkpoint = Signed { seq: self.link.seq, time_ms };
        Ok(())
    }

    const fn since_checkpoint(&self) -> u64 {
        self.link.seq.saturating_sub(self.checkpoint.seq)
    }

    const fn is_due(&self, sign: Sign, time_ms: u64) -> bool {
        let since = self.since_checkpoint();
        // Either way: a clock that was ahead once must not put them off until it is so late.
        let by_time = time_ms.abs_diff(self.checkpoint.time_ms) >= CHECKPOINT_MS;
        since > 0 && (matches!(sign, Sign::Now) || by_time || since >= CHECKPOINT_RECORDS)
    }
}

fn commit(
    held: &Held<'_>,
    standing: Standing,
    records: &[Vec<u8>],
    sign: Sign,
    keeping: Keeping,
) -> Result<Link, Error> {
    let time_ms = now_ms();
    let standing = if rotate::is_due(held, &standing)? { rotate::rotate(held, standing, time_ms)? } else { standing };
    let mut batch = Batch::after(&standing);
    let is_new = standing.first != First::Nothing;
    batch.open(held, standing.first, standing.repair, time_ms)?;
    let mut last = batch.link;
    for record in records {
        if batch.since_checkpoint() >= CHECKPOINT_RECORDS {
            batch.sign(held.place, time_ms)?;
        }
        batch.add(record)?;
        last = batch.link;
    }
    // Not for the sake of a process that only makes the trail ready.
    if batch.is_due(sign, time_ms) && (sign == Sign::Now || !batch.lines.is_empty()) {
        batch.sign(held.place, time_ms)?;
    }
    write(held, standing.bytes, &batch, keeping)?;
    if is_new {
        held.head.sync_all().map_err(Error::file("write to the disk", &held.place.head()))?;
        held.place.sync_folder()?;
    }
    Ok(last)
}

/// Writes a batch behind `from`, and the head. What cannot be written whole is taken back.
pub(crate) fn write(held: &Held<'_>, from: u64, batch: &Batch, keeping: Keeping) -> Result<(), Error> {
    let written = append_lines(held.log, &batch.lines, keeping);
    let written = written.map_err(Error::file("append to", &held.place.log())).and_then(|()| {
        let head = measure(held.log).and_then(|(inode, bytes)| {
            Head { link: batch.link, inode, bytes, checkpoint: batch.checkpoint, cut: None }.write(held.head)
        });
        head.map_err(Error::file("write to", &held.place.head()))
    });
    if written.is_err() && !batch.lines.is_empty() {
        // If even that fails, the next writer does it: the head does not know of these lines.
        drop(held.log.set_len(from));
    }
    written
}

fn append_lines(mut log: &File, lines: &[u8], keeping: Keeping) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    if again(|| log.write(lines))? != lines.len() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    if keeping == Keeping::OnDisk { log.sync_data() } else { Ok(()) }
}

/// Until no signal comes in between.
pub(crate) fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Milliseconds since 1970; a clock before that reads as zero.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
