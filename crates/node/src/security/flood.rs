//! What of refusals that cost nothing goes on record: strangers must not fill the disk with them, nor callers who may do
//! nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Records of one source in a minute; the next one after that says how many there were more.
const MOST: u32 = 10;
const MINUTE_MS: u64 = 60_000;
/// Sources that are told apart; the others count as one.
const SOURCES_MAX: usize = 4_096;

/// What each source, an address or a caller, had of its records.
#[derive(Debug)]
pub(super) struct Flood<S>(Mutex<HashMap<Option<S>, Seen>>);

impl<S> Default for Flood<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    since_ms: u64,
    count: u32,
}

impl<S: Eq + Hash> Flood<S> {
    /// Whether one more of this source goes on record, and how many did not since its last one.
    pub(super) fn passes(&self, source: S, now_ms: u64) -> Option<u32> {
        let source = Some(source);
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&source) {
            sources.retain(|_, seen| now_ms.saturating_sub(seen.since_ms) < MINUTE_MS);
        }
        let is_known = sources.len() < SOURCES_MAX || sources.contains_key(&source);
        let seen = sources.entry(source.filter(|_| is_known)).or_insert(Seen { since_ms: now_ms, count: 0 });
        if now_ms.saturating_sub(seen.since_ms) >= MINUTE_MS {
            let left_out = seen.count.saturating_sub(MOST);
            *seen = Seen { since_ms: now_ms, count: 1 };
            return Some(left_out);
        }
        seen.count = seen.count.saturating_add(1);
        (seen.count <= MOST).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_flood_is_a_few_records_and_a_number() {
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let flood = Flood::default();
        let passed = (0..1_000).filter(|_| flood.passes(one, 5) == Some(0)).count();
        assert_eq!(passed, 10);
        assert_eq!(flood.passes(other, 5), Some(0), "another has his own");
        assert_eq!(flood.passes(one, 60_004), None);
        assert_eq!(flood.passes(one, 60_005), Some(991));
        assert_eq!(flood.passes(one, 60_006), Some(0));
    }

    #[test]
    fn many_addresses_are_as_one_and_memory_has_an_end() {
        let flood = Flood::default();
        let passed = (0..100_000_u32).filter(|number| flood.passes(IpAddr::V4((*number).into()), 5).is_some()).count();
        assert_eq!(passed, SOURCES_MAX + 10);
        assert!(flood.0.lock().unwrap().len() <= SOURCES_MAX + 1);
        assert_eq!(flood.passes(IpAddr::from([255; 4]), 70_000), Some(0), "a minute later there is room again");
    }
}
