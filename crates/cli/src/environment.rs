//! The packages of a run: found in the store, or built in the jail with progress on the terminal.

use stockade_engines::Interpreter;
use stockade_environments::{Builder, Environment, Limits, Machine, Progress, Request, Store};

use crate::args::Run;
use crate::code::{Code, Engine};
use crate::jail::BuildJail;
use crate::pipeline::Services;
use crate::problem::Problem;

/// What the command line and the script ask for together; empty when they ask for nothing.
pub(crate) fn asked(run: &Run, code: &Code) -> Result<Request, Problem> {
    let mut request = Request::new();
    for list in &run.with {
        request.with(list)?;
    }
    for file in &run.requirements {
        request.requirements_file(file)?;
    }
    for package in &run.allow_build {
        request.allow_build(package)?;
    }
    if matches!(code.engine, Engine::Script(_)) {
        request.script(&code.bytes, &code.label)?;
    }
    // What executes notebooks and queries comes from an environment like any other package.
    match code.engine {
        Engine::Notebook(_) => request.with("nbclient,ipykernel")?,
        Engine::Sql(_) => request.with("duckdb")?,
        Engine::Script(_) | Engine::Inline(_) | Engine::Stdin | Engine::R(_) | Engine::Program(_) => {}
    }
    Ok(request)
}

/// The environment of a request, built first if there is none.
pub(crate) fn find_or_build(
    request: &Request,
    interpreter: &Interpreter,
    services: &mut Services,
    quiet: bool,
) -> Result<Environment, Problem> {
    let machine = Machine::of_this_process();
    let store = Store::at(&crate::files::cache().join("environments"));
    let wanted = stockade_environments::Interpreter {
        inside_executable: interpreter.inside_executable(),
        version: interpreter.version.clone(),
        abi: interpreter.abi.clone(),
        platform: interpreter.platform.clone(),
    };
    if let Some(found) = stockade_environments::find(request, &wanted, &machine, &store)? {
        return Ok(found);
    }
    let mut jail = BuildJail { interpreter, services };
    let mut progress = Shown::new(quiet);
    let mut builder = Builder {
        store: &store,
        interpreter: &wanted,
        machine: &machine,
        limits: Limits::default(),
        jail: &mut jail,
        progress: &mut progress,
    };
    let built = builder.find_or_build(request);
    progress.finish();
    Ok(built?)
}

/// Progress on a terminal; a line for each stage elsewhere.
#[derive(Debug)]
struct Shown {
    bar: Option<indicatif::ProgressBar>,
    quiet: bool,
}

impl Shown {
    fn new(quiet: bool) -> Self {
        use std::io::IsTerminal;
        // No ticking thread: a process with two threads makes no sandbox.
        let bar = (!quiet && std::io::stderr().is_terminal()).then(indicatif::ProgressBar::no_length);
        Self { bar, quiet }
    }

    fn style(&self, template: &str) {
        if let (Some(bar), Ok(style)) = (&self.bar, indicatif::ProgressStyle::with_template(template)) {
            bar.set_style(style);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn step(&mut self, what: &str) {
        let what = stockade_core::text::shown(what, 200);
        self.style("{spinner} {msg}");
        match &self.bar {
            Some(bar) => {
                bar.set_position(0);
                bar.set_message(what);
            }
            None if !self.quiet => crate::printer::remark(&format!("stockade: {what}")),
            None => {}
        }
    }

    fn bytes(&mut self, done: u64, total: u64) {
        self.style("{spinner} {msg} {wide_bar} {bytes}/{total_bytes}");
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}
