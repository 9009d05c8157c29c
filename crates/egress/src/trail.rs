//! Events as records of the audit trail, a chain that other processes append to as well.
//!
//! This process has the trail by two descriptors that it was given: the log, which it may append to and neither read nor
//! cut, and the head, which says where the chain ends. A record is in it whole, or what it speaks of does not happen.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use stockade_audit::{Attached, Error};

use crate::event::{Event, Sink};

/// What tells the gate's records of the trail from others.
const RECORD: &str = "network";

/// The trail as the gate's sink.
#[derive(Debug)]
pub struct Trail(Mutex<State>);

#[derive(Debug)]
enum State {
    /// The log, before anybody has handed over the head.
    Headless(File),
    Ready(Attached),
    /// A record could not be written whole. Part of it may be in the file, and what came after would be read as one
    /// with it; who may read the log takes it off.
    Over,
}

#[derive(Serialize)]
struct Line<'e> {
    record: &'static str,
    #[serde(flatten)]
    event: &'e Event,
}

impl Trail {
    /// Appends to `log`, which nobody else has the same description of, once its head is there too. Neither is opened
    /// anew here: the gate has given up the right to by the time it serves.
    #[must_use]
    pub const fn new(log: File) -> Self {
        Self(Mutex::new(State::Headless(log)))
    }

    /// Takes the head of the chain, as it has no other yet.
    pub(crate) fn attach(&self, head: File) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match std::mem::replace(&mut *state, State::Over) {
            State::Headless(log) => State::Ready(Attached::new(log, head)),
            other @ (State::Ready(_) | State::Over) => other,
        };
    }
}

impl Sink for Trail {
    fn take(&self, event: &Event) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Ready(trail) = &*state else { return Err(io::ErrorKind::StorageFull.into()) };
        match trail.append(&Line { record: RECORD, event }) {
            Ok(_) => Ok(()),
            Err(error) => {
                if matches!(error, Error::File { .. }) {
                    *state = State::Over;
                }
                Err(io::Error::other(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stockade_audit::{Expected, Place, PublicKey, Records, verify};

    use super::*;
    use crate::event::{Totals, What};

    fn event() -> Event {
        Event { time_ms: 5, run: "r1".to_owned(), what: What::Ended { totals: Totals::default() } }
    }

    #[test]
    fn an_event_is_a_record_of_the_chain() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path());
        let (log, head) = stockade_audit::Trail::new(place.clone()).open_for_another().unwrap();
        let trail = Trail::new(log);
        assert!(trail.take(&event()).is_err(), "nothing is recorded before the head is there");
        trail.attach(head);
        trail.take(&event()).unwrap();
        let expected = Expected::key(PublicKey::beside(&place).unwrap());
        assert_eq!(verify(&place, &expected).unwrap().bad, None);
        let entry = Records::of(place).unwrap().last().unwrap().unwrap();
        assert!(
            entry.line.contains(r#","record":"network","time_ms":5,"run":"r1","event":"ended","#),
            "{}",
            entry.line
        );
        let read: Event = serde_json::from_str(&entry.line).unwrap();
        assert_eq!(read, event());
    }

    #[test]
    fn after_a_record_that_could_not_be_written_there_is_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (_, head) = stockade_audit::Trail::new(Place::new(folder.path())).open_for_another().unwrap();
        // Open for reading only: every write fails.
        let log = File::open(folder.path().join("audit.jsonl")).unwrap();
        let trail = Trail::new(log);
        trail.attach(head);
        assert!(trail.take(&event()).is_err());
        assert!(matches!(*trail.0.lock().unwrap(), State::Over) && trail.take(&event()).is_err());
    }
}
