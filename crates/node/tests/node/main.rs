//! The node as its callers and operators see it: the real programs, as an ordinary user, through the socket.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests may stop at the first surprise"
)]

mod cancel;
mod certificates;
mod client;
mod clients;
mod commands;
mod crash;
mod directories;
mod disk;
mod docs;
mod drift;
mod functions;
mod guessing;
mod http;
mod install;
mod keys;
mod life;
mod looks;
mod machine;
mod networks;
mod operate;
mod places;
mod providers;
mod queue;
mod quotas;
mod recovery;
mod remote;
mod rights;
mod runs;
mod scenario;
mod security;
mod sessions;
mod streams;
mod support;
mod tables;
mod tenancy;
mod tls;
mod tongues;
mod trial;
mod users;
mod warm;
mod work;
