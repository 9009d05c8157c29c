//! Holds an environment against what was built: every file is hashed again. Reads only; what it finds
//! is named, and it is for people to act. The one thing it changes: a shared copy that is not what its
//! name says is given to no further environment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::digest;
use crate::ecosystem::Ecosystem;
use crate::environment::COMPLETE;
use crate::error::Error;
use crate::in_use::InUse;
use crate::interpreter::Interpreter;
use crate::layout;
use crate::lock::Lock;
use crate::manifest::{self, Manifest};
use crate::record::{self, FILES, Files, RECORDED};
use crate::share;
use crate::store::Store;

/// What a check of one environment found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its digest.
    pub digest: String,
    /// Files that were hashed.
    pub files: usize,
    /// What is wrong, by path.
    pub wrong: Vec<Wrong>,
}

/// One thing that is not as it was built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Wrong {
    /// The file, below the environment; empty for the environment as a whole.
    pub path: String,
    /// What is the matter with it: completes "it …".
    pub what: String,
}

impl Wrong {
    fn new(path: &str, what: &str) -> Self {
        Self { path: path.to_owned(), what: what.to_owned() }
    }
}

/// Checks the environment `digest`, finished or not.
///
/// # Errors
/// When its files cannot be read.
pub fn verify(store: &Store, digest: &str) -> Result<Verified, Error> {
    let _in_use = InUse::shared(store, digest)?;
    let root = store.environments().join(digest);
    let mut wrong = Vec::new();
    let mut known = Files::new();
    let files = list(&root, FILES, &mut wrong, &mut known);
    list(&root, RECORDED, &mut wrong, &mut known);
    check_digest(&root, digest, files.as_deref(), &mut wrong);
    let there: BTreeSet<String> = record::paths(&root)?.into_iter().collect();
    for path in &there {
        if !known.contains_key(path) && path != RECORDED && path != COMPLETE {
            wrong.push(Wrong::new(path, "was not there when the environment was built"));
        }
    }
    for (path, expected) in &known {
        match record::look(&root, path)? {
            None => wrong.push(Wrong::new(path, "is missing")),
            Some(found) if found == *expected => {}
            Some(found) => {
                let what = if found.sha256 == expected.sha256 {
                    "is executable now, or no longer"
                } else if found.kind != expected.kind {
                    "is another kind of file now"
                } else {
                    "has other contents"
                };
                wrong.push(Wrong::new(path, what));
                disown(store, expected);
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    Ok(Verified { digest: digest.to_owned(), files: known.len(), wrong })
}

/// The files of one of the lists, added to those that are known; its text.
fn list(root: &Path, name: &str, wrong: &mut Vec<Wrong>, known: &mut Files) -> Option<String> {
    match record::read(root, name) {
        Ok((files, text)) => {
            known.extend(files);
            Some(text)
        }
        Err(error) => {
            wrong.push(Wrong::new(name, &format!("cannot be used: {}", error.why())));
            None
        }
    }
}

/// The digest covers the interpreter, the lock and `files.txt`; what follows from them is made again.
fn check_digest(root: &Path, digest: &str, files: Option<&str>, wrong: &mut Vec<Wrong>) {
    if fs::read_to_string(root.join(COMPLETE)).ok().as_deref() != Some(digest) {
        wrong.push(Wrong::new(COMPLETE, "is not the marker of a finished environment"));
    }
    let manifest = fs::read(root.join(manifest::FILE)).ok();
    let manifest: Option<Manifest> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(manifest) = manifest else {
        return wrong.push(Wrong::new(manifest::FILE, "cannot be used: it is no manifest"));
    };
    let interpreter = manifest.interpreter();
    let lock = match Lock::read(root) {
        Ok(lock) => lock,
        Err(error) => {
            return wrong
                .push(Wrong::new(interpreter.ecosystem().lock_file(), &format!("cannot be used: {}", error.why())));
        }
    };
    let found = files.map(|files| digest::of_environment(&lock, &interpreter, files));
    if found.is_some_and(|found| found != digest) || lock.ecosystem() != interpreter.ecosystem() {
        wrong.push(Wrong::new(
            "",
            "is not what its digest says: its lock, its list of files or its interpreter changed",
        ));
    }
    if lock.packages().ne(manifest.packages.iter().cloned()) {
        wrong.push(Wrong::new(manifest::FILE, "names other packages than the lock"));
    }
    // An environment of R has no parts of its own beside its packages.
    if interpreter.ecosystem() == Ecosystem::Pypi {
        check_skeleton(root, &interpreter, wrong);
    }
}

/// What makes Python use this folder follows from the interpreter alone.
fn check_skeleton(root: &Path, interpreter: &Interpreter, wrong: &mut Vec<Wrong>) {
    let Ok(skeleton) = layout::skeleton(interpreter) else {
        return wrong.push(Wrong::new(manifest::FILE, "names an interpreter that cannot be used"));
    };
    for (name, target) in &skeleton.links {
        if fs::read_link(root.join(name)).ok().as_deref() != Some(Path::new(target)) {
            wrong.push(Wrong::new(name, "leads to another interpreter"));
        }
    }
    if fs::read_to_string(root.join(layout::CONFIG)).ok().as_ref() != Some(&skeleton.config) {
        wrong.push(Wrong::new(layout::CONFIG, "has other contents"));
    }
}

/// Takes the shared copy of a changed file out of `files/`, if it is what changed.
fn disown(store: &Store, expected: &record::Recorded) {
    let place = share::place(store, expected);
    if digest::of_file(&place).is_ok_and(|(sha256, _)| sha256 != expected.sha256) {
        drop(fs::remove_file(place));
    }
}
