//! The trail as a process has it that was given descriptors and may neither read nor open it: the egress gate.

use std::fs::File;
use std::io::{self, Write};

use serde::Serialize;

use crate::append::{again, json};
use crate::error::Error;
use crate::files::Place;
use crate::head::{Head, measure};
use crate::line::{self, Link};
use crate::lock::Lock;

/// A trail by its open files. It signs nothing and repairs nothing: where the log is not as the head says, it refuses
/// until somebody who may read it has appended.
#[derive(Debug)]
pub struct Attached {
    log: File,
    head: File,
}

impl Attached {
    /// Of what [`crate::Trail::open_for_another`] has opened.
    #[must_use]
    pub const fn new(log: File, head: File) -> Self {
        Self { log, head }
    }

    /// Appends one record, which counts when the system has it.
    ///
    /// # Errors
    /// [`Error::File`] when it could not be written whole: part of it may be in the log until somebody repairs it.
    /// Nothing is written with the others.
    pub fn append(&self, record: &impl Serialize) -> Result<Link, Error> {
        let record = json(record)?;
        let _lock = Lock::take(&self.log, &self.head)?;
        let place = Place::new("");
        let failed = Error::file("append to", &place.log());
        let head = Head::read(&self.head).map_err(&failed)?.ok_or(Error::Unrepaired)?;
        let there = measure(&self.log).map_err(&failed)?;
        if there != (head.inode, head.bytes) || head.cut.is_some() {
            return Err(Error::Unrepaired);
        }
        let mut line = Vec::new();
        let link = line::add(&mut line, head.link, &record)?;
        if again(|| (&self.log).write(&line)).map_err(&failed)? != line.len() {
            return Err(failed(io::ErrorKind::StorageFull.into()));
        }
        let bytes = head.bytes + u64::try_from(line.len()).unwrap_or_default();
        Head { link, bytes, ..head }.write(&self.head).map_err(&failed)?;
        Ok(link)
    }
}
