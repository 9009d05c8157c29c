//! The one place that writes to the terminal. A reader that went away is no error: `stockade plan … | head`.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::args::Typed;
use crate::problem::Problem;

/// The exit status of a command line that is refused (run.md).
const REFUSED: u8 = 125;

/// A document the user asked for, on standard output.
pub(crate) fn page(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Something longer than fits memory, on standard output, by who writes it. Here a reader that went away is an error, so
/// that the rest is not made.
pub(crate) fn stream<T>(write: impl FnOnce(&mut dyn Write) -> T) -> T {
    write(&mut std::io::BufWriter::new(std::io::stdout().lock()))
}

/// A remark beside the code's own output, on standard error.
pub(crate) fn remark(text: &str) {
    drop(std::io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

/// A refusal or failure, on standard error: for people, or as a document for programs.
pub(crate) fn problem(problem: &Problem, json: bool) -> ExitCode {
    remark(&if json { document(&problem.document()) } else { problem.to_string() });
    ExitCode::from(problem.status())
}

/// As JSON on one line.
pub(crate) fn document(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// What clap says: help and version succeed, the rest is a refusal, said as every other one.
pub(crate) fn usage(refused: &clap::Error) -> ExitCode {
    if !refused.use_stderr() || refused.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let shown = refused.print();
        return if refused.use_stderr() || shown.is_err() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS };
    }
    let text = refused.to_string();
    let said =
        text.split("\n\n").filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more information"));
    let why: Vec<&str> = said.flat_map(str::split_whitespace).collect();
    let why = stockade_core::text::shown(why.join(" ").trim_start_matches("error: "), 600);
    let typed = Typed::now();
    let next = format!("see `stockade {}--help`", typed.command.map_or_else(String::new, |name| name + " "));
    problem(&Problem::new("the command line is refused", why, next), typed.json)
}

/// Columns of the terminal that a stream is, if it is one.
pub(crate) fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 40)
}

/// The system-call filter of this architecture, as bytes; nothing where there is none.
pub(crate) fn filter() -> ExitCode {
    let profile = stockade_core::syscalls::Architecture::native().map(stockade_core::syscalls::Profile::builtin);
    let bytes = profile.map_or_else(Vec::new, |profile| stockade_launch::filter_bytes(&profile));
    if std::io::stdout().lock().write_all(&bytes).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
