//! Tasks of the repository: `cargo xtask check` runs what CI runs.

mod bench;
mod check;
mod fuzz;
mod openapi;
mod tidy;
mod tools;
mod warm;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK

  check      install what the tests need, then run every check
  setup      install what the tests need, and nothing else
  fuzz [TARGET [SECONDS]]
             try what parses bytes of strangers with such as reach ever more of its code; each target 60 s if left out
  tidy       look at the repository itself: banned names, sizes, the trusted base
  bench      build for release and time Stockade beside its peers; prints ratios
  bench environments [start|import|cached|cold]
             the same of environments, beside plain uv and the package index of this machine
  bench access
             how long it takes to decide what a caller may do, to check a token and to look up a host, beside what is
             allowed
  bench audit
             records a second that are on the disk, with one wait for it each and with one for all that wait; a million
             records verified
  bench tables
              tables to code on a node of this machine, by descriptor beside by stream
  bench engines
              the same of warm engines, beside bare forks of their template
  bench node
              the same of runs of the node that warm engines have, and of re-execution in sessions: within it, and
              over HTTP, beside a Jupyter kernel; what of a run goes into who asks, and into records
  openapi    make requests of the node's own OpenAPI document, and hold its answers against it
  kills [ROUNDS]
             kill each part of a node so many times under load (38 make 456 in all), and look at what is left
  warm-library
              build the library that templates of warm engines load
";

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    let done = match task.as_str() {
        "check" => check::check(),
        "setup" => tools::setup(),
        "openapi" => openapi::openapi(),
        "kills" => check::kills(std::env::args().nth(2).as_deref().unwrap_or("38")),
        "fuzz" => fuzz::fuzz(std::env::args().nth(2).as_deref(), std::env::args().nth(3).as_deref()),
        "tidy" => tidy::tidy(),
        "bench" if std::env::args().nth(2).as_deref() == Some("engines") => warm::bench(),
        "bench" if std::env::args().nth(2).as_deref() == Some("node") => warm::bench_of_node(),
        "warm-library" => warm::library(),
        "bench" => {
            let words: Vec<String> = std::env::args().skip(2).take(2).collect();
            bench::bench(words.first().map(String::as_str), words.get(1).map(String::as_str))
        }
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
