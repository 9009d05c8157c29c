//! The `stockade` command: reads the command line, asks, shows. Decides nothing.

mod args;
mod ask;
mod code;
mod environment;
mod files;
mod hints;
mod jail;
mod learn;
mod outputs;
mod pipeline;
mod printer;
mod problem;
mod report;
mod run;
mod staging;
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
        Command::InternalRelay { hosts } => jail::relay(&hosts).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(status) => status,
        Err(problem) => printer::problem(&problem),
    }
}
