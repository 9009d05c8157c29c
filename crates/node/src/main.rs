//! `stockade-node`: the node, and with an internal argument its launcher.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stockade_node::refusal::Refusal;
use stockade_node::settings::{Arguments, Command};
use stockade_node::{install, start, status};

/// The exit status of a node that is refused or fails.
const REFUSED: u8 = 125;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refused) => {
            let shown = refused.print();
            return if refused.use_stderr() || shown.is_err() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    match &arguments.command {
        Command::Start(_) | Command::InternalLauncher(_) => log(),
        Command::Status(_) | Command::Install(_) => {}
    }
    let done = match arguments.command {
        Command::Start(asked) => start::start(&asked),
        Command::Status(asked) => status::status(&asked),
        Command::Install(asked) => install::install(&asked),
        Command::InternalLauncher(asked) => start::launcher(asked),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            say(&refusal);
            ExitCode::from(REFUSED)
        }
    }
}

/// Lines of JSON on standard error; `STOCKADE_LOG` says how much of what.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STOCKADE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn say(refusal: &Refusal) {
    // Nobody may be there to read it.
    drop(writeln!(std::io::stderr(), "error: {refusal}"));
}
