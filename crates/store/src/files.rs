//! The files of a run that waits: in the same file as the run itself, so that either both are there or none.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::Store;
use crate::error::Result;

/// A row holds this much, so that memory stays bounded when large files are read.
const CHUNK_BYTES: usize = 1 << 20;

/// A file to be kept until its run starts; its name is in the request.
#[derive(Clone, Copy, Debug)]
pub struct File<'a>(pub &'a [u8]);

pub(crate) fn keep(transaction: &Transaction<'_>, run: &str, files: &[File<'_>]) -> Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO file_chunks (run, file, chunk, bytes) VALUES (?1, ?2, ?3, ?4)")?;
    for (number, File(bytes)) in (0_i64..).zip(files) {
        for (chunk, part) in (0_i64..).zip(bytes.chunks(CHUNK_BYTES)) {
            insert.execute(params![run, number, chunk, part])?;
        }
    }
    Ok(())
}

impl Store {
    /// One part of a file of a run that waits; `None` after the last.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn part_of_file(&mut self, run: &str, file: i64, part: i64) -> Result<Option<Vec<u8>>> {
        let mut select =
            self.durable.prepare_cached("SELECT bytes FROM file_chunks WHERE run = ?1 AND file = ?2 AND chunk = ?3")?;
        Ok(select.query_row(params![run, file, part], |row| row.get(0)).optional()?)
    }
}
