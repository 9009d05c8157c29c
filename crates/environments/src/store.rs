//! The paths of the environment store. One place knows them.
//!
//! ```text
//! envs/<digest>/              finished environments, read-only
//! requests/<key>              the digest that answers a request
//! wheels/<sha256>/<file>      package files whose hash was checked
//! built/<key>.json            the wheel that a source distribution was built into
//! tools/uv-<version>/uv       the pinned uv, when the machine has none
//! index/<sha256>.json         what is known of an index, for a day
//! locks/<key or digest>       one builder a request, one publisher a digest
//! building/<random>(.lock)    builds under way, or abandoned
//! names/<name>                the digest that has a name
//! uses/<digest>               held by runs; its length counts them, its time is the last one's
//! imports/<digest>            what runs said they imported, a line each
//! files/<sha256>(-x)          large files of environments, which share them by hard links
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{self, Error};
use crate::tree;

/// The lock that all builds share; no digest and no key is called so.
pub(crate) const BUILDS: &str = "builds";

/// A store of environments, shared by every run of its owner on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store at `root`, which need not exist yet. Touches nothing: finding stays cheap.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// Where the store is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folders of the store; readable for all, since the throw-away user of a sandbox
    /// reads environments through them.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        if !self.root.is_dir() {
            tree::make_folder(&self.root)?;
            tree::set_mode(&self.root, 0o755)?;
        }
        for folder in [
            "envs", "requests", "wheels", "built", "tools", "index", "locks", "building", "names", "uses", "imports",
            "files",
        ] {
            let path = self.root.join(folder);
            if !path.is_dir() {
                tree::make_folder(&path)?;
                tree::set_mode(&path, if folder == "building" { 0o700 } else { 0o755 })?;
            }
        }
        Ok(())
    }

    pub(crate) fn environments(&self) -> PathBuf {
        self.root.join("envs")
    }

    pub(crate) fn request(&self, key: &str) -> PathBuf {
        self.root.join("requests").join(key)
    }

    pub(crate) fn lock(&self, key: &str) -> PathBuf {
        self.root.join("locks").join(key)
    }

    /// Held by every build, and by who takes package files away alone.
    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("locks").join(BUILDS)
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn name(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }

    pub(crate) fn uses(&self, digest: &str) -> PathBuf {
        self.root.join("uses").join(digest)
    }

    pub(crate) fn imports(&self, digest: &str) -> PathBuf {
        self.root.join("imports").join(digest)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join("files").join(name)
    }

    pub(crate) fn building(&self) -> PathBuf {
        self.root.join("building")
    }

    /// INVARIANT: a file stands here only after its hash was found to be `sha256`.
    pub(crate) fn wheel(&self, sha256: &str, file: &str) -> PathBuf {
        self.root.join("wheels").join(sha256).join(file)
    }

    pub(crate) fn built(&self, key: &str) -> PathBuf {
        self.root.join("built").join(format!("{key}.json"))
    }

    pub(crate) fn tool(&self, version: &str) -> PathBuf {
        self.root.join("tools").join(format!("uv-{version}")).join("uv")
    }

    pub(crate) fn index(&self, name: &str) -> PathBuf {
        self.root.join("index").join(format!("{name}.json"))
    }

    /// Writes a small file so that readers see all of it or none; `scratch` is the folder of the
    /// build, so that a killed one leaves nothing elsewhere.
    pub(crate) fn write_whole(&self, scratch: &Path, path: &Path, text: &str) -> Result<(), Error> {
        let mut file =
            tempfile::NamedTempFile::new_in(scratch).map_err(|e| error::store("make a file in", scratch, &e))?;
        file.write_all(text.as_bytes()).map_err(|e| error::store("write", path, &e))?;
        tree::set_mode(file.path(), 0o644)?;
        file.persist(path).map_err(|e| error::store("put into place", path, &e.error))?;
        Ok(())
    }
}
