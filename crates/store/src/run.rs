//! One run as it is kept.

use rusqlite::Row;

use crate::error::{Error, Result};

/// How far a run has come. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits; it will run, also after a crash.
    Accepted,
    /// It was handed to the launcher; it is never handed over again.
    Running,
    /// It has ended, and its outcome is kept.
    Ended,
    /// It was running when the node ended; nobody knows how far it came.
    Lost,
}

impl State {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Lost => "lost",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        [Self::Accepted, Self::Running, Self::Ended, Self::Lost]
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::State(name.to_owned()))
    }

    /// Whether nothing will happen to it any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Lost)
    }
}

/// What goes the way of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run.
    Run,
    /// A session: it runs for as long as it is open.
    Session,
    /// A piece of code that is executed in a session.
    Execution,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Session => "session",
            Self::Execution => "execution",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        [Self::Run, Self::Session, Self::Execution]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::State(name.to_owned()))
    }
}

/// A run, a session, or an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// The order in which runs were accepted.
    pub number: i64,
    /// Whose it is.
    pub principal: String,
    /// How far it has come.
    pub state: State,
    /// What was asked for, as the node wrote it.
    pub request: String,
    /// How it ended, as the node wrote it.
    pub outcome: Option<String>,
    /// When it was accepted, milliseconds since 1970.
    pub accepted_ms: i64,
    /// When it was handed over.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// What it is.
    pub kind: Kind,
    /// Of an execution: its session.
    pub session: Option<String>,
    /// Whether every step of it waits for the disk.
    pub durable: bool,
}

/// The columns that [`read`] takes, in its order.
pub(crate) const COLUMNS: &str =
    "id, number, principal, state, request, outcome, accepted_ms, started_ms, ended_ms, kind, session, durable";
/// How many they are.
pub(crate) const COLUMNS_COUNT: usize = 12;

pub(crate) fn read(row: &Row<'_>) -> Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        number: row.get(1)?,
        principal: row.get(2)?,
        state: State::parse(&row.get::<_, String>(3)?)?,
        request: row.get(4)?,
        outcome: row.get(5)?,
        accepted_ms: row.get(6)?,
        started_ms: row.get(7)?,
        ended_ms: row.get(8)?,
        kind: Kind::parse(&row.get::<_, String>(9)?)?,
        session: row.get(10)?,
        durable: row.get(11)?,
    })
}
