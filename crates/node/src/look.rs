//! What callers want to know that only the command sees: the rules, the environments, what would be decided about a
//! run. As both processes of the node understand it: checked by each of them, like [`crate::order::Order`].

use serde::{Deserialize, Serialize};

use crate::order::{Bounds, Order, check_packages};
use crate::refusal::Refusal;

/// One such question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Look {
    /// What the policies permit together.
    Policies {},
    /// The environments that have names.
    Environments {},
    /// One environment.
    Environment {
        /// Its name, or its digest.
        reference: String,
    },
    /// What would be decided about a run.
    Run {
        /// The run, whose files lie beside it.
        order: Order,
    },
}

impl Look {
    /// Holds it against what any node takes, and this one.
    ///
    /// # Errors
    /// The [`Refusal`] that says which part cannot be had.
    pub fn check(&self, bounds: &Bounds) -> Result<(), Refusal> {
        match self {
            Self::Policies {} | Self::Environments {} => Ok(()),
            Self::Environment { reference } => check_packages(&[], Some(reference)),
            Self::Run { order } => order.check(bounds),
        }
    }

    /// As the command is asked.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Policies {} => "policies",
            Self::Environments {} => "environments",
            Self::Environment { .. } => "environment",
            Self::Run { .. } => "run",
        }
    }

    /// The run that it is about.
    #[must_use]
    pub const fn order(&self) -> Option<&Order> {
        if let Self::Run { order } = self { Some(order) } else { None }
    }

    /// The environment that it is about.
    #[must_use]
    pub fn environment(&self) -> Option<&str> {
        match self {
            Self::Environment { reference } => Some(reference),
            Self::Run { order } => order.environment.as_deref(),
            Self::Policies {} | Self::Environments {} => None,
        }
    }
}
