//! Roles and what they may do, decided by Cedar.
//!
//! How to use it: whenever the active configuration changes, [`Authoriser::compile`] the active mappings and put the
//! new one in the place of the old (an `Arc` in a lock will do); for each request [`Authoriser::decide`]. What is in
//! no rule is denied, and a denial wins over every grant. [`Decision::rule`] names what decided, for `explain
//! authorization` and the audit trail. Before somebody gives a role away, or takes one, ask
//! [`Authoriser::holds_all_of`] with *all* roles that the other one would then have: a role may only deny.
//!
//! Names of users, roles and resources are values, never text of a policy (`cedar.rs`).

mod builtin;
mod cedar;
mod cover;
mod glob;
mod kind;
mod rule;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use moka::sync::Cache;
use stockade_config::security;

pub use cover::Lack;
pub use glob::BadGlob;
pub use kind::Privilege;
pub use rule::{BadMapping, Effect, Rule, Wrong};

use cedar::{Compiled, Said};

/// Decisions that are remembered. Each has at most a resource and a few numbers.
const REMEMBERED_MAX: u64 = 8_192;

/// Says who may do what. It never changes: a new configuration is a new one.
pub struct Authoriser {
    rules: Vec<Arc<Rule>>,
    /// The roles that some rule is about, by number.
    roles: HashMap<String, u32>,
    compiled: Compiled,
    remembered: Cache<Question, Decision>,
}

/// What a decision depends on, with the roles in one order. A principal's name decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    roles: Box<[u32]>,
    privilege: Privilege,
    resource: Option<Box<str>>,
}

/// An answer, and what gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    permit: bool,
    rule: Option<Arc<Rule>>,
}

impl Decision {
    /// Whether it may be done.
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        self.permit
    }

    /// What decided; `None` when no rule says anything, which is a no.
    #[must_use]
    pub fn rule(&self) -> Option<&Rule> {
        self.rule.as_deref()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.permit { "permitted" } else { "denied" };
        match &self.rule {
            Some(rule) => write!(out, "{word}: {rule}"),
            None => write!(out, "{word}: no rule grants it"),
        }
    }
}

impl Authoriser {
    /// Compiles the built-in roles and these mappings, each with the name of its object.
    ///
    /// # Errors
    /// [`BadMapping`], for the first entry that cannot be used: nothing of the mappings holds then.
    pub fn compile(mappings: &[(&str, &security::Mappings)]) -> Result<Self, BadMapping> {
        let rules = rule::all(mappings)?;
        let mut roles = HashMap::new();
        for rule in &rules {
            let number = u32::try_from(roles.len()).unwrap_or(u32::MAX);
            roles.entry(rule.role.clone()).or_insert(number);
        }
        let numbered = rules.iter().filter_map(|rule| Some((*roles.get(&rule.role)?, rule.as_ref())));
        let compiled = Compiled::new(numbered).map_err(|(place, why)| {
            let (object, role) = rules.get(place).map_or(("", ""), |rule| (&rule.object, &rule.role));
            rule::bad(object, role, Wrong::Compile(why))
        })?;
        Ok(Self { rules, roles, compiled, remembered: Cache::new(REMEMBERED_MAX) })
    }

    /// Whether `principal`, who has these roles, may do this. Without a resource it is about all of the kind: only a
    /// grant of everything is a yes then, and any denial a no.
    #[must_use]
    pub fn decide(
        &self,
        principal: &str,
        roles: &[impl AsRef<str>],
        privilege: Privilege,
        resource: Option<&str>,
    ) -> Decision {
        if resource.is_some_and(|resource| resource.len() > glob::BYTES_MAX) {
            return Decision { permit: false, rule: None };
        }
        let folded = resource.filter(|_| privilege.folds_case()).map(str::to_ascii_lowercase);
        let resource = folded.as_deref().or(resource);
        let question = Question { roles: self.numbers(roles), privilege, resource: resource.map(Box::from) };
        if let Some(decision) = self.remembered.get(&question) {
            return decision;
        }
        let decision = self.ask(principal, roles, &question.roles, privilege, resource);
        self.remembered.insert(question, decision.clone());
        decision
    }

    /// The roles that rules are about, each once, in one order; the others decide nothing.
    fn numbers(&self, roles: &[impl AsRef<str>]) -> Box<[u32]> {
        let number = |role: &str| self.roles.get(builtin::canonical(role)).copied();
        let mut numbers: Vec<u32> = roles.iter().filter_map(|role| number(role.as_ref())).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into()
    }

    fn ask(
        &self,
        principal: &str,
        roles: &[impl AsRef<str>],
        numbers: &[u32],
        privilege: Privilege,
        resource: Option<&str>,
    ) -> Decision {
        let known = |role: &&str| self.roles.contains_key(*role);
        let roles: Vec<&str> = roles.iter().map(|role| builtin::canonical(role.as_ref())).filter(known).collect();
        let (permit, rule) = match self.compiled.ask(principal, (&roles, numbers), privilege, resource) {
            Said::Permit(rule) => (true, Some(rule)),
            Said::Forbid(rule) => (false, rule),
        };
        Decision { permit, rule: rule.and_then(|place| self.rules.get(place)).cloned() }
    }

    /// Every rule about `role`, for `role display`.
    pub fn rules_of(&self, role: &str) -> impl Iterator<Item = &Rule> {
        let role = builtin::canonical(role);
        self.rules.iter().map(AsRef::as_ref).filter(move |rule| rule.role == role)
    }

    /// A role by all names that rules have for it, where the case of letters says nothing; and as it is.
    #[must_use]
    pub fn spellings(&self, role: &str) -> Vec<String> {
        let folded = role.to_lowercase();
        let others = self.roles.keys().filter(|known| known.to_lowercase() == folded && *known != role);
        others.cloned().chain([role.to_owned()]).collect()
    }

    /// Every role that some rule is about, in alphabetical order.
    #[must_use]
    pub fn roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = self.roles.keys().map(String::as_str).collect();
        roles.sort_unstable();
        roles
    }

    /// Whether whoever has `roles` may do everything that somebody with `others` may do; so that nobody gives away
    /// what he lacks. In doubt (several rules together may cover what none covers by itself) it is a no.
    ///
    /// # Errors
    /// [`Lack`], which names what is missing.
    pub fn holds_all_of(&self, roles: &[impl AsRef<str>], others: &[impl AsRef<str>]) -> Result<(), Lack> {
        cover::holds(&self.of(roles), &self.of(others))
    }

    fn of(&self, roles: &[impl AsRef<str>]) -> Vec<&Arc<Rule>> {
        let is_held = |rule: &&Arc<Rule>| roles.iter().any(|role| builtin::canonical(role.as_ref()) == rule.role);
        self.rules.iter().filter(is_held).collect()
    }
}

impl fmt::Debug for Authoriser {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authoriser").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
