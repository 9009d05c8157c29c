//! What differs between two environments, by their locks.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::ecosystem::Ecosystem;
use crate::environment::Environment;
use crate::error::Error;
use crate::lock::Lock;
use crate::url::HttpsUrl;

/// A package with the hashes of its files, as the lock of an environment has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockedPackage {
    /// Whose package it is.
    pub ecosystem: Ecosystem,
    /// The normalised name.
    pub name: String,
    /// The version.
    pub version: String,
    /// Its files as the package index has them.
    pub files: Vec<LockedFile>,
    /// Whether it was built here from its source distribution.
    pub from_source: bool,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LockedFile {
    /// Its name.
    pub name: String,
    /// Its hash.
    pub sha256: String,
    /// The host that it came from; one that was built here has none.
    #[serde(skip)]
    pub host: String,
}

/// What differs between two environments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Packages that only the second one has.
    pub added: Vec<LockedPackage>,
    /// Packages that only the first one has.
    pub removed: Vec<LockedPackage>,
    /// Packages of both, of another version or with other files.
    pub changed: Vec<Changed>,
}

/// A package that both have, and not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// As the first one has it.
    pub from: LockedPackage,
    /// As the second one has it.
    pub to: LockedPackage,
}

/// The packages of an environment with the hashes of their files, in the order of names.
///
/// # Errors
/// When its lock is damaged.
pub fn locked(environment: &Environment) -> Result<Vec<LockedPackage>, Error> {
    let lock = Lock::read(&environment.folder)?;
    let package = |locked: &crate::lock::Locked| {
        let file = |wheel: &crate::lock::Wheel| LockedFile {
            name: wheel.file.clone(),
            sha256: wheel.sha256.clone(),
            host: HttpsUrl::parse(&wheel.url).map_or_else(|_| String::new(), |url| url.host().to_owned()),
        };
        let mut files: Vec<LockedFile> = locked.origins().iter().map(file).collect();
        files.sort();
        LockedPackage {
            ecosystem: lock.ecosystem(),
            name: locked.name.clone(),
            version: locked.version.clone(),
            files,
            from_source: locked.source.is_some(),
        }
    };
    Ok(lock.locked().map(package).collect())
}

/// What one has to do to the first list of packages to get the second one.
#[must_use]
pub fn diff(from: Vec<LockedPackage>, to: Vec<LockedPackage>) -> Difference {
    let by_name = |list: Vec<LockedPackage>| -> BTreeMap<(Ecosystem, String), LockedPackage> {
        list.into_iter().map(|package| ((package.ecosystem, package.name.clone()), package)).collect()
    };
    let (mut from, mut to) = (by_name(from), by_name(to));
    let names: BTreeSet<(Ecosystem, String)> = from.keys().chain(to.keys()).cloned().collect();
    let mut difference = Difference::default();
    for name in names {
        match (from.remove(&name), to.remove(&name)) {
            (Some(from), None) => difference.removed.push(from),
            (None, Some(to)) => difference.added.push(to),
            (Some(from), Some(to)) if !is_same(&from, &to) => difference.changed.push(Changed { from, to }),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
    difference
}

/// Whether both are the same version with the same files, wherever these came from.
fn is_same(one: &LockedPackage, other: &LockedPackage) -> bool {
    let files = |package: &LockedPackage| -> Vec<(String, String)> {
        package.files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect()
    };
    (&one.version, one.from_source, files(one)) == (&other.version, other.from_source, files(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, hash: char) -> LockedPackage {
        let file = LockedFile {
            name: format!("{name}-{version}.whl"),
            sha256: hash.to_string().repeat(64),
            host: String::new(),
        };
        LockedPackage {
            ecosystem: Ecosystem::Pypi,
            name: name.into(),
            version: version.into(),
            files: vec![file],
            from_source: false,
        }
    }

    #[test]
    fn versions_and_hashes_count() {
        let from = vec![package("a", "1", 'a'), package("b", "1", 'a'), package("c", "1", 'a'), package("d", "1", 'a')];
        let to = vec![package("b", "2", 'a'), package("c", "1", 'b'), package("d", "1", 'a'), package("e", "1", 'a')];
        let found = diff(from, to);
        let names = |list: &[LockedPackage]| list.iter().map(|package| package.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(&found.added), names(&found.removed)), (vec!["e".to_owned()], vec!["a".to_owned()]));
        let changed: Vec<&str> = found.changed.iter().map(|changed| changed.from.name.as_str()).collect();
        assert_eq!(changed, ["b", "c"]);
    }
}
