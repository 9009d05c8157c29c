//! Who guesses has to wait, twice as long each time; by principal and source, so that nobody waits for another's
//! guesses.
//!
//! Pure: the clock is the caller's. An attempt counts as failed from its beginning, so a thousand at once are not a
//! thousand free ones. An attempt that comes too early changes nothing: hammering makes nobody wait longer. When the
//! memory is full, the lightest entry is forgotten: that gives a guesser some guesses, which the hasher bounds; the
//! other way (strangers share what is left) would let him keep others out.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::bounded::Bounded;

/// Failures that cost no waiting: people mistype.
const FREE: u32 = 3;
/// The first wait, doubled each time, and the longest. It has an end, so no wait is a lock.
const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 60_000;
/// A pair is forgotten when it did not fail for this long, and for as often as it had to wait.
const KEPT_MS: u64 = 60_000;
const KEPT_TIMES: u64 = 16;
/// Pairs that are kept: about two megabytes.
const PAIRS_MAX: usize = 16_384;
/// Pairs that are known for a log-in that went well, and for how long.
const KNOWN_MAX: usize = 4_096;
const KNOWN_MS: u64 = 30 * 24 * 3_600_000;

/// Where an attempt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Over the network. Addresses of IPv6 count by their /64: a host has all of it.
    Address(IpAddr),
    /// Over the local socket, from this user of the machine by the kernel's word.
    User(u32),
}

impl Source {
    /// As it counts.
    pub(crate) fn folded(self) -> Self {
        match self {
            Self::Address(address) => match address.to_canonical() {
                IpAddr::V6(v6) => Self::Address(IpAddr::V6((u128::from(v6) >> 64 << 64).into())),
                v4 @ IpAddr::V4(_) => Self::Address(v4),
            },
            user @ Self::User(_) => user,
        }
    }
}

/// What is known of attempts, in bounded memory.
#[derive(Debug)]
pub(crate) struct Delays {
    pairs: Bounded<Pair>,
    known: Bounded<()>,
    key: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    failures: u32,
    /// From when on the next attempt is looked at.
    open_ms: u64,
}

impl Delays {
    pub(crate) fn new() -> Self {
        Self { pairs: Bounded::new(PAIRS_MAX), known: Bounded::new(KNOWN_MAX), key: RandomState::new() }
    }

    /// Begins an attempt, as one that fails.
    ///
    /// # Errors
    /// When it comes too early: how long it has to wait, in milliseconds.
    pub(crate) fn begin(&mut self, principal: &str, source: Source, now_ms: u64) -> Result<(), u64> {
        let key = self.pair(principal, source);
        self.pairs.forget_below(now_ms);
        let pair = self.pairs.find(key).unwrap_or(Pair { failures: 0, open_ms: 0 });
        if let Some(wait_ms) = pair.open_ms.checked_sub(now_ms).filter(|wait_ms| *wait_ms > 0) {
            return Err(wait_ms);
        }
        let failures = pair.failures.saturating_add(1);
        let wait_ms = wait_ms(failures);
        let open_ms = now_ms.saturating_add(wait_ms);
        self.pairs.put(key, forget_ms(now_ms, wait_ms), Pair { failures, open_ms });
        Ok(())
    }

    /// The attempt went well after all.
    pub(crate) fn well(&mut self, principal: &str, source: Source, now_ms: u64) {
        let key = self.pair(principal, source);
        self.pairs.remove(key);
        self.known.forget_below(now_ms);
        self.known.put(key, now_ms.saturating_add(KNOWN_MS), ());
    }

    /// An attempt was none: as if it had not begun. The wait is from the last beginning on, as long as for one less.
    pub(crate) fn take_back(&mut self, principal: &str, source: Source) {
        let key = self.pair(principal, source);
        let Some(Pair { failures, open_ms }) = self.pairs.find(key) else { return };
        let Some(fewer) = failures.checked_sub(1).filter(|fewer| *fewer > 0) else {
            self.pairs.remove(key);
            return;
        };
        let begun_ms = open_ms.saturating_sub(wait_ms(failures));
        self.pairs.put(
            key,
            forget_ms(begun_ms, wait_ms(fewer)),
            Pair { failures: fewer, open_ms: begun_ms.saturating_add(wait_ms(fewer)) },
        );
    }

    /// Whether this pair logged in before.
    pub(crate) fn is_known(&self, principal: &str, source: Source) -> bool {
        self.known.find(self.pair(principal, source)).is_some()
    }

    /// A number for both that nobody can aim at, since its key is ours.
    fn pair(&self, principal: &str, source: Source) -> u64 {
        self.key.hash_one((principal, source.folded()))
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.pairs.count()
    }
}

/// Until when a pair is kept whose last attempt began then and makes the next one wait so long.
const fn forget_ms(begun_ms: u64, wait_ms: u64) -> u64 {
    begun_ms.saturating_add(KEPT_MS + KEPT_TIMES * wait_ms)
}

fn wait_ms(failures: u32) -> u64 {
    let Some(times) = failures.checked_sub(FREE) else { return 0 };
    FIRST_MS.checked_shl(times).filter(|wait| *wait <= LONGEST_MS && times < 32).unwrap_or(LONGEST_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(address: &str) -> Source {
        Source::Address(address.parse().unwrap())
    }

    #[test]
    fn the_wait_doubles_to_a_bound_and_early_attempts_do_not_prolong_it() {
        let (mut delays, home) = (Delays::new(), from("192.0.2.1"));
        let mut now = 1_000_000;
        for expected in [0, 0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000] {
            delays.begin("ada", home, now).unwrap();
            for early in 0..5 {
                let waits = (expected > early).then(|| expected - early);
                if let Some(wait) = waits {
                    assert_eq!(delays.begin("ada", home, now + early), Err(wait));
                }
            }
            now += expected;
        }
        delays.begin("ada", home, now).unwrap();
        now += LONGEST_MS + KEPT_MS + KEPT_TIMES * LONGEST_MS;
        delays.begin("ada", home, now).unwrap();
        delays.begin("ada", home, now).unwrap();
        assert_eq!(delays.count(), 1);
    }

    #[test]
    fn a_thousand_attempts_at_once_are_as_many_as_one_after_the_other() {
        let mut delays = Delays::new();
        let begun = (0..1_000).filter(|_| delays.begin("ada", from("192.0.2.1"), 7).is_ok()).count();
        assert_eq!(begun, 3);
    }

    #[test]
    fn nobody_waits_for_the_guesses_of_another_source_or_at_another_principal() {
        let mut delays = Delays::new();
        for now in 0..200_000 {
            delays.begin("ada", from("198.51.100.7"), now).ok();
        }
        assert!(delays.begin("ada", from("198.51.100.7"), 200_000).is_err());
        assert!(delays.begin("ada", from("::ffff:198.51.100.7"), 200_000).is_err(), "a second spelling");
        for (who, source) in [
            ("ada", from("198.51.100.8")),
            ("bob", from("198.51.100.7")),
            ("ada", Source::User(1000)),
            ("ada", from("2001:db8::1")),
        ] {
            assert!(delays.begin(who, source, 200_000).is_ok(), "{who} {source:?}");
        }
        // One network of IPv6 is one source.
        for host in 0..40_u32 {
            delays.begin("ada", from(&format!("2001:db8:1:1::{host:x}")), 200_000).ok();
        }
        assert!(delays.begin("ada", from("2001:db8:1:1:ffff::1"), 200_000).is_err());
        assert!(delays.begin("ada", from("2001:db8:1:2::1"), 200_000).is_ok());
    }

    #[test]
    fn who_got_in_begins_anew_and_is_known_from_there_only() {
        let (mut delays, home) = (Delays::new(), from("192.0.2.1"));
        for now in [0, 0, 0, 1_000] {
            delays.begin("ada", home, now).unwrap();
        }
        assert!(!delays.is_known("ada", home));
        delays.well("ada", home, 1_000);
        assert!(delays.begin("ada", home, 1_000).is_ok());
        assert!(delays.is_known("ada", home));
        assert!(!delays.is_known("ada", from("192.0.2.2")) && !delays.is_known("bob", home));
    }

    #[test]
    fn an_attempt_that_was_none_is_as_if_it_had_not_been() {
        let (mut delays, home) = (Delays::new(), from("192.0.2.1"));
        for _ in 0..100 {
            delays.begin("ada", home, 5).unwrap();
            delays.take_back("ada", home);
        }
        assert_eq!(delays.count(), 0);
        // Guesses before it count on, and those that were begun meanwhile.
        for now in [5, 5, 5, 1_005] {
            delays.begin("ada", home, now).unwrap();
        }
        delays.take_back("ada", home);
        assert_eq!(delays.begin("ada", home, 1_006), Err(999));
        delays.begin("ada", home, 2_005).unwrap();
        assert_eq!(delays.begin("ada", home, 2_005), Err(2_000));
        delays.take_back("bob", home);
        assert_eq!(delays.begin("ada", home, 2_005), Err(2_000), "of somebody else");
    }

    #[test]
    fn a_flood_of_names_and_sources_takes_no_memory_and_frees_no_heavy_guesser() {
        let mut delays = Delays::new();
        for now in 0..100_000 {
            delays.begin("root", from("203.0.113.9"), now).ok();
        }
        for number in 0..60_000_u32 {
            let source = Source::Address(IpAddr::V4(number.wrapping_mul(2_654_435_761).into()));
            delays.begin(&format!("user{number}"), source, 100_000).ok();
        }
        assert_eq!(delays.count(), PAIRS_MAX);
        assert!(delays.begin("root", from("203.0.113.9"), 100_001).is_err());
        for number in 0..6_000_u32 {
            delays.well(&format!("user{number}"), from("192.0.2.1"), 100_000);
        }
        assert_eq!(delays.known.count(), KNOWN_MAX);
    }

    proptest! {
        /// In a minute nobody has more guesses than the doubling allows, however he spreads them.
        #[test]
        fn guesses_are_few_at_any_rhythm(steps in prop::collection::vec(0_u64..3_000, 1..400)) {
            let (mut delays, mut now, mut begun) = (Delays::new(), 0_u64, 0_u64);
            for step in steps {
                now += step;
                begun += u64::from(delays.begin("ada", from("192.0.2.1"), now).is_ok());
            }
            let allowed = 3 + (0..).scan(0_u64, |at, times| { *at += wait_ms(3 + times); Some(*at) }).take_while(|at| *at <= now).count() as u64;
            prop_assert!(begun <= allowed, "{} of {} in {} ms", begun, allowed, now);
        }
    }
}
