//! Options that need or exclude each other, told before anything is made.

use stockade_core::request::Language;
use stockade_environments::RRequest;

use crate::args::{Build, Cgroup, Packages, Run, Tier};
use crate::code::Engine;
use crate::problem::Problem;

/// Refuses options that contradict each other or the code they are given with.
pub(crate) fn check(run: &Run, engine: &Engine) -> Result<(), Problem> {
    let [project, out] = [&run.project, &run.out].map(Option::is_some);
    let [with, requirements, allow_build] =
        [!run.packages.with.is_empty(), !run.packages.requirements.is_empty(), !run.packages.allow_build.is_empty()];
    let [extra, min_age] = [!run.packages.extra.is_empty(), run.packages.min_age.is_some()];
    let [venv, python, environment] = [run.venv.is_some(), run.packages.python.is_some(), run.environment.is_some()];
    let requires = |layer: &str| run.require.iter().any(|name| name == layer);
    let off = run.cgroup == Cgroup::Off;

    needs((run.all, "--all"), (project, "--project DIR"), "it says what of a project is taken")?;
    needs((run.apply, "--apply"), (project, "--project DIR"), "changes are written back onto the project")?;
    needs(
        (!run.apply_also.is_empty(), "--apply-also"),
        (run.apply, "--apply"),
        "it permits a path to be written back",
    )?;
    needs((run.overwrite, "--overwrite"), (out, "--out DIR"), "it replaces files in the folder of the outputs")?;
    // These may name packages themselves.
    let names_packages = matches!(
        engine,
        Engine::Script(_) | Engine::Notebook(_) | Engine::Sql(_) | Engine::Session(Language::Sql) | Engine::Function(_)
    );
    let net = !run.net.is_empty();
    for option in [(!run.secrets.is_empty(), "--secret"), (!run.net_budget.is_empty(), "--net-budget")] {
        needs(option, (net, "--net HOST"), "it is about what a run may reach")?;
    }
    needs(
        (requires("gate"), "--require gate"),
        (net, "--net HOST"),
        "the gate is there for what is granted of the network",
    )?;
    needs(
        (requires("watchdog"), "--require watchdog"),
        (off, "--cgroup off"),
        "the watchdog only stands in where no cgroup is used",
    )?;

    excludes((requires("cgroup"), "--require cgroup"), (off, "--cgroup off"), "one asks for what the other rules out")?;
    excludes((run.json, "--json"), (run.quiet, "--quiet"), "one asks for the report that the other leaves out")?;
    let asks = [
        (with, "--with"),
        (requirements, "--requirements"),
        (extra, "--extra"),
        (allow_build, "--allow-build"),
        (min_age, "--min-age"),
    ];
    for packages in asks {
        excludes(packages, (venv, "--venv"), "an environment of yours is taken as it is: nothing is added to it")?;
        excludes(packages, (environment, "--environment"), "an environment is taken as it is: nothing is added to it")?;
    }
    let r = !run.packages.r.is_empty();
    excludes((r, "--r"), (venv, "--venv"), "a virtual environment has packages of Python")?;
    excludes((r, "--r"), (environment, "--environment"), "an environment is taken as it is: nothing is added to it")?;
    excludes((venv, "--venv"), (environment, "--environment"), "each is a whole environment")?;
    check_packages(&run.packages, names_packages)?;

    check_tier(run, engine)?;
    if run.tier == Tier::Gvisor && net {
        return Err(Problem::new(
            "--net cannot be had with --tier gvisor",
            "its second kernel has a loopback of its own, from which no way leads to the gate",
            "stage the data with --in, or run with --tier oci or without --tier",
        ));
    }

    let options = [
        (with, "--with"),
        (requirements && !run.packages.requirements.iter().all(|file| RRequest::is_lock(file)), "--requirements"),
        (extra, "--extra"),
        (allow_build, "--allow-build"),
        (min_age, "--min-age"),
        (venv, "--venv"),
        (python, "--python"),
    ];
    let given = options.into_iter().find_map(|(is_given, option)| is_given.then_some(option));
    match (engine, given) {
        (Engine::R(_) | Engine::Session(Language::R), Some(option)) => Err(Problem::new(
            format!("{option} does nothing for an R script"),
            "it is about Python",
            format!("leave out {option}; packages of R are named with --r"),
        )),
        (Engine::R(_) | Engine::Session(Language::R) | Engine::Program(_), None) => Ok(()),
        (_, _) if r => Err(Problem::new(
            "--r does nothing for Python code",
            "it names packages of R",
            "leave out --r; packages of Python are named with --with",
        )),
        _ => Ok(()),
    }
}

/// Refuses options of `env build` that contradict each other.
pub(crate) fn check_build(build: &Build) -> Result<(), Problem> {
    excludes((build.json, "--json"), (build.quiet, "--quiet"), "one asks for the report that the other leaves out")?;
    let mut packages = build.packages.clone();
    packages.requirements.extend(build.file.clone());
    if packages.with.is_empty() && packages.requirements.is_empty() && packages.r.is_empty() {
        return Err(Problem::new(
            "no environment is built",
            "nothing says what is to be in it",
            "name packages with --with PACKAGES or --r PACKAGES, or give a requirements file, pyproject.toml, pylock.toml, uv.lock or Spotfire .spk",
        ));
    }
    check_packages(&packages, false)
}

/// What is asked about packages needs packages that are asked for.
fn check_packages(packages: &Packages, code_names_some: bool) -> Result<(), Problem> {
    needs(
        (packages.r_from_machine, "--r-from-machine"),
        (!packages.r.is_empty(), "--r PACKAGES"),
        "it says where the packages of R come from",
    )?;
    let (with, files) = (!packages.with.is_empty(), !packages.requirements.is_empty());
    needs(
        (!packages.allow_build.is_empty(), "--allow-build"),
        (with || files || code_names_some, "--with PACKAGES"),
        "it lets a package that is asked for run its build",
    )?;
    needs(
        (packages.min_age.is_some(), "--min-age"),
        (with || files || code_names_some, "--with PACKAGES"),
        "it is about releases of packages that are asked for",
    )?;
    needs(
        (!packages.extra.is_empty(), "--extra"),
        (files, "--requirements FILE"),
        "optional dependencies are those of a pyproject.toml or uv.lock",
    )
}

/// What needs namespaces is refused with `--tier landlock`, before anything is made.
fn check_tier(run: &Run, engine: &Engine) -> Result<(), Problem> {
    if run.tier != Tier::Landlock {
        return Ok(());
    }
    let refused = [
        (
            !run.share.is_empty(),
            "--share",
            "code could speak to the host through a live folder; only a mount of its own keeps that out",
            "stage it with --in, which copies it",
        ),
        (
            !run.net.is_empty(),
            "--net",
            "there is no network of its own, from which only the gate leads out",
            "run without --tier landlock",
        ),
        (
            run.apply,
            "--apply",
            "the project was copied, and what changed meanwhile would not be seen",
            "collect the outputs with --out DIR",
        ),
        (
            run.diff,
            "--diff",
            "the project was copied, and there is no overlay to compare with",
            "collect the outputs with --out DIR and compare them",
        ),
        (
            run.scratch_dir.is_some(),
            "--scratch-dir",
            "scratch of this tier lies in the temporary folder already",
            "set TMPDIR to a folder of the disk you mean",
        ),
        (
            matches!(engine, Engine::Sql(_)),
            "a query",
            "DuckDB ends when it cannot read its own part of /proc, which cannot be given without namespaces",
            "query with another engine from a script (sqlite3, pandas, polars)",
        ),
        (
            matches!(engine, Engine::Notebook(_)),
            "a notebook",
            "its kernel is spoken to over sockets, and none can be made",
            "run it as a script: jupyter nbconvert --to script",
        ),
    ];
    match refused.into_iter().find(|(is_given, ..)| *is_given) {
        Some((_, what, why, next)) => {
            Err(Problem::new(format!("{what} cannot be had with --tier landlock"), why, next))
        }
        None => Ok(()),
    }
}

type Given = (bool, &'static str);

fn needs((is_given, option): Given, (is_there, needed): Given, why: &str) -> Result<(), Problem> {
    if !is_given || is_there {
        return Ok(());
    }
    Err(Problem::new(format!("{option} needs {needed}"), why, format!("add {needed}, or leave out {option}")))
}

fn excludes((one_given, one): Given, (other_given, other): Given, why: &str) -> Result<(), Problem> {
    if !(one_given && other_given) {
        return Ok(());
    }
    let next = format!("leave out one of them: {one} or {other}");
    Err(Problem::new(format!("{one} and {other} contradict each other"), why, next))
}
