//! Installs the verified files in a jail without any network, and compiles them to bytecode.
//!
//! A jail writes to memory. So each file is there once (uv unpacks wheels beside the prefix, links
//! them into it, and what it unpacked goes), and large environments are installed in pieces.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::denied::Denied;
use crate::error::Error;
use crate::inside;
use crate::lock::{Lock, Locked};
use crate::progress::counted;
use crate::quote::quote;
use crate::room::Load;
use crate::sizes;
use crate::step::{self, Bench, Step};
use crate::tree;

/// What installing came to.
pub(crate) struct Installed {
    /// The folder with `lib`, `bin` and what else packages bring.
    pub(crate) prefix: PathBuf,
    /// Modules of the standard library, as the jail tells them: good for a remark, for nothing else.
    pub(crate) standard: BTreeSet<String>,
    /// What steps of the build asked for and did not get.
    pub(crate) denied: Vec<Denied>,
    /// Whether it came in an archive and not from a package index.
    pub(crate) imported: bool,
}

/// Installs every package of the lock.
pub(crate) fn install(bench: &mut Bench<'_>, lock: &Lock, wheels: &Path, uv: &Path) -> Result<Installed, Error> {
    let sizes = sizes::of(bench, wheels)?;
    let loads = lock.locked().map(|package| {
        // Of several wheels one is installed.
        let bytes = package.wheels.iter().filter_map(|wheel| sizes.get(&wheel.file)).max();
        let name = format!("the package {}", quote(&package.name));
        Load { item: package, name, bytes: bytes.copied().unwrap_or(0) }
    });
    let prefix = bench.folder.join("prefix");
    tree::make_folder(&prefix)?;
    let mut standard = BTreeSet::new();
    for (scratch_bytes_max, packages) in bench.room.pieces(loads)? {
        let part = install_piece(bench, &packages, (wheels, uv), scratch_bytes_max)?;
        tree::merge(&part.join("prefix"), &prefix)?;
        let listed = tree::read_bounded(&part.join("stdlib"), 64 << 10)?;
        standard.extend(listed.lines().map(str::to_owned));
    }
    Ok(Installed { prefix, standard, denied: Vec::new(), imported: false })
}

fn install_piece(
    bench: &mut Bench<'_>,
    packages: &[&Locked],
    (wheels, uv): (&Path, &Path),
    scratch_bytes_max: u64,
) -> Result<PathBuf, Error> {
    bench.progress.step(&format!("installing {}", counted(packages.len(), "package")));
    let prefix = format!("{}/prefix", inside::JOB);
    let command = command(&bench.interpreter.inside_executable, &prefix);
    let fixed = [inside::COMPILE_SECONDS, prefix.as_str(), inside::ENVIRONMENT, inside::UNPACKED];
    let arguments: Vec<&str> = fixed.into_iter().chain(command.iter().map(String::as_str)).collect();
    let (script, requirements) = (("install.py", inside::INSTALL_SCRIPT), packages.iter().map(|p| p.requirement()));
    let outputs = bench.run(Step {
        inputs: vec![("install.py", script.1.to_owned()), ("requirements.txt", requirements.collect())],
        shown: vec![step::shown(uv, inside::UV), step::shown(wheels, inside::WHEELS)],
        time_ms_max: bench.limits.time_ms_max,
        scratch_bytes_max,
        failed: (
            Error::Install,
            "the packages could not be installed",
            "leave out the package that is named, or choose another version",
        ),
        ..Step::of_script("install", script, &arguments, bench.interpreter)
    })?;
    Ok(outputs)
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
        "hardlink",
        "--cache-dir",
        inside::UNPACKED,
        "--python",
        executable,
        "--prefix",
        prefix,
        "--quiet",
    ]
    .map(str::to_owned)
    .to_vec()
}
