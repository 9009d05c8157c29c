//! `stockade env`: one module for each thing that can be done about environments.

mod archive;
mod audit;
mod build;
mod list;
mod sbom;
mod show;
mod tidy;
mod time;
mod trust;
mod verify;

use std::process::ExitCode;

pub(crate) use time::seconds;

use crate::args::{Env, Trust};
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
        Env::Export(arguments) => archive::export(arguments),
        Env::Import(arguments) => archive::import(arguments),
        Env::Sbom(arguments) => sbom::sbom(&arguments.environment),
        Env::Audit(arguments) => audit::audit(arguments),
        Env::Trust(command) => trust::trust(command),
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
        Env::Export(arguments) => arguments.json,
        Env::Import(arguments) => arguments.json,
        Env::Audit(arguments) => arguments.json,
        Env::Trust(Trust::Add(arguments)) => arguments.json,
        Env::Trust(Trust::List(arguments)) => arguments.json,
        Env::Trust(Trust::Check(arguments)) => arguments.json,
        Env::Trust(Trust::Remove(_) | Trust::Key) => false,
        // The document of `sbom` is its only form, and a refusal is for who called it.
        Env::Rm(_) | Env::Sbom(_) => false,
    }
}
