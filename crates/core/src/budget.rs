//! How much of the network a run may use: a plain value, which the egress gate counts against.

use serde::{Deserialize, Serialize};

/// The bounds of one run; the default suits a package installation or a data fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Connections of the run to the gate at one time.
    pub connections_at_once: u64,
    /// Connections in all.
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
