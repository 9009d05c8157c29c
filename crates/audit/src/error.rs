//! What can go wrong with a trail: what, why, what to do next.

use std::io;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

/// Why something was not recorded, or not read. Shared by all whose records were in one write.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// A file of the trail.
    #[error("cannot {what} `{path}`")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// Another process holds the lock, for longer than any record takes.
    #[error("another process holds the lock of the audit trail")]
    Busy,
    /// The record is longer than a line may be, or no record.
    #[error("the record does not fit a line")]
    Record {
        /// Why not.
        why: String,
    },
    /// The file ends in nothing that belongs to a chain, so nothing can follow it.
    #[error("`{path}` does not end in a record")]
    NoChain {
        /// The file.
        path: String,
    },
    /// What the head says is not what is there; whoever may read the trail puts it right with his next record.
    #[error("the audit trail is not as its head says")]
    Unrepaired,
    /// The key cannot be used.
    #[error("the key `{path}` cannot be used")]
    Key {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// There is nothing to hold checkpoints against.
    #[error("there is no public key in `{path}`")]
    NoKey {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// It could not be handed on to whoever asked for it.
    #[error("the records cannot be written where they are wanted")]
    Output {
        /// Why not.
        cause: Arc<io::Error>,
    },
    /// A record that is to be read is none.
    #[error("line {line} of `{file}` is no record")]
    Damaged {
        /// The file.
        file: String,
        /// Which line, from 1.
        line: u64,
    },
}

impl Error {
    /// Why it happened, on one line.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::File { cause, .. } | Self::Output { cause } => cause.to_string(),
            Self::Busy => "another process holds its lock".to_owned(),
            Self::Record { why } | Self::Key { why, .. } | Self::NoKey { why, .. } => why.clone(),
            Self::NoChain { .. } => "what is in it was not written as a record, or was changed".to_owned(),
            Self::Unrepaired => "a process was ended in the middle of a record, or the file was changed".to_owned(),
            Self::Damaged { .. } => "its bytes are not those that were written".to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self {
            Self::File { .. } => "look whether it is there, whether you may use it, and whether the disk is full",
            Self::NoKey { .. } => "name the folder that a trail is in with --trail, or give its key with --key",
            Self::Busy => "end the process that holds it (see `lslocks`)",
            Self::Record { .. } => "name fewer or shorter things at once",
            Self::NoChain { .. } => {
                "keep a copy, look at it with `stockade audit verify`, then move it away; the chain goes on from its head"
            }
            Self::Unrepaired => "try again after the next run, which repairs it and says so",
            Self::Key { .. } => "give the file mode 0600 and to the user who runs this, or bring it back from a copy",
            Self::Output { .. } => "free space, or write to another place",
            Self::Damaged { .. } => "look at it with `stockade audit verify`",
        }
    }

    /// Made of what the system says about a file.
    pub(crate) fn file(what: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_string_lossy().into_owned();
        move |cause| Self::File { what, path: path.clone(), cause: Arc::new(cause) }
    }
}
