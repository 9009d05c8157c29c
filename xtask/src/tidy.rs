//! A look at the repository itself; every complaint says what to use instead.

use std::path::{Path, PathBuf};

use crate::tools::{Done, say, top};

/// What is banned in sources, and what to use.
const BANNED: [(&str, &str); 4] = [
    ("todo!(", "finish it, or return an error that says what is missing"),
    ("unimplemented!(", "finish it, or return an error that says what is missing"),
    ("#[allow(", "#[expect(…, reason = \"…\")]"),
    ("dbg!(", "nothing: remove it"),
];

/// The trusted base (STYLE section 1): counted, so that everybody sees it grow.
const TRUSTED: [(&str, &str); 2] = [("core", "crates/core/src"), ("launch", "crates/launch/src")];

pub(crate) fn tidy() -> Done {
    let top = top();
    let mut complaints = Vec::new();
    for folder in ["crates", "xtask/src"] {
        let files = rust_files(&top.join(folder));
        if files.is_empty() {
            // Built in a checkout that is gone, it would find nothing wrong with nothing.
            complaints
                .push(format!("{folder}: there is nothing to look at, touch xtask/src/main.rs and build it again"));
        }
        for file in files {
            complain(&top, &file, &mut complaints);
        }
    }
    for (name, folder) in TRUSTED {
        let lines: usize = rust_files(&top.join(folder)).iter().map(|file| code_lines(&read(file))).sum();
        say(&format!("trusted base: {name} has {lines} lines of code, tests and comments not counted"));
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

fn complain(top: &Path, file: &Path, complaints: &mut Vec<String>) {
    let text = read(file);
    let shown = file.strip_prefix(top).unwrap_or(file).display();
    if shown.to_string() == "xtask/src/tidy.rs" {
        return;
    }
    for (number, line) in (1..).zip(text.lines()) {
        for (banned, instead) in BANNED {
            if line.contains(banned) {
                complaints.push(format!("{shown}:{number}: {banned} is banned, use {instead}"));
            }
        }
        let is_unsafe = line.contains("unsafe {") || line.contains("unsafe fn");
        if is_unsafe && !shown.to_string().ends_with("sys.rs") {
            complaints.push(format!("{shown}:{number}: unsafe is banned here, use a function of sys.rs"));
        }
    }
    if !text.starts_with("//!") && !text.starts_with("#!") && !shown.to_string().contains("/tests/") {
        complaints.push(format!("{shown}:1: a file without a purpose is banned, use //! to say what it is for"));
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// Lines that are neither blank nor comment, up to the tests at the end of a file.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
