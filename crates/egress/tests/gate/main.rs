//! A real gate on real loopback sockets, with real servers behind it.
//!
//! The names of the tests resolve to the loopback by a resolver of their own, and the loopback is granted as an
//! address: the gate needs no switch for tests. [`attacks`] has one file per class; each attack asserts the
//! refusal in the records and that no server saw a connection.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests may stop at the first surprise, in what they share too"
)]

mod attacks;
mod client;
mod control;
mod inside;
mod load;
mod server;
mod works;
mod world;
