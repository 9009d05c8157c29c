//! Installs the verified files in a jail without any network, and compiles them to bytecode.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::inside;
use crate::lock::Lock;
use crate::step::{self, Bench, Step};

/// Compiling stops after this long; what is left is compiled by nobody, and works.
const COMPILE_SECONDS: &str = "120";

/// The folder with the installed prefix: `lib`, `bin` and what else packages bring.
pub(crate) fn install(
    bench: &mut Bench<'_>,
    lock: &Lock,
    wheels: &Path,
    uv: &Path,
    limits: (u64, u64),
) -> Result<PathBuf, Error> {
    let (time_ms_max, scratch_bytes_max) = limits;
    bench.progress.step(&format!("installing {} packages", lock.packages().count()));
    let prefix = format!("{}/prefix", inside::JOB);
    let command = command(&bench.interpreter.inside_executable, &prefix);
    let fixed = [COMPILE_SECONDS, prefix.as_str(), inside::ENVIRONMENT];
    let arguments: Vec<&str> = fixed.into_iter().chain(command.iter().map(String::as_str)).collect();
    let script = ("install.py", inside::INSTALL_SCRIPT);
    let outputs = bench.run(Step {
        inputs: vec![("install.py", script.1.to_owned()), ("requirements.txt", lock.requirements())],
        shown: vec![step::shown(uv, inside::UV), step::shown(wheels, inside::WHEELS)],
        time_ms_max,
        scratch_bytes_max,
        failed: (
            Error::Install,
            "the packages could not be installed",
            "leave out the package that is named, or choose another version",
        ),
        ..Step::of_script("install", script, &arguments, bench.interpreter)
    })?;
    Ok(outputs.join("prefix"))
}

/// A prefix and not a target folder: data files and scripts land where a virtual environment has
/// them, and cannot mix with modules.
fn command(executable: &str, prefix: &str) -> Vec<String> {
    [
        inside::UV,
        "pip",
        "install",
        "--requirements",
        &inside::input("requirements.txt"),
        "--require-hashes",
        "--no-deps",
        "--no-index",
        "--find-links",
        inside::WHEELS,
        "--offline",
        "--only-binary",
        ":all:",
        "--no-config",
        "--no-python-downloads",
        "--link-mode",
        "copy",
        "--cache-dir",
        inside::UV_CACHE,
        "--python",
        executable,
        "--prefix",
        prefix,
        "--quiet",
    ]
    .map(str::to_owned)
    .to_vec()
}
