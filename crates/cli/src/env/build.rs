//! `stockade env build`: the same way to an environment as that of a run, and a name for it.

use std::process::ExitCode;

use serde::Serialize;
use stockade_core::text;
use stockade_environments::{Denied, Environment, Name, Package, Progress};

use crate::args::Build;
use crate::environment::Versions;
use crate::pipeline::Services;
use crate::problem::Problem;
use crate::progress::{Events, Shown};
use crate::{environment, flags, printer};

/// Builds the environment if there is none that answers the request, and lets the name stand for it.
pub(crate) fn build(arguments: &Build) -> Result<ExitCode, Problem> {
    let name: Name = arguments.name.parse()?;
    flags::check_build(arguments)?;
    let (environment, remarks) = found(arguments)?;
    environment::store().set_name(&name, &environment)?;
    let built = Built::of(&name, &environment, &remarks);
    match (arguments.json, arguments.quiet) {
        (true, _) => printer::page(&(printer::document(&built) + "\n")),
        (false, true) => {}
        (false, false) => printer::page(&built.lines()),
    }
    Ok(ExitCode::SUCCESS)
}

fn found(arguments: &Build) -> Result<(Environment, Vec<String>), Problem> {
    let mut packages = arguments.packages.clone();
    packages.requirements.extend(arguments.file.clone());
    if let Some(request) = environment::asked_r(&packages)? {
        let mut progress = told(arguments);
        let environment = environment::find_or_build_r(&request, &mut Services::of_user(), &mut *progress)?;
        return Ok((environment, Vec::new()));
    }
    let interpreter = environment::interpreter(arguments.packages.python.as_deref())?;
    let request = environment::asked(&packages, &interpreter)?;
    let remarks = request.remarks().to_vec();
    if !arguments.quiet && !arguments.json {
        remarks.iter().for_each(|remark| printer::remark(&format!("stockade: {remark}")));
    }
    let mut progress = told(arguments);
    let environment = environment::find_or_build(&request, &interpreter, &mut Services::of_user(), &mut *progress)?;
    Ok((environment, remarks))
}

fn told(arguments: &Build) -> Box<dyn Progress> {
    if arguments.json { Box::new(Events) } else { Box::new(Shown::new(arguments.quiet)) }
}

/// What was built, for programs.
#[derive(Debug, Serialize)]
struct Built<'a> {
    name: String,
    digest: &'a str,
    #[serde(flatten)]
    versions: Versions,
    #[serde(skip)]
    runs_with: String,
    bytes: u64,
    packages: &'a [Package],
    dropped_startup: &'a [String],
    shadowed: &'a [String],
    denied: &'a [Denied],
    remarks: &'a [String],
}

impl<'a> Built<'a> {
    fn of(name: &Name, environment: &'a Environment, remarks: &'a [String]) -> Self {
        Self {
            name: name.to_string(),
            digest: &environment.digest,
            versions: Versions::of(&environment.interpreter),
            runs_with: environment::runs_with(&environment.interpreter),
            bytes: environment.bytes,
            packages: &environment.packages,
            dropped_startup: &environment.dropped_pth,
            shadowed: &environment.shadowed,
            denied: &environment.denied,
            remarks,
        }
    }

    /// For people.
    fn lines(&self) -> String {
        let packages = text::count(self.packages.len(), "package", "packages");
        let mut lines = format!(
            "{}: {}, {packages}, {}, {}\n",
            self.name,
            environment::short(self.digest),
            text::bytes(self.bytes),
            self.runs_with
        );
        for dropped in self.dropped_startup {
            lines += &format!(
                "  taken out, it would run before any code that is asked for: {}\n",
                text::quoted(dropped, 200)
            );
        }
        for shadowed in self.shadowed {
            lines += &format!("  never imported, the standard library has it too: {}\n", text::quoted(shadowed, 200));
        }
        if !self.denied.is_empty() {
            let things = text::count(self.denied.len(), "thing", "things");
            lines += &format!(
                "  its build asked for {things} and was denied: `stockade env show {}` lists them\n",
                self.name
            );
        }
        lines
    }
}
