//! The audit trail of this user or node: every run is on record here, and so is what its gate does.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use stockade_audit::{Keeping, Place};
use stockade_core::audit::{NotRecorded, Record, Trail};

/// The trail in the state folder.
#[derive(Debug)]
pub(crate) struct FileTrail(stockade_audit::Trail);

impl FileTrail {
    pub(crate) fn of_user() -> Self {
        Self(stockade_audit::Trail::new(Place::new(crate::files::state())))
    }

    /// Opens it for a gate, which may append to it and read nothing: the log, and the head of the chain.
    pub(crate) fn open_for_gate(&self) -> Result<(File, File), NotRecorded> {
        self.0.open_for_another().map_err(|error| self.refused(&error))
    }

    /// The refusal for want of a record.
    fn refused(&self, error: &stockade_audit::Error) -> NotRecorded {
        let is_plain = matches!(error, stockade_audit::Error::File { .. } | stockade_audit::Error::Busy);
        let why = if is_plain { error.why() } else { format!("{error}: {}; {}", error.why(), error.next()) };
        NotRecorded { place: self.0.place().log().to_string_lossy().into_owned(), why }
    }
}

impl Trail for FileTrail {
    fn append(&mut self, record: &Record<'_>) -> Result<(), NotRecorded> {
        // Not waited for on the disk: it survives whatever happens to processes, and a run is not worth milliseconds
        // for each of its records (decision 34). A change of the node is.
        self.0.append(record, Keeping::Written).map(drop).map_err(|error| self.refused(&error))
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
