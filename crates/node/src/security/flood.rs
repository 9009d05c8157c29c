//! What of refusals that cost nothing goes on record: strangers must not fill the disk with them, nor callers who may do
//! nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Records of one source in a minute; the next one after that says how many there were more.
const MOST: u32 = 10;
const MINUTE_MS: u64 = 60_000;
/// And of all of them: who has one network of IPv6 from his provider has thousands that count.
const MOST_OF_ALL: u32 = 1_000;
/// Sources that are told apart; the others count as one.
const SOURCES_MAX: usize = 4_096;
/// How often room is made for more at the most.
const SWEEP_MS: u64 = 1_000;

/// What each source, an address or a caller, had of its records.
#[derive(Debug)]
pub(super) struct Flood<S>(Mutex<Sources<S>>);

#[derive(Debug)]
struct Sources<S> {
    seen: HashMap<Option<S>, Seen>,
    all: Seen,
    /// How many are not on record, which is told with the next one of whatever source.
    untold: u32,
    /// When it is looked again which can be forgotten: all of them are gone through for that.
    swept_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    since_ms: u64,
    count: u32,
}

/// How many are not on record since there was a record that said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Of the same source.
    here: u32,
    /// Of others.
    elsewhere: u32,
}

impl<S> Default for Flood<S> {
    fn default() -> Self {
        let sources = Sources { seen: HashMap::new(), all: Seen::default(), untold: 0, swept_ms: 0 };
        Self(Mutex::new(sources))
    }
}

impl<S: Eq + Hash> Flood<S> {
    /// Whether one more of this source goes on record, and how many did not.
    pub(super) fn passes(&self, source: S, now_ms: u64) -> Option<LeftOut> {
        let source = Some(source);
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.seen.len() >= SOURCES_MAX && !sources.seen.contains_key(&source) {
            sources.forget(now_ms);
        }
        let is_known = sources.seen.len() < SOURCES_MAX || sources.seen.contains_key(&source);
        let source = source.filter(|_| is_known);
        let seen = sources.seen.entry(source).or_insert(Seen { since_ms: now_ms, count: 0 });
        let before = seen.one_more(now_ms).left_out();
        if seen.count > MOST {
            return None;
        }
        sources.all.one_more(now_ms);
        if sources.all.count > MOST_OF_ALL {
            sources.untold = sources.untold.saturating_add(before).saturating_add(1);
            return None;
        }
        let untold = std::mem::take(&mut sources.untold);
        let (here, others) = if is_known { (before, 0) } else { (0, before) };
        Some(LeftOut { here, elsewhere: untold.saturating_add(others) })
    }
}

impl<S> Sources<S> {
    /// Makes room, and keeps the number of what is not on record.
    fn forget(&mut self, now_ms: u64) {
        if now_ms < self.swept_ms {
            return;
        }
        self.swept_ms = now_ms.saturating_add(SWEEP_MS);
        let over = self.seen.extract_if(|_, seen| seen.is_over(now_ms));
        let untold = over.fold(0_u32, |sum, (_, seen)| sum.saturating_add(seen.left_out()));
        self.untold = self.untold.saturating_add(untold);
    }
}

impl Seen {
    /// Counts one, in a new minute where that is over; what was in the one before.
    const fn one_more(&mut self, now_ms: u64) -> Self {
        let before = *self;
        let is_over = self.is_over(now_ms);
        if is_over {
            *self = Self { since_ms: now_ms, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        if is_over { before } else { Self { since_ms: now_ms, count: 0 } }
    }

    const fn is_over(self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= MINUTE_MS
    }

    const fn left_out(self) -> u32 {
        self.count.saturating_sub(MOST)
    }
}

impl LeftOut {
    /// A reason with that before it, since what is long is cut; `source` is what is told apart.
    pub(super) fn before(self, reason: &str, source: &str) -> String {
        let told = [(self.here, format!("this {source}")), (self.elsewhere, "others".to_owned())];
        let told = told.into_iter().filter(|(count, _)| *count > 0);
        let told: String = told.map(|(count, whose)| format!("{count} more of {whose} are not on record; ")).collect();
        told + reason
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_flood_is_a_few_records_and_a_number() {
        let (one, other): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (flood, none) = (Flood::default(), LeftOut::default());
        let passed = (0..1_000).filter(|_| flood.passes(one, 5) == Some(none)).count();
        assert_eq!(passed, 10);
        assert_eq!(flood.passes(other, 5), Some(none), "another has his own");
        assert_eq!(flood.passes(one, 60_004), None);
        let left_out = flood.passes(one, 60_005).unwrap();
        assert_eq!(left_out.before("no", "address"), "991 more of this address are not on record; no");
        assert_eq!(flood.passes(one, 60_006), Some(none));
        assert_eq!(none.before("no", "address"), "no");
    }

    #[test]
    fn many_addresses_are_as_one_and_memory_has_an_end() {
        let flood = Flood::default();
        let passed = (0..100_000_u32).filter(|number| flood.passes(IpAddr::V4((*number).into()), 5).is_some()).count();
        assert_eq!(passed, 1_000);
        let last = IpAddr::from([255; 4]);
        assert_eq!(flood.passes(last, 60_004), None);
        assert!(flood.0.lock().unwrap().seen.len() <= SOURCES_MAX + 1);
        // A minute later there is room again, and nobody's number is lost.
        let left_out = flood.passes(last, 70_000).unwrap();
        assert_eq!(
            left_out.before("no", "address"),
            format!("{} more of others are not on record; no", 100_001 - passed)
        );
        assert_eq!(flood.passes(last, 70_000), Some(LeftOut::default()), "it is told once");
    }
}
