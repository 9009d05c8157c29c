//! R: scripts, by the machine's own `Rscript`.

use std::collections::BTreeMap;

use stockade_core::paths;
use stockade_core::request::{ResultDescriptor, Start};

use crate::assets;

/// What an R script of the working folder needs inside.
///
/// Our file runs as the user's profile and only sets up figures and reports; R then runs the
/// script itself, so that it sees exactly what plain `Rscript` gives.
#[must_use]
pub fn r(script: &str, arguments: Vec<String>) -> Start {
    let mut argv: Vec<String> = ["/usr/bin/Rscript", "--no-environ", "--no-site-file", "--no-save", "--no-restore"]
        .map(ToOwned::to_owned)
        .into();
    argv.push(script.to_owned());
    argv.extend(arguments);
    let profile = format!("{}/main.R", paths::ENGINE);
    let vars =
        BTreeMap::from([("STOCKADE_RESULT_FD".to_owned(), "3".to_owned()), ("R_PROFILE_USER".to_owned(), profile)]);
    Start { argv, vars, trees: Vec::new(), files: assets::r(), result: ResultDescriptor::Open }
}
