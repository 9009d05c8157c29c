//! Completions and manual pages, made from the flags themselves.

use std::process::ExitCode;

use clap::CommandFactory;
use stockade_core::text;

use crate::args::Arguments;
use crate::printer;
use crate::problem::Problem;

/// Completions for a shell, on standard output.
pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut page = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "stockade", &mut page);
    printer::page(&String::from_utf8_lossy(&page));
    ExitCode::SUCCESS
}

/// A manual page, on standard output.
pub(crate) fn page(command: Option<&str>) -> Result<ExitCode, Problem> {
    let mut all = Arguments::command();
    all.build();
    let about = match command {
        None => all,
        Some(name) => all.find_subcommand(name).cloned().ok_or_else(|| {
            Problem::new(
                format!("there is no command `{}`", text::shown(name, 60)),
                "manual pages are of subcommands",
                "stockade --help lists them",
            )
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(about)
        .render(&mut page)
        .map_err(|error| Problem::new("cannot make the manual page", error.to_string(), "report it"))?;
    printer::page(&String::from_utf8_lossy(&page));
    Ok(ExitCode::SUCCESS)
}
