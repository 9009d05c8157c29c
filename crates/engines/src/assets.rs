//! The start-up files of the engines, made anew inside each run below [`paths::ENGINE`].

use std::borrow::Cow;

use stockade_core::paths::{self, InsidePath};
use stockade_core::request::MadeFile;

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../assets/", $name)).as_slice())),*]
    };
}

/// Start-up of every Python program.
pub(crate) const SITE: &str = "site/sitecustomize";
/// What tells the launcher; most runs in an environment end with it.
pub(crate) const RESULT: &str = "lib/stockade_result";
/// What is compiled once for each interpreter, see [`crate::interpreter`].
pub(crate) const COMPILED: [(&str, &str); 2] = [
    (SITE, include_str!("../assets/site/sitecustomize.py")),
    (RESULT, include_str!("../assets/lib/stockade_result.py")),
];

const PYTHON: [(&str, &[u8]); 5] = assets![
    "site/sitecustomize.py",
    "lib/stockade_attempts.py",
    "lib/stockade_figures.py",
    "lib/stockade_rare.py",
    "lib/stockade_result.py"
];
const MAIN: [(&str, &[u8]); 4] =
    assets!["main.py", "lib/stockade_start.py", "lib/stockade_notebook.py", "lib/stockade_sql.py"];
const SESSION: [(&str, &[u8]); 4] =
    assets!["lib/stockade_execute.py", "lib/stockade_python.py", "lib/stockade_session.py", "lib/stockade_sql.py"];
const FUNCTION: [(&str, &[u8]); 1] = assets!["function.py"];
const WARM: [(&str, &[u8]); 1] = assets!["warm.py"];
const R: [(&str, &[u8]); 1] = assets!["main.R"];
/// The library is made by `build.rs`.
const R_SESSION: [(&str, &[u8]); 2] = [
    ("session.R", include_bytes!("../assets/session.R").as_slice()),
    ("libstockade_r.so", include_bytes!(concat!(env!("OUT_DIR"), "/libstockade_r.so")).as_slice()),
];

/// What every Python program needs.
pub(crate) fn python() -> impl Iterator<Item = MadeFile> {
    made(&PYTHON)
}

/// What notebooks and queries need besides.
pub(crate) fn main() -> impl Iterator<Item = MadeFile> {
    made(&MAIN)
}

/// What a session needs besides.
pub(crate) fn session() -> impl Iterator<Item = MadeFile> {
    made(&SESSION)
}

/// What a data function needs besides, with its description.
pub(crate) fn function(spec: Vec<u8>) -> impl Iterator<Item = MadeFile> {
    let target = InsidePath::fixed(paths::ENGINE).join("function.json").ok();
    made(&FUNCTION).chain(target.map(|target| MadeFile { target, contents: Cow::Owned(spec) }))
}

/// What a template of warm engines needs.
pub(crate) fn warm() -> impl Iterator<Item = MadeFile> {
    made(&WARM)
}

/// What R code needs.
pub(crate) fn r() -> Vec<MadeFile> {
    made(&R).collect()
}

/// What a session of R needs besides.
pub(crate) fn r_session() -> impl Iterator<Item = MadeFile> {
    made(&R_SESSION)
}

fn made(files: &[(&'static str, &'static [u8])]) -> impl Iterator<Item = MadeFile> {
    let engine = InsidePath::fixed(paths::ENGINE);
    files.iter().filter_map(move |(name, contents)| {
        Some(MadeFile { target: engine.join(name).ok()?, contents: Cow::Borrowed(contents) })
    })
}
