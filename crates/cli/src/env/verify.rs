//! `stockade env verify`.

use std::process::ExitCode;

use stockade_core::text;
use stockade_environments::{Verified, verify as check};

use crate::args::Verify;
use crate::environment::{self, short};
use crate::printer;
use crate::problem::Problem;

/// Lines of one environment that people are shown.
const SHOWN: usize = 50;

/// Hashes every file again; status 1 when something is wrong.
pub(crate) fn verify(arguments: &Verify) -> Result<ExitCode, Problem> {
    let store = environment::store();
    let digests = if arguments.all {
        store.digests()
    } else {
        let found: Result<_, _> = arguments.environments.iter().map(|reference| store.digest(reference)).collect();
        found?
    };
    let found: Vec<Verified> = digests.iter().map(|digest| check(&store, digest)).collect::<Result<_, _>>()?;
    printer::page(&if arguments.json { printer::document(&found) + "\n" } else { found.iter().map(lines).collect() });
    let all_well = found.iter().all(|verified| verified.wrong.is_empty());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn lines(verified: &Verified) -> String {
    let (digest, files) = (short(&verified.digest), text::count(verified.files, "file", "files"));
    if verified.wrong.is_empty() {
        return format!("{digest}: {files}, all as they were built\n");
    }
    let things = text::count(verified.wrong.len(), "thing is", "things are");
    let mut lines = format!("{digest}: {things} not as built\n");
    for wrong in verified.wrong.iter().take(SHOWN) {
        let path = if wrong.path.is_empty() { "the environment".to_owned() } else { text::quoted(&wrong.path, 400) };
        lines += &format!("  {path} {}\n", text::shown(&wrong.what, 300));
    }
    if let Some(more) = verified.wrong.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines += &format!("  {more} more (--json lists them)\n");
    }
    lines
        + &format!(
            "  next: do not use it; take its names away, `stockade env rm {digest}`, build it again, and find out who writes there\n"
        )
}
