//! The audit record and the proof that it was written: no record, no run.

mod access;

use serde::Serialize;
use thiserror::Error;

pub use access::{Authentication, Authorisation, Command, Decision, Parameter, Phase, Transition, TrustedName};

use crate::outcome::Outcome;
use crate::plan::Plan;

/// One record. The trail adds its own order; secrets and data never appear in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record<'a> {
    /// A run is about to start.
    Intent {
        /// Milliseconds since 1970, UTC.
        time_ms: u64,
        /// The run.
        run: &'a str,
        /// Who asked: `name@realm`.
        principal: &'a str,
        /// The policies that permitted it, with their versions.
        policy: &'a str,
        /// How the code is called.
        label: &'a str,
        /// SHA-256 of the code, or of the program's arguments.
        code_digest: &'a str,
        /// Digest of the environment, or `none`.
        environment_digest: &'a str,
        /// Whether a trust list covers the libraries of strangers that the code has.
        libraries: &'static str,
        /// What is mounted, staged and shared, from outside paths.
        sources: Vec<String>,
        /// The layers without which it does not start.
        required: crate::layer::Layers,
    },
    /// Something of a session is about to be handed to its engine.
    Act {
        /// Milliseconds since 1970, UTC.
        time_ms: u64,
        /// The run that is the session.
        run: &'a str,
        /// Its own name.
        act: &'a str,
        /// Who asked: `name@realm`.
        principal: &'a str,
        /// `execute`, `put`, `table` or `get`.
        what: &'static str,
        /// The file that is put or fetched, or leads to the table.
        #[serde(skip_serializing_if = "str::is_empty")]
        file: &'a str,
        /// SHA-256 of the code, or of the file that is put; `none` of a table, which nobody here reads.
        digest: &'a str,
    },
    /// A run has ended.
    Outcome {
        /// Milliseconds since 1970, UTC.
        time_ms: u64,
        /// The run.
        run: &'a str,
        /// What was measured.
        outcome: &'a Outcome,
    },
    /// An environment was built: its steps are runs, and on record as such.
    Environment {
        /// Milliseconds since 1970, UTC.
        time_ms: u64,
        /// Who asked: `name@realm`.
        principal: &'a str,
        /// Its digest, by which the runs name it that use it.
        environment_digest: &'a str,
        /// What runs its packages: `cpython-311`, `R4.2`.
        interpreter: &'a str,
        /// What is in it: `name version`.
        packages: Vec<String>,
    },
    /// Somebody has said who he is.
    Authentication(Authentication<'a>),
    /// Somebody has asked for something that takes a privilege.
    Authorisation(Authorisation<'a>),
    /// A command of administration is about to be carried out, or was.
    Command(Command<'a>),
    /// Configuration goes from one state to another.
    Transition(Transition<'a>),
    /// A name of a trusted host has other addresses.
    TrustedName(TrustedName<'a>),
    /// A run did not start, or could not be followed to its end.
    Failed {
        /// Milliseconds since 1970, UTC.
        time_ms: u64,
        /// The run.
        run: &'a str,
        /// The error's first line.
        error: &'a str,
    },
}

/// Where records go. Appending is all or nothing: an error means the record does not count.
pub trait Trail {
    /// Appends one record.
    ///
    /// # Errors
    /// [`NotRecorded`] when it could not be written whole.
    fn append(&mut self, record: &Record<'_>) -> Result<(), NotRecorded>;
}

/// A record could not be written, so what it speaks of must not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot write the audit record to `{place}`")]
pub struct NotRecorded {
    /// Where it was to be written.
    pub place: String,
    /// Why not, as the system says it.
    pub why: String,
}

/// Who asks and for what, as the record keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// `name@realm`.
    pub principal: &'a str,
    /// SHA-256 of the code.
    pub code_digest: &'a str,
    /// Digest of the environment, or `none`.
    pub environment_digest: &'a str,
}

/// A plan whose intent is on record: the only thing the launcher accepts.
#[derive(Debug)]
pub struct Recorded(Plan);

impl Recorded {
    /// Writes the intent and wraps the plan.
    ///
    /// # Errors
    /// [`NotRecorded`]; the plan is dropped, so it cannot run.
    pub fn intent(trail: &mut dyn Trail, asker: Asker<'_>, plan: Plan, time_ms: u64) -> Result<Self, NotRecorded> {
        trail.append(&Record::Intent {
            time_ms,
            run: &plan.run,
            principal: asker.principal,
            policy: &plan.policy,
            label: &plan.label,
            code_digest: asker.code_digest,
            environment_digest: asker.environment_digest,
            libraries: plan.libraries.name(),
            sources: plan.sources().map(|source| crate::text::shown(&source.path.to_string_lossy(), 1024)).collect(),
            required: plan.required,
        })?;
        Ok(Self(plan))
    }

    /// The plan, to be carried out.
    #[must_use]
    pub fn into_plan(self) -> Plan {
        self.0
    }
}

/// An outcome that is on record: what reports are made from.
#[derive(Debug)]
pub struct Closed(Outcome);

impl Closed {
    /// Writes the outcome and wraps it.
    ///
    /// # Errors
    /// [`NotRecorded`].
    pub fn outcome(trail: &mut dyn Trail, run: &str, outcome: Outcome, time_ms: u64) -> Result<Self, NotRecorded> {
        trail.append(&Record::Outcome { time_ms, run, outcome: &outcome })?;
        Ok(Self(outcome))
    }

    /// The outcome.
    #[must_use]
    pub const fn get(&self) -> &Outcome {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Trail for Full {
        fn append(&mut self, _: &Record<'_>) -> Result<(), NotRecorded> {
            Err(NotRecorded { place: "trail".to_owned(), why: "no space left on device".to_owned() })
        }
    }

    #[test]
    fn a_plan_whose_intent_cannot_be_written_is_gone() {
        let asker = Asker { principal: "ann@local", code_digest: "-", environment_digest: "none" };
        let refused = Recorded::intent(&mut Full, asker, Plan::fixture(), 0);
        assert!(refused.is_err());
    }
}
