//! CPU time of principals, by the day of UTC in which runs ended.
//!
//! It is counted in the transaction that keeps the end of a run: there is no moment in which one is known and not the
//! other, so nothing is lost between them and nothing is counted twice.

use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::error::Result;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Days that are kept of each principal: by their number and not by the clock, which may jump.
const DAYS_KEPT: i64 = 32;
/// More than a run can use; what adds up stays far from the end of the numbers.
const CPU_MS_MAX: i64 = 1 << 40;

/// The day of UTC, counted from 1970.
#[must_use]
pub const fn day(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

impl Store {
    /// CPU time that a principal's runs used which ended in the day of this moment, milliseconds.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub fn cpu_used(&mut self, principal: &str, now_ms: i64) -> Result<i64> {
        let mut select = self.quick.prepare_cached("SELECT ms FROM cpu_use WHERE principal = ?1 AND day = ?2")?;
        let found: Option<i64> = select.query_row(params![principal, day(now_ms)], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0))
    }
}

/// Charges the principal of a run. Part of the transaction that ends it.
pub(crate) fn count(connection: &Connection, run: &str, cpu_ms: i64, now_ms: i64) -> Result<()> {
    let cpu_ms = cpu_ms.clamp(0, CPU_MS_MAX);
    if cpu_ms == 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO cpu_use (principal, day, ms) SELECT principal, ?2, ?3 FROM runs WHERE id = ?1
             ON CONFLICT (principal, day) DO UPDATE SET ms = ms + excluded.ms",
        )?
        .execute(params![run, day(now_ms), cpu_ms])?;
    connection
        .prepare_cached(
            "DELETE FROM cpu_use WHERE principal = (SELECT principal FROM runs WHERE id = ?1) AND day <> ?2
             AND day NOT IN (SELECT day FROM cpu_use AS kept WHERE kept.principal = cpu_use.principal
                             ORDER BY day DESC LIMIT ?3)",
        )?
        .execute(params![run, day(now_ms), DAYS_KEPT])?;
    Ok(())
}
