//! The collector against trees that hostile code could have left.
//!
//! Everything goes through the public API of `stockade_launch::collect`. Real
//! overlays and a full disk need a mount: those tests run themselves again
//! inside `unshare`, and say so when the machine refuses.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what is wrong by stopping; the lints' own exception covers only the bodies of tests"
)]

mod back;
mod hostile;
mod mounted;
mod outputs;
mod speed;
mod support;
