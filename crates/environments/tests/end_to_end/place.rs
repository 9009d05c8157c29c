//! Where a test builds: a store of its own, this machine, and one of its interpreters.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use stockade_environments::{Builder, Environment, Error, Jail, Limits, Machine, Request, Store, find};

use crate::jail::{BubblewrapJail, Python, Seen, bwrap_is_here};

pub(crate) struct Place {
    pub(crate) root: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) machine: Machine,
    pub(crate) python: Python,
    pub(crate) limits: Limits,
}

pub(crate) fn place() -> Option<Place> {
    if !bwrap_is_here() {
        println!("SKIPPED: bubblewrap is not installed or may not make namespaces here");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let mut machine = Machine::of_this_process();
    // The pinned uv is fetched, whatever the machine has.
    machine.vars.remove("PATH");
    let store = Store::at(&root.path().join("store"));
    Some(Place { root, store, machine, python: Python::of_this_machine(), limits: Limits::default() })
}

/// A place whose index is made up, and which has uv already.
pub(crate) fn place_without_index() -> Option<Place> {
    let mut place = place()?;
    // Fetched once for all tests, and again when another one is pinned.
    let mut pinned = DefaultHasher::new();
    include_str!("../../src/tools.rs").hash(&mut pinned);
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("uv-{:x}", pinned.finish()));
    let own = std::mem::replace(&mut place.store, Store::at(&shared));
    place.build(&request("six")).unwrap();
    for version in std::fs::read_dir(shared.join("tools")).unwrap().flatten() {
        let to = own.root().join("tools").join(version.file_name());
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(version.path().join("uv"), to.join("uv")).unwrap();
    }
    place.store = own;
    place.machine.vars.insert("UV_DEFAULT_INDEX".into(), "https://index.invalid/simple".into());
    Some(place)
}

impl Place {
    pub(crate) fn build(&self, request: &Request) -> Result<(Environment, Vec<String>, Seen), Error> {
        let mut jail = BubblewrapJail { python: &self.python, steps: Vec::new() };
        let (environment, seen) = self.build_in(&mut jail, request)?;
        Ok((environment, jail.steps, seen))
    }

    pub(crate) fn build_in(&self, jail: &mut dyn Jail, request: &Request) -> Result<(Environment, Seen), Error> {
        let mut seen = Seen::default();
        let mut builder = Builder {
            store: &self.store,
            interpreter: &self.python.interpreter,
            machine: &self.machine,
            limits: self.limits,
            jail,
            progress: &mut seen,
        };
        let environment = builder.find_or_build(request)?;
        Ok((environment, seen))
    }

    pub(crate) fn find(&self, request: &Request) -> Option<Environment> {
        find(request, &self.python.interpreter, &self.machine, &self.store).unwrap()
    }

    /// What a program of the environment prints behind walls.
    pub(crate) fn run(&self, environment: &Environment, program: &[&str]) -> String {
        let mut command = self.python.walls();
        command.arg("--ro-bind").arg(&environment.folder).arg("/opt/stockade/env");
        let output = command.args(program).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) fn request(list: &str) -> Request {
    let mut request = Request::new();
    request.with(list).unwrap();
    for name in std::env::var("STOCKADE_TEST_ALLOW_BUILD").iter() {
        request.allow_build(name).unwrap();
    }
    request
}
