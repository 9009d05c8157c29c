//! The library that a template loads: it forks engines.

use std::path::PathBuf;

use crate::problem::Problem;

const NAME: &str = "libstockade_warm.so";
/// Where it lies, if not where it is installed: the operator's word.
const VAR: &str = "STOCKADE_WARM_LIBRARY";
/// It is some hundred KiB.
const BYTES_MAX: u64 = 64 << 20;

/// Reads it.
pub(super) fn read() -> Result<Vec<u8>, Problem> {
    let place = place().ok_or_else(|| missing("it is neither beside this program nor in ../lib/stockade"))?;
    match std::fs::metadata(&place) {
        Ok(found) if found.is_file() && found.len() <= BYTES_MAX => {
            std::fs::read(&place).map_err(|error| missing(&error.to_string()))
        }
        Ok(_) => Err(missing("what has its name is no library")),
        Err(error) => Err(missing(&error.to_string())),
    }
}

fn place() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VAR) {
        return Some(named.into());
    }
    let program = std::env::current_exe().ok()?;
    let beside = program.with_file_name(NAME);
    let installed = program.parent()?.parent()?.join("lib/stockade").join(NAME);
    [beside, installed].into_iter().find(|place| place.is_file())
}

fn missing(why: &str) -> Problem {
    Problem::new(
        format!("the library of warm engines, {NAME}, is not there"),
        why,
        format!("install it beside the program, or set {VAR}; the node runs without warm engines meanwhile"),
    )
}
