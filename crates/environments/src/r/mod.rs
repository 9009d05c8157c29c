//! Environments of R packages:
//!
//! ```text
//! RRequest → key → found?  ─ yes ─▶ Environment
//!               └ no → one builder → repository → what is needed (R's own index tools, in a jail)
//!                    → source packages (fetched in a jail, hashes checked here, archives looked at here)
//!                    → each compiled in a jail of its own, without network, beside what it needs
//!                    → layout → digest → published by one rename → Environment
//! ```
//!
//! With `--r-from-machine` nothing is fetched or compiled: what is installed on the machine is copied.
//! R resolves, never we; and what any jail says is believed only as far as it was checked here.

mod fetch;
mod install;
mod library;
mod lock_given;
pub(crate) mod names;
mod repository;
mod request;
mod resolve;
mod step;
mod tarball;

use std::collections::BTreeSet;

use crate::build::{Builder, found, nothing_asked};
use crate::digest;
use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::Error;
use crate::install::Installed;
use crate::interpreter::Interpreter;
use crate::layout;
use crate::lock::{Lock, Locked};
use crate::machine::Machine;
use crate::publish::Building;
use crate::store::Store;
use crate::url::HttpsUrl;

pub use request::RRequest;

/// The folder of an environment that `library()` looks into.
pub(crate) const LIBRARY: &str = "library";

/// The environment of a request that was built before: no program is started.
///
/// # Errors
/// When no repository is configured that could be used.
pub fn find(
    request: &RRequest,
    interpreter: &Interpreter,
    machine: &Machine,
    store: &Store,
) -> Result<Option<Environment>, Error> {
    found(store, &key(request, interpreter, machine)?)
}

/// The name of the cached answer: it changes with everything that changes the answer.
fn key(request: &RRequest, interpreter: &Interpreter, machine: &Machine) -> Result<String, Error> {
    let from = if request.is_from_machine() {
        format!("machine {}", library::fingerprint(&machine.root))
    } else if request.given().is_some() {
        "lock".to_owned()
    } else {
        format!("repository {}", repository::choose(machine)?.url())
    };
    let Interpreter { inside_executable, abi, platform, .. } = interpreter;
    Ok(digest::of_text(&format!(
        "stockade-r-environment 1\n{from}\n{inside_executable} {abi} {platform}\n{}",
        request.identity()
    )))
}

impl Builder<'_> {
    /// The environment of a request for R packages; built first if there is none. The interpreter is R.
    ///
    /// # Errors
    /// When the request is refused or empty, or a step of the build fails.
    pub fn find_or_build_r(&mut self, request: &RRequest) -> Result<Environment, Error> {
        if request.is_empty() {
            return Err(nothing_asked());
        }
        let key = key(request, self.interpreter, self.machine)?;
        if let Some(environment) = find(request, self.interpreter, self.machine, self.store)? {
            return Ok(environment);
        }
        self.once(&key, |builder| builder.build_r(request, &key))
    }

    fn build_r(&mut self, request: &RRequest, key: &str) -> Result<Environment, Error> {
        let (store, machine) = (self.store, self.machine);
        let building = Building::begin(store)?;
        let mut bench = self.bench(&building)?;
        let prefix = bench.folder.join("prefix");
        let lock = if request.is_from_machine() {
            library::take(&mut bench, request, &prefix)?
        } else {
            let packages = match request.given() {
                Some(lock) => fetch::of_lock(&mut bench, store, lock, machine)?,
                None => {
                    let repository = repository::choose(machine)?;
                    bench.hidden = Some(repository.url().to_owned());
                    let needed = resolve::resolve(&mut bench, request, &repository)?;
                    fetch::fetch(&mut bench, store, &repository, needed)?
                }
            };
            let lock = Lock::of_r(packages);
            install::install(&mut bench, store, &lock, &prefix)?;
            lock
        };
        bench.progress.step("checking and publishing the environment");
        let interpreter = bench.interpreter;
        let denied = std::mem::take(&mut bench.denied);
        let installed = Installed { prefix, standard: BTreeSet::new(), denied, imported: false };
        let (tree, digest) = layout::assemble(&installed, &lock, interpreter)?;
        let environment = building.publish(store, &tree, &digest)?;
        store.write_whole(building.folder(), &store.request(key), &digest)?;
        Ok(environment)
    }
}

/// Whether an interpreter that somebody wrote down can be R.
pub(crate) fn is_r(interpreter: &Interpreter) -> bool {
    let version = interpreter.version.as_str();
    interpreter.ecosystem() == Ecosystem::Cran
        && names::is_r_version(version)
        && interpreter.abi.strip_prefix('R') == Some(version)
}

/// Whether a package of a lock has only values that we write: what was fetched, or what a machine had.
pub(crate) fn is_plain(package: &Locked) -> bool {
    let named = format!("{}_{}", package.name, package.version);
    let plain = names::is_r_name(&package.name)
        && names::is_r_version(&package.version)
        && package.needs.iter().all(|name| names::is_r_name(name));
    plain
        && match (&package.source, package.wheels.as_slice()) {
            (Some(source), []) => {
                source.file == format!("{named}.tar.gz")
                    && HttpsUrl::parse(&source.url).is_ok_and(|url| url.as_str() == source.url)
            }
            (None, [installed]) => installed.file == format!("{named}{}", library::END) && installed.url.is_empty(),
            (_, _) => false,
        }
}

#[cfg(test)]
mod tests;
