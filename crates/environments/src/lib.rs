//! Turns package requests into immutable, content-addressed environments.
//!
//! Outside, unprivileged: this crate parses what strangers wrote, drives uv behind the walls of a
//! [`Jail`] that the caller provides, checks every hash itself and lays the environment out.
//! It never resolves dependencies, never runs uv or an interpreter outside a jail, never believes
//! what a jail brings back, and holds no name of any package index.
//!
//! Start at [`Builder::find_or_build`]; the line it follows is in `build.rs`.

mod build;
mod certificates;
mod digest;
mod environment;
mod error;
mod index;
mod index_config;
mod inside;
mod install;
mod interpreter;
mod jail;
mod launchers;
mod layout;
mod lock;
mod machine;
mod manifest;
mod progress;
mod publish;
mod quote;
mod request;
mod requirement;
mod requirements_file;
mod resolve;
mod room;
mod script;
mod sizes;
mod source_build;
mod source_files;
mod startup;
mod step;
mod store;
mod tools;
mod tree;
mod url;
mod wheel_name;
mod wheels;
mod with_list;

pub use build::{Builder, Limits, find};
pub use environment::{Environment, Package};
pub use error::{Detail, Error};
pub use inside::{ENVIRONMENT as INSIDE_ENVIRONMENT, PROXY as INSIDE_PROXY};
pub use interpreter::Interpreter;
pub use jail::{Ended, Jail, JailFailure, JailOutcome, JailStep, Refusal, Shown};
pub use machine::Machine;
pub use progress::{Progress, Silent};
pub use request::Request;
pub use store::Store;
