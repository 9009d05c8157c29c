//! The packages of a run or of `env build`: found in the store, or built in the jail.

use std::path::Path;
use std::time::SystemTime;

use stockade_engines::Interpreter;
use stockade_environments::{Builder, Environment, Limits, Machine, Progress, Request, Store};

use crate::args::Packages;
use crate::code::{Code, Engine};
use crate::jail::BuildJail;
use crate::pipeline::Services;
use crate::problem::Problem;
use crate::staging;

/// What the command line asks for; empty when it asks for nothing.
pub(crate) fn asked(packages: &Packages, interpreter: &Interpreter) -> Result<Request, Problem> {
    let mut request = Request::new();
    for list in &packages.with {
        request.with(list)?;
    }
    for file in &packages.requirements {
        request.file(file, &packages.extra, &target(interpreter))?;
    }
    if let Some(age) = &packages.min_age {
        request.min_age(age, SystemTime::now())?;
    }
    for package in &packages.allow_build {
        request.allow_build(package)?;
    }
    Ok(request)
}

/// What the code itself asks for, beside the command line.
pub(crate) fn asked_by_code(request: &mut Request, code: &Code) -> Result<(), Problem> {
    if matches!(code.engine, Engine::Script(_)) {
        request.script(&code.bytes, &code.label)?;
    }
    // What executes notebooks and queries comes from an environment like any other package.
    match code.engine {
        Engine::Notebook(_) => request.with("nbclient,ipykernel")?,
        Engine::Sql(_) => request.with("duckdb")?,
        Engine::Script(_) | Engine::Inline(_) | Engine::Stdin | Engine::R(_) | Engine::Program(_) => {}
    }
    Ok(())
}

/// Whether a script says itself what it needs.
pub(crate) fn names_packages(code: &Code) -> bool {
    let mut request = Request::new();
    matches!(code.engine, Engine::Script(_)) && request.script(&code.bytes, &code.label).is_ok() && !request.is_empty()
}

/// The store of this user's environments.
pub(crate) fn store() -> Store {
    Store::at(&crate::files::cache().join("environments"))
}

/// The interpreter that is named, by its program or version, else `python3`.
pub(crate) fn interpreter(named: Option<&Path>) -> Result<Interpreter, Problem> {
    Ok(Interpreter::find(named, &crate::files::cache(), |path| staging::look(path).ok())?)
}

/// An interpreter as environments are built for it.
pub(crate) fn target(interpreter: &Interpreter) -> stockade_environments::Interpreter {
    stockade_environments::Interpreter {
        inside_executable: interpreter.inside_executable(),
        version: interpreter.version.clone(),
        abi: interpreter.abi.clone(),
        platform: interpreter.platform.clone(),
        glibc: interpreter.glibc(),
    }
}

/// The environment of a request, built first if there is none.
pub(crate) fn find_or_build(
    request: &Request,
    interpreter: &Interpreter,
    services: &mut Services,
    progress: &mut dyn Progress,
) -> Result<Environment, Problem> {
    let (machine, store, wanted) = (Machine::of_this_process(), store(), target(interpreter));
    if let Some(found) = stockade_environments::find(request, &wanted, &machine, &store)? {
        return Ok(found);
    }
    let mut jail = BuildJail { interpreter, services };
    let mut builder = Builder {
        store: &store,
        interpreter: &wanted,
        machine: &machine,
        limits: Limits::default(),
        jail: &mut jail,
        progress,
    };
    Ok(builder.find_or_build(request)?)
}

/// The interpreter of this machine that an environment was built for: the one that is named or usual
/// if it is, else any other.
pub(crate) fn interpreter_of(environment: &Environment, named: Option<&Path>) -> Result<Interpreter, Problem> {
    interpreter_for(&environment.interpreter, &environment.digest, named)
}

/// The same, of an environment that is not here yet.
pub(crate) fn interpreter_for(
    wanted: &stockade_environments::Interpreter,
    digest: &str,
    named: Option<&Path>,
) -> Result<Interpreter, Problem> {
    let fits = |found: &Interpreter| {
        (found.inside_executable(), &found.abi, &found.platform)
            == (wanted.inside_executable.clone(), &wanted.abi, &wanted.platform)
    };
    let usual = interpreter(named)?;
    if fits(&usual) {
        return Ok(usual);
    }
    let minor: Vec<&str> = wanted.version.splitn(3, '.').take(2).collect();
    let other = if named.is_none() { interpreter(Some(Path::new(&minor.join(".")))).ok() } else { None };
    other.filter(fits).ok_or_else(|| {
        Problem::new(
            format!("the environment {} cannot be used with this Python", short(digest)),
            format!(
                "it was built for Python {} at {} inside, and the one chosen is Python {} at {}",
                wanted.version,
                wanted.inside_executable,
                usual.version,
                usual.inside_executable()
            ),
            "choose its interpreter with --python, or build the environment again",
        )
    })
}

/// The first digits of a digest, as people are shown it.
pub(crate) fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
