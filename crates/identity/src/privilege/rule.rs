//! One rule: what one role may do, or may not, and where that is written.

use std::fmt;
use std::sync::Arc;

use stockade_config::security;
use stockade_core::{near, text};
use thiserror::Error;

use super::builtin;
use super::glob::{BadGlob, Glob};
use super::kind::Privilege;

/// Longest name of a role.
const ROLE_BYTES_MAX: usize = 256;
/// Rules of one node: each costs time when a decision is not remembered.
const RULES_MAX: usize = 10_000;

/// Whether a rule says yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It may.
    Grant,
    /// It may not, whatever another rule grants.
    Deny,
}

/// A rule, as `explain authorization` and the audit trail name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose.
    pub role: String,
    /// The configuration object that says so; `built-in` for what every node has.
    pub object: String,
    /// Yes or no.
    pub effect: Effect,
    /// To do what.
    pub privilege: Privilege,
    /// On what, as it is written; everything of its kind where it is absent.
    pub resource: Option<String>,
    /// What it is on; empty is everything.
    pub(crate) globs: Vec<Glob>,
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.effect {
            Effect::Grant => "grants",
            Effect::Deny => "denies",
        };
        let (object, role) = (text::shown(&self.object, 100), text::shown(&self.role, 100));
        write!(out, "`{object}` {verb} role `{role}` {}", self.privilege)?;
        self.resource.as_ref().map_or(Ok(()), |resource| write!(out, " on `{}`", text::shown(resource, 200)))
    }
}

/// Mappings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}`, role `{}`: {wrong}", text::shown(.object, 100), text::shown(.role, 100))]
pub struct BadMapping {
    /// In which object.
    pub object: String,
    /// Of which role.
    pub role: String,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What is wrong with mappings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// None that a node has.
    #[error("there is no privilege `{}`", text::shown(.0, 100))]
    Privilege(String),
    /// No pattern.
    #[error("resource `{}`: {why}", text::shown(.resource, 200))]
    Resource {
        /// As it is written.
        resource: String,
        /// Why not.
        why: BadGlob,
    },
    /// Empty or too long.
    #[error("the name of a role has 1 to {ROLE_BYTES_MAX} bytes")]
    Role,
    /// More rules than a node decides by.
    #[error("there are more than {RULES_MAX} rules")]
    TooMany,
    /// What Cedar says to a rule of ours.
    #[error("the rule cannot be compiled: {}", text::shown(.0, 300))]
    Compile(String),
}

impl BadMapping {
    /// What to do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match &self.wrong {
            Wrong::Privilege(name) => near::next(name, &Privilege::ALL.map(Privilege::name)),
            Wrong::Resource { why, .. } => why.next().to_owned(),
            Wrong::Role => "give the role a shorter name".to_owned(),
            Wrong::TooMany => "say with `*` what is said with many entries".to_owned(),
            Wrong::Compile(_) => "leave this entry out, and report it: it should not happen".to_owned(),
        }
    }
}

/// All rules of a node, in the order in which they are named when several decide.
pub(crate) fn all(mappings: &[(&str, &security::Mappings)]) -> Result<Vec<Arc<Rule>>, BadMapping> {
    let built_in = builtin::rules()
        .into_iter()
        .map(|(role, privilege, resource)| rule(builtin::OBJECT, role, Effect::Grant, privilege, resource));
    let mut rules = built_in.collect::<Result<Vec<_>, _>>()?;
    for (object, mappings) in mappings {
        for (role, written) in &mappings.roles {
            let grants = written.grant.iter().map(|privilege| (Effect::Grant, privilege));
            let denials = written.deny.iter().map(|privilege| (Effect::Deny, privilege));
            for (effect, written) in grants.chain(denials) {
                let named = Privilege::named(&written.name)
                    .ok_or_else(|| bad(object, role, Wrong::Privilege(written.name.clone())))?;
                rules.push(rule(object, role, effect, named, written.resource.as_deref())?);
                if rules.len() > RULES_MAX {
                    return Err(bad(object, role, Wrong::TooMany));
                }
            }
        }
    }
    Ok(rules)
}

fn rule(
    object: &str,
    role: &str,
    effect: Effect,
    privilege: Privilege,
    resource: Option<&str>,
) -> Result<Arc<Rule>, BadMapping> {
    if role.is_empty() || role.len() > ROLE_BYTES_MAX {
        return Err(bad(object, role, Wrong::Role));
    }
    let role = builtin::canonical(role);
    let globs = resource
        .map_or_else(|| Ok(Vec::new()), |resource| globs(privilege, resource))
        .map_err(|why| bad(object, role, Wrong::Resource { resource: resource.unwrap_or_default().to_owned(), why }))?;
    let (role, object, resource) = (role.to_owned(), object.to_owned(), resource.map(str::to_owned));
    Ok(Arc::new(Rule { role, object, effect, privilege, resource, globs }))
}

fn globs(privilege: Privilege, resource: &str) -> Result<Vec<Glob>, BadGlob> {
    let globs: Vec<Glob> =
        privilege.patterns(resource).iter().map(|pattern| Glob::parse(pattern, privilege)).collect::<Result<_, _>>()?;
    Ok(if globs.iter().any(Glob::is_everything) { Vec::new() } else { globs })
}

pub(crate) fn bad(object: &str, role: &str, wrong: Wrong) -> BadMapping {
    BadMapping { object: object.to_owned(), role: role.to_owned(), wrong }
}
