//! What is said over HTTP of sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::types::InlineInput;

/// A session to be opened.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SessionRequest {
    /// `python`, which is also meant when it is left out, `r` or `sql`
    pub(super) language: Option<String>,
    /// Small files of the working folder; others are put there later
    pub(super) inputs: Vec<InlineInput>,
    /// Packages, as `stockade run --with` takes them: names and versions
    pub(super) with: Vec<String>,
    /// An environment of the node, by name or digest, instead of packages
    pub(super) environment: Option<String>,
    /// Limits by name; `time` is the session's whole life, `streams` holds for each execution, the others for all
    pub(super) limits: BTreeMap<String, String>,
    /// How long it may be idle before it ends: `"5m"`
    pub(super) idle: Option<String>,
}

/// Code for a session.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecutionRequest {
    /// The code
    pub(super) code: String,
    /// How long it may take; 10 minutes if left out. It is interrupted then, and variables stay
    #[serde(default)]
    pub(super) time: Option<String>,
}

/// A session.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SessionDocument {
    /// Its name
    pub(super) id: String,
    /// `open`, `ending`, `ended`, or `lost` when the node ended while it was open
    pub(super) state: &'static str,
    /// What runs its code
    pub(super) language: &'static str,
    /// Its packages
    pub(super) with: Vec<String>,
    /// Its environment
    pub(super) environment: Option<String>,
    /// Its limits, in their smallest units
    pub(super) limits: BTreeMap<String, u64>,
    /// When it was opened, milliseconds since 1970
    pub(super) opened_ms: i64,
    /// When it ends at the latest; a little later if its environment had to be made first
    pub(super) ends_ms: Option<i64>,
    /// How long it may be idle, milliseconds
    pub(super) idle_ms: i64,
    /// When it ends if nothing is executed until then
    pub(super) idle_ends_ms: Option<i64>,
    /// What is executed at the moment
    pub(super) executing: Option<String>,
    /// How many wait for their turn
    pub(super) waiting: usize,
    /// When it ended
    pub(super) ended_ms: Option<i64>,
    /// How it ended; `reason` is `closed`, `idle`, `restarted` or `drained` when it was told to
    #[schema(value_type = Option<super::types::OutcomeDocument>)]
    pub(super) outcome: Option<Value>,
}

/// Sessions, the youngest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    /// The sessions
    pub(super) sessions: Vec<SessionDocument>,
    /// What to give as `before` to see older ones; null when there are none
    pub(super) before: Option<i64>,
}

/// A table for a session.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TableRequest {
    /// The token of its memory; good for one request
    pub(super) token: String,
}

/// What was interrupted.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Interrupted {
    /// The execution; null when there was none
    pub(super) interrupted: Option<String>,
}
