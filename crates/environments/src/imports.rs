//! Which modules of an environment runs imported: `imports/<digest>`, a line each run. What a run says
//! is a claim of the code: bounded, and only modules that the environment has are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;

use serde::Serialize;

use crate::environment::Environment;
use crate::store::Store;

/// Modules of one run.
const MODULES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
/// The file begins anew when it is larger: what runs do now matters more.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A module worth importing ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Its name.
    pub module: String,
    /// How many of the last runs imported it.
    pub runs: usize,
}

/// Keeps what a run said it imported. A store that cannot be written costs the note, nothing else.
pub fn note<'a>(store: &Store, environment: &Environment, modules: impl IntoIterator<Item = &'a str>) {
    let known = Modules::of(environment);
    let names: BTreeSet<&str> = modules.into_iter().take(1_000).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| known.has(name)).take(MODULES_MAX).collect();
    if names.is_empty() {
        return;
    }
    let path = store.imports(&environment.digest);
    let too_large = fs::metadata(&path).is_ok_and(|about| about.len() > FILE_BYTES_MAX);
    let line = names.join(" ") + "\n";
    let mut options = File::options();
    let opened = options.create(true).append(!too_large).write(true).truncate(too_large).open(path);
    drop(opened.and_then(|mut file| file.write_all(line.as_bytes())));
}

/// The modules that the last runs imported, the most frequent first.
#[must_use]
pub fn imported(store: &Store, environment: &Environment) -> Vec<Imported> {
    let text = fs::read(store.imports(&environment.digest)).unwrap_or_default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let text = std::str::from_utf8(&text).unwrap_or_default();
    for name in text.lines().flat_map(|line| line.split(' ')).filter(|name| is_name(name)) {
        *counts.entry(name).or_default() += 1;
    }
    let known = Modules::of(environment);
    let found = counts.into_iter().filter(|(name, _)| known.has(name));
    let mut found: Vec<Imported> = found.map(|(name, runs)| Imported { module: name.to_owned(), runs }).collect();
    found.sort_by(|one, other| other.runs.cmp(&one.runs).then_with(|| one.module.cmp(&other.module)));
    found.truncate(MODULES_MAX);
    found
}

/// The top-level modules of an environment: names of folders, files and compiled ones.
struct Modules(BTreeSet<String>);

impl Modules {
    /// The folder is read once, however many names are asked for.
    fn of(environment: &Environment) -> Self {
        let python = environment.interpreter.folder_name().ok();
        let site = python.map(|python| environment.folder.join("lib").join(python).join("site-packages"));
        let listing = site.and_then(|site| fs::read_dir(site).ok()).into_iter().flatten().flatten();
        // `NAME.cpython-311-….so`, `NAME.abi3.so`, `NAME.py`: the name ends at the first point.
        let module = |item: fs::DirEntry| {
            let file = item.file_name().into_string().ok()?;
            let (name, end) = file.split_once('.').unwrap_or((&file, ""));
            (end.is_empty() || end == "py" || end.ends_with("so")).then(|| name.to_owned())
        };
        Self(listing.filter_map(module).collect())
    }

    fn has(&self, name: &str) -> bool {
        is_name(name) && self.0.contains(name)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::{published, store};

    #[test]
    fn only_what_the_environment_has_is_kept_and_the_file_stays_small() {
        let (_root, store) = store();
        let environment = published(&store, &"a".repeat(64));
        crate::tree::set_mode(&environment.folder.join("lib"), 0o755).unwrap();
        let site = environment.folder.join("lib/python3.11/site-packages");
        fs::create_dir_all(site.join("pandas")).unwrap();
        fs::write(site.join("six.py"), "").unwrap();
        fs::write(site.join("fast.abi3.so"), "").unwrap();
        note(&store, &environment, ["pandas", "six", "six", "json", "../six", "a b", "", "fast", "six\n"]);
        note(&store, &environment, ["six"]);
        note(&store, &environment, ["nothing"]);
        let found: Vec<(String, usize)> =
            imported(&store, &environment).into_iter().map(|one| (one.module, one.runs)).collect();
        assert_eq!(found, [("six".into(), 2), ("fast".into(), 1), ("pandas".into(), 1)]);
        for _ in 0..10_000 {
            note(&store, &environment, ["pandas"]);
        }
        assert!(fs::metadata(store.imports(&environment.digest)).unwrap().len() <= FILE_BYTES_MAX + 100);
    }
}
