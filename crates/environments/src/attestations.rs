//! Whether an index says that it has attestations (PEP 740) of a package file: noted beside the file when it
//! is fetched, for the bill of materials. It is what the index says; nothing is verified, and nothing is
//! decided by it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::lock::{Locked, Wheel};
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
            let word = if *is_attested { PUBLISHED } else { NOT_PUBLISHED };
            drop(fs::write(store.attested(&wheel.sha256), word));
        }
    }
}

const PUBLISHED: &str = "published, not verified";
const NOT_PUBLISHED: &str = "not published";

/// What is known of the files of a package.
pub(crate) fn of(store: &Store, package: &Locked) -> &'static str {
    let word = |file: &Wheel| fs::read_to_string(store.attested(&file.sha256)).unwrap_or_default();
    let words: Vec<String> = package.origins().iter().map(word).collect();
    let all = |expected: &str| !words.is_empty() && words.iter().all(|word| word == expected);
    if all(PUBLISHED) {
        PUBLISHED
    } else if all(NOT_PUBLISHED) {
        NOT_PUBLISHED
    } else if words.iter().any(|word| word == PUBLISHED) {
        "published for some files, not verified"
    } else {
        "unknown"
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
