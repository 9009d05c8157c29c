//! Warm engines: the library that a template loads, and their benchmark.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{self, Done, say};

/// Where the library is built, apart from everything else, whose C library is linked in.
fn folder() -> PathBuf {
    tools::target().join("library")
}

/// Builds the shared library that templates load.
pub(crate) fn library() -> Done {
    let words = "rustc --release --quiet --package stockade-warm --lib --crate-type cdylib".split(' ');
    say("$ cargo rustc --package stockade-warm --crate-type cdylib");
    let status = Command::new("cargo")
        .args(words)
        .arg("--target-dir")
        .arg(folder())
        .env("RUSTFLAGS", "-C target-feature=-crt-static")
        .current_dir(tools::top())
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err("the library of warm engines could not be built".to_owned()) }
}

/// Warm engines beside bare forks of the same imports: of pandas, of numpy, of nothing.
pub(crate) fn bench() -> Done {
    library()?;
    let environment = tools::target().join("warm-environment");
    let shown = environment.display().to_string();
    if !environment.join("done").exists() {
        tools::run(&["python3", "-m", "venv", "--clear", &shown])?;
        let python = environment.join("bin/python").display().to_string();
        tools::run(&[&python, "-m", "pip", "install", "--quiet", "pandas"])?;
        std::fs::write(environment.join("done"), "").map_err(|error| error.to_string())?;
    }
    let example = ["cargo", "run", "--release", "--quiet", "--package", "stockade-engines", "--example", "warm", "--"];
    for modules in [["pandas"].as_slice(), ["numpy"].as_slice(), [].as_slice()] {
        tools::run(&[&example, [shown.as_str()].as_slice(), modules].concat())?;
    }
    Ok(())
}
