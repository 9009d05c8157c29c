//! A map that never has more than so many entries: the one of the lowest rank makes room.

use std::collections::{BTreeSet, HashMap};

/// Entries by a key that nobody outside can choose (a keyed hash), each with a rank: the time when it is of no use.
#[derive(Debug)]
pub(crate) struct Bounded<V> {
    entries: HashMap<u64, (u64, V)>,
    by_rank: BTreeSet<(u64, u64)>,
    count_max: usize,
}

impl<V: Clone> Bounded<V> {
    pub(crate) fn new(count_max: usize) -> Self {
        Self { entries: HashMap::new(), by_rank: BTreeSet::new(), count_max }
    }

    /// Forgets everything of a rank below `rank`.
    pub(crate) fn forget_below(&mut self, rank: u64) {
        while let Some((first, key)) = self.by_rank.first().copied().filter(|(first, _)| *first < rank) {
            self.by_rank.remove(&(first, key));
            self.entries.remove(&key);
        }
    }

    pub(crate) fn find(&self, key: u64) -> Option<V> {
        self.entries.get(&key).map(|(_, value)| value.clone())
    }

    pub(crate) fn put(&mut self, key: u64, rank: u64, value: V) {
        self.remove(key);
        self.entries.insert(key, (rank, value));
        self.by_rank.insert((rank, key));
        if self.entries.len() > self.count_max
            && let Some((_, lowest)) = self.by_rank.pop_first()
        {
            self.entries.remove(&lowest);
        }
    }

    pub(crate) fn remove(&mut self, key: u64) {
        if let Some((rank, _)) = self.entries.remove(&key) {
            self.by_rank.remove(&(rank, key));
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        assert_eq!(self.entries.len(), self.by_rank.len());
        self.entries.len()
    }
}
