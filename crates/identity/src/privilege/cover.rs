//! Whether some rules permit everything that others permit.

use std::sync::Arc;

use thiserror::Error;

use super::glob::Glob;
use super::rule::{Effect, Rule};

/// What somebody lacks of what others may do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lack {
    /// No rule of his grants it.
    #[error("not all of this is held: {0}")]
    Grant(Arc<Rule>),
    /// A rule of his denies some of it.
    #[error("some of this is denied to who would grant it: {granted}, but {denied}")]
    Denied {
        /// What the others may do.
        granted: Arc<Rule>,
        /// What denies it to him.
        denied: Arc<Rule>,
    },
}

impl Lack {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        "have somebody do it who may do all of it himself, such as an `administrator`"
    }
}

/// Every grant of `theirs` must be within a grant of `ours`, and what a denial of `ours` takes of it must be denied
/// by `theirs` too.
pub(crate) fn holds(ours: &[&Arc<Rule>], theirs: &[&Arc<Rule>]) -> Result<(), Lack> {
    let of = |rules: &[&Arc<Rule>], effect, like: &Rule| -> Vec<Arc<Rule>> {
        let is_meant = |rule: &&&Arc<Rule>| rule.effect == effect && rule.privilege == like.privilege;
        rules.iter().filter(is_meant).map(|rule| Arc::clone(rule)).collect()
    };
    for granted in theirs.iter().filter(|rule| rule.effect == Effect::Grant) {
        if !of(ours, Effect::Grant, granted).iter().any(|rule| covers(rule, granted)) {
            return Err(Lack::Grant(Arc::clone(granted)));
        }
        let excused = of(theirs, Effect::Deny, granted);
        let denials = of(ours, Effect::Deny, granted);
        let denied = denials
            .into_iter()
            .find(|denied| meets(denied, granted) && !excused.iter().any(|excuse| covers(excuse, denied)));
        if let Some(denied) = denied {
            return Err(Lack::Denied { granted: Arc::clone(granted), denied });
        }
    }
    Ok(())
}

/// Whether `rule` is on everything that `other` is on.
fn covers(rule: &Rule, other: &Rule) -> bool {
    let within = |glob: &Glob| rule.globs.iter().any(|wider| wider.covers(glob));
    rule.globs.is_empty() || (!other.globs.is_empty() && other.globs.iter().all(within))
}

/// Whether both are on something.
fn meets(rule: &Rule, other: &Rule) -> bool {
    let touches = |glob: &Glob| other.globs.iter().any(|there| there.meets(glob));
    rule.globs.is_empty() || other.globs.is_empty() || rule.globs.iter().any(touches)
}
