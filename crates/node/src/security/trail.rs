//! What the node itself puts on record: who asked for which command, what became of it, and every change of what is
//! in force. Runs are recorded by whoever supervises them.
//!
//! A trail of its own, since this is the process that strangers speak to: what it writes, or what somebody would write
//! who took it over, is never among the records of runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use stockade_audit::{Place, Writer};
use stockade_core::audit::{
    Authentication, Authorisation, Command, Decision, Parameter, Phase, Record, Transition, TrustedName,
};
use stockade_identity::hosts;
use stockade_store::{ObjectId, Past};

use super::{Caller, Denied, Security, Values};
use crate::admin::commands::{self, Form};
use crate::refusal::{Kind, Refusal};
use crate::service::now_ms;
use crate::wire::RunId;

/// The folder of the trail, in that of the store.
pub(crate) const FOLDER: &str = "audit";
/// What to do when none of it makes sense.
const REPORT: &str = "see the node's log";
/// Where callers of the node's own socket are.
pub(super) const LOCAL: &str = "local";

/// The node's trail.
#[derive(Clone, Debug)]
pub(crate) struct Trail {
    pub(super) place: Place,
    writer: Arc<Writer>,
}

impl Trail {
    /// The trail of a node whose store is in this folder.
    pub(crate) fn in_folder(store: PathBuf) -> Self {
        let place = Place::new(store.join(FOLDER));
        Self { writer: Arc::new(Writer::new(place.clone())), place }
    }

    /// Says where it should not be overlooked that nothing is left of a trail which the store knows to have been: what is
    /// in it was on record before it was done.
    pub(super) fn warn_of_loss(&self, past: &[Past]) {
        if !past.is_empty() && self.place.is_begun().is_ok_and(|is_begun| !is_begun) {
            tracing::error!(
                "the audit trail begins anew, and the configuration has a past: its records are gone, or were not \
                 restored with it"
            );
        }
    }

    /// Appends; it is on the disk when this returns.
    async fn append(&self, record: Record<'_>) -> Result<(), Refusal> {
        let failed = |what: String, why: String, next: &str| {
            tracing::error!(what, why, "no record can be made");
            Refusal::new(Kind::Failed, "nothing was done", "the node cannot put it on record at the moment", next)
        };
        // What it borrows does not go to another thread.
        let text = serde_json::to_value(&record).map_err(|error| failed(error.to_string(), String::new(), REPORT))?;
        let writer = Arc::clone(&self.writer);
        match tokio::task::spawn_blocking(move || writer.append(&text)).await {
            Ok(Ok(_link)) => Ok(()),
            Ok(Err(error)) => Err(failed(error.to_string(), error.why(), error.next())),
            Err(error) => Err(failed(error.to_string(), String::new(), REPORT)),
        }
    }
}

/// A command that is on record.
#[derive(Clone, Debug)]
pub(super) struct Recording<'a> {
    /// The same in all records of it.
    pub(super) id: String,
    command: &'static commands::Command,
    pub(super) parameters: BTreeMap<&'a str, Parameter<'a>>,
    /// How many were given that the command does not know.
    unknown: usize,
}

impl<'a> Recording<'a> {
    /// What of a command goes on record: of a secret and of the text of a file, that it was given. Names that the
    /// command does not know are any bytes of any caller's, so only their number is told.
    pub(super) fn new(command: &'static commands::Command, values: &'a Values) -> Self {
        let of = |known: &commands::Parameter| {
            let is_plain = matches!(known.form, Form::Text | Form::Flag | Form::Word(_));
            let told = |value| if is_plain { Parameter::Given(value) } else { Parameter::Secret };
            values.get(known.name).map(|value| (known.name, told(value)))
        };
        let id = RunId::random().map_or_else(|_| "unknown".to_owned(), String::from);
        let parameters: BTreeMap<_, _> = command.parameters.iter().filter_map(of).collect();
        Self { id, command, unknown: values.len().saturating_sub(parameters.len()), parameters }
    }
}

impl Security {
    /// Puts on record that somebody has said who he is, and whether he was believed.
    pub(super) async fn record_authentication(&self, record: Authentication<'_>) -> Result<(), Refusal> {
        self.trail.append(Record::Authentication(record)).await
    }

    /// Puts a change of what is in force on record, before it is made.
    pub(super) async fn record_transition(
        &self,
        caller: &Caller,
        (from, to): (&'static str, &'static str),
        id: &ObjectId,
        digest: &str,
    ) -> Result<(), Refusal> {
        let record = Record::Transition(Transition {
            time_ms: time_ms(),
            principal: &caller.principal.0,
            command: caller.command.as_deref().unwrap_or_default(),
            kind: &id.kind,
            name: &id.name,
            version: &id.version,
            from,
            to,
            digest,
        });
        self.trail.append(record).await
    }

    /// Puts on record that a name of a trusted host has other addresses.
    pub(super) async fn record_moved(&self, change: &hosts::Change) -> Result<(), Refusal> {
        let failure = change.failure.map(|failure| failure.to_string()).unwrap_or_default();
        let record = Record::TrustedName(TrustedName {
            time_ms: time_ms(),
            entry: &change.entry,
            object: &change.object,
            added: &change.added,
            removed: &change.removed,
            failure: &failure,
        });
        self.trail.append(record).await
    }

    /// Puts a command on record: before it is done, and what became of it.
    pub(super) async fn record_command(
        &self,
        caller: &Caller,
        recording: &Recording<'_>,
        (phase, reason): (Phase, &str),
    ) -> Result<(), Refusal> {
        let source = caller.source();
        let record = Record::Command(Command {
            time_ms: time_ms(),
            id: &recording.id,
            principal: &caller.principal.0,
            source: &source,
            target: recording.command.target,
            command: recording.command.command,
            phase,
            reason,
            parameters: &recording.parameters,
            unknown_parameters: recording.unknown,
        });
        self.trail.append(record).await
    }

    /// Puts on record what became of a command. By now it is done or not, whatever comes of the record.
    pub(super) async fn record_outcome<T>(
        &self,
        caller: &Caller,
        recording: &Recording<'_>,
        done: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let outcome = outcome(&done);
        let recorded = self.record_command(caller, recording, outcome).await;
        done.and_then(|done| recorded.map(|()| done).map_err(unrecorded))
    }

    /// Puts on record that a command was denied.
    pub(super) async fn record_denied(
        &self,
        caller: &Caller,
        recording: &Recording<'_>,
        reason: &str,
    ) -> Result<(), Refusal> {
        match self.of_denials(&caller.principal.0, reason, self.now_ms()) {
            Some(reason) => self.record_command(caller, recording, (Phase::Denied, &reason)).await,
            None => Ok(()),
        }
    }

    /// What was checked, a denial on record. What is permitted is on record as the run, session or command that it
    /// becomes.
    pub(crate) async fn on_record(&self, checked: Result<(), Denied>) -> Result<(), Refusal> {
        let Err(denied) = checked else { return Ok(()) };
        if let Some(rule) = self.of_denials(&denied.principal, &denied.rule, self.now_ms()) {
            let record = Record::Authorisation(Authorisation {
                time_ms: time_ms(),
                principal: &denied.principal,
                source: &denied.source,
                privilege: denied.privilege,
                resource: &denied.resource,
                decision: Decision::Refused,
                rule: &rule,
            });
            self.trail.append(record).await?;
        }
        Err(denied.into())
    }

    /// Why somebody is denied, as it goes on record; none where there were enough of his, since who may do nothing must
    /// not fill the disk.
    pub(super) fn of_denials(&self, principal: &str, reason: &str, now_ms: u64) -> Option<String> {
        let left_out = self.denials.passes(principal.to_owned(), now_ms)?;
        Some(left_out.before(reason, "caller"))
    }
}

/// What became of a command, as it goes on record.
pub(super) fn outcome<T>(done: &Result<T, Refusal>) -> (Phase, &str) {
    match done {
        Ok(_) => (Phase::Done, ""),
        Err(refusal) if refusal.kind == Kind::Denied => (Phase::Denied, &refusal.what),
        Err(refusal) => (Phase::Failed, &refusal.what),
    }
}

/// What is told of a command that was done, when that cannot be put on record.
pub(super) fn unrecorded(refusal: Refusal) -> Refusal {
    Refusal { what: "it was done, and its outcome is not on record".to_owned(), ..refusal }
}

pub(super) fn time_ms() -> u64 {
    u64::try_from(now_ms()).unwrap_or_default()
}
