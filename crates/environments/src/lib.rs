//! Turns package requests into immutable, content-addressed environments.
//!
//! Outside, unprivileged: this crate parses what strangers wrote, drives uv behind the walls of a
//! [`Jail`] that the caller provides, checks every hash itself and lays the environment out.
//! It never resolves dependencies, never runs uv or an interpreter outside a jail, never believes
//! what a jail brings back, and holds no name of any package index.
//!
//! Start at [`Builder::find_or_build`]; the line it follows is in `build.rs`.

mod advisories;
mod age;
mod archive;
mod attestations;
mod build;
mod certificates;
mod denied;
mod diff;
mod digest;
mod ecosystem;
mod environment;
mod error;
mod gc;
mod given;
mod imports;
mod in_use;
mod index;
mod index_config;
mod inside;
mod install;
mod interpreter;
mod inventory;
mod jail;
mod launchers;
mod layout;
mod lock;
mod machine;
mod manifest;
mod markers;
mod names;
mod progress;
mod project;
mod publish;
mod quote;
mod r;
mod record;
mod request;
mod requirement;
mod requirements_file;
mod resolve;
mod room;
mod sbom;
mod script;
mod share;
mod sizes;
mod source_build;
mod source_files;
mod spk;
mod startup;
mod step;
mod store;
mod text_file;
mod tools;
mod tree;
mod trust;
mod url;
mod uv_lock;
mod verify;
mod wheel_name;
mod wheel_tags;
mod wheels;
mod with_list;

pub use advisories::{Audit, Finding, Malformed, audit};
pub use archive::{Archive, Checked, Exported, Importer, export};
pub use attestations::attestations;
pub use build::{Builder, Limits, find};
pub use denied::Denied;
pub use diff::{Changed, Difference, LockedFile, LockedPackage, diff, locked};
pub use ecosystem::Ecosystem;
pub use environment::{Environment, Package};
pub use error::{Detail, Error};
pub use gc::{Collected, Keep, days_ago, gc, remove};
pub use imports::{Imported, imported, note};
pub use inside::{ENVIRONMENT as INSIDE_ENVIRONMENT, PROXY as INSIDE_PROXY};
pub use interpreter::Interpreter;
pub use inventory::{Listed, list};
pub use jail::{Ended, Jail, JailFailure, JailOutcome, JailStep, Shown};
pub use machine::Machine;
pub use names::Name;
pub use progress::{Progress, Silent};
pub use r::{RRequest, find as find_r};
pub use request::Request;
pub use sbom::sbom;
pub use store::Store;
pub use trust::{Entry, Lasting, Library, SigningKey, Standing, TrustList, TrustPlace, Vouched, judge, libraries_of};
pub use verify::{Verified, Wrong, verify};
