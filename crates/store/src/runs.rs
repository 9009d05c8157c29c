//! Runs: accepted, started, ended; found again after a crash; forgotten when their time is over.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::Store;
use crate::error::Result;
use crate::events::{self, NewEvent};
use crate::files::{self, File};
use crate::run::{COLUMNS, COLUMNS_COUNT, Kind, Run, read};
use crate::usage;

/// A run to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct NewRun<'a> {
    /// A name that nothing has yet.
    pub id: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Of an execution: its session.
    pub session: Option<&'a str>,
    /// Whose it is.
    pub principal: &'a str,
    /// What is asked for.
    pub request: &'a str,
    /// Digest of what is asked for, files included.
    pub digest: &'a str,
    /// The caller's word for "this very run".
    pub idempotency_key: Option<&'a str>,
    /// Its files, in the order of the request.
    pub files: &'a [File<'a>],
    /// What is said first of it.
    pub events: &'a [NewEvent],
    /// Whether it is to outlive the machine: all do that somebody may ask for again. Every run outlives the process.
    pub durable: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// As the node tells it.
    pub outcome: &'a str,
    /// Bytes of outputs that lie elsewhere.
    pub outputs: i64,
    /// CPU time that its principal is charged with, milliseconds.
    pub cpu_ms: i64,
    /// What is said last of it.
    pub events: &'a [NewEvent],
}

/// Which are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// Runs.
    Runs,
    /// Sessions.
    Sessions,
    /// What was executed in this session.
    Executions(&'a str),
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is kept, and will run.
    New,
    /// The same was asked for before, with the same key: that run.
    Known(Box<Run>),
    /// The key was used for something else.
    Conflict,
}

/// What a store holds of a node that ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Runs that were running; they are lost now.
    pub lost: Vec<Run>,
    /// Runs that wait, in the order in which they were accepted.
    pub waiting: Vec<Run>,
}

impl Store {
    /// Accepts a run: it is on the disk when this returns, or on its way there.
    ///
    /// # Errors
    /// [`crate::Error`]; it is not accepted then.
    pub fn accept(&mut self, run: &NewRun<'_>, now_ms: i64) -> Result<Acceptance> {
        // Writing from the start: a key that is looked up must still be free when it is taken.
        let transaction = self.of(run.durable).transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(known) = known(&transaction, run)? {
            return Ok(known);
        }
        transaction
            .prepare_cached(
                "INSERT INTO runs
                    (id, number, principal, state, request, digest, idempotency_key, accepted_ms, kind, session, durable)
                 VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM runs), ?2, 'accepted', ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                run.id,
                run.principal,
                run.request,
                run.digest,
                run.idempotency_key,
                now_ms,
                run.kind.name(),
                run.session,
                run.durable
            ])?;
        files::keep(&transaction, run.id, run.files)?;
        events::add(&transaction, run.id, run.events, now_ms)?;
        transaction.commit()?;
        Ok(Acceptance::New)
    }

    /// What would become of a run whose key was used; `None` when it would be a new one.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn known(&mut self, run: &NewRun<'_>) -> Result<Option<Acceptance>> {
        known(&self.durable, run)
    }

    /// Marks a run that waits as running, and lets go of its files, unless it may be opened anew; `false` when it does
    /// not wait.
    ///
    /// # Errors
    /// [`crate::Error`]; it must not be started then.
    pub fn start(&mut self, (run, durable): (&str, bool), events: &[NewEvent], now_ms: i64) -> Result<bool> {
        let transaction = self.of(durable).transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = transaction
            .prepare_cached("UPDATE runs SET state = 'running', started_ms = ?2 WHERE id = ?1 AND state = 'accepted'")?
            .execute(params![run, now_ms])?;
        if changed == 0 {
            return Ok(false);
        }
        transaction
            .prepare_cached(
                "DELETE FROM file_chunks WHERE run = ?1
                 AND NOT EXISTS (SELECT 1 FROM runs WHERE id = ?1 AND kind = 'session')",
            )?
            .execute([run])?;
        events::add(&transaction, run, events, now_ms)?;
        transaction.commit()?;
        Ok(true)
    }

    /// Keeps how a run ended, and counts what it used; `false` when its end is known already, and so was counted.
    ///
    /// # Errors
    /// [`crate::Error`]; neither is kept then.
    pub fn end(&mut self, (run, durable): (&str, bool), ended: &Ended<'_>, now_ms: i64) -> Result<bool> {
        let transaction = self.of(durable).transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = over(&transaction, run, "ended", ended.outcome, ended.events, now_ms)?;
        if changed {
            transaction
                .prepare_cached(
                    "UPDATE runs SET bytes = ?2 + (SELECT coalesce(sum(length(body)), 0) FROM events WHERE run = ?1)
                     WHERE id = ?1",
                )?
                .execute(params![run, ended.outputs])?;
            usage::count(&transaction, run, ended.cpu_ms, now_ms)?;
        }
        transaction.commit()?;
        Ok(changed)
    }

    /// Those that wait for the disk at every step, or not.
    const fn of(&mut self, durable: bool) -> &mut Connection {
        if durable { &mut self.durable } else { &mut self.quick }
    }

    /// What the former process left: what was running is lost from now on, and with every session what waited for it.
    /// So is what did not wait for the disk, when the machine was started anew since: it may have been running.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn recover(&mut self, boot: &str, outcome: &str, events: &[NewEvent], now_ms: i64) -> Result<Recovered> {
        let transaction = self.durable.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let former: Option<String> = transaction.query_row("SELECT id FROM boot", [], |row| row.get(0)).optional()?;
        let is_other_boot = former.is_some_and(|former| former != boot);
        transaction.execute("INSERT OR REPLACE INTO boot (one, id) VALUES (1, ?1)", [boot])?;
        let lost = collect(
            &transaction,
            &format!(
                "SELECT {COLUMNS} FROM runs WHERE state = 'running'
                    OR (state = 'accepted' AND (kind <> 'run' OR (durable = 0 AND ?1)))
                 ORDER BY number"
            ),
            params![is_other_boot],
        )?;
        for run in &lost {
            over(&transaction, &run.id, "lost", outcome, events, now_ms)?;
        }
        let waiting = in_state(&transaction, "accepted")?;
        transaction.commit()?;
        Ok(Recovered { lost, waiting })
    }

    /// A run of this principal.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn run(&mut self, principal: &str, run: &str) -> Result<Option<Run>> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE id = ?1 AND principal = ?2");
        let mut select = self.durable.prepare_cached(&sql)?;
        let mut rows = select.query(params![run, principal])?;
        rows.next()?.map(read).transpose()
    }

    /// Runs of this principal, the youngest first, from before number `before` on.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn runs(&mut self, principal: &str, which: Which<'_>, before: i64, most: i64) -> Result<Vec<Run>> {
        let (kind, session) = match which {
            Which::Runs => (Kind::Run, None),
            Which::Sessions => (Kind::Session, None),
            Which::Executions(session) => (Kind::Execution, Some(session)),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE principal = ?1 AND number < ?2 AND kind = ?4 AND session IS ?5
             ORDER BY number DESC LIMIT ?3"
        );
        collect(&self.durable, &sql, params![principal, before, most, kind.name(), session])
    }

    /// Runs that are over: those that ended before `before_ms`, and of each principal and kind those beyond the `most`
    /// youngest, or beyond so many bytes of what they said and made.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn outdated(&mut self, before_ms: i64, most: i64, bytes_max: i64) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM (
                SELECT *, row_number() OVER younger AS place, sum(bytes) OVER younger AS total
                FROM runs WHERE state IN ('ended', 'lost')
                WINDOW younger AS (PARTITION BY principal, kind ORDER BY number DESC)
             ) WHERE ended_ms < ?1 OR place > ?2 OR (total > ?3 AND place > 1) LIMIT 100"
        );
        collect(&self.durable, &sql, params![before_ms, most, bytes_max])
    }

    /// Forgets a run that is over, with all it said; `false` when there is none.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn forget(&mut self, run: &str) -> Result<bool> {
        let gone = self
            .durable
            .prepare_cached("DELETE FROM runs WHERE id = ?1 AND state IN ('ended', 'lost')")?
            .execute([run])?;
        Ok(gone > 0)
    }
}

fn over(
    connection: &Connection,
    run: &str,
    state: &str,
    outcome: &str,
    events: &[NewEvent],
    now_ms: i64,
) -> Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE runs SET state = ?2, outcome = ?3, ended_ms = ?4
             WHERE id = ?1 AND state IN ('accepted', 'running')",
        )?
        .execute(params![run, state, outcome, now_ms])?;
    if changed == 0 {
        return Ok(false);
    }
    connection.prepare_cached("DELETE FROM file_chunks WHERE run = ?1")?.execute([run])?;
    events::add(connection, run, events, now_ms)?;
    Ok(true)
}

fn known(connection: &Connection, run: &NewRun<'_>) -> Result<Option<Acceptance>> {
    let Some(key) = run.idempotency_key else { return Ok(None) };
    Ok(with_key(connection, run.principal, key)?.map(|(known, digest)| {
        if digest == run.digest { Acceptance::Known(Box::new(known)) } else { Acceptance::Conflict }
    }))
}

fn with_key(connection: &Connection, principal: &str, key: &str) -> Result<Option<(Run, String)>> {
    let sql = format!("SELECT {COLUMNS}, digest FROM runs WHERE principal = ?1 AND idempotency_key = ?2");
    let found = connection
        .prepare_cached(&sql)?
        .query_row(params![principal, key], |row| Ok((read(row), row.get::<_, String>(COLUMNS_COUNT)?)))
        .optional()?;
    found.map(|(run, digest)| Ok((run?, digest))).transpose()
}

fn in_state(connection: &Connection, state: &str) -> Result<Vec<Run>> {
    collect(connection, &format!("SELECT {COLUMNS} FROM runs WHERE state = ?1 ORDER BY number"), params![state])
}

pub(crate) fn collect(connection: &Connection, sql: &str, parameters: &[&dyn rusqlite::ToSql]) -> Result<Vec<Run>> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
