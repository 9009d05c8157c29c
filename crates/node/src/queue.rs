//! Who waits, who runs, and who is next: fair between principals, bounded, and pure.
//!
//! Principals take turns; within one, the first come is the first served. A principal at its quota is passed over
//! and keeps its turn.

use std::collections::{BTreeMap, VecDeque};

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
    /// Those who have runs that wait, in the order of their turns.
    turns: VecDeque<String>,
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
    pub const fn new(caps: Caps) -> Self {
        Self { caps, turns: VecDeque::new(), principals: BTreeMap::new(), waiting: 0, running: 0 }
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
        if own.waiting.len() + own.reserved >= self.caps.waiting_each {
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
            self.turns.push_back(principal.to_owned());
        }
        own.waiting.push_back(run);
        self.waiting += 1;
    }

    /// The next run, which counts as running from now on.
    pub fn take_next(&mut self) -> Option<(String, RunId)> {
        if self.running >= self.caps.running {
            return None;
        }
        let each = self.caps.running_each;
        let turn = self
            .turns
            .iter()
            .position(|principal| self.principals.get(principal).is_some_and(|own| own.running < each))?;
        let principal = self.turns.remove(turn)?;
        let own = self.principals.get_mut(&principal)?;
        let run = own.waiting.pop_front()?;
        own.running += 1;
        self.running += 1;
        self.waiting = self.waiting.saturating_sub(1);
        if !own.waiting.is_empty() {
            self.turns.push_back(principal.clone());
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
            self.turns.retain(|one| one != principal);
        }
        self.tidy(principal);
        true
    }

    /// How many runs are served before this one, and itself: 1 is the next. Quotas may let it wait longer.
    #[must_use]
    pub fn position(&self, principal: &str, run: &RunId) -> Option<usize> {
        let place = self.principals.get(principal)?.waiting.iter().position(|one| one == run)?;
        let turn = self.turns.iter().position(|one| one == principal)?;
        let before: usize = self
            .turns
            .iter()
            .enumerate()
            .filter(|(_, other)| *other != principal)
            .filter_map(|(at, other)| Some((at, self.principals.get(other)?.waiting.len())))
            .map(|(at, waiting)| waiting.min(if at < turn { place + 1 } else { place }))
            .sum();
        Some(place + before + 1)
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
        let mut queue = Queue::new(Caps { running: 100, running_each: 100, waiting: 100, waiting_each: 100 });
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
        let mut queue = Queue::new(CAPS);
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
        let mut queue = Queue::new(CAPS);
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

    #[test]
    fn a_run_that_is_taken_out_is_not_served() {
        let mut queue = Queue::new(CAPS);
        enter(&mut queue, "ann", 0);
        assert!(queue.remove("ann", &id(0)));
        assert!(!queue.remove("ann", &id(0)));
        assert_eq!((queue.take_next(), queue.waiting(), queue.principals.len()), (None, 0, 0));
    }

    proptest! {
        /// Whatever happens: the bounds hold, everything that waits is served, positions are true.
        #[test]
        fn nobody_is_forgotten(steps in proptest::collection::vec((0_u8..4, 0_u8..3), 1..200)) {
            let mut queue = Queue::new(CAPS);
            let mut number = 0;
            let mut waiting: Vec<(String, RunId)> = Vec::new();
            let mut running: Vec<String> = Vec::new();
            for (step, who) in steps {
                let principal = format!("p{who}");
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
