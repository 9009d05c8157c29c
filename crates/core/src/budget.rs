//! How much of the network a run may use: a plain value, which the egress gate counts against.

use serde::{Deserialize, Serialize};

/// The bounds of one run; the default suits a package installation or a data fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Connections at one time: those of the run to the gate, and those of the gate to servers, each.
    pub connections_at_once: u64,
    /// Connections in all, of either kind.
    pub connections: u64,
    /// Bytes from the run to servers.
    pub bytes_up: u64,
    /// Bytes from servers to the run.
    pub bytes_down: u64,
    /// Different names below one wildcard: each name is a message to whoever owns the domain.
    pub names_per_wildcard: u64,
    /// Octets of one name, for the same reason.
    pub name_bytes: u64,
    /// How long one connection may last.
    pub connection_ms: u64,
    /// How long a connection may stay silent.
    pub idle_ms: u64,
    /// How long a request or greeting may take to arrive.
    pub head_ms: u64,
    /// How large the head of a request may be.
    pub head_bytes: u64,
    /// How many refusals are recorded one by one; more are counted.
    pub refusals_told: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            connections_at_once: 256,
            connections: 100_000,
            bytes_up: 1 << 30,
            bytes_down: 100 << 30,
            names_per_wildcard: 64,
            name_bytes: 128,
            connection_ms: 24 * 3_600_000,
            idle_ms: 300_000,
            head_ms: 30_000,
            head_bytes: 32 << 10,
            refusals_told: 1_000,
        }
    }
}

impl Budget {
    /// Every bound with its key, as `--net-budget` takes it.
    #[must_use]
    pub const fn entries(&self) -> [(&'static str, u64); 11] {
        [
            ("connections_at_once", self.connections_at_once),
            ("connections", self.connections),
            ("bytes_up", self.bytes_up),
            ("bytes_down", self.bytes_down),
            ("names_per_wildcard", self.names_per_wildcard),
            ("name_bytes", self.name_bytes),
            ("connection_ms", self.connection_ms),
            ("idle_ms", self.idle_ms),
            ("head_ms", self.head_ms),
            ("head_bytes", self.head_bytes),
            ("refusals_told", self.refusals_told),
        ]
    }

    /// Sets the bound of this key; says whether there is one.
    pub fn set(&mut self, key: &str, value: u64) -> bool {
        let bound = match key {
            "connections_at_once" => &mut self.connections_at_once,
            "connections" => &mut self.connections,
            "bytes_up" => &mut self.bytes_up,
            "bytes_down" => &mut self.bytes_down,
            "names_per_wildcard" => &mut self.names_per_wildcard,
            "name_bytes" => &mut self.name_bytes,
            "connection_ms" => &mut self.connection_ms,
            "idle_ms" => &mut self.idle_ms,
            "head_ms" => &mut self.head_ms,
            "head_bytes" => &mut self.head_bytes,
            "refusals_told" => &mut self.refusals_told,
            _ => return false,
        };
        *bound = value;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_can_be_set_by_its_key() {
        let mut budget = Budget::default();
        for (number, (key, _)) in (1_000_000..).zip(Budget::default().entries()) {
            assert!(budget.set(key, number), "{key}");
        }
        let set: Vec<u64> = budget.entries().into_iter().map(|(_, value)| value).collect();
        assert_eq!(set, (1_000_000..1_000_011).collect::<Vec<u64>>());
        assert!(!budget.set("bytes", 1));
    }
}
