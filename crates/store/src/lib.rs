//! What the node must not forget, in one SQLite file: runs that were accepted, what they said, how they ended; and who
//! may do what.
//!
//! Every change of a run's state is one transaction. It is on the disk before anybody hears of it, but for runs that
//! nobody can ask for again: those, and events, are written without waiting for the disk, so a power cut may take the
//! last of them, a killed process none. Knows nothing of HTTP, processes or policy, and never starts anything.

mod configuration;
mod error;
mod events;
mod everybody;
mod files;
mod principals;
mod run;
mod runs;
mod schema;
mod trial;
mod usage;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

pub use configuration::{Act, Beginning, Object, ObjectId, Past, Transition};
pub use error::{Error, Result};
pub use events::{Event, NewEvent};
pub use files::File;
pub use principals::{Change, NewPrincipal, Principal};
pub use run::{Kind, Run, State};
pub use runs::{Acceptance, Ended, NewRun, Recovered, Which};
pub use trial::{NewTrial, Step, Term, Trial};
pub use usage::{DAY_MS, day};

/// How long another program (a backup) may hold the file.
const BUSY: Duration = Duration::from_secs(5);

/// The open file. One thread uses it; SQLite would let only one write anyway.
#[derive(Debug)]
pub struct Store {
    /// Waits for the disk at every commit.
    durable: Connection,
    /// Leaves that to the next checkpoint: for events, and for runs that nobody can ask for again.
    quick: Connection,
}

impl Store {
    /// Opens the file, made if it is not there, and brings it to this version's form.
    ///
    /// # Errors
    /// [`Error`] when it cannot be opened, is damaged, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self> {
        let mut durable = connect(path, "FULL")?;
        schema::migrate(&mut durable)?;
        Ok(Self { durable, quick: connect(path, "NORMAL")? })
    }

    /// Gives room that is no longer used back to the disk, a little at a time.
    ///
    /// # Errors
    /// [`Error`].
    pub fn shrink(&mut self) -> Result<()> {
        self.durable.execute_batch("PRAGMA incremental_vacuum(5000); PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(())
    }
}

fn connect(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Only counts for a file that is made now.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Nothing of anybody's lies outside the one folder.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "secure_delete", "FAST")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(connection)
}
