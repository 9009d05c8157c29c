//! `stockade-node`: the node, and with an internal argument its launcher.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stockade_node::log::Log;
use stockade_node::refusal::Refusal;
use stockade_node::settings::{Arguments, Command, SupportBundle};
use stockade_node::{admin, bundle, doctor, install, properties, start, status, tls};

/// Why a command line cannot be read.
enum Unread {
    Words(clap::Error),
    Properties(Refusal),
}

/// The exit status of a node that is refused or fails.
const REFUSED: u8 = 125;

fn main() -> ExitCode {
    let arguments = match parse(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(Unread::Words(refused)) => return unread(&refused),
        Err(Unread::Properties(refusal)) => {
            say(&refusal);
            return ExitCode::from(REFUSED);
        }
    };
    let done = match arguments.command {
        Command::Start(asked) => Log::begin(asked.log_level.as_deref()).and_then(|log| start::start(&asked, log)),
        Command::Status(asked) => status::status(&asked),
        Command::Log(asked) => admin::log(&asked),
        Command::Doctor(asked) => return doctor::doctor(&asked),
        Command::Admin { words } => match admin::admin(&words) {
            admin::Work::Done(status) => return status,
            admin::Work::Bundle(flags) => {
                let program = "stockade admin support-bundle".to_owned();
                match SupportBundle::try_parse_from(std::iter::once(program).chain(flags)) {
                    Ok(asked) => bundle::bundle(&asked),
                    Err(refused) => return unread(&refused),
                }
            }
        },
        Command::Certificate(asked) => tls::first(&asked),
        Command::Login(asked) => admin::login(&asked),
        Command::Logout(asked) => admin::logout(&asked),
        Command::Install(asked) => install::install(&asked),
        Command::InternalAsk { socket, path } => bundle::ask(&socket, &path),
        Command::InternalLauncher(asked) => Log::begin(None).and_then(|_log| start::launcher(&asked)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            say(&refusal);
            ExitCode::from(REFUSED)
        }
    }
}

/// Flags that cannot be read, or their help.
fn unread(refused: &clap::Error) -> ExitCode {
    let shown = refused.print();
    if refused.use_stderr() || shown.is_err() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS }
}

/// The command line; what a file of properties says is read as a part of it.
fn parse(words: Vec<OsString>) -> Result<Arguments, Unread> {
    let arguments = Arguments::try_parse_from(&words).map_err(Unread::Words)?;
    let Command::Start(start) = &arguments.command else { return Ok(arguments) };
    let Some(file) = &start.properties else { return Ok(arguments) };
    let flags = properties::flags(file).map_err(Unread::Properties)?;
    Arguments::try_parse_from(properties::added(words, flags)).map_err(Unread::Words)
}

fn say(refusal: &Refusal) {
    // Nobody may be there to read it.
    drop(writeln!(std::io::stderr(), "error: {refusal}"));
}
