//! Whether an index says that it has attestations (PEP 740) of a package file: noted beside the file when it
//! is fetched, for `env show` and the bill of materials. It is what the index says; nothing is verified, and nothing is
//! decided by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::Error;
use crate::lock::{Lock, Locked, Wheel};
use crate::store::Store;
use crate::tree;

const BYTES_MAX: u64 = 4 << 20;

/// Keeps what a step that fetched files was told; a note that cannot be kept is none.
pub(crate) fn note(store: &Store, wheels: &[&Wheel], outputs: &Path) {
    let path = outputs.join("attested.json");
    let text = tree::read_bounded(&path, BYTES_MAX).unwrap_or_default();
    let told: BTreeMap<String, bool> = serde_json::from_str(&text).unwrap_or_default();
    for wheel in wheels {
        if let Some(is_attested) = told.get(&wheel.sha256) {
            let word = if *is_attested { NOTED } else { NOTED_NONE };
            drop(fs::write(store.attested(&wheel.sha256), word));
        }
    }
}

/// What notes say.
const NOTED: &str = "published, not verified";
const NOTED_NONE: &str = "not published";
/// What people and programs are told: whose word it is, and that nobody held it against anything.
const PUBLISHED: &str = "published, says the index; not verified";
const SOME_PUBLISHED: &str = "published for some files, says the index; not verified";
const NOT_PUBLISHED: &str = "not published, says the index";
const UNKNOWN: &str = "unknown";

/// What is known of attestations of each package of an environment, by its normalised name: the word of the
/// index when the files were fetched here. Nothing was verified.
///
/// # Errors
/// When its lock is damaged.
pub fn attestations(store: &Store, environment: &Environment) -> Result<BTreeMap<String, &'static str>, Error> {
    let lock = Lock::read(&environment.folder)?;
    // Repositories of R have none.
    if lock.ecosystem() == Ecosystem::Cran {
        return Ok(BTreeMap::new());
    }
    // Nobody here saw the package files of an archive.
    let known = |package: &Locked| if environment.imported { UNKNOWN } else { of(store, package) };
    Ok(lock.locked().map(|package| (package.name.clone(), known(package))).collect())
}

fn of(store: &Store, package: &Locked) -> &'static str {
    let word = |file: &Wheel| fs::read_to_string(store.attested(&file.sha256)).unwrap_or_default();
    let words: Vec<String> = package.origins().iter().map(word).collect();
    let all = |expected: &str| !words.is_empty() && words.iter().all(|word| word == expected);
    if all(NOTED) {
        PUBLISHED
    } else if all(NOTED_NONE) {
        NOT_PUBLISHED
    } else if words.iter().any(|word| word == NOTED) {
        SOME_PUBLISHED
    } else {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::tests::lock_of_six;
    use crate::publish::tests::store;

    #[test]
    fn what_an_index_says_is_told_as_what_it_says() {
        let (root, store) = store();
        let lock = lock_of_six("files.invalid");
        let package = lock.locked().next().unwrap();
        let wheels: Vec<&Wheel> = lock.wheels().collect();
        fs::create_dir_all(store.attested(&wheels[0].sha256).parent().unwrap()).unwrap();
        for (told, known) in [
            ("{}", "unknown"),
            ("not JSON", "unknown"),
            ("{\"../../x\":true}", "unknown"),
            ("{HASH:true}", PUBLISHED),
            ("{HASH:false}", NOT_PUBLISHED),
            ("{HASH:\"published\"}", NOT_PUBLISHED),
        ] {
            let told = told.replace("HASH", &format!("\"{}\"", wheels[0].sha256));
            fs::write(root.path().join("attested.json"), told).unwrap();
            note(&store, &wheels, root.path());
            assert_eq!(of(&store, package), known);
        }
    }
}
