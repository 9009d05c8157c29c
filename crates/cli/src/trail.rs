//! The audit trail as a plain file of JSON lines, appended only; a chain of hashes takes its place later.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use stockade_core::audit::{NotRecorded, Record, Trail};

/// The trail of this user.
#[derive(Debug)]
pub(crate) struct FileTrail {
    path: PathBuf,
}

impl FileTrail {
    pub(crate) fn of_user() -> Self {
        Self { path: crate::files::state().join("audit.jsonl") }
    }

    /// Opens it for appending and nothing else, made with its folder if it is not there.
    pub(crate) fn open(&self) -> std::io::Result<File> {
        self.open_with(OpenOptions::new().append(true))
    }

    fn open_with(&self, options: &mut OpenOptions) -> std::io::Result<File> {
        if let Some(folder) = self.path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        options.create(true).mode(0o600).open(&self.path)
    }

    /// The refusal for want of a record.
    pub(crate) fn refused(&self, error: &std::io::Error) -> NotRecorded {
        NotRecorded { place: self.path.to_string_lossy().into_owned(), why: error.to_string() }
    }
}

impl Trail for FileTrail {
    fn append(&mut self, record: &Record<'_>) -> Result<(), NotRecorded> {
        let mut line = serde_json::to_vec(record).map_err(|error| self.refused(&error.into()))?;
        line.push(b'\n');
        // Read as well: what a gate left torn on a full disk is taken off.
        self.open_with(OpenOptions::new().append(true).read(true))
            .and_then(|file| stockade_egress::append_whole(&file, &line))
            .map_err(|error| self.refused(&error))
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
