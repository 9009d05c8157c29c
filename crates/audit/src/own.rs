//! Records about the chain itself.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::head::Cut;

/// Version of the form of lines.
pub(crate) const FORMAT: u32 = 1;

/// A record that the trail makes by itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record", deny_unknown_fields)]
pub(crate) enum Own {
    /// The first of a chain.
    Begun {
        time_ms: u64,
        format: u32,
        /// The public key that its checkpoints are to be signed with.
        key: String,
        /// What the file held that was there before.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<Before>,
        /// Whether the key was there before the chain: then another was signed with it, which may be gone as a whole.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        key_was_there: bool,
    },
    /// Vouches for the record before it, and so for all before that.
    Checkpoint { time_ms: u64, of_seq: u64, of_hash: String, key: String, signature: String },
    /// The first of a file that goes on where another ended.
    Continued { time_ms: u64, former: String, bytes: u64 },
    /// Something was not as it should be, and the chain goes on from here.
    Repaired {
        time_ms: u64,
        /// What the head was: `known`, or `missing` with all it knew.
        head: String,
        /// What was taken off the end of the file: a record that was never written whole, or no record at all.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut: Option<Cut>,
        /// The head knew of these, and they are not there.
        #[serde(skip_serializing_if = "Option::is_none")]
        lost: Option<Lost>,
    },
}

/// A plain file, kept under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Records that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Own {
    /// Whether records of this kind are the trail's own.
    pub(crate) fn is_kind(kind: &str) -> bool {
        matches!(kind, "begun" | "checkpoint" | "continued" | "repaired")
    }

    pub(crate) fn json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|error| Error::Record { why: error.to_string() })
    }
}
