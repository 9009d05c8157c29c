//! What can go wrong with the file.

use rusqlite::ErrorCode;
use thiserror::Error;

/// A result of the store.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the store did not do what it was asked for.
#[derive(Debug, Error)]
pub enum Error {
    /// SQLite's own word.
    #[error("the state file cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// It was written by a later version, or its form cannot be made.
    #[error("the state file has a form that this version does not know: {0}")]
    Form(#[from] rusqlite_migration::Error),
    /// Something in it makes no sense.
    #[error("the state file holds a run in no known state: `{0}`")]
    State(String),
}

impl Error {
    /// Whether there is no room for it on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }

    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match self {
            Self::Sqlite(_) if self.is_full() => "free some space in the node's state folder",
            Self::Sqlite(_) => "see whether the node's user may write its state folder, and whether the disk is sound",
            Self::Form(_) => "start the version that wrote it, or restore a copy from before the upgrade",
            Self::State(_) => "restore a copy of the state file",
        }
    }
}
