//! One writer at a time, and each in his turn.
//!
//! Who wants the log first takes the head's lock, and lets it go once he has the log's. So one who appends all the time
//! cannot take the log again before those who wait: he waits for the head, which the next of them has.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How long the lock may be held by others. A record takes microseconds, a new file perhaps a second.
const LOCK_TIME: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(1);

/// The log is this process's alone. Both files must be open by descriptions of its own: a lock is between them.
pub(crate) struct Lock<'f>(&'f File);

impl<'f> Lock<'f> {
    pub(crate) fn take(log: &'f File, head: &File) -> Result<Self, Error> {
        Self::take_of(log, Some(head))
    }

    /// Where there may be no head.
    pub(crate) fn take_of(log: &'f File, head: Option<&File>) -> Result<Self, Error> {
        let until = Instant::now() + LOCK_TIME;
        if let Some(head) = head {
            wait(head, until)?;
        }
        let taken = wait(log, until).map(|()| Self(log));
        // Dropped with the file at the latest.
        drop(head.map(File::unlock));
        taken
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

/// Waits, not for ever: whoever holds it may be stopped, or mean harm.
fn wait(file: &File, until: Instant) -> Result<(), Error> {
    let mut pause = PAUSE_MIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(TryLockError::Error(_) | TryLockError::WouldBlock) => return Err(Error::Busy),
        }
    }
}
