//! What a session is opened with and what it is asked to execute, as both processes of the node understand it: checked
//! by each of them, like [`crate::order::Order`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::order::{self, Bounds};
use crate::refusal::Refusal;
use crate::wire::RunId;

/// Longest time of one execution; a session is over sooner or later anyway.
pub const EXECUTION_MS_MAX: u64 = 3_600_000;

/// What runs the code of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Python.
    Python,
    /// R.
    R,
    /// SQL, with `DuckDB`.
    Sql,
}

impl Language {
    const ALL: [Self; 3] = [Self::Python, Self::R, Self::Sql];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::R => "r",
            Self::Sql => "sql",
        }
    }

    /// From what a caller wrote.
    ///
    /// # Errors
    /// The [`Refusal`] that says which there are.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|language| language.name() == name).ok_or_else(|| {
            Refusal::invalid(
                format!("there are no sessions of `{}`", stockade_core::text::shown(name, 40)),
                "only `python`, `r` and `sql` are kept between executions",
                "name one of these; leave `language` out for Python",
            )
        })
    }
}

/// A session to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// What runs its code.
    pub language: Language,
    /// Names of the inputs; their contents lie beside it.
    pub inputs: Vec<String>,
    /// Packages of the environment, as `--with` takes them.
    pub with: Vec<String>,
    /// An environment by its name or digest.
    pub environment: Option<String>,
    /// Limits by name, every one of them; `time` is the session's whole life.
    pub limits: BTreeMap<String, u64>,
    /// How long it may be idle.
    pub idle_ms: u64,
}

impl Opening {
    /// Holds it against what any node takes, and this one.
    ///
    /// # Errors
    /// The [`Refusal`] that says which part cannot be had.
    pub fn check(&self, bounds: &Bounds) -> Result<(), Refusal> {
        order::check_files(&mut self.inputs.iter())?;
        order::check_packages(&self.with, self.environment.as_deref())?;
        if self.language == Language::R && !self.with.is_empty() {
            return Err(Refusal::invalid(
                "`with` does nothing for R",
                "it names packages of Python",
                "name an environment that has packages of R: `stockade env build NAME --r PACKAGES`",
            ));
        }
        order::check_limits(&self.limits, bounds)?;
        order::check_length(self)
    }

    /// How long it lives at most.
    #[must_use]
    pub fn life_ms(&self) -> u64 {
        self.limits.get("time").copied().unwrap_or(0)
    }
}

/// A piece of code for a session, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Which session.
    pub session: RunId,
    /// How long it may take.
    pub time_ms: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn opening() -> Opening {
        Opening {
            language: Language::Python,
            inputs: Vec::new(),
            with: Vec::new(),
            environment: None,
            limits: order::limits(&BTreeMap::new(), &Bounds::default()).unwrap(),
            idle_ms: 1_000,
        }
    }

    #[test]
    fn what_no_run_may_have_no_session_has() {
        let bounds = Bounds::default();
        opening().check(&bounds).unwrap();
        for bad in [
            Opening { inputs: vec!["../x".to_owned()], ..opening() },
            Opening { inputs: vec!["x".to_owned(), "x".to_owned()], ..opening() },
            Opening { inputs: vec!["x".to_owned(); crate::order::FILES_MAX], ..opening() },
            Opening { with: vec!["./x.whl".to_owned()], ..opening() },
            Opening { environment: Some("/etc".to_owned()), ..opening() },
            Opening { limits: BTreeMap::new(), ..opening() },
            Opening { language: Language::R, with: vec!["pandas".to_owned()], ..opening() },
        ] {
            assert!(bad.check(&bounds).is_err(), "{bad:?}");
        }
        let mut long = opening();
        long.limits.insert("time".to_owned(), u64::MAX);
        assert!(long.check(&bounds).is_err());
    }
}
