//! How much of the network a run has used.
//!
//! `Spent` counts against a [`Budget`]. Every excess is a refusal that names its budget.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use stockade_core::budget::Budget;
use stockade_core::name::Name;

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Excess {
    /// See [`Budget::connections_at_once`].
    #[error("the run has too many connections at once")]
    ConnectionsAtOnce,
    /// See [`Budget::connections`].
    #[error("the run has made too many connections")]
    Connections,
    /// See [`Budget::bytes_up`].
    #[error("the run has sent too many bytes")]
    BytesUp,
    /// See [`Budget::bytes_down`].
    #[error("the run has received too many bytes")]
    BytesDown,
    /// See [`Budget::names_per_wildcard`].
    #[error("the run has asked for too many names below one wildcard")]
    NamesPerWildcard,
    /// See [`Budget::name_bytes`].
    #[error("the name is too long")]
    NameBytes,
    /// See [`Budget::connection_ms`].
    #[error("the connection has lasted too long")]
    ConnectionTime,
    /// See [`Budget::idle_ms`].
    #[error("the connection was silent for too long")]
    Idle,
}

impl Excess {
    /// The key of the budget.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ConnectionsAtOnce => "connections_at_once",
            Self::Connections => "connections",
            Self::BytesUp => "bytes_up",
            Self::BytesDown => "bytes_down",
            Self::NamesPerWildcard => "names_per_wildcard",
            Self::NameBytes => "name_bytes",
            Self::ConnectionTime => "connection_ms",
            Self::Idle => "idle_ms",
        }
    }
}

/// What a run has used so far.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    arrived: Connections,
    dialled: Connections,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
    names: Mutex<HashMap<Name, HashSet<Name>>>,
}

/// Connections on one side of the gate. One from the run may lead to many servers, one after the other, so either
/// side is counted by itself.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    at_once: AtomicU64,
    all: AtomicU64,
}

impl Connections {
    /// Counts a connection; the caller takes it back with [`Connections::leave`].
    pub(crate) fn enter(&self, budget: &Budget) -> Result<(), Excess> {
        if self.all.fetch_add(1, Ordering::Relaxed) >= budget.connections {
            return Err(Excess::Connections);
        }
        if self.at_once.fetch_add(1, Ordering::Relaxed) >= budget.connections_at_once {
            self.leave();
            return Err(Excess::ConnectionsAtOnce);
        }
        Ok(())
    }

    pub(crate) fn leave(&self) {
        self.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spent {
    /// Connections of the run to the gate.
    pub(crate) const fn arrived(&self) -> &Connections {
        &self.arrived
    }

    /// Connections of the gate to servers.
    pub(crate) const fn dialled(&self) -> &Connections {
        &self.dialled
    }

    /// Counts a name that only a wildcard permits, before it is resolved.
    pub(crate) fn name(&self, budget: &Budget, parent: &Name, name: &Name) -> Result<(), Excess> {
        if u64::try_from(name.as_str().len()).unwrap_or(u64::MAX) > budget.name_bytes {
            return Err(Excess::NameBytes);
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let below = names.entry(parent.clone()).or_default();
        if below.contains(name) {
            return Ok(());
        }
        if u64::try_from(below.len()).unwrap_or(u64::MAX) >= budget.names_per_wildcard {
            return Err(Excess::NamesPerWildcard);
        }
        below.insert(name.clone());
        Ok(())
    }

    /// How many bytes may still go up and down.
    pub(crate) fn left(&self, budget: &Budget) -> (u64, u64) {
        let left = |most: u64, spent: &AtomicU64| most.saturating_sub(spent.load(Ordering::Relaxed));
        (left(budget.bytes_up, &self.bytes_up), left(budget.bytes_down, &self.bytes_down))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_and_taken_back() {
        let budget = Budget { connections_at_once: 1, connections: 3, ..Budget::default() };
        let spent = Connections::default();
        assert_eq!(spent.enter(&budget), Ok(()));
        assert_eq!(spent.enter(&budget), Err(Excess::ConnectionsAtOnce));
        spent.leave();
        assert_eq!(spent.enter(&budget), Ok(()));
        spent.leave();
        assert_eq!(spent.enter(&budget), Err(Excess::Connections));
    }

    #[test]
    fn new_names_below_a_wildcard_run_out_and_known_ones_do_not() {
        let budget = Budget { names_per_wildcard: 2, name_bytes: 20, ..Budget::default() };
        let (spent, parent) = (Spent::default(), "example.com".parse().unwrap());
        let ask = |name: &str| spent.name(&budget, &parent, &name.parse().unwrap());
        assert_eq!(ask("a.example.com"), Ok(()));
        assert_eq!(ask("b.example.com"), Ok(()));
        assert_eq!(ask("c.example.com"), Err(Excess::NamesPerWildcard));
        assert_eq!(ask("a.example.com"), Ok(()));
        assert_eq!(ask("secret-in-a-label.example.com"), Err(Excess::NameBytes));
    }
}
