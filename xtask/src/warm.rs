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

/// Runs of the node by warm engines, beside bare forks: of plain Python, and of what is installed of these.
pub(crate) fn bench_of_node() -> Done {
    library()?;
    let build = ["cargo", "build", "--release", "--quiet", "--package", "stockade", "--package", "stockade-node"];
    tools::run(&[&build, ["--example", "warm", "--example", "session", "--bins"].as_slice()].concat())?;
    let find = |name: &str, below: PathBuf| {
        let found = [below.join("x86_64-unknown-linux-gnu"), below.join("aarch64-unknown-linux-gnu"), below];
        found.into_iter().map(|folder| folder.join("release").join(name)).find(|path| path.is_file())
    };
    let missing = |name: &str| format!("{name} was built elsewhere");
    let library = find("libstockade_warm.so", folder()).ok_or_else(|| missing("the library"))?;
    let example = find("examples/warm", tools::target()).ok_or_else(|| missing("the example"))?;
    let jupyter = jupyter()?;
    for module in ["", "numpy", "pandas"] {
        let mut command = Command::new(&example);
        command.args((!module.is_empty()).then_some(module)).env("STOCKADE_WARM_LIBRARY", &library);
        command.env("STOCKADE_BENCH_JUPYTER", &jupyter);
        say(&format!("$ warm {module}"));
        if !command.status().is_ok_and(|status| status.success()) {
            say(&format!(
                "not measured: this is not root, or {module} is not among the machine's own libraries (python3-pandas)"
            ));
        }
    }
    let example = find("examples/session", tools::target()).ok_or_else(|| missing("the example"))?;
    say("$ session sql");
    let status = Command::new(&example).arg("sql").env("STOCKADE_BENCH_JUPYTER", &jupyter).status();
    if status.is_ok_and(|status| status.success()) { Ok(()) } else { Err("sessions were not measured".to_owned()) }
}

/// The machine's Python with what a Jupyter kernel needs, and the libraries of the machine.
fn jupyter() -> Result<PathBuf, String> {
    let venv = ["/usr/bin/python3", "-m", "venv", "--clear", "--system-site-packages"];
    tools::environment("jupyter-environment", &venv, &["jupyter_client", "ipykernel"])
}

/// Warm engines beside bare forks of the same imports: of pandas, of numpy, of nothing.
pub(crate) fn bench() -> Done {
    library()?;
    let venv = ["python3", "-m", "venv", "--clear"];
    let python = tools::environment("warm-environment", &venv, &["pandas"])?;
    let shown = python.ancestors().nth(2).unwrap_or(&python).display().to_string();
    let example = ["cargo", "run", "--release", "--quiet", "--package", "stockade-engines", "--example", "warm", "--"];
    for modules in [["pandas"].as_slice(), ["numpy"].as_slice(), [].as_slice()] {
        tools::run(&[&example, [shown.as_str()].as_slice(), modules].concat())?;
    }
    Ok(())
}
