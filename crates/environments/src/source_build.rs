//! Builds a source distribution that the caller named: its build is code of strangers, so it runs
//! in a jail without network, sees nothing but the source and its build tools, and only a wheel
//! of the expected name comes out. The build tools are an environment of wheels like any other.

use std::fs;
use std::path::Path;

use pep508_rs::PackageName;
use pep508_rs::pep440_rs::Version;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

use crate::build::Limits;
use crate::denied::Denied;
use crate::digest;
use crate::environment::Environment;
use crate::error::{self, Detail, Error};
use crate::inside;
use crate::lock::{Built, Wheel};
use crate::quote::quote;
use crate::request::Request;
use crate::step::{self, Bench, Step};
use crate::store::Store;
use crate::tree;
use crate::wheel_name::is_wheel_of;
use crate::wheels;

/// What projects that name no tools are built with.
const DEFAULT_TOOLS: &str = "setuptools,wheel";

/// A source distribution that is in the store, and what it claims to be.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Version,
    pub(crate) file: Wheel,
}

/// What a source distribution was built into.
#[derive(Serialize, Deserialize)]
struct Remembered {
    file: String,
    sha256: String,
    /// What its build asked for and did not get: told again whenever the wheel is used.
    #[serde(default)]
    denied: Vec<Denied>,
}

/// The request for the tools that build a source distribution.
pub(crate) fn tools(bench: &mut Bench<'_>, store: &Store, source: &Source<'_>) -> Result<Request, Error> {
    let script = ("build_system.py", inside::BUILD_SYSTEM_SCRIPT);
    let (shown, output) = (inside::input(&source.file.file), format!("{}/pyproject.toml", inside::JOB));
    let outputs = bench.run(Step {
        shown: vec![shown_source(store, source)],
        failed: (Error::Install, "the source distribution cannot be read", NEXT),
        ..Step::of_script("build-system", script, &[&shown, &output], bench.interpreter)
    })?;
    tools_of(&tree::read_bounded(&outputs.join("pyproject.toml"), 1 << 20)?, source)
}

/// The tools that the text of a `pyproject.toml` asks for.
fn tools_of(text: &str, source: &Source<'_>) -> Result<Request, Error> {
    let table: toml::Table = toml::from_str(text).map_err(|_| failed(source, "its `pyproject.toml` is not TOML"))?;
    let requires = table.get("build-system").and_then(|system| system.get("requires"));
    let mut request = Request::new();
    for text in requires.and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str) {
        request.build_tool(text, source.name)?;
    }
    // One that builds itself and needs nothing is no worse off with them.
    if request.is_empty() {
        request.with(DEFAULT_TOOLS)?;
    }
    Ok(request)
}

/// The wheel of a source distribution: built now, or before with the same tools.
pub(crate) fn build(
    bench: &mut Bench<'_>,
    store: &Store,
    source: Source<'_>,
    tools: &Environment,
    uv: &Path,
) -> Result<Built, Error> {
    let interpreter = bench.interpreter;
    let key = digest::of_text(&format!(
        "{} {} {} {} {} {}",
        source.file.sha256,
        tools.digest,
        interpreter.inside_executable,
        interpreter.version,
        interpreter.abi,
        interpreter.platform
    ));
    if let Some((wheel, denied)) = recall(store, &key, &source) {
        bench.note_denied(denied);
        return Ok(Built { wheel, source: source.file });
    }
    bench.progress.step(&format!("building {} {} from source", source.name, source.version));
    let before = bench.denied.len();
    let outputs = bench.run(build_step(store, &source, tools, uv, bench.limits))?;
    let denied = bench.denied.get(before..).unwrap_or_default().to_vec();
    let wheel = keep_wheel(store, &source, &outputs.join("wheels"))?;
    let known = Remembered { file: wheel.file.clone(), sha256: wheel.sha256.clone(), denied };
    let text = serde_json::to_string(&known).unwrap_or_default();
    store.write_whole(&bench.folder, &store.built(&key), &text)?;
    Ok(Built { wheel, source: source.file })
}

fn build_step(store: &Store, source: &Source<'_>, tools: &Environment, uv: &Path, limits: Limits) -> Step {
    let python = format!("{}/bin/python", inside::ENVIRONMENT);
    let (input, output) = (inside::input(&source.file.file), format!("{}/wheels", inside::JOB));
    let argv = [
        inside::UV,
        "build",
        "--wheel",
        &input,
        "--out-dir",
        &output,
        "--python",
        &python,
        "--no-build-isolation",
        "--offline",
        "--no-config",
        "--no-python-downloads",
        "--cache-dir",
        inside::UV_CACHE,
    ];
    Step {
        name: "build-source",
        by: format!("the build of {} {}", source.name, source.version),
        argv: argv.map(str::to_owned).to_vec(),
        inputs: Vec::new(),
        shown: vec![
            shown_source(store, source),
            step::shown(uv, inside::UV),
            step::shown(&tools.folder, inside::ENVIRONMENT),
        ],
        hosts: std::collections::BTreeSet::new(),
        time_ms_max: limits.time_ms_max,
        scratch_bytes_max: limits.scratch_bytes_max,
        failed: (Error::Install, "the source distribution could not be built", NEXT),
        failed_with: None,
    }
}

const NEXT: &str = "choose a version that has a wheel; builds have no network and no compiler but the interpreter's";

fn shown_source(store: &Store, source: &Source<'_>) -> crate::jail::Shown {
    let place = store.wheel(&source.file.sha256, &source.file.file);
    step::shown(&place, inside::input(&source.file.file))
}

/// Takes the one wheel that a build left, if it is of the package that was asked for.
fn keep_wheel(store: &Store, source: &Source<'_>, folder: &Path) -> Result<Wheel, Error> {
    let entries = tree::walk(folder)?;
    let mut files = entries.iter().map(|entry| entry.path.as_str()).filter(|path| path.ends_with(".whl"));
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(failed(source, "its build left no wheel, or several"));
    };
    if !is_of(file, source) {
        return Err(failed(source, &format!("its build left {}, which is of something else", quote(file))));
    }
    let path = folder.join(file);
    let (sha256, size) = digest::of_file(&path).map_err(|e| error::store("read", &path, &e))?;
    let wheel = Wheel { url: String::new(), file: file.to_owned(), sha256, size: Some(size) };
    if !wheels::is_stored(store, &wheel) {
        wheels::keep(store, &wheel, &path)?;
    }
    Ok(wheel)
}

fn is_of(file: &str, source: &Source<'_>) -> bool {
    PackageName::from_str(source.name).is_ok_and(|name| is_wheel_of(file, &name, &source.version))
}

fn recall(store: &Store, key: &str, source: &Source<'_>) -> Option<(Wheel, Vec<Denied>)> {
    let known: Remembered = serde_json::from_slice(&fs::read(store.built(key)).ok()?).ok()?;
    let wheel = Wheel { url: String::new(), file: known.file, sha256: known.sha256, size: None };
    (is_of(&wheel.file, source) && wheels::is_stored(store, &wheel)).then_some((wheel, known.denied))
}

fn failed(source: &Source<'_>, why: &str) -> Error {
    let what = format!("{} cannot be built from source", quote(&source.file.file));
    Error::Install(Detail::new(what, why, NEXT))
}

/// A package whose build was allowed has no source distribution that fits.
pub(crate) fn none_fits(name: &str) -> Error {
    Error::Resolve(Detail::new(
        format!("{} cannot be built from source", quote(name)),
        "the package index lists no source distribution with a hash that fits the request and this Python",
        "take `--allow-build` away, or ask for another version",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_that_names_no_tools_gets_the_usual_ones() {
        let file = Wheel { url: String::new(), file: "six-1.0.tar.gz".into(), sha256: "a".repeat(64), size: None };
        let source = Source { name: "six", version: Version::from_str("1.0").unwrap(), file };
        for text in ["", "[build-system]", "[build-system]\nrequires = []\nbuild-backend = 'own'\nbackend-path = ['.']"]
        {
            assert_eq!(tools_of(text, &source).unwrap().text(), "setuptools\nwheel\n", "{text}");
        }
        assert_eq!(tools_of("[build-system]\nrequires = ['Flit_core>=3']", &source).unwrap().text(), "flit-core>=3\n");
        assert!(tools_of("[build-system]\nrequires = ['x @ file:///etc']", &source).is_err());
        assert!(tools_of("[", &source).is_err());
    }
}
