//! Plan → running sandbox → outcome.
//!
//! The only crate that makes sandboxes. It knows neither policy nor users, uses no async runtime,
//! and believes nothing that comes from inside.

mod bare;
pub mod cgroup;
pub mod collect;
mod confine;
mod container;
mod disk;
pub mod facts;
mod failure;
mod finished;
mod handover;
mod hooks;
mod init;
mod inside;
mod measure;
mod network;
mod neutralise;
mod outside;
mod ready;
mod removal;
mod resolver;
mod root;
mod routes;
mod seccomp;
pub mod service;
pub mod session;
mod sources;
mod stage;
mod streams;
mod supervise;
mod sys;
pub mod table;
pub mod users;
pub mod warm;
pub mod watch;
mod wire;
pub mod witness;

pub use disk::Disk;
pub use failure::{Failure, Step, errno_text};
pub use finished::{Ending, Finished};
pub use network::GateSockets;
pub use neutralise::Neutraliser;
pub use outside::{Running, filter_bytes, start};
pub use ready::has_something;
pub use streams::{Input, Output, Streams};
