//! The one place that writes to the terminal.
#![expect(clippy::print_stderr, reason = "this is the one printer")]

use std::process::ExitCode;

use crate::problem::Problem;

/// The exit status of a command line that is refused (run.md).
const REFUSED: u8 = 125;

/// A document the user asked for, on standard output.
pub(crate) fn page(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that went away is no error: `stockade plan … | head`.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// A remark beside the code's own output, on standard error.
pub(crate) fn remark(text: &str) {
    eprintln!("{text}");
}

/// A refusal or failure, on standard error.
pub(crate) fn problem(problem: &Problem) -> ExitCode {
    eprintln!("{problem}");
    ExitCode::from(problem.status())
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
    problem(&Problem::new("the command line is refused", why, "see `stockade run --help`"))
}

/// Columns of the terminal; 100 where there is none.
pub(crate) fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 40)
        .unwrap_or(100)
}

/// The system-call filter of this architecture, as bytes; nothing where there is none.
pub(crate) fn filter() -> ExitCode {
    use std::io::Write;
    let profile = stockade_core::syscalls::Architecture::native().map(stockade_core::syscalls::Profile::builtin);
    let bytes = profile.map_or_else(Vec::new, |profile| stockade_launch::filter_bytes(&profile));
    if std::io::stdout().lock().write_all(&bytes).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
