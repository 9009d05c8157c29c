//! What this crate may know of the machine: variables and where configuration files are.
//! Gathered once by the caller, so that tests need no process-wide state.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The machine as the caller found it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The variables of the caller; only the ones about indexes, certificates, `HOME` and `PATH` are read.
    pub vars: BTreeMap<String, String>,
    /// The root of system configuration and certificates, `/` outside tests.
    pub root: PathBuf,
}

impl Machine {
    /// The machine this process runs on.
    #[must_use]
    pub fn of_this_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { vars, root: PathBuf::from("/") }
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How many seconds an index may stay silent in the middle of an answer: as uv is told it.
    pub(crate) fn patience_s(&self) -> u64 {
        const USUAL: u64 = 30;
        self.var("UV_HTTP_TIMEOUT").and_then(|text| text.parse().ok()).map_or(USUAL, |asked: u64| asked.clamp(1, 600))
    }

    /// How much memory could be taken now without anybody noticing, if the kernel says.
    pub(crate) fn memory_bytes_free(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The user's configuration folder.
    pub(crate) fn user_config(&self) -> Option<PathBuf> {
        self.var("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| self.var("HOME").map(|home| PathBuf::from(home).join(".config")))
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use super::Machine;

    /// A machine with these files and variables.
    pub(crate) fn machine(files: &[(&str, &str)], vars: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut machine = Machine { root: root.path().to_path_buf(), ..Machine::default() };
        machine.vars.insert("HOME".into(), root.path().join("home").to_string_lossy().into_owned());
        machine.vars.extend(vars.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        (root, machine)
    }
}
