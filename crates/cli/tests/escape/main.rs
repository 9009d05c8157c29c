//! The escape corpus: one file per class of attack.
//!
//! Each test runs an attack inside the walls, as root and as an ordinary user, and asserts the very
//! refusal the attack itself printed and that nothing happened outside. Where it is cheap, the same
//! attack is run outside first, on something the test made itself, to show that it would work.
//! What each test stands for is listed in `docs/internals/attacks.md`; [`table`] holds that list to
//! the sources.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise, in what they share too"
)]

mod credentials;
mod cross_run;
mod files;
mod information;
mod kernel_surface;
mod landlock_tier;
mod lifetime;
mod network;
mod outer_tiers;
mod outputs;
mod processes;
mod resources;
mod scratch;
mod support;
mod table;
