//! Who waits, who runs, and who is next: by weight between classes, fair between principals, bounded, and pure.
//!
//! Classes take rounds (`turns.rs`); within a class principals take turns; within one, the first come is the first
//! served. A principal at its quota is passed over and keeps its turn.

use std::collections::{BTreeMap, VecDeque};

use crate::classes::Classes;
use crate::turns::Turns;
use crate::wire::RunId;

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Runs at once.
    pub running: usize,
    /// Runs of one principal at once.
    pub running_each: usize,
    /// Runs that wait.
    pub waiting: usize,
    /// Runs of one principal that wait.
    pub waiting_each: usize,
}

/// Why nothing more may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The node has as many as it takes.
    Node,
    /// The principal has as many as it may have.
    Principal,
}

/// The queue of a node.
#[derive(Debug)]
pub struct Queue {
    caps: Caps,
    classes: Classes,
    /// Those who have runs that wait, in the order of their turns.
    turns: Turns,
    principals: BTreeMap<String, Principal>,
    waiting: usize,
    running: usize,
}

#[derive(Debug, Default)]
struct Principal {
    waiting: VecDeque<RunId>,
    /// Places taken by runs that are being written down.
    reserved: usize,
    running: usize,
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(caps: Caps, classes: Classes) -> Self {
        let turns = Turns::new(classes.shares().iter().map(|share| share.weight));
        Self { caps, classes, turns, principals: BTreeMap::new(), waiting: 0, running: 0 }
    }

    /// Takes a place for a run that is about to be accepted.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn reserve(&mut self, principal: &str) -> Result<(), Crowded> {
        if self.waiting >= self.caps.waiting {
            return Err(Crowded::Node);
        }
        let own = self.principals.entry(principal.to_owned()).or_default();
        if own.waiting.len() + own.reserved >= self.classes.share(principal).waiting {
            return Err(Crowded::Principal);
        }
        own.reserved += 1;
        self.waiting += 1;
        Ok(())
    }

    /// Gives a place back that was taken.
    pub fn release(&mut self, principal: &str) {
        if let Some(own) = self.principals.get_mut(principal) {
            own.reserved = own.reserved.saturating_sub(1);
            self.waiting = self.waiting.saturating_sub(1);
        }
        self.tidy(principal);
    }

    /// Lets a run wait in the place that was taken for it.
    pub fn enter(&mut self, principal: &str, run: RunId) {
        self.release(principal);
        self.enter_again(principal, run);
    }

    /// Lets a run wait that was accepted by a former process, whatever the bounds are now.
    pub fn enter_again(&mut self, principal: &str, run: RunId) {
        let own = self.principals.entry(principal.to_owned()).or_default();
        if own.waiting.is_empty() {
            self.turns.push(self.classes.number(principal), principal);
        }
        own.waiting.push_back(run);
        self.waiting += 1;
    }

    /// The next run, which counts as running from now on.
    pub fn take_next(&mut self) -> Option<(String, RunId)> {
        if self.running >= self.caps.running {
            return None;
        }
        let (principals, classes) = (&self.principals, &self.classes);
        let may = |principal: &str| {
            principals.get(principal).is_some_and(|own| own.running < classes.share(principal).running)
        };
        let (class, principal) = self.turns.next(may)?;
        let own = self.principals.get_mut(&principal)?;
        let run = own.waiting.pop_front()?;
        own.running += 1;
        self.running += 1;
        self.waiting = self.waiting.saturating_sub(1);
        if !own.waiting.is_empty() {
            self.turns.push(class, &principal);
        }
        Some((principal, run))
    }

    /// A run of this principal has ended.
    pub fn ended(&mut self, principal: &str) {
        if let Some(own) = self.principals.get_mut(principal) {
            own.running = own.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.tidy(principal);
    }

    /// Takes a run out that waits; `false` when it does not.
    pub fn remove(&mut self, principal: &str, run: &RunId) -> bool {
        let Some(own) = self.principals.get_mut(principal) else { return false };
        let Some(at) = own.waiting.iter().position(|one| one == run) else { return false };
        own.waiting.remove(at);
        self.waiting = self.waiting.saturating_sub(1);
        if own.waiting.is_empty() {
            self.turns.remove(principal);
        }
        self.tidy(principal);
        true
    }

    /// How many runs are served before this one, and itself: 1 is the next. Quotas may let it wait longer, and who
    /// comes later with more weight.
    #[must_use]
    pub fn position(&self, principal: &str, run: &RunId) -> Option<usize> {
        let place = self.principals.get(principal)?.waiting.iter().position(|one| one == run)?;
        // The very turns that will be taken.
        let mut turns = self.turns.clone();
        let mut left: BTreeMap<&str, usize> =
            self.principals.iter().map(|(name, own)| (name.as_str(), own.waiting.len())).collect();
        let (mut served, mut own) = (0, 0);
        while own <= place {
            let (class, next) = turns.next(|_| true)?;
            served += 1;
            own += usize::from(next == principal);
            let left = left.get_mut(next.as_str())?;
            *left = left.checked_sub(1)?;
            if *left > 0 {
                turns.push(class, &next);
            }
        }
        Some(served)
    }

    /// How many runs of a principal wait, and how many run.
    #[must_use]
    pub fn load_of(&self, principal: &str) -> (usize, usize) {
        self.principals.get(principal).map_or((0, 0), |own| (own.waiting.len() + own.reserved, own.running))
    }

    /// How many wait of each class, in their order.
    #[must_use]
    pub fn waiting_by_class(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.shares().len()];
        for (name, own) in &self.principals {
            if let Some(count) = counts.get_mut(self.classes.number(name)) {
                *count += own.waiting.len();
            }
        }
        counts
    }

    /// How many wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many run.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Principals who have nothing here are not remembered.
    fn tidy(&mut self, principal: &str) {
        let is_idle = |own: &Principal| own.waiting.is_empty() && own.reserved == 0 && own.running == 0;
        if self.principals.get(principal).is_some_and(is_idle) {
            self.principals.remove(principal);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classes::tests::{class, classes};

    fn queue(caps: Caps) -> Queue {
        Queue::new(caps, Classes::new(caps, 4, None))
    }

    const CAPS: Caps = Caps { running: 2, running_each: 1, waiting: 6, waiting_each: 4 };

    fn id(number: u64) -> RunId {
        RunId::parse(&format!("{number:016x}")).unwrap()
    }

    fn enter(queue: &mut Queue, principal: &str, number: u64) {
        queue.reserve(principal).unwrap();
        queue.enter(principal, id(number));
    }

    #[test]
    fn principals_take_turns_however_much_one_of_them_asks_for() {
        let mut queue = queue(Caps { running: 100, running_each: 100, waiting: 100, waiting_each: 100 });
        for number in 0..5 {
            enter(&mut queue, "ann", number);
        }
        enter(&mut queue, "bob", 10);
        enter(&mut queue, "bob", 11);
        assert_eq!(queue.position("bob", &id(10)), Some(2));
        assert_eq!(queue.position("ann", &id(4)), Some(7));
        let order: Vec<RunId> = std::iter::from_fn(|| queue.take_next()).map(|(_, run)| run).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3, 4].map(id));
    }

    #[test]
    fn who_is_at_its_quota_is_passed_over_and_keeps_its_turn() {
        let mut queue = queue(CAPS);
        enter(&mut queue, "ann", 0);
        enter(&mut queue, "ann", 1);
        enter(&mut queue, "bob", 2);
        assert_eq!(queue.take_next().unwrap().1, id(0));
        assert_eq!(queue.take_next().unwrap().1, id(2));
        assert_eq!(queue.take_next(), None);
        queue.ended("bob");
        assert_eq!(queue.take_next(), None, "ann has one already");
        queue.ended("ann");
        assert_eq!(queue.take_next().unwrap().1, id(1));
    }

    #[test]
    fn places_are_bounded_for_each_and_for_all() {
        let mut queue = queue(CAPS);
        for _ in 0..4 {
            queue.reserve("ann").unwrap();
        }
        assert_eq!(queue.reserve("ann"), Err(Crowded::Principal));
        queue.reserve("bob").unwrap();
        queue.reserve("bob").unwrap();
        assert_eq!(queue.reserve("cyd"), Err(Crowded::Node));
        queue.release("ann");
        queue.reserve("cyd").unwrap();
    }

    /// Users 1 to 4 of a class of weight 3, 5 and 6 of one of weight 1, others of the usual one.
    fn weighted(caps: Caps) -> Queue {
        let all = [class("first", 3, &["1", "2", "3", "4"], &[]), class("last", 1, &["5", "6"], &[])];
        Queue::new(caps, classes(caps, &all))
    }

    #[test]
    fn a_class_of_more_weight_comes_first_and_no_other_is_passed_over_for_ever() {
        let mut queue = weighted(Caps { running: 100, running_each: 100, waiting: 100, waiting_each: 100 });
        for number in 0..4 {
            enter(&mut queue, "uid-5@local", number);
        }
        for number in 10..16 {
            enter(&mut queue, "uid-1@local", number);
        }
        enter(&mut queue, "uid-2@local", 20);
        assert_eq!(queue.position("uid-1@local", &id(10)), Some(1));
        assert_eq!(queue.position("uid-5@local", &id(0)), Some(4));
        let order: Vec<RunId> = std::iter::from_fn(|| queue.take_next()).map(|(_, run)| run).collect();
        assert_eq!(order, [10, 20, 11, 0, 12, 13, 14, 1, 15, 2, 3].map(id));
    }

    #[test]
    fn who_has_to_wait_for_a_run_of_its_own_gives_its_turn_to_another_class() {
        let mut queue = weighted(Caps { running: 4, running_each: 1, waiting: 100, waiting_each: 100 });
        enter(&mut queue, "uid-1@local", 0);
        enter(&mut queue, "uid-1@local", 1);
        enter(&mut queue, "uid-5@local", 2);
        assert_eq!(queue.take_next().unwrap().1, id(0));
        assert_eq!(queue.take_next().unwrap().1, id(2));
        assert_eq!(queue.take_next(), None);
        queue.ended("uid-1@local");
        assert_eq!(queue.take_next().unwrap().1, id(1));
    }

    #[test]
    fn a_run_that_is_taken_out_is_not_served() {
        let mut queue = queue(CAPS);
        enter(&mut queue, "ann", 0);
        assert!(queue.remove("ann", &id(0)));
        assert!(!queue.remove("ann", &id(0)));
        assert_eq!((queue.take_next(), queue.waiting(), queue.principals.len()), (None, 0, 0));
    }

    proptest! {
        /// However much the weightier ask for, whenever they come: a run is begun after a number of others that is known
        /// when it is accepted.
        #[test]
        fn nobody_starves(before in 0_usize..60, own in 1_usize..4, taken in 0_usize..50) {
            let mut queue = weighted(Caps { running: 100_000, running_each: 100_000, waiting: 10_000, waiting_each: 10_000 });
            let mut number = 0;
            let mut add = |queue: &mut Queue, who: usize| {
                number += 1;
                enter(queue, &format!("uid-{who}@local"), number);
                id(number)
            };
            for one in 0..before {
                add(&mut queue, one % 4 + 1);
            }
            for _ in 0..taken.min(before) {
                queue.take_next();
            }
            add(&mut queue, 6);
            let last = (0..own).map(|_| add(&mut queue, 5)).last().unwrap();
            let weights = 3 + 1 + 1;
            // Two principals of the class, and the round that was under way.
            let bound = (own * 2 + 1) * weights;
            let mut begun = 0;
            loop {
                // A flood of the weightier, which never ends.
                add(&mut queue, begun % 4 + 1);
                add(&mut queue, begun % 4 + 1);
                add(&mut queue, 7);
                begun += 1;
                let (_, run) = queue.take_next().unwrap();
                if run == last {
                    break;
                }
                prop_assert!(begun < bound, "{} of {}", begun, bound);
            }
        }

        /// Nobody comes and nobody is at its quota: what is said of a position is what happens.
        #[test]
        fn positions_are_kept(runs in proptest::collection::vec(1_u8..9, 1..60), taken in 0_usize..20) {
            let mut queue = weighted(Caps { running: 1_000, running_each: 1_000, waiting: 1_000, waiting_each: 1_000 });
            let all: Vec<(String, RunId)> =
                runs.iter().zip(1..).map(|(who, number)| (format!("uid-{who}@local"), id(number))).collect();
            for (principal, run) in &all {
                queue.reserve(principal).unwrap();
                queue.enter(principal, run.clone());
            }
            for _ in 0..taken {
                queue.take_next();
            }
            let mut said: Vec<(usize, RunId)> = all
                .iter()
                .filter_map(|(principal, run)| Some((queue.position(principal, run)?, run.clone())))
                .collect();
            said.sort();
            let order: Vec<RunId> = std::iter::from_fn(|| queue.take_next()).map(|(_, run)| run).collect();
            prop_assert_eq!(said.into_iter().map(|(_, run)| run).collect::<Vec<_>>(), order);
        }

        /// Whatever happens: the bounds hold, everything that waits is served, positions are true.
        #[test]
        fn nobody_is_forgotten(steps in proptest::collection::vec((0_u8..4, 4_u8..8), 1..200)) {
            let mut queue = weighted(CAPS);
            let mut number = 0;
            let mut waiting: Vec<(String, RunId)> = Vec::new();
            let mut running: Vec<String> = Vec::new();
            for (step, who) in steps {
                let principal = format!("uid-{who}@local");
                match step {
                    0 | 1 => if queue.reserve(&principal).is_ok() {
                        number += 1;
                        queue.enter(&principal, id(number));
                        waiting.push((principal, id(number)));
                    },
                    2 => if let Some((principal, run)) = queue.take_next() {
                        waiting.retain(|(_, one)| *one != run);
                        running.push(principal);
                    },
                    _ => if let Some(principal) = running.pop() {
                        queue.ended(&principal);
                    },
                }
                prop_assert!(queue.waiting() <= CAPS.waiting && queue.running() <= CAPS.running);
                prop_assert_eq!((queue.waiting(), queue.running()), (waiting.len(), running.len()));
                let mut positions: Vec<usize> =
                    waiting.iter().map(|(principal, run)| queue.position(principal, run).unwrap()).collect();
                positions.sort_unstable();
                prop_assert_eq!(positions, (1..=waiting.len()).collect::<Vec<_>>());
            }
            for principal in running {
                queue.ended(&principal);
            }
            while let Some((principal, run)) = queue.take_next() {
                waiting.retain(|(_, one)| *one != run);
                queue.ended(&principal);
            }
            prop_assert!(waiting.is_empty() && queue.principals.is_empty());
        }
    }
}
