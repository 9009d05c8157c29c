//! Holds `docs/internals/attacks.md` to the sources: no empty cell, no test that does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names of test functions of a source file.
fn tests_of(path: &Path) -> BTreeSet<String> {
    let source = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = BTreeSet::new();
    let (mut is_test, mut is_list) = (false, false);
    for line in source.lines().map(str::trim) {
        // Tests of two kinds of engines are listed there, and a macro makes them.
        is_list = line == "of_both![" || (is_list && line != "];");
        if is_list {
            found.extend(line.split(',').map(|name| name.trim().to_owned()));
        } else if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
            if is_test {
                found.insert(rest.split('(').next().unwrap().to_owned());
            }
            is_test = false;
        } else if let Some(rest) = line.strip_prefix("const NAME: &str = \"") {
            // A test without a harness says its own name.
            found.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    found
}

/// Every `path::test` between backticks of a text, with the path as it is written.
fn named(text: &str) -> Vec<(String, String)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.split_once(".rs::"))
        .map(|(file, test)| (format!("{file}.rs"), test.to_owned()))
        .collect()
}

/// Paths are below the escape corpus, or below the repository.
fn find(file: &str) -> PathBuf {
    let here = root().join("crates/cli/tests/escape").join(file);
    if here.exists() { here } else { root().join(file) }
}

#[track_caller]
fn check(document: &str) -> usize {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let mut known: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    let named = named(&text);
    for (file, test) in &named {
        let path = find(file);
        let tests = known.entry(path.clone()).or_insert_with(|| tests_of(&path));
        assert!(tests.contains(test), "{document} names `{file}::{test}`, which is no test");
    }
    named.len()
}

#[test]
fn every_known_attack_has_a_wall_and_a_test_that_exists() {
    let text = std::fs::read_to_string(root().join("docs/internals/attacks.md")).unwrap();
    let mut rows = 0;
    let mut columns = 0;
    for line in text.lines() {
        if !line.starts_with('|') {
            columns = 0;
            continue;
        }
        // A pipe within a cell is written with a backslash.
        let line = line.replace("\\|", " ");
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if columns == 0 {
            columns = cells.len();
            continue;
        }
        assert_eq!(cells.len(), columns, "{line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        if cells.iter().all(|cell| cell.chars().all(|one| "-: ".contains(one))) {
            continue;
        }
        rows += 1;
        assert!(!named(cells.last().unwrap()).is_empty(), "no test: {line}");
    }
    assert!(rows > 40, "only {rows} rows");
    assert!(check("docs/internals/attacks.md") >= rows);
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    assert!(check("SECURITY.md") > 20);
}

/// A test nobody lists guards something nobody knows of.
#[test]
fn every_test_of_the_corpus_is_in_the_table() {
    let text = std::fs::read_to_string(root().join("docs/internals/attacks.md")).unwrap();
    let listed: BTreeSet<String> = named(&text).into_iter().map(|(_, test)| test).collect();
    let entries = |folder| std::fs::read_dir(root().join(folder)).unwrap();
    for entry in entries("crates/cli/tests/escape").chain(entries("crates/cli/tests/network")) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("table.rs") {
            for test in tests_of(&path) {
                assert!(listed.contains(&test), "`{test}` of {} is not in docs/internals/attacks.md", path.display());
            }
        }
    }
}
