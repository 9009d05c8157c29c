//! What of refusals that cost nothing goes on record: strangers must not fill the disk with them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Records of one address in a minute; the next one after that says how many there were more.
const MOST: u32 = 10;
const MINUTE_MS: u64 = 60_000;
/// Addresses that are told apart; the others count as one.
const SOURCES_MAX: usize = 4_096;

/// What each address had of its records.
#[derive(Debug, Default)]
pub(super) struct Flood(Mutex<HashMap<Option<IpAddr>, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    since_ms: u64,
    count: u32,
}

impl Flood {
    /// Whether one more of this address goes on record, and how many did not since its last one.
    pub(super) fn passes(&self, source: IpAddr, now_ms: u64) -> Option<u32> {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&Some(source)) {
            sources.retain(|_, seen| now_ms.saturating_sub(seen.since_ms) < MINUTE_MS);
        }
        let is_known = sources.len() < SOURCES_MAX || sources.contains_key(&Some(source));
        let seen = sources.entry(is_known.then_some(source)).or_insert(Seen { since_ms: now_ms, count: 0 });
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
    use super::*;

    #[test]
    fn a_flood_is_a_few_records_and_a_number() {
        let (flood, one, other) = (Flood::default(), [192, 0, 2, 1].into(), [192, 0, 2, 2].into());
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
        assert_eq!(flood.passes([255; 4].into(), 70_000), Some(0), "a minute later there is room again");
    }
}
