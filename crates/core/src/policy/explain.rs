//! What policies come to together, and which of them says it.

use std::fmt;

use serde::Serialize;

use super::{Policy, REQUIRED, Reach, most, usual};
use crate::layer::Layers;
use crate::limits::Limit;
use crate::request::Language;

/// Policies as one page of text: every value, and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Explained<'a>(pub &'a [Policy]);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for policy in self.0 {
            let file = policy.title.file.as_ref().map_or_else(|| "shipped".to_owned(), |file| format!("in {file}"));
            writeln!(out, "policy    {}, {file}", policy.title.with_version())?;
        }
        for language in Language::ALL {
            let refusing = self.0.iter().find(|policy| !policy.languages.contains(&language));
            match refusing {
                None => writeln!(out, "language  {language}")?,
                Some(policy) => writeln!(out, "language  {language} is not permitted ({})", policy.title.name)?,
            }
        }
        for policy in self.0 {
            reach(policy, out)?;
        }
        for policy in self.0 {
            kept(policy, out)?;
        }
        for limit in Limit::ALL {
            self.limit(limit, out)?;
        }
        if self.0.iter().any(|policy| !policy.walls.is_empty()) {
            writeln!(out, "required  {REQUIRED} (every run)")?;
        }
        for policy in self.0.iter().filter(|policy| policy.require != Layers::NONE) {
            writeln!(out, "required  {} ({})", policy.require, policy.title.name)?;
        }
        Ok(())
    }
}

/// What a policy lets `--net` ask for.
fn reach(policy: &Policy, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let name = &policy.title.name;
    match &policy.reach {
        Reach::Nothing => writeln!(out, "network   nothing ({name})"),
        Reach::Named => writeln!(out, "network   what --net names ({name})"),
        Reach::AtMost(grants) => grants.iter().try_for_each(|grant| writeln!(out, "at most   {grant} ({name})")),
    }
}

/// What is kept for trusted libraries.
fn kept(policy: &Policy, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let kinds = policy.trust.required_for.iter().map(ToString::to_string);
    let all: Vec<String> = kinds.chain(policy.trust.grants.iter().map(ToString::to_string)).collect();
    match all.as_slice() {
        [] => Ok(()),
        some => writeln!(out, "trust     needed for {} ({})", some.join(", "), policy.title.name),
    }
}

impl Explained<'_> {
    fn limit(&self, limit: Limit, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = usual(self.0, limit);
        let says = |policy: &&Policy| policy.defaults.contains(&(limit, value));
        let name = self.0.iter().find(says).map_or("usual", |policy| &policy.title.name);
        let may = if most(self.0, limit) > value { ", --limit may raise it" } else { "" };
        writeln!(out, "limit     {limit} {} ({name}{may})", limit.show(value))
    }
}

/// The same for programs, without where the files of policies lie.
#[derive(Clone, Debug, Serialize)]
pub struct Rules {
    /// The policies, by name and version; each must permit.
    pub policies: Vec<String>,
    /// Languages that every one of them permits.
    pub languages: Vec<&'static str>,
    /// What of the network each lets a run ask for.
    pub network: Vec<Said>,
    /// Every limit.
    pub limits: Vec<LimitRule>,
    /// What each requires of the walls besides what every run has.
    pub required: Vec<Said>,
    /// What each keeps for libraries that somebody vouches for.
    pub trust: Vec<Said>,
}

/// What one policy says.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    /// Which.
    pub policy: String,
    /// As people read it.
    pub says: Vec<String>,
}

/// A limit.
#[derive(Clone, Debug, Serialize)]
pub struct LimitRule {
    /// Its name.
    pub limit: &'static str,
    /// What who asks for none gets.
    pub usual: u64,
    /// What may be asked for.
    pub most: u64,
    /// The policy that says so, if one does.
    pub policy: Option<String>,
}

impl Rules {
    /// Of these policies together.
    #[must_use]
    pub fn of(policies: &[Policy]) -> Self {
        let name = |policy: &Policy| policy.title.name.to_string();
        let said = |says: &dyn Fn(&Policy) -> Vec<String>| -> Vec<Said> {
            let all = policies.iter().map(|policy| Said { policy: name(policy), says: says(policy) });
            all.filter(|said| !said.says.is_empty()).collect()
        };
        let permits = |language: &Language| policies.iter().all(|policy| policy.languages.contains(language));
        Self {
            policies: policies.iter().map(|policy| policy.title.with_version()).collect(),
            languages: Language::ALL.into_iter().filter(permits).map(Language::name).collect(),
            network: said(&|policy| match &policy.reach {
                Reach::Nothing => vec!["nothing".to_owned()],
                Reach::Named => vec!["what --net names".to_owned()],
                Reach::AtMost(grants) => grants.iter().map(ToString::to_string).collect(),
            }),
            limits: Limit::ALL.into_iter().map(|limit| LimitRule::of(policies, limit)).collect(),
            required: said(&|policy| {
                if policy.require == Layers::NONE { Vec::new() } else { vec![policy.require.to_string()] }
            }),
            trust: said(&|policy| {
                let kinds = policy.trust.required_for.iter().map(ToString::to_string);
                kinds.chain(policy.trust.grants.iter().map(ToString::to_string)).collect()
            }),
        }
    }
}

impl LimitRule {
    fn of(policies: &[Policy], limit: Limit) -> Self {
        let usual = usual(policies, limit);
        let says = policies.iter().find(|policy| policy.defaults.contains(&(limit, usual)));
        let policy = says.map(|policy| policy.title.name.to_string());
        Self { limit: limit.name(), usual, most: most(policies, limit), policy }
    }
}
