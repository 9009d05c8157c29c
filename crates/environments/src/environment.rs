//! A finished environment in the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::denied::Denied;
use crate::digest::is_sha256;
use crate::error::Error;
use crate::in_use::InUse;
use crate::interpreter::Interpreter;
use crate::manifest::{self, Manifest};
use crate::store::Store;

/// The marker that a finished environment has; written last.
pub(crate) const COMPLETE: &str = "complete";

/// An environment that is complete, read-only, and ready to be mounted at
/// [`crate::INSIDE_ENVIRONMENT`]. It stays in the store for as long as this value lives.
#[derive(Debug)]
pub struct Environment {
    /// Its name: a sha256 in hexadecimal.
    pub digest: String,
    /// Where it is on the host.
    pub folder: PathBuf,
    /// The interpreter it was built for.
    pub interpreter: Interpreter,
    /// What is installed, sorted by name.
    pub packages: Vec<Package>,
    /// Start-up files that packages brought and that were taken out: `.pth` files with
    /// executable lines, `sitecustomize` and the like.
    pub dropped_pth: Vec<String>,
    /// Modules that packages brought and that the standard library has too, which wins.
    pub shadowed: Vec<String>,
    /// What steps of its build asked for and did not get.
    pub denied: Vec<Denied>,
    /// What its files take together.
    pub bytes: u64,
    /// Whether it came in an archive: its files fit its digest, and that they are those of the packages
    /// that its lock names is the word of who made the archive.
    pub imported: bool,
    in_use: InUse,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The normalised name.
    pub name: String,
    /// The version.
    pub version: String,
}

impl Environment {
    /// The environment `digest` of a store, if it is there and complete; it is held from then on.
    pub(crate) fn load(store: &Store, digest: &str) -> Result<Option<Self>, Error> {
        let folder = store.environments().join(digest);
        if !is_sha256(digest) || !folder.is_dir() {
            return Ok(None);
        }
        let in_use = InUse::shared(store, digest)?;
        Ok(Self::read(store, digest, in_use).ok())
    }

    /// The environment `digest`, held by a lock that is there already; the lock, if it is not complete.
    pub(crate) fn read(store: &Store, digest: &str, in_use: InUse) -> Result<Self, InUse> {
        let folder = store.environments().join(digest);
        let Some(manifest) = manifest_of(&folder, digest) else { return Err(in_use) };
        Ok(Self {
            interpreter: manifest.interpreter(),
            digest: manifest.digest,
            folder,
            packages: manifest.packages,
            dropped_pth: manifest.dropped_startup,
            shadowed: manifest.shadowed,
            denied: manifest.denied,
            bytes: manifest.bytes,
            imported: manifest.imported,
            in_use,
        })
    }

    /// Counts one run that uses it.
    pub fn count_use(&self) {
        self.in_use.count();
    }

    /// How often runs used it, and when last.
    #[must_use]
    pub fn used(&self) -> (u64, Option<SystemTime>) {
        self.in_use.used()
    }

    /// When it was built here.
    #[must_use]
    pub fn created(&self) -> Option<SystemTime> {
        fs::metadata(self.folder.join(COMPLETE)).and_then(|about| about.modified()).ok()
    }
}

/// The manifest of a folder that is the finished environment `digest`.
fn manifest_of(folder: &Path, digest: &str) -> Option<Manifest> {
    let complete = fs::read_to_string(folder.join(COMPLETE)).ok()?;
    let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(manifest::FILE)).ok()?).ok()?;
    (complete == digest && manifest.digest == digest).then_some(manifest)
}

/// Two are the same when they are at the same place and of the same digest.
impl PartialEq for Environment {
    fn eq(&self, other: &Self) -> bool {
        (&self.digest, &self.folder) == (&other.digest, &other.folder)
    }
}
