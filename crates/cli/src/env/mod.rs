//! `stockade env`: one module for each thing that can be done about environments.

mod build;
mod list;
mod show;
mod tidy;
mod time;
mod verify;

use std::process::ExitCode;

use crate::args::Env;
use crate::problem::Problem;

/// Does what was asked about environments.
pub(crate) fn env(command: &Env) -> Result<ExitCode, Problem> {
    match command {
        Env::Build(arguments) => build::build(arguments),
        Env::List(arguments) => list::list(arguments.json),
        Env::Show(arguments) => show::show(&arguments.environment, arguments.json),
        Env::Diff(arguments) => show::diff(&arguments.from, &arguments.to, arguments.json),
        Env::Verify(arguments) => verify::verify(arguments),
        Env::Rm(arguments) => tidy::rm(&arguments.environments),
        Env::Gc(arguments) => tidy::gc(arguments),
    }
}

/// Whether a refusal is to be a document, too.
pub(crate) const fn wants_document(command: &Env) -> bool {
    match command {
        Env::Build(arguments) => arguments.json,
        Env::List(arguments) => arguments.json,
        Env::Show(arguments) => arguments.json,
        Env::Diff(arguments) => arguments.json,
        Env::Verify(arguments) => arguments.json,
        Env::Gc(arguments) => arguments.json,
        Env::Rm(_) => false,
    }
}
