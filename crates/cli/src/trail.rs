//! The audit trail as a plain file of JSON lines, appended only; a chain of hashes takes its place later.

use std::io::Write;
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

    fn write(&self, line: &[u8]) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        // One write: appending is whole, or taken back and reported. The lock ends with the file.
        file.lock()?;
        let before = file.metadata()?.len();
        if file.write(line)? == line.len() {
            return Ok(());
        }
        file.set_len(before)?;
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

impl Trail for FileTrail {
    fn append(&mut self, record: &Record<'_>) -> Result<(), NotRecorded> {
        let refused = |why: String| NotRecorded { place: self.path.to_string_lossy().into_owned(), why };
        let mut line = serde_json::to_vec(record).map_err(|error| refused(error.to_string()))?;
        line.push(b'\n');
        self.write(&line).map_err(|error| refused(error.to_string()))
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
