//! The `stockade` command: reads the command line, asks, shows. Decides nothing.

mod args;
mod ask;
mod audit;
mod code;
mod doctor;
mod env;
mod environment;
mod files;
mod flags;
mod function;
mod gate;
mod hints;
mod jail;
mod learn;
mod look;
mod machine;
mod manual;
mod network;
mod node;
mod outputs;
mod pipeline;
mod policy;
mod pool;
mod printer;
mod probe;
mod problem;
mod progress;
mod remote;
mod report;
mod run;
mod session;
mod staging;
mod supervised;
mod trail;
mod trust;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    if let Some(words) = node::words_of_epadmin(std::env::args_os()) {
        return node::called("admin", words).unwrap_or_else(|problem| printer::problem(&problem, false));
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => return printer::usage(&refused),
    };
    let json = if let Command::Env(command) = &arguments.command {
        env::wants_document(command)
    } else if let Command::Audit(command) = &arguments.command {
        command.wants_document()
    } else {
        matches!(&arguments.command, Command::Run(run) | Command::Plan(run) if run.wants_document())
    };
    let done = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Plan(run) => run::plan(&run),
        Command::Env(command) => env::env(&command),
        Command::Audit(command) => audit::audit(&command),
        Command::Node { words } => node::node(&words),
        Command::Admin { words } => node::called("admin", words),
        Command::Login { words } => node::called("login", words),
        Command::Logout { words } => node::called("logout", words),
        Command::Doctor(arguments) if arguments.node => node::doctor(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Explain(what) => policy::explain(&what),
        Command::Completions { shell } => Ok(manual::completions(shell)),
        Command::Man { command } => manual::page(command.as_deref()),
        Command::InternalProbe(probe) => {
            probe::run(&probe::Outside { pid: probe.pid, port: probe.port, namespaces: probe.namespaces });
            Ok(ExitCode::SUCCESS)
        }
        Command::InternalProbeMemory(_) => {
            probe::take_memory();
            Ok(ExitCode::SUCCESS)
        }
        Command::InternalProbeGate(_) => {
            probe::ask_gate();
            Ok(ExitCode::SUCCESS)
        }
        Command::InternalFilter => Ok(printer::filter()),
    };
    match done {
        Ok(status) => status,
        Err(problem) => printer::problem(&problem, json),
    }
}
