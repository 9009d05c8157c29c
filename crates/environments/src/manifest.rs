//! `manifest.json` of an environment: what `find` reads, and what people look at.

use serde::{Deserialize, Serialize};

use crate::denied::Denied;
use crate::environment::Package;
use crate::interpreter::Interpreter;
use crate::lock::Lock;

/// The name of the file, at the top of the environment.
pub(crate) const FILE: &str = "manifest.json";

/// Describes a finished environment. Holds no time and no name of the machine, so that the same
/// build gives the same bytes, unless code of a build asks for other things each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    pub(crate) digest: String,
    /// The version of the interpreter, whichever it is.
    pub(crate) python: String,
    pub(crate) abi: String,
    pub(crate) platform: String,
    pub(crate) executable: String,
    pub(crate) packages: Vec<Package>,
    /// Start-up files that were taken out.
    pub(crate) dropped_startup: Vec<String>,
    /// Modules that the standard library has too.
    pub(crate) shadowed: Vec<String>,
    /// What all files take together.
    pub(crate) bytes: u64,
    /// What steps of its build asked for and did not get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) denied: Vec<Denied>,
    /// Whether it came in an archive: then nobody here saw the package files of its lock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) imported: bool,
}

impl Manifest {
    /// Of an environment in which nothing is remarkable.
    pub(crate) fn of(digest: &str, lock: &Lock, interpreter: &Interpreter) -> Self {
        Self {
            format: 2,
            digest: digest.to_owned(),
            python: interpreter.version.clone(),
            abi: interpreter.abi.clone(),
            platform: interpreter.platform.clone(),
            executable: interpreter.inside_executable.clone(),
            packages: lock.packages().collect(),
            dropped_startup: Vec::new(),
            shadowed: Vec::new(),
            bytes: 0,
            denied: Vec::new(),
            imported: false,
        }
    }

    pub(crate) fn interpreter(&self) -> Interpreter {
        Interpreter {
            inside_executable: self.executable.clone(),
            version: self.python.clone(),
            abi: self.abi.clone(),
            platform: self.platform.clone(),
            glibc: None,
        }
    }
}
