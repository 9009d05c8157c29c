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

/// What clap says: help and version succeed, the rest is a refusal.
pub(crate) fn usage(refused: &clap::Error) -> ExitCode {
    let shown = refused.print();
    if refused.use_stderr() || shown.is_err() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS }
}
