//! What happened, measured outside; what the code says of itself is marked as said by it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::layer::Layers;
use crate::limits::Limit;
use crate::name::Host;
use crate::text;

/// Why a run ended. Exit numbers are ambiguous (code may use any); this is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Cause {
    /// The code ended by itself.
    Exited {
        /// Its exit status.
        status: i32,
    },
    /// A signal ended the code.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// A limit was reached and the run was stopped.
    Limit {
        /// Which one.
        limit: Limit,
    },
    /// The caller interrupted it.
    Cancelled,
    /// The program was not found inside.
    NotFound,
    /// The program could not be executed.
    NotExecutable,
}

impl Cause {
    /// The exit status `stockade run` ends with.
    #[must_use]
    pub const fn exit_status(self) -> i32 {
        match self {
            Self::Exited { status } => status,
            Self::Signalled { signal } => 128 + signal,
            Self::Limit { limit: Limit::Time } => 124,
            Self::Limit { .. } => 125,
            Self::Cancelled => 130,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { status: 0 } => formatter.write_str("done"),
            Self::Exited { status } => write!(formatter, "the code failed with status {status}"),
            Self::Signalled { signal } => write!(formatter, "signal {signal} ended the code"),
            Self::Limit { limit } => write!(formatter, "limit `{limit}` reached"),
            Self::Cancelled => formatter.write_str("cancelled"),
            Self::NotFound => formatter.write_str("program not found"),
            Self::NotExecutable => formatter.write_str("program cannot be executed"),
        }
    }
}

/// How memory, processes and CPU of the tree were bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accounting {
    /// By cgroup v2: exact.
    CgroupV2,
    /// By cgroup v1: exact.
    CgroupV1,
    /// By sampling: approximate.
    Watchdog,
}

/// Where scratch lay, and so how it was bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScratchPlace {
    /// In memory: by the kernel, the layer `scratch`.
    Memory,
    /// On disk: watched, not walled.
    Disk,
}

/// What the run used, measured outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall-clock time from the start of the code to its end.
    pub wall_ms: u64,
    /// CPU time of the tree.
    pub cpu_ms: u64,
    /// Most memory of the tree at once, bytes.
    pub memory_peak_bytes: u64,
    /// Bytes staged in.
    pub bytes_in: u64,
    /// Bytes of collected outputs.
    pub bytes_out: u64,
    /// Bytes written to standard output and error.
    pub stream_bytes: u64,
}

/// A library that reached for the network or another program, by the code's own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The audit event of the interpreter (PEP 578).
    pub event: String,
    /// The libraries among the callers, the nearest first.
    pub libraries: Vec<String>,
    /// What was reached for, neutralised.
    pub target: String,
}

/// Something the code asked for and did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Denial {
    /// A name asked of the run's resolver, where no network was granted.
    Name {
        /// The name, neutralised.
        name: String,
    },
    /// Something the egress gate refused.
    Gate {
        /// What was asked for, neutralised: `HOST:PORT` if it was understood.
        asked: String,
        /// A fixed name of the reason.
        reason: String,
        /// The reason in words.
        why: String,
        /// What to do about it.
        next: String,
        /// How often.
        count: u64,
    },
    /// More that the egress gate refused than is told one by one.
    GateMore {
        /// How many more.
        count: u64,
    },
    /// Connections to addresses, for which there is no route.
    Addresses {
        /// How many packets had no route.
        count: u64,
    },
    /// A refused system call.
    SystemCall {
        /// Its name, or number.
        name: String,
        /// How often.
        count: u64,
    },
    /// Scratch was full.
    Full {
        /// Which of its limits was reached.
        limit: Limit,
    },
    /// The disk that scratch lies on was full.
    DiskFull,
    /// Processes or threads beyond the limit.
    Processes {
        /// How often.
        count: u64,
    },
}

impl Denial {
    /// The line after `denied:`.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Name { name } => format!("network to {name} (no network was granted)"),
            Self::Gate { asked, why, count, .. } => {
                let often = if *count > 1 { format!(", {}", times(*count)) } else { String::new() };
                format!("network to {asked} ({why}){often}")
            }
            Self::GateMore { count } => format!("network, {} more", times(*count)),
            Self::Addresses { count } => {
                let packets = text::count(count, "network packet", "network packets");
                format!("{packets} to addresses that were not granted")
            }
            Self::SystemCall { name, count } => {
                format!("system call {name}, {} (not permitted to code in a sandbox)", times(*count))
            }
            Self::Full { limit } => format!("writing beyond limit `{limit}`"),
            Self::DiskFull => "writing to the disk of scratch, which was full".to_owned(),
            Self::Processes { count } => format!("new processes or threads, {} (limit `processes`)", times(*count)),
        }
    }

    /// The line after `next:`.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            // Only what is a name is proposed: people copy these lines into a shell.
            Self::Name { name } if matches!(Host::parse(name), Ok(Host::Name(_))) => {
                format!("--net {name}, or fetch it beforehand and stage it with --in FILE")
            }
            Self::Name { .. } => "it is no name that can be granted".to_owned(),
            Self::Addresses { .. } => "--net ADDRESS:PORT, or do without".to_owned(),
            Self::Gate { next, .. } => next.clone(),
            Self::GateMore { .. } => "--json and the audit trail tell of them".to_owned(),
            Self::SystemCall { .. } => {
                "no flag permits it: the code must do without, or run outside of Stockade".to_owned()
            }
            Self::Full { limit } => format!("--limit {limit}=MORE"),
            Self::DiskFull => "free space on it, or name a folder on another disk: --scratch-dir DIR".to_owned(),
            Self::Processes { .. } => "--limit processes=MORE".to_owned(),
        }
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// What a run reached through the egress gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Connections, summed by where they went and why that was permitted.
    pub connections: Vec<Connections>,
    /// Connections to more places than are told one by one.
    pub connections_more: u64,
    /// Bytes to servers.
    pub bytes_up: u64,
    /// Bytes from servers.
    pub bytes_down: u64,
}

/// Connections to one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The name or address that was asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How they were checked; `tcp` is not.
    pub protocol: String,
    /// Whether the gate ended their TLS and looked into it.
    pub inspected: bool,
    /// The deciding grant.
    pub rule: String,
    /// How many.
    pub count: u64,
    /// Bytes to the server.
    pub bytes_up: u64,
    /// Bytes from it.
    pub bytes_down: u64,
}

/// Everything the launcher measured about one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Why it ended.
    pub cause: Cause,
    /// What it used.
    pub usage: Usage,
    /// The layers really in force.
    pub enforced: Layers,
    /// How the tree was bounded.
    pub accounting: Accounting,
    /// Where scratch lay.
    pub scratch: ScratchPlace,
    /// What was asked for and refused, as far as it can be known.
    pub denials: Vec<Denial>,
    /// What was reached, where network was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Reached>,
    /// What libraries reached for, by the code's own word: never measured, and possibly a lie.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Processes still alive when the code ended; they were killed.
    pub processes_left: u64,
    /// Anything that differs from what the plan wanted and is permitted to, in words.
    pub notes: Vec<String>,
}
