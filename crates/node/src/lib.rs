//! The node: runs code for many people behind one interface. Two processes: the node speaks with strangers and may
//! do nothing, the [`launcher`] starts runs and speaks with nobody but the node.
//!
//! Start at `start.rs`; `service.rs` is what the node does, `runner.rs` one run, `api/` how it is asked.

pub mod admin;
mod api;
mod asked;
mod bringup;
pub mod bundle;
pub mod classes;
mod confine;
pub mod doctor;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
pub mod install;
mod keeper;
pub mod launcher;
mod link;
mod listen;
mod lock;
pub mod log;
pub mod look;
mod looks;
mod metrics;
pub mod opening;
pub mod order;
mod outcome;
mod patient;
mod peers;
mod places;
mod plain;
mod pressure;
pub mod properties;
mod pump;
mod question;
pub mod queue;
mod quota;
pub mod range;
mod ready;
pub mod redact;
pub mod refusal;
mod room;
mod runner;
mod secrets;
mod security;
mod service;
mod sessions;
pub mod settings;
mod sockets;
pub mod start;
pub mod status;
mod systemd;
mod tables;
pub mod tls;
mod turns;
mod user;
mod users;
mod whole;
pub mod wire;

/// What the system says, as it stands in a sentence.
fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let said = text.rsplit_once(" (os error ").map_or(text.as_str(), |(said, _)| said);
    let mut rest = said.chars();
    rest.next().map_or_else(String::new, |first| first.to_lowercase().chain(rest).collect())
}
