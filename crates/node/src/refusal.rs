//! The one form of a refusal: what, why, what to do next. `api` makes a problem document of it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of refusal it is; a status of HTTP later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What was asked for makes no sense, or is more than the node gives.
    Invalid,
    /// There is none, or it is somebody else's: nobody learns which.
    Missing,
    /// The key was used for something else.
    Conflict,
    /// It is too large.
    TooLarge,
    /// Nobody knows who the caller is.
    Unauthenticated,
    /// The caller has no right to it.
    Denied,
    /// It took too long.
    TooSlow,
    /// The caller has as much as it may have.
    TooMany,
    /// The node does not take anything at the moment.
    Unavailable,
    /// The path has no such method.
    NotAllowed,
    /// It is meant for another node.
    Misdirected,
    /// There is no room on the disk.
    Full,
    /// Something of ours failed.
    Failed,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Its kind.
    pub kind: Kind,
    /// What happened.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub next: String,
    /// When to try again, seconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_s: Option<u64>,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(kind: Kind, what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self { kind, what: what.into(), why: why.into(), next: next.into(), retry_s: None }
    }

    /// The same, which is known to hold for so long.
    #[must_use]
    pub fn that_holds_for(self, seconds: u64) -> Self {
        Self { retry_s: Some(seconds), ..self }
    }

    /// What was asked for cannot be had.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, what, why, next)
    }

    /// Something of ours failed; what exactly is in the log.
    pub fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(Kind::Failed, what, why.to_string(), "try again; the node's log says more")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n  why:  {}\n  next: {}", self.what, self.why, self.next)
    }
}

impl From<stockade_store::Error> for Refusal {
    fn from(error: stockade_store::Error) -> Self {
        let kind = if error.is_full() { Kind::Full } else { Kind::Failed };
        // The text may hold a path of the host: for the log only.
        tracing::error!(error = %error, "the store failed");
        Self::new(kind, "the node cannot keep this", "its state cannot be written or read at the moment", error.next())
    }
}
