//! An environment as one file, for a machine without any network: a gzip-compressed tar of
//!
//! ```text
//! manifest.json   what it is: digest, interpreter, packages, how many files and bytes follow
//! pylock.toml     the lock; of R `rlock.toml`
//! files.txt       every file with its hash: what the digest covers
//! records.json    which package brought which of them
//! tree/…          the files, in the order of the list
//! ```
//!
//! Its bytes follow from the environment alone. An import believes none of it: the list is held against
//! the digest before a file is written, each file against the list, and the laid-out tree against the
//! digest once more. What the digest does not cover (bytecode, launchers, what makes a folder a virtual
//! environment) is never taken from an archive; it is made anew here.

mod contents;
mod entry_points;
mod export;
mod import;
mod read;
mod records;
mod tar;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::environment::Package;
use crate::error::{Detail, Error};
use crate::interpreter::Interpreter;
use crate::quote::quote_path;

pub use export::{Exported, export};
pub use import::{Checked, Importer};
pub use read::Archive;

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
#[cfg(test)]
const LOCK: &str = "pylock.toml";
const FILES: &str = "files.txt";
const RECORDS: &str = "records.json";
const TREE: &str = "tree/";

const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const FILES_BYTES_MAX: u64 = 128 << 20;
const RECORDS_BYTES_MAX: u64 = 16 << 20;

/// What an archive says of itself: claims, until they were checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    format: u32,
    digest: String,
    python: String,
    abi: String,
    platform: String,
    executable: String,
    packages: Vec<Package>,
    files: usize,
    bytes: u64,
}

impl Claims {
    fn interpreter(&self) -> Interpreter {
        Interpreter {
            inside_executable: self.executable.clone(),
            version: self.python.clone(),
            abi: self.abi.clone(),
            platform: self.platform.clone(),
            glibc: None,
        }
    }
}

/// An archive is not taken.
fn refused(path: &Path, why: &str) -> Error {
    Error::Archive(Detail::new(
        format!("the archive {} is refused", quote_path(path)),
        why,
        "get it again from where it was exported, and compare its digest with what `stockade env show` says there",
    ))
}
