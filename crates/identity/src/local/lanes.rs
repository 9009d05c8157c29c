//! How many hashes are made at once, how many wait, and of whom.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::delay::Source;

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hashes at once for who never logged in from where he is. One more is kept for the others.
    pub at_once: usize,
    /// Of each lane: how many are looked at or wait for it.
    pub waiting: usize,
    /// How many of those one source may have.
    pub of_one_source: usize,
}

impl Limits {
    /// For a machine with so many processors.
    #[must_use]
    pub fn for_processors(count: usize) -> Self {
        Self { at_once: count.clamp(1, 16), waiting: 64, of_one_source: 4 }
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Who logged in from there before, and trusted hosts.
    Known,
    /// Everybody else.
    Stranger,
}

pub(super) struct Lanes {
    limits: Limits,
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    state: Arc<State>,
}

/// Who is in which lane, and how many hashes are being made.
#[derive(Default)]
struct State {
    places: Mutex<Places>,
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// By lane, and by lane and source: no more entries than places.
#[derive(Default)]
struct Places {
    of_lane: HashMap<Lane, usize>,
    of_source: HashMap<(Lane, Source), usize>,
}

/// A place in a lane, given back when it is dropped.
pub(super) struct Place {
    lane: Lane,
    source: Source,
    turns: Arc<Semaphore>,
    state: Arc<State>,
}

/// The right to make one hash now.
pub(super) struct Turn {
    place: Place,
    _permit: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            known: Arc::new(Semaphore::new(1)),
            strangers: Arc::new(Semaphore::new(limits.at_once.clamp(1, Semaphore::MAX_PERMITS))),
            state: Arc::default(),
        }
    }

    /// A place, unless the lane is full or `source` has all it may have.
    pub(super) fn place(&self, lane: Lane, source: Source) -> Option<Place> {
        let source = source.folded();
        let mut places = self.state.places.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = places.of_source.get(&(lane, source)).copied().unwrap_or(0);
        let of_lane = places.of_lane.get(&lane).copied().unwrap_or(0);
        if of_lane >= self.limits.waiting || of_source >= self.limits.of_one_source {
            return None;
        }
        places.of_lane.insert(lane, of_lane + 1);
        places.of_source.insert((lane, source), of_source + 1);
        drop(places);
        let turns = match lane {
            Lane::Known => Arc::clone(&self.known),
            Lane::Stranger => Arc::clone(&self.strangers),
        };
        Some(Place { lane, source, turns, state: Arc::clone(&self.state) })
    }

    pub(super) fn peak(&self) -> usize {
        self.state.peak.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Waits for a turn, first come first served.
    pub(super) async fn turn(self) -> Option<Turn> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some(Turn { place: self, _permit: permit })
    }
}

impl Turn {
    /// Does the work; place and permit are given back when it is done, whoever still waits for it.
    pub(super) fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let state = &self.place.state;
        let now = state.now.fetch_add(1, Ordering::Relaxed) + 1;
        state.peak.fetch_max(now, Ordering::Relaxed);
        let done = work();
        state.now.fetch_sub(1, Ordering::Relaxed);
        done
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.state.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.of_lane.get_mut(&self.lane) {
            *count = count.saturating_sub(1);
        }
        let key = (self.lane, self.source);
        if let Some(count) = places.of_source.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                places.of_source.remove(&key);
            }
        }
    }
}
