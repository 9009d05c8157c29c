//! From the command line to a request: parses, looks at the files that are named, bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stockade_core::layer::{Layer, Layers};
use stockade_core::limits::Limit;
use stockade_core::paths;
use stockade_core::request::{
    CgroupMode, Input, Language, Request, ResultDescriptor, Scratch, Start, Streams, Tier, Tree,
};
use stockade_core::text;
use stockade_core::trust::Libraries;
use stockade_egress::control::SecretValue;
use stockade_engines::{Interpreter, PythonCode};
use stockade_environments::{Ecosystem, Environment};

use crate::args::{Cgroup, Run};
use crate::code::{Code, Engine};
use crate::pipeline::Services;
use crate::problem::Problem;
use crate::progress::Shown;
use crate::trust::Unlocked;
use crate::{environment, network, staging, trust};

/// A request and what the report will say about it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// The values of secrets, for the gate only.
    pub(crate) secrets: Vec<SecretValue>,
    /// The environment of the code.
    pub(crate) environment: Used,
    /// What the caller should know before the code runs.
    pub(crate) remarks: Vec<String>,
}

/// The environment of a run.
#[derive(Debug)]
pub(crate) struct Used {
    /// Its digest, or `none`.
    pub(crate) digest: String,
    /// It, if it is one of the store: it stays there for as long as this value lives.
    pub(crate) held: Option<Environment>,
    /// What the caller should know of what it was asked from.
    remarks: Vec<String>,
    /// Where the code finds libraries that no lock names.
    pub(crate) unlocked: Unlocked,
    /// What of the machine's changes when the interpreter or what is installed beside it does.
    pub(crate) made_of: Vec<PathBuf>,
}

impl Used {
    pub(crate) fn none() -> Self {
        Self {
            digest: "none".to_owned(),
            held: None,
            unlocked: Unlocked::Machine,
            remarks: Vec::new(),
            made_of: Vec::new(),
        }
    }
}

/// Makes the request of a command line; builds the environment if it needs one that is not there.
pub(crate) fn request(run: &Run, code: &Code, services: &mut Services) -> Result<Asked, Problem> {
    let mut remarks = Vec::new();
    let inputs = inputs(run, code, &mut remarks)?;
    let tables = run.supervised.table_fd.iter().map(|one| staging::table(one)).collect::<Result<_, _>>()?;
    let shares = run.share.iter().map(|share| staging::share(share)).collect::<Result<_, _>>()?;
    let limits = limits(run)?;
    let (require, vars) = (require(run)?, vars(run)?);
    let (network, secrets) = network::asked(run)?;
    let (start, environment) = start(run, code, services)?;
    remarks.extend(environment.remarks.iter().cloned());
    if let Some(held) = environment.held.as_ref().filter(|held| !held.denied.is_empty()) {
        let (things, digest) = (text::count(held.denied.len(), "thing", "things"), environment::short(&held.digest));
        remarks.push(format!(
            "the build of its environment asked for {things} and was denied (`stockade env show {digest}` lists them)"
        ));
    }
    if run.environment.is_some() && environment::names_packages(code) {
        remarks.push(
            "the packages that the script names are not looked at, for --environment is taken as it is".to_owned(),
        );
    }
    let mut request = Request {
        label: code.label.clone(),
        language: code.engine.language(),
        start,
        inputs,
        tables,
        shares,
        libraries: Libraries::Unjudged,
        limits,
        network,
        vars,
        require,
        cgroup: match run.cgroup {
            Cgroup::Auto => CgroupMode::Auto,
            Cgroup::Require => CgroupMode::Require,
            Cgroup::Off => CgroupMode::Off,
        },
        tier: tier(run.tier),
        scratch: run
            .scratch_dir
            .as_deref()
            .map_or(Ok(Scratch::Memory), |folder| staging::scratch(folder).map(Scratch::Disk))?,
        streams: if is_terminal() { Streams::Terminal } else { Streams::Pipes },
    };
    request.libraries = trust::libraries(&request, &environment)?;
    Ok(Asked { request, secrets, environment, remarks })
}

const fn tier(asked: crate::args::Tier) -> Tier {
    use crate::args::Tier as Asked;
    match asked {
        Asked::Namespaces => Tier::Namespaces,
        Asked::Landlock => Tier::Landlock,
        Asked::Gvisor => Tier::Gvisor,
        Asked::Oci => Tier::Oci,
    }
}

/// Whether the code gets a terminal of its own: when the caller sits at one, for input and output.
fn is_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

fn inputs(run: &Run, code: &Code, remarks: &mut Vec<String>) -> Result<Vec<Input>, Problem> {
    let mut inputs: Vec<Input> = code.staged.clone();
    if let Some(project) = &run.project {
        let project = staging::project(project, run.all)?;
        if !project.hidden.is_empty() {
            let names: Vec<String> = project.hidden.iter().take(20).map(|name| text::quoted(name, 100)).collect();
            let more = project.hidden.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            remarks.push(format!(
                "left out of the project, for they look like secrets: {}{more} (--all takes them)",
                names.join(" ")
            ));
        }
        inputs.push(project);
    }
    for input in &run.inputs {
        inputs.push(staging::input(input)?);
    }
    remarks.extend(inputs.iter().filter_map(staging::files_of_others));
    // A script that is named as an input too is staged once.
    if let [script] = code.staged.as_slice() {
        let same = |input: &&Input| input.target == script.target && input.source == script.source;
        if inputs.iter().filter(same).count() > 1 {
            inputs.remove(0);
        }
    }
    Ok(inputs)
}

/// What the engine needs, and its environment.
fn start(run: &Run, code: &Code, services: &mut Services) -> Result<(Start, Used), Problem> {
    let arguments = code.arguments.clone();
    let python = match &code.engine {
        Engine::Program(program) => return program_start(run, code, program, services),
        Engine::R(script) => return r_start(run, stockade_engines::r(script, arguments), services),
        Engine::Script(name) => PythonCode::Script(name.clone()),
        Engine::Inline(text) => PythonCode::Inline(text.clone()),
        Engine::Stdin => PythonCode::Stdin,
        Engine::Notebook(name) => PythonCode::Notebook(name.clone()),
        Engine::Sql(name) => PythonCode::Sql(name.clone()),
        Engine::Session(Language::R) => return r_start(run, stockade_engines::r_session(), services),
        Engine::Session(Language::Sql) => PythonCode::SqlSession,
        Engine::Session(_) => PythonCode::Session,
        Engine::Warm => PythonCode::Warm,
        Engine::Function(spec) => PythonCode::Function(spec.clone()),
    };
    let (interpreter, packages) = packages(run, code, services)?;
    let (tree, executable, mut used) = match packages {
        Some(packages) => (Some(packages.tree), packages.executable, packages.used),
        None => {
            let used = Used { unlocked: Unlocked::of_interpreter(&interpreter), ..Used::none() };
            (None, interpreter.inside_executable(), used)
        }
    };
    let mut start = stockade_engines::python(python, arguments, &interpreter, &executable);
    start.trees.extend(tree);
    used.made_of = environment::places_of(&interpreter);
    Ok((start, used))
}

/// R, with the packages of an environment if there is one.
fn r_start(run: &Run, mut start: Start, services: &mut Services) -> Result<(Start, Used), Problem> {
    let held = match &run.environment {
        Some(reference) => Some(environment::store().environment(reference)?),
        None => environment::asked_r(&run.packages)?
            .map(|request| environment::find_or_build_r(&request, services, &mut Shown::new(run.quiet)))
            .transpose()?,
    };
    let Some(held) = held else { return Ok((start, Used::none())) };
    if held.interpreter.ecosystem() != Ecosystem::Cran {
        return Err(Problem::new(
            format!("the environment {} is none of R", environment::short(&held.digest)),
            format!("it has packages for {}", environment::runs_with(&held.interpreter)),
            "run a Python script with it, or build one with --r PACKAGES",
        ));
    }
    environment::r_for(&held.interpreter, &held.digest)?;
    let source = staging::look(&held.folder)?;
    start.trees.push(Tree { source, target: paths::InsidePath::fixed(paths::ENVIRONMENT), over: Vec::new() });
    start.vars.extend(stockade_engines::r_library());
    Ok((start, Used { digest: held.digest.clone(), held: Some(held), ..Used::none() }))
}

/// Whether a program gets packages of R.
fn is_of_r(run: &Run) -> Result<bool, Problem> {
    match &run.environment {
        Some(reference) => {
            let held = environment::store().environment(reference)?;
            Ok(held.interpreter.ecosystem() == Ecosystem::Cran)
        }
        None => Ok(!run.packages.r.is_empty()),
    }
}

/// The interpreter that is named, else the one a virtual environment was made for, else `python3`.
fn interpreter(run: &Run) -> Result<Interpreter, Problem> {
    match (&run.packages.python, &run.venv) {
        (None, Some(venv)) if venv.join("pyvenv.cfg").is_file() => {
            Ok(Interpreter::of_venv(venv, &crate::files::cache(), |path| staging::look(path).ok())?)
        }
        (named, _) => environment::interpreter(named.as_deref()),
    }
}

/// An environment or virtual environment as a run sees it.
struct Packages {
    tree: Tree,
    executable: String,
    used: Used,
}

/// The interpreter of a run, and its packages.
fn packages(run: &Run, code: &Code, services: &mut Services) -> Result<(Interpreter, Option<Packages>), Problem> {
    if let Some(reference) = &run.environment {
        let held = environment::store().environment(reference)?;
        let interpreter = environment::interpreter_of(&held, run.packages.python.as_deref())?;
        let packages = packages_of(run, held, &interpreter)?;
        return Ok((interpreter, Some(packages)));
    }
    let interpreter = interpreter(run)?;
    let packages = packages_for(run, code, &interpreter, services)?;
    Ok((interpreter, packages))
}

fn packages_for(
    run: &Run,
    code: &Code,
    interpreter: &Interpreter,
    services: &mut Services,
) -> Result<Option<Packages>, Problem> {
    if let Some(venv) = &run.venv {
        let source = staging::look(venv)?;
        if !source.path.join("pyvenv.cfg").is_file() {
            return Err(Problem::new(
                format!("`{}` is no virtual environment", text::shown(&venv.to_string_lossy(), 200)),
                "it has no pyvenv.cfg",
                "name the folder that holds bin/ and lib/; for a conda environment use --python DIR/bin/python",
            ));
        }
        let venv = interpreter.venv(source);
        return Ok(Some(Packages {
            tree: venv.tree,
            executable: venv.executable,
            used: Used { digest: "unlocked virtual environment".to_owned(), unlocked: Unlocked::Venv, ..Used::none() },
        }));
    }
    let mut asked = environment::asked(&run.packages, interpreter)?;
    let names_packages = !asked.is_empty() || environment::names_packages(code);
    environment::asked_by_code(&mut asked, code)?;
    if asked.is_empty() {
        return Ok(None);
    }
    if names_packages {
        environment::check_may_name(services)?;
    }
    let held = environment::find_or_build(&asked, interpreter, services, &mut Shown::new(run.quiet))?;
    let mut packages = packages_of(run, held, interpreter)?;
    packages.used.remarks = asked.remarks().to_vec();
    Ok(Some(packages))
}

/// An environment of the store as a run sees it.
fn packages_of(run: &Run, held: Environment, interpreter: &Interpreter) -> Result<Packages, Problem> {
    let source = staging::look(&held.folder)?;
    let used = Used { digest: held.digest.clone(), held: Some(held), ..Used::none() };
    if run.tier == crate::args::Tier::Landlock {
        // It names its interpreter by the path inside, where nothing lies without a root of the run's own.
        let venv = interpreter.venv(source);
        return Ok(Packages { tree: venv.tree, executable: venv.executable, used });
    }
    let tree = Tree { source, target: paths::InsidePath::fixed(paths::ENVIRONMENT), over: Vec::new() };
    Ok(Packages { tree, executable: format!("{}/bin/python", paths::ENVIRONMENT), used })
}

/// A program; with packages, those of the environment come first in `PATH`.
fn program_start(run: &Run, code: &Code, program: &str, services: &mut Services) -> Result<(Start, Used), Problem> {
    let mut argv = vec![program.to_owned()];
    argv.extend(code.arguments.iter().cloned());
    let mut start =
        Start { argv, vars: BTreeMap::new(), trees: Vec::new(), files: Vec::new(), result: ResultDescriptor::None };
    if is_of_r(run)? {
        return r_start(run, start, services);
    }
    let asks = !run.packages.with.is_empty() || !run.packages.requirements.is_empty();
    if !asks && run.venv.is_none() && run.environment.is_none() {
        return Ok((start, Used::none()));
    }
    let (interpreter, Some(packages)) = packages(run, code, services)? else {
        return Ok((start, Used::none()));
    };
    start.trees = interpreter.trees();
    start.vars.extend(interpreter.vars());
    start.trees.push(packages.tree);
    start.vars.insert("PATH".to_owned(), format!("{}/bin:/usr/local/bin:/usr/bin:/bin", paths::ENVIRONMENT));
    Ok((start, packages.used))
}

fn limits(run: &Run) -> Result<Vec<(Limit, u64)>, Problem> {
    run.limits
        .iter()
        .map(|one| {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name).ok_or_else(|| {
                let names = Limit::ALL.map(Limit::name).join(", ");
                Problem::new(
                    format!("there is no limit `{}`", text::shown(name, 60)),
                    format!("the limits are {names}"),
                    "use one of them",
                )
            })?;
            let value = limit.parse(value).map_err(|bad| {
                Problem::new(
                    format!("`{}` is no value of a limit", text::shown(value, 60)),
                    bad.to_string(),
                    format!("--limit {name}=VALUE"),
                )
            })?;
            Ok((limit, value))
        })
        .collect()
}

fn require(run: &Run) -> Result<Layers, Problem> {
    run.require.iter().try_fold(Layers::NONE, |all, name| {
        Layers::parse(name).map(|layers| all.and(layers)).ok_or_else(|| {
            let names = Layer::ALL.map(Layer::name).join(", ");
            Problem::new(
                format!("there is no layer `{}`", text::shown(name, 60)),
                format!("the layers are namespaces, {names}"),
                "use one of them",
            )
        })
    })
}

fn vars(run: &Run) -> Result<BTreeMap<String, String>, Problem> {
    run.vars
        .iter()
        .map(|one| match one.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => std::env::var(one).map(|value| (one.clone(), value)).map_err(|_| {
                Problem::new(
                    format!("variable `{}` is not set here", text::shown(one, 60)),
                    "--env NAME passes the caller's own value on",
                    format!("--env {}=VALUE", text::shown(one, 60)),
                )
            }),
        })
        .collect()
}
