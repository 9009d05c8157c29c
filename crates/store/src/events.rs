//! What happened in a run, in order, for as long as the run is kept.

use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::error::Result;

/// Something that happened, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its kind; the store knows none.
    pub kind: String,
    /// Its content.
    pub body: Vec<u8>,
}

impl NewEvent {
    /// An event.
    #[must_use]
    pub fn new(kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { kind: kind.to_owned(), body: body.into() }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number in its run, from 1, without gaps.
    pub seq: i64,
    /// When, milliseconds since 1970.
    pub time_ms: i64,
    /// Its kind.
    pub kind: String,
    /// Its content.
    pub body: Vec<u8>,
}

impl Store {
    /// Adds events to a run and tells the number of the last one. Not waited for by the disk.
    ///
    /// # Errors
    /// [`crate::Error`]; none of them is kept then.
    pub fn append(&mut self, run: &str, events: &[NewEvent], now_ms: i64) -> Result<i64> {
        let transaction = self.quick.transaction()?;
        let last = add(&transaction, run, events, now_ms)?;
        transaction.commit()?;
        Ok(last)
    }

    /// Events from number `from` on, of about so many bytes at most, one at least if there is one.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn events(&mut self, run: &str, from: i64, bytes_max: usize) -> Result<Vec<Event>> {
        let mut select = self
            .quick
            .prepare_cached("SELECT seq, time_ms, kind, body FROM events WHERE run = ?1 AND seq >= ?2 ORDER BY seq")?;
        let mut rows = select.query(params![run, from])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let event = Event { seq: row.get(0)?, time_ms: row.get(1)?, kind: row.get(2)?, body: row.get(3)? };
            bytes += event.body.len();
            found.push(event);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(found)
    }
}

/// Adds events within a transaction of the caller's.
pub(crate) fn add(connection: &Connection, run: &str, events: &[NewEvent], now_ms: i64) -> Result<i64> {
    let mut last: i64 = connection
        .prepare_cached("SELECT seq FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([run], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let mut insert =
        connection.prepare_cached("INSERT INTO events (run, seq, time_ms, kind, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for event in events {
        last += 1;
        insert.execute(params![run, last, now_ms, event.kind, event.body])?;
    }
    Ok(last)
}
