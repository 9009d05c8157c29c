//! Runs of all principals, for who looks after the node; everybody else asks for his own.

use rusqlite::params;

use crate::Store;
use crate::error::Result;
use crate::run::{Kind, Run};
use crate::runs::collect;

/// The columns of a run without what was asked for, and of its outcome only the cause: no one looks after more.
const SEEN: &str = "id, number, principal, state, '' AS request,
    CASE WHEN json_valid(outcome) THEN json_object('cause', outcome ->> '$.cause') END AS outcome,
    accepted_ms, started_ms, ended_ms, kind, session, durable";

impl Store {
    /// Of one kind, the youngest first: all, one by its name, or those of one principal.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn runs_of_all(
        &mut self,
        kind: Kind,
        id: Option<&str>,
        principal: Option<&str>,
        most: u32,
    ) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT {SEEN} FROM runs WHERE kind = ?1 AND (?2 IS NULL OR id = ?2) AND (?3 IS NULL OR principal = ?3)
             ORDER BY number DESC LIMIT ?4"
        );
        collect(&self.durable, &sql, params![kind.name(), id, principal, most])
    }

    /// Of one kind what is not over, the youngest first: one by its name, or those of one principal.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn unfinished_of_all(&mut self, kind: Kind, id: Option<&str>, principal: Option<&str>) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT {SEEN} FROM runs WHERE kind = ?1 AND (?2 IS NULL OR id = ?2) AND (?3 IS NULL OR principal = ?3)
             AND state IN ('accepted', 'running') ORDER BY number DESC"
        );
        collect(&self.durable, &sql, params![kind.name(), id, principal])
    }

    /// Of one kind, those that are under way, the youngest first.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn running_of_all(&mut self, kind: Kind, most: u32) -> Result<Vec<Run>> {
        let sql =
            format!("SELECT {SEEN} FROM runs WHERE kind = ?1 AND state = 'running' ORDER BY number DESC LIMIT ?2");
        collect(&self.durable, &sql, params![kind.name(), most])
    }
}
