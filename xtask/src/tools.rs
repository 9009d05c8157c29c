//! Running other programs, and installing what the tests need.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a task came to: an error is a sentence.
pub(crate) type Done = Result<(), String>;

/// Prints one line.
pub(crate) fn say(line: &str) {
    // A reader that went away ends nothing.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// The top of the checkout.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}

/// A file that cargo built for this machine: `.cargo/config.toml` names the target, so cargo does in its paths.
pub(crate) fn built(path: &str) -> PathBuf {
    target().join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).join(path)
}

/// Runs a program in the checkout and shows what it prints.
pub(crate) fn run(words: &[&str]) -> Done {
    say(&format!("$ {}", words.join(" ")));
    let (program, arguments) = words.split_first().ok_or("nothing to run")?;
    let status = Command::new(program)
        .args(arguments)
        .current_dir(top())
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", words.join(" "))) }
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Debian packages the tests use, and the program that shows each is there.
const PACKAGES: [(&str, &str); 7] = [
    ("Rscript", "r-base-core"),
    ("gcc", "gcc"),
    ("python3", "python3"),
    ("bwrap", "bubblewrap"),
    ("unshare", "util-linux"),
    ("runsc", "runsc"),
    ("runc", "runc"),
];

/// Installs what the tests need, as far as it is missing.
pub(crate) fn setup() -> Done {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    // Environments of the ordinary test user are made with the system's interpreter.
    if !Path::new("/usr/bin/python3").exists() {
        missing.push("python3");
    }
    if !Path::new("/usr/lib/python3/dist-packages/pip").exists() && !Path::new("/usr/share/python-wheels").exists() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !has("apt-get") {
        return Err(format!("the tests need {}; install them, then run this again", missing.join(", ")));
    }
    run(&["apt-get", "update", "-q"])?;
    let mut words = vec!["apt-get", "install", "-y", "-q", "--no-install-recommends"];
    words.extend(missing);
    run(&words)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").stderr(Stdio::null()).output().is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}
