//! Tasks of the repository: `cargo xtask check` runs what CI runs.

mod bench;
mod check;
mod tidy;
mod tools;
mod warm;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK

  check      install what the tests need, then run every check
  setup      install what the tests need, and nothing else
  tidy       look at the repository itself: banned names, sizes, the trusted base
  bench      build for release and time Stockade beside its peers; prints ratios
  bench engines  the same for warm engines beside bare forks
  warm-library   build the library that templates of warm engines load
";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "check" => check::check(),
        "setup" => tools::setup(),
        "tidy" => tidy::tidy(),
        "bench" if std::env::args().nth(2).as_deref() == Some("engines") => warm::bench(),
        "bench" => bench::bench(),
        "warm-library" => warm::library(),
        _ => {
            tools::say(USAGE);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tools::say(&format!("xtask {task}: {why}"));
            ExitCode::FAILURE
        }
    }
}
