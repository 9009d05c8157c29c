//! Network grants, end to end: what is granted is reached by programs as they are, and nothing else is
//! by any means.
//!
//! Each test makes a world of its own (`stockade_testkit::world`): names, servers for public, private and
//! the machine's own addresses, and no way to the machine's real network. An attack prints what it got;
//! the test asserts that, the refusal in the report, its record in the audit trail, and that no server of
//! the world heard of it. Without root there is no such world, and the tests say so.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise, in what they share too"
)]

mod addresses;
mod databases;
mod inspected;
mod lifetime;
mod many;
mod names;
mod neighbours;
mod policies;
mod ports;
mod reach;
mod requests;
mod resolved;
mod secrets;
mod support;
mod tls;
