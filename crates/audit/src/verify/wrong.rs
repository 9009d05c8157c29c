//! What can be wrong with a trail, in words.

use serde::Serialize;
use thiserror::Error;

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// The file, without its folder.
    pub file: String,
    /// The line, from 1; the last one where something is missing at the end.
    pub line: u64,
    /// The number that the record has, or the last one has.
    pub seq: Option<u64>,
    /// What is wrong.
    #[serde(flatten)]
    pub wrong: Wrong,
    /// The same in words.
    pub what: String,
}

impl Bad {
    pub(super) fn new(file: &str, line: u64, seq: Option<u64>, wrong: Wrong) -> Self {
        let what = wrong.to_string();
        Self { file: file.to_owned(), line, seq, wrong, what }
    }
}

/// What is wrong with a line, or with the end of a trail.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "wrong", rename_all = "kebab-case")]
pub enum Wrong {
    /// Not the form of a record.
    #[error("it is no record: changed, or put in by somebody")]
    NoRecord,
    /// Longer than any.
    #[error("it is longer than any record")]
    TooLong,
    /// Without an end.
    #[error("it is only part of a record: a process was ended while it wrote, or the end was cut off")]
    Torn,
    /// Its hash does not fit.
    #[error("it was changed: its hash is not that of its bytes")]
    Changed,
    /// Numbers that are not there.
    #[error("the records {from} to {to} before it are missing")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A number that was there before.
    #[error("it is not in its place: the record {next} belongs here")]
    Order {
        /// What belongs there.
        next: u64,
    },
    /// The one before is not the one that was there.
    #[error("it does not follow the record {seq} that stands before it: that one, or this one, was replaced")]
    Replaced {
        /// The one before.
        seq: u64,
    },
    /// A checkpoint of something else.
    #[error("it is a checkpoint of the record {of}, not of the one that stands before it")]
    Swapped {
        /// Of which.
        of: u64,
    },
    /// A checkpoint by somebody else.
    #[error("it is a checkpoint that was signed with another key, `{key}`")]
    OtherKey {
        /// Its short name.
        key: String,
    },
    /// A checkpoint by nobody.
    #[error("it is a checkpoint whose signature does not fit")]
    Signature,
    /// Checkpoints that are not there.
    #[error("{records} records came without a checkpoint")]
    Unsigned {
        /// So many.
        records: u64,
    },
    /// What only begins a chain or a file.
    #[error("it belongs to the beginning, and does not stand there")]
    Place,
    /// The file of before the chain.
    #[error("the file of before the chain, `audit.before.jsonl`, is not as it was then")]
    Before,
    /// Not what was known of it elsewhere.
    #[error("it is not the record that was known to be there: its hash was `{hash}`")]
    NotAsKnown {
        /// The hash that was known.
        hash: String,
    },
    /// No head.
    #[error(
        "the head, `audit.head`, is missing or cannot be read: nobody can say whether records are missing after this one"
    )]
    NoHead,
    /// The head knows of more.
    #[error("the records after it are missing, up to {to}")]
    Truncated {
        /// The last that is known.
        to: u64,
    },
    /// The head knows another.
    #[error("it is not the record that the head knows: it was replaced")]
    Head,
}
