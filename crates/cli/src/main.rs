//! The `stockade` command: reads the command line, asks, shows. Decides nothing.

mod args;
mod ask;
mod files;
mod printer;
mod problem;
mod report;
mod run;
mod trail;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => return printer::usage(&refused),
    };
    let done = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Plan(run) => run::plan(&run),
    };
    match done {
        Ok(status) => status,
        Err(problem) => printer::problem(&problem),
    }
}
