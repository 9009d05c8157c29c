//! How many connections there may be, in all and of one caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places for connections, by who has them.
#[derive(Debug)]
pub(crate) struct Places<K> {
    all: Arc<Semaphore>,
    each_max: usize,
    each: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// So many, and so many for one.
    pub(crate) fn new(all: usize, each_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each_max: each_max.max(1), each: Arc::default() }
    }

    /// A place, if there is one.
    pub(crate) fn take(&self, whose: K) -> Option<Place<K>> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = each.entry(whose).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Place { whose, each: Arc::clone(&self.each), _permit: permit })
    }
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Copy + Eq + Hash> {
    whose: K,
    each: Arc<Mutex<HashMap<K, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl<K: Copy + Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = each.get_mut(&self.whose) {
            *count -= 1;
            if *count == 0 {
                each.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leaves_room_for_others_and_gives_back_what_it_had() {
        let places = Places::new(4, 2);
        let mine = [places.take(1).unwrap(), places.take(1).unwrap()];
        assert!(places.take(1).is_none());
        let others = [places.take(2).unwrap(), places.take(3).unwrap()];
        assert!(places.take(4).is_none(), "all are taken");
        drop((mine, others));
        assert!(places.take(1).is_some());
        assert!(places.each.lock().unwrap().is_empty(), "nobody is remembered");
    }
}
