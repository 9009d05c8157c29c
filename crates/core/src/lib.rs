//! Pure values: what is asked, what the rules say, what will happen, what happened, what audit keeps.
//!
//! This crate touches no file, process, clock, network or variable: the outside world enters as
//! arguments ([`facts::HostFacts`], ids, times). Whatever decides lives here; whatever acts lives in
//! `launch` and `cli`.
#![forbid(unsafe_code)]

pub mod audit;
pub mod budget;
mod builtin;
pub mod class;
pub mod container;
pub mod facts;
pub mod grant;
pub mod ground;
pub mod layer;
pub mod limits;
pub mod name;
pub mod near;
pub mod network;
pub mod outcome;
pub mod paths;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod request;
pub mod session;
pub mod syscalls;
pub mod text;
pub mod trust;
pub mod warm;
