//! The line from a request to an environment:
//!
//! ```text
//! Request → key → found?  ─ yes ─▶ Environment
//!              └ no → one builder → index → uv
//!                   → allowed source distributions built (in a jail without network)
//!                   → Lock (uv's or the user's, checked)
//!                   → wheels (fetched in a jail, hashes checked here)
//!                   → prefix (installed in a jail without network)
//!                   → layout → digest → published by one rename → Environment
//! ```

use std::path::Path;

use crate::certificates;
use crate::environment::Environment;
use crate::error::{Detail, Error};
use crate::index::{self, Index};
use crate::index_config::{self, Choice};
use crate::install::install;
use crate::interpreter::Interpreter;
use crate::jail::Jail;
use crate::layout;
use crate::lock::{Built, Lock, Wheel};
use crate::machine::Machine;
use crate::progress::Progress;
use crate::publish::{Building, hold_builds, take_turn};
use crate::request::Request;
use crate::resolve::resolve;
use crate::room::Room;
use crate::source_build::{self, Source};
use crate::source_files::{Wanted, newest};
use crate::step::Bench;
use crate::store::Store;
use crate::tools;
use crate::wheels;

/// Bounds on a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest a step may take: 20 minutes.
    pub time_ms_max: u64,
    /// The most that the files of a step may take: 8 GiB, and never more than three quarters of the
    /// machine's free memory, since steps write to memory. Many packages are fetched and installed
    /// by several steps, so this bounds the largest one, unpacked and compiled.
    pub scratch_bytes_max: u64,
    /// The most that the files of an environment may take together, unpacked and compiled: 32 GiB.
    pub environment_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time_ms_max: 20 * 60 * 1000, scratch_bytes_max: 8 << 30, environment_bytes_max: 32 << 30 }
    }
}

/// Builds environments, or finds those that were built.
pub struct Builder<'a> {
    /// Where environments are kept.
    pub store: &'a Store,
    /// The interpreter to build for.
    pub interpreter: &'a Interpreter,
    /// The machine's configuration.
    pub machine: &'a Machine,
    /// Bounds on the build.
    pub limits: Limits,
    /// Runs the steps.
    pub jail: &'a mut dyn Jail,
    /// Told about each stage.
    pub progress: &'a mut dyn Progress,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("store", &self.store)
            .field("interpreter", &self.interpreter)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The environment of a request that was built before: a few small files are read, no program
/// is started.
///
/// # Errors
/// When the interpreter does not fit the request, or the configured index cannot be used.
pub fn find(
    request: &Request,
    interpreter: &Interpreter,
    machine: &Machine,
    store: &Store,
) -> Result<Option<Environment>, Error> {
    request.check(interpreter)?;
    let choice = index_config::choose(machine)?;
    found(store, &request.key(interpreter, choice.token()))
}

pub(crate) fn found(store: &Store, key: &str) -> Result<Option<Environment>, Error> {
    match std::fs::read_to_string(store.request(key)) {
        Ok(digest) => Environment::load(store, &digest),
        Err(_) => Ok(None),
    }
}

impl Builder<'_> {
    /// The environment of a request; built first if there is none.
    ///
    /// # Errors
    /// When the request is refused or empty, or a step of the build fails.
    pub fn find_or_build(&mut self, request: &Request) -> Result<Environment, Error> {
        request.check(self.interpreter)?;
        let choice = index_config::choose(self.machine)?;
        let key = request.key(self.interpreter, choice.token());
        self.once(
            &key,
            |builder| {
                if request.is_empty() { Err(nothing_asked()) } else { builder.build(request, &choice, &key) }
            },
        )
    }

    /// What was found or built under a key: built by one process, however many ask.
    pub(crate) fn once(
        &mut self,
        key: &str,
        build: impl FnOnce(&mut Self) -> Result<Environment, Error>,
    ) -> Result<Environment, Error> {
        if let Some(environment) = found(self.store, key)? {
            return Ok(environment);
        }
        self.store.prepare()?;
        let _builds = hold_builds(self.store)?;
        let _turn = take_turn(self.store, key)?;
        // Another process may have built it while this one waited for its turn.
        match found(self.store, key)? {
            Some(environment) => Ok(environment),
            None => build(self),
        }
    }

    /// Where the steps of a build are run.
    pub(crate) fn bench(&mut self, building: &Building) -> Result<Bench<'_>, Error> {
        Ok(Bench {
            interpreter: self.interpreter,
            folder: building.folder().to_path_buf(),
            steps_run: 0,
            denied: Vec::new(),
            certificates: certificates::find(self.machine)?,
            limits: self.limits,
            patience_s: self.machine.patience_s(),
            room: Room::of(&self.limits, self.machine),
            hidden: None,
            jail: &mut *self.jail,
            progress: &mut *self.progress,
        })
    }

    fn build(&mut self, request: &Request, choice: &Choice, key: &str) -> Result<Environment, Error> {
        let (store, machine, interpreter) = (self.store, self.machine, self.interpreter);
        let building = Building::begin(store)?;
        let mut bench = self.bench(&building)?;
        let present = tools::present(&mut bench, store, machine);
        let url = index::url(&mut bench, store, choice, present.as_deref())?;
        bench.hidden = Some(url.as_str().trim_end_matches('/').to_owned());
        let uv = match present {
            Some(uv) => uv,
            None => tools::fetch(&mut bench, store, &url)?,
        };
        let locked = request.given().into_iter().flat_map(|given| &given.packages).map(|package| package.name.as_str());
        let names: Vec<&str> = request.names().chain(locked).collect();
        let index = index::hosts(&mut bench, store, url, &names)?;
        let sources = Sources { store, machine, uv: &uv, index: &index };
        let lock = match request.given() {
            Some(given) => Lock::of_given(given, &index.hosts)?,
            None => {
                let built = sources.build(&mut bench, request)?;
                resolve_with(&mut bench, request, &sources, &built)?
            }
        };
        let lock = lock.installed_on(interpreter);
        let files: Vec<&Wheel> = lock.wheels().collect();
        wheels::fetch(&mut bench, store, &files, &index.hosts, Some(&index.url))?;
        let folder = wheels::gather(&bench, store, "wheels", &files)?;
        let mut installed = install(&mut bench, &lock, &folder, &uv)?;
        installed.denied = std::mem::take(&mut bench.denied);
        bench.progress.step("checking and publishing the environment");
        let (tree, digest) = layout::assemble(&installed, &lock, interpreter)?;
        let environment = building.publish(store, &tree, &digest)?;
        store.write_whole(building.folder(), &store.request(key), &digest)?;
        Ok(environment)
    }
}

/// Resolves with the wheels that were built here at hand.
fn resolve_with(
    bench: &mut Bench<'_>,
    request: &Request,
    sources: &Sources<'_>,
    built: &[Built],
) -> Result<Lock, Error> {
    let files: Vec<&Wheel> = built.iter().map(|built| &built.wheel).collect();
    let folder = wheels::gather(bench, sources.store, "built", &files)?;
    resolve(bench, request, sources.index, sources.uv, (built, &folder))
}

/// What building the allowed source distributions of a request needs.
struct Sources<'a> {
    store: &'a Store,
    machine: &'a Machine,
    uv: &'a Path,
    index: &'a Index,
}

impl Sources<'_> {
    fn build(&self, bench: &mut Bench<'_>, request: &Request) -> Result<Vec<Built>, Error> {
        request.builds().map(|name| self.build_one(bench, request, name)).collect()
    }

    fn build_one(&self, bench: &mut Bench<'_>, request: &Request, name: &str) -> Result<Built, Error> {
        let (listed, hosts) = index::files_of(bench, &self.index.url, name)?;
        let specifiers = request.specifiers_of(name);
        let python = &bench.interpreter.version;
        let wanted =
            Wanted { name, specifiers: &specifiers, hashes: request.hashes_of(name), python, newest: request.newest() };
        let Some((version, file)) = newest(&listed, &wanted) else {
            return Err(source_build::none_fits(name));
        };
        wheels::fetch(bench, self.store, &[&file], &hosts, Some(&self.index.url))?;
        let source = Source { name, version, file };
        let tools = source_build::tools(bench, self.store, &source)?.no_newer_than(request);
        // INVARIANT: this request allows no builds, so it does not come back here.
        let tools = Builder {
            store: self.store,
            interpreter: bench.interpreter,
            machine: self.machine,
            limits: bench.limits,
            jail: &mut *bench.jail,
            progress: &mut *bench.progress,
        }
        .find_or_build(&tools)?;
        source_build::build(bench, self.store, source, &tools, self.uv)
    }
}

pub(crate) fn nothing_asked() -> Error {
    Error::Requirement(Detail::new(
        "no environment is built",
        "no package is asked for",
        "name packages with `--with`, `-r`, or in the script",
    ))
}
