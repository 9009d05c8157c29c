//! The packages of a run or of `env build`: found in the store, or built in the jail.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use stockade_core::audit::{Record, Trail};
use stockade_core::request::Language;
use stockade_core::{paths, text};
use stockade_engines::{Interpreter, R};
use stockade_environments::{
    Builder, Ecosystem, Environment, Limits, Machine, Package, Progress, RRequest, Request, Store,
};
use stockade_launch::witness::libraries_in;

use crate::args::Packages;
use crate::code::{Code, Engine};
use crate::jail::BuildJail;
use crate::pipeline::Services;
use crate::problem::Problem;
use crate::staging;
use crate::trail::now_ms;

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
        Engine::Sql(_) | Engine::Session(Language::Sql) => request.with("duckdb")?,
        Engine::Script(_)
        | Engine::Inline(_)
        | Engine::Stdin
        | Engine::R(_)
        | Engine::Program(_)
        | Engine::Session(_)
        | Engine::Warm => {}
        Engine::Function(_) => {
            if let Some(function) = &code.function {
                request.with(&function.packages())?;
            }
        }
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

/// Where an interpreter lies on the machine, and folders of libraries beside it.
pub(crate) fn places_of(interpreter: &Interpreter) -> Vec<PathBuf> {
    let inside = PathBuf::from(interpreter.inside_executable());
    let Some(tree) = interpreter.trees().into_iter().next() else { return vec![inside] };
    let prefix = tree.source.path;
    let program =
        inside.strip_prefix(paths::INTERPRETER).map_or(prefix.join("bin/python3"), |below| prefix.join(below));
    [vec![program], libraries_in(&prefix.join("lib"))].concat()
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
    check_may_build(services)?;
    let mut jail = BuildJail { interpreter: Some(interpreter), services: &mut *services };
    let mut builder = Builder {
        store: &store,
        interpreter: &wanted,
        machine: &machine,
        limits: Limits::default(),
        jail: &mut jail,
        progress,
    };
    let built = builder.find_or_build(request)?;
    on_record(built, services)
}

/// That it was built, by whom, and what is in it. It is not used before that is kept.
fn on_record(built: Environment, services: &mut Services) -> Result<Environment, Problem> {
    let of = |package: &Package| text::shown(&format!("{} {}", package.name, package.version), 200);
    services.trail.append(&Record::Environment {
        time_ms: now_ms(),
        principal: &services.principal,
        environment_digest: &built.digest,
        interpreter: &built.interpreter.abi,
        packages: built.packages.iter().map(of).collect(),
    })?;
    Ok(built)
}

/// Who may have nothing built names no packages. Those that are built already are no exception: what one may run would
/// depend on what others have run, and tell it. What an engine needs by itself nobody names.
pub(crate) fn check_may_name(services: &Services) -> Result<(), Problem> {
    if !services.only_built {
        return Ok(());
    }
    Err(Problem::new(
        "the packages of the code are not for you",
        "putting packages together that one names oneself takes the privilege EnvironmentBuild",
        "name an environment that there is, or ask whoever administers the node for a role that has it",
    ))
}

/// Who only wants to know builds nothing.
fn check_may_build(services: &Services) -> Result<(), Problem> {
    if services.builds {
        return Ok(());
    }
    let why = "its environment is not there yet, and what is in it is not known before it is built";
    Err(Problem::new(
        "it cannot be said yet",
        why,
        "run it, which builds the environment first, or ask again after that",
    )
    .undecided())
}

/// What the command line asks for of R; `None` when it asks for nothing of it.
pub(crate) fn asked_r(packages: &Packages) -> Result<Option<RRequest>, Problem> {
    let (locks, files): (Vec<_>, Vec<_>) = packages.requirements.iter().partition(|file| RRequest::is_lock(file));
    if packages.r.is_empty() && locks.is_empty() {
        return Ok(None);
    }
    let of_python = [
        (!packages.with.is_empty(), "--with"),
        (!files.is_empty(), "a file about Python packages"),
        (!packages.extra.is_empty(), "--extra"),
        (!packages.allow_build.is_empty(), "--allow-build"),
        (packages.min_age.is_some(), "--min-age"),
        (packages.python.is_some(), "--python"),
    ];
    if let Some((_, other)) = of_python.into_iter().find(|(is_given, _)| *is_given) {
        return Err(Problem::new(
            "packages of Python and of R do not go into one environment",
            format!("packages of R are asked for, and {other} is about Python"),
            "build two environments, or leave out one of them",
        ));
    }
    let mut request = RRequest::new();
    for list in &packages.r {
        request.packages(list)?;
    }
    for lock in locks {
        request.lock(lock)?;
    }
    if packages.r_from_machine {
        request.from_machine();
    }
    request.check()?;
    Ok(Some(request))
}

/// The machine's R as environments are built for it.
pub(crate) fn r_target() -> Result<stockade_environments::Interpreter, Problem> {
    let R { executable, version, platform } = R::find()?;
    Ok(stockade_environments::Interpreter {
        inside_executable: executable,
        abi: format!("R{version}"),
        version,
        platform,
        glibc: None,
    })
}

/// The environment of a request for R packages, built first if there is none.
pub(crate) fn find_or_build_r(
    request: &RRequest,
    services: &mut Services,
    progress: &mut dyn Progress,
) -> Result<Environment, Problem> {
    let (machine, store, interpreter) = (Machine::of_this_process(), store(), r_target()?);
    if let Some(found) = stockade_environments::find_r(request, &interpreter, &machine, &store)? {
        return Ok(found);
    }
    check_may_build(services)?;
    let mut jail = BuildJail { interpreter: None, services: &mut *services };
    let mut builder = Builder {
        store: &store,
        interpreter: &interpreter,
        machine: &machine,
        limits: Limits::default(),
        jail: &mut jail,
        progress,
    };
    let built = builder.find_or_build_r(request)?;
    on_record(built, services)
}

/// The machine's R, if it is the one that an environment was built for.
pub(crate) fn r_for(
    wanted: &stockade_environments::Interpreter,
    digest: &str,
) -> Result<stockade_environments::Interpreter, Problem> {
    let found = r_target()?;
    let about =
        |one: &stockade_environments::Interpreter| format!("{} for {}", runs_with(one), text::shown(&one.platform, 60));
    if wanted.ecosystem() == Ecosystem::Cran && (&found.abi, &found.platform) == (&wanted.abi, &wanted.platform) {
        return Ok(found);
    }
    Err(Problem::new(
        format!("the environment {} cannot be used with this R", short(digest)),
        format!("it was built for {}, and this machine has {}", about(wanted), about(&found)),
        "build the environment again for this R",
    ))
}

/// What runs the packages of an environment: `Python 3.11.7`, `R 4.2.2`.
pub(crate) fn runs_with(interpreter: &stockade_environments::Interpreter) -> String {
    format!("{} {}", interpreter.ecosystem().language(), text::shown(&interpreter.version, 40))
}

/// The same for programs: the version of Python, or that of R.
#[derive(Debug, Serialize)]
pub(crate) struct Versions {
    pub(crate) python: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r: Option<String>,
}

impl Versions {
    pub(crate) fn of(interpreter: &stockade_environments::Interpreter) -> Self {
        let version = Some(interpreter.version.clone());
        match interpreter.ecosystem() {
            Ecosystem::Pypi => Self { python: version, r: None },
            Ecosystem::Cran => Self { python: None, r: version },
        }
    }
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
    if wanted.ecosystem() != Ecosystem::Pypi {
        return Err(Problem::new(
            format!("the environment {} is none of Python", short(digest)),
            format!("it has packages for {}", runs_with(wanted)),
            "run an R script with it, or build one with --with PACKAGES",
        ));
    }
    let fits = |found: &Interpreter| {
        (found.inside_executable(), &found.abi, &found.platform)
            == (wanted.inside_executable.clone(), &wanted.abi, &wanted.platform)
    };
    let usual = interpreter(named)?;
    if fits(&usual) {
        return Ok(usual);
    }
    let minor: Vec<&str> = wanted.version.splitn(3, '.').take(2).collect();
    // The very version first: there may be several of a minor one.
    let others = if named.is_none() { vec![wanted.version.clone(), minor.join(".")] } else { Vec::new() };
    let mut others = others.iter().filter_map(|version| interpreter(Some(Path::new(version))).ok());
    others.find(fits).ok_or_else(|| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_lies_where_it_is_found() {
        let places = places_of(&interpreter(None).unwrap());
        let is_program = |path: &PathBuf| path.is_file() && path.to_string_lossy().contains("bin/python3");
        assert!(places.first().is_some_and(is_program), "{places:?}");
        let is_of_machine = places.first().is_some_and(|path| path.starts_with("/usr"));
        let has_libraries = places.iter().any(|path| path.ends_with("site-packages") && path.is_dir());
        assert!(is_of_machine || has_libraries, "{places:?}");
    }
}
