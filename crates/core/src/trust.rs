//! What a run holds that a stranger's library could misuse, and whether it has such libraries.
//!
//! Libraries share one process: whatever one of them is given, all of them have. So trust is not a matter of
//! which line of code asks, but of all that is in the environment, and it is judged outside, before the start.

use std::fmt;

use serde::Serialize;

use crate::network::Network;
use crate::request::{Access, Request};
use crate::text;

/// What a policy may keep for runs whose libraries are all trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sensitive {
    /// Secrets that the gate puts into requests.
    Secrets,
    /// Anything of the network.
    Egress,
    /// Folders of the host that the code writes to.
    WritableShares,
    /// Governed data. No run can be given any yet, so nothing is ever refused for it.
    DataSources,
}

impl Sensitive {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Secrets, Self::Egress, Self::WritableShares, Self::DataSources];
    /// What needs trust where a policy says nothing about it.
    pub const USUAL: [Self; 2] = [Self::Secrets, Self::DataSources];

    /// The name in policies.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Egress => "egress",
            Self::WritableShares => "writableShares",
            Self::DataSources => "dataSources",
        }
    }

    /// Whether this is asked for.
    #[must_use]
    pub fn is_asked(self, request: &Request) -> bool {
        match (self, &request.network) {
            (Self::Secrets, Network::Gate(egress)) => !egress.secrets.is_empty(),
            (Self::Egress, Network::Gate(_)) => true,
            (Self::WritableShares, _) => request.shares.iter().any(|share| share.access == Access::Write),
            (Self::Secrets | Self::Egress, Network::None) | (Self::DataSources, _) => false,
        }
    }

    /// What it is, in a sentence.
    pub(crate) const fn shown(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Egress => "the network",
            Self::WritableShares => "folders to write to",
            Self::DataSources => "data sources",
        }
    }
}

impl fmt::Display for Sensitive {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The third-party libraries in reach of a run's code, as they were judged before it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Libraries {
    /// Nobody looked: taken as not trusted.
    #[default]
    Unjudged,
    /// None but what the machine's administrator installed with the interpreter.
    None,
    /// Some, and a trust list covers every file of them.
    Trusted,
    /// Some that no trust list covers.
    Doubted {
        /// What they are in, as commands take it, if a trust list can cover it at all.
        environment: Option<String>,
        /// They, and what speaks against each.
        doubts: Vec<Doubt>,
    },
}

impl Libraries {
    /// Whether what needs trust may be given.
    #[must_use]
    pub const fn are_trusted(&self) -> bool {
        matches!(self, Self::None | Self::Trusted)
    }

    /// The word in plans and records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unjudged => "unjudged",
            Self::None => "none",
            Self::Trusted => "trusted",
            Self::Doubted { .. } => "not-trusted",
        }
    }
}

/// A library that is not trusted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// It, as in `pandas 2.2.3`.
    pub library: String,
    /// What speaks against it.
    pub why: String,
}

/// Most libraries that a message names.
const NAMED_MAX: usize = 5;

/// The first few doubts in a sentence.
pub(crate) fn doubts(libraries: &Libraries) -> String {
    let Libraries::Doubted { doubts, .. } = libraries else {
        return "nobody looked at the libraries of this run".to_owned();
    };
    let one = |doubt: &Doubt| format!("{} ({})", text::shown(&doubt.library, 80), text::shown(&doubt.why, 120));
    let named: Vec<String> = doubts.iter().take(NAMED_MAX).map(one).collect();
    match doubts.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What to do about libraries that are not trusted.
pub(crate) fn next(libraries: &Libraries) -> String {
    match libraries {
        Libraries::Doubted { environment: Some(environment), .. } => {
            let environment = text::shown(environment, 100);
            format!(
                "ask for less; or, if you vouch for them: stockade env trust add --environment {environment} --reason TEXT"
            )
        }
        Libraries::Doubted { environment: None, .. } | Libraries::Unjudged | Libraries::None | Libraries::Trusted => {
            "ask for less; or build an environment with `stockade env build`, and vouch for that".to_owned()
        }
    }
}
