//! Where Stockade keeps its own files, in one place.

use std::path::PathBuf;

/// A folder from a variable of ours, else an XDG variable, else below HOME, else below `/var/tmp`.
fn folder(ours: &str, xdg: &str, below_home: &str) -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(path) = absolute(ours) {
        return path;
    }
    let base = absolute(xdg).or_else(|| absolute("HOME").map(|home| home.join(below_home)));
    base.unwrap_or_else(|| PathBuf::from(format!("/var/tmp/stockade-{}", rustix::process::geteuid().as_raw())))
        .join("stockade")
}

/// State that must last: the audit trail.
pub(crate) fn state() -> PathBuf {
    folder("STOCKADE_STATE_DIR", "XDG_STATE_HOME", ".local/state")
}

/// What can be made again: environments, tools, the interpreter cache.
pub(crate) fn cache() -> PathBuf {
    folder("STOCKADE_CACHE_DIR", "XDG_CACHE_HOME", ".cache")
}

/// What the caller decided: his trust list.
pub(crate) fn config() -> PathBuf {
    folder("STOCKADE_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
}
