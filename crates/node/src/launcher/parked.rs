//! Runs that wait a moment for the next engine of a pool, which is there sooner than one that is started anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use stockade_core::pool::Claim;

use super::claims::Anew;
use super::kind::Kind;
use crate::wire::RunId;

/// A pool that has made no engine for so long is not waited for.
const SILENCE: Duration = Duration::from_millis(250);
/// Nor is any for longer: a run that is started anew would be well under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// As many descriptors as all of them may keep.
pub(super) const DESCRIPTORS_MAX: usize = 512;

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Parking(VecDeque<Parked>);

/// One of them.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) run: RunId,
    pub(super) kind: Kind,
    pub(super) claim: Claim,
    pub(super) anew: Anew,
    since: Instant,
}

impl Parked {
    pub(super) const fn new(run: RunId, kind: Kind, claim: Claim, anew: Anew, since: Instant) -> Self {
        Self { run, kind, claim, anew, since }
    }

    /// Until when it waits for a pool that has made an engine then.
    pub(super) fn until(&self, made: Instant) -> Instant {
        (made.max(self.since) + SILENCE).min(self.since + PATIENCE)
    }
}

impl Parking {
    pub(super) fn park(&mut self, parked: Parked) {
        self.0.push_back(parked);
    }

    /// Whether one with so many descriptors may wait too.
    pub(super) fn has_room_for(&self, descriptors: usize) -> bool {
        let kept: usize = self.0.iter().map(|parked| parked.anew.descriptors.len()).sum();
        kept + descriptors <= DESCRIPTORS_MAX
    }

    /// Whether one waits for an engine of this kind, which comes first then.
    pub(super) fn has_kind(&self, kind: &Kind) -> bool {
        self.0.iter().any(|parked| parked.kind == *kind)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has(&self, run: &RunId) -> bool {
        self.iter().any(|parked| parked.run == *run)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Parked> {
        self.0.iter()
    }

    pub(super) fn remove(&mut self, run: &RunId) -> Option<Parked> {
        let number = self.iter().position(|parked| parked.run == *run)?;
        self.0.remove(number)
    }

    /// Takes all, for each to be looked at again.
    pub(super) fn take(&mut self) -> VecDeque<Parked> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::claims::Work;
    use crate::launcher::kind::Tier;
    use crate::order::tests::order;

    fn parked(run: &str, since: Instant) -> Parked {
        let order = order();
        let claim = Claim {
            principal: "uid-1@local".to_owned(),
            script: Some(order.script.clone()),
            arguments: Vec::new(),
            inputs: Vec::new(),
            limits: order.limits.clone(),
            out: String::new(),
        };
        let anew = Anew { principal: "uid-1@local".to_owned(), work: Work::Run(order), descriptors: Vec::new() };
        Parked::new(RunId::parse(run).unwrap(), Kind { environment: None, tier: Tier::Bare }, claim, anew, since)
    }

    #[test]
    fn a_pool_is_waited_for_while_it_makes_engines_and_not_for_ever() {
        let since = Instant::now();
        let one = parked("0123456789abcdef", since);
        assert_eq!(one.until(since.checked_sub(PATIENCE).unwrap_or(since)), since + SILENCE);
        assert_eq!(one.until(since + SILENCE / 2), since + SILENCE / 2 + SILENCE);
        assert_eq!(one.until(since + PATIENCE), since + PATIENCE);
    }

    #[test]
    fn who_came_first_is_looked_at_first() {
        let (mut parking, now) = (Parking::default(), Instant::now());
        let runs = ["0123456789abcdef", "0000000000000000", "ffffffffffffffff"];
        runs.iter().for_each(|run| parking.park(parked(run, now)));
        assert!(parking.remove(&RunId::parse(runs[1]).unwrap()).is_some());
        assert!(!parking.has(&RunId::parse(runs[1]).unwrap()) && parking.count() == 2);
        let left: Vec<String> = parking.take().into_iter().map(|parked| parked.run.to_string()).collect();
        assert_eq!(left, [runs[0], runs[2]]);
    }
}
