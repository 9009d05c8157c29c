//! What a caller asks for, and how it is kept: a run, a session, or a piece of code for a session.

use stockade_store::Kind;

use crate::opening::{EXECUTION_MS_MAX, Execution, Opening};
use crate::order::{Bounds, Order};
use crate::refusal::Refusal;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Run(Order),
    Session(Opening),
    Execution(Execution),
}

impl Asked {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::Run,
            Self::Session(_) => Kind::Session,
            Self::Execution(_) => Kind::Execution,
        }
    }

    /// Of an execution: its session.
    pub(crate) fn session(&self) -> Option<&str> {
        if let Self::Execution(execution) = self { Some(execution.session.as_str()) } else { None }
    }

    /// How many files lie beside it.
    pub(crate) fn files(&self) -> usize {
        match self {
            Self::Run(order) => order.inputs.len() + 1,
            Self::Session(opening) => opening.inputs.len(),
            Self::Execution(_) => 1,
        }
    }

    /// How many tables lie beside it, after the files.
    pub(crate) const fn tables(&self) -> usize {
        match self {
            Self::Run(order) => order.tables.len(),
            Self::Session(_) | Self::Execution(_) => 0,
        }
    }

    pub(crate) fn check(&self, bounds: &Bounds) -> Result<(), Refusal> {
        match self {
            Self::Run(order) => order.check(bounds),
            Self::Session(opening) => opening.check(bounds),
            Self::Execution(execution) if execution.time_ms <= EXECUTION_MS_MAX => Ok(()),
            Self::Execution(_) => Err(Refusal::invalid(
                "the execution has too much time",
                format!("the most is {} s", EXECUTION_MS_MAX / 1000),
                "ask for less",
            )),
        }
    }

    /// As it is kept.
    pub(crate) fn to_text(&self) -> Result<String, Refusal> {
        let text = match self {
            Self::Run(order) => serde_json::to_string(order),
            Self::Session(opening) => serde_json::to_string(opening),
            Self::Execution(execution) => serde_json::to_string(execution),
        };
        text.map_err(|error| Refusal::failed("the request was not accepted", error))
    }

    /// What makes two requests the same: what their caller asks for, whatever he may.
    pub(crate) fn to_compared(&self) -> Result<String, Refusal> {
        match self {
            Self::Run(order) if order.only_built => Self::Run(Order { only_built: false, ..order.clone() }).to_text(),
            Self::Run(_) | Self::Session(_) | Self::Execution(_) => self.to_text(),
        }
    }

    /// From what was kept.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Self, Refusal> {
        let parsed = match kind {
            Kind::Run => serde_json::from_str(text).map(Self::Run),
            Kind::Session => serde_json::from_str(text).map(Self::Session),
            Kind::Execution => serde_json::from_str(text).map(Self::Execution),
        };
        parsed.map_err(|error| Refusal::failed("the request cannot be read", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::order;

    #[test]
    fn a_key_stands_for_what_was_asked_for_also_when_rights_have_changed() {
        let (one, other) = (Asked::Run(order()), Asked::Run(Order { only_built: true, ..order() }));
        assert_ne!(one.to_text().unwrap(), other.to_text().unwrap());
        assert_eq!(one.to_compared().unwrap(), other.to_compared().unwrap());
    }
}
