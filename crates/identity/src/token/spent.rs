//! Tokens that were used. Who shows one again has what somebody else has used: one of them has stolen it.
//!
//! Each is remembered until it would have ended. Nothing makes room earlier: a thief who uses what he stole over and
//! over would make the node forget what its owner still has.

use std::collections::{BTreeSet, HashMap};

use subtle::ConstantTimeEq;

use super::{Digest, Half, NoToken};

/// Used tokens of one log-in that are remembered, and of all.
pub(super) const OF_FAMILY_MAX: usize = 128;
pub(super) const COUNT_MAX: usize = 131_072;

/// A token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reused {
    /// What came of the same log-in, as it was named with [`super::Sessions::spend`].
    pub family: u64,
    /// When it was used.
    pub used_ms: u64,
}

/// By the first half of the digest, as those that are good.
#[derive(Default)]
pub(super) struct Spent {
    tokens: HashMap<Half, (Half, Reused)>,
    by_end: BTreeSet<(u64, Half)>,
    of_family: HashMap<u64, usize>,
}

impl Spent {
    /// Whether one more of a family can be remembered.
    pub(super) fn has_room(&mut self, family: u64, now_ms: u64) -> Result<(), NoToken> {
        self.forget(now_ms);
        if self.of_family.get(&family).is_some_and(|count| *count >= OF_FAMILY_MAX) {
            return Err(NoToken::Used);
        }
        if self.tokens.len() >= COUNT_MAX { Err(NoToken::Full) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, (first, second): (Half, Half), end_ms: u64, reused: Reused) {
        self.tokens.insert(first, (second, reused));
        self.by_end.insert((end_ms, first));
        *self.of_family.entry(reused.family).or_default() += 1;
    }

    pub(super) fn find(&self, digest: Digest) -> Option<Reused> {
        let (first, second) = digest.halves();
        let (rest, reused) = self.tokens.get(&first)?;
        bool::from(rest.ct_eq(&second)).then_some(*reused)
    }

    pub(super) fn forget(&mut self, now_ms: u64) {
        while let Some((_, half)) = self.by_end.first().copied().filter(|(end_ms, _)| *end_ms <= now_ms) {
            self.by_end.pop_first();
            let Some((_, Reused { family, .. })) = self.tokens.remove(&half) else { continue };
            if let Some(count) = self.of_family.get_mut(&family) {
                *count -= 1;
                if *count == 0 {
                    self.of_family.remove(&family);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.tokens.len(), self.by_end.len(), self.of_family.len()]
    }
}
