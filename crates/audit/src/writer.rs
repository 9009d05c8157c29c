//! Many callers of one process, one lock, one write and one wait for the disk for all that ask meanwhile.
//!
//! There is no thread: whoever comes while nobody writes does it for everybody who waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::append::{Keeping, Trail, json};
use crate::error::Error;
use crate::files::Place;
use crate::line::Link;

/// A write has no more than this, and one record.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A trail that many threads append to, each record on the disk when it counts.
#[derive(Debug)]
pub struct Writer {
    trail: Trail,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(Vec<u8>, Arc<Slot>)>,
    is_writing: bool,
}

/// Where a caller finds what became of his record.
type Slot = Mutex<Option<Result<Link, Error>>>;

impl Writer {
    /// Writes to the trail of this place.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { trail: Trail::new(place), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Appends one record and waits until it is on the disk. The link is the last of its write.
    ///
    /// # Errors
    /// [`Error`]; it does not count then, and nothing of it is in the file.
    pub fn append(&self, record: &impl Serialize) -> Result<Link, Error> {
        let slot = Arc::new(Slot::default());
        let mut state = self.state();
        state.waiting.push((json(record)?, Arc::clone(&slot)));
        loop {
            if let Some(done) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return done;
            }
            if state.is_writing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_writing = true;
            let batch = some_of(&mut state.waiting);
            drop(state);
            self.write(batch);
            state = self.state();
            state.is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Signs what is there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn close(&self) -> Result<Link, Error> {
        self.trail.close()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, batch: Vec<(Vec<u8>, Arc<Slot>)>) {
        let (records, slots): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let done = self.trail.append_all(&records, Keeping::OnDisk);
        // One that can never be written does not take the others with it.
        if matches!(done, Err(Error::Record { .. })) && records.len() > 1 {
            for (record, slot) in records.into_iter().zip(slots) {
                fill(&slot, self.trail.append_all(&[record], Keeping::OnDisk));
            }
            return;
        }
        for slot in &slots {
            fill(slot, done.clone());
        }
    }
}

fn fill(slot: &Slot, done: Result<Link, Error>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
}

/// The first that wait, as many as one write may have.
fn some_of<T>(waiting: &mut Vec<(Vec<u8>, T)>) -> Vec<(Vec<u8>, T)> {
    let mut bytes = 0_usize;
    let fits = waiting.iter().take_while(|(record, _)| {
        let has_room = bytes < BATCH_BYTES_MAX;
        bytes = bytes.saturating_add(record.len());
        has_room
    });
    let count = fits.count();
    waiting.drain(..count).collect()
}
