//! A finished environment in the store.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::is_sha256;
use crate::manifest::{self, Manifest};

/// The marker that a finished environment has; written last.
pub(crate) const COMPLETE: &str = "complete";

/// An environment that is complete, read-only, and ready to be mounted at
/// [`crate::INSIDE_ENVIRONMENT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name: a sha256 in hexadecimal.
    pub digest: String,
    /// Where it is on the host.
    pub folder: PathBuf,
    /// What is installed, sorted by name.
    pub packages: Vec<Package>,
    /// Start-up files that packages brought and that were taken out: `.pth` files with
    /// executable lines, `sitecustomize` and the like.
    pub dropped_pth: Vec<String>,
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
    /// The environment `digest` of a folder of environments, if it is complete.
    pub(crate) fn load(environments: &Path, digest: &str) -> Option<Self> {
        if !is_sha256(digest) {
            return None;
        }
        let folder = environments.join(digest);
        let complete = fs::read_to_string(folder.join(COMPLETE)).ok()?;
        let manifest: Manifest = serde_json::from_slice(&fs::read(folder.join(manifest::FILE)).ok()?).ok()?;
        (complete == digest && manifest.digest == digest).then_some(Self {
            digest: manifest.digest,
            folder,
            packages: manifest.packages,
            dropped_pth: manifest.dropped_startup,
        })
    }
}
