//! From a command line to the form that a node takes, or the refusal of what only a run here can have.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use stockade_core::text;

use crate::args::{Cgroup, Run, Tier};
use crate::code::{Code, Engine};
use crate::problem::Problem;

/// The form's type and its bytes.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// What a node's `RunRequest` is.
#[derive(Debug, Serialize)]
struct Asked<'a> {
    arguments: &'a [String],
    with: &'a [String],
    environment: Option<&'a str>,
    limits: BTreeMap<&'a str, &'a str>,
}

/// The whole form.
pub(super) fn form(run: &Run, code: &Code) -> Result<Form, Problem> {
    check(run)?;
    let (name, bytes) = script(code)?;
    let limits = run.limits.iter().map(|one| one.split_once('=').unwrap_or((one, ""))).collect();
    let asked =
        Asked { arguments: &code.arguments, with: &run.packages.with, environment: run.environment.as_deref(), limits };
    let request = serde_json::to_vec(&asked).map_err(|error| unsendable("request", &error))?;
    let mut parts = Parts::new()?;
    parts.add("request", None, &request);
    parts.add("script", Some(&name), &bytes);
    for input in &run.inputs {
        let (name, bytes) = self::input(input)?;
        parts.add("input", Some(&name), &bytes);
    }
    Ok(parts.done())
}

/// What a node decides by itself, or does not give.
fn check(run: &Run) -> Result<(), Problem> {
    let packages = &run.packages;
    let local = [
        (run.project.is_some(), "--project"),
        (!run.share.is_empty(), "--share"),
        (run.diff, "--diff"),
        (run.apply, "--apply"),
        (run.dry_run, "--dry-run"),
        (run.venv.is_some(), "--venv"),
        (!packages.requirements.is_empty(), "--requirements"),
        (!packages.allow_build.is_empty(), "--allow-build"),
        (!packages.extra.is_empty(), "--extra"),
        (packages.min_age.is_some(), "--min-age"),
        (packages.python.is_some(), "--python"),
        (!packages.r.is_empty(), "--r"),
        (!run.net.is_empty(), "--net"),
        (!run.secrets.is_empty(), "--secret"),
        (!run.policies.is_empty(), "--policy"),
        (run.scratch_dir.is_some(), "--scratch-dir"),
        (!run.require.is_empty(), "--require"),
        (run.tier != Tier::default(), "--tier"),
        (run.cgroup != Cgroup::default(), "--cgroup"),
        (!run.vars.is_empty(), "--env"),
        (run.learn.is_some(), "--learn"),
    ];
    match local.into_iter().find_map(|(is_given, option)| is_given.then_some(option)) {
        None => Ok(()),
        Some(option) => Err(Problem::new(
            format!("{option} cannot be had with --node"),
            "a node takes a script, its arguments, --in files, --with packages or an --environment, and limits",
            format!("leave out {option}, or leave out --node to run it here"),
        )),
    }
}

/// The script as a node takes it: a plain name, and bytes.
fn script(code: &Code) -> Result<(String, Vec<u8>), Problem> {
    let named = |path: &str| Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path).to_owned();
    match &code.engine {
        Engine::Script(path) | Engine::Notebook(path) | Engine::Sql(path) | Engine::R(path) => {
            let name = named(path);
            // Python without an ending is known by its first line here; a node knows names.
            let has_ending = Path::new(&name).extension().is_some();
            Ok((if has_ending { name } else { name + ".py" }, code.bytes.clone()))
        }
        Engine::Inline(text) => Ok(("main.py".to_owned(), text.clone().into_bytes())),
        Engine::Stdin => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
                .map_err(|error| unsendable("code from standard input", &error))?;
            Ok(("main.py".to_owned(), bytes))
        }
        Engine::Program(program) => Err(Problem::new(
            format!("the node cannot run `{}`", text::shown(program, 200)),
            "a node runs scripts, not programs of its machine",
            "give a script, or leave out --node to run it here",
        )),
        Engine::Function(_) => Err(Problem::new(
            "a data function is not sent to a node by this command yet",
            "it sends scripts",
            "leave out --node to run it here, or ask the node itself: POST /v1/data-functions",
        )),
        Engine::Session(_) | Engine::Warm => Err(Problem::new(
            "the node cannot run a session of this command",
            "it starts those that it is asked for",
            "POST /v1/sessions, as in the guide of sessions",
        )),
    }
}

/// One `--in PATH[=NAME]`.
fn input(given: &str) -> Result<(String, Vec<u8>), Problem> {
    let (path, name) = crate::staging::split_name(given);
    let name = name.map(ToOwned::to_owned).or_else(|| Some(path.file_name()?.to_str()?.to_owned()));
    let name = name.filter(|name| !name.contains('/')).ok_or_else(|| {
        Problem::new(
            format!("`{}` has no name for the node", text::shown(given, 200)),
            "inputs of a node lie beside the script, by plain names",
            "give it one: --in PATH=NAME",
        )
    })?;
    if path.is_dir() {
        return Err(Problem::new(
            format!("`{}` is a folder", text::shown(&path.to_string_lossy(), 200)),
            "a node takes files",
            "put it into one archive, or leave out --node to run it here",
        ));
    }
    let next = "look at the spelling; relative paths start at the current folder";
    let bytes = std::fs::read(&path).map_err(|error| Problem::path("read the input", &path, &error, next))?;
    Ok((name, bytes))
}

fn unsendable(what: &str, error: &impl std::fmt::Display) -> Problem {
    Problem::new(format!("the {what} cannot be sent"), error.to_string(), "look at it, and try again")
}

/// `multipart/form-data` (RFC 7578).
#[derive(Debug)]
struct Parts {
    boundary: String,
    body: Vec<u8>,
}

impl Parts {
    /// A boundary that nothing that is sent can hold but by guessing.
    fn new() -> Result<Self, Problem> {
        let mut bytes = [0_u8; 16];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| unsendable("request", &std::io::Error::from(errno)))?;
        Ok(Self { boundary: format!("stockade-{:032x}", u128::from_ne_bytes(bytes)), body: Vec::new() })
    }

    fn add(&mut self, name: &str, file: Option<&str>, bytes: &[u8]) {
        // As browsers escape names (HTML, "Multipart form data").
        let file = file.map(|file| file.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A"));
        let file = file.map_or_else(String::new, |file| format!("; filename=\"{file}\""));
        let head = format!("--{}\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n", self.boundary);
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(bytes);
        self.body.extend_from_slice(b"\r\n");
    }

    fn done(mut self) -> Form {
        self.body.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Form { content_type: format!("multipart/form-data; boundary={}", self.boundary), body: self.body }
    }
}
