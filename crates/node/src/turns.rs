//! Whose turn it is: a round in which every class begins as many runs as it has weight, the weightiest first.
//!
//! A round is over when no class that could begin a run has turns left in it; then all have theirs again. So a class
//! that has something to begin has at least one turn in every round, and a round has at most as many turns as all
//! weights together: nobody starves, however much others ask for.

use std::collections::VecDeque;

/// The turns of all principals who have something that waits.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    classes: Vec<Class>,
    /// Numbers of classes, the weightiest first.
    order: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Class {
    weight: u32,
    /// Turns that are left in this round.
    left: u32,
    principals: VecDeque<String>,
}

impl Turns {
    /// Of classes of these weights.
    pub(crate) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let classes: Vec<Class> = weights
            .map(|weight| weight.max(1))
            .map(|weight| Class { weight, left: weight, principals: VecDeque::new() })
            .collect();
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by_key(|number| classes.get(*number).map(|class| std::cmp::Reverse(class.weight)));
        Self { classes, order }
    }

    /// A principal takes its place behind the others of its class.
    pub(crate) fn push(&mut self, class: usize, principal: &str) {
        if let Some(class) = self.classes.get_mut(class) {
            class.principals.push_back(principal.to_owned());
        }
    }

    /// A principal has nothing more that waits.
    pub(crate) fn remove(&mut self, principal: &str) {
        for class in &mut self.classes {
            class.principals.retain(|one| one != principal);
        }
    }

    /// Takes the turn of the next one of those who may begin something, and tells its class.
    pub(crate) fn next(&mut self, may: impl Fn(&str) -> bool) -> Option<(usize, String)> {
        let can: Vec<(usize, usize)> = self
            .order
            .iter()
            .filter_map(|number| {
                let at = self.classes.get(*number)?.principals.iter().position(|one| may(one))?;
                Some((*number, at))
            })
            .collect();
        let has_turns = |(number, _): &&(usize, usize)| self.classes.get(*number).is_some_and(|class| class.left > 0);
        let (number, at) = match can.iter().find(has_turns) {
            Some(found) => *found,
            None => {
                let first = *can.first()?;
                for class in &mut self.classes {
                    class.left = class.weight;
                }
                first
            }
        };
        let class = self.classes.get_mut(number)?;
        class.left -= 1;
        Some((number, class.principals.remove(at)?))
    }
}
