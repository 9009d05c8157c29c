//! What the node itself puts on record: who asked for which command, what became of it, and every change of what is
//! in force. Runs are recorded by whoever supervises them.
//!
//! A trail of its own, since this is the process that strangers speak to: what it writes, or what somebody would write
//! who took it over, is never among the records of runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use stockade_audit::{Place, Writer};
use stockade_store::{ObjectId, Transition};

use super::{Caller, Security};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;

/// The folder of the trail, in that of the store.
pub(crate) const FOLDER: &str = "audit";
/// Where callers of the node's own socket are.
const LOCAL: &str = "local";

/// The node's trail.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    pub(super) place: Place,
    writer: Arc<Writer>,
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    Intent,
    Done,
    Denied,
    Failed,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
enum Record {
    Command {
        time_ms: i64,
        principal: String,
        source: &'static str,
        target: &'static str,
        command: &'static str,
        /// Without secrets and without texts of objects.
        parameters: BTreeMap<String, String>,
        phase: Phase,
        #[serde(skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    Transition {
        time_ms: i64,
        principal: String,
        source: &'static str,
        #[serde(rename = "type")]
        kind: String,
        name: String,
        version: String,
        to: &'static str,
        digest: String,
    },
}

impl Trail {
    /// The trail of a node whose store is in this folder.
    pub(crate) fn in_folder(store: PathBuf) -> Self {
        let place = Place::new(store.join(FOLDER));
        Self { writer: Arc::new(Writer::new(place.clone())), place }
    }

    /// Appends; it is on the disk when this returns.
    async fn append(&self, record: Record) -> Result<(), Refusal> {
        let writer = Arc::clone(&self.writer);
        let done = tokio::task::spawn_blocking(move || writer.append(&record)).await;
        let failed = |what: String, why: String, next: &str| {
            tracing::error!(what, why, "no record, so nothing is done");
            Refusal::new(Kind::Failed, "nothing was done", "the node cannot put it on record at the moment", next)
        };
        match done {
            Ok(Ok(_link)) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string(), error.why(), error.next())),
            Err(error) => Err(failed(error.to_string(), String::new(), "see the node's log")),
        }
    }
}

impl Security {
    /// Puts a change of what is in force on record, before it is made.
    pub(super) async fn record_transition(
        &self,
        caller: &Caller,
        what: Transition,
        id: &ObjectId,
        digest: &str,
    ) -> Result<(), Refusal> {
        let record = Record::Transition {
            time_ms: now_ms(),
            principal: caller.principal.0.clone(),
            source: LOCAL,
            kind: id.kind.clone(),
            name: id.name.clone(),
            version: id.version.clone(),
            to: what.name(),
            digest: digest.to_owned(),
        };
        self.trail.append(record).await
    }

    /// Puts a command on record: before it is done, and what became of it.
    pub(super) async fn record_command(
        &self,
        caller: &Caller,
        command: &crate::admin::commands::Command,
        parameters: &BTreeMap<String, String>,
        (phase, reason): (Phase, String),
    ) -> Result<(), Refusal> {
        let record = Record::Command {
            time_ms: now_ms(),
            principal: caller.principal.0.clone(),
            source: LOCAL,
            target: command.target,
            command: command.command,
            parameters: parameters.clone(),
            phase,
            reason,
        };
        self.trail.append(record).await
    }
}
