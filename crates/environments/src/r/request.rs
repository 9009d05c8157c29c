//! What is asked for of R packages.

use std::collections::BTreeSet;
use std::path::Path;

use super::lock_given;
use super::names::Wanted;
use crate::error::{Detail, Error};
use crate::lock::Lock;

const PACKAGES_MAX: usize = 500;

/// A set of R packages that are asked for.
#[derive(Debug, Clone, Default)]
pub struct RRequest {
    wanted: BTreeSet<Wanted>,
    from_machine: bool,
    given: Option<Lock>,
}

impl RRequest {
    /// A request for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a file is a lock of R packages, by its name: `rlock.toml`, `rlock.NAME.toml`.
    #[must_use]
    pub fn is_lock(path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("rlock.") && name.ends_with(".toml")
    }

    /// Adds the packages of one `--r`, such as `dplyr,ggplot2>=3.4`.
    ///
    /// # Errors
    /// When one of them is refused.
    pub fn packages(&mut self, list: &str) -> Result<(), Error> {
        for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            self.wanted.insert(Wanted::parse(text)?);
        }
        if self.wanted.len() > PACKAGES_MAX {
            return Err(contradiction("more than 500 R packages are asked for", "ask for fewer"));
        }
        Ok(())
    }

    /// Takes a lock that `env build` wrote, as it is.
    ///
    /// # Errors
    /// When it cannot be read, or is not as we write it.
    pub fn lock(&mut self, path: &Path) -> Result<(), Error> {
        if self.given.is_some() {
            return Err(contradiction("two locks are given", "give one"));
        }
        self.given = Some(lock_given::read(path)?);
        Ok(())
    }

    /// Takes what is installed on the machine, and fetches nothing.
    pub fn from_machine(&mut self) {
        self.from_machine = true;
    }

    /// Whether no package is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.given.is_none()
    }

    /// Refuses a request that contradicts itself.
    ///
    /// # Errors
    /// When it does.
    pub fn check(&self) -> Result<(), Error> {
        if self.given.is_some() && (self.from_machine || !self.wanted.is_empty()) {
            let why = "a lock is installed as it is, and more is asked for";
            return Err(contradiction(why, "give the lock alone, or name packages with --r"));
        }
        Ok(())
    }

    pub(super) const fn is_from_machine(&self) -> bool {
        self.from_machine
    }

    pub(super) const fn given(&self) -> Option<&Lock> {
        self.given.as_ref()
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter()
    }

    /// What the step that resolves reads, a line each.
    pub(super) fn text(&self) -> String {
        self.wanted.iter().map(Wanted::line).collect()
    }

    /// What the key says of it.
    pub(super) fn identity(&self) -> String {
        self.text() + &self.given.as_ref().map_or_else(String::new, Lock::to_text)
    }
}

fn contradiction(why: &str, next: &str) -> Error {
    Error::Requirement(Detail::new("the R packages that are asked for contradict each other", why, next))
}
